package limit_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/limit"
)

func take(t *testing.T, s limit.Stage) (*limit.Grant, error) {
	t.Helper()
	g, err := s.Take(t.Context(), limit.Ask{MaxHold: -1})
	return &g, err
}

func mustTake(t *testing.T, s limit.Stage) *limit.Grant {
	t.Helper()
	g, err := take(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestEachCallerHasABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := limit.NewCallers(limit.Options{Rate: 1, Burst: 2})
		for _, who := range []string{"anna", "ben"} {
			for range 2 {
				mustTake(t, c.Get(who)).Release()
			}
			if _, err := take(t, c.Get(who)); err == nil {
				t.Errorf("%s has more than a burst", who)
			}
		}
	})
}

func TestCallersAreForgottenAtRestOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := limit.NewCallers(limit.Options{Rate: 1, Burst: 1, InFlight: 1})
		busy := mustTake(t, c.Get("busy")) // the longest not heard of
		spent := mustTake(t, c.Get("spent"))
		spent.Release()
		for i := range limit.MaxCallers - 2 {
			c.Get(fmt.Sprint("idle", i))
		}
		for i := range 100 {
			mustTake(t, c.Get(fmt.Sprint("new", i))).Release()
		}
		if n := c.Len(); n != limit.MaxCallers {
			t.Errorf("%d callers", n)
		}
		for _, who := range []string{"busy", "spent", "new0", "new99"} {
			if _, err := take(t, c.Get(who)); err == nil {
				t.Errorf("%s has a fresh budget", who)
			}
		}
		busy.Release()
		pause(2 * time.Second)
		mustTake(t, c.Get("busy")).Release()
	})
}

func TestCallersForWhomThereIsNoRoomShareABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := limit.NewCallers(limit.Options{Rate: 1, Burst: 3})
		for i := range limit.MaxCallers {
			mustTake(t, c.Get(fmt.Sprint("caller", i))).Release()
		}
		for i := range 3 {
			mustTake(t, c.Get(fmt.Sprint("late", i))).Release()
		}
		for i := range 20 {
			if _, err := take(t, c.Get(fmt.Sprint("later", i))); err == nil {
				t.Fatal("a new name got a fresh budget")
			}
		}
		if n := c.Len(); n != limit.MaxCallers {
			t.Errorf("%d callers", n)
		}
		pause(time.Hour) // all are at rest: there is room
		for range 3 {
			mustTake(t, c.Get("later0")).Release()
		}
		mustTake(t, c.Get("later1")).Release()
	})
}

func TestUpdateOfCallersWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := limit.NewCallers(limit.Options{Rate: 1, Burst: 1})
		for i := range limit.MaxCallers {
			mustTake(t, c.Get(fmt.Sprint("caller", i))).Release()
		}
		mustTake(t, c.Get("late")).Release()
		c.Update(limit.Options{Rate: 0.001, Burst: 1})
		pause(time.Minute)
		if _, err := take(t, c.Get("late")); err == nil {
			t.Error("those without room have the old options")
		}
	})
}

func TestUpdateOfCallersKeepsWhatIsSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := limit.NewCallers(limit.Options{Rate: 1, Burst: 2, InFlight: 2})
		g := mustTake(t, c.Get("anna"))
		mustTake(t, c.Get("anna")).Release()
		q := &line{t: t, l: c.Get("anna"), t0: time.Now(), at: map[string]time.Duration{}, errs: map[string]error{}}
		q.call(t.Context(), "held", 1, 0)
		c.Update(limit.Options{Rate: 10, Burst: 2, InFlight: 1})
		if c.Get("anna") != q.l {
			t.Error("the budget was replaced")
		}
		if in, queued := q.l.Stats(); in != 1 || queued != 1 {
			t.Errorf("%d in flight, %d held", in, queued)
		}
		pause(time.Second)
		if _, queued := q.l.Stats(); queued != 1 {
			t.Error("the slot that is in use was forgotten")
		}
		g.Release()
		q.wg.Wait()
		q.went("held", time.Second)
		mustTake(t, c.Get("new")).Release()
		if _, err := take(t, c.Get("new")); err != nil {
			t.Errorf("a new caller has the old options: %v", err)
		}
	})
}

// BenchmarkCallersGet is a known caller among as many as there may be.
func BenchmarkCallersGet(b *testing.B) {
	c := limit.NewCallers(limit.Options{Rate: 10})
	keys := make([]string, limit.MaxCallers)
	for i := range keys {
		keys[i] = fmt.Sprint("caller", i)
		c.Get(keys[i])
	}
	i := 0
	for b.Loop() {
		i++
		c.Get(keys[i%len(keys)])
	}
}
