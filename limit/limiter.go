package limit

import (
	"container/list"
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limiter lets calls through in the order they came, at a rate and with a
// number in flight. It is safe for concurrent use; use [New].
type Limiter struct {
	mu       sync.Mutex
	opts     Options // effective
	bucket   *rate.Limiter
	inFlight int
	// queue holds *waiter in order of arrival. Only the first has tokens
	// reserved: whoever hangs up behind it has cost nothing.
	queue list.List
	// unpaid is the cost of all waiters less what the first has reserved.
	unpaid int
	// owed is what Charge took while the first waiter had a reservation. It is
	// paid when that waiter is gone: charged at once, it would come between the
	// reservation and its cancelling, and Cancel would give back too little.
	owed int
}

// waiter is one held call. Its fields are guarded by Limiter.mu.
type waiter struct {
	cost    int
	unpaid  int // of cost, not reserved yet
	arrived time.Time
	elem    *list.Element
	// res is set while the waiter is first and a slot is free.
	res *rate.Reservation
	due time.Time
	in  bool          // let through
	now chan struct{} // buffered: look again
}

// Grant is a call let through. Hand it on by pointer: a copy could free the
// same slot twice.
type Grant struct {
	// Held is how long the call was held; 0 when it wasn't.
	Held time.Duration
	l    *Limiter
}

// Release frees the slot in flight. It may be called again, and on a zero
// Grant, but not from several goroutines at once.
func (g *Grant) Release() {
	if g.l == nil {
		return
	}
	l := g.l
	g.l = nil
	l.mu.Lock()
	l.inFlight--
	if l.queue.Len() > 0 {
		l.pump(time.Now())
	}
	l.mu.Unlock()
}

// New makes a limiter with a full bucket.
func New(o Options) *Limiter {
	o = o.Effective()
	return &Limiter{opts: o, bucket: rate.NewLimiter(o.limit(), o.Burst)}
}

func (o Options) limit() rate.Limit {
	if o.Rate == 0 {
		return rate.Inf
	}
	return rate.Limit(o.Rate)
}

// Acquire waits, in order of arrival, until there are cost tokens and a free
// slot, and takes them. A cost over the burst waits for a full bucket, and
// leaves it in debt for the rest. A cost under 1 counts as 1.
//
// The error is a [*Refused] when the call would be or was held for too long or
// too many are held (it costs no tokens), or ctx.Err() when the caller hung up
// (it costs none either). After a nil error the Grant must be released.
func (l *Limiter) Acquire(ctx context.Context, cost int) (Grant, error) {
	if err := ctx.Err(); err != nil {
		return Grant{}, err
	}
	cost = clampCost(cost)
	l.mu.Lock()
	t := time.Now() // under the lock: rate credits twice what runs backwards
	if l.queue.Len() == 0 && l.slotFree() && l.bucket.AllowN(t, l.down(cost)) {
		l.debit(t, cost-l.down(cost))
		l.inFlight++
		l.mu.Unlock()
		return Grant{l: l}, nil
	}
	w, refused := l.enqueue(t, cost)
	l.mu.Unlock()
	if refused != nil {
		return Grant{}, refused
	}
	return l.wait(ctx, w)
}

// enqueue makes the call a waiter, or says why it can't be one.
// l.mu is held.
func (l *Limiter) enqueue(t time.Time, cost int) (*waiter, *Refused) {
	eta := l.expect(t, cost)
	refused := &Refused{RetryAfter: retryAfter(eta)}
	switch {
	case l.queue.Len() >= l.opts.MaxQueue && l.opts.MaxHold > 0:
		refused.Reason = ReasonQueueFull
		return nil, refused
	case l.opts.MaxHold == 0, eta > l.opts.MaxHold:
		// Told now rather than after a wait that would end the same.
		refused.Reason = ReasonMaxHold
		return nil, refused
	}
	w := &waiter{cost: cost, unpaid: cost, arrived: t, now: make(chan struct{}, 1)}
	w.elem = l.queue.PushBack(w)
	l.unpaid += cost
	return w, nil
}

// wait holds w until it is let through, refused, or its caller hangs up.
func (l *Limiter) wait(ctx context.Context, w *waiter) (Grant, error) {
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	for {
		next, g, err := l.step(ctx, w)
		if next == 0 {
			return g, err
		}
		timer.Reset(next)
		select {
		case <-w.now:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

// step moves the queue on and says what became of w: how long until there is
// something to do for it again, or 0 and its end.
func (l *Limiter) step(ctx context.Context, w *waiter) (time.Duration, Grant, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := time.Now()
	l.pump(t)
	held := t.Sub(w.arrived)
	if w.in {
		// Also when the caller hung up a moment ago: the tokens are spent, and
		// whoever forwards the call sees the hang-up for itself.
		return 0, Grant{Held: max(held, 1), l: l}, nil
	}
	if err := ctx.Err(); err != nil {
		l.leave(t, w)
		return 0, Grant{}, err
	}
	deadline := w.arrived.Add(l.opts.MaxHold)
	if !t.Before(deadline) || w.res != nil && w.due.After(deadline) {
		l.leave(t, w)
		return 0, Grant{}, &Refused{
			Reason: ReasonMaxHold, RetryAfter: retryAfter(l.expect(t, w.cost)), Held: held,
		}
	}
	next := deadline
	if w.res != nil && w.due.Before(next) {
		next = w.due
	}
	return max(next.Sub(t), 1), Grant{}, nil
}

// pump lets through every waiter whose turn it is, and reserves for the first
// of the rest. l.mu is held.
func (l *Limiter) pump(t time.Time) {
	for e := l.queue.Front(); e != nil && l.slotFree(); e = l.queue.Front() {
		w, ok := e.Value.(*waiter)
		if !ok {
			panic("limit: the queue holds waiters only")
		}
		if w.res == nil {
			// Not before a slot is free: tokens taken earlier would let the
			// bucket fill up behind them, and one call too many through.
			w.res = l.bucket.ReserveN(t, l.down(w.cost))
			w.due = t.Add(w.res.DelayFrom(t))
			l.pay(w, l.down(w.cost))
			w.wake() // to wait for w.due
		}
		if w.due.After(t) {
			return
		}
		l.debit(t, w.unpaid)
		l.pay(w, w.unpaid)
		l.queue.Remove(e)
		w.in = true
		l.inFlight++
		w.wake()
		l.settle(t)
	}
}

// leave takes w out of the queue and gives back what it had reserved.
// l.mu is held.
func (l *Limiter) leave(t time.Time, w *waiter) {
	l.unreserve(t, w)
	l.pay(w, w.unpaid)
	l.queue.Remove(w.elem)
	l.pump(t)
}

// unreserve gives w's tokens back, if it has any. They are the last that were
// reserved, so all of them come back; what was refused since is charged now.
// l.mu is held.
func (l *Limiter) unreserve(t time.Time, w *waiter) {
	if w.res == nil {
		return
	}
	w.res.CancelAt(t)
	w.res = nil
	l.pay(w, w.unpaid-w.cost)
	l.settle(t)
}

func (l *Limiter) pay(w *waiter, n int) {
	w.unpaid -= n
	l.unpaid -= n
}

// settle charges what was refused while the first waiter had a reservation.
// l.mu is held and nobody has one.
func (l *Limiter) settle(t time.Time) {
	owed := l.owed
	l.owed = 0
	l.charge(t, owed)
}

// Charge takes tokens for a refused call, without waiting: a script that asks
// for what it may not have pays for the asking. Refusals alone never put the
// bucket deeper than one burst into debt, and don't delay a call that already
// waits for its tokens, so they slow a script down but can't lock it out.
// Calls that Acquire refused are not to be charged.
func (l *Limiter) Charge(cost int) {
	if cost <= 0 {
		return
	}
	cost = clampCost(cost)
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.queue.Front(); e != nil {
		if w, ok := e.Value.(*waiter); ok && w.res != nil {
			l.owed = min(l.owed+cost, 2*l.opts.Burst)
			return
		}
	}
	l.charge(time.Now(), cost)
}

func (l *Limiter) charge(t time.Time, cost int) {
	if cost <= 0 || l.opts.Rate == 0 {
		return
	}
	l.debit(t, l.chargeable(l.bucket.TokensAt(t), cost))
}

// chargeable is how much of cost a refusal may take from a bucket with tokens.
func (l *Limiter) chargeable(tokens float64, cost int) int {
	return int(min(float64(cost), max(tokens+float64(l.opts.Burst), 0)))
}

// debit takes n tokens now, whether they are there or not. l.mu is held.
func (l *Limiter) debit(t time.Time, n int) {
	if n <= 0 || l.opts.Rate == 0 {
		return
	}
	// rate refuses more than a burst at a time; a wider bucket for the moment
	// is the same as many reservations in a row.
	l.bucket.SetBurstAt(t, max(n, l.opts.Burst))
	l.bucket.ReserveN(t, n)
	l.bucket.SetBurstAt(t, l.opts.Burst)
}

// Update puts new options in force (a reload). Calls in flight go on, waiters
// keep their place and are held to the new MaxHold, counted from when they
// came; a queue that is longer than a new MaxQueue drains. Debt stays.
func (l *Limiter) Update(o Options) {
	o = o.Effective()
	l.mu.Lock()
	defer l.mu.Unlock()
	t := time.Now()
	l.pump(t) // who was due under the old options goes under them
	if e := l.queue.Front(); e != nil {
		if w, ok := e.Value.(*waiter); ok {
			l.unreserve(t, w)
		}
	}
	l.opts = o
	l.bucket.SetLimitAt(t, o.limit())
	l.bucket.SetBurstAt(t, o.Burst)
	l.pump(t)
	for e := l.queue.Front(); e != nil; e = e.Next() {
		if w, ok := e.Value.(*waiter); ok {
			w.wake() // its deadline may have moved
		}
	}
}

// Stats is how many calls are let through and not released, and how many are
// held.
func (l *Limiter) Stats() (inFlight, queued int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight, l.queue.Len()
}

// expect is how long a call of cost that came now would wait for tokens behind
// those that are held. What slots add can't be known. l.mu is held.
func (l *Limiter) expect(t time.Time, cost int) time.Duration {
	if l.opts.Rate == 0 {
		return 0
	}
	tokens := l.bucket.TokensAt(t)
	need := float64(l.unpaid+l.chargeable(tokens, l.owed)+l.down(cost)) - tokens
	return seconds(need / l.opts.Rate)
}

// down is the part of a cost that has to be there before the call may go.
func (l *Limiter) down(cost int) int {
	if l.opts.Rate == 0 {
		return 0
	}
	return min(cost, l.opts.Burst)
}

func (l *Limiter) slotFree() bool {
	return l.opts.InFlight == 0 || l.inFlight < l.opts.InFlight
}

func (w *waiter) wake() {
	select {
	case w.now <- struct{}{}:
	default: // it was told already
	}
}

func retryAfter(d time.Duration) time.Duration {
	whole := (d + time.Second - 1).Truncate(time.Second)
	return max(whole, MinRetryAfter)
}
