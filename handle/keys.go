package handle

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"stagedoor/internal/trust"
	"stagedoor/secret"
)

// MinKey is the length below which a key is none, in bytes: 128 bits in hex.
const MinKey = 32

// maxKeyFile bounds what is read of a key file, in bytes.
const maxKeyFile = 1024

// NewKey draws a key.
func NewKey(entropy io.Reader) (secret.Value, error) {
	text, err := newKey(entropy)
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(text), nil
}

func newKey(entropy io.Reader) ([]byte, error) {
	raw := make([]byte, sha256.Size)
	if _, err := io.ReadFull(entropy, raw); err != nil {
		return nil, fmt.Errorf("drawing a handle key: %w", err)
	}
	return base64.RawURLEncoding.AppendEncode(nil, raw), nil
}

// fixed is a key that does not change.
type fixed struct {
	now secret.Value
	old []secret.Value
}

// Fixed makes Keys of a key that does not change, such as that of a file, and
// of others that are still good.
func Fixed(now secret.Value, old ...secret.Value) Keys { return &fixed{now: now, old: old} }

func (f *fixed) HandleKeys() (now secret.Value, old []secret.Value) { return f.now, f.old }

// rotated is a key of a source that is written anew from time to time.
type rotated struct {
	credential func() (secret.Credential, error)
	overlap    time.Duration
	now        func() time.Time
}

// Rotated makes Keys of a source such as a field in Vault, whose credential is
// asked for each time and answers from memory. A key that replaces another is
// good at once, but signs only when it is older than overlap: until then
// proxies that have not seen it yet must be able to open what is signed. What
// was signed with an earlier key is good as long as the source remembers it.
func Rotated(credential func() (secret.Credential, error), overlap time.Duration, now func() time.Time) Keys {
	return &rotated{credential: credential, overlap: overlap, now: now}
}

func (r *rotated) HandleKeys() (now secret.Value, old []secret.Value) {
	c, err := r.credential()
	if err != nil {
		return secret.Value{}, nil // the source itself tells why, in its log and its status
	}
	if len(c.Old) > 0 && !c.CreatedAt.IsZero() && r.now().Sub(c.CreatedAt) < r.overlap {
		return c.Old[0], append([]secret.Value{c.Key}, c.Old[1:]...)
	}
	return c.Key, c.Old
}

// KeyFile reads the key in the file at path, or makes one there: a line of
// text, which nobody else may read. Several processes that start at once get the
// same key. An error names the file, and says what to do, but nothing of what is
// in it.
func KeyFile(path string, entropy io.Reader) (secret.Value, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := makeKey(path, entropy); err != nil {
		return secret.Value{}, fmt.Errorf("making the handle key: %w", err)
	}
	return readKey(path)
}

func readKey(path string) (secret.Value, error) {
	f, err := trust.Open(path)
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the handle key: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	st, err := f.Stat()
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the handle key: %w", err)
	}
	if trust.Modes && st.Mode().Perm()&0o077 != 0 {
		return secret.Value{}, fmt.Errorf("reading the handle key: others may read %s; remove it and start again, or run: chmod 600 %s", path, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1)) //nolint:forbidigo // bounded, and the bound is an error
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the handle key: %w", err)
	}
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	if len(b) < MinKey || len(b) > maxKeyFile || !printable(b) {
		return secret.Value{}, fmt.Errorf("reading the handle key: %s is not one line of %d to %d printable characters; remove it, and a new one is made", path, MinKey, maxKeyFile)
	}
	return secret.New(b), nil
}

func printable(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// makeKey puts a new key at path unless there is one already. The whole file
// appears at once: it is written under another name and linked to its own, which
// fails where another process was first.
func makeKey(path string, entropy io.Reader) (err error) {
	text, err := newKey(entropy)
	if err != nil {
		return err
	}
	var tag [8]byte
	if _, err := io.ReadFull(entropy, tag[:]); err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+hex.EncodeToString(tag[:]))
	defer func() {
		if rerr := os.Remove(tmp); err == nil && rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = rerr
		}
	}()
	if err := writeNew(tmp, append(text, '\n')); err != nil {
		return err
	}
	if err := os.Link(tmp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync() // not every system can; a key that a power cut takes is made again
		_ = dir.Close()
	}
	return nil
}

// writeNew writes a file that was not there, for us alone, and sees that it is
// on the disk.
func writeNew(path string, b []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}
