package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"stagedoor/admin"
)

// controlFile is the name of the socket where brakes are pulled.
const controlFile = "control.sock"

// defaultBrake is how long a brake holds where --for says nothing.
const defaultBrake = 30 * time.Minute

// controlPath is where the control socket is: where systemd keeps what runs, else
// beside what else is the user's.
func controlPath(getenv func(string) string) (string, error) {
	if dir, _, _ := strings.Cut(getenv("RUNTIME_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return filepath.Join(dir, controlFile), nil
	}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "stagedoor", controlFile), nil
	}
	state, err := stateFile(getenv)
	if err != nil {
		return "", errors.New("none of RUNTIME_DIRECTORY, XDG_RUNTIME_DIR, XDG_STATE_HOME and HOME is set to a folder")
	}
	return filepath.Join(filepath.Dir(state), controlFile), nil
}

// brakeFlags are those of slow, pause and resume.
type brakeFlags struct {
	control string
	caller  bool
	to, why string
	lasting time.Duration
}

const brakeHelp = `
NAME is a script of the configuration; with --caller it is a caller as the audit
log names it. The running proxy is asked by its control socket, which only its
user and root can open. With limits.fleet in the configuration the whole fleet
obeys within 2 seconds, else this proxy alone; the answer says which. A brake
ends by itself after --for.`

func (c *commands) slow() *cobra.Command {
	f := brakeFlags{}
	cmd := &cobra.Command{
		Use: "slow NAME --to RATE --why TEXT", Short: "Slow a script or a caller down for a while",
		Example: `  stagedoor slow farm-publisher --to 1/s --for 30m --why "site slow"`,
		Long:    "Let no more calls of NAME through than --to says, for a while." + brakeHelp, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rate, err := brakeRate(f.to)
			if err != nil {
				return cannotStart(err)
			}
			return c.brake(cmd.Context(), &f, args[0], rate)
		},
	}
	c.brakeFlags(cmd, &f)
	cmd.Flags().StringVar(&f.to, "to", "1/s", "the `RATE` that is left, as 1/s or 10/m")
	return cmd
}

func (c *commands) pause() *cobra.Command {
	f := brakeFlags{}
	cmd := &cobra.Command{
		Use: "pause NAME --why TEXT", Short: "Let no call of a script or a caller through for a while",
		Example: `  stagedoor pause farm-publisher --for 10m --why "site restore"`,
		Long:    "Refuse every call of NAME, for a while." + brakeHelp, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.brake(cmd.Context(), &f, args[0], 0) },
	}
	c.brakeFlags(cmd, &f)
	return cmd
}

func (c *commands) resume() *cobra.Command {
	f := brakeFlags{}
	cmd := &cobra.Command{
		Use: "resume NAME", Short: "Take a brake away", Args: cobra.ExactArgs(1),
		Long: "Let the calls of NAME through again as configured." + brakeHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.askControl(cmd.Context(), f.control, url.Values{"scope": {f.scope()}, "name": {args[0]}, "lift": {""}})
		},
	}
	c.controlFlags(cmd, &f)
	return cmd
}

func (c *commands) brakes() *cobra.Command {
	f := brakeFlags{}
	var asJSON bool
	cmd := &cobra.Command{
		Use: "brakes", Short: "Show the brakes that are in force", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.listBrakes(cmd.Context(), f.control, asJSON) },
	}
	cmd.Flags().StringVar(&f.control, "control", "", "the control socket's `PATH`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (c *commands) controlFlags(cmd *cobra.Command, f *brakeFlags) {
	cmd.Flags().StringVar(&f.control, "control", "", "the control socket's `PATH`")
	cmd.Flags().BoolVar(&f.caller, "caller", false, "NAME is a caller, not a script")
}

func (c *commands) brakeFlags(cmd *cobra.Command, f *brakeFlags) {
	c.controlFlags(cmd, f)
	cmd.Flags().DurationVar(&f.lasting, "for", defaultBrake, "how long it holds, at most "+admin.MaxBrakeTime.String())
	cmd.Flags().StringVar(&f.why, "why", "", "the reason, which refusals repeat")
}

func (f *brakeFlags) scope() string {
	if f.caller {
		return "caller"
	}
	return "script"
}

// brakeRate reads 1/s, 30/m or 100/h.
func brakeRate(s string) (float64, error) {
	n, unit, ok := strings.Cut(s, "/")
	per := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	rate, err := strconv.ParseFloat(n, 64)
	if !ok || per == 0 || err != nil || !(rate > 0) {
		return 0, fmt.Errorf("--to %s is no rate; write 1/s, 10/m or 100/h, or use: stagedoor pause", s)
	}
	return rate / per, nil
}

func (c *commands) brake(ctx context.Context, f *brakeFlags, name string, rate float64) error {
	if f.why == "" {
		return cannotStart(errors.New("--why is missing: those who are slowed read it"))
	}
	by := c.getenv("SUDO_USER")
	if by == "" {
		by = c.getenv("USER")
	}
	return c.askControl(ctx, f.control, url.Values{
		"scope": {f.scope()}, "name": {name}, "rate": {strconv.FormatFloat(rate, 'g', -1, 64)},
		"for": {f.lasting.String()}, "why": {f.why}, "by": {by},
	})
}

func (c *commands) control(path string) (string, error) {
	if path != "" {
		return path, nil
	}
	path, err := controlPath(c.getenv)
	if err != nil {
		return "", cannotStart(fmt.Errorf("where the control socket is can't be told: %w; name it with --control", err))
	}
	if _, err := os.Stat(path); err != nil { // a service's own is the usual one
		if _, err := os.Stat(systemControl); err == nil {
			return systemControl, nil
		}
	}
	return path, nil
}

// systemControl is where the socket of a service under systemd is.
const systemControl = "/run/stagedoor/" + controlFile

func (c *commands) askControl(ctx context.Context, path string, form url.Values) error {
	path, err := c.control(path)
	if err != nil {
		return err
	}
	out, err := admin.AskControl(ctx, path, form)
	if err != nil {
		return no(err)
	}
	c.printf("%s", out)
	return nil
}

func (c *commands) listBrakes(ctx context.Context, path string, asJSON bool) error {
	path, err := c.control(path)
	if err != nil {
		return err
	}
	out, err := admin.AskControl(ctx, path, nil)
	if err != nil {
		return no(err)
	}
	if asJSON {
		c.printf("%s\n", out)
		return nil
	}
	var list []admin.Brake
	if err := json.Unmarshal(out, &list); err != nil {
		return no(fmt.Errorf("reading the control socket's answer: %w", err))
	}
	if len(list) == 0 {
		c.printf("no brake is in force\n")
		return nil
	}
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SCOPE\tNAME\tBRAKE\tUNTIL\tBY\tWHY")
	for i := range list {
		b := &list[i]
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", b.Scope, b.Name, b.Speed(), b.Until.Local().Format(time.DateTime), b.By, b.Why)
	}
	_ = w.Flush() // whoever closed standard output does not want it
	return nil
}
