package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/upstream"
)

// identity is a certificate for example.com and 127.0.0.1 with its root.
func identity(tb testing.TB) (tls.Certificate, *x509.CertPool) {
	tb.Helper()
	ts := httptest.NewUnstartedServer(nil)
	ts.StartTLS()
	defer ts.Close()
	roots := x509.NewCertPool()
	roots.AddCert(ts.Certificate())
	return ts.TLS.Certificates[0], roots
}

// line is the site's end of one connection.
type line struct {
	net.Conn
	raw net.Conn
	br  *bufio.Reader
}

// call reads one request; ok is false when the client has closed.
func (l *line) call() bool {
	r, err := http.ReadRequest(l.br)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil
}

func (l *line) say(s string) { _, _ = io.WriteString(l, s) }

// place is a site that a test plays by hand.
type place struct {
	site  *upstream.Site
	dials atomic.Int32
	calls atomic.Int32
	ln    net.Listener
	wg    sync.WaitGroup
}

type setting func(*upstream.Options, *tls.Config)

// visit makes a site whose connections are served by f, over in-memory pipes
// where piped (for synctest), else over loopback.
func visit(tb testing.TB, piped bool, f func(*line), settings ...setting) *place {
	tb.Helper()
	cert, roots := identity(tb)
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	origin, _ := url.Parse("https://example.com")
	o := upstream.Options{Site: origin, Roots: roots}
	p := &place{}
	serve := func(raw net.Conn) {
		p.wg.Go(func() {
			defer func() { _ = raw.Close() }()
			c := tls.Server(raw, conf)
			if c.HandshakeContext(context.Background()) != nil {
				return
			}
			f(&line{Conn: c, raw: raw, br: bufio.NewReader(c)})
		})
	}
	if piped {
		o.Dial = func(context.Context, string, string) (net.Conn, error) {
			p.dials.Add(1)
			a, b := net.Pipe()
			serve(b)
			return a, nil
		}
	} else {
		ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		p.wg.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				serve(c)
			}
		})
		p.ln = ln
		o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			p.dials.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, ln.Addr().String())
		}
	}
	for _, s := range settings {
		s(&o, conf)
	}
	p.site = upstream.New(o)
	if !piped {
		tb.Cleanup(p.end)
	}
	return p
}

func (p *place) end() {
	p.site.Close()
	if p.ln != nil {
		_ = p.ln.Close()
	}
	p.wg.Wait()
}

// ask makes one call and reads its whole answer.
func (p *place) ask(ctx context.Context, body string) (status int, answer string, err error) {
	res, err := p.site.Do(ctx, upstream.Request{Path: "/api3/json", Header: [][2]string{{"Content-Type", "application/json"}}, Body: []byte(body)})
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// always answers every call on a connection with the same bytes.
func always(answer string) func(*line) {
	return func(l *line) {
		for {
			if !l.call() {
				return
			}
			l.say(answer)
		}
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestFramingsOfAnswers(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	once := func(answer string) func(*line) {
		return func(l *line) {
			if l.call() {
				l.say(answer)
			}
			_ = l.Close() // with TLS's own end
		}
	}
	for _, tt := range []struct {
		name   string
		site   func(*line)
		status int
		answer string
		kept   bool
	}{
		{"length", always(ok), 200, "ok", true},
		{"long", always(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long)), 200, long, true},
		{"chunked", always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n"), 200, "ok", true},
		{"empty", always("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), 404, "", true},
		{"204", always("HTTP/1.1 204 No\r\n\r\n"), 204, "", true},
		{"304 with a length", always("HTTP/1.1 304 No\r\nContent-Length: 7\r\n\r\n"), 304, "", true},
		{"interim", always("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + ok), 200, "ok", true},
		{"closing", always("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"), 200, "ok", false},
		{"HTTP/1.0", always("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), 200, "ok", false},
		{"to the end", once("HTTP/1.1 200 OK\r\n\r\nok"), 200, "ok", false},
		{"more than the answer", always(ok + ok), 200, "ok", false},
		{"more than a long answer", always(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s", len(long), long, ok)), 200, long, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := visit(t, false, tt.site)
			for range 3 {
				status, answer, err := p.ask(t.Context(), "{}")
				if err != nil || status != tt.status || answer != tt.answer {
					t.Fatalf("%d, %d bytes, %v", status, len(answer), err)
				}
			}
			if n := p.dials.Load(); tt.kept && n != 1 || !tt.kept && n != 3 {
				t.Errorf("%d connections for 3 calls", n)
			}
		})
	}
}

// TestCutAnswersAreErrors: crypto/tls takes an end of the connection between two
// records for a clean one, upstream does not.
func TestCutAnswersAreErrors(t *testing.T) {
	for name, answer := range map[string]string{
		"length":          "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
		"chunked":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
		"no last chunk":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
		"to the end":      "HTTP/1.1 200 OK\r\n\r\nok",
		"long to the end": "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("ok", 50<<10),
		"header":          "HTTP/1.1 200 OK\r\nContent-",
		"length twice":    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"bad chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok",
		"no HTTP":         "220 smtp ready\r\n\r\n",
		"upgrade":         "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
		"many interims":   strings.Repeat("HTTP/1.1 103 Early\r\n\r\n", 50) + ok,
		"endless header":  "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 100) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := visit(t, false, func(l *line) {
				if l.call() {
					l.say(answer)
				}
				if tc, ok := l.raw.(*net.TCPConn); ok {
					_ = tc.CloseWrite()
				}
				_, _ = io.Copy(io.Discard, l.raw)
			})
			status, got, err := p.ask(t.Context(), "{}")
			if err == nil {
				t.Fatalf("%d %q", status, got)
			}
			var ue *upstream.Error
			if errors.As(err, &ue) && (!ue.Sent || ue.Reused || ue.Died) {
				t.Errorf("%+v", ue)
			}
		})
	}
}

// TestDeathBeforeAnyAnswer tells what may be sent again: nothing came, on a
// connection that had served before.
func TestDeathBeforeAnyAnswer(t *testing.T) {
	second := func(then func(*line)) func(*line) {
		return func(l *line) {
			_ = l.call()
			l.say(ok)
			if l.call() {
				then(l)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		then   func(*line)
		reused bool
		died   bool
	}{
		{"closed", func(l *line) { _ = l.raw.Close() }, true, true},
		{"reset", func(l *line) {
			if tc, ok := l.raw.(*net.TCPConn); ok {
				_ = tc.SetLinger(0)
			}
		}, true, true},
		{"one byte", func(l *line) { l.say("H") }, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := visit(t, false, second(tt.then))
			if _, _, err := p.ask(t.Context(), "1"); err != nil {
				t.Fatal(err)
			}
			_, _, err := p.ask(t.Context(), "2")
			var ue *upstream.Error
			if !errors.As(err, &ue) || !ue.Sent || ue.Reused != tt.reused || ue.Died != tt.died {
				t.Errorf("%+v", ue)
			}
		})
	}
}

func TestFreshCallTakesNoKeptConnection(t *testing.T) {
	p := visit(t, false, always(ok))
	for range 2 {
		res, err := p.site.Do(t.Context(), upstream.Request{Path: "/", Fresh: true})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	if n := p.dials.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestClosedConnectionIsSeenBeforeACallIsWritten(t *testing.T) {
	closed := make(chan struct{}, 8)
	p := visit(t, false, func(l *line) {
		_ = l.call()
		l.say(ok)
		_ = l.Close()
		closed <- struct{}{}
	})
	for range 5 {
		if _, _, err := p.ask(t.Context(), "{}"); err != nil {
			t.Fatal(err)
		}
		<-closed // the end is on its way over loopback, which delivers at once
	}
}

func TestUnverifiedSitesGetNothing(t *testing.T) {
	otherRoots := x509.NewCertPool()
	for _, tt := range []struct {
		name string
		set  setting
	}{
		{"wrong name", func(o *upstream.Options, _ *tls.Config) { o.Site = &url.URL{Scheme: "https", Host: "other.example"} }},
		{"unknown root", func(o *upstream.Options, _ *tls.Config) { o.Roots = otherRoots }},
		{"old TLS", func(_ *upstream.Options, c *tls.Config) {
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, h2), func(t *testing.T) {
				var seen atomic.Int32
				p := visit(t, false, func(l *line) {
					if l.call() {
						seen.Add(1)
					}
				}, tt.set, func(o *upstream.Options, _ *tls.Config) { o.HTTP2 = h2 })
				_, _, err := p.ask(t.Context(), "secret")
				var ue *upstream.Error
				if !errors.As(err, &ue) || ue.Sent || ue.Reused || seen.Load() != 0 {
					t.Errorf("%v, the site saw %d calls", err, seen.Load())
				}
			})
		}
	}
}

func TestExpiredCertificateGetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := visit(t, true, always(ok))
		pass(90 * 365 * 24 * time.Hour)
		_, _, err := p.ask(t.Context(), "secret")
		var ue *upstream.Error
		if !errors.As(err, &ue) || ue.Sent || !strings.Contains(err.Error(), "expired") {
			t.Errorf("%v", err)
		}
		p.end()
	})
}

// TestWaitsAreBounded on the bubble's clock: every stage has its own end.
func TestWaitsAreBounded(t *testing.T) {
	stall := func(l *line) { _, _ = io.Copy(io.Discard, l.Conn) }
	for _, tt := range []struct {
		name string
		site func(*line)
		set  setting
		want time.Duration
		sent bool
	}{
		{"connecting", stall, func(o *upstream.Options, _ *tls.Config) {
			o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}, 10 * time.Second, false},
		{"verifying", stall, func(o *upstream.Options, _ *tls.Config) {
			o.Dial = func(context.Context, string, string) (net.Conn, error) {
				a, b := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, b) }()
				return a, nil
			}
		}, 10 * time.Second, false},
		{"the egress proxy", stall, func(o *upstream.Options, _ *tls.Config) {
			o.Proxy = &url.URL{Scheme: "http", Host: "egress.example:3128"}
			o.Dial = func(context.Context, string, string) (net.Conn, error) {
				a, b := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, b) }()
				return a, nil
			}
		}, 10 * time.Second, false},
		{"an answer", stall, func(*upstream.Options, *tls.Config) {}, 300 * time.Second, true},
		{"a body", func(l *line) {
			_ = l.call()
			l.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
			stall(l)
		}, func(*upstream.Options, *tls.Config) {}, 60 * time.Second, true},
		{"a late body", func(l *line) {
			_ = l.call()
			pass(299 * time.Second)
			l.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
			stall(l)
		}, func(*upstream.Options, *tls.Config) {}, 359 * time.Second, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := visit(t, true, tt.site, tt.set)
				began := time.Now()
				_, _, err := p.ask(t.Context(), "{}")
				var ue *upstream.Error
				if err == nil || errors.As(err, &ue) && (ue.Sent != tt.sent || ue.Died) {
					t.Errorf("%v %+v", err, ue)
				}
				if took := time.Since(began); took != tt.want {
					t.Errorf("given up after %s, not %s", took, tt.want)
				}
				p.end()
			})
		})
	}
}

// TestHangUpEndsTheCall at each stage, at once: in the bubble no time passes. A
// call that has only just been sent is not watched yet.
func TestHangUpEndsTheCall(t *testing.T) {
	stall := func(l *line) { _, _ = io.Copy(io.Discard, l.Conn) }
	silent := func(o *upstream.Options, _ *tls.Config) {
		o.Dial = func(context.Context, string, string) (net.Conn, error) {
			a, b := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, b) }()
			return a, nil
		}
	}
	for _, tt := range []struct {
		name string
		site func(*line)
		set  setting
		body string
		late bool // the caller hangs up a second later
		most time.Duration
	}{
		{"verifying", stall, silent, "{}", false, 0},
		{"the egress proxy", stall, func(o *upstream.Options, c *tls.Config) {
			silent(o, c)
			o.Proxy = &url.URL{Scheme: "http", Host: "egress.example:3128"}
		}, "{}", false, 0},
		{"an answer", stall, func(*upstream.Options, *tls.Config) {}, "{}", true, 0},
		{"an answer that may come at once", stall, func(*upstream.Options, *tls.Config) {}, "{}", false, 100 * time.Millisecond},
		{"a header", func(l *line) {
			_ = l.call()
			l.say("HTTP/1.1 200 OK\r\n")
			stall(l)
		}, func(*upstream.Options, *tls.Config) {}, "{}", false, 0},
		{"writing", func(l *line) {
			_, _ = io.ReadFull(l.br, make([]byte, 100<<10))
			pass(time.Hour)
		}, func(*upstream.Options, *tls.Config) {}, strings.Repeat("x", 200<<10), false, 0},
		{"a body", func(l *line) {
			_ = l.call()
			l.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
			stall(l)
		}, func(*upstream.Options, *tls.Config) {}, "{}", false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := visit(t, true, tt.site, tt.set)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() {
					_, _, err := p.ask(ctx, tt.body)
					done <- err
				}()
				synctest.Wait() // it waits for the site
				if tt.late {
					pass(time.Second)
				}
				began := time.Now()
				cancel()
				if err := <-done; err == nil || time.Since(began) > tt.most {
					t.Errorf("%v after %s", err, time.Since(began))
				}
				p.end()
			})
		})
	}
}

// TestHangUpBetweenTwoReads: the next read sets a deadline, and must not wait
// for it.
func TestHangUpBetweenTwoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := visit(t, true, func(l *line) {
			_ = l.call()
			l.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
			_, _ = io.Copy(io.Discard, l.Conn)
		})
		ctx, cancel := context.WithCancel(t.Context())
		res, err := p.site.Do(ctx, upstream.Request{Path: "/api3/json", Body: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
		var one [1]byte
		if n, err := res.Body.Read(one[:]); n != 1 || err != nil {
			t.Fatalf("%d %v", n, err)
		}
		cancel()
		synctest.Wait()
		began := time.Now()
		if n, err := res.Body.Read(one[:]); err == nil || time.Since(began) != 0 {
			t.Errorf("%d %v after %s", n, err, time.Since(began))
		}
		_ = res.Body.Close()
		p.end()
	})
}

// trickle is a connection that gives little at a time, slowly.
type trickle struct{ net.Conn }

func (t trickle) Read(p []byte) (int, error) {
	pass(60 * time.Millisecond)
	return t.Conn.Read(p[:min(200, len(p))])
}

// TestAnswersThatComeInPieces: the short wait that a call begins with ends in
// the middle of a record of TLS, of a header, of a body.
func TestAnswersThatComeInPieces(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for name, pieces := range map[string][]string{
		"one record":    {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long)},
		"a header":      {"HT", "TP/1.1 200 OK\r\nContent-Le", "ngth: 5000\r\n", "\r\n", long},
		"chunks":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1", "388\r\n" + long[:10], long[10:], "\r", "\n0\r\n\r", "\n"},
		"interim first": {"HTTP/1.1 103 Early\r\n\r\nHT", "TP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + long},
	} {
		for _, pause := range []time.Duration{0, 99 * time.Millisecond, time.Second} {
			t.Run(fmt.Sprintf("%s, pauses of %s", name, pause), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := visit(t, true, func(l *line) {
						for l.call() {
							for _, s := range pieces {
								pass(pause)
								l.say(s)
							}
						}
					}, func(o *upstream.Options, c *tls.Config) {
						c.SessionTicketsDisabled = true // the site would write them to a client that writes
						dial := o.Dial
						o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
							c, err := dial(ctx, network, addr)
							return trickle{c}, err
						}
					})
					for range 3 {
						if status, answer, err := p.ask(t.Context(), "{}"); err != nil || status != 200 || answer != long {
							t.Fatalf("%d, %d bytes, %v", status, len(answer), err)
						}
					}
					if n := p.dials.Load(); n != 1 {
						t.Errorf("%d connections", n)
					}
					p.end()
				})
			})
		}
	}
}

// TestIdleConnectionsGoBeforeTheSiteDropsThem: a thousand calls with pauses of
// any length, at a site that closes at 20 s.
func TestIdleConnectionsGoBeforeTheSiteDropsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := visit(t, true, func(l *line) {
			for {
				_ = l.SetReadDeadline(time.Now().Add(20 * time.Second))
				if !l.call() {
					return
				}
				l.say(ok)
			}
		})
		for i := range 1000 {
			if _, answer, err := p.ask(t.Context(), "{}"); err != nil || answer != "ok" {
				t.Fatalf("call %d: %q %v", i, answer, err)
			}
			pass(time.Duration(i%30) * time.Second)
		}
		if n := p.dials.Load(); n < 400 || n > 600 {
			t.Errorf("%d connections", n)
		}
		p.end()
	})
}

func TestIdleConnectionIsClosedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int32
		p := visit(t, true, func(l *line) {
			open.Add(1)
			always(ok)(l)
			open.Add(-1)
		})
		if _, _, err := p.ask(t.Context(), "{}"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if open.Load() != 1 {
			t.Error("it was not kept")
		}
		pass(upstream.DefaultIdle + time.Second)
		synctest.Wait()
		if open.Load() != 0 {
			t.Error("it is still open")
		}
		p.end()
	})
}

// egress is a studio's proxy.
func egress(t *testing.T, to string, answer string, seen *[]string) *url.URL {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			br := bufio.NewReader(c)
			r, err := http.ReadRequest(br)
			if err != nil {
				_ = c.Close()
				continue
			}
			*seen = append(*seen, fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.Host, " ", len(r.Header)))
			_, _ = io.WriteString(c, answer)
			if !strings.HasPrefix(answer, "HTTP/1.1 200") {
				_ = c.Close()
				continue
			}
			far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			go func() { _, _ = io.Copy(far, br); _ = far.Close() }()
			go func() { _, _ = io.Copy(c, far); _ = c.Close() }()
		}
	}()
	return &url.URL{Scheme: "http", Host: ln.Addr().String()}
}

func TestEgressProxy(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for _, tt := range []struct {
			name, answer string
			good         bool
		}{
			{"lets through", "HTTP/1.1 200 Connection established\r\n\r\n", true},
			{"wants a password", "HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", false},
			{"refuses", "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", false},
			{"speaks no HTTP", "hello\r\n\r\n", false},
		} {
			t.Run(fmt.Sprint(tt.name, h2), func(t *testing.T) {
				ts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
				ts.EnableHTTP2 = h2
				ts.StartTLS()
				defer ts.Close()
				roots := x509.NewCertPool()
				roots.AddCert(ts.Certificate())
				origin, _ := url.Parse(ts.URL)
				var seen []string
				s := upstream.New(upstream.Options{Site: origin, Roots: roots, HTTP2: h2, Proxy: egress(t, origin.Host, tt.answer, &seen)})
				defer s.Close()
				p := &place{site: s}
				_, answer, err := p.ask(t.Context(), "{}")
				var ue *upstream.Error
				switch {
				case tt.good && (err != nil || answer != "ok"):
					t.Errorf("%q %v", answer, err)
				case !tt.good && (!errors.As(err, &ue) || ue.Sent):
					t.Errorf("%v", err)
				}
				if len(seen) == 0 || !strings.HasPrefix(seen[0], "CONNECT "+origin.Host+" "+origin.Host) {
					t.Errorf("the egress proxy saw %q", seen)
				}
			})
		}
	}
}

func TestEnvironmentProxiesAreIgnored(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	for _, h2 := range []bool{false, true} {
		p := visitHTTP2(t, h2, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
		if _, answer, err := p.ask(t.Context(), "{}"); err != nil || answer != "ok" {
			t.Errorf("%q %v", answer, err)
		}
	}
}

// visitHTTP2 is a site by net/http.
func visitHTTP2(t *testing.T, h2 bool, f http.HandlerFunc, settings ...setting) *place {
	t.Helper()
	p := &place{}
	ts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		f(w, r)
	}))
	ts.EnableHTTP2 = h2
	ts.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	ts.StartTLS()
	t.Cleanup(ts.Close)
	roots := x509.NewCertPool()
	roots.AddCert(ts.Certificate())
	origin, _ := url.Parse(ts.URL)
	o := upstream.Options{Site: origin, Roots: roots, HTTP2: true}
	for _, s := range settings {
		s(&o, nil)
	}
	p.site = upstream.New(o)
	t.Cleanup(p.site.Close)
	return p
}

func TestHTTP2(t *testing.T) {
	protos := make(chan int, 3)
	p := visitHTTP2(t, true, func(w http.ResponseWriter, r *http.Request) {
		protos <- r.ProtoMajor
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Late")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = w.Write(b)
		w.Header().Set("X-Late", "key")
	})
	for range 3 {
		res, err := p.site.Do(t.Context(), upstream.Request{Path: "/api3/json", Body: []byte("hello")})
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		if err != nil || string(b) != "hello" || len(res.Trailer) != 0 || <-protos != 2 {
			t.Errorf("%q %v %v", b, res.Trailer, err)
		}
		_ = res.Body.Close()
	}
}

// TestHTTP2WaitsAreBounded: net/http bounds neither of these by itself.
func TestHTTP2WaitsAreBounded(t *testing.T) {
	short := func(o *upstream.Options, _ *tls.Config) {
		o.ConnectTimeout, o.TLSTimeout = 5*time.Second, 5*time.Second
		o.HeaderTimeout, o.BodyTimeout = 50*time.Millisecond, 50*time.Millisecond
	}
	p := visitHTTP2(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Begin") != "" {
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}, short)
	for _, begin := range []string{"", "yes"} {
		res, err := p.site.Do(t.Context(), upstream.Request{Path: "/", Header: [][2]string{{"X-Begin", begin}}, Body: []byte("{}")})
		var ue *upstream.Error
		if begin == "" {
			if !errors.As(err, &ue) || !ue.Sent || ue.Died {
				t.Errorf("%+v", ue)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(res.Body); err == nil || string(b) != "begun" {
			t.Errorf("%q %v", b, err)
		}
		_ = res.Body.Close()
	}
}

func TestHTTP2NeverSendsACallTwice(t *testing.T) {
	p := visitHTTP2(t, true, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		panic(http.ErrAbortHandler) // a reset stream
	})
	for range 3 {
		_, _, err := p.ask(t.Context(), "{}")
		var ue *upstream.Error
		if !errors.As(err, &ue) || !ue.Sent {
			t.Errorf("%v", err)
		}
	}
	if n := p.calls.Load(); n != 3 {
		t.Errorf("the site saw %d calls of 3", n)
	}
}

func TestHTTP2HangUp(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	p := visitHTTP2(t, true, func(_ http.ResponseWriter, r *http.Request) {
		close(in)
		<-r.Context().Done()
		close(out)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-in; cancel() }()
	if _, _, err := p.ask(ctx, "{}"); err == nil {
		t.Error("an answer")
	}
	<-out // the site was told
}

func TestRequestAsWritten(t *testing.T) {
	got := make(chan []byte, 2)
	p := visit(t, false, func(l *line) {
		var b bytes.Buffer
		l.br = bufio.NewReader(io.TeeReader(l.Conn, &b))
		_ = l.call()
		l.say(ok)
		got <- b.Bytes()
	})
	for _, n := range []int{2, 200 << 10} {
		body := strings.Repeat("b", n)
		if _, _, err := p.ask(t.Context(), body); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("POST /api3/json HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\nContent-Type: application/json\r\n\r\n%s", n, body)
		if b := <-got; string(b) != want {
			t.Errorf("%.200q", b)
		}
	}
}

func TestTimeoutErrorsAreTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := visit(t, true, func(l *line) { _, _ = io.Copy(io.Discard, l.Conn) })
		if _, _, err := p.ask(t.Context(), "{}"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v", err)
		}
		p.end()
	})
}

// pass lets the bubble's clock go on.
func pass(d time.Duration) { <-time.NewTimer(d).C }
