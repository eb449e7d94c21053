// Package secret holds credentials so that they cannot be printed, encoded,
// logged or compared by accident.
//
// It imports the standard library only. The one way to the bytes is
// [Value.Reveal]; a test in this package lists the few places in the module
// that may call it.
package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"time"
)

const redacted = "[secret]"

// MinLen is the length in bytes below which a key is refused: scrubbing
// answers for shorter ones would damage data that only looks like the key.
const MinLen = 16

// Value is a credential. The zero Value holds nothing.
//
// The bytes sit behind two pointers because package fmt reads unexported fields
// by reflection without calling their methods: a struct that holds a plain
// string leaks through many verbs whatever methods it has, and one pointer is
// followed where the verb does not fit (%s of an unexported pointer prints
// "%!s(*[]uint8=&[107 101 121])"). A pointer to a pointer prints as an address.
// A Value is immutable and safe for concurrent use.
type Value struct{ p **[]byte }

// New takes a copy of b.
func New(b []byte) Value {
	return hold(append([]byte(nil), b...))
}

// FromString takes a copy of s, for libraries that hand out secrets as strings.
func FromString(s string) Value {
	return hold([]byte(s))
}

func hold(b []byte) Value {
	p := &b
	return Value{p: &p}
}

// IsZero says whether v holds nothing or an empty credential.
func (v Value) IsZero() bool { return len(v.bytes()) == 0 }

// Len is the length of the credential in bytes.
func (v Value) Len() int {
	return len(v.bytes())
}

func (v Value) bytes() []byte {
	if v.p == nil {
		return nil
	}
	return **v.p
}

// Reveal calls f with the bytes, which f must neither change nor keep.
func (v Value) Reveal(f func([]byte)) {
	f(v.bytes())
}

// Same compares two credentials in constant time. Two zero Values are not the
// same: nothing is not a credential.
func (v Value) Same(o Value) bool {
	if v.IsZero() || o.IsZero() {
		return false
	}
	return subtle.ConstantTimeCompare(v.bytes(), o.bytes()) == 1
}

// Format prints a placeholder whatever the verb.
func (v Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// MarshalText encodes a placeholder, for JSON, YAML and XML alike.
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue logs a placeholder.
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// Credential is one script's identity on the site: the name that the site
// knows it by and its application key, with what an operator may see of it.
type Credential struct {
	// SiteName is the Script's real name on the site.
	SiteName string
	// Key is its application key.
	Key Value
	// Version is the source's version of the key, "7" for KV v2, "" where the
	// source has none.
	Version string
	// CreatedAt is when this version was written; zero when unknown.
	CreatedAt time.Time
	// ReadAt is when the source last confirmed it.
	ReadAt time.Time
	// Old holds earlier keys of the same script, newest first, kept only to
	// recognise a tool that still carries one. At most [MaxOld].
	Old []Value
}

// MaxOld bounds Credential.Old.
const MaxOld = 4
