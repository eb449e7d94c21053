// Package flowsite is a strict stand-in for a Flow Production Tracking site:
// what `stagedoor demo` runs against, and the judge in tests of the proxy. It
// speaks api3 JSON, the upload forms, downloads and REST, and has a storage
// service beside it.
//
// It refuses every call whose credential isn't exactly right, and everything
// else that no client sends is a violation: HTTP 400, kept for the test to
// see. It never imports another package of this module: what it knows of the
// protocol comes from its description (flow-protocol.md §§1–2, cited in the
// tests), so a mistake in the proxy can't be mirrored here. It holds nothing
// of value and must never be given a real key.
package flowsite

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Defaults of Options.
const (
	defaultPageMax     = 500            // flow-protocol §2.6
	defaultSession     = 24 * time.Hour // §6.1: seen on a probed site
	defaultRecordMax   = 10_000         // calls: more than a test makes
	defaultRecordBytes = 64 << 20       // bodies kept: a test's memory is bounded too
	defaultKeepFiles   = 64 << 20       // files beyond that are known by size and sum
	defaultURL         = "https://stand-in.invalid"
	maxBody            = 64 << 20 // twice the proxy's default bound
)

// Options of a [Site]; the zero value is a usable site.
type Options struct {
	// Schema is a schema file; nil: the built-in one.
	Schema []byte
	// Now is the site's clock; nil: time.Now. A fixed one makes all answers
	// and states deterministic.
	Now func() time.Time
	// Entropy makes session tokens and request ids; nil: crypto/rand.
	Entropy io.Reader
	// PageMax is the most rows a page has; 0: 500.
	PageMax int
	// Version that `info` announces; zero: 8.89.0.
	Version [3]int
	// URL is the site's own in answers (images); "": a name that never
	// resolves.
	URL string
	// SessionTTL is how long an unused session lives; 0: a day.
	SessionTTL time.Duration
	// RecordMax and RecordBytes bound the record: calls and bytes of bodies
	// kept, the oldest go first. 0: 10 000 and 64 MiB; negative: no record.
	RecordMax, RecordBytes int
	// AllowHeaders are request headers that are no violation beyond the
	// usual ones, in canonical form.
	AllowHeaders []string
	// Hosts are names (with port) that a request may give as its host, beside
	// those of [Site.Start]. With none of either, any host will do.
	Hosts []string
	// Plain answers have no gzip, whatever the caller accepts.
	Plain bool
	// CORS mirrors any Origin with credentials, as REST does on the real
	// site (flow-protocol §6.4).
	CORS bool
	// Echo repeats the caller's secret in headers, bodies, cookies, redirects
	// and error pages, and in front of files, in several encodings, as a
	// careless site might. See [Echoes].
	Echo bool
	// UserAuthCode, when not 0, is the fault of every call with a person's
	// login: 108 on a site with SSO, 110 with Autodesk Identity (§1.5).
	UserAuthCode int
	// KeepFiles is how many bytes of files are kept to be downloaded again, in
	// all; of a file that doesn't fit, size and sum are known. 0: 64 MiB;
	// negative: none.
	KeepFiles int64
	// PendingThumbnails are not ready when they were uploaded, until
	// [Site.ProcessThumbnails].
	PendingThumbnails bool
	// DirectUploads tells clients to upload to storage, StorageLinks shows
	// files and images as pre-signed links, and RedirectDownloads answers
	// downloads with a redirect to one. All need [Site.StartStorage].
	DirectUploads, StorageLinks, RedirectDownloads bool
	// OneUseLinks makes links to download good for one GET. Those to upload
	// always are good for one PUT.
	OneUseLinks bool
	// Chunk, when not 0, makes every answer chunked, in pieces of so many
	// bytes.
	Chunk int
	// NoEvents keeps no event log: for benchmarks that write.
	NoEvents bool
}

// Site is a stand-in site. It is safe for concurrent use; use [New].
type Site struct {
	opts    Options
	kinds   map[string][]string // data type → relations
	methods map[string]method
	forms   map[string]formSpec
	routes  []restRoute
	gz      sync.Pool
	ca      func() (*authority, error) // made when it is first needed

	mu       sync.Mutex // guards all below
	state    *state
	scripts  map[string]*script // by name
	people   map[string]*person // by login
	sessions map[string]*session
	tokens   restTokens
	hooks    restHooks
	begun    []*restUpload // over REST, the last maxUploads
	hosts    []string      // that a request may name; none: any
	rec      record
	faults   []*planned
	hook     func(Received)
	url      string // see SetURL
	aborted  int
	// The storage service.
	storageURL   string // "": not started
	storageHosts []string
	links        map[string]*storageLink // by target
	linkOrder    []string                // oldest first
	linkN        int
	uploads      map[string]*storageUpload // by id
	uploadOrder  []string                  // oldest first
	// keptBytes are the bytes of files kept: at most Options.KeepFiles.
	keptBytes int64
}

// New makes a site that has no rows and knows no script.
func New(o Options) (*Site, error) {
	o = o.effective()
	sch, err := loadSchema(o.Schema)
	if err != nil {
		return nil, err
	}
	s := &Site{
		opts: o, kinds: dataTypes(), state: newState(sch),
		scripts: map[string]*script{}, people: map[string]*person{}, sessions: map[string]*session{},
		links: map[string]*storageLink{}, uploads: map[string]*storageUpload{},
	}
	s.methods, s.forms, s.url = methods(), allForms(), o.URL
	s.routes = restRoutes()
	s.ca = sync.OnceValues(func() (*authority, error) { return newAuthority(time.Now()) })
	s.hosts = slices.Clone(o.Hosts)
	s.rec.max, s.rec.maxBytes = o.RecordMax, o.RecordBytes
	return s, nil
}

func (o Options) effective() Options {
	if o.Schema == nil {
		o.Schema = builtin
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Entropy == nil {
		o.Entropy = rand.Reader
	}
	o.PageMax = orDefault(o.PageMax, defaultPageMax)
	o.RecordMax = orDefault(o.RecordMax, defaultRecordMax)
	o.RecordBytes = orDefault(o.RecordBytes, defaultRecordBytes)
	o.SessionTTL = orDefault(o.SessionTTL, defaultSession)
	o.KeepFiles = orDefault(o.KeepFiles, defaultKeepFiles)
	o.Version = orDefault(o.Version, [3]int{8, 89, 0})
	o.URL = orDefault(o.URL, defaultURL)
	return o
}

func orDefault[T comparable](v, d T) T {
	var none T
	if v == none {
		return d
	}
	return v
}

// fault is an answer of HTTP 200 with exception true (flow-protocol §1.4).
type fault struct {
	code int
	msg  string
}

func (f *fault) Error() string { return f.msg }

// The codes of flow-protocol §1.5.
const (
	codeServer = 100
	codeAuth   = 102
	codeBad    = 103 // bad request, field, paging
	codeNone   = 104 // not found or not permitted
	codeTwo    = 106 // second factor missing
)

func bad(format string, a ...any) error  { return &fault{codeBad, fmt.Sprintf(format, a...)} }
func none(format string, a ...any) error { return &fault{codeNone, fmt.Sprintf(format, a...)} }

// ServeHTTP answers one request.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{site: s, w: w, r: r}
	x.rec = s.received(r)
	if s.opts.CORS && r.Method == http.MethodOptions {
		x.preflight()
		return
	}
	x.route()
}

// exchange is one request on its way through.
type exchange struct {
	site *Site
	w    http.ResponseWriter
	r    *http.Request
	rec  Received
	call rpc
	// secret is what the caller sent, for the echo.
	secret string
}

func (x *exchange) readBody() error {
	var b bytes.Buffer
	_, err := b.ReadFrom(http.MaxBytesReader(x.w, x.r.Body, maxBody))
	x.rec.Body = b.Bytes()
	if err != nil {
		return fmt.Errorf("reading the body: %w", err)
	}
	return nil
}

// serveRPC answers an api3 call, and what is on no route: a violation.
func (x *exchange) serveRPC() {
	x.rec.Kind = RouteRPC
	if x.readBody() != nil {
		x.violate("the body ended early or is over the bound")
		return
	}
	if found := x.judge(); len(found) > 0 {
		x.violate(found...)
		return
	}
	plan, out := x.apply()
	x.reply(plan, out)
}

// apply does the call under the lock, unless a planned fault comes first.
func (x *exchange) apply() (*Fault, outcome) {
	return x.applyWith(func() outcome { return x.site.answerLocked(x) })
}

// applyWith is apply for any kind of call; do runs with Site.mu held.
func (x *exchange) applyWith(do func() outcome) (*Fault, outcome) {
	s := x.site
	s.mu.Lock()
	defer s.mu.Unlock()
	plan := s.plannedLocked(x.rec)
	return plan, x.applyPlannedLocked(plan, do)
}

// plan takes the fault that is due for the call before it is applied: where a
// file is still to be read.
func (x *exchange) plan() *Fault {
	x.site.mu.Lock()
	defer x.site.mu.Unlock()
	return x.site.plannedLocked(x.rec)
}

func (x *exchange) applyPlanned(plan *Fault, do func() outcome) outcome {
	x.site.mu.Lock()
	defer x.site.mu.Unlock()
	return x.applyPlannedLocked(plan, do)
}

func (x *exchange) applyPlannedLocked(plan *Fault, do func() outcome) outcome {
	var out outcome
	if plan == nil || plan.After {
		out = do()
	}
	x.rec.Fault = plan
	x.rec.FaultCode = out.code
	x.site.rec.add(x.rec)
	return out
}

// outcome is what a call comes to: results, or a fault.
type outcome struct {
	status int         // 0: 200
	header http.Header // beyond the site's own; nil: JSON
	body   []byte
	code   int // error_code, 0: none
}

func (s *Site) answerLocked(x *exchange) outcome {
	id, err := s.authenticateLocked(x.call)
	var result any
	if err == nil {
		c := &ctx{Site: s, state: s.state, who: id, method: x.call.method, now: s.opts.Now().UTC()}
		result, err = s.methods[x.call.method].run(c, x.call.args)
	}
	var out outcome
	f, isFault := errors.AsType[*fault](err)
	switch {
	case err == nil && x.call.method == "info":
		out.body = appendJSON(nil, result) // bare: flow-protocol §1.4
	case err == nil:
		out.body = append(appendJSON([]byte(`{"results":`), result), '}')
	case isFault:
		out.code = f.code
		out.body = faultBody(f.code, f.msg)
	default:
		out.code = codeServer
		out.body = faultBody(codeServer, err.Error())
	}
	if s.opts.Echo && x.secret != "" && x.call.method != "info" {
		out.body = withEchoes(out.body, x.secret)
	}
	return out
}

func faultBody(code int, msg string) []byte {
	return appendJSON(nil, map[string]any{"exception": true, "message": msg, "error_code": code})
}

// ctx is one authenticated call at work. It lives while Site.mu is held.
type ctx struct {
	*Site
	state  *state
	who    identity
	method string
	now    time.Time
}

func (c *ctx) stamp() string { return c.now.Format(dateTime) }
