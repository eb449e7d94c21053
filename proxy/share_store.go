package proxy

import (
	"bytes"
	"container/list"
	"crypto/sha256"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what is shared, for a proxy as a whole.
const (
	// maxShared is the longest answer that is shared, in bytes: a schema of a
	// large site has five MiB. Calls whose answer is longer go on their own.
	maxShared = 8 << 20
	// maxSharedTotal bounds the answers that are kept or being handed out, in
	// bytes.
	maxSharedTotal = 64 << 20
	// maxSharedEntries is how many answers are kept, and how many calls fetch one
	// that may be shared. The one that was used longest ago goes.
	maxSharedEntries = 4096
	// maxSharedWaiters is how many calls wait for an equal one; more go on their
	// own.
	maxSharedWaiters = 4096
	// maxSharedTypes is for how many entity types it is remembered when they were
	// last written; beyond that all count as written.
	maxSharedTypes = 4096
	// maxSharedWait is how long a call waits for equal ones, all together, before it
	// goes on its own: as long as the site may take for a large schema.
	maxSharedWait = 5 * time.Minute
	// maxLeaders is for how many equal calls that come to nothing a call waits, one
	// after the other, before it goes on its own.
	maxLeaders = 3
	// unsettledTime is how long nothing is kept of what a write may have changed
	// whose end is not known: it may still be done.
	unsettledTime = time.Minute
)

// shareKey is everything that an answer depends on, hashed.
type shareKey [sha256.Size]byte

// shares lets equal reads share an answer: those that come while one is in
// flight, and for a time those that come after it. Its zero value is ready; it
// is safe for concurrent use. It holds no goroutine and no timer: what is over
// is dropped when it is met, or when room is needed.
//
// What a write makes of it: the clock advances with every mark that a write
// leaves, and an answer counts as long as none of the types that it rests on
// was marked since its call began. A write leaves one as it is about to leave,
// and another before its own caller hears of it: whoever knows that a write is
// done can't be told what was before it.
type shares struct {
	used atomic.Bool // whether a call ever asked

	mu      sync.Mutex
	of      *State // whose answers these are
	flights map[shareKey]*flight
	kept    map[shareKey]*sharedAnswer
	order   list.List // of kept, the last used first
	size    int64     // bytes of answers that are kept or handed out
	waiting int

	clock   uint64
	types   map[string]mark // by type, folded
	any     mark            // of every write
	records mark            // of those that may change records of any type
	all     mark            // of those that may change anything
}

// mark is what a write leaves.
type mark struct {
	at    uint64
	until time.Time // nothing is kept until then
}

func (m mark) and(o mark) mark {
	m.at = max(m.at, o.at)
	if o.until.After(m.until) {
		m.until = o.until
	}
	return m
}

// flight is a call whose answer equal ones wait for. shares.mu guards it; what
// follows ended does not change once that is closed.
type flight struct {
	key     shareKey
	by      string // the call's id
	rests   basis
	began   uint64
	waiting int
	left    chan struct{} // closed when the call goes to the site, if it does
	ended   chan struct{}

	answer *sharedAnswer // nil for none
	// alone says that those who waited go on their own: waiting for another one
	// would lead to the same.
	alone bool
}

// sharedAnswer is a complete answer as its caller got it. Of its fields only
// users and place change, which shares.mu guards.
type sharedAnswer struct {
	key    shareKey
	by     string // the id of the call that it answered
	rests  basis
	began  uint64
	at     time.Time
	until  time.Time
	header http.Header
	body   []byte

	users int           // calls that are being answered with it
	place *list.Element // nil where it is not kept
}

// enter finds what a call may share: an answer, or a flight to wait for, or
// with leads set one of its own to answer. It finds nothing where there is no
// room, or the call began before the last reload.
func (s *shares) enter(k shareKey, rests basis, x *exchange) (a *sharedAnswer, f *flight, leads bool) {
	s.used.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of != x.st {
		if x.st != x.p.state.Load() {
			return nil, nil, false
		}
		s.resetLocked(x.st)
	}
	if a = s.kept[k]; a != nil {
		if x.p.cfg.Now().Before(a.until) && s.markLocked(a.rests).at <= a.began {
			a.users++
			s.order.MoveToFront(a.place)
			return a, nil, false
		}
		s.dropLocked(a)
	}
	if f = s.flights[k]; f != nil && s.markLocked(f.rests).at <= f.began {
		if s.waiting >= maxSharedWaiters {
			return nil, nil, false
		}
		f.waiting++
		s.waiting++
		return nil, f, false
	}
	if f == nil && len(s.flights) >= maxSharedEntries {
		return nil, nil, false
	}
	f = &flight{key: k, by: x.id, rests: rests, began: s.clock, left: make(chan struct{}), ended: make(chan struct{})}
	s.flights[k] = f // in place of one that is out of date; those who wait for that keep it
	return nil, f, true
}

// reload lets go of what was fetched under another configuration; enter would do
// it when it is called next.
func (s *shares) reload(st *State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of != nil && s.of != st {
		s.resetLocked(st)
	}
}

// resetLocked forgets what was fetched under another configuration. Those who wait
// for a flight of it have the same one, and get its answer.
func (s *shares) resetLocked(st *State) {
	for s.order.Len() > 0 {
		s.dropOldestLocked()
	}
	s.of, s.flights, s.kept = st, make(map[shareKey]*flight), make(map[shareKey]*sharedAnswer)
}

// markLocked is all marks together that concern an answer.
func (s *shares) markLocked(b basis) mark {
	m := s.all
	switch {
	case b.unknown:
		return m.and(s.any)
	case !b.settings:
		m = m.and(s.records)
	}
	for _, t := range b.types {
		m = m.and(s.types[t])
	}
	return m
}

// changed leaves a write's mark. Until then, where it is set, the write may still
// be done.
func (s *shares) changed(c change, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	m := mark{s.clock, until}
	s.any = s.any.and(m)
	switch c.reach {
	case reachesAll:
		s.all = s.all.and(m)
		return
	case reachesRecords:
		s.records = s.records.and(m)
	case reachesTypes, reachesNothing:
	}
	if len(s.types)+len(c.types) > maxSharedTypes {
		s.types, s.all = nil, s.all.and(s.any)
	}
	if s.types == nil {
		s.types = make(map[string]mark)
	}
	for _, t := range c.types {
		s.types[t] = s.types[t].and(m)
	}
}

// answer ends a flight with an answer, for those who wait, and keeps it for life
// where that is not 0 and nothing that it rests on was written meanwhile.
func (s *shares) answer(f *flight, now time.Time, life time.Duration, header http.Header, body []byte) {
	a := &sharedAnswer{key: f.key, by: f.by, rests: f.rests, began: f.began, at: now, until: now.Add(life), header: header}
	if !s.reserve(f, a, int64(len(body)), life) {
		return
	}
	a.body = bytes.Clone(body) // without the lock: it may take a millisecond
	s.mu.Lock()
	defer s.mu.Unlock()
	a.users = f.waiting
	if life > 0 && s.keepsLocked(f, now) {
		s.kept[a.key] = a
		a.place = s.order.PushFront(a)
		if s.order.Len() > maxSharedEntries {
			s.dropOldestLocked()
		}
	}
	f.answer = a
	s.settleLocked(a)
	s.endLocked(f)
}

// reserve makes room for an answer, or ends the flight without one: where there
// is none, and where nobody wants it.
func (s *shares) reserve(f *flight, a *sharedAnswer, n int64, life time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := f.waiting > 0 || life > 0 && s.keepsLocked(f, a.at)
	for s.size+n > maxSharedTotal && wanted && s.order.Len() > 0 {
		s.dropOldestLocked()
	}
	if wanted && s.size+n <= maxSharedTotal {
		s.size += n
		return true
	}
	f.alone = true
	s.endLocked(f)
	return false
}

// keepsLocked says whether a flight's answer may be kept.
func (s *shares) keepsLocked(f *flight, now time.Time) bool {
	m := s.markLocked(f.rests)
	return s.flights[f.key] == f && m.at <= f.began && !now.Before(m.until)
}

// giveUp ends a flight without an answer.
func (s *shares) giveUp(f *flight, alone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.alone = alone
	s.endLocked(f)
}

func (s *shares) endLocked(f *flight) {
	if s.flights[f.key] == f {
		delete(s.flights, f.key)
	}
	s.waiting -= f.waiting
	f.waiting = 0
	close(f.ended)
}

// leave is for a call that doesn't wait any longer.
func (s *shares) leave(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-f.ended:
		if f.answer != nil {
			f.answer.users--
			s.settleLocked(f.answer)
		}
	default:
		f.waiting--
		s.waiting--
	}
}

// done is for a call that was answered with a.
func (s *shares) done(a *sharedAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.users--
	s.settleLocked(a)
}

// settleLocked gives back the room of an answer that nobody has any more.
func (s *shares) settleLocked(a *sharedAnswer) {
	if a.place == nil && a.users == 0 {
		s.size -= int64(len(a.body))
	}
}

func (s *shares) dropOldestLocked() {
	if a, ok := s.order.Back().Value.(*sharedAnswer); ok {
		s.dropLocked(a)
	}
}

// dropLocked forgets a kept answer.
func (s *shares) dropLocked(a *sharedAnswer) {
	s.order.Remove(a.place)
	a.place = nil
	if s.kept[a.key] == a {
		delete(s.kept, a.key)
	}
	s.settleLocked(a)
}
