package flow_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"stagedoor/flow"
	"stagedoor/secret"
)

// realToken has the form and the length of the site's access tokens.
func realToken() string {
	enc := base64.RawURLEncoding.EncodeToString
	claims := `{"iss":"site.example","aud":"site.example","exp":1800000600,"iat":1800000000,"jti":"0b6cf34e-6d3a-4e58-9d0c-3f5f5a2b1c00",` +
		`"user":{"type":"ApiUser","id":69},"sudo_as_login":null,"auth_type":"api_key","session_uuid":null}`
	return enc([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc([]byte(claims)) + "." + enc([]byte("0123456789abcdef\xff\xfe\xfd\xfc0123456789ab"))
}

func TestASessionCallIsWhatTheClientSends(t *testing.T) {
	cred := secret.Credential{SiteName: "farm", Key: secret.FromString(realKey)}
	for _, tt := range []struct{ sudo, uuid, want string }{
		{"", "", `{"method_name":"get_session_token","params":[{"script_name":"farm","script_key":"` + realKey + `"}]}`},
		{"ann", "a-1", `{"method_name":"get_session_token","params":[{"script_name":"farm","script_key":"` + realKey +
			`","session_uuid":"a-1","sudo_as_login":"ann"}]}`},
	} {
		if got := string(flow.SessionCall(tt.sudo, tt.uuid).Body(cred)); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

func TestASessionIsReadFromTheSitesAnswerOnly(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	v, ok := flow.ReadSession([]byte(`{"results":{"session_id":"` + id + `","more":1}}`))
	if !ok || flow.SessionCookie(v) != "_session_id="+id {
		t.Errorf("ok %v, of %d bytes", ok, v.Len())
	}
	for _, no := range []string{
		``, `{}`, `null`, `{"results":null}`, `{"results":{"session_id":null}}`, `{"results":{"session_id":7}}`, `{"results":{"session_id":""}}`,
		`{"results":{"session_id":"short"}}`, `{"results":{"session_id":"` + id + `"}} x`, `{"results":{"session_id":"` + id + `"`,
		`{"results":{"session_id":"` + id + `","session_id":"` + id + `"}}`, `{"Results":{"session_id":"` + id + `"}}`,
		`{"results":{"session_id":"` + id + `; Path=/"}}`, `{"results":{"session_id":"` + id + `\r\nX: y"}}`, `{"results":{"session_id":"` + id + `é"}}`,
		`{"results":{"session_id":"` + strings.Repeat("x", 1<<20) + `"}}`, `{"exception":true,"message":"` + id + `","error_code":102}`,
	} {
		if _, ok := flow.ReadSession([]byte(no)); ok {
			t.Errorf("a session is read from %.80q", no)
		}
	}
}

func TestATokenIsReadFromTheSitesAnswerOnly(t *testing.T) {
	tok := realToken()
	v, life, ok := flow.ReadToken([]byte(`{"token_type":"Bearer","access_token":"` + tok + `","expires_in":600,"refresh_token":"x"}`))
	if !ok || life != 10*time.Minute || flow.Bearer(v) != "Bearer "+tok {
		t.Errorf("ok %v, life %v, of %d bytes", ok, life, v.Len())
	}
	for _, no := range []string{
		``, `[]`, `{"access_token":"` + tok + `","expires_in":600}`, `{"token_type":"mac","access_token":"` + tok + `","expires_in":600}`,
		`{"token_type":"Bearer","access_token":"` + tok + `"}`, `{"token_type":"Bearer","access_token":"` + tok + `","expires_in":0}`,
		`{"token_type":"Bearer","access_token":"` + tok + `","expires_in":-1}`, `{"token_type":"Bearer","access_token":"` + tok + `","expires_in":1e30}`,
		`{"token_type":"Bearer","access_token":"` + tok + `","expires_in":9223372036854775807}`,
		`{"token_type":"Bearer","access_token":"short","expires_in":600}`, `{"token_type":"Bearer","access_token":"` + tok + `\r\nX: y","expires_in":600}`,
		`{"token_type":"Bearer","access_token":"` + tok + ` x","expires_in":600}`, `{"errors":[{"status":400,"code":102}]}`,
	} {
		if _, _, ok := flow.ReadToken([]byte(no)); ok {
			t.Errorf("a token is read from %.80q", no)
		}
	}
}

func TestATokenFormSaysWhoAndAsWhom(t *testing.T) {
	key := "a+b&c=d%e f/0123456789"
	form, err := url.ParseQuery(string(flow.TokenForm(secret.Credential{SiteName: "farm & co", Key: secret.FromString(key)}, "ann+x@y.example", "a-1")))
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"farm & co"}, "client_secret": {key},
		"scope": {"sudo_as_login:ann+x@y.example"}, "session_uuid": {"a-1"},
	}
	if form.Encode() != want.Encode() {
		t.Errorf("%s, want %s", form.Encode(), want.Encode())
	}
	plain := string(flow.TokenForm(secret.Credential{SiteName: "farm", Key: secret.FromString(realKey)}, "", ""))
	if plain != "grant_type=client_credentials&client_id=farm&client_secret="+realKey {
		t.Error(plain)
	}
}

func TestHandlesAreAnsweredInTheSitesShape(t *testing.T) {
	var session struct {
		Results struct {
			ID string `json:"session_id"`
		} `json:"results"`
	}
	if err := json.Unmarshal(flow.AppendSession(nil, "a.b.c"), &session); err != nil || session.Results.ID != "a.b.c" {
		t.Error(session, err)
	}
	var token map[string]any
	if err := json.Unmarshal(flow.AppendToken(nil, "a.b.c", "d.e.f"), &token); err != nil {
		t.Fatal(err)
	}
	if len(token) != 4 || token["token_type"] != "Bearer" || token["access_token"] != "a.b.c" || token["refresh_token"] != "d.e.f" || token["expires_in"] != 600.0 {
		t.Error(token)
	}
}

// TestPartsOfATokenAreFound says which echoes of a token an answer is searched
// for.
func TestPartsOfATokenAreFound(t *testing.T) {
	tok := realToken()
	s := flow.NewScrubber(secret.FromString(tok))
	part := strings.Split(tok, ".")
	header, payload, signature := part[0], part[1], part[2]
	std := base64.StdEncoding.EncodeToString
	for name, echo := range map[string]string{
		"whole":            tok,
		"in a header":      "Bearer " + tok,
		"without header":   payload + "." + signature,
		"without sign":     header + "." + payload,
		"payload":          payload,
		"signature":        signature,
		"escaped":          strings.ReplaceAll(tok, ".", `\u002e`),
		"in a URL":         strings.ReplaceAll(tok, ".", "%2E"),
		"whole, hex":       hex.EncodeToString([]byte(tok)),
		"signature, hex":   strings.ToUpper(hex.EncodeToString([]byte(signature))),
		"whole, base64":    std([]byte("x" + tok)),
		"tail, base64":     std([]byte("xy" + payload + "." + signature)),
		"signature base64": std([]byte(signature)),
	} {
		out, n := s.Bytes([]byte(`{"message":"` + echo + ` is bad"}`))
		if n == 0 {
			t.Errorf("%s is not found", name)
		}
		for _, secret := range []string{payload, signature} {
			if strings.Contains(string(out), secret) {
				t.Errorf("%s: left is %s", name, out)
			}
		}
	}
	if _, n := s.Bytes([]byte(header + ".")); n != 0 {
		t.Error("the header, which every token has, is taken for one")
	}
	short := flow.NewScrubber(secret.FromString("eyJ0123456789abcdef.ab.cd"))
	if _, n := short.Bytes([]byte(`ab.cd`)); n != 0 {
		t.Error("a part that is shorter than any secret is searched for")
	}
}
