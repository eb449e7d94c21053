package flow

import (
	"strconv"
	"strings"
)

// MinRange is the shortest range of a file that is asked of the site, in bytes.
// In as many it can be told whether they are a part of a key: [MaskReader.Cut].
const MinRange = 16

// OneRange reads a Range header and returns what may be asked of the site: one
// range of at least [MinRange] bytes, bytes=a-b, bytes=a- or bytes=-n in plain
// digits. ok is false for all else: without the header, and without If-Range,
// the whole file comes, which every client must expect (RFC 9110, 14.2).
func OneRange(header string) (one string, ok bool) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	if !ok {
		return "", false
	}
	first, last, ok := strings.Cut(spec, "-")
	if !ok {
		return "", false
	}
	a, hasFirst := offset(first)
	b, hasLast := offset(last)
	switch {
	case hasFirst && last == "":
	case first == "" && hasLast && b >= MinRange:
	case hasFirst && hasLast && b >= a && b-a >= MinRange-1:
	default:
		return "", false
	}
	return header, true
}

// CutBy says which ends of a file are missing in an answer that has these
// Content-Range headers. Both may be where that can't be told.
func CutBy(contentRange []string) (head, tail bool) {
	if len(contentRange) != 1 {
		return true, true
	}
	spec, ok := strings.CutPrefix(contentRange[0], "bytes ")
	span, size, sized := strings.Cut(spec, "/")
	first, last, spans := strings.Cut(span, "-")
	a, hasFirst := offset(first)
	b, hasLast := offset(last)
	if !ok || !sized || !spans || !hasFirst || !hasLast || a > b {
		return true, true
	}
	n, known := offset(size)
	return a > 0, !known || b != n-1
}

// offset reads a place in a file as it is written in one way only.
func offset(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}
