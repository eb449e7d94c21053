package proxy_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"stagedoor/audit"
	"stagedoor/caller"
	"stagedoor/flow"
	"stagedoor/handle"
	"stagedoor/limit"
	"stagedoor/policy"
	"stagedoor/proxy"
	"stagedoor/secret"
	"stagedoor/upstream"
)

const (
	key1 = "first-key-0123456789/abc"
	key2 = "second-key-9876543210+xyz"
)

// keys is a source with one script whose key can change.
type keys struct {
	mu        sync.Mutex
	cred      secret.Credential
	err       error
	next      *secret.Credential // what Refresh finds
	refreshed int
}

func (k *keys) Credential(string) (secret.Credential, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cred, k.err
}

func (k *keys) Refresh(context.Context, string) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refreshed++
	if k.next == nil {
		return false, nil
	}
	k.next.Old = []secret.Value{k.cred.Key}
	k.cred, k.next = *k.next, nil
	return true, nil
}

// record keeps events; fail makes it refuse them.
type record struct {
	mu     sync.Mutex
	events []audit.Event
	fail   error
	more   chan struct{} // told of each event, once somebody waits
}

func (r *record) Append(e *audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	kept := *e
	kept.Shape = bytes.Clone(e.Shape) // its buffer is used again
	r.events = append(r.events, kept)
	select {
	case r.more <- struct{}{}:
	default:
	}
	return nil
}
func (r *record) Note(e *audit.Event)          { _ = r.Append(e) }
func (r *record) Refused(e *audit.Event) error { return r.Append(e) }

func (r *record) all() []audit.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// metrics counts what balances.
type metrics struct {
	mu     sync.Mutex
	calls  []string // group/result
	in     int
	held   int
	refuse []string // script/reason

	observed []string // the same
}

func (m *metrics) Call(_, group, result string, _, _ time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, group+"/"+result)
}

func (m *metrics) Refused(script, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = append(m.refuse, script+"/"+reason)
}

func (m *metrics) Observed(script, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.observed = append(m.observed, script+"/"+reason)
}

func (m *metrics) Held(string, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held++
}

func (m *metrics) InFlight(_ string, delta int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.in += delta
}
func (*metrics) Redacted(int) {}

func (m *metrics) inFlight() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.in
}

// stage is a proxy between a client and a site that is a function.
type stage struct {
	t      *testing.T
	proxy  *proxy.Proxy
	keys   *keys
	audit  *record
	base   string
	url    string // of RPC calls
	logs   *bytes.Buffer
	server *proxy.Server

	metrics *metrics
	client  *http.Client

	mu     sync.Mutex
	bodies []string
	header []http.Header
}

type option func(*proxy.State, *proxy.Listener)

func start(t *testing.T, site http.HandlerFunc, opts ...option) *stage {
	t.Helper()
	s := &stage{t: t, keys: &keys{cred: secret.Credential{SiteName: "pub-2026", Key: secret.FromString(key1), Version: "1"}}, audit: &record{}, logs: &bytes.Buffer{}}
	ts := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.bodies = append(s.bodies, string(b))
		s.header = append(s.header, r.Header.Clone())
		s.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(b))
		site(w, r)
	}))
	t.Cleanup(ts.Close)
	origin, _ := url.Parse(ts.URL)
	roots := x509.NewCertPool()
	roots.AddCert(ts.Certificate())
	up := upstream.New(upstream.Options{Site: origin, Roots: roots, HTTP2: true})
	t.Cleanup(up.Close)

	logger := slog.New(slog.NewTextHandler(s.logs, nil))
	st := &proxy.State{
		Site: up, Keys: s.keys, MaxBody: 1 << 20, MaxDepth: flow.DefaultMaxDepth, Contact: "#pipeline",
		Origin: ts.URL, Types: flow.NewTypes(), Handles: testHandles(), HandleLife: time.Hour,
		Scripts: map[string]*proxy.Script{"pub": {
			Limiter: limit.New(limit.Options{}),
			Policy: policy.Compile(policy.Script{Name: "pub", Sudo: []string{"joe"}, Rules: []policy.Rule{
				{Verb: "read", Targets: []policy.Target{{Type: "Shot"}, {Type: "EventLogEntry"}}, File: "t.yaml", Line: 1},
				{Verb: "create", Targets: []policy.Target{{Type: "Shot"}}, File: "t.yaml", Line: 2},
				{Verb: "schema", Targets: []policy.Target{{Type: "*"}}, File: "t.yaml", Line: 3},
				{Verb: "upload", Targets: []policy.Target{{Type: "Version", Fields: []string{"sg_uploaded_movie"}}}, File: "t.yaml", Line: 4},
				{Verb: "download", Targets: []policy.Target{{Type: "Attachment"}}, File: "t.yaml", Line: 5},
			}}),
		}},
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	door := caller.NewDoor(port)
	l := &proxy.Listener{Name: "local", Door: door, Origins: door.Origins(), Scripts: []string{"pub"}, KeepAlive: true, Unnamed: limit.New(limit.Options{})}
	for _, o := range opts {
		o(st, l)
	}
	st.Listeners = map[string]*proxy.Listener{l.Name: l}
	s.metrics = &metrics{}
	tr := &http.Transport{MaxIdleConnsPerHost: 30}
	t.Cleanup(tr.CloseIdleConnections)
	s.client = &http.Client{Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	s.proxy = proxy.New(proxy.Config{
		Version: "1.2.3", Audit: s.audit, Metrics: s.metrics, Logger: logger,
		Now: time.Now, Entropy: rand.Reader,
	}, st, limit.NewRoom(64<<20, 32<<20))
	s.server = proxy.NewServer(logger, 100)
	l.Crowded = s.server.Crowded
	done := make(chan struct{})
	go func() { defer close(done); _ = s.server.Serve(ln, s.proxy.Handler(l.Name)) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.server.Shutdown(ctx)
		<-done
		if logs := s.logs.String(); strings.Contains(logs, key1) || strings.Contains(logs, key2) {
			t.Errorf("a key is in the log: %s", logs)
		}
		if events := fmt.Sprintf("%+v", s.audit.all()); strings.Contains(events, key1) || strings.Contains(events, key2) {
			t.Errorf("a key is in the audit: %s", events)
		}
	})
	s.base = "http://" + ln.Addr().String()
	s.url = s.base + "/api3/json"
	return s
}

// testHandles signs with a key of its own.
func testHandles() *handle.Signer {
	return handle.New(handle.Fixed(secret.FromString("handle-key-of-this-test-0123456789abcdef")), time.Now, rand.Reader)
}

func (s *stage) received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bodies)
}

type result struct {
	status int
	header http.Header
	body   string
}

func (s *stage) post(body string, edit ...func(*http.Request)) result {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	for _, e := range edit {
		e(req)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return result{body: err.Error()}
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return result{body: err.Error()}
	}
	return result{res.StatusCode, res.Header, string(b)}
}

const (
	readShot   = `{"method_name":"read","params":[{"script_name":"pub","script_key":"x"},{"type":"Shot","return_fields":["code"]}]}`
	createShot = `{"method_name":"create","params":[{"script_name":"pub","script_key":"x"},{"type":"Shot","fields":[{"field_name":"code","value":"a"}]}]}`
	readEvents = `{"method_name":"read","params":[{},{"type":"EventLogEntry","return_fields":["meta"]}]}`
)

func answering(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = io.WriteString(w, body)
	}
}

func TestCallGoesThrough(t *testing.T) {
	s := start(t, answering(`{"results":[1]}`))
	got := s.post(readShot, func(r *http.Request) {
		r.Header.Set("User-Agent", "shotgun-json (3.10.3)")
		r.Header.Set("Cookie", "a=b")
		r.Header.Set("Authorization", "Basic eDp5")
		r.Header.Set("X-Forwarded-For", "1.2.3.4")
		r.Header.Set("Idempotency-Key", "1")
	})
	if got.status != 200 || got.body != `{"results":[1]}` {
		t.Fatalf("%+v", got)
	}
	if want := `{"method_name":"read","params":[{"script_name":"pub-2026","script_key":"` + key1 + `"},{"type":"Shot","return_fields":["code"]}]}`; s.received()[0] != want {
		t.Errorf("sent %s", s.received()[0])
	}
	h := s.header[0]
	if h.Get("User-Agent") != "shotgun-json (3.10.3) stagedoor/1.2.3" || h.Get("Stagedoor-Request-Id") != got.header.Get("Stagedoor-Request-Id") {
		t.Errorf("sent %v", h)
	}
	for _, no := range []string{"Cookie", "Authorization", "X-Forwarded-For", "Idempotency-Key"} {
		if h.Get(no) != "" {
			t.Errorf("%s was sent on", no)
		}
	}
	ev := s.audit.all()
	if len(ev) != 2 || ev[0].Kind != audit.Intent || ev[1].Kind != audit.Outcome || ev[0].Rule != "t.yaml:1" ||
		ev[0].CallerCredential != audit.CredPlaceholder || ev[1].Status != 200 || ev[1].Result != audit.ResultOK {
		t.Errorf("recorded %+v", ev)
	}
}

func TestRefusals(t *testing.T) {
	big := `{"method_name":"create","params":[{},{"type":"Shot","fields":[{"field_name":"code","value":"` + strings.Repeat("a", 2<<20) + `"}]}]}`
	for _, tt := range []struct {
		name, body    string
		edit          func(*http.Request)
		status, fault int
		reason        proxy.Reason
		says          string
	}{
		{"no rule", strings.Replace(readShot, `"Shot"`, `"Task"`, 1), nil, 200, 104, proxy.NoRule, "pub may not read Task.code; no rule allows it. Ask #pipeline, with the request id "},
		{"secret field", strings.Replace(readShot, `"code"`, `"created_by.ApiUser.salted_password"`, 1), nil, 200, 104, proxy.SecretField, "no rule can"},
		{"sudo", `{"method_name":"read","params":[{"sudo_as_login":"eve"},{"type":"Shot"}]}`, nil, 200, 104, proxy.Sudo, "under scripts.pub in place of its sudo_as_login:  sudo_as_login: [joe, eve]"},
		{"user", `{"method_name":"read","params":[{"user_login":"a","user_password":"b"},{"type":"Shot"}]}`, nil, 200, 102, proxy.UserAuth, "user_login"},
		{"duplicate", `{"method_name":"read","method_name":"read","params":[]}`, nil, 200, 103, proxy.BadJSON, "twice"},
		{"shape", `{"method_name":"read","params":[{},{"type":"Shot","x":1}]}`, nil, 200, 103, proxy.BadCall, "member"},
		{"unknown method", `{"method_name":"frob","params":[]}`, nil, 200, 104, proxy.UnknownMethod, "frob"},
		{"too big", big, nil, 200, 103, proxy.TooBig, "max_body (1 MiB)"},
		{"too big, chunked", big, func(r *http.Request) { r.ContentLength = -1 }, 200, 103, proxy.TooBig, "max_body"},
		{"query", readShot, func(r *http.Request) { r.URL.RawQuery = "a=1" }, 200, 103, proxy.QueryString, "query"},
		{"bare question mark", readShot, func(r *http.Request) { r.URL.ForceQuery = true }, 200, 103, proxy.QueryString, "query"},
		{"encoding", readShot, func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 200, 103, proxy.ContentEncoding, "Content-Encoding"},
		{"content type", readShot, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, 0, proxy.ContentType, "application/json"},
		{"no content type", readShot, func(r *http.Request) { r.Header.Del("Content-Type") }, 415, 0, proxy.ContentType, "application/json"},
		{"two content types", readShot, func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") }, 415, 0, proxy.ContentType, ""},
		{"host", readShot, func(r *http.Request) { r.Host = "evil.example" }, 421, 0, proxy.BadHost, "Host"},
		{"origin", readShot, func(r *http.Request) { r.Header.Set("Origin", "null") }, 403, 0, proxy.Browser, "web pages"},
		{"verb", readShot, func(r *http.Request) { r.Method = http.MethodPut }, 405, 0, proxy.BadVerb, "verb"},
		{"route", readShot, func(r *http.Request) { r.URL.Path = "/api3/jsonx" }, 404, 0, proxy.BadRoute, "route"},
		{"encoded slash", readShot, func(r *http.Request) { r.URL.Opaque = "/api3%2fjson" }, 404, 0, proxy.BadRoute, ""},
		{"trailing slash", readShot, func(r *http.Request) { r.URL.Path += "/" }, 404, 0, proxy.BadRoute, ""},
		{"encoded letter", readShot, func(r *http.Request) { r.URL.Opaque = "/api3/%6ason" }, 404, 0, proxy.BadRoute, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, answering(`{"results":1}`))
			got := s.post(tt.body, func(r *http.Request) {
				if tt.edit != nil {
					tt.edit(r)
				}
			})
			if got.status != tt.status || got.header.Get("Stagedoor-Refused") != string(tt.reason) || !strings.Contains(got.body, tt.says) {
				t.Errorf("got %d %s %s", got.status, got.header.Get("Stagedoor-Refused"), got.body)
			}
			if code, _, ok := flow.ReadFault([]byte(got.body)); tt.fault != 0 && (!ok || code != tt.fault) {
				t.Errorf("fault %d in %s", code, got.body)
			}
			if n := len(s.received()); n != 0 {
				t.Errorf("the site saw %d calls", n)
			}
			if ev := s.audit.all(); len(ev) != 1 || ev[0].Kind != audit.RefusedCall || ev[0].Reason != string(tt.reason) {
				t.Errorf("recorded %+v", ev)
			}
		})
	}
}

func TestEchoesAreRemoved(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "<https://x/"+key1+">; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("X-Request-Id", "id-"+key1)
		h.Set("Set-Cookie", "_session_id="+key1)
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Strict-Transport-Security", "max-age=1")
		h.Set("Trailer", "X-Late")
		body := `{"results":"` + key1 + url.QueryEscape(key1) + `","salted_password":"abc","pad":"` + strings.Repeat("x", 100<<10) + key1 + `"}`
		if r.Header.Get("Accept-Encoding") == "gzip" {
			h.Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer func() { _ = z.Close() }()
			_, _ = io.WriteString(z, body)
		}
		h.Set("X-Late", key1)
	}
	s := start(t, echo)
	got := s.post(readShot)
	if strings.Contains(got.body, key1) || strings.Contains(fmt.Sprint(got.header), key1) || strings.Contains(got.body, url.QueryEscape(key1)) {
		t.Error("the key came back")
	}
	if strings.Count(got.body, flow.Redacted) != 3 || got.header.Get("X-Request-Id") != "id-"+flow.Redacted || !strings.Contains(got.body, `"salted_password":null`) {
		t.Errorf("%.200s %v", got.body, got.header)
	}
	for _, no := range []string{"Set-Cookie", "Access-Control-Allow-Origin", "Strict-Transport-Security", "Link", "X-Late", "Content-Encoding"} {
		if got.header.Get(no) != "" {
			t.Errorf("%s came through", no)
		}
	}
	ev := s.audit.all()
	if ev[len(ev)-1].Redacted != 5 {
		t.Errorf("%d redactions recorded", ev[len(ev)-1].Redacted)
	}
}

func TestAnswersOfTheSite(t *testing.T) {
	fault := func(code int) http.HandlerFunc { return answering(string(flow.AppendFault(nil, code, "no"))) }
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://site/x/saml/saml_login_request")
			http.Error(w, "text of the site", code)
		}
	}
	hang := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	cut := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"results":`)
		panic(http.ErrAbortHandler)
	}
	for _, tt := range []struct {
		name   string
		site   http.HandlerFunc
		body   string
		status int
		reason proxy.Reason
		calls  int
	}{
		{"fault 104", fault(104), readShot, 200, "", 1},
		{"fault 106", fault(106), readShot, 200, "", 1},
		{"our key refused", fault(102), readShot, 200, proxy.KeyRefused, 1},
		{"redirect 303", status(303), readShot, 500, proxy.SiteRedirect, 1},
		{"redirect 308", status(308), createShot, 500, proxy.SiteRedirect, 1},
		{"redirect 302", status(302), readShot, 302, "", 1},
		{"502 on a read", status(502), readShot, 502, "", 1},
		{"504 on a read", status(504), readShot, 504, "", 1},
		{"502 on a write", status(502), createShot, 500, proxy.SiteFailed, 1},
		{"504 on a write", status(504), createShot, 500, proxy.SiteFailed, 1},
		{"503", status(503), createShot, 503, "", 1},
		{"403", status(403), readShot, 403, "", 1},
		{"no answer to a write", hang, createShot, 500, proxy.SiteFailed, 1},
		{"no answer to a read", hang, readShot, 500, proxy.SiteFailed, 1},
		{"half an answer to a write", cut, createShot, 500, proxy.SiteFailed, 1},
		{"half an answer to a read", cut, readShot, 500, proxy.SiteFailed, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, tt.site)
			got := s.post(tt.body, func(r *http.Request) { r.Header.Set("X", "y") })
			if got.status != tt.status || got.header.Get("Stagedoor-Refused") != string(tt.reason) {
				t.Errorf("got %+v", got)
			}
			if n := len(s.received()); n != tt.calls {
				t.Errorf("the site saw %d calls, want %d", n, tt.calls)
			}
			if code, _, ok := flow.ReadFault([]byte(got.body)); ok && code == 102 {
				t.Error("102 reached the client")
			}
			if ev := s.audit.all(); len(ev) != 2 || ev[1].Kind != audit.Outcome || ev[1].Status != tt.status {
				t.Errorf("recorded %+v", ev)
			}
		})
	}
}

// keyed answers only to the right key, like a site.
func keyed(key string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		switch {
		case !strings.Contains(string(b), `"script_key":"`+key+`"`):
			_, _ = w.Write(flow.AppendFault(nil, 102, "Can't authenticate script 'pub'"))
		case strings.Contains(string(b), `"sudo_as_login":"joe"`):
			_, _ = w.Write(flow.AppendFault(nil, 102, "Can't authenticate user 'joe'"))
		default:
			_, _ = io.WriteString(w, `{"results":1}`)
		}
	}
}

func TestRotatedKeyIsTakenUp(t *testing.T) {
	s := start(t, keyed(key2))
	s.keys.next = &secret.Credential{SiteName: "pub-2027", Key: secret.FromString(key2), Version: "2"}
	got := s.post(createShot)
	if got.body != `{"results":1}` || len(s.received()) != 2 {
		t.Fatalf("%+v after %d calls", got, len(s.received()))
	}
	ev := s.audit.all()
	if last := ev[len(ev)-1]; last.Retried != "key_changed" || last.KeyVersion != "2" {
		t.Errorf("recorded %+v", last)
	}
	if got := s.post(createShot); got.body != `{"results":1}` || len(s.received()) != 3 {
		t.Errorf("the next call: %+v", got)
	}
}

func TestRefusedKeyIsNoLoadOnItsSource(t *testing.T) {
	s := start(t, keyed(key2))
	for range 20 {
		if got := s.post(createShot); got.header.Get("Stagedoor-Refused") != string(proxy.KeyRefused) {
			t.Fatalf("%+v", got)
		}
	}
	if n := s.keys.refreshed; n < 1 || n > 10 { // the pauses add up to far more than 20 calls take
		t.Errorf("20 refused calls asked the source %d times", n)
	}
}

func TestLegacyKeyIsFoundInARefusedCall(t *testing.T) {
	s := start(t, answering(`{"results":1}`))
	s.post(`{"method_name":"delete","params":[{"script_name":"pub","script_key":"` + key1 + `"},{"type":"Shot","id":1}]}`)
	if ev := s.audit.all(); len(ev) != 1 || ev[0].Decision != audit.Refuse || ev[0].CallerCredential != audit.CredLiveKey {
		t.Errorf("recorded %+v", ev)
	}
	if len(s.received()) != 0 {
		t.Error("the site saw it")
	}
}

func TestSudoFaultIsNoEvidenceAgainstTheKey(t *testing.T) {
	sudo := strings.Replace(readShot, `"script_key":"x"`, `"script_key":"x","sudo_as_login":"joe"`, 1)
	s := start(t, keyed(key1))
	got := s.post(sudo)
	code, msg, _ := flow.ReadFault([]byte(got.body))
	if code != 104 || msg != "Can't authenticate user 'joe'" || s.keys.refreshed != 0 {
		t.Errorf("%+v, %d refreshes", got, s.keys.refreshed)
	}
	if n := len(s.received()); n != 2 || strings.Contains(s.received()[1], "sudo") {
		t.Errorf("the site saw %v", s.received())
	}
	if ev := s.audit.all(); len(ev) != 4 || !strings.HasPrefix(ev[1].Rule, "probe for ") {
		t.Errorf("recorded %+v", ev)
	}

	s = start(t, keyed(key2)) // now the key is bad
	if got := s.post(sudo); got.header.Get("Stagedoor-Refused") != string(proxy.KeyRefused) || s.keys.refreshed != 1 {
		t.Errorf("%+v, %d refreshes", got, s.keys.refreshed)
	}
}

func TestNoRecordNoCall(t *testing.T) {
	s := start(t, answering(`{"results":1}`))
	s.audit.fail = errors.New("disk full")
	got := s.post(readShot)
	if got.header.Get("Stagedoor-Refused") != string(proxy.AuditFailed) || len(s.received()) != 0 {
		t.Errorf("%+v, the site saw %d", got, len(s.received()))
	}
}

func TestNoKey(t *testing.T) {
	s := start(t, answering(`{"results":1}`))
	s.keys.err = errors.New("Vault has no secret at kv/flow/pub")
	got := s.post(readShot)
	if got.header.Get("Stagedoor-Refused") != string(proxy.NoKey) || !strings.Contains(got.body, "Vault has no secret at kv/flow/pub") || len(s.received()) != 0 {
		t.Errorf("%+v", got)
	}
	if got := s.post(`{"method_name":"info","params":[]}`); got.status != 200 || len(s.received()) != 1 {
		t.Errorf("info needs no key: %+v", got)
	}
}

func TestLimit(t *testing.T) {
	s := start(t, answering(`{"results":1}`), func(st *proxy.State, _ *proxy.Listener) {
		st.Scripts["pub"].Limiter = limit.New(limit.Options{Rate: 0.01, Burst: 1, MaxHold: time.Millisecond})
	})
	if got := s.post(readShot); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	got := s.post(readShot)
	after, _ := strconv.Atoi(got.header.Get("Retry-After"))
	code, msg, _ := flow.ReadFault([]byte(got.body))
	if got.status != 200 || code != 100 || !strings.Contains(msg, "over its rate limit") || after < 50 || len(s.received()) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestScriptsOnASharedListener(t *testing.T) {
	s := start(t, answering(`{"results":1}`), func(st *proxy.State, l *proxy.Listener) {
		st.Scripts["other"] = st.Scripts["pub"]
		l.Scripts = []string{"pub", "other"}
	})
	for _, tt := range []struct{ auth, script, reason string }{
		{`{"script_name":"pub","script_key":"x"}`, "pub", ""},
		{`{"script_name":"other"}`, "other", ""},
		{`{"script_name":"admin"}`, "", "script_unknown"},
		{`{}`, "", "script_unnamed"},
	} {
		got := s.post(`{"method_name":"read","params":[` + tt.auth + `,{"type":"Shot"}]}`)
		ev := s.audit.all()
		if last := ev[len(ev)-1]; got.header.Get("Stagedoor-Refused") != tt.reason || tt.reason == "" && ev[len(ev)-2].Script != tt.script {
			t.Errorf("%s: %+v %+v", tt.auth, got, last)
		}
	}
	if got := s.post(`{"method_name":"info","params":[]}`); got.header.Get("Stagedoor-Refused") != "" {
		t.Errorf("info: %+v", got)
	}
}

func TestEventLogValuesOfCredentialFieldsAreEmptied(t *testing.T) {
	s := start(t, answering(`{"results":{"entities":[{"meta":{"attribute_name":"salted_password","new_value":"hash"}}],"pad":"`+strings.Repeat("x", 64<<10)+`"}}`))
	if got := s.post(readEvents); strings.Contains(got.body, "hash") || !strings.Contains(got.body, `"new_value":null`) {
		t.Errorf("%.200s", got.body)
	}
	s = start(t, answering(`{"results":{"salted_password":{"data_type":{"value":"text"}}}}`))
	if got := s.post(`{"method_name":"schema_read","params":[{}]}`); !strings.Contains(got.body, `"data_type"`) {
		t.Errorf("a schema was changed: %s", got.body)
	}
}

// The answer to a part of a batch tells values as well.
func TestOldValuesInTheAnswerToABatchAreEmptied(t *testing.T) {
	s := start(t, answering(`{"results":[{"type":"EventLogEntry","id":1,"meta":{"attribute_name":"salted_password","new_value":"hash"}}]}`), func(st *proxy.State, _ *proxy.Listener) {
		st.Scripts["pub"].Policy = policy.Compile(policy.Script{Name: "pub", Rules: []policy.Rule{
			{Verb: "read", Targets: []policy.Target{{Type: "EventLogEntry"}}}, {Verb: "update", Targets: []policy.Target{{Type: "EventLogEntry"}}},
		}})
	})
	got := s.post(`{"method_name":"batch","params":[{},[{"request_type":"update","type":"EventLogEntry","id":1,"fields":[],"return_fields":["meta"]}]]}`)
	if strings.Contains(got.body, "hash") || !strings.Contains(got.body, `"new_value":null`) {
		t.Errorf("%+v", got)
	}
}
