package flowsite

import (
	"slices"
	"strings"
)

// textSearch finds rows by their names (query_display_name_cache).
func (c *ctx) textSearch(a args) (any, error) {
	text, err := c.text(a, "text")
	if err != nil {
		return nil, err
	}
	if len([]rune(text)) < 3 {
		return nil, bad("API %s() text must have three characters or more", c.method)
	}
	wanted, ok := a["entity_types"].(map[string]any)
	if !ok {
		return nil, bad("API %s() entity_types is no object", c.method)
	}
	projects, ok := a["project_ids"].([]any)
	if !ok {
		return nil, bad("API %s() project_ids is no list", c.method)
	}
	most, err := c.integerOr(a, "max_results", 10)
	if err != nil {
		return nil, err
	}
	terms := strings.Fields(lower(text))
	matches := []any{}
	for _, key := range sortedKeys(wanted) {
		t, err := c.typeOf(key, false)
		if err != nil {
			return nil, err
		}
		want, err := c.filterOf(t, wanted[key])
		if err != nil {
			return nil, err
		}
		c.rows(t, func(e *entity) {
			if len(matches) < most && !e.retired && c.inProjects(e, projects) && hasTerms(asText(c.state.name(e)), terms) && want(e) {
				matches = append(matches, c.found(e))
			}
		})
	}
	return []any{map[string]any{"matches": matches, "terms": terms}}, nil
}

func hasTerms(name string, terms []string) bool {
	name = lower(name)
	return !slices.ContainsFunc(terms, func(t string) bool { return !strings.Contains(name, t) })
}

func (c *ctx) inProjects(e *entity, ids []any) bool {
	if len(ids) == 0 {
		return true
	}
	p, ok := e.project()
	return ok && slices.ContainsFunc(ids, func(v any) bool {
		id, isInt := toInt(v)
		return isInt && id == p.ID
	})
}

func (c *ctx) found(e *entity) map[string]any {
	links := []string{"", ""}
	if l, ok := e.values["entity"].(link); ok {
		links = []string{l.Type, asText(c.state.ref(l)["name"])}
	}
	m := map[string]any{
		"id": e.id, "type": e.typ.key, "name": c.state.name(e), "project_id": nil,
		"image": nil, "links": links, "status": c.status(e),
	}
	if s, ok := e.values["image"].(string); ok {
		m["image"] = c.imageLink(s)
	}
	if p, ok := e.project(); ok {
		m["project_id"] = p.ID
	}
	return m
}
