package flowsite_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"stagedoor/flowsite"
)

// Whatever comes as a form, the answer is a violation, a refusal or an id; and
// only with an id did the site change.
func FuzzForm(f *testing.F) {
	s := newSite(f, flowsite.Options{RecordMax: -1, NoEvents: true, KeepFiles: 1 << 20})
	multi := "multipart/form-data; boundary=" + boundary
	seeds := []struct{ name, kind, body string }{
		{"upload_file", multi, multipartBody(movieFields(), "file", `a"b.mov`, movieText)},
		{"upload_file", multi, multipartBody(movieFields("tag_list", "a,b"), "file", "x.mov", strings.Repeat("\r\n--"+boundary[:9], 20))},
		{"publish_thumbnail", multi, multipartBody(append(pairs("entity_type", "Version", "entity_id", "1"), scriptPairs("filmstrip", "True")...), "thumb_image", "t.png", "png")},
		{"share_thumbnail", "application/x-www-form-urlencoded", encoded(append(pairs("entities", "Shot_1,Custom_Entity_2", "source_entity", "Version_1", "filmstrip_thumbnail", "1"), scriptPairs()...))},
		{"api_get_upload_link_info", "application/x-www-form-urlencoded", encoded(append(pairs("upload_type", "Attachment", "filename", "x", "multipart_upload", "True"), scriptPairs()...))},
	}
	if len(seeds) < 5 {
		f.Fatal("seeds are missing")
	}
	for _, seed := range seeds {
		f.Add(seed.name, seed.kind, seed.body)
	}
	f.Fuzz(func(t *testing.T, name, kind, body string) {
		if strings.ContainsAny(name, "?# \r\n%") || name == "" {
			return // not a path that a request line can have
		}
		before := s.Snapshot()
		w := sendForm(s, "x", kind, body, func(r *http.Request) { r.RequestURI = "/upload/" + name })
		s.ResetRecord()
		answer := w.Body.String()
		switch {
		case w.Code == http.StatusBadRequest, w.Code == http.StatusOK && strings.HasPrefix(answer, "0:"):
			if !bytes.Equal(before, s.Snapshot()) {
				t.Errorf("%d %q, and the site changed", w.Code, answer)
			}
		case w.Code != http.StatusOK || !strings.HasPrefix(answer, "1") && !strings.HasPrefix(answer, "2"):
			t.Errorf("%d %q", w.Code, answer)
		}
	})
}
