package proxy_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"stagedoor/audit"
	"stagedoor/policy"
	"stagedoor/proxy"
	"stagedoor/secret"
)

func readsShots() *policy.Script {
	return policy.Compile(policy.Script{Name: "pub", Rules: []policy.Rule{
		{Verb: "read", Targets: []policy.Target{{Type: "Shot"}}, File: "t.yaml", Line: 1},
	}})
}

// fixedKeys is a source whose key stays.
func fixedKeys() *keys {
	return &keys{cred: secret.Credential{SiteName: "pub-2026", Key: secret.FromString(key1), Version: "1"}}
}

// unheard throws records away.
type unheard struct{}

func (unheard) Append(*audit.Event) error  { return nil }
func (unheard) Note(*audit.Event)          {}
func (unheard) Refused(*audit.Event) error { return nil }

// sink is a response writer without a connection.
type sink struct {
	header http.Header
	status int
	n      int
}

func (s *sink) Header() http.Header            { return s.header }
func (s *sink) WriteHeader(status int)         { s.status = status }
func (*sink) SetReadDeadline(time.Time) error  { return nil }
func (*sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) Write(p []byte) (int, error)    { s.n += len(p); return len(p), nil }

// asked is a request as a server hands it over.
func asked(tb testing.TB, ctx context.Context, body *bytes.Reader) *http.Request { //nolint:revive // tb comes first
	tb.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/api3/json", body)
	if err != nil {
		tb.Fatal(err)
	}
	r.Host = "localhost"
	r.RequestURI, r.RemoteAddr = "/api3/json", "127.0.0.1:5000"
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("User-Agent", "shotgun-json (3.10.3); Python 3.11 (Linux)")
	return r
}

// small is a read of about 1 KB and an answer of about 1 KB, in memory. It
// returns what serves it once.
func small(tb testing.TB, opts ...func(*proxy.Config, *proxy.State)) (serve func()) {
	tb.Helper()
	fields := make([]string, 40)
	for i := range fields {
		fields[i] = `"sg_field_` + strings.Repeat("x", i%20) + `"`
	}
	call := `{"method_name": "read", "params": [{"script_name": "pub", "script_key": "x"}, {"type": "Shot", "return_fields": [` +
		strings.Join(fields, ", ") + `], "filters": {"logical_operator": "and", "conditions": [{"path": "code", "relation": "is", "values": ["a"]}]},` +
		` "return_only": "active", "paging": {"entities_per_page": 500, "current_page": 1}, "api_return_image_urls": true}]}`
	answer := `{"results":{"entities":[{"type":"Shot","id":1,"code":"` + strings.Repeat("y", 900) + `"}],"paging_info":{"has_next_page":false}}}`
	p, l := proxyOver(saying(answer), unheard{}, opts...)
	h := p.Handler(l.Name)
	body := bytes.NewReader([]byte(call))
	r := asked(tb, context.Background(), body)
	w := &sink{header: http.Header{}}
	return func() {
		body.Reset([]byte(call))
		r.Body, r.ContentLength = io.NopCloser(body), int64(len(call))
		clear(w.header)
		w.n = 0
		h.ServeHTTP(w, r)
		if w.status != http.StatusOK || w.n != len(answer) {
			tb.Fatalf("%d, %d bytes", w.status, w.n)
		}
	}
}

// BenchmarkServeHTTP is the handler alone: no sockets, no TLS, no audit file,
// no metrics. bench/ measures the whole.
func BenchmarkServeHTTP(b *testing.B) {
	serve := small(b)
	b.ReportAllocs()
	for b.Loop() {
		serve()
	}
}

// maxAllocs is what one small call may allocate in the handler, net/http's own
// not counted: 92 with Go 1.26, half of them for the names of its 40 fields, a
// dozen more under the race detector, and room for another release to differ.
const maxAllocs = 112

func TestAllocationsOfASmallCall(t *testing.T) {
	serve := small(t)
	serve()
	if n := testing.AllocsPerRun(200, serve); n > maxAllocs {
		t.Errorf("%.0f allocations per call, more than %d", n, maxAllocs)
	}
}
