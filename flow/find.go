package flow

import (
	"bytes"
	"cmp"
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
// character, at each place where they have it, if what stands before fits, or,
// where a word begins with it, if the character after it fits. That leaves next
// to none, so a text of nothing but escapes of a word's first character costs
// little more than reading each escape once.
// It is immutable.
type finder struct {
	words   [][]byte
	window  int
	skip    *[1 << 16]uint8
	atEnd   map[uint16][]int // words by the last two bytes of their window
	escaped [256]wordPlaces  // by the first byte of the escaped character
	starts  *pairSet         // the first byte of an escaped character that begins a word, and the byte after it
	follows *pairSet         // the byte before an escaped character, and its first byte
	worth   [256]bool        // an escaped character that is, or begins, one of a word
	wide    bool             // some word has a character beyond ASCII
	may     [256]bool        // what may be a byte of a word's spelling
	intros  []byte           // what an escape may begin with
	longest int              // the longest spelling of a word
}

// wordPlaces is where words have a character: those that begin with it, and the
// others, by the byte before it and then by reach.
type wordPlaces struct{ first, later []wordPlace }

// wordPlace is a character of a word: which word, where, and the byte beside
// it: before it, after it where the word begins with it.
//
// reach is how far before it the text must be free of what may begin an escape:
// to the begin of the word, or to the last such byte in it, if ends.
type wordPlace struct {
	word, at, reach int32
	beside          byte
	ends            bool
}

// pairSet holds pairs of bytes, as block makes them.
type pairSet [1 << 16 / 64]uint64

func (p *pairSet) add(a, b byte) { p[uint16(a)<<2|uint16(b)>>6] |= 1 << (b & 63) }

func (p *pairSet) has(a, b byte) bool { return p[uint16(a)<<2|uint16(b)>>6]>>(b&63)&1 != 0 }

type span struct{ start, end int }

// newFinder finds words, spelled with escapes that begin with one of intros.
func newFinder(words [][]byte, intros string) *finder {
	f := &finder{intros: []byte(intros), window: 255, skip: new([1 << 16]uint8), atEnd: make(map[uint16][]int), starts: new(pairSet), follows: new(pairSet)}
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
		slices.SortFunc(f.escaped[c].later, func(a, b wordPlace) int { return cmp.Or(int(a.beside)-int(b.beside), int(a.reach-b.reach)) })
		f.worth[c] = f.has(byte(c)) || c == '\\' || c == '%' || c == '&'
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
	intro := -1 // the last one before j
	for j, c := range w {
		place := wordPlace{word: int32(i), at: int32(j), reach: int32(j), beside: w[max(1, j)-1]} //nolint:gosec // keys have kilobytes
		switch {
		case j == 0:
			place.beside = w[1]
		case intro >= 0:
			place.reach, place.ends = int32(j-intro), true
		}
		f.addPlace(c, place)
		if lead := runeUnit(rune(c), 0).c[0]; lead != c { // as Latin-1: standsFor
			f.addPlace(lead, place)
		}
		if bytes.IndexByte(f.intros, c) >= 0 {
			intro = j
		}
	}
}

func (f *finder) addPlace(c byte, place wordPlace) {
	places := &f.escaped[c]
	if place.at == 0 {
		places.first = append(places.first, place)
		f.starts.add(c, place.beside)
		return
	}
	places.later = append(places.later, place)
	f.follows.add(place.beside, c)
}

// has says whether some word has a character that begins with c.
func (f *finder) has(c byte) bool { return len(f.escaped[c].first)+len(f.escaped[c].later) > 0 }

func block(b []byte, i int) uint16 { return uint16(b[i-1])<<8 | uint16(b[i]) }

// search goes through one text.
type search struct {
	f           *finder
	b           []byte
	plain, esc  span // found, not yet passed; start len(b) for none
	intro       [maxIntros]int
	begun, done bool
	from        int                   // no word begins before it
	units       [keptReadings]reading // by the low bits of where they begin
	work        int                   // escapes read and steps taken: what all of it cost
}

// keptReadings is how many escapes are kept as they were read: a word is tried
// from the escape it begins with on, and the next ones are soon needed again.
// A power of two.
const keptReadings = 16

// reading is what stands at an escape: read once, and twice.
type reading struct {
	next        int // where it begins, plus one; 0 for none
	once, twice unit
}

// read reads the escape at p, if there is one.
func (s *search) read(p int) *reading {
	r := &s.units[p%keptReadings]
	if r.next != p+1 {
		s.work++
		r.next, r.once, r.twice.size = p+1, once(s.b[p:]), 0
		if r.once.size > 0 {
			r.twice = twice(s.b[p:], r.once)
		}
	}
	return r
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
	s.from = from
	last := from - 1 // what may begin an escape; nothing before from counts
	for p := s.nextIntro(from); p < len(s.b); last, p = p, s.nextIntro(p+1) {
		if s.f.dull(s.b[p:]) {
			continue
		}
		r := s.read(p)
		if r.once.size == 0 {
			continue
		}
		out := span{len(s.b), len(s.b)}
		two := r.twice // before r is used again
		if s.promising(p, &r.once) {
			out = s.around(last, p, r.once, out)
		}
		if s.promising(p, &two) {
			out = s.around(last, p, two, out)
		}
		if out.end > out.start {
			return out
		}
	}
	return span{len(s.b), len(s.b)}
}

// promising says whether some word begins with u, the escape at p, or has it
// behind the byte before p.
func (s *search) promising(p int, u *unit) bool {
	return u.size > 0 && (len(s.f.escaped[u.c[0]].first) > 0 || p > 0 && s.f.follows.has(s.b[p-1], u.c[0]))
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
			return !f.has('\\') && !f.has(escaped(escaped(b[3])))
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

// around tries the words that have u, the first escaped character in them, at
// p. They begin behind last, or hold what is there. It returns best, or what it
// finds that is before or longer.
func (s *search) around(last, p int, u unit, best span) span {
	best = s.beginning(p, u, best)
	if p == 0 {
		return best
	}
	places, before := s.f.escaped[u.c[0]].later, s.b[p-1]
	i, _ := slices.BinarySearchFunc(places, before, func(w wordPlace, c byte) int { return int(w.beside) - int(c) })
	for ; i < len(places) && places[i].beside == before; i++ {
		place := &places[i]
		if int(place.reach) > p-last {
			break
		}
		s.work++
		start := p - int(place.at)
		if start < s.from || place.ends != (int(place.reach) == p-last) {
			continue
		}
		w := s.f.words[place.word]
		if !bytes.Equal(s.b[start:p], w[:place.at]) {
			continue
		}
		if place.ends { // what is there may be an escape too
			best = s.try(start, w, 0, best)
		} else {
			best = s.try(start, w, int(place.at), best)
		}
	}
	return best
}

// beginning is around for the words that begin with u.
func (s *search) beginning(p int, u unit, best span) span {
	places := s.f.escaped[u.c[0]].first
	if len(places) == 0 {
		return best
	}
	after := s.after(p + int(u.size))
	if u.n == 1 && !after.may(s.f.starts, u.c[0]) {
		return best
	}
	for _, place := range places {
		if u.n > 1 || after.has(place.beside) {
			best = s.try(p, s.f.words[place.word], 0, best)
		}
	}
	return best
}

// try looks for word at start, of which known bytes are known to be there.
func (s *search) try(start int, word []byte, known int, best span) span {
	steps := 8 * len(word)
	end := s.spelledFrom(start+known, word[known:], &steps)
	if end > 0 && (start < best.start || start == best.start && end > best.end) {
		return span{start, end}
	}
	return best
}

// byteSet is what the next byte of a word may be where a text goes on.
type byteSet struct {
	c [5]byte
	n int
}

func (s *byteSet) add(c byte) { s.c[s.n], s.n = c, s.n+1 }

func (s *byteSet) has(c byte) bool { return bytes.IndexByte(s.c[:s.n], c) >= 0 }

// may says whether one of them follows a in a pair of p.
func (s *byteSet) may(p *pairSet, a byte) bool {
	for _, b := range s.c[:s.n] {
		if p.has(a, b) {
			return true
		}
	}
	return false
}

// after lists what a word may go on with at p: the first bytes of all that
// standsFor may take for one.
func (s *search) after(p int) (out byteSet) {
	if p >= len(s.b) {
		return out
	}
	out.add(s.b[p])
	if !begins(s.b[p]) {
		return out
	}
	r := s.read(p)
	for _, u := range [2]*unit{&r.once, &r.twice} {
		if u.size == 0 {
			continue
		}
		out.add(u.c[0])
		if c, ok := u.latin1(); ok {
			out.add(c)
		}
	}
	return out
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
