package flowsite

import (
	"slices"
)

// follow and unfollow answer with what they did and to whom.
func (c *ctx) follow(a args) (any, error) { return c.setFollowing(a, true) }

func (c *ctx) unfollow(a args) (any, error) { return c.setFollowing(a, false) }

func (c *ctx) setFollowing(a args, on bool) (any, error) {
	user, err := c.row(a, "user")
	if err != nil {
		return nil, err
	}
	e, err := c.row(a, "entity")
	if err != nil {
		return nil, err
	}
	if user.typ.key != "HumanUser" {
		return nil, bad("API %s() user must be a HumanUser", c.method)
	}
	list := slices.DeleteFunc(slices.Clone(c.state.follows[e.link()]), func(l link) bool { return l == user.link() })
	if on {
		list = append(list, user.link())
	}
	if len(list) == 0 {
		delete(c.state.follows, e.link())
	} else {
		c.state.follows[e.link()] = list
	}
	return map[string]any{c.method + "ed": true, "user": c.brief(user), "entity": c.brief(e)}, nil
}

func (c *ctx) brief(e *entity) map[string]any {
	return map[string]any{"type": e.typ.key, "id": e.id}
}

func (c *ctx) followers(a args) (any, error) {
	e, err := c.row(a, "entity")
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, l := range c.state.alive(c.state.follows[e.link()]) {
		out = append(out, c.person(l))
	}
	return out, nil
}

// person is the shape of people in follower lists and streams.
func (c *ctx) person(l link) map[string]any {
	m := c.state.ref(l)
	m["valid"], m["status"] = "valid", nil
	if e := c.state.get(l); e != nil {
		m["status"] = c.status(e)
	}
	return m
}

// status of a row, nil where its type has none.
func (c *ctx) status(e *entity) any {
	if f := e.typ.fields["sg_status_list"]; f != nil {
		return c.state.value(e, f)
	}
	return nil
}

func (c *ctx) following(a args) (any, error) {
	user, err := c.row(a, "user")
	if err != nil {
		return nil, err
	}
	var project link
	if a["project"] != nil {
		p, err := c.row(a, "project")
		if err != nil {
			return nil, err
		}
		project = p.link()
	}
	if a["entity_type"] != nil {
		if _, err := c.typeOf(a["entity_type"], false); err != nil {
			return nil, err
		}
	}
	var found []link
	for l, users := range c.state.follows {
		e := c.state.get(l)
		if !slices.Contains(users, user.link()) || e == nil || e.retired || !c.sees(e) {
			continue
		}
		if p, _ := e.project(); project != (link{}) && p != project || a["entity_type"] != nil && a["entity_type"] != l.Type {
			continue
		}
		found = append(found, l)
	}
	slices.SortFunc(found, compareLinks)
	out := []any{}
	for _, l := range found {
		out = append(out, c.state.ref(l))
	}
	return out, nil
}

func compareLinks(a, b link) int {
	if a.Type != b.Type {
		return compare(a.Type, b.Type)
	}
	return a.ID - b.ID
}
