// Package fleet makes limits hold over all proxies together: each leases tokens
// of a budget that is kept in Redis or Valkey, and spends them without asking.
//
// The request path doesn't wait for Redis, but for the first call of a proxy
// that had nothing to do, and where the budget is used up. While Redis is away
// each proxy lets through its fixed share, says so, and comes back by itself.
// The wrangler's brakes go the same way.
//
// It never refuses a call because Redis is away, never believes what it reads
// there beyond its bounds, tries nothing twice, and logs no password. One
// [Fleet] has one goroutine, and one more for each operation that is under way;
// [Fleet.Close] waits for all of them. It imports limit, secret and go-redis.
package fleet

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"stagedoor/limit"
	"stagedoor/secret"
)

const (
	// DefaultLease is how long leased tokens are kept unused where the
	// configuration names nothing: 2 s.
	DefaultLease = 2 * time.Second
	// DefaultPrefix begins every key in Redis where the configuration names nothing.
	DefaultPrefix = "stagedoor"
	// LookEvery is the time between two looks at the brakes, which also notice that
	// Redis is away where no call does: 1 s, some of it by chance so that a fleet
	// doesn't look all at once. With [OperationTimeout] a brake is in force within
	// 2 s.
	LookEvery = time.Second
	// minBackoff and maxBackoff bound the time between two attempts to reach a
	// Redis that is away. It doubles, and half of it is chance.
	minBackoff = 500 * time.Millisecond
	maxBackoff = 5 * time.Second
	// steady is how long Redis has to be there before the next outage starts with
	// minBackoff again: one that comes and goes is tried ever less often.
	steady = 10 * time.Second
	// closing is how long Close may take to give tokens back.
	closing = time.Second
)

// Options configure [Open].
type Options struct {
	// URL is redis://HOST:PORT, or rediss://HOST:PORT for TLS; without a port 6379.
	URL string
	// Roots sign the certificate of Redis; nil are the system's.
	Roots *x509.CertPool
	// User is of Redis's ACL; empty is the default user.
	User string
	// Password is asked for each new connection; nil is none.
	Password func() (secret.Value, error)
	// Prefix begins every key; empty is [DefaultPrefix].
	Prefix string
	// Share is this proxy's part of every budget while Redis is away, over 0 and at
	// most 1.
	Share float64
	// Lease is how long leased tokens are kept unused; 0 is [DefaultLease].
	Lease time.Duration
	// Timeout is how long one operation on Redis may take; 0 is [OperationTimeout].
	Timeout time.Duration
	// Node is how Redis's CLIENT LIST names this proxy; empty is no name.
	Node string
	// OnBrakes is called with all brakes that are on, each time they change, never
	// twice at a time and not after Close; nil ignores them.
	OnBrakes func([]limit.Brake)
	// Logger gets each change once; nil is silence.
	Logger *slog.Logger
	// Now is the clock that leases age by; nil is [time.Now].
	Now func() time.Time
}

// Fleet is this proxy's part in the budgets of all. It is safe for concurrent
// use; use [Open].
type Fleet struct {
	opts   Options
	client *client
	log    *slog.Logger
	now    func() time.Time

	work   context.Context //nolint:containedctx // ends what is under way at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	look   chan struct{} // buffered: look at the brakes now
	brakes brakes

	state                             atomic.Int32
	leases, denied, returned, outages atomic.Uint64
	fellBack                          atomic.Uint64

	mu      sync.Mutex // guards all below
	closed  bool
	since   time.Time // of state
	err     string    // why Redis is away
	budgets map[string]*Budget
}

// The states of a Fleet. In the first, Redis is asked as if it were there.
const (
	trying int32 = iota
	connected
	away
)

// Status is how a Fleet is, for metrics and /readyz.
type Status struct {
	// Connected is false while this proxy lets through its share alone, and until
	// Redis has answered for the first time.
	Connected bool
	// Since is since when it is so.
	Since time.Time
	// Err is why Redis is away; empty when it isn't.
	Err string
	// Share is the part of every budget that is let through meanwhile.
	Share float64
	// Leases, Denied and Returned are operations on budgets since Open: those that
	// got tokens, those that got none, and those that gave some back.
	Leases, Denied, Returned uint64
	// FellBack is calls that were let through or refused by the share alone.
	FellBack uint64
	// Outages is how often Redis went away.
	Outages uint64
	// BrakesErr is what is wrong with the brakes in Redis; those that can be read
	// are in force.
	BrakesErr string
}

// Open makes a Fleet and starts to look for Redis. That Redis is away is no
// error, only options that can't be used are.
func Open(o Options) (*Fleet, error) {
	if !(o.Share > 0 && o.Share <= 1) {
		return nil, errors.New("fleet: the share has to be over 0 and at most 1")
	}
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	if o.Timeout == 0 {
		o.Timeout = OperationTimeout
	}
	if o.Lease < 0 || o.Timeout < 0 {
		return nil, errors.New("fleet: lease and timeout have to be over 0")
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := newClient(&o)
	if err != nil {
		return nil, err
	}
	f := &Fleet{
		opts: o, client: c, log: o.Logger, now: o.Now,
		look: make(chan struct{}, 1), since: o.Now(), budgets: make(map[string]*Budget),
	}
	f.work, f.cancel = context.WithCancel(context.Background())
	f.wg.Go(f.watch)
	return f, nil
}

// Budget is the budget of a name, shared with all proxies that use the same name
// and prefix. The first time it is made, later it is updated with o: what is
// spent stays spent, and whoever waits goes on waiting. It enforces the rate,
// the burst, the hold and the queue of o; calls in flight are not its business. One that is
// left with no rate is forgotten, until it has one.
func (f *Fleet) Budget(name string, o limit.Options) *Budget {
	f.mu.Lock()
	b := f.budgets[name]
	if b == nil {
		b = newBudget(f, name, o)
		f.budgets[name] = b
		f.mu.Unlock()
		return b
	}
	f.mu.Unlock()
	b.Update(o)
	return b
}

// know keeps a budget among those that an outage concerns, or forgets it: the
// names of brakes come from elsewhere, and there is no end of them. b.mu is held.
func (f *Fleet) know(b *Budget, has bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch known := f.budgets[b.name]; {
	case has && known == nil:
		f.budgets[b.name] = b
	case !has && known == b:
		delete(f.budgets, b.name)
	}
}

// Status is how it is now.
func (f *Fleet) Status() Status {
	f.mu.Lock()
	s := Status{Connected: f.state.Load() == connected && !f.closed, Since: f.since, Err: f.err}
	f.mu.Unlock()
	s.Share = f.opts.Share
	s.Leases, s.Denied, s.Returned = f.leases.Load(), f.denied.Load(), f.returned.Load()
	s.FellBack, s.Outages = f.fellBack.Load(), f.outages.Load()
	s.BrakesErr = f.brakes.problem()
	return s
}

// Close gives unused tokens back, as far as Redis takes them within a second,
// and ends everything. Calls that are held, and later ones, get this proxy's
// share.
func (f *Fleet) Close() {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.closed = true
	up := f.state.Swap(away) == connected
	all := f.snapshotLocked()
	f.mu.Unlock()
	f.cancel()
	f.wg.Wait() // no more leases from here on
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	for _, b := range all {
		if q, any := b.end(); any && up && ctx.Err() == nil {
			_, _ = f.client.ask(ctx, b.key, q) // what can't be given back comes back with time
		}
	}
	f.client.close()
}

func (f *Fleet) snapshotLocked() []*Budget {
	all := make([]*Budget, 0, len(f.budgets))
	for _, b := range f.budgets {
		all = append(all, b)
	}
	return all
}

// start runs an operation on its own goroutine, and says whether it does: after
// Close it doesn't.
func (f *Fleet) start(op func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.wg.Go(op)
	return true
}

// isAway is whether calls get this proxy's share.
func (f *Fleet) isAway() bool { return f.state.Load() == away }

// answered notes that Redis answered an operation. Only watch ends an outage.
func (f *Fleet) answered() {
	if f.state.Load() == trying {
		f.back()
	}
}

// back notes that Redis is there.
func (f *Fleet) back() {
	f.mu.Lock()
	was := f.state.Load()
	if was == connected || f.closed {
		f.mu.Unlock()
		return
	}
	f.state.Store(connected)
	gone := f.now().Sub(f.since)
	f.since, f.err = f.now(), ""
	f.mu.Unlock()
	if was == away {
		f.log.Warn("redis is back: the limits of the fleet hold again", slog.Duration("after", gone))
		return
	}
	f.log.Info("redis answers: the limits of the fleet hold")
}

// lost notes that an operation failed, and lets everybody who waits have this
// proxy's share.
func (f *Fleet) lost(err error) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	was := f.state.Swap(away)
	f.err = err.Error()
	if was == away {
		f.mu.Unlock()
		return
	}
	f.since = f.now()
	all := f.snapshotLocked()
	f.mu.Unlock()
	f.outages.Add(1)
	f.log.Error("redis is away: this proxy lets through its own share of every budget of the fleet",
		slog.Any("error", err), slog.Float64("share", f.opts.Share))
	for _, b := range all {
		b.fallBack()
	}
}

// watch looks at the brakes, and for Redis while it is away.
func (f *Fleet) watch() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	backoff := minBackoff
	for {
		select {
		case <-f.work.Done():
			return
		case <-timer.C:
		case <-f.look:
		}
		next := jitter(LookEvery, LookEvery/5)
		if err := f.readBrakes(); err != nil {
			f.lost(err)
			next = jitter(backoff, backoff/2)
			backoff = min(2*backoff, maxBackoff)
		} else {
			f.back()
			if f.upFor() > steady {
				backoff = minBackoff
			}
		}
		timer.Reset(next)
	}
}

func (f *Fleet) upFor() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now().Sub(f.since)
}

// jitter is d, less up to a part of it.
func jitter(d, part time.Duration) time.Duration {
	return d - rand.N(part) //nolint:gosec // no secret: it keeps proxies apart
}

// operation bounds one operation on Redis.
func (f *Fleet) operation() (context.Context, context.CancelFunc) {
	return context.WithTimeout(f.work, f.opts.Timeout)
}
