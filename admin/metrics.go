package admin

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Other is the label value of what is not in the configuration, nor in a
// closed list: nothing a caller sends makes a new series.
const Other = "other"

// Groups are the values of the label group, besides [Other].
func Groups() []string {
	return []string{
		"read", "create", "update", "delete", "revive", "follow", "schema", "schedule",
		"preferences", "upload", "download", "presets", "named", "info", "batch", "session", "none",
	}
}

// Results are the values of the label result, besides [Other].
func Results() []string {
	return []string{
		"ok", "fault", "site_error", "unreachable", "timeout", "aborted", "refused", "failed",
	}
}

// Metrics counts. Its methods are safe for concurrent use and take no lock,
// but SetScripts. Use [NewMetrics].
type Metrics struct {
	calls, refused, observed  *prometheus.CounterVec
	hold, upstream            *prometheus.HistogramVec
	inFlight                  *prometheus.GaugeVec
	own                       prometheus.Histogram
	redactions                prometheus.Counter
	connections               prometheus.Gauge
	configLoaded, configValid prometheus.Gauge

	groups, results, reasons index
	mu                       sync.Mutex // held by SetScripts
	scripts                  atomic.Pointer[map[string]*series]
}

// series are one script's, found once per call.
type series struct {
	script         string
	hold, upstream prometheus.Observer
	inFlight       prometheus.Gauge
	busy           atomic.Int64
	// calls by group and result, refused by reason: made when first counted,
	// since most pairs never happen.
	calls   []atomic.Pointer[prometheus.Counter]
	refused []atomic.Pointer[prometheus.Counter]
	// observed by reason, likewise.
	observed []atomic.Pointer[prometheus.Counter]
}

// index numbers the values of a label; the last is Other.
type index struct {
	at    map[string]int
	names []string
}

func newIndex(names []string) index {
	x := index{at: make(map[string]int), names: slices.Clone(names)}
	for i, n := range x.names {
		x.at[n] = i
	}
	if _, ok := x.at[Other]; !ok {
		x.at[Other] = len(x.names)
		x.names = append(x.names, Other)
	}
	return x
}

func (x *index) of(name string) int {
	if i, ok := x.at[name]; ok {
		return i
	}
	return x.at[Other]
}

// NewMetrics registers everything with reg, which must hold nothing of the kind
// yet: it panics otherwise, as only a mistake in the program can do that.
// scripts and reasons are the values that those labels may have.
func NewMetrics(reg prometheus.Registerer, scripts, reasons []string) *Metrics {
	m := &Metrics{groups: newIndex(Groups()), results: newIndex(Results()), reasons: newIndex(reasons)}
	m.calls = prometheus.NewCounterVec(counter("calls_total", "Calls answered."), []string{"script", "group", "result"})
	m.refused = prometheus.NewCounterVec(counter("refused_total", "Calls refused, by reason."), []string{"script", "reason"})
	m.observed = prometheus.NewCounterVec(counter("observed_total", "Calls let through only because their script is in observe mode, by the reason they would have been refused for."), []string{"script", "reason"})
	m.hold = prometheus.NewHistogramVec(histogram("hold_seconds", "Time that held calls waited for their rate limit.",
		.05, .1, .25, .5, 1, 2, 5, 10, 20, 60), []string{"script"})
	m.upstream = prometheus.NewHistogramVec(histogram("upstream_seconds", "Time that the site took.",
		.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60), []string{"script"})
	m.inFlight = prometheus.NewGaugeVec(gauge("in_flight", "Calls let through and not answered."), []string{"script"})
	m.own = prometheus.NewHistogram(histogram("own_seconds", "Time that calls spent in Stagedoor itself, holds not counted.",
		25e-6, 50e-6, 100e-6, 250e-6, 500e-6, .001, .0025, .005, .01, .05, .1, 1))
	m.redactions = prometheus.NewCounter(counter("redactions_total", "Echoes of a secret removed from answers."))
	m.connections = prometheus.NewGauge(gauge("connections", "Connections of tools that are open."))
	m.configLoaded = prometheus.NewGauge(gauge("config_loaded_timestamp_seconds", "When the configuration in force was loaded."))
	m.configValid = prometheus.NewGauge(gauge("config_last_reload_success", "1 if the last reload was taken, 0 if it was refused."))
	reg.MustRegister(m.calls, m.refused, m.observed, m.hold, m.upstream, m.inFlight, m.own,
		m.redactions, m.connections, m.configLoaded, m.configValid)
	m.observed.WithLabelValues(Other, Other) // so that it is there before it counts: most files observe nothing
	m.SetScripts(scripts)
	return m
}

func counter(name, help string) prometheus.CounterOpts {
	return prometheus.CounterOpts{Namespace: "stagedoor", Name: name, Help: help}
}

func gauge(name, help string) prometheus.GaugeOpts {
	return prometheus.GaugeOpts{Namespace: "stagedoor", Name: name, Help: help}
}

func histogram(name, help string, buckets ...float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Namespace: "stagedoor", Name: name, Help: help, Buckets: buckets}
}

// SetScripts puts the scripts of a new configuration in place of the old. The
// figures of those that stay go on; a script that is gone loses its series, at
// the next reload if it has calls in flight now.
func (m *Metrics) SetScripts(scripts []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := map[string]*series{}
	if p := m.scripts.Load(); p != nil {
		old = *p
	}
	fresh := make(map[string]*series, len(scripts)+1)
	for _, name := range append(slices.Clone(scripts), Other) {
		if s := old[name]; s != nil {
			fresh[name] = s
		} else if fresh[name] == nil {
			fresh[name] = m.newSeries(name)
		}
	}
	gone := maps.Clone(old)
	maps.DeleteFunc(gone, func(name string, s *series) bool {
		if s.busy.Load() > 0 {
			fresh[name] = s
		}
		return fresh[name] != nil
	})
	m.scripts.Store(&fresh)
	for name := range gone {
		l := prometheus.Labels{"script": name}
		m.calls.DeletePartialMatch(l)
		m.refused.DeletePartialMatch(l)
		m.observed.DeletePartialMatch(l)
		m.hold.DeletePartialMatch(l)
		m.upstream.DeletePartialMatch(l)
		m.inFlight.DeletePartialMatch(l)
	}
}

func (m *Metrics) newSeries(name string) *series {
	return &series{
		script: name, hold: m.hold.WithLabelValues(name), upstream: m.upstream.WithLabelValues(name),
		inFlight: m.inFlight.WithLabelValues(name),
		calls:    make([]atomic.Pointer[prometheus.Counter], len(m.groups.names)*len(m.results.names)),
		refused:  make([]atomic.Pointer[prometheus.Counter], len(m.reasons.names)),
		observed: make([]atomic.Pointer[prometheus.Counter], len(m.reasons.names)),
	}
}

func (m *Metrics) of(script string) *series {
	all := *m.scripts.Load()
	if s := all[script]; s != nil {
		return s
	}
	return all[Other]
}

// Call counts an answered call: what the site took of its time (0: it wasn't
// asked), and what Stagedoor did.
func (m *Metrics) Call(script, group, result string, upstream, own time.Duration) {
	s := m.of(script)
	g, r := m.groups.of(group), m.results.of(result)
	cell := &s.calls[g*len(m.results.names)+r]
	c := cell.Load()
	if c == nil {
		c = new(m.calls.WithLabelValues(s.script, m.groups.names[g], m.results.names[r]))
		cell.Store(c)
	}
	(*c).Inc()
	if upstream > 0 {
		s.upstream.Observe(upstream.Seconds())
	}
	m.own.Observe(own.Seconds())
}

// Refused counts a call that was refused.
func (m *Metrics) Refused(script, reason string) {
	s := m.of(script)
	m.byReason(m.refused, s, s.refused, reason)
}

// Observed counts a call that was let through only because its script is in
// observe mode.
func (m *Metrics) Observed(script, reason string) {
	s := m.of(script)
	m.byReason(m.observed, s, s.observed, reason)
}

func (m *Metrics) byReason(of *prometheus.CounterVec, s *series, cells []atomic.Pointer[prometheus.Counter], reason string) {
	r := m.reasons.of(reason)
	c := cells[r].Load()
	if c == nil {
		c = new(of.WithLabelValues(s.script, m.reasons.names[r]))
		cells[r].Store(c)
	}
	(*c).Inc()
}

// Held counts a call that was held for d, let through after it or not.
func (m *Metrics) Held(script string, d time.Duration) { m.of(script).hold.Observe(d.Seconds()) }

// InFlight adds delta to the calls in flight.
func (m *Metrics) InFlight(script string, delta int) {
	s := m.of(script)
	s.busy.Add(int64(delta))
	s.inFlight.Add(float64(delta))
}

// Redacted counts n echoes of a secret.
func (m *Metrics) Redacted(n int) { m.redactions.Add(float64(n)) }

// Connections adds delta to the open connections.
func (m *Metrics) Connections(delta int) { m.connections.Add(float64(delta)) }

// ConfigLoaded says that the configuration in force is from t.
func (m *Metrics) ConfigLoaded(t time.Time) {
	m.configLoaded.Set(float64(t.UnixMilli()) / 1000)
	m.configValid.Set(1)
}

// ConfigRefused says that a reload was refused, and the old configuration is
// still in force.
func (m *Metrics) ConfigRefused() { m.configValid.Set(0) }
