//go:build unix

package trust

import (
	"io/fs"
	"syscall"
)

const (
	// Nonblock keeps the opening of a pipe from waiting for its other end.
	Nonblock = syscall.O_NONBLOCK
	// Modes says whether a file's mode tells who may read and write it.
	Modes = true
)

func owner(st fs.FileInfo) (uid int, known bool) {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), true
}
