package flow_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"stagedoor/flow"
)

// stays is where a call stays, in one line.
func stays(c *flow.Call) string {
	var s []string
	if c.Projects != nil {
		s = append(s, fmt.Sprint("in ", c.Projects))
	}
	if c.Into != nil {
		s = append(s, fmt.Sprint("into ", c.Into))
	}
	if c.IntoOther {
		s = append(s, "into other")
	}
	for _, r := range c.Records {
		s = append(s, fmt.Sprintf("%s#%d", r.Type, r.ID))
	}
	if c.Hops > 0 {
		s = append(s, fmt.Sprintf("%d hops", c.Hops))
	}
	for i := range c.Parts {
		s = append(s, "("+stays(&c.Parts[i])+")")
	}
	return strings.Join(s, ", ")
}

// cond is a condition of api3, and all a group of which every one has to hold.
func cond(path, relation string, values ...string) string {
	return `{"path":"` + path + `","relation":"` + relation + `","values":[` + strings.Join(values, ",") + `]}`
}

func group(operator string, conditions ...string) string {
	return `{"logical_operator":"` + operator + `","conditions":[` + strings.Join(conditions, ",") + `]}`
}

func all(conditions ...string) string { return group("and", conditions...) }

func project(id int) string { return fmt.Sprintf(`{"type":"Project","id":%d}`, id) }

func readOf(typ, filters string) string {
	return call("read", `{"type":"`+typ+`","return_fields":["code"],"filters":`+filters+`}`)
}

// TestAFilterSaysWhereAReadStays, and only where every record has to satisfy it.
func TestAFilterSaysWhereAReadStays(t *testing.T) {
	p122, status := cond("project", "is", project(122)), cond("sg_status_list", "is", `"ip"`)
	for name, tt := range map[string]struct{ typ, filters, want string }{
		"one project":                 {"Shot", all(p122), "in [122]"},
		"and others":                  {"Shot", all(status, p122), "in [122]"},
		"several":                     {"Shot", all(cond("project", "in", project(145), project(122))), "in [122 145]"},
		"several with is":             {"Shot", all(cond("project", "is", project(145), project(122))), "in [122 145]"},
		"one twice":                   {"Shot", all(cond("project", "in", project(122), project(122))), "in [122]"},
		"by number":                   {"Shot", all(cond("project.Project.id", "in", "122", "145")), "in [122 145], 1 hops"},
		"with the project's name":     {"Shot", all(cond("project", "is", `{"name":"heron","id":122,"type":"Project","x":{"id":7}}`)), "in [122]"},
		"nested":                      {"Shot", all(status, all(all(p122))), "in [122]"},
		"two conditions":              {"Shot", all(cond("project", "in", project(1), project(2)), cond("project", "in", project(2), project(3))), "in [2]"},
		"two that contradict":         {"Shot", all(cond("project", "is", project(2)), cond("project", "is", project(3))), "in [2]"},
		"beside an or":                {"Shot", all(p122, group("or", status, cond("project", "is", project(9)))), "in [122]"},
		"the values first":            {"Shot", `{"conditions":[{"values":[` + project(122) + `],"relation":"is","path":"project"}],"logical_operator":"and"}`, "in [122]"},
		"spelled with escapes":        {"Shot", `{"logical_operator":"\u0061nd","conditions":[{"path":"pro\u006aect","relation":"i\u0073","values":[` + project(122) + `]}]}`, "in [122]"},
		"a project by id":             {"Project", all(cond("id", "in", "122", "145")), "in [122 145]"},
		"one project by id":           {"Project", all(cond("id", "is", "122")), "in [122], Project#122"},
		"one record by id":            {"Shot", all(cond("id", "is", "7")), "Shot#7"},
		"one record, and its project": {"Shot", all(cond("id", "is", "7"), p122), "in [122], Shot#7"},
		"one of two lists":            {"Shot", all(cond("id", "in", "7", "8"), cond("id", "in", "8", "9")), "Shot#8"},
		"records by id":               {"Shot", all(cond("id", "in", "7", "8")), ""},

		"none":                            {"Shot", all(), ""},
		"any of one":                      {"Shot", group("or", p122), ""},
		"any":                             {"Shot", group("or", p122, status), ""},
		"inside an or":                    {"Shot", all(group("or", p122), status), ""},
		"inside an or inside":             {"Shot", all(all(group("or", all(p122)))), ""},
		"an operator in other letters":    {"Shot", group("AND", p122), ""},
		"no operator":                     {"Shot", `{"conditions":[` + p122 + `]}`, ""},
		"an operator that is no text":     {"Shot", `{"logical_operator":1,"conditions":[` + p122 + `]}`, ""},
		"a condition without a group":     {"Shot", p122, ""},
		"not":                             {"Shot", all(cond("project", "is_not", project(122))), ""},
		"not in":                          {"Shot", all(cond("project", "not_in", project(122))), ""},
		"a relation in other letters":     {"Shot", all(cond("project", "Is", project(122))), ""},
		"no value":                        {"Shot", all(cond("project", "in")), ""},
		"null":                            {"Shot", all(cond("project", "is", "null")), ""},
		"null beside one":                 {"Shot", all(cond("project", "in", project(122), "null")), ""},
		"a name":                          {"Shot", all(cond("project", "is", `"heron"`)), ""},
		"a number":                        {"Shot", all(cond("project", "is", "122")), ""},
		"an entity of another type":       {"Shot", all(cond("project", "is", `{"type":"Shot","id":122}`)), ""},
		"a type in other letters":         {"Shot", all(cond("project", "is", `{"type":"project","id":122}`)), ""},
		"one of another type":             {"Shot", all(cond("project", "in", project(122), `{"type":"Asset","id":1}`)), ""},
		"no id":                           {"Shot", all(cond("project", "is", `{"type":"Project"}`)), ""},
		"the id 0":                        {"Shot", all(cond("project", "is", project(0))), ""},
		"an id that is a text":            {"Shot", all(cond("project", "is", `{"type":"Project","id":"122"}`)), ""},
		"an id with a fraction":           {"Shot", all(cond("project", "is", `{"type":"Project","id":122.0}`)), ""},
		"an id beyond all":                {"Shot", all(cond("project", "is", `{"type":"Project","id":9007199254740993}`)), ""},
		"a list in the list":              {"Shot", all(cond("project", "in", "["+project(122)+"]")), ""},
		"values that are no list":         {"Shot", `{"logical_operator":"and","conditions":[{"path":"project","relation":"is","values":` + project(122) + `}]}`, ""},
		"no relation":                     {"Shot", `{"logical_operator":"and","conditions":[{"path":"project","values":[` + project(122) + `]}]}`, ""},
		"no path":                         {"Shot", `{"logical_operator":"and","conditions":[{"relation":"is","values":[` + project(122) + `]}]}`, ""},
		"the project of a link":           {"Task", all(cond("entity.Shot.project", "is", project(122))), "1 hops"},
		"a link's project by number":      {"Task", all(cond("entity.Shot.project.Project.id", "is", "122")), "2 hops"},
		"a project's name":                {"Shot", all(cond("project.Project.name", "is", `"heron"`)), "1 hops"},
		"an entity for a number":          {"Shot", all(cond("project.Project.id", "is", project(122))), "1 hops"},
		"a project by another field":      {"Project", all(cond("code", "is", "122")), ""},
		"the project of a project":        {"Project", all(p122), ""},
		"a type whose filters don't hold": {"EventLogEntry", all(p122), ""},
		"another of those":                {"PageSetting", all(p122, cond("id", "is", "1")), ""},
		"of a type in other letters":      {"Eventlogentry", all(p122), ""},
		"more than anybody names":         {"Shot", all(cond("project", "in", strings.Split(strings.Repeat(project(1)+"|", flow.MaxStated)+project(2), "|")...)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, body := range []string{
				readOf(tt.typ, tt.filters),
				call("read", `{"filters":`+tt.filters+`,"return_fields":["code"],"type":"`+tt.typ+`"}`), // Python 2 writes members in any order
				call("summarize", `{"type":"`+tt.typ+`","filters":`+tt.filters+`,"summaries":[],"include_archived_projects":false}`),
			} {
				if got := stays(&parse(t, body).Call); got != tt.want {
					t.Errorf("%q, want %q: %s", got, tt.want, body)
				}
			}
		})
	}
}

func TestWhereOtherCallsStay(t *testing.T) {
	write := func(fields ...string) string { return `"fields":[` + strings.Join(fields, ",") + `]` }
	field := func(name, value string) string { return `{"field_name":"` + name + `","value":` + value + `}` }
	user := `{"type":"HumanUser","id":3}`
	for name, tt := range map[string]struct{ method, arg, want string }{
		"create":                        {"create", `{"type":"Shot",` + write(field("code", `"a"`), field("project", project(122))) + `}`, "in [122]"},
		"create without a project":      {"create", `{"type":"Shot",` + write(field("code", `"a"`)) + `}`, ""},
		"create with null":              {"create", `{"type":"Shot",` + write(field("project", `null`)) + `}`, ""},
		"create in two":                 {"create", `{"type":"Shot",` + write(field("project", project(122)), field("project", project(145))) + `}`, ""},
		"create in one twice":           {"create", `{"type":"Shot",` + write(field("project", project(122)), field("project", project(122))) + `}`, "in [122]"},
		"create with a mode":            {"create", `{"type":"Shot",` + write(`{"field_name":"project","value":`+project(122)+`,"multi_entity_update_mode":"add"}`) + `}`, ""},
		"create in other letters":       {"create", `{"type":"Shot",` + write(field("project", project(122)), field("Project", project(145))) + `}`, ""},
		"the value first":               {"create", `{"type":"Shot","fields":[{"value":` + project(122) + `,"field_name":"project"}]}`, "in [122]"},
		"create a project":              {"create", `{"type":"Project",` + write(field("project", project(122))) + `}`, ""},
		"create with a list":            {"create", `{"type":"Shot",` + write(field("project", "["+project(122)+"]")) + `}`, ""},
		"create with a mode inside":     {"create", `{"type":"Shot",` + write(field("project", `{"type":"Project","id":122,"multi_entity_update_mode":"set"}`)) + `}`, ""},
		"update":                        {"update", `{"type":"Shot","id":7,` + write(field("code", `"a"`)) + `}`, "Shot#7"},
		"update that moves":             {"update", `{"type":"Shot","id":7,` + write(field("project", project(145))) + `}`, "into [145], Shot#7"},
		"update that moves twice":       {"update", `{"type":"Shot","id":7,` + write(field("project", project(145)), field("project", project(122))) + `}`, "into [122 145], Shot#7"},
		"update out of all":             {"update", `{"type":"Shot","id":7,` + write(field("project", "null")) + `}`, "into other, Shot#7"},
		"update without an id":          {"update", `{"type":"Shot",` + write() + `}`, ""},
		"update with a text for an id":  {"update", `{"type":"Shot","id":"7",` + write() + `}`, ""},
		"update that moves, by letters": {"update", `{"type":"Shot","id":7,` + write(field("PROJECT", project(145))) + `}`, "into other, Shot#7"},
		"delete":                        {"delete", `{"type":"Shot","id":7}`, "Shot#7"},
		"revive":                        {"revive", `{"id":7,"type":"Shot"}`, "Shot#7"},
		"batch": {"batch", `[{"request_type":"create","type":"Shot",` + write(field("project", project(122))) + `},` +
			`{"request_type":"update","type":"Shot","id":7,` + write(field("project", project(145))) + `},` +
			`{"request_type":"delete","type":"Task","id":8}]`, "(in [122]), (into [145], Shot#7), (Task#8)"},
		"follow":                     {"follow", `{"user":` + user + `,"entity":{"type":"Shot","id":7}}`, "Shot#7"},
		"unfollow":                   {"unfollow", `{"user":` + user + `,"entity":{"type":"Shot","id":7}}`, "Shot#7"},
		"followers":                  {"followers", `{"entity":{"type":"Shot","id":7}}`, "Shot#7"},
		"following":                  {"following", `{"user":` + user + `,"entity_type":"Shot"}`, ""},
		"following in a project":     {"following", `{"user":` + user + `,"project":` + project(122) + `,"entity_type":"Shot"}`, "in [122]"},
		"following in what is none":  {"following", `{"user":` + user + `,"project":{"type":"Shot","id":122}}`, ""},
		"a note's thread":            {"note_thread_contents", `{"note_id":6}`, "Note#6"},
		"an activity stream":         {"activity_stream", `{"type":"Shot","id":7,"entity_fields":{"Task":["entity.Shot.code","entity.Shot.id"]}}`, "Shot#7, 1 hops"},
		"a project is looked at":     {"update_project_last_accessed_by_current_user", `{"project_id":122}`, "Project#122"},
		"a schedule":                 {"work_schedule_read", `{"start_date":"2026-01-01","end_date":"2026-01-02","project":` + project(122) + `,"user":null}`, "in [122]"},
		"a person's schedule":        {"work_schedule_read", `{"start_date":"2026-01-01","end_date":"2026-01-02","project":` + project(122) + `,"user":` + user + `}`, ""},
		"a schedule is written":      {"work_schedule_update", `{"date":"2026-01-01","working":true,"project":` + project(122) + `,"user":null}`, "in [122]"},
		"a person's is written":      {"work_schedule_update", `{"date":"2026-01-01","working":true,"project":` + project(122) + `,"user":` + user + `}`, ""},
		"a text search":              {"query_display_name_cache", `{"text":"a","entity_types":{"Shot":` + all() + `,"Asset":` + all() + `},"project_ids":[145,122]}`, "in [122 145]"},
		"in no project":              {"query_display_name_cache", `{"text":"a","entity_types":{"Shot":` + all() + `},"project_ids":[]}`, ""},
		"of people too":              {"query_display_name_cache", `{"text":"a","entity_types":{"Shot":` + all() + `,"HumanUser":` + all() + `},"project_ids":[122]}`, ""},
		"in a project without an id": {"query_display_name_cache", `{"text":"a","entity_types":{"Shot":` + all() + `},"project_ids":[122,null]}`, ""},
		"by filters":                 {"query_display_name_cache", `{"text":"a","entity_types":{"Shot":` + all(cond("project", "is", project(122))) + `,"CustomEntity01":` + all(cond("project", "is", project(145))) + `}}`, "in [122 145]"},
		"by a filter of one":         {"query_display_name_cache", `{"text":"a","entity_types":{"Shot":` + all(cond("project", "is", project(122))) + `,"Asset":` + all() + `}}`, ""},
		"by both":                    {"query_display_name_cache", `{"text":"a","project_ids":[122,9],"entity_types":{"Shot":` + all(cond("project", "in", project(122), project(145))) + `}}`, "in [122]"},
		"of projects":                {"query_display_name_cache", `{"text":"a","project_ids":[122],"entity_types":{"Project":` + all(cond("id", "is", "145")) + `}}`, "in [145]"},
		"in no type":                 {"query_display_name_cache", `{"text":"a","entity_types":{},"project_ids":[122]}`, ""},
		"a preset":                   {"read", `{"type":"Version","filters":` + all(cond("project", "is", project(122))) + `,"return_fields":["code"],"additional_filter_presets":[{"preset_name":"LATEST","latest_by":"x"}]}`, "in [122]"},
		"archived projects":          {"read", `{"type":"Version","filters":` + all(cond("project", "is", project(122))) + `,"return_fields":["code"],"include_archived_projects":true}`, "in [122]"},
		"hops":                       {"read", `{"return_fields":["entity.Shot.code","entity.Shot.id","entity.Shot.sg_sequence.Sequence.code","entity.Asset.code"],"type":"Version","sorts":[{"field_name":"entity.Shot.code"}],"filters":` + all(cond("user.HumanUser.login", "is", `"a"`)) + `}`, "4 hops"},
		"a page":                     {"export_page", `{"page_id":5,"format":"csv"}`, ""},
		"a schema":                   {"schema_field_read", `{"type":"Shot","project":` + project(122) + `}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := stays(&parse(t, call(tt.method, tt.arg)).Call); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestWhereRESTCallsStay(t *testing.T) {
	const upload = ` {"upload_info":{"upload_type":"Attachment"}}`
	for line, want := range map[string]string{
		"GET /entity/shots?filter[project.Project.id]=122":                                                                       "in [122], 1 hops",
		"GET /entity/shots?filter[project.Project.id]=145,122&filter[code]=a":                                                    "in [122 145], 1 hops",
		"GET /entity/shots?filter[project.Project.id]=122,":                                                                      "1 hops",
		"GET /entity/shots?filter[project.Project.id]=122,x":                                                                     "1 hops",
		"GET /entity/shots?filter[project.Project.id]=":                                                                          "1 hops",
		"GET /entity/shots?filter[project]=heron":                                                                                "",
		"GET /entity/shots?filter[project]=122":                                                                                  "",
		"GET /entity/shots?filter[entity.Shot.project.Project.id]=122":                                                           "2 hops",
		"GET /entity/projects?filter[id]=122,145":                                                                                "in [122 145]",
		"GET /entity/shots?filter[id]=7":                                                                                         "Shot#7",
		"GET /entity/event_log_entries?filter[project.Project.id]=122":                                                           "1 hops",
		"GET /entity/shots/7":                                                                                                    "Shot#7",
		"GET /entity/shots/0":                                                                                                    "",
		"GET /entity/projects/122?fields=name":                                                                                   "in [122], Project#122",
		"GET /entity/shots/7/relationships/assets":                                                                               "Shot#7",
		"GET /entity/versions/7/image?alt=original":                                                                              "Version#7",
		"GET /entity/versions/7/image":                                                                                           "Version#7",
		`POST /entity/shots/_search {"filters":[["project","is",` + project(122) + `]]}`:                                         "in [122]",
		`POST /entity/shots/_search {"filters":[["project","in",[` + project(122) + `]]]}`:                                       "in [122]",
		`POST /entity/shots/_search {"filters":[["project","in",` + project(1) + `,` + project(2) + `]]}`:                        "in [1 2]",
		`POST /entity/shots/_search {"filters":[["project","in",[` + project(1) + `],` + project(2) + `]]}`:                      "in [1 2]",
		`POST /entity/shots/_search {"filters":[["project","in",` + project(1) + `,[` + project(2) + `]]]}`:                      "",
		`POST /entity/shots/_search {"filters":[["project","in",[]]]}`:                                                           "",
		`POST /entity/shots/_search {"filters":[["project","is",null]]}`:                                                         "",
		`POST /entity/shots/_search {"filters":[["project","is_not",` + project(122) + `]]}`:                                     "",
		`POST /entity/shots/_search {"filters":[["project.Project.id","in",[2,1]],["code","is","a"]]}`:                           "in [1 2], 1 hops",
		`POST /entity/shots/_search {"filters":[["id","is",7]]}`:                                                                 "Shot#7",
		`POST /entity/shots/_search {"filters":[]}`:                                                                              "",
		`POST /entity/shots/_search {"filters":{"logical_operator":"and","conditions":[["project","is",` + project(122) + `]]}}`: "in [122]",
		`POST /entity/shots/_search {"filters":{"conditions":[["project","is",` + project(122) + `]]}}`:                          "",
		`POST /entity/shots/_search {"filters":{"logical_operator":"or","conditions":[["project","is",` + project(122) + `]]}}`:  "",
		`POST /entity/shots/_search {"filters":{"conditions":[{"logical_operator":"and","conditions":[["project","is",` + project(122) + `]]}],"logical_operator":"and"}}`: "in [122]",
		`POST /entity/shots/_search {"filters":{"conditions":[{"logical_operator":"or","conditions":[["project","is",` + project(122) + `]]}],"logical_operator":"and"}}`:  "",
		`POST /entity/shots/_summarize {"filters":[["project","is",` + project(122) + `]],"summary_fields":[{"field":"id","type":"count"}]}`:                               "in [122]",
		`POST /entity/_text_search {"text":"a","entity_types":{"Shot":[["project","is",` + project(122) + `]],"Asset":[["project","is",` + project(145) + `]]}}`:           "in [122 145]",
		`POST /entity/_text_search {"text":"a","entity_types":{"Shot":[["project","is",` + project(122) + `]],"Asset":[]}}`:                                                "",
		`POST /entity/shots {"code":"a","project":` + project(122) + `}`:                                                                                                   "in [122]",
		`POST /entity/shots {"code":"a"}`: "",
		`POST /entity/shots {"project":` + project(122) + `,"Project":` + project(145) + `}`:              "",
		`PUT /entity/shots/7 {"code":"a"}`:                                                                "Shot#7",
		`PUT /entity/shots/7 {"project":` + project(145) + `}`:                                            "into [145], Shot#7",
		`PUT /entity/shots/7 {"project":null}`:                                                            "into other, Shot#7",
		`PUT /entity/shots/7 {"project":{"multi_entity_update_mode":"add","value":[` + project(1) + `]}}`: "into other, Shot#7",
		"DELETE /entity/shots/7":                                                                          "Shot#7",
		"POST /entity/shots/7?revive=1":                                                                   "Shot#7",
		`POST /entity/_batch {"requests":[{"request_type":"create","entity":"shots","data":{"project":` + project(122) + `}},{"request_type":"update","entity":"Shot","record_id":7,"data":{"project":` + project(145) + `}},{"request_type":"delete","entity":"Task","record_id":8}]}`: "(in [122]), (into [145], Shot#7), (Task#8)",
		"GET /entity/shots/7/activity_stream?entity_fields[Task]=entity.Shot.code":                                          "Shot#7, 1 hops",
		"GET /entity/shots/7/followers":                                                                                     "Shot#7",
		"GET /entity/human_users/3/following?project_id=122&entity=shots":                                                   "in [122]",
		"GET /entity/human_users/3/following":                                                                               "",
		`POST /entity/human_users/3/follow {"entities":[{"record_id":7,"entity":"shots"},{"record_id":8,"entity":"Shot"}]}`: "Shot#7, Shot#8",
		`POST /entity/human_users/3/follow {"entities":[{"record_id":7,"entity":"shots"},{"record_id":9,"entity":"Asset"},{"record_id":8,"entity":"Shot"}]}`: "(Shot#7, Shot#8), (Asset#9)",
		`POST /entity/human_users/3/follow {"entities":[{"record_id":7,"entity":"shots"},{"entity":"Shot"}]}`:                                                "",
		`PUT /entity/shots/7/unfollow {"user_id":3}`:                                            "Shot#7",
		"GET /entity/notes/6/thread_contents":                                                   "Note#6",
		`PUT /entity/projects/122/_update_last_accessed {"user_id":3}`:                          "Project#122",
		"GET /entity/notes/6/attachments/_upload?filename=a":                                    "Note#6",
		"PUT /entity/notes/6/_upload?filename=a&signature=b":                                    "Note#6",
		"POST /entity/notes/6/_upload" + upload:                                                 "Note#6",
		`POST /entity/notes/6/_upload/multipart_abort {"upload_id":"x"}`:                        "Note#6",
		"GET /schedule/work_day_rules?start_date=2026-01-01&end_date=2026-01-02&project_id=122": "in [122]",
		"GET /schedule/work_day_rules?project_id=122&user_id=3":                                 "",
		`PUT /schedule/work_day_rules {"date":"2026-01-01","project_id":122}`:                   "in [122]",
		`PUT /schedule/work_day_rules {"date":"2026-01-01","project_id":122,"user_id":3}`:       "",
		"GET /schema/shots?project_id=122":                                                      "",
		"GET /exports/page/5.csv":                                                               "",
	} {
		t.Run(line, func(t *testing.T) {
			if got := stays(&rest(t, line).Call); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestWhereFilesGo(t *testing.T) {
	form := func(path, fields string) *flow.Call {
		f, err := flow.ParseForm(path, []byte(fields), nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return &f.Call
	}
	file := func(path string) *flow.Call {
		d, err := flow.ParseDownload(path, "")
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return &d.Call
	}
	for name, tt := range map[string]struct {
		call *flow.Call
		want string
	}{
		"a file that is complete":  {form("/upload/api_link_file", "entity_type=Note&entity_id=6&upload_link_info=x"), "Note#6"},
		"a link for one":           {form("/upload/api_get_upload_link_info", "upload_type=Attachment&filename=a"), ""},
		"a thumbnail that is lent": {form("/upload/share_thumbnail", "entities=Shot_7,Asset_9,Shot_7&source_entity=Version_3"), "Shot#7, Asset#9, Version#3"},
		"lent to its own":          {form("/upload/share_thumbnail", "entities=Shot_7&source_entity=Shot_7"), "Shot#7"},
		"a thumbnail":              {file("/thumbnail/full/Shot/7"), "Shot#7"},
		"an attachment":            {file("/file_serve/attachment/9/a.mov"), "Attachment#9"},
		"a film":                   {file("/file_serve/version/9/mp4"), "Version#9"},
		"a picture of the site":    {file("/images/status.png"), ""},
		"a stored file":            {file("/files/0000/0001/a.png"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := stays(tt.call); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestCost: parts, pages and hops.
func TestCost(t *testing.T) {
	paged := func(n int) string {
		return fmt.Sprintf(`{"type":"Shot","return_fields":["code"],"paging":{"entities_per_page":%d,"current_page":1}}`, n)
	}
	update := `{"request_type":"update","type":"Shot","id":7,"fields":[]}`
	for name, tt := range map[string]struct {
		method, arg string
		want        int
	}{
		"a read":               {"read", `{"type":"Shot","return_fields":["code"]}`, 1},
		"a page of 1":          {"read", paged(1), 1},
		"a page of 500":        {"read", paged(500), 1},
		"a page of 501":        {"read", paged(501), 2},
		"a page of 5000":       {"read", paged(5000), 10},
		"a page of all":        {"read", paged(1_000_000_000), 10},
		"two hops":             {"read", `{"type":"Version","return_fields":["entity.Shot.code","entity.Shot.sg_sequence.Sequence.code"]}`, 3},
		"a summary with a hop": {"summarize", `{"type":"Version","filters":` + all() + `,"summaries":[{"field":"entity.Shot.id","type":"count"}]}`, 2},
		"an update with a hop": {"create", `{"type":"Version","fields":[],"return_fields":["entity.Shot.code"]}`, 1},
		"a batch":              {"batch", "[" + update + "," + update + "," + update + "]", 3},
		"a schema":             {"schema_field_read", `{"type":"Shot"}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parse(t, call(tt.method, tt.arg)).Call.Cost(); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
	if got := rest(t, "GET /entity/shots?page[size]=1001&fields=entity.Asset.code").Call.Cost(); got != 4 {
		t.Errorf("on REST: %d", got)
	}
}

// TestHopsAreCountedOnce, however many there are.
func TestHopsAreCountedOnce(t *testing.T) {
	var fields []string
	for i := range 40 {
		fields = append(fields, fmt.Sprintf(`"f%d.Shot.code"`, i))
	}
	fields = append(fields, fields...)
	slices.Reverse(fields)
	m := parse(t, call("read", `{"type":"Version","return_fields":[`+strings.Join(fields, ",")+`]}`))
	if m.Call.Hops != 40 {
		t.Errorf("%d hops", m.Call.Hops)
	}
}
