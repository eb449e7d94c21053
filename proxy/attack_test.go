package proxy_test

import (
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"stagedoor/handle"
	"stagedoor/proxy"
	"stagedoor/secret"
	"stagedoor/upstream"
)

// What an attacker found before anybody else did.

func TestASessionIsNotToldInTheAnswerToAnotherCall(t *testing.T) {
	site := &fileSite{tokens: []string{session1, session2}, serve: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "the session "+session1+" had ended, it is "+session2)
	}}
	tells := false
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if tells && r.URL.Path == "/api3/json" {
			answering(`{"results":{"code":"`+session1+` `+session2+`"}}`)(w, r)
			return
		}
		site.ServeHTTP(w, r)
	})
	if got := s.get("/file_serve/attachment/12"); got.status != 200 || strings.Contains(got.body, session1) || strings.Contains(got.body, session2) {
		t.Errorf("as a file: %+v", got)
	}
	tells = true
	if got := s.post(readShot); got.status != 200 || strings.Contains(got.body, session1) || strings.Contains(got.body, session2) {
		t.Errorf("as a row: %+v", got)
	}
}

func TestASessionDoesNotGoToAnotherSite(t *testing.T) {
	site := &fileSite{tokens: []string{session1}, serve: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the file") }}
	var state *proxy.State
	s := start(t, site.ServeHTTP, func(st *proxy.State, _ *proxy.Listener) { state = st })
	s.get("/file_serve/attachment/12")
	cookies := make(chan string, 10)
	other := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { cookies <- r.Header.Get("Cookie") }))
	defer other.Close()
	roots := x509.NewCertPool()
	roots.AddCert(other.Certificate())
	origin, err := url.Parse(other.URL)
	if err != nil {
		t.Fatal(err)
	}
	up := upstream.New(upstream.Options{Site: origin, Roots: roots})
	defer up.Close()
	next := *state
	next.Site, next.Origin = up, other.URL
	s.proxy.Replace(&next)
	s.get("/file_serve/attachment/12")
	close(cookies)
	n := 0
	for c := range cookies {
		if n++; strings.Contains(c, session1) {
			t.Error("the old site's session went to the new one")
		}
	}
	if n == 0 {
		t.Error("the new site was not asked")
	}
}

func TestARedirectToTheSiteInAnySpellingDoesNotLeadPastTheProxy(t *testing.T) {
	for _, location := range []string{
		"HTTPS://SITE/page/12", "https://u:p@SITE/page/12", "HTTPS://SITE/User/Login", "https:/page/12", "https:///page/12",
		"//SITE/page/12", "https://SITE/page/12#a", `https:\\SITE\page`,
	} {
		var host string
		site := &fileSite{tokens: []string{session1}}
		s := start(t, site.ServeHTTP, func(st *proxy.State, _ *proxy.Listener) { host = strings.TrimPrefix(st.Origin, "https://") })
		site.serve = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", strings.Replace(location, "SITE", host, 1))
			w.WriteHeader(http.StatusFound)
		}
		if got := s.get("/file_serve/attachment/12"); got.header.Get("Location") != "" || got.header.Get("Stagedoor-Refused") == "" {
			t.Errorf("%s: %d to %q", location, got.status, got.header.Get("Location"))
		}
	}
}

func TestAHandleIsSeenWhereverItStands(t *testing.T) {
	expired, err := testHandles().Sign(handle.Handle{Script: "pub", Listener: "local", Use: handle.UseSession, Expires: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, func(http.ResponseWriter, *http.Request) { t.Error("it reached the site") })
	for _, h := range [][]string{
		{"Cookie", "_session_id=dummy; _session_id=" + expired},
		{"Cookie", "_session_id =" + expired},
		{"Cookie", "_Session_id=" + expired},
		{"Cookie", "_session_id=" + expired + strings.Repeat("A", 4096)},
		{"Authorization", "Bearer\t" + expired},
		{"Authorization", "Token " + expired},
		{"Authorization", expired},
		{"Authorization", "Bearer dummy", "Cookie", "_session_id=" + expired},
	} {
		for _, path := range []string{"/file_serve/attachment/1", "/api/v1/entity/shots?fields=code"} {
			if got := s.get(path, h...); got.header.Get("Stagedoor-Refused") != string(proxy.BadHandle) {
				t.Errorf("%s with %.30q: %d %s", path, h, got.status, got.body)
			}
		}
		got := s.do(http.MethodPost, "/api3/json", readShot, append(h, "Content-Type", "application/json")...)
		if got.header.Get("Stagedoor-Refused") != string(proxy.BadHandle) {
			t.Errorf("api3 with %.30q: %d %s", h, got.status, got.body)
		}
	}
}

func TestAFileIsNamedByItsPathAlone(t *testing.T) {
	s := start(t, func(http.ResponseWriter, *http.Request) { t.Error("it reached the site") })
	for _, path := range []string{
		"/file_serve/attachment/12?attachment_id=99", "/file_serve/attachment/12?id=99", "/file_serve/attachment/12?Expires=1",
		"/file_serve/attachment/012", "/thumbnail/full/Shot/1?_method=delete", "/images/a.png?format=json", "/images/a.png?v[]=1",
	} {
		if got := s.get(path); got.header.Get("Stagedoor-Refused") != string(proxy.BadCall) {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

func TestPartsOfAFileDoNotTellASession(t *testing.T) {
	site := &fileSite{tokens: []string{session1}, serve: func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("cookie: "+session1+" and more, to make it long enough"))
	}}
	s := start(t, site.ServeHTTP)
	var told strings.Builder
	for _, part := range []string{"bytes=8-23", "bytes=24-"} {
		told.WriteString(s.get("/file_serve/attachment/12", "Range", part).body)
	}
	for i := 0; i+8 <= len(session1); i++ {
		if strings.Contains(told.String(), session1[i:i+8]) {
			t.Fatalf("the parts tell %q", told.String())
		}
	}
	for _, all := range []string{"bytes=8-9", "bytes=8-23,24-50", "bytes=-3"} {
		if got := s.get("/file_serve/attachment/12", "Range", all); got.status != 200 || strings.Contains(got.body, session1) {
			t.Errorf("%s: %+v", all, got)
		}
	}
}

func TestTheSitesWordsAreScrubbedBeforeTheyAreCut(t *testing.T) {
	for at := 150; at < 210; at++ {
		s := start(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, strings.Repeat("x", at)+key1+" more")
		})
		const form = "upload_type=Attachment&filename=a.mov&multipart_upload=False&script_name=pub&script_key=x"
		got := s.do(http.MethodPost, "/upload/api_get_upload_link_info", form, "Content-Type", "application/x-www-form-urlencoded")
		if got.status != 200 || !strings.HasPrefix(got.body, "0:Stagedoor: the site refused") || strings.Contains(got.body, key1[:8]) {
			t.Fatalf("at %d: %+v", at, got)
		}
	}
}

func TestNoSessionOfAScriptIsToldHoweverManyThereAre(t *testing.T) {
	var mu sync.Mutex
	var tokens []string
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/api3/json" {
			tokens = append(tokens, "0123456789abcdef-session-"+strconv.Itoa(len(tokens)))
			answering(`{"results":{"session_id":"`+tokens[len(tokens)-1]+`"}}`)(w, r)
			return
		}
		_, _ = io.WriteString(w, strings.Join(tokens, " "))
	})
	handles := make([]string, 12)
	for i := range handles {
		h, err := testHandles().Sign(handle.Handle{Script: "pub", Listener: "local", Use: handle.UseSession, UUID: strconv.Itoa(i), Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		handles[i] = h
	}
	for range 2 {
		for _, h := range handles {
			if got := s.get("/file_serve/attachment/1", "Cookie", "_session_id="+h); got.status != 200 || strings.Contains(got.body, "-session-") {
				t.Fatalf("%+v", got)
			}
		}
	}
	if len(tokens) != len(handles) {
		t.Errorf("%d sessions for %d", len(tokens), len(handles))
	}
}

func TestA401WithoutAReasonIsTakenForADeadToken(t *testing.T) {
	for _, body := range []string{"", "<html>", `{"errors":[{"code":null}]}`} {
		var minted atomic.Int32
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/auth/access_token") {
				minted.Add(1)
				restSite("")(w, r)
				return
			}
			if minted.Load() > 1 {
				answering(`{"data":[]}`)(w, r)
				return
			}
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, body)
		})
		if got := s.get("/api/v1/entity/shots?fields=code"); got.status != 200 || minted.Load() != 2 {
			t.Errorf("%q: %d tokens, %+v", body, minted.Load(), got)
		}
	}
}

func TestALoginBySAMLIsNoFile(t *testing.T) {
	site := &fileSite{tokens: []string{session1}, serve: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://idp.example.com/sso?SAMLRequest=a&SigAlg=b&Signature=c&Expires=1&AWSAccessKeyId=d")
		w.WriteHeader(http.StatusFound)
	}}
	s := start(t, site.ServeHTTP)
	if got := s.get("/file_serve/attachment/12"); got.header.Get("Location") != "" || got.header.Get("Stagedoor-Refused") != string(proxy.KeyRefused) {
		t.Errorf("%+v", got)
	}
}

func TestAnAnswerThatCanNotBeReadIsNotQuotedInTheLog(t *testing.T) {
	for _, head := range []string{"Transfer-Encoding: " + bearer1, "Content-Length: " + bearer1, bearer1} {
		s := start(t, nil, startRaw(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+head+"\r\n\r\n")
		}))
		if got := s.get("/api/v1/entity/shots?fields=code"); got.status == 200 {
			t.Errorf("%+v", got)
		}
		if logs := s.logs.String(); strings.Contains(logs, bearer1[:20]) || !strings.Contains(logs, "can't be read as HTTP") {
			t.Errorf("%s: %s", head, logs)
		}
	}
}

func TestAKeyThatChangedForASessionIsNotTold(t *testing.T) {
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api3/json" {
			_, _ = io.WriteString(w, "the keys are "+key1+" and "+key2+", the session "+session1)
			return
		}
		if body, _ := io.ReadAll(r.Body); !strings.Contains(string(body), key2) {
			answering(`{"exception":true,"message":"Can't authenticate script 'pub-2026'","error_code":102}`)(w, r)
			return
		}
		answering(`{"results":{"session_id":"`+session1+`"}}`)(w, r)
	})
	s.keys.next = &secret.Credential{SiteName: "pub-2027", Key: secret.FromString(key2), Version: "2"}
	for range 2 {
		got := s.get("/file_serve/attachment/12")
		if got.status != 200 || strings.Contains(got.body, key1) || strings.Contains(got.body, key2) || strings.Contains(got.body, session1) {
			t.Errorf("%+v", got)
		}
	}
}

func TestAPlaceholderBesideAHandleSaysNothing(t *testing.T) {
	site := &fileSite{tokens: []string{session1}, serve: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the file") }}
	s := start(t, site.ServeHTTP)
	good, err := testHandles().Sign(handle.Handle{Script: "pub", Listener: "local", Use: handle.UseSession, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.get("/file_serve/attachment/12", "Authorization", "Bearer dummy", "Cookie", "_session_id="+good); got.body != "the file" {
		t.Errorf("%+v", got)
	}
}
