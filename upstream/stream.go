package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

// lastWord is how long a site that takes no more of a call has for its answer,
// which is on its way if there is one.
const lastWord = 2 * time.Second

// listener reads the answer while the call is still being sent.
type listener struct {
	// heard is closed once res or err are there.
	heard chan struct{}
	res   *http.Response
	err   error
}

// listen starts to read the answer on a goroutine of its own, which ends with
// it, or with the connection. Any answer that is not a success, and any end,
// stops the writer.
func (c *conn) listen(r Request) *listener {
	l := &listener{heard: make(chan struct{})}
	go func() {
		defer close(l.heard)
		l.res, l.err = c.answer(r, func() {}) //nolint:bodyclose // stream hands it on
		if l.refuses() {
			c.under.stop()
		}
	}()
	return l
}

// refuses says that there is no use in sending more. It belongs to who has
// seen heard closed.
func (l *listener) refuses() bool { return l.err != nil || l.res.StatusCode > 299 }

// early says whether the answer has come.
func (l *listener) early() bool {
	select {
	case <-l.heard:
		return true
	default:
		return false
	}
}

// stream is roundTrip with a Stream.
func (c *conn) stream(ctx context.Context, r Request, f *feed) (res *http.Response, sent bool, err error) {
	c.answered = false
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	c.under.gather(f.buf.sealed, c.site.o.BodyTimeout, c.site.o.Now)
	defer c.under.scatter()
	c.patience(ctx, time.Time{}) // the answer is not awaited yet
	l := c.listen(r)
	heard := false
	defer func() {
		if !heard { // the Stream failed, or panicked
			c.reset()
			<-l.heard
		}
	}()
	complete, sent, err := c.sendStream(r, f, l)
	if f.err != nil {
		return nil, sent, f.err
	}
	c.hear(ctx, l, err)
	heard = true
	switch {
	case l.err == nil:
		res = l.res
		res.Close = res.Close || !complete
		c.deliver(ctx, res, !res.Close)
		return res, true, nil
	case err != nil && !c.under.cut.Load():
		return nil, sent, err
	}
	return nil, sent, l.err
}

// hear waits for the answer to a call that was sent, or could not be because of
// err.
func (c *conn) hear(ctx context.Context, l *listener, err error) {
	wait := c.site.o.HeaderTimeout
	if err != nil {
		wait = lastWord
	}
	c.patience(ctx, c.site.o.Now().Add(wait))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.abort() // it had its time
	}
	<-l.heard
}

// sendStream writes the call until it is complete, or the site wants no more of
// it. sent says that some of it may have left.
func (c *conn) sendStream(r Request, f *feed, l *listener) (complete, sent bool, err error) {
	if err := c.writeHead(r); err != nil {
		return false, c.under.flushed(), err
	}
	for {
		piece, last, err := f.next()
		if err != nil {
			return false, c.under.flushed(), err
		}
		early := l.early()
		if early && l.refuses() {
			return false, true, nil
		}
		if err := c.writePiece(f, piece, last); err != nil {
			return false, c.under.flushed(), fmt.Errorf("sending to the site: %w", err)
		}
		if last {
			return !early, true, nil
		}
	}
}

// writeHead gathers all that goes before the Stream.
func (c *conn) writeHead(r Request) error {
	c.out = c.site.appendHead(c.out[:0], r)
	chunk := r.Length < 0 && len(r.Body) > 0
	if chunk {
		c.out = strconv.AppendInt(c.out, int64(len(r.Body)), 16)
		c.out = append(c.out, crlf...)
	}
	_, err := c.net.Write(c.out)
	if err == nil && len(r.Body) > 0 {
		_, err = c.net.Write(r.Body)
	}
	if err == nil && chunk {
		_, err = c.net.Write([]byte(crlf))
	}
	clear(c.out) // it may hold a token
	if err != nil {
		return fmt.Errorf("sending to the site: %w", err)
	}
	return nil
}

// writePiece writes what was gathered and a piece, which is in f's buffer, in
// its chunk if there are chunks.
func (c *conn) writePiece(f *feed, piece []byte, last bool) error {
	if f.left < 0 {
		piece = f.buf.chunk(len(piece), last)
	}
	if len(piece) > 0 {
		if _, err := c.net.Write(piece); err != nil {
			return err
		}
	}
	return c.under.flush()
}

// chunk puts the framing around a piece of n bytes.
func (b *pieceBuf) chunk(n int, last bool) []byte {
	from, to := chunkHead, chunkHead+n
	if n > 0 {
		var head [chunkHead]byte
		h := append(strconv.AppendInt(head[:0], int64(n), 16), crlf...)
		from -= copy(b.plain[chunkHead-len(h):], h)
		to += copy(b.plain[to:], crlf)
	}
	if last {
		to += copy(b.plain[to:], lastChunk)
	}
	return b.plain[from:to]
}
