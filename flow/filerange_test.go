package flow_test

import (
	"testing"

	"stagedoor/flow"
)

// TestOneRangeIsPassedOnOrNone: what readers might take apart in different ways,
// and what is too short to tell a key in it, is not asked for.
func TestOneRangeIsPassedOnOrNone(t *testing.T) {
	for _, header := range []string{"bytes=0-", "bytes=0-15", "bytes=5-20", "bytes=1000000-", "bytes=-16", "bytes=-500", "bytes=9223372036854775792-9223372036854775807"} {
		if got, ok := flow.OneRange(header); !ok || got != header {
			t.Errorf("%q: %q %v", header, got, ok)
		}
	}
	for _, header := range []string{
		"", "bytes=", "bytes=-", "bytes=0-14", "bytes=5-4", "bytes=20-5", "bytes=-15", "bytes=-0", "bytes=0-0",
		"bytes=0-99,200-299", "bytes=0-99,", "bytes=0-99, -5", "bytes= 0-99", "bytes=0-99 ", "bytes=0 -99", "bytes =0-99", " bytes=0-", "Bytes=0-", "items=0-99", "bytes:0-99",
		"bytes=+0-99", "bytes=00-99", "bytes=0-099", "bytes=--99", "bytes=0--99", "bytes=0x0-99", "bytes=0-9_9", "bytes=\u0661-", "bytes=9223372036854775808-", "bytes=-9223372036854775808", "bytes=0-99-200", "bytes=0",
	} {
		if got, ok := flow.OneRange(header); ok || got != "" {
			t.Errorf("%q is passed on as %q", header, got)
		}
	}
}

func TestAContentRangeSaysWhichEndsAreCut(t *testing.T) {
	for header, want := range map[string][2]bool{
		"bytes 0-99/100": {false, false}, "bytes 0-98/100": {false, true}, "bytes 1-99/100": {true, false}, "bytes 1-98/100": {true, true}, "bytes 0-98/*": {false, true}, "bytes 5-98/*": {true, true},
		// what can't be read may be cut anywhere
		"": {true, true}, "bytes */100": {true, true}, "bytes 0-99": {true, true}, "bytes 99-0/100": {true, true}, "bytes 0-99/ 100": {false, true}, "bytes=0-99/100": {true, true}, "bytes 0-199/100": {false, true}, "bytes 00-99/100": {true, true}, "items 0-99/100": {true, true},
	} {
		if head, tail := flow.CutBy([]string{header}); head != want[0] || tail != want[1] {
			t.Errorf("%q: %v %v", header, head, tail)
		}
	}
	for _, headers := range [][]string{nil, {"bytes 0-99/100", "bytes 0-99/100"}} {
		if head, tail := flow.CutBy(headers); !head || !tail {
			t.Errorf("%q: %v %v", headers, head, tail)
		}
	}
}
