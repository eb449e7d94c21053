package cli

import (
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stagedoor/policy"
)

func (c *commands) policyReplay() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay --from 'PATTERN'",
		Short: "Say what would break of the calls in an audit log",
		Long: `Decide the calls of an audit log by the configuration (--config NEW), and say
what it would refuse that was let through, what it would allow that was refused,
and how many it leaves as they were.

  stagedoor policy replay --from /var/log/stagedoor/audit.jsonl.1 -c new.yaml

Records hold the names in a call, no ids and no values: what depends on projects,
or on a condition over them, can't be told and is counted apart. Exit code 0 is
nothing breaks, 1 something does, 2 trouble.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.replay(&o, cmd.InOrStdin()) },
	}
	cmd.Flags().StringArrayVar(&o.from, "from", nil, "audit logs, a file or a `PATTERN` in quotes, packed or not; may be given again (default: the configuration's own)")
	cmd.Flags().StringVar(&o.script, "script", "", "look at this script's calls alone, by its `NAME`")
	cmd.Flags().BoolVar(&o.json, "json", false, "print the result as JSON")
	return cmd
}

type replayOptions struct {
	from   []string
	script string
	json   bool
}

func (c *commands) replay(o *replayOptions, stdin io.Reader) error {
	b, err := c.rulebook()
	if err != nil {
		return err
	}
	t, err := b.tally(o.from, o.script, stdin)
	if err != nil {
		return cannotStart(err)
	}
	var all []*replayed
	now := time.Now()
	for _, name := range t.scripts() {
		all = append(all, b.replayScript(name, t, now))
	}
	if o.json {
		err = c.printJSON(all)
	} else {
		c.tellReplay(t, all)
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(r *replayed) bool { return r.Breaks > 0 }) {
		return no(nil)
	}
	return nil
}

// replayed is what becomes of one script's calls.
type replayed struct {
	Script string `json:"script"`
	Calls  int    `json:"calls"`
	// Allowed, Refused and Observed are as the policy has it, Unknown what can't
	// be told; they make up Calls.
	Allowed  int `json:"allowed"`
	Refused  int `json:"refused"`
	Observed int `json:"observed"`
	Unknown  int `json:"unknown"`
	// Breaks are calls that were let through and would be refused, Opens the
	// other way round.
	Breaks int       `json:"breaks"`
	Opens  int       `json:"opens"`
	Lines  []outcome `json:"changes"`
}

// outcome is what becomes of calls that ask for the same.
type outcome struct {
	What  string `json:"what"` // breaks, opens, unknown
	Calls int    `json:"calls"`
	Call  string `json:"call"`
	Why   string `json:"why,omitempty"`
}

// replayScript decides a script's calls again.
func (b *rulebook) replayScript(name string, t *tally, now time.Time) *replayed {
	out := &replayed{Script: name, Lines: []outcome{}}
	s := b.scripts[name]
	for _, k := range t.order {
		if k.script != name {
			continue
		}
		out.Calls += k.calls
		r := ruling{word: wordRefused, Verdict: policy.Verdict{What: "do anything", Reason: "no such script"}}
		if s != nil {
			r = s.decideRecord(k.query(), k.cut, now)
		}
		out.count(k, &r)
	}
	slices.SortStableFunc(out.Lines, func(a, b outcome) int { return b.Calls - a.Calls })
	return out
}

func (o *replayed) count(k *tallied, r *ruling) {
	through := k.was != wordRefused
	line := outcome{Calls: k.calls, Call: k.words()}
	switch r.word {
	case wordAllowed:
		o.Allowed += k.calls
	case wordObserved:
		o.Observed += k.calls
	case wordDepends:
		o.Unknown += k.calls
		line.What, line.Why = wordUnknown, r.depends
	default:
		o.Refused += k.calls
	}
	switch {
	case through && r.word == wordRefused:
		o.Breaks += k.calls
		line.What, line.Why = "breaks", string(r.Reason)+": may not "+r.What
		if r.Suggest != "" {
			line.Why += "; would do: " + strings.ReplaceAll(r.Suggest, "\n", " ")
		}
	case !through && (r.word == wordAllowed || r.word == wordObserved):
		o.Opens += k.calls
		line.What, line.Why = "opens", r.Rule
	}
	if line.What != "" {
		o.Lines = append(o.Lines, line)
	}
}

// maxOutcomes is how many lines tell of one script.
const maxOutcomes = 50

func (c *commands) tellReplay(t *tally, all []*replayed) {
	width, same := 0, 0
	for _, r := range all {
		width = max(width, len(r.Script))
	}
	for _, r := range all {
		if len(r.Lines) == 0 && r.Observed == 0 && len(all) > 1 {
			same++
			continue
		}
		c.printf("%-*s  %s: %s\n", width, r.Script, many(r.Calls, "call"), r.words())
		c.tellOutcomes(r)
	}
	switch {
	case same == len(all):
		c.printf("%s of %s: unchanged\n", many(t.calls-t.blind-t.strange, "call"), many(len(all), "script"))
	case same > 0:
		c.printf("all others: unchanged\n")
	}
	if u := t.unseen(); u != "" {
		c.printf("%s\n", u)
	}
}

// tellOutcomes tells of each kind of call that breaks or opens, and of those that
// can't be told once for each reason.
func (c *commands) tellOutcomes(r *replayed) {
	told, more := 0, 0
	var whys []string
	unknown := map[string][]outcome{}
	for _, l := range r.Lines {
		switch {
		case l.What == wordUnknown:
			if unknown[l.Why] == nil {
				whys = append(whys, l.Why)
			}
			unknown[l.Why] = append(unknown[l.Why], l)
			continue
		case told == maxOutcomes:
			more++
			continue
		}
		told++
		c.printf("  %-8s %s  %s\n           %s\n", l.What, many(l.Calls, "call"), strings.ReplaceAll(l.Call, "\n", "\n           "), l.Why)
	}
	if more > 0 {
		c.printf("  and %s\n", many(more, "other"))
	}
	for _, why := range whys {
		n := 0
		for _, l := range unknown[why] {
			n += l.Calls
		}
		c.printf("  %-8s %s  %s", wordUnknown, many(n, "call"), firstLine(unknown[why][0].Call))
		if others := len(unknown[why]) - 1; others > 0 {
			c.printf(", and %s of call", many(others, "other kind"))
		}
		c.printf("\n           %s\n", why)
	}
}

// wordUnknown is what becomes of a call of which too little is recorded.
const wordUnknown = "unknown"

// words is "2 947 allowed, 12 refused".
func (o *replayed) words() string {
	var out []string
	for _, w := range []struct {
		n    int
		word string
	}{
		{o.Allowed, "allowed"},
		{o.Observed, "observed"},
		{o.Refused, "refused"},
		{o.Unknown, "can't be told"},
	} {
		if w.n > 0 {
			out = append(out, thousands(w.n)+" "+w.word)
		}
	}
	if o.Breaks > 0 {
		out = append(out, thousands(o.Breaks)+" of these break")
	}
	return strings.Join(out, ", ")
}
