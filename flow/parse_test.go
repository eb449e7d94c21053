package flow_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"stagedoor/flow"
	"stagedoor/secret"
)

const realKey = "live-key-0123456789abcdef"

func cred() secret.Credential {
	return secret.Credential{
		SiteName: "publisher-2026", Key: secret.FromString(realKey), Version: "3",
		Old: []secret.Value{secret.FromString("old-key-0123456789abcdef")},
	}
}

func parse(t *testing.T, body string) *flow.Message {
	t.Helper()
	m, err := flow.ParseRPC([]byte(body), nil, flow.DefaultMaxDepth)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return m
}

const auth = `{"script_name":"tool","script_key":"x"}`

func call(method, arg string) string {
	return `{"method_name":"` + method + `","params":[` + auth + `,` + arg + `]}`
}

func TestTouches(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{
			"read", call("read", `{"type":"Version","return_fields":["code","entity.Shot.code"],"filters":{"logical_operator":"and","conditions":[{"path":"entity.Shot.sg_sequence.Sequence.code","relation":"is","values":["x"]}]},"sorts":[{"field_name":"id","direction":"asc"}],"paging":{"entities_per_page":500,"current_page":1}}`),
			"Version./1 Version.code/1 Version.entity/1 Shot.code/1 Version.entity/2 Shot.sg_sequence/2 Sequence.code/2 Version.id/3",
		},
		{"type after fields", call("read", `{"return_fields":["code"],"type":"Shot"}`), "Shot./1 Shot.code/1"},
		{
			"summarize", call("summarize", `{"type":"Task","summaries":[{"field":"est","type":"sum"}],"filters":{"logical_operator":"or","conditions":[]},"grouping":[{"field":"entity","type":"exact","direction":"asc"}]}`),
			"Task./1 Task.est/4 Task.entity/3",
		},
		{
			"create", call("create", `{"type":"Version","fields":[{"field_name":"entity","value":{"type":"Shot","id":1}},{"field_name":"tags","value":[{"type":"Tag","name":"a"}]}],"return_fields":["id"]}`),
			"Version./5 Version.entity/5 Shot./6 Version.tags/5 Tag./6 Version.id/1",
		},
		{
			"update", call("update", `{"type":"Shot","id":12,"fields":[{"field_name":"assets","value":[],"multi_entity_update_mode":"add"}]}`),
			"Shot./5 Shot.assets/5",
		},
		{"delete", call("delete", `{"type":"Shot","id":12}`), "Shot./5"},
		{
			"notes", call("note_thread_contents", `{"note_id":1,"entity_fields":{"Note":["created_by.HumanUser.image"]}}`),
			"Note./1 Note.created_by/1 HumanUser.image/1 Note.content/1 Note.created_at/1 Reply./1 Reply.content/1 Reply.created_at/1 Reply.user/1 Attachment./1 Attachment.this_file/1 Attachment.created_at/1 Attachment.created_by/1",
		},
		{
			"text search", call("query_display_name_cache", `{"text":"a","entity_types":{"Asset":{"logical_operator":"and","conditions":[{"path":"sg_x","relation":"is","values":[1]}]}},"project_ids":[1],"max_results":5}`),
			"Asset./1 Asset.cached_display_name/1 Asset.sg_x/2",
		},
		{"read of every field", call("read", `{"type":"Shot"}`), "Shot./1 Shot.*/1"},
		{"read of an empty list of fields", call("read", `{"type":"Shot","return_fields":[]}`), "Shot./1 Shot.*/1"},
		{
			"type after a link", call("create", `{"return_fields":["entity.Shot.code"],"fields":[{"value":[{"id":1,"type":"Shot"},{"type":"Shot","id":2}],"field_name":"x"}],"type":"Version"}`),
			"Shot./6 Version./5 Version.entity/1 Shot.code/1 Version.x/5",
		},
		{
			"links in other links", call("create", `{"type":"Note","fields":[{"field_name":"a","value":{"type":"Shot","id":1,"project":{"type":"Project","id":2}}}]}`),
			"Note./5 Note.a/5 Project./6 Shot./6",
		},
		{
			"values that are no links", call("create", `{"type":"Version","fields":[{"field_name":"a","value":{"url":"http://x","name":"n","link_type":"web"}},{"field_name":"b","value":{"type":"link","url":"x"}},{"field_name":"c","value":"Shot"},{"field_name":"d","value":{"id":1}}]}`),
			"Version./5 Version.a/5 Version.b/5 Version.c/5 Version.d/5",
		},
		{"a link without an id", call("create", `{"type":"Version","fields":[{"field_name":"a","value":{"type":"Shot"}}]}`), "Version./5 Version.a/5 Shot./6"},
		{"a link in lower case", call("create", `{"type":"Version","fields":[{"field_name":"a","value":{"type":"shot","id":1}}]}`), "Version./5 Version.a/5 shot./6"},
		{
			"linked values of a filter", call("read", `{"type":"Version","return_fields":["id"],"filters":{"logical_operator":"or","conditions":[{"path":"entity","relation":"in","values":[{"type":"ApiUser","id":1}]},{"logical_operator":"and","conditions":[{"path":"entity","relation":"type_is","values":["Asset"]}]}]}}`),
			"Version./1 Version.id/1 Version.entity/2",
		},
		{"four hops", call("read", `{"type":"A","return_fields":["b.C.d.E.f.G.h"]}`), "A./1 A.b/1 C.d/1 E.f/1 G.h/1"},
		{
			"preset with a credential field", call("read", `{"type":"Cut","return_fields":["id"],"additional_filter_presets":[{"preset_name":"LATEST","latest_by":"ApiUser.Salted_Password desc"}]}`),
			"Cut./1 Cut.id/1 .Salted_Password/2",
		},
		{"nav with a credential field", call("nav_expand", `{"path":"/Project/65/password_proxy","seed_entity_field":"Version.entity","entity_fields":{}}`), ".password_proxy/2"},
		{"schema write", call("schema_field_delete", `{"type":"ApiUser","field_name":"salted_password"}`), "ApiUser./5 ApiUser.salted_password/5"},
		{"schema read", call("schema_field_read", `{"type":"ApiUser","field_name":"salted_password"}`), "ApiUser./5"},
		{"no entity fields", call("activity_stream", `{"type":"Shot","id":1,"entity_fields":null}`), "Shot./5"},
		{"follow", call("follow", `{"user":{"type":"HumanUser","id":1},"entity":{"type":"Shot","id":2}}`), "Shot./1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := parse(t, tt.body)
			if got := touches(m.Call); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func touches(c flow.Call) string {
	var out []string
	for _, x := range c.Touches {
		out = append(out, x.Type+"."+x.Field+"/"+string('0'+rune(x.Use)))
	}
	return strings.Join(out, " ")
}

func TestBatchParts(t *testing.T) {
	m := parse(t, call("batch", `[{"request_type":"create","type":"Shot","fields":[{"field_name":"code","value":"a"}],"return_fields":["id"]},
		{"type":"Shot","id":3,"request_type":"update","fields":[],"multi_entity_update_mode":"add"} , {"id":4,"type":"Task","request_type":"delete"}]`))
	c := m.Call
	if len(c.Parts) != 3 || c.Cost() != 3 {
		t.Fatalf("%+v", c)
	}
	for i, want := range []string{"create Shot", "update Shot", "delete Task"} {
		if got := c.Parts[i].Method + " " + c.Parts[i].Type; got != want {
			t.Errorf("part %d: %s, want %s", i, got, want)
		}
	}
}

func TestRefusedBodies(t *testing.T) {
	deep := strings.Repeat(`[`, 70) + strings.Repeat(`]`, 70)
	for _, tt := range []struct {
		name, body string
		flaw       flow.Flaw
		says       string
	}{
		{"empty", ``, flow.FlawJSON, "ends at byte 0"},
		{"not json", `hello`, flow.FlawJSON, "not strict JSON at byte 0"},
		{"array", `[]`, flow.FlawShape, "not a JSON object"},
		{"repeated name", `{"method_name":"read","method_name":"delete","params":[]}`, flow.FlawJSON, "twice"},
		{"repeated name by escape", `{"method_name":"info","params":[],"par\u0061ms":[]}`, flow.FlawJSON, "twice"},
		{"repeated name deep down", call("read", `{"type":"Shot","paging":{"current_page":1,"current_page":2}}`), flow.FlawJSON, "at byte 114 (/params/1/paging/current_page)"},
		{"other case", `{"METHOD_NAME":"info","params":[]}`, flow.FlawShape, "METHOD_NAME"},
		{"other case below", call("read", `{"Type":"Shot"}`), flow.FlawShape, "Type"},
		{"trailing data", `{"method_name":"info","params":[]} {}`, flow.FlawJSON, "after the end"},
		{"trailing bytes", `{"method_name":"info","params":[]}x`, flow.FlawJSON, "after the end"},
		{"byte order mark", "\xef\xbb\xbf" + `{"method_name":"info","params":[]}`, flow.FlawJSON, "byte 0"},
		{"invalid UTF-8", call("delete", "{\"type\":\"Shot\xff\",\"id\":1}"), flow.FlawJSON, "UTF-8"},
		{"lone surrogate", call("delete", `{"type":"Shot\ud800","id":1}`), flow.FlawJSON, "UTF-8"},
		{"NaN", call("create", `{"type":"Shot","fields":[{"field_name":"x","value":NaN}]}`), flow.FlawJSON, "NaN"},
		{"Infinity", call("create", `{"type":"Shot","fields":[{"field_name":"x","value":Infinity}]}`), flow.FlawJSON, "Infinity"},
		{"-Infinity", call("create", `{"type":"Shot","fields":[{"field_name":"x","value":-Infinity}]}`), flow.FlawJSON, "Infinity"},
		{"cut", `{"method_name":"info","params":[`, flow.FlawJSON, "the end of the body"},
		{"NUL", call("delete", `{"type":"Shot\u0000","id":1}`), flow.FlawShape, "U+0000"},
		{"deep", call("create", `{"type":"Shot","fields":[{"field_name":"x","value":`+deep+`}]}`), flow.FlawDepth, "deeper than 64"},
		{"three params", `{"method_name":"read","params":[{},{},{}]}`, flow.FlawShape, "more than two"},
		{"no method", `{"params":[]}`, flow.FlawShape, "missing"},
		{"unknown method", call("modify_project_access", `{}`), flow.FlawUnknown, "modify_project_access"},
		{"method number", `{"method_name":1,"params":[]}`, flow.FlawShape, "not a string"},
		{"auth no object", `{"method_name":"read","params":["x",{}]}`, flow.FlawShape, "auth"},
		{"no type", call("read", `{"return_fields":["code"]}`), flow.FlawShape, "names no entity type"},
		{"type no string", call("read", `{"type":["Shot"]}`), flow.FlawShape, "type is not a string"},
		{"type lower case", call("read", `{"type":"shot"}`), flow.FlawShape, "no entity type"},
		{"odd path", call("read", `{"type":"Shot","return_fields":["a.Shot"]}`), flow.FlawShape, "not field.Type.field"},
		{"path with brackets", call("read", `{"type":"Shot","return_fields":["a[b]"]}`), flow.FlawShape, "no identifier"},
		{"filter both", call("read", `{"type":"Shot","filters":{"path":"a","relation":"is","values":[],"conditions":[]}}`), flow.FlawShape, "at once"},
		{"filter array", call("read", `{"type":"Shot","filters":[["code","is","x"]]}`), flow.FlawShape, "a filter is an array"},
		{"unknown member", call("delete", `{"type":"Shot","id":1,"force":true}`), flow.FlawShape, "force"},
		{"nested batch", call("batch", `[{"request_type":"batch"}]`), flow.FlawShape, "batch"},
		{"read in batch", call("batch", `[{"request_type":"read","type":"Shot"}]`), flow.FlawShape, "read"},
		{"info with argument", `{"method_name":"info","params":[{"a":1}]}`, flow.FlawShape, "no argument"},
		{"other case of method_name", `{"Method_Name":"read","method_name":"info","params":[]}`, flow.FlawShape, "Method_Name"},
		{"long s in params", `{"method_name":"info","paramſ":[],"params":[]}`, flow.FlawShape, "no identifier"},
		{"auth key in another case", `{"method_name":"schema_read","params":[{"script_name":"a","Sudo_As_Login":"joe"}]}`, flow.FlawShape, "sudo_as_login in other letters"},
		{"auth key with a long s", `{"method_name":"schema_read","params":[{"script_name":"a","ſeſſion_token":"joe"}]}`, flow.FlawShape, "session_token in other letters"},
		{"auth key with a Kelvin sign", `{"method_name":"schema_read","params":[{"script_name":"a","script_\u212aey":"joe"}]}`, flow.FlawShape, "script_key in other letters"},
		{"auth key twice", `{"method_name":"schema_read","params":[{"script_name":"a","script\u005fname":"b"}]}`, flow.FlawJSON, "twice"},
		{"deep auth", `{"method_name":"schema_read","params":[{"script_name":"a","evil":` + deep + `}]}`, flow.FlawDepth, "deeper than 64"},
		{"very deep", `{"method_name":"schema_read","params":[` + strings.Repeat(`[`, 20000) + strings.Repeat(`]`, 20000) + `]}`, flow.FlawDepth, "too deep"},
		{"auth NUL", `{"method_name":"schema_read","params":[{"script_name":"a","product":"a\u0000"}]}`, flow.FlawShape, "U+0000"},
		{"login no string", `{"method_name":"schema_read","params":[{"user_login":{"a":1}}]}`, flow.FlawShape, "user_login is not a string"},
		{"auth null", `{"method_name":"read","params":[null,{"type":"Shot"}]}`, flow.FlawShape, "auth"},
		{"params object", `{"method_name":"read","params":{}}`, flow.FlawShape, "not an array"},
		{"preset without a name", call("read", `{"type":"Cut","additional_filter_presets":[{"preset_name":"LATEST"},{"latest_by":"x"}]}`), flow.FlawShape, "preset_name"},
		{"filter in a filter array", call("read", `{"type":"Shot","filters":{"logical_operator":"and","conditions":[["code","is","x"]]}}`), flow.FlawShape, "a filter is an array"},
		{"empty path", call("read", `{"type":"Shot","return_fields":[""]}`), flow.FlawShape, "no identifier"},
		{"path ending in a dot", call("read", `{"type":"Shot","return_fields":["a.Shot."]}`), flow.FlawShape, "no identifier"},
		{"path of two", call("read", `{"type":"Shot","sorts":[{"field_name":"a.Shot.b.Task"}]}`), flow.FlawShape, "not field.Type.field"},
		{"star", call("read", `{"type":"Shot","return_fields":["*"]}`), flow.FlawShape, "no identifier"},
		{"schedule of an empty project", call("work_schedule_update", `{"date":"2026-01-01","working":true,"project":{},"user":null}`), flow.FlawShape, "no entity"},
		{"schedule of a project inside", call("work_schedule_update", `{"project":{"x":{"type":"Project","id":1}}}`), flow.FlawShape, "no entity"},
		{"schedule of a project without id", call("work_schedule_update", `{"project":{"type":"Project","id":null}}`), flow.FlawShape, "no entity"},
		{"follow of a list", call("follow", `{"user":{"type":"HumanUser","id":1},"entity":[{"type":"ApiUser","id":1},{"type":"Shot","id":2}]}`), flow.FlawShape, "not an object"},
		{"follow nobody", call("follow", `{"entity":{"type":"Shot","id":2}}`), flow.FlawShape, "no user"},
		{"bad uuid", `{"method_name":"info","params":[{"script_name":"a","session_uuid":"a b"}]}`, flow.FlawShape, "session_uuid"},
		{"sudo number", `{"method_name":"info","params":[{"script_name":"a","sudo_as_login":1}]}`, flow.FlawShape, "sudo_as_login"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := flow.ParseRPC([]byte(tt.body), nil, flow.DefaultMaxDepth)
			var p *flow.ParseError
			if !errors.As(err, &p) {
				t.Fatalf("accepted, or another error: %v", err)
			}
			if p.Flaw != tt.flaw || !strings.Contains(p.Msg, tt.says) {
				t.Errorf("got %s %q, want %s with %q", p.Flaw, p.Msg, tt.flaw, tt.says)
			}
		})
	}
}

func TestBodyIsRebuilt(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{
			"credential put in", call("delete", `{ "type" : "Shot", "id": 1 }`),
			`{"method_name":"delete","params":[{"script_name":"publisher-2026","script_key":"` + realKey + `"},{"type":"Shot","id":1}]}`,
		},
		{
			"no auth", `{"method_name":"delete","params":[{"type":"Shot","id":1}]}`,
			`{"method_name":"delete","params":[{"script_name":"publisher-2026","script_key":"` + realKey + `"},{"type":"Shot","id":1}]}`,
		},
		{
			"members in any order", `{"params":[{}],"method_name":"schema_read"}`,
			`{"method_name":"schema_read","params":[{"script_name":"publisher-2026","script_key":"` + realKey + `"}]}`,
		},
		{"info", `{"method_name":"info","params":[]}`, `{"method_name":"info","params":[]}`},
		{"info with auth", `{"method_name":"info","params":[` + auth + `]}`, `{"method_name":"info","params":[]}`},
		{
			"extras", `{"method_name":"delete","params":[{"session_token":"t","reject_if_expired":true,"sudo_as_login":"j\u006fe","session_uuid":"a-1","product":"r\u0076","evil":1},{"type":"Shot","id":1}]}`,
			`{"method_name":"delete","params":[{"script_name":"publisher-2026","script_key":"` + realKey + `","session_uuid":"a-1","sudo_as_login":"joe","product":"rv"},{"type":"Shot","id":1}]}`,
		},
		{
			"values", call("create", "{\"type\":\"Shot\",\"fields\":[{\"field_name\":\"x\",\"value\":[1180591620717411303424,1.50e+3,-0,\"<>&\u2028\\u00e9\\/\\n\",true,null,{\"a b\":{}}]}]}"),
			"{\"method_name\":\"create\",\"params\":[{\"script_name\":\"publisher-2026\",\"script_key\":\"" + realKey + "\"},{\"type\":\"Shot\",\"fields\":[{\"field_name\":\"x\",\"value\":[1180591620717411303424,1.50e+3,-0,\"<>&\u2028é/\\n\",true,null,{\"a b\":{}}]}]}]}",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(parse(t, tt.body).Body(cred())); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestCallerCredential(t *testing.T) {
	for _, tt := range []struct{ auth, want string }{
		{`{}`, flow.CredNone},
		{`{"script_name":"a","script_key":""}`, flow.CredNone},
		{`{"script_name":"a","script_key":"x"}`, flow.CredPlaceholder},
		{`{"script_name":"a","script_key":"` + realKey + `"}`, flow.CredLiveKey},
		{`{"script_name":"a","script_key":"old-key-0123456789abcdef"}`, flow.CredOldKey},
		{`{"session_token":"abc","reject_if_expired":true}`, flow.CredSession},
		{`{"user_login":"joe","user_password":"pw"}`, flow.CredUser},
		{`{"script_name":"a","script_key":"x","user_login":"joe"}`, flow.CredUser},
		{`{"user_login":"","user_password":"","script_name":"a","script_key":"x"}`, flow.CredPlaceholder},
	} {
		m := parse(t, `{"method_name":"delete","params":[`+tt.auth+`,{"type":"Shot","id":1}]}`)
		if got := m.CallerCredential(cred()); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.auth, got, tt.want)
		}
	}
}

func TestUserCheck(t *testing.T) {
	user := `{"user_login":"joe","user_password":"p\u0077","auth_token":"t"}`
	arg := `{"type":"HumanUser","return_fields":["id","login"],"filters":{"logical_operator":"and","conditions":[{"path":"sg_status_list","relation":"is","values":["act"]},{"path":"login","relation":"is","values":["joe"]}]},"return_only":"active","paging":{"entities_per_page":1,"current_page":1}}`
	m := parse(t, `{"method_name":"read","params":[`+user+`,`+arg+`]}`)
	if !m.UserCheck() {
		t.Fatal("authenticate_human_user's read is not known")
	}
	got := string(m.UserBody())
	if !strings.HasPrefix(got, `{"method_name":"read","params":[{"user_login":"joe","user_password":"pw","auth_token":"t"},{"type":"HumanUser"`) || strings.Contains(got, "script") {
		t.Errorf("got %s", got)
	}
	for _, body := range []string{
		call("read", arg),
		`{"method_name":"read","params":[` + user + `,{"type":"HumanUser","return_fields":["email"]}]}`,
		`{"method_name":"read","params":[` + user + `,{"type":"HumanUser","return_fields":["id","login"]}]}`,
		`{"method_name":"read","params":[` + user + `,` + strings.Replace(arg, `"and"`, `"or"`, 1) + `]}`,
		`{"method_name":"read","params":[` + user + `,` + strings.Replace(arg, `"is"`, `"is_not"`, 1) + `]}`,
		`{"method_name":"read","params":[` + user + `,` + strings.Replace(arg, `["joe"]`, `["joe","bob"]`, 1) + `]}`,
		`{"method_name":"read","params":[` + user + `,` + strings.Replace(arg, `"return_only"`, `"sorts":[{"field_name":"id"}],"return_only"`, 1) + `]}`,
		`{"method_name":"read","params":[` + user + `,` + strings.Replace(arg, `["joe"]`, `["`+strings.Repeat("j", 4096)+`"]`, 1) + `]}`,
		`{"method_name":"summarize","params":[` + user + `,{"type":"HumanUser"}]}`,
		`{"method_name":"read","params":[` + user + `,{"type":"Shot","return_fields":["id"]}]}`,
		`{"method_name":"get_session_token","params":[` + user + `]}`,
	} {
		if parse(t, body).UserCheck() {
			t.Errorf("passes as a user check: %s", body)
		}
	}
}

// TestEveryMethodIsInOneGroup is the table of flow-protocol §2.1.
func TestEveryMethodIsInOneGroup(t *testing.T) {
	want := map[string]flow.Group{
		"info": "info", "read": "read", "summarize": "read", "create": "create", "update": "update",
		"delete": "delete", "revive": "revive", "batch": "batch", "follow": "follow", "unfollow": "follow",
		"followers": "follow", "following": "follow", "schema_entity_read": "schema", "schema_read": "schema",
		"schema_field_read": "schema", "schema_field_create": "named", "schema_field_update": "named",
		"schema_field_delete": "named", "work_schedule_read": "schedule", "work_schedule_update": "named",
		"export_page": "named", "update_project_last_accessed_by_current_user": "update",
		"note_thread_contents": "read", "query_display_name_cache": "read", "activity_stream": "named",
		"nav_expand": "named", "nav_search": "named", "preferences_read": "preferences",
		"user_subscriptions_read": "named", "user_subscriptions_create": "named", "get_session_token": "session",
	}
	if got := len(flow.Methods()); got != len(want) {
		t.Errorf("%d methods, want %d", got, len(want))
	}
	for _, m := range flow.Methods() {
		info, ok := flow.Method(m)
		if !ok || info.Group != want[m] {
			t.Errorf("%s is in %q, want %q", m, info.Group, want[m])
		}
	}
}

func seeds() []string {
	return []string{
		call("delete", `{"type":"Shot","id":1}`),
		call("read", `{"type":"Version","return_fields":["code","entity.Shot.code"],"filters":{"logical_operator":"and","conditions":[{"path":"id","relation":"in","values":[1,2.50,"\u00e9\\\""]}]}}`),
		call("batch", `[{"request_type":"create","type":"Shot","fields":[{"field_name":"code","value":{"type":"Tag","id":1}}]}]`),
		call("batch", ` [ {"type":"Shot" , "id":3,"request_type" : "upd\u0061te","fields":[]} , {"id":4,"type":"Task","request_type":"delete"}]`),
		`{"params":[],"method_name":"info"}`,
		`{"params":[{"sudo_as_login":"joe","session_uuid":"a"}],"method_name":"info"}`,
		`{"method_name":"schema_read","params":[{"script_name":"a","product":"x"}]}`,
		`{"method_name":"schema_read","params":[{"project":{"type":"Project","id":1}}]}`,
		`{"method_name":"delete","params":[{"session_token":"t","sudo_as_login":"j\u006fe","session_uuid":"a-1","evil":[{}]},{"type":"Shot","id":-0}]}`,
		call("create", `{"type":"Shot","fields":[{"field_name":"x","value":[1180591620717411303424,1e400,"`+"\u2028"+`"]}]}`),
		call("follow", `{"user":{"type":"HumanUser","id":1},"entity":{"type":"Shot","id":2}}`),
		call("work_schedule_update", `{"date":"2026-01-01","project":null,"user":{"id":1,"type":"HumanUser"}}`),
		call("query_display_name_cache", `{"text":"a","entity_types":{"Asset":{"path":"a","relation":"is","values":[]}},"project_ids":[1]}`),
		call("activity_stream", `{"type":"Shot","id":1,"entity_fields":{"Task":["a.Shot.b"]}}`),
	}
}

// FuzzParse: what is forwarded parses to what was decided, is equal as JSON to
// what came in, holds the key exactly once, and is the same to a parser that is
// not ours.
func FuzzParse(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := flow.ParseRPC(body, nil, flow.DefaultMaxDepth)
		if err != nil {
			var p *flow.ParseError
			if !errors.As(err, &p) || p.Flaw == "" || p.Msg == "" {
				t.Fatalf("not a ParseError: %#v", err)
			}
			return
		}
		out := m.Body(cred())
		if n := strings.Count(string(out), realKey); n != 1 && m.Call.Group != flow.GroupInfo && !strings.Contains(string(body), realKey) {
			t.Fatalf("the key stands %d times in %s", n, out)
		}
		again, err := flow.ParseRPC(out, nil, flow.DefaultMaxDepth)
		if err != nil {
			t.Fatalf("what was sent does not parse: %v\n%s", err, out)
		}
		a, b := m.Call, again.Call
		a.ScriptName, b.ScriptName, a.DroppedAuth, b.DroppedAuth, a.UserAuth, b.UserAuth = "", "", nil, nil, false, false
		if a.Group == flow.GroupInfo { // goes without auth object
			a.SudoAsLogin, a.SessionUUID = "", ""
		}
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("decided %+v\nsent    %+v", a, b)
		}
		if a, b := argument(t, body), argument(t, out); !reflect.DeepEqual(a, b) {
			t.Fatalf("argument came as %v, went as %v", a, b)
		}
		siteAgrees(t, &m.Call, out)
	})
}

// siteAgrees reads what is sent as a site may: generic maps, exact names.
func siteAgrees(t *testing.T, c *flow.Call, out []byte) {
	t.Helper()
	var site map[string]any
	dec := json.NewDecoder(bytes.NewReader(out))
	dec.UseNumber() // 1e400 is no float64
	if err := dec.Decode(&site); err != nil {
		t.Fatalf("the site reads no JSON: %v\n%s", err, out)
	}
	params, ok := site["params"].([]any)
	if len(site) != 2 || site["method_name"] != c.Method || !ok || len(params) > 2 {
		t.Fatalf("the site sees another call than %s: %s", c.Method, out)
	}
	if c.Group == flow.GroupInfo {
		return
	}
	auth, ok := params[0].(map[string]any)
	if !ok || auth["script_name"] != "publisher-2026" || auth["script_key"] != realKey {
		t.Fatalf("the site sees other credentials: %s", out)
	}
	for k := range auth {
		switch k {
		case "script_name", "script_key", "session_uuid", "sudo_as_login", "product":
		default:
			t.Fatalf("%s was not dropped: %s", k, out)
		}
	}
	if sudo, _ := auth["sudo_as_login"].(string); sudo != c.SudoAsLogin {
		t.Fatalf("sudo as %q: %s", c.SudoAsLogin, out)
	}
	if len(params) < 2 {
		return
	}
	switch arg := params[1].(type) {
	case map[string]any:
		if typ, ok := arg["type"]; ok && typ != c.Type {
			t.Fatalf("the site sees type %v, decided was %s", typ, c.Type)
		}
	case []any:
		if len(arg) != len(c.Parts) {
			t.Fatalf("the site sees %d parts, decided were %d", len(arg), len(c.Parts))
		}
		for i := range arg {
			part, ok := arg[i].(map[string]any)
			if !ok || part["type"] != c.Parts[i].Type || part["request_type"] != c.Parts[i].Method {
				t.Fatalf("the site sees part %v, decided was %s %s", arg[i], c.Parts[i].Method, c.Parts[i].Type)
			}
		}
	}
}

// argument reads the last member of params with another parser.
func argument(t *testing.T, body []byte) any {
	t.Helper()
	var v struct {
		Params []any `json:"params"`
	}
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("encoding/json: %v", err)
	}
	if len(v.Params) == 0 {
		return nil
	}
	last := v.Params[len(v.Params)-1]
	if m, ok := last.(map[string]any); ok {
		if len(m) == 0 && len(v.Params) == 1 {
			return nil
		}
		for _, k := range []string{
			"script_name", "script_key", "user_login", "user_password", "auth_token", "session_token",
			"reject_if_expired", "session_uuid", "sudo_as_login", "product",
		} {
			if _, ok := m[k]; ok && len(v.Params) == 1 {
				return nil
			}
		}
	}
	return last
}

func TestFuzzParseHasSeeds(t *testing.T) {
	if len(seeds()) < 14 {
		t.Error("the fuzz target has lost its seeds")
	}
	for _, s := range seeds() {
		parse(t, s)
	}
}

// TestLargeCallsStayLinear would take minutes, or the memory of the machine,
// if anything in it were looked for from end to end.
func TestLargeCallsStayLinear(t *testing.T) {
	parts := make([]string, flow.MaxReach/4)
	for i := range parts {
		parts[i] = fmt.Sprintf(`{"type":"T%d","fields":[{"field_name":"f%d","value":{"type":"L%d","id":1}}],"return_fields":["a%d"] , "request_type":"create"}`, i%32, i, i%32, i)
	}
	c := parse(t, call("batch", "["+strings.Join(parts, " , ")+"]")).Call
	if n := len(c.Types()); len(c.Parts) != len(parts) || n != flow.MaxTypes {
		t.Errorf("%d parts, %d types", len(c.Parts), n)
	}
	names := make([]string, flow.MaxReach/2-1)
	for i := range names {
		names[i] = fmt.Sprintf(`"f%d"`, i)
	}
	all := strings.Join(names, ",")
	c = parse(t, call("read", `{"return_fields":[`+all+","+all+`],"type":"Shot"}`)).Call
	if len(c.Touches) != flow.MaxReach/2 {
		t.Errorf("%d touches", len(c.Touches))
	}
}

// many is n times the format, with numbers from 0 on.
func many(n int, format string) string {
	out := make([]string, n)
	for i := range out {
		out[i] = format
		if strings.Contains(format, "%") {
			out[i] = fmt.Sprintf(format, i)
		}
	}
	return strings.Join(out, ",")
}

// TestCallsAtTheirBoundsAreRead: what is refused above is one too many.
func TestCallsAtTheirBoundsAreRead(t *testing.T) {
	members := many(flow.MaxMembers, `"a%d":0`)
	for _, body := range []string{
		call("read", `{"return_fields":[`+strings.Repeat(`"a",`, flow.MaxReach-2)+`"a"],"type":"A"}`),
		call("read", `{"type":"A","return_fields":[`+many(flow.MaxReach-1, `"a%d"`)+`]}`),
		call("read", `{"type":"A","return_fields":["a`+strings.Repeat(".A.a", flow.MaxHops-1)+`"]}`),
		call("batch", `[`+many(flow.MaxTypes, `{"request_type":"delete","type":"A%d","id":1}`)+`]`),
		call("batch", `[`+many(flow.MaxParts, `{"request_type":"delete","type":"A","id":1}`)+`]`),
		call("create", `{"type":"A","fields":[{"field_name":"x","value":{`+many(flow.MaxMembers, `"a%d\\\"\\\\":":}{"`)+`}}]}`),
		call("create", `{"type":"A","fields":[{"field_name":"x","value":[`+strings.Repeat(`{`+members+`},`, 8)+strings.Repeat(`{`+many(64, `"a%d":0`)+`},`, 1000)+`1]}]}`),
		`{"method_name":"schema_read","params":[{` + many(flow.MaxAuthKeys, `"a%d":0`) + `},{}]}`,
	} {
		parse(t, body)
	}
}

func TestBoundsOfACall(t *testing.T) {
	part := `{"request_type":"delete","type":"A","id":1}`
	half := `{"request_type":"update","type":"B","fields":[` + many(flow.MaxReach/2, `{"field_name":"x%d"}`) + `]}`
	fields, members := many(flow.MaxReach, `"a%d"`), many(flow.MaxMembers, `"a%d":0`)
	for _, tt := range []struct{ name, body, says string }{
		{"parts", call("batch", "["+strings.Repeat(part+",", flow.MaxParts)+part+"]"), "more than 65536 parts"},
		{"fields before the type", call("read", `{"return_fields":[`+strings.Repeat(`"a",`, flow.MaxReach)+`"a"],"type":"A"}`), "more than 262144 fields"},
		{"fields", call("read", `{"type":"A","return_fields":[`+fields+`]}`), "more than 262144 fields"},
		{"fields of a stream", call("note_thread_contents", `{"note_id":1,"entity_fields":{"A":[`+fields+`]}}`), "more than 262144 fields"},
		{"fields of a search", call("query_display_name_cache", `{"text":"a","entity_types":{"A":{"conditions":[`+many(flow.MaxReach, `{"path":"a%d"}`)+`]}}}`), "more than 262144 fields"},
		{"fields of parts", call("batch", `[`+half+`,`+half+`]`), "more than 262144 fields"},
		{"presets", call("read", `{"type":"A","additional_filter_presets":[`+many(flow.MaxReach, `{"preset_name":"a"}`)+`]}`), "more than 262144 fields"},
		{"hops", call("read", `{"type":"A","return_fields":["a`+strings.Repeat(".A.a", flow.MaxHops)+`"]}`), "more than 16 fields"},
		{"types of links", call("update", `{"type":"A","id":1,"fields":[{"field_name":"x","value":[`+many(flow.MaxTypes, `{"type":"A%d"}`)+`]}]}`), "more than 64 entity types"},
		{"types of streams", call("activity_stream", `{"type":"A","entity_fields":{`+many(flow.MaxTypes, `"A%d":[]`)+`}}`), "more than 64 entity types"},
		{"types of searches", call("query_display_name_cache", `{"entity_types":{`+many(flow.MaxTypes+1, `"A%d":{}`)+`}}`), "more than 64 entity types"},
		{"types of parts", call("batch", `[`+many(flow.MaxTypes+1, `{"request_type":"delete","type":"A%d","id":1}`)+`]`), "more than 64 entity types"},
		{"types of paths", call("read", `{"return_fields":[`+many(flow.MaxTypes, `"a.A%d.a"`)+`],"type":"A"}`), "more than 64 entity types"},
		{"types of a navigation", call("nav_search", `{"search_criteria":{`+many(flow.MaxTypes+1, `"e%[1]d":{"type":"A%[1]d","id":1}`)+`}}`), "more than 64 entity types"},
		{"members", call("create", `{"type":"A","fields":[{"field_name":"x","value":{`+members+`,"one":1}}]}`), "more than 65536 members"},
		{"members of objects just long enough for a table", call("create", `{"type":"A","fields":[{"field_name":"x","value":[`+strings.Repeat(`{`+many(65, `"a%d":0`)+`},`, 1<<19/65+1)+`1]}]}`), "more than 524288 together"},
		{"members of long objects", call("create", `{"type":"A","fields":[{"field_name":"x","value":[`+strings.Repeat(`{`+members+`},`, 9)+`1]}]}`), "more than 524288 together"},
		{"members of the auth object", `{"method_name":"info","params":[{` + many(flow.MaxAuthKeys+1, `"a%d":{}`) + `},null]}`, "more than 64 members"},
	} {
		var p *flow.ParseError
		if _, err := flow.ParseRPC([]byte(tt.body), nil, flow.DefaultMaxDepth); !errors.As(err, &p) || !strings.Contains(p.Msg, tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	nest := func(n int) string {
		return call("create", `{"type":"A","fields":[{"field_name":"x","value":`+strings.Repeat("[", n-3)+strings.Repeat("]", n-3)+`}]}`)
	}
	parse(t, nest(flow.DefaultMaxDepth)) // the argument itself is the first level
	if _, err := flow.ParseRPC([]byte(nest(flow.DefaultMaxDepth+1)), nil, flow.DefaultMaxDepth); err == nil {
		t.Error("one level too deep is read")
	}
}

func TestStudioWideSchedules(t *testing.T) {
	for _, tt := range []struct {
		arg    string
		studio bool
	}{
		{`{"date":"2026-01-01","working":false,"description":null,"project":null,"user":null,"recalculate_field":null}`, true},
		{`{"date":"2026-01-01"}`, true},
		{`{"project":{"type":"Project","id":1},"user":null}`, false},
		{`{"project":null,"user":{"type":"HumanUser","id":1}}`, false},
		{`{"project":null,"user":{"type":"ClientUser","id":1}}`, false},
		{`{"project":{"type":"Project","id":1},"user":{"type":"HumanUser","id":1}}`, false},
		{`{"project":{"type":"Project","id":0}}`, true},
		{`{"project":{"type":"Project","id":-1}}`, true},
		{`{"project":{"type":"Project","id":1.5}}`, true},
		{`{"project":{"type":"Project","id":99999999999999999999}}`, true},
		{`{"project":{"type":"Shot","id":1}}`, true},
		{`{"user":{"type":"Project","id":1}}`, true},
		{`{"user":{"type":"HumanUser","id":0}}`, true},
		{`{"project":{"type":"Project","id":0},"user":{"type":"HumanUser","id":1}}`, true},
	} {
		if c := parse(t, call("work_schedule_update", tt.arg)).Call; c.Studio != tt.studio {
			t.Errorf("%s: studio %v", tt.arg, c.Studio)
		}
	}
}

func TestFollowing(t *testing.T) {
	for arg, want := range map[string]string{
		`{"user":{"type":"HumanUser","id":1}}`:                                                                   "",
		`{"user":{"type":"HumanUser","id":1,"name":"x"},"entity_type":null,"project":null}`:                      "",
		`{"user":{"type":"HumanUser","id":1},"entity_type":"Task","project":{"type":"Project","id":1,"name":1}}`: "Task",
	} {
		if c := parse(t, call("following", arg)).Call; c.Type != want {
			t.Errorf("%s: %q, want %q", arg, c.Type, want)
		}
	}
}

func TestSecretFieldsInAnyCase(t *testing.T) {
	for _, f := range []string{"salted_password", "password_proxy", "Salted_Password", "PASSWORD_PROXY", "\u017falted_password", "pa\u017f\u017fword_proxy"} {
		var name string
		if err := json.Unmarshal([]byte(`"`+f+`"`), &name); err != nil || !flow.IsSecretField(name) {
			t.Errorf("%s is let through: %v", f, err)
		}
	}
	for _, f := range []string{"", "password", "salted_password2", "salted-password"} {
		if flow.IsSecretField(f) {
			t.Errorf("%s is no credential", f)
		}
	}
}

// realRead is the read that shotgun_api3 sends for a find.
const realRead = `{"type":"Version","return_fields":["code","entity.Shot.code","sg_status_list","created_at"],"filters":{"logical_operator":"and","conditions":[{"path":"project","relation":"is","values":[{"type":"Project","id":65}]},{"path":"code","relation":"is","values":["sh_0010"]}]},"return_only":"active","paging":{"entities_per_page":500,"current_page":1},"api_return_image_urls":true,"return_paging_info_without_counts":true}`

// TestAReadCostsFewAllocations: half of them are the decoder's own.
func TestAReadCostsFewAllocations(t *testing.T) {
	body, c := []byte(call("read", realRead)), cred()
	n := testing.AllocsPerRun(100, func() {
		m, err := flow.ParseRPC(body, nil, flow.DefaultMaxDepth)
		if err != nil {
			t.Fatal(err)
		}
		_ = m.Body(c)
	})
	if n > 70 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkParse measures reading a call and writing it again with a key, from
// memory to memory: no HTTP, no policy, no record. The others than
// "read" are batches of that many bytes.
func BenchmarkParse(b *testing.B) {
	read := call("read", realRead)
	batch := func(size int) string {
		part := `{"request_type":"update","type":"Shot","id":1172,"fields":[{"field_name":"description","value":"a longer text, with a \"quote\""},{"field_name":"assets","value":[{"type":"Asset","id":1},{"type":"Asset","id":2}]}]}`
		return call("batch", "["+strings.Repeat(part+",", size/len(part))+part+"]")
	}
	c := cred()
	for _, bb := range []struct{ name, body string }{{"read", read}, {"1KiB", batch(1 << 10)}, {"64KiB", batch(64 << 10)}, {"1MiB", batch(1 << 20)}} {
		b.Run(bb.name, func(b *testing.B) {
			body := []byte(bb.body)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				m, err := flow.ParseRPC(body, nil, flow.DefaultMaxDepth)
				if err != nil {
					b.Fatal(err)
				}
				_ = m.Body(c)
			}
		})
	}
}

// TestParserForgets: what a parser read before, and how it failed, changes
// nothing for the next call, many at a time.
func TestParserForgets(t *testing.T) {
	bodies := []string{
		`{"method_name":"read","params":[{"script_name":"a","script_key":"x"},{"type":"Shot","return_fields":["code"],"filters":{"logical_operator":"and","conditions":[]}}]}`,
		`{"method_name":"read","params":[{"script_name":"a","script_name":"b"},{"type":"Shot"}]}`, // strict again, after the lenient second reading
		`{"method_name":"create","params":[{},{"type":"Shot","fields":[{"field_name":"code","value":"` + "\xff" + `"}]}]}`,
		`{"method_name":"create","params":[{},{"type":"Shot","fields":[{"field_name":"code","value":{"a":{"b":`,
		`{"method_name":"info","params":[]}`,
		`{"method_name":"update","params":[{"sudo_as_login":"joe"},{"type":"Task","id":7,"fields":[{"field_name":"content","value":[1,2]}]}]} x`,
		"",
	}
	show := func(m *flow.Message, err error) string {
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%+v %s", m.Call, m.Body(cred()))
	}
	want := make([]string, len(bodies))
	for i, b := range bodies {
		want[i] = show(flow.ParseRPC([]byte(b), nil, flow.DefaultMaxDepth))
	}
	var p flow.Parser
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 200 {
				i := (n*n + g) % len(bodies)
				body := []byte(bodies[i])
				m, err := p.ParseRPC(body, nil, flow.DefaultMaxDepth)
				clear(body) // as its owner does: nothing may point into it
				if got := show(m, err); got != want[i] {
					t.Errorf("%s\nwant %s", got, want[i])
					return
				}
			}
		})
	}
	wg.Wait()
}
