package flow_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"stagedoor/flow"
	"stagedoor/secret"
)

// takenFields lists what each form takes, beside what holds a credential.
func takenFields(path string) []string {
	switch path {
	case "/upload/upload_file":
		return strings.Fields("entity_type entity_id field_name display_name tag_list created_at file")
	case "/upload/publish_thumbnail":
		return strings.Fields("entity_type entity_id filmstrip thumb_image")
	case "/upload/share_thumbnail":
		return strings.Fields("entities source_entity filmstrip_thumbnail")
	case "/upload/api_get_upload_link_info":
		return strings.Fields("upload_type filename multipart_upload created_at")
	case "/upload/api_get_upload_link_for_part":
		return strings.Fields("upload_type filename timestamp upload_id part_number")
	case "/upload/api_complete_multipart_upload":
		return strings.Fields("upload_type filename timestamp upload_id etags")
	}
	return strings.Fields("entity_type entity_id upload_link_info filmstrip field_name display_name tag_list created_at")
}

// grantedFields are those of the caller's credential that may go on.
func grantedFields() []string { return []string{"session_uuid", "sudo_as_login", "product"} }

// goesOn checks what the site reads against what the caller wrote, both as an
// independent reader has them.
func goesOn(t *testing.T, f *flow.Form, sent, came siteForm) {
	t.Helper()
	for name, value := range sent.fields {
		switch {
		case name == "script_name" && value == "publisher-2026", name == "script_key" && value == realKey:
		case !slices.Contains(append(grantedFields(), takenFields("/upload/"+f.Call.Method)...), name):
			t.Fatalf("%s goes on", name)
		case came.fields[name] != value:
			t.Fatalf("%s is %q, went as %q", name, came.fields[name], value)
		}
	}
	for _, name := range append(takenFields("/upload/"+f.Call.Method), grantedFields()...) {
		value, given := came.fields[name]
		if _, goes := sent.fields[name]; given && !goes && value != "" && (name != "filmstrip" || value != "False" && value != "0") && name != "product" {
			t.Fatalf("%s is lost", name)
		}
	}
	if sent.fields["script_key"] != realKey || sent.fields["script_name"] != "publisher-2026" {
		t.Fatalf("not our credential: %q", sent.fields)
	}
	if f.Call.SudoAsLogin != sent.fields["sudo_as_login"] || f.Call.SessionUUID != sent.fields["session_uuid"] || f.Call.Type != sent.fields["entity_type"] && f.Call.Method != "share_thumbnail" {
		t.Fatalf("decided %+v, sent %q", f.Call, sent.fields)
	}
}

// decidedAgain reads what is sent as it was read before.
func decidedAgain(t *testing.T, f *flow.Form, sent sentForm) {
	t.Helper()
	again, err := sent.read(nil)
	if err != nil {
		t.Fatalf("what was sent is no form: %v\n%q", err, sent.Body)
	}
	a, b := f.Call, again.Call
	a.ScriptName, b.ScriptName, a.DroppedAuth, b.DroppedAuth, a.UserAuth = "", "", nil, nil, false
	if !reflect.DeepEqual(a, b) {
		t.Fatalf("decided %+v\nsent    %+v", a, b)
	}
}

// refusedWell says whether err is a refusal, which names its flaw.
func refusedWell(t *testing.T, err error) {
	t.Helper()
	var p *flow.ParseError
	if !errors.As(err, &p) || p.Flaw == "" || p.Msg == "" {
		t.Fatalf("not a ParseError: %#v", err)
	}
}

// looseNames lists the names of a query as the most lenient reader has them:
// parted by semicolons too, without brackets, spaces and case.
func looseNames(t *testing.T, body string) []string {
	t.Helper()
	var names []string
	for part := range strings.FieldsFuncSeq(body, func(r rune) bool { return r == '&' || r == ';' }) {
		name, _, _ := strings.Cut(part, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil {
			t.Fatal(err)
		}
		plain, _, _ = strings.Cut(strings.TrimSpace(plain), "[")
		names = append(names, strings.ToLower(plain))
	}
	return names
}

func onceEach(t *testing.T, names []string, want int) {
	t.Helper()
	sorted := slices.Sorted(slices.Values(names))
	if len(slices.Compact(sorted)) != len(names) || len(names) != want {
		t.Fatalf("a lenient reader finds %q, not %d names", names, want)
	}
}

func FuzzForm(f *testing.F) {
	seeds := 0
	for _, s := range recordedForms(f) {
		if !s.multipart() {
			f.Add(strings.TrimPrefix(s.Path, "/upload/"), s.Body)
			seeds++
		}
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	f.Add("share_thumbnail", "entities=Shot_1,Shot_2&source_entity=Shot_3&user_login=a&x[y]=1")
	f.Add("api_link_file", "entity_type=Shot&entity_id=1&upload_link_info=1&filmstrip=0&field_name=&product=%00;")
	f.Fuzz(func(t *testing.T, method, body string) {
		s := sentForm{Path: "/upload/" + method, Body: body}
		form, err := s.read(nil)
		if err != nil {
			refusedWell(t, err)
			return
		}
		sent, err := send(form, cred())
		if err != nil {
			t.Fatal(err)
		}
		got := sent.understand(t)
		goesOn(t, form, got, s.understand(t))
		onceEach(t, looseNames(t, sent.Body), len(got.fields))
		decidedAgain(t, form, sent)
	})
}

// looseParts lists the names of a multipart form as the most lenient reader has
// them: every name of every line of every header, lines ended in any way.
func looseParts(contentType, body string) []string {
	boundary := regexp.MustCompile(`boundary="?([^";,]+)"?`).FindStringSubmatch(contentType)[1]
	var names []string
	for i, part := range regexp.MustCompile(`(?:^|\r?\n|\r)--`+regexp.QuoteMeta(boundary)).Split(body, -1) {
		head := regexp.MustCompile(`^[\s\S]*?(\r?\n\r?\n|\r\r|$)`).FindString(part)
		if i == 0 || strings.HasPrefix(part, "--") {
			continue
		}
		for _, m := range regexp.MustCompile(`(?i)[;\s]name\*?=\s*("(?:\\.|[^"\\])*"|[^;\s]*)`).FindAllStringSubmatch(outsideFilename(head), -1) {
			names = append(names, strings.ToLower(strings.Trim(m[1], `" `)))
		}
	}
	return names
}

// outsideFilename cuts a quoted file name out.
func outsideFilename(head string) string {
	return regexp.MustCompile(`filename="(?:\\.|[^"\\])*"`).ReplaceAllString(head, "")
}

// cameAs reads the caller's multipart form with the library's reader, but for
// the names of files, which the clients don't escape.
func cameAs(t *testing.T, s sentForm) siteForm {
	t.Helper()
	out := siteForm{fields: map[string]string{}}
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
		body, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		disposition := part.Header.Get("Content-Disposition")
		_, rest, _ := strings.Cut(disposition, `name="`)
		name, rest, _ := strings.Cut(rest, `"`)
		if out.fileField != "" || len(part.Header.Values("Content-Disposition")) != 1 {
			t.Fatalf("%s stands behind the file", name)
		}
		if strings.Contains(rest, "filename=") {
			out.fileField, out.file = name, string(body)
			continue
		}
		if _, twice := out.fields[name]; twice {
			t.Fatalf("%s stands twice", name)
		}
		out.fields[name] = string(body)
	}
}

func FuzzMultipart(f *testing.F) {
	seeds := 0
	for _, s := range recordedForms(f) {
		if s.multipart() {
			f.Add(strings.TrimPrefix(s.Path, "/upload/"), s.ContentType, []byte(s.Body), true)
			seeds++
		}
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	f.Add("upload_file", typeB, []byte(upload(`a"b\"\\.mov`, "a/b; c=d")+"\r\n--\r\n\r\n--B--\r\n"), false)
	f.Add("upload_file", `multipart/form-data; boundary="a b"`, []byte("--a b\r\n"), true)
	f.Add("share_thumbnail", typeB, []byte(form("entities", "Shot_1", "source_entity", "Shot_2", "sudo_as_login", "joe", "extra", "x")), true)
	f.Fuzz(func(t *testing.T, method, contentType string, body []byte, announced bool) {
		length := int64(-1)
		if announced {
			length = int64(len(body))
		}
		s := sentForm{Path: "/upload/" + method, ContentType: contentType, Body: string(body)}
		form, err := flow.ReadMultipart(s.Path, contentType, bytes.NewReader(body), length, rand.Reader, nil)
		if err != nil {
			refusedWell(t, err)
			return
		}
		if !form.HasFile() {
			sent, err := send(form, cred())
			if err != nil {
				t.Fatal(err)
			}
			goesOn(t, form, sent.understand(t), cameAs(t, s))
			decidedAgain(t, form, sent)
			return
		}
		sent := sentForm{Path: s.Path}
		var head []byte
		sent.ContentType, head = form.Head(cred())
		file, total := form.File()
		rest, err := io.ReadAll(file)
		sent.Body = string(head) + string(rest)
		if err != nil {
			refusedWell(t, err)
			boundary, _, _ := bytes.Cut(head, []byte("\r\n"))
			if announced && int64(len(rest)) >= total || bytes.Contains(rest, boundary) {
				t.Fatalf("completed, though %v: %q", err, sent.Body)
			}
			return
		}
		if announced && int64(len(rest)) != total {
			t.Fatalf("announced %d, sent %d", total, len(rest))
		}
		got, came := sent.understand(t), cameAs(t, s)
		goesOn(t, form, got, came)
		if got.file != came.file || got.fileField != came.fileField {
			t.Fatalf("the file came as %q, went as %q", came.file, got.file)
		}
		onceEach(t, looseParts(sent.ContentType, sent.Body), len(got.fields)+1)
		decidedAgain(t, form, sent)
	})
}

func FuzzTokenRequest(f *testing.F) {
	f.Add("", typeForm, []byte("grant_type=client_credentials&client_id=tool&client_secret=x&scope=sudo_as_login:joe"))
	f.Add("grant_type=refresh&refresh_token=a", "", []byte(""))
	f.Add("grant_type=session_token", typeForm, []byte("session_token=a&session_uuid=b-1"))
	f.Add("grant_type=password&username=a", "", []byte("password=b"))
	f.Add("", "", []byte(""))
	f.Fuzz(func(t *testing.T, query, contentType string, body []byte) {
		r, err := flow.ParseTokenRequest(query, contentType, body)
		if err != nil {
			refusedWell(t, err)
			return
		}
		both := strings.Trim(query+"&"+string(body), "&")
		values, err := url.ParseQuery(both)
		if err != nil {
			t.Fatal(err)
		}
		onceEach(t, looseNames(t, both), len(values))
		grant := values.Get("grant_type")
		if grant == "refresh" || grant == "" && both == "" {
			grant = map[string]string{"refresh": flow.GrantRefresh, "": flow.GrantClient}[grant]
		}
		token := map[string]string{flow.GrantRefresh: values.Get("refresh_token"), flow.GrantSession: values.Get("session_token")}[grant]
		user := grant == flow.GrantPassword || values.Get("username")+values.Get("password")+values.Get("auth_token") != ""
		scope := ""
		if r.Call.SudoAsLogin != "" {
			scope = "sudo_as_login:" + r.Call.SudoAsLogin
		}
		if r.Grant != grant || r.Call.UserAuth != user || scope != values.Get("scope") || r.Call.ScriptName != values.Get("client_id") || r.Call.SessionUUID != values.Get("session_uuid") {
			t.Fatalf("%q read as %+v", values, r)
		}
		if token == "" && !r.Token().IsZero() || token != "" && !r.Token().Same(secret.FromString(token)) {
			t.Fatalf("another token than that of %s", grant)
		}
		if r.Carried.Token().IsZero() && token == "" && !user && values.Get("client_secret") == "" && r.CallerCredential(cred()) != flow.CredNone {
			t.Fatal("a credential that nobody sent")
		}
	})
}
