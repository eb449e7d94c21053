package config

import (
	"fmt"
	"slices"
	"strings"

	"stagedoor/policy"
)

// maxCoverWork bounds the comparisons, in one file, that look for rules which add
// nothing, so that none takes long to load: beyond it, such rules go without a word.
const maxCoverWork = 1 << 22

// every stands for all fields of a type in the keys of an index.
const every = "*"

// covering finds, for a rule, those before it that may give what it gives: by
// one thing that it names, the one that the fewest name.
type covering struct {
	byThing map[string][]int
	same    map[string]int // a rule as a whole, to the first of the kind
	work    *int           // what is left of maxCoverWork
}

func (r *reading) newCovering() *covering {
	return &covering{byThing: map[string][]int{}, same: map[string]int{}, work: &r.coverWork}
}

// things are what a rule names: each field of each target, or all of them.
func things(rule *policy.Rule, yield func(typ, field string) bool) {
	for _, t := range rule.Targets {
		if t.Fields == nil && !yield(t.Type, every) {
			return
		}
		for _, f := range t.Fields {
			if !yield(t.Type, f) {
				return
			}
		}
	}
}

func thing(verb, typ, field string) string { return verb + "\x00" + typ + "\x00" + field }

func (c *covering) add(i int, rule *policy.Rule) {
	things(rule, func(typ, field string) bool {
		k := thing(rule.Verb, typ, field)
		c.byThing[k] = append(c.byThing[k], i)
		return true
	})
}

// maybe are the rules that give the rarest thing of a rule, and so are all that
// may give everything.
func (c *covering) maybe(rule *policy.Rule) (out []int) {
	var rarest [][]int
	least := -1
	things(rule, func(typ, field string) bool {
		by, n := c.giving(rule.Verb, typ, field)
		if least < 0 || n < least {
			rarest, least = by, n
		}
		return least > 0 && *c.work > 0
	})
	*c.work -= max(least, 0)
	for _, some := range rarest {
		out = append(out, some...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// giving are the rules that give one thing, by what they call it, and how many
// they are.
func (c *covering) giving(verb, typ, field string) (by [][]int, n int) {
	names := []string{typ}
	for j := range strings.TrimSuffix(typ, "*") {
		names = append(names, typ[:j]+"*")
	}
	for _, name := range names {
		*c.work--
		by = append(by, c.byThing[thing(verb, name, every)])
		if field != every {
			by = append(by, c.byThing[thing(verb, name, field)])
		}
	}
	for _, some := range by {
		n += len(some)
	}
	return by, n
}

// covered finds rules that are there twice, and those that add nothing to the
// ones before them.
func (r *reading) covered(set *ruleSet) {
	c := r.newCovering()
	for i := range set.rules {
		rule := &set.rules[i]
		key := signature(rule)
		if j, twice := c.same[key]; twice {
			r.error(set.pos[i].verb, "this rule is there twice", fmt.Sprintf("the first is in line %d", set.rules[j].Line))
			continue
		}
		c.same[key] = i
		if j := c.coveredBy(set.rules, rule); j >= 0 {
			r.warn(set.pos[i].verb, fmt.Sprintf("this %s rule adds nothing to the one in line %d", rule.Verb, set.rules[j].Line), "remove it")
		}
		c.add(i, rule)
	}
}

// coveredBy is the first of rules that gives all that rule gives, or -1.
func (c *covering) coveredBy(rules []policy.Rule, rule *policy.Rule) int {
	if *c.work <= 0 {
		return -1
	}
	for _, j := range c.maybe(rule) {
		by := &rules[j]
		*c.work -= size(by) * size(rule)
		if *c.work <= 0 {
			return -1
		}
		if (optionsKey(by) == optionsKey(rule) || plain(by) && by.Share == rule.Share) && coversAll(by.Targets, rule.Targets) {
			return j
		}
	}
	return -1
}

// size is about how long it takes to look through a rule.
func size(rule *policy.Rule) int {
	n := 1
	for _, t := range rule.Targets {
		n += 1 + len(t.Fields)
	}
	return n
}

// signature is equal for rules that give the same, word for word, whatever the
// order.
func signature(rule *policy.Rule) string {
	parts := make([]string, 0, len(rule.Targets))
	for _, t := range rule.Targets {
		part := t.Type + "\x01"
		if t.Fields == nil {
			part += every
		}
		parts = append(parts, part+strings.Join(slices.Sorted(slices.Values(t.Fields)), "\x02"))
	}
	slices.Sort(parts)
	return rule.Verb + "\x00" + strings.Join(parts, "\x00") + "\x00" + optionsKey(rule)
}

// coversAll says whether a gives all that b gives. It says no where the policy
// wants a type or a field named, which a glob or a type alone then doesn't give.
func coversAll(a, b []policy.Target) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	for _, t := range b {
		if !slices.ContainsFunc(a, func(o policy.Target) bool { return covers(o, t) }) {
			return false
		}
	}
	return true
}

func covers(a, b policy.Target) bool {
	stem, glob := strings.CutSuffix(a.Type, "*")
	switch {
	case glob && (!strings.HasPrefix(b.Type, stem) || named(b)):
		return false
	case !glob && a.Type != b.Type:
		return false
	case a.Fields == nil:
		return !slices.ContainsFunc(b.Fields, namedField)
	}
	return b.Fields != nil && subset(b.Fields, a.Fields)
}

func subset(a, of []string) bool {
	return !slices.ContainsFunc(a, func(f string) bool { return !slices.Contains(of, f) })
}

// named says whether some verb wants the type named; a superset of the policy's
// own list costs a warning, no more.
func named(t policy.Target) bool {
	switch t.Type {
	case "EventLogEntry", "ApiUser", "PermissionRuleSet", "HumanUser", "ActionMenuItem",
		policy.ImagesTarget, policy.FilesTarget:
		return true
	}
	return false
}

// namedField is the same for fields.
func namedField(f string) bool {
	switch f {
	case "created_by", "created_at", "login", "email", "sg_status_list", "locked_until", "sso_login",
		"oxygen_user_id", "permission_rule_set", "generate_event_log_entries":
		return true
	}
	return false
}

// given is what allow rules name, for the question whether a deny rule takes
// anything away. Types fold case there.
type given struct {
	things map[string]bool
	types  map[string]bool // verb and type, whatever the fields
	sorted []string        // of types
	globs  map[string]bool // verb and stem
	verbs  map[string]bool
}

func givenBy(rules []policy.Rule) *given {
	g := &given{things: map[string]bool{}, types: map[string]bool{}, globs: map[string]bool{}, verbs: map[string]bool{}}
	for i := range rules {
		rule := &rules[i]
		g.verbs[rule.Verb] = true
		things(rule, func(typ, field string) bool {
			typ, field = strings.ToLower(typ), strings.ToLower(field)
			if stem, glob := strings.CutSuffix(typ, "*"); glob {
				g.globs[thing(rule.Verb, stem, "")] = true
			}
			g.types[thing(rule.Verb, typ, "")] = true
			g.things[thing(rule.Verb, typ, field)] = true
			return true
		})
	}
	for t := range g.types {
		g.sorted = append(g.sorted, t)
	}
	slices.Sort(g.sorted)
	return g
}

// meets says whether something that is allowed is denied by a rule, as far as
// names tell.
func (g *given) meets(deny *policy.Rule) bool {
	words := []string{deny.Verb}
	if deny.Verb == "link" {
		words = append(words, "read") // which allows naming a record too
	}
	for _, verb := range words {
		if len(deny.Targets) == 0 && g.verbs[verb] {
			return true
		}
		met := false
		things(deny, func(typ, field string) bool {
			met = g.meetsThing(verb, strings.ToLower(typ), strings.ToLower(field))
			return !met
		})
		if met {
			return true
		}
	}
	return false
}

func (g *given) meetsThing(verb, typ, field string) bool {
	stem, glob := strings.CutSuffix(typ, "*")
	for j := 0; j <= len(stem); j++ { // a glob that is allowed, of which this is a part
		if g.globs[thing(verb, stem[:j], "")] && g.meetsField(verb, stem[:j]+"*", field) {
			return true
		}
	}
	if !glob {
		return g.types[thing(verb, typ, "")] && g.meetsField(verb, typ, field)
	}
	// A type that is allowed, and a part of this; its fields are not looked at.
	from, _ := slices.BinarySearch(g.sorted, verb+"\x00"+stem)
	return from < len(g.sorted) && strings.HasPrefix(g.sorted[from], verb+"\x00"+stem)
}

func (g *given) meetsField(verb, typ, field string) bool {
	return field == every || g.things[thing(verb, typ, every)] || g.things[thing(verb, typ, field)]
}
