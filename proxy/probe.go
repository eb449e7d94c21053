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
	"stagedoor/secret"
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
	// Others wait for the result, so it must not depend on this caller.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), probeTime)
	defer cancel()
	began := p.cfg.Now()
	y := &exchange{
		p: p, l: x.l, st: x.st, r: x.r.WithContext(ctx), id: p.ids.next(began), began: began,
		msg: flow.Probe(), script: x.script, scriptName: x.scriptName, cred: x.cred, credClass: audit.CredNone,
	}
	y.call = &y.msg.Call
	y.verdict.Allow, y.verdict.Rule = true, "probe for "+x.id
	if !y.intent() {
		return false
	}
	x.limiter().Charge(1)
	a, err := y.send()
	switch {
	case err != nil:
		y.result = audit.ResultUnreachable
		p.cfg.Logger.Warn("a probe of a key failed", slog.String("script", x.scriptName), slog.String("error", y.plain(err)))
	default:
		y.status, y.fault, y.result = a.res.StatusCode, a.code, audit.ResultOK
		a.close(p)
	}
	e := y.event(audit.Outcome)
	p.cfg.Audit.Note(&e)
	return err == nil && a.code == flow.FaultAuth
}

// scrubbers keeps one scrubber for each script's key in force.
type scrubbers struct {
	mu    sync.RWMutex
	made  map[string]scrubEntry
	empty *flow.Scrubber // for calls that go without a key of ours
}

type scrubEntry struct {
	key secret.Value
	s   *flow.Scrubber
}

func (c *scrubbers) init() {
	c.made = make(map[string]scrubEntry)
	c.empty = flow.NewScrubber()
}

// get is bounded by the number of configured scripts.
func (c *scrubbers) get(script string, cred secret.Credential) *flow.Scrubber {
	if cred.Key.IsZero() {
		return c.empty
	}
	c.mu.RLock()
	e, ok := c.made[script]
	c.mu.RUnlock()
	if ok && e.key.Same(cred.Key) {
		return e.s
	}
	e = scrubEntry{key: cred.Key, s: flow.NewScrubber(append([]secret.Value{cred.Key}, cred.Old...)...)}
	c.mu.Lock()
	c.made[script] = e
	c.mu.Unlock()
	return e.s
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
