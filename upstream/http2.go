package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// useHTTP2 makes all further calls go by net/http's Transport.
func (s *Site) useHTTP2() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.h2 != nil {
		return
	}
	t := &http.Transport{
		TLSClientConfig:        s.tls.Clone(),
		ForceAttemptHTTP2:      true,
		DialContext:            s.o.Dial,
		DisableCompression:     true, // the proxy asks for gzip itself
		TLSHandshakeTimeout:    s.o.TLSTimeout,
		ResponseHeaderTimeout:  s.o.HeaderTimeout,
		IdleConnTimeout:        s.o.Idle,
		MaxIdleConnsPerHost:    s.o.MaxIdle,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	if s.o.Proxy != nil {
		t.Proxy = http.ProxyURL(s.o.Proxy)
	}
	s.mu.h2 = t
}

// doHTTP2 is Do by net/http's Transport. It has no GetBody to send a call again
// with, so that it can't: not after a refused stream or a GOAWAY either, though
// those say that the call was not looked at. Such a read is sent again by the
// caller, such a write ends in doubt.
func (s *Site) doHTTP2(ctx context.Context, t *http.Transport, r Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	// One clock for each wait: the Transport bounds neither a body that the site
	// does not take nor one that it does not send.
	w := &watch{cancel: cancel, limit: s.o.BodyTimeout}
	w.timer = time.AfterFunc(s.o.ConnectTimeout+s.o.TLSTimeout+s.o.HeaderTimeout, w.fire)
	var sent, reused, answered atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(c httptrace.GotConnInfo) { reused.Store(c.Reused) },
		WroteHeaderField:     func(string, []string) { sent.Store(true) },
		GotFirstResponseByte: func() { answered.Store(true) },
	})
	req := (&http.Request{
		Method: http.MethodPost,
		URL:    &url.URL{Scheme: "https", Host: s.o.Site.Host, Path: r.Path},
		Host:   s.o.Site.Host,
		Header: make(http.Header, len(r.Header)),
		Body:   &sentBody{b: bytes.Clone(r.Body)},
		// the length makes it a plain body, without chunks or trailers
		ContentLength: int64(len(r.Body)),
	}).WithContext(ctx)
	for _, h := range r.Header {
		req.Header[h[0]] = []string{h[1]}
	}
	res, err := t.RoundTrip(req)
	w.timer.Stop()
	if err != nil {
		cancel(nil)
		if cause := context.Cause(ctx); errors.Is(cause, os.ErrDeadlineExceeded) {
			err = cause
		}
		var wait net.Error
		timeout := errors.As(err, &wait) && wait.Timeout()
		return nil, &Error{
			Err: fmt.Errorf("calling the site: %w", err), Sent: sent.Load(), Reused: reused.Load(),
			Died: sent.Load() && !answered.Load() && !timeout,
		}
	}
	w.ReadCloser = res.Body
	c := *res // trailers arrive in the original, which nobody sees
	c.Trailer, c.Body = nil, w
	return &c, nil
}

// watch is a body whose every read is bounded.
type watch struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

func (w *watch) fire() { w.cancel(os.ErrDeadlineExceeded) }

func (w *watch) Read(p []byte) (int, error) {
	w.timer.Reset(w.limit)
	defer w.timer.Stop()
	return w.ReadCloser.Read(p)
}

func (w *watch) Close() error {
	w.timer.Stop()
	err := w.ReadCloser.Close()
	w.cancel(nil)
	return err
}

// sentBody is a call on its way, which holds the key. The Transport may read it
// after it has handed the answer over, and closes it when it is done.
type sentBody struct {
	mu sync.Mutex
	b  []byte // all of it
	at int
}

func (s *sentBody) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == len(s.b) {
		return 0, io.EOF
	}
	n := copy(p, s.b[s.at:])
	s.at += n
	return n, nil
}

func (s *sentBody) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.b)
	s.b, s.at = nil, 0
	return nil
}
