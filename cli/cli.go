// Package cli is the commands. It alone reads flags and the environment, names
// files and puts the other packages together.
//
// What goes where: results on standard output, in words made for a reader or,
// with --json, for a program; the log and errors on standard error. An error
// begins with "stagedoor: " and ends with what to do. The exit code is 0 for
// done, 1 for a no (a check that failed, a run that broke) and 2 for a start
// that could not be (a wrong flag, a wrong configuration).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK    = 0
	exitNo    = 1
	exitStart = 2
)

// Main runs one command. ctx ends it: a server drains then, and 0 is returned.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &commands{out: stdout, err: stderr, getenv: os.Getenv}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var e *exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &e):
		if e.err != nil {
			complain(stderr, e.err)
		}
		return e.code
	}
	complain(stderr, err) // cobra's own: an unknown command or flag
	return exitStart
}

// commands is what the commands share.
type commands struct {
	out, err io.Writer
	getenv   func(string) string
	config   string // --config
}

// exit is an error that knows its code; a nil err has been told already.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

func no(err error) error          { return &exit{exitNo, err} }
func cannotStart(err error) error { return &exit{exitStart, err} }

func complain(w io.Writer, err error) {
	_, _ = fmt.Fprintln(w, "stagedoor: "+strings.TrimPrefix(err.Error(), "stagedoor: "))
}

// printf writes a result. Whoever closed standard output does not want it.
func (c *commands) printf(format string, args ...any) { _, _ = fmt.Fprintf(c.out, format, args...) }

func (c *commands) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "stagedoor",
		Short: "A local proxy that keeps script keys away from Flow Production Tracking tools",
		Long: `Stagedoor is a local reverse proxy for Autodesk Flow Production Tracking.
Tools point their base URL at it and hold no credential; it pulls each script's
key from HashiCorp Vault, checks every call against that script's rules and
rate limit, writes an audit record, and only then sends the call on.

Begin with:  stagedoor demo`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return cannotStart(fmt.Errorf("%w; see: %s --help", err, cmd.CommandPath()))
	})
	root.PersistentFlags().StringVarP(&c.config, "config", "c", "",
		"the configuration `FILE` (default: "+localConfig+" if it is there, else "+systemConfig+")")
	root.AddCommand(c.serve(), c.demo(), c.validate(), c.schema(), c.check(), c.health(), c.audit(), c.policy(),
		c.slow(), c.pause(), c.resume(), c.brakes(), c.version())
	return root
}

// checkDebug refuses a setting of Go's own that prints every call sent over HTTP/2,
// with its key, to standard error.
func (c *commands) checkDebug() error {
	if strings.Contains(c.getenv("GODEBUG"), "http2debug") {
		return errors.New("GODEBUG has http2debug, which would print keys; unset it")
	}
	return nil
}

// Where the configuration is looked for.
const (
	localConfig  = "stagedoor.yaml"
	systemConfig = "/etc/stagedoor/stagedoor.yaml"
)

// configPath is the file that --config names, or the first of the usual places.
func (c *commands) configPath() string {
	if c.config != "" {
		return c.config
	}
	if _, err := os.Stat(localConfig); err == nil {
		return localConfig
	}
	return systemConfig
}
