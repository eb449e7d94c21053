package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/limit"
	"stagedoor/policy"
	"stagedoor/proxy"
	"stagedoor/upstream"
)

// hall is a proxy without sockets, on a bubble's clock, before a site whose
// answers the test gives one by one or lets the site give at once.
type hall struct {
	t     *testing.T
	proxy *proxy.Proxy
	state *proxy.State
	local *proxy.Listener
	keys  *keys
	audit *record
	site  *desk
}

// desk is the site.
type desk struct {
	mu    sync.Mutex
	seen  []string
	waits chan *asking
	auto  func(call string) string // answers at once where set
	n     int
}

// asking is a call that waits for its answer.
type asking struct {
	body string
	done chan *http.Response // nil breaks the call off
}

func (d *desk) Do(ctx context.Context, r upstream.Request) (*http.Response, error) {
	if r.Stream != nil {
		_, _ = io.Copy(io.Discard, r.Stream)
	}
	body := r.Path + " " + string(r.Body)
	d.mu.Lock()
	d.seen = append(d.seen, body)
	auto := d.auto
	d.mu.Unlock()
	if strings.HasPrefix(body, "/api/v1/auth/access_token ") {
		return saying(`{"token_type":"Bearer","access_token":"0123456789abcdef0123","expires_in":600,"refresh_token":"0123456789abcdef01234"}`)(), nil
	}
	if auto != nil {
		return saying(auto(body))(), nil
	}
	a := &asking{body, make(chan *http.Response)}
	select {
	case d.waits <- a:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case res := <-a.done:
		if res == nil {
			return nil, errors.New("the connection broke")
		}
		return res, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// calls is how many calls came.
func (d *desk) calls() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.seen)
}

// atOnce makes the site answer by itself, each call with a number of its own.
func (d *desk) atOnce() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.auto = func(call string) string {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.n++
		if strings.HasPrefix(call, "/api/v1/entity/") {
			return `{"data":{"type":"Task","id":1,"attributes":{},"relationships":{}}}`
		}
		return `{"results":` + strconv.Itoa(d.n) + `}`
	}
}

// next is the next call that waits; it has to be there.
func (h *hall) next() *asking {
	h.t.Helper()
	synctest.Wait()
	select {
	case a := <-h.site.waits:
		return a
	default:
		h.t.Fatal("the site has no call to answer")
		return nil
	}
}

// none says that no call waits at the site.
func (h *hall) none() {
	h.t.Helper()
	synctest.Wait()
	if n := len(h.site.waits); n > 0 {
		h.t.Fatalf("%d calls wait at the site", n)
	}
}

func (a *asking) answer(body string) { a.done <- saying(body)() } //nolint:bodyclose // the proxy closes it

// status is an answer without much in it.
func status(code int) *http.Response {
	r := saying(`{}`)()
	r.StatusCode = code
	return r
}

// page is what one caller gets.
type page struct {
	sink
	body   bytes.Buffer
	audit  *record
	early  bool // it was answered before its intent was written
	broken bool
	slow   chan struct{} // writes wait for it
}

func (p *page) WriteHeader(status int) {
	p.sink.WriteHeader(status)
	id := p.header.Get("Stagedoor-Request-Id")
	p.early = status == http.StatusOK && p.header.Get("Stagedoor-Refused") == "" && !p.audit.hasIntent(id)
}

func (p *page) Write(b []byte) (int, error) {
	if p.slow != nil {
		<-p.slow
	}
	return p.body.Write(b)
}

// hasIntent looks for a call's intent, the newest first.
func (r *record) hasIntent(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range slices.Backward(r.events) {
		if e.ID == id && e.Kind == audit.Intent {
			return true
		}
	}
	return false
}

// edits change a request before it is served.
type edits = func(*http.Request)

// sends serves a call; the page comes when it is answered.
func (h *hall) sends(call string, edit ...edits) chan *page {
	return h.sendsOn(h.local, call, &page{sink: sink{header: http.Header{}}, audit: h.audit}, edit...)
}

func (h *hall) sendsOn(l *proxy.Listener, call string, out *page, edit ...edits) chan *page {
	done := make(chan *page, 1)
	r := asked(h.t, h.t.Context(), bytes.NewReader(nil))
	if verb, rest, ok := strings.Cut(call, " /"); ok { // REST
		target, body, _ := strings.Cut(rest, " ")
		fresh, err := http.NewRequestWithContext(h.t.Context(), verb, "/"+target, strings.NewReader(body))
		if err != nil {
			h.t.Fatal(err)
		}
		fresh.Host, fresh.RequestURI, fresh.RemoteAddr = r.Host, "/"+target, r.RemoteAddr
		if body != "" {
			fresh.Header.Set("Content-Type", "application/json")
		}
		r = fresh
	} else {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(call)), int64(len(call))
	}
	for _, e := range edit {
		e(r)
	}
	go func() {
		defer func() {
			out.broken = recover() != nil
			done <- out
		}()
		h.proxy.Handler(l.Name).ServeHTTP(out, r)
	}()
	return done
}

// does is sends for a site that answers at once.
func (h *hall) does(call string, edit ...edits) string {
	h.t.Helper()
	p := <-h.sends(call, edit...)
	if p.early {
		h.t.Error("an answer came before its record")
	}
	return p.body.String()
}

// asks says whether a call goes to the site.
func (h *hall) asks(call string) bool {
	h.t.Helper()
	before := h.site.calls()
	if got := h.does(call); !strings.HasPrefix(got, `{"results":`) {
		h.t.Errorf("%s: %s", call, got)
	}
	return h.site.calls() > before
}

// intents are the records of calls that were let through.
func (h *hall) intents() (out []audit.Event) {
	for _, e := range h.audit.all() {
		if e.Kind == audit.Intent {
			out = append(out, e)
		}
	}
	return out
}

// shares is a policy under which equal reads share answers, for half a minute
// after them if kept, and anything may be written.
func shares(kept int) *policy.Script {
	share := policy.Share{Coalesce: true, Seconds: kept}
	all := []policy.Target{{Type: "*"}}
	rules := []policy.Rule{
		{Verb: "read", Targets: append([]policy.Target{{Type: "EventLogEntry"}}, all...), Share: share},
		{Verb: "schema", Targets: all, Share: share},
		{Verb: "preferences", Share: share},
		{Verb: "preferences_update"},
		{Verb: "schema_field_create", Targets: all},
		{Verb: "follow", Targets: all},
		{Verb: "upload", Targets: all},
		{Verb: "presets", Targets: []policy.Target{{Type: "latest"}}, Share: share},
	}
	for _, verb := range []string{"create", "update", "delete", "revive"} {
		rules = append(rules, policy.Rule{Verb: verb, Targets: all}, policy.Rule{Verb: verb, Targets: []policy.Target{
			{Type: "HumanUser"}, {Type: "HumanUser", Fields: []string{"sg_status_list"}},
		}})
	}
	for i := range rules {
		rules[i].File, rules[i].Line = "t.yaml", i+1
	}
	return policy.Compile(policy.Script{Name: "pub", Sudo: []string{"joe"}, Rules: rules})
}

// inHall runs f with a proxy whose script keeps answers for so many seconds.
func inHall(t *testing.T, kept int, f func(*hall), opts ...func(*proxy.Config, *proxy.State)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &hall{t: t, audit: &record{}, site: &desk{waits: make(chan *asking, 5000)}, keys: fixedKeys()}
		h.proxy, h.local = proxyOver(h.site, h.audit, append(opts, func(c *proxy.Config, st *proxy.State) {
			st.Keys, st.Types, st.Handles, st.HandleLife = h.keys, flow.NewTypes(), testHandles(), time.Hour
			st.Scripts["pub"].Policy = shares(kept)
			h.state = st
			c.Entropy = &counter{}
		})...)
		f(h)
		synctest.Wait()
		if s := h.proxy.Shared(); s.Flights != 0 || s.Waiting != 0 || s.Entries == 0 && s.Bytes != 0 {
			t.Errorf("when all is over: %+v", s)
		}
	})
}

// counter is entropy that makes ids differ.
type counter struct {
	mu sync.Mutex
	n  byte
}

func (c *counter) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range p {
		c.n++
		p[i] = c.n
	}
	return len(p), nil
}

// limited is a script under a limit of one call.
func limited(_ *proxy.Config, st *proxy.State) {
	st.Scripts["pub"].Limiter = limit.New(limit.Options{Rate: 0.001, Burst: 1, MaxHold: time.Millisecond})
}

const (
	schemaRead = `{"method_name":"schema_read","params":[{"script_name":"pub","script_key":"x"},{}]}`
	shotSchema = `{"method_name":"schema_field_read","params":[{},{"type":"Shot"}]}`
	prefsRead  = `{"method_name":"preferences_read","params":[{},{}]}`
)

// reading is a read of fields of a type.
func reading(typ string, fields ...string) string {
	return fmt.Sprintf(`{"method_name":"read","params":[{},{"type":%q,"return_fields":["%s"]}]}`, typ, strings.Join(fields, `","`))
}
