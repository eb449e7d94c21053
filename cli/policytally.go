package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/policy"
)

// maxShapes is how many different calls a trail may hold. A tool makes some
// tens; what makes a call of its own each time names what it should not.
const maxShapes = 100_000

// What stands in the rule's place in records of calls that no rule decides.
const (
	forwardRule = "user_auth: forward" // a person's own credentials
	relayRule   = "storage: relay"     // a link that the site gave out
	ownCall     = " for "              // "lookup for ID": a call of the proxy itself
)

// maxCallers is how many callers are counted; beyond it, there are many.
const maxCallers = 10_000

// tallied is one kind of call in a trail: of one script, one shape, and one
// decision.
type tallied struct {
	script, shape, sudo string
	was                 string        // wordAllowed, wordObserved or wordRefused
	reason              policy.Reason // of the latter two
	rule                string        // the rule that decided, of the latest

	call  *flow.Call
	cut   bool
	calls int
	first time.Time
	last  time.Time
	days  map[int64]struct{} // since 1970
}

// tally is what a trail holds, call by call.
type tally struct {
	only    string // the script that counts; "" is all
	kinds   map[tallyKey]*tallied
	order   []*tallied // as they were met
	days    map[int64]struct{}
	callers map[string]struct{}
	first   time.Time
	last    time.Time
	calls   int
	// blind counts calls without a shape: older than shapes, or folded together
	// with others.
	blind int
	// strange counts calls whose shape can't be read: of a later version, or of
	// nobody's.
	strange int
	// other counts refusals that no rule decided: limits, keys, what could not
	// be read.
	other int
	torn  int
}

type tallyKey struct {
	script, shape, sudo, was string
	reason                   policy.Reason
}

// tally reads the trail that patterns stand for, or else the configuration's own.
// A trail without a call of the script, or of any where it is "", says nothing.
func (b *rulebook) tally(patterns []string, script string, stdin io.Reader) (*tally, error) {
	paths, err := b.trail(patterns)
	if err != nil {
		return nil, err
	}
	t := &tally{only: script, kinds: map[tallyKey]*tallied{}, days: map[int64]struct{}{}, callers: map[string]struct{}{}}
	r := &trailReader{stdin: stdin}
	if err := r.records(paths, t.add); err != nil {
		return nil, err
	}
	t.torn = r.torn
	if t.calls == 0 {
		of := ""
		if script != "" {
			of = " of " + script
		}
		return nil, fmt.Errorf("no call%s in %s", of, strings.Join(shorten(paths), ", "))
	}
	return t, nil
}

// isRuleReason says whether a refusal was decided by rules.
func isRuleReason(reason string) bool {
	return slices.Contains([]policy.Reason{
		policy.NoRule, policy.Denied, policy.Project, policy.Rows, policy.Batch, policy.Unmet,
		policy.SecretField, policy.UserAuth, policy.Sudo,
	}, policy.Reason(reason))
}

// isAside says whether a record is of a call that no rule has to allow.
func isAside(rule string) bool { return rule == relayRule || strings.Contains(rule, ownCall) }

// add counts one record. Of a call's records the one that says what was asked
// counts; a repeat stands for as many refusals as it says.
func (t *tally) add(l *auditLine) error {
	n := 1
	switch l.Ev {
	case audit.Intent, audit.RefusedCall:
	case audit.Repeat:
		n = l.Count
	case audit.Outcome, audit.Start, audit.Reload, audit.Stop, audit.Probe:
		return nil
	default:
		return nil
	}
	if t.only != "" && l.Script != t.only || n <= 0 || isAside(l.Rule) {
		return nil
	}
	key := tallyKey{script: l.Script, shape: string(l.Shape), sudo: l.SudoAsLogin, was: wordAllowed}
	switch {
	case l.Reason != "" && !isRuleReason(l.Reason), l.Reason == "" && l.Ev != audit.Intent:
		t.other += n
		return nil
	case l.Reason != "":
		key.was, key.reason = wordRefused, policy.Reason(l.Reason)
	case l.Observed != "":
		key.was, key.reason = wordObserved, policy.Reason(l.Observed)
	}
	day := t.note(l, n)
	if len(l.Shape) == 0 {
		t.blind += n
		return nil
	}
	k, err := t.kind(key, l)
	switch {
	case errors.Is(err, errShape):
		t.strange += n
		return nil
	case err != nil:
		return err
	}
	k.calls += n
	k.days[day] = struct{}{}
	if !l.T.Before(k.last) { // files are read in order of their names, not of time
		k.rule = l.Rule
	}
	k.first, k.last = earlier(k.first, l.T), later(k.last, l.T)
	return nil
}

// note counts n calls, whatever they were, and returns their day.
func (t *tally) note(l *auditLine, n int) (day int64) {
	day = l.T.Unix() / int64(24*time.Hour/time.Second)
	t.calls += n
	t.days[day] = struct{}{}
	t.first, t.last = earlier(t.first, l.T), later(t.last, l.T)
	if len(t.callers) < maxCallers {
		t.callers[l.Caller] = struct{}{}
	}
	return day
}

// kind finds a kind of call, or begins it.
func (t *tally) kind(key tallyKey, l *auditLine) (*tallied, error) {
	if k := t.kinds[key]; k != nil {
		return k, nil
	}
	if len(t.kinds) == maxShapes {
		return nil, fmt.Errorf("more than %d different calls; narrow --from", maxShapes)
	}
	c, cut, err := l.call()
	if err != nil {
		return nil, err
	}
	k := &tallied{
		script: key.script, shape: key.shape, sudo: key.sudo, was: key.was, reason: key.reason,
		call: c, cut: cut, days: map[int64]struct{}{},
	}
	t.kinds[key] = k
	t.order = append(t.order, k)
	return k, nil
}

// query is what the call is decided on. Whose login a script acts as that acts as
// its caller is not asked again.
func (k *tallied) query() policy.Query {
	login := k.sudo
	if login == "" {
		login = flow.ShapeLogin
	}
	return policy.Query{Call: k.call, Login: login, UserCheck: k.rule == forwardRule}
}

// words is callWords for as much of the call as is known.
func (k *tallied) words() string {
	if k.cut {
		return strings.TrimSpace(k.call.Method+" "+k.call.Type) + ", cut short"
	}
	return callWords(k.call)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// scripts are those of the trail, in order of their names.
func (t *tally) scripts() []string {
	var out []string
	for _, k := range t.order {
		if !slices.Contains(out, k.script) {
			out = append(out, k.script)
		}
	}
	slices.Sort(out)
	return out
}

// unseen says what the trail could not tell.
func (t *tally) unseen() string {
	var out []string
	if t.blind > 0 {
		out = append(out, many(t.blind, "call")+" without a shape in the record")
	}
	if t.strange > 0 {
		out = append(out, many(t.strange, "call")+" with a shape that this stagedoor can't read")
	}
	if t.other > 0 {
		out = append(out, many(t.other, "call")+" refused for what no rule decides")
	}
	if t.torn > 0 {
		out = append(out, many(t.torn, "torn line"))
	}
	if len(out) == 0 {
		return ""
	}
	return "not looked at: " + strings.Join(out, ", ")
}
