package flowsite_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"stagedoor/flowsite"
)

// get sends what the real client sends for a download (§4.2).
func get(s *flowsite.Site, path, token string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("User-Agent", "shotgun-json (3.10.3)")
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Set("Connection", "close")
	if token != "" {
		r.Header.Set("Cookie", "_session_id="+token)
	}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// fileSite has a file 801 that is also the movie and the thumbnail of
// Version 1, and a live session.
func fileSite(t *testing.T, o flowsite.Options) (*flowsite.Site, string) {
	t.Helper()
	s := newSite(t, o)
	multiForm(s, "upload_file", movieFields(), "file", "x å.mov", movieText)
	multiForm(s, "publish_thumbnail", append(pairs("entity_type", "Version", "entity_id", "1"), scriptPairs()...), "thumb_image", "t.png", "png")
	clean(t, s)
	return s, sessionOf(t, s)
}

func TestDownloads_4_1(t *testing.T) {
	s, token := fileSite(t, flowsite.Options{})
	for path, want := range map[string]string{
		"/file_serve/attachment/801":        movieText,
		"/file_serve/version/1/mp4":         movieText,
		"/files/801/x%20%C3%A5.mov":         movieText,
		"/thumbnail/full/Version/1":         "png",
		"/images/thumbnail/version_802.png": "png",
	} {
		w := get(s, path, token)
		if w.Code != http.StatusOK || w.Body.String() != want || w.Header().Get("Content-Length") != strconv.Itoa(len(want)) ||
			w.Header().Get("Etag") == "" || w.Header().Get("Accept-Ranges") != "bytes" {
			t.Errorf("%s: %d %q %v", path, w.Code, w.Body, w.Header())
		}
	}
	if got := get(s, "/file_serve/attachment/801", token).Header(); got.Get("Content-Type") != "video/quicktime" || got.Get("Content-Disposition") != "attachment; filename*=utf-8''x%20%C3%A5.mov" {
		t.Errorf("%v", got)
	}
	if got := get(s, "/images/status/transient/thumbnail_pending.png", token); !strings.HasPrefix(got.Body.String(), "\x89PNG") {
		t.Errorf("%q", got.Body)
	}
	for _, path := range []string{
		"/file_serve/attachment/800", "/file_serve/attachment/99", "/file_serve/attachment/x", "/file_serve/version/2/mp4", "/file_serve/version/1/avi",
		"/thumbnail/full/Version/99", "/thumbnail/full/version/1", "/images/other.gif", "/files/801/other.mov", "/file_serve/attachment", "/files/x",
	} {
		if w := get(s, path, token); w.Code != http.StatusBadRequest { // §4.3
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	clean(t, s)
}

func TestRangesAndConditions(t *testing.T) {
	s, token := fileSite(t, flowsite.Options{})
	const path = "/file_serve/attachment/801"
	whole := get(s, path, token)
	tag, at := whole.Header().Get("Etag"), whole.Header().Get("Last-Modified")
	for _, tc := range []struct {
		name, value string
		code        int
		body        string
	}{
		{"Range", "bytes=2-6", http.StatusPartialContent, movieText[2:7]},
		{"Range", "bytes=-5", http.StatusPartialContent, movieText[len(movieText)-5:]},
		{"Range", "bytes=900-", http.StatusRequestedRangeNotSatisfiable, ""},
		{"If-None-Match", tag, http.StatusNotModified, ""},
		{"If-None-Match", `"other"`, http.StatusOK, movieText},
		{"If-Modified-Since", at, http.StatusNotModified, ""},
	} {
		w := get(s, path, token, header(tc.name, tc.value))
		if w.Code != tc.code || tc.body != "" && w.Body.String() != tc.body {
			t.Errorf("%s: %s: %d %q", tc.name, tc.value, w.Code, w.Body)
		}
	}
	w := get(s, path, token, header("Range", "bytes=1-2"), header("If-Range", `"other"`))
	if w.Code != http.StatusOK || w.Body.String() != movieText {
		t.Errorf("If-Range of another file: %d", w.Code)
	}
	w = get(s, path, token, func(r *http.Request) { r.Method = http.MethodHead })
	if w.Code != http.StatusOK || w.Body.Len() > 0 || w.Header().Get("Content-Length") != strconv.Itoa(len(movieText)) {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	clean(t, s)
}

// §4.3: whoever has no live session is sent to the login page, which a client
// takes for the file. Sessions die unused, and use renews them (§6.1).
func TestDownloadsNeedALiveSession_4_3(t *testing.T) {
	now := clock()
	s, token := fileSite(t, flowsite.Options{Now: func() time.Time { return now }})
	const path, login = "/file_serve/attachment/801", "http://example.com/user/login?return_path=%2Ffile_serve%2Fattachment%2F801"
	for _, bad := range []string{"", "x", scriptKey[:5]} {
		w := get(s, path, bad)
		if w.Code != http.StatusFound || w.Header().Get("Location") != login {
			t.Errorf("%q: %d %v", bad, w.Code, w.Header())
		}
	}
	w := get(s, strings.TrimPrefix(login, "http://example.com"), "")
	if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Content-Type"), "text/html") || !strings.Contains(w.Header().Get("Set-Cookie"), flowsite.CookieCanary) {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for range 3 {
		now = now.Add(23 * time.Hour)
		if w := get(s, path, token); w.Code != http.StatusOK {
			t.Fatalf("a session in use died: %d", w.Code)
		}
	}
	now = now.Add(25 * time.Hour)
	if w := get(s, path, token); w.Code != http.StatusFound {
		t.Errorf("an unused session lives: %d", w.Code)
	}
	clean(t, s)
}

func TestDownloadsThatNoClientSends(t *testing.T) {
	const path = "/file_serve/attachment/801"
	for want, change := range map[string]func(*http.Request){
		"the verb is POST":               func(r *http.Request) { r.Method = http.MethodPost },
		"the target is " + path + "?x=1": func(r *http.Request) { r.RequestURI += "?x=1" },
		"header Authorization":           header("Authorization", "Bearer x"),
		"the cookie isn't _session_id":   header("Cookie", "_session_id=x; other=y"),
		"header Cookie repeated":         header("Cookie", "_session_id=x", "_session_id=y"),
		"header Origin":                  header("Origin", "http://localhost"),
		"a body":                         func(r *http.Request) { r.ContentLength = 3 },
	} {
		s, token := fileSite(t, flowsite.Options{})
		violated(t, s, get(s, path, token, change), want)
	}
	s, _ := fileSite(t, flowsite.Options{})
	violated(t, s, get(s, "/user/login?other=1", ""), "the target is /user/login?other=1")
}

func TestDownloadsMayBeRedirectedToStorage_4_3(t *testing.T) {
	s, c := storageSite(t, flowsite.Options{RedirectDownloads: true})
	multiForm(s, "upload_file", movieFields(), "file", "x.mov", movieText)
	w := get(s, "/file_serve/attachment/801", sessionOf(t, s))
	if w.Code != http.StatusFound || !strings.Contains(w.Header().Get("Location"), "X-Amz-Signature=") {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if got := request(t, c, http.MethodGet, w.Header().Get("Location"), "", header("Range", "bytes=0-6")); got.code != http.StatusPartialContent || got.body != "a movie" {
		t.Errorf("%+v", got)
	}
	clean(t, s)
}

func TestLargeFilesAreComputed(t *testing.T) {
	const size = 64<<20 + 13
	s := newSite(t, flowsite.Options{})
	id := s.AddLargeFile(size)
	token := sessionOf(t, s)
	h := sha256.New()
	w := &hashing{httptest.NewRecorder(), h, 0}
	r := httptest.NewRequest(http.MethodGet, fmt.Sprintf("/file_serve/attachment/%d", id), nil)
	r.Header.Set("Cookie", "_session_id="+token)
	s.ServeHTTP(w, r)
	if got := hex.EncodeToString(h.Sum(nil)); w.n != size || got != flowsite.LargeFileSHA256(size) {
		t.Errorf("%d bytes, sum %s", w.n, got)
	}
	path := fmt.Sprintf("/file_serve/attachment/%d", id)
	one := get(s, path, token, header("Range", "bytes=1000001-1000030")).Body.String()
	two := get(s, path, token, header("Range", "bytes=1000010-1000020")).Body.String()
	if one[9:20] != two {
		t.Error("two ranges disagree")
	}
	clean(t, s)
}

// hashing is an answer of which only the sum is kept.
type hashing struct {
	*httptest.ResponseRecorder
	w io.Writer
	n int64
}

func (h *hashing) Write(b []byte) (int, error) {
	h.n += int64(len(b))
	return h.w.Write(b)
}
