package cli

import (
	"stagedoor/config"
	"stagedoor/flow"
	"stagedoor/policy"
)

// Fixed says what a reload may not change.
func Fixed(old, next *config.Config) error { return fixed(old, next) }

// CoversLoopback reads no_proxy.
func CoversLoopback(noProxy string) bool { return coversLoopback(noProxy) }

// Harmless finds the read that check sends for a script.
func Harmless(s *config.Script) (typ, field string, ok bool) { return harmless(s) }

// NeedCall is a call that needs one thing.
func NeedCall(n policy.Need) *flow.Call { return needCall(n) }

// Gives says whether rules give a need.
func Gives(rules []policy.Rule, n policy.Need) bool { return gives(rules, n) }

// RulesFor are the smallest rules that give needs.
func RulesFor(needs []policy.Need) []policy.Rule { return rulesFor(needs) }

// RuleYAML writes a rule.
func RuleYAML(r *policy.Rule) string { return ruleYAML(r) }

// InsertRules puts rules into a configuration.
func InsertRules(text []byte, script string, blocks []string, flow string) ([]byte, error) {
	return insertRules(text, script, blocks, flow)
}

// Diff says what two configurations say differently.
func Diff(was, is *config.Config) []string {
	var out []string
	for _, d := range diffBooks(newRulebook("old", was), newRulebook("new", is)) {
		out = append(out, d.line())
	}
	return out
}
