package vault_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"stagedoor/handle"
	"stagedoor/secret"
	"stagedoor/vault"
)

// handleKey is the key of handles in its nth version.
func handleKey(n int) string {
	return strings.Repeat(string(rune('a'+n)), 16) + "-handles-0123456789abcdef"
}

func (s *stage) putHandleKey(n int) {
	s.Put("infra/stagedoor", map[string]any{"handle_key": s.log.hide(handleKey(n)), "note": "of the pipeline"})
}

// withHandles is a store with two scripts' keys and that of handles.
func (s *stage) withHandles(now func() time.Time) vault.Options {
	login, _ := s.token()
	s.ReadPolicy(policyName, "kv/data/flow/ingest", "kv/data/flow/thumbs", "kv/data/infra/stagedoor")
	opt := s.options(login)
	opt.Handles, opt.Now = &vault.Place{Path: "infra/stagedoor", Field: "handle_key"}, now
	return opt
}

func TestTheHandleKeyIsNoScripts(t *testing.T) {
	s := newStage(t)
	s.putHandleKey(1)
	st := s.open(s.withHandles(nil))
	c, err := st.HandleKey()
	if err != nil || !c.Key.Same(secret.FromString(handleKey(1))) || len(c.Old) != 0 || c.CreatedAt.IsZero() {
		t.Fatalf("%+v %v", c, err)
	}
	if ks, ok := st.HandleStatus(); !ok || ks.State != secret.KeyFresh || ks.Version != "1" {
		t.Errorf("%+v %v", ks, ok)
	}
	if _, err := st.Credential(""); err == nil {
		t.Error("it is given as a script's key")
	}
	if _, err := st.Refresh(t.Context(), ""); err == nil {
		t.Error("it is looked at as a script's key")
	}
	if keys := st.Keys(); len(keys) != 2 {
		t.Errorf("the scripts' keys are %+v", keys)
	}
	s.has(st, "ingest", 1)
	login, _ := s.token()
	without := s.open(s.options(login))
	if _, err := without.HandleKey(); err == nil {
		t.Error("a key that is not there")
	}
	if _, ok := without.HandleStatus(); ok {
		t.Error("the status of a key that is not there")
	}
}

func TestAnUnusableHandleKeySaysWhatIsWrong(t *testing.T) {
	s := newStage(t)
	opt := s.withHandles(nil)
	st := s.open(opt)
	says := func(words ...string) {
		t.Helper()
		st.RefreshAll(t.Context())
		_, err := st.HandleKey()
		if err == nil {
			t.Fatal("there is a key")
		}
		text := s.log.say(err)
		for _, w := range append(words, "handle key", "openssl rand", "-mount=kv infra/stagedoor handle_key=-") {
			if !strings.Contains(text, w) {
				t.Errorf("the error does not say %q: %s", w, text)
			}
		}
	}
	says("nothing is at kv/infra/stagedoor", "kv put")
	s.Put("infra/stagedoor", map[string]any{"handle_key": s.log.hide(handleKey(1)[:31])})
	says("shorter than 32", "kv put")
	s.Put("infra/stagedoor", map[string]any{"key": handleKey(1)})
	says(`no field "handle_key"`, "kv patch")
	s.has(st, "thumbs", 1) // the others do not suffer
	s.putHandleKey(1)
	st.RefreshAll(t.Context())
	if _, err := st.HandleKey(); err != nil {
		t.Error(s.log.say(err))
	}
	for _, bad := range []vault.Place{{}, {Path: "a/../b", Field: "x"}, {Path: "a"}} {
		opt.Handles = &bad
		if st, err := vault.Open(t.Context(), opt); err == nil {
			st.Close()
			t.Errorf("%+v is taken", bad)
		}
	}
}

// TestARotatedHandleKeyKillsNoHandle: one proxy sees the new version at once,
// another later, a third starts after it.
func TestARotatedHandleKeyKillsNoHandle(t *testing.T) {
	s := newStage(t)
	s.putHandleKey(1)
	const overlap = 20 * time.Minute
	ahead := time.Duration(0)
	clock := func() time.Time { return time.Now().Add(ahead) }
	signer := func(st *vault.Store) *handle.Signer {
		return handle.New(handle.Rotated(st.HandleKey, overlap, clock), clock, rand.Reader)
	}
	sign := func(x *handle.Signer) secret.Value {
		t.Helper()
		token, err := x.Sign(handle.Handle{Script: "ingest", Listener: "l", Use: handle.UseSession, Expires: clock().Add(time.Hour)})
		if err != nil {
			t.Fatal(s.log.say(err))
		}
		return secret.FromString(token)
	}
	opens := func(what string, x *handle.Signer, token secret.Value) {
		t.Helper()
		if _, err := x.Open(token, "l"); err != nil {
			t.Errorf("%s: %s", what, s.log.say(err))
		}
	}
	opt := s.withHandles(clock)
	one, two := s.open(opt), s.open(opt)
	a, b := signer(one), signer(two)
	before := sign(a)
	opens("another proxy", b, before)

	s.putHandleKey(2)
	one.RefreshAll(t.Context())
	during := sign(a)
	opens("before it saw the new key", b, during)
	opens("signed with the old key", a, before)

	c := signer(s.open(opt))
	opens("a start after the rotation", c, before)
	opens("a start after the rotation", c, during)
	opens("signed by the new start, opened by the old", b, sign(c))

	two.RefreshAll(t.Context())
	ahead = overlap + time.Minute
	after := sign(b)
	for _, x := range []*handle.Signer{a, b, c} {
		for _, token := range []secret.Value{before, during, after} {
			opens("when all have seen it", x, token)
		}
	}
	onlyNew := handle.New(handle.Fixed(secret.FromString(handleKey(2))), clock, rand.Reader)
	opens("the new key signs", onlyNew, after)
	if _, err := onlyNew.Open(before, "l"); !errors.Is(err, handle.ErrInvalid) {
		t.Errorf("the first handle was not signed with the first key: %v", err)
	}
}

// TestHandlesLiveThroughAReloadWithoutVault: the key is taken over.
func TestHandlesLiveThroughAReloadWithoutVault(t *testing.T) {
	s := newStage(t)
	s.putHandleKey(1)
	opt := s.withHandles(nil)
	old := s.open(opt)
	s.Seal()
	opt.From = old
	st := s.open(opt)
	c, err := st.HandleKey()
	if err != nil || !c.Key.Same(secret.FromString(handleKey(1))) {
		t.Fatalf("the key is lost: %s", s.log.say(err))
	}
	if ks, _ := st.HandleStatus(); ks.State != secret.KeyStale {
		t.Errorf("%+v", ks)
	}
}
