package flow

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// members reads the body of a call, which has passed strictJSON.
func (r *restParse) members() error {
	switch r.c.Method {
	case "read":
		return r.body(r.searchMember)
	case "summarize":
		return r.body(r.summarizeMember)
	case "query_display_name_cache":
		return r.textSearch()
	case "create", "update":
		written, err := r.data(r.request, r.body)
		r.out.Filter.Written = []Written{{Type: r.typ, ID: r.id, Fields: written}}
		return err
	case "batch":
		return r.batch()
	case "follow":
		return r.follow()
	case "unfollow", "update_project_last_accessed_by_current_user":
		return r.body(r.userMember)
	case "api_link_file":
		return r.body(r.completeMember)
	case "rest_upload_abort":
		return r.body(r.uploadInfoMember)
	case "nav_expand", "nav_search":
		return r.body(r.hierarchyMember)
	case "preferences_update":
		return r.preferences()
	case "work_schedule_update":
		return r.body(r.scheduleMember)
	case "user_subscriptions_create":
		return r.body(r.seatMember)
	case "webhook_write":
		return r.webhook()
	case "schema_field_create", "schema_field_update":
		return r.body(r.schemaFieldMember)
	}
	return r.body(r.emptyMember)
}

// body reads the outer object. A name that the query has too is refused, with
// brackets behind it there or not: the site reads one of the two, and which is
// not known.
func (r *restParse) body(member func(name string) error) error {
	return r.w.object("body", func(name string) error {
		if r.inQuery(name) {
			return shape("a name stands in the query and in the body: " + quoteName(name))
		}
		return member(name)
	})
}

func (r *restParse) inQuery(name string) bool {
	return slices.ContainsFunc(r.params, func(p Pair) bool {
		word, _, _ := strings.Cut(p.Name, "[")
		return word == name
	})
}

// emptyMember reads the body of a call that needs none: nothing in braces, or
// what is known of a film.
func (r *restParse) emptyMember(name string) error {
	if r.c.Method == "transcode" {
		switch name {
		case "width", "height", "display_aspect_ratio", "frame_rate", "nb_frames", "start_frame":
			return r.w.plain(name)
		}
	}
	return unknownMember(name)
}

// searchMember reads a member of a search, which may stand in the query instead:
// the clients differ.
func (r *restParse) searchMember(name string) error {
	switch name {
	case "filters":
		return r.rowFilters()
	case "fields":
		r.all = false
		n, err := r.list(name, r.fieldItem)
		r.all = n == 0
		return err
	case "sort":
		return r.sorts(func(p string) error { return r.path(p, UseSort) })
	case "page":
		return r.page()
	case "options":
		return r.options("return_only", "include_archived_projects")
	case "additional_filter_presets":
		return r.presets()
	}
	return unknownMember(name)
}

func (r *restParse) summarizeMember(name string) error {
	switch name {
	case "filters":
		return r.rowFilters()
	case "summary_fields":
		return r.fieldObjects(name, UseSummary, "type", "value")
	case "grouping":
		return r.fieldObjects(name, UseSort, "type", "direction")
	case "options":
		return r.options("include_archived_projects")
	}
	return unknownMember(name)
}

// list reads items that stand in an array or, with commas, in one string; n is
// how many.
func (r *restParse) list(what string, item func(string) error) (n int, err error) {
	counted := func(s string) error { n++; return item(s) }
	if r.w.null() {
		return 0, nil
	}
	if r.w.dec.PeekKind() == '"' {
		s, err := r.w.text(what)
		if err != nil || s == "" {
			return 0, err
		}
		err = eachItem(s, counted)
		return n, err
	}
	err = r.w.array(what, func(int) error {
		s, err := r.w.text(what)
		if err != nil {
			return err
		}
		return eachItem(s, counted) // a comma in an item would part it on the site
	})
	return n, err
}

// sorts reads a list of fields, each with a - for the other direction.
func (r *restParse) sorts(path func(string) error) error {
	_, err := r.list("sort", func(f string) error {
		if f != "" && f[0] == '-' {
			f = f[1:]
		}
		return path(f)
	})
	return err
}

func (r *restParse) page() error {
	return r.w.object("page", func(name string) error {
		switch name {
		case "size":
			n, err := r.w.pageSize(name)
			r.c.PageSize = max(r.c.PageSize, n)
			return err
		case "number":
			_, err := r.w.integer(name)
			return err
		}
		return unknownMember(name)
	})
}

func (r *restParse) options(known ...string) error {
	if r.w.null() {
		return nil
	}
	return r.w.object("options", func(name string) error {
		if slices.Contains(known, name) {
			return r.w.plain(name)
		}
		return unknownMember(name)
	})
}

// vndFilters reads filters as the content type says that they are written: an
// array of [path, relation, value…], or a tree of groups with those as leaves.
func (r *restParse) vndFilters(path func(string) error) (n filterNode, err error) {
	if r.hash {
		return r.group(path)
	}
	n.start, n.form = len(r.w.out), styleArray
	n.all, n.group, n.conds = true, true, len(r.w.out)+1
	err = r.w.array("filters", func(int) error {
		n.count++
		said, err := r.triple(path)
		n.within = n.and(said)
		return err
	})
	n.end = len(r.w.out)
	return n, err
}

// rowFilters reads the filters of a search or a summary.
func (r *restParse) rowFilters() (err error) {
	r.filter, err = r.vndFilters(func(p string) error { return r.path(p, UseFilter) })
	return err
}

func (r *restParse) group(path func(string) error) (n filterNode, err error) {
	n.start, n.form, n.group = len(r.w.out), styleHash, true
	err = r.w.object("filters", func(name string) (err error) {
		switch name {
		case "logical_operator":
			n.operator, err = r.w.logical(name)
			return err
		case "conditions":
			n.conds = len(r.w.out) + 1
			return r.w.array(name, func(int) error {
				n.count++
				var said within
				if r.w.dec.PeekKind() == '{' {
					inner, err := r.group(path)
					n.within = n.and(inner.within)
					return err
				}
				said, err = r.triple(path)
				n.within = n.and(said)
				return err
			})
		}
		return unknownMember(name)
	})
	n.close(len(r.w.out), nil)
	return n, err
}

// triple reads [path, relation, value…].
func (r *restParse) triple(path func(string) error) (within, error) {
	n := 0
	c := condition{ids: r.few[:0]}
	err := r.w.array("a filter", func(i int) (err error) {
		n++
		switch i {
		case 0:
			if c.path, err = r.w.text("a filter's path"); err != nil {
				return err
			}
			c.named = true
			return path(c.path)
		case 1:
			c.isIn, err = r.w.relation("a filter's relation")
			return err
		}
		return r.tripleValue(&c, i == 2)
	})
	if err == nil && n < 3 {
		err = shape("a filter is not [path, relation, value]")
	}
	return c.within(), err
}

// tripleValue reads what stands behind a relation: a value, or a list of them.
func (r *restParse) tripleValue(c *condition, first bool) error {
	switch {
	case !c.matters():
		return r.w.value(nil)
	case first && r.w.dec.PeekKind() == '[':
		return r.values(c)
	}
	return r.w.oneValue(c)
}

// textSearch reads a search in display names, of one type or several. What is
// sorted by is a field of each.
func (r *restParse) textSearch() error {
	var types, sorts []string
	err := r.body(func(name string) error {
		switch name {
		case "text":
			return r.opaque()
		case "entity_types", "entity_filters":
			return r.w.object(name, func(typ string) error {
				types = append(types, typ)
				return r.searchedType(typ)
			})
		case "page":
			return r.page()
		case "sort":
			return r.sorts(func(p string) error { sorts = append(sorts, p); return r.w.count() })
		}
		return unknownMember(name)
	})
	if err != nil {
		return err
	}
	if len(types) == 0 && len(sorts) > 0 {
		return shape("a search in no type is sorted")
	}
	for _, typ := range types {
		for _, p := range sorts {
			if err := r.steps(typ, p, UseSort); err != nil {
				return err
			}
		}
	}
	return nil
}

// searchedType reads the filters of one type of a text search.
func (r *restParse) searchedType(typ string) error {
	if err := r.exactType(typ); err != nil {
		return err
	}
	for _, field := range [...]string{"", "cached_display_name"} {
		if err := r.touch(Touch{Type: typ, Field: field, Use: UseReturn}); err != nil {
			return err
		}
	}
	n, err := r.vndFilters(func(p string) error { return r.steps(typ, p, UseFilter) })
	r.search.of(typ, &n)
	return err
}

// exactType refuses a type that is the name of a member and not written as its
// name is: members are sent as they are.
func (r *restParse) exactType(typ string) error {
	name, ok := r.types.Canonical(typ)
	switch {
	case ok && name != typ:
		return shape("write the entity type " + quoteName(typ) + " as " + name)
	case !ok && !IsTypeName(typ):
		return shape("no entity type " + quoteName(typ) + " is known")
	}
	return nil
}

// typeValue reads an entity type, in any spelling, and writes its name.
func (r *restParse) typeValue(what string) (string, error) {
	if r.w.dec.PeekKind() != '"' {
		return "", shape(what + " is not a string")
	}
	v, err := r.w.dec.ReadValue()
	if err != nil {
		return "", syntax(r.w.raw, err)
	}
	s, _ := unquote(v)
	name, err := r.typeNamed(s)
	r.w.out = appendQuoted(r.w.out, name)
	return name, err
}

// data reads the fields that are written, {field: value}, through object.
// written are those that a record has as they were given: see [Written].
func (r *restParse) data(q *request, object func(func(name string) error) error) (written []string, err error) {
	err = object(func(name string) error {
		if err := r.writtenName(name); err != nil {
			return err
		}
		if err := q.path(name, UseWrite); err != nil {
			return err
		}
		start := len(r.w.out)
		value, err := r.w.writtenValue(func(typ string) error {
			if err := r.exactType(typ); err != nil {
				return err
			}
			return q.link(typ)
		})
		if err != nil {
			return err
		}
		q.wrote(name, r.w.out[start:], false)
		r.w.linkBack(name, value)
		if !changesList(r.w.out[start:]) {
			written = append(written, name)
		}
		return nil
	})
	return written, err
}

// changesList says whether a value that is written adds to a list of links or
// takes from it. Anything that names a mode does, but for the one that gives the
// whole list.
func changesList(v jsontext.Value) bool {
	if v.Kind() != '{' {
		return false
	}
	dec := trusted(v)
	if _, err := dec.ReadToken(); err != nil {
		return true
	}
	var mode, given bool
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return true
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return true
		}
		switch key {
		case updateMode:
			if s, _ := unquote(value); s != "set" {
				return true
			}
			mode = true
		case "value":
			given = true
		}
	}
	return mode && !given
}

// writtenName refuses what is no field. The body of a write is an object of
// fields, and a Rails site reads parameters from the same place: what a record
// is, which verb is meant, and options.
func (r *restParse) writtenName(name string) error {
	switch {
	case !IsName(name):
		return shape("the data has a field that is no identifier")
	case name == "id", name == "type", name[0] == '_', name == "options" && r.c.Method != "batch":
		return shape("the data has a name that is no field: " + name)
	}
	return nil
}

// batch reads {"requests": […]}, each a call of its own.
func (r *restParse) batch() error {
	r.out.Filter.Records = true
	return r.body(func(name string) error {
		if name != "requests" {
			return unknownMember(name)
		}
		return r.w.array(name, r.part)
	})
}

func (r *restParse) part(i int) error {
	if i == MaxParts {
		return shape("the batch has more than " + strconv.Itoa(MaxParts) + " parts")
	}
	mode, err := r.w.requestType()
	if err != nil {
		return err
	}
	info, _ := Method(mode)
	part := Call{Method: mode, Group: info.Group, Writes: true}
	q := &request{w: r.w, c: &part, inBatch: true}
	var written []string
	err = r.w.object("part", func(name string) error {
		switch {
		case name == "request_type":
			return r.w.plain(name)
		case name == "entity":
			t, err := r.typeValue(name)
			if err != nil {
				return err
			}
			part.Type = t
			return q.touch(Touch{Type: t, Use: UseWrite})
		case name == "record_id" && mode != "create":
			part.ID, err = r.recordID()
			return err
		case name == "data" && mode != "delete":
			written, err = r.data(q, func(member func(string) error) error { return r.w.object("the data", member) })
			return err
		case name == "options":
			return r.partOptions(q)
		}
		return unknownMember(name)
	})
	if err == nil {
		err = q.resolve()
	}
	if err != nil {
		return err
	}
	r.c.Parts = append(r.c.Parts, part)
	r.out.Filter.Written = append(r.out.Filter.Written, Written{Type: part.Type, ID: part.ID, Fields: written})
	return nil
}

// recordID reads the id of a record, which is a number.
func (r *restParse) recordID() (int64, error) {
	if r.w.dec.PeekKind() != '0' {
		return 0, shape("record_id is not a number")
	}
	return r.w.integer("record_id")
}

// partOptions reads {"fields": […]}: what is to be answered.
func (r *restParse) partOptions(q *request) error {
	return r.w.object("options", func(name string) error {
		if name != "fields" {
			return unknownMember(name)
		}
		_, err := r.list(name, func(f string) error {
			if f == EveryField { // the answer is filtered anyway
				return nil
			}
			return q.path(f, UseReturn)
		})
		return err
	})
}

// follow reads {"entities": [{record_id, entity}]}. Entities of several types
// are decided as a batch of as many calls: a call is about one type.
func (r *restParse) follow() error {
	var types []string
	var records []Record
	err := r.body(func(name string) error {
		if name != "entities" {
			return unknownMember(name)
		}
		return r.w.array(name, func(i int) error {
			if i == MaxParts {
				return shape("more than " + strconv.Itoa(MaxParts) + " entities are followed")
			}
			typ, id, err := r.followed()
			records = append(records, Record{typ, id})
			if err == nil && !slices.Contains(types, typ) {
				types = append(types, typ)
				err = r.w.touched(typ)
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	if len(types) == 0 {
		return shape("follow names no entity")
	}
	if len(types) == 1 {
		r.c.Type = types[0]
		r.c.Touches = append(r.c.Touches, Touch{Type: types[0], Use: UseReturn})
		r.c.areAbout(types[0], records)
		return nil
	}
	info, _ := Method("batch")
	for _, typ := range types {
		part := Call{Method: "follow", Group: r.c.Group, Writes: true, Type: typ, Touches: []Touch{{Type: typ, Use: UseReturn}}}
		part.areAbout(typ, records)
		r.c.Parts = append(r.c.Parts, part)
	}
	r.c.Method, r.c.Group = "batch", info.Group
	return nil
}

// areAbout takes note of those records that are of a type. Where one has no id,
// nothing is said of any.
func (c *Call) areAbout(typ string, records []Record) {
	for _, rec := range records {
		if rec.Type == typ && rec.ID <= 0 {
			c.Records = nil
			return
		}
		if rec.Type == typ {
			c.isAbout(typ, rec.ID)
		}
	}
}

func (r *restParse) followed() (typ string, id int64, err error) {
	err = r.w.object("entities", func(name string) error {
		switch name {
		case "record_id":
			id, err = r.recordID()
			return err
		case "entity":
			typ, err = r.typeValue(name)
			return err
		}
		return unknownMember(name)
	})
	if err == nil && typ == "" {
		err = shape("what is followed has no entity type")
	}
	return typ, id, err
}

func (r *restParse) userMember(name string) error {
	if name != "user_id" {
		return unknownMember(name)
	}
	_, err := r.w.integer(name)
	return err
}

// completeMember reads what tells the site that a file is complete.
func (r *restParse) completeMember(name string) error {
	switch name {
	case "upload_info":
		return r.w.object(name, r.uploadInfoMember)
	case "upload_data":
		return r.w.object(name, func(name string) error {
			switch name {
			case "display_name":
				return r.w.plain(name)
			case "tags":
				return r.w.value(func(typ string) error {
					if err := r.exactType(typ); err != nil {
						return err
					}
					return r.link(typ)
				})
			}
			return unknownMember(name)
		})
	}
	return unknownMember(name)
}

// uploadInfoMember reads what the site gave out with the link and gets back.
func (r *restParse) uploadInfoMember(name string) error {
	switch name {
	case "timestamp", "upload_type", "upload_id", "storage_service", "original_filename", "multipart_upload":
		start := len(r.w.out)
		if err := r.w.plain(name); err != nil {
			return err
		}
		if name == "upload_type" {
			r.uploadType, _ = unquote(r.w.out[start:])
		}
		if quoted, ok := r.links.quotedBack(r.w.out[start:]); ok {
			r.w.out = append(r.w.out[:start], quoted...)
		}
		return nil
	case "etags":
		return r.w.array(name, func(int) error { return r.w.anyText(name) })
	}
	return unknownMember(name)
}

// linked adds what a complete file may fill beside the field of the path. The
// site gave out the type of the upload, and goes by what it gets back: only an
// attachment is no thumbnail of the record.
func (r *restParse) linked() error {
	if r.uploadType == "Attachment" || fileField(r.field) == fieldFilmstrip {
		return nil
	}
	return r.touch(Touch{r.typ, fieldImage, UseUpload})
}

// hierarchyMember reads what a tree of the site is asked for. What its paths
// reach can't be told.
func (r *restParse) hierarchyMember(name string) error {
	expand := r.c.Method == "nav_expand"
	switch {
	case name == "seed_entity_field", name == "path" && expand, name == "root_path" && !expand:
		return r.opaque()
	case name == "entity_fields" && expand:
		if r.w.dec.PeekKind() == '[' {
			return r.w.array(name, func(int) error { return r.entityFieldsItem() })
		}
		return r.exactEntityFields()
	case name == "search_criteria" && !expand:
		return r.w.value(func(typ string) error {
			if err := r.exactType(typ); err != nil {
				return err
			}
			return r.touch(Touch{Type: typ, Use: UseFilter})
		})
	}
	return unknownMember(name)
}

// exactEntityFields is entityFields with names that the site can't read
// otherwise.
func (r *restParse) exactEntityFields() error {
	before := len(r.c.Touches)
	if err := r.entityFields(); err != nil {
		return err
	}
	for _, t := range r.c.Touches[before:] {
		if t.Field != "" {
			continue
		}
		if err := r.exactType(t.Type); err != nil {
			return err
		}
	}
	return nil
}

// entityFieldsItem reads {"entity": Type, "fields": […]}.
func (r *restParse) entityFieldsItem() error {
	typ := ""
	var paths []string
	err := r.w.object("entity_fields", func(name string) (err error) {
		switch name {
		case "entity":
			typ, err = r.typeValue(name)
			return err
		case "fields":
			_, err = r.list(name, func(p string) error { paths = append(paths, p); return r.w.count() })
			return err
		}
		return unknownMember(name)
	})
	if err != nil {
		return err
	}
	if typ == "" {
		return shape("entity_fields has an item without an entity type")
	}
	if err := r.touch(Touch{Type: typ, Use: UseReturn}); err != nil {
		return err
	}
	for _, p := range paths {
		if err := r.steps(typ, p, UseReturn); err != nil {
			return err
		}
	}
	return nil
}

// preferences reads one preference or several, each the switch of a type.
func (r *restParse) preferences() error {
	one := func() error {
		return r.body(func(name string) error {
			switch name {
			case "preference", "display_name":
				return r.w.plain(name)
			case "entity_type":
				typ, err := r.typeValue(name)
				if err != nil {
					return err
				}
				return r.touch(Touch{Type: typ, Use: UseWrite})
			}
			return unknownMember(name)
		})
	}
	if r.w.dec.PeekKind() == '[' {
		return r.w.array("body", func(int) error { return one() })
	}
	return one()
}

// scheduleMember reads a day of a schedule. One of no project and no person is
// the whole studio's.
func (r *restParse) scheduleMember(name string) error {
	switch name {
	case "date", "working", "description", "recalculate_field":
		return r.w.plain(name)
	case "project_id", "user_id":
		if r.w.null() {
			return nil
		}
		id, err := r.w.integer(name)
		if name == "project_id" {
			r.inProject = id
		} else {
			r.ofPerson = true
		}
		if id > 0 {
			r.ours = true
		} else {
			r.others = true
		}
		return err
	}
	return unknownMember(name)
}

// seatMember reads {"<user id>": "<subscription>"}.
func (r *restParse) seatMember(name string) error {
	if !isRecordID(name) {
		return shape("a subscription is of no user's id")
	}
	return r.w.plain("subscription")
}

// webhook reads where the site is to send what, on its own. A hook that is there
// may be anybody's and tell of anything: it is turned to another address only by
// a call that also says of which types it tells, which are then decided on.
func (r *restParse) webhook() error {
	address, before := false, len(r.c.Touches)
	err := r.body(func(name string) error {
		address = address || name == "url"
		return r.webhookMember(name)
	})
	if err == nil && address && r.in.Method == "PUT" && len(r.c.Touches) == before {
		return shape("a webhook gets another address without entity_types: say of which types it tells")
	}
	return err
}

func (r *restParse) webhookMember(name string) error {
	if r.op.body == anyBody {
		return unknownMember(name)
	}
	if r.rt.shape == "webhook/deliveries/@" {
		if name == "acknowledgement" {
			return r.w.plain(name)
		}
		return unknownMember(name)
	}
	switch name {
	case "url", "name", "description", "token", "validate_ssl_cert", "batch_deliveries", "status", "event_type":
		return r.w.plain(name)
	case "projects":
		if r.w.null() {
			return nil
		}
		return r.w.array(name, func(int) error { return r.w.plain(name) })
	case "entity_types":
		return r.w.object(name, func(typ string) error {
			if err := r.exactType(typ); err != nil {
				return err
			}
			if err := r.touch(Touch{Type: typ, Use: UseReturn}); err != nil {
				return err
			}
			before := len(r.w.out)
			err := r.w.object(name, func(event string) error { return r.webhookEvent(typ, event) })
			if err == nil && string(r.w.out[before:]) == "{}" { // of which events isn't said
				err = r.touch(Touch{typ, EveryField, UseReturn})
			}
			return err
		})
	}
	return unknownMember(name)
}

// webhookEvent reads the fields of a type whose changes are told. None means
// all.
func (r *restParse) webhookEvent(typ, event string) error {
	switch event {
	case "create", "update", "delete", "revive":
	default:
		return unknownMember(event)
	}
	n, err := r.list(event, func(p string) error { return r.steps(typ, p, UseReturn) })
	if err == nil && n == 0 {
		err = r.touch(Touch{typ, EveryField, UseReturn})
	}
	return err
}

func (r *restParse) schemaFieldMember(name string) error {
	switch {
	case r.op.body == anyBody:
	case name == "data_type", name == "project_id": // shotgun-nodejs sends data_type with an update too
		return r.w.plain(name)
	case name == "properties":
		return r.w.value(nil)
	}
	return unknownMember(name)
}
