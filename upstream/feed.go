package upstream

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	// pieceSize is how much of a Stream is read, and sent, at once: four records
	// of TLS. Two or four times as much costs as much CPU and more memory, one
	// record at a time an eighth more CPU.
	pieceSize = 64 << 10
	// chunkHead and chunkTail are the room for a chunk's framing around a piece.
	chunkHead = 8
	chunkTail = len(crlf + lastChunk)
	// maxEmpty is how many times in a row a Stream may give nothing, and no
	// error.
	maxEmpty = 100

	crlf      = "\r\n"
	lastChunk = "0\r\n\r\n"
)

var (
	errShort   = fmt.Errorf("it ends before the length that was announced: %w", io.ErrUnexpectedEOF)
	errLong    = errors.New("it is longer than was announced")
	errReader  = errors.New("its reader counts wrong")
	errStopped = errors.New("the body is wanted no more")
)

// feed reads a Stream exactly: its last bytes are handed out only once it is
// known to end there, so that what follows from them is never a complete call
// that the caller's side did not complete. One goroutine uses it at a time.
type feed struct {
	r    io.Reader
	left int64 // of the announced length; -1 if none was
	buf  *pieceBuf
	// piece is what was read and not handed out yet.
	piece []byte
	ended bool  // cleanly; piece is the last
	err   error // how it failed
}

// pieceBuf holds one piece with its framing, and as it is encrypted.
type pieceBuf struct {
	plain  [chunkHead + pieceSize + chunkTail]byte
	sealed []byte
}

// pieces keeps the buffers of Streams.
type pieces struct{ pool sync.Pool }

func (p *pieces) get() *pieceBuf {
	if b, ok := p.pool.Get().(*pieceBuf); ok {
		return b
	}
	return &pieceBuf{sealed: make([]byte, 0, maxSealed)}
}

// put clears the caller's bytes.
func (p *pieces) put(b *pieceBuf) {
	clear(b.plain[:])
	b.sealed = b.sealed[:0]
	p.pool.Put(b)
}

// next reads the next piece, after which last says that there is none. It may
// be empty where it is the last.
func (f *feed) next() (piece []byte, last bool, err error) {
	if f.piece == nil && !f.ended && f.err == nil {
		f.fill()
	}
	piece, f.piece = f.piece, nil
	return piece, f.ended, f.err
}

// Read hands the Stream out in smaller pieces.
func (f *feed) Read(p []byte) (int, error) {
	if f.piece == nil && !f.ended && f.err == nil {
		f.fill()
	}
	if f.err != nil {
		return 0, f.err
	}
	n := copy(p, f.piece)
	f.piece = f.piece[n:]
	if len(f.piece) > 0 {
		return n, nil
	}
	f.piece = nil
	if f.ended {
		return n, io.EOF
	}
	return n, nil
}

// fill reads one piece. What came with an error is not handed out.
func (f *feed) fill() {
	p := f.buf.plain[chunkHead : chunkHead+pieceSize]
	n, err := f.read(p)
	switch {
	case err == nil:
	case isEnd(err):
		f.ended = true
	default:
		f.err = fmt.Errorf("reading what is to be sent: %w", err)
		return
	}
	f.piece = p[:n]
}

// read is r's Read within the announced length. io.EOF comes with the last
// bytes, and no other error with any.
func (f *feed) read(p []byte) (int, error) {
	if f.left < 0 {
		return f.pull(p)
	}
	n, err := 0, error(nil)
	if f.left > 0 {
		n, err = f.pull(p[:min(int64(len(p)), f.left)])
		f.left -= int64(n)
	}
	switch {
	case err == nil && f.left == 0:
		var one [1]byte
		more, err := f.pull(one[:])
		if more > 0 {
			return 0, errLong
		}
		return n, err
	case isEnd(err) && f.left > 0:
		return 0, errShort
	}
	return n, err
}

// pull reads something, or an error.
func (f *feed) pull(p []byte) (int, error) {
	for range maxEmpty {
		n, err := f.r.Read(p)
		switch {
		case n < 0 || n > len(p):
			return 0, errReader
		case isEnd(err):
			return n, err
		case err != nil:
			return 0, err
		case n > 0:
			return n, nil
		}
	}
	return 0, io.ErrNoProgress
}

// isEnd knows a clean end. One that is wrapped is an error that quotes it.
func isEnd(err error) bool { return err == io.EOF } //nolint:errorlint // as said
