package admin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"stagedoor/admin"
)

// serve starts a server on a loopback port of the system's choice.
func serve(t *testing.T, o admin.Options) string {
	t.Helper()
	s := admin.NewServer(o)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-ended); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, addr, method, path string, change func(*http.Request)) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // only read
	var b strings.Builder
	if _, err := io.Copy(&b, res.Body); err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, b.String()}
}

func TestRoutes(t *testing.T) {
	reg := prometheus.NewRegistry()
	admin.NewMetrics(reg, nil, nil).Redacted(3)
	addr := serve(t, admin.Options{
		Started: func() error { return nil },
		Ready:   func() []admin.Check { return []admin.Check{{Name: "vault"}, {Name: "audit"}} },
		Metrics: reg,
	})
	for _, c := range []struct {
		method, path string
		change       func(*http.Request)
		status       int
		body         string
	}{
		{"GET", "/livez", nil, 200, "ok   live\n"},
		{"GET", "/startupz", nil, 200, "ok   started\n"},
		{"GET", "/readyz", nil, 200, "ok   vault\nok   audit\n"},
		{"HEAD", "/readyz", nil, 200, ""},
		{"GET", "/readyz?verbose", nil, 200, "ok   vault\nok   audit\n"},
		{"GET", "/metrics", nil, 200, "stagedoor_redactions_total 3"},
		{"POST", "/readyz", nil, 405, "read-only\n"},
		{"OPTIONS", "/metrics", nil, 405, "read-only\n"},
		{"GET", "/", nil, 404, "no such page\n"},
		{"GET", "//livez", nil, 404, "no such page\n"},
		{"GET", "/livez/", nil, 404, "no such page\n"},
		{"GET", "/debug/pprof/", nil, 404, "no such page\n"},
		{"GET", "/metrics", func(r *http.Request) { r.Header.Set("Origin", "null") }, 403, ""},
		{"GET", "/metrics", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }, 403, ""},
		{"GET", "/metrics", func(r *http.Request) { r.Host = "evil.example" }, 421, ""},
		{"GET", "/livez", func(r *http.Request) { r.Host = "LocalHost:99" }, 200, ""},
		{"GET", "/livez", func(r *http.Request) { r.Host = "[::1]" }, 200, ""},
	} {
		res := ask(t, addr, c.method, c.path, c.change)
		if res.status != c.status || !strings.Contains(res.body, c.body) {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, res.status, res.body, c.status, c.body)
		}
		if res.header.Get("Cache-Control") != "no-store" || res.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: headers %v", c.method, c.path, res.header)
		}
		if res.header.Get("Access-Control-Allow-Origin") != "" || res.header.Get("Location") != "" {
			t.Errorf("%s %s: headers %v", c.method, c.path, res.header)
		}
	}
}

// Beyond loopback the names that lead here are not known.
func TestHostBeyondLoopback(t *testing.T) {
	s := admin.NewServer(admin.Options{})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/livez", http.NoBody)
	at := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 8471}
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, at))
	r.Host = "render-0815:8471"
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestProbeSaysWhatTheServerSays(t *testing.T) {
	var well atomic.Bool
	up := func() error {
		if well.Load() {
			return nil
		}
		return errors.New("reading keys\nok   vault") // not a line of its own
	}
	addr := serve(t, admin.Options{
		Started: up,
		Live:    up,
		Ready: func() []admin.Check {
			if err := up(); err != nil {
				return []admin.Check{{Name: "listener"}, {Name: "key:ev", Why: err.Error()}}
			}
			return []admin.Check{{Name: "listener"}, {Name: "key:ev"}}
		},
	})
	for what, want := range map[string]string{
		"ready":   "not ready (503):\nok   listener\nFAIL key:ev: reading keys ok   vault",
		"live":    "FAIL live: reading keys",
		"startup": "FAIL started: reading keys",
	} {
		err := admin.Probe(t.Context(), addr, what)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	well.Store(true)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{addr, ":" + port, "0.0.0.0:" + port} {
		for _, what := range []string{"ready", "live", "startup"} {
			if err := admin.Probe(t.Context(), a, what); err != nil {
				t.Errorf("%s at %s: %v", what, a, err)
			}
		}
	}
}

func TestProbeFails(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][3]string{
		{gone, "ready", "is Stagedoor running"},
		{gone, "happy", "ready, live or startup"},
		{"nonsense", "ready", "the admin address"},
	} {
		if err := admin.Probe(t.Context(), c[0], c[1]); err == nil || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("%v: %v", c, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := admin.Probe(ctx, gone, "ready"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestZeroOptionsAreNeverReady(t *testing.T) {
	addr := serve(t, admin.Options{})
	for path, want := range map[string]int{"/startupz": 503, "/readyz": 503, "/livez": 200, "/metrics": 404} {
		if res := ask(t, addr, http.MethodGet, path, nil); res.status != want {
			t.Errorf("%s: %d, want %d", path, res.status, want)
		}
	}
}
