package fleet_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"stagedoor/fleet"
	"stagedoor/internal/parts"
	"stagedoor/limit"
)

// TestManyProxiesAskRedisSeldom is what bench/fleet does with 5 000 proxies, with
// fewer: what they ask for together is twice the budget.
func TestManyProxiesAskRedisSeldom(t *testing.T) {
	const nodes, rate, burst = 150, 100.0, 50
	o := limit.Options{Rate: rate, Burst: burst, MaxHold: 3 * time.Second}
	r := parts.Redis(t, parts.RedisOptions{})
	c := shell(t, r)
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	var mu sync.Mutex
	var let []int64
	asked := 0
	var wg sync.WaitGroup
	var fleets []*fleet.Fleet
	from := time.Now()
	for i := range nodes {
		f := open(t, fleet.Options{URL: r.URL, Share: 1.0 / nodes})
		fleets = append(fleets, f)
		b := f.Budget("site", o)
		wg.Go(func() {
			tick := time.NewTicker(time.Second*nodes/(2*rate) + time.Duration(i)*time.Millisecond)
			defer tick.Stop()
			for {
				_, err := b.Take(ctx, limit.Ask{Cost: 1})
				at := time.Now().UnixNano()
				var refused *limit.Refused
				mu.Lock()
				if asked++; err == nil {
					let = append(let, at)
				} else if !errors.As(err, &refused) && ctx.Err() == nil {
					t.Error(err)
				}
				mu.Unlock()
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Wait()
	to := time.Now()
	for i, f := range fleets {
		if n := f.Status().Outages; n != 0 {
			t.Logf("proxy %d lost Redis %d times: this machine is busy", i, n)
		}
	}
	over := excess(sorted(let), from, to, rate)
	if bound := float64(burst + fleet.Overshoot(o, fleet.DefaultLease, nodes) + 2*nodes); over > bound {
		t.Errorf("%.0f calls over the rate; the bound is %.0f", over, bound)
	}
	info, err := c.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	// Each operation on the budget reads it once.
	_, rest, _ := strings.Cut(info, "cmdstat_hmget:calls=")
	number, _, _ := strings.Cut(rest, ",")
	asks, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d calls asked for, %d let through, %.0f over the rate at worst; Redis was asked %d times", asked, len(let), over, asks)
	if most := 3 * asked; asks > most {
		t.Errorf("Redis was asked %d times for %d calls", asks, asked)
	}
}
