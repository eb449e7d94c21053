package policy_test

import (
	"strings"
	"testing"

	"stagedoor/config"
	"stagedoor/policy"
)

// maxPastes is how many suggestions somebody follows for one call: one for each
// reason, and one for each way to be shown to lie in a project.
const maxPastes = 6

// TestSuggestionsLeadToTheCall: whoever pastes what a refusal offers, and what
// the next one offers, ends at an allowed call, or at a deny rule. The lines are
// read by the parser of the configuration.
func TestSuggestionsLeadToTheCall(t *testing.T) {
	t.Parallel()
	d := newDice(t, 7)
	ends := map[string]int{}
	for range rounds(6_000) {
		raw := d.script()
		c := d.call()
		v := policy.Compile(raw).Decide(policy.Query{Call: c})
		first, pasted := v, []string{}
		for len(pasted) < maxPastes && !v.Allow && v.Suggest != "" {
			pasted = append(pasted, v.Suggest)
			more := pastedRules(t, v.Suggest)
			if strings.Contains(v.Suggest, "# or where the file is for") {
				v.Allow = true
				break
			}
			raw.Rules = append(raw.Rules, more...)
			v = policy.Compile(raw).Decide(policy.Query{Call: c})
		}
		switch {
		case v.Allow:
			ends["allowed after "+string(first.Reason)]++
		case v.Suggest != "":
			t.Fatalf("%d suggestions do not help:\n%s\nrules %v\ndeny %v\ncall %+v\nat first %+v\nat last %+v", len(pasted), strings.Join(pasted, "\n"), shownRules(raw.Rules), shownRules(raw.Deny), *c, first, v)
		case v.Reason == policy.Denied, v.Reason == policy.NoRule && strings.Contains(v.What, " denies "), v.Reason == policy.Project && len(raw.Deny) > 0, v.Reason == policy.Unmet && len(raw.Deny) > 0,
			v.Reason == policy.Rows && len(raw.Deny) > 0, v.Reason == policy.Batch && len(raw.Deny) > 0:
			ends["denied"]++
		case c.Method == "unknown" || c.Method == "download" && len(c.Touches) == 0:
			ends["never"]++
		default:
			t.Fatalf("nothing is offered\nrules %v\ndeny %v\ncall %+v\n%+v", shownRules(raw.Rules), shownRules(raw.Deny), *c, v)
		}
	}
	for _, k := range []string{"allowed after no_rule", "allowed after project", "allowed after rows", "allowed after condition", "denied"} {
		if ends[k] == 0 && rounds(1000) == 1000 {
			t.Errorf("no call is %s: %v", k, ends)
		}
	}
}

// pastedRules reads a suggestion as a file has it.
func pastedRules(t *testing.T, lines string) []policy.Rule {
	t.Helper()
	text := "version: 1\nsite: https://acme.shotgrid.autodesk.com\nlisten: 127.0.0.1:8470\nidentity: none\n" +
		"vault: {address: https://vault.acme.lan:8200}\nlogin: {token_file: /run/vault/token}\nscripts:\n  tool:\n    active: flow/tool\n    allow:\n    " +
		strings.ReplaceAll(lines, "\n", "\n    ") + "\n"
	c, ds := config.Parse("stagedoor.yaml", []byte(text))
	if c == nil {
		t.Fatalf("%s\n%s", lines, config.Format(ds))
	}
	return c.Scripts[0].Allow
}
