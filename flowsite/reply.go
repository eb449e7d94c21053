package flowsite

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"hash/fnv"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const (
	jsonType = "application/json; charset=utf-8"
	textType = "text/plain; charset=utf-8"
	htmlType = "text/html; charset=utf-8"
	// CookieCanary is the value of the cookie in every answer. No caller of
	// the proxy may see it.
	CookieCanary = "canary-session-cookie"
)

// reply answers the call: as planned, or with its outcome.
func (x *exchange) reply(plan *Fault, out outcome) {
	x.beforeReply()
	if plan == nil {
		plan = &Fault{}
	}
	if !plan.wait(x.r.Context()) || plan.Reset || plan.Close {
		plan.hangUp(x.w)
	}
	status, body := orDefault(out.status, http.StatusOK), out.body
	h := x.w.Header()
	h.Set("Content-Type", jsonType)
	if plan.fails() {
		var more http.Header
		status, more, body = plan.failure(x)
		maps.Copy(h, more)
		body = x.echoed(plan, body)
	}
	maps.Copy(h, plan.Header)
	x.ownHeaders(status, body)
	if !plan.fails() {
		maps.Copy(h, out.header)
	}
	if x.site.opts.Echo && x.rec.Kind != RouteStorage {
		echoHeaders(h, x.secret)
	}
	x.send(plan, status, body)
}

// echoed is the body of a failure with the echoes in it.
func (x *exchange) echoed(plan *Fault, body []byte) []byte {
	switch {
	case !x.site.opts.Echo || x.secret == "" || plan.Body != nil:
		return body
	case plan.Code != 0 && x.rec.Kind != RouteUpload:
		return withEchoes(body, x.secret)
	default:
		return withEchoLines(body, x.secret)
	}
}

// beforeReply calls the test's hook.
func (x *exchange) beforeReply() {
	x.site.mu.Lock()
	hook := x.site.hook
	x.site.mu.Unlock()
	if hook != nil {
		hook(x.rec)
	}
}

// send writes the body, compressed where the caller takes gzip.
func (x *exchange) send(plan *Fault, status int, body []byte) {
	h := x.w.Header()
	if h.Get("Content-Encoding") == "" && !x.site.opts.Plain && acceptsGzip(x.r.Header.Get("Accept-Encoding")) && len(body) > 0 {
		body = x.site.compress(body)
		h.Set("Content-Encoding", "gzip")
		h.Set("Vary", "Accept-Encoding")
	}
	if x.site.opts.Chunk == 0 {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	x.w.WriteHeader(status)
	if x.r.Method == http.MethodHead {
		return
	}
	switch {
	case x.site.opts.Chunk > 0:
		x.sendChunked(body)
	case plan.Truncate > 0:
		plan.cut(x.w, body)
	case plan.Slow != nil:
		if plan.drip(x.r.Context(), x.w, body) != nil {
			panic(http.ErrAbortHandler)
		}
	default:
		_, _ = x.w.Write(body) // a caller that went away is no fault of ours
	}
}

// sendChunked sends pieces of Options.Chunk bytes, each a chunk of its own.
func (x *exchange) sendChunked(body []byte) {
	rc := http.NewResponseController(x.w)
	for piece := range slices.Chunk(body, x.site.opts.Chunk) {
		if _, err := x.w.Write(piece); err != nil {
			return // a caller that went away is no fault of ours
		}
		_ = rc.Flush() // as above
	}
}

func acceptsGzip(v string) bool {
	for part := range strings.SplitSeq(v, ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.TrimSpace(name) == "gzip" && strings.TrimSpace(q) != "q=0" {
			return true
		}
	}
	return false
}

func (s *Site) compress(body []byte) []byte {
	var out bytes.Buffer
	zw, ok := s.gz.Get().(*gzip.Writer)
	if !ok {
		zw, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails on a bad level only
	}
	zw.Reset(&out)
	_, _ = zw.Write(body) // a Buffer takes everything
	_ = zw.Close()
	s.gz.Put(zw)
	return out.Bytes()
}

// ownHeaders are those of whichever server answers.
func (x *exchange) ownHeaders(status int, body []byte) {
	if x.rec.Kind != RouteStorage {
		x.siteHeaders(status, body)
		return
	}
	h := x.w.Header()
	h.Set("Server", "AmazonS3")
	h.Set("X-Amz-Request-Id", "STORAGE"+strconv.Itoa(x.rec.N))
}

// siteHeaders are those of flow-protocol §5.1 (VCR), and a cookie (§6.1).
func (x *exchange) siteHeaders(status int, body []byte) {
	sum := fnv.New64a()
	_, _ = sum.Write(body) // never fails
	h := x.w.Header()
	h.Set("Status", strconv.Itoa(status)+" "+http.StatusText(status))
	h.Set("X-Request-Id", "site-"+strconv.Itoa(x.rec.N))
	h.Set("Etag", `W/"`+hex.EncodeToString(sum.Sum(nil))+`"`)
	h.Set("Cache-Control", "private, max-age=0, must-revalidate")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("X-Frame-Options", "SAMEORIGIN")
	h.Set("Server", "nginx + Phusion Passenger(R)")
	h.Set("Set-Cookie", "_session_id="+CookieCanary+"; path=/; HttpOnly; Secure")
	x.cors()
}

// cors mirrors the Origin, as REST does on the real site (§6.4).
func (x *exchange) cors() {
	origin := x.r.Header.Get("Origin")
	if !x.site.opts.CORS || origin == "" {
		return
	}
	h := x.w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "authorization, content-type, accept, accept-language, content-language, range, origin")
	h.Set("Access-Control-Max-Age", "3600")
}

func (x *exchange) preflight() {
	x.note()
	x.ownHeaders(http.StatusOK, nil)
	x.w.WriteHeader(http.StatusOK)
}

// violate refuses a request that no client would send, and remembers why.
func (x *exchange) violate(found ...string) {
	x.rec.Violations = found
	x.note()
	x.beforeReply()
	body := []byte("flowsite: no client sends this:\n" + strings.Join(found, "\n") + "\n")
	if x.site.opts.Echo {
		body = withEchoLines(body, x.secret)
	}
	h := x.w.Header()
	x.ownHeaders(http.StatusBadRequest, body)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(http.StatusBadRequest)
	_, _ = x.w.Write(body)
}

func (x *exchange) note() {
	x.site.mu.Lock()
	defer x.site.mu.Unlock()
	x.site.rec.add(x.rec)
}
