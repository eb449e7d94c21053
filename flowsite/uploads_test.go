package flowsite_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"stagedoor/flowsite"
)

const boundary = "c8af5ec7-5b0e-4a52-9df1-2a1a4a6b0c11"

// pairs are names and values in order, as a client puts them.
func pairs(kv ...string) [][2]string {
	var out [][2]string
	for i := 0; i < len(kv); i += 2 {
		out = append(out, [2]string{kv[i], kv[i+1]})
	}
	return out
}

func scriptPairs(kv ...string) [][2]string {
	return append(pairs("script_name", scriptName, "script_key", scriptKey), pairs(kv...)...)
}

func encoded(fields [][2]string) string {
	var b strings.Builder
	for i, f := range fields {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(f[0]) + "=" + url.QueryEscape(f[1]))
	}
	return b.String()
}

// multipartBody is a form as §3.1 (CAP) has it.
func multipartBody(fields [][2]string, part, filename, data string) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n", boundary, f[0], f[1])
	}
	fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"%s\"\r\nContent-Type: video/quicktime\r\nContent-Length: %d\r\n\r\n%s\r\n--%s--\r\n\r\n",
		boundary, part, filename, len(data), data, boundary)
	return b.String()
}

// sendForm posts a form as Python's urllib does.
func sendForm(s *flowsite.Site, name, contentType, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/upload/"+name, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Connection", "close")
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Set("User-Agent", "Python-urllib/3.11")
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func urlForm(s *flowsite.Site, name string, fields [][2]string) string {
	return sendForm(s, name, "application/x-www-form-urlencoded", encoded(fields)).Body.String()
}

func multiForm(s *flowsite.Site, name string, fields [][2]string, part, filename, data string) string {
	return sendForm(s, name, "multipart/form-data; boundary="+boundary, multipartBody(fields, part, filename, data)).Body.String()
}

func movieFields(extra ...string) [][2]string {
	return append(pairs("entity_type", "Version", "entity_id", "1"),
		scriptPairs(append([]string{"field_name", "sg_uploaded_movie", "display_name", "x.mov"}, extra...)...)...)
}

func TestUploadBecomesAnAttachmentOfTheRow_3_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	events := len(s.EventLog())
	if got := multiForm(s, "upload_file", movieFields("created_at", "2025-01-02T03:04:05"), "file", "x.mov", movieText); got != "1:801\nx.mov\n" {
		t.Fatalf("%q", got)
	}
	clean(t, s)
	want := sumOf(movieText)
	if f, ok := s.File(801); !ok || f != (flowsite.File{Name: "x.mov", ContentType: "video/quicktime", Size: int64(len(movieText)), SHA256: fmt.Sprint(want["sha256"])}) {
		t.Errorf("%+v", f)
	}
	if string(s.FileData(801)) != movieText {
		t.Errorf("%q", s.FileData(801))
	}
	c := call(t, s)
	row, _ := c.rows(readArgs("Version", all(cond("id", "is", 1)), "sg_uploaded_movie"))[0].(object)
	c.same(row["sg_uploaded_movie"],
		`{"content_type":"video/quicktime","id":801,"link_type":"upload","name":"x.mov","type":"Attachment","url":"https://stand-in.invalid/file_serve/attachment/801"}`)
	c.same(c.rows(readArgs("Attachment", all(cond("id", "is", 801)), "created_at", "file_extension", "attachment_links")),
		`[{"attachment_links":[{"id":1,"name":"harbour_sq01_0010_v001","type":"Version"}],"created_at":"2025-01-02T03:04:05Z","file_extension":"mov","id":801,"type":"Attachment"}]`)
	log := s.EventLog()[events:]
	if len(log) != 2 || log[0].Type != "Shotgun_Attachment_New" || log[1].Type != "Shotgun_Version_Change" || log[1].Attribute != "sg_uploaded_movie" || log[1].User != scriptName {
		t.Errorf("%+v", log)
	}
	r := s.Received()[0]
	if r.Kind != flowsite.RouteUpload || r.Method != "upload_file" || r.Type != "Version" || r.Fields["entity_id"] != "1" || r.Script != scriptName ||
		r.Credential != flowsite.KindScript || r.File == nil || r.File.Size != int64(len(movieText)) || strings.Contains(string(r.Body), "a movie") || r.Fields["script_key"] != "" {
		t.Errorf("%+v", r)
	}
}

// The order of the fields is the client's business (§3.1), and so is a quote
// in the file's name.
func TestFieldsMayComeInAnyOrder_3_1(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	fields := movieFields()
	for i, j := 0, len(fields)-1; i < j; i, j = i+1, j-1 {
		fields[i], fields[j] = fields[j], fields[i]
	}
	for i, name := range []string{"x.mov", `a"b.mov`, `a\"b.mov`, "å b.mov"} {
		if got := multiForm(s, "upload_file", fields, "file", name, "x"); !strings.HasPrefix(got, fmt.Sprintf("1:%d\n", 801+i)) {
			t.Fatalf("%q: %q", name, got)
		}
		if f, _ := s.File(801 + i); f.Name != strings.ReplaceAll(name, `\"`, `"`) {
			t.Errorf("%q became %q", name, f.Name)
		}
	}
	clean(t, s)
}

func TestUploadsThatNoClientSends_3_1(t *testing.T) {
	whole := multipartBody(movieFields(), "file", "x.mov", "data")
	multi := "multipart/form-data; boundary=" + boundary
	cut := func(old, next string) string { return strings.Replace(whole, old, next, 1) }
	for want, tc := range map[string]struct {
		name, contentType, body string
		change                  func(*http.Request)
	}{
		"form: entity_id is given twice":                {body: multipartBody(append(movieFields(), [2]string{"entity_id", "2"}), "file", "x.mov", "d")},
		"upload_file: unknown argument _method":         {body: multipartBody(movieFields("_method", "delete"), "file", "x.mov", "d")},
		"auth: more than one kind of credential":        {body: multipartBody(movieFields("session_token", "x"), "file", "x.mov", "d")},
		"auth: half a credential":                       {body: multipartBody(movieFields()[:3], "file", "x.mov", "d")},
		"auth: no credential":                           {body: multipartBody(movieFields()[:2], "file", "x.mov", "d")},
		"upload_file: no argument display_name":         {body: multipartBody(movieFields()[:4], "file", "x.mov", "d")},
		`upload_file: entity_id="01"`:                   {body: cut("\r\n\r\n1\r\n", "\r\n\r\n01\r\n")},
		`upload_file: the file part is not "file"`:      {body: multipartBody(movieFields(), "thumb_image", "x.mov", "d")},
		"a part after the file":                         {body: strings.TrimSuffix(whole, "--\r\n\r\n") + "\r\nContent-Disposition: form-data; name=\"entity_id\"\r\n\r\n2\r\n--" + boundary + "--\r\n"},
		"Content-Length is 4, the file has 5":           {body: cut("\r\ndata\r\n", "\r\ndata5\r\n")},
		"it doesn't begin with its boundary":            {body: "preamble\r\n" + whole},
		`"epilogue"[:5] after the end`:                  {body: whole + "e"},
		"something after a boundary":                    {body: cut(boundary+"\r\n", boundary+" \r\n")},
		"part header Content-Transfer-Encoding":         {body: cut("Content-Type: video/quicktime", "Content-Transfer-Encoding: base64")},
		"a header line that doesn't end in CRLF":        {body: cut("Content-Type: video/quicktime\r\n", "Content-Type: video/quicktime\n")},
		"part entity_type has headers":                  {body: cut("name=\"entity_type\"\r\n", "name=\"entity_type\"\r\nContent-Type: text/plain\r\n")},
		"disposition":                                   {body: cut("form-data; name", "form-data; NAME")},
		"it ends early":                                 {body: whole[:len(whole)-10]},
		"is no UTF-8":                                   {body: cut("\r\n\r\nx.mov\r\n", "\r\n\r\nx\xff.mov\r\n")},
		`the file's name is "a/b"`:                      {body: multipartBody(movieFields(), "file", "a/b", "d")},
		"no client calls /upload/other":                 {name: "other", body: whole},
		"no client calls /upload/upload_file?x=1":       {name: "upload_file?x=1", body: whole},
		"content type \"application/json\"":             {contentType: "application/json", body: whole},
		"content type \"" + multi + "; charset=utf-8\"": {contentType: multi + "; charset=utf-8", body: whole},
		"header Cookie":                                 {body: whole, change: header("Cookie", "_session_id=x")},
		"header Authorization":                          {body: whole, change: header("Authorization", "Bearer x")},
		"no content length":                             {body: whole, change: func(r *http.Request) { r.ContentLength = -1 }},
	} {
		s := newSite(t, flowsite.Options{})
		before := s.Snapshot()
		name, kind := tc.name, tc.contentType
		if name == "" {
			name = "upload_file"
		}
		if kind == "" {
			kind = multi
		}
		if tc.change == nil {
			tc.change = func(*http.Request) {}
		}
		want = strings.ReplaceAll(want, `"epilogue"[:5]`, `"\r\n\r\ne"`)
		violated(t, s, sendForm(s, name, kind, tc.body, tc.change), want)
		if !bytes.Equal(before, s.Snapshot()) {
			t.Errorf("%s: the site changed", want)
		}
	}
}

func TestURLEncodedFormsThatNoClientSends_3_2(t *testing.T) {
	good := encoded(append(pairs("entities", "Shot_1", "source_entity", "Version_1", "filmstrip_thumbnail", "False"), scriptPairs()...))
	for want, body := range map[string]string{
		"form: entities is given twice":                  good + "&entities=Shot_2",
		"share_thumbnail: unknown argument entities[]":   good + "&entities%5B%5D=Shot_2",
		`form: "x" is no pair`:                           good + "&x",
		`form: "" is no pair`:                            good + "&",
		`form: "a=%zz" is no pair`:                       good + "&a=%zz",
		`share_thumbnail: filmstrip_thumbnail="True"`:    strings.Replace(good, "False", "True", 1),
		"auth: script_key is no text or empty":           strings.Replace(good, url.QueryEscape(scriptKey), "", 1),
		"auth: reject_if_expired without a session":      good + "&reject_if_expired=True",
		"share_thumbnail: unknown argument extra_params": good + "&extra_params=1",
	} {
		s := newSite(t, flowsite.Options{})
		violated(t, s, sendForm(s, "share_thumbnail", "application/x-www-form-urlencoded", body), want)
	}
}

// §3.4: a refusal is HTTP 200 and 0: with why.
func TestRefusedUploads_3_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	s.AddScript("reader", "reader-key", flowsite.Role{Name: "Reader", Read: map[string][]string{"Version": {"*"}}, Write: map[string][]string{"Version": {"code"}}})
	s.AddUser(flowsite.Person{Login: "two", Password: "pw", SecondFactor: "123456"})
	with := func(auth ...string) [][2]string {
		return append(append(pairs("entity_type", "Version", "entity_id", "1"), pairs(auth...)...), pairs("field_name", "sg_uploaded_movie", "display_name", "x")...)
	}
	before := s.Snapshot()
	for want, fields := range map[string][][2]string{
		"0:Can't authenticate script 'publish'\n":                                              with("script_name", scriptName, "script_key", "wrong"),
		"0:Can't authenticate session.\n":                                                      with("session_token", "x", "reject_if_expired", "True"),
		"0:Missing two factor authentication token.\n":                                         with("user_login", "two", "user_password", "pw"),
		"0:API upload_file() Version.sg_uploaded_movie is not allowed for the role 'Reader'\n": with("script_name", "reader", "script_key", "reader-key"),
		"0:The user does not have permission to 'sudo': no person has the login 'nobody'\n":    with("script_name", scriptName, "script_key", scriptKey, "sudo_as_login", "nobody"),
		"0:API upload_file() Version.code is no file field\n":                                  {{"entity_type", "Version"}, {"entity_id", "1"}, {"script_name", scriptName}, {"script_key", scriptKey}, {"field_name", "code"}, {"display_name", "x"}},
		"0:API upload_file() Version with id=77 does not exist\n":                              {{"entity_type", "Version"}, {"entity_id", "77"}, {"script_name", scriptName}, {"script_key", scriptKey}, {"display_name", "x"}},
		"0:API upload_file() invalid/missing string entity 'type': version\n":                  {{"entity_type", "version"}, {"entity_id", "1"}, {"script_name", scriptName}, {"script_key", scriptKey}, {"display_name", "x"}},
	} {
		w := sendForm(s, "upload_file", "multipart/form-data; boundary="+boundary, multipartBody(fields, "file", "x.mov", "d"))
		if w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("%d %q, want %q", w.Code, w.Body, want)
		}
	}
	if !bytes.Equal(before, s.Snapshot()) {
		t.Error("a refused upload left something")
	}
	sso := newSite(t, flowsite.Options{UserAuthCode: 108})
	if got := multiForm(sso, "upload_file", with("user_login", "ann", "user_password", password), "file", "x.mov", "d"); !strings.HasPrefix(got, "0:") {
		t.Errorf("%q", got)
	}
	clean(t, s)
}

// Sudo and the session's own form are those of api3 (§1.3).
func TestUploadsAreOfWhoeverTheCredentialSays_1_3(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	token := sessionOf(t, s)
	with := func(auth ...string) [][2]string {
		return append(append(pairs("entity_type", "Version", "entity_id", "1"), pairs(auth...)...), pairs("display_name", "x")...)
	}
	for i, fields := range [][][2]string{
		with("script_name", scriptName, "script_key", scriptKey, "sudo_as_login", "ben", "session_uuid", "u-1"),
		with("session_token", token, "reject_if_expired", "True"),
		with("user_login", "ann", "user_password", password),
	} {
		if got := multiForm(s, "upload_file", fields, "file", "x.mov", "d"); !strings.HasPrefix(got, fmt.Sprintf("1:%d\n", 801+i)) {
			t.Errorf("%q", got)
		}
	}
	log := s.EventLog()
	if len(log) != 3 || log[0].User != "Ben Okafor" || log[0].Actual != scriptName || log[0].SessionUUID != "u-1" || log[1].User != scriptName || log[2].User != "Ann Åström" {
		t.Errorf("%+v", log)
	}
	clean(t, s)
}

func sessionOf(t *testing.T, s *flowsite.Site) string {
	t.Helper()
	m, _ := call(t, s).ok("get_session_token").(object)
	token, _ := m["session_id"].(string)
	return token
}

// §4.1 and §3.2: a thumbnail that is still being made is shown as a placeholder
// and can't be shared.
func TestPendingThumbnails_4_1(t *testing.T) {
	s := newSite(t, flowsite.Options{PendingThumbnails: true})
	c := call(t, s)
	if got := multiForm(s, "publish_thumbnail", append(pairs("entity_type", "Version", "entity_id", "1"), scriptPairs()...), "thumb_image", "t.png", "png"); got != "1:801\nt.png\n" {
		t.Fatalf("%q", got)
	}
	share := func(source string) string {
		return urlForm(s, "share_thumbnail", append(pairs("entities", "Shot_1,Shot_2", "source_entity", source, "filmstrip_thumbnail", "False"), scriptPairs()...))
	}
	image := func() any {
		row, _ := c.rows(readArgs("Version", all(cond("id", "is", 1)), "image"))[0].(object)
		return row["image"]
	}
	if got := share("Version_1"); !strings.HasPrefix(got, "2") {
		t.Errorf("%q", got)
	}
	if got := image(); got != "https://stand-in.invalid/images/status/transient/thumbnail_pending.png" {
		t.Error(got)
	}
	s.ProcessThumbnails()
	if got := share("Version_1"); got != "1:801\n\n" {
		t.Errorf("%q", got)
	}
	if got := image(); got != "https://stand-in.invalid/images/thumbnail/version_801.png" {
		t.Error(got)
	}
	if got := share("Shot_3"); got != "1:\n" { // no thumbnail: the others lose theirs
		t.Errorf("%q", got)
	}
	c.same(c.rows(readArgs("Shot", all(cond("id", "is", 1)), "image")), `[{"id":1,"image":null,"type":"Shot"}]`)
	for _, names := range []string{"Shot", "Shot_x", "Shot_1,", "_1", "Shot_01"} {
		if got := urlForm(s, "share_thumbnail", append(pairs("entities", names, "source_entity", "Version_1", "filmstrip_thumbnail", "1"), scriptPairs()...)); !strings.HasPrefix(got, "0:") {
			t.Errorf("%s: %q", names, got)
		}
	}
	clean(t, s)
}

// A value that was read may be written elsewhere; one with a link that isn't
// the site's own stays as it was written, so that it shows.
func TestFileValuesAreWrittenBack(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := call(t, s)
	multiForm(s, "upload_file", movieFields(), "file", "x.mov", "d")
	read := func(id int) any {
		row, _ := c.rows(readArgs("Version", all(cond("id", "is", id)), "sg_uploaded_movie"))[0].(object)
		return row["sg_uploaded_movie"]
	}
	write := func(v any) {
		c.ok("update", object{"type": "Version", "id": 2, "fields": fields("sg_uploaded_movie", v)})
	}
	write(read(1))
	s.SetURL("https://other.invalid")
	if encode(t, read(2)) != encode(t, read(1)) || !strings.Contains(encode(t, read(2)), "other.invalid") {
		t.Errorf("%v and %v", read(1), read(2))
	}
	v, _ := read(1).(object)
	v["url"] = "http://127.0.0.1:8470/file_serve/attachment/801"
	write(v)
	if got := encode(t, read(2)); !strings.Contains(got, "127.0.0.1:8470") {
		t.Error(got)
	}
	web := object{"url": "https://other.invalid/file_serve/attachment/801", "name": "a page", "link_type": "web"}
	write(web)
	if got := encode(t, read(2)); got != encode(t, web) {
		t.Error(got)
	}
}

func TestSnapshotHasFilesByTheirSum(t *testing.T) {
	one, other := newSite(t, flowsite.Options{}), newSite(t, flowsite.Options{})
	for s, data := range map[*flowsite.Site]string{one: "same", other: "else"} {
		multiForm(s, "upload_file", movieFields(), "file", "x.mov", data)
	}
	if bytes.Equal(one.Snapshot(), other.Snapshot()) {
		t.Error("two files look the same")
	}
	third := newSite(t, flowsite.Options{})
	if err := third.Restore(one.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Snapshot(), third.Snapshot()) {
		t.Error("a restored site differs")
	}
}

// A file beyond the bound is known by size and sum; no memory holds it.
func TestFilesAreKeptUpToABound(t *testing.T) {
	s := newSite(t, flowsite.Options{KeepFiles: 4 << 10})
	big := strings.Repeat("0123456789abcdef", 1024)
	for i, data := range []string{"small", big, "small too"} {
		if got := multiForm(s, "upload_file", movieFields(), "file", "x.mov", data); !strings.HasPrefix(got, "1:") {
			t.Fatalf("%q", got)
		}
		f, _ := s.File(801 + i)
		sum := sha256.Sum256([]byte(data))
		if f.SHA256 != hex.EncodeToString(sum[:]) || (s.FileData(801+i) != nil) != (len(data) < 100) {
			t.Errorf("%d: %+v, %d bytes kept", i, f, len(s.FileData(801+i)))
		}
	}
}

// failing is a body that ends with an error.
type failing struct{ io.Reader }

func (f failing) Read(b []byte) (int, error) {
	n, err := f.Reader.Read(b)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func TestBrokenUploadsLeaveNothing(t *testing.T) {
	body := multipartBody(movieFields(), "file", "x.mov", strings.Repeat("x", 200_000))
	s := newSite(t, flowsite.Options{})
	before := s.Snapshot()
	for i, at := range []int{20, 300, 5000, len(body) - 6} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("broken after %d bytes: answered", at)
				}
			}()
			sendForm(s, "upload_file", "multipart/form-data; boundary="+boundary, body, func(r *http.Request) {
				r.Body = io.NopCloser(failing{strings.NewReader(body[:at])})
			})
		}()
		if s.Aborted() != i+1 {
			t.Errorf("broken after %d bytes: %d counted", at, s.Aborted())
		}
	}
	if !bytes.Equal(before, s.Snapshot()) || len(s.Received()) != 4 || !s.Received()[3].Aborted {
		t.Error("a broken upload left something, or no record")
	}
	clean(t, s)
}

func TestWebRoutesThatAreNeverToBeCalled_6_1(t *testing.T) {
	for _, path := range []string{
		"/api3/sgtk_install_script", "/api3/track_metrics/", "/internal_api/session", "/internal_api/app_session_request/1",
		"/internal_api/autodesk_identity/license_renewal",
	} {
		s := newSite(t, flowsite.Options{})
		w := post(s, "{}", func(r *http.Request) { r.RequestURI = path })
		if r := s.Received(); len(r) != 1 || r[0].Kind != flowsite.RouteWeb {
			t.Errorf("%+v", r)
		}
		violated(t, s, w, "never to be called")
	}
}
