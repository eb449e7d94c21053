package proxy

import (
	"bufio"
	"io"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// ids makes request ids: ULIDs, which sort by time.
type ids struct {
	mu      sync.Mutex
	entropy *ulid.MonotonicEntropy
}

func newIDs(entropy io.Reader) *ids {
	return &ids{entropy: ulid.Monotonic(bufio.NewReader(entropy), 0)}
}

func (g *ids) next(now time.Time) string {
	g.mu.Lock()
	id, err := ulid.New(ulid.Timestamp(now), g.entropy)
	g.mu.Unlock()
	if err != nil {
		id = ulid.ULID{}
		_ = id.SetTime(ulid.Timestamp(now)) // without entropy an id is only not unique
	}
	return id.String()
}
