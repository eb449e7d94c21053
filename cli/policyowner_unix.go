//go:build unix

package cli

import (
	"fmt"
	"os"
	"syscall"
)

// keepOwner gives f the owner of the file whose place it takes.
func keepOwner(f *os.File, of os.FileInfo) error {
	was, ok := of.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if err := f.Chown(int(was.Uid), int(was.Gid)); err != nil {
		return fmt.Errorf("keeping its owner: %w", err)
	}
	return nil
}
