package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

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
	w.limits(&c.Limits)
	w.text(0, "schema", c.Schema)
	w.handles(&c.Handles)
	w.storage(&c.Storage)
	w.upstream(&c.Upstream)
	w.audit(&c.Audit)
	w.admin(&c.Admin)
	w.line(0, "drain", showDuration(c.Drain), c.Drain == DefaultDrain)
	w.open(0, "log")
	w.line(1, "level", c.Log.Level, c.Log.Level == DefaultLogLevel)
	w.line(1, "format", c.Log.Format, c.Log.Format == DefaultLogFormat)
	w.roles(c)
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
	w.limit(&s.Limit, c.Limits.Fleet != nil)
	switch {
	case s.SudoCaller:
		w.line(2, "sudo_as_login", "caller", false)
		w.line(2, "flow_login", quote(s.FlowLogin), s.FlowLogin == userWord)
	case len(s.SudoAsLogin) > 0:
		w.line(2, "sudo_as_login", quoteAll(s.SudoAsLogin), false)
	}
	mode := "enforce"
	if s.Observe {
		mode = "observe"
	}
	w.line(2, "mode", mode, !s.Observe)
	if !s.ObserveEnd.IsZero() {
		w.text(2, "observe_until", s.ObserveEnd.Format(time.DateOnly))
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
	if len(s.Roles) > 0 {
		w.line(2, "roles", quoteAll(s.Roles), false)
	}
	own := func(r *policy.Rule) bool { return r.Role == "" }
	if !slices.ContainsFunc(s.Allow, func(r policy.Rule) bool { return own(&r) }) {
		w.line(2, "allow", "[]", true)
	}
	w.rules("allow", s.Allow, own)
	w.rules("deny", s.Deny, own)
}

// rules writes those of a list that are meant, if there are any.
func (w *writer) rules(name string, rules []policy.Rule, meant func(*policy.Rule) bool) {
	first := true
	for i := range rules {
		if !meant(&rules[i]) {
			continue
		}
		if first {
			w.open(2, name)
		}
		first = false
		w.printf("      - %s\n", ruleText(&rules[i]))
		w.options(&rules[i])
	}
}

// options writes the options of a rule below it.
func (w *writer) options(r *policy.Rule) {
	if p := r.Projects; p != nil {
		ids := make([]string, len(p.IDs))
		for i, id := range p.IDs {
			ids[i] = strconv.FormatInt(id, 10)
		}
		text := "[" + strings.Join(ids, ", ") + "]"
		if p.Lookup || p.AddFilter {
			text = "{ids: " + text
			if p.Lookup {
				text += ", lookup: cached"
			}
			if p.AddFilter {
				text += ", filter: add"
			}
			text += "}"
		}
		w.line(4, "projects", text, false)
	}
	if r.When != nil {
		w.line(4, "where", quote(r.When.String()), false)
	}
	if r.MaxRows > 0 {
		w.line(4, "max_rows", strconv.Itoa(r.MaxRows), false)
	}
	if r.MaxBatch > 0 {
		w.line(4, "max_batch", strconv.Itoa(r.MaxBatch), false)
	}
	switch {
	case r.Share.Seconds > 0:
		w.line(4, "cache", showDuration(time.Duration(r.Share.Seconds)*time.Second), false)
	case r.Share.Coalesce:
		w.line(4, "coalesce", "true", false)
	}
}

// roles writes each role that some script has, with its own rules only: scripts
// name all that they have.
func (w *writer) roles(c *Config) {
	seen := map[string]bool{}
	for i := range c.Scripts {
		s := &c.Scripts[i]
		for _, name := range s.Roles {
			if seen[name] {
				continue
			}
			if len(seen) == 0 {
				w.open(0, "roles")
			}
			seen[name] = true
			of := func(r *policy.Rule) bool { return r.Role == name }
			w.open(1, quote(name))
			if !slices.ContainsFunc(s.Allow, func(r policy.Rule) bool { return of(&r) }) {
				w.line(2, "allow", "[]", true)
			}
			w.rules("allow", s.Allow, of)
			w.rules("deny", s.Deny, of)
		}
	}
}

func (w *writer) limit(l *Limit, shared bool) {
	w.open(2, "limit")
	switch {
	case l.Fleet > 0:
		w.line(3, "fleet", showRate(l.Fleet), false)
		w.line(3, "node", showRate(l.Rate), l.Rate == l.Fleet)
	case shared:
		w.line(3, "node", showRate(l.Rate), l.Rate == DefaultRate)
	default:
		w.line(3, "rate", showRate(l.Rate), l.Rate == DefaultRate)
	}
	w.line(3, "burst", strconv.Itoa(l.Burst), l.Burst == defaultBurst(l.Rate))
	w.line(3, "in_flight", strconv.Itoa(l.InFlight), l.InFlight == DefaultInFlight)
	lane := "farm"
	if l.Interactive {
		lane = "interactive"
	}
	w.line(3, "lane", lane, !l.Interactive)
	w.line(3, "max_hold", showDuration(l.MaxHold), l.MaxHold == defaultHold(l.Interactive))
	w.line(3, "queue", strconv.Itoa(l.Queue), l.Queue == DefaultQueue)
	if len(l.Kinds) > 0 {
		w.open(3, "kinds")
		for _, k := range l.Kinds {
			w.line(4, k.Kind, fmt.Sprintf("{rate: %s, burst: %d}", showRate(k.Rate), k.Burst), false)
		}
	}
	if l.UploadBytes > 0 {
		w.line(3, "upload_bytes", showSize(l.UploadBytes), false)
	}
}

func (w *writer) limits(l *Limits) {
	w.open(0, "limits")
	w.open(1, "site")
	w.budget(&l.Site, DefaultSiteInFlight)
	w.line(2, "min_in_flight", strconv.Itoa(l.MinInFlight), l.MinInFlight == min(DefaultMinInFlight, l.Site.InFlight))
	if l.Caller != (Budget{}) {
		w.open(1, "caller")
		w.budget(&l.Caller, 0)
	}
	f := l.Fleet
	if f == nil {
		return
	}
	w.open(1, "fleet")
	w.text(2, "redis", f.Redis)
	w.text(2, "ca", f.CA)
	w.text(2, "user", f.User)
	if f.Password != "" {
		w.text(2, "password", f.Password+"#"+f.PasswordField)
	}
	w.text(2, "password_file", f.PasswordFile)
	w.line(2, "share", fmt.Sprintf("1/%.0f", 1/f.Share), false)
	w.line(2, "lease", showDuration(f.Lease), f.Lease == DefaultLease)
	w.line(2, "prefix", quote(f.Prefix), f.Prefix == DefaultPrefix)
}

func (w *writer) budget(b *Budget, inFlight int) {
	if b.Rate > 0 {
		w.line(2, "rate", showRate(b.Rate), false)
		w.line(2, "burst", strconv.Itoa(b.Burst), b.Burst == defaultBurst(b.Rate))
	}
	if b.InFlight > 0 {
		w.line(2, "in_flight", strconv.Itoa(b.InFlight), b.InFlight == inFlight)
	}
}

// ruleText writes a rule so that reading it gives the same one.
func ruleText(r *policy.Rule) string {
	if len(r.Targets) == 0 {
		if r.Projects == nil && r.When == nil && r.Share == (policy.Share{}) {
			return quote(r.Verb)
		}
		return quote(r.Verb) + ":" // with options below it
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
