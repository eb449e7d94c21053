package flowsite

import (
	"encoding/json"
	"slices"
	"strings"
)

// match says whether a row is wanted.
type match func(*entity) bool

// oneID is the id that a filter asks for where it asks for one row: as most
// calls of tools do, which needn't look at every row.
func oneID(v any) (int, bool) {
	m, _ := v.(map[string]any)
	if m["logical_operator"] != "and" {
		return 0, false
	}
	conditions, _ := m["conditions"].([]any)
	for _, cond := range conditions {
		leaf, _ := cond.(map[string]any)
		values, _ := leaf["values"].([]any)
		if leaf["path"] == "id" && leaf["relation"] == "is" && len(values) == 1 {
			return toInt(values[0])
		}
	}
	return 0, false
}

// filterOf compiles a filter tree (flow-protocol §2.4).
func (c *ctx) filterOf(t *entityType, v any) (match, error) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["logical_operator"]; ok {
			return c.groupOf(t, v)
		}
		if err := c.only(v, "filter", "path", "relation", "values"); err != nil {
			return nil, err
		}
		values, ok := v["values"].([]any)
		if !ok {
			return nil, bad("API %s() filter has no list of values", c.method)
		}
		return c.leafOf(t, v["path"], v["relation"], values)
	case []any:
		// The short form of other clients: [path, relation, value, …].
		if len(v) < 3 {
			return nil, bad("API %s() filter is too short", c.method)
		}
		return c.leafOf(t, v[0], v[1], v[2:])
	default:
		return nil, bad("API %s() filter is no object", c.method)
	}
}

func (c *ctx) groupOf(t *entityType, v args) (match, error) {
	if err := c.only(v, "filter", "logical_operator", "conditions"); err != nil {
		return nil, err
	}
	op, list := v["logical_operator"], v["conditions"]
	conditions, ok := list.([]any)
	if !ok || op != "and" && op != "or" {
		return nil, bad("API %s() filter: logical_operator must be 'and' or 'or', conditions a list", c.method)
	}
	parts := make([]match, len(conditions))
	for i, cond := range conditions {
		var err error
		if parts[i], err = c.filterOf(t, cond); err != nil {
			return nil, err
		}
	}
	if op == "and" {
		return func(e *entity) bool {
			return !slices.ContainsFunc(parts, func(m match) bool { return !m(e) })
		}, nil
	}
	return func(e *entity) bool {
		// No condition at all holds for every row.
		return len(parts) == 0 || slices.ContainsFunc(parts, func(m match) bool { return m(e) })
	}, nil
}

func (c *ctx) leafOf(t *entityType, where, relation any, values []any) (match, error) {
	text, okPath := where.(string)
	rel, okRel := relation.(string)
	if !okPath || !okRel {
		return nil, bad("API %s() filter: path or relation is not a text", c.method)
	}
	p, err := c.pathOf(t, text)
	if err != nil {
		return nil, err
	}
	if ignoresFilters(p.leaf) {
		return func(*entity) bool { return true }, nil
	}
	if !slices.Contains(c.kinds[p.leaf.Type], rel) {
		return nil, bad("API %s() %s.%s: the relation '%s' is not supported for the data type %s", c.method, t.key, text, rel, p.leaf.Type)
	}
	if len(values) == 1 {
		if list, ok := values[0].([]any); ok {
			values = list
		}
	}
	positive, negated := strip(rel)
	test, err := c.testOf(p.leaf, positive, values)
	if err != nil {
		return nil, err
	}
	if ignoresProjects(t, p) {
		return func(*entity) bool { return true }, nil
	}
	s := c.state
	if len(p.hops) == 0 {
		return func(e *entity) bool { return test(s.value(e, p.leaf)) != negated }, nil
	}
	return func(e *entity) bool { return slices.ContainsFunc(p.values(s, e), test) != negated }, nil
}

// ignoresFilters: the two fields on which the real site takes any filter and
// returns everything (flow-protocol §2.4).
func ignoresFilters(f *field) bool {
	return f.typ.key == "PageSetting" && f.key == "settings_json" ||
		f.typ.key == "EventLogEntry" && f.key == "audit_trail"
}

// ignoresProjects: the two types on which no filter confines rows to a project.
// Only fields of theirs are known to ignore filters on the real site; that the
// project does too is assumed, so that nothing relies on it here.
func ignoresProjects(t *entityType, p path) bool {
	first := p.leaf
	if len(p.hops) > 0 {
		first = p.hops[0].over
	}
	return first.key == "project" && (t.key == "EventLogEntry" || t.key == "PageSetting")
}

// strip takes the "not" out of a relation.
func strip(rel string) (string, bool) {
	switch {
	case strings.HasPrefix(rel, "not_"):
		return strings.TrimPrefix(rel, "not_"), true
	case strings.HasSuffix(rel, "_not"):
		return strings.TrimSuffix(rel, "_not"), true
	case rel == "name_not_contains":
		return "name_contains", true
	default:
		return rel, false
	}
}

type test func(any) bool

// testOf makes the test of one value. Whatever a relation needs of its values
// is checked here, so that a wrong one is a fault even with no row to test.
func (c *ctx) testOf(f *field, rel string, values []any) (test, error) {
	switch rel {
	case "is", "in":
		return c.isOneOf(f, rel, values)
	case "less_than", "greater_than", "between":
		return c.ordered(f, rel, values)
	case "in_last", "in_next", "in_calendar_day", "in_calendar_week", "in_calendar_month", "in_calendar_year":
		return c.spanOf(f, rel, values)
	case "type_is":
		return c.typeIs(values)
	case "name_is", "name_contains", "name_starts_with", "name_ends_with", "name_id":
		return c.named(f, rel, values)
	}
	if f.Type == "addressing" { // contains
		return c.isOneOf(f, "in", values)
	}
	want, err := c.oneText(rel, values)
	if err != nil {
		return nil, err
	}
	return func(v any) bool {
		s, ok := v.(string)
		return ok && textTest(rel, s, want)
	}, nil
}

func (c *ctx) oneText(rel string, values []any) (string, error) {
	if len(values) == 1 {
		if s, ok := values[0].(string); ok {
			return s, nil
		}
	}
	return "", bad("API %s() '%s' takes one text", c.method, rel)
}

// textTest ignores case, as the site's database does.
func textTest(rel, s, want string) bool {
	s, want = strings.ToLower(s), strings.ToLower(want)
	switch rel {
	case "contains", "name_contains":
		return strings.Contains(s, want)
	case "starts_with", "name_starts_with":
		return strings.HasPrefix(s, want)
	case "ends_with", "name_ends_with":
		return strings.HasSuffix(s, want)
	default: // name_is
		return s == want
	}
}

func (c *ctx) isOneOf(f *field, rel string, values []any) (test, error) {
	if rel == "is" && len(values) == 0 {
		return nil, bad("API %s() 'is' takes a value", c.method)
	}
	if f.Type == "image" && (len(values) != 1 || values[0] != nil) {
		return nil, bad("API %s() %s.%s: an image can only be compared with null", c.method, f.typ.key, f.key)
	}
	want := make([]any, len(values))
	for i, v := range values {
		w, err := c.comparable(f, v)
		if err != nil {
			return nil, err
		}
		want[i] = w
	}
	return func(v any) bool {
		return slices.ContainsFunc(want, func(w any) bool { return same(v, w) })
	}, nil
}

// comparable checks a value to compare with a field.
func (c *ctx) comparable(f *field, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	if f.isLink() || f.isMulti() {
		l, ok := toLink(v)
		if !ok || c.state.schema.types[l.Type] == nil {
			return nil, bad("API %s() %s.%s: %s is not an entity", c.method, f.typ.key, f.key, asText(v))
		}
		return l, nil
	}
	if f.Type == "tag_list" {
		if s, ok := v.(string); ok {
			return s, nil
		}
	}
	return v, c.checkScalar(f, v)
}

// same compares a stored value with a wanted one. A list holds what it holds.
func same(v, want any) bool {
	switch v := v.(type) {
	case []link:
		if want == nil {
			return len(v) == 0
		}
		l, ok := want.(link)
		return ok && slices.Contains(v, l)
	case []any:
		if want == nil {
			return len(v) == 0
		}
		return slices.Contains(v, want)
	case json.Number:
		w, ok := want.(json.Number)
		return ok && compareNumbers(v, w) == 0
	case string:
		w, ok := want.(string)
		return ok && strings.EqualFold(v, w)
	default:
		return v == want
	}
}

func (c *ctx) ordered(f *field, rel string, values []any) (test, error) {
	n := 1
	if rel == "between" {
		n = 2
	}
	if len(values) != n {
		return nil, bad("API %s() '%s' takes %d values", c.method, rel, n)
	}
	for _, v := range values {
		if v == nil {
			return nil, bad("API %s() '%s' takes no null", c.method, rel)
		}
		if err := c.checkScalar(f, v); err != nil {
			return nil, err
		}
	}
	return func(v any) bool {
		if v == nil {
			return false
		}
		switch rel {
		case "less_than":
			return compare(v, values[0]) < 0
		case "greater_than":
			return compare(v, values[0]) > 0
		default:
			return compare(v, values[0]) >= 0 && compare(v, values[1]) <= 0
		}
	}, nil
}

// compare orders two values of one data type; nothing comes first. Dates have
// one form each, so they order as text.
func compare(a, b any) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	if x, ok := a.(json.Number); ok {
		if y, ok := b.(json.Number); ok {
			return compareNumbers(x, y)
		}
	}
	return strings.Compare(asText(a), asText(b))
}

func (c *ctx) typeIs(values []any) (test, error) {
	for _, v := range values {
		name, ok := v.(string)
		if v != nil && (!ok || c.state.schema.types[name] == nil) {
			return nil, bad("API %s() 'type_is': no type %s", c.method, asText(v))
		}
	}
	if len(values) == 0 {
		return nil, bad("API %s() 'type_is' takes a type", c.method)
	}
	return func(v any) bool {
		switch v := v.(type) {
		case link:
			return slices.Contains(values, any(v.Type))
		case []link:
			return slices.ContainsFunc(v, func(l link) bool { return slices.Contains(values, any(l.Type)) })
		default:
			return slices.Contains(values, nil)
		}
	}, nil
}

// named tests the names of linked rows, and tags.
func (c *ctx) named(f *field, rel string, values []any) (test, error) {
	if rel == "name_id" { // works as 'is' (vendor's list of operators)
		return c.isOneOf(f, "is", values)
	}
	want, err := c.oneText(rel, values)
	if err != nil {
		return nil, err
	}
	s := c.state
	one := func(l link) bool {
		e := s.get(l)
		return e != nil && textTest(rel, asText(s.name(e)), want)
	}
	return func(v any) bool {
		switch v := v.(type) {
		case link:
			return one(v)
		case []link:
			return slices.ContainsFunc(v, one)
		case []any:
			return slices.ContainsFunc(v, func(x any) bool { return textTest(rel, asText(x), want) })
		default:
			return false
		}
	}, nil
}
