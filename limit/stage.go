package limit

import (
	"context"
	"errors"
	"time"
)

// Lane is who goes first where calls wait for the same budget.
type Lane uint8

// The lanes. Calls of the interactive lane are let through before all of the
// farm's.
const (
	Farm Lane = iota
	Interactive
	lanes int = iota
)

// MaxStages is how many budgets a call may pass: the brake, the caller's, the
// kind's, the script's, the script's of the fleet, the site's, the site's of
// the fleet, and one to spare.
const MaxStages = 8

// errStages is a call with more than MaxStages budgets: a bug of ours, and the
// call doesn't go.
var errStages = errors.New("limit: more budgets than a call may pass")

// Ask is what a call wants of a budget.
type Ask struct {
	// Cost is in tokens; under 1 counts as 1.
	Cost int
	// Lane is who it waits with.
	Lane Lane
	// MaxHold is how long the call may be held here at most; 0 is the budget's own
	// bound, which holds in any case; negative holds not at all.
	MaxHold time.Duration
}

// Stage is one budget on a call's way. It is safe for concurrent use.
type Stage interface {
	// Take waits until the budget lets the call through; see [Limiter.Take].
	Take(ctx context.Context, a Ask) (Grant, error)
	// Charge takes tokens for a refused call; see [Limiter.Charge].
	Charge(cost int)
}

// Lender is a budget in another package that a [Grant] was taken from. It is
// safe for concurrent use, and a pointer, so that grants can be compared.
type Lender interface {
	// Refund takes back the tokens of a call that never left. The budget keeps
	// its own bound: what doesn't fit into it any more is gone.
	Refund(cost int)
}

// Grant is a call let through. Hand it on by pointer: a copy could free the
// same slot twice.
type Grant struct {
	// Held is how long the call was held; 0 when it wasn't.
	Held time.Duration
	// l is whose slot it has, lender who gets the tokens back otherwise; one of
	// them at most is set, none once it is over.
	l      *Limiter
	lender Lender
	taken  int // tokens
}

// Lent is the grant of a budget in another package, for a call that took cost
// tokens of l and was held for a time. It has no slot.
func Lent(l Lender, cost int, held time.Duration) Grant {
	return Grant{Held: held, lender: l, taken: cost}
}

// Release frees the slot in flight; the tokens stay spent. It may be called
// again, and on a zero Grant, but not from several goroutines at once.
func (g *Grant) Release() {
	l, lender := g.l, g.lender
	g.l, g.lender = nil, nil
	if l != nil {
		l.release(0)
	} else if two, ok := lender.(*twoGrants); ok {
		two.Release()
	}
}

// Cancel is Release for a call that never left for the site: it gives back the
// tokens as well, exactly those that were taken, and never more than the burst
// has room for. After Release it does nothing, as Release after it.
//
// A call that took its tokens long ago may so give back what the bucket has
// refilled since: for the moment after, other calls may go at up to that much
// over the burst, while over time none goes without a token of its own. Of
// several budgets the one that must be exact therefore comes last.
func (g *Grant) Cancel() {
	l, lender := g.l, g.lender
	g.l, g.lender = nil, nil
	switch {
	case l != nil:
		l.release(g.taken)
	case lender != nil:
		lender.Refund(g.taken)
	}
}

// Grants is a call let through by several budgets. Hand it on by pointer, as a
// [Grant].
type Grants struct {
	n  int
	of [MaxStages]Grant
}

// TakeAll takes a call through the budgets in order; nil ones are skipped. On
// an error those taken before are cancelled, and the int is the index of the
// budget that refused; it is -1 otherwise. a.MaxHold, if it isn't 0, bounds the
// holds at all of them together; each has its own bound as well. So the Held of a
// [*Refused] or [*Braked] counts what it was held before, too. It allocates
// nothing for a call that goes.
//
// At most [MaxStages] may be given, nil ones counted.
func TakeAll(ctx context.Context, stages []Stage, a Ask) (Grants, int, error) {
	var gs Grants
	if len(stages) > MaxStages {
		return gs, MaxStages, errStages
	}
	rest := a.MaxHold
	for i, s := range stages {
		if s == nil {
			continue
		}
		g, err := s.Take(ctx, Ask{Cost: a.Cost, Lane: a.Lane, MaxHold: rest})
		if err != nil {
			gs.Cancel()
			return Grants{}, i, heldBefore(err, gs.Held())
		}
		if rest > 0 {
			if rest -= g.Held; rest <= 0 {
				rest = -1 // 0 would ask for the next one's own bound
			}
		}
		gs.of[gs.n] = g
		gs.n++
	}
	return gs, -1, nil
}

// heldBefore is the error of a call that other budgets held for a time before.
func heldBefore(err error, d time.Duration) error {
	if d == 0 {
		return err
	}
	if r, ok := errors.AsType[*Refused](err); ok {
		all := *r
		all.Held += d
		return &all
	}
	if b, ok := errors.AsType[*Braked](err); ok {
		all := *b
		all.Held += d
		return &all
	}
	return err
}

// Release frees the slots; see [Grant.Release]. The last taken is the first
// given back, so that a call which then goes on finds the next slot free.
func (gs *Grants) Release() {
	for i := gs.n - 1; i >= 0; i-- {
		gs.of[i].Release()
	}
}

// Cancel gives slots and tokens back; see [Grant.Cancel].
func (gs *Grants) Cancel() {
	for i := gs.n - 1; i >= 0; i-- {
		gs.of[i].Cancel()
	}
}

// Held is how long the call was held at all budgets together.
func (gs *Grants) Held() time.Duration {
	var d time.Duration
	for i := range gs.n {
		d += gs.of[i].Held
	}
	return d
}
