package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stagedoor/flowsite"
)

// A part of a file, the rest of one, a file that the tool has already: curl
// gets through Stagedoor what the site gives.
func TestRangesAndConditionsOfDownloads(t *testing.T) {
	t.Parallel()
	site := fileSite(t)
	s := door(t, site, handleKey(t), everyDoor)
	url := s.base("tools") + "/file_serve/attachment/801"
	whole := curl(t, url)
	if whole.Status != 200 || whole.Body != aText || whole.Header.Get("Content-Length") != fmt.Sprint(len(aText)) {
		t.Fatalf("the whole file: %s", whole)
	}
	tag := whole.Header.Get("Etag")
	if tag == "" || whole.Header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("the tool can't ask for a part: %v", whole.Header)
	}
	part := curl(t, "-r", "100-199", url)
	if part.Status != 206 || part.Body != aText[100:200] || part.Header.Get("Content-Range") != fmt.Sprintf("bytes 100-199/%d", len(aText)) {
		t.Errorf("a part: %s", part)
	}
	begun := filepath.Join(t.TempDir(), "begun")
	write(t, begun, 0o600, aText[:4321])
	if rest := curl(t, "-C", "-", "-o", begun, url); rest.Status != 206 || rest.Body != aText {
		t.Errorf("the rest of a file: %s", rest)
	}
	for what, c := range map[string]struct {
		args   []string
		status int
		body   string
	}{
		"unchanged":             {[]string{"-H", "If-None-Match: " + tag, url}, 304, ""},
		"changed":               {[]string{"-H", `If-None-Match: "other"`, url}, 200, aText},
		"a part of the same":    {[]string{"-r", "0-99", "-H", "If-Range: " + tag, url}, 206, aText[:100]},
		"a part of another":     {[]string{"-r", "0-99", "-H", `If-Range: "other"`, url}, 200, aText},
		"a part beyond the end": {[]string{"-r", "20000-", url}, 416, ""},
		"the head alone":        {[]string{"-I", url}, 200, ""},
		"a file that is not":    {[]string{s.base("tools") + "/file_serve/attachment/987"}, 400, ""},
		"a site's own picture":  {[]string{s.base("tools") + "/images/status/transient/thumbnail_pending.png"}, 200, ""},
	} {
		a := curl(t, c.args...)
		if a.Status != c.status || c.body != "" && a.Body != c.body {
			t.Errorf("%s: %s", what, a)
		}
	}
	wantNoViolations(t, site, "with ranges")
}

// The login page that the site leads to when a session is dead would be saved
// as the file: another session is fetched, and if that doesn't help the tool is
// told so.
func TestTheLoginPageIsNeverSavedAsAFile(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := fileSite(t)
			s := door(t, site, handleKey(t), everyDoor)
			p := startTool(t, version, s.base("tools"))
			for what, kill := range map[string]func(){"at first": func() {}, "expired": site.ExpireSessions, "forgotten": site.DropSessions} {
				kill()
				got := p.OK(`[len(sg.download_attachment(801)), len(sg.download_attachment({'type': 'Attachment', 'id': 801}))]`)
				if want := fmt.Sprintf("[%d, %d]", len(aText), len(aText)); got != want {
					t.Errorf("%s: %s", what, got)
				}
			}
			site.Fail(flowsite.Fault{Method: "file_serve", Status: 302, Location: "/user/login?return_path=%2Ffile_serve%2Fattachment%2F1"}, 0)
			to := filepath.Join(t.TempDir(), "file")
			got := p.Do(fmt.Sprintf("sg.download_attachment(801, file_path=%q)", to))
			if got.Class != "ShotgunFileDownloadError" || strings.Contains(got.Text, "login") {
				t.Errorf("where no session helps: %s", got)
			}
			if b, err := os.ReadFile(to); err == nil && len(b) > 0 {
				t.Errorf("something was saved as the file: %s", b)
			}
			a := s.ask("tools", request{Path: "/file_serve/attachment/801"})
			if a.Status != 424 || a.Header.Get("Location") != "" || a.refused() == "" {
				t.Errorf("where no session helps: %s", a)
			}
			for _, r := range site.Received() {
				if strings.HasPrefix(r.Target, "/user/login") {
					t.Error("somebody was led to the login page")
				}
			}
			wantNoViolations(t, site, "with dead sessions")
		})
	}
}

// A download that the site breaks off is no short file.
func TestADownloadThatBreaksOffIsNoFile(t *testing.T) {
	t.Parallel()
	site := fileSite(t)
	site.Fail(flowsite.Fault{Method: "file_serve", Truncate: 1000}, 0)
	s := door(t, site, handleKey(t), everyDoor)
	a := over(s.dialed(), "GET /file_serve/attachment/801 HTTP/1.1\r\nHost: "+s.Address("tools")+"\r\nConnection: close\r\n\r\n")
	if a.Status != 0 || !strings.HasPrefix(a.Body, "after "+aText[:1000]) {
		t.Errorf("the tool got %s", shortened(a.Body))
	}
	s.AwaitAudit(`"ev":"outcome"`)
	for _, r := range s.Records() {
		if r["ev"] == "outcome" && r["method"] == "file_serve" && r["result"] == "ok" {
			t.Errorf("the audit log has %v", r)
		}
	}
}

// A download needs a rule, by the entity that its URL names, or by its kind.
func TestADownloadNeedsARule(t *testing.T) {
	t.Parallel()
	const (
		file, full, picture, stored = "/file_serve/attachment/801", "/thumbnail/full/Shot/1", "/images/status/transient/thumbnail_pending.png", "/files/0000/0000/0001/a.txt"
		movie, image                = "/api/v1/entity/versions/1/sg_uploaded_movie?alt=original", "/api/v1/entity/shots/1/image?alt=thumbnail"
	)
	all := []string{file, full, picture, stored, movie, image}
	site := fileSite(t)
	for rule, opens := range map[string][]string{
		"read: '*'":                           nil,
		"upload: '*'":                         nil,
		"download: Attachment":                {file},
		"download: images":                    {picture},
		"download: files":                     {stored},
		"download: Shot.image":                {full, image},
		"download: Version.sg_uploaded_movie": {movie},
		"download: '*'":                       {file, full, movie, image},
	} {
		s := door(t, site, handleKey(t), "    allow: [{"+rule+"}]\n")
		for _, path := range all {
			before := len(seen(site))
			a := s.ask("tools", request{Path: path})
			open := false
			for _, o := range opens {
				open = open || o == path
			}
			if (a.refused() != "no_rule") != open {
				t.Errorf("%s: %s: %s", rule, path, a)
			}
			if !open && (a.Status != 403 || !strings.Contains(a.Body, "may not download ") || len(seen(site)) != before) {
				t.Errorf("%s: %s: the refusal is %s", rule, path, a)
			}
		}
		s.Stop()
	}
}

// The site's links to files lead through the proxy, and what a tool writes of
// them is the site's again; links of people and text are left alone.
func TestTheSitesLinksLeadThroughTheProxyAndBack(t *testing.T) {
	t.Parallel()
	site := fileSite(t)
	s := door(t, site, handleKey(t), everyDoor)
	here := s.base("tools")
	text := "see " + site.URL + "/file_serve/attachment/801"
	page := map[string]any{"url": site.URL + "/page/900", "name": "a page", "link_type": "web"}
	mine := map[string]any{"url": site.URL + "/file_serve/attachment/801", "name": "a web link", "link_type": "web"}
	site.Seed("Version", map[string]any{"id": 501, "code": "a", "description": text, "sg_uploaded_movie": page})
	site.Seed("Version", map[string]any{"id": 502, "code": "b", "sg_uploaded_movie": mine, "image": "thumbnail/shot.png"})
	p := startTool(t, clients()[0], here)
	file := filepath.Join(t.TempDir(), "plate.exr")
	write(t, file, 0o600, "some bytes")
	p.OK(fmt.Sprintf("sg.upload('Shot', 1, %q)", file))
	read := func(expression string) map[string]any {
		t.Helper()
		var m map[string]any
		if err := json.Unmarshal([]byte(p.OK(expression)), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	url := func(v any) string {
		m, _ := v.(map[string]any)
		u, _ := m["url"].(string)
		return u
	}
	first := read(`sg.find_one('Version', [['id', 'is', 501]], ['description', 'sg_uploaded_movie'])`)
	second := read(`sg.find_one('Version', [['id', 'is', 502]], ['sg_uploaded_movie', 'image'])`)
	third := read(`sg.find_one('Attachment', [['id', 'is', 801]], ['this_file'])`)
	for what, c := range map[string][2]string{
		"a text":            {fmt.Sprint(first["description"]), text},
		"a web page":        {url(first["sg_uploaded_movie"]), site.URL + "/page/900"},
		"a web link":        {url(second["sg_uploaded_movie"]), site.URL + "/file_serve/attachment/801"},
		"a picture":         {fmt.Sprint(second["image"]), here + "/images/thumbnail/shot.png"},
		"a file":            {url(third["this_file"]), here + "/file_serve/attachment/801"},
		"a file, over REST": {textAt(t, s.ask("tools", request{Path: "/api/v1/entity/attachments/801?fields=this_file"}).Body, "data", "attributes", "this_file", "url"), here + "/file_serve/attachment/801"},
		"a web link, over REST": {textAt(t, s.ask("tools", request{Path: "/api/v1/entity/versions/502?fields=sg_uploaded_movie"}).Body,
			"data", "attributes", "sg_uploaded_movie", "url"), site.URL + "/file_serve/attachment/801"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %s, not %s", what, c[0], c[1])
		}
	}
	// Read, written elsewhere in both ways, and read at the site itself.
	p.Run(`
link = sg.find_one('Attachment', [['id', 'is', 801]], ['this_file'])['this_file']
sg.update('Version', 1, {'sg_uploaded_movie': {'url': link['url'], 'name': 'a copy'}, 'description': link['url']})
`)
	body, err := json.Marshal(map[string]any{"sg_uploaded_movie": map[string]any{"url": url(third["this_file"]), "name": "another"}})
	if err != nil {
		t.Fatal(err)
	}
	if a := s.ask("tools", jsonRequest(http.MethodPut, "/api/v1/entity/versions/2", string(body))); a.Status != 200 {
		t.Errorf("writing a link over REST: %s", a)
	}
	state := string(site.Snapshot())
	if n := strings.Count(state, `"url":"`+site.URL+`/file_serve/attachment/801"`); n < 2 {
		t.Errorf("the site has the copies %d times: %s", n, shortened(state))
	}
	if strings.Contains(state, `"url":"`+here) {
		t.Error("the site has a link to the proxy")
	}
	wantNoViolations(t, site, "with links")
}

// textAt is a text within JSON objects.
func textAt(t *testing.T, body string, path ...string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v: %s", err, shortened(body))
	}
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("no %s in %s", name, shortened(body))
		}
		v = m[name]
	}
	text, _ := v.(string)
	return text
}

// With the relay off a link to the storage is passed on as it is, and no
// credential goes there; with it on the link leads through the proxy, only to
// the hosts that are allowed and only where the site gave it out.
func TestWhereAStorageLinkLeads(t *testing.T) {
	t.Parallel()
	for _, relay := range []bool{false, true} {
		t.Run(fmt.Sprintf("relay %t", relay), func(t *testing.T) {
			t.Parallel()
			site := storageSite(t, flowsite.Options{})
			top := handleKey(t)
			if relay {
				top += relayTo(site)
			}
			s := door(t, site, top, everyDoor)
			link := s.ask("tools", formRequest("/upload/api_get_upload_link_info", "upload_type=Attachment&filename=a.mov&multipart_upload=False"))
			lines := strings.Split(link.Body, "\n")
			if len(lines) < 5 || lines[0] != "1" {
				t.Fatalf("the link is %s", link)
			}
			origin := site.StorageURL
			if relay {
				origin = s.base("tools") + "/storage/"
			}
			if !strings.HasPrefix(lines[1], origin) {
				t.Errorf("the link leads to %s", lines[1])
			}
			if !relay {
				a := s.ask("tools", request{Verb: http.MethodPut, Path: "/storage/x/" + hostOf(site.StorageURL) + "/a", Body: "bytes"})
				if a.Status < 400 || a.refused() == "" {
					t.Errorf("a relay that is off: %s", a)
				}
				return
			}
			here := strings.TrimPrefix(lines[1], s.base("tools"))
			mac, rest, _ := strings.Cut(strings.TrimPrefix(here, "/storage/"), "/")
			for what, path := range map[string]string{
				"another seal":       "/storage/" + flippedAt(mac, 3) + "/" + rest,
				"no seal":            "/storage//" + rest,
				"another path":       strings.Replace(here, "?", "x?", 1),
				"another query":      here + "&x=1",
				"another host":       "/storage/" + mac + "/127.0.0.1:1" + rest[strings.IndexByte(rest, '/'):],
				"the site's own":     "/storage/" + mac + "/" + hostOf(site.URL) + rest[strings.IndexByte(rest, '/'):],
				"a path that climbs": "/storage/" + mac + "/" + strings.Replace(rest, "/", "/../", 1),
			} {
				if a := s.ask("tools", request{Verb: http.MethodPut, Path: path, Body: "bytes"}); a.Status < 400 || a.refused() == "" {
					t.Errorf("%s: %s", what, a)
				}
			}
			if a := s.ask("tools", request{Verb: http.MethodDelete, Path: here}); a.Status < 400 || a.refused() == "" {
				t.Errorf("another verb: %s", a)
			}
			file := filepath.Join(t.TempDir(), "a.mov")
			write(t, file, 0o600, aText)
			if a := curl(t, "-T", file, "-H", "Content-Type: video/quicktime", "-H", "Authorization: Bearer x", "-H", "Cookie: a=b", lines[1]); a.Status != 200 || a.Header.Get("Etag") == "" {
				t.Errorf("the file: %s", a)
			}
			for _, r := range site.Received() {
				if r.Kind == flowsite.RouteStorage && (r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "") {
					t.Errorf("the storage saw a credential: %v", r.Header)
				}
			}
			wantNoViolations(t, site, "with a relay")
		})
	}
}

// flippedAt is a text with another letter at a place.
func flippedAt(text string, at int) string {
	with := "A"
	if text[at] == 'A' {
		with = "B"
	}
	return text[:at] + with + text[at+1:]
}
