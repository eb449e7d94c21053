package vault_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"stagedoor/internal/parts"
	"stagedoor/secret"
	"stagedoor/vault"
)

func TestEachLoginReadsTheKeys(t *testing.T) {
	s := newStage(t)
	approle, role, _ := s.role(time.Hour, time.Hour)
	wrapped := vault.Login{AppRole: &vault.AppRole{
		RoleIDFile: file(t, "role-id", role.RoleID+"\n"), Wrapped: true,
		SecretIDFile: file(t, "wrapped", s.log.hide(role.NewWrappedSecretID(time.Hour))+"\n"),
	}}
	k := s.Kubernetes("stagedoor", policyName, time.Hour, time.Hour)
	static, token := s.token()
	for name, login := range map[string]vault.Login{
		"token":       static,
		"token file":  {TokenFile: file(t, "token", token)},
		"AppRole":     approle,
		"wrapped":     wrapped,
		"Kubernetes":  {Kubernetes: &vault.Kubernetes{Role: k.Role, TokenFile: k.JWTFile}},
		"other mount": {Kubernetes: &vault.Kubernetes{Role: k.Role, TokenFile: k.JWTFile, Mount: "kubernetes/"}},
	} {
		t.Run(name, func(t *testing.T) {
			st := open(t, s.log, s.options(login))
			for _, script := range []string{"ingest", "thumbs"} {
				c := s.has(st, script, 1)
				if c.SiteName != script+"-on-site" || c.Version != "1" || c.CreatedAt.IsZero() || c.ReadAt.IsZero() || len(c.Old) != 0 {
					t.Errorf("the credential is %+v", c)
				}
				s.is(st, script, secret.KeyFresh, vault.StateOK)
			}
			if ttl := st.Status().TokenTTL; ttl <= 0 {
				t.Errorf("the token lives for %s", ttl)
			}
		})
	}
}

func TestVersion1HasNoVersions(t *testing.T) {
	s := newStage(t)
	s.PutV1("flow/ingest", map[string]any{"api_key": keyOf("ingest", 1)})
	s.ReadPolicy(policyName, "kv1/flow/ingest")
	login, _ := s.token()
	for _, version := range []int{0, 1} {
		opt := s.options(login)
		opt.Mount, opt.KVVersion = "kv1", version
		st := s.open(opt)
		c := s.has(st, "ingest", 1)
		if c.Version != "" || !c.CreatedAt.IsZero() || c.SiteName != "ingest" {
			t.Errorf("the credential is %+v", c)
		}
		s.lacks(st, "thumbs", "refuses", "kv1/flow/thumbs")
		s.DeleteV1("flow/ingest")
		_, _ = s.refresh(st, "ingest")
		s.lacks(st, "ingest", "nothing is at kv1/flow/ingest", "vault kv put -mount=kv1 flow/ingest api_key=-")
		s.PutV1("flow/ingest", map[string]any{"api_key": keyOf("ingest", 1)})
	}
}

func TestTheNameOnTheSite(t *testing.T) {
	s := newStage(t)
	s.Put("flow/thumbs", map[string]any{"api_key": keyOf("thumbs", 1)})
	login, _ := s.token()
	opt := s.options(login)
	opt.Scripts[0].SiteName, opt.Scripts[1].SiteName = "never", "thumbs-2026"
	opt.Scripts = append(opt.Scripts, vault.Script{Name: "bare", Path: "flow/thumbs", KeyField: "api_key"})
	st := s.open(opt)
	for script, want := range map[string]string{"ingest": "ingest-on-site", "thumbs": "thumbs-2026", "bare": "bare"} {
		c, err := st.Credential(script)
		if err != nil || c.SiteName != want {
			t.Errorf("%s is %q on the site (%v), not %q", script, c.SiteName, err, want)
		}
	}
}

func TestEachUnusableSecretSaysWhatIsWrong(t *testing.T) {
	s := newStage(t)
	const long = "0123456789abcdef"
	s.log.hide(long)
	bad := map[string]struct {
		put   map[string]any
		words []string
	}{
		"nothing":   {nil, []string{"nothing is at kv/flow/nothing", "vault kv put -mount=kv flow/nothing api_key=-"}},
		"deleted":   {map[string]any{"api_key": long}, []string{"version 1", "deleted", "vault kv undelete -mount=kv -versions=1 flow/deleted"}},
		"destroyed": {map[string]any{"api_key": long}, []string{"version 1", "destroyed", "vault kv put"}},
		"fieldless": {map[string]any{"key": long, "name": long}, []string{`no field "api_key"`, `"key", "name"`}},
		"number":    {map[string]any{"api_key": 12345678901234567}, []string{"is no text"}},
		"blank":     {map[string]any{"api_key": ""}, []string{"is empty"}},
		"newline":   {map[string]any{"api_key": long + "\n"}, []string{"white space"}},
		"control":   {map[string]any{"api_key": long + "\x01" + long}, []string{"control character"}},
		"spaced":    {map[string]any{"api_key": " " + long}, []string{"white space"}},
		"short":     {map[string]any{"api_key": long[1:]}, []string{"shorter than 16"}},
		"nameless":  {map[string]any{"api_key": long, "script_name": ""}, []string{`"script_name"`, "is empty"}},
	}
	login, _ := s.token()
	opt, paths := s.options(login), []string{"kv/data/flow/ingest"}
	opt.Scripts = opt.Scripts[:1]
	for name, c := range bad {
		opt.Scripts = append(opt.Scripts, script(name))
		paths = append(paths, "kv/data/flow/"+name)
		if c.put != nil {
			s.Put("flow/"+name, c.put)
		}
	}
	s.Delete("flow/deleted", 1)
	s.Destroy("flow/destroyed", 1)
	s.ReadPolicy(policyName, paths...)
	st := s.open(opt)
	for name, c := range bad {
		s.lacks(st, name, c.words...)
		s.is(st, name, secret.KeyMissing, vault.StateOK)
	}
	s.has(st, "ingest", 1)
}

func TestANewVersionReplacesTheKeyAndTheOldOnesAreRemembered(t *testing.T) {
	s := newStage(t)
	login, _ := s.token()
	st := s.open(s.options(login))
	if changed, err := s.refresh(st, "ingest"); changed || err != "" {
		t.Errorf("a look without news says changed %v, error %q", changed, err)
	}
	const last = 7
	for n := 2; n <= last; n++ {
		s.put("ingest", n)
		if changed, err := s.refresh(st, "ingest"); !changed || err != "" {
			t.Errorf("a look at version %d says changed %v, error %q", n, changed, err)
		}
	}
	c := s.has(st, "ingest", last)
	if c.Version != "7" || len(c.Old) != secret.MaxOld {
		t.Fatalf("version %s with %d old keys", c.Version, len(c.Old))
	}
	for i, old := range c.Old {
		if !old.Same(secret.FromString(keyOf("ingest", last-1-i))) {
			t.Errorf("old key %d is not that of version %d", i, last-1-i)
		}
	}
	s.put("ingest", last-1) // back to the one before
	_, _ = s.refresh(st, "ingest")
	for _, old := range s.has(st, "ingest", last-1).Old {
		if old.Same(secret.FromString(keyOf("ingest", last-1))) {
			t.Error("the key in use counts as an old one")
		}
	}
}

// A restart must not forget the keys that a tool may still carry.
func TestKeysOfEarlierVersionsAreKnownFromTheStart(t *testing.T) {
	s := newStage(t)
	for n := 2; n <= 6; n++ {
		s.put("ingest", n)
	}
	s.Destroy("flow/ingest", 4)
	login, _ := s.token()
	c := s.has(s.open(s.options(login)), "ingest", 6)
	want := []int{5, 3, 2} // of the last four; the fourth is destroyed
	if len(c.Old) != len(want) {
		t.Fatalf("%d old keys, not %d", len(c.Old), len(want))
	}
	for i, n := range want {
		if !c.Old[i].Same(secret.FromString(keyOf("ingest", n))) {
			t.Errorf("old key %d is not that of version %d", i, n)
		}
	}
}

func TestABadNewVersionLeavesTheKeyInUse(t *testing.T) {
	s := newStage(t)
	login, _ := s.token()
	st := s.open(s.options(login))
	s.Put("flow/ingest", map[string]any{"api_key": "short"})
	if _, err := s.refresh(st, "ingest"); !strings.Contains(err, "shorter than 16") {
		t.Errorf("the error is %q", err)
	}
	s.has(st, "ingest", 1)
	s.is(st, "ingest", secret.KeyStale, vault.StateOK)
}

func TestVaultSaysNoDropsTheKey(t *testing.T) {
	for name, c := range map[string]struct {
		no, yes func(*stage)
		words   []string
	}{
		"deleted":   {func(s *stage) { s.Delete("flow/ingest", 1) }, func(s *stage) { s.Undelete("flow/ingest", 1) }, []string{"version 1", "is deleted"}},
		"destroyed": {func(s *stage) { s.Destroy("flow/ingest", 1) }, func(s *stage) { s.put("ingest", 1) }, []string{"is destroyed"}},
		"removed":   {func(s *stage) { s.Remove("flow/ingest") }, func(s *stage) { s.put("ingest", 1) }, []string{"nothing is at kv/flow/ingest"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			login, _ := s.token()
			st := s.open(s.options(login))
			s.has(st, "ingest", 1)
			c.no(s)
			if changed, err := s.refresh(st, "ingest"); !changed || err == "" {
				t.Errorf("changed %v, error %q", changed, err)
			}
			s.lacks(st, "ingest", c.words...)
			s.has(st, "thumbs", 1)
			c.yes(s)
			s.await("the key is back by itself", func() bool { return keyState(st, "ingest") == secret.KeyFresh })
			s.has(st, "ingest", 1)
		})
	}
}

func TestAWithdrawnPermissionDropsOneScriptAfterAFreshLogin(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	login, _, _ := s.role(time.Hour, time.Hour)
	opt := s.options(login)
	opt.Address = front.Address
	st := s.open(opt)
	s.allow("thumbs")
	if changed, err := s.refresh(st, "ingest"); !changed || !strings.Contains(err, `path "kv/data/flow/ingest" { capabilities = ["read"] }`) {
		t.Errorf("changed %v, error %q", changed, err)
	}
	if n := front.Count("PUT", "/v1/auth/approle/login"); n < 2 {
		t.Errorf("%d logins: the refusal was believed of the old token", n)
	}
	if n := front.Count("PUT", "/v1/auth/token/revoke-self"); n < 1 {
		t.Error("the replaced token was left alive")
	}
	s.lacks(st, "ingest", "kv/data/flow/ingest")
	s.is(st, "ingest", secret.KeyDenied, vault.StateOK)
	st.RefreshAll(t.Context())
	s.has(st, "thumbs", 1)
	s.is(st, "thumbs", secret.KeyFresh, vault.StateOK)
	s.allow("ingest", "thumbs")
	s.await("the key is back by itself", func() bool { return keyState(st, "ingest") == secret.KeyFresh })
}

func TestNothingBelowTheMountMayBeRead(t *testing.T) {
	s := newStage(t)
	login, _, _ := s.role(time.Hour, time.Hour)
	opt := s.options(login)
	opt.Mount = "elsewhere"
	st := s.open(opt)
	s.lacks(st, "ingest", "no mount elsewhere", "vault.mount")
	s.is(st, "ingest", secret.KeyDenied, vault.StateOK)
}

func TestARevokedTokenIsReplacedAndNoKeyIsLost(t *testing.T) {
	s := newStage(t)
	login, _, _ := s.role(time.Hour, time.Hour)
	k := s.Kubernetes("stagedoor", policyName, time.Hour, time.Hour)
	for method, login := range map[string]vault.Login{
		"approle":    login,
		"kubernetes": {Kubernetes: &vault.Kubernetes{Role: k.Role, TokenFile: k.JWTFile}},
	} {
		st := s.open(s.options(login))
		s.RevokeLogins(method)
		st.RefreshAll(t.Context())
		for _, script := range []string{"ingest", "thumbs"} {
			s.has(st, script, 1)
			s.is(st, script, secret.KeyFresh, vault.StateOK)
		}
	}
	if s.log.count("no usable key") > 0 {
		t.Errorf("a key was dropped:\n%s", s.log)
	}
}

func TestARefusedLoginDropsTheKeysAndANewSecretIDBringsThemBack(t *testing.T) {
	s := newStage(t)
	login, role, path := s.role(time.Hour, time.Hour)
	st := s.open(s.options(login))
	id, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	role.DestroySecretID(strings.TrimSpace(string(id)))
	st.RefreshAll(t.Context())
	s.has(st, "ingest", 1) // the token lives on
	s.RevokeLogins("approle")
	st.RefreshAll(t.Context())
	s.lacks(st, "ingest", "refuses the AppRole login", "write a new secret id to "+path)
	s.is(st, "thumbs", secret.KeyDenied, vault.StateDenied)
	rewrite(t, path, s.log.hide(role.NewSecretID()))
	s.await("the keys are back by themselves", func() bool { return st.Status().State == vault.StateOK })
	s.has(st, "ingest", 1)
}

func TestAServiceAccountThatIsRefusedDropsTheKeys(t *testing.T) {
	s := newStage(t)
	k := s.Kubernetes("stagedoor", policyName, time.Hour, time.Hour)
	st := s.open(s.options(vault.Login{Kubernetes: &vault.Kubernetes{Role: k.Role, TokenFile: k.JWTFile}}))
	s.has(st, "ingest", 1)
	k.Deny(true)
	s.RevokeLogins("kubernetes")
	st.RefreshAll(t.Context())
	s.lacks(st, "ingest", "refuses the Kubernetes login")
	s.is(st, "ingest", secret.KeyDenied, vault.StateDenied)
	k.Deny(false)
	s.await("the keys are back by themselves", func() bool { return st.Status().State == vault.StateOK })
}

func TestADeadTokenThatNothingReplacesIsNoRefusal(t *testing.T) {
	s := newStage(t)
	login, token := s.token()
	path := file(t, "token", token)
	fixed := s.open(s.options(login))
	sink := s.open(s.options(vault.Login{TokenFile: path}))
	s.Revoke(token)
	for _, st := range []*vault.Store{fixed, sink} {
		if changed, err := s.refresh(st, "ingest"); changed || !strings.Contains(err, "expired or was revoked") {
			t.Errorf("changed %v, error %q", changed, err)
		}
		s.has(st, "ingest", 1)
		s.is(st, "ingest", secret.KeyStale, vault.StateLogin)
	}
	if changed, err := s.refresh(fixed, "thumbs"); changed || err == "" {
		t.Errorf("changed %v, error %q", changed, err)
	}
	rewrite(t, path, s.log.hide(s.Token(policyName, parts.TokenOptions{}))+"\n")
	s.await("the new token is found", func() bool { return sink.Status().State == vault.StateOK })
	s.await("the key is fresh", func() bool { return keyState(sink, "ingest") == secret.KeyFresh })
}

func TestATokenFileThatChangesIsReadBeforeTheOldTokenDies(t *testing.T) {
	s := newStage(t)
	_, token := s.token()
	path := file(t, "token", token)
	front := s.Front()
	opt := s.options(vault.Login{TokenFile: path})
	opt.Address = front.Address
	st := s.open(opt)
	rewrite(t, path, s.log.hide(s.Token(policyName, parts.TokenOptions{})))
	_, _ = s.refresh(st, "ingest")
	if n := s.log.count("logged in to Vault"); n != 2 {
		t.Errorf("%d tokens were taken up", n)
	}
	if n := front.Count("PUT", "/v1/auth/token/revoke-self"); n != 0 {
		t.Error("somebody else's token was revoked")
	}
}

func TestALiveTokenWithoutPermissionIsARefusal(t *testing.T) {
	s := newStage(t)
	login, _ := s.token()
	st := s.open(s.options(login))
	s.allow("thumbs")
	_, _ = s.refresh(st, "ingest")
	s.lacks(st, "ingest", "refuses to let this login read kv/data/flow/ingest")
	s.is(st, "ingest", secret.KeyDenied, vault.StateOK)
}

func TestATokenIsRenewed(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	login, _, _ := s.role(3*time.Second, time.Hour)
	opt := s.options(login)
	opt.Address = front.Address
	st := s.open(opt)
	front.Await("PUT", "/v1/auth/token/renew-self", 3)
	if n := front.Count("PUT", "/v1/auth/approle/login"); n != 1 {
		t.Errorf("%d logins beside the renewals", n)
	}
	if _, err := s.refresh(st, "ingest"); err != "" {
		t.Error(err)
	}
}

func TestATokenThatCannotBeRenewedMakesALogin(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	login, _, _ := s.role(2*time.Second, 2*time.Second)
	opt := s.options(login)
	opt.Address = front.Address
	st := s.open(opt)
	front.Await("PUT", "/v1/auth/approle/login", 3)
	if _, err := s.refresh(st, "ingest"); err != "" {
		t.Error(err)
	}
	s.is(st, "ingest", secret.KeyFresh, vault.StateOK)
}

func TestAWrappedSecretIDIsUnwrappedOnce(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	_, role, _ := s.role(time.Hour, time.Hour)
	path := file(t, "wrapped", s.log.hide(role.NewWrappedSecretID(time.Hour)))
	opt := s.options(vault.Login{AppRole: &vault.AppRole{RoleID: role.RoleID, SecretIDFile: path, Wrapped: true}})
	opt.Address = front.Address
	st := s.open(opt)
	if err := os.Remove(path); err != nil { // it is worth nothing now
		t.Fatal(err)
	}
	s.RevokeLogins("approle")
	if _, err := s.refresh(st, "ingest"); err != "" {
		t.Error(err)
	}
	opt.From = st
	again := s.open(opt)
	st.Close()
	s.RevokeLogins("approle")
	if _, err := s.refresh(again, "ingest"); err != "" {
		t.Error(err)
	}
	if n := front.Count("PUT", "/v1/sys/wrapping/unwrap"); n != 1 {
		t.Errorf("unwrapped %d times", n)
	}
}

func TestASpentWrappingTokenIsReportedAndNotTriedAgain(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	_, role, _ := s.role(time.Hour, time.Hour)
	token := s.log.hide(role.NewWrappedSecretID(time.Hour))
	if _, err := s.Client().Logical().Unwrap(token); err != nil {
		t.Fatal(err)
	}
	path := file(t, "wrapped", token)
	opt := s.options(vault.Login{AppRole: &vault.AppRole{RoleID: role.RoleID, SecretIDFile: path, Wrapped: true}})
	opt.Address = front.Address
	st := s.open(opt)
	s.lacks(st, "ingest", "used up or was intercepted", "somebody else unwrapped it", path)
	s.is(st, "ingest", secret.KeyMissing, vault.StateLogin)
	for range 3 {
		_, _ = s.refresh(st, "ingest")
	}
	if n := front.Count("PUT", "/v1/sys/wrapping/unwrap"); n != 1 {
		t.Errorf("tried %d times", n)
	}
	rewrite(t, path, s.log.hide(role.NewWrappedSecretID(time.Hour)))
	s.await("a new wrapping token is used", func() bool { return keyState(st, "ingest") == secret.KeyFresh })
}

func TestAnOutageCostsNoKeyAndEndsByItself(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	login, _, _ := s.role(time.Hour, time.Hour)
	opt := s.options(login)
	opt.Address, opt.Timeout = front.Address, time.Second
	st := s.open(opt)
	for _, c := range []struct {
		name, state string
		begin, end  func()
	}{
		{"sealed", vault.StateSealed, s.Seal, s.Unseal},
		{"killed", vault.StateUnavailable, s.Stop, s.Restart},
		{"restarted sealed", vault.StateSealed, s.RestartSealed, s.Unseal},
		{"hanging", vault.StateUnavailable, front.Pause, front.Resume},
		{"refusing connections", vault.StateUnavailable, front.Refuse, front.Accept},
		{"bad gateway", vault.StateUnavailable, func() { front.Fail(503) }, func() { front.Fail(0) }},
	} {
		before := s.log.count("Vault can't be used")
		c.begin()
		st.RefreshAll(t.Context())
		for range 2 {
			_, _ = s.refresh(st, "ingest")
		}
		for _, script := range []string{"ingest", "thumbs"} {
			s.has(st, script, 1)
			s.is(st, script, secret.KeyStale, c.state)
		}
		if n := s.log.count("Vault can't be used") - before; n != 1 {
			t.Errorf("%s: logged %d times\n%s", c.name, n, s.log)
		}
		c.end()
		s.await(c.name+" is over", func() bool { return st.Status().State == vault.StateOK && keyState(st, "ingest") == secret.KeyFresh })
		s.await(c.name+" is over for all", func() bool { return keyState(st, "thumbs") == secret.KeyFresh })
	}
	if s.log.count("no usable key") > 0 {
		t.Errorf("a key was dropped:\n%s", s.log)
	}
}

func TestAKeyIsUsedForMaxStaleAndNoLonger(t *testing.T) {
	s := newStage(t)
	var ahead atomic.Int64
	login, _, _ := s.role(time.Hour, time.Hour)
	opt := s.options(login)
	opt.MaxStale = 24 * time.Hour
	opt.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	st := s.open(opt)
	s.Stop()
	ahead.Store(int64(23 * time.Hour))
	_, _ = s.refresh(st, "ingest")
	s.has(st, "ingest", 1)
	ahead.Store(int64(25 * time.Hour))
	s.lacks(st, "ingest", "25h", "max_stale (24h0m0s)", "can't be asked")
	_, _ = s.refresh(st, "ingest")
	s.is(st, "ingest", secret.KeyExpired, vault.StateUnavailable)
	s.Restart()
	s.await("the key is back by itself", func() bool { return keyState(st, "ingest") == secret.KeyFresh })
	s.has(st, "ingest", 1)
}

func TestAVaultThatIsDownAtTheStartIsWaitedForLater(t *testing.T) {
	s := newStage(t)
	login, _, _ := s.role(time.Hour, time.Hour)
	s.Stop()
	st := s.open(s.options(login))
	s.lacks(st, "ingest", "can't be asked", "refused")
	s.is(st, "ingest", secret.KeyMissing, vault.StateUnavailable)
	s.Restart()
	s.await("the keys are read", func() bool { return keyState(st, "ingest") == secret.KeyFresh })
}

func TestAReloadLosesNoKeyWhileVaultIsDown(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	login, _, _ := s.role(time.Hour, time.Hour)
	opt := s.options(login)
	opt.Address = front.Address
	old := s.open(opt)
	s.put("ingest", 2)
	_, _ = s.refresh(old, "ingest")
	s.Stop()
	opt.From = old
	opt.Scripts = []vault.Script{script("ingest"), {Name: "renamed", Path: "flow/thumbs", KeyField: "api_key", NameField: "script_name"}, {Name: "other", Path: "flow/thumbs", KeyField: "key"}}
	st := s.open(opt)
	old.Close()
	if c := s.has(st, "ingest", 2); len(c.Old) != 1 || c.SiteName != "ingest-on-site" {
		t.Errorf("the credential is %+v", c)
	}
	if c, err := st.Credential("renamed"); err != nil || !c.Key.Same(secret.FromString(keyOf("thumbs", 1))) {
		t.Errorf("the key at the same path is lost: %v", err)
	}
	s.lacks(st, "other", "can't be asked")
	s.Restart()
	s.await("the keys are fresh", func() bool { return keyState(st, "ingest") == secret.KeyFresh })
	if n := front.Count("PUT", "/v1/auth/approle/login"); n != 1 {
		t.Errorf("%d logins: the token was not taken over", n)
	}
	opt.From, opt.Namespace = st, "elsewhere"
	s.Stop()
	s.lacks(s.open(opt), "ingest", "can't be asked")
}

func TestManyWhoAskAtOnceAskVaultOnce(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	login, _ := s.token()
	opt := s.options(login)
	opt.Address, opt.KVVersion = front.Address, 2
	st := s.open(opt)
	before := front.Count("GET", "/v1/kv/data/flow/ingest")
	front.Pause()
	const askers = 20
	var wg sync.WaitGroup
	var asking atomic.Int32
	for range askers {
		wg.Go(func() {
			asking.Add(1)
			_, _ = st.Refresh(context.Background(), "ingest")
		})
	}
	front.Await("GET", "/v1/kv/data/flow/ingest", before+1)
	s.await("all ask", func() bool { return asking.Load() == askers })
	front.Resume()
	wg.Wait()
	// One that counted itself and then slept through the answer may ask anew.
	if n := front.Count("GET", "/v1/kv/data/flow/ingest") - before; n > 3 {
		t.Errorf("Vault was asked %d times", n)
	}
}

func TestKeysAreReadInParallelWithinABound(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	s.Policy(policyName, `path "kv/data/*" { capabilities = ["read"] }`)
	login, _ := s.token()
	opt := s.options(login)
	opt.Address, opt.KVVersion = front.Address, 2
	for i := range 30 {
		opt.Scripts = append(opt.Scripts, script(fmt.Sprintf("more-%d", i)))
	}
	st := s.open(opt)
	s.has(st, "ingest", 1)
	before := front.Count("GET", "/v1/kv/data/")
	front.Pause()
	done := make(chan struct{})
	go func() {
		defer close(done)
		st.RefreshAll(context.Background())
	}()
	front.Await("GET", "/v1/kv/data/", before+8)                  // none of them was answered yet
	if n := front.Count("GET", "/v1/kv/data/") - before; n > 16 { // a retry of the 30 that have no key may run beside
		t.Errorf("%d questions at the same time", n)
	}
	front.Resume()
	<-done
}

func TestCloseEndsWhatHangs(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	login, _, _ := s.role(time.Hour, time.Hour)
	opt := s.options(login)
	opt.Address, opt.Timeout = front.Address, time.Hour
	st := s.open(opt)
	before := front.Count("GET", "/v1/kv/data/flow/ingest")
	front.Pause()
	errs := make(chan error, 1)
	go func() {
		_, err := st.Refresh(context.Background(), "ingest")
		errs <- err
	}()
	front.Await("GET", "/v1/sys/internal/ui/mounts/kv", 2)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		st.Close()
	}()
	<-closed
	_ = s.log.say(<-errs)
	if n := front.Count("GET", "/v1/kv/data/flow/ingest") - before; n != 0 {
		t.Errorf("%d reads after Close", n)
	}
	s.has(st, "ingest", 1) // calls in flight can end
	if _, err := st.Refresh(t.Context(), "ingest"); err == nil {
		t.Error("a closed store looked at Vault")
	}
	front.Resume()
}

func TestATokenThatEndsAndIsNotReplacedIsNoRefusal(t *testing.T) {
	s := newStage(t)
	token := s.log.hide(s.Token(policyName, parts.TokenOptions{TTL: 2 * time.Second, NotRenewable: true}))
	st := s.open(s.options(vault.Login{Token: secret.FromString(token)}))
	s.await("a warning before the end", func() bool { return s.log.count("replace it before it ends") == 1 })
	s.await("the end", func() bool {
		_, err := s.refresh(st, "ingest")
		return strings.Contains(err, "expired or was revoked")
	})
	s.has(st, "ingest", 1)
	s.is(st, "ingest", secret.KeyStale, vault.StateLogin)
}

func TestASlowVaultIsNoOutage(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	login, _ := s.token()
	opt := s.options(login)
	opt.Address = front.Address
	front.Delay(200 * time.Millisecond)
	st := s.open(opt)
	st.RefreshAll(t.Context())
	s.is(st, "ingest", secret.KeyFresh, vault.StateOK)
}

func TestCloseEndsARenewalThatHangs(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	login, _, _ := s.role(3*time.Second, time.Hour)
	opt := s.options(login)
	opt.Address, opt.Timeout = front.Address, time.Hour
	st := s.open(opt)
	front.Await("PUT", "/v1/auth/token/renew-self", 1)
	front.Pause()
	front.Await("PUT", "/v1/auth/token/renew-self", 2)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		st.Close()
	}()
	s.await("the store is closed", func() bool {
		select {
		case <-closed:
			return true
		default:
			return false
		}
	})
	front.Resume()
}

func TestARefusedLoginLeavesALivingTokenInUse(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	login, role, path := s.role(4*time.Second, 4*time.Second)
	opt := s.options(login)
	opt.Address = front.Address
	st := s.open(opt)
	id, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	role.DestroySecretID(strings.TrimSpace(string(id)))
	s.await("the login is refused", func() bool { return s.log.count("the old token is used as long as it lives") > 0 })
	s.has(st, "ingest", 1)
	s.await("the token is dead", func() bool { return st.Status().State == vault.StateDenied })
	s.lacks(st, "ingest", "refuses the AppRole login")
}

func TestTheTokenIsGivenBackAtTheEnd(t *testing.T) {
	s := newStage(t)
	front := s.Front()
	login, _, _ := s.role(time.Hour, time.Hour)
	opt := s.options(login)
	opt.Address = front.Address
	s.open(opt).Close()
	if n := front.Count("PUT", "/v1/auth/token/revoke-self"); n != 1 {
		t.Errorf("revoked %d times", n)
	}
}

func TestKeysAreReadAgainByThemselves(t *testing.T) {
	s := newStage(t)
	login, _ := s.token()
	opt := s.options(login)
	opt.Refresh = 100 * time.Millisecond
	st := s.open(opt)
	s.put("ingest", 2)
	s.await("the new key is found", func() bool {
		c, err := st.Credential("ingest")
		return err == nil && c.Version == "2"
	})
	s.has(st, "ingest", 2)
	if s.log.count(`"msg":"key changed"`) != 1 || s.log.count(`"msg":"key read"`) != 2 {
		t.Errorf("changes are not logged once each:\n%s", s.log)
	}
}
