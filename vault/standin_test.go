package vault_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"stagedoor/secret"
	"stagedoor/vault"
)

// standIn answers as no real Vault would. The questions it got are kept.
type standIn struct {
	*httptest.Server
	ca  string
	log *logbook

	mu     sync.Mutex
	answer http.HandlerFunc
	seen   []*http.Request
}

const standInToken = "hvs.standin+token/0123456789"

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	s := &standIn{log: newLogbook(t), answer: good}
	s.log.hide(standInToken)
	s.log.hide(keyOf("ingest", 1))
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r)
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	s.ca = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(s.ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// good answers as Vault does.
func good(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v1/auth/token/lookup-self":
		_, _ = fmt.Fprint(w, `{"data":{"ttl":0,"renewable":false}}`)
	case "/v1/sys/internal/ui/mounts/kv":
		_, _ = fmt.Fprint(w, `{"data":{"type":"kv","options":{"version":"2"}}}`)
	default:
		_, _ = fmt.Fprintf(w, `{"data":{"data":{"api_key":%q},"metadata":{"version":1,"created_time":"2026-01-02T03:04:05Z"}}}`, keyOf("ingest", 1))
	}
}

// reads answers with h where a key is read.
func (s *standIn) reads(h http.HandlerFunc) {
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/kv/data/") {
			h(w, r)
			return
		}
		good(w, r)
	})
}

func (s *standIn) answers(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

// requests are those so far whose path has the prefix.
func (s *standIn) requests(prefix string) []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*http.Request
	for _, r := range s.seen {
		if strings.HasPrefix(r.URL.Path, prefix) {
			all = append(all, r)
		}
	}
	return all
}

func (s *standIn) options() vault.Options {
	return vault.Options{
		Address: s.URL, CAFile: s.ca, Mount: "kv", Login: vault.Login{Token: secret.FromString(standInToken)},
		Timeout: 10 * time.Second, Refresh: time.Hour, Scripts: []vault.Script{script("ingest")},
		Logger: s.log.logger(), UserAgent: "stagedoor/test",
	}
}

func (s *standIn) refresh(t *testing.T, st *vault.Store) string {
	t.Helper()
	_, err := st.Refresh(t.Context(), "ingest")
	if err == nil {
		return ""
	}
	return s.log.say(err)
}

// trap is a server that nothing may ever be sent to.
func trap(t *testing.T) (url string, sprung func() bool) {
	t.Helper()
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.Add(1) }))
	t.Cleanup(s.Close)
	return s.URL, func() bool { return n.Load() > 0 }
}

func TestTheEnvironmentHasNoEffect(t *testing.T) {
	elsewhere, sprung := trap(t)
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".vault-token"), []byte("token-of-the-home-folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"HOME": home, "HTTPS_PROXY": elsewhere, "HTTP_PROXY": elsewhere, "ALL_PROXY": elsewhere, "https_proxy": elsewhere,
		"VAULT_ADDR": elsewhere, "VAULT_AGENT_ADDR": elsewhere, "VAULT_HTTP_PROXY": elsewhere, "VAULT_PROXY_ADDR": elsewhere,
		"VAULT_TOKEN": "token-of-the-environment", "VAULT_NAMESPACE": "namespace-of-the-environment",
		"VAULT_HEADERS": `{"From-The-Environment": "x"}`, "VAULT_WRAP_TTL": "60s", "VAULT_MFA": "x:y",
		"VAULT_SKIP_VERIFY": "true", "VAULT_TLS_SERVER_NAME": "elsewhere", "VAULT_SRV_LOOKUP": "true",
		"VAULT_RATE_LIMIT": "0.0001:1", "VAULT_MAX_RETRIES": "50", "VAULT_DISABLE_REDIRECTS": "false",
	} {
		t.Setenv(name, value)
	}
	checkEnvironment(t, sprung)
}

func TestAMalformedEnvironmentHasNoEffectEither(t *testing.T) {
	_, sprung := trap(t)
	for _, name := range []string{
		"VAULT_CACERT", "VAULT_CACERT_BYTES", "VAULT_CAPATH", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY", "VAULT_CLIENT_TIMEOUT",
		"VAULT_HEADERS", "VAULT_SKIP_VERIFY", "VAULT_SRV_LOOKUP", "VAULT_RATE_LIMIT", "VAULT_MAX_RETRIES", "VAULT_PROXY_ADDR",
	} {
		t.Setenv(name, "/nowhere\x01{")
	}
	checkEnvironment(t, sprung)
}

func checkEnvironment(t *testing.T, sprung func() bool) {
	t.Helper()
	s := newStandIn(t)
	st := open(t, s.log, s.options())
	if _, err := st.Credential("ingest"); err != nil {
		t.Error(s.log.say(err))
	}
	seen := s.requests("/")
	if len(seen) == 0 {
		t.Error("Vault was asked nothing")
	}
	for _, r := range seen {
		for name := range r.Header {
			switch name {
			case "User-Agent", "X-Vault-Request", "X-Vault-Token", "Accept-Encoding":
			default:
				t.Errorf("a header from the environment: %s", name)
			}
		}
		if r.Header.Get("X-Vault-Token") != standInToken || r.Header.Get("User-Agent") != "stagedoor/test" {
			t.Errorf("the headers of %s are wrong", r.URL.Path)
		}
	}
	if sprung() {
		t.Error("a request went elsewhere")
	}
	if proxied, err := vault.UsesProxy(); proxied || err != nil {
		t.Errorf("Vault is asked through a proxy (%v)", err)
	}
	opt := s.options()
	opt.CAFile = "" // nobody we know signed the stand-in's certificate
	st = open(t, s.log, opt)
	_, err := st.Credential("ingest")
	if err == nil || !strings.Contains(s.log.say(err), "set vault.ca") {
		t.Errorf("the certificate was not checked: %v", err)
	}
}

func TestTheNamespaceIsSent(t *testing.T) {
	s := newStandIn(t)
	opt := s.options()
	opt.Namespace = "studio/pipeline"
	open(t, s.log, opt)
	for _, r := range s.requests("/") {
		if got := r.Header.Get("X-Vault-Namespace"); got != opt.Namespace {
			t.Errorf("%s: namespace %q", r.URL.Path, got)
		}
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	elsewhere, sprung := trap(t)
	for _, code := range []int{301, 302, 303, 307, 308} {
		s := newStandIn(t)
		st := open(t, s.log, s.options())
		s.answers(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere+r.URL.Path, code) })
		if err := s.refresh(t, st); !strings.Contains(err, "redirect, which is never followed") {
			t.Errorf("%d: %q", code, err)
		}
		if _, err := st.Credential("ingest"); err != nil {
			t.Errorf("%d cost the key: %s", code, s.log.say(err))
		}
		if got := st.Status().State; got != vault.StateUnavailable {
			t.Errorf("%d: Vault is %s", code, got)
		}
	}
	if sprung() {
		t.Error("a redirect was followed")
	}
}

// TestAnAnswerThatIsNotVaultsCostsNoKey has what load balancers, portals and
// broken servers say, some of it with what they were sent.
func TestAnAnswerThatIsNotVaultsCostsNoKey(t *testing.T) {
	echo := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			_, _ = fmt.Fprintf(w, body, r.Header.Get("X-Vault-Token"))
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"a page":                 echo(200, "<html>log in here %s"),
		"another's object":       echo(200, `{"hello":%q}`),
		"a secret of another":    echo(200, `{"data":{"metadata":%q}}`),
		"a page not found":       echo(404, "<html>not found %s"),
		"an object not found":    echo(404, `{"message":"no such route %s"}`),
		"a forbidden page":       echo(403, "<html>forbidden %s"),
		"a forbidden object":     echo(403, `{"message":"blocked %s"}`),
		"an echo in an error":    echo(500, `{"errors":[%q]}`),
		"an echo in a bad page":  echo(502, "<html>%s"),
		"not implemented":        echo(501, `{"errors":[%q]}`),
		"bad request":            echo(400, `{"errors":[%q]}`),
		"unavailable":            echo(503, "%s"),
		"an answer without end":  func(w http.ResponseWriter, _ *http.Request) { flood(w) },
		"an error without end":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); flood(w) },
		"half an answer":         func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "99"); good404(w) },
		"a connection cut short": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIn(t)
			st := open(t, s.log, s.options())
			s.reads(h)
			err := s.refresh(t, st)
			if err == "" || strings.Contains(name, "without end") != strings.Contains(err, "too long") {
				t.Errorf("the error is %q", err)
			}
			if _, err := st.Credential("ingest"); err != nil {
				t.Error("it cost the key: " + s.log.say(err))
			}
			if got := keyState(st, "ingest"); got != secret.KeyStale {
				t.Errorf("the key is %s", got)
			}
		})
	}
}

func flood(w http.ResponseWriter) {
	for range 1 << 10 {
		if _, err := w.Write(make([]byte, 4<<10)); err != nil {
			return
		}
	}
}

func good404(w http.ResponseWriter) {
	w.WriteHeader(404)
	_, _ = fmt.Fprint(w, `{"errors":[]}`)
}

func TestALoginThatIsNotVaultsToRefuseCostsNoKey(t *testing.T) {
	s := newStandIn(t)
	s.log.hide("secret-id-0123456789")
	var refuse atomic.Bool
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case refuse.Load() && strings.HasPrefix(r.URL.Path, "/v1/auth/"):
			w.WriteHeader(403)
			_, _ = fmt.Fprint(w, "<html>blocked by the firewall: secret-id-0123456789")
		case refuse.Load():
			w.WriteHeader(403)
			_, _ = fmt.Fprint(w, `{"errors":["permission denied"]}`)
		case r.URL.Path == "/v1/auth/approle/login":
			_, _ = fmt.Fprintf(w, `{"auth":{"client_token":%q,"lease_duration":3600,"renewable":true}}`, standInToken)
		default:
			good(w, r)
		}
	})
	opt := s.options()
	opt.KVVersion = 2
	opt.Login = vault.Login{AppRole: &vault.AppRole{RoleID: "role", SecretIDFile: file(t, "id", "secret-id-0123456789")}}
	st := open(t, s.log, opt)
	refuse.Store(true)
	if err := s.refresh(t, st); !strings.Contains(err, "status 403") {
		t.Errorf("the error is %q", err)
	}
	if got := keyState(st, "ingest"); got != secret.KeyStale {
		t.Errorf("the key is %s", got)
	}
}

func TestVaultsOwnNotFoundCostsTheKey(t *testing.T) {
	s := newStandIn(t)
	st := open(t, s.log, s.options())
	s.reads(func(w http.ResponseWriter, _ *http.Request) { good404(w) })
	if err := s.refresh(t, st); !strings.Contains(err, "nothing is at kv/flow/ingest") {
		t.Errorf("the error is %q", err)
	}
	if _, err := st.Credential("ingest"); err == nil {
		t.Error("the key is still there")
	}
}

func TestRetryAfterIsHonouredWithinTheTimeout(t *testing.T) {
	s := newStandIn(t)
	st := open(t, s.log, s.options())
	busy := func(wait string, times int32) {
		var n atomic.Int32
		s.reads(func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) > times {
				good(w, r)
				return
			}
			w.Header().Set("Retry-After", wait)
			w.WriteHeader(http.StatusTooManyRequests)
		})
	}
	busy("1", 1)
	if err := s.refresh(t, st); err != "" {
		t.Errorf("a short pause was not waited for: %q", err)
	}
	before := len(s.requests("/v1/kv/data/"))
	busy("3600", 1000)
	if err := s.refresh(t, st); !strings.Contains(err, "429") {
		t.Errorf("the error is %q", err)
	}
	if n := len(s.requests("/v1/kv/data/")) - before; n != 1 {
		t.Errorf("asked %d times while told to wait for an hour", n)
	}
	if got := keyState(st, "ingest"); got != secret.KeyStale {
		t.Errorf("the key is %s", got)
	}
}

func TestAnErrorIsRetriedAFewTimesAndNoLoginIs(t *testing.T) {
	s := newStandIn(t)
	st := open(t, s.log, s.options())
	before := len(s.requests("/v1/kv/data/"))
	s.reads(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	_ = s.refresh(t, st)
	if n := len(s.requests("/v1/kv/data/")) - before; n != 3 {
		t.Errorf("a read that fails was tried %d times", n)
	}

	s = newStandIn(t)
	s.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	opt := s.options()
	opt.Refresh = 24 * time.Hour
	opt.Login = vault.Login{AppRole: &vault.AppRole{RoleID: "role", SecretIDFile: file(t, "id", "secret-id-0123456789")}}
	opt.Jitter = func() float64 { return 0.999 }
	open(t, s.log, opt)
	if n := len(s.requests("/v1/auth/approle/login")); n != 1 {
		t.Errorf("a login that fails was tried %d times at once", n)
	}
}

func TestOneScriptsErrorHarmsNoOther(t *testing.T) {
	s := newStandIn(t)
	opt := s.options()
	opt.Scripts = append(opt.Scripts, script("broken"))
	s.answers(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/broken") {
			w.WriteHeader(500)
			return
		}
		good(w, r)
	})
	st := open(t, s.log, opt)
	if _, err := st.Credential("ingest"); err != nil {
		t.Error(s.log.say(err))
	}
	if _, err := st.Credential("broken"); err == nil || !strings.Contains(s.log.say(err), "status 500") {
		t.Errorf("the error is %v", err)
	}
	if got := st.Status().State; got != vault.StateOK {
		t.Errorf("Vault is %s", got)
	}
	if _, err := st.Refresh(t.Context(), "broken"); err == nil {
		t.Error("no error")
	}
	if got := st.Status().State; got != vault.StateOK {
		t.Errorf("Vault is %s after one script's error", got)
	}
	s.reads(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	st.RefreshAll(t.Context())
	if got := st.Status().State; got != vault.StateUnavailable {
		t.Errorf("Vault is %s after nothing but errors", got)
	}
}

func TestAConfigurationThatCanNeverWorkIsRefused(t *testing.T) {
	s := newStandIn(t)
	garbage := file(t, "garbage.pem", "no certificate")
	for want, change := range map[string]func(*vault.Options){
		"2 are given":                  func(o *vault.Options) { o.Login.TokenFile = "/token" },
		"0 are given":                  func(o *vault.Options) { o.Login = vault.Login{} },
		"role id or a file":            func(o *vault.Options) { o.Login = vault.Login{AppRole: &vault.AppRole{SecretIDFile: "/id"}} },
		"file with the secret id":      func(o *vault.Options) { o.Login = vault.Login{AppRole: &vault.AppRole{RoleID: "r"}} },
		"needs a role and the file":    func(o *vault.Options) { o.Login = vault.Login{Kubernetes: &vault.Kubernetes{Role: "r"}} },
		"reading the CA file":          func(o *vault.Options) { o.CAFile = "/nowhere/ca.pem" },
		"holds no PEM certificate":     func(o *vault.Options) { o.CAFile = garbage },
		"is not https":                 func(o *vault.Options) { o.Address = "http://vault.example:8200" },
		"is not https://HOST:PORT":     func(o *vault.Options) { o.Address = "https://user@vault.example" },
		"is not a path below":          func(o *vault.Options) { o.Scripts[0].Path = "../sys/seal" },
		"is not a path":                func(o *vault.Options) { o.Mount = "" },
		"no KV engine of version 3":    func(o *vault.Options) { o.KVVersion = 3 },
		"given twice":                  func(o *vault.Options) { o.Scripts = append(o.Scripts, o.Scripts[0]) },
		"no field is named":            func(o *vault.Options) { o.Scripts[0].KeyField = "" },
		"times of Vault can't be nega": func(o *vault.Options) { o.Timeout = -1 },
	} {
		opt := s.options()
		change(&opt)
		st, err := vault.Open(t.Context(), opt)
		if err == nil {
			st.Close()
			t.Errorf("no error that says %q", want)
		} else if got := s.log.say(err); !strings.Contains(got, want) {
			t.Errorf("the error is %q, and does not say %q", got, want)
		}
	}
	if len(s.requests("/")) != 0 {
		t.Error("Vault was asked before the configuration was checked")
	}
}

func TestALoginFileMustBeRight(t *testing.T) {
	open644 := file(t, "open", standInToken)
	if err := os.Chmod(open644, 0o666); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/nowhere/token":                      "can't be read",
		open644:                               "may be written by others; run: chmod go-w",
		t.TempDir():                           "no regular file",
		file(t, "empty", "\n"):                "is empty",
		file(t, "two", standInToken+"\nmore"): "one line with nothing else",
		file(t, "long", strings.Repeat("x", 20<<10)): "longer than",
	} {
		s := newStandIn(t)
		opt := s.options()
		opt.Login = vault.Login{TokenFile: path}
		st := open(t, s.log, opt)
		if _, err := st.Credential("ingest"); err == nil || !strings.Contains(s.log.say(err), want) {
			t.Errorf("the error is %v, and does not say %q", err, want)
		}
		if got := st.Status().State; got != vault.StateLogin {
			t.Errorf("Vault is %s", got)
		}
		if len(s.requests("/")) != 0 {
			t.Error("Vault was asked with a token that was refused")
		}
	}
}

// TestNothingSpins counts what a store asks of a Vault that never works.
func TestNothingSpins(t *testing.T) {
	s := newStandIn(t)
	var mu sync.Mutex
	var at []time.Time
	s.answers(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		at = append(at, time.Now())
		mu.Unlock()
		w.WriteHeader(503)
	})
	opt := s.options()
	opt.Jitter = func() float64 { return 0 }
	open(t, s.log, opt)
	await(t, "three tries", s.log, func() bool { return len(s.requests("/")) >= 3 })
	mu.Lock()
	defer mu.Unlock()
	// Half a second and a second, less what the clocks may differ by. A busy
	// machine only makes it more.
	for i, least := range []time.Duration{400 * time.Millisecond, 900 * time.Millisecond} {
		if got := at[i+1].Sub(at[i]); got < least {
			t.Errorf("pause %d is %s", i+1, got)
		}
	}
	if n := s.log.count("Vault can't be used"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}
