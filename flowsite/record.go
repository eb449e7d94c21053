package flowsite

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// Received is one request as it came in, and what became of it.
type Received struct {
	// N counts requests from 1, also those no longer in the record.
	N    int
	Time time.Time // by the site's clock
	// HTTPMethod, Target, Host, Header and Body are the request's own.
	HTTPMethod, Target, Host, Proto string
	Header                          http.Header
	Body                            []byte
	RemoteAddr                      string
	// Conn numbers connections from 1; 0 when the server doesn't use
	// [Site.ConnContext]. Reused: it carried a request before.
	Conn   int64
	Reused bool
	// Kind is the route it came on: a Route constant.
	Kind string
	// Method, Type and Params (less the auth object) are those of the RPC
	// call; empty when the body was none. On other routes Method is what the
	// path names: upload_file, file_serve, …
	Method, Type string
	Params       []any
	// Fields are those of a form, less the credential; File is the file that
	// came with it. Body then is what isn't the file.
	Fields map[string]string
	File   *File
	// Aborted: the request broke off before it was complete.
	Aborted bool
	// Credential is a Kind; Script and Sudo are the names sent with it.
	Credential, Script, Sudo, SessionUUID string
	// Violations, Fault and FaultCode say how it was answered: refused as no
	// client would send it, by a planned fault, with an error code.
	Violations []string
	Fault      *Fault
	FaultCode  int
}

// record keeps the last requests, bounded by number and bytes.
type record struct {
	max, maxBytes int
	n, bytes      int
	calls         []Received
	violations    []string
	dropped       int
}

func (r *record) add(c Received) {
	r.violations = append(r.violations, c.Violations...)
	if r.max < 0 {
		return
	}
	r.calls = append(r.calls, c)
	r.bytes += len(c.Body)
	drop := 0
	for drop < len(r.calls) && (len(r.calls)-drop > r.max || r.bytes > r.maxBytes) {
		r.bytes -= len(r.calls[drop].Body)
		r.calls[drop] = Received{} // or the slice would keep the body
		drop++
	}
	r.calls, r.dropped = r.calls[drop:], r.dropped+drop
}

// connKey is the context key of a connection's number.
type connKey struct{}

type connInfo struct {
	id   int64
	used atomic.Bool
}

// ConnContext numbers connections for the record: set it as the ConnContext
// of the http.Server that serves the site. It may be used by several.
func (s *Site) ConnContext() func(context.Context, net.Conn) context.Context {
	var n atomic.Int64
	return func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, &connInfo{id: n.Add(1)})
	}
}

// received begins the record of a request.
func (s *Site) received(r *http.Request) Received {
	rec := Received{
		Time: s.opts.Now(), HTTPMethod: r.Method, Target: r.RequestURI, Host: r.Host, Proto: r.Proto,
		Header: r.Header.Clone(), RemoteAddr: r.RemoteAddr,
	}
	if c, ok := r.Context().Value(connKey{}).(*connInfo); ok {
		rec.Conn, rec.Reused = c.id, c.used.Swap(true)
	}
	s.mu.Lock()
	s.rec.n++
	rec.N = s.rec.n
	s.mu.Unlock()
	return rec
}

// Received is the record, oldest first. Don't change what it points to.
func (s *Site) Received() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rec.calls)
}

// Calls is the number of requests so far, those out of the record included.
func (s *Site) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.n
}

// Dropped is how many requests the record had to let go.
func (s *Site) Dropped() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.dropped
}

// Violations lists what no client sends, in the order it came. Tests assert
// that it is empty.
func (s *Site) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rec.violations)
}

// ResetRecord empties the record and the violations.
func (s *Site) ResetRecord() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rec = record{max: s.rec.max, maxBytes: s.rec.maxBytes}
}

// BeforeReply is called with every call that is about to be answered, after
// it was applied and with no lock held: a test can wait in it. nil ends it.
func (s *Site) BeforeReply(hook func(Received)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}
