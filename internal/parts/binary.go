package parts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Binary is the path of the stagedoor binary, built from the tree that the
// test runs in, once per test process; with the race detector when the test
// has it. A build that fails fails the test: it is never a missing part.
func Binary(tb testing.TB) string {
	tb.Helper()
	path, err := binary()
	if err != nil {
		tb.Fatalf("building stagedoor: %v", err)
	}
	return path
}

//nolint:gochecknoglobals // one build for all tests of a process is its purpose
var binary = sync.OnceValues(func() (string, error) {
	return buildBinary(context.Background())
})

// buildBinary builds into one cached path per checkout. The build starts from a
// link to the last binary, which the go tool leaves alone when nothing has
// changed, and is moved into place whole: a process that runs the old one, or
// is about to, is not disturbed.
func buildBinary(ctx context.Context) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	base, err := cacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(root))
	dir := filepath.Join(base, "stagedoor-"+hex.EncodeToString(sum[:8]))
	args := []string{"build", "-C", root, "-buildvcs=false"}
	if raceEnabled {
		dir += "-race"
		args = append(args, "-race")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()

	path, next := filepath.Join(dir, module), filepath.Join(dir, "next")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.Link(path, next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if _, err := command(ctx, "go", append(args, "-o", next, ".")...); err != nil {
		return "", err
	}
	if err := os.Rename(next, path); err != nil {
		return "", err
	}
	// Two links to one file are left alone by rename.
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return path, nil
}
