package flowsite

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// builtin is the schema of a site that Options gives none: 37 types with
// the fields that tools use most.
//
//go:embed schema.json
var builtin []byte

// schemaFile is the form of schema.json: fields that every type has, and the
// types by their internal name.
type schemaFile struct {
	Common map[string]fieldSpec `json:"common"`
	Types  map[string]struct {
		Name   string               `json:"name"`
		Title  string               `json:"title"` // the field that names a row
		Fields map[string]fieldSpec `json:"fields"`
	} `json:"types"`
}

// fieldSpec is one field as the schema file and a snapshot have it.
type fieldSpec struct {
	Type string `json:"type"` // data type, such as "multi_entity"
	Name string `json:"name"` // display name
	// Description is shown by the schema calls.
	Description string `json:"description,omitempty"`
	// ReadOnly fields can't be written; Override ones can at creation.
	ReadOnly bool `json:"read_only,omitempty"`
	Override bool `json:"override,omitempty"`
	Unique   bool `json:"unique,omitempty"`
	// ValidTypes of a link, "*" for any; ValidValues of a list or status.
	ValidTypes  []string `json:"valid_types,omitempty"`
	ValidValues []string `json:"valid_values,omitempty"`
	Default     any      `json:"default,omitempty"`
	// Inverse makes this the other end of the named links ("Task.entity"):
	// it isn't stored but read from them, so both ends always agree.
	Inverse []string `json:"inverse,omitempty"`
	// Calc joins other fields; "*" is the row's title.
	Calc   []string `json:"calc,omitempty"`
	Custom bool     `json:"custom,omitempty"` // made by schema_field_create
}

type field struct {
	fieldSpec
	key string
	typ *entityType
}

type entityType struct {
	key, name, title string
	fields           map[string]*field
}

type schema struct {
	types map[string]*entityType
	// changed holds what schema calls changed since the file was read:
	// "Type.field" → the field, nil where it was deleted.
	changed map[string]*field
	// retired holds deleted fields as they were, by the same names: REST can
	// bring them back.
	retired map[string]*field
}

// dataTypes are the data types of flow-protocol §2.4 and the vendor's list.
// A type with no relations can't be filtered.
func dataTypes() map[string][]string {
	ordered := []string{"is", "is_not", "less_than", "greater_than", "between", "not_between", "in", "not_in"}
	dated := []string{
		"is", "is_not", "less_than", "greater_than", "between", "not_between", "in", "not_in",
		"in_last", "not_in_last", "in_next", "not_in_next",
		"in_calendar_day", "in_calendar_week", "in_calendar_month", "in_calendar_year",
	}
	chosen := []string{"is", "is_not", "in", "not_in"}
	linked := []string{
		"is", "is_not", "in", "not_in", "type_is", "type_is_not", "name_is",
		"name_contains", "name_not_contains", "name_starts_with", "name_ends_with",
	}
	return map[string][]string{
		"addressing":   append(slices.Clone(linked), "contains", "not_contains"),
		"calculated":   nil,
		"checkbox":     {"is", "is_not"},
		"color":        chosen,
		"currency":     ordered,
		"date":         dated,
		"date_time":    dated,
		"duration":     ordered,
		"entity":       linked,
		"entity_type":  chosen,
		"float":        ordered,
		"footage":      chosen,
		"image":        {"is", "is_not"},
		"list":         chosen,
		"multi_entity": linked,
		"number":       ordered,
		"password":     nil,
		"percent":      ordered,
		"serializable": nil,
		"status_list":  chosen,
		"summary":      nil,
		"tag_list":     {"is", "is_not", "name_contains", "name_not_contains", "name_id"},
		"text":         {"is", "is_not", "contains", "not_contains", "starts_with", "ends_with", "in", "not_in"},
		"timecode":     ordered,
		"url":          nil,
	}
}

func loadSchema(raw []byte) (*schema, error) {
	var f schemaFile
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("reading the site's schema: %w", err)
	}
	s := &schema{types: map[string]*entityType{}, changed: map[string]*field{}, retired: map[string]*field{}}
	for key, t := range f.Types {
		e := &entityType{key: key, name: t.Name, title: t.Title, fields: map[string]*field{}}
		for name, spec := range f.Common {
			e.fields[name] = &field{fieldSpec: spec, key: name, typ: e}
		}
		for name, spec := range t.Fields {
			e.fields[name] = &field{fieldSpec: spec, key: name, typ: e}
		}
		s.types[key] = e
	}
	return s, s.check()
}

// check finds what a hand-written schema file gets wrong.
func (s *schema) check() error {
	kinds := dataTypes()
	for _, key := range sortedKeys(s.types) {
		t := s.types[key]
		if t.fields[t.title] == nil {
			return fmt.Errorf("reading the site's schema: %s has no title field %q", key, t.title)
		}
		for _, name := range sortedKeys(t.fields) {
			f := t.fields[name]
			if _, ok := kinds[f.Type]; !ok {
				return fmt.Errorf("reading the site's schema: %s.%s has the unknown data type %q", key, name, f.Type)
			}
			if err := s.checkLinks(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *schema) checkLinks(f *field) error {
	for _, v := range f.ValidTypes {
		if v != "*" && s.types[v] == nil {
			return fmt.Errorf("reading the site's schema: %s.%s links the unknown type %q", f.typ.key, f.key, v)
		}
	}
	for _, in := range f.Inverse {
		t, name, _ := strings.Cut(in, ".")
		if s.types[t] == nil || s.types[t].fields[name] == nil {
			return fmt.Errorf("reading the site's schema: %s.%s is the inverse of the unknown %q", f.typ.key, f.key, in)
		}
	}
	return nil
}

func (f *field) isLink() bool  { return f.Type == "entity" }
func (f *field) isMulti() bool { return f.Type == "multi_entity" || f.Type == "addressing" }

func (f *field) links(typ string) bool {
	return slices.Contains(f.ValidTypes, typ) || slices.Contains(f.ValidTypes, "*")
}

// hidden says whether the field holds what nobody should read. The stand-in
// answers with a value made to be found again (flow-protocol §6.2 leaves open
// what the real site answers).
func (f *field) hidden() bool { return f.Type == "password" || f.key == "salted_password" }
