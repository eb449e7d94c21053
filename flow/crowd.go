package flow

import (
	"bytes"
	"strconv"
)

// crowded refuses a body with an object of more than MaxMembers members, or
// with too many members in long objects, before a decoder compares their names:
// that costs a hundred bytes and most of a microsecond each. It takes any body
// for JSON; what is none is refused later.
func crowded(body []byte) error {
	if len(body) < MaxMembers*minMember {
		return nil
	}
	var counts []int // of each open object or array: its colons
	total := 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			i = endOfString(body, i+1)
		case '{', '[':
			if len(counts) == maxNesting {
				return nil // deeper than the decoder reads
			}
			counts = append(counts, 0)
		case '}', ']':
			counts = counts[:max(0, len(counts)-1)]
		case ':':
			if len(counts) == 0 {
				return nil
			}
			n := &counts[len(counts)-1]
			switch *n++; {
			case *n == crowd+1:
				total += *n
			case *n > crowd:
				total++
			}
			if *n > MaxMembers {
				return shape("an object has more than " + strconv.Itoa(MaxMembers) + " members")
			}
			if total > maxCrowd {
				return shape("the objects of more than " + strconv.Itoa(crowd) + " members have more than " + strconv.Itoa(maxCrowd) + " together")
			}
		}
	}
	return nil
}

// maxNesting is how deep the decoder reads.
const maxNesting = 10_000

// endOfString is where the string that goes on at i has its closing quote.
func endOfString(b []byte, i int) int {
	for i < len(b) {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return len(b)
		}
		end := i + n
		run := end
		for run > i && b[run-1] == '\\' {
			run--
		}
		if (end-run)%2 == 0 {
			return end
		}
		i = end + 1
	}
	return i
}
