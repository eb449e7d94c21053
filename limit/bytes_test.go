package limit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"stagedoor/limit"
)

func TestBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := limit.NewBytes(100)
		ctx, hangUp := context.WithCancel(t.Context())
		if err := b.Acquire(ctx, 101); !errors.Is(err, limit.ErrTooBig) {
			t.Errorf("101 of 100: %v", err)
		}
		if err := b.Acquire(ctx, 60); err != nil {
			t.Fatal(err)
		}
		held := make(chan error, 2)
		go func() { held <- b.Acquire(ctx, 60) }()
		synctest.Wait()
		small := make(chan error, 1)
		go func() { small <- b.Acquire(t.Context(), 10) }()
		synctest.Wait()
		select {
		case err := <-small:
			t.Errorf("a small body overtook a big one: %v", err)
		default:
		}
		hangUp()
		if err := <-held; !errors.Is(err, context.Canceled) {
			t.Errorf("hung up: %v", err)
		}
		if err := <-small; err != nil {
			t.Errorf("behind one that hung up: %v", err)
		}
		if b.InUse() != 70 {
			t.Errorf("in use: %d", b.InUse())
		}
		b.Release(60)
		b.Release(10)
		if b.InUse() != 0 {
			t.Errorf("in use at the end: %d", b.InUse())
		}
	})
	if m := limit.NewBytes(0).Max(); m != limit.DefaultMaxBuffered {
		t.Errorf("default: %d", m)
	}
}

func TestTryAcquireNeverWaits(t *testing.T) {
	b := limit.NewBytes(10)
	if !b.TryAcquire(0) || !b.TryAcquire(7) || b.TryAcquire(4) || b.TryAcquire(11) || b.InUse() != 7 {
		t.Errorf("%d in use", b.InUse())
	}
	b.Release(7)
	if !b.TryAcquire(10) {
		t.Error("what was released can't be taken")
	}
}

func TestLargeBodiesLeaveRoomForSmallOnes(t *testing.T) {
	r := limit.NewRoom(256<<20, 32<<20)
	if large := r.For(-1); large != r.For(1<<20) || !large.TryAcquire(192<<20) || large.TryAcquire(1) {
		t.Error("large bodies have three quarters")
	}
	if small := r.For(limit.SmallBody); small != r.For(0) || !small.TryAcquire(64<<20) || small.TryAcquire(1) {
		t.Error("small bodies have a quarter")
	}
	if n := r.InUse(); n != 256<<20 {
		t.Errorf("%d bytes in use", n)
	}
	for _, tight := range []*limit.Room{limit.NewRoom(1<<20, 1<<20), limit.NewRoom(128<<10, 1<<10)} {
		if tight.For(1) != tight.For(1<<20) {
			t.Error("where there is too little to divide, all share")
		}
		if !tight.For(1).TryAcquire(10) || tight.InUse() != 10 {
			t.Error("what is shared counts once")
		}
	}
}
