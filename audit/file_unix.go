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

// freeIn is the space in bytes that a folder's disk has for an unprivileged
// writer, or -1.
func freeIn(dir string) int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize) //nolint:gosec,unconvert // no disk has 2^63 bytes; the types differ between systems
}
