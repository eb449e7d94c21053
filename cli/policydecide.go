package cli

import (
	"fmt"
	"strings"
	"time"

	"stagedoor/policy"
)

// What becomes of a call, in one word.
const (
	wordAllowed  = "allowed"
	wordRefused  = "refused"
	wordObserved = "observed" // let through only because the script is observed
	wordDepends  = "depends"  // on what is not in the call, or not in its record
)

// ruling is a decision and what these commands say of it.
type ruling struct {
	word string
	policy.Verdict
	// depends says on what, where word is wordDepends.
	depends string
}

// decide rules on a call that is known whole.
func (s *bookScript) decide(q policy.Query, now time.Time) ruling {
	q.Observe = s.observed(now)
	v := s.policy.Decide(q)
	r := ruling{word: wordOf(&v), Verdict: v}
	if v.Allow && len(v.Lookup) > 0 {
		r.word, r.depends = wordDepends, lookupWords(v.Lookup)
	}
	return r
}

func wordOf(v *policy.Verdict) string {
	switch {
	case v.Allow && v.Observed:
		return wordObserved
	case v.Allow:
		return wordAllowed
	}
	return wordRefused
}

func lookupWords(checks []policy.Check) string {
	out := make([]string, len(checks))
	for i, c := range checks {
		where := "in project"
		if c.Except {
			where = "outside project"
		}
		out[i] = fmt.Sprintf("%s %d has to lie %s %s, which is looked up when the call comes", c.Record.Type, c.Record.ID, where, idsText(c.Projects))
	}
	return strings.Join(out, "; ")
}

// doubles are a script's policy as it is if all holds that an audit record does
// not tell, and if nothing of it does. Where both say the same, the record tells
// enough.
type doubles struct{ hopeful, fearful *policy.Script }

func doublesOf(s *policy.Script) *doubles {
	hopeful, fearful := *s, *s
	hopeful.Rules, fearful.Rules = nil, nil
	hopeful.Deny, fearful.Deny = nil, nil
	for _, r := range s.Rules {
		free, untold := untie(r)
		hopeful.Rules = append(hopeful.Rules, free)
		if !untold {
			fearful.Rules = append(fearful.Rules, free)
		}
	}
	for _, r := range s.Deny {
		free, untold := untie(r)
		fearful.Deny = append(fearful.Deny, free)
		if !untold {
			hopeful.Deny = append(hopeful.Deny, free)
		}
	}
	return &doubles{policy.Compile(hopeful), policy.Compile(fearful)}
}

// doubles are made once.
func (s *bookScript) doubles() *doubles {
	if s.both == nil {
		s.both = doublesOf(s.policy)
	}
	return s.both
}

// untie takes what a record does not tell out of a rule.
func untie(r policy.Rule) (free policy.Rule, untold bool) {
	if r.Projects != nil {
		r.Projects, untold = nil, true
	}
	if r.When != nil && !told(r.When.String()) {
		r.When, untold = nil, true
	}
	return r, untold
}

// told says whether a condition asks only for what a shape holds: names and
// numbers of them, no ids and nobody's name.
func told(condition string) bool {
	for _, word := range []string{"projects", "script_name", "kind"} {
		if strings.Contains(condition, word) {
			return false
		}
	}
	return true
}

// decideRecord rules on a call of which there is a record. What the record does
// not hold is not guessed.
func (s *bookScript) decideRecord(q policy.Query, cut bool, now time.Time) ruling {
	d := s.doubles()
	q.Observe = s.observed(now)
	hope, fear := d.hopeful.Decide(q), d.fearful.Decide(q)
	r := ruling{word: wordOf(&fear), Verdict: fear}
	switch {
	case cut:
		r.word, r.depends = wordDepends, "the call was too long for its record, which does not hold all that it reaches"
	case wordOf(&hope) != wordOf(&fear):
		r.word, r.Verdict, r.depends = wordDepends, hope, "projects or a condition, of which records hold nothing"
	}
	return r
}
