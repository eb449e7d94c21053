package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"stagedoor/config"
	"stagedoor/handle"
)

// handleFile is the name of the file with the handle key where the
// configuration gives none.
const handleFile = "handle.key"

// handleKeys is where the key is that signs handles, as the configuration says.
// Where it says nothing, a file of our own state keeps it, so that handles
// outlive a restart; where there is no place for one, they end with the
// process. was is the key in force before a reload, nil at the start.
func handleKeys(cfg *config.Config, keys *keys, was handle.Keys, getenv func(string) string, logger *slog.Logger) (handle.Keys, error) {
	h := &cfg.Handles
	switch {
	case h.Vault != "":
		k, _ := keys.HandleKeys()
		return k, nil
	case h.File != "":
		k, err := fileKeys(h.File, was, logger)
		if err != nil {
			return nil, fmt.Errorf("handles.file: %w", err)
		}
		return k, nil
	case h.Memory:
		return memoryKey(was)
	}
	path, err := stateFile(getenv)
	if err == nil {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			var k handle.Keys
			if k, err = fileKeys(path, was, logger); err == nil {
				return k, nil
			}
		}
	}
	if old, ok := was.(fromFile); ok {
		logger.Warn("the folder of the handle key can't be looked at; the key in force stays", slog.Any("error", err))
		return old, nil
	}
	logger.Warn("handles end with this process: their key can't be kept; set handles: {file: PATH}, or handles: {memory: true} if that is meant", slog.Any("error", err))
	return memoryKey(was)
}

// fromFile is a key that is kept at path.
type fromFile struct {
	handle.Keys

	path string
}

// fileKeys reads the key at path, or makes it. In a reload the key that is in
// force stays, if it is of the same path and can't be read now: a new one would
// make all handles void.
func fileKeys(path string, was handle.Keys, logger *slog.Logger) (handle.Keys, error) {
	old, again := was.(fromFile)
	again = again && old.path == path
	if again {
		if _, err := os.Stat(path); err != nil {
			logger.Warn("the file of the handle key can't be looked at; the key in force stays", slog.Any("error", err))
			return old, nil
		}
	}
	key, err := handle.KeyFile(path, rand.Reader)
	switch {
	case err == nil:
		return fromFile{handle.Fixed(key), path}, nil
	case again:
		logger.Warn("the handle key can't be read now; the one in force stays", slog.Any("error", err))
		return old, nil
	}
	return nil, err
}

// memory is a key that only this process has.
type memory struct{ handle.Keys }

func memoryKey(was handle.Keys) (handle.Keys, error) {
	if m, ok := was.(memory); ok {
		return m, nil
	}
	key, err := handle.NewKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a handle key: %w", err)
	}
	return memory{handle.Fixed(key)}, nil
}

// stateFile is where a service's own state goes: what systemd says, or the
// user's state folder.
func stateFile(getenv func(string) string) (string, error) {
	if dir, _, _ := strings.Cut(getenv("STATE_DIRECTORY"), ":"); filepath.IsAbs(dir) { // the first of a list
		return filepath.Join(dir, handleFile), nil
	}
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "stagedoor", handleFile), nil
	}
	if dir := getenv("HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, ".local", "state", "stagedoor", handleFile), nil
	}
	return "", errors.New("none of STATE_DIRECTORY, XDG_STATE_HOME and HOME is set to a folder")
}

// checkHandles says where the key of handles is, and reads it if it is there. It
// makes none: the service may run as another user.
func (c *commands) checkHandles(r *report, cfg *config.Config, keys *keys) {
	h := &cfg.Handles
	path := h.File
	if path == "" {
		path, _ = stateFile(c.getenv) // what is wrong with it, serve warns of
	}
	inVault, st := keys.HandleKeys()
	switch {
	case inVault != nil && !st.Usable():
		r.add(levelFail, "handles", st.Why, "")
		return
	case inVault != nil:
		r.add(levelOK, "handles", "their key is in Vault at "+h.Vault+", version "+st.Version, "")
		return
	case h.Memory:
		r.add(levelOK, "handles", "end with the process (memory: true)", "")
		return
	case path == "":
		r.add(levelWarn, "handles", "end with the process: there is no folder to keep their key in", "set handles: {file: PATH}")
		return
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Dir(path)); h.File != "" && err != nil {
			r.add(levelFail, "handles", fmt.Sprintf("no key can be kept in %s: %v", path, err), "make the folder, for the service's user alone")
			return
		}
		r.add(levelOK, "handles", "their key will be kept in "+path, "")
		return
	}
	if _, err := handle.KeyFile(path, rand.Reader); err != nil {
		r.add(levelFail, "handles", err.Error(), "")
		return
	}
	r.add(levelOK, "handles", "their key is in "+path, "")
}

// signer makes and opens handles with keys.
func signer(keys handle.Keys) *handle.Signer { return handle.New(keys, time.Now, rand.Reader) }
