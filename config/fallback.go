package config

import (
	"math"
	"time"
)

// What package fleet does with a budget, which a test holds to it.
const (
	maxLeased = 1000 // calls that one proxy leases at most
	leasePart = 4    // of the burst
)

// Shared is what a budget of all proxies means: for one of them, and for all of
// them while Redis is away. It is arithmetic, no promise about the site.
type Shared struct {
	Name  string  // "site", or the script's name
	Rate  float64 // calls per second of all proxies together
	Burst int

	Proxies int           // as many as the share is made for: 1/share
	Alone   float64       // calls per second that one proxy makes while Redis is away
	Every   time.Duration // the time between two of them
	AtOnce  int           // how many of them may come at once
	// Lease is how many calls a proxy leases at most; Overshoot is how many more
	// than the budget all together may make once, by what is leased.
	Lease, Overshoot int
	// MaxHold is how long a call waits for its turn: where Every is longer, most of
	// those that come together are refused while Redis is away. 0 is not known: a
	// site's budget takes the script's.
	MaxHold time.Duration
}

// FleetBurst is the burst of a script's budget of all proxies; Burst is this
// proxy's.
func (l *Limit) FleetBurst() int { return defaultBurst(l.Fleet) }

// Shared lists what each budget of the fleet means, the site's first; none
// without limits.fleet.
func (c *Config) Shared() (out []Shared) {
	f := c.Limits.Fleet
	if f == nil {
		return nil
	}
	if s := &c.Limits.Site; s.Rate > 0 {
		out = append(out, f.shared("site", s.Rate, s.Burst, 0))
	}
	for i := range c.Scripts {
		if l := &c.Scripts[i].Limit; l.Fleet > 0 {
			out = append(out, f.shared(c.Scripts[i].Name, l.Fleet, l.FleetBurst(), l.MaxHold))
		}
	}
	return out
}

func (f *Fleet) shared(name string, rate float64, burst int, hold time.Duration) Shared {
	inLease := rate * f.Lease.Seconds()
	s := Shared{
		Name: name, Rate: rate, Burst: burst, MaxHold: hold,
		Proxies: int(math.Round(1 / f.Share)), Alone: rate * f.Share, AtOnce: max(1, int(float64(burst)*f.Share)),
		Lease: int(max(1, min(maxLeased, float64(burst/leasePart), math.Ceil(inLease)))),
	}
	s.Every = time.Duration(float64(time.Second) / s.Alone).Round(time.Millisecond)
	s.Overshoot = int(math.Ceil(min(float64(s.Proxies)*float64(s.Lease), float64(burst)+2*inLease)))
	return s
}
