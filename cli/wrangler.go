package cli

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"stagedoor/admin"
	"stagedoor/config"
	"stagedoor/fleet"
	"stagedoor/limit"
)

// wrangler keeps the brakes that are in force: those that the fleet knows, and
// those that only this proxy does. It is safe for concurrent use.
type wrangler struct {
	limit.Brakes

	mu     sync.Mutex
	shared []limit.Brake // what the fleet said last
	own    []limit.Brake // what it was not told
}

// heard takes over what the fleet says.
func (w *wrangler) heard(shared []limit.Brake) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shared = shared
	w.own = slices.DeleteFunc(w.own, func(b limit.Brake) bool { return slices.ContainsFunc(shared, sameBrake(b.Scope, b.Name)) })
	w.replace()
}

// keep puts a brake in force that the fleet was not told.
func (w *wrangler) keep(b limit.Brake) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.Set(b); err != nil { // it says whether it is one, and whether there is room
		return fmt.Errorf("putting a brake on: %w", err)
	}
	w.own = append(slices.DeleteFunc(w.own, sameBrake(b.Scope, b.Name)), b)
	w.shared = slices.DeleteFunc(slices.Clone(w.shared), sameBrake(b.Scope, b.Name))
	w.replace()
	return nil
}

// drop takes one away, and says whether there was one.
func (w *wrangler) drop(scope, name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.own = slices.DeleteFunc(w.own, sameBrake(scope, name))
	w.shared = slices.DeleteFunc(slices.Clone(w.shared), sameBrake(scope, name))
	return w.Lift(scope, name)
}

// replace puts both lists in force; those that have ended go. w.mu is held.
func (w *wrangler) replace() {
	now := time.Now()
	w.own = slices.DeleteFunc(w.own, func(b limit.Brake) bool { return !b.Until.After(now) })
	w.Replace(slices.Concat(w.shared, w.own))
}

func sameBrake(scope, name string) func(limit.Brake) bool {
	return func(b limit.Brake) bool { return b.Scope == scope && b.Name == name }
}

// list is what is in force now.
func (w *wrangler) list() []admin.Brake {
	out := []admin.Brake{}
	for _, b := range w.List(time.Now()) {
		out = append(out, admin.Brake{Scope: b.Scope, Name: b.Name, Rate: b.Rate, Until: b.Until, Why: b.Why, By: b.By})
	}
	return out
}

// openControl opens the socket where brakes are pulled. One that was asked for
// has to be there; without the usual one calls are served all the same.
func (c *commands) openControl(ctx context.Context, s *stack, path string) (err error) {
	asked := path != ""
	if !asked {
		path, err = controlPath(c.getenv)
	}
	if err == nil {
		s.control, err = admin.OpenControl(ctx, path, brakeBox{s}, s.logger)
	}
	switch {
	case err == nil:
		s.logger.InfoContext(ctx, "brakes are taken", slog.String("control", path))
		return nil
	case asked:
		return err
	}
	s.logger.WarnContext(ctx, "no brake can be pulled at this proxy; set --control PATH", slog.Any("error", err))
	return nil
}

// brakeBox is where the control socket puts brakes: in the fleet, or, where there
// is none, here.
type brakeBox struct{ s *stack }

// Where a brake is in force.
const (
	alone      = "on this proxy alone"
	everywhere = "on all proxies of the fleet"
)

// Set puts a brake in force.
func (x brakeBox) Set(ctx context.Context, b admin.Brake) (string, error) {
	f, known := x.fleet(b.Scope, b.Name)
	if !known {
		return "", fmt.Errorf("there is no script %q; a caller is named with --caller", b.Name)
	}
	k := limit.Brake{Scope: b.Scope, Name: b.Name, Rate: b.Rate, Until: b.Until, Why: b.Why, By: b.By}
	where := alone
	if f != nil {
		err := f.SetBrake(ctx, k)
		if where = everywhere; err != nil {
			where = alone + ": " + err.Error()
		}
	}
	if where != everywhere {
		if err := x.s.budgets.brakes.keep(k); err != nil {
			return "", err
		}
	}
	x.s.logger.WarnContext(ctx, "a brake was put on", slog.String("scope", b.Scope), slog.String("name", b.Name),
		slog.String("brake", b.Speed()), slog.Time("until", b.Until), slog.String("by", b.By), slog.String("why", b.Why), slog.String("where", where))
	return where, nil
}

// Lift takes one away.
func (x brakeBox) Lift(ctx context.Context, scope, name string) (bool, string, error) {
	f, _ := x.fleet(scope, name)
	where := alone
	there := false
	if f != nil {
		var err error
		if there, err = f.LiftBrake(ctx, scope, name); err != nil {
			return false, "", fmt.Errorf("the fleet could not be told, so the brake stays: %w", err)
		}
		where = everywhere
	}
	found := x.s.budgets.brakes.drop(scope, name) || there
	if found {
		x.s.logger.WarnContext(ctx, "a brake was taken away", slog.String("scope", scope), slog.String("name", name), slog.String("where", where))
	}
	return found, where, nil
}

// List is what is in force.
func (x brakeBox) List() []admin.Brake { return x.s.budgets.brakes.list() }

// fleet is where other proxies are told, and whether the brake is for somebody
// that there is.
func (x brakeBox) fleet(scope, name string) (f *fleet.Fleet, known bool) {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	return x.s.budgets.fleet, scope != limit.ScopeScript || slices.ContainsFunc(x.s.mu.cfg.Scripts, func(s config.Script) bool { return s.Name == name })
}
