package flowsite

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// restQuery is the query of a request, or a form: each name once.
type restQuery struct {
	names  []string // in the order received
	values map[string]string
}

func (q restQuery) has(name string) bool { _, ok := q.values[name]; return ok }

func (q restQuery) get(name string) string { return q.values[name] }

// readQuery reads name=value pairs; what isn't one, or comes twice, is found.
func readQuery(raw string, given bool) (restQuery, []string) {
	q := restQuery{values: map[string]string{}}
	if !given {
		return q, nil
	}
	if raw == "" {
		return q, nil // a lone "?": qs writes it for no parameters
	}
	var found []string
	for pair := range strings.SplitSeq(raw, "&") {
		n, v, ok := strings.Cut(pair, "=")
		name, errName := url.QueryUnescape(n)
		value, errValue := url.QueryUnescape(v)
		switch {
		case !ok || errName != nil || errValue != nil || name == "":
			found = append(found, "the query has "+pair)
		case !isPlain(name) || !isPlain(value):
			found = append(found, "the query's "+name+" is not plain text")
		case q.has(name):
			found = append(found, "the query repeats "+name)
		default:
			q.names = append(q.names, name)
			q.values[name] = value
		}
	}
	return q, found
}

// isPlain: valid UTF-8 with no control character.
func isPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// bracketed is the x of "name[x]".
func bracketed(name, of string) (string, bool) {
	rest, ok := strings.CutPrefix(name, of+"[")
	if !ok {
		return "", false
	}
	inner, ok := strings.CutSuffix(rest, "]")
	return inner, ok && inner != "" && !strings.ContainsAny(inner, "[]")
}

// judgeQuery finds names that the route has no use for.
func (r *restRoute) judgeQuery(q restQuery) []string {
	var found []string
	for _, name := range q.names {
		if !slices.ContainsFunc(r.query, func(want string) bool { return fitsName(name, want) }) {
			found = append(found, r.word+": unknown query name "+name)
		}
	}
	return found
}

// fitsName: want is a name, or "x[]" for any x[…].
func fitsName(name, want string) bool {
	if of, ok := strings.CutSuffix(want, "[]"); ok {
		_, ok = bracketed(name, of)
		return ok
	}
	return name == want
}

// The bodies that a route takes.
type restBody int

const (
	noBody     restBody = iota
	jsonBody            // application/json
	vendorBody          // the two vendor types (flow-protocol §5.4)
	anyBody             // taken and not looked at, or none
	formBody            // the token endpoint's
	fileBody            // an upload
)

const (
	vendorArray = "application/vnd+shotgun.api3_array+json"
	vendorHash  = "application/vnd+shotgun.api3_hash+json"
)

// judgeRESTBody reads the body. A wrong content type is an answer of the site
// (415), a body where none belongs or broken JSON is no client's.
func (x *exchange) judgeRESTBody(q *rest) []string {
	body := x.rec.Body
	if q.route == nil {
		return nil // whatever it is, the answer is the same
	}
	switch q.route.body {
	case noBody:
		if len(body) > 0 {
			return []string{q.route.word + " has a body"}
		}
		return nil
	case formBody:
		return x.judgeForm(q)
	case fileBody:
		return nil
	case anyBody:
		return q.readAny(body)
	case jsonBody, vendorBody:
	}
	if err := q.contentType(x.r.Header); q.early != nil || err != nil {
		if q.early == nil {
			q.early = err
		}
		return nil
	}
	if len(body) == 0 {
		q.early = restBad(http.StatusBadRequest, "Invalid JSON body. Empty input", nil)
		return nil
	}
	v, err := parseJSON(body)
	if err != nil {
		return []string{err.Error()}
	}
	q.body = v
	m, ok := v.(map[string]any)
	if !ok {
		if !q.route.list {
			q.early = restBad(http.StatusBadRequest, "Invalid JSON body. Expected Hash but received "+jsonWord(v)+".", nil)
		}
		return nil
	}
	found := q.twice()
	if q.route.names != nil {
		found = append(found, judgeNames(q.route.word, m, nil, q.route.names)...)
	}
	return found
}

// readAny reads a body that may be missing.
func (q *rest) readAny(body []byte) []string {
	if len(body) == 0 {
		return nil
	}
	v, err := parseJSON(body)
	if err != nil {
		return []string{err.Error()}
	}
	q.body = v
	return nil
}

func jsonWord(v any) string {
	if _, ok := v.([]any); ok {
		return "Array"
	}
	return "something else"
}

// contentType checks the body's type and Accept.
func (q *rest) contentType(h http.Header) error {
	given := h.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(given)
	if err == nil {
		for name, p := range params {
			if name != "charset" || !strings.EqualFold(p, "utf-8") {
				kind = ""
			}
		}
	}
	legal := []string{"application/json"}
	if q.route.body == vendorBody {
		legal = []string{vendorArray, vendorHash}
	}
	if err != nil || !slices.Contains(legal, kind) {
		return unsupported(given, legal...)
	}
	q.hash = kind == vendorHash
	return nil
}

func unsupported(given string, legal ...string) error {
	quoted := make([]string, len(legal))
	for i, t := range legal {
		quoted[i] = "'" + t + "'"
	}
	return restBad(http.StatusUnsupportedMediaType, "Unsupported Content-Type '"+strings.ToValidUTF8(given, "?")+"'", map[string]any{
		"content_type": "Content-Type must be one of: " + strings.Join(quoted, ", ") + ".",
	})
}

// acceptable says whether the caller takes JSON. The vendor types are types
// of requests only (flow-protocol §5.4).
func acceptable(accept string) bool {
	if accept == "" {
		return true
	}
	for part := range strings.SplitSeq(accept, ",") {
		kind, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		switch strings.TrimSpace(kind) {
		case "*/*", "application/*", "application/json":
			return true
		}
	}
	return false
}
