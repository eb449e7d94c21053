package parts_test

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"stagedoor/internal/parts"
)

func redisAt(t *testing.T, address string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{
		Addr: address, Protocol: 2, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, PoolSize: 1,
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestRedisKeepsItsDataOrLosesIt(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	if err := redisAt(t, r.Address).Set(t.Context(), "a", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	was := r.Pid()
	r.Stop()
	if err := redisAt(t, r.Address).Ping(t.Context()).Err(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a stopped Redis: %v", err)
	}
	r.Restart()
	if v, err := redisAt(t, r.Address).Get(t.Context(), "a").Result(); v != "1" || err != nil || r.Pid() == was {
		t.Errorf("after a restart: %q, %v", v, err)
	}
	r.RestartEmpty()
	if v, err := redisAt(t, r.Address).Get(t.Context(), "a").Result(); !errors.Is(err, redis.Nil) {
		t.Errorf("after losing its data: %q, %v", v, err)
	}
}

func TestWireIsSlowCutAndClosedAtAWord(t *testing.T) {
	w := parts.Redis(t, parts.RedisOptions{}).Wire()
	c := redisAt(t, w.Address)
	ping := func(d time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		return c.Ping(ctx).Err()
	}
	if err := ping(time.Minute); err != nil {
		t.Fatal(err)
	}
	w.Delay(100 * time.Millisecond)
	if err := ping(10 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a slow answer came: %v", err)
	}
	if err := ping(time.Minute); err != nil {
		t.Errorf("a slow answer didn't come: %v", err)
	}
	w.Delay(0)
	w.Cut()
	if err := ping(50 * time.Millisecond); err == nil {
		t.Error("an answer came through a wire that is cut")
	}
	w.Mend()
	if err := ping(time.Minute); err != nil {
		t.Errorf("mended: %v", err)
	}
	w.Refuse()
	_ = ping(time.Minute) // a connection that was open learns of its end
	if err := ping(time.Minute); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a wire that refuses: %v", err)
	}
	w.Accept()
	c = redisAt(t, w.Address) // the other takes a refusal for the truth for a second
	if err := ping(time.Minute); err != nil {
		t.Errorf("a wire that takes connections again: %v", err)
	}
}
