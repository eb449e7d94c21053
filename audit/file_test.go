package audit_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"stagedoor/audit"
)

// rotatedFiles are the files of a log, oldest first.
func rotatedFiles(t *testing.T, path string) []string {
	t.Helper()
	files := []string{path}
	for i := 1; ; i++ {
		p := fmt.Sprint(path, ".", i)
		if _, err := os.Stat(p); err != nil {
			break
		}
		files = append(files, p)
	}
	slices.Reverse(files)
	return files
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, s string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
		t.Fatal(err)
	}
}

// session opens the log, writes some intents and closes it.
func session(t *testing.T, o audit.Options, ids ...string) {
	t.Helper()
	l := open(t, o)
	for _, id := range ids {
		if err := l.Append(intent(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFileIsContinued(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	session(t, audit.Options{Path: path}, "a", "b")
	session(t, audit.Options{Path: path}, "c")
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	verified(t, content(t, path), 7)
}

func TestTornLineIsKeptAndOwnedUpTo(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	session(t, audit.Options{Path: whole}, "a", "b")
	log := content(t, whole)
	for _, cut := range []int{1, 2, 50, 200} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			path := filepath.Join(dir, fmt.Sprint("cut", cut))
			write(t, path, log[:len(log)-cut])
			session(t, audit.Options{Path: path}, "c")
			got := content(t, path)
			if !strings.HasPrefix(got, log[:len(log)-cut]+"\n") {
				t.Error("what was there is gone")
			}
			n, err := audit.Verify(strings.NewReader(got))
			if err != nil {
				t.Errorf("%v\n%s", err, got)
			}
			torn := strings.Contains(got, `"ev":"start","torn":true}`)
			// With cut 1 only the line end is missing; 200 cuts two lines.
			want := map[int]int{1: 7, 2: 6, 50: 6, 200: 5}[cut]
			if torn != (cut > 1) || n != want {
				t.Errorf("torn %v, %d lines, want %d\n%s", torn, n, want, got)
			}
			// The word is not believed without a torn line before it.
			if torn {
				broken := log[:strings.LastIndexByte(log[:len(log)-cut], '\n')+1]
				rest := got[strings.LastIndex(got, "\n{\"v\":1,\"seq\":"+fmt.Sprint(n-2)+",")+1:]
				if _, err := audit.Verify(strings.NewReader(broken + rest)); err == nil {
					t.Error("torn is believed though nothing is")
				}
			}
		})
	}
	t.Run("nothing but a torn line", func(t *testing.T) {
		path := filepath.Join(dir, "only")
		write(t, path, log[:30])
		session(t, audit.Options{Path: path}, "c")
		verified(t, content(t, path), 3)
	})
}

func TestForeignFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for _, s := range []string{"hello\n", `{"v":2,"seq":1}` + "\n", strings.Repeat("x", 1<<20)} {
		write(t, path, s)
		if _, err := audit.Open(audit.Options{Path: path}); err == nil || content(t, path) != s {
			t.Errorf("%.20q: %v", s, err)
		}
	}
}

func TestOneProcessAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, audit.Options{Path: path})
	if _, err := audit.Open(audit.Options{Path: path}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second log: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	session(t, audit.Options{Path: path})
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	o := audit.Options{Path: path, MaxSize: 1000, Keep: 3}
	var ids []string
	for i := range 100 {
		ids = append(ids, fmt.Sprint(i))
	}
	session(t, o, ids...)
	session(t, o, "again")
	files := rotatedFiles(t, path)
	if len(files) != 4 {
		t.Errorf("files: %v", files)
	}
	for _, f := range files {
		if s := content(t, f); len(s) > 1000 {
			t.Errorf("%s has %d bytes", f, len(s))
		}
	}
	if n, err := audit.VerifyFiles(files...); err != nil || n < 20 {
		t.Errorf("%d lines, %v", n, err)
	}
	slices.Reverse(files)
	if _, err := audit.VerifyFiles(files...); err == nil {
		t.Error("files in the wrong order are good")
	}
	// A crash between renaming and the first line.
	if err := os.Rename(path, path+".0"); err != nil {
		t.Fatal(err)
	}
	for i := 3; i >= 0; i-- {
		if err := os.Rename(fmt.Sprint(path, ".", i), fmt.Sprint(path, ".", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	session(t, o)
	if _, err := audit.VerifyFiles(rotatedFiles(t, path)...); err != nil {
		t.Error(err)
	}
}

func TestRotationFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	// Not an empty directory: nothing can be renamed to it.
	if err := os.MkdirAll(path+".1/x", 0o700); err != nil {
		t.Fatal(err)
	}
	l := open(t, audit.Options{Path: path, MaxSize: 500, Keep: 1})
	for i := range 10 {
		if err := l.Append(intent(fmt.Sprint(i))); err != nil {
			t.Error(err) // the log goes on
		}
	}
	if err := l.Healthy(); err == nil || !strings.Contains(err.Error(), "rotated") {
		t.Errorf("healthy: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	verified(t, content(t, path), 12)
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, audit.Options{Path: path})
	if err := errors.Join(l.Append(intent("a")), l.Reopen(), l.Append(intent("b"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Append(intent("c")), l.Reopen(), l.Append(intent("d")), l.Close()); err != nil {
		t.Fatal(err)
	}
	if got := kinds(t, content(t, path)); got != "intent:d stop" {
		t.Error(got)
	}
	if n, err := audit.VerifyFiles(path+".1", path); n != 6 || err != nil {
		t.Errorf("%d lines, %v", n, err)
	}
}

func TestReopenFailsAndOldFileStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l := open(t, audit.Options{Path: filepath.Join(dir, "audit.log")})
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Error("reopened in a directory that is gone")
	}
	if err := errors.Join(l.Append(intent("a")), l.Close()); err != nil {
		t.Error(err)
	}
	verified(t, content(t, filepath.Join(dir+".old", "audit.log")), 3)
}

func TestUnwritable(t *testing.T) {
	if _, err := audit.Open(audit.Options{Path: "/dev/full"}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("/dev/full: %v", err)
	}
	if _, err := audit.Open(audit.Options{Path: "/proc/audit.log"}); err == nil {
		t.Error("opened in a directory that takes no files")
	}
	if _, err := audit.Open(audit.Options{Path: t.TempDir()}); err == nil {
		t.Error("opened a directory")
	}
}

func TestRedBeforeTheDiskIsFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, audit.Options{Path: path, MinFree: 1 << 60})
	if err := l.Healthy(); err == nil || !strings.Contains(err.Error(), "free") {
		t.Errorf("healthy: %v", err)
	}
	if l.Stats().Free <= 0 {
		t.Errorf("free: %d", l.Stats().Free)
	}
	if err := errors.Join(l.Append(intent("a")), l.Close()); err != nil {
		t.Errorf("it still takes lines: %v", err)
	}
}

func TestVerifyFindsWhatWasDone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	session(t, audit.Options{Path: path}, "a", "b", "c")
	log := strings.SplitAfter(content(t, path), "\n")
	log = log[:len(log)-1]
	for _, c := range []struct {
		name, want string
		change     func([]string) []string
	}{
		{"changed", "line 4: its prev", func(l []string) []string {
			l[2] = strings.Replace(l[2], `"id":"b"`, `"id":"x"`, 1)
			return l
		}},
		{"left out", "line 3: seq 4, want 3", func(l []string) []string { return slices.Delete(l, 2, 3) }},
		{"doubled", "line 4: seq 3, want 4", func(l []string) []string { return slices.Insert(l, 3, l[2]) }},
		{"swapped", "line 2: seq 3", func(l []string) []string { l[1], l[2] = l[2], l[1]; return l }},
		{"garbage", "line 3: not a complete", func(l []string) []string { return slices.Insert(l, 2, "x\n") }},
		{"cut at the end", "line 5: not a complete", func(l []string) []string { l[4] = l[4][:20]; return l }},
		{"version", "line 2: format version 3", func(l []string) []string {
			l[1] = strings.Replace(l[1], `"v":1`, `"v":3`, 1)
			return l
		}},
		{"another log", "line 6: a new log begins", func(l []string) []string { return append(l, l...) }},
		{"too long", "line 2: longer", func(l []string) []string { l[1] = strings.Repeat(" ", 1<<20) + l[1]; return l }},
	} {
		_, err := audit.Verify(strings.NewReader(strings.Join(c.change(slices.Clone(log)), "")))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	verified(t, strings.Join(log[2:], ""), 3) // older files are deleted
	verified(t, "", 0)
}
