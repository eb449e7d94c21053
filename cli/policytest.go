package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (c *commands) policyTest() *cobra.Command {
	var verbose, asJSON bool
	cmd := &cobra.Command{
		Use:   "test FILE...",
		Short: "Check that fixtures are decided as they expect",
		Long: `Decide the calls of fixtures and compare with what they expect. A file is YAML:

  config: stagedoor.yaml          # beside the file; --config wins
  script: publisher               # of tests that name none
  tests:
    - name: a publish is announced
      call: {method: create, type: Version, fields: [code], project: 122}
      expect: allow
    - name: nothing is deleted
      call: {method: delete, type: Version}
      expect: refuse
      reason: no_rule

docs/policy.md has all of it. Exit code 0 is all as expected, 1 something is not,
2 a file or the configuration could not be read.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return c.testPolicy(args, verbose, asJSON)
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "name the tests that passed, too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// testResult is what became of one fixture.
type testResult struct {
	File    string   `json:"file"`
	Line    int      `json:"line"`
	Name    string   `json:"name"`
	OK      bool     `json:"ok"`
	Call    string   `json:"call,omitempty"`
	Differs []string `json:"differs,omitempty"`
}

func (c *commands) testPolicy(paths []string, verbose, asJSON bool) error {
	results := []testResult{}
	books := map[string]*rulebook{}
	for _, path := range paths {
		config, tests, err := readFixtures(path)
		if err != nil {
			return cannotStart(err)
		}
		if c.config != "" || config == "" {
			config = c.configPath()
		}
		if books[config] == nil {
			if books[config], err = readRulebook(config); err != nil {
				return err
			}
		}
		for _, t := range tests {
			differs, call, err := t.run(books[config])
			if err != nil {
				return cannotStart(fmt.Errorf("%s: %q: %w", t.where(), t.Name, err))
			}
			results = append(results, testResult{t.file, t.line, t.Name, len(differs) == 0, call, differs})
		}
	}
	return c.tellTests(results, verbose, asJSON)
}

func (c *commands) tellTests(results []testResult, verbose, asJSON bool) error {
	failed := 0
	for _, r := range results {
		if !r.OK {
			failed++
		}
		switch {
		case asJSON:
		case !r.OK:
			c.printf("%s:%d: %s\n    call      %s\n    %s\n", r.File, r.Line, r.Name, r.Call, strings.Join(r.Differs, "\n    "))
		case verbose:
			c.printf("ok    %s\n", r.Name)
		}
	}
	passed := len(results) - failed
	switch {
	case asJSON:
		err := c.printJSON(struct {
			OK     bool         `json:"ok"`
			Passed int          `json:"passed"`
			Failed int          `json:"failed"`
			Tests  []testResult `json:"tests"`
		}{failed == 0, passed, failed, results})
		if err != nil {
			return err
		}
	case failed > 0:
		c.printf("%d failed, %d passed\n", failed, passed)
	default:
		c.printf("%d passed\n", passed)
	}
	if failed > 0 {
		return no(nil)
	}
	return nil
}
