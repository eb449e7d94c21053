package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"stagedoor/flow"
	"stagedoor/policy"
)

// An intent that both ways in can say is decided alike: one grammar for api3,
// forms, files and REST.

// twin is one intent, said twice.
type twin struct {
	name string
	// rpc is "method argument"; "/upload/… fields" for a form, "/… " for a file.
	rpc string
	// rest is "VERB path?query body", below /api/v1.
	rest string
	// but is what differs by nature, and why says so.
	but difference
	why string

	api3, ofREST *flow.Call // once they are read
}

// difference is a set of what the two ways can't say alike.
type difference uint8

const (
	butNeeds   difference = 1 << iota // what is asked for of a rule
	butWhere                          // projects and records
	butRefused                        // some rules give the one and not the other
	butFilter                         // a filter can be added to the one alone
)

const (
	hook    = "0a9d4cc2-7f2b-4d6e-9b1a-000000000001"
	inP122  = `{"path":"project","relation":"is","values":[{"type":"Project","id":122}]}`
	inP145  = `{"path":"project","relation":"is","values":[{"type":"Project","id":145}]}`
	tripleP = `["project","is",{"type":"Project","id":122}]`
	tripleQ = `["project","is",{"type":"Project","id":145}]`
	p122    = `{"type":"Project","id":122}`
	p145    = `{"type":"Project","id":145}`
	shot7   = `{"type":"Shot","id":7}`
	ann     = `{"type":"HumanUser","id":3}`
)

// find is the read of api3, search the same on REST. fields are paths with
// commas, rest is more of the body.
func find(typ, fields, conditions, rest string) string {
	return `read {"type":"` + typ + `","return_fields":["` + strings.ReplaceAll(fields, ",", `","`) +
		`"],"filters":{"logical_operator":"and","conditions":[` + conditions + `]}` + rest + `}`
}

func search(typ, fields, triples, rest string) string {
	return `POST /entity/` + typ + `/_search {"fields":["` + strings.ReplaceAll(fields, ",", `","`) + `"],"filters":[` + triples + `]` + rest + `}`
}

func change(method, typ string, id int, fields ...string) string {
	var items []string
	for i := 0; i+1 < len(fields); i += 2 {
		items = append(items, `{"field_name":"`+fields[i]+`","value":`+fields[i+1]+`}`)
	}
	out := `{"type":"` + typ + `"`
	if id > 0 {
		out += fmt.Sprintf(`,"id":%d`, id)
	}
	return method + " " + out + `,"fields":[` + strings.Join(items, ",") + `]}`
}

func data(fields ...string) string {
	var items []string
	for i := 0; i+1 < len(fields); i += 2 {
		items = append(items, `"`+fields[i]+`":`+fields[i+1])
	}
	return "{" + strings.Join(items, ",") + "}"
}

// part is a part of a batch, as api3 and as REST has it.
func part(method, typ string, id int, fields ...string) (rpc, rest string) {
	_, arg, _ := strings.Cut(change(method, typ, id, fields...), " ")
	rpc = `{"request_type":"` + method + `",` + arg[1:]
	rest = `{"request_type":"` + method + `","entity":"` + typ + `"`
	if id > 0 {
		rest += fmt.Sprintf(`,"record_id":%d`, id)
	}
	if method == "delete" {
		rpc = strings.Replace(rpc, `,"fields":[]`, "", 1)
		return rpc, rest + "}"
	}
	return rpc, rest + `,"data":` + data(fields...) + "}"
}

// batch is the same parts both ways.
func batch(name string, parts ...[]string) twin {
	var rpcs, rests []string
	for _, p := range parts {
		id := 0
		fmt.Sscan(p[2], &id) //nolint:errcheck // a number of the table
		rpc, rest := part(p[0], p[1], id, p[3:]...)
		rpcs, rests = append(rpcs, rpc), append(rests, rest)
	}
	return twin{name: name, rpc: "batch [" + strings.Join(rpcs, ",") + "]", rest: `POST /entity/_batch {"requests":[` + strings.Join(rests, ",") + `]}`}
}

const (
	cutAnswer = "a read on REST that lists no field is answered with what the site chooses, cut to what may be read; on api3 it asks for every field"
	byPath    = "the id stands in the path on REST and in a filter on api3, which names the field id by that, and takes another filter"
	wholeDay  = "REST names a project by its id alone, api3 as an entity, which counts as a link that is named nowhere"
	oneType   = "REST follows several at once, decided type by type; api3 one"
	noIDs     = "a text search on REST takes no list of projects"
	inQuery   = "what is to be answered stands in the query on REST, which is read before the body, so a suggestion names it first"
	byUpload  = "REST sends the file to the record, api3 names the record when it is complete"
)

func readTwins() []twin {
	const shot = "code,sg_status_list"
	return []twin{
		{name: "read", rpc: find("Shot", shot, "", ""), rest: search("Shot", shot, "", "")},
		{name: "read a list", rpc: find("Shot", shot, "", ""), rest: "GET /entity/shots?fields=code,sg_status_list"},
		{name: "read one field", rpc: find("Shot", "code", "", ""), rest: "GET /entity/Shot?fields=code"},
		{name: "read ids", rpc: find("Shot", "id", "", ""), rest: "GET /entity/Shot?fields=id"},
		{name: "read id and type", rpc: find("Shot", "id,type", "", ""), rest: search("Shot", "id,type", "", "")},
		{name: "read every field", rpc: `read {"type":"Shot","return_fields":[],"filters":{"logical_operator":"and","conditions":[]}}`, rest: "GET /entity/shots", but: butNeeds | butRefused, why: cutAnswer},
		{name: "search every field", rpc: `read {"type":"Shot","return_fields":[]}`, rest: `POST /entity/Shot/_search {"filters":[]}`, but: butNeeds | butRefused, why: cutAnswer},
		{name: "read through a link", rpc: find("Version", "code,entity.Shot.code", "", ""), rest: "GET /entity/versions?fields=code,entity.Shot.code"},
		{name: "read through two links", rpc: find("Version", "entity.Shot.sg_sequence.Sequence.code", "", ""), rest: search("Version", "entity.Shot.sg_sequence.Sequence.code", "", "")},
		{name: "filter by a field", rpc: find("Shot", "code", `{"path":"sg_status_list","relation":"is","values":["ip"]}`, ""), rest: search("Shot", "code", `["sg_status_list","is","ip"]`, "")},
		{name: "filter by a field in the query", rpc: find("Shot", "code", `{"path":"sg_status_list","relation":"is","values":["ip"]}`, ""), rest: "GET /entity/shots?fields=code&filter[sg_status_list]=ip"},
		{name: "filter through a link", rpc: find("Version", "code", `{"path":"entity.Shot.code","relation":"is","values":["a"]}`, ""), rest: search("Version", "code", `["entity.Shot.code","is","a"]`, "")},
		{name: "filter through a link in the query", rpc: find("Version", "code", `{"path":"entity.Shot.code","relation":"is","values":["a"]}`, ""), rest: "GET /entity/versions?fields=code&filter[entity.Shot.code]=a"},
		{name: "filter by a field that is not read", rpc: find("Shot", "code", `{"path":"description","relation":"contains","values":["a"]}`, ""), rest: search("Shot", "code", `["description","contains","a"]`, "")},
		{name: "sort", rpc: find("Shot", "code", "", `,"sorts":[{"field_name":"code","direction":"desc"}]`), rest: search("Shot", "code", "", `,"sort":["-code"]`)},
		{name: "sort in the query", rpc: find("Shot", "code", "", `,"sorts":[{"field_name":"description","direction":"asc"}]`), rest: "GET /entity/shots?fields=code&sort=description"},
		{name: "sort through a link", rpc: find("Version", "code", "", `,"sorts":[{"field_name":"entity.Shot.code","direction":"asc"}]`), rest: "GET /entity/versions?fields=code&sort=entity.Shot.code"},
		{name: "a small page", rpc: find("Shot", "code", "", `,"paging":{"entities_per_page":50,"current_page":1}`), rest: search("Shot", "code", "", `,"page":{"size":50}`)},
		{name: "a page of the usual size", rpc: find("Shot", "code", "", `,"paging":{"entities_per_page":500,"current_page":2}`), rest: "GET /entity/shots?fields=code&page[size]=500&page[number]=2"},
		{name: "a large page", rpc: find("Shot", "code", "", `,"paging":{"entities_per_page":5000,"current_page":1}`), rest: "GET /entity/shots?fields=code&page[size]=5000"},
		{name: "retired rows", rpc: find("Shot", "code", "", `,"return_only":"retired"`), rest: "GET /entity/shots?fields=code&options[return_only]=retired"},
		{name: "archived projects", rpc: find("Shot", "code", inP122, `,"include_archived_projects":true`), rest: search("Shot", "code", tripleP, `,"options":{"include_archived_projects":true}`)},
		{name: "a preset", rpc: find("Version", "code", inP122, `,"additional_filter_presets":[{"preset_name":"LATEST","latest_by":"ENTITIES_CREATED_AT"}]`), rest: search("Version", "code", tripleP, `,"additional_filter_presets":[{"preset_name":"LATEST","latest_by":"ENTITIES_CREATED_AT"}]`)},
		{name: "in a project", rpc: find("Shot", "code,project", inP122, ""), rest: search("Shot", "code,project", tripleP, "")},
		{name: "in another project", rpc: find("Shot", "code", inP145, ""), rest: search("Shot", "code", tripleQ, "")},
		{name: "in either", rpc: find("Shot", "code", `{"path":"project","relation":"in","values":[`+p122+`,`+p145+`]}`, ""), rest: search("Shot", "code", `["project","in",[`+p122+`,`+p145+`]]`, "")},
		{name: "in a project by its number", rpc: find("Shot", "code", `{"path":"project.Project.id","relation":"in","values":[122]}`, ""), rest: "GET /entity/shots?fields=code&filter[project.Project.id]=122"},
		{name: "in either by number", rpc: find("Task", "content", `{"path":"project.Project.id","relation":"in","values":[122,145]}`, ""), rest: "GET /entity/tasks?fields=content&filter[project.Project.id]=122,145"},
		{name: "not in a project", rpc: find("Shot", "code", `{"path":"project","relation":"is_not","values":[`+p122+`]}`, ""), rest: search("Shot", "code", `["project","is_not",`+p122+`]`, "")},
		{name: "in a project or not", rpc: `read {"type":"Shot","return_fields":["code"],"filters":{"logical_operator":"or","conditions":[` + inP122 + `,{"path":"code","relation":"is","values":["a"]}]}}`, rest: `POST /entity/Shot/_search {"fields":["code"],"filters":{"logical_operator":"or","conditions":[` + tripleP + `,["code","is","a"]]}}`},
		{name: "in a project, deep down", rpc: find("Shot", "code", `{"logical_operator":"and","conditions":[`+inP122+`]}`, ""), rest: `POST /entity/Shot/_search {"fields":["code"],"filters":{"logical_operator":"and","conditions":[{"logical_operator":"and","conditions":[` + tripleP + `]}]}}`},
		{name: "in the project of a link", rpc: find("Task", "content", `{"path":"entity.Shot.project","relation":"is","values":[`+p122+`]}`, ""), rest: search("Task", "content", `["entity.Shot.project","is",`+p122+`]`, "")},
		{name: "one by id", rpc: find("Shot", "code", `{"path":"id","relation":"is","values":[7]}`, ""), rest: "GET /entity/shots/7?fields=code", but: butFilter, why: byPath},
		{name: "one by id in the query", rpc: find("Shot", "code", `{"path":"id","relation":"is","values":[7]}`, ""), rest: "GET /entity/shots?fields=code&filter[id]=7"},
		{name: "some by id", rpc: find("Shot", "code", `{"path":"id","relation":"in","values":[7,8]}`, ""), rest: search("Shot", "code", `["id","in",[7,8]]`, "")},
		{name: "a project by id", rpc: find("Project", "name", `{"path":"id","relation":"is","values":[122]}`, ""), rest: "GET /entity/projects/122?fields=name", why: byPath},
		{name: "projects by id", rpc: find("Project", "name", `{"path":"id","relation":"in","values":[122,145]}`, ""), rest: "GET /entity/projects?fields=name&filter[id]=122,145"},
		{name: "all projects", rpc: find("Project", "name", "", ""), rest: "GET /entity/projects?fields=name"},
		{name: "people", rpc: find("HumanUser", "login,name", "", ""), rest: "GET /entity/human_users?fields=login,name"},
		{name: "the event log", rpc: find("EventLogEntry", "event_type,meta", `{"path":"id","relation":"greater_than","values":[7]}`, ""), rest: search("EventLogEntry", "event_type,meta", `["id","greater_than",7]`, "")},
		{name: "the event log of a project", rpc: find("EventLogEntry", "event_type", inP122, ""), rest: search("event_log_entries", "event_type", tripleP, "")},
		{name: "a custom entity", rpc: find("CustomEntity07", "code", inP122, ""), rest: search("custom_entity07s", "code", tripleP, "")},
		{name: "a credential", rpc: find("ApiUser", "salted_password", "", ""), rest: "GET /entity/api_users?fields=salted_password"},
		{name: "a filter by a credential", rpc: find("ApiUser", "id", `{"path":"salted_password","relation":"starts_with","values":["a"]}`, ""), rest: search("ApiUser", "id", `["salted_password","starts_with","a"]`, "")},
		{name: "count", rpc: `summarize {"type":"Task","summaries":[{"field":"id","type":"count"}],"filters":{"logical_operator":"and","conditions":[` + inP122 + `]}}`, rest: `POST /entity/Task/_summarize {"summary_fields":[{"field":"id","type":"count"}],"filters":[` + tripleP + `]}`},
		{name: "sum, in groups", rpc: `summarize {"type":"Task","summaries":[{"field":"est_in_mins","type":"sum"}],"filters":{"logical_operator":"and","conditions":[]},"grouping":[{"field":"entity","type":"exact","direction":"asc"}]}`, rest: `POST /entity/tasks/_summarize {"summary_fields":[{"field":"est_in_mins","type":"sum"}],"filters":[],"grouping":[{"field":"entity","type":"exact","direction":"asc"}]}`},
		{name: "count by any", rpc: `summarize {"type":"Task","summaries":[{"field":"id","type":"count"}],"filters":{"logical_operator":"or","conditions":[` + inP122 + `]}}`, rest: `POST /entity/Task/_summarize {"summary_fields":[{"field":"id","type":"count"}],"filters":{"logical_operator":"or","conditions":[` + tripleP + `]}}`},
		{name: "find by name", rpc: `query_display_name_cache {"text":"heron","entity_types":{"Shot":{"logical_operator":"and","conditions":[]},"Asset":{"logical_operator":"and","conditions":[]}},"project_ids":[],"max_results":10}`, rest: `POST /entity/_text_search {"text":"heron","entity_types":{"Shot":[],"Asset":[]}}`},
		{name: "find by name in a project", rpc: `query_display_name_cache {"text":"heron","entity_types":{"Shot":{"logical_operator":"and","conditions":[` + inP122 + `]}},"project_ids":[],"max_results":10}`, rest: `POST /entity/_text_search {"text":"heron","entity_types":{"Shot":[` + tripleP + `]}}`},
		{name: "find by name in projects", rpc: `query_display_name_cache {"text":"heron","entity_types":{"Shot":{"logical_operator":"and","conditions":[]}},"project_ids":[122],"max_results":10}`, rest: `POST /entity/_text_search {"text":"heron","entity_types":{"Shot":[]}}`, but: butWhere | butRefused, why: noIDs},
		{name: "a note's thread", rpc: `note_thread_contents {"note_id":6,"entity_fields":{"Reply":["content"]}}`, rest: "GET /entity/notes/6/thread_contents?entity_fields[Reply]=content"},
		{name: "an activity stream", rpc: `activity_stream {"type":"Shot","id":7,"entity_fields":{"Task":["content"]}}`, rest: "GET /entity/shots/7/activity_stream?entity_fields[Task]=content"},
		{name: "who follows", rpc: `followers {"entity":` + shot7 + `}`, rest: "GET /entity/shots/7/followers"},
		{name: "what is followed", rpc: `following {"user":` + ann + `,"entity_type":"Shot"}`, rest: "GET /entity/human_users/3/following?entity=shots"},
		{name: "what is followed in a project", rpc: `following {"user":` + ann + `,"entity_type":"Shot","project":` + p122 + `}`, rest: "GET /entity/human_users/3/following?entity=Shot&project_id=122"},
		{name: "all that is followed", rpc: `following {"user":` + ann + `}`, rest: "GET /entity/human_users/3/following"},
	}
}

func writeTwins() []twin {
	return []twin{
		{name: "create", rpc: change("create", "Shot", 0, "code", `"a"`), rest: "POST /entity/shots " + data("code", `"a"`)},
		{name: "create in a project", rpc: change("create", "Version", 0, "code", `"a"`, "project", p122), rest: "POST /entity/versions " + data("code", `"a"`, "project", p122)},
		{name: "create in another", rpc: change("create", "Version", 0, "code", `"a"`, "project", p145), rest: "POST /entity/versions " + data("code", `"a"`, "project", p145)},
		{name: "create with a link", rpc: change("create", "Version", 0, "entity", shot7, "project", p122), rest: "POST /entity/Version " + data("entity", shot7, "project", p122)},
		{name: "create with links", rpc: change("create", "Note", 0, "note_links", "["+shot7+","+p122+"]"), rest: "POST /entity/notes " + data("note_links", "["+shot7+","+p122+"]")},
		{name: "create and ask for more", rpc: `create {"type":"Version","fields":[{"field_name":"code","value":"a"}],"return_fields":["entity.Shot.code"]}`, rest: "POST /entity/versions?options[fields]=entity.Shot.code " + data("code", `"a"`), why: inQuery},
		{name: "create a person", rpc: change("create", "HumanUser", 0, "login", `"a"`), rest: "POST /entity/human_users " + data("login", `"a"`)},
		{name: "create a key", rpc: change("create", "ApiUser", 0, "firstname", `"a"`), rest: "POST /entity/api_users " + data("firstname", `"a"`)},
		{name: "create a project", rpc: change("create", "Project", 0, "name", `"a"`), rest: "POST /entity/projects " + data("name", `"a"`)},
		{name: "create in a custom type", rpc: change("create", "CustomEntity07", 0, "code", `"a"`, "project", p122), rest: "POST /entity/custom_entity07s " + data("code", `"a"`, "project", p122)},
		{name: "create as somebody", rpc: change("create", "Shot", 0, "created_by", ann), rest: "POST /entity/shots " + data("created_by", ann)},
		{name: "update", rpc: change("update", "Shot", 7, "sg_status_list", `"fin"`), rest: "PUT /entity/shots/7 " + data("sg_status_list", `"fin"`)},
		{name: "update two fields", rpc: change("update", "Shot", 7, "sg_status_list", `"fin"`, "description", `"a"`), rest: "PUT /entity/Shot/7 " + data("sg_status_list", `"fin"`, "description", `"a"`)},
		{name: "update a link", rpc: change("update", "Version", 7, "entity", shot7), rest: "PUT /entity/versions/7 " + data("entity", shot7)},
		{name: "add to a list", rpc: `update {"type":"Shot","id":7,"fields":[{"field_name":"assets","value":[{"type":"Asset","id":1}],"multi_entity_update_mode":"add"}]}`, rest: `PUT /entity/shots/7 {"assets":{"multi_entity_update_mode":"add","value":[{"type":"Asset","id":1}]}}`},
		{name: "move", rpc: change("update", "Shot", 7, "project", p145), rest: "PUT /entity/shots/7 " + data("project", p145)},
		{name: "move into the rules' own", rpc: change("update", "Shot", 7, "project", p122), rest: "PUT /entity/shots/7 " + data("project", p122)},
		{name: "move out of all", rpc: change("update", "Shot", 7, "project", "null"), rest: "PUT /entity/shots/7 " + data("project", "null")},
		{name: "update a project", rpc: change("update", "Project", 122, "sg_status", `"a"`), rest: "PUT /entity/projects/122 " + data("sg_status", `"a"`)},
		{name: "update a person", rpc: change("update", "HumanUser", 3, "email", `"a"`), rest: "PUT /entity/human_users/3 " + data("email", `"a"`)},
		{name: "write a credential", rpc: change("update", "ApiUser", 3, "salted_password", `"a"`), rest: "PUT /entity/api_users/3 " + data("salted_password", `"a"`)},
		{name: "delete", rpc: `delete {"type":"Shot","id":7}`, rest: "DELETE /entity/shots/7"},
		{name: "delete a project", rpc: `delete {"type":"Project","id":122}`, rest: "DELETE /entity/projects/122"},
		{name: "delete a key", rpc: `delete {"type":"ApiUser","id":7}`, rest: "DELETE /entity/api_users/7"},
		{name: "revive", rpc: `revive {"type":"Shot","id":7}`, rest: "POST /entity/shots/7?revive=true"},
		{name: "follow", rpc: `follow {"user":` + ann + `,"entity":` + shot7 + `}`, rest: `POST /entity/human_users/3/follow {"entities":[{"record_id":7,"entity":"Shot"}]}`},
		{name: "follow two", rpc: `follow {"user":` + ann + `,"entity":` + shot7 + `}`, rest: `POST /entity/human_users/3/follow {"entities":[{"record_id":7,"entity":"Shot"},{"record_id":8,"entity":"shots"}]}`, but: butWhere, why: oneType},
		{name: "unfollow", rpc: `unfollow {"user":` + ann + `,"entity":` + shot7 + `}`, rest: `PUT /entity/shots/7/unfollow {"user_id":3}`},
		{name: "look at a project", rpc: `update_project_last_accessed_by_current_user {"project_id":122,"user_id":3}`, rest: `PUT /entity/projects/122/_update_last_accessed {"user_id":3}`},
		batch("batch", []string{"create", "Version", "0", "code", `"a"`, "project", p122}),
		batch("batch of several", []string{"create", "Version", "0", "code", `"a"`, "project", p122}, []string{"update", "Shot", "7", "sg_status_list", `"fin"`}, []string{"delete", "Task", "8"}),
		batch("batch in two projects", []string{"create", "Version", "0", "project", p122}, []string{"create", "Version", "0", "project", p145}),
		batch("batch that moves", []string{"update", "Shot", "7", "project", p145}),
		batch("batch of a person", []string{"update", "Shot", "7", "code", `"a"`}, []string{"update", "HumanUser", "3", "login", `"a"`}),
		batch("batch with a credential", []string{"update", "Shot", "7", "code", `"a"`}, []string{"update", "ApiUser", "3", "salted_password", `"a"`}),
		batch("batch with a link", []string{"create", "Version", "0", "entity", shot7}),
		batch("batch of three deletes", []string{"delete", "Shot", "7"}, []string{"delete", "Shot", "8"}, []string{"delete", "Shot", "9"}),
	}
}

func siteTwins() []twin {
	return []twin{
		{name: "the schema of all types", rpc: "schema_entity_read", rest: "GET /schema"},
		{name: "the whole schema", rpc: "schema_read", rest: "GET /spec.json"},
		{name: "the fields of a type", rpc: `schema_field_read {"type":"Shot"}`, rest: "GET /schema/shots/fields"},
		{name: "a field of a type", rpc: `schema_field_read {"type":"Shot","field_name":"code"}`, rest: "GET /schema/Shot/fields/code"},
		{name: "the schema of a project", rpc: `schema_field_read {"type":"Shot","project":` + p122 + `}`, rest: "GET /schema/Shot/fields?project_id=122"},
		{name: "a new field", rpc: `schema_field_create {"type":"Shot","data_type":"text","properties":[{"property_name":"name","value":"a"}]}`, rest: `POST /schema/shots/fields {"data_type":"text","properties":[{"property_name":"name","value":"a"}]}`},
		{name: "a changed field", rpc: `schema_field_update {"type":"Shot","field_name":"sg_a","properties":[]}`, rest: `PUT /schema/shots/fields/sg_a {"properties":[]}`},
		{name: "a field less", rpc: `schema_field_delete {"type":"Shot","field_name":"sg_a"}`, rest: "DELETE /schema/shots/fields/sg_a"},
		{name: "a schedule", rpc: `work_schedule_read {"start_date":"2026-01-01","end_date":"2026-01-31","project":null,"user":null}`, rest: "GET /schedule/work_day_rules?start_date=2026-01-01&end_date=2026-01-31"},
		{name: "a project's schedule", rpc: `work_schedule_read {"start_date":"2026-01-01","end_date":"2026-01-31","project":` + p122 + `,"user":null}`, rest: "GET /schedule/work_day_rules?start_date=2026-01-01&end_date=2026-01-31&project_id=122"},
		{name: "a person's schedule", rpc: `work_schedule_read {"start_date":"2026-01-01","end_date":"2026-01-31","project":` + p122 + `,"user":` + ann + `}`, rest: "GET /schedule/work_day_rules?start_date=2026-01-01&end_date=2026-01-31&project_id=122&user_id=3"},
		{name: "a project's day", rpc: `work_schedule_update {"date":"2026-01-01","working":false,"project":` + p122 + `,"user":null}`, rest: `PUT /schedule/work_day_rules {"date":"2026-01-01","working":false,"project_id":122,"user_id":null}`},
		{name: "a person's day", rpc: `work_schedule_update {"date":"2026-01-01","working":false,"project":null,"user":` + ann + `}`, rest: `PUT /schedule/work_day_rules {"date":"2026-01-01","working":false,"user_id":3}`},
		{name: "the studio's day", rpc: `work_schedule_update {"date":"2026-01-01","working":false,"project":null,"user":null}`, rest: `PUT /schedule/work_day_rules {"date":"2026-01-01","working":false}`},
		{name: "preferences", rpc: `preferences_read {"prefs":["date_component_order"]}`, rest: "GET /preferences?prefs=date_component_order"},
		{name: "a page", rpc: `export_page {"page_id":900,"format":"csv"}`, rest: "GET /exports/page/900.csv"},
		{name: "subscriptions", rpc: "user_subscriptions_read", rest: "GET /subscription_seat/user_subscriptions"},
		{name: "a subscription", rpc: `user_subscriptions_create {"users":[{"humanUserId":3,"subscription":"a"}]}`, rest: `POST /subscription_seat/user_subscriptions {"3":"a"}`},
		{name: "a tree", rpc: `nav_expand {"path":"/","seed_entity_field":"Shot.code","entity_fields":{"Shot":["code"]}}`, rest: `POST /hierarchy/_expand {"path":"/","seed_entity_field":"Shot.code","entity_fields":[{"entity":"Shot","fields":["code"]}]}`},
		{name: "a search in a tree", rpc: `nav_search {"root_path":"/","seed_entity_field":"Shot.code","search_criteria":{"entity":` + shot7 + `}}`, rest: `POST /hierarchy/_search {"root_path":"/","seed_entity_field":"Shot.code","search_criteria":{"entity":` + shot7 + `}}`},
		{name: "info", rpc: "info", rest: "GET /"},
	}
}

func fileTwins() []twin {
	const info = "upload_link_info=2026-01-01%0Ax%0Ax%0AAttachment%0Ax"
	complete := ` {"upload_info":{"upload_type":"Attachment","upload_id":"x"},"upload_data":{"display_name":"a"}}`
	return []twin{
		{name: "a link for an attachment", rpc: "/upload/api_get_upload_link_info upload_type=Attachment&filename=a", rest: "GET /entity/notes/6/_upload?filename=a", but: butNeeds | butWhere | butRefused, why: byUpload},
		{name: "an attachment is complete", rpc: "/upload/api_link_file entity_type=Note&entity_id=6&" + info, rest: "POST /entity/notes/6/_upload" + complete},
		{name: "a file is complete", rpc: "/upload/api_link_file entity_type=Version&entity_id=9&field_name=sg_uploaded_movie&" + info, rest: "POST /entity/versions/9/sg_uploaded_movie/_upload" + complete},
		{name: "a thumbnail is complete", rpc: "/upload/api_link_file entity_type=Shot&entity_id=7&field_name=thumb_image&" + info, rest: "POST /entity/shots/7/thumb_image/_upload" + complete},
		{name: "a thumbnail's file", rpc: "/thumbnail/full/Version/9", rest: "GET /entity/versions/9/image?alt=original"},
		{name: "a film's file", rpc: "/file_serve/version/9/mp4", rest: "GET /entity/versions/9/sg_uploaded_movie?alt=original"},
	}
}

func twins() []twin {
	return slices.Concat(readTwins(), writeTwins(), siteTwins(), fileTwins())
}

// byAPI3 reads the first way of a twin.
func (w *twin) byAPI3(t *testing.T) *flow.Call {
	t.Helper()
	if w.api3 != nil {
		return w.api3
	}
	method, arg, _ := strings.Cut(w.rpc, " ")
	var c *flow.Call
	var err error
	switch {
	case strings.HasPrefix(method, "/upload/"):
		var f *flow.Form
		if f, err = flow.ParseForm(method, []byte(arg), nil); err == nil {
			c = &f.Call
		}
	case method[0] == '/':
		var d *flow.Download
		if d, err = flow.ParseDownload(method, ""); err == nil {
			c = &d.Call
		}
	default:
		params := `{"script_name":"tool","script_key":"x"}`
		if method == "info" {
			params = ""
		} else if arg != "" {
			params += "," + arg
		}
		var m *flow.Message
		if m, err = flow.ParseRPC([]byte(`{"method_name":"`+method+`","params":[`+params+`]}`), nil, flow.DefaultMaxDepth); err == nil {
			c = &m.Call
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", w.rpc, err)
	}
	w.api3 = c
	return c
}

// byREST reads the second.
func (w *twin) byREST(t *testing.T) *flow.Call {
	t.Helper()
	if w.ofREST != nil {
		return w.ofREST
	}
	verb, rest, _ := strings.Cut(w.rest, " ")
	target, body, _ := strings.Cut(rest, " ")
	path, query, _ := strings.Cut(target, "?")
	r := flow.RESTRequest{Method: verb, Path: "/api/v1" + path, Query: query}
	if body != "" {
		r.Body, r.ContentType = []byte(body), []string{flow.TypeJSON}
		if strings.HasPrefix(path, "/entity/") && (strings.HasSuffix(path, "_search") || strings.HasSuffix(path, "_summarize")) {
			r.ContentType[0] = flow.TypeArray
			if strings.Contains(body, `"conditions"`) {
				r.ContentType[0] = flow.TypeHash
			}
		}
	}
	out, err := new(flow.Parser).ParseREST(r, flow.NewTypes(), nil, flow.DefaultMaxDepth)
	if err != nil {
		t.Fatalf("%s: %v", w.rest, err)
	}
	w.ofREST = &out.Call
	return w.ofREST
}

// rules are rules as words: "read Shot.code Task", with options behind them.
type rules struct {
	name        string
	allow, deny []policy.Rule
	places      bool // some rules hold in projects only
	filters     bool // and let a filter be added
}

// line is one rule: a verb, and types or fields of them.
func line(words string, options ...func(*policy.Rule)) policy.Rule {
	all := strings.Fields(words)
	r := policy.Rule{Verb: all[0], File: "stagedoor.yaml", Line: 1}
	for _, w := range all[1:] {
		typ, field, dotted := strings.Cut(w, ".")
		t := policy.Target{Type: typ}
		if dotted {
			t.Fields = strings.Split(field, ",")
		}
		r.Targets = append(r.Targets, t)
	}
	for _, o := range options {
		o(&r)
	}
	return r
}

// most are rules for nearly all, but for what has to be named.
func most(options ...func(*policy.Rule)) []policy.Rule {
	var out []policy.Rule
	for _, verb := range []string{"read", "create", "update", "delete", "revive", "upload", "download", "follow", "link", "schema"} {
		out = append(out, line(verb+" *", options...))
	}
	return out
}

func byName() []policy.Rule {
	return []policy.Rule{
		line("schedule"), line("preferences"), line("export_page"), line("nav_expand"), line("nav_search"), line("user_subscriptions_read"),
		line("user_subscriptions_create"), line("activity_stream"), line("work_schedule_update"), line("work_schedule_update studio"),
		line("schema_field_create Shot"), line("schema_field_update Shot"), line("schema_field_delete Shot"), line("read EventLogEntry"),
		line("create HumanUser.login ApiUser"), line("update HumanUser.login,email ApiUser"), line("delete ApiUser"), line("presets LATEST"),
		line("create *.created_by"),
	}
}

func inProjects(filter, lookup bool, ids ...int64) func(*policy.Rule) {
	return func(r *policy.Rule) {
		r.Projects = &policy.Projects{IDs: ids, AddFilter: filter, Lookup: lookup}
	}
}

// where is a rule's condition.
func where(t *testing.T, text string) func(*policy.Rule) {
	t.Helper()
	c, err := policy.NewCondition(text)
	if err != nil {
		t.Fatal(err)
	}
	return func(r *policy.Rule) { r.When = c }
}

func ruleSets(t *testing.T) []rules {
	t.Helper()
	return []rules{
		{name: "nothing"},
		{name: "most", allow: most()},
		{name: "most and what is named", allow: append(most(), byName()...)},
		{name: "a publisher", allow: []policy.Rule{
			line("read Shot.code,project,sg_status_list,sg_sequence Sequence.code Project.name"), line("read Version.code,entity,project"), line("read Task.content,entity,project"),
			line("create Version.code,entity,project,sg_task"), line("update Version.entity"), line("update Shot.sg_status_list"), line("upload Version.sg_uploaded_movie"), line("follow Shot"),
		}},
		{name: "one type each", allow: []policy.Rule{line("read Shot"), line("create Shot"), line("update Shot"), line("delete Shot"), line("revive Shot"), line("follow Shot"), line("schema Shot")}},
		{name: "writes alone", allow: []policy.Rule{line("create *"), line("update *"), line("delete *")}},
		{name: "custom entities", allow: []policy.Rule{line("read CustomEntity*"), line("create CustomEntity*"), line("link *")}},
		{name: "in a project", allow: append(most(inProjects(false, false, 122)), byName()...), places: true},
		{name: "in either project", allow: most(inProjects(false, false, 122, 145)), places: true},
		{name: "with a filter added", allow: append(most(inProjects(true, false, 122)), byName()...), places: true, filters: true},
		{name: "with projects looked up", allow: append(most(inProjects(false, true, 122)), byName()...), places: true},
		{name: "with both", allow: append(most(inProjects(true, true, 122)), byName()...), places: true, filters: true},
		{name: "reads in one, writes in another", allow: []policy.Rule{line("read *", inProjects(true, true, 122)), line("create *", inProjects(false, true, 145)), line("update *", inProjects(false, true, 145)), line("link *")}, places: true, filters: true},
		{name: "but for fields", allow: append(most(), byName()...), deny: []policy.Rule{line("read Shot.description,sg_status_list"), line("update Shot.sg_status_list"), line("create Version.project")}},
		{name: "but for types", allow: append(most(), byName()...), deny: []policy.Rule{line("read Task"), line("delete Shot"), line("create Version"), line("download Version"), line("update *_Connection HumanUser")}},
		{name: "but for a project", allow: append(most(), byName()...), deny: []policy.Rule{line("read *", inProjects(false, false, 145)), line("update *", inProjects(false, false, 122))}, places: true},
		{name: "small pages and batches", allow: append(most(func(r *policy.Rule) { r.MaxRows, r.MaxBatch = 100, 2 }), byName()...)},
		{name: "without hops", allow: append(most(where(t, "call.hops == 0 && call.page_size <= 1000")), byName()...)},
		{name: "but for what is written", allow: append(most(), byName()...), deny: []policy.Rule{line("update Shot", where(t, "'Shot.description' in call.written")), line("read Shot", where(t, "call.filtered.exists(f, f == 'Shot.description')"))}},
		{name: "within some project", allow: most(where(t, "size(call.projects) > 0")), places: true},
		{name: "pages of the usual size", allow: most(func(r *policy.Rule) { r.MaxRows = 500 })},
	}
}

func (r *rules) compile() *policy.Script {
	return policy.Compile(policy.Script{Name: "tool", Where: "stagedoor.yaml:1", Rules: r.allow, Deny: r.deny})
}

// asked is what a call asks of rules, part by part: verbs by what they do, types
// and fields, id and type being the record's own.
func asked(c *flow.Call) string {
	if len(c.Parts) > 0 {
		var parts []string
		for i := range c.Parts {
			parts = append(parts, asked(&c.Parts[i]))
		}
		return "(" + strings.Join(parts, ") (") + ")"
	}
	set := map[string]struct{}{}
	for _, t := range c.Touches {
		word := "read"
		switch t.Use {
		case flow.UseWrite:
			word = "write"
		case flow.UseLink:
			word = "link"
		case flow.UseUpload:
			word = "upload"
		case flow.UseDownload:
			word = "download"
		case flow.UseReturn, flow.UseFilter, flow.UseSort, flow.UseSummary:
		}
		if t.Field != "id" && t.Field != "type" && t.Field != "" {
			word += " " + t.Type + "." + t.Field
		} else {
			word += " " + t.Type
		}
		set[word] = struct{}{}
	}
	var all []string
	for w := range set {
		all = append(all, w)
	}
	slices.Sort(all)
	return string(c.Group) + ": " + strings.Join(all, ", ")
}

// needs is what a policy makes of that.
func needs(c *flow.Call) string {
	all := policy.Compile(policy.Script{Name: "tool"}).Needs(c)
	slices.SortFunc(all, func(a, b policy.Need) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return fmt.Sprint(all)
}

// place is where a call stays, part by part.
func place(c *flow.Call) string {
	records := slices.SortedFunc(slices.Values(c.Records), func(a, b flow.Record) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	s := fmt.Sprintf("in %v, into %v %t, of %v", c.Projects, c.Into, c.IntoOther, records)
	for i := range c.Parts {
		s += " (" + place(&c.Parts[i]) + ")"
	}
	return s
}

// TestTwinsSayTheSame: both ways name the same methods, types and fields, stay in
// the same places, and ask for as many rows, through as many links.
func TestTwinsSayTheSame(t *testing.T) {
	all := twins()
	if len(all) < 80 {
		t.Fatalf("%d intents", len(all))
	}
	names := map[string]bool{}
	for i := range all {
		w := &all[i]
		t.Run(w.name, func(t *testing.T) {
			if names[w.name] {
				t.Error("the name stands twice")
			}
			names[w.name] = true
			a, b := w.byAPI3(t), w.byREST(t)
			if w.but != 0 && w.why == "" {
				t.Error("it isn't said why the two differ")
			}
			if x, y := asked(a), asked(b); x != y && w.but&butNeeds == 0 {
				t.Errorf("\napi3 %s\nREST %s", x, y)
			}
			if x, y := needs(a), needs(b); x != y && w.but&butNeeds == 0 {
				t.Errorf("needs\napi3 %s\nREST %s", x, y)
			}
			if x, y := place(a), place(b); x != y && w.but&butWhere == 0 {
				t.Errorf("\napi3 %s\nREST %s", x, y)
			}
			if a.PageSize != b.PageSize || a.Hops != b.Hops || a.Cost() != b.Cost() {
				t.Errorf("pages of %d and %d, %d and %d hops, costs of %d and %d", a.PageSize, b.PageSize, a.Hops, b.Hops, a.Cost(), b.Cost())
			}
			if a.Studio != b.Studio || a.Writes != b.Writes || !slices.Equal(a.Presets, b.Presets) {
				t.Errorf("\napi3 %+v\nREST %+v", a, b)
			}
		})
	}
}

// TestTwinsAreDecidedAlike under every set of rules, to the records that are
// looked up and the filter that is added.
func TestTwinsAreDecidedAlike(t *testing.T) {
	all := twins()
	kinds := map[string]int{}
	for _, set := range ruleSets(t) {
		s := set.compile()
		for i := range all {
			w := &all[i]
			if w.but&butRefused != 0 || w.but&butFilter != 0 && set.filters {
				continue
			}
			a := s.Decide(policy.Query{Call: w.byAPI3(t)})
			b := s.Decide(policy.Query{Call: w.byREST(t)})
			if a.Allow != b.Allow || a.Reason != b.Reason || a.Suggest != b.Suggest && w.why == "" {
				t.Errorf("%s, rules %s:\napi3 %t %s %s\nREST %t %s %s", w.name, set.name, a.Allow, a.Reason, a.What, b.Allow, b.Reason, b.What)
			}
			if !slices.Equal(a.Filter, b.Filter) || w.but&butWhere == 0 && fmt.Sprint(a.Lookup) != fmt.Sprint(b.Lookup) {
				t.Errorf("%s, rules %s:\napi3 filter %v, lookup %v\nREST filter %v, lookup %v", w.name, set.name, a.Filter, a.Lookup, b.Filter, b.Lookup)
			}
			kinds[intentKind(a)]++
		}
	}
	for _, kind := range []string{"allowed", "allowed with a filter", "allowed with a lookup", "no_rule", "denied", "project", "rows", "batch", "condition", "secret_field"} {
		if kinds[kind] == 0 {
			t.Errorf("nothing is %s: the rules tell nothing of it", kind)
		}
	}
	t.Log(kinds)
}

func intentKind(v policy.Verdict) string {
	switch {
	case !v.Allow:
		return string(v.Reason)
	case len(v.Filter) > 0:
		return "allowed with a filter"
	case len(v.Lookup) > 0:
		return "allowed with a lookup"
	}
	return "allowed"
}

// TestShapesAreDecidedAlike: what is read back from the shape of a call is
// decided as the call is, but where ids decide.
func TestShapesAreDecidedAlike(t *testing.T) {
	all := twins()
	for _, set := range ruleSets(t) {
		if set.places {
			continue
		}
		s := set.compile()
		for i := range all {
			w := &all[i]
			for _, c := range []*flow.Call{w.byAPI3(t), w.byREST(t)} {
				shape := flow.AppendShape(nil, c)
				back, cut, err := flow.ReadShape(shape)
				if err != nil || cut {
					t.Fatalf("%s: cut %t, %v", shape, cut, err)
				}
				a, b := s.Decide(policy.Query{Call: c}), s.Decide(policy.Query{Call: &back})
				if a.Allow != b.Allow || a.Reason != b.Reason {
					t.Errorf("%s, rules %s:\ncall  %t %s %s\nshape %t %s %s\n%s", w.name, set.name, a.Allow, a.Reason, a.What, b.Allow, b.Reason, b.What, shape)
				}
			}
		}
	}
}

// TestOneRecordByID: a read whose filter names one id takes a filter on the
// project too, and can be looked up where none may be added; one by its path on
// REST can only be looked up.
func TestOneRecordByID(t *testing.T) {
	all := twins()
	w := &all[slices.IndexFunc(all, func(w twin) bool { return w.name == "one by id" })]
	for _, tt := range []struct {
		filter, lookup bool
		api3, rest     string
	}{
		{false, false, "project", "project"},
		{true, false, "allowed with a filter", "project"},
		{false, true, "allowed with a lookup", "allowed with a lookup"},
		{true, true, "allowed with a filter", "allowed with a lookup"},
	} {
		s := policy.Compile(policy.Script{Name: "tool", Rules: []policy.Rule{line("read *", inProjects(tt.filter, tt.lookup, 122))}})
		a, b := s.Decide(policy.Query{Call: w.byAPI3(t)}), s.Decide(policy.Query{Call: w.byREST(t)})
		if intentKind(a) != tt.api3 || intentKind(b) != tt.rest {
			t.Errorf("filter %t, lookup %t: %s by api3, %s by REST", tt.filter, tt.lookup, intentKind(a), intentKind(b))
		}
	}
}
