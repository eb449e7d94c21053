package flow

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// In which projects a call stays, as far as it says so itself. What can't be
// shown is not stated: a filter counts only where every record has to satisfy it
// whatever the others say, and only in the one form whose meaning is known.

// MaxStated is how many projects a call may name and still be taken to say in
// which it stays. Rules name a few.
const MaxStated = 1 << 10

// The paths of a filter that say in which project a record lies.
const (
	projectType  = "Project"
	pathProject  = "project"
	pathOfID     = "project.Project.id"
	pathID       = "id"
	relationIs   = "is"
	relationIn   = "in"
	operatorAnd  = "and"
	operatorOr   = "or"
	memberFilter = "filters"
)

// within is what filters say that every record satisfies: the ids of its
// projects, and its own. nil says nothing; ids are sorted and stand once.
type within struct{ projects, ids []int64 }

// and is what holds where both hold.
func (a within) and(b within) within { return within{meet(a.projects, b.projects), meet(a.ids, b.ids)} }

// meet is what two sets have in common. Where they have nothing, the first is as
// true: no record satisfies both.
func meet(a, b []int64) []int64 {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	out := make([]int64, 0, min(len(a), len(b)))
	for _, id := range a {
		if _, ok := slices.BinarySearch(b, id); ok {
			out = append(out, id)
		}
	}
	if len(out) == 0 {
		return a
	}
	return out
}

// setOf sorts ids and takes repeats out; nil for none, and for more than
// MaxStated.
func setOf(ids []int64) []int64 {
	if len(ids) == 0 || len(ids) > MaxStated {
		return nil
	}
	out := slices.Clone(ids)
	slices.Sort(out)
	return slices.Compact(out)
}

// IgnoresFilters says whether a filter of a type shows nothing: the site is
// known to take filters on these and to answer everything (flow-protocol §2.4).
// Which of their fields are concerned is not known for sure.
func IgnoresFilters(typ string) bool {
	return strings.EqualFold(typ, "EventLogEntry") || strings.EqualFold(typ, "PageSetting")
}

// LiesInProject says whether each record of a type lies in one project, and the
// site honours filters on it, so that a list of projects narrows a search in it.
func LiesInProject(typ string) bool {
	switch typ {
	case "Asset", "Booking", "Cut", "Delivery", "Element", "Episode", "Level", "Milestone", "Note", "Phase", "Playlist",
		"PublishedFile", "Scene", "Sequence", "Shot", "Task", "Ticket", "TimeLog", "Version":
		return true
	}
	digits, custom := strings.CutPrefix(typ, "CustomEntity")
	return custom && len(digits) >= 2 && len(digits) <= 3 && strings.Trim(digits, "0123456789") == ""
}

// condition is one condition of a filter, as far as it can tell of projects. The
// zero value tells nothing.
type condition struct {
	path     string
	named    bool // the path was read
	isIn     bool // the relation is is or in
	projects bool // some value is a Project entity
	numbers  bool // some value is the number of an id
	other    bool // some value is something else
	ids      []int64
}

// matters says whether the values have to be looked at.
func (c *condition) matters() bool {
	return !c.named || c.path == pathProject || c.path == pathOfID || c.path == pathID
}

func (c *condition) add(id int64) {
	if id <= 0 || id > maxID || len(c.ids) == MaxStated {
		c.other = true
		return
	}
	c.ids = append(c.ids, id)
}

// within is what the condition says.
func (c *condition) within() within {
	if !c.named || !c.isIn || c.other || len(c.ids) == 0 {
		return within{}
	}
	switch {
	case c.path == pathProject && !c.numbers, c.path == pathOfID && !c.projects:
		return within{projects: setOf(c.ids)}
	case c.path == pathID && !c.projects:
		return within{ids: setOf(c.ids)}
	}
	return within{}
}

// filterPlace is where the filters of a call stand in what is sent.
type filterPlace struct {
	span      // empty where the call has none
	conds int // where the conditions of its outermost group begin
	count int // how many these are
	operator
	group bool  // it is a group, not a condition
	form  style // how they are written
}

// operator is what a group asks of its conditions, if it says so in a way that is
// known: that all of them hold, or any.
type operator struct{ all, either bool }

// style is how filters are written.
type style uint8

const (
	styleNone  style = iota // the call takes none
	styleTree               // api3: groups, and objects as conditions
	styleArray              // REST: an array of arrays
	styleHash               // REST: groups, and arrays as conditions
	styleQuery              // REST: the query
)

// filterNode is a group or a condition that was read.
type filterNode struct {
	within
	filterPlace
}

// close ends a group or a condition.
func (n *filterNode) close(end int, leaf *condition) {
	n.end = end
	switch {
	case !n.group:
		n.within = leaf.within()
	case !n.all:
		n.within = within{}
	}
}

// isWordText says whether a value is the string word.
func isWordText(v jsontext.Value, word string) bool {
	if v.Kind() != '"' {
		return false
	}
	if inner := v[1 : len(v)-1]; !hasEscape(inner) {
		return string(inner) == word
	}
	s, _ := unquote(v)
	return s == word
}

// logical reads a logical_operator.
func (w *walker) logical(what string) (o operator, err error) {
	if k := w.dec.PeekKind(); k == '{' || k == '[' {
		return o, w.plain(what)
	}
	v, err := w.scalar()
	if err == nil {
		o = operator{isWordText(v, operatorAnd), isWordText(v, operatorOr)}
	}
	return o, err
}

// relation reads a relation; isIn says that it is one of those that list what a
// value may be.
func (w *walker) relation(what string) (isIn bool, err error) {
	if w.dec.PeekKind() != '"' {
		return false, w.anyText(what)
	}
	v, err := w.scalar()
	return err == nil && (isWordText(v, relationIs) || isWordText(v, relationIn)), err
}

// values reads the values of a condition.
func (r *request) values(c *condition) error {
	if !c.matters() {
		return r.w.value(nil)
	}
	if r.w.dec.PeekKind() != '[' {
		c.other = true
		return r.w.value(nil)
	}
	c.ids = r.few[:0]
	return r.w.array("values", func(int) error { return r.w.oneValue(c) })
}

// oneValue reads one value of a condition.
func (w *walker) oneValue(c *condition) error {
	switch w.dec.PeekKind() {
	case '{':
		typ, id, err := w.entityValue()
		c.projects = true
		if typ != projectType {
			id = 0
		}
		c.add(id)
		return err
	case '0':
		id, err := w.integer("value")
		c.numbers = true
		c.add(id)
		return err
	default:
		c.other = true
		return w.value(nil)
	}
}

// entityValue reads an object that may be an entity; id is 0 where it has none.
func (w *walker) entityValue() (typ string, id int64, err error) {
	err = w.object("value", func(name string) (err error) {
		switch {
		case name == "type" && w.dec.PeekKind() == '"':
			v, err := w.scalar()
			typ = w.typeText(v)
			return err
		case name == pathID && w.dec.PeekKind() == '0':
			id, err = w.integer("value")
			return err
		}
		return w.value(nil)
	})
	return typ, id, err
}

// wrote takes note of a project that is written into a record. Nobody has tried
// whether the site folds the case of names.
func (r *request) wrote(field string, value jsontext.Value, mode bool) {
	if !strings.EqualFold(field, pathProject) {
		return
	}
	id, ok := projectValue(value)
	if !ok || mode || field != pathProject || len(r.into) == MaxStated {
		r.intoOther = true
		return
	}
	r.into = append(r.into, id)
}

// projectValue reads a value that is written: a Project, and nothing that says
// how it is meant.
func projectValue(v jsontext.Value) (id int64, ok bool) {
	if len(v) == 0 || v.Kind() != '{' {
		return 0, false
	}
	dec := trusted(v)
	if _, err := dec.ReadToken(); err != nil {
		return 0, false
	}
	project := false
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return 0, false
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return 0, false
		}
		switch key {
		case "type":
			project = isWordText(value, projectType)
		case pathID:
			id, err = strconv.ParseInt(string(value), 10, 64)
			if err != nil || id <= 0 || id > maxID {
				return 0, false
			}
		case updateMode, "value":
			return 0, false
		}
	}
	return id, project && id > 0
}

// stated is in which projects the records of a type lie that satisfy filters;
// nil where that isn't said.
func stated(typ string, n *filterNode) []int64 {
	switch {
	case !n.group || IgnoresFilters(typ):
		return nil
	case typ == projectType:
		return n.ids
	}
	return n.projects
}

// facts turns what was collected into where the call stays, now that its type
// is known.
func (r *request) facts() {
	c := r.c
	switch c.Method {
	case "read", "summarize":
		r.readFacts()
	case "create":
		if c.Type != projectType && !r.intoOther {
			if ids := setOf(r.into); len(ids) == 1 {
				c.Projects = ids
			}
		}
	case "update":
		c.isAbout(c.Type, c.ID)
		c.Into, c.IntoOther = setOf(r.into), r.intoOther
	case "follow", "unfollow", "followers":
		c.isAbout(r.entity, r.entityID)
	case "following", "work_schedule_read", "work_schedule_update":
		if r.inProject > 0 && !r.ofPerson {
			c.Projects = []int64{r.inProject}
		}
	case "query_display_name_cache":
		c.Projects = r.search.within()
	case "delete", "revive", "note_thread_contents", "activity_stream", "update_project_last_accessed_by_current_user",
		"download", "api_get_upload_link_info", "api_get_upload_link_for_part", "rest_upload", "rest_upload_abort", "api_link_file":
		c.isAbout(c.Type, c.ID)
	}
}

// readFacts is facts for a read, by id (as only REST has it) or by filters.
func (r *request) readFacts() {
	c := r.c
	switch {
	case c.ID > 0:
		c.isAbout(c.Type, c.ID)
		if c.Type == projectType {
			c.Projects = []int64{c.ID}
		}
	default:
		c.Projects = stated(c.Type, &r.filter)
		if r.filter.group && len(r.filter.ids) == 1 && !IgnoresFilters(c.Type) {
			c.isAbout(c.Type, r.filter.ids[0])
		}
	}
}

// isAbout takes note of a record that the call is about.
func (c *Call) isAbout(typ string, id int64) {
	if typ != "" && id > 0 {
		c.Records = append(c.Records, Record{typ, id})
	}
}

// textSearch is what a search in display names says of projects.
type textSearch struct {
	types    int
	narrowed bool    // each type lies in projects, so that listing them narrows
	said     bool    // the filters of each type say in which
	own      []int64 // and these are all of them
	listed   []int64 // project_ids
	unclear  bool    // of which some is no id
}

// of takes note of one type and its filters.
func (s *textSearch) of(typ string, n *filterNode) {
	first := s.types == 0
	s.types++
	s.narrowed = (first || s.narrowed) && LiesInProject(typ)
	ids := stated(typ, n)
	if s.said = (first || s.said) && ids != nil && len(s.own) <= MaxStated; s.said {
		s.own = append(s.own, ids...)
	}
}

// list takes note of one of project_ids.
func (s *textSearch) list(id int64) {
	if id <= 0 || id > maxID || len(s.listed) == MaxStated {
		s.unclear = true
		return
	}
	s.listed = append(s.listed, id)
}

func (s *textSearch) within() []int64 {
	var listed, own []int64
	if s.narrowed && !s.unclear {
		listed = setOf(s.listed)
	}
	if s.said {
		own = setOf(s.own)
	}
	return meet(listed, own)
}

// hopSet counts what dotted paths lead through, each prefix once.
type hopSet struct {
	few  [4]hop
	list []hop
	seen map[hop]struct{} // nil while the list is short
}

// hop is a linked entity: the path to it, up to its type.
type hop struct{ typ, prefix string }

func (s *hopSet) add(h hop) (isNew bool) {
	if s.list == nil {
		s.list = s.few[:0]
	}
	if len(s.list) < shortList {
		if slices.Contains(s.list, h) {
			return false
		}
		s.list = append(s.list, h)
		return true
	}
	if s.seen == nil {
		s.seen = make(map[hop]struct{}, 2*shortList)
		for _, o := range s.list {
			s.seen[o] = struct{}{}
		}
	}
	if _, known := s.seen[h]; known {
		return false
	}
	s.seen[h] = struct{}{}
	return true
}

// steps takes note of a field path of a type: what it touches at every hop, and
// the hops.
func (r *request) steps(typ, path string, use Use) error {
	if err := hops(typ, path, use, r.touch); err != nil {
		return err
	}
	for at, odd := strings.IndexByte(path, '.'), true; at >= 0; odd = !odd {
		next := strings.IndexByte(path[at+1:], '.')
		if next < 0 {
			break
		}
		at += 1 + next
		if odd && r.hops.add(hop{typ, path[:at]}) {
			r.c.Hops++
		}
	}
	return nil
}
