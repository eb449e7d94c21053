package policy

import (
	"slices"
	"strings"

	"stagedoor/flow"
)

// what names the first thing that is missing, as precisely as it can.
func what(lacks []lack) string {
	l := lacks[0]
	for _, o := range lacks {
		if o.verb == l.verb && o.typ == l.typ && o.field != anyField {
			l = o
			break
		}
	}
	typ := l.typ
	if typ == "*" {
		typ = "every type"
	}
	switch {
	case l.verb == uploadVerb, l.verb == downloadVerb:
		return whatFile(l)
	case l.verb == string(flow.GroupSchedule):
		return "read work schedules"
	case l.verb == string(flow.GroupPreferences):
		return "read preferences"
	case l.verb == string(flow.GroupSchema):
		return "read the schema of " + typ
	case l.typ == "":
		return "call " + l.verb
	case l.typ == StudioTarget:
		return "call " + l.verb + " for the whole studio"
	case l.verb == "presets":
		return "use the filter preset " + l.typ
	case l.verb == "link":
		return "link to " + l.typ
	case strings.Contains(l.verb, "_"): // an RPC method
		return "call " + l.verb + " for " + typ
	case l.field == anyField:
		return l.verb + " " + typ
	case l.field == flow.EveryField:
		return l.verb + " every field of " + typ
	}
	return l.verb + " " + typ + "." + l.field
}

// whatFile names a file that is put somewhere or fetched.
func whatFile(l lack) string {
	place := strings.TrimSuffix(l.typ+"."+l.field, ".")
	switch {
	case l.verb == uploadVerb && l.typ == "":
		return "upload a file"
	case l.verb == uploadVerb && l.field == flow.EveryField:
		return "upload to every field of " + l.typ
	case l.verb == uploadVerb:
		return "upload to " + place
	case isWord(l.verb, l.typ):
		return "download the site's " + l.typ
	case l.field == anyField:
		return "download files of " + l.typ
	}
	return "download " + place
}

// anyUpload is the rule that is offered where a file's place is not known yet.
const anyUpload = "upload: Version.sg_uploaded_movie # or where the file is for"

// suggest writes the smallest rules that give what is missing, as lines that
// can be pasted into an allow list. more says that this is not all of it.
func suggest(lacks []lack, more bool) string {
	var verbs []string
	byVerb := map[string][]lack{}
	for _, l := range lacks {
		if _, ok := byVerb[l.verb]; !ok {
			verbs = append(verbs, l.verb)
		}
		byVerb[l.verb] = append(byVerb[l.verb], l)
	}
	var parts []string
	bare := false
	for _, v := range verbs {
		if v == uploadVerb && byVerb[v][0].typ == "" {
			parts = append(parts, anyUpload)
			bare = true
			continue
		}
		if byVerb[v][0].typ == "" {
			parts = append(parts, v)
			bare = true
			continue
		}
		parts = append(parts, v+": "+targets(v, byVerb[v]))
	}
	out := "- {" + strings.Join(parts, ", ") + "}"
	if len(parts) == 1 || bare {
		out = "- " + strings.Join(parts, "\n- ")
	}
	if more {
		out += " # and more"
	}
	return out
}

// targets writes Type, Type.field, [Type, Type] or {Type: [fields], ...}.
func targets(verb string, lacks []lack) string {
	types, fields := byType(verb, lacks)
	if len(types) == 1 && len(fields[types[0]]) <= 1 {
		return yamlWord(strings.Join(append(types, fields[types[0]]...), "."))
	}
	list := true
	for _, t := range types {
		list = list && len(fields[t]) == 0
	}
	out := make([]string, len(types))
	for i, t := range types {
		f := slices.Clone(fields[t])
		for j := range f {
			f[j] = yamlWord(f[j])
		}
		switch {
		case list:
			out[i] = yamlWord(t)
		case len(f) == 0:
			out[i] = yamlWord(t) + `: "*"`
		case len(f) == 1:
			out[i] = yamlWord(t) + ": " + f[0]
		default:
			out[i] = yamlWord(t) + ": [" + strings.Join(f, ", ") + "]"
		}
	}
	if list {
		return "[" + strings.Join(out, ", ") + "]"
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// byType lists the types and the fields that a rule has to name of each; none
// means all of them. Where a type is reached and no field of it, the smallest
// is its id.
func byType(verb string, lacks []lack) (types []string, fields map[string][]string) {
	fields = map[string][]string{}
	every := map[string]bool{}
	want, _ := verbTakes(verb)
	for _, l := range lacks {
		typ := l.typ
		if !flow.IsTypeName(typ) && !isWord(verb, typ) {
			typ = "*" // a link to something in lower case: only this covers it
		}
		if _, ok := fields[typ]; !ok {
			types = append(types, typ)
			fields[typ] = nil
		}
		switch {
		case l.field == flow.EveryField:
			every[typ] = true
		case l.field != anyField:
			fields[typ] = append(fields[typ], l.field)
		}
	}
	for _, t := range types {
		switch {
		case every[t]:
			fields[t] = nil
		case want == takesFields && len(fields[t]) == 0 && verb != uploadVerb && verb != downloadVerb:
			fields[t] = []string{"id"}
		}
	}
	return types, fields
}

// yamlWord quotes a word that YAML would read as something else.
func yamlWord(w string) string {
	if strings.HasPrefix(w, "*") {
		return `"` + w + `"`
	}
	switch strings.ToLower(w) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return `"` + w + `"`
	}
	return w
}
