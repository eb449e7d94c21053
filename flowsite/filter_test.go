package flowsite_test

import (
	"fmt"
	"slices"
	"testing"

	"stagedoor/flowsite"
)

// filterSite has rows made for filters: 101 has everything, 102 little, 103
// is of another sequence.
func filterSite(t *testing.T) *flowsite.Site {
	t.Helper()
	s := newSite(t, flowsite.Options{})
	film := link("Project", flowsite.DemoFilm)
	s.Seed("Sequence", object{"id": 50, "code": "SQ50", "project": film})
	s.Seed("Asset", object{"id": 60, "code": "Boat", "project": film})
	s.Seed("Asset", object{"id": 61, "code": "Gull", "project": film})
	s.Seed("Shot", object{
		"id": 101, "code": "F_0010", "project": film, "description": "Wide on the Pier", "sg_sequence": link("Sequence", 50),
		"assets": array{link("Asset", 60), link("Asset", 61)}, "sg_cut_in": 1001, "sg_cut_order": 1.5, "sg_bid": 99.5,
		"sg_turnover": "2026-03-04", "sg_status_list": "fin", "sg_shot_type": "VFX", "image": "x.png", "addressings_cc": array{link("HumanUser", 1)},
	})
	s.Seed("Shot", object{"id": 102, "code": "F_0020", "project": film, "sg_cut_in": 1100, "sg_turnover": "2026-03-01"})
	s.Seed("Shot", object{
		"id": 103, "code": "f_0030", "project": film, "sg_sequence": link("Sequence", 1), "assets": array{link("Asset", 61)},
		"sg_cut_in": 900, "sg_turnover": "2026-02-27", "sg_status_list": "rev",
	})
	s.Seed("Task", object{"id": 201, "content": "Roto", "project": film, "entity": link("Shot", 101), "milestone": true, "duration": 600, "percent_complete": 50})
	s.Seed("Task", object{"id": 202, "content": "Paint", "project": film, "entity": link("Asset", 60)})
	s.Seed("Version", object{"id": 301, "code": "v1", "project": film, "tag_list": array{"hero", "wip"}, "sg_timecode": 3_600_000, "client_approved": true})
	return s
}

// §2.4: the relations by data type, and nesting; what each selects of rows
// 101–103 (or what the table says).
func TestFilterGrammar_2_4(t *testing.T) {
	seq50, boat, gull := link("Sequence", 50), link("Asset", 60), link("Asset", 61)
	shots, tasks, versions := []int{101, 102, 103}, []int{201, 202}, []int{301}
	tests := []struct {
		typ    string
		of     []int
		filter any
		want   []int
	}{
		{"Shot", shots, all(), shots},
		{"Shot", shots, object{"logical_operator": "or", "conditions": array{}}, shots},
		// text
		{"Shot", shots, cond("code", "is", "F_0010"), []int{101}},
		{"Shot", shots, cond("description", "is", nil), []int{102, 103}},
		{"Shot", shots, cond("description", "is_not", nil), []int{101}},
		{"Shot", shots, cond("description", "is_not", "Wide on the Pier"), []int{102, 103}},
		{"Shot", shots, cond("description", "contains", "the pier"), []int{101}},
		{"Shot", shots, cond("description", "not_contains", "pier"), []int{102, 103}},
		{"Shot", shots, cond("code", "starts_with", "f_"), shots},
		{"Shot", shots, cond("code", "ends_with", "20"), []int{102}},
		{"Shot", shots, cond("code", "in", "F_0010", "f_0030"), []int{101, 103}},
		{"Shot", shots, cond("code", "in", array{"F_0010", "f_0030"}), []int{101, 103}},
		{"Shot", shots, cond("code", "not_in", "F_0010"), []int{102, 103}},
		{"Shot", shots, cond("code", "in"), []int{}},
		// numbers
		{"Shot", shots, cond("sg_cut_in", "is", 1100), []int{102}},
		{"Shot", shots, cond("sg_cut_in", "is_not", 1100), []int{101, 103}},
		{"Shot", shots, cond("sg_cut_in", "less_than", 1001), []int{103}},
		{"Shot", shots, cond("sg_cut_in", "greater_than", 1000), []int{101, 102}},
		{"Shot", shots, cond("sg_cut_in", "between", 900, 1001), []int{101, 103}},
		{"Shot", shots, cond("sg_cut_in", "not_between", 900, 1001), []int{102}},
		{"Shot", shots, cond("sg_cut_in", "in", 900, 1100), []int{102, 103}},
		{"Shot", shots, cond("sg_cut_order", "is", 1.5), []int{101}},
		{"Shot", shots, cond("sg_cut_order", "less_than", 2), []int{101}},
		{"Shot", shots, cond("sg_cut_order", "not_between", 0, 9), []int{102, 103}},
		{"Shot", shots, cond("sg_bid", "greater_than", 99), []int{101}},
		{"Shot", shots, cond("id", "in", 101, 103), []int{101, 103}},
		{"Task", tasks, cond("duration", "between", 1, 600), []int{201}},
		{"Task", tasks, cond("percent_complete", "is", 50), []int{201}},
		{"Version", versions, cond("sg_timecode", "greater_than", 3_599_999), versions},
		// checkbox, list, status, image
		{"Task", tasks, cond("milestone", "is", true), []int{201}},
		{"Task", tasks, cond("milestone", "is_not", true), []int{202}},
		{"Version", versions, cond("client_approved", "is", true), versions},
		{"Shot", shots, cond("sg_shot_type", "is", "VFX"), []int{101}},
		{"Shot", shots, cond("sg_shot_type", "not_in", "VFX"), []int{102, 103}},
		{"Shot", shots, cond("sg_status_list", "in", "fin", "rev"), []int{101, 103}},
		{"Shot", shots, cond("sg_status_list", "is_not", "wtg"), []int{101, 103}},
		{"Shot", shots, cond("image", "is", nil), []int{102, 103}},
		{"Shot", shots, cond("image", "is_not", nil), []int{101}},
		// dates; now is Wednesday 2026-03-04 10:30 UTC
		{"Shot", shots, cond("sg_turnover", "is", "2026-03-04"), []int{101}},
		{"Shot", shots, cond("sg_turnover", "less_than", "2026-03-01"), []int{103}},
		{"Shot", shots, cond("sg_turnover", "between", "2026-03-01", "2026-03-04"), []int{101, 102}},
		{"Shot", shots, cond("sg_turnover", "in_last", 3, "DAY"), []int{101, 102}},
		{"Shot", shots, cond("sg_turnover", "not_in_last", 3, "DAY"), []int{103}},
		{"Shot", shots, cond("sg_turnover", "in_last", 1, "WEEK"), shots},
		{"Shot", shots, cond("sg_turnover", "in_next", 1, "MONTH"), []int{101}},
		{"Shot", shots, cond("sg_turnover", "not_in_next", 1, "YEAR"), []int{102, 103}},
		{"Shot", shots, cond("sg_turnover", "in_calendar_day", 0), []int{101}},
		{"Shot", shots, cond("sg_turnover", "in_calendar_day", -3), []int{102}},
		{"Shot", shots, cond("sg_turnover", "in_calendar_week", 0), []int{101}},
		{"Shot", shots, cond("sg_turnover", "in_calendar_week", -1), []int{102, 103}},
		{"Shot", shots, cond("sg_turnover", "in_calendar_month", -1), []int{103}},
		{"Shot", shots, cond("sg_turnover", "in_calendar_year", 0), shots},
		{"Shot", shots, cond("created_at", "in_last", 1, "HOUR"), shots},
		{"Shot", shots, cond("created_at", "in_calendar_day", 1), []int{}},
		{"Shot", shots, cond("created_at", "greater_than", "2026-03-04T10:29:59Z"), shots},
		// links
		{"Shot", shots, cond("sg_sequence", "is", seq50), []int{101}},
		{"Shot", shots, cond("sg_sequence", "is_not", seq50), []int{102, 103}},
		{"Shot", shots, cond("sg_sequence", "is", nil), []int{102}},
		{"Shot", shots, cond("sg_sequence", "in", seq50, link("Sequence", 1)), []int{101, 103}},
		{"Shot", shots, cond("sg_sequence", "not_in", seq50), []int{102, 103}},
		{"Task", tasks, cond("entity", "type_is", "Asset"), []int{202}},
		{"Task", tasks, cond("entity", "type_is_not", "Asset"), []int{201}},
		{"Shot", shots, cond("sg_sequence", "name_contains", "q5"), []int{101}},
		{"Shot", shots, cond("sg_sequence", "name_not_contains", "q5"), []int{102, 103}},
		{"Shot", shots, cond("sg_sequence", "name_is", "SQ50"), []int{101}},
		{"Shot", shots, cond("sg_sequence", "name_starts_with", "sq"), []int{101}},
		{"Shot", shots, cond("sg_sequence", "name_ends_with", "sq01"), []int{103}},
		// lists of links
		{"Shot", shots, cond("assets", "is", boat), []int{101}},
		{"Shot", shots, cond("assets", "is_not", boat), []int{102, 103}},
		{"Shot", shots, cond("assets", "is", nil), []int{102}},
		{"Shot", shots, cond("assets", "in", boat, gull), []int{101, 103}},
		{"Shot", shots, cond("assets", "not_in", gull), []int{102}},
		{"Shot", shots, cond("assets", "type_is", "Asset"), []int{101, 103}},
		{"Shot", shots, cond("assets", "name_contains", "boa"), []int{101}},
		{"Shot", shots, cond("tasks", "is", link("Task", 201)), []int{101}},
		{"Shot", shots, cond("addressings_cc", "contains", link("HumanUser", 1)), []int{101}},
		{"Shot", shots, cond("addressings_cc", "not_contains", link("HumanUser", 1)), []int{102, 103}},
		{"Version", versions, cond("tag_list", "is", "hero"), versions},
		{"Version", versions, cond("tag_list", "name_contains", "wi"), versions},
		{"Version", versions, cond("tag_list", "name_id", "none"), []int{}},
		// dotted paths
		{"Shot", shots, cond("sg_sequence.Sequence.code", "is", "SQ50"), []int{101}},
		{"Task", tasks, cond("entity.Shot.sg_sequence.Sequence.code", "starts_with", "SQ"), []int{201}},
		{"Task", tasks, cond("entity.Shot.code", "is_not", "F_0010"), []int{202}},
		{"Shot", shots, cond("assets.Asset.code", "is", "Boat"), []int{101}},
		{"Shot", shots, cond("assets.Asset.code", "is_not", "Gull"), []int{102}},
		{"Shot", shots, cond("project.Project.name", "is", "Harbour Lights"), shots},
		// nesting, and the short form of a condition
		{"Shot", shots, anyOf(cond("id", "is", 102), all(cond("sg_cut_in", "less_than", 1002), cond("assets", "is", boat))), []int{101, 102}},
		{"Shot", shots, all(cond("sg_cut_in", "greater_than", 950), anyOf(cond("id", "is", 102), cond("id", "is", 103))), []int{102}},
		{"Shot", shots, all(array{"sg_cut_in", "is", 900}), []int{103}},
		{"Shot", shots, cond("type", "is", "Shot"), shots},
	}
	s := filterSite(t)
	for _, tt := range tests {
		t.Run(encode(t, tt.filter), func(t *testing.T) {
			got := ids(call(t, s).rows(readArgs(tt.typ, tt.filter)))
			got = slices.DeleteFunc(got, func(id int) bool { return !slices.Contains(tt.of, id) })
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	clean(t, s)
}

// §2.4: what can't be filtered, and what no site has, is a fault.
func TestFiltersRefused_2_4(t *testing.T) {
	s := filterSite(t)
	tests := []struct {
		typ    string
		filter any
	}{
		{"Shot", cond("nope", "is", 1)},
		{"Shot", cond("sg_sequence.Nope.code", "is", 1)},
		{"Shot", cond("sg_sequence.Sequence.nope", "is", 1)},
		{"Shot", cond("sg_sequence.Sequence", "is", 1)},
		{"Shot", cond("code.Sequence.code", "is", "x")},
		{"Shot", cond("code", "nope", "x")},
		{"Shot", cond("code", "less_than", "x")},
		{"Shot", cond("code", "is", 5)},
		{"Shot", cond("code", "contains", nil)},
		{"Shot", cond("code", "contains", "a", "b")},
		{"Shot", cond("code", "is")},
		{"Shot", cond("sg_cut_in", "is", "1001")},
		{"Shot", cond("sg_cut_in", "is", 1.5)},
		{"Shot", cond("sg_cut_in", "between", 1)},
		{"Shot", cond("sg_cut_in", "less_than", nil)},
		{"Shot", cond("sg_turnover", "is", "4.3.2026")},
		{"Shot", cond("sg_turnover", "in_last", 3)},
		{"Shot", cond("sg_turnover", "in_last", 3, "FORTNIGHT")},
		{"Shot", cond("sg_turnover", "in_calendar_day", "x")},
		{"Shot", cond("sg_sequence", "is", "SQ50")},
		{"Shot", cond("sg_sequence", "is", object{"type": "Nope", "id": 1})},
		{"Task", cond("entity", "type_is", "Nope")},
		{"Shot", cond("image", "is", "x.png")},
		{"Shot", cond("sg_status_list", "is", "nope")},
		{"Shot", cond("open_notes_count", "is", 1)},       // summary
		{"Task", cond("workload", "is", 1)},               // calculated
		{"Version", cond("sg_metadata", "is", nil)},       // serializable
		{"Version", cond("sg_uploaded_movie", "is", nil)}, // url
		{"HumanUser", cond("password_proxy", "is", "x")},  // password
		{"Shot", object{"logical_operator": "xor", "conditions": array{}}},
		{"Shot", object{"logical_operator": "and"}},
		{"Shot", object{"path": "code", "relation": "is", "values": array{"x"}, "more": 1}},
		{"Shot", object{"path": "code", "relation": "is", "value": "x"}},
		{"Shot", array{}},
		{"Shot", "code is x"},
		{"Shot", nil},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.filter), func(t *testing.T) {
			call(t, s).fault(103, "read", readArgs(tt.typ, tt.filter))
		})
	}
	clean(t, s)
}

// §2.4: two fields take any filter and select everything.
func TestIgnoredFilters_2_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	s.Seed("PageSetting", object{"name": "one", "settings_json": object{"a": 1}})
	got := call(t, s).rows(readArgs("PageSetting", cond("settings_json", "is", "anything")))
	if len(got) != 1 {
		t.Errorf("%d rows", len(got))
	}
}

// Filters on the project confine reads, searches and summaries, in every form
// that the proxy takes for proof or adds; but for the two types on which the
// site may ignore them, where they are checked all the same.
func TestFiltersOnTheProjectConfine(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	s.Seed("PageSetting", object{"name": "of the series", "project": link("Project", flowsite.DemoSeries)})
	film, series := link("Project", flowsite.DemoFilm), link("Project", flowsite.DemoSeries)
	forms := []any{
		all(cond("project", "is", film)), all(cond("project", "in", film)), all(cond("project.Project.id", "is", flowsite.DemoFilm)),
		all(cond("project.Project.id", "in", flowsite.DemoFilm)),
		all(all(cond("project", "is", film)), anyOf(cond("project", "is", series), cond("id", "greater_than", 0))),
	}
	for _, filters := range forms {
		for _, typ := range []string{"Asset", "Shot", "Sequence", "Version", "Task", "Note", "Playlist", "PublishedFile", "Cut"} {
			rows := call(t, s).rows(readArgs(typ, filters, "project"))
			whole := call(t, s).rows(readArgs(typ, all(), "project"))
			if len(rows) == 0 || typ == "Shot" && len(rows) == len(whole) {
				t.Errorf("%v: %d of %d rows of %s", filters, len(rows), len(whole), typ)
			}
			for _, row := range rows {
				m, _ := row.(object)
				if p, _ := m["project"].(object); fmt.Sprint(p["id"]) != fmt.Sprint(flowsite.DemoFilm) {
					t.Errorf("%v: a %s of %v", filters, typ, m["project"])
				}
			}
		}
		if rows := call(t, s).rows(readArgs("PageSetting", filters)); len(rows) != 1 {
			t.Errorf("%v confines PageSetting", filters)
		}
	}
	if rows := call(t, s).rows(readArgs("Shot", all(cond("project", "in", film, series)))); len(rows) != 12 {
		t.Errorf("%d shots of both", len(rows))
	}
	call(t, s).fault(103, "read", readArgs("PageSetting", cond("project", "contains", "x")))
	call(t, s).ok("create", object{"type": "Shot", "fields": fields("code", "x", "project", series), "return_fields": array{}})
	if rows := call(t, s).rows(readArgs("EventLogEntry", cond("project", "is", film))); len(rows) == 0 {
		t.Error("a filter confines EventLogEntry")
	}
}
