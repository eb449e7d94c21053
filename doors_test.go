package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"stagedoor/flowsite"
	"stagedoor/internal/parts"
)

// everyDoor is everyRule and a rule for all that comes on the other ways in.
const everyDoor = everyRule + `      - upload: "*"
      - download: "*"
      - download: images
      - download: files
      - webhook_read
      - webhook_write
      - preferences_update
      - license_info
      - transcode
`

// door is a server with one listener, tools, that serves one script by a key
// file, whose rules are given.
func door(t *testing.T, site *theSite, top, rules string) *stagedoor {
	t.Helper()
	return serve(t, scriptConfig(site, "file: "+keyFile(t), top)+rules)
}

// handleKey is the part of a configuration that keeps the handle key in a file
// of this test.
func handleKey(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("handles: {file: %q}\n", filepath.Join(t.TempDir(), "handle.key"))
}

// httpAnswer is what a request gets, as it stands on the wire but for chunks.
type httpAnswer struct {
	Status int
	Header http.Header
	Body   string
}

func (a httpAnswer) String() string {
	var h strings.Builder
	_ = a.Header.Write(&h) // a Builder takes everything
	return fmt.Sprintf("%d\n%s\n%s", a.Status, h.String(), shortened(a.Body))
}

// shortened is a text for a message.
func shortened(text string) string {
	const most = 2000
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// refused is the reason of a refusal of ours, "" for another answer.
func (a httpAnswer) refused() string { return a.Header.Get("Stagedoor-Refused") }

// request is one HTTP request as a hand-written tool makes it.
type request struct {
	Verb, Path string // Path with the query
	Header     http.Header
	Body       string
}

// ask sends a request to a listener on a connection of its own, and follows no
// redirect.
func (s *stagedoor) ask(listener string, r request) httpAnswer {
	s.t.Helper()
	if r.Verb == "" {
		r.Verb = http.MethodGet
	}
	req, err := http.NewRequestWithContext(s.t.Context(), r.Verb, s.base(listener)+r.Path, strings.NewReader(r.Body))
	if err != nil {
		s.t.Fatal(err)
	}
	if r.Body == "" {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	maps.Copy(req.Header, r.Header)
	res, err := (&http.Transport{DisableKeepAlives: true, DisableCompression: true}).RoundTrip(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", r.Verb, r.Path, err)
	}
	defer res.Body.Close() //nolint:errcheck // only read
	var b bytes.Buffer
	if _, err := io.Copy(&b, res.Body); err != nil {
		s.t.Fatalf("%s %s: reading the answer: %v", r.Verb, r.Path, err)
	}
	return httpAnswer{Status: res.StatusCode, Header: res.Header, Body: b.String()}
}

// header makes a header of pairs.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// formPart is a part of a multipart body; a file where Filename is not empty.
type formPart struct{ Name, Filename, Value string }

// aBoundary is the boundary of this test's own bodies.
const aBoundary = "c8af5ec7-3f1f-4c3b-9a55-0a8f5a1f5a1f"

// multipartBody writes parts as shotgun_api3 does.
func multipartBody(form ...formPart) string {
	var b strings.Builder
	for _, p := range form {
		b.WriteString("--" + aBoundary + "\r\nContent-Disposition: form-data; name=\"" + p.Name + "\"")
		if p.Filename != "" {
			fmt.Fprintf(&b, "; filename=\"%s\"\r\nContent-Type: application/octet-stream\r\nContent-Length: %d", p.Filename, len(p.Value)) //nolint:gocritic // no escapes on purpose
		}
		b.WriteString("\r\n\r\n" + p.Value + "\r\n")
	}
	return b.String() + "--" + aBoundary + "--\r\n\r\n"
}

// multipartRequest is an upload of those parts.
func multipartRequest(path string, form ...formPart) request {
	return request{
		Verb: http.MethodPost, Path: path, Body: multipartBody(form...),
		Header: header("Content-Type", "multipart/form-data; boundary="+aBoundary),
	}
}

// formRequest is a POST of a url-encoded form.
func formRequest(path, form string) request {
	return request{Verb: http.MethodPost, Path: path, Body: form, Header: header("Content-Type", "application/x-www-form-urlencoded")}
}

// jsonRequest has a JSON body.
func jsonRequest(verb, path, body string) request {
	return request{Verb: verb, Path: path, Body: body, Header: header("Content-Type", "application/json")}
}

// rpcRequest is an api3 call.
func rpcRequest(method, auth, args string) request {
	params := auth
	if args != "" {
		params += "," + args
	}
	return jsonRequest(http.MethodPost, "/api3/json", fmt.Sprintf(`{"method_name":%q,"params":[%s]}`, method, params))
}

// curl runs the system's curl and gives the last answer that it received: that
// of the place it was led to. Its configuration files are not read.
func curl(t *testing.T, args ...string) httpAnswer {
	t.Helper()
	dir := t.TempDir()
	head, body := filepath.Join(dir, "head"), filepath.Join(dir, "body")
	if i := slices.Index(args, "-o"); i >= 0 {
		body = args[i+1] // which may be there already
	} else {
		args = append(args, "-o", body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, parts.Curl(t), append([]string{"-q", "-sS", "-D", head}, args...)...)
	cmd.Env = []string{}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("curl %v: %v\n%s", args, err, out)
	}
	b, err := os.ReadFile(body)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it writes no empty file
		t.Fatal(err)
	}
	heads, err := os.ReadFile(head)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(strings.TrimSpace(string(heads)), "\r\n\r\n")
	last := textproto.NewReader(bufio.NewReader(strings.NewReader(blocks[len(blocks)-1] + "\r\n\r\n")))
	line, err := last.ReadLine()
	if err != nil {
		t.Fatal(err)
	}
	h, err := last.ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(line, " ")
	status, err := strconv.Atoi(code[:3])
	if err != nil {
		t.Fatalf("curl %v: the answer begins %q", args, line)
	}
	return httpAnswer{Status: status, Header: http.Header(h), Body: string(b)}
}

// beginNode runs a script of testdata/client with the real REST client, as
// begin does in Python. CAs are files of certificates to trust.
func beginNode(t *testing.T, stdin string, cas []string, script string, args ...string) func() string {
	t.Helper()
	node := parts.Node(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	cmd := exec.CommandContext(ctx, node.Path, append([]string{filepath.Join("testdata", "client", script)}, args...)...)
	cmd.Env = []string{"NODE_PATH=" + node.Modules}
	if len(cas) > 0 {
		cmd.Env = append(cmd.Env, "NODE_EXTRA_CA_CERTS="+joined(t, cas...))
	}
	cmd.Stdin = strings.NewReader(stdin)
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
			t.Fatalf("%s %v: %v\n%s%s", script, args, err, shortened(out.String()), &errs)
		}
		return out.String()
	}
}

// joined is a file with the contents of several.
func joined(t *testing.T, files ...string) string {
	t.Helper()
	var all bytes.Buffer
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = all.Write(b) // a Buffer takes everything
	}
	path := filepath.Join(t.TempDir(), "all")
	write(t, path, 0o644, all.String())
	return path
}

// jwtClaims are the claims of a token in the shape of a JWT, read as clients do
// that verify nothing.
func jwtClaims(t *testing.T, token string) map[string]any {
	t.Helper()
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		t.Fatalf("%d segments in %s", len(segments), token)
	}
	b, err := base64.RawURLEncoding.DecodeString(segments[1])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// sessionHandle is a handle from get_session_token.
func (s *stagedoor) sessionHandle(listener string) string {
	s.t.Helper()
	a := s.ask(listener, rpcRequest("get_session_token", "{}", ""))
	var answer struct {
		Results struct {
			ID string `json:"session_id"`
		} `json:"results"`
	}
	if err := json.Unmarshal([]byte(a.Body), &answer); err != nil || answer.Results.ID == "" {
		s.t.Fatalf("get_session_token: %v: %s", err, a)
	}
	return answer.Results.ID
}

// tokenPair is an answer of the REST token exchange.
type tokenPair struct {
	Type    string `json:"token_type"`
	Access  string `json:"access_token"`
	Expires int    `json:"expires_in"`
	Refresh string `json:"refresh_token"`
}

// tokens exchanges a form for a pair of handles, on the listener tools.
func (s *stagedoor) tokens(form string) tokenPair {
	s.t.Helper()
	a := s.ask("tools", formRequest("/api/v1/auth/access_token", form))
	var p tokenPair
	if err := json.Unmarshal([]byte(a.Body), &p); err != nil || a.Status != http.StatusOK || p.Access == "" || p.Refresh == "" {
		s.t.Fatalf("the token exchange %s: %v: %s", form, err, a)
	}
	return p
}

const aLogin = "grant_type=client_credentials&client_id=x&client_secret=x"

// seen is what the site received of a kind, without what the proxy asks for
// itself (info, sessions, tokens).
func seen(site *theSite) (out []flowsite.Received) {
	for _, r := range site.Received() {
		if r.Method != "info" && r.Method != "get_session_token" && !strings.HasSuffix(r.Method, "access_token") {
			out = append(out, r)
		}
	}
	return out
}

// wantUntouched fails the test when the site saw a call of a tool, or what no
// client sends.
func wantUntouched(t *testing.T, site *theSite, when string) {
	t.Helper()
	for _, r := range seen(site) {
		t.Errorf("%s: the site saw %s %s", when, r.HTTPMethod, r.Target)
	}
	wantNoViolations(t, site, when)
}

func wantNoViolations(t *testing.T, site *theSite, when string) {
	t.Helper()
	if v := site.Violations(); len(v) > 0 {
		t.Errorf("%s: the site saw what no client sends: %v", when, v)
	}
}

// dialed is a plain connection to the listener tools.
func (s *stagedoor) dialed() net.Conn {
	s.t.Helper()
	c, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.Address("tools"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// over sends a request as it stands on a connection, and gives what comes back
// until that ends. A connection that breaks gives the status 0.
func over(c net.Conn, text string) httpAnswer {
	if _, err := io.WriteString(c, text); err != nil {
		return httpAnswer{Body: err.Error()}
	}
	return answerOn(c)
}

// answerOn reads an answer to its end.
func answerOn(c net.Conn) httpAnswer {
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return httpAnswer{Body: err.Error()}
	}
	defer res.Body.Close() //nolint:errcheck // only read
	var b bytes.Buffer
	if _, err := io.Copy(&b, res.Body); err != nil {
		return httpAnswer{Body: "after " + b.String() + ": " + err.Error()}
	}
	return httpAnswer{Status: res.StatusCode, Header: res.Header, Body: b.String()}
}

// certificateOf is a file with the certificate of a server.
func certificateOf(t *testing.T, srv *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "site-ca.pem")
	write(t, path, 0o644, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	return path
}

// storageSite is a site with a storage server beside it, to which clients
// upload directly. Its own address is in its links.
func storageSite(t *testing.T, o flowsite.Options) *theSite {
	t.Helper()
	o.DirectUploads = true
	site := startSite(t, o)
	srv, err := site.StartStorage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	site.StorageURL, site.StorageCA = srv.URL, filepath.Join(t.TempDir(), "storage-ca.pem")
	write(t, site.StorageCA, 0o644, string(srv.CAPEM))
	return site
}

// relayTo is the part of a configuration that turns the relay to a site's
// storage on.
func relayTo(site *theSite) string {
	return fmt.Sprintf("storage: {relay: true, hosts: [%q], ca: %q}\n", hostOf(site.StorageURL), site.StorageCA)
}
