package proxy

import (
	"errors"
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"stagedoor/flow"
)

// way is how a request is read, sent and answered.
type way uint8

const (
	wayNone     way = iota
	wayRPC          // POST /api3/json
	wayMetrics      // POST /api3/track_metrics/: dropped
	wayForm         // POST /upload/...
	wayDownload     // GET of a file
	wayToken        // POST /api/v1/auth/access_token: answered here
	wayREST         // /api/v1/...
	wayStorage      // a pre-signed link, relayed
)

// pathAPI3 is the one path of RPC calls (flow-protocol §1.1).
const pathAPI3 = "/api3/json"

// storagePrefix is where links to storage lead through the proxy.
const storagePrefix = "/storage/"

// maxPath is the longest path, in bytes. A pre-signed link is all in all not
// longer than 4 KiB (flow-protocol §8.3).
const maxPath = 8 << 10

// routes knows the paths that are served. Everything else is refused.
type routes struct {
	router *mux.Router
	ways   map[*mux.Route]way
}

func newRoutes() *routes {
	// By default mux also matches /api3%2fjson and redirects //api3/json.
	r := mux.NewRouter().UseEncodedPath().SkipClean(true)
	t := &routes{router: r, ways: make(map[*mux.Route]way)}
	on := func(w way, path string, verbs ...string) { t.ways[r.Path(path).Methods(verbs...)] = w }
	on(wayRPC, pathAPI3, http.MethodPost)
	on(wayMetrics, "/api3/track_metrics/", http.MethodPost)
	on(wayMetrics, "/api3/track_metrics", http.MethodPost)
	on(wayForm, "/upload/{call:[a-z_]+}", http.MethodPost)
	const seg = "[A-Za-z0-9_~][A-Za-z0-9_.~%-]*"
	for _, p := range []string{
		"/file_serve/attachment/{id:[0-9]+}",
		"/file_serve/version/{id:[0-9]+}",
		"/file_serve/version/{id:[0-9]+}/{codec:[a-z0-9_]+}",
		"/thumbnail/api_image/{id:[0-9]+}",
		"/thumbnail/{size:[a-z_]+}/{type:[A-Z][A-Za-z0-9_]*}/{id:[0-9]+}",
		"/images/{rest:" + seg + "(?:/" + seg + ")*}",
		"/files/{rest:" + seg + "(?:/" + seg + ")*}",
	} {
		on(wayDownload, p, http.MethodGet, http.MethodHead)
	}
	const v = "/{version:api/v1|api/v1\\.1|api/v1\\.x}"
	on(wayToken, v+"/auth/access_token", http.MethodPost)
	t.ways[r.Path(v)] = wayREST
	t.ways[r.PathPrefix(v+"/")] = wayREST
	on(wayStorage, storagePrefix+"{seal:[A-Za-z0-9_-]+[.][A-Za-z0-9_-]+}/{host:[a-z0-9.-]+(?::[0-9]+)?}/{rest:.*}", http.MethodGet, http.MethodHead, http.MethodPut)
	return t
}

// match finds a request's way: its target is the path, byte for byte, whatever
// mux makes of it.
func (t *routes) match(r *http.Request) (way, Reason) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if len(path) > maxPath || path != r.URL.EscapedPath() {
		return wayNone, BadRoute
	}
	var m mux.RouteMatch
	switch {
	case t.router.Match(r, &m) && m.MatchErr == nil:
	case errors.Is(m.MatchErr, mux.ErrMethodMismatch):
		return wayNone, BadVerb
	default:
		return wayNone, BadRoute
	}
	w := t.ways[m.Route]
	if !isPlain(path, w) || w == wayForm && !flow.IsUploadPath(path) {
		return wayNone, BadRoute
	}
	if w == wayREST {
		if strings.HasSuffix(path, "/auth/access_token") {
			return wayNone, BadVerb
		}
		if ok, other := flow.RESTRoute(r.Method, path); other {
			return wayNone, BadVerb
		} else if !ok {
			return wayNone, BadRoute
		}
	}
	return w, ""
}

// verbsOf is what a path takes, for a request with another verb.
func verbsOf(path string) string {
	switch {
	case strings.HasPrefix(path, "/api3/"), strings.HasPrefix(path, "/upload/"), strings.HasSuffix(path, "/auth/access_token"):
		return "POST"
	case strings.HasPrefix(path, "/api/"):
		return "GET, POST, PUT, DELETE"
	case strings.HasPrefix(path, storagePrefix):
		return "GET, HEAD, PUT"
	}
	return "GET, HEAD"
}

// isPlain says whether two parsers read a path alike. Names of files may hold
// escapes, of nothing that divides a path or is an escape; links to storage are
// their host's business, and are only taken as the site made them.
func isPlain(path string, w way) bool {
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case w == wayStorage:
			if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}#", c) >= 0 {
				return false
			}
		case c == '%' && w == wayDownload:
			if i+2 >= len(path) || !isHarmless(path[i+1:i+3]) {
				return false
			}
			i += 2
		case !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_-~./", c) >= 0):
			return false
		}
	}
	return true
}

// isHarmless says whether two hex digits stand for a byte that has no meaning
// in a path: a space, most marks, and those of UTF-8.
func isHarmless(digits string) bool {
	var c byte
	for _, d := range []byte(digits) {
		switch {
		case d >= '0' && d <= '9':
			c = c<<4 | (d - '0')
		case d >= 'A' && d <= 'F':
			c = c<<4 | (d - 'A' + 10)
		default:
			return false
		}
	}
	return c >= 0x80 || strings.IndexByte(" !\"$&'()*+,=@[]{}^`", c) >= 0
}

// isJSON says whether exactly one Content-Type names JSON in UTF-8. Every
// released client sends the first form (flow-protocol §1.1).
func isJSON(values []string) bool {
	if len(values) != 1 {
		return false
	}
	media, param, more := strings.Cut(values[0], ";")
	return is(media, "application/json") && (!more || is(param, "charset=utf-8"))
}

// isForm says the same of url-encoded forms.
func isForm(values []string) bool {
	if len(values) != 1 {
		return false
	}
	media, param, more := strings.Cut(values[0], ";")
	return is(media, "application/x-www-form-urlencoded") && (!more || is(param, "charset=utf-8"))
}

func isMultipart(values []string) bool {
	if len(values) != 1 {
		return false
	}
	media, _, _ := strings.Cut(values[0], ";")
	return is(media, "multipart/form-data")
}

// is compares but for ASCII case and the white space around.
func is(v, want string) bool {
	v = strings.Trim(v, " \t")
	return len(v) == len(want) && strings.EqualFold(v, want) // the same length, so no folding of other letters
}
