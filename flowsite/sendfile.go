package flowsite

import (
	"context"
	"io"
	"maps"
	"net/http"
)

// sendFile streams a file, with ranges and conditions, in the way that a
// planned fault asks for.
func (x *exchange) sendFile(plan *Fault, out outcome, b *blob) {
	x.beforeReply()
	if plan == nil {
		plan = &Fault{}
	}
	if !plan.wait(x.r.Context()) {
		plan.hangUp(x.w)
	}
	src, size := b.content(), b.Size
	if x.site.opts.Echo && x.secret != "" {
		head := withEchoLines(nil, x.secret)
		src, size = joined{head, src}, size+int64(len(head))
	}
	h := x.w.Header()
	x.ownHeaders(http.StatusOK, nil)
	if x.site.opts.Echo {
		echoHeaders(h, x.secret)
	}
	h.Set("Content-Type", b.ContentType)
	h.Set("Content-Disposition", disposition(b.Name))
	h.Set("Etag", b.tag)
	maps.Copy(h, out.header)
	maps.Copy(h, plan.Header)
	w := &pacedWriter{ResponseWriter: x.w, ctx: x.r.Context(), plan: plan, chunk: x.site.opts.Chunk, size: size}
	http.ServeContent(w, x.r, "", b.modified, io.NewSectionReader(src, 0, size))
	if w.broken {
		panic(http.ErrAbortHandler)
	}
}

// joined is bytes before a file.
type joined struct {
	head []byte
	tail io.ReaderAt
}

// ReadAt reads over the seam.
func (j joined) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(j.head)) {
		n = copy(b, j.head[off:])
	}
	if n == len(b) {
		return n, nil
	}
	m, err := j.tail.ReadAt(b[n:], off+int64(n)-int64(len(j.head)))
	return n + m, err
}

// pacedWriter sends a body as a fault or Options.Chunk wants: in pieces, each
// when the Slow channel says so, or not to its end.
type pacedWriter struct {
	http.ResponseWriter
	ctx    context.Context //nolint:containedctx // of the one request that this answers
	plan   *Fault
	chunk  int
	size   int64
	sent   int64
	broken bool
}

// WriteHeader leaves out the length of a body that is to be sent chunked.
func (p *pacedWriter) WriteHeader(status int) {
	if p.chunk > 0 {
		p.Header().Del("Content-Length")
	}
	p.ResponseWriter.WriteHeader(status)
}

func (p *pacedWriter) Write(b []byte) (int, error) {
	if p.chunk == 0 && p.plan.Slow == nil && p.plan.Truncate == 0 {
		return p.ResponseWriter.Write(b)
	}
	piece := orDefault(p.chunk, len(b))
	if p.plan.Slow != nil {
		piece = orDefault(p.plan.Chunk, defaultDrip)
	}
	done := 0
	for done < len(b) {
		n := min(piece, len(b)-done)
		if p.plan.Truncate > 0 {
			n = min(n, int(max(0, p.size-int64(p.plan.Truncate)-p.sent)))
		}
		m, err := p.piece(b[done : done+n])
		done, p.sent = done+m, p.sent+int64(m)
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			p.broken = true
			return done, err
		}
	}
	return done, nil
}

// piece sends one piece when it is due.
func (p *pacedWriter) piece(b []byte) (int, error) {
	if err := p.pace(); err != nil {
		return 0, err
	}
	n, err := p.ResponseWriter.Write(b)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(p.ResponseWriter).Flush()
}

// pace waits until the next piece is due; a closed channel makes all the rest
// due.
func (p *pacedWriter) pace() error {
	if p.plan.Slow == nil {
		return nil
	}
	select {
	case <-p.plan.Slow:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}
