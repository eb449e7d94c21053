package proxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/upstream"
)

// Bounds of an answer.
const (
	// headSize is how much of an answer is looked at before its status goes on.
	headSize = 32 << 10
	// maxFault is the longest answer that is read as a fault.
	maxFault = 1 << 20
	// maxSpool is the longest answer that is read to its end before its first
	// byte goes on: answers to writes, because a write whose answer breaks off
	// must end in a status and not in a broken connection (flow-protocol §1.7),
	// and answers that may tell old and new values of fields.
	maxSpool = 32 << 20
	// maxRatio bounds how far an answer may unpack, once it is longer than
	// ratioFrom.
	maxRatio  = 500
	ratioFrom = 8 << 20
	// refreshWait is how long a call waits for the key source after the site
	// refused its key.
	refreshWait = 10 * time.Second
)

// forward sends the call and hands its answer back. It decides nothing: all
// that could refuse the call has been asked.
func (p *Proxy) forward(x *exchange) {
	ans, err := x.send()
	if err == nil && ans.code == flow.FaultAuth {
		ans, err = x.authFault(ans)
	}
	if err != nil {
		x.siteFailed(err)
		return
	}
	if ans == nil {
		x.deny()
		return
	}
	x.answer(ans)
}

// outgoing builds the bytes to send from the checked message.
func (x *exchange) outgoing() upstream.Request {
	var b []byte
	if x.call.UserAuth {
		b = x.msg.UserBody()
	} else {
		b = x.msg.Body(x.cred)
	}
	return upstream.Request{Path: pathAPI3, Body: b, Header: x.requestHeader()}
}

// requestHeader is built from nothing: what is not named here is not sent.
func (x *exchange) requestHeader() [][2]string {
	out := make([][2]string, 0, 8)
	out = append(out,
		[2]string{"Content-Type", "application/json; charset=utf-8"},
		[2]string{"Accept-Encoding", "gzip"},
		[2]string{"User-Agent", x.userAgent()},
		[2]string{headerRequestID, x.id})
	for _, name := range []string{"Accept", "Accept-Language", "Locale"} {
		if v := x.r.Header[name]; len(v) == 1 && isClean(v[0]) {
			out = append(out, [2]string{name, v[0]})
		}
	}
	return out
}

func (x *exchange) userAgent() string {
	own := "stagedoor/" + x.p.cfg.Version
	if v := x.r.Header["User-Agent"]; len(v) == 1 && v[0] != "" && isClean(v[0]) {
		return v[0] + " " + own
	}
	return own
}

// maxHeaderValue is the longest header value that is passed on, in bytes.
const maxHeaderValue = 512

func isClean(v string) bool {
	if len(v) > maxHeaderValue {
		return false
	}
	for i := range len(v) {
		if v[i] < 0x20 || v[i] > 0x7e {
			return false
		}
	}
	return true
}

// reply is an answer of the site, its beginning read.
type reply struct {
	res  *http.Response
	body io.Reader // unpacked
	buf  *[]byte
	head []byte
	all  bool // head is the whole body
	// code and message are a fault's; code is 0 for any other answer.
	code    int
	message string
	fault   bool
}

func (a *reply) close(p *Proxy) {
	_ = a.res.Body.Close()
	if a.buf != nil {
		p.buffers.put(a.buf)
		a.buf = nil
	}
}

// send sends the call once; a read whose kept connection died under it before
// any byte of an answer is sent once more.
func (x *exchange) send() (*reply, error) {
	req := x.outgoing()
	defer clear(req.Body)
	start := x.p.cfg.Now()
	defer func() { x.upstream += x.p.cfg.Now().Sub(start) }()
	ctx := x.r.Context()
	res, err := x.st.Site.Do(ctx, req)
	var ue *upstream.Error
	if errors.As(err, &ue) && !gone(ctx) {
		switch {
		case ue.Reused && ue.Sent && !x.call.Writes:
			x.retried = "connection_died"
			res, err = x.st.Site.Do(ctx, req)
		case !ue.Sent && ue.Reused:
			x.retried = "connection_closed"
			res, err = x.st.Site.Do(ctx, req)
		}
	}
	if err != nil {
		return nil, err
	}
	return x.open(res)
}

// open unpacks an answer and reads its beginning, or all of it where it may
// not be handed on in pieces.
func (x *exchange) open(res *http.Response) (*reply, error) {
	a := &reply{res: res, body: res.Body}
	switch enc := res.Header.Get("Content-Encoding"); enc {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(res.Body)
		if err != nil {
			_ = res.Body.Close()
			return nil, fmt.Errorf("unpacking the site's answer: %w", err)
		}
		a.body = &unpacker{z: z, res: res}
	default:
		_ = res.Body.Close()
		return nil, errors.New("the site's answer has a Content-Encoding that was not asked for")
	}
	a.buf = x.p.buffers.get()
	n, all, err := readHead(a.body, (*a.buf)[:headSize])
	a.head, a.all = (*a.buf)[:n], all
	if err != nil {
		a.close(x.p)
		return nil, fmt.Errorf("reading the site's answer: %w", err)
	}
	if !a.all && (x.spools() || flow.MayBeFault(a.head[:min(n, 256)])) {
		if err := a.spool(x); err != nil {
			a.close(x.p)
			return nil, err
		}
	}
	if a.all && res.StatusCode == http.StatusOK && flow.MayBeFault(a.head) {
		a.code, a.message, a.fault = flow.ReadFault(a.head)
	}
	return a, nil
}

// readHead fills p; all says that the body ended within it. A body that broke
// off is an error, which io.ReadFull would not tell from one that ended.
func readHead(r io.Reader, p []byte) (n int, all bool, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	if errors.Is(err, io.EOF) {
		return n, true, nil
	}
	return n, false, err
}

// spools says whether the answer has to be complete before any of it goes on.
func (x *exchange) spools() bool { return x.call.Writes || x.tellsValues() }

// tellsValues says whether the answer may tell old and new values of fields of
// any type (flow-protocol §2.5).
func (x *exchange) tellsValues() bool {
	if x.call.Method == "activity_stream" {
		return true
	}
	for _, t := range x.call.Touches {
		if t.Type == "EventLogEntry" {
			return true
		}
	}
	return false
}

func (a *reply) spool(x *exchange) error {
	limit := int64(maxFault)
	if x.spools() {
		limit = maxSpool
	}
	all := bytes.NewBuffer(bytes.Clone(a.head))
	n, err := io.Copy(all, io.LimitReader(a.body, limit))
	a.head = all.Bytes()
	switch {
	case err != nil:
		return fmt.Errorf("reading the site's answer: %w", err)
	case n < limit:
		a.all = true
	case x.spools():
		return fmt.Errorf("the site's answer is longer than %d bytes", limit)
	}
	return nil
}

// unpacker reads gzip under a bound on its ratio.
type unpacker struct {
	z   *gzip.Reader
	res *http.Response
	out int64
}

func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.z.Read(p)
	u.out += int64(n)
	if u.out > ratioFrom && u.res.ContentLength > 0 && u.out/maxRatio > u.res.ContentLength {
		return n, errors.New("the site's answer unpacks beyond any bound")
	}
	return n, err
}

// siteFailed answers for a site that gave none. A write may have happened, so
// the answer is one that no client sends again (flow-protocol §1.6).
func (x *exchange) siteFailed(err error) {
	if gone(x.r.Context()) {
		x.result = audit.ResultAborted
		return
	}
	x.p.cfg.Logger.Warn("the site failed", slog.String("id", x.id), slog.String("script", x.scriptName), slog.Any("error", err))
	var ue *upstream.Error
	sent := !errors.As(err, &ue) || ue.Sent
	x.result = audit.ResultSiteError
	if !sent {
		x.result = audit.ResultUnreachable
	}
	what := "the site did not answer " + x.call.Method
	switch {
	case x.call.Writes && sent:
		what += "; it may have been done: look before you repeat it"
	case !sent:
		what = "the site can't be reached; " + x.call.Method + " was not sent"
	}
	x.refuse(SiteFailed, what, "")
	x.deny()
}

// answer hands an answer of the site back, scrubbed.
func (x *exchange) answer(a *reply) {
	defer a.close(x.p)
	status := a.res.StatusCode
	switch {
	case status == http.StatusSeeOther || status == http.StatusPermanentRedirect:
		x.refuse(SiteRedirect, "", "")
		x.deny()
		return
	case x.call.Writes && (status == http.StatusBadGateway || status == http.StatusGatewayTimeout):
		x.result = audit.ResultSiteError
		x.refuse(SiteFailed, fmt.Sprintf("the site answered %s with status %d; it may have been done: look before you repeat it", x.call.Method, status), "")
		x.deny()
		return
	case status >= 400:
		x.result = audit.ResultSiteError
	}
	x.status, x.fault = status, a.code
	if a.fault {
		x.result = audit.ResultFault
	}
	x.responseHeader(a.res)
	if a.all {
		x.sendWhole(a)
		return
	}
	x.stream(a)
}

// responseHeader passes on what a client may see, scrubbed; nothing else.
func (x *exchange) responseHeader(res *http.Response) {
	h, s := x.w.Header(), x.scrubber()
	for _, name := range []string{"Content-Type", "Content-Language", "Date", "Last-Modified", "Location", "Retry-After", "X-Request-Id"} {
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

func (x *exchange) scrubber() *flow.Scrubber { return x.p.scrubs.get(x.scriptName, x.cred) }

// emptiesFields says whether members named like a credential field are emptied.
// A schema tells of such fields, it does not hold their values.
func (x *exchange) emptiesFields() bool { return x.call.Group != flow.GroupSchema }

func (x *exchange) sendWhole(a *reply) {
	out, n := x.scrubber().Whole(a.head, x.emptiesFields())
	if x.tellsValues() {
		var m int
		out, m = flow.EmptyMeta(out)
		n += m
	}
	x.redacted += n
	x.w.Header()["Content-Length"] = []string{strconv.Itoa(len(out))}
	x.w.WriteHeader(x.status)
	written, err := x.w.Write(out)
	x.sent = int64(written)
	if err != nil {
		x.result = audit.ResultAborted
	}
}

// stream hands a long answer on as it comes.
func (x *exchange) stream(a *reply) {
	x.w.WriteHeader(x.status)
	buf := x.p.buffers.get()
	defer x.p.buffers.put(buf)
	r := x.scrubber().NewReader(io.MultiReader(bytes.NewReader(a.head), a.body), *buf, x.emptiesFields())
	start := x.p.cfg.Now()
	n, err := io.Copy(onlyWriter{x.w}, r)
	x.upstream += x.p.cfg.Now().Sub(start)
	x.sent = n
	x.redacted += r.Redactions()
	if err != nil {
		// Cut the connection: a short answer must not look complete.
		x.result = audit.ResultAborted
		panic(http.ErrAbortHandler)
	}
}

// onlyWriter hides ReadFrom, which would hand the copy's buffer to the kernel's
// care for nothing.
type onlyWriter struct{ io.Writer }

// authFault deals with the site refusing a credential. It returns the answer
// to hand on, or none after a refusal of ours.
func (x *exchange) authFault(a *reply) (*reply, error) {
	if x.call.UserAuth || x.call.Group == flow.GroupInfo {
		return a, nil // it was not our key
	}
	if x.call.SudoAsLogin != "" && !x.p.keyRefused(x) {
		// The key is good: it is the login that the site does not accept. 102
		// would make Toolkit open a login window.
		a.head = flow.AppendFault(nil, flow.FaultDenied, a.message)
		a.code, a.all = flow.FaultDenied, true
		return a, nil
	}
	a.close(x.p)
	used := x.cred
	ctx, cancel := context.WithTimeout(x.r.Context(), refreshWait)
	defer cancel()
	if _, err := x.st.Keys.Refresh(ctx, x.scriptName); err != nil {
		x.p.cfg.Logger.Warn("the key source was asked after an authentication fault and did not answer",
			slog.String("script", x.scriptName), slog.Any("error", err))
	}
	now, err := x.st.Keys.Credential(x.scriptName)
	if err == nil && (!now.Key.Same(used.Key) || now.SiteName != used.SiteName) {
		// The fault proves that nothing was done, and the key has changed since.
		x.cred, x.retried = now, "key_changed"
		again, err := x.send()
		if err != nil || again.code != flow.FaultAuth {
			return again, err
		}
		again.close(x.p)
	}
	x.refuse(KeyRefused, "the site refuses the key of "+x.scriptName+" (Script "+shown(x.cred.SiteName)+", key version "+orNone(x.cred.Version)+")",
		"put the Script's current key into its source; Stagedoor takes it up at the next call")
	return nil, nil
}

func orNone(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
