package upstream_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"stagedoor/upstream"
)

// warehouse is one server that all names lead to.
type warehouse struct {
	pool *upstream.Pool
	addr string

	mu    sync.Mutex
	open  map[string]int
	dials []string
	hosts []string // Host of each call
}

func stock(t *testing.T) *warehouse {
	t.Helper()
	h := &warehouse{open: map[string]int{}}
	ts := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.hosts = append(h.hosts, r.Host)
		h.mu.Unlock()
		_, _ = io.WriteString(w, r.Host)
	}))
	t.Cleanup(ts.Close)
	h.addr = ts.Listener.Addr().String()
	roots := x509.NewCertPool()
	roots.AddCert(ts.Certificate())
	o := upstream.Options{Roots: roots, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, h.addr)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open[addr]++
		h.dials = append(h.dials, addr)
		return &counted{Conn: c, closed: func() { h.mu.Lock(); h.open[addr]--; h.mu.Unlock() }}, err
	}}
	h.pool = upstream.NewPool(o)
	t.Cleanup(h.pool.Close)
	return h
}

type counted struct {
	net.Conn
	once   sync.Once
	closed func()
}

func (c *counted) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}

func (h *warehouse) fetch(ctx context.Context, host string) (string, error) {
	s, err := h.pool.Site(host)
	if err != nil {
		return "", err
	}
	res, err := s.Do(ctx, upstream.Request{Method: "GET", Path: "/bucket/key"})
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func TestPoolCallsEachHostByItsName(t *testing.T) {
	h := stock(t)
	for range 3 {
		for host, addr := range map[string]string{"example.com": "example.com:443", "example.com:8443": "example.com:8443", "127.0.0.1:9000": "127.0.0.1:9000"} {
			before := len(h.dials)
			if got, err := h.fetch(t.Context(), host); err != nil || got != host {
				t.Fatalf("%s: %q %v", host, got, err)
			}
			if len(h.dials) > before && h.dials[before] != addr {
				t.Errorf("%s was dialled for %s", h.dials[before], host)
			}
		}
	}
	if len(h.dials) != 3 {
		t.Errorf("%d connections for 3 hosts", len(h.dials))
	}
	a, err := h.pool.Site("example.com")
	b, err2 := h.pool.Site("example.com:443")
	if a != b || errors.Join(err, err2) != nil {
		t.Error("one host is two")
	}
}

func TestPoolVerifiesEachHost(t *testing.T) {
	h := stock(t)
	var ue *upstream.Error
	if _, err := h.fetch(t.Context(), "other.example"); !errors.As(err, &ue) || ue.Sent || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v", err)
	}
	if len(h.hosts) != 0 {
		t.Errorf("%q were called", h.hosts)
	}
}

func TestPoolIsBounded(t *testing.T) {
	const most = 32
	h := stock(t)
	first, err := h.pool.Site("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	underWay, err := first.Do(t.Context(), upstream.Request{Method: "GET", Path: "/"})
	if err != nil {
		t.Fatal(err)
	}
	for port := 1; port <= 3*most; port++ {
		if _, err := h.fetch(t.Context(), fmt.Sprint("127.0.0.1:", port)); err != nil {
			t.Fatal(err)
		}
		if _, err := h.fetch(t.Context(), "example.com"); err != nil { // used all the time
			t.Fatal(err)
		}
	}
	if b, err := io.ReadAll(underWay.Body); err != nil || string(b) != "127.0.0.1:1" {
		t.Errorf("a call under way ended with %q %v", b, err)
	}
	_ = underWay.Body.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	open, again := 0, 0
	for _, n := range h.open {
		open += n
	}
	for _, addr := range h.dials {
		if addr == "example.com:443" {
			again++
		}
	}
	if open != most || again != 1 {
		t.Errorf("%d connections are open, example.com was dialled %d times", open, again)
	}
}

func TestPoolIsClosed(t *testing.T) {
	h := stock(t)
	if _, err := h.fetch(t.Context(), "example.com"); err != nil {
		t.Fatal(err)
	}
	kept, err := h.pool.Site("example.com")
	if err != nil {
		t.Fatal(err)
	}
	h.pool.Close()
	if _, err := h.pool.Site("example.com"); err == nil {
		t.Error("it gives a client still")
	}
	res, err := kept.Do(t.Context(), upstream.Request{Method: "HEAD", Path: "/"})
	if err != nil {
		t.Fatalf("a client that was handed out: %v", err)
	}
	_ = res.Body.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.open["example.com:443"]; n != 0 {
		t.Errorf("%d connections are open", n)
	}
}

func TestHostsThatAreNone(t *testing.T) {
	p := upstream.NewPool(upstream.Options{})
	defer p.Close()
	for _, host := range []string{
		"", ":443", "a.example:", "a.example:0", "a.example:0443", "a.example:65536", "a.example:+1", "a.example:x", "a.example:443:443",
		"A.example", "a.example.", ".example", "a..example", "-a.example", "a-.example", "a b", "a/b", "a@b", "a%2eb", "ä.example", "a\r\nb", "a\x00b",
		"[::1", "::1", "[::01]", "[127.0.0.1]", "[fe80::1%25lo]", "[::1]x", "127.1", "0177.0.0.1", "2130706433", "0x7f", "0x7f.1.1.1:1", "1.2.3.4.5", "127.0.0.01",
		strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 127) + "example",
	} {
		if _, err := p.Site(host); err == nil {
			t.Errorf("%q is taken for a host", host)
		}
	}
	for _, host := range []string{"a.example", "a-b.c_d.example:9000", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[2001:db8::1]:443", "s3.eu-central-1.amazonaws.com", "3.example", "a", "1a.b2"} {
		if _, err := p.Site(host); err != nil {
			t.Errorf("%v", err)
		}
	}
}
