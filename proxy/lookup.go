package proxy

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/policy"
)

// Bounds of what is known of records' projects (`lookup: cached`).
const (
	// maxLookups is how many records' projects are kept; the one that was learnt
	// longest ago goes. One takes about 250 bytes.
	maxLookups = 10_000
	// lookupLife is how long a record is believed to lie where it was seen. One
	// that is moved past this proxy is taken to be where it was for so long.
	lookupLife = time.Minute
	// maxAsked is how many records one call may have looked up: with a page of
	// the site's for each type that is soon answered.
	maxAsked = flow.MaxAsked
	// lookupTime bounds how long calls wait for a lookup, its hold included.
	lookupTime = 40 * time.Second
)

// lookups keeps in which projects records lie. What the site says of a record
// is the same whoever asks, so it is kept once for all scripts of a site.
type lookups struct {
	group singleflight.Group
	mu    sync.Mutex
	of    map[whereabouts]*list.Element
	age   list.List // *located, the one learnt longest ago in front
	moved uint64    // how often something was forgotten because it may have moved
}

// whereabouts is a record on a site.
type whereabouts struct {
	site   string
	record flow.Record
}

// located is a record and the project it lies in, 0 for none. It is immutable.
type located struct {
	at      whereabouts
	project int64
	until   time.Time
}

func (l *lookups) get(at whereabouts, now time.Time) (project int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.of[at]
	if e == nil {
		return 0, false
	}
	v, ok := e.Value.(*located)
	if !ok || !now.Before(v.until) {
		l.removeLocked(at)
		return 0, false
	}
	return v.project, true
}

// put takes in what the site said, unless something has moved since it was
// asked: then it may be what was true before.
func (l *lookups) put(found []located, asked uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moved != asked {
		return
	}
	if l.of == nil {
		l.of = make(map[whereabouts]*list.Element)
	}
	for i := range found {
		l.removeLocked(found[i].at)
		if oldest, ok := l.oldestLocked(); ok && len(l.of) >= maxLookups {
			l.removeLocked(oldest)
		}
		l.of[found[i].at] = l.age.PushBack(&found[i])
	}
}

func (l *lookups) oldestLocked() (whereabouts, bool) {
	e := l.age.Front()
	if e == nil {
		return whereabouts{}, false
	}
	v, ok := e.Value.(*located)
	return v.at, ok
}

func (l *lookups) removeLocked(at whereabouts) {
	if e := l.of[at]; e != nil {
		l.age.Remove(e)
		delete(l.of, at)
	}
}

// since marks the time of a question: see put.
func (l *lookups) since() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.moved
}

// forget drops records that may have moved.
func (l *lookups) forget(site string, records []flow.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moved++
	for _, r := range records {
		l.removeLocked(whereabouts{site, r})
	}
}

// forgetMoved drops what the call has, or may have, moved to another project.
func (x *exchange) forgetMoved() {
	if !x.call.Writes {
		return
	}
	x.forgetPart(x.call)
	for i := range x.call.Parts {
		x.forgetPart(&x.call.Parts[i])
	}
}

func (x *exchange) forgetPart(c *flow.Call) {
	if len(c.Records) > 0 && (len(c.Into) > 0 || c.IntoOther || c.Group == flow.GroupDelete || c.Group == flow.GroupRevive) {
		x.p.lookups.forget(x.st.Origin, c.Records)
	}
}

// lookup finds out whether the records that the call names lie where its rule
// wants them, where the call itself can't show it. What is not known is asked of
// the site, with the script's own key and within its limits.
func (x *exchange) lookup() bool {
	checks := x.verdict.Lookup
	if len(checks) == 0 {
		return true
	}
	in, ok := x.projects(checks)
	if !ok {
		return false
	}
	for _, c := range checks {
		project, known := in[c.Record]
		switch {
		case !known:
			x.charge(x.cost())
			return x.refuse(Project, x.scriptName+" may not "+x.call.Method+" "+named(c.Record)+"; the site does not say in which project it lies, and the rule at "+x.verdict.Rule+" is for some only",
				"check that the record is there and that the site lets "+x.scriptName+" see it")
		case slices.Contains(c.Projects, project) == c.Except:
			x.charge(x.cost())
			x.verdict = x.verdict.Outside(c, project)
			return x.refuseOutside()
		}
	}
	return true
}

// refuseOutside is about a record that lies elsewhere. Where, and so the rule that
// would do, is for the audit record: the caller may not know.
func (x *exchange) refuseOutside() bool {
	advice := ""
	if x.verdict.Suggest != "" {
		advice = "to allow it: the rule that would do stands in the audit record of this request, allow_with; it names the record's project"
	}
	return x.refuse(Project, x.scriptName+" may not "+x.verdict.What, advice)
}

// named repeats a record of the call.
func named(r flow.Record) string { return shown(r.Type) + " " + itoa(r.ID) }

// projects is where the records lie; those that the site does not tell of are
// missing. ok is false after a refusal.
func (x *exchange) projects(checks []policy.Check) (in map[flow.Record]int64, ok bool) {
	in = make(map[flow.Record]int64, len(checks))
	missing, n := map[string][]int64{}, 0
	var types []string // in the order of the call
	for _, c := range checks {
		r := c.Record
		if r.Type == "Project" { // is its own
			in[r] = r.ID
			continue
		}
		if project, ok := x.p.lookups.get(whereabouts{x.st.Origin, r}, x.p.cfg.Now()); ok {
			in[r] = project
			continue
		}
		ids := missing[r.Type]
		if slices.Contains(ids, r.ID) {
			continue
		}
		if len(ids) == 0 {
			types = append(types, r.Type)
		}
		if n++; n > maxAsked {
			x.charge(x.cost())
			return nil, x.refuse(Project, "the projects of more than "+itoa(maxAsked)+" records would have to be looked up for "+x.call.Method, "send fewer at a time")
		}
		missing[r.Type] = append(ids, r.ID)
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), lookupTime) // of all types together
	defer cancel()
	for _, typ := range types {
		ids := missing[typ]
		slices.Sort(ids)
		found, err := x.locate(ctx, typ, ids)
		if err != nil {
			return nil, x.refuseLookup(flow.Record{Type: typ, ID: ids[0]}, err)
		}
		for id, project := range found {
			in[flow.Record{Type: typ, ID: id}] = project
		}
	}
	return in, true
}

// locate asks the site, once however many calls of a caller want to know the same:
// what its own brake and limit say is for no other caller.
func (x *exchange) locate(ctx context.Context, typ string, ids []int64) (map[int64]int64, error) {
	retired := x.call.Group == flow.GroupRevive
	key := fmt.Sprintf("%q %q %q %q %v %v", x.st.Origin, x.scriptName, x.caller, typ, retired, ids)
	c := x.p.lookups.group.DoChan(key, func() (any, error) { return x.askSite(typ, ids, retired) })
	began := x.p.cfg.Now()
	defer func() { x.upstream += x.p.cfg.Now().Sub(began) }() // it is the site that this waits for
	select {
	case r := <-c:
		found, _ := r.Val.(map[int64]int64)
		return found, r.Err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// refusedAside is a refusal of a call that the proxy makes itself.
type refusedAside struct {
	reason       Reason
	what, advice string
	retryAfter   time.Duration
}

func (r *refusedAside) Error() string { return r.what }

var errNotTold = errors.New("the site's answer does not tell of projects")

// askSite is one call to the site, with a record of its own. Others wait for it
// too, so it does not end with the caller.
func (x *exchange) askSite(typ string, ids []int64, retired bool) (found map[int64]int64, err error) {
	ctx, cancel := outlive(x.r.Context(), lookupTime)
	defer cancel()
	y := x.p.aside(ctx, x, flow.ProjectsOf(typ, ids, retired), "lookup for "+x.id)
	defer func() {
		if f := recover(); f != nil { // it runs in a goroutine of its own, and would end the process
			x.p.cfg.Logger.Error("a lookup panicked", slog.String("id", x.id), slog.String("kind", kindOf(f)))
			found, err = nil, errors.New("a fault inside Stagedoor")
		}
		y.pass()
	}()
	if !y.limit() || !y.credential() || !y.intent() {
		return nil, y.notDone()
	}
	asked := x.p.lookups.since()
	found, err = y.readProjects(typ, ids)
	if y.settle(nil); err != nil && y.reason == "" && y.fault == 0 {
		y.result = audit.ResultSiteError
	}
	_ = y.record(audit.Outcome)
	if err != nil {
		return nil, err
	}
	now := x.p.cfg.Now()
	keep := make([]located, 0, len(found))
	for id, project := range found {
		keep = append(keep, located{whereabouts{x.st.Origin, flow.Record{Type: typ, ID: id}}, project, now.Add(lookupLife)})
	}
	x.p.lookups.put(keep, asked)
	return found, nil
}

// notDone is the error for whoever waits for a call of the proxy's own that was
// refused.
func (x *exchange) notDone() error {
	if x.reason == "" { // it waited for too long
		return context.DeadlineExceeded
	}
	return &refusedAside{x.reason, x.what, x.advice, x.retryAfter}
}

// readProjects sends the call and reads its answer.
func (x *exchange) readProjects(typ string, ids []int64) (map[int64]int64, error) {
	a, err := x.send()
	if err == nil && a.code == flow.FaultAuth {
		if a, err = x.authFault(a); err == nil && a == nil {
			return nil, x.notDone()
		}
	}
	if err != nil {
		return nil, err
	}
	defer a.close(x.p)
	if !a.all {
		if err := a.spool(x); err != nil {
			return nil, fmt.Errorf("reading the site's answer: %w", err)
		}
	}
	x.done, x.status, x.fault = true, a.res.StatusCode, a.code
	if a.fault {
		return nil, nil // it does not tell this script: of no record is anything known
	}
	found, ok := flow.ReadProjects(a.head, typ, ids)
	if !ok || !a.all {
		return nil, errNotTold
	}
	return found, nil
}

// refuseLookup answers for a call whose records' projects could not be learnt.
func (x *exchange) refuseLookup(r flow.Record, err error) bool {
	if gone(x.r.Context()) {
		return x.hungUp()
	}
	if a, ok := errors.AsType[*refusedAside](err); ok {
		x.retryAfter = a.retryAfter
		return x.refuse(a.reason, a.what, a.advice)
	}
	x.p.cfg.Logger.Warn("a lookup failed", slog.String("id", x.id), slog.String("script", x.scriptName), slog.String("error", x.plain(err)))
	return x.refuse(SiteFailed, "the site did not say in which project "+named(r)+" lies; "+x.call.Method+" was not sent", "")
}
