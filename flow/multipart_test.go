package flow_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"stagedoor/flow"
)

const typeB = "multipart/form-data; boundary=B"

// upload is an upload_file up to its file, in the boundary B.
func upload(filename, contentType string) string {
	return fields("entity_type", "Shot", "entity_id", "12", "session_token", "dummy") +
		"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + filename + "\"\r\nContent-Type: " + contentType + "\r\n\r\n"
}

func readUpload(contentType, body string) (*flow.Form, error) {
	return flow.ReadMultipart("/upload/upload_file", contentType, strings.NewReader(body), int64(len(body)), rand.Reader, nil)
}

func TestAFileGoesOnByteForByte(t *testing.T) {
	head := upload("a.mov", "video/quicktime")
	for _, file := range []string{
		"", "x", "\r\n", "\r\n--", "\r\n-", "\r\n--C", "--B--\r\n", "--B", "\r\n\r\n--", "\n--B--\r\n", "\r--B--", strings.Repeat("\r\n--", 99), "\r\n--\r\n--", "\x00\xff\xfe",
		strings.Repeat("0123456789", 50_000), strings.Repeat("\r\n", 200_000),
	} {
		for _, tail := range []string{"\r\n--B--\r\n", "\r\n--B--\r\n\r\n"} {
			body := head + file + tail
			for name, src := range map[string]io.Reader{
				"whole": strings.NewReader(body), "half": iotest.HalfReader(strings.NewReader(body)),
				"one byte": iotest.OneByteReader(strings.NewReader(body)), "error with data": iotest.DataErrReader(strings.NewReader(body)),
			} {
				for _, length := range []int64{int64(len(body)), -1} {
					f, err := flow.ReadMultipart("/upload/upload_file", typeB, src, length, rand.Reader, nil)
					if err != nil {
						t.Fatalf("%s, %.20q: %v", name, file, err)
					}
					r, n := f.File()
					rest, err := io.ReadAll(iotest.OneByteReader(bufferless{r}))
					if err != nil {
						t.Fatalf("%s, %.20q: %v", name, file, err)
					}
					if length >= 0 && n != int64(len(rest)) || length < 0 && n != -1 {
						t.Fatalf("%s, %.20q: announced %d of %d", name, file, n, len(rest))
					}
					contentType, head := f.Head(cred())
					got := sentForm{ContentType: contentType, Body: string(head) + string(rest)}.understand(t)
					if got.file != file || got.filename != "a.mov" || got.typ != "video/quicktime" || got.fileField != "file" {
						t.Fatalf("%s: %.40q came as %.40q", name, file, got.file)
					}
					if !strings.HasSuffix(string(rest), "--"+tail[len("\r\n--B--"):]) {
						t.Fatalf("ends in %q", rest[len(rest)-8:])
					}
					src = strings.NewReader(body)
				}
			}
		}
	}
}

// bufferless hides every method but Read.
type bufferless struct{ io.Reader }

func TestALongBoundaryIsNotTakenForWhatBeginsLikeIt(t *testing.T) {
	long := strings.Repeat("b", 70)
	for _, file := range []string{"\r\n--" + long[:69], "\r\n--" + long[:40] + "c" + long[:29], strings.Repeat("\r\n--"+long[:69]+"\r\n", 5000)} {
		body := strings.ReplaceAll(upload("a", "a/b"), "--B\r\n", "--"+long+"\r\n") + file + "\r\n--" + long + "--\r\n"
		f, err := readUpload("multipart/form-data; boundary="+long, body)
		if err != nil {
			t.Fatal(err)
		}
		sent, err := send(f, cred())
		if err != nil {
			t.Fatal(err)
		}
		if got := sent.understand(t).file; got != file {
			t.Errorf("%.90q came as %.90q", file, got)
		}
	}
}

func TestAFormThatDoesNotEndWithItsFileIsNeverCompleted(t *testing.T) {
	head := upload("a.mov", "video/quicktime") + "DATA"
	for name, tail := range map[string]string{
		"cut": "", "cut in the boundary": "\r\n--", "cut behind it": "\r\n--B", "half closed": "\r\n--B-", "closed, without a line break": "\r\n--B--",
		"half a line break": "\r\n--B--\r", "two more line breaks": "\r\n--B--\r\n\r\n\r\n", "epilogue": "\r\n--B--\r\nx", "epilogue behind a line": "\r\n--B--\r\n\r\nx",
		"another part": "\r\n--B\r\nContent-Disposition: form-data; name=\"entity_id\"\r\n\r\n13\r\n--B--\r\n",
		"padding":      "\r\n--B \r\n", "padding behind the end": "\r\n--B-- \r\n", "a longer boundary": "\r\n--Bx\r\n\r\n--B--\r\n",
		"line feeds": "\r\n--B--\n", "line feeds all over": "\n--B--\n",
	} {
		body := head + tail
		for _, length := range []int64{int64(len(body)), -1} {
			f, err := flow.ReadMultipart("/upload/upload_file", typeB, strings.NewReader(body), length, rand.Reader, nil)
			if err != nil {
				var p *flow.ParseError
				if length < 0 || !errors.As(err, &p) {
					t.Errorf("%s: %v", name, err)
				}
				continue // too short for an end
			}
			r, n := f.File()
			rest, err := io.ReadAll(r)
			if _, ok := errors.AsType[*flow.ParseError](err); !ok {
				t.Errorf("%s: %v, not a ParseError", name, err)
			}
			if n >= 0 && int64(len(rest)) >= n {
				t.Errorf("%s: all %d bytes that were announced are sent", name, n)
			}
			if _, again := r.Read(make([]byte, 1)); !errors.Is(again, err) {
				t.Errorf("%s: then %v", name, again)
			}
			_, ours := f.Head(cred())
			boundary, _, _ := bytes.Cut(ours, []byte("\r\n"))
			if bytes.Contains(rest, boundary) {
				t.Errorf("%s: an end is sent: %q", name, rest)
			}
		}
	}
}

func TestAFormOfAnotherLengthThanAnnouncedIsNeverCompleted(t *testing.T) {
	body := upload("a.mov", "video/quicktime") + "DATA\r\n--B--\r\n"
	for _, off := range []int64{-2, -1, 1, 2, 100} {
		f, err := flow.ReadMultipart("/upload/upload_file", typeB, strings.NewReader(body), int64(len(body))+off, rand.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, n := f.File()
		if rest, err := io.ReadAll(r); err == nil || int64(len(rest)) >= n {
			t.Errorf("%d off: %v after %d of %d", off, err, len(rest), n)
		}
	}
	if _, err := flow.ReadMultipart("/upload/upload_file", typeB, strings.NewReader(body), int64(len(body))-10, rand.Reader, nil); err == nil {
		t.Error("shorter than its end")
	}
}

func TestACallerThatDiesLeavesTheFormUnfinished(t *testing.T) {
	gone := errors.New("connection reset")
	body := upload("a.mov", "video/quicktime") + strings.Repeat("x", 300_000)
	for _, at := range []int{len(body) - 299_000, len(body)} {
		src := io.MultiReader(strings.NewReader(body[:at]), iotest.ErrReader(gone))
		f, err := flow.ReadMultipart("/upload/upload_file", typeB, src, int64(len(body)+9), rand.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, n := f.File()
		if rest, err := io.ReadAll(r); !errors.Is(err, gone) || int64(len(rest)) >= n {
			t.Errorf("%v after %d of %d", err, len(rest), n)
		}
	}
	// Also behind the last boundary, and with all bytes there.
	whole := upload("a.mov", "video/quicktime") + "DATA\r\n--B--\r\n"
	f, err := flow.ReadMultipart("/upload/upload_file", typeB, io.MultiReader(strings.NewReader(whole), iotest.ErrReader(gone)), int64(len(whole)), rand.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := f.File()
	if rest, err := io.ReadAll(r); !errors.Is(err, gone) || string(rest) != "DATA" {
		t.Errorf("%v after %q", err, rest)
	}
	// And before the file.
	_, err = flow.ReadMultipart("/upload/upload_file", typeB, io.MultiReader(strings.NewReader(whole[:50]), iotest.ErrReader(gone)), int64(len(whole)), rand.Reader, nil)
	var p *flow.ParseError
	if !errors.Is(err, gone) || errors.As(err, &p) {
		t.Error(err)
	}
	if _, err := flow.ReadMultipart("/upload/upload_file", typeB, stuck{}, 100, rand.Reader, nil); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
	if _, err := flow.ReadMultipart("/upload/upload_file", typeB, strings.NewReader(whole), int64(len(whole)), iotest.ErrReader(gone), nil); !errors.Is(err, gone) {
		t.Error("without entropy:", err)
	}
}

// stuck is a reader that never gets on.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestBoundaries(t *testing.T) {
	long := strings.Repeat("b", 70)
	for contentType, boundary := range map[string]string{
		"multipart/form-data; boundary=c8af5ec7-0f8b-4a3d-9c1e-3d1f0a2b4c5d":     "c8af5ec7-0f8b-4a3d-9c1e-3d1f0a2b4c5d",
		"multipart/form-data; boundary=127.0.0.1.0.26258.1795433267.164.1":       "127.0.0.1.0.26258.1795433267.164.1",
		"multipart/form-data; boundary=------------------------d74496d66958873e": "------------------------d74496d66958873e",
		"Multipart/Form-Data;BOUNDARY=\"a b:/?=(1),'+_\"":                        "a b:/?=(1),'+_",
		"multipart/form-data ;  boundary=" + long:                                long,
	} {
		body := strings.NewReplacer("--B\r\n", "--"+boundary+"\r\n", "--B--", "--"+boundary+"--").Replace(upload("a", "a/b") + "DATA\r\n--B--\r\n")
		f, err := readUpload(contentType, body)
		if err != nil {
			t.Errorf("%s: %v", contentType, err)
			continue
		}
		r, _ := f.File()
		if rest, err := io.ReadAll(r); err != nil || !bytes.HasPrefix(rest, []byte("DATA\r\n--")) {
			t.Errorf("%s: %q, %v", contentType, rest, err)
		}
	}
	if _, err := readUpload("multipart/form-data; boundary=\"B \"", strings.ReplaceAll(upload("a", "a/b")+"DATA\r\n--B--\r\n", "--B", "--B ")); err == nil {
		t.Error("a boundary with a space at its end is taken")
	}
	for _, contentType := range []string{
		"", "multipart/form-data", "multipart/form-data;", "multipart/form-data; boundary", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"\"",
		"multipart/form-data; boundary=B; boundary=B", "multipart/form-data; boundary=A; boundary=B", "multipart/form-data; boundary=B;", "multipart/form-data; boundary=B ",
		"multipart/form-data; charset=utf-8; boundary=B", "multipart/form-data; boundary=B; charset=utf-8", "multipart/form-data, boundary=B", "multipart/form-data boundary=B",
		"multipart/mixed; boundary=B", "multipart/form-data; boundary*=utf-8''B", "multipart/form-data; boundary*0=B", "multipart/form-data; boundary =B", "multipart/form-data; boundary= B",
		"multipart/form-data; boundary=\"B", "multipart/form-data; boundary=B\"", "multipart/form-data; boundary=\"B\\\"\"", "multipart/form-data; boundary=\"B\"; x=y",
		"multipart/form-data; boundary=B,A", "multipart/form-data; boundary=B:A", "multipart/form-data; boundary=\"B\r\nA\"", "multipart/form-data; boundary=\u0130", "multipart/form-data; boundary=B" + long,
		"application/x-www-form-urlencoded", "text/plain; boundary=B", "multipart/form-data;\tboundary=B",
	} {
		if _, err := readUpload(contentType, upload("a", "a/b")+"DATA\r\n--B--\r\n"); err == nil {
			t.Errorf("%q is taken", contentType)
		}
	}
}

func TestNamesOfFiles(t *testing.T) {
	for written, name := range map[string]string{
		`a.mov`: `a.mov`, `é 日本.mov`: `é 日本.mov`, `a"b.mov`: `a"b.mov`, `"`: `"`, `""`: `""`, `a".mov`: `a".mov`, `a" b`: `a" b`,
		`a\"b`: `a"b`, `a\\b`: `a\b`, `C:\shots\sh010.mov`: `C:\shots\sh010.mov`, `a\\"b`: `a\"b`, `a\\`: `a\`, `a;b`: `a;b`, `a;"b`: `a;"b`, `a%22; b`: `a%22; b`, `'a'`: `'a'`, ` a `: ` a `,
	} {
		f, err := readUpload(typeB, upload(written, "a/b")+"DATA\r\n--B--\r\n")
		if err != nil {
			t.Errorf("%s: %v", written, err)
			continue
		}
		sent, err := send(f, cred())
		if err != nil {
			t.Fatal(err)
		}
		got := sent.understand(t)
		if got.filename != name {
			t.Errorf("%s goes on as %s, want %s", written, got.filename, name)
		}
		if strings.Count(sent.Body, "filename") != 1 {
			t.Errorf("%s: more than one name in %q", written, sent.Body)
		}
	}
	for _, written := range []string{
		``, `a"; x="b`, `a";x`, `a" ; name="entity_id`, `a\"; x="b`, `a\" ;b`, `";"`, `a\`, `a\\\`, "a\tb", "a\x00b", "a\x7fb", "a\xffb", "a\r\n b", "a\nb", strings.Repeat("a", 5000),
	} {
		if _, err := readUpload(typeB, upload(written, "a/b")+"DATA\r\n--B--\r\n"); err == nil {
			t.Errorf("%q is taken", written)
		}
	}
}

func TestTheTypeOfAFileGoesOnWhereItIsClean(t *testing.T) {
	for _, nested := range []string{"multipart/mixed; boundary=C", "Multipart/Form-Data", "message/rfc822", ""} {
		if _, err := readUpload(typeB, upload("a", nested)+"DATA\r\n--B--\r\n"); err == nil {
			t.Errorf("a file of type %q is taken", nested)
		}
	}
	for typ, want := range map[string]string{
		"video/quicktime": "video/quicktime", "application/vnd.ms-x+xml": "application/vnd.ms-x+xml", "a/b; charset=x": "", "a/b,c": "", "a": "", "/": "", "a/": "", "a/b\"": "", "é/b": "",
	} {
		f, err := readUpload(typeB, upload("a", typ)+"DATA\r\n--B--\r\n")
		if err != nil {
			t.Errorf("%s: %v", typ, err)
			continue
		}
		sent, err := send(f, cred())
		if err != nil {
			t.Fatal(err)
		}
		if got := sent.understand(t).typ; got != want {
			t.Errorf("%s goes on as %s", typ, got)
		}
	}
}

func TestHeadersThatNoClientSends(t *testing.T) {
	field := func(header string) string {
		return fields("entity_type", "Shot", "entity_id", "12") + "--B\r\n" + header + "\r\n\r\nabcd\r\n" +
			"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nDATA\r\n--B--\r\n"
	}
	for _, header := range []string{
		`Content-Disposition: form-data; name="display_name"`,
		`content-disposition:form-data;name="display_name"`,
		"Content-Disposition: form-data; name=\"display_name\"\r\nContent-Type: text/plain; charset=UTF-8",
		"Content-Length: 4\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name=\"display_name\"",
	} {
		if _, err := readUpload(typeB, field(header)); err != nil {
			t.Errorf("%q: %v", header, err)
		}
	}
	const good = `Content-Disposition: form-data; name="display_name"`
	for _, header := range []string{
		"", "x", `Content-Type: text/plain`, good + " ", good + ";", good + "; x=y", good + `; name="entity_id"`, good + `; Name="x"`, good + `; name*=utf-8''entity_id`, good + `; filename*=utf-8''a`,
		good + `; filename=a`, good + `; filename="a"`, good + "\r\n" + good, good + "\r\ncontent-disposition: form-data; name=\"x\"", good + "\r\nContent-Type: text/plain\r\nContent-type: text/plain",
		good + "\r\nContent-Transfer-Encoding: base64", good + "\r\nContent-Encoding: gzip", good + "\r\nX-A: b", good + "\r\n x", good + "\r\n\tx", good + ";\r\n filename=\"a\"", good + "\nContent-Type: text/plain",
		good + "\r\nContent-Length: 5", good + "\r\nContent-Length: 04x", good + "\r\nContent-Length: -4", good + "\r\nContent-Length: +4", good + "\r\nContent-Length:", good + "\r\nContent-Length: 4\r\nContent-Length: 4",
		good + "\r\nContent-Type: text/html", good + "\r\nContent-Type: text/plain; charset=utf-16", good + "\r\nContent-Type: application/json", good + "\r\nContent-Type:", good + "\r\nContent-Type: multipart/mixed; boundary=C",
		`Content-Disposition: attachment; name="display_name"`, `Content-Disposition: Form-Data; name="display_name"`, `Content-Disposition: form-data`, `Content-Disposition: form-data; name=display_name`, `Content-Disposition: form-data; name='display_name'`,
		`Content-Disposition: form-data; NAME="display_name"`, `Content-Disposition: form-data; name ="display_name"`, `Content-Disposition: form-data; name= "display_name"`, `Content-Disposition: form-data; filename="a"; name="file"`, `Content-Disposition: form-data;; name="display_name"`,
		`Content-Disposition: form-data; name="display\_name"`, `Content-Disposition: form-data; name="display\"name"`, `Content-Disposition: form-data; name=""`, "Content-Disposition: form-data; name=\"a\xffb\"", "Content-Disposition: form-data; name=\"a\x00b\"",
		`Content-Disposition : form-data; name="display_name"`, `Content_Disposition: form-data; name="display_name"`, ` Content-Disposition: form-data; name="display_name"`,
		`Content-Disposition: form-data; name="display_name[]"`, `Content-Disposition: form-data; name="_method"`, `Content-Disposition: form-data; name="Entity_id"`, `Content-Disposition: form-data; name="entity_id"`,
		`Content-Disposition: form-data; name="file"`, `Content-Disposition: form-data; name="thumb_image"; filename="a"`, `Content-Disposition: form-data; name="x"; filename="a"`, good + "\r\nX: " + strings.Repeat("a", 5000),
	} {
		_, err := readUpload(typeB, field(header))
		if _, ok := errors.AsType[*flow.ParseError](err); !ok {
			t.Errorf("%q: %v", header, err)
		}
	}
}

func TestFormsThatAreNotAsTheClientsWriteThem(t *testing.T) {
	whole := upload("a", "a/b") + "DATA\r\n--B--\r\n"
	file := "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nDATA\r\n"
	for name, body := range map[string]string{
		"preamble": "x\r\n" + whole, "a line break first": "\r\n" + whole, "line feeds": strings.ReplaceAll(whole, "\r\n", "\n"), "another boundary": strings.Replace(whole, "--B", "--A", 1),
		"a longer boundary": strings.ReplaceAll(whole, "--B\r\n", "--BB\r\n"), "padding": strings.Replace(whole, "--B\r\n", "--B \r\n", 1), "padding in the middle": strings.ReplaceAll(whole, "\r\n--B\r\n", "\r\n--B\t\r\n"),
		"no file": form("entity_type", "Shot", "entity_id", "12"), "nothing": "", "no part": "--B--\r\n", "cut": whole[:60], "no data in a header": "--B\r\n\r\nx\r\n--B--\r\n",
		"a file before what decides": file + form("entity_type", "Shot", "entity_id", "12"), "a decisive field behind the file": fields("entity_type", "Shot") + file + form("entity_id", "12"),
		"a field twice":    fields("entity_type", "Shot", "entity_id", "12", "entity_id", "13") + file + "--B--\r\n",
		"too many fields":  fields("entity_type", "Shot", "entity_id", "12") + extra(flow.MaxFormFields) + file + "--B--\r\n",
		"too long a field": fields("entity_type", "Shot", "entity_id", "12", "display_name", strings.Repeat("x", flow.MaxFormField+1)) + file + "--B--\r\n",
		"too long a head": fields("entity_type", "Shot", "entity_id", "12", "a", strings.Repeat("x", flow.MaxFormField), "b", strings.Repeat("x", flow.MaxFormField),
			"c", strings.Repeat("x", flow.MaxFormField), "d", strings.Repeat("x", flow.MaxFormField)) + file + "--B--\r\n",
		"U+0000 in a field":        fields("entity_type", "Shot", "entity_id", "12", "display_name", "a\x00b") + file + "--B--\r\n",
		"invalid UTF-8 in a field": fields("entity_type", "Shot", "entity_id", "12", "display_name", "a\xffb") + file + "--B--\r\n",
		"a number with more":       fields("entity_type", "Shot", "entity_id", "12\r\n") + file + "--B--\r\n",
	} {
		_, err := readUpload(typeB, body)
		var p *flow.ParseError
		if !errors.As(err, &p) || p.Method != "upload_file" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// As long as may be.
	body := fields("entity_type", "Shot", "entity_id", "12", "display_name", strings.Repeat("x", flow.MaxFormField)) + extra(flow.MaxFormFields-4) + file + "--B--\r\n"
	if _, err := readUpload(typeB, body); err != nil {
		t.Error(err)
	}
}

func extra(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(fields(fmt.Sprint("x", i), "1"))
	}
	return b.String()
}

func TestAMultipartFormWithoutAFileGoesOnURLEncoded(t *testing.T) {
	for _, tail := range []string{"", "\r\n"} {
		s := sentForm{Path: "/upload/share_thumbnail", ContentType: typeB, Body: form("entities", "Shot_1,Task_2", "source_entity", "Version_3", "script_key", "x") + tail}
		f, err := s.read(nil)
		if err != nil {
			t.Fatal(err)
		}
		if r, n := f.File(); n != 0 || f.HasFile() {
			t.Errorf("a file of %d bytes: %v", n, r)
		}
		if _, body := f.Encode(cred()); string(body) != "script_name=publisher-2026&script_key="+realKey+"&entities=Shot_1%2CTask_2&source_entity=Version_3" {
			t.Errorf("%s", body)
		}
	}
	for _, tail := range []string{"x", "\r\n\r\n", "--B"} {
		s := sentForm{Path: "/upload/share_thumbnail", ContentType: typeB, Body: form("entities", "Shot_1", "source_entity", "Version_3") + tail}
		if _, err := s.read(nil); err == nil {
			t.Errorf("%q behind the end is taken", tail)
		}
	}
}

func TestReadingAFileAllocatesNothing(t *testing.T) {
	in := &endless{head: upload("a", "a/b"), block: block('x')}
	f, err := flow.ReadMultipart("/upload/upload_file", typeB, in, 1<<40, rand.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := f.File()
	buf := make([]byte, 32<<10)
	if n := testing.AllocsPerRun(500, func() {
		if _, err := r.Read(buf); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%.1f allocations for each read", n)
	}
}

// endless is a form whose file never ends.
type endless struct {
	head  string
	block []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if e.head != "" {
		n := copy(p, e.head)
		e.head = e.head[n:]
		return n, nil
	}
	return copy(p, e.block), nil
}

func block(fill ...byte) []byte { return bytes.Repeat(fill, (256<<10)/len(fill)) }

// The stream alone: no network, and a source that costs one copy.
func BenchmarkMultipartStream(b *testing.B) {
	random := make([]byte, 256<<10)
	if _, err := rand.Read(random); err != nil {
		b.Fatal(err)
	}
	const boundary = "c8af5ec7-0f8b-4a3d-9c1e-3d1f0a2b4c5d"
	for name, data := range map[string][]byte{
		"random": random, "zero": block(0), "line breaks": block('\r', '\n'), "nearly boundaries": block([]byte("\r\n--c8af5ec7-0f8b-4a3d-9c1e-3d1f0a2b4c5x")...), "returns": block('\r'),
	} {
		b.Run(name, func(b *testing.B) { streamFile(b, boundary, data) })
		b.Run(name+"/long boundary", func(b *testing.B) { streamFile(b, boundary[:34]+boundary, data) })
	}
}

func streamFile(b *testing.B, boundary string, data []byte) {
	b.Helper()
	head := strings.ReplaceAll(upload("a.mov", "video/quicktime"), "--B\r\n", "--"+boundary+"\r\n")
	f, err := flow.ReadMultipart("/upload/upload_file", "multipart/form-data; boundary="+boundary, &endless{head: head, block: data}, 1<<60, rand.Reader, nil)
	if err != nil {
		b.Fatal(err)
	}
	r, _ := f.File()
	buf := make([]byte, 64<<10)
	b.ReportAllocs()
	var total int64
	for b.Loop() {
		n, err := r.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		total += int64(n)
	}
	b.SetBytes(total / int64(b.N))
}

// A small upload up to its file, and what is sent before it.
func BenchmarkMultipartHead(b *testing.B) {
	body := upload("a.mov", "video/quicktime") + "DATA\r\n--B--\r\n"
	b.ReportAllocs()
	for b.Loop() {
		f, err := readUpload(typeB, body)
		if err != nil {
			b.Fatal(err)
		}
		f.Head(cred())
	}
}
