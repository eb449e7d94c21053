package limit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/limit"
)

// lender counts what it is given back.
type lender struct{ refunds, tokens int }

func (l *lender) Refund(cost int) { l.refunds++; l.tokens += cost }

// elsewhere is a budget of another package that always lends.
type elsewhere struct {
	lender
	held  time.Duration
	asked []limit.Ask
}

func (e *elsewhere) Take(_ context.Context, a limit.Ask) (limit.Grant, error) {
	e.asked = append(e.asked, a)
	return limit.Lent(&e.lender, a.Cost, e.held), nil
}

func (*elsewhere) Charge(int) {}

func TestALentGrantGoesBackOnce(t *testing.T) {
	var l lender
	g := limit.Lent(&l, 7, time.Second)
	if g.Held != time.Second {
		t.Errorf("held %v", g.Held)
	}
	g.Cancel()
	g.Cancel()
	if l.refunds != 1 || l.tokens != 7 {
		t.Errorf("%d refunds of %d tokens", l.refunds, l.tokens)
	}
	g = limit.Lent(&l, 7, 0)
	g.Release()
	g.Cancel()
	if l.refunds != 1 {
		t.Error("a released grant was given back")
	}
	if a, b := limit.Lent(&l, 7, 0), limit.Lent(&l, 7, 0); a != b || a == (limit.Grant{}) {
		t.Error("grants can't be compared")
	}
}

func TestTakeAllGoesInOrderAndGivesBackOnARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := limit.New(limit.Options{Rate: 10, Burst: 10, InFlight: 1})
		lent := &elsewhere{}
		last := limit.New(limit.Options{Rate: 1, Burst: 5, MaxHold: -1})
		stages := []limit.Stage{nil, first, lent, last, nil}

		gs, at, err := limit.TakeAll(t.Context(), stages, limit.Ask{Cost: 5})
		if err != nil || at != -1 || gs.Held() != 0 {
			t.Fatalf("held %v, stage %d, %v", gs.Held(), at, err)
		}
		gs.Release()
		gs.Release()
		gs.Cancel()

		_, at, err = limit.TakeAll(t.Context(), stages, limit.Ask{Cost: 5})
		var r *limit.Refused
		if !errors.As(err, &r) || at != 3 {
			t.Fatalf("stage %d: %v", at, err)
		}
		if lent.refunds != 1 || lent.tokens != 5 {
			t.Errorf("%d refunds of %d tokens", lent.refunds, lent.tokens)
		}
		// The first one's slot and its 5 tokens are there again, those of the call
		// that went are not.
		if g, err := first.Take(t.Context(), limit.Ask{Cost: 5, MaxHold: -1}); err != nil {
			t.Error(err)
		} else {
			g.Release()
		}
		if _, err := first.Take(t.Context(), limit.Ask{MaxHold: -1}); err == nil {
			t.Error("a token too many")
		}
	})
}

func TestTakeAllCancelGivesAllBack(t *testing.T) {
	a, b := limit.New(limit.Options{Rate: 1, Burst: 5}), limit.New(limit.Options{Rate: 1, Burst: 5, InFlight: 1})
	for range 10 {
		gs, _, err := limit.TakeAll(t.Context(), []limit.Stage{a, b}, limit.Ask{Cost: 5, MaxHold: -1})
		if err != nil {
			t.Fatal(err)
		}
		gs.Cancel()
	}
}

func TestTakeAllHoldsWithinOneBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func() *limit.Limiter {
			l := limit.New(limit.Options{Rate: 1, Burst: 1})
			g, _ := l.Acquire(t.Context(), 1)
			g.Release()
			return l
		}
		lent := &elsewhere{}
		gs, _, err := limit.TakeAll(t.Context(), []limit.Stage{slow(), lent}, limit.Ask{MaxHold: 1500 * ms})
		if err != nil || gs.Held() != time.Second || lent.asked[0].MaxHold != 500*ms {
			t.Errorf("held %v, the next may hold %+v, %v", gs.Held(), lent.asked, err)
		}
		// The second has its token by then; the first has used up the bound.
		gs, _, err = limit.TakeAll(t.Context(), []limit.Stage{slow(), slow(), lent}, limit.Ask{MaxHold: time.Second})
		if err != nil || gs.Held() != time.Second || lent.asked[1].MaxHold >= 0 {
			t.Errorf("held %v, the next may hold %+v, %v", gs.Held(), lent.asked, err)
		}
		two := slow()
		two.Charge(1)
		_, at, err := limit.TakeAll(t.Context(), []limit.Stage{slow(), two}, limit.Ask{MaxHold: 1999 * ms})
		var r *limit.Refused
		if !errors.As(err, &r) || at != 1 || r.Reason != limit.ReasonMaxHold || r.Held != time.Second {
			t.Errorf("stage %d: %+v", at, err)
		}
		var paused limit.Brakes
		mustSet(t, &paused, brake(limit.ScopeScript, "pub", 0, time.Hour))
		_, at, err = limit.TakeAll(t.Context(), []limit.Stage{slow(), paused.Stage("pub", "")}, limit.Ask{})
		if b := braked(t, err); at != 1 || b.Held != time.Second || b.Name != "pub" {
			t.Errorf("stage %d: %+v", at, b)
		}
		// Without one each has its own.
		_, _, _ = limit.TakeAll(t.Context(), []limit.Stage{slow(), lent}, limit.Ask{})
		if lent.asked[2].MaxHold != 0 {
			t.Errorf("the next may hold %+v", lent.asked[2])
		}
	})
}

func TestTakeAllOfAHungUpCall(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	lent := &elsewhere{}
	_, at, err := limit.TakeAll(ctx, []limit.Stage{lent, limit.New(limit.Options{})}, limit.Ask{Cost: 2})
	if !errors.Is(err, context.Canceled) || at != 1 || lent.tokens != 2 {
		t.Errorf("stage %d, %d given back: %v", at, lent.tokens, err)
	}
}

func TestTakeAllRefusesMoreStagesThanItKnows(t *testing.T) {
	stages := make([]limit.Stage, limit.MaxStages+1)
	if _, _, err := limit.TakeAll(t.Context(), stages, limit.Ask{}); err == nil {
		t.Error("it went")
	}
	if _, at, err := limit.TakeAll(t.Context(), stages[1:], limit.Ask{}); err != nil || at != -1 {
		t.Errorf("stage %d: %v", at, err)
	}
}

func fourStages() []limit.Stage {
	var stages []limit.Stage
	for range 4 {
		stages = append(stages, limit.New(limit.Options{Rate: 1e9, Burst: 1 << 20, InFlight: 10}))
	}
	return stages
}

func TestTakeAllDoesNotAllocate(t *testing.T) {
	stages, ctx := fourStages(), t.Context()
	var brakes limit.Brakes
	callers := limit.NewCallers(limit.Options{Rate: 1e9, InFlight: 10})
	callers.Get("anna")
	n := testing.AllocsPerRun(1000, func() {
		all := [limit.MaxStages]limit.Stage{brakes.Stage("pub", "anna"), callers.Get("anna")}
		copy(all[2:], stages)
		gs, _, err := limit.TakeAll(ctx, all[:], limit.Ask{Cost: 3, Lane: limit.Interactive, MaxHold: time.Second})
		if err != nil {
			t.Error(err)
		}
		gs.Release()
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkTakeAll is a call that finds all that it needs at four budgets. It
// doesn't measure held calls, nor several at a time.
func BenchmarkTakeAll(b *testing.B) {
	stages, ctx := fourStages(), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		gs, _, err := limit.TakeAll(ctx, stages, limit.Ask{Cost: 1})
		if err != nil {
			b.Fatal(err)
		}
		gs.Release()
	}
}
