package vault_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stagedoor/internal/parts"
	"stagedoor/secret"
	"stagedoor/vault"
)

// patience bounds every wait; only what hangs meets it.
const patience = 60 * time.Second

// keyOf is a script's key in its nth version, with characters that every
// encoding changes.
func keyOf(script string, n int) string {
	return fmt.Sprintf("k&y/%s+%d=<0123456789abcdef>", script, n)
}

// logbook collects what a store logs and every error it gives, and fails the
// test when a secret is in them.
type logbook struct {
	t       *testing.T
	mu      sync.Mutex
	out     bytes.Buffer
	secrets []string
}

func newLogbook(t *testing.T) *logbook {
	t.Helper()
	l := &logbook{t: t}
	t.Cleanup(l.scan)
	return l
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// hide names a secret that must not turn up.
func (l *logbook) hide(s string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets = append(l.secrets, s)
	return s
}

// say keeps an error's text to be searched, and gives it back.
func (l *logbook) say(err error) string {
	text := fmt.Sprintf("%v|%+v|%#v", err, err, err)
	_, _ = l.Write([]byte(text + "\n"))
	return fmt.Sprint(err)
}

func (l *logbook) count(phrase string) int { return strings.Count(l.String(), phrase) }

func (l *logbook) scan() {
	got := l.String()
	if len(l.secrets) == 0 || got == "" {
		l.t.Error("nothing to search, or nothing to search for")
	}
	for _, s := range l.secrets {
		quoted := strings.Trim(fmt.Sprintf("%q", s), `"`)
		forms := []string{s, quoted, url.QueryEscape(s), url.PathEscape(s), hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s)))}
		for skip := range min(3, len(s)) { // base64 of a longer text that s stands in
			e := base64.StdEncoding.EncodeToString([]byte(s[skip:]))
			forms = append(forms, e[:len(e)-4], base64.URLEncoding.EncodeToString([]byte(s[skip:]))[:len(e)-4])
		}
		for _, form := range forms {
			if strings.Contains(got, form) {
				l.t.Errorf("a secret is in the log or an error:\n%s", got)
				return
			}
		}
	}
}

// stage is a real Vault with two scripts' keys, and a policy that lets both be
// read.
type stage struct {
	*parts.VaultServer
	t   *testing.T
	log *logbook
}

const policyName = "stagedoor"

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{VaultServer: parts.Vault(t, parts.VaultOptions{}), t: t, log: newLogbook(t)}
	s.put("ingest", 1)
	s.put("thumbs", 1)
	s.allow("ingest", "thumbs")
	return s
}

func (s *stage) put(script string, n int) {
	s.Put("flow/"+script, map[string]any{"api_key": s.log.hide(keyOf(script, n)), "script_name": script + "-on-site"})
}

func (s *stage) allow(scripts ...string) {
	var paths []string
	for _, name := range scripts {
		paths = append(paths, "kv/data/flow/"+name)
	}
	s.ReadPolicy(policyName, paths...)
}

func script(name string) vault.Script {
	return vault.Script{Name: name, Path: "flow/" + name, KeyField: "api_key", NameField: "script_name"}
}

// options look at the keys when told to, and by themselves only after failures.
func (s *stage) options(login vault.Login) vault.Options {
	return vault.Options{
		Address: s.Address, CAFile: s.CAFile, Mount: "kv", Login: login, Timeout: 10 * time.Second, Refresh: time.Hour,
		Scripts: []vault.Script{script("ingest"), script("thumbs")}, Logger: s.log.logger(), UserAgent: "stagedoor/test",
	}
}

func (s *stage) open(opt vault.Options) *vault.Store {
	s.t.Helper()
	return open(s.t, s.log, opt)
}

func open(t *testing.T, log *logbook, opt vault.Options) *vault.Store {
	t.Helper()
	st, err := vault.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(log.say(err))
	}
	t.Cleanup(func() {
		for _, k := range st.Keys() {
			_ = log.say(fmt.Errorf("%+v", k))
		}
		_ = log.say(fmt.Errorf("%+v", st.Status()))
		st.Close()
	})
	return st
}

// file writes a file that only we may read.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	rewrite(t, path, text)
	return path
}

// rewrite replaces a file in one step, as a Vault Agent does.
func rewrite(t *testing.T, path, text string) {
	t.Helper()
	next := path + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// role is an AppRole login, with the path of its secret id's file.
func (s *stage) role(ttl, most time.Duration) (vault.Login, *parts.AppRole, string) {
	s.t.Helper()
	a := s.AppRole("stagedoor", policyName, ttl, most)
	id := a.NewSecretID()
	path := file(s.t, "secret-id", s.log.hide(id)+"\n")
	return vault.Login{AppRole: &vault.AppRole{RoleID: a.RoleID, SecretIDFile: path}}, a, path
}

// token is a login with a token that is never replaced.
func (s *stage) token() (vault.Login, string) {
	s.t.Helper()
	token := s.log.hide(s.Token(policyName, parts.TokenOptions{}))
	return vault.Login{Token: secret.FromString(token)}, token
}

// has fails unless the script has the key of version n.
func (s *stage) has(st *vault.Store, name string, n int) secret.Credential {
	s.t.Helper()
	c, err := st.Credential(name)
	if err != nil {
		s.t.Fatalf("%s has no key: %s\n%s", name, s.log.say(err), s.log)
	}
	if !c.Key.Same(secret.FromString(keyOf(name, n))) {
		s.t.Fatalf("%s has another key than that of version %d", name, n)
	}
	return c
}

// lacks fails unless the script has no key for a reason that has all words.
func (s *stage) lacks(st *vault.Store, name string, words ...string) {
	s.t.Helper()
	c, err := st.Credential(name)
	if err == nil || !c.Key.IsZero() {
		s.t.Fatalf("%s has a key", name)
	}
	text := s.log.say(err)
	for _, w := range words {
		if !strings.Contains(text, w) {
			s.t.Errorf("the error does not say %q: %s", w, text)
		}
	}
}

// refresh looks at a script's key and gives the error's text, "" for none.
func (s *stage) refresh(st *vault.Store, name string) (bool, string) {
	s.t.Helper()
	changed, err := st.Refresh(s.t.Context(), name)
	if err != nil {
		return changed, s.log.say(err)
	}
	return changed, ""
}

// is fails unless script and Vault are in these states.
func (s *stage) is(st *vault.Store, name, key, state string) {
	s.t.Helper()
	if got := keyState(st, name); got != key {
		s.t.Errorf("the key of %s is %s, not %s\n%s", name, got, key, s.log)
	}
	if got := st.Status(); got.State != state {
		s.t.Errorf("Vault is %s (%s), not %s\n%s", got.State, got.Why, state, s.log)
	}
}

func keyState(st *vault.Store, name string) string {
	for _, k := range st.Keys() {
		if k.Script == name {
			return k.State
		}
	}
	return "unknown"
}

// await waits for something that the store does by itself.
func (s *stage) await(what string, done func() bool) {
	s.t.Helper()
	await(s.t, what, s.log, done)
}

func await(t *testing.T, what string, log *logbook, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s\n%s", what, log)
		}
	}
}
