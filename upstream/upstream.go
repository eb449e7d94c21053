// Package upstream sends calls to the one configured site and nowhere else.
//
// It is an HTTP/1.1 client that works on the calling goroutine: net/http's
// Transport hands each call over to two goroutines of its own and back, which
// costs a proxy of small calls more CPU than anything else it does
// (bench/README.md). Reading answers is left to net/http's parser. Where the
// site offers HTTP/2, its Transport takes over.
//
// A call's body may be a stream, sent as it is read. The site sees it end only
// where it ended: one that fails, ends early or goes on cuts the connection.
//
// It never retries, follows no redirect, uses no proxy but a configured one,
// and imports nothing of this module.
package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Defaults and bounds.
const (
	DefaultConnectTimeout = 10 * time.Second
	DefaultTLSTimeout     = 10 * time.Second
	DefaultHeaderTimeout  = 300 * time.Second // large summaries and schema reads take minutes
	DefaultBodyTimeout    = 60 * time.Second
	DefaultIdle           = 15 * time.Second // sites and load balancers close after 20 s and more
	DefaultMaxIdle        = 64

	maxHeaderBytes = 64 << 10
	maxInterim     = 5 // 1xx answers before the real one

	// quickWait is how long a call waits for its answer before its caller's
	// context is watched, which costs more than the wait itself (5 µs and five
	// allocations): the longest that a hang-up goes unnoticed.
	quickWait = 100 * time.Millisecond
	// quickWrite is what the kernel takes in bytes without waiting for the site,
	// on a connection with nothing under way.
	quickWrite = 4 << 10
)

// Options say where the site is and how long each stage may take. Zero
// durations and numbers mean the defaults above.
type Options struct {
	// Site is the site's origin, https://HOST[:PORT].
	Site *url.URL
	// Roots verifies the site's certificate; nil means the system's roots.
	Roots *x509.CertPool
	// Proxy is the studio's egress proxy, http://HOST:PORT, nil for none. The
	// environment is never asked.
	Proxy *url.URL
	// HTTP2 lets the site choose HTTP/2.
	HTTP2 bool

	ConnectTimeout, TLSTimeout time.Duration
	// HeaderTimeout is the wait for the answer's header once the call is sent.
	HeaderTimeout time.Duration
	// BodyTimeout is the wait for the next bytes of an answer's body.
	BodyTimeout time.Duration
	// Idle is how long a connection is kept for the next call.
	Idle time.Duration
	// MaxIdle is how many are.
	MaxIdle int

	// Dial opens connections; nil means net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Request is what is sent.
type Request struct {
	// Method is the verb; "" is POST.
	Method string
	// Path is the target on the site, query string included. It is written as
	// it is, so it must be made of a route's own constants and checked parts.
	Path string
	// Header holds "Name: value" pairs besides Host, Content-Length and
	// Connection. They are written as they are, so they must be clean.
	Header [][2]string
	// Body is the whole body, or what goes before Stream. The sender's own
	// copies of it are cleared.
	Body []byte
	// Stream, if not nil, is the rest of the body, sent as it is read. Its first
	// piece is read before a connection is made, and it is not read any more
	// once Do has returned. A call with a Stream can't be made again with it.
	//
	// A Stream that fails, ends before Length or goes on after it is the caller's
	// failure: the call is cut, and never complete for the site. Do waits for
	// Read as long as that takes, whatever happens meanwhile.
	Stream io.Reader
	// Length is how many bytes Stream has; -1, if that isn't known, sends it in
	// chunks. It is 0 without a Stream.
	Length int64
	// Fresh takes a new connection, because a kept one has just failed.
	Fresh bool
}

// Error is a call without an answer.
type Error struct {
	Err error
	// Sent says that the site may have seen the call: some byte of it was
	// written. A write may then have happened.
	Sent bool
	// Reused says that the connection had served calls before, so that its
	// death may mean no more than that the site closed it as idle. It is never
	// set for a call with a Stream, which can't be made again.
	Reused bool
	// Died says that the connection ended before any byte of an answer, and not
	// because a wait was over. It is never set for a call with a Stream.
	Died bool
	// Source says that the call's Stream failed, with the cause in Err: the site
	// is not to blame. It has not seen a complete call then, even where Sent.
	Source bool
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Site is the one destination. It is safe for concurrent use; Close it.
type Site struct {
	o    Options
	addr string
	tls  *tls.Config
	// What answers are read as answers to; never written.
	post, head *http.Request

	pieces pieces    // *pieceBuf
	aheads sync.Pool // *aheadBuf

	mu struct {
		sync.Mutex
		idle   []*conn // oldest first
		closed bool
		h2     *http.Transport // once the site has chosen HTTP/2
		sweep  *time.Timer
	}
}

// New makes a client for one site. It opens no connection yet.
func New(o Options) *Site {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.ConnectTimeout, DefaultConnectTimeout)
	def(&o.TLSTimeout, DefaultTLSTimeout)
	def(&o.HeaderTimeout, DefaultHeaderTimeout)
	def(&o.BodyTimeout, DefaultBodyTimeout)
	def(&o.Idle, DefaultIdle)
	if o.MaxIdle == 0 {
		o.MaxIdle = DefaultMaxIdle
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: o.ConnectTimeout}).DialContext
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	port := o.Site.Port()
	if port == "" {
		port = "443"
	}
	s := &Site{o: o, addr: net.JoinHostPort(o.Site.Hostname(), port), post: &http.Request{Method: http.MethodPost}, head: &http.Request{Method: http.MethodHead}}
	s.tls = &tls.Config{
		RootCAs: o.Roots, ServerName: o.Site.Hostname(), MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, ClientSessionCache: tls.NewLRUClientSessionCache(o.MaxIdle),
	}
	if o.HTTP2 {
		s.tls.NextProtos = []string{"h2", "http/1.1"}
	}
	return s
}

// Do sends one call and returns the answer's header; the body must be read to
// its end or closed. An error is always an *Error.
//
// An answer may come before all of a Stream was sent. Unless its status is a
// success, the rest is not sent, and its Close is set.
func (s *Site) Do(ctx context.Context, r Request) (*http.Response, error) {
	if err := r.check(); err != nil {
		return nil, &Error{Err: err}
	}
	if r.Stream == nil {
		return s.do(ctx, r, nil)
	}
	f := &feed{r: r.Stream, left: r.Length, buf: s.pieces.get()}
	defer s.pieces.put(f.buf)
	f.fill()
	if f.err != nil {
		return nil, &Error{Err: f.err, Source: true}
	}
	res, err := s.do(ctx, r, f)
	if ue, ok := errors.AsType[*Error](err); ok {
		// The Stream is used up: nobody may take the call for one to send again.
		ue.Reused, ue.Died = false, false
	}
	return res, err
}

func (s *Site) do(ctx context.Context, r Request, f *feed) (*http.Response, error) {
	if t := s.http2(); t != nil {
		return s.doHTTP2(ctx, t, r, f)
	}
	c, reused, err := s.get(ctx, r.Fresh)
	if errors.Is(err, errHTTP2) {
		return s.doHTTP2(ctx, s.http2(), r, f)
	}
	if err != nil {
		return nil, &Error{Err: err}
	}
	var res *http.Response
	var sent bool
	if f == nil {
		res, sent, err = c.roundTrip(ctx, r)
	} else {
		res, sent, err = c.stream(ctx, r, f)
	}
	switch {
	case err == nil:
		return res, nil
	case f != nil && f.err != nil:
		return nil, &Error{Err: f.err, Sent: sent, Source: true}
	}
	c.close()
	return nil, &Error{Err: err, Sent: sent, Reused: reused, Died: !c.answered && ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded)}
}

// check refuses what could not be written as one call.
func (r *Request) check() error {
	bodiless := false
	switch r.Method {
	case "", http.MethodPost, http.MethodPut, http.MethodDelete:
	case http.MethodGet, http.MethodHead:
		bodiless = true
	default:
		return fmt.Errorf("the method %q is not sent to a site", r.Method)
	}
	switch {
	case bodiless && (r.Stream != nil || len(r.Body) > 0):
		return fmt.Errorf("%s has no body", r.Method)
	case r.Stream == nil && r.Length != 0, r.Length < -1, r.Length > math.MaxInt64-int64(len(r.Body)):
		return fmt.Errorf("%d is no length of this body", r.Length)
	case !strings.HasPrefix(r.Path, "/"):
		return errors.New("the path does not begin with a slash")
	}
	for i := range len(r.Path) {
		if c := r.Path[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return errors.New("the path has a byte that no path has")
		}
	}
	for _, h := range r.Header {
		for _, v := range h {
			if strings.IndexByte(v, '\n') >= 0 || strings.IndexByte(v, '\r') >= 0 || strings.IndexByte(v, 0) >= 0 {
				return errors.New("a header has a byte that ends it")
			}
		}
	}
	return nil
}

// length is that of the whole body, -1 if that isn't known.
func (r *Request) length() int64 {
	if r.Length < 0 {
		return -1
	}
	return int64(len(r.Body)) + r.Length
}

var errHTTP2 = errors.New("the site has chosen HTTP/2")

func (s *Site) http2() *http.Transport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.h2
}

// Close drops all idle connections and keeps no more.
func (s *Site) Close() {
	s.mu.Lock()
	idle := s.mu.idle
	s.mu.idle, s.mu.closed = nil, true
	h2 := s.mu.h2
	if s.mu.sweep != nil {
		s.mu.sweep.Stop()
	}
	s.mu.Unlock()
	for _, c := range idle {
		_ = c.net.Close()
	}
	if h2 != nil {
		h2.CloseIdleConnections()
	}
}

// get takes the connection that was used last, or opens one.
func (s *Site) get(ctx context.Context, fresh bool) (c *conn, reused bool, err error) {
	for !fresh {
		c := s.pop()
		if c == nil {
			break
		}
		if s.o.Now().Sub(c.since) < s.o.Idle && !c.gone() {
			return c, true, nil
		}
		_ = c.net.Close()
	}
	c, err = s.open(ctx)
	return c, false, err
}

func (s *Site) pop() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.mu.idle)
	if n == 0 {
		return nil
	}
	c := s.mu.idle[n-1]
	s.mu.idle = s.mu.idle[:n-1]
	return c
}

// put keeps a connection whose answer was read to its end.
func (s *Site) put(c *conn) {
	c.since = s.o.Now()
	if !s.keep(c) {
		_ = c.net.Close()
	}
}

func (s *Site) keep(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || len(s.mu.idle) >= s.o.MaxIdle {
		return false
	}
	s.mu.idle = append(s.mu.idle, c)
	if s.mu.sweep == nil {
		s.mu.sweep = time.AfterFunc(s.o.Idle, s.sweep)
	}
	return true
}

// sweep closes connections that nobody has asked for in time.
func (s *Site) sweep() {
	for _, c := range s.stale() {
		_ = c.net.Close() // writes to the network: not under the lock
	}
}

func (s *Site) stale() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now()
	keep := slices.IndexFunc(s.mu.idle, func(c *conn) bool { return now.Sub(c.since) < s.o.Idle })
	if keep < 0 {
		keep = len(s.mu.idle)
	}
	old := slices.Clone(s.mu.idle[:keep])
	s.mu.idle = slices.Delete(s.mu.idle, 0, keep)
	s.mu.sweep = nil
	if len(s.mu.idle) > 0 && !s.mu.closed {
		s.mu.sweep = time.AfterFunc(s.o.Idle-now.Sub(s.mu.idle[0].since)+time.Millisecond, s.sweep)
	}
	return old
}

// open connects, through the egress proxy where there is one, and verifies the
// site's certificate.
func (s *Site) open(ctx context.Context) (*conn, error) {
	dialCtx, cancel := context.WithTimeout(ctx, s.o.ConnectTimeout)
	defer cancel()
	addr := s.addr
	if s.o.Proxy != nil {
		addr = s.o.Proxy.Host
	}
	raw, err := s.o.Dial(dialCtx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	if s.o.Proxy != nil {
		if err := s.tunnel(dialCtx, raw); err != nil {
			_ = raw.Close()
			return nil, err
		}
	}
	under := &wire{Conn: raw}
	tc := tls.Client(under, s.tls)
	tlsCtx, cancelTLS := context.WithTimeout(ctx, s.o.TLSTimeout)
	defer cancelTLS()
	if err := tc.HandshakeContext(tlsCtx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("verifying %s: %w", s.addr, err)
	}
	if tc.ConnectionState().NegotiatedProtocol == "h2" {
		_ = raw.Close()
		s.useHTTP2()
		return nil, errHTTP2
	}
	c := &conn{site: s, net: tc, under: under, gone: goneFunc(raw)}
	c.br = bufio.NewReaderSize(c, 8<<10)
	return c, nil
}

// tunnel asks the egress proxy for a connection to the site.
func (s *Site) tunnel(ctx context.Context, raw net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(raw, "CONNECT "+s.addr+" HTTP/1.1\r\nHost: "+s.addr+"\r\n\r\n"); err != nil {
		return fmt.Errorf("asking the egress proxy %s: %w", s.o.Proxy.Host, err)
	}
	// One byte at a time: what follows the header belongs to TLS.
	br := bufio.NewReaderSize(io.LimitReader(oneByte{raw}, maxHeaderBytes), 16)
	res, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return fmt.Errorf("asking the egress proxy %s: %w", s.o.Proxy.Host, err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the egress proxy %s refuses a connection to %s: status %d", s.o.Proxy.Host, s.addr, res.StatusCode)
	}
	return nil
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

// conn is one HTTP/1.1 connection; one goroutine uses it at a time.
type conn struct {
	site  *Site
	net   net.Conn
	under *wire
	gone  func() bool // closed by the site while it was idle, or not clean
	br    *bufio.Reader
	out   []byte
	since time.Time // idle since
	left  int64     // of the header's bound; negative while reading a body
	stop  func() bool
	// answered says that some byte of the answer to this call has come.
	answered bool
}

// Read is the source of br. It bounds the header's length.
func (c *conn) Read(p []byte) (int, error) {
	if c.left < 0 {
		return c.readBody(p)
	}
	if c.left == 0 {
		return 0, fmt.Errorf("the site's answer has a header of more than %d bytes", maxHeaderBytes)
	}
	n, err := c.net.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	c.answered = c.answered || n > 0
	return n, err
}

// readBody gives what has come: TLS itself gives no more than a record at a time.
func (c *conn) readBody(p []byte) (n int, err error) {
	n, err = c.net.Read(p)
	if c.under.in == nil {
		return n, err
	}
	c.under.dry = true
	for err == nil && n < len(p) {
		var m int
		m, err = c.net.Read(p[n:])
		n += m
	}
	c.under.dry = false
	if n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil // no more has come
	}
	return n, err
}

// close ends a connection that failed. TLS's own end is left out: writing it to
// a site that takes nothing would wait for seconds.
func (c *conn) close() {
	c.release()
	_ = c.under.Close()
}

// reset ends a connection in the middle of a call.
func (c *conn) reset() {
	c.release()
	c.under.reset()
}

// abort makes whatever waits for the connection return.
func (c *conn) abort() {
	c.under.stop()
	_ = c.net.SetReadDeadline(time.Unix(1, 0))
}

// release ends the watch on the caller's context; false if it has fired.
func (c *conn) release() bool {
	if c.stop == nil {
		return true
	}
	ok := c.stop()
	c.stop = nil
	return ok
}

// watch has the connection aborted when the caller hangs up. What may wait for
// the site asks for it.
func (c *conn) watch(ctx context.Context) {
	if c.stop == nil {
		c.stop = context.AfterFunc(ctx, c.abort)
	}
}

// patience gives the site until t for what is read next.
func (c *conn) patience(ctx context.Context, t time.Time) {
	_ = c.net.SetReadDeadline(t)
	c.watch(ctx)
	if ctx.Err() != nil {
		c.abort() // again: the deadline just set may have undone it
	}
}

// quiet says that nothing was read beyond the answer. Bytes left over would be
// taken for the next call's answer, another caller's maybe. They may also sit
// in TLS, where gone can't see them: a read that gets no more shows them.
func (c *conn) quiet() bool {
	if c.br.Buffered() > 0 {
		return false
	}
	var one [1]byte
	c.under.dry = true
	n, err := c.net.Read(one[:])
	c.under.dry = false
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// maxKept is the size of a write buffer that is kept with a connection.
const maxKept = 64 << 10

func (c *conn) roundTrip(ctx context.Context, r Request) (res *http.Response, sent bool, err error) {
	c.answered = false
	until := c.site.o.Now().Add(c.site.o.HeaderTimeout)
	_ = c.net.SetWriteDeadline(until)
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	if sent, err := c.send(ctx, r); err != nil {
		return nil, sent, err
	}
	res, err = c.answer(r, func() { c.await(ctx, until) })
	if err != nil {
		return nil, true, err
	}
	c.deliver(ctx, res, !res.Close)
	return res, true, nil
}

// answer reads headers up to that of the real answer; wait is called before each.
func (c *conn) answer(r Request, wait func()) (*http.Response, error) {
	to := c.site.post
	if r.Method == http.MethodHead {
		to = c.site.head
	}
	for range maxInterim {
		c.left = maxHeaderBytes
		wait()
		res, err := http.ReadResponse(c.br, to)
		c.left = -1
		if err != nil {
			return nil, fmt.Errorf("waiting for the site's answer: %w", err)
		}
		if res.StatusCode >= 200 {
			return res, nil
		}
		if res.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	return nil, errors.New("the site answers with an informational status that nobody asked for")
}

// deliver makes the answer's body the connection's owner.
func (c *conn) deliver(ctx context.Context, res *http.Response, reuse bool) {
	b := &body{ReadCloser: res.Body, c: c, ctx: ctx, reuse: reuse}
	b.none = res.Body == http.NoBody
	b.toEnd = !b.none && res.ContentLength < 0 && len(res.TransferEncoding) == 0
	b.here = b.none || res.ContentLength >= 0 && res.ContentLength <= int64(c.br.Buffered())
	if !b.here {
		b.patience()
		c.under.readAhead(&c.site.aheads)
	}
	res.Body = b
}

// send writes the call. sent says, of an error, that some of it may have left.
func (c *conn) send(ctx context.Context, r Request) (sent bool, err error) {
	c.out = c.site.appendHead(c.out[:0], r)
	if len(c.out)+len(r.Body) > quickWrite {
		c.watch(ctx)
	}
	if cap(c.out)+len(r.Body) <= maxKept {
		c.out = append(c.out, r.Body...)
		r.Body = nil
	}
	n, err := c.net.Write(c.out)
	if err == nil && len(r.Body) > 0 {
		_, err = c.net.Write(r.Body)
		n++
	}
	clear(c.out) // it held the key
	if err != nil {
		// TLS reports what it wrote, not what left; a failed write may have
		// sent a record.
		return n > 0 || !isRefused(err), fmt.Errorf("sending to the site: %w", err)
	}
	return true, nil
}

// await waits for a header: a little while for a whole one, without watching
// the caller, and then with it until t. It reports no error: the connection has
// it still.
func (c *conn) await(ctx context.Context, t time.Time) {
	if c.stop == nil {
		quick := c.site.o.Now().Add(quickWait)
		if t.Before(quick) {
			quick = t
		}
		_ = c.net.SetReadDeadline(quick)
		_, _ = c.br.Peek(1)
		if come, _ := c.br.Peek(c.br.Buffered()); bytes.Contains(come, []byte("\r\n\r\n")) {
			return
		}
	}
	c.patience(ctx, t)
}

// isRefused says whether nothing at all can have left.
func isRefused(err error) bool { return errors.Is(err, net.ErrClosed) }

func (s *Site) appendHead(b []byte, r Request) []byte {
	method := r.Method
	if method == "" {
		method = http.MethodPost
	}
	b = append(b, method...)
	b = append(b, ' ')
	b = append(b, r.Path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, s.o.Site.Host...)
	switch n := r.length(); {
	case n < 0:
		b = append(b, "\r\nTransfer-Encoding: chunked"...)
	case n > 0 || method == http.MethodPost || method == http.MethodPut: // RFC 9110 §8.6
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, n, 10)
	}
	for _, h := range r.Header {
		b = append(b, "\r\n"...)
		b = append(b, h[0]...)
		b = append(b, ": "...)
		b = append(b, h[1]...)
	}
	return append(b, "\r\n\r\n"...)
}

// body hands the connection back when the answer was read to its end.
type body struct {
	io.ReadCloser
	c     *conn
	ctx   context.Context //nolint:containedctx // the call's own; the body lives no longer
	here  bool            // all of it has come
	none  bool            // there is none, whatever the header says
	toEnd bool            // it ends with the connection
	reuse bool
	done  bool
}

func (b *body) patience() { b.c.patience(b.ctx, b.c.site.o.Now().Add(b.c.site.o.BodyTimeout)) }

func (b *body) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	if !b.here && b.c.br.Buffered() == 0 { // it may have to wait
		b.patience()
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case errors.Is(err, io.EOF) && b.toEnd && b.c.under.ended:
		// crypto/tls takes any end between two records for a clean one. Only
		// TLS's own end tells that nobody has cut the answer (RFC 9112 §9.8).
		err = io.ErrUnexpectedEOF
		b.finish(false)
	case errors.Is(err, io.EOF):
		b.finish(b.reuse)
	case err != nil:
		b.finish(false)
	}
	return n, err
}

// Close drops the connection unless the answer was read to its end.
func (b *body) Close() error {
	b.finish(b.reuse && b.none)
	return nil
}

func (b *body) finish(reuse bool) {
	if b.done {
		return
	}
	b.done = true
	reuse = b.c.release() && reuse && b.c.quiet()
	b.c.under.readNoFurther(&b.c.site.aheads)
	if reuse {
		b.c.site.put(b.c)
		return
	}
	_ = b.c.net.Close()
}
