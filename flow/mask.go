package flow

import "io"

// Mask stands in a file for each byte of a key: what is found keeps its length,
// so that Content-Length and ranges still hold.
const Mask = '*'

// minMaskBuf is the shortest scratch space of a [MaskReader]. Files are large,
// and what is read at once is searched at once.
const minMaskBuf = 256 << 10

// MaskReader scrubs a file: every split of the source gives the same bytes, as
// many as were read. It finds what a [Reader] finds, but no fields.
type MaskReader struct {
	src   io.Reader
	s     *Scrubber
	buf   []byte
	held  []byte // at the end of what was read: not yet decided
	ready []byte // decided, not yet handed out
	err   error
	n     int

	cutHead, cutTail bool
	begun            bool // what stands at the beginning is known:
	headLeft         int  // so many bytes are still to be masked there,
	counted          bool // and that was counted
}

// NewMaskReader scrubs src. buf is scratch space, used until the end; less than
// 256 KiB is replaced.
//
// A key that is cut by the bounds of a range is found only by what [MaskReader.Cut]
// says, and if the range is no shorter than [MinRange]: [OneRange] sees to that.
func (s *Scrubber) NewMaskReader(src io.Reader, buf []byte) *MaskReader {
	if most := max(minMaskBuf, 2*(s.keys.longest+2*maxUnit)); len(buf) < most {
		buf = make([]byte, most)
	}
	return &MaskReader{src: src, s: s, buf: buf}
}

// Cut says that src is a part of a longer file, whose head, tail or both are
// missing. It must be called before anything is read. The part shows then, of a
// key that one of its ends cuts through, in any spelling, at most three
// characters and a cut escape; of one that it stands inside of, nothing, if it
// has at least [MinRange] bytes. So parts that are put together, overlapping or
// not, show no more than the first and last three characters.
//
// A key that overlaps another one before it is not looked for at the end. A file
// that broke off counts as one whose tail is missing, called or not.
func (r *MaskReader) Cut(head, tail bool) {
	r.cutHead, r.cutTail = head, tail
}

// Redactions says how many keys were masked so far.
func (r *MaskReader) Redactions() int { return r.n }

// Read hands out scrubbed bytes.
func (r *MaskReader) Read(p []byte) (int, error) {
	for len(r.ready) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// WriteTo spares [io.Copy] a buffer and a copy.
func (r *MaskReader) WriteTo(w io.Writer) (written int64, err error) {
	for {
		n, err := w.Write(r.ready)
		written += int64(n)
		if r.ready = r.ready[n:]; err == nil && len(r.ready) > 0 {
			err = io.ErrShortWrite
		}
		switch {
		case err != nil:
			return written, err
		case r.err == io.EOF: //nolint:errorlint // as readers must return it
			return written, nil
		case r.err != nil:
			return written, r.err
		}
		r.fill()
	}
}

func (r *MaskReader) fill() {
	kept := copy(r.buf, r.held)
	n, err := r.src.Read(r.buf[kept:])
	r.err = err
	b, final := r.buf[:kept+n], err != nil
	if final && err != io.EOF {
		r.cutTail = true
	}
	if r.cutHead && !r.begun {
		if !final && len(b) <= r.s.keys.reach() {
			r.held = b
			return
		}
		r.begin(b)
	}
	r.ready, r.held = r.mask(b, final)
	if n := min(r.headLeft, len(r.ready)); n > 0 {
		r.headLeft -= n
		if overwrite(r.ready[:n]) && !r.counted {
			r.counted = true
			r.n++
		}
	}
}

// begin looks at what is cut at the beginning of b, before anything in b is
// masked: a key may stand across the end of what will be.
func (r *MaskReader) begin(b []byte) {
	r.begun = true
	e := newEdges(r.s.keys)
	if r.cutTail && r.err != nil && e.inside(b) {
		r.headLeft, r.cutTail = len(b), false
		return
	}
	r.headLeft = e.head(b[:min(len(b), e.f.reach())])
}

// mask overwrites what is found in b and splits it where it is decided.
func (r *MaskReader) mask(b []byte, final bool) (ready, held []byte) {
	f := r.s.keys
	stop := len(b)
	if !final {
		stop = f.cut(b)
	}
	from := 0
	for run := f.nextRun(b, 0); run.start < stop; run = f.nextRun(b, max(from, run.end)) {
		// With a little behind the run: what an escape is may be told by that.
		find := search{f: f, b: b[:min(len(b), run.end+maxUnit)]}
		for at := run.start; ; at = from {
			m, ok := find.next(at)
			if !ok || m.start >= stop {
				break
			}
			m = wholeEscapes(b, from, m)
			for i := m.start; i < m.end; i++ {
				b[i] = Mask
			}
			from = m.end
			r.n++
		}
	}
	if final && r.cutTail {
		if at := newEdges(f).tail(b, from); overwrite(b[at:]) {
			r.n++
		}
	}
	stop = max(stop, from)
	return b[:stop], b[stop:]
}
