package proxy_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"stagedoor/audit"
	"stagedoor/handle"
	"stagedoor/policy"
	"stagedoor/proxy"
	"stagedoor/secret"
	"stagedoor/upstream"
)

const (
	session1 = "5e55104a-first-session-0123456789"
	session2 = "5e55104b-second-session-0123456789"
)

// get asks for a path, with headers in pairs.
func (s *stage) get(path string, headers ...string) result {
	s.t.Helper()
	return s.do(http.MethodGet, path, "", headers...)
}

func (s *stage) do(verb, path, body string, headers ...string) result {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), verb, s.base+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := s.client.Do(req)
	if err != nil {
		return result{body: err.Error()}
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return result{body: err.Error()}
	}
	return result{res.StatusCode, res.Header, string(b)}
}

// fileSite gives sessions out in turn, and files to who has the last one.
type fileSite struct {
	mu     sync.Mutex
	tokens []string // the last that was given out is good
	minted int
	serve  http.HandlerFunc
}

func (f *fileSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Set-Cookie", "_session_id="+session1)
	if r.URL.Path == "/api3/json" {
		f.minted++
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"results":{"session_id":%q}}`, f.tokens[min(f.minted, len(f.tokens))-1])
		return
	}
	if c, err := r.Cookie("_session_id"); err != nil || c.Value != f.tokens[len(f.tokens)-1] {
		w.Header().Set("Location", "/user/login?return_path="+url.QueryEscape(r.URL.Path))
		w.WriteHeader(http.StatusFound)
		_, _ = io.WriteString(w, "<html>please log in</html>")
		return
	}
	f.serve(w, r)
}

func TestADownloadGoesWithASessionOfOurOwn(t *testing.T) {
	site := &fileSite{tokens: []string{session1}, serve: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("Etag", `"e1"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("ABCDEFGHIJKLMNOPQRSTUVWXYZ!!!!!!!!!!"))
	}}
	s := start(t, site.ServeHTTP)
	got := s.get("/file_serve/attachment/12", "Cookie", "_session_id=whatever; a=b", "Range", "bytes=2-21")
	if got.status != http.StatusPartialContent || got.body != "CDEFGHIJKLMNOPQRSTUV" || got.header.Get("Content-Range") != "bytes 2-21/36" || got.header.Get("Etag") != `"e1"` {
		t.Fatalf("%+v", got)
	}
	if got.header.Get("Set-Cookie") != "" {
		t.Error("the site's cookie was passed on")
	}
	if again := s.get("/file_serve/attachment/12"); len(again.body) != 36 || again.header.Get("Content-Length") != "36" {
		t.Errorf("%+v", again)
	}
	if site.minted != 1 {
		t.Errorf("%d sessions for two downloads", site.minted)
	}
	for _, e := range s.audit.all() {
		if e.Kind == audit.Intent && e.Method == "download" && e.Rule != "t.yaml:5" {
			t.Errorf("recorded %+v", e)
		}
	}
}

func TestASessionThatEndedIsReplacedAndTheLoginPageNeverReachesTheTool(t *testing.T) {
	site := &fileSite{tokens: []string{session1, session2}, serve: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "the file")
	}}
	s := start(t, site.ServeHTTP)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if got := s.get("/file_serve/attachment/12"); got.status != 200 || got.body != "the file" {
				t.Errorf("%+v", got)
			}
		})
	}
	wait.Wait()
	if site.minted != 2 {
		t.Errorf("%d sessions were asked for, not one and one more", site.minted)
	}
}

func TestASessionThatIsNeverAcceptedIsARefusal(t *testing.T) {
	site := &fileSite{tokens: []string{session1, "another"}, serve: nil}
	site.tokens = append(site.tokens[:1], "never-given-out-0123456789")
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api3/json" {
			r.Header.Del("Cookie")
		}
		site.ServeHTTP(w, r)
	})
	got := s.get("/file_serve/attachment/12")
	if got.status != http.StatusFailedDependency || got.header.Get("Stagedoor-Refused") != string(proxy.KeyRefused) || strings.Contains(got.body, "html") {
		t.Errorf("%+v", got)
	}
	if got.header.Get("Location") != "" {
		t.Error("the way to the login page was passed on")
	}
}

func TestRedirectsOfFilesLeadToStorageOrBackToUs(t *testing.T) {
	for _, tt := range []struct{ location, want string }{
		{"https://bucket.s3.example/a?X-Amz-Signature=1", "https://bucket.s3.example/a?X-Amz-Signature=1"},
		{"/files/0001/a.png", "HERE/files/0001/a.png"},
		{"SITE/images/a.png", "HERE/images/a.png"},
		{"SITE/page/12", ""},
		{"/page/12", ""},
		{"http://bucket.s3.example/a", ""},
	} {
		t.Run(tt.location, func(t *testing.T) {
			site := &fileSite{tokens: []string{session1}}
			var origin string
			s := start(t, site.ServeHTTP, func(st *proxy.State, _ *proxy.Listener) { origin = st.Origin })
			site.serve = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", strings.Replace(tt.location, "SITE", origin, 1))
				w.WriteHeader(http.StatusFound)
			}
			got := s.get("/file_serve/attachment/12")
			if want := strings.Replace(tt.want, "HERE", s.base, 1); got.header.Get("Location") != want {
				t.Errorf("%d to %q", got.status, got.header.Get("Location"))
			}
			if tt.want == "" && (got.status != 500 || got.header.Get("Stagedoor-Refused") != string(proxy.SiteRedirect)) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestAnEchoInAFileIsOverwritten(t *testing.T) {
	site := &fileSite{tokens: []string{session1}, serve: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="`+session1+`"`)
		_, _ = io.WriteString(w, "before "+session1+" and "+key1+" after")
	}}
	s := start(t, site.ServeHTTP)
	got := s.get("/file_serve/attachment/12")
	if want := "before " + strings.Repeat("*", len(session1)) + " and " + strings.Repeat("*", len(key1)) + " after"; got.body != want {
		t.Errorf("%q", got.body)
	}
	if strings.Contains(fmt.Sprint(got.header), session1) {
		t.Errorf("%v", got.header)
	}
}

func TestDownloadsAreRefusedWithoutARule(t *testing.T) {
	s := start(t, func(http.ResponseWriter, *http.Request) { t.Error("a refused call reached the site") })
	for _, path := range []string{"/thumbnail/full/Version/3", "/images/a.png", "/files/1/a.png", "/file_serve/version/3/mp4"} {
		got := s.get(path)
		if got.status != http.StatusForbidden || got.header.Get("Stagedoor-Refused") != string(proxy.NoRule) || !strings.Contains(got.body, "- download: ") {
			t.Errorf("%s: %+v", path, got)
		}
	}
	for _, path := range []string{
		"/user/login", "/api3/sgtk_install_script", "/internal_api/session", "/page/1", "/", "/api/v2/entity/Shot", "/upload/other",
		"/file_serve/attachment/1/../2", "/file_serve/attachment/1%2f", "/files/a/%2e%2e/b", "/images/a%00b", "/upload/get_thumbnail_url",
	} {
		if got := s.get(path); got.status != http.StatusNotFound && got.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

// formFile is an upload as the Python client sends it.
func formFile(t *testing.T, field string, size int) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for _, kv := range [][2]string{
		{"entity_type", "Version"},
		{"entity_id", "7"},
		{"script_name", "pub"},
		{"script_key", "x"},
		{"field_name", field},
		{"display_name", "a.mov"},
	} {
		if err := m.WriteField(kv[0], kv[1]); err != nil {
			t.Fatal(err)
		}
	}
	w, err := m.CreateFormFile("file", "a.mov")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(bytes.Repeat([]byte("0123456789abcdef"), size/16))
	_ = m.Close()
	return m.FormDataContentType(), b.Bytes()
}

func TestAnUploadGoesOnWithTheKeyInPlace(t *testing.T) {
	var fields map[string][]string
	var size int
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(8 << 20); err != nil {
			t.Error(err)
			return
		}
		fields = r.MultipartForm.Value
		size = int(r.MultipartForm.File["file"][0].Size)
		_, _ = io.WriteString(w, "1:42\nok "+key1)
	})
	contentType, body := formFile(t, "sg_uploaded_movie", 4<<20)
	got := s.do(http.MethodPost, "/upload/upload_file", string(body), "Content-Type", contentType)
	if got.status != 200 || !strings.HasPrefix(got.body, "1:42\n") || strings.Contains(got.body, key1) {
		t.Fatalf("%+v", got)
	}
	if size != 4<<20 || fmt.Sprint(fields["script_key"], fields["script_name"], fields["field_name"]) != "["+key1+"] [pub-2026] [sg_uploaded_movie]" {
		t.Errorf("the site got %d bytes and %v", size, fields)
	}
	e := s.audit.all()
	if e[0].Rule != "t.yaml:4" || e[0].Method != "upload_file" || e[1].BytesIn != 0 && e[1].Result != audit.ResultOK {
		t.Errorf("%+v", e)
	}
}

func TestARefusedUploadIsReadToItsEndAndSaysWhy(t *testing.T) {
	s := start(t, func(http.ResponseWriter, *http.Request) { t.Error("a refused upload reached the site") })
	contentType, body := formFile(t, "description", 32<<20)
	got := s.do(http.MethodPost, "/upload/upload_file", string(body), "Content-Type", contentType)
	if got.status != 200 || !strings.HasPrefix(got.body, "0:Stagedoor: pub may not upload to Version.description; no rule allows it") ||
		got.header.Get("Stagedoor-Refused") != string(proxy.NoRule) || !strings.Contains(got.body, "- upload: Version.description") {
		t.Errorf("%+v", got)
	}
}

func TestACallerThatDiesMidwayLeavesNoCompleteUpload(t *testing.T) {
	ended := make(chan int64, 1)
	s := start(t, nil, startRaw(t, func(c net.Conn) {
		n, _ := io.Copy(io.Discard, c) // however it ends
		ended <- n
	}))
	contentType, body := formFile(t, "sg_uploaded_movie", 4<<20)
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintf(c, "POST /upload/upload_file HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", strings.TrimPrefix(s.base, "http://"), contentType, len(body))
	_, _ = c.Write(body[:2<<20])
	_ = c.Close()
	if n := <-ended; n == 0 || n >= int64(len(body)) {
		t.Errorf("the site got %d bytes of a form of %d", n, len(body))
	}
}

func TestATokenIsAHandleAndWorksEverywhere(t *testing.T) {
	site := &fileSite{tokens: []string{session1}, serve: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the file") }}
	s := start(t, site.ServeHTTP)
	got := s.post(`{"method_name":"get_session_token","params":[{"script_name":"pub","script_key":"x"}]}`)
	var answer struct {
		Results struct {
			ID string `json:"session_id"`
		} `json:"results"`
	}
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil || strings.Count(answer.Results.ID, ".") != 2 {
		t.Fatalf("%v %+v", err, got)
	}
	if site.minted != 0 {
		t.Error("the site was asked for a session that nobody needs yet")
	}
	token := answer.Results.ID
	if r := s.post(strings.Replace(readShot, `"script_name":"pub","script_key":"x"`, `"session_token":"`+token+`","reject_if_expired":true`, 1)); r.header.Get("Stagedoor-Refused") != "" {
		t.Errorf("as session_token: %+v", r)
	}
	if r := s.get("/file_serve/attachment/1", "Cookie", "_session_id="+token); r.body != "the file" {
		t.Errorf("as cookie: %+v", r)
	}
	for _, sent := range s.received() {
		if strings.Contains(sent, token) {
			t.Error("the handle was sent to the site")
		}
	}
	for _, e := range s.audit.all() {
		if e.Method == "download" && e.Kind == audit.Intent && e.CallerCredential != audit.CredHandle {
			t.Errorf("%+v", e)
		}
	}
}

func TestAHandleThatIsNotGoodIsRefusedAndNeverTakenForNone(t *testing.T) {
	h := testHandles()
	sign := func(edit func(*handle.Handle)) string {
		v := handle.Handle{Script: "pub", Listener: "local", Use: handle.UseSession, Expires: time.Now().Add(time.Hour)}
		edit(&v)
		token, err := h.Sign(v)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good := sign(func(*handle.Handle) {})
	s := start(t, func(http.ResponseWriter, *http.Request) { t.Error("a refused call reached the site") })
	for name, token := range map[string]string{
		"expired":          sign(func(v *handle.Handle) { v.Expires = time.Now().Add(-time.Minute) }),
		"another listener": sign(func(v *handle.Handle) { v.Listener = "other" }),
		"another script":   sign(func(v *handle.Handle) { v.Script = "secret-one" }),
		"refresh":          sign(func(v *handle.Handle) { v.Use = handle.UseRefresh }),
		"damaged":          good[:len(good)-2],
		"sudo ungranted":   sign(func(v *handle.Handle) { v.Sudo = "eve" }),
	} {
		got := s.post(`{"method_name":"read","params":[{"session_token":"` + token + `"},{"type":"Shot","return_fields":["code"]}]}`)
		want := string(proxy.BadHandle)
		if name == "sudo ungranted" {
			want = string(proxy.Sudo)
		}
		if got.header.Get("Stagedoor-Refused") != want {
			t.Errorf("%s: %+v", name, got)
		}
		if r := s.get("/file_serve/attachment/1", "Cookie", "_session_id="+token); r.header.Get("Stagedoor-Refused") != want {
			t.Errorf("%s as cookie: %+v", name, r)
		}
		if r := s.get("/api/v1/entity/Shot", "Authorization", "Bearer "+token); r.header.Get("Stagedoor-Refused") != want {
			t.Errorf("%s as bearer: %+v", name, r)
		}
	}
}

const bearer1 = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjk5OTk5OTk5OTl9.c2lnbmF0dXJlLW9uZQ"

// restSite answers REST calls with its one bearer.
func restSite(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		switch {
		case strings.HasSuffix(r.URL.Path, "/auth/access_token"):
			_, _ = fmt.Fprintf(w, `{"token_type":"Bearer","access_token":%q,"expires_in":600,"refresh_token":"r.r.r"}`, bearer1)
		case r.Header.Get("Authorization") != "Bearer "+bearer1:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errors":[{"status":401,"code":102,"title":"Unauthorized","detail":"Token invalid"}]}`)
		default:
			_, _ = io.WriteString(w, answer)
		}
	}
}

func TestRESTGoesWithABearerOfOurOwn(t *testing.T) {
	s := start(t, restSite(`{"data":[{"type":"Shot","id":1,"attributes":{"code":"`+bearer1+`"}}]}`))
	got := s.get("/api/v1/entity/shots?fields=code")
	if got.status != 200 || strings.Contains(got.body, bearer1) || !strings.Contains(got.body, `"type":"Shot"`) {
		t.Fatalf("%+v", got)
	}
	bodies := s.received()
	if len(bodies) != 2 || !strings.Contains(bodies[0], "grant_type=client_credentials") || !strings.Contains(bodies[0], url.QueryEscape(key1)) {
		t.Errorf("sent %q", bodies)
	}
	if got := s.get("/api/v1.1/entity/tasks?fields=content"); got.status != http.StatusForbidden || !strings.Contains(got.body, `"errors"`) || !strings.Contains(got.body, "pub may not read Task.content") {
		t.Errorf("%+v", got)
	}
}

func TestTheTokenExchangeIsAnsweredHere(t *testing.T) {
	s := start(t, restSite(`{"data":[]}`))
	got := s.do(http.MethodPost, "/api/v1/auth/access_token", "grant_type=client_credentials&client_id=pub&client_secret=x", "Content-Type", "application/x-www-form-urlencoded", "Accept", "application/json")
	var pair struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Expires int    `json:"expires_in"`
		Type    string `json:"token_type"`
	}
	if err := json.Unmarshal([]byte(got.body), &pair); err != nil || pair.Expires != 600 || pair.Type != "Bearer" || len(s.received()) != 0 {
		t.Fatalf("%v %+v", err, got)
	}
	if r := s.get("/api/v1/entity/shots?fields=code", "Authorization", "Bearer "+pair.Access); r.status != 200 {
		t.Errorf("%+v", r)
	}
	again := s.do(http.MethodPost, "/api/v1/auth/access_token?grant_type=refresh&refresh_token="+pair.Refresh, "")
	if again.status != 200 || !strings.Contains(again.body, "access_token") {
		t.Errorf("%+v", again)
	}
	if r := s.do(http.MethodPost, "/api/v1/auth/access_token?grant_type=refresh_token&refresh_token="+pair.Access, ""); r.status != 401 {
		t.Errorf("an access token was taken for a refresh token: %+v", r)
	}
	if r := s.do(http.MethodPost, "/api/v1/auth/access_token", "grant_type=password&username=ann&password=hunter22", "Content-Type", "application/x-www-form-urlencoded"); r.status != 400 || r.header.Get("Stagedoor-Refused") != string(proxy.UserAuth) {
		t.Errorf("%+v", r)
	}
}

func TestAnEndedBearerIsReplacedOnceAndTheCallMadeAgain(t *testing.T) {
	var minted, called atomic.Int32
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if strings.HasSuffix(r.URL.Path, "/auth/access_token") {
			_, _ = fmt.Fprintf(w, `{"token_type":"Bearer","access_token":"aaaaaaaa.bbbbbbbbbbb.number-%d","expires_in":600,"refresh_token":"r"}`, minted.Add(1))
			return
		}
		if !strings.HasSuffix(r.Header.Get("Authorization"), ".number-2") {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"errors":[{"status":401,"code":102,"detail":"Token Expired"}]}`)
			return
		}
		called.Add(1)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"data":{"type":"Shot","id":9,"attributes":{"code":"a"}}}`)
	})
	got := s.do(http.MethodPost, "/api/v1/entity/shots", `{"code":"a"}`, "Content-Type", "application/json")
	if got.status != http.StatusCreated || called.Load() != 1 || minted.Load() != 2 {
		t.Errorf("%d calls, %d tokens, %+v", called.Load(), minted.Load(), got)
	}
}

func TestAWriteByRESTThatMayHaveHappenedIsAConflict(t *testing.T) {
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/auth/access_token") {
			restSite("")(w, r)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	})
	got := s.do(http.MethodPost, "/api/v1/entity/shots", `{"code":"a"}`, "Content-Type", "application/json")
	if got.status != http.StatusConflict || !strings.Contains(got.body, "may have been done") {
		t.Errorf("%+v", got)
	}
}

func TestMetricsOfToolkitAreDropped(t *testing.T) {
	s := start(t, func(http.ResponseWriter, *http.Request) { t.Error("usage data left the host") })
	got := s.do(http.MethodPost, "/api3/track_metrics/", `{"auth_args":{"session_token":"x"},"metrics":[]}`, "Content-Type", "application/json")
	if got.status != 200 || got.body != "{}" {
		t.Errorf("%+v", got)
	}
}

func TestAnswersLeadBackToTheProxyAndWritesToTheSite(t *testing.T) {
	var origin string
	s := start(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"results":{"image":"%s/thumbnail/full/Shot/1","description":"%s/file_serve/attachment/1"}}`, origin, origin)
	}, func(st *proxy.State, _ *proxy.Listener) { origin = st.Origin })
	got := s.post(readShot)
	if want := `{"results":{"image":"` + s.base + `/thumbnail/full/Shot/1","description":"` + origin + `/file_serve/attachment/1"}}`; got.body != want {
		t.Errorf("%s", got.body)
	}
	s.post(strings.Replace(createShot, `"value":"a"`, `"value":{"url":"`+s.base+`/file_serve/attachment/1","name":"a"}`, 1))
	if sent := s.received(); !strings.Contains(sent[len(sent)-1], `"url":"`+origin+`/file_serve/attachment/1"`) {
		t.Errorf("sent %s", sent[len(sent)-1])
	}
}

// mayRead is a policy for tests of what answers keep.
func mayRead(fields ...string) option {
	return func(st *proxy.State, _ *proxy.Listener) {
		st.Scripts["pub"].Policy = policy.Compile(policy.Script{Name: "pub", Rules: []policy.Rule{
			{Verb: "read", Targets: []policy.Target{{Type: "Shot", Fields: fields}}, File: "t.yaml", Line: 1},
			{Verb: "update", Targets: []policy.Target{{Type: "Shot", Fields: []string{"description"}}}, File: "t.yaml", Line: 2},
		}})
	}
}

func TestAnswersOfRESTKeepWhatMayBeRead(t *testing.T) {
	const full = `{"data":{"type":"Shot","id":1,"attributes":{"code":"a","description":"new","sg_budget":9},"relationships":{"project":{"data":{"type":"Project","id":1,"name":"p"}}}}}`
	s := start(t, restSite(full), mayRead("code"))
	for _, call := range []func() result{
		func() result { return s.get("/api/v1/entity/shots/1?fields=*") },
		func() result { return s.get("/api/v1/entity/shots/1") },
		func() result {
			return s.do(http.MethodPut, "/api/v1/entity/shots/1", `{"description":"new"}`, "Content-Type", "application/json")
		},
	} {
		got := call()
		if got.status != 200 || !strings.Contains(got.body, `"code":"a"`) || strings.Contains(got.body, "sg_budget") || strings.Contains(got.body, "project") {
			t.Errorf("%+v", got)
		}
	}
}

func TestSecretsOfSessionsAreNoPlainText(t *testing.T) {
	if text := fmt.Sprint(secret.FromString(session1)); strings.Contains(text, session1) {
		t.Error(text)
	}
}

// startRaw puts a site in place that takes connections over TLS and hands them
// to f.
func startRaw(t *testing.T, f func(net.Conn)) option {
	t.Helper()
	ts := httptest.NewTLSServer(nil)
	t.Cleanup(ts.Close)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: ts.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close() //nolint:errcheck // nothing is lost
				f(c)
			}()
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(ts.Certificate())
	up := upstream.New(upstream.Options{Site: &url.URL{Scheme: "https", Host: ln.Addr().String()}, Roots: roots})
	t.Cleanup(up.Close)
	return func(st *proxy.State, _ *proxy.Listener) { st.Site = up }
}

func TestA401OfAnotherKindIsTheSitesOwnAnswer(t *testing.T) {
	var minted atomic.Int32
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/auth/access_token") {
			minted.Add(1)
			restSite("")(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[{"status":401,"code":110,"title":"Unauthorized","detail":"needs an admin"}]}`)
	})
	got := s.get("/api/v1/entity/shots?fields=code")
	if got.status != http.StatusUnauthorized || !strings.Contains(got.body, "needs an admin") || minted.Load() != 1 {
		t.Errorf("%d tokens, %+v", minted.Load(), got)
	}
	if e := s.audit.all(); e[len(e)-1].Fault != 110 || e[len(e)-1].Result != audit.ResultFault {
		t.Errorf("%+v", e[len(e)-1])
	}
}

// formSite takes forms with one key only.
func formSite(key string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseMultipartForm(8 << 20) // reads both kinds
		if r.FormValue("script_key") != key {
			_, _ = io.WriteString(w, "0:Can't authenticate script 'pub-2026'")
			return
		}
		_, _ = io.WriteString(w, "1:42")
	}
}

func TestAFormGoesAgainWithAKeyThatHasChanged(t *testing.T) {
	s := start(t, formSite(key2))
	s.keys.next = &secret.Credential{SiteName: "pub-2027", Key: secret.FromString(key2), Version: "2"}
	const form = "entities=Version_1&source_entity=Version_2&filmstrip_thumbnail=False&script_name=pub&script_key=x"
	got := s.do(http.MethodPost, "/upload/share_thumbnail", form, "Content-Type", "application/x-www-form-urlencoded")
	if got.header.Get("Stagedoor-Refused") != string(proxy.NoRule) {
		t.Fatalf("%+v", got)
	}
	const link = "upload_type=Attachment&filename=a.mov&multipart_upload=False&script_name=pub&script_key=x"
	got = s.do(http.MethodPost, "/upload/api_get_upload_link_info", link, "Content-Type", "application/x-www-form-urlencoded")
	if got.status != 200 || got.body != "1:42" || len(s.received()) != 2 {
		t.Errorf("sent %d times: %+v", len(s.received()), got)
	}
}

func TestAFileWhoseKeyIsRefusedHasTheSourceAsked(t *testing.T) {
	s := start(t, formSite(key2))
	s.keys.next = &secret.Credential{SiteName: "pub-2027", Key: secret.FromString(key2), Version: "2"}
	contentType, body := formFile(t, "sg_uploaded_movie", 1<<20)
	got := s.do(http.MethodPost, "/upload/upload_file", string(body), "Content-Type", contentType)
	if got.status != 200 || got.header.Get("Stagedoor-Refused") != string(proxy.KeyRefused) || !strings.Contains(got.body, "send the file again") || strings.Contains(got.body, "pub-2026") {
		t.Errorf("%+v", got)
	}
	if got := s.do(http.MethodPost, "/upload/upload_file", string(body), "Content-Type", contentType); got.body != "1:42" {
		t.Errorf("with the new key: %+v", got)
	}
}
