package handle_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"stagedoor/handle"
	"stagedoor/internal/trust"
	"stagedoor/secret"
)

func TestTheKeyFileIsMadeOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "handle.key")
	const processes = 16
	keys := make([]secret.Value, processes)
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			var err error
			if keys[i], err = handle.KeyFile(path, rand.Reader); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	again, err := handle.KeyFile(path, bytes.NewReader(nil)) // nothing is drawn for a file that is there
	if err != nil || again.Len() < handle.MinKey {
		t.Fatalf("%d bytes, %v", again.Len(), err)
	}
	for _, k := range keys {
		if !k.Same(again) {
			t.Error("two that started at once have different keys")
		}
	}
	if st, err := os.Stat(path); err != nil || trust.Modes && st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("files %v, %v", left, err)
	}
	token := sign(t, at(noon, keys[0]), whom)
	if _, err := open(at(noon, again), token); err != nil {
		t.Errorf("a handle does not live through a restart: %v", err)
	}
}

func TestBadKeyFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	good := strings.Repeat("k", 43)
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"empty":    {"", 0o600, "remove it"},
		"short":    {good[:handle.MinKey-1] + "\n", 0o600, "remove it"},
		"long":     {strings.Repeat("k", 1025), 0o600, "remove it"},
		"two":      {good + "\n" + good + "\n", 0o600, "remove it"},
		"space":    {good + " \n", 0o600, "remove it"},
		"binary":   {good + "\x00", 0o600, "remove it"},
		"group":    {good, 0o640, "chmod 600"},
		"world":    {good, 0o604, "chmod 600"},
		"writable": {good, 0o620, "chmod"},
	} {
		if !trust.Modes && c.mode != 0o600 {
			continue
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := handle.KeyFile(path, rand.Reader)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "kkkk") {
			t.Errorf("%s: the error holds the key", name)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != c.text {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if _, err := handle.KeyFile(filepath.Join(dir, "absent", "handle.key"), rand.Reader); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
	if _, err := handle.KeyFile(filepath.Join(dir, "no-entropy"), bytes.NewReader(nil)); err == nil {
		t.Error("a key was made of nothing")
	}
	if _, err := os.Stat(filepath.Join(dir, "no-entropy")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file without a key stays: %v", err)
	}
}

func TestNewKeysDiffer(t *testing.T) {
	a, err := handle.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := handle.NewKey(rand.Reader)
	if err != nil || a.Same(b) || a.Len() < handle.MinKey {
		t.Errorf("%d bytes, %v", a.Len(), err)
	}
}

// TestANewKeySignsOnlyWhenAllKnowIt rotates a key under two proxies, of which
// the second sees it late.
func TestANewKeySignsOnlyWhenAllKnowIt(t *testing.T) {
	const overlap = 30 * time.Minute
	now, created := noon, noon.Add(-time.Hour)
	clock := func() time.Time { return now }
	first, second := secret.Credential{Key: key1, CreatedAt: created}, secret.Credential{Key: key1, CreatedAt: created}
	var err error
	proxy := func(c *secret.Credential) *handle.Signer {
		return handle.New(handle.Rotated(func() (secret.Credential, error) { return *c, err }, overlap, clock), clock, rand.Reader)
	}
	a, b := proxy(&first), proxy(&second)
	before := sign(t, a, whom)

	first = secret.Credential{Key: key2, CreatedAt: now, Old: []secret.Value{key1}}
	during := sign(t, a, whom)
	if _, err := open(b, during); err != nil {
		t.Errorf("who has not seen the new key can't open what is signed meanwhile: %v", err)
	}
	second = first
	now = now.Add(overlap)
	after := sign(t, b, whom)
	if _, err := open(at(now, key2), after); err != nil {
		t.Errorf("the new key does not sign after the overlap: %v", err)
	}
	for _, token := range []string{before, during, after} {
		if _, err := open(a, token); err != nil {
			t.Errorf("a handle died of the rotation: %v", err)
		}
	}
	err = errors.New("Vault is away")
	if _, err := open(a, after); !errors.Is(err, handle.ErrNoKey) {
		t.Errorf("without the source: %v", err)
	}
}
