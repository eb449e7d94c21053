package upstream

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxSealed is how much of encrypted records is gathered for one write: a
	// piece and a call's head, with what TLS adds to each record.
	maxSealed = pieceSize + 16<<10
	// aheadSize is how much of an answer is taken from the kernel at once: eight
	// records of TLS. Four cost an eighth more CPU, sixteen no less.
	aheadSize = 128 << 10
)

// wire is the connection under TLS.
type wire struct {
	net.Conn
	dry bool // give TLS nothing but what was read ahead
	// ended says that the connection did, which TLS's own end should come before.
	ended bool

	// While a Stream is sent: records are gathered in out, and each write has
	// limit. cut, which another goroutine may set, makes all further writes fail.
	mu    sync.Mutex // guards out and left
	out   []byte
	left  bool // some of it may have
	limit time.Duration
	now   func() time.Time
	cut   atomic.Bool

	// While a long answer is read: in holds what was read ahead, from at on.
	in *aheadBuf
	at int
	n  int
}

// aheadBuf is what was read ahead of TLS, encrypted.
type aheadBuf [aheadSize]byte

// Read is the connection's, or says that nothing has come. TLS goes on after an
// error that is a timeout.
func (w *wire) Read(p []byte) (int, error) {
	if w.at < w.n {
		n := copy(p, w.in[w.at:w.n])
		w.at += n
		return n, nil
	}
	switch {
	case w.dry:
		return 0, os.ErrDeadlineExceeded
	case w.in == nil || len(p) >= len(w.in):
		n, err := w.Conn.Read(p)
		w.ended = w.ended || errors.Is(err, io.EOF)
		return n, err
	}
	n, err := w.Conn.Read(w.in[:])
	w.ended = w.ended || errors.Is(err, io.EOF)
	w.at, w.n = copy(p, w.in[:n]), n
	return w.at, err
}

// readAhead has more than a record taken from the kernel at once, into a buffer
// of the pool's.
func (w *wire) readAhead(pool *sync.Pool) {
	if w.in != nil {
		return
	}
	b, ok := pool.Get().(*aheadBuf)
	if !ok {
		b = new(aheadBuf)
	}
	w.in, w.at, w.n = b, 0, 0
}

// readNoFurther gives the buffer back. What it still holds is lost.
func (w *wire) readNoFurther(pool *sync.Pool) {
	if w.in == nil {
		return
	}
	pool.Put(w.in)
	w.in, w.at, w.n = nil, 0, 0
}

// Write is the connection's, or gathers what is to be flushed. TLS writes for
// itself, too, on whichever goroutine reads.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out == nil {
		return w.Conn.Write(p)
	}
	if len(w.out)+len(p) > cap(w.out) {
		if err := w.flushLocked(); err != nil {
			return 0, err
		}
	}
	w.out = append(w.out, p...)
	return len(p), nil
}

// gather begins to gather writes in buf, each of which will have limit.
func (w *wire) gather(buf []byte, limit time.Duration, now func() time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut.Store(false)
	w.out, w.left, w.limit, w.now = buf[:0], false, limit, now
}

// scatter ends that. What was gathered and not flushed is forgotten.
func (w *wire) scatter() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = nil
}

func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flushLocked()
}

// flushLocked writes what was gathered.
func (w *wire) flushLocked() error {
	_ = w.SetWriteDeadline(w.now().Add(w.limit))
	if w.cut.Load() {
		w.stop() // again: the deadline just set may have undone it
	}
	w.left = true
	_, err := w.Conn.Write(w.out)
	w.out = w.out[:0]
	return err
}

// flushed says whether the site may have seen some of what was gathered.
func (w *wire) flushed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left
}

// stop makes a write that waits return, and all further ones fail.
func (w *wire) stop() {
	w.cut.Store(true)
	_ = w.SetWriteDeadline(time.Unix(1, 0))
}

// reset ends the connection in a way that no site takes for the end of a call.
func (w *wire) reset() {
	if c, ok := w.Conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = w.Close()
}
