package vault

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"stagedoor/secret"
)

// entry is one script's key. Its script never changes.
type entry struct {
	script Script
	view   atomic.Pointer[view]

	mu sync.Mutex // guards what is below, and makes changes of view one at a time
	// ticket is that of the look whose result stands: an older look that comes
	// back later changes nothing.
	ticket uint64
	logged string
}

// view is what is known of a key. It is immutable.
type view struct {
	// cred is the credential in hand; has is false when there is none.
	cred secret.Credential
	has  bool
	// named says that the secret itself gave the site's name.
	named bool
	// fault is why the last look failed; nil when it did not.
	fault *fault
	// last is the newest key ever read, also when it was dropped since, and old
	// are those before it.
	last secret.Value
	old  []secret.Value
}

// state is the word for a view at a time.
func (v *view) state(now time.Time, maxStale time.Duration) string {
	switch {
	case v.has && now.Sub(v.cred.ReadAt) > maxStale:
		return secret.KeyExpired
	case v.has && v.fault != nil:
		return secret.KeyStale
	case v.has:
		return secret.KeyFresh
	case v.fault != nil && (v.fault.kind == denied || v.fault.kind == refused):
		return secret.KeyDenied
	}
	return secret.KeyMissing
}

// why is what is wrong, "" when nothing is.
func (v *view) why(now time.Time, maxStale time.Duration) string {
	if v.has && now.Sub(v.cred.ReadAt) > maxStale {
		return fmt.Sprintf("the key was last confirmed %s ago, which is longer than max_stale (%s): %s",
			now.Sub(v.cred.ReadAt).Truncate(time.Second), maxStale, v.cause())
	}
	if v.has && v.fault == nil {
		return ""
	}
	return v.cause()
}

func (v *view) cause() string {
	if v.fault == nil {
		return "Vault was not asked yet; wait, or look at the log"
	}
	return v.fault.text
}

// after is the view once a look brought r or f.
func (v *view) after(r *reading, f *fault, sc *Script, now time.Time) *view {
	n := *v
	n.fault = f
	if f != nil {
		if f.no() {
			n.has, n.cred = false, secret.Credential{}
		}
		return &n
	}
	if !r.key.Same(v.last) {
		n.old = earlier(v.last, append(slices.Clone(v.old), r.older...), r.key)
		n.last = r.key
	}
	n.has, n.named = true, r.siteName != ""
	n.cred = secret.Credential{
		SiteName: siteName(r.siteName, sc), Key: n.last, Version: r.version,
		CreatedAt: r.created, ReadAt: now, Old: n.old,
	}
	return &n
}

// noKey is the start of what is said when there is no usable key.
func (sc *Script) noKey() string {
	switch sc.own {
	case ownHandles:
		return "the handle key can't be used"
	case ownPassword:
		return "the password of Redis can't be used"
	case notOwn:
	}
	return "script " + sc.Name + " has no usable key"
}

// attr says in the log whose key it is.
func (sc *Script) attr() slog.Attr {
	switch sc.own {
	case ownHandles:
		return slog.String("of", "handles")
	case ownPassword:
		return slog.String("of", "redis")
	case notOwn:
	}
	return slog.String("script", sc.Name)
}

// siteName is the name on the site: the secret's, the configuration's, or that
// of the script itself.
func siteName(own string, sc *Script) string {
	switch {
	case own != "":
		return own
	case sc.SiteName != "":
		return sc.SiteName
	}
	return sc.Name
}

// earlier is the list of earlier keys once now has replaced last.
func earlier(last secret.Value, old []secret.Value, now secret.Value) []secret.Value {
	var all []secret.Value
	for _, k := range append([]secret.Value{last}, old...) {
		if !k.IsZero() && !k.Same(now) && len(all) < secret.MaxOld {
			all = append(all, k)
		}
	}
	return all
}

// apply notes what a look brought and says whether the credential changed.
func (s *Store) apply(ctx context.Context, e *entry, ticket uint64, r *reading, f *fault) (changed bool) {
	if f != nil && ctx.Err() != nil {
		return false // the store closes: nothing was learnt
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if ticket < e.ticket {
		return false
	}
	e.ticket = ticket
	before, now := e.view.Load(), s.opt.Now()
	after := before.after(r, f, &e.script, now)
	e.view.Store(after)
	s.note(ctx, e, before, after, now)
	return before.has != after.has || after.has && (!before.cred.Key.Same(after.cred.Key) || before.cred.SiteName != after.cred.SiteName)
}

// note logs each change once. While Vault is down the reason is one line about
// Vault, not one per script.
func (s *Store) note(ctx context.Context, e *entry, before, after *view, now time.Time) {
	state := after.state(now, s.opt.MaxStale)
	what := state + after.cred.Version
	if after.fault != nil && !after.fault.down() {
		what += after.fault.text
	}
	if what == e.logged {
		return
	}
	e.logged = what
	attrs := []slog.Attr{e.script.attr(), slog.String("state", state)}
	if after.has {
		attrs = append(attrs, slog.String("version", after.cred.Version))
	}
	if why := after.why(now, s.opt.MaxStale); why != "" {
		attrs = append(attrs, slog.String("why", why))
	}
	switch state {
	case secret.KeyFresh:
		if before.has && !before.cred.Key.Same(after.cred.Key) {
			s.opt.Logger.LogAttrs(ctx, slog.LevelInfo, "key changed", attrs...)
			return
		}
		s.opt.Logger.LogAttrs(ctx, slog.LevelInfo, "key read", attrs...)
	case secret.KeyStale:
		s.opt.Logger.LogAttrs(ctx, slog.LevelWarn, "key can't be confirmed, still in use", attrs...)
	default:
		s.opt.Logger.LogAttrs(ctx, slog.LevelError, "no usable key", attrs...)
	}
}

// status is what an operator may see.
func (e *entry) status(now time.Time, maxStale time.Duration) secret.KeyStatus {
	v := e.view.Load()
	st := secret.KeyStatus{
		Script: e.script.Name, SiteName: v.cred.SiteName, Version: v.cred.Version, Age: -1,
		State: v.state(now, maxStale), CreatedAt: v.cred.CreatedAt, Why: v.why(now, maxStale),
	}
	if v.has {
		st.Age = max(0, now.Sub(v.cred.ReadAt))
	}
	return st
}
