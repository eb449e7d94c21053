package cli

import (
	"fmt"
	"slices"
	"strings"

	"stagedoor/flow"
	"stagedoor/policy"
)

// maxPartsTold is how many parts of a batch are told one by one.
const maxPartsTold = 10

// callWords says what a call asks for: names, never values.
func callWords(c *flow.Call) string {
	if c.Group != flow.GroupBatch {
		return partWords(c)
	}
	var kinds []string
	count := map[string]int{}
	for i := range c.Parts {
		w := partWords(&c.Parts[i])
		if count[w] == 0 {
			kinds = append(kinds, w)
		}
		count[w]++
	}
	out := "batch of " + many(len(c.Parts), "part")
	for i, k := range kinds {
		if i == maxPartsTold {
			return out + fmt.Sprintf("\n            and %d other kinds", len(kinds)-i)
		}
		out += "\n            " + thousands(count[k]) + " × " + k
	}
	return out
}

// partWords is "update Version [description]  links Shot".
func partWords(c *flow.Call) string {
	head := strings.TrimSpace(c.Method + " " + c.Type)
	main, mainUse := flow.UseReturn, ""
	if c.Writes {
		main, mainUse = flow.UseWrite, "returns"
	}
	if f := fieldWords(c, main); f != "" {
		head += " [" + f + "]"
	}
	out := []string{head}
	for _, u := range []struct {
		use  flow.Use
		word string
	}{
		{flow.UseReturn, mainUse},
		{flow.UseFilter, "filtered by"},
		{flow.UseSort, "sorted by"},
		{flow.UseSummary, "sums"},
		{flow.UseLink, "links"},
		{flow.UseUpload, "into"},
		{flow.UseDownload, "of"},
	} {
		if f := fieldWords(c, u.use); u.word != "" && f != "" {
			out = append(out, u.word+" "+f)
		}
	}
	if len(c.Presets) > 0 {
		out = append(out, "presets "+strings.Join(c.Presets, ", "))
	}
	if c.PageSize > 0 {
		out = append(out, fmt.Sprintf("%d a page", c.PageSize))
	}
	switch {
	case c.Projects == nil:
	case slices.Equal(c.Projects, []int64{flow.ShapeProject}): // a record has no ids
		out = append(out, "in projects that it names")
	default:
		out = append(out, "in project "+idsText(c.Projects))
	}
	return strings.Join(out, "  ")
}

// fieldWords lists what a call names in one position: fields of its own type
// alone, others with their type.
func fieldWords(c *flow.Call, use flow.Use) string {
	var out []string
	for _, t := range c.Touches {
		word := strings.TrimSuffix(t.Type+"."+t.Field, ".")
		if t.Type == c.Type && t.Field != "" {
			word = t.Field
		}
		switch {
		case t.Use != use:
		case use == flow.UseReturn && c.Writes && (t.Field == "id" || t.Field == "type"):
		case t.Field == "" && use != flow.UseLink && use != flow.UseUpload && use != flow.UseDownload:
		case t.Field == flow.EveryField:
			out = append(out, "every field")
		case !slices.Contains(out, word):
			out = append(out, word)
		}
	}
	return strings.Join(out, ", ")
}

// whyNot says what the script's rules have near a need that they lack.
func whyNot(s *bookScript, n policy.Need) string {
	if len(s.Allow) == 0 {
		return "has no rules"
	}
	var verbs, types, fields []string
	for i := range s.Allow {
		r := &s.Allow[i]
		if !slices.Contains(verbs, r.Verb) {
			verbs = append(verbs, r.Verb)
		}
		if r.Verb != n.Verb {
			continue
		}
		for _, t := range r.Targets {
			if !slices.Contains(types, t.Type) {
				types = append(types, t.Type)
			}
			if t.Type == n.Type {
				fields = append(fields, t.Fields...)
			}
		}
	}
	switch {
	case !slices.Contains(verbs, n.Verb):
		return "has " + list(verbs) + "; nothing for " + n.Verb
	case len(fields) > 0 && n.Field != "":
		return n.Verb + " " + n.Type + " has " + list(fields) + "; not " + fieldName(n.Field)
	case slices.Contains(types, n.Type) && n.NeedsNaming():
		return n.Verb + " " + n.Type + " alone does not cover " + fieldName(n.Field) + ", which has to be named"
	case len(types) > 0 && n.NeedsNaming():
		return n.Verb + " has " + list(types) + "; not " + n.Type + ", which has to be named"
	case len(types) > 0:
		return n.Verb + " has " + list(types) + "; not " + n.Type
	}
	return "has " + list(verbs) + "; not this"
}

func fieldName(f string) string {
	if f == flow.EveryField {
		return "every field"
	}
	return f
}

// maxNamed is how many names a line lists.
const maxNamed = 12

func list(names []string) string {
	if len(names) > maxNamed {
		return strings.Join(names[:maxNamed], ", ") + fmt.Sprintf(" and %d others", len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}
