package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"stagedoor/flowsite"
	"stagedoor/internal/parts"
)

// docs/outages.md says what a failure costs the tools; these tests are its
// lines, with a real Vault core and the whole binary.

// Where the tests keep the key of comp-publisher in Vault, and who may read it.
const (
	compPath   = "scripts/comp"
	compPolicy = "comp"
)

// findShots is a read that every script of these tests is allowed; createNote
// is a write.
const (
	findShots = `{"method_name":"read","params":[{"script_name":"comp-publisher","script_key":"x"},{"type":"Shot","return_fields":["code"],` +
		`"filters":{"logical_operator":"and","conditions":[]},"return_only":"active","paging":{"entities_per_page":1,"current_page":1}}]}`
	createNote = `{"method_name":"create","params":[{"script_name":"comp-publisher","script_key":"x"},{"type":"Note",` +
		`"fields":[{"field_name":"subject","value":"seen"},{"field_name":"project","value":{"type":"Project","id":65}}],"return_fields":["id"]}]}`
)

// compRules go under the one script of [scriptConfig].
const compRules = "    limit: {rate: 200/s, in_flight: 64}\n    allow: [{read: Shot}, {read: Project}, {read: Note}, {create: Note}]\n"

// keyVault is a Vault that holds the site's key.
func keyVault(t *testing.T) *parts.VaultServer {
	t.Helper()
	v := parts.Vault(t, parts.VaultOptions{})
	putKey(v, compPath, siteKey)
	v.ReadPolicy(compPolicy, "kv/data/"+compPath)
	return v
}

func putKey(v *parts.VaultServer, path, key string) {
	v.Put(path, map[string]any{"script_name": siteScript, "api_key": key})
}

// secretFile is a file as an operator leaves it for Stagedoor.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, 0o600, text+"\n")
	return path
}

// vaultConfig is a configuration whose one script has its key in Vault.
func vaultConfig(site *theSite, v *parts.VaultServer, address, options, login string) string {
	rest := fmt.Sprintf("vault: {address: %s, ca: %s, %s}\nlogin: {%s}", address, v.CAFile, options, login)
	return scriptConfig(site, "active: "+compPath, rest) + compRules
}

// AwaitLogs waits until the log holds text n times.
func (s *stagedoor) AwaitLogs(text string, n int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		grown := s.log.Grown()
		if strings.Count(s.Log(), text) >= n {
			return
		}
		select {
		case <-grown:
		case <-s.ended:
			s.t.Fatalf("stagedoor ended (%v) before it wrote %s %d times", s.err, text, n)
		case <-ctx.Done():
			s.t.Fatalf("stagedoor does not write %s %d times", text, n)
		}
	}
}

// logged are the messages so far with this text, as "msg state script why".
func (s *stagedoor) logged(msg string) (lines []string) {
	s.t.Helper()
	for line := range strings.Lines(s.Log()) {
		var m struct{ Msg, State, Script, Why string }
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			s.t.Fatalf("a line of the log is no JSON: %s", line)
		}
		if m.Msg == msg {
			lines = append(lines, strings.Join([]string{m.Msg, m.State, m.Script, m.Why}, " "))
		}
	}
	return lines
}

// wantOK asserts that a call is served.
func (s *stagedoor) wantOK(when string) {
	s.t.Helper()
	if status, answer := s.Call("tools", findShots); status != 200 || !strings.Contains(answer, `"code":"harbour_sq01_0010"`) {
		s.t.Errorf("%s: status %d, %s", when, status, answer)
	}
}

// wantFault asserts that a call gets fault 100 with a message that holds all of these.
func (s *stagedoor) wantFault(when string, says ...string) {
	s.t.Helper()
	_, answer := s.Call("tools", findShots)
	var a struct {
		Exception bool   `json:"exception"`
		Message   string `json:"message"`
		Code      int    `json:"error_code"`
	}
	if err := json.Unmarshal([]byte(answer), &a); err != nil || !a.Exception || a.Code != 100 {
		s.t.Errorf("%s: %s, want fault 100", when, answer)
	}
	for _, say := range says {
		if !strings.Contains(a.Message, say) {
			s.t.Errorf("%s: the fault does not say %q: %s", when, say, a.Message)
		}
	}
}

// wantReady asserts what /readyz answers, and that it says why.
func (s *stagedoor) wantReady(when string, want int, says string) {
	s.t.Helper()
	status, body := s.Get("/readyz")
	if status != want || !strings.Contains(body, says) {
		s.t.Errorf("%s: /readyz answers %d, want %d with %q:\n%s", when, status, want, says, body)
	}
}

// callers call again and again, until told to stop, and count what was not
// served. The limit of the script paces them.
type callers struct {
	stop chan struct{}
	done chan struct{}
	ok   atomic.Int64
	bad  atomic.Pointer[string]
}

func (s *stagedoor) callAlways() *callers {
	c := &callers{stop: make(chan struct{}), done: make(chan struct{})}
	url := "http://" + s.Address("tools") + "/api3/json"
	ctx := s.t.Context()
	go func() {
		defer close(c.done)
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		for {
			select {
			case <-c.stop:
				return
			default:
			}
			answer, err := callOnce(ctx, transport, url)
			if err == nil && strings.Contains(answer, `"entities"`) {
				c.ok.Add(1)
				continue
			}
			text := fmt.Sprintf("%s %v", answer, err)
			c.bad.CompareAndSwap(nil, &text)
			return
		}
	}()
	return c
}

func callOnce(ctx context.Context, transport http.RoundTripper, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(findShots))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// wantAllServed ends the callers, and fails where one call was not served.
func (c *callers) wantAllServed(t *testing.T) {
	t.Helper()
	close(c.stop)
	<-c.done
	if bad := c.bad.Load(); bad != nil {
		t.Errorf("a call was not served: %s", *bad)
	}
	if c.ok.Load() == 0 {
		t.Error("no call was made")
	}
}

func TestCallsGoOnWhileVaultIsAway(t *testing.T) {
	t.Parallel()
	site, v := startSite(t, flowsite.Options{}), keyVault(t)
	f := v.Front()
	token := secretFile(t, v.Token(compPolicy, parts.TokenOptions{}))
	s := serve(t, vaultConfig(site, v, f.Address, "refresh: 1s, max_stale: 1h, timeout: 500ms", "token_file: "+token))
	c := s.callAlways()
	for i, outage := range []struct {
		name        string
		begin, mend func()
		state       string
	}{
		{"sealed", v.Seal, v.Unseal, "sealed"},
		{"restarted, and sealed by it", v.RestartSealed, v.Unseal, "sealed"},
		{"silent", f.Pause, f.Resume, "unavailable"},
		{"slower than the timeout", func() { f.Delay(time.Minute) }, func() { f.Delay(0) }, "unavailable"},
		{"unreachable", f.Refuse, f.Accept, "unavailable"},
		{"killed", v.Stop, v.Restart, "unavailable"},
		{"answering 503", func() { f.Fail(503) }, func() { f.Fail(0) }, "unavailable"},
		{"answering 429", func() { f.Fail(429) }, func() { f.Fail(0) }, "unavailable"},
		{"answering 502", func() { f.Fail(502) }, func() { f.Fail(0) }, "unavailable"},
	} {
		outage.begin()
		s.AwaitLogs("key can't be confirmed, still in use", i+1)
		s.wantOK(outage.name)
		s.wantReady(outage.name, 200, "")
		s.awaitMetric(`stagedoor_vault_state{state="` + outage.state + `"} 1`) // a restart is unavailable at first
		outage.mend()
		s.AwaitLogs(`"msg":"key read"`, i+2) // one more for the start
		s.wantOK("after " + outage.name)
	}
	c.wantAllServed(t)
	wantEachChangeOnce(t, s)
}

// wantEachChangeOnce asserts that no line about Vault or a key repeats the one
// before it.
func wantEachChangeOnce(t *testing.T, s *stagedoor) {
	t.Helper()
	for _, about := range [][]string{
		{"Vault can't be used", "Vault is in use"},
		{"key read", "key changed", "key can't be confirmed, still in use", "no usable key"},
	} {
		last := ""
		for line := range strings.Lines(s.Log()) {
			var m struct{ Msg, State, Script, Why, Version string }
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			for _, msg := range about {
				if m.Msg != msg {
					continue
				}
				now := fmt.Sprint(m)
				if now == last {
					t.Errorf("the log says it twice: %s", now)
				}
				last = now
			}
		}
	}
}

func TestAKeyOlderThanMaxStaleIsNotUsed(t *testing.T) {
	t.Parallel()
	site, v := startSite(t, flowsite.Options{}), keyVault(t)
	f := v.Front()
	token := secretFile(t, v.Token(compPolicy, parts.TokenOptions{}))
	s := serve(t, vaultConfig(site, v, f.Address, "refresh: 1s, max_stale: 3s, timeout: 500ms", "token_file: "+token))
	before := f.Count("", "/")
	f.Fail(503)
	f.Await("", "/", before+1)
	for range 50 { // calls never ask Vault, however many there are
		s.wantOK("within max_stale")
	}
	s.AwaitLog(`"state":"expired"`)
	// max_stale has room for six looks at the quickest pace, then one finds that
	// it is over; each begins with one question, and ends with it.
	if n := f.Count("", "/") - before; n > 2*8 {
		t.Errorf("%d requests to a Vault that is away within max_stale", n)
	}
	sent := site.Calls()
	s.wantFault("after max_stale", "max_stale (3s)", "answers with status 503")
	if site.Calls() != sent {
		t.Error("a call went out with a key that was too old")
	}
	s.wantReady("after max_stale", 503, "max_stale")
	if status, _ := s.Get("/livez"); status != 200 {
		t.Error("it is not alive, though a restart would not help")
	}
	f.Fail(0)
	s.AwaitLogs(`"msg":"key read"`, 2)
	s.wantOK("when Vault is back")
	s.wantReady("when Vault is back", 200, "")
	wantEachChangeOnce(t, s)
}

func TestATokenThatEndsIsReplacedByItself(t *testing.T) {
	t.Parallel()
	site, v := startSite(t, flowsite.Options{}), keyVault(t)
	for _, c := range []struct {
		name     string
		ttl, max time.Duration
		end      func(f *parts.Front)
	}{
		// It is renewed once or twice, and ends for all that.
		{"expired", 2 * time.Second, 4 * time.Second, func(f *parts.Front) { f.Await("PUT", "/v1/auth/token/renew-self", 1) }},
		{"revoked", time.Hour, time.Hour, func(*parts.Front) { v.RevokeLogins("approle") }},
	} {
		f := v.Front()
		a := v.AppRole(c.name, compPolicy, c.ttl, c.max)
		login := "approle: {role_id: " + a.RoleID + ", secret_id_file: " + secretFile(t, a.NewSecretID()) + "}"
		s := serve(t, vaultConfig(site, v, f.Address, "refresh: 1s, max_stale: 1h", login))
		calling := s.callAlways()
		c.end(f)
		f.Await("PUT", "/v1/auth/approle/login", 2)
		f.Await("GET", "/v1/kv/data/", f.Count("GET", "/v1/kv/data/")+2) // the first of them has been answered
		s.wantOK(c.name)
		s.wantReady(c.name, 200, "")
		calling.wantAllServed(t)
		if lines := s.logged("key can't be confirmed, still in use"); len(lines) > 0 {
			t.Errorf("%s: a key was in doubt: %v", c.name, lines)
		}
		if strings.Contains(s.Log(), "no usable key") {
			t.Errorf("%s: a key was lost", c.name)
		}
		s.Stop()
	}
}

func TestATokenFileWhoseTokenIsDeadCostsNoKey(t *testing.T) {
	t.Parallel()
	site, v := startSite(t, flowsite.Options{}), keyVault(t)
	dead := v.Token(compPolicy, parts.TokenOptions{})
	file := secretFile(t, dead)
	s := serve(t, vaultConfig(site, v, v.Address, "refresh: 1s, max_stale: 1h", "token_file: "+file))
	c := s.callAlways()
	v.Revoke(dead)
	s.AwaitLog("key can't be confirmed, still in use")
	s.wantReady("with a dead token", 200, "")
	if why := s.logged("Vault can't be used"); len(why) != 1 || !strings.Contains(why[0], "write a new one to it") {
		t.Errorf("the log says %q", why)
	}
	write(t, file, 0o600, "a-token-that-vault-never-gave")
	s.Signal(syscall.SIGHUP)
	s.AwaitLog("configuration reloaded")
	s.wantOK("with another dead token")
	write(t, file, 0o600, v.Token(compPolicy, parts.TokenOptions{}))
	s.AwaitLogs(`"msg":"key read"`, 2)
	c.wantAllServed(t)
	wantEachChangeOnce(t, s)
}

// Vault's no takes the key at the next look, for that script only, and the
// fault says what to run.
func TestVaultSayingNoDropsTheKey(t *testing.T) {
	t.Parallel()
	site, v := startSite(t, flowsite.Options{}), keyVault(t)
	putKey(v, "scripts/other", siteKey)
	v.ReadPolicy("other", "kv/data/scripts/other")
	a := v.AppRole("desk", compPolicy+",other", time.Hour, time.Hour)
	login := "approle: {role_id: " + a.RoleID + ", secret_id_file: " + secretFile(t, a.NewSecretID()) + "}"
	s := serve(t, withOther(vaultConfig(site, v, v.Address, "refresh: 1h, max_stale: 24h", login), "active: scripts/other"))
	put := "vault kv put -mount=kv " + compPath + " api_key=-"
	for i, no := range []struct {
		name        string
		begin, mend func()
		says        []string
	}{
		{
			"deleted", func() { v.Delete(compPath, 1) }, func() { v.Undelete(compPath, 1) },
			[]string{"version 1 of kv/" + compPath, "vault kv undelete -mount=kv -versions=1 " + compPath},
		},
		{
			"destroyed", func() { v.Destroy(compPath, 1) }, func() { putKey(v, compPath, siteKey) },
			[]string{"is destroyed", put},
		},
		{
			"removed", func() { v.Remove(compPath) }, func() { putKey(v, compPath, siteKey) },
			[]string{"nothing is at kv/" + compPath, put},
		},
		{
			"forbidden", func() { v.ReadPolicy(compPolicy, "kv/data/elsewhere") }, func() { v.ReadPolicy(compPolicy, "kv/data/"+compPath) },
			[]string{`path "kv/data/` + compPath + `" { capabilities = ["read"] }`},
		},
	} {
		s.wantOK("before it is " + no.name)
		no.begin()
		s.Signal(syscall.SIGHUP)
		s.AwaitLogs("configuration reloaded", 2*i+1)
		sent := site.Calls()
		s.wantFault(no.name, append(no.says, "comp-publisher")...)
		if site.Calls() != sent {
			t.Errorf("%s: a call went out", no.name)
		}
		if status, answer := s.Call("other", findShots); status != 200 || !strings.Contains(answer, `"entities"`) {
			t.Errorf("%s: another script fails too: %d %s", no.name, status, answer)
		}
		s.wantReady(no.name, 200, "")
		no.mend()
		s.Signal(syscall.SIGHUP)
		s.AwaitLogs("configuration reloaded", 2*i+2)
	}
	s.wantOK("at the end")
	wantEachChangeOnce(t, s)
}

// withOther is a configuration with a second script, and a listener for it.
func withOther(config, key string) string {
	return strings.Replace(config, "name: tools, identity: none}",
		"name: tools, identity: none, scripts: comp-publisher}, {address: 127.0.0.1:0, name: other, identity: none, scripts: other}", 1) +
		"  other: {" + key + ", allow: [{read: Shot}]}\n"
}

// A secret that is there and can't be used is a mistake of whoever wrote it,
// not a no.
func TestASecretThatHoldsNoUsableKeyCostsNoKey(t *testing.T) {
	t.Parallel()
	site, v := startSite(t, flowsite.Options{}), keyVault(t)
	token := secretFile(t, v.Token(compPolicy, parts.TokenOptions{}))
	s := serve(t, vaultConfig(site, v, v.Address, "refresh: 1h, max_stale: 24h", "token_file: "+token))
	for i, c := range []struct {
		secret map[string]any
		says   string
	}{
		{map[string]any{"apikey": siteKey}, `has no field \"api_key\", only \"apikey\"`},
		{map[string]any{"api_key": "short"}, "is shorter than 16 characters"},
		{map[string]any{"api_key": siteKey + "\n"}, "begins or ends with white space"},
	} {
		v.Put(compPath, c.secret)
		s.Signal(syscall.SIGHUP)
		s.AwaitLogs("configuration reloaded", i+1)
		s.wantOK(c.says)
		if !strings.Contains(s.Log(), c.says) {
			t.Errorf("the log does not say %s", c.says)
		}
	}
	wantEachChangeOnce(t, s)
}

// rewrite changes the configuration file of a running stagedoor.
func rewrite(t *testing.T, s *stagedoor, old, with string) {
	t.Helper()
	b, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("the configuration holds no %q:\n%s", old, b)
	}
	write(t, s.Config, 0o644, strings.Replace(string(b), old, with, 1))
}

func TestALoginThatIsDeniedTakesEveryKey(t *testing.T) {
	t.Parallel()
	site, v := startSite(t, flowsite.Options{}), keyVault(t)
	a := v.AppRole("desk", compPolicy, time.Hour, time.Hour)
	id := a.NewSecretID()
	file := secretFile(t, id)
	login := "approle: {role_id: " + a.RoleID + ", secret_id_file: " + file + "}"
	s := serve(t, vaultConfig(site, v, v.Address, "refresh: 1h, max_stale: 24h", login))
	s.wantOK("at first")
	a.DestroySecretID(id)
	v.RevokeLogins("approle")
	s.Signal(syscall.SIGHUP)
	s.AwaitLog("configuration reloaded")
	s.wantFault("with a login that is denied", "Vault refuses the AppRole login", "write a new secret id to "+file)
	s.wantReady("with a login that is denied", 503, "write a new secret id")
	write(t, file, 0o600, a.NewSecretID())
	s.AwaitLogs(`"msg":"key read"`, 2) // without a signal
	s.wantOK("with a new secret id")
	s.wantReady("with a new secret id", 200, "")
	wantEachChangeOnce(t, s)
}

// A rotation costs a running tool nothing, and does nothing twice.
func TestTheToolSeesNothingOfAKeyRotation(t *testing.T) {
	t.Parallel()
	interpreter := parts.Python(t, parts.NewestClient)
	site, v := startSite(t, flowsite.Options{}), keyVault(t)
	token := secretFile(t, v.Token(compPolicy, parts.TokenOptions{}))
	s := serve(t, vaultConfig(site, v, v.Address, "refresh: 1h, max_stale: 24h", "token_file: "+token))
	const fresh = "the-key-after-the-rotation"
	putKey(v, compPath, fresh) // unknown to Stagedoor until the site refuses the old one
	var writes atomic.Int64
	site.BeforeReply(func(r flowsite.Received) {
		if r.Method == "create" && r.FaultCode == 0 && writes.Add(1) == 10 {
			if err := site.RotateKey(siteScript, fresh); err != nil {
				t.Error(err)
			}
		}
	})
	script := filepath.Join(t.TempDir(), "publish.py")
	write(t, script, 0o600, `
import sys, shotgun_api3
sg = shotgun_api3.Shotgun(sys.argv[1], script_name="comp-publisher", api_key="x")
made = [sg.create("Note", {"subject": "note %d" % i, "project": {"type": "Project", "id": 65}})["id"] for i in range(20)]
print(len(set(made)))
`)
	if out := python(t, interpreter, script, nil, "http://"+s.Address("tools")); strings.TrimSpace(out) != "20" {
		t.Errorf("the tool made %s notes", out)
	}
	created := map[int]int{}
	for _, e := range site.EventLog() {
		if e.Type == "Shotgun_Note_New" {
			created[e.EntityID]++
		}
	}
	for id, n := range created {
		if n != 1 {
			t.Errorf("note %d was made %d times", id, n)
		}
	}
	if len(created) != 20 {
		t.Errorf("the site made %d notes", len(created))
	}
	refused := 0
	for _, r := range site.Received() {
		if r.FaultCode == 102 {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("the site refused %d calls, one was to be", refused)
	}
	s.Stop()
	retried := 0
	for _, r := range s.Records() {
		if r["retried"] == "key_changed" {
			retried++
			if r["key_version"] != "2" || r["result"] != "ok" {
				t.Errorf("the record of the call that was sent twice: %v", r)
			}
		}
	}
	if retried != 1 {
		t.Errorf("%d records say that the key changed", retried)
	}
}

func TestItServesAndIsNotReadyUntilVaultIsThere(t *testing.T) {
	t.Parallel()
	site, v := startSite(t, flowsite.Options{}), keyVault(t)
	f := v.Front()
	f.Refuse()
	token := secretFile(t, v.Token(compPolicy, parts.TokenOptions{}))
	s := serve(t, vaultConfig(site, v, f.Address, "timeout: 500ms", "token_file: "+token))
	s.wantFault("with no Vault", "Vault at "+f.Address)
	s.wantReady("with no Vault", 503, "comp-publisher")
	for _, path := range []string{"/livez", "/startupz"} {
		if status, _ := s.Get(path); status != 200 {
			t.Errorf("%s answers %d", path, status)
		}
	}
	f.Accept()
	s.AwaitLog(`"msg":"key read"`)
	s.wantOK("when Vault is there")
	s.wantReady("when Vault is there", 200, "")
}

func TestEveryWayToLogInBringsTheKey(t *testing.T) {
	t.Parallel()
	site, v := startSite(t, flowsite.Options{}), keyVault(t)
	a := v.AppRole("desk", compPolicy, time.Hour, time.Hour)
	k := v.Kubernetes("pod", compPolicy, time.Hour, time.Hour)
	for name, login := range map[string]string{
		"token_file":        "token_file: " + secretFile(t, v.Token(compPolicy, parts.TokenOptions{})),
		"approle":           "approle: {role_id: " + a.RoleID + ", secret_id_file: " + secretFile(t, a.NewSecretID()) + "}",
		"approle, wrapped":  "approle: {role_id_file: " + secretFile(t, a.RoleID) + ", secret_id_file: " + secretFile(t, a.NewWrappedSecretID(time.Minute)) + ", wrapped: true}",
		"kubernetes":        "kubernetes: {role: " + k.Role + ", token_file: " + k.JWTFile + "}",
		"approle, KV v1":    "approle: {role_id: " + a.RoleID + ", secret_id_file: " + secretFile(t, a.NewSecretID()) + "}",
		"token file, KV v1": "token_file: " + secretFile(t, v.RootToken()),
	} {
		t.Run(name, func(t *testing.T) {
			options := "mount: kv"
			if strings.HasSuffix(name, "v1") {
				v.PutV1(compPath, map[string]any{"script_name": siteScript, "api_key": siteKey})
				v.ReadPolicy(compPolicy, "kv/data/"+compPath, "kv1/"+compPath)
				options = "mount: kv1"
			}
			s := serve(t, vaultConfig(site, v, v.Address, options, login))
			s.wantOK(name)
			s.wantReady(name, 200, "")
			s.Stop()
			if strings.Contains(s.Log()+s.Audit(), siteKey) {
				t.Error("the key is in what it wrote")
			}
		})
	}
}

func TestOneScriptWithoutAKeyFailsAlone(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	missing := filepath.Join(t.TempDir(), "missing.json")
	s := serve(t, withOther(scriptConfig(site, "file: "+keyFile(t), "")+compRules, "file: "+missing))
	s.wantOK("beside a script without a key")
	s.wantReady("beside a script without a key", 200, "")
	if _, answer := s.Call("other", findShots); !strings.Contains(answer, `"error_code":100`) || !strings.Contains(answer, missing) {
		t.Errorf("the script without a key got %s", answer)
	}
	write(t, missing, 0o644, siteKey)
	s.Signal(syscall.SIGHUP)
	s.AwaitLogs("configuration reloaded", 1)
	if _, answer := s.Call("other", findShots); !strings.Contains(answer, "run: chmod 600 "+missing) {
		t.Errorf("the script whose key is open to others got %s", answer)
	}
	s.wantOK("beside a script whose key is open to others")
	write(t, missing, 0o600, siteKey)
	s.Signal(syscall.SIGHUP)
	s.AwaitLogs("configuration reloaded", 2)
	if _, answer := s.Call("other", findShots); strings.Contains(answer, `no usable key`) {
		t.Errorf("it got no key by SIGHUP: %s", answer)
	}
}

// What the site does wrong, and what the tool sees of it.
func TestASiteThatFailsIsNeverAskedTwiceToWrite(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "")+compRules)
	for _, c := range []struct {
		name   string
		fault  flowsite.Fault
		body   string
		status int
		says   string
		sends  int
	}{
		{"hangs up on a write", flowsite.Fault{Method: "create", Reset: true, After: true}, createNote, 500, "it may have been done: look before you repeat it", 1},
		{"hangs up on a read", flowsite.Fault{Method: "read", Close: true}, findShots, 500, "did not answer read", 2},
		{"502 to a write", flowsite.Fault{Method: "create", Status: 502}, createNote, 500, "it may have been done: look before you repeat it", 1},
		{"504 to a write", flowsite.Fault{Method: "create", Status: 504}, createNote, 500, "it may have been done: look before you repeat it", 1},
		{"502 to a read", flowsite.Fault{Method: "read", Status: 502}, findShots, 502, "", 1},
		{"504 to a read", flowsite.Fault{Method: "read", Status: 504}, findShots, 504, "", 1},
		{"a redirect", flowsite.Fault{Method: "read", Status: 303}, findShots, 500, "redirect", 1},
	} {
		sent := site.Calls()
		site.Fail(c.fault, 0)
		status, answer := s.Call("tools", c.body)
		site.ClearFaults()
		if status != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %s", c.name, status, answer)
		}
		if n := site.Calls() - sent; n < 1 || n > c.sends {
			t.Errorf("%s: the site was asked %d times", c.name, n)
		}
		s.wantOK("after: " + c.name)
	}
}

func TestASiteThatCanNotBeReachedGotNothing(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	gone := *site
	gone.URL = "https://127.0.0.1:1"
	s := serve(t, scriptConfig(&gone, "file: "+keyFile(t), "upstream: {connect_timeout: 5s}")+compRules)
	if status, answer := s.Call("tools", createNote); status != 500 || !strings.Contains(answer, "create was not sent") {
		t.Errorf("%d %s", status, answer)
	}
	s.wantReady("the site is not this process's health", 200, "")
}

func TestAReadWhoseConnectionDiedIsSentOnceMore(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "upstream: {http2: off}")+compRules)
	s.wantOK("on a new connection")
	site.Fail(flowsite.Fault{Method: "read", Reset: true}, 1)
	s.wantOK("on a connection that dies")
	s.Stop()
	if !strings.Contains(s.Audit(), `"retried":"connection_died"`) {
		t.Errorf("no record says that the read was sent twice:\n%s", s.Audit())
	}
}

func TestAKeyThatTheSiteRefusesIsFault100(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "")+compRules)
	if err := site.RotateKey(siteScript, "a-key-that-nobody-put-anywhere"); err != nil {
		t.Fatal(err)
	}
	s.wantFault("with an old key", "the site refuses the key of comp-publisher", "put the Script's current key")
}

// No record, no call.
func TestABlockedAuditLogRefusesCalls(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	site := startSite(t, flowsite.Options{})
	s := serveTo(t, w, scriptConfig(site, "file: "+keyFile(t), "")+compRules)
	_ = w.Close() // the process has its own
	answer := ""
	for range 10_000 { // the pipe takes some hundred lines
		if _, answer = s.Call("tools", findShots); !strings.Contains(answer, `"entities"`) {
			break
		}
	}
	if !strings.Contains(answer, `"error_code":100`) || !strings.Contains(answer, "the audit record could not be written, so the call was not sent") {
		t.Fatalf("with an audit log that takes nothing: %s", answer)
	}
	sent := site.Calls()
	s.wantFault("still blocked", "the audit record could not be written")
	if site.Calls() != sent {
		t.Error("a call left without its record")
	}
	s.wantReady("blocked", 503, "audit")
	reader := newOutput()
	go func() { _, _ = io.Copy(reader, r) }() // ends with the process
	// The last line may be read before the writer knows that it was taken, and
	// no other follows: there is no event for that.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if _, body := s.Get("/readyz"); strings.Contains(body, "ok") && !strings.Contains(body, "takes nothing") {
			break
		}
		<-again.C
	}
	s.wantOK("when somebody reads again")
}

// Whoever reads the audit log may die; the process must not die of it.
func TestAnAuditLogWhoseReaderIsGoneRefusesCalls(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	site := startSite(t, flowsite.Options{})
	s := serveTo(t, w, scriptConfig(site, "file: "+keyFile(t), "")+compRules)
	_, _ = w.Close(), r.Close()
	s.wantFault("without a reader", "the audit record could not be written, so the call was not sent")
	if n := site.Calls(); n != 0 {
		t.Errorf("the site saw %d calls", n)
	}
	s.wantReady("without a reader", 503, "audit")
	s.Signal(syscall.SIGTERM)
	s.AwaitEnd()
}

func TestTheAuditFileIsRotatedReopenedAndVerified(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "audit: {file: "+path+", max_size: 64KiB, min_free: 1KiB}")+compRules)
	for range 120 { // two lines of some 300 bytes each
		s.wantOK("while the log grows")
	}
	moved := filepath.Join(filepath.Dir(path), "moved.jsonl")
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	s.Signal(syscall.SIGHUP)
	s.AwaitLog("configuration reloaded")
	s.wantOK("in the file that was opened anew")
	s.Stop()
	files := []string{path + ".1", moved, path}
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil || st.Size() == 0 || st.Mode().Perm() != 0o600 || st.Size() > 64<<10 {
			t.Fatalf("%s: %v %v", f, st, err)
		}
	}
	if s.Audit() != "" {
		t.Errorf("records on standard output too: %s", s.Audit())
	}
	if code, out, errs := run(t, append([]string{"audit", "verify"}, files...)...); code != 0 || !strings.Contains(out, "one unbroken chain") || errs != "" {
		t.Errorf("audit verify: %d %s%s", code, out, errs)
	}
	b, err := os.ReadFile(moved)
	if err != nil {
		t.Fatal(err)
	}
	write(t, moved, 0o600, strings.Replace(string(b), `"method":"read"`, `"method":"find"`, 1))
	if code, _, errs := run(t, append([]string{"audit", "verify"}, files...)...); code != 1 || !strings.Contains(errs, moved) {
		t.Errorf("audit verify of a line that was changed: %d %s", code, errs)
	}
}

// run is one command of the binary to its end.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, parts.Binary(t), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestReadinessIsRedBeforeTheDiskIsFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	const most = 1 << 40 // of min_free
	if free := st.Bavail * uint64(st.Bsize); free >= most {
		t.Fatalf("the disk has %d bytes free, too many for this test; set TMPDIR to a smaller one", free)
	}
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "audit: {file: "+filepath.Join(dir, "audit.jsonl")+", min_free: 1024GiB}")+compRules)
	s.wantReady("with less than min_free", 503, "1048576 MiB wanted")
	s.wantOK("with less than min_free")
	_, m := s.Get("/metrics")
	free := -1.0
	for line := range strings.Lines(m) {
		if rest, ok := strings.CutPrefix(line, "stagedoor_audit_free_bytes "); ok {
			free, _ = strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	if free <= 0 || free >= most {
		t.Errorf("stagedoor_audit_free_bytes is %g", free)
	}
}

// held plans that the site keeps the next read to itself, and gives the event
// that it has it, and the channel to let go by.
func held(t *testing.T, site *theSite) (arrived <-chan struct{}, release func()) {
	t.Helper()
	has, hold := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	site.Fail(flowsite.Fault{Method: "read", Hold: hold, Match: func(flowsite.Received) bool {
		if once.CompareAndSwap(false, true) {
			close(has)
		}
		return true
	}}, 1)
	var let atomic.Bool
	release = func() {
		if let.CompareAndSwap(false, true) {
			close(hold)
		}
	}
	t.Cleanup(release)
	return has, release
}

// inBackground makes one call; what came of it is sent when it has ended.
func (s *stagedoor) inBackground() <-chan error {
	got := make(chan error, 1)
	url, ctx := "http://"+s.Address("tools")+"/api3/json", s.t.Context()
	go func() {
		answer, err := callOnce(ctx, &http.Transport{DisableKeepAlives: true}, url)
		if err == nil && !strings.Contains(answer, `"entities"`) {
			err = errors.New(answer)
		}
		got <- err
	}()
	return got
}

// awaitMetric waits until the metrics hold a line.
func (s *stagedoor) awaitMetric(line string) {
	s.t.Helper()
	again, end := time.NewTicker(10*time.Millisecond), time.NewTimer(patience)
	defer again.Stop()
	defer end.Stop()
	for {
		if _, m := s.Get("/metrics"); strings.Contains(m, line+"\n") {
			return
		}
		select {
		case <-again.C:
		case <-end.C:
			s.t.Fatalf("the metrics never say %s", line)
		}
	}
}

func TestCallsInFlightAndHeldAreFinishedAtTheEnd(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "drain: 10m")+strings.Replace(compRules, "in_flight: 64", "in_flight: 1, max_hold: 10m", 1))
	arrived, release := held(t, site)
	got := s.inBackground()
	<-arrived
	waits := s.inBackground()
	s.awaitMetric(`stagedoor_queued{script="comp-publisher"} 1`)
	s.Signal(syscall.SIGTERM)
	s.AwaitLog(`"msg":"draining"`)
	s.wantReady("while it drains", 503, "draining")
	release()
	if err := <-got; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	if err := <-waits; err != nil {
		t.Errorf("the call that was held: %v", err)
	}
	s.AwaitEnd()
	if s.err != nil {
		t.Errorf("it ended with %v", s.err)
	}
	last := s.Records()[len(s.Records())-1]
	if last["ev"] != "stop" || strings.Count(s.Audit(), `"ev":"outcome"`) != 2 {
		t.Errorf("the audit log ends with %v", last)
	}
}

func TestCallsBeyondDrainAreCutAndRecorded(t *testing.T) {
	t.Parallel()
	const calls = 40
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "drain: 0s")+compRules)
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	all := make(chan struct{})
	var at atomic.Int64
	site.Fail(flowsite.Fault{Method: "read", Hold: hold, Match: func(flowsite.Received) bool {
		if at.Add(1) == calls {
			close(all)
		}
		return true
	}}, 0)
	var got []<-chan error
	for range calls {
		got = append(got, s.inBackground())
	}
	<-all
	s.Signal(syscall.SIGTERM)
	for _, g := range got {
		if err := <-g; err == nil || !strings.Contains(err.Error(), "Stagedoor was stopped before the site answered") {
			t.Errorf("a call that was cut: %v", err)
		}
	}
	s.AwaitEnd()
	if s.err != nil {
		t.Errorf("it ended with %v", s.err)
	}
	if n := strings.Count(s.Audit(), `"reason":"site_failed","status":500,`); n != calls {
		t.Errorf("%d records of calls that were cut, of %d", n, calls)
	}
	if !strings.Contains(s.Log(), "calls in flight were cut off at the end of drain") {
		t.Error("the log does not say that calls were cut")
	}
	if last := s.Records()[len(s.Records())-1]; last["ev"] != "stop" {
		t.Errorf("the audit log ends with %v", last)
	}
}

func TestASecondSIGTERMEndsItAtOnce(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "drain: 10m")+compRules)
	arrived, _ := held(t, site)
	got := s.inBackground()
	<-arrived
	s.Signal(syscall.SIGTERM)
	s.AwaitLog(`"msg":"draining"`)
	again := time.NewTicker(10 * time.Millisecond) // until the first one has been taken
	defer again.Stop()
	for s.running() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-again.C:
		}
	}
	if st, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || st.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", s.err)
	}
	if err := <-got; err == nil {
		t.Error("the call was answered")
	}
}

func TestAReloadThatIsWrongChangesNothing(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "")+compRules)
	for i, c := range []struct{ old, with, says string }{
		{"read: Shot", "raed: Shot", "raed"},
		{"log: {format: json}", "log: {format: text}", "log can't be changed by a reload; restart Stagedoor for it"},
		{"log: {format: text}", "log: {format: json}\nmax_connections: 7", "max_connections can't be changed"},
	} {
		rewrite(t, s, c.old, c.with)
		s.Signal(syscall.SIGHUP)
		s.AwaitLogs("the new configuration was refused; the old one stays in force", i+1)
		if !strings.Contains(s.Log(), c.says) {
			t.Errorf("the log does not say %q", c.says)
		}
		s.wantOK("under the old configuration")
		if _, m := s.Get("/metrics"); !strings.Contains(m, "stagedoor_config_last_reload_success 0") {
			t.Error("the metric does not say that the reload was refused")
		}
		if i == 0 {
			rewrite(t, s, c.with, c.old)
		}
	}
	rewrite(t, s, "\nmax_connections: 7", "")
	s.Signal(syscall.SIGHUP)
	s.AwaitLog("configuration reloaded")
	if _, m := s.Get("/metrics"); !strings.Contains(m, "stagedoor_config_last_reload_success 1") {
		t.Error("the metric does not say that the reload was taken")
	}
	s.Stop()
	if n := strings.Count(s.Audit(), `"ev":"reload"`); n != 4 {
		t.Errorf("%d records of reloads", n)
	}
}

// A call ends under what it began with, however the configuration changes.
func TestListenersComeAndGoUnderACallInFlight(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "")+compRules)
	first := s.Address("tools")
	arrived, release := held(t, site)
	got := s.inBackground()
	<-arrived
	rewrite(t, s, "listen: [", "listen: [{address: 127.0.0.1:0, name: second, identity: none}, ")
	s.Signal(syscall.SIGHUP)
	s.AwaitLogs("configuration reloaded", 1)
	if status, answer := s.Call("second", findShots); status != 200 || !strings.Contains(answer, `"entities"`) {
		t.Errorf("the listener that came: %d %s", status, answer)
	}
	s.wantOK("on the listener that stays")
	if s.Address("tools") != first {
		t.Error("the listener that stays has moved")
	}
	rewrite(t, s, "{address: 127.0.0.1:0, name: tools, identity: none}", "{address: localhost:0, name: tools, identity: none}")
	s.Signal(syscall.SIGHUP)
	s.AwaitLogs("configuration reloaded", 2)
	release()
	if err := <-got; err != nil {
		t.Errorf("the call in flight on the listener that moved: %v", err)
	}
	moved := ""
	for line := range strings.Lines(s.Log()) {
		var m struct{ Msg, Listener, Address string }
		if json.Unmarshal([]byte(line), &m) == nil && m.Msg == "listening" && m.Listener == "tools" {
			moved = m.Address
		}
	}
	if moved == first {
		t.Fatal("the listener has not moved")
	}
	answer, err := callOnce(t.Context(), &http.Transport{DisableKeepAlives: true}, "http://"+moved+"/api3/json")
	if err != nil || !strings.Contains(answer, `"entities"`) {
		t.Errorf("the listener that moved: %s %v", answer, err)
	}
	if _, err := callOnce(t.Context(), &http.Transport{DisableKeepAlives: true}, "http://"+first+"/api3/json"); err == nil {
		t.Error("the old address is served still")
	}
	rewrite(t, s, "{address: localhost:0, name: tools, identity: none}", "")
	s.Signal(syscall.SIGHUP)
	s.AwaitLogs("configuration reloaded", 3)
	if _, err := callOnce(t.Context(), &http.Transport{DisableKeepAlives: true}, "http://"+moved+"/api3/json"); err == nil {
		t.Error("the listener that went is served still")
	}
}
