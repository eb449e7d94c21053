package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stagedoor/config"
	"stagedoor/limit"
)

func (c *commands) validate() *cobra.Command {
	var asJSON, effective bool
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check the configuration without starting anything",
		Long: `Read the configuration and say what is wrong with it, each problem with its
place, the text and what was meant. It needs no network and no key.

Where a snapshot of the site's schema lies beside the configuration (see
stagedoor schema pull), rules are held against it. Where proxies share budgets,
it prints what that means while Redis is away.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			path := c.configPath()
			known := &snapshot{}
			cfg, err := config.InspectWith(path, known.open)
			var ds config.Errors
			if err != nil && !errors.As(err, &ds) {
				return no(err)
			}
			if cfg != nil {
				ds = cfg.Warnings
			}
			switch {
			case asJSON:
				return c.validateJSON(cfg, ds)
			case cfg == nil:
				c.printf("%s\n", config.Format(ds))
				return no(nil)
			case effective:
				c.printf("%s", cfg.Effective())
				return nil
			}
			for i := range ds {
				c.printf("%s\n", ds[i].Format())
			}
			for i := range cfg.Scripts {
				c.printf("ok    %-16s %s\n", cfg.Scripts[i].Name, limitInWords(&cfg.Scripts[i].Limit))
			}
			for _, s := range cfg.Shared() {
				c.printf("%s", sharedInWords(&s))
			}
			if known.Snapshot != nil {
				c.printf("ok    %-16s %s, pulled %s\n", "schema", plural(len(known.Types), "type"), known.Pulled.Format(time.DateOnly))
			}
			c.printf("%s: %s\n", path, config.Summary(ds))
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.Flags().BoolVar(&effective, "effective", false, "print the configuration with every default filled in")
	return cmd
}

// limitInWords says what a limit means for the dearest call: a batch of at
// least the burst, on a bucket that refused calls have put into debt.
func limitInWords(l *config.Limit) string {
	lane := ""
	if l.Interactive {
		lane = "; interactive"
	}
	return fmt.Sprintf("%g calls/s, burst %d, %d in flight; longest wait %s, for a batch of %d parts or more; max_hold %s%s",
		l.Rate, l.Burst, l.InFlight, longestWait(l).Round(time.Millisecond), l.Burst, l.MaxHold, lane)
}

// sharedInWords says what a budget that proxies share means, the fall-back
// before all: it is to be chosen, not found out.
func sharedInWords(s *config.Shared) string {
	var b strings.Builder
	line := func(head, name, format string, args ...any) {
		fmt.Fprintf(&b, "%-5s %-16s %s\n", head, name, fmt.Sprintf(format, args...))
	}
	n := "1 proxy"
	if s.Proxies > 1 {
		n = fmt.Sprintf("%d proxies", s.Proxies)
	}
	line("fleet", s.Name, "%g calls/s of all proxies together; each leases up to %s, so that %s may be %s beyond it, once",
		s.Rate, plural(s.Lease, "call"), n, plural(s.Overshoot, "call"))
	line("", "", "Redis away: a proxy has 1/%d, one call every %s and %s at once, also where it is the only busy one",
		s.Proxies, s.Every, plural(s.AtOnce, "call"))
	if s.MaxHold > 0 && s.Every > s.MaxHold {
		line("", "", "            that is longer than max_hold (%s): most calls that come together are refused then", s.MaxHold)
	}
	line("", "", "            %s make %.4g calls/s together, after %d at once; %d make %.4g", n, float64(s.Proxies)*s.Alone, s.Proxies*s.AtOnce, 2*s.Proxies, 2*float64(s.Proxies)*s.Alone)
	return b.String()
}

func longestWait(l *config.Limit) time.Duration {
	return limit.LongestWait(limitOptions(l), l.Burst)
}

// validateJSON prints {"ok":…, "problems":[…], "scripts":[…], "fleet":[…]}.
func (c *commands) validateJSON(cfg *config.Config, ds []config.Diagnostic) error {
	type script struct {
		Name        string  `json:"name"`
		Rate        float64 `json:"rate_per_second"`
		Burst       int     `json:"burst"`
		LongestWait float64 `json:"longest_wait_seconds"`
		MaxHold     float64 `json:"max_hold_seconds"`
	}
	type shared struct {
		Name      string  `json:"name"`
		Rate      float64 `json:"rate_per_second"`
		Proxies   int     `json:"proxies"`
		Alone     float64 `json:"alone_per_second"`
		Every     float64 `json:"alone_every_seconds"`
		AtOnce    int     `json:"alone_at_once"`
		Together  float64 `json:"all_per_second"`
		Lease     int     `json:"lease"`
		Overshoot int     `json:"overshoot"`
	}
	out := struct {
		OK       bool                `json:"ok"`
		Problems []config.Diagnostic `json:"problems"`
		Scripts  []script            `json:"scripts"`
		Fleet    []shared            `json:"fleet,omitempty"`
	}{OK: cfg != nil, Problems: ds, Scripts: []script{}}
	if out.Problems == nil {
		out.Problems = []config.Diagnostic{}
	}
	if cfg != nil {
		for i := range cfg.Scripts {
			l := &cfg.Scripts[i].Limit
			out.Scripts = append(out.Scripts, script{cfg.Scripts[i].Name, l.Rate, l.Burst, longestWait(l).Seconds(), l.MaxHold.Seconds()})
		}
		for _, s := range cfg.Shared() {
			out.Fleet = append(out.Fleet, shared{s.Name, s.Rate, s.Proxies, s.Alone, s.Every.Seconds(), s.AtOnce, s.Alone * float64(s.Proxies), s.Lease, s.Overshoot})
		}
	}
	if err := json.NewEncoder(c.out).Encode(out); err != nil {
		return no(fmt.Errorf("writing the result: %w", err))
	}
	if cfg == nil {
		return no(nil)
	}
	return nil
}
