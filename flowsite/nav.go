package flowsite

import (
	"strconv"
	"strings"
)

// navExpand answers the children of a node of the tree: the site, a project,
// the types in it, their rows.
func (c *ctx) navExpand(a args) (any, error) {
	if err := c.mayMethod(); err != nil {
		return nil, err
	}
	at, err := c.text(a, "path")
	if err != nil {
		return nil, err
	}
	if _, err := c.extras(a); err != nil {
		return nil, err
	}
	steps := strings.Split(strings.Trim(at, "/"), "/")
	switch {
	case at == "/":
		return c.node("Site", "/", "", c.projectNodes()), nil
	case len(steps) == 2 && steps[0] == "Project":
		p, err := c.navProject(steps[1])
		if err != nil {
			return nil, err
		}
		return c.node(asText(c.state.name(p)), at, "/", c.typeNodes(at)), nil
	case len(steps) == 3 && steps[0] == "Project":
		return c.navRows(at, steps)
	default:
		return nil, &fault{107, "API nav_expand() no such path: " + at}
	}
}

func (c *ctx) navProject(id string) (*entity, error) {
	n, err := strconv.Atoi(id)
	if err != nil {
		return nil, &fault{107, "API " + c.method + "() no such project: " + id}
	}
	return c.live(link{"Project", n}, false)
}

func (c *ctx) navRows(at string, steps []string) (any, error) {
	p, err := c.navProject(steps[1])
	if err != nil {
		return nil, err
	}
	t, err := c.typeOf(steps[2], false)
	if err != nil {
		return nil, err
	}
	var nodes []any
	c.rows(t, func(e *entity) {
		if of, ok := e.project(); ok && of == p.link() && !e.retired {
			nodes = append(nodes, c.node(asText(c.state.name(e)), at+"/id/"+strconv.Itoa(e.id), at, nil))
		}
	})
	return c.node(t.name, at, "/Project/"+steps[1], nodes), nil
}

func (c *ctx) node(label, path, parent string, children []any) map[string]any {
	if children == nil {
		children = []any{}
	}
	return map[string]any{
		"label": label, "path": path, "parent_path": parent, "children": children,
		"has_children": len(children) > 0, "ref": map[string]any{"kind": "node", "value": label},
	}
}

func (c *ctx) projectNodes() []any {
	var out []any
	c.rows(c.state.schema.types["Project"], func(e *entity) {
		if !e.retired {
			out = append(out, c.node(asText(c.state.name(e)), "/Project/"+strconv.Itoa(e.id), "/", nil))
		}
	})
	return out
}

func (c *ctx) typeNodes(at string) []any {
	var out []any
	for _, key := range words("Asset", "Sequence", "Shot") {
		out = append(out, c.node(key, at+"/"+key, at, nil))
	}
	return out
}

// navSearch finds where a row, or rows of a name, stand in the tree.
func (c *ctx) navSearch(a args) (any, error) {
	if err := c.mayMethod(); err != nil {
		return nil, err
	}
	root, err := c.text(a, "root_path")
	if err != nil {
		return nil, err
	}
	m, _ := a["search_criteria"].(map[string]any)
	if err := c.only(m, "search_criteria", "search_string", "entity"); err != nil {
		return nil, err
	}
	out := []any{}
	if m["entity"] != nil {
		e, err := c.row(m, "entity")
		if err != nil {
			return nil, err
		}
		return append(out, c.place(root, e)), nil
	}
	text, err := c.text(m, "search_string")
	if err != nil {
		return nil, err
	}
	for _, key := range words("Asset", "Sequence", "Shot") {
		c.rows(c.state.schema.types[key], func(e *entity) {
			if !e.retired && hasTerms(asText(c.state.name(e)), strings.Fields(lower(text))) {
				out = append(out, c.place(root, e))
			}
		})
	}
	return out, nil
}

func (c *ctx) place(root string, e *entity) map[string]any {
	p, _ := e.project()
	at := "/Project/" + strconv.Itoa(p.ID)
	return map[string]any{
		"label": c.state.name(e), "path_label": e.typ.name, "project_id": p.ID, "ref": c.brief(e),
		"incremental_path": []string{root, at, at + "/" + e.typ.key, at + "/" + e.typ.key + "/id/" + strconv.Itoa(e.id)},
	}
}
