package flowsite

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// restSecret is a credential of a REST call and the name it was sent under.
type restSecret struct{ name, value string }

// echo repeats every secret of the call in the answer: each in a member of its
// own and in headers, whatever the answer is, and in a redirect's address.
func (a *restAnswer) echo(h http.Header) {
	for _, s := range a.secrets {
		prefix := "X-Echo-" + strings.ReplaceAll(s.name, "_", "-") + "-"
		for kind, v := range Echoes(s.value) {
			if !strings.ContainsAny(v, "\r\n\x00") {
				h.Set(prefix+strings.ReplaceAll(kind, "_", "-"), v)
			}
		}
		h.Set("Content-Language", url.QueryEscape(s.value))
		h.Add("Set-Cookie", "echo_"+s.name+"="+url.QueryEscape(s.value)+"; path=/")
		if at := h.Get("Location"); at != "" && !strings.Contains(at, "X-Amz-Signature=") { // a signed link has it within
			sep := "?"
			if strings.Contains(at, "?") {
				sep = "&"
			}
			h.Set("Location", at+sep+"echo="+url.QueryEscape(s.value))
		}
		a.body = s.into(a.body)
	}
}

// into adds the echoes to a body: to an object as a member, to text as more of
// it. An answer of one space stays one: a client counts on it.
func (s restSecret) into(body []byte) []byte {
	switch {
	case len(body) < 2:
		return body
	case body[0] != '{' || body[len(body)-1] != '}':
		return append(slices.Clip(body), "\n"+s.value+"\n"...)
	}
	m := map[string]any{}
	for kind, v := range Echoes(s.value) {
		m[kind] = v
	}
	out := body[: len(body)-1 : len(body)-1]
	if len(body) > 2 {
		out = append(out, ',')
	}
	out = append(out, `"echo_`+s.name+`":`...)
	out = appendJSON(out, m)
	return append(out[:len(out)-1], `,"json_escaped":"`+jsonEscaped(s.value)+`"}}`...)
}
