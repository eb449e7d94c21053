package policy

import (
	"slices"
	"strconv"
	"strings"

	"stagedoor/flow"
)

// what names the first thing that is missing, as precisely as it can.
func what(lacks []Need) string {
	if len(lacks) == 0 {
		return "make this call"
	}
	l := lacks[0]
	for _, o := range lacks {
		if o.Verb == l.Verb && o.Type == l.Type && o.Field != anyField {
			l = o
			break
		}
	}
	return needWords(l)
}

// needWords is a need in a sentence: "read Shot.code".
func needWords(l Need) string {
	typ := l.Type
	if typ == "*" {
		typ = "every type"
	}
	switch {
	case l.Verb == uploadVerb, l.Verb == downloadVerb:
		return whatFile(l)
	case l.Verb == string(flow.GroupSchedule):
		return "read work schedules"
	case l.Verb == string(flow.GroupPreferences):
		return "read preferences"
	case l.Verb == string(flow.GroupSchema):
		return "read the schema of " + typ
	case l.Type == "":
		return "call " + l.Verb
	case l.Type == StudioTarget:
		return "call " + l.Verb + " for the whole studio"
	case l.Verb == "presets":
		return "use the filter preset " + l.Type
	case l.Verb == "link":
		return "link to " + l.Type
	case strings.Contains(l.Verb, "_"): // an RPC method
		return "call " + l.Verb + " for " + typ
	case l.Field == anyField:
		return l.Verb + " " + typ
	case l.Field == flow.EveryField:
		return l.Verb + " every field of " + typ
	}
	return l.Verb + " " + typ + "." + l.Field
}

// whatFile names a file that is put somewhere or fetched.
func whatFile(l Need) string {
	place := strings.TrimSuffix(l.Type+"."+l.Field, ".")
	switch {
	case l.Verb == uploadVerb && l.Type == "":
		return "upload a file"
	case l.Verb == uploadVerb && l.Field == flow.EveryField:
		return "upload to every field of " + l.Type
	case l.Verb == uploadVerb:
		return "upload to " + place
	case isWord(l.Verb, l.Type):
		return "download the site's " + l.Type
	case l.Field == anyField:
		return "download files of " + l.Type
	}
	return "download " + place
}

// anyUpload is the rule that is offered where a file's place is not known yet.
const anyUpload = "upload: Version.sg_uploaded_movie # or where the file is for"

// everyProject marks a rule that is offered without projects.
const everyProject = "in every project"

// options are what stands beside the verbs of a rule that is offered.
type options struct {
	projects       []int64
	filter, lookup bool
	rows, batch    int
	comment        string
}

// of are the options that a verb takes, as they are written behind it.
func (o *options) of(verb string) string {
	var out string
	if len(o.projects) > 0 && takesProjects(verb) {
		ids := make([]string, len(o.projects))
		for i, id := range o.projects {
			ids[i] = strconv.FormatInt(id, 10)
		}
		list := "[" + strings.Join(ids, ", ") + "]"
		switch {
		case o.lookup && o.filter:
			list = "{ids: " + list + ", lookup: cached, filter: add}"
		case o.lookup:
			list = "{ids: " + list + ", lookup: cached}"
		case o.filter:
			list = "{ids: " + list + ", filter: add}"
		}
		out += ", projects: " + list
	}
	if o.rows > 0 && takesRows(verb) {
		out += ", max_rows: " + number(o.rows)
	}
	if o.batch > 0 && takesBatch(verb) {
		out += ", max_batch: " + number(o.batch)
	}
	return out
}

// suggest writes the smallest rules that give what is missing. more says that
// this is not all of it.
func suggest(needs []Need, o options, more bool) string {
	var lines []line
	if len(o.projects) > 0 && !o.lookup && slices.ContainsFunc(needs, func(n Need) bool { return n.Verb == readVerb && flow.IgnoresFilters(n.Type) }) {
		o.projects, o.comment = nil, everyProject // there, nothing shows it
	}
	verbs, byVerb := sorted(needs)
	for _, v := range verbs {
		lines = offer(lines, v, byVerb[v], o.of(v))
	}
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = "- " + l.String()
	}
	all, broad := strings.Join(out, "\n"), slices.IndexFunc(needs, Need.isUnnamed)
	switch {
	case more:
		return all + " # and more"
	case broad >= 0:
		return all + " # to every type: nothing less covers " + needs[broad].Type
	case o.comment != "":
		return all + " # " + o.comment
	default:
		return all
	}
}

// line is one item of an allow list.
type line struct {
	verbs []string // with what they reach
	opts  string   // what stands behind them
	bare  bool     // a verb alone
}

func (l *line) String() string {
	if len(l.verbs) == 1 && l.opts == "" {
		return l.verbs[0]
	}
	return "{" + strings.Join(l.verbs, ", ") + l.opts + "}"
}

// offer adds a verb's needs to lines. Verbs with the same options share one.
func offer(lines []line, verb string, needs []Need, opts string) []line {
	typed := slices.DeleteFunc(slices.Clone(needs), func(n Need) bool { return n.Type == "" })
	bare := len(typed) < len(needs)
	switch {
	case bare && verb == uploadVerb && len(typed) == 0:
		return append(lines, line{verbs: []string{anyUpload}, bare: true})
	case bare && verb != uploadVerb:
		lines = append(lines, line{verbs: []string{verb}, bare: true})
		if verb == streamVerb { // alone it is for every type
			return lines
		}
	}
	if len(typed) == 0 {
		return lines
	}
	item := verb + ": " + targets(verb, typed)
	for i := range lines {
		if l := &lines[i]; !l.bare && l.opts == opts {
			l.verbs = append(l.verbs, item)
			return lines
		}
	}
	return append(lines, line{verbs: []string{item}, opts: opts})
}

// sorted puts needs under their verbs, each once. What may be read may be linked
// to.
func sorted(needs []Need) (verbs []string, byVerb map[string][]Need) {
	byVerb = map[string][]Need{}
	seen, read := map[Need]struct{}{}, map[string]struct{}{}
	for _, n := range needs {
		if n.Verb == readVerb && flow.IsTypeName(n.Type) {
			read[n.Type] = struct{}{}
		}
	}
	for _, n := range needs {
		_, again := seen[n]
		_, linked := read[n.Type]
		if again || linked && n.Verb == linkVerb {
			continue
		}
		seen[n] = struct{}{}
		if _, ok := byVerb[n.Verb]; !ok {
			verbs = append(verbs, n.Verb)
		}
		byVerb[n.Verb] = append(byVerb[n.Verb], n)
	}
	return verbs, byVerb
}

// targets writes Type, Type.field, [Type, Type] or {Type: [fields], ...}.
func targets(verb string, lacks []Need) string {
	types, fields := byType(verb, lacks)
	if len(types) == 1 && len(fields[types[0]]) <= 1 {
		return YAMLWord(strings.Join(append(types, fields[types[0]]...), "."))
	}
	list := true
	for _, t := range types {
		list = list && len(fields[t]) == 0
	}
	out := make([]string, len(types))
	for i, t := range types {
		f := slices.Clone(fields[t])
		for j := range f {
			f[j] = YAMLWord(f[j])
		}
		switch {
		case list:
			out[i] = YAMLWord(t)
		case len(f) == 0:
			out[i] = YAMLWord(t) + `: "*"`
		case len(f) == 1:
			out[i] = YAMLWord(t) + ": " + f[0]
		default:
			out[i] = YAMLWord(t) + ": [" + strings.Join(f, ", ") + "]"
		}
	}
	if list {
		return "[" + strings.Join(out, ", ") + "]"
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// maxLogins is how many logins a line has that is offered.
const maxLogins = 32

// suggestSudo is the line of a script that may act as one login more; "" where the
// login is no plain word.
func (s *Script) suggestSudo(login string) string {
	isPlain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.'
	}
	if len(login) > flow.MaxName || login == "caller" || strings.TrimFunc(login, isPlain) != "" || len(s.Sudo) >= maxLogins {
		return ""
	}
	logins := slices.Clone(s.Sudo)
	logins = append(logins, login)
	for i, l := range logins {
		if r := l[:min(1, len(l))]; r < "A" || strings.TrimFunc(l, isPlain) != "" || YAMLWord(l) != l { // YAML may read a number in it
			logins[i] = strconv.Quote(l)
		}
	}
	return "sudo_as_login: [" + strings.Join(logins, ", ") + "]"
}

// isUnnamed says whether no rule can name the need's type, a link to something in
// lower case: only one for every type covers it.
func (n Need) isUnnamed() bool {
	return n.Type != "" && n.Type != "*" && !flow.IsTypeName(n.Type) && !isWord(n.Verb, n.Type)
}

// byType lists the types and the fields that a rule has to name of each; none
// means all of them. Where a type is reached and no field of it, the smallest
// is its id.
func byType(verb string, lacks []Need) (types []string, fields map[string][]string) {
	fields = map[string][]string{}
	every := map[string]bool{}
	want, _ := verbTakes(verb)
	for _, l := range lacks {
		typ := l.Type
		if l.isUnnamed() {
			typ = "*"
		}
		if _, ok := fields[typ]; !ok {
			types = append(types, typ)
			fields[typ] = nil
		}
		switch {
		case l.Field == flow.EveryField:
			every[typ] = true
		case l.Field != anyField:
			fields[typ] = append(fields[typ], l.Field)
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

// YAMLWord quotes a word of a rule that YAML would read as something else.
func YAMLWord(w string) string {
	if strings.HasPrefix(w, "*") {
		return `"` + w + `"`
	}
	switch strings.ToLower(w) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return `"` + w + `"`
	}
	return w
}
