package fleet

import (
	"container/list"
	"context"
	"math"
	"sync"
	"time"

	"stagedoor/limit"
)

const (
	// maxLease bounds what one proxy leases in advance, in tokens, however large
	// the budget: 1000.
	maxLease = 1000
	// leasePart is which part of the burst that is at most: a quarter, so that one
	// proxy leaves others something.
	leasePart = 4
	// maxLots is how many leases of different age a budget tells apart. More are
	// counted with the last, and so end a little early.
	maxLots = 4
	// minQuiet is the time between two attempts to lease in advance where Redis
	// gave nothing.
	minQuiet = 50 * time.Millisecond
	// minShift is the shortest time that a call which was put off waits before it
	// asks again.
	minShift = 10 * time.Millisecond
	// askAgain is how long Redis's word that there is nothing is taken for calls
	// that come later: 1 s. Then it is asked again, as others may have given back.
	askAgain = time.Second
	// maxBursts bounds what one call can cost: a dearer one is charged as this many
	// bursts. It also bounds how deep a budget can be in debt, and so for how long
	// it can be blocked by what another wrote into its key.
	maxBursts = 64
	// minRate is the lowest rate that is counted with: a call in 11 days.
	minRate = 1e-6
	// maxCost is limit's: a dearer call is charged as this many.
	maxCost = 1 << 20
	lanes   = 2
)

// MaxLease is how many tokens one proxy leases in advance at most: what the
// budget gives within a lease, a quarter of its burst, and 1000, whichever is
// least; at least 1. A call that costs more, or that waits, gets what it costs.
func MaxLease(o limit.Options, lease time.Duration) int {
	o = o.Effective()
	return int(max(1, min(maxLease, float64(o.Burst/leasePart), math.Ceil(o.Rate*lease.Seconds()))))
}

// FallBack is what this proxy enforces by itself while Redis is away: its share
// of the rate, and of the burst, but at least 1.
func FallBack(o limit.Options, share float64) limit.Options {
	o = o.Effective()
	own := limit.Options{
		Rate: o.Rate * share, Burst: max(1, int(float64(o.Burst)*share)), MaxHold: o.MaxHold, MaxQueue: o.MaxQueue,
	}
	if own.MaxHold == 0 {
		own.MaxHold = -1 // 0 is the default here, and none in what is effective
	}
	if own.MaxQueue == 0 {
		own.MaxQueue = -1
	}
	return own
}

// Overshoot is how many calls of cost 1 n proxies together let through at most
// beyond what the budget says, once: what they have leased and not used. It is a
// lease each, and never more than Redis gives in advance within one lease, which
// is the burst and twice the rate.
func Overshoot(o limit.Options, lease time.Duration, n int) int {
	o = o.Effective()
	each := float64(n) * float64(MaxLease(o, lease))
	return int(math.Ceil(min(each, float64(o.Burst)+2*o.Rate*lease.Seconds(), math.MaxInt32)))
}

// Budget is one budget that all proxies share. It implements [limit.Stage]. It
// is safe for concurrent use; use [Fleet.Budget].
type Budget struct {
	f     *Fleet
	name  string
	key   string
	share *limit.Limiter // while Redis is away

	mu   sync.Mutex    // guards all below
	opts limit.Options // effective
	max  int           // MaxLease
	lots []lot         // leased tokens, oldest first
	have int           // in lots
	lane [lanes]lane
	back int // tokens to give back
	owed int // by refused calls
	// quiet is until when nothing is leased in advance.
	quiet time.Time
	// What was asked for in this period of a lease's length and in the last.
	period     time.Time
	this, last int
	timer      *time.Timer // gives back what ages
	armed      bool
	ended      bool
}

// lot is tokens of one age.
type lot struct {
	n    int
	ends time.Time
}

// lane is the calls that wait in one lane.
type lane struct {
	queue  list.List // of *waiter, by arrival
	costs  int       // of them all
	asking bool      // an operation is under way
	due    *promise  // tokens that are ours later; nil is none
	// earliest is when a call that asks now could be let through, Redis said; until
	// heed it isn't asked again for a call that can't wait so long.
	earliest, heed time.Time
}

// promise is tokens that may be used in a while.
type promise struct {
	n     int
	shift int64
}

// waiter is a call that is held. Its fields are guarded by Budget.mu.
type waiter struct {
	cost    int
	hold    time.Duration
	arrived time.Time
	elem    *list.Element
	done    chan outcome // buffered; gets one
}

// outcome is what became of a waiter.
type outcome struct {
	kind  outcomeKind
	retry time.Duration
}

type outcomeKind uint8

const (
	letThrough outcomeKind = iota
	refused
	onItsOwn // Redis is away
)

// effective is o with its defaults, and no hold that Redis doesn't promise for. A
// rate that is next to none (a pause) is one that can be counted with.
func effective(o limit.Options) limit.Options {
	o = o.Effective()
	o.MaxHold = min(o.MaxHold, maxAhead)
	if o.Rate > 0 {
		o.Rate = max(o.Rate, minRate)
	}
	return o
}

func newBudget(f *Fleet, name string, o limit.Options) *Budget {
	share := limit.New(FallBack(o, f.opts.Share))
	o = effective(o)
	b := &Budget{
		f: f, name: name, key: f.opts.Prefix + ":budget:" + name, share: share,
		opts: o, max: MaxLease(o, f.opts.Lease), period: f.now(),
	}
	b.timer = time.AfterFunc(time.Hour, b.age)
	b.timer.Stop()
	return b
}

// Update puts new options in force; see [Fleet.Budget].
func (b *Budget) Update(o limit.Options) {
	b.share.Update(FallBack(o, b.f.opts.Share))
	o = effective(o)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.f.know(b, o.Rate > 0)
	b.opts, b.max = o, MaxLease(o, b.f.opts.Lease)
	for i := range b.lane {
		b.lane[i].heed = time.Time{}
	}
	if o.Rate == 0 {
		b.freeAll(letThrough)
	}
	b.settle()
}

// Take lets the call through at once where leased tokens are there, and leases
// more for the next. Else it is held: behind those of its lane that came before,
// for one answer of Redis, and until the budget has tokens for it, in the order
// in which the proxies asked. A cost over the burst waits for a full bucket, and
// leaves it in debt for the rest.
//
// Interactive calls go before all of the farm's, here and on other proxies.
//
// The error is a [*limit.Refused] when the call would be or was held for too
// long or too many are held (it costs no tokens), or ctx.Err() when the caller
// hung up (it costs none either, but what was leased for it stays leased). While
// Redis is away the call is let through by this proxy's share.
func (b *Budget) Take(ctx context.Context, a limit.Ask) (limit.Grant, error) {
	if err := ctx.Err(); err != nil {
		return limit.Grant{}, err
	}
	if int(a.Lane) >= lanes {
		a.Lane = limit.Farm
	}
	b.mu.Lock()
	cost := min(max(a.Cost, 1), maxCost, maxBursts*b.opts.Burst)
	if b.opts.Rate == 0 {
		b.mu.Unlock()
		return limit.Lent(b, 0, 0), nil
	}
	now := b.f.now()
	b.expire(now)
	b.note(now, cost)
	if b.have >= cost && b.ahead(a.Lane) == 0 {
		b.spend(cost)
		b.kick()
		b.mu.Unlock()
		return limit.Lent(b, cost, 0), nil
	}
	if b.f.isAway() {
		b.mu.Unlock()
		return b.alone(ctx, a)
	}
	w, err := b.enqueue(a, cost)
	b.kick()
	b.mu.Unlock()
	if err != nil {
		return limit.Grant{}, err
	}
	return b.wait(ctx, a, w)
}

// alone lets a call through by this proxy's share.
func (b *Budget) alone(ctx context.Context, a limit.Ask) (limit.Grant, error) {
	b.f.fellBack.Add(1)
	return b.share.Take(ctx, a)
}

// hold is how long the call may be held. b.mu is held.
func (b *Budget) hold(a limit.Ask) time.Duration {
	switch {
	case a.MaxHold < 0:
		return 0
	case a.MaxHold == 0:
		return b.opts.MaxHold
	}
	return min(a.MaxHold, b.opts.MaxHold)
}

// ahead is how many calls go before one that came now. b.mu is held.
func (b *Budget) ahead(l limit.Lane) int {
	n := b.lane[limit.Interactive].queue.Len()
	if l == limit.Farm {
		n += b.lane[limit.Farm].queue.Len()
	}
	return n
}

// enqueue makes the call a waiter, or says why it can't be one. b.mu is held.
func (b *Budget) enqueue(a limit.Ask, cost int) (*waiter, error) {
	l := &b.lane[a.Lane]
	now := time.Now()
	hold := b.hold(a)
	retry := retryAfter(l.earliest.Sub(now))
	switch {
	case b.ahead(a.Lane) >= max(b.opts.MaxQueue, 1):
		return nil, &limit.Refused{Reason: limit.ReasonQueueFull, RetryAfter: retry}
	case now.Before(l.heed) && l.earliest.After(now.Add(hold)):
		return nil, &limit.Refused{Reason: limit.ReasonMaxHold, RetryAfter: retry}
	}
	w := &waiter{cost: cost, hold: hold, arrived: now, done: make(chan outcome, 1)}
	w.elem = l.queue.PushBack(w)
	l.costs += cost
	return w, nil
}

// wait holds w until it is let through, refused, or its caller hangs up.
func (b *Budget) wait(ctx context.Context, a limit.Ask, w *waiter) (limit.Grant, error) {
	// One answer of Redis is waited for in any case: a proxy that had nothing to do
	// has no tokens, and would never get any for calls that can't be held.
	timer := time.NewTimer(max(w.hold, b.f.opts.Timeout))
	defer timer.Stop()
	var o outcome
	select {
	case o = <-w.done:
	case <-timer.C:
		o = b.giveUp(a.Lane, w)
	case <-ctx.Done():
		if o = b.giveUp(a.Lane, w); o.kind == refused {
			return limit.Grant{}, ctx.Err()
		}
	}
	held := time.Since(w.arrived)
	switch o.kind {
	case letThrough:
		return limit.Lent(b, w.cost, max(held, 1)), nil
	case onItsOwn:
		rest := w.hold - held
		if rest <= 0 {
			rest = -1 // 0 would ask for the budget's own bound
		}
		g, err := b.alone(ctx, limit.Ask{Cost: w.cost, Lane: a.Lane, MaxHold: rest})
		if err == nil {
			g.Held = max(time.Since(w.arrived), 1)
		}
		return g, err
	case refused:
	}
	return limit.Grant{}, &limit.Refused{Reason: limit.ReasonMaxHold, RetryAfter: o.retry, Held: held}
}

// giveUp takes w out of the queue, unless something became of it meanwhile.
func (b *Budget) giveUp(l limit.Lane, w *waiter) outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case o := <-w.done:
		return o
	default:
	}
	b.remove(l, w)
	b.settle()
	return outcome{kind: refused, retry: retryAfter(time.Until(b.lane[l].earliest))}
}

// remove takes w out of its queue. b.mu is held.
func (b *Budget) remove(l limit.Lane, w *waiter) {
	b.lane[l].queue.Remove(w.elem)
	b.lane[l].costs -= w.cost
}

// tell ends the wait of w. b.mu is held.
func (b *Budget) tell(l limit.Lane, w *waiter, o outcome) {
	b.remove(l, w)
	w.done <- o
}

// first is who waits longest in a lane; nil is nobody. b.mu is held.
func (b *Budget) first(l limit.Lane) *waiter {
	if e := b.lane[l].queue.Front(); e != nil {
		if w, ok := e.Value.(*waiter); ok {
			return w
		}
	}
	return nil
}

// settle hands out the tokens that are there, and asks for those that lack. What
// nobody waits for and is more than a lease goes back. b.mu is held.
func (b *Budget) settle() {
	for _, l := range []limit.Lane{limit.Interactive, limit.Farm} {
		for w := b.first(l); w != nil && b.have >= w.cost; w = b.first(l) {
			b.spend(w.cost)
			b.tell(l, w, outcome{kind: letThrough})
		}
	}
	if extra := b.have - b.max; extra > 0 && b.ahead(limit.Farm) == 0 {
		b.spend(extra)
		b.back += extra
		b.arm()
	}
	b.kick()
}

// spend takes n of the tokens that are there, the oldest first. b.mu is held.
func (b *Budget) spend(n int) {
	b.have -= n
	for n > 0 {
		k := min(n, b.lots[0].n)
		n -= k
		if b.lots[0].n -= k; b.lots[0].n == 0 {
			b.lots = append(b.lots[:0], b.lots[1:]...)
		}
	}
}

// put adds n tokens that end at a time. b.mu is held.
func (b *Budget) put(n int, ends time.Time) {
	if n <= 0 {
		return
	}
	b.have += n
	if k := len(b.lots); k == maxLots {
		b.lots[k-1].n += n // and end with those, a little early
	} else {
		b.lots = append(b.lots, lot{n: n, ends: ends})
	}
	b.arm()
}

// expire sets aside what is to be given back. b.mu is held.
func (b *Budget) expire(now time.Time) {
	for len(b.lots) > 0 && !now.Before(b.lots[0].ends) {
		b.back += b.lots[0].n
		b.spend(b.lots[0].n)
	}
}

// arm sees to it that age runs. b.mu is held.
func (b *Budget) arm() {
	if !b.armed && !b.ended {
		b.armed = true
		b.timer.Reset(b.f.opts.Lease)
	}
}

// age gives back what was leased and not used.
func (b *Budget) age() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed = false
	if b.ended {
		return
	}
	now := b.f.now()
	b.expire(now)
	if b.back > 0 && !b.f.isAway() && !b.lane[limit.Farm].asking {
		b.ask(limit.Farm, b.returning())
	}
	if len(b.lots) > 0 || b.back > 0 {
		b.armed = true
		next := b.f.opts.Lease
		if len(b.lots) > 0 {
			next = min(next, max(b.lots[0].ends.Sub(now), time.Millisecond))
		}
		b.timer.Reset(next)
	}
}

// note counts what is asked for. b.mu is held.
func (b *Budget) note(now time.Time, cost int) {
	switch since := now.Sub(b.period); {
	case since < 0, since >= 2*b.f.opts.Lease:
		b.last, b.this, b.period = 0, 0, now
	case since >= b.f.opts.Lease:
		b.last, b.this, b.period = b.this, 0, b.period.Add(b.f.opts.Lease)
	}
	b.this = min(b.this+cost, maxCost)
}

// target is how many tokens are to be there for calls to come: as many as were
// asked for within half a lease, and none for a single call. b.mu is held.
func (b *Budget) target() int { return min(max(b.this, b.last)/2, b.max) }

// kick asks Redis for what lacks, unless it is asked already. b.mu is held.
func (b *Budget) kick() {
	if b.f.isAway() || b.ended {
		return
	}
	for _, l := range []limit.Lane{limit.Interactive, limit.Farm} {
		if b.lane[l].queue.Len() > 0 && !b.lane[l].asking && b.lane[l].due == nil {
			b.ask(l, b.question(l))
		}
	}
	farm := &b.lane[limit.Farm]
	if farm.asking || farm.due != nil || b.ahead(limit.Farm) > 0 {
		return
	}
	if target := b.target(); target > 0 && b.have < (target+1)/2 && !time.Now().Before(b.quiet) {
		q := b.returning()
		q.more = target - b.have
		b.ask(limit.Farm, q)
	}
}

// returning is the part of every question that asks for nothing. b.mu is held.
func (b *Budget) returning() question {
	return question{rate: b.opts.Rate, burst: b.opts.Burst, back: b.back, owed: b.owed}
}

// question is what a lane has to ask now. b.mu is held.
func (b *Budget) question(l limit.Lane) question {
	q := b.returning()
	q.lane = l
	if w := b.first(l); w != nil {
		q.need, q.want = w.cost-b.have, b.lane[l].costs-b.have
		q.more = b.target()
		q.hold = max(w.hold-time.Since(w.arrived), 0)
	}
	return q
}

// ask starts an operation, unless there is nothing to count by any more: a brake
// that is over has no rate. What was leased of it comes back with time. b.mu is
// held.
func (b *Budget) ask(l limit.Lane, q question) {
	if q.rate == 0 {
		b.back, b.owed = 0, 0
		return
	}
	b.lane[l].asking = true
	if !b.f.start(func() { b.run(l, q) }) {
		b.lane[l].asking = false
		return
	}
	b.back, b.owed = 0, 0 // if the operation fails, they come back with time
}

// run is one operation.
func (b *Budget) run(l limit.Lane, q question) {
	ends := b.f.now().Add(b.f.opts.Lease) // from before Redis gave them
	ctx, cancel := b.f.operation()
	a, err := b.f.client.ask(ctx, b.key, q)
	cancel()
	b.mu.Lock()
	b.lane[l].asking = false
	if err != nil {
		b.mu.Unlock()
		b.f.lost(err)
		return
	}
	b.f.answered()
	b.count(q, a)
	b.got(l, q, a, ends)
	b.mu.Unlock()
}

func (b *Budget) count(q question, a answer) {
	if q.back > 0 {
		b.f.returned.Add(1)
	}
	switch {
	case a.given > 0:
		b.f.leases.Add(1)
	case q.want+q.more > 0:
		b.f.denied.Add(1)
	}
}

// got takes an answer. b.mu is held.
func (b *Budget) got(l limit.Lane, q question, a answer, ends time.Time) {
	ln := &b.lane[l]
	now := time.Now()
	switch {
	case a.given < 0:
		ln.earliest, ln.heed = now.Add(a.wait), now.Add(min(a.wait, askAgain))
		b.refuse(l, retryAfter(a.wait))
	case a.given == 0:
		if q.more > 0 {
			b.quiet = now.Add(max(a.wait, minQuiet))
		}
	case a.wait > 0:
		ln.earliest = time.Time{}
		p := &promise{n: a.given, shift: a.shift}
		ln.due = p
		b.later(a.wait, func() { b.keep(l, p) })
	default:
		ln.earliest = time.Time{}
		b.put(a.given, ends)
	}
	b.settle()
}

// refuse ends the wait of all in a lane that Redis has nothing for in time.
// Those for whom it may have are asked for again. b.mu is held.
func (b *Budget) refuse(l limit.Lane, retry time.Duration) {
	for e := b.lane[l].queue.Front(); e != nil; {
		next := e.Next()
		if w, ok := e.Value.(*waiter); ok && w.arrived.Add(w.hold).Before(b.lane[l].earliest) {
			b.tell(l, w, outcome{kind: refused, retry: retry})
		}
		e = next
	}
}

// later runs op after d, on a goroutine that Close waits for.
func (b *Budget) later(d time.Duration, op func()) {
	b.f.start(func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			op()
		case <-b.f.work.Done():
		}
	})
}

// keep takes what was promised, when it is due. On the farm's lane Redis is
// asked first whether interactive calls have put it off since.
func (b *Budget) keep(l limit.Lane, p *promise) {
	if l == limit.Farm && !b.f.isAway() {
		ctx, cancel := b.f.operation()
		shift, err := b.f.client.shift(ctx, b.key)
		cancel()
		if err != nil {
			b.f.lost(err)
		}
		if by := time.Duration(shift-p.shift) * time.Microsecond; err == nil && by > 0 {
			p.shift = shift
			b.later(min(max(by, minShift), maxAhead), func() { b.keep(l, p) })
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lane[l].due = nil
	b.put(p.n, b.f.now().Add(b.f.opts.Lease))
	b.settle()
}

// fallBack lets all who wait have this proxy's share.
func (b *Budget) fallBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.back, b.owed = 0, 0 // after an outage it would be news of another time
	b.freeAll(onItsOwn)
}

// freeAll ends the wait of all. b.mu is held.
func (b *Budget) freeAll(kind outcomeKind) {
	for l := range limit.Lane(lanes) {
		for w := b.first(l); w != nil; w = b.first(l) {
			b.tell(l, w, outcome{kind: kind})
		}
	}
}

// end stops the budget, and says what there is to give back.
func (b *Budget) end() (question, bool) {
	b.fallBack()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.timer.Stop()
	b.back += b.have
	b.spend(b.have)
	q := b.returning()
	b.back, b.owed = 0, 0
	return q, q.back > 0 && q.rate > 0
}

// Charge takes tokens for a refused call, without waiting: those that are there,
// or else of the next lease. Refusals alone never put the budget deeper than one
// burst into debt.
func (b *Budget) Charge(cost int) {
	if cost <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.opts.Rate == 0 {
		return
	}
	if b.f.isAway() {
		b.share.Charge(cost)
		return
	}
	n := min(cost, b.have)
	b.spend(n)
	b.owed = min(b.owed+cost-n, b.opts.Burst)
}

// Refund takes back the tokens of a call that never left. What is more than a
// lease goes back to Redis.
func (b *Budget) Refund(cost int) {
	if cost <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.opts.Rate == 0 || b.ended {
		return
	}
	b.put(min(cost, maxCost), b.f.now().Add(b.f.opts.Lease))
	b.settle()
}

// BudgetStats is how a [Budget] is.
type BudgetStats struct {
	Leased  int // tokens that are there
	Waiting int // calls that are held
}

// Stats is how it is now.
func (b *Budget) Stats() BudgetStats {
	b.mu.Lock()
	leased, waiting := b.have, b.ahead(limit.Farm)
	b.mu.Unlock()
	_, own := b.share.Stats()
	return BudgetStats{Leased: leased, Waiting: waiting + own}
}

// retryAfter is d in whole seconds, and at least what the header can say.
func retryAfter(d time.Duration) time.Duration {
	return max((d + time.Second - 1).Truncate(time.Second), limit.MinRetryAfter)
}
