package limit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// MaxBrakes is how many brakes may be on at a time: 1000. They are set by hand.
const MaxBrakes = 1000

// The scopes of a [Brake].
const (
	ScopeScript = "script"
	ScopeCaller = "caller"
)

var (
	// ErrTooManyBrakes is Set's error when [MaxBrakes] are on.
	ErrTooManyBrakes = errors.New("limit: too many brakes are on")
	// ErrNoBrake is Set's error for a brake that says nothing: an unknown scope,
	// no name, a rate that is none, or an end that is past.
	ErrNoBrake = errors.New("limit: not a brake")
)

// Brake is what a wrangler slowed down or paused for a while.
type Brake struct {
	// Scope is [ScopeScript] or [ScopeCaller], Name which one.
	Scope, Name string
	// Rate is calls per second, all those of the name together; 0 is paused.
	Rate float64
	// Until is when it is over, by the clock of this machine.
	Until time.Time
	// Why and By are what the wrangler gave, to be shown to whoever is refused.
	Why, By string
}

// Braked is the error of a call that a brake refused: at once where it pauses,
// after the hold where it slows.
type Braked struct {
	Brake
	// RetryAfter is when there may be room, in whole seconds and at least
	// [MinRetryAfter]: not later than the end of the brake.
	RetryAfter time.Duration
	// Held is how long the call was held before it was refused.
	Held time.Duration
}

// Error says that a brake is on, not whose.
func (b *Braked) Error() string {
	if b.Rate == 0 {
		return "limit: paused by a brake"
	}
	return "limit: slowed down by a brake"
}

// Brakes is what is slowed down or paused now. The zero value is ready to use,
// and safe for concurrent use; asking it costs a load where no brake is on.
// Brakes end by themselves.
type Brakes struct {
	mu sync.Mutex // of those who change it
	// on is never changed, only replaced.
	on atomic.Pointer[map[brakeName]*brake]
	// budget gives the budgets of brakes; nil makes them.
	budget func(scope, name string) BrakeBudget
}

// BrakeBudget is the budget of a brake that slows, such as a [*Limiter].
type BrakeBudget interface {
	Stage
	// Update puts new options in force; see [Limiter.Update].
	Update(o Options)
}

type brakeName struct{ scope, name string }

// brake is one that is on. It stays the same while the wrangler changes it, so
// that what is spent and who waits stays.
type brake struct {
	said atomic.Pointer[Brake]
	l    BrakeBudget
}

func (b Brake) valid(now time.Time) bool {
	return (b.Scope == ScopeScript || b.Scope == ScopeCaller) && b.Name != "" &&
		b.Rate >= 0 && !math.IsInf(b.Rate, 0) && b.Until.After(now)
}

// options is what a brake enforces: a burst of a second at most, and in a pause
// nothing, for those who wait from before.
func (b Brake) options() Options {
	if b.Rate == 0 {
		return Options{Rate: math.SmallestNonzeroFloat64, Burst: 1, MaxHold: -1}
	}
	return Options{Rate: b.Rate}
}

// Share has the budgets of brakes come from elsewhere, also of those that are on:
// where all proxies share them, a rate is that of all together. Without it, or
// with nil, a rate is this process's own. budget may be asked again for a name.
func (s *Brakes) Share(budget func(scope, name string) BrakeBudget) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.budget = budget
	s.put(s.list(time.Now()), nil)
}

// newBudget is the budget of a brake that wasn't on. s.mu is held.
func (s *Brakes) newBudget(scope, name string) BrakeBudget {
	if s.budget == nil {
		return New(Options{})
	}
	return s.budget(scope, name)
}

// Set puts a brake on, or changes the one of the same scope and name. The error
// is [ErrNoBrake] or [ErrTooManyBrakes]; then nothing changed.
func (s *Brakes) Set(b Brake) error {
	now := time.Now()
	if !b.valid(now) {
		return fmt.Errorf("%w: %s %q", ErrNoBrake, b.Scope, b.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.list(now)
	i := slices.IndexFunc(all, func(o Brake) bool { return o.Scope == b.Scope && o.Name == b.Name })
	switch {
	case i >= 0:
		all[i] = b
	case len(all) >= MaxBrakes:
		return ErrTooManyBrakes
	default:
		all = append(all, b)
	}
	s.replace(all)
	return nil
}

// Lift takes a brake off, and says whether one was on. Calls that it holds go.
func (s *Brakes) Lift(scope, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.list(time.Now())
	n := len(all)
	all = slices.DeleteFunc(all, func(o Brake) bool { return o.Scope == scope && o.Name == name })
	s.replace(all)
	return len(all) < n
}

// Replace puts on what the fleet says, and takes all others off. What is not a
// brake, or is past, is left out; of more than [MaxBrakes] those that last
// longest stay, of several for one name the last.
func (s *Brakes) Replace(all []Brake) {
	now := time.Now()
	all = slices.DeleteFunc(slices.Clone(all), func(b Brake) bool { return !b.valid(now) })
	if len(all) > MaxBrakes {
		slices.SortStableFunc(all, func(a, b Brake) int { return b.Until.Compare(a.Until) })
		all = all[:MaxBrakes]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replace(all)
}

// replace is Replace for brakes that are. s.mu is held.
func (s *Brakes) replace(all []Brake) { s.put(all, s.load()) }

// put is replace that goes on with the budgets of kept. s.mu is held.
func (s *Brakes) put(all []Brake, kept map[brakeName]*brake) {
	old := s.load()
	on := make(map[brakeName]*brake, len(all))
	for _, said := range all {
		k := brakeName{said.Scope, said.Name}
		b := kept[k]
		if b == nil {
			b = &brake{l: s.newBudget(said.Scope, said.Name)}
		}
		b.said.Store(&said)
		b.l.Update(said.options())
		on[k] = b
	}
	for k, b := range old {
		if now := on[k]; now != b && (now == nil || now.l != b.l) { // it may have been given again
			b.l.Update(Options{})
		}
	}
	if len(on) == 0 {
		s.on.Store(nil)
		return
	}
	s.on.Store(&on)
}

func (s *Brakes) load() map[brakeName]*brake {
	if p := s.on.Load(); p != nil {
		return *p
	}
	return nil
}

// List is the brakes that are on, by scope and name.
func (s *Brakes) List(now time.Time) []Brake { return s.list(now) }

func (s *Brakes) list(now time.Time) []Brake {
	var all []Brake
	for _, b := range s.load() {
		if said := *b.said.Load(); said.Until.After(now) {
			all = append(all, said)
		}
	}
	slices.SortFunc(all, func(a, b Brake) int {
		return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// Stage is the brakes of a script and a caller as one budget, nil where none is
// on. An error of its Take is a [*Braked], or ctx.Err() as [Limiter.Take]'s.
func (s *Brakes) Stage(script, caller string) Stage {
	on := s.load()
	if on == nil {
		return nil
	}
	now := time.Now()
	a, b := on[brakeName{ScopeScript, script}], on[brakeName{ScopeCaller, caller}]
	if !a.isOn(now) {
		a, b = b, nil
	}
	switch {
	case !a.isOn(now):
		return nil
	case !b.isOn(now):
		return a
	}
	return &twoBrakes{a, b}
}

func (b *brake) isOn(now time.Time) bool { return b != nil && b.said.Load().Until.After(now) }

// Take implements [Stage]. Who waits when the brake ends goes then.
func (b *brake) Take(ctx context.Context, a Ask) (Grant, error) {
	arrived, said := time.Now(), b.said.Load()
	if said.Rate == 0 {
		return Grant{}, b.refuse(arrived, &Refused{RetryAfter: math.MaxInt64})
	}
	ended, cancel := context.WithDeadline(ctx, said.Until)
	defer cancel()
	g, err := b.l.Take(ended, a)
	var r *Refused
	switch now := time.Now(); {
	case err == nil:
		return g, nil
	case ctx.Err() != nil:
		return Grant{}, ctx.Err()
	case !b.isOn(now):
		return Grant{Held: now.Sub(arrived)}, nil
	case errors.As(err, &r):
		return Grant{}, b.refuse(now, r)
	default: // the wrangler prolonged it meanwhile
		return Grant{}, b.refuse(now, &Refused{RetryAfter: MinRetryAfter, Held: now.Sub(arrived)})
	}
}

// refuse is the error of a refused call, with what the brake says now.
func (b *brake) refuse(now time.Time, r *Refused) error {
	said := *b.said.Load()
	return &Braked{Brake: said, RetryAfter: min(r.RetryAfter, retryAfter(said.Until.Sub(now))), Held: r.Held}
}

// Charge implements [Stage].
func (b *brake) Charge(cost int) { b.l.Charge(cost) }

// twoBrakes is a script's brake and a caller's.
type twoBrakes struct{ first, second *brake }

// Take implements [Stage].
func (b *twoBrakes) Take(ctx context.Context, a Ask) (Grant, error) {
	gs, _, err := TakeAll(ctx, []Stage{b.first, b.second}, a)
	if err != nil {
		return Grant{}, err
	}
	return Lent(&twoGrants{gs}, a.Cost, gs.Held()), nil
}

// Charge implements [Stage].
func (b *twoBrakes) Charge(cost int) {
	b.first.Charge(cost)
	b.second.Charge(cost)
}

// twoGrants gives back to two brakes.
type twoGrants struct{ Grants }

// Refund implements [Lender].
func (g *twoGrants) Refund(int) { g.Cancel() }
