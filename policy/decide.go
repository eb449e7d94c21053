package policy

import (
	"slices"
	"strings"

	"stagedoor/flow"
)

// Reason is why a policy refuses.
type Reason string

// The reasons of this package. Of those that rules can mend, the first in this
// order is told.
const (
	NoRule      Reason = "no_rule"      // nothing allows it
	Denied      Reason = "denied"       // a deny rule forbids it
	Rows        Reason = "rows"         // more rows a page than the rule gives
	Batch       Reason = "batch"        // more parts than the rule gives
	Unmet       Reason = "condition"    // the rule's condition does not hold
	Project     Reason = "project"      // not shown to stay within the rule's projects
	SecretField Reason = "secret_field" // a credential field; no rule can allow it
	UserAuth    Reason = "user_auth"    // user and password in the call
	Sudo        Reason = "sudo"         // sudo_as_login without a grant
)

// DefaultPageSize is how many rows a read gets that names no page size.
const DefaultPageSize = 500

// Verdict is the answer to one call. The zero Verdict refuses.
type Verdict struct {
	Allow bool
	// Rule is where the rule stands that decided ("stagedoor.yaml:12"), or a
	// word for what needs no rule. Of a refusal it is the rule that forbids, or
	// whose bound is exceeded; the allow list where nothing in it gives the call.
	Rule string
	// Reason, What and Suggest are set on a refusal: what the script may not do
	// ("update Version.description"), and the smallest lines that would allow
	// it, empty where none can.
	Reason  Reason
	What    string
	Suggest string
	// Observed says that the call is let through only because the script is
	// observed: Reason, What and Suggest say why it would have been refused, or
	// that it would have been confined.
	Observed bool
	// Sudo is the login that the call has to go out as; "" leaves it as it is.
	Sudo string
	// Filter are projects: the call may go out only with a filter added that
	// confines it to them. It is the policy's own: nobody may change it.
	Filter []int64
	// Lookup are records whose project has to be looked up: the call may go out
	// only if each lies where it has to, else [Verdict.Outside] is the answer.
	Lookup []Check
	// Share says whether the answer may be shared.
	Share Share

	needs []Need // of the first part that Lookup is about, for words
}

// Check is a record that has to lie in one of the projects; with Except, in none
// of them. Projects is the policy's own: nobody may change it.
type Check struct {
	Record   flow.Record
	Projects []int64
	Except   bool
}

// Query is what a decision is taken on.
type Query struct {
	Call *flow.Call
	// UserCheck says that the call is the read of authenticate_human_user with
	// the person's own credentials.
	UserCheck bool
	// Login is the caller's own login on the site, "" where it is not known.
	Login string
	// Observe lets calls through that are refused for want of a rule, as long as
	// they need no naming.
	Observe bool
}

// Script is one script's policy. It is immutable after [Compile], and may then
// be used by any number of goroutines.
type Script struct {
	// Name is the script's name in the configuration.
	Name string
	// Where is the place of its allow list, or of the script where it has none.
	Where string
	// Rules is the allow list, in the order of the file, those of roles after the
	// script's own; Deny is what is carved out of it.
	Rules, Deny []Rule
	// Sudo lists the logins that the script may act as, "*" standing for any run of
	// characters; SudoCaller makes every call go out as the caller's own login.
	Sudo       []string
	SudoCaller bool
	// ForwardUser lets authenticate_human_user's read go out with the person's
	// own credentials.
	ForwardUser bool

	places

	allow, deny index
	conditions  []*Condition
	shares      bool // some rule lets answers be shared
	carved      bool // some deny rule has projects
}

// Decide answers for one call.
func (s *Script) Decide(q Query) Verdict {
	c := q.Call
	switch {
	case c.UserAuth && (c.Group == flow.GroupSession || !(q.UserCheck && s.ForwardUser)):
		return Verdict{Reason: UserAuth, Rule: s.Where, What: "use user_login and user_password"}
	case c.UserAuth:
		return Verdict{Allow: true, Rule: "user_auth: forward"}
	}
	sudo, refused := s.actAs(&q)
	switch {
	case refused.Reason != "":
		refused.Rule = s.Where
		return refused
	case c.Group == flow.GroupInfo: // it goes without credentials, so none may have been sent
		return s.info()
	case c.Group == flow.GroupSession: // answered with a handle, which gives no more than the script has
		return Verdict{Allow: true, Rule: "handle"}
	case sudo == "" && s.SudoCaller:
		return Verdict{Reason: Sudo, Rule: s.Where, What: "act as the caller, whose login is not known here"}
	case s.allow.verbs == nil: // never compiled
		return Verdict{Reason: NoRule, Rule: s.Where, What: "make this call"}
	case c.Group == flow.GroupBatch && len(c.Parts) == 0:
		return Verdict{Reason: NoRule, Rule: s.Where, What: "send an empty batch"}
	}
	d := decision{s: s, whole: c, parts: max(1, len(c.Parts)), observe: q.Observe}
	v := d.decide()
	if v.Allow {
		v.Sudo = sudo
	}
	return v
}

// info is allowed without a rule; one says whether its answer is shared.
func (s *Script) info() Verdict {
	if v := s.allow.verbs[infoVerb]; v != nil {
		for i := range s.Rules {
			if r := &s.Rules[i]; r.sharesInfo() {
				return Verdict{Allow: true, Rule: r.Where(), Share: r.Share}
			}
		}
	}
	return Verdict{Allow: true, Rule: infoVerb}
}

// actAs finds the login that a call goes out as, where the policy says so.
func (s *Script) actAs(q *Query) (login string, refused Verdict) {
	asked := q.Call.SudoAsLogin
	switch {
	case !s.SudoCaller && (asked == "" || slices.ContainsFunc(s.Sudo, func(p string) bool { return matches(p, asked) })):
		return "", Verdict{}
	case !s.SudoCaller:
		return "", Verdict{Reason: Sudo, What: "act as another login", Suggest: s.suggestSudo(asked)}
	case asked != "" && q.Login == "":
		return "", Verdict{Reason: Sudo, What: "act as the caller, whose login is not known here"}
	case asked != "" && asked != q.Login:
		return "", Verdict{Reason: Sudo, What: "act as another login than the caller's own"}
	}
	return q.Login, Verdict{}
}

// matches says whether a login is one of a pattern's, where * stands for any run
// of characters.
func matches(pattern, login string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == login && login != ""
	}
	login, ok := strings.CutPrefix(login, head)
	for ok {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(login, rest)
		}
		var n int
		if n = strings.Index(login, part); n < 0 {
			return false
		}
		login, rest = login[n+len(part):], more
	}
	return false
}

// phase is what a visit of a call's needs is for.
type phase uint8

const (
	gathering  phase = iota // where they are all met
	naming                  // which rule decided
	explaining              // what is missing
	listing                 // what they are
	confined                // which are not met everywhere
)

// decision is one call's. It lives on the stack of Decide: an allowed call
// allocates nothing.
type decision struct {
	s     *Script
	whole *flow.Call
	part  *flow.Call // the one that is asked for; whole itself where it is no batch
	parts int
	phase phase

	met    reach // where all needs visited so far are met
	some   bool  // there is a need
	secret *flow.Touch
	at     mask // where the part lies, for naming
	rule   int
	found  bool
	share  Share
	blind  bool // conditions and bounds count as met
	unsure bool // no condition can be told

	observe bool
	unseen  bool // what has to be named is met in some projects only

	asked, holds uint64                // conditions of this part by number, and those that hold
	spent        [MaxConditions]uint32 // what each has cost

	why  *refusal
	list *needList
	room [commonGroups]*group
}

func (d *decision) visit(n need) {
	switch d.phase {
	case gathering:
		d.some = true
		if !d.met.all.empty() && !d.open(n) {
			r := d.meets(n)
			d.met.and(&r)
		}
	case naming:
		d.name(n)
	case explaining:
		d.explain(n)
	case listing:
		d.list.add(n)
	case confined:
		r := d.meets(n)
		if r.all == d.s.everywhere {
			return
		}
		d.unseen = d.unseen || n.NeedsNaming()
		if len(d.list.needs) < maxLacks {
			d.list.add(n)
		}
	}
}

// decide answers for a call that needs rules.
func (d *decision) decide() Verdict {
	if d.whole.Group != flow.GroupBatch {
		o := d.decidePart(d.whole)
		if o.ok {
			return d.allowed(o)
		}
		return d.refused()
	}
	var v Verdict
	for i := range d.whole.Parts {
		p := &d.whole.Parts[i]
		o := d.decidePart(p)
		if !o.ok {
			return d.refused()
		}
		if i == 0 {
			v = d.deciding(o)
		}
		d.lookups(&v, o)
	}
	return d.observed(v)
}

// outcome is a part's.
type outcome struct {
	ok     bool
	at     mask // where its records lie, or have to
	filter mask // the projects of a filter to add
	lookup bool // its records have to be looked up, and to lie in at
}

// decidePart decides a call, or a part of a batch.
func (d *decision) decidePart(c *flow.Call) outcome {
	d.begin(c)
	d.met = reach{all: d.s.everywhere, filter: d.s.everywhere, lookup: d.s.everywhere}
	d.phase, d.some, d.secret = gathering, false, nil
	d.ask(c)
	switch {
	case d.secret != nil || !d.some || d.met.all.empty():
		return outcome{}
	case d.met.all == d.s.everywhere:
		return outcome{ok: true, at: d.s.everywhere}
	}
	return d.confine(c)
}

// begin forgets what was found about conditions of another part.
func (d *decision) begin(c *flow.Call) { d.part, d.asked, d.holds = c, 0, 0 }

// confine answers for a call whose needs are met in some projects only.
func (d *decision) confine(c *flow.Call) outcome {
	into := d.s.into(c)
	if !into.within(&d.met.all) {
		return outcome{}
	}
	at, known := d.s.shown(c)
	if known && at.within(&d.met.all) {
		return outcome{ok: true, at: at}
	}
	filter := d.met.filter
	filter.and(&d.met.added)
	none := known && !at.meets(&filter) // nothing would be left
	if c == d.whole && takesFilter(c) && !filter.empty() && !none {
		return outcome{ok: true, at: filter, filter: filter}
	}
	if len(c.Records) == 0 || d.met.lookup.empty() {
		return outcome{}
	}
	for _, r := range c.Records {
		if r.Type == projectType && !d.met.all.has(d.s.bit[r.ID]) {
			return outcome{}
		}
	}
	return outcome{ok: true, at: d.met.lookup, lookup: true}
}

const projectType = "Project"

// takesFilter says whether a filter may be added to a call.
func takesFilter(c *flow.Call) bool {
	return isQuery(c) && c.ID == 0 && flow.LiesInProject(c.Type) // by id in its path, it has no filters
}

// isQuery says whether a call asks for the records that its filters leave.
func isQuery(c *flow.Call) bool {
	return c.Group == flow.GroupRead && (c.Method == "read" || c.Method == "summarize")
}

// shown is where the call itself shows that its records lie. A project is its
// own.
func (s *Script) shown(c *flow.Call) (at mask, known bool) {
	if isQuery(c) && len(c.Records) == 0 && flow.IgnoresFilters(c.Type) {
		return mask{}, false
	}
	if len(c.Projects) > 0 {
		return s.of(c.Projects), true
	}
	for _, r := range c.Records {
		if r.Type != projectType {
			return mask{}, false
		}
		at.set(s.bit[r.ID])
	}
	return at, len(c.Records) > 0
}

// into is where a write moves the record.
func (s *Script) into(c *flow.Call) mask {
	m := s.of(c.Into)
	if c.IntoOther {
		m.set(others)
	}
	return m
}

// open says whether a need is plainly met everywhere, as most are: a rule without
// projects, bounds and condition gives it, and nothing is denied.
func (d *decision) open(n need) bool {
	if len(d.s.deny.rules) > 0 {
		return false
	}
	for _, g := range d.givers(n) {
		if g.open >= 0 {
			return true
		}
	}
	return false
}

// meets is where a need is met.
func (d *decision) meets(n need) reach {
	r := d.given(n)
	if n.how == byLink { // whoever may read of the type may link to it
		o := d.meets(need{Need: Need{readVerb, n.Type, anyField}})
		r.or(&o)
	}
	taken := d.taken(n)
	r.without(&taken)
	return r
}

// given is where allow rules give a need.
func (d *decision) given(n need) (r reach) {
	for _, g := range d.givers(n) {
		d.collect(g, &r)
	}
	if n.how == byAny && !r.all.empty() {
		r = reach{all: d.s.everywhere, filter: d.s.everywhere, lookup: d.s.everywhere}
	}
	return r
}

// givers are the groups of the allow list that give a need. The next call
// reuses them.
func (d *decision) givers(n need) []*group {
	x, dst := &d.s.allow, d.room[:0]
	switch n.how {
	case byTarget, byLink:
		return x.giving(dst, n.Verb, n.Type, n.Field)
	case byWord:
		return x.alone(dst, n.Verb)
	case byStream:
		return x.giving(x.alone(dst, n.Verb), n.Verb, n.Type, n.Field)
	case byAny:
		if v := x.verbs[n.Verb]; v != nil {
			dst = keep(dst, &v.any)
		}
		return dst
	case byNothing:
	}
	return dst
}

func (x *index) alone(dst []*group, verb string) []*group {
	if v := x.verbs[verb]; v != nil {
		dst = keep(dst, &v.bare)
	}
	return dst
}

func (d *decision) collect(g *group, r *reach) {
	r.or(&g.plain)
	for _, i := range g.tested {
		if r.all == d.s.everywhere && !d.s.carved {
			return // nothing can be added
		}
		if d.blind || d.fails(i) == "" {
			d.s.allow.rules[i].reach(r)
		}
	}
}

// taken is where deny rules take a need away.
func (d *decision) taken(n need) (m mask) {
	if len(d.s.deny.rules) == 0 {
		return m
	}
	for _, g := range d.s.deny.taking(d.room[:0], n.Verb, n.Type, n.Field) {
		m.or(&g.plain.all)
		for _, i := range g.tested {
			if c := &d.s.deny.rules[i]; !c.in.within(&m) && d.condition(c.cond, true) {
				m.or(&c.in)
			}
		}
	}
	return m
}

// fails says which bound or condition of an allow rule the part does not keep,
// "" for none.
func (d *decision) fails(i int32) Reason {
	r := &d.s.Rules[i]
	switch {
	case r.MaxRows > 0 && rows(d.part) > r.MaxRows:
		return Rows
	case r.MaxBatch > 0 && d.parts > r.MaxBatch:
		return Batch
	case !d.condition(d.s.allow.rules[i].cond, false):
		return Unmet
	}
	return ""
}

// rows is how many rows a page of a read has at most. What names its record has
// one, and other calls have none.
func rows(c *flow.Call) int {
	switch {
	case c.Group != flow.GroupRead || c.Method != "read":
		return 0
	case len(c.Records) > 0:
		return len(c.Records)
	case c.PageSize == 0:
		return DefaultPageSize
	}
	return c.PageSize
}

// condition says whether a condition holds for the part; otherwise is the answer
// where it can't be told.
func (d *decision) condition(n int8, otherwise bool) bool {
	if n < 0 || d.unsure {
		return n == noCondition || otherwise
	}
	bit := uint64(1) << n
	if d.asked&bit == 0 {
		holds, ok := d.s.conditions[n].holds(d.whole, d.part, d.s.Name, &d.spent[n])
		if !ok {
			return otherwise
		}
		d.asked |= bit
		if holds {
			d.holds |= bit
		}
	}
	return d.holds&bit != 0
}

// allowed is the verdict of a call that is no batch.
func (d *decision) allowed(o outcome) Verdict {
	v := d.deciding(o)
	if !o.filter.empty() {
		v.Filter = d.s.list(o.filter)
	}
	d.lookups(&v, o)
	return d.observed(v)
}

// deciding names the rule that decided a part that may go out, and says whether
// its answer may be shared.
func (d *decision) deciding(o outcome) Verdict {
	d.phase, d.at, d.found = naming, o.at, false
	d.ask(d.part)
	v := Verdict{Allow: true}
	if d.found {
		v.Rule = d.s.allow.rules[d.rule].where
	}
	if d.sharable() && !o.lookup {
		v.Share = d.share
	}
	return v
}

// sharable says whether the answer is of a kind that may be shared.
func (d *decision) sharable() bool {
	c := d.whole
	if !d.s.shares || c.Writes {
		return false
	}
	switch c.Group {
	case flow.GroupRead, flow.GroupSchema, flow.GroupPreferences, flow.GroupSchedule:
		return true
	case flow.GroupNamed:
		return c.Method == "license_info"
	case flow.GroupCreate, flow.GroupUpdate, flow.GroupDelete, flow.GroupRevive, flow.GroupFollow, flow.GroupUpload,
		flow.GroupDownload, flow.GroupInfo, flow.GroupBatch, flow.GroupSession:
	}
	return false
}

// name finds the rule that gives a need: the first without projects, or else the
// first of those in force where the part lies.
func (d *decision) name(n need) {
	if d.found && !d.sharable() {
		return
	}
	rule := d.first(n)
	if n.how == byLink {
		if o := d.first(need{Need: Need{readVerb, n.Type, anyField}}); o >= 0 && (rule < 0 || o < rule) {
			rule = o
		}
	}
	if rule < 0 {
		return
	}
	share := d.s.Rules[rule].Share
	share.Coalesce = share.Coalesce || share.Seconds > 0
	if !d.found {
		d.found, d.rule, d.share = true, int(rule), share
		return
	}
	if d.share.Coalesce = d.share.Coalesce && share.Coalesce; !d.share.Coalesce {
		d.share = Share{}
		return
	}
	d.share.Seconds = min(d.share.Seconds, share.Seconds)
}

// first is the number of that rule, -1 for none.
func (d *decision) first(n need) int32 {
	open, confined := int32(-1), int32(-1)
	rules := d.s.allow.rules
	here := func(i int32) bool { return n.how == byAny || rules[i].in.meets(&d.at) }
	for _, g := range d.givers(n) {
		open = least(open, g.open)
		for _, i := range g.confined {
			if here(i) {
				confined = least(confined, i)
				break
			}
		}
		for _, i := range g.tested {
			p := &open
			if rules[i].confined {
				p = &confined
			}
			if least(*p, i) == i && here(i) && (d.blind || d.fails(i) == "") {
				*p = i
			}
		}
	}
	if open >= 0 {
		return open
	}
	return confined
}

// least is the lesser of two rules' numbers, of which -1 is none.
func least(a, b int32) int32 {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// lookups adds the records of a part that have to be looked up.
func (d *decision) lookups(v *Verdict, o outcome) {
	if !o.lookup {
		return
	}
	switch {
	case v.Lookup == nil:
		v.needs = d.confinedNeeds()
	case d.observe: // for what has to be named
		d.confinedNeeds()
	}
	k := Check{}
	if o.at.has(others) {
		k.Except = true
		at := d.s.everywhere
		at.without(&o.at)
		o.at = at
	}
	k.Projects = d.s.list(o.at)
	for _, r := range d.part.Records {
		if r.Type != projectType {
			k.Record = r
			v.Lookup = append(v.Lookup, k)
		}
	}
}

// observed is what becomes of an allowed call of a script that is observed:
// nothing is amended. What has to be named is held to its projects all the same:
// its records are looked up, and it does not go without the filter that it lacks.
func (d *decision) observed(v Verdict) Verdict {
	if !d.observe || v.Filter == nil && v.Lookup == nil {
		return v
	}
	needs := v.needs
	if v.Filter != nil {
		needs = d.confinedNeeds()
	}
	if d.unseen && v.Filter == nil {
		return v
	}
	out := Verdict{Allow: !d.unseen, Observed: !d.unseen, Rule: v.Rule, Reason: Project, What: what(needs)}
	if v.Filter != nil {
		out.What += " without a filter on " + projects(v.Filter) + ", which " + v.Rule + " adds once it is enforced"
		return out
	}
	out.What += " without a look at where the record lies, which " + v.Rule + " asks for once it is enforced"
	return out
}
