package limit

import (
	"context"
	"time"
)

// Lane is who goes first where calls wait for the same budget.
type Lane uint8

// The lanes. Calls of the interactive lane are let through before all of the
// farm's.
const (
	Farm Lane = iota
	Interactive
)

// Ask is what a call wants of a budget.
type Ask struct {
	// Cost is in tokens, at least 1.
	Cost int
	Lane Lane
	// MaxHold is how long the call may be held here at most; 0 is the budget's own
	// bound, negative holds not at all.
	MaxHold time.Duration
}

// Stage is one budget on a call's way.
type Stage interface {
	// Take waits until the budget lets the call through; see [Limiter.Take].
	Take(ctx context.Context, a Ask) (Grant, error)
	// Charge takes tokens for a refused call; see [Limiter.Charge].
	Charge(cost int)
}

// Lender is a budget in another package that a [Grant] was taken from.
type Lender interface {
	// Refund takes back the tokens of a call that never left.
	Refund(cost int)
}

// Take is [Limiter.Acquire] with a lane and a bound of the call's own.
func (l *Limiter) Take(ctx context.Context, a Ask) (Grant, error) { return l.Acquire(ctx, a.Cost) }
