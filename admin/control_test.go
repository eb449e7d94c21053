package admin_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stagedoor/admin"
)

// box keeps brakes as they come.
type box struct {
	mu   sync.Mutex
	list []admin.Brake
}

func (b *box) Set(_ context.Context, k admin.Brake) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, k)
	return "on this proxy alone", nil
}

func (b *box) Lift(_ context.Context, scope, name string) (bool, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.list {
		if b.list[i].Scope == scope && b.list[i].Name == name {
			b.list = append(b.list[:i], b.list[i+1:]...)
			return true, "on this proxy alone", nil
		}
	}
	return false, "", nil
}

func (b *box) List() []admin.Brake {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]admin.Brake{}, b.list...)
}

func control(t *testing.T) (path string, b *box) {
	t.Helper()
	// Not t.TempDir: the name of a socket may be 104 bytes long at most.
	dir, err := os.MkdirTemp("", "sd") //nolint:usetesting // its names are long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path, b = filepath.Join(dir, "run", "c.sock"), &box{}
	c, err := admin.OpenControl(t.Context(), path, b, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket is still there after Close")
		}
	})
	return path, b
}

func good() url.Values {
	return url.Values{"scope": {"script"}, "name": {"farm"}, "rate": {"1"}, "for": {"30m"}, "why": {"site slow"}, "by": {"wrangler"}}
}

func TestControlKeepsBrakes(t *testing.T) {
	path, b := control(t)
	out, err := admin.AskControl(t.Context(), path, good())
	if err != nil || !strings.HasPrefix(string(out), "script farm is slowed to 1/s until ") || !strings.HasSuffix(string(out), "on this proxy alone\n") {
		t.Fatalf("%q, %v", out, err)
	}
	if got := b.List(); len(got) != 1 || got[0].Why != "site slow" || got[0].By != "wrangler" || time.Until(got[0].Until) > 30*time.Minute {
		t.Fatalf("kept %+v", got)
	}
	out, err = admin.AskControl(t.Context(), path, nil)
	var list []admin.Brake
	if err != nil || json.Unmarshal(out, &list) != nil || len(list) != 1 || list[0].Name != "farm" {
		t.Fatalf("listed %q, %v", out, err)
	}
	if _, err = admin.AskControl(t.Context(), path, url.Values{"scope": {"script"}, "name": {"farm"}, "lift": {""}}); err != nil || len(b.List()) != 0 {
		t.Fatalf("lifted: %v, left %v", err, b.List())
	}
	if _, err = admin.AskControl(t.Context(), path, url.Values{"scope": {"script"}, "name": {"farm"}, "lift": {""}}); err == nil {
		t.Fatal("a brake was lifted that is none")
	}
}

func TestControlRefusesWhatIsNoBrake(t *testing.T) {
	path, b := control(t)
	for name, change := range map[string]url.Values{
		"no scope":    {"scope": {""}},
		"other scope": {"scope": {"site"}},
		"no name":     {"name": {""}},
		"no rate":     {"rate": {""}},
		"negative":    {"rate": {"-1"}},
		"no number":   {"rate": {"NaN"}},
		"no time":     {"for": {"0s"}},
		"for ever":    {"for": {"1000h"}},
		"no reason":   {"why": {" "}},
		"two lines":   {"why": {"a\nb"}},
		"long":        {"why": {strings.Repeat("x", admin.MaxWhy+1)}},
	} {
		v := good()
		for k := range change {
			v[k] = change[k]
		}
		if out, err := admin.AskControl(t.Context(), path, v); err == nil {
			t.Errorf("%s: taken: %s", name, out)
		}
	}
	if len(b.List()) != 0 {
		t.Errorf("kept %v", b.List())
	}
}

func TestControlIsForItsOwnerAlone(t *testing.T) {
	path, _ := control(t)
	st, err := os.Stat(path)
	if err != nil || st.Mode().Type() != fs.ModeSocket || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", st.Mode(), err)
	}
	if st, err = os.Stat(filepath.Dir(path)); err != nil || st.Mode().Perm() != 0o700 {
		t.Fatalf("%v %v", st.Mode(), err)
	}
}

func TestControlReplacesOnlyWhatNobodyListensOn(t *testing.T) {
	path, b := control(t)
	logger := slog.New(slog.DiscardHandler)
	if _, err := admin.OpenControl(t.Context(), path, b, logger); err == nil {
		t.Fatal("two proxies on one socket")
	}
	file := filepath.Join(filepath.Dir(path), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.OpenControl(t.Context(), file, b, logger); err == nil {
		t.Fatal("a file was replaced")
	}
	dead := filepath.Join(filepath.Dir(path), "dead.sock")
	ln, err := new(net.ListenConfig).Listen(t.Context(), "unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := admin.OpenControl(t.Context(), dead, b, logger)
	if err != nil {
		t.Fatalf("what a process that is gone left: %v", err)
	}
	c.Close()
}
