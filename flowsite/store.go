package flowsite

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// link points to a row.
type link struct {
	Type string
	ID   int
}

// entity is one row. It is never changed once it is in a table: a write puts
// a new one in its place, which is what makes undoing a batch cheap.
type entity struct {
	typ     *entityType
	id      int
	retired bool
	// values by field: nil, bool, string, json.Number, link, []link or
	// parsed JSON. A missing one is the field's default.
	values map[string]any
}

func (e *entity) link() link { return link{e.typ.key, e.id} }

type table struct {
	rows map[int]*entity
	ids  []int // in order
}

// state is everything that a caller can change. Site.mu guards it.
type state struct {
	schema *schema
	tables map[string]*table
	last   map[string]int // highest id given, by type
	// follows: who follows a row, in the order they began.
	follows   map[link][]link
	days      map[dayKey]day    // exceptions of the work schedule
	opened    map[[2]int]string // project and person → last access
	seats     map[int]any       // person → subscription
	files     map[int]*blob     // Attachment → its file
	images    map[string]image  // path below /images/ → where it is from
	journal   []*entity         // rows as they were, newest last; nil: not kept
	journaled bool
}

// image is a picture that a row's image field names.
type image struct {
	attachment int
	pending    bool // a placeholder stands in for it (flow-protocol §4.1)
}

func newState(s *schema) *state {
	return &state{
		schema: s, tables: map[string]*table{}, last: map[string]int{}, follows: map[link][]link{},
		days: map[dayKey]day{}, opened: map[[2]int]string{}, seats: map[int]any{},
		files: map[int]*blob{}, images: map[string]image{},
	}
}

func (s *state) table(typ string) *table {
	t := s.tables[typ]
	if t == nil {
		t = &table{rows: map[int]*entity{}}
		s.tables[typ] = t
	}
	return t
}

// get finds a row, retired or not; nil when there is none.
func (s *state) get(l link) *entity {
	if t := s.tables[l.Type]; t != nil {
		return t.rows[l.ID]
	}
	return nil
}

// put stores a new version of a row, or a new row.
func (s *state) put(e *entity) {
	t := s.table(e.typ.key)
	old := t.rows[e.id]
	if s.journaled {
		if old == nil {
			old = &entity{typ: e.typ, id: e.id} // no values: there was none
		}
		s.journal = append(s.journal, old)
	}
	if t.rows[e.id] == nil {
		at, _ := slices.BinarySearch(t.ids, e.id)
		t.ids = slices.Insert(t.ids, at, e.id)
	}
	t.rows[e.id] = e
	s.last[e.typ.key] = max(s.last[e.typ.key], e.id)
}

// atomically runs do and, when it fails, puts every row back.
func (s *state) atomically(do func() error) error {
	last := maps.Clone(s.last)
	s.journaled, s.journal = true, nil
	err := do()
	undo := s.journal
	s.journaled, s.journal = false, nil
	if err == nil {
		return nil
	}
	for _, e := range slices.Backward(undo) {
		t := s.table(e.typ.key)
		if e.values != nil {
			t.rows[e.id] = e
			continue
		}
		delete(t.rows, e.id)
		at, _ := slices.BinarySearch(t.ids, e.id)
		t.ids = slices.Delete(t.ids, at, at+1)
	}
	s.last = last
	return err
}

// with is a copy of e with some values replaced.
func (e *entity) with(values map[string]any) *entity {
	c := *e
	c.values = maps.Clone(e.values)
	if c.values == nil {
		c.values = map[string]any{}
	}
	maps.Copy(c.values, values)
	return &c
}

// value reads a field of a row as it is stored or derived.
func (s *state) value(e *entity, f *field) any {
	switch {
	case f.key == "id":
		return number(e.id)
	case f.key == "type":
		return e.typ.key
	case f.hidden():
		return "canary-" + f.key + "-" + e.typ.key + "-" + string(number(e.id))
	case f.Inverse != nil:
		return s.inverse(e, f)
	case f.Calc != nil:
		return s.joined(e, f)
	}
	v, ok := e.values[f.key]
	if !ok {
		return zero(f)
	}
	if list, ok := v.([]link); ok {
		return s.alive(list)
	}
	return v
}

func zero(f *field) any {
	if f.isMulti() {
		return []link(nil)
	}
	if f.Type == "tag_list" {
		return []any{}
	}
	return f.Default
}

func (s *state) joined(e *entity, f *field) any {
	if f.Calc[0] == "*" {
		return s.name(e)
	}
	parts := make([]string, 0, len(f.Calc))
	for _, key := range f.Calc {
		if p, ok := e.values[key].(string); ok && p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, " ")
}

// name is what other rows call e.
func (s *state) name(e *entity) any {
	f := e.typ.fields[e.typ.title]
	if f == nil {
		return nil
	}
	return s.value(e, f)
}

// alive leaves out links to retired rows, as the site does in lists.
func (s *state) alive(list []link) []link {
	dead := func(l link) bool {
		e := s.get(l)
		return e == nil || e.retired
	}
	if !slices.ContainsFunc(list, dead) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), dead)
}

// inverse collects the rows whose link points to e, by type and id.
func (s *state) inverse(e *entity, f *field) []link {
	var out []link
	for _, in := range f.Inverse {
		typ, key, _ := strings.Cut(in, ".")
		t := s.tables[typ]
		if t == nil {
			continue
		}
		for _, id := range t.ids {
			if row := t.rows[id]; !row.retired && pointsTo(row.values[key], e.link()) {
				out = append(out, row.link())
			}
		}
	}
	return out
}

func pointsTo(v any, l link) bool {
	switch v := v.(type) {
	case link:
		return v == l
	case []link:
		return slices.Contains(v, l)
	default:
		return false
	}
}

// project is the project of a row; a Project is its own.
func (e *entity) project() (link, bool) {
	if e.typ.key == "Project" {
		return e.link(), true
	}
	l, ok := e.values["project"].(link)
	return l, ok
}

// archived says whether a row is in an archived project.
func (s *state) archived(e *entity) bool {
	p, ok := e.project()
	if !ok {
		return false
	}
	row := s.get(p)
	if row == nil {
		return false
	}
	on, _ := row.values["archived"].(bool)
	return on
}

// show is a value as answers have it: links with the linked row's name.
func (s *state) show(f *field, v any) any {
	switch v := v.(type) {
	case link:
		return s.ref(v)
	case []link:
		out := make([]any, len(v))
		for i, l := range v {
			out[i] = s.ref(l)
		}
		return out
	case map[string]any:
		if f.Type == "url" {
			return v
		}
	}
	return v
}

// ref is the linked entity shape of flow-protocol §2.1: {id, name, type}.
func (s *state) ref(l link) map[string]any {
	m := map[string]any{"type": l.Type, "id": l.ID, "name": nil}
	if e := s.get(l); e != nil {
		m["name"] = s.name(e)
	}
	return m
}

func asText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return string(v)
	case nil:
		return ""
	default:
		return string(appendJSON(nil, v))
	}
}
