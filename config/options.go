package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"stagedoor/policy"
)

// Bounds of the options of a rule.
const (
	MaxRows  = 100_000   // max_rows; the site's own pages are far smaller
	MaxBatch = 65536     // max_batch: no call has more parts
	MaxCache = time.Hour // what changes more rarely than that is cheap to ask for again
	minCache = time.Second
	// maxConditions is how many different conditions one file may have: each takes
	// a tenth of a millisecond, and some memory, to compile.
	maxConditions = 2000
)

// options are what stands in a rule beside its verbs, and holds for all of them
// that it means something for.
type options struct {
	projects          *policy.Projects
	when              *policy.Condition
	maxRows, maxBatch int
	cache             time.Duration
	coalesce          bool
	given             []*node // the options that were written
}

// optionWords are the fields of a rule that are no verbs.
func optionWords() []string {
	return []string{"projects", "where", "max_rows", "max_batch", "cache", "coalesce"}
}

// option reads one option. A deny rule takes those that say what it forbids.
func (r *reading) option(o *options, deny bool, n *node) {
	o.given = append(o.given, n)
	switch word := n.key.text; {
	case n.kind == kindNull:
		r.error(n.key.place, word+" has no value", "give it one, or remove the line")
	case deny && word != "projects" && word != "where":
		r.error(n.key.place, word+" in a deny rule", "deny takes projects and where; "+word+" belongs to what is allowed")
	case word == "projects":
		o.projects = r.projects(n, deny)
	case word == "where":
		r.condition(&o.when, n)
	case word == "max_rows":
		r.count(&o.maxRows, 1, MaxRows)(n)
	case word == "max_batch":
		r.count(&o.maxBatch, 1, MaxBatch)(n)
	case word == "cache":
		r.duration(&o.cache, minCache, MaxCache)(n)
		if o.cache%time.Second != 0 {
			r.value(n, quoted(n)+" is no whole number of seconds", "write 30s or 5m")
		}
	case word == "coalesce":
		r.boolean(&o.coalesce)(n)
	}
}

// field is an option as it was written.
func (o *options) field(word string) *node {
	i := slices.IndexFunc(o.given, func(n *node) bool { return n.key.text == word })
	if i < 0 {
		return nil
	}
	return o.given[i]
}

// give writes the options into the rules of their entry. An option that means
// nothing for any of them is an error: it would promise what does not happen.
func (r *reading) give(o *options, rules []policy.Rule) {
	if c := o.field("coalesce"); o.cache > 0 && c != nil && !o.coalesce {
		r.error(c.key.place, "cache and coalesce: false: what is cached is asked for once", "remove one of the two")
	}
	used := map[string]bool{"projects": true, "where": true}
	for i := range rules {
		rule := &rules[i]
		rule.Projects, rule.When = o.projects, o.when
		if rule.Verb == "read" {
			rule.MaxRows, used["max_rows"] = o.maxRows, true
		}
		if batched(rule.Verb) {
			rule.MaxBatch, used["max_batch"] = o.maxBatch, true
		}
		if shareable(rule.Verb) {
			rule.Share = policy.Share{Coalesce: o.coalesce || o.cache > 0, Seconds: int(o.cache / time.Second)}
			used["cache"], used["coalesce"] = true, true
		}
	}
	if len(rules) == 0 {
		return // what is wrong there has been said
	}
	for _, n := range o.given {
		if word := n.key.text; !used[word] {
			r.error(n.key.place, word+" does nothing for "+verbs(rules), map[string]string{
				"max_rows":  "it bounds the rows of a page: write it beside read",
				"max_batch": "it bounds the parts of a batch: write it beside create, update, delete, revive, read or link",
				"cache":     "answers are kept for read, presets, schema, schedule, preferences, license_info and info only",
				"coalesce":  "calls share an answer for read, presets, schema, schedule, preferences, license_info and info only",
			}[word])
		}
	}
	r.cachedEvents(o, rules)
}

// cachedEvents warns where an answer is kept that is out of date at once.
func (r *reading) cachedEvents(o *options, rules []policy.Rule) {
	at := o.field("cache")
	if at == nil || o.cache == 0 {
		return
	}
	for i := range rules {
		if rules[i].Verb == "read" && slices.ContainsFunc(rules[i].Targets, func(t policy.Target) bool { return t.Type == "EventLogEntry" }) {
			r.warn(at.key.place, "events are kept for "+showDuration(o.cache)+": whoever waits for new ones sees them that much later", "give EventLogEntry a rule of its own, without cache")
		}
	}
}

func verbs(rules []policy.Rule) string {
	out := make([]string, len(rules))
	for i := range rules {
		out[i] = rules[i].Verb
	}
	return strings.Join(out, ", ")
}

// batched says whether parts of a batch may need a verb.
func batched(verb string) bool {
	return slices.Contains([]string{"create", "update", "delete", "revive", "read", "link"}, verb)
}

// shareable says whether an answer may be shared where a verb has a hand in it.
func shareable(verb string) bool {
	return slices.Contains([]string{"read", "presets", "schema", "schedule", "preferences", "license_info", "info"}, verb)
}

// condition reads a condition in CEL and compiles it, each text once.
func (r *reading) condition(dst **policy.Condition, n *node) {
	var text string
	if r.text(&text)(n); text == "" {
		return
	}
	if c := r.conditions[text]; c != nil {
		*dst = c
		return
	}
	if len(r.conditions) == maxConditions {
		r.value(n, fmt.Sprintf("the file has more than %d different conditions", maxConditions), "")
		return
	}
	c, err := policy.NewCondition(text)
	if err != nil {
		r.value(n, err.Error(), "docs/rules.md lists what a condition may look at")
		return
	}
	if r.conditions == nil {
		r.conditions = map[string]*policy.Condition{}
	}
	r.conditions[text] = c
	*dst = c
}

// projects reads [122, 145], or {ids: […], lookup: cached, filter: add}.
func (r *reading) projects(n *node, deny bool) *policy.Projects {
	p := &policy.Projects{}
	if n.kind != kindMap {
		if r.ids(&p.IDs)(n); len(p.IDs) == 0 {
			return nil
		}
		return p
	}
	var lookup, filter string
	r.object(n, "projects", []field{
		{"ids", r.ids(&p.IDs), "[122, 145]"},
		{"lookup", r.word(&lookup, "cached"), ""},
		{"filter", r.word(&filter, "add"), ""},
	})
	for _, word := range []string{"lookup", "filter"} {
		if f := n.field(word); deny && f != nil {
			r.error(f.key.place, word+" in a deny rule", "a deny takes ids only: what is not shown to lie elsewhere is denied")
		}
	}
	if len(p.IDs) == 0 {
		return nil // what is wrong there has been said
	}
	p.Lookup, p.AddFilter = lookup != "" && !deny, filter != "" && !deny
	return p
}

// ids reads a project's id, or a list of them.
func (r *reading) ids(dst *[]int64) reader {
	return func(n *node) {
		items := n.items
		switch {
		case n.kind != kindList:
			items = []*node{n}
		case len(items) == 0:
			r.value(n, "no project: this rule can never match", "name projects by id, or remove the line")
			return
		case len(items) > policy.MaxProjects:
			r.value(n, fmt.Sprintf("more than %d projects", policy.MaxProjects), "")
			return
		}
		seen := map[int64]bool{}
		for _, it := range items {
			id, err := strconv.ParseInt(it.text, 10, 64)
			if it.kind != kindInt || err != nil || id < 1 || id > math.MaxInt32 || strconv.FormatInt(id, 10) != it.text {
				r.error(it.where(), quoted(it)+" is no project", "projects are named by id: [122, 145]")
				return
			}
			if seen[id] {
				r.error(it.place, quoted(it)+" is listed twice", "")
				return
			}
			seen[id] = true
			*dst = append(*dst, id)
		}
	}
}

// optionsKey is equal for rules with equal options.
func optionsKey(rule *policy.Rule) string {
	var ids []int64
	add, lookup, when := false, false, ""
	if p := rule.Projects; p != nil {
		ids = slices.Sorted(slices.Values(p.IDs))
		add, lookup = p.AddFilter, p.Lookup
	}
	if rule.When != nil {
		when = rule.When.String()
	}
	return fmt.Sprint(rule.Projects != nil, ids, add, lookup, rule.MaxRows, rule.MaxBatch, rule.Share, when)
}

// plain says whether a rule gives what it names whatever else the call says.
func plain(rule *policy.Rule) bool {
	return rule.Projects == nil && rule.When == nil && rule.MaxRows == 0 && rule.MaxBatch == 0
}
