package handle_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"stagedoor/handle"
	"stagedoor/secret"
)

var (
	key1 = secret.FromString(strings.Repeat("first-key-", 5))
	key2 = secret.FromString(strings.Repeat("second-key", 5))
	noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	whom = handle.Handle{Script: "tool", Listener: "127.0.0.1:8470", Use: handle.UseSession, Sudo: "joe", UUID: "a-1", Expires: noon.Add(time.Hour)}
)

func at(t time.Time, key secret.Value, old ...secret.Value) *handle.Signer {
	return handle.New(handle.Fixed(key, old...), func() time.Time { return t }, rand.Reader)
}

func sign(t *testing.T, s *handle.Signer, h handle.Handle) string {
	t.Helper()
	token, err := s.Sign(h)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func open(s *handle.Signer, token string) (handle.Handle, error) {
	return s.Open(secret.FromString(token), whom.Listener)
}

func TestAHandleSaysWhatWasSigned(t *testing.T) {
	s := at(noon, key1)
	for _, h := range []handle.Handle{
		whom,
		{Script: "ü <&> \u2028", Listener: whom.Listener, Use: handle.UseAccess, Expires: noon.Add(time.Second)},
		{Script: "x", Listener: whom.Listener, Use: handle.UseRefresh, Sudo: "\x00", UUID: "\ufffd", Expires: noon.Add(720 * time.Hour)},
	} {
		got, err := open(s, sign(t, s, h))
		if err != nil {
			t.Fatal(err)
		}
		if got.ID == "" || !got.Expires.Equal(h.Expires) {
			t.Errorf("ID %q, expires %s", got.ID, got.Expires)
		}
		got.ID, got.Expires = "", h.Expires
		if got != h {
			t.Errorf("%+v came back as %+v", h, got)
		}
	}
	if first := sign(t, s, whom); first == sign(t, s, whom) {
		t.Error("two handles are the same")
	}
}

// TestClientsCanDecodeAHandle does what the Node client does with both of its
// tokens.
func TestClientsCanDecodeAHandle(t *testing.T) {
	parts := strings.Split(sign(t, at(noon, key1), whom), ".")
	if len(parts) != 3 {
		t.Fatalf("%d segments", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"iss": "stagedoor", "sub": "tool", "aud": []any{whom.Listener}, "use": "session", "sudo_as_login": "joe", "session_uuid": "a-1",
		"exp": float64(noon.Add(time.Hour).Unix()), "iat": float64(noon.Unix()), "jti": c["jti"],
	}
	if fmt.Sprint(c) != fmt.Sprint(want) {
		t.Errorf("claims %v", c)
	}
}

func TestWhatCanNotBeSigned(t *testing.T) {
	s := at(noon, key1)
	change := map[string]func(*handle.Handle){
		"no script":        func(h *handle.Handle) { h.Script = "" },
		"no listener":      func(h *handle.Handle) { h.Listener = "" },
		"no use":           func(h *handle.Handle) { h.Use = "" },
		"an unknown use":   func(h *handle.Handle) { h.Use = "root" },
		"no end":           func(h *handle.Handle) { h.Expires = time.Time{} },
		"sudo not UTF-8":   func(h *handle.Handle) { h.Sudo = "a\xff" },
		"script not UTF-8": func(h *handle.Handle) { h.Script = "a\xff" },
		"too long":         func(h *handle.Handle) { h.Sudo = strings.Repeat("x", handle.MaxToken) },
	}
	for what, f := range change {
		h := whom
		f(&h)
		if token, err := s.Sign(h); err == nil {
			t.Errorf("%s: signed as %s", what, token)
		}
	}
	for _, none := range []secret.Value{{}, secret.FromString("short")} {
		if _, err := at(noon, none).Sign(whom); !errors.Is(err, handle.ErrNoKey) {
			t.Errorf("without a key: %v", err)
		}
		if _, err := open(at(noon, none), sign(t, s, whom)); !errors.Is(err, handle.ErrNoKey) {
			t.Errorf("opened without a key: %v", err)
		}
	}
	if _, err := handle.New(handle.Fixed(key1), time.Now, bytes.NewReader(nil)).Sign(whom); !errors.Is(err, io.EOF) {
		t.Errorf("without entropy: %v", err)
	}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestPlaceholdersSayNothing(t *testing.T) {
	s := at(noon, key1)
	foreign := b64(`{"alg":"HS256","typ":"JWT"}`) + "." + b64(`{"iss":"https://acme.shotgrid.autodesk.com","aud":"x","exp":1790000000}`) + "." + strings.Repeat("A", 43)
	for _, token := range []string{
		"", "dummy", "x", "..", "a.b.c", strings.Repeat("x", 100_000), strings.Repeat(".", 100_000), foreign, "Bearer " + foreign,
		"0123456789abcdef0123456789abcdef", b64(`{"alg":"none"}`) + "." + b64(`{"sub":"x"}`) + ".",
	} {
		if _, err := open(s, token); !errors.Is(err, handle.ErrNotOurs) {
			t.Errorf("%.40q: %v", token, err)
		}
	}
}

func TestForgedHandlesAreRefused(t *testing.T) {
	s := at(noon, key1)
	good := sign(t, s, whom)
	parts := strings.Split(good, ".")
	mac := func(signed string) string {
		m := hmac.New(sha256.New, []byte(strings.Repeat("first-key-", 5)))
		_, _ = io.WriteString(m, signed)
		return signed + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	other := b64(strings.Replace(string(payload), "joe", "ann", 1))
	for what, token := range map[string]string{
		"garbage":               parts[0] + ".garbage." + parts[2],
		"no payload":            parts[0] + ".." + parts[2],
		"only the header":       parts[0],
		"no signature":          parts[0] + "." + parts[1] + ".",
		"two segments":          parts[0] + "." + parts[1],
		"four segments":         good + ".x",
		"another payload":       parts[0] + "." + other + "." + parts[2],
		"another's signature":   parts[0] + "." + other + "." + strings.Split(sign(t, s, whom), ".")[2],
		"another key":           sign(t, at(noon, key2), whom),
		"the key as it is":      mac(parts[0] + "." + parts[1]),
		"no algorithm":          b64(`{"alg":"none","kid":"stagedoor","typ":"JWT"}`) + "." + parts[1] + ".",
		"no algorithm, no kid":  b64(`{"alg":"none"}`) + "." + parts[1] + ".",
		"another algorithm":     b64(`{"alg":"HS512","kid":"stagedoor","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
		"a space before":        " " + good,
		"a line break after":    good + "\n",
		"a line break inside":   parts[0] + "." + parts[1] + "." + parts[2][:20] + "\n" + parts[2][20:],
		"padding":               good + "=",
		"in quotes":             `"` + good + `"`,
		"as a bearer":           "Bearer " + good,
		"twice":                 good + good,
		"too long":              parts[0] + "." + parts[1] + strings.Repeat("A", handle.MaxToken) + "." + parts[2],
		"loose bits at the end": good[:len(good)-1] + string(next(good[len(good)-1])),
		"a sealed text":         parts[0] + "." + parts[1] + "." + s.Seal(whom.Listener, whom.Script, parts[0]+"."+parts[1]),
	} {
		if h, err := open(s, token); !errors.Is(err, handle.ErrInvalid) {
			t.Errorf("%s: %+v %v", what, h, err)
		} else if strings.Contains(err.Error(), parts[1]) {
			t.Errorf("%s: the error holds the token", what)
		}
	}
	for i := range len(good) {
		if good[i] == '.' {
			continue
		}
		bent := good[:i] + string(next(good[i])) + good[i+1:]
		if _, err := open(s, bent); err == nil {
			t.Fatalf("opens with letter %d changed", i)
		}
	}
}

// next is another letter of the alphabet; of the last letter of a signature it
// changes the bits that say nothing.
func next(c byte) byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return letters[strings.IndexByte(letters, c)^1]
}

func TestHandlesEnd(t *testing.T) {
	token := sign(t, at(noon, key1), whom)
	for end, want := range map[time.Duration]error{-time.Second: nil, 0: handle.ErrExpired, time.Second: handle.ErrExpired, 100000 * time.Hour: handle.ErrExpired} {
		if _, err := open(at(whom.Expires.Add(end), key1), token); !errors.Is(err, want) {
			t.Errorf("%s after its end: %v", end, err)
		}
	}
	// Another proxy's clock may go a little before ours, and no more.
	if _, err := open(at(noon.Add(-30*time.Second), key1), token); err != nil {
		t.Errorf("signed 30 s ahead: %v", err)
	}
	if _, err := open(at(noon.Add(-time.Hour), key1), token); !errors.Is(err, handle.ErrInvalid) {
		t.Errorf("signed an hour ahead: %v", err)
	}
}

func TestAHandleIsGoodOnItsListenerOnly(t *testing.T) {
	s := at(noon, key1)
	token := sign(t, s, whom)
	for _, l := range []string{"", "127.0.0.1:8471", "127.0.0.1:847", "127.0.0.1:84700"} {
		if _, err := s.Open(secret.FromString(token), l); !errors.Is(err, handle.ErrForeign) {
			t.Errorf("on %q: %v", l, err)
		}
	}
	if _, err := at(whom.Expires, key1).Open(secret.FromString(token), "other"); !errors.Is(err, handle.ErrForeign) {
		t.Errorf("expired and foreign: %v", err)
	}
}

func TestOldKeysStillOpen(t *testing.T) {
	token := sign(t, at(noon, key1), whom)
	if h, err := open(at(noon, key2, key1), token); err != nil || h.Script != "tool" {
		t.Errorf("with the old key kept: %+v %v", h, err)
	}
	if _, err := open(at(noon, key2), token); !errors.Is(err, handle.ErrInvalid) {
		t.Errorf("with the old key gone: %v", err)
	}
	seal := at(noon, key1).Seal("l", "s", "text")
	if !at(noon, key2, key1).Unseal(seal, "l", "s", "text") || at(noon, key2).Unseal(seal, "l", "s", "text") {
		t.Error("seals of old keys")
	}
}

func TestSealsAreForOneText(t *testing.T) {
	s := at(noon, key1)
	seal := s.Seal("listener", "script", "text")
	if len(seal) != 43 || strings.ContainsAny(seal, "/+=?#") {
		t.Errorf("seal %q", seal)
	}
	if !s.Unseal(seal, "listener", "script", "text") {
		t.Error("its own seal does not open")
	}
	for _, x := range [][4]string{
		{"", "listener", "script", "text"},
		{seal, "listener2", "script", "text"},
		{seal, "listener", "script2", "text"},
		{seal, "listener", "script", "text2"},
		{seal, "listenerscript", "", "text"},
		{seal, "listener", "scripttext", ""},
		{seal + "A", "listener", "script", "text"},
		{seal[:42] + string(next(seal[42])), "listener", "script", "text"},
		{seal[:42] + "\n", "listener", "script", "text"},
		{at(noon, key2).Seal("listener", "script", "text"), "listener", "script", "text"},
	} {
		if s.Unseal(x[0], x[1], x[2], x[3]) {
			t.Errorf("%q opens", x)
		}
	}
	none := at(noon, secret.Value{})
	if none.Seal("l", "s", "t") != "" || none.Unseal("", "l", "s", "t") || none.Unseal(seal, "listener", "script", "text") {
		t.Error("seals without a key")
	}
}

// FuzzHandle holds that nothing opens but what Sign made.
func FuzzHandle(f *testing.F) {
	s := at(noon, key1, key2)
	signed := map[string]bool{}
	for _, h := range []handle.Handle{whom, {Script: "a", Listener: whom.Listener, Use: handle.UseAccess, Expires: noon.Add(time.Hour)}} {
		for _, k := range []secret.Value{key1, key2} {
			// Always the same: the fuzzer's workers are processes of their own.
			always := handle.New(handle.Fixed(k), func() time.Time { return noon }, strings.NewReader("0123456789abcdef"))
			token, err := always.Sign(h)
			if err != nil {
				f.Fatal(err)
			}
			signed[token] = true
			f.Add(token, uint16(0), byte(0))
			f.Add(token, uint16(70), byte(1))
			f.Add(token, uint16(len(token)-1), byte(1))
		}
	}
	f.Add("dummy", uint16(0), byte(0))
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJzdGFnZWRvb3IifQ.", uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, token string, i uint16, bend byte) {
		b := []byte(token)
		if len(b) > 0 {
			b[int(i)%len(b)] ^= bend
		}
		h, err := s.Open(secret.New(b), whom.Listener)
		switch {
		case err == nil && !signed[string(b)]:
			t.Fatalf("%q opens as %+v", b, h)
		case err != nil && signed[string(b)]:
			t.Fatalf("%q does not open: %v", b, err)
		case err != nil && h != (handle.Handle{}):
			t.Fatalf("%q: an error and %+v", b, h)
		}
	})
}
