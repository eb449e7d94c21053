package cli

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stagedoor/config"
	"stagedoor/policy"
)

func (c *commands) policyDiff() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say what a new configuration allows and refuses that an old one does not",
		Long: `Compare what two configurations mean, not how they are written: of each script
what is newly allowed (+), newly refused (-), and allowed on other conditions (~),
for every type and field that either names, and for all others together. Limits,
modes and logins are compared too, and other settings named where they differ.

Exit code 0 is no difference, 1 some, 2 trouble, as of diff.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			was, err := readRulebook(args[0])
			if err != nil {
				return err
			}
			is, err := readRulebook(args[1])
			if err != nil {
				return err
			}
			return c.tellDiff(diffBooks(was, is), asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func (c *commands) tellDiff(diffs []difference, asJSON bool) error {
	if asJSON {
		type entry struct {
			Script string `json:"script"`
			Sign   string `json:"sign"`
			What   string `json:"what"`
		}
		out := []entry{}
		for _, d := range diffs {
			out = append(out, entry{d.script, d.sign, d.what})
		}
		if err := c.printJSON(out); err != nil {
			return err
		}
	} else {
		width, last := 0, ""
		for _, d := range diffs {
			width = max(width, len(d.name()))
		}
		for _, d := range diffs {
			name := d.name()
			if name == last {
				name = ""
			}
			last = d.name()
			c.printf("%-*s  %s %s\n", width, name, d.sign, d.what)
		}
		if len(diffs) == 0 {
			c.printf("nothing changed\n")
		} else {
			c.printf("nothing else changed\n")
		}
	}
	if len(diffs) > 0 {
		return no(nil)
	}
	return nil
}

// The signs of a difference.
const (
	signMore  = "+"
	signLess  = "-"
	signOther = "~"
)

// difference is one thing that two configurations say differently.
type difference struct {
	script string // "" is none's own
	sign   string
	what   string
}

func (d *difference) name() string {
	if d.script == "" {
		return "(all)"
	}
	return d.script
}

func (d *difference) line() string { return d.name() + "  " + d.sign + " " + d.what }

// diffBooks compares two configurations: script by script, in the order of the
// new one, then what belongs to none.
func diffBooks(was, is *rulebook) (out []difference) {
	names := is.names()
	for _, n := range was.names() {
		if is.scripts[n] == nil {
			names = append(names, n)
		}
	}
	for _, name := range names {
		a, b := was.scripts[name], is.scripts[name]
		switch {
		case a == nil:
			out = append(out, difference{name, signMore, "the script itself"})
			a = emptyScript(name)
			out = append(out, diffGrants(name, a, b)...)
		case b == nil:
			out = append(out, difference{name, signLess, "the script itself"})
			out = append(out, diffGrants(name, a, emptyScript(name))...)
		default:
			out = append(out, diffGrants(name, a, b)...)
			out = append(out, diffSettings(a, b, was.cfg, is.cfg)...)
		}
	}
	if w := otherSettings(was.cfg, is.cfg); w != "" {
		out = append(out, difference{"", signOther, "other settings: " + w})
	}
	return out
}

func emptyScript(name string) *bookScript {
	return &bookScript{Script: &config.Script{Name: name}, policy: policy.Compile(policy.Script{Name: name})}
}

// group is what changes in the same way: of one verb, from one state to another.
type group struct{ sign, verb, note string }

// diffGrants compares what two scripts are given, need by need.
func diffGrants(name string, was, is *bookScript) (out []difference) {
	var groups []group
	members := map[group]map[string][]string{} // fields by type
	u := newUniverse(was, is)
	for _, n := range u.needs {
		a, b := was.grant(n), is.grant(n)
		g := group{verb: n.Verb}
		switch {
		case a == b:
			continue
		case a.how == "":
			g.sign, g.note = signMore, noteOf(b.words())
		case b.how == "":
			g.sign = signLess
		default:
			g.sign, g.note = signOther, fmt.Sprintf("   %s (was: %s)", orAlways(b.words()), orAlways(a.words()))
		}
		if members[g] == nil {
			members[g] = map[string][]string{}
			groups = append(groups, g)
		}
		members[g][n.Type] = append(members[g][n.Type], n.Field)
	}
	slices.SortStableFunc(groups, func(a, b group) int { return strings.Compare(a.sign, b.sign) })
	for _, g := range groups {
		out = append(out, difference{name, g.sign, strings.TrimSpace(g.verb+" "+u.words(g.verb, members[g])) + g.note})
	}
	return out
}

func noteOf(words string) string {
	if words == "" {
		return ""
	}
	return "   " + words
}

func orAlways(s string) string {
	if s == "" {
		return "always"
	}
	return s
}

// grant is on what a script is given something: how is "" where it is not, and
// granted where it is without a condition.
type grant struct{ how, share string }

const granted = "granted"

// words are the conditions of what is given.
func (g grant) words() string {
	out := ""
	if g.how != granted {
		out = g.how
	}
	if g.share != "" {
		out = strings.TrimPrefix(out+"; "+g.share, "; ")
	}
	return out
}

// grant asks the rules one by one.
func (s *bookScript) grant(n policy.Need) grant {
	var how, shares, unless []string
	for i := range s.Allow {
		r := &s.Allow[i]
		if !gives(s.Allow[i:i+1], n) {
			continue
		}
		how, shares = append(how, optionsText(r)), append(shares, shareText(r.Share))
	}
	for i := range s.Deny {
		if s.Deny[i].Verb == n.Verb && forbids(&s.Deny[i], n) {
			unless = append(unless, optionsText(&s.Deny[i]))
		}
	}
	if len(how) == 0 || slices.Contains(unless, "") {
		return grant{}
	}
	g := grant{how: granted}
	if !slices.Contains(how, "") {
		slices.Sort(how)
		g.how = strings.Join(slices.Compact(how), " or ")
	}
	if len(unless) > 0 {
		slices.Sort(unless)
		g.how = strings.TrimPrefix(strings.TrimPrefix(g.how, granted)+" unless "+strings.Join(slices.Compact(unless), " or "), " ")
	}
	slices.Sort(shares)
	g.share = strings.TrimPrefix(strings.Join(slices.Compact(shares), " or "), " or ")
	return g
}

// Names that stand for all that neither configuration names: no site has them.
const (
	otherField = "stagedoor_any_other_field"
	otherType  = "StagedoorAnyOther" // behind a glob's stem
)

// universe is what two scripts' rules name, and what stands for the rest.
type universe struct {
	needs  []policy.Need
	fields map[[2]string][]string // of verb and type
}

func newUniverse(scripts ...*bookScript) *universe {
	u := &universe{fields: map[[2]string][]string{}}
	byVerb := map[string][]policy.Target{}
	bares := map[string]bool{}
	for _, s := range scripts {
		for _, rules := range [][]policy.Rule{s.Allow, s.Deny} {
			for _, r := range rules {
				byVerb[r.Verb] = append(byVerb[r.Verb], r.Targets...)
				bares[r.Verb] = bares[r.Verb] || len(r.Targets) == 0
			}
		}
	}
	for _, verb := range policy.Verbs() {
		if bares[verb] {
			u.needs = append(u.needs, policy.Need{Verb: verb})
		}
		u.add(verb, byVerb[verb])
	}
	return u
}

// add puts the types and fields of a verb in.
func (u *universe) add(verb string, targets []policy.Target) {
	types := map[string]bool{}
	for _, t := range targets {
		if stem, glob := strings.CutSuffix(t.Type, "*"); glob {
			types[stem+otherType] = true
		} else {
			types[t.Type] = true
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(types)) {
		if !hasFields(verb) {
			u.needs = append(u.needs, policy.Need{Verb: verb, Type: typ})
			continue
		}
		named := map[string]bool{}
		for _, t := range targets {
			if stem, glob := strings.CutSuffix(t.Type, "*"); t.Type == typ || glob && strings.HasPrefix(typ, stem) {
				for _, f := range t.Fields {
					named[f] = true
				}
			}
		}
		fields := slices.Sorted(maps.Keys(named))
		u.fields[[2]string{verb, typ}] = fields
		for _, f := range append(fields, otherField) {
			u.needs = append(u.needs, policy.Need{Verb: verb, Type: typ, Field: f})
		}
	}
}

func hasFields(verb string) bool {
	switch verb {
	case "read", "create", "update", "upload", "download":
		return true
	}
	return false
}

// words are types with their fields, as rules have them, in few words.
func (u *universe) words(verb string, fields map[string][]string) string {
	var out []string
	for _, typ := range slices.Sorted(maps.Keys(fields)) {
		name := typ
		if stem, other := strings.CutSuffix(typ, otherType); other {
			name = stem + "*"
			if stem == "" {
				name = "every other type"
			}
		}
		out = append(out, strings.TrimSpace(name+" "+u.fieldWords(verb, typ, fields[typ])))
	}
	return strings.Join(out, ", ")
}

// fieldWords are the fields of a type that change.
func (u *universe) fieldWords(verb, typ string, changed []string) string {
	if !hasFields(verb) {
		return ""
	}
	if !slices.Contains(changed, otherField) {
		return "[" + strings.Join(changed, ", ") + "]"
	}
	var rest []string
	for _, f := range u.fields[[2]string{verb, typ}] {
		if !slices.Contains(changed, f) {
			rest = append(rest, f)
		}
	}
	if len(rest) == 0 {
		return ""
	}
	return "but [" + strings.Join(rest, ", ") + "]"
}

// diffSettings compares what a script has besides its rules. What it has from
// the whole configuration is told there.
func diffSettings(a, b *bookScript, was, is *config.Config) (out []difference) {
	out = append(out, diffLogins(a, b)...)
	if m, n := modeWords(a), modeWords(b); m != n {
		out = append(out, difference{a.Name, signOther, n + " (was: " + m + ")"})
	}
	if w := limitWords(&a.Limit, &b.Limit); w != "" {
		out = append(out, difference{a.Name, signOther, "limit: " + w})
	}
	old, fresh := *a.Script, *b.Script
	if old.Contact == was.Contact && fresh.Contact == is.Contact {
		old.Contact, fresh.Contact = "", ""
	}
	w := otherFields(old, fresh, "Name", "Line", "Roles", "Allow", "Deny", "AllowWhere", "Limit", "SudoAsLogin", "SudoCaller", "Observe", "ObserveEnd", "ForwardUser")
	if w != "" {
		out = append(out, difference{a.Name, signOther, "other settings: " + w})
	}
	return out
}

// diffLogins compares as whom a script may act.
func diffLogins(a, b *bookScript) (out []difference) {
	logins := func(s *bookScript) []string {
		if s.SudoCaller {
			return append(slices.Clone(s.SudoAsLogin), "caller")
		}
		return s.SudoAsLogin
	}
	for _, l := range logins(b) {
		if !slices.Contains(logins(a), l) {
			out = append(out, difference{a.Name, signMore, "sudo_as_login " + l})
		}
	}
	for _, l := range logins(a) {
		if !slices.Contains(logins(b), l) {
			out = append(out, difference{a.Name, signLess, "sudo_as_login " + l})
		}
	}
	if !a.ForwardUser && b.ForwardUser {
		out = append(out, difference{a.Name, signMore, "user_auth: forward"})
	}
	if a.ForwardUser && !b.ForwardUser {
		out = append(out, difference{a.Name, signLess, "user_auth: forward"})
	}
	return out
}

func modeWords(s *bookScript) string {
	switch {
	case !s.Observe:
		return "mode enforce"
	case s.ObserveEnd.IsZero():
		return "mode observe"
	}
	return "mode observe until " + s.ObserveEnd.Format(time.DateOnly)
}

// limitWords are the bounds that differ: "rate 20 → 40, burst 20 → 40".
func limitWords(a, b *config.Limit) string {
	var out []string
	va, vb := reflect.ValueOf(*a), reflect.ValueOf(*b)
	for i := range va.NumField() {
		x, y := va.Field(i).Interface(), vb.Field(i).Interface()
		if !reflect.DeepEqual(x, y) {
			out = append(out, fmt.Sprintf("%s %v → %v", snake(va.Type().Field(i).Name), x, y))
		}
	}
	return strings.Join(out, ", ")
}

// otherSettings names what differs of two configurations but scripts.
func otherSettings(a, b *config.Config) string {
	return otherFields(*a, *b, "Scripts", "Warnings")
}

// otherFields names the fields in which two structs differ, but those given.
func otherFields(a, b any, but ...string) string {
	var out []string
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		name := va.Type().Field(i).Name
		if !slices.Contains(but, name) && !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			out = append(out, snake(name))
		}
	}
	return strings.Join(out, ", ")
}

// snake writes MaxHold as max_hold.
func snake(name string) string {
	var b strings.Builder
	lower := false // the character before is a small letter
	for _, r := range name {
		upper := r >= 'A' && r <= 'Z'
		if upper && lower {
			b.WriteByte('_')
		}
		b.WriteRune(r)
		lower = !upper
	}
	return strings.ToLower(b.String())
}
