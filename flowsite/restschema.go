package flowsite

import (
	"net/http"
)

func schemaRoutes() []restRoute {
	project := words("project_id")
	properties := words("data_type", "properties", "project_id")
	return []restRoute{
		{verb: get, path: "schema", word: "schema_entity_read", query: project, run: (*ctx).restSchema},
		{verb: get, path: "schema/<type>", word: "schema_entity_read", query: project, run: (*ctx).restSchemaType},
		{verb: get, path: "schema/<type>/fields", word: "schema_field_read", query: project, run: (*ctx).restSchemaFields},
		{verb: post, path: "schema/<type>/fields", word: "schema_field_create", body: jsonBody, names: properties, run: (*ctx).restFieldCreate},
		{verb: get, path: "schema/<type>/fields/<field>", word: "schema_field_read", query: project, run: (*ctx).restFieldRead},
		{verb: put, path: "schema/<type>/fields/<field>", word: "schema_field_update", body: jsonBody, names: properties, run: (*ctx).restFieldUpdate},
		{verb: del, path: "schema/<type>/fields/<field>", word: "schema_field_delete", run: (*ctx).restFieldDelete},
		{verb: post, path: "schema/<type>/fields/<field>", word: "schema_field_revive", query: words("revive"), body: anyBody, run: (*ctx).restFieldRevive},
		{verb: post, path: "hierarchy/_expand", word: "nav_expand", body: jsonBody, names: words("path", "seed_entity_field", "entity_fields"), run: (*ctx).restExpand},
		{verb: post, path: "hierarchy/_search", word: "nav_search", body: jsonBody, names: words("root_path", "search_criteria", "seed_entity_field"), run: (*ctx).restHierarchySearch},
	}
}

// schemaType is the type in a schema path, which has the schema's own
// spelling only.
func (c *ctx) schemaType(q *rest, write bool) (*entityType, error) {
	name := q.at["type"]
	if c.state.schema.types[name] == nil {
		return nil, restNotFound(codeBad, "Entity type '"+name+"' does not exist.")
	}
	return c.typeOf(name, write)
}

// schemaArgs are the arguments of a schema call. A project that isn't there
// changes nothing.
func (c *ctx) schemaArgs(q *rest) (args, error) {
	id, err := q.number("project_id")
	if err != nil {
		return nil, err
	}
	a := args{}
	if n, ok := id.(int); ok {
		if _, err := c.live(link{"Project", n}, false); err == nil {
			a["project"] = link{"Project", n}
		}
	}
	return a, nil
}

func (c *ctx) restSchema(q *rest) (restAnswer, error) {
	a, err := c.schemaArgs(q)
	if err != nil {
		return restAnswer{}, err
	}
	out, err := c.schemaEntityRead(a)
	if err != nil {
		return restAnswer{}, err
	}
	return q.data(out, q.prefix+q.path), nil
}

func (c *ctx) restSchemaType(q *rest) (restAnswer, error) {
	t, err := c.schemaType(q, false)
	if err != nil {
		return restAnswer{}, err
	}
	return q.data(map[string]any{"name": property(t.name, false), "visible": property(true, false)}, q.prefix+q.path), nil
}

func (c *ctx) restSchemaFields(q *rest) (restAnswer, error) {
	t, err := c.schemaType(q, false)
	if err != nil {
		return restAnswer{}, err
	}
	a, err := c.schemaArgs(q)
	if err != nil {
		return restAnswer{}, err
	}
	a["type"] = t.key
	out, err := c.schemaFieldRead(a)
	if err != nil {
		return restAnswer{}, err
	}
	return q.data(out, q.prefix+q.path), nil
}

// schemaField is the field in a schema path.
func (c *ctx) schemaField(q *rest, write bool) (*field, error) {
	t, err := c.schemaType(q, write)
	if err != nil {
		return nil, err
	}
	f := t.fields[q.at["field"]]
	if f == nil {
		return nil, restNotFound(codeBad, "Field '"+t.key+"."+q.at["field"]+"' does not exist.")
	}
	return f, nil
}

func (c *ctx) restFieldRead(q *rest) (restAnswer, error) {
	f, err := c.schemaField(q, false)
	if err != nil {
		return restAnswer{}, err
	}
	return q.data(describe(f), q.prefix+q.path), nil
}

// restFieldCreate names the new field in its link only, as measured.
func (c *ctx) restFieldCreate(q *rest) (restAnswer, error) {
	t, err := c.schemaType(q, true)
	if err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	key, err := c.schemaFieldCreate(args{"type": t.key, "data_type": m["data_type"], "properties": m["properties"]})
	if err != nil {
		return restAnswer{}, err
	}
	name := asText(key)
	a := q.data(describe(t.fields[name]), q.prefix+q.path+"/"+name)
	a.status = http.StatusCreated
	return a, nil
}

// restFieldUpdate changes properties. The data type stays what it is.
func (c *ctx) restFieldUpdate(q *rest) (restAnswer, error) {
	f, err := c.schemaField(q, true)
	if err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	properties := m["properties"]
	if properties == nil {
		properties = []any{}
	}
	if _, err := c.schemaFieldUpdate(args{"type": f.typ.key, "field_name": f.key, "properties": properties}); err != nil {
		return restAnswer{}, err
	}
	return q.data(describe(f.typ.fields[f.key]), q.prefix+q.path), nil
}

func (c *ctx) restFieldDelete(q *rest) (restAnswer, error) {
	f, err := c.schemaField(q, true)
	if err != nil {
		return restAnswer{}, err
	}
	if _, err := c.schemaFieldDelete(args{"type": f.typ.key, "field_name": f.key}); err != nil {
		return restAnswer{}, err
	}
	return noContent(), nil
}

// restFieldRevive brings a deleted field back as it was. The flag stands in
// the query, as nodejs has it, or in the body.
func (c *ctx) restFieldRevive(q *rest) (restAnswer, error) {
	t, err := c.schemaType(q, true)
	if err != nil {
		return restAnswer{}, err
	}
	if m, _ := q.body.(map[string]any); m["revive"] != true {
		if err := q.reviving(); err != nil {
			return restAnswer{}, err
		}
	}
	key := t.key + "." + q.at["field"]
	f := c.state.schema.retired[key]
	if f == nil || t.fields[f.key] != nil {
		return restAnswer{}, restNotFound(codeBad, "Field '"+key+"' does not exist.")
	}
	c.setField(t, f.key, f)
	return noContent(), nil
}

func (c *ctx) restExpand(q *rest) (restAnswer, error) {
	m, _ := q.body.(map[string]any)
	if m["path"] == nil {
		return restAnswer{}, restInvalid("path", "is missing")
	}
	out, err := c.navExpand(args{"path": m["path"], "seed_entity_field": m["seed_entity_field"], "entity_fields": m["entity_fields"]})
	if err != nil {
		return restAnswer{}, err
	}
	return restOK(map[string]any{"data": out}), nil
}

func (c *ctx) restHierarchySearch(q *rest) (restAnswer, error) {
	m, _ := q.body.(map[string]any)
	criteria, ok := m["search_criteria"].(map[string]any)
	if !ok {
		return restAnswer{}, restInvalid("search_criteria", "must be a hash")
	}
	if len(criteria) != 1 || criteria["entity"] == nil && criteria["search_string"] == nil {
		return restAnswer{}, restInvalid("search_criteria", "size must be 1")
	}
	out, err := c.navSearch(args{"root_path": m["root_path"], "search_criteria": criteria})
	if err != nil {
		return restAnswer{}, err
	}
	return restOK(map[string]any{"data": out}), nil
}
