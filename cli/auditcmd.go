package cli

import (
	"github.com/spf13/cobra"

	"stagedoor/audit"
)

func (c *commands) audit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Look after audit logs",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "verify FILE...",
		Short: "Check that no line of a log was changed, left out or put in",
		Long: `Check the chain of an audit log: the format's version, numbers without a gap,
and each line's hash of the line before. Name the files of one log oldest first:

  stagedoor audit verify audit.jsonl.2 audit.jsonl.1 audit.jsonl

What was cut off the end can't be seen. "-" reads standard input.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var n int
			var err error
			if len(args) == 1 && args[0] == "-" {
				n, err = audit.Verify(cmd.InOrStdin())
			} else {
				n, err = audit.VerifyFiles(args...)
			}
			if err != nil {
				c.printf("%d lines are good\n", n)
				return no(err)
			}
			c.printf("ok: %d lines, one unbroken chain\n", n)
			return nil
		},
	})
	return cmd
}
