package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
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

func (s *Site) doHTTP2(ctx context.Context, t *http.Transport, r Request) (*http.Response, error) {
	sent := &sentBody{r: bytes.NewReader(r.Body)}
	req := (&http.Request{
		Method: http.MethodPost,
		URL:    &url.URL{Scheme: "https", Host: s.o.Site.Host, Path: r.Path},
		Host:   s.o.Site.Host,
		Header: make(http.Header, len(r.Header)),
		Body:   sent, // and no GetBody: the Transport must not send a call twice
		// the length makes it a plain body, without chunks or trailers
		ContentLength: int64(len(r.Body)),
	}).WithContext(ctx)
	for _, h := range r.Header {
		req.Header[h[0]] = []string{h[1]}
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		var op *net.OpError
		dialed := !errors.As(err, &op) || op.Op != "dial"
		return nil, &Error{Err: err, Sent: dialed && sent.read.Load(), Reused: dialed}
	}
	c := *res // trailers arrive in the original, which nobody sees
	c.Trailer = nil
	return &c, nil
}

// sentBody knows whether the Transport has begun to send it.
type sentBody struct {
	r    *bytes.Reader
	read atomic.Bool
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	return b.r.Read(p)
}

func (*sentBody) Close() error { return nil }

var _ io.ReadCloser = (*sentBody)(nil)
