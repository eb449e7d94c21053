package flow

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrNotRecords says that an answer is none that can be filtered: what it tells
// can't be held against what may be read.
var ErrNotRecords = errors.New("the answer holds no records that can be read")

// Elsewhere is the part that a record answers which is not what the call is about:
// one that its records link to, or that can't be told.
const Elsewhere = -1

// Seen is a field that a record of an answer shows.
type Seen struct {
	// Record is the record's type. Type and Field are what is shown of it, of
	// another type where a path leads to one.
	Record, Type, Field string
	// Part is the part of a batch that the record answers, 0 where the call is no
	// batch, or [Elsewhere].
	Part int
}

// FilterRecords takes out of an answer of the REST API the fields that may does
// not allow, and says how many. Types, ids and links are kept, and what the call
// itself wrote of a record. A dotted name is allowed only if each of its fields is. An
// answer that can't be read completely is [ErrNotRecords]: nothing of it may go
// on.
func FilterRecords(body []byte, f Filter, may func(Seen) bool) (out []byte, removed int, err error) {
	if !f.Records || len(bytes.TrimSpace(body)) == 0 {
		return body, 0, nil
	}
	r := &recordFilter{f: f, may: may, out: make([]byte, 0, len(body))}
	if strictJSON(jsontext.NewDecoder(nothing{}), body) != nil {
		return nil, 0, ErrNotRecords
	}
	if err := r.answer(bytes.TrimSpace(body)); err != nil {
		return nil, 0, err
	}
	return r.out, r.removed, nil
}

// recordFilter writes an answer again as it reads it.
type recordFilter struct {
	f       Filter
	may     func(Seen) bool
	out     []byte
	removed int
}

// members reads an object; member must write the value of those it keeps.
func (r *recordFilter) members(v jsontext.Value, member func(name string, v jsontext.Value) (keep bool, err error)) error {
	if v.Kind() != '{' {
		return ErrNotRecords
	}
	dec := trusted(v)
	if _, err := dec.ReadToken(); err != nil {
		return ErrNotRecords
	}
	r.out = append(r.out, '{')
	empty := true
	for dec.PeekKind() == '"' {
		quoted, err := dec.ReadValue()
		if err != nil {
			return ErrNotRecords
		}
		name, _ := unquote(quoted)
		start := len(r.out)
		if !empty {
			r.out = append(r.out, ',')
		}
		r.out = append(append(r.out, quoted...), ':')
		value, err := dec.ReadValue()
		if err != nil {
			return ErrNotRecords
		}
		keep, err := member(name, value)
		if err != nil {
			return err
		}
		if !keep {
			r.out = r.out[:start]
			r.removed++
			continue
		}
		empty = false
	}
	r.out = append(r.out, '}')
	return nil
}

// copied keeps a value as it is.
func (r *recordFilter) copied(v jsontext.Value) (bool, error) {
	r.out = append(r.out, v...)
	return true, nil
}

// answer reads the outer object. What is none of JSON:API's members in it goes:
// nobody knows what it tells.
func (r *recordFilter) answer(v jsontext.Value) error {
	has := false
	err := r.members(v, func(name string, v jsontext.Value) (bool, error) {
		switch name {
		case "data":
			has = true
			return true, r.records(v, r.f.Linked, !r.f.Linked)
		case "included":
			return true, r.records(v, false, false)
		case "errors":
			has = true
			return r.copied(v)
		case "links", "meta", "jsonapi":
			return r.copied(v)
		}
		return false, nil
	})
	if err == nil && !has {
		return ErrNotRecords
	}
	return err
}

// records reads one record, several, or none. main says that the call is about
// them.
func (r *recordFilter) records(v jsontext.Value, linked, main bool) error {
	switch v.Kind() {
	case 'n':
		r.out = append(r.out, v...)
		return nil
	case '{':
		return r.record(v, linked, r.part(0, main && len(r.f.Written) <= 1))
	case '[':
		main = main && (len(r.f.Written) == 0 || elements(v) == len(r.f.Written))
	default:
		return ErrNotRecords
	}
	dec := trusted(v)
	if _, err := dec.ReadToken(); err != nil {
		return ErrNotRecords
	}
	r.out = append(r.out, '[')
	for i := 0; dec.PeekKind() != ']'; i++ {
		if i > 0 {
			r.out = append(r.out, ',')
		}
		item, err := dec.ReadValue()
		if err != nil {
			return ErrNotRecords
		}
		if k := item.Kind(); k != '{' { // a part that deletes is answered without a record
			if k == '[' || k == '"' || k == '0' {
				return ErrNotRecords
			}
			r.out = append(r.out, item...)
			continue
		}
		if err := r.record(item, linked, r.part(i, main)); err != nil {
			return err
		}
	}
	r.out = append(r.out, ']')
	return nil
}

// elements counts the values of an array.
func elements(v jsontext.Value) (n int) {
	dec := trusted(v)
	if _, err := dec.ReadToken(); err != nil {
		return 0
	}
	for ; dec.PeekKind() != ']'; n++ {
		if dec.SkipValue() != nil {
			return -1
		}
	}
	return n
}

// part is the part that the record answers which stands there.
func (r *recordFilter) part(i int, main bool) int {
	switch {
	case !main:
		return Elsewhere
	case len(r.f.Written) == 0: // the records of a read
		return 0
	}
	return i
}

// written lists the fields of a record that its part wrote, if it is the record
// that was meant; else it is another one.
func (r *recordFilter) written(part int, typ string, record jsontext.Value) (fields map[string]struct{}, _ int) {
	if part < 0 || len(r.f.Written) == 0 {
		return nil, part
	}
	w := r.f.Written[part]
	if w.Type != typ || w.ID != 0 && w.ID != recordID(record) {
		return nil, Elsewhere
	}
	fields = make(map[string]struct{}, len(w.Fields))
	for _, f := range w.Fields {
		fields[f] = struct{}{}
	}
	return fields, part
}

// record reads one record: its type first, wherever that stands.
func (r *recordFilter) record(v jsontext.Value, linked bool, part int) error {
	typ, wrapped, err := recordType(v)
	if err != nil {
		return err
	}
	if wrapped {
		return r.wrapped(v, linked, part)
	}
	wrote, part := r.written(part, typ, v)
	field := func(name string, v jsontext.Value) (bool, error) {
		if _, ok := wrote[name]; !ok && !r.mayPath(part, typ, name) {
			return false, nil
		}
		return r.copied(v)
	}
	return r.members(v, func(name string, v jsontext.Value) (bool, error) {
		switch name {
		case "type", "id", "links", "meta":
			return r.copied(v)
		case "attributes", "relationships":
			if v.Kind() == 'n' {
				return r.copied(v)
			}
			return true, r.members(v, field)
		case "name":
			if linked {
				return r.copied(v)
			}
		}
		return field(name, v)
	})
}

// wrapped reads a part of a batch, {"data": record}.
func (r *recordFilter) wrapped(v jsontext.Value, linked bool, part int) error {
	return r.members(v, func(name string, v jsontext.Value) (bool, error) {
		switch name {
		case "links", "meta":
			return r.copied(v)
		case "data":
			if k := v.Kind(); k == 'n' || k == 't' || k == 'f' {
				return r.copied(v)
			}
			if _, wrapped, err := recordType(v); err != nil || wrapped {
				return false, ErrNotRecords
			}
			return true, r.record(v, linked, part)
		}
		return false, ErrNotRecords
	})
}

// recordType finds the type of a record. wrapped says that it is none, but holds
// one as its data.
func recordType(v jsontext.Value) (typ string, wrapped bool, err error) {
	dec := trusted(v)
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return "", false, ErrNotRecords
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return "", false, ErrNotRecords
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return "", false, ErrNotRecords
		}
		switch key {
		case "data":
			wrapped = true
		case "type":
			if typ, ok := unquote(value); ok && IsTypeName(typ) {
				return typ, false, nil
			}
			return "", false, ErrNotRecords
		}
	}
	if wrapped {
		return "", true, nil
	}
	return "", false, ErrNotRecords
}

// recordID is the id of a record, 0 where it has none.
func recordID(v jsontext.Value) int64 {
	dec := trusted(v)
	if _, err := dec.ReadToken(); err != nil {
		return 0
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return 0
		}
		isID := name.String() == "id"
		value, err := dec.ReadValue()
		if err != nil {
			return 0
		}
		if isID {
			n, _ := strconv.ParseInt(string(value), 10, 64)
			return n
		}
	}
	return 0
}

// mayPath asks for each field of a path. What is no path is not allowed.
func (r *recordFilter) mayPath(part int, typ, path string) bool {
	if path == "id" || path == "type" {
		return true
	}
	err := hops(typ, path, UseReturn, func(t Touch) error {
		if !r.may(Seen{Record: typ, Type: t.Type, Field: t.Field, Part: part}) {
			return ErrNotRecords
		}
		return nil
	})
	return err == nil
}
