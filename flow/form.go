package flow

import (
	"strconv"
	"strings"

	"stagedoor/secret"
)

const (
	// MaxFormBody is the longest url-encoded form, in bytes. The longest of the
	// clients repeats a pre-signed link, or lists the targets of a thumbnail.
	MaxFormBody = 1 << 20
	// MaxFormFields is how many fields a form may have. The clients send
	// fifteen.
	MaxFormFields = 64
)

const typeForm = "application/x-www-form-urlencoded"

// Form is an upload call (flow-protocol §3) that was read completely up to where
// its file begins. It is written again from what was checked, with our credential
// in place of theirs; nothing else of the caller's bytes is sent on but the file.
type Form struct {
	Carried

	Call Call

	fields  []Pair
	product string
	file    *filePart // nil where the form has no file
}

// IsUploadPath says whether a path is one that a form is posted to.
func IsUploadPath(path string) bool {
	_, ok := formSpecOf(uploadMethod(path))
	return ok
}

// ParseForm reads a url-encoded form. It returns a *ParseError for anything but
// one complete call. l, which may be nil, turns the link in it back.
func ParseForm(path string, body []byte, l *Links) (*Form, error) {
	b, err := newFormBuilder(path)
	if err != nil {
		return nil, err
	}
	if len(body) > MaxFormBody {
		return nil, b.at(shape("the form has more than " + strconv.Itoa(MaxFormBody) + " bytes"))
	}
	pairs, err := readPairs(string(body), MaxFormFields)
	if err != nil {
		return nil, b.at(err)
	}
	for _, p := range pairs {
		if err := b.add(p.Name, p.Value); err != nil {
			return nil, b.at(err)
		}
	}
	if err := b.finish(l); err != nil {
		return nil, b.at(err)
	}
	return b.form, nil
}

// HasFile says whether a file follows: such a form is sent as Head and File, any
// other as Encode.
func (f *Form) HasFile() bool { return f.file != nil }

// Encode is a form without a file, url-encoded, with our credential.
func (f *Form) Encode(c secret.Credential) (contentType string, body []byte) {
	size := 0
	for _, p := range f.fields {
		size += len(p.Name) + len(p.Value) + 2
	}
	f.auth(c, func(name string, value []byte) { size += len(name) + len(value) + 2 })
	// With room for all: grown later, a key would be left in what it grew from.
	out := make([]byte, 0, 3*size)
	f.auth(c, func(name string, value []byte) {
		if len(out) > 0 {
			out = append(out, '&')
		}
		out = append(append(out, name...), '=')
		out = appendEscaped(out, value)
	})
	if len(f.fields) > 0 {
		out = append(out, '&')
	}
	return typeForm, AppendQuery(out, f.fields)
}

// auth lists the fields of our credential, with what was granted of the caller's.
func (f *Form) auth(c secret.Credential, add func(name string, value []byte)) {
	add("script_name", []byte(c.SiteName))
	c.Key.Reveal(func(k []byte) { add("script_key", k) })
	for _, p := range []Pair{{"session_uuid", f.Call.SessionUUID}, {"sudo_as_login", f.Call.SudoAsLogin}, {"product", f.product}} {
		if p.Value != "" {
			add(p.Name, []byte(p.Value))
		}
	}
}

// formBuilder takes the fields of a form, in whichever encoding they came.
type formBuilder struct {
	form *Form
	spec formSpec
	seen map[string]struct{}
}

func newFormBuilder(path string) (*formBuilder, error) {
	method := uploadMethod(path)
	spec, ok := formSpecOf(method)
	if !ok {
		return nil, &ParseError{Flaw: FlawUnknown, Method: safeName(method), Msg: "no form " + quoteName(method) + " is known"}
	}
	return &formBuilder{
		form: &Form{Call: Call{Kind: KindUpload, Method: method, Group: GroupUpload, Writes: true}},
		spec: spec, seen: make(map[string]struct{}),
	}, nil
}

func (b *formBuilder) at(err error) error { return at(err, "the form", b.form.Call.Method) }

// name takes note of a field's name, before its value is looked at.
func (b *formBuilder) name(name string) error {
	if len(b.seen) == MaxFormFields {
		return shape("more than " + strconv.Itoa(MaxFormFields) + " fields")
	}
	if _, twice := b.seen[name]; twice {
		return shape("a field stands twice: " + quoteName(name))
	}
	b.seen[name] = struct{}{}
	return formName(name, formNames())
}

// formName refuses names that a reader could take for another one: of known or
// of the auth object in other letters, with brackets (which nest for Rack), and
// the one that changes the verb of the request.
func formName(name string, known []string) error {
	switch {
	case name == "" || hasControl(name):
		return shape("a field has no name, or a control character in it")
	case strings.ContainsAny(name, "[]"):
		return shape("a field's name has brackets")
	case len(name) > MaxName:
		return nil // no known name is as long
	case strings.EqualFold(strings.TrimSpace(name), "_method"):
		return shape("the field _method is not served")
	}
	for _, k := range append(known, authKeys()...) {
		if name != k && strings.EqualFold(strings.TrimSpace(name), k) {
			return shape("a field's name is " + k + " in other letters")
		}
	}
	return nil
}

// add takes one field that is no file.
func (b *formBuilder) add(name, value string) error {
	if err := b.name(name); err != nil {
		return err
	}
	if isAuthKey(name) {
		return b.form.authField(name, value)
	}
	if name == b.spec.file {
		return shape(name + " is not a file")
	}
	field, ok := b.spec.field(name)
	if !ok {
		dropAuth(&b.form.Call, name)
		return nil
	}
	if !field.is(value) {
		if value == "" && !field.need {
			return nil // as if it were absent
		}
		return shape(name + " is not as the client writes it")
	}
	b.form.fields = append(b.form.fields, Pair{name, value})
	return nil
}

// authField takes from the caller's credential what a policy may grant, as
// Message.readAuth does from an auth object.
func (f *Form) authField(name, value string) error {
	if value == "" { // counts as absent: §1.3
		return nil
	}
	switch name {
	case "script_name":
		f.Call.ScriptName = value
	case "script_key":
		f.key = secret.FromString(value)
	case "session_token":
		f.token = secret.FromString(value)
	case "reject_if_expired":
	case "user_login", "user_password", "auth_token":
		f.Call.UserAuth, f.user = true, true
	case "session_uuid":
		return setSessionUUID(&f.Call, value)
	case "sudo_as_login":
		f.Call.SudoAsLogin = value
	case "product":
		if len(value) > MaxProduct {
			dropAuth(&f.Call, name)
			return nil
		}
		f.product = value
	}
	return nil
}

func setSessionUUID(c *Call, value string) error {
	if !isSessionUUID(value) {
		return shape("session_uuid is not 1 to " + strconv.Itoa(maxSessionUUID) + " letters, digits and hyphens")
	}
	c.SessionUUID = value
	return nil
}

func dropAuth(c *Call, name string) {
	if len(c.DroppedAuth) < MaxDropped {
		c.DroppedAuth = append(c.DroppedAuth, quoteName(name))
	}
}

// finish checks that nothing is missing, and finds out what the form reaches.
func (b *formBuilder) finish(l *Links) error {
	f := b.form
	for _, need := range b.spec.fields {
		if _, ok := f.value(need.name); need.need && !ok {
			return shape(need.name + " is missing")
		}
	}
	c := &f.Call
	if typ, ok := f.value("entity_type"); ok {
		c.Type = typ
		id, _ := f.value("entity_id")
		c.ID, _ = strconv.ParseInt(id, 10, 64)
		c.isAbout(typ, c.ID)
	}
	field, _ := f.value("field_name")
	flag, _ := f.value("filmstrip")
	switch c.Method {
	case "upload_file":
		if f.file == nil {
			return shape("the file is missing")
		}
		c.Touches = []Touch{{c.Type, fileField(field), UseUpload}}
	case "publish_thumbnail":
		if f.file == nil {
			return shape("the thumb_image is missing")
		}
		c.Touches = []Touch{{c.Type, thumbField(isOn(flag)), UseUpload}}
	case "api_link_file":
		info, _ := f.value("upload_link_info")
		for _, field := range linkedFields(field, isOn(flag), info) {
			c.Touches = append(c.Touches, Touch{c.Type, field, UseUpload})
		}
		f.set("upload_link_info", linkBack(info, l))
	case "share_thumbnail":
		return f.share()
	}
	if flag != "" && !isOn(flag) {
		f.drop("filmstrip") // what is no filmstrip is sent without the word
	}
	return nil
}

// share finds out what share_thumbnail reaches: it reads one entity's thumbnail
// and writes it to others.
func (f *Form) share() error {
	c := &f.Call
	entities, _ := f.value("entities")
	targets, err := readTargets(entities)
	if err != nil {
		return err
	}
	from, _ := f.value("source_entity")
	source, ok := readTarget(from)
	if !ok {
		return shape("source_entity is not a Type_id")
	}
	flag, _ := f.value("filmstrip_thumbnail")
	field := thumbField(isOn(flag))
	if len(targets) == 1 {
		c.Type, c.ID = targets[0].typ, targets[0].id
	}
	c.Touches = append(c.Touches, Touch{source.typ, field, UseReturn})
	types := map[string]struct{}{} // of targets
	known := map[target]struct{}{}
	for _, t := range append(targets, source) {
		if _, ok := known[t]; !ok {
			known[t] = struct{}{}
			c.isAbout(t.typ, t.id)
		}
	}
	for _, t := range targets {
		if _, ok := types[t.typ]; ok {
			continue
		}
		types[t.typ] = struct{}{}
		if len(types) > MaxTypes-1 { // with the source's
			return shape("more than " + strconv.Itoa(MaxTypes) + " entity types are named")
		}
		c.Touches = append(c.Touches, Touch{t.typ, field, UseUpload})
	}
	return nil
}

func (f *Form) value(name string) (string, bool) {
	for _, p := range f.fields {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

func (f *Form) set(name, value string) {
	for i := range f.fields {
		if f.fields[i].Name == name {
			f.fields[i].Value = value
		}
	}
}

func (f *Form) drop(name string) {
	for i := range f.fields {
		if f.fields[i].Name == name {
			f.fields = append(f.fields[:i], f.fields[i+1:]...)
			return
		}
	}
}
