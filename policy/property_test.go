package policy_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"stagedoor/flow"
	"stagedoor/policy"
)

// dice makes scripts and calls from a small vocabulary, so that they meet.
type dice struct {
	*rand.Rand

	conditions []*policy.Condition
}

func newDice(tb testing.TB, seed uint64) *dice {
	tb.Helper()
	d := &dice{Rand: rand.New(rand.NewPCG(seed, 1))}
	texts := make([]string, 0, len(goConditions))
	for text := range goConditions {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	for _, text := range texts {
		c, err := policy.NewCondition(text)
		if err != nil {
			tb.Fatal(err)
		}
		d.conditions = append(d.conditions, c)
	}
	return d
}

func one[T any](d *dice, of ...T) T { return of[d.IntN(len(of))] }

func (d *dice) chance(percent int) bool { return d.IntN(100) < percent }

func (d *dice) ids() (ids []int64) {
	for _, id := range []int64{1, 2, 3} {
		if d.chance(45) {
			ids = append(ids, id)
		}
	}
	if ids == nil { // no file may have it
		return []int64{1}
	}
	return ids
}

func (d *dice) rule(deny bool) policy.Rule {
	r := policy.Rule{
		Verb: one(d, "read", "read", "read", "read", "update", "update", "create", "delete", "upload", "download", "link", "schema",
			"follow", "presets", "preferences", "export_page", "activity_stream", "schema_field_delete", "work_schedule_update"),
		File: "f", Line: 1 + d.IntN(99),
	}
	for range one(d, 0, 1, 1, 1, 2) {
		t := policy.Target{Type: one(d, "Shot", "Shot", "Version", "EventLogEntry", "HumanUser", "CustomEntity01", "Project", "*", "*", "Custom*", "Hum*", "images", "studio", "shot")}
		if d.chance(50) {
			t.Fields = []string{one(d, "code", "sg_x", "login", "created_by", "Code")}
			if d.chance(40) {
				t.Fields = append(t.Fields, one(d, "code", "sg_x", "image"))
			}
		}
		r.Targets = append(r.Targets, t)
	}
	if d.chance(40) {
		r.Projects = &policy.Projects{IDs: d.ids(), AddFilter: !deny && d.chance(40), Lookup: !deny && d.chance(40)}
	}
	if d.chance(15) {
		r.When = one(d, d.conditions...)
	}
	if !deny && d.chance(15) {
		r.MaxRows = one(d, 1, 100, 500)
	}
	if !deny && d.chance(15) {
		r.MaxBatch = one(d, 1, 2, 50)
	}
	return r
}

func (d *dice) script() policy.Script {
	s := policy.Script{Name: "tool", Where: "f:1"}
	for range d.IntN(4) {
		s.Rules = append(s.Rules, d.rule(false))
	}
	// Some that most calls meet, with the same options as in one item of a file.
	for range one(d, 0, 1, 1, 2) {
		r := d.rule(false)
		for _, verb := range []string{"read", "update", "create", "delete", "link", "upload", "download"} {
			if d.chance(15) {
				continue
			}
			r.Verb, r.Targets = verb, []policy.Target{{Type: one(d, "*", "*", "*", "Shot")}}
			if d.chance(50) {
				r.Targets = append(r.Targets, policy.Target{Type: one(d, "HumanUser", "EventLogEntry", "Version"), Fields: one(d, nil, nil, []string{"login", "code"})})
			}
			s.Rules = append(s.Rules, r)
		}
	}
	if d.chance(60) {
		for range 1 + d.IntN(2) {
			s.Deny = append(s.Deny, d.rule(true))
		}
	}
	return s
}

func (d *dice) typ() string {
	return one(d, "Shot", "Shot", "Shot", "Version", "EventLogEntry", "HumanUser", "CustomEntity01", "Project", "shot", "Shot")
}

func (d *dice) call() *flow.Call {
	if d.chance(12) {
		c := &flow.Call{Method: "batch", Group: flow.GroupBatch, Writes: true}
		for range 1 + d.IntN(3) {
			p := d.single(one(d, "update", "update", "create", "create", "delete", "read"))
			c.Parts = append(c.Parts, *p)
		}
		return c
	}
	if d.chance(60) {
		return d.single(one(d, "read", "read", "update", "create"))
	}
	return d.single(one(d, "read", "read", "read", "read", "read", "summarize", "note_thread_contents", "update", "update", "create", "delete",
		"schema_field_read", "schema_read", "follow", "preferences_read", "export_page", "activity_stream", "schema_field_delete",
		"work_schedule_update", "upload_file", "download", "unknown"))
}

func (d *dice) single(method string) *flow.Call {
	info, _ := flow.Method(method)
	c := &flow.Call{Method: method, Group: info.Group, Writes: info.Writes, Type: d.typ()}
	uses := []flow.Use{flow.UseReturn, flow.UseFilter, flow.UseSort}
	switch method {
	case "upload_file":
		c.Group, uses = flow.GroupUpload, []flow.Use{flow.UseUpload, flow.UseUpload, flow.UseReturn}
	case "download":
		c.Group, uses = flow.GroupDownload, []flow.Use{flow.UseDownload}
	case "create", "update":
		uses = []flow.Use{flow.UseWrite, flow.UseWrite, flow.UseLink, flow.UseReturn}
	case "schema_read", "preferences_read", "export_page":
		c.Type, uses = "", nil
	case "schema_field_delete":
		uses, c.Type = nil, one(d, "Shot", "Version", "HumanUser") // the parser takes no other words
	case "schema_field_read", "delete", "follow":
		uses = nil
	case "work_schedule_update":
		c.Type, uses, c.Studio = "", nil, d.chance(50)
	case "read":
		c.PageSize = one(d, 0, 1, 100, 500, 5000)
	}
	if len(uses) > 0 {
		for range one(d, 0, 1, 1, 1, 1, 2, 3) {
			c.Touches = append(c.Touches, d.touch(c.Type, uses))
		}
	}
	if d.chance(3) {
		c.Presets = []string{one(d, "Shot", "Version")}
	}
	d.place(c)
	return c
}

func (d *dice) touch(typ string, uses []flow.Use) flow.Touch {
	if d.chance(20) {
		typ = d.typ()
	}
	return flow.Touch{Type: typ, Field: one(d, "code", "code", "code", "sg_x", "sg_x", "sg_x", "id", "login", "created_by", "*", "CODE", ""), Use: one(d, uses...)}
}

// place says where the call's records lie.
func (d *dice) place(c *flow.Call) {
	if d.chance(50) {
		c.Projects = []int64{one(d, int64(1), 2, 3, 9)}
		if d.chance(30) {
			c.Projects = append(c.Projects, one(d, int64(1), 2, 9))
		}
	}
	if d.chance(4) {
		c.Projects = []int64{}
	}
	if d.chance(40) {
		for range one(d, 1, 1, 1, 2) {
			c.Records = append(c.Records, flow.Record{Type: one(d, "Shot", "Shot", "Project"), ID: one(d, int64(1), 2, 9)})
		}
		if d.chance(50) { // in the path of a read, not in a filter
			c.ID = c.Records[0].ID
		}
	}
	if c.Writes && d.chance(15) {
		c.Into, c.IntoOther = []int64{one(d, int64(1), 2, 9)}, d.chance(20)
	}
	c.Hops = d.IntN(2)
}

// rounds is how many calls a property is tried on.
func rounds(n int) int {
	switch {
	case testing.Short():
		return n / 50
	case raceEnabled: // some ten times as slow, and nothing is shared
		return n / 20
	}
	return n
}

// callsPerScript is how many calls each script of a property decides.
const callsPerScript = 200

// TestCompiledRulesDecideAsTheyAreWritten: a million random calls to random
// scripts get the answer of the slow interpreter.
func TestCompiledRulesDecideAsTheyAreWritten(t *testing.T) {
	for _, seed := range []uint64{4, 40} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			answers := map[string]int{}
			d := newDice(t, seed)
			for range rounds(500_000) / callsPerScript {
				agree(t, d, answers)
			}
			for _, k := range []string{"allow", "filter", "lookup", "no_rule", "denied", "rows", "batch", "condition", "project"} {
				if answers[k] < 500 && rounds(1000) == 1000 {
					t.Errorf("only %d answers are %s: %v", answers[k], k, answers)
				}
			}
		})
	}
}

// agree tries calls on one script.
func agree(t *testing.T, d *dice, answers map[string]int) {
	t.Helper()
	raw := d.script()
	s, x := policy.Compile(raw), slow{s: raw}
	for range callsPerScript {
		c := d.call()
		v, want := s.Decide(policy.Query{Call: c}), x.decide(c)
		answers[sortOf(v)]++
		if msg := differ(v, want); msg != "" {
			t.Fatalf("%s\nrules %+v\ndeny %+v\ncall %+v\ngot %+v\nwant %+v", msg, shownRules(raw.Rules), shownRules(raw.Deny), *c, v, want)
		}
	}
}

func sortOf(v policy.Verdict) string {
	switch {
	case v.Filter != nil:
		return "filter"
	case v.Lookup != nil:
		return "lookup"
	case v.Allow:
		return "allow"
	}
	return string(v.Reason)
}

func differ(v policy.Verdict, want answer) string {
	reason := v.Reason
	if reason == policy.Rows || reason == policy.Batch {
		reason = policy.Unmet
	}
	switch {
	case v.Allow != want.allow:
		return "allow"
	case reason != want.reason:
		return "reason"
	case !slices.Equal(v.Filter, want.filter):
		return "filter"
	case !slices.EqualFunc(v.Lookup, want.lookup, func(a, b policy.Check) bool {
		return a.Record == b.Record && a.Except == b.Except && slices.Equal(a.Projects, b.Projects)
	}):
		return "lookup"
	case v.Allow && v.Rule == "", !v.Allow && (v.What == "" || v.Observed):
		return "words"
	}
	return ""
}

func shownRules(rules []policy.Rule) (out []string) {
	for _, r := range rules {
		s := fmt.Sprintf("%s %v", r.Verb, r.Targets)
		if r.Projects != nil {
			s += fmt.Sprintf(" %+v", *r.Projects)
		}
		if r.When != nil {
			s += " where " + r.When.String()
		}
		out = append(out, fmt.Sprintf("%s rows %d batch %d line %d\n", s, r.MaxRows, r.MaxBatch, r.Line))
	}
	return out
}

// TestMoreRules: an allow rule more never refuses more, a deny rule more never
// allows more, wherever in the list it stands.
func TestMoreRules(t *testing.T) {
	t.Parallel()
	d := newDice(t, 5)
	for range rounds(100_000) / callsPerScript {
		raw := d.script()
		s := policy.Compile(raw)
		wider, narrower := raw, raw
		wider.Rules = slices.Insert(slices.Clone(raw.Rules), d.IntN(len(raw.Rules)+1), d.rule(false))
		narrower.Deny = slices.Insert(slices.Clone(raw.Deny), d.IntN(len(raw.Deny)+1), d.rule(true))
		more, less := policy.Compile(wider), policy.Compile(narrower)
		for range callsPerScript {
			c := d.call()
			v := s.Decide(policy.Query{Call: c})
			if w := more.Decide(policy.Query{Call: c}); v.Allow && !w.Allow {
				t.Fatalf("a rule more refuses\nrules %v\nmore %v\ndeny %v\ncall %+v\nbefore %+v\nafter %+v", shownRules(raw.Rules), shownRules(wider.Rules), shownRules(raw.Deny), *c, v, w)
			}
			if w := less.Decide(policy.Query{Call: c}); !v.Allow && w.Allow {
				t.Fatalf("a deny rule more allows\nrules %v\ndeny %v\nmore %v\ncall %+v\nbefore %+v\nafter %+v", shownRules(raw.Rules), shownRules(raw.Deny), shownRules(narrower.Deny), *c, v, w)
			}
		}
	}
}

// TestAnswersShowWhatMayBeReadWhereTheRecordsLie: of an answer that holds more
// than was asked for, the slow interpreter would give the same fields.
func TestAnswersShowWhatMayBeReadWhereTheRecordsLie(t *testing.T) {
	t.Parallel()
	d := newDice(t, 7)
	seen := map[string]int{}
	for range rounds(200_000) / callsPerScript {
		raw := d.script()
		s, x := policy.Compile(raw), slow{s: raw}
		for range callsPerScript {
			q := policy.Query{Call: d.call(), Observe: d.chance(10)}
			v := s.Decide(q)
			if !v.Allow {
				continue
			}
			r := s.Reader(q)
			for range 4 {
				part := d.IntN(max(1, len(q.Call.Parts)))
				c := q.Call
				if len(c.Parts) > 0 {
					c = &c.Parts[part]
				}
				f := flow.Seen{Record: c.Type, Type: c.Type, Field: one(d, "code", "sg_x", "id", "login", "salted_password"), Part: part}
				if d.chance(20) {
					f.Type = d.typ()
				}
				if d.chance(20) {
					f.Record = d.typ()
				}
				if got, want := r.May(f), x.shows(q, f); got != want {
					t.Fatalf("%v\nrules %v\ndeny %v\ncall %+v\nof %+v\nverdict %+v", got, shownRules(raw.Rules), shownRules(raw.Deny), *q.Call, f, v)
				} else {
					seen[fmt.Sprint(sortOf(v), got)]++
				}
			}
		}
	}
	if len(seen) < 6 {
		t.Errorf("only %v", seen)
	}
}

// TestObserveChangesNothingThatIsSent: whatever is allowed stays so, nothing is
// amended, and what needs naming stays refused.
func TestObserveChangesNothingThatIsSent(t *testing.T) {
	t.Parallel()
	d := newDice(t, 6)
	seen := map[string]int{}
	for range rounds(100_000) / callsPerScript {
		raw := d.script()
		s, x := policy.Compile(raw), slow{s: raw}
		for range callsPerScript {
			c := d.call()
			v, o := s.Decide(policy.Query{Call: c}), s.Decide(policy.Query{Call: c, Observe: true})
			confined := v.Filter != nil || v.Lookup != nil
			unseen := !v.Allow && x.decide(c).unseen
			strict := confined && x.strict(c)
			var bad string
			switch {
			case strict && v.Filter != nil:
				if o.Allow || o.Reason != policy.Project || o.What == "" || o.Rule != v.Rule {
					bad = "what has to be named goes without its filter"
				}
			case strict && !reflect.DeepEqual(v, o):
				bad = "what has to be named goes without a look"
			case strict:
			case o.Filter != nil || o.Lookup != nil:
				bad = "amended"
			case v.Allow && !confined && !reflect.DeepEqual(v, o):
				bad = "not the same"
			case confined && (!o.Allow || !o.Observed || o.Reason != policy.Project || o.What == ""):
				bad = "confined"
			case !v.Allow && o.Allow == unseen:
				bad = "naming"
			case !v.Allow && (o.Reason != v.Reason || o.What != v.What || o.Suggest != v.Suggest || o.Rule != v.Rule || o.Observed != o.Allow):
				bad = "words"
			}
			if bad != "" {
				t.Fatalf("%s\nrules %v\ndeny %v\ncall %+v\nenforced %+v\nobserved %+v", bad, shownRules(raw.Rules), shownRules(raw.Deny), *c, v, o)
			}
			seen[fmt.Sprint(v.Allow, o.Allow, confined, strict)]++
		}
	}
	if len(seen) < 5 || len(seen) < 6 && rounds(1000) == 1000 {
		t.Errorf("only %v", seen)
	}
}
