package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"stagedoor/admin"
	"stagedoor/config"
)

// adminStop bounds the end of the admin listener.
const adminStop = 2 * time.Second

// healthPort is the admin listener. It is open before there is anything to
// tell, and tells of a stack once it has one.
type healthPort struct {
	server *admin.Server
	done   chan struct{}
	stack  atomic.Pointer[stack]
}

func openHealth(ctx context.Context, cfg *config.Config, logger *slog.Logger) (*healthPort, error) {
	h := &healthPort{done: make(chan struct{})}
	if cfg.Admin.Address == "" {
		close(h.done)
		return h, nil
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Admin.Address)
	if err != nil {
		return nil, fmt.Errorf("listening on the admin address %s: %w", cfg.Admin.Address, err)
	}
	h.server = admin.NewServer(admin.Options{
		Started: h.started, Ready: h.ready, Metrics: prometheus.GathererFunc(h.gather), Logger: logger,
	})
	logger.InfoContext(ctx, "listening", slog.String("listener", "admin"), slog.String("address", ln.Addr().String()))
	go func() {
		defer close(h.done)
		if err := h.server.Serve(ln); err != nil {
			logger.ErrorContext(ctx, "the admin listener stopped", slog.Any("error", err))
		}
	}()
	return h, nil
}

func (h *healthPort) watch(s *stack) { h.stack.Store(s) }

func (h *healthPort) close() {
	if h.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminStop)
	defer cancel()
	_ = h.server.Shutdown(ctx) // what it cuts off is a probe
	<-h.done
}

func (h *healthPort) gather() ([]*dto.MetricFamily, error) {
	s := h.stack.Load()
	if s == nil {
		return nil, nil
	}
	return s.registry.Gather()
}

func (h *healthPort) started() error {
	if h.stack.Load() == nil {
		return errors.New("keys are being read")
	}
	return nil
}

// ready lists what has to be well so that a call can be served. Being limited
// is not among it.
func (h *healthPort) ready() []admin.Check {
	s := h.stack.Load()
	if s == nil {
		return []admin.Check{{Name: "started", Why: "keys are being read"}}
	}
	checks := []admin.Check{{Name: "keys", Why: s.keysWhy()}, {Name: "audit", Why: why(s.log.Healthy())}}
	checks = append(checks, s.notes()...)
	if s.drained.Load() {
		checks = append(checks, admin.Check{Name: "serving", Why: "draining, about to stop"})
	}
	return checks
}

// notes are what is worth knowing of limits: being limited is never unready.
func (s *stack) notes() (out []admin.Check) {
	if f := s.fleet(); f != nil {
		out = append(out, admin.Check{Name: "fleet", Note: fleetNote(f)})
	}
	if st := s.siteStatus(); s.budgets.isShrunk(st) {
		out = append(out, admin.Check{Name: "site", Note: fmt.Sprintf("its health lets %d calls be in flight", st.Limit)})
	}
	if n := len(s.budgets.brakes.list()); n > 0 {
		out = append(out, admin.Check{Name: "brakes", Note: fmt.Sprintf("%d in force; stagedoor brakes lists them", n)})
	}
	return out
}

func why(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// keysWhy says why no script at all has a usable key. A key is usable while its
// source is well and, for max_stale, while it is away: that is the grace of the
// login to Vault too. One script without a key fails alone.
func (s *stack) keysWhy() string {
	reason := "no script is configured"
	for _, k := range s.keys().Keys() {
		if k.Usable() {
			return ""
		}
		reason = "no script has a usable key; " + k.Script + ": " + k.Why
	}
	return reason
}
