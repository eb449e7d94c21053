package config

import (
	"math"
	"time"
)

// Shared is what a budget of all proxies means: for one of them, and for all of
// them while Redis is away. It is arithmetic, no promise about the site.
type Shared struct {
	Name string  // "site", or the script's name
	Rate float64 // calls per second of all proxies together

	Proxies int           // as many as the share is made for: 1/share
	Alone   float64       // calls per second that one proxy makes while Redis is away
	Every   time.Duration // the time between two of them
	// Lease is how many calls a proxy may have leased and not made, at most;
	// Overshoot is that for all proxies together: as many calls more than the
	// budget may be made at once, and no more after that.
	Lease, Overshoot int
	// MaxHold is how long a call waits for its turn: where Every is longer, of
	// several calls at once only the first is made while Redis is away. 0 is not
	// known: a site's budget takes the script's.
	MaxHold time.Duration
}

// Shared lists what each budget of the fleet means, the site's first; none
// without limits.fleet.
func (c *Config) Shared() (out []Shared) {
	f := c.Limits.Fleet
	if f == nil {
		return nil
	}
	add := func(name string, rate float64, hold time.Duration) {
		if rate <= 0 {
			return
		}
		s := Shared{Name: name, Rate: rate, Proxies: int(math.Round(1 / f.Share)), Alone: rate * f.Share, Lease: f.LeaseMax(rate), MaxHold: hold}
		s.Every = time.Duration(float64(time.Second) / s.Alone).Round(time.Millisecond)
		s.Overshoot = s.Lease * s.Proxies
		out = append(out, s)
	}
	add("site", c.Limits.Site.Rate, 0)
	for i := range c.Scripts {
		add(c.Scripts[i].Name, c.Scripts[i].Limit.Fleet, c.Scripts[i].Limit.MaxHold)
	}
	return out
}

// LeaseMax is how many calls of a budget one proxy leases at most: its share of
// what the budget gives in a lease's time, and one at least.
func (f *Fleet) LeaseMax(rate float64) int {
	return max(1, int(rate*f.Share*f.Lease.Seconds()))
}
