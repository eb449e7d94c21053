package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"stagedoor/config"
	"stagedoor/flow"
	"stagedoor/policy"
)

// script compiles an allow list as a user writes it.
func script(t *testing.T, allow ...string) *policy.Script {
	t.Helper()
	s, problems := compile(allow)
	if s == nil {
		t.Fatalf("%s\n%s", strings.Join(allow, "\n"), problems)
	}
	return s
}

func compile(allow []string) (*policy.Script, string) {
	text := `version: 1
site: https://acme.shotgrid.autodesk.com
listen: 127.0.0.1:8470
identity: none
vault: {address: https://vault.acme.lan:8200}
login: {token_file: /run/vault/token}
scripts:
  tool:
    active: flow/tool
    allow:
`
	if len(allow) == 0 {
		return policy.Compile(policy.Script{Name: "tool"}), ""
	}
	for _, item := range allow {
		text += "    " + strings.ReplaceAll(item, "\n", "\n    ") + "\n"
	}
	c, ds := config.Parse("stagedoor.yaml", []byte(text))
	if c == nil {
		return nil, config.Format(ds)
	}
	return policy.Compile(policy.Script{Name: "tool", Rules: c.Scripts[0].Allow, Sudo: []string{"joe"}}), ""
}

// sentence turns words into the call that a client would send:
//
//	read Shot.code,entity.Asset.code where sg_a and sg_b sort id sum est
//	create Version.code,entity=Shot returning id
func sentence(tb testing.TB, words string) *flow.Call {
	tb.Helper()
	method, rest, _ := strings.Cut(words, " ")
	body, literal := rest, strings.HasPrefix(rest, "{") || strings.HasPrefix(rest, "[")
	switch {
	case literal:
	case rest == "":
		body = ""
	default:
		body = argument(method, rest)
	}
	params := `{"script_name":"tool","script_key":"x"}`
	if body != "" {
		params += "," + body
	}
	if method == "info" {
		params = ""
	}
	m, err := flow.ParseRPC([]byte(`{"method_name":"`+method+`","params":[`+params+`]}`), nil, flow.DefaultMaxDepth)
	if err != nil {
		tb.Fatalf("%s: %v", words, err)
	}
	return &m.Call
}

func argument(method, rest string) string {
	words := strings.Fields(rest)
	typ, fields, _ := strings.Cut(words[0], ".")
	arg := map[string]any{"type": typ}
	list := strings.FieldsFunc(fields, func(r rune) bool { return r == ',' })
	switch method {
	case "read":
		arg["return_fields"] = append([]string{}, list...)
	case "create", "update":
		data := []any{}
		for _, f := range list {
			name, link, linked := strings.Cut(f, "=")
			item := map[string]any{"field_name": name, "value": 1}
			if linked {
				item["value"] = []any{map[string]any{"type": link, "id": 1}}
			}
			data = append(data, item)
		}
		arg["fields"] = data
	}
	var conditions, sorts, sums []any
	for i := 1; i+1 < len(words); i += 2 {
		switch w := words[i+1]; words[i] {
		case "where", "and":
			conditions = append(conditions, map[string]any{"path": w, "relation": "is", "values": []any{1}})
			arg["filters"] = map[string]any{"logical_operator": "and", "conditions": conditions}
		case "sort":
			sorts = append(sorts, map[string]any{"field_name": w, "direction": "asc"})
			arg["sorts"] = sorts
		case "sum":
			sums = append(sums, map[string]any{"field": w, "type": "sum"})
			arg["summaries"] = sums
		case "group":
			arg["grouping"] = []any{map[string]any{"field": w, "type": "exact", "direction": "asc"}}
		case "returning":
			arg["return_fields"] = strings.Split(w, ",")
		}
	}
	b, err := json.Marshal(arg)
	if err != nil {
		panic(err)
	}
	return string(b)
}

type table struct {
	t *testing.T
	s *policy.Script
}

func with(t *testing.T, allow ...string) table {
	t.Helper()
	return table{t, script(t, allow...)}
}

func (x table) allow(calls ...string) table {
	x.t.Helper()
	for _, c := range calls {
		if v := x.s.Decide(policy.Query{Call: sentence(x.t, c)}); !v.Allow {
			x.t.Errorf("refused: %s: may not %s", c, v.What)
		} else if v.Rule == "" {
			x.t.Errorf("no rule is named for %s", c)
		}
	}
	return x
}

func (x table) deny(calls ...string) table {
	x.t.Helper()
	for _, c := range calls {
		if v := x.s.Decide(policy.Query{Call: sentence(x.t, c)}); v.Allow {
			x.t.Errorf("allowed: %s by %s", c, v.Rule)
		} else if v.Reason == "" || v.What == "" {
			x.t.Errorf("refused without a word: %s: %+v", c, v)
		}
	}
	return x
}

func TestNothingIsAllowedWithoutARule(t *testing.T) {
	if (policy.Verdict{}).Allow {
		t.Error("the zero verdict allows")
	}
	x := with(t)
	x.allow("info")
	x.deny(everyCall()...)
	for _, s := range []*policy.Script{{}, {Rules: []policy.Rule{{Verb: "read", Targets: []policy.Target{{Type: "*"}}}}}} { // never compiled
		if v := s.Decide(policy.Query{Call: sentence(t, "read Shot.code")}); v.Allow {
			t.Error("a script that was never compiled may read")
		}
	}
	if v := x.s.Decide(policy.Query{Call: &flow.Call{}}); v.Allow {
		t.Error("the zero call is allowed")
	}
}

func TestReadRules(t *testing.T) {
	x := with(t, "- read: Shot")
	x.allow("read Shot.code", "read Shot.id", "read Shot", "read Shot.a,b where c and d sort e", "summarize Shot sum a group b", "read {\"type\":\"Shot\"}")
	x.deny("read Task.code", "read ShotX.code", "read Sho.code", "read SHOT.code", "create Shot.code", "update Shot.code", "delete Shot", "revive Shot")

	x = with(t, "- read: {Shot: [code, project]}")
	x.allow("read Shot.code", "read Shot.code,project,id,type", "read Shot.code where project sort id")
	x.deny("read Shot.description", "read Shot.code where description", "read Shot.code sort description", "read Shot.Code",
		"summarize Shot sum description", "summarize Shot group description", "read {\"type\":\"Shot\"}",
		"read Shot") // an empty list of fields, which may mean all

	x = with(t, "- read: \"*\"")
	x.allow("read Shot.code", "read ApiUser.firstname", "read HumanUser.login", "read Version.entity.Shot.code")
	x.deny("read EventLogEntry.meta", "read EVENTLOGENTRY.meta", "read Version.x.EventLogEntry.meta", "update Shot.code")

	x = with(t, "- read: [Custom*, EventLogEntry.description]")
	x.allow("read CustomEntity01.code", "read Custom.code", "read EventLogEntry.description")
	x.deny("read Shot.code", "read EventLogEntry.meta")
}

func TestEachHopOfAPathNeedsARule(t *testing.T) {
	x := with(t, "- read: {Version: [entity], Shot: [code, sg_sequence], Sequence: code}")
	x.allow("read Version.entity.Shot.code", "read Version.entity.Shot.sg_sequence.Sequence.code", "read Version.id where entity.Shot.code sort entity.Shot.code")
	x.deny("read Version.entity.Shot.description", "read Version.entity.Asset.code", "read Version.entity.Shot.sg_sequence.Sequence.description",
		"read Version.id where entity.Asset.code", "read Version.id sort entity.Asset.code", "read Version.user.HumanUser.login",
		"summarize Version sum entity.Asset.code", "summarize Version group entity.Asset.code", "create Version.code returning entity.Shot.code")
}

func TestWriteRules(t *testing.T) {
	x := with(t, "- create: {Version: [code, entity]}", "- update: Shot", "- delete: Task", "- revive: Task", "- link: Shot")
	x.allow("create Version.code,entity=Shot returning id", "update Shot.code,description", "update Shot.parent=Shot", "delete Task", "revive Task")
	x.allow("create Version.code returning id,type") // the client always asks for the new row's id
	x.deny("create Version.code returning entity.Shot.id", "create Version.description", "create Version.code returning description", "update Version.code", "delete Shot", "revive Shot",
		"create Version.entity=Asset", "update Shot.assets=Asset", "create Task.code", "create Version.entity=shot")
	with(t, "- create: Version", "- read: Asset.code").allow("create Version.entity=Asset") // who may read it may link to it
	with(t, "- create: Version", "- read: \"*\"").allow("create Version.entity=Asset")
	with(t, "- create: Version", "- read: \"*\"").deny("create Version.entity=EventLogEntry")
	with(t, "- update: Project.last_accessed_by_current_user").allow(`update_project_last_accessed_by_current_user {"project_id":1}`)
	with(t, "- update: Project.code").deny(`update_project_last_accessed_by_current_user {"project_id":1}`)
}

// TestSearchesAnswerDisplayNames: they look for a text in them, too.
func TestSearchesAnswerDisplayNames(t *testing.T) {
	const search = `query_display_name_cache {"text":"anna","entity_types":{"HumanUser":{"logical_operator":"and","conditions":[]}},"max_results":5}`
	with(t, "- read: HumanUser.id").deny(search)
	with(t, "- read: HumanUser.cached_display_name").allow(search)
	with(t, "- read: HumanUser").allow(search)
}

// TestSchedulesOfNobodyAreTheStudios: a project or a person that can't be one
// may be none to the site.
func TestSchedulesOfNobodyAreTheStudios(t *testing.T) {
	calls := []string{
		`work_schedule_update {"date":"2026-01-01","working":false}`,
		`work_schedule_update {"date":"2026-01-01","working":false,"project":{"type":"Project","id":0}}`,
		`work_schedule_update {"date":"2026-01-01","working":false,"project":{"type":"Shot","id":7}}`,
		`work_schedule_update {"date":"2026-01-01","working":false,"user":{"type":"Group","id":7}}`,
	}
	with(t, "- work_schedule_update").deny(calls...).allow(`work_schedule_update {"project":{"type":"Project","id":7}}`, `work_schedule_update {"user":{"type":"HumanUser","id":7}}`)
	with(t, "- work_schedule_update: studio").allow(calls...)
}

// TestNoBroadRuleReaches: what has to be named.
func TestNoBroadRuleReaches(t *testing.T) {
	broad := with(t, "- {read: \"*\", create: \"*\", update: \"*\", delete: \"*\", revive: \"*\", link: \"*\", follow: \"*\", schema: \"*\"}")
	broad.allow("update Shot.code", "create Note.content", "delete CustomEntity01", "revive Version")
	for _, typ := range []string{"ApiUser", "PermissionRuleSet", "HumanUser", "ActionMenuItem", "EventLogEntry", "ClientUser", "ApiUser_projects_Connection", "HumanUser_permission_groups_Connection", "PermissionRuleSet_x_Connection"} {
		for _, spelling := range []string{typ, strings.ToUpper(typ), typ[:1] + strings.ToLower(typ[1:])} {
			broad.deny("create "+spelling+".x", "update "+spelling+".x", "delete "+spelling, "revive "+spelling)
			with(t, "- {create: "+typ[:4]+"*, update: "+typ[:4]+"*, delete: "+typ[:4]+"*, revive: "+typ[:4]+"*}").
				deny("create "+spelling+".x", "update "+spelling+".x", "delete "+spelling, "revive "+spelling)
		}
		with(t, "- {create: "+typ+", update: "+typ+", delete: "+typ+", revive: "+typ+"}").
			allow("create "+typ+".x", "update "+typ+".x", "delete "+typ, "revive "+typ)
	}
	for _, f := range []string{"created_by", "created_at", "Created_By", "CREATED_AT"} {
		broad.deny("create Shot."+f, "update Shot."+f)
		with(t, "- {create: Shot, update: Shot}").deny("create Shot."+f, "update Shot."+f, "create Shot.code,"+f)
		with(t, "- {create: Shot."+f+", update: Shot."+f+"}").allow("create Shot."+f, "update Shot."+f)
		broad.allow("read Shot." + f)
	}
	for typ, fields := range map[string][]string{
		"HumanUser": {"login", "email", "sg_status_list", "locked_until", "sso_login", "oxygen_user_id", "permission_rule_set", "Login"},
		"ApiUser":   {"permission_rule_set", "generate_event_log_entries"},
	} {
		for _, f := range fields {
			with(t, "- {create: "+typ+", update: "+typ+"}").deny("create "+typ+"."+f, "update "+typ+"."+f)
			with(t, "- {create: "+typ+"."+f+", update: "+typ+"."+f+"}").allow("create "+typ+"."+f, "update "+typ+"."+f)
		}
	}
	broad.allow("update Shot.sg_status_list", "update Shot.login", "update Asset_shots_Connection.x", "create ApiUserConnection.x")
	broad.deny(namedCalls()...)
}

func TestCredentialFieldsAreNeverReached(t *testing.T) {
	all := []string{
		"- {read: [\"*\", EventLogEntry], create: [\"*\", ApiUser, HumanUser], update: [\"*\", ApiUser, HumanUser], link: \"*\", presets: LATEST}",
		"- export_page", "- nav_expand", "- nav_search", "- activity_stream", "- {schema_field_update: ApiUser, schema_field_delete: ApiUser, schema: \"*\"}",
	}
	x := with(t, all...)
	for _, f := range []string{"salted_password", "password_proxy", "Salted_Password", "PASSWORD_PROXY"} {
		calls := []string{
			"read ApiUser." + f, "read Shot.created_by.ApiUser." + f, "read Shot.a.Task.b.HumanUser." + f, "read Shot.id where " + f,
			"read Shot.id where created_by.ApiUser." + f, "read Shot.id sort " + f, "read Shot.id sort created_by.ApiUser." + f,
			"summarize Shot sum " + f, "summarize Shot group created_by.ApiUser." + f, "create HumanUser." + f, "update HumanUser." + f,
			"create Shot.code returning created_by.ApiUser." + f,
			`note_thread_contents {"note_id":1,"entity_fields":{"Note":["created_by.HumanUser.` + f + `"]}}`,
			`activity_stream {"type":"Shot","id":1,"entity_fields":{"ApiUser":["` + f + `"]}}`,
			`nav_expand {"path":"/","entity_fields":{"ApiUser":["` + f + `"]}}`,
			`nav_expand {"path":"/Project/65/` + f + `"}`, `nav_search {"root_path":"/","seed_entity_field":"ApiUser.` + f + `"}`,
			`query_display_name_cache {"text":"a","entity_types":{"ApiUser":{"path":"` + f + `","relation":"starts_with","values":["a"]}}}`,
			`read {"type":"Cut","return_fields":["id"],"additional_filter_presets":[{"preset_name":"LATEST","latest_by":"` + f + `"}]}`,
			`batch [{"request_type":"delete","type":"Shot","id":1},{"request_type":"update","type":"HumanUser","id":1,"fields":[{"field_name":"` + f + `","value":1}]}]`,
			`schema_field_update {"type":"ApiUser","field_name":"` + f + `","properties":[]}`, `schema_field_delete {"type":"ApiUser","field_name":"` + f + `"}`,
		}
		for _, c := range calls {
			if v := x.s.Decide(policy.Query{Call: sentence(t, c)}); v.Allow || v.Reason != policy.SecretField || v.Suggest != "" || !strings.Contains(v.What, f) {
				t.Errorf("%s: %+v", c, v)
			}
		}
		for _, verb := range []string{"read", "create", "update"} {
			if s, _ := compile([]string{"- " + verb + ": HumanUser." + f}); s != nil {
				t.Errorf("a rule for %s is accepted", f)
			}
		}
	}
	x.allow(`schema_field_read {"type":"ApiUser","field_name":"salted_password"}`, `nav_expand {"path":"/Project/65"}`)
}

func TestABatchIsAllOrNothing(t *testing.T) {
	x := with(t, "- {create: Shot.code, update: Shot.code, delete: Task}")
	create := `{"request_type":"create","type":"Shot","fields":[{"field_name":"code","value":1}]}`
	remove := `{"request_type":"delete","type":"Task","id":1}`
	x.allow("batch ["+create+"]", "batch ["+create+","+remove+"]")
	for _, bad := range []string{
		`{"request_type":"delete","type":"Shot","id":1}`, `{"request_type":"create","type":"Shot","fields":[{"field_name":"x","value":1}]}`,
		`{"request_type":"update","type":"Shot","id":1,"fields":[{"field_name":"code","value":{"type":"Asset","id":1}}]}`,
		`{"request_type":"create","type":"Shot","fields":[],"return_fields":["code"]}`,
	} {
		x.deny("batch ["+bad+"]", "batch ["+create+","+bad+","+remove+"]", "batch ["+bad+","+create+"]", "batch ["+create+","+bad+"]")
	}
	x.deny("batch []")
}

func TestGroupsBeyondRows(t *testing.T) {
	follow := `{"user":{"type":"HumanUser","id":1},"entity":{"type":"Shot","id":1}}`
	x := with(t, "- follow: Shot")
	x.allow("follow "+follow, "unfollow "+follow, `followers {"entity":{"type":"Shot","id":1}}`, `following {"user":{"type":"HumanUser","id":1},"entity_type":"Shot"}`)
	x.deny(strings.ReplaceAll("follow "+follow, "Shot", "Task"), `following {"user":{"type":"HumanUser","id":1}}`, "read Shot.id")
	with(t, "- follow: \"*\"").allow(`following {"user":{"type":"HumanUser","id":1}}`)

	x = with(t, "- schema: Shot")
	x.allow(`schema_field_read {"type":"Shot"}`, `schema_field_read {"type":"Shot","field_name":"code"}`)
	x.deny("schema_read", "schema_entity_read", `schema_field_read {"type":"Task"}`)
	with(t, "- schema: S*").deny("schema_read")
	with(t, "- schema: \"*\"").allow("schema_read", "schema_entity_read", `schema_read {"project":{"type":"Project","id":1}}`)

	with(t, "- schedule").allow("work_schedule_read {}").deny(`work_schedule_update {"project":{"type":"Project","id":1}}`)
	with(t, "- preferences").allow(`preferences_read {"prefs":[]}`)
	x = with(t, "- work_schedule_update")
	x.allow(`work_schedule_update {"project":{"type":"Project","id":1},"user":null}`)
	x.deny(`work_schedule_update {"project":null,"user":null}`, "work_schedule_update {}", "work_schedule_read {}")
	x = with(t, "- work_schedule_update: studio")
	x.allow(`work_schedule_update {"project":null,"user":null}`)
	x.deny(`work_schedule_update {"project":{"type":"Project","id":1},"user":null}`)

	x = with(t, "- activity_stream: Shot", "- read: Task.code")
	x.allow(`activity_stream {"type":"Shot","id":1}`, `activity_stream {"type":"Shot","id":1,"entity_fields":{"Task":["code"]}}`)
	x.deny(`activity_stream {"type":"Task","id":1}`, `activity_stream {"type":"Shot","id":1,"entity_fields":{"Task":["x"]}}`, `activity_stream {"type":"Shot","id":1,"entity_fields":{"Asset":[]}}`)
	with(t, "- activity_stream").allow(`activity_stream {"type":"Task","id":1}`)

	notes := `note_thread_contents {"note_id":1,"entity_fields":{}}`
	with(t, "- read: [Note, Reply, Attachment]").allow(notes)
	with(t, "- read: {Note: [content, created_at, created_by], Reply: [content, created_at, user], Attachment: [this_file, created_at, created_by]}").allow(notes)
	with(t, "- read: [Note, Reply]").deny(notes)
	with(t, "- read: [Note.id, Reply.id, Attachment.id]").deny(notes)

	preset := `read {"type":"Cut","return_fields":["id"],"additional_filter_presets":[{"preset_name":"LATEST","latest_by":"x"}]}`
	with(t, "- read: Cut").deny(preset)
	with(t, "- {read: Cut, presets: LATEST}").allow(preset)
	with(t, "- {read: Cut, presets: CUT_SHOT_VERSIONS}").deny(preset)
	with(t, "- read: Asset").deny(`query_display_name_cache {"text":"a","entity_types":{}}`, `query_display_name_cache {"text":"a","entity_types":{"Shot":{}}}`).
		allow(`query_display_name_cache {"text":"a","entity_types":{"Asset":{}}}`)
}

func TestSessionsUsersAndSudo(t *testing.T) {
	every := script(t, "- {read: \"*\", schema: \"*\"}")
	decide := func(s *policy.Script, auth, method, arg string) policy.Verdict {
		t.Helper()
		if arg != "" {
			arg = "," + arg
		}
		m, err := flow.ParseRPC([]byte(`{"method_name":"`+method+`","params":[`+auth+arg+`]}`), nil, flow.DefaultMaxDepth)
		if err != nil {
			t.Fatal(err)
		}
		return s.Decide(policy.Query{Call: &m.Call, UserCheck: m.UserCheck()})
	}
	forward := *every
	forward.ForwardUser = true
	user := `{"user_login":"joe","user_password":"pw"}`
	check := `{"type":"HumanUser","return_fields":["id","login"],"filters":{"logical_operator":"and","conditions":[{"path":"sg_status_list","relation":"is","values":["act"]},{"path":"login","relation":"is","values":["joe"]}]}}`
	for _, tt := range []struct {
		name              string
		s                 *policy.Script
		auth, method, arg string
		want              policy.Reason
	}{
		{"a session", every, `{"script_name":"a"}`, "get_session_token", "", ""},
		{"a session for a user", every, user, "get_session_token", "", policy.UserAuth},
		{"a session for a user, forwarded", &forward, user, "get_session_token", "", policy.UserAuth},
		{"a session with sudo", every, `{"script_name":"a","sudo_as_login":"joe"}`, "get_session_token", "", ""},
		{"a session with sudo as another", every, `{"script_name":"a","sudo_as_login":"bob"}`, "get_session_token", "", policy.Sudo},
		{"a check of a password", every, user, "read", check, policy.UserAuth},
		{"a check of a password, forwarded", &forward, user, "read", check, ""},
		{"another read of a user", &forward, user, "read", `{"type":"HumanUser","return_fields":["id"]}`, policy.UserAuth},
		{"info of a user", &forward, user, "info", "", policy.UserAuth},
		{"a schema of a user", &forward, user, "schema_read", "", policy.UserAuth},
		{"sudo", every, `{"script_name":"a","sudo_as_login":"joe"}`, "schema_read", "", ""},
		{"sudo as another", every, `{"script_name":"a","sudo_as_login":"bob"}`, "schema_read", "", policy.Sudo},
		{"sudo in another case", every, `{"script_name":"a","sudo_as_login":"Joe"}`, "schema_read", "", policy.Sudo},
		{"sudo on info", every, `{"script_name":"a","sudo_as_login":"bob"}`, "info", "", policy.Sudo},
		{"sudo and user", &forward, `{"user_login":"joe","user_password":"pw","sudo_as_login":"bob"}`, "read", check, policy.UserAuth},
		{"info", every, `{}`, "info", "", ""},
	} {
		if v := decide(tt.s, tt.auth, tt.method, tt.arg); v.Reason != tt.want || v.Allow != (tt.want == "") {
			t.Errorf("%s: %+v", tt.name, v)
		}
	}
}

// TestTheFirstRuleDecides names the rule that stands first in the file.
func TestTheFirstRuleDecides(t *testing.T) {
	s := script(t, "- read: Task", "- read: Shot.code", "- read: \"S*\"", "- read: Sequence.code")
	for call, want := range map[string]string{
		"read Task.id": "11", "read Shot.code": "12", "read Sequence.code": "13", "read Shot.x": "12",
	} {
		if v := s.Decide(policy.Query{Call: sentence(t, call)}); v.Rule != "stagedoor.yaml:"+want {
			t.Errorf("%s is allowed by %s, want line %s", call, v.Rule, want)
		}
	}
}

func TestWhatAPersonReads(t *testing.T) {
	x := with(t, "- read: Shot.code")
	for call, want := range map[string]string{
		"update Version.description": "update Version.description", "delete Shot": "delete Shot", "read Shot.x": "read Shot.x",
		`read {"type":"Shot"}`: "read every field of Shot", "schema_read": "read the schema of every type",
		`schema_field_read {"type":"Shot"}`: "read the schema of Shot", "work_schedule_read {}": "read work schedules",
		`preferences_read {"prefs":[]}`: "read preferences", "work_schedule_update {}": "call work_schedule_update for the whole studio",
		`schema_field_delete {"type":"Shot","field_name":"x"}`: "call schema_field_delete for Shot", "user_subscriptions_read": "call user_subscriptions_read",
		`activity_stream {"type":"Shot","id":1}`: "call activity_stream for Shot",
	} {
		if v := x.s.Decide(policy.Query{Call: sentence(t, call)}); v.What != want {
			t.Errorf("%s: may not %s, want %s", call, v.What, want)
		}
	}
}

// namedCalls are those that only a rule with their own name allows.
func namedCalls() []string {
	return []string{
		`export_page {"format":"csv","page_id":1,"layout_name":"x"}`, `nav_expand {"path":"/"}`, `nav_search {"root_path":"/","search_criteria":{"search_string":"x"}}`,
		`activity_stream {"type":"Shot","id":1}`, "user_subscriptions_read", `user_subscriptions_create {"users":[{"humanUserId":1,"subscription":"x"}]}`,
		`schema_field_create {"type":"Shot","data_type":"text","properties":[]}`, `schema_field_update {"type":"Shot","field_name":"x","properties":[]}`,
		`schema_field_delete {"type":"Shot","field_name":"x"}`, `work_schedule_update {"project":{"type":"Project","id":1}}`, "work_schedule_update {}",
	}
}

// everyCall is at least one call of each method that a rule can allow.
func everyCall() []string {
	return append(namedCalls(),
		"read Shot.code", "read Shot.id", "read Shot", `read {"type":"Shot"}`, "read Shot.code where a and b.Task.c sort d", "read EventLogEntry.meta",
		"read Null.code", "read Shot.null,yes,no,true", "read True.id", "read A.b.No.y",
		"summarize Shot sum a group b.Task.c", "summarize Shot", "create Shot.code", "create Shot", "create Version.entity=Shot,user=HumanUser returning id,code",
		"create Version.entity=shot", "create Shot.created_by=HumanUser", "update Shot.code,x", "update HumanUser.login", "update ApiUser.generate_event_log_entries",
		"delete Shot", "delete Null", "delete EventLogEntry", "revive ActionMenuItem", "delete PermissionRuleSet",
		`batch [{"request_type":"create","type":"Shot","fields":[{"field_name":"code","value":{"type":"shot","id":1}}],"return_fields":["a.Null.on"]},{"request_type":"delete","type":"Task","id":1},{"request_type":"delete","type":"No","id":1}]`,
		`follow {"user":{"type":"HumanUser","id":1},"entity":{"type":"Shot","id":1}}`, `unfollow {"user":{"type":"HumanUser","id":1},"entity":{"type":"Off","id":1}}`,
		`followers {"entity":{"type":"Shot","id":1}}`, `following {"user":{"type":"HumanUser","id":1}}`, `following {"user":{"type":"HumanUser","id":1},"entity_type":"Task"}`,
		"schema_read", "schema_entity_read", `schema_field_read {"type":"Shot"}`, "work_schedule_read {}",
		`update_project_last_accessed_by_current_user {"project_id":1}`, `note_thread_contents {"note_id":1,"entity_fields":{"Version":["a.Shot.b"]}}`,
		`query_display_name_cache {"text":"x","entity_types":{"Shot":{"path":"a.Task.b","relation":"is","values":[1]}},"project_ids":[1]}`,
		`query_display_name_cache {"text":"x","entity_types":{}}`, `preferences_read {"prefs":[]}`,
		`read {"type":"Cut","additional_filter_presets":[{"preset_name":"LATEST"},{"preset_name":"null"}]}`,
		`activity_stream {"type":"Shot","id":1,"entity_fields":{"Task":["a"],"Asset":[]}}`, `nav_expand {"path":"/","entity_fields":{"Task":["a","b"]}}`,
	)
}

// TestSuggestionsAllowWhatWasRefused: what a refusal offers is accepted by the
// configuration, allows the call, and has nothing in it that the call could do
// without.
func TestSuggestionsAllowWhatWasRefused(t *testing.T) {
	seen := map[string]bool{}
	for _, words := range everyCall() {
		c := sentence(t, words)
		seen[c.Method] = true
		for i := range c.Parts {
			seen[c.Parts[i].Method] = true
		}
		for _, before := range [][]string{nil, {"- read: [Zzz, Shot.zzz]", "- update: Zzz"}} {
			v := script(t, before...).Decide(policy.Query{Call: c})
			if v.Allow && before != nil {
				continue // those rules do for it
			}
			if v.Allow || v.Reason != policy.NoRule || v.Suggest == "" {
				t.Errorf("%s: %+v", words, v)
				continue
			}
			s, problems := compile(append(before, v.Suggest))
			if s == nil {
				t.Errorf("%s: the suggestion is refused:\n%s\n%s", words, v.Suggest, problems)
				continue
			}
			if again := s.Decide(policy.Query{Call: c}); !again.Allow {
				t.Errorf("%s: the suggestion does not do: %+v\n%s", words, again, v.Suggest)
			}
			if before == nil {
				smallest(t, words, c, s)
			}
		}
	}
	for _, m := range flow.Methods() {
		if !seen[m] && m != "info" && m != "get_session_token" {
			t.Errorf("no call of %s is tried", m)
		}
	}
}

// smallest takes single fields, types and rules away and wants a refusal.
func smallest(t *testing.T, words string, c *flow.Call, s *policy.Script) {
	t.Helper()
	without := func(rules []policy.Rule, gone string) {
		if v := policy.Compile(policy.Script{Rules: rules}).Decide(policy.Query{Call: c}); v.Allow {
			t.Errorf("%s: allowed without %s too", words, gone)
		}
	}
	for i, r := range s.Rules {
		without(append(append([]policy.Rule{}, s.Rules[:i]...), s.Rules[i+1:]...), r.Verb)
		for j, target := range r.Targets {
			rules := append([]policy.Rule{}, s.Rules...)
			rules[i].Targets = append(append([]policy.Target{}, r.Targets[:j]...), r.Targets[j+1:]...)
			if len(rules[i].Targets) > 0 {
				without(rules, r.Verb+" "+target.Type)
			}
			for k := range target.Fields {
				rules := append([]policy.Rule{}, s.Rules...)
				rules[i].Targets = append([]policy.Target{}, r.Targets...)
				rules[i].Targets[j].Fields = append(append([]string{}, target.Fields[:k]...), target.Fields[k+1:]...)
				if len(target.Fields) > 1 {
					without(rules, r.Verb+" "+target.Type+"."+target.Fields[k])
				}
			}
		}
	}
}

// TestLongSuggestionsSayThatTheyAreCut: more than a screen is missing.
func TestLongSuggestionsSayThatTheyAreCut(t *testing.T) {
	fields := make([]string, 5000)
	for i := range fields {
		fields[i] = fmt.Sprintf("f%d", i)
	}
	v := script(t).Decide(policy.Query{Call: sentence(t, "read Shot."+strings.Join(fields, ","))})
	if v.Allow || !strings.HasSuffix(v.Suggest, " # and more") || len(v.Suggest) > 1000 {
		t.Errorf("%+v", v)
	}
	if _, problems := compile([]string{v.Suggest}); problems != "" {
		t.Error(problems)
	}
}

// TestEveryVerbIsKnownAndNoOther: Verbs is what Problems accepts.
func TestEveryVerbIsKnownAndNoOther(t *testing.T) {
	for _, verb := range policy.Verbs() {
		ok := false
		for _, targets := range [][]policy.Target{nil, {{Type: "Shot"}}, {{Type: "studio"}}} {
			r := policy.Rule{Verb: verb, Targets: targets}
			ok = ok || len(r.Problems()) == 0
		}
		if !ok {
			t.Errorf("no rule can be written with %s", verb)
		}
	}
	for verb, says := range map[string]string{
		"get_session_token": "needs no rule", "info": "needs no rule", "batch": "needs no rule", "summarize": "part of a group",
		"unfollow": "part of a group", "Read": "unknown rule", "": "unknown rule", "revoke": "unknown rule",
	} {
		r := policy.Rule{Verb: verb, Targets: []policy.Target{{Type: "Shot"}}}
		if ps := r.Problems(); len(ps) != 1 || !strings.Contains(ps[0].Msg, says) {
			t.Errorf("%s: %+v", verb, ps)
		}
	}
	for _, r := range []policy.Rule{
		{Verb: "read"},
		{Verb: "read", Targets: []policy.Target{{Type: "shot"}}},
		{Verb: "read", Targets: []policy.Target{{Type: ""}}},
		{Verb: "read", Targets: []policy.Target{{Type: "S*t"}}},
		{Verb: "read", Targets: []policy.Target{{Type: "Shot", Fields: []string{}}}},
		{Verb: "read", Targets: []policy.Target{{Type: "Shot", Fields: []string{"a.Task.b"}}}},
		{Verb: "read", Targets: []policy.Target{{Type: "Shot", Fields: []string{"*"}}}},
		{Verb: "delete", Targets: []policy.Target{{Type: "Shot", Fields: []string{"code"}}}},
		{Verb: "preferences", Targets: []policy.Target{{Type: "Shot"}}},
		{Verb: "presets", Targets: []policy.Target{{Type: "a b"}}},
		{Verb: "upload"},
		{Verb: "download"},
		{Verb: "upload", Targets: []policy.Target{{Type: "images"}}},
		{Verb: "read", Targets: []policy.Target{{Type: "files"}}},
		{Verb: "download", Targets: []policy.Target{{Type: "Images"}, {Type: "image"}}},
		{Verb: "download", Targets: []policy.Target{{Type: "images", Fields: []string{"x"}}}},
		{Verb: "upload", Targets: []policy.Target{{Type: "HumanUser", Fields: []string{"salted_password"}}}},
		{Verb: "webhook_write", Targets: []policy.Target{{Type: "Shot"}}},
		{Verb: "work_schedule_update", Targets: []policy.Target{{Type: "Project"}}},
	} {
		if len(r.Problems()) == 0 {
			t.Errorf("%+v can never match and is accepted", r)
		}
	}
}

// FuzzSuggest: whatever is refused for want of a rule, what is offered is
// accepted and allows the call; and no rules allow a credential field.
func FuzzSuggest(f *testing.F) {
	for _, s := range fuzzSeeds() {
		f.Add(s)
	}
	all, _ := compile([]string{"- {read: [\"*\", EventLogEntry], update: \"*\", create: \"*\", delete: \"*\", link: \"*\"}"})
	f.Fuzz(func(t *testing.T, params string) {
		method, arg, _ := strings.Cut(params, " ")
		m, err := flow.ParseRPC([]byte(`{"method_name":"`+method+`","params":[{}`+arg+`]}`), nil, flow.DefaultMaxDepth)
		if err != nil {
			return
		}
		if v := all.Decide(policy.Query{Call: &m.Call}); v.Allow {
			for _, c := range append(m.Call.Parts, m.Call) {
				for _, touch := range c.Touches {
					if flow.IsSecretField(touch.Field) {
						t.Fatalf("%s reaches %s", params, touch.Field)
					}
				}
			}
		}
		v := policy.Compile(policy.Script{}).Decide(policy.Query{Call: &m.Call})
		if v.Allow && m.Call.Method != "info" {
			t.Fatalf("%s is allowed by nothing", params)
		}
		if v.Reason != policy.NoRule || v.Suggest == "" || strings.HasSuffix(v.Suggest, "# and more") {
			return
		}
		s, problems := compile([]string{v.Suggest})
		if s == nil {
			t.Fatalf("%s\n%s", v.Suggest, problems)
		}
		if v := s.Decide(policy.Query{Call: &m.Call}); !v.Allow {
			t.Fatalf("%s does not allow %s", v.Suggest, params)
		}
	})
}

func fuzzSeeds() []string {
	var out []string
	for _, c := range everyCall() {
		method, arg, ok := strings.Cut(c, " ")
		if !ok {
			out = append(out, method)
			continue
		}
		if !strings.HasPrefix(arg, "{") && !strings.HasPrefix(arg, "[") {
			arg = argument(method, arg)
		}
		out = append(out, method+" ,"+arg)
	}
	return out
}

func TestFuzzSuggestHasSeeds(t *testing.T) {
	if n := len(fuzzSeeds()); n < 40 {
		t.Errorf("%d seeds", n)
	}
}

// BenchmarkDecide measures the decision alone, on a call that was parsed
// before: no parsing, no YAML. "refused" writes a suggestion too.
func BenchmarkDecide(b *testing.B) {
	rules := []string{"- read: {Version: [code, entity, project, sg_status_list], Shot: [code, sg_sequence], Sequence: [code]}", "- {create: Shot, update: Shot, link: \"*\"}"}
	types := make([]string, 1000)
	for i := range types {
		types[i] = fmt.Sprintf("CustomEntity%d", i)
	}
	many := append([]string{"- read: [" + strings.Join(types, ", ") + "]"}, rules...)
	part := `{"request_type":"update","type":"Shot","id":1,"fields":[{"field_name":"code","value":"x"},{"field_name":"assets","value":[{"type":"Asset","id":1}]}]}`
	for _, bb := range []struct {
		name, call string
		rules      []string
	}{
		{"read", "read Version.code,entity.Shot.code where project and sg_status_list", rules},
		{"read beside 1000 types", "read Version.code,entity.Shot.code where project and sg_status_list", many},
		{"batch of 1000", "batch [" + strings.Repeat(part+",", 999) + part + "]", rules},
		{"refused", "read Version.description,entity.Shot.description", rules},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s, problems := compile(bb.rules)
			if s == nil {
				b.Fatal(problems)
			}
			method, arg, _ := strings.Cut(bb.call, " ")
			if !strings.HasPrefix(arg, "[") {
				arg = argument(method, arg)
			}
			m, err := flow.ParseRPC([]byte(`{"method_name":"`+method+`","params":[{},`+arg+`]}`), nil, flow.DefaultMaxDepth)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(policy.Query{Call: &m.Call})
			}
		})
	}
}

// TestAnAllowedCallCostsNoMemory: a decision that says yes allocates nothing,
// unless a condition was asked.
func TestAnAllowedCallCostsNoMemory(t *testing.T) {
	read := func() *flow.Call {
		return sentence(t, "read Version.code,entity.Shot.code where project and sg_status_list")
	}
	rules := []string{"- {read: {Version: [code, entity, project, sg_status_list], Shot: code}, max_rows: 500, projects: {ids: [122, 145], filter: add}, cache: 30s}", "- {read: {Version: [code, entity], Shot: code}, projects: [7]}"}
	deny := []string{"- {read: [Shot.secret, Version.Secret, HumanUser]}", "- {read: \"Custom*\"}", "- {read: Version, projects: [8]}"}
	globs := []string{"- {read: \"*\", max_rows: 5000}", "- {read: \"Ver*\"}"}
	for _, tt := range []struct {
		name        string
		allow, deny []string
		c           *flow.Call
	}{
		{"plain", []string{"- read: {Version: [code, entity, project, sg_status_list], Shot: code}"}, nil, read()},
		{"shown to lie in its projects", rules, deny, in(read(), 145, 122)},
		{"with a filter to add", rules, deny, read()},
		{"globs", globs, deny[:2], read()},
		{"an update in its project", []string{"- {update: [Shot, Version.x], max_batch: 5, projects: [1]}"}, []string{"- update: Shot.x"}, in(sentence(t, "update Shot.code"), 1)},
	} {
		s := studio(t, tt.allow, tt.deny)
		if v := s.Decide(policy.Query{Call: tt.c}); !v.Allow {
			t.Fatalf("%s: %+v", tt.name, v)
		}
		if n := testing.AllocsPerRun(100, func() { s.Decide(policy.Query{Call: tt.c}) }); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

// BenchmarkRules measures how a decision grows with the rules of its script: as
// many types, as many fields of one type, as many globs, each with bounds and
// projects in the way.
func BenchmarkRules(b *testing.B) {
	c := sentence(b, "read Version.code,entity.Shot.code where project and sg_status_list")
	c.Projects = []int64{122}
	when, err := policy.NewCondition("call.page_size <= 500 && call.hops < 5")
	if err != nil {
		b.Fatal(err)
	}
	for _, kind := range []string{"types", "fields", "globs", "deny", "projects", "condition"} {
		for _, n := range []int{10, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/rules=%d", kind, n), func(b *testing.B) {
				s := policy.Compile(manyRules(kind, n, when))
				if v := s.Decide(policy.Query{Call: c}); !v.Allow {
					b.Fatalf("%+v", v)
				}
				b.ReportAllocs()
				for b.Loop() {
					s.Decide(policy.Query{Call: c})
				}
			})
		}
	}
}

// manyRules is a script of n rules of a kind, the last of which give Version and
// Shot.
func manyRules(kind string, n int, when *policy.Condition) policy.Script {
	s := policy.Script{Name: "tool", Where: "f:1"}
	add := func(r policy.Rule) {
		r.Verb, r.File, r.Line = "read", "f", len(s.Rules)+2
		s.Rules = append(s.Rules, r)
	}
	for i := range n - 2 {
		t := policy.Target{Type: fmt.Sprintf("CustomEntity%d", i)}
		switch kind {
		case "fields":
			t = policy.Target{Type: "Version", Fields: []string{fmt.Sprintf("sg_%d", i)}}
		case "globs":
			t.Type += "*"
		case "deny":
			s.Deny = append(s.Deny, policy.Rule{Verb: "read", Targets: []policy.Target{{Type: "Version", Fields: []string{fmt.Sprintf("sg_%d", i)}}}})
			continue
		case "projects":
			add(policy.Rule{Targets: []policy.Target{{Type: "Version"}, {Type: "Shot"}}, Projects: &policy.Projects{IDs: []int64{int64(1000 + i%200)}}})
			continue
		}
		add(policy.Rule{Targets: []policy.Target{t}})
	}
	last := policy.Rule{Targets: []policy.Target{{Type: "Version"}, {Type: "Shot"}}, Projects: &policy.Projects{IDs: []int64{122}}}
	if kind == "condition" {
		last.When = when
	}
	add(last)
	last.Targets, last.When = []policy.Target{{Type: "Version", Fields: []string{"code"}}}, nil
	add(last)
	return s
}
