// Package handle signs and opens the handles that tools get in place of a
// session or a token, and seals the links that the proxy relays.
//
// A handle is a JWT, because the clients look into what they take for one. It
// says which script, on which listener, as which login, until when: nothing in
// it is secret, and it opens nothing but this proxy. The package never sees a
// session or a token of the site, keeps no list of what it signed, and asks no
// network. It is one of the few that open a [secret.Value]: the key it signs
// with, of which it keeps nothing.
package handle

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"stagedoor/secret"
)

// Uses of a handle.
const (
	UseSession = "session" // what get_session_token answers
	UseAccess  = "access"  // a bearer of the REST API
	UseRefresh = "refresh" // what a new bearer is asked for with
)

// MaxToken is the longest handle, in bytes. With a name of the greatest length
// in every place it is shorter; cookies of browsers end at 4096 too.
const MaxToken = 4096

// maxSkew is how far the clock of another proxy with the same key may go before
// ours.
const maxSkew = time.Minute

// issuer is who signs.
const issuer = "stagedoor"

// ours is the first segment of every handle: {"alg":"HS256","kid":"stagedoor",
// "typ":"JWT"}. It is what a handle is known by, and the whole of what a header
// may say: no other algorithm is ever chosen by who sends a token.
const ours = "eyJhbGciOiJIUzI1NiIsImtpZCI6InN0YWdlZG9vciIsInR5cCI6IkpXVCJ9"

// What is wrong with a token.
var (
	// ErrNotOurs: it has not the form of a handle. It is a placeholder, or belongs
	// to another program, and says nothing.
	ErrNotOurs = errors.New("not a handle of this proxy")
	// ErrInvalid: it has the form and does not verify.
	ErrInvalid = errors.New("the handle does not verify")
	// ErrExpired: it was good once.
	ErrExpired = errors.New("the handle has expired")
	// ErrForeign: it was given out on another listener.
	ErrForeign = errors.New("the handle belongs to another listener")
	// ErrNoKey: there is no key to sign or verify with now.
	ErrNoKey = errors.New("no handle key is at hand")
)

// Handle is what a handle says.
type Handle struct {
	Script   string
	Listener string
	Use      string // one of the Use constants
	Sudo     string // sudo_as_login, as it was granted; "" for none
	UUID     string // session_uuid; "" for none
	ID       string // unique; made by Sign
	Expires  time.Time
}

// Keys is where the key comes from. It answers from memory and is asked for
// each handle. It is safe for concurrent use.
type Keys interface {
	// HandleKeys is the key to sign with, zero where there is none, and others that
	// are still good to verify with.
	HandleKeys() (now secret.Value, old []secret.Value)
}

// Signer signs and opens handles. It is safe for concurrent use when its keys
// and its entropy are.
type Signer struct {
	keys    Keys
	now     func() time.Time
	entropy io.Reader
	parser  *jwt.Parser
}

// New makes a signer.
func New(keys Keys, now func() time.Time, entropy io.Reader) *Signer {
	return &Signer{
		keys: keys, now: now, entropy: entropy,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithStrictDecoding(),
			jwt.WithIssuer(issuer),
			jwt.WithExpirationRequired(),
			jwt.WithTimeFunc(now),
		),
	}
}

// claims is the second segment.
type claims struct {
	jwt.RegisteredClaims

	Use  string `json:"use"`
	Sudo string `json:"sudo_as_login,omitempty"`
	UUID string `json:"session_uuid,omitempty"`
}

// idBytes is the length of a handle's ID: nobody draws the same twice.
const idBytes = 16

// Sign makes the handle that says h; h.ID is not looked at. An error is
// [ErrNoKey], a handle that can't be put into words, or entropy that ended.
func (s *Signer) Sign(h Handle) (string, error) {
	if err := h.check(); err != nil {
		return "", fmt.Errorf("signing a handle: %w", err)
	}
	id := make([]byte, idBytes)
	if _, err := io.ReadFull(s.entropy, id); err != nil {
		return "", fmt.Errorf("signing a handle: %w", err)
	}
	key, _ := s.keys.HandleKeys()
	k := derive(key, purposeHandle)
	if k == nil {
		return "", ErrNoKey
	}
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, &claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: h.Script, Audience: jwt.ClaimStrings{h.Listener},
			ExpiresAt: jwt.NewNumericDate(h.Expires), IssuedAt: jwt.NewNumericDate(s.now()),
			ID: hex.EncodeToString(id),
		},
		Use: h.Use, Sudo: h.Sudo, UUID: h.UUID,
	})
	t.Header["kid"] = issuer
	token, err := t.SignedString(k)
	switch {
	case err != nil:
		return "", fmt.Errorf("signing a handle: %w", err)
	case len(token) > MaxToken:
		return "", fmt.Errorf("signing a handle: longer than %d bytes", MaxToken)
	}
	return token, nil
}

// check refuses what would not come back from a token as it went in.
func (h *Handle) check() error {
	switch {
	case h.Script == "" || h.Listener == "":
		return errors.New("no script or no listener")
	case !knownUse(h.Use):
		return fmt.Errorf("unknown use %q", h.Use)
	case h.Expires.IsZero():
		return errors.New("no end")
	}
	for _, text := range []string{h.Script, h.Listener, h.Sudo, h.UUID} {
		if !utf8.ValidString(text) {
			return errors.New("a text is not UTF-8")
		}
	}
	return nil
}

func knownUse(use string) bool {
	return use == UseSession || use == UseAccess || use == UseRefresh
}

// Open says what a token says that a tool sent to listener. Its error is one of
// this package's, and never holds anything of the token.
func (s *Signer) Open(token secret.Value, listener string) (h Handle, err error) {
	token.Reveal(func(b []byte) { h, err = s.open(b, listener) })
	return h, err
}

func (s *Signer) open(token []byte, listener string) (Handle, error) {
	if !looksOurs(token) {
		return Handle{}, ErrNotOurs
	}
	if len(token) > MaxToken || !wellFormed(token) {
		return Handle{}, ErrInvalid
	}
	set := s.verifyKeys()
	if len(set.Keys) == 0 {
		return Handle{}, ErrNoKey
	}
	var c claims
	_, err := s.parser.ParseWithClaims(string(token), &c, func(*jwt.Token) (any, error) { return set, nil })
	expired := errors.Is(err, jwt.ErrTokenExpired)
	switch {
	case err != nil && !expired,
		c.Issuer != issuer, c.ExpiresAt == nil, c.IssuedAt == nil, len(c.Audience) != 1,
		c.Subject == "", c.ID == "", !knownUse(c.Use),
		c.IssuedAt.After(s.now().Add(maxSkew)):
		return Handle{}, ErrInvalid
	case c.Audience[0] != listener:
		return Handle{}, ErrForeign
	case expired:
		return Handle{}, ErrExpired
	}
	return Handle{
		Script: c.Subject, Listener: listener, Use: c.Use, Sudo: c.Sudo, UUID: c.UUID,
		ID: c.ID, Expires: c.ExpiresAt.Time,
	}, nil
}

// verifyKeys are the keys that a signature may be of, today's first.
func (s *Signer) verifyKeys() jwt.VerificationKeySet {
	key, old := s.keys.HandleKeys()
	var set jwt.VerificationKeySet
	for _, v := range append([]secret.Value{key}, old...) {
		if k := derive(v, purposeHandle); k != nil {
			set.Keys = append(set.Keys, k)
		}
	}
	return set
}

// Count says how many handles, damaged ones too, stand in a text such as a header's
// value.
func Count(text string) int { return strings.Count(text, ours) }

// looksOurs says whether a token has the form of a handle, damaged ones too: a
// handle that lost its end, or came with a space, is still no placeholder. A
// JWT with another header that names us as its issuer is a forgery.
func looksOurs(token []byte) bool {
	if bytes.Contains(token, []byte(ours)) {
		return true
	}
	if len(token) > MaxToken {
		return false
	}
	parts := bytes.Split(token, []byte{'.'})
	if len(parts) < 2 {
		return false
	}
	return namesUs(parts[0], func(v *anyJWT) bool { return v.Kid == issuer }) ||
		namesUs(parts[1], func(v *anyJWT) bool { return v.Iss == issuer })
}

// anyJWT is what any JWT may name us by.
type anyJWT struct {
	Kid string `json:"kid"`
	Iss string `json:"iss"`
}

func namesUs(segment []byte, is func(*anyJWT) bool) bool {
	b, err := base64.RawURLEncoding.AppendDecode(nil, bytes.TrimRight(segment, "="))
	if err != nil {
		return false
	}
	var v anyJWT
	return json.Unmarshal(b, &v) == nil && is(&v)
}

// wellFormed says whether a token is our header and two segments of the right
// letters. The decoder of base64 steps over line breaks; here they are refused,
// so that one handle has one spelling.
func wellFormed(token []byte) bool {
	rest, ok := bytes.CutPrefix(token, []byte(ours+"."))
	if !ok {
		return false
	}
	body, mac, ok := bytes.Cut(rest, []byte{'.'})
	return ok && len(body) > 0 && len(mac) == base64.RawURLEncoding.EncodedLen(sha256.Size) &&
		isBase64URL(body) && isBase64URL(mac)
}

func isBase64URL(b []byte) bool {
	for _, c := range b {
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// Purposes of the keys that are derived from the one: what is signed for one of
// them is worth nothing for another, nor where else the operator uses the key.
const (
	purposeHandle = "stagedoor handle 1"
	purposeLink   = "stagedoor storage link 1"
)

// derive makes the key for a purpose, nil where v can be none.
func derive(v secret.Value, purpose string) (key []byte) {
	if v.Len() < MinKey {
		return nil
	}
	v.Reveal(func(b []byte) {
		k, err := hkdf.Key(sha256.New, b, nil, purpose, sha256.Size)
		if err == nil {
			key = k
		}
	})
	return key
}

// Seal is a mark over a text, such as a link to storage, that only this
// listener's script was given: 43 letters that fit in a path. It is "" when no
// key is at hand.
func (s *Signer) Seal(listener, script, text string) string {
	key, _ := s.keys.HandleKeys()
	k := derive(key, purposeLink)
	if k == nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(mark(k, listener, script, text))
}

// Unseal says whether seal is what Seal gave for the same three.
func (s *Signer) Unseal(seal, listener, script, text string) bool {
	if len(seal) != base64.RawURLEncoding.EncodedLen(sha256.Size) || !isBase64URL([]byte(seal)) {
		return false
	}
	got, err := base64.RawURLEncoding.Strict().DecodeString(seal)
	if err != nil {
		return false
	}
	key, old := s.keys.HandleKeys()
	for _, v := range append([]secret.Value{key}, old...) {
		if k := derive(v, purposeLink); k != nil && subtle.ConstantTimeCompare(got, mark(k, listener, script, text)) == 1 {
			return true
		}
	}
	return false
}

// mark is the MAC over texts, each after its length: no two lists have the same
// bytes.
func mark(key []byte, texts ...string) []byte {
	m := hmac.New(sha256.New, key)
	for _, t := range texts {
		_, _ = m.Write(binary.BigEndian.AppendUint64(nil, uint64(len(t))))
		_, _ = io.WriteString(m, t)
	}
	return m.Sum(nil)
}
