package flowsite_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"stagedoor/flowsite"
)

// start serves the site over TLS until the test ends.
func start(t *testing.T, s *flowsite.Site) *flowsite.Server {
	t.Helper()
	srv, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

// client trusts the server's own CA and nothing else.
func client(t *testing.T, srv *flowsite.Server, http2 bool) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(srv.CAPEM) {
		t.Fatal("no certificate")
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: http2, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// send posts a body as a client would and reads the whole answer. The status
// is 0 when none came.
func send(t *testing.T, c *http.Client, url, body string) (int, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api3/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	res, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), errors.Join(err, res.Body.Close())
}

func TestStartServesBothProtocolsWithItsOwnCA(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	srv := start(t, s)
	body := call(t, s).body("read", readArgs("Shot", cond("id", "is", 1), "code"))
	for proto, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		c := client(t, srv, h2)
		s.ResetRecord()
		for range 2 {
			if _, got, err := send(t, c, srv.URL, body); err != nil || !strings.Contains(got, "harbour_sq01_0010") {
				t.Fatalf("%s: %v %s", proto, err, got)
			}
		}
		got := s.Received()
		if len(got) != 2 || got[0].Proto != proto || got[0].Reused || !got[1].Reused || got[0].Conn == 0 || got[0].Conn != got[1].Conn {
			t.Errorf("%s: record %+v", proto, got)
		}
	}
	violated(t, s, post(s, body), "the host is example.com")
	stranger := &http.Client{Transport: &http.Transport{}}
	if _, _, err := send(t, stranger, srv.URL, body); err == nil {
		t.Error("a client that doesn't know the CA was served")
	}
	clean(t, s)
}

func TestRecordKeepsWhatCameIn(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s).plus("session_uuid", "u-1").plus("sudo_as_login", "ben")
	body := c.body("delete", object{"type": "Shot", "id": 99})
	post(s, body, header("User-Agent", "tool"))
	post(s, `{"method_name":"info","params":[]}`, header("Cookie", "x"))
	got := s.Received()
	if len(got) != 2 || s.Calls() != 2 {
		t.Fatalf("%d in the record, %d calls", len(got), s.Calls())
	}
	r := got[0]
	if r.N != 1 || string(r.Body) != body || r.Header.Get("User-Agent") != "tool" || r.HTTPMethod != "POST" || r.Target != "/api3/json" ||
		r.Method != "delete" || r.Type != "Shot" || r.Credential != flowsite.KindScript || r.Script != scriptName || r.Sudo != "ben" ||
		r.SessionUUID != "u-1" || r.FaultCode != 104 || !r.Time.Equal(clock()) || encode(t, r.Params) != `[{"id":99,"type":"Shot"}]` {
		t.Errorf("%+v", r)
	}
	if got[1].Credential != flowsite.KindNone || encode(t, got[1].Violations) != `["header Cookie"]` {
		t.Errorf("%+v", got[1])
	}
	if encode(t, s.Violations()) != `["header Cookie"]` {
		t.Errorf("%q", s.Violations())
	}
	s.ResetRecord()
	if len(s.Received())+len(s.Violations())+s.Calls() != 0 {
		t.Error("something is left after ResetRecord")
	}
}

func TestRecordIsBoundedByCallsAndBytes(t *testing.T) {
	for _, o := range []flowsite.Options{{RecordMax: 3}, {RecordBytes: 3 * len(`{"method_name":"info","params":[]}`)}} {
		s := newSite(t, o)
		for range 5 {
			post(s, `{"method_name":"info","params":[]}`)
		}
		got := s.Received()
		if len(got) != 3 || got[0].N != 3 || s.Dropped() != 2 || s.Calls() != 5 {
			t.Errorf("%+v: %d kept, first %d, %d dropped", o, len(got), got[0].N, s.Dropped())
		}
	}
	s := newSite(t, flowsite.Options{RecordMax: -1})
	post(s, "{}")
	if len(s.Received()) != 0 || len(s.Violations()) == 0 {
		t.Error("with no record, calls are not kept and violations are")
	}
}

// Each planned fault, as a Go client sees it, and whether the call was done.
func TestFaultsOnDemand(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	srv := start(t, s)
	c := client(t, srv, false)
	c2 := client(t, srv, true)
	go2 := func(f flowsite.Fault) (status int, body string, applied bool, err error) {
		t.Helper()
		before := len(s.EventLog())
		s.Fail(f, 1)
		status, body, err = send(t, c, srv.URL, call(t, s).body("create", object{"type": "Tag", "fields": fields("name", "x"), "return_fields": array{}}))
		return status, body, len(s.EventLog()) > before, err
	}
	for _, status := range []int{500, 502, 503, 504, 403, 429} {
		for _, after := range []bool{false, true} {
			got, body, applied, err := go2(flowsite.Fault{Status: status, After: after})
			if err != nil || got != status || applied != after || !strings.Contains(body, "<html>") {
				t.Errorf("%d after=%v: %d applied=%v %v %s", status, after, got, applied, err, body)
			}
		}
	}
	for _, after := range []bool{false, true} {
		if _, _, applied, err := go2(flowsite.Fault{Reset: true, After: after}); !errors.Is(err, syscall.ECONNRESET) || applied != after {
			t.Errorf("reset: applied=%v %v", applied, err)
		}
		if _, _, applied, err := go2(flowsite.Fault{Close: true, After: after}); !errors.Is(err, io.EOF) || applied != after {
			t.Errorf("close: applied=%v %v", applied, err)
		}
	}
	if status, _, applied, err := go2(flowsite.Fault{Status: 302}); status != 302 || applied || err != nil {
		t.Errorf("redirect: %d %v %v", status, applied, err)
	}
	if _, body, applied, _ := go2(flowsite.Fault{Code: 102, Message: "no"}); applied || body != `{"error_code":102,"exception":true,"message":"no"}` {
		t.Errorf("code: %v %s", applied, body)
	}
	if _, body, applied, err := go2(flowsite.Fault{Truncate: 5}); !applied || !errors.Is(err, io.ErrUnexpectedEOF) || len(body) < 5 {
		t.Errorf("truncate: %v %v %s", applied, err, body)
	}
	if _, body, applied, err := go2(flowsite.Fault{Body: []byte("{"), ContentType: "application/json"}); err != nil || applied || body != "{" {
		t.Errorf("body: %v %v %s", applied, err, body)
	}
	s.Fail(flowsite.Fault{Reset: true}, 1)
	if _, _, err := send(t, c2, srv.URL, call(t, s).body("schema_entity_read")); err == nil {
		t.Error("reset on HTTP/2: no error")
	}
	clean(t, s)
}

// A slow body comes piece by piece, and a held answer when it is let go.
func TestSlowAndHeldAnswers(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	srv := start(t, s)
	c := client(t, srv, false)
	steps, hold := make(chan struct{}), make(chan struct{})
	s.Fail(flowsite.Fault{Slow: steps, Chunk: 10, Hold: hold}, 1)
	arrived := make(chan struct{})
	s.BeforeReply(func(flowsite.Received) { close(arrived) })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/api3/json", strings.NewReader(`{"method_name":"info","params":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	go func() {
		<-arrived
		hold <- struct{}{}
		steps <- struct{}{}
	}()
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }() // read to its end
	first := make([]byte, 10)
	if _, err := io.ReadFull(res.Body, first); err != nil || res.ContentLength < 100 {
		t.Fatalf("%v, length %d", err, res.ContentLength)
	}
	close(steps)
	rest, err := io.ReadAll(res.Body)
	if err != nil || int64(len(first)+len(rest)) != res.ContentLength {
		t.Errorf("%v: %d bytes of %d", err, len(first)+len(rest), res.ContentLength)
	}
}

// A caller that goes away ends a held answer.
func TestHeldAnswerEndsWithItsCaller(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	s.Fail(flowsite.Fault{Hold: make(chan struct{}), Delay: time.Hour}, 0)
	s.BeforeReply(func(flowsite.Received) { cancel() })
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/api3/json", strings.NewReader(`{"method_name":"info","params":[]}`))
	r.Header.Set("Content-Type", "application/json")
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("ended with %v", err)
		}
	}()
	s.ServeHTTP(httptest.NewRecorder(), r)
	t.Error("answered")
}

func TestFaultsAreMatched(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	read := func(typ string) int { return post(s, c.body("read", readArgs(typ, all()))).Code }
	check := func(what string, want ...int) {
		t.Helper()
		got := []int{read("Shot"), read("Task"), read("Shot"), post(s, `{"method_name":"info","params":[]}`).Code}
		if encode(t, got) != encode(t, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
		s.ClearFaults()
	}
	check("none", 200, 200, 200, 200)
	s.Fail(flowsite.Fault{Status: 503}, 2)
	check("twice", 503, 503, 200, 200)
	s.Fail(flowsite.Fault{Status: 503}, 0)
	check("always", 503, 503, 503, 503)
	s.Fail(flowsite.Fault{Status: 503, Method: "read"}, 0)
	check("by method", 503, 503, 503, 200)
	s.Fail(flowsite.Fault{Status: 503, Type: "Shot"}, 0)
	check("by type", 503, 200, 503, 200)
	s.Fail(flowsite.Fault{Status: 503, Type: "Shot", Nth: 2}, 1)
	check("the second of a type", 200, 200, 503, 200)
	s.Fail(flowsite.Fault{Status: 503, Match: func(r flowsite.Received) bool { return r.Type == "Task" && r.Script == scriptName }}, 0)
	check("by match", 200, 503, 200, 200)
}

func TestSnapshotAndRestore(t *testing.T) {
	build := func() *flowsite.Site { return newSite(t, flowsite.Options{}) }
	s := build()
	fresh := s.Snapshot()
	if !bytes.Equal(fresh, build().Snapshot()) {
		t.Error("two sites made alike differ")
	}
	c := call(t, s)
	prop := func(k string, v any) object { return object{"property_name": k, "value": v} }
	c.ok("schema_field_create", object{"type": "Shot", "data_type": "multi_entity", "properties": array{prop("name", "Crew"), prop("valid_types", array{"HumanUser"})}})
	c.ok("update", object{"type": "Shot", "id": 1, "fields": fields("sg_crew", array{link("HumanUser", 2)}, "sg_sequence", nil, "sg_bid", 1.25)})
	c.ok("update", object{"type": "Version", "id": 1, "fields": fields("sg_metadata", object{"type": "Shot", "id": 1})})
	c.ok("delete", object{"type": "Shot", "id": 2})
	c.ok("follow", object{"user": link("HumanUser", 1), "entity": link("Shot", 1)})
	c.ok("work_schedule_update", object{"date": "2026-03-04", "working": false, "description": nil, "project": nil, "user": link("HumanUser", 1), "recalculate_field": nil})
	c.ok("update_project_last_accessed_by_current_user", object{"project_id": flowsite.DemoFilm, "user_id": 1})
	c.ok("user_subscriptions_create", object{"users": array{object{"humanUserId": 1, "subscription": array{"a"}}}})
	used := s.Snapshot()
	if bytes.Equal(fresh, used) {
		t.Fatal("the snapshot doesn't show writes")
	}
	other := build()
	if err := other.Restore(used); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(used, other.Snapshot()) {
		t.Error("restored, but not equal")
	}
	o := call(t, other)
	o.same(o.rows(readArgs("Shot", cond("id", "is", 1), "sg_crew", "sg_sequence", "sg_bid")),
		`[{"type":"Shot","id":1,"sg_bid":1.25,"sg_crew":[{"id":2,"name":"Ben Okafor","type":"HumanUser"}],"sg_sequence":null}]`)
	o.same(o.ok("followers", object{"entity": link("Shot", 1)}), `[{"id":1,"name":"Ann Åström","status":"act","type":"HumanUser","valid":"valid"}]`)
	if err := other.Restore(fresh); err != nil || !bytes.Equal(fresh, other.Snapshot()) {
		t.Errorf("restored to the beginning: %v", err)
	}
	o.fault(103, "read", readArgs("Shot", all(), "sg_crew"))
	if other.Restore([]byte("{")) == nil || other.Restore([]byte(`{"entities":{"Nope":{"1":{"values":{}}}}}`)) == nil {
		t.Error("a broken snapshot was restored")
	}
	if !bytes.Equal(fresh, other.Snapshot()) {
		t.Error("a failed restore changed the state")
	}
}

func TestSchemaFilesAreChecked(t *testing.T) {
	for text, why := range map[string]string{
		`{"types":{"Shot":{"name":"Shot","title":"code","fields":{}}}}`:                                                                           `no title field "code"`,
		`{"types":{"Shot":{"name":"Shot","title":"code","fields":{"code":{"type":"word"}}}}}`:                                                     `unknown data type "word"`,
		`{"types":{"Shot":{"name":"Shot","title":"code","fields":{"code":{"type":"text"},"a":{"type":"entity","valid_types":["B"]}}}}}`:           `unknown type "B"`,
		`{"types":{"Shot":{"name":"Shot","title":"code","fields":{"code":{"type":"text"},"a":{"type":"multi_entity","inverse":["Shot.none"]}}}}}`: `unknown "Shot.none"`,
		`{"typs":{}}`: "unknown field",
	} {
		if _, err := flowsite.New(flowsite.Options{Schema: []byte(text)}); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %s", err, why)
		}
	}
}

// What it does not measure: the network.
func BenchmarkRead(b *testing.B) {
	s := newSite(b, flowsite.Options{RecordMax: -1, Plain: true})
	body := call(b, s).body("read", readArgs("Task", all(cond("project", "is", link("Project", 65)), cond("entity", "type_is", "Asset")), "content", "entity", "entity.Asset.code"))
	for b.Loop() {
		if w := post(s, body); w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}
