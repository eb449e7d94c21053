package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stagedoor/flow"
	"stagedoor/policy"
)

// What is too rare to be learnt. A rule outlives the day on which somebody tried
// something out.
const (
	// defaultMinCalls is how often something has to be needed.
	defaultMinCalls = 3
	// minTrailDays is from how many days on a trail can tell what happens again
	// from what happened on one day.
	minTrailDays = 3
	// minDeletes and minDeleteDays are the same for deletes.
	minDeletes    = 10
	minDeleteDays = 3
)

func (c *commands) policyLearn() *cobra.Command {
	var o learnOptions
	cmd := &cobra.Command{
		Use:   "learn SCRIPT --from 'PATTERN'",
		Short: "Find the least rules that cover what a script did",
		Long: `Read the audit log of a script that is in observe mode, and print the least
rules that allow what it did on top of those that it has, ready to paste: types
and fields, never ids. What was needed rarely, deletes above all, and what has to
be named is left out, with the reason; so are calls that need something of that.

  stagedoor policy learn ev-rollup --from '/var/log/stagedoor/audit.jsonl*'
  stagedoor policy learn ev-rollup --from ... --write stagedoor.yaml

--write puts the rules into the file, behind those that the script has. Nothing
else in the file changes, comments included.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.script = args[0]
			return c.learn(&o, cmd.InOrStdin())
		},
	}
	cmd.Flags().StringArrayVar(&o.from, "from", nil, "audit logs, a file or a `PATTERN` in quotes, packed or not; may be given again (default: the configuration's own)")
	cmd.Flags().StringVar(&o.write, "write", "", "put the rules into this configuration `FILE`")
	cmd.Flags().IntVar(&o.minCalls, "min-calls", defaultMinCalls, "how many `CALLS` have to need something")
	return cmd
}

type learnOptions struct {
	script   string
	from     []string
	write    string
	minCalls int
}

func (c *commands) learn(o *learnOptions, stdin io.Reader) error {
	if o.write != "" && c.config == "" {
		c.config = o.write // the rules are learnt on top of those of that file
	}
	b, err := c.rulebook()
	if err != nil {
		return err
	}
	s, err := b.script(o.script, "")
	if err != nil {
		return err
	}
	t, err := b.tally(o.from, s.Name, stdin)
	if err != nil {
		return cannotStart(err)
	}
	l := newLesson(s, t, o.minCalls)
	c.printf("%s", l.text())
	if o.write == "" || len(l.rules) == 0 {
		return nil
	}
	if err := l.writeTo(o.write); err != nil {
		return no(err)
	}
	c.printf("# written to %s\n", o.write)
	return nil
}

// needed is how often something was needed that the script has no rule for.
type needed struct {
	policy.Need
	calls       int
	days        map[int64]struct{}
	first, last time.Time
	why         string // it is left out
}

// lesson is what a trail teaches of one script.
type lesson struct {
	s        *bookScript
	t        *tally
	minCalls int
	needs    []*needed
	byNeed   map[policy.Need]*needed
	learned  []*tallied // the calls that the rules are for
	rules    []policy.Rule
	counts   map[string]int // calls by verb
	refused  map[string]int // of these, those that were refused
	left     []string       // what is left out, and why
}

func newLesson(s *bookScript, t *tally, minCalls int) *lesson {
	l := &lesson{s: s, t: t, minCalls: minCalls, byNeed: map[policy.Need]*needed{}, counts: map[string]int{}, refused: map[string]int{}}
	given := map[policy.Need]bool{}
	lacks := make([][]*needed, len(t.order))
	for i, k := range t.order {
		if why := unlearnable(s, k); why != "" {
			l.leave(k, why)
			continue
		}
		if s.has(k) {
			continue
		}
		for _, n := range s.policy.Needs(k.call) {
			if _, ok := given[n]; !ok {
				given[n] = gives(s.Allow, n)
			}
			if !given[n] {
				lacks[i] = append(lacks[i], l.note(n, k))
			}
		}
		switch q := k.query(); {
		case len(lacks[i]) > 0:
		case s.doubles().hopeful.Decide(q).Allow:
			l.leave(k, "its rules give it, but not in every project or on every condition")
		default:
			l.leave(k, "no rule more would allow it: see policy replay")
		}
	}
	for _, n := range l.needs {
		n.why = l.leftOut(n)
	}
	l.leavePlaceless()
	l.choose(lacks)
	return l
}

// has says whether the script's rules allow a kind of call as they are: whatever
// it does not tell, or as they did when it came.
func (s *bookScript) has(k *tallied) bool {
	q := k.query()
	return s.doubles().fearful.Decide(q).Allow || k.was == wordAllowed && s.doubles().hopeful.Decide(q).Allow
}

// unlearnable says why no rule can be learnt from a call.
func unlearnable(s *bookScript, k *tallied) string {
	switch {
	case k.cut:
		return "too long for its record, which does not hold all that it reaches"
	case k.call.UserAuth:
		return "goes with a user and a password"
	case k.reason == policy.SecretField:
		return "reaches a credential field; never granted"
	case k.sudo != "" && k.reason == policy.Sudo:
		if !isPlainLogin(k.sudo) {
			return "acts as another login, which is written like none: see policy explain"
		}
		return "acts as another login; grant it with sudo_as_login: [" + policy.YAMLWord(k.sudo) + "]"
	case k.reason == policy.Denied:
		return "a deny rule of " + s.Name + " forbids it"
	}
	return ""
}

// isPlainLogin says whether a login may stand in a rule as it is: what a caller
// sends as one may be anything, such as a pattern for all logins.
func isPlainLogin(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || strings.IndexByte("._-@", c) >= 0)) {
			return false
		}
	}
	return s != ""
}

// note counts a need of a kind of call.
func (l *lesson) note(need policy.Need, k *tallied) *needed {
	n := l.byNeed[need]
	if n == nil {
		n = &needed{Need: need, days: map[int64]struct{}{}}
		l.byNeed[need] = n
		l.needs = append(l.needs, n)
	}
	n.calls += k.calls
	for d := range k.days {
		n.days[d] = struct{}{}
	}
	n.first, n.last = earlier(n.first, k.first), later(n.last, k.last)
	return n
}

// leavePlaceless leaves out an upload whose place is not told, where nothing else
// says where files may go.
func (l *lesson) leavePlaceless() {
	n := l.byNeed[policy.Need{Verb: "upload"}]
	if n != nil && n.why == "" && !slices.ContainsFunc(l.needs, func(o *needed) bool { return o.Verb == "upload" && o.Type != "" && o.why == "" }) {
		n.why = n.when(l.t) + ": name the field that the file is for"
	}
}

// leftOut says why a need is not learnt, "" where it is.
func (l *lesson) leftOut(n *needed) string {
	days := len(l.t.days)
	switch {
	case !slices.Contains(policy.Verbs(), n.Verb):
		return "no rule can allow it"
	case n.NeedsNaming():
		return "never granted by learning"
	case n.Verb == "link" && !flow.IsTypeName(n.Type):
		return n.when(l.t) + ": to what is written like no type, and only all links give it"
	case n.calls < l.minCalls:
		return n.when(l.t) + ": too rare"
	case (n.Verb == "delete" || n.Verb == "schema_field_delete") && (n.calls < minDeletes || len(n.days) < minDeleteDays):
		return n.when(l.t) + ": too rare for a delete"
	case days >= minTrailDays && len(n.days) == 1:
		return n.when(l.t) + ": on one day only"
	}
	return ""
}

// when says how often and when something was needed.
func (n *needed) when(t *tally) string {
	out := many(n.calls, "call") + ", "
	switch {
	case n.first.Equal(n.last):
		out += n.first.UTC().Format("2006-01-02 15:04")
	case len(n.days) == 1:
		out += n.first.UTC().Format(time.DateOnly)
	default:
		return out + n.first.UTC().Format(time.DateOnly) + " to " + n.last.UTC().Format(time.DateOnly)
	}
	before, since := t.first.Before(n.first), t.last.After(n.last)
	if before && since {
		out += ", none before or since"
	}
	return out
}

// choose takes what the calls need of which nothing is left out, and no more.
func (l *lesson) choose(lacks [][]*needed) {
	var needs []policy.Need
	left := map[*needed]bool{}
	for i, k := range l.t.order {
		if len(lacks[i]) == 0 {
			continue
		}
		whole := true
		for _, n := range lacks[i] {
			if n.why != "" {
				left[n], whole = true, false
			}
		}
		if !whole {
			continue
		}
		l.learned = append(l.learned, k)
		for v, ns := range byVerb(lacks[i]) {
			needs = append(needs, ns...)
			l.counts[v] += k.calls
			if k.was == wordRefused {
				l.refused[v] += k.calls
			}
		}
	}
	l.leaveNeeds(left)
	l.rules = rulesFor(withoutLinks(needs, l.s.Allow))
}

func byVerb(needs []*needed) map[string][]policy.Need {
	out := map[string][]policy.Need{}
	for _, n := range needs {
		out[n.Verb] = append(out[n.Verb], n.Need)
	}
	return out
}

// leaveNeeds says what is left out, a line for each verb, type and reason.
func (l *lesson) leaveNeeds(left map[*needed]bool) {
	type line struct{ verb, typ, why string }
	var lines []line
	needs := map[line][]policy.Need{}
	for _, n := range l.needs {
		if !left[n] {
			continue
		}
		k := line{n.Verb, n.Type, n.why}
		if needs[k] == nil {
			lines = append(lines, k)
		}
		needs[k] = append(needs[k], n.Need)
	}
	for _, k := range lines {
		r := ruleFor(k.verb, needs[k])
		l.left = append(l.left, leftLine(ruleYAML(&r), k.why))
	}
}

func leftLine(what, why string) string { return fmt.Sprintf("%-20s  %s", what, why) }

// withoutLinks leaves out leave to link to what may be read anyway.
func withoutLinks(needs []policy.Need, allow []policy.Rule) []policy.Need {
	isLink := func(n policy.Need) bool { return n.Verb == "link" }
	others := append(rulesFor(slices.DeleteFunc(slices.Clone(needs), isLink)), allow...)
	return slices.DeleteFunc(needs, func(n policy.Need) bool { return isLink(n) && gives(others, n) })
}

// leave notes a kind of call that nothing is learnt from.
func (l *lesson) leave(k *tallied, why string) {
	l.left = append(l.left, leftLine(firstLine(k.words()), many(k.calls, "call")+", "+why))
}

// check makes sure that the rules allow what they were learnt from.
func (l *lesson) check(s *bookScript) error {
	hopeful := s.doubles().hopeful
	for _, k := range l.learned {
		if v := hopeful.Decide(k.query()); !v.Allow {
			return fmt.Errorf("the rules that were learnt do not allow %s (%s): please report this", firstLine(k.words()), v.Reason)
		}
	}
	return nil
}

// text is the rules, ready to paste, and in comments where they come from.
func (l *lesson) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	line("# %s", l.summary())
	if u := l.t.unseen(); u != "" {
		line("# %s", u)
	}
	for _, r := range l.blocks() {
		line("%s", r)
	}
	if len(l.rules) == 0 {
		line("# nothing to add: the rules of %s cover what is left", l.s.Name)
	}
	if len(l.left) > 0 {
		line("# left out, decide yourself:")
	}
	for _, w := range l.left[:min(len(l.left), maxLeft)] {
		line("#   %s", w)
	}
	if more := len(l.left) - maxLeft; more > 0 {
		line("#   and %s", many(more, "other"))
	}
	return b.String()
}

// maxLeft is how many lines tell what is left out.
const maxLeft = 100

// summary is "14 days, 1 caller, 41 208 calls, 17 shapes; last new shape 9 days
// before the end".
func (l *lesson) summary() string {
	shapes := map[string]time.Time{}
	for _, k := range l.t.order {
		first, ok := shapes[k.shape]
		if !ok || k.first.Before(first) {
			shapes[k.shape] = k.first
		}
	}
	var newest time.Time
	for _, first := range shapes {
		newest = later(newest, first)
	}
	out := fmt.Sprintf("%s, %s, %s, %s", many(len(l.t.days), "day"), many(len(l.t.callers), "caller"), many(l.t.calls, "call"), many(len(shapes), "shape"))
	if days := int(l.t.last.Sub(newest).Hours() / 24); days > 0 {
		return out + "; last new shape " + many(days, "day") + " before the end"
	}
	return out + "; new shapes up to the last day: go on observing"
}

// blocks are the rules as they are written in a file, a count beside each.
func (l *lesson) blocks() []string {
	var out []string
	for i := range l.rules {
		r := &l.rules[i]
		count := "# " + thousands(l.counts[r.Verb])
		if n := l.refused[r.Verb]; n > 0 {
			count += ", " + thousands(n) + " of them refused so far"
		}
		text := "- " + ruleYAML(r)
		if len(r.Targets) < 2 || len(text) <= maxRuleLine {
			out = append(out, fmt.Sprintf("%-38s %s", text, count))
			continue
		}
		out = append(out, fmt.Sprintf("%-38s %s", "- "+r.Verb+":", count))
		for _, t := range r.Targets {
			out = append(out, wrapTarget(t)...)
		}
	}
	return out
}

// maxRuleLine is how long a rule may be that stands in one line.
const maxRuleLine = 36

// maxFieldLine is how long a line of fields gets.
const maxFieldLine = 100

// wrapTarget writes one type of a rule over as many lines as it takes.
func wrapTarget(t policy.Target) []string {
	line := "    " + policy.YAMLWord(t.Type) + ": "
	if len(t.Fields) < 2 {
		return []string{line + fieldsYAML(t.Fields)}
	}
	var out []string
	line += "["
	indent := strings.Repeat(" ", len(line))
	for i, f := range t.Fields {
		word := policy.YAMLWord(f)
		if i < len(t.Fields)-1 {
			word += ","
		} else {
			word += "]"
		}
		if len(line)+len(word) > maxFieldLine && len(line) > len(indent) {
			out = append(out, strings.TrimRight(line, " "))
			line = indent
		}
		line += word + " "
	}
	return append(out, strings.TrimRight(line, " "))
}
