package limit_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/limit"
)

// site bears so many calls at a time and answers 503 to those beyond, at once.
type site struct {
	bears, running, failed atomic.Int64
	takes                  time.Duration
}

func (s *site) call() (failed bool) {
	defer s.running.Add(-1)
	if s.running.Add(1) > s.bears.Load() {
		s.failed.Add(1)
		pause(5 * ms)
		return true
	}
	pause(s.takes)
	return false
}

// crowd is many callers that want more of a site than it bears.
type crowd struct {
	t      *testing.T
	site   site
	health *limit.Health
	l      *limit.Limiter
	stop   atomic.Bool
	wg     sync.WaitGroup
}

func newCrowd(t *testing.T, callers, bears int, o limit.HealthOptions) *crowd {
	t.Helper()
	c := &crowd{t: t, health: limit.NewHealth(o), l: limit.New(limit.Options{InFlight: o.Max})}
	c.site.takes = 200 * ms
	c.site.bears.Store(int64(bears))
	for range callers {
		c.wg.Go(func() {
			for !c.stop.Load() {
				g, err := c.l.Take(t.Context(), limit.Ask{})
				if err != nil {
					continue // held for too long
				}
				left := time.Now()
				failed := c.site.call()
				now := time.Now()
				c.l.SetInFlight(c.health.Observe(now, failed, now.Sub(left)))
				g.Release()
			}
		})
	}
	return c
}

// watch is the least, the mean and the greatest limit over some seconds.
func (c *crowd) watch(seconds int) (least, mean, most int) {
	least = c.health.Limit()
	for range seconds * 10 {
		pause(100 * ms)
		n := c.health.Limit()
		least, most, mean = min(least, n), max(most, n), mean+n
	}
	return least, mean / (seconds * 10), most
}

func (c *crowd) end() {
	c.stop.Store(true)
	c.wg.Wait()
	if in, queued := c.l.Stats(); in != 0 || queued != 0 {
		c.t.Errorf("left over: %d in flight, %d held", in, queued)
	}
}

func TestHealthFindsWhatASiteBears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 100, 20, limit.HealthOptions{Max: 60, Min: 4})
		c.watch(10)
		least, mean, most := c.watch(60)
		if least < 20*6/10 || mean < 15 || most > 22 {
			t.Errorf("a site that bears 20 gets %d to %d, %d in the mean", least, most, mean)
		}
		before := c.site.failed.Load()
		c.watch(60)
		if n := c.site.failed.Load() - before; n > 600 { // of about 5 000
			t.Errorf("%d calls failed in a minute", n)
		}

		c.site.bears.Store(50)
		c.watch(60)
		least, mean, most = c.watch(60)
		if least < 50*6/10 || mean < 37 || most > 52 {
			t.Errorf("one that bears 50 then gets %d to %d, %d in the mean", least, most, mean)
		}

		c.site.bears.Store(1000)
		c.watch(60)
		if n := c.health.Limit(); n != 60 {
			t.Errorf("one that is well gets %d", n)
		}
		if why, _ := c.health.Last(); why != limit.HealthFull {
			t.Errorf("because %s", why)
		}
		c.end()
	})
}

func TestHealthIsNeverBelowMin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 20, 0, limit.HealthOptions{Max: 60, Min: 4})
		if least, _, _ := c.watch(60); least != 4 {
			t.Errorf("a site that is down gets %d, want 4", least)
		}
		if in, _ := c.l.Stats(); in > 4 {
			t.Errorf("%d calls in flight", in)
		}
		why, at := c.health.Last()
		if why != limit.HealthFailed || time.Since(at) > 2*time.Second {
			t.Errorf("%s, %v ago", why, time.Since(at))
		}
		c.site.bears.Store(1000)
		c.watch(120)
		if n := c.health.Limit(); n < 20 { // more than 20 callers never ask for
			t.Errorf("one that came back gets %d", n)
		}
		c.end()
	})
}

// answers is calls of a site one after the other, some a second.
type answers struct {
	h   *limit.Health
	now time.Time
}

func (a *answers) come(d, latency time.Duration, perSecond int) (least int) {
	least = a.h.Limit()
	for end := a.now.Add(d); a.now.Before(end); {
		a.now = a.now.Add(time.Second / time.Duration(perSecond))
		least = min(least, a.h.Observe(a.now, false, latency))
	}
	return least
}

func newAnswers(o limit.HealthOptions) *answers {
	return &answers{limit.NewHealth(o), time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)}
}

func TestRisingLatencyAloneShrinks(t *testing.T) {
	a := newAnswers(limit.HealthOptions{Max: 60, Min: 4})
	if least := a.come(time.Hour, 300*ms, 20); least != 60 {
		t.Fatalf("a site as it always is gets %d", least)
	}
	if now, usual := a.h.Latency(); now != 300*ms || usual != 300*ms {
		t.Errorf("it takes %v, usually %v", now, usual)
	}
	if least := a.come(time.Minute, 550*ms, 20); least != 60 {
		t.Errorf("a little slower it gets %d", least)
	}
	before := a.come(12*time.Second, 2*time.Second, 20)
	if least := a.come(time.Minute, 0, 20); least != before || before == 60 {
		t.Errorf("uploads, which say nothing of latency, made %d of %d", least, before)
	}
	least := a.come(time.Minute, 2*time.Second, 20)
	why, at := a.h.Last()
	if least > 20 || least < 4 || why != limit.HealthSlow || at.IsZero() {
		t.Errorf("four times slower it gets %d, because %s", least, why)
	}
	a.come(5*time.Minute, 300*ms, 20)
	if n := a.h.Limit(); n != 60 {
		t.Errorf("as quick as before it gets %d", n)
	}
}

func TestASiteThatIsSlowerForGoodIsNotPinnedDown(t *testing.T) {
	a := newAnswers(limit.HealthOptions{Max: 60, Min: 4})
	a.come(time.Hour, 300*ms, 20)
	if least := a.come(time.Minute, 20*time.Second, 20); least > 10 {
		t.Errorf("it shrank to %d only", least)
	}
	if least := a.come(30*time.Minute, 20*time.Second, 20); least < 4 {
		t.Errorf("it gets %d", least)
	}
	if n := a.h.Limit(); n != 60 {
		t.Errorf("after half an hour it gets %d", n)
	}
	// Having been so, and quick for a while, it is slow again at 2 s.
	a.come(10*time.Minute, 300*ms, 20)
	if least := a.come(time.Minute, 2*time.Second, 20); least == 60 {
		t.Error("the long trouble hides the next")
	}
}

func TestASlowDriftIsUsual(t *testing.T) {
	a := newAnswers(limit.HealthOptions{Max: 60, Min: 4})
	for d := 300 * ms; d < 6*time.Second; d += 30 * ms { // twice in 30 minutes at first
		if least := a.come(3*time.Minute, d, 10); least != 60 {
			t.Fatalf("at %v it gets %d", d, least)
		}
	}
}

func TestLatencyThatIsNeverTooMuch(t *testing.T) {
	a := newAnswers(limit.HealthOptions{Max: 60})
	a.come(time.Hour, 20*ms, 20)
	if least := a.come(time.Minute, limit.DefaultFloor-ms, 20); least != 60 {
		t.Errorf("below the floor it gets %d", least)
	}
	a.come(10*time.Minute, 20*ms, 20)
	// A single slow call, and one after a long silence, are no trend.
	a.come(time.Second, 5*time.Second, 1)
	a.now = a.now.Add(24 * time.Hour)
	a.come(time.Second, 2*time.Second, 1)
	// Uploads say nothing.
	if least := a.come(time.Minute, 0, 20); least != 60 {
		t.Errorf("after two slow calls it gets %d", least)
	}
	// Nor do the first calls, when nothing is known.
	b := newAnswers(limit.HealthOptions{Max: 60})
	b.come(time.Second, 10*ms, 4)
	if least := b.come(8*time.Second, 2*time.Second, 10); least != 60 {
		t.Errorf("a site that nothing is known of gets %d", least)
	}
}

func TestOneBlipIsOneStep(t *testing.T) {
	h := limit.NewHealth(limit.HealthOptions{Max: 60, Min: 4})
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	for range 60 {
		now = now.Add(ms)
		if n := h.Observe(now, true, 5*ms); n != 42 {
			t.Fatalf("after a failure it gets %d, want 42", n)
		}
	}
	// These left before the step, and end long after.
	now = now.Add(10 * time.Second)
	if n := h.Observe(now, true, 11*time.Second); n != 42 {
		t.Errorf("after an old failure it gets %d", n)
	}
	if n := h.Observe(now, true, time.Second); n != 29 {
		t.Errorf("after a new one it gets %d, want 29", n)
	}
}

func TestHealthGrowsWithWhatIsAskedOfASite(t *testing.T) {
	a := newAnswers(limit.HealthOptions{Max: 60, Min: 4})
	a.now = a.now.Add(time.Second)
	a.h.Observe(a.now, true, ms)
	a.come(41*time.Second, 100*ms, 1)
	if n := a.h.Limit(); n != 42 {
		t.Errorf("41 calls made %d of 42", n)
	}
	a.come(time.Second, 100*ms, 1)
	if n := a.h.Limit(); n != 43 {
		t.Errorf("42 calls made %d of 42", n)
	}
	// However many come, it is one more in a second.
	a.come(5*time.Second, 100*ms, 1000)
	if n := a.h.Limit(); n != 48 {
		t.Errorf("5 s later it gets %d, want 48", n)
	}
}

func TestHealthWithoutALimitAndUpdates(t *testing.T) {
	h, now := limit.NewHealth(limit.HealthOptions{}), time.Now()
	if n := h.Observe(now, true, ms); n != 0 || h.Limit() != 0 {
		t.Errorf("a site without a limit gets %d", n)
	}
	h.Update(limit.HealthOptions{Max: 10, Min: 2})
	if n := h.Observe(now.Add(time.Hour), true, ms); n != 7 {
		t.Errorf("a reload to 10 and a failure give %d", n)
	}
	why, at := h.Last()
	h.Update(limit.HealthOptions{Max: 100, Min: 2})
	w, a := h.Last()
	if n := h.Limit(); n != 7 || why != w || at != a || why != limit.HealthFailed {
		t.Errorf("a reload made %d of 7, because %s", n, w)
	}
	h.Update(limit.HealthOptions{Max: 100, Min: 20})
	if n := h.Limit(); n != 20 {
		t.Errorf("with at least 20 it gets %d", n)
	}
	h.Update(limit.HealthOptions{Max: 5, Min: 20})
	if n := h.Limit(); n != 5 {
		t.Errorf("with 5 at most it gets %d", n)
	}
	h.Update(limit.HealthOptions{Max: 50})
	if n := h.Limit(); n != 50 {
		t.Errorf("one at its limit gets %d of a new 50", n)
	}
}
