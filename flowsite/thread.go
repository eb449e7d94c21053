package flowsite

// stamped turns a date into the other form that streams and threads have
// (flow-protocol §8.5: "2015-07-14 21:33:28 UTC").
func stamped(v any) any {
	s, ok := v.(string)
	if !ok || len(s) != len("2006-01-02T15:04:05Z") {
		return v
	}
	return s[:10] + " " + s[11:19] + " UTC"
}

// extras compiles an entity_fields argument: more fields by type.
func (c *ctx) extras(a args) (map[string][]column, error) {
	out := map[string][]column{}
	if a["entity_fields"] == nil {
		return out, nil
	}
	m, ok := a["entity_fields"].(map[string]any)
	if !ok {
		return nil, bad("API %s() entity_fields is no object", c.method)
	}
	for _, key := range sortedKeys(m) {
		t := c.state.schema.types[key]
		if t == nil {
			return nil, bad("API %s() unknown type %s", c.method, key)
		}
		if err := c.mayType(t, false); err != nil {
			return nil, err
		}
		names, err := c.texts(args(m), key)
		if err != nil {
			return nil, err
		}
		if out[key], err = c.columns(t, names); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// noteThread answers a Note, its Attachments and its Replies.
func (c *ctx) noteThread(a args) (any, error) {
	id, err := c.integer(a, "note_id")
	if err != nil {
		return nil, err
	}
	note, err := c.live(link{"Note", id}, false)
	if err != nil {
		return nil, err
	}
	more, err := c.extras(a)
	if err != nil {
		return nil, err
	}
	rows := []*entity{note}
	for _, key := range words("attachments", "replies") {
		for _, l := range linksOf(c.state.value(note, note.typ.fields[key])) {
			rows = append(rows, c.state.get(l))
		}
	}
	out := []any{}
	for _, e := range rows {
		out = append(out, c.inThread(e, more[e.typ.key]))
	}
	return out, nil
}

func (c *ctx) inThread(e *entity, more []column) map[string]any {
	m := c.project(e, more, true)
	m["created_at"] = stamped(e.values["created_at"])
	who := "created_by"
	if e.typ.key == "Reply" {
		who = "user"
	}
	if e.typ.key != "Attachment" {
		m["content"] = e.values["content"]
	}
	if l, ok := e.values[who].(link); ok {
		m[who] = c.person(l)
	} else if l, ok := e.values["created_by"].(link); ok {
		m[who] = c.person(l)
	}
	return m
}
