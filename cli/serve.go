package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"stagedoor/config"
)

func (c *commands) serve() *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve tools",
		Long: `Serve tools by the configuration until SIGTERM or an interrupt: then calls in
flight are finished (drain: in the configuration bounds how long) and the exit
code is 0. SIGHUP reads the configuration again, all of it or, where it is
wrong, none; it also looks at every key and opens the audit file anew.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.runServe(cmd.Context(), c.configPath(), control)
		},
	}
	cmd.Flags().StringVar(&control, "control", "", "the `PATH` of the socket where brakes are pulled (default: "+controlFile+" in the run-time folder)")
	return cmd
}

func (c *commands) runServe(ctx context.Context, path, control string) error {
	harden()
	if err := c.checkDebug(); err != nil {
		return cannotStart(err)
	}
	// Whoever reads our output may go away; that is for the audit log to notice,
	// and no reason to cut the calls in flight.
	signal.Ignore(syscall.SIGPIPE)
	cfg, err := config.Load(path)
	if err != nil {
		return cannotStart(err)
	}
	logger := newLogger(cfg, c.err)
	for i := range cfg.Warnings {
		logger.WarnContext(ctx, "configuration", slog.String("warning", cfg.Warnings[i].Msg), slog.Int("line", cfg.Warnings[i].Line))
	}
	// Before anything that takes time: a SIGHUP would end the process.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	limitMemory(cfg.MaxBuffered, c.getenv("GOGC") == "")

	health, err := openHealth(ctx, cfg, logger) // first: probes see a start that takes long
	if err != nil {
		return cannotStart(err)
	}
	defer health.close()
	site, err := openSite(cfg)
	if err != nil {
		return cannotStart(err)
	}
	keys, err := openKeys(ctx, cfg, nil, logger)
	if err != nil {
		return cannotStart(err)
	}
	f, err := openFiles(cfg, keys, files{}, c.getenv, logger)
	if err != nil {
		return cannotStart(err)
	}
	s, err := newStack(ctx, cfg, keys, site, f, c.out, logger)
	if err != nil {
		return cannotStart(err)
	}
	if err := c.openControl(ctx, s, control); err != nil {
		return cannotStart(errors.Join(err, s.stop(0)))
	}
	s.start()
	health.watch(s)
	logger.InfoContext(ctx, "serving", slog.String("version", software()), slog.String("site", cfg.Site), slog.Int("scripts", len(cfg.Scripts)))

	for {
		select {
		case <-hup:
			s.reload(ctx, path, c.getenv)
		case err = <-s.failed:
			return no(joinStop(err, s))
		case <-ctx.Done():
			drain := s.config().Drain
			s.drained.Store(true) // readiness is red before anybody reads why
			logger.InfoContext(ctx, "draining", slog.Duration("at_most", drain))
			if err := s.stop(drain); err != nil {
				return no(err)
			}
			logger.InfoContext(ctx, "stopped")
			return nil
		}
	}
}

// memoryBeside is what the process may take beside request bodies, in bytes,
// before garbage is collected more eagerly: figures in bench/README.md.
const memoryBeside = 128 << 20

// gcPercent lets small garbage pile up to twice of what is in use: it saves one
// twentieth of the CPU of a call and costs 4 MiB (bench/README.md).
const gcPercent = 200

// limitMemory has garbage collected late while it is small, and early once it
// is that of large bodies. GOGC and GOMEMLIMIT, where set, stay in force.
func limitMemory(buffered int64, late bool) {
	if late {
		debug.SetGCPercent(gcPercent)
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(buffered + buffered/2 + memoryBeside)
	}
}

func joinStop(err error, s *stack) error {
	if stopErr := s.stop(s.config().Drain); stopErr != nil {
		return fmt.Errorf("%w; and then: %w", err, stopErr)
	}
	return err
}
