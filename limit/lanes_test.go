package limit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/limit"
)

func (q *line) artist(name string, cost int) {
	q.ask(q.t.Context(), name, limit.Ask{Cost: cost, Lane: limit.Interactive}, 0)
}

func (q *line) farm(name string, cost int) { q.ask(q.t.Context(), name, limit.Ask{Cost: cost}, 0) }

func (q *line) inOrder(want ...string) {
	q.t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Equal(q.order, want) {
		q.t.Errorf("went in the order %v, want %v", q.order, want)
	}
}

// free is how many calls could go at once now; it takes them.
func (q *line) free() int {
	q.t.Helper()
	for n := range 10000 {
		g, err := q.l.Take(q.t.Context(), limit.Ask{MaxHold: -1})
		if err != nil {
			return n
		}
		g.Release()
	}
	q.t.Fatal("nothing holds")
	return 0
}

func TestInteractiveGoesBeforeTheFarm(t *testing.T) {
	bubble(t, limit.Options{Rate: 10, Burst: 5}, func(q *line) {
		q.spend(5)
		q.farm("f1", 1)
		q.farm("f2", 1)
		q.artist("a1", 1)
		q.artist("a2", 1)
		q.wg.Wait()
		q.inOrder("a1", "a2", "f1", "f2")
		for i, n := range q.order {
			q.went(n, time.Duration(i+1)*100*ms)
		}
	})
}

func TestInteractiveTakesAFarmCallsTurn(t *testing.T) {
	bubble(t, limit.Options{Rate: 10, Burst: 5}, func(q *line) {
		q.spend(5)
		q.farm("batch", 5) // due at 500 ms
		pause(450 * ms)
		q.artist("now", 4) // there are 4.5 tokens
		q.went("now", 450*ms)
		q.artist("soon", 1)
		q.wg.Wait()
		q.went("soon", 500*ms)
		q.went("batch", 1000*ms)
	})
}

func TestInteractiveThatHangsUpGivesTheTurnBack(t *testing.T) {
	bubble(t, limit.Options{Rate: 10, Burst: 5}, func(q *line) {
		q.spend(5)
		q.farm("farm", 2) // due at 200 ms
		pause(50 * ms)
		ctx, hangUp := context.WithCancel(q.t.Context())
		q.ask(ctx, "artist", limit.Ask{Cost: 5, Lane: limit.Interactive}, 0)
		pause(200 * ms) // the farm's turn is past, and there are 2.5 tokens
		hangUp()
		q.wg.Wait()
		q.went("farm", 250*ms)
		if n := q.free(); n != 0 { // half a token
			t.Errorf("%d tokens too many", n)
		}
		pause(50 * ms)
		if n := q.free(); n != 1 {
			t.Errorf("%d tokens, want 1: one is lost", n)
		}
	})
}

func TestInteractivePaysForRefusalsBeforeIt(t *testing.T) {
	bubble(t, limit.Options{Rate: 10, Burst: 5}, func(q *line) {
		q.spend(5)
		q.farm("batch", 5)
		pause(350 * ms)
		q.l.Charge(3) // of the 3.5 tokens that are there
		q.artist("artist", 1)
		q.wg.Wait()
		q.went("artist", 400*ms)
		q.went("batch", 900*ms)
	})
}

func TestInteractiveGetsTheNextSlot(t *testing.T) {
	bubble(t, limit.Options{InFlight: 1}, func(q *line) {
		q.call(q.t.Context(), "slow", 1, time.Second)
		q.farm("f", 1)
		q.artist("a", 1)
		q.wg.Wait()
		q.inOrder("slow", "a", "f")
	})
}

// Nothing is kept back for the farm: its bound is what saves it from waiting
// for ever.
func TestFarmBehindSteadyInteractiveCallsIsRefusedAtItsBound(t *testing.T) {
	bubble(t, limit.Options{Rate: 10, Burst: 1, MaxHold: 3 * time.Second}, func(q *line) {
		q.spend(1)
		q.farm("farm", 1)
		for i := range 50 {
			q.artist(fmt.Sprint("a", i), 1)
			pause(100 * ms)
		}
		q.wg.Wait()
		r := q.refused("farm", limit.ReasonMaxHold, 3*time.Second)
		if r.Held != 3*time.Second || r.RetryAfter != time.Second {
			t.Errorf("held %v, retry after %v", r.Held, r.RetryAfter)
		}
		for i := range 50 {
			q.went(fmt.Sprint("a", i), time.Duration(i+1)*100*ms)
		}
	})
}

func TestEachLaneExpectsWhatGoesBeforeIt(t *testing.T) {
	bubble(t, limit.Options{Rate: 10, Burst: 1, MaxHold: 2 * time.Second}, func(q *line) {
		q.spend(1)
		for i := range 20 {
			q.farm(fmt.Sprint("f", i), 1)
		}
		q.farm("one too many", 1)
		if r := q.refused("one too many", limit.ReasonMaxHold, 0); r.RetryAfter != 3*time.Second {
			t.Errorf("retry after %v", r.RetryAfter)
		}
		q.artist("artist", 1)
		q.wg.Wait()
		q.went("artist", 100*ms)
		// The last of the farm's had just so much time, and the artist took it.
		q.refused("f19", limit.ReasonMaxHold, 2*time.Second)
		q.went("f18", 2*time.Second)
	})
}

func TestAFarmThatFillsTheQueueKeepsNobodyElseOut(t *testing.T) {
	bubble(t, limit.Options{Rate: 10, Burst: 1, MaxQueue: 2}, func(q *line) {
		q.spend(1)
		for _, n := range []string{"f1", "f2", "f3"} {
			q.farm(n, 1)
		}
		q.refused("f3", limit.ReasonQueueFull, 0)
		for _, n := range []string{"a1", "a2", "a3"} {
			q.artist(n, 1)
		}
		q.refused("a3", limit.ReasonQueueFull, 0)
		if f, a := q.l.Queued(limit.Farm), q.l.Queued(limit.Interactive); f != 2 || a != 2 {
			t.Errorf("%d of the farm and %d interactive calls held", f, a)
		}
		q.wg.Wait()
		q.inOrder("a1", "a2", "f1", "f2")
	})
}

func TestACallsOwnBound(t *testing.T) {
	bubble(t, limit.Options{Rate: 1, Burst: 1, MaxHold: 5 * time.Second}, func(q *line) {
		q.spend(1)
		q.ask(q.t.Context(), "not held", limit.Ask{MaxHold: -1}, 0)
		q.refused("not held", limit.ReasonMaxHold, 0)
		q.ask(q.t.Context(), "too short", limit.Ask{MaxHold: 500 * ms}, 0)
		q.refused("too short", limit.ReasonMaxHold, 0)
		q.ask(q.t.Context(), "long enough", limit.Ask{MaxHold: time.Second}, 0)
		for range 4 {
			q.ask(q.t.Context(), "others", limit.Ask{MaxHold: time.Hour}, 0)
		}
		q.ask(q.t.Context(), "the budget's bound", limit.Ask{MaxHold: time.Hour}, 0)
		q.refused("the budget's bound", limit.ReasonMaxHold, 0)
		q.wg.Wait()
		q.went("long enough", time.Second)
		q.went("others", 5*time.Second)
	})
}

func TestAnUnknownLaneIsTheFarms(t *testing.T) {
	bubble(t, limit.Options{Rate: 1, Burst: 1}, func(q *line) {
		q.spend(1)
		q.ask(q.t.Context(), "?", limit.Ask{Lane: 7}, 0)
		if n := q.l.Queued(limit.Farm); n != 1 {
			t.Errorf("%d in the farm's lane", n)
		}
	})
}

func TestCancelGivesBackWhatWasTaken(t *testing.T) {
	for name, c := range map[string]struct {
		burst, cost int
		later       time.Duration
		free        int
	}{
		"at once":                       {burst: 10, cost: 4, free: 10},
		"later":                         {burst: 10, cost: 8, later: 300 * ms, free: 10},
		"never over the burst":          {burst: 10, cost: 4, later: time.Hour, free: 10},
		"a batch dearer than a burst":   {burst: 10, cost: 500, free: 10},
		"a cost of 0, which counts 1":   {burst: 10, cost: 0, free: 10},
		"a negative one, which does so": {burst: 10, cost: -7, free: 10},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, limit.Options{Rate: 10, Burst: c.burst, InFlight: 1}, func(q *line) {
				g, err := q.l.Acquire(q.t.Context(), c.cost)
				if err != nil {
					t.Fatal(err)
				}
				pause(c.later)
				g.Cancel()
				g.Cancel()
				g.Release()
				if n := q.free(); n != c.free {
					t.Errorf("%d calls could go, want %d", n, c.free)
				}
			})
		})
	}
	t.Run("exactly, of a bucket that is not full", func(t *testing.T) {
		bubble(t, limit.Options{Rate: 10, Burst: 10}, func(q *line) {
			g, _ := q.l.Acquire(q.t.Context(), 3)
			q.spend(7)
			g.Cancel()
			if n := q.free(); n != 3 {
				t.Errorf("%d calls could go, want 3", n)
			}
			g, err := q.l.Acquire(q.t.Context(), 2) // held for 200 ms
			if err != nil || g.Held != 200*ms {
				t.Fatalf("held %v, %v", g.Held, err)
			}
			g.Cancel()
			if n := q.free(); n != 2 {
				t.Errorf("%d calls could go, want 2", n)
			}
		})
	})
	t.Run("after Release nothing", func(t *testing.T) {
		bubble(t, limit.Options{Rate: 10, Burst: 10}, func(q *line) {
			g, _ := q.l.Acquire(q.t.Context(), 3)
			g.Release()
			g.Cancel()
			if n := q.free(); n != 7 {
				t.Errorf("%d calls could go, want 7", n)
			}
		})
	})
	t.Run("nothing of what was unlimited", func(t *testing.T) {
		bubble(t, limit.Options{}, func(q *line) {
			g, _ := q.l.Acquire(q.t.Context(), 3)
			q.l.Update(limit.Options{Rate: 10, Burst: 10})
			q.spend(10)
			g.Cancel()
			if n := q.free(); n != 0 {
				t.Errorf("%d calls could go, want 0", n)
			}
		})
	})
	t.Run("to whoever waits", func(t *testing.T) {
		bubble(t, limit.Options{Rate: 10, Burst: 5}, func(q *line) {
			g, _ := q.l.Acquire(q.t.Context(), 3)
			q.spend(2)
			q.farm("f1", 5)
			q.farm("f2", 1)
			pause(100 * ms)
			q.l.Charge(1)
			g.Cancel()
			// 1 has come, 3 came back, 1 was charged: a Charge doesn't delay who
			// waits, but here the turn is given anew.
			q.wg.Wait()
			q.went("f1", 300*ms)
			q.went("f2", 400*ms)
		})
	})
}

func TestFewerAndMoreInFlight(t *testing.T) {
	bubble(t, limit.Options{InFlight: 3}, func(q *line) {
		for _, n := range []string{"a", "b", "c"} {
			q.call(q.t.Context(), n, 1, time.Second)
		}
		q.l.SetInFlight(1)
		for _, n := range []string{"d", "e", "f"} {
			q.call(q.t.Context(), n, 1, time.Second)
		}
		pause(1500 * ms) // d goes alone
		if in, queued := q.l.Stats(); in != 1 || queued != 2 {
			t.Errorf("%d in flight, %d held", in, queued)
		}
		q.l.Update(limit.Options{InFlight: 2}) // a reload changes nothing of it
		if in, queued := q.l.Stats(); in != 1 || queued != 2 {
			t.Errorf("%d in flight, %d held after a reload", in, queued)
		}
		q.l.SetInFlight(100) // the options' bound holds: e goes
		if in, queued := q.l.Stats(); in != 2 || queued != 1 {
			t.Errorf("%d in flight, %d held", in, queued)
		}
		q.l.Update(limit.Options{})
		q.l.SetInFlight(2)
		if in, queued := q.l.Stats(); in != 3 || queued != 0 {
			t.Errorf("%d in flight, %d held", in, queued)
		}
		q.wg.Wait()
	})
}

func TestASlotTakenAwayCostsNoTokens(t *testing.T) {
	bubble(t, limit.Options{Rate: 1, Burst: 3, InFlight: 2}, func(q *line) {
		q.call(q.t.Context(), "slow", 3, 20*time.Second)
		ctx, hangUp := context.WithCancel(q.t.Context())
		q.call(ctx, "a", 2, 0) // due in 2 s
		pause(time.Second)
		q.l.SetInFlight(1)
		pause(9 * time.Second) // its time is past, without a slot
		hangUp()
		synctest.Wait()
		q.l.SetInFlight(0)
		if n := q.free(); n != 3 {
			t.Errorf("%d calls could go, want 3", n)
		}
		q.wg.Wait()
		if !errors.Is(q.errs["a"], context.Canceled) {
			t.Error(q.errs["a"])
		}
	})
}

func TestUpdateKeepsLanesAndWhatIsSpent(t *testing.T) {
	bubble(t, limit.Options{Rate: 1, Burst: 4, InFlight: 4}, func(q *line) {
		g, _ := q.l.Acquire(q.t.Context(), 4)
		q.farm("f1", 1)
		q.artist("a1", 1)
		q.l.Update(limit.Options{Rate: 10, Burst: 8, InFlight: 2})
		q.farm("f2", 1)
		q.artist("a2", 1)
		if in, queued := q.l.Stats(); in != 1 || queued != 4 {
			t.Errorf("%d in flight, %d held", in, queued)
		}
		q.wg.Wait()
		q.inOrder("a1", "a2", "f1", "f2")
		for i, n := range q.order {
			q.went(n, time.Duration(i+1)*100*ms)
		}
		g.Cancel()
		if n := q.free(); n != 4 {
			t.Errorf("%d calls could go, want the 4 that came back", n)
		}
	})
}

func TestInterruptedWaitsLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newLine(t, limit.Options{Rate: 10, Burst: 5})
		q.spend(5)
		var hangUps []context.CancelFunc
		for i := range 20 {
			ctx, hangUp := context.WithCancel(t.Context())
			hangUps = append(hangUps, hangUp)
			q.ask(ctx, fmt.Sprint(i), limit.Ask{Cost: 5, Lane: limit.Lane(i % 2)}, 0)
		}
		for i := range hangUps {
			hangUps[i*7%20]()
			synctest.Wait()
		}
		q.wg.Wait()
		pause(500 * ms)
		if n := q.free(); n != 5 {
			t.Errorf("%d calls could go, want 5", n)
		}
	})
}
