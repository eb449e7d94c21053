package policy

import (
	"fmt"
	"strings"

	"stagedoor/flow"
)

// apart is the hint for an option that only some verbs of an item take.
const apart = "put it in an item of its own"

// takesProjects says whether a verb reaches records, which lie in projects. A
// link is given where the record lies that is written.
func takesProjects(verb string) bool {
	switch verb {
	case readVerb, "create", "update", "delete", "revive", uploadVerb, downloadVerb, "follow", linkVerb, streamVerb:
		return true
	}
	return false
}

// takesRows says whether a verb is asked for pages of rows.
func takesRows(verb string) bool { return verb == readVerb }

// takesBatch says whether a verb is asked for by parts of a batch.
func takesBatch(verb string) bool { return isWrite(verb) || verb == readVerb || verb == linkVerb }

// takesShare says whether answers that a verb has a hand in may be shared.
func takesShare(verb string) bool {
	switch flow.Group(verb) {
	case flow.GroupInfo, flow.GroupRead, flow.GroupSchema, flow.GroupSchedule, flow.GroupPreferences, presetsVerb, "license_info":
		return true
	case flow.GroupCreate, flow.GroupUpdate, flow.GroupDelete, flow.GroupRevive, flow.GroupFollow, flow.GroupUpload,
		flow.GroupDownload, flow.GroupNamed, flow.GroupBatch, flow.GroupSession:
	}
	return false
}

// optionProblems is for what stands beside the verb of an allow rule.
func (r *Rule) optionProblems() (out []Problem) {
	out = r.projectProblems()
	for i, t := range r.Targets {
		if r.Verb == dropVerb && strings.HasSuffix(t.Type, "*") {
			out = append(out, Problem{Msg: dropVerb + ": the types have to be named: this rule can never match", Hint: "write " + dropVerb + ": Shot", Target: i, Field: -1})
		}
	}
	switch {
	case r.MaxRows < 0:
		out = append(out, whole("max_rows is less than 1", ""))
	case r.MaxRows > 0 && !takesRows(r.Verb):
		out = append(out, whole("max_rows means nothing for "+r.Verb+": it reads no pages of rows", apart))
	}
	switch {
	case r.MaxBatch < 0:
		out = append(out, whole("max_batch is less than 1", ""))
	case r.MaxBatch > 0 && !takesBatch(r.Verb):
		out = append(out, whole("max_batch means nothing for "+r.Verb+": it is no part of a batch", apart))
	}
	switch {
	case r.Share.Seconds < 0:
		out = append(out, whole("cache is negative", ""))
	case r.Share != Share{} && !takesShare(r.Verb):
		out = append(out, whole(r.shareWord()+" means nothing for "+r.Verb+": only answers of reads are shared", "put it beside read, schema, schedule, preferences, presets or license_info"))
	}
	return out
}

func (r *Rule) shareWord() string {
	if r.Share.Seconds > 0 {
		return "cache"
	}
	return "coalesce"
}

// carveProblems is optionProblems for a deny rule: there, what bounds a call
// means nothing, for the call is refused.
func (r *Rule) carveProblems() (out []Problem) {
	out = r.projectProblems()
	if p := r.Projects; p != nil && (p.AddFilter || p.Lookup) {
		out = append(out, whole("projects of a deny rule are ids alone", "write projects: [122]; filters and look-ups belong to the rule that allows"))
	}
	if r.MaxRows != 0 || r.MaxBatch != 0 {
		out = append(out, whole("max_rows and max_batch mean nothing in a deny rule", "put them beside the rule that allows; where: call.page_size > 500 denies by size"))
	}
	if r.Share != (Share{}) {
		out = append(out, whole(r.shareWord()+" means nothing in a deny rule", "remove it"))
	}
	for i, t := range r.Targets {
		for j, f := range t.Fields {
			if isIdentity(strings.ToLower(f)) {
				out = append(out, Problem{Msg: fmt.Sprintf("%s can't be denied by itself: every rule of %s gives it", f, t.Type), Hint: "deny " + t.Type + " as a whole, or leave it", Target: i, Field: j})
			}
		}
	}
	return out
}

func (r *Rule) projectProblems() (out []Problem) {
	p := r.Projects
	if p == nil {
		return nil
	}
	if !takesProjects(r.Verb) {
		return []Problem{whole("projects mean nothing for "+r.Verb+": it reaches no records", apart)}
	}
	seen := make(map[int64]struct{}, len(p.IDs))
	for _, id := range p.IDs {
		if _, again := seen[id]; again {
			out = append(out, whole(fmt.Sprintf("project %d is listed twice", id), ""))
		}
		seen[id] = struct{}{}
		if id <= 0 {
			out = append(out, whole(fmt.Sprintf("%d is no project's id", id), ""))
		}
	}
	switch {
	case len(p.IDs) == 0:
		out = append(out, whole("no project named: this rule can never match", "write projects: [122]"))
	case len(p.IDs) > MaxProjects:
		out = append(out, whole("more than "+number(MaxProjects)+" projects", "leave the projects to the script's permissions on the site"))
	}
	for i, t := range r.Targets {
		if msg := r.unshown(t); msg != "" {
			out = append(out, Problem{Msg: msg, Hint: "leave projects away for it", Target: i, Field: -1})
		}
	}
	return out
}

// unshown says why no call can be shown to stay within projects for a target.
func (r *Rule) unshown(t Target) string {
	switch {
	case r.Verb == downloadVerb && isWord(r.Verb, t.Type):
		return t.Type + " of the site lie in no project: this rule can never match"
	case r.Verb == readVerb && !r.Projects.Lookup && flow.IgnoresFilters(t.Type):
		return "the site ignores filters on " + t.Type + ", so no read of it shows its project: this rule can never match"
	}
	return ""
}
