package proxy_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"stagedoor/flow"
	"stagedoor/policy"
	"stagedoor/proxy"
)

// What policy explain reads of a request is what the proxy does: the same shape,
// or the same reason not to read it.
func TestReadCallReadsAsTheProxyDoes(t *testing.T) {
	const multipartForm = "--b\r\nContent-Disposition: form-data; name=\"entity_type\"\r\n\r\nVersion\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"entity_id\"\r\n\r\n7\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mov\"\r\n\r\nframes\r\n--b--\r\n"
	s := start(t, answering(`{"results":[]}`), func(st *proxy.State, _ *proxy.Listener) {
		st.Scripts["pub"].Policy = policy.Compile(policy.Script{Name: "pub"})
	})
	for _, c := range []struct{ verb, target, contentType, body string }{
		{"POST", "/api3/json", "application/json", readShot},
		{"POST", "/api3/json", "application/json; charset=utf-8", createShot},
		{"POST", "/api3/json", "text/plain", readShot},
		{"POST", "/api3/json?a=b", "application/json", readShot},
		{"POST", "/api3/json", "application/json", `{"method_name":"read"}`},
		{"POST", "/api3/json", "application/json", `{"method_name":"format_disk","params":[]}`},
		{"POST", "/api3/json", "application/json", `{"method_name":"read","method_name":"read","params":[]}`},
		{"POST", "/api3/json", "application/json", `{"method_name":"read","params":[{},{"type":"Shot","filters":` + strings.Repeat(`{"conditions":[`, 70) + strings.Repeat(`]}`, 70) + `}]}`},
		{"GET", "/api3/json", "", ""},
		{"GET", "/api/v1/entity/shots?fields=code,sg_sequence.Sequence.code", "", ""},
		{"GET", "/api/v1.1/entity/shots/7", "", ""},
		{"PUT", "/api/v1/entity/versions/7", "application/json", `{"description":"x"}`},
		{"POST", "/api/v1/entity/shots/_search", "application/vnd+shotgun.api3_array+json", `{"filters":[["project","is",{"type":"Project","id":7}]],"fields":["code"]}`},
		{"DELETE", "/api/v1/entity/shots/7", "", ""},
		{"PATCH", "/api/v1/entity/shots/7", "", ""},
		{"GET", "/api/v1/no/such", "", ""},
		{"POST", "/upload/upload_file", "multipart/form-data; boundary=b", multipartForm},
		{"POST", "/upload/upload_file", "multipart/form-data; boundary=b", strings.ReplaceAll(multipartForm, "entity_id", "entity_ids")},
		{"POST", "/upload/share_thumbnail", "application/x-www-form-urlencoded", "entities=Shot_1,Asset_2&source_entity=Version_3"},
		{"POST", "/upload/upload_file", "application/json", "{}"},
		{"GET", "/file_serve/attachment/7", "", ""},
		{"GET", "/thumbnail/full/Shot/7", "", ""},
		{"GET", "/images/a.jpg?no=1", "", ""},
		{"GET", "/page/7", "", ""},
	} {
		before := len(s.audit.all())
		req, err := http.NewRequestWithContext(t.Context(), c.verb, s.base+c.target, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.contentType != "" {
			req.Header.Set("Content-Type", c.contentType)
		}
		res, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if n := len(s.audit.all()); n != before+1 {
			t.Fatalf("%s %s: %d records", c.verb, c.target, n-before)
		}
		ev := s.audit.all()[before]
		q, err := readAlone(c.verb, c.target, c.contentType, c.body)
		switch u, ok := errors.AsType[*proxy.Unreadable](err); {
		case ok && (ev.Reason != string(u.Reason) || len(ev.Shape) > 0):
			t.Errorf("%s %s: %v, and the proxy said %s %s", c.verb, c.target, u, ev.Reason, ev.Shape)
		case ok:
		case err != nil:
			t.Errorf("%s %s: %v", c.verb, c.target, err)
		case string(flow.AppendShape(nil, q.Call)) != string(ev.Shape):
			t.Errorf("%s %s\nis read as   %s\nby the proxy %s, %s", c.verb, c.target, flow.AppendShape(nil, q.Call), ev.Shape, ev.Reason)
		}
	}
}

// readAlone reads a request that nobody sends.
func readAlone(verb, target, contentType, body string) (policy.Query, error) {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(verb + " " + target + " HTTP/1.1\r\nHost: h\r\n\r\n")))
	if err != nil {
		return policy.Query{}, err
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return proxy.ReadCall(r, []byte(body), flow.NewTypes(), flow.DefaultMaxDepth)
}
