package proxy

import (
	"errors"
	"net/http"
	"os"
	"strings"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/upstream"
)

// formRoom is what a form with a file takes of max_buffered while it is read and
// its file goes through, in bytes.
const formRoom = 384 << 10

// parseForm reads an upload call: all of it, or up to where its file begins.
func (x *exchange) parseForm() (*flow.Form, error) {
	path := x.r.URL.Path
	if !x.isFile() {
		return flow.ParseForm(path, x.body.b, x.links())
	}
	if x.r.ContentLength < 0 {
		return nil, &flow.ParseError{Flaw: flow.FlawShape, Msg: "a form with a file comes without Content-Length"}
	}
	room := min(formRoom, x.st.MaxBody)
	x.body.room = x.p.buffered.For(room)
	if err := x.reserve(room); err != nil {
		return nil, err
	}
	f, err := flow.ReadMultipart(path, x.contentType(), x.meter, x.r.ContentLength, x.p.cfg.Entropy, x.links())
	if err == nil && !f.HasFile() {
		x.body.complete = true
	}
	return f, err
}

func (x *exchange) contentType() string {
	if v := x.r.Header["Content-Type"]; len(v) == 1 {
		return v[0]
	}
	return ""
}

// upload sends a form with a file. The file goes on as it comes, and the call
// is complete at the site only if it is complete here.
func (x *exchange) upload() {
	contentType, head := x.form.Head(x.cred)
	file, length := x.form.File()
	res, err := x.do(upstream.Request{
		Path: x.r.URL.Path, Header: x.requestHeader(contentType), Body: head, Stream: file, Length: length,
		Fresh: true, // it can't be sent again if a kept connection has died
	})
	var a *reply
	if err == nil {
		a, err = x.open(res)
	}
	switch {
	case err == nil && a.code == flow.FaultAuth:
		a.close(x.p)
		x.refuseSent()
	case err == nil:
		x.answerForm(a)
	case x.sourceFailed(err):
	default:
		x.siteFailed(err)
	}
}

// refuseSent answers for a file whose key the site refuses. Nothing was done, but
// the file can't be sent again from here.
func (x *exchange) refuseSent() {
	used := x.cred.Key
	what, advice := x.keyRefusal()
	if now, err := x.newerKey(); err == nil && !now.Key.Same(used) {
		what, advice = "the site refused the key, which has just been replaced", "send the file again"
	}
	x.refuse(KeyRefused, what, advice)
	x.deny()
}

// maxSaid is how much of the site's own words a refusal repeats, in bytes.
const maxSaid = 200

// said is the first line of a text of the site's, scrubbed before it is cut.
func (x *exchange) said(a *reply) string {
	text, n := x.scrubber().Whole(a.head, false)
	x.redacted += n
	line, _, _ := strings.Cut(string(text), "\n")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, line)
	return strings.TrimSpace(line[:min(len(line), maxSaid)])
}

// sourceFailed deals with a file that did not come as it was announced. The
// request to the site was broken off with it.
func (x *exchange) sourceFailed(err error) bool {
	var ue *upstream.Error
	if !errors.As(err, &ue) || !ue.Source {
		return false
	}
	var p *flow.ParseError
	switch {
	case errors.As(err, &p):
		x.refuseParse(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.w.Header()["Connection"] = []string{"close"}
		x.refuse(TooSlow, "", "")
	default: // nobody is there to be told
		x.result = audit.ResultAborted
		return true
	}
	x.deny()
	return true
}

// answerForm hands the text of an upload call's answer back. Whatever else the
// site says becomes a text too: the client would send an upload again for any
// status but 200, and follow a redirect (flow-protocol §3.4).
func (x *exchange) answerForm(a *reply) {
	if status := a.res.StatusCode; status >= 400 && status < 500 && a.all {
		x.result = audit.ResultSiteError
		text := x.said(a)
		a.close(x.p)
		x.refuse(SiteFailed, "the site refused "+x.call.Method+" with status "+itoa(int64(status))+": "+text, "")
		x.deny()
		return
	}
	if a.res.StatusCode != http.StatusOK || !a.all {
		a.close(x.p)
		x.result = audit.ResultSiteError
		x.refuse(SiteFailed, "the site answered "+x.call.Method+" with status "+itoa(int64(a.res.StatusCode))+"; the upload may have happened: look before you repeat it", "")
		x.deny()
		return
	}
	defer a.close(x.p)
	a.head = x.links().Text(a.head)
	x.status, x.fault = http.StatusOK, a.code
	if len(a.head) > 0 && a.head[0] == '0' {
		x.result = audit.ResultFault
	}
	x.sendWhole(a)
}
