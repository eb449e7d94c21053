// Package proxy is the data plane: the only package that serves the data port.
//
// It decides nothing about keys or policies itself; it puts the steps in order.
// It never sends a caller's bytes on, only what package flow built from its own
// parse, and it never imports package vault.
package proxy

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"stagedoor/audit"
	"stagedoor/caller"
	"stagedoor/flow"
	"stagedoor/handle"
	"stagedoor/limit"
	"stagedoor/policy"
	"stagedoor/secret"
	"stagedoor/upstream"
)

// Keys answers for a script's credential from memory.
type Keys interface {
	// Credential never waits for the network. Its error names the script and
	// says in one sentence why there is no usable key and what to do.
	Credential(script string) (secret.Credential, error)
	// Refresh looks at the source now, once however many ask.
	Refresh(ctx context.Context, script string) (changed bool, err error)
}

// Auditor keeps the record. Without one, no call leaves. It keeps no Event
// beyond the call that hands it over.
type Auditor interface {
	Append(e *audit.Event) error
	Note(e *audit.Event)
	Refused(e *audit.Event) error
}

// Metrics counts. Its methods are called for every call and must not block.
type Metrics interface { //nolint:interfacebloat // counters, each of its own kind
	Call(script, group, result string, upstream, own time.Duration)
	Refused(script, reason string)
	// Observed counts a call that was let through only because its script is in
	// observe mode, by the reason for which it would have been refused.
	Observed(script, reason string)
	Held(script string, d time.Duration)
	InFlight(script string, delta int)
	Redacted(n int)
}

// Sender is the site.
type Sender interface {
	Do(ctx context.Context, r upstream.Request) (*http.Response, error)
}

// Storage is the hosts that pre-signed links may lead to.
type Storage interface {
	// Allows says whether links to a host are relayed; host has a port where the
	// link has one.
	Allows(host string) bool
	// Do sends a request there, as Sender does to the site.
	Do(ctx context.Context, host string, r upstream.Request) (*http.Response, error)
}

// Config is what a proxy needs for its whole life. All fields are required.
type Config struct {
	Version string
	Audit   Auditor
	Metrics Metrics
	Logger  *slog.Logger
	// Now is the clock, Entropy the source of request ids.
	Now     func() time.Time
	Entropy io.Reader
}

// State is what a reload replaces, all at once. It is immutable.
type State struct {
	Scripts map[string]*Script
	// Listeners are the data ports by name. One that is going away stays until
	// its last call has ended.
	Listeners map[string]*Listener
	// Keys and Site are where the scripts' keys are and where calls go: a call
	// ends with those that it began with.
	Keys Keys
	Site Sender
	// Origin is the site's, https://host[:port]. Types are the entity types that
	// are known.
	Origin string
	Types  *flow.Types
	// Handles signs what tools get in place of sessions; HandleLife is how long
	// one lasts.
	Handles    *handle.Signer
	HandleLife time.Duration
	// Storage is where links to storage are relayed to; nil: they pass unchanged.
	Storage Storage
	// MaxBody is the largest request body in bytes that is held, MaxDepth its
	// nesting.
	MaxBody  int64
	MaxDepth int
	// Contact closes every refusal that an artist reads.
	Contact string

	// Login names the user of a uid, as the site's logins are made from it; ok is
	// false where there is no such user. It is asked once for each connection and
	// may take its time. nil knows nobody.
	Login func(uid uint32) (user string, ok bool)

	// What all scripts share, each of it optional. Brakes is what a wrangler has
	// slowed or paused; Callers is a budget for each caller; SiteLimiter is what
	// this proxy may ask of the site, SiteFleet what all of a fleet may. Health
	// hears of every answer of the site, and bounds SiteLimiter's calls in flight.
	Brakes      *limit.Brakes
	Callers     *limit.Callers
	SiteLimiter *limit.Limiter
	SiteFleet   limit.Stage
	Health      *limit.Health
}

// Script is one script in service.
type Script struct {
	Policy  *policy.Script
	Limiter *limit.Limiter
	// DropUUID takes the session_uuid out of calls.
	DropUUID bool
	// Contact is the script's own, else State's.
	Contact string

	// Observe lets calls through that only lack a rule, until ObserveEnd, which is
	// never where it is zero.
	Observe    bool
	ObserveEnd time.Time
	// FlowLogin makes the login of a script that acts as its caller: {user} in it
	// is the user's name. "" is the user's name.
	FlowLogin string

	// Fleet is what all proxies together may do with the script; nil is no bound.
	Fleet limit.Stage
	// Kinds bounds calls of a kind ([KindRead] and so on) within Limiter.
	Kinds map[string]*limit.Limiter
	// Lane is where its calls wait; MaxHold bounds what they wait at all budgets
	// together, 0 leaves it to each budget, negative holds not at all.
	Lane    limit.Lane
	MaxHold time.Duration
	// UploadBytes makes an upload cost 1 for each begun so many bytes; 0 does not.
	UploadBytes int64
}

// Listener is one data port's own settings. It is immutable.
type Listener struct {
	Name string
	Door *caller.Door
	// Identity says how callers are known: by their address, or, where it is
	// [IdentityKernel], by their user; its [Server] has to ask ([Server.Ask]).
	Identity string
	// Origins are the addresses that tools may know this listener by.
	Origins []string
	// Scripts are the names that callers here may use; Default serves calls
	// that name none, "" refuses them where there are several.
	Scripts []string
	Default string
	// KeepAlive false closes each connection after its answer.
	KeepAlive bool
	// Unnamed limits calls that belong to no script: info where several scripts
	// are served, and what could not be read.
	Unnamed *limit.Limiter
	// Crowded says that connections run out, so that idle ones have to go.
	Crowded func() bool
}

// Proxy serves calls. It is safe for concurrent use.
type Proxy struct {
	cfg      Config
	state    atomic.Pointer[State]
	buffered *limit.Room
	over     chan struct{} // holds one token: of the body that goes on beyond it
	ids      *ids
	routes   *routes
	parser   flow.Parser
	events   sync.Pool // *audit.Event: two for each call, of half a KiB
	buffers  bufferPool
	files    bufferPool // for files that stream
	scrubs   scrubbers
	unpack   unpackers
	spooled  atomic.Int64 // bytes of answers that wait to be complete
	draining atomic.Bool
	probes   probes
	asks     asks
	sessions sessions
	shares   shares
	lookups  lookups

	// What every answer says, and outgoing headers that are always the same.
	noStore, noSniff []string
	userAgent        string
}

// New makes a proxy that serves st until it is told otherwise. buffered bounds
// all bodies in memory together.
func New(cfg Config, st *State, buffered *limit.Room) *Proxy {
	p := &Proxy{cfg: cfg, buffered: buffered, over: make(chan struct{}, 1), ids: newIDs(cfg.Entropy), routes: newRoutes(), buffers: newBufferPool(pooled), files: newBufferPool(fileBuffer)}
	p.noStore, p.noSniff, p.userAgent = []string{"no-store"}, []string{"nosniff"}, "stagedoor/"+cfg.Version
	p.scrubs.init()
	p.unpack.init()
	p.probes.init()
	p.state.Store(st)
	return p
}

// Replace puts another configuration in force for the calls that begin from
// now on.
func (p *Proxy) Replace(st *State) {
	p.state.Store(st)
	p.shares.reload(st)
}

// Drain makes every further answer close its connection.
func (p *Proxy) Drain() { p.draining.Store(true) }

// Handler serves the listener of that name, which every State must have for as
// long as the handler is called.
func (p *Proxy) Handler(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(name, w, r) })
}

// serve is one request from top to bottom.
func (p *Proxy) serve(listener string, w http.ResponseWriter, r *http.Request) {
	x := p.begin(listener, w, r)
	defer x.finish() // the only place where an outcome is recorded
	switch ok := x.admit(); {
	case !ok || x.reason != "":
		x.pay()
		x.deny()
	case x.served == "": // else another call's answer has been written
		x.leaving()
		p.forward(x)
	}
	x.done = true // a broken answer never gets here: finish records it as aborted
}

// admit runs every step that can say no, in the order that is the security
// argument: nothing is decided before all of it was read, no key is touched for
// a call that is refused, and no call leaves without its record.
func (x *exchange) admit() bool {
	return x.door() && // not a web page, not another host, nothing but a path
		x.route() && // exactly one of our routes
		x.read() && // the whole body, bounded; of an upload what stands before its file
		x.parse() && // completely, or not at all
		x.identify() && // whom the kernel names, where the listener asks
		x.handle() && // is it one of ours, and still good
		x.choose() && // which script
		x.decide() && // deny by default
		x.lookup() && // in which projects the records lie, where the rule asks
		(x.shared() || // answered as an equal call was, without the site
			x.limit() && // held in order, up to max_hold
				x.credential() && // from memory
				x.intent()) // no record, no call
}

// pay charges a call that was refused before it could be read. Those that were
// read are charged by what they asked for.
func (x *exchange) pay() {
	if x.call == nil && x.reason != "" {
		x.charge(1)
	}
}

// door keeps out what is no tool on this host.
func (x *exchange) door() bool {
	if problem := x.l.Door.Check(x.r); problem != "" {
		return x.refuse(Reason(problem), "", "")
	}
	return true
}

func (x *exchange) route() bool {
	if x.r.ProtoMajor != 1 || x.r.ProtoMinor != 1 {
		// HTTP/1.0 can't be told that an answer broke off; all clients speak 1.1.
		return x.refuse(BadFraming, "", "")
	}
	var reason Reason
	if x.way, reason = x.p.routes.match(x.r); reason != "" {
		return x.refuse(reason, "", "")
	}
	h := x.r.Header
	switch {
	case len(h["Content-Encoding"]) > 0:
		return x.refuse(ContentEncoding, "", "")
	case x.r.URL.ForceQuery, x.r.URL.RawQuery != "" && (x.way == wayRPC || x.way == wayForm || x.way == wayMetrics):
		return x.refuse(QueryString, "", "")
	case (x.way == wayRPC || x.way == wayMetrics) && !isJSON(h["Content-Type"]),
		x.way == wayForm && !isForm(h["Content-Type"]) && !isMultipart(h["Content-Type"]):
		return x.refuse(ContentType, "", "")
	}
	return true
}

// message is a call that was read completely, by whatever way it came.
type message interface {
	CallerCredential(now secret.Credential) string
	Token() secret.Value
}

// parse reads the call. Each way fills its own message.
func (x *exchange) parse() bool {
	var err error
	switch x.way {
	case wayRPC:
		if x.rpc, err = x.p.parser.ParseRPC(x.body.b, x.links(), x.st.MaxDepth); err == nil {
			x.msg, x.call = x.rpc, &x.rpc.Call
		}
	case wayForm:
		if x.form, err = x.parseForm(); err == nil {
			x.msg, x.call = x.form, &x.form.Call
		}
	case wayREST:
		if x.rest, err = x.parseREST(); err == nil {
			x.msg, x.call = x.rest, &x.rest.Call
			x.rest.SetToken(x.headerToken())
		}
	case wayToken:
		if x.token, err = flow.ParseTokenRequest(x.r.URL.RawQuery, x.contentType(), x.body.b); err == nil {
			x.msg, x.call = x.token, &x.token.Call
		}
	case wayDownload:
		if x.file, err = flow.ParseDownload(x.r.URL.EscapedPath(), x.r.URL.RawQuery); err == nil {
			x.msg, x.call = x.file, &x.file.Call
			x.file.SetToken(x.headerToken())
		}
	case wayStorage:
		return x.parseStorage()
	case wayMetrics, wayNone:
		x.msg, x.call = new(flow.Carried), &flow.Call{Kind: flow.KindRPC, Method: "track_metrics", Group: flow.GroupInfo}
	}
	x.releaseBody(x.msg)
	switch {
	case err != nil:
		return x.refuseParse(err)
	case x.badLink:
		return x.refuse(BadCall, "the link to storage in the call is none that is good here (any more)", "ask the site for a new one")
	}
	return true
}

// choose finds the script. Where the listener serves one, every call is its;
// where it serves several, the name that the tool sends picks among them.
func (x *exchange) choose() bool {
	name, sent := x.l.Default, x.call.ScriptName
	if x.held != nil {
		if sent != "" && sent != x.held.Script {
			x.charge(x.cost())
			return x.refuse(BadHandle, "the session token is another script's than the one that the call names", "")
		}
		sent = x.held.Script
	}
	switch {
	case x.held != nil && !slices.Contains(x.l.Scripts, sent):
		x.charge(x.cost())
		return x.refuse(BadHandle, "the session token is for a script that is not served on this listener", "")
	case x.held != nil:
		name = sent
	case len(x.l.Scripts) == 1:
		name = x.l.Scripts[0]
	case sent != "":
		name = ""
		for _, s := range x.l.Scripts {
			if s == sent {
				name = s
			}
		}
		if name == "" {
			x.charge(x.cost())
			return x.refuse(ScriptUnknown, "the script "+shown(sent)+" is not served on this listener",
				"it serves "+some(x.l.Scripts)+"; check the tool's script_name")
		}
	}
	x.script = x.st.Scripts[name]
	if x.script == nil && x.call.Group != flow.GroupInfo {
		x.charge(x.cost())
		return x.refuse(ScriptUnnamed, "the call names no script and this listener serves several",
			"set script_name in the tool (api_key=\"x\" will do), or default_script on the listener")
	}
	if x.script != nil {
		x.scriptName = name
		x.useHandle()
		if x.script.DropUUID {
			x.call.SessionUUID = ""
		}
	}
	return true
}

// credential gets the key, from memory. A call that goes without one of ours
// looks only to tell what the tool carried.
func (x *exchange) credential() bool {
	if x.script == nil {
		return true
	}
	c, err := x.st.Keys.Credential(x.scriptName)
	if err == nil {
		x.cred = c
		x.credClass = x.class()
		return true
	}
	if x.call.Group == flow.GroupInfo || x.call.UserAuth || x.way == wayStorage || x.isLocal() {
		return true
	}
	return x.refuse(NoKey, err.Error(), "")
}

// class says what the tool itself carried.
func (x *exchange) class() audit.Credential {
	if x.held != nil {
		return audit.CredHandle
	}
	return audit.Credential(x.msg.CallerCredential(x.cred))
}

func (x *exchange) intent() bool {
	if err := x.record(audit.Intent); err != nil {
		// The log has said so once, when its sink failed.
		x.p.cfg.Logger.Debug("a call was refused because its audit record could not be written",
			slog.String("id", x.id), slog.Any("error", err))
		return x.refuse(AuditFailed, "", "")
	}
	x.recorded = true
	return true
}
