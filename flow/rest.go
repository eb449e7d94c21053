package flow

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The content types of the REST API: plain JSON, and those that say how filters
// are written (flow-protocol §5.4).
const (
	TypeJSON  = "application/json"
	TypeArray = "application/vnd+shotgun.api3_array+json"
	TypeHash  = "application/vnd+shotgun.api3_hash+json"
)

// RESTRequest is a call of the REST API as it came.
type RESTRequest struct {
	// Method is the HTTP verb.
	Method string
	// Path and Query are as on the wire, the path with its prefix, the query
	// without its question mark.
	Path, Query string
	// ContentType holds the Content-Type headers.
	ContentType []string
	// Body is the whole body; nil for none, and where a file follows
	// ([REST.Stream]).
	Body []byte
}

// REST is a call of the REST API that was read completely, and what is sent on.
// It is immutable, but for [REST.Confine] and its [Carried], and keeps no byte of the body that it
// was read from.
type REST struct {
	Carried

	Call Call
	// Verb, Path and Query are what is asked of the site, Query without its
	// question mark.
	Verb, Path, Query string
	// ContentType goes with the body, "" where there is none.
	ContentType string
	// Body is the body to send, nil for none.
	Body []byte
	// Filter says what is to be done to the answer.
	Filter Filter
	// Stream says that the body is a file, which has not been read.
	Stream bool

	params []Pair // what Query is made of
	place  filterPlace
}

// Filter says what of an answer may go to the tool.
type Filter struct {
	// Records says that the answer may hold fields that were not asked for one
	// by one, so they have to be held against what may be read: [FilterRecords].
	Records bool
	// Written holds what this call wrote, by record of the answer: the only one,
	// or one for each part of a batch. It is kept in an answer of as many records,
	// in the record that was meant.
	Written []Written
	// Linked says that the records of the answer are links to others, whose
	// names are kept as those of links are everywhere.
	Linked bool
}

// Written is what a call wrote of one record.
type Written struct {
	// Type and ID name the record; ID is 0 for one that is made.
	Type string
	ID   int64
	// Fields are those whose values the call gave as they are to be. A list that
	// something was added to or taken from is none: the rest of it is not the
	// call's to know.
	Fields []string
}

// ParseREST reads a call of the REST API (flow-protocol §5.4, §5.5). types knows
// the entity types, l turns back links that the tool writes. It returns a
// *ParseError for anything but one complete call of a known route.
func (p *Parser) ParseREST(r RESTRequest, types *Types, l *Links, maxDepth int) (*REST, error) {
	rt, ok := splitREST(r.Path)
	if !ok {
		return nil, &ParseError{Flaw: FlawUnknown, Msg: "the path is no route of the REST API"}
	}
	op, ok := restOp(r.Method, rt.shape)
	if !ok {
		return nil, &ParseError{Flaw: FlawUnknown, Msg: "the path is no route of the REST API for this verb"}
	}
	pr := &restParse{rt: rt, op: op, types: types, links: l, in: r, maxDepth: maxDepth, out: &REST{Verb: r.Method}}
	c := &pr.out.Call
	info := restMethod(op.method)
	*c = Call{Kind: KindREST, Method: op.method, Group: info.Group, Writes: info.Writes}
	dec, ok := p.decoders.Get().(*jsontext.Decoder)
	if !ok {
		dec = jsontext.NewDecoder(nothing{})
	}
	err := pr.read(dec)
	if len(r.Body) <= maxKept {
		dec.Reset(nothing{}) // lets go of the body
		p.decoders.Put(dec)
	}
	if err != nil {
		if pe, ok := errors.AsType[*ParseError](err); ok {
			pe.Method = op.method
		}
		return nil, err
	}
	return pr.out, nil
}

// restParse is one call on its way.
type restParse struct {
	*request // what it touches, and the walker of its body

	rt       restRoute
	op       restCall
	in       RESTRequest
	out      *REST
	types    *Types
	links    *Links
	maxDepth int

	segs   []string // as they are sent
	typ    string   // the entity type of the path
	id     int64
	field  string // the field of the path
	params []Pair // as they are sent
	hash   bool   // filters are written as a hash
	all    bool   // every field is asked for, or none

	uploadType string // of a file that is complete, "" for what is no string
}

// read goes through path, query and body.
func (r *restParse) read(dec *jsontext.Decoder) error {
	w := &walker{maxDepth: r.maxDepth}
	w.types.types = w.few[:0]
	c := &r.out.Call
	r.request = &request{w: w, c: c, listsFields: true} // what lists none is filtered
	if err := r.readPath(); err != nil {
		return err
	}
	if err := r.readQuery(); err != nil {
		return err
	}
	if err := r.readBody(dec); err != nil {
		return err
	}
	if err := r.finish(); err != nil {
		return err
	}
	r.out.Path = r.rt.prefix
	for _, s := range r.segs {
		r.out.Path += "/" + s
	}
	r.out.params = r.params
	r.out.Query = string(AppendQuery(nil, r.params))
	r.out.place = r.placeOf()
	return nil
}

// placeOf is where a filter can be added.
func (r *restParse) placeOf() filterPlace {
	p := r.filter.filterPlace
	switch {
	case r.rt.shape == "entity/T" && r.c.Method == "read":
		p.form = styleQuery
	case r.op.body != vndBody || r.c.Method != "read" && r.c.Method != "summarize":
		p.form = styleNone
	case r.hash:
		p.form = styleHash
	default:
		p.form = styleArray
	}
	return p
}

// readPath takes type, id and field from the path, the type in its one name.
func (r *restParse) readPath() error {
	r.segs = append(make([]string, 0, maxSegments), r.rt.segs...)
	for i, s := range strings.Split(r.rt.shape, "/") {
		var err error
		switch s {
		case "T":
			err = r.pathType(i)
		case "#", "#.x":
			err = r.pathID(r.segs[i])
		case "F":
			r.field = r.segs[i]
		}
		if err != nil {
			return err
		}
	}
	r.out.Call.ID = r.id
	return r.ofPath()
}

// pathType brings the type in the path to its name.
func (r *restParse) pathType(i int) (err error) {
	if r.typ, err = r.typeNamed(r.segs[i]); err != nil {
		return err
	}
	if r.op.body == streamBody && r.segs[i] == plural(snakeCase(r.typ)) {
		return nil // a link that the site signed, in the spelling that it chose
	}
	r.segs[i] = r.typ
	return nil
}

func (r *restParse) pathID(s string) (err error) {
	digits, _, _ := strings.Cut(s, ".") // of an export
	if r.id, err = strconv.ParseInt(digits, 10, 64); err != nil {
		return shape("the path has an id that is none")
	}
	return nil
}

// typeNamed finds the type that a spelling means.
func (r *restParse) typeNamed(spelling string) (string, error) {
	name, ok := r.types.Canonical(spelling)
	if !ok {
		return "", shape("no entity type " + quoteName(spelling) + " is known")
	}
	return name, nil
}

// setType takes the type that the call is about.
func (r *restParse) setType(typ string) error {
	r.c.Type = typ
	return r.touch(Touch{Type: typ, Use: groupUse(r.c.Group)})
}

// ofPath notes what the path itself says.
func (r *restParse) ofPath() error {
	want := ""
	switch r.op.method {
	case "follow", "following":
		want = "HumanUser"
	case "note_thread_contents":
		want = "Note"
	case "update_project_last_accessed_by_current_user":
		want = "Project"
	}
	if want != "" && r.typ != want {
		return shape("the path names " + quoteName(r.typ) + " where only " + want + " may stand")
	}
	switch r.op.method {
	case "unfollow", "followers":
		r.user, r.entity, r.entityID = "HumanUser", r.typ, r.id
		return nil
	case "following":
		r.user = "HumanUser"
		return nil
	case "read", "summarize", "create", "update", "delete", "revive", "activity_stream",
		"schema_entity_read", "schema_field_read", "schema_field_create", "schema_field_update", "schema_field_delete":
		return r.ofType()
	case "api_get_upload_link_info", "api_get_upload_link_for_part", "rest_upload", "rest_upload_abort", "api_link_file":
		r.c.Type = r.typ
		r.out.Stream = r.op.body == streamBody
		return r.touch(Touch{r.typ, fileField(r.field), UseUpload})
	case "transcode":
		return r.touch(Touch{Type: "Attachment", Use: UseReturn})
	}
	return nil
}

// ofType is ofPath for the calls that are about one type.
func (r *restParse) ofType() error {
	if r.typ == "" {
		return nil // the schema of all
	}
	switch r.rt.shape {
	case "entity/T/#/F", "entity/T/#/relationships/F":
		if err := r.setType(r.typ); err != nil {
			return err
		}
		if r.rt.shape == "entity/T/#/relationships/F" {
			r.out.Filter = Filter{Records: true, Linked: true}
		}
		return r.path(r.field, UseReturn)
	case "entity/T":
		r.all = r.in.Method == "GET"
	case "entity/T/#":
		r.all = r.in.Method == "GET"
	case "entity/T/_search":
		r.all = true
	}
	if err := r.setType(r.typ); err != nil {
		return err
	}
	if r.c.Group == GroupCreate || r.c.Group == GroupUpdate || r.c.Group == GroupRevive {
		r.out.Filter = Filter{Records: true, Written: []Written{{Type: r.typ, ID: r.id}}}
	}
	if r.c.Group == GroupNamed && r.field != "" { // a field of the schema that is written
		return r.path(r.field, UseWrite)
	}
	return nil
}

// finish turns what was collected into the call.
func (r *restParse) finish() error {
	if r.all {
		r.out.Filter.Records = true
	}
	switch r.c.Method {
	case "batch", "follow":
		return nil
	case "work_schedule_update":
		r.c.Studio = r.others || !r.ours
		r.facts()
		return nil
	case "api_link_file":
		r.facts()
		return r.linked()
	}
	return r.resolve()
}

// readBody reads what follows the head, as the route has it.
func (r *restParse) readBody(dec *jsontext.Decoder) error {
	if r.op.body == noBody || r.op.body == streamBody {
		if len(r.in.Body) > 0 {
			return shape("this call takes no body")
		}
		if r.op.body == streamBody {
			return r.fileType()
		}
		return nil
	}
	if r.op.body == anyBody && len(r.in.Body) == 0 {
		return nil
	}
	if err := r.contentType(); err != nil {
		return err
	}
	body := r.in.Body
	if err := crowded(body); err != nil {
		return err
	}
	if err := strictJSON(dec, body); err != nil {
		return err
	}
	w := newWalker(dec, body, r.maxDepth)
	w.links = r.links
	w.reach, w.types = r.w.reach, r.w.types // what path and query named
	r.w = w
	if err := r.members(); err != nil {
		return err
	}
	r.out.Body = w.out
	return nil
}

// strictJSON reads the whole of a body once with every strict check on.
func strictJSON(dec *jsontext.Decoder, body []byte) error {
	dec.Reset(bytes.NewBuffer(body)) // the default options are the strict ones
	if _, err := dec.ReadValue(); err != nil {
		return syntax(body, err)
	}
	if rest := bytes.TrimLeft(body[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return &ParseError{Flaw: FlawJSON, Msg: "data after the end of the call at byte " + strconv.Itoa(len(body)-len(rest))}
	}
	return nil
}

// contentType holds the body's type against the route. It is sent on without
// its parameters.
func (r *restParse) contentType() error {
	if len(r.in.ContentType) != 1 {
		return shape("the call has a body and not exactly one content type")
	}
	typ, param, has := strings.Cut(r.in.ContentType[0], ";")
	typ = strings.ToLower(strings.TrimSpace(typ))
	if has && !strings.EqualFold(strings.ReplaceAll(strings.TrimSpace(param), `"`, ""), "charset=utf-8") {
		return shape("the content type has a parameter that is not charset=utf-8")
	}
	switch {
	case r.op.body == vndBody && typ == TypeArray:
	case r.op.body == vndBody && typ == TypeHash:
		r.hash = true
	case r.op.body == vndBody:
		return shape("the content type is neither " + TypeArray + " nor " + TypeHash)
	case typ != TypeJSON:
		return shape("the content type is not " + TypeJSON)
	}
	r.out.ContentType = typ
	return nil
}

// fileType takes the type of a file that follows: the caller's where it is a
// plain one.
func (r *restParse) fileType() error {
	r.out.ContentType = "application/octet-stream"
	if len(r.in.ContentType) == 0 {
		return nil
	}
	if len(r.in.ContentType) > 1 {
		return shape("the file has more than one content type")
	}
	typ, param, has := strings.Cut(r.in.ContentType[0], ";")
	charset, ok := strings.CutPrefix(strings.TrimSpace(param), "charset=")
	if has && (!ok || !isWord(charset)) {
		return shape("the file's content type has a parameter that is no charset")
	}
	if len(typ) > MaxName || !isCleanType(typ) {
		return shape("the file's content type is no plain one")
	}
	r.out.ContentType = typ
	return nil
}
