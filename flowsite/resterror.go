package flowsite

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"strings"
)

// restError is a refusal in the form of flow-protocol §5.7.
type restError struct {
	status, code int
	title        string
	source       any
	detail       any // text or nil
	// shape is another form of the answer than JSON:API, where a route has
	// one: its whole body.
	shape []byte
	ctype string
}

func (e *restError) Error() string {
	if s, ok := e.detail.(string); ok {
		return s
	}
	return e.title
}

func restBad(status int, title string, source any) error {
	return &restError{status: status, code: codeBad, title: title, source: source}
}

// restInvalid names a parameter that is missing or wrong.
func restInvalid(name, why string) error {
	return restBad(http.StatusBadRequest, "Request Parameters invalid.", map[string]any{name: []string{name + " " + why}})
}

func restNotFound(code int, detail string) error {
	return &restError{status: http.StatusNotFound, code: code, title: "Not Found", detail: detail}
}

func restNoRoute() error {
	return &restError{status: http.StatusNotFound, code: codeBad, title: "Not Found"}
}

func restUnauthorized(detail string) error {
	return &restError{status: http.StatusUnauthorized, code: codeAuth, title: "Unauthorized", detail: detail}
}

// asRESTError turns a fault of api3 into the same refusal on REST: the message
// is the same. Where a row isn't there it is a 404, where it isn't allowed a
// 400 (flow-protocol §5.7).
func asRESTError(err error) *restError {
	if e, ok := errors.AsType[*restError](err); ok {
		return e
	}
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return &restError{status: http.StatusInternalServerError, code: codeServer, title: "Shotgun Server Error", detail: err.Error()}
	}
	return faultError(f)
}

func faultError(f *fault) *restError {
	switch {
	case f.code == codeNone && strings.Contains(f.msg, "does not exist"):
		return &restError{status: http.StatusNotFound, code: f.code, title: "Not Found", detail: f.msg}
	case f.code == codeAuth:
		return &restError{status: http.StatusUnauthorized, code: f.code, title: "Unauthorized", detail: f.msg}
	case f.code == codeServer:
		return &restError{status: http.StatusInternalServerError, code: f.code, title: "Shotgun Server Error", detail: f.msg}
	default:
		return &restError{status: http.StatusBadRequest, code: f.code, title: f.msg}
	}
}

// restAnswer is what a call comes to.
type restAnswer struct {
	status  int
	body    []byte
	ctype   string      // "": JSON
	header  http.Header // beyond the usual ones
	code    int         // of a refusal
	secrets []restSecret
}

// refuse answers an error.
func (q *rest) refuse(err error) restAnswer {
	e := asRESTError(err)
	if e.shape != nil {
		return restAnswer{status: e.status, code: e.code, body: e.shape, ctype: e.ctype}
	}
	if e.status == http.StatusNotAcceptable {
		return restAnswer{status: e.status, code: e.code, body: []byte(" "), ctype: "text/html"}
	}
	sum := sha256.Sum256([]byte(q.verb + q.path + e.Error()))
	body := appendJSON(nil, map[string]any{"errors": []any{map[string]any{
		"id": hex.EncodeToString(sum[:16]), "status": e.status, "code": e.code, "title": e.title,
		"source": e.source, "detail": e.detail, "meta": nil,
	}}})
	return restAnswer{status: e.status, code: e.code, body: body}
}

func restOK(v any) restAnswer { return restAnswer{status: http.StatusOK, body: appendJSON(nil, v)} }

// space is the body of the answers that say nothing (flow-protocol §5.5).
func space(status int) restAnswer { return restAnswer{status: status, body: []byte(" ")} }

func noContent() restAnswer { return restAnswer{status: http.StatusNoContent} }

// data is an answer of data and the link to itself.
func (q *rest) data(v any, path string) restAnswer {
	return restOK(map[string]any{"data": v, "links": map[string]any{"self": path}})
}

// replyREST answers the call: as planned, or with its outcome.
func (x *exchange) replyREST(plan *Fault, a restAnswer) {
	x.beforeReply()
	if plan == nil {
		plan = &Fault{}
	}
	if !plan.wait(x.r.Context()) || plan.Reset || plan.Close {
		plan.hangUp(x.w)
	}
	h := x.w.Header()
	h.Set("Content-Type", orDefault(a.ctype, jsonType))
	maps.Copy(h, a.header)
	if plan.fails() {
		var more http.Header
		a.status, more, a.body = plan.restFailure(x)
		maps.Copy(h, more)
	}
	maps.Copy(h, plan.Header)
	x.ownHeaders(a.status, a.body)
	if x.site.opts.Echo {
		a.echo(h)
		if plan.Body != nil {
			a.body = plan.Body // exactly what the test wants
		}
	}
	if a.status == http.StatusNoContent {
		h.Del("Content-Type")
		x.w.WriteHeader(a.status)
		return
	}
	x.send(plan, a.status, a.body)
}

// restFailure is failure in the forms of REST: a fault of a code is an error
// with the status that it has there.
func (f *Fault) restFailure(x *exchange) (int, http.Header, []byte) {
	status, h, body := f.failure(x)
	if f.Code == 0 || f.Body != nil {
		return status, h, body
	}
	e := faultError(&fault{f.Code, orDefault(f.Message, "Planned fault")})
	e.status = orDefault(f.Status, e.status)
	a := (&rest{}).refuse(e)
	return a.status, h, a.body
}
