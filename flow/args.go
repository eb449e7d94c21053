package flow

import (
	"bytes"
	"slices"
	"strconv"
)

// The arguments of each RPC method (flow-protocol §2.1). Every member is
// known, or the call is refused: a member that we can't read may decide on the
// site what we did not see here.

// updateMode says what an update does to a list of links: set, add or remove.
const updateMode = "multi_entity_update_mode"

// pending is a field path whose type is not known yet: clients on Python 2
// write the members of an object in any order.
type pending struct {
	path string
	use  Use
}

// argument reads params[1] of the method that c names.
func (w *walker) argument(c *Call, present bool) error {
	switch c.Method {
	case "info", "get_session_token", "user_subscriptions_read":
		if present {
			return shape(c.Method + " takes no argument")
		}
		return nil
	case "schema_read", "schema_entity_read":
		if !present {
			return nil
		}
		return w.object("argument", func(name string) error {
			if name != "project" {
				return unknownMember(name)
			}
			return w.value(nil)
		})
	}
	if !present {
		return shape(c.Method + " has no argument")
	}
	if c.Method == "batch" {
		return w.batch(c)
	}
	return w.request(c)
}

func unknownMember(name string) error {
	return shape("the argument has a member that the protocol does not: " + quoteName(name))
}

// request reads an argument that is an object.
func (w *walker) request(c *Call) error {
	c.Touches = make([]Touch, 0, 8)
	r := &request{w: w, c: c}
	if err := w.object("argument", r.member); err != nil {
		return err
	}
	if err := r.resolve(); err != nil {
		return err
	}
	if c.Method == "read" || c.Method == "summarize" {
		w.place = r.filter.filterPlace
		w.place.form = styleTree
	}
	return nil
}

// request collects what one argument object touches.
type request struct {
	w       *walker
	c       *Call
	pending []pending

	seen map[Touch]struct{} // nil while the touches are few

	inBatch            bool
	listsFields        bool   // return_fields names one
	user               string // a type, "" when absent
	entityType, entity string
	ours, others       bool // a schedule of a project or a person; one of what may be none

	hops      hopSet
	few       [4]int64   // room for the ids of a condition
	filter    filterNode // the filters of a read
	search    textSearch
	into      []int64 // projects that are written
	intoOther bool    // something else is written where a project stands
	entityID  int64   // of entity
	inProject int64   // a project that the call names, 0 for none
	ofPerson  bool    // beside it, it names a person
}

// touch notes what the call reaches. Repeats are found within a part.
func (r *request) touch(t Touch) error {
	c := r.c
	if len(c.Touches) < shortList {
		if slices.Contains(c.Touches, t) {
			return nil
		}
	} else {
		if r.seen == nil {
			r.seen = make(map[Touch]struct{}, 4*shortList)
			for _, o := range c.Touches {
				r.seen[o] = struct{}{}
			}
		}
		if _, ok := r.seen[t]; ok {
			return nil
		}
		r.seen[t] = struct{}{}
	}
	c.Touches = append(c.Touches, t)
	return r.w.touched(t.Type)
}

// path takes a field path, at once if the type that it starts from is known.
func (r *request) path(path string, use Use) error {
	if r.c.Type == "" {
		r.pending = append(r.pending, pending{path, use})
		return r.w.count()
	}
	return r.steps(r.c.Type, path, use)
}

// opaque reads a value that the protocol leaves open. What it reaches can't be
// told, but for the name of a credential field.
func (r *request) opaque() error {
	r.w.noted = func(text string) error {
		if name, ok := secretIn(text); ok {
			return r.touch(Touch{Field: name, Use: UseFilter})
		}
		return nil
	}
	defer func() { r.w.noted = nil }()
	return r.w.value(nil)
}

// member reads one member of the argument.
func (r *request) member(name string) error {
	if name == "type" && takesType(r.c.Method) {
		t, err := r.w.typeName("type")
		if err != nil {
			return err
		}
		r.c.Type = t
		return r.touch(Touch{Type: t, Use: groupUse(r.c.Group)})
	}
	switch r.c.Method {
	case "read", "summarize":
		return r.readMember(name)
	case "create", "update", "delete", "revive":
		return r.writeMember(name)
	case "note_thread_contents", "activity_stream", "nav_expand", "nav_search", "query_display_name_cache":
		return r.streamMember(name)
	case "schema_field_read", "schema_field_create", "schema_field_update", "schema_field_delete":
		return r.schemaMember(name)
	default:
		return r.otherMember(name)
	}
}

func takesType(method string) bool {
	switch method {
	case "read", "summarize", "create", "update", "delete", "revive", "activity_stream",
		"schema_field_read", "schema_field_create", "schema_field_update", "schema_field_delete":
		return true
	}
	return false
}

func (r *request) readMember(name string) error {
	w, read := r.w, r.c.Method == "read"
	switch {
	case name == "filters":
		n, err := r.filters(func(path string) error { return r.path(path, UseFilter) })
		r.filter = n
		return err
	case name == "include_archived_projects":
		return w.plain(name)
	case read && name == "return_fields":
		n, err := r.paths(name, UseReturn)
		r.listsFields = n > 0
		return err
	case read && name == "sorts":
		return r.fieldObjects(name, UseSort, "direction")
	case read && name == "paging":
		return r.paging()
	case read && name == "additional_filter_presets":
		return r.presets()
	case read && (name == "return_only" || name == "return_paging_info" ||
		name == "return_paging_info_without_counts" || name == "api_return_image_urls"):
		return w.plain(name)
	case !read && name == "summaries":
		return r.fieldObjects(name, UseSummary, "type", "value")
	case !read && name == "grouping":
		return r.fieldObjects(name, UseSort, "type", "direction")
	}
	return unknownMember(name)
}

// paths reads a list of field paths; n is how many.
func (r *request) paths(what string, use Use) (n int, err error) {
	err = r.w.array(what, func(int) error {
		n++
		p, err := r.w.text(what)
		if err != nil {
			return err
		}
		return r.path(p, use)
	})
	return n, err
}

// fieldObjects reads a list of {field or field_name, and plain extras}.
func (r *request) fieldObjects(what string, use Use, extras ...string) error {
	return r.w.array(what, func(int) error {
		return r.w.object(what, func(name string) error {
			if name == "field" || name == "field_name" || name == "column" {
				p, err := r.w.text(what)
				if err != nil {
					return err
				}
				return r.path(p, use)
			}
			if slices.Contains(extras, name) {
				return r.w.plain(what)
			}
			return unknownMember(name)
		})
	})
}

func (r *request) paging() error {
	return r.w.object("paging", func(name string) error {
		switch name {
		case "entities_per_page":
			n, err := r.w.pageSize(name)
			r.c.PageSize = n
			return err
		case "current_page":
			_, err := r.w.integer(name)
			return err
		}
		return unknownMember(name)
	})
}

// maxPageSize bounds what is remembered of a page size.
const maxPageSize = 1 << 30

// pageSize reads how many rows a page may have; 0 for null. What another reader
// could take for more rows than are counted here is refused.
func (w *walker) pageSize(what string) (int, error) {
	if k := w.dec.PeekKind(); k == '{' || k == '[' {
		return 0, shape(what + " is not a number")
	}
	v, err := w.scalar()
	if err != nil || v.Kind() == 'n' {
		return 0, err
	}
	text := string(v)
	if s, ok := unquote(v); ok { // some clients write numbers as texts
		text = s
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, shape(what + " is not a number of rows")
	}
	return int(min(n, maxPageSize)), nil
}

// presets reads additional_filter_presets. Their other keys may hold anything
// (a path string, a cut's id), so what they reach can't be read: they need a
// rule that names them (flow-protocol §2.5).
func (r *request) presets() error {
	const what = "additional_filter_presets"
	return r.w.array(what, func(i int) error {
		err := r.w.object(what, func(name string) error {
			if name != "preset_name" {
				return r.opaque()
			}
			s, err := r.w.text(name)
			if err == nil && !IsName(s) {
				return shape("preset_name is no identifier")
			}
			if err != nil {
				return err
			}
			r.c.Presets = append(r.c.Presets, s)
			return r.w.count()
		})
		if err == nil && len(r.c.Presets) != i+1 {
			return shape("a filter preset has no preset_name")
		}
		return err
	})
}

// filters reads a filter tree (flow-protocol §2.4): nodes of logical_operator
// and conditions, leaves of path, relation and values.
func (r *request) filters(path func(string) error) (n filterNode, err error) {
	w := r.w
	if w.dec.PeekKind() == '[' {
		return n, shape("a filter is an array; the real clients send {path, relation, values}")
	}
	n.start, n.form = len(w.out), styleTree
	var c condition
	isLeaf := false
	err = w.object("filters", func(name string) (err error) {
		switch name {
		case "logical_operator":
			n.group = true
			n.operator, err = w.logical(name)
			return err
		case "conditions":
			n.group, n.conds = true, len(w.out)+1
			return w.array(name, func(int) error {
				inner, err := r.filters(path)
				n.count++
				n.within = n.and(inner.within)
				return err
			})
		case "path":
			isLeaf = true
			if c.path, err = w.text("path"); err != nil {
				return err
			}
			c.named = true
			return path(c.path)
		case "relation":
			isLeaf = true
			c.isIn, err = w.relation("relation")
			return err
		case "values":
			isLeaf = true
			return r.values(&c)
		}
		return unknownMember(name)
	})
	if err == nil && n.group && isLeaf {
		err = shape("a filter is a group and a condition at once")
	}
	n.close(len(w.out), &c)
	return n, err
}

func (r *request) writeMember(name string) error {
	w, m := r.w, r.c.Method
	switch {
	case name == "id" && m != "create":
		id, err := w.integer(name)
		r.c.ID = id
		return err
	case name == "fields" && (m == "create" || m == "update"):
		return w.array(name, func(int) error { return r.writtenField() })
	case name == "return_fields" && (m == "create" || m == "update"):
		_, err := r.paths(name, UseReturn)
		return err
	case name == "multi_entity_update_mode" && r.inBatch && m == "update":
		return w.plain(name)
	case name == "request_type" && r.inBatch:
		return w.plain(name)
	}
	return unknownMember(name)
}

func (r *request) writtenField() error {
	var field string
	var value, whole span
	mode := false
	err := r.w.object("fields", func(name string) (err error) {
		switch name {
		case "field_name":
			field, err = r.w.text(name)
			if err == nil && !IsName(field) {
				return shape("field_name is no identifier")
			}
			if err != nil {
				return err
			}
			return r.path(field, UseWrite)
		case "value":
			whole.start = len(r.w.out)
			value, err = r.w.writtenValue(r.link)
			whole.end = len(r.w.out)
			return err
		case updateMode:
			mode = true
			return r.w.plain(name)
		}
		return unknownMember(name)
	})
	if err == nil {
		r.wrote(field, r.w.out[whole.start:whole.end], mode)
		r.w.linkBack(field, value)
	}
	return err
}

func (r *request) link(typ string) error { return r.touch(Touch{Type: typ, Use: UseLink}) }

// streamMember reads the calls whose types stand as keys of a map.
func (r *request) streamMember(name string) error {
	w, m := r.w, r.c.Method
	switch {
	case name == "entity_fields" && (m == "note_thread_contents" || m == "activity_stream" || m == "nav_expand"):
		return r.entityFields()
	case name == "entity_types" && m == "query_display_name_cache":
		return r.entityTypes()
	case m == "note_thread_contents" && name == "note_id", m == "activity_stream" && name == "id":
		id, err := w.integer(name)
		r.c.ID = id
		return err
	case m == "activity_stream" && (name == "max_id" || name == "min_id" || name == "limit"),
		m == "query_display_name_cache" && (name == "text" || name == "max_results"),
		m == "nav_expand" && (name == "path" || name == "seed_entity_field"),
		m == "nav_search" && (name == "root_path" || name == "seed_entity_field"):
		return r.opaque()
	case m == "query_display_name_cache" && name == "project_ids":
		return w.array(name, func(int) error {
			id, err := w.integer(name)
			r.search.list(id)
			return err
		})
	case m == "nav_search" && name == "search_criteria":
		return w.value(func(typ string) error { return r.touch(Touch{Type: typ, Use: UseFilter}) })
	}
	return unknownMember(name)
}

// entityFields reads {Type: [fields]}; null and {} are sent for none.
func (r *request) entityFields() error {
	if r.w.dec.PeekKind() == 'n' {
		return r.w.plain("entity_fields")
	}
	return r.w.object("entity_fields", func(typ string) error {
		if !IsTypeName(typ) {
			return shape("entity_fields has a key that is no entity type: " + quoteName(typ))
		}
		if err := r.touch(Touch{Type: typ, Use: UseReturn}); err != nil {
			return err
		}
		return r.w.array("entity_fields", func(int) error {
			p, err := r.w.text("entity_fields")
			if err != nil {
				return err
			}
			return r.steps(typ, p, UseReturn)
		})
	})
}

// entityTypes reads {Type: filter tree} of a text search, which looks in the
// display names of each type and answers them.
func (r *request) entityTypes() error {
	return r.w.object("entity_types", func(typ string) error {
		if !IsTypeName(typ) {
			return shape("entity_types has a key that is no entity type: " + quoteName(typ))
		}
		for _, field := range [...]string{"", "cached_display_name"} {
			if err := r.touch(Touch{Type: typ, Field: field, Use: UseReturn}); err != nil {
				return err
			}
		}
		n, err := r.filters(func(p string) error { return r.steps(typ, p, UseFilter) })
		r.search.of(typ, &n)
		return err
	})
}

func (r *request) schemaMember(name string) error {
	w, m := r.w, r.c.Method
	switch {
	case name == "field_name" && m != "schema_field_create":
		f, err := w.text(name)
		if err == nil && !IsName(f) {
			err = shape("field_name is no identifier")
		}
		if err != nil || m == "schema_field_read" {
			return err
		}
		return r.path(f, UseWrite)
	case name == "project" && (m == "schema_field_read" || m == "schema_field_update"):
		return w.value(nil)
	case name == "data_type" && m == "schema_field_create":
		return w.plain(name)
	case name == "properties" && (m == "schema_field_create" || m == "schema_field_update"):
		return w.value(nil)
	}
	return unknownMember(name)
}

// otherMember reads the calls that are like no other.
func (r *request) otherMember(name string) (err error) {
	w := r.w
	switch r.c.Method + "." + name {
	case "follow.user", "unfollow.user", "following.user":
		r.user, _, err = w.entity(name)
	case "follow.entity", "unfollow.entity", "followers.entity":
		r.entity, r.entityID, err = w.entity(name)
	case "following.project", "work_schedule_read.project":
		return r.projectOf(name)
	case "work_schedule_read.user":
		if !w.null() {
			r.ofPerson = true
			_, _, err = w.entity(name)
		}
	case "work_schedule_update.user":
		return r.scheduleOf(name, "HumanUser", "ClientUser")
	case "work_schedule_update.project":
		return r.scheduleOf(name, "Project")
	case "following.entity_type":
		if !w.null() {
			r.entityType, err = w.typeName(name)
		}
	case "work_schedule_read.start_date", "work_schedule_read.end_date",
		"work_schedule_update.date", "work_schedule_update.working", "work_schedule_update.description",
		"work_schedule_update.recalculate_field", "export_page.format", "export_page.layout_name":
		return w.plain(name)
	case "export_page.page_id", "update_project_last_accessed_by_current_user.project_id":
		r.c.ID, err = w.integer(name)
	case "update_project_last_accessed_by_current_user.user_id":
		_, err = w.integer(name)
	case "preferences_read.prefs":
		return w.array(name, func(int) error { return w.plain(name) })
	case "user_subscriptions_create.users":
		return w.value(nil)
	default:
		return unknownMember(name)
	}
	return err
}

// projectOf reads a project that the call may name.
func (r *request) projectOf(name string) error {
	if r.w.null() {
		return nil
	}
	typ, id, err := r.w.entity(name)
	if typ == projectType {
		r.inProject = id
	}
	return err
}

// scheduleOf reads whose schedule is written. The site may take one that is of
// another type, or has an id that none has, for nobody: the whole studio.
func (r *request) scheduleOf(name string, types ...string) error {
	if r.w.null() {
		return nil
	}
	typ, id, err := r.w.entity(name)
	if typ == projectType && name == pathProject {
		r.inProject = id
	} else {
		r.ofPerson = true
	}
	if id > 0 && slices.Contains(types, typ) {
		r.ours = true
	} else {
		r.others = true
	}
	return err
}

// resolve turns what was collected into touches and facts, now that the type is
// known.
func (r *request) resolve() error {
	if err := r.resolveTouches(); err != nil {
		return err
	}
	r.facts()
	return nil
}

func (r *request) resolveTouches() error {
	c := r.c
	if takesType(c.Method) {
		if c.Type == "" {
			return shape(c.Method + " names no entity type")
		}
	}
	if c.Method == "read" && !r.listsFields {
		if err := r.touch(Touch{Type: c.Type, Field: EveryField, Use: UseReturn}); err != nil {
			return err
		}
	}
	r.w.reach -= len(r.pending) // they are counted as what they turn into
	for _, p := range r.pending {
		if err := r.steps(c.Type, p.path, p.use); err != nil {
			return err
		}
	}
	switch c.Method {
	case "note_thread_contents":
		return r.noteThread()
	case "update_project_last_accessed_by_current_user":
		c.Type = "Project"
		return r.touch(Touch{"Project", "last_accessed_by_current_user", UseWrite})
	case "follow", "unfollow", "followers":
		if r.entity == "" || c.Method != "followers" && r.user == "" {
			return shape(c.Method + " names no entity, or no user")
		}
		c.Type = r.entity
		return r.touch(Touch{Type: r.entity, Use: UseReturn})
	case "following":
		if r.user == "" {
			return shape("following names no user")
		}
		c.Type = r.entityType
		if c.Type != "" {
			return r.touch(Touch{Type: c.Type, Use: UseReturn})
		}
	case "work_schedule_update":
		c.Studio = r.others || !r.ours
	}
	return nil
}

// noteThread adds what a thread holds whatever is asked for.
func (r *request) noteThread() error {
	for _, typ := range [...]struct {
		name   string
		fields [3]string
	}{
		{"Note", [3]string{"content", "created_at", "created_by"}},
		{"Reply", [3]string{"content", "created_at", "user"}},
		{"Attachment", [3]string{"this_file", "created_at", "created_by"}},
	} {
		if err := r.touch(Touch{Type: typ.name, Use: UseReturn}); err != nil {
			return err
		}
		for _, f := range typ.fields {
			if err := r.touch(Touch{Type: typ.name, Field: f, Use: UseReturn}); err != nil {
				return err
			}
		}
	}
	r.c.Type = "Note"
	return nil
}

func groupUse(g Group) Use {
	if g == GroupRead {
		return UseReturn
	}
	return UseWrite
}

// batch reads the parts of a batch (flow-protocol §2.2), each a call of its
// own.
func (w *walker) batch(c *Call) error {
	return w.array("argument", func(i int) error {
		if i == MaxParts {
			return shape("the batch has more than " + strconv.Itoa(MaxParts) + " parts")
		}
		mode, err := w.requestType()
		if err != nil {
			return err
		}
		info, _ := Method(mode)
		part := Call{Method: mode, Group: info.Group, Writes: true}
		r := &request{w: w, c: &part, inBatch: true}
		if err := w.object("part", r.member); err != nil {
			return err
		}
		if err := r.resolve(); err != nil {
			return err
		}
		c.Parts = append(c.Parts, part)
		return nil
	})
}

// leadingType reads the request_type of a part that begins with it, as the
// clients send it; "" for any other.
func leadingType(part []byte) string {
	const space = " \t\r\n"
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(part[1:], space), []byte(`"request_type"`))
	if !ok {
		return ""
	}
	if rest, ok = bytes.CutPrefix(bytes.TrimLeft(rest, space), []byte(":")); !ok {
		return ""
	}
	rest = bytes.TrimLeft(rest, space)
	for _, mode := range [...]string{"create", "update", "delete"} {
		if after, ok := bytes.CutPrefix(rest, []byte(`"`+mode)); ok && len(after) > 0 && after[0] == '"' {
			return mode
		}
	}
	return ""
}

// requestType looks ahead for the request_type of the next part, which may
// stand anywhere in it.
func (w *walker) requestType() (string, error) {
	if w.dec.PeekKind() != '{' {
		return "", shape("a part of the batch is not an object")
	}
	// PeekKind leaves the offset before white space and comma; a second
	// decoder on the rest finds the object by skipping them.
	rest := w.raw[w.dec.InputOffset():]
	for len(rest) > 0 && rest[0] != '{' {
		rest = rest[1:]
	}
	if mode := leadingType(rest); mode != "" {
		return mode, nil
	}
	dec := trusted(rest)
	if _, err := dec.ReadToken(); err != nil {
		return "", syntax(w.raw, err)
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return "", syntax(w.raw, err)
		}
		if name.String() != "request_type" {
			if err := dec.SkipValue(); err != nil {
				return "", syntax(w.raw, err)
			}
			continue
		}
		val, err := dec.ReadToken()
		if err != nil {
			return "", syntax(w.raw, err)
		}
		switch mode := val.String(); mode {
		case "create", "update", "delete":
			return mode, nil
		default:
			return "", shape("a part of the batch is no create, update or delete: " + quoteName(mode))
		}
	}
	return "", shape("a part of the batch has no request_type")
}
