package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"stagedoor/config"
	"stagedoor/flowsite"
	"stagedoor/secret"
	"stagedoor/upstream"
)

//go:embed demo.yaml
var demoConfig string

const (
	demoScript = "demo-publisher"
	demoListen = "127.0.0.1:8470"
	demoReads  = 20 // sent at once, against a limit of 10/s
	demoShot   = 1  // the first of flowsite's demo
)

func (c *commands) demo() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a stand-in site, an embedded key and three calls",
		Long: `Start a stand-in Flow site, a key source with one embedded key and the proxy,
and send a call that is allowed, one that the rules refuse, and more at once than
the limit lets through. No configuration, Vault or site is needed. It serves on
until it is interrupted, so that you can try calls of your own.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runDemo(cmd.Context(), once) },
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the calls; the exit code says whether all went as it should")
	return cmd
}

func (c *commands) runDemo(ctx context.Context, once bool) (err error) {
	harden()
	if err := c.checkDebug(); err != nil {
		return cannotStart(err)
	}
	d, err := c.startDemo(ctx)
	if err != nil {
		return cannotStart(err)
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.run(ctx); err != nil {
		return no(fmt.Errorf("the demo did not go as it should: %w", errors.Join(err, d.violations())))
	}
	if once {
		return nil
	}
	c.printf(`
Try it (pip install shotgun_api3):
  python3 -c 'from shotgun_api3 import Shotgun; print(Shotgun("http://%[1]s", "%[2]s", "x").find("Shot", [], ["code"]))'
  curl -s %[1]s/api3/json -H 'content-type: application/json' -d '{"method_name":"info","params":[]}'
  curl -s '%[1]s/api/v1/entity/shots?fields=code'
Ctrl-C ends it.
`, d.addr, demoScript)
	<-ctx.Done()
	return nil
}

// demo is everything at work together.
type demo struct {
	c      *commands
	site   *flowsite.Site
	server *flowsite.Server
	stack  *stack
	addr   netip.AddrPort
	audit  *lines
}

func (c *commands) startDemo(ctx context.Context) (*demo, error) {
	d := &demo{c: c, audit: &lines{}}
	var err error
	if d.site, err = flowsite.New(flowsite.Options{RecordMax: 1000, RecordBytes: 1 << 20, AllowHeaders: []string{"Stagedoor-Request-Id"}}); err != nil {
		return nil, fmt.Errorf("making the stand-in site: %w", err)
	}
	// The key exists nowhere but in this process.
	key := rand.Text()
	d.site.AddScript(demoScript, key, flowsite.RoleAdmin())
	d.site.Demo()
	if d.server, err = d.site.Start(); err != nil {
		return nil, err
	}
	d.site.SetURL(d.server.URL)
	cfg, site, err := demoParts(ctx, d.server)
	if err != nil {
		return nil, errors.Join(err, d.server.Close())
	}
	keys := embeddedKeys(map[string]secret.Credential{demoScript: {SiteName: demoScript, Key: secret.FromString(key)}})
	k, err := memoryKey(nil)
	if err != nil {
		return nil, errors.Join(err, d.server.Close())
	}
	d.stack, err = newStack(ctx, cfg, keys, site, files{handles: k}, d.audit, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, errors.Join(err, d.server.Close())
	}
	d.addr = d.stack.address(cfg.Listeners[0].Name)
	d.stack.start()
	c.printf("site     stand-in Flow site          %s\n", d.server.URL)
	c.printf("keys     embedded, 1 script          %s\n", demoScript)
	c.printf("proxy    listening                   http://%s\n\n", d.addr)
	return d, nil
}

// demoParts is the demo's configuration, and a client for its site. Where the
// usual port is taken the kernel picks one.
func demoParts(ctx context.Context, server *flowsite.Server) (*config.Config, *upstream.Site, error) {
	listen := demoListen
	if ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen); err != nil {
		listen = "127.0.0.1:0"
	} else if err := ln.Close(); err != nil {
		return nil, nil, fmt.Errorf("trying port: %w", err)
	}
	text := strings.NewReplacer("SITE\n", server.URL+"\n", "LISTEN\n", listen+"\n").Replace(demoConfig)
	cfg, ds := config.Parse("demo.yaml", []byte(text))
	if cfg == nil {
		return nil, nil, config.Errors(ds)
	}
	origin, err := url.Parse(server.URL)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the stand-in site's address: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(server.CAPEM)
	return cfg, upstream.New(upstream.Options{Site: origin, Roots: pool, HTTP2: true}), nil
}

func (d *demo) stop() error {
	err := d.stack.stop(d.stack.config().Drain)
	return errors.Join(err, d.server.Close())
}

// run makes the three calls and says what became of them.
func (d *demo) run(ctx context.Context) error {
	if _, err := post(ctx, d.addr, `{"method_name":"info","params":[]}`); err != nil {
		return err
	}
	if err := d.allowed(ctx); err != nil {
		return err
	}
	if err := d.refused(ctx); err != nil {
		return err
	}
	if err := d.held(ctx); err != nil {
		return err
	}
	return d.verdict()
}

func (d *demo) allowed(ctx context.Context) error {
	began := time.Now()
	a, err := post(ctx, d.addr, readCall("Shot", "code"))
	if err == nil {
		err = a.problem()
	}
	if err != nil {
		return fmt.Errorf("the allowed call: %w", err)
	}
	d.c.printf("1 allowed   read Shot [code]                  %d   %4d ms   %s\n", a.status, time.Since(began).Milliseconds(), d.audit.field(a.id, "rule"))
	d.c.printf("            audit  %s\n", d.audit.short(a.id))
	return nil
}

func (d *demo) refused(ctx context.Context) error {
	began := time.Now()
	a, err := post(ctx, d.addr, fmt.Sprintf(`{"method_name":"delete","params":[{"script_name":"x","script_key":"x"},{"type":"Shot","id":%d}]}`, demoShot))
	if err != nil {
		return fmt.Errorf("the call to refuse: %w", err)
	}
	if a.refused != "no_rule" || !a.body.Exception {
		return fmt.Errorf("the call to refuse was answered with status %d, reason %q", a.status, a.refused)
	}
	d.c.printf("2 refused   delete Shot %-6d                fault %4d ms   no rule allows it\n", demoShot, time.Since(began).Milliseconds())
	d.c.printf("            audit  %s\n", d.audit.short(a.id))
	d.c.printf("            the tool sees  %s\n", strings.ReplaceAll(a.body.Message, "\n", "\n                           "))
	return nil
}

func (d *demo) held(ctx context.Context) error {
	began := time.Now()
	replies, errs := make([]*reply, demoReads), make([]error, demoReads)
	var wait sync.WaitGroup
	for i := range demoReads {
		wait.Go(func() {
			if replies[i], errs[i] = post(ctx, d.addr, readCall("Shot", "code")); errs[i] == nil {
				errs[i] = errors.Join(replies[i].problem(), d.audit.await(ctx, replies[i].id))
			}
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the calls to hold: %w", err)
	}
	last, hold := d.audit.longestHold(replies)
	if last == nil {
		return errors.New("none of the calls to hold was held")
	}
	d.c.printf("3 held      %d reads at once, limit 10/s      200   %4d ms   the last was held for %.0f ms, none refused\n",
		demoReads, time.Since(began).Milliseconds(), hold)
	d.c.printf("            audit  %s\n", d.audit.short(last.id))
	return nil
}

// verdict asks the stand-in site what it saw.
func (d *demo) verdict() error {
	if err := d.violations(); err != nil {
		return err
	}
	infos, keyed := 0, 0
	for _, r := range d.site.Received() {
		switch {
		case r.Method == "info":
			infos++
		case r.Script == demoScript && r.FaultCode == 0:
			keyed++
		default:
			return fmt.Errorf("the stand-in site saw %s without the right key", r.Method)
		}
	}
	if keyed != demoReads+1 {
		return fmt.Errorf("the stand-in site saw %d calls with the key, not %d", keyed, demoReads+1)
	}
	d.c.printf("\nThe stand-in site saw %d calls: %d info, %d with the right key. The demo's client never held it.\n", infos+keyed, infos, keyed)
	return nil
}

func (d *demo) violations() error {
	if v := d.site.Violations(); len(v) > 0 {
		return fmt.Errorf("the stand-in site saw what no client sends: %s", strings.Join(v, "; "))
	}
	return nil
}

// lines is an audit sink in memory: the demo's own few calls.
type lines struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{} // closed at the next line; nil while nobody waits
}

// maxLines bounds the memory of a demo that is left running, in bytes.
const maxLines = 1 << 20

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() > maxLines {
		l.buf.Reset()
	}
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
	return l.buf.Write(b)
}

// await waits for the outcome of a call, which is written after its answer.
func (l *lines) await(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	for l.of(id)["total_ms"] == nil {
		l.mu.Lock()
		if l.grown == nil {
			l.grown = make(chan struct{})
		}
		grown := l.grown
		l.mu.Unlock()
		if l.of(id)["total_ms"] != nil {
			break // it came in between
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the record of call %s: %w", id, ctx.Err())
		}
	}
	return nil
}

// of merges the lines of one call: what was decided, and what became of it.
func (l *lines) of(id string) map[string]any {
	l.mu.Lock()
	all := l.buf.String()
	l.mu.Unlock()
	merged := map[string]any{}
	for line := range strings.Lines(all) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["id"] == id {
			maps.Copy(merged, m)
		}
	}
	return merged
}

func (l *lines) field(id, name string) string { return fmt.Sprint(l.of(id)[name]) }

// short shows what a reader looks for in an audit line.
func (l *lines) short(id string) string {
	m := l.of(id)
	var parts []string
	for _, k := range []string{"id", "script", "method", "types", "decision", "rule", "reason", "caller_credential", "hold_ms"} {
		if v, ok := m[k]; ok {
			b, err := json.Marshal(v)
			if err != nil {
				continue
			}
			parts = append(parts, fmt.Sprintf("%q:%s", k, b))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func (l *lines) longestHold(replies []*reply) (longest *reply, most float64) {
	for _, a := range replies {
		if h, ok := l.of(a.id)["hold_ms"].(float64); ok && h > most {
			most, longest = h, a
		}
	}
	return longest, most
}
