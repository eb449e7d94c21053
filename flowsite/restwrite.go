package flowsite

import (
	"net/http"
)

// writeFields turns a flat body into the fields of an api3 write. A list of
// links may say how it is to be applied (flow-protocol §5.4).
func writeFields(m map[string]any) []any {
	out := make([]any, 0, len(m))
	for _, key := range sortedKeys(m) {
		f := map[string]any{"field_name": key, "value": m[key]}
		if o, ok := m[key].(map[string]any); ok && o["multi_entity_update_mode"] != nil {
			f["value"], f["multi_entity_update_mode"] = o["value"], o["multi_entity_update_mode"]
		}
		out = append(out, f)
	}
	return out
}

// restCreate answers POST /entity/<type> with the whole row.
func (c *ctx) restCreate(q *rest) (restAnswer, error) {
	t, err := c.restTypeOf(q.at["type"], true)
	if err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	out, err := c.create(args{"type": t.key, "fields": writeFields(m), "return_fields": []any{}})
	if err != nil {
		return restAnswer{}, err
	}
	a := c.written(q, t, out)
	a.status = http.StatusCreated
	return a, nil
}

// written is the answer of a write: every field, whatever was asked for, and
// dates in the other form (flow-protocol §5.4).
func (c *ctx) written(q *rest, t *entityType, out any) restAnswer {
	m, _ := out.(map[string]any)
	e := c.state.get(link{t.key, asID(m["id"])})
	row := c.restRow(q, e, c.whole(t))
	attributes, _ := row["attributes"].(map[string]any)
	for key, f := range t.fields {
		if f.Type == "date_time" && attributes[key] != nil {
			attributes[key] = stamped(attributes[key])
		}
	}
	return restOK(map[string]any{"data": row, "links": map[string]any{"self": q.rowPath(e)}})
}

// restUpdate answers PUT /entity/<type>/<id>: a write that is a full read too.
func (c *ctx) restUpdate(q *rest) (restAnswer, error) {
	t, err := c.restTypeOf(q.at["type"], true)
	if err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	out, err := c.update(args{"type": t.key, "id": q.id(), "fields": writeFields(m)})
	if err != nil {
		return restAnswer{}, err
	}
	return c.written(q, t, out), nil
}

// restDelete retires a row; one that is retired isn't there.
func (c *ctx) restDelete(q *rest) (restAnswer, error) {
	t, err := c.restTypeOf(q.at["type"], true)
	if err != nil {
		return restAnswer{}, err
	}
	done, err := c.retire(args{"type": t.key, "id": q.id()})
	if err != nil {
		return restAnswer{}, err
	}
	if done != true {
		return restAnswer{}, none("API %s() %s with id=%d does not exist", c.method, t.key, q.id())
	}
	return noContent(), nil
}

// restRevive answers POST /entity/<type>/<id>?revive=1. Its body counts for
// nothing.
func (c *ctx) restRevive(q *rest) (restAnswer, error) {
	t, err := c.restTypeOf(q.at["type"], true)
	if err != nil {
		return restAnswer{}, err
	}
	if err := q.reviving(); err != nil {
		return restAnswer{}, err
	}
	did, err := c.revive(args{"type": t.key, "id": q.id()})
	if err != nil {
		return restAnswer{}, err
	}
	self := q.rowPath(c.state.get(link{t.key, q.id()}))
	return restOK(map[string]any{
		"data": map[string]any{"type": t.key, "id": q.id()}, "links": map[string]any{"self": self},
		"meta": map[string]any{"did_revive": did},
	}), nil
}

func (q *rest) reviving() error {
	switch q.query.get("revive") {
	case "1", "true", "yes":
		return nil
	case "":
		if !q.query.has("revive") {
			return restInvalid("revive", "is missing")
		}
	}
	return restInvalid("revive", "must be true")
}

// restBatch does all of its requests or none.
func (c *ctx) restBatch(q *rest) (restAnswer, error) {
	m, _ := q.body.(map[string]any)
	list, ok := m["requests"].([]any)
	if !ok || len(list) == 0 {
		return restAnswer{}, restInvalid("requests", "is missing")
	}
	data := make([]any, 0, len(list))
	err := c.state.atomically(func() error {
		for _, item := range list {
			row, err := c.restPart(q, item)
			if err != nil {
				return err
			}
			data = append(data, map[string]any{"data": row})
		}
		return nil
	})
	if err != nil {
		return restAnswer{}, err
	}
	return restOK(map[string]any{"data": data}), nil
}

// restPart is one request of a batch. Its type has one spelling.
func (c *ctx) restPart(q *rest, item any) (any, error) {
	m, ok := item.(map[string]any)
	if !ok {
		return nil, restInvalid("requests", "must be an array of hashes")
	}
	if err := c.only(m, "batch request", "request_type", "entity", "record_id", "data", "options"); err != nil {
		return nil, err
	}
	t, err := c.typeOf(m["entity"], true)
	if err != nil {
		return nil, err
	}
	fields, _ := m["data"].(map[string]any)
	a := args{"type": t.key, "id": m["record_id"], "fields": writeFields(fields)}
	var out any
	switch m["request_type"] {
	case "create":
		out, err = c.create(a)
	case "update":
		out, err = c.update(a)
	case "delete":
		return c.batchDelete(a)
	default:
		return nil, restInvalid("request_type", "must be one of: create, update, delete")
	}
	if err != nil {
		return nil, err
	}
	return c.batchRow(q, t, out, m)
}

func (c *ctx) batchDelete(a args) (any, error) {
	done, err := c.retire(a)
	if err == nil && done != true {
		err = none("API %s() %s with id=%s does not exist", c.method, asText(a["type"]), asText(a["id"]))
	}
	return map[string]any{"type": a["type"], "id": a["id"]}, err
}

// batchRow shows what was set, and the fields of the request's options.
func (c *ctx) batchRow(q *rest, t *entityType, out any, m map[string]any) (any, error) {
	set, _ := out.(map[string]any)
	var names []string
	for _, key := range sortedKeys(set) {
		if key != "id" && key != "type" {
			names = append(names, key)
		}
	}
	if options, _ := m["options"].(map[string]any); options["fields"] != nil {
		more, err := textList("fields", options["fields"])
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	e := c.state.get(link{t.key, asID(set["id"])})
	return c.restRow(q, e, c.restColumns(t, names)), nil
}
