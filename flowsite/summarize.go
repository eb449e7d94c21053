package flowsite

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// summary is one calculation over rows.
type summary struct {
	name string // in the answer: the field's
	path path
	kind string
}

// grouping is one level of groups.
type grouping struct {
	path path
	kind string
	sign int
}

// summarize answers counts and sums (flow-protocol §2.1).
func (c *ctx) summarize(a args) (any, error) {
	t, err := c.typeOf(a["type"], false)
	if err != nil {
		return nil, err
	}
	sums, err := c.summaries(t, a)
	if err != nil {
		return nil, err
	}
	groups, err := c.groupings(t, a)
	if err != nil {
		return nil, err
	}
	rows, err := c.selected(t, a)
	if err != nil {
		return nil, err
	}
	return map[string]any{"summaries": c.calculate(sums, rows), "groups": c.grouped(groups, sums, rows)}, nil
}

func (c *ctx) summaries(t *entityType, a args) ([]summary, error) {
	list, err := c.objects(a, "summaries")
	if err != nil {
		return nil, err
	}
	var out []summary
	for _, m := range list {
		if err := c.only(m, "summary", "field", "type", "value"); err != nil {
			return nil, err
		}
		name, err := c.text(m, "field")
		if err != nil {
			return nil, err
		}
		p, err := c.pathOf(t, name)
		if err != nil {
			return nil, err
		}
		kind, _ := m["type"].(string)
		if !slices.Contains(summaryKinds(p.leaf), kind) {
			return nil, bad("API %s() %s.%s: the summary '%s' is not supported for the data type %s", c.method, t.key, name, kind, p.leaf.Type)
		}
		out = append(out, summary{name, p, kind})
	}
	return out, nil
}

func summaryKinds(f *field) []string {
	kinds := []string{"record_count", "count"}
	switch f.Type {
	case "number", "float", "currency", "percent", "duration", "timecode":
		kinds = append(kinds, "sum", "maximum", "minimum", "average")
	case "date", "date_time":
		kinds = append(kinds, "earliest", "latest")
	case "checkbox":
		kinds = append(kinds, "checked", "unchecked", "percentage")
	case "status_list":
		kinds = append(kinds, "percentage", "status_percentage", "status_list")
	case "list", "text":
		kinds = append(kinds, "percentage")
	}
	return kinds
}

func (c *ctx) groupings(t *entityType, a args) ([]grouping, error) {
	if a["grouping"] == nil {
		return nil, nil
	}
	list, err := c.objects(a, "grouping")
	if err != nil {
		return nil, err
	}
	var out []grouping
	for _, m := range list {
		if err := c.only(m, "grouping", "field", "type", "direction"); err != nil {
			return nil, err
		}
		name, err := c.text(m, "field")
		if err != nil {
			return nil, err
		}
		g := grouping{}
		if g.path, err = c.pathOf(t, name); err != nil {
			return nil, err
		}
		if g.sign, err = c.direction(m); err != nil {
			return nil, err
		}
		if g.kind, err = c.text(m, "type"); err != nil {
			return nil, err
		}
		if _, _, ok := c.groupKey(g, nil); !ok {
			return nil, bad("API %s() unknown grouping type '%s'", c.method, g.kind)
		}
		out = append(out, g)
	}
	return out, nil
}

func (c *ctx) calculate(sums []summary, rows []*entity) map[string]any {
	out := map[string]any{}
	for _, s := range sums {
		var values []any
		for _, e := range rows {
			if v := s.path.first(c.state, e); v != nil {
				values = append(values, v)
			}
		}
		out[s.name] = s.of(values, len(rows))
	}
	return out
}

// of calculates over the values that aren't null; n is the number of rows.
func (s summary) of(values []any, n int) any {
	switch s.kind {
	case "record_count":
		return n
	case "count":
		return len(values)
	case "sum":
		return total(values)
	case "average":
		if len(values) == 0 {
			return nil
		}
		sum, _ := strconv.ParseFloat(string(total(values)), 64)
		return decimal(sum / float64(len(values)))
	case "maximum", "latest":
		return extreme(values, 1)
	case "minimum", "earliest":
		return extreme(values, -1)
	case "checked":
		return count(values, true)
	case "unchecked":
		return n - count(values, true)
	default:
		return s.share(values, n)
	}
}

// share: percentage of rows that have a value (of a checkbox: that are on),
// status_percentage of each status, status_list the one status of all.
func (s summary) share(values []any, n int) any {
	switch {
	case s.kind == "status_list":
		if len(values) == n && n > 0 && count(values, values[0]) == n {
			return values[0]
		}
		return "ip" // mixed: in progress
	case s.kind == "status_percentage":
		out := map[string]any{}
		for _, v := range values {
			out[asText(v)] = percentage(count(values, v), n)
		}
		return out
	case s.path.leaf.Type == "checkbox":
		return percentage(count(values, true), n)
	default:
		return percentage(len(values), n)
	}
}

func percentage(part, n int) json.Number {
	if n == 0 {
		return "0"
	}
	return decimal(100 * float64(part) / float64(n))
}

func count(values []any, want any) int {
	n := 0
	for _, v := range values {
		if v == want {
			n++
		}
	}
	return n
}

func total(values []any) json.Number {
	whole, sum := true, 0.0
	for _, v := range values {
		n, _ := v.(json.Number)
		whole = whole && isWhole(n)
		f, _ := strconv.ParseFloat(string(n), 64)
		sum += f
	}
	if whole {
		return json.Number(strconv.FormatFloat(sum, 'f', 0, 64))
	}
	return decimal(sum)
}

func decimal(f float64) json.Number {
	return json.Number(strconv.FormatFloat(f, 'f', -1, 64))
}

func extreme(values []any, sign int) any {
	var best any
	for _, v := range values {
		if best == nil || compare(v, best)*sign > 0 {
			best = v
		}
	}
	return best
}

// bucket is the rows of one group.
type bucket struct {
	value any
	name  string
	rows  []*entity
}

func (c *ctx) grouped(levels []grouping, sums []summary, rows []*entity) []any {
	out := []any{}
	if len(levels) == 0 {
		return out
	}
	for _, b := range c.buckets(levels[0], rows) {
		m := map[string]any{
			"group_name": b.name, "group_value": b.value, "summaries": c.calculate(sums, b.rows),
		}
		if len(levels) > 1 {
			m["groups"] = c.grouped(levels[1:], sums, b.rows)
		}
		out = append(out, m)
	}
	return out
}

func (c *ctx) buckets(g grouping, rows []*entity) []*bucket {
	byKey := map[string]*bucket{}
	var order []*bucket
	for _, e := range rows {
		value, name, _ := c.groupKey(g, g.path.first(c.state, e))
		key := string(appendJSON(nil, value))
		b := byKey[key]
		if b == nil {
			b = &bucket{value: value, name: name}
			byKey[key], order = b, append(order, b)
		}
		b.rows = append(b.rows, e)
	}
	slices.SortStableFunc(order, func(x, y *bucket) int {
		a, b := x.value, y.value
		if _, isNumber := a.(json.Number); !isNumber {
			a, b = x.name, y.name
		}
		return compare(a, b) * g.sign
	})
	return order
}

// groupKey is the group of a value, and false for an unknown kind of group.
func (c *ctx) groupKey(g grouping, v any) (value any, name string, ok bool) {
	sizes := map[string]int{
		"tens": 10, "hundreds": 100, "thousands": 1000, "tensofthousands": 10_000,
		"hundredsofthousands": 100_000, "millions": 1_000_000,
	}
	if size, isSize := sizes[g.kind]; isSize {
		return groupNumber(v, size)
	}
	switch g.kind {
	case "exact":
		return c.groupExact(g.path.leaf, v)
	case "entitytype":
		l, _ := v.(link)
		return l.Type, l.Type, true
	case "firstletter":
		letters := []rune(strings.ToUpper(asText(v)))
		letter := string(letters[:min(1, len(letters))])
		return letter, letter, true
	case "day", "oneday", "week", "month", "quarter", "year", "clustered_date", "fivedays":
		name := groupDate(g.kind, asText(v))
		return name, name, true
	}
	return nil, "", false
}

func (c *ctx) groupExact(f *field, v any) (any, string, bool) {
	if l, ok := v.(link); ok {
		m := c.state.ref(l)
		m["valid"] = "valid"
		return m, asText(m["name"]), true
	}
	shown := c.state.show(f, v)
	return shown, asText(shown), true
}

func groupNumber(v any, size int) (any, string, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return nil, "", true
	}
	f, _ := strconv.ParseFloat(string(n), 64)
	low := int(math.Floor(f/float64(size))) * size
	return number(low), strconv.Itoa(low) + "-" + strconv.Itoa(low+size-1), true
}

func groupDate(kind, s string) string {
	if len(s) < len(dateOnly) {
		return ""
	}
	d, err := time.Parse(dateOnly, s[:len(dateOnly)])
	if err != nil {
		return ""
	}
	switch kind {
	case "week":
		return d.AddDate(0, 0, -(int(d.Weekday())+6)%7).Format(dateOnly)
	case "month", "clustered_date":
		return d.Format("2006-01")
	case "quarter":
		return d.Format("2006") + "-Q" + strconv.Itoa((int(d.Month())+2)/3)
	case "year":
		return d.Format("2006")
	case "fivedays":
		return d.AddDate(0, 0, -(d.YearDay()-1)%5).Format(dateOnly)
	default:
		return d.Format(dateOnly)
	}
}
