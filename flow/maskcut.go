package flow

import (
	"bytes"
	"slices"
	"strings"
)

const (
	// minEdge is how many characters of a word must stand at the edge of a part
	// of a file to be masked. Fewer tell little of a key, and would be found in
	// any text.
	minEdge = 4
	// minInside is how many bytes of a word a part that stands inside one must
	// have to be masked however few characters these spell: MinRange.
	minInside = MinRange
)

// edges looks for what the edges of a part of a file show of a word. Like
// [finder] it reads each character in any spelling; of an escape that is itself
// cut, what is left is read too, if it is of a character up to U+00FF.
type edges struct {
	f     *finder
	first [256][][]byte // words, by the first byte of what their first character may be read as
}

func newEdges(f *finder) *edges {
	e := &edges{f: f}
	for _, w := range f.words {
		c := w[0]
		e.first[c] = append(e.first[c], w)
		if lead := runeUnit(rune(c), 0).c[0]; lead != c { // as Latin-1: standsFor
			e.first[lead] = append(e.first[lead], w)
		}
	}
	return e
}

// reach is how many bytes from an edge tell what there is.
func (f *finder) reach() int { return f.longest + 2*maxUnit }

// head says how many bytes at the start of b are the tail of a word.
func (e *edges) head(b []byte) int {
	longest := 0
	var in *search // rest is one of two
	e.eachTail(b, func(rest, tail []byte) {
		if len(tail) < minEdge {
			return
		}
		if in == nil || len(in.b) != len(rest) {
			in = &search{f: e.f, b: rest}
		}
		steps := 8 * len(tail)
		if n := in.spelledFrom(0, tail, &steps); n > 0 {
			longest = max(longest, len(b)-len(rest)+n)
		}
	})
	return longest
}

// inside says whether all of b stands inside a word.
func (e *edges) inside(b []byte) (yes bool) {
	if len(b) < minEdge || len(b) > e.f.reach() {
		return false
	}
	e.eachTail(b, func(rest, tail []byte) {
		if yes {
			return
		}
		steps := 8 * len(tail)
		n, ok := beginning(rest, tail, &steps)
		if len(rest) < len(b) { // and one of which the end is left
			n++
		}
		yes = ok && (n >= minEdge || n > 0 && len(b) >= minInside)
	})
	return yes
}

// eachTail calls try with each proper tail of a word and the text that would
// have to spell it: b, or b behind what is left there of an escape.
func (e *edges) eachTail(b []byte, try func(rest, tail []byte)) {
	from := [][]byte{b}
	for _, s := range semicolons() { // of &#65; or &amp;
		if rest, ok := bytes.CutPrefix(b, []byte(s)); ok {
			from = append(from, rest)
		}
	}
	for _, w := range e.f.words {
		for k := 1; k < len(w); k++ {
			for _, rest := range from {
				try(rest, w[k:])
			}
		}
	}
	for _, u := range cutUnits(b) {
		for _, w := range e.f.words {
			for k := range w {
				if n := u.standsFor(w[k:]); n > 0 && k+n < len(w) {
					try(b[u.size:], w[k+n:])
				}
			}
		}
	}
}

// tail is where in b, at from or later, a word begins that goes on beyond it.
func (e *edges) tail(b []byte, from int) int {
	for at := max(from, len(b)-e.f.reach()); at+minEdge <= len(b); at++ {
		if e.anyBegins(b[at:]) {
			return at
		}
	}
	return len(b)
}

// anyBegins says whether all of b spells the beginning of a word.
func (e *edges) anyBegins(b []byte) bool {
	read := [3]unit{byteUnit(b[0], 1)}
	if begins(b[0]) {
		read[1] = once(b)
		read[2] = twice(b, read[1])
	}
	for _, u := range read {
		if u.size == 0 {
			continue
		}
		for _, w := range e.first[u.c[0]] {
			steps := 8 * len(w)
			if n, ok := beginning(b, w, &steps); ok && n >= minEdge {
				return true
			}
		}
	}
	return false
}

// beginning says whether all of b spells the beginning of word, and how many
// bytes of it; its last escape may be cut. steps is as in spelledFrom.
func beginning(b, word []byte, steps *int) (n int, ok bool) {
	for ; len(b) > 0; b, word, n = b[1:], word[1:], n+1 {
		if *steps--; *steps < 0 || len(word) == 0 {
			return 0, false
		}
		if begins(b[0]) {
			rest, ok := beginningAny(b, word, steps)
			return n + rest, ok
		}
		if b[0] != word[0] {
			return 0, false
		}
	}
	return n, true
}

// beginningAny is beginning at a unit that can be read in several ways.
func beginningAny(b, word []byte, steps *int) (n int, ok bool) {
	first := once(b)
	for _, u := range [3]unit{first, twice(b, first), byteUnit(b[0], 1)} {
		n := u.standsFor(word)
		if n == 0 {
			continue
		}
		if rest, ok := beginning(b[u.size:], word[n:], steps); ok {
			return n + rest, true
		}
	}
	return 0, isCut(b, first)
}

// isCut says whether b is an escape whose end is missing; first is what once
// read.
func isCut(b []byte, first unit) bool {
	if len(b) >= maxUnit {
		return false
	}
	if isCutOnce(b) {
		return true
	}
	if first.n != 1 || !begins(first.c[0]) {
		return false
	}
	text := []byte{first.c[0]} // as in twice
	for b = b[first.size:]; len(b) > 0; {
		c, size := inner(b)
		if size == 1 && begins(c) && isCutOnce(b) {
			break // of an escape that is cut itself
		}
		text, b = append(text, c), b[size:]
	}
	return isCutOnce(text)
}

func isCutOnce(b []byte) bool {
	rest := string(b[1:])
	switch b[0] {
	case '\\':
		if digits, ok := strings.CutPrefix(rest, "u"); ok {
			high, low, pair := strings.Cut(digits, `\`)
			return len(digits) < 4 && isDigits(digits, 16) ||
				pair && len(high) == 4 && isDigits(high, 16) && len(low) < 5 && isDigits(strings.TrimPrefix(low, "u"), 16)
		}
		if digits, ok := strings.CutPrefix(rest, "x"); ok {
			return len(digits) < 2 && isDigits(digits, 16)
		}
		return len(rest) < 3 && isDigits(rest, 8)
	case '%':
		if digits, ok := strings.CutPrefix(rest, "u"); ok {
			return len(digits) < 4 && isDigits(digits, 16)
		}
		return len(rest) < 2 && isDigits(rest, 16)
	case '&':
		if digits, ok := strings.CutPrefix(rest, "#"); ok {
			hex := strings.TrimLeft(digits, "xX")
			return isDigits(digits, 10) || len(digits)-len(hex) == 1 && isDigits(hex, 16)
		}
		return slices.ContainsFunc(entityNames(), func(name string) bool { return strings.HasPrefix(name, rest) })
	}
	return false
}

func isDigits(s string, base rune) bool {
	for i := range len(s) {
		if d, ok := unhex([]byte{s[i]}); !ok || d >= base {
			return false
		}
	}
	return true
}

// cutUnits lists what b may begin with the end of, each with as many bytes as
// are left of it: every beginning of an escape is tried before b.
func cutUnits(b []byte) []unit {
	b = b[:min(len(b), maxUnit)]
	if len(b) == 0 || strings.IndexByte(`\%#;`, b[0]) < 0 && !isWord(string(b[:1])) {
		return nil
	}
	var units []unit
	text := make([]byte, 0, 2*maxUnit)
	for _, begun := range escapeStarts() {
		text = append(append(text[:0], begun...), b...)
		first := once(text)
		for _, u := range [2]unit{first, twice(text, first)} {
			if int(u.size) <= len(begun) {
				continue
			}
			u.size -= uint8(len(begun)) //nolint:gosec // just compared
			if !slices.Contains(units, u) {
				units = append(units, u)
			}
		}
	}
	return units
}

// escapeStarts lists the beginnings of escapes of characters up to U+00FF, but
// for those of which a semicolon alone is left. What is left of an escape that
// was escaped once more is left of one of these too, if that was done to its
// first byte only or to each as a URL does.
func escapeStarts() []string {
	starts := []string{
		`\`, `\u`, `\u0`, `\u00`, `\x`, `%`, `%u`, `%u0`, `%u00`,
		`&amp`, `&percnt`, `&#38`, `&#x26`, `&#37`, `&#x25`, `&#92`, `&#x5c`, // what escapes begin with
	}
	const digits = "0123456789abcdef"
	for i, d := range digits {
		for _, before := range [...]string{`\u00`, `\x`, `%`, `%u00`} {
			starts = append(starts, before+string(d))
		}
		if i < 8 {
			starts = append(starts, `\0`+string(d), `\1`+string(d), `\2`+string(d), `\3`+string(d))
		}
	}
	starts = append(starts, `\0`, `\1`, `\2`, `\3`, `%26%`, `%26%2`)
	for _, reference := range [...][2]string{{`&`, `#`}, {`%26`, `%23`}} {
		start, number := reference[0], reference[0]+reference[1]
		starts = append(starts, start, number, number+"x")
		for i, d := range digits {
			starts = append(starts, number+"x"+string(d))
			if i < 10 {
				starts = append(starts, number+string(d), number+"1"+string(d), number+"2"+string(d))
			}
		}
		for _, name := range entityNames() {
			for n := 1; n < len(name); n++ {
				starts = append(starts, start+name[:n])
			}
		}
	}
	return starts
}

// semicolons is what may be left of one at the end of an escape: ; or %3B.
func semicolons() []string { return []string{";", "%3B", "3B", "B", "%3b", "3b", "b"} }

// entityNames lists what entity reads.
func entityNames() []string {
	return []string{"quot", "amp", "lt", "gt", "apos", "sol", "plus", "hyphen", "lowbar", "equals", "percnt"}
}

// overwrite masks b and says whether that changed anything.
func overwrite(b []byte) bool {
	if len(bytes.Trim(b, string(Mask))) == 0 {
		return false
	}
	for i := range b {
		b[i] = Mask
	}
	return true
}
