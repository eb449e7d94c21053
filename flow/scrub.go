package flow

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/url"
	"slices"

	"stagedoor/secret"
)

// Redacted stands where a key was. It is plain ASCII without quotes or
// backslashes, so it may stand inside a JSON string, a header or HTML alike.
const Redacted = "[redacted by stagedoor]"

// maxUnit is the longest spelling of one byte that [Scrubber] reads: \u0041.
const maxUnit = 6

// Scrubber removes keys from answers: the plain bytes, as JSON may escape them
// (any mix of \u0041 and \/), as a URL may (any mix of %41), in base64 (both
// alphabets, at every alignment) and in hex. It also empties the members of
// objects that are named like a credential field.
//
// A Scrubber is immutable and safe for concurrent use.
type Scrubber struct {
	keys    [][]byte // plain
	needles [][]byte // spellings found by exact search
	first   [256]bool
	longest int
}

// NewScrubber builds a scrubber for keys. Absent ones are skipped.
func NewScrubber(keys ...secret.Value) *Scrubber {
	s := &Scrubber{}
	for _, k := range keys {
		if !k.IsZero() {
			k.Reveal(func(b []byte) { s.add(bytes.Clone(b)) })
		}
	}
	for _, n := range s.needles {
		s.first[n[0]] = true
		s.longest = max(s.longest, len(n))
	}
	for _, k := range s.keys {
		s.first[k[0]] = true
		s.longest = max(s.longest, maxUnit*len(k))
	}
	s.first['\\'], s.first['%'] = true, true
	return s
}

func (s *Scrubber) add(key []byte) {
	s.keys = append(s.keys, key)
	add := func(n []byte) {
		if len(n) > 0 && !slices.ContainsFunc(s.needles, func(o []byte) bool { return bytes.Equal(o, n) }) {
			s.needles = append(s.needles, n)
		}
	}
	add(key)
	add([]byte(url.QueryEscape(string(key)))) // a space as +
	add([]byte(hex.EncodeToString(key)))
	add(bytes.ToUpper([]byte(hex.EncodeToString(key))))
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			// The key inside something longer starts at any of three bit
			// positions; the characters at the rims also hold bits of the
			// neighbours and are left out of the search.
			padded := append(make([]byte, shift), key...)
			text := enc.EncodeToString(padded)
			head := (shift*8 + 5) / 6
			tail := len(padded) * 8 / 6
			add([]byte(text[head:tail]))
		}
	}
}

// Bytes returns b with every key replaced, and how many were. b itself is
// returned when there was none.
func (s *Scrubber) Bytes(b []byte) ([]byte, int) {
	out, rest, n := s.step(nil, b, true)
	if n == 0 && len(rest) == 0 {
		return b, 0
	}
	return out, n
}

// Whole scrubs a complete answer; fields as in [Scrubber.NewReader].
func (s *Scrubber) Whole(b []byte, fields bool) ([]byte, int) {
	b, n := s.Bytes(b)
	if fields && mayHoldField(b) {
		f := &fieldFilter{}
		b = f.step(b, true)
		n += f.n
	}
	return b, n
}

// String is Bytes for a header's value.
func (s *Scrubber) String(v string) (string, int) {
	out, n := s.Bytes([]byte(v))
	return string(out), n
}

// step appends the scrubbed form of b to dst. Unless final, it stops where a
// key might begin and go on beyond b, and returns that rest.
func (s *Scrubber) step(dst, b []byte, final bool) (out, rest []byte, n int) {
	if len(s.keys) == 0 {
		return append(dst, b...), nil, 0
	}
	start := 0
	if !s.suspect(b) {
		if final {
			return append(dst, b...), nil, 0
		}
		start = max(0, len(b)-s.longest) // only the end may hold the beginning of a key
	}
	escapes := bytes.IndexByte(b, '\\') >= 0 || bytes.IndexByte(b, '%') >= 0
	from := 0
	for i := start; i < len(b); i++ {
		if !s.first[b[i]] {
			continue
		}
		end, partial := s.match(b[i:], escapes)
		switch {
		case end > 0:
			dst = append(append(dst, b[from:i]...), Redacted...)
			n++
			i += end - 1
			from = i + 1
		case partial && !final:
			return append(dst, b[from:i]...), b[i:], n
		}
	}
	return append(dst, b[from:]...), nil, n
}

// suspect is the fast no: it finds out with the standard library's vector
// search that b holds no spelling of a key, which nearly no answer does.
func (s *Scrubber) suspect(b []byte) bool {
	for _, n := range s.needles {
		if bytes.Contains(b, n) {
			return true
		}
	}
	return bytes.IndexByte(b, '%') >= 0 || bytes.Contains(b, []byte(`\u`)) || bytes.Contains(b, []byte(`\/`))
}

// match says whether a key begins at b[0], and where its spelling ends. partial
// means that b ends before that can be told.
func (s *Scrubber) match(b []byte, escapes bool) (end int, partial bool) {
	for _, n := range s.needles {
		if bytes.HasPrefix(b, n) {
			return len(n), false
		}
		if len(b) < len(n) && bytes.HasPrefix(n, b) {
			partial = true
		}
	}
	if !escapes {
		return 0, partial
	}
	for _, k := range s.keys {
		e, p := spelled(b, k)
		if e > 0 {
			return e, false
		}
		partial = partial || p
	}
	return 0, partial
}

// spelled matches word at the start of b, reading each byte of it in any
// spelling: plain, \u00XX, \x (a JSON escape) or %XX.
func spelled(b, word []byte) (end int, partial bool) {
	i := 0
	for _, want := range word {
		if i == len(b) {
			return 0, true
		}
		got, size, cut := unit(b[i:])
		if cut {
			return 0, true
		}
		if got != want {
			if b[i] != want {
				return 0, false
			}
			size = 1 // a backslash or percent sign that stands for itself
		}
		i += size
	}
	return i, false
}

// unit reads one byte in any spelling; cut means that b ends within one.
func unit(b []byte) (c byte, size int, cut bool) {
	switch b[0] {
	case '%':
		if len(b) < 3 {
			return 0, 0, true
		}
		if v, ok := unhex(b[1:3]); ok {
			return v, 3, false
		}
	case '\\':
		if len(b) < 2 {
			return 0, 0, true
		}
		if b[1] != 'u' {
			return escaped(b[1]), 2, false
		}
		if len(b) < 6 {
			return 0, 0, true
		}
		hi, ok1 := unhex(b[2:4])
		lo, ok2 := unhex(b[4:6])
		if ok1 && ok2 && hi == 0 {
			return lo, 6, false
		}
	}
	return b[0], 1, false
}

func escaped(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 't':
		return '\t'
	case 'r':
		return '\r'
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	}
	return c
}

func unhex(b []byte) (byte, bool) {
	var v byte
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | (c - '0')
		case c >= 'a' && c <= 'f':
			v = v<<4 | (c - 'a' + 10)
		case c >= 'A' && c <= 'F':
			v = v<<4 | (c - 'A' + 10)
		default:
			return 0, false
		}
	}
	return v, true
}

// Reader scrubs a stream: every split of the source gives the same bytes.
type Reader struct {
	src    io.Reader
	s      *Scrubber
	fields *fieldFilter
	held   []byte // read, not yet decided
	ready  []byte // scrubbed, not yet handed out
	buf    []byte
	err    error
	n      int
}

// NewReader scrubs src. buf is scratch space of at least 4 KiB, used until the
// end. fields says whether members named like a credential field are emptied,
// which schema answers must not be.
func (s *Scrubber) NewReader(src io.Reader, buf []byte, fields bool) *Reader {
	r := &Reader{src: src, s: s, buf: buf}
	if fields {
		r.fields = &fieldFilter{}
	}
	return r
}

// Redactions says how many keys and credential fields were removed so far.
func (r *Reader) Redactions() int {
	if r.fields != nil {
		return r.n + r.fields.n
	}
	return r.n
}

// Read hands out scrubbed bytes.
func (r *Reader) Read(p []byte) (int, error) {
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

func (r *Reader) fill() {
	n, err := r.src.Read(r.buf)
	r.err = err
	chunk := r.buf[:n]
	if len(r.held) > 0 {
		chunk = append(bytes.Clone(r.held), chunk...)
	}
	out, rest, found := r.s.step(nil, chunk, err != nil)
	r.n += found
	r.held = bytes.Clone(rest)
	if r.fields != nil {
		out = r.fields.step(out, err != nil)
	}
	r.ready = out
}
