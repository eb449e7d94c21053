package flowsite

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// uploadForm is an upload call taken apart.
type uploadForm struct {
	fields map[string]string // less those of the credential
	auth   auth
	file   *formPart
	in     *intake // the file, once it was read
	blob   *blob   // the file as the site keeps it
}

// serveUpload answers a form call (flow-protocol §3.2). Everything but the
// file is judged before a byte of the file is read.
func (x *exchange) serveUpload() {
	x.rec.Kind = RouteUpload
	name := strings.TrimPrefix(x.r.RequestURI, "/upload/")
	x.rec.Method = name
	spec, known := x.site.forms[name]
	if !known {
		x.violate("no client calls " + x.r.RequestURI)
		return
	}
	if found := x.judgeUpload(); len(found) > 0 {
		x.violate(found...)
		return
	}
	kind, params, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	switch {
	case err == nil && spec.file != "" && kind == "multipart/form-data" && len(params) == 1 && isBoundary(params["boundary"]):
		x.multipartUpload(spec, params["boundary"])
	case spec.file == "" && x.r.Header.Get("Content-Type") == "application/x-www-form-urlencoded":
		x.urlencodedUpload(spec)
	default:
		x.violate("content type " + strconv.Quote(x.r.Header.Get("Content-Type")))
	}
}

// isBoundary: what RFC 2046 lets a boundary be, without spaces.
func isBoundary(b string) bool {
	const may = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=?"
	return b != "" && len(b) <= 70 && strings.Trim(b, may) == ""
}

func (x *exchange) judgeUpload() []string {
	found := x.judgeOrigin()
	found = append(found, x.judgeHeaderNames(uploadHeaders())...)
	if x.r.ContentLength < 0 || len(x.r.TransferEncoding) > 0 {
		found = append(found, "no content length")
	}
	return found
}

// uploadHeaders are those that Python's urllib sends (§3.1), and what a proxy
// may well add.
func uploadHeaders() []string {
	return words("Accept", "Accept-Encoding", "Accept-Language", "Connection", "Content-Length", "Content-Type", "User-Agent", "X-Request-Id")
}

func (x *exchange) urlencodedUpload(spec formSpec) {
	if x.r.ContentLength > maxFormHead {
		x.violate("a form over the bound")
		return
	}
	if x.readBody() != nil {
		x.brokeOff()
		return
	}
	f := &uploadForm{fields: map[string]string{}}
	found := f.readPairs(string(x.rec.Body))
	if found = append(found, x.takeForm(spec, f)...); len(found) > 0 {
		x.violate(found...)
		return
	}
	x.answerForm(spec, f, x.plan())
}

// readPairs is strict: each name once, everything UTF-8, nothing empty
// between ampersands.
func (f *uploadForm) readPairs(body string) []string {
	var found []string
	for pair := range strings.SplitSeq(body, "&") {
		rawName, rawValue, ok := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(rawName)
		value, err2 := url.QueryUnescape(rawValue)
		if !ok || err1 != nil || err2 != nil {
			found = append(found, "form: "+strconv.Quote(pair)+" is no pair")
			continue
		}
		found = append(found, f.put(name, value)...)
	}
	return found
}

func (f *uploadForm) put(name, value string) []string {
	if _, twice := f.fields[name]; twice {
		return []string{"form: " + name + " is given twice"}
	}
	if !utf8.ValidString(name) || !utf8.ValidString(value) {
		return []string{"form: " + strconv.Quote(name) + " is no UTF-8"}
	}
	f.fields[name] = value
	return nil
}

// takeForm judges the names and takes the credential out of the fields.
func (x *exchange) takeForm(spec formSpec, f *uploadForm) []string {
	given := map[string]any{}
	var found []string
	for name := range f.auth.slots() {
		if v, ok := f.fields[name]; ok {
			given[name] = v
			delete(f.fields, name)
		}
	}
	if v, ok := f.fields["reject_if_expired"]; ok {
		given["reject_if_expired"] = v == "True"
		if v != "True" {
			found = append(found, "auth: reject_if_expired="+v)
		}
		delete(f.fields, "reject_if_expired")
	}
	a, more := readAuth(given)
	f.auth, x.secret = a, a.secret()
	found = append(found, more...)
	x.rec.Type, x.rec.Fields = f.fields["entity_type"], f.fields
	x.rec.Credential, x.rec.Script, x.rec.Sudo, x.rec.SessionUUID = a.kind, a.script, a.sudo, a.uuid
	found = append(found, spec.judge(x.rec.Method, f.fields)...)
	if (f.file == nil) != (spec.file == "") || f.file != nil && f.file.name != spec.file {
		found = append(found, x.rec.Method+": the file part is not "+strconv.Quote(spec.file))
	}
	return found
}

// multipartUpload reads the fields, judges them, and only then the file.
func (x *exchange) multipartUpload(spec formSpec, boundary string) {
	m := newMultipartReader(x.r.Body, boundary)
	f := &uploadForm{fields: map[string]string{}}
	found, err := f.readHead(m)
	x.rec.Body = m.head
	switch {
	case errors.Is(err, errMalformed):
		x.takeForm(spec, f)
		x.violate(append(found, err.Error())...)
		return
	case err != nil:
		x.brokeOff()
		return
	}
	if found = append(found, x.takeForm(spec, f)...); len(found) > 0 {
		x.violate(found...)
		return
	}
	plan := x.plan()
	found, err = x.readFile(m, f, plan)
	switch {
	case errors.Is(err, errPlanned):
		x.reply(plan, x.applyPlanned(plan, func() outcome { return outcome{} }))
	case errors.Is(err, errMalformed):
		x.violate(append(found, err.Error())...)
	case err != nil:
		x.brokeOff()
	case len(found) > 0:
		x.violate(found...)
	default:
		x.answerForm(spec, f, plan)
	}
}

// readHead reads the scalar parts and the head of the file part.
func (f *uploadForm) readHead(m *multipartReader) ([]string, error) {
	var found []string
	for {
		p, err := m.next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		if p.isFile {
			f.file = &p
			if !utf8.ValidString(p.filename) || p.filename == "" || strings.Contains(p.filename, "/") {
				found = append(found, "the file's name is "+strconv.Quote(p.filename))
			}
			if _, _, err := mime.ParseMediaType(p.contentType); err != nil {
				found = append(found, "the file's content type is "+strconv.Quote(p.contentType))
			}
			return found, nil
		}
		v, err := m.value()
		if err != nil {
			return found, err
		}
		found = append(found, f.put(p.name, v)...)
	}
}

// readFile takes the file in and sees that nothing follows it.
func (x *exchange) readFile(m *multipartReader, f *uploadForm, plan *Fault) ([]string, error) {
	f.in = x.site.newIntake(x.r.ContentLength)
	size, err := m.copyTo(plan.throttle(x, f.in))
	if err != nil {
		return nil, err
	}
	var found []string
	if f.file.length != "" && f.file.length != strconv.FormatInt(size, 10) {
		found = append(found, "the file part's Content-Length is "+f.file.length+", the file has "+strconv.FormatInt(size, 10))
	}
	switch _, err = m.next(); {
	case errors.Is(err, io.EOF):
		return found, nil
	case err == nil:
		return append(found, "a part after the file"), nil
	default:
		return found, err
	}
}

// brokeOff is the end of an upload that wasn't sent whole: nothing was done,
// and nobody is there to be answered.
func (x *exchange) brokeOff() {
	s := x.site
	s.mu.Lock()
	s.aborted++
	x.rec.Aborted = true
	s.rec.add(x.rec)
	s.mu.Unlock()
	x.beforeReply() // so that a test can wait for it
	panic(http.ErrAbortHandler)
}

// answerForm does the call, unless a planned fault comes first.
func (x *exchange) answerForm(spec formSpec, f *uploadForm, plan *Fault) {
	out := x.applyPlanned(plan, func() outcome { return x.formOutcomeLocked(spec, f) })
	x.reply(plan, out)
}

// formOutcomeLocked is the answer of a form call: lines of text, the first of
// which begins with 1, or 0 and why not (§3.4).
func (x *exchange) formOutcomeLocked(spec formSpec, f *uploadForm) outcome {
	s := x.site
	out := outcome{header: http.Header{"Content-Type": {textType}}}
	id, err := s.identifyLocked(f.auth)
	if err == nil {
		if f.in != nil {
			f.blob = s.blobLocked(f.in, f.file.filename, f.file.contentType)
			file := f.blob.File
			x.rec.File = &file
		}
		c := &ctx{Site: s, state: s.state, who: id, method: x.rec.Method, now: s.opts.Now().UTC()}
		var text string
		err = s.state.atomically(func() error {
			text, err = spec.run(c, f)
			return err
		})
		out.body = []byte(text)
	}
	if err != nil {
		if f.blob != nil {
			s.keptBytes -= int64(len(f.blob.data))
		}
		out.code = codeServer
		if fl, ok := errors.AsType[*fault](err); ok {
			out.code = fl.code
		}
		out.body = []byte("0:" + err.Error() + "\n")
	}
	if s.opts.Echo {
		out.body = withEchoLines(out.body, x.secret)
	}
	return out
}

// judge finds fields that no client sends, and values that none has.
func (spec formSpec) judge(where string, fields map[string]string) []string {
	given := map[string]any{}
	var found []string
	for _, name := range sortedKeys(fields) {
		v := fields[name]
		given[name] = v
		if ok := fieldForm(name); ok != nil && !ok(v) {
			found = append(found, where+": "+name+"="+strconv.Quote(v))
		}
	}
	return append(found, judgeNames(where, given, spec.must, spec.may)...)
}

// fieldForm is what a field's value must look like; nil for any text.
func fieldForm(name string) func(string) bool {
	switch name {
	case "entity_id", "part_number":
		return isWholeText
	case "filmstrip":
		return func(v string) bool { return v == "True" }
	case "filmstrip_thumbnail":
		return func(v string) bool { return v == "False" || v == "1" }
	case "multipart_upload":
		return func(v string) bool { return v == "False" || v == "True" }
	case "upload_type":
		return func(v string) bool { return slices.Contains(words("Attachment", "Thumbnail"), v) }
	case "tag_list":
		return nil
	default:
		return func(v string) bool { return v != "" }
	}
}

// isWholeText: a positive number as it is written, with no zero before it.
func isWholeText(v string) bool {
	n, err := strconv.Atoi(v)
	return err == nil && n > 0 && strconv.Itoa(n) == v
}
