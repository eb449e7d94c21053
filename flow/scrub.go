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

// Scrubber removes keys from answers: the plain bytes, as JSON, a URL or HTML
// may escape them (\u0041, \/, %41, %u0041, &#65;, &quot;, in any mix, and each of
// them once more: %2541, \\u0041, \u0026quot;) or programs print them (\x41, \101),
// in base64 (both alphabets, at every alignment) and in hex, these two also of
// the key as it stands in a JSON string. It also empties the members of objects that are named
// like a credential field. Base64 broken into lines is not found.
//
// What is replaced never begins or ends inside an escape of JSON, so a JSON
// string stays one. A key that stands outside of strings, as a number of 16
// and more digits, is replaced too and leaves no JSON.
//
// A Scrubber is immutable and safe for concurrent use.
type Scrubber struct {
	keys   *finder
	fields *finder
}

// NewScrubber builds a scrubber for keys, sessions and tokens. Absent ones are
// skipped. Of a token in the form of a JWT its payload and its signature are
// found alone too, in base64 and hex the whole and the signature.
//
// A quote of a few characters can't be found by a search: the site's refusal of
// a session quotes its last four (flow-protocol §6.4), so the proxy must put a
// text of its own in the place of such answers.
func NewScrubber(keys ...secret.Value) *Scrubber {
	var words [][]byte
	for _, k := range keys {
		if k.IsZero() {
			continue
		}
		k.Reveal(func(b []byte) {
			words = append(words, spellings(bytes.Clone(b))...)
			parts, signature := tokenParts(b)
			words = append(words, parts...)
			if signature != nil {
				words = append(words, spellings(signature)...)
			}
		})
	}
	intros := `\%&`
	if slices.ContainsFunc(words, func(w []byte) bool { return bytes.IndexByte(w, ' ') >= 0 }) {
		intros += "+" // stands for a space in a query
	}
	return &Scrubber{keys: newFinder(words, intros), fields: fieldFinder()}
}

// spellings lists what a key may look like beside escapes, which the finder
// reads itself.
func spellings(key []byte) [][]byte {
	out := append([][]byte{key, []byte(url.QueryEscape(string(key)))}, encoded(key)...)
	quoted := appendQuoted(nil, string(key))
	if quoted = quoted[1 : len(quoted)-1]; len(quoted) > len(key) {
		out = append(out, encoded(quoted)...) // of a JSON document that holds it
	}
	return out
}

// encoded lists what a text may look like in hex and base64.
func encoded(key []byte) [][]byte {
	text := hex.EncodeToString(key)
	out := [][]byte{[]byte(text), bytes.ToUpper([]byte(text))}
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			// The key inside something longer starts at any of three bit
			// positions; the characters at the rims also hold bits of the
			// neighbours and are left out of the search.
			padded := append(make([]byte, shift), key...)
			text := enc.EncodeToString(padded)
			out = append(out, []byte(text[(shift*8+5)/6:len(padded)*8/6]))
		}
	}
	return out
}

// Bytes returns b with every key replaced, and how many were. b itself is
// returned when there was none.
func (s *Scrubber) Bytes(b []byte) ([]byte, int) {
	out, _, n := s.step(b, true)
	return out, n
}

// Whole scrubs a complete answer; fields as in [Scrubber.NewReader].
func (s *Scrubber) Whole(b []byte, fields bool) ([]byte, int) {
	b, n := s.Bytes(b)
	if fields {
		f := &fieldFilter{f: s.fields}
		b = f.step(b, true)
		n += f.n
	}
	return b, n
}

// String is Bytes for a header's value.
func (s *Scrubber) String(v string) (string, int) {
	out, n := s.Bytes([]byte(v))
	if n == 0 {
		return v, 0
	}
	return string(out), n
}

// step returns the scrubbed form of b, which is a part of b where nothing was
// replaced. Unless final, it stops where a key might begin and go on beyond b,
// and returns that rest of b.
func (s *Scrubber) step(b []byte, final bool) (out, rest []byte, n int) {
	stop := len(b)
	if !final {
		stop = s.keys.cut(b)
	}
	find := search{f: s.keys, b: b}
	from := 0
	for {
		m, ok := find.next(from)
		if !ok || m.start >= stop {
			break
		}
		m = wholeEscapes(b, from, m)
		out = append(append(out, b[from:m.start]...), Redacted...)
		from = m.end
		n++
	}
	stop = max(stop, from)
	if n == 0 {
		return b[:stop], b[stop:], 0
	}
	return append(out, b[from:stop]...), b[stop:], n
}

// wholeEscapes makes what was found begin and end outside of escapes of JSON. b
// was replaced up to from.
func wholeEscapes(b []byte, from int, m span) span {
	if begin, _, ok := escapeOver(b[from:], m.start-from); ok {
		m.start = from + begin
	}
	if _, end, ok := escapeOver(b[m.start:], m.end-m.start); ok {
		m.end = min(m.start+end, len(b))
	}
	return m
}

// Reader scrubs a stream: every split of the source gives the same bytes.
type Reader struct {
	src    io.Reader
	s      *Scrubber
	fields *fieldFilter
	buf    []byte
	held   []byte // at the end of buf: read, not yet decided
	ready  []byte // scrubbed, not yet handed out; often a part of buf
	err    error
	n      int
}

// NewReader scrubs src. buf is scratch space of at least 4 KiB, used until the
// end. fields says whether members named like a credential field are emptied,
// which schema answers must not be.
func (s *Scrubber) NewReader(src io.Reader, buf []byte, fields bool) *Reader {
	if most := s.keys.longest + 2*maxUnit; len(buf) < 2*most { // keys of hundreds of bytes
		buf = make([]byte, 2*most)
	}
	r := &Reader{src: src, s: s, buf: buf}
	if fields {
		r.fields = &fieldFilter{f: s.fields}
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
	kept := copy(r.buf, r.held)
	n, err := r.src.Read(r.buf[kept:])
	r.err = err
	out, rest, found := r.s.step(r.buf[:kept+n], err != nil)
	r.n += found
	r.held = rest
	if r.fields != nil {
		out = r.fields.step(out, err != nil)
	}
	r.ready = out
}
