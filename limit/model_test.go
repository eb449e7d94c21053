package limit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/limit"
)

// The model counts time in ticks, and tokens in the parts of one that come with
// a tick at the lowest rate.
const (
	tick      = 10 * time.Microsecond
	parts     = 10_000 // of a token: one a tick is 10 tokens per second
	tickRate  = 10.0
	modelAsks = 400 // events of one run
	modelRuns = 12
	// Events are apart from each other, and from when tokens come and holds end,
	// by a few ticks at least: what happens at the same instant has no order.
	apart = 6
)

// outcome is what became of a call.
type outcome struct {
	at  int    // tick
	why string // "went", a limit.Reason or "hung up"
}

// modelCall is a call of the model.
type modelCall struct {
	id, cost, lane, hold, arrived int
}

// model is the limiter as one would do it by hand: it looks at everything anew
// with each tick.
type model struct {
	now                                       int
	level, perTick, burst                     int
	inFlight, most, health, maxHold, maxQueue int
	owed                                      int // tokens
	waiting                                   [2][]*modelCall
	running                                   []*modelCall
	done                                      map[int]outcome
}

func (m *model) first() *modelCall {
	for lane := 1; lane >= 0; lane-- {
		if len(m.waiting[lane]) > 0 {
			return m.waiting[lane][0]
		}
	}
	return nil
}

func (m *model) slot() bool {
	return (m.most == 0 || m.inFlight < m.most) && (m.health == 0 || m.inFlight < m.health)
}

func (m *model) charge(cost int) {
	most := max((m.level+m.burst*parts)/parts, 0)
	m.level -= min(cost, most) * parts
}

func (m *model) settle() { m.charge(m.owed); m.owed = 0 }

// counting says whether the first call waits for tokens only.
func (m *model) counting() bool { return m.first() != nil && m.slot() }

func (m *model) drop(c *modelCall, why string) {
	m.waiting[c.lane] = slices.DeleteFunc(m.waiting[c.lane], func(o *modelCall) bool { return o == c })
	m.done[c.id] = outcome{m.now, why}
}

func (m *model) wait(c *modelCall) int { return min(c.hold, m.maxHold) }

// lack is what the first call waits for.
func (m *model) lack() int { return min(m.first().cost, m.burst)*parts - m.level }

// pass lets go whoever can.
func (m *model) pass() {
	for m.counting() && m.lack() <= 0 {
		c := m.first()
		m.level -= c.cost * parts
		m.inFlight++
		m.running = append(m.running, c)
		m.drop(c, "went")
		m.settle()
	}
}

// turn lets go whoever can, and refuses the first of the rest if it can't go in
// time.
func (m *model) turn() {
	for m.pass(); m.counting(); m.pass() {
		c := m.first()
		if m.now+(m.lack()+m.perTick-1)/m.perTick <= c.arrived+m.wait(c) {
			return
		}
		m.drop(c, string(limit.ReasonMaxHold))
		m.settle()
	}
}

func (m *model) until(t int) {
	for m.now < t {
		m.now++
		m.level = min(m.level+m.perTick, m.burst*parts)
		m.turn()
		for lane := range m.waiting {
			for _, c := range slices.Clone(m.waiting[lane]) {
				if m.now >= c.arrived+m.wait(c) {
					if c == m.first() && m.slot() {
						m.settle()
					}
					m.drop(c, string(limit.ReasonMaxHold))
					m.turn()
				}
			}
		}
	}
}

func (m *model) arrive(c *modelCall) {
	ahead, need := len(m.waiting[1]), 0
	if c.lane == 0 {
		ahead += len(m.waiting[0])
	}
	for lane := c.lane; lane < 2; lane++ {
		for _, o := range m.waiting[lane] {
			need += o.cost
		}
	}
	after := *m
	if first := m.first(); first != nil && first.lane >= c.lane {
		after.level -= min(first.cost, m.burst) * parts
	}
	before := after.level
	after.settle()
	lack := (need+min(c.cost, m.burst))*parts + before - after.level - m.level
	atOnce := ahead == 0 && m.slot() && lack <= 0
	switch {
	case !atOnce && ahead >= m.maxQueue && m.wait(c) > 0:
		m.done[c.id] = outcome{m.now, string(limit.ReasonQueueFull)}
	case !atOnce && (m.wait(c) <= 0 || lack > m.wait(c)*m.perTick):
		m.done[c.id] = outcome{m.now, string(limit.ReasonMaxHold)}
	default:
		if m.counting() && m.first().lane < c.lane {
			m.settle()
		}
		m.waiting[c.lane] = append(m.waiting[c.lane], c)
		m.turn()
	}
}

func (m *model) hangUp(c *modelCall) {
	if c == m.first() && m.slot() {
		m.settle()
	}
	m.drop(c, "hung up")
	m.turn()
}

func (m *model) end(c *modelCall, cancel bool) {
	m.running = slices.DeleteFunc(m.running, func(o *modelCall) bool { return o == c })
	m.inFlight--
	m.pass()
	if cancel {
		if m.counting() {
			m.settle()
		}
		m.level = min(m.level+c.cost*parts, m.burst*parts)
	}
	m.turn()
}

func (m *model) refusal(cost int) {
	if m.counting() {
		m.owed = min(m.owed+cost, 2*m.burst)
		return
	}
	m.charge(cost)
}

func (m *model) change(f func()) {
	if m.counting() {
		m.settle()
	}
	f()
	m.level = min(m.level, m.burst*parts)
	m.pass()
	for lane := range m.waiting {
		for _, c := range slices.Clone(m.waiting[lane]) {
			if m.now >= c.arrived+m.wait(c) {
				m.drop(c, string(limit.ReasonMaxHold))
			}
		}
	}
	m.turn()
}

// twin does the same to a limiter and to the model.
type twin struct {
	t     *testing.T
	rng   *rand.Rand
	t0    time.Time
	q     *line
	m     *model
	calls map[int]*modelCall
	hang  map[int]context.CancelFunc
	// These are written by the calls' goroutines, which the test waits for.
	grants map[int]*limit.Grant
	done   map[int]outcome
	// left is who went and wasn't cancelled, back what was given back, by tick.
	cancelled map[int]bool
	back      map[int]int
}

func (w *twin) options() limit.Options {
	return limit.Options{
		Rate: tickRate * float64(w.m.perTick), Burst: w.m.burst, InFlight: w.m.most,
		MaxHold: time.Duration(w.m.maxHold) * tick, MaxQueue: w.m.maxQueue,
	}
}

func (w *twin) choose() {
	pick := func(of ...int) int { return of[w.rng.IntN(len(of))] }
	w.m.perTick, w.m.burst, w.m.most = pick(1, 2), pick(1, 3, 5, 8), pick(0, 1, 2, 4)
	w.m.maxQueue = pick(1, 3, 100)
}

func (w *twin) arrive(id int) {
	c := &modelCall{id: id, cost: 1 + w.rng.IntN(4), lane: w.rng.IntN(2), hold: 1 << 40, arrived: w.m.now}
	if w.rng.IntN(10) == 0 {
		c.cost = 1 + w.rng.IntN(20)
	}
	a := limit.Ask{Cost: c.cost, Lane: limit.Lane(c.lane)}
	switch w.rng.IntN(6) {
	case 0:
		c.hold, a.MaxHold = -1, -1
	case 1, 2:
		c.hold = (1+w.rng.IntN(8000))*apart + apart/2
		a.MaxHold = time.Duration(c.hold) * tick
	}
	w.calls[id] = c
	ctx, hangUp := context.WithCancel(w.t.Context())
	w.hang[id] = hangUp
	w.q.wg.Go(func() {
		g, err := w.q.l.Take(ctx, a)
		why := "went"
		var r *limit.Refused
		switch {
		case errors.As(err, &r):
			why = string(r.Reason)
		case err != nil:
			why = "hung up"
		}
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		w.grants[id] = &g
		w.done[id] = outcome{int((time.Since(w.t0) + tick/2) / tick), why}
	})
	synctest.Wait()
	w.m.arrive(c)
}

// event does one thing at random.
func (w *twin) event(id int, changes bool) {
	switch n := w.rng.IntN(100); {
	case n < 55:
		w.arrive(id)
	case n < 78:
		w.end(n < 66)
	case n < 84:
		lane := w.rng.IntN(2)
		if all := w.m.waiting[lane]; len(all) > 0 {
			c := all[w.rng.IntN(len(all))]
			w.hang[c.id]()
			synctest.Wait()
			w.m.hangUp(c)
		}
	case n < 92:
		cost := 1 + w.rng.IntN(4)*w.rng.IntN(4)
		w.q.l.Charge(cost)
		w.m.refusal(cost)
	case n < 96:
		to := w.rng.IntN(5)
		w.q.l.SetInFlight(to)
		if to != w.m.health {
			w.m.change(func() { w.m.health = to })
		}
	case changes:
		w.m.change(w.choose)
		w.q.l.Update(w.options())
	}
	synctest.Wait()
}

func (w *twin) end(cancel bool) {
	if len(w.m.running) == 0 {
		return
	}
	c := w.m.running[w.rng.IntN(len(w.m.running))]
	w.m.end(c, cancel)
	w.q.mu.Lock()
	g := w.grants[c.id]
	w.q.mu.Unlock()
	switch {
	case g == nil:
		w.t.Fatalf("call %d of cost %d, lane %d, didn't go at %v", c.id, c.cost, c.lane, w.m.done[c.id])
	case cancel:
		g.Cancel()
		w.cancelled[c.id] = true
		w.back[w.m.now] += c.cost
	default:
		g.Release()
	}
	synctest.Wait()
}

func (w *twin) compare() {
	w.t.Helper()
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	for id := range w.m.done {
		want, got := w.m.done[id], w.done[id]
		if got.why != want.why || got.at < want.at-1 || got.at > want.at+1 {
			w.t.Fatalf("call %d %+v: %v, want %v", id, *w.calls[id], got, want)
		}
	}
	if len(w.done) != len(w.m.done) {
		w.t.Fatalf("%d calls have ended, want %d", len(w.done), len(w.m.done))
	}
}

// bounded looks at every span of time between two calls that went: no more
// tokens than a burst, what came meanwhile and what was given back.
func (w *twin) bounded() {
	w.t.Helper()
	type gone struct{ at, cost int }
	var all []gone
	for id, o := range w.done {
		if o.why == "went" {
			all = append(all, gone{o.at, w.calls[id].cost})
		}
	}
	slices.SortFunc(all, func(a, b gone) int { return a.at - b.at })
	for i := range all {
		spent := 0
		for j := i; j < len(all); {
			at := all[j].at
			debt := 0 // what a dear call takes beyond the burst is paid after it
			for ; j < len(all) && all[j].at == at; j++ {
				spent += all[j].cost
				debt = max(debt, all[j].cost-w.m.burst)
			}
			may := w.m.burst*parts + (at-all[i].at+2)*w.m.perTick
			for t, n := range w.back {
				if t >= all[i].at && t <= at {
					may += n * parts
				}
			}
			if (spent-max(debt, 0))*parts > may {
				w.t.Fatalf("%d tokens from tick %d to %d, want %d at most", spent, all[i].at, at, may/parts)
			}
		}
	}
}

// Calls in two lanes, ended, cancelled, hung up, refused and charged at random,
// while health and options change: they go as by hand, to a tick.
func TestLimiterAgainstModel(t *testing.T) {
	for seed := range uint64(modelRuns) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runModel(t, seed) })
		})
	}
}

func runModel(t *testing.T, seed uint64) {
	t.Helper()
	w := &twin{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), t0: time.Now(), m: &model{done: map[int]outcome{}},
		calls: map[int]*modelCall{}, hang: map[int]context.CancelFunc{}, grants: map[int]*limit.Grant{},
		done: map[int]outcome{}, cancelled: map[int]bool{}, back: map[int]int{},
	}
	w.choose()
	// It stays: a shorter one would refuse several at the same instant.
	w.m.maxHold = []int{9_999, 50_001, 200_001}[w.rng.IntN(3)]
	w.m.level = w.m.burst * parts
	w.q = newLine(t, w.options())
	changes := seed%2 == 1
	for id, phase := range w.rng.Perm(parts / 2 / apart)[:modelAsks] {
		at := w.m.now - w.m.now%(parts/2) + phase*apart
		for at <= w.m.now || w.rng.IntN(3) == 0 {
			at += parts / 2
		}
		pause(time.Until(w.t0.Add(time.Duration(at) * tick)))
		synctest.Wait()
		w.m.until(at)
		w.event(id, changes)
		w.compare()
	}
	for len(w.m.running) > 0 || w.m.first() != nil {
		at := w.m.now + parts + apart
		pause(time.Until(w.t0.Add(time.Duration(at) * tick)))
		synctest.Wait()
		w.m.until(at)
		w.end(false)
	}
	w.q.wg.Wait()
	w.compare()
	if !changes {
		w.bounded()
	}
	if in, queued := w.q.l.Stats(); in != 0 || queued != 0 {
		t.Errorf("left over: %d in flight, %d held", in, queued)
	}
	w.q.l.SetInFlight(0)
	pause(time.Minute)
	if n := w.q.free(); n != w.m.burst {
		t.Errorf("%d tokens after a rest, want the burst of %d", n, w.m.burst)
	}
	for _, hangUp := range w.hang {
		hangUp()
	}
}
