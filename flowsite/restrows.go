package flowsite

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Bounds of a page on REST (flow-protocol §5.4).
const (
	restPage    = 500
	restPageMax = 5000
)

// rowPath is the address of a row.
func (q *rest) rowPath(e *entity) string {
	return q.prefix + "/entity/" + e.typ.slug() + "/" + strconv.Itoa(e.id)
}

// restRow is a row as REST shows it: links between rows apart from the other
// values.
func (c *ctx) restRow(q *rest, e *entity, cols []column) map[string]any {
	attributes, relationships := map[string]any{}, map[string]any{}
	for _, col := range cols {
		f := col.path.leaf
		v := c.showValue(f, col.path.first(c.state, e), true)
		switch {
		case f.key == "id" && len(col.path.hops) == 0, f.key == "type" && len(col.path.hops) == 0:
		case f.isLink() || f.isMulti():
			relationships[col.name] = c.relationship(q, e, col, v)
		default:
			attributes[col.name] = v
		}
	}
	return map[string]any{
		"type": e.typ.key, "id": e.id, "attributes": attributes, "relationships": relationships,
		"links": map[string]any{"self": q.rowPath(e)},
	}
}

func (c *ctx) relationship(q *rest, e *entity, col column, v any) map[string]any {
	links := map[string]any{"self": q.rowPath(e) + "/relationships/" + col.name}
	if m, ok := v.(map[string]any); ok {
		if to := c.state.get(link{asText(m["type"]), asID(m["id"])}); to != nil {
			links["related"] = q.rowPath(to)
		}
	}
	return map[string]any{"data": v, "links": links}
}

func asID(v any) int {
	id, _ := toInt(v)
	return id
}

// restColumns are the fields of a list of names. What doesn't exist or isn't
// for the caller is left out, as measured (§5.4); "*" is every field.
func (c *ctx) restColumns(t *entityType, names []string) []column {
	var cols []column
	seen := map[string]bool{}
	add := func(name string) {
		p, err := c.pathOf(t, name)
		if err == nil && !seen[name] {
			seen[name] = true
			cols = append(cols, column{name, p})
		}
	}
	for _, name := range names {
		if name != "*" {
			add(name)
			continue
		}
		for _, key := range sortedKeys(t.fields) {
			add(key)
		}
	}
	return cols
}

// whole is every field that the caller may read.
func (c *ctx) whole(t *entityType) []column { return c.restColumns(t, words("*")) }

// listed splits a comma list; "" is none.
func listed(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// selection is what a list or a search asks for, wherever it stood.
type selection struct {
	args   args // as api3's read takes it
	fields []string
	page   page
}

// fromQuery reads fields, sort, page and options of the query into the
// selection; taken says which of them the body had.
func (c *ctx) fromQuery(t *entityType, q *rest, sel *selection) error {
	var err error
	for _, name := range q.query.names {
		v := q.query.get(name)
		switch name {
		case "fields":
			sel.fields = listed(v)
		case "sort":
			sel.args["sorts"] = c.restSorts(t, listed(v))
		case "page[size]":
			sel.page.size, err = pageNumber(v, "size")
		case "page[number]":
			sel.page.number, err = pageNumber(v, "number")
		case "options[return_only]":
			sel.args["return_only"] = v
		case "options[include_archived_projects]":
			sel.args["include_archived_projects"] = v == "true" || v == "1"
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func pageNumber(v, name string) (int, error) {
	n, err := strconv.Atoi(v)
	most := restPageMax
	if name == "number" {
		most = 1 << 30 // more pages than rows can be
	}
	if err != nil || n < 1 || n > most {
		return 0, restBad(http.StatusBadRequest, "Request Parameters invalid.", map[string]any{
			"page": map[string]any{name: []string{name + " must be from 1 to " + strconv.Itoa(most)}},
		})
	}
	return n, nil
}

// restSorts turns "-code" into what api3 takes. What can't be sorted by is
// left out: a sort by an unknown name changes nothing.
func (c *ctx) restSorts(t *entityType, names []string) []any {
	var out []any
	for _, name := range names {
		direction := "asc"
		if plain, ok := strings.CutPrefix(name, "-"); ok {
			name, direction = plain, "desc"
		}
		if _, err := c.pathOf(t, strings.TrimPrefix(name, "+")); err == nil {
			out = append(out, map[string]any{"field_name": strings.TrimPrefix(name, "+"), "direction": direction})
		}
	}
	return out
}

// fromBody reads the same of a search's body. A name that the query has too
// is ambiguous: which one counts, nobody knows.
func (c *ctx) fromBody(t *entityType, m map[string]any, sel *selection) error {
	for _, name := range words("fields", "sort") {
		if m[name] == nil {
			continue
		}
		list, err := textList(name, m[name])
		if err != nil {
			return err
		}
		if name == "fields" {
			sel.fields = list
		} else {
			sel.args["sorts"] = c.restSorts(t, list)
		}
	}
	for name, to := range map[string]*int{"size": &sel.page.size, "number": &sel.page.number} {
		pg, ok := m["page"].(map[string]any)
		if m["page"] != nil && !ok {
			return restInvalid("page", "must be a hash")
		}
		if v, given := pg[name]; given {
			var err error
			if *to, err = pageNumber(asText(v), name); err != nil {
				return err
			}
		}
	}
	return c.optionsOf(m, sel)
}

func (c *ctx) optionsOf(m map[string]any, sel *selection) error {
	if m["additional_filter_presets"] != nil {
		sel.args["additional_filter_presets"] = m["additional_filter_presets"]
	}
	if m["options"] == nil {
		return nil
	}
	options, ok := m["options"].(map[string]any)
	if !ok {
		return restInvalid("options", "must be a hash")
	}
	for _, name := range words("return_only", "include_archived_projects") {
		if v, given := options[name]; given {
			sel.args[name] = v
		}
	}
	return nil
}

// textList reads a list of names, or one text with commas.
func textList(name string, v any) ([]string, error) {
	switch v := v.(type) {
	case string:
		return listed(v), nil
	case []any:
		out := make([]string, 0, len(v))
		for _, x := range v {
			s, ok := x.(string)
			if !ok {
				return nil, restInvalid(name, "must be a list of texts")
			}
			out = append(out, s)
		}
		return out, nil
	default:
		return nil, restInvalid(name, "must be a text or a list")
	}
}

// twice finds what a search has in its body and in its query.
func (q *rest) twice() []string {
	m, _ := q.body.(map[string]any)
	var found []string
	for _, name := range q.query.names {
		plain, _, _ := strings.Cut(name, "[")
		if _, ok := m[plain]; ok {
			found = append(found, q.route.word+": "+plain+" is in the query and in the body")
		}
	}
	return found
}

// rowsAnswer shows a page of rows.
func (c *ctx) rowsAnswer(t *entityType, q *rest, sel selection) (restAnswer, error) {
	rows, err := c.selected(t, sel.args)
	if err != nil {
		return restAnswer{}, err
	}
	cols := c.restColumns(t, sel.fields)
	data := []any{}
	for _, e := range sel.page.cut(rows) {
		data = append(data, c.restRow(q, e, cols))
	}
	return restOK(map[string]any{"data": data, "links": q.pageLinks(sel.page)}), nil
}

// pageLinks: there is always a next page, also after the last one (§5.9).
func (q *rest) pageLinks(p page) map[string]any {
	self := q.prefix + q.path
	at := func(n int) string {
		v := url.Values{}
		for _, name := range q.query.names {
			v.Set(name, q.query.get(name))
		}
		v.Set("page[number]", strconv.Itoa(n))
		v.Set("page[size]", strconv.Itoa(p.size))
		return self + "?" + v.Encode()
	}
	links := map[string]any{"self": self, "next": at(p.number + 1)}
	if len(q.query.names) > 0 {
		links["self"] = at(p.number)
	}
	if p.number > 1 {
		links["prev"] = at(p.number - 1)
	}
	return links
}

// restList answers GET /entity/<type>.
func (c *ctx) restList(q *rest) (restAnswer, error) {
	t, err := c.restTypeOf(q.at["type"], false)
	if err != nil {
		return restAnswer{}, err
	}
	sel := selection{args: args{}, page: page{restPage, 1}}
	if err := c.fromQuery(t, q, &sel); err != nil {
		return restAnswer{}, err
	}
	conditions := []any{}
	for _, name := range q.query.names {
		path, ok := bracketed(name, "filter")
		if !ok {
			continue
		}
		cond, err := c.queryFilter(t, path, q.query.get(name))
		if err != nil {
			return restAnswer{}, err
		}
		conditions = append(conditions, cond)
	}
	sel.args["filters"] = map[string]any{"logical_operator": "and", "conditions": conditions}
	return c.rowsAnswer(t, q, sel)
}

// queryFilter is filter[path]=value: is, or in where the value has commas.
func (c *ctx) queryFilter(t *entityType, at, value string) (any, error) {
	p, err := c.pathOf(t, at)
	if err != nil {
		return nil, err
	}
	relation := "is"
	list := strings.Split(value, ",")
	if len(list) > 1 {
		relation = "in"
	}
	if p.leaf.isLink() || p.leaf.isMulti() {
		if len(list) > 1 {
			return nil, bad("API %s() %s.%s: a link can be filtered by one name only", c.method, t.key, at)
		}
		return map[string]any{"path": at, "relation": "name_is", "values": []any{value}}, nil
	}
	values := make([]any, len(list))
	for i, v := range list {
		values[i] = fromText(p.leaf, v)
	}
	return map[string]any{"path": at, "relation": relation, "values": values}, nil
}

// fromText reads a value of the query as the field's data type has it. What
// can't be read stays a text, which the filter then refuses.
func fromText(f *field, s string) any {
	switch f.Type {
	case "number", "duration", "timecode", "percent", "float", "currency":
		if _, err := strconv.ParseFloat(s, 64); err == nil && !strings.ContainsAny(s, "xXpPnN_iI") {
			return json.Number(s)
		}
	case "checkbox":
		switch s {
		case "true":
			return true
		case "false":
			return false
		}
	}
	return s
}

// restSearch answers POST /entity/<type>/_search.
func (c *ctx) restSearch(q *rest) (restAnswer, error) {
	t, err := c.restTypeOf(q.at["type"], false)
	if err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	sel := selection{args: args{}, page: page{restPage, 1}}
	if err := c.fromQuery(t, q, &sel); err != nil {
		return restAnswer{}, err
	}
	if err := c.fromBody(t, m, &sel); err != nil {
		return restAnswer{}, err
	}
	if sel.args["filters"], err = q.filters(m["filters"]); err != nil {
		return restAnswer{}, err
	}
	return c.rowsAnswer(t, q, sel)
}

// filters checks the form of a search's filters, which its content type names,
// and makes it what api3 takes.
func (q *rest) filters(v any) (any, error) {
	if v == nil {
		v = []any{}
		if q.hash {
			v = map[string]any{"logical_operator": "and", "conditions": []any{}}
		}
	}
	if q.hash {
		return v, checkGroup(v)
	}
	list, ok := v.([]any)
	if !ok {
		return nil, restInvalid("filters", "must be an array")
	}
	for _, cond := range list {
		if _, ok := cond.([]any); !ok {
			return nil, restInvalid("filters", "must be an array of arrays")
		}
	}
	return map[string]any{"logical_operator": "and", "conditions": list}, nil
}

// checkGroup: groups of triples and groups. The objects of api3 aren't taken
// here.
func checkGroup(v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return restInvalid("filters", "must be a hash")
	}
	if m["logical_operator"] == nil {
		return restBad(http.StatusBadRequest, "Missing logical operator", nil)
	}
	list, ok := m["conditions"].([]any)
	if !ok {
		return restBad(http.StatusBadRequest, "Missing conditions", nil)
	}
	for _, cond := range list {
		if _, ok := cond.([]any); ok {
			continue
		}
		if err := checkGroup(cond); err != nil {
			return err
		}
	}
	return nil
}

// restRead answers GET /entity/<type>/<id>: the whole row where no fields are
// named.
func (c *ctx) restRead(q *rest) (restAnswer, error) {
	e, err := c.restEntity(q)
	if err != nil {
		return restAnswer{}, err
	}
	cols := c.whole(e.typ)
	if q.query.has("fields") {
		cols = c.restColumns(e.typ, listed(q.query.get("fields")))
	}
	return restOK(map[string]any{"data": c.restRow(q, e, cols), "links": map[string]any{"self": q.rowPath(e)}}), nil
}

// restEntity is the row that the path names, live or (for options) retired.
func (c *ctx) restEntity(q *rest) (*entity, error) {
	t, err := c.restTypeOf(q.at["type"], false)
	if err != nil {
		return nil, err
	}
	var sel selection
	sel.args = args{}
	if err := c.fromQuery(t, q, &sel); err != nil {
		return nil, err
	}
	retired, err := c.returnOnly(sel.args)
	if err != nil {
		return nil, err
	}
	e := c.state.get(link{t.key, q.id()})
	if e == nil || e.retired != retired || !c.sees(e) {
		return nil, restNotFound(codeNone, t.key+": "+q.at["id"]+" not found")
	}
	return e, nil
}

func (q *rest) id() int {
	n, _ := strconv.Atoi(q.at["id"]) // the route takes nothing else
	return n
}

// restRelationships answers the links of one field, all of them.
func (c *ctx) restRelationships(q *rest) (restAnswer, error) {
	e, err := c.restEntity(q)
	if err != nil {
		return restAnswer{}, err
	}
	f, err := c.restField(e.typ, q.at["field"])
	if err != nil {
		return restAnswer{}, err
	}
	if !f.isLink() && !f.isMulti() {
		return restAnswer{}, restBad(http.StatusBadRequest, "Field '"+f.key+"' is not a relationship field", map[string]any{
			"related_field": []string{" is not an Entity or Multi Entity field."},
		})
	}
	return q.data(c.state.show(f, c.state.value(e, f)), q.rowPath(e)+"/relationships/"+f.key), nil
}

func (c *ctx) restField(t *entityType, key string) (*field, error) {
	f := t.fields[key]
	if f == nil {
		return nil, restNotFound(codeBad, "Field '"+t.key+"."+key+"' does not exist.")
	}
	return f, c.mayField(f, false)
}

// restSummarize answers POST /entity/<type>/_summarize.
func (c *ctx) restSummarize(q *rest) (restAnswer, error) {
	t, err := c.restTypeOf(q.at["type"], false)
	if err != nil {
		return restAnswer{}, err
	}
	m, _ := q.body.(map[string]any)
	sel := selection{args: args{"type": t.key, "summaries": []any{}}}
	if sel.args["filters"], err = q.filters(m["filters"]); err != nil {
		return restAnswer{}, err
	}
	if err := c.optionsOf(m, &sel); err != nil {
		return restAnswer{}, err
	}
	for from, to := range map[string]string{"summary_fields": "summaries", "grouping": "grouping"} {
		if m[from] != nil {
			sel.args[to] = m[from]
		}
	}
	out, err := c.summarize(sel.args)
	if err != nil {
		return restAnswer{}, err
	}
	return restOK(map[string]any{"data": out}), nil
}

// restTextSearch answers POST /entity/_text_search. Rust sends the types under
// a second name, entity_filters, too; only the documented one counts.
func (c *ctx) restTextSearch(q *rest) (restAnswer, error) {
	m, _ := q.body.(map[string]any)
	for _, name := range words("text", "entity_types") {
		if m[name] == nil {
			return restAnswer{}, restInvalid(name, "is missing")
		}
	}
	types, ok := m["entity_types"].(map[string]any)
	if !ok {
		return restAnswer{}, restInvalid("entity_types", "must be a hash")
	}
	wanted := map[string]any{}
	for key, v := range types {
		f, err := q.filters(v)
		if err != nil {
			return restAnswer{}, err
		}
		wanted[key] = f
	}
	sel := selection{page: page{restPage, 1}, args: args{}}
	if err := c.textPage(q, m, &sel); err != nil {
		return restAnswer{}, err
	}
	out, err := c.textSearch(args{
		"text": m["text"], "entity_types": wanted, "project_ids": []any{}, "max_results": sel.page.size,
	})
	if err != nil {
		return restAnswer{}, err
	}
	return restOK(map[string]any{"data": c.foundRows(q, out)}), nil
}

func (c *ctx) textPage(q *rest, m map[string]any, sel *selection) error {
	if err := c.fromQuery(c.state.schema.types["Project"], q, sel); err != nil {
		return err
	}
	return c.fromBody(nil, map[string]any{"page": m["page"]}, sel)
}

// foundRows turns the matches of api3 into rows.
func (c *ctx) foundRows(q *rest, v any) []any {
	out := []any{}
	list, _ := v.([]any)
	for _, part := range list {
		m, _ := part.(map[string]any)
		matches, _ := m["matches"].([]any)
		for _, x := range matches {
			row, _ := x.(map[string]any)
			e := c.state.get(link{asText(row["type"]), asID(row["id"])})
			out = append(out, map[string]any{
				"id": row["id"], "type": row["type"], "links": map[string]any{"self": q.rowPath(e)},
				"attributes": map[string]any{
					"name": row["name"], "links": row["links"], "status": row["status"], "image": row["image"], "project_id": row["project_id"],
				},
			})
		}
	}
	return out
}
