//go:build unix

package trust_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stagedoor/internal/trust"
)

func TestOnlyOurFilesAreRead(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if b, err := trust.Read(file("ours", 0o644), 10); err != nil || string(b) != "0123456789" {
		t.Errorf("ours: %q %v", b, err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	refused := map[string]string{
		file("long", 0o600):          "",
		file("group", 0o620):         "chmod go-w",
		file("world", 0o602):         "chmod go-w",
		pipe:                         "no regular file",
		dir:                          "no regular file",
		filepath.Join(dir, "absent"): "no such file",
	}
	limit := map[string]int64{filepath.Join(dir, "long"): 9}
	if os.Geteuid() == 0 {
		path := file("theirs", 0o600)
		if err := os.Chown(path, 12345, -1); err != nil {
			t.Fatal(err)
		}
		refused[path] = "belongs to user 12345"
		if b, err := trust.ReadFrom(path, 10); err != nil || len(b) != 10 {
			t.Errorf("another program's: %q %v", b, err)
		}
	}
	for path, want := range refused {
		n := int64(10)
		if l, ok := limit[path]; ok {
			n = l
		}
		if _, err := trust.Read(path, n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
