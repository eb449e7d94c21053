package cli

import (
	"encoding/json"
	"errors"
	"fmt"
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
place, the text and what was meant. It needs no network and no key.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			path := c.configPath()
			cfg, err := config.Inspect(path)
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
	return fmt.Sprintf("%g calls/s, burst %d, %d in flight; longest wait %s, for a batch of %d parts or more; max_hold %s",
		l.Rate, l.Burst, l.InFlight, longestWait(l).Round(time.Millisecond), l.Burst, l.MaxHold)
}

func longestWait(l *config.Limit) time.Duration {
	return limit.LongestWait(limitOptions(l), l.Burst)
}

// validateJSON prints {"ok":…, "problems":[…], "scripts":[…]}.
func (c *commands) validateJSON(cfg *config.Config, ds []config.Diagnostic) error {
	type script struct {
		Name        string  `json:"name"`
		Rate        float64 `json:"rate_per_second"`
		Burst       int     `json:"burst"`
		LongestWait float64 `json:"longest_wait_seconds"`
		MaxHold     float64 `json:"max_hold_seconds"`
	}
	out := struct {
		OK       bool                `json:"ok"`
		Problems []config.Diagnostic `json:"problems"`
		Scripts  []script            `json:"scripts"`
	}{OK: cfg != nil, Problems: ds, Scripts: []script{}}
	if out.Problems == nil {
		out.Problems = []config.Diagnostic{}
	}
	if cfg != nil {
		for i := range cfg.Scripts {
			l := &cfg.Scripts[i].Limit
			out.Scripts = append(out.Scripts, script{cfg.Scripts[i].Name, l.Rate, l.Burst, longestWait(l).Seconds(), l.MaxHold.Seconds()})
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
