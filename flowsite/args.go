package flowsite

// args is the argument object of a call. The methods answer with a fault
// when what they ask for has the wrong form.
type args map[string]any

func (c *ctx) text(a args, name string) (string, error) {
	s, ok := a[name].(string)
	if !ok {
		return "", bad("API %s() %s is not a text", c.method, name)
	}
	return s, nil
}

func (c *ctx) integer(a args, name string) (int, error) {
	n, ok := toInt(a[name])
	if !ok {
		return 0, bad("API %s() %s is not an integer", c.method, name)
	}
	return n, nil
}

// integerOr reads a number that may be missing or null.
func (c *ctx) integerOr(a args, name string, or int) (int, error) {
	if a[name] == nil {
		return or, nil
	}
	return c.integer(a, name)
}

func (c *ctx) objects(a args, name string) ([]args, error) {
	list, ok := a[name].([]any)
	if !ok {
		return nil, bad("API %s() %s is not a list", c.method, name)
	}
	out := make([]args, len(list))
	for i, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, bad("API %s() %s holds what is not an object", c.method, name)
		}
		out[i] = m
	}
	return out, nil
}

func (c *ctx) texts(a args, name string) ([]string, error) {
	list, ok := a[name].([]any)
	if !ok {
		return nil, bad("API %s() %s is not a list", c.method, name)
	}
	out := make([]string, len(list))
	for i, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, bad("API %s() %s holds what is not a text", c.method, name)
		}
		out[i] = s
	}
	return out, nil
}

// only refuses names that an inner object doesn't have.
func (c *ctx) only(a args, what string, names ...string) error {
	if found := judgeNames(what, a, nil, names); len(found) > 0 {
		return bad("API %s() %s", c.method, found[0])
	}
	return nil
}

// toLink reads an entity hash; false when it is none.
func toLink(v any) (link, bool) {
	if l, ok := v.(link); ok {
		return l, true
	}
	m, ok := v.(map[string]any)
	if !ok {
		return link{}, false
	}
	t, okT := m["type"].(string)
	id, okID := toInt(m["id"])
	return link{t, id}, okT && okID
}

// row finds the live row that an argument links to.
func (c *ctx) row(a args, name string) (*entity, error) {
	l, ok := toLink(a[name])
	if !ok {
		return nil, bad("API %s() %s is not an entity", c.method, name)
	}
	return c.live(l, false)
}

// live finds a row that the caller may see (or write) and isn't retired.
func (c *ctx) live(l link, write bool) (*entity, error) {
	if _, err := c.typeOf(l.Type, write); err != nil {
		return nil, err
	}
	e := c.state.get(l)
	if e == nil || e.retired || !c.sees(e) {
		return nil, none("API %s() %s with id=%d does not exist", c.method, l.Type, l.ID)
	}
	return e, nil
}

// rows visits the rows of a type that the caller sees, by id.
func (c *ctx) rows(t *entityType, visit func(*entity)) {
	tab := c.state.tables[t.key]
	if tab == nil {
		return
	}
	for _, id := range tab.ids {
		if e := tab.rows[id]; c.sees(e) {
			visit(e)
		}
	}
}
