package policy

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"stagedoor/flow"
)

// MaxConditions is how many rules of one script may have a condition: each may
// have to be asked for every part of a batch.
const MaxConditions = 64

// index finds the rules that speak of a need, in a time that does not grow with
// their number: by verb, type and field.
type index struct {
	verbs map[string]*verbIndex
	rules []compiled
	fold  bool // types and fields are found in whatever case
}

// compiled is what a decision asks of a rule.
type compiled struct {
	where     string
	in        mask // where it is in force
	confined  bool // it has projects
	addFilter bool
	lookup    bool
	cond      int8 // its condition's number; noCondition; tooMany
}

const (
	noCondition = -1
	tooMany     = -2 // beyond MaxConditions: as if it could not be evaluated
)

type verbIndex struct {
	exact map[string]*bucket // by type
	globs map[string]*bucket // by what stands before the star
	stems []int              // their lengths, each once, ascending
	bare  group              // rules that stand alone
	whole group              // rules of any type without fields
	any   group              // every rule
}

// bucket is the rules of one type or glob.
type bucket struct {
	any    group // whatever their fields
	every  group // without fields
	fields map[string]*group
}

// group is rules that speak of the same thing.
type group struct {
	plain reach // of those that hold for every call
	// open is the first of these without projects, -1 for none; confined are those
	// with projects, where they add one.
	open     int32
	confined []int32
	tested   []int32 // rules that have a condition or a bound
	filled   bool
}

// Compile makes a script's rules ready to decide with.
func Compile(s Script) *Script {
	s.places = newPlaces()
	// First those of deny rules: beyond the bound, an allow rule gives less.
	for _, rules := range [][]Rule{s.Deny, s.Rules} {
		for i := range rules {
			if p := rules[i].Projects; p != nil {
				for _, id := range p.IDs {
					s.name(id)
				}
			}
		}
	}
	s.conditions = nil
	s.deny = s.index(s.Deny, true)
	s.allow = s.index(s.Rules, false)
	for i := range s.allow.rules {
		if in := s.allow.rules[i].in; s.allow.rules[i].confined {
			s.sets[in] = s.make(in)
		}
		s.shares = s.shares || s.Rules[i].Share != Share{}
	}
	for i := range s.deny.rules {
		s.carved = s.carved || s.deny.rules[i].confined
	}
	return &s
}

// Problems says what is wrong with the rules as a whole: bounds of [Compile].
// Target and Field of each are -1.
func (s *Script) Problems() (out []Problem) {
	ids, conditions := map[int64]struct{}{}, 0
	for _, rules := range [][]Rule{s.Rules, s.Deny} {
		for i := range rules {
			if rules[i].When != nil {
				conditions++
			}
			if p := rules[i].Projects; p != nil {
				for _, id := range p.IDs {
					ids[id] = struct{}{}
				}
			}
		}
	}
	if len(ids) > MaxProjects {
		out = append(out, Problem{Msg: "more than " + number(MaxProjects) + " projects in the rules of one script", Hint: "leave the projects to the script's permissions on the site, or use several scripts", Target: -1, Field: -1})
	}
	if conditions > MaxConditions {
		out = append(out, Problem{Msg: "more than " + number(MaxConditions) + " conditions in the rules of one script", Hint: "each may be asked for every part of a batch; say it in types, fields and projects", Target: -1, Field: -1})
	}
	return out
}

func (s *Script) index(rules []Rule, deny bool) index {
	x := index{verbs: map[string]*verbIndex{}, rules: make([]compiled, len(rules)), fold: deny}
	for i := range rules {
		r := &rules[i]
		x.rules[i] = s.compile(r, deny)
		v := x.verbs[r.Verb]
		if v == nil {
			v = &verbIndex{exact: map[string]*bucket{}, globs: map[string]*bucket{}}
			x.verbs[r.Verb] = v
		}
		x.add(&v.any, r, i)
		if len(r.Targets) == 0 {
			x.add(&v.bare, r, i)
		}
		for _, t := range r.Targets {
			x.target(v, t, r, i)
		}
	}
	for _, v := range x.verbs {
		for stem := range v.globs {
			if !slices.Contains(v.stems, len(stem)) {
				v.stems = append(v.stems, len(stem))
			}
		}
		slices.Sort(v.stems)
	}
	return x
}

func (s *Script) compile(r *Rule, deny bool) compiled {
	c := compiled{where: r.Where(), in: s.everywhere, cond: noCondition}
	if p := r.Projects; p != nil {
		in, all := s.named(p.IDs)
		if deny && !all {
			in = s.everywhere
		}
		c.in, c.confined, c.addFilter, c.lookup = in, true, p.AddFilter, p.Lookup
	}
	switch {
	case r.When == nil:
	case len(s.conditions) == MaxConditions:
		c.cond = tooMany
	default:
		c.cond = int8(len(s.conditions)) //nolint:gosec // MaxConditions is less than 127
		s.conditions = append(s.conditions, r.When)
	}
	return c
}

// target adds one target of a rule.
func (x *index) target(v *verbIndex, t Target, r *Rule, i int) {
	m, name := v.exact, t.Type
	if stem, glob := strings.CutSuffix(t.Type, "*"); glob {
		m, name = v.globs, stem
	}
	if x.fold {
		name = string(fold(nil, name))
	}
	b := m[name]
	if b == nil {
		b = &bucket{}
		m[name] = b
	}
	x.add(&b.any, r, i)
	if t.Fields == nil {
		x.add(&b.every, r, i)
		x.add(&v.whole, r, i)
		return
	}
	if b.fields == nil {
		b.fields = make(map[string]*group, len(t.Fields))
	}
	for _, f := range t.Fields {
		if x.fold {
			f = string(fold(nil, f))
		}
		g := b.fields[f]
		if g == nil {
			g = &group{}
			b.fields[f] = g
		}
		x.add(g, r, i)
	}
}

// add puts rule i into a group. Rules come in the order of the file.
func (x *index) add(g *group, r *Rule, i int) {
	if !g.filled {
		g.filled, g.open = true, -1
	}
	n, c := int32(i), &x.rules[i] //nolint:gosec // a file has fewer rules
	if c.cond != noCondition || r.MaxRows > 0 || r.MaxBatch > 0 {
		if len(g.tested) == 0 || g.tested[len(g.tested)-1] != n {
			g.tested = append(g.tested, n)
		}
		return
	}
	switch {
	case !c.confined && g.open < 0:
		g.open = n
	case c.confined && !c.in.within(&g.plain.all):
		g.confined = append(g.confined, n)
	}
	c.reach(&g.plain)
}

// reach adds where the rule gives what it speaks of.
func (c *compiled) reach(r *reach) {
	r.all.or(&c.in)
	if !c.confined || c.addFilter {
		r.filter.or(&c.in)
	}
	if !c.confined || c.lookup {
		r.lookup.or(&c.in)
	}
	if c.addFilter {
		r.added.or(&c.in)
	}
}

// commonGroups is how many groups speak of a need, unless there are many globs.
const commonGroups = 8

// giving appends the groups of an allow list that give a need to dst.
func (x *index) giving(dst []*group, verb, typ, field string) []*group {
	v := x.verbs[verb]
	if v == nil {
		return dst
	}
	if b := v.exact[typ]; b != nil {
		dst = b.giving(dst, verb, typ, field)
	}
	if len(v.stems) == 0 || needsName(verb, typ) {
		return dst
	}
	for _, n := range v.stems {
		if n > len(typ) {
			break
		}
		if b := v.globs[typ[:n]]; b != nil {
			dst = b.giving(dst, verb, typ, field)
		}
	}
	return dst
}

func (b *bucket) giving(dst []*group, verb, typ, field string) []*group {
	if field == anyField {
		return keep(dst, &b.any)
	}
	if b.every.filled && !needsField(verb, typ, field) {
		dst = keep(dst, &b.every)
	}
	return keep(dst, b.fields[field])
}

// taking appends the groups of a deny list that take a need away to dst: in
// whatever case they are written, and by globs what only a name would give.
func (x *index) taking(dst []*group, verb, typ, field string) []*group {
	v := x.verbs[verb]
	if v == nil {
		return dst
	}
	dst = keep(dst, &v.bare)
	if typ == "*" { // every type, so those too that are denied
		dst = keep(dst, &v.whole)
	}
	var room [flow.MaxName]byte
	key := fold(room[:0], typ)
	if b := v.exact[string(key)]; b != nil {
		dst = b.taking(dst, field)
	}
	for _, n := range v.stems {
		if n > len(key) {
			break
		}
		if b := v.globs[string(key[:n])]; b != nil {
			dst = b.taking(dst, field)
		}
	}
	return dst
}

func (b *bucket) taking(dst []*group, field string) []*group {
	switch {
	case field == flow.EveryField:
		return keep(dst, &b.any)
	case field == anyField || b.fields == nil:
		return keep(dst, &b.every)
	}
	var room [flow.MaxName]byte
	return keep(keep(dst, &b.every), b.fields[string(fold(room[:0], field))])
}

func keep(dst []*group, g *group) []*group {
	if g != nil && g.filled {
		dst = append(dst, g)
	}
	return dst
}

// fold appends a word to dst so that words that are equal but for case become
// the same.
func fold(dst []byte, s string) []byte {
	for _, r := range s {
		if r >= utf8.RuneSelf {
			r = leastFold(r)
		}
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// leastFold is the first of the letters that are equal to r but for case.
func leastFold(r rune) rune {
	least := r
	for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
		least = min(least, o)
	}
	return least
}
