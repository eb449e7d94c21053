package flow

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// FilterResults takes out of an answer of api3 the lists of links that a call
// added to or took from ([Message.Lists]) where may does not allow to read them,
// and says how many. The site answers such a list whole, with what was in it
// before. An answer of records that can't be read completely is
// [ErrNotRecords]: nothing of it may go on.
func FilterResults(body []byte, lists []Touch, may func(typ, field string) bool) (out []byte, removed int, err error) {
	hidden := make(map[string]struct{})
	for _, l := range lists {
		if !may(l.Type, l.Field) {
			hidden[l.Field] = struct{}{}
		}
	}
	if len(hidden) == 0 || len(bytes.TrimSpace(body)) == 0 {
		return body, 0, nil
	}
	if strictJSON(jsontext.NewDecoder(nothing{}), body) != nil {
		return nil, 0, ErrNotRecords
	}
	r := &recordFilter{out: make([]byte, 0, len(body))}
	err = r.members(bytes.TrimSpace(body), func(name string, v jsontext.Value) (bool, error) {
		if name != "results" {
			return r.copied(v)
		}
		return true, r.results(v, hidden)
	})
	if err != nil {
		return nil, 0, err
	}
	return r.out, r.removed, nil
}

// results reads one result, or those of a batch. Which of its parts a result is
// of is not asked: a list that may not be read is in none of them.
func (r *recordFilter) results(v jsontext.Value, hidden map[string]struct{}) error {
	one := func(v jsontext.Value) error {
		switch v.Kind() {
		case '{':
		case '[':
			return ErrNotRecords
		default:
			_, err := r.copied(v)
			return err
		}
		return r.members(v, func(name string, v jsontext.Value) (bool, error) {
			if _, ok := hidden[name]; ok {
				return false, nil
			}
			return r.copied(v)
		})
	}
	if v.Kind() != '[' {
		return one(v)
	}
	return r.array(v, one)
}
