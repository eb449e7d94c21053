package flowsite_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"stagedoor/flowsite"
)

// storing is a site whose files go to a storage service, and a client that
// trusts it.
func storing(t *testing.T, o flowsite.Options) (*flowsite.Site, *http.Client) {
	t.Helper()
	o.DirectUploads = true
	s := newSite(t, o)
	srv, err := s.StartStorage()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() }) // what it says is of no interest here
	return s, client(t, srv, false)
}

// fetch sends a request that carries no credential, and gives status, ETag and
// body.
func fetch(t *testing.T, c *http.Client, verb, target, body string) (int, string, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), verb, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }() // read to its end below
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Etag"), string(b)
}

// begin asks for an upload, and gives its data and links.
func (c restCaller) begin(target string) (data, links object) {
	c.tb.Helper()
	m := c.get(target).ok(http.StatusOK).object()
	data, _ = m["data"].(object)
	links, _ = m["links"].(object)
	return data, links
}

// complete ends an upload.
func (c restCaller) complete(links, info, more object) restAnswer {
	c.tb.Helper()
	target, _ := links["complete_upload"].(string)
	c.prefix = ""
	return c.post(target, encode(c.tb, object{"upload_info": info, "upload_data": more}))
}

// §5.5: the three steps with storage, and the file behind a redirect.
func TestRESTUploadToStorage_5_5(t *testing.T) {
	s, storage := storing(t, flowsite.Options{})
	c := viaREST(t, s)
	info, links := c.begin("/entity/versions/1/sg_uploaded_movie/_upload?filename=clip.mov")
	call(t, s).same(info, `{"timestamp":"2026-03-04T10:30:00Z","upload_type":"Attachment","upload_id":null,"storage_service":"s3","original_filename":"clip.mov","multipart_upload":false}`)
	if links["complete_upload"] != "/api/v1/entity/versions/1/sg_uploaded_movie/_upload" {
		t.Errorf("%v", links)
	}
	upload, _ := links["upload"].(string)
	if status, tag, body := fetch(t, storage, http.MethodPut, upload, "moving pictures"); status != http.StatusOK || tag == "" || body != "" {
		t.Fatalf("HTTP %d %q %q", status, tag, body)
	}
	if a := c.complete(links, info, object{"display_name": "take 1", "tags": array{link("Tag", 1)}}).ok(http.StatusCreated); a.text != " " {
		t.Errorf("%q", a.text)
	}
	c.complete(links, info, object{}).refused(http.StatusBadRequest, 103)

	movie := c.get("/entity/versions/1?fields=sg_uploaded_movie").ok(http.StatusOK).at("data", "attributes", "sg_uploaded_movie")
	if member(movie, "name") != "take 1" || member(movie, "link_type") != "upload" {
		t.Fatalf("%v", movie)
	}
	rows := call(t, s).rows(readArgs("Version", all(cond("id", "is", 1)), "sg_uploaded_movie"))
	if encode(t, member(rows[0], "sg_uploaded_movie")) != encode(t, movie) {
		t.Errorf("api3 sees %v, REST %v", rows[0], movie)
	}
	for _, alt := range []string{"original", "thumbnail"} {
		a := c.get("/entity/versions/1/sg_uploaded_movie?alt=" + alt).ok(http.StatusFound)
		if status, _, body := fetch(t, storage, http.MethodGet, a.header.Get("Location"), ""); status != http.StatusOK || body != "moving pictures" {
			t.Errorf("HTTP %d %q", status, body)
		}
	}
	clean(t, s)
}

// §5.5: parts, their tags, and the end of an upload that is given up.
func TestRESTUploadInParts_5_5(t *testing.T) {
	s, storage := storing(t, flowsite.Options{})
	c := viaREST(t, s)
	first, second := strings.Repeat("a", 5<<20), "the rest"
	const path = "/entity/versions/1/sg_uploaded_movie/_upload"
	info, links := c.begin(path + "?filename=clip.mov&multipart_upload=true")
	if info["multipart_upload"] != true || info["upload_id"] == nil {
		t.Fatalf("%v", info)
	}
	upload, _ := links["upload"].(string)
	_, tag1, _ := fetch(t, storage, http.MethodPut, upload, first)
	next, _ := links["get_next_part"].(string)
	part := restCaller{tb: t, site: s, token: c.token}.get(next).ok(http.StatusOK)
	upload, _ = part.at("links", "upload").(string)
	if after, _ := part.at("links", "get_next_part").(string); !strings.Contains(after, "part_number=3") {
		t.Errorf("%q", after)
	}
	_, tag2, _ := fetch(t, storage, http.MethodPut, upload, second)
	says(t, c.complete(links, info, object{}).refused(http.StatusBadRequest, 103), "'etags'")
	info["etags"] = array{strings.Trim(tag2, `"`), strings.Trim(tag1, `"`)}
	says(t, c.complete(links, info, object{}).refused(http.StatusBadRequest, 103), "Error completing multipart upload.")
	info["etags"] = array{strings.Trim(tag1, `"`), strings.Trim(tag2, `"`)}
	c.complete(links, info, object{}).ok(http.StatusCreated)
	movie := c.get("/entity/versions/1/sg_uploaded_movie").ok(http.StatusOK).object()["data"]
	id, _ := member(movie, "id").(float64)
	if got := string(s.FileData(int(id))); got != first+second {
		t.Errorf("%d bytes arrived", len(got))
	}

	info, links = c.begin(path + "?filename=other.mov&multipart_upload=true")
	says(t, c.post(path+"/multipart_abort", encode(t, object{"upload_id": "x"})).refused(http.StatusBadRequest, 103), "is missing")
	c.post(path+"/multipart_abort", encode(t, info)).ok(http.StatusNoContent)
	says(t, c.post(path+"/multipart_abort", encode(t, info)).refused(http.StatusBadRequest, 103), "Failed to abort S3 multipart upload")
	c.complete(links, info, object{}).refused(http.StatusBadRequest, 103)
	for query, why := range map[string]string{
		"": "is missing", "?upload_type=Attachment&filename=x&timestamp=y&part_number=2": "Could not generate upload url",
	} {
		says(t, c.get(path+"/multipart"+query).refused(http.StatusBadRequest, 103), why)
	}
	clean(t, s)
}

// sg begins an upload to the site, and gives what its PUT is sent to.
func (c restCaller) sg(target string) (data, links object, put string) {
	c.tb.Helper()
	data, links = c.begin(target)
	upload, _ := links["upload"].(string)
	u, err := url.Parse(upload)
	if err != nil || data["storage_service"] != "sg" {
		c.tb.Fatalf("%v %v", data, links)
	}
	return data, links, u.RequestURI()
}

// §5.5: without storage the file goes to the site, by a signed link that is
// good once, with a token or without.
func TestRESTUploadToTheSite_5_5(t *testing.T) {
	now := clock()
	s := newSite(t, flowsite.Options{Now: func() time.Time { return now }})
	c := viaREST(t, s)
	picture := header("Content-Type", "image/png")
	for _, token := range []string{"", c.token} {
		info, links, put := c.sg("/entity/versions/2/image/_upload?filename=v.png")
		if info["upload_type"] != "Thumbnail" {
			t.Errorf("%v", info)
		}
		bare := restCaller{tb: t, site: s, token: token}
		a := bare.send(http.MethodPut, put, "a picture", picture, header("Content-Size", "9")).ok(http.StatusOK)
		if a.at("data", "upload_id") == nil || a.at("links", "complete_upload") != links["complete_upload"] {
			t.Errorf("%s", a.text)
		}
		bare.send(http.MethodPut, put, "another", picture).refused(http.StatusForbidden, 103)
		if token != "" {
			info["upload_id"] = a.at("data", "upload_id") // as Rust sends it
		}
		c.complete(links, info, object{}).ok(http.StatusCreated)
	}
	got := s.Received()
	if last := got[len(got)-3]; last.Method != "rest_upload" || last.Type != "Version" || last.File == nil || last.File.Size != 9 || last.File.ContentType != "image/png" {
		t.Errorf("%+v", last)
	}
	image, _ := c.get("/entity/versions/2?fields=image").at("data", "attributes", "image").(string)
	if !strings.Contains(image, "/images/thumbnail/version_") {
		t.Errorf("%q", image)
	}
	if at := c.get("/entity/versions/2/image?alt=original").ok(http.StatusFound).header.Get("Location"); !strings.Contains(at, "/file_serve/attachment/") {
		t.Errorf("%q", at)
	}

	_, _, put := c.sg("/entity/notes/700/_upload?filename=n.txt")
	bare := restCaller{tb: t, site: s}
	for _, wrong := range []string{
		strings.Replace(put, "filename=n.txt", "filename=x.txt", 1), strings.Replace(put, "user_type=ApiUser", "user_type=HumanUser", 1),
		strings.Replace(put, "/notes/700", "/notes/701", 1), strings.Replace(put, "signature=", "signature=0", 1),
	} {
		says(t, bare.send(http.MethodPut, wrong, "x", picture).refused(http.StatusBadRequest, 103), "Invalid signature")
	}
	says(t, bare.send(http.MethodPut, "/api/v1/entity/notes/700/_upload?filename=n.txt", "x", picture).refused(http.StatusBadRequest, 103), "signature is missing")
	now = now.Add(15 * time.Minute)
	bare.send(http.MethodPut, put, "x", picture).refused(http.StatusForbidden, 103)
	bare.token = "dead"
	bare.send(http.MethodPut, put, "x", picture).refused(http.StatusUnauthorized, 102)
	clean(t, s)
}

// §5.5: a file may come chunked, as Rust sends it; one over the bound is known
// by its sum.
func TestRESTUploadMayBeChunked_5_5(t *testing.T) {
	s := newSite(t, flowsite.Options{KeepFiles: 8})
	c := viaREST(t, s)
	chunked := func(r *http.Request) { r.ContentLength, r.TransferEncoding = -1, []string{"chunked"} }
	for data, kept := range map[string]string{"small": "small", "more than eight bytes": ""} {
		info, links, put := c.sg("/entity/versions/1/sg_uploaded_movie/_upload?filename=clip.mov")
		restCaller{tb: t, site: s}.send(http.MethodPut, put, data, chunked).ok(http.StatusOK)
		c.complete(links, info, object{}).ok(http.StatusCreated)
		id, _ := member(c.get("/entity/versions/1/sg_uploaded_movie").object()["data"], "id").(float64)
		file, ok := s.File(int(id))
		if !ok || file.Size != int64(len(data)) || len(file.SHA256) != 64 || string(s.FileData(int(id))) != kept {
			t.Errorf("%+v %q", file, s.FileData(int(id)))
		}
	}
	clean(t, s)
}

// §5.5: an upload is complete whether or not a byte came.
func TestCompleteWithoutBytes_5_5(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	for _, target := range []string{"/entity/notes/700/_upload", "/entity/notes/700/attachments/_upload"} {
		info, links, _ := c.sg(target + "?filename=n.txt")
		c.complete(links, info, object{}).ok(http.StatusCreated)
	}
	if got := c.get("/entity/notes/700/relationships/attachments").list("data"); len(got) != 3 {
		t.Errorf("%v", got)
	}
	clean(t, s)
}

// §5.5: what can't be uploaded to.
func TestRESTUploadIsRefused_5_5(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	for target, why := range map[string]string{
		"/entity/notes/700/_upload":                    "filename is missing",
		"/entity/shots/1/code/_upload?filename=x":      "Field Shot.code is not an image or attachment.",
		"/entity/shots/1/tags/_upload?filename=x":      "Field Shot.tags is not an image or attachment.",
		"/entity/versions/1/sg_uploaded_movie?alt=big": "alt must be one of: original, thumbnail",
		"/entity/versions/1/code":                      "Field Version.code is not an image or attachment.",
	} {
		says(t, c.get(target).refused(http.StatusBadRequest, 103), why)
	}
	for target, why := range map[string]string{
		"/entity/shots/1/_upload?filename=x":       "Field 'Shot.attachments' does not exist.",
		"/entity/shots/1/sg_nope/_upload?filename": "",
		"/entity/shots/1/sg_nope":                  "Field 'Shot.sg_nope' does not exist.",
	} {
		if why == "" {
			violatedREST(t, s, c.get(target), "the query has filename")
			continue
		}
		says(t, c.get(target).refused(http.StatusNotFound, 103), why)
	}
	says(t, c.get("/entity/versions/1/sg_uploaded_movie?alt=original").refused(http.StatusNotFound, 104), "Field sg_uploaded_movie is empty.")
	says(t, c.get("/entity/shots/1/image?alt=original").refused(http.StatusNotFound, 104), "File not found")
	if got := c.get("/entity/versions/1/sg_uploaded_movie").ok(http.StatusOK).object()["data"]; got != nil {
		t.Errorf("%v", got)
	}
	clean(t, s)
}

// §5.5: an upload that breaks off leaves nothing.
func TestBrokenRESTUploadLeavesNothing_5_5(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	_, _, put := c.sg("/entity/versions/1/sg_uploaded_movie/_upload?filename=clip.mov")
	before := string(s.Snapshot())
	r := httptest.NewRequest(http.MethodPut, put, strings.NewReader("half"))
	r.ContentLength = 8
	func() {
		defer func() {
			if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
				t.Error("a broken upload was answered")
			}
		}()
		s.ServeHTTP(httptest.NewRecorder(), r)
	}()
	if string(s.Snapshot()) != before || s.Aborted() != 1 {
		t.Error("a broken upload left something")
	}
	restCaller{tb: t, site: s}.send(http.MethodPut, put, "whole").ok(http.StatusOK)
	clean(t, s)
}

// A redirect carries what was sent, on a site that echoes: in a signed link
// and in any other.
func TestRedirectsEcho_6(t *testing.T) {
	s, storage := storing(t, flowsite.Options{Echo: true})
	c := viaREST(t, s)
	info, links := c.begin("/entity/versions/1/image/_upload?filename=v.png")
	upload, _ := links["upload"].(string)
	fetch(t, storage, http.MethodPut, upload, "a picture")
	c.complete(links, info, object{}).ok(http.StatusCreated)
	for _, target := range []string{"/entity/versions/1/image?alt=original", "/entity/versions/2/image?alt=original"} {
		a := c.get(target).ok(http.StatusFound)
		if at := a.header.Get("Location"); !strings.Contains(at, c.token) {
			t.Errorf("%s: %s", target, at)
		}
		if !strings.Contains(strings.Join(a.header["Set-Cookie"], "\n"), c.token) {
			t.Errorf("%v", a.header["Set-Cookie"])
		}
	}
	clean(t, s)
}
