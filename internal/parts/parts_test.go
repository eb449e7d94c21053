package parts_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"stagedoor/internal/parts"
)

// read is the field "key" of kv/ingest as a client at address with token sees it.
func read(ctx context.Context, t *testing.T, v *parts.VaultServer, address, token string) (string, error) {
	t.Helper()
	client, err := v.Client().Clone()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SetAddress(address); err != nil {
		t.Fatal(err)
	}
	client.SetToken(token)
	s, err := client.KVv2("kv").Get(ctx, "ingest")
	if err != nil {
		return "", err
	}
	key, _ := s.Data["key"].(string) // a deleted version has no data
	return key, nil
}

func status(err error) int {
	if res, ok := errors.AsType[*api.ResponseError](err); ok {
		return res.StatusCode
	}
	return 0
}

func TestVaultKeepsItsDataThroughSealAndKill(t *testing.T) {
	v := parts.Vault(t, parts.VaultOptions{})
	if got := v.Put("ingest", map[string]any{"key": "first"}); got != 1 {
		t.Errorf("the first version is %d", got)
	}
	if got := v.Put("ingest", map[string]any{"key": "second"}); got != 2 {
		t.Errorf("the second version is %d", got)
	}
	v.ReadPolicy("ingest", "kv/data/ingest")
	token := v.Token("ingest", parts.TokenOptions{TTL: time.Hour})
	want := func(key string) {
		t.Helper()
		if got, err := read(t.Context(), t, v, v.Address, token); got != key || err != nil {
			t.Errorf("read %q, %v; want %q", got, err, key)
		}
	}
	refused := func(code int) {
		t.Helper()
		if _, err := read(t.Context(), t, v, v.Address, token); status(err) != code {
			t.Errorf("read: %v; want status %d", err, code)
		}
	}
	want("second")

	v.Seal()
	refused(http.StatusServiceUnavailable)
	v.Unseal()
	want("second")

	v.Stop()
	if _, err := read(t.Context(), t, v, v.Address, token); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("reading from a dead Vault: %v", err)
	}
	v.RestartSealed()
	refused(http.StatusServiceUnavailable)
	v.Unseal()
	want("second")

	v.Delete("ingest", 2)
	if got, err := read(t.Context(), t, v, v.Address, token); got != "" || err != nil {
		t.Errorf("read %q, %v of a deleted version; want no data", got, err)
	}
	v.Undelete("ingest", 2)
	want("second")
	v.Policy("ingest", `path "kv/data/other" { capabilities = ["read"] }`)
	refused(http.StatusForbidden)
	v.ReadPolicy("ingest", "kv/data/ingest")
	want("second")
	v.Revoke(token)
	refused(http.StatusForbidden)
}

func TestFrontMakesVaultSlowSilentAndUnreachable(t *testing.T) {
	v := parts.Vault(t, parts.VaultOptions{InMemory: true})
	v.Put("ingest", map[string]any{"key": "first"})
	f := v.Front()
	get := func() error {
		_, err := read(t.Context(), t, v, f.Address, v.RootToken())
		return err
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}

	f.Pause()
	ctx, cancel := context.WithCancel(t.Context())
	hung := make(chan error)
	go func() {
		_, err := read(ctx, t, v, f.Address, v.RootToken())
		hung <- err
	}()
	f.Await(http.MethodGet, "/v1/kv/data/", 2)
	cancel()
	if err := <-hung; !errors.Is(err, context.Canceled) {
		t.Errorf("a paused read ended with %v", err)
	}
	f.Resume()

	f.Fail(http.StatusBadGateway)
	if err := get(); status(err) != http.StatusBadGateway {
		t.Errorf("a failing front: %v", err)
	}
	f.Fail(0)
	f.Refuse()
	if err := get(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a refusing front: %v", err)
	}
	f.Accept()
	f.Delay(time.Millisecond)
	if err := get(); err != nil {
		t.Errorf("after Accept: %v", err)
	}
	if got := f.Count(http.MethodGet, "/v1/kv/data/"); got != 4 {
		t.Errorf("%d reads counted, want 4: %v", got, f.Calls())
	}
}

// login posts to a login path and returns the token.
func login(t *testing.T, v *parts.VaultServer, path string, data map[string]any) (string, error) {
	t.Helper()
	s, err := v.Client().Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		return "", err
	}
	return s.Auth.ClientToken, nil
}

func TestVaultLogins(t *testing.T) {
	v := parts.Vault(t, parts.VaultOptions{Plain: true, InMemory: true})
	v.Put("ingest", map[string]any{"key": "first"})
	v.ReadPolicy("ingest", "kv/data/ingest")

	a := v.AppRole("proxy", "ingest", time.Minute, time.Hour)
	unwrapped, err := v.Client().Logical().UnwrapWithContext(t.Context(), a.NewWrappedSecretID(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	k := v.Kubernetes("proxy", "ingest", time.Minute, time.Hour)
	jwt, err := os.ReadFile(k.JWTFile)
	if err != nil {
		t.Fatal(err)
	}
	plain := a.NewSecretID()
	for name, try := range map[string]func() (string, error){
		"a plain secret id": func() (string, error) {
			return login(t, v, "auth/approle/login", map[string]any{"role_id": a.RoleID, "secret_id": plain})
		},
		"a wrapped secret id": func() (string, error) {
			return login(t, v, "auth/approle/login", map[string]any{"role_id": a.RoleID, "secret_id": unwrapped.Data["secret_id"]})
		},
		"a service account": func() (string, error) {
			return login(t, v, "auth/kubernetes/login", map[string]any{"role": k.Role, "jwt": string(jwt)})
		},
	} {
		token, err := try()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := read(t.Context(), t, v, v.Address, token); got != "first" || err != nil {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
	}

	a.DestroySecretID(plain)
	if _, err := login(t, v, "auth/approle/login", map[string]any{"role_id": a.RoleID, "secret_id": plain}); status(err) != http.StatusBadRequest {
		t.Errorf("a destroyed secret id: %v", err)
	}
	k.Deny(true)
	if _, err := login(t, v, "auth/kubernetes/login", map[string]any{"role": k.Role, "jwt": string(jwt)}); status(err) != http.StatusForbidden {
		t.Errorf("a deleted service account: %v", err)
	}
}

func TestPythonHasTheClient(t *testing.T) {
	for _, version := range []string{parts.NewestClient, parts.OldClient} {
		python := parts.Python(t, version)
		out, err := exec.CommandContext(t.Context(), python, "-c", "import shotgun_api3; print(shotgun_api3.__version__)").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != version {
			t.Errorf("%s says %q, %v", python, out, err)
		}
	}
}

func TestNodeHasTheRESTClient(t *testing.T) {
	node := parts.Node(t)
	script := filepath.Join(t.TempDir(), "load.mjs")
	err := os.WriteFile(script, []byte(`
import { createRequire } from "node:module";
const { ShotgunApiClient } = createRequire(import.meta.url)("shotgun-nodejs");
console.log(new ShotgunApiClient({ siteUrl: "http://site.invalid" }).apiBasePath);
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node.Path, script)
	cmd.Env = []string{"NODE_PATH=" + node.Modules}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "/api/v1" {
		t.Errorf("node says %q, %v", out, err)
	}
}

func TestCurlIsHere(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), parts.Curl(t), "--version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "curl ") {
		t.Errorf("curl says %q, %v", out, err)
	}
}
