package flow

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

func fieldFinder() *finder {
	var words [][]byte
	for _, f := range SecretFields() {
		words = append(words, []byte(f))
	}
	return newFinder(words, `\`)
}

// fieldFilter empties, in a stream of JSON, the members whose name is or ends
// in a credential field: "salted_password": "x" and
// "created_by.ApiUser.salted_password": "x" become null.
//
// It needs no state of the document around it: in JSON, the bytes
// salted_password" followed by a colon can only end a member's name, because a
// quote inside a string is escaped and a string that is a value is never
// followed by a colon. So a byte search decides where anything has to be read
// at all.
type fieldFilter struct {
	f     *finder
	buf   []byte // of a stream: what was held and what came
	held  []byte // at the end of buf, not yet decided
	named bool   // the name and its quote are past, the colon may follow
	skip  *valueSkipper
	n     int
}

// step returns what of the stream may be sent on. It is valid until the next
// step, and b itself where b is the whole and nothing was emptied.
func (f *fieldFilter) step(b []byte, final bool) []byte {
	if len(f.held) > 0 || !final {
		f.buf = append(append(f.buf[:0], f.held...), b...)
		b, f.held = f.buf, nil
	}
	stop := len(b)
	if !final {
		stop = f.f.cut(b)
	}
	var out []byte
	find := search{f: f.f, b: b}
	from := 0 // b[:from] is in out, or skipped
	for {
		out, from = f.member(out, b, from)
		if from == len(b) {
			return out
		}
		quote := f.nextName(&find, from, stop)
		if quote < 0 {
			break
		}
		out = append(out, b[from:quote+1]...)
		from = quote + 1
		f.named = true
	}
	stop = max(stop, from)
	if stop < len(b) {
		f.held = b[stop:]
	}
	if out == nil && from == 0 {
		return b[:stop]
	}
	return append(out, b[from:stop]...)
}

// nextName finds the quote that ends the next member's name, or string, that
// ends in a credential field; -1 for none before stop.
func (f *fieldFilter) nextName(find *search, from, stop int) int {
	for {
		m, ok := find.next(from)
		if !ok || m.start >= stop {
			return -1
		}
		if m.end < len(find.b) && find.b[m.end] == '"' {
			return m.end
		}
		from = m.start + 1
	}
}

// member passes on what stands between a name and its value, puts null in place
// of the value and skips that. It does nothing where no name came before.
func (f *fieldFilter) member(out, b []byte, from int) ([]byte, int) {
	if f.named {
		i := from
		for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
			i++
		}
		out = append(out, b[from:i]...)
		if from = i; i == len(b) {
			return out, from
		}
		f.named = false
		if b[i] == ':' {
			out = append(out, ":null"...)
			from++
			f.skip = &valueSkipper{}
			f.n++
		}
	}
	if f.skip != nil {
		n, done := f.skip.feed(b[from:])
		if from += n; done {
			f.skip = nil
		}
	}
	return out, from
}

// valueSkipper reads over one JSON value, however it is split.
type valueSkipper struct {
	depth           int
	inString, begun bool
	escape          bool
}

// feed reads on; n bytes of b belong to the value, done when it is complete.
func (v *valueSkipper) feed(b []byte) (n int, done bool) {
	for i, c := range b {
		switch {
		case v.inString:
			if v.text(c); !v.inString && v.depth == 0 {
				return i + 1, true
			}
		case c == '"':
			v.inString, v.begun = true, true
		case c == '{' || c == '[':
			v.depth++
			v.begun = true
		case c == '}' || c == ']':
			if v.depth == 0 {
				return i, true // the end of a number or literal
			}
			if v.depth--; v.depth == 0 {
				return i + 1, true
			}
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',':
			if v.depth == 0 && v.begun {
				return i, true
			}
		default:
			v.begun = true
		}
	}
	return len(b), false
}

// text reads one byte of a string.
func (v *valueSkipper) text(c byte) {
	switch {
	case v.escape:
		v.escape = false
	case c == '\\':
		v.escape = true
	case c == '"':
		v.inString = false
	}
}

// EmptyMeta empties the old and new values of event log entries that tell of a
// credential field: in any object with a member whose value is the name of
// such a field, the values become null, and so does any string that holds JSON
// and mentions one. Only answers that can hold such
// entries need it, and only those that hold the name at all, in whatever case,
// are tokenised. ok is false, and out nil, for one that is then found not to be
// JSON: it may tell what can't be found in it.
func EmptyMeta(b []byte) (out []byte, n int, ok bool) {
	if !mayNameField(b) {
		return b, 0, true
	}
	e := &emptier{dec: trusted(b), out: make([]byte, 0, len(b))}
	if _, err := e.value(); err != nil {
		return nil, 0, false
	}
	if _, err := e.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, 0, false // something behind the end
	}
	if e.n == 0 {
		return b, 0, true
	}
	return e.out, e.n, true
}

// mayNameField says whether b holds the name of a credential field, or what may
// stand for a letter of one.
func mayNameField(b []byte) bool {
	return namesField(b) || escapesLetter(b) || bytes.Contains(b, []byte(longS))
}

// longS folds to s.
const longS = "\u017f"

// namesField looks for the names, in any case, around the underscores of b.
func namesField(b []byte) bool {
	for at := bytes.IndexByte(b, '_'); at >= 0; {
		for _, name := range SecretFields() {
			start := at - strings.IndexByte(name, '_')
			if end := start + len(name); start >= 0 && end <= len(b) && strings.EqualFold(string(b[start:end]), name) {
				return true
			}
		}
		next := bytes.IndexByte(b[at+1:], '_')
		if next < 0 {
			return false
		}
		at += 1 + next
	}
	return false
}

// mentionsField says whether a text holds the name of a credential field, or
// escapes what may stand in one.
func mentionsField(s string) bool {
	b := []byte(s)
	return namesField(bytes.ReplaceAll(b, []byte(longS), []byte("s"))) || escapesLetter(b)
}

// beginsLikeJSON says whether a text begins as an object or an array does, in
// quotes or not. What is cut off at its end, as in a log, does too.
func beginsLikeJSON(s string) bool {
	const space = " \t\r\n"
	s = strings.TrimLeft(s, space)
	if s = strings.TrimLeft(strings.TrimLeft(s, `"\`), space); s == "" || s[0] != '{' && s[0] != '[' {
		return false
	}
	if s = strings.TrimLeft(s[1:], space); s == "" {
		return false
	}
	return strings.IndexByte(`"\{[`, s[0]) >= 0
}

// escapesLetter looks for an escape of JSON that may stand for a letter of a
// name.
func escapesLetter(b []byte) bool {
	for {
		_, rest, found := bytes.Cut(b, []byte(`\u0`))
		if !found {
			return false
		}
		if len(rest) >= 3 {
			c, ok := unhex(rest[:3])
			if ok && (c == 0x17f || c < utf8.RuneSelf && strings.ContainsRune("salted_password_proxy", unicode.ToLower(c))) {
				return true
			}
		}
		b = rest
	}
}

// emptier writes JSON again as it reads it.
type emptier struct {
	dec *jsontext.Decoder
	out []byte
	n   int
}

// value reads one value; names says that it is the name of a credential field.
// A string that is a document of its own may be an event's meta as a whole: it
// is emptied where it mentions such a field.
func (e *emptier) value() (names bool, err error) {
	switch e.dec.PeekKind() {
	case '{':
		return false, e.object()
	case '[':
		return false, e.array()
	default:
		v, err := e.dec.ReadValue()
		s, ok := unquote(v)
		if ok && beginsLikeJSON(s) && mentionsField(s) {
			e.out = append(e.out, "null"...)
			e.n++
			return false, err
		}
		e.out = append(e.out, v...)
		return ok && IsSecretField(s[strings.LastIndexByte(s, '.')+1:]), err
	}
}

func (e *emptier) array() error {
	if _, err := e.dec.ReadToken(); err != nil {
		return err
	}
	e.out = append(e.out, '[')
	for i := 0; e.dec.PeekKind() != ']'; i++ {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		if _, err := e.value(); err != nil {
			return err
		}
	}
	e.out = append(e.out, ']')
	_, err := e.dec.ReadToken()
	return err
}

func (e *emptier) object() error {
	if _, err := e.dec.ReadToken(); err != nil {
		return err
	}
	e.out = append(e.out, '{')
	empty := false
	var values []span // in out, from first to last
	for i := 0; e.dec.PeekKind() == '"'; i++ {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		name, err := e.dec.ReadValue()
		if err != nil {
			return err
		}
		e.out = append(append(e.out, name...), ':')
		isValue := holdsValue(name)
		start := len(e.out)
		names, err := e.value()
		if err != nil {
			return err
		}
		empty = empty || names
		if isValue {
			values = append(values, span{start, len(e.out)})
		}
	}
	if empty {
		e.empty(values)
	}
	e.out = append(e.out, '}')
	_, err := e.dec.ReadToken()
	return err
}

// holdsValue says whether a member of an event's meta holds a field's value.
func holdsValue(name jsontext.Value) bool {
	switch key, _ := unquote(name); key {
	case "old_value", "new_value", "value", "actual_value", "added", "removed":
		return true
	}
	return false
}

// empty puts null in place of the values, in one pass over what is behind the
// first.
func (e *emptier) empty(values []span) {
	if len(values) == 0 {
		return
	}
	tail := bytes.Clone(e.out[values[0].start:])
	base := values[0].start
	e.out = e.out[:base]
	from := 0
	for _, v := range values {
		e.out = append(append(e.out, tail[from:v.start-base]...), "null"...)
		from = v.end - base
		e.n++
	}
	e.out = append(e.out, tail[from:]...)
}
