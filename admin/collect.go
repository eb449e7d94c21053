package admin

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// KeyStates are the values of the label state of key_state, besides [Other].
func KeyStates() []string { return []string{"fresh", "stale", "missing", "denied", "expired"} }

// VaultStates are the values of the label state of vault_state, besides
// [Other].
func VaultStates() []string { return []string{"ok", "login", "unavailable", "sealed", "denied"} }

// KeyStatus is what is known about one script's key.
type KeyStatus struct {
	// Script must be one of the configuration's.
	Script string
	// State is one of [KeyStates].
	State string
	// Age is the time since the key was last read; negative is never.
	Age time.Duration
}

// QueueStatus is how many calls of a script are held now.
type QueueStatus struct {
	Script string
	Queued int
}

// VaultStatus is how Vault is.
type VaultStatus struct {
	// State is one of [VaultStates].
	State string
	// TokenTTL is how long the token lives on; 0 is none or for ever.
	TokenTTL time.Duration
}

// AuditStatus is how the audit log is.
type AuditStatus struct {
	Errors, Lost uint64
	// FreeBytes is what the disk has left; negative is not known.
	FreeBytes int64
}

// FleetStatus is how the budgets shared with other proxies are.
type FleetStatus struct {
	// Connected is false while this proxy lives by its own share.
	Connected bool
	// Leases, Denied and Returned count what was asked of Redis, FellBack the calls
	// that this proxy's share alone decided, Outages how often Redis went away.
	Leases, Denied, Returned, FellBack, Outages uint64
}

// BrakeStatus is a brake that is in force.
type BrakeStatus struct {
	// Scope is "script" or "caller", Name whose calls are slowed.
	Scope, Name string
	// Rate is calls per second; 0 is paused.
	Rate float64
}

// SiteStatus is what the site is asked at the same time.
type SiteStatus struct {
	InFlight, Queued int
	// Limit is how many calls in flight its health gives it now; 0 is no bound.
	Limit int
}

// Sources are asked on every scrape, concurrently with everything else; they
// must answer from memory. A missing one leaves its metrics out.
type Sources struct {
	Version, GoVersion string
	Keys               func() []KeyStatus
	Queues             func() []QueueStatus
	Vault              func() VaultStatus
	Audit              func() AuditStatus
	Site               func() SiteStatus
	Fleet              func() (s FleetStatus, has bool)
	Brakes             func() []BrakeStatus
	// BufferedBytes is what bodies take of max_buffered.
	BufferedBytes func() int64
}

// Watch registers with reg what is found out at each scrape. It panics when
// that was done before.
func Watch(reg prometheus.Registerer, s Sources) {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("stagedoor_"+name, help, labels, nil)
	}
	reg.MustRegister(&collector{
		from:       s,
		build:      d("build_info", "1, with the versions of the program.", "version", "go_version"),
		keyAge:     d("key_age_seconds", "Time since the script's key was last read.", "script"),
		keyState:   d("key_state", "1 for the state that the script's key is in.", "script", "state"),
		queued:     d("queued", "Calls held for their limit.", "script"),
		vaultState: d("vault_state", "1 for the state that the login to Vault is in.", "state"),
		vaultTTL:   d("vault_token_ttl_seconds", "Time that the Vault token lives on."),
		auditErrs:  d("audit_errors_total", "Writes of the audit log that failed."),
		auditLost:  d("audit_lost_total", "Outcomes that the audit log could not keep."),
		auditFree:  d("audit_free_bytes", "Space left on the disk of the audit log."),
		buffered:   d("buffered_bytes", "Memory that buffered bodies take."),
		siteLimit:  d("site_in_flight_limit", "Calls that the site's health lets be in flight."),
		siteBusy:   d("site_in_flight", "Calls in flight at the site, of all scripts."),
		siteQueued: d("site_queued", "Calls held for the site's limit."),
		fleetUp:    d("fleet_connected", "1 while budgets are shared through Redis, 0 while this proxy lives by its own share."),
		fleetOps:   d("fleet_leases_total", "Leases asked of Redis, by what became of them.", "result"),
		fleetBack:  d("fleet_fell_back_total", "Calls that this proxy's share alone decided."),
		fleetAway:  d("fleet_outages_total", "Times that Redis went away."),
		brakeRate:  d("brake_rate", "Calls per second that a brake in force leaves; 0 is paused.", "scope", "name"),
	})
}

type collector struct {
	from                                      Sources
	build, keyAge, keyState, queued           *prometheus.Desc
	vaultState, vaultTTL                      *prometheus.Desc
	auditErrs, auditLost, auditFree, buffered *prometheus.Desc
	siteLimit, siteBusy, siteQueued           *prometheus.Desc
	fleetUp, fleetOps, fleetBack, fleetAway   *prometheus.Desc
	brakeRate                                 *prometheus.Desc
}

// Describe lists the metrics.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.build, c.keyAge, c.keyState, c.queued, c.vaultState, c.vaultTTL,
		c.auditErrs, c.auditLost, c.auditFree, c.buffered,
		c.siteLimit, c.siteBusy, c.siteQueued, c.fleetUp, c.fleetOps, c.fleetBack, c.fleetAway, c.brakeRate,
	} {
		out <- d
	}
}

// Collect asks the sources.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	set := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- constant(d, prometheus.GaugeValue, v, labels...)
	}
	set(c.build, 1, c.from.Version, c.from.GoVersion)
	if c.from.Keys != nil {
		for _, k := range c.from.Keys() {
			states(out, c.keyState, KeyStates(), k.State, k.Script)
			if k.Age >= 0 {
				set(c.keyAge, k.Age.Seconds(), k.Script)
			}
		}
	}
	if c.from.Queues != nil {
		for _, q := range c.from.Queues() {
			set(c.queued, float64(q.Queued), q.Script)
		}
	}
	if c.from.Vault != nil {
		v := c.from.Vault()
		states(out, c.vaultState, VaultStates(), v.State)
		set(c.vaultTTL, v.TokenTTL.Seconds())
	}
	if c.from.Audit != nil {
		a := c.from.Audit()
		out <- constant(c.auditErrs, prometheus.CounterValue, float64(a.Errors))
		out <- constant(c.auditLost, prometheus.CounterValue, float64(a.Lost))
		if a.FreeBytes >= 0 {
			set(c.auditFree, float64(a.FreeBytes))
		}
	}
	if c.from.BufferedBytes != nil {
		set(c.buffered, float64(c.from.BufferedBytes()))
	}
	c.limits(out, set)
}

// limits tells of what all scripts share.
func (c *collector) limits(out chan<- prometheus.Metric, set func(d *prometheus.Desc, v float64, labels ...string)) {
	if c.from.Site != nil {
		s := c.from.Site()
		set(c.siteBusy, float64(s.InFlight))
		set(c.siteQueued, float64(s.Queued))
		if s.Limit > 0 {
			set(c.siteLimit, float64(s.Limit))
		}
	}
	if c.from.Fleet != nil {
		if f, has := c.from.Fleet(); has {
			up := 0.0
			if f.Connected {
				up = 1
			}
			set(c.fleetUp, up)
			out <- constant(c.fleetOps, prometheus.CounterValue, float64(f.Leases), "granted")
			out <- constant(c.fleetOps, prometheus.CounterValue, float64(f.Denied), "denied")
			out <- constant(c.fleetOps, prometheus.CounterValue, float64(f.Returned), "returned")
			out <- constant(c.fleetBack, prometheus.CounterValue, float64(f.FellBack))
			out <- constant(c.fleetAway, prometheus.CounterValue, float64(f.Outages))
		}
	}
	if c.from.Brakes != nil {
		for _, b := range c.from.Brakes() {
			set(c.brakeRate, b.Rate, b.Scope, b.Name)
		}
	}
}

// states sends one series per state, so that an alert on any of them has a 0
// to come from.
func states(out chan<- prometheus.Metric, d *prometheus.Desc, all []string, now string, labels ...string) {
	if !slices.Contains(all, now) {
		now = Other
	}
	for _, s := range append(all, Other) {
		v := 0.0
		if s == now {
			v = 1
		}
		out <- constant(d, prometheus.GaugeValue, v, append(slices.Clone(labels), s)...)
	}
}

// constant is a metric, or what makes the scrape say why there is none.
func constant(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) prometheus.Metric {
	m, err := prometheus.NewConstMetric(d, t, v, labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(d, err)
	}
	return m
}
