package audit

import (
	"bytes"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	// MaxString is how many bytes of a string are written at most: 256. What
	// was longer ends in "…".
	MaxString = 256
	// MaxItem is the same for a string in a list: 128.
	MaxItem = 128
	// MaxList is how many strings of a list are written at most: 64. A field
	// NAME_more says how many were left out.
	MaxList = 64
	// MaxRefusedTypes is the same for the types of a [RefusedCall] or [Repeat]:
	// 8. What is refused may be anything, and as often as its caller likes.
	MaxRefusedTypes = 8
	// MaxShape is the longest shape that is written, in bytes: 4 KiB, which is
	// where package flow cuts one. A longer one is left out.
	MaxShape = 4 << 10
	// MaxRule is MaxString for a rule that would allow the call, which is for
	// pasting: 1 KiB, more than policy writes.
	MaxRule = 1 << 10
	// maxLine bounds a line: every string and list at its bound, every byte of
	// them escaped, is less. A reader may refuse longer ones.
	maxLine = 256 << 10
)

// appendEvent appends the part of a line that its writer decides, from the
// time to the closing brace; v, seq and prev come in front of it once the place
// in the chain is known.
func appendEvent(b []byte, e *Event, t time.Time) []byte {
	b = append(b, `,"t":"`...)
	b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, `","ev":"`...)
	b = append(b, e.Kind...)
	b = append(b, '"')
	b = str(b, `,"id":`, e.ID)
	b = appendCall(b, e)
	switch e.Kind { //nolint:exhaustive // the others have no answer to tell of
	case Outcome:
		b = appendOutcome(b, e)
	case RefusedCall:
		b = appendAnswer(b, e)
	case Repeat:
		b = appendAborted(b, e)
	}
	b = num(b, `,"count":`, int64(e.Count))
	b = str(b, `,"first_id":`, e.FirstID)
	b = str(b, `,"last_id":`, e.LastID)
	b = str(b, `,"software":`, e.Software)
	b = str(b, `,"config":`, e.Config)
	if e.Torn {
		b = append(b, `,"torn":true`...)
	}
	b = num(b, `,"lost":`, int64(e.Lost))
	return append(b, '}')
}

func appendCall(b []byte, e *Event) []byte {
	b = str(b, `,"listener":`, e.Listener)
	b = str(b, `,"caller":`, e.Caller)
	b = str(b, `,"script":`, e.Script)
	b = str(b, `,"site_name":`, e.SiteName)
	b = str(b, `,"kind":`, e.CallKind)
	b = str(b, `,"method":`, e.Method)
	b = str(b, `,"group":`, e.Group)
	b = list(b, "types", e.Types, maxTypes(e.Kind), e.moreTypes)
	b = num(b, `,"parts":`, int64(e.Parts))
	b = num(b, `,"cost":`, int64(e.Cost))
	b = str(b, `,"decision":`, string(e.Decision))
	b = str(b, `,"rule":`, e.Rule)
	b = str(b, `,"reason":`, e.Reason)
	b = str(b, `,"observed":`, e.Observed)
	if e.AllowWith != "" {
		b = appendString(append(b, `,"allow_with":`...), e.AllowWith, MaxRule)
	}
	b = shape(b, e.Shape)
	b = str(b, `,"served":`, e.Served)
	b = str(b, `,"served_by":`, e.ServedBy)
	b = str(b, `,"key_version":`, e.KeyVersion)
	b = str(b, `,"caller_credential":`, string(e.CallerCredential))
	b = list(b, "dropped_auth", e.DroppedAuth, MaxList, 0)
	b = str(b, `,"sudo_as_login":`, e.SudoAsLogin)
	b = str(b, `,"session_uuid":`, e.SessionUUID)
	return num(b, `,"bytes_in":`, e.BytesIn)
}

func appendOutcome(b []byte, e *Event) []byte {
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = num(b, `,"fault":`, int64(e.Fault))
	b = append(b, `,"bytes_out":`...)
	b = strconv.AppendInt(b, e.BytesOut, 10)
	b = millis(b, `,"upstream_ms":`, e.Upstream)
	b = millis(b, `,"hold_ms":`, e.Hold)
	b = millis(b, `,"total_ms":`, e.Total)
	b = str(b, `,"result":`, string(e.Result))
	b = str(b, `,"retried":`, e.Retried)
	return num(b, `,"redacted":`, int64(e.Redacted))
}

// appendAnswer appends what a caller got that was refused.
func appendAnswer(b []byte, e *Event) []byte {
	b = num(b, `,"status":`, int64(e.Status))
	b = num(b, `,"fault":`, int64(e.Fault))
	if e.Hold > 0 {
		b = millis(b, `,"hold_ms":`, e.Hold)
	}
	if e.Total > 0 {
		b = millis(b, `,"total_ms":`, e.Total)
	}
	return appendAborted(b, e)
}

// appendAborted tells a caller that hung up from one that was refused, whose
// result is the reason.
func appendAborted(b []byte, e *Event) []byte {
	if e.Result != ResultAborted || e.Reason != "" {
		return b
	}
	return str(b, `,"result":`, string(e.Result))
}

func num(b []byte, key string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(append(b, key...), n, 10)
}

// millis appends d in milliseconds, to the microsecond.
func millis(b []byte, key string, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	b = strconv.AppendInt(append(b, key...), us/1000, 10)
	if us %= 1000; us != 0 {
		b = append(b, '.', byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
	}
	return b
}

func str(b []byte, key, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, key...), s, MaxString)
}

// shape appends JSON as it is. What would end the line, or not fit it, is left
// out: whoever reads a log reads it line by line.
func shape(b, json []byte) []byte {
	if len(json) < len("{}") || len(json) > MaxShape || json[0] != '{' || json[len(json)-1] != '}' || bytes.ContainsFunc(json, unclean) {
		return b
	}
	b = append(b, `,"shape":`...)
	return append(b, json...)
}

// unclean says whether r may not stand in a line as it is.
func unclean(r rune) bool { return r < ' ' || r >= 0x7f && acts(r) || r == utf8.RuneError }

func maxTypes(kind Kind) int {
	if kind == RefusedCall || kind == Repeat {
		return MaxRefusedTypes
	}
	return MaxList
}

// list appends up to limit items, and how many are left out; more already are.
func list(b []byte, name string, items []string, limit, more int) []byte {
	if len(items) == 0 {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, `":[`...)
	for i, s := range items[:min(len(items), limit)] {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s, MaxItem)
	}
	b = append(b, ']')
	if more += max(0, len(items)-limit); more > 0 {
		b = append(b, ',', '"')
		b = append(b, name...)
		b = strconv.AppendInt(append(b, `_more":`...), int64(more), 10)
	}
	return b
}

// appendString appends s as JSON, cut at limit bytes. Besides what JSON asks
// for it escapes what a terminal or a pager would act on: C1 controls, line
// separators, direction overrides. Invalid UTF-8 becomes U+FFFD.
func appendString(b []byte, s string, limit int) []byte {
	s, cut := truncate(s, limit)
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		r, n := rune(c), 1
		if c >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || n != 1) && !acts(r) {
				i += n
				continue
			}
		}
		b = append(b, s[start:i]...)
		b = escape(b, r)
		i += n
		start = i
	}
	b = append(b, s[start:]...)
	if cut {
		b = append(b, "…"...)
	}
	return append(b, '"')
}

// truncate cuts s at a rune's start so that no more than limit bytes remain.
func truncate(s string, limit int) (string, bool) {
	if len(s) <= limit {
		return s, false
	}
	for i := limit; i > limit-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i], true
		}
	}
	return s[:limit], true // not UTF-8
}

// acts says whether a reader's screen would do something on r but show it.
func acts(r rune) bool {
	switch {
	case r <= 0x9f, // C1
		r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, // zero width, lines, bidi
		r >= 0x2060 && r <= 0x206f, r == 0xfeff:
		return true
	}
	return false
}

func escape(b []byte, r rune) []byte {
	const hexits = "0123456789abcdef"
	switch r {
	case '"', '\\':
		return append(b, '\\', byte(r))
	case '\n':
		return append(b, '\\', 'n')
	case '\t':
		return append(b, '\\', 't')
	case '\r':
		return append(b, '\\', 'r')
	}
	return append(b, '\\', 'u', hexits[r>>12&15], hexits[r>>8&15], hexits[r>>4&15], hexits[r&15])
}
