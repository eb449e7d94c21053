package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"net/http"
	"strconv"
	"time"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/limit"
	"stagedoor/policy"
	"stagedoor/secret"
)

// Words of audit.Event.Served.
const (
	servedCache  = "cache"  // an answer that was kept
	servedShared = "shared" // that to an equal call, which was in flight
)

// sharing is what an exchange knows of the answer that it shares.
type sharing struct {
	lead    *flight       // to be ended with this call's answer
	version string        // of the key that the flight is for
	from    *sharedAnswer // what this call is answered with
	writes  bool          // it is on its way, and writes
	change  *change       // what it may change, once somebody asked
	held    time.Duration // behind calls that were held for a limit
}

// shared answers a call whose rule lets equal reads share an answer from that of
// another one, and says whether it did: it writes the records and the answer,
// with x.served set. A call that it refuses (x.refuse) counts as answered; one
// that it leaves alone goes on to the site.
//
// A call that is answered here has its own record, before its answer, and takes
// nothing of any limit: those bound what reaches the site.
func (x *exchange) shared() bool {
	return x.verdict.Share != (policy.Share{}) && x.mayShare() && x.share.in(x)
}

// mayShare holds a verdict against the call once more.
func (x *exchange) mayShare() bool {
	c, v := x.call, &x.verdict
	switch {
	case c.Writes, c.UserAuth, v.Observed, len(v.Lookup) > 0, x.script == nil:
		return false
	case x.body.n > limit.SmallBody: // it takes room that others need while it waits
		return false
	case x.isBraked():
		return false
	}
	switch c.Group { //nolint:exhaustive // no other answers the same twice, or may be big
	case flow.GroupInfo, flow.GroupRead, flow.GroupSchema, flow.GroupPreferences, flow.GroupSchedule:
	default:
		if c.Method != "license_info" {
			return false
		}
	}
	return x.way == wayRPC || x.way == wayREST
}

// isBraked says whether somebody slowed this script or its caller down: then it
// is held as it would be without an equal call.
func (x *exchange) isBraked() bool {
	return x.st.Brakes != nil && x.st.Brakes.Stage(x.scriptName, x.caller) != nil
}

// in looks for an answer, waits for one, or makes the call the one that others
// wait for.
func (g *sharing) in(x *exchange) bool {
	cred, err := x.st.Keys.Credential(x.scriptName)
	if err != nil {
		return false // credential says so
	}
	k, rests := x.shareKey(cred), basisOf(x.call)
	ctx, cancel := context.WithTimeout(x.r.Context(), maxSharedWait)
	defer cancel()
	for range maxLeaders {
		a, f, leads := x.p.shares.enter(k, rests, x)
		switch {
		case a != nil:
			return g.serve(x, cred, a, servedCache)
		case f == nil:
			return false
		case leads:
			g.lead, g.version = f, cred.Version
			return false
		}
		began := x.p.cfg.Now()
		held, ended := g.waitFor(ctx, f, x.script.MaxHold)
		g.held += held
		x.upstream += x.p.cfg.Now().Sub(began)
		switch {
		case !ended:
			x.p.shares.leave(f)
			return g.waited(x, f)
		case f.answer != nil:
			return g.serve(x, cred, f.answer, servedShared)
		case f.alone:
			return false
		}
	}
	return false
}

// waitFor waits until a flight ended within ctx. While its call is held for a
// limit, this one is as well: held is for how long, and once that is most, it
// waits no more. A most of 0 or less is no bound here.
func (g *sharing) waitFor(ctx context.Context, f *flight, most time.Duration) (held time.Duration, ended bool) {
	began := time.Now()
	var over <-chan time.Time
	if most > 0 {
		t := time.NewTimer(most - g.held)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-f.ended:
		return time.Since(began), true
	case <-over:
		return time.Since(began), false
	case <-ctx.Done():
		return 0, false
	case <-f.left:
		held = time.Since(began)
	}
	select {
	case <-f.ended:
		return held, true
	case <-ctx.Done():
		return held, false
	}
}

// waited is for a call that waited in vain: its caller hung up, or the proxy is
// stopping. One that waited for too long goes on its own.
func (*sharing) waited(x *exchange, f *flight) bool {
	switch {
	case gone(x.r.Context()):
		x.served, x.servedBy = servedShared, f.by
		x.hungUp()
		return true
	case x.r.Context().Err() != nil:
		x.refuse(Busy, "Stagedoor is stopping here and the call still waited for an equal one; it was not sent", "")
		return true
	}
	return false
}

// serve answers the call with a, its record first.
func (g *sharing) serve(x *exchange, cred secret.Credential, a *sharedAnswer, how string) bool {
	g.from = a
	x.cred = cred
	x.credClass = x.class()
	x.served, x.servedBy = how, a.by
	if !x.intent() {
		x.served, x.servedBy = "", ""
		return true
	}
	h := x.w.Header()
	maps.Copy(h, a.header)
	h["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	if how == servedCache { // RFC 9111 §5.1
		h["Age"] = []string{strconv.Itoa(int(max(0, x.p.cfg.Now().Sub(a.at)) / time.Second))}
	}
	x.status, x.result = http.StatusOK, audit.ResultOK
	x.writeHeader(x.status)
	n, err := x.w.Write(a.body)
	x.sent = int64(n)
	if err != nil {
		x.result = audit.ResultAborted
	}
	return true
}

// shareKey hashes all that the answer depends on: who asks, in which words the
// site answers, what decided, and the call as it goes out, without a
// credential. The configuration is no part of it: shares holds the answers of
// one only.
func (x *exchange) shareKey(cred secret.Credential) shareKey {
	h := sha256.New()
	hashText(h, x.l.Name)
	hashText(h, x.r.Host) // links are turned to it
	hashText(h, x.scriptName)
	hashText(h, x.call.SudoAsLogin)
	hashText(h, x.verdict.Rule)
	hashText(h, cred.SiteName)
	hashText(h, cred.Version)
	for _, name := range [...]string{"Accept", "Accept-Language", "Locale"} {
		hashText(h, x.passed(name))
	}
	hashInt(h, int64(len(x.verdict.Filter)))
	for _, id := range x.verdict.Filter {
		hashInt(h, id)
	}
	if x.way == wayREST {
		hashText(h, x.rest.Verb)
		hashText(h, x.rest.Path)
		hashText(h, x.rest.Query)
		hashText(h, x.rest.ContentType)
		hashText(h, x.call.SessionUUID) // of an api3 call it is in the body
		_, _ = h.Write(x.rest.Body)
	} else {
		_, _ = h.Write(x.rpc.Body(secret.Credential{}))
	}
	return shareKey(h.Sum(nil))
}

func hashText(h hash.Hash, s string) {
	hashInt(h, int64(len(s)))
	_, _ = h.Write([]byte(s))
}

func hashInt(h hash.Hash, n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n)) //nolint:gosec // any pattern will do
	_, _ = h.Write(b[:])
}

// leads says whether others may wait for the answer: then it is read to its end
// before the first byte goes on, so that no slow caller keeps it from them.
func (x *exchange) leads() bool { return x.share.lead != nil }

// leaving is called once for each call that is about to go to the site, its
// intent written.
func (x *exchange) leaving() {
	if f := x.share.lead; f != nil {
		close(f.left)
	}
	x.share.writes = x.call.Writes
	x.changes(time.Time{})
}

// changes leaves the mark of a write, if this is one and answers are shared at
// all.
func (x *exchange) changes(until time.Time) {
	g, s := &x.share, &x.p.shares
	if !g.writes || !s.used.Load() && until.IsZero() {
		return
	}
	if g.change == nil {
		c := changeOf(x.call)
		g.change = &c
	}
	if g.change.reach != reachesNothing {
		s.changed(*g.change, until)
	}
}

// begins is called before the first byte of an answer goes to the caller. A
// write is done by now, and its caller may ask at once what came of it. Others
// don't wait any longer for an answer that they can't have.
func (x *exchange) begins() {
	x.changes(time.Time{})
	if f := x.share.lead; f != nil {
		x.share.lead = nil
		x.p.shares.giveUp(f, x.reason == "" && x.result == "" && x.fault == 0)
	}
}

// keep is given the site's answer as the caller is about to get it, complete and
// scrubbed; x.w.Header() holds its header. One that is handed on in pieces never
// comes here. body is the caller's only until keep returns.
func (x *exchange) keep(status int, body []byte) {
	f := x.share.lead
	if f == nil {
		return
	}
	x.share.lead = nil
	if ok, long := x.isSuccess(status, body), len(body) > maxShared; !ok || long {
		x.p.shares.giveUp(f, ok)
		return
	}
	life := time.Duration(x.verdict.Share.Seconds) * time.Second
	if life > 0 && holdsSigned(body) {
		life = 0
	}
	header := http.Header{}
	for _, name := range sharedHeaders() {
		if v, ok := x.w.Header()[name]; ok {
			header[name] = v
		}
	}
	x.p.shares.answer(f, x.p.cfg.Now(), life, header, body)
}

// sharedHeaders are those of the site's answer. The others are each caller's
// own.
func sharedHeaders() [5]string {
	return [...]string{"Content-Type", "Content-Language", "Date", "Last-Modified", "X-Request-Id"}
}

// isSuccess says whether an answer is a complete success of the call that the
// flight is for.
func (x *exchange) isSuccess(status int, body []byte) bool {
	switch {
	case status != http.StatusOK, x.reason != "", x.result != "", x.fault != 0:
		return false
	case len(body) == 0, body[0] != '{', !isJSON(x.w.Header()["Content-Type"]):
		return false
	}
	return x.cred.Version == x.share.version && !(x.way == wayRPC && flow.MayBeFault(body[:min(len(body), maxFaultHead)]))
}

// maxFaultHead is where the word of a fault stands, in bytes: as far as
// [exchange.open] looks.
const maxFaultHead = 256

// holdsSigned says whether an answer may hold links that end: those to storage
// bring a signature, relayed here or not (isSigned has their forms). It is as
// fresh for those who wait as for whoever asked, but not for later ones.
func holdsSigned(body []byte) bool {
	for _, word := range [...]string{"Signature=", "sig="} {
		if bytes.Contains(body, []byte(word)) {
			return true
		}
	}
	return false
}

// left is called at the end of every call, whatever became of it.
func (x *exchange) left() {
	if f := x.share.lead; f != nil {
		x.share.lead = nil
		x.p.shares.giveUp(f, false)
	}
	if a := x.share.from; a != nil {
		x.share.from = nil
		x.p.shares.done(a)
	}
	if x.share.writes {
		x.changes(x.unsettled())
	}
}

// unsettled is until when a write may still be done whose end is not known; zero
// for one whose end is.
func (x *exchange) unsettled() time.Time {
	switch x.result { //nolint:exhaustive // what else there is has a known end
	case audit.ResultAborted, audit.ResultTimeout, audit.ResultSiteError:
	default:
		if x.done || x.reason != "" || x.result != "" {
			return time.Time{}
		}
	}
	return x.p.cfg.Now().Add(unsettledTime)
}
