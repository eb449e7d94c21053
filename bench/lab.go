package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed conf
var conf embed.FS

// The programs that are built for a run, by their package in this module.
const (
	pkgSite      = "./bench/site"
	pkgStore     = "./bench/store"
	pkgBare      = "./bench/bare"
	pkgProfiled  = "./bench/profiled"
	pkgStagedoor = "."
)

// lab is what all contenders share: a folder, the stand-in site, the key and
// the call that is made.
type lab struct {
	o        *options
	dir      string
	ca       string // PEM file that verifies the site
	key      string // the script's key
	siteAddr string
	client   *http.Client // trusts the site
	site     *process
	started  []*process
	skipped  []string
}

// newLab builds and starts what every measurement needs.
func newLab(ctx context.Context, o *options) (l *lab, err error) {
	l = &lab{o: o, key: rand.Text() + rand.Text()}
	if l.dir, err = os.MkdirTemp("", "stagedoor-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	l.printf("building\n")
	site := pkgSite
	if o.files {
		site = pkgStore
	}
	if err := l.build(ctx, site, "site"); err != nil {
		return nil, err
	}
	pair, err := l.certificate()
	if err != nil {
		return nil, err
	}
	if l.siteAddr, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"key":      l.key,
		"key.json": fmt.Sprintf(`{"script_name": %q, "api_key": %q}`, script, l.key),
		"answer":   answer(),
	} {
		if err := os.WriteFile(l.path(name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	argv := []string{l.path("site"), "-listen", l.siteAddr, "-cert", pair, "-key", l.path("key")}
	if !o.files {
		argv = append(argv, "-answer", l.path("answer"), fmt.Sprintf("-stall=%t", o.held))
	}
	l.site, err = l.start(ctx, "site", l.siteAddr, argv...)
	return l, err
}

// close ends every process and removes the folder.
func (l *lab) close() {
	for _, p := range slices.Backward(l.started) {
		p.stop()
	}
	if l.o.keep {
		l.printf("left in %s\n", l.dir)
		return
	}
	if err := os.RemoveAll(l.dir); err != nil {
		l.printf("*** %v\n", err)
	}
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) printf(format string, args ...any) { _, _ = fmt.Fprintf(l.o.out, format, args...) }

// build compiles a package of this module, found from its root.
func (l *lab) build(ctx context.Context, pkg, name string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", l.path(name), pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s (run it from the module's root): %w\n%s", pkg, err, out)
	}
	return nil
}

// write fills a template of conf in and puts it into the folder.
func (l *lab) write(name, as string, values any) (string, error) {
	t, err := template.ParseFS(conf, "conf/"+name)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, values); err != nil {
		return "", err
	}
	return l.path(as), os.WriteFile(l.path(as), b.Bytes(), 0o600)
}

// certificate makes the site's, which is its own root, and gives the file that
// holds it with its key.
func (l *lab) certificate() (pair string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stand-in site"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	l.ca, pair = l.path("ca.pem"), l.path("site.pem")
	if err := os.WriteFile(l.ca, public, 0o600); err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(public)
	l.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
	both := append(public, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	return pair, os.WriteFile(pair, both, 0o600)
}

// freeAddress finds a port of loopback that nobody has now.
func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// seen asks the site how many calls came with the key, and how many without.
func (l *lab) seen(ctx context.Context) (good, bad int64, err error) {
	text, err := l.get(ctx, "https://"+l.siteAddr+"/count")
	if err != nil {
		return 0, 0, err
	}
	_, err = fmt.Sscanf(text, "%d %d", &good, &bad)
	return good, bad, err
}

// maxText bounds what is read of a log or an answer, in bytes.
const maxText = 4 << 20

func (l *lab) get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	return l.do(req)
}

func (l *lab) do(req *http.Request) (string, error) {
	res, err := l.client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	var b strings.Builder
	if _, err := io.Copy(&b, io.LimitReader(res.Body, maxText)); err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s: status %d: %.300s", req.Method, req.URL, res.StatusCode, b.String())
	}
	return b.String(), nil
}

// process is a program that was started here.
type process struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // how it ended, once ended is closed
	log    string
}

// start runs a program and waits until addr takes connections.
func (l *lab) start(ctx context.Context, name, addr string, argv ...string) (*process, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &process{cancel: cancel, ended: make(chan struct{}), log: l.path(name + ".log")}
	log, err := os.Create(p.log)
	if err != nil {
		cancel()
		return nil, err
	}
	p.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A kill would leave nginx's workers behind.
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	p.cmd.WaitDelay = 10 * time.Second
	err = p.cmd.Start()
	_ = log.Close()
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	l.started = append(l.started, p)
	return p, p.await(ctx, addr)
}

// startTime is how long a program may take until it serves.
const startTime = 15 * time.Second

func (p *process) await(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var d net.Dialer
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		select {
		case <-p.ended:
			return false, errors.New("it ended at once")
		default:
		}
		c, refused := d.DialContext(ctx, "tcp", addr) // refused: not yet
		if refused == nil {
			return true, c.Close()
		}
		return false, nil
	})
	if err != nil {
		text, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s does not serve %s: %w\n%s", p.cmd.Path, addr, err, text)
	}
	return nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process and waits for that.
func (p *process) stop() {
	p.cancel()
	<-p.ended
}

// poll asks again and again until done, an error or the end of ctx.
func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}
