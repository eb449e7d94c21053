package limit_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/limit"
)

func brake(scope, name string, rate float64, d time.Duration) limit.Brake {
	return limit.Brake{Scope: scope, Name: name, Rate: rate, Until: time.Now().Add(d), Why: "render night", By: "wilma"}
}

func mustSet(t *testing.T, s *limit.Brakes, b limit.Brake) {
	t.Helper()
	if err := s.Set(b); err != nil {
		t.Fatal(err)
	}
}

func braked(t *testing.T, err error) *limit.Braked {
	t.Helper()
	var b *limit.Braked
	if !errors.As(err, &b) {
		t.Fatalf("%v, want a brake's refusal", err)
	}
	return b
}

func TestNoBrakeIsNoStage(t *testing.T) {
	var s limit.Brakes
	if s.Stage("pub", "anna") != nil {
		t.Error("a stage without a brake")
	}
	mustSet(t, &s, brake(limit.ScopeScript, "pub", 0, time.Minute))
	if s.Stage("other", "pub") != nil {
		t.Error("a caller named as the script is braked")
	}
	if s.Stage("pub", "anna") == nil {
		t.Error("the script isn't braked")
	}
}

func TestAPauseRefusesAtOnceUntilItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s limit.Brakes
		want := brake(limit.ScopeCaller, "anna", 0, 30*time.Minute)
		mustSet(t, &s, want)
		pause(10 * time.Minute)
		_, err := s.Stage("pub", "anna").Take(t.Context(), limit.Ask{})
		b := braked(t, err)
		if b.Brake != want || b.RetryAfter != 20*time.Minute || b.Held != 0 {
			t.Errorf("%+v", b)
		}
		pause(20 * time.Minute)
		if s.Stage("pub", "anna") != nil {
			t.Error("the brake is on after its end")
		}
		if l := s.List(time.Now()); len(l) != 0 {
			t.Errorf("listed after its end: %v", l)
		}
	})
}

func TestASlowBrakeHoldsAndThenRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s limit.Brakes
		mustSet(t, &s, brake(limit.ScopeScript, "pub", 1, time.Hour))
		st := s.Stage("pub", "anna")
		mustTake(t, st).Release()
		g, err := st.Take(t.Context(), limit.Ask{MaxHold: 2 * time.Second})
		if err != nil || g.Held != time.Second {
			t.Errorf("held %v, %v", g.Held, err)
		}
		st.Charge(1)
		_, err = st.Take(t.Context(), limit.Ask{MaxHold: time.Second})
		if b := braked(t, err); b.Rate != 1 || b.RetryAfter != 2*time.Second {
			t.Errorf("%+v", b)
		}
		if _, ok := errors.AsType[*limit.Refused](err); ok {
			t.Error("it passes for a limit's refusal")
		}
		ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		if _, err := st.Take(ctx, limit.Ask{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a hung up call: %v", err)
		}
	})
}

func TestWhoWaitsWhenABrakeEndsOrIsLiftedGoes(t *testing.T) {
	for name, c := range map[string]struct {
		on  time.Duration
		end func(*limit.Brakes)
	}{
		"ends":     {5 * time.Second, func(*limit.Brakes) {}},
		"lifted":   {time.Hour, func(s *limit.Brakes) { s.Lift(limit.ScopeScript, "pub") }},
		"replaced": {time.Hour, func(s *limit.Brakes) { s.Replace(nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s limit.Brakes
				mustSet(t, &s, brake(limit.ScopeScript, "pub", 0.1, c.on))
				st := s.Stage("pub", "anna")
				mustTake(t, st).Release()
				var wg sync.WaitGroup
				for range 2 { // due in 10 s and 20 s
					wg.Go(func() {
						g, err := st.Take(t.Context(), limit.Ask{})
						if err != nil || g.Held != 5*time.Second {
							t.Errorf("held %v, %v", g.Held, err)
						}
						g.Release()
					})
				}
				pause(5 * time.Second)
				c.end(&s)
				wg.Wait()
				if s.Stage("pub", "anna") != nil {
					t.Error("still on")
				}
			})
		})
	}
}

func TestAChangedBrakeKeepsWhatIsSpentAndWhoWaits(t *testing.T) {
	for name, set := range map[string]func(*limit.Brakes, limit.Brake){
		"set again": func(s *limit.Brakes, b limit.Brake) { _ = s.Set(b) },
		"by the fleet": func(s *limit.Brakes, b limit.Brake) {
			s.Replace([]limit.Brake{brake(limit.ScopeCaller, "ben", 0, time.Hour), b})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s limit.Brakes
				mustSet(t, &s, brake(limit.ScopeScript, "pub", 0.1, time.Hour))
				st := s.Stage("pub", "anna")
				mustTake(t, st).Release()
				var wg sync.WaitGroup
				wg.Go(func() {
					g, err := st.Take(t.Context(), limit.Ask{})
					if err != nil || g.Held != 2*time.Second {
						t.Errorf("held %v, %v", g.Held, err)
					}
				})
				pause(time.Second) // a tenth of a token
				set(&s, brake(limit.ScopeScript, "pub", 0.9, time.Hour))
				if _, err := take(t, s.Stage("pub", "anna")); err == nil {
					t.Error("the changed brake began anew")
				}
				wg.Wait()

				wg.Go(func() {
					_, err := st.Take(t.Context(), limit.Ask{})
					if b := braked(t, err); b.Rate != 0 || b.Held != 500*ms {
						t.Errorf("%+v", b)
					}
				})
				pause(500 * ms)
				set(&s, brake(limit.ScopeScript, "pub", 0, time.Hour))
				wg.Wait()
			})
		})
	}
}

func TestAScriptsAndACallersBrake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s limit.Brakes
		mustSet(t, &s, brake(limit.ScopeScript, "pub", 3, time.Hour))
		mustSet(t, &s, brake(limit.ScopeCaller, "anna", 1, time.Minute))
		both, other := s.Stage("pub", "anna"), s.Stage("pub", "ben")
		g := mustTake(t, both)
		_, err := take(t, both)
		if b := braked(t, err); b.Name != "anna" {
			t.Errorf("refused by the brake on %s", b.Name)
		}
		// What the caller's brake refused costs the script nothing.
		mustTake(t, other).Release()
		mustTake(t, other).Release()
		if _, err := take(t, other); braked(t, err).Name != "pub" {
			t.Error("the script's brake counts not")
		}
		g.Cancel()
		mustTake(t, both).Release()
		if _, err := take(t, other); err == nil {
			t.Error("a token too many came back")
		}
		both.Charge(1)
		pause(time.Minute)
		for range 3 { // the caller's is over
			mustTake(t, s.Stage("pub", "anna")).Release()
		}
	})
}

func TestBrakesAreListedLiftedAndBounded(t *testing.T) {
	var s limit.Brakes
	for _, b := range []limit.Brake{
		{},
		brake("site", "pub", 1, time.Hour), brake(limit.ScopeScript, "", 1, time.Hour),
		brake(limit.ScopeScript, "pub", -1, time.Hour), brake(limit.ScopeScript, "pub", math.NaN(), time.Hour),
		brake(limit.ScopeScript, "pub", math.Inf(1), time.Hour), brake(limit.ScopeScript, "pub", 1, 0),
	} {
		if err := s.Set(b); !errors.Is(err, limit.ErrNoBrake) {
			t.Errorf("%+v: %v", b, err)
		}
	}
	mustSet(t, &s, brake(limit.ScopeScript, "pub", 1, time.Hour))
	mustSet(t, &s, brake(limit.ScopeCaller, "pub", 0, time.Hour))
	mustSet(t, &s, brake(limit.ScopeScript, "pub", 2, time.Hour))
	l := s.List(time.Now())
	if len(l) != 2 || l[0].Scope != limit.ScopeCaller || l[1].Rate != 2 {
		t.Errorf("listed: %+v", l)
	}
	if !s.Lift(limit.ScopeCaller, "pub") || s.Lift(limit.ScopeCaller, "pub") || s.Lift("?", "pub") {
		t.Error("lifted what isn't on, or not what is")
	}
	if l := s.List(time.Now()); len(l) != 1 {
		t.Errorf("listed: %+v", l)
	}

	var all []limit.Brake
	for i := range limit.MaxBrakes {
		all = append(all, brake(limit.ScopeScript, fmt.Sprint(i), 1, time.Hour))
	}
	all = append(all, brake(limit.ScopeScript, "long", 0, 2*time.Hour), brake(limit.ScopeScript, "past", 0, -1), limit.Brake{})
	s.Replace(all)
	if l := s.List(time.Now()); len(l) != limit.MaxBrakes || l[len(l)-1].Name != "long" {
		t.Errorf("%d listed", len(l))
	}
	if err := s.Set(brake(limit.ScopeScript, "one more", 1, time.Hour)); !errors.Is(err, limit.ErrTooManyBrakes) {
		t.Error(err)
	}
	mustSet(t, &s, brake(limit.ScopeScript, "1", 0, time.Hour))
	s.Replace(nil)
	if s.Stage("1", "") != nil {
		t.Error("on though the fleet says none")
	}
}

func TestBrakesAreSafeToChangeWhileAsked(t *testing.T) {
	var s limit.Brakes
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				switch {
				case i == 0 && j%3 == 0:
					s.Replace([]limit.Brake{brake(limit.ScopeScript, "pub", float64(j%2), time.Hour)})
				case i == 1 && j%5 == 0:
					_ = s.Set(brake(limit.ScopeCaller, "anna", 1000, time.Duration(j)*ms))
				case i == 2 && j%7 == 0:
					s.Lift(limit.ScopeScript, "pub")
				}
				st := s.Stage("pub", "anna")
				if st == nil {
					continue
				}
				g, err := st.Take(t.Context(), limit.Ask{MaxHold: ms})
				if err == nil {
					g.Cancel()
				} else if b, ok := errors.AsType[*limit.Braked](err); !ok {
					t.Errorf("%v, %v", b, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestBrakesThatShareTheirBudgets(t *testing.T) {
	var brakes limit.Brakes
	until := time.Now().Add(time.Hour)
	slow := limit.Brake{Scope: limit.ScopeScript, Name: "pub", Rate: 0.001, Until: until}
	if err := brakes.Set(slow); err != nil {
		t.Fatal(err)
	}
	take := func() error {
		_, err := brakes.Stage("pub", "anna").Take(t.Context(), limit.Ask{Cost: 1, MaxHold: -1})
		return err
	}
	if err := take(); err != nil {
		t.Fatal(err)
	}
	shared := limit.New(limit.Options{})
	asked := 0
	brakes.Share(func(scope, name string) limit.BrakeBudget {
		if asked++; scope != limit.ScopeScript || name != "pub" {
			t.Errorf("asked for %s %q", scope, name)
		}
		return shared
	})
	shared.Charge(1)
	if err := take(); err == nil || asked != 1 {
		t.Errorf("a brake that is on didn't take its budget from elsewhere: %v, asked %d times", err, asked)
	}
	if err := brakes.Set(slow); err != nil || asked != 1 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	brakes.Share(func(string, string) limit.BrakeBudget { return shared })
	if err := take(); err == nil {
		t.Error("a budget that was given again lost its rate")
	}
	brakes.Share(nil)
	if err := take(); err != nil {
		t.Errorf("a budget of its own: %v", err)
	}
	if _, err := shared.Take(t.Context(), limit.Ask{Cost: 100, MaxHold: -1}); err != nil {
		t.Errorf("a budget that no brake has any more: %v", err)
	}
}
