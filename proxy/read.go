package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"stagedoor/flow"
	"stagedoor/limit"
)

// Bounds of reading a request.
const (
	// bufferWait is how long a body waits, unread, for room in max_buffered.
	bufferWait = 20 * time.Second
	// bodyTime and bodyRate bound how slowly a body may come: a stall of
	// bodyTime at most, and at least bodyRate bytes a second otherwise. A stall
	// ends before bufferWait does, so that whoever waits for the room that a
	// stalled body takes gets it.
	bodyTime = 15 * time.Second
	bodyRate = 64 << 10
	// maxDrain is how much of a refused body is read so that the refusal
	// reaches the client: one that is answered while it still sends sees a
	// broken connection instead.
	maxDrain = 256 << 20
	// maxFileDrain is the same for uploads, which a client sends up to three
	// times if its connection breaks (flow-protocol §3.4).
	maxFileDrain = 16 << 30
	// drainTime is how long it may take.
	drainTime = 10 * time.Minute
	// pooled is the largest buffer that is kept for the next call.
	pooled = limit.SmallBody
)

// body is a request body in memory.
type body struct {
	b        []byte
	buf      *[]byte // b's buffer, when it is from the pool
	n        int64
	room     *limit.Bytes // what it is charged to
	charged  int64        // of room
	over     bool         // goes on beyond room
	complete bool         // read to its end
}

type bufferPool struct {
	pool *sync.Pool
	size int
}

func newBufferPool(size int) bufferPool {
	return bufferPool{&sync.Pool{New: func() any { b := make([]byte, size); return &b }}, size}
}

func (p bufferPool) get() *[]byte {
	b, ok := p.pool.Get().(*[]byte)
	if !ok {
		fresh := make([]byte, p.size)
		return &fresh
	}
	return b
}

func (p bufferPool) put(b *[]byte) { p.pool.Put(b) }

// read takes the whole body before anything is decided, but for files: of an
// upload only what stands before them, as it is parsed.
func (x *exchange) read() bool {
	switch {
	case x.isFile():
		x.meter = x.newMeter()
		return true
	case x.r.Method != http.MethodGet && x.r.Method != http.MethodHead && x.r.Method != http.MethodDelete:
		return x.readWhole()
	case x.r.ContentLength != 0:
		return x.refuse(BadFraming, "", "")
	}
	x.body.complete = true
	return true
}

// isFile says whether the body is a file, or ends in one.
func (x *exchange) isFile() bool {
	switch x.way { //nolint:exhaustive // the others have none
	case wayForm:
		return isMultipart(x.r.Header["Content-Type"])
	case wayREST:
		return flow.RESTStreams(x.r.Method, x.r.URL.Path)
	case wayStorage:
		return x.r.Method == http.MethodPut
	}
	return false
}

// readWhole reads the body. Any error is a refusal, even where the bytes so far
// would be a complete call.
func (x *exchange) readWhole() bool {
	limit, want := x.st.MaxBody, x.r.ContentLength
	if want > limit {
		return x.refuse(TooBig, tooBig(limit), "")
	}
	x.body.room = x.p.buffered.For(want)
	p := x.newPace()
	err := x.readAll(p, want)
	p.end()
	switch {
	case errors.Is(err, errNoRoom):
		return x.noRoom()
	case errors.Is(err, errTooLong):
		return x.refuse(TooBig, tooBig(limit), "")
	case err != nil:
		x.body.complete = true // nothing more will come
		x.w.Header()["Connection"] = []string{"close"}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return x.refuse(TooSlow, "", "")
		}
		return x.refuse(BadFraming, "", "")
	}
	x.body.complete = true
	x.body.n = int64(len(x.body.b))
	if over := x.body.charged - x.body.n; over > 0 {
		x.body.room.Release(over)
		x.body.charged = x.body.n
	}
	return true
}

// noRoom refuses a call that found no room in max_buffered in time.
func (x *exchange) noRoom() bool {
	if gone(x.r.Context()) {
		x.body.complete = true // nobody would read what draining it is for
		return x.hungUp()
	}
	x.retryAfter = time.Second
	return x.refuse(Busy, "too many calls are waiting on this host (max_buffered); try again", "")
}

func tooBig(limit int64) string {
	return "the request's body is larger than max_body (" + size(limit) + ")"
}

// pace ends a body that comes too slowly. A caller has bodyTime in hand and no
// more; what it sends buys time, so that one that stalls is gone soon, however
// long a body it announced.
type pace struct {
	now   func() time.Time
	rc    *http.ResponseController
	until time.Time
}

func (x *exchange) newPace() *pace {
	p := &pace{now: x.p.cfg.Now, rc: http.NewResponseController(x.w)}
	if len(x.r.Header["Expect"]) > 0 {
		_ = p.rc.SetWriteDeadline(time.Time{}) // of the last answer here; 100 Continue is to be written
	}
	return p
}

// start gives the caller all of bodyTime.
func (p *pace) start() {
	p.until = p.now().Add(bodyTime)
	_ = p.rc.SetReadDeadline(p.until)
}

// came counts n bytes.
func (p *pace) came(n int) {
	p.until = p.until.Add(time.Duration(n) * (time.Second / bodyRate))
	if most := p.now().Add(bodyTime); p.until.After(most) {
		p.until = most
	}
	_ = p.rc.SetReadDeadline(p.until)
}

// end lets the connection be idle for as long as the tool likes.
func (p *pace) end() { _ = p.rc.SetReadDeadline(time.Time{}) }

var (
	errTooLong = errors.New("too long")
	errFull    = errors.New("the buffer is full")
	errNoRoom  = errors.New("no room in max_buffered")
)

// reserve waits for room for n bytes more before they are read, so that a
// flood waits in the kernel's socket buffers.
func (x *exchange) reserve(n int64) error {
	if x.body.room.TryAcquire(n) { // as a rule; waiting costs a context and a timer
		x.body.charged += n
		return nil
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), bufferWait)
	defer cancel()
	if x.body.charged > 0 {
		return x.overdraw(ctx, n)
	}
	if err := x.body.room.Acquire(ctx, n); err != nil {
		return errNoRoom
	}
	x.body.charged += n
	return nil
}

// overdraw lets one body at a time go on beyond the bound, by max_body at most:
// bodies that each hold a part and wait for the rest would wait for each other.
func (x *exchange) overdraw(ctx context.Context, n int64) error {
	if x.body.over {
		return nil
	}
	select {
	case x.p.over <- struct{}{}:
	case <-ctx.Done():
		return errNoRoom
	}
	if x.body.room.TryAcquire(n) {
		<-x.p.over
		x.body.charged += n
		return nil
	}
	x.body.over = true
	return nil
}

// readAll reads the body.
func (x *exchange) readAll(p *pace, want int64) error {
	switch {
	case want < 0: // chunked: it might be of any length
		return x.readGrowing(p, x.st.MaxBody)
	case want > pooled:
		return x.readGrowing(p, want)
	}
	if err := x.reserve(want); err != nil {
		return err
	}
	p.start()
	x.body.buf = x.p.buffers.get()
	x.body.b = (*x.body.buf)[:want]
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

// readGrowing reserves room as the body comes: what was announced and does not
// come must not keep others out.
func (x *exchange) readGrowing(p *pace, limit int64) error {
	for {
		if err := x.grow(limit); err != nil {
			return err
		}
		p.start() // the wait for room was not the caller's
		if err := x.readTo(p, limit); !errors.Is(err, errFull) {
			return err
		}
	}
}

// readTo reads until the end, the limit or the end of the buffer.
func (x *exchange) readTo(p *pace, limit int64) error {
	for {
		if len(x.body.b) == cap(x.body.b) {
			return errFull
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
		p.came(n)
	}
}

// grow doubles the buffer, up to the limit and one byte to see that it is
// exceeded.
func (x *exchange) grow(limit int64) error {
	old := int64(cap(x.body.b))
	next := min(max(2*old, pooled), limit+1)
	if err := x.reserve(min(next, limit) - min(old, limit)); err != nil {
		return err
	}
	b := make([]byte, len(x.body.b), next)
	copy(b, x.body.b)
	clear(x.body.b) // it may hold a key that the tool carried
	x.body.b = b
	return nil
}

// releaseBody lets go of the caller's bytes. m, if any, is what is kept of
// them while the call is held; without it everything is given back.
func (x *exchange) releaseBody(m message) {
	if x.body.buf != nil {
		clear(x.body.b) // it may hold a key that the tool carried
		x.p.buffers.put(x.body.buf)
	}
	x.body.b, x.body.buf = nil, nil
	if m == nil && x.body.room != nil {
		x.body.room.Release(x.body.charged)
		x.body.charged = 0
		if x.body.over {
			x.body.over = false
			<-x.p.over
		}
	}
}

// drain reads a refused body to its end, within bounds, so that the client
// reads the refusal instead of seeing its connection break.
func (x *exchange) drain() {
	x.body.complete = true
	waits := x.r.Header.Get("Expect") != "" && x.body.b == nil && !x.meter.begun() // for a word from us, which does not come
	most := int64(maxDrain)
	if x.isFile() {
		most = maxFileDrain
	}
	plain := x.reason != "" && x.reason.answer().fault == 0 // and not an answer of the site's that came early
	if plain || waits || x.r.ContentLength > most {
		x.w.Header()["Connection"] = []string{"close"}
		return
	}
	p := x.newPace()
	p.start()
	buf := x.p.buffers.get()
	defer func() {
		clear(*buf) // it may hold a key that the tool carried
		x.p.buffers.put(buf)
	}()
	end := x.p.cfg.Now().Add(drainTime)
	for left := most; left > 0 && x.p.cfg.Now().Before(end); {
		n, err := x.r.Body.Read(*buf)
		left -= int64(n)
		if errors.Is(err, io.EOF) {
			p.end()
			return
		}
		if err != nil {
			break
		}
		p.came(n)
	}
	x.w.Header()["Connection"] = []string{"close"}
}

// meter reads a file from the caller under the same bounds as a body, of which
// the time that the site takes is no part. Its bytes are not kept.
type meter struct {
	x    *exchange
	rc   *http.ResponseController
	left time.Duration // of bodyTime
	n    int64
	err  error
}

func (x *exchange) newMeter() *meter {
	m := &meter{x: x, rc: http.NewResponseController(x.w), left: bodyTime}
	if len(x.r.Header["Expect"]) > 0 {
		_ = m.rc.SetWriteDeadline(time.Time{}) // of the last answer here; 100 Continue is to be written
	}
	return m
}

func (m *meter) begun() bool { return m != nil && m.n > 0 }

func (m *meter) Read(b []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	start := m.x.p.cfg.Now()
	_ = m.rc.SetReadDeadline(start.Add(m.left))
	n, err := m.x.r.Body.Read(b)
	m.n += int64(n)
	m.x.body.n = m.n
	m.left = min(bodyTime, m.left-m.x.p.cfg.Now().Sub(start)+time.Duration(n)*(time.Second/bodyRate))
	if err != nil {
		m.err = err
		m.x.body.complete = true // nothing more will come
		if errors.Is(err, io.EOF) {
			_ = m.rc.SetReadDeadline(time.Time{}) // the connection may be idle for as long as the tool likes
		}
	}
	return n, err
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
