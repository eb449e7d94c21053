package config_test

import (
	"testing"
	"time"

	"stagedoor/config"
	"stagedoor/fleet"
	"stagedoor/limit"
)

// The figures that a wrangler of 800 nodes asked for.
func TestWhatASharedBudgetMeans(t *testing.T) {
	c := &config.Config{
		Limits: config.Limits{
			Site:  config.Budget{Rate: 120, Burst: 120},
			Fleet: &config.Fleet{Share: 1.0 / 800, Lease: 2 * time.Second},
		},
		Scripts: []config.Script{
			{Name: "farm", Limit: config.Limit{Rate: 2, Burst: 20, Fleet: 40, MaxHold: 20 * time.Second}},
			{Name: "own", Limit: config.Limit{Rate: 20, Burst: 20}},
			{Name: "few", Limit: config.Limit{Rate: 1, Burst: 1, Fleet: 0.5, MaxHold: 2 * time.Second}},
		},
	}
	want := []config.Shared{
		{Name: "site", Rate: 120, Burst: 120, Proxies: 800, Alone: 0.15, Every: 6667 * time.Millisecond, AtOnce: 1, Lease: 30, Overshoot: 600},
		{Name: "farm", Rate: 40, Burst: 40, Proxies: 800, Alone: 0.05, Every: 20 * time.Second, AtOnce: 1, Lease: 10, Overshoot: 200, MaxHold: 20 * time.Second},
		{Name: "few", Rate: 0.5, Burst: 1, Proxies: 800, Alone: 0.000625, Every: 1600 * time.Second, AtOnce: 1, Lease: 1, Overshoot: 3, MaxHold: 2 * time.Second},
	}
	got := c.Shared()
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v\nwant %+v", got[i], want[i])
		}
	}
	c.Limits.Fleet.Share = 1.0 / 8
	if s := c.Shared()[1]; s.AtOnce != 5 || s.Lease != 10 || s.Overshoot != 80 || s.Every != 200*time.Millisecond {
		t.Errorf("of eight: %+v", s)
	}
	c.Limits.Fleet = nil
	if got := c.Shared(); got != nil {
		t.Errorf("without a fleet: %+v", got)
	}
}

// What validate prints is what package fleet does.
func TestTheArithmeticOfSharedBudgetsIsTheFleets(t *testing.T) {
	for _, rate := range []float64{0.5, 1, 7, 40, 120, 3000} {
		for _, share := range []float64{1, 1.0 / 8, 1.0 / 800} {
			for _, lease := range []time.Duration{100 * time.Millisecond, 2 * time.Second, time.Minute} {
				c := &config.Config{
					Limits:  config.Limits{Fleet: &config.Fleet{Share: share, Lease: lease}},
					Scripts: []config.Script{{Name: "farm", Limit: config.Limit{Fleet: rate, Burst: 3}}},
				}
				s, o := c.Shared()[0], limit.Options{Rate: rate}
				alone := fleet.FallBack(o, share)
				if s.Burst != o.Effective().Burst || s.Alone != alone.Rate || s.AtOnce != alone.Burst ||
					s.Lease != fleet.MaxLease(o, lease) || s.Overshoot != fleet.Overshoot(o, lease, s.Proxies) {
					t.Errorf("%g/s, share %g, lease %s: %+v, and the fleet has %+v, a lease of %d, %d beyond",
						rate, share, lease, s, alone, fleet.MaxLease(o, lease), fleet.Overshoot(o, lease, s.Proxies))
				}
			}
		}
	}
}
