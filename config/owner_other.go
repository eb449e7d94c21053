//go:build !unix

package config

import "io/fs"

// foreign can't be told here.
func foreign(fs.FileInfo) (uid uint32, is bool) { return 0, false }
