package flow_test

import "testing"

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
