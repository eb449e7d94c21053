//go:build unix

package config

import (
	"io/fs"
	"os"
	"syscall"
)

// foreign is the user that a file belongs to, where that is neither us nor root.
func foreign(st fs.FileInfo) (uid uint32, is bool) {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok || s.Uid == 0 || int64(s.Uid) == int64(os.Geteuid()) {
		return 0, false
	}
	return s.Uid, true
}
