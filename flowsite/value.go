package flowsite

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Ranges of numbers (the vendor's list of data types).
const (
	maxInt      = 1<<31 - 1
	maxFloat    = 999_999_999.999999
	maxCurrency = 9_999_999_999_999.99
)

// checkScalar refuses a value that the field's data type doesn't have.
func (c *ctx) checkScalar(f *field, v any) error {
	if v == nil || fits(f, v) {
		return nil
	}
	return bad("API %s() %s.%s expected %s data type %s but got %s", c.method, f.typ.key, f.key, article(f.Type), f.Type, asText(v))
}

func article(word string) string {
	if slices.Contains([]string{"a", "e", "i", "o", "u"}, word[:1]) {
		return "an"
	}
	return "a"
}

func fits(f *field, v any) bool {
	switch f.Type {
	case "text", "color", "entity_type", "footage", "password", "list", "status_list", "image":
		s, ok := v.(string)
		return ok && (f.ValidValues == nil || slices.Contains(f.ValidValues, s))
	case "number", "duration", "timecode", "percent":
		n, ok := v.(json.Number)
		return ok && isWhole(n) && inRange(n, maxInt)
	case "float":
		n, ok := v.(json.Number)
		return ok && inRange(n, maxFloat)
	case "currency":
		n, ok := v.(json.Number)
		return ok && inRange(n, maxCurrency)
	case "checkbox":
		_, ok := v.(bool)
		return ok
	case "date":
		return isDate(v, dateOnly)
	case "date_time":
		return isDate(v, dateTime)
	case "serializable":
		_, isMap := v.(map[string]any)
		_, isList := v.([]any)
		return isMap || isList
	case "tag_list":
		return isTexts(v)
	case "url":
		return isURL(v)
	default: // calculated, summary: never written
		return false
	}
}

func inRange(n json.Number, limit float64) bool {
	x, err := strconv.ParseFloat(string(n), 64)
	return err == nil && x >= -limit-1 && x <= limit
}

func isDate(v any, form string) bool {
	s, ok := v.(string)
	if !ok {
		return false
	}
	t, err := time.Parse(form, s)
	return err == nil && t.Year() >= 1970 && t.Format(form) == s
}

func isTexts(v any) bool {
	list, ok := v.([]any)
	return ok && !slices.ContainsFunc(list, func(x any) bool {
		_, isText := x.(string)
		return !isText
	})
}

// isURL: a file or web link is an object with a name and a url, or a path on
// a local storage.
func isURL(v any) bool {
	m, ok := v.(map[string]any)
	if !ok {
		return false
	}
	_, web := m["url"].(string)
	_, local := m["local_path"].(string)
	return web || local
}

// stored checks a value that is to be written and turns entity hashes into
// links.
func (c *ctx) stored(f *field, v any) (any, error) {
	switch {
	case f.isLink():
		if v == nil {
			return nil, nil
		}
		return c.target(f, v)
	case f.isMulti():
		return c.targets(f, v)
	default:
		if m, ok := v.(map[string]any); ok && f.Type == "url" {
			if own := c.ownFile(m); own != nil {
				return own, nil
			}
		}
		return v, c.checkScalar(f, v)
	}
}

func (c *ctx) targets(f *field, v any) ([]link, error) {
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, bad("API %s() %s.%s expected a list of entities but got %s", c.method, f.typ.key, f.key, asText(v))
	}
	out := make([]link, 0, len(list))
	for _, x := range list {
		l, err := c.target(f, x)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out, nil
}

func (c *ctx) target(f *field, v any) (link, error) {
	l, ok := toLink(v)
	if !ok {
		return link{}, bad("API %s() %s.%s expected an entity but got %s", c.method, f.typ.key, f.key, asText(v))
	}
	if c.state.schema.types[l.Type] == nil || !f.links(l.Type) {
		return link{}, bad("API %s() %s.%s can't link %s", c.method, f.typ.key, f.key, l.Type)
	}
	e := c.state.get(l)
	if e == nil || e.retired || !c.sees(e) {
		return link{}, none("API %s() %s.%s: %s with id=%d does not exist", c.method, f.typ.key, f.key, l.Type, l.ID)
	}
	return l, nil
}

// systemName is the internal name of a field made from its display name.
func systemName(display string) string {
	s := notWord().ReplaceAllString(display, "_")
	return "sg_" + lower(s)
}

func notWord() *regexp.Regexp { return regexp.MustCompile(`[^A-Za-z0-9]+`) }
