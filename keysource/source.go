// Package keysource has the sources of keys other than Vault, files and fixed
// credentials, and joins several sources into one.
//
// It never writes anywhere, and no secret gets into an error or a log line. It
// does not know package vault: whatever has the methods of [Source] is one.
package keysource

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"stagedoor/secret"
)

// Reader answers for a script's credential.
type Reader interface {
	// Credential answers from memory. Its error says in one sentence why there is
	// no usable key and what to do.
	Credential(script string) (secret.Credential, error)
	// Refresh looks at the source now and says whether the credential changed.
	Refresh(ctx context.Context, script string) (changed bool, err error)
}

// Keeper looks after the keys of some scripts.
type Keeper interface {
	// RefreshAll looks at all keys now.
	RefreshAll(ctx context.Context)
	// Keys is the status of every key.
	Keys() []secret.KeyStatus
	// Close stops all work and waits for it. Keys in memory stay readable.
	Close()
}

// Source is where some scripts' keys come from. It is safe for concurrent use,
// and can be compared with ==.
type Source interface {
	Reader
	Keeper
}

// Mux is the sources of all scripts as one. It is a Source itself.
type Mux struct {
	of  map[string]Source
	all []Source
}

// NewMux joins sources: of says which one has a script's key.
func NewMux(of map[string]Source) *Mux {
	m := &Mux{of: maps.Clone(of)}
	for _, name := range slices.Sorted(maps.Keys(m.of)) {
		if s := m.of[name]; !slices.Contains(m.all, s) {
			m.all = append(m.all, s)
		}
	}
	return m
}

// Credential asks the script's source.
func (m *Mux) Credential(script string) (secret.Credential, error) {
	s, ok := m.of[script]
	if !ok {
		return secret.Credential{}, unknown(script)
	}
	return s.Credential(script)
}

// Refresh asks the script's source.
func (m *Mux) Refresh(ctx context.Context, script string) (changed bool, err error) {
	s, ok := m.of[script]
	if !ok {
		return false, unknown(script)
	}
	return s.Refresh(ctx, script)
}

// RefreshAll asks all sources at the same time and waits for them.
func (m *Mux) RefreshAll(ctx context.Context) {
	m.each(func(s Source) { s.RefreshAll(ctx) })
}

// Keys is the status of every script's key, sorted by script.
func (m *Mux) Keys() []secret.KeyStatus {
	var all []secret.KeyStatus
	for _, s := range m.all {
		for _, k := range s.Keys() {
			if m.of[k.Script] == s {
				all = append(all, k)
			}
		}
	}
	slices.SortFunc(all, func(a, b secret.KeyStatus) int {
		switch {
		case a.Script < b.Script:
			return -1
		case a.Script > b.Script:
			return 1
		}
		return 0
	})
	return all
}

// Close closes all sources at the same time.
func (m *Mux) Close() { m.each(Source.Close) }

func (m *Mux) each(f func(Source)) {
	var wg sync.WaitGroup
	for _, s := range m.all {
		wg.Go(func() { f(s) })
	}
	wg.Wait()
}

func unknown(script string) error {
	return fmt.Errorf("script %q is not in the configuration", script)
}

// Fixed is a source of credentials that never change. It is for the demo.
type Fixed struct{ creds map[string]secret.Credential }

// NewFixed makes a source of creds, by script.
func NewFixed(creds map[string]secret.Credential) *Fixed {
	return &Fixed{creds: maps.Clone(creds)}
}

// Credential is the script's.
func (f *Fixed) Credential(script string) (secret.Credential, error) {
	c, ok := f.creds[script]
	if !ok {
		return secret.Credential{}, unknown(script)
	}
	return c, nil
}

// Refresh finds that nothing changed.
func (f *Fixed) Refresh(_ context.Context, script string) (changed bool, err error) {
	_, err = f.Credential(script)
	return false, err
}

// RefreshAll does nothing.
func (f *Fixed) RefreshAll(context.Context) {}

// Keys says that all keys are fresh.
func (f *Fixed) Keys() []secret.KeyStatus {
	var all []secret.KeyStatus
	for _, name := range slices.Sorted(maps.Keys(f.creds)) {
		c := f.creds[name]
		all = append(all, secret.KeyStatus{
			Script: name, SiteName: c.SiteName, Version: c.Version, State: secret.KeyFresh, CreatedAt: c.CreatedAt,
		})
	}
	return all
}

// Close does nothing.
func (f *Fixed) Close() {}
