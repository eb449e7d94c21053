package flowsite

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// change is one field of a create or an update.
type change struct {
	field *field
	value any
	mode  string // multi_entity_update_mode: set, add or remove
}

func (c *ctx) create(a args) (any, error) {
	t, err := c.typeOf(a["type"], true)
	if err != nil {
		return nil, err
	}
	changes, err := c.changes(t, a, true)
	if err != nil {
		return nil, err
	}
	var names []string
	if a["return_fields"] != nil {
		if names, err = c.texts(a, "return_fields"); err != nil {
			return nil, err
		}
	}
	cols, err := c.answerColumns(t, changes, names)
	if err != nil {
		return nil, err
	}
	e := &entity{typ: t, id: c.state.last[t.key] + 1, values: map[string]any{
		"created_at": c.stamp(), "created_by": c.who.actor, "updated_at": c.stamp(), "updated_by": c.who.actor,
	}}
	if err := c.checkUnique(e, changes); err != nil {
		return nil, err
	}
	if p := changed(changes, "project"); p != nil && !c.seesProject(p) {
		return nil, none("API %s() %s: the project is not allowed for the role '%s'", c.method, t.key, c.who.role.name())
	}
	c.state.put(e)
	c.event(e, "New", map[string]any{"type": "new_entity", "entity_type": t.key, "entity_id": e.id}, "")
	e = c.applyAll(e, changes)
	return c.project(e, cols, true), nil
}

// changed is the new value of a field, nil when it isn't written.
func changed(changes []change, key string) any {
	for _, ch := range changes {
		if ch.field.key == key {
			return ch.value
		}
	}
	return nil
}

func (c *ctx) seesProject(v any) bool {
	l, ok := v.(link)
	return !ok || c.who.role.Projects == nil || slices.Contains(c.who.role.Projects, l.ID)
}

func (c *ctx) update(a args) (any, error) {
	e, err := c.writable(a)
	if err != nil {
		return nil, err
	}
	changes, err := c.changes(e.typ, a, false)
	if err != nil {
		return nil, err
	}
	cols, err := c.answerColumns(e.typ, changes, nil)
	if err != nil {
		return nil, err
	}
	if err := c.checkUnique(e, changes); err != nil {
		return nil, err
	}
	e = c.applyAll(e, changes)
	if len(changes) > 0 {
		e = e.with(map[string]any{"updated_at": c.stamp(), "updated_by": c.who.actor})
		c.state.put(e)
	}
	return c.project(e, cols, true), nil
}

// writable finds the row that type and id name.
func (c *ctx) writable(a args) (*entity, error) {
	t, err := c.typeOf(a["type"], true)
	if err != nil {
		return nil, err
	}
	id, err := c.integer(a, "id")
	if err != nil {
		return nil, err
	}
	return c.live(link{t.key, id}, true)
}

// changes checks the fields of a write before anything is written.
func (c *ctx) changes(t *entityType, a args, creating bool) ([]change, error) {
	list, err := c.objects(a, "fields")
	if err != nil {
		return nil, err
	}
	out := make([]change, 0, len(list))
	for _, m := range list {
		ch, err := c.change(t, m, creating)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(x change) bool { return x.field == ch.field }) {
			return nil, bad("API %s() %s.%s is given twice", c.method, t.key, ch.field.key)
		}
		out = append(out, ch)
	}
	return out, nil
}

func (c *ctx) change(t *entityType, m args, creating bool) (change, error) {
	if err := c.only(m, "field", "field_name", "value", "multi_entity_update_mode"); err != nil {
		return change{}, err
	}
	name, err := c.text(m, "field_name")
	if err != nil {
		return change{}, err
	}
	f := t.fields[name]
	switch {
	case f == nil:
		return change{}, bad("API %s() %s.%s doesn't exist", c.method, t.key, name)
	case f.ReadOnly || f.Override && !creating:
		return change{}, bad("API %s() %s.%s is not editable", c.method, t.key, name)
	}
	if err := c.mayField(f, true); err != nil {
		return change{}, err
	}
	mode, err := c.mode(f, m, creating)
	if err != nil {
		return change{}, err
	}
	v, err := c.stored(f, m["value"])
	return change{f, v, mode}, err
}

func (c *ctx) mode(f *field, m args, creating bool) (string, error) {
	v, ok := m["multi_entity_update_mode"]
	if !ok {
		return "set", nil
	}
	mode, _ := v.(string)
	if !f.isMulti() || creating || !slices.Contains(words("set", "add", "remove"), mode) {
		return "", bad("API %s() %s.%s: no multi_entity_update_mode %s here", c.method, f.typ.key, f.key, asText(v))
	}
	return mode, nil
}

func (c *ctx) checkUnique(e *entity, changes []change) error {
	for _, ch := range changes {
		text, ok := ch.value.(string)
		if !ch.field.Unique || !ok {
			continue
		}
		for id, row := range c.state.table(e.typ.key).rows {
			if have, isText := row.values[ch.field.key].(string); id != e.id && isText && strings.EqualFold(have, text) {
				return bad("API %s() %s.%s: '%s' is taken", c.method, e.typ.key, ch.field.key, text)
			}
		}
	}
	return nil
}

// answerColumns are what a write answers with: what was set, what was asked
// for.
func (c *ctx) answerColumns(t *entityType, changes []change, names []string) ([]column, error) {
	cols, err := c.columns(t, names)
	if err != nil {
		return nil, err
	}
	for _, ch := range changes {
		if !slices.Contains(names, ch.field.key) {
			cols = append(cols, column{ch.field.key, path{leaf: ch.field}})
		}
	}
	return cols, nil
}

// applyAll writes the changes, each with its event.
func (c *ctx) applyAll(e *entity, changes []change) *entity {
	for _, ch := range changes {
		e = c.apply(e, ch)
	}
	return e
}

func (c *ctx) apply(e *entity, ch change) *entity {
	old := c.state.value(e, ch.field)
	next := ch.value
	if ch.field.isMulti() {
		next = merged(linksOf(old), linksOf(ch.value), ch.mode)
	}
	if string(appendJSON(nil, old)) == string(appendJSON(nil, next)) {
		return e
	}
	if ch.field.Inverse != nil {
		c.relink(e, ch.field, linksOf(old), linksOf(next))
		e = c.state.get(e.link()) // a row can be at both ends
	} else {
		e = e.with(map[string]any{ch.field.key: next})
		c.state.put(e)
	}
	c.changeEvent(e, ch.field, old, next)
	return e
}

func linksOf(v any) []link {
	switch v := v.(type) {
	case []link:
		return v
	case link:
		return []link{v}
	default:
		return nil
	}
}

func merged(old, given []link, mode string) []link {
	switch mode {
	case "add":
		out := slices.Clone(old)
		for _, l := range given {
			if !slices.Contains(out, l) {
				out = append(out, l)
			}
		}
		return out
	case "remove":
		return slices.DeleteFunc(slices.Clone(old), func(l link) bool { return slices.Contains(given, l) })
	default:
		return given
	}
}

// relink writes the other end of the links: what is new points to e, what
// went points to nothing.
func (c *ctx) relink(e *entity, f *field, old, next []link) {
	for _, in := range f.Inverse {
		typ, key, _ := strings.Cut(in, ".")
		for _, l := range old {
			if l.Type == typ && !slices.Contains(next, l) {
				c.point(l, key, e.link(), false)
			}
		}
		for _, l := range next {
			if l.Type == typ && !slices.Contains(old, l) {
				c.point(l, key, e.link(), true)
			}
		}
	}
}

func (c *ctx) point(from link, key string, to link, on bool) {
	row := c.state.get(from)
	f := row.typ.fields[key]
	var v any
	switch {
	case f.isMulti() && on:
		v = merged(linksOf(row.values[key]), []link{to}, "add")
	case f.isMulti():
		v = merged(linksOf(row.values[key]), []link{to}, "remove")
	case on:
		v = to
	}
	c.state.put(row.with(map[string]any{key: v}))
}

// retire deletes: the row stays, retired. false: it was already.
func (c *ctx) retire(a args) (any, error) { return c.setRetired(a, true) }

// revive undoes retire.
func (c *ctx) revive(a args) (any, error) { return c.setRetired(a, false) }

func (c *ctx) setRetired(a args, retired bool) (any, error) {
	t, err := c.typeOf(a["type"], true)
	if err != nil {
		return nil, err
	}
	id, err := c.integer(a, "id")
	if err != nil {
		return nil, err
	}
	e := c.state.get(link{t.key, id})
	if e == nil || !c.sees(e) {
		return nil, none("API %s() %s with id=%d does not exist", c.method, t.key, id)
	}
	if e.retired == retired {
		return false, nil
	}
	next := e.with(nil)
	next.retired = retired
	c.state.put(next)
	meta := map[string]any{"type": "entity_retirement", "entity_type": t.key, "entity_id": id, "display_name": c.state.name(e)}
	if retired {
		c.event(next, "Retirement", meta, "retirement_date")
		return true, nil
	}
	meta["type"] = "entity_revival"
	c.event(next, "Revival", meta, "retirement_date")
	return true, nil
}

// batch does all of its requests or none (flow-protocol §2.2).
func (c *ctx) batch(v any) (any, error) {
	list, _ := v.([]any)
	if len(list) == 0 {
		return nil, bad("API batch() has no requests")
	}
	results := make([]any, 0, len(list))
	err := c.state.atomically(func() error {
		for i, item := range list {
			r, err := c.part(item)
			if f, ok := errors.AsType[*fault](err); ok {
				return &fault{f.code, fmt.Sprintf("API batch() request %d: %s", i, f.msg)}
			}
			if err != nil {
				return err
			}
			results = append(results, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (c *ctx) part(item any) (any, error) {
	m, _ := item.(map[string]any)
	a := args(m)
	if err := c.only(a, "batch request", "request_type", "type", "id", "fields", "return_fields", "multi_entity_update_mode"); err != nil {
		return nil, err
	}
	switch m["request_type"] {
	case "create":
		return c.create(a)
	case "update":
		return c.update(legacyMode(a))
	case "delete":
		return c.retire(a)
	default:
		return nil, bad("request_type must be create, update or delete")
	}
}

// legacyMode puts an old client's mode of the whole request (§2.2) into the
// fields that it concerns.
func legacyMode(a args) args {
	mode, ok := a["multi_entity_update_mode"]
	fields, isList := a["fields"].([]any)
	if !ok || !isList {
		return a
	}
	out := make([]any, len(fields))
	for i, v := range fields {
		out[i] = v
		if m, isMap := v.(map[string]any); isMap {
			if _, isLinks := m["value"].([]any); isLinks {
				out[i] = map[string]any{"field_name": m["field_name"], "value": m["value"], "multi_entity_update_mode": mode}
			}
		}
	}
	return args{"type": a["type"], "id": a["id"], "fields": out}
}
