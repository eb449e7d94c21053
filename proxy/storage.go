package proxy

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/upstream"
)

// relayed is a request for a pre-signed link, whose credential is its own.
type relayed struct {
	flow.Carried

	call   flow.Call
	host   string
	target string // path and query, as the site made them
}

// relayed is a link to storage as a link through the proxy, sealed so that none
// but those that the site gave out here lead anywhere.
func (x *exchange) relayed(link string) (string, bool) { return x.seal(http.MethodGet, link) }

// relayedUp is relayed for links that a file is sent to.
func (x *exchange) relayedUp(link string) (string, bool) { return x.seal(http.MethodPut, link) }

func (x *exchange) seal(verb, link string) (string, bool) {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || !isSigned(u) || !x.st.Storage.Allows(strings.ToLower(u.Host)) {
		return "", false
	}
	rest, ok := strings.CutPrefix(link, u.Scheme+"://"+u.Host)
	if !ok || !strings.HasPrefix(rest, "/") {
		return "", false
	}
	text := strings.ToLower(u.Host) + rest
	seal := x.st.Handles.Seal(x.l.Name, x.scriptName, verb+" "+text)
	if seal == "" {
		return "", false
	}
	name := base64.RawURLEncoding.EncodeToString([]byte(x.scriptName))
	return "http://" + x.r.Host + storagePrefix + name + "." + seal + "/" + text, true
}

// isSigned says whether a link brings its own signature, as those of the site
// to its storage do (flow-protocol §4.1). Any other is a link that somebody wrote,
// or a login page: that of single sign-on has a Signature, too.
func isSigned(u *url.URL) bool {
	q := u.Query()
	switch {
	case isSSO(u):
		return false
	case q.Has("X-Amz-Signature"), q.Has("X-Goog-Signature"):
		return true
	case q.Has("Signature"):
		return q.Has("Expires") && (q.Has("AWSAccessKeyId") || q.Has("GoogleAccessId")) || q.Has("Key-Pair-Id")
	}
	return q.Has("sig") && q.Has("se") && q.Has("sv")
}

// isSSO says whether a link leads to a login by SAML.
func isSSO(u *url.URL) bool {
	q := u.Query()
	return q.Has("SAMLRequest") || q.Has("SAMLResponse") || q.Has("RelayState")
}

// unseal says whose link it is that stands behind the prefix, and what it was.
func (x *exchange) unseal(sealed string, verbs ...string) (script, text string, ok bool) {
	who, text, _ := strings.Cut(sealed, "/")
	name, seal, _ := strings.Cut(who, ".")
	b, err := base64.RawURLEncoding.Strict().DecodeString(name)
	if err != nil || !slices.Contains(x.l.Scripts, string(b)) {
		return "", "", false
	}
	for _, verb := range verbs {
		ok = ok || x.st.Handles.Unseal(seal, x.l.Name, string(b), verb+" "+text)
	}
	return string(b), text, ok
}

// unrelayed is the site's own link again.
func (x *exchange) unrelayed(link string) (string, bool) {
	for _, origin := range append([]string{"http://" + x.r.Host}, x.l.Origins...) {
		at := len(origin) + len(storagePrefix)
		if len(link) < at || !strings.EqualFold(link[:at], origin+storagePrefix) {
			continue
		}
		if _, text, ok := x.unseal(link[at:], http.MethodGet, http.MethodPut); ok {
			return "https://" + text, true
		}
		x.badLink = true // the site must not be told of an address of ours
	}
	return "", false
}

// parseStorage reads a relayed link: the seal says whose it is.
func (x *exchange) parseStorage() bool {
	verb := http.MethodGet // and HEAD
	if x.r.Method == http.MethodPut {
		verb = http.MethodPut
	}
	script, text, ok := x.unseal(strings.TrimPrefix(x.r.RequestURI, storagePrefix), verb)
	host, _, _ := strings.Cut(text, "/")
	if !ok || x.st.Storage == nil || !x.st.Storage.Allows(host) {
		return x.refuse(BadRoute, "this is no link to storage that was given out here", "")
	}
	r := &relayed{host: host, target: text[len(host):]}
	r.call = flow.Call{Kind: flow.KindStorage, Method: "storage_get", Group: flow.GroupDownload, ScriptName: script}
	if x.r.Method == http.MethodPut {
		r.call.Method, r.call.Group, r.call.Writes = "storage_put", flow.GroupUpload, true
	}
	r.SetToken(x.headerToken()) // clients that are redirected here bring it along
	x.relay, x.msg, x.call = r, r, &r.call
	return true
}

// sendToStorage streams between the tool and a storage host. No credential of
// ours goes there, and what the host answers goes on as it is.
func (x *exchange) sendToStorage() {
	r := upstream.Request{Method: x.r.Method, Path: x.relay.target, Header: x.requestHeader("", append(x.storageHeaders(), "Content-Type")...)}
	if x.r.Method == http.MethodPut {
		r.Stream, r.Length, r.Fresh = x.meter, x.r.ContentLength, true
	}
	start := x.p.cfg.Now()
	res, err := x.st.Storage.Do(x.r.Context(), x.relay.host, r) //nolint:bodyclose // answerStorage closes it
	x.upstream += x.p.cfg.Now().Sub(start)
	switch {
	case err != nil && x.sourceFailed(err):
	case err != nil:
		x.siteFailed(err)
	default:
		x.answerStorage(res)
	}
}

// storageHeaders are those of a file. Nothing secret goes to storage, so any part
// may be asked for.
func (x *exchange) storageHeaders() []string {
	return []string{"Range", "If-Range", "If-None-Match", "If-Modified-Since"}
}

func (x *exchange) answerStorage(res *http.Response) {
	defer func() { _ = res.Body.Close() }()
	x.status = res.StatusCode
	if x.status >= 300 && x.status <= 399 && x.status != http.StatusNotModified {
		x.refuse(SiteRedirect, "", "")
		x.deny()
		return
	}
	if x.status >= 400 {
		x.result = audit.ResultSiteError
	}
	x.fileHeader(res, false)
	if v := res.Header["Content-Encoding"]; len(v) == 1 {
		x.w.Header()["Content-Encoding"] = v
	}
	x.pour(x.p.scrubs.empty, res.Body, false, false)
}
