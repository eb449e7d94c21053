package flow_test

import (
	"errors"
	"fmt"
	"testing"

	"stagedoor/flow"
)

func TestADownloadSaysWhatItFetches(t *testing.T) {
	for _, tt := range []struct{ path, query, touch, target string }{
		{"/file_serve/attachment/12", "", "{Attachment  8} 12", "/file_serve/attachment/12"},
		{"/file_serve/attachment/12/a%20b.mov", "", "{Attachment  8} 12", "/file_serve/attachment/12/a%20b.mov"},
		{"/file_serve/version/7/mp4", "", "{Version sg_uploaded_movie 8} 7", "/file_serve/version/7/mp4"},
		{"/thumbnail/full/CustomEntity01/7", "", "{CustomEntity01 image 8} 7", "/thumbnail/full/CustomEntity01/7"},
		{"/thumbnail/api_image/7", "Expires=1&Signature=a%2Fb", "{images  8} 0", "/thumbnail/api_image/7?Expires=1&Signature=a%2Fb"},
		{"/images/status/transient/thumbnail_pending.png", "", "{images  8} 0", "/images/status/transient/thumbnail_pending.png"},
		{"/files/0000/0001/a.png", "1", "", ""},
		{"/files/0000/0001/a.png", "v=1", "{files  8} 0", "/files/0000/0001/a.png?v=1"},
		{"/files/0000/0001/a.png", "v=1&v=2", "", ""},
		{"/files/0000/../a.png", "", "", ""},
		{"/files//a.png", "", "", ""},
		{"/file_serve/attachment/0", "", "", ""},
		{"/file_serve/attachment/99999999999999999999", "", "", ""},
		{"/thumbnail/full/version/7", "", "", ""},
		{"/user/login", "", "", ""},
	} {
		d, err := flow.ParseDownload(tt.path, tt.query)
		if tt.touch == "" {
			if p, ok := errors.AsType[*flow.ParseError](err); !ok || p.Flaw != flow.FlawShape {
				t.Errorf("%s?%s: %v", tt.path, tt.query, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s?%s: %v", tt.path, tt.query, err)
			continue
		}
		if got := fmt.Sprint(d.Call.Touches[0], d.Call.ID); got != tt.touch || d.Target() != tt.target || d.Call.Writes {
			t.Errorf("%s?%s: %s to %s", tt.path, tt.query, got, d.Target())
		}
	}
}
