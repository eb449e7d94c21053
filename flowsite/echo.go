package flowsite

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Echoes are the encodings in which a site with Options.Echo repeats a
// secret, by name. A test looks for each of them in what came out of the
// proxy.
func Echoes(secret string) map[string]string {
	b := []byte(secret)
	return map[string]string{
		"plain":       secret,
		"url":         url.QueryEscape(secret),
		"path":        url.PathEscape(secret),
		"percent":     percent(b),
		"hex":         hex.EncodeToString(b),
		"hex_upper":   strings.ToUpper(hex.EncodeToString(b)),
		"base64":      base64.StdEncoding.EncodeToString(b),
		"base64_url":  base64.RawURLEncoding.EncodeToString(b),
		"base64_of_1": base64.StdEncoding.EncodeToString(append([]byte("x"), b...)),
		"base64_of_2": base64.StdEncoding.EncodeToString(append([]byte("xx"), b...)),
		"basic":       base64.StdEncoding.EncodeToString([]byte("script:" + secret)),
		"in_text":     `<a href="/?k=` + secret + `">`,
	}
}

func percent(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, "%%%02X", c)
	}
	return s.String()
}

// jsonEscaped writes each UTF-16 unit as \uXXXX: the same text to a JSON
// reader, other bytes to a search.
func jsonEscaped(s string) string {
	var out strings.Builder
	for _, r := range s {
		if r > 0xffff {
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			continue
		}
		fmt.Fprintf(&out, `\u%04x`, r)
	}
	return out.String()
}

// withEchoes adds a member "echo" to an answer, which clients ignore.
func withEchoes(body []byte, secret string) []byte {
	m := map[string]any{}
	for name, v := range Echoes(secret) {
		m[name] = v
	}
	out := append(body[:len(body)-1:len(body)-1], `,"echo":`...)
	out = appendJSON(out, m)
	out = append(out[:len(out)-1], `,"json_escaped":"`+jsonEscaped(secret)+`"}`...)
	return append(out, '}')
}

// withEchoLines adds the echoes to an answer in text, one a line.
func withEchoLines(body []byte, secret string) []byte {
	if secret == "" {
		return body
	}
	all := Echoes(secret)
	for _, name := range sortedKeys(all) {
		body = append(body, name+": "+all[name]+"\n"...)
	}
	return body
}

func echoHeaders(h http.Header, secret string) {
	if secret == "" {
		return
	}
	for name, v := range Echoes(secret) {
		if !strings.ContainsAny(v, "\r\n\x00") {
			h.Set("X-Echo-"+strings.ReplaceAll(name, "_", "-"), v)
		}
	}
	// A header that a proxy passes on, too.
	h.Set("Content-Language", url.QueryEscape(secret))
	h.Add("Set-Cookie", "echo="+url.QueryEscape(secret)+"; path=/")
	if to := h.Get("Location"); to != "" && !strings.Contains(to, "X-Amz-Signature=") { // a signed link has it within
		sep := "?"
		if strings.Contains(to, "?") {
			sep = "&"
		}
		h.Set("Location", to+sep+"echo="+url.QueryEscape(secret))
	}
}
