package proxy

import (
	"net/http"
	"time"

	"stagedoor/flow"
	"stagedoor/policy"
	"stagedoor/secret"
)

// AnswerOf shows the table of reasons.
func AnswerOf(r Reason) (status, fault int) {
	a := r.answer()
	return a.status, a.fault
}

// SaysOf is a reason's own text.
func SaysOf(r Reason) string { return r.answer().says }

// RouteOf is the routes' match.
func RouteOf() func(*http.Request) Reason {
	t := newRoutes()
	return func(r *http.Request) Reason {
		_, reason := t.match(r)
		return reason
	}
}

// Spooled is what long answers take now.
func Spooled(p *Proxy) int64 { return p.spooled.Load() }

// FillSpools leaves no room for long answers.
func FillSpools(p *Proxy) { p.spooled.Store(maxSpooled) }

// ErrCut is why a call's context ends when the proxy stops.
func ErrCut() error { return errCut }

// ShareKeyOf is the key of a call that differs by its verdict only.
func ShareKeyOf(v policy.Verdict) [32]byte {
	m := flow.Probe()
	x := &exchange{l: &Listener{Name: "local"}, r: &http.Request{Host: "localhost"}, way: wayRPC, rpc: m, call: &m.Call, verdict: v}
	return x.shareKey(secret.Credential{})
}

// Shares shows what is remembered of writes.
type Shares struct{ s shares }

// NewShares remembers nothing.
func NewShares() *Shares { return new(Shares) }

// Write is a write of a type.
func (s *Shares) Write(typ string) {
	s.s.changed(change{reachesTypes, folded([]string{typ})}, time.Time{})
}

// Clock is the time of the last write.
func (s *Shares) Clock() uint64 { return s.s.clock }

// Types is how many types are remembered.
func (s *Shares) Types() int { return len(s.s.types) }

// Changed says whether a type counts as written since.
func (s *Shares) Changed(typ string, since uint64) bool {
	return s.s.markLocked(basis{types: folded([]string{typ})}).at > since
}

// NotShared is what sharing does for a call whose rule says nothing of it.
func NotShared() func() {
	m := flow.Probe()
	x := &exchange{p: &Proxy{}, way: wayRPC, rpc: m, call: &m.Call}
	return func() {
		x.shared()
		x.leaving()
		x.keep(http.StatusOK, nil)
		x.begins()
		x.left()
	}
}

// SharedStats is how much is shared now.
type SharedStats struct {
	Entries int   // answers that are kept
	Bytes   int64 // of answers that are kept or handed out
	Flights int   // calls whose answer others may wait for
	Waiting int   // calls that wait
}

// Shared says how much is shared now.
func (p *Proxy) Shared() SharedStats {
	s := &p.shares
	s.mu.Lock()
	defer s.mu.Unlock()
	return SharedStats{Entries: s.order.Len(), Bytes: s.size, Flights: len(s.flights), Waiting: s.waiting}
}
