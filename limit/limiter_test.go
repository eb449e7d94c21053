package limit_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/limit"
)

// line is a queue of calls against one limiter inside a synctest bubble.
type line struct {
	t  *testing.T
	l  *limit.Limiter
	t0 time.Time
	wg sync.WaitGroup

	mu    sync.Mutex
	order []string
	at    map[string]time.Duration
	errs  map[string]error
}

func newLine(t *testing.T, o limit.Options) *line {
	t.Helper()
	return &line{
		t: t, l: limit.New(o), t0: time.Now(),
		at: map[string]time.Duration{}, errs: map[string]error{},
	}
}

// call asks for cost and keeps the slot for work; it returns once the call is
// through or in the queue.
func (q *line) call(ctx context.Context, name string, cost int, work time.Duration) {
	q.ask(ctx, name, limit.Ask{Cost: cost}, work)
}

// ask is call with a lane and a bound.
func (q *line) ask(ctx context.Context, name string, a limit.Ask, work time.Duration) {
	q.wg.Go(func() {
		g, err := q.l.Take(ctx, a)
		q.mu.Lock()
		q.at[name] = time.Since(q.t0)
		q.errs[name] = err
		if err == nil {
			q.order = append(q.order, name)
		}
		q.mu.Unlock()
		if err == nil && work > 0 {
			pause(work)
		}
		g.Release()
	})
	synctest.Wait()
}

// spend takes the whole burst.
func (q *line) spend(n int) {
	q.t.Helper()
	for range n {
		g, err := q.l.Acquire(q.t.Context(), 1)
		if err != nil || g.Held != 0 {
			q.t.Fatalf("a call of the burst: held %v, %v", g.Held, err)
		}
		g.Release()
	}
}

func (q *line) went(name string, want time.Duration) {
	q.t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.errs[name]; err != nil {
		q.t.Errorf("%s: %v", name, err)
	} else if got := q.at[name]; !near(got, want) {
		q.t.Errorf("%s went after %v, want %v", name, got, want)
	}
}

func (q *line) refused(name string, reason limit.Reason, want time.Duration) limit.Refused {
	q.t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	var r *limit.Refused
	if !errors.As(q.errs[name], &r) {
		q.t.Fatalf("%s: %v, want a refusal", name, q.errs[name])
	}
	if r.Reason != reason || !near(q.at[name], want) {
		q.t.Errorf("%s: %s after %v, want %s after %v", name, r.Reason, q.at[name], reason, want)
	}
	return *r
}

// near allows for the nanoseconds that tokens as floats lose.
func near(a, b time.Duration) bool { return (a - b).Abs() <= time.Microsecond }

// pause lets time pass in a bubble.
func pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}

func bubble(t *testing.T, o limit.Options, f func(*line)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q := newLine(t, o)
		f(q)
		q.wg.Wait()
		if in, queued := q.l.Stats(); in != 0 || queued != 0 {
			t.Errorf("left over: %d in flight, %d queued", in, queued)
		}
	})
}

const ms = time.Millisecond

func TestHeldInOrderOfArrival(t *testing.T) {
	bubble(t, limit.Options{Rate: 10, Burst: 2}, func(q *line) {
		q.spend(2)
		want := []string{"a", "b", "c", "d", "e"}
		for _, n := range want {
			q.call(q.t.Context(), n, 1, 0)
		}
		q.wg.Wait()
		if !slices.Equal(q.order, want) {
			t.Errorf("order %v, want %v", q.order, want)
		}
		for i, n := range want {
			q.went(n, time.Duration(i+1)*100*ms)
		}
	})
}

func TestSmallCallDoesNotOvertakeBatch(t *testing.T) {
	bubble(t, limit.Options{Rate: 10, Burst: 5}, func(q *line) {
		q.spend(5)
		q.call(q.t.Context(), "batch", 4, 0)
		q.call(q.t.Context(), "read", 1, 0)
		q.wg.Wait()
		q.went("batch", 400*ms)
		q.went("read", 500*ms)
	})
}

func TestHungUpCallerCostsNothing(t *testing.T) {
	for _, who := range []string{"first", "middle"} {
		t.Run(who, func(t *testing.T) {
			bubble(t, limit.Options{Rate: 10, Burst: 5}, func(q *line) {
				q.spend(5)
				ctx, hangUp := context.WithCancel(q.t.Context())
				ctxs := map[string]context.Context{who: ctx}
				for _, n := range []string{"first", "middle", "last"} {
					c := ctxs[n]
					if c == nil {
						c = q.t.Context()
					}
					q.call(c, n, 2, 0)
				}
				pause(150 * ms)
				q.l.Charge(1) // comes between the reservation and its end
				hangUp()
				q.wg.Wait()
				if !errors.Is(q.errs[who], context.Canceled) || !near(q.at[who], 150*ms) {
					t.Errorf("%s: %v after %v", who, q.errs[who], q.at[who])
				}
				// Two calls of 2 tokens, 1 charged: 5 tokens, whoever left. A
				// refusal does not delay a call that has reserved already.
				if who == "middle" {
					q.went("first", 200*ms)
				} else {
					q.went("middle", 300*ms)
				}
				q.went("last", 500*ms)
			})
		})
	}
}

func TestDearCallWaitsForFullBucketAndLeavesDebt(t *testing.T) {
	bubble(t, limit.Options{Rate: 10, Burst: 5}, func(q *line) {
		q.spend(2)
		q.call(q.t.Context(), "batch of 12", 12, 0)
		q.call(q.t.Context(), "next", 1, 0)
		q.wg.Wait()
		q.went("batch of 12", 200*ms)
		q.went("next", 200*ms+800*ms)
	})
}

func TestChargeDebtIsBoundedToABurst(t *testing.T) {
	bubble(t, limit.Options{Rate: 10, Burst: 5}, func(q *line) {
		for range 1000 {
			q.l.Charge(3)
		}
		q.call(q.t.Context(), "a", 1, 0)
		for range 1000 {
			q.l.Charge(3)
		}
		q.call(q.t.Context(), "b", 1, 0)
		q.wg.Wait()
		q.went("a", 600*ms)
		// The bucket was at 0 when a went, then paid for the refusals.
		q.went("b", 600*ms+600*ms)
		if worst := limit.LongestWait(limit.Options{Rate: 10, Burst: 5}, 1); worst != 600*ms {
			t.Errorf("longest wait %v", worst)
		}
	})
}

func TestInFlight(t *testing.T) {
	bubble(t, limit.Options{InFlight: 2}, func(q *line) {
		for _, n := range []string{"a", "b", "c", "d"} {
			q.call(q.t.Context(), n, 7, time.Second)
		}
		if in, queued := q.l.Stats(); in != 2 || queued != 2 {
			t.Errorf("%d in flight, %d queued", in, queued)
		}
		q.wg.Wait()
		for n, want := range map[string]time.Duration{"a": 0, "b": 0, "c": time.Second, "d": time.Second} {
			q.went(n, want)
		}
	})
}

func TestSlotFirstThenTokens(t *testing.T) {
	// While a call waits for a slot the bucket fills up, to the burst and no
	// further: 3 at once after it, not 4.
	bubble(t, limit.Options{Rate: 1, Burst: 3, InFlight: 1}, func(q *line) {
		q.call(q.t.Context(), "slow", 1, 10*time.Second)
		for _, n := range []string{"a", "b", "c", "d"} {
			q.call(q.t.Context(), n, 1, 0)
		}
		q.wg.Wait()
		for n, want := range map[string]time.Duration{"a": 10 * time.Second, "b": 10 * time.Second, "c": 10 * time.Second, "d": 11 * time.Second} {
			q.went(n, want)
		}
	})
}

func TestReleaseIsIdempotent(t *testing.T) {
	l := limit.New(limit.Options{InFlight: 1})
	g, err := l.Acquire(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	g.Release()
	g.Release()
	var zero limit.Grant
	zero.Release()
	if in, _ := l.Stats(); in != 0 {
		t.Errorf("%d in flight", in)
	}
}

func TestMaxHold(t *testing.T) {
	t.Run("known at once from the queue", func(t *testing.T) {
		bubble(t, limit.Options{Rate: 1, Burst: 1, MaxHold: 3 * time.Second}, func(q *line) {
			q.spend(1)
			for _, n := range []string{"a", "b", "c", "d"} {
				q.call(q.t.Context(), n, 1, 0)
			}
			r := q.refused("d", limit.ReasonMaxHold, 0)
			if r.RetryAfter != 4*time.Second || r.Held != 0 {
				t.Errorf("retry after %v, held %v", r.RetryAfter, r.Held)
			}
			q.wg.Wait()
			q.went("c", 3*time.Second)
		})
	})
	t.Run("at the deadline when slots are short", func(t *testing.T) {
		bubble(t, limit.Options{InFlight: 1, MaxHold: 3 * time.Second}, func(q *line) {
			q.call(q.t.Context(), "slow", 1, time.Minute)
			q.call(q.t.Context(), "a", 1, 0)
			pause(4 * time.Second)
			r := q.refused("a", limit.ReasonMaxHold, 3*time.Second)
			if r.RetryAfter != limit.MinRetryAfter || r.Held != 3*time.Second {
				t.Errorf("retry after %v, held %v", r.RetryAfter, r.Held)
			}
		})
	})
	t.Run("negative holds none", func(t *testing.T) {
		bubble(t, limit.Options{Rate: 1, Burst: 1, MaxHold: -1}, func(q *line) {
			q.spend(1)
			q.call(q.t.Context(), "a", 1, 0)
			q.refused("a", limit.ReasonMaxHold, 0)
		})
	})
	t.Run("refused calls cost no tokens", func(t *testing.T) {
		bubble(t, limit.Options{Rate: 1, Burst: 1, MaxHold: time.Second}, func(q *line) {
			q.spend(1)
			for range 50 {
				q.call(q.t.Context(), "greedy", 3, 0)
				q.call(q.t.Context(), "again", 3, 0)
			}
			pause(10 * time.Second)
			q.l.Charge(0)
			q.spend(1)
		})
	})
}

func TestQueueBound(t *testing.T) {
	bubble(t, limit.Options{Rate: 1, Burst: 1, MaxQueue: 2}, func(q *line) {
		q.spend(1)
		for _, n := range []string{"a", "b", "c"} {
			q.call(q.t.Context(), n, 1, 0)
		}
		if r := q.refused("c", limit.ReasonQueueFull, 0); r.RetryAfter != 3*time.Second {
			t.Errorf("retry after %v", r.RetryAfter)
		}
		q.wg.Wait()
	})
	o := limit.Options{}.Effective()
	if o.MaxQueue != limit.DefaultMaxQueue || o.MaxHold != limit.DefaultMaxHold || o.Burst != 1 {
		t.Errorf("defaults: %+v", o)
	}
	if b := (limit.Options{Rate: 2.5}).Effective().Burst; b != 3 {
		t.Errorf("burst of 2.5/s: %d", b)
	}
}

func TestUpdateKeepsPlaces(t *testing.T) {
	old := limit.Options{Rate: 1, Burst: 1}
	bubble(t, old, func(q *line) {
		q.spend(1)
		for _, n := range []string{"a", "b", "c"} {
			q.call(q.t.Context(), n, 1, 0)
		}
		pause(500 * ms)
		q.l.Update(limit.Options{Rate: 10, Burst: 1})
		q.wg.Wait()
		// Half a token was there; the rest comes ten times as fast.
		q.went("a", 550*ms)
		q.went("b", 650*ms)
		q.went("c", 750*ms)
		if !slices.Equal(q.order, []string{"a", "b", "c"}) {
			t.Errorf("order %v", q.order)
		}
	})
	t.Run("unlimited lets all go", func(t *testing.T) {
		bubble(t, old, func(q *line) {
			q.spend(1)
			q.call(q.t.Context(), "a", 1, 0)
			q.call(q.t.Context(), "b", 9, 0)
			q.l.Update(limit.Options{})
			q.wg.Wait()
			q.went("a", 0)
			q.went("b", 0)
		})
	})
	t.Run("fewer slots, shorter hold", func(t *testing.T) {
		bubble(t, limit.Options{Rate: 1, Burst: 2, InFlight: 2}, func(q *line) {
			q.call(q.t.Context(), "slow", 2, time.Minute)
			q.call(q.t.Context(), "a", 1, 0)
			q.l.Update(limit.Options{Rate: 1, Burst: 2, InFlight: 1, MaxHold: 2 * time.Second})
			pause(5 * time.Second)
			q.refused("a", limit.ReasonMaxHold, 2*time.Second)
		})
	})
}

func TestCancelledContextTakesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := limit.New(limit.Options{Rate: 1, Burst: 1})
	if _, err := l.Acquire(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if g, err := l.Acquire(t.Context(), 1); err != nil || g.Held != 0 {
		t.Errorf("the token is gone: %v", err)
	}
}

func TestLongestWait(t *testing.T) {
	for _, c := range []struct {
		o    limit.Options
		cost int
		want time.Duration
	}{
		{limit.Options{}, 100, 0},
		{limit.Options{Rate: 20, Burst: 40}, 1, 2050 * ms},
		{limit.Options{Rate: 20, Burst: 40}, 40, 4 * time.Second},
		{limit.Options{Rate: 20, Burst: 40}, 500, 25 * time.Second},
	} {
		if got := limit.LongestWait(c.o, c.cost); got != c.want {
			t.Errorf("LongestWait(%+v, %d) = %v, want %v", c.o, c.cost, got, c.want)
		}
	}
	// It is reached: a batch of 500 behind another.
	bubble(t, limit.Options{Rate: 20, Burst: 40, MaxHold: time.Minute}, func(q *line) {
		q.call(q.t.Context(), "one", 500, 0)
		q.call(q.t.Context(), "other", 500, 0)
		q.wg.Wait()
		q.went("one", 0)
		q.went("other", 25*time.Second)
	})
}

// Many callers of every kind at once: nothing is lost, nothing hangs.
func TestRace(t *testing.T) {
	l := limit.New(limit.Options{Rate: 20000, Burst: 10, InFlight: 3, MaxHold: 50 * ms, MaxQueue: 20})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(j%7+1)*ms)
				a := limit.Ask{Cost: (i + j) % 14, Lane: limit.Lane(i % 2)}
				g, err := l.Take(ctx, a)
				var r *limit.Refused
				if err != nil && !errors.As(err, &r) && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				switch {
				case j%17 == 0:
					l.Charge(2)
				case j%13 == 0:
					g.Cancel()
				case j%19 == 0:
					l.SetInFlight(j % 4)
				case j%50 == 0:
					l.Update(limit.Options{Rate: float64(j * 1000), Burst: 5 + j%9, InFlight: j % 4})
				}
				g.Release()
				cancel()
			}
		})
	}
	wg.Wait()
	if in, queued := l.Stats(); in != 0 || queued != 0 {
		t.Errorf("left over: %d in flight, %d queued", in, queued)
	}
}

func TestFastPathDoesNotAllocate(t *testing.T) {
	l := limit.New(limit.Options{Rate: 1e9, Burst: 1 << 20, InFlight: 10})
	ctx := t.Context()
	n := testing.AllocsPerRun(1000, func() {
		g, err := l.Acquire(ctx, 1)
		if err != nil {
			t.Error(err)
		}
		g.Release()
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkAcquire is the fast path: a token and a slot are there. It doesn't
// measure held calls.
func BenchmarkAcquire(b *testing.B) {
	l := limit.New(limit.Options{Rate: 1e9, Burst: 1 << 20, InFlight: 10})
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		g, err := l.Acquire(ctx, 1)
		if err != nil {
			b.Fatal(err)
		}
		g.Release()
	}
}
