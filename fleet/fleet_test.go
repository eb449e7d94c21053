package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"stagedoor/fleet"
	"stagedoor/internal/parts"
	"stagedoor/limit"
)

// patience bounds what a test waits for; only what hangs meets it.
const patience = 60 * time.Second

// notes is a log that a test reads.
type notes struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

func (n *notes) logger() *slog.Logger { return slog.New(slog.NewTextHandler(n, nil)) }

// open makes a fleet of one that ends with the test. It waits for Redis for as
// long as it takes, unless told otherwise: a machine that is busy is no outage.
func open(t *testing.T, o fleet.Options) *fleet.Fleet {
	t.Helper()
	if o.Share == 0 {
		o.Share = 0.1
	}
	if o.Timeout == 0 {
		o.Timeout = patience
	}
	f, err := fleet.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// await waits until something is so.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %v until %s", patience, what)
		}
	}
}

func take(t *testing.T, b *fleet.Budget, cost int) limit.Grant {
	t.Helper()
	g, err := b.Take(t.Context(), limit.Ask{Cost: cost})
	if err != nil {
		t.Fatalf("taking %d: %v", cost, err)
	}
	return g
}

// drain takes what can be had without being held for tokens.
func drain(b *fleet.Budget) (n int) {
	for {
		if _, err := b.Take(context.Background(), limit.Ask{Cost: 1, MaxHold: -1}); err != nil {
			return n
		}
		n++
	}
}

func TestFirstCallAsksAndLaterOnesDont(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	f := open(t, fleet.Options{URL: r.URL})
	b := f.Budget("farm", limit.Options{Rate: 100, Burst: 100})
	if g := take(t, b, 1); g.Held == 0 {
		t.Error("the first call of an idle proxy had no token to spend")
	}
	take(t, b, 1)
	await(t, "tokens are leased in advance", func() bool { return b.Stats().Leased > 0 })
	if g := take(t, b, 1); g.Held != 0 {
		t.Errorf("a call with a token there was held %v", g.Held)
	}
	if s := f.Status(); !s.Connected || s.Leases == 0 || s.Err != "" {
		t.Errorf("%+v", s)
	}
}

func TestBurstThenRefusal(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	b := open(t, fleet.Options{URL: r.URL}).Budget("farm", limit.Options{Rate: 0.01, Burst: 20})
	if n := drain(b); n != 20 {
		t.Errorf("%d calls of a burst of 20", n)
	}
	_, err := b.Take(t.Context(), limit.Ask{Cost: 1, MaxHold: time.Second})
	var refused *limit.Refused
	if !errors.As(err, &refused) || refused.Reason != limit.ReasonMaxHold || refused.RetryAfter < 90*time.Second {
		t.Errorf("%v, %+v", err, refused)
	}
}

func TestWithoutRedisTheShareHoldsAndIsLoudOnce(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	r.Stop()
	var log notes
	f := open(t, fleet.Options{URL: r.URL, Share: 0.25, Logger: log.logger()})
	b := f.Budget("farm", limit.Options{Rate: 0.04, Burst: 40})
	if n := drain(b); n != 10 {
		t.Errorf("%d calls of a quarter of a burst of 40", n)
	}
	if s := f.Status(); s.Connected || s.Err == "" || s.Share != 0.25 || s.Outages != 1 || s.FellBack == 0 {
		t.Errorf("%+v", s)
	}
	r.Restart()
	await(t, "Redis is back", func() bool { return f.Status().Connected })
	if n := drain(b); n != 40 {
		t.Errorf("%d calls of a burst of 40 that nobody has used", n)
	}
	if n := strings.Count(log.String(), "redis is away"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
	if n := strings.Count(log.String(), "redis is back"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}
