package fleet_test

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"stagedoor/fleet"
	"stagedoor/internal/parts"
	"stagedoor/limit"
)

// heard keeps the last list of brakes that a fleet told.
type heard struct {
	mu   sync.Mutex
	list []limit.Brake
	n    int
}

func (h *heard) hear(list []limit.Brake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list, h.n = list, h.n+1
}

// on is the brakes in force, such as "script:farm=0.5 ".
func (h *heard) on() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := ""
	for _, b := range h.list {
		s += fmt.Sprintf("%s:%s=%g ", b.Scope, b.Name, b.Rate)
	}
	return s
}

func (h *heard) last() limit.Brake {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.list) == 0 {
		return limit.Brake{}
	}
	return h.list[0]
}

func listen(t *testing.T, url string) (*fleet.Fleet, *heard) {
	t.Helper()
	h := &heard{}
	f := open(t, fleet.Options{URL: url, OnBrakes: h.hear})
	return f, h
}

func brake(name string, rate float64, d time.Duration) limit.Brake {
	return limit.Brake{Scope: limit.ScopeScript, Name: name, Rate: rate, Until: time.Now().Add(d), Why: "site slow", By: "anna"}
}

func set(t *testing.T, f *fleet.Fleet, b limit.Brake) {
	t.Helper()
	if err := f.SetBrake(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func lift(t *testing.T, f *fleet.Fleet, name string) bool {
	t.Helper()
	had, err := f.LiftBrake(t.Context(), limit.ScopeScript, name)
	if err != nil {
		t.Fatal(err)
	}
	return had
}

func (h *heard) await(t *testing.T, want string) {
	t.Helper()
	await(t, "brakes are "+want, func() bool { return h.on() == want })
}

func TestABrakeIsInForceWithinTwoSeconds(t *testing.T) {
	// The longest way: a look that just missed it and hangs, the next one, and its
	// answer.
	if most := fleet.LookEvery + 2*fleet.OperationTimeout; most > 2*time.Second {
		t.Errorf("a brake may take %v", most)
	}
}

func TestBrakesReachAllAndAreLifted(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	here, h1 := listen(t, r.URL)
	_, h2 := listen(t, r.URL)
	b := brake("farm", 0.5, time.Hour)
	set(t, here, b)
	h1.await(t, "script:farm=0.5 ")
	h2.await(t, "script:farm=0.5 ")
	got := h2.last()
	if d := got.Until.Sub(b.Until).Abs(); got.Why != b.Why || got.By != b.By || d > time.Minute {
		t.Errorf("%+v", got)
	}
	set(t, here, brake("farm", 0, time.Hour))
	h2.await(t, "script:farm=0 ")
	if !lift(t, here, "farm") || lift(t, here, "farm") || lift(t, here, "nothing") {
		t.Error("lifting doesn't say whether there was a brake")
	}
	h1.await(t, "")
	h2.await(t, "")
	set(t, here, brake("farm", 3, time.Hour))
	h2.await(t, "script:farm=3 ")
	_, late := listen(t, r.URL)
	late.await(t, "script:farm=3 ")
}

func TestBrakesEndByThemselves(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	c := shell(t, r)
	f, h := listen(t, r.URL)
	set(t, f, brake("farm", 0.5, 1500*time.Millisecond))
	h.await(t, "script:farm=0.5 ")
	h.await(t, "")
	await(t, "the key is gone", func() bool { return run(t, c, "EXISTS", "stagedoor:brakes") == int64(0) })
	// With Redis away, too.
	set(t, f, brake("farm", 0.5, 1500*time.Millisecond))
	h.await(t, "script:farm=0.5 ")
	r.Stop()
	if err := f.SetBrake(t.Context(), brake("other", 1, time.Hour)); !errors.Is(err, fleet.ErrAway) {
		t.Errorf("a brake without Redis: %v", err)
	}
	await(t, "it is over", func() bool { return !h.last().Until.After(time.Now()) })
}

func TestBrakesOutliveARedisThatLostThem(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	f, h := listen(t, r.URL)
	set(t, f, brake("farm", 0.5, time.Hour))
	set(t, f, brake("other", 0, time.Hour))
	h.await(t, "script:farm=0.5 script:other=0 ")
	r.RestartEmpty()
	await(t, "Redis went", func() bool { return f.Status().Outages > 0 || f.Status().Connected })
	late, h2 := listen(t, r.URL)
	set(t, late, brake("third", 1, time.Hour))
	h2.await(t, "script:third=1 ")
	h.await(t, "script:farm=0.5 script:other=0 script:third=1 ")
	// Lifted by a proxy that never knew it.
	lift(t, late, "farm")
	h.await(t, "script:other=0 script:third=1 ")
	h2.await(t, "script:third=1 ")
}

func TestBrakesAreBounded(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	f, h := listen(t, r.URL)
	for i := range limit.MaxBrakes {
		set(t, f, brake("script-"+strconv.Itoa(i), 1, time.Hour))
	}
	if err := f.SetBrake(t.Context(), brake("one more", 1, time.Hour)); !errors.Is(err, fleet.ErrTooManyBrakes) {
		t.Errorf("one too many: %v", err)
	}
	set(t, f, brake("script-0", 2, time.Hour))
	await(t, "all are known", func() bool { return strings.Count(h.on(), "=") == limit.MaxBrakes })
	long := strings.Repeat("x", fleet.MaxBrakeText+1)
	for what, b := range map[string]limit.Brake{
		"no scope":       {Name: "farm", Until: time.Now().Add(time.Hour)},
		"no name":        {Scope: "script", Until: time.Now().Add(time.Hour)},
		"no end":         {Scope: "script", Name: "farm"},
		"past":           brake("farm", 1, -time.Second),
		"for ever":       brake("farm", 1, fleet.MaxBrakeTime+time.Minute),
		"negative":       brake("farm", -1, time.Hour),
		"no number":      brake("farm", math.NaN(), time.Hour),
		"infinite":       brake("farm", math.Inf(1), time.Hour),
		"a long name":    brake(long, 1, time.Hour),
		"two lines":      brake("a\nb", 1, time.Hour),
		"a tab":          brake("a\tb", 1, time.Hour),
		"invalid UTF-8":  brake("\xff", 1, time.Hour),
		"a long reason":  {Scope: "caller", Name: "anna", Until: time.Now().Add(time.Hour), Why: long},
		"an odd author":  {Scope: "caller", Name: "anna", Until: time.Now().Add(time.Hour), By: "\x00"},
		"an odd scope":   {Scope: "site", Name: "anna", Until: time.Now().Add(time.Hour)},
		"negative zero":  brake("farm", math.Copysign(0, -1), time.Hour),
		"faster than we": brake("farm", 1e7, time.Hour),
	} {
		if err := f.SetBrake(t.Context(), b); !errors.Is(err, fleet.ErrNoBrake) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestWhatAnotherWritesAsBrakesIsNotBelieved has all but the good one left out.
func TestWhatAnotherWritesAsBrakesIsNotBelieved(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	c := shell(t, r)
	soon := strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10)
	never := strconv.FormatInt(time.Now().Add(100*24*time.Hour).UnixMilli(), 10)
	good := "1\t0.5\t" + soon + "\tanna\tsite slow"
	bad := map[string]string{
		"script:a": "", "script:b": "0.5", "script:c": good + "\t", "script:d": "2" + good[1:],
		"script:e": "1\t0.50\t" + soon + "\tanna\tslow", "script:f": "1\t-1\t" + soon + "\tanna\tslow",
		"script:g": "1\tnan\t" + soon + "\tanna\tslow", "script:h": "1\t1e9\t" + soon + "\tanna\tslow",
		"script:i": "1\t0.5\t" + never + "\tanna\tslow", "script:j": "1\t0.5\t+" + soon + "\tanna\tslow",
		"script:k": "1\t0.5\t" + soon + "\tanna\t" + strings.Repeat("x", 100_000), "site:l": good, "m": good,
		"script:": good, "script:n": "1\t0.5\t" + soon + "\tanna\tslow\n", "script:o": "1\t0.5\t" + soon + "\t\xff\tslow",
		"script:" + strings.Repeat("p", 1000): good, "too many": "", "script:q": "1\tLifted\t" + soon + "\t\t",
	}
	for field, value := range bad {
		run(t, c, "HSET", "stagedoor:brakes", field, value)
	}
	run(t, c, "HSET", "stagedoor:brakes", "script:good", good, "", "1")
	var log notes
	h := &heard{}
	f := open(t, fleet.Options{URL: r.URL, OnBrakes: h.hear, Logger: log.logger()})
	h.await(t, "script:good=0.5 ")
	if s := f.Status(); s.BrakesErr == "" || !s.Connected {
		t.Errorf("%+v", s)
	}
	if n := strings.Count(log.String(), "brakes in redis can't be read"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
	// Ours are written nevertheless.
	set(t, f, brake("farm", 2, time.Hour))
	h.await(t, "script:farm=2 script:good=0.5 ")

	run(t, c, "DEL", "stagedoor:brakes")
	run(t, c, "SET", "stagedoor:brakes", "no hash")
	await(t, "the other kind is noticed", func() bool { return strings.Contains(f.Status().BrakesErr, "no hash") })
	if !f.Status().Connected {
		t.Error("a key of another kind made a Redis of it that is away")
	}
	set(t, f, brake("third", 1, time.Hour))
	await(t, "the problem is over", func() bool { return f.Status().BrakesErr == "" })
	h.await(t, "script:farm=2 script:good=0.5 script:third=1 ")

	many := []any{"HSET", "stagedoor:brakes"}
	for i := range 3 * limit.MaxBrakes {
		many = append(many, "script:x"+strconv.Itoa(i), good)
	}
	run(t, c, append(many, "", "2")...)
	await(t, "the flood is noticed", func() bool { return strings.Contains(f.Status().BrakesErr, "too many") })
	h.await(t, "script:farm=2 script:good=0.5 script:third=1 ")
}

func TestAStrangeVersionOfTheBrakesIsHarmless(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	c := shell(t, r)
	f, h := listen(t, r.URL)
	run(t, c, "HSET", "stagedoor:brakes", "", strings.Repeat("v", 1000))
	set(t, f, brake("farm", 2, time.Hour))
	h.await(t, "script:farm=2 ")
}

func TestABrakesRateIsThatOfAllProxiesTogether(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	passed := 0
	for range 3 {
		f := open(t, fleet.Options{URL: r.URL})
		var brakes limit.Brakes
		brakes.Share(func(scope, name string) limit.BrakeBudget {
			return f.Budget("brake:"+scope+":"+name, limit.Options{})
		})
		if err := brakes.Set(brake("farm", 0.01, time.Hour)); err != nil {
			t.Fatal(err)
		}
		s := brakes.Stage("farm", "anna")
		for range 3 {
			_, err := s.Take(t.Context(), limit.Ask{Cost: 1, MaxHold: time.Second})
			if err == nil {
				passed++
			} else if _, ok := errors.AsType[*limit.Braked](err); !ok {
				t.Error(err)
			}
		}
		if err := brakes.Set(brake("farm", 0, time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Take(t.Context(), limit.Ask{Cost: 1}); err == nil {
			t.Error("a paused call went")
		}
		if !brakes.Lift(limit.ScopeScript, "farm") || brakes.Stage("farm", "anna") != nil {
			t.Error("it can't be lifted")
		}
	}
	if passed != 1 {
		t.Errorf("%d calls of three proxies that are slowed to one in 100 s", passed)
	}
}

// A brake that ends leaves tokens of it leased, and calls that it counted. They
// are nothing to ask Redis about.
func TestABrakeThatEndsIsNoOutage(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	f := open(t, fleet.Options{URL: r.URL, Lease: 50 * time.Millisecond})
	b := f.Budget("brake:script:farm", limit.Options{Rate: 1000})
	for range 20 {
		take(t, b, 1)
	}
	await(t, "tokens are leased", func() bool { return b.Stats().Leased > 0 })
	before := f.Status()
	f.Budget("brake:script:farm", limit.Options{}) // as limit.Brakes does when it is over
	await(t, "what was leased has aged", func() bool { return b.Stats().Leased == 0 })
	other := f.Budget("site", slow(3)) // Redis has answered once more
	take(t, other, 1)
	if s := f.Status(); s.Outages != before.Outages || !s.Connected {
		t.Errorf("the end of a brake made Redis be away: %+v", s)
	}
}

// Names of brakes come from elsewhere: their budgets go with them.
func TestBrakesThatAreOverAreForgotten(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	f := open(t, fleet.Options{URL: r.URL})
	var brakes limit.Brakes
	brakes.Share(func(scope, name string) limit.BrakeBudget {
		return f.Budget("brake:"+scope+":"+name, limit.Options{})
	})
	for i := range 50 {
		brakes.Replace([]limit.Brake{brake("farm"+strconv.Itoa(i), 1, time.Hour), brake("stays", 1, time.Hour)})
		if n := f.Known(); n != 2 {
			t.Fatalf("%d budgets of two brakes", n)
		}
	}
	brakes.Share(nil)
	if n := f.Known(); n != 0 {
		t.Errorf("%d budgets of no brake", n)
	}
}
