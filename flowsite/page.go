package flowsite

import (
	"bytes"
	"encoding/csv"
	"fmt"
)

// exportPage answers the rows of a saved page as CSV, where the page is
// marked for it. What type of rows that is, only the page says.
func (c *ctx) exportPage(a args) (any, error) {
	if a["format"] != "csv" {
		return nil, bad("API %s() format must be 'csv'", c.method)
	}
	id, err := c.integer(a, "page_id")
	if err != nil {
		return nil, err
	}
	if a["layout_name"] != nil {
		if _, err := c.text(a, "layout_name"); err != nil {
			return nil, err
		}
	}
	p, err := c.live(link{"Page", id}, false)
	if err != nil {
		return nil, err
	}
	if p.values["api_exportable"] != true {
		return nil, none("API %s() page %d is not marked as API exportable", c.method, id)
	}
	t, err := c.typeOf(p.values["entity_type"], false)
	if err != nil {
		return nil, err
	}
	return c.csv(t, p)
}

func (c *ctx) csv(t *entityType, p *entity) (string, error) {
	cols := []*field{t.fields["id"], t.fields[t.title]}
	if f := t.fields["sg_status_list"]; f != nil {
		cols = append(cols, f)
	}
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	line := make([]string, len(cols))
	write := func(cell func(*field) string) {
		for i, f := range cols {
			line[i] = cell(f)
		}
		_ = w.Write(line) // a Buffer takes everything
	}
	write(func(f *field) string { return f.Name })
	project, scoped := p.project()
	c.rows(t, func(e *entity) {
		if of, _ := e.project(); !e.retired && (!scoped || of == project) {
			write(func(f *field) string { return asText(c.state.value(e, f)) })
		}
	})
	w.Flush()
	if err := w.Error(); err != nil {
		return "", fmt.Errorf("writing the page: %w", err)
	}
	return out.String(), nil
}
