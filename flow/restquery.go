package flow

import (
	"strconv"
	"strings"
)

// readQuery reads every name of the query. What the route does not have is
// refused: it may decide on the site what we did not see here.
func (r *restParse) readQuery() error {
	pairs, err := ReadQuery(r.in.Query)
	if err != nil {
		return err
	}
	r.params = pairs
	for i := range r.params {
		p := &r.params[i]
		if err := r.queryParam(p); err != nil {
			return err
		}
	}
	if r.op.method == "revive" || r.rt.shape == "schema/T/fields/F" && r.in.Method == "POST" {
		return r.needs("revive")
	}
	return nil
}

// needs refuses a call without a name that makes it what it is.
func (r *restParse) needs(name string) error {
	for _, p := range r.params {
		if p.Name == name {
			return nil
		}
	}
	return shape("the query has no " + name)
}

func unknownParam(name string) error {
	return shape("the query has a name that the protocol does not: " + safeParam(name))
}

// queryParam reads one name and value.
func (r *restParse) queryParam(p *Pair) error {
	word, inner, brackets := bracketed(p.Name)
	if !brackets && strings.ContainsAny(p.Name, "[]") {
		return unknownParam(p.Name)
	}
	if brackets {
		return r.bracketParam(p, word, inner)
	}
	switch r.rt.shape {
	case "entity/T", "entity/T/_search", "entity/T/#":
		return r.recordParam(p)
	case "entity/T/#/F":
		return r.altParam(p)
	case "entity/T/#/activity_stream":
		switch p.Name {
		case "min_id", "max_id", "limit":
			return nil
		}
	case "entity/T/#/following":
		return r.followingParam(p)
	case "schema", "schema/T", "schema/T/fields", "schema/T/fields/F":
		return r.schemaParam(p)
	case "preferences":
		if p.Name == "prefs" {
			return r.opaqueText(p.Value)
		}
	case "schedule/work_day_rules":
		if r.in.Method == "GET" {
			return r.scheduleParam(p)
		}
	case "webhook/hooks", "webhook/hooks/@/deliveries":
		return r.webhookParam(p)
	default:
		if r.c.Group == GroupUpload {
			return r.uploadParam(p)
		}
	}
	return unknownParam(p.Name)
}

// recordParam reads fields, sort and revive.
func (r *restParse) recordParam(p *Pair) error {
	reads := r.c.Method == "read"
	switch {
	case reads && p.Name == "fields":
		return r.fieldList(p.Value)
	case reads && p.Name == "sort" && r.rt.shape != "entity/T/#":
		return r.sortList(p.Value)
	case r.c.Method == "revive" && p.Name == "revive":
		return isTrue(p.Value)
	}
	return unknownParam(p.Name)
}

func isTrue(v string) error {
	if v == "1" || v == "true" || v == "yes" {
		return nil
	}
	return shape("revive is not true")
}

func (r *restParse) schemaParam(p *Pair) error {
	switch {
	case p.Name == "project_id" && r.in.Method == "GET":
		return nil
	case p.Name == "revive" && r.in.Method == "POST" && r.rt.shape == "schema/T/fields/F":
		return isTrue(p.Value)
	}
	return unknownParam(p.Name)
}

// altParam reads alt, which makes a read of a link the download of its file.
func (r *restParse) altParam(p *Pair) error {
	if p.Name != "alt" {
		return unknownParam(p.Name)
	}
	if p.Value != "original" && p.Value != "thumbnail" {
		return shape("alt is neither original nor thumbnail")
	}
	c := r.c
	c.Method, c.Group = "download", GroupDownload
	c.Touches = c.Touches[:0]
	return r.touch(Touch{r.typ, r.field, UseDownload})
}

// scheduleParam reads of what and whom a schedule is read.
func (r *restParse) scheduleParam(p *Pair) error {
	switch p.Name {
	case "start_date", "end_date":
		return nil
	case "project_id":
		r.projectParam(p.Value)
		return nil
	case "user_id":
		r.ofPerson = true
		return nil
	}
	return unknownParam(p.Name)
}

// projectParam takes note of a project that the query names.
func (r *restParse) projectParam(v string) {
	if isID(v) {
		r.inProject, _ = strconv.ParseInt(v, 10, 64)
	}
}

func (r *restParse) followingParam(p *Pair) error {
	switch p.Name {
	case "project_id":
		r.projectParam(p.Value)
		return nil
	case "entity":
		name, err := r.typeNamed(p.Value)
		if err != nil {
			return err
		}
		p.Value, r.entityType = name, name
		return nil
	}
	return unknownParam(p.Name)
}

// webhookParam reads what a list of webhooks or deliveries is narrowed to.
func (r *restParse) webhookParam(p *Pair) error {
	deliveries := r.rt.shape == "webhook/hooks/@/deliveries"
	switch {
	case r.in.Method != "GET":
	case p.Name == "status",
		deliveries && (p.Name == "entity_id" || p.Name == "from" || p.Name == "acknowledgement"):
		return nil
	case deliveries && p.Name == "entity_type":
		name, err := r.typeNamed(p.Value)
		if err != nil {
			return err
		}
		p.Value = name
		return r.touch(Touch{Type: name, Use: UseFilter})
	}
	return unknownParam(p.Name)
}

// uploadParam reads the names that ask for a link, and those that are signed.
func (r *restParse) uploadParam(p *Pair) error {
	last := r.rt.segs[len(r.rt.segs)-1]
	switch p.Name {
	case "filename":
		if last != "multipart_abort" {
			return nil
		}
	case "multipart_upload":
		if r.in.Method == "GET" {
			return nil
		}
	case "signature", "user_id", "user_type", "expiration":
		if r.in.Method == "PUT" {
			return nil
		}
	case "part_number", "upload_id", "timestamp", "upload_type", "storage_service", "original_filename":
		if r.in.Method == "GET" && last == "multipart" {
			return nil
		}
	}
	return unknownParam(p.Name)
}

// bracketParam reads filter[…], page[…], options[…] and entity_fields[…].
func (r *restParse) bracketParam(p *Pair, word, inner string) error {
	records := r.rt.shape == "entity/T/_search" || r.in.Method == "GET" &&
		(r.rt.shape == "entity/T" || r.rt.shape == "webhook/hooks" || r.rt.shape == "webhook/hooks/@/deliveries")
	switch {
	case word == "filter" && r.rt.shape == "entity/T" && r.in.Method == "GET":
		r.queryFilter(inner, p.Value)
		return r.path(inner, UseFilter)
	case word == "page" && records && inner == "size":
		return r.pageSize(p.Value)
	case word == "page" && records && inner == "number":
		return nil
	case word == "options" && (inner == "return_only" || inner == "include_archived_projects") && r.c.Method == "read" && r.rt.shape != "entity/T/#/F":
		return nil
	case word == "options" && inner == "fields" && (r.c.Method == "create" || r.c.Method == "update"):
		return r.returned(p.Value)
	case word == "entity_fields" && (r.c.Method == "activity_stream" || r.c.Method == "note_thread_contents"):
		return r.entityFieldList(p.Value, inner)
	}
	return unknownParam(p.Name)
}

// queryFilter takes note of filter[path]=1,2: each of the filters of a query has
// to hold, and a comma parts what a value may be.
func (r *restParse) queryFilter(path, value string) {
	c := condition{path: path, named: true, isIn: true}
	if path != pathOfID && path != pathID {
		return
	}
	for s := range strings.SplitSeq(value, ",") {
		if !isID(s) {
			return
		}
		id, _ := strconv.ParseInt(s, 10, 64)
		c.add(id)
	}
	r.filter.group = true
	r.filter.within = r.filter.and(c.within())
}

// entityFieldList reads entity_fields[Type]=f,f.
func (r *restParse) entityFieldList(list, typ string) error {
	name, err := r.typeNamed(typ)
	if err != nil {
		return err
	}
	if name != typ { // the names of a query are sent as they are
		return shape("entity_fields has another spelling of " + name)
	}
	if err := r.touch(Touch{Type: name, Use: UseReturn}); err != nil {
		return err
	}
	return eachItem(list, func(f string) error { return r.steps(name, f, UseReturn) })
}

func (r *restParse) pageSize(v string) error {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return shape("page[size] is no number")
	}
	r.c.PageSize = max(r.c.PageSize, int(n))
	return nil
}

// fieldList reads the fields of a read: paths, or * for all. A list of none is
// answered with a set that the site chooses.
func (r *restParse) fieldList(list string) error {
	if list == "" {
		return nil
	}
	r.all = false
	return eachItem(list, r.fieldItem)
}

func (r *restParse) fieldItem(f string) error {
	if f == EveryField {
		r.out.Filter.Records = true
		return nil
	}
	return r.path(f, UseReturn)
}

// returned reads the fields that a write asks to see.
func (r *restParse) returned(list string) error {
	if list == "" {
		return nil
	}
	return eachItem(list, func(f string) error {
		if f == EveryField { // the answer is filtered anyway
			return nil
		}
		return r.path(f, UseReturn)
	})
}

// sortList reads a,-b.
func (r *restParse) sortList(list string) error {
	if list == "" {
		return nil
	}
	return eachItem(list, func(f string) error { return r.path(strings.TrimPrefix(f, "-"), UseSort) })
}

func eachItem(list string, item func(string) error) error {
	for s := range strings.SplitSeq(list, ",") {
		if err := item(s); err != nil {
			return err
		}
	}
	return nil
}

// opaqueText takes note of the names of credential fields in a text that the
// protocol leaves open.
func (r *restParse) opaqueText(s string) error {
	if name, ok := secretIn(s); ok {
		return r.touch(Touch{Field: name, Use: UseFilter})
	}
	return nil
}

// bracketed splits filter[code] into filter and code. ok is false for a name
// without brackets, and for one with brackets anywhere else.
func bracketed(name string) (word, inner string, ok bool) {
	word, rest, found := strings.Cut(name, "[")
	if !found {
		return "", "", false
	}
	inner, found = strings.CutSuffix(rest, "]")
	if !found || strings.ContainsAny(inner, "[]") {
		return "", "", false
	}
	return word, inner, true
}

// safeParam shows a query's name where it is made of identifiers.
func safeParam(name string) string {
	if word, inner, ok := bracketed(name); ok && IsName(word) {
		return word + "[" + safePath(inner) + "]"
	}
	return quoteName(name)
}
