// Package limit holds calls back so that a script stays within its rate, its
// calls in flight and the memory that waiting calls may take.
//
// It knows neither scripts nor HTTP: one [Limiter] is one budget, one [Bytes]
// is one bound on memory. A call passes several budgets, each a [Stage], with
// [TakeAll]; [Callers] is a budget for each caller, [Brakes] what a wrangler
// slowed down or paused for a while, and [Health] how many calls a site bears.
// It starts no goroutine, has nothing to close and never looks at a call. It
// imports the standard library and golang.org/x/sync/semaphore.
package limit

import (
	"math"
	"time"
)

const (
	// DefaultMaxHold is how long a call is held at most where the
	// configuration names nothing: 20 s.
	DefaultMaxHold = 20 * time.Second
	// DefaultInteractiveHold is the same for a call of the interactive lane: 2 s,
	// since whoever waits for it looks at a frozen window.
	DefaultInteractiveHold = 2 * time.Second
	// DefaultMaxQueue is how many calls of one limiter are held at a time where
	// the configuration names nothing: 1000.
	DefaultMaxQueue = 1000
	// MinRetryAfter is the shortest advice in [Refused.RetryAfter]: 1 s, the
	// grain of the Retry-After header.
	MinRetryAfter = time.Second
	// maxCost bounds the cost of one call, so that no sum of them overflows;
	// a dearer call is charged as this many: 2^20 (a body of the default
	// max_body can't hold as many batch parts).
	maxCost = 1 << 20
)

// Options is what a limiter enforces. The zero value limits nothing but the
// length of the queue, which nobody then enters.
type Options struct {
	// Rate is calls per second; 0 or less is unlimited.
	Rate float64
	// Burst is how many calls a rested bucket lets through at once; 0 is
	// max(1, ceil(Rate)).
	Burst int
	// InFlight is how many calls may be at the site at a time; 0 is unlimited.
	InFlight int
	// MaxHold is how long a call may be held; 0 is [DefaultMaxHold], negative
	// holds none: a call over the limit is refused at once.
	MaxHold time.Duration
	// MaxQueue is how many calls may be held at a time; 0 is
	// [DefaultMaxQueue], negative holds none. A farm call counts all that are
	// held, an interactive one those of its lane only, so that a farm that fills
	// the queue doesn't keep it out: there may be twice as many in all.
	MaxQueue int
}

// Effective is o with its defaults filled in, for `validate --effective`.
func (o Options) Effective() Options {
	o.Rate = max(o.Rate, 0)
	if o.Burst <= 0 {
		o.Burst = int(min(max(1, math.Ceil(o.Rate)), maxCost))
	}
	o.Burst = min(o.Burst, maxCost)
	o.InFlight = max(o.InFlight, 0)
	if o.MaxHold == 0 {
		o.MaxHold = DefaultMaxHold
	}
	o.MaxHold = max(o.MaxHold, 0)
	if o.MaxQueue == 0 {
		o.MaxQueue = DefaultMaxQueue
	}
	o.MaxQueue = max(o.MaxQueue, 0)
	return o
}

// LongestWait is the longest that a call of cost waits for tokens once it is
// first in the queue, when no call costs more than it: the bucket may be in
// debt by a burst, from refused calls, or by what an equal call left, and then
// has to hold cost tokens, or be full. Where it exceeds MaxHold such a call can
// be refused though no other waits. It is 0 without a rate.
func LongestWait(o Options, cost int) time.Duration {
	o = o.Effective()
	cost = clampCost(cost)
	if o.Rate == 0 {
		return 0
	}
	debt := max(o.Burst, cost-o.Burst)
	return seconds(float64(debt+min(cost, o.Burst)) / o.Rate)
}

func clampCost(cost int) int { return min(max(cost, 1), maxCost) }

// seconds turns s into a Duration without overflowing.
func seconds(s float64) time.Duration {
	const longest = 365 * 24 * time.Hour
	switch {
	case s <= 0:
		return 0
	case s >= longest.Seconds():
		return longest
	}
	return time.Duration(math.Round(s * float64(time.Second)))
}

// Reason is why a call was not let through: a closed set.
type Reason string

const (
	// ReasonQueueFull is a call that found MaxQueue others held.
	ReasonQueueFull Reason = "queue_full"
	// ReasonMaxHold is a call that was held for MaxHold, or would have been by
	// the calls in front of it.
	ReasonMaxHold Reason = "max_hold"
)

// Refused is the error of a call over the limit.
type Refused struct {
	Reason Reason
	// RetryAfter is when the calls queued now will have gone, in whole seconds
	// and at least [MinRetryAfter]; a guess where slots, not tokens, are short.
	RetryAfter time.Duration
	// Held is how long the call was held before it was refused.
	Held time.Duration
}

// Error says what was exceeded, without a caller's bytes.
func (r *Refused) Error() string {
	switch r.Reason {
	case ReasonQueueFull:
		return "limit: too many calls are held already"
	case ReasonMaxHold:
		return "limit: the call can't be let through within max_hold"
	}
	return "limit: refused"
}
