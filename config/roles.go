package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"stagedoor/policy"
)

// Bounds of roles.
const (
	// MaxRoleDepth is how many roles may bring one another in a row.
	MaxRoleDepth = 8
	// MaxAllTargets bounds types in the rules of all scripts together, a role's
	// counted for each script that has it: what is compiled from a small file must
	// not fill the memory.
	MaxAllTargets = 200_000
)

// role is a role as it stands in the file.
type role struct {
	name        string
	node        *node
	allow, deny ruleSet
	roles       []*node // the names of those that it brings
	used        bool
	depth       int // how many in a row it starts, itself included; 0 is not known yet
	open        bool
}

// roles reads the section of roles.
func (r *reading) roles(n *node) {
	if n.kind != kindMap {
		r.value(n, "roles by name are wanted here, this is "+n.kind.String(), "write NAME: {allow: [{read: Shot}]}")
		return
	}
	r.seen.roles = map[string]*role{}
	for _, v := range n.fields {
		name := v.key.text
		switch {
		case strings.TrimSpace(name) != name || name == "" || utf8.RuneCountInString(name) > maxScriptName:
			r.error(v.key.place, quoted(v.key)+" is no name of a role", fmt.Sprintf("1 to %d characters, no white space around them", maxScriptName))
			continue
		case v.kind == kindNull:
			r.error(v.key.place, quoted(v.key)+" says nothing", "give it allow, deny or roles")
			continue
		}
		o := &role{name: name, node: v}
		o.allow = ruleSet{of: "role " + name, role: name}
		o.deny = ruleSet{of: "role " + name, role: name, deny: true}
		r.object(v, fmt.Sprintf("role %q", name), []field{
			{"allow", func(v *node) { r.ruleList(&o.allow, v) }, ""},
			{"deny", func(v *node) { r.ruleList(&o.deny, v) }, ""},
			{"roles", r.roleNames(&o.roles), ""},
		}, "projects", "places")
		r.seen.roles[name] = o
		r.seen.roleOrder = append(r.seen.roleOrder, o)
	}
}

// roleNames reads the roles that a script has, or another role brings.
func (r *reading) roleNames(dst *[]*node) reader {
	return func(n *node) {
		var names []string
		r.texts(&names, r.text)(n)
		items := n.items
		if n.kind != kindList {
			items = []*node{n}
		}
		for _, it := range items {
			if slices.Contains(names, it.text) {
				*dst = append(*dst, it)
			}
		}
	}
}

// compose gives scripts the rules of their roles.
func (r *reading) compose() {
	before := len(r.found)
	for _, o := range r.seen.roleOrder {
		r.roleDepth(o, nil)
	}
	for i := range r.seen.scripts {
		r.knownRoles(r.seen.scripts[i].roles)
	}
	if slices.ContainsFunc(r.found[before:], func(f finding) bool { return f.severity == Error }) {
		return
	}
	total, met := 0, map[place]bool{}
	for i := range r.cfg.Scripts {
		s, pos := &r.cfg.Scripts[i], &r.seen.scripts[i]
		total += r.join(s, pos)
		if total > MaxAllTargets {
			r.error(pos.node.key.place, fmt.Sprintf("more than %d types in the rules of all scripts, those of roles counted for each", MaxAllTargets), "")
			return
		}
		r.denied(s, pos, met)
	}
	for _, o := range r.seen.roleOrder {
		if !o.used {
			r.warn(o.node.key.place, "no script has the role "+o.name, "give it to one with roles: ["+o.name+"], or remove it")
			continue
		}
		r.unmet(&o.deny, met)
	}
}

// knownRoles checks that roles exist, and gives those that do.
func (r *reading) knownRoles(names []*node) (out []*role) {
	for _, n := range names {
		o := r.seen.roles[n.text]
		if o == nil {
			known := make([]string, 0, len(r.seen.roleOrder))
			for _, o := range r.seen.roleOrder {
				known = append(known, o.name)
			}
			hint := "there is no roles section: add roles: {" + n.text + ": {allow: [{read: Shot}]}}"
			if len(known) > 0 {
				hint = didYouMean(n.text, known)
			}
			r.error(n.place, "there is no role "+quoted(n), hint)
			continue
		}
		out = append(out, o)
	}
	return out
}

// roleDepth counts the roles in a row that o starts, and refuses a circle. by is
// where o is named.
func (r *reading) roleDepth(o *role, by *node) int {
	switch {
	case o.open:
		r.error(by.place, "the role "+o.name+" brings itself", "remove it here, or on the way back to it")
		return 0
	case o.depth > 0:
		return o.depth
	}
	o.open = true
	deepest := 0
	for _, n := range o.roles {
		for _, next := range r.knownRoles([]*node{n}) {
			deepest = max(deepest, r.roleDepth(next, n))
		}
	}
	o.open, o.depth = false, deepest+1
	if o.depth == MaxRoleDepth+1 { // said once, where the bound is passed
		r.error(o.node.key.place, fmt.Sprintf("more than %d roles that bring one another in a row", MaxRoleDepth), "name them side by side: roles: [a, b]")
	}
	return o.depth
}

// rolesOf are the roles behind names, each once: one before those it brings.
func (r *reading) rolesOf(names []*node, out []*role) []*role {
	for _, n := range names {
		if o := r.seen.roles[n.text]; !slices.Contains(out, o) {
			out = r.rolesOf(o.roles, append(out, o))
		}
	}
	return out
}

// join writes a script's rules: its own, then those of its roles. It counts
// their types.
func (r *reading) join(s *Script, pos *scriptPos) int {
	s.AllowWhere = r.base + ":" + strconv.Itoa(s.Line)
	if pos.allow != nil {
		s.AllowWhere = r.base + ":" + strconv.Itoa(pos.allow.key.line)
	}
	roles := r.rolesOf(pos.roles, nil)
	s.Allow, s.Deny = slices.Clip(pos.allowed.rules), slices.Clip(pos.denied.rules)
	for _, o := range roles {
		o.used = true
		s.Roles = append(s.Roles, o.name)
		s.Allow, s.Deny = append(s.Allow, o.allow.rules...), append(s.Deny, o.deny.rules...)
	}
	for _, p := range (&policy.Script{Rules: s.Allow, Deny: s.Deny}).Problems() {
		r.error(pos.node.key.place, s.Name+" has "+p.Msg, p.Hint)
	}
	n := countTargets(s.Allow) + countTargets(s.Deny)
	switch {
	case len(roles) == 0:
	case n > MaxTargets:
		r.tooMany(pos.node.key.place)
	default:
		r.coveredByRoles(&pos.allowed, s.Allow[len(pos.allowed.rules):])
		r.coveredByRoles(&pos.denied, s.Deny[len(pos.denied.rules):])
	}
	return n
}

// coveredByRoles warns of a script's own rules that its roles bring anyway.
func (r *reading) coveredByRoles(own *ruleSet, rules []policy.Rule) {
	if len(own.rules) == 0 {
		return
	}
	c := r.newCovering()
	for i := range rules {
		c.add(i, &rules[i])
	}
	for i := range own.rules {
		if j := c.coveredBy(rules, &own.rules[i]); j >= 0 {
			r.warn(own.pos[i].verb, fmt.Sprintf("this %s rule adds nothing to the one in line %d, of the role %s", own.rules[i].Verb, rules[j].Line, rules[j].Role), "remove it")
		}
	}
}

// denied notes which deny rules of a script take something away, and warns of
// its own that don't.
func (r *reading) denied(s *Script, pos *scriptPos, met map[place]bool) {
	if len(s.Deny) == 0 {
		return
	}
	g := givenBy(s.Allow)
	sets := []*ruleSet{&pos.denied}
	for _, name := range s.Roles {
		sets = append(sets, &r.seen.roles[name].deny)
	}
	for _, set := range sets {
		for i := range set.rules {
			at := set.pos[i].verb
			met[at] = met[at] || g.meets(&set.rules[i])
		}
	}
	r.unmet(&pos.denied, met)
}

func (r *reading) unmet(set *ruleSet, met map[place]bool) {
	for i := range set.rules {
		if at := set.pos[i].verb; !met[at] && !set.bad {
			r.warn(at, "this deny rule takes nothing away: no rule allows what it names", "remove it; what no rule allows is refused anyway")
		}
	}
}
