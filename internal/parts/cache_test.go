package parts_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"stagedoor/internal/parts"
)

// isolateCache gives a test an empty cache folder.
func isolateCache(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home) // where there is no XDG: macOS
	t.Setenv("XDG_CACHE_HOME", filepath.Join(home, ".cache"))
}

func TestCacheIsFilledOnceHoweverManyAsk(t *testing.T) {
	isolateCache(t)
	var mu sync.Mutex
	fills := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := parts.Cached("thing", func(dir string) error {
				mu.Lock()
				defer mu.Unlock()
				fills++
				return os.WriteFile(filepath.Join(dir, "thing"), nil, 0o600)
			})
			if err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "thing")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if fills != 1 {
		t.Errorf("filled %d times", fills)
	}
}

func TestCacheNeverKeepsAHalfMadeEntry(t *testing.T) {
	isolateCache(t)
	failed := errors.New("no network")
	var left string
	_, err := parts.Cached("thing", func(dir string) error {
		left = filepath.Join(dir, "half")
		return errors.Join(failed, os.WriteFile(left, nil, 0o600))
	})
	if !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	// What a killed process leaves behind: files, and no mark.
	if err := errors.Join(os.MkdirAll(filepath.Dir(left), 0o700), os.WriteFile(left, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err = parts.Cached("thing", func(dir string) error {
		if got, err := os.ReadDir(dir); len(got) != 0 || err != nil {
			t.Errorf("fill was given %v, %v", got, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// verdict notes how Missing ends a test. Like the real ones, Skipf and Fatalf
// end the goroutine.
type verdict struct {
	testing.TB
	said string
}

func (v *verdict) Helper() {}

func (v *verdict) Skipf(format string, args ...any) {
	v.said = "skipped: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (v *verdict) Fatalf(format string, args ...any) {
	v.said = "failed: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestAMissingPartSkipsOnALaptopAndFailsInCI(t *testing.T) {
	for ci, want := range map[string]string{"": "skipped: ", "1": "failed: "} {
		t.Setenv("CI", ci)
		v := &verdict{}
		var wg sync.WaitGroup
		wg.Go(func() { parts.Missing(v, "a Vault", errors.New("no network")) })
		wg.Wait()
		if !strings.HasPrefix(v.said, want) || !strings.Contains(v.said, "MISSING PART: a Vault") || !strings.Contains(v.said, "no network") {
			t.Errorf("CI=%q: %q", ci, v.said)
		}
	}
}

func TestBinaryIsBuiltOncePerProcess(t *testing.T) {
	path := parts.Binary(t)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(parts.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || before.Mode().Perm()&0o100 == 0 {
		t.Errorf("%v, then %v", before, after)
	}
}
