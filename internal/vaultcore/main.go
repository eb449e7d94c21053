// Vaultcore runs a real Vault core as a process, for tests: KV, and
// AppRole, Kubernetes, JWT, TLS certificate and token auth, over Vault's own
// HTTP API.
//
// It prints one line, its address, when it listens, and ends with exit code 0
// at SIGTERM or when its parent is gone (-until-eof). It does not initialise or
// unseal itself; its parent does that over the API. It is never part of the
// product: it lives in a module of its own, so that none of Vault's
// dependencies reach the proxy's go.mod.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/command/server"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
	"golang.org/x/sys/unix"
)

// shutdownLimit bounds the wait for calls in flight and for the core to seal.
const shutdownLimit = 5 * time.Second

// headerLimit bounds how long a client may take over its request headers.
const headerLimit = 10 * time.Second

// options are the flags.
type options struct {
	address      string        // IP:port; port 0 takes a free one
	storage      string        // data folder; empty keeps the data in memory
	tlsDir       string        // folder of cert.pem and key.pem; empty needs plain
	plain        bool          // serve HTTP without TLS
	defaultLease time.Duration // 0 is Vault's own default, 32 days
	maxLease     time.Duration // 0 is Vault's own default, 32 days
	logLevel     string        // hclog's words: trace, debug, info, warn, error
	untilEOF     bool          // end when standard input ends
}

func main() {
	var o options
	flag.StringVar(&o.address, "address", "127.0.0.1:0", "listen on this loopback `IP:port`")
	flag.StringVar(&o.storage, "storage", "", "keep the data in this `folder`; empty: in memory")
	flag.StringVar(&o.tlsDir, "tls", "", "`folder` of cert.pem and key.pem; made there, with ca.pem, when missing")
	flag.BoolVar(&o.plain, "plain", false, "serve plain HTTP")
	flag.DurationVar(&o.defaultLease, "default-lease", 0, "default lease and token TTL")
	flag.DurationVar(&o.maxLease, "max-lease", 0, "longest lease and token TTL")
	flag.StringVar(&o.logLevel, "log-level", "warn", "log to standard error from this level on")
	flag.BoolVar(&o.untilEOF, "until-eof", false, "end when standard input ends, so that no orphan stays")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vaultcore:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. A nil error is a clean end.
func run(ctx context.Context, o options) error {
	if o.plain == (o.tlsDir != "") {
		return errors.New("give either -tls or -plain")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.untilEOF {
		go func() {
			// Nothing is expected on standard input: only its end counts.
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}

	logger := hclog.New(&hclog.LoggerOptions{Name: "vaultcore", Level: hclog.LevelFromString(o.logLevel), Output: os.Stderr})
	core, err := newCore(o, logger)
	if err != nil {
		return fmt.Errorf("making the core: %w", err)
	}
	defer func() { _ = core.Shutdown() }()

	ln, err := listen(ctx, o.address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	srv := &http.Server{
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core:           core,
			ListenerConfig: &configutil.Listener{Type: "tcp", Address: ln.Addr().String()},
		}),
		ReadHeaderTimeout: headerLimit,
		// Handshakes that tests break on purpose are no news.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	return serve(ctx, srv, ln, o)
}

// serve prints the address and serves ln until ctx ends.
func serve(ctx context.Context, srv *http.Server, ln net.Listener, o options) error {
	scheme := "http://"
	if !o.plain {
		scheme = "https://"
		config, err := tlsConfig(o.tlsDir)
		if err != nil {
			return fmt.Errorf("preparing the certificate: %w", err)
		}
		srv.TLSConfig = config
	}
	done := make(chan error, 1)
	go func() {
		if o.plain {
			done <- srv.Serve(ln)
		} else {
			done <- srv.ServeTLS(ln, "", "")
		}
	}()
	fmt.Println(scheme + ln.Addr().String())

	select {
	case err := <-done:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	if err := srv.Shutdown(limit); err != nil {
		return srv.Close() // calls still in flight are cut, as a dying Vault does
	}
	return nil
}

// listen opens address with SO_REUSEPORT: the test that started this process
// holds the port with a socket that never listens, so that nobody else gets it
// between a stop and a restart.
func listen(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%q is no loopback address", host)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var opt error
		err := c.Control(func(fd uintptr) {
			opt = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return errors.Join(err, opt)
	}}
	return lc.Listen(ctx, "tcp", address)
}

func newCore(o options, logger hclog.Logger) (*vault.Core, error) {
	store, kind, err := backend(o.storage, logger)
	if err != nil {
		return nil, err
	}
	raw := &server.Config{SharedConfig: &configutil.SharedConfig{}}
	return vault.NewCore(&vault.CoreConfig{
		RawConfig:          raw,
		Physical:           store,
		StorageType:        kind,
		LogicalBackends:    secretEngines(),
		CredentialBackends: authMethods(),
		BuiltinRegistry:    registry{secrets: secretEngines(), auth: authMethods()},
		Logger:             logger,
		LogLevel:           strings.ToLower(o.logLevel),
		DefaultLeaseTTL:    o.defaultLease,
		MaxLeaseTTL:        o.maxLease,
		DisableMlock:       true, // tests run without the privilege, and keep nothing real here
	})
}

// backend is where the core keeps its encrypted data.
func backend(folder string, logger hclog.Logger) (physical.Backend, string, error) {
	if folder == "" {
		b, err := inmem.NewInmem(nil, logger)
		return b, "inmem", err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, "", err
	}
	b, err := file.NewFileBackend(map[string]string{"path": folder}, logger)
	return b, "file", err
}
