//go:build unix

package keysource

import (
	"io/fs"
	"syscall"
)

const (
	nonblock   = syscall.O_NONBLOCK
	checksMode = true
)

// owner is the user that a file belongs to.
func owner(st fs.FileInfo) (uid int, known bool) {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), true
}
