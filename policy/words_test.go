package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"stagedoor/config"
	"stagedoor/flow"
	"stagedoor/policy"
)

// studio compiles the allow and the deny list of a script, as in a file: its
// first rule stands in line 10, deny begins where allow ends.
func studio(tb testing.TB, allow, deny []string) *policy.Script {
	tb.Helper()
	text := `version: 1
site: https://acme.shotgrid.autodesk.com
listen: 127.0.0.1:8470
identity: none
vault: {address: https://vault.acme.lan:8200}
scripts:
  tool:
    active: flow/tool
    allow:
`
	for _, item := range allow {
		text += "    " + strings.ReplaceAll(item, "\n", "\n    ") + "\n"
	}
	if len(deny) > 0 {
		text += "    deny:\n"
	}
	for _, item := range deny {
		text += "    " + item + "\n"
	}
	text += "login: {token_file: /run/vault/token}\n"
	c, ds := config.Parse("stagedoor.yaml", []byte(text))
	if c == nil {
		tb.Fatalf("%s\n%s", text, config.Format(ds))
	}
	return policy.Compile(policy.Script{Name: "tool", Where: "stagedoor.yaml:9", Rules: c.Scripts[0].Allow, Deny: c.Scripts[0].Deny})
}

// in says where the records of a call lie.
func in(c *flow.Call, ids ...int64) *flow.Call { c.Projects = ids; return c }

// of names the records of a call.
func of(c *flow.Call, records ...flow.Record) *flow.Call {
	c.Records, c.ID = records, records[0].ID
	return c
}

func page(c *flow.Call, rows int) *flow.Call { c.PageSize = rows; return c }

func batchOf(parts ...*flow.Call) *flow.Call {
	c := &flow.Call{Method: "batch", Group: flow.GroupBatch, Writes: true}
	for _, p := range parts {
		c.Parts = append(c.Parts, *p)
	}
	return c
}

// TestRefusalsSayWhy: the reason, the rule, the sentence, and the lines to paste.
func TestRefusalsSayWhy(t *testing.T) {
	say := func(words string) *flow.Call { return sentence(t, words) }
	for _, tt := range []struct {
		name        string
		allow, deny []string
		c           *flow.Call
		want        policy.Verdict
	}{
		{
			"no rule at all",
			[]string{"- read: Shot.code"},
			nil, say("update Version.description"),
			policy.Verdict{Rule: "9", Reason: policy.NoRule, What: "update Version.description", Suggest: "- update: Version.description"},
		},
		{
			"what no rule gives and a deny rule takes away",
			[]string{"- read: Shot.code"},
			[]string{"- delete: \"*\""},
			say("delete Shot"),
			policy.Verdict{Rule: "9", Reason: policy.NoRule, What: "delete Shot; stagedoor.yaml:12 denies it too"},
		},
		{
			"some of what no rule gives is denied",
			[]string{"- read: Shot.code"},
			[]string{"- read: Shot.x"},
			say("read Shot.y,x"),
			policy.Verdict{Rule: "9", Reason: policy.NoRule, What: "read Shot.y; stagedoor.yaml:12 denies read Shot.x"},
		},
		{
			"what no rule gives, denied in another project",
			[]string{"- update: Shot.code"},
			[]string{"- {delete: Shot, projects: [7]}"},
			in(say("delete Shot"), 8),
			policy.Verdict{Rule: "9", Reason: policy.NoRule, What: "delete Shot", Suggest: "- delete: Shot"},
		},
		{
			"a link to what is no type's name",
			[]string{"- update: Shot"},
			nil, say("update Shot.code=foo"),
			policy.Verdict{Rule: "9", Reason: policy.NoRule, What: "link to foo", Suggest: "- link: \"*\" # to every type: nothing less covers foo"},
		},
		{
			"a field denied",
			[]string{"- read: Version"},
			[]string{"- read: Version.sg_x"},
			say("read Version.code,sg_x"),
			policy.Verdict{Rule: "12", Reason: policy.Denied, What: "read Version.sg_x: stagedoor.yaml:12 denies it"},
		},
		{
			"every field of what has a denied one",
			[]string{"- read: Version"},
			[]string{"- read: Version.sg_x"},
			say(`read {"type":"Version"}`),
			policy.Verdict{Rule: "12", Reason: policy.Denied, What: "read every field of Version: stagedoor.yaml:12 denies it"},
		},
		{
			"too many rows",
			[]string{"- {read: Shot, max_rows: 500}"},
			nil, page(say("read Shot.code"), 5000),
			policy.Verdict{Rule: "10", Reason: policy.Rows, What: "read Shot: 5000 rows a page, the rule gives 500", Suggest: "- {read: Shot.code, max_rows: 5000}"},
		},
		{
			"rows that nobody asked for",
			[]string{"- {read: Shot, max_rows: 100, projects: [7]}"},
			nil, in(say("read Shot.code"), 7),
			policy.Verdict{Rule: "10", Reason: policy.Rows, What: "read Shot: 500 rows a page, the rule gives 100", Suggest: "- {read: Shot.code, projects: [7], max_rows: 500}"},
		},
		{
			"too many parts",
			[]string{"- {update: Shot, max_batch: 1}"},
			nil, batchOf(say("update Shot.code"), say("update Shot.code")),
			policy.Verdict{Rule: "10", Reason: policy.Batch, What: "update Shot.code: 2 parts in a batch, the rule gives 1", Suggest: "- {update: Shot.code, max_batch: 2}"},
		},
		{
			"a condition",
			[]string{"- {read: Shot, where: call.page_size < 10}"},
			nil, say("read Shot.code"),
			policy.Verdict{Rule: "10", Reason: policy.Unmet, What: "read Shot.code: the condition of stagedoor.yaml:10 does not hold", Suggest: "- read: Shot.code # without the condition of stagedoor.yaml:10"},
		},
		{
			"another project",
			[]string{"- {read: Shot, projects: [122, 145]}"},
			nil, in(say("read Shot.code"), 7),
			policy.Verdict{Rule: "10", Reason: policy.Project, What: "read Shot.code in project 7: stagedoor.yaml:10 gives it in projects 122 and 145", Suggest: "- {read: Shot.code, projects: [7]}"},
		},
		{
			"one project too many",
			[]string{"- {read: Shot, projects: [122]}"},
			nil, in(say("read Shot.code"), 122, 9, 8),
			policy.Verdict{Rule: "10", Reason: policy.Project, What: "read Shot.code in projects 9 and 8: stagedoor.yaml:10 gives it in project 122", Suggest: "- {read: Shot.code, projects: [9, 8]}"},
		},
		{
			"no project",
			[]string{"- {read: Shot, projects: [122]}"},
			nil, say("read Shot.code,x"),
			policy.Verdict{
				Rule: "10", Reason: policy.Project, What: "read Shot.code: stagedoor.yaml:10 gives it in project 122, and the call does not show that it stays there",
				Suggest: "- {read: {Shot: [code, x]}, projects: {ids: [122], filter: add}}",
			},
		},
		{
			"no project, of a type whose filters are not known to hold",
			[]string{"- {read: Group, projects: [122]}"},
			nil, say("read Group.code"),
			policy.Verdict{
				Rule: "10", Reason: policy.Project, What: "read Group.code: stagedoor.yaml:10 gives it in project 122, and the call does not show that it stays there",
				Suggest: "- read: Group.code # in every project: the call shows none",
			},
		},
		{
			"one field less than is asked for, in a project of the rule",
			[]string{"- {read: {Shot: [code, project]}, projects: [65]}"},
			nil, in(say("read Shot.code,x"), 65),
			policy.Verdict{Rule: "9", Reason: policy.NoRule, What: "read Shot.x", Suggest: "- {read: Shot.x, projects: [65]}"},
		},
		{
			"one field less, in another project",
			[]string{"- {read: {Shot: [code, project]}, projects: [65]}"},
			nil, in(say("read Shot.code,x"), 66),
			policy.Verdict{Rule: "9", Reason: policy.NoRule, What: "read Shot.x", Suggest: "- {read: {Shot: [x, code]}, projects: [66]}"},
		},
		{
			"one field less, and no project",
			[]string{"- {read: {Shot: [code, project]}, projects: {ids: [65, 66], filter: add}}"},
			nil, say("read Shot.code,x"),
			policy.Verdict{Rule: "9", Reason: policy.NoRule, What: "read Shot.x", Suggest: "- {read: Shot.x, projects: {ids: [65, 66], filter: add}}"},
		},
		{
			"a link more of a record that is looked up",
			[]string{"- {update: Task, projects: {ids: [65], lookup: cached}}"},
			nil, of(say("update Task.task_assignees=HumanUser"), flow.Record{Type: "Task", ID: 5}),
			policy.Verdict{Rule: "9", Reason: policy.NoRule, What: "link to HumanUser", Suggest: "- {link: HumanUser, projects: {ids: [65], lookup: cached}}"},
		},
		{
			"a part of a batch that shows its project, and one by id",
			[]string{"- {update: Shot, projects: [122]}"},
			nil,
			batchOf(in(say("update Shot.code"), 8), of(say("update Shot.code"), flow.Record{Type: "Shot", ID: 5})),
			policy.Verdict{
				Rule: "10", Reason: policy.Project, What: "update Shot.code: stagedoor.yaml:10 gives it in project 122, and the call does not show that it stays there",
				Suggest: "- {update: Shot.code, projects: {ids: [122, 8], lookup: cached}}",
			},
		},
		{
			"an update by id",
			[]string{"- {update: Version, projects: [122]}"},
			nil, of(say("update Version.x"), flow.Record{Type: "Version", ID: 5}),
			policy.Verdict{
				Rule: "10", Reason: policy.Project, What: "update Version.x: stagedoor.yaml:10 gives it in project 122, and the call does not show that it stays there",
				Suggest: "- {update: Version.x, projects: {ids: [122], lookup: cached}}",
			},
		},
		{
			"denied in a project",
			[]string{"- read: Shot"},
			[]string{"- {read: Shot.code, projects: [7]}"},
			in(say("read Shot.code"), 7),
			policy.Verdict{Rule: "12", Reason: policy.Denied, What: "read Shot.code: stagedoor.yaml:12 denies it"},
		},
		{
			"perhaps in the project where it is denied",
			[]string{"- read: Shot"},
			[]string{"- {read: Shot.code, projects: [7]}"},
			say("read Shot.code"),
			policy.Verdict{Rule: "12", Reason: policy.Project, What: "read Shot.code: stagedoor.yaml:12 denies it in some projects, and the call does not show that it stays outside"},
		},
		{
			"parts in two projects",
			[]string{"- {update: Shot, projects: [122]}"},
			nil,
			batchOf(in(say("update Shot.code"), 122), in(say("update Shot.code"), 8), in(say("update Shot.code"), 9)),
			policy.Verdict{Rule: "10", Reason: policy.Project, What: "update Shot.code in projects 8 and 9: stagedoor.yaml:10 gives it in project 122", Suggest: "- {update: Shot.code, projects: [8, 9]}"},
		},
		{
			"no rule comes before denied, and that before the rest",
			[]string{"- {read: Shot, projects: [1], max_rows: 1}"},
			[]string{"- read: Shot.x"},
			say("read Shot.code,x,entity.Task.content"),
			policy.Verdict{Rule: "9", Reason: policy.NoRule, What: "read Task.content", Suggest: "- read: Task.content"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := studio(t, tt.allow, tt.deny).Decide(policy.Query{Call: tt.c})
			if tt.want.Rule != "" {
				tt.want.Rule = "stagedoor.yaml:" + tt.want.Rule
			}
			if v.Allow || v.Rule != tt.want.Rule || v.Reason != tt.want.Reason || v.What != tt.want.What || v.Suggest != tt.want.Suggest {
				t.Errorf("\ngot  %+v\nwant %+v", v, tt.want)
			}
		})
	}
}

// TestAMoveIsWithinToo: a record may not be moved out of the projects of the
// rule, nor into none.
func TestAMoveIsWithinToo(t *testing.T) {
	s := studio(t, []string{"- {update: Shot, link: Project, projects: {ids: [1, 2], lookup: cached}}"}, nil)
	shot := flow.Record{Type: "Shot", ID: 5}
	move := func(into ...int64) *flow.Call {
		c := of(sentence(t, "update Shot.project=Project"), shot)
		c.Into, c.IntoOther = into, false
		return c
	}
	if v := s.Decide(policy.Query{Call: move(2)}); !v.Allow || len(v.Lookup) != 1 {
		t.Errorf("%+v", v)
	}
	v := s.Decide(policy.Query{Call: move(2, 7)})
	if v.Allow || v.Reason != policy.Project || v.What != "update Shot.project in project 7: stagedoor.yaml:10 gives it in projects 1 and 2" {
		t.Errorf("%+v", v)
	}
	none := move()
	none.IntoOther = true
	if v := s.Decide(policy.Query{Call: none}); v.Allow || v.Reason != policy.Project {
		t.Errorf("%+v", v)
	}
}

// TestConfinement: what is added, and what is looked up.
func TestConfinement(t *testing.T) {
	shot, film := flow.Record{Type: "Shot", ID: 5}, flow.Record{Type: "Project", ID: 1}
	s := studio(t, []string{
		"- {read: [Shot, EventLogEntry, Project], projects: {ids: [3, 1], filter: add, lookup: cached}}",
		"- {read: Shot, projects: [9]}",
		"- update: Shot",
	}, []string{"- {update: Shot.x, projects: [4, 2]}"})
	for _, tt := range []struct {
		name   string
		c      *flow.Call
		rule   string
		filter []int64
		lookup []policy.Check
		refuse bool
	}{
		{"shown", in(sentence(t, "read Shot.code"), 9), "11", nil, nil, false},
		{"added to", sentence(t, "read Shot.code"), "10", []int64{1, 3}, nil, false},
		{"narrowed", in(sentence(t, "read Shot.code"), 3, 77), "10", []int64{1, 3}, nil, false},
		{"nothing of it would be left", in(sentence(t, "read Shot.code"), 77), "", nil, nil, true},
		{"summed", sentence(t, "summarize Shot sum a"), "10", []int64{1, 3}, nil, false},
		{"by id", of(sentence(t, "read Shot.code"), shot), "10", nil, []policy.Check{{Record: shot, Projects: []int64{1, 3}}}, false},
		{"a project by its id", of(sentence(t, "read Project.code"), film), "10", nil, nil, false},
		{"an event", in(sentence(t, "read EventLogEntry.meta"), 1), "", nil, nil, true},
		{"a note's thread", of(sentence(t, `note_thread_contents {"note_id":1,"entity_fields":{}}`), shot), "", nil, nil, true},
		{"denied elsewhere", of(sentence(t, "update Shot.x"), shot), "12", nil, []policy.Check{{Record: shot, Projects: []int64{2, 4}, Except: true}}, false},
	} {
		v := s.Decide(policy.Query{Call: tt.c})
		if v.Allow == tt.refuse || !slices.Equal(v.Filter, tt.filter) || len(v.Lookup) != len(tt.lookup) {
			t.Errorf("%s: %+v", tt.name, v)
			continue
		}
		for i, k := range v.Lookup {
			if k.Record != tt.lookup[i].Record || k.Except != tt.lookup[i].Except || !slices.Equal(k.Projects, tt.lookup[i].Projects) {
				t.Errorf("%s: %+v", tt.name, k)
			}
		}
		if !tt.refuse && v.Rule != "stagedoor.yaml:"+tt.rule {
			t.Errorf("%s: by %s", tt.name, v.Rule)
		}
		o := s.Decide(policy.Query{Call: tt.c, Observe: true})
		if (o.Filter != nil || o.Lookup != nil) || v.Allow && (!o.Allow || o.Observed != (len(tt.filter)+len(tt.lookup) > 0)) {
			t.Errorf("%s, observed: %+v", tt.name, o)
		}
	}
	v := s.Decide(policy.Query{Call: of(sentence(t, "update Shot.x"), shot)})
	if o := v.Outside(v.Lookup[0], 2); o.Allow || o.Reason != policy.Project || o.Rule != v.Rule || o.Suggest != "" || o.Lookup != nil ||
		o.What != "update Shot.x of Shot 5: it lies in projects 2 and 4, where it is denied" {
		t.Errorf("%+v", o)
	}
	v = s.Decide(policy.Query{Call: of(sentence(t, "read Shot.code"), shot)})
	for in, want := range map[int64]string{99: "- {read: Shot.code, projects: {ids: [99], lookup: cached}}", 0: "- read: Shot.code # in every project: it lies in none"} {
		if o := v.Outside(v.Lookup[0], in); o.Allow || o.What != "read Shot.code of Shot 5: it lies outside projects 1 and 3, where stagedoor.yaml:10 gives it" || o.Suggest != want {
			t.Errorf("%+v", o)
		}
	}
}

func TestFilterableTypesHaveProjects(t *testing.T) {
	for typ, want := range map[string]bool{
		"Shot": true, "Version": true, "CustomEntity01": true, "CustomEntity117": true, "EventLogEntry": false, "PageSetting": false, "Page": false,
		"Project": false, "HumanUser": false, "CustomEntity": false, "CustomEntityX1": false, "CustomNonProjectEntity01": false, "shot": false, "": false,
		"CustomEntity01_sg_a_Connection": false,
	} {
		if flow.LiesInProject(typ) != want {
			t.Errorf("%s: %v", typ, !want)
		}
	}
}

// TestDenyFoldsAndCovers: a deny rule matches wider than an allow rule gives.
func TestDenyFoldsAndCovers(t *testing.T) {
	everything := []string{
		"- {read: [\"*\", EventLogEntry], update: [\"*\", HumanUser], create: \"*\", link: \"*\", upload: \"*\", schema: \"*\", download: [\"*\", images]}",
		"- activity_stream", "- export_page", "- {presets: LATEST}", "- {schema_field_update: \"*\"}",
	}
	for deny, calls := range map[string]struct{ no, yes []string }{
		"- read: Shot":              {[]string{"read Shot.code", "read SHOT.code", "read Shot.id", "read Task.entity.Shot.id"}, []string{"update Shot.code", "create Version.entity=Shot", "read Task.code"}},
		"- read: Shot.code":         {[]string{"read Shot.CODE", "read Task.id where entity.Shot.code", `read {"type":"Shot"}`}, []string{"read Shot.id", "read Shot.x", "update Shot.code"}},
		"- read: \"Event*\"":        {[]string{"read EventLogEntry.meta"}, []string{"read Shot.code"}},
		"- update: \"*\"":           {[]string{"update HumanUser.name", "update Shot"}, []string{"create Shot.code", "read HumanUser.name"}},
		"- link: HumanUser":         {[]string{"update Task.task_assignees=HumanUser"}, []string{"read HumanUser.name", "update Task.x=Shot"}},
		"- schema: Shot":            {[]string{"schema_read", `schema_field_read {"type":"Shot"}`}, []string{`schema_field_read {"type":"Task"}`}},
		"- activity_stream":         {[]string{`activity_stream {"type":"Shot","id":1,"entity_fields":{}}`}, []string{"export_page " + `{"format":"csv","page_id":900,"layout_name":null}`}},
		"- activity_stream: Shot":   {[]string{`activity_stream {"type":"Shot","id":1,"entity_fields":{}}`}, []string{`activity_stream {"type":"Task","id":1,"entity_fields":{}}`}},
		"- schema_field_update: T*": {[]string{`schema_field_update {"type":"Task","field_name":"x","properties":[]}`}, []string{`schema_field_update {"type":"Shot","field_name":"x","properties":[]}`}},
	} {
		s := studio(t, everything, []string{deny})
		for _, c := range calls.no {
			if v := s.Decide(policy.Query{Call: sentence(t, c)}); v.Allow || v.Reason != policy.Denied || !strings.HasSuffix(v.What, " denies it") || v.Suggest != "" {
				t.Errorf("%s: %s: %+v", deny, c, v)
			}
		}
		for _, c := range calls.yes {
			if v := s.Decide(policy.Query{Call: sentence(t, c)}); !v.Allow {
				t.Errorf("%s: %s: %+v", deny, c, v)
			}
		}
	}
	s := studio(t, []string{"- download: [\"*\", images]"}, []string{"- download: \"*\""})
	decided(t, false, s, download("images"), download("Shot.image"))
	s = studio(t, []string{"- read: Shot", "- update: Task"}, []string{"- {read: Shot.secret, projects: [7]}", "- update: Task"})
	for field, want := range map[string]bool{"Shot.code": true, "Shot.secret": false, "Shot.SECRET": false, "Shot.id": true, "Shot.*": false, "Task.id": false} {
		typ, name, _ := strings.Cut(field, ".")
		if reads(s, sentence(t, "read Shot.code"), typ, typ, name) != want {
			t.Errorf("%s: %v", field, !want)
		}
	}
}

// TestWhoActs: patterns, and the caller's own login.
func TestWhoActs(t *testing.T) {
	c := sentence(t, "read Shot.code")
	act := func(s policy.Script, as, login string) policy.Verdict {
		s.Rules = []policy.Rule{{Verb: "read", Targets: []policy.Target{{Type: "Shot"}}, File: "f", Line: 1}}
		call := *c
		call.SudoAsLogin = as
		return policy.Compile(s).Decide(policy.Query{Call: &call, Login: login})
	}
	for login, want := range map[string]bool{"anna": true, "comp-1": true, "comp-": true, "comp": false, "xcomp-1": false, "a-b-c": true, "a-c": false, "ab-c": false, "a-bb-c": true, "annas": false, "Anna": false} {
		if v := act(policy.Script{Sudo: []string{"anna", "comp-*", "a-*b*-c"}}, login, "joe"); v.Allow != want || v.Sudo != "" || !want && (v.Reason != policy.Sudo || v.What == "") {
			t.Errorf("%s: %+v", login, v)
		}
	}
	for _, tt := range []struct {
		as     string
		have   []string
		offers string
	}{
		{"cleo", nil, "sudo_as_login: [cleo]"},
		{"cleo", []string{"ann", "be*", `a"b`}, `sudo_as_login: [ann, "be*", "a\"b", cleo]`},
		{"no", nil, `sudo_as_login: ["no"]`},
		{"12", nil, `sudo_as_login: ["12"]`},
		{"c*", nil, ""},
		{"a]\n- x", nil, ""},
		{"caller", nil, ""},
		{"ann.lee_2", nil, "sudo_as_login: [ann.lee_2]"},
	} {
		v := act(policy.Script{Where: "f:9", Sudo: tt.have}, tt.as, "")
		if v.Allow || v.Reason != policy.Sudo || v.Rule != "f:9" || v.Suggest != tt.offers {
			t.Errorf("%q: %+v", tt.as, v)
		}
		if tt.offers == "" {
			continue
		}
		c, ds := config.Parse("f", []byte("version: 1\nsite: https://acme.shotgrid.autodesk.com\nlisten: 127.0.0.1:8470\nidentity: none\nscripts:\n  tool:\n    file: /k\n    "+tt.offers+"\n    allow: [{read: Shot}]\n"))
		if c == nil || !slices.Equal(c.Scripts[0].SudoAsLogin, append(tt.have, tt.as)) {
			t.Errorf("%s: %s", tt.offers, config.Format(ds))
		}
	}
	own := policy.Script{SudoCaller: true, Sudo: []string{"anna"}}
	for _, tt := range []struct {
		as, login, what string
	}{
		{"", "joe", ""},
		{"joe", "joe", ""},
		{"anna", "joe", "act as another login than the caller's own"},
		{"", "", "act as the caller, whose login is not known here"},
		{"anna", "", "act as the caller, whose login is not known here"},
	} {
		v := act(own, tt.as, tt.login)
		if v.Allow != (tt.what == "") || v.What != tt.what || v.Allow && v.Sudo != "joe" || !v.Allow && (v.Reason != policy.Sudo || v.Sudo != "") {
			t.Errorf("%+v: %+v", tt, v)
		}
	}
	s := policy.Compile(own)
	if v := s.Decide(policy.Query{Call: sentence(t, "info")}); !v.Allow || v.Sudo != "" {
		t.Errorf("info: %+v", v)
	}
	if v := s.Decide(policy.Query{Call: sentence(t, "read Shot.code"), Login: "joe", Observe: true}); !v.Allow || !v.Observed || v.Sudo != "joe" {
		t.Errorf("observed: %+v", v)
	}
	if v := s.Decide(policy.Query{Call: sentence(t, "read Shot.code"), Observe: true}); v.Allow {
		t.Errorf("observed without a login: %+v", v)
	}
}

// TestObserveKeepsWhatNeedsNaming: such calls are refused in every mode.
func TestObserveKeepsWhatNeedsNaming(t *testing.T) {
	s := studio(t, []string{"- {read: \"*\", update: \"*\", create: \"*\", delete: \"*\", link: \"*\", upload: \"*\", schema: \"*\", follow: \"*\"}"}, []string{"- update: [HumanUser, Task]"})
	for words, let := range map[string]bool{
		"schedule": false, "preferences_read " + `{"prefs":[]}`: true, "work_schedule_read {}": true, "update Task.content": true, "revive Shot": true,
		"update HumanUser.name": false, "update HumanUser.login": false, "create ApiUser.firstname": false, "delete PermissionRuleSet": false, "read EventLogEntry.meta": false,
		"create Shot.created_by=HumanUser": false, `schema_field_delete {"type":"Shot","field_name":"x"}`: false, `schema_field_create {"type":"Shot","data_type":"text","properties":[]}`: false,
		`export_page {"format":"csv","page_id":900,"layout_name":null}`: false, "user_subscriptions_read": false, "work_schedule_update {}": false,
		`read {"type":"Shot","additional_filter_presets":[{"preset_name":"LATEST"}]}`: false, "read ApiUser.salted_password": false, "delete EventLogEntry": false,
	} {
		if words == "schedule" {
			continue
		}
		v := s.Decide(policy.Query{Call: sentence(t, words), Observe: true})
		if v.Allow != let || v.Observed != let || v.Reason == "" {
			t.Errorf("%s: %+v", words, v)
		}
	}
	decided(t, false, s, &flow.Call{Kind: flow.KindDownload, Method: "download", Group: flow.GroupDownload}, download("images"), rest("preferences_update"), rest("webhook_read"))
	for _, c := range []*flow.Call{download("images"), rest("preferences_update"), rest("webhook_read"), {}, {Method: "batch", Group: flow.GroupBatch}, {Kind: flow.KindDownload, Method: "download", Group: flow.GroupDownload}} {
		if v := s.Decide(policy.Query{Call: c, Observe: true}); v.Allow {
			t.Errorf("%s: %+v", c.Method, v)
		}
	}
	user := *sentence(t, "read Shot.code")
	user.UserAuth = true
	sudo := *sentence(t, "read Shot.code")
	sudo.SudoAsLogin = "anna"
	for _, c := range []*flow.Call{&user, &sudo} {
		if v := s.Decide(policy.Query{Call: c, Observe: true}); v.Allow {
			t.Errorf("%+v", v)
		}
	}
	if v := s.Decide(policy.Query{Call: batchOf(sentence(t, "update Task.content"), sentence(t, "delete HumanUser")), Observe: true}); v.Allow {
		t.Errorf("%+v", v)
	}
}

// TestDangerousCallsAreNamed: no broad rule covers them (issue 4, part 1).
func TestDangerousCallsAreNamed(t *testing.T) {
	broad := studio(t, []string{
		"- {read: \"*\", update: \"*\", create: \"*\", delete: \"*\", revive: \"*\", link: \"*\", upload: \"*\", download: \"*\", schema: \"*\", follow: \"*\", schema_field_create: \"*\", schema_field_update: \"*\"}",
		"- preferences", "- schedule", "- activity_stream",
	}, nil)
	calls := []*flow.Call{rest("preferences_update"), sentence(t, `schema_field_delete {"type":"Shot","field_name":"x"}`), sentence(t, `schema_field_update {"type":"HumanUser","field_name":"x","properties":[]}`)}
	for _, typ := range []string{"ApiUser", "HumanUser", "PermissionRuleSet", "HUMANUSER", "HumanUser_projects_Connection", "ClientUser", "ActionMenuItem", "EventLogEntry"} {
		for _, verb := range []string{"create", "update", "delete", "revive"} {
			calls = append(calls, sentence(t, verb+" "+typ))
		}
	}
	decided(t, false, broad, calls...)
	decided(t, true, studio(t, []string{"- schema_field_delete: Shot", "- update: ApiUser"}, nil), sentence(t, `schema_field_delete {"type":"Shot","field_name":"x"}`), sentence(t, "update ApiUser.email"))
	decided(t, false, studio(t, []string{"- schema_field_delete: Shot"}, nil), sentence(t, `schema_field_delete {"type":"Task","field_name":"x"}`))
}

// TestShares: answers are shared only where every rule of the call says so.
func TestShares(t *testing.T) {
	rules := []string{
		"- {read: Shot, cache: 30s}", "- {read: Task, cache: 5s}", "- {read: Version, coalesce: true}", "- read: Asset", "- {schema: \"*\", preferences: , cache: 60s}",
		"- {read: Note, cache: 9s, projects: {ids: [1], lookup: cached, filter: add}}", "- {update: Shot, link: \"*\"}",
	}
	rules[4] = "- {schema: \"*\", cache: 60s}"
	s := studio(t, rules, nil)
	note := flow.Record{Type: "Note", ID: 1}
	for _, tt := range []struct {
		c    *flow.Call
		want policy.Share
	}{
		{sentence(t, "read Shot.code"), policy.Share{Coalesce: true, Seconds: 30}},
		{sentence(t, "read Shot.code,entity.Task.content"), policy.Share{Coalesce: true, Seconds: 5}},
		{sentence(t, "read Shot.code,entity.Version.code"), policy.Share{Coalesce: true}},
		{sentence(t, "read Shot.code,entity.Asset.code"), policy.Share{}},
		{sentence(t, "read Asset.code,entity.Shot.code"), policy.Share{}},
		{sentence(t, "schema_read"), policy.Share{Coalesce: true, Seconds: 60}},
		{sentence(t, "read Note.subject"), policy.Share{Coalesce: true, Seconds: 9}}, // with the filter, which is a part of the call
		{of(sentence(t, "read Note.subject"), note), policy.Share{}},
		{sentence(t, "update Shot.code"), policy.Share{}},
		{sentence(t, "info"), policy.Share{}},
	} {
		if v := s.Decide(policy.Query{Call: tt.c}); !v.Allow || v.Share != tt.want {
			t.Errorf("%s %v: %+v", tt.c.Method, tt.c.Touches, v)
		}
	}
	if v := s.Decide(policy.Query{Call: sentence(t, "read Note.subject"), Observe: true}); v.Share != (policy.Share{}) || !v.Observed {
		t.Errorf("%+v", v)
	}
	if v := s.Decide(policy.Query{Call: sentence(t, "read Shot.code"), Observe: true}); v.Share.Seconds != 30 || v.Observed {
		t.Errorf("%+v", v)
	}
}

// TestNeeds: what a call asks for, as rules say it, and the rules that give it.
func TestNeeds(t *testing.T) {
	s := policy.Compile(policy.Script{})
	got := s.Needs(batchOf(sentence(t, "create Version.code,entity=Shot returning id,entity.Shot.code"), sentence(t, "create Version.code"), sentence(t, "delete Task")))
	want := []policy.Need{
		{Verb: "create", Type: "Version"},
		{Verb: "create", Type: "Version", Field: "code"},
		{Verb: "create", Type: "Version", Field: "entity"},
		{Verb: "link", Type: "Shot"},
		{Verb: "read", Type: "Version", Field: "entity"},
		{Verb: "read", Type: "Shot", Field: "code"},
		{Verb: "delete", Type: "Task"},
	}
	slices.SortFunc(got, func(a, b policy.Need) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	slices.SortFunc(want, func(a, b policy.Need) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	if !slices.Equal(got, want) {
		t.Errorf("\ngot  %v\nwant %v", got, want)
	}
	if text := policy.Suggest(want); text != "- {create: {Version: [code, entity]}, delete: Task, read: {Shot: code, Version: entity}}" {
		t.Error(text)
	}
	for _, c := range []*flow.Call{sentence(t, "info"), {}} {
		if n := s.Needs(c); n != nil {
			t.Errorf("%s: %v", c.Method, n)
		}
	}
	if text := policy.Suggest([]policy.Need{{Verb: "export_page"}, {Verb: "upload"}, {Verb: "upload", Type: "Version", Field: "image"}, {Verb: "work_schedule_update"}, {Verb: "work_schedule_update", Type: "studio"}, {Verb: "read", Type: "Shot", Field: "code"}}); text !=
		"- export_page\n- {upload: Version.image, work_schedule_update: studio, read: Shot.code}\n- work_schedule_update" {
		t.Error(text)
	}
	if policy.Suggest(nil) != "" {
		t.Error("nothing needs a rule")
	}
	for n, want := range map[policy.Need]bool{
		{Verb: "read", Type: "Shot", Field: "code"}: false, {Verb: "update", Type: "HumanUser", Field: "name"}: true, {Verb: "update", Type: "Shot", Field: "created_by"}: true,
		{Verb: "presets", Type: "LATEST"}: true, {Verb: "export_page"}: true, {Verb: "preferences"}: false, {Verb: "schema_field_delete", Type: "Shot"}: true, {Verb: "download", Type: "files"}: true, {}: true,
	} {
		if n.NeedsNaming() != want {
			t.Errorf("%v: %v", n, !want)
		}
	}
}

// TestOptionsThatMeanNothing: they are problems, in allow and in deny lists.
func TestOptionsThatMeanNothing(t *testing.T) {
	shot := []policy.Target{{Type: "Shot"}}
	when, err := policy.NewCondition("call.parts == 1")
	if err != nil {
		t.Fatal(err)
	}
	ids := &policy.Projects{IDs: []int64{1}}
	many := &policy.Projects{}
	for i := range policy.MaxProjects + 1 {
		many.IDs = append(many.IDs, int64(i+1))
	}
	for _, tt := range []struct {
		r           policy.Rule
		allow, deny string // a word of the problem, "" for none
	}{
		{policy.Rule{Verb: "read", Targets: shot, Projects: ids, When: when}, "", ""},
		{policy.Rule{Verb: "read", Targets: shot, Projects: &policy.Projects{IDs: []int64{1}, AddFilter: true, Lookup: true}, MaxRows: 5, MaxBatch: 5, Share: policy.Share{Seconds: 5}}, "", "ids alone"},
		{policy.Rule{Verb: "read", Targets: shot, MaxRows: 5}, "", "max_rows"},
		{policy.Rule{Verb: "read", Targets: shot, Share: policy.Share{Coalesce: true}}, "", "coalesce"},
		{policy.Rule{Verb: "update", Targets: shot, MaxRows: 5}, "max_rows", "max_rows"},
		{policy.Rule{Verb: "update", Targets: shot, Share: policy.Share{Seconds: 5}}, "cache", "cache"},
		{policy.Rule{Verb: "upload", Targets: shot, MaxBatch: 5}, "max_batch", "max_batch"},
		{policy.Rule{Verb: "schema", Targets: shot, Projects: ids}, "projects mean nothing", "projects mean nothing"},
		{policy.Rule{Verb: "export_page", Projects: ids}, "projects mean nothing", "projects mean nothing"},
		{policy.Rule{Verb: "read", Targets: shot, Projects: &policy.Projects{}}, "no project", "no project"},
		{policy.Rule{Verb: "read", Targets: shot, Projects: &policy.Projects{IDs: []int64{0}}}, "no project's id", "no project's id"},
		{policy.Rule{Verb: "read", Targets: shot, Projects: &policy.Projects{IDs: []int64{3, 3}}}, "twice", "twice"},
		{policy.Rule{Verb: "read", Targets: shot, Projects: many}, "more than 255", "more than 255"},
		{policy.Rule{Verb: "read", Targets: []policy.Target{{Type: "EventLogEntry"}}, Projects: ids}, "ignores filters", "ignores filters"},
		{policy.Rule{Verb: "download", Targets: []policy.Target{{Type: "images"}}, Projects: ids}, "no project", "no project"},
		{policy.Rule{Verb: "schema_field_delete", Targets: []policy.Target{{Type: "*"}}}, "named", ""},
		{policy.Rule{Verb: "read", Targets: []policy.Target{{Type: "Shot", Fields: []string{"id"}}}}, "", "by itself"},
		{policy.Rule{Verb: "reed", Targets: shot, MaxRows: 1}, "unknown rule", "unknown rule"},
	} {
		for want, ps := range map[string][]policy.Problem{"allow " + tt.allow: tt.r.Problems(), "deny " + tt.deny: tt.r.DenyProblems()} {
			_, word, _ := strings.Cut(want, " ")
			if word == "" && len(ps) > 0 || word != "" && (len(ps) == 0 || !slices.ContainsFunc(ps, func(p policy.Problem) bool { return strings.Contains(p.Msg, word) })) {
				t.Errorf("%+v: %s: %+v", tt.r, want, ps)
			}
		}
	}
	s := policy.Script{}
	for range policy.MaxConditions + 1 {
		s.Rules = append(s.Rules, policy.Rule{Verb: "read", Targets: shot, When: when})
	}
	s.Deny = []policy.Rule{{Verb: "read", Targets: shot, Projects: many}}
	if ps := s.Problems(); len(ps) != 2 || ps[0].Target != -1 {
		t.Errorf("%+v", ps)
	}
	s.Rules, s.Deny = s.Rules[1:], nil
	if ps := s.Problems(); len(ps) != 0 {
		t.Errorf("%+v", ps)
	}
}

// TestBoundsHoldOnTheSafeSide: beyond them an allow rule gives less, and a deny
// rule takes more.
func TestBoundsHoldOnTheSafeSide(t *testing.T) {
	when, err := policy.NewCondition("call.parts == 1")
	if err != nil {
		t.Fatal(err)
	}
	shot := []policy.Target{{Type: "Shot"}}
	var ids []int64
	for i := range policy.MaxProjects {
		ids = append(ids, int64(i+1))
	}
	rule := func(p ...int64) policy.Rule {
		return policy.Rule{Verb: "read", Targets: shot, Projects: &policy.Projects{IDs: p}}
	}
	read := func(p int64) *flow.Call { return in(sentence(t, "read Shot.code"), p) }
	s := policy.Compile(policy.Script{Rules: []policy.Rule{rule(ids...), rule(1000)}})
	decided(t, true, s, read(1), read(policy.MaxProjects))
	decided(t, false, s, read(1000), read(1001))
	s = policy.Compile(policy.Script{Rules: []policy.Rule{{Verb: "read", Targets: shot}}, Deny: []policy.Rule{rule(append(ids, 1000)...)}})
	decided(t, false, s, read(1), read(1000), read(1001))

	raw := policy.Script{Rules: []policy.Rule{{Verb: "read", Targets: shot}}}
	for range policy.MaxConditions {
		raw.Rules = append(raw.Rules, policy.Rule{Verb: "update", Targets: shot, When: when})
	}
	raw.Rules = append(raw.Rules, policy.Rule{Verb: "delete", Targets: shot, When: when})
	decided(t, true, policy.Compile(raw), read(1), sentence(t, "update Shot.code"))
	decided(t, false, policy.Compile(raw), sentence(t, "delete Shot"))
	never, err := policy.NewCondition("call.parts == 0")
	if err != nil {
		t.Fatal(err)
	}
	for range policy.MaxConditions {
		raw.Deny = append(raw.Deny, policy.Rule{Verb: "update", Targets: shot, When: never})
	}
	decided(t, true, policy.Compile(raw), read(1))
	raw.Deny = append(raw.Deny, policy.Rule{Verb: "read", Targets: shot, When: never})
	decided(t, false, policy.Compile(raw), read(1))
}

// TestACallThatAsksForNothingIsRefused: there is no rule for it, in any mode.
func TestACallThatAsksForNothingIsRefused(t *testing.T) {
	s := studio(t, []string{"- {read: \"*\", update: \"*\"}"}, nil)
	c := &flow.Call{Method: "read", Group: flow.GroupRead, Type: "Shot", Touches: []flow.Touch{{Type: "Shot", Field: "code", Use: flow.UseWrite}}}
	for _, call := range []*flow.Call{c, batchOf(sentence(t, "update Shot.code"), c)} {
		for _, observe := range []bool{false, true} {
			if v := s.Decide(policy.Query{Call: call, Observe: observe}); v.Allow || v.Reason != policy.NoRule || v.Suggest != "" {
				t.Errorf("%+v", v)
			}
		}
	}
}

// TestAPartTakesNoFilter: it can't be added to a read in a batch.
func TestAPartTakesNoFilter(t *testing.T) {
	s := studio(t, []string{"- {read: Shot, projects: {ids: [1], filter: add}}"}, nil)
	read := sentence(t, "read Shot.code")
	if v := s.Decide(policy.Query{Call: read}); !v.Allow || len(v.Filter) != 1 {
		t.Errorf("%+v", v)
	}
	if v := s.Decide(policy.Query{Call: batchOf(read)}); v.Allow || v.Filter != nil || v.Reason != policy.Project {
		t.Errorf("%+v", v)
	}
}
