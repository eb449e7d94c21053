package flow

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// MaxQuery is the longest query string that is read, in bytes. The longest
	// of the clients lists fields: a few KB.
	MaxQuery = 64 << 10
	// MaxPairs is how many names a query string may have. Clients send a dozen;
	// each is held against the others.
	MaxPairs = 256
)

// Pair is one name and its value, unescaped.
type Pair struct{ Name, Value string }

// ReadQuery reads a query string, in order: each name once and with a value,
// which may be empty, well-formed escapes, UTF-8, no control characters. What
// readers take apart in different ways is a *ParseError: a semicolon, a name
// without =, an empty pair.
func ReadQuery(raw string) ([]Pair, error) {
	if len(raw) > MaxQuery {
		return nil, shape("the query has more than " + strconv.Itoa(MaxQuery) + " bytes")
	}
	pairs, err := readPairs(raw, MaxPairs)
	if err != nil {
		return nil, err
	}
	for _, p := range pairs {
		if hasControl(p.Name) || hasControl(p.Value) {
			return nil, shape("the query holds a control character")
		}
	}
	return pairs, nil
}

// AppendQuery writes pairs so that every reader reads the same: all but letters,
// digits and -._~ is escaped, a space is a plus.
func AppendQuery(dst []byte, pairs []Pair) []byte {
	for i, p := range pairs {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = appendEscaped(dst, p.Name)
		dst = append(dst, '=')
		dst = appendEscaped(dst, p.Value)
	}
	return dst
}

// readPairs reads what a query and a url-encoded form have in common.
func readPairs(raw string, most int) ([]Pair, error) {
	if raw == "" {
		return nil, nil
	}
	var pairs []Pair
	seen := make(map[string]struct{})
	for part := range strings.SplitSeq(raw, "&") {
		if len(pairs) == most {
			return nil, shape("more than " + strconv.Itoa(most) + " names are given")
		}
		rawName, rawValue, ok := strings.Cut(part, "=")
		if !ok || rawName == "" {
			return nil, shape("a name without = or a value without a name")
		}
		name, err := unescape(rawName)
		if err != nil {
			return nil, err
		}
		value, err := unescape(rawValue)
		if err != nil {
			return nil, err
		}
		if _, twice := seen[name]; twice {
			return nil, shape("a name is given twice: " + quoteName(name))
		}
		seen[name] = struct{}{}
		pairs = append(pairs, Pair{name, value})
	}
	return pairs, nil
}

// unescape reads one name or value. It keeps no part of s.
func unescape(s string) (string, error) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			out = append(out, ' ')
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", shape("a % without two hexadecimal digits behind it")
			}
			out = append(out, hexValue(s[i+1])<<4|hexValue(s[i+2]))
			i += 2
		case c <= ' ' || c >= 0x7f || c == ';' || c == '#':
			// A semicolon parts two pairs for some readers.
			return "", shape("a byte that has to be escaped is not")
		default:
			out = append(out, c)
		}
	}
	if err := plainText(out); err != nil {
		return "", err
	}
	return string(out), nil
}

// plainText refuses what isn't text: invalid UTF-8, and U+0000, at which some
// readers stop.
func plainText(b []byte) error {
	if !utf8.Valid(b) {
		return shape("invalid UTF-8")
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return shape("the character U+0000")
	}
	return nil
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

func hexValue(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

func appendEscaped[text string | []byte](dst []byte, s text) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}
