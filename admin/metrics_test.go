package admin_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"stagedoor/admin"
	"stagedoor/flow"
)

// scrape is what /metrics says, without comments.
func scrape(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	res := ask(t, serve(t, admin.Options{Metrics: reg}), "GET", "/metrics", nil)
	var out []string
	for line := range strings.Lines(res.body) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func wantLines(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains("\n"+text, "\n"+w+"\n") {
			t.Errorf("no line %s in\n%s", w, text)
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := admin.NewMetrics(reg, []string{"ev"}, []string{"no_rule"})
	m.Call("ev", "read", "ok", 40*time.Millisecond, 80*time.Microsecond)
	m.Call("ev", "read", "ok", 0, 80*time.Microsecond)
	m.Refused("ev", "no_rule")
	m.Observed("ev", "no_rule")
	m.Held("ev", 3*time.Second)
	m.InFlight("ev", 2)
	m.InFlight("ev", -1)
	m.Redacted(2)
	m.Connections(7)
	m.ConfigLoaded(time.Unix(1700000000, 5e8))
	m.ConfigRefused()
	wantLines(t, scrape(t, reg),
		`stagedoor_calls_total{group="read",result="ok",script="ev"} 2`,
		`stagedoor_refused_total{reason="no_rule",script="ev"} 1`,
		`stagedoor_observed_total{reason="no_rule",script="ev"} 1`,
		`stagedoor_hold_seconds_count{script="ev"} 1`,
		`stagedoor_hold_seconds_sum{script="ev"} 3`,
		`stagedoor_upstream_seconds_bucket{script="ev",le="0.05"} 1`,
		`stagedoor_upstream_seconds_count{script="ev"} 1`,
		`stagedoor_own_seconds_bucket{le="0.0001"} 2`,
		`stagedoor_in_flight{script="ev"} 1`,
		`stagedoor_redactions_total 2`,
		`stagedoor_connections 7`,
		`stagedoor_config_loaded_timestamp_seconds 1.7000000005e+09`,
		`stagedoor_config_last_reload_success 0`,
	)
}

// Whatever a caller sends, the number of series stays as it is.
func TestLabelsAreClosed(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := admin.NewMetrics(reg, []string{"ev"}, []string{"no_rule"})
	for i := range 1000 {
		x := fmt.Sprint("x", i)
		m.Call(x, x, x, time.Second, time.Second)
		m.Refused(x, x)
		m.Observed(x, x)
		m.Held(x, time.Second)
		m.InFlight(x, 1)
	}
	text := scrape(t, reg)
	wantLines(t, text,
		`stagedoor_calls_total{group="other",result="other",script="other"} 1000`,
		`stagedoor_refused_total{reason="other",script="other"} 1000`,
		`stagedoor_observed_total{reason="other",script="other"} 1000`,
	)
	if n := strings.Count(text, "\n"); n > 100 {
		t.Errorf("%d series", n)
	}
}

// Every group that a call can have is one of the label's values.
func TestGroupsCoverMethods(t *testing.T) {
	known := map[string]bool{}
	for _, g := range admin.Groups() {
		known[g] = true
	}
	for _, name := range flow.Methods() {
		if info, ok := flow.Method(name); !ok || !known[string(info.Group)] {
			t.Errorf("%s: group %q has no label value", name, info.Group)
		}
	}
}

func TestSetScripts(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := admin.NewMetrics(reg, []string{"stays", "goes", "busy"}, nil)
	for _, s := range []string{"stays", "goes", "busy"} {
		m.Call(s, "read", "ok", time.Second, time.Second)
	}
	m.InFlight("busy", 1)
	m.SetScripts([]string{"stays", "comes"})
	m.Call("comes", "read", "ok", time.Second, time.Second)
	m.Call("goes", "read", "ok", time.Second, time.Second)
	m.InFlight("busy", -1)
	text := scrape(t, reg)
	wantLines(t, text,
		`stagedoor_calls_total{group="read",result="ok",script="stays"} 1`,
		`stagedoor_calls_total{group="read",result="ok",script="comes"} 1`,
		`stagedoor_calls_total{group="read",result="ok",script="other"} 1`,
		`stagedoor_in_flight{script="busy"} 0`,
		`stagedoor_in_flight{script="other"} 0`,
	)
	if strings.Contains(text, `"goes"`) {
		t.Error("a script that is gone has series")
	}
	m.SetScripts([]string{"stays"})
	if text := scrape(t, reg); strings.Contains(text, `"busy"`) {
		t.Error("one that was busy still has")
	}
}

func TestWatch(t *testing.T) {
	reg := prometheus.NewRegistry()
	admin.Watch(reg, admin.Sources{
		Version: "1.2", GoVersion: "go1.26",
		Keys: func() []admin.KeyStatus {
			return []admin.KeyStatus{{"ev", "stale", time.Hour}, {"new", "what", -1}}
		},
		Queues:        func() []admin.QueueStatus { return []admin.QueueStatus{{"ev", 4}} },
		Vault:         func() admin.VaultStatus { return admin.VaultStatus{State: "sealed", TokenTTL: time.Minute} },
		Audit:         func() admin.AuditStatus { return admin.AuditStatus{Errors: 2, Lost: 1, FreeBytes: 1 << 20} },
		BufferedBytes: func() int64 { return 9 },
	})
	text := scrape(t, reg)
	wantLines(t, text,
		`stagedoor_build_info{go_version="go1.26",version="1.2"} 1`,
		`stagedoor_key_age_seconds{script="ev"} 3600`,
		`stagedoor_key_state{script="ev",state="stale"} 1`,
		`stagedoor_key_state{script="ev",state="fresh"} 0`,
		`stagedoor_key_state{script="new",state="other"} 1`,
		`stagedoor_queued{script="ev"} 4`,
		`stagedoor_vault_state{state="sealed"} 1`,
		`stagedoor_vault_state{state="ok"} 0`,
		`stagedoor_vault_token_ttl_seconds 60`,
		`stagedoor_audit_errors_total 2`,
		`stagedoor_audit_lost_total 1`,
		`stagedoor_audit_free_bytes 1.048576e+06`,
		`stagedoor_buffered_bytes 9`,
	)
	if strings.Contains(text, `key_age_seconds{script="new"}`) {
		t.Error("a key never read has an age")
	}
	reg = prometheus.NewRegistry()
	admin.Watch(reg, admin.Sources{})
	if text := scrape(t, reg); strings.Count(text, "\n") != 1 {
		t.Errorf("without sources:\n%s", text)
	}
}

func TestRace(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := admin.NewMetrics(reg, []string{"a", "b"}, []string{"x"})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				s := string(rune('a' + j%4))
				m.InFlight(s, 1)
				m.Call(s, "read", "ok", time.Second, 0)
				m.Refused(s, "x")
				m.InFlight(s, -1)
				if j%40 == 0 {
					m.SetScripts([]string{"a", string(rune('b' + i%3))})
					if _, err := reg.Gather(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestCountingDoesNotAllocate(t *testing.T) {
	m := admin.NewMetrics(prometheus.NewRegistry(), []string{"ev"}, []string{"no_rule"})
	n := testing.AllocsPerRun(1000, func() {
		m.InFlight("ev", 1)
		m.Call("ev", "read", "ok", time.Millisecond, time.Microsecond)
		m.Held("ev", time.Second)
		m.Refused("ev", "no_rule")
		m.InFlight("ev", -1)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkCall is what an allowed call costs in metrics.
func BenchmarkCall(b *testing.B) {
	m := admin.NewMetrics(prometheus.NewRegistry(), []string{"ev"}, nil)
	b.ReportAllocs()
	for b.Loop() {
		m.InFlight("ev", 1)
		m.Call("ev", "read", "ok", time.Millisecond, time.Microsecond)
		m.InFlight("ev", -1)
	}
}
