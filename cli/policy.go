package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stagedoor/config"
	"stagedoor/flow"
	"stagedoor/policy"
	"stagedoor/schema"
)

// The policy commands decide as serve does, by the same parser and the same
// policy, and touch neither the network nor a key. Their exit codes: 0 is yes,
// 1 is no, 2 is "can't tell" or a wrong argument.

func (c *commands) policy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Ask the rules, test them, and learn them from an audit log",
		Long: `Ask what the rules of a configuration say, without starting anything. Nothing
here needs the network or a key.

  stagedoor policy explain 01KB2M7Q...         one call: what becomes of it, and why
  stagedoor policy explain --script NAME --login LOGIN 'curl -d ... URL'
  stagedoor policy test -v docs/studio/policy.test.yaml
  stagedoor policy learn NAME --from 'audit.jsonl*' --min-calls 3 --write stagedoor.yaml
  stagedoor policy replay --from audit.jsonl.1 --config new.yaml
  stagedoor policy diff --json old.yaml new.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.policyExplain(), c.policyTest(), c.policyLearn(), c.policyReplay(), c.policyDiff())
	return cmd
}

// rulebook is a configuration as these commands use it.
type rulebook struct {
	path    string
	cfg     *config.Config
	types   *flow.Types
	scripts map[string]*bookScript
}

// bookScript is one script with its rules ready to decide with.
type bookScript struct {
	*config.Script
	policy *policy.Script
	both   *doubles // see doubles
}

// rulebook reads the configuration that --config names. A configuration that
// is wrong can't be asked.
func (c *commands) rulebook() (*rulebook, error) { return readRulebook(c.configPath()) }

func readRulebook(path string) (*rulebook, error) {
	cfg, err := config.Inspect(path)
	if err != nil {
		if ds, ok := errors.AsType[config.Errors](err); ok {
			return nil, cannotStart(fmt.Errorf("%s; see: stagedoor validate -c %s", firstError(ds), path))
		}
		return nil, cannotStart(err)
	}
	return newRulebook(path, cfg), nil
}

func newRulebook(path string, cfg *config.Config) *rulebook {
	b := &rulebook{path: path, cfg: cfg, types: flow.NewTypes(namedTypes(cfg)...), scripts: map[string]*bookScript{}}
	for i := range cfg.Scripts {
		s := &cfg.Scripts[i]
		b.scripts[s.Name] = &bookScript{Script: s, policy: policyOf(s)}
	}
	return b
}

// fields counts the fields of a type, where there is a snapshot of the schema
// that knows it.
func (b *rulebook) fields(typ string) (n int, ok bool) {
	s, err := schema.Read(b.cfg.SchemaPath(b.path))
	if err != nil {
		return 0, false // without one, the answer says less
	}
	t, ok := s.Types[typ]
	return len(t.Fields), ok
}

// names lists the scripts in the order of the file.
func (b *rulebook) names() []string { return scriptNames(b.cfg) }

// script finds the script that is meant: by name, by the name that the call
// gives, or the only one there is.
func (b *rulebook) script(name, sent string) (*bookScript, error) {
	switch {
	case name != "":
	case b.scripts[sent] != nil || sent != "" && len(b.scripts) > 1:
		name = sent
	case len(b.scripts) == 1:
		name = b.cfg.Scripts[0].Name
	default:
		return nil, cannotStart(fmt.Errorf("the call names no script, and %s has several; say --script NAME, one of: %s", b.path, strings.Join(b.names(), ", ")))
	}
	if s := b.scripts[name]; s != nil {
		return s, nil
	}
	return nil, cannotStart(fmt.Errorf("%s has no script %q; it has: %s", b.path, name, strings.Join(b.names(), ", ")))
}

// observed says whether the script is in observe mode at a time.
func (s *bookScript) observed(now time.Time) bool {
	return s.Observe && (s.ObserveEnd.IsZero() || now.Before(s.ObserveEnd))
}

// rule finds the rule that stands at a place, for its text.
func (s *bookScript) rule(where string) (*policy.Rule, bool) {
	for _, rules := range [][]policy.Rule{s.Allow, s.Deny} {
		if i := slices.IndexFunc(rules, func(r policy.Rule) bool { return r.Where() == where }); i >= 0 {
			return &rules[i], true
		}
	}
	return nil, false
}

// firstError is the first thing that makes a configuration none, in one line.
func firstError(ds []config.Diagnostic) string {
	for i := range ds {
		if ds[i].Severity == config.Error {
			return firstLine(ds[i].Format())
		}
	}
	return firstLine(config.Format(ds))
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// thousands writes a number as 41 208.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// many is "1 call", "2 calls".
func many(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return thousands(n) + " " + word + "s"
}

// printJSON writes a result for a program, in one line.
func (c *commands) printJSON(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return cannotStart(fmt.Errorf("writing the result: %w", err))
	}
	return nil
}
