package proxy

import (
	"slices"
	"strings"

	"stagedoor/flow"
)

// What a read rests on and what a write may change, as far as calls say. Neither
// names the records behind a link: the name of a linked record, a field that
// mirrors another type's link, a query field. docs/caching.md tells of that.

// basis is what an answer rests on.
type basis struct {
	// types are the entity types that the call reaches at any hop, folded.
	types []string
	// settings says that the answer tells how the site is set up, and nothing of
	// its records.
	settings bool
	// unknown says that the answer may rest on types that the call doesn't name.
	unknown bool
}

// basisOf reads it from a call that doesn't write.
func basisOf(c *flow.Call) basis {
	b := basis{types: folded(c.Types())}
	switch c.Group { //nolint:exhaustive // the others hold records
	case flow.GroupInfo, flow.GroupSchema, flow.GroupPreferences, flow.GroupSchedule, flow.GroupNamed:
		b.settings = true
		return b
	}
	// A thread holds replies and files, a preset may filter by anything, and
	// every write leaves an event.
	named := (c.Method == "read" || c.Method == "summarize") && len(b.types) > 0
	b.unknown = !named || len(c.Presets) > 0 || slices.Contains(b.types, "eventlogentry")
	return b
}

// reach is how far a write goes.
type reach uint8

const (
	reachesNothing reach = iota
	reachesTypes         // the types that it names
	reachesRecords       // records of any type, too
	reachesAll           // and how the site is set up, and who may see what
)

// change is what a write may change.
type change struct {
	reach reach
	types []string // folded
}

// changeOf reads it from a call.
func changeOf(c *flow.Call) change {
	ch := change{reach: reachOf(c)}
	if ch.reach == reachesTypes || ch.reach == reachesRecords {
		ch.types = folded(c.Types())
		if c.Group == flow.GroupUpload {
			ch.types = append(ch.types, "attachment") // which every file becomes
		}
		if len(ch.types) == 0 {
			ch.reach = reachesAll
		}
	}
	return ch
}

func reachOf(c *flow.Call) reach {
	r := reachesTypes
	switch c.Group {
	case flow.GroupRead, flow.GroupSchema, flow.GroupPreferences, flow.GroupSchedule, flow.GroupDownload, flow.GroupInfo, flow.GroupSession:
		r = reachesNothing
	case flow.GroupBatch:
		r = reachesNothing
		for i := range c.Parts {
			r = max(r, reachOf(&c.Parts[i]))
		}
	case flow.GroupNamed: // the schema, preferences, schedules
		r = reachesAll
	case flow.GroupDelete, flow.GroupRevive: // links to the record come and go with it
		r = reachesRecords
	case flow.GroupUpload:
		if c.Kind == flow.KindStorage { // bytes alone: the call that puts them into a record follows
			r = reachesNothing
		}
	case flow.GroupFollow, flow.GroupCreate, flow.GroupUpdate:
	}
	switch {
	case !c.Writes && c.Kind != "": // a part of a batch says nothing of it
		return reachesNothing
	case r == reachesNothing:
		return r
	case c.Group != flow.GroupFollow && c.Method != "update_project_last_accessed_by_current_user" && governs(c):
		return reachesAll
	case c.Reaches("TaskTemplate"): // tasks are made of it
		return max(r, reachesRecords)
	}
	return r
}

// governs says whether a write may change who sees what, or what records may
// hold: people and their rights, projects with their people, statuses, and the
// connections between any two types.
func governs(c *flow.Call) bool {
	return isGoverning(c.Type) || slices.ContainsFunc(c.Touches, func(t flow.Touch) bool {
		return (t.Use == flow.UseWrite || t.Use == flow.UseUpload) && isGoverning(t.Type)
	})
}

func isGoverning(typ string) bool {
	typ = strings.ToLower(typ)
	switch typ {
	case "apiuser", "clientuser", "humanuser", "permissionruleset", "group", "project", "status":
		return true
	}
	return strings.HasSuffix(typ, "connection")
}

// folded is a copy in lower case: nobody has tried whether the site tells Shot
// from shot.
func folded(types []string) []string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = strings.ToLower(t)
	}
	return out
}
