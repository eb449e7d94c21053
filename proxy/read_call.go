package proxy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/http"

	"stagedoor/flow"
	"stagedoor/policy"
)

// Unreadable is a request that would be refused before anything is decided.
type Unreadable struct {
	Reason Reason
	Msg    string
}

func (e *Unreadable) Error() string { return string(e.Reason) + ": " + e.Msg }

// ReadCall reads a request as the proxy does, for tools that ask what would
// become of it: by the same routes, content types and parsers. body is the whole
// body; the door, which script is meant and handles are no part of it. It
// returns an *Unreadable for what the proxy would not read either.
//
// r.RequestURI has to be set, as in a server's requests. The links of a call
// are left as they are: they lead to the same types wherever they point.
func ReadCall(r *http.Request, body []byte, types *flow.Types, maxDepth int) (policy.Query, error) {
	w, reason := newRoutes().match(r)
	if reason == "" {
		reason = misfit(w, r)
	}
	if reason != "" {
		return policy.Query{}, &Unreadable{reason, reason.answer().says}
	}
	q, err := readBy(w, r, body, types, maxDepth)
	if p, ok := errors.AsType[*flow.ParseError](err); ok {
		return policy.Query{}, &Unreadable{flawReason(p.Flaw), p.Msg}
	}
	return q, err
}

// misfit says why a request on a known route is none, as [exchange.route] does.
func misfit(w way, r *http.Request) Reason {
	h := r.Header
	switch {
	case len(h["Content-Encoding"]) > 0:
		return ContentEncoding
	case r.URL.ForceQuery, r.URL.RawQuery != "" && (w == wayRPC || w == wayForm || w == wayMetrics):
		return QueryString
	case (w == wayRPC || w == wayMetrics) && !isJSON(h["Content-Type"]),
		w == wayForm && !isForm(h["Content-Type"]) && !isMultipart(h["Content-Type"]):
		return ContentType
	}
	return ""
}

// readBy parses, as [exchange.parse] does.
func readBy(w way, r *http.Request, body []byte, types *flow.Types, maxDepth int) (policy.Query, error) {
	var contentType string
	if v := r.Header["Content-Type"]; len(v) == 1 {
		contentType = v[0]
	}
	switch w {
	case wayRPC:
		m, err := flow.ParseRPC(body, nil, maxDepth)
		if err != nil {
			return policy.Query{}, err
		}
		return policy.Query{Call: &m.Call, UserCheck: m.Call.UserAuth && m.UserCheck()}, nil
	case wayForm:
		f, err := readForm(r, contentType, body)
		if err != nil {
			return policy.Query{}, err
		}
		return policy.Query{Call: &f.Call}, nil
	case wayREST:
		in := flow.RESTRequest{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, ContentType: r.Header["Content-Type"], Body: body}
		if flow.RESTStreams(r.Method, r.URL.Path) {
			in.Body = nil
		}
		m, err := new(flow.Parser).ParseREST(in, types, nil, maxDepth)
		if err != nil {
			return policy.Query{}, err
		}
		return policy.Query{Call: &m.Call}, nil
	case wayToken:
		t, err := flow.ParseTokenRequest(r.URL.RawQuery, contentType, body)
		if err != nil {
			return policy.Query{}, err
		}
		return policy.Query{Call: &t.Call}, nil
	case wayDownload:
		d, err := flow.ParseDownload(r.URL.EscapedPath(), r.URL.RawQuery)
		if err != nil {
			return policy.Query{}, err
		}
		return policy.Query{Call: &d.Call}, nil
	case wayStorage, wayMetrics, wayNone:
	}
	return policy.Query{}, &Unreadable{BadRoute, "no rule decides on " + r.URL.Path}
}

func readForm(r *http.Request, contentType string, body []byte) (*flow.Form, error) {
	if !isMultipart(r.Header["Content-Type"]) {
		return flow.ParseForm(r.URL.Path, body, nil)
	}
	return flow.ReadMultipart(r.URL.Path, contentType, bytes.NewReader(body), int64(len(body)), rand.Reader, nil)
}

// flawReason is the reason for a body that is no call.
func flawReason(f flow.Flaw) Reason {
	switch f {
	case flow.FlawUnknown:
		return UnknownMethod
	case flow.FlawDepth:
		return TooDeep
	case flow.FlawShape:
		return BadCall
	case flow.FlawJSON:
		return BadJSON
	}
	return Internal
}
