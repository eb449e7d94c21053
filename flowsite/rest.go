package flowsite

import (
	"net/http"
	"strings"
)

// KindBearer and KindRefresh are the kinds of credential that only REST has:
// an access token, and the token that buys the next one (flow-protocol §5.2).
const (
	KindBearer  = "bearer"
	KindRefresh = "refresh"
)

// rest is a REST request taken apart.
type rest struct {
	verb, prefix string // GET, /api/v1
	path         string // below the prefix, as received
	segs         []string
	route        *restRoute
	at           map[string]string // what the route's patterns matched
	query        restQuery
	body         any          // parsed JSON; nil: none
	hash         bool         // the vendor type whose filters are groups
	token        string       // of the Authorization header
	form         restQuery    // of the token endpoint: body and query
	early        error        // found before anything is looked up, answered after the token
	signed       bool         // carries a signature of its own instead of a token
	held         restHeld     // what the token says
	in           *intake      // the file that was sent
	kind         string       // the file's content type
	file         *File        // the file as it was kept
	secrets      []restSecret // what was sent that mustn't come back
}

// serveREST answers a request to /api/ (flow-protocol §5). It is judged as
// strictly as api3: what no client sends, and no proxy should, is a violation.
// A spelling that the real site doesn't know is its 404.
func (x *exchange) serveREST() {
	q := &rest{verb: x.r.Method, at: map[string]string{}}
	x.rec.Kind = RouteREST
	if found := x.judgeREST(q); len(found) > 0 {
		x.violate(found...)
		return
	}
	if q.route != nil && q.route.body == fileBody {
		x.servePut(q)
		return
	}
	if x.readBody() != nil {
		x.violate("the body ended early or is over the bound")
		return
	}
	if found := x.judgeRESTBody(q); len(found) > 0 {
		x.violate(found...)
		return
	}
	plan, a := x.applyREST(q)
	x.replyREST(plan, a)
}

// applyREST does the call under the lock, unless a planned fault comes first.
func (x *exchange) applyREST(q *rest) (*Fault, restAnswer) {
	s := x.site
	s.mu.Lock()
	defer s.mu.Unlock()
	who, err := s.callerLocked(q)
	x.noteREST(q)
	plan := s.plannedLocked(x.rec)
	return plan, x.settleREST(plan, q, who, err)
}

// settleREST answers and records the call. Site.mu is held.
func (x *exchange) settleREST(plan *Fault, q *rest, who identity, err error) restAnswer {
	var a restAnswer
	if plan == nil || plan.After {
		a = x.site.restLocked(q, who, err)
	}
	x.rec.Fault, x.rec.FaultCode, x.rec.File = plan, a.code, q.file
	x.site.rec.add(x.rec)
	a.secrets = q.secrets
	return a
}

// noteREST records what the call is and who makes it. Site.mu is held.
func (x *exchange) noteREST(q *rest) {
	if q.route != nil {
		x.rec.Method = q.route.word
	}
	if t := x.site.state.schema.restType(q.at["type"]); t != nil {
		x.rec.Type = t.key
	}
	h := q.held
	x.rec.Credential, x.rec.Script, x.rec.Sudo, x.rec.SessionUUID = h.kind, h.script, h.sudo, h.uuid
}

// restHeld is what a call's credential says, also where it is refused.
type restHeld struct{ kind, script, sudo, uuid string }

// callerLocked finds who calls.
func (s *Site) callerLocked(q *rest) (identity, error) {
	if q.prefix == "" {
		return identity{}, restNoRoute()
	}
	if q.route != nil && (q.route.open || q.signed) && q.token == "" {
		return identity{}, nil
	}
	return s.bearerLocked(q)
}

func (s *Site) restLocked(q *rest, who identity, err error) restAnswer {
	if err == nil {
		err = q.early
	}
	if err == nil && q.route == nil {
		err = restNoRoute()
	}
	var a restAnswer
	if err == nil {
		c := &ctx{Site: s, state: s.state, who: who, method: q.route.word, now: s.opts.Now().UTC()}
		a, err = q.route.run(c, q)
	}
	if err != nil {
		a = q.refuse(err)
	}
	return a
}

// judgeREST takes the request apart and finds everything that no client sends.
func (x *exchange) judgeREST(q *rest) []string {
	found := x.judgeOrigin()
	path, raw, hasQuery := strings.Cut(x.r.RequestURI, "?")
	known := q.place(path)
	found = append(found, q.judgePath(path)...)
	found = append(found, x.judgeRESTHeaders(q)...)
	if !known || len(found) > 0 {
		return found
	}
	q.route, q.at = x.site.findRoute(q.verb, q.segs)
	pairs, bad := readQuery(raw, hasQuery)
	found = append(found, bad...)
	q.query = pairs
	if q.route == nil {
		return found
	}
	x.rec.Method = q.route.word
	if !acceptable(x.r.Header.Get("Accept")) {
		q.early = &restError{status: http.StatusNotAcceptable, code: codeBad, title: "Not Acceptable"}
	}
	return append(found, q.route.judgeQuery(pairs)...)
}

// place cuts the path after its prefix; false: there is no API of that
// version (flow-protocol §5.1).
func (q *rest) place(path string) bool {
	segs := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(segs) < 2 || segs[0] != "api" || segs[1] != "v1" && segs[1] != "v1.1" {
		return false
	}
	q.prefix = "/api/" + segs[1]
	q.path = strings.TrimPrefix(path, q.prefix)
	q.segs = segs[2:]
	switch q.path {
	case "/":
		q.segs = nil
	case "/entity/_batch/": // as the nodejs client writes it
		q.segs = q.segs[:2]
	}
	return true
}

// judgePath refuses what could mean another route to another reader: escapes,
// empty segments, and dots outside the two routes that end in a format.
func (q *rest) judgePath(path string) []string {
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f }
	if strings.ContainsAny(path, "%\\;") || strings.ContainsFunc(path, odd) {
		return []string{"the path is " + path}
	}
	for i, seg := range q.segs {
		format := i == len(q.segs)-1 && (len(q.segs) == 1 && strings.HasPrefix(seg, "spec.") || q.segs[0] == "exports")
		if seg == "" || strings.Contains(seg, ".") && !format {
			return []string{"the path is " + path}
		}
	}
	return nil
}

// restHeaders are the usual ones and what this route takes beside them.
func (x *exchange) restHeaders(q *rest) []string {
	usual := append(usualHeaders(), "Authorization")
	if x.site.opts.CORS {
		usual = append(usual, "Origin")
	}
	if q.verb == http.MethodPut && strings.HasSuffix(q.path, "/_upload") {
		// What the nodejs client, Node's own fetch and curl add to a file.
		usual = append(usual, "Content-Size", "Sec-Fetch-Mode", "Expect")
	}
	if q.verb == http.MethodGet {
		usual = append(usual, "Range", "If-None-Match", "If-Modified-Since", "If-Range")
	}
	return usual
}

func (x *exchange) judgeRESTHeaders(q *rest) []string {
	found := x.judgeHeaderNames(x.restHeaders(q))
	if v := x.r.Header.Get("Connection"); v != "" && !strings.EqualFold(v, "keep-alive") && !strings.EqualFold(v, "close") {
		found = append(found, "Connection: "+v)
	}
	chunked := x.r.ContentLength < 0 || len(x.r.TransferEncoding) > 0
	if chunked && (q.verb != http.MethodPut || !strings.HasSuffix(q.path, "/_upload")) {
		found = append(found, "no content length")
	}
	return append(found, q.judgeAuthorization(x.r.Header)...)
}

// judgeAuthorization takes the token out of the header, which has one form.
func (q *rest) judgeAuthorization(h http.Header) []string {
	v, sent := h["Authorization"]
	if !sent {
		return nil
	}
	token, ok := strings.CutPrefix(v[0], "Bearer ")
	if !ok || token == "" || strings.ContainsAny(token, " \t,") {
		return []string{"Authorization is not 'Bearer' and a token"}
	}
	q.token = token
	q.secrets = append(q.secrets, restSecret{"bearer", token})
	return nil
}
