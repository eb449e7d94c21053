package main_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stagedoor/flowsite"
	"stagedoor/handle"
	"stagedoor/internal/parts"
)

// place is one of the places in which a tool can send a session or a token.
type place struct {
	Name string
	// With is a call with a token in that place, that needs no more than the
	// rules of placeRules.
	With func(token string) request
	// Refused is how a handle that is no good is answered there: the status, and
	// what the body holds.
	Status int
	Says   string
}

const placeRules = `    sudo_as_login: [ann]
    allow: [{read: Shot}, {update: Shot.description}, {upload: Shot}, {download: Attachment}, {download: files}]
`

// places are all of them.
func places() []place {
	read := `{"type":"Shot","return_fields":["code"],"filters":{"logical_operator":"and","conditions":[]},"return_only":"active","paging":{"entities_per_page":1,"current_page":1}}`
	return []place{
		{
			Name: "an auth object", Status: 200, Says: `"error_code":102`,
			With: func(token string) request {
				return rpcRequest("read", fmt.Sprintf(`{"session_token":%q,"reject_if_expired":true}`, token), read)
			},
		},
		{
			Name: "an auth object beside a script", Status: 200, Says: `"error_code":102`,
			With: func(token string) request {
				return rpcRequest("read", fmt.Sprintf(`{"script_name":"comp-publisher","script_key":"x","session_token":%q}`, token), read)
			},
		},
		{
			Name: "a form", Status: 200, Says: "0:",
			With: func(token string) request {
				return formRequest("/upload/share_thumbnail", "entities=Shot_2&source_entity=Shot_1&filmstrip_thumbnail=False&session_token="+token+"&reject_if_expired=True")
			},
		},
		{
			Name: "a multipart form", Status: 200, Says: "0:",
			With: func(token string) request {
				return multipartRequest("/upload/upload_file", formPart{Name: "entity_type", Value: "Shot"}, formPart{Name: "entity_id", Value: "1"},
					formPart{Name: "session_token", Value: token}, formPart{Name: "reject_if_expired", Value: "True"},
					formPart{Name: "display_name", Value: "a"}, formPart{Name: "file", Filename: "a.txt", Value: "some bytes"})
			},
		},
		{
			Name: "a cookie", Status: 401, Says: "",
			With: func(token string) request {
				return request{Path: "/file_serve/attachment/801", Header: header("Cookie", "_session_id="+token)}
			},
		},
		{
			Name: "a bearer", Status: 401, Says: `"code":102`,
			With: func(token string) request {
				return request{Path: "/api/v1/entity/shots/1?fields=code", Header: header("Authorization", "Bearer "+token)}
			},
		},
	}
}

// fileSite is a site with a file, Attachment 801.
func fileSite(t *testing.T) *theSite {
	t.Helper()
	site := startSite(t, flowsite.Options{})
	if id := site.AddFile("a.txt", "text/plain", []byte(aText)); id != 801 {
		t.Fatalf("the first Attachment is %d", id)
	}
	return site
}

// aText is what is in that file.
var aText = strings.Repeat("<p>a line of text;\n", 500)

// A handle has the shape of the tokens that clients look into, and nothing in
// it that opens anything else.
func TestAHandleIsAJWTWithNothingSecretInIt(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := door(t, site, handleKey(t), placeRules)
	pair := s.tokens(aLogin)
	if pair.Type != "Bearer" || pair.Expires != 600 {
		t.Errorf("the token exchange gives %+v", pair)
	}
	all := map[string]string{"session": s.sessionHandle("tools"), "access": pair.Access, "refresh": pair.Refresh}
	for name, token := range all {
		c := jwtClaims(t, token)
		exp, _ := c["exp"].(float64)
		if !time.Unix(int64(exp), 0).After(time.Now()) {
			t.Errorf("%s ends at %v", name, c["exp"])
		}
		lacks(t, name, token)
		lacks(t, name+" decoded", fmt.Sprint(c))
	}
	if all["session"] == s.sessionHandle("tools") || pair.Access == s.tokens(aLogin).Access {
		t.Error("a handle was given out twice")
	}
	wantUntouched(t, site, "handles are ours alone")
}

// A handle is good in every place in which a tool can have it, and the site
// never sees it.
func TestAHandleIsGoodInEveryPlace(t *testing.T) {
	t.Parallel()
	site := fileSite(t)
	s := door(t, site, handleKey(t), placeRules)
	handles := map[string]string{"session": s.sessionHandle("tools"), "access": s.tokens(aLogin).Access}
	for use, token := range handles {
		for _, p := range places() {
			if p.Name == "an auth object beside a script" {
				continue // no client sends that
			}
			before := len(seen(site))
			if a := s.ask("tools", p.With(token)); a.Status >= 400 || a.refused() != "" || strings.HasPrefix(a.Body, "0:") || strings.Contains(a.Body, `"exception":true`) {
				t.Errorf("a handle of use %s in %s: %s", use, p.Name, a)
			}
			if len(seen(site)) == before {
				t.Errorf("a handle of use %s in %s: the site saw nothing", use, p.Name)
			}
		}
	}
	for _, r := range site.Received() {
		for use, token := range handles {
			if text := fmt.Sprint(r.Target, r.Header, string(r.Body), r.Params); strings.Contains(text, token) {
				t.Errorf("the site saw the handle of use %s in %s", use, r.Target)
			}
		}
	}
	wantNoViolations(t, site, "with handles")
	s.Stop()
	n := 0
	for _, r := range s.Records() {
		if r["ev"] == "intent" && r["caller_credential"] == "handle" {
			n++
		}
	}
	if n < len(places()) {
		t.Errorf("the audit log has %d calls with a handle", n)
	}
	for use, token := range handles {
		if strings.Contains(s.Audit()+s.Log(), token) {
			t.Errorf("the logs hold the handle of use %s", use)
		}
	}
}

// brokenHandles are handles that are none any more, by name; the other listener
// is called other.
func brokenHandles(t *testing.T, s *stagedoor, keyPath string) map[string]string {
	t.Helper()
	key, err := handle.KeyFile(keyPath, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := handle.New(handle.Fixed(key), time.Now, rand.Reader)
	sign := func(by *handle.Signer, h handle.Handle) string {
		token, err := by.Sign(h)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	other, err := handle.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	in := func(d time.Duration) time.Time { return time.Now().Add(d) }
	good := s.sessionHandle("tools")
	segments := strings.Split(good, ".")
	claims, err := base64.RawURLEncoding.DecodeString(segments[1])
	if err != nil {
		t.Fatal(err)
	}
	widened := strings.Replace(string(claims), "comp-publisher", "scene-opener", 1)
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"stagedoor","typ":"JWT"}`))
	return map[string]string{
		"expired":                  sign(signer, handle.Handle{Script: "comp-publisher", Listener: "tools", Use: handle.UseSession, Expires: in(-time.Hour)}),
		"an expired access":        sign(signer, handle.Handle{Script: "comp-publisher", Listener: "tools", Use: handle.UseAccess, Expires: in(-time.Second)}),
		"another listener's":       s.sessionHandle("other"),
		"a script not served here": sign(signer, handle.Handle{Script: "scene-opener", Listener: "tools", Use: handle.UseSession, Expires: in(time.Hour)}),
		"signed with another key":  sign(handle.New(handle.Fixed(other), time.Now, rand.Reader), handle.Handle{Script: "comp-publisher", Listener: "tools", Use: handle.UseSession, Expires: in(time.Hour)}),
		"widened":                  segments[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(widened)) + "." + segments[2],
		"of another letter":        flipped(good),
		"without a signature":      segments[0] + "." + segments[1] + ".",
		"of no algorithm":          none + "." + segments[1] + ".",
		"cut":                      good[:len(good)-1],
		"a refresh":                s.tokens(aLogin).Refresh,
	}
}

// flipped is a token with another letter in the middle of its signature.
func flipped(token string) string {
	at := len(token) - 20
	with := "A"
	if token[at] == 'A' {
		with = "B"
	}
	return token[:at] + with + token[at+1:]
}

// What has the form of a handle and is none is refused with 102, so that the
// tool asks for another, and is never taken for the bare script that the tool
// could have used without it. The site is never asked.
func TestAHandleThatIsNoneIsRefusedAndNeverDowngraded(t *testing.T) {
	t.Parallel()
	site := fileSite(t)
	keyPath := filepath.Join(t.TempDir(), "handle.key")
	config := scriptConfig(site, "file: "+keyFile(t), "handles: {file: "+keyPath+"}\n") + placeRules
	config = strings.Replace(config, "listen: [", "listen: [{address: 127.0.0.1:0, name: other, identity: none}, ", 1)
	s := serve(t, config)
	for what, token := range brokenHandles(t, s, keyPath) {
		for _, p := range places() {
			a := s.ask("tools", p.With(token))
			if a.Status != p.Status || !strings.Contains(a.Body, p.Says) || a.refused() == "" {
				t.Errorf("%s, in %s: %s", what, p.Name, a)
			}
			if strings.Contains(a.Body, token) {
				t.Errorf("%s, in %s: the answer repeats it", what, p.Name)
			}
		}
	}
	wantUntouched(t, site, "with handles that are none")
	for _, grant := range []string{"refresh_token&refresh_token=", "refresh&refresh_token=", "session_token&session_token="} {
		for what, token := range brokenHandles(t, s, keyPath) {
			if what == "a refresh" && strings.HasPrefix(grant, "refresh") {
				continue // there it is at home
			}
			a := s.ask("tools", formRequest("/api/v1/auth/access_token", "grant_type="+grant+token))
			if a.Status != 400 && a.Status != 401 || !strings.Contains(a.Body, `"code":102`) {
				t.Errorf("%s, to grant %s: %s", what, grant, a)
			}
		}
	}
	wantUntouched(t, site, "with grants that are none")
}

// A token that is not in our form is what tools send that never had one.
func TestAPlaceholderSaysNothing(t *testing.T) {
	t.Parallel()
	site := fileSite(t)
	s := door(t, site, handleKey(t), placeRules)
	foreign := "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJhY21lIn0.c2lnbmF0dXJl"
	for _, token := range []string{"dummy", "x", strings.Repeat("0123456789abcdef", 2), foreign} {
		for _, p := range places() {
			if a := s.ask("tools", p.With(token)); a.Status >= 400 || a.refused() != "" || strings.HasPrefix(a.Body, "0:") {
				t.Errorf("%q in %s: %s", token, p.Name, a)
			}
		}
	}
	for _, r := range site.Received() {
		if strings.Contains(fmt.Sprint(r.Header, string(r.Body)), foreign) || strings.Contains(string(r.Body), "dummy") {
			t.Errorf("the site saw a placeholder in %s", r.Target)
		}
	}
	wantNoViolations(t, site, "with placeholders")
}

// A tool that holds nothing but a handle outlives a restart, as long as the key
// is kept; one that was signed with a key in memory is refused, with the code
// that makes a tool ask again.
func TestAHandleOutlivesARestart(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	for config, want := range map[string]string{handleKey(t): "Shot", "handles: {memory: true}\n": "AuthenticationFault"} {
		before := door(t, site, config, placeRules)
		token, pair := before.sessionHandle("tools"), before.tokens(aLogin)
		before.Stop()
		after := door(t, site, config, placeRules)
		for _, version := range clients() {
			p := startTool(t, version, after.base("tools"), `script_name=null`, `api_key=null`, fmt.Sprintf("session_token=%q", token))
			if got := p.Do(`sg.find_one('Shot', [['id', 'is', 1]])['type']`).String(); !strings.Contains(got, want) {
				t.Errorf("%s: %s: after a restart: %s", config, version, got)
			}
		}
		a := after.ask("tools", request{Path: "/api/v1/entity/shots/1?fields=code", Header: header("Authorization", "Bearer "+pair.Access)})
		r := after.ask("tools", formRequest("/api/v1/auth/access_token", "grant_type=refresh&refresh_token="+pair.Refresh))
		if ok := want == "Shot"; (a.Status == 200) != ok || (r.Status == 200) != ok {
			t.Errorf("%s: after a restart a bearer gets %s\nand a refresh %s", config, a, r)
		}
		after.Stop()
	}
}

// Where the configuration says nothing of it, the key is kept with the state of
// the user that Stagedoor runs as.
func TestTheHandleKeyIsKeptByDefault(t *testing.T) {
	t.Parallel()
	site, home := startSite(t, flowsite.Options{}), t.TempDir()
	config := scriptConfig(site, "file: "+keyFile(t), "") + placeRules
	before := serveIn(t, home, nil, config)
	token := before.sessionHandle("tools")
	before.Stop()
	after := serveIn(t, home, nil, config)
	if a := after.ask("tools", places()[0].With(token)); a.refused() != "" || !strings.Contains(a.Body, "harbour_sq01_0010") {
		t.Errorf("after a restart: %s", a)
	}
	info, err := os.Stat(filepath.Join(home, ".local", "state", "stagedoor", "handle.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key is kept as %v, %v", info, err)
	}
}

// A reload that can't read the key, or doesn't find it, keeps the one in force:
// a new one would make void what tools hold.
func TestAReloadKeepsTheHandleKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "handle.key")
	s := door(t, startSite(t, flowsite.Options{}), fmt.Sprintf("handles: {file: %q}\n", path), placeRules)
	token := s.sessionHandle("tools")
	for i, spoil := range []func() error{
		func() error { return os.Chmod(path, 0o644) },
		func() error { return os.Remove(path) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		s.Signal(syscall.SIGHUP)
		s.AwaitLog([]string{"the handle key can't be read now", "the file of the handle key can't be looked at"}[i])
		if a := s.ask("tools", places()[0].With(token)); a.refused() != "" {
			t.Errorf("after a reload: %s", a)
		}
	}
}

// A key in Vault is shared: what one proxy gave out another takes.
func TestProxiesShareAHandleKeyInVault(t *testing.T) {
	t.Parallel()
	v := parts.Vault(t, parts.VaultOptions{InMemory: true})
	top := vaultKey(t, v) + "handles: {vault: stagedoor/handles#key}\n"
	v.Put("stagedoor/handles", map[string]any{"key": strings.Repeat("0123456789abcdef", 4)})
	v.ReadPolicy("stagedoor", "kv/data/scripts/comp-publisher", "kv/data/stagedoor/handles")
	site := startSite(t, flowsite.Options{})
	config := scriptConfig(site, "active: scripts/comp-publisher", top) + placeRules
	one, other := serve(t, config), serve(t, config)
	pair := one.tokens(aLogin)
	for _, r := range []request{
		places()[0].With(one.sessionHandle("tools")),
		{Path: "/api/v1/entity/shots/1?fields=code", Header: header("Authorization", "Bearer "+pair.Access)},
		formRequest("/api/v1/auth/access_token", "grant_type=refresh_token&refresh_token="+pair.Refresh),
	} {
		if a := other.ask("tools", r); a.Status != 200 || a.refused() != "" {
			t.Errorf("%s at another proxy: %s", r.Path, a)
		}
	}
	if _, out, _ := run(t, "check", "--config", one.Config); !strings.Contains(out, "their key is in Vault at stagedoor/handles, version 1") {
		t.Errorf("check says:\n%s", out)
	}
	v.Put("stagedoor/handles", map[string]any{"other": "x"})
	if code, out, _ := run(t, "check", "--config", one.Config); code != 1 || !strings.Contains(out, "FAIL  handles") {
		t.Errorf("check of a place without the field: exit code %d\n%s", code, out)
	}
}

// The key file is made with nobody's right but ours, and is not shown.
func TestTheHandleKeyIsOursAlone(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	path := filepath.Join(t.TempDir(), "handle.key")
	s := door(t, site, "handles: {file: "+path+"}\n", placeRules)
	token := s.sessionHandle("tools")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key file has mode %v", info.Mode())
	}
	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, metrics := s.Get("/metrics")
	s.Stop()
	for where, text := range map[string]string{"a handle": token, "the log": s.Log(), "the audit log": s.Audit(), "the metrics": metrics} {
		if names := spelled(text, strings.TrimSpace(string(key))); names != nil {
			t.Errorf("%s holds the handle key, spelled as %v", where, names)
		}
	}
}

// A handle acts as the login that it was given out for, which was granted then
// and has to be granted still.
func TestAHandleActsAsTheLoginItWasGivenFor(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := door(t, site, handleKey(t), placeRules)
	a := s.ask("tools", rpcRequest("get_session_token", `{"sudo_as_login":"ben"}`, ""))
	if a.refused() == "" || !strings.Contains(a.Body, `"error_code":104`) {
		t.Errorf("a session as somebody who is not granted: %s", a)
	}
	a = s.ask("tools", formRequest("/api/v1/auth/access_token", aLogin+"&scope=sudo_as_login:ben"))
	if a.refused() == "" || a.Status != 403 && a.Status != 400 {
		t.Errorf("a bearer as somebody who is not granted: %s", a)
	}
	a = s.ask("tools", rpcRequest("get_session_token", `{"sudo_as_login":"ann"}`, ""))
	_, rest, _ := strings.Cut(a.Body, `"session_id":"`)
	token, _, _ := strings.Cut(rest, `"`)
	bearer := s.tokens(aLogin + "&scope=sudo_as_login:ann").Access
	rpc := rpcRequest("update", fmt.Sprintf(`{"session_token":%q}`, token), `{"type":"Shot","id":1,"fields":[{"field_name":"description","value":"as ann"}]}`)
	rest2 := jsonRequest(http.MethodPut, "/api/v1/entity/shots/2", `{"description":"as ann"}`)
	rest2.Header.Set("Authorization", "Bearer "+bearer)
	for _, r := range []request{rpc, rest2} {
		if a := s.ask("tools", r); a.Status != 200 || a.refused() != "" || strings.Contains(a.Body, `"exception":true`) {
			t.Errorf("%s: %s", r.Path, a)
		}
	}
	if n := strings.Count(string(site.Snapshot()), `"sudo_actual_user"`); n != 2 {
		t.Errorf("the site has %d changes made as another:\n%s", n, shortened(string(site.Snapshot())))
	}
	rewrite(t, s, "sudo_as_login: [ann]", "sudo_as_login: [cleo]")
	s.Signal(syscall.SIGHUP)
	s.AwaitAudit(`"ev":"reload"`)
	before := len(seen(site))
	for _, r := range []request{rpc, rest2} {
		if a := s.ask("tools", r); a.refused() == "" {
			t.Errorf("%s, when ann is granted no more: %s", r.Path, a)
		}
	}
	if n := len(seen(site)); n != before {
		t.Errorf("the site saw %d calls as ann, who is granted no more", n-before)
	}
}

// On a listener with several scripts a handle says whose it is, where nothing
// else can.
func TestAHandleNamesItsScript(t *testing.T) {
	t.Parallel()
	site := fileSite(t)
	const openerKey = "another k3y of this site, 0123456789"
	site.AddScript("scene-opener-2026", openerKey, flowsite.RoleAdmin())
	path := filepath.Join(t.TempDir(), "opener.json")
	write(t, path, 0o600, fmt.Sprintf(`{"script_name":"scene-opener-2026","api_key":%q}`, openerKey))
	config := strings.Replace(scriptConfig(site, "file: "+keyFile(t), handleKey(t)), "identity: none", "identity: none, shared: true", 1)
	s := serve(t, config+placeRules+"  scene-opener:\n    file: "+path+"\n    allow: [{read: Shot}, {download: Attachment}]\n")
	a := s.ask("tools", rpcRequest("get_session_token", `{"script_name":"scene-opener","script_key":"x"}`, ""))
	opener, bearer := textAt(t, a.Body, "results", "session_id"), s.tokens("grant_type=client_credentials&client_id=scene-opener&client_secret=x").Access
	for _, p := range places() {
		if !strings.Contains(p.Name, "object") && p.Name != "a cookie" && p.Name != "a bearer" || strings.Contains(p.Name, "beside") {
			continue // what scene-opener may not do, and what names another
		}
		for _, token := range []string{opener, bearer} {
			site.ResetRecord()
			a := s.ask("tools", p.With(token))
			all := seen(site)
			if a.refused() != "" || len(all) != 1 || all[0].Script != "scene-opener-2026" {
				t.Errorf("%s: the site saw %v: %s", p.Name, all, a)
			}
		}
		if a := s.ask("tools", p.With("dummy")); a.refused() != "script_unnamed" {
			t.Errorf("%s, with no name: %s", p.Name, a)
		}
	}
	// The name of another beside it is refused, or changes nothing.
	site.ResetRecord()
	both := rpcRequest("update", fmt.Sprintf(`{"script_name":"comp-publisher","script_key":"x","session_token":%q}`, opener), `{"type":"Shot","id":1,"fields":[{"field_name":"description","value":"a"}]}`)
	if a := s.ask("tools", both); a.refused() == "" {
		t.Errorf("a handle beside the name of another script: %s", a)
	}
	wantUntouched(t, site, "with two names")
}

// However many downloads wait for a session, the site is asked for one.
func TestASessionIsFetchedOnceForAllWhoWait(t *testing.T) {
	t.Parallel()
	const tools = 12
	site := fileSite(t)
	hold := make(chan struct{})
	var let sync.Once
	release := func() { let.Do(func() { close(hold) }) }
	t.Cleanup(release)
	site.Fail(flowsite.Fault{Method: "get_session_token", Hold: hold}, 0)
	s := door(t, site, handleKey(t), "    limit: {rate: 1000/s, burst: 1000, in_flight: 64}\n"+placeRules)
	got := make(chan httpAnswer, tools)
	for range tools {
		c := s.dialed()
		go func() {
			got <- over(c, "GET /file_serve/attachment/801 HTTP/1.1\r\nHost: "+s.Address("tools")+"\r\nConnection: close\r\n\r\n")
		}()
	}
	s.awaitMetric(fmt.Sprintf(`stagedoor_in_flight{script="comp-publisher"} %d`, tools))
	release()
	for range tools {
		if a := <-got; a.Status != 200 && a.Status != 302 {
			t.Errorf("a download that waited: %s", a)
		}
	}
	n := 0
	for _, r := range site.Received() {
		if r.Method == "get_session_token" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the site was asked for %d sessions", n)
	}
}

// The site's own ways to give out credentials, and its web pages, are nobody's
// way in; what Toolkit tells of its use is dropped.
func TestWebRoutesAreRefusedAndNeverForwarded(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := door(t, site, handleKey(t), everyDoor)
	token := s.sessionHandle("tools")
	calls := site.Calls()
	for _, r := range []request{
		formRequest("/api3/sgtk_install_script", "session_token="+token),
		formRequest("/api3/sgtk_install_script/", "session_token="+token),
		{Path: "/internal_api/session", Header: header("Cookie", "_session_id="+token)},
		{Verb: "PUT", Path: "/internal_api/session"},
		{Verb: "POST", Path: "/internal_api/app_session_request"},
		{Path: "/internal_api/app_session_request/1"},
		{Verb: "PUT", Path: "/internal_api/app_session_request/1"},
		{Path: "/internal_api/autodesk_identity/license_renewal"},
		{Path: "/user/login"},
		formRequest("/user/login", "user[login]=ann&user[password]=x"),
		{Path: "/"},
		{Path: "/page/900"},
		{Path: "/detail/Shot/1"},
		{Path: "/saml/saml_login_request"},
		{Path: "/api2"},
		{Path: "/api3"},
		{Path: "/api3/json"},
		{Path: "/api/v2"},
		{Path: "/api"},
		{Path: "/crud/requests"},
		{Path: "/upload/upload_file"},
		{Path: "/upload/no_such"},
		formRequest("/upload/no_such", "entity_type=Shot&entity_id=1"),
		{Path: "/file_serve/version/1/../../../user/login"},
		{Path: "/file_serve/%2e%2e/user/login"},
		{Path: "/files//etc"},
		{Verb: "POST", Path: "/file_serve/attachment/801"},
		{Verb: "DELETE", Path: "/thumbnail/full/Shot/1"},
		{Verb: "OPTIONS", Path: "/file_serve/attachment/801"},
		{Verb: "OPTIONS", Path: "/api/v1/entity/shots/1"},
	} {
		a := s.ask("tools", r)
		if a.Status < 400 || a.refused() == "" || strings.Contains(a.String(), "Access-Control") {
			t.Errorf("%s %s: %s", r.Verb, r.Path, a)
		}
	}
	a := s.ask("tools", jsonRequest(http.MethodPost, "/api3/track_metrics/", fmt.Sprintf(`{"auth_args":{"session_token":%q},"metrics":[{"event_name":"Launched"}]}`, token)))
	if a.Status != 200 || strings.TrimSpace(a.Body) != "{}" {
		t.Errorf("what Toolkit tells of its use: %s", a)
	}
	if n := site.Calls(); n != calls {
		t.Errorf("the site saw %d of them: %v", n-calls, site.Received()[calls:])
	}
}

// The site's cookies reach nobody, and nobody's cookies and tokens reach the
// site, on any way in.
func TestNoCookieGoesThroughInEitherDirection(t *testing.T) {
	t.Parallel()
	site := fileSite(t)
	s := door(t, site, handleKey(t), everyDoor)
	const stolen = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
	for _, p := range places() {
		r := p.With("dummy")
		r.Header = r.Header.Clone()
		r.Header.Set("Cookie", "_session_id="+stolen+"; other="+stolen)
		r.Header.Set("Authorization", "Bearer "+stolen)
		r.Header.Set("X-Api-Key", stolen)
		r.Header.Set("Proxy-Authorization", "Basic "+stolen)
		a := s.ask("tools", r)
		if a.Status >= 400 || a.refused() != "" {
			t.Errorf("%s: %s", p.Name, a)
		}
		if a.Header.Get("Set-Cookie") != "" || strings.Contains(a.String(), flowsite.CookieCanary) {
			t.Errorf("%s: the tool is given the site's cookie: %s", p.Name, a)
		}
	}
	if len(seen(site)) < len(places()) {
		t.Errorf("the site saw %d calls only", len(seen(site)))
	}
	for _, r := range site.Received() {
		if strings.Contains(fmt.Sprint(r.Header, string(r.Body), r.Target), stolen) {
			t.Errorf("the site saw a tool's token in %s: %v", r.Target, r.Header)
		}
	}
	wantNoViolations(t, site, "with cookies")
}
