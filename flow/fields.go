package flow

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

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
	held []byte
	skip *valueSkipper
	n    int
}

// step returns what of the stream may be sent on.
func (f *fieldFilter) step(b []byte, final bool) []byte {
	if len(f.held) > 0 {
		b = append(f.held, b...)
		f.held = nil
	}
	if f.skip == nil && !mayHoldField(b) && (final || !endsInside(b)) {
		return b
	}
	var out []byte
	for len(b) > 0 {
		if f.skip != nil {
			n, done := f.skip.feed(b)
			b = b[n:]
			if done {
				f.skip = nil
			}
			continue
		}
		at, end, partial := findField(b)
		switch {
		case at < 0:
			return append(out, b...)
		case partial && final:
			return append(out, b...)
		case partial:
			f.held = bytes.Clone(b[at:])
			return append(out, b[:at]...)
		}
		out = append(append(out, b[:end]...), "null"...)
		b = b[end:]
		f.skip = &valueSkipper{}
		f.n++
	}
	return out
}

func mayHoldField(b []byte) bool {
	for _, name := range SecretFields() {
		if bytes.Contains(b, []byte(name)) {
			return true
		}
	}
	return bytes.Contains(b, []byte(`\u`))
}

// endsInside says whether the last bytes of b may be the beginning of a
// credential field's name.
func endsInside(b []byte) bool {
	tail := b[max(0, len(b)-maxUnit*len("salted_password")-8):]
	for i := range tail {
		if _, _, partial := fieldAt(tail[i:]); partial {
			return true
		}
	}
	return false
}

// findField finds the first credential field's name with its colon. partial
// means that b ends before that can be told.
func findField(b []byte) (at, end int, partial bool) {
	for i := range b {
		if c := b[i]; c != 's' && c != 'p' && c != '\\' {
			continue
		}
		e, ok, p := fieldAt(b[i:])
		if ok {
			return i, i + e, false
		}
		if p {
			return i, 0, true
		}
	}
	return -1, 0, false
}

// fieldAt matches name, closing quote, white space and colon at b[0].
func fieldAt(b []byte) (end int, ok, partial bool) {
	for _, name := range SecretFields() {
		e, p := spelled(b, []byte(name))
		if p {
			partial = true
		}
		if e == 0 {
			continue
		}
		rest := b[e:]
		if len(rest) == 0 {
			return 0, false, true
		}
		if rest[0] != '"' {
			continue
		}
		i := e + 1
		for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
			i++
		}
		if i == len(b) {
			return 0, false, true
		}
		if b[i] == ':' {
			return i + 1, true, false
		}
	}
	return 0, false, partial
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
			switch {
			case v.escape:
				v.escape = false
			case c == '\\':
				v.escape = true
			case c == '"':
				v.inString = false
				if v.depth == 0 {
					return i + 1, true
				}
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

// EmptyMeta empties the old and new values of event log entries that tell of a
// credential field: in any object with a member whose value is the name of
// such a field, the values become null. Only answers
// that can hold such entries need it, and only those that hold the name at all
// are tokenised. Bodies that are not JSON come back as they are.
func EmptyMeta(b []byte) ([]byte, int) {
	if !mayHoldField(b) {
		return b, 0
	}
	e := &emptier{}
	dec := trusted(b)
	if err := e.value(dec); err != nil || e.n == 0 {
		return b, 0
	}
	return e.out, e.n
}

type emptier struct {
	out []byte
	n   int
}

func (e *emptier) value(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case '{':
		raw, err := dec.ReadValue()
		if err != nil {
			return err
		}
		return e.object(raw)
	case '[':
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		e.out = append(e.out, '[')
		for i := 0; dec.PeekKind() != ']'; i++ {
			if i > 0 {
				e.out = append(e.out, ',')
			}
			if err := e.value(dec); err != nil {
				return err
			}
		}
		e.out = append(e.out, ']')
		_, err := dec.ReadToken()
		return err
	default:
		v, err := dec.ReadValue()
		e.out = append(e.out, v...)
		return err
	}
}

func (e *emptier) object(raw []byte) error {
	raw = bytes.Clone(raw) // the decoder that it came from goes on
	empty := namesField(raw)
	dec := trusted(raw)
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	e.out = append(e.out, '{')
	for i := 0; dec.PeekKind() == '"'; i++ {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		name, err := dec.ReadValue()
		if err != nil {
			return err
		}
		e.out = append(append(e.out, name...), ':')
		key, _ := unquote(name)
		if empty && (key == "old_value" || key == "new_value" || key == "value" || key == "actual_value") {
			if err := dec.SkipValue(); err != nil {
				return err
			}
			e.out = append(e.out, "null"...)
			e.n++
			continue
		}
		if err := e.value(dec); err != nil {
			return err
		}
	}
	e.out = append(e.out, '}')
	return nil
}

// namesField says whether a member of the object is the name of a credential
// field.
func namesField(raw []byte) bool {
	dec := trusted(raw)
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	for dec.PeekKind() == '"' {
		if dec.SkipValue() != nil {
			return false
		}
		v, err := dec.ReadValue()
		if err != nil {
			return false
		}
		if s, ok := unquote(v); ok && IsSecretField(s[strings.LastIndexByte(s, '.')+1:]) {
			return true
		}
	}
	return false
}
