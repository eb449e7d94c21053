package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"stagedoor/config"
	"stagedoor/handle"
	"stagedoor/upstream"
)

// files is what sessions, uploads and downloads need beside the site.
type files struct {
	handles handle.Keys
	storage *storage // nil: links to storage are not relayed
}

// openFiles makes them. was are those in force before a reload.
func openFiles(cfg *config.Config, keys *keys, was files, getenv func(string) string, logger *slog.Logger) (files, error) {
	k, err := handleKeys(cfg, keys, was.handles, getenv, logger)
	if err != nil {
		return files{}, err
	}
	s, err := openStorage(cfg)
	return files{handles: k, storage: s}, err
}

// storage sends to the hosts that the site's links to storage may lead to.
type storage struct {
	cfg  config.Storage
	pool *upstream.Pool
}

// openStorage is nil where links are not relayed.
func openStorage(cfg *config.Config) (*storage, error) {
	if !cfg.Storage.Relay {
		return nil, nil //nolint:nilnil // nil is the proxy's word for none
	}
	roots, err := roots(cfg.Storage.CA)
	if err != nil {
		return nil, fmt.Errorf("storage.ca: %w", err)
	}
	u := &cfg.Upstream
	return &storage{cfg: cfg.Storage, pool: upstream.NewPool(upstream.Options{
		Roots: roots, ConnectTimeout: u.ConnectTimeout, TLSTimeout: u.TLSTimeout,
		HeaderTimeout: u.HeaderTimeout, BodyTimeout: u.BodyTimeout, Idle: u.Idle, MaxIdle: u.MaxIdle,
	})}, nil
}

// Allows says whether links to a host are relayed.
func (s *storage) Allows(host string) bool { return s.cfg.Covers(host) }

// Do sends one request to a host.
func (s *storage) Do(ctx context.Context, host string, r upstream.Request) (*http.Response, error) {
	site, err := s.pool.Site(host)
	if err != nil {
		return nil, &upstream.Error{Err: err}
	}
	return site.Do(ctx, r)
}

func (s *storage) close() {
	if s != nil {
		s.pool.Close()
	}
}
