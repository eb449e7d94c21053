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
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/secret"
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
	// should end in a status and not in a broken connection (flow-protocol
	// §1.7), and answers that may tell old and new values of fields. A longer
	// answer to a write is handed on as it comes; one that may tell values
	// fails.
	maxSpool = 32 << 20
	// maxSpooled bounds the answers to reads that are read to their end together,
	// as max_buffered does for requests; spoolStep is how they are charged. Those
	// to writes are bounded by the calls in flight: one that had to go on in
	// pieces because others hold the room could break off, and the write be sent
	// again.
	maxSpooled = 256 << 20
	spoolStep  = 1 << 20
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
	switch {
	case x.isLocal():
		x.answerHere()
	case x.way == wayForm && x.form.HasFile():
		x.upload()
	case x.way == wayDownload:
		x.download()
	case x.way == wayREST:
		x.sendREST()
	case x.way == wayStorage:
		x.sendToStorage()
	default:
		x.sendCall()
	}
}

// sendCall sends an RPC call, or a form without a file.
func (x *exchange) sendCall() {
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
	if x.way == wayForm {
		x.answerForm(ans)
		return
	}
	x.answer(ans)
}

// outgoing builds the bytes to send from the checked message.
func (x *exchange) outgoing() upstream.Request {
	switch {
	case x.way == wayForm:
		contentType, b := x.form.Encode(x.cred)
		return upstream.Request{Path: x.r.URL.Path, Body: b, Header: x.requestHeader(contentType)}
	case x.call.UserAuth:
		return upstream.Request{Path: pathAPI3, Body: x.rpc.UserBody(), Header: x.requestHeader(typeJSON)}
	}
	return upstream.Request{Path: pathAPI3, Body: x.rpc.Body(x.cred), Header: x.requestHeader(typeJSON)}
}

const typeJSON = "application/json; charset=utf-8"

// requestHeader is built from nothing: what is not named here is not sent.
func (x *exchange) requestHeader(contentType string, names ...string) [][2]string {
	out := make([][2]string, 0, 8)
	if contentType != "" {
		out = append(out, [2]string{"Content-Type", contentType})
	}
	out = append(out,
		[2]string{"Accept-Encoding", x.accepts()},
		[2]string{"User-Agent", x.userAgent()},
		[2]string{headerRequestID, x.id})
	for _, names := range [2][]string{{"Accept", "Accept-Language", "Locale"}, names} {
		for _, name := range names {
			if v := x.passed(name); v != "" {
				out = append(out, [2]string{name, v})
			}
		}
	}
	return out
}

// accepts is the codings that the site may answer in: none for files, whose
// lengths and ranges have to hold.
func (x *exchange) accepts() string {
	if x.call.Group == flow.GroupDownload {
		return "identity"
	}
	return "gzip"
}

// passed is a header's value if it may go on: there once, clean, and not named
// by Connection as meant for this hop alone (RFC 9110 §7.6.1).
func (x *exchange) passed(name string) string {
	v := x.r.Header[name]
	if len(v) != 1 || !isClean(v[0]) {
		return ""
	}
	for _, line := range x.r.Header["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			if is(token, name) {
				return ""
			}
		}
	}
	return v[0]
}

func (x *exchange) userAgent() string {
	if v := x.passed("User-Agent"); v != "" {
		return v + " " + x.p.userAgent
	}
	return x.p.userAgent
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
	z    *unpacker // body, when it was packed
	buf  *[]byte
	// charged is what the answer takes of maxSpooled.
	charged int64
	head    []byte
	all     bool // head is the whole body
	// code and message are a fault's; code is 0 for any other answer.
	code    int
	message string
	fault   bool
}

func (a *reply) close(p *Proxy) {
	_ = a.res.Body.Close()
	p.spooled.Add(-a.charged)
	a.charged = 0
	if a.z != nil {
		p.unpack.put(a.z)
		a.z, a.body = nil, nil
	}
	if a.buf != nil {
		p.buffers.put(a.buf)
		a.buf = nil
	}
}

// send sends the call once; a read whose kept connection died under it before
// any byte of an answer is sent once more.
func (x *exchange) send() (*reply, error) { return x.sendOnce(x.outgoing()) }

func (x *exchange) sendOnce(req upstream.Request) (*reply, error) {
	res, err := x.do(req)
	if err != nil {
		return nil, err
	}
	return x.open(res)
}

func (x *exchange) do(req upstream.Request) (*http.Response, error) {
	defer clear(req.Body)
	start := x.p.cfg.Now()
	ctx := x.r.Context()
	res, err := x.st.Site.Do(ctx, req)
	defer func() {
		took := x.p.cfg.Now().Sub(start)
		x.upstream += took
		x.observeSite(&req, res, err, took)
		x.forgetMoved() // before anybody is told that it was done
	}()
	var ue *upstream.Error
	if errors.As(err, &ue) && ctx.Err() == nil {
		req.Fresh = true // what killed one kept connection may have killed them all
		switch {
		case ue.Reused && ue.Died && !x.call.Writes:
			x.retried = "connection_died"
			res, err = x.st.Site.Do(ctx, req)
		case ue.Reused && !ue.Sent:
			x.retried = "connection_closed"
			res, err = x.st.Site.Do(ctx, req)
		}
	}
	return res, err
}

// open unpacks an answer and reads its beginning, or all of it where it may
// not be handed on in pieces.
func (x *exchange) open(res *http.Response) (*reply, error) {
	a := &reply{res: res, body: res.Body}
	packed, err := isPacked(res.Header["Content-Encoding"])
	if err != nil {
		_ = res.Body.Close()
		return nil, err
	}
	if packed {
		a.z = x.p.unpack.get(res.Body)
		a.body = a.z
	}
	a.buf = x.p.buffers.get()
	n, all, err := readHead(a.body, (*a.buf)[:headSize])
	a.head, a.all = (*a.buf)[:n], all
	if err == nil && !a.all && (x.spools() || x.way != wayREST && flow.MayBeFault(a.head[:min(n, 256)])) {
		err = a.spool(x)
	}
	if err != nil {
		a.close(x.p)
		return nil, fmt.Errorf("reading the site's answer: %w", err)
	}
	if a.all && x.way == wayForm && isKeyRefused(a.head) {
		a.code = flow.FaultAuth
	}
	if a.all && x.way == wayRPC && flow.MayBeFault(a.head) {
		if code, message, ok := flow.ReadFault(a.head); ok {
			a.code, a.message, a.fault = code, message, true
		}
	}
	return a, nil
}

// isKeyRefused says whether the text of an answer to an upload form is how the
// site refuses a script's key (flow-protocol §1.4 has the words).
func isKeyRefused(text []byte) bool {
	return bytes.HasPrefix(text, []byte("0")) && bytes.Contains(text, []byte("Can't authenticate script"))
}

// isPacked says whether an answer is gzip. Any other coding would hide what has
// to be removed from it.
func isPacked(codings []string) (bool, error) {
	switch {
	case len(codings) == 0, len(codings) == 1 && (codings[0] == "" || is(codings[0], "identity")):
		return false, nil
	case len(codings) == 1 && is(codings[0], "gzip"):
		return true, nil
	}
	return false, errors.New("the site's answer has a Content-Encoding that was not asked for")
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
func (x *exchange) spools() bool {
	return x.call.Writes || x.tellsValues() || x.filters() || x.leads()
}

// tellsValues says whether the answer may tell old and new values of fields of
// any type (flow-protocol §2.5).
func (x *exchange) tellsValues() bool {
	return x.call.Method == "activity_stream" || x.call.Reaches("EventLogEntry")
}

var (
	errAnswerTooLong = errors.New("it is longer than may be held until it is complete")
	errAnswersFull   = errors.New("too many long answers are held until they are complete")
	errUnreadable    = errors.New("it may tell values of credential fields and can't be read as JSON")
)

// spool reads on until the answer is complete or at its bound.
func (a *reply) spool(x *exchange) error {
	limit, bounded := int64(maxFault), x.spools()
	switch {
	case bounded && !x.call.Writes && !x.tellsValues() && !x.filters():
		limit = maxShared // only for those who wait for it; a longer one is none of theirs
	case bounded:
		limit = maxSpool
	}
	all := bytes.NewBuffer(bytes.Clone(a.head))
	for read := int64(0); !a.all && read < limit; read += spoolStep {
		if bounded && !x.call.Writes && !a.charge(x.p) {
			break
		}
		_, err := io.CopyN(all, a.body, spoolStep)
		if a.all = errors.Is(err, io.EOF); err != nil && !a.all {
			return err
		}
	}
	a.head = all.Bytes()
	switch {
	case a.all || !x.tellsValues() && !x.filters():
		// A write whose answer is too long to hold goes on in pieces: it was
		// done, and an error in place of its answer would be no better than
		// one that may break off.
		return nil
	case int64(len(a.head)) < limit:
		return errAnswersFull
	}
	return errAnswerTooLong
}

// charge takes one step of what all spooled answers may take together.
func (a *reply) charge(p *Proxy) bool {
	if p.spooled.Add(spoolStep) > maxSpooled {
		p.spooled.Add(-spoolStep)
		return false
	}
	a.charged += spoolStep
	return true
}

// unpacker reads gzip under a bound on its ratio. What is not there at all
// unpacks to nothing: answers without a body name a coding, too.
type unpacker struct {
	z       gzip.Reader
	src     io.Reader
	in, out int64
	begun   bool
}

// source counts what the unpacker takes in.
type source struct{ u *unpacker }

func (s source) Read(p []byte) (int, error) {
	n, err := s.u.src.Read(p)
	s.u.in += int64(n)
	return n, err
}

func (u *unpacker) Read(p []byte) (int, error) {
	if !u.begun {
		u.begun = true
		if err := u.z.Reset(source{u}); err != nil {
			return 0, err // io.EOF if there was nothing
		}
	}
	n, err := u.z.Read(p)
	u.out += int64(n)
	if u.out > ratioFrom && u.out/maxRatio > u.in {
		return n, errors.New("it unpacks beyond any bound")
	}
	return n, err
}

// unpackers keeps gzip readers, which are 40 KiB each.
type unpackers struct{ pool *sync.Pool }

func (u *unpackers) init() { u.pool = &sync.Pool{New: func() any { return new(unpacker) }} }

func (u *unpackers) get(src io.Reader) *unpacker {
	z, ok := u.pool.Get().(*unpacker)
	if !ok {
		z = new(unpacker)
	}
	z.src, z.in, z.out, z.begun = src, 0, 0, false
	return z
}

func (u *unpackers) put(z *unpacker) {
	z.src = nil
	u.pool.Put(z)
}

// siteFailed answers for a site that gave none. A write may have happened, so
// the answer is one that no client sends again (flow-protocol §1.6).
func (x *exchange) siteFailed(err error) {
	if gone(x.r.Context()) {
		x.result = audit.ResultAborted
		return
	}
	x.p.cfg.Logger.Warn("the site failed", slog.String("id", x.id), slog.String("script", x.scriptName), slog.String("error", x.plain(err)))
	var ue *upstream.Error
	var before *notSent
	sent := !errors.As(err, &before) && (!errors.As(err, &ue) || ue.Sent)
	x.result = audit.ResultSiteError
	cut := errors.Is(context.Cause(x.r.Context()), errCut)
	switch {
	case !sent:
		x.result = audit.ResultUnreachable
	case cut: // by a deadline of ours, over HTTP/1.1
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.result = audit.ResultTimeout
	}
	what := "the site did not answer " + x.call.Method
	if cut {
		what = "Stagedoor was stopped before the site answered " + x.call.Method
	}
	if errors.Is(err, flow.ErrNotRecords) {
		what = "the site's answer to " + x.call.Method + " can't be read as records, so what " + x.scriptName + " may not read can't be taken out of it"
	}
	if errors.Is(err, errUnreadable) {
		what = "the site's answer to " + x.call.Method + " names a credential field and can't be read as JSON"
	}
	switch {
	case errors.Is(err, errAnswersFull) && !x.call.Writes:
		x.retryAfter = time.Second
		x.refuse(Busy, "too many long answers are waiting on this host; try again", "")
		x.deny()
		return
	case errors.Is(err, errAnswerTooLong) && !x.call.Writes:
		what = "the site's answer to " + x.call.Method + " is longer than " + size(maxSpool) + "; ask for fewer rows or fields at a time"
	case x.call.Writes && sent:
		what += "; it may have been done: look before you repeat it"
	case !sent:
		what = "the site can't be reached; " + x.call.Method + " was not sent"
	}
	x.refuse(SiteFailed, what, "")
	x.deny()
}

// maxLogged is how much of an error is logged, in bytes.
const maxLogged = 300

// plain is an error of the site for the log. net/http quotes what it can't
// read, and that may be an echo of the key.
func (x *exchange) plain(err error) string {
	text, n := x.scrubber().String(err.Error())
	x.redacted += n
	// What net/http can't read it quotes: it may be a session that nobody here
	// has seen before.
	for _, quotes := range []string{"malformed", "transfer encoding", "Content-Length", `"`} {
		if strings.Contains(text, quotes) {
			return "the site's answer can't be read as HTTP"
		}
	}
	return text[:min(len(text), maxLogged)]
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
	case x.way == wayREST && status >= 400 && status < 500:
		x.result, a.code = audit.ResultFault, flow.ReadErrors(a.head)
	case status >= 400:
		x.result = audit.ResultSiteError
	}
	x.status, x.fault = status, a.code
	if a.fault {
		x.result = audit.ResultFault
	}
	if a.all {
		x.sendWhole(a)
		return
	}
	x.responseHeader(a.res)
	x.stream(a)
}

// responseHeader passes on what a client may see, scrubbed; nothing else.
func (x *exchange) responseHeader(res *http.Response) {
	h, s := x.w.Header(), x.scrubber()
	for _, name := range []string{"Content-Type", "Content-Language", "Date", "Last-Modified", "Location", "Retry-After", "X-Request-Id"} {
		for _, v := range res.Header[name] {
			if name == "Location" && !isLogin(res.StatusCode, v) {
				continue
			}
			clean, n := s.String(v)
			x.redacted += n
			h[name] = append(h[name], clean)
		}
	}
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // or net/http guesses one
	}
}

// isLogin says whether a Location is how a site with single sign-on says that a
// login has expired: tools look for exactly that (flow-protocol §1.6). Any other
// would lead a client past the proxy.
func isLogin(status int, location string) bool {
	return status == http.StatusFound && strings.HasSuffix(location, "/saml/saml_login_request")
}

func (x *exchange) scrubber() *flow.Scrubber {
	var token secret.Value
	if x.session != nil {
		token = x.session.token
	}
	return x.p.scrubs.get(x.scriptName, x.cred, token)
}

// links says where the site's files are for this tool.
func (x *exchange) links() *flow.Links {
	l := &x.where
	if l.Site == "" {
		l.Site, l.Here, l.Also = x.st.Origin, "http://"+x.r.Host, x.l.Origins
		if x.st.Storage != nil {
			l.Relay, l.RelayUp, l.Unrelay = x.relayed, x.relayedUp, x.unrelayed
		}
	}
	return l
}

// emptiesFields says whether members named like a credential field are emptied.
// A schema tells of such fields, it does not hold their values.
func (x *exchange) emptiesFields() bool { return x.call.Group != flow.GroupSchema }

func (x *exchange) sendWhole(a *reply) {
	out, n, err := x.filtered(a)
	if err != nil {
		x.siteFailed(err)
		return
	}
	// Links first: turning one takes a level of escapes off it.
	out, m := x.scrubber().Whole(x.links().Whole(out), x.emptiesFields())
	n += m
	if x.tellsValues() {
		clean, m, ok := flow.EmptyMeta(out)
		if !ok {
			x.siteFailed(errUnreadable)
			return
		}
		out, n = clean, n+m
	}
	x.redacted += n
	x.responseHeader(a.res)
	if x.status != http.StatusNoContent && x.status != http.StatusNotModified {
		x.w.Header()["Content-Length"] = []string{strconv.Itoa(len(out))}
	}
	x.keep(x.status, out)
	x.writeHeader(x.status)
	written, err := x.w.Write(out)
	x.sent = int64(written)
	if err != nil {
		x.result = audit.ResultAborted
	}
}

// stream hands a long answer on as it comes.
func (x *exchange) stream(a *reply) {
	x.writeHeader(x.status)
	buf := x.p.buffers.get()
	defer x.p.buffers.put(buf)
	turned := x.p.buffers.get()
	defer x.p.buffers.put(turned)
	whole := io.MultiReader(bytes.NewReader(a.head), a.body)
	r := x.scrubber().NewReader(x.links().NewReader(whole, *turned), *buf, x.emptiesFields()) // links first, as in sendWhole
	start := x.p.cfg.Now()
	through := x.p.buffers.get()
	defer x.p.buffers.put(through)
	n, err := io.CopyBuffer(&patient{w: x.w, rc: http.NewResponseController(x.w), now: x.p.cfg.Now}, r, *through)
	x.upstream += x.p.cfg.Now().Sub(start)
	x.sent = n
	x.redacted += r.Redactions()
	if err != nil {
		// Cut the connection: a short answer must not look complete.
		x.result = audit.ResultAborted
		panic(http.ErrAbortHandler)
	}
}

// patient gives the caller writeTime for each piece. It also hides ReadFrom.
type patient struct {
	w   io.Writer
	rc  *http.ResponseController
	now func() time.Time
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(p.now().Add(writeTime))
	return p.w.Write(b)
}

// authFault deals with the site refusing a credential. It returns the answer
// to hand on, or none after a refusal of ours.
func (x *exchange) authFault(a *reply) (*reply, error) {
	if x.call.UserAuth || x.call.Group == flow.GroupInfo {
		return a, nil // it was not our key
	}
	if x.call.SudoAsLogin != "" && !x.p.keyRefused(x) {
		return x.loginRefused(a), nil
	}
	a.close(x.p)
	used := x.cred
	now, err := x.newerKey()
	if err == nil && (!now.Key.Same(used.Key) || now.SiteName != used.SiteName) {
		// The fault proves that nothing was done, and the key has changed since.
		x.cred, x.retried = now, "key_changed"
		again, err := x.send()
		if err != nil || again.code != flow.FaultAuth {
			return again, err
		}
		if x.call.SudoAsLogin != "" && !x.p.keyRefused(x) {
			return x.loginRefused(again), nil
		}
		again.close(x.p)
	}
	what, advice := x.keyRefusal()
	x.refuse(KeyRefused, what, advice)
	return nil, nil
}

// keyRefusal says that the site refuses the key, and what to do.
func (x *exchange) keyRefusal() (what, advice string) {
	return "the site refuses the key of " + x.scriptName + " (Script " + siteName(x.cred) + ", key version " + orNone(x.cred.Version) + ")",
		"put the Script's current key into its source; Stagedoor takes it up within " + maxAsk.String()
}

// newerKey is the key of now: from memory where it has changed since the call
// was sent, else from its source.
func (x *exchange) newerKey() (secret.Credential, error) {
	now, err := x.st.Keys.Credential(x.scriptName)
	if err == nil && now.Key.Same(x.cred.Key) {
		x.p.askSource(x)
		return x.st.Keys.Credential(x.scriptName)
	}
	return now, err
}

// loginRefused makes an authentication fault a permission fault. The key is
// good: it is the login of sudo_as_login that the site does not accept, and 102
// would make Toolkit open a login window.
func (x *exchange) loginRefused(a *reply) *reply {
	if x.way == wayForm {
		a.code = 0
		return a // its text is no fault that opens a window
	}
	a.head = flow.AppendFault(nil, flow.FaultDenied, a.message)
	a.code, a.all = flow.FaultDenied, true
	a.res.StatusCode = http.StatusOK
	a.res.Header["Content-Type"] = []string{"application/json; charset=utf-8"}
	return a
}

// siteName is the Script's name on the site: the operator's own word, unlike
// what a call holds, but short and printable all the same.
func siteName(c secret.Credential) string {
	return strconv.Quote(c.SiteName[:min(len(c.SiteName), flow.MaxName)])
}

func orNone(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
