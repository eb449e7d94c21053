package flow_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

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

// TestRESTCalls: each family of routes is the call that api3 has, and what is
// sent is rebuilt.
func TestRESTCalls(t *testing.T) {
	for _, tt := range []struct{ line, want, sent string }{
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
	} {
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

// TestRESTRefuses: what is not exactly a call is none.
func TestRESTRefuses(t *testing.T) {
	for _, line := range []string{
		"GET /entity/shots/", "GET /entity//1", "GET /entity/shots/01", "GET /entity/shots/1.json", "GET /entity/sh%6fts", "GET /entity/nonsense", "GET /entity/api_users.json",
		"PATCH /entity/shots/1", "GET /x", "GET entity",
		"GET /entity/shots?fields=code&fields=id", "GET /entity/shots?x=1", "GET /entity/shots?filter[a][b]=1", "GET /entity/shots?page[x]=1", "GET /entity/shots?filter=1", "GET /entity/shots?fields=a,,b",
		`GET /entity/shots {"a":1}`, `POST /entity/shots {"a":1,"a":2}`, `POST /entity/shots {"a":1} x`, `POST /entity/shots [1]`,
		`POST /entity/Shot/_search {"filters":[["a","is"]]}`, `POST /entity/Shot/_search {"filters":[],"x":1}`,
	} {
		r, err := parseREST(line)
		if err == nil {
			t.Errorf("%s: %s", line, said(&r.Call))
			continue
		}
		if _, ok := errors.AsType[*flow.ParseError](err); !ok {
			t.Errorf("%s: %T", line, err)
		}
	}
}
