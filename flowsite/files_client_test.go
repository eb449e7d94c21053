package flowsite_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stagedoor/flowsite"
	"stagedoor/internal/parts"
)

// tunnel is an HTTP proxy that takes CONNECT: 127.0.0.1:443 leads to the
// site. From a base URL with no port, the real client sends the cookie of a
// download (§4.2).
func tunnel(t *testing.T, srv *flowsite.Server) string {
	t.Helper()
	to := strings.TrimPrefix(srv.URL, "https://")
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := r.Host
		if target == "127.0.0.1:443" {
			target = to
		}
		var d net.Dialer
		out, err := d.DialContext(context.WithoutCancel(r.Context()), "tcp4", target)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		in, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, err = io.WriteString(in, "HTTP/1.1 200 Connected\r\n\r\n")
		}
		if err != nil {
			_ = out.Close() // the test is about to fail
			return
		}
		go func() {
			_, _ = io.Copy(out, in)
			_ = out.Close()
		}()
		_, _ = io.Copy(in, out)
		_ = in.Close()
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = hs.Serve(l) // ErrServerClosed
	}()
	t.Cleanup(func() {
		if err := hs.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		<-done
	})
	return l.Addr().String()
}

const movieText = "a movie\r\n--with something like a boundary--\r\n"

// fileDir is a folder with the files that client_files.py uploads.
func fileDir(t *testing.T, big int) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{
		`shöt "1".mov`: movieText, "paint.png": "paint", "thumb.png": "a thumbnail", "film.jpg": "a filmstrip",
		"big.bin": strings.Repeat("0123456789abcdef", big/16),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// clientFiles runs client_files.py against a site under its public name.
func clientFiles(t *testing.T, s *flowsite.Site, version string, extra ...string) map[string]any {
	t.Helper()
	srv := start(t, s)
	ca := srv.CAPEM
	return filesThrough(t, srv, bytes.Clone(ca), version, extra...)
}

func filesThrough(t *testing.T, srv *flowsite.Server, ca []byte, version string, extra ...string) map[string]any {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"testdata/client_files.py", "https://127.0.0.1", scriptName, "ca=" + name, "proxy=" + tunnel(t, srv)}, extra...)
	var got map[string]any
	if out := python(t, version, scriptKey+"\n", args...); json.Unmarshal(out, &got) != nil {
		t.Fatalf("%s", out)
	}
	return got
}

func sumOf(data string) object {
	sum := sha256.Sum256([]byte(data))
	return object{"sha256": hex.EncodeToString(sum[:]), "size": len(data)}
}

func TestFileCallsOfTheRealClient_3_2(t *testing.T) {
	s := newSite(t, flowsite.Options{URL: "https://127.0.0.1", Hosts: []string{"127.0.0.1"}})
	got := clientFiles(t, s, parts.NewestClient, "dir="+fileDir(t, 16))
	clean(t, s)
	b, _ := json.MarshalIndent(got, "", " ")
	t.Logf("%s", b)
}
