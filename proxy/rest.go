package proxy

import (
	"fmt"
	"net/http"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/upstream"
)

func (x *exchange) parseREST() (*flow.REST, error) {
	return x.p.parser.ParseREST(flow.RESTRequest{
		Method: x.r.Method, Path: x.r.URL.Path, Query: x.r.URL.RawQuery, ContentType: x.r.Header["Content-Type"], Body: x.body.b,
	}, x.st.Types, x.links(), x.st.MaxDepth)
}

// sendREST sends a call with a bearer token of ours.
func (x *exchange) sendREST() {
	for again := range 2 {
		if x.call.Group != flow.GroupInfo { // info goes without: flow-protocol §5.1
			if err := x.obtain(withBearer); err != nil {
				x.refuseMint(err)
				return
			}
		}
		res, err := x.do(x.restRequest())
		switch {
		case err != nil && x.sourceFailed(err):
			return
		case err != nil:
			x.siteFailed(err)
			return
		case x.session == nil || !x.mayBeDead(res):
			x.answerREST(res)
			return
		}
		if done := x.bearerRefused(res); done {
			return
		}
		if x.meter.begun() {
			x.dead(withBearer)
			x.refuse(KeyRefused, "the token that the file went with had ended at the site", "send the file again")
			x.deny()
			return
		}
		if again == 0 {
			x.dead(withBearer)
			x.retried = "session_ended" // which proves that nothing was done
		}
	}
	what, advice := x.keyRefusal()
	x.refuse(KeyRefused, what, advice)
	x.deny()
}

// mayBeDead says whether the site wants another token.
func (x *exchange) mayBeDead(res *http.Response) bool {
	return res.StatusCode == http.StatusUnauthorized || x.call.Group == flow.GroupDownload && isLoginPage(res)
}

// bearerRefused reads why. 401 also says that a call takes an admin, which goes
// on to the tool: then it is done.
func (x *exchange) bearerRefused(res *http.Response) (done bool) {
	if res.StatusCode != http.StatusUnauthorized {
		_ = res.Body.Close()
		return false
	}
	a, err := x.open(res)
	if err != nil {
		x.siteFailed(err)
		return true
	}
	if code := flow.ReadErrors(a.head); code != 0 && code != flow.FaultAuth {
		x.answer(a)
		return true
	}
	a.close(x.p)
	return false
}

func (x *exchange) restRequest() upstream.Request {
	var names []string
	if x.call.Group == flow.GroupDownload {
		names = x.fileHeaders()
	}
	if x.rest.Stream {
		names = append(names, "Content-Size")
	}
	r := upstream.Request{Method: x.rest.Verb, Path: target(x.rest.Path, x.rest.Query), Header: x.requestHeader(x.rest.ContentType, names...)}
	if x.session != nil {
		r.Header = append(r.Header, [2]string{"Authorization", flow.Bearer(x.session.token)})
	}
	if x.rest.Stream {
		r.Stream, r.Length, r.Fresh = x.meter, x.r.ContentLength, true
		return r
	}
	r.Body = append([]byte(nil), x.rest.Body...) // the sender clears what it sends
	return r
}

func target(path, query string) string {
	if query == "" {
		return path
	}
	return path + "?" + query
}

func (x *exchange) answerREST(res *http.Response) {
	status := res.StatusCode
	if x.call.Group == flow.GroupDownload {
		x.answerFile(res)
		return
	}
	switch {
	case status >= 300 && status <= 399 && status != http.StatusNotModified:
		_ = res.Body.Close()
		x.refuse(SiteRedirect, "", "")
		x.deny()
		return
	case status >= 500 && x.call.Writes:
		// A client sends any of these again, writes too (flow-protocol §5.7).
		_ = res.Body.Close()
		x.result = audit.ResultSiteError
		x.refuse(SiteFailed, fmt.Sprintf("the site answered %s with status %d; it may have been done: look before you repeat it", x.call.Method, status), "")
		x.deny()
		return
	}
	a, err := x.open(res)
	if err != nil {
		x.siteFailed(err)
		return
	}
	x.answer(a)
}

// filters says whether the answer may hold fields that the call did not name.
func (x *exchange) filters() bool { return x.rest != nil && x.rest.Filter.Records }

// filtered takes out what the script may not read. It fails for an answer that
// can't be read.
func (x *exchange) filtered(a *reply) (out []byte, n int, err error) {
	if !x.filters() || a.res.StatusCode >= 300 || len(a.head) == 0 {
		return a.head, 0, nil
	}
	return flow.FilterRecords(a.head, x.rest.Filter, x.reader.May)
}
