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
// those that only this proxy does, which count before the fleet's of the same name
// while they last. It is safe for concurrent use.
type wrangler struct {
	limit.Brakes

	logger *slog.Logger

	mu     sync.Mutex
	shared []limit.Brake // what the fleet said last
	own    []limit.Brake // what it was not told
	now    []limit.Brake // what was in force when it was looked at last
	next   *time.Timer   // at the next end of one; nil until there is one
}

// heard takes over what the fleet says.
func (w *wrangler) heard(shared []limit.Brake) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shared = shared
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
	w.replace()
	return nil
}

// forget takes away one that only this proxy knows, and says whether it did.
func (w *wrangler) forget(scope, name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := len(w.own)
	w.own = slices.DeleteFunc(w.own, sameBrake(scope, name))
	w.replace()
	return len(w.own) < before
}

// drop takes one away wherever it came from, and says whether there was one.
func (w *wrangler) drop(scope, name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := slices.ContainsFunc(w.now, sameBrake(scope, name))
	w.own = slices.DeleteFunc(w.own, sameBrake(scope, name))
	w.shared = slices.DeleteFunc(slices.Clone(w.shared), sameBrake(scope, name))
	w.replace()
	return found
}

// replace puts both lists in force, logs what came and went, and looks again when
// the next one ends. w.mu is held.
func (w *wrangler) replace() {
	t := time.Now()
	over := func(b limit.Brake) bool { return !b.Until.After(t) }
	w.own = slices.DeleteFunc(w.own, over)
	now := slices.Clone(w.own)
	for _, b := range w.shared {
		if !over(b) && !slices.ContainsFunc(w.own, sameBrake(b.Scope, b.Name)) {
			now = append(now, b)
		}
	}
	w.Replace(now)
	for _, b := range now {
		i := slices.IndexFunc(w.now, sameBrake(b.Scope, b.Name))
		if i < 0 || w.now[i].Rate != b.Rate || w.now[i].Why != b.Why || w.now[i].By != b.By {
			w.logger.Warn("a brake is in force", append(named(b), slog.String("brake", shown(b).Speed()), slog.Time("until", b.Until), slog.String("by", b.By), slog.String("why", b.Why))...)
		}
	}
	for _, b := range w.now {
		if !slices.ContainsFunc(now, sameBrake(b.Scope, b.Name)) {
			w.logger.Warn("a brake is over", named(b)...)
		}
	}
	w.now = now
	w.arm(t)
}

// arm looks again when the next brake ends. w.mu is held.
func (w *wrangler) arm(t time.Time) {
	if w.next != nil {
		w.next.Stop()
	}
	if len(w.now) == 0 {
		return
	}
	first := slices.MinFunc(w.now, func(a, b limit.Brake) int { return a.Until.Compare(b.Until) })
	w.next = time.AfterFunc(first.Until.Sub(t), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.replace()
	})
}

// close looks no more.
func (w *wrangler) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next != nil {
		w.next.Stop()
	}
}

func named(b limit.Brake) []any {
	return []any{slog.String("scope", b.Scope), slog.String("name", b.Name)}
}

func shown(b limit.Brake) *admin.Brake {
	return &admin.Brake{Scope: b.Scope, Name: b.Name, Rate: b.Rate, Until: b.Until, Why: b.Why, By: b.By}
}

func sameBrake(scope, name string) func(limit.Brake) bool {
	return func(b limit.Brake) bool { return b.Scope == scope && b.Name == name }
}

// list is what is in force now.
func (w *wrangler) list() []admin.Brake {
	out := []admin.Brake{}
	for _, b := range w.List(time.Now()) {
		out = append(out, *shown(b))
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
			if x.s.budgets.brakes.forget(scope, name) {
				return true, alone, nil // it never was anybody else's
			}
			return false, "", fmt.Errorf("the fleet could not be told, so the brake stays: %w", err)
		}
		where = everywhere
	}
	found := x.s.budgets.brakes.drop(scope, name) || there
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
