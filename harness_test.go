package main_test

import (
	"bufio"
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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stagedoor/flowsite"
	"stagedoor/internal/parts"
)

// patience bounds every wait of these tests: it is for machines that are busy,
// never part of what is asserted.
const patience = 2 * time.Minute

// theSite is a stand-in site over TLS, with one Script for the tests.
type theSite struct {
	*flowsite.Site
	URL, CAFile string
	// StorageURL and StorageCA are of its storage server, where it has one.
	StorageURL, StorageCA string
}

// siteScript and siteKey are the identity that the site knows. The name is not
// the one that tools send, and the key holds what needs escaping.
const (
	siteScript = "comp-publisher-2026b"
	siteKey    = `k3y/with+"quotes"&<odd>%41-0123456789`
)

// newSite is a site with the demo's rows and the Script that nobody serves yet.
func newSite(t *testing.T, o flowsite.Options) *theSite {
	t.Helper()
	o.AllowHeaders = append(o.AllowHeaders, "Stagedoor-Request-Id")
	site, err := flowsite.New(o)
	if err != nil {
		t.Fatal(err)
	}
	site.AddScript(siteScript, siteKey, flowsite.RoleAdmin())
	site.Demo()
	return &theSite{Site: site}
}

// startSite serves one.
func startSite(t *testing.T, o flowsite.Options) *theSite {
	t.Helper()
	site := newSite(t, o)
	srv, err := site.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	site.URL, site.CAFile = srv.URL, filepath.Join(t.TempDir(), "site-ca.pem")
	site.SetURL(srv.URL)
	write(t, site.CAFile, 0o644, string(srv.CAPEM))
	return site
}

func write(t *testing.T, path string, mode os.FileMode, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// keyFile is a key file with the site's Script in it.
func keyFile(t *testing.T) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{"script_name": siteScript, "api_key": siteKey})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.json")
	write(t, path, 0o600, string(b))
	return path
}

// stagedoor is a running `stagedoor serve`.
type stagedoor struct {
	t      *testing.T
	cmd    *exec.Cmd
	Config string // the configuration's path
	audit  *output
	log    *output
	ended  chan struct{}
	err    error // of the process, once ended is closed
}

// serve runs the binary with a configuration, and waits until it serves. The
// text is taken as it is, after "log: {format: json}", where it has no other
// log, and an admin address of the kernel's choice.
func serve(t *testing.T, config string) *stagedoor {
	t.Helper()
	return serveTo(t, nil, config)
}

// serveTo is serve with another standard output, if one is given: then there
// is no Audit.
func serveTo(t *testing.T, stdout *os.File, config string) *stagedoor {
	t.Helper()
	return serveIn(t, t.TempDir(), stdout, config)
}

// serveIn is serveTo with the home folder of the user that it runs as.
func serveIn(t *testing.T, home string, stdout *os.File, config string) *stagedoor {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stagedoor.yaml")
	head := "version: 1\nadmin: 127.0.0.1:0\n"
	if !strings.Contains(config, "\nlog: ") {
		head += "log: {format: json}\n"
	}
	write(t, path, 0o644, head+config)
	s := &stagedoor{t: t, Config: path, audit: newOutput(), log: newOutput(), ended: make(chan struct{})}
	s.cmd = exec.Command(parts.Binary(t), "serve", "--config", path)
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
	s.cmd.Stdout, s.cmd.Stderr = s.audit, s.log
	if stdout != nil {
		s.cmd.Stdout = stdout
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		if s.running() {
			s.Stop()
		}
		if t.Failed() {
			t.Logf("the log of stagedoor:\n%s", s.log.String())
		}
	})
	s.AwaitLog(`"msg":"serving"`)
	return s
}

func (s *stagedoor) running() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// Signal sends a signal.
func (s *stagedoor) Signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Stop ends it by SIGTERM; it has to exit with 0.
func (s *stagedoor) Stop() {
	s.t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	s.AwaitEnd()
	if s.err != nil {
		s.t.Errorf("stagedoor ended with %v", s.err)
	}
}

// AwaitEnd waits for the process to end.
func (s *stagedoor) AwaitEnd() {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience): //nolint:forbidigo // a bound on waiting, never reached by a test that passes
		_ = s.cmd.Process.Kill()
		s.t.Fatal("stagedoor does not end")
	}
}

// Log is everything on standard error so far, Audit on standard output.
func (s *stagedoor) Log() string   { return s.log.String() }
func (s *stagedoor) Audit() string { return s.audit.String() }

// Records are the audit lines so far.
func (s *stagedoor) Records() []map[string]any {
	s.t.Helper()
	var out []map[string]any
	sc := bufio.NewScanner(strings.NewReader(s.Audit()))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var m map[string]any
		if err := json.Unmarshal(sc.Bytes(), &m); err != nil {
			s.t.Fatalf("an audit line is no JSON: %v: %s", err, sc.Text())
		}
		out = append(out, m)
	}
	return out
}

// AwaitLog waits until the log holds text.
func (s *stagedoor) AwaitLog(text string) { s.t.Helper(); s.await(s.log, text) }

// AwaitAudit waits until the audit log holds text.
func (s *stagedoor) AwaitAudit(text string) { s.t.Helper(); s.await(s.audit, text) }

func (s *stagedoor) await(o *output, text string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		grown := o.Grown()
		if strings.Contains(o.String(), text) {
			return
		}
		select {
		case <-grown:
		case <-s.ended:
			if strings.Contains(o.String(), text) {
				return
			}
			s.t.Fatalf("stagedoor ended (%v) before it wrote %s:\n%s", s.err, text, o)
		case <-ctx.Done():
			s.t.Fatalf("stagedoor does not write %s:\n%s", text, o)
		}
	}
}

// Address is where a listener is; "admin" for the admin address.
func (s *stagedoor) Address(listener string) string {
	s.t.Helper()
	for line := range strings.Lines(s.Log()) {
		var m struct{ Msg, Listener, Address string }
		if json.Unmarshal([]byte(line), &m) == nil && m.Msg == "listening" && m.Listener == listener {
			return m.Address
		}
	}
	s.t.Fatalf("no listener %s in the log", listener)
	return ""
}

// Get asks the admin address.
func (s *stagedoor) Get(path string) (status int, body string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.Address("admin")+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.do(req)
}

// Call posts an api3 body to a listener, as curl would.
func (s *stagedoor) Call(listener, body string) (status int, answer string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.Address(listener)+"/api3/json", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return s.do(req)
}

func (s *stagedoor) do(req *http.Request) (status int, body string) {
	s.t.Helper()
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // only read
	var b bytes.Buffer
	if _, err := io.Copy(&b, res.Body); err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, b.String()
}

// output is what a process writes, with an event for more of it.
type output struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{}
}

func newOutput() *output { return &output{grown: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grown)
	o.grown = make(chan struct{})
	return o.buf.Write(b)
}

// Grown is closed when more has been written than now.
func (o *output) Grown() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.grown
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// python runs a script in a process of its own, whose environment is env and
// nothing else, and gives its standard output. A failure fails the test, with
// what it wrote to standard error.
func python(t *testing.T, interpreter, script string, env []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter, append([]string{"-I", script}, args...)...)
	cmd.Env = env
	if env == nil {
		cmd.Env = []string{}
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
		t.Fatalf("%s: %v\n%s%s", filepath.Base(script), err, out.String(), errs.String())
	}
	return out.String()
}

// scriptConfig is a configuration with one script, comp-publisher, and
// whatever else is given at the top level.
func scriptConfig(site *theSite, key, rest string) string {
	return fmt.Sprintf("site: %s\nsite_ca: %s\ncontact: \"#pipeline\"\nlisten: [{address: 127.0.0.1:0, name: tools, identity: none}]\n%s\nscripts:\n  comp-publisher:\n    %s\n",
		site.URL, site.CAFile, rest, key)
}
