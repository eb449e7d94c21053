package flow

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"stagedoor/secret"
)

const (
	// MaxFormHead is how much of a multipart form may stand before its file, in
	// bytes: all that is read before it is decided.
	MaxFormHead = 256 << 10
	// MaxFormField is the longest field of a multipart form, in bytes. An
	// upload_link_info has three KB.
	MaxFormField = 64 << 10
	// maxPartHeader is the longest header of a part, in bytes. A file system's
	// longest name has 255 characters.
	maxPartHeader = 4 << 10
	// maxBoundary is the longest boundary, in bytes (RFC 2046).
	maxBoundary = 70
	// windowSize is what is held of a stream at a time, in bytes: a field with
	// its header and what ends it, and few reads for a large file.
	windowSize = 128 << 10
	// boundaryBytes is the entropy of our own boundary: no file can hold it.
	boundaryBytes = 18
)

const typeMultipart = "multipart/form-data"

// filePart is the file that ends a form.
type filePart struct {
	name, filename, contentType string

	in       *window
	delim    []byte // the caller's: CRLF, two hyphens and the boundary
	boundary string // ours
	total    int64  // of the caller's form, -1 for unknown
	length   int64  // what File announces
}

// ReadMultipart reads a multipart form from src up to the first byte of its file,
// or to its end where it has none. Of the many ways to write one it takes the one
// that the clients use: no preamble, CRLF, quoted names, each once, nothing
// encoded, the file last. length is the Content-Length, -1 where it isn't known.
// l, which may be nil, turns a storage link back. It returns a *ParseError for
// anything else, and any other error where src failed or entropy did.
//
// The Form keeps src, and reads the file from it when File is read.
func ReadMultipart(path, contentType string, src io.Reader, length int64, entropy io.Reader, l *Links) (*Form, error) {
	b, err := newFormBuilder(path)
	if err != nil {
		return nil, err
	}
	boundary, err := readBoundary(contentType)
	if err != nil {
		return nil, b.at(err)
	}
	m := &multipartReader{
		b: b, in: &window{src: src, buf: make([]byte, windowSize)},
		delim: []byte("\r\n--" + boundary), length: length,
	}
	if err := m.head(); err != nil {
		return nil, m.fail(err)
	}
	if err := b.finish(l); err != nil {
		return nil, b.at(err)
	}
	file := b.form.file
	if file == nil {
		return b.form, nil
	}
	var random [boundaryBytes]byte
	if _, err := io.ReadFull(entropy, random[:]); err != nil {
		return nil, fmt.Errorf("making a boundary: %w", err)
	}
	file.boundary = hex.EncodeToString(random[:])
	file.in, file.delim, file.total, file.length = m.in, m.delim, length, length
	if length >= 0 {
		// A second CRLF at the end, which some clients send, is sent on where it
		// is. So the length doesn't hang on it.
		rest := length - m.in.taken
		if file.length = rest - int64(len(m.delim)) + int64(len("\r\n--"+file.boundary)); rest < int64(len(m.delim)+len(closing)) {
			return nil, b.at(shape("the form is announced to end in the middle of its file"))
		}
	}
	return b.form, nil
}

// closing is what follows the last delimiter.
const closing = "--\r\n"

// multipartReader reads what stands before the file.
type multipartReader struct {
	b      *formBuilder
	in     *window
	delim  []byte
	length int64
}

// fail tells a malformed form from a source that failed.
func (m *multipartReader) fail(err error) error {
	if p, ok := errors.AsType[*ParseError](err); ok {
		return m.b.at(p)
	}
	return fmt.Errorf("reading the form: %w", err)
}

func (m *multipartReader) head() error {
	first := m.delim[len("\r\n"):]
	if err := m.in.expect(string(first)+"\r\n", "the form does not begin with its boundary"); err != nil {
		return err
	}
	for {
		part, err := m.partHeader()
		if err != nil {
			return err
		}
		if part.isFile {
			return m.beginFile(part)
		}
		if err := m.field(part); err != nil {
			return err
		}
		if m.in.taken > MaxFormHead {
			return shape("more than " + strconv.Itoa(MaxFormHead) + " bytes stand before the file")
		}
		more, err := m.in.either("\r\n", "--")
		if err != nil {
			return err
		}
		if !more {
			_, err := m.in.end(m.length)
			return err
		}
	}
}

func (m *multipartReader) partHeader() (partHeader, error) {
	// From the CRLF of the delimiter on, so that an empty header is found too.
	raw, err := m.in.until([]byte("\r\n\r\n"), maxPartHeader)
	if err != nil {
		return partHeader{}, err
	}
	return readPartHeader(string(raw))
}

// field takes a part that is no file.
func (m *multipartReader) field(part partHeader) error {
	value, err := m.in.until(m.delim, MaxFormField)
	if err != nil {
		return err
	}
	if part.length >= 0 && part.length != int64(len(value)) {
		return shape("a part has another length than it says")
	}
	if part.contentType != "" && !isPlainText(part.contentType) {
		return shape("a field is not plain text")
	}
	if err := plainText(value); err != nil {
		return err
	}
	return m.b.add(part.name, string(value))
}

func (m *multipartReader) beginFile(part partHeader) error {
	if err := m.b.name(part.name); err != nil {
		return err
	}
	if part.name != m.b.spec.file || part.name == "" {
		return shape("a file stands where none belongs: " + quoteName(part.name))
	}
	if part.filename == "" {
		return shape("the file has no name")
	}
	m.b.form.file = &filePart{name: part.name, filename: part.filename, contentType: part.contentType}
	return nil
}

// Head is everything that stands before the file's bytes, with our credential
// and a boundary of our own.
func (f *Form) Head(c secret.Credential) (contentType string, head []byte) {
	boundary := f.file.boundary
	perPart := len("--\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n\r\n") + len(boundary)
	size := perPart + len(f.file.name) + 2*len(f.file.filename) + len(f.file.contentType) + len("; filename=\"\"\r\nContent-Type: ")
	f.auth(c, func(name string, value []byte) { size += perPart + len(name) + len(value) })
	for _, p := range f.fields {
		size += perPart + len(p.Name) + len(p.Value)
	}
	// With room for all: grown later, a key would be left in what it grew from.
	out := make([]byte, 0, size)
	part := func(name string) {
		out = append(append(append(out, "--"...), boundary...), "\r\nContent-Disposition: form-data; name=\""...)
		out = append(append(out, name...), '"')
	}
	f.auth(c, func(name string, value []byte) {
		part(name)
		out = append(append(append(out, "\r\n\r\n"...), value...), "\r\n"...)
	})
	for _, p := range f.fields {
		part(p.Name)
		out = append(append(append(out, "\r\n\r\n"...), p.Value...), "\r\n"...)
	}
	part(f.file.name)
	out = append(appendFilename(append(out, "; filename=\""...), f.file.filename), '"')
	if isCleanType(f.file.contentType) {
		out = append(append(out, "\r\nContent-Type: "...), f.file.contentType...)
	}
	return typeMultipart + "; boundary=" + boundary, append(out, "\r\n\r\n"...)
}

// File is what follows Head: the file's bytes and the end of the form. length is
// exact, -1 where ReadMultipart was not told. Any error but io.EOF says that the
// form did not come whole (a *ParseError: that it did not end with its file), and
// comes before the end is given out: what was sent on so far is never a complete
// form. File may be called once, and not while a read of r is under way.
func (f *Form) File() (r io.Reader, length int64) {
	if f.file == nil {
		return bytes.NewReader(nil), 0
	}
	return &fileReader{file: f.file}, f.file.length
}

// fileReader gives out the file of a form as it comes, and our own delimiter once
// the caller's was seen with nothing behind it.
type fileReader struct {
	file  *filePart
	out   []byte // not given out yet; of the window
	found bool   // the caller's delimiter
	err   error  // what follows out
}

func (r *fileReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.step()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// step finds the next bytes to give out, or the error that comes instead.
func (r *fileReader) step() {
	in := r.file.in
	if r.found {
		if r.err = in.expect("--", "a part stands behind the file, which has to be the last one"); r.err != nil {
			return
		}
		extra, err := in.end(r.file.total)
		if err != nil {
			r.err = err
			return
		}
		r.out, r.err = []byte("\r\n--"+r.file.boundary+closing+extra), io.EOF
		return
	}
	held := in.held()
	if i := indexDelim(held, r.file.delim); i >= 0 {
		r.out, r.found = held[:i], true
		in.take(i + len(r.file.delim))
		return
	}
	if safe := len(held) - len(r.file.delim) + 1; safe > 0 {
		r.out = held[:safe]
		in.take(safe)
		return
	}
	r.err = in.fill()
}

// maxNeedle is the longest text that bytes.Index looks for with the processor's
// help, on all that Go serves: a tenth of the time for data full of line breaks.
const maxNeedle = 32

// indexDelim is bytes.Index for a delimiter.
func indexDelim(b, delim []byte) int {
	needle := delim[:min(len(delim), maxNeedle)]
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], needle)
		if i < 0 {
			return -1
		}
		if at += i; bytes.HasPrefix(b[at:], delim) {
			return at
		}
	}
}

// window holds the part of a stream that is looked at.
type window struct {
	src   io.Reader
	buf   []byte
	r, w  int   // buf[r:w] was read and not taken
	taken int64 // bytes taken so far
	err   error // what came with the last bytes
}

func (w *window) held() []byte { return w.buf[w.r:w.w] }

// take moves over what was looked at; it stays as it is until the next fill.
func (w *window) take(n int) {
	w.r += n
	w.taken += int64(n)
}

// maxIdleReads is how often a source may return nothing.
const maxIdleReads = 100

// fill reads once. The end of src in the middle of a form is a *ParseError.
func (w *window) fill() error {
	err := w.more()
	if errors.Is(err, io.EOF) {
		return shape("the form ends before it is complete")
	}
	return err
}

// more is fill where src may end, with io.EOF.
func (w *window) more() error {
	if w.err != nil {
		return w.err
	}
	if w.r > 0 {
		w.w = copy(w.buf, w.buf[w.r:w.w])
		w.r = 0
	}
	if w.w == len(w.buf) {
		return io.ErrShortBuffer // no bound below lets it come to this
	}
	for range maxIdleReads {
		n, err := w.src.Read(w.buf[w.w:])
		w.w += n
		w.err = err
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// need makes n bytes be held.
func (w *window) need(n int) error {
	for w.w-w.r < n {
		if err := w.fill(); err != nil {
			return err
		}
	}
	return nil
}

func (w *window) expect(want, otherwise string) error {
	if err := w.need(len(want)); err != nil {
		return err
	}
	if string(w.held()[:len(want)]) != want {
		return shape(otherwise)
	}
	w.take(len(want))
	return nil
}

// either takes one of two texts of the same length, and says whether it was the
// first.
func (w *window) either(one, other string) (bool, error) {
	if err := w.need(len(one)); err != nil {
		return false, err
	}
	got := string(w.held()[:len(one)])
	w.take(len(one))
	if got != one && got != other {
		return false, shape("something else than a line break stands behind a boundary")
	}
	return got == one, nil
}

// until takes everything up to mark, at most so many bytes, and mark. What it
// returns is valid until the next read.
func (w *window) until(mark []byte, most int) ([]byte, error) {
	from := 0
	for {
		held := w.held()
		if i := bytes.Index(held[from:], mark); i >= 0 {
			if i += from; i <= most {
				w.take(i + len(mark))
				return held[:i], nil
			}
			break
		}
		if from = max(0, len(held)-len(mark)+1); from > most {
			break
		}
		if err := w.fill(); err != nil {
			return nil, err
		}
	}
	return nil, shape("a part has a field or a header of more than " + strconv.Itoa(most) + " bytes")
}

// end takes what may stand behind the last delimiter's hyphens: CRLF, one more
// for some clients, and the end of the stream at the length that was announced.
func (w *window) end(length int64) (extra string, err error) {
	if err := w.expect("\r\n", "something else than the end of the form stands behind its last boundary"); err != nil {
		return "", err
	}
	for w.w-w.r <= len("\r\n") {
		err := w.more()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	extra = string(w.held())
	if extra != "" && extra != "\r\n" {
		return "", shape("data after the end of the form")
	}
	w.take(len(extra))
	if length >= 0 && w.taken != length {
		return "", shape("the form is not as long as was announced")
	}
	return extra, nil
}

// partHeader is the header of one part.
type partHeader struct {
	name, filename string
	isFile         bool
	contentType    string
	length         int64 // -1 for none
}

// readPartHeader reads the lines of a part's header: a Content-Disposition, a
// Content-Type and a Content-Length, each once, none folded. Others, such as a
// Content-Transfer-Encoding, change what a part is for some readers.
func readPartHeader(raw string) (partHeader, error) {
	h := partHeader{length: -1}
	var seen []string
	for line := range strings.SplitSeq(raw, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		name, value = lowerASCII(name), strings.TrimLeft(value, " ")
		if !ok || hasControl(value) || slices.Contains(seen, name) {
			return h, shape("a part's header is not one of lines, each once")
		}
		seen = append(seen, name)
		var err error
		switch name {
		case "content-disposition":
			err = h.disposition(value)
		case "content-type":
			h.contentType, err = partType(value)
		case "content-length":
			h.length, err = partLength(value)
		default:
			err = shape("a part has a header that no client sends")
		}
		if err != nil {
			return h, err
		}
	}
	if !slices.Contains(seen, "content-disposition") {
		return h, shape("a part has no Content-Disposition")
	}
	return h, nil
}

// disposition reads form-data; name="…" with or without filename="…". The file's
// name is what the client wrote, which escapes nothing: it goes to the end of the
// line, and a quote in it counts where no reader could take it for the end.
func (h *partHeader) disposition(v string) error {
	rest, ok := strings.CutPrefix(v, "form-data;")
	if !ok {
		return shape("a part is not form-data")
	}
	rest, ok = strings.CutPrefix(strings.TrimLeft(rest, " "), `name="`)
	if !ok {
		return shape("a part has no quoted name")
	}
	name, rest, ok := strings.Cut(rest, `"`)
	if !ok || strings.Contains(name, `\`) || plainText([]byte(name)) != nil {
		return shape("a part's name is not a plain quoted one")
	}
	h.name = name
	if rest == "" {
		return nil
	}
	rest, ok = strings.CutPrefix(rest, ";")
	if !ok {
		return shape("a part's name is not a plain quoted one")
	}
	rest, ok = strings.CutPrefix(strings.TrimLeft(rest, " "), `filename="`)
	if !ok {
		return shape("a part has something else than a name and a filename")
	}
	h.isFile = true
	var err error
	h.filename, err = readFilename(rest)
	return err
}

// readFilename reads a file's name up to the quote that ends the line.
func readFilename(s string) (string, error) {
	if plainText([]byte(s)) != nil {
		return "", shape("the file's name is not UTF-8")
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		quote := s[i] == '"'
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\') {
			i++
			quote = s[i] == '"'
		} else if quote && i == len(s)-1 {
			return string(out), nil
		}
		if quote && strings.HasPrefix(strings.TrimLeft(s[i+1:], " "), ";") {
			return "", shape("the file's name ends in two places")
		}
		out = append(out, s[i])
	}
	return "", shape("the file's name has no end")
}

func appendFilename(dst []byte, s string) []byte {
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return dst
}

// partType takes a Content-Type that doesn't nest.
func partType(v string) (string, error) {
	lower := lowerASCII(v)
	if v == "" || strings.HasPrefix(lower, "multipart/") || strings.HasPrefix(lower, "message/") {
		return "", shape("a part is a form of its own")
	}
	return v, nil
}

func partLength(v string) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || v[0] < '0' || v[0] > '9' {
		return 0, shape("a part's Content-Length is not a number")
	}
	return n, nil
}

// isPlainText takes the type of a field that some clients write.
func isPlainText(v string) bool {
	switch strings.ReplaceAll(lowerASCII(v), " ", "") {
	case "text/plain", "text/plain;charset=utf-8", "text/plain;charset=us-ascii":
		return true
	}
	return false
}

// isCleanType says whether v is a type and a subtype and nothing else.
func isCleanType(v string) bool {
	typ, sub, ok := strings.Cut(v, "/")
	return ok && isToken(typ) && isToken(sub)
}

func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && strings.IndexByte("!#$&^_.+-", c) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// readBoundary reads the Content-Type of a multipart form: one parameter and no
// other, since readers disagree about which of two boundaries counts.
func readBoundary(contentType string) (string, error) {
	typ, rest, ok := strings.Cut(contentType, ";")
	if !ok || lowerASCII(strings.TrimRight(typ, " ")) != typeMultipart {
		return "", shape("the Content-Type is not " + typeMultipart + " with a boundary")
	}
	name, value, ok := strings.Cut(strings.TrimLeft(rest, " "), "=")
	if !ok || lowerASCII(name) != "boundary" {
		return "", shape("the Content-Type has something else than a boundary")
	}
	quoted := false
	if inner, ok := strings.CutPrefix(value, `"`); ok {
		if value, ok = strings.CutSuffix(inner, `"`); !ok {
			return "", shape("the boundary's quotes don't match")
		}
		quoted = true
	}
	// Not in quotes, a boundary ends where a token does.
	extra := "'+_-."
	if quoted {
		extra = "'()+_,-./:=? "
	}
	if value == "" || len(value) > maxBoundary || value[len(value)-1] == ' ' {
		return "", shape("the boundary has not 1 to " + strconv.Itoa(maxBoundary) + " characters")
	}
	for i := range len(value) {
		if !isAlnum(value[i]) && strings.IndexByte(extra, value[i]) < 0 {
			return "", shape("the boundary has a character that no boundary has")
		}
	}
	return value, nil
}

// lowerASCII is s with its ASCII letters small; no other letter folds to one.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
