package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/audit"
	"stagedoor/caller"
	"stagedoor/limit"
	"stagedoor/proxy"
	"stagedoor/upstream"
)

// pipes is a listener of in-memory connections, for synctest.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	a, b := net.Pipe()
	p.conns <- b
	return a
}

// canned is a site that answers from memory.
type canned func() *http.Response

func (c canned) Do(context.Context, upstream.Request) (*http.Response, error) { return c(), nil }

func saying(body string) canned {
	return func() *http.Response {
		return &http.Response{
			StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		}
	}
}

// still runs a proxy of ten connections on the bubble's clock.
func still(t *testing.T, site proxy.Sender, f func(*pipes, *proxy.Server, *proxy.Proxy, *record)) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		a := &record{}
		p, l := proxyOver(site, a)
		ln := newPipes()
		s := proxy.NewServer(slog.New(slog.DiscardHandler), 10)
		l.Crowded = s.Crowded
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(ln, p.Handler(l.Name)) }()
		f(ln, s, p, a)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = s.Shutdown(ctx)
		<-done
	})
}

// proxyOver is a proxy with one script that may read anything.
func proxyOver(site proxy.Sender, a proxy.Auditor, opts ...func(*proxy.Config, *proxy.State)) (*proxy.Proxy, *proxy.Listener) {
	return proxyWithin(limit.NewRoom(64<<20, 32<<20), site, a, opts...)
}

// proxyWithin is proxyOver with a bound on its bodies.
func proxyWithin(room *limit.Room, site proxy.Sender, a proxy.Auditor, opts ...func(*proxy.Config, *proxy.State)) (*proxy.Proxy, *proxy.Listener) {
	l := &proxy.Listener{
		Name: "local", Door: caller.NewDoor("80"), Scripts: []string{"pub"}, KeepAlive: true,
		Unnamed: limit.New(limit.Options{}), Crowded: func() bool { return false },
	}
	st := &proxy.State{
		Site: site, Origin: "https://site.example", Keys: fixedKeys(), MaxBody: 64 << 20, MaxDepth: 64, Contact: "#pipeline",
		Scripts:   map[string]*proxy.Script{"pub": {Limiter: limit.New(limit.Options{}), Policy: readsShots()}},
		Listeners: map[string]*proxy.Listener{l.Name: l},
	}
	c := proxy.Config{
		Version: "1.2.3", Audit: a, Metrics: &metrics{}, Logger: slog.New(slog.DiscardHandler), Now: time.Now, Entropy: zeros{},
	}
	for _, o := range opts {
		o(&c, st)
	}
	return proxy.New(c, st, room), l
}

// zeros is entropy for tests, which need none.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func written(s string) string { return strings.ReplaceAll(s, "HOST", "localhost") }

// answered is an answer, read to its end.
type answered struct {
	status int
	header http.Header
	body   string
	closes bool
}

func answerOf(t *testing.T, c net.Conn) answered {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodPost})
	if err != nil {
		t.Errorf("no answer: %v", err)
		return answered{}
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	_ = res.Body.Close()
	return answered{res.StatusCode, res.Header, string(b), res.Close}
}

func TestIdleConnectionIsNeverClosedByTime(t *testing.T) {
	still(t, saying(`{"results":1}`), func(ln *pipes, s *proxy.Server, _ *proxy.Proxy, _ *record) {
		c := ln.dial()
		for range 3 {
			_, _ = io.WriteString(c, written(head(length(len(readShot))))+readShot)
			if got := answerOf(t, c); got.status != 200 {
				t.Errorf("%+v", got)
			}
			pass(72 * time.Hour)
		}
		if s.Connections() != 1 {
			t.Errorf("%d connections", s.Connections())
		}
		_ = c.Close()
	})
}

func TestSlowBodiesEnd(t *testing.T) {
	for _, tt := range []struct {
		name  string
		head  string
		pause time.Duration
		piece string
		want  time.Duration // until it is over
	}{
		{"a stalled short body", length(100), 0, "", 15 * time.Second},
		{"a stalled long body", length(1 << 20), 0, "", 15 * time.Second},
		{"a dripping long body", length(1 << 20), 10 * time.Second, "x", 16 * time.Second},
		{"a stalled chunk", "Transfer-Encoding: chunked\r\n\r\n10\r\n", 0, "", 15 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			still(t, saying(`{"results":1}`), func(ln *pipes, _ *proxy.Server, _ *proxy.Proxy, a *record) {
				c := ln.dial()
				began, sent := time.Now(), make(chan struct{})
				go func() {
					defer close(sent)
					_, err := io.WriteString(c, written(head(tt.head)))
					for tt.piece != "" && err == nil {
						pass(tt.pause)
						_, err = io.WriteString(c, tt.piece)
					}
				}()
				got := answerOf(t, c)
				if took := time.Since(began); took > tt.want || got.status != 408 || got.header.Get("Stagedoor-Refused") != string(proxy.TooSlow) {
					t.Errorf("%+v after %s", got, took)
				}
				_ = c.Close()
				<-sent
				synctest.Wait()
				if ev := a.all(); len(ev) != 1 || ev[0].Reason != string(proxy.TooSlow) {
					t.Errorf("recorded %+v", ev)
				}
			})
		})
	}
}

// TestStalledBodiesLetOthersIn: what one caller announces and does not send
// keeps others out no longer than these wait.
func TestStalledBodiesLetOthersIn(t *testing.T) {
	big := strings.Replace(readShot, `"Shot"`, `"Shot"`+strings.Repeat(" ", 2<<20), 1)
	for _, tt := range []struct {
		name, how string
		stalled   int
	}{
		{"length", length(66_000_000), 1}, // and none of 64 MiB is left for another
		{"chunks", "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"metho\r\n", 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			still(t, saying(`{"results":1}`), func(ln *pipes, _ *proxy.Server, _ *proxy.Proxy, _ *record) {
				conns := make([]net.Conn, tt.stalled)
				for i := range conns {
					conns[i] = ln.dial()
					go func() { _, _ = io.WriteString(conns[i], written(head(tt.how))) }()
				}
				synctest.Wait()
				c := ln.dial()
				go func() { _, _ = io.WriteString(c, written(head(length(len(big))))+big) }()
				if got := answerOf(t, c); got.status != 200 || got.body != `{"results":1}` {
					t.Errorf("%+v", got)
				}
				_ = c.Close()
				for _, c := range conns {
					_ = c.Close()
				}
			})
		})
	}
}

func TestBodyAtTheLeastRateArrives(t *testing.T) {
	body := strings.Replace(readShot, `"Shot"`, `"Shot"`+strings.Repeat(" ", 900<<10), 1)
	still(t, saying(`{"results":1}`), func(ln *pipes, _ *proxy.Server, _ *proxy.Proxy, _ *record) {
		c, sent := ln.dial(), make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.WriteString(c, written(head(length(len(body)))))
			for b := body; b != ""; {
				n := min(len(b), 64<<10)
				_, _ = io.WriteString(c, b[:n])
				b = b[n:]
				pass(time.Second)
			}
		}()
		if got := answerOf(t, c); got.status != 200 {
			t.Errorf("%+v", got)
		}
		_ = c.Close()
		<-sent
	})
}

func TestCallerThatTakesNoAnswerIsCutOff(t *testing.T) {
	for name, body := range map[string]string{"short": `{"results":1}`, "streamed": `{"results":"` + strings.Repeat("x", 1<<20) + `"}`} {
		t.Run(name, func(t *testing.T) {
			still(t, saying(body), func(ln *pipes, s *proxy.Server, _ *proxy.Proxy, _ *record) {
				c := ln.dial()
				_, _ = io.WriteString(c, written(head(length(len(readShot))))+readShot)
				pass(10 * time.Minute)
				synctest.Wait()
				if s.Connections() != 0 {
					t.Error("the connection is still there")
				}
				_ = c.Close()
			})
		})
	}
}

func TestConnectionServesAfterALongPause(t *testing.T) {
	still(t, saying(`{"results":1}`), func(ln *pipes, _ *proxy.Server, _ *proxy.Proxy, _ *record) {
		c := ln.dial()
		_, _ = io.WriteString(c, written(head(length(len(readShot))))+readShot)
		answerOf(t, c)
		pass(time.Hour) // the time to take the last answer is long over
		_, _ = io.WriteString(c, written(head("Expect: 100-continue\r\n", length(len(readShot)))))
		br := bufio.NewReader(c)
		if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
			t.Errorf("%q %v", line, err)
		}
		_, _ = br.ReadString('\n')
		go func() { _, _ = io.WriteString(c, readShot) }()
		if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200 ") {
			t.Errorf("%q %v", line, err)
		}
		_ = c.Close()
	})
}

func TestConnectionsAreBoundedByNumber(t *testing.T) {
	var open atomic.Int32
	still(t, saying(`{"results":1}`), func(ln *pipes, s *proxy.Server, _ *proxy.Proxy, _ *record) {
		s.OnConnections = func(d int) { open.Add(int32(d)) }
		call := func(c net.Conn) answered {
			go func() { _, _ = io.WriteString(c, written(head(length(len(readShot))))+readShot) }()
			got := answerOf(t, c)
			synctest.Wait()
			return got
		}
		var conns []net.Conn
		for i := range 10 {
			c := ln.dial()
			conns = append(conns, c)
			if got := call(c); got.status != 200 || got.closes != (i >= 8) {
				t.Errorf("connection %d: %+v", i, got)
			}
		}
		for range 20 { // silent ones, beyond the bound: the oldest of them goes
			conns = append(conns, ln.dial())
			synctest.Wait()
		}
		if n := s.Connections(); n > 10 {
			t.Errorf("%d connections", n)
		}
		if _, err := conns[10].Read(make([]byte, 1)); err == nil {
			t.Error("the oldest silent connection is still there")
		}
		if got := call(conns[0]); got.status != 200 {
			t.Errorf("a tool that was idle lost its connection to silent ones: %+v", got)
		}
		late := ln.dial()
		if got := call(late); got.status != 200 {
			t.Errorf("a tool that comes now: %+v", got)
		}
		conns = append(conns, late)
		for _, c := range conns {
			_ = c.Close()
		}
		synctest.Wait()
		if s.Connections() != 0 || open.Load() != 0 {
			t.Errorf("%d connections, %d by the gauge", s.Connections(), open.Load())
		}
	})
}

func TestNoKeepAliveAndDrainingClose(t *testing.T) {
	s := start(t, answering(`{"results":1}`), func(_ *proxy.State, l *proxy.Listener) { l.KeepAlive = false })
	if _, h, _, err := s.raw(head(length(len(readShot))) + readShot); err != nil || h.Get("Connection") != "close" {
		t.Errorf("keepalive off: %v %v", h, err)
	}
	s = start(t, answering(`{"results":1}`))
	if _, h, _, err := s.raw(head(length(len(readShot))) + readShot); err != nil || h.Get("Connection") == "close" {
		t.Errorf("%v %v", h, err)
	}
	s.proxy.Drain()
	if _, h, _, err := s.raw(head(length(len(readShot))) + readShot); err != nil || h.Get("Connection") != "close" {
		t.Errorf("draining: %v %v", h, err)
	}
}

func TestDrainLetsCallsEnd(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		close(in)
		<-out
		answering(`{"results":1}`)(w, r)
	})
	got := make(chan result, 1)
	go func() { got <- s.post(createShot) }()
	<-in
	s.proxy.Drain()
	down := make(chan error, 1)
	go func() { down <- s.server.Shutdown(t.Context()) }()
	close(out)
	if r := <-got; r.status != 200 {
		t.Errorf("%+v", r)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// A connection that is dropped makes old clients send the write again, and the
// next process would do it twice.
func TestCallsThatADrainCutsAreAnswered(t *testing.T) {
	in, one := make(chan struct{}, 2), limit.New(limit.Options{InFlight: 1})
	s := start(t, func(_ http.ResponseWriter, r *http.Request) {
		in <- struct{}{}
		<-r.Context().Done()
	}, func(st *proxy.State, _ *proxy.Listener) { st.Scripts["pub"].Limiter = one })
	flight, held := make(chan result, 1), make(chan result, 1)
	go func() { flight <- s.post(createShot) }()
	<-in
	go func() { held <- s.post(createShot) }()
	for { // until the second call waits: there is no event for it
		if _, queued := one.Stats(); queued == 1 {
			break
		}
		runtime.Gosched()
	}
	s.proxy.Drain()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.server.Shutdown(over); err == nil {
		t.Error("the drain was not over")
	}
	if r := <-flight; r.status != 500 || !strings.Contains(r.body, "it may have been done") {
		t.Errorf("in flight: %+v", r)
	}
	if r := <-held; r.header.Get("Stagedoor-Refused") != string(proxy.Busy) || !strings.Contains(r.body, "it was not sent") {
		t.Errorf("held: %+v", r)
	}
	if n := len(s.received()); n != 1 {
		t.Errorf("the site saw %d calls", n)
	}
}

// Bodies that each hold a part of the room and wait for the rest must not wait
// for each other.
func TestHalfReadBodiesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, room := &record{}, limit.NewRoom(1<<20, 1<<20)
		p, l := proxyWithin(room, saying(`{}`), a, func(_ *proxy.Config, st *proxy.State) { st.MaxBody = 1 << 20 })
		const bodies = 8 // of 600 KiB, into 1 MiB
		var writers [bodies]*io.PipeWriter
		done := make(chan int, bodies)
		for i := range bodies {
			r, w := io.Pipe()
			writers[i] = w
			go func() {
				req := asked(t, t.Context(), bytes.NewReader(nil))
				req.Body, req.ContentLength = r, 600<<10
				out := &sink{header: http.Header{}}
				p.Handler(l.Name).ServeHTTP(out, req)
				done <- out.status
			}()
		}
		began := time.Now()
		body := readShot + strings.Repeat(" ", 600<<10-len(readShot))
		for i := range bodies { // all come half, then all the rest
			go func() {
				for from := 0; from < len(body); from += 50 << 10 {
					_, _ = io.WriteString(writers[i], body[from:min(from+50<<10, len(body))])
				}
				_ = writers[i].Close()
			}()
		}
		for range bodies {
			if status := <-done; status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		}
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("they waited %s for each other", waited)
		}
		for _, e := range a.all() {
			if e.Kind == audit.RefusedCall {
				t.Errorf("refused: %+v", e)
			}
		}
		if n := room.InUse(); n != 0 {
			t.Errorf("%d bytes are still in use", n)
		}
	})
}

// pass lets the bubble's clock go on.
func pass(d time.Duration) { <-time.NewTimer(d).C }

// TestHangUpIsNoRefusal: a caller that goes before its call could leave is
// recorded once, as aborted, and counted as no refusal.
func TestHangUpIsNoRefusal(t *testing.T) {
	for name, full := range map[string]func(*proxy.State, *limit.Room) (free func()){
		"held for the limit": func(st *proxy.State, _ *limit.Room) func() {
			one := limit.New(limit.Options{InFlight: 1})
			st.Scripts["pub"].Limiter = one
			g, err := one.Acquire(t.Context(), 1)
			if err != nil {
				t.Error(err)
			}
			return g.Release
		},
		"waiting for room": func(_ *proxy.State, room *limit.Room) func() {
			large := room.For(-1)
			if !large.TryAcquire(large.Max()) {
				t.Error("no room")
			}
			return func() { large.Release(large.Max()) }
		},
	} {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, gone before: %t", name, early), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a, m, room := &record{}, &metrics{}, limit.NewRoom(64<<20, 32<<20)
					var free func()
					p, l := proxyWithin(room, saying(`{}`), a, func(c *proxy.Config, st *proxy.State) {
						c.Metrics, free = m, full(st, room)
					})
					ctx, cancel := context.WithCancel(t.Context())
					if early {
						cancel()
					}
					w := &sink{header: http.Header{}}
					done := make(chan any)
					go func() {
						defer func() { done <- recover() }()
						p.Handler(l.Name).ServeHTTP(w, asked(t, ctx, bytes.NewReader([]byte(readShot+strings.Repeat(" ", 65<<10)))))
					}()
					if !early {
						synctest.Wait()
					}
					cancel()
					if cut := <-done; cut != http.ErrAbortHandler { //nolint:errorlint // what was panicked with
						t.Errorf("ended with %v", cut)
					}
					free()
					if e := a.all(); len(e) != 1 || e[0].Kind != audit.RefusedCall || e[0].Result != audit.ResultAborted || e[0].Reason != "" {
						t.Errorf("recorded as %+v", e)
					}
					if len(m.refuse) != 0 || len(m.calls) != 1 || !strings.HasSuffix(m.calls[0], "/aborted") {
						t.Errorf("counted as %v, %v", m.calls, m.refuse)
					}
					if w.status != 0 {
						t.Errorf("answered %d", w.status)
					}
				})
			})
		}
	}
}
