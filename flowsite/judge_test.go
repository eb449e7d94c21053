package flowsite_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"stagedoor/flowsite"
)

func header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[name] = values }
}

// violated asserts HTTP 400 and one violation that says why.
func violated(t *testing.T, s *flowsite.Site, w *httptest.ResponseRecorder, why string) {
	t.Helper()
	found := s.Violations()
	if w.Code != http.StatusBadRequest || len(found) == 0 || !strings.Contains(strings.Join(found, "\n"), why) {
		t.Errorf("HTTP %d, violations %q, want one about %q", w.Code, found, why)
	}
	s.ResetRecord()
}

// §1.1: POST /api3/json with the measured headers, and nothing else.
func TestRequestLineAndHeaders_1_1(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	body := call(t, s).body("read", readArgs("Shot", all()))
	for _, h := range []func(*http.Request){
		header("User-Agent", "shotgun-json (3.10.0); Python 3.11 (Linux); ssl OpenSSL 3"), header("Locale", "auto"),
		header("Accept-Encoding", "gzip, deflate"), header("X-Request-Id", "1"), header("Content-Type", "application/json"),
	} {
		if w := post(s, body, h); w.Code != http.StatusOK {
			t.Errorf("HTTP %d %s", w.Code, w.Body)
		}
	}
	clean(t, s)
	for why, h := range map[string]func(*http.Request){
		"the verb is GET":           func(r *http.Request) { r.Method = http.MethodGet },
		"the target is /api3/json?": func(r *http.Request) { r.RequestURI = "/api3/json?x=1" },
		"the protocol is HTTP/1.0":  func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0 },
		"the target is /api3/":      func(r *http.Request) { r.RequestURI = "/api3/" },
		"header Origin":             header("Origin", "https://evil.invalid"),
		"header Cookie":             header("Cookie", "_session_id=x"),
		"header Authorization":      header("Authorization", "Basic eDp5"),
		"header X-Forwarded-For":    header("X-Forwarded-For", "10.0.0.1"),
		"header Forwarded":          header("Forwarded", "for=10.0.0.1"),
		"header Idempotency-Key":    header("Idempotency-Key", "1"),
		"header X-Http-Method-Over": header("X-Http-Method-Override", "DELETE"),
		"header Content-Encoding":   header("Content-Encoding", "gzip"),
		"header Expect":             header("Expect", "100-continue"),
		"header Te":                 header("Te", "trailers"),
		"header Upgrade":            header("Upgrade", "websocket"),
		"header User-Agent repeat":  header("User-Agent", "a", "b"),
		"Connection: close, X-Y":    header("Connection", "close, X-Y"),
		"content type \"text/plain": header("Content-Type", "text/plain"),
		"content type \"\"":         header("Content-Type"),
		"charset=latin-1":           header("Content-Type", "application/json; charset=latin-1"),
		"no content length":         func(r *http.Request) { r.ContentLength, r.TransferEncoding = -1, []string{"chunked"} },
		"trailers":                  func(r *http.Request) { r.Trailer = http.Header{"X": nil} },
	} {
		violated(t, s, post(s, body, h), why)
	}
}

// §1.2, §8.4: exactly two keys, strict JSON, nothing a client doesn't send.
func TestBodyIsReadStrictly_1_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	auth := encode(t, scriptAuth())
	for body, why := range map[string]string{
		"":                       "EOF",
		"[]":                     "not an object of method_name and params",
		`{"method_name":"info"}`: "not an object of method_name and params",
		`{"method_name":"info","params":[],"id":1}`:                                         "not an object of method_name and params",
		`{"method_name":"info","params":[],"Params":[]}`:                                    "not an object of method_name and params",
		`{"method_name":"info","params":{}}`:                                                "params is no array",
		`{"method_name":7,"params":[]}`:                                                     "method_name is no string",
		`{"method_name":"info","method_name":"info","params":[]}`:                           "duplicate",
		`{"method_name":"info","params":[]} {}`:                                             "after the value",
		"{\"method_name\":\"info\",\"params\":[\"\xff\"]}":                                  "UTF-8",
		`{"method_name":"read","params":[` + auth + `,{"type":"Shot","type":"Task"}]}`:      "duplicate",
		`{"method_name":"update","params":[` + auth + `,{"type":"Shot","id":NaN}]}`:         "invalid character",
		`{"method_name":"update","params":[` + auth + `,{"type":"Shot","id":Infinity}]}`:    "invalid character",
		`{"method_name":"info","params":[` + auth + `]}`:                                    "info has params",
		`{"method_name":"read","params":[]}`:                                                "no auth object",
		`{"method_name":"read","params":[null]}`:                                            "the auth object is no object",
		`{"method_name":"schema_read","params":[` + auth + `,null]}`:                        "the argument is null",
		`{"method_name":"schema_read","params":[` + auth + `,{},{}]}`:                       "more than two members",
		`{"method_name":"get_session_token","params":[` + auth + `,{}]}`:                    "takes no argument",
		`{"method_name":"batch","params":[` + auth + `,{}]}`:                                "the argument is no array",
		`{"method_name":"delete","params":[` + auth + `,[]]}`:                               "the argument is no object",
		`{"method_name":"delete","params":[` + auth + `,{"type":"Shot","id":1,"force":1}]}`: "unknown argument force",
		`{"method_name":"delete","params":[` + auth + `,{"type":"Shot"}]}`:                  "no argument id",
	} {
		violated(t, s, post(s, body), why)
	}
	for _, ev := range s.EventLog() {
		t.Errorf("a refused call did something: %+v", ev)
	}
}

// §1.2, §8.4: the order of names is any (Python 2), and U+2028 may stand bare.
func TestOrderOfNamesIsAny_1_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	body := `{"params":[{"script_key":` + encode(t, scriptKey) + `,"script_name":"publish"},{"id":1,"fields":[{"value":"a` + "\u2028" + `b","field_name":"description"}],"type":"Shot"}],"method_name":"update"}`
	if got := post(s, body).Body.String(); got != `{"results":{"description":"a`+"\u2028"+`b","id":1,"type":"Shot"}}` {
		t.Errorf("%s", got)
	}
	clean(t, s)
}

// §1.2: the number of params that each form has.
func TestNumberOfParams_1_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	if w := post(s, `{"method_name": "info", "params": []}`); w.Code != http.StatusOK {
		t.Errorf("info: HTTP %d", w.Code)
	}
	c := call(t, s)
	for _, method := range []string{"get_session_token", "schema_read", "schema_entity_read", "user_subscriptions_read"} {
		c.ok(method)
	}
	c.ok("preferences_read", object{"prefs": array{}})
	c.ok("schema_read", object{"project": link("Project", flowsite.DemoFilm)})
	clean(t, s)
}

// §1.3: an auth object is one of the measured forms, whole.
func TestAuthObjectIsOneForm_1_3(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	for why, auth := range map[string]object{
		"no credential":               {},
		"no credential ":              {"session_uuid": "x"},
		"more than one kind":          {"script_name": scriptName, "script_key": scriptKey, "session_token": "t"},
		"more than one kind ":         {"script_name": scriptName, "script_key": scriptKey, "user_login": "ann", "user_password": password},
		"half a credential":           {"script_name": scriptName},
		"half a credential ":          {"user_password": password},
		"unknown key api_key":         {"script_name": scriptName, "script_key": scriptKey, "api_key": "x"},
		"unknown key Script_Key":      {"script_name": scriptName, "Script_Key": scriptKey},
		"script_key is no text":       {"script_name": scriptName, "script_key": 1},
		"script_key is no text ":      {"script_name": scriptName, "script_key": ""},
		"auth_token without a login":  {"script_name": scriptName, "script_key": scriptKey, "auth_token": "1"},
		"reject_if_expired without":   {"script_name": scriptName, "script_key": scriptKey, "reject_if_expired": true},
		"reject_if_expired is no boo": {"session_token": "t", "reject_if_expired": "true"},
	} {
		violated(t, s, post(s, c.as(auth).body("schema_read")), strings.TrimSpace(why))
	}
	c.plus("session_uuid", "u").plus("sudo_as_login", "ben").plus("product", "rv").ok("schema_read")
	clean(t, s)
}

// §1.4: info is bare, success has results, failure is HTTP 200 with
// exception, message and error_code.
func TestAnswerShapes_1_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	var info object
	if err := json.Unmarshal(post(s, `{"method_name":"info","params":[]}`).Body.Bytes(), &info); err != nil {
		t.Fatal(err)
	}
	if _, wrapped := info["results"]; wrapped || info["version"] == nil {
		t.Errorf("info: %v", info)
	}
	w := post(s, call(t, s).body("delete", object{"type": "Shot", "id": 1}))
	if got := w.Body.String(); got != `{"results":true}` {
		t.Errorf("success: %s", got)
	}
	w = post(s, call(t, s).body("delete", object{"type": "Shot", "id": 98765}))
	if got := w.Body.String(); w.Code != 200 || got != `{"error_code":104,"exception":true,"message":"API delete() Shot with id=98765 does not exist"}` {
		t.Errorf("failure: HTTP %d %s", w.Code, got)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
}

// §1.8: what info holds for a client to work.
func TestInfo_1_8(t *testing.T) {
	s := newSite(t, flowsite.Options{Version: [3]int{7, 3, 1}, PageMax: 17})
	var got struct {
		Version  []any
		PageMax  int    `json:"api_max_entities_per_page"`
		Direct   bool   `json:"s3_direct_uploads_enabled"`
		AuthMode string `json:"user_authentication_method"`
	}
	if err := json.Unmarshal(post(s, `{"method_name":"info","params":[]}`).Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if encode(t, got.Version) != "[7,3,1]" || got.PageMax != 17 || got.Direct || got.AuthMode != "default" {
		t.Errorf("%+v", got)
	}
}

// §5.1 (VCR), §6.1, §6.4: what the site's answers carry and a proxy must take
// away.
func TestAnswerHeaders_5_1(t *testing.T) {
	s := newSite(t, flowsite.Options{CORS: true, AllowHeaders: []string{"Origin"}})
	w := post(s, `{"method_name":"info","params":[]}`, header("Origin", "null"), header("Accept-Encoding", "gzip, deflate"))
	h := w.Header()
	for name, want := range map[string]string{
		"Status": "200 OK", "Cache-Control": "private, max-age=0, must-revalidate", "X-Frame-Options": "SAMEORIGIN",
		"Server": "nginx + Phusion Passenger(R)", "Access-Control-Allow-Origin": "null", "Access-Control-Allow-Credentials": "true",
		"Access-Control-Max-Age": "3600", "Content-Encoding": "gzip",
	} {
		if h.Get(name) != want {
			t.Errorf("%s: %q", name, h.Get(name))
		}
	}
	for name, part := range map[string]string{"Etag": `W/"`, "Strict-Transport-Security": "max-age=", "Set-Cookie": flowsite.CookieCanary, "X-Request-Id": "site-"} {
		if !strings.Contains(h.Get(name), part) {
			t.Errorf("%s: %q", name, h.Get(name))
		}
	}
	r := httptest.NewRequest(http.MethodOptions, "/api3/json", nil)
	r.Header.Set("Origin", "https://anything.invalid")
	pre := httptest.NewRecorder()
	s.ServeHTTP(pre, r)
	if pre.Code != 200 || pre.Header().Get("Access-Control-Allow-Origin") != "https://anything.invalid" {
		t.Errorf("preflight: %d %v", pre.Code, pre.Header())
	}
}

// A site with Echo repeats the secret so that a proxy's scrubbing has
// something to find, and the answer stays what clients can read.
func TestEchoRepeatsTheSecretInEveryEncoding(t *testing.T) {
	s := newSite(t, flowsite.Options{Echo: true})
	w := post(s, call(t, s).body("find_nothing"))
	if !bytes.Contains(w.Body.Bytes(), []byte(`"exception":true`)) {
		t.Errorf("fault: %s", w.Body)
	}
	w = post(s, call(t, s).body("read", readArgs("Shot", cond("id", "is", 1), "code")))
	var got struct {
		Results any
		Echo    map[string]string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Results == nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for name, v := range flowsite.Echoes(scriptKey) {
		if got.Echo[name] != v {
			t.Errorf("%s in the body: %q, want %q", name, got.Echo[name], v)
		}
		if h := w.Header().Get("X-Echo-" + strings.ReplaceAll(name, "_", "-")); h != v {
			t.Errorf("%s in the headers: %q, want %q", name, h, v)
		}
	}
	if got.Echo["json_escaped"] != scriptKey || !bytes.Contains(w.Body.Bytes(), []byte(`"\u006b\u002d`)) {
		t.Errorf("json_escaped: %s", w.Body)
	}
}
