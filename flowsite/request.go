package flowsite

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// rpc is a request body taken apart.
type rpc struct {
	method string
	auth   auth
	params []any // less the auth object
	args   any   // params[1]: map[string]any, []any for batch, nil
}

// typeName is the entity type that the call names, "" where it names none.
func (c rpc) typeName() string {
	m, _ := c.args.(map[string]any)
	t, _ := m["type"].(string)
	return t
}

// judge finds everything about the request that no client sends. It is
// stricter than the real site is known to be, on purpose: what a proxy passes
// on that it shouldn't has to show.
func (x *exchange) judge() []string {
	found := x.judgeLine()
	found = append(found, x.judgeHeaders()...)
	call, more := x.site.judgeBody(x.rec.Body)
	x.call, x.secret = call, call.auth.secret()
	x.rec.Method, x.rec.Type, x.rec.Params = call.method, call.typeName(), call.params
	x.rec.Credential, x.rec.Script, x.rec.Sudo = call.auth.kind, call.auth.script, call.auth.sudo
	x.rec.SessionUUID = call.auth.uuid
	return append(found, more...)
}

func (x *exchange) judgeLine() []string {
	var found []string
	if x.r.Method != http.MethodPost {
		found = append(found, "the verb is "+x.r.Method)
	}
	if x.r.RequestURI != "/api3/json" {
		found = append(found, "the target is "+x.r.RequestURI)
	}
	return append(found, x.judgeOrigin()...)
}

// judgeOrigin: the protocol and the host, which are the same for every call.
func (x *exchange) judgeOrigin() []string {
	return x.judgeHost(x.site.hostsOf(&x.site.hosts))
}

func (x *exchange) judgeHost(hosts []string) []string {
	var found []string
	if !x.r.ProtoAtLeast(1, 1) {
		found = append(found, "the protocol is "+x.r.Proto)
	}
	if len(hosts) > 0 && !slices.Contains(hosts, x.r.Host) {
		found = append(found, "the host is "+x.r.Host)
	}
	return found
}

// usualHeaders are those of flow-protocol §1.1, what a proxy may well add
// (Accept, Accept-Language, X-Request-Id), and no other.
func usualHeaders() []string {
	return []string{
		"Accept", "Accept-Encoding", "Accept-Language", "Connection", "Content-Length", "Content-Type",
		"Locale", "User-Agent", "X-Request-Id",
	}
}

func (x *exchange) judgeHeaders() []string {
	found := x.judgeHeaderNames(usualHeaders())
	if v := x.r.Header.Get("Connection"); v != "" && !strings.EqualFold(v, "keep-alive") {
		found = append(found, "Connection: "+v)
	}
	if x.r.ContentLength < 0 || len(x.r.TransferEncoding) > 0 {
		found = append(found, "no content length")
	}
	return append(found, judgeContentType(x.r.Header.Get("Content-Type"))...)
}

// judgeHeaderNames finds headers beside the usual ones and those allowed,
// repeated ones, and trailers.
func (x *exchange) judgeHeaderNames(usual []string) []string {
	var found []string
	usual = append(usual, x.site.opts.AllowHeaders...)
	for _, name := range sortedKeys(x.r.Header) {
		if !slices.Contains(usual, name) {
			found = append(found, "header "+name)
		} else if len(x.r.Header[name]) != 1 {
			found = append(found, "header "+name+" repeated")
		}
	}
	if len(x.r.Trailer) > 0 {
		found = append(found, "trailers")
	}
	return found
}

func judgeContentType(v string) []string {
	kind, params, err := mime.ParseMediaType(v)
	if err != nil || kind != "application/json" {
		return []string{fmt.Sprintf("content type %q", v)}
	}
	for name, p := range params {
		if name != "charset" || !strings.EqualFold(p, "utf-8") {
			return []string{fmt.Sprintf("content type %q", v)}
		}
	}
	return nil
}

func (s *Site) judgeBody(body []byte) (rpc, []string) {
	v, err := parseJSON(body)
	if err != nil {
		return rpc{}, []string{err.Error()}
	}
	m, ok := v.(map[string]any)
	if !ok || len(m) != 2 {
		return rpc{}, []string{"the body is not an object of method_name and params"}
	}
	var c rpc
	c.method, ok = m["method_name"].(string)
	params, isList := m["params"].([]any)
	if !ok || !isList {
		return c, []string{"method_name is no string or params is no array"}
	}
	if c.method == "info" {
		if len(params) > 0 {
			return c, []string{"info has params: no client sends any"}
		}
		return c, nil
	}
	if len(params) == 0 {
		return c, []string{"params has no auth object"}
	}
	var found []string
	c.auth, found = readAuth(params[0])
	c.params = params[1:]
	if len(c.params) > 1 {
		return c, append(found, "params has more than two members")
	}
	if len(c.params) == 1 {
		c.args = c.params[0]
		if c.args == nil {
			found = append(found, "the argument is null: clients leave it out")
		}
	}
	if m, known := s.methods[c.method]; known {
		found = append(found, m.judge(c)...)
	}
	return c, found
}
