package config

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// seen remembers where things stood, for the checks that need the whole file.
type seen struct {
	top      *node
	listen   []listenPos
	scripts  []scriptPos
	identity *node // at the top level
	shared   *node // at the top level
	login    *node
	vault    *node
	handles  *node // the field that says where the key is
	// handleVault is that field when it is vault.
	handleVault *node
	admin       *node
	maxBody     *node
	maxBuffer   *node

	roles         map[string]*role
	roleOrder     []*role
	fleetPassword *node
	schema        *node
}

// laterTop are fields that other versions bring.
func laterTop() []string {
	return []string{"places", "callers", "next"}
}

// root reads the whole file.
func (r *reading) root(n *node) {
	c := r.cfg
	r.seen.top = n
	r.foreign = r.foreign || n.kind != kindMap
	ok := r.object(n, "", []field{
		{"version", r.version, "1"},
		{"site", r.site, "https://STUDIO.shotgrid.autodesk.com"},
		{"site_ca", r.path(&c.SiteCA), ""},
		{"contact", r.text(&c.Contact), ""},
		{"listen", r.listen, "127.0.0.1:8470"},
		{"identity", func(v *node) { r.seen.identity = v }, ""},
		{"shared", func(v *node) { r.seen.shared = v }, ""},
		{"vault", r.vault, ""},
		{"login", r.login, ""},
		{"limits", r.limits, ""},
		{"schema", r.schemaFile, ""},
		{"roles", r.roles, ""},
		{"scripts", r.scripts, "{NAME: {active: PATH, allow: [{read: Shot}]}}"},
		{"max_body", func(v *node) { r.seen.maxBody = v; r.size(&c.MaxBody, 1<<10, 1<<30)(v) }, ""},
		{"max_depth", r.count(&c.MaxDepth, 8, 1000), ""},
		{"max_buffered", func(v *node) { r.seen.maxBuffer = v; r.size(&c.MaxBuffered, 1<<10, 1<<40)(v) }, ""},
		{"max_connections", r.count(&c.MaxConnections, 1, 1_000_000), ""},
		{"handles", r.handles, ""},
		{"storage", r.storage, ""},
		{"upstream", r.upstream, ""},
		{"audit", r.audit, ""},
		{"admin", r.admin, ""},
		{"drain", r.duration(&c.Drain, 0, 10*time.Minute), ""},
		{"log", r.log, ""},
	}, laterTop()...)
	if ok {
		r.whole()
	}
}

func (r *reading) version(n *node) {
	if n.kind != kindInt || n.text != "1" {
		r.value(n, quoted(n)+" is not known", "this version of stagedoor reads version: 1")
	}
}

// site reads the site's address.
func (r *reading) site(n *node) {
	var s string
	if r.text(&s)(n); s == "" {
		return
	}
	u, ok := r.url(n, s, "https://STUDIO.shotgrid.autodesk.com")
	if !ok {
		return
	}
	if u.Scheme != "https" {
		r.value(n, quoted(n)+" is not https", "write https://"+u.Host)
		return
	}
	r.cfg.Site = "https://" + strings.ToLower(u.Host)
}

// url reads an address that says nothing but scheme, host and port.
func (r *reading) url(n *node, s, example string) (*url.URL, bool) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		r.value(n, quoted(n)+" is no address", "write "+example)
	case u.User != nil:
		r.value(n, "user and password don't belong in this file", "write "+u.Scheme+"://"+u.Host)
	case strings.Contains(s, "@"): // a password with a sign that ends the host
		r.value(n, "user and password don't belong in this file", "write "+example)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#"):
		r.value(n, quoted(n)+" says more than a host", "write "+u.Scheme+"://"+u.Host)
	case !validHost(u.Hostname()) || !validPort(u):
		r.value(n, quoted(n)+" has no valid host or port", "write "+example)
	default:
		return u, true
	}
	return nil, false
}

func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	p, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && p > 0
}

// validHost takes IP addresses and host names.
func validHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == ""
	}
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.ContainsFunc(label, outsideNames) {
			return false
		}
	}
	return true
}

// outsideNames is true of what no host name is made of.
func outsideNames(c rune) bool {
	inside := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
	return !inside
}

// loopback says whether a host of an address is this one and no other.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func (r *reading) vault(n *node) {
	r.seen.vault = n
	v := &Vault{Mount: DefaultMount, Refresh: DefaultRefresh, MaxStale: DefaultMaxStale, Timeout: DefaultTimeout}
	r.cfg.Vault = v
	r.object(n, "vault", []field{
		{"address", r.vaultAddress(v), "https://VAULT:8200"},
		{"ca", r.path(&v.CA), ""},
		{"namespace", r.text(&v.Namespace), ""},
		{"mount", r.vaultPath(&v.Mount), ""},
		{"kv_version", r.kvVersion(&v.KVVersion), ""},
		{"refresh", r.duration(&v.Refresh, time.Second, 24*time.Hour), ""},
		{"max_stale", r.duration(&v.MaxStale, time.Second, 30*24*time.Hour), ""},
		{"timeout", r.duration(&v.Timeout, 100*time.Millisecond, 5*time.Minute), ""},
	}, "redirect", "events", "transit")
}

// vaultAddress takes http only to this host, where a Vault Agent listens.
func (r *reading) vaultAddress(v *Vault) reader {
	return func(n *node) {
		var s string
		if r.text(&s)(n); s == "" {
			return
		}
		u, ok := r.url(n, s, "https://VAULT:8200")
		switch {
		case !ok:
		case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
			v.Address = u.Scheme + "://" + strings.ToLower(u.Host)
		default:
			r.value(n, quoted(n)+" is not https", "write https://"+u.Host+"; http is for a Vault Agent on this host only")
		}
	}
}

// vaultPath reads a path inside Vault.
func (r *reading) vaultPath(dst *string) reader {
	return r.textLike(dst, badVaultPath)
}

func badVaultPath(s string) (msg, hint string) {
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "?#%* ") {
			return "is no path in Vault", "write it below the mount, without a slash at either end: flow/NAME"
		}
	}
	return "", ""
}

func (r *reading) kvVersion(dst *int) reader {
	return func(n *node) {
		switch {
		case n.kind == kindInt && n.text == "1":
			*dst = 1
		case n.kind == kindInt && n.text == "2":
			*dst = 2
		case n.kind == kindText && n.text == "auto":
			*dst = 0
		default:
			r.value(n, "1, 2 or auto is wanted here", "")
		}
	}
}

// login reads how to log in to Vault: one way, and no secret.
func (r *reading) login(n *node) {
	r.seen.login = n
	l := &Login{}
	r.cfg.Login = l
	ok := r.object(n, "login", []field{
		{"token_file", r.path(&l.TokenFile), ""},
		{"approle", func(v *node) { l.AppRole = r.approle(v) }, ""},
		{"kubernetes", func(v *node) { l.Kubernetes = r.kubernetes(v) }, ""},
	}, "cert", "jwt", "aws", "gcp", "azure", "ldap", "userpass")
	if ok && len(n.fields) != 1 {
		at := n.key.place
		if len(n.fields) > 1 {
			at = n.fields[1].key.place
		}
		r.error(at, "login wants exactly one way", "keep one of token_file, approle, kubernetes")
	}
}

func (r *reading) approle(n *node) *AppRole {
	a := &AppRole{Mount: DefaultAppRoleMount}
	ok := r.object(n, "approle", []field{
		{"role_id", r.text(&a.RoleID), ""},
		{"role_id_file", r.path(&a.RoleIDFile), ""},
		{"secret_id_file", r.path(&a.SecretIDFile), "/etc/stagedoor/secret-id"},
		{"wrapped", r.boolean(&a.Wrapped), ""},
		{"mount", r.vaultPath(&a.Mount), ""},
	})
	if ok && (n.field("role_id") == nil) == (n.field("role_id_file") == nil) {
		r.error(n.key.place, "approle wants exactly one of role_id and role_id_file", "")
	}
	return a
}

func (r *reading) kubernetes(n *node) *Kubernetes {
	k := &Kubernetes{TokenFile: DefaultKubernetesToken, Mount: DefaultKubernetesMount}
	r.object(n, "kubernetes", []field{
		{"role", r.text(&k.Role), "ROLE"},
		{"token_file", r.path(&k.TokenFile), ""},
		{"mount", r.vaultPath(&k.Mount), ""},
	})
	return k
}

func (r *reading) upstream(n *node) {
	u := &r.cfg.Upstream
	long := time.Hour
	r.object(n, "upstream", []field{
		{"proxy", r.proxy, ""},
		{"connect_timeout", r.duration(&u.ConnectTimeout, 100*time.Millisecond, long), ""},
		{"tls_timeout", r.duration(&u.TLSTimeout, 100*time.Millisecond, long), ""},
		{"header_timeout", r.duration(&u.HeaderTimeout, 100*time.Millisecond, long), ""},
		{"body_timeout", r.duration(&u.BodyTimeout, 100*time.Millisecond, long), ""},
		{"idle", r.duration(&u.Idle, 100*time.Millisecond, long), ""},
		{"max_idle", r.count(&u.MaxIdle, 1, 10_000), ""},
		{"http2", r.http2(&u.HTTP2), ""},
	}, "no_proxy")
}

func (r *reading) http2(dst *bool) reader {
	return func(n *node) {
		word := "auto"
		r.word(&word, "auto", "off")(n)
		*dst = word == "auto"
	}
}

func (r *reading) proxy(n *node) {
	var s string
	if r.text(&s)(n); s == "" {
		return
	}
	u, ok := r.url(n, s, "http://PROXY:3128")
	switch {
	case !ok:
	case u.Scheme != "http" || u.Port() == "":
		r.value(n, quoted(n)+" is no proxy", "write http://HOST:PORT")
	default:
		r.cfg.Upstream.Proxy = "http://" + strings.ToLower(u.Host)
	}
}

func (r *reading) audit(n *node) {
	a := &r.cfg.Audit
	if n.kind == kindText {
		if n.text != "stdout" {
			r.value(n, quoted(n)+" is not known", "write stdout, or {file: /var/log/stagedoor/audit.jsonl}")
		}
		return
	}
	r.object(n, "audit", []field{
		{"file", r.path(&a.File), "/var/log/stagedoor/audit.jsonl"},
		{"max_size", r.size(&a.MaxSize, 64<<10, 1<<40), ""},
		{"keep", r.count(&a.Keep, 1, 10_000), ""},
		{"min_free", r.size(&a.MinFree, 1<<10, 1<<40), ""},
	}, "socket", "journald")
}

func (r *reading) admin(n *node) {
	r.seen.admin = n
	a := &r.cfg.Admin
	at := n
	var s string
	switch {
	case n.kind == kindText && n.text == "off":
		a.Address = ""
		return
	case n.kind == kindMap:
		r.object(n, "admin", []field{
			{"address", func(v *node) { at = v; r.text(&s)(v) }, DefaultAdmin},
			{"allow_remote", r.boolean(&a.AllowRemote), ""},
		})
	default:
		r.text(&s)(n)
	}
	if s != "" {
		a.Address = r.address(at, s, a.AllowRemote)
	}
}

func (r *reading) log(n *node) {
	r.object(n, "log", []field{
		{"level", r.word(&r.cfg.Log.Level, "debug", "info", "warn", "error"), ""},
		{"format", r.word(&r.cfg.Log.Format, "text", "json"), ""},
	})
}
