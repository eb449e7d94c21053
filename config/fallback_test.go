package config_test

import (
	"testing"
	"time"

	"stagedoor/config"
)

// The figures that a wrangler of 800 nodes asked for.
func TestWhatASharedBudgetMeans(t *testing.T) {
	c := &config.Config{
		Limits: config.Limits{
			Site:  config.Budget{Rate: 120},
			Fleet: &config.Fleet{Share: 1.0 / 800, Lease: 2 * time.Second},
		},
		Scripts: []config.Script{
			{Name: "farm", Limit: config.Limit{Rate: 2, Fleet: 40, MaxHold: 20 * time.Second}},
			{Name: "own", Limit: config.Limit{Rate: 20}},
			{Name: "few", Limit: config.Limit{Rate: 1, Fleet: 5, MaxHold: 2 * time.Second}},
		},
	}
	want := []config.Shared{
		{Name: "site", Rate: 120, Proxies: 800, Alone: 0.15, Every: 6667 * time.Millisecond, Lease: 1, Overshoot: 800},
		{Name: "farm", Rate: 40, Proxies: 800, Alone: 0.05, Every: 20 * time.Second, Lease: 1, Overshoot: 800, MaxHold: 20 * time.Second},
		{Name: "few", Rate: 5, Proxies: 800, Alone: 0.00625, Every: 160 * time.Second, Lease: 1, Overshoot: 800, MaxHold: 2 * time.Second},
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
	if s := c.Shared()[1]; s.Lease != 10 || s.Overshoot != 80 || s.Every != 200*time.Millisecond {
		t.Errorf("of eight: %+v", s)
	}
	c.Limits.Fleet = nil
	if got := c.Shared(); got != nil {
		t.Errorf("without a fleet: %+v", got)
	}
}
