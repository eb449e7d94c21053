package flowsite_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"stagedoor/flowsite"
)

// storageSite is a site with its storage service, and a client of the service.
func storageSite(t *testing.T, o flowsite.Options) (*flowsite.Site, *http.Client) {
	t.Helper()
	s := newSite(t, o)
	srv, err := s.StartStorage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, client(t, srv, false)
}

// answered is a response read whole.
type answered struct {
	code   int
	header http.Header
	body   string
}

func request(t *testing.T, c *http.Client, verb, url, body string, change ...func(*http.Request)) answered {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), verb, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "video/quicktime")
	}
	for _, f := range change {
		f(r)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answered{res.StatusCode, res.Header, string(b)}
}

// begun is an upload that the site opened: the lines of its first answer.
type begun struct {
	info  string
	lines []string
}

func begin(t *testing.T, s *flowsite.Site, multipart string) begun {
	t.Helper()
	info := urlForm(s, "api_get_upload_link_info", append(pairs("upload_type", "Attachment", "filename", "x y.mov", "multipart_upload", multipart), scriptPairs()...))
	b := begun{info, strings.Split(info, "\n")}
	if b.lines[0] != "1" || len(b.lines) < 5 {
		t.Fatalf("%q", info)
	}
	return b
}

// about are the fields that name the upload.
func (b begun) about(more ...string) [][2]string {
	return append(append(pairs("upload_type", b.lines[3], "filename", "x y.mov", "timestamp", b.lines[2], "upload_id", b.lines[4]), pairs(more...)...), scriptPairs()...)
}

func (b begun) link(s *flowsite.Site, info string) string {
	return urlForm(s, "api_link_file", append(pairs("entity_type", "Version", "entity_id", "1", "upload_link_info", info),
		scriptPairs("field_name", "sg_uploaded_movie", "display_name", "x y.mov")...))
}

func TestDirectUploadInOnePiece_3_3(t *testing.T) {
	s, c := storageSite(t, flowsite.Options{DirectUploads: true, StorageLinks: true})
	u := begin(t, s, "False")
	if got := u.link(s, u.info); !strings.HasPrefix(got, "0:") {
		t.Errorf("linked before there was anything: %q", got)
	}
	put := request(t, c, http.MethodPut, u.lines[1], movieText)
	if put.code != http.StatusOK || put.header.Get("Etag") == "" || put.body != "" || put.header.Get("Set-Cookie") != "" {
		t.Fatalf("%+v", put)
	}
	if again := request(t, c, http.MethodPut, u.lines[1], "other"); again.code != http.StatusForbidden {
		t.Errorf("a used link took a second PUT: %+v", again)
	}
	for _, changed := range []string{strings.TrimSpace(u.info), strings.Replace(u.info, "sg-media", "sg-other", 1)} {
		if got := u.link(s, changed); !strings.HasPrefix(got, "0:") {
			t.Errorf("linked with another upload_link_info: %q", got)
		}
	}
	if got := u.link(s, u.info); got != "1:801\nx y.mov\n" {
		t.Fatalf("%q", got)
	}
	if got := u.link(s, u.info); !strings.HasPrefix(got, "0:") {
		t.Errorf("linked twice: %q", got)
	}
	row, _ := call(t, s).rows(readArgs("Version", all(cond("id", "is", 1)), "sg_uploaded_movie"))[0].(object)
	v, _ := row["sg_uploaded_movie"].(object)
	url, _ := v["url"].(string)
	for range 2 {
		if got := request(t, c, http.MethodGet, url, ""); got.body != movieText || got.header.Get("Content-Type") != "video/quicktime" {
			t.Errorf("%+v", got)
		}
	}
	clean(t, s)
}

func TestDirectUploadInParts_3_3(t *testing.T) {
	s, c := storageSite(t, flowsite.Options{DirectUploads: true})
	u := begin(t, s, "True")
	big, small := strings.Repeat("0123456789abcdef", 5<<20/16), "the end"
	var tags []string
	for i, data := range []string{big, small} {
		got := strings.Split(urlForm(s, "api_get_upload_link_for_part", u.about("part_number", []string{"1", "2"}[i])), "\n")
		if got[0] != "1" {
			t.Fatal(got)
		}
		tags = append(tags, request(t, c, http.MethodPut, got[1], data).header.Get("Etag"))
	}
	for _, wrong := range []string{tags[1] + "," + tags[0], tags[0], tags[0] + "," + tags[1] + "," + tags[1], strings.ReplaceAll(strings.Join(tags, ","), `"`, "")} {
		if got := urlForm(s, "api_complete_multipart_upload", u.about("etags", wrong)); !strings.HasPrefix(got, "0:") {
			t.Errorf("%s: %q", wrong, got)
		}
	}
	if got := u.link(s, u.info); !strings.HasPrefix(got, "0:") {
		t.Errorf("linked before it was complete: %q", got)
	}
	if got := urlForm(s, "api_complete_multipart_upload", u.about("etags", strings.Join(tags, ","))); got != "1\n" {
		t.Errorf("%q", got)
	}
	if got := u.link(s, u.info); !strings.HasPrefix(got, "1:801\n") {
		t.Fatalf("%q", got)
	}
	f, _ := s.File(801)
	if want := sumOf(big + small); f.SHA256 != want["sha256"] || f.Size != int64(len(big+small)) {
		t.Errorf("%+v, want %v", f, want)
	}
	clean(t, s)

	u = begin(t, s, "True")
	for _, n := range []string{"1", "2"} {
		link := strings.Split(urlForm(s, "api_get_upload_link_for_part", u.about("part_number", n)), "\n")[1]
		tags = append(tags, request(t, c, http.MethodPut, link, small).header.Get("Etag"))
	}
	if got := urlForm(s, "api_complete_multipart_upload", u.about("etags", tags[2]+","+tags[3])); !strings.Contains(got, "less than 5242880") {
		t.Errorf("a small part in the middle: %q", got)
	}
}

// The sum of a file that isn't kept is right whatever the order of the parts,
// where it can be known; else there is none.
func TestPartsOutOfOrder(t *testing.T) {
	for order, known := range map[string]bool{"12": true, "21": false, "122": true, "121": false} {
		s, c := storageSite(t, flowsite.Options{KeepFiles: -1})
		u := begin(t, s, "True")
		data := map[string]string{"1": strings.Repeat("a", 5<<20), "2": "bb"}
		tags := map[string]string{}
		for n := range strings.SplitSeq(order, "") {
			link := strings.Split(urlForm(s, "api_get_upload_link_for_part", u.about("part_number", n)), "\n")[1]
			tags[n] = request(t, c, http.MethodPut, link, data[n]).header.Get("Etag")
		}
		urlForm(s, "api_complete_multipart_upload", u.about("etags", tags["1"]+","+tags["2"]))
		if got := u.link(s, u.info); !strings.HasPrefix(got, "1:801\n") {
			t.Fatalf("%s: %q", order, got)
		}
		f, _ := s.File(801)
		if want := sumOf(data["1"] + data["2"]); known && f.SHA256 != want["sha256"] || !known && f.SHA256 != "" && f.SHA256 != want["sha256"] {
			t.Errorf("%s: %+v", order, f)
		}
		clean(t, s)
	}
}

// A link carries its right in itself; whatever else comes with it is a leak or
// a mistake.
func TestStorageTakesNothingButTheLink(t *testing.T) {
	for want, tc := range map[string]struct {
		verb, suffix string
		change       func(*http.Request)
	}{
		"header Authorization":                       {change: header("Authorization", "Bearer x")},
		"header Cookie":                              {change: header("Cookie", "_session_id=x")},
		"storage was sent the key of script publish": {change: header("User-Agent", "x "+scriptKey)},
		"no link like this was given out":            {suffix: "&x=1"},
		"the verb is GET":                            {verb: http.MethodGet},
		"the verb is POST":                           {verb: http.MethodPost},
		"no content length":                          {change: func(r *http.Request) { r.ContentLength = -1 }},
		"header X-Request-Id":                        {change: header("X-Request-Id", "1")},
	} {
		s, c := storageSite(t, flowsite.Options{})
		u := begin(t, s, "False")
		verb, body := http.MethodPut, "data"
		if tc.verb != "" {
			verb, body = tc.verb, ""
		}
		if tc.change == nil {
			tc.change = func(*http.Request) {}
		}
		got := request(t, c, verb, u.lines[1]+tc.suffix, body, tc.change)
		found := strings.Join(s.Violations(), "\n")
		if got.code != http.StatusBadRequest || !strings.Contains(found, want) {
			t.Errorf("%d, violations %q, want one about %q", got.code, found, want)
		}
	}
}

func TestLinksExpireAndCanBeGoodForOneUse(t *testing.T) {
	now := clock()
	s, c := storageSite(t, flowsite.Options{OneUseLinks: true, StorageLinks: true, Now: func() time.Time { return now }})
	id := s.AddFile("x.txt", "text/plain", []byte("text"))
	link := func() string {
		row, _ := call(t, s).rows(readArgs("Attachment", all(cond("id", "is", id)), "this_file"))[0].(object)
		v, _ := row["this_file"].(object)
		url, _ := v["url"].(string)
		return url
	}
	first, second := link(), link()
	if first == second {
		t.Error("two reads gave the same link")
	}
	for i, want := range []int{http.StatusOK, http.StatusForbidden} {
		if got := request(t, c, http.MethodGet, first, ""); got.code != want {
			t.Errorf("GET %d: %+v", i, got)
		}
	}
	now = now.Add(15 * time.Minute)
	got := request(t, c, http.MethodGet, second, "")
	if got.code != http.StatusForbidden || got.header.Get("Content-Type") != "application/xml" || !strings.Contains(got.body, "Request has expired") {
		t.Errorf("%+v", got)
	}
	clean(t, s)
}

func TestBrokenPutsLeaveNothing(t *testing.T) {
	s, c := storageSite(t, flowsite.Options{})
	u := begin(t, s, "False")
	over := make(chan flowsite.Received, 1)
	s.BeforeReply(func(r flowsite.Received) { over <- r })
	src, dst := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, u.lines[1], src)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 1 << 20
	go func() {
		_, _ = dst.Write(bytes.Repeat([]byte("x"), 1<<16)) // the next line ends it
		_ = dst.CloseWithError(io.ErrUnexpectedEOF)
	}()
	if res, err := c.Do(r); err == nil {
		_ = res.Body.Close() // the test has failed
		t.Fatal("answered")
	}
	if got := <-over; !got.Aborted || s.Aborted() != 1 {
		t.Errorf("%+v, %d", got, s.Aborted())
	}
	s.BeforeReply(nil)
	if got := u.link(s, u.info); !strings.HasPrefix(got, "0:") {
		t.Errorf("%q", got)
	}
	if got := request(t, c, http.MethodPut, u.lines[1], "whole"); got.code != http.StatusOK {
		t.Errorf("the link is used up: %+v", got)
	}
	clean(t, s)
}
