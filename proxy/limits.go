package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"
	"unicode"

	"stagedoor/flow"
	"stagedoor/limit"
	"stagedoor/upstream"
)

// Kinds of calls that a script may have a limit of its own for.
const (
	KindRead     = "read"
	KindWrite    = "write"
	KindSchema   = "schema"
	KindUpload   = "upload"
	KindDownload = "download"
)

// The budgets on a call's way, in the order in which it passes them: what stops
// it for certain first, what is shared by most last, so that a call that is
// refused has taken nothing from others.
const (
	stageBrake = iota
	stageCaller
	stageKind
	stageScript
	stageScriptFleet
	stageSite
	stageSiteFleet
	stageCount
)

// kind is which of a script's limits by kind holds for the call.
func (x *exchange) kind() string {
	switch c := x.call; {
	case c.Group == flow.GroupUpload:
		return KindUpload
	case c.Group == flow.GroupDownload:
		return KindDownload
	case c.Group == flow.GroupSchema:
		return KindSchema
	case c.Writes:
		return KindWrite
	}
	return KindRead
}

// cost is what the call takes of its budgets: what it asks for, and what it
// brings along.
func (x *exchange) cost() int {
	cost := x.call.Cost()
	if x.script == nil || x.script.UploadBytes <= 0 || x.call.Group != flow.GroupUpload || x.meter == nil {
		return cost
	}
	n := x.r.ContentLength
	if n < 0 {
		n = maxUnannounced
	}
	return cost - 1 + int(max(1, min((n+x.script.UploadBytes-1)/x.script.UploadBytes, maxUploadCost)))
}

const (
	// maxUploadCost bounds what the bytes of one upload cost; limit has a bound of
	// the same size.
	maxUploadCost = 1 << 20
	// maxUnannounced is what a file counts as whose length nobody says: the
	// largest part that a client sends is 500 MB.
	maxUnannounced = 500 << 20
)

// limiter is the budget of the call's script, or of calls that have none.
func (x *exchange) limiter() *limit.Limiter {
	if x.script != nil {
		return x.script.Limiter
	}
	return x.l.Unnamed
}

// charge takes tokens of script and caller for a call that is refused: who asks
// for what it may not have pays for the asking.
func (x *exchange) charge(cost int) {
	x.limiter().Charge(cost)
	if x.st.Callers != nil {
		x.st.Callers.Get(x.caller).Charge(cost)
	}
}

// chargeOwn takes tokens for a call that the proxy itself makes for this one. It
// does not wait: calls do that already.
func (x *exchange) chargeOwn() {
	for i, s := range x.stages() {
		if s != nil && i != stageBrake && i != stageCaller {
			s.Charge(1)
		}
	}
}

// stages lists the budgets that the call has to pass, by what they are; most are
// nil in most configurations.
func (x *exchange) stages() (out [stageCount]limit.Stage) {
	if x.st.Brakes != nil {
		out[stageBrake] = x.st.Brakes.Stage(x.scriptName, x.caller)
	}
	if x.st.Callers != nil {
		out[stageCaller] = x.st.Callers.Get(x.caller)
	}
	out[stageScript] = x.limiter()
	if x.isLocal() {
		return out // the site has no part in it
	}
	if s := x.script; s != nil {
		if k := s.Kinds[x.kind()]; k != nil {
			out[stageKind] = k
		}
		out[stageScriptFleet] = s.Fleet
	}
	if x.way == wayStorage {
		return out // nor here
	}
	if x.st.SiteLimiter != nil {
		out[stageSite] = x.st.SiteLimiter
	}
	out[stageSiteFleet] = x.st.SiteFleet
	return out
}

// limit holds the call until all of its budgets let it through, or refuses it.
func (x *exchange) limit() bool {
	if x.way == wayMetrics { // Toolkit doesn't look at the answer, and the site has no part in it
		return true
	}
	at, err := x.take(&x.grants)
	x.hold = x.grants.Held()
	if err != nil {
		return x.refuseLimit(at, err)
	}
	x.through = true
	x.p.cfg.Metrics.InFlight(x.scriptName, 1)
	if x.hold > 0 {
		x.p.cfg.Metrics.Held(x.scriptName, x.hold)
	}
	return true
}

// take passes all budgets of the call. at says which one refused it.
func (x *exchange) take(g *limit.Grants) (at int, err error) {
	a := limit.Ask{Cost: x.cost()}
	if s := x.script; s != nil {
		a.Lane, a.MaxHold = s.Lane, s.MaxHold
	}
	if held := x.share.held; held > 0 && a.MaxHold > 0 { // by the call that it waited for
		if a.MaxHold -= held; a.MaxHold <= 0 {
			a.MaxHold = -1
		}
	}
	stages := x.stages()
	*g, at, err = limit.TakeAll(x.r.Context(), stages[:], a)
	return at, err
}

// pass gives back what the call took of its budgets: the slots where it left,
// the tokens too where it never did.
func (x *exchange) pass() {
	if !x.through {
		return
	}
	x.through = false
	if x.recorded {
		x.grants.Release()
	} else {
		x.grants.Cancel()
	}
	x.p.cfg.Metrics.InFlight(x.scriptName, -1)
}

func (x *exchange) refuseLimit(at int, err error) bool {
	if b, ok := errors.AsType[*limit.Braked](err); ok {
		return x.refuseBraked(b)
	}
	var r *limit.Refused
	if !errors.As(err, &r) {
		if gone(x.r.Context()) {
			return x.hungUp()
		}
		return x.refuse(Busy, "Stagedoor is stopping here and the call was still held; it was not sent", "")
	}
	// No charge: what a limiter itself refused has cost a wait, and tokens
	// taken for it would put off those that still wait.
	x.retryAfter, x.hold = r.RetryAfter, r.Held
	if x.hold > 0 {
		x.p.cfg.Metrics.Held(x.scriptName, x.hold)
	}
	who := x.overLimit(at)
	if x.script != nil && x.script.Lane == limit.Interactive {
		who = "the site is busy: " + who // the person at the screen did nothing wrong
	}
	wait := max(time.Second, r.RetryAfter.Round(time.Second))
	if r.Reason == limit.ReasonQueueFull {
		calls := "calls"
		if at == stageKind || at == stageScript {
			calls = "of its calls"
		}
		return x.refuse(QueueFull, fmt.Sprintf("%s and too many %s are waiting; try again in %s", who, calls, wait), "")
	}
	return x.refuse(RateLimit, fmt.Sprintf("%s, after a wait of %s; try again in %s", who, r.Held.Round(time.Millisecond), wait), "")
}

// overLimit names the budget that is used up.
func (x *exchange) overLimit(at int) string {
	name := x.scriptName
	if name == "" {
		name = "this listener"
	}
	switch at {
	case stageCaller:
		return "the caller " + shownCaller(x.caller) + " is over the limit of each caller"
	case stageKind:
		return name + " is over its limit for " + plural(x.kind())
	case stageScriptFleet:
		return name + " is over its limit for all hosts together"
	case stageSite, stageSiteFleet:
		return "all scripts together have used up the site's budget"
	}
	return name + " is over its rate limit"
}

// plural is the calls of a kind.
func plural(kind string) string {
	if kind == KindSchema {
		return "calls of the schema"
	}
	return kind + "s"
}

// refuseBraked says who has slowed or paused the script or caller, until when
// and why.
func (x *exchange) refuseBraked(b *limit.Braked) bool {
	who := x.scriptName
	if b.Scope == limit.ScopeCaller {
		who = "the caller " + shownCaller(x.caller)
	}
	what := "paused"
	if b.Rate > 0 {
		what = fmt.Sprintf("slowed to %v/s", b.Rate)
	}
	x.retryAfter, x.hold = max(time.Second, b.RetryAfter), b.Held
	if x.hold > 0 {
		x.p.cfg.Metrics.Held(x.scriptName, x.hold)
	}
	text := who + " is " + what + " until " + clock(x.p.cfg.Now(), b.Until)
	if b.By != "" {
		text += " by " + plainText(b.By)
	}
	if b.Why != "" {
		text += ": " + plainText(b.Why)
	}
	return x.refuse(Braked, text, "")
}

// clock writes a time as a person on this host reads it, with its day where it
// is not within a day.
func clock(now, t time.Time) string {
	if t.Sub(now) < 24*time.Hour {
		return t.Local().Format("15:04")
	}
	return t.Local().Format("2006-01-02 15:04")
}

// maxPlain is how much of an operator's words a refusal repeats, in bytes.
const maxPlain = 200

// plainText is what an operator wrote, in one printable line.
func plainText(s string) string {
	out := make([]rune, 0, min(len(s), maxPlain))
	for _, r := range s[:min(len(s), maxPlain)] {
		if r == '\ufffd' || !unicode.IsPrint(r) { // what turns the direction of a text is not
			r = ' '
		}
		out = append(out, r)
	}
	return string(out)
}

// shownCaller repeats who calls, by the kernel's or the socket's word, if it is
// a plain word.
func shownCaller(s string) string {
	if s == "" || len(s) > flow.MaxName {
		return "(a name that is not shown)"
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return "(a name that is not shown)"
		}
	}
	return s
}

// observeSite tells the site's health of an answer, or of none in time. Latency
// of a file that is sent says how fast it came from the caller, and is no sign.
func (x *exchange) observeSite(req *upstream.Request, res *http.Response, err error, took time.Duration) {
	h := x.st.Health
	if h == nil {
		return
	}
	failed := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case err != nil && !failed:
		return // it was the caller, or the network in between
	case res != nil:
		failed = res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable
	}
	if req.Stream != nil {
		if !failed {
			return
		}
		took = 0
	}
	n := h.Observe(x.p.cfg.Now(), failed, took)
	if x.st.SiteLimiter != nil {
		x.st.SiteLimiter.SetInFlight(n)
	}
}
