// Package config reads stagedoor.yaml into a [Config].
//
// It is strict: what it does not know, what is given twice, what has no unit,
// and a rule that can never match are errors, all of them reported at once with
// file, line, column, the offending text and what was meant. It reads the one
// file it is told to, opens none of those named in it, and knows no secret:
// the file holds none, and what looks like one is never repeated in a message.
package config

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"stagedoor/flow"
	"stagedoor/internal/trust"
	"stagedoor/policy"
)

// Config is a whole configuration, every default filled in. It is not changed
// after [Parse] returned it.
type Config struct {
	Site    string // https://host or https://host:port
	SiteCA  string // PEM file; empty is the system's
	Contact string // closes refusals; may be empty

	Listeners []Listener // at least one
	Scripts   []Script   // at least one, in the order of the file
	Vault     *Vault     // nil when no script needs it
	Login     *Login     // nil when no script needs it

	MaxBody        int64 // bytes of one request body
	MaxDepth       int   // nesting of a request body
	MaxBuffered    int64 // bytes of all buffered bodies
	MaxConnections int   // of one listener

	Limits   Limits
	Schema   string // the snapshot of the site's schema; empty is the usual place
	Handles  Handles
	Storage  Storage
	Upstream Upstream
	Audit    Audit
	Admin    Admin
	Drain    time.Duration // how long calls in flight may take at the end
	Log      Log

	// Warnings is what [Parse] found noteworthy; none is an error.
	Warnings []Diagnostic
}

// Listener is one address where tools connect.
type Listener struct {
	Name          string   // unique; the address unless named
	Address       string   // host:port; host is an IP address or localhost
	Identity      string   // "none", or "kernel": callers are known by their user
	Shared        bool     // several scripts although callers are not told apart
	Scripts       []string // names of the scripts that it serves, at least one
	DefaultScript string   // for calls that name none; may be empty
	Hosts         []string // names allowed in Host besides loopback's, lower case
	KeepAlive     bool
	AllowRemote   bool
}

// Script is one identity on the site, and what may be done with it.
type Script struct {
	Name        string        // what tools send as script_name
	Line        int           // where it stands
	Active      string        // path below the mount in Vault; or
	File        string        // a file with the key
	KeyField    string        // field of the secret that holds the key
	NameField   string        // field of the secret that holds the site's script name
	SiteName    string        // the site's script name where the secret has none; may be empty
	Contact     string        // of the whole file unless given
	Allow       []policy.Rule // its own, then those of its roles
	Deny        []policy.Rule // the same of what is carved out
	AllowWhere  string        // where its allow list stands, or the script
	Limit       Limit
	Roles       []string  // its roles, those that they bring included, in the order of their rules
	SudoAsLogin []string  // logins that it may act as; * stands for any characters
	SudoCaller  bool      // sudo_as_login: caller
	FlowLogin   string    // makes the caller's login: "{user}" is the user's name
	Observe     bool      // mode: observe
	ObserveEnd  time.Time // from then on it enforces; zero is never
	DropSession bool      // session_uuid is not passed on
	ForwardUser bool      // user_auth: forward
}

// Limit is how much a script may ask of the site.
type Limit struct {
	Rate     float64 // calls per second, [MinRate] to [MaxRate]
	Burst    int     // calls at once after a pause, 1 to [MaxBurst]
	InFlight int     // calls at the same time, 1 to [MaxInFlight]
	MaxHold  time.Duration
	Queue    int // calls held at the same time, 0 to [MaxQueue]
	// Fleet is calls per second of all proxies together; 0 is no such budget. Rate
	// is then this proxy's own bound.
	Fleet       float64
	Interactive bool // lane: interactive
	// Kinds bounds kinds of calls within it.
	Kinds []KindLimit
	// UploadBytes makes an upload cost 1 for each begun so many bytes; 0 makes it
	// cost 1.
	UploadBytes int64
}

// KindLimit is how much a script may ask of one kind of calls: read, write,
// schema, upload or download.
type KindLimit struct {
	Kind  string
	Rate  float64 // calls per second
	Burst int
}

// Limits is what is asked of the site together.
type Limits struct {
	// Site is all scripts together, of the fleet where there is one; Rate 0 is
	// unlimited. InFlight is this proxy's; the site's health shrinks it, down to
	// MinInFlight.
	Site        Budget
	MinInFlight int
	// Caller is each caller, whatever its scripts; Rate 0 is unlimited.
	Caller Budget
	Fleet  *Fleet // nil: this proxy alone
}

// Budget is a rate and calls in flight; 0 is no bound.
type Budget struct {
	Rate            float64 // calls per second
	Burst, InFlight int
}

// Fleet is where proxies share their budgets.
type Fleet struct {
	Redis         string // redis:// or rediss://host:port
	CA            string // PEM file; empty is the system's
	User          string
	Password      string // path below the mount in Vault; or
	PasswordField string
	PasswordFile  string // a file with it
	// Share is this proxy's part of every budget while Redis is away.
	Share float64
	// Lease is how long leased tokens are kept unused.
	Lease time.Duration
	// Prefix begins every key in Redis.
	Prefix string
}

// LongestWait is how long a batch dearer than the burst may have to wait: until
// an empty bucket is full.
func (l *Limit) LongestWait() time.Duration {
	return time.Duration(float64(l.Burst) / l.Rate * float64(time.Second)).Round(time.Millisecond)
}

// Vault is where the keys are.
type Vault struct {
	Address   string // https://host:port
	CA        string // PEM file; empty is the system's
	Namespace string
	Mount     string // of the KV engine
	KVVersion int    // 1, 2, or 0: ask Vault
	Refresh   time.Duration
	MaxStale  time.Duration
	Timeout   time.Duration // of one request
}

// Login is how to log in to Vault; exactly one field is set.
type Login struct {
	TokenFile  string
	AppRole    *AppRole
	Kubernetes *Kubernetes
}

// AppRole logs in with a role id and a secret id from files.
type AppRole struct {
	RoleID, RoleIDFile string // exactly one
	SecretIDFile       string
	Wrapped            bool // the file holds a wrapping token
	Mount              string
}

// Kubernetes logs in with the service account's token.
type Kubernetes struct {
	Role, TokenFile, Mount string
}

// Handles is how handles are signed. At most one of File, Vault and Memory is
// set; where none is, whoever serves has to choose a file.
type Handles struct {
	File       string        // with the key, made where it is not there
	Vault      string        // path below the mount of a secret with the key
	VaultField string        // its field; set when Vault is
	Memory     bool          // a key that ends with the process
	TTL        time.Duration // how long sessions and refresh tokens live
}

// Storage is what is done with the site's pre-signed links to storage.
type Storage struct {
	Relay bool     // they lead through here; else they go to tools as they are
	Hosts []string // host, host:port or *.suffix, lower case; no port means 443
	CA    string   // PEM file; empty is the system's
}

// Covers says whether a link to host or host:port may be relayed. A pattern
// covers exactly one more label, as a certificate's does.
func (s *Storage) Covers(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	label, parent, _ := strings.Cut(host, ".")
	for _, h := range s.Hosts {
		suffix, pattern := strings.CutPrefix(h, "*.")
		switch {
		case !pattern && host == h, pattern && parent == suffix && validHost(label):
			return true
		}
	}
	return false
}

// Upstream is how the site is reached.
type Upstream struct {
	Proxy          string // http://host:port; empty is none, whatever the environment says
	ConnectTimeout time.Duration
	TLSTimeout     time.Duration
	HeaderTimeout  time.Duration // to the first byte of the answer
	BodyTimeout    time.Duration // between two reads of the answer
	Idle           time.Duration // how long an idle connection is kept
	MaxIdle        int
	HTTP2          bool // where the site offers it
}

// Audit is where the records go.
type Audit struct {
	File    string // empty is standard output
	MaxSize int64  // bytes, then the file is rotated
	Keep    int    // rotated files
	MinFree int64  // bytes on the disk below which the proxy is not ready
}

// Admin is where health and metrics are served.
type Admin struct {
	Address     string // host:port; empty is nowhere
	AllowRemote bool
}

// Log is the log of the proxy itself, on standard error.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // text, json
}

// Defaults of what the file may leave out.
const (
	DefaultMaxBody        = 32 << 20
	DefaultMaxDepth       = flow.DefaultMaxDepth
	DefaultMaxBuffered    = 256 << 20
	DefaultMaxConnections = 1024
	DefaultDrain          = 25 * time.Second // Kubernetes kills after 30 s
	DefaultAdmin          = "127.0.0.1:8471"

	DefaultMount    = "kv"
	DefaultRefresh  = 10 * time.Minute
	DefaultMaxStale = 24 * time.Hour
	DefaultTimeout  = 10 * time.Second

	DefaultAppRoleMount    = "approle"
	DefaultKubernetesMount = "kubernetes"
	DefaultKubernetesToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

	DefaultKeyField  = "api_key"
	DefaultNameField = "script_name"

	DefaultRate     = 20 // calls per second; the burst is the rate, rounded up
	DefaultInFlight = 8
	DefaultMaxHold  = 20 * time.Second
	DefaultQueue    = 1000

	DefaultInteractiveHold = 2 * time.Second // longer is a frozen Maya

	// DefaultSiteInFlight is far above what a site serves one host well, so that
	// what bounds it is the site's health.
	DefaultSiteInFlight = 256
	DefaultMinInFlight  = 4
	DefaultLease        = 2 * time.Second
	DefaultPrefix       = "stagedoor"

	DefaultHandleTTL = 720 * time.Hour // 30 days: a render job that waits, a desk over a holiday

	DefaultConnectTimeout = 10 * time.Second
	DefaultTLSTimeout     = 10 * time.Second
	DefaultHeaderTimeout  = 300 * time.Second
	DefaultBodyTimeout    = 60 * time.Second
	DefaultIdle           = 15 * time.Second
	DefaultMaxIdle        = 64

	DefaultAuditMaxSize = 100 << 20
	DefaultAuditKeep    = 10
	DefaultAuditMinFree = 256 << 20

	DefaultLogLevel  = "info"
	DefaultLogFormat = "text"
)

// Bounds of what the file may say; the others stand beside their fields in
// docs/configuration.md.
const (
	MinRate     = 1.0 / 60 // calls per second
	MaxRate     = 10000.0
	MaxBurst    = 100_000
	MaxInFlight = 10_000
	MaxQueue    = 1_000_000
	MaxTargets  = 20_000 // types in all rules of one script; a rule without any counts as one
)

// defaults is a configuration that says nothing.
func defaults() *Config {
	return &Config{
		MaxBody:        DefaultMaxBody,
		MaxDepth:       DefaultMaxDepth,
		MaxBuffered:    DefaultMaxBuffered,
		MaxConnections: DefaultMaxConnections,
		Limits:         Limits{Site: Budget{InFlight: DefaultSiteInFlight}, MinInFlight: DefaultMinInFlight},
		Handles:        Handles{TTL: DefaultHandleTTL},
		Upstream: Upstream{
			ConnectTimeout: DefaultConnectTimeout,
			TLSTimeout:     DefaultTLSTimeout,
			HeaderTimeout:  DefaultHeaderTimeout,
			BodyTimeout:    DefaultBodyTimeout,
			Idle:           DefaultIdle,
			MaxIdle:        DefaultMaxIdle,
			HTTP2:          true,
		},
		Audit: defaultAudit(),
		Admin: Admin{Address: DefaultAdmin},
		Drain: DefaultDrain,
		Log:   Log{Level: DefaultLogLevel, Format: DefaultLogFormat},
	}
}

func defaultAudit() Audit {
	return Audit{MaxSize: DefaultAuditMaxSize, Keep: DefaultAuditKeep, MinFree: DefaultAuditMinFree}
}

func defaultLimit(rate float64) Limit {
	return Limit{Rate: rate, Burst: defaultBurst(rate), InFlight: DefaultInFlight, MaxHold: DefaultMaxHold, Queue: DefaultQueue}
}

func defaultBurst(rate float64) int { return max(1, int(math.Ceil(rate))) }

// Load reads the file at path to serve by. It refuses one that others may write
// to, since whoever writes it decides who may do what: one that belongs to
// another user than root or us, or has a mode that lets others in. An error is
// [Errors] where the content is wrong.
func Load(path string) (*Config, error) { return load(path, true, nil) }

// Inspect is Load for who only looks at a file, whoever it belongs to.
func Inspect(path string) (*Config, error) { return load(path, false, nil) }

func load(path string, serve bool, open Snapshots) (*Config, error) {
	data, err := read(path, serve)
	if err != nil {
		return nil, err
	}
	c, ds := ParseWith(path, data, open)
	if c == nil {
		return nil, Errors(ds)
	}
	return c, nil
}

func read(path string, serve bool) (_ []byte, err error) {
	notFile := Errors{{File: path, Severity: Error, Msg: "this is no file"}}
	if st, serr := os.Stat(path); serr == nil && !st.Mode().IsRegular() {
		return nil, notFile // opening a pipe would wait for its other end
	}
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("opening the configuration: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("closing the configuration: %w", cerr)
		}
	}()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, notFile
	}
	if writableByOthers(st.Mode()) {
		return nil, Errors{{
			File: path, Severity: Error,
			Msg:  fmt.Sprintf("others may write to this file (mode %04o), and so grant themselves anything", st.Mode().Perm()),
			Hint: "chmod go-w " + path,
		}}
	}
	if uid, is := trust.Foreign(st); is && serve {
		return nil, Errors{{
			File: path, Severity: Error,
			Msg:  fmt.Sprintf("this file belongs to user %d, who may change it, and so grant anything", uid),
			Hint: fmt.Sprintf("chown %d %s", os.Geteuid(), path),
		}}
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1)) //nolint:forbidigo // bounded; Parse refuses what is longer
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return data, nil
}

// Parse reads data, the content of the file name. The Config is nil when one of
// the diagnostics is an error; they are sorted by place.
func Parse(name string, data []byte) (*Config, []Diagnostic) { return ParseWith(name, data, nil) }

// ParseWith is Parse, and holds the rules against what is known of the site's
// schema; open may be nil.
func ParseWith(name string, data []byte, open Snapshots) (*Config, []Diagnostic) {
	r := &reading{file: name, open: open, base: filepath.Base(name), cfg: defaults(), now: time.Now(), coverWork: maxCoverWork}
	if root := r.tree(data); root != nil {
		r.root(root)
	}
	ds := r.diagnostics()
	if hasErrors(ds) {
		return nil, ds
	}
	r.cfg.Warnings = ds
	return r.cfg, ds
}

// writableByOthers looks at the bits for group and others, which Windows has
// not.
func writableByOthers(m fs.FileMode) bool {
	return runtime.GOOS != "windows" && m.Perm()&0o022 != 0
}
