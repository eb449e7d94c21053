// Package trust opens files that nobody but root and we may change: what a
// credential is read from, or whom it is sent to, must not be up to others. It
// imports the standard library only.
package trust

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Open opens a regular file for reading. Its error names the file and says what
// to run. A pipe in its place is refused, not waited for.
func Open(path string) (*os.File, error) { return open(path, true) }

func open(path string, ours bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|Nonblock, 0)
	if err != nil {
		return nil, err
	}
	if err := check(f, path, ours); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func check(f *os.File, path string, ours bool) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", path)
	}
	if Modes && st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s may be written by others; run: chmod go-w %s", path, path)
	}
	if uid, is := Foreign(st); is && ours {
		return fmt.Errorf("%s belongs to user %d, who may change it; run: chown %d %s", path, uid, os.Geteuid(), path)
	}
	return nil
}

// Read is the content of such a file, up to limit bytes; more is an error.
func Read(path string, limit int64) ([]byte, error) { return read(path, limit, true) }

// ReadFrom is Read of a file that another program keeps for us, such as a Vault
// Agent's sink: it may belong to that program's user.
func ReadFrom(path string, limit int64) ([]byte, error) { return read(path, limit, false) }

func read(path string, limit int64, ours bool) ([]byte, error) {
	f, err := open(path, ours)
	if err != nil {
		return nil, err
	}
	defer f.Close()                                  //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, limit+1)) //nolint:forbidigo // bounded, and the bound is an error
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return b, nil
}

// Foreign is the user that a file belongs to, where that is neither us nor root.
func Foreign(st fs.FileInfo) (uid int, is bool) {
	uid, known := owner(st)
	if !known || uid == 0 || uid == os.Geteuid() {
		return 0, false
	}
	return uid, true
}
