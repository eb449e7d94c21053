package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"stagedoor/config"
	"stagedoor/handle"
	"stagedoor/keysource"
	"stagedoor/secret"
	"stagedoor/vault"
)

// keys is where a stack's keys come from: the sources of all scripts, and the
// login to Vault.
type keys struct {
	*keysource.Mux
	vault   *vault.Store // nil: no key is in Vault
	refresh time.Duration
}

// Vault says how the login is, from memory. State is empty where no key is in
// Vault.
func (k *keys) Vault() vault.Status {
	if k.vault == nil {
		return vault.Status{}
	}
	return k.vault.Status()
}

// HandleKeys is the key of handles where it is in Vault, and how it is; else nil.
// It signs with a key that has been there for two looks at Vault: every proxy
// that shares it knows it by then.
func (k *keys) HandleKeys() (handle.Keys, secret.KeyStatus) {
	if k.vault == nil {
		return nil, secret.KeyStatus{}
	}
	st, ok := k.vault.HandleStatus()
	if !ok {
		return nil, secret.KeyStatus{}
	}
	return handle.Rotated(k.vault.HandleKey, 2*k.refresh, time.Now), st
}

// Password is that of Redis, where it is in Vault.
func (k *keys) Password() (secret.Value, error) {
	if k.vault == nil {
		return secret.Value{}, errors.New("the password of Redis is in Vault, and no vault is configured")
	}
	c, err := k.vault.Password()
	return c.Key, err
}

// openKeys reads every key once. What can't be read is no error: that script
// has no key, and the rest serve. old, if any, is what a reload replaces: its
// keys are taken over, so that none is lost while Vault is away.
func openKeys(ctx context.Context, cfg *config.Config, old *keys, logger *slog.Logger) (_ *keys, err error) {
	of := map[string]keysource.Source{}
	k := &keys{}
	defer func() {
		if err != nil && k.vault != nil {
			k.vault.Close()
		}
	}()
	if cfg.Vault != nil {
		k.refresh = cfg.Vault.Refresh
		if k.vault, err = vault.Open(ctx, vaultOptions(cfg, old, logger)); err != nil {
			return nil, err
		}
	}
	var files []keysource.File
	for i := range cfg.Scripts {
		s := &cfg.Scripts[i]
		if s.File != "" {
			files = append(files, keysource.File{Script: s.Name, Path: s.File, KeyField: s.KeyField, NameField: s.NameField, SiteName: s.SiteName})
			continue
		}
		if k.vault == nil {
			return nil, fmt.Errorf("the key of %s is in Vault, and no vault is configured", s.Name)
		}
		of[s.Name] = k.vault
	}
	if len(files) > 0 {
		refresh := config.DefaultRefresh
		if cfg.Vault != nil {
			refresh = cfg.Vault.Refresh
		}
		f, err := keysource.OpenFiles(ctx, keysource.FileOptions{Files: files, Refresh: refresh, Logger: logger, Now: time.Now})
		if err != nil {
			return nil, err
		}
		for i := range files {
			of[files[i].Script] = f
		}
	}
	if len(of) == 0 {
		return nil, errors.New("no script has a key")
	}
	k.Mux = keysource.NewMux(of)
	return k, nil
}

// embeddedKeys are keys that never change, for the demo.
func embeddedKeys(creds map[string]secret.Credential) *keys {
	of := map[string]keysource.Source{}
	fixed := keysource.NewFixed(creds)
	for name := range creds {
		of[name] = fixed
	}
	return &keys{Mux: keysource.NewMux(of)}
}

func vaultOptions(cfg *config.Config, old *keys, logger *slog.Logger) vault.Options {
	v := cfg.Vault
	o := vault.Options{
		Address: v.Address, CAFile: v.CA, Namespace: v.Namespace, Mount: v.Mount, KVVersion: v.KVVersion,
		Timeout: v.Timeout, Refresh: v.Refresh, MaxStale: v.MaxStale,
		Logger: logger, Now: time.Now, Jitter: rand.Float64, UserAgent: "stagedoor/" + software(),
	}
	if old != nil {
		o.From = old.vault
	}
	if h := &cfg.Handles; h.Vault != "" {
		o.Handles = &vault.Place{Path: h.Vault, Field: h.VaultField}
	}
	if f := cfg.Limits.Fleet; f != nil && f.Password != "" {
		o.Redis = &vault.Place{Path: f.Password, Field: f.PasswordField}
	}
	if l := cfg.Login; l != nil {
		o.Login.TokenFile = l.TokenFile
		if a := l.AppRole; a != nil {
			o.Login.AppRole = &vault.AppRole{RoleID: a.RoleID, RoleIDFile: a.RoleIDFile, SecretIDFile: a.SecretIDFile, Wrapped: a.Wrapped, Mount: a.Mount}
		}
		if k := l.Kubernetes; k != nil {
			o.Login.Kubernetes = &vault.Kubernetes{Role: k.Role, TokenFile: k.TokenFile, Mount: k.Mount}
		}
	}
	for i := range cfg.Scripts {
		if s := &cfg.Scripts[i]; s.Active != "" {
			o.Scripts = append(o.Scripts, vault.Script{Name: s.Name, Path: s.Active, KeyField: s.KeyField, NameField: s.NameField, SiteName: s.SiteName})
		}
	}
	return o
}
