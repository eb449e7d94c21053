package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stagedoor/config"
	"stagedoor/proxy"
	"stagedoor/schema"
	"stagedoor/upstream"
)

// checkTime bounds one call of check.
const checkTime = 60 * time.Second

// level is how a finding ends.
type level string

const (
	levelOK   level = "ok"
	levelWarn level = "warn"
	levelFail level = "FAIL"
)

// finding is one line of check's report. No part of it holds a secret.
type finding struct {
	Level level  `json:"level"`
	Area  string `json:"area"` // config, tools, vault, key, handles, site, call
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
}

// report collects findings and, unless it is for a program, prints each as it
// comes.
type report struct {
	c        *commands
	quiet    bool
	findings []finding
}

func (r *report) add(l level, area, text, hint string) {
	r.findings = append(r.findings, finding{l, area, text, hint})
	if r.quiet {
		return
	}
	r.c.printf("%-5s %-10s %s\n", l, area, strings.ReplaceAll(text, "\n", "\n                 "))
	if hint != "" {
		r.c.printf("                 hint: %s\n", hint)
	}
}

func (r *report) count(l level) int {
	n := 0
	for _, f := range r.findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

func (c *commands) check() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Try everything as this host: log in to Vault, read every key, call the site",
		Long: `Do what serve would do, once, and say how each part went: log in to Vault,
read every key (only its name, version and age are printed), ask the site for
info, and send one harmless read for each script that its rules allow, to prove
that the site accepts the key. No port of the configuration is opened.

Every call leaves an audit record as always: on standard error, or, where the
configuration names a file, in that file with ".check" added.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := &report{c: c, quiet: asJSON}
			c.runCheck(cmd.Context(), r)
			failed := r.count(levelFail)
			if asJSON {
				out := struct {
					OK       bool      `json:"ok"`
					Findings []finding `json:"findings"`
				}{failed == 0, r.findings}
				if err := json.NewEncoder(c.out).Encode(out); err != nil {
					return no(fmt.Errorf("writing the result: %w", err))
				}
			} else if failed == 0 {
				c.printf("ready to serve, %s\n", plural(r.count(levelWarn), "warning"))
			} else {
				c.printf("not ready: %d failed, %s\n", failed, plural(r.count(levelWarn), "warning"))
			}
			if failed > 0 {
				return no(nil)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func (c *commands) runCheck(ctx context.Context, r *report) {
	harden()
	if err := c.checkDebug(); err != nil {
		r.add(levelFail, "config", err.Error(), "")
		return
	}
	cfg, err := config.LoadWith(c.configPath(), schema.Read)
	if err != nil {
		var ds config.Errors
		if !errors.As(err, &ds) {
			r.add(levelFail, "config", err.Error(), "name another with --config FILE")
			return
		}
		for i := range ds {
			r.diagnostic(&ds[i])
		}
		return
	}
	for i := range cfg.Warnings {
		r.diagnostic(&cfg.Warnings[i])
	}
	c.checkEnvironment(r)

	// What goes wrong is reported below, in order; the log would say it twice.
	logger := slog.New(slog.DiscardHandler)
	site, err := openSite(cfg)
	if err != nil {
		r.add(levelFail, "site", err.Error(), "")
		return
	}
	keys, err := openKeys(ctx, cfg, nil, logger)
	if err != nil {
		site.Close()
		r.add(levelFail, "key", err.Error(), "")
		return
	}
	r.keys(cfg, keys)
	c.checkCalls(ctx, r, cfg, keys, site, logger)
}

// checkCalls puts a stack together and sends calls through it.
func (c *commands) checkCalls(ctx context.Context, r *report, cfg *config.Config, keys *keys, site *upstream.Site, logger *slog.Logger) {
	c.checkHandles(r, cfg, keys)
	own := checkConfig(cfg)
	f, err := openFiles(own, keys, files{}, c.getenv, logger)
	if err != nil {
		keys.Close()
		site.Close()
		r.add(levelFail, "handles", err.Error(), "")
		return
	}
	s, err := newStack(ctx, own, keys, site, f, c.err, logger)
	if err != nil {
		r.add(levelFail, "audit", err.Error(), "")
		return
	}
	s.start()
	r.calls(ctx, cfg, s)
	if err := s.stop(checkTime); err != nil {
		r.add(levelFail, "audit", err.Error(), "")
	}
}

func (r *report) diagnostic(d *config.Diagnostic) {
	l := levelWarn
	if d.Severity == config.Error {
		l = levelFail
	}
	where := d.File
	if d.Line > 0 {
		where = fmt.Sprintf("%s:%d", d.File, d.Line)
	}
	r.add(l, "config", where+": "+d.Msg, d.Hint)
}

// checkEnvironment warns of a proxy that shotgun_api3 would send uploads and
// downloads to although the call is for this host (flow-protocol §1.10).
func (c *commands) checkEnvironment(r *report) {
	first := func(names ...string) (name, value string) {
		for _, n := range names {
			if v := c.getenv(n); v != "" {
				return n, v
			}
		}
		return "", ""
	}
	name, _ := first("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
	_, except := first("no_proxy", "NO_PROXY")
	if name == "" || coversLoopback(except) {
		return
	}
	r.add(levelWarn, "tools", name+" is set here and no_proxy lacks 127.0.0.1: where tools have the same, uploads would leave this host",
		"give tools no_proxy=127.0.0.1,localhost")
}

// coversLoopback reads no_proxy as Python's urllib does: a list of names and
// suffixes, or "*".
func coversLoopback(noProxy string) bool {
	return slices.ContainsFunc(strings.Split(noProxy, ","), func(s string) bool {
		s = strings.TrimSpace(s)
		return s == "*" || s == "127.0.0.1"
	})
}

// keys reports the login and every key: name, version and age, no more.
func (r *report) keys(cfg *config.Config, keys *keys) {
	if cfg.Vault != nil {
		v := keys.Vault()
		text := cfg.Vault.Address + "  " + loginInWords(cfg.Login)
		if v.State == "ok" {
			if v.TokenTTL > 0 {
				text += fmt.Sprintf(", token lives on for %s", v.TokenTTL.Round(time.Second))
			}
			r.add(levelOK, "vault", text, "")
		} else {
			r.add(levelFail, "vault", text+": "+v.Why, "")
		}
	}
	for _, k := range keys.Keys() {
		if !k.Usable() {
			r.add(levelFail, "key", k.Script+"  "+k.Why, "")
			continue
		}
		text := fmt.Sprintf("%s  Script %q", k.Script, k.SiteName)
		if k.Version != "" {
			text += ", version " + k.Version
		}
		if !k.CreatedAt.IsZero() {
			text += ", " + age(time.Since(k.CreatedAt)) + " old"
		}
		r.add(levelOK, "key", text, "")
	}
	for i := range cfg.Scripts {
		for j := range i {
			if a, b := cfg.Scripts[j].Name, cfg.Scripts[i].Name; sameKey(keys, a, b) {
				r.add(levelWarn, "key", a+" and "+b+" have the same key: the site can't tell them apart", "make a Script on the site for each")
			}
		}
	}
}

func sameKey(keys *keys, a, b string) bool {
	ca, errA := keys.Credential(a)
	cb, errB := keys.Credential(b)
	return errA == nil && errB == nil && ca.Key.Same(cb.Key)
}

func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return max(0, d).Round(time.Second).String()
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func loginInWords(l *config.Login) string {
	switch {
	case l == nil:
		return ""
	case l.AppRole != nil && l.AppRole.RoleID != "":
		return "approle role " + l.AppRole.RoleID
	case l.AppRole != nil:
		return "approle"
	case l.Kubernetes != nil:
		return "kubernetes role " + l.Kubernetes.Role
	}
	return "token file " + l.TokenFile
}

// checkConfig is cfg with a listener for each script, on ports of the kernel's
// choice, and an audit file of its own: the configured one may be in use.
func checkConfig(cfg *config.Config) *config.Config {
	own := *cfg
	own.Listeners = nil
	for i := range cfg.Scripts {
		identity := "none"
		if cfg.Scripts[i].SudoCaller {
			identity = proxy.IdentityKernel
		}
		own.Listeners = append(own.Listeners, config.Listener{
			Name: "check " + cfg.Scripts[i].Name, Address: "127.0.0.1:0", Identity: identity, Scripts: []string{cfg.Scripts[i].Name},
		})
	}
	if own.Audit.File != "" {
		own.Audit.File += ".check"
	}
	if own.Handles.Vault == "" {
		// The file may be one that the service makes as another user.
		own.Handles.File, own.Handles.Memory = "", true
	}
	return &own
}

// calls asks the site for info and sends a read, for each script as the script.
func (r *report) calls(ctx context.Context, cfg *config.Config, s *stack) {
	for i := range cfg.Scripts {
		name := cfg.Scripts[i].Name
		addr := s.address("check " + name)
		if !r.info(ctx, addr, cfg.Site, name) {
			continue
		}
		if c, err := s.keys().Credential(name); err != nil || c.Key.IsZero() {
			continue // said above
		}
		r.read(ctx, addr, &cfg.Scripts[i])
	}
}

func (r *report) info(ctx context.Context, addr netip.AddrPort, site, script string) bool {
	began := time.Now()
	a, err := post(ctx, addr, `{"method_name":"info","params":[]}`)
	if err == nil {
		err = a.problem()
	}
	if err != nil {
		r.add(levelFail, "site", site+"  info as "+script+": "+err.Error(), "")
		return false
	}
	r.add(levelOK, "site", fmt.Sprintf("%s  info %s as %s, %d ms", site, a.version(), script, time.Since(began).Milliseconds()), "")
	return true
}

func (r *report) read(ctx context.Context, addr netip.AddrPort, script *config.Script) {
	typ, field, ok := harmless(script)
	if !ok {
		r.add(levelWarn, "call", script.Name+"  has no rule for a read, so nothing proves that the site accepts its key", "")
		return
	}
	began := time.Now()
	a, err := post(ctx, addr, readCall(typ, field))
	if err == nil {
		err = a.problem()
	}
	if err != nil {
		r.add(levelFail, "call", fmt.Sprintf("%s  read %s [%s]: %s", script.Name, typ, field, err), "")
		return
	}
	r.add(levelOK, "call", fmt.Sprintf("%s  read %s [%s] %s, %d ms", script.Name, typ, field, plural(a.rows(), "row"), time.Since(began).Milliseconds()), "")
}

// harmless finds a read that a script's rules allow.
func harmless(s *config.Script) (typ, field string, ok bool) {
	for i := range s.Allow {
		if s.Allow[i].Verb != "read" {
			continue
		}
		for _, t := range s.Allow[i].Targets {
			switch {
			case t.Type == "*":
				typ = "Project"
			case strings.HasSuffix(t.Type, "*"):
				continue // which types of a family exist is not known here
			default:
				typ = t.Type
			}
			field = "id"
			if len(t.Fields) > 0 {
				field = t.Fields[0]
			}
			return typ, field, true
		}
	}
	return "", "", false
}

// address is where a listener of that name can be reached.
func (s *stack) address(listener string) netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.mu.ports {
		if a, ok := p.ln.Addr().(*net.TCPAddr); ok && p.cfg.Name == listener {
			return a.AddrPort()
		}
	}
	return netip.AddrPort{}
}
