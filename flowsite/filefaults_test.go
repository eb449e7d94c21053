package flowsite_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"stagedoor/flowsite"
)

// postMovie uploads over the network, as a stream.
func postMovie(t *testing.T, c *http.Client, url string, body io.Reader, length int64) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/upload/upload_file", body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = length
	r.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	return c.Do(r)
}

func whole(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A planned fault comes in the middle of a file, or when it was read.
func TestUploadsFailOnDemand(t *testing.T) {
	body := multipartBody(movieFields(), "file", "x.mov", strings.Repeat("x", 1<<20))
	for name, tc := range map[string]struct {
		fault  flowsite.Fault
		status int // 0: no answer
		text   string
	}{
		"dropped half-way":       {flowsite.Fault{Method: "upload_file", Reset: true, At: 1 << 16}, 0, ""},
		"closed at the end":      {flowsite.Fault{Method: "upload_file", Close: true}, 0, ""},
		"status":                 {flowsite.Fault{Method: "upload_file", Status: 503}, 503, "Service Unavailable"},
		"code":                   {flowsite.Fault{Method: "upload_file", Code: 104, Message: "no"}, 200, "0:no\n"},
		"redirected to log in":   {flowsite.Fault{Method: "upload_file", Status: 302}, 302, "Found"},
		"of another type":        {flowsite.Fault{Type: "Shot", Status: 500}, 200, "1:801\nx.mov\n"},
		"slowly answered":        {flowsite.Fault{Method: "upload_file", Slow: closed(), Chunk: 1}, 200, "1:801\nx.mov\n"},
		"read after a long time": {flowsite.Fault{Method: "upload_file", Stall: closed(), At: 1 << 16}, 200, "1:801\nx.mov\n"},
	} {
		s := newSite(t, flowsite.Options{})
		srv := start(t, s)
		c := client(t, srv, false)
		before := s.Snapshot()
		s.Fail(tc.fault, 1)
		res, err := postMovie(t, c, srv.URL, strings.NewReader(body), int64(len(body)))
		switch {
		case tc.status == 0 && err == nil:
			t.Errorf("%s: answered %d", name, res.StatusCode)
			whole(t, res)
		case tc.status == 0:
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			if got := whole(t, res); res.StatusCode != tc.status || !strings.Contains(got, tc.text) {
				t.Errorf("%s: %d %q", name, res.StatusCode, got)
			}
		}
		if done := strings.HasPrefix(tc.text, "1:"); bytes.Equal(before, s.Snapshot()) == done {
			t.Errorf("%s: done is %v", name, !done)
		}
		clean(t, s)
	}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// While the site is made not to read, it takes no more of the file than one
// buffer; then it takes the rest.
func TestAStalledUploadIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, flowsite.Options{})
		stall := make(chan struct{})
		s.Fail(flowsite.Fault{Method: "upload_file", Stall: stall, At: 1}, 1)
		src := &counting{src: strings.NewReader(multipartBody(movieFields(), "file", "x.mov", strings.Repeat("x", 1<<20)))}
		answer := make(chan string)
		go func() {
			answer <- sendForm(s, "upload_file", "multipart/form-data; boundary="+boundary, "", func(r *http.Request) {
				r.Body, r.ContentLength = io.NopCloser(src), int64(src.src.Len())
			}).Body.String()
		}()
		synctest.Wait()
		if src.n == 0 || src.n > 128<<10 {
			t.Errorf("%d bytes were read", src.n)
		}
		close(stall)
		if got := <-answer; got != "1:801\nx.mov\n" || src.src.Len() > 0 {
			t.Errorf("%q, %d bytes not read", got, src.src.Len())
		}
	})
}

type counting struct {
	src *strings.Reader
	n   int
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.src.Read(b)
	c.n += n
	return n, err
}

func TestDownloadsFailOnDemand(t *testing.T) {
	s, token := fileSite(t, flowsite.Options{})
	srv := start(t, s)
	c := client(t, srv, false)
	const path = "/file_serve/attachment/801"
	cookie := header("Cookie", "_session_id="+token)
	// A live session is sent to log in, once.
	s.Fail(flowsite.Fault{Method: "file_serve", Status: http.StatusFound}, 1)
	if got := request(t, c, http.MethodGet, srv.URL+path, "", cookie); got.code != http.StatusFound || got.header.Get("Location") != "/user/login?return_path=%2Ffile_serve%2Fattachment%2F801" {
		t.Errorf("%+v", got)
	}
	if got := request(t, c, http.MethodGet, srv.URL+path, "", cookie); got.body != movieText {
		t.Errorf("%+v", got)
	}
	// §4.3: a malware scan.
	s.Fail(flowsite.Fault{Method: "file_serve", Status: http.StatusConflict, Message: "scanning"}, 1)
	if got := request(t, c, http.MethodGet, srv.URL+path, "", cookie); got.code != http.StatusConflict || !strings.Contains(got.body, "scanning") {
		t.Errorf("%+v", got)
	}
	s.Fail(flowsite.Fault{Method: "file_serve", Slow: closed(), Chunk: 1}, 1)
	if got := request(t, c, http.MethodGet, srv.URL+path, "", cookie); got.body != movieText {
		t.Errorf("%+v", got)
	}
	for _, f := range []flowsite.Fault{{Method: "file_serve", Truncate: 3}, {Method: "file_serve", Reset: true}} {
		s.Fail(f, 1)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		cookie(r)
		r.Close = true // on a used connection, a GET is sent again
		c.CloseIdleConnections()
		res, err := c.Do(r)
		if err != nil {
			continue
		}
		if b, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%+v: came whole: %q", f, b)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	clean(t, s)
}

// The clients try a PUT again on 500 and 503 (§3.3): the link still is good.
func TestPutsFailOnDemand_3_3(t *testing.T) {
	s, c := storageSite(t, flowsite.Options{})
	u := begin(t, s, "False")
	s.Fail(flowsite.Fault{Method: "storage_put", Status: http.StatusServiceUnavailable}, 1)
	for i, want := range []int{http.StatusServiceUnavailable, http.StatusOK} {
		if got := request(t, c, http.MethodPut, u.lines[1], "data"); got.code != want {
			t.Errorf("%d: %+v", i, got)
		}
	}
	clean(t, s)
}

// everywhere asserts that an answer repeats the secret in its body and headers,
// in every encoding.
func everywhere(t *testing.T, where, secret, body string, h http.Header) {
	t.Helper()
	for name, v := range flowsite.Echoes(secret) {
		if !strings.Contains(body, v) {
			t.Errorf("%s: no echo %s in the body", where, name)
		}
		if h.Get("X-Echo-"+strings.ReplaceAll(name, "_", "-")) != v {
			t.Errorf("%s: no echo %s in the headers", where, name)
		}
	}
	if !strings.Contains(strings.Join(h.Values("Set-Cookie"), ";"), url.QueryEscape(secret)) {
		t.Errorf("%s: no echo in a cookie", where)
	}
	if to := h.Get("Location"); to != "" && !strings.Contains(to, url.QueryEscape(secret)) {
		t.Errorf("%s: no echo in %s", where, to)
	}
}

func TestEveryFileRouteEchoes(t *testing.T) {
	for _, chunk := range []int{0, 1} {
		s, storage := storageSite(t, flowsite.Options{Echo: true, Chunk: chunk, DirectUploads: true, RedirectDownloads: true})
		show := func(where, secret string, w *httptest.ResponseRecorder) {
			t.Helper()
			if n := w.Header().Get("Content-Length"); (n == "") != (chunk > 0) {
				t.Errorf("%s: length %q with pieces of %d", where, n, chunk)
			}
			everywhere(t, where, secret, w.Body.String(), w.Header())
		}
		form := func(name string, fields [][2]string) *httptest.ResponseRecorder {
			return sendForm(s, name, "application/x-www-form-urlencoded", encoded(fields))
		}
		upload := func(fields [][2]string) *httptest.ResponseRecorder {
			return sendForm(s, "upload_file", "multipart/form-data; boundary="+boundary, multipartBody(fields, "file", "x.mov", movieText))
		}
		show("upload_file", scriptKey, upload(movieFields()))
		show("a refusal", scriptKey, upload(movieFields("sudo_as_login", "nobody")))
		show("share_thumbnail", scriptKey, form("share_thumbnail", append(pairs("entities", "Shot_1", "source_entity", "Version_2", "filmstrip_thumbnail", "False"), scriptPairs()...)))
		u := begin(t, s, "False")
		request(t, storage, http.MethodPut, u.lines[1], "data")
		// The tool gives back the text as it got it, the site's lines first.
		show("api_link_file", scriptKey, form("api_link_file", append(pairs("entity_type", "Version", "entity_id", "1", "upload_link_info", u.info), scriptPairs("display_name", "x")...)))
		token := sessionOf(t, s)
		show("with a session", token, upload(append(pairs("entity_type", "Version", "entity_id", "1", "session_token", token), pairs("display_name", "x")...)))
		show("a redirect to storage", token, get(s, "/file_serve/attachment/801", token))
		show("no such file", token, get(s, "/file_serve/attachment/999", token))
		show("the placeholder", token, get(s, "/images/status/transient/thumbnail_pending.png", token))
		show("log in", "dead-"+token, get(s, "/file_serve/attachment/801", "dead-"+token))
		show("the login page", token, get(s, "/user/login?return_path=%2Fx&echo=y", token))
		s.Fail(flowsite.Fault{Status: http.StatusBadGateway}, 1)
		show("an error page", token, get(s, "/file_serve/attachment/801", token))
		clean(t, s)
		to := get(s, "/file_serve/attachment/801", token).Header().Get("Location")
		if got := request(t, storage, http.MethodGet, to, ""); got.body != movieText {
			t.Errorf("the link with an echo in it: %+v", got)
		}
		clean(t, s)
	}
}

// In front of a file the echoes are part of it: ranges and lengths agree.
func TestFilesEcho(t *testing.T) {
	s, token := fileSite(t, flowsite.Options{Echo: true})
	const path = "/file_serve/attachment/801"
	w := get(s, path, token)
	everywhere(t, "a file", token, w.Body.String(), w.Header())
	if !strings.HasSuffix(w.Body.String(), movieText) {
		t.Errorf("%q", w.Body)
	}
	all := w.Body.String()
	if got := get(s, path, token, header("Range", "bytes=7-99")).Body.String(); got != all[7:100] {
		t.Errorf("%q, want %q", got, all[7:100])
	}
	zipped := get(s, "/user/login", token, header("Accept-Encoding", "gzip"))
	zr, err := gzip.NewReader(zipped.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zr)
	if err != nil || !strings.Contains(string(text), token) {
		t.Errorf("%v %q", err, text)
	}
	clean(t, s)
}
