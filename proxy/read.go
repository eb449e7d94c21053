package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"stagedoor/flow"
)

// Bounds of reading a request.
const (
	// bufferWait is how long a body waits, unread, for room in max_buffered.
	bufferWait = 20 * time.Second
	// bodyTime and bodyRate bound how slowly a body may come: bodyTime at
	// first, and a second more for each bodyRate bytes.
	bodyTime = 60 * time.Second
	bodyRate = 64 << 10
	// maxDrain is how much of a refused body is read so that the refusal
	// reaches the client: one that is answered while it still sends sees a
	// broken connection instead.
	maxDrain = 256 << 20
	// pooled is the largest buffer that is kept for the next call.
	pooled = 64 << 10
)

// body is a request body in memory.
type body struct {
	b        []byte
	buf      *[]byte // b's buffer, when it is from the pool
	n        int64
	charged  int64 // of max_buffered
	complete bool  // read to its end
}

type bufferPool struct{ pool *sync.Pool }

func newBufferPool() bufferPool {
	return bufferPool{&sync.Pool{New: func() any { b := make([]byte, pooled); return &b }}}
}

func (p bufferPool) get() *[]byte {
	b, ok := p.pool.Get().(*[]byte)
	if !ok {
		fresh := make([]byte, pooled)
		return &fresh
	}
	return b
}

func (p bufferPool) put(b *[]byte) { p.pool.Put(b) }

// read takes the whole body before anything is decided. Any error of reading
// is a refusal, even where the bytes so far would be a complete call.
func (x *exchange) read() bool {
	limit, want := x.st.MaxBody, x.r.ContentLength
	if want > limit {
		return x.refuse(TooBig, tooBig(limit), "")
	}
	if want < 0 {
		want = limit // chunked: it may be that long
	}
	if !x.reserve(want) {
		return false
	}
	rc := http.NewResponseController(x.w)
	_ = rc.SetReadDeadline(x.p.cfg.Now().Add(bodyTime + time.Duration(want/bodyRate)*time.Second))
	err := x.readAll(want)
	_ = rc.SetReadDeadline(time.Time{})
	switch {
	case errors.Is(err, errTooLong):
		return x.refuse(TooBig, tooBig(limit), "")
	case err != nil:
		x.body.complete = true // nothing more will come
		x.w.Header()["Connection"] = []string{"close"}
		return x.refuse(BadFraming, "", "")
	}
	x.body.complete = true
	x.body.n = int64(len(x.body.b))
	if over := x.body.charged - x.body.n; over > 0 {
		x.p.buffered.Release(over)
		x.body.charged = x.body.n
	}
	return true
}

func tooBig(limit int64) string {
	return "the request's body is larger than max_body (" + size(limit) + ")"
}

// reserve waits for room before a body is read, so that a flood waits in the
// kernel's socket buffers.
func (x *exchange) reserve(n int64) bool {
	ctx, cancel := context.WithTimeout(x.r.Context(), bufferWait)
	defer cancel()
	if err := x.p.buffered.Acquire(ctx, n); err != nil {
		x.retryAfter = time.Second
		return x.refuse(Busy, "too many calls are waiting on this host (max_buffered); try again", "")
	}
	x.body.charged = n
	return true
}

var errTooLong = errors.New("too long")

func (x *exchange) readAll(want int64) error {
	if x.r.ContentLength >= 0 && want <= pooled {
		x.body.buf = x.p.buffers.get()
		x.body.b = (*x.body.buf)[:want]
	} else {
		x.body.b = make([]byte, 0, min(want, 1<<20)+512)
		return x.readLong(want)
	}
	if _, err := io.ReadFull(x.r.Body, x.body.b); err != nil {
		return err
	}
	// The end has to be seen: only then does net/http watch for a hang-up.
	var one [1]byte
	if n, err := x.r.Body.Read(one[:]); n != 0 || !errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (x *exchange) readLong(limit int64) error {
	for {
		if len(x.body.b) == cap(x.body.b) {
			x.body.b = append(x.body.b, 0)[:len(x.body.b)]
		}
		n, err := x.r.Body.Read(x.body.b[len(x.body.b):cap(x.body.b)])
		x.body.b = x.body.b[:len(x.body.b)+n]
		switch {
		case int64(len(x.body.b)) > limit:
			return errTooLong
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// releaseBody lets go of the caller's bytes. m, if any, is what is kept of
// them while the call is held; without it everything is given back.
func (x *exchange) releaseBody(m *flow.Message) {
	if x.body.buf != nil {
		clear(x.body.b) // it may hold a key that the tool carried
		x.p.buffers.put(x.body.buf)
	}
	x.body.b, x.body.buf = nil, nil
	if m == nil {
		x.p.buffered.Release(x.body.charged)
		x.body.charged = 0
	}
}

// drain reads a refused body to its end, within bounds, so that the client
// reads the refusal instead of seeing its connection break.
func (x *exchange) drain() {
	x.body.complete = true
	if x.reason.answer().fault == 0 || x.r.Header.Get("Expect") != "" || x.r.ContentLength > maxDrain {
		x.w.Header()["Connection"] = []string{"close"}
		return
	}
	_ = http.NewResponseController(x.w).SetReadDeadline(x.p.cfg.Now().Add(bodyTime + time.Duration(max(0, x.r.ContentLength)/bodyRate)*time.Second))
	buf := x.p.buffers.get()
	defer x.p.buffers.put(buf)
	for left := int64(maxDrain); left > 0; {
		n, err := x.r.Body.Read(*buf)
		left -= int64(n)
		if err != nil {
			if errors.Is(err, io.EOF) {
				_ = http.NewResponseController(x.w).SetReadDeadline(time.Time{})
				return
			}
			break
		}
	}
	x.w.Header()["Connection"] = []string{"close"}
}

// size writes a number of bytes as the configuration does.
func size(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return itoa(n>>20) + " MiB"
	case n >= 1<<10 && n%(1<<10) == 0:
		return itoa(n>>10) + " KiB"
	}
	return itoa(n) + " bytes"
}
