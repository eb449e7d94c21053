package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"stagedoor/admin"
	"stagedoor/config"
)

func (c *commands) health() *cobra.Command {
	var addr string
	cmd := &cobra.Command{
		Use:   "health ready|live|startup",
		Short: "Ask a running Stagedoor how it is, for exec probes",
		Long: `Ask the admin address of a running Stagedoor. The exit code is 0 when it is
well, 1 when it is not or nothing answers; then standard error says why.`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"ready", "live", "startup"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(cmd.ValidArgs, args[0]) {
				return cannotStart(fmt.Errorf("health: %q can't be asked for; ready, live or startup can", args[0]))
			}
			if addr == "" {
				cfg, err := config.Inspect(c.configPath())
				if err != nil {
					return cannotStart(err)
				}
				addr = cfg.Admin.Address
			}
			if addr == "" {
				return cannotStart(errors.New("the configuration has no admin address (admin: off); nothing can be asked"))
			}
			if err := admin.Probe(cmd.Context(), addr, args[0]); err != nil {
				return no(err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "", "the admin address `HOST:PORT` (default: the configuration's)")
	return cmd
}
