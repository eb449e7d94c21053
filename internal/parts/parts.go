// Package parts builds, installs and starts the real parts that tests run
// against: a Vault core as a process, the shotgun_api3 client from PyPI in a
// virtual environment, the REST client shotgun-nodejs from npm, the system's
// curl, and the stagedoor binary itself.
//
// It is for tests only and never part of the product. What takes long is made
// once and kept in the user's cache folder, under stagedoor-tests, keyed by
// what it was made from; any number of test processes may ask for it at once.
// It listens on loopback only, downloads through the package tools only (go,
// pip, npm), and sends nothing anywhere else.
//
// Every function ends the test that called it when something fails, so all of
// them must be called from the goroutine of that test.
package parts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// module is the main module's path, by which its root folder is recognised.
const module = "stagedoor"

// complete is the file that is written last into a cache entry. An entry
// without it was interrupted, and is thrown away.
const complete = "complete"

// Missing is the one policy for parts that cannot be had (no network, no
// Python): on a laptop the test is skipped, loudly; where CI is set in the
// environment it fails, so that a green run there has skipped nothing.
func Missing(tb testing.TB, what string, err error) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatalf("MISSING PART: %s: %v", what, err)
	}
	tb.Skipf("\n*** MISSING PART: %s ***\n*** this test did NOT run: %v ***", what, err)
}

// moduleRoot is the folder of the main module. It is looked for upwards from
// the working folder, where go test starts every test, and then from this
// source file, for tests that changed their working folder.
func moduleRoot() (string, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	_, source, _, _ := runtime.Caller(0)
	for _, dir := range []string{cwd, filepath.Dir(source)} {
		for {
			text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && bytes.HasPrefix(text, []byte("module "+module+"\n")) {
				return dir, nil
			}
			up := filepath.Dir(dir)
			if up == dir {
				break
			}
			dir = up
		}
	}
	return "", fmt.Errorf("no go.mod of module %s above %s", module, cwd)
}

// cacheDir is where entries are kept.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "stagedoor-tests")
	return dir, os.MkdirAll(dir, 0o700)
}

// cached returns the folder of the entry name, and has fill make it when there
// is none. Fill gets the entry's final path, empty, and runs in one process at
// a time.
func cached(name string, fill func(dir string) error) (string, error) {
	base, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, name)
	if isComplete(dir) {
		return dir, nil
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if isComplete(dir) { // made by another process while this one waited
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := fill(dir); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, os.WriteFile(filepath.Join(dir, complete), nil, 0o600)
}

func isComplete(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, complete))
	return err == nil
}

// lock waits for the exclusive lock on path. The kernel gives it back when the
// process dies, however it dies.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// hashFiles is a short hash over the names and contents of the files in dir
// that match one of the patterns, and over extra.
func hashFiles(dir, extra string, patterns ...string) (string, error) {
	sum := sha256.New() // whose Write never fails
	_, _ = fmt.Fprintf(sum, "%q", extra)
	for _, pattern := range patterns {
		names, err := fs.Glob(os.DirFS(dir), pattern)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return "", err
			}
			_, _ = fmt.Fprintf(sum, "%q %d ", name, len(text))
			_, _ = sum.Write(text)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// command runs a tool to its end and returns its standard output; the error
// holds what it said.
func command(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.Env = append(os.Environ(), "GOWORK=off") // each go.mod here stands alone
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running %s: %w\n%s%s", filepath.Base(name), err, out.Bytes(), said.Bytes())
	}
	return out.String(), nil
}
