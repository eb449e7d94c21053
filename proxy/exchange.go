package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/handle"
	"stagedoor/limit"
	"stagedoor/policy"
	"stagedoor/secret"
)

// Headers of our own.
const (
	headerRefused   = "Stagedoor-Refused"
	headerRequestID = "Stagedoor-Request-Id"
)

// exchange is what is known of one request. It belongs to one goroutine.
type exchange struct {
	p  *Proxy
	l  *Listener
	st *State
	w  http.ResponseWriter
	r  *http.Request

	id     string
	caller string // who calls, in the words of limits and records
	peer   *peer  // by the kernel's word; nil: not known
	began  time.Time
	way    way
	body   body
	meter  *meter // of a body that is not held

	// One of these is the call, by its way; msg is the same.
	rpc   *flow.Message
	form  *flow.Form
	rest  *flow.REST
	token *flow.TokenRequest
	file  *flow.Download
	relay *relayed
	msg   message

	call       *flow.Call // never nil once parsed
	held       *handle.Handle
	session    *session // what the call goes with in place of the key
	where      flow.Links
	badLink    bool    // the call holds a link of ours that leads nowhere
	script     *Script // nil: none chosen, or info on a shared listener
	scriptName string
	verdict    policy.Verdict
	reader     *policy.Reader // of an answer that has to be filtered
	grants     limit.Grants
	through    bool // grants are held
	hold       time.Duration
	cred       secret.Credential
	credClass  audit.Credential

	share            sharing
	served, servedBy string // "cache" or "shared", and by the answer to which call

	reason     Reason
	message    string // for the caller, made of
	what       string // its first line's own words, and
	advice     string // its second line
	retryAfter time.Duration

	recorded bool // the intent is written: the outcome has to follow
	wrote    bool // the answer has begun
	done     bool
	status   int
	fault    int
	sent     int64
	upstream time.Duration
	redacted int
	retried  string
	result   audit.Result
}

func (p *Proxy) begin(listener string, w http.ResponseWriter, r *http.Request) *exchange {
	now, st := p.cfg.Now(), p.state.Load()
	l := st.Listeners[listener]
	x := &exchange{p: p, l: l, st: st, w: w, r: r, began: now, id: p.ids.next(now)}
	if len(l.Scripts) == 1 { // whatever comes is this script's, readable or not
		x.scriptName, x.script = l.Scripts[0], st.Scripts[l.Scripts[0]]
	}
	x.called()
	h := w.Header()
	h[headerRequestID] = []string{x.id}
	h["Cache-Control"] = p.noStore
	h["X-Content-Type-Options"] = p.noSniff
	// A chunked request may have carried a length as well, which net/http has
	// dropped: whoever is in front may have read it otherwise (RFC 9112 §6.1).
	if !l.KeepAlive || p.draining.Load() || l.Crowded() || len(r.TransferEncoding) > 0 {
		h["Connection"] = []string{"close"}
	}
	return x
}

// deny answers a refusal in the shape that the client understands.
func (x *exchange) deny() {
	// A body that broke off counts as a hang-up to net/http, though the caller
	// may still read.
	if gone(x.r.Context()) && x.reason != BadFraming && x.reason != TooSlow && x.reason != Internal {
		x.result = audit.ResultAborted
		return
	}
	h := x.w.Header()
	h[headerRefused] = []string{string(x.reason)}
	if x.retryAfter > 0 {
		h["Retry-After"] = []string{strconv.Itoa(int((x.retryAfter + time.Second - 1) / time.Second))}
	}
	if x.reason == BadVerb {
		h["Allow"] = []string{verbsOf(x.r.URL.Path)}
	}
	var out []byte
	out, h["Content-Type"] = x.refusal()
	if !x.body.complete {
		x.drain()
	}
	h["Content-Length"] = []string{strconv.Itoa(len(out))}
	x.writeHeader(x.status)
	n, _ := x.w.Write(out)
	x.sent = int64(n)
}

// refusal writes the refusal in the shape that the client understands.
func (x *exchange) refusal() (out []byte, contentType []string) {
	a := x.reason.answer()
	x.status, x.fault = a.status, a.fault
	text := x.message
	if text == "" {
		text = "Stagedoor: " + a.says + "."
	}
	switch {
	case x.way == wayForm && x.call != nil:
		// Any status but 200 makes the client send the whole upload again, and
		// its message is lost (flow-protocol §3.4).
		x.status = http.StatusOK
		return []byte("0:" + text), []string{"text/plain; charset=utf-8"}
	case a.fault == 0, x.way == wayNone:
		return append([]byte(text), '\n'), []string{"text/plain; charset=utf-8"}
	case x.way == wayForm:
		x.status = http.StatusOK
		return []byte("0:" + text), []string{"text/plain; charset=utf-8"}
	case x.way == wayDownload, x.way == wayStorage:
		x.status = a.rest
		return append([]byte(text), '\n'), []string{"text/plain; charset=utf-8"}
	case x.way == wayREST, x.way == wayToken:
		x.status = a.rest
		if x.status >= http.StatusInternalServerError && x.call != nil && x.call.Writes && x.recorded {
			x.status = http.StatusConflict // a client would send it again: §5.7
		}
		return flow.AppendErrors(nil, x.status, a.fault, http.StatusText(x.status), text, x.id), []string{"application/json; charset=utf-8"}
	}
	return flow.AppendFault(nil, a.fault, text), []string{"application/json; charset=utf-8"}
}

// writeTime is how long a caller may leave an answer, or the next piece of a
// long one, in the kernel's buffers.
const writeTime = 2 * time.Minute

// writeHeader begins the answer.
func (x *exchange) writeHeader(status int) {
	if x.meter != nil && !x.body.complete {
		x.drain() // the site answered before the file had come
	}
	x.begins()
	x.wrote = true
	_ = http.NewResponseController(x.w).SetWriteDeadline(x.p.cfg.Now().Add(writeTime))
	x.w.WriteHeader(status)
}

// finish writes the outcome, whatever happened.
func (x *exchange) finish() {
	failure := recover()
	x.releaseBody(nil)
	x.pass()
	x.left()
	x.settle(failure)
	if failure != nil && x.reason == Internal && !x.wrote {
		failure = nil
		x.body.complete = true
		x.w.Header()["Connection"] = []string{"close"}
		x.refuse(Internal, "", "")
		x.deny()
	}
	switch {
	case x.recorded:
		_ = x.record(audit.Outcome)
	case x.reason != "" || x.result == audit.ResultAborted:
		if err := x.record(audit.RefusedCall); err != nil {
			// The log has said so once, when its sink failed.
			x.p.cfg.Logger.Debug("a refusal could not be recorded", slog.String("id", x.id), slog.Any("error", err))
		}
	}
	x.count()
	if failure != nil || x.result == audit.ResultAborted {
		// The server ends the connection, where it would answer 200 for a
		// handler that returns. Whatever it was, it is not printed: a panic's
		// text may hold a request.
		panic(http.ErrAbortHandler)
	}
}

func (x *exchange) settle(failure any) {
	switch {
	case x.result != "":
	case x.reason != "":
		x.result = audit.Result(x.reason)
	case !x.done:
		x.result = audit.ResultAborted
	case x.fault != 0:
		x.result = audit.ResultFault
	default:
		x.result = audit.ResultOK
	}
	if err, ok := failure.(error); failure != nil && !(ok && errors.Is(err, http.ErrAbortHandler)) {
		x.reason, x.result = Internal, audit.Result(Internal)
		x.p.cfg.Logger.Error("a call panicked", slog.String("id", x.id), slog.String("script", x.scriptName), slog.String("kind", kindOf(failure)))
	}
}

// kindOf names a panic without its text.
func kindOf(failure any) string {
	if _, ok := failure.(error); ok {
		return "error"
	}
	return "other"
}

func (x *exchange) count() {
	m := x.p.cfg.Metrics
	group := "none"
	if x.call != nil {
		group = string(x.call.Group)
	}
	if x.reason != "" {
		m.Refused(x.scriptName, string(x.reason))
	}
	if x.redacted > 0 {
		m.Redacted(x.redacted)
	}
	total := x.p.cfg.Now().Sub(x.began)
	m.Call(x.scriptName, group, resultLabel(x), x.upstream, max(0, total-x.hold-x.upstream))
}

func resultLabel(x *exchange) string {
	switch {
	case !x.recorded && x.reason != "":
		return "refused"
	case x.reason != "":
		return "failed"
	}
	return string(x.result)
}

// record writes a record of that kind. Only an outcome can't fail.
func (x *exchange) record(kind audit.Kind) error {
	e, ok := x.p.events.Get().(*audit.Event)
	if !ok {
		e = new(audit.Event)
	}
	defer func() { // an Auditor keeps none, and neither does the pool keep what it told
		*e = audit.Event{Shape: e.Shape[:0]} // but the room
		x.p.events.Put(e)
	}()
	e.Kind, e.ID = kind, x.id
	x.describe(e)
	switch a := x.p.cfg.Audit; kind { //nolint:exhaustive // the others are no calls
	case audit.Intent:
		return a.Append(e)
	case audit.RefusedCall:
		return a.Refused(e)
	default:
		a.Note(e)
		return nil
	}
}

// describe fills a record: names and numbers, never a value of the data.
func (x *exchange) describe(e *audit.Event) {
	kind := e.Kind
	if kind != audit.Outcome {
		x.asked(e)
	}
	if kind != audit.Intent {
		e.Status, e.Fault, e.BytesOut, e.Result = x.status, x.fault, x.sent, x.result
		e.Upstream, e.Hold, e.Total = x.upstream, x.hold, x.p.cfg.Now().Sub(x.began)
		e.Retried, e.Redacted, e.Reason = x.retried, x.redacted, string(x.reason)
	}
	if x.retried != "" {
		e.KeyVersion = x.cred.Version
	}
	if kind == audit.Outcome && x.meter != nil { // what came after the intent was written
		e.BytesIn = x.meter.n
	}
}

func (x *exchange) asked(e *audit.Event) {
	e.Listener, e.Caller, e.Script, e.SiteName = x.l.Name, x.caller, x.scriptName, x.cred.SiteName
	e.Reason, e.Rule = string(x.reason), x.verdict.Rule
	switch {
	case x.reason != "":
		e.Decision = audit.Refuse
	case x.verdict.Allow: // else the caller hung up before anything was decided
		e.Decision = audit.Allow
	}
	e.KeyVersion, e.CallerCredential, e.BytesIn = x.cred.Version, x.credClass, x.body.n
	c := x.call
	if c == nil {
		return
	}
	e.CallKind = string(c.Kind)
	e.Method, e.Group, e.Types = c.Method, string(c.Group), c.Types()
	x.wanted(e)
	e.Served, e.ServedBy = x.served, x.servedBy
	e.Parts, e.Cost, e.DroppedAuth = len(c.Parts), x.cost(), c.DroppedAuth
	e.SudoAsLogin, e.SessionUUID = c.SudoAsLogin, c.SessionUUID
	if e.CallerCredential == "" {
		e.CallerCredential = x.classRefused()
	}
}

// wanted tells what the call asks for, what it would have been refused for were
// its script not observed, and what would allow it.
func (x *exchange) wanted(e *audit.Event) {
	v := &x.verdict
	e.Shape = flow.AppendShape(e.Shape[:0], x.call)
	if v.Observed {
		e.Observed = string(reasonOf(v.Reason))
	}
	if v.Observed || !v.Allow {
		e.AllowWith = v.Suggest
	}
}

// classRefused says what a call carried that was refused: legacy keys are to be
// found in those too. The key is compared with, and goes no further.
func (x *exchange) classRefused() audit.Credential {
	if x.scriptName != "" && x.reason != Internal {
		if c, err := x.st.Keys.Credential(x.scriptName); err == nil {
			return audit.Credential(x.msg.CallerCredential(c))
		}
	}
	return x.class()
}

func host(addr string) string {
	h, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return h
}

// gone says whether the caller has hung up. One whose call is cut at the end of
// a drain has not, and waits for an answer.
func gone(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), errCut)
}
