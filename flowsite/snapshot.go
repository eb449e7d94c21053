package flowsite

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Seed puts a row in, or replaces one, with no event and no check of who may.
// fields may hold "id" (0 or missing: the next) and "retired". Values are Go
// values: text, int, bool, nil, []any, map[string]any; links are
// map[string]any{"type", "id"}. It panics on what the schema doesn't have: it
// is the test that is wrong.
func (s *Site) Seed(typ string, fields map[string]any) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, _ := toInt(fields["id"])
	return s.seedLocked(typ, id, fields)
}

func (s *Site) seedLocked(typ string, id int, fields map[string]any) int {
	t := s.state.schema.types[typ]
	if t == nil {
		panic("flowsite: seeding the unknown type " + typ)
	}
	if id == 0 {
		id = s.state.last[typ] + 1
	}
	c := &ctx{Site: s, state: s.state, method: "seed", now: s.opts.Now().UTC()}
	e := &entity{typ: t, id: id, values: map[string]any{"created_at": c.stamp(), "updated_at": c.stamp()}}
	s.state.put(e)
	for _, key := range sortedKeys(fields) {
		if key == "id" || key == "retired" {
			continue
		}
		f := t.fields[key]
		if f == nil {
			panic("flowsite: seeding the unknown field " + typ + "." + key)
		}
		v, err := c.stored(f, plain(fields[key]))
		if err != nil {
			panic("flowsite: " + err.Error())
		}
		if f.Inverse != nil {
			c.relink(e, f, nil, linksOf(v))
			e = s.state.get(e.link()) // a row can be at both ends
			continue
		}
		e = e.with(map[string]any{key: v})
		s.state.put(e)
	}
	if fields["retired"] == true {
		e = e.with(nil)
		e.retired = true
		s.state.put(e)
	}
	return id
}

// plain turns Go numbers into what the parser would give.
func plain(v any) any {
	switch v := v.(type) {
	case int:
		return number(v)
	case float64:
		return decimal(v)
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = plain(x)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = plain(x)
		}
		return out
	default:
		return v
	}
}

// Snapshot is the whole state that callers can read and write, as JSON with a
// fixed order: equal states give equal bytes. Of files it has size and sum. Keys, passwords and sessions
// aren't in it; they belong to the site, not to its state.
func (s *Site) Snapshot() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	return append(appendJSON(nil, map[string]any{
		"entities": st.rowsObject(), "last_ids": keyed(st.last, asIs[string], func(id int) any { return id }),
		"follows":        keyed(st.follows, link.String, func(users []link) any { return users }),
		"schedule":       keyed(st.days, dayKey.String, func(d day) any { return map[string]any{"working": d.working, "description": d.description} }),
		"project_access": keyed(st.opened, func(k [2]int) string { return fmt.Sprintf("%d %d", k[0], k[1]) }, func(at string) any { return at }),
		"subscriptions":  keyed(st.seats, strconv.Itoa, asIs[any]),
		"fields":         keyed(st.schema.changed, asIs[string], (*field).object),
		"files":          keyed(st.files, strconv.Itoa, (*blob).object),
		"images":         keyed(st.images, asIs[string], func(i image) any { return map[string]any{"attachment": i.attachment, "pending": i.pending} }),
	}), '\n')
}

func asIs[T any](v T) T { return v }

// keyed turns a map into what appendJSON takes.
func keyed[K comparable, V any](m map[K]V, key func(K) string, value func(V) any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[key(k)] = value(v)
	}
	return out
}

func (l link) String() string { return l.Type + " " + strconv.Itoa(l.ID) }

func (k dayKey) String() string { return fmt.Sprintf("%s %d %d", k.date, k.project, k.user) }

// rowsObject is all rows by type and id, ids as text that sorts.
func (s *state) rowsObject() map[string]any {
	out := map[string]any{}
	for typ, t := range s.tables {
		if len(t.rows) == 0 {
			continue // as good as none
		}
		rows := make(map[string]any, len(t.rows))
		for id, e := range t.rows {
			rows[fmt.Sprintf("%09d", id)] = map[string]any{"retired": e.retired, "values": e.values}
		}
		out[typ] = rows
	}
	return out
}

// object is the spec as a snapshot has it.
func (f *field) object() any {
	if f == nil {
		return nil // deleted
	}
	return map[string]any{
		"type": f.Type, "name": f.Name, "description": f.Description, "default": f.Default, "custom": f.Custom,
		"valid_types": slices.Clone(f.ValidTypes), "valid_values": slices.Clone(f.ValidValues),
		"read_only": f.ReadOnly, "override": f.Override, "unique": f.Unique,
		"inverse": slices.Clone(f.Inverse), "calc": slices.Clone(f.Calc),
	}
}

// Restore puts the state of a snapshot in the place of the present one. The
// snapshot may be another site's with the same schema; the contents of files
// aren't in it. Scripts and people
// keep their keys and passwords.
func (s *Site) Restore(snapshot []byte) error {
	v, err := parseJSON(snapshot)
	if err != nil {
		return fmt.Errorf("restoring a snapshot: %w", err)
	}
	top, _ := v.(map[string]any)
	sch, err := loadSchema(s.opts.Schema)
	if err != nil {
		return err
	}
	st := newState(sch)
	for _, load := range []func(map[string]any) error{st.loadFields, st.loadRows, st.loadRest} {
		if err := load(top); err != nil {
			return fmt.Errorf("restoring a snapshot: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = st
	return nil
}

func part(top map[string]any, name string) map[string]any {
	m, _ := top[name].(map[string]any)
	return m
}

func (s *state) loadFields(top map[string]any) error {
	for key, v := range part(top, "fields") {
		typ, name, _ := strings.Cut(key, ".")
		t := s.schema.types[typ]
		if t == nil {
			return fmt.Errorf("no type %s in the schema", typ)
		}
		if v == nil {
			delete(t.fields, name)
			s.schema.changed[key] = nil
			continue
		}
		m, _ := v.(map[string]any)
		f := &field{fieldSpec: specOf(m), key: name, typ: t}
		t.fields[name] = f
		s.schema.changed[key] = f
	}
	return nil
}

func specOf(m map[string]any) fieldSpec {
	text := func(k string) string { s, _ := m[k].(string); return s }
	flag := func(k string) bool { b, _ := m[k].(bool); return b }
	list := func(k string) []string {
		var out []string
		l, _ := m[k].([]any)
		for _, v := range l {
			out = append(out, asText(v))
		}
		return out
	}
	return fieldSpec{
		Type: text("type"), Name: text("name"), Description: text("description"), Default: m["default"], Custom: flag("custom"),
		ValidTypes: list("valid_types"), ValidValues: list("valid_values"),
		ReadOnly: flag("read_only"), Override: flag("override"), Unique: flag("unique"),
		Inverse: list("inverse"), Calc: list("calc"),
	}
}

func (s *state) loadRows(top map[string]any) error {
	for typ, v := range part(top, "entities") {
		t := s.schema.types[typ]
		rows, _ := v.(map[string]any)
		for idText, row := range rows {
			id, err := strconv.Atoi(idText)
			m, _ := row.(map[string]any)
			if err != nil || t == nil || m == nil {
				return fmt.Errorf("row %s of %s is no row of this schema", idText, typ)
			}
			e := &entity{typ: t, id: id, retired: m["retired"] == true, values: map[string]any{}}
			for key, v := range part(m, "values") {
				f := t.fields[key]
				if f == nil {
					// A deleted field's values stay, as on the site.
					f = &field{}
				}
				e.values[key] = loaded(f, v)
			}
			s.put(e)
		}
	}
	for typ, v := range part(top, "last_ids") {
		s.last[typ], _ = toInt(v)
	}
	return nil
}

// loaded turns the JSON of links back into links.
func loaded(f *field, v any) any {
	switch {
	case f.isLink():
		if l, ok := toLink(v); ok {
			return l
		}
	case f.isMulti():
		list, _ := v.([]any)
		return toLinks(list)
	}
	return v
}

func toLinks(list []any) []link {
	out := make([]link, 0, len(list))
	for _, x := range list {
		if l, ok := toLink(x); ok {
			out = append(out, l)
		}
	}
	return out
}

func (s *state) loadRest(top map[string]any) error {
	for key, v := range part(top, "follows") {
		typ, id, _ := strings.Cut(key, " ")
		n, err := strconv.Atoi(id)
		list, _ := v.([]any)
		if err != nil {
			return fmt.Errorf("follows of %q", key)
		}
		s.follows[link{typ, n}] = toLinks(list)
	}
	for key, v := range part(top, "schedule") {
		var k dayKey
		m, _ := v.(map[string]any)
		if _, err := fmt.Sscanf(key, "%s %d %d", &k.date, &k.project, &k.user); err != nil {
			return fmt.Errorf("schedule of %q: %w", key, err)
		}
		s.days[k] = day{m["working"] == true, m["description"]}
	}
	for key, v := range part(top, "project_access") {
		var k [2]int
		if _, err := fmt.Sscanf(key, "%d %d", &k[0], &k[1]); err != nil {
			return fmt.Errorf("project access of %q: %w", key, err)
		}
		s.opened[k] = asText(v)
	}
	for key, v := range part(top, "subscriptions") {
		id, err := strconv.Atoi(key)
		if err != nil {
			return fmt.Errorf("subscription of %q: %w", key, err)
		}
		s.seats[id] = v
	}
	return s.loadFiles(top)
}

// object is what a snapshot has of a file.
func (b *blob) object() any {
	return map[string]any{
		"name": b.Name, "content_type": b.ContentType, "size": number(int(b.Size)), "sha256": b.SHA256, "tag": b.tag, "made": b.made,
		"modified": b.modified.Format(dateTime),
	}
}

func (s *state) loadFiles(top map[string]any) error {
	for key, v := range part(top, "files") {
		id, err := strconv.Atoi(key)
		m, _ := v.(map[string]any)
		size, ok := toInt(m["size"])
		at, err2 := time.Parse(dateTime, asText(m["modified"]))
		if err != nil || err2 != nil || !ok {
			return fmt.Errorf("file %q", key)
		}
		s.files[id] = &blob{
			File: File{Name: asText(m["name"]), ContentType: asText(m["content_type"]), Size: int64(size), SHA256: asText(m["sha256"])},
			tag:  asText(m["tag"]), made: m["made"] == true, modified: at,
		}
	}
	for key, v := range part(top, "images") {
		m, _ := v.(map[string]any)
		id, ok := toInt(m["attachment"])
		if !ok {
			return fmt.Errorf("image %q", key)
		}
		s.images[key] = image{id, m["pending"] == true}
	}
	return nil
}

// EventLog lists the event log, oldest first: what a reader of EventLogEntry
// sees, with every field.
func (s *Site) EventLog() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.state.table("EventLogEntry")
	out := make([]Event, 0, len(t.ids))
	for _, id := range t.ids {
		out = append(out, s.eventLocked(t.rows[id]))
	}
	return out
}

// Event is one EventLogEntry.
type Event struct {
	ID                  int
	Type, Attribute     string // "Shotgun_Shot_Change", "code"
	EntityType          string
	EntityID, ProjectID int
	// User is the name of the script or person, Actual the script behind a
	// sudo, "" without one.
	User, Actual string
	SessionUUID  string
	Meta         map[string]any
}

func (s *Site) eventLocked(e *entity) Event {
	ev := Event{
		ID: e.id, Type: asText(e.values["event_type"]), Attribute: asText(e.values["attribute_name"]),
		SessionUUID: asText(e.values["session_uuid"]),
	}
	if l, ok := e.values["entity"].(link); ok {
		ev.EntityType, ev.EntityID = l.Type, l.ID
	}
	if l, ok := e.values["project"].(link); ok {
		ev.ProjectID = l.ID
	}
	if l, ok := e.values["user"].(link); ok {
		ev.User = asText(s.state.ref(l)["name"])
	}
	ev.Meta, _ = e.values["meta"].(map[string]any)
	if m, ok := ev.Meta["sudo_actual_user"].(map[string]any); ok {
		ev.Actual = asText(m["name"])
	}
	return ev
}
