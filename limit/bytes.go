package limit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// DefaultMaxBuffered is the bound on all buffered bodies together where the
// configuration names nothing: 256 MiB.
const DefaultMaxBuffered = 256 << 20

// ErrTooBig is wrapped in the error for an amount that exceeds the whole
// bound: waiting could never help.
var ErrTooBig = errors.New("more than may be buffered in all")

// Bytes bounds what bodies take in memory together (`max_buffered`). A body is
// not read before its length is acquired, so that a flood waits in the kernel's
// socket buffers instead of here. It is safe for concurrent use; use
// [NewBytes].
type Bytes struct {
	max   int64
	sem   *semaphore.Weighted
	inUse atomic.Int64
}

// NewBytes makes a bound of limit bytes; 0 or less is [DefaultMaxBuffered].
func NewBytes(limit int64) *Bytes {
	if limit <= 0 {
		limit = DefaultMaxBuffered
	}
	return &Bytes{max: limit, sem: semaphore.NewWeighted(limit)}
}

// Acquire waits, in order of arrival, until n bytes are free and takes them; 0
// or less takes none. The error wraps [ErrTooBig] when n exceeds the bound, or
// is ctx.Err() when the caller hung up first; then nothing was taken. After a
// nil error the same n must be released.
func (b *Bytes) Acquire(ctx context.Context, n int64) error {
	if n <= 0 {
		return nil
	}
	if n > b.max {
		return fmt.Errorf("limit: %d bytes: %w (%d)", n, ErrTooBig, b.max)
	}
	if err := b.sem.Acquire(ctx, n); err != nil {
		return err
	}
	b.inUse.Add(n)
	return nil
}

// TryAcquire takes n bytes if they are free now, and says whether it did.
func (b *Bytes) TryAcquire(n int64) bool {
	if n <= 0 {
		return true
	}
	if !b.sem.TryAcquire(n) {
		return false
	}
	b.inUse.Add(n)
	return true
}

// Release gives back n bytes, all or part of what was acquired; 0 or less
// gives back none. To release more than was acquired is a bug, and panics.
func (b *Bytes) Release(n int64) {
	if n <= 0 {
		return
	}
	b.inUse.Add(-n)
	b.sem.Release(n)
}

// InUse is how many bytes are taken.
func (b *Bytes) InUse() int64 { return b.inUse.Load() }

// Max is the bound.
func (b *Bytes) Max() int64 { return b.max }

// SmallBody is the largest body that counts as small, in bytes: 64 KiB.
const SmallBody = 64 << 10

// Room is `max_buffered` in two parts: large bodies never take the quarter that
// is kept for small ones, so that a flood of them does not keep out the calls
// that most tools make. It is safe for concurrent use; use [NewRoom].
type Room struct{ small, large *Bytes }

// NewRoom divides total bytes; 0 or less is [DefaultMaxBuffered]. A body of
// largest bytes always fits into the part for large ones: where that leaves too
// little for a quarter, small ones have less, or share.
func NewRoom(total, largest int64) *Room {
	if total <= 0 {
		total = DefaultMaxBuffered
	}
	quarter := min(total/4, total-largest)
	if quarter < SmallBody {
		all := NewBytes(total)
		return &Room{small: all, large: all}
	}
	return &Room{small: NewBytes(quarter), large: NewBytes(total - quarter)}
}

// For is the part that a body of n bytes is charged to; negative is any length.
func (r *Room) For(n int64) *Bytes {
	if n >= 0 && n <= SmallBody {
		return r.small
	}
	return r.large
}

// InUse is how many bytes are taken of both parts.
func (r *Room) InUse() int64 {
	if r.small == r.large {
		return r.large.InUse()
	}
	return r.small.InUse() + r.large.InUse()
}
