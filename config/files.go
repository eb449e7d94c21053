package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Bounds of handles.
const (
	minHandleTTL = 10 * time.Minute // not below what a token of the site lives
	maxHandleTTL = 8760 * time.Hour // a year
)

// handles reads where the key of handles is: one place, or none, which is left
// to whoever serves.
func (r *reading) handles(n *node) {
	h := &r.cfg.Handles
	var file, vault, memory *node
	ok := r.object(n, "handles", []field{
		{"file", func(v *node) { file = v; r.path(&h.File)(v) }, ""},
		{"vault", func(v *node) { vault = v; r.handleVault(h, v) }, ""},
		{"memory", func(v *node) { memory = v; r.boolean(&h.Memory)(v) }, ""},
		{"ttl", r.duration(&h.TTL, minHandleTTL, maxHandleTTL), ""},
	})
	var places []*node
	for _, v := range []*node{file, vault, memory} {
		if v != nil && (v != memory || h.Memory) {
			places = append(places, v)
		}
	}
	if ok && len(places) > 1 {
		r.error(places[1].key.place, "handles have one key", "keep one of file, vault, memory")
	}
	if len(places) > 0 {
		r.seen.handles = places[0]
	}
	r.seen.handleVault = vault
}

// handleVault reads PATH#FIELD.
func (r *reading) handleVault(h *Handles, n *node) {
	r.vaultRef(&h.Vault, &h.VaultField)(n)
	if h.Vault != "" && h.VaultField == "" {
		r.value(n, quoted(n)+" names no field", "write PATH#FIELD, for example "+h.Vault+"#handle_key")
	}
}

// handleKey checks that the key of handles is no script's: whoever can make
// handles would hold what they are there to keep.
func (r *reading) handleKey() {
	h := &r.cfg.Handles
	for i := range r.cfg.Scripts {
		s := &r.cfg.Scripts[i]
		if h.File != "" && h.File == s.File || h.Vault != "" && h.Vault == s.Active && h.VaultField == s.KeyField {
			r.value(r.seen.handles, "this is the key of "+s.Name, "handles want a key of their own")
		}
	}
}

// storage reads what is done with links to storage.
func (r *reading) storage(n *node) {
	s := &r.cfg.Storage
	ok := r.object(n, "storage", []field{
		{"relay", r.boolean(&s.Relay), ""},
		{"hosts", r.texts(&s.Hosts, r.storageHost), ""},
		{"ca", r.path(&s.CA), ""},
	})
	switch hosts := n.field("hosts"); {
	case !ok:
	case s.Relay && hosts == nil:
		r.error(n.key.place, "storage relay wants the hosts that links may lead to", "add hosts: [BUCKET.s3-accelerate.amazonaws.com], as it stands in the site's links")
	case !s.Relay && len(n.fields) > 0 && (hosts != nil || s.CA != ""):
		r.warn(n.key.place, "storage is not relayed: this section is not used", "add relay: true, or remove it")
	}
}

// storageHost reads host, host:port or *.suffix.
func (r *reading) storageHost(dst *string) reader {
	return func(n *node) {
		var s string
		if r.text(&s)(n); s == "" {
			return
		}
		s = strings.TrimSuffix(strings.ToLower(s), ":443")
		if suffix, ok := strings.CutPrefix(s, "*."); ok {
			_, err := netip.ParseAddr(suffix)
			if !validHost(suffix) || err == nil || !strings.Contains(suffix, ".") {
				r.value(n, quoted(n)+" is no pattern for hosts", "a star stands for one label, before at least two: *.s3-accelerate.amazonaws.com")
				return
			}
			r.warn(n.place, quoted(n)+" covers every bucket of that service, other people's too", "name the bucket's own host, as it stands in the site's links")
			*dst = s
			return
		}
		if strings.Contains(s, "/") {
			r.value(n, quoted(n)+" says more than a host", "write HOST or HOST:PORT; links are https")
			return
		}
		u, ok := r.url(n, "https://"+s, "HOST, HOST:PORT or *.DOMAIN")
		if !ok {
			return
		}
		*dst = u.Host
	}
}

// storageSite refuses the site itself among the hosts: what is there is fetched
// and sent with a credential, by its own rules.
func (r *reading) storageSite() {
	s, site := &r.cfg.Storage, strings.TrimPrefix(r.cfg.Site, "https://")
	hosts := r.seen.top.field("storage")
	if hosts == nil || site == "" || !s.Covers(site) {
		return
	}
	at := hosts.key.place
	if f := hosts.field("hosts"); f != nil {
		at = f.key.place
	}
	r.error(at, fmt.Sprintf("hosts: %s is the site itself, no storage of files", site), "remove it, or name storage more closely")
}
