package proxy

import (
	"container/list"
	"context"
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
	// cutTime bounds the wait for calls that were cut to end.
	cutTime = 2 * time.Second
	// DefaultMaxConnections is how many connections one listener keeps.
	DefaultMaxConnections = 1024
)

// Server serves one listener's connections.
//
// It never closes an idle connection by time: shotgun_api3 from 3.8.5 on fails
// its next call on one (flow-protocol §8.1). Their number is the bound; near
// it answers carry Connection: close, which every client obeys, and beyond it
// the connection that was idle longest goes.
type Server struct {
	// OnConnections, if not nil, is told of each connection that opens (1) and
	// ends (-1). Set it before Serve; it must not block.
	OnConnections func(delta int)

	http  *http.Server
	max   int
	calls atomic.Int64 // being served

	mu struct {
		sync.Mutex
		idle  *list.List // of net.Conn, longest first
		conns map[net.Conn]*list.Element
	}
}

// NewServer makes a server for one listener, with at most limit connections.
// Set l.Crowded to the server's own before it serves.
func NewServer(logger *slog.Logger, limit int) *Server {
	s := &Server{max: limit}
	s.mu.idle = list.New()
	s.mu.conns = make(map[net.Conn]*list.Element)
	s.http = &http.Server{
		ReadHeaderTimeout: headerTime,
		// ReadTimeout and IdleTimeout stay 0: either would end idle connections.
		MaxHeaderBytes: maxHeader,
		ConnState:      s.track,
		ErrorLog:       log.New(quiet{logger}, "", 0), //nolint:forbidigo // net/http takes no other
		Protocols:      new(http.Protocols),
		// a body within bounds is read to its end by the handler
		DisableGeneralOptionsHandler: true,
	}
	s.http.Protocols.SetHTTP1(true)
	return s
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
// flight, until ctx ends; then it cuts them, and waits until they have noticed
// and written their records.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
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
	if e := s.mu.conns[c]; e != nil {
		s.mu.idle.Remove(e)
		s.mu.conns[c] = nil
	}
	switch state {
	case http.StateNew:
		s.mu.conns[c] = nil
		if len(s.mu.conns) <= s.max {
			return nil
		}
		if first := s.mu.idle.Front(); first != nil {
			victim, _ = s.mu.idle.Remove(first).(net.Conn)
			s.mu.conns[victim] = nil
			return victim
		}
		return c
	case http.StateIdle:
		s.mu.conns[c] = s.mu.idle.PushBack(c)
	case http.StateActive:
	case http.StateClosed, http.StateHijacked:
		delete(s.mu.conns, c)
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
