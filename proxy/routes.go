package proxy

import (
	"errors"
	"net/http"
	"strings"

	"github.com/gorilla/mux"
)

// pathAPI3 is the one path of RPC calls (flow-protocol §1.1).
const pathAPI3 = "/api3/json"

// routes knows the exact paths that are served. Everything else is refused.
type routes struct{ router *mux.Router }

func newRoutes() *routes {
	// By default mux also matches /api3%2fjson and redirects //api3/json.
	r := mux.NewRouter().UseEncodedPath().SkipClean(true)
	r.Path(pathAPI3).Methods(http.MethodPost)
	return &routes{router: r}
}

// match returns "" for a request that has a route: its target is the path, byte
// for byte, whatever mux makes of it.
func (t *routes) match(r *http.Request) Reason {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	var m mux.RouteMatch
	switch {
	case path != pathAPI3:
		return BadRoute
	case t.router.Match(r, &m) && m.MatchErr == nil:
		return ""
	case errors.Is(m.MatchErr, mux.ErrMethodMismatch):
		return BadVerb
	}
	return BadRoute
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

// is compares but for ASCII case and the white space around.
func is(v, want string) bool {
	v = strings.Trim(v, " \t")
	return len(v) == len(want) && strings.EqualFold(v, want) // the same length, so no folding of other letters
}
