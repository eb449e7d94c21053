package flowsite

import (
	"strings"
)

// path is a field of a type, or of a type that it links to, and so on:
// "entity.Shot.sg_sequence.Sequence.code".
type path struct {
	hops []hop
	leaf *field
}

// hop follows a link field to rows of one type.
type hop struct {
	over *field
	to   *entityType
}

// pathOf checks a path: every field and type in it must exist and be
// readable, whatever the rows link to (flow-protocol §2.4).
func (c *ctx) pathOf(t *entityType, text string) (path, error) {
	parts := strings.Split(text, ".")
	var p path
	for len(parts) >= 3 {
		f, err := c.fieldOf(t, parts[0], text)
		if err != nil {
			return p, err
		}
		if !f.isLink() && !f.isMulti() {
			return p, bad("API %s() %s.%s doesn't exist: %s is no link", c.method, t.key, text, f.key)
		}
		to := c.state.schema.types[parts[1]]
		if to == nil {
			return p, bad("API %s() %s.%s doesn't exist: no type %s", c.method, t.key, text, parts[1])
		}
		if err := c.mayType(to, false); err != nil {
			return p, err
		}
		p.hops = append(p.hops, hop{f, to})
		t, parts = to, parts[2:]
	}
	if len(parts) != 1 {
		return p, bad("API %s() %s.%s doesn't exist", c.method, t.key, text)
	}
	var err error
	p.leaf, err = c.fieldOf(t, parts[0], text)
	return p, err
}

func (c *ctx) fieldOf(t *entityType, key, text string) (*field, error) {
	if key == "type" {
		return &field{fieldSpec: fieldSpec{Type: "text", Name: "Type", ReadOnly: true}, key: "type", typ: t}, nil
	}
	f := t.fields[key]
	if f == nil {
		return nil, bad("API %s() %s.%s doesn't exist", c.method, t.key, text)
	}
	return f, c.mayField(f, false)
}

// ends are the rows that a path leads to; nil where a link is empty or leads to
// another type.
func (p path) ends(s *state, e *entity) []*entity {
	rows := []*entity{e}
	for _, h := range p.hops {
		var next []*entity
		for _, row := range rows {
			next = append(next, h.follow(s, row)...)
		}
		rows = next
	}
	return rows
}

func (h hop) follow(s *state, e *entity) []*entity {
	if e == nil {
		return []*entity{nil}
	}
	var targets []link
	switch v := s.value(e, h.over).(type) {
	case link:
		targets = []link{v}
	case []link:
		targets = v
	}
	var out []*entity
	for _, l := range targets {
		if l.Type == h.to.key {
			if row := s.get(l); row != nil {
				out = append(out, row)
			}
		}
	}
	if len(out) == 0 {
		return []*entity{nil}
	}
	return out
}

// values are what a filter compares: one, or several through a list of links.
func (p path) values(s *state, e *entity) []any {
	if len(p.hops) == 0 {
		return []any{s.value(e, p.leaf)}
	}
	ends := p.ends(s, e)
	out := make([]any, len(ends))
	for i, row := range ends {
		if row != nil {
			out[i] = s.value(row, p.leaf)
		}
	}
	return out
}

// first is what a projection or a sort shows. Through a list of links it is
// nothing, as on the real site.
func (p path) first(s *state, e *entity) any {
	for _, h := range p.hops {
		if h.over.isMulti() {
			return nil
		}
	}
	return p.values(s, e)[0]
}
