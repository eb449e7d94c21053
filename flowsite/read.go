package flowsite

import (
	"slices"
)

// read answers find and find_one (flow-protocol §2.1, §2.6).
func (c *ctx) read(a args) (any, error) {
	t, err := c.typeOf(a["type"], false)
	if err != nil {
		return nil, err
	}
	fields, err := c.projection(t, a)
	if err != nil {
		return nil, err
	}
	rows, err := c.selected(t, a)
	if err != nil {
		return nil, err
	}
	pg, err := c.pageOf(a)
	if err != nil {
		return nil, err
	}
	images := a["api_return_image_urls"] == true
	entities := []any{}
	for _, e := range pg.cut(rows) {
		entities = append(entities, c.project(e, fields, images))
	}
	out := map[string]any{"entities": entities}
	if info := pg.info(a, len(rows)); info != nil {
		out["paging_info"] = info
	}
	return out, nil
}

// column is a requested field and the path to it.
type column struct {
	name string
	path path
}

func (c *ctx) projection(t *entityType, a args) ([]column, error) {
	names, err := c.texts(a, "return_fields")
	if err != nil {
		return nil, err
	}
	return c.columns(t, names)
}

func (c *ctx) columns(t *entityType, names []string) ([]column, error) {
	out := make([]column, 0, len(names))
	for _, name := range names {
		p, err := c.pathOf(t, name)
		if err != nil {
			return nil, err
		}
		out = append(out, column{name, p})
	}
	return out, nil
}

// project is a row as answers have it: its type, id and the columns.
func (c *ctx) project(e *entity, cols []column, images bool) map[string]any {
	m := make(map[string]any, len(cols)+2)
	m["type"], m["id"] = e.typ.key, e.id
	for _, col := range cols {
		m[col.name] = c.showValue(col.path.leaf, col.path.first(c.state, e), images)
	}
	return m
}

// showValue is show, with the link to an uploaded file and, where the caller
// asks for it, to an image.
func (c *ctx) showValue(f *field, v any, images bool) any {
	switch v := v.(type) {
	case string:
		if f.Type == "image" && images {
			return c.imageLink(v)
		}
	case map[string]any:
		if f.Type == "url" {
			return c.withLink(v)
		}
	}
	return c.state.show(f, v)
}

// selected are the wanted rows in order.
func (c *ctx) selected(t *entityType, a args) ([]*entity, error) {
	want, err := c.filterOf(t, a["filters"])
	if err != nil {
		return nil, err
	}
	retired, err := c.returnOnly(a)
	if err != nil {
		return nil, err
	}
	order, err := c.orderOf(t, a)
	if err != nil {
		return nil, err
	}
	archivedToo, err := c.archivedToo(a)
	if err != nil {
		return nil, err
	}
	var rows []*entity
	look := func(visit func(*entity)) { c.rows(t, visit) }
	if id, ok := oneID(a["filters"]); ok {
		look = func(visit func(*entity)) {
			if e := c.state.get(link{t.key, id}); e != nil && c.sees(e) {
				visit(e)
			}
		}
	}
	look(func(e *entity) {
		if e.retired == retired && want(e) && (archivedToo || !c.state.archived(e)) {
			rows = append(rows, e)
		}
	})
	if rows, err = c.preset(t, a, rows); err != nil {
		return nil, err
	}
	if order != nil {
		slices.SortStableFunc(rows, order)
	}
	return rows, nil
}

func (c *ctx) archivedToo(a args) (bool, error) {
	v, ok := a["include_archived_projects"]
	if !ok {
		return true, nil // the server's default: §2.1
	}
	on, isBool := v.(bool)
	if !isBool {
		return false, bad("API %s() include_archived_projects is no boolean", c.method)
	}
	return on, nil
}

func (c *ctx) returnOnly(a args) (retired bool, err error) {
	switch a["return_only"] {
	case "active", nil:
		return false, nil
	case "retired":
		return true, nil
	default:
		return false, bad("API %s() return_only must be 'active' or 'retired'", c.method)
	}
}

func (c *ctx) orderOf(t *entityType, a args) (func(x, y *entity) int, error) {
	if a["sorts"] == nil {
		return nil, nil
	}
	sorts, err := c.objects(a, "sorts")
	if err != nil {
		return nil, err
	}
	type key struct {
		path path
		sign int
	}
	var keys []key
	for _, s := range sorts {
		if err := c.only(s, "sort", "field_name", "direction"); err != nil {
			return nil, err
		}
		name, err := c.text(s, "field_name")
		if err != nil {
			return nil, err
		}
		p, err := c.pathOf(t, name)
		if err != nil {
			return nil, err
		}
		sign, err := c.direction(s)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key{p, sign})
	}
	return func(x, y *entity) int {
		for _, k := range keys {
			if n := compare(c.sortable(k.path, x), c.sortable(k.path, y)); n != 0 {
				return n * k.sign
			}
		}
		return 0
	}, nil
}

func (c *ctx) direction(a args) (int, error) {
	switch a["direction"] {
	case "asc", nil:
		return 1, nil
	case "desc":
		return -1, nil
	default:
		return 0, bad("API %s() direction must be 'asc' or 'desc'", c.method)
	}
}

// sortable is a value to sort by: links by their names.
func (c *ctx) sortable(p path, e *entity) any {
	v := p.first(c.state, e)
	switch v := v.(type) {
	case link:
		if row := c.state.get(v); row != nil {
			return c.state.name(row)
		}
		return nil
	case []link:
		if len(v) == 0 {
			return nil
		}
		return asText(c.state.ref(v[0])["name"])
	default:
		return v
	}
}

// page is a part of the rows.
type page struct{ size, number int }

func (c *ctx) pageOf(a args) (page, error) {
	m, ok := a["paging"].(map[string]any)
	if !ok {
		return page{}, bad("API %s() paging is no object", c.method)
	}
	if err := c.only(m, "paging", "entities_per_page", "current_page"); err != nil {
		return page{}, err
	}
	size, err := c.integer(m, "entities_per_page")
	if err != nil {
		return page{}, err
	}
	n, err := c.integer(m, "current_page")
	if err != nil {
		return page{}, err
	}
	if size < 1 || size > c.opts.PageMax {
		return page{}, bad("API %s() entities_per_page must be from 1 to %d", c.method, c.opts.PageMax)
	}
	if n < 1 {
		return page{}, bad("API %s() current_page must be 1 or more", c.method)
	}
	return page{size, n}, nil
}

func (p page) cut(rows []*entity) []*entity {
	if p.number-1 > len(rows)/p.size { // before the product could overflow
		return nil
	}
	from := min((p.number-1)*p.size, len(rows))
	return rows[from:min(from+p.size, len(rows))]
}

// info is what the caller asked to know of the paging; nil for nothing.
func (p page) info(a args, total int) map[string]any {
	pages := (total + p.size - 1) / p.size
	switch {
	case a["return_paging_info_without_counts"] == true:
		return map[string]any{"has_next_page": p.number < pages}
	case a["return_paging_info"] == true:
		return map[string]any{
			"current_page": p.number, "page_count": pages, "entity_count": total, "entities_per_page": p.size,
		}
	default:
		return nil
	}
}
