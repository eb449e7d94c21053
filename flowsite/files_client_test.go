package flowsite_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
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

// fileRun is a run of client_files.py: what each call came to.
type fileRun map[string]any

func (f fileRun) at(t *testing.T, step, key string) string {
	t.Helper()
	m, ok := f[step].(object)
	if !ok {
		t.Fatalf("%s: %v", step, f[step])
	}
	return fmt.Sprint(m[key])
}

// clientFiles runs client_files.py against a site that the client knows by
// its public name.
func clientFiles(t *testing.T, s *flowsite.Site, version string, big int) fileRun {
	t.Helper()
	srv := start(t, s)
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, srv.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"testdata/client_files.py", "https://127.0.0.1", scriptName, "ca=" + name, "proxy=" + tunnel(t, srv), "dir=" + fileDir(t, big)}
	if big > 0 {
		args = append(args, "big=1")
	}
	var got fileRun
	// The uploads of the client 3.8.4 take no notice of ca_certs.
	if out := pythonIn(t, []string{"SSL_CERT_FILE=" + name}, version, scriptKey+"\n", args...); json.Unmarshal(out, &got) != nil {
		t.Fatalf("%s", out)
	}
	return got
}

// publicSite is a site under a name with no port.
func publicSite(t *testing.T, o flowsite.Options) *flowsite.Site {
	t.Helper()
	o.URL, o.Hosts = "https://127.0.0.1", []string{"127.0.0.1"}
	return newSite(t, o)
}

func sumOf(data string) object {
	sum := sha256.Sum256([]byte(data))
	return object{"sha256": hex.EncodeToString(sum[:]), "size": len(data)}
}

// Every file call of the real client, through the site alone and with the
// storage service: the results are the same, and nothing is a violation.
func TestFileCallsOfTheRealClient_3_2(t *testing.T) {
	const big = 20_000_000 + 160 // two parts: §3.3
	for _, tc := range []struct {
		name, version string
		big           int
		options       flowsite.Options
	}{
		{"site", parts.NewestClient, 0, flowsite.Options{}},
		{"site, old client", parts.OldClient, 0, flowsite.Options{}},
		{"storage", parts.NewestClient, big, flowsite.Options{DirectUploads: true, StorageLinks: true, RedirectDownloads: true}},
		{"storage, old client", parts.OldClient, big, flowsite.Options{DirectUploads: true, RedirectDownloads: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := publicSite(t, tc.options)
			if tc.big > 0 {
				srv, err := s.StartStorage()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := srv.Close(); err != nil {
						t.Error(err)
					}
				})
			}
			got := clientFiles(t, s, tc.version, tc.big)
			clean(t, s)
			checkFiles(t, got, tc.options)
			if tc.big > 0 {
				want := sumOf(strings.Repeat("0123456789abcdef", big/16))
				if encode(t, got["download_big"]) != encode(t, want) {
					t.Errorf("the big file came back as %v", got["download_big"])
				}
			}
			if n := count(s, flowsite.RouteStorage); (n > 0) != (tc.big > 0) {
				t.Errorf("%d requests to storage", n)
			}
		})
	}
}

func count(s *flowsite.Site, kind string) int {
	n := 0
	for _, r := range s.Received() {
		if r.Kind == kind {
			n++
		}
	}
	return n
}

func checkFiles(t *testing.T, got fileRun, o flowsite.Options) {
	t.Helper()
	for step, want := range map[string]any{
		"upload": 801, "upload_to_record": 802, "upload_thumbnail": 803, "upload_filmstrip_thumbnail": 804, "share_thumbnail": 803,
		"share_uploaded": 805, "share_filmstrip": 804, "url_of_nothing": nil, "download_nothing": nil,
		"url_by_id": "https://127.0.0.1/file_serve/attachment/801", "url_by_hash": "https://127.0.0.1/file_serve/attachment/801",
		"download_by_id": sumOf(movieText), "download_by_keyword": sumOf(movieText), "download_by_hash": sumOf(movieText),
		"download_by_value": sumOf(movieText), "download_to_file": sumOf(movieText), "download_image": sumOf("a thumbnail"),
	} {
		if encode(t, got[step]) != encode(t, want) {
			t.Errorf("%s: %v, want %v", step, got[step], want)
		}
	}
	for step, want := range map[string]string{
		"unknown_row": "Version with id=99999 does not exist", "download_missing": "HTTP Error 400", "unknown_field": "sg_no_such doesn't exist",
	} {
		if !strings.Contains(got.at(t, step, "text"), want) {
			t.Errorf("%s: %v", step, got[step])
		}
	}
	root := "https://127.0.0.1/file_serve/attachment/801"
	if o.StorageLinks {
		root = "https://localhost:"
	}
	url, _ := got["url_by_value"].(string)
	copied, _ := got["read_copy"].(object)
	read, _ := got["read"].(object)
	v, _ := read["sg_uploaded_movie"].(object)
	w, _ := copied["sg_uploaded_movie"].(object)
	for _, m := range []object{v, w} {
		if m["name"] != "shöt \"1\".mov" || m["link_type"] != "upload" || m["content_type"] != "video/quicktime" || !strings.HasPrefix(url, root) ||
			!strings.HasPrefix(fmt.Sprint(m["url"]), root) || strings.Contains(url, "X-Amz-Signature") != o.StorageLinks {
			t.Errorf("a file field reads as %v; copied: %v, %v", m, got["copy"], got["read_copy"])
		}
	}
}

// §4.2 (CAP): from a base URL with a port no cookie comes, so the login page is
// what the client takes for the file.
func TestTheCookieIsNotSentToAPort_4_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	id := s.AddFile("x.txt", "text/plain", []byte("text"))
	srv := start(t, s)
	out := python(t, parts.NewestClient, scriptKey+"\n", "testdata/client_download.py", srv.URL, scriptName, caFile(t, srv), strconv.Itoa(id))
	if !strings.Contains(string(out), "Sign in") || count(s, flowsite.RouteLogin) != 1 {
		t.Errorf("%s", out)
	}
	for _, r := range s.Received() {
		if r.Kind == flowsite.RouteDownload && r.Header.Get("Cookie") != "" {
			t.Errorf("%+v", r)
		}
	}
	clean(t, s)
}
