package flow_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"stagedoor/flow"
	"stagedoor/secret"
)

// sentForm is a form as a client sent it.
type sentForm struct {
	Client, Path, Body string
	ContentType        string `json:"content_type"`
}

// recordedForms are what the real clients sent to a server that wrote it down,
// each byte as one character.
func recordedForms(tb testing.TB) []sentForm {
	tb.Helper()
	raw, err := os.ReadFile("testdata/forms.json")
	if err != nil {
		tb.Fatal(err)
	}
	var forms []sentForm
	if err := json.Unmarshal(raw, &forms); err != nil {
		tb.Fatal(err)
	}
	for i := range forms {
		b := make([]byte, 0, len(forms[i].Body))
		for _, r := range forms[i].Body {
			if r > 0xff {
				tb.Fatalf("%U is no byte", r)
			}
			b = append(b, byte(r))
		}
		forms[i].Body = string(b)
	}
	return forms
}

func (s sentForm) multipart() bool { return strings.HasPrefix(s.ContentType, "multipart/") }

// read parses a form by its content type, as the proxy does.
func (s sentForm) read(l *flow.Links) (*flow.Form, error) {
	if s.multipart() {
		return flow.ReadMultipart(s.Path, s.ContentType, strings.NewReader(s.Body), int64(len(s.Body)), rand.Reader, l)
	}
	return flow.ParseForm(s.Path, []byte(s.Body), l)
}

// send writes a form as the proxy does, to its end.
func send(f *flow.Form, c secret.Credential) (sentForm, error) {
	out := sentForm{Path: "/upload/" + f.Call.Method}
	if !f.HasFile() {
		contentType, body := f.Encode(c)
		out.ContentType, out.Body = contentType, string(body)
		return out, nil
	}
	contentType, head := f.Head(c)
	file, length := f.File()
	rest, err := io.ReadAll(file)
	out.ContentType, out.Body = contentType, string(head)+string(rest)
	if err == nil && length != int64(len(rest)) {
		err = fmt.Errorf("announced %d bytes, sent %d", length, len(rest))
	}
	return out, err
}

// siteForm is a form as an independent reader understands it.
type siteForm struct {
	fields                         map[string]string
	file, filename, typ, fileField string
}

// understand reads a form with the standard library, and refuses what it finds
// twice.
func (s sentForm) understand(t *testing.T) siteForm {
	t.Helper()
	out := siteForm{fields: map[string]string{}}
	if !s.multipart() {
		values, err := url.ParseQuery(s.Body)
		if err != nil {
			t.Fatalf("%v: %s", err, s.Body)
		}
		for name, all := range values {
			if len(all) != 1 {
				t.Fatalf("%s stands %d times", name, len(all))
			}
			out.fields[name] = all[0]
		}
		return out
	}
	_, params, err := mime.ParseMediaType(s.ContentType)
	if err != nil {
		t.Fatal(err)
	}
	r := multipart.NewReader(strings.NewReader(s.Body), params["boundary"])
	for {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%v in %q", err, s.Body)
		}
		_, disposition, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		name := disposition["name"]
		if _, twice := out.fields[name]; twice || out.fileField != "" {
			t.Fatalf("%s stands twice, or behind the file", name)
		}
		if filename, ok := disposition["filename"]; ok {
			out.fileField, out.filename, out.file, out.typ = name, filename, string(body), part.Header.Get("Content-Type")
			continue
		}
		out.fields[name] = string(body)
	}
}

func TestFormsOfTheRealClientsReachWhatTheyName(t *testing.T) {
	want := map[string]string{
		"/upload/upload_file Version 12":                   "Version.sg_uploaded_movie/7",
		"/upload/upload_file Shot 12":                      "Shot.attachments/7",
		"/upload/publish_thumbnail Shot 12":                "Shot.image/7",
		"/upload/publish_thumbnail Asset 12":               "Asset.filmstrip_image/7",
		"/upload/api_get_upload_link_info  0":              "",
		"/upload/api_get_upload_link_for_part  0":          "",
		"/upload/api_complete_multipart_upload  0":         "",
		"/upload/api_link_file Version 12":                 "Version.sg_uploaded_movie/7",
		"/upload/api_link_file Shot 12":                    "Shot.image/7",
		"/upload/api_link_file Asset 12":                   "Asset.filmstrip_image/7",
		"/upload/share_thumbnail  0":                       "Version.image/1 Shot.image/7 CustomEntity01.image/7",
		"/upload/share_thumbnail Asset_shots_Connection 1": "Version.filmstrip_image/1 Asset_shots_Connection.filmstrip_image/7",
	}
	met := map[string]bool{}
	for _, s := range recordedForms(t) {
		f, err := s.read(nil)
		if err != nil {
			t.Errorf("%s %s: %v", s.Client, s.Path, err)
			continue
		}
		c := f.Call
		key := s.Path + " " + c.Type + " " + strconv.FormatInt(c.ID, 10)
		met[key] = true
		if got := touches(c); got != want[key] {
			t.Errorf("%s touches %q, want %q", key, got, want[key])
		}
		if c.Kind != flow.KindUpload || c.Group != flow.GroupUpload || !c.Writes || c.UserAuth || c.DroppedAuth != nil {
			t.Errorf("%s: %+v", key, c)
		}
	}
	for key := range want {
		if !met[key] {
			t.Errorf("no recorded form is %q", key)
		}
	}
}

func TestFormsOfTheRealClientsGoOnWithNothingButOurCredentialChanged(t *testing.T) {
	for _, s := range recordedForms(t) {
		f, err := s.read(nil)
		if err != nil {
			t.Fatalf("%s %s: %v", s.Client, s.Path, err)
		}
		sent, err := send(f, cred())
		if err != nil {
			t.Fatalf("%s: %v", s.Path, err)
		}
		// The client escapes nothing in a file's name, and the library wants it.
		name := recordedName(s.Body)
		s.Body = strings.Replace(s.Body, name+"\"\r\n", strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name)+"\"\r\n", 1)
		got, want := sent.understand(t), s.understand(t)
		for _, name := range []string{"script_name", "script_key", "session_token", "reject_if_expired"} {
			delete(want.fields, name)
		}
		want.fields["script_name"], want.fields["script_key"] = "publisher-2026", realKey
		if want.filename != name {
			t.Fatalf("the test reads %q for %q", want.filename, name)
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("%s: the site reads\n%q, the client meant\n%q", s.Path, got, want)
		}
	}
}

func recordedName(body string) string {
	_, rest, ok := strings.Cut(body, `filename="`)
	if !ok {
		return ""
	}
	line, _, _ := strings.Cut(rest, "\r\n")
	return strings.TrimSuffix(line, `"`)
}

func TestAFormTellsWhatTheCallerHolds(t *testing.T) {
	const where = "upload_type=Thumbnail&filename=a.png&"
	for _, tt := range []struct{ auth, want, script, sudo, uuid string }{
		{"", flow.CredNone, "", "", ""},
		{"script_name=tool&script_key=", flow.CredNone, "tool", "", ""},
		{"script_name=tool&script_key=x", flow.CredPlaceholder, "tool", "", ""},
		{"script_key=" + realKey, flow.CredLiveKey, "", "", ""},
		{"script_key=old-key-0123456789abcdef", flow.CredOldKey, "", "", ""},
		{"session_token=dummy&reject_if_expired=True", flow.CredSession, "", "", ""},
		{"user_login=joe&user_password=pw&auth_token=123456", flow.CredUser, "", "", ""},
		{"user_login=&sudo_as_login=joe&session_uuid=aa-1", flow.CredNone, "", "joe", "aa-1"},
	} {
		f, err := flow.ParseForm("/upload/api_get_upload_link_info", []byte(strings.Trim(where+tt.auth, "&")), nil)
		if err != nil {
			t.Fatalf("%s: %v", tt.auth, err)
		}
		if got := f.CallerCredential(cred()); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.auth, got, tt.want)
		}
		c := f.Call
		if c.ScriptName != tt.script || c.SudoAsLogin != tt.sudo || c.SessionUUID != tt.uuid || c.UserAuth != (tt.want == flow.CredUser) {
			t.Errorf("%s: %+v", tt.auth, c)
		}
		if f.Token().IsZero() == (tt.want == flow.CredSession) {
			t.Errorf("%s: the token is lost", tt.auth)
		}
		f.Call.SessionUUID = "" // as the proxy does where the configuration says so
		_, body := f.Encode(cred())
		for _, gone := range []string{"dummy", "session_token", "user_", "auth_token", "reject_if", "session_uuid", "tool"} {
			if bytes.Contains(body, []byte(gone)) {
				t.Errorf("%s survives in %s", gone, body)
			}
		}
		if !bytes.HasPrefix(body, []byte("script_name=publisher-2026&script_key="+realKey+"&")) {
			t.Errorf("not our credential: %s", body)
		}
	}
}

func TestNamesThatNoFormHasAreDroppedAndNamed(t *testing.T) {
	f, err := flow.ParseForm("/upload/share_thumbnail", []byte("entities=Shot_1&source_entity=Shot_2&x_extra=1&%C3%A9=2&field_name=image"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.Call.DroppedAuth, "|"); got != "x_extra|(a name that is no identifier)|field_name" {
		t.Errorf("dropped %s", got)
	}
	if _, body := f.Encode(cred()); bytes.Contains(body, []byte("extra")) || bytes.Contains(body, []byte("field_name")) {
		t.Errorf("sent %s", body)
	}
}

func TestAProductGoesOnUpToItsBound(t *testing.T) {
	for n, want := range map[int]string{flow.MaxProduct: "", flow.MaxProduct + 1: "product"} {
		product := strings.Repeat("p", n)
		f, err := flow.ParseForm("/upload/share_thumbnail", []byte("entities=Shot_1&source_entity=Shot_2&product="+product), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(f.Call.DroppedAuth, " "); got != want {
			t.Errorf("%d bytes: dropped %q", n, got)
		}
		if _, body := f.Encode(cred()); bytes.Contains(body, []byte("product="+product+"&")) != (want == "") {
			t.Errorf("%d bytes: sent %s", n, body)
		}
	}
}

func TestFieldsDecideWhatAFormReaches(t *testing.T) {
	info := func(kind string) string {
		return "&upload_link_info=" + url.QueryEscape("1\nhttps://s3.example/x?y=1\n2026\n"+kind+"\nid\n")
	}
	const shot = "entity_type=Shot&entity_id=3"
	for _, tt := range []struct{ path, body, want string }{
		{"api_link_file", shot + info("Attachment"), "Shot.attachments/7"},
		{"api_link_file", shot + info("Attachment") + "&field_name=", "Shot.attachments/7"},
		{"api_link_file", shot + info("Attachment") + "&field_name=sg_file", "Shot.sg_file/7"},
		{"api_link_file", shot + info("Attachment") + "&filmstrip=True", "Shot.filmstrip_image/7 Shot.attachments/7"},
		{"api_link_file", shot + info("Thumbnail"), "Shot.image/7"},
		{"api_link_file", shot + info("Thumbnail") + "&filmstrip=False", "Shot.image/7"},
		{"api_link_file", shot + info("Thumbnail") + "&filmstrip=1", "Shot.filmstrip_image/7"},
		{"api_link_file", shot + info("Thumbnail") + "&field_name=sg_file", "Shot.sg_file/7 Shot.image/7"},
		{"api_link_file", shot + info("thumbnail"), "Shot.image/7 Shot.attachments/7"},
		{"api_link_file", shot + "&upload_link_info=1", "Shot.image/7 Shot.attachments/7"},
		{"api_link_file", shot + info("Attachment") + "&field_name=filmstrip_thumb_image", "Shot.filmstrip_image/7"},
		{"api_link_file", shot + info("Attachment") + "&field_name=thumb_image", "Shot.image/7"},
		{"share_thumbnail", "entities=Shot_1,Shot_2,Task_3&source_entity=Shot_9&filmstrip_thumbnail=0", "Shot.image/1 Shot.image/7 Task.image/7"},
	} {
		f, err := flow.ParseForm("/upload/"+tt.path, []byte(tt.body), nil)
		if err != nil {
			t.Errorf("%s: %v", tt.body, err)
			continue
		}
		if got := touches(f.Call); got != tt.want {
			t.Errorf("%s touches %s, want %s", tt.body, got, tt.want)
		}
		if _, out := f.Encode(cred()); bytes.Contains(out, []byte("filmstrip=False")) || bytes.Contains(out, []byte("field_name=&")) {
			t.Errorf("%s goes on as %s", tt.body, out)
		}
	}
}

func TestAThumbnailIsSharedWithManyButNotWithTooManyTypes(t *testing.T) {
	list := func(n int, types int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("CustomEntity%02d_%d", i%types, i+1))
		}
		return "source_entity=Shot_1&entities=" + strings.Join(all, ",")
	}
	if f, err := flow.ParseForm("/upload/share_thumbnail", []byte(list(flow.MaxTargets, flow.MaxTypes-1)), nil); err != nil || len(f.Call.Touches) != flow.MaxTypes {
		t.Errorf("as many as may be: %v", err)
	}
	for _, body := range []string{list(flow.MaxTargets+1, 1), list(100, flow.MaxTypes)} {
		if _, err := flow.ParseForm("/upload/share_thumbnail", []byte(body), nil); err == nil {
			t.Error("more than may be")
		}
	}
}

func TestTheStorageLinkIsTurnedBack(t *testing.T) {
	l := &flow.Links{Site: "https://site.example", Here: "http://127.0.0.1:8470", Unrelay: func(u string) (string, bool) {
		link, ok := strings.CutPrefix(u, "http://127.0.0.1:8470/storage/mac/")
		return "https://" + link, ok
	}}
	for in, want := range map[string]string{
		"1\nhttp://127.0.0.1:8470/storage/mac/s3.example/k?a=%2B\n2026\nThumbnail\n\nx \n": "1\nhttps://s3.example/k?a=%2B\n2026\nThumbnail\n\nx \n",
		"1\nhttps://s3.example/k\r\n2026":                                                  "1\nhttps://s3.example/k\r\n2026",
		"1":                                                                                "1",
		"1\nhttp://127.0.0.1:8470/storage/mac/s3.example/k": "1\nhttps://s3.example/k",
		// Elsewhere it is no link that was given out.
		"http://127.0.0.1:8470/storage/mac/s3.example/k\nx": "http://127.0.0.1:8470/storage/mac/s3.example/k\nx",
	} {
		urlencoded := sentForm{Path: "/upload/api_link_file", Body: "entity_type=Shot&entity_id=1&upload_link_info=" + url.QueryEscape(in)}
		parts := sentForm{Path: "/upload/api_link_file", ContentType: "multipart/form-data; boundary=B", Body: form("entity_type", "Shot", "entity_id", "1", "upload_link_info", in)}
		for _, s := range []sentForm{urlencoded, parts} {
			f, err := s.read(l)
			if err != nil {
				t.Fatalf("%q: %v", in, err)
			}
			sent, err := send(f, cred())
			if err != nil {
				t.Fatal(err)
			}
			if got := sent.understand(t).fields["upload_link_info"]; got != want {
				t.Errorf("%q goes on as %q", in, got)
			}
		}
	}
}

func TestRefusedForms(t *testing.T) {
	const shot = "entity_type=Shot&entity_id=3"
	const link = shot + "&upload_link_info=1"
	for _, tt := range []struct{ path, body, says string }{
		{"upload_file", shot, "the file is missing"},
		{"upload_file", shot + "&file=x", "file is not a file"},
		{"publish_thumbnail", shot, "the thumb_image is missing"},
		{"publish_thumbnail", shot + "&thumb_image=x", "thumb_image is not a file"},
		{"api_link_file", "", "entity_type is missing"},
		{"api_link_file", shot, "upload_link_info is missing"},
		{"api_link_file", shot + "&upload_link_info=", "upload_link_info is not as the client writes it"},
		{"api_link_file", link + "&entity_type=Task", "twice: entity_type"},
		{"api_link_file", link + "&entity%5Ftype=Task", "twice: entity_type"},
		{"api_link_file", link + "&Entity_Type=Task", "entity_type in other letters"},
		{"api_link_file", link + "&entity_type%20=Task", "entity_type in other letters"},
		{"api_link_file", link + "&file=x&File=y", "file in other letters"},
		{"api_link_file", link + "&%C5%BFcript_key=x", "script_key in other letters"},
		{"api_link_file", link + "&Session_Token=x", "session_token in other letters"},
		{"api_link_file", link + "&a[b]=x", "brackets"},
		{"api_link_file", link + "&entity_id%5B%5D=x", "brackets"},
		{"api_link_file", link + "&_method=DELETE", "_method"},
		{"api_link_file", link + "&_METHOD=DELETE", "_method"},
		{"api_link_file", link + ";entity_type=Task", "has to be escaped"},
		{"api_link_file", link + "&a b=x", "has to be escaped"},
		{"api_link_file", link + "&x=\xc3\xa9", "has to be escaped"},
		{"api_link_file", link + "&x=%4", "hexadecimal"},
		{"api_link_file", link + "&x=%zz", "hexadecimal"},
		{"api_link_file", link + "&x=%u0041", "hexadecimal"},
		{"api_link_file", link + "&x=%ff", "UTF-8"},
		{"api_link_file", link + "&x=%ed%a0%80", "UTF-8"},
		{"api_link_file", link + "&x=a%00b", "U+0000"},
		{"api_link_file", link + "&a%0ab=x", "control character"},
		{"api_link_file", link + "&x", "without ="},
		{"api_link_file", link + "&=x", "without ="},
		{"api_link_file", link + "&", "without ="},
		{"api_link_file", "&" + link, "without ="},
		{"api_link_file", link + "\r\n", "has to be escaped"},
		{"api_link_file", link + "&session_uuid=a%20b", "session_uuid"},
		{"api_link_file", link + "&filmstrip=true", "filmstrip is not"},
		{"api_link_file", link + "&field_name=a.b", "field_name is not"},
		{"api_link_file", "entity_type=shot&entity_id=3&upload_link_info=1", "entity_type is not"},
		{"api_link_file", "entity_type=Shot&entity_id=03&upload_link_info=1", "entity_id is not"},
		{"api_link_file", "entity_type=Shot&entity_id=%2B3&upload_link_info=1", "entity_id is not"},
		{"api_link_file", "entity_type=Shot&entity_id=0&upload_link_info=1", "entity_id is not"},
		{"api_link_file", "entity_type=Shot&entity_id=1_0&upload_link_info=1", "entity_id is not"},
		{"api_link_file", "entity_type=Shot&entity_id=9007199254740993&upload_link_info=1", "entity_id is not"},
		{"share_thumbnail", "entities=Shot&source_entity=Shot_1", "Type_id"},
		{"share_thumbnail", "entities=Shot_1,&source_entity=Shot_1", "Type_id"},
		{"share_thumbnail", "entities=Shot_1,+Shot_2&source_entity=Shot_1", "Type_id"},
		{"share_thumbnail", "entities=Shot_1&source_entity=Shot_1,Shot_2", "source_entity"},
		{"share_thumbnail", "entities=Shot_1", "source_entity is missing"},
		{"api_get_upload_link_info", "upload_type=attachment&filename=a", "upload_type is not"},
		{"api_get_upload_link_info", "upload_type=Attachment&filename=", "filename is not"},
		{"api_get_upload_link_for_part", "upload_type=Attachment&filename=a&timestamp=&upload_id=&part_number=0", "part_number is not"},
		{"api_get_upload_link_for_part", "upload_type=Attachment&filename=a&timestamp=&upload_id=&part_number=10001", "part_number is not"},
		{"api_complete_multipart_upload", "upload_type=Attachment&filename=a&timestamp=&upload_id=", "etags is missing"},
		{"api_link_file", strings.Repeat("x", flow.MaxFormBody+1), "more than"},
		{"api_link_file", manyFields(flow.MaxFormFields + 1), "more than"},
		{"get_thumbnail_url", link, "no form get_thumbnail_url"},
		{"", link, "no form"},
		{"api_link_file/", link, "no form"},
		{"API_LINK_FILE", link, "no form"},
	} {
		_, err := flow.ParseForm("/upload/"+tt.path, []byte(tt.body), nil)
		var p *flow.ParseError
		if !errors.As(err, &p) || p.Flaw == "" || !strings.Contains(p.Msg, tt.says) {
			t.Errorf("%s %.100s: %v, want one that says %q", tt.path, tt.body, err, tt.says)
		}
	}
}

func manyFields(n int) string {
	var all []string
	for i := range n {
		all = append(all, "x"+strconv.Itoa(i)+"=1")
	}
	return strings.Join(all, "&")
}

func TestUploadPaths(t *testing.T) {
	for _, s := range recordedForms(t) {
		if !flow.IsUploadPath(s.Path) {
			t.Errorf("%s is none", s.Path)
		}
	}
	for _, p := range []string{"", "/upload/", "/upload", "/upload/x", "/upload/upload_file/", "/upload//upload_file", "upload_file", "/Upload/upload_file", "/upload/get_thumbnail_url"} {
		if flow.IsUploadPath(p) {
			t.Errorf("%q is one", p)
		}
	}
}

// form writes a multipart form of pairs in the boundary B, to its end.
func form(pairs ...string) string { return fields(pairs...) + "--B--\r\n" }

func fields(pairs ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&b, "--B\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n", pairs[i], pairs[i+1])
	}
	return b.String()
}
