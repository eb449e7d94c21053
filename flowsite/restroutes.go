package flowsite

import (
	"net/http"
	"strconv"
	"strings"
)

// restRoute is one operation of flow-protocol §5.4.
type restRoute struct {
	verb string
	// path below the prefix; <type>, <id>, <field>, <uuid> and <page> match a
	// segment of that form.
	path string
	// word is the method that the record and a role know it by: that of the
	// api3 call that does the same, where there is one.
	word string
	// query names it takes; "x[]" is any x[…].
	query []string
	body  restBody
	// names of the body; nil: any. list: the body may be an array.
	names []string
	list  bool
	// open needs no token.
	open bool
	run  func(*ctx, *rest) (restAnswer, error)
}

// findRoute finds the route of a verb and a path, and what its patterns match.
// A type is any word here: whether there is one, the route says.
func (s *Site) findRoute(verb string, segs []string) (*restRoute, map[string]string) {
	for i := range s.routes {
		r := &s.routes[i]
		if r.verb != verb {
			continue
		}
		if at, ok := r.match(segs); ok {
			return r, at
		}
	}
	return nil, map[string]string{}
}

func (r *restRoute) match(segs []string) (map[string]string, bool) {
	var want []string
	if r.path != "" {
		want = strings.Split(r.path, "/")
	}
	if len(want) != len(segs) {
		return nil, false
	}
	at := map[string]string{}
	for i, w := range want {
		name, isPattern := strings.CutPrefix(w, "<")
		switch {
		case !isPattern && w != segs[i], isPattern && !fitsPattern(name, segs[i]):
			return nil, false
		case isPattern:
			at[strings.TrimSuffix(name, ">")] = segs[i]
		}
	}
	return at, true
}

func fitsPattern(name, seg string) bool {
	switch name {
	case "id>":
		n, err := strconv.Atoi(seg)
		return err == nil && n >= 0 && strconv.Itoa(n) == seg
	case "uuid>", "page>", "layout>":
		return seg != ""
	default: // type and field
		return seg != "" && !strings.HasPrefix(seg, "_")
	}
}

func restRoutes() []restRoute {
	routes := entityRoutes()
	routes = append(routes, socialRoutes()...)
	routes = append(routes, schemaRoutes()...)
	routes = append(routes, siteRoutes()...)
	routes = append(routes, webhookRoutes()...)
	// Last: a field of the path is any word.
	return append(routes, uploadRoutes()...)
}

const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete
)

func entityRoutes() []restRoute {
	options := words("options[]")
	paged := append(words("fields", "sort", "page[]"), options...)
	search := words("filters", "fields", "sort", "page", "options", "additional_filter_presets")
	return []restRoute{
		{verb: get, path: "entity/<type>", word: "read", query: append(words("filter[]"), paged...), run: (*ctx).restList},
		{verb: post, path: "entity/<type>", word: "create", query: append(words("fields"), options...), body: jsonBody, run: (*ctx).restCreate},
		{verb: post, path: "entity/_batch", word: "batch", body: jsonBody, names: words("requests"), run: (*ctx).restBatch},
		{verb: post, path: "entity/_text_search", word: "query_display_name_cache", query: words("page[]"), body: vendorBody, names: words("text", "entity_types", "entity_filters", "page", "sort"), run: (*ctx).restTextSearch},
		{verb: post, path: "entity/<type>/_search", word: "read", query: append(words("filter[]"), paged...), body: vendorBody, names: search, run: (*ctx).restSearch},
		{verb: post, path: "entity/<type>/_summarize", word: "summarize", body: vendorBody, names: words("filters", "summary_fields", "grouping", "options"), run: (*ctx).restSummarize},
		{verb: get, path: "entity/<type>/<id>", word: "read", query: append(words("fields"), options...), run: (*ctx).restRead},
		{verb: put, path: "entity/<type>/<id>", word: "update", query: append(words("fields"), options...), body: jsonBody, run: (*ctx).restUpdate},
		{verb: del, path: "entity/<type>/<id>", word: "delete", run: (*ctx).restDelete},
		{verb: post, path: "entity/<type>/<id>", word: "revive", query: words("revive", "fields"), body: anyBody, run: (*ctx).restRevive},
		{verb: get, path: "entity/<type>/<id>/relationships/<field>", word: "read", query: append(words("fields", "sort", "page[]"), options...), run: (*ctx).restRelationships},
	}
}

// restTypeOf finds the type that the path names.
func (c *ctx) restTypeOf(spelling string, write bool) (*entityType, error) {
	t := c.state.schema.restType(spelling)
	if t == nil {
		return nil, restNotFound(codeBad, "Entity type '"+spelling+"' does not exist.")
	}
	return c.typeOf(t.key, write)
}

// restType finds a type by the name that the schema has for it or by its
// plural in snake case (flow-protocol §5.4); nil: there is none of that
// spelling.
func (s *schema) restType(spelling string) *entityType {
	if t := s.types[spelling]; t != nil {
		return t
	}
	for _, t := range s.types {
		if t.slug() == spelling {
			return t
		}
	}
	if strings.EqualFold(spelling, "Attachment") || strings.EqualFold(spelling, "Attachments") {
		return s.types["Attachment"] // the one type measured to be lax
	}
	return nil
}

// slug is the type in links: HumanUser is human_users.
func (t *entityType) slug() string {
	var snake strings.Builder
	for i, r := range t.key {
		if r >= 'A' && r <= 'Z' && i > 0 {
			snake.WriteByte('_')
		}
		snake.WriteString(strings.ToLower(string(r)))
	}
	s := snake.String()
	if stem, ok := strings.CutSuffix(s, "y"); ok && !strings.ContainsAny(stem[len(stem)-1:], "aeiou") {
		return stem + "ies"
	}
	for _, end := range words("s", "x", "ch", "sh") {
		if strings.HasSuffix(s, end) {
			return s + "es"
		}
	}
	return s + "s"
}
