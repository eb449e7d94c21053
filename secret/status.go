package secret

import "time"

// States of a key, as [KeyStatus] gives them.
const (
	// KeyFresh: the source confirmed it when it was last asked.
	KeyFresh = "fresh"
	// KeyStale: the source could not be asked; the key is in use still.
	KeyStale = "stale"
	// KeyMissing: there is no key, or none that can be used.
	KeyMissing = "missing"
	// KeyDenied: the source refuses to give it.
	KeyDenied = "denied"
	// KeyExpired: the source could not be asked for too long; not in use.
	KeyExpired = "expired"
)

// KeyStatus is what an operator may see of one script's key.
type KeyStatus struct {
	// Script is its name in the configuration, SiteName the one on the site;
	// "" where there is no key.
	Script, SiteName string
	// Version as in [Credential].
	Version string
	// State is one of the Key constants.
	State string
	// Age is the time since the source last confirmed the key; negative is never.
	Age time.Duration
	// CreatedAt is when this version was written; zero when unknown.
	CreatedAt time.Time
	// Why says what is wrong and what to do; "" for a fresh key.
	Why string
}

// Usable says whether calls are served with the key.
func (k *KeyStatus) Usable() bool { return k.State == KeyFresh || k.State == KeyStale }
