package cli

import "stagedoor/config"

// Fixed says what a reload may not change.
func Fixed(old, next *config.Config) error { return fixed(old, next) }

// CoversLoopback reads no_proxy.
func CoversLoopback(noProxy string) bool { return coversLoopback(noProxy) }

// Harmless finds the read that check sends for a script.
func Harmless(s *config.Script) (typ, field string, ok bool) { return harmless(s) }
