package cli

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"stagedoor/admin"
	"stagedoor/audit"
	"stagedoor/caller"
	"stagedoor/config"
	"stagedoor/fleet"
	"stagedoor/flow"
	"stagedoor/internal/trust"
	"stagedoor/limit"
	"stagedoor/policy"
	"stagedoor/proxy"
	"stagedoor/upstream"
)

// Calls that belong to no script: info where several scripts are served, and
// what could not be read. They have a budget of their own on each listener.
const (
	unnamedRate     = 50 // calls per second
	unnamedInFlight = 32
)

// maxCA bounds a file of CA certificates in bytes.
const maxCA = 4 << 20

// stack is what serves calls, put together from one configuration. Its parts
// are made once; [stack.apply] replaces what a reload may.
type stack struct {
	logger   *slog.Logger
	log      *audit.Log
	metrics  *admin.Metrics
	registry *prometheus.Registry
	proxy    *proxy.Proxy
	buffered *limit.Room
	budgets  *budgets // its fields but brakes are guarded by mu
	control  *admin.Control

	mu struct {
		sync.Mutex
		cfg     *config.Config
		keys    *keys
		site    *upstream.Site
		files   files
		ports   map[string]*port // by id
		leaving map[string]*port // draining after a reload
	}
	waiting sync.WaitGroup // for ports that drain
	failed  chan error     // a port that stopped by itself
	started atomic.Bool
	drained atomic.Bool
}

// port is one data listener, open.
type port struct {
	cfg     config.Listener
	ln      net.Listener
	server  *proxy.Server
	unnamed *limit.Limiter
	door    string // the port's number, for the Host check
}

// id tells listeners apart through reloads: one that moves is another.
func id(l *config.Listener) string { return l.Name + " " + l.Address }

// newStack reads all keys once, opens the audit log and the data ports, and
// starts nothing yet.
//
// It takes over keys, site and files, also when it fails.
func newStack(ctx context.Context, cfg *config.Config, keys *keys, site *upstream.Site, f files, sink io.Writer, logger *slog.Logger) (s *stack, err error) {
	s = &stack{logger: logger, registry: prometheus.NewRegistry(), buffered: limit.NewRoom(cfg.MaxBuffered, cfg.MaxBody), budgets: newBudgets(logger), failed: make(chan error, 1)}
	s.mu.cfg, s.mu.keys, s.mu.site, s.mu.files = cfg, keys, site, f
	s.mu.ports, s.mu.leaving = map[string]*port{}, map[string]*port{}
	made := s // a return of nil and an error leaves nothing in s
	defer func() {
		if err != nil {
			err = errors.Join(err, made.release())
		}
	}()
	if s.log, err = audit.Open(auditOptions(cfg, sink, logger)); err != nil {
		return nil, err
	}
	s.metrics = admin.NewMetrics(s.registry, scriptNames(cfg), reasonNames())
	s.metrics.ConfigLoaded(time.Now())
	if s.mu.ports, err = s.openPorts(ctx, cfg); err != nil {
		return nil, err
	}
	fl, err := s.openFleet(cfg)
	if err != nil {
		return nil, err
	}
	s.budgets.update(cfg, fl)
	s.proxy = proxy.New(proxy.Config{
		Version: software(), Audit: s.log, Metrics: s.metrics, Logger: logger, Now: time.Now, Entropy: rand.Reader,
	}, s.state(), s.buffered)
	s.watch()
	return s, nil
}

func auditOptions(cfg *config.Config, sink io.Writer, logger *slog.Logger) audit.Options {
	o := audit.Options{Software: software(), Config: fingerprint(cfg), Logger: logger}
	if cfg.Audit.File == "" {
		o.Sink = sink
		return o
	}
	o.Path, o.MaxSize, o.Keep, o.MinFree = cfg.Audit.File, cfg.Audit.MaxSize, cfg.Audit.Keep, cfg.Audit.MinFree
	return o
}

// fingerprint names a configuration by what it means: comments and order of
// fields do not change it.
func fingerprint(cfg *config.Config) string {
	sum := sha256.Sum256(cfg.Effective())
	return hex.EncodeToString(sum[:8])
}

func openSite(cfg *config.Config) (*upstream.Site, error) {
	origin, err := url.Parse(cfg.Site)
	if err != nil {
		return nil, fmt.Errorf("reading the site's address: %w", err)
	}
	u := &cfg.Upstream
	o := upstream.Options{
		Site: origin, HTTP2: u.HTTP2, ConnectTimeout: u.ConnectTimeout, TLSTimeout: u.TLSTimeout,
		HeaderTimeout: u.HeaderTimeout, BodyTimeout: u.BodyTimeout, Idle: u.Idle, MaxIdle: u.MaxIdle,
	}
	if o.Roots, err = roots(cfg.SiteCA); err != nil {
		return nil, fmt.Errorf("site_ca: %w", err)
	}
	if u.Proxy != "" {
		if o.Proxy, err = url.Parse(u.Proxy); err != nil {
			return nil, fmt.Errorf("reading upstream.proxy: %w", err)
		}
	}
	return upstream.New(o), nil
}

// roots reads CA certificates; nil, for no path, means the system's.
func roots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // nil is upstream's word for the system's roots
	}
	pem, err := trust.Read(path, maxCA) // whoever may change it may read our keys
	if err != nil {
		return nil, fmt.Errorf("reading CA certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return pool, nil
}

// openPorts opens the listeners of cfg that are not open yet; what is open
// already is taken over with its new settings.
func (s *stack) openPorts(ctx context.Context, cfg *config.Config) (map[string]*port, error) {
	ports := map[string]*port{}
	var opened []*port
	for i := range cfg.Listeners {
		l := cfg.Listeners[i]
		if old := s.mu.ports[id(&l)]; old != nil {
			p := *old
			p.cfg = l
			ports[id(&l)] = &p
			continue
		}
		p, err := s.openPort(ctx, l, cfg.MaxConnections)
		if err != nil {
			for _, p := range opened {
				_ = p.ln.Close()
			}
			return nil, err
		}
		opened = append(opened, p)
		ports[id(&l)] = p
	}
	return ports, nil
}

func (s *stack) openPort(ctx context.Context, l config.Listener, maxConns int) (*port, error) {
	if s.mu.leaving[id(&l)] != nil {
		return nil, fmt.Errorf("the listener %s is still draining from an earlier reload; try again", l.Name)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", l.Address, err)
	}
	_, number, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening on %s: %w", l.Address, err), ln.Close())
	}
	server := proxy.NewServer(s.logger, maxConns)
	server.OnConnections = s.metrics.Connections
	return &port{
		cfg: l, ln: ln, door: number, server: server,
		unnamed: limit.New(limit.Options{Rate: unnamedRate, InFlight: unnamedInFlight}),
	}, nil
}

// listener is the port as the proxy sees it.
func (p *port) listener() *proxy.Listener {
	p.server.Ask(nil)
	if p.cfg.Identity == proxy.IdentityKernel {
		p.server.Ask(caller.Owner)
	}
	door := caller.NewDoor(p.door, append(p.own(), p.cfg.Hosts...)...)
	return &proxy.Listener{
		Name: p.cfg.Name, Door: door, Origins: door.Origins(), Scripts: p.cfg.Scripts, Default: p.cfg.DefaultScript,
		KeepAlive: p.cfg.KeepAlive, Unnamed: p.unnamed, Crowded: p.server.Crowded, Identity: p.cfg.Identity,
	}
}

// own is the address that the port is bound to, which tools may name: none for
// one that is bound to every address.
func (p *port) own() []string {
	a, ok := p.ln.Addr().(*net.TCPAddr)
	if !ok || a.IP.IsUnspecified() {
		return nil
	}
	return []string{a.IP.String()}
}

// state is what the proxy serves by, from the parts in force. s.mu is held, or
// nobody else knows s yet.
func (s *stack) state() *proxy.State {
	cfg := s.mu.cfg
	st := &proxy.State{
		Scripts: map[string]*proxy.Script{}, Listeners: map[string]*proxy.Listener{},
		Keys: s.mu.keys, Site: s.mu.site, Origin: cfg.Site, Types: flow.NewTypes(namedTypes(cfg)...),
		Handles: signer(s.mu.files.handles), HandleLife: cfg.Handles.TTL,
		MaxBody: cfg.MaxBody, MaxDepth: cfg.MaxDepth, Contact: cfg.Contact,
	}
	if s.mu.files.storage != nil {
		st.Storage = s.mu.files.storage
	}
	st.Login = loginName
	s.budgets.putSite(st)
	for i := range cfg.Scripts {
		c := &cfg.Scripts[i]
		p := &proxy.Script{
			Policy: policyOf(c), DropUUID: c.DropSession, Contact: c.Contact,
			Observe: c.Observe, ObserveEnd: c.ObserveEnd, FlowLogin: c.FlowLogin,
		}
		s.budgets.put(p, c)
		st.Scripts[c.Name] = p
	}
	for id, p := range s.mu.leaving {
		l := p.listener()
		l.KeepAlive = false
		st.Listeners[id] = l
	}
	for id, p := range s.mu.ports {
		st.Listeners[id] = p.listener()
	}
	return st
}

// policyOf is what a script may do.
func policyOf(c *config.Script) *policy.Script {
	return policy.Compile(policy.Script{
		Name: c.Name, Where: c.AllowWhere, Rules: c.Allow, Deny: c.Deny,
		Sudo: c.SudoAsLogin, SudoCaller: c.SudoCaller, ForwardUser: c.ForwardUser,
	})
}

// loginName is the name of a user of this host.
func loginName(uid uint32) (string, bool) {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return "", false
	}
	return u.Username, true
}

// serve starts ports.
func (s *stack) serve(ports map[string]*port) {
	for id, p := range ports {
		s.logger.Info("listening", slog.String("listener", p.cfg.Name), slog.String("address", p.ln.Addr().String()))
		go func() {
			if err := p.server.Serve(p.ln, s.proxy.Handler(id)); !errors.Is(err, http.ErrServerClosed) {
				select {
				case s.failed <- fmt.Errorf("the listener %s stopped: %w", p.cfg.Name, err):
				default: // one is enough to end by
				}
			}
		}()
	}
}

// start begins to serve.
func (s *stack) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve(s.mu.ports)
	s.started.Store(true)
}

// stop takes no more calls, finishes those in flight within limit, and lets go
// of everything. The audit log closes last.
func (s *stack) stop(limit time.Duration) error {
	s.drained.Store(true)
	s.proxy.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s.mu.Lock()
	var wait sync.WaitGroup
	for _, p := range s.mu.ports {
		wait.Go(func() {
			if err := p.server.Shutdown(ctx); err != nil {
				s.logger.Warn("calls in flight were cut off at the end of drain", slog.String("listener", p.cfg.Name))
			}
		})
	}
	s.mu.Unlock()
	wait.Wait()
	s.waiting.Wait()
	return s.release()
}

// release closes what a stack holds.
func (s *stack) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.mu.ports {
		_ = p.ln.Close()
	}
	s.mu.keys.Close()
	s.mu.site.Close()
	s.mu.files.storage.close()
	s.control.Close()
	s.budgets.brakes.close()
	if s.budgets.fleet != nil {
		s.budgets.fleet.Close()
	}
	if s.log == nil {
		return nil
	}
	if err := s.log.Close(); err != nil {
		return fmt.Errorf("closing the audit log: %w", err)
	}
	return nil
}

// namedTypes are the entity types that rules name.
func namedTypes(cfg *config.Config) []string {
	var out []string
	for i := range cfg.Scripts {
		for _, r := range slices.Concat(cfg.Scripts[i].Allow, cfg.Scripts[i].Deny) {
			for _, t := range r.Targets {
				if flow.IsTypeName(t.Type) {
					out = append(out, t.Type)
				}
			}
		}
	}
	return out
}

func scriptNames(cfg *config.Config) []string {
	out := make([]string, len(cfg.Scripts))
	for i := range cfg.Scripts {
		out[i] = cfg.Scripts[i].Name
	}
	return out
}

func reasonNames() []string {
	var out []string
	for _, r := range proxy.Reasons() {
		out = append(out, string(r))
	}
	return out
}

// watch adds what is found out at each scrape.
func (s *stack) watch() {
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	admin.Watch(s.registry, admin.Sources{
		Version: software(), GoVersion: runtime.Version(),
		Keys: func() []admin.KeyStatus {
			var out []admin.KeyStatus
			for _, k := range s.keys().Keys() {
				out = append(out, admin.KeyStatus{Script: k.Script, State: k.State, Age: k.Age})
			}
			return out
		},
		Queues: s.queues,
		Vault: func() admin.VaultStatus {
			v := s.keys().Vault()
			return admin.VaultStatus{State: v.State, TokenTTL: v.TokenTTL}
		},
		Audit: func() admin.AuditStatus {
			a := s.log.Stats()
			return admin.AuditStatus{Errors: a.Errors, Lost: a.Lost, FreeBytes: a.Free}
		},
		Site: s.siteStatus, Fleet: s.fleetStatus, Brakes: s.brakeStatus,
		BufferedBytes: s.buffered.InUse,
	})
}

func (s *stack) keys() *keys {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.keys
}

func (s *stack) queues() []admin.QueueStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []admin.QueueStatus
	for i := range s.mu.cfg.Scripts {
		name := s.mu.cfg.Scripts[i].Name
		out = append(out, admin.QueueStatus{Script: name, Queued: s.budgets.scripts[name].queued()})
	}
	return out
}

func (s *stack) siteStatus() admin.SiteStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.budgets.siteStatus()
}

func (s *stack) fleetStatus() (admin.FleetStatus, bool) {
	f := s.fleet()
	if f == nil {
		return admin.FleetStatus{}, false
	}
	st := f.Status()
	return admin.FleetStatus{Connected: st.Connected, Leases: st.Leases, Denied: st.Denied, Returned: st.Returned, FellBack: st.FellBack, Outages: st.Outages}, true
}

func (s *stack) fleet() *fleet.Fleet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.budgets.fleet
}

func (s *stack) brakeStatus() []admin.BrakeStatus {
	var out []admin.BrakeStatus
	for _, b := range s.budgets.brakes.list() {
		out = append(out, admin.BrakeStatus{Scope: b.Scope, Name: b.Name, Rate: b.Rate})
	}
	return out
}
