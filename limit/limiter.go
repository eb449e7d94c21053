package limit

import (
	"container/list"
	"context"
	"math"
	"sync"
	"time"
)

// Limiter lets calls through in the order they came, those of the interactive
// lane before all others, at a rate and with a number in flight. It is safe for
// concurrent use; use [New].
type Limiter struct {
	mu     sync.Mutex
	opts   Options // effective
	bucket bucket
	// slots is what SetInFlight says; 0 is nothing.
	slots    int
	inFlight int
	queues   [lanes]queue
	// owed is what Charge took while the first waiter knew when it is due. It is
	// paid when that waiter is gone: charged at once, it would delay a call that
	// had its turn.
	owed int
}

// queue is a lane of held calls.
type queue struct {
	// list holds *waiter in order of arrival. Of all lanes only the very first
	// waits for tokens; whoever hangs up behind it has cost nothing.
	list   list.List
	unpaid int // the cost of them all
}

// waiter is one held call. Its fields are guarded by Limiter.mu.
type waiter struct {
	cost    int
	lane    Lane
	maxHold time.Duration // of its own; 0 is none
	arrived time.Time
	elem    *list.Element
	// due is when its tokens are there. It is set while the waiter is first and a
	// slot is free, and nothing else may touch the bucket without clearing it.
	due   time.Time
	in    bool          // let through
	taken int           // tokens
	now   chan struct{} // buffered: look again
}

// New makes a limiter with a full bucket.
func New(o Options) *Limiter {
	o = o.Effective()
	return &Limiter{opts: o, bucket: bucket{rate: o.Rate, burst: o.Burst, tokens: float64(o.Burst)}}
}

// Acquire is [Limiter.Take] in the farm's lane.
func (l *Limiter) Acquire(ctx context.Context, cost int) (Grant, error) {
	return l.Take(ctx, Ask{Cost: cost})
}

// Take waits until there are a.Cost tokens and a free slot, and takes them. A
// cost over the burst waits for a full bucket, and leaves it in debt for the
// rest. A cost under 1 counts as 1.
//
// Calls of a lane go in order of arrival, and those of the interactive lane
// before all of the farm's: one that arrives while a farm call waits for its
// last token goes first. Nothing is kept back for the farm: where interactive
// calls use up the whole rate its calls are held until their MaxHold and then
// refused for it.
//
// The error is a [*Refused] when the call would be or was held for too long or
// too many are held (it costs no tokens), or ctx.Err() when the caller hung up
// (it costs none either). After a nil error the Grant must be released or
// cancelled.
func (l *Limiter) Take(ctx context.Context, a Ask) (Grant, error) {
	if err := ctx.Err(); err != nil {
		return Grant{}, err
	}
	a.Cost = clampCost(a.Cost)
	if int(a.Lane) >= lanes {
		a.Lane = Farm
	}
	l.mu.Lock()
	t := time.Now() // under the lock, so that it doesn't run backwards
	if g, ok := l.pass(t, a); ok {
		l.mu.Unlock()
		return g, nil
	}
	w, refused := l.enqueue(t, a)
	l.mu.Unlock()
	if refused != nil {
		return Grant{}, refused
	}
	return l.wait(ctx, w)
}

// pass lets the call through at once if nobody is in front of it and all that
// it needs is there. l.mu is held.
func (l *Limiter) pass(t time.Time, a Ask) (Grant, bool) {
	waiting := l.ahead(Farm) > 0
	if waiting {
		l.pump(t) // whoever was due before goes before
	}
	if l.ahead(a.Lane) > 0 || !l.slotFree() {
		return Grant{}, false
	}
	tokens := l.bucket.level(t)
	if l.owed > 0 {
		tokens -= float64(l.chargeable(tokens, l.owed))
	}
	if tokens+grain < float64(l.down(a.Cost)) {
		return Grant{}, false
	}
	if waiting {
		l.unreserve(t) // a farm call that still lacks tokens
	}
	g := Grant{l: l, taken: l.debit(t, a.Cost)}
	l.inFlight++
	if waiting {
		l.pump(t)
	}
	return g, true
}

// enqueue makes the call a waiter, or says why it can't be one.
// l.mu is held.
func (l *Limiter) enqueue(t time.Time, a Ask) (*waiter, *Refused) {
	eta := l.expect(t, a)
	w := &waiter{cost: a.Cost, lane: a.Lane, maxHold: a.MaxHold, arrived: t, now: make(chan struct{}, 1)}
	hold := l.hold(w)
	refused := &Refused{RetryAfter: retryAfter(eta)}
	switch {
	case l.ahead(a.Lane) >= l.opts.MaxQueue && hold > 0:
		refused.Reason = ReasonQueueFull
		return nil, refused
	case hold <= 0, eta > hold:
		// Told now rather than after a wait that would end the same.
		refused.Reason = ReasonMaxHold
		return nil, refused
	}
	if first := l.first(); first != nil && first.lane < a.Lane {
		l.unreserve(t)
	}
	q := &l.queues[a.Lane]
	w.elem = q.list.PushBack(w)
	q.unpaid += a.Cost
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
		return 0, Grant{Held: max(held, 1), l: l, taken: w.taken}, nil
	}
	if err := ctx.Err(); err != nil {
		l.leave(t, w)
		return 0, Grant{}, err
	}
	deadline := w.arrived.Add(l.hold(w))
	if !t.Before(deadline) || w.due.After(deadline) {
		l.leave(t, w)
		return 0, Grant{}, &Refused{
			Reason: ReasonMaxHold, Held: held,
			RetryAfter: retryAfter(l.expect(t, Ask{Cost: w.cost, Lane: w.lane})),
		}
	}
	next := deadline
	if !w.due.IsZero() && w.due.Before(next) {
		next = w.due
	}
	return max(next.Sub(t), 1), Grant{}, nil
}

// pump lets through every waiter whose turn it is, and tells the first of the
// rest when it is due. l.mu is held.
func (l *Limiter) pump(t time.Time) {
	for w := l.first(); w != nil && l.slotFree(); w = l.first() {
		if w.due.IsZero() {
			// Not before a slot is free: tokens counted earlier would let the
			// bucket fill up behind them, and one call too many through.
			w.due = l.bucket.due(t, l.down(w.cost))
			w.wake() // to wait for w.due
		}
		if w.due.After(t) {
			return
		}
		// As of the time that they were there: what a late timer loses would
		// be lost to the rate.
		w.taken = l.debit(w.due, w.cost)
		w.in = true
		l.inFlight++
		l.remove(w)
		w.wake()
		l.settle(t)
	}
}

// leave takes w out of the queue; it has taken nothing. l.mu is held.
func (l *Limiter) leave(t time.Time, w *waiter) {
	if !w.due.IsZero() {
		l.unreserve(t)
	}
	l.remove(w)
	l.pump(t)
}

func (l *Limiter) remove(w *waiter) {
	q := &l.queues[w.lane]
	q.list.Remove(w.elem)
	q.unpaid -= w.cost
}

// first is the waiter whose turn it is next, nil for none. l.mu is held.
func (l *Limiter) first() *waiter {
	for i := lanes - 1; i >= 0; i-- {
		if e := l.queues[i].list.Front(); e != nil {
			w, ok := e.Value.(*waiter)
			if !ok {
				panic("limit: the queue holds waiters only")
			}
			return w
		}
	}
	return nil
}

// ahead is how many waiters go before a call of a lane that came now. l.mu is
// held.
func (l *Limiter) ahead(lane Lane) int {
	n := 0
	for i := int(lane); i < lanes; i++ {
		n += l.queues[i].list.Len()
	}
	return n
}

// unreserve makes the first waiter forget when it is due, so that the bucket
// may be touched; pump tells it again. What was refused since is charged now.
// l.mu is held.
func (l *Limiter) unreserve(t time.Time) {
	if w := l.first(); w != nil && !w.due.IsZero() {
		w.due = time.Time{}
		l.settle(t)
	}
}

// settle charges what was refused while the first waiter was due. l.mu is held
// and nobody is.
func (l *Limiter) settle(t time.Time) {
	owed := l.owed
	l.owed = 0
	l.charge(t, owed)
}

// release frees a slot and gives tokens back. A call that waits for its tokens
// so gets them earlier.
func (l *Limiter) release(tokens int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	if tokens == 0 && l.ahead(Farm) == 0 {
		return // the usual end of a call asks no clock
	}
	t := time.Now()
	l.pump(t)
	if tokens > 0 {
		l.unreserve(t)
		l.bucket.add(t, tokens)
		l.pump(t)
	}
}

// Charge takes tokens for a refused call, without waiting: a script that asks
// for what it may not have pays for the asking. Refusals alone never put the
// bucket deeper than one burst into debt, and don't delay a call that already
// waits for its tokens, so they slow a script down but can't lock it out.
// Calls that Take refused are not to be charged.
func (l *Limiter) Charge(cost int) {
	if cost <= 0 {
		return
	}
	cost = clampCost(cost)
	l.mu.Lock()
	defer l.mu.Unlock()
	if w := l.first(); w != nil && !w.due.IsZero() {
		l.owed = min(l.owed+cost, 2*l.opts.Burst)
		return
	}
	l.charge(time.Now(), cost)
}

func (l *Limiter) charge(t time.Time, cost int) {
	if cost > 0 {
		l.debit(t, l.chargeable(l.bucket.level(t), cost))
	}
}

// chargeable is how much of cost a refusal may take from a bucket with tokens.
func (l *Limiter) chargeable(tokens float64, cost int) int {
	return int(min(float64(cost), max(tokens+float64(l.opts.Burst)+grain, 0)))
}

// debit takes n tokens, whether they are there or not, and says how many that
// were: none without a rate. l.mu is held.
func (l *Limiter) debit(t time.Time, n int) int {
	if l.opts.Rate == 0 {
		return 0
	}
	l.bucket.add(t, -n)
	return n
}

// Update puts new options in force (a reload). Calls in flight go on, waiters
// keep their place and are held to the new MaxHold, counted from when they
// came; a queue that is longer than a new MaxQueue drains. Tokens that were
// spent stay spent, debt stays, and what SetInFlight said holds on.
func (l *Limiter) Update(o Options) {
	o = o.Effective()
	l.change(func(t time.Time) {
		l.opts = o
		l.bucket.set(t, o.Rate, o.Burst)
		for i := range l.queues {
			for e := l.queues[i].list.Front(); e != nil; e = e.Next() {
				if w, ok := e.Value.(*waiter); ok {
					w.wake() // its deadline may have moved
				}
			}
		}
	})
}

// SetInFlight bounds the calls in flight below what the options say, for a
// budget that follows a site's health; 0 or less is the options' bound alone.
// Calls beyond a lower bound that are in flight go on.
func (l *Limiter) SetInFlight(n int) {
	n = max(n, 0)
	l.mu.Lock()
	same := l.slots == n
	l.mu.Unlock()
	if !same {
		l.change(func(time.Time) { l.slots = n })
	}
}

// change lets f change what is enforced, between two calls.
func (l *Limiter) change(f func(t time.Time)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := time.Now()
	l.pump(t) // who was due under the old options goes under them
	l.unreserve(t)
	f(t)
	l.pump(t)
}

// Stats is how many calls are let through and not released, and how many are
// held.
func (l *Limiter) Stats() (inFlight, queued int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight, l.ahead(Farm)
}

// Queued is how many calls of a lane are held.
func (l *Limiter) Queued(lane Lane) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queues[lane].list.Len()
}

// expect is how long a call that came now would wait for tokens behind those
// that go before it. What slots add, and calls of a better lane that come
// later, can't be known. l.mu is held.
func (l *Limiter) expect(t time.Time, a Ask) time.Duration {
	if l.opts.Rate == 0 {
		return 0
	}
	tokens := l.bucket.level(t)
	need := l.down(a.Cost)
	for i := int(a.Lane); i < lanes; i++ {
		need += l.queues[i].unpaid
	}
	if w := l.first(); l.owed > 0 && w != nil {
		after := tokens
		if w.lane >= a.Lane {
			after -= float64(l.down(w.cost)) // it goes first, then the debt is paid
		}
		need += l.chargeable(after, l.owed)
	}
	return seconds((float64(need) - tokens) / l.opts.Rate)
}

// hold is how long w may be held. l.mu is held.
func (l *Limiter) hold(w *waiter) time.Duration {
	if w.maxHold == 0 {
		return l.opts.MaxHold
	}
	return min(w.maxHold, l.opts.MaxHold)
}

// down is the part of a cost that has to be there before the call may go.
func (l *Limiter) down(cost int) int {
	if l.opts.Rate == 0 {
		return 0
	}
	return min(cost, l.opts.Burst)
}

func (l *Limiter) slotFree() bool {
	n := l.opts.InFlight
	if l.slots > 0 && (n == 0 || l.slots < n) {
		n = l.slots
	}
	return n == 0 || l.inFlight < n
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
