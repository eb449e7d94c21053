package limit

import (
	"math"
	"sync"
	"time"
)

// HealthOptions is how [Health] judges a site.
type HealthOptions struct {
	// Max is the calls in flight that a healthy site gets; 0 or less is no
	// limit, and then health changes nothing.
	Max int
	// Min is what a sick one gets at least; 0 or less is 1, and it is Max at most.
	Min int
	// Floor is the latency that is never too much; 0 is [DefaultFloor].
	Floor time.Duration
}

const (
	// DefaultFloor is the latency below which a site is not slow, whatever it was
	// before: 500 ms.
	DefaultFloor = 500 * time.Millisecond
	// healthDecrease is what a sick site's limit is multiplied with.
	healthDecrease = 0.7
	// healthWindow is how long it is at least from one step down to the next, and
	// from any to one up. A blip so costs one step, and what a step did can be seen
	// before the next.
	healthWindow = time.Second
	// healthFast and healthSlow are the time constants of the two averages of
	// latency. What the slow one has come to know as usual is what the fast one
	// is held against; a site that became slower for good is usual after minutes.
	healthFast = 5 * time.Second
	healthSlow = 5 * time.Minute
	// healthBetter is the slow average's when latency falls: what is quick again
	// is soon usual, or a long trouble would hide the next.
	healthBetter = 30 * time.Second
	// healthRise is how many times the usual latency is too much.
	healthRise = 2
	// healthClip is how many times the usual latency, or the floor, an answer
	// counts as at most, and healthWeight what one weighs at most in the fast
	// average: it takes four slow answers in a row to make a slow site.
	healthClip   = 4
	healthWeight = 1.0 / 8
	// healthKnown is how many answers it takes to know what is usual.
	healthKnown = 100
)

// Why a limit changed last: a closed set.
const (
	// HealthFull is a limit that never had to shrink, or that has recovered.
	HealthFull = "full"
	// HealthFailed is a limit that shrank for answers of 429 or 503.
	HealthFailed = "failed"
	// HealthSlow is one that shrank for latency.
	HealthSlow = "slow"
	// HealthRecovering is one that grows.
	HealthRecovering = "recovering"
)

// Health is how many calls a site gets at a time, by how it answers: fewer at
// once when it says 429 or 503 or when its latency rises, and one more now and
// then while it is well (additive increase, multiplicative decrease). It is
// safe for concurrent use; use [NewHealth]. It starts with Max.
type Health struct {
	mu     sync.Mutex
	opts   HealthOptions // effective
	limit  int
	reason string
	at     time.Time // of the last change
	shrunk time.Time // when it shrank last
	good   int       // answers since the last change
	// fast and slow are averages of latency in seconds, of n answers, the last
	// one at seen.
	fast, slow float64
	n          int
	seen       time.Time
}

func (o HealthOptions) effective() HealthOptions {
	o.Max = max(o.Max, 0)
	o.Min = min(max(o.Min, 1), o.Max)
	if o.Floor <= 0 {
		o.Floor = DefaultFloor
	}
	return o
}

// NewHealth makes the health of a site that is well.
func NewHealth(o HealthOptions) *Health {
	o = o.effective()
	return &Health{opts: o, limit: o.Max, reason: HealthFull}
}

// Observe learns from an answer that came at now: failed is one of 429 or 503,
// latency how long the site took for it. A latency of 0 is not learnt from, for
// calls whose time says nothing of the site: uploads, downloads. It returns the
// limit in force, for [Limiter.SetInFlight]; 0 is none.
func (h *Health) Observe(now time.Time, failed bool, latency time.Duration) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.opts.Max == 0 {
		return 0
	}
	if failed {
		// A call that left before the last step says nothing of what it did.
		if now.Sub(h.shrunk) >= healthWindow && !now.Add(-latency).Before(h.shrunk) {
			h.shrink(now, HealthFailed)
		}
		return h.limit
	}
	if latency > 0 {
		h.learn(now, latency.Seconds())
	}
	if h.isSlow() {
		// Not before the average can show what the last step did.
		if latency > 0 && now.Sub(h.shrunk) >= healthFast {
			h.shrink(now, HealthSlow)
		}
		return h.limit
	}
	h.good++
	if h.limit < h.opts.Max && h.good >= h.limit && now.Sub(h.at) >= healthWindow {
		h.limit++
		h.step(now, HealthRecovering)
	}
	return h.limit
}

// shrink takes a step down. h.mu is held.
func (h *Health) shrink(now time.Time, why string) {
	h.limit = max(int(float64(h.limit)*healthDecrease), h.opts.Min)
	h.shrunk = now
	h.step(now, why)
}

// step notes a change. h.mu is held.
func (h *Health) step(now time.Time, why string) {
	h.good, h.at, h.reason = 0, now, why
	if h.limit == h.opts.Max {
		h.reason = HealthFull
	}
}

// learn takes a latency into the averages. h.mu is held.
func (h *Health) learn(now time.Time, s float64) {
	// Neither one answer after a long silence nor one that took for ever makes an
	// average.
	passed := min(max(now.Sub(h.seen), 0), healthFast)
	if h.n == healthKnown {
		s = min(s, healthClip*max(h.slow, h.opts.Floor.Seconds()))
	}
	h.seen = now
	h.n = min(h.n+1, healthKnown)
	first := 1 / float64(h.n) // a plain mean until it is known
	if h.n == healthKnown {
		first = 0
	}
	h.fast += (s - h.fast) * max(min(weight(passed, healthFast), healthWeight), first)
	tau := healthSlow
	if h.fast < h.slow {
		tau = healthBetter
	}
	h.slow += (h.fast - h.slow) * max(weight(passed, tau), first)
}

// weight is what a value weighs in an average of time constant tau that is
// passed older than the one before.
func weight(passed, tau time.Duration) float64 {
	return 1 - math.Exp(-passed.Seconds()/tau.Seconds())
}

// isSlow says whether latency rose. h.mu is held.
func (h *Health) isSlow() bool {
	return h.n == healthKnown && h.fast > healthRise*h.slow && h.fast > h.opts.Floor.Seconds()
}

// Update puts new options in force (a reload). A limit that isn't at its
// maximum stays what it is, within the new bounds.
func (h *Health) Update(o HealthOptions) {
	o = o.effective()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.limit == h.opts.Max {
		h.limit = o.Max
	}
	h.limit = max(min(h.limit, o.Max), o.Min)
	h.opts = o
	if h.limit == o.Max {
		h.reason = HealthFull
	}
}

// Limit is the calls in flight that the site gets now; 0 is no limit.
func (h *Health) Limit() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.limit
}

// Last is why the limit changed last, and when; at is zero if it never did.
func (h *Health) Last() (reason string, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reason, h.at
}
