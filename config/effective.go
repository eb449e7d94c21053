package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"stagedoor/policy"
)

// Effective is the configuration as YAML with every value written out, those
// that are the default marked. [Parse] reads it back to an equal Config, but for
// the lines that rules and scripts stand in, and warnings.
func (c *Config) Effective() []byte {
	w := &writer{}
	w.line(0, "version", "1", false)
	w.text(0, "site", c.Site)
	w.text(0, "site_ca", c.SiteCA)
	w.text(0, "contact", c.Contact)
	w.open(0, "listen")
	for i := range c.Listeners {
		w.listener(c, &c.Listeners[i])
	}
	if c.Vault != nil {
		w.vault(c.Vault)
	}
	if c.Login != nil {
		w.login(c.Login)
	}
	w.line(0, "max_body", showSize(c.MaxBody), c.MaxBody == DefaultMaxBody)
	w.line(0, "max_depth", strconv.Itoa(c.MaxDepth), c.MaxDepth == DefaultMaxDepth)
	w.line(0, "max_buffered", showSize(c.MaxBuffered), c.MaxBuffered == DefaultMaxBuffered)
	w.line(0, "max_connections", strconv.Itoa(c.MaxConnections), c.MaxConnections == DefaultMaxConnections)
	w.handles(&c.Handles)
	w.storage(&c.Storage)
	w.upstream(&c.Upstream)
	w.audit(&c.Audit)
	w.admin(&c.Admin)
	w.line(0, "drain", showDuration(c.Drain), c.Drain == DefaultDrain)
	w.open(0, "log")
	w.line(1, "level", c.Log.Level, c.Log.Level == DefaultLogLevel)
	w.line(1, "format", c.Log.Format, c.Log.Format == DefaultLogFormat)
	w.open(0, "scripts")
	for i := range c.Scripts {
		w.script(c, &c.Scripts[i])
	}
	return []byte(w.String())
}

type writer struct{ strings.Builder }

func (w *writer) printf(format string, args ...any) {
	fmt.Fprintf(&w.Builder, format, args...)
}

func (w *writer) open(depth int, name string) {
	w.printf("%s%s:\n", strings.Repeat("  ", depth), name)
}

func (w *writer) line(depth int, name, value string, isDefault bool) {
	mark := ""
	if isDefault {
		mark = "  # default"
	}
	w.printf("%s%s: %s%s\n", strings.Repeat("  ", depth), name, value, mark)
}

// text writes a text that may be left out.
func (w *writer) text(depth int, name, value string) {
	if value != "" {
		w.line(depth, name, quote(value), false)
	}
}

// quote leaves the quotes away where nobody could misread the text.
func quote(s string) string {
	plain := regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./*-]*(://[A-Za-z0-9_.:-]*)?$`)
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
	default:
		if plain.MatchString(s) && !strings.HasSuffix(s, ":") {
			return s
		}
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func quoteAll(ss []string) string {
	out := make([]string, len(ss))
	for i, s := range ss {
		out[i] = quote(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func (w *writer) listener(c *Config, l *Listener) {
	w.printf("  - address: %s\n", quote(l.Address))
	if l.Name != l.Address {
		w.text(2, "name", l.Name)
	}
	w.text(2, "identity", l.Identity)
	w.line(2, "shared", strconv.FormatBool(l.Shared), !l.Shared)
	w.line(2, "scripts", quoteAll(l.Scripts), len(l.Scripts) == len(c.Scripts))
	w.text(2, "default_script", l.DefaultScript)
	if len(l.Hosts) > 0 {
		w.line(2, "hosts", quoteAll(l.Hosts), false)
	}
	w.line(2, "keepalive", onOff(l.KeepAlive), l.KeepAlive)
	w.line(2, "allow_remote", strconv.FormatBool(l.AllowRemote), !l.AllowRemote)
}

func (w *writer) vault(v *Vault) {
	w.open(0, "vault")
	w.text(1, "address", v.Address)
	w.text(1, "ca", v.CA)
	w.text(1, "namespace", v.Namespace)
	w.line(1, "mount", quote(v.Mount), v.Mount == DefaultMount)
	version := "auto"
	if v.KVVersion != 0 {
		version = strconv.Itoa(v.KVVersion)
	}
	w.line(1, "kv_version", version, v.KVVersion == 0)
	w.line(1, "refresh", showDuration(v.Refresh), v.Refresh == DefaultRefresh)
	w.line(1, "max_stale", showDuration(v.MaxStale), v.MaxStale == DefaultMaxStale)
	w.line(1, "timeout", showDuration(v.Timeout), v.Timeout == DefaultTimeout)
}

func (w *writer) login(l *Login) {
	w.open(0, "login")
	w.text(1, "token_file", l.TokenFile)
	if a := l.AppRole; a != nil {
		w.open(1, "approle")
		w.text(2, "role_id", a.RoleID)
		w.text(2, "role_id_file", a.RoleIDFile)
		w.text(2, "secret_id_file", a.SecretIDFile)
		w.line(2, "wrapped", strconv.FormatBool(a.Wrapped), !a.Wrapped)
		w.line(2, "mount", quote(a.Mount), a.Mount == DefaultAppRoleMount)
	}
	if k := l.Kubernetes; k != nil {
		w.open(1, "kubernetes")
		w.text(2, "role", k.Role)
		w.line(2, "token_file", quote(k.TokenFile), k.TokenFile == DefaultKubernetesToken)
		w.line(2, "mount", quote(k.Mount), k.Mount == DefaultKubernetesMount)
	}
}

func (w *writer) handles(h *Handles) {
	w.open(0, "handles")
	w.text(1, "file", h.File)
	if h.Vault != "" {
		w.text(1, "vault", h.Vault+"#"+h.VaultField)
	}
	w.line(1, "memory", strconv.FormatBool(h.Memory), !h.Memory)
	w.line(1, "ttl", showDuration(h.TTL), h.TTL == DefaultHandleTTL)
}

func (w *writer) storage(s *Storage) {
	w.open(0, "storage")
	w.line(1, "relay", strconv.FormatBool(s.Relay), !s.Relay)
	if len(s.Hosts) > 0 {
		w.line(1, "hosts", quoteAll(s.Hosts), false)
	}
	w.text(1, "ca", s.CA)
}

func (w *writer) upstream(u *Upstream) {
	w.open(0, "upstream")
	w.text(1, "proxy", u.Proxy)
	w.line(1, "connect_timeout", showDuration(u.ConnectTimeout), u.ConnectTimeout == DefaultConnectTimeout)
	w.line(1, "tls_timeout", showDuration(u.TLSTimeout), u.TLSTimeout == DefaultTLSTimeout)
	w.line(1, "header_timeout", showDuration(u.HeaderTimeout), u.HeaderTimeout == DefaultHeaderTimeout)
	w.line(1, "body_timeout", showDuration(u.BodyTimeout), u.BodyTimeout == DefaultBodyTimeout)
	w.line(1, "idle", showDuration(u.Idle), u.Idle == DefaultIdle)
	w.line(1, "max_idle", strconv.Itoa(u.MaxIdle), u.MaxIdle == DefaultMaxIdle)
	http2 := "auto"
	if !u.HTTP2 {
		http2 = "off"
	}
	w.line(1, "http2", http2, u.HTTP2)
}

func (w *writer) audit(a *Audit) {
	if a.File == "" {
		w.line(0, "audit", "stdout", true)
		return
	}
	w.open(0, "audit")
	w.text(1, "file", a.File)
	w.line(1, "max_size", showSize(a.MaxSize), a.MaxSize == DefaultAuditMaxSize)
	w.line(1, "keep", strconv.Itoa(a.Keep), a.Keep == DefaultAuditKeep)
	w.line(1, "min_free", showSize(a.MinFree), a.MinFree == DefaultAuditMinFree)
}

func (w *writer) admin(a *Admin) {
	if a.Address == "" {
		w.line(0, "admin", "off", false)
		return
	}
	w.open(0, "admin")
	w.line(1, "address", quote(a.Address), a.Address == DefaultAdmin)
	w.line(1, "allow_remote", strconv.FormatBool(a.AllowRemote), !a.AllowRemote)
}

func (w *writer) script(c *Config, s *Script) {
	w.open(1, quote(s.Name))
	w.text(2, "active", s.Active)
	w.text(2, "file", s.File)
	w.line(2, "key_field", quote(s.KeyField), s.KeyField == DefaultKeyField)
	w.line(2, "name_field", quote(s.NameField), s.NameField == DefaultNameField)
	w.text(2, "script_name", s.SiteName)
	if s.Contact != c.Contact {
		w.text(2, "contact", s.Contact)
	}
	w.open(2, "limit")
	w.line(3, "rate", showRate(s.Limit.Rate), s.Limit.Rate == DefaultRate)
	w.line(3, "burst", strconv.Itoa(s.Limit.Burst), s.Limit.Burst == defaultBurst(s.Limit.Rate))
	w.line(3, "in_flight", strconv.Itoa(s.Limit.InFlight), s.Limit.InFlight == DefaultInFlight)
	w.line(3, "max_hold", showDuration(s.Limit.MaxHold), s.Limit.MaxHold == DefaultMaxHold)
	w.line(3, "queue", strconv.Itoa(s.Limit.Queue), s.Limit.Queue == DefaultQueue)
	if len(s.SudoAsLogin) > 0 {
		w.line(2, "sudo_as_login", quoteAll(s.SudoAsLogin), false)
	}
	session, user := "keep", "refuse"
	if s.DropSession {
		session = "drop"
	}
	if s.ForwardUser {
		user = "forward"
	}
	w.line(2, "session_uuid", session, !s.DropSession)
	w.line(2, "user_auth", user, !s.ForwardUser)
	if len(s.Allow) == 0 {
		w.line(2, "allow", "[]", true)
		return
	}
	w.open(2, "allow")
	for i := range s.Allow {
		w.printf("      - %s\n", ruleText(&s.Allow[i]))
	}
}

// ruleText writes a rule so that reading it gives the same one.
func ruleText(r *policy.Rule) string {
	if len(r.Targets) == 0 {
		return quote(r.Verb)
	}
	parts := make([]string, len(r.Targets))
	single := true
	for i, t := range r.Targets {
		parts[i] = quote(t.Type)
		single = single && t.Fields == nil
	}
	if single {
		return quote(r.Verb) + ": [" + strings.Join(parts, ", ") + "]"
	}
	for i, t := range r.Targets {
		if t.Fields == nil {
			parts[i] += `: "*"`
		} else {
			parts[i] += ": " + quoteAll(t.Fields)
		}
	}
	return quote(r.Verb) + ": {" + strings.Join(parts, ", ") + "}"
}
