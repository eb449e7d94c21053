package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"stagedoor/flow"
	"stagedoor/policy"
)

// onlyWhere is a script that may read and update where a condition holds.
func onlyWhere(tb testing.TB, text string) *policy.Script {
	tb.Helper()
	c, err := policy.NewCondition(text)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	var s policy.Script
	s.Name = "tool"
	for _, verb := range []string{"read", "update", "link"} {
		s.Rules = append(s.Rules, policy.Rule{Verb: verb, Targets: []policy.Target{{Type: "*"}}, When: c, File: "f", Line: 3})
	}
	return policy.Compile(s)
}

// TestConditionsSeeTheCall: each variable, by a condition that holds for one call
// and not for another.
func TestConditionsSeeTheCall(t *testing.T) {
	read := sentence(t, "read Shot.code,entity.Asset.code where sg_a")
	read.Kind, read.Hops, read.Projects, read.PageSize, read.SudoAsLogin, read.ScriptName = flow.KindRPC, 1, []int64{7, 8}, 50, "", "publisher"
	update := sentence(t, "update Version.sg_status_list")
	update.Kind = flow.KindREST
	for text, want := range map[string]struct{ read, update bool }{
		`call.method == "read"`:                                    {true, false},
		`call.group == "update"`:                                   {false, true},
		`call.kind == "rest"`:                                      {false, true},
		`call.type == "Shot"`:                                      {true, false},
		`call.writes`:                                              {false, true},
		`!call.writes`:                                             {true, false},
		`"Asset" in call.types`:                                    {true, false},
		`call.types == ["Version"]`:                                {false, true},
		`call.fields.exists(f, f == "Shot.code")`:                  {true, false},
		`call.fields.all(f, f.startsWith("Version."))`:             {false, true},
		`"Version.sg_status_list" in call.written`:                 {false, true},
		`call.filtered == ["Shot.sg_a"]`:                           {true, false},
		`size(call.projects) > 0 && call.projects.all(p, p < 9)`:   {true, false},
		`7 in call.projects`:                                       {true, false},
		`call.page_size <= 100 && call.page_size > 0`:              {true, false},
		`call.parts == 1`:                                          {true, true},
		`call.hops > 0`:                                            {true, false},
		`call.sudo_as_login == ""`:                                 {true, true},
		`call.script_name == "publisher"`:                          {true, false},
		`script == "tool"`:                                         {true, true},
		`call.method.matches("^re.d$")`:                            {true, false},
		`call.projects[1] == 8`:                                    {true, false}, // none is no answer, so it does not hold
		`call.fields.exists_one(f, f == "Version.sg_status_list")`: {false, true},
		`call.fields.filter(f, f.endsWith(".code")).size() == 2`:   {true, false},
		`call.page_size / (call.writes ? 0 : 1) >= 0`:              {true, false},
	} {
		s := onlyWhere(t, text)
		for c, want := range map[*flow.Call]bool{read: want.read, update: want.update} {
			v := s.Decide(policy.Query{Call: c})
			if v.Allow != want || !want && v.Reason != policy.Unmet {
				t.Errorf("%s: %s: %+v", text, c.Method, v)
			}
		}
	}
	for _, name := range policy.Variables() {
		if _, err := policy.NewCondition(name + " == " + name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestConditionsOfABatch: they are asked for each part, and see how many there
// are.
func TestConditionsOfABatch(t *testing.T) {
	s := onlyWhere(t, `call.type == "Shot" && call.parts < 3`)
	shot, task := sentence(t, "update Shot.code"), sentence(t, "update Task.content")
	decided(t, true, s, shot, batchOf(shot, shot))
	decided(t, false, s, task, batchOf(shot, task), batchOf(shot, shot, shot))
}

// TestWhatCannotBeToldIsRefused: an allow rule does not give it, and a deny rule
// takes it.
func TestWhatCannotBeToldIsRefused(t *testing.T) {
	many := sentence(t, "read Shot.code")
	for i := range 300 {
		many.Touches = append(many.Touches, flow.Touch{Type: "Shot", Field: fmt.Sprintf("f%d", i), Use: flow.UseReturn})
	}
	long := sentence(t, "read Shot.code")
	long.ScriptName = strings.Repeat("x", 1000)
	for text, c := range map[string]*flow.Call{
		`call.fields.exists(f, f == "Shot.code")`: many,
		`call.script_name != ""`:                  long,
		`call.projects[3] == 1`:                   sentence(t, "read Shot.code"),
		`1 / (call.page_size - 500) == 0`:         sentence(t, "read Shot.code"),
	} {
		s := onlyWhere(t, text)
		if v := s.Decide(policy.Query{Call: c}); v.Allow || v.Reason != policy.Unmet {
			t.Errorf("%s allows: %+v", text, v)
		}
		raw := policy.Script{Rules: []policy.Rule{{Verb: "read", Targets: []policy.Target{{Type: "Shot"}}, File: "f", Line: 1}}, Deny: s.Rules}
		if v := policy.Compile(raw).Decide(policy.Query{Call: c}); v.Allow || v.Reason != policy.Denied || v.Rule != "f:3" {
			t.Errorf("%s does not deny: %+v", text, v)
		}
	}
	decided(t, true, onlyWhere(t, `call.page_size == 500 || call.fields.size() < 3`), many) // nobody has to look at the long list
	if v := policy.Compile(policy.Script{Rules: []policy.Rule{{Verb: "read", Targets: []policy.Target{{Type: "Shot"}}, When: &policy.Condition{}}}}).Decide(policy.Query{Call: sentence(t, "read Shot.code")}); v.Allow {
		t.Error("the zero condition holds")
	}
}

// TestWrongConditionsSayWhy, in one line, and what there is.
func TestWrongConditionsSayWhy(t *testing.T) {
	deep := strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100)
	for text, want := range map[string]string{
		`call.foo == 1`:                          "character 1: there is no call.foo; a condition knows call.method, call.group",
		`call.page_size < 5 && cal.type==1`:      "character 23: there is no cal; a condition knows ",
		`call.method`:                            "gives a string; it has to be true or false",
		`call`:                                   "there is no call; a condition knows",
		`call.method = "read"`:                   "equal is ==",
		`call.method == 1`:                       "character 13: found no matching overload for '_==_' applied to '(string, int)'",
		`call.types.exists(`:                     "character 19: Syntax error: mismatched input '<EOF>'",
		`lower(call.method) == "x"`:              "there is no function lower",
		`call.types.exists(t, t.x())`:            "there is no function x",
		``:                                       "the condition is empty",
		"  \n":                                   "the condition is empty",
		strings.Repeat("true || ", 200) + "true": "characters, 1024 are the most",
		`call.fields.all(f, call.fields.exists(g, g == f))`:                                     "steps for a large call, 50000 are the most",
		`call.fields.map(f, f + f).size() > 0 && call.fields.all(a, call.types.all(b, a != b))`: "steps for a large call",
		deep: "recursion",
	} {
		c, err := policy.NewCondition(text)
		if err == nil || c != nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestNoBatchCostsMoreThanItsBound: a condition that is dear for each of many
// parts is given up, which refuses.
func TestNoBatchCostsMoreThanItsBound(t *testing.T) {
	s := onlyWhere(t, `call.fields.all(f, f.matches("^Shot[.](f[0-9]+|code)$"))`)
	part := sentence(t, "update Shot.code")
	for i := range 200 {
		part.Touches = append(part.Touches, flow.Touch{Type: "Shot", Field: fmt.Sprintf("f%d", i), Use: flow.UseWrite})
	}
	few, lots := &flow.Call{Method: "batch", Group: flow.GroupBatch, Writes: true}, &flow.Call{Method: "batch", Group: flow.GroupBatch, Writes: true}
	for i := range 2000 {
		if i < 10 {
			few.Parts = append(few.Parts, *part)
		}
		lots.Parts = append(lots.Parts, *part)
	}
	decided(t, true, s, few)
	if v := s.Decide(policy.Query{Call: lots}); v.Allow || v.Reason != policy.Unmet {
		t.Errorf("%+v", v)
	}
}

// FuzzCondition: whatever is written, it is an error of one line, or a condition
// that answers the same each time, and of which a deny rule takes at least what
// an allow rule gives.
func FuzzCondition(f *testing.F) {
	for _, s := range conditionSeeds() {
		f.Add(s)
	}
	calls := []*flow.Call{sentence(f, "read Shot.code,entity.Asset.code where sg_a"), sentence(f, "update Version.code,entity=Shot"), {Group: flow.GroupRead}}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := policy.NewCondition(text)
		if err != nil {
			if msg := err.Error(); strings.Contains(msg, "\n") || msg == "" {
				t.Fatalf("%q: %q", text, msg)
			}
			return
		}
		if c.String() != text {
			t.Fatalf("%q became %q", text, c.String())
		}
		s := onlyWhere(t, text)
		open := policy.Compile(policy.Script{Rules: []policy.Rule{
			{Verb: "read", Targets: []policy.Target{{Type: "*"}}}, {Verb: "update", Targets: []policy.Target{{Type: "*"}}}, {Verb: "link", Targets: []policy.Target{{Type: "*"}}},
		}, Deny: s.Rules})
		for _, call := range calls {
			v := s.Decide(policy.Query{Call: call})
			if again := s.Decide(policy.Query{Call: call}); again.Allow != v.Allow {
				t.Fatalf("%q answers %v, then %v", text, v.Allow, again.Allow)
			}
			if o := open.Decide(policy.Query{Call: call}); v.Allow && o.Allow {
				t.Fatalf("%q holds and does not deny", text)
			}
		}
	})
}

func conditionSeeds() []string {
	out := []string{
		"call.page_size <= 100", "call.types.exists(t, t == 'Shot')", "call.foo", "true", "1", "", "call.method = 'x'", "call.fields.map(f, f + 'x').size() > 1",
		"call.method.matches('^a+$')", "call.projects.all(p, p in [1, 2])", "has(call.x)", "{'a': 1}.a == 1", "dyn(call.type) == 1", "timestamp('2020-01-01T00:00:00Z') < timestamp('x')",
		"duration('1h') > duration('1m')", "\x00", "\"\xff\"", "call.type == '''a\nb'''", "b'x' == b'x'", "call.fields.exists(f, call.fields.exists(g, f == g))", "type(script) == string", "0x7fffffffffffffff + 1 > 0", "!call.writes ? true : false",
	}
	return append(out, policy.Variables()...)
}

func TestFuzzConditionHasSeeds(t *testing.T) {
	if n := len(conditionSeeds()); n < 30 {
		t.Errorf("%d seeds", n)
	}
}
