package flowsite_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"stagedoor/flowsite"
)

const (
	scriptName = "publish"
	scriptKey  = "k-4f1c9a/publish+key=="
	password   = "pw of ann"
)

// clock is the fixed time of every test's site: a Wednesday.
func clock() time.Time { return time.Date(2026, 3, 4, 10, 30, 0, 0, time.UTC) }

// newSite is a seeded site with the script "publish" and a password for ann.
func newSite(tb testing.TB, o flowsite.Options) *flowsite.Site {
	tb.Helper()
	if o.Now == nil {
		o.Now = clock
	}
	s, err := flowsite.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	s.Demo()
	s.AddScript(scriptName, scriptKey, flowsite.RoleAdmin())
	s.AddUser(flowsite.Person{Login: "ann", Password: password})
	return s
}

type object = map[string]any

type array = []any

func link(typ string, id int) object { return object{"type": typ, "id": id} }

func scriptAuth() object { return object{"script_name": scriptName, "script_key": scriptKey} }

// caller sends calls to a site, without a network.
type caller struct {
	tb   testing.TB
	site *flowsite.Site
	auth object
}

func call(tb testing.TB, s *flowsite.Site) caller {
	tb.Helper()
	return caller{tb, s, scriptAuth()}
}

// as is the caller with another auth object.
func (c caller) as(auth object) caller { c.auth = auth; return c }

// plus is the caller with more auth keys.
func (c caller) plus(key string, value any) caller {
	auth := object{key: value}
	maps.Copy(auth, c.auth)
	c.auth = auth
	return c
}

func encode(tb testing.TB, v any) string {
	tb.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (c caller) body(method string, args ...any) string {
	return encode(c.tb, object{"method_name": method, "params": append(array{c.auth}, args...)})
}

// post sends a body as the real client would.
func post(s *flowsite.Site, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/api3/json", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("Connection", "keep-alive")
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

type reply struct {
	Results   any
	Exception bool
	Message   string
	ErrorCode int `json:"error_code"`
}

func (c caller) do(method string, args ...any) reply {
	c.tb.Helper()
	w := post(c.site, c.body(method, args...))
	if w.Code != http.StatusOK {
		c.tb.Fatalf("%s: HTTP %d %s", method, w.Code, w.Body)
	}
	var r reply
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		c.tb.Fatalf("%s: %v in %s", method, err, w.Body)
	}
	return r
}

// ok is the result of a call that must succeed.
func (c caller) ok(method string, args ...any) any {
	c.tb.Helper()
	r := c.do(method, args...)
	if r.Exception {
		c.tb.Fatalf("%s: fault %d %s", method, r.ErrorCode, r.Message)
	}
	return r.Results
}

// fault asserts the code of a call that must fail, and gives its message.
func (c caller) fault(code int, method string, args ...any) string {
	c.tb.Helper()
	r := c.do(method, args...)
	if !r.Exception || r.ErrorCode != code {
		c.tb.Errorf("%s %s: want fault %d, got %+v", method, encode(c.tb, args), code, r)
	}
	return r.Message
}

// same asserts that a result is the JSON text.
func (c caller) same(got any, want string) {
	c.tb.Helper()
	var w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		c.tb.Fatal(err)
	}
	if g := encode(c.tb, got); g != encode(c.tb, w) {
		c.tb.Errorf("got  %s\nwant %s", g, encode(c.tb, w))
	}
}

func all(conditions ...any) object {
	if conditions == nil {
		conditions = array{}
	}
	return object{"logical_operator": "and", "conditions": conditions}
}

func anyOf(conditions ...any) object {
	return object{"logical_operator": "or", "conditions": conditions}
}

func cond(path, relation string, values ...any) object {
	if values == nil {
		values = array{}
	}
	return object{"path": path, "relation": relation, "values": values}
}

// readArgs is a read as the client builds it.
func readArgs(typ string, filters any, fields ...any) object {
	if fields == nil {
		fields = array{}
	}
	return object{
		"type": typ, "return_fields": fields, "filters": filters, "return_only": "active",
		"paging": object{"entities_per_page": 500, "current_page": 1}, "api_return_image_urls": true,
		"return_paging_info_without_counts": false,
	}
}

// rows are the entities of a read.
func (c caller) rows(args object) array {
	c.tb.Helper()
	m, _ := c.ok("read", args).(object)
	list, ok := m["entities"].(array)
	if !ok {
		c.tb.Fatalf("read %v: no entities", args)
	}
	return list
}

func ids(rows array) []int {
	out := []int{}
	for _, r := range rows {
		m, _ := r.(object)
		id, _ := m["id"].(float64)
		out = append(out, int(id))
	}
	return out
}

func fields(kv ...any) array {
	out := array{}
	for i := 0; i < len(kv); i += 2 {
		out = append(out, object{"field_name": kv[i], "value": kv[i+1]})
	}
	return out
}

func clean(tb testing.TB, s *flowsite.Site) {
	tb.Helper()
	if v := s.Violations(); len(v) > 0 {
		tb.Errorf("violations: %q", v)
	}
}
