package cli

import (
	"fmt"
	"slices"
	"strings"

	"stagedoor/flow"
	"stagedoor/policy"
)

// What a rule gives is asked of the policy itself, by a call that needs exactly
// one thing: these commands know no grammar of their own.

// probeType is a type that no site has. A call that has to read something reads
// it, where that is not what is asked about.
const probeType = "StagedoorProbe"

// needCall is a call that needs this and nothing else, but for reading probeType.
func needCall(n policy.Need) *flow.Call {
	c := &flow.Call{Kind: flow.KindRPC, Method: n.Verb, Group: flow.Group(n.Verb), Type: n.Type}
	touch := func(typ, field string, use flow.Use) {
		c.Touches = []flow.Touch{{Type: typ, Field: field, Use: use}}
	}
	switch flow.Group(n.Verb) { //nolint:exhaustive // the others are named methods
	case flow.GroupRead:
		touch(n.Type, orID(n.Field), flow.UseReturn)
	case flow.GroupCreate, flow.GroupUpdate:
		c.Writes = true
		if n.Field != "" {
			touch(n.Type, n.Field, flow.UseWrite)
		}
	case flow.GroupDelete, flow.GroupRevive:
		c.Writes = true
	case flow.GroupUpload:
		c.Kind, c.Writes = flow.KindUpload, true
		if n.Type != "" {
			touch(n.Type, n.Field, flow.UseUpload)
		}
	case flow.GroupDownload:
		c.Kind = flow.KindDownload
		touch(n.Type, n.Field, flow.UseDownload)
	case flow.GroupFollow, flow.GroupSchema:
		if n.Type == "*" {
			c.Type = ""
		}
	case flow.GroupSchedule, flow.GroupPreferences:
	case "link":
		c.Method, c.Group, c.Type = "read", flow.GroupRead, ""
		touch(n.Type, "", flow.UseLink)
	case "presets":
		c.Method, c.Group, c.Type, c.Presets = "read", flow.GroupRead, probeType, []string{n.Type}
		touch(probeType, "id", flow.UseReturn)
	default:
		c.Group, c.Studio = flow.GroupNamed, n.Type == policy.StudioTarget
	}
	return c
}

func orID(field string) string {
	if field == "" {
		return "id"
	}
	return field
}

// probeRule lets needCall read probeType.
func probeRule() policy.Rule {
	return policy.Rule{Verb: "read", Targets: []policy.Target{{Type: probeType, Fields: []string{"id"}}}}
}

// bare is a rule without its options: what it reaches, whatever holds.
func bare(r *policy.Rule) policy.Rule {
	return policy.Rule{Verb: r.Verb, Targets: r.Targets, File: r.File, Line: r.Line, Role: r.Role}
}

// gives says whether rules give a need, whatever their options.
func gives(rules []policy.Rule, n policy.Need) bool {
	all := []policy.Rule{probeRule()}
	for i := range rules {
		if near, ok := nearRule(&rules[i], n); ok {
			all = append(all, near)
		}
	}
	return policy.Compile(policy.Script{Rules: all}).Decide(policy.Query{Call: needCall(n)}).Allow
}

// nearRule is a rule without its options, and with those targets alone that may
// reach a need's type.
func nearRule(r *policy.Rule, n policy.Need) (policy.Rule, bool) {
	if r.Verb != n.Verb && !(n.Verb == "link" && r.Verb == "read") {
		return policy.Rule{}, false
	}
	near := policy.Rule{Verb: r.Verb, File: r.File, Line: r.Line}
	for _, t := range r.Targets {
		if stem, glob := strings.CutSuffix(t.Type, "*"); t.Type == n.Type || n.Type == "" || glob && strings.HasPrefix(n.Type, stem) {
			near.Targets = append(near.Targets, t)
		}
	}
	return near, len(near.Targets) > 0 || len(r.Targets) == 0
}

// forbids says whether a deny rule meets a need, whatever its options.
func forbids(deny *policy.Rule, n policy.Need) bool {
	s := policy.Script{Rules: append(rulesFor([]policy.Need{n}), probeRule()), Deny: []policy.Rule{bare(deny)}}
	return !policy.Compile(s).Decide(policy.Query{Call: needCall(n)}).Allow
}

// rulesFor are the smallest rules that give needs: one for each verb, in the
// order of the verbs, types and fields in the alphabet's.
func rulesFor(needs []policy.Need) []policy.Rule {
	byVerb := map[string][]policy.Need{}
	for _, n := range needs {
		byVerb[n.Verb] = append(byVerb[n.Verb], n)
	}
	var out []policy.Rule
	for _, verb := range policy.Verbs() {
		var bare, typed []policy.Need
		for _, n := range byVerb[verb] {
			if n.Type == "" {
				bare = append(bare, n)
			} else {
				typed = append(typed, n)
			}
		}
		switch {
		case len(bare) > 0 && verb == "activity_stream": // alone it is for every type
			typed = nil
		case verb == string(flow.GroupUpload): // any upload gives leave to ask for a link; alone there is no rule for that
			bare = nil
		}
		for _, ns := range [][]policy.Need{bare, typed} {
			if len(ns) > 0 {
				out = append(out, ruleFor(verb, ns))
			}
		}
	}
	return out
}

func ruleFor(verb string, needs []policy.Need) policy.Rule {
	r := policy.Rule{Verb: verb}
	fields := map[string][]string{}
	for _, n := range needs {
		if n.Type == "" {
			continue // a verb that takes nothing
		}
		typ := n.Type
		if !flow.IsTypeName(typ) && !isTargetWord(verb, typ) {
			typ = "*" // a link to what is written in lower case: only this covers it
		}
		fields[typ] = append(fields[typ], n.Field)
	}
	types := make([]string, 0, len(fields))
	for typ := range fields {
		types = append(types, typ)
	}
	slices.Sort(types)
	for _, typ := range types {
		r.Targets = append(r.Targets, policy.Target{Type: typ, Fields: leastFields(verb, fields[typ])})
	}
	return r
}

// isTargetWord says whether a verb takes a word where others take a type.
func isTargetWord(verb, word string) bool {
	return verb == "presets" || word == policy.StudioTarget || word == policy.ImagesTarget || word == policy.FilesTarget
}

// leastFields are the fields that a rule has to name; nil is all of them. A type
// that is reached without a field takes its id.
func leastFields(verb string, fields []string) []string {
	if slices.Contains(fields, flow.EveryField) {
		return nil
	}
	var out []string
	for _, f := range fields {
		if f != "" {
			out = append(out, f)
		}
	}
	if len(out) == 0 && (verb == "read" || verb == "create" || verb == "update") {
		return []string{"id"}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ruleYAML writes a rule as it stands in a list, in one line, without the hyphen.
func ruleYAML(r *policy.Rule) string {
	if len(r.Targets) == 0 {
		return r.Verb
	}
	return r.Verb + ": " + targetsYAML(r.Targets)
}

// targetsYAML writes Type, Type.field, [Type, Type] or {Type: [fields], ...}.
func targetsYAML(ts []policy.Target) string {
	if len(ts) == 1 && len(ts[0].Fields) <= 1 {
		return policy.YAMLWord(strings.Join(append([]string{ts[0].Type}, ts[0].Fields...), "."))
	}
	list := !slices.ContainsFunc(ts, func(t policy.Target) bool { return t.Fields != nil })
	out := make([]string, len(ts))
	for i, t := range ts {
		out[i] = policy.YAMLWord(t.Type)
		if !list {
			out[i] += ": " + fieldsYAML(t.Fields)
		}
	}
	if list {
		return "[" + strings.Join(out, ", ") + "]"
	}
	return "{" + strings.Join(out, ", ") + "}"
}

func fieldsYAML(fields []string) string {
	switch len(fields) {
	case 0:
		return `"*"`
	case 1:
		return policy.YAMLWord(fields[0])
	}
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = policy.YAMLWord(f)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// optionsText says on what a rule depends, as its options are written.
func optionsText(r *policy.Rule) string {
	var out []string
	if p := r.Projects; p != nil {
		s := "projects " + idsText(p.IDs)
		if p.AddFilter {
			s += ", filter added"
		}
		if p.Lookup {
			s += ", looked up"
		}
		out = append(out, s)
	}
	if r.When != nil {
		out = append(out, "where "+r.When.String())
	}
	if r.MaxRows > 0 {
		out = append(out, fmt.Sprintf("max_rows %d", r.MaxRows))
	}
	if r.MaxBatch > 0 {
		out = append(out, fmt.Sprintf("max_batch %d", r.MaxBatch))
	}
	return strings.Join(out, "; ")
}

// shareText says for how long answers are shared.
func shareText(s policy.Share) string {
	switch {
	case s.Seconds > 0:
		return fmt.Sprintf("cache %ds", s.Seconds)
	case s.Coalesce:
		return "coalesce"
	}
	return ""
}

func idsText(ids []int64) string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = fmt.Sprint(id)
	}
	return strings.Join(out, ", ")
}

// ruleWords is a rule in one line, with what it depends on.
func ruleWords(r *policy.Rule) string {
	out := ruleYAML(r)
	if o := optionsText(r); o != "" {
		out += "   (" + o + ")"
	}
	return out
}
