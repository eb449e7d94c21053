package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"stagedoor/flowsite"
	"stagedoor/internal/parts"
)

// clients are the releases of shotgun_api3 that every claim about the client
// is tried with.
func clients() []string { return []string{parts.NewestClient, parts.OldClient} }

// tool is a Python process with the real client in it, testdata/client/drive.py,
// that does what it is told. Its environment is empty.
type tool struct {
	t       *testing.T
	version string
	cmd     *exec.Cmd
	in      io.WriteCloser
	lines   chan string
	errs    *output
}

// startTool starts one whose client calls baseURL. Options are arguments of
// shotgun_api3.Shotgun, such as `api_key="y"`.
func startTool(t *testing.T, version, baseURL string, options ...string) *tool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	args := append([]string{"-I", filepath.Join("testdata", "client", "drive.py"), baseURL}, options...)
	p := &tool{t: t, version: version, cmd: exec.CommandContext(ctx, parts.Python(t, version), args...), lines: make(chan string), errs: newOutput()}
	p.cmd.Env, p.cmd.Stderr = []string{}, p.errs
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		sc := bufio.NewScanner(out)
		sc.Buffer(nil, 64<<20)
		for sc.Scan() {
			select {
			case p.lines <- sc.Text():
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() {
		_ = p.in.Close() // which ends it
		cancel()
		_ = p.cmd.Wait() // killed, where it was still at work
	})
	hello := p.line()
	if !strings.Contains(hello, `"version": "`+version+`"`) {
		t.Fatalf("the tool is not of release %s: %s", version, hello)
	}
	return p
}

// said is what became of one thing that a tool was told: a result, or an
// exception of that class with that text.
type said struct {
	Result json.RawMessage `json:"result"`
	Class  string          `json:"class"`
	Text   string          `json:"text"`
}

func (s said) String() string {
	if s.Class != "" {
		return s.Class + ": " + s.Text
	}
	return string(s.Result)
}

// Begin tells the tool to evaluate an expression, such as
// sg.find_one('Shot', []); End awaits what becomes of it.
func (p *tool) Begin(expression string) { p.t.Helper(); p.tell("eval", expression) }

func (p *tool) tell(how, code string) {
	p.t.Helper()
	b, err := json.Marshal(map[string]string{how: code})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		p.t.Fatalf("the tool has ended: %v\n%s", err, p.errs)
	}
}

// End is what became of what was begun.
func (p *tool) End() said {
	p.t.Helper()
	var s said
	line := p.line()
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		p.t.Fatalf("the tool said %q: %v", line, err)
	}
	return s
}

func (p *tool) line() string {
	p.t.Helper()
	line, ok := <-p.lines
	if !ok {
		p.t.Fatalf("the tool has ended:\n%s", p.errs)
	}
	return line
}

// Do evaluates an expression.
func (p *tool) Do(expression string) said { p.t.Helper(); p.Begin(expression); return p.End() }

// Run runs statements, which must not fail.
func (p *tool) Run(code string) {
	p.t.Helper()
	p.tell("exec", code)
	if s := p.End(); s.Class != "" {
		p.t.Fatalf("%s: %s", code, s)
	}
}

// OK is the result of an expression that must not fail.
func (p *tool) OK(expression string) string {
	p.t.Helper()
	s := p.Do(expression)
	if s.Class != "" {
		p.t.Fatalf("%s: %s", expression, s)
	}
	return string(s.Result)
}

// begin runs a Python script: its standard input is stdin, its environment
// empty but for what makes two runs alike (the client walks sets). What comes
// back awaits its end and gives what it wrote, and fails the test when the
// script fails.
func begin(t *testing.T, version, stdin string, args ...string) func() string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	cmd := exec.CommandContext(ctx, parts.Python(t, version), append([]string{"-s"}, args...)...)
	cmd.Env, cmd.Stdin = []string{"PYTHONHASHSEED=0"}, strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := sync.OnceValue(func() error { defer cancel(); return cmd.Wait() })
	t.Cleanup(func() { cancel(); _ = ended() })
	return func() string {
		t.Helper()
		if err := ended(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, &errs)
		}
		return out.String()
	}
}

// base is a listener's base URL.
func (s *stagedoor) base(listener string) string {
	s.t.Helper()
	return "http://" + s.Address(listener)
}

// vaultKey puts the site's Script and key into a Vault and gives the vault part
// of a configuration whose process logs in by AppRole, with the secret id in a
// file. The script's own part is "active: scripts/comp-publisher".
func vaultKey(t *testing.T, v *parts.VaultServer) string {
	t.Helper()
	v.Put("scripts/comp-publisher", map[string]any{"script_name": siteScript, "api_key": siteKey})
	v.ReadPolicy("stagedoor", "kv/data/scripts/comp-publisher")
	role := v.AppRole("stagedoor", "stagedoor", time.Hour, 24*time.Hour)
	secretID := filepath.Join(t.TempDir(), "secret-id")
	write(t, secretID, 0o600, role.NewSecretID())
	return fmt.Sprintf("vault: {address: %q, ca: %s, mount: kv}\nlogin: {approle: {role_id: %s, secret_id_file: %s}}\n",
		v.Address, v.CAFile, role.RoleID, secretID)
}

// everyRule is a rule for all that a script can be allowed.
const everyRule = `    limit: {rate: 10000/s, burst: 100000, in_flight: 100}
    sudo_as_login: [ann, nobody]
    user_auth: forward
    allow:
      - read: "*"
      - read: EventLogEntry
      - create: "*"
      - update: "*"
      - delete: "*"
      - revive: "*"
      - follow: "*"
      - schema: "*"
      - schedule
      - preferences
      - presets: LATEST
      - activity_stream
      - work_schedule_update
      - schema_field_create: "*"
      - schema_field_update: "*"
      - schema_field_delete: Shot
      - export_page
      - nav_expand
      - nav_search
      - user_subscriptions_read
      - user_subscriptions_create
`

// aClock is the time of sites whose state is compared.
func aClock() time.Time { return time.Date(2026, 3, 4, 10, 30, 0, 0, time.UTC) }

// sent is the method and the argument of every call that a site received, in
// order: the tokens of the JSON, numbers as they were written, without the
// credential in the auth object. Calls with the request ids in but are left out,
// and those that get a session, which is ours to give.
func sent(t *testing.T, site *theSite, but ...string) []string {
	t.Helper()
	if n := site.Dropped(); n > 0 {
		t.Fatalf("%d calls are no longer in the record", n)
	}
	var out []string
	for _, r := range site.Received() {
		if slices.Contains(but, r.Header.Get("Stagedoor-Request-Id")) || r.Method == "get_session_token" {
			continue
		}
		var call struct {
			Method string            `json:"method_name"`
			Params []json.RawMessage `json:"params"`
		}
		if err := json.Unmarshal(r.Body, &call); err != nil {
			t.Fatalf("the site received no call: %v: %s", err, r.Body)
		}
		text := call.Method
		for i, p := range call.Params {
			if i == 0 {
				p = withoutKey(t, p)
			}
			text += "\n  " + strings.Join(tokens(t, p), " ")
		}
		out = append(out, text)
	}
	return out
}

func withoutKey(t *testing.T, auth json.RawMessage) json.RawMessage {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(auth, &m); err != nil {
		t.Fatalf("an auth object: %v", err)
	}
	for _, name := range []string{"script_name", "script_key", "session_token", "reject_if_expired"} {
		delete(m, name)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tokens takes JSON apart: equal lists are equal values in equal order.
func tokens(t *testing.T, b []byte) []string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var out []string
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatalf("not JSON: %v: %s", err, b)
		}
		out = append(out, fmt.Sprintf("%T %q", tok, fmt.Sprint(tok)))
	}
}

// anIdlingSite is a site that closes idle connections after a while, as load
// balancers do, and tells of every connection that it has closed.
type anIdlingSite struct {
	*theSite
	closed chan struct{}
}

func idlingSite(t *testing.T, o flowsite.Options, idle time.Duration) *anIdlingSite {
	t.Helper()
	site := &anIdlingSite{theSite: newSite(t, o), closed: make(chan struct{}, 1000)}
	srv := httptest.NewUnstartedServer(site)
	srv.EnableHTTP2 = true
	srv.Config.IdleTimeout, srv.Config.ConnContext = idle, site.ConnContext()
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			select {
			case site.closed <- struct{}{}:
			default: // more than any test awaits
			}
		}
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	site.URL, site.CAFile = srv.URL, filepath.Join(t.TempDir(), "site-ca.pem")
	write(t, site.CAFile, 0o644, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	return site
}

// wire is a relay before a listener that keeps every byte that the proxy wrote.
type wire struct {
	Address string
	wrote   *output
	ended   sync.WaitGroup
}

// tap starts one.
func tap(t *testing.T, address string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Address: ln.Addr().String(), wrote: newOutput()}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		w.ended.Wait()
	})
	w.ended.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			w.ended.Go(func() { w.relay(ctx, c, address) })
		}
	})
	return w
}

func (w *wire) relay(ctx context.Context, down net.Conn, address string) {
	up, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		_ = down.Close()
		return
	}
	closeBoth := func() { _ = down.Close(); _ = up.Close() }
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	w.ended.Go(func() {
		defer closeBoth()
		_, _ = io.Copy(up, down)
	})
	defer closeBoth()
	_, _ = io.Copy(io.MultiWriter(down, w.wrote), up)
}

// Written is all that the proxy wrote, packed answers unpacked as well.
func (w *wire) Written() string { return w.wrote.String() }

// spellings are the ways in which a secret may stand in bytes, by name: the
// stand-in site's own list, and what other encoders make of it.
func spellings(secret string) map[string]string {
	all := flowsite.Echoes(secret)
	delete(all, "in_text") // is plain
	asJSON, _ := json.Marshal(secret)
	all["json"] = string(asJSON[1 : len(asJSON)-1])
	var noHTML bytes.Buffer
	enc := json.NewEncoder(&noHTML)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(secret)
	all["json_no_html"] = strings.TrimSuffix(noHTML.String()[1:], "\"\n")
	var escaped strings.Builder
	for _, c := range []byte(secret) {
		_, _ = fmt.Fprintf(&escaped, `\u%04x`, c)
	}
	all["json_escaped"] = escaped.String()
	all["url_path"] = url.PathEscape(secret)
	all["hex"] = hex.EncodeToString([]byte(secret))
	// Base64 of the secret at each of the three places that it can have in a
	// group, without the characters that its neighbours change.
	for pad := range 3 {
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := enc.EncodeToString(append(bytes.Repeat([]byte{'x'}, pad), secret...))
			first, last := (pad*8+5)/6, len(text)
			if (pad+len(secret))%3 != 0 {
				last--
			}
			all[fmt.Sprintf("%s at %d", name, pad)] = text[first:last]
		}
	}
	delete(all, "basic") // is base64 at another place
	for name, s := range all {
		all[name] = strings.TrimRight(s, "=")
	}
	return all
}

// lacks fails the test when text holds the site's key in any spelling.
func lacks(t *testing.T, where, text string) {
	t.Helper()
	if text == "" {
		t.Errorf("%s is empty: nothing was looked at", where)
	}
	for _, name := range spelled(text, siteKey) {
		t.Errorf("%s holds the key, spelled as %s", where, name)
	}
}

// spelled names the spellings of a secret that text holds.
func spelled(text, secret string) (names []string) {
	for name, s := range spellings(secret) {
		if strings.Contains(text, s) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
