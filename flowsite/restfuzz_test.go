package flowsite_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"stagedoor/flowsite"
)

// Whatever a REST request with a good token looks like, the answer is one of
// the forms of flow-protocol §5.7, or a violation.
func FuzzREST(f *testing.F) {
	s := newSite(f, flowsite.Options{RecordMax: -1, NoEvents: true})
	token := viaREST(f, s).token
	const array3, hash3 = "application/vnd+shotgun.api3_array+json", "application/vnd+shotgun.api3_hash+json"
	seeds := [][4]string{
		{"GET", "/api/v1/entity/shots?fields=*&sort=-code&page[size]=2&filter[project.Project.id]=65", "", ""},
		{"GET", "/api/v1.1/entity/human_users/1?fields=login,groups.Group.code", "", ""},
		{"POST", "/api/v1/entity/shots/_search?page[number]=2", array3, `{"filters":[["code","is_not","x"]],"fields":["code"]}`},
		{"POST", "/api/v1/entity/Task/_search", hash3, `{"filters":{"logical_operator":"or","conditions":[["due_date","in_last",1,"DAY"]]},"page":{"size":3}}`},
		{"POST", "/api/v1/entity/shots/_summarize", array3, `{"filters":[],"summary_fields":[{"field":"id","type":"count"}]}`},
		{"POST", "/api/v1/entity/_text_search", hash3, `{"text":"harbour","entity_types":{"Shot":{"logical_operator":"and","conditions":[]}}}`},
		{"POST", "/api/v1/entity/_batch/", "application/json", `{"requests":[{"request_type":"update","entity":"Shot","record_id":1,"data":{"code":"x"}}]}`},
		{"PUT", "/api/v1/entity/shots/1", "application/json", `{"assets":{"multi_entity_update_mode":"add","value":[{"type":"Asset","id":1}]}}`},
		{"POST", "/api/v1/entity/shots/1?revive=true", "", ""},
		{"GET", "/api/v1/entity/shots/1/activity_stream?limit=3&entity_fields[Shot]=code", "", ""},
		{"POST", "/api/v1/entity/human_users/1/follow", "application/json", `{"entities":[{"record_id":1,"entity":"Shot"}]}`},
		{"GET", "/api/v1/entity/versions/1/sg_uploaded_movie/_upload?filename=x&multipart_upload=true", "", ""},
		{"POST", "/api/v1/entity/notes/700/_upload", "application/json", `{"upload_info":{"etags":[1]},"upload_data":null}`},
		{"POST", "/api/v1/schema/Shot/fields", "application/json", `{"data_type":"list","properties":[{"property_name":"name","value":"x"}]}`},
		{"GET", "/api/v1/schedule/work_day_rules?start_date=2026-03-01&end_date=2026-03-02", "", ""},
		{"PUT", "/api/v1/schedule/work_day_rules", "application/json", `{"date":"2026-03-03","working":true,"user_id":"1"}`},
		{"POST", "/api/v1/webhook/hooks", "application/json", `{"url":"https://h.example.com/","entity_types":{"Shot":{"update":["code"]}}}`},
		{"GET", "/api/v1/exports/page/900.csv", "", ""},
		{"POST", "/api/v1/auth/access_token?grant_type=refresh&refresh_token=x", "", ""},
		{"POST", "/api/v1/transcode/attachment_metadata/800", "application/json", `{"width":1}`},
		{"GET", "/api/v1/entity/\xff", "\xff", "\xff"},
	}
	if len(seeds) < 21 {
		f.Fatal("seeds are missing")
	}
	for _, seed := range seeds {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, verb, target, kind, body string) {
		if !strings.HasPrefix(target, "/api/") {
			return
		}
		r := &http.Request{
			Method: verb, URL: &url.URL{Path: "/"}, RequestURI: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Authorization": {"Bearer " + token}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		}
		if kind != "" {
			r.Header.Set("Content-Type", kind)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		s.ResetRecord()
		text := w.Body.String()
		if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") || text == " " {
			return
		}
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil && !strings.HasPrefix(text, "Export for Page") && !strings.HasPrefix(text, "Trying to") {
			t.Errorf("%s %q: HTTP %d %v: %s", verb, target, w.Code, err, text)
		}
	})
}
