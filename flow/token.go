package flow

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"stagedoor/secret"
)

// AccessSeconds is how long an access token says that it lives, the site's own
// number (flow-protocol §5.2).
const AccessSeconds = 600

// maxToken is the longest session or token of the site's that is taken, in
// bytes. The longest seen has 527; what scrubs them grows with their length.
const maxToken = 4 << 10

// maxTokenSeconds is the longest life that a token is believed to have: a year.
const maxTokenSeconds = 365 * 24 * 60 * 60

// SessionCall is the call that gets a session of the site's for a script, as the
// login and session_uuid that were granted, each "" for none. Like [Probe] it
// is the proxy's own.
func SessionCall(sudo, uuid string) *Message {
	return &Message{
		Call: Call{
			Kind: KindRPC, Method: "get_session_token", Group: GroupSession, Writes: true,
			SudoAsLogin: sudo, SessionUUID: uuid,
		},
		auth: true,
	}
}

// ReadSession takes the session out of the site's answer to [SessionCall]; ok is
// false for any other answer, and for a session that could not be sent as a
// cookie or be found in an answer.
func ReadSession(answer []byte) (session secret.Value, ok bool) {
	var a struct {
		Results struct {
			ID string `json:"session_id"`
		} `json:"results"`
	}
	if json.Unmarshal(answer, &a) != nil || !isCookieValue(a.Results.ID) {
		return secret.Value{}, false
	}
	return token(a.Results.ID)
}

// TokenForm is the body of POST /api/v1/auth/access_token that gets a bearer
// token for a script (flow-protocol §5.2). Its content type is
// application/x-www-form-urlencoded.
func TokenForm(c secret.Credential, sudo, uuid string) []byte {
	// With room for all: grown later, a key would be left in what it grew from.
	const escaped = 3 // bytes of %41
	out := make([]byte, 0, escaped*(c.Key.Len()+len(c.SiteName)+len(sudo)+len(uuid))+128)
	out = append(out, "grant_type=client_credentials&client_id="...)
	out = append(out, url.QueryEscape(c.SiteName)...)
	out = append(out, "&client_secret="...)
	c.Key.Reveal(func(k []byte) { out = append(out, url.QueryEscape(string(k))...) })
	if sudo != "" {
		out = append(out, "&scope="...)
		out = append(out, url.QueryEscape("sudo_as_login:"+sudo)...)
	}
	if uuid != "" {
		out = append(out, "&session_uuid="...)
		out = append(out, url.QueryEscape(uuid)...)
	}
	return out
}

// ReadToken takes the access token and its life out of the site's answer to
// [TokenForm]; ok is false as for [ReadSession]. The refresh token is not kept:
// a new access token costs no more than a refreshed one.
func ReadToken(answer []byte) (access secret.Value, life time.Duration, ok bool) {
	var a struct {
		Type    string `json:"token_type"`
		Access  string `json:"access_token"`
		Expires int64  `json:"expires_in"`
	}
	if json.Unmarshal(answer, &a) != nil || !strings.EqualFold(a.Type, "bearer") || !isToken68(a.Access) ||
		a.Expires <= 0 || a.Expires > maxTokenSeconds {
		return secret.Value{}, 0, false
	}
	access, ok = token(a.Access)
	return access, time.Duration(a.Expires) * time.Second, ok
}

// token keeps what is long enough to be scrubbed from answers, and no longer
// than is worth it.
func token(s string) (secret.Value, bool) {
	if len(s) < secret.MinLen || len(s) > maxToken {
		return secret.Value{}, false
	}
	return secret.FromString(s), true
}

// isCookieValue says whether s may stand in a Cookie header as it is (RFC 6265,
// cookie-octet).
func isCookieValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || strings.IndexByte(`",;\`, c) >= 0 {
			return false
		}
	}
	return true
}

// isToken68 says whether s may stand behind Bearer (RFC 6750, b64token).
func isToken68(s string) bool {
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~+/=", c) >= 0) {
			return false
		}
	}
	return true
}

// Bearer is the value of an Authorization header. This and [SessionCookie] are
// the one place where the site's tokens are opened.
func Bearer(access secret.Value) string { return opened("Bearer ", access) }

// SessionCookie is the value of a Cookie header.
func SessionCookie(session secret.Value) string { return opened("_session_id=", session) }

func opened(prefix string, v secret.Value) string {
	out := make([]byte, 0, len(prefix)+v.Len())
	out = append(out, prefix...)
	v.Reveal(func(b []byte) { out = append(out, b...) })
	return string(out)
}

// AppendSession writes the answer of get_session_token, with a handle of ours
// in it.
func AppendSession(dst []byte, handle string) []byte {
	dst = append(dst, `{"results":{"session_id":`...)
	dst = appendQuoted(dst, handle)
	return append(dst, `}}`...)
}

// AppendToken writes the answer of the token endpoint, with handles of ours in
// it.
func AppendToken(dst []byte, access, refresh string) []byte {
	dst = append(dst, `{"token_type":"Bearer","access_token":`...)
	dst = appendQuoted(dst, access)
	dst = append(dst, `,"expires_in":`...)
	dst = strconv.AppendInt(dst, AccessSeconds, 10)
	dst = append(dst, `,"refresh_token":`...)
	dst = appendQuoted(dst, refresh)
	return append(dst, '}')
}

// tokenParts lists what of a token in the form of a JWT is searched for beside
// the whole: its payload, its signature, and both. Its header is the same for
// every token, and no secret. Any other text has no parts.
func tokenParts(tok []byte) (parts [][]byte, signature []byte) {
	const jwt = "eyJ" // {" in base64
	if string(tok[:min(len(tok), len(jwt))]) != jwt {
		return nil, nil
	}
	s := strings.Split(string(tok), ".")
	const segments = 3
	if len(s) != segments {
		return nil, nil
	}
	for _, p := range []string{s[1] + "." + s[2], s[1]} {
		if len(p) >= secret.MinLen {
			parts = append(parts, []byte(p))
		}
	}
	if len(s[2]) >= secret.MinLen {
		signature = []byte(s[2])
	}
	return parts, signature
}
