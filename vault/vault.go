// Package vault gets the scripts' keys from HashiCorp Vault and keeps them in
// memory: it logs in, renews, reads, reads again, and knows what an outage may
// cost and what a refusal must.
//
// It is the only importer of vault/api. It never writes to Vault but to log in,
// renew and revoke its own tokens, never follows a redirect, never uses a proxy,
// and takes nothing from the environment: the VAULT_* variables that vault/api
// reads are removed from it. No secret, and nothing that Vault wrote in an
// answer, gets into an error or a log line.
package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"stagedoor/secret"
)

// Defaults of Options.
const (
	DefaultTimeout  = 10 * time.Second
	DefaultRefresh  = 10 * time.Minute
	DefaultMaxStale = 24 * time.Hour
)

// Options configure a [Store].
type Options struct {
	// Address is https://HOST:PORT; http only for a loopback address.
	Address string
	// CAFile is a PEM file; "" trusts what the system trusts.
	CAFile string
	// Namespace is Vault Enterprise's; "" is none.
	Namespace string
	// Mount is that of the KV engine.
	Mount string
	// KVVersion is 1, 2, or 0: ask Vault.
	KVVersion int
	// Timeout bounds one question to Vault with its repetitions, Refresh is the
	// time between two looks at all keys, MaxStale how long a key is used after
	// Vault last confirmed it. 0 takes the default.
	Timeout, Refresh, MaxStale time.Duration
	Login                      Login
	Scripts                    []Script
	// Handles is where the key of handles is; nil is elsewhere.
	Handles *Place
	// Redis is where the password of Redis is; nil is elsewhere.
	Redis *Place
	// Logger gets each change once; nil is silence.
	Logger *slog.Logger
	// Now is the clock that keys age by; nil is [time.Now].
	Now func() time.Time
	// Jitter gives numbers from [0,1); nil is a random source.
	Jitter func() float64
	// UserAgent is sent to Vault.
	UserAgent string
	// From is a store to take over from, so that a reload loses no key even while
	// Vault is down: its keys where address, namespace, mount, path and fields are
	// the same, and its token where the login is the same too. It may be closed
	// once Open has returned.
	From *Store
}

// Login is how to log in; exactly one field is set.
type Login struct {
	// TokenFile is read again when it changes, and at once when Vault refuses the
	// token. Its token is renewed and never revoked.
	TokenFile string
	// Token is fixed for the life of the store.
	Token      secret.Value
	AppRole    *AppRole
	Kubernetes *Kubernetes
}

// AppRole logs in with a role id, given or in a file, and a secret id in a file.
type AppRole struct {
	RoleID, RoleIDFile string
	SecretIDFile       string
	// Wrapped says that the file holds a wrapping token: it is unwrapped once, and
	// the secret id kept in memory for later logins.
	Wrapped bool
	// Mount is where the method is enabled; "" is approle.
	Mount string
}

// Kubernetes logs in with the service account's token from a file.
type Kubernetes struct {
	Role, TokenFile string
	// Mount is where the method is enabled; "" is kubernetes.
	Mount string
}

// Script is one script's place in Vault.
type Script struct {
	Name string
	// Path is that of the secret, below the mount.
	Path string
	// KeyField holds the key. NameField, when the secret has it, holds the name on
	// the site; SiteName is the name where it hasn't, and Name where that is "".
	KeyField, NameField, SiteName string

	own own // no script's key, but one of the proxy's own
}

// own is what a secret of the proxy's own is for.
type own uint8

const (
	notOwn      own = iota // a script's key
	ownHandles             // signs handles
	ownPassword            // opens Redis
)

// Place is that of a secret of the proxy's own: a field of a secret below the
// mount. It is read and kept as the scripts' keys are, but is no script's.
type Place struct{ Path, Field string }

// MinHandleKey is the length in bytes below which a key of handles is refused.
const MinHandleKey = 32

// Names of the entries of our own secrets, which no script can have.
const (
	handleEntry   = ""
	passwordEntry = " "
)

// States of Vault, as [Status] gives them.
const (
	StateOK          = "ok"
	StateLogin       = "login" // no working token now
	StateUnavailable = "unavailable"
	StateSealed      = "sealed"
	StateDenied      = "denied" // the login is refused
)

// Status is how Vault is.
type Status struct {
	// State is one of the State constants.
	State string
	// TokenTTL is how long the token lives on; 0 is none, or for ever.
	TokenTTL time.Duration
	// Why says what is wrong and what to do; "" when nothing is.
	Why string
}

// Store holds the keys of all scripts. It is safe for concurrent use. No method
// but Refresh, RefreshAll and Close ever waits for the network.
type Store struct {
	opt       Options
	transport *http.Transport
	method    method
	entries   map[string]*entry
	names     []string
	tickets   atomic.Uint64
	flights   singleflight.Group
	kick      chan struct{}

	life context.Context //nolint:containedctx // the life of the store: what Close ends
	end  context.CancelFunc
	work sync.WaitGroup

	mu sync.Mutex // guards what is below; never held over the network
	// closed keeps new work from starting while Close waits.
	closed  bool
	session *session
	gens    uint64
	stop    func() // ends the watch over session
	state   Status
	// found is the version of the KV engine; 0 when not known yet.
	found int
}

// Open logs in and looks at every key once, in parallel, before it returns; a
// Vault that can't be reached or a key that can't be read is no error: the
// script has no key then, and the store keeps trying. An error is a
// configuration that can never work. ctx bounds the wait, not the store's life.
func Open(ctx context.Context, opt Options) (*Store, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	m, err := newMethod(&opt.Login)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(opt.CAFile)
	if err != nil {
		return nil, err
	}
	s := &Store{
		opt: opt, transport: transport, method: m, entries: map[string]*entry{}, kick: make(chan struct{}, 1),
		state: Status{State: StateLogin, Why: "Vault was not asked yet"}, found: opt.KVVersion,
	}
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	scripts := opt.Scripts
	if h := opt.Handles; h != nil {
		scripts = append(slices.Clone(scripts), Script{Name: handleEntry, Path: h.Path, KeyField: h.Field, own: ownHandles})
	}
	if p := opt.Redis; p != nil {
		scripts = append(slices.Clone(scripts), Script{Name: passwordEntry, Path: p.Path, KeyField: p.Field, own: ownPassword})
	}
	for _, sc := range scripts {
		e := &entry{script: sc}
		e.view.Store(&view{})
		s.entries[sc.Name] = e
		s.names = append(s.names, sc.Name)
	}
	if err := s.takeOver(opt.From); err != nil {
		s.end()
		return nil, err
	}
	s.opt.From = nil // or a chain of reloads would keep every store for ever

	first := make(chan struct{})
	s.work.Go(func() { s.run(first) })
	select {
	case <-first:
	case <-ctx.Done():
	}
	return s, nil
}

// check fills in the defaults and refuses what can never work.
func (o *Options) check() error {
	if err := checkAddress(o.Address); err != nil {
		return err
	}
	if !cleanPath(o.Mount) {
		return fmt.Errorf("the mount %q of Vault's KV engine is not a path", o.Mount)
	}
	if o.KVVersion < 0 || o.KVVersion > 2 {
		return fmt.Errorf("there is no KV engine of version %d", o.KVVersion)
	}
	seen := map[string]bool{}
	for _, sc := range o.Scripts {
		switch {
		case sc.Name == "" || seen[sc.Name]:
			return fmt.Errorf("script %q is given twice or has no name", sc.Name)
		case !cleanPath(sc.Path):
			return fmt.Errorf("script %s: %q is not a path below the mount", sc.Name, sc.Path)
		case sc.KeyField == "":
			return fmt.Errorf("script %s: no field is named for the key", sc.Name)
		}
		seen[sc.Name] = true
	}
	if err := errors.Join(o.Handles.check("the handle key"), o.Redis.check("the password of Redis")); err != nil {
		return err
	}
	if o.Timeout < 0 || o.Refresh < 0 || o.MaxStale < 0 {
		return errors.New("the times of Vault can't be negative")
	}
	o.defaults()
	return nil
}

func (p *Place) check(what string) error {
	switch {
	case p == nil:
		return nil
	case !cleanPath(p.Path):
		return fmt.Errorf("%s: %q is not a path below the mount", what, p.Path)
	case p.Field == "":
		return fmt.Errorf("%s: no field is named for it", what)
	}
	return nil
}

func (o *Options) defaults() {
	pick := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	pick(&o.Timeout, DefaultTimeout)
	pick(&o.Refresh, DefaultRefresh)
	pick(&o.MaxStale, DefaultMaxStale)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = jitter
	}
	if o.UserAgent == "" {
		o.UserAgent = "stagedoor"
	}
	o.Scripts = slices.Clone(o.Scripts)
	if a := o.Login.AppRole; a != nil {
		c := *a
		c.Mount = mountOr(c.Mount, "approle")
		o.Login.AppRole = &c
	}
	if k := o.Login.Kubernetes; k != nil {
		c := *k
		c.Mount = mountOr(c.Mount, "kubernetes")
		o.Login.Kubernetes = &c
	}
}

func mountOr(mount, def string) string {
	if m := strings.Trim(mount, "/"); m != "" {
		return m
	}
	return def
}

// cleanPath says whether vault/api sends p as it stands: it joins paths, and so
// resolves the dots that would lead out of the mount.
func cleanPath(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// takeOver copies what another store knows. Sessions are shared from then on:
// the one whose store closes first leaves the token to the other.
func (s *Store) takeOver(from *Store) error {
	if from == nil || from.opt.Address != s.opt.Address || from.opt.Namespace != s.opt.Namespace {
		return nil
	}
	if from.opt.Mount == s.opt.Mount {
		s.takeKeys(from)
	}
	s.state = from.Status()
	s.state.TokenTTL = 0
	if !from.opt.Login.same(&s.opt.Login) {
		return nil
	}
	if m, ok := s.method.(*appRole); ok {
		if o, ok := from.method.(*appRole); ok {
			o.mu.Lock()
			m.wrapping, m.secretID = o.wrapping, o.secretID
			o.mu.Unlock()
		}
	}
	cur := from.current()
	if cur == nil {
		return nil
	}
	c, err := s.newClient(cur.token, s.after)
	if err != nil {
		return err
	}
	sess := &session{client: c, token: cur.token, minted: cur.minted, renewable: cur.renewable, file: cur.file}
	if at := cur.expires.Load(); at != 0 {
		sess.ttl = time.Until(time.Unix(0, at))
		if sess.ttl <= 0 {
			return nil
		}
	}
	cur.shared.Store(true)
	s.install(sess)
	return nil
}

// takeKeys copies the keys that are the same ones.
func (s *Store) takeKeys(from *Store) {
	if s.found == 0 && from.opt.KVVersion == 0 {
		from.mu.Lock()
		s.found = from.found
		from.mu.Unlock()
	}
	for _, old := range from.entries {
		for _, e := range s.entries {
			a, b := &old.script, &e.script
			if a.own != b.own || a.Path != b.Path || a.KeyField != b.KeyField || a.NameField != b.NameField {
				continue
			}
			if a.Name == b.Name {
				old.mu.Lock()
				e.logged = old.logged // no news by being taken over
				old.mu.Unlock()
			}
			v := *old.view.Load()
			if v.has && !v.named {
				v.cred.SiteName = siteName("", b)
			}
			e.view.Store(&v)
		}
	}
}

// Credential answers from memory. Its error says in one sentence why the script
// has no usable key and what to do.
func (s *Store) Credential(script string) (secret.Credential, error) {
	e, ok := s.entries[script]
	if !ok || e.script.own != notOwn {
		return secret.Credential{}, fmt.Errorf("script %q is not in the configuration", script)
	}
	return s.credential(e)
}

// HandleKey answers from memory, as Credential does: Key is the key to sign
// with, Old are those before it, which handles may still be signed with.
func (s *Store) HandleKey() (secret.Credential, error) {
	e, ok := s.entries[handleEntry]
	if !ok {
		return secret.Credential{}, errors.New("the handle key is not in Vault")
	}
	return s.credential(e)
}

// HandleStatus is the status of the key of handles; ok is false where it is not
// in Vault. Script and SiteName are "".
func (s *Store) HandleStatus() (st secret.KeyStatus, ok bool) {
	e, ok := s.entries[handleEntry]
	if !ok {
		return secret.KeyStatus{}, false
	}
	return e.status(s.opt.Now(), s.opt.MaxStale), true
}

// Password answers from memory, as Credential does: Key is the password of Redis.
func (s *Store) Password() (secret.Credential, error) {
	e, ok := s.entries[passwordEntry]
	if !ok {
		return secret.Credential{}, errors.New("the password of Redis is not in Vault")
	}
	return s.credential(e)
}

func (s *Store) credential(e *entry) (secret.Credential, error) {
	v, now := e.view.Load(), s.opt.Now()
	if !v.has || now.Sub(v.cred.ReadAt) > s.opt.MaxStale {
		return secret.Credential{}, fmt.Errorf("%s: %s", e.script.noKey(), v.why(now, s.opt.MaxStale))
	}
	return v.cred, nil
}

// Refresh looks at one script's key in Vault now, once however many ask, and
// says whether its credential changed. An error says why it could not be
// confirmed; the credential may be usable all the same. ctx bounds the wait.
func (s *Store) Refresh(ctx context.Context, script string) (changed bool, err error) {
	e, ok := s.entries[script]
	if !ok || e.script.own != notOwn {
		return false, fmt.Errorf("script %q is not in the configuration", script)
	}
	return s.fly(ctx, "script "+script, func() (bool, error) {
		changed := s.look([]*entry{e})
		if f := e.view.Load().fault; f != nil {
			return changed, f
		}
		return changed, nil
	})
}

// RefreshAll looks at all keys now, once however many ask, and returns when that
// is done or ctx ends.
func (s *Store) RefreshAll(ctx context.Context) {
	_, _ = s.fly(ctx, "all", func() (bool, error) { return s.look(s.all()), nil })
}

// fly runs f for all who ask for key at the same time. f goes on when the one
// who asked first gives up.
func (s *Store) fly(ctx context.Context, key string, f func() (bool, error)) (bool, error) {
	ch := s.flights.DoChan(key, func() (any, error) {
		if !s.begin() {
			return false, errors.New("the key store is closed")
		}
		defer s.work.Done()
		changed, err := f()
		s.wake()
		return changed, err
	})
	select {
	case r := <-ch:
		changed, _ := r.Val.(bool)
		return changed, r.Err
	case <-ctx.Done():
		return false, fmt.Errorf("waiting for Vault: %w", ctx.Err())
	}
}

// begin counts one more piece of work, unless the store is closed.
func (s *Store) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Add(1)
	return true
}

// all is every entry, in the order of the configuration.
func (s *Store) all() []*entry {
	all := make([]*entry, 0, len(s.names))
	for _, name := range s.names {
		all = append(all, s.entries[name])
	}
	return all
}

// Keys is the status of every script's key, in the order of the configuration.
func (s *Store) Keys() []secret.KeyStatus {
	now := s.opt.Now()
	all := make([]secret.KeyStatus, 0, len(s.names))
	for _, e := range s.all() {
		if e.script.own != notOwn {
			continue
		}
		all = append(all, e.status(now, s.opt.MaxStale))
	}
	return all
}

// Status is how Vault is.
func (s *Store) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	if s.session != nil {
		if at := s.session.expires.Load(); at != 0 {
			st.TokenTTL = max(0, time.Until(time.Unix(0, at)))
		}
	}
	return st
}

// Close stops all work, waits for it, and gives back the token where it is ours
// alone. Keys in memory stay readable, so that calls in flight can end.
func (s *Store) Close() {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.work.Wait()
	if again {
		return
	}
	s.revoke(context.WithoutCancel(s.life), s.current())
	s.transport.CloseIdleConnections()
}

// after runs f when the store closes, until the function it returns is called.
func (s *Store) after(f func()) func() bool { return context.AfterFunc(s.life, f) }
