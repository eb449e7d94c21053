package flowsite

import (
	"slices"
)

// event writes an EventLogEntry that names who did it. A script whose row
// says so makes none (flow-protocol §6.2), and the log isn't logged.
func (c *ctx) event(e *entity, what string, meta map[string]any, attribute string) {
	if c.opts.NoEvents || e.typ.key == "EventLogEntry" || c.silent() {
		return
	}
	if c.who.behind != (link{}) {
		meta["sudo_actual_user"] = c.state.ref(c.who.behind)
	}
	values := map[string]any{
		"event_type": "Shotgun_" + e.typ.key + "_" + what, "entity": e.link(), "user": c.who.actor, "meta": meta,
		"description": asText(c.state.name(c.actorRow())) + ": " + what + " of " + e.typ.key + " " + asText(c.state.name(e)),
		"created_at":  c.stamp(), "created_by": c.who.actor,
	}
	if attribute != "" {
		values["attribute_name"] = attribute
	}
	if c.who.uuid != "" {
		values["session_uuid"] = c.who.uuid
	}
	if p, ok := e.project(); ok {
		values["project"] = p
	}
	t := c.state.schema.types["EventLogEntry"]
	if t == nil {
		return // a schema file without a log
	}
	c.state.put(&entity{typ: t, id: c.state.last[t.key] + 1, values: values})
}

func (c *ctx) actorRow() *entity {
	if e := c.state.get(c.who.actor); e != nil {
		return e
	}
	return &entity{typ: c.state.schema.types[c.who.actor.Type]}
}

func (c *ctx) silent() bool {
	by := c.who.actor
	if c.who.behind != (link{}) {
		by = c.who.behind
	}
	e := c.state.get(by)
	return e != nil && e.values["generate_event_log_entries"] == false
}

// changeEvent is the event of a changed field, with what it was and is; of
// links in a list, what came and went.
func (c *ctx) changeEvent(e *entity, f *field, old, next any) {
	meta := map[string]any{
		"type": "attribute_change", "attribute_name": f.key, "entity_type": e.typ.key, "entity_id": e.id,
		"field_data_type": f.Type,
	}
	if f.isMulti() {
		meta["added"] = c.without(linksOf(next), linksOf(old))
		meta["removed"] = c.without(linksOf(old), linksOf(next))
	} else {
		meta["old_value"], meta["new_value"] = c.state.show(f, old), c.state.show(f, next)
	}
	c.event(e, "Change", meta, f.key)
}

func (c *ctx) without(list, less []link) []any {
	out := []any{}
	for _, l := range list {
		if !slices.Contains(less, l) {
			out = append(out, c.state.ref(l))
		}
	}
	return out
}
