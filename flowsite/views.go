package flowsite

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
		"image": nil, "links": links, "status": e.values["sg_status_list"],
	}
	if s, ok := e.values["image"].(string); ok {
		m["image"] = c.opts.URL + "/images/" + s
	}
	if p, ok := e.project(); ok {
		m["project_id"] = p.ID
	}
	return m
}

// Bounds of activity_stream.
const (
	streamDefault = 25
	streamMax     = 500 // flow-protocol §5.4, on REST
)

// activityStream answers the events of a row, and of a project's rows.
func (c *ctx) activityStream(a args) (any, error) {
	t, err := c.typeOf(a["type"], false)
	if err != nil {
		return nil, err
	}
	id, err := c.integer(a, "id")
	if err != nil {
		return nil, err
	}
	e, err := c.live(link{t.key, id}, false)
	if err != nil {
		return nil, err
	}
	more, err := c.extras(a)
	if err != nil {
		return nil, err
	}
	events, err := c.stream(a, e)
	if err != nil {
		return nil, err
	}
	updates := []any{}
	var first, last any
	for _, ev := range events {
		updates = append(updates, c.streamed(ev, more))
		if last == nil {
			last = ev.id
		}
		first = ev.id
	}
	return []any{map[string]any{
		"entity_type": t.key, "entity_id": id, "updates": updates, "earliest_update_id": first, "latest_update_id": last,
	}}, nil
}

// stream is the events that the arguments select, youngest first.
func (c *ctx) stream(a args, e *entity) ([]*entity, error) {
	low, err := c.integerOr(a, "min_id", 0)
	if err != nil {
		return nil, err
	}
	high, err := c.integerOr(a, "max_id", c.state.last["EventLogEntry"])
	if err != nil {
		return nil, err
	}
	limit, err := c.integerOr(a, "limit", streamDefault)
	if err != nil {
		return nil, err
	}
	if limit < 1 || limit > streamMax {
		return nil, bad("API %s() limit must be from 1 to %d", c.method, streamMax)
	}
	t := c.state.table("EventLogEntry")
	var out []*entity
	for _, id := range slices.Backward(t.ids) {
		ev := t.rows[id]
		about := ev.values["entity"] == any(e.link()) || e.typ.key == "Project" && ev.values["project"] == any(e.link())
		if id >= low && id <= high && about && len(out) < limit && !ev.retired {
			out = append(out, ev)
		}
	}
	return out, nil
}

func (c *ctx) streamed(ev *entity, more map[string][]column) map[string]any {
	kind := "update"
	switch name := asText(ev.values["event_type"]); {
	case strings.HasSuffix(name, "_New"):
		kind = "create"
	case strings.HasSuffix(name, "_Retirement"):
		kind = "delete"
	}
	m := map[string]any{
		"id": ev.id, "update_type": kind, "meta": ev.values["meta"], "read": false,
		"created_at": stamped(ev.values["created_at"]), "created_by": nil, "primary_entity": nil,
	}
	if l, ok := ev.values["user"].(link); ok {
		m["created_by"] = c.person(l)
	}
	if l, ok := ev.values["entity"].(link); ok {
		if e := c.state.get(l); e != nil {
			p := c.project(e, more[l.Type], true)
			p["name"], p["status"] = c.state.name(e), e.values["sg_status_list"]
			m["primary_entity"] = p
		}
	}
	return m
}

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
