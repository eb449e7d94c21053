package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"stagedoor/config"
	"stagedoor/handle"
	"stagedoor/secret"
)

// handleFile is the name of the file with the handle key where the
// configuration gives none.
const handleFile = "handle.key"

// handleKeys is where the key is that signs handles, as the configuration says.
// Where it says nothing, a file of our own state keeps it, so that handles
// outlive a restart; where there is no place for one, they end with the
// process. was is the key in force before a reload, nil at the start.
func handleKeys(cfg *config.Config, keys keySource, was handle.Keys, getenv func(string) string, logger *slog.Logger) (handle.Keys, error) {
	h := &cfg.Handles
	switch {
	case h.Vault != "":
		return keys.HandleKeys(), nil
	case h.File != "":
		key, err := handle.KeyFile(h.File, rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("handles.file: %w", err)
		}
		return handle.Fixed(key), nil
	case h.Memory:
		return memoryKey(was)
	}
	key, err := stateKey(getenv)
	if err == nil {
		return handle.Fixed(key), nil
	}
	logger.Warn("handles end with this process: their key can't be kept; set handles: {file: PATH}, or handles: {memory: true} if that is meant", slog.Any("error", err))
	return memoryKey(was)
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

// stateKey is the key in our own state, made where there is none yet.
func stateKey(getenv func(string) string) (secret.Value, error) {
	path, err := stateFile(getenv)
	if err != nil {
		return secret.Value{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return secret.Value{}, fmt.Errorf("making a folder for the handle key: %w", err)
	}
	return handle.KeyFile(path, rand.Reader)
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

// signer makes and opens handles with keys.
func signer(keys handle.Keys) *handle.Signer { return handle.New(keys, time.Now, rand.Reader) }
