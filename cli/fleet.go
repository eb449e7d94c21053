package cli

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"stagedoor/config"
	"stagedoor/fleet"
	"stagedoor/internal/trust"
	"stagedoor/secret"
)

// maxPassword bounds the file with the password of Redis in bytes.
const maxPassword = 4 << 10

// openFleet is where budgets are shared; nil where the configuration names none.
// Redis may be away: then this proxy lives by its share until it comes back.
// The password is asked for at each connection, so that a new one is used at once.
func (s *stack) openFleet(cfg *config.Config) (*fleet.Fleet, error) {
	c := cfg.Limits.Fleet
	if c == nil {
		return nil, nil //nolint:nilnil // nil is a proxy alone
	}
	roots, err := roots(c.CA)
	if err != nil {
		return nil, fmt.Errorf("limits.fleet.ca: %w", err)
	}
	node, err := os.Hostname()
	if err != nil {
		node = "" // no more than a name in Redis's list
	}
	o := fleet.Options{
		URL: c.Redis, Roots: roots, User: c.User, Prefix: c.Prefix, Share: c.Share, Lease: c.Lease,
		Node: node, OnBrakes: s.budgets.brakes.heard, Logger: s.logger, Now: time.Now,
	}
	if c.Password != "" || c.PasswordFile != "" {
		o.Password = func() (secret.Value, error) { return s.password(c) }
	}
	f, err := fleet.Open(o)
	if err != nil {
		return nil, fmt.Errorf("limits.fleet: %w", err)
	}
	return f, nil
}

// sameFleet says whether a reload leaves the way to Redis as it is.
func sameFleet(a, b *config.Config) bool { return reflect.DeepEqual(a.Limits.Fleet, b.Limits.Fleet) }

// password is the password of Redis, by the keys in force.
func (s *stack) password(c *config.Fleet) (secret.Value, error) {
	if c.PasswordFile == "" {
		return s.keys().Password()
	}
	text, err := trust.Read(c.PasswordFile, maxPassword)
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the password of Redis: %w", err)
	}
	return secret.FromString(strings.TrimRight(string(text), "\r\n")), nil
}

// fleetNote says for a probe how the shared budgets are.
func fleetNote(f *fleet.Fleet) string {
	st := f.Status()
	if st.Connected {
		note := "budgets are shared through Redis"
		if st.BrakesErr != "" {
			note += "; some of the brakes there can't be read: " + st.BrakesErr
		}
		return note
	}
	note := fmt.Sprintf("budgets are NOT shared, this proxy lives by its share (1/%.0f) since %s", 1/st.Share, st.Since.UTC().Format(time.RFC3339))
	if st.Err != "" {
		note += ": " + st.Err
	}
	return note
}
