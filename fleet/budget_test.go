package fleet_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"stagedoor/fleet"
	"stagedoor/internal/parts"
	"stagedoor/limit"
)

// slow is a budget that gets no token while a test runs.
func slow(burst int) limit.Options { return limit.Options{Rate: 0.001, Burst: burst} }

// shell is Redis as anybody else with its password has it.
func shell(t *testing.T, r *parts.RedisServer) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: r.Address, Protocol: 2})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func run(t *testing.T, c *redis.Client, args ...any) any {
	t.Helper()
	v, err := c.Do(t.Context(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatalf("%v: %v", args, err)
	}
	return v
}

func TestAnIdleProxysShareReturns(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	idle := open(t, fleet.Options{URL: r.URL, Lease: 100 * time.Millisecond}).Budget("farm", slow(40))
	busy := open(t, fleet.Options{URL: r.URL}).Budget("farm", slow(40))
	used := 0
	for idle.Stats().Leased == 0 {
		take(t, idle, 1)
		used++
	}
	await(t, "the idle proxy has nothing any more", func() bool { return idle.Stats().Leased == 0 })
	await(t, "all of the burst is used", func() bool {
		used += drain(busy)
		return used >= 40
	})
	if used += drain(idle) + drain(busy); used != 40 {
		t.Errorf("%d calls of a burst of 40", used)
	}
}

func TestCloseGivesBackWhatWasLeased(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	leaving := open(t, fleet.Options{URL: r.URL, Lease: time.Hour})
	b := leaving.Budget("farm", slow(40))
	used := 0
	for b.Stats().Leased == 0 {
		take(t, b, 1)
		used++
	}
	leaving.Close()
	if used += drain(open(t, fleet.Options{URL: r.URL}).Budget("farm", slow(40))); used != 40 {
		t.Errorf("%d calls of a burst of 40", used)
	}
	if _, err := b.Take(t.Context(), limit.Ask{Cost: 1}); err != nil {
		t.Errorf("after Close this proxy's share is there: %v", err)
	}
}

func TestCancelledCallsCostNothing(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	b := open(t, fleet.Options{URL: r.URL}).Budget("farm", slow(40))
	g := take(t, b, 15) // more than a lease
	g.Cancel()
	g.Cancel()
	g = take(t, b, 1)
	g.Cancel()
	// What is more than a lease goes back to Redis before it is leased again.
	used := 0
	await(t, "all of the burst is used", func() bool { used += drain(b); return used >= 40 })
	if used != 40 {
		t.Errorf("%d calls of a burst of 40", used)
	}
}

func TestRefusedCallsAreCharged(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	b := open(t, fleet.Options{URL: r.URL}).Budget("farm", slow(40))
	b.Charge(10)
	if n := drain(b); n != 30 {
		t.Errorf("%d calls of a burst of 40 with 10 charged", n)
	}
	for range 100 {
		b.Charge(1000)
	}
	_, err := b.Take(t.Context(), limit.Ask{Cost: 1, MaxHold: time.Second})
	var refused *limit.Refused
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	// One burst of debt, and the token.
	if most := 41 * 1000 * time.Second; refused.RetryAfter > most {
		t.Errorf("refusals put the budget into debt for %v, more than %v", refused.RetryAfter, most)
	}
}

func TestADearCallWaitsForAFullBucketAndLeavesDebt(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	b := open(t, fleet.Options{URL: r.URL}).Budget("farm", slow(10))
	take(t, b, 50)
	_, err := b.Take(t.Context(), limit.Ask{Cost: 1, MaxHold: time.Second})
	var refused *limit.Refused
	if !errors.As(err, &refused) || refused.RetryAfter < 40*1000*time.Second {
		t.Errorf("after a call of 50 on a burst of 10: %v, %+v", err, refused)
	}
}

func TestUpdateKeepsWhatIsSpent(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	f := open(t, fleet.Options{URL: r.URL})
	b := f.Budget("farm", slow(40))
	if n := drain(b); n != 40 {
		t.Fatalf("%d calls of a burst of 40", n)
	}
	if again := f.Budget("farm", slow(20)); again != b {
		t.Error("a reload made a new budget")
	}
	if n := drain(b); n != 0 {
		t.Errorf("%d calls after a reload", n)
	}
	f.Budget("farm", slow(60))
	if n := drain(b); n != 20 {
		t.Errorf("%d calls of a burst of 60 with 40 spent", n)
	}
	f.Budget("farm", limit.Options{})
	for range 100 {
		take(t, b, 10)
	}
}

func TestUpdateLetsThroughWhoWaits(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	f := open(t, fleet.Options{URL: r.URL})
	b := f.Budget("farm", limit.Options{Rate: 0.1, Burst: 1, MaxHold: time.Minute})
	take(t, b, 1)
	done := make(chan error)
	go func() {
		_, err := b.Take(context.Background(), limit.Ask{Cost: 1})
		done <- err
	}()
	await(t, "it waits", func() bool { return b.Stats().Waiting == 1 })
	f.Budget("farm", limit.Options{})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestQueueIsBoundedAndHangingUpLeavesIt(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	f := open(t, fleet.Options{URL: r.URL})
	b := f.Budget("farm", limit.Options{Rate: 0.05, Burst: 1, MaxHold: time.Minute, MaxQueue: 2})
	take(t, b, 1)
	ctx, hangUp := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := b.Take(ctx, limit.Ask{Cost: 1})
			done <- err
		}()
	}
	await(t, "two wait", func() bool { return b.Stats().Waiting == 2 })
	_, err := b.Take(t.Context(), limit.Ask{Cost: 1})
	var refused *limit.Refused
	if !errors.As(err, &refused) || refused.Reason != limit.ReasonQueueFull {
		t.Errorf("a third: %v", err)
	}
	hangUp()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if n := b.Stats().Waiting; n != 0 {
		t.Errorf("%d wait", n)
	}
}

// TestInteractiveGoesAheadOfAFarmThatQueues has more farm proxies waiting than
// the budget serves in the 2 s that an interactive call is held.
func TestInteractiveGoesAheadOfAFarmThatQueues(t *testing.T) {
	const rate, nodes = 20, 70
	o := limit.Options{Rate: rate, Burst: 4, MaxHold: 30 * time.Second}
	r := parts.Redis(t, parts.RedisOptions{})
	c := shell(t, r)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	let := make(chan time.Time, 10_000)
	for range nodes {
		b := open(t, fleet.Options{URL: r.URL}).Budget("site", o)
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := b.Take(ctx, limit.Ask{Cost: 1}); err == nil {
					let <- time.Now()
				}
			}
		})
	}
	await(t, "the farm's queue is longer than 2 s", func() bool {
		tat, _ := c.HGet(t.Context(), "stagedoor:budget:site", "tat").Int64()
		now, err := c.Time(t.Context()).Result()
		return err == nil && tat-now.UnixMicro() > (2500*time.Millisecond).Microseconds()
	})
	from := time.Now()
	artist := open(t, fleet.Options{URL: r.URL}).Budget("site", o)
	for i := range 20 {
		if _, err := artist.Take(t.Context(), limit.Ask{Cost: 1, Lane: limit.Interactive, MaxHold: 2 * time.Second}); err != nil {
			t.Fatalf("interactive call %d: %v", i, err)
		}
		let <- time.Now()
	}
	to := time.Now()
	stop()
	wg.Wait()
	close(let)
	var all []int64
	for at := range let {
		all = append(all, at.UnixNano())
	}
	over := excess(sorted(all), from, to, rate)
	// A call of the interactive lane goes at once, and one of each proxy may have
	// been written down late.
	if bound := float64(o.Burst + fleet.Overshoot(o, fleet.DefaultLease, nodes+1) + 1 + nodes); over > bound {
		t.Errorf("%.0f calls over the rate; the bound is %.0f", over, bound)
	}
	t.Logf("20 interactive calls in %v, all together %.0f over the rate at worst", to.Sub(from), over)
}

// TestInteractiveCallsPutTheFarmOff holds that going ahead takes nothing from
// the bound: whoever is overtaken waits for as much longer.
func TestInteractiveCallsPutTheFarmOff(t *testing.T) {
	const each = 500 * time.Millisecond // of a token
	o := limit.Options{Rate: 2, Burst: 1, MaxHold: 30 * time.Second}
	r := parts.Redis(t, parts.RedisOptions{})
	c := shell(t, r)
	farm := open(t, fleet.Options{URL: r.URL}).Budget("site", o)
	artist := open(t, fleet.Options{URL: r.URL}).Budget("site", o)
	take(t, farm, 1)
	began := time.Now()
	done := make(chan error)
	go func() {
		_, err := farm.Take(context.Background(), limit.Ask{Cost: 1})
		done <- err
	}()
	await(t, "the farm is promised its turn", func() bool {
		tat, _ := c.HGet(t.Context(), "stagedoor:budget:site", "tat").Int64()
		return tat > began.Add(each).UnixMicro()
	})
	for i := range 3 {
		g, err := artist.Take(t.Context(), limit.Ask{Cost: 1, Lane: limit.Interactive})
		if err != nil {
			t.Fatal(err)
		}
		// The first goes at once, and they are no faster than the budget.
		if least := time.Duration(i) * each; time.Since(began) < least {
			t.Errorf("interactive call %d went after %v, and not before %v", i, time.Since(began), least)
		}
		if i == 0 && g.Held > each {
			t.Logf("the first was held %v: this machine is busy", g.Held)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// Its own token, and those of the three.
	if least := 4 * each; time.Since(began) < least {
		t.Errorf("the farm's call went after %v, and not before %v", time.Since(began), least)
	}
}

// TestAStepOfRedissClockNeitherOpensNorBlocks sets Redis's clock, as far as the
// script can tell: what it finds written is of another time.
func TestAStepOfRedissClockNeitherOpensNorBlocks(t *testing.T) {
	const rate, burst = 100, 10
	for _, step := range []time.Duration{time.Hour, -time.Hour, 30 * time.Millisecond, -30 * time.Millisecond} {
		t.Run(step.String(), func(t *testing.T) {
			r := parts.Redis(t, parts.RedisOptions{})
			c := shell(t, r)
			b := open(t, fleet.Options{URL: r.URL}).Budget("farm", limit.Options{Rate: rate, Burst: burst, MaxHold: time.Second})
			var let []int64
			calls := func(n int) {
				for range n {
					take(t, b, 1) // none is refused: nothing blocks
					let = append(let, time.Now().UnixNano())
				}
			}
			from := time.Now()
			calls(50)
			for _, field := range []string{"tat", "own", "pre", "at"} {
				run(t, c, "HINCRBYFLOAT", "stagedoor:budget:farm", field, strconv.FormatInt(-step.Microseconds(), 10))
			}
			calls(100)
			over := excess(let, from, time.Now(), rate)
			// Set forward it leaves a full bucket, once.
			bound := float64(burst + fleet.Overshoot(limit.Options{Rate: rate, Burst: burst}, fleet.DefaultLease, 1) + 1)
			if step > 0 {
				bound += burst
			}
			if over > bound {
				t.Errorf("%.0f calls over the rate; the bound is %.0f", over, bound)
			}
		})
	}
}

func TestWhatAnotherWritesIntoABudgetIsBounded(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	c := shell(t, r)
	const key = "stagedoor:budget:farm"
	for _, v := range []string{"nan", "-nan", "inf", "-inf", "1e308", "-1e308", "0x7fffffffffffffff", "\x00", "", "later"} {
		for _, field := range []string{"tat", "own", "pre", "shift", "at"} {
			run(t, c, "DEL", key)
			run(t, c, "HSET", key, field, v)
			f := open(t, fleet.Options{URL: r.URL})
			b := f.Budget("farm", slow(10))
			n := drain(b)
			if n > 10 {
				t.Errorf("%s=%q: %d calls of a burst of 10", field, v, n)
			}
			_, err := b.Take(t.Context(), limit.Ask{Cost: 1, MaxHold: -1})
			var refused *limit.Refused
			// The deepest debt that a call can leave, its own token, and the longest
			// hold.
			if most := (64*10+1)*1000*time.Second + 11*time.Minute; !errors.As(err, &refused) || refused.RetryAfter > most {
				t.Errorf("%s=%q: %v, %+v", field, v, err, refused)
			}
			if s := f.Status(); !s.Connected || s.Err != "" {
				t.Errorf("%s=%q: %+v", field, v, s)
			}
			f.Close()
		}
	}
	run(t, c, "DEL", key)
	run(t, c, "LPUSH", key, "a list")
	if n := drain(open(t, fleet.Options{URL: r.URL}).Budget("farm", slow(10))); n != 10 {
		t.Errorf("a key of another kind: %d calls of a burst of 10", n)
	}
}

func TestABudgetThatIsRestedLeavesRedis(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	c := shell(t, r)
	take(t, open(t, fleet.Options{URL: r.URL}).Budget("farm", limit.Options{Rate: 100, Burst: 10}), 1)
	ttl, err := c.PTTL(t.Context(), "stagedoor:budget:farm").Result()
	if err != nil || ttl <= 0 || ttl > 11*time.Second {
		t.Errorf("the key lives for %v, %v", ttl, err)
	}
}

func TestASlowRedisIsNotWaitedForByCallsThatHaveTokens(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	w := r.Wire()
	b := open(t, fleet.Options{URL: "redis://" + w.Address, Lease: time.Minute, Timeout: fleet.OperationTimeout}).Budget("farm", limit.Options{Rate: 1000, Burst: 400})
	for b.Stats().Leased < 5 {
		take(t, b, 1)
	}
	w.Cut()
	for range 5 {
		if g := take(t, b, 1); g.Held != 0 {
			t.Errorf("a call with a token there was held %v", g.Held)
		}
	}
}

func TestOptionsThatCantBe(t *testing.T) {
	for _, o := range []fleet.Options{
		{URL: "redis://127.0.0.1:1"},
		{URL: "redis://127.0.0.1:1", Share: 1.5},
		{URL: "redis://127.0.0.1:1", Share: 0.5, Lease: -1},
		{URL: "redis://127.0.0.1:1", Share: 0.5, Timeout: -1},
		{URL: "http://127.0.0.1:1", Share: 0.5},
		{URL: "redis://user:password@127.0.0.1:1", Share: 0.5},
		{URL: "redis://127.0.0.1:1/3", Share: 0.5},
		{URL: "127.0.0.1:1", Share: 0.5},
		{Share: 0.5},
	} {
		if f, err := fleet.Open(o); err == nil {
			f.Close()
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestArithmetic(t *testing.T) {
	for _, c := range []struct {
		o          limit.Options
		lease      time.Duration
		n          int
		max, over  int
		rate       float64
		burst, own int
	}{
		{o: limit.Options{Rate: 40, Burst: 40}, lease: 2 * time.Second, n: 800, max: 10, over: 200, rate: 0.05, burst: 1},
		{o: limit.Options{Rate: 200, Burst: 20}, lease: 2 * time.Second, n: 20, max: 5, over: 100, rate: 10, burst: 1},
		{o: limit.Options{Rate: 0.1, Burst: 100}, lease: 2 * time.Second, n: 5, max: 1, over: 5, rate: 0.02, burst: 20},
		{o: limit.Options{Rate: 1e5}, lease: 2 * time.Second, n: 1, max: 1000, over: 1000, rate: 1e5, burst: 1e5},
	} {
		if got := fleet.MaxLease(c.o, c.lease); got != c.max {
			t.Errorf("%+v: a lease of %d, want %d", c.o, got, c.max)
		}
		if got := fleet.Overshoot(c.o, c.lease, c.n); got != c.over {
			t.Errorf("%+v: %d over, want %d", c.o, got, c.over)
		}
		if got := fleet.FallBack(c.o, 1/float64(c.n)); got.Rate-c.rate > 1e-9 || c.rate-got.Rate > 1e-9 || got.Burst != c.burst {
			t.Errorf("%+v: alone %+v, want %v and %d", c.o, got, c.rate, c.burst)
		}
	}
}
