package upstream_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"stagedoor/upstream"
)

// BenchmarkUpload and BenchmarkDownload move 64 MiB over TLS on loopback. The
// site's half of the work is in the figure.
const fileSize = 64 << 20

func BenchmarkUpload(b *testing.B) {
	p := benchSite(b)
	zeros := readerFunc(func(p []byte) (int, error) { return len(p), nil })
	b.SetBytes(fileSize)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := p.send(b.Context(), upstream.Request{Path: "/", Stream: io.LimitReader(zeros, fileSize), Length: fileSize}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDownload(b *testing.B) {
	p := benchSite(b)
	buf := make([]byte, 64<<10)
	b.SetBytes(fileSize)
	b.ReportAllocs()
	for b.Loop() {
		res, err := p.site.Do(b.Context(), upstream.Request{Method: "GET", Path: "/"})
		if err != nil {
			b.Fatal(err)
		}
		n := int64(0)
		for err == nil {
			var m int
			m, err = res.Body.Read(buf)
			n += int64(m)
		}
		if n != fileSize {
			b.Fatalf("%d bytes: %v", n, err)
		}
		_ = res.Body.Close()
	}
}

func benchSite(b *testing.B) *place {
	b.Helper()
	buf, page := make([]byte, 128<<10), make([]byte, 128<<10)
	return visit(b, false, func(l *line) {
		for {
			r, err := http.ReadRequest(l.br)
			if err != nil {
				return
			}
			for err == nil {
				_, err = r.Body.Read(buf)
			}
			if r.Method != http.MethodGet {
				l.say(ok)
				continue
			}
			l.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", fileSize))
			for range fileSize / len(page) {
				_, _ = l.Write(page)
			}
		}
	})
}
