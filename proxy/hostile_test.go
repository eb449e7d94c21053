package proxy_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/limit"
	"stagedoor/proxy"
	"stagedoor/secret"
	"stagedoor/upstream"
)

// dial opens a connection to the proxy that no test hangs on.
func (s *stage) dial() *net.TCPConn {
	s.t.Helper()
	c, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.host())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	tc, ok := c.(*net.TCPConn)
	if !ok {
		s.t.Fatal("no TCP connection")
	}
	return tc
}

func (s *stage) host() string {
	return strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/api3/json")
}

// raw sends bytes as they are, HOST replaced, and returns the first answer, or
// an error where there is none.
func (s *stage) raw(request string) (status int, h http.Header, body string, err error) {
	s.t.Helper()
	c := s.dial()
	if _, err := io.WriteString(c, strings.ReplaceAll(request, "HOST", s.host())); err != nil {
		return 0, nil, "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodPost})
	if err != nil {
		return 0, nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	if res.Close { // net/http takes the header away
		res.Header.Set("Connection", "close")
	}
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(b), err
}

func head(lines ...string) string {
	return "POST /api3/json HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n" + strings.Join(lines, "")
}

func length(n int) string { return "Content-Length: " + strconv.Itoa(n) + "\r\n\r\n" }

func TestHostileRequestsNeverReachTheSite(t *testing.T) {
	n := len(readShot)
	target := func(s string) string {
		return strings.Replace(head(length(n)), "/api3/json", s, 1) + readShot
	}
	chunk := fmt.Sprintf("%x\r\n%s\r\n", n, readShot)
	const te = "Transfer-Encoding: chunked\r\n"
	for _, tt := range []struct {
		name, request string
		status        int // 0: net/http's own 400, or a closed connection
		reason        proxy.Reason
	}{
		{"absolute form", target("http://HOST/api3/json"), 400, proxy.BadTarget},
		{"absolute form of the site", target("https://site.example/api3/json"), 400, proxy.BadTarget},
		{"two slashes", target("//api3/json"), 400, proxy.BadTarget},
		{"asterisk", target("*"), 400, proxy.BadTarget},
		{"relative", target("api3/json"), 0, ""},
		{"connect", "CONNECT HOST HTTP/1.1\r\nHost: HOST\r\n\r\n", 400, proxy.BadTarget},
		{"http/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, proxy.BadTarget},
		{"backslash", target(`/api3\json`), 404, proxy.BadRoute},
		{"fragment", target("/api3/json#a"), 404, proxy.BadRoute},
		{"prefix", target("/some/prefix/api3/json"), 404, proxy.BadRoute},
		{"dots", target("/x/../api3/json"), 404, proxy.BadRoute},
		{"dot", target("/./api3/json"), 404, proxy.BadRoute},
		{"inner slashes", target("/api3//json"), 404, proxy.BadRoute},
		{"semicolon", target("/api3/json;a=b"), 404, proxy.BadRoute},
		{"upper case", target("/API3/JSON"), 404, proxy.BadRoute},
		{"encoded dots", target("/api3/%2e/json"), 404, proxy.BadRoute},
		{"encoded slash", target("/api3%2Fjson"), 404, proxy.BadRoute},
		{"encoded NUL", target("/api3/json%00"), 404, proxy.BadRoute},
		{"raw byte", target("/api3/json\xff"), 404, proxy.BadRoute},
		{"empty path", target("/"), 404, proxy.BadRoute},
		{"trace", strings.Replace(head(length(n)), "POST", "TRACE", 1) + readShot, 405, proxy.BadVerb},
		{"get", "GET /api3/json HTTP/1.1\r\nHost: HOST\r\n\r\n", 405, proxy.BadVerb},
		{"lower-case verb", strings.Replace(head(length(n)), "POST", "post", 1) + readShot, 405, proxy.BadVerb},
		{"options", "OPTIONS /api3/json HTTP/1.1\r\nHost: HOST\r\n\r\n", 403, proxy.Browser},
		{"HTTP/1.0", strings.Replace(head(length(n)), "1.1", "1.0", 1) + readShot, 400, proxy.BadFraming},
		{"HTTP/1.0 without a host", "POST /api3/json HTTP/1.0\r\n" + length(n) + readShot, 421, proxy.BadHost},
		{"HTTP/1.2", strings.Replace(head(length(n)), "1.1", "1.2", 1) + readShot, 400, proxy.BadFraming},
		{"empty host", strings.Replace(head(length(n)), "HOST", "", 1) + readShot, 421, proxy.BadHost},
		{"two hosts", head("Host: HOST\r\n", length(n)) + readShot, 0, ""},
		{"upgrade", head("Connection: upgrade\r\nUpgrade: websocket\r\n", length(n)) + readShot, 400, proxy.Upgrade},
		{"two lengths", head("Content-Length: 5\r\n", length(n)) + readShot, 0, ""},
		{"signed length", head("Content-Length: +5\r\n\r\n") + readShot, 0, ""},
		{"odd coding", head("Transfer-Encoding: gzip, chunked\r\n\r\n") + chunk + "0\r\n\r\n", 0, ""},
		{"bad chunk size", head(te, "\r\n") + "zz\r\n", 400, proxy.BadFraming},
		{"chunk longer than its size", head(te, "\r\n") + fmt.Sprintf("%x\r\n%sXX\r\n0\r\n\r\n", n, readShot), 400, proxy.BadFraming},
		{"bare line feeds in chunks", head(te, "\r\n") + fmt.Sprintf("%x\n%s\n0\n\n", n, readShot), 400, proxy.BadFraming},
		{"space before a colon", head("X : y\r\n", length(n)) + readShot, 0, ""},
		{"expectation", head("Expect: 200-ok\r\n", length(n)) + readShot, 417, ""},
		{"split type", strings.Replace(head(length(n)), "application/json", "appli cation/json", 1) + readShot, 415, proxy.ContentType},
		{"form", strings.Replace(head(length(n)), "application/json", "application/x-www-form-urlencoded", 1) + readShot, 415, proxy.ContentType},
		{"charset", strings.Replace(head(length(n)), "application/json", "application/json; charset=utf-7", 1) + readShot, 415, proxy.ContentType},
		{"identity encoding", head("Content-Encoding: identity\r\n", length(n)) + readShot, 200, proxy.ContentEncoding},
		{"override", head("X-HTTP-Method-Override: PUT\r\n", length(n)) + readShot, 400, proxy.Override},
		{"byte order mark", head(length(n+3)) + "\xef\xbb\xbf" + readShot, 200, proxy.BadJSON},
		{"two documents", head(length(2*n)) + readShot + readShot, 200, proxy.BadJSON},
		{"nothing", head(length(0)), 200, proxy.BadJSON},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, answering(`{"results":1}`))
			status, h, body, err := s.raw(tt.request)
			switch {
			case tt.status == 0:
				if err == nil && status < 400 {
					t.Errorf("got %d %q", status, body)
				}
			case err != nil || status != tt.status || h.Get("Stagedoor-Refused") != string(tt.reason):
				t.Errorf("got %d %s %q %v", status, h.Get("Stagedoor-Refused"), body, err)
			}
			for name := range h {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s is in the answer", name)
				}
			}
			if n := len(s.received()); n != 0 {
				t.Errorf("the site saw %d calls", n)
			}
		})
	}
}

func TestChunkedCallIsServedOnceAndItsConnectionCloses(t *testing.T) {
	s := start(t, answering(`{"results":1}`))
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\nScript-Key: x\r\n\r\n", len(readShot), readShot)
	status, h, _, err := s.raw(head("Transfer-Encoding: chunked\r\nContent-Length: 3\r\nTrailer: Script-Key\r\n\r\n") + chunked)
	if err != nil || status != 200 || h.Get("Connection") != "close" {
		t.Errorf("%d %v %v", status, h, err)
	}
	if s.header[0].Get("Script-Key") != "" || len(s.received()) != 1 || s.received()[0][:20] != readShot[:20] {
		t.Errorf("the site got %v %v", s.header[0], s.received())
	}
}

func TestExpectIsAnsweredOnceTheHeaderIsGood(t *testing.T) {
	s := start(t, answering(`{"results":1}`))
	c := s.dial()
	_, _ = io.WriteString(c, strings.ReplaceAll(head("Expect: 100-continue\r\n", length(len(readShot))), "HOST", s.host()))
	br := bufio.NewReader(c)
	if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q %v", line, err)
	}
	_, _ = br.ReadString('\n')
	_, _ = io.WriteString(c, readShot)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.StatusCode != 200 || s.header[0].Get("Expect") != "" {
		t.Errorf("%v %v", res, err)
	}
	if res != nil {
		_ = res.Body.Close()
	}
	status, _, _, err := s.raw(head("Expect: 100-continue\r\nOrigin: http://x\r\n", length(len(readShot))))
	if err != nil || status != 403 {
		t.Errorf("a refused call was asked for its body: %d %v", status, err)
	}
}

func TestHeadersNamedByConnectionStayHere(t *testing.T) {
	s := start(t, answering(`{"results":1}`))
	for _, name := range []string{"locale", "Content-Type", "User-Agent", "Stagedoor-Request-Id", "Accept"} {
		_, _, _, err := s.raw(head("Locale: auto\r\nAccept: */*\r\nUser-Agent: tool\r\nConnection: keep-alive, "+name+"\r\n", length(len(readShot))) + readShot)
		if err != nil {
			t.Fatal(err)
		}
		got := s.header[len(s.header)-1]
		if got.Get("Content-Type") != "application/json; charset=utf-8" || got.Get("Stagedoor-Request-Id") == "" || got.Get("Accept-Encoding") != "gzip" {
			t.Errorf("Connection: %s stripped one of ours: %v", name, got)
		}
		if name == "locale" && got.Get("Locale") != "" || name == "Accept" && got.Get("Accept") != "" || name == "User-Agent" && got.Get("User-Agent") != "stagedoor/1.2.3" {
			t.Errorf("Connection: %s was passed on: %v", name, got)
		}
	}
	for _, bad := range []string{"a\tb", "\xffx", strings.Repeat("x", 1000)} {
		if _, _, _, err := s.raw(head("User-Agent: "+bad+"\r\nLocale: "+bad+"\r\n", length(len(readShot))) + readShot); err != nil {
			t.Fatal(err)
		}
		if got := s.header[len(s.header)-1]; got.Get("User-Agent") != "stagedoor/1.2.3" || got.Get("Locale") != "" {
			t.Errorf("passed on: %q", got)
		}
	}
}

// TestHalfClosedCallerSeesNoEmptyAnswer: to net/http a caller that has closed
// its sending side has hung up, and a handler that then returns answers 200.
func TestHalfClosedCallerSeesNoEmptyAnswer(t *testing.T) {
	called, over := make(chan struct{}), make(chan struct{})
	s := start(t, func(_ http.ResponseWriter, r *http.Request) {
		close(called)
		<-r.Context().Done()
		close(over)
	})
	c := s.dial()
	_, _ = io.WriteString(c, strings.ReplaceAll(head(length(len(readShot)))+readShot, "HOST", s.host()))
	<-called
	_ = c.CloseWrite()
	<-over // the call at the site was given up as well
	if b, _ := io.ReadAll(c); len(b) != 0 {
		t.Errorf("the caller got %q", b)
	}
	if ev := s.audit.until(t, 2); ev[1].Kind != audit.Outcome || ev[1].Result != audit.ResultAborted {
		t.Errorf("recorded %+v", ev)
	}
}

// until waits for n events, which finish writes after the answer.
func (r *record) until(t *testing.T, n int) []audit.Event {
	t.Helper()
	for {
		r.mu.Lock()
		if r.more == nil {
			r.more = make(chan struct{}, 1)
		}
		events, more := r.events, r.more
		r.mu.Unlock()
		if len(events) >= n {
			return events
		}
		select {
		case <-more:
		case <-t.Context().Done():
			t.Fatalf("%d events, not %d", len(events), n)
		}
	}
}

// panicky panics when asked for a key: in the middle of admit.
type panicky struct{}

func (panicky) Credential(string) (secret.Credential, error)  { panic("with " + key1) }
func (panicky) Refresh(context.Context, string) (bool, error) { return false, nil }

func TestPanicIsAnsweredWithoutItsText(t *testing.T) {
	s := start(t, answering(`{"results":1}`), func(st *proxy.State, _ *proxy.Listener) { st.Keys = panicky{} })
	got := s.post(createShot)
	if got.status != 500 || got.header.Get("Stagedoor-Refused") != string(proxy.Internal) || strings.Contains(got.body, key1) {
		t.Errorf("%+v", got)
	}
	if ev := s.audit.until(t, 1); ev[0].Reason != string(proxy.Internal) {
		t.Errorf("recorded %+v", ev)
	}
	if in := s.metrics.inFlight(); in != 0 {
		t.Errorf("%d calls are still in flight", in)
	}
}

func TestAnswerCutMidStreamBreaksTheConnection(t *testing.T) {
	long := `{"results":"` + strings.Repeat("x", 200<<10)
	for name, site := range map[string]http.HandlerFunc{
		"length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000000")
			_, _ = io.WriteString(w, long)
			panic(http.ErrAbortHandler)
		},
		"chunked": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, long)
			panic(http.ErrAbortHandler)
		},
		"gzip": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for i := range 200 << 10 {
				_, _ = z.Write([]byte(strconv.Itoa(i * i)))
			}
			_ = z.Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, site)
			status, _, body, err := s.raw(head(length(len(readShot))) + readShot)
			if status != 200 || err == nil || len(body) < 100<<10 {
				t.Errorf("%d, %d bytes, %v", status, len(body), err)
			}
			if ev := s.audit.until(t, 2); ev[1].Result != audit.ResultAborted {
				t.Errorf("recorded %+v", ev[1])
			}
		})
	}
}

func TestAnswersThatUnpackBeyondAnyBoundAreCut(t *testing.T) {
	zeros := make([]byte, 1<<20)
	for _, known := range []bool{true, false} {
		s := start(t, func(w http.ResponseWriter, _ *http.Request) {
			var b strings.Builder
			z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
			for range 24 {
				_, _ = z.Write(zeros)
			}
			_ = z.Close()
			w.Header().Set("Content-Encoding", "gzip")
			if known {
				w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
			}
			_, _ = io.WriteString(w, b.String()[:b.Len()/2])
			if f, ok := w.(http.Flusher); ok {
				f.Flush()
			}
			_, _ = io.WriteString(w, b.String()[b.Len()/2:])
		})
		_, _, body, err := s.raw(head(length(len(readShot))) + readShot)
		if err == nil || len(body) > 16<<20 {
			t.Errorf("known length %v: %d bytes, %v", known, len(body), err)
		}
	}
}

func TestContentCodingsOfTheSite(t *testing.T) {
	packed := func() string {
		var b strings.Builder
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, `{"results":"`+key1+`"}`)
		_ = z.Close()
		return b.String()
	}()
	for _, tt := range []struct {
		name   string
		header []string
		status int
		body   string
		want   int
	}{
		{"gzip", []string{"gzip"}, 200, packed, 200},
		{"upper case", []string{"GZIP"}, 200, packed, 200},
		{"not asked for", []string{"br"}, 200, "x", 500},
		{"two", []string{"identity", "gzip"}, 200, packed, 500},
		{"list", []string{"gzip, gzip"}, 200, packed, 500},
		{"no gzip after all", []string{"gzip"}, 200, "plain text", 500},
		{"error without a body", []string{"gzip"}, 404, "", 404},
		{"no content", []string{"gzip"}, 204, "", 204},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Encoding"] = tt.header
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			got := s.post(readShot)
			if got.status != tt.want || strings.Contains(got.body, key1) || got.header.Get("Content-Encoding") != "" {
				t.Errorf("%+v", got)
			}
			if got.status == 200 && got.body != `{"results":"`+flow.Redacted+`"}` {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestLongAnswerToAWriteArrives: the write was done, so its answer is not
// turned into an error for its length.
func TestLongAnswerToAWriteArrives(t *testing.T) {
	long := `{"results":"` + strings.Repeat("x", 33<<20) + `"}`
	s := start(t, answering(long))
	if got := s.post(createShot); got.status != 200 || len(got.body) != len(long) {
		t.Errorf("%d, %d bytes", got.status, len(got.body))
	}
	// What may tell values of credential fields is not handed on in pieces.
	if got := s.post(readEvents); got.status != 500 || !strings.Contains(got.body, "ask for fewer") {
		t.Errorf("%d %.200s", got.status, got.body)
	}
}

func TestRedirectsDoNotLeadPastTheProxy(t *testing.T) {
	for _, tt := range []struct {
		status   int
		location string
		passes   bool
	}{
		{301, "https://site.example/api3/json", false},
		{302, "https://site.example/api3/json", false},
		{307, "https://site.example/api3/json", false},
		{302, "https://site.example/saml/saml_login_request", true}, // flow-protocol §1.6
		{302, "https://site.example/saml/saml_login_request?x=" + key1, false},
		{200, "https://site.example/x", false},
	} {
		s := start(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", tt.location)
			w.WriteHeader(tt.status)
		})
		status, h, _, err := s.raw(head(length(len(readShot))) + readShot)
		if err != nil || status != tt.status || (h.Get("Location") == tt.location) != tt.passes || !tt.passes && h.Get("Location") != "" {
			t.Errorf("%d to %s: %d %v %v", tt.status, tt.location, status, h, err)
		}
	}
}

func TestFaultsInOddDress(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   int
		reason proxy.Reason
	}{
		{"102 with status 401", 401, string(flow.AppendFault(nil, 102, "no")), 200, proxy.KeyRefused},
		{"a result that has the number 102", 200, `{"exception":false,"error_code":102,"results":1}`, 200, ""},
		{"a fault longer than the head", 200, string(flow.AppendFault(nil, 102, strings.Repeat("x", 100<<10))), 200, proxy.KeyRefused},
		{"104 with status 400", 400, string(flow.AppendFault(nil, 104, "no")), 400, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			got := s.post(readShot)
			if got.status != tt.want || got.header.Get("Stagedoor-Refused") != string(tt.reason) || tt.reason == "" && got.body != tt.body {
				t.Errorf("%d %s %.200s", got.status, got.header, got.body)
			}
		})
	}
}

func TestSudoFaultWithAnErrorStatusIsAFaultForTheClient(t *testing.T) {
	sudo := strings.Replace(readShot, `"script_key":"x"`, `"script_key":"x","sudo_as_login":"joe"`, 1)
	good := keyed(key1)
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("User-Agent"), "tool") {
			w.WriteHeader(http.StatusUnauthorized)
		}
		good(w, r)
	})
	got := s.post(sudo)
	if code, _, _ := flow.ReadFault([]byte(got.body)); got.status != 200 || code != 104 {
		t.Errorf("%+v", got)
	}
}

// TestKeyChangeUnderManyCalls: each call is sent again once, none is refused.
func TestKeyChangeUnderManyCalls(t *testing.T) {
	s := start(t, keyed(key2))
	s.keys.next = &secret.Credential{SiteName: "pub-2027", Key: secret.FromString(key2), Version: "2"}
	const calls = 20
	results := make(chan result, calls)
	for range calls {
		go func() { results <- s.post(createShot) }()
	}
	for range calls {
		if got := <-results; got.body != `{"results":1}` {
			t.Errorf("%+v", got)
		}
	}
	old := 0
	for _, b := range s.received() {
		if strings.Contains(b, key1) {
			old++
		}
	}
	if n := len(s.received()); n != calls+old {
		t.Errorf("the site saw %d calls, %d of them with the old key", n, old)
	}
}

// TestRefusedByTheLimitCostsNoTokens: it would put off those that wait.
func TestRefusedByTheLimitCostsNoTokens(t *testing.T) {
	l := limit.New(limit.Options{Rate: 0.01, Burst: 1, MaxHold: -1})
	s := start(t, answering(`{"results":1}`), func(st *proxy.State, _ *proxy.Listener) { st.Scripts["pub"].Limiter = l })
	s.post(readShot)
	first, _ := strconv.Atoi(s.post(readShot).header.Get("Retry-After"))
	second, _ := strconv.Atoi(s.post(readShot).header.Get("Retry-After"))
	if first == 0 || second > first {
		t.Errorf("Retry-After went from %d to %d", first, second)
	}
}

func TestRefusedByThePolicyIsCharged(t *testing.T) {
	for name, body := range map[string]string{
		"no rule":  strings.Replace(readShot, `"Shot"`, `"Task"`, 1),
		"not JSON": "{",
	} {
		l := limit.New(limit.Options{Rate: 0.01, Burst: 1, MaxHold: -1})
		s := start(t, answering(`{"results":1}`), func(st *proxy.State, _ *proxy.Listener) { st.Scripts["pub"].Limiter = l })
		s.post(body)
		if got := s.post(readShot); got.header.Get("Stagedoor-Refused") != string(proxy.RateLimit) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	l := limit.New(limit.Options{Rate: 0.01, Burst: 1, MaxHold: -1})
	s := start(t, answering(`{"results":1}`), func(st *proxy.State, ln *proxy.Listener) {
		st.Scripts["other"] = st.Scripts["pub"]
		ln.Scripts, ln.Unnamed = []string{"pub", "other"}, l
	})
	s.post(`{"method_name":"read","params":[{"script_name":"nobody"},{"type":"Shot"}]}`)
	if got := s.post(`{"method_name":"info","params":[]}`); got.header.Get("Stagedoor-Refused") != string(proxy.RateLimit) {
		t.Errorf("a call of no script: %+v", got)
	}
}

func TestCallerThatHangsUpWhileHeldCostsNothing(t *testing.T) {
	release := make(chan struct{})
	site := func(w http.ResponseWriter, r *http.Request) {
		<-release
		answering(`{"results":1}`)(w, r)
	}
	l := limit.New(limit.Options{InFlight: 1, MaxHold: time.Minute})
	s := start(t, site, func(st *proxy.State, _ *proxy.Listener) { st.Scripts["pub"].Limiter = l })
	first := make(chan result, 1)
	go func() { first <- s.post(readShot) }()
	s.audit.until(t, 1)
	c := s.dial()
	_, _ = io.WriteString(c, strings.ReplaceAll(head(length(len(readShot)))+readShot, "HOST", s.host()))
	for _, queued := l.Stats(); queued == 0; _, queued = l.Stats() {
		if t.Context().Err() != nil {
			t.Fatal("no call is held")
		}
		runtime.Gosched()
	}
	_ = c.Close()
	ev := s.audit.until(t, 2)
	if ev[1].Kind != audit.RefusedCall || ev[1].Result != audit.ResultAborted {
		t.Errorf("recorded %+v", ev[1])
	}
	close(release)
	if got := <-first; got.status != 200 || len(s.received()) != 1 {
		t.Errorf("%+v, the site saw %d", got, len(s.received()))
	}
}

func TestUserInfoOfTheBaseURLIsDropped(t *testing.T) {
	s := start(t, answering(`{"results":1}`))
	got := s.post(`{"method_name":"read","params":[{},{"type":"Shot"}]}`, func(r *http.Request) { r.SetBasicAuth("u", "p") })
	if got.status != 200 || s.header[0].Get("Authorization") != "" {
		t.Errorf("%+v", got)
	}
	if ev := s.audit.all(); ev[0].CallerCredential != audit.CredNone {
		t.Errorf("recorded %+v", ev[0])
	}
}

func TestThousandReadsSurviveASiteThatClosesIdleConnections(t *testing.T) {
	var mu sync.Mutex
	served := map[string]int{}
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		served[r.RemoteAddr]++
		cut := served[r.RemoteAddr]%7 == 0
		mu.Unlock()
		if cut { // as a site does whose idle timeout ends as the call comes in
			panic(http.ErrAbortHandler)
		}
		answering(`{"results":1}`)(w, r)
	})
	failed := 0
	for range 1000 {
		if got := s.post(readShot); got.status != 200 {
			failed++
		}
	}
	if failed > 0 {
		t.Errorf("%d of 1000 reads failed", failed)
	}
}

// TestWriteInDoubtIsNotSentAgain: a kept connection that dies under a write may
// have carried it.
func TestWriteInDoubtIsNotSentAgain(t *testing.T) {
	var mu sync.Mutex
	n := 0
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		cut := n%2 == 0
		mu.Unlock()
		if cut {
			panic(http.ErrAbortHandler)
		}
		answering(`{"results":1}`)(w, r)
	})
	for i := range 6 {
		got := s.post(createShot)
		if want := 200 + 300*(i%2); got.status != want {
			t.Errorf("call %d: %+v", i, got)
		}
		if i%2 == 1 && !strings.Contains(got.body, "may have been done") {
			t.Errorf("call %d: %s", i, got.body)
		}
	}
	if n := len(s.received()); n != 6 {
		t.Errorf("the site saw %d calls of 6", n)
	}
}

// broken is a body that panics once some of it is read.
type broken struct{ first io.Reader }

func (b broken) Read(p []byte) (int, error) {
	if n, err := b.first.Read(p); err == nil {
		return n, nil
	}
	panic("in the middle")
}

func (broken) Close() error { return nil }

func TestPanicInTheMiddleOfAnAnswerBreaksTheConnection(t *testing.T) {
	site := canned(func() *http.Response {
		return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: -1, Body: broken{strings.NewReader(`{"results":"` + strings.Repeat("x", 100<<10))}}
	})
	s := start(t, nil, func(st *proxy.State, _ *proxy.Listener) { st.Site = site })
	status, _, body, err := s.raw(head(length(len(readShot))) + readShot)
	if status != 200 || err == nil {
		t.Errorf("%d, %d bytes, %v", status, len(body), err)
	}
	if ev := s.audit.until(t, 2); ev[1].Kind != audit.Outcome || ev[1].Result != audit.Result(proxy.Internal) {
		t.Errorf("recorded %+v", ev)
	}
	if in := s.metrics.inFlight(); in != 0 {
		t.Errorf("%d calls are still in flight", in)
	}
}

// TestRefusedBodyIsReadToItsEnd: a client that still sends when the answer
// comes sees a broken connection, and sends it all again (flow-protocol §8.2).
func TestRefusedBodyIsReadToItsEnd(t *testing.T) {
	s := start(t, answering(`{"results":1}`))
	c := s.dial()
	big := strings.Repeat("a", 24<<20)
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, strings.ReplaceAll(head(length(len(big))), "HOST", s.host())+big)
		sent <- err
	}()
	br := bufio.NewReader(c)
	res, err := http.ReadResponse(br, nil)
	if err != nil || res.Header.Get("Stagedoor-Refused") != string(proxy.TooBig) || res.Close {
		t.Fatalf("%v %v", res, err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if err := <-sent; err != nil {
		t.Error(err)
	}
	_, _ = io.WriteString(c, strings.ReplaceAll(head(length(len(readShot)))+readShot, "HOST", s.host()))
	if res, err = http.ReadResponse(br, nil); err != nil || res.StatusCode != 200 || res.Header.Get("Stagedoor-Refused") != "" {
		t.Fatalf("the next call on the connection: %v %v", res, err)
	}
	_ = res.Body.Close()
}

// TestInterimAnswersOfTheSiteStayThere, whatever they carry.
func TestInterimAnswersOfTheSiteStayThere(t *testing.T) {
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", key1)
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		answering(`{"results":1}`)(w, r)
	})
	c := s.dial()
	_, _ = io.WriteString(c, strings.ReplaceAll(head("Connection: close\r\n", length(len(readShot)))+readShot, "HOST", s.host()))
	b, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200 OK") || strings.Contains(string(b), "103") && strings.Contains(string(b), key1) {
		t.Errorf("%q %v", b, err)
	}
}

// TestErrorsOfTheSiteAreNotQuotedWithTheKey: net/http quotes what it can't read,
// and that goes to the log. What start checks at its end is the point here.
func TestErrorsOfTheSiteAreNotQuotedWithTheKey(t *testing.T) {
	for _, answer := range []string{
		"garbage " + key1 + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + key1 + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: " + key1 + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + key1 + "\r\n\r\n",
	} {
		s := start(t, func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, answer)
			_ = c.Close()
		})
		for _, call := range []string{readShot, strings.Replace(readShot, `"script_key":"x"`, `"script_key":"x","sudo_as_login":"joe"`, 1)} {
			if got := s.post(call); got.status != 500 || strings.Contains(got.body, key1) {
				t.Errorf("%+v", got)
			}
		}
	}
}

func TestLongAnswersAreBoundedTogether(t *testing.T) {
	long := `{"results":"` + strings.Repeat("x", 3<<20) + `"}`
	s := start(t, answering(long))
	for _, call := range []string{createShot, readEvents} {
		if got := s.post(call); got.status != 200 || len(got.body) != len(long) {
			t.Errorf("%d, %d bytes", got.status, len(got.body))
		}
	}
	s.audit.until(t, 4)
	if n := proxy.Spooled(s.proxy); n != 0 {
		t.Errorf("%d bytes are charged after the calls", n)
	}
	proxy.FillSpools(s.proxy)
	if got := s.post(createShot); got.status != 200 || len(got.body) != len(long) {
		t.Errorf("the answer to a write goes on in pieces: %d, %d bytes", got.status, len(got.body))
	}
	if got := s.post(readEvents); got.header.Get("Stagedoor-Refused") != string(proxy.Busy) {
		t.Errorf("%d %.200s", got.status, got.body)
	}
}

// failing is a site that can't be asked.
type failing struct{ err *upstream.Error }

func (f failing) Do(context.Context, upstream.Request) (*http.Response, error) { return nil, f.err }

func TestWhatBecameOfACallThatTheSiteDidNotAnswer(t *testing.T) {
	for _, tt := range []struct {
		name, call string
		err        upstream.Error
		result     audit.Result
		says       string
	}{
		{"not reached", createShot, upstream.Error{Err: errors.New("no route")}, audit.ResultUnreachable, "was not sent"},
		{"too slow", createShot, upstream.Error{Err: os.ErrDeadlineExceeded, Sent: true}, audit.ResultTimeout, "may have been done"},
		{"broken off", createShot, upstream.Error{Err: io.ErrUnexpectedEOF, Sent: true}, audit.ResultSiteError, "may have been done"},
		{"a read broken off", readShot, upstream.Error{Err: io.ErrUnexpectedEOF, Sent: true}, audit.ResultSiteError, "did not answer read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, nil, func(st *proxy.State, _ *proxy.Listener) { st.Site = failing{&tt.err} })
			got := s.post(tt.call)
			if got.status != 500 || got.header.Get("Stagedoor-Refused") != string(proxy.SiteFailed) || !strings.Contains(got.body, tt.says) {
				t.Errorf("%+v", got)
			}
			if ev := s.audit.until(t, 2); ev[1].Result != tt.result {
				t.Errorf("recorded %+v", ev[1])
			}
		})
	}
}

func TestRefusedAfterAHoldIsCountedAsHeld(t *testing.T) {
	release := make(chan struct{})
	l := limit.New(limit.Options{InFlight: 1, MaxHold: 20 * time.Millisecond})
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		answering(`{"results":1}`)(w, r)
	}, func(st *proxy.State, _ *proxy.Listener) { st.Scripts["pub"].Limiter = l })
	first := make(chan result, 1)
	go func() { first <- s.post(readShot) }()
	s.audit.until(t, 1)
	if got := s.post(readShot); got.header.Get("Stagedoor-Refused") != string(proxy.RateLimit) {
		t.Errorf("%+v", got)
	}
	close(release)
	<-first
	s.audit.until(t, 3)
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	if s.metrics.held != 1 || !slices.Contains(s.metrics.refuse, "pub/rate_limit") {
		t.Errorf("held %d, refused %v", s.metrics.held, s.metrics.refuse)
	}
}

// TestKeyChangeDoesNotHideARefusedLogin: the call is sent again with the new
// key, which is good, and the login is still no good.
func TestKeyChangeDoesNotHideARefusedLogin(t *testing.T) {
	sudo := strings.Replace(readShot, `"script_key":"x"`, `"script_key":"x","sudo_as_login":"joe"`, 1)
	s := start(t, keyed(key2))
	s.keys.next = &secret.Credential{SiteName: "pub-2027", Key: secret.FromString(key2), Version: "2"}
	got := s.post(sudo)
	if code, msg, _ := flow.ReadFault([]byte(got.body)); code != 104 || msg != "Can't authenticate user 'joe'" {
		t.Errorf("%+v", got)
	}
}
