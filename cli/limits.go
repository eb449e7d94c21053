package cli

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"stagedoor/admin"
	"stagedoor/config"
	"stagedoor/fleet"
	"stagedoor/limit"
	"stagedoor/proxy"
)

// budgets are the limits in force. They are made once for each name and changed
// by a reload, so that what is spent stays spent. Its fields are guarded by the
// stack's lock, but for the brakes and what is asked at a scrape.
type budgets struct {
	scripts map[string]*scriptBudgets
	site    *limit.Limiter
	health  *limit.Health
	callers *limit.Callers // nil: callers have no limit of their own
	brakes  wrangler

	fleet  *fleet.Fleet // nil: this proxy is alone
	siteOf limit.Stage  // the fleet's budget of the site; nil: none
}

// scriptBudgets are one script's.
type scriptBudgets struct {
	all   *limit.Limiter
	kinds map[string]*limit.Limiter
	fleet *fleet.Budget // nil: none
}

// queued is how many calls wait for one of them: a call waits for one at a time.
func (s *scriptBudgets) queued() int {
	_, n := s.all.Stats()
	for _, k := range s.kinds {
		_, m := k.Stats()
		n += m
	}
	if s.fleet != nil {
		n += s.fleet.Stats().Waiting
	}
	return n
}

func newBudgets(logger *slog.Logger) *budgets {
	return &budgets{scripts: map[string]*scriptBudgets{}, brakes: wrangler{logger: logger}}
}

// update makes the limits those of cfg. f is where budgets are shared with other
// proxies, nil where they aren't.
func (b *budgets) update(cfg *config.Config, f *fleet.Fleet) {
	if b.fleet != f {
		b.fleet = f
		b.brakes.Share(brakeBudgets(f))
	}
	l := &cfg.Limits
	b.updateSite(l)
	b.updateCallers(&l.Caller)
	for i := range cfg.Scripts {
		b.updateScript(&cfg.Scripts[i])
	}
	maps.DeleteFunc(b.scripts, func(name string, _ *scriptBudgets) bool {
		return !slices.ContainsFunc(cfg.Scripts, func(s config.Script) bool { return s.Name == name })
	})
}

// brakeBudgets has the rate of a brake be that of all proxies together; nil is
// this one's.
func brakeBudgets(f *fleet.Fleet) func(scope, name string) limit.BrakeBudget {
	if f == nil {
		return nil
	}
	return func(scope, name string) limit.BrakeBudget {
		return f.Budget("brake:"+scope+":"+name, limit.Options{})
	}
}

// updateSite sets what all scripts share. Where the fleet shares the rate, only
// the calls in flight are this proxy's own.
func (b *budgets) updateSite(l *config.Limits) {
	o := limit.Options{Rate: l.Site.Rate, Burst: l.Site.Burst, InFlight: l.Site.InFlight, MaxHold: longestHold, MaxQueue: config.MaxQueue}
	b.siteOf = nil
	if b.fleet != nil && l.Site.Rate > 0 {
		b.siteOf = b.fleet.Budget("site", limit.Options{Rate: l.Site.Rate, Burst: l.Site.Burst, MaxHold: longestHold, MaxQueue: config.MaxQueue})
		o.Rate, o.Burst = 0, 0
	}
	health := limit.HealthOptions{Max: l.Site.InFlight, Min: l.MinInFlight}
	if b.site == nil {
		b.site, b.health = limit.New(o), limit.NewHealth(health)
		return
	}
	b.health.Update(health)
	b.site.Update(o)
	b.site.SetInFlight(b.health.Limit()) // what its health has come to stays
}

// longestHold is how long calls may wait for a budget that several scripts
// share: each script's own max_hold is what bounds them.
const longestHold = 10 * time.Minute

func (b *budgets) updateCallers(l *config.Budget) {
	if l.Rate == 0 && l.InFlight == 0 {
		b.callers = nil
		return
	}
	o := limit.Options{Rate: l.Rate, Burst: l.Burst, InFlight: l.InFlight, MaxHold: longestHold, MaxQueue: config.MaxQueue}
	if b.callers == nil {
		b.callers = limit.NewCallers(o)
		return
	}
	b.callers.Update(o)
}

func (b *budgets) updateScript(c *config.Script) {
	s := b.scripts[c.Name]
	if s == nil {
		s = &scriptBudgets{all: limit.New(limitOptions(&c.Limit)), kinds: map[string]*limit.Limiter{}}
		b.scripts[c.Name] = s
	} else {
		s.all.Update(limitOptions(&c.Limit))
	}
	kinds := map[string]*limit.Limiter{}
	for _, k := range c.Limit.Kinds {
		o := limitOptions(&c.Limit)
		o.Rate, o.Burst, o.InFlight = k.Rate, k.Burst, 0
		if kinds[k.Kind] = s.kinds[k.Kind]; kinds[k.Kind] == nil {
			kinds[k.Kind] = limit.New(o)
		} else {
			kinds[k.Kind].Update(o)
		}
	}
	s.kinds, s.fleet = kinds, nil
	if b.fleet != nil && c.Limit.Fleet > 0 {
		o := limitOptions(&c.Limit)
		o.Rate, o.Burst, o.InFlight = c.Limit.Fleet, 0, 0
		s.fleet = b.fleet.Budget("script:"+c.Name, o)
	}
}

// limitOptions translates: in the configuration 0 means none, in package limit
// it means the default.
func limitOptions(l *config.Limit) limit.Options {
	none := func(n int) int {
		if n == 0 {
			return -1
		}
		return n
	}
	o := limit.Options{Rate: l.Rate, Burst: l.Burst, InFlight: l.InFlight, MaxHold: l.MaxHold, MaxQueue: none(l.Queue)}
	if l.MaxHold == 0 {
		o.MaxHold = -1
	}
	return o
}

// put hands a script's limits to the proxy.
func (b *budgets) put(s *proxy.Script, c *config.Script) {
	of := b.scripts[c.Name]
	s.Limiter, s.Kinds, s.Fleet = of.all, of.kinds, nil
	if of.fleet != nil { // a nil *Budget is a Stage
		s.Fleet = of.fleet
	}
	s.Lane, s.MaxHold, s.UploadBytes = limit.Farm, c.Limit.MaxHold, c.Limit.UploadBytes
	if c.Limit.Interactive {
		s.Lane = limit.Interactive
	}
	if s.MaxHold == 0 {
		s.MaxHold = -1
	}
}

// putSite hands what all scripts share to the proxy.
func (b *budgets) putSite(st *proxy.State) {
	st.SiteLimiter, st.SiteFleet, st.Health = b.site, b.siteOf, b.health
	st.Callers, st.Brakes = b.callers, &b.brakes.Brakes
}

// isShrunk says whether the site's health holds calls back.
func (b *budgets) isShrunk(st admin.SiteStatus) bool {
	reason, _ := b.health.Last()
	return st.Limit > 0 && reason != limit.HealthFull
}

// siteStatus is for a scrape.
func (b *budgets) siteStatus() admin.SiteStatus {
	busy, queued := b.site.Stats()
	return admin.SiteStatus{InFlight: busy, Queued: queued, Limit: b.health.Limit()}
}
