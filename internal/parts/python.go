package parts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// The releases of shotgun_api3 that tests run, both from PyPI.
const (
	// NewestClient is the newest release.
	NewestClient = "3.10.3"
	// OldClient is the last release before 3.8.5, and so the last that sends a
	// call again after any failed connection: three attempts, each of which
	// its httplib2 makes twice.
	OldClient = "3.8.4"
)

// Python is the path of a Python interpreter that imports exactly this release
// of shotgun_api3 from PyPI, and nothing else that is not Python's own, in a
// virtual environment that is kept for later runs. It needs a python3 with venv
// in the PATH, and PyPI the first time; see [Missing].
func Python(tb testing.TB, clientVersion string) string {
	tb.Helper()
	path, err := python(tb.Context(), clientVersion)
	if err != nil {
		Missing(tb, "shotgun_api3 "+clientVersion+" from PyPI", err)
	}
	return path
}

func python(ctx context.Context, clientVersion string) (string, error) {
	// The path behind any shim, and the version, so that another interpreter
	// gets an environment of its own.
	host, err := command(ctx, "python3", "-I", "-c", "import sys; print(sys.executable); print(sys.version)")
	if err != nil {
		return "", err
	}
	executable, _, _ := strings.Cut(host, "\n")
	sum := sha256.Sum256([]byte(host))
	name := "shotgun_api3-" + clientVersion + "-" + hex.EncodeToString(sum[:8])
	dir, err := cached(name, func(dir string) error {
		if _, err := command(ctx, executable, "-I", "-m", "venv", dir); err != nil {
			return err
		}
		interpreter := interpreterIn(dir)
		_, err := command(ctx, interpreter, "-I", "-m", "pip", "install", "--quiet", "--no-input",
			"--disable-pip-version-check", "--no-cache-dir", "shotgun_api3=="+clientVersion)
		if err != nil {
			return err
		}
		return checkClient(ctx, interpreter, clientVersion)
	})
	return interpreterIn(dir), err
}

func interpreterIn(dir string) string { return filepath.Join(dir, "bin", "python") }

// clientCheck imports the client, with its bundled httplib2 and Python's ssl,
// and makes a connection object, unconnected. The bundled certifi can't be asked
// where its file is (it looks for a package of its own name), so the client
// doesn't either.
const clientCheck = `
import os, ssl, shotgun_api3
shotgun_api3.Shotgun("https://site.invalid", script_name="check", api_key="check", connect=False)
os.stat(os.path.join(os.path.dirname(shotgun_api3.__file__), "lib", "certifi", "cacert.pem"))
print(shotgun_api3.__version__)
`

// checkClient runs clientCheck and compares the version.
func checkClient(ctx context.Context, interpreter, want string) error {
	got, err := command(ctx, interpreter, "-I", "-c", clientCheck)
	if err != nil {
		return err
	}
	if got = strings.TrimSpace(got); got != want {
		return fmt.Errorf("the client calls itself %s, not %s", got, want)
	}
	return nil
}
