package proxy

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"stagedoor/audit"
	"stagedoor/flow"
)

// probeTime bounds a probe.
const probeTime = 20 * time.Second

// probes confirms, one at a time for each script, whether the site accepts a
// key. A fault on a call with sudo_as_login does not tell: it may be the login
// that is refused.
type probes struct{ group *singleflight.Group }

func (p *probes) init() { p.group = &singleflight.Group{} }

// keyRefused makes one call without sudo_as_login. What it can't find out
// counts as "not refused": a key is never given up on a guess.
func (p *Proxy) keyRefused(x *exchange) bool {
	v, _, _ := p.probes.group.Do(x.scriptName+"\x00"+x.cred.Version, func() (any, error) {
		return p.probe(x), nil
	})
	refused, ok := v.(bool)
	return ok && refused
}

func (p *Proxy) probe(x *exchange) bool {
	ctx, cancel := outlive(x.r.Context(), probeTime)
	defer cancel()
	y := p.aside(ctx, x, flow.Probe(), "probe for "+x.id)
	if !y.intent() {
		return false
	}
	x.chargeOwn()
	a, err := y.send()
	switch {
	case err != nil:
		y.result = audit.ResultUnreachable
		p.cfg.Logger.Warn("a probe of a key failed", slog.String("script", x.scriptName), slog.String("error", y.plain(err)))
	default:
		y.status, y.fault, y.result = a.res.StatusCode, a.code, audit.ResultOK
		a.close(p)
	}
	_ = y.record(audit.Outcome)
	return err == nil && a.code == flow.FaultAuth
}

// aside is a call of our own beside x, with a record of its own. why stands
// where another call has its rule.
func (p *Proxy) aside(ctx context.Context, x *exchange, m *flow.Message, why string) *exchange {
	began := p.cfg.Now()
	y := &exchange{
		p: p, l: x.l, st: x.st, r: x.r.WithContext(ctx), id: p.ids.next(began), began: began, caller: x.caller, peer: x.peer,
		way: wayRPC, rpc: m, msg: m, script: x.script, scriptName: x.scriptName, cred: x.cred, credClass: audit.CredNone,
	}
	y.call = &m.Call
	y.verdict.Allow, y.verdict.Rule = true, why
	return y
}

// Pauses between two questions to a script's key source that authentication
// faults ask: a tool that goes on calling with a key that the site refuses must
// not become a load on Vault. They double from the first to the last, until the
// source has another key.
const (
	firstAsk = time.Second
	maxAsk   = 30 * time.Second
)

// asks remembers when each script's source was asked; it is bounded by the
// number of configured scripts.
type asks struct {
	group singleflight.Group
	mu    sync.Mutex
	of    map[string]ask
}

type ask struct {
	next  time.Time
	pause time.Duration
}

// askSource has the script's source looked at, once however many wait for it,
// and not again before the pause is over.
func (p *Proxy) askSource(x *exchange) {
	_, _, _ = p.asks.group.Do(x.scriptName, func() (any, error) {
		if !p.asks.may(x.scriptName, p.cfg.Now()) {
			return nil, nil
		}
		ctx, cancel := outlive(x.r.Context(), refreshWait)
		defer cancel()
		changed, err := x.st.Keys.Refresh(ctx, x.scriptName)
		switch {
		case err != nil:
			p.cfg.Logger.Warn("the key source was asked after an authentication fault and did not answer",
				slog.String("script", x.scriptName), slog.Any("error", err))
		case changed:
			p.asks.reset(x.scriptName)
		default:
			p.cfg.Logger.Warn("the site refuses a key, and its source has no other",
				slog.String("script", x.scriptName), slog.String("site_name", x.cred.SiteName), slog.String("version", x.cred.Version))
		}
		return nil, nil
	})
}

// outlive is a context for what others wait for too, so that it must not depend
// on this caller. It ends with time, or when the server cuts its calls.
func outlive(call context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(call), most)
	stop := context.AfterFunc(call, func() {
		if !gone(call) {
			cancel()
		}
	})
	return ctx, func() {
		stop()
		cancel()
	}
}

// may says whether the source may be asked now, and counts that it was.
func (a *asks) may(script string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.of[script]
	if now.Before(k.next) {
		return false
	}
	if now.Sub(k.next) > maxAsk {
		k.pause = 0 // the last trouble is over
	}
	k.pause = min(max(2*k.pause, firstAsk), maxAsk)
	k.next = now.Add(k.pause)
	if a.of == nil {
		a.of = make(map[string]ask)
	}
	a.of[script] = k
	return true
}

// reset forgets the pauses: the source had another key.
func (a *asks) reset(script string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.of, script)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
