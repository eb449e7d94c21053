package config

import (
	"fmt"
	"slices"
	"strings"

	"stagedoor/policy"
)

// rulePos is where the parts of a rule stand, beside the rule itself.
type rulePos struct {
	verb    place
	targets []place
	fields  [][]place
}

// laterRules are words of rules that other versions bring.
func laterRules() []string {
	return []string{"projects", "where", "cache", "coalesce"}
}

// allow reads a script's rules.
func (r *reading) allow(s *Script, n *node) {
	if n.kind != kindList {
		hint := "write - read: Shot"
		if n.kind == kindMap {
			hint = "put \"- \" before each rule"
		}
		r.value(n, "a list of rules is wanted here, this is "+n.kind.String(), hint)
		return
	}
	var poss []rulePos
	for _, it := range n.items {
		rules, pos := r.item(it)
		s.Allow = append(s.Allow, rules...)
		poss = append(poss, pos...)
	}
	targets := 0
	for i := range s.Allow {
		targets += len(s.Allow[i].Targets)
	}
	if targets > MaxTargets {
		r.error(n.key.place, fmt.Sprintf("more than %d types in the rules of one script", MaxTargets), "CustomEntity* stands for all of them")
		return
	}
	bad := false
	for i := range s.Allow {
		bad = r.problems(&s.Allow[i], poss[i]) || bad
	}
	if !bad {
		r.covered(s.Allow, poss)
	}
	for i := range s.Allow {
		r.notable(s, &s.Allow[i], poss[i])
	}
}

// item reads one entry of the list: a word, or verbs with what they reach.
func (r *reading) item(n *node) (rules []policy.Rule, pos []rulePos) {
	switch n.kind {
	case kindText:
		return []policy.Rule{{Verb: n.text, File: r.base, Line: n.line}}, []rulePos{{verb: n.place}}
	case kindMap:
		for _, v := range n.fields {
			if slices.Contains(laterRules(), v.key.text) {
				r.hide(v)
				r.error(v.key.place, v.key.text+" in a rule is not yet known by this version", "remove it, or use a newer stagedoor")
				continue
			}
			rule := policy.Rule{Verb: v.key.text, File: r.base, Line: v.key.line}
			p := rulePos{verb: v.key.place}
			if r.targets(v, &rule, &p) {
				rules, pos = append(rules, rule), append(pos, p)
			}
		}
		if len(n.fields) == 0 {
			r.error(n.place, "an empty rule", "write read: Shot")
		}
	case kindNull, kindInt, kindFloat, kindBool, kindList:
		r.error(n.where(), "a rule is wanted here, this is "+n.kind.String(), "write read: Shot")
	}
	return rules, pos
}

// targets reads what a verb reaches: Shot, Shot.code, a list of these, or
// {Shot: [code, project]}.
func (r *reading) targets(n *node, rule *policy.Rule, p *rulePos) bool {
	before := len(r.found)
	switch n.kind {
	case kindText:
		r.target(n, rule, p)
	case kindList:
		for _, it := range n.items {
			if it.kind != kindText {
				r.error(it.where(), rule.Verb+": a type is wanted here, this is "+it.kind.String(), "write [Shot, Task.content], or {Shot: [code, project]} instead of the list")
				continue
			}
			r.target(it, rule, p)
		}
	case kindMap:
		for _, v := range n.fields {
			r.typeFields(v, rule, p)
		}
	case kindNull, kindInt, kindFloat, kindBool:
		hint := "write " + rule.Verb + ": Shot; a verb that takes nothing stands alone: - " + rule.Verb
		r.value(n, "names nothing", hint)
		return false
	}
	if len(rule.Targets) == 0 && len(r.found) == before {
		r.value(n, "names nothing: this rule can never match", "name a type, or remove the line")
	}
	return len(r.found) == before
}

// target adds Type or Type.field, to the target of the same type if there is
// one.
func (r *reading) target(n *node, rule *policy.Rule, p *rulePos) {
	typ, field, dotted := strings.Cut(n.text, ".")
	i := slices.IndexFunc(rule.Targets, func(t policy.Target) bool { return t.Type == typ })
	if i < 0 {
		t, at := policy.Target{Type: typ}, []place(nil)
		if dotted {
			t.Fields, at = []string{field}, []place{n.place}
		}
		rule.Targets = append(rule.Targets, t)
		p.targets, p.fields = append(p.targets, n.place), append(p.fields, at)
		return
	}
	t := &rule.Targets[i]
	switch {
	case !dotted && t.Fields == nil, dotted && slices.Contains(t.Fields, field):
		r.error(n.place, quoted(n)+" is listed twice", "")
	case !dotted || t.Fields == nil:
		r.error(n.place, fmt.Sprintf("%s and single fields of it in one rule", typ), typ+" alone is every field; keep the one that is meant")
	default:
		t.Fields, p.fields[i] = append(t.Fields, field), append(p.fields[i], n.place)
	}
}

// typeFields adds Type: field, Type: [fields] or Type: "*".
func (r *reading) typeFields(n *node, rule *policy.Rule, p *rulePos) {
	t, items := policy.Target{Type: n.key.text}, n.items
	var at []place
	switch {
	case n.kind == kindText && n.text == "*":
	case n.kind == kindText:
		items = []*node{n}
		fallthrough
	case n.kind == kindList:
		t.Fields = []string{}
		for _, it := range items {
			switch {
			case it.kind != kindText:
				r.error(it.where(), n.name()+": a field's name is wanted here, this is "+it.kind.String(), "")
				return
			case it.text == "*":
				r.error(it.place, "* in a list of fields", "write "+n.name()+": \"*\" for every field")
				return
			case slices.Contains(t.Fields, it.text):
				r.error(it.place, quoted(it)+" is listed twice", "")
				return
			}
			t.Fields, at = append(t.Fields, it.text), append(at, it.place)
		}
	default:
		r.value(n, "fields are wanted here, this is "+n.kind.String(), "write "+n.name()+": [code, project], or "+n.name()+": \"*\" for every field")
		return
	}
	rule.Targets = append(rule.Targets, t)
	p.targets, p.fields = append(p.targets, n.key.place), append(p.fields, at)
}

// problems asks the policy what is wrong with a rule, and says where.
func (r *reading) problems(rule *policy.Rule, p rulePos) bool {
	ps := rule.Problems()
	for _, pr := range ps {
		at, hint := p.verb, pr.Hint
		if pr.Target >= 0 && pr.Target < len(p.targets) {
			at = p.targets[pr.Target]
			if f := p.fields[pr.Target]; pr.Field >= 0 && pr.Field < len(f) {
				at = f[pr.Field]
			}
		}
		if hint == "" && strings.HasPrefix(pr.Msg, "unknown rule") {
			hint = ruleHint(rule.Verb)
		}
		r.error(at, pr.Msg, hint)
	}
	return len(ps) > 0
}

// ruleHint is for a word that no rule starts with.
func ruleHint(word string) string {
	if slices.Contains(laterRules(), word) {
		return "this version doesn't know it yet"
	}
	verb, rest, two := strings.Cut(strings.ReplaceAll(word, ":", " "), " ")
	if two && slices.Contains(policy.Verbs(), verb) {
		return "write " + verb + ": " + strings.TrimSpace(rest)
	}
	return didYouMean(word, policy.Verbs())
}

// notable warns of what is allowed but reaches further than it looks.
func (r *reading) notable(s *Script, rule *policy.Rule, p rulePos) {
	if rule.Verb == "webhook_write" {
		r.warn(p.verb, s.Name+" may write webhooks: the site then sends values of records to any address that it names, and it may change, silence or remove hooks of others", "")
	}
	if rule.Verb == "webhook_read" {
		r.warn(p.verb, s.Name+" may read webhooks: their deliveries hold values of records of any type", "")
	}
	if rule.Verb != "read" {
		return
	}
	for i, t := range rule.Targets {
		switch t.Type {
		case "EventLogEntry":
			r.warn(p.targets[i], s.Name+" may read EventLogEntry, which shows old and new values of every field", "")
		case "ApiUser":
			r.warn(p.targets[i], s.Name+" may read ApiUser, which lists every script of the site", "")
		}
	}
}

// covered finds rules that are there twice, and those that add nothing to the
// ones before them.
func (r *reading) covered(rules []policy.Rule, poss []rulePos) {
	byVerb := map[string][]int{}
	for i := range rules {
		verb := rules[i].Verb
		for _, j := range byVerb[verb] {
			if equalTargets(rules[i].Targets, rules[j].Targets) {
				r.error(poss[i].verb, "this rule is there twice", fmt.Sprintf("the first is in line %d", rules[j].Line))
				break
			} else if coversAll(rules[j].Targets, rules[i].Targets) {
				r.warn(poss[i].verb, fmt.Sprintf("this %s rule adds nothing to the one in line %d", verb, rules[j].Line), "remove it")
				break
			}
		}
		byVerb[verb] = append(byVerb[verb], i)
	}
}

func equalTargets(a, b []policy.Target) bool { return coversSame(a, b) && coversSame(b, a) }

// coversSame says whether each target of b is in a, word for word, whatever the
// order.
func coversSame(a, b []policy.Target) bool {
	for _, t := range b {
		if !slices.ContainsFunc(a, func(o policy.Target) bool {
			return o.Type == t.Type && (o.Fields == nil) == (t.Fields == nil) && len(o.Fields) == len(t.Fields) && subset(t.Fields, o.Fields)
		}) {
			return false
		}
	}
	return true
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
