package flow_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"strings"
	"testing"

	"stagedoor/flow"
)

func readMultipart(t *testing.T, path, contentType, body string) (*flow.Form, error) {
	t.Helper()
	return flow.ReadMultipart(path, contentType, strings.NewReader(body), int64(len(body)), rand.Reader, nil)
}

func TestSmoke(t *testing.T) {
	b := "--B\r\nContent-Disposition: form-data; name=\"entity_type\"\r\n\r\nShot\r\n--B\r\nContent-Disposition: form-data; name=\"entity_id\"\r\n\r\n12\r\n--B\r\nContent-Disposition: form-data; name=\"script_key\"\r\n\r\ndummy\r\n" +
		"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"b.mov\"\r\nContent-Type: video/quicktime\r\nContent-Length: 4\r\n\r\nDATA\r\n--B--\r\n\r\n"
	f, err := readMultipart(t, "/upload/upload_file", "multipart/form-data; boundary=B", b)
	if err != nil {
		t.Fatal(err)
	}
	ct, head := f.Head(cred())
	r, n := f.File()
	rest, err := io.ReadAll(r)
	if err != nil || int64(len(rest)) != n {
		t.Fatal(err, len(rest), n)
	}
	t.Logf("%s\n%s%s", ct, bytes.ReplaceAll(head, []byte("\r"), nil), rest)
	u, err := flow.ParseForm("/upload/share_thumbnail", []byte("entities=Shot_1%2CCustom_Thing_3&source_entity=Version_9&filmstrip_thumbnail=1&session_uuid=aa-b"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, e := u.Encode(cred())
	t.Logf("%s %+v", e, u.Call)
}
