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
	seen    map[string]int // while it is read: "Type" and "Type.field"; after a zero byte, "Type" and where its target is
}

// ruleSet is a list of rules as it stands in the file.
type ruleSet struct {
	of    string // whose they are, as a message says it
	role  string // the role's name, or "" for a script's own
	deny  bool
	bad   bool // some rule of it is none
	rules []policy.Rule
	pos   []rulePos
}

// ruleList reads an allow or a deny list.
func (r *reading) ruleList(set *ruleSet, n *node) {
	if n.kind != kindList {
		hint := "write - read: Shot"
		if n.kind == kindMap {
			hint = "put \"- \" before each rule"
		}
		r.value(n, "a list of rules is wanted here, this is "+n.kind.String(), hint)
		return
	}
	for _, it := range n.items {
		rules, pos := r.item(set, it)
		set.rules, set.pos = append(set.rules, rules...), append(set.pos, pos...)
	}
	if countTargets(set.rules) > MaxTargets {
		r.tooMany(n.key.place)
		set.rules, set.pos = nil, nil
		return
	}
	ask := (*policy.Rule).Problems
	if set.deny {
		ask = (*policy.Rule).DenyProblems
	}
	for i := range set.rules {
		set.bad = r.problems(ask, &set.rules[i], set.pos[i]) || set.bad
	}
	if !set.bad {
		r.covered(set)
	}
	if !set.deny {
		for i := range set.rules {
			r.notable(set.of, &set.rules[i], set.pos[i])
		}
	}
}

func countTargets(rules []policy.Rule) (n int) {
	for i := range rules {
		n += max(1, len(rules[i].Targets))
	}
	return n
}

func (r *reading) tooMany(at place) {
	r.error(at, fmt.Sprintf("more than %d types in the rules of one script", MaxTargets), "CustomEntity* stands for all of them")
}

// item reads one entry of the list: a word, or verbs with what they reach, and
// options that hold for all of them.
func (r *reading) item(set *ruleSet, n *node) (rules []policy.Rule, pos []rulePos) {
	bare := policy.Rule{File: r.base, Role: set.role}
	switch n.kind {
	case kindText:
		bare.Verb, bare.Line = n.text, n.line
		return []policy.Rule{bare}, []rulePos{{verb: n.place}}
	case kindMap:
		var o options
		for _, v := range n.fields {
			if slices.Contains(optionWords(), v.key.text) {
				r.option(&o, set.deny, v)
				continue
			}
			rule, p := bare, rulePos{verb: v.key.place}
			rule.Verb, rule.Line = v.key.text, v.key.line
			if r.targets(v, &rule, &p) {
				rules, pos = append(rules, rule), append(pos, p)
			}
		}
		if len(n.fields) == len(o.given) {
			r.error(n.place, "an empty rule", "write read: Shot")
		}
		r.give(&o, rules)
	case kindNull, kindInt, kindFloat, kindBool, kindList:
		r.error(n.where(), "a rule is wanted here, this is "+n.kind.String(), "write read: Shot")
	}
	return rules, pos
}

// targets reads what a verb reaches: Shot, Shot.code, a list of these, or
// {Shot: [code, project]}; or nothing, where the verb takes nothing.
func (r *reading) targets(n *node, rule *policy.Rule, p *rulePos) bool {
	before := len(r.found)
	p.seen = map[string]int{}
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
	case kindNull:
		if takesNothing(rule.Verb) || rule.Verb == "info" { // the policy says what else it has to have
			return true
		}
		fallthrough
	case kindInt, kindFloat, kindBool:
		hint := "write " + rule.Verb + ": Shot; a verb that takes nothing stands alone: - " + rule.Verb
		r.value(n, "names nothing", hint)
		return false
	}
	p.seen = nil
	if len(rule.Targets) == 0 && len(r.found) == before {
		r.value(n, "names nothing: this rule can never match", "name a type, or remove the line")
	}
	return len(r.found) == before
}

// takesNothing says whether a verb may stand without what it reaches.
func takesNothing(verb string) bool {
	return len((&policy.Rule{Verb: verb}).Problems()) == 0
}

// target adds Type or Type.field, to the target of the same type if there is
// one.
func (r *reading) target(n *node, rule *policy.Rule, p *rulePos) {
	typ, field, dotted := strings.Cut(n.text, ".")
	_, twice := p.seen[n.text]
	p.seen[n.text] = len(rule.Targets)
	i, known := p.seen["\x00"+typ]
	switch {
	case twice:
		r.error(n.place, quoted(n)+" is listed twice", "")
	case !known:
		p.seen["\x00"+typ] = len(rule.Targets)
		t, at := policy.Target{Type: typ}, []place(nil)
		if dotted {
			t.Fields, at = []string{field}, []place{n.place}
		}
		rule.Targets = append(rule.Targets, t)
		p.targets, p.fields = append(p.targets, n.place), append(p.fields, at)
	case !dotted || rule.Targets[i].Fields == nil:
		r.error(n.place, fmt.Sprintf("%s and single fields of it in one rule", typ), typ+" alone is every field; keep the one that is meant")
	default:
		rule.Targets[i].Fields, p.fields[i] = append(rule.Targets[i].Fields, field), append(p.fields[i], n.place)
	}
}

// typeFields adds Type: field, Type: [fields] or Type: "*".
func (r *reading) typeFields(n *node, rule *policy.Rule, p *rulePos) {
	t, items := policy.Target{Type: n.key.text}, n.items
	var at []place
	seen := map[string]bool{}
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
			case seen[it.text]:
				r.error(it.place, quoted(it)+" is listed twice", "")
				return
			}
			seen[it.text] = true
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
func (r *reading) problems(ask func(*policy.Rule) []policy.Problem, rule *policy.Rule, p rulePos) bool {
	ps := ask(rule)
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
	if slices.Contains(optionWords(), word) {
		return "it is an option of a rule: write it beside the verb, in the same entry"
	}
	verb, rest, two := strings.Cut(strings.ReplaceAll(word, ":", " "), " ")
	if two && slices.Contains(policy.Verbs(), verb) {
		return "write " + verb + ": " + strings.TrimSpace(rest)
	}
	return didYouMean(word, policy.Verbs())
}

// notable warns of what is allowed but reaches further than it looks.
func (r *reading) notable(of string, rule *policy.Rule, p rulePos) {
	if rule.Verb == "webhook_write" {
		r.warn(p.verb, of+" may write webhooks: the site then sends values of records to any address that it names, and it may change, silence or remove hooks of others", "")
	}
	if rule.Verb == "webhook_read" {
		r.warn(p.verb, of+" may read webhooks: their deliveries hold values of records of any type", "")
	}
	if rule.Verb != "read" {
		return
	}
	for i, t := range rule.Targets {
		switch t.Type {
		case "EventLogEntry":
			r.warn(p.targets[i], of+" may read EventLogEntry, which shows old and new values of every field", "")
		case "ApiUser":
			r.warn(p.targets[i], of+" may read ApiUser, which lists every script of the site", "")
		}
	}
}
