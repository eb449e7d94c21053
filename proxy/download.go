package proxy

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/upstream"
)

// fileBuffer is the size of the buffers that files go through, in bytes.
const fileBuffer = 256 << 10

// fileHeaders ask for a part of a file, or for one that has changed. Parts from
// which a secret could be put together again are not asked for.
func (x *exchange) fileHeaders() []string {
	names := []string{"If-None-Match", "If-Modified-Since"}
	if _, ok := flow.OneRange(x.passed("Range")); ok {
		names = append(names, "Range", "If-Range")
	}
	return names
}

// download fetches a file with a session of ours.
func (x *exchange) download() {
	for again := range 2 {
		if err := x.obtain(withSession); err != nil {
			x.refuseMint(err)
			return
		}
		h := x.requestHeader("", x.fileHeaders()...)
		h = append(h, [2]string{"Cookie", flow.SessionCookie(x.session.token)})
		res, err := x.do(upstream.Request{Method: x.r.Method, Path: x.file.Target(), Header: h})
		if err != nil {
			x.siteFailed(err)
			return
		}
		if !isLoginPage(res) {
			x.answerFile(res)
			return
		}
		// What would be saved as the file is the login page.
		_ = res.Body.Close()
		if again == 0 { // a session that is refused when it is new is good for other files
			x.dead(withSession)
			x.retried = "session_ended"
		}
	}
	x.refuse(KeyRefused, "the site does not let the sessions of "+x.scriptName+" fetch this file", "")
	x.deny()
}

// isLoginPage says whether the site wants a login instead of a session that has
// ended (flow-protocol §4.3).
func isLoginPage(res *http.Response) bool {
	if res.StatusCode == http.StatusUnauthorized {
		return true
	}
	if res.StatusCode < 300 || res.StatusCode > 399 {
		return false
	}
	u, err := url.Parse(res.Header.Get("Location"))
	if err != nil {
		return false
	}
	path := strings.ToLower(u.Path)
	return strings.HasPrefix(path, "/user/login") || strings.HasPrefix(path, "/saml/") || isSSO(u)
}

// answerFile hands a file on as it comes, or says where it is.
func (x *exchange) answerFile(res *http.Response) {
	x.status = res.StatusCode
	if x.status >= 400 {
		x.result = audit.ResultSiteError
	}
	packed, err := isPacked(res.Header["Content-Encoding"])
	if err != nil {
		_ = res.Body.Close()
		x.siteFailed(err)
		return
	}
	if x.status == http.StatusPartialContent && !isOnePart(res.Header["Content-Type"]) {
		_ = res.Body.Close()
		x.siteFailed(errParts)
		return
	}
	where, ok := x.location(res)
	if !ok {
		_ = res.Body.Close()
		x.refuse(SiteRedirect, "", "")
		x.deny()
		return
	}
	x.fileHeader(res, packed)
	if where != "" {
		x.w.Header()["Location"] = []string{where}
	}
	a := &reply{res: res, body: res.Body}
	defer a.close(x.p)
	if packed {
		a.z = x.p.unpack.get(res.Body)
		a.body = a.z
	}
	head, tail := false, false
	if x.status == http.StatusPartialContent {
		head, tail = flow.CutBy(res.Header["Content-Range"])
	}
	x.pour(x.scrubber(), a.body, head, tail)
}

var errParts = errors.New("the site's answer has several parts of the file, which nobody asked for")

// isOnePart says whether an answer holds one part of a file. In one with several
// the edges of the parts could not be told.
func isOnePart(contentType []string) bool {
	for _, v := range contentType {
		if media, _, _ := strings.Cut(v, "/"); is(media, "multipart") {
			return false
		}
	}
	return true
}

// location is where a redirect leads the tool: to storage, or through the proxy
// to another file of the site. Anything else would lead past the proxy.
func (x *exchange) location(res *http.Response) (where string, ok bool) {
	v := res.Header["Location"]
	if x.status < 300 || x.status > 399 || x.status == http.StatusNotModified || len(v) == 0 {
		return "", true
	}
	u, err := url.Parse(v[0])
	if err != nil || len(v) > 1 || u.User != nil || u.Opaque != "" || u.Fragment != "" || u.Host == "" && u.Scheme != "" {
		return "", false
	}
	l := x.links()
	if u.Host == "" || isOrigin(u, l.Site) {
		here := l.Out(l.Site + u.RequestURI())
		return x.clean(here), strings.HasPrefix(here, l.Here)
	}
	if u.Scheme != "https" || !isSigned(u) { // such as the login page of another host
		return "", false
	}
	if l.Relay != nil {
		if link, ok := l.Relay(v[0]); ok {
			return x.clean(link), true
		}
	}
	return x.clean(v[0]), true
}

// clean scrubs a header's value.
func (x *exchange) clean(v string) string {
	out, n := x.scrubber().String(v)
	x.redacted += n
	return out
}

// isOrigin says whether a link leads to the site, however that is written.
func isOrigin(u *url.URL, site string) bool {
	s, err := url.Parse(site)
	if err != nil {
		return false
	}
	port := func(u *url.URL) string {
		if u.Port() == "" && strings.EqualFold(u.Scheme, "https") {
			return "443"
		}
		return u.Port()
	}
	return strings.EqualFold(strings.TrimSuffix(u.Hostname(), "."), s.Hostname()) && (port(u) == port(s) || u.Scheme == "")
}

// fileHeader passes on what tells of a file. What is unpacked here has another
// length and tag.
func (x *exchange) fileHeader(res *http.Response, packed bool) {
	h, s := x.w.Header(), x.scrubber()
	for _, name := range []string{
		"Accept-Ranges", "Content-Disposition", "Content-Language", "Content-Length", "Content-Range", "Content-Type",
		"Date", "Etag", "Last-Modified", "Retry-After", "X-Request-Id",
	} {
		if packed && (name == "Content-Length" || name == "Content-Range" || name == "Etag" || name == "Accept-Ranges") {
			continue
		}
		for _, v := range res.Header[name] {
			clean, n := s.String(v)
			x.redacted += n
			h[name] = append(h[name], clean)
		}
	}
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // or net/http guesses one
	}
}

// pour streams a file to the caller. What has to be hidden in it is overwritten,
// so that lengths and ranges hold. head and tail say which of its ends are cut.
func (x *exchange) pour(s *flow.Scrubber, src io.Reader, head, tail bool) {
	x.writeHeader(x.status)
	buf := x.p.files.get()
	defer x.p.files.put(buf)
	r := s.NewMaskReader(src, *buf)
	r.Cut(head, tail)
	start := x.p.cfg.Now()
	n, err := r.WriteTo(&patient{w: x.w, rc: http.NewResponseController(x.w), now: x.p.cfg.Now})
	x.upstream += x.p.cfg.Now().Sub(start)
	x.sent = n
	x.redacted += r.Redactions()
	if err != nil {
		// Cut the connection: a short file must not look complete.
		x.result = audit.ResultAborted
		panic(http.ErrAbortHandler)
	}
}
