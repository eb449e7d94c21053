package flow

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// walker reads a checked argument once more, token by token, and writes it
// again as it goes: what is sent is what was seen here, no more. Numbers stay
// as they were written, strings are decoded and encoded again minimally, white
// space goes.
type walker struct {
	dec      *jsontext.Decoder
	raw      []byte
	out      []byte
	depth    int
	maxDepth int
	lastType string             // the last entity type read, which is often the next
	reach    int                // named so far, of MaxReach
	types    typeList           // named so far, at most MaxTypes
	few      [4]string          // what types is made of
	noted    func(string) error // told of each string, where set
	links    *Links             // turns links in written data back; nil for none
	written  bool               // such data is read
	place    filterPlace        // where a filter can be added
}

// newWalker reads raw with dec, which it resets.
func newWalker(dec *jsontext.Decoder, raw []byte, maxDepth int) *walker {
	trust(dec, raw)
	w := &walker{dec: dec, raw: raw, out: make([]byte, 0, len(raw)), maxDepth: maxDepth}
	w.types.types = w.few[:0]
	return w
}

// count takes one more of what the call may name.
func (w *walker) count() error {
	if w.reach++; w.reach > MaxReach {
		return shape("more than " + strconv.Itoa(MaxReach) + " fields are named")
	}
	return nil
}

// touched counts one more touch of the call, and its type.
func (w *walker) touched(typ string) error {
	if err := w.count(); err != nil {
		return err
	}
	if w.types.add(typ); len(w.types.types) > MaxTypes {
		return shape("more than " + strconv.Itoa(MaxTypes) + " entity types are named")
	}
	return nil
}

func (w *walker) down() error {
	if w.depth++; w.depth > w.maxDepth {
		return &ParseError{Flaw: FlawDepth, Msg: fmt.Sprintf("nested deeper than %d at byte %d of the argument", w.maxDepth, w.dec.InputOffset())}
	}
	return nil
}

// object reads an object; member must read exactly one value.
func (w *walker) object(what string, member func(name string) error) error {
	if w.dec.PeekKind() != '{' {
		return shape(what + " is not an object")
	}
	if err := w.down(); err != nil {
		return err
	}
	if _, err := w.dec.ReadToken(); err != nil {
		return syntax(w.raw, err)
	}
	w.out = append(w.out, '{')
	for i := 0; w.dec.PeekKind() == '"'; i++ {
		if i > 0 {
			w.out = append(w.out, ',')
		}
		name, err := w.scalar()
		if err != nil {
			return err
		}
		w.out = append(w.out, ':')
		if err := member(memberName(name)); err != nil {
			return err
		}
	}
	if _, err := w.dec.ReadToken(); err != nil {
		return syntax(w.raw, err)
	}
	w.out = append(w.out, '}')
	w.depth--
	return nil
}

// memberName decodes a member's name, without a copy where the protocol has it.
//
//nolint:funlen // one line per name
func memberName(v jsontext.Value) string {
	switch name := v[1 : len(v)-1]; string(name) {
	case "type":
		return "type"
	case "id":
		return "id"
	case "name":
		return "name"
	case "path":
		return "path"
	case "relation":
		return "relation"
	case "values":
		return "values"
	case "conditions":
		return "conditions"
	case "logical_operator":
		return "logical_operator"
	case "field_name":
		return "field_name"
	case "value":
		return "value"
	case "fields":
		return "fields"
	case "return_fields":
		return "return_fields"
	case "request_type":
		return "request_type"
	case "filters":
		return "filters"
	case "paging":
		return "paging"
	case "entities_per_page":
		return "entities_per_page"
	case "current_page":
		return "current_page"
	case "return_only":
		return "return_only"
	case "api_return_image_urls":
		return "api_return_image_urls"
	case "return_paging_info_without_counts":
		return "return_paging_info_without_counts"
	case "script_name":
		return "script_name"
	case "script_key":
		return "script_key"
	case "method_name":
		return "method_name"
	case "params":
		return "params"
	}
	s, _ := unquote(v)
	return s
}

// array reads an array; item must read exactly one value.
func (w *walker) array(what string, item func(i int) error) error {
	if w.dec.PeekKind() != '[' {
		return shape(what + " is not an array")
	}
	if err := w.down(); err != nil {
		return err
	}
	if _, err := w.dec.ReadToken(); err != nil {
		return syntax(w.raw, err)
	}
	w.out = append(w.out, '[')
	for i := 0; w.dec.PeekKind() != ']'; i++ {
		if i > 0 {
			w.out = append(w.out, ',')
		}
		if err := item(i); err != nil {
			return err
		}
	}
	if _, err := w.dec.ReadToken(); err != nil {
		return syntax(w.raw, err)
	}
	w.out = append(w.out, ']')
	w.depth--
	return nil
}

// scalar reads and writes one string, number or literal.
func (w *walker) scalar() (jsontext.Value, error) {
	v, err := w.dec.ReadValue()
	if err != nil {
		return nil, syntax(w.raw, err)
	}
	if v.Kind() == '"' && hasNUL(v) {
		return nil, shape("a string holds the character U+0000")
	}
	w.out = appendScalar(w.out, v)
	if w.noted != nil && v.Kind() == '"' {
		s, _ := unquote(v)
		return v, w.noted(s)
	}
	return v, nil
}

// text reads a string.
func (w *walker) text(what string) (string, error) {
	if w.dec.PeekKind() != '"' {
		return "", shape(what + " is not a string")
	}
	v, err := w.scalar()
	if err != nil {
		return "", err
	}
	s, _ := unquote(v)
	return s, nil
}

// anyText reads a string that decides nothing.
func (w *walker) anyText(what string) error {
	if w.dec.PeekKind() != '"' {
		return shape(what + " is not a string")
	}
	_, err := w.scalar()
	return err
}

// plain reads a string, number or literal that decides nothing.
func (w *walker) plain(what string) error {
	if k := w.dec.PeekKind(); k == '{' || k == '[' {
		return shape(what + " is not a plain value")
	}
	_, err := w.scalar()
	return err
}

// integer reads a scalar; its value where it is an integer, else 0.
func (w *walker) integer(what string) (int64, error) {
	if k := w.dec.PeekKind(); k == '{' || k == '[' {
		return 0, shape(what + " is not a number")
	}
	v, err := w.scalar()
	if err != nil || v.Kind() != '0' {
		return 0, err
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		return 0, nil //nolint:nilerr // 2^70 is a number too; it names no entity
	}
	return n, nil
}

// value reads any value. Objects that name an entity are handed to link.
func (w *walker) value(link func(typ string) error) error {
	switch w.dec.PeekKind() {
	case '[':
		return w.array("", func(int) error { return w.value(link) })
	case '{':
		return w.entityLike(link)
	default:
		_, err := w.scalar()
		return err
	}
}

// entity reads {type, id, ...} where the protocol wants an entity. id is 0
// where it is none.
func (w *walker) entity(what string) (typ string, id int64, err error) {
	var hasID bool
	err = w.object(what, func(name string) error {
		switch name {
		case "type":
			typ, err = w.typeName(what + ".type")
			return err
		case "id":
			hasID = w.dec.PeekKind() == '0'
			id, err = w.integer(what + ".id")
			return err
		}
		return w.value(nil)
	})
	if err == nil && (typ == "" || !hasID) {
		err = shape(what + " is no entity with a type and an id")
	}
	return typ, id, err
}

// null reads a null, if that is what comes.
func (w *walker) null() bool {
	if w.dec.PeekKind() != 'n' {
		return false
	}
	_, err := w.scalar()
	return err == nil
}

// entityLike reads an object. It names an entity if it has a type that looks
// like an entity type, or any type beside an id.
func (w *walker) entityLike(link func(typ string) error) error {
	var typ string
	var hasID bool
	err := w.object("value", func(name string) error {
		switch {
		case w.written && name == linkMember:
			return w.writtenLink(link)
		case name == "type" && w.dec.PeekKind() == '"':
			v, err := w.scalar()
			typ = w.typeText(v)
			return err
		case name == "id":
			hasID = true
		}
		return w.value(link)
	})
	if err != nil {
		return err
	}
	if link != nil && (IsTypeName(typ) || typ != "" && hasID) {
		if !IsName(typ) {
			return shape("a linked entity's type is no identifier")
		}
		return link(typ)
	}
	return nil
}

// typeName reads an entity type.
func (w *walker) typeName(what string) (string, error) {
	if w.dec.PeekKind() != '"' {
		return "", shape(what + " is not a string")
	}
	v, err := w.scalar()
	if err != nil {
		return "", err
	}
	s := w.typeText(v)
	if !IsTypeName(s) {
		err = shape(what + " is no entity type: " + quoteName(s))
	}
	return s, err
}

// typeText decodes a string, without a copy where it is the same type again.
func (w *walker) typeText(v jsontext.Value) string {
	if v.Kind() == '"' && string(v[1:len(v)-1]) == w.lastType {
		return w.lastType
	}
	s, _ := unquote(v)
	if IsTypeName(s) {
		w.lastType = s
	}
	return s
}

// hops splits a path into what it touches: field, or field.Type.field and so
// on (flow-protocol §2.4). A path that starts anywhere else is refused.
func hops(typ, path string, use Use, add func(Touch) error) error {
	rest := path
	for range MaxHops {
		field, tail, more := strings.Cut(rest, ".")
		if !IsName(field) {
			return shape("a field path holds a part that is no identifier")
		}
		if err := add(Touch{typ, field, use}); err != nil || !more {
			return err
		}
		next, after, ok := strings.Cut(tail, ".")
		if !ok || !IsTypeName(next) {
			return shape("the path " + safePath(path) + " is not field.Type.field")
		}
		typ, rest = next, after
	}
	return shape("a field path goes through more than " + strconv.Itoa(MaxHops) + " fields")
}

func safePath(p string) string {
	if len(p) > MaxName || strings.Trim(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") != "" {
		return "(not shown)"
	}
	return p
}

// unquote decodes a JSON string; ok is false for any other value.
func unquote(v jsontext.Value) (s string, ok bool) {
	if v.Kind() != '"' {
		return "", false
	}
	if inner := v[1 : len(v)-1]; !hasEscape(inner) {
		return string(inner), true
	}
	b, err := jsontext.AppendUnquote(nil, v)
	return string(b), err == nil
}

// appendScalar writes a string, number or literal again.
func appendScalar(dst []byte, v jsontext.Value) []byte {
	if v.Kind() == '"' {
		return appendString(dst, v)
	}
	return append(dst, v...)
}

// appendString writes a JSON string again with the fewest escapes. One without
// a backslash has none to lose.
func appendString(dst []byte, v jsontext.Value) []byte {
	if !hasEscape(v) {
		return append(dst, v...)
	}
	s, _ := unquote(v)
	return appendQuoted(dst, s)
}

// appendQuoted writes s as a JSON string. Everything that reaches it has been
// read as UTF-8 or is ours.
func appendQuoted(dst []byte, s string) []byte {
	out, err := jsontext.AppendQuote(dst, s)
	if err != nil {
		return append(dst, `""`...)
	}
	return out
}

// hasEscape says whether a JSON string has an escape.
func hasEscape(b []byte) bool { return bytes.IndexByte(b, '\\') >= 0 }

// hasNUL finds U+0000, which JSON can only write as an escape.
func hasNUL(v jsontext.Value) bool {
	for i := 0; i+5 < len(v); i++ {
		if v[i] != '\\' {
			continue
		}
		if v[i+1] == 'u' && string(v[i+2:i+6]) == "0000" {
			return true
		}
		i++
	}
	return false
}
