package proxy

import (
	"container/list"
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of the local server.
const (
	// headerTime bounds how slowly a request's header may come.
	headerTime = 10 * time.Second
	// maxHeader is the largest request header in bytes.
	maxHeader = 32 << 10
	// cutTime is what calls have that are cut at the end of a drain, to answer
	// and to write their records.
	cutTime = 2 * time.Second
)

// Server serves one listener's connections.
//
// It never closes an idle connection by time: shotgun_api3 from 3.8.5 on fails
// its next call on one (flow-protocol §8.1). Their number is the bound; near
// it answers carry Connection: close, which every client obeys, and beyond it
// the oldest goes that never sent a call, else the one that was idle longest.
type Server struct {
	// OnConnections, if not nil, is told of each connection that opens (1) and
	// ends (-1). Set it before Serve; it must not block.
	OnConnections func(delta int)

	http   *http.Server
	logger *slog.Logger
	max    int
	calls  atomic.Int64 // being served
	owner  atomic.Pointer[func(net.Conn) (uint32, error)]
	mute   atomic.Bool // that owner failed has been said
	cut    context.CancelCauseFunc

	mu struct {
		sync.Mutex
		// Both hold net.Conn, oldest first: those that sent no call yet, and
		// those between two calls.
		fresh, idle *list.List
		conns       map[net.Conn]place
	}
}

// place is where a connection stands in a list; the zero place is none.
type place struct {
	in *list.List
	at *list.Element
}

// errCut is the cause of a context that ends because the server does, not the
// caller: who sent the call can still be answered.
var errCut = errors.New("the drain is over")

// NewServer makes a server for one listener, with at most limit connections.
// Set l.Crowded to the server's own before it serves.
func NewServer(logger *slog.Logger, limit int) *Server {
	s := &Server{logger: logger, max: limit}
	s.mu.fresh, s.mu.idle = list.New(), list.New()
	s.mu.conns = make(map[net.Conn]place)
	base, cut := context.WithCancelCause(context.Background())
	s.cut = cut
	s.http = &http.Server{
		ReadHeaderTimeout: headerTime,
		// ReadTimeout and IdleTimeout stay 0: either would end idle connections.
		MaxHeaderBytes: maxHeader,
		ConnState:      s.track,
		ConnContext:    s.ask,
		BaseContext:    func(net.Listener) context.Context { return base },
		ErrorLog:       log.New(quiet{logger}, "", 0), //nolint:forbidigo // net/http takes no other
		Protocols:      new(http.Protocols),
		// a body within bounds is read to its end by the handler
		DisableGeneralOptionsHandler: true,
	}
	s.http.Protocols.SetHTTP1(true)
	return s
}

// Ask has owner say, of each connection from now on, which user holds its other
// end, as [caller.Owner] does; nil asks nobody. It is called as the connection
// is accepted, before the next one is, and must not wait for the peer. A
// listener whose Identity is [IdentityKernel] serves no connection that owner was
// not asked about.
func (s *Server) Ask(owner func(net.Conn) (uint32, error)) {
	if owner == nil {
		s.owner.Store(nil)
		return
	}
	s.owner.Store(&owner)
}

// ask notes in the connection's context who its peer is. That is when it has to
// be asked: later the other end may be somebody else's.
func (s *Server) ask(ctx context.Context, c net.Conn) context.Context {
	owner := s.owner.Load()
	if owner == nil {
		return ctx
	}
	ctx, err := withPeer(ctx, c, *owner)
	if err != nil && !s.mute.Swap(true) { // once: what fails for one fails for all, and callers can connect as often as they like
		s.logger.WarnContext(ctx, "it could not be told who opened a connection; its calls are refused", slog.Any("error", err))
	}
	return ctx
}

// Serve answers with h until Shutdown; it returns http.ErrServerClosed then.
func (s *Server) Serve(ln net.Listener, h http.Handler) error {
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		defer s.calls.Add(-1)
		h.ServeHTTP(w, r)
	})
	return s.http.Serve(ln)
}

// Shutdown takes no more connections, closes idle ones and waits for calls in
// flight, until ctx ends. Then it has them give up their wait for the site and
// answer: a connection that is dropped instead makes old clients send a write
// again, and the next process would do it twice.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err == nil {
		return nil
	}
	s.cut(errCut)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), cutTime)
	defer cancel()
	if s.http.Shutdown(last) != nil {
		_ = s.http.Close()
		s.awaitCalls()
	}
	return err
}

// awaitCalls waits, for cutTime, until no call is served any more.
func (s *Server) awaitCalls() {
	end := time.NewTimer(cutTime)
	defer end.Stop()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for s.calls.Load() > 0 {
		select {
		case <-again.C:
		case <-end.C:
			return
		}
	}
}

// Crowded says that nine of ten connections are taken.
func (s *Server) Crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.conns) >= s.max-s.max/10
}

// Connections says how many are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.conns)
}

// track follows connections through their states.
func (s *Server) track(c net.Conn, state http.ConnState) {
	if s.OnConnections != nil {
		switch state {
		case http.StateNew:
			s.OnConnections(1)
		case http.StateClosed, http.StateHijacked:
			s.OnConnections(-1)
		case http.StateActive, http.StateIdle:
		}
	}
	if victim := s.trackLocked(c, state); victim != nil {
		_ = victim.Close()
	}
}

func (s *Server) trackLocked(c net.Conn, state http.ConnState) (victim net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.mu.conns[c]; p.in != nil {
		p.in.Remove(p.at)
		s.mu.conns[c] = place{}
	}
	switch state {
	case http.StateNew:
		if len(s.mu.conns) >= s.max {
			victim = s.victimLocked()
		}
		if victim == nil && len(s.mu.conns) >= s.max {
			s.mu.conns[c] = place{}
			return c
		}
		s.mu.conns[c] = place{s.mu.fresh, s.mu.fresh.PushBack(c)}
	case http.StateIdle:
		s.mu.conns[c] = place{s.mu.idle, s.mu.idle.PushBack(c)}
	case http.StateActive:
	case http.StateClosed, http.StateHijacked:
		delete(s.mu.conns, c)
	}
	return victim
}

// victimLocked is the connection that goes when one too many comes: silent ones
// first, since a tool that is idle loses its next call.
func (s *Server) victimLocked() net.Conn {
	for _, l := range []*list.List{s.mu.fresh, s.mu.idle} {
		if first := l.Front(); first != nil {
			c, ok := l.Remove(first).(net.Conn)
			if ok {
				s.mu.conns[c] = place{}
				return c
			}
		}
	}
	return nil
}

// quiet turns the server's own lines into debug lines: they tell of clients
// that went away, and may quote their bytes, which are left out.
type quiet struct{ l *slog.Logger }

func (q quiet) Write(p []byte) (int, error) {
	q.l.Debug("a local connection ended early", slog.Int("bytes", len(p)))
	return len(p), nil
}
