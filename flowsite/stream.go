package flowsite

import (
	"slices"
	"strings"
)

// Bounds of activity_stream.
const (
	streamDefault = 25
	streamMax     = 500 // flow-protocol §5.4, on REST
)

// activityStream answers the events of a row, and of a project's rows.
func (c *ctx) activityStream(a args) (any, error) {
	t, err := c.typeOf(a["type"], false)
	if err != nil {
		return nil, err
	}
	id, err := c.integer(a, "id")
	if err != nil {
		return nil, err
	}
	e, err := c.live(link{t.key, id}, false)
	if err != nil {
		return nil, err
	}
	more, err := c.extras(a)
	if err != nil {
		return nil, err
	}
	events, err := c.stream(a, e)
	if err != nil {
		return nil, err
	}
	updates := []any{}
	var first, last any
	for _, ev := range events {
		updates = append(updates, c.streamed(ev, more))
		if last == nil {
			last = ev.id
		}
		first = ev.id
	}
	return []any{map[string]any{
		"entity_type": t.key, "entity_id": id, "updates": updates, "earliest_update_id": first, "latest_update_id": last,
	}}, nil
}

// stream is the events that the arguments select, youngest first.
func (c *ctx) stream(a args, e *entity) ([]*entity, error) {
	low, err := c.integerOr(a, "min_id", 0)
	if err != nil {
		return nil, err
	}
	high, err := c.integerOr(a, "max_id", c.state.last["EventLogEntry"])
	if err != nil {
		return nil, err
	}
	limit, err := c.integerOr(a, "limit", streamDefault)
	if err != nil {
		return nil, err
	}
	if limit < 1 || limit > streamMax {
		return nil, bad("API %s() limit must be from 1 to %d", c.method, streamMax)
	}
	t := c.state.table("EventLogEntry")
	var out []*entity
	for _, id := range slices.Backward(t.ids) {
		ev := t.rows[id]
		about := ev.values["entity"] == any(e.link()) || e.typ.key == "Project" && ev.values["project"] == any(e.link())
		if id >= low && id <= high && about && len(out) < limit && !ev.retired {
			out = append(out, ev)
		}
	}
	return out, nil
}

func (c *ctx) streamed(ev *entity, more map[string][]column) map[string]any {
	kind := "update"
	switch name := asText(ev.values["event_type"]); {
	case strings.HasSuffix(name, "_New"):
		kind = "create"
	case strings.HasSuffix(name, "_Retirement"):
		kind = "delete"
	}
	m := map[string]any{
		"id": ev.id, "update_type": kind, "meta": ev.values["meta"], "read": false,
		"created_at": stamped(ev.values["created_at"]), "created_by": nil, "primary_entity": nil,
	}
	if l, ok := ev.values["user"].(link); ok {
		m["created_by"] = c.person(l)
	}
	if l, ok := ev.values["entity"].(link); ok {
		if e := c.state.get(l); e != nil {
			p := c.project(e, more[l.Type], true)
			p["name"], p["status"] = c.state.name(e), c.status(e)
			m["primary_entity"] = p
		}
	}
	return m
}
