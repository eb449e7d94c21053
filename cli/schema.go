package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stagedoor/config"
	"stagedoor/policy"
	"stagedoor/schema"
)

const (
	// pullTime bounds one call of schema pull: the site takes its time to list
	// every field of every type.
	pullTime = 5 * time.Minute
	// maxChanges is how many changes of the schema are printed.
	maxChanges = 200
	// pullRule is the place that the audit record of the call names: the rule is
	// this command's, not the configuration's.
	pullRule = "stagedoor schema pull"
)

// snapshot remembers what the configuration's rules were held against.
type snapshot struct{ *schema.Snapshot }

func (s *snapshot) open(path string) (_ *schema.Snapshot, err error) {
	s.Snapshot, err = schema.Read(path)
	return s.Snapshot, err
}

func (c *commands) schema() *cobra.Command {
	var script, output string
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Keep a snapshot of the site's schema, so that validate knows misspelt fields",
		Long: `Keep a snapshot of the site's schema beside the configuration. It holds names
of types and fields and what kind they are, no values; validate and check hold the rules
against it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&script, "script", "", "ask with the key of this `NAME` (default: the first of the configuration)")
	cmd.PersistentFlags().StringVarP(&output, "output", "o", "", "write to this `FILE` (default: what schema: names, else "+config.SchemaName+" beside the configuration)")
	cmd.AddCommand(&cobra.Command{
		Use:   "pull",
		Short: "Ask the site for its schema, and say what changed",
		Long: `Ask the site for its schema once, with a script's key, and write what it says
of types and fields. What changed since the last time is printed. The call needs
no rule, and leaves an audit record as check's do.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.pullSchema(cmd.Context(), script, output)
		},
	})
	return cmd
}

func (c *commands) pullSchema(ctx context.Context, script, output string) error {
	harden()
	if err := c.checkDebug(); err != nil {
		return cannotStart(err)
	}
	path := c.configPath()
	cfg, err := config.Load(path)
	if err != nil {
		return cannotStart(err)
	}
	own, err := pullConfig(cfg, script)
	if err != nil {
		return cannotStart(err)
	}
	if output == "" {
		output = cfg.SchemaPath(path)
	}
	before, err := schema.Read(output)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return no(fmt.Errorf("%w; remove it first", err)) // it may be no snapshot, and somebody's
	}
	now, err := c.askSchema(ctx, own)
	if err != nil {
		return no(err)
	}
	if err := now.Write(output); err != nil {
		return no(err)
	}
	c.printChanges(output, before, now)
	return nil
}

// pullConfig is cfg with one script, which may ask for the schema and nothing
// else.
func pullConfig(cfg *config.Config, script string) (*config.Config, error) {
	names := scriptNames(cfg)
	i := 0
	if script != "" {
		if i = slices.Index(names, script); i < 0 {
			return nil, fmt.Errorf("there is no script %s; the configuration has %s", script, strings.Join(names, ", "))
		}
	}
	only := *cfg
	s := cfg.Scripts[i]
	s.Allow = []policy.Rule{{Verb: "schema", Targets: []policy.Target{{Type: "*"}}, File: pullRule, Line: 1}}
	s.Deny, s.Roles, s.SudoAsLogin, s.SudoCaller, s.Observe = nil, nil, nil, false, false
	s.Limit.Fleet, s.Limit.Kinds = 0, nil
	only.Scripts = []config.Script{s}
	only.Limits.Site.Rate, only.Limits.Fleet = 0, nil // one call needs no share of the fleet's budgets
	only.Handles.Vault = ""
	if s.Active == "" {
		only.Vault, only.Login = nil, nil
	}
	return checkConfig(&only), nil
}

// askSchema sends one schema_read through a stack of its own, as check does.
func (c *commands) askSchema(ctx context.Context, own *config.Config) (_ *schema.Snapshot, err error) {
	logger := slog.New(slog.DiscardHandler)
	site, err := openSite(own)
	if err != nil {
		return nil, err
	}
	keys, err := openKeys(ctx, own, nil, logger)
	if err != nil {
		site.Close()
		return nil, err
	}
	f, err := openFiles(own, keys, files{}, c.getenv, logger)
	if err != nil {
		keys.Close()
		site.Close()
		return nil, err
	}
	s, err := newStack(ctx, own, keys, site, f, c.err, logger)
	if err != nil {
		return nil, err
	}
	s.start()
	defer func() { err = errors.Join(err, s.stop(checkTime)) }()
	name := own.Scripts[0].Name
	for _, k := range keys.Keys() {
		if !k.Usable() {
			return nil, fmt.Errorf("there is no key for %s: %s", name, k.Why)
		}
	}
	return pulled(ctx, s.address("check "+name), own.Site)
}

// pulled asks for the schema at addr.
func pulled(ctx context.Context, addr netip.AddrPort, site string) (*schema.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, pullTime)
	defer cancel()
	a, err := postUpTo(ctx, addr, `{"method_name":"schema_read","params":[{"script_name":"x","script_key":"x"}]}`, schema.MaxFile)
	if err == nil {
		err = a.problem()
	}
	if err != nil {
		return nil, fmt.Errorf("asking %s for its schema: %w", site, err)
	}
	return schema.FromAPI3(site, time.Now(), a.body.Results)
}

func (c *commands) printChanges(path string, before, now *schema.Snapshot) {
	fields := 0
	for _, t := range now.Types {
		fields += len(t.Fields)
	}
	what := "written"
	if before != nil {
		changes := now.Changes(before)
		for _, d := range changes[:min(len(changes), maxChanges)] {
			c.printf("%s\n", d)
		}
		if more := len(changes) - maxChanges; more > 0 {
			c.printf("and %d more\n", more)
		}
		what = "nothing changed since " + before.Pulled.Format(time.DateOnly)
		if len(changes) > 0 {
			what = plural(len(changes), "change") + " since " + before.Pulled.Format(time.DateOnly)
		}
		if before.Site != now.Site {
			what += ", which was of " + before.Site
		}
	}
	c.printf("%s: %s, %s of %s; %s\n", path, plural(len(now.Types), "type"), plural(fields, "field"), now.Site, what)
}
