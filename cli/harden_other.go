//go:build !linux

package cli

// harden has no counterpart here: docs/security.md says what that leaves open.
func harden() {}
