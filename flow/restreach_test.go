package flow_test

import (
	"strings"
	"testing"
)

// TestRESTFilesTouchWhatTheyMayFill: a file that the site is told to be complete
// is the record's thumbnail, unless it is told to be an attachment.
func TestRESTFilesTouchWhatTheyMayFill(t *testing.T) {
	const head = "api_link_file upload Version#1:"
	for line, want := range map[string]string{
		`POST /entity/versions/1/_upload {"upload_info":{"upload_type":"Attachment"}}`:                    " Version.attachments/7",
		`POST /entity/versions/1/_upload {"upload_info":{"upload_type":"Thumbnail"}}`:                     " Version.attachments/7 Version.image/7",
		`POST /entity/versions/1/_upload {"upload_info":{"upload_type":"attachment"}}`:                    " Version.attachments/7 Version.image/7",
		`POST /entity/versions/1/_upload {"upload_info":{"upload_type":["Attachment"]}}`:                  "",
		`POST /entity/versions/1/_upload {"upload_info":{"upload_type":null}}`:                            " Version.attachments/7 Version.image/7",
		`POST /entity/versions/1/_upload {"upload_info":{}}`:                                              " Version.attachments/7 Version.image/7",
		`POST /entity/versions/1/_upload {}`:                                                              " Version.attachments/7 Version.image/7",
		`POST /entity/versions/1/sg_movie/_upload {"upload_info":{"upload_type":"Attachment"}}`:           " Version.sg_movie/7",
		`POST /entity/versions/1/sg_movie/_upload {"upload_info":{"upload_type":"Thumbnail"}}`:            " Version.sg_movie/7 Version.image/7",
		`POST /entity/versions/1/image/_upload {"upload_info":{"upload_type":"Thumbnail"}}`:               " Version.image/7",
		`POST /entity/versions/1/thumb_image/_upload {"upload_info":{"upload_type":"Thumbnail"}}`:         " Version.image/7",
		`POST /entity/versions/1/filmstrip_image/_upload {"upload_info":{"upload_type":"Thumbnail"}}`:     " Version.filmstrip_image/7",
		`POST /entity/versions/1/_upload {"upload_info":{"upload_type":"Attach\u006dent","etags":["a"]}}`: " Version.attachments/7",
	} {
		r, err := parseREST(line)
		if want == "" {
			if err == nil {
				t.Errorf("%s: %s", line, said(&r.Call))
			}
			continue
		}
		if err != nil || said(&r.Call) != head+want {
			t.Errorf("%s: %v %v, want %s", line, r, err, head+want)
		}
	}
}

// TestRESTWebhooksAreTurnedWithTheirTypes: a hook that is there gets another
// address only by a call that says what it tells.
func TestRESTWebhooksAreTurnedWithTheirTypes(t *testing.T) {
	for body, ok := range map[string]bool{
		`{"url":"https://x"}`:                                   false,
		`{"url":"https://x","entity_types":{}}`:                 false,
		`{"url":"https://x","event_type":"Shotgun_User_Login"}`: false,
		`{"\u0075rl":"https://x","status":"active"}`:            false,
		`{"url":null}`: false,
		`{"url":"https://x","entity_types":{"Shot":{}}}`:                    true,
		`{"entity_types":{"Shot":{"update":["code"]}},"url":"https://x"}`:   true,
		`{"entity_types":{"Shot":{"update":["code"]}},"status":"disabled"}`: true,
		`{"status":"disabled","token":"t"}`:                                 true,
	} {
		r, err := parseREST("PUT /webhook/hooks/" + uuid + " " + body)
		if (err == nil) != ok {
			t.Errorf("%s: %v %v", body, r, err)
		}
		if err == nil && strings.Contains(body, `{"Shot":{}}`) && !strings.Contains(said(&r.Call), "Shot.*/1") {
			t.Errorf("%s: %s", body, said(&r.Call))
		}
		if err == nil && strings.Contains(body, "Shot") && !r.Call.Reaches("Shot") {
			t.Errorf("%s: %s", body, said(&r.Call))
		}
	}
	if _, err := parseREST(`POST /webhook/hooks {"url":"https://x","event_type":"Shotgun_User_Login"}`); err != nil {
		t.Error(err)
	}
}
