package policy

import (
	"slices"
	"strconv"
	"strings"

	"stagedoor/flow"
)

// maxLacks bounds how much a refusal spells out.
const maxLacks = 64

// refusal collects what a refused call lacks.
type refusal struct {
	noRule, denied, unmet, project lacks
	// unseen says that something of it must not be let through unruled.
	unseen bool
	// a credential field that is reached, and whether a part asks for nothing.
	secret  *flow.Touch
	nothing bool
	// where the part that is asked for lies, as far as it is known, and which of
	// it is refused.
	at    mask
	known bool
	lies  []int64
	// what is not given in each way everywhere, and where the first of it is that is
	// confined; where all that is refused lies, as far as it is shown.
	confined []confinedNeed
	in       mask
	shown    []int64
	hidden   bool // not all of it is
	filter   bool // a filter may be added
	lookup   bool // what is hidden may be looked up
}

// confinedNeed is one that is given in some projects only, or looked up or
// filtered for in some only.
type confinedNeed struct {
	Need

	at reach
}

// lacks are the needs that are missing for one reason, and what says so of the
// first.
type lacks struct {
	needs  []Need
	more   bool // and others, beyond maxLacks
	rule   *Rule
	taken  Need // that rule denies, of what no rule gives
	reason Reason
	deny   bool    // rule is one of the deny list
	in     mask    // of a project: where the first is met
	carved bool    // a deny rule has a hand in it, or nothing gives it: no allow rule helps
	rows   int     // what the call asks for
	lies   []int64 // where parts lie that lack something, as far as they show it
	hidden bool    // one of them does not
}

func (l *lacks) add(n Need) (first bool) {
	switch {
	case slices.Contains(l.needs, n):
	case len(l.needs) == maxLacks:
		l.more = true
	default:
		l.needs = append(l.needs, n)
	}
	return len(l.needs) == 1 && !l.more
}

// refused looks at a refused call again, for what is missing.
func (d *decision) refused() Verdict {
	d.why = &refusal{lookup: true}
	if d.whole.Group != flow.GroupBatch { // just decided
		d.lacking(d.whole)
	} else {
		for i := range d.whole.Parts {
			p := &d.whole.Parts[i]
			if o := d.decidePart(p); !o.ok {
				d.lacking(p)
			}
		}
	}
	switch {
	case d.why.secret != nil:
		return Verdict{Reason: SecretField, What: "reach " + secretName(d.why.secret)}
	case d.why.nothing:
		return Verdict{Reason: NoRule, Rule: d.s.Where, What: "make this call"}
	}
	v := d.told()
	if d.observe && !d.why.unseen {
		v.Allow, v.Observed = true, true
	}
	return v
}

// lacking collects what a part lacks, which was just decided.
func (d *decision) lacking(c *flow.Call) {
	w := d.why
	if w.secret == nil {
		w.secret = d.secret
	}
	w.nothing = w.nothing || !d.some
	w.at, w.known = d.s.shown(c)
	if into := d.s.into(c); !into.within(&d.met.all) {
		// The move is what can be told of, wherever the record lies.
		w.known = true
		w.at.or(&into)
	}
	w.lies = d.lies()
	w.place(d.s, c)
	w.filter = c == d.whole && takesFilter(c)
	d.phase = explaining
	d.ask(c)
}

// place takes note of where a refused part shows that its records lie, and are
// moved to.
func (w *refusal) place(s *Script, c *flow.Call) {
	ids := slices.Concat(c.Projects, c.Into)
	if len(c.Projects) == 0 {
		for _, r := range c.Records {
			if r.Type == projectType {
				ids = append(ids, r.ID)
			}
		}
	}
	for _, id := range ids {
		if len(w.shown) < maxLacks && !slices.Contains(w.shown, id) {
			w.shown = append(w.shown, id)
		}
	}
	if _, known := s.shown(c); !known || c.IntoOther {
		w.hidden = true
		w.lookup = w.lookup && len(c.Records) > 0 && !c.IntoOther && !slices.ContainsFunc(c.Records, func(r flow.Record) bool { return r.Type == projectType })
	}
}

// explain says for one need of a refused part whether it is missing, and why.
func (d *decision) explain(n need) {
	w := d.why
	at := d.meets(n)
	met := at.all
	d.blind = true
	ruled := d.meets(n).all // were it not for conditions and bounds
	given := d.ruled(n)     // were it not for deny rules either
	d.blind = false

	w.confine(d.s, n, at, ruled)
	bad := d.s.everywhere
	if w.known {
		bad = w.at
	}
	bad.without(&met)
	var l *lacks
	switch {
	case bad.empty():
		return
	case given.empty():
		l = &w.noRule
	case !w.known && !met.empty():
		l = &w.project
	default:
		l = w.of(bad, ruled, given)
	}
	if l == &w.noRule {
		l.deniedToo(d.denierOf(n, bad), n.Need)
	}
	l.carved = l.carved || n.how == byNothing
	w.unseen = w.unseen || n.how == byNothing || n.NeedsNaming()
	if l.add(n.Need) {
		d.blame(l, n, bad, met, ruled)
	}
	l.hidden = l.hidden || len(w.lies) == 0
	for _, id := range w.lies {
		if len(l.lies) < maxLacks && !slices.Contains(l.lies, id) {
			l.lies = append(l.lies, id)
		}
	}
	taken := given
	taken.without(&ruled)
	l.carved = l.carved || taken.meets(&bad)
}

// deniedToo takes note of a deny rule, if there is one, of what no rule gives: to
// give it is not enough.
func (l *lacks) deniedToo(r *Rule, n Need) {
	if r == nil {
		return
	}
	l.carved = true
	if l.rule == nil {
		l.rule, l.taken = r, n
	}
}

// confine takes note of a need that is not given in each way everywhere.
func (w *refusal) confine(s *Script, n need, at reach, ruled mask) {
	all := s.everywhere
	if ruled.empty() || ruled == all && at.filter == all && at.lookup == all || len(w.confined) == maxLacks {
		return
	}
	if w.in.empty() && ruled != all {
		w.in = ruled
	}
	w.confined = append(w.confined, confinedNeed{n.Need, at})
}

// outside is everywhere but in m.
func (d *decision) outside(m mask) *mask {
	out := d.s.everywhere
	out.without(&m)
	return &out
}

// of finds the reason for which a need that rules give somewhere is not met in
// bad: the first that holds for a project of it.
func (w *refusal) of(bad, ruled, given mask) *lacks {
	denied := given
	denied.without(&ruled)
	switch {
	case denied.meets(&bad):
		return &w.denied
	case ruled.meets(&bad):
		return &w.unmet
	}
	return &w.project
}

// ruled is where allow rules give a need, whatever deny rules, conditions and
// bounds say. It is for explaining: d.blind is set.
func (d *decision) ruled(n need) mask {
	m := d.given(n).all
	if n.how == byLink {
		o := d.given(need{Need: Need{readVerb, n.Type, anyField}}).all
		m.or(&o)
	}
	return m
}

// blame finds the rule that a refusal for want of n names.
func (d *decision) blame(l *lacks, n need, bad, met, ruled mask) {
	w := d.why
	switch l {
	case &w.denied:
		l.rule, l.deny = d.denier(n, bad), true
	case &w.unmet:
		l.rows = rows(d.part)
		l.rule, l.reason = d.failing(n, bad)
	case &w.project:
		if l.in = met; met.empty() { // its rule has a condition that does not hold either
			l.in = ruled
		}
		if l.in.has(others) {
			l.rule, l.deny = d.denier(n, *d.outside(l.in)), true
			return
		}
		d.at, d.blind = l.in, met.empty()
		if i := d.firstOf(n); i >= 0 {
			l.rule = &d.s.Rules[i]
		}
		d.blind = false
	}
}

// firstOf is the first rule that gives a need somewhere.
func (d *decision) firstOf(n need) int32 {
	i := d.first(n)
	if n.how == byLink {
		if o := d.first(need{Need: Need{readVerb, n.Type, anyField}}); o >= 0 && (i < 0 || o < i) {
			i = o
		}
	}
	return i
}

// denier is the first deny rule that takes a need away somewhere in bad.
func (d *decision) denier(n need, bad mask) *Rule {
	found := d.denierOf(n, bad)
	if n.how == byLink && found == nil {
		found = d.denierOf(need{Need: Need{readVerb, n.Type, anyField}}, bad)
	}
	return found
}

func (d *decision) denierOf(n need, bad mask) *Rule {
	rules := d.s.deny.rules
	least := int32(-1)
	for _, g := range d.s.deny.taking(d.room[:0], n.Verb, n.Type, n.Field) {
		for _, list := range [...][]int32{{g.open}, g.confined, g.tested} {
			for _, i := range list {
				if i >= 0 && (least < 0 || i < least) && rules[i].in.meets(&bad) && d.condition(rules[i].cond, true) {
					least = i
				}
			}
		}
	}
	if least < 0 {
		return nil
	}
	return &d.s.Deny[least]
}

// failing is the first rule that would give a need somewhere in bad, were it not
// for its bounds or its condition.
func (d *decision) failing(n need, bad mask) (*Rule, Reason) {
	least, reason := int32(-1), Reason("")
	needs := []need{n}
	if n.how == byLink {
		needs = append(needs, need{Need: Need{readVerb, n.Type, anyField}})
	}
	for _, n := range needs {
		for _, g := range d.givers(n) {
			for _, i := range g.tested {
				if least >= 0 && i > least || !d.s.allow.rules[i].in.meets(&bad) && n.how != byAny {
					continue
				}
				if why := d.fails(i); why != "" {
					least, reason = i, why
				}
			}
		}
	}
	if least < 0 {
		return nil, Unmet
	}
	return &d.s.Rules[least], reason
}

// told is the verdict: of all that is missing, what no rule at all gives comes
// first, and what only lies in the wrong project last.
func (d *decision) told() Verdict {
	w := d.why
	switch {
	case len(w.noRule.needs) > 0:
		return d.toldNoRule(&w.noRule)
	case len(w.denied.needs) > 0:
		v := Verdict{Reason: Denied, What: needWords(w.denied.needs[0])}
		if r := w.denied.rule; r != nil {
			v.Rule = r.Where()
			v.What += ": " + v.Rule + " denies it"
		}
		return v
	case len(w.unmet.needs) > 0:
		return d.toldUnmet(&w.unmet)
	case len(w.project.needs) > 0:
		return d.toldProject(&w.project)
	}
	// Each need is met where the call lies, but not where its record can be looked up.
	return Verdict{Reason: Project, Rule: d.s.Where, What: "make this call outside its projects"}
}

func (d *decision) toldNoRule(l *lacks) Verdict {
	v := Verdict{Reason: NoRule, Rule: d.s.Where, What: what(l.needs)}
	if r := l.rule; r != nil {
		it := needWords(l.taken)
		if it == v.What {
			it = "it too"
		}
		v.What += "; " + r.Where() + " denies " + it
	}
	if !l.carved {
		needs, o := d.narrowed(l.needs)
		v.Suggest = suggest(needs, o, l.more)
	}
	return v
}

// narrowed are the needs that no rule gives, and the options of a rule that gives
// them where the rest of the call is given, if that is in some projects only.
// What of the rest would keep the call from being allowed there is added.
func (d *decision) narrowed(needs []Need) ([]Need, options) {
	w := d.why
	o := options{projects: w.shown}
	if w.hidden {
		o = w.within(d.s, w.in, w.shown)
	}
	if w.in.empty() || len(o.projects) == 0 || w.project.carved || len(w.denied.needs) > 0 {
		return needs, options{}
	}
	return d.completed(needs, o), o
}

// completed adds to needs what else is not given yet as the options say.
func (d *decision) completed(needs []Need, o options) []Need {
	w := d.why
	needs = slices.Clip(needs)
	in := d.s.of(o.projects)
	for _, c := range w.confined {
		at := c.at.all
		switch {
		case o.filter:
			at = c.at.filter
		case o.lookup:
			at = c.at.lookup
		}
		if !in.within(&at) && len(needs) < maxLacks && !slices.Contains(needs, c.Need) {
			needs = append(needs, c.Need)
		}
	}
	return needs
}

// within are the options of a rule for a call that does not show where all of it
// lies: for what is given in m already, and the projects that it does show.
func (w *refusal) within(s *Script, m mask, shown []int64) options {
	ids := slices.Clip(s.list(m))
	for _, id := range shown {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	switch {
	case m.has(others): // everywhere but in some, which no rule says
	case w.filter:
		return options{projects: ids, filter: true}
	case w.lookup:
		return options{projects: ids, lookup: true}
	}
	return options{comment: everyProject + ": the call shows none"}
}

func (d *decision) toldUnmet(l *lacks) Verdict {
	v := Verdict{Reason: l.reason, What: what(l.needs)}
	if l.rule == nil {
		return v
	}
	v.Rule = l.rule.Where()
	o := l.options()
	v.What = l.over(&o, d.parts)
	if !l.carved {
		v.Suggest = suggest(l.needs, o, l.more)
	}
	return v
}

// over says which bound or condition of its rule a call does not keep, and adds
// what would do to the options of the rule that is offered.
func (l *lacks) over(o *options, parts int) string {
	if l.reason == Rows {
		o.rows = l.rows
		n := l.needs[0]
		return needWords(Need{n.Verb, n.Type, anyField}) + ": " + number(l.rows) + " rows a page, the rule gives " + number(l.rule.MaxRows)
	}
	if l.reason == Batch {
		o.batch = parts
		return what(l.needs) + ": " + number(parts) + " parts in a batch, the rule gives " + number(l.rule.MaxBatch)
	}
	o.comment = "without the condition of " + l.rule.Where()
	return what(l.needs) + ": the condition of " + l.rule.Where() + " does not hold"
}

// options are the projects of a rule that is to be offered without its bound:
// those of the call where it says them, or those of the rule as they are.
func (l *lacks) options() options {
	p := l.rule.Projects
	switch {
	case p == nil:
		return options{}
	case len(l.lies) > 0 && !l.hidden:
		return options{projects: l.lies}
	}
	return options{projects: p.IDs, filter: p.AddFilter, lookup: p.Lookup}
}

func (d *decision) toldProject(l *lacks) Verdict {
	v := Verdict{Reason: Project, What: what(l.needs)}
	if l.rule == nil {
		return v
	}
	v.Rule = l.rule.Where()
	w, shown := d.why, !l.hidden
	switch in := projects(d.s.list(l.in)); {
	case l.deny && shown:
		v.What += " in " + projects(l.lies) + ": " + v.Rule + " denies it there"
	case l.deny:
		v.What += ": " + v.Rule + " denies it in some projects, and the call does not show that it stays outside"
	case shown:
		v.What += " in " + projects(l.lies) + ": " + v.Rule + " gives it in " + in
	default:
		v.What += ": " + v.Rule + " gives it in " + in + ", and the call does not show that it stays there"
	}
	switch {
	case l.deny || l.carved: // an allow rule does not help
	case shown:
		v.Suggest = suggest(l.needs, options{projects: l.lies}, l.more)
	default:
		o := w.within(d.s, l.in, l.lies)
		v.Suggest = suggest(d.completed(l.needs, o), o, l.more)
	}
	return v
}

// lies are the projects in which the refused part shows that it lies, or into
// which it moves its record, and where it is not allowed.
func (d *decision) lies() (ids []int64) {
	c := d.part
	if !d.why.known || c.IntoOther {
		return nil
	}
	add := func(id int64) {
		if bit := d.s.bit[id]; !d.met.all.has(bit) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range c.Projects {
		add(id)
	}
	for _, id := range c.Into {
		add(id)
	}
	if len(c.Projects) > 0 {
		return ids
	}
	for _, r := range c.Records {
		if r.Type == projectType {
			add(r.ID)
		}
	}
	return ids
}

// confinedNeeds are the needs of the part that are not met everywhere, up to
// maxLacks.
func (d *decision) confinedNeeds() []Need {
	l := needList{seen: map[Need]struct{}{}}
	d.phase, d.list = confined, &l
	d.ask(d.part)
	return l.needs
}

// Outside is the refusal of a call whose record was looked up, which v allows:
// it lies in a project, 0 for none, where c does not want it. Suggest names that
// project, unlike What.
func (v Verdict) Outside(c Check, project int64) Verdict {
	out := Verdict{Reason: Project, Rule: v.Rule, What: "reach"}
	if len(v.needs) > 0 {
		out.What = what(v.needs) + " of"
	}
	out.What += " " + c.Record.Type + " " + strconv.FormatInt(c.Record.ID, 10)
	if c.Except {
		out.What += ": it lies in " + projects(c.Projects) + ", where it is denied"
		return out
	}
	out.What += ": it lies outside " + projects(c.Projects) + ", where " + v.Rule + " gives it"
	switch {
	case len(v.needs) == 0:
	case project > 0:
		out.Suggest = suggest(v.needs, options{projects: []int64{project}, lookup: true}, false)
	default:
		out.Suggest = suggest(v.needs, options{comment: everyProject + ": it lies in none"}, false)
	}
	return out
}

// maxListed is how many projects a sentence names.
const maxListed = 8

// projects names projects in a sentence.
func projects(ids []int64) string {
	words := make([]string, 0, maxListed)
	for i, id := range ids {
		if i == maxListed {
			return "projects " + strings.Join(words, ", ") + " and " + number(len(ids)-i) + " more"
		}
		words = append(words, strconv.FormatInt(id, 10))
	}
	switch len(words) {
	case 0:
		return "no project"
	case 1:
		return "project " + words[0]
	}
	last := len(words) - 1
	return "projects " + strings.Join(words[:last], ", ") + " and " + words[last]
}

func number(n int) string { return strconv.Itoa(n) }
