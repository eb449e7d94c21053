package parts

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// headerLimit bounds how long a client may take over its request headers.
const headerLimit = 10 * time.Second

// FrontCall is one request that reached a [Front].
type FrontCall struct {
	Method string
	Path   string // such as /v1/kv/data/scripts/ingest
}

// Front stands before a Vault, at an address of its own, and makes it slow,
// silent, broken or unreachable at a word. It records every request. It serves
// HTTPS with the Vault's certificate (or plain HTTP, where the Vault does).
// Its methods are safe for concurrent use, but those that can end the test,
// Accept and Await, are for the test's own goroutine.
type Front struct {
	Address string // base URL; stays the same across Refuse and Accept

	tb     testing.TB
	listen string
	proxy  *httputil.ReverseProxy
	tls    *tls.Config // nil: plain HTTP

	mu      sync.Mutex // guards all below
	server  *http.Server
	served  chan struct{} // closed when server has ended
	paused  chan struct{} // nil: not paused; closed by Resume
	delay   time.Duration
	status  int // 0: pass on
	calls   []FrontCall
	changed chan struct{} // closed and made anew at every request
}

// Front starts a front before this Vault; it ends with the test.
func (v *VaultServer) Front() *Front {
	v.tb.Helper()
	target, err := url.Parse(v.Address)
	if err != nil {
		v.tb.Fatalf("starting a front: %v", err)
	}
	transport := &http.Transport{DisableKeepAlives: true} // see newClient
	f := &Front{
		tb: v.tb, listen: reservePort(v.tb), changed: make(chan struct{}),
		proxy: &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
			Transport: transport,
			ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
			// A Vault that is gone looks gone: no answer that it did not give.
			ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		},
	}
	f.Address = "http://" + f.listen
	if v.CAFile != "" {
		f.Address = "https://" + f.listen
		pool, err := loadPool(v.CAFile)
		if err != nil {
			v.tb.Fatalf("starting a front: %v", err)
		}
		transport.TLSClientConfig = trust(pool)
		pair, err := tls.LoadX509KeyPair(v.tlsFile("cert.pem"), v.tlsFile("key.pem"))
		if err != nil {
			v.tb.Fatalf("starting a front: %v", err)
		}
		f.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	}
	v.tb.Cleanup(f.Refuse)
	f.Accept()
	return f
}

// ServeHTTP records the request, does as told, and passes it on.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.calls = append(f.calls, FrontCall{Method: r.Method, Path: r.URL.Path})
	close(f.changed)
	f.changed = make(chan struct{})
	paused, delay, status := f.paused, f.delay, f.status
	f.mu.Unlock()

	if paused != nil {
		select {
		case <-paused:
		case <-r.Context().Done():
			return
		}
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	if status != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"errors":["the test said so"]}`)
		return
	}
	f.proxy.ServeHTTP(w, r)
}

// Pause lets requests that arrive from now on hang, connections and all, until
// Resume.
func (f *Front) Pause() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paused == nil {
		f.paused = make(chan struct{})
	}
}

// Resume passes on what hangs, and what comes.
func (f *Front) Resume() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.paused != nil {
		close(f.paused)
		f.paused = nil
	}
}

// Delay makes every request from now on wait before it is passed on; 0 ends
// that.
func (f *Front) Delay(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = d
}

// Fail answers every request from now on with an HTTP status, as a broken
// load balancer would; 0 ends that.
func (f *Front) Fail(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
}

// Refuse cuts all connections; new ones are refused until Accept.
func (f *Front) Refuse() {
	f.mu.Lock()
	server, served := f.server, f.served
	f.server, f.served = nil, nil
	f.mu.Unlock()
	if server != nil {
		_ = server.Close() // only says that the listener was closed already
		<-served
	}
}

// Accept ends Refuse, at the same address.
func (f *Front) Accept() {
	f.tb.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server != nil {
		return
	}
	ln, err := listenReserved(context.WithoutCancel(f.tb.Context()), f.listen)
	if err != nil {
		f.tb.Fatalf("starting a front: %v", err)
	}
	server := &http.Server{
		Handler: f, TLSConfig: f.tls, ReadHeaderTimeout: headerLimit,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // handshakes that tests break on purpose
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if f.tls != nil {
			_ = server.ServeTLS(ln, "", "") // always ends by Close
		} else {
			_ = server.Serve(ln)
		}
	}()
	f.server, f.served = server, served
}

// Calls are the requests so far, oldest first.
func (f *Front) Calls() []FrontCall {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Count is the number of requests so far with this method ("" is any) and a
// path that starts with prefix. A login is a PUT or POST under /v1/auth/, a
// read a GET under /v1/kv/data/ or /v1/kv1/.
func (f *Front) Count(method, prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.countLocked(method, prefix)
}

func (f *Front) countLocked(method, prefix string) int {
	n := 0
	for _, c := range f.calls {
		if (method == "" || c.Method == method) && strings.HasPrefix(c.Path, prefix) {
			n++
		}
	}
	return n
}

// Await waits until n requests that [Front.Count] counts have arrived since the
// front started. It says nothing about their answers.
func (f *Front) Await(method, prefix string, n int) {
	f.tb.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		f.mu.Lock()
		have, changed := f.countLocked(method, prefix), f.changed
		f.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			f.tb.Fatalf("waited %v for request %d of %s %s; %d came", patience, n, method, prefix, have)
		}
	}
}
