//go:build linux || darwin

package audit_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stagedoor/audit"
)

// TestOnlyAFileOfOursIsContinued: whoever can write to the log can write a
// history of their own, chain and all.
func TestOnlyAFileOfOursIsContinued(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	session(t, audit.Options{Path: path}, "a")
	was := content(t, path)
	for _, mode := range []os.FileMode{0o620, 0o602, 0o666, 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := audit.Open(audit.Options{Path: path})
		if err == nil || !strings.Contains(err.Error(), "run: chmod go-w "+path) || content(t, path) != was {
			t.Errorf("%v: %v", mode, err)
		}
	}
	// A reader who ships it may read.
	for _, mode := range []os.FileMode{0o600, 0o640, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		session(t, audit.Options{Path: path})
	}
}

func TestFileOfSomebodyElseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	write(t, path, "")
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Skip("only root gives files away: ", err)
	}
	_, err := audit.Open(audit.Options{Path: path})
	want := fmt.Sprintf("belongs to user 12345, who may change it; run: chown %d %s", os.Geteuid(), path)
	if err == nil || !strings.Contains(err.Error(), want) || content(t, path) != "" {
		t.Errorf("%v, want %q", err, want)
	}
}

// A file that came in by a rename is looked at too; the old one stays in use.
func TestReopenRefusesAFileOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, audit.Options{Path: path})
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, path, "")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("reopen: %v", err)
	}
	if err := errors.Join(l.Append(intent("a")), l.Close()); err != nil {
		t.Error(err)
	}
	verified(t, content(t, path+".1"), 3)
}
