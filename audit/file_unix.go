//go:build linux || darwin

package audit

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock keeps a second process from breaking the chain. A file system without
// locks goes without.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("%s is being written by another process", f.Name())
	}
	return nil
}

// ours is an error that says what to run when others than root and we may write
// the file.
func ours(st os.FileInfo, path string) error {
	if st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s may be written by others; run: chmod go-w %s", path, path)
	}
	if s, ok := st.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, who may change it; run: chown %d %s", path, s.Uid, os.Geteuid(), path)
	}
	return nil
}

// freeIn is the space in bytes that a folder's disk has for an unprivileged
// writer, or -1.
func freeIn(dir string) int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize) //nolint:gosec,unconvert // no disk has 2^63 bytes; the types differ between systems
}
