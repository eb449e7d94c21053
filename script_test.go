package main_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"stagedoor/flowsite"
	"stagedoor/internal/parts"
)

// The scripts run the binary itself, and assert what each command writes on both
// streams, silence included, and its exit code.
func TestScripts(t *testing.T) {
	t.Parallel()
	bin := filepath.Dir(parts.Binary(t))
	v := keyVault(t)
	token := v.Token(compPolicy, parts.TokenOptions{})
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("VAULT", v.Address)
			env.Setenv("VAULT_PEM", v.CAFile)
			return os.WriteFile(filepath.Join(env.WorkDir, "token"), []byte(token+"\n"), 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"site":       cmdSite,
			"fill":       cmdFill,
			"exits":      cmdExits,
			"port":       cmdPort,
			"taken":      cmdTaken,
			"eventually": cmdEventually,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// cmdSite starts a stand-in site: SITE is its URL, KEY the key of its Script,
// site.pem its CA, key.json the key file, and old.json one with a key that it
// refuses.
func cmdSite(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: site")
	}
	site, err := flowsite.New(flowsite.Options{AllowHeaders: []string{"Stagedoor-Request-Id"}})
	ts.Check(err)
	site.AddScript(siteScript, siteKey, flowsite.RoleAdmin())
	site.Demo()
	srv, err := site.Start()
	ts.Check(err)
	ts.Defer(func() { _ = srv.Close() })
	ts.Setenv("SITE", srv.URL)
	ts.Setenv("KEY", siteKey)
	ts.Check(os.WriteFile(ts.MkAbs("site.pem"), srv.CAPEM, 0o600))
	for name, key := range map[string]string{"key.json": siteKey, "same.json": siteKey, "old.json": "a-key-that-was-replaced"} {
		b, err := json.Marshal(map[string]string{"script_name": siteScript, "api_key": key})
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(name), b, 0o600))
	}
}

// cmdFill puts the values of variables in place of $NAME in files, which nobody
// else may write then, whatever the umask.
func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: fill FILE...")
	}
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
		ts.Check(os.Chmod(ts.MkAbs(name), 0o644))
	}
}

// cmdExits is exec for a command that has to end with this exit code.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENT...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	err = ts.Exec(args[1], args[2:]...)
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		code = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// cmdPort sets variables to addresses that nobody listens at: on a loopback
// address of their own, where no other test asks for a port.
func cmdPort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: port NAME...")
	}
	for _, name := range args {
		ln, err := net.Listen("tcp", "127.77.0.1:0")
		ts.Check(err)
		ts.Setenv(name, ln.Addr().String())
		ts.Check(ln.Close())
	}
}

// cmdTaken is cmdPort for addresses at which somebody listens.
func cmdTaken(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: taken NAME...")
	}
	for _, name := range args {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { _ = ln.Close() })
		ts.Setenv(name, ln.Addr().String())
	}
}

// cmdEventually repeats a command until it succeeds.
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventually COMMAND [ARGUMENT...]")
	}
	again, end := time.NewTicker(20*time.Millisecond), time.NewTimer(patience)
	defer again.Stop()
	defer end.Stop()
	for ts.Exec(args[0], args[1:]...) != nil {
		select {
		case <-again.C:
		case <-end.C:
			ts.Fatalf("it never succeeds")
		}
	}
}

// What the demo prints to try by hand works as it stands, until it is
// interrupted.
func TestTheDemoServesOnUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	interpreter := parts.Python(t, parts.NewestClient)
	d := &stagedoor{t: t, audit: newOutput(), log: newOutput(), ended: make(chan struct{})}
	d.cmd = exec.Command(parts.Binary(t), "demo")
	d.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	d.cmd.Stdout, d.cmd.Stderr = d.audit, d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	d.await(d.audit, "Ctrl-C ends it.")
	snippet := regexp.MustCompile(`python3 -c '([^']+)'`).FindStringSubmatch(d.Audit())
	curl := regexp.MustCompile(`curl -s (\S+)/api3/json -H 'content-type: application/json' -d '([^']+)'`).FindStringSubmatch(d.Audit())
	if snippet == nil || curl == nil {
		t.Fatalf("nothing to try by hand:\n%s", d.Audit())
	}
	script := filepath.Join(t.TempDir(), "snippet.py")
	write(t, script, 0o600, snippet[1])
	if out := python(t, interpreter, script, nil); !strings.Contains(out, "'code': 'harbour_sq01_0010'") {
		t.Errorf("the snippet prints %s", out)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+curl[1]+"/api3/json", strings.NewReader(curl[2]))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if status, body := d.do(req); status != 200 || !strings.Contains(body, `"version"`) {
		t.Errorf("the call of the curl line: %d %s", status, body)
	}
	d.Signal(syscall.SIGINT)
	d.AwaitEnd()
	if d.err != nil || d.Log() != "" {
		t.Errorf("it ended with %v, and wrote %q to standard error", d.err, d.Log())
	}
}
