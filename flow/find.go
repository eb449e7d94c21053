package flow

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// minWord is the shortest word that a finder looks for, in bytes. Keys have at
// least [secret.MinLen].
const minWord = 4

// maxIntros is how many bytes may begin an escape: begins.
const maxIntros = 4

// finder finds words in a text, plain or in any mix of escapes, in time that
// grows with the text and not with the number of words or escapes in it.
//
// Plain words are found by skipping: the two bytes at the end of a window as
// long as the shortest word say how far the window may move (Wu and Manber,
// 1994). Others hold an escape, and what stands before the first escape is
// plain: so from each escape in the text the words are tried that have its
// character, at each place where they have it, if what stands before fits.
// It is immutable.
type finder struct {
	words   [][]byte
	window  int
	skip    *[1 << 16]uint8
	atEnd   map[uint16][]int // words by the last two bytes of their window
	escaped [256][]wordPlace // by the first byte of the escaped character
	worth   [256]bool        // an escaped character that is, or begins, one of a word
	wide    bool             // some word has a character beyond ASCII
	may     [256]bool        // what may be a byte of a word's spelling
	intros  []byte           // what an escape may begin with
	longest int              // the longest spelling of a word
}

// wordPlace is a character of a word: which word, where, and the byte before.
type wordPlace struct {
	word, at int
	before   byte
}

type span struct{ start, end int }

// newFinder finds words, spelled with escapes that begin with one of intros.
func newFinder(words [][]byte, intros string) *finder {
	f := &finder{intros: []byte(intros), window: 255, skip: new([1 << 16]uint8), atEnd: make(map[uint16][]int)}
	for _, w := range words {
		if len(w) >= minWord && !slices.ContainsFunc(f.words, func(o []byte) bool { return bytes.Equal(o, w) }) {
			f.words = append(f.words, w)
			f.window = min(f.window, len(w))
			f.longest = max(f.longest, len(w)*maxUnit)
		}
	}
	for i := range f.skip {
		f.skip[i] = uint8(f.window - 1) //nolint:gosec // at most 254
	}
	for i, w := range f.words {
		for j := 1; j < f.window; j++ {
			b := block(w, j)
			f.skip[b] = min(f.skip[b], uint8(f.window-1-j)) //nolint:gosec // at most 254
		}
		last := block(w, f.window-1)
		f.atEnd[last] = append(f.atEnd[last], i)
		f.addEscaped(i, w)
	}
	for c := range f.worth {
		f.worth[c] = len(f.escaped[c]) > 0 || c == '\\' || c == '%' || c == '&'
		f.wide = f.wide || c >= utf8.RuneSelf && f.worth[c]
	}
	f.allow()
	return f
}

// allow says what the spelling of a word may be made of: its own bytes, and
// what escapes are.
func (f *finder) allow() {
	for c := range f.may {
		b := byte(c)
		f.may[c] = begins(b) || b == ';' || b == '#' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
	}
	for _, w := range f.words {
		for _, c := range w {
			f.may[c] = true
		}
	}
}

// longRun is from where on the end of a run is not looked for, in bytes.
const longRun = 4 << 10

// nextRun finds the next run, at from or later, of bytes that may all be of a
// word's spelling and that is long enough for one: no spelling is shorter than
// its word. In text there are many, in compressed data next to none, and looking
// at every window's last bytes tells.
func (f *finder) nextRun(b []byte, from int) span {
	for i := from; i+f.window <= len(b); {
		j := i + f.window - 1
		for j >= i && f.may[b[j]] {
			j--
		}
		if j >= i {
			i = j + 1
			continue
		}
		end := i + f.window
		for end < len(b) && f.may[b[end]] {
			if end++; end-i == longRun {
				return span{i, len(b)}
			}
		}
		return span{i, end}
	}
	return span{len(b), len(b)}
}

func (f *finder) addEscaped(i int, w []byte) {
	for j, c := range w {
		p := wordPlace{word: i, at: j}
		if j > 0 {
			p.before = w[j-1]
		}
		f.escaped[c] = append(f.escaped[c], p)
		if lead := runeUnit(rune(c), 0).c[0]; lead != c { // as Latin-1: standsFor
			f.escaped[lead] = append(f.escaped[lead], p)
		}
	}
}

func block(b []byte, i int) uint16 { return uint16(b[i-1])<<8 | uint16(b[i]) }

// search goes through one text.
type search struct {
	f           *finder
	b           []byte
	plain, esc  span // found, not yet passed; start len(b) for none
	intro       [maxIntros]int
	begun, done bool
}

// next finds the first word that begins at from or later, the longest if there
// are several. from must not go back from one call to the next.
func (s *search) next(from int) (span, bool) {
	if len(s.f.words) == 0 {
		return span{}, false
	}
	if !s.begun || s.plain.start < from {
		s.plain = s.nextPlain(from)
	}
	if !s.begun || s.esc.start < from {
		s.esc = s.nextEscaped(from)
	}
	s.begun = true
	out := s.plain
	if s.esc.start < out.start || s.esc.start == out.start && s.esc.end > out.end {
		out = s.esc
	}
	return out, out.start < len(s.b)
}

func (s *search) nextPlain(from int) span {
	f, b := s.f, s.b
	last := f.window - 1
	for i := from + last; i < len(b); {
		if n := int(f.skip[block(b, i)]); n > 0 {
			i += n
			continue
		}
		start, end := i-last, 0
		for _, w := range f.atEnd[block(b, i)] {
			if bytes.HasPrefix(b[start:], f.words[w]) {
				end = max(end, start+len(f.words[w]))
			}
		}
		if end > 0 {
			return span{start, end}
		}
		i++
	}
	return span{len(b), len(b)}
}

func (s *search) nextEscaped(from int) span {
	for p := s.nextIntro(from); p < len(s.b); p = s.nextIntro(p + 1) {
		if s.f.dull(s.b[p:]) {
			continue
		}
		first := once(s.b[p:])
		if first.size == 0 {
			continue
		}
		out := s.around(from, p, first.c[0], span{len(s.b), len(s.b)})
		if second := twice(s.b[p:], first); second.size > 0 {
			out = s.around(from, p, second.c[0], out)
		}
		if out.end > out.start {
			return out
		}
	}
	return span{len(s.b), len(s.b)}
}

// dull is the quick no for the escape at b[0]: it is none, or of a character
// that no word has.
func (f *finder) dull(b []byte) bool {
	if len(b) < 6 {
		return false
	}
	switch b[0] {
	case '%':
		if b[1] == 'u' {
			return f.dull16(b)
		}
		v, ok := unhex(b[1:3])
		return !ok || !f.worth[v&0xff]
	case '\\':
		if b[1] == '\\' && b[2] == '\\' && b[3] != 'u' { // long runs: twice, in short
			return len(f.escaped['\\']) == 0 && len(f.escaped[escaped(escaped(b[3]))]) == 0
		}
		switch b[1] {
		case 'u':
			return f.dull16(b)
		case 'x', '0', '1', '2', '3':
			u := jsonUnit(b)
			return !f.worth[u.c[0]]
		}
		return !f.worth[escaped(b[1])]
	case '&':
		return strings.IndexByte(entityStarts, b[1]) < 0
	}
	return false
}

// dull16 is dull for four digits of UTF-16.
func (f *finder) dull16(b []byte) bool {
	v, ok := unhex(b[2:6])
	if v >= utf8.RuneSelf {
		return !f.wide
	}
	return ok && !f.worth[v&0xff]
}

// around tries the words that have c, the first escaped character in them, at
// p. It returns best, or what it finds that is before or longer.
func (s *search) around(from, p int, c byte, best span) span {
	for _, place := range s.f.escaped[c] {
		w, start := s.f.words[place.word], p-place.at
		if start < from || place.at > 0 && s.b[p-1] != place.before || !bytes.Equal(s.b[start:p], w[:place.at]) {
			continue
		}
		n := spelled(s.b[start:], w)
		if n > 0 && (start < best.start || start == best.start && start+n > best.end) {
			best = span{start, start + n}
		}
	}
	return best
}

// nextIntro finds the next byte that may begin an escape. Each kind is looked
// for by the standard library's vector search, and once only.
func (s *search) nextIntro(from int) int {
	best := len(s.b)
	for i, c := range s.f.intros {
		if !s.done || s.intro[i] < from {
			if n := bytes.IndexByte(s.b[min(from, len(s.b)):], c); n < 0 {
				s.intro[i] = len(s.b)
			} else {
				s.intro[i] = from + n
			}
		}
		best = min(best, s.intro[i])
	}
	s.done = true
	return best
}

// cut is up to where b may be decided on while more may follow: words that
// begin there are complete, and no JSON escape goes over it.
func (f *finder) cut(b []byte) int {
	at := max(0, len(b)-f.longest-maxUnit)
	if begin, _, ok := escapeOver(b, at); ok {
		return begin
	}
	return at
}
