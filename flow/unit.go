package flow

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxUnit is the longest spelling of one character that is read, in bytes:
// %26%2334%3B (a quote as an HTML entity in a URL) has 11, and
// \\ud83d\\ude00 (an emoji in JSON inside JSON) 14.
const maxUnit = 16

// unit is one character of a text as it was written, read back.
type unit struct {
	c    [utf8.UTFMax]byte // its UTF-8
	n    uint8             // bytes of c
	size uint8             // bytes of the text, at most maxUnit; 0 for none
}

func byteUnit(c byte, size int) unit {
	return unit{c: [utf8.UTFMax]byte{c}, n: 1, size: uint8(size)} //nolint:gosec // at most maxUnit
}

func runeUnit(r rune, size int) unit {
	u := unit{size: uint8(size)}            //nolint:gosec // at most maxUnit
	u.n = uint8(utf8.EncodeRune(u.c[:], r)) //nolint:gosec // at most 4
	return u
}

// begins says whether a unit of more than one byte may begin with c.
func begins(c byte) bool { return c == '\\' || c == '%' || c == '&' || c == '+' }

// once reads the escape at b[0] as JSON, a URL or HTML write it. A unit of size
// 0 means that there is none.
func once(b []byte) unit {
	switch b[0] {
	case '\\':
		return jsonUnit(b)
	case '%':
		return percentUnit(b)
	case '&':
		return htmlUnit(b)
	case '+': // a space in a query
		return byteUnit(' ', 1)
	}
	return unit{}
}

// twice reads an escape that was escaped once more: %2541, \\u0041,
// \u0026quot;, &amp;lt;. first is what once read.
func twice(b []byte, first unit) unit {
	size := int(first.size)
	if first.n != 1 || !begins(first.c[0]) || first.c[0] == '+' || size == len(b) {
		return unit{}
	}
	second, n := inner(b[size:])
	most := maxUnit // of the inner text, how much is needed
	switch c := first.c[0]; {
	case c == '&':
		if strings.IndexByte(entityStarts, second) < 0 {
			return unit{}
		}
	case second == 'u':
		most = len(`\ud83d\ude00`)
	case c == '%':
		if !isHex(second) {
			return unit{}
		}
		most = len("%41")
	case second == 'x' || isOctal(second):
		most = len(`\x41`)
	default:
		return byteUnit(escaped(second), size+n)
	}
	return again(b, first, most)
}

// again reads what first begins: most bytes of it, each of them escaped or not.
func again(b []byte, first unit, most int) unit {
	// The inner text, and where in b each byte of it ends.
	text, ends := [maxUnit]byte{first.c[0]}, [maxUnit + 1]uint8{1: first.size}
	n := 1
	for i := int(first.size); n < most && i < min(len(b), maxUnit); n++ {
		c, size := inner(b[i:])
		i += size
		text[n], ends[n+1] = c, uint8(i) //nolint:gosec // at most twice maxUnit
		if c == ';' && text[0] == '&' {
			n++
			break
		}
	}
	u := once(text[:n])
	u.size = ends[u.size]
	return u
}

// inner reads one byte, escaped or not.
func inner(b []byte) (c byte, size int) {
	if b[0] != '+' && begins(b[0]) {
		if u := once(b); u.n == 1 {
			return u.c[0], int(u.size)
		}
	}
	return b[0], 1
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func isOctal(c byte) bool { return c >= '0' && c <= '7' }

// jsonUnit reads \n, \/ or \u0041, the latter as one of a pair where it is, and
// what programs print beside: \x41 and \101.
func jsonUnit(b []byte) unit {
	switch {
	case len(b) < 2:
		return unit{}
	case b[1] == 'u':
		if len(b) < 6 {
			return unit{}
		}
		if u := utf16Unit(b); u.size > 0 {
			return u
		}
	case b[1] == 'x' && len(b) >= 4:
		if v, ok := unhex(b[2:4]); ok {
			return byteUnit(byte(v), 4) //nolint:gosec // two digits
		}
	case b[1] <= '3' && isOctal(b[1]) && len(b) >= 4 && isOctal(b[2]) && isOctal(b[3]):
		return byteUnit((b[1]-'0')<<6|(b[2]-'0')<<3|(b[3]-'0'), 4)
	}
	return byteUnit(escaped(b[1]), 2)
}

// percentUnit reads %41, or %u0041 as JavaScript's escape writes it.
func percentUnit(b []byte) unit {
	if len(b) >= 6 && b[1] == 'u' {
		return utf16Unit(b)
	}
	if len(b) >= 3 {
		if v, ok := unhex(b[1:3]); ok {
			return byteUnit(byte(v), 3) //nolint:gosec // two digits
		}
	}
	return unit{}
}

// utf16Unit reads the four digits behind the first two bytes of b, or two times
// four where they are a pair.
func utf16Unit(b []byte) unit {
	r, ok := unhex(b[2:6])
	if !ok {
		return unit{}
	}
	if utf16.IsSurrogate(r) && len(b) >= 12 && b[6] == b[0] && b[7] == 'u' {
		if lo, ok := unhex(b[8:12]); ok {
			return runeUnit(utf16.DecodeRune(r, lo), 12)
		}
	}
	return runeUnit(r, 6)
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

// entityStarts is what may follow the & of an entity of entity.
const entityStarts = "#qlagsphe"

// htmlUnit reads &quot;, &#34; or &#x22;, the numbers without their ; too.
func htmlUnit(b []byte) unit {
	if len(b) > 1 && b[1] == '#' {
		return reference(b[:min(len(b), maxUnit)])
	}
	end := bytes.IndexByte(b[:min(len(b), maxUnit)], ';')
	if end < 2 {
		return unit{}
	}
	if c := entity(b[1:end]); c != 0 {
		return byteUnit(c, end+1)
	}
	return unit{}
}

// entity is the character that a name stands for, of those that keys may have.
func entity(name []byte) byte {
	switch string(name) {
	case "quot":
		return '"'
	case "amp":
		return '&'
	case "lt":
		return '<'
	case "gt":
		return '>'
	case "apos":
		return '\''
	case "sol":
		return '/'
	case "plus":
		return '+'
	case "hyphen":
		return '-'
	case "lowbar":
		return '_'
	case "equals":
		return '='
	case "percnt":
		return '%'
	}
	return 0
}

// reference reads &#34; or &#x22; up to what is no digit.
func reference(b []byte) unit {
	at, base := 2, rune(10)
	if len(b) > 2 && (b[2] == 'x' || b[2] == 'X') {
		at, base = 3, 16
	}
	var r rune
	end := at
	for ; end < len(b) && r <= utf8.MaxRune; end++ {
		d, ok := unhex(b[end : end+1])
		if !ok || d >= base {
			break
		}
		r = r*base + d
	}
	if end == at {
		return unit{}
	}
	if end < len(b) && b[end] == ';' {
		end++
	}
	return runeUnit(r, end)
}

func unhex(b []byte) (rune, bool) {
	var v rune
	for _, c := range b {
		var d byte
		switch {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			d = c - 'A' + 10
		default:
			return 0, false
		}
		if v > utf8.MaxRune {
			return 0, false
		}
		v = v<<4 | rune(d)
	}
	return v, len(b) > 0
}

// spelledFrom matches word at p, reading each character of it in any spelling,
// mixed at will; end is 0 where it is not there. It tries every reading of each
// unit, since &amp;amp; may be what is left of & escaped twice or of &amp;
// escaped once. steps bounds that for keys and texts of nothing but such units.
func (s *search) spelledFrom(p int, word []byte, steps *int) (end int) {
	for len(word) > 0 && p < len(s.b) {
		s.work++
		if *steps--; *steps < 0 {
			return 0
		}
		if begins(s.b[p]) {
			return s.spelledAny(p, word, steps)
		}
		if s.b[p] != word[0] {
			return 0
		}
		p, word = p+1, word[1:]
	}
	if len(word) > 0 {
		return 0
	}
	return p
}

// spelledAny is spelledFrom at a unit that can be read in several ways.
func (s *search) spelledAny(p int, word []byte, steps *int) (end int) {
	r := *s.read(p)
	for _, u := range [3]unit{r.once, r.twice, byteUnit(s.b[p], 1)} {
		n := u.standsFor(word)
		if n == 0 {
			continue
		}
		if n == len(word) {
			return p + int(u.size)
		}
		if end = s.spelledFrom(p+int(u.size), word[n:], steps); end > 0 {
			return end
		}
	}
	return 0
}

// standsFor says how many bytes at the start of word u stands for.
func (u unit) standsFor(word []byte) int {
	if u.size == 0 {
		return 0
	}
	if bytes.HasPrefix(word, u.c[:u.n]) {
		return int(u.n)
	}
	if c, ok := u.latin1(); ok && word[0] == c {
		return 1
	}
	return 0
}

// latin1 is the one byte of a text in UTF-8 that \u00e9 may also stand for, when
// it was taken for Latin-1.
func (u unit) latin1() (byte, bool) {
	if u.n == 2 {
		if r, _ := utf8.DecodeRune(u.c[:2]); r < 0x100 {
			return byte(r), true //nolint:gosec // just compared
		}
	}
	return 0, false
}

// escapeOver finds the JSON escape that begins before at and goes on beyond it.
// b[0] must be no part of an escape.
func escapeOver(b []byte, at int) (begin, end int, ok bool) {
	for i := max(0, at-5); i < at; i++ {
		if b[i] != '\\' {
			continue
		}
		run := i
		for run > 0 && b[run-1] == '\\' {
			run--
		}
		if (i-run)%2 == 1 {
			continue // the second of two: \\
		}
		size := 2
		if i+6 <= len(b) && b[i+1] == 'u' {
			if _, hex := unhex(b[i+2 : i+6]); hex {
				size = 6
			}
		}
		if i+size > at {
			return i, i + size, true
		}
	}
	return 0, 0, false
}
