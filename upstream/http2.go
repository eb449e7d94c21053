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
// caller, such a write ends in doubt. A call without a body it would send again
// all the same, so that one is ended when it takes a second connection.
func (s *Site) doHTTP2(ctx context.Context, t *http.Transport, r Request, f *feed) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	// One clock for each wait: the Transport bounds neither a body that the site
	// does not take nor one that it does not send.
	w := &watch{cancel: cancel, limit: s.o.BodyTimeout}
	w.timer = time.AfterFunc(s.o.ConnectTimeout+s.o.TLSTimeout+s.o.HeaderTimeout, w.fire)
	body := &sentBody{b: bytes.Clone(r.Body), f: f, w: w, header: s.o.HeaderTimeout, done: make(chan struct{})}
	var sent, reused, answered atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) {
			if sent.Load() {
				cancel(errTwice)
			}
			reused.Store(c.Reused)
		},
		WroteHeaderField:     func(string, []string) { sent.Store(true) },
		GotFirstResponseByte: func() { answered.Store(true) },
	})
	res, err := s.tripHTTP2(ctx, t, r, body)
	w.timer.Stop()
	switch cause := context.Cause(ctx); {
	case f != nil && f.err != nil:
		err = f.err
	case err != nil && (errors.Is(cause, os.ErrDeadlineExceeded) || errors.Is(cause, errTwice)):
		err = fmt.Errorf("calling the site: %w", cause)
	case err != nil:
		err = fmt.Errorf("calling the site: %w", err)
	}
	if err != nil {
		cancel(nil)
		var wait net.Error
		timeout := errors.As(err, &wait) && wait.Timeout()
		source := f != nil && f.err != nil
		return nil, &Error{
			Err: err, Sent: sent.Load(), Reused: reused.Load(), Source: source,
			Died: sent.Load() && !answered.Load() && !timeout,
		}
	}
	if isBodiless(r.Method, res.StatusCode) {
		// the Transport takes the length of a 304 for that of a body that is missing
		_ = res.Body.Close()
		res.Body = http.NoBody
	}
	w.ReadCloser = res.Body
	c := *res // trailers arrive in the original, which nobody sees
	c.Trailer, c.Body = nil, w
	c.Close = c.Close || !body.complete()
	return &c, nil
}

// isBodiless says whether an answer has no body, whatever its header says.
func isBodiless(method string, status int) bool {
	return method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
}

var errTwice = errors.New("the site did not look at it")

// tripHTTP2 is the Transport's RoundTrip, until the body isn't read any more.
func (s *Site) tripHTTP2(ctx context.Context, t *http.Transport, r Request, body *sentBody) (*http.Response, error) {
	req, err := s.requestHTTP2(ctx, r, body)
	if err != nil {
		return nil, err
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		_ = body.Close()
		return nil, err
	}
	if body.f == nil {
		return res, nil
	}
	<-body.done // an answer that came early, if it is a success, does not end the call
	if body.f.err != nil || ctx.Err() != nil {
		_ = res.Body.Close()
		return nil, context.Cause(ctx)
	}
	return res, nil
}

func (s *Site) requestHTTP2(ctx context.Context, r Request, body *sentBody) (*http.Request, error) {
	method := r.Method
	if method == "" {
		method = http.MethodPost
	}
	to, err := url.ParseRequestURI("https://" + s.o.Site.Host + r.Path)
	if err != nil || to.RequestURI() != r.Path {
		return nil, errors.New("the path would not be sent as it is")
	}
	req := (&http.Request{
		Method: method, URL: to, Host: s.o.Site.Host, Header: make(http.Header, len(r.Header)),
		// the length makes it a plain body, without chunks or trailers
		Body: body, ContentLength: r.length(),
	}).WithContext(ctx)
	if req.ContentLength == 0 && body.f == nil {
		req.Body = nil
	}
	for _, h := range r.Header {
		req.Header[h[0]] = []string{h[1]}
	}
	return req, nil
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
	header time.Duration // what the answer has, once all is sent

	mu   sync.Mutex
	b    []byte // all of it that isn't streamed
	at   int
	f    *feed  // the rest; may be nil
	w    *watch // whose timer runs while the site is waited for
	over bool
	all  bool
	done chan struct{} // closed when nothing is read any more
}

func (s *sentBody) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.at < len(s.b):
		n := copy(p, s.b[s.at:])
		s.at += n
		if s.f != nil {
			s.w.timer.Reset(s.w.limit)
		}
		return n, nil
	case s.f == nil:
		return 0, io.EOF
	case s.over:
		return 0, errStopped
	}
	s.w.timer.Stop() // the caller's side has its own time
	n, err := s.f.Read(p)
	switch {
	case err == nil:
		s.w.timer.Reset(s.w.limit)
	case isEnd(err):
		s.w.timer.Reset(s.header)
		s.all = true
		s.endLocked()
	default:
		s.endLocked()
	}
	return n, err
}

// complete says whether the Transport was given all of it.
func (s *sentBody) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.f == nil || s.all
}

func (s *sentBody) endLocked() {
	if !s.over {
		s.over = true
		close(s.done)
	}
}

// Close waits for a Read under way.
func (s *sentBody) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.b)
	s.b, s.at = nil, 0
	s.endLocked()
	return nil
}
