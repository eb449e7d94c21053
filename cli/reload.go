package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"time"

	"stagedoor/audit"
	"stagedoor/config"
	"stagedoor/fleet"
	"stagedoor/upstream"
)

// reload reads the configuration again and puts it in force for the calls that
// begin from then on, all of it or none: a wrong file changes nothing. Either
// way keys are looked at anew and the audit file is opened anew.
func (s *stack) reload(ctx context.Context, path string, getenv func(string) string) {
	if err := s.log.Reopen(); err != nil {
		s.logger.ErrorContext(ctx, "the audit file could not be opened anew; the old one stays in use", slog.Any("error", err))
	}
	err := s.tryReload(ctx, path, getenv)
	e := audit.Event{Kind: audit.Reload, Config: fingerprint(s.config())}
	if err != nil {
		e.Reason = "refused"
		s.metrics.ConfigRefused()
		s.logger.ErrorContext(ctx, "the new configuration was refused; the old one stays in force", slog.Any("error", err))
		s.keys().RefreshAll(ctx)
	} else {
		s.metrics.ConfigLoaded(time.Now())
		s.logger.InfoContext(ctx, "configuration reloaded", slog.String("config", e.Config))
	}
	s.log.Note(&e)
}

func (s *stack) config() *config.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.cfg
}

// tryReload prepares everything that can fail before it changes anything.
func (s *stack) tryReload(ctx context.Context, path string, getenv func(string) string) error {
	next, err := config.Load(path)
	if err != nil {
		return err
	}
	if err := fixed(s.config(), next); err != nil {
		return err
	}
	site, err := openSite(next)
	if err != nil {
		return err
	}
	keys, err := openKeys(ctx, next, s.keys(), s.logger)
	if err != nil {
		site.Close()
		return err
	}
	s.mu.Lock()
	was := s.mu.files
	s.mu.Unlock()
	f, err := openFiles(next, keys, was, getenv, s.logger)
	var fl *fleet.Fleet
	if err == nil {
		fl, err = s.nextFleet(next)
	}
	if err == nil {
		err = s.apply(ctx, next, keys, site, f, fl)
	}
	if err != nil {
		if fl != nil && fl != s.fleet() {
			fl.Close()
		}
		keys.Close()
		site.Close()
		f.storage.close()
		return err
	}
	for i := range next.Warnings {
		s.logger.WarnContext(ctx, "configuration", slog.String("warning", next.Warnings[i].Msg), slog.Int("line", next.Warnings[i].Line))
	}
	return nil
}

// nextFleet is the one in force, where a reload leaves it as it is.
func (s *stack) nextFleet(next *config.Config) (*fleet.Fleet, error) {
	if sameFleet(s.config(), next) {
		return s.fleet(), nil
	}
	return s.openFleet(next)
}

// fixed refuses a change of what is made once.
func fixed(old, next *config.Config) error {
	var errs []error
	same := func(name string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			errs = append(errs, fmt.Errorf("%s can't be changed by a reload; restart Stagedoor for it", name))
		}
	}
	same("audit", old.Audit, next.Audit)
	same("admin", old.Admin, next.Admin)
	same("log", old.Log, next.Log)
	same("max_buffered", old.MaxBuffered, next.MaxBuffered)
	same("max_connections", old.MaxConnections, next.MaxConnections)
	return errors.Join(errs...)
}

// apply puts the parts in force. It fails, and changes nothing, only where a
// new port can't be opened.
func (s *stack) apply(ctx context.Context, next *config.Config, keys *keys, site *upstream.Site, f files, fl *fleet.Fleet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ports, err := s.openPorts(ctx, next)
	if err != nil {
		return err
	}
	oldKeys, oldSite, oldStorage := s.mu.keys, s.mu.site, s.mu.files.storage
	old, oldFleet := s.mu.ports, s.budgets.fleet
	for id, p := range old {
		if ports[id] == nil {
			s.leave(id, p)
		}
	}
	s.mu.cfg, s.mu.keys, s.mu.site, s.mu.files, s.mu.ports = next, keys, site, f, ports
	s.metrics.SetScripts(scriptNames(next))
	s.budgets.update(next, fl)
	// The proxy has to know a listener before its first call.
	s.proxy.Replace(s.state())
	fresh := maps.Clone(ports)
	maps.DeleteFunc(fresh, func(id string, _ *port) bool { return old[id] != nil })
	s.serve(fresh)
	// Calls in flight go on with what they began with: a closed source answers
	// from memory, and a closed site finishes what it is at.
	s.waiting.Go(oldKeys.Close)
	oldSite.Close()
	oldStorage.close()
	if oldFleet != nil && oldFleet != fl {
		s.waiting.Go(oldFleet.Close)
	}
	return nil
}

// leave drains a port that the new configuration no longer has.
func (s *stack) leave(id string, p *port) {
	s.mu.leaving[id] = p
	s.logger.Info("draining a listener that is no longer configured", slog.String("listener", p.cfg.Name))
	limit := s.mu.cfg.Drain
	s.waiting.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := p.server.Shutdown(ctx); err != nil {
			s.logger.Warn("calls in flight were cut off at the end of drain", slog.String("listener", p.cfg.Name))
		}
		s.mu.Lock()
		delete(s.mu.leaving, id)
		s.mu.Unlock()
	})
}
