package policy_test

import (
	"slices"
	"strings"

	"stagedoor/flow"
	"stagedoor/policy"
)

// slow decides as docs/rules.md says it, rule by rule and project by project. It
// shares nothing with package policy but its types, so that a mistake there
// doesn't agree with itself. A wish is one need: some of its grants has to be
// given, and none of its bans may be in force.
type slow struct {
	s     policy.Script
	whole *flow.Call
	part  *flow.Call
}

type wish struct {
	grants []grant
	bans   []grant
	any    bool // any rule of the verb, wherever
	never  bool
}

type grant struct{ verb, typ, field string }

const alone = "\x00" // the type of a rule that is its verb alone

type answer struct {
	allow  bool
	reason policy.Reason
	filter []int64
	lookup []policy.Check
	unseen bool          // something missing has to be named
	place  *policy.Check // where its records have to lie that are looked up
}

func (x *slow) decide(c *flow.Call) answer {
	x.whole = c
	parts := []*flow.Call{c}
	if c.Group == flow.GroupBatch {
		parts = nil
		for i := range c.Parts {
			parts = append(parts, &c.Parts[i])
		}
	}
	out := answer{allow: len(parts) > 0, reason: policy.NoRule}
	var missing []policy.Reason
	for _, p := range parts {
		x.part = p
		a, lacks := x.decidePart(p, c.Group != flow.GroupBatch)
		out.allow = out.allow && a.allow
		out.filter, out.lookup, out.unseen = a.filter, append(out.lookup, a.lookup...), out.unseen || a.unseen
		missing = append(missing, lacks...)
	}
	if out.allow {
		out.reason = ""
		return out
	}
	out.filter, out.lookup = nil, nil
	for _, r := range []policy.Reason{policy.SecretField, policy.NoRule, policy.Denied, policy.Unmet, policy.Project} {
		if slices.Contains(missing, r) {
			out.reason = r
			break
		}
	}
	return out
}

// universe is every project that matters: those named, those of the call, and 0
// for any other.
func (x *slow) universe(c *flow.Call) []int64 {
	ids := append([]int64{0}, x.named()...)
	ids = append(ids, c.Projects...)
	ids = append(ids, c.Into...)
	for _, r := range c.Records {
		if r.Type == "Project" {
			ids = append(ids, r.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (x *slow) named() (ids []int64) {
	for _, rules := range [][]policy.Rule{x.s.Rules, x.s.Deny} {
		for _, r := range rules {
			if r.Projects != nil {
				ids = append(ids, r.Projects.IDs...)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// found are the rules that match a wish, found once for all projects.
type found struct {
	wish
	allow, link []*policy.Rule // link: those of its second grant
	allBlind    []*policy.Rule // whatever their conditions
	linkBlind   []*policy.Rule
	deny, ban2  []*policy.Rule // ban2 only takes the second grant away
}

func (x *slow) decidePart(c *flow.Call, single bool) (answer, []policy.Reason) {
	wishes, secret := wishesOf(c)
	if secret {
		return answer{unseen: true}, []policy.Reason{policy.SecretField}
	}
	if len(wishes) == 0 {
		return answer{unseen: true}, []policy.Reason{policy.NoRule}
	}
	var all []found
	for _, w := range wishes {
		all = append(all, x.find(w))
	}
	at := func(p int64, use func(*policy.Rule) bool) bool {
		for i := range all {
			if !all[i].met(p, use, false) {
				return false
			}
		}
		return true
	}
	any := func(*policy.Rule) bool { return true }
	universe := x.universe(c)
	within := func(ids []int64) bool {
		return !slices.ContainsFunc(ids, func(p int64) bool { return !at(p, any) })
	}
	somewhere := slices.ContainsFunc(universe, func(p int64) bool { return at(p, any) })
	into := slices.Clone(c.Into)
	if c.IntoOther {
		into = append(into, 0)
	}
	shown, known := x.shown(c)
	switch {
	case within(universe):
		return answer{allow: true}, nil
	case !somewhere || !within(into):
		return x.missing(all, universe, shown, known, into, within)
	case known && within(shown):
		return answer{allow: true}, nil
	}
	query := c.Group == flow.GroupRead && (c.Method == "read" || c.Method == "summarize")
	if single && query && c.ID == 0 && (c.Type == "Shot" || c.Type == "Version" || c.Type == "CustomEntity01") {
		var filter []int64
		for _, p := range x.named() {
			added := slices.ContainsFunc(all, func(f found) bool {
				return f.met(p, func(r *policy.Rule) bool { return r.Projects != nil && r.Projects.AddFilter }, false)
			})
			if added && at(p, func(r *policy.Rule) bool { return r.Projects == nil || r.Projects.AddFilter }) {
				filter = append(filter, p)
			}
		}
		meets := func(p int64) bool { return slices.Contains(filter, p) }
		if len(filter) > 0 && (!known || slices.ContainsFunc(shown, meets)) { // else nothing would be left
			return answer{allow: true, filter: filter}, nil
		}
	}
	if k, place, ok := x.looked(c, at); ok {
		return answer{allow: true, lookup: k, place: &place}, nil
	}
	return x.missing(all, universe, shown, known, into, within)
}

// strict says whether something has to be named that an allowed call of a script
// that is observed would reach beyond the projects of its rule.
func (x *slow) strict(c *flow.Call) bool {
	x.whole = c
	parts := []*flow.Call{c}
	for i := range c.Parts {
		parts = append(parts, &c.Parts[i])
	}
	for _, p := range parts {
		if x.part = p; p.Group == flow.GroupBatch {
			continue
		}
		if a, _ := x.decidePart(p, p == c); a.filter == nil && a.place == nil {
			continue
		}
		wishes, _ := wishesOf(p)
		for _, w := range wishes {
			f := x.find(w)
			everywhere := !slices.ContainsFunc(x.universe(p), func(id int64) bool { return !f.met(id, func(*policy.Rule) bool { return true }, false) })
			if !everywhere && slices.ContainsFunc(w.bans, unseen) {
				return true
			}
		}
	}
	return false
}

// looked is what has to be looked up.
func (x *slow) looked(c *flow.Call, at func(int64, func(*policy.Rule) bool) bool) (checks []policy.Check, place policy.Check, ok bool) {
	use := func(r *policy.Rule) bool { return r.Projects == nil || r.Projects.Lookup }
	var in, out []int64
	for _, p := range x.named() {
		if at(p, use) {
			in = append(in, p)
		} else {
			out = append(out, p)
		}
	}
	if len(c.Records) == 0 || len(in) == 0 && !at(0, use) {
		return nil, place, false
	}
	if place = (policy.Check{Projects: in}); at(0, use) {
		place = policy.Check{Projects: out, Except: true}
	}
	for _, r := range c.Records {
		if r.Type != "Project" {
			checks = append(checks, policy.Check{Record: r, Projects: place.Projects, Except: place.Except})
			continue
		}
		if !at(r.ID, func(*policy.Rule) bool { return true }) {
			return nil, place, false
		}
	}
	return checks, place, true
}

func (x *slow) shown(c *flow.Call) (ids []int64, known bool) {
	query := c.Group == flow.GroupRead && (c.Method == "read" || c.Method == "summarize")
	switch typ := strings.ToLower(c.Type); {
	case query && len(c.Records) == 0 && (typ == "eventlogentry" || typ == "pagesetting"):
		return nil, false
	case len(c.Projects) > 0:
		return c.Projects, true
	}
	for _, r := range c.Records {
		if r.Type != "Project" {
			return nil, false
		}
		ids = append(ids, r.ID)
	}
	return ids, len(ids) > 0
}

// missing gives the reason for each wish that is not met.
func (x *slow) missing(all []found, universe, shown []int64, known bool, into []int64, within func([]int64) bool) (answer, []policy.Reason) {
	places := universe
	if known {
		places = shown
	}
	if !within(into) {
		places = into
		if known {
			places = append(slices.Clone(shown), into...)
		}
		known = true
	}
	any := func(*policy.Rule) bool { return true }
	var out []policy.Reason
	a := answer{}
	for i := range all {
		f := &all[i]
		var bad []int64
		for _, p := range places {
			if !f.met(p, any, false) {
				bad = append(bad, p)
			}
		}
		if len(bad) == 0 {
			continue
		}
		reason := policy.Project
		switch {
		case len(f.allBlind)+len(f.linkBlind) == 0:
			reason = policy.NoRule
		case !known && len(bad) < len(universe):
		case slices.ContainsFunc(bad, func(p int64) bool { return f.ruled(p) && !f.met(p, any, true) }):
			reason = policy.Denied
		case slices.ContainsFunc(bad, func(p int64) bool { return f.met(p, any, true) }):
			reason = policy.Unmet
		}
		out = append(out, reason)
		a.unseen = a.unseen || f.never || slices.ContainsFunc(f.bans, unseen)
	}
	return a, out
}

// shows says whether a field may be shown of a record of the answer to an allowed
// call.
func (x *slow) shows(q policy.Query, f flow.Seen) bool {
	x.whole, x.part = q.Call, q.Call
	if len(q.Call.Parts) > 0 {
		x.part = &q.Call.Parts[f.Part]
	}
	if q.Observe && f.Field != "salted_password" && !namedType(grant{"read", f.Type, f.Field}) {
		return true
	}
	in := x.universe(x.part)
	if f.Record == x.part.Type {
		in = x.lies(q)
	}
	grants := []grant{{"read", f.Type, f.Field}}
	if f.Field == "id" || f.Field == "type" {
		grants = nil
		for _, verb := range []string{"read", "create", "update", "delete", "revive"} {
			grants = append(grants, grant{verb, f.Type, ""})
		}
	}
	return !strings.EqualFold(f.Field, "salted_password") && slices.ContainsFunc(grants, func(g grant) bool {
		found := x.find(wish{grants: []grant{g}, bans: []grant{g}})
		return !slices.ContainsFunc(in, func(p int64) bool { return !found.met(p, func(*policy.Rule) bool { return true }, false) })
	})
}

// lies is where the part's records may lie, as far as call and verdict say.
func (x *slow) lies(q policy.Query) (in []int64) {
	c := x.part
	shown, known := x.shown(c)
	a, _ := x.decidePart(c, q.Call.Group != flow.GroupBatch)
	for _, p := range append(x.universe(c), shown...) {
		there := !known || slices.Contains(shown, p)
		if a.filter != nil && !q.Observe {
			there = there && slices.Contains(a.filter, p)
		}
		if k := a.place; k != nil && !q.Observe {
			there = there && (slices.Contains(k.Projects, p) != k.Except || slices.Contains(c.Records, flow.Record{Type: "Project", ID: p}))
		}
		if there {
			in = append(in, p)
		}
	}
	in = append(in, c.Into...)
	if c.IntoOther {
		in = append(in, 0)
	}
	if len(in) == 0 {
		return x.universe(c)
	}
	return in
}

func inForce(r *policy.Rule, p int64) bool {
	return r.Projects == nil || slices.Contains(r.Projects.IDs, p)
}

// met says whether the wish is met in project p by rules of a use; blind leaves
// conditions aside.
func (f *found) met(p int64, use func(*policy.Rule) bool, blind bool) bool {
	first, second := f.allow, f.link
	if blind {
		first, second = f.allBlind, f.linkBlind
	}
	here := func(r *policy.Rule) bool { return inForce(r, p) }
	gives := func(r *policy.Rule) bool { return use(r) && (here(r) || f.any && len(r.Projects.IDs) > 0) }
	if f.any { // it is about no record, so neither are its projects or their use
		gives = func(r *policy.Rule) bool { return r.Projects == nil || len(r.Projects.IDs) > 0 }
		if r := (&policy.Rule{Projects: &policy.Projects{AddFilter: true}}); use(r) && !use(&policy.Rule{}) {
			return false // no filter is added by it
		}
	}
	if slices.ContainsFunc(f.deny, here) {
		return false
	}
	return slices.ContainsFunc(first, gives) || slices.ContainsFunc(second, gives) && !slices.ContainsFunc(f.ban2, here)
}

// ruled says whether some rule speaks for the wish in p, were there no deny rule.
func (f *found) ruled(p int64) bool {
	g := found{wish: f.wish, allBlind: f.allBlind, linkBlind: f.linkBlind}
	return g.met(p, func(*policy.Rule) bool { return true }, true)
}

func (x *slow) find(w wish) (f found) {
	f.wish = w
	for i := range x.s.Rules {
		r := &x.s.Rules[i]
		for n, g := range w.grants {
			if !x.gives(r, g, w.any) {
				continue
			}
			blind, sees := &f.allBlind, &f.allow
			if n == 1 && g.verb == "read" {
				blind, sees = &f.linkBlind, &f.link
			}
			*blind = append(*blind, r)
			if x.holds(r) {
				*sees = append(*sees, r)
			}
		}
	}
	for i := range x.s.Deny {
		r := &x.s.Deny[i]
		if r.When != nil && !condition(r.When, x.whole, x.part) {
			continue
		}
		if slices.ContainsFunc(w.bans, func(g grant) bool { return takes(r, g) }) {
			f.deny = append(f.deny, r)
		}
		if len(w.grants) == 2 && w.grants[1].verb == "read" && takes(r, w.grants[1]) {
			f.ban2 = append(f.ban2, r)
		}
	}
	return f
}

// gives says whether an allow rule names what is asked for.
func (x *slow) gives(r *policy.Rule, g grant, any bool) bool {
	if r.Verb != g.verb {
		return false
	}
	if any {
		return true
	}
	if g.typ == alone {
		return len(r.Targets) == 0
	}
	for _, t := range r.Targets {
		stem, glob := strings.CutSuffix(t.Type, "*")
		if !glob && t.Type != g.typ || glob && (!strings.HasPrefix(g.typ, stem) || namedType(g)) {
			continue
		}
		if g.field == "" || t.Fields == nil && !namedField(g) || slices.Contains(t.Fields, g.field) {
			return true
		}
	}
	return false
}

// takes says whether a deny rule takes away what is asked for.
func takes(r *policy.Rule, g grant) bool {
	if r.Verb != g.verb {
		return false
	}
	if len(r.Targets) == 0 {
		return true
	}
	for _, t := range r.Targets {
		stem, glob := strings.CutSuffix(strings.ToLower(t.Type), "*")
		typ := strings.ToLower(g.typ)
		if g.typ != "*" && (!glob && stem != typ || glob && !strings.HasPrefix(typ, stem)) {
			continue
		}
		field := func(f string) bool { return strings.EqualFold(f, g.field) }
		if t.Fields == nil || g.field == "*" || g.field != "" && slices.ContainsFunc(t.Fields, field) {
			return true
		}
	}
	return false
}

// holds says whether the bounds and the condition of an allow rule are kept.
func (x *slow) holds(r *policy.Rule) bool {
	if c := x.part; r.MaxRows > 0 && c.Method == "read" && c.Group == flow.GroupRead {
		n := c.PageSize
		if n == 0 {
			n = 500
		}
		if len(c.Records) > 0 {
			n = len(c.Records)
		}
		if n > r.MaxRows {
			return false
		}
	}
	if r.MaxBatch > 0 && max(1, len(x.whole.Parts)) > r.MaxBatch {
		return false
	}
	return r.When == nil || condition(r.When, x.whole, x.part)
}

// conditions are CEL and the same in Go.
func conditions() map[string]func(whole, part *flow.Call) bool {
	return map[string]func(whole, part *flow.Call) bool{
		"call.page_size <= 100": func(_, p *flow.Call) bool {
			return p.Method != "read" || p.PageSize > 0 && p.PageSize <= 100 || len(p.Records) > 0
		},
		"call.parts == 1":              func(w, _ *flow.Call) bool { return len(w.Parts) <= 1 },
		"'Shot' in call.types":         func(_, p *flow.Call) bool { return slices.Contains(p.Types(), "Shot") },
		"call.writes || call.hops > 0": func(_, p *flow.Call) bool { return p.Writes || p.Hops > 0 },
	}
}

func condition(c *policy.Condition, whole, part *flow.Call) bool {
	return goConditions[c.String()](whole, part)
}

var goConditions = conditions()

func unseen(g grant) bool {
	switch g.verb {
	case "read", "create", "update", "delete", "revive", "upload", "download", "link", "follow", "schema", "schedule", "preferences":
		return namedType(g) || namedField(g)
	}
	return true
}

func namedType(g grant) bool {
	typ := strings.ToLower(g.typ)
	write := slices.Contains([]string{"create", "update", "delete", "revive", "upload"}, g.verb)
	switch {
	case g.verb == "schema_field_delete":
		return true
	case g.verb == "download" && (g.typ == "images" || g.typ == "files"), g.verb == "work_schedule_update" && g.typ == "studio":
		return true
	case typ == "eventlogentry":
		return write || g.verb == "read" || g.verb == "download"
	case typ == "humanuser" || typ == "humanuser_projects_connection":
		return write || strings.HasPrefix(g.verb, "schema_field")
	}
	return false
}

func namedField(g grant) bool {
	if !slices.Contains([]string{"create", "update", "upload"}, g.verb) {
		return false
	}
	f := strings.ToLower(g.field)
	return f == "created_by" || f == "login" && strings.ToLower(g.typ) == "humanuser"
}

// wishesOf says what a call asks for.
func wishesOf(c *flow.Call) (out []wish, secret bool) {
	ask := func(verb, typ, field string) {
		g := []grant{{verb, typ, field}}
		out = append(out, wish{grants: g, bans: g})
	}
	never := func() { out = append(out, wish{never: true}) }
	uploads := false
	for _, t := range c.Touches {
		uploads = uploads || t.Use == flow.UseUpload
	}
	typ := c.Type
	if typ == "" {
		typ = "*"
	}
	switch c.Group {
	case flow.GroupCreate, flow.GroupUpdate, flow.GroupDelete, flow.GroupRevive:
		ask(string(c.Group), c.Type, "")
	case flow.GroupSchema, flow.GroupFollow:
		ask(string(c.Group), typ, "")
	case flow.GroupSchedule, flow.GroupPreferences:
		ask(string(c.Group), alone, "")
	case flow.GroupNamed:
		switch {
		case c.Studio:
			ask(c.Method, "studio", "")
		case c.Method == "activity_stream":
			g := []grant{{c.Method, alone, ""}, {c.Method, c.Type, ""}}
			out = append(out, wish{grants: g, bans: g})
		case c.Type != "" && c.Method != "export_page":
			ask(c.Method, c.Type, "")
		default:
			ask(c.Method, alone, "")
		}
	case flow.GroupRead:
		if len(c.Touches) == 0 {
			ask("read", "*", "")
		}
	case flow.GroupUpload:
		if !uploads {
			out = append(out, wish{grants: []grant{{"upload", "", ""}}, bans: []grant{{"upload", "", ""}}, any: true})
		}
	case flow.GroupDownload:
		if len(c.Touches) == 0 {
			never()
		}
	case flow.GroupInfo, flow.GroupBatch, flow.GroupSession:
		never()
	default:
		never()
	}
	for _, p := range c.Presets {
		ask("presets", p, "")
	}
	for _, t := range c.Touches {
		if strings.EqualFold(t.Field, "salted_password") {
			secret = true
			continue
		}
		switch t.Use {
		case flow.UseReturn, flow.UseFilter, flow.UseSort, flow.UseSummary:
			identity := t.Field == "id" || t.Field == "type"
			write := slices.Contains([]flow.Group{flow.GroupCreate, flow.GroupUpdate, flow.GroupDelete, flow.GroupRevive}, c.Group)
			switch {
			case c.Group == flow.GroupFollow, identity && write && t.Use == flow.UseReturn && t.Type == c.Type:
			case identity:
				ask("read", t.Type, "")
			default:
				ask("read", t.Type, t.Field)
			}
		case flow.UseLink:
			out = append(out, wish{grants: []grant{{"link", t.Type, ""}, {"read", t.Type, ""}}, bans: []grant{{"link", t.Type, ""}}})
		case flow.UseWrite:
			if t.Field != "" && (c.Group == flow.GroupCreate || c.Group == flow.GroupUpdate) {
				ask(string(c.Group), t.Type, t.Field)
			}
		case flow.UseUpload:
			if t.Field == "" {
				t.Field = "*"
			}
			ask("upload", t.Type, t.Field)
		case flow.UseDownload:
			ask("download", t.Type, t.Field)
		}
	}
	return out, secret
}
