package flowsite_test

import (
	"slices"
	"testing"

	"stagedoor/flowsite"
)

// §1.5, §2.1: what the site doesn't know is a fault.
func TestUnknownNamesAreFaults_1_5(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	c.fault(103, "destroy_everything", object{"type": "Shot"})
	c.as(object{"script_name": scriptName, "script_key": "x"}).fault(102, "destroy_everything")
	c.fault(103, "read", readArgs("Nope", all()))
	c.fault(103, "read", readArgs("shot", all()))
	c.fault(103, "read", readArgs("Shot", all(), "sg_nope"))
	c.fault(103, "read", readArgs("Shot", all(), "sg_sequence.Nope.code"))
	c.fault(103, "read", readArgs("Shot", all(), "sg_sequence.Sequence"))
	c.fault(103, "create", object{"type": "Shot", "fields": fields("sg_nope", 1), "return_fields": array{}})
	c.fault(103, "create", object{"type": "Shot", "fields": fields("code", "x"), "return_fields": array{"sg_nope"}})
	c.fault(103, "summarize", object{"type": "Shot", "filters": all(), "summaries": array{object{"field": "code", "type": "sum"}}})
	c.fault(103, "summarize", object{"type": "Shot", "filters": all(), "summaries": array{}, "grouping": array{object{"field": "code", "type": "nope"}}})
	args := readArgs("Shot", all())
	args["additional_filter_presets"] = array{object{"preset_name": "NOPE"}}
	c.fault(103, "read", args)
	if len(s.EventLog()) != 0 {
		t.Error("a refused call wrote something")
	}
}

// §2.6: pages, and what is said of them in each mode.
func TestPaging_2_6(t *testing.T) {
	s := newSite(t, flowsite.Options{PageMax: 5})
	c := call(t, s)
	read := func(size, number int, mode string, on bool) object {
		args := readArgs("Shot", all())
		delete(args, "return_paging_info_without_counts")
		args["paging"] = object{"entities_per_page": size, "current_page": number}
		args[mode] = on
		m, _ := c.ok("read", args).(object)
		rows, _ := m["entities"].(array)
		m["entities"] = ids(rows)
		return m
	}
	const without, with = "return_paging_info_without_counts", "return_paging_info"
	c.same(read(5, 1, without, true), `{"entities":[1,2,3,4,5],"paging_info":{"has_next_page":true}}`)
	c.same(read(5, 3, without, true), `{"entities":[11,12],"paging_info":{"has_next_page":false}}`)
	c.same(read(5, 2, without, false), `{"entities":[6,7,8,9,10]}`)
	c.same(read(4, 3, without, true), `{"entities":[9,10,11,12],"paging_info":{"has_next_page":false}}`)
	c.same(read(5, 9, without, true), `{"entities":[],"paging_info":{"has_next_page":false}}`)
	c.same(read(5, 3, with, true), `{"entities":[11,12],"paging_info":{"current_page":3,"entities_per_page":5,"entity_count":12,"page_count":3}}`)
	c.same(read(5, 3, with, false), `{"entities":[11,12]}`)
	for _, p := range []object{{"entities_per_page": 6, "current_page": 1}, {"entities_per_page": 0, "current_page": 1}, {"entities_per_page": 5, "current_page": 0}, {"entities_per_page": 5}, {"entities_per_page": 5, "current_page": 1, "x": 1}} {
		args := readArgs("Shot", all())
		args["paging"] = p
		c.fault(103, "read", args)
	}
}

// §2.1: order, retired rows, archived projects, images, presets.
func TestReadOptions_2_1(t *testing.T) {
	s := newSite(t, flowsite.Options{URL: "https://site.invalid"})
	c := call(t, s)
	with := func(typ string, filter any, key string, v any) object {
		args := readArgs(typ, filter)
		args[key] = v
		return args
	}
	sorts := func(kv ...string) array {
		out := array{}
		for i := 0; i < len(kv); i += 2 {
			out = append(out, object{"field_name": kv[i], "direction": kv[i+1]})
		}
		return out
	}
	check := func(args object, want ...int) {
		t.Helper()
		if got := ids(c.rows(args)); !slices.Equal(got, want) {
			t.Errorf("%s\ngot %v, want %v", encode(t, args), got, want)
		}
	}
	film := cond("project", "is", link("Project", flowsite.DemoFilm))
	check(with("Shot", film, "sorts", sorts("sg_cut_out", "desc", "id", "asc")), 4, 8, 3, 7, 2, 6, 1, 5)
	check(with("Shot", film, "sorts", sorts("sg_sequence.Sequence.code", "desc", "code", "asc")), 5, 6, 7, 8, 1, 2, 3, 4)
	check(with("Shot", film, "sorts", sorts("sg_sequence", "asc", "id", "desc")), 4, 3, 2, 1, 8, 7, 6, 5)
	c.fault(103, "read", with("Shot", all(), "sorts", sorts("nope", "asc")))
	c.fault(103, "read", with("Shot", all(), "sorts", sorts("code", "up")))

	c.ok("delete", object{"type": "Shot", "id": 2})
	check(with("Shot", film, "return_only", "retired"), 2)
	check(with("Shot", film, "return_only", "active"), 1, 3, 4, 5, 6, 7, 8)
	c.fault(103, "read", with("Shot", film, "return_only", "all"))
	retired := with("Shot", film, "return_only", "retired")
	retired["return_fields"] = array{"code", "sg_sequence"}
	c.same(c.rows(retired), `[{"code":"harbour_sq01_0020","id":2,"sg_sequence":{"id":1,"name":"harbour_sq01","type":"Sequence"},"type":"Shot"}]`)

	c.ok("update", object{"type": "Project", "id": flowsite.DemoSeries, "fields": fields("archived", true)})
	check(with("Sequence", all(), "include_archived_projects", false), 1, 2)
	check(readArgs("Sequence", all()), 1, 2, 3)

	image := readArgs("Version", cond("id", "is", 1), "image")
	c.same(c.rows(image), `[{"id":1,"image":"https://site.invalid/images/thumbnail/version_0001.png","type":"Version"}]`)

	s.Seed("Version", object{"id": 40, "code": "newer", "entity": link("Shot", 1)})
	check(with("Version", cond("entity", "is", link("Shot", 1)), "additional_filter_presets", array{object{"preset_name": "LATEST", "latest_by": "ENTITIES_CREATED_AT"}}), 40)
	check(with("Cut", all(), "additional_filter_presets", array{object{"preset_name": "LATEST", "latest_by": "REVISION_NUMBER"}}), 2)
	check(with("Version", all(), "additional_filter_presets", array{object{"preset_name": "CUT_SHOT_VERSIONS", "cut_id": 1}}), 2)
	clean(t, s)
}

// §2.4: a path through a link to another type is null, and so is one through
// a list.
func TestDottedFields_2_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	c.same(c.rows(readArgs("Task", cond("id", "is", 5), "entity.Shot.code", "entity.Asset.code", "entity.Shot.sg_sequence.Sequence.shots", "entity.Shot.assets.Asset.code", "entity", "type", "id")),
		`[{"type":"Task","id":5,"entity.Shot.code":"harbour_sq01_0010","entity.Asset.code":null,"entity.Shot.assets.Asset.code":null,
		"entity":{"id":1,"name":"harbour_sq01_0010","type":"Shot"},"entity.Shot.sg_sequence.Sequence.shots":[
		{"id":1,"name":"harbour_sq01_0010","type":"Shot"},{"id":2,"name":"harbour_sq01_0020","type":"Shot"},
		{"id":3,"name":"harbour_sq01_0030","type":"Shot"},{"id":4,"name":"harbour_sq01_0040","type":"Shot"}]}]`)
}

func TestSummarize_2_1(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	sum := func(typ string, grouping array, kv ...string) any {
		t.Helper()
		list := array{}
		for i := 0; i < len(kv); i += 2 {
			list = append(list, object{"field": kv[i], "type": kv[i+1]})
		}
		args := object{"type": typ, "summaries": list, "filters": cond("project", "is", link("Project", flowsite.DemoFilm))}
		if grouping != nil {
			args["grouping"] = grouping
		}
		return c.ok("summarize", args)
	}
	by := func(kv ...string) array {
		out := array{}
		for i := 0; i < len(kv); i += 3 {
			out = append(out, object{"field": kv[i], "type": kv[i+1], "direction": kv[i+2]})
		}
		return out
	}
	c.same(sum("Shot", nil, "id", "count", "sg_cut_duration", "sum", "sg_cut_out", "maximum", "sg_cut_in", "average", "sg_cut_order", "minimum", "description", "record_count"),
		`{"groups":[],"summaries":{"id":8,"sg_cut_duration":488,"sg_cut_out":1097,"sg_cut_in":1001,"sg_cut_order":0.5,"description":8}}`)
	c.same(sum("Task", nil, "due_date", "latest", "start_date", "earliest", "milestone", "unchecked", "sg_status_list", "status_list"),
		`{"groups":[],"summaries":{"due_date":"2026-03-21","start_date":"2026-03-02","milestone":20,"sg_status_list":"ip"}}`)
	c.same(sum("Shot", nil, "sg_status_list", "status_percentage", "sg_turnover", "count"),
		`{"groups":[],"summaries":{"sg_status_list":{"fin":25,"ip":25,"rev":25,"wtg":25},"sg_turnover":0}}`)
	c.same(sum("Task", nil, "milestone", "percentage", "est_in_mins", "sum"), `{"groups":[],"summaries":{"milestone":0,"est_in_mins":17280}}`)
	c.same(sum("Asset", by("sg_asset_type", "exact", "desc"), "id", "count"),
		`{"summaries":{"id":4},"groups":[{"group_name":"Prop","group_value":"Prop","summaries":{"id":2}},{"group_name":"Character","group_value":"Character","summaries":{"id":2}}]}`)
	c.same(sum("Version", by("entity.Shot.sg_sequence", "exact", "asc"), "id", "count"),
		`{"summaries":{"id":8},"groups":[
		{"group_name":"harbour_sq01","group_value":{"id":1,"name":"harbour_sq01","type":"Sequence","valid":"valid"},"summaries":{"id":4}},
		{"group_name":"harbour_sq02","group_value":{"id":2,"name":"harbour_sq02","type":"Sequence","valid":"valid"},"summaries":{"id":4}}]}`)
	c.same(sum("Task", by("entity", "entitytype", "asc", "due_date", "month", "asc"), "id", "count"),
		`{"summaries":{"id":20},"groups":[
		{"group_name":"Asset","group_value":"Asset","summaries":{"id":4},"groups":[{"group_name":"2026-03","group_value":"2026-03","summaries":{"id":4}}]},
		{"group_name":"Shot","group_value":"Shot","summaries":{"id":16},"groups":[{"group_name":"2026-03","group_value":"2026-03","summaries":{"id":16}}]}]}`)
	c.same(sum("Sequence", by("id", "tens", "asc"), "id", "count"),
		`{"summaries":{"id":2},"groups":[{"group_name":"0-9","group_value":0,"summaries":{"id":2}}]}`)
	c.same(sum("Asset", by("code", "firstletter", "asc"), "id", "count"),
		`{"summaries":{"id":4},"groups":[{"group_name":"H","group_value":"H","summaries":{"id":4}}]}`)
	clean(t, s)
}

// §2.1: create answers what was set and what was asked for; links come back
// as {id, name, type}; both ends agree.
func TestWrites_2_1(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	c.same(c.ok("create", object{
		"type": "Shot", "return_fields": array{"code", "sg_sequence.Sequence.code", "created_by"},
		"fields": fields("code", "new", "sg_sequence", object{"type": "Sequence", "id": 1, "name": "whatever"}, "tasks", array{link("Task", 5)}),
	}), `{"type":"Shot","id":13,"code":"new","sg_sequence.Sequence.code":"harbour_sq01","created_by":{"id":1,"name":"publish","type":"ApiUser"},
		"sg_sequence":{"id":1,"name":"harbour_sq01","type":"Sequence"},"tasks":[{"id":5,"name":"Animation","type":"Task"}]}`)
	c.same(c.rows(readArgs("Task", cond("id", "is", 5), "entity")), `[{"type":"Task","id":5,"entity":{"id":13,"name":"new","type":"Shot"}}]`)
	c.same(c.rows(readArgs("Shot", cond("id", "is", 1), "tasks")), `[{"type":"Shot","id":1,"tasks":[{"id":6,"name":"Lighting","type":"Task"}]}]`)

	update := func(typ string, id int, key string, v any, mode ...any) object {
		f := object{"field_name": key, "value": v}
		if mode != nil {
			f["multi_entity_update_mode"] = mode[0]
		}
		return object{"type": typ, "id": id, "fields": array{f}}
	}
	links := func(ids ...int) array {
		out := array{}
		for _, id := range ids {
			out = append(out, link("Asset", id))
		}
		return out
	}
	assets := func(want ...int) {
		t.Helper()
		m, _ := c.rows(readArgs("Shot", cond("id", "is", 13), "assets"))[0].(object)
		list, _ := m["assets"].(array)
		if got := ids(list); !slices.Equal(got, want) {
			t.Errorf("assets %v, want %v", got, want)
		}
	}
	c.ok("update", update("Shot", 13, "assets", links(1, 2)))
	c.ok("update", update("Shot", 13, "assets", links(3, 1), "add"))
	assets(1, 2, 3)
	c.ok("update", update("Shot", 13, "assets", links(2), "remove"))
	assets(1, 3)
	c.ok("update", update("Asset", 4, "shots", array{link("Shot", 13)}, "add")) // the other end
	assets(1, 3, 4)
	c.ok("update", update("Asset", 1, "shots", array{}, "set"))
	assets(3, 4)
	c.ok("update", update("Shot", 13, "assets", links(2), "set"))
	assets(2)
	c.same(c.ok("update", update("Shot", 13, "sg_sequence", nil)), `{"type":"Shot","id":13,"sg_sequence":null}`)

	// A row can be at both ends of a link, and keeps what was set with it.
	c.ok("update", object{"type": "Shot", "id": 13, "fields": fields("shots", array{link("Shot", 13)}, "code", "self")})
	c.same(c.rows(readArgs("Shot", cond("id", "is", 13), "code", "parent_shots")), `[{"type":"Shot","id":13,"code":"self","parent_shots":[{"id":13,"name":"self","type":"Shot"}]}]`)

	for _, args := range []object{
		update("Shot", 13, "sg_cut_in", "1"), update("Shot", 13, "sg_cut_in", 1.5), update("Shot", 13, "sg_cut_in", 1<<31),
		update("Shot", 13, "code", 5), update("Shot", 13, "sg_turnover", "yesterday"), update("Shot", 13, "sg_turnover", "1969-12-31"),
		update("Shot", 13, "sg_status_list", "nope"), update("Shot", 13, "sg_sequence", link("Asset", 1)), update("Shot", 13, "sg_sequence", 1),
		update("Shot", 13, "assets", link("Asset", 1)), update("Shot", 13, "id", 5), update("Shot", 13, "created_at", "2026-01-01T00:00:00Z"),
		update("Shot", 13, "code", "x", "add"), update("Shot", 13, "assets", links(1), "replace"), update("Version", 1, "sg_metadata", "text"),
		update("Task", 5, "milestone", "yes"), update("Version", 1, "sg_uploaded_movie", "text"), update("HumanUser", 2, "login", "Ann"),
		{"type": "Shot", "id": 13, "fields": fields("code", "a", "code", "b")},
	} {
		c.fault(103, "update", args)
	}
	c.fault(104, "update", update("Shot", 13, "sg_sequence", link("Sequence", 99)))
	c.fault(104, "update", update("Shot", 99, "code", "x"))
	c.same(c.ok("create", object{"type": "Shot", "fields": fields("code", "old", "created_at", "2020-01-01T00:00:00Z"), "return_fields": array{}}),
		`{"type":"Shot","id":14,"code":"old","created_at":"2020-01-01T00:00:00Z"}`)

	c.same([]any{c.ok("delete", object{"type": "Asset", "id": 2}), c.ok("delete", object{"type": "Asset", "id": 2})}, `[true,false]`)
	assets()
	c.fault(104, "update", update("Asset", 2, "code", "x"))
	c.fault(104, "update", update("Shot", 13, "assets", links(2)))
	c.same([]any{c.ok("revive", object{"type": "Asset", "id": 2}), c.ok("revive", object{"type": "Asset", "id": 2})}, `[true,false]`)
	assets(2)
	c.fault(104, "revive", object{"type": "Asset", "id": 99})
	clean(t, s)
}

// §2.2: results in order; one bad request undoes all, ids and events too.
func TestBatchIsAllOrNothing_2_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	create := object{"request_type": "create", "type": "Shot", "fields": fields("code", "b", "assets", array{link("Asset", 1)}), "return_fields": array{"id"}}
	update := object{"request_type": "update", "type": "Shot", "id": 1, "fields": fields("assets", array{link("Asset", 2)}), "multi_entity_update_mode": "add"}
	remove := object{"request_type": "delete", "type": "Shot", "id": 2}
	before := string(s.Snapshot())
	for _, wrong := range []any{
		object{"request_type": "delete", "type": "Shot", "id": 99},
		object{"request_type": "revive", "type": "Shot", "id": 2},
		object{"request_type": "read", "type": "Shot"},
		object{"request_type": "delete", "type": "Shot", "id": 3, "nope": 1},
		"delete",
	} {
		if r := c.do("batch", array{create, update, remove, wrong}); !r.Exception {
			t.Errorf("%v succeeded", wrong)
		}
		if after := string(s.Snapshot()); after != before {
			t.Fatalf("a failed batch (%v) left something", wrong)
		}
	}
	c.same(c.ok("batch", array{create, update, remove}), `[
		{"type":"Shot","id":13,"code":"b","assets":[{"id":1,"name":"harbour_asset_01","type":"Asset"}]},
		{"type":"Shot","id":1,"assets":[{"id":1,"name":"harbour_asset_01","type":"Asset"},{"id":2,"name":"harbour_asset_02","type":"Asset"}]},
		true]`)
	c.fault(103, "batch", array{})
	clean(t, s)
}

// Item 10: the event log names the script, and says what changed.
func TestEventLog(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s).plus("session_uuid", "u-1")
	c.ok("create", object{"type": "Shot", "fields": fields("code", "n", "project", link("Project", flowsite.DemoFilm)), "return_fields": array{}})
	c.ok("update", object{"type": "Shot", "id": 13, "fields": fields("code", "m", "assets", array{link("Asset", 1)})})
	c.ok("update", object{"type": "Shot", "id": 13, "fields": fields("code", "m")}) // no change, no event
	c.ok("delete", object{"type": "Shot", "id": 13})
	c.ok("revive", object{"type": "Shot", "id": 13})
	args := readArgs("EventLogEntry", cond("entity", "is", link("Shot", 13)), "event_type", "attribute_name", "user", "session_uuid", "entity", "project.Project.name")
	var got []any
	for _, row := range c.rows(args) {
		m, _ := row.(object)
		got = append(got, array{m["event_type"], m["attribute_name"]})
		c.same(array{m["user"], m["session_uuid"], m["entity"]}, `[{"id":1,"name":"publish","type":"ApiUser"},"u-1",{"id":13,"name":"m","type":"Shot"}]`)
	}
	c.same(got, `[["Shotgun_Shot_New",null],["Shotgun_Shot_Change","code"],["Shotgun_Shot_Change","project"],["Shotgun_Shot_Change","code"],
		["Shotgun_Shot_Change","assets"],["Shotgun_Shot_Retirement","retirement_date"],["Shotgun_Shot_Revival","retirement_date"]]`)
	log := s.EventLog()
	c.same(log[3].Meta, `{"attribute_name":"code","entity_id":13,"entity_type":"Shot","field_data_type":"text","new_value":"m","old_value":"n","type":"attribute_change"}`)
	c.same(log[4].Meta, `{"attribute_name":"assets","entity_id":13,"entity_type":"Shot","field_data_type":"multi_entity","type":"attribute_change","removed":[],
		"added":[{"id":1,"name":"harbour_asset_01","type":"Asset"}]}`)
	if log[0].ProjectID != 0 || log[6].ProjectID != flowsite.DemoFilm || log[6].EntityID != 13 {
		t.Errorf("%+v", log)
	}
	// §6.2: a script can stop its own trail.
	c.ok("update", object{"type": "ApiUser", "id": 1, "fields": fields("generate_event_log_entries", false)})
	n := len(s.EventLog())
	c.ok("update", object{"type": "Shot", "id": 13, "fields": fields("code", "unseen")})
	if len(s.EventLog()) != n {
		t.Error("a silent script was logged")
	}
}

func TestSchemaCalls_2_1(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	all, _ := c.ok("schema_read").(object)
	types, _ := c.ok("schema_entity_read").(object)
	if len(all) < 20 || len(types) != len(all) {
		t.Errorf("%d and %d types", len(all), len(types))
	}
	c.same(c.ok("schema_field_read", object{"type": "Asset", "field_name": "shots"}), `{"shots":{
		"data_type":{"editable":false,"value":"multi_entity"},"description":{"editable":true,"value":""},"editable":{"editable":false,"value":true},
		"entity_type":{"editable":false,"value":"Asset"},"mandatory":{"editable":false,"value":false},"name":{"editable":true,"value":"Shots"},
		"properties":{"default_value":{"editable":false,"value":null},"summary_default":{"editable":true,"value":"none"},"valid_types":{"editable":true,"value":["Shot"]}},
		"unique":{"editable":false,"value":false},"visible":{"editable":false,"value":true}}}`)
	// §6.2: the application key is typed text, the password password.
	for typ, want := range map[[2]string]string{{"ApiUser", "salted_password"}: "text", {"HumanUser", "password_proxy"}: "password"} {
		m, _ := all[typ[0]].(object)
		f, _ := m[typ[1]].(object)
		c.same(f["data_type"], `{"editable":false,"value":"`+want+`"}`)
	}
	prop := func(k string, v any) object { return object{"property_name": k, "value": v} }
	make := object{"type": "Shot", "data_type": "list", "properties": array{prop("name", "My Level!"), prop("valid_values", array{"a", "b"})}}
	c.same(array{c.ok("schema_field_create", make), c.ok("schema_field_create", make)}, `["sg_my_level_","sg_my_level__1"]`)
	c.fault(103, "update", object{"type": "Shot", "id": 1, "fields": fields("sg_my_level_", "c")})
	c.ok("schema_field_update", object{"type": "Shot", "field_name": "sg_my_level_", "properties": array{prop("valid_values", array{"c"})}})
	c.ok("update", object{"type": "Shot", "id": 1, "fields": fields("sg_my_level_", "c")})
	c.ok("schema_field_delete", object{"type": "Shot", "field_name": "sg_my_level_"})
	c.fault(103, "read", readArgs("Shot", cond("id", "is", 1), "sg_my_level_"))
	c.fault(103, "schema_field_delete", object{"type": "Shot", "field_name": "code"})
	c.fault(103, "schema_field_create", object{"type": "Shot", "data_type": "nope", "properties": array{prop("name", "x")}})
	c.fault(103, "schema_field_update", object{"type": "Shot", "field_name": "code", "properties": array{prop("nope", 1)}})
	clean(t, s)
}

// §2.1: follow takes entity hashes with whatever else they carry, and each
// way of looking at it agrees.
func TestFollowing_2_1(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	ann := object{"type": "HumanUser", "id": 1, "name": "Ann", "login": "ann", "image": nil}
	for range 2 {
		c.same(c.ok("follow", object{"user": ann, "entity": link("Shot", 9)}), `{"followed":true,"user":{"id":1,"type":"HumanUser"},"entity":{"id":9,"type":"Shot"}}`)
	}
	c.ok("follow", object{"user": ann, "entity": link("Task", 1)})
	c.same(c.ok("following", object{"user": ann}), `[{"id":9,"name":"train_sq01_0010","type":"Shot"},{"id":1,"name":"Model","type":"Task"}]`)
	c.same(c.ok("following", object{"user": ann, "entity_type": "Task"}), `[{"id":1,"name":"Model","type":"Task"}]`)
	c.same(c.ok("following", object{"user": ann, "project": link("Project", flowsite.DemoSeries)}), `[{"id":9,"name":"train_sq01_0010","type":"Shot"}]`)
	c.ok("unfollow", object{"user": ann, "entity": link("Shot", 9)})
	c.same(c.ok("followers", object{"entity": link("Shot", 9)}), `[]`)
	clean(t, s)
}

// §2.1: the methods that are neither rows nor schema refuse what is wrong.
func TestOtherMethodsRefuse_2_1(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	search := func(text string, types object) object {
		return object{"text": text, "entity_types": types, "project_ids": array{}, "max_results": nil}
	}
	c.fault(103, "query_display_name_cache", search("ab", object{"Shot": all()}))
	c.fault(103, "query_display_name_cache", search("abc", object{"Nope": all()}))
	c.fault(103, "query_display_name_cache", search("abc", object{"Shot": cond("nope", "is", 1)}))
	c.fault(104, "export_page", object{"format": "csv", "page_id": flowsite.DemoPage + 1, "layout_name": nil})
	c.fault(103, "export_page", object{"format": "xls", "page_id": flowsite.DemoPage, "layout_name": nil})
	c.fault(107, "nav_expand", object{"path": "/Nope", "seed_entity_field": nil, "entity_fields": nil})
	c.fault(103, "activity_stream", object{"type": "Shot", "id": 1, "max_id": nil, "min_id": nil, "limit": 501, "entity_fields": object{}})
	c.fault(103, "activity_stream", object{"type": "Shot", "id": 1, "max_id": nil, "min_id": nil, "limit": nil, "entity_fields": object{"Shot": array{"nope"}}})
	c.fault(103, "note_thread_contents", object{"note_id": flowsite.DemoNote, "entity_fields": object{"Note": array{"created_by.HumanUser.nope"}}})
	c.fault(104, "note_thread_contents", object{"note_id": 1, "entity_fields": object{}})
	c.fault(103, "follow", object{"user": link("ApiUser", 1), "entity": link("Shot", 1)})
	c.fault(104, "follow", object{"user": link("HumanUser", 99), "entity": link("Shot", 1)})
	c.fault(103, "work_schedule_read", object{"start_date": "2026-03-05", "end_date": "2026-03-04", "project": nil, "user": nil})
	c.fault(103, "user_subscriptions_create", object{"users": array{object{"humanUserId": 1, "subscription": 5}}})
	c.fault(104, "update_project_last_accessed_by_current_user", object{"project_id": flowsite.DemoFilm, "user_id": 99})
	clean(t, s)
}
