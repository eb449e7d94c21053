package parts

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// patience bounds every wait for a part to do what it was told. It is far
// above what a loaded machine needs, so that only a part that hangs meets it.
const patience = 60 * time.Second

// pollEvery is the pause between two looks at a Vault that comes up.
const pollEvery = 5 * time.Millisecond

// VaultOptions says how a Vault is to be run. The zero value serves HTTPS, keeps
// its data on disk and has Vault's own lease times.
type VaultOptions struct {
	Plain        bool          // serve HTTP without TLS
	InMemory     bool          // keep no data across Stop
	DefaultLease time.Duration // TTL of tokens and leases that name none; 0: 32 days
	MaxLease     time.Duration // longest TTL; 0: 32 days
	LogLevel     string        // of Vault's own log, shown when the test fails; empty: warn
}

// VaultServer is a real Vault core in a process of its own, initialised,
// unsealed, with KV version 2 at kv/ and version 1 at kv1/. It ends with the
// test. Its methods are for the goroutine of the test.
type VaultServer struct {
	Address string // base URL; stays the same across Restart
	CAFile  string // PEM file to trust; empty when Plain

	tb        testing.TB
	opts      VaultOptions
	binary    string
	dir       string
	listen    string // IP:port
	client    *api.Client
	rootToken string
	unsealKey string
	enabled   map[string]bool // auth methods enabled, by type
	process   *process        // nil while stopped
}

// process is one run of the core.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer // held open: its end tells the core that its parent is gone
	log   *lockedBuffer
	done  chan struct{} // closed when the process has been waited for
}

// lockedBuffer collects what a process says. It is safe for concurrent use.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Vault starts a Vault for this test. The first call on a machine downloads
// and compiles Vault, which takes minutes; see [Missing] for when it can't.
func Vault(tb testing.TB, opts VaultOptions) *VaultServer {
	tb.Helper()
	binary, err := buildVault(tb.Context())
	if err != nil {
		Missing(tb, "the Vault core for tests", err)
	}
	v := &VaultServer{tb: tb, opts: opts, binary: binary, dir: tb.TempDir(), enabled: make(map[string]bool)}
	v.listen = reservePort(tb)
	v.Address = "http://" + v.listen
	if !opts.Plain {
		v.Address = "https://" + v.listen
		v.CAFile = v.tlsFile("ca.pem")
	}
	tb.Cleanup(v.cleanup)
	v.start()
	v.client = v.newClient()
	v.init()
	return v
}

// buildVault is the path of the vaultcore binary. Its key covers everything
// that it is made from, so a stale one is never used.
func buildVault(ctx context.Context) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "internal", "vaultcore")
	key, err := hashFiles(source, runtime.Version()+runtime.GOOS+runtime.GOARCH, "*.go", "go.mod", "go.sum")
	if err != nil {
		return "", err
	}
	dir, err := cached("vaultcore-"+key, func(dir string) error {
		_, err := command(ctx, "go", "build", "-C", source, "-buildvcs=false", "-ldflags=-s -w",
			"-o", filepath.Join(dir, "vaultcore"), ".")
		return err
	})
	return filepath.Join(dir, "vaultcore"), err
}

func (v *VaultServer) tlsFile(name string) string { return filepath.Join(v.dir, "tls", name) }

// start runs the core and returns when it listens.
func (v *VaultServer) start() {
	v.tb.Helper()
	args := []string{"-until-eof", "-address", v.listen}
	if v.opts.Plain {
		args = append(args, "-plain")
	} else {
		args = append(args, "-tls", filepath.Join(v.dir, "tls"))
	}
	if !v.opts.InMemory {
		args = append(args, "-storage", filepath.Join(v.dir, "data"))
	}
	if v.opts.LogLevel != "" {
		args = append(args, "-log-level", v.opts.LogLevel)
	}
	args = append(args, "-default-lease", v.opts.DefaultLease.String(), "-max-lease", v.opts.MaxLease.String())

	// The test ends the core itself, after its other cleanups.
	cmd := exec.CommandContext(context.WithoutCancel(v.tb.Context()), v.binary, args...)
	// A clean environment: VAULT_* and proxy variables of the developer would
	// change what the core does.
	cmd.Env = []string{"HOME=" + v.dir, "PATH=" + os.Getenv("PATH")}
	p := &process{cmd: cmd, log: &lockedBuffer{}, done: make(chan struct{})}
	cmd.Stderr = p.log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		v.tb.Fatalf("starting Vault: %v", err)
	}
	p.stdin = stdin
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		v.tb.Fatalf("starting Vault: %v", err)
	}
	if err := cmd.Start(); err != nil {
		v.tb.Fatalf("starting Vault: %v", err)
	}
	v.process = p
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	timer.Stop()
	go func() {
		_ = cmd.Wait() // a killed process reports its kill: no news
		close(p.done)
	}()
	if err != nil || strings.TrimSpace(line) != v.Address {
		v.Stop()
		v.tb.Fatalf("starting Vault: it said %q, not its address (%v)\n%s", line, err, p.log)
	}
}

// Stop kills the process, as a crash would; what it had acknowledged is on
// disk. Connections are refused until [VaultServer.Restart]. Stopping a stopped
// Vault does nothing.
func (v *VaultServer) Stop() {
	v.tb.Helper()
	p := v.process
	if p == nil {
		return
	}
	v.process = nil
	_ = p.cmd.Process.Kill() // fails when it died by itself, which is as good
	<-p.done
	_ = p.stdin.Close()
}

func (v *VaultServer) cleanup() {
	p := v.process
	v.Stop()
	if p != nil && v.tb.Failed() && p.log.String() != "" {
		v.tb.Logf("Vault's log:\n%s", p.log)
	}
}

// Restart stops the core if it runs, starts it at the same address with the
// same data, and unseals it. See [VaultServer.RestartSealed] for the state that
// a real restart leaves.
func (v *VaultServer) Restart() {
	v.tb.Helper()
	v.RestartSealed()
	v.Unseal()
}

// RestartSealed restarts the core and leaves it sealed.
func (v *VaultServer) RestartSealed() {
	v.tb.Helper()
	if v.opts.InMemory {
		v.tb.Fatal("a Vault in memory has no data to restart with")
	}
	v.Stop()
	v.start()
}

// newClient makes a client with the root token (once there is one). It takes
// nothing from the environment that could lead it elsewhere.
func (v *VaultServer) newClient() *api.Client {
	v.tb.Helper()
	config := api.DefaultConfig()
	if config.Error != nil {
		v.tb.Fatalf("making a Vault client: %v (is a VAULT_ variable set?)", config.Error)
	}
	config.Address, config.AgentAddress = v.Address, ""
	config.MaxRetries = 0
	config.Timeout = patience
	// No connection is kept: one to a core that was killed since would fail the
	// first call after a restart.
	transport := &http.Transport{DisableKeepAlives: true}
	config.HttpClient.Transport = transport
	if v.CAFile != "" {
		pool, err := loadPool(v.CAFile)
		if err != nil {
			v.tb.Fatalf("making a Vault client: %v", err)
		}
		transport.TLSClientConfig = trust(pool)
	}
	client, err := api.NewClient(config)
	if err != nil {
		v.tb.Fatalf("making a Vault client: %v", err)
	}
	client.ClearNamespace()
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	client.SetToken(v.rootToken)
	return client
}

// init initialises, unseals and mounts.
func (v *VaultServer) init() {
	v.tb.Helper()
	res, err := v.client.Sys().InitWithContext(v.tb.Context(), &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		v.tb.Fatalf("initialising Vault: %v", err)
	}
	v.rootToken, v.unsealKey = res.RootToken, res.KeysB64[0]
	v.client.SetToken(v.rootToken)
	if err := v.unseal(); err != nil {
		v.tb.Fatalf("unsealing Vault: %v", err)
	}
	for path, version := range map[string]string{mountV2: "2", mountV1: "1"} {
		err := v.client.Sys().MountWithContext(v.tb.Context(), path, &api.MountInput{
			Type: "kv", Options: map[string]string{"version": version},
		})
		if err != nil {
			v.tb.Fatalf("mounting kv at %s/: %v", path, err)
		}
	}
	v.awaitKV()
}

// Seal seals the core: it answers 503 to everything until [VaultServer.Unseal].
func (v *VaultServer) Seal() {
	v.tb.Helper()
	if err := v.client.Sys().SealWithContext(v.tb.Context()); err != nil {
		v.tb.Fatalf("sealing Vault: %v", err)
	}
}

// Unseal unseals the core and returns when its secrets can be read again.
func (v *VaultServer) Unseal() {
	v.tb.Helper()
	if err := v.unseal(); err != nil {
		v.tb.Fatalf("unsealing Vault: %v", err)
	}
	v.awaitKV()
}

func (v *VaultServer) unseal() error {
	status, err := v.client.Sys().UnsealWithContext(v.tb.Context(), v.unsealKey)
	if err != nil {
		return err
	}
	if status.Sealed {
		return errors.New("it is still sealed")
	}
	return nil
}

// awaitKV waits until KV version 2 serves: after a mount or an unseal it
// answers 400 for a moment, while it prepares its storage.
func (v *VaultServer) awaitKV() {
	v.tb.Helper()
	ctx, cancel := context.WithTimeout(v.tb.Context(), patience)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		_, err := v.client.Logical().ReadWithContext(ctx, mountV2+"/config")
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			v.tb.Fatalf("waiting for kv at %s/: %v", mountV2, err)
		}
	}
}

// RootToken is the token that may do everything.
func (v *VaultServer) RootToken() string { return v.rootToken }

// Client is a client with the root token, for what the methods here do not
// cover. It goes to the core itself, past every [Front].
func (v *VaultServer) Client() *api.Client { return v.client }

// write writes to a path of Vault and ends the test when that fails.
func (v *VaultServer) write(path string, data map[string]any) *api.Secret {
	v.tb.Helper()
	s, err := v.client.Logical().WriteWithContext(v.tb.Context(), path, data)
	if err != nil {
		v.tb.Fatalf("writing %s in Vault: %v", path, err)
	}
	return s
}

// field is a string in an answer of Vault.
func (v *VaultServer) field(s *api.Secret, name string) string {
	v.tb.Helper()
	if s == nil {
		v.tb.Fatalf("Vault answered nothing, not a %s", name)
	}
	text, ok := s.Data[name].(string)
	if !ok || text == "" {
		v.tb.Fatalf("Vault's answer has no %s", name)
	}
	return text
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int64(d/time.Second)) }
