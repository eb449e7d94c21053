package flowsite

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

const defaultDrip = 16 // bytes for each thing that Slow receives

// Fault is a failure on demand. The zero value fails nothing.
type Fault struct {
	// Method and Type say which calls; "" is any. Match, where set, decides
	// too. Nth counts the calls that fit: 3 is the third only, 0 every one.
	Method, Type string
	Match        func(Received) bool
	Nth          int

	// After applies the call before it fails; otherwise it isn't applied.
	// Faults that only slow an answer down (Hold, Delay, Slow, Truncate)
	// apply it in any case.
	After bool

	// Status answers with this HTTP status and a page.
	Status int
	// Location makes it a redirect (302, 303, 308 …), by default to the
	// login page.
	Location string
	// Code answers with HTTP 200 and a fault of this error_code.
	Code int
	// Message of the fault or the page.
	Message string
	// Body and ContentType replace those of the answer.
	Body        []byte
	ContentType string
	// Header is added to the answer.
	Header http.Header

	// Reset ends the connection with no answer: by RST where that can be
	// done, as a dead peer. Close ends it in order.
	Reset, Close bool
	// Truncate announces the whole body, sends so many bytes less, and
	// closes.
	Truncate int

	// Hold keeps the answer back until the channel has something or is
	// closed, Delay for a time. Both end when the caller goes.
	Hold  <-chan struct{}
	Delay time.Duration
	// At is for uploads: so many bytes of the file are read, then the failure
	// comes at once, or with Stall no more is read until the channel has
	// something or is closed. 0: the file is read whole first.
	At    int64
	Stall <-chan struct{}
	// Slow sends Chunk bytes (0: 16) of the body for each thing received on
	// the channel; when it is closed, the rest.
	Slow  <-chan struct{}
	Chunk int
}

type planned struct {
	Fault
	seen, left int
}

// Fail plans a fault for the next calls that fit, times times (0: until
// [Site.ClearFaults]). Where several fit, the one planned first is taken.
func (s *Site) Fail(f Fault, times int) {
	if !f.fails() {
		f.After = true
	}
	if times == 0 {
		times = -1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &planned{Fault: f, left: times})
}

// fails says whether the caller doesn't get the call's own answer.
func (f *Fault) fails() bool {
	return f.Status != 0 || f.Code != 0 || f.Reset || f.Close || f.Body != nil
}

// ClearFaults ends all planned faults.
func (s *Site) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// plannedLocked takes the fault that is due for the call, if any.
func (s *Site) plannedLocked(c Received) *Fault {
	for i, p := range s.faults {
		if !p.fits(c) {
			continue
		}
		p.seen++
		if p.Nth > 0 && p.seen != p.Nth {
			continue
		}
		p.left--
		if p.left == 0 || p.Nth > 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return &p.Fault
	}
	return nil
}

func (p *planned) fits(c Received) bool {
	if p.Method != "" && p.Method != c.Method || p.Type != "" && p.Type != c.Type {
		return false
	}
	return p.Match == nil || p.Match(c)
}

// wait holds the answer back; false: the caller has gone.
func (f *Fault) wait(ctx context.Context) bool {
	if f.Hold != nil {
		select {
		case <-f.Hold:
		case <-ctx.Done():
			return false
		}
	}
	if f.Delay > 0 {
		t := time.NewTimer(f.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// errPlanned ends the reading of an upload that fails half-way.
var errPlanned = errors.New("planned fault")

// throttle is where a file is written as it is read: w, with a stop at f.At
// where the fault has one.
func (f *Fault) throttle(x *exchange, w io.Writer) io.Writer {
	if f == nil || f.At == 0 && f.Stall == nil {
		return w
	}
	return &stopping{fault: f, ctx: x.r.Context(), w: w, left: f.At}
}

type stopping struct {
	fault *Fault
	ctx   context.Context //nolint:containedctx // of the one request whose body this reads
	w     io.Writer
	left  int64
	past  bool
}

func (s *stopping) Write(b []byte) (int, error) {
	if s.past || int64(len(b)) < s.left {
		s.left -= int64(len(b))
		return s.w.Write(b)
	}
	n, err := s.w.Write(b[:s.left])
	if err != nil {
		return n, err
	}
	s.past = true
	if s.fault.Stall != nil {
		select {
		case <-s.fault.Stall:
		case <-s.ctx.Done():
			return n, s.ctx.Err()
		}
	}
	if s.fault.fails() && s.fault.At > 0 {
		return n, errPlanned
	}
	m, err := s.w.Write(b[n:])
	return n + m, err
}

// hangUp ends the connection without an answer.
func (f *Fault) hangUp(w http.ResponseWriter) {
	if f.Reset {
		reset(w)
	}
	panic(http.ErrAbortHandler)
}

// reset sends RST rather than FIN on HTTP/1. On HTTP/2 the stream is reset,
// by the panic that follows.
func reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	raw := c
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		raw = t.NetConn()
	}
	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // best effort: a plain close fails the call too
	}
	_ = raw.Close()
}

// failure is what the fault answers in place of the call's answer.
func (f *Fault) failure(x *exchange) (status int, h http.Header, body []byte) {
	h = http.Header{}
	status = orDefault(f.Status, http.StatusOK)
	switch {
	case f.Code != 0 && x.rec.Kind == RouteUpload:
		body = []byte("0:" + orDefault(f.Message, "Planned fault "+strconv.Itoa(f.Code)) + "\n")
		h.Set("Content-Type", textType)
	case f.Code != 0:
		body = faultBody(f.Code, orDefault(f.Message, "Planned fault "+strconv.Itoa(f.Code)))
		h.Set("Content-Type", jsonType)
	default:
		body = []byte("<html><body><h1>" + orDefault(f.Message, http.StatusText(status)) + "</h1></body></html>")
		h.Set("Content-Type", "text/html; charset=utf-8")
	}
	if f.Body != nil {
		body = f.Body
	}
	if f.ContentType != "" {
		h.Set("Content-Type", f.ContentType)
	}
	if status >= 300 && status < 400 {
		h.Set("Location", orDefault(f.Location, "/user/login?return_path="+url.QueryEscape(x.r.URL.Path)))
	}
	return status, h, body
}

// drip writes the body in the pace of the Slow channel.
func (f *Fault) drip(ctx context.Context, w http.ResponseWriter, body []byte) error {
	rc := http.NewResponseController(w)
	for len(body) > 0 {
		n := min(orDefault(f.Chunk, defaultDrip), len(body))
		select {
		case _, open := <-f.Slow:
			if !open {
				n = len(body)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := w.Write(body[:n]); err != nil {
			return err
		}
		if err := rc.Flush(); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

// cut writes less than was announced and hangs up.
func (f *Fault) cut(w http.ResponseWriter, body []byte) {
	_, err := w.Write(body[:max(0, len(body)-f.Truncate)])
	if err == nil {
		_ = http.NewResponseController(w).Flush() // the next line ends it anyway
	}
	panic(http.ErrAbortHandler)
}
