// Package policy decides whether a script may make a call.
//
// It is pure: no HTTP, no bytes, no clock, no I/O. It imports package flow for
// the words of a call and nothing else of this module. The zero value of
// everything here refuses.
//
// A call is a set of needs: a verb on a type's field. An allow rule gives a need
// in its projects, or in all of them, while its bounds and its condition hold; a
// deny rule takes it away. Where all needs of a call are met everywhere, it is
// allowed; where they are met in some projects only, the call has to be shown to
// stay within them: by itself, by a filter that is added, or by a look at its
// records.
package policy

import (
	"fmt"
	"strconv"
	"strings"

	"stagedoor/flow"
)

// Rule is one line of an allow list: a verb and what it reaches.
//
//	read: Shot                          every field of Shot
//	read: [Task.content, Shot.code]     single fields
//	read: {Shot: [code, project]}       several fields
//	export_page                         a method that has to be named
type Rule struct {
	// Verb is a group (read, create, update, delete, revive, upload, download,
	// follow, schema, schedule, preferences, link, presets) or the name of an RPC
	// method or of one that only REST has.
	Verb string
	// Targets is what the verb reaches; empty only for verbs that take none.
	Targets []Target
	// File, Line is where the rule stands, for messages and audit records; Role is
	// the role that brought it, "" for a rule of the script itself.
	File string
	Line int
	Role string

	// Projects confines the rule to records of projects; nil means all.
	Projects *Projects
	// When is a condition over the call; nil is none.
	When *Condition
	// MaxRows bounds the page size of a read, MaxBatch the parts of a batch that
	// the rule has a hand in; 0 is no bound.
	MaxRows, MaxBatch int
	// Share lets equal reads that the rule decides share an answer.
	Share Share
}

// Projects confines a rule. Where the call itself does not show that it stays
// within IDs, AddFilter lets a filter be added to reads of types where that is
// safe, and Lookup lets the project of a record named by id be looked up.
type Projects struct {
	IDs               []int64
	AddFilter, Lookup bool
}

// Share says whether equal reads share one answer: those in flight at the same
// time, and those within Seconds after it; 0 keeps no answer.
type Share struct {
	Coalesce bool
	Seconds  int
}

// Target is an entity type, or a word where the verb takes words.
type Target struct {
	// Type is an entity type, "*" for every type that needs no naming of its
	// own, or a prefix followed by "*".
	Type string
	// Fields are the fields meant; nil means every field.
	Fields []string
}

// Where is the rule's place in the form "stagedoor.yaml:12".
func (r *Rule) Where() string { return r.File + ":" + strconv.Itoa(r.Line) }

// Problem is why a rule is refused at load. Target and Field index the part
// that is wrong, -1 where it is the rule or the target as a whole.
type Problem struct {
	Msg, Hint     string
	Target, Field int
}

// Verbs lists every word that a rule may start with, for "did you mean".
func Verbs() []string {
	v := []string{
		"read", "create", "update", "delete", "revive", "upload", "download", "follow", "schema",
		"schedule", "preferences", "link", "presets",
	}
	for _, m := range flow.Methods() {
		info, _ := flow.Method(m)
		if info.Group == flow.GroupNamed {
			v = append(v, m)
		}
	}
	return append(v, flow.RESTMethods()...)
}

// takes says what may follow a verb.
type takes uint8

const (
	takesNothing takes = iota // a bare word: preferences, export_page
	takesTypes                // types, no fields: delete, schema
	takesFields               // types and fields: read, create, update
	takesWords                // other words: presets
	takesEither               // a bare word or types: activity_stream
)

func verbTakes(verb string) (takes, bool) {
	switch verb {
	case readVerb, "create", "update", uploadVerb, downloadVerb:
		return takesFields, true
	case "delete", "revive", "follow", "schema", linkVerb,
		"schema_field_create", "schema_field_update", dropVerb:
		return takesTypes, true
	case presetsVerb:
		return takesWords, true
	case "schedule", "preferences", "export_page", "nav_expand", "nav_search",
		"user_subscriptions_read", "user_subscriptions_create",
		"webhook_read", "webhook_write", "preferences_update", "license_info", "transcode":
		return takesNothing, true
	case streamVerb, scheduleVerb:
		return takesEither, true
	}
	return 0, false
}

// StudioTarget is the word of "work_schedule_update: studio": the schedule of
// the whole studio may be written.
const StudioTarget = "studio"

// Words of "download" for what names no entity: the site's own pictures, and
// the files that it has stored. No glob covers them.
const (
	ImagesTarget = "images"
	FilesTarget  = "files"
)

// isWord says whether a verb's target is such a word, not an entity type.
func isWord(verb, typ string) bool {
	switch verb {
	case presetsVerb:
		return true
	case downloadVerb:
		return typ == ImagesTarget || typ == FilesTarget
	case scheduleVerb:
		return typ == StudioTarget
	}
	return false
}

// Problems says what is wrong with a rule of an allow list: words that are none,
// options that mean nothing there, and rules that can never match any call.
func (r *Rule) Problems() []Problem {
	out := r.wordProblems()
	if len(out) > 0 && out[0].Target < 0 {
		return out
	}
	return append(out, r.optionProblems()...)
}

// DenyProblems is [Rule.Problems] for a rule of a deny list.
func (r *Rule) DenyProblems() []Problem {
	out := r.wordProblems()
	if len(out) > 0 && out[0].Target < 0 {
		return out
	}
	return append(out, r.carveProblems()...)
}

// wordProblems is for the verb and what it reaches.
func (r *Rule) wordProblems() []Problem {
	want, ok := verbTakes(r.Verb)
	if r.sharesInfo() {
		want, ok = takesNothing, true
	}
	if !ok {
		return []Problem{r.unknownVerb()}
	}
	if len(r.Targets) == 0 {
		if want == takesNothing || want == takesEither {
			return nil
		}
		return []Problem{whole(r.Verb+" names nothing", "say what it reaches, for example \""+r.Verb+": Shot\"")}
	}
	if want == takesNothing {
		return []Problem{whole(r.Verb+" takes no entity types", "write \"- "+r.Verb+"\" alone")}
	}
	var out []Problem
	for i, t := range r.Targets {
		out = append(out, r.targetProblems(want, i, t)...)
	}
	return out
}

// sharesInfo says whether a rule is there for info's answer to be shared: info
// itself needs none.
func (r *Rule) sharesInfo() bool { return r.Verb == infoVerb && r.Share != Share{} }

// whole is a problem of a rule as a whole.
func whole(msg, hint string) Problem { return Problem{Msg: msg, Hint: hint, Target: -1, Field: -1} }

func (r *Rule) unknownVerb() Problem {
	p := Problem{Msg: fmt.Sprintf("unknown rule %q", r.Verb), Target: -1, Field: -1}
	switch info, known := flow.Method(r.Verb); {
	case !known:
	case info.Group == flow.GroupSession:
		p.Msg, p.Hint = r.Verb+" needs no rule", "its answer is a handle, which opens nothing but this proxy; remove the line"
	case info.Group == flow.GroupInfo:
		p.Msg, p.Hint = "info needs no rule", "remove the line, or write {info: , cache: 30s} for its answer to be shared"
	case info.Group == flow.GroupBatch:
		p.Msg, p.Hint = "batch needs no rule", "its parts are decided one by one: allow create, update or delete"
	default:
		p.Msg = fmt.Sprintf("%s is part of a group", r.Verb)
		p.Hint = fmt.Sprintf("write %q", info.Group)
	}
	return p
}

func (r *Rule) targetProblems(want takes, i int, t Target) []Problem {
	bad := func(msg, hint string) []Problem {
		return []Problem{{Msg: msg, Hint: hint, Target: i, Field: -1}}
	}
	if want == takesWords {
		if !flow.IsName(t.Type) || t.Fields != nil {
			return bad(fmt.Sprintf("%q is no preset name", t.Type), "")
		}
		return nil
	}
	if r.Verb == scheduleVerb {
		if t.Type != StudioTarget || t.Fields != nil {
			return bad(fmt.Sprintf("work_schedule_update: %q is not known", t.Type), "write it alone for schedules of a project or a user, or with \""+StudioTarget+"\" for the whole studio")
		}
		return nil
	}
	if isWord(r.Verb, t.Type) {
		if t.Fields != nil {
			return bad(t.Type+" has no fields", "write \""+r.Verb+": "+t.Type+"\"")
		}
		return nil
	}
	stem, glob := strings.CutSuffix(t.Type, "*")
	if stem != "" && !flow.IsTypeName(stem) || stem == "" && !glob {
		return bad(fmt.Sprintf("%q is no entity type", t.Type), typeHint(r.Verb))
	}
	if t.Fields != nil && want != takesFields {
		return bad(r.Verb+" takes types, not fields", "write \""+r.Verb+": "+t.Type+"\"")
	}
	if t.Fields != nil && len(t.Fields) == 0 {
		return bad("no field named for "+t.Type+": this rule can never match", "list fields, or write the type alone for every field")
	}
	return fieldProblems(i, t)
}

// fieldProblems says what is wrong with the fields of a target.
func fieldProblems(i int, t Target) (out []Problem) {
	bad := func(field int, msg, hint string) {
		out = append(out, Problem{Msg: msg, Hint: hint, Target: i, Field: field})
	}
	for j, f := range t.Fields {
		switch {
		case flow.IsSecretField(f):
			bad(j, f+" is never let through, whatever a rule says: this rule can never match", "remove it")
		case strings.Contains(f, "."):
			bad(j, fmt.Sprintf("%q is a path; rules name fields", f), pathHint(t.Type, f))
		case !flow.IsName(f):
			bad(j, fmt.Sprintf("%q is no field name", f), "")
		}
	}
	return out
}

// typeHint says what a verb's targets look like.
func typeHint(verb string) string {
	hint := "types look like Shot, CustomEntity01, CustomEntity*"
	if verb == downloadVerb {
		hint += "; " + ImagesTarget + " and " + FilesTarget + " are the site's own"
	}
	return hint
}

// pathHint says how a dotted path is allowed: a rule for each hop.
func pathHint(typ, path string) string {
	s := strings.Split(path, ".")
	out := []string{typ + "." + s[0]}
	for i := 1; i+1 < len(s); i += 2 {
		out = append(out, s[i]+"."+s[i+1])
	}
	return "allow each hop: " + strings.Join(out, ", ")
}
