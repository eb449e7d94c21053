package flow_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"stagedoor/flow"
)

const (
	jsonType  = "application/json"
	arrayType = "application/vnd+shotgun.api3_array+json"
	hashType  = "application/vnd+shotgun.api3_hash+json"
)

// restCall is a request in one line: "GET /entity/shots/1?fields=code", and a
// body behind a space, whose type is chosen by its filters.
func restCall(line string) flow.RESTRequest {
	verb, rest, _ := strings.Cut(line, " ")
	target, body, _ := strings.Cut(rest, " ")
	path, query, _ := strings.Cut(target, "?")
	r := flow.RESTRequest{Method: verb, Path: "/api/v1" + path, Query: query}
	if body != "" {
		r.Body = []byte(body)
		r.ContentType = []string{jsonType}
		if strings.HasSuffix(path, "_search") && !strings.Contains(path, "hierarchy") || strings.HasSuffix(path, "_summarize") || strings.HasSuffix(path, "_text_search") {
			r.ContentType[0] = arrayType
			if strings.Contains(body, `"conditions"`) {
				r.ContentType[0] = hashType
			}
		}
	}
	return r
}

func parseREST(line string) (*flow.REST, error) {
	return new(flow.Parser).ParseREST(restCall(line), flow.NewTypes("CustomThing"), nil, flow.DefaultMaxDepth)
}

func rest(t *testing.T, line string) *flow.REST {
	t.Helper()
	r, err := parseREST(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return r
}

// said is what a call asks for, in one line.
func said(c *flow.Call) string {
	s := fmt.Sprintf("%s %s", c.Method, c.Group)
	if c.Type != "" {
		s += " " + c.Type
	}
	if c.ID != 0 {
		s += fmt.Sprintf("#%d", c.ID)
	}
	if c.PageSize != 0 {
		s += fmt.Sprintf(" page %d", c.PageSize)
	}
	if c.Studio {
		s += " studio"
	}
	for _, p := range c.Presets {
		s += " preset " + p
	}
	s += ":"
	for _, touch := range c.Touches {
		s += fmt.Sprintf(" %s.%s/%d", touch.Type, touch.Field, touch.Use)
	}
	for i := range c.Parts {
		s += " (" + said(&c.Parts[i]) + ")"
	}
	return s
}

// restLine is a call, what it asks for, and what is sent.
type restLine struct{ line, want, sent string }

// restCalls has calls of each family of routes.
func restCalls() []restLine {
	return []restLine{
		{"GET ", "info info:", "GET /api/v1"},
		{"GET /", "info info:", "GET /api/v1"},
		{"GET /entity/shots?fields=code,entity.Asset.code&filter%5Bsg_sequence.Sequence.code%5D=a&sort=-code,id&page%5Bsize%5D=50", "read read Shot page 50: Shot./1 Shot.code/1 Shot.entity/1 Asset.code/1 Shot.sg_sequence/2 Sequence.code/2 Shot.code/3 Shot.id/3", "GET /api/v1/entity/Shot?fields=code%2Centity.Asset.code&filter%5Bsg_sequence.Sequence.code%5D=a&sort=-code%2Cid&page%5Bsize%5D=50"},
		{"GET /entity/human_users/3", "read read HumanUser#3: HumanUser./1", "GET /api/v1/entity/HumanUser/3"},
		{`POST /entity/event_log_entries/_search {"filters": [["entity.Shot.code","is","x"]], "fields": ["id","meta"], "sort": "-id", "page": {"size": 5, "number": 1}}`, "read read EventLogEntry page 5: EventLogEntry./1 EventLogEntry.entity/2 Shot.code/2 EventLogEntry.id/1 EventLogEntry.meta/1 EventLogEntry.id/3", `POST /api/v1/entity/EventLogEntry/_search ` + arrayType + ` {"filters":[["entity.Shot.code","is","x"]],"fields":["id","meta"],"sort":"-id","page":{"size":5,"number":1}}`},
		{`POST /entity/Shot/_search?fields=code {"filters":{"logical_operator":"or","conditions":[["a","is",1],{"logical_operator":"and","conditions":[["b.Task.c","in",[1,2]]]}]}}`, "read read Shot: Shot./1 Shot.code/1 Shot.a/2 Shot.b/2 Task.c/2", `POST /api/v1/entity/Shot/_search?fields=code ` + hashType + ` {"filters":{"logical_operator":"or","conditions":[["a","is",1],{"logical_operator":"and","conditions":[["b.Task.c","in",[1,2]]]}]}}`},
		{`POST /entity/shots {"code":"x","project":{"type":"Project","id":4},"assets":{"multi_entity_update_mode":"add","value":[{"type":"Asset","id":1}]}}`, "create create Shot: Shot./5 Shot.code/5 Shot.project/5 Project./6 Shot.assets/5 Asset./6", `POST /api/v1/entity/Shot application/json {"code":"x","project":{"type":"Project","id":4},"assets":{"multi_entity_update_mode":"add","value":[{"type":"Asset","id":1}]}}`},
		{`PUT /entity/shots/12 {"code":"x"}`, "update update Shot#12: Shot./5 Shot.code/5", `PUT /api/v1/entity/Shot/12 application/json {"code":"x"}`},
		{"DELETE /entity/shot/12", "delete delete Shot#12: Shot./5", "DELETE /api/v1/entity/Shot/12"},
		{"POST /entity/shot/12?revive=true", "revive revive Shot#12: Shot./5", "POST /api/v1/entity/Shot/12?revive=true"},
		// what the clients send beside that
		{"GET /entity/Asset?fields=%2A", "read read Asset: Asset./1", "GET /api/v1/entity/Asset?fields=%2A"},
		{"GET /entity/assets?filter[code]=a,b&options[return_only]=retired&options%5Binclude_archived_projects%5D=false&page[number]=2", "read read Asset: Asset./1 Asset.code/2", "GET /api/v1/entity/Asset?filter%5Bcode%5D=a%2Cb&options%5Breturn_only%5D=retired&options%5Binclude_archived_projects%5D=false&page%5Bnumber%5D=2"},
		{`POST /entity/Asset/_search {"fields":"*","sort":["a","-b"],"page":{"size":20,"number":1},"options":{"return_only":"active","include_archived_projects":false},"filters":{"conditions":[],"logical_operator":"and"}}`, "read read Asset page 20: Asset./1 Asset.a/3 Asset.b/3", `POST /api/v1/entity/Asset/_search ` + hashType + ` {"fields":"*","sort":["a","-b"],"page":{"size":20,"number":1},"options":{"return_only":"active","include_archived_projects":false},"filters":{"conditions":[],"logical_operator":"and"}}`},
		{`POST /entity/versions/_search {"filters":[],"additional_filter_presets":[{"preset_name":"LATEST","latest_by":"BY_PIPELINE_STEP_NUMBER_AND_ENTITIES_CREATED_AT"}]}`, "read read Version preset LATEST: Version./1", `POST /api/v1/entity/Version/_search ` + arrayType + ` {"filters":[],"additional_filter_presets":[{"preset_name":"LATEST","latest_by":"BY_PIPELINE_STEP_NUMBER_AND_ENTITIES_CREATED_AT"}]}`},
		{"GET /entity/versions/1/relationships/entity?options[return_only]=active", "read read Version#1: Version./1 Version.entity/1", "GET /api/v1/entity/Version/1/relationships/entity?options%5Breturn_only%5D=active"},
		{"GET /entity/versions/1/image", "read read Version#1: Version./1 Version.image/1", "GET /api/v1/entity/Version/1/image"},
		{"GET /entity/versions/1/image?alt=original", "download download Version#1: Version.image/8", "GET /api/v1/entity/Version/1/image?alt=original"},
		{`POST /entity/Task/_summarize {"filters":[["project.Project.id","is",1]],"summary_fields":[{"field":"id","type":"record_count"}],"grouping":[{"field":"entity","type":"exact","direction":"asc"}],"options":{"include_archived_projects":true}}`, "summarize read Task: Task./1 Task.project/2 Project.id/2 Task.id/4 Task.entity/3", `POST /api/v1/entity/Task/_summarize ` + arrayType + ` {"filters":[["project.Project.id","is",1]],"summary_fields":[{"field":"id","type":"record_count"}],"grouping":[{"field":"entity","type":"exact","direction":"asc"}],"options":{"include_archived_projects":true}}`},
		{`POST /entity/_text_search {"entity_types":{"Asset":[["sg_x","is",1]]},"text":"a","sort":"-code","page":{"size":5},"entity_filters":{"Asset":[["sg_x","is",1]]}}`, "query_display_name_cache read page 5: Asset./1 Asset.cached_display_name/1 Asset.sg_x/2 Asset.code/3", `POST /api/v1/entity/_text_search ` + arrayType + ` {"entity_types":{"Asset":[["sg_x","is",1]]},"text":"a","sort":"-code","page":{"size":5},"entity_filters":{"Asset":[["sg_x","is",1]]}}`},
		{`PUT /entity/tasks/4?options[fields]=content,entity.Shot.code {"content":"x"}`, "update update Task#4: Task./5 Task.content/1 Task.entity/1 Shot.code/1 Task.content/5", `PUT /api/v1/entity/Task/4?options%5Bfields%5D=content%2Centity.Shot.code application/json {"content":"x"}`},
		{`POST /entity/_batch/ {"requests":[{"request_type":"create","entity":"Shot","data":{"code":"a","project":{"type":"Project","id":1}},"options":{"fields":["code","assets.Asset.code"]}},{"entity":"tasks","data":{"content":"b"},"record_id":3,"request_type":"update"},{"request_type":"delete","entity":"Note","record_id":9}]}`, "batch batch: (create create Shot: Shot./5 Shot.code/5 Shot.project/5 Project./6 Shot.code/1 Shot.assets/1 Asset.code/1) (update update Task#3: Task./5 Task.content/5) (delete delete Note#9: Note./5)", `POST /api/v1/entity/_batch application/json {"requests":[{"request_type":"create","entity":"Shot","data":{"code":"a","project":{"type":"Project","id":1}},"options":{"fields":["code","assets.Asset.code"]}},{"entity":"Task","data":{"content":"b"},"record_id":3,"request_type":"update"},{"request_type":"delete","entity":"Note","record_id":9}]}`},
		{"GET /entity/shots/1/activity_stream?entity_fields[Version]=code,entity.Shot.code&limit=5&min_id=1", "activity_stream named Shot#1: Shot./5 Version./1 Version.code/1 Version.entity/1 Shot.code/1", "GET /api/v1/entity/Shot/1/activity_stream?entity_fields%5BVersion%5D=code%2Centity.Shot.code&limit=5&min_id=1"},
		{"GET /entity/shots/1/followers", "followers follow Shot#1: Shot./1", "GET /api/v1/entity/Shot/1/followers"},
		{"GET /entity/human_users/1/following?entity=shots&project_id=4", "following follow Shot#1: Shot./1", "GET /api/v1/entity/HumanUser/1/following?entity=Shot&project_id=4"},
		{"GET /entity/human_users/1/following", "following follow#1:", "GET /api/v1/entity/HumanUser/1/following"},
		{`POST /entity/human_users/1/follow {"entities":[{"record_id":2,"entity":"Shot"},{"record_id":3,"entity":"Shot"}]}`, "follow follow Shot#1: Shot./1", `POST /api/v1/entity/HumanUser/1/follow application/json {"entities":[{"record_id":2,"entity":"Shot"},{"record_id":3,"entity":"Shot"}]}`},
		{`POST /entity/human_users/1/follow {"entities":[{"record_id":2,"entity":"Shot"},{"record_id":3,"entity":"assets"}]}`, "batch batch#1: (follow follow Shot: Shot./1) (follow follow Asset: Asset./1)", `POST /api/v1/entity/HumanUser/1/follow application/json {"entities":[{"record_id":2,"entity":"Shot"},{"record_id":3,"entity":"Asset"}]}`},
		{`PUT /entity/shots/1/unfollow {"user_id":3}`, "unfollow follow Shot#1: Shot./1", `PUT /api/v1/entity/Shot/1/unfollow application/json {"user_id":3}`},
		{"GET /entity/notes/1/thread_contents?entity_fields[Note]=created_by.HumanUser.image", "note_thread_contents read Note#1: Note./1 Note.created_by/1 HumanUser.image/1 Note.content/1 Note.created_at/1 Reply./1 Reply.content/1 Reply.created_at/1 Reply.user/1 Attachment./1 Attachment.this_file/1 Attachment.created_at/1 Attachment.created_by/1", "GET /api/v1/entity/Note/1/thread_contents?entity_fields%5BNote%5D=created_by.HumanUser.image"},
		{`PUT /entity/projects/7/_update_last_accessed {"user_id":3}`, "update_project_last_accessed_by_current_user update Project#7: Project.last_accessed_by_current_user/5", `PUT /api/v1/entity/Project/7/_update_last_accessed application/json {"user_id":3}`},

		{"GET /entity/versions/1/sg_uploaded_movie/_upload?filename=a%20b.mov&multipart_upload=true", "api_get_upload_link_info upload Version#1: Version.sg_uploaded_movie/7", "GET /api/v1/entity/Version/1/sg_uploaded_movie/_upload?filename=a+b.mov&multipart_upload=true"},
		{"GET /entity/notes/1/_upload?filename=a", "api_get_upload_link_info upload Note#1: Note.attachments/7", "GET /api/v1/entity/Note/1/_upload?filename=a"},
		{"GET /entity/notes/1/attachments/_upload/multipart?filename=a&part_number=2&timestamp=2020-11-22T01%3A28%3A51Z&upload_id=x--&upload_type=Attachment", "api_get_upload_link_for_part upload Note#1: Note.attachments/7", "GET /api/v1/entity/Note/1/attachments/_upload/multipart?filename=a&part_number=2&timestamp=2020-11-22T01%3A28%3A51Z&upload_id=x--&upload_type=Attachment"},
		{"PUT /entity/notes/1/_upload?expiration=1605582076&filename=a.jpg&signature=xxxx&user_id=4&user_type=ApiUser", "rest_upload upload Note#1: Note.attachments/7", "PUT /api/v1/entity/notes/1/_upload?expiration=1605582076&filename=a.jpg&signature=xxxx&user_id=4&user_type=ApiUser application/octet-stream"},
		{`POST /entity/notes/1/_upload {"upload_info":{"timestamp":"x","upload_type":"Attachment","upload_id":null,"storage_service":"s3","original_filename":"a","multipart_upload":false,"etags":["\"a\""]},"upload_data":{"display_name":"d","tags":[{"type":"Tag","id":6}]}}`, "api_link_file upload Note#1: Note.attachments/7 Tag./6", `POST /api/v1/entity/Note/1/_upload application/json {"upload_info":{"timestamp":"x","upload_type":"Attachment","upload_id":null,"storage_service":"s3","original_filename":"a","multipart_upload":false,"etags":["\"a\""]},"upload_data":{"display_name":"d","tags":[{"type":"Tag","id":6}]}}`},
		{`POST /entity/notes/1/attachments/_upload/multipart_abort {"upload_id":"x","upload_type":"Attachment"}`, "rest_upload_abort upload Note#1: Note.attachments/7", `POST /api/v1/entity/Note/1/attachments/_upload/multipart_abort application/json {"upload_id":"x","upload_type":"Attachment"}`},

		{"GET /spec.json", "schema_read schema:", "GET /api/v1/spec.json"},
		{"GET /schema?project_id=3", "schema_entity_read schema:", "GET /api/v1/schema?project_id=3"},
		{"GET /schema/Shot", "schema_entity_read schema Shot: Shot./5", "GET /api/v1/schema/Shot"},
		{"GET /schema/shot/fields/code", "schema_field_read schema Shot: Shot./5", "GET /api/v1/schema/Shot/fields/code"},
		{`POST /schema/Shot/fields {"data_type":"text","properties":[{"property_name":"name","value":"x"}]}`, "schema_field_create named Shot: Shot./5", `POST /api/v1/schema/Shot/fields application/json {"data_type":"text","properties":[{"property_name":"name","value":"x"}]}`},
		{`PUT /schema/Shot/fields/sg_x {"properties":[],"project_id":3}`, "schema_field_update named Shot: Shot./5 Shot.sg_x/5", `PUT /api/v1/schema/Shot/fields/sg_x application/json {"properties":[],"project_id":3}`},
		{"DELETE /schema/Shot/fields/sg_x", "schema_field_delete named Shot: Shot./5 Shot.sg_x/5", "DELETE /api/v1/schema/Shot/fields/sg_x"},
		{"POST /schema/Shot/fields/sg_x?revive=true", "schema_field_create named Shot: Shot./5 Shot.sg_x/5", "POST /api/v1/schema/Shot/fields/sg_x?revive=true"},
		{`POST /hierarchy/_expand {"path":"/Project/65","seed_entity_field":"Version.entity","entity_fields":[{"entity":"shots","fields":["code","a.Task.b"]}]}`, "nav_expand named: Shot./1 Shot.code/1 Shot.a/1 Task.b/1", `POST /api/v1/hierarchy/_expand application/json {"path":"/Project/65","seed_entity_field":"Version.entity","entity_fields":[{"entity":"Shot","fields":["code","a.Task.b"]}]}`},
		{`POST /hierarchy/_expand {"path":"/","entity_fields":{"Shot":["code"]}}`, "nav_expand named: Shot./1 Shot.code/1", `POST /api/v1/hierarchy/_expand application/json {"path":"/","entity_fields":{"Shot":["code"]}}`},
		{`POST /hierarchy/_search {"root_path":"/Project/65","search_criteria":{"entity":{"type":"Shot","id":1}}}`, "nav_search named: Shot./2", `POST /api/v1/hierarchy/_search application/json {"root_path":"/Project/65","search_criteria":{"entity":{"type":"Shot","id":1}}}`},
		{"GET /preferences?prefs=hours_per_day,duration_units", "preferences_read preferences:", "GET /api/v1/preferences?prefs=hours_per_day%2Cduration_units"},
		{`PUT /preferences/update [{"preference":"enable","entity_type":"CustomEntity01","display_name":"x"}]`, "preferences_update named: CustomEntity01./5", `PUT /api/v1/preferences/update application/json [{"preference":"enable","entity_type":"CustomEntity01","display_name":"x"}]`},
		{"GET /license_info", "license_info named:", "GET /api/v1/license_info"},
		{"GET /schedule/work_day_rules?start_date=2026-01-01&end_date=2026-01-02&project_id=1&user_id=2", "work_schedule_read schedule:", "GET /api/v1/schedule/work_day_rules?start_date=2026-01-01&end_date=2026-01-02&project_id=1&user_id=2"},
		{`PUT /schedule/work_day_rules {"date":"2026-01-01","working":true,"user_id":null}`, "work_schedule_update named studio:", `PUT /api/v1/schedule/work_day_rules application/json {"date":"2026-01-01","working":true,"user_id":null}`},
		{`PUT /schedule/work_day_rules {"date":"2026-01-01","working":true,"project_id":4}`, "work_schedule_update named:", `PUT /api/v1/schedule/work_day_rules application/json {"date":"2026-01-01","working":true,"project_id":4}`},
		{`PUT /schedule/work_day_rules {"date":"2026-01-01","project_id":4,"user_id":"x"}`, "work_schedule_update named studio:", `PUT /api/v1/schedule/work_day_rules application/json {"date":"2026-01-01","project_id":4,"user_id":"x"}`},
		{"GET /subscription_seat/user_subscriptions", "user_subscriptions_read named:", "GET /api/v1/subscription_seat/user_subscriptions"},
		{`POST /subscription_seat/user_subscriptions {"12":"shotgun"}`, "user_subscriptions_create named:", `POST /api/v1/subscription_seat/user_subscriptions application/json {"12":"shotgun"}`},
		{"GET /exports/page/12.csv", "export_page named#12:", "GET /api/v1/exports/page/12.csv"},
		{"GET /exports/page/12/my_layout.csv", "export_page named#12:", "GET /api/v1/exports/page/12/my_layout.csv"},
		{"GET /webhook/hooks?page[size]=5&status=active", "webhook_read named page 5:", "GET /api/v1/webhook/hooks?page%5Bsize%5D=5&status=active"},
		{`POST /webhook/hooks {"url":"https://x","entity_types":{"Shot":{"update":["code"]},"Task":{"create":[]}},"projects":[1],"token":"t"}`, "webhook_write named: Shot./1 Shot.code/1 Task./1 Task.*/1", `POST /api/v1/webhook/hooks application/json {"url":"https://x","entity_types":{"Shot":{"update":["code"]},"Task":{"create":[]}},"projects":[1],"token":"t"}`},
		{`PUT /webhook/hooks/0a9d4cc2-7f2b-4d6e-9b1a-000000000001 {"status":"disabled"}`, "webhook_write named:", `PUT /api/v1/webhook/hooks/0a9d4cc2-7f2b-4d6e-9b1a-000000000001 application/json {"status":"disabled"}`},
		{"DELETE /webhook/hooks/0a9d4cc2-7f2b-4d6e-9b1a-000000000001", "webhook_write named:", "DELETE /api/v1/webhook/hooks/0a9d4cc2-7f2b-4d6e-9b1a-000000000001"},
		{"POST /webhook/hooks/0a9d4cc2-7f2b-4d6e-9b1a-000000000001/test_connection", "webhook_write named:", "POST /api/v1/webhook/hooks/0a9d4cc2-7f2b-4d6e-9b1a-000000000001/test_connection"},
		{"GET /webhook/hooks/0a9d4cc2-7f2b-4d6e-9b1a-000000000001/deliveries?entity_type=shots", "webhook_read named: Shot./2", "GET /api/v1/webhook/hooks/0a9d4cc2-7f2b-4d6e-9b1a-000000000001/deliveries?entity_type=Shot"},
		{`PUT /webhook/deliveries/0a9d4cc2-7f2b-4d6e-9b1a-000000000001 {"acknowledgement":"x"}`, "webhook_write named:", `PUT /api/v1/webhook/deliveries/0a9d4cc2-7f2b-4d6e-9b1a-000000000001 application/json {"acknowledgement":"x"}`},
		{`POST /transcode/attachment_metadata/3 {"width":1920}`, "transcode named#3: Attachment./1", `POST /api/v1/transcode/attachment_metadata/3 application/json {"width":1920}`},
	}
}

// TestRESTCalls: each family of routes is the call that api3 has, and what is
// sent is rebuilt.
func TestRESTCalls(t *testing.T) {
	for _, tt := range restCalls() {
		r := rest(t, tt.line)
		if got := said(&r.Call); got != tt.want {
			t.Errorf("%s\n got  %s\n want %s", tt.line, got, tt.want)
		}
		if got := sent(r); got != tt.sent {
			t.Errorf("%s\n sent %s\n want %s", tt.line, got, tt.sent)
		}
		if r.Call.Kind != flow.KindREST {
			t.Errorf("%s: kind %q", tt.line, r.Call.Kind)
		}
	}
}

func sent(r *flow.REST) string {
	s := r.Verb + " " + r.Path
	if r.Query != "" {
		s += "?" + r.Query
	}
	if r.ContentType != "" {
		s += " " + r.ContentType
	}
	if r.Body != nil {
		s += " " + string(r.Body)
	}
	return s
}

const uuid = "0a9d4cc2-7f2b-4d6e-9b1a-000000000001"

// TestRESTRefuses: what is not exactly a call is none. Each line says why.
func TestRESTRefuses(t *testing.T) {
	for why, lines := range map[string][]string{
		"no route": {
			"GET /entity/shots/", "GET /entity//1", "GET /entity/shots/01", "GET /entity/shots/-1", "GET /entity/shots/+1", "GET /entity/shots/1.json",
			"GET /entity/sh%6fts", "GET /entity/api_users.json", "GET /entity/./shots", "GET /entity/../entity/shots", "GET //entity/shots", "GET /entity;x/shots",
			"GET /entity/shots/1/entity.Shot.code", "GET /entity/shots/99999999999999999999", "GET entity", "GET .2/entity/shots", "GET /x", "GET /spec.xml", "GET /spec.json/",
			"PATCH /entity/shots/1", "HEAD /entity/shots", "get /entity/shots", "OPTIONS /entity/shots", "POST /entity/shots/1/_revive", "POST /entity/shots/1/_upload_complete",
			"GET /entity/_batch", "POST /entity/_batch//", "GET /entity/_batch/", "GET /exports/page/1", "GET /exports/page/1.csv.gz", "GET /exports/page/x.csv", "GET /exports/page/1/a%20b.csv", "GET /exports/page/1/.csv",
			"GET /webhook/hooks/1", "GET /webhook/hooks/../hooks", "GET /webhook/hooks/" + uuid + "x", "POST /auth/access_token x", "GET /entity/shots/1/image/2/3/4/5",
			"PUT /preferences", "GET /entity/shots/1/_other", "GET /schema/Shot/other", "GET /internal_api/session",
		},
		"type": {
			"GET /entity/nonsense", "GET /entity/sho", "GET /entity/shotss", "GET /entity/users", "GET /entity/h_uman_users", "GET /entity/Shot-1", "GET /schema/users",
			"GET /entity/shots/1/following", "GET /entity/tasks/1/thread_contents", `POST /entity/client_users/1/follow {"entities":[{"record_id":1,"entity":"Shot"}]}`, `PUT /entity/shots/1/_update_last_accessed {"user_id":1}`,
			"GET /entity/human_users/1/following?entity=x", `POST /entity/_batch {"requests":[{"request_type":"delete","entity":"x","record_id":1}]}`,
			`POST /entity/human_users/1/follow {"entities":[{"record_id":1,"entity":"x"}]}`, `POST /entity/_text_search {"text":"a","entity_types":{"shots":[]}}`, `POST /webhook/hooks {"entity_types":{"shots":{}}}`,
			`POST /entity/shots {"a":{"type":"api_users","id":1}}`, `POST /entity/shots {"a":[{"type":"x y","id":1}]}`, "GET /entity/shots/1/activity_stream?entity_fields[shots]=code", `POST /hierarchy/_expand {"path":"/","entity_fields":{"SHOT":["code"]}}`,
		},
		"query": {
			"GET /entity/shots?fields=code&fields=id", "GET /entity/shots?fields=code&%66ields=id", "GET /entity/shots?x=1", "GET /entity/shots?FIELDS=id", "GET /entity/shots?filter[a][b]=1", "GET /entity/shots?filter[]=1", "GET /entity/shots?filter[a=1", "GET /entity/shots?filter=1",
			"GET /entity/shots?filter[a.b]=1", "GET /entity/shots?filter[a.shot.b]=1", "GET /entity/shots?page[x]=1", "GET /entity/shots?page=1", "GET /entity/shots?page[size]=x", "GET /entity/shots?page[size]=-1", "GET /entity/shots?fields[]=a", "GET /entity/shots?fields[Shot]=a",
			"GET /entity/shots?fields=a,,b", "GET /entity/shots?fields=a,", "GET /entity/shots?fields=a.b", "GET /entity/shots?fields=a;b=c", "GET /entity/shots?fields", "GET /entity/shots?=a", "GET /entity/shots?fields=a&", "GET /entity/shots?fields=%zz", "GET /entity/shots?fields=%00a", "GET /entity/shots?fields=%ff",
			"GET /entity/shots?sort=--a", "GET /entity/shots?sort=+a", "GET /entity/shots?options[fields]=a", "GET /entity/shots?options[x]=a", "GET /entity/shots?revive=1", "GET /entity/shots/1?sort=a", "GET /entity/shots/1?filter[a]=1", "GET /entity/shots/1?page[size]=1",
			"DELETE /entity/shots/1?revive=1", "POST /entity/shots/1", "POST /entity/shots/1?revive=false", "POST /entity/shots/1?revive=", `POST /entity/shots?fields=a {"code":1}`, `POST /entity/shots?code=1 {"code":1}`, `PUT /entity/shots/1?code=1 {"code":1}`, `POST /entity/shots/_search?filter[a]=1 {"filters":[]}`, `POST /entity/shots/_summarize?fields=a {"filters":[]}`,
			"GET /entity/shots/1/image?alt=x", "GET /entity/shots/1/image?fields=a", "GET /entity/shots/1/relationships/a?fields=b", "GET /entity/shots/1/followers?x=1", "GET /preferences?x=1", "GET /schema?x=1", "DELETE /schema/Shot/fields/sg_x?revive=true", "POST /schema/Shot/fields/sg_x",
			"GET /entity/notes/1/_upload?signature=x", "GET /entity/notes/1/_upload?part_number=2", "PUT /entity/notes/1/_upload?multipart_upload=true", "PUT /entity/notes/1/_upload?sudo_as_login=joe", "GET /entity/shots?sudo_as_login=joe", "GET /entity/shots?access_token=x", "GET /?x=1", "GET /license_info?x=1", "GET /webhook/hooks?entity_type=Shot", `PUT /schedule/work_day_rules?project_id=1 {"date":"x"}`,
		},
		"body": {
			`GET /entity/shots {"a":1}`, `DELETE /entity/shots/1 {}`, `POST /entity/shots/1?revive=1 {"a":1}`, `POST /entity/shots/1?revive=1 []`, "POST /entity/shots", "PUT /entity/shots/1",
			`POST /entity/shots {"a":1,"a":2}`, `POST /entity/shots {"a":1,"\u0061":2}`, `POST /entity/shots {"a":1} x`, `POST /entity/shots {"a":1}{}`, `POST /entity/shots [1]`, `POST /entity/shots {"a":NaN}`, "POST /entity/shots {\"a\":\"\xff\"}", `POST /entity/shots {"a":"\u0000"}`, `POST /entity/shots {"a.Shot.b":1}`, `POST /entity/shots {"":1}`, "POST /entity/shots \ufeff{}",
			`POST /entity/shots {"a":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`,
			`POST /entity/Shot/_search {"filters":[["a","is"]]}`, `POST /entity/Shot/_search {"filters":[["a"]]}`, `POST /entity/Shot/_search {"filters":[[]]}`, `POST /entity/Shot/_search {"filters":["a","is",1]}`, `POST /entity/Shot/_search {"filters":[{"path":"a","relation":"is","values":[1]}]}`, `POST /entity/Shot/_search {"filters":{}}`, `POST /entity/Shot/_search {"filters":[["a",1,1]]}`, `POST /entity/Shot/_search {"filters":[[1,"is",1]]}`,
			`POST /entity/Shot/_search {"filters":{"conditions":[],"x":1}}`, `POST /entity/Shot/_search {"filters":{"conditions":{}}}`, `POST /entity/Shot/_search {"filters":{"conditions":[{"path":"a","relation":"is","values":[1]}]}}`, `POST /entity/Shot/_search {"filters":[["a.b","is",1]]}`,
			`POST /entity/Shot/_search {"filters":[],"x":1}`, `POST /entity/Shot/_search {"filters":[],"Filters":[]}`, `POST /entity/Shot/_search {"fields":{"Shot":["a"]}}`, `POST /entity/Shot/_search {"fields":["a b"]}`, `POST /entity/Shot/_search {"fields":[1]}`, `POST /entity/Shot/_search {"sort":[{"field_name":"a"}]}`, `POST /entity/Shot/_search {"page":{"x":1}}`, `POST /entity/Shot/_search {"page":[]}`, `POST /entity/Shot/_search {"options":{"x":1}}`, `POST /entity/Shot/_search {"options":{"return_only":{}}}`,
			`POST /entity/Shot/_summarize {"summary_fields":[{"field":"id","x":1}]}`, `POST /entity/Shot/_summarize {"fields":["a"]}`, `POST /entity/_text_search {"text":"a","sort":"x"}`, `POST /entity/_text_search {"text":"a","entity_types":["Shot"]}`, `POST /entity/_text_search {"text":"a","project_ids":[1]}`,
			`POST /entity/_batch []`, `POST /entity/_batch {"requests":[{"request_type":"read","entity":"Shot"}]}`, `POST /entity/_batch {"requests":[{"entity":"Shot"}]}`, `POST /entity/_batch {"requests":[{"request_type":"delete","record_id":1}]}`, `POST /entity/_batch {"requests":[{"request_type":"delete","entity":"Shot","record_id":1,"data":{}}]}`, `POST /entity/_batch {"requests":[{"request_type":"create","entity":"Shot","record_id":1}]}`, `POST /entity/_batch {"requests":[{"request_type":"create","entity":"Shot","type":"Task"}]}`, `POST /entity/_batch {"requests":[{"request_type":"create","entity":"Shot","options":{"x":1}}]}`, `POST /entity/_batch {"requests":[],"x":1}`,
			`POST /entity/human_users/1/follow {"entities":[]}`, `POST /entity/human_users/1/follow {"entities":[{"record_id":1}]}`, `POST /entity/human_users/1/follow {"entities":[{"record_id":1,"entity":"Shot","type":"Task"}]}`, `PUT /entity/shots/1/unfollow {"user":1}`,
			`POST /entity/notes/1/_upload {"upload_info":{"url":"x"}}`, `POST /entity/notes/1/_upload {"upload_info":[]}`, `POST /entity/notes/1/_upload {"upload_data":{"description":"x"}}`, `POST /entity/notes/1/_upload/multipart_abort {"upload_info":{}}`,
			`POST /hierarchy/_search {"path":"/"}`, `POST /hierarchy/_expand {"entity_fields":[{"fields":["a"]}]}`, `PUT /preferences/update {"x":1}`, `PUT /preferences/update "x"`, `PUT /schedule/work_day_rules {"x":1}`, `POST /subscription_seat/user_subscriptions {"x":"y"}`, `POST /subscription_seat/user_subscriptions {"1":{}}`,
			`POST /webhook/hooks {"entity_types":{"Shot":{"x":[]}}}`, `POST /webhook/hooks {"entity_types":{"Shot":[]}}`, `POST /webhook/hooks {"x":1}`, `PUT /webhook/deliveries/` + uuid + ` {"url":"x"}`, `POST /webhook/hooks/` + uuid + `/test_connection {"url":"x"}`, `POST /schema/Shot/fields {"x":1}`, `POST /schema/Shot/fields/a?revive=true {"data_type":"x"}`, `POST /transcode/attachment_metadata/1 {"url":"x"}`, `PUT /entity/notes/1/_upload x`,
		},
	} {
		for _, line := range lines {
			r, err := parseREST(line)
			if err == nil {
				t.Errorf("%s: %s: %s", why, line, said(&r.Call))
				continue
			}
			if _, ok := errors.AsType[*flow.ParseError](err); !ok || r != nil {
				t.Errorf("%s: %s: %T %v", why, line, err, r)
			}
			if strings.Contains(err.Error(), "joe") || strings.Contains(err.Error(), "\x00") || !utf8.ValidString(err.Error()) {
				t.Errorf("%s: %s: the error quotes the call: %v", why, line, err)
			}
			if what, _ := flowOf(err); why == "no route" && what != flow.FlawUnknown {
				t.Errorf("%s: %s: %v", why, line, err)
			}
		}
	}
}

func flowOf(err error) (flow.Flaw, string) {
	p, _ := errors.AsType[*flow.ParseError](err)
	if p == nil {
		return "", ""
	}
	return p.Flaw, p.Method
}

func TestRESTRoute(t *testing.T) {
	for _, tt := range []struct {
		verb, path string
		ok, other  bool
	}{
		{"GET", "/api/v1", true, false},
		{"GET", "/api/v1/", true, false},
		{"GET", "/api/v1.1/entity/shots", true, false},
		{"GET", "/api/v1.x/entity/shots", true, false},
		{"POST", "/api/v1/entity/_batch/", true, false},
		{"PATCH", "/api/v1/entity/shots/1", false, true},
		{"HEAD", "/api/v1/entity/shots", false, true},
		{"DELETE", "/api/v1/license_info", false, true},
		{"GET", "/api/v1.2/entity/shots", false, false},
		{"GET", "/api/v2", false, false},
		{"GET", "/api/v11", false, false},
		{"GET", "/api", false, false},
		{"GET", "api/v1", false, false},
		{"GET", "/api/v1?x", false, false},
		{"GET", "/api/v1/entity/shots/T/F", false, false},
		{"GET", "/api/v1/entity/T/T", false, false},
	} {
		if ok, other := flow.RESTRoute(tt.verb, tt.path); ok != tt.ok || other != tt.other {
			t.Errorf("%s %s: %v %v", tt.verb, tt.path, ok, other)
		}
	}
}

// TestRESTStreams: only the file of an upload is not read first.
func TestRESTStreams(t *testing.T) {
	for _, c := range restCalls() {
		in := restCall(c.line)
		if got, want := flow.RESTStreams(in.Method, in.Path), rest(t, c.line).Stream; got != want {
			t.Errorf("%s: %v", c.line, got)
		}
	}
	if !flow.RESTStreams("PUT", "/api/v1.1/entity/notes/1/_upload") || flow.RESTStreams("PUT", "/api/v2/entity/notes/1/_upload") {
		t.Error("the upload of a note's file")
	}
}

// TestRESTPrefix: the two that the site has are kept, the documentation's is
// what it stands for.
func TestRESTPrefix(t *testing.T) {
	for path, want := range map[string]string{
		"/api/v1/entity/shots": "/api/v1/entity/Shot", "/api/v1.1/entity/shots": "/api/v1.1/entity/Shot", "/api/v1.x/entity/shots": "/api/v1/entity/Shot",
		"/api/v1": "/api/v1", "/api/v1.1/": "/api/v1.1", "/api/v1.x": "/api/v1",
	} {
		r, err := new(flow.Parser).ParseREST(flow.RESTRequest{Method: "GET", Path: path}, flow.NewTypes(), nil, 8)
		if err != nil || r.Path != want {
			t.Errorf("%s: %v %v", path, r, err)
		}
	}
}

// TestRESTContentTypes: a body has the one type that its route takes.
func TestRESTContentTypes(t *testing.T) {
	for _, tt := range []struct {
		line string
		ct   []string
		ok   bool
	}{
		{`POST /entity/shots {"a":1}`, []string{"application/json"}, true},
		{`POST /entity/shots {"a":1}`, []string{"application/json; charset=utf-8"}, true},
		{`POST /entity/shots {"a":1}`, []string{`Application/JSON;charset="UTF-8"`}, true},
		{`POST /entity/shots {"a":1}`, nil, false},
		{`POST /entity/shots {"a":1}`, []string{"application/json", "application/json"}, false},
		{`POST /entity/shots {"a":1}`, []string{"application/json, text/plain"}, false},
		{`POST /entity/shots {"a":1}`, []string{"application/json; charset=latin1"}, false},
		{`POST /entity/shots {"a":1}`, []string{"application/json; boundary=x"}, false},
		{`POST /entity/shots {"a":1}`, []string{"text/plain"}, false},
		{`POST /entity/shots {"a":1}`, []string{arrayType}, false},
		{`POST /entity/shots {"a":1}`, []string{"application/x-www-form-urlencoded"}, false},
		{`POST /entity/shots/_search {"filters":[]}`, []string{arrayType}, true},
		{`POST /entity/shots/_search {"filters":[]}`, []string{hashType}, false},
		{`POST /entity/shots/_search {"filters":{}}`, []string{hashType + "; charset=utf-8"}, true},
		{`POST /entity/shots/_search {"filters":[]}`, []string{"application/json"}, false},
		{`POST /hierarchy/_expand {"path":"/"}`, []string{arrayType}, false},
		{"GET /entity/shots", []string{"application/json"}, true}, // shotgun-nodejs sends it with every call
		{"DELETE /entity/shots/1", []string{"application/json"}, true},
		{"PUT /entity/notes/1/_upload", []string{"image/png"}, true},
		{"PUT /entity/notes/1/_upload", []string{"text/plain;charset=utf-8"}, true}, // a Blob of a browser or of Node
		{"PUT /entity/notes/1/_upload", []string{"image/png; x=y"}, false},
		{"PUT /entity/notes/1/_upload", []string{"multipart/form-data; boundary=x"}, false},
		{"PUT /entity/notes/1/_upload", []string{"image"}, false},
		{"PUT /entity/notes/1/_upload", []string{"image/png", "image/png"}, false},
	} {
		in := restCall(tt.line)
		in.ContentType = tt.ct
		r, err := new(flow.Parser).ParseREST(in, flow.NewTypes(), nil, 8)
		if (err == nil) != tt.ok {
			t.Errorf("%s %v: %v", tt.line, tt.ct, err)
		}
		if err == nil && strings.Contains(r.ContentType, ";") {
			t.Errorf("%s: sent as %q", tt.line, r.ContentType)
		}
	}
	if r := rest(t, "PUT /entity/notes/1/_upload"); !r.Stream || r.Body != nil {
		t.Error("an upload does not stream")
	}
}

// TestRESTNamesSecretFields: wherever a credential field is named, the call
// touches it, and is refused for it.
func TestRESTNamesSecretFields(t *testing.T) {
	for _, line := range []string{
		"GET /entity/api_users?fields=salted_password", "GET /entity/shots?fields=created_by.ApiUser.salted_password", "GET /entity/api_users?filter[salted_password]=a", "GET /entity/shots?filter[created_by.ApiUser.Salted_Password]=a", "GET /entity/api_users?sort=-salted_password",
		"GET /entity/api_users/1?fields=salted_password", "GET /entity/api_users/1/salted_password", "GET /entity/api_users/1/salted_password?alt=original", "GET /entity/api_users/1/relationships/salted_password",
		`POST /entity/api_users/_search {"fields":["salted_password"]}`, `POST /entity/api_users/_search {"filters":[["salted_password","starts_with","a"]]}`, `POST /entity/shots/_search {"filters":{"logical_operator":"and","conditions":[{"logical_operator":"or","conditions":[["created_by.HumanUser.password_proxy","is","a"]]}]}}`, `POST /entity/api_users/_search {"sort":"salted_password"}`,
		`POST /entity/api_users/_search {"additional_filter_presets":[{"preset_name":"X","by":"a.salted_password"}]}`,
		`POST /entity/api_users/_summarize {"summary_fields":[{"field":"salted_password","type":"count"}]}`, `POST /entity/api_users/_summarize {"grouping":[{"field":"salted_password","type":"exact"}]}`,
		`POST /entity/_text_search {"text":"salted_password","entity_types":{"Shot":[]}}`, `POST /entity/_text_search {"entity_types":{"ApiUser":[["salted_password","is",1]]}}`, `POST /entity/_text_search {"entity_types":{"ApiUser":[]},"sort":"salted_password"}`,
		`POST /entity/human_users {"password_proxy":"x"}`, `PUT /entity/human_users/1 {"password_proxy":"x"}`, `PUT /entity/human_users/1?options[fields]=password_proxy {"a":"x"}`,
		`POST /entity/_batch {"requests":[{"request_type":"update","entity":"HumanUser","record_id":1,"data":{"password_proxy":"x"}}]}`, `POST /entity/_batch {"requests":[{"request_type":"update","entity":"HumanUser","record_id":1,"options":{"fields":"a,password_proxy"}}]}`,
		"GET /entity/shots/1/activity_stream?entity_fields[ApiUser]=salted_password", "GET /entity/notes/1/thread_contents?entity_fields[Note]=user.ApiUser.salted_password",
		`POST /hierarchy/_expand {"path":"/","seed_entity_field":"ApiUser.salted_password"}`, `POST /hierarchy/_expand {"path":"/ApiUser/salted_password"}`, `POST /hierarchy/_expand {"entity_fields":[{"entity":"ApiUser","fields":["salted_password"]}]}`, `POST /hierarchy/_search {"root_path":"/salted_password"}`,
		`POST /webhook/hooks {"entity_types":{"ApiUser":{"update":["salted_password"]}}}`, "DELETE /schema/ApiUser/fields/salted_password", "GET /entity/api_users/1/salted_password/_upload?filename=a", "GET /preferences?prefs=salted_password",
	} {
		r := rest(t, line)
		calls := append([]flow.Call{r.Call}, r.Call.Parts...)
		if !slices.ContainsFunc(calls, func(c flow.Call) bool {
			return slices.ContainsFunc(c.Touches, func(x flow.Touch) bool { return flow.IsSecretField(x.Field) })
		}) {
			t.Errorf("%s: %s", line, said(&r.Call))
		}
	}
}

// TestRESTFilter says whose answers are held against what may be read.
func TestRESTFilter(t *testing.T) {
	for line, want := range map[string]string{
		"GET /entity/shots": "records", "GET /entity/shots?fields=": "records", "GET /entity/shots?fields=*": "records", "GET /entity/shots?fields=code,*": "records", "GET /entity/shots?fields=code": "",
		"GET /entity/shots/1": "records", "GET /entity/shots/1?fields=code": "", "GET /entity/shots/1/relationships/a": "records linked", "GET /entity/shots/1/image": "",
		`POST /entity/shots/_search {"filters":[]}`: "records", `POST /entity/shots/_search?fields=code {"filters":[]}`: "", `POST /entity/shots/_search {"fields":["code"]}`: "", `POST /entity/shots/_search {"fields":[]}`: "records", `POST /entity/shots/_search?fields= {"filters":[]}`: "records", `POST /entity/shots/_search?fields=* {"filters":[]}`: "records",
		`POST /entity/shots {"a":1,"b":2}`: "records [{Shot 0 [a b]}]", `PUT /entity/shots/1 {"a":1}`: "records [{Shot 1 [a]}]", `PUT /entity/shots/1 {}`: "records [{Shot 1 []}]", "POST /entity/shots/1?revive=1": "records [{Shot 1 []}]", "DELETE /entity/shots/1": "",
		`POST /entity/_batch {"requests":[{"request_type":"update","entity":"Shot","record_id":1,"data":{"a":1}},{"request_type":"delete","entity":"Shot","record_id":1},{"request_type":"create","entity":"Shot","data":{"b":1,"c":1}}]}`: "records [{Shot 1 [a]} {Shot 1 []} {Shot 0 [b c]}]",
		// what is added to or taken from tells the rest of the list
		`PUT /entity/shots/1 {"a":{"multi_entity_update_mode":"add","value":[]},"b":{"value":[],"multi_entity_update_mode":"remove"},"c":{"multi_entity_update_mode":"set","value":[]},"d":{"type":"Asset","id":1},"e":{"multi_entity_update_mode":null}}`: "records [{Shot 1 [c d]}]",
		`PUT /entity/shots/1 {"a":{"multi_entity_update_mode":"set","value":[]},"b":{"multi_\u0065ntity_update_mode":"add","value":[]},"c":[{"multi_entity_update_mode":"add"}],"d":"multi_entity_update_mode","e":{"multi_entity_update_mode":"set"}}`:    "records [{Shot 1 [a c d]}]",
		`POST /entity/_batch {"requests":[{"request_type":"update","entity":"Shot","record_id":1,"data":{"a":{"multi_entity_update_mode":"add","value":[]},"b":1}}]}`:                                                                                      "records [{Shot 1 [b]}]",
		`POST /entity/shots/_summarize {"filters":[]}`: "", "GET /": "", `POST /entity/_text_search {"text":"a"}`: "",
	} {
		f := rest(t, line).Filter
		got := ""
		if f.Records {
			got = "records"
		}
		if f.Linked {
			got += " linked"
		}
		if f.Written != nil {
			got += fmt.Sprintf(" %v", f.Written)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// TestRESTLinksAreTurnedBack: links through us are the site's again where a tool
// writes them, and nowhere else.
func TestRESTLinksAreTurnedBack(t *testing.T) {
	l := &flow.Links{Site: "https://acme.example", Here: "http://127.0.0.1:8470", Also: []string{"http://localhost:8470"}}
	for line, want := range map[string]string{
		`POST /entity/shots {"image":"http://127.0.0.1:8470/thumbnail/api_image/1"}`:                                                         `{"image":"https://acme.example/thumbnail/api_image/1"}`,
		`PUT /entity/versions/1 {"sg_file":{"url":"http://localhost:8470/file_serve/attachment/1","name":"a"}}`:                              `{"sg_file":{"url":"https://acme.example/file_serve/attachment/1","name":"a"}}`,
		`PUT /entity/versions/1 {"description":"http://127.0.0.1:8470/file_serve/attachment/1"}`:                                             `{"description":"http://127.0.0.1:8470/file_serve/attachment/1"}`,
		`PUT /entity/versions/1 {"sg_file":{"url":"http://127.0.0.1:8470/other","name":"a"}}`:                                                `{"sg_file":{"url":"http://127.0.0.1:8470/other","name":"a"}}`,
		`POST /entity/_batch {"requests":[{"request_type":"create","entity":"Shot","data":{"image":"http://127.0.0.1:8470/images/a.png"}}]}`: `{"requests":[{"request_type":"create","entity":"Shot","data":{"image":"https://acme.example/images/a.png"}}]}`,
		`POST /entity/notes/1/_upload {"upload_info":{"upload_id":"http://127.0.0.1:8470/files/a"}}`:                                         `{"upload_info":{"upload_id":"https://acme.example/files/a"}}`,
		`POST /entity/shots/_search {"filters":[["image","is","http://127.0.0.1:8470/images/a.png"]]}`:                                       `{"filters":[["image","is","http://127.0.0.1:8470/images/a.png"]]}`,
	} {
		r, err := new(flow.Parser).ParseREST(restCall(line), flow.NewTypes(), l, 16)
		if err != nil || string(r.Body) != want {
			t.Errorf("%s\n got  %s %v\n want %s", line, r.Body, err, want)
		}
	}
}

// TestRESTBounds: what one call may name is bounded, in query and body together.
func TestRESTBounds(t *testing.T) {
	many := func(n int, item func(i int) string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = item(i)
		}
		return strings.Join(parts, ",")
	}
	thing := func(i int) string { return fmt.Sprintf("a.Type%d.b", i) }
	if _, err := parseREST("GET /entity/shots?fields=" + many(flow.MaxTypes-1, thing)); err != nil {
		t.Error(err)
	}
	for _, line := range []string{
		"GET /entity/shots?fields=" + many(flow.MaxTypes, thing),
		`POST /entity/shots/_search?fields=` + many(40, thing) + ` {"sort":["` + many(40, func(i int) string { return fmt.Sprintf("a.Other%d.b", i) }) + `"]}`,
		`POST /entity/_batch {"requests":[` + many(flow.MaxParts+1, func(int) string { return `{"request_type":"delete","entity":"Shot","record_id":1}` }) + `]}`,
		"GET /entity/shots?fields=" + strings.Repeat("a.Shot.", flow.MaxHops) + "b",
		"GET /entity/shots?" + strings.ReplaceAll(many(300, func(i int) string { return fmt.Sprintf("filter[f%d]=1", i) }), ",", "&"),
	} {
		if r, err := parseREST(line); err == nil {
			t.Errorf("%.60s: %.200s", line, said(&r.Call))
		}
	}
}
