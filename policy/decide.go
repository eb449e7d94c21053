package policy

import (
	"slices"
	"strings"

	"stagedoor/flow"
)

// Reason is why a policy refuses.
type Reason string

// The reasons of this package.
const (
	NoRule      Reason = "no_rule"      // nothing allows it
	Denied      Reason = "denied"       // a deny rule forbids it
	Project     Reason = "project"      // not shown to stay within the rule's projects
	Rows        Reason = "rows"         // more rows a page than the rule gives
	Batch       Reason = "batch"        // more parts than the rule gives
	Unmet       Reason = "condition"    // the rule's condition does not hold
	SecretField Reason = "secret_field" // a credential field; no rule can allow it
	UserAuth    Reason = "user_auth"    // user and password in the call
	Sudo        Reason = "sudo"         // sudo_as_login without a grant
)

// Verdict is the answer to one call. The zero Verdict refuses.
type Verdict struct {
	Allow bool
	// Rule is where the rule stands that decided ("stagedoor.yaml:12"), or a
	// word for what needs no rule. Empty when nothing allowed.
	Rule string
	// Reason, What and Suggest are set on a refusal: what the script may not do
	// ("update Version.description"), and the smallest lines that would allow
	// it, empty where none can.
	Reason  Reason
	What    string
	Suggest string
	// Observed says that the call is let through only because the script is
	// observed: Reason, What and Suggest say why it would have been refused.
	Observed bool
	// Sudo is the login that the call has to go out as; "" leaves it as it is.
	Sudo string
	// Filter are projects: the call may go out only with a filter added that
	// confines it to them.
	Filter []int64
	// Lookup are records whose project has to be looked up: the call may go out
	// only if each lies where it has to.
	Lookup []Check
	// Share says whether the answer may be shared.
	Share Share
}

// Check is a record that has to lie in one of the projects; with Except, in none
// of them.
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

// Script is one script's policy. It is immutable after [Compile].
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

	verbs map[string]*verbGrants
}

// verbGrants is what the rules of one verb give. Each grant has a number, so
// that the first rule of the file is the one that decides.
type verbGrants struct {
	exact map[string][]grant // by type
	globs []grant
	bare  string // where the first rule without a target stands
}

type grant struct {
	n      int
	where  string
	stem   string              // of a glob
	fields map[string]struct{} // nil means every field
}

// Compile makes a script's rules ready to decide with.
func Compile(s Script) *Script {
	s.verbs = make(map[string]*verbGrants)
	n := 0
	for i := range s.Rules {
		r := &s.Rules[i]
		v := s.verbs[r.Verb]
		if v == nil {
			v = &verbGrants{exact: make(map[string][]grant)}
			s.verbs[r.Verb] = v
		}
		if len(r.Targets) == 0 && v.bare == "" {
			v.bare = r.Where()
		}
		for _, t := range r.Targets {
			v.add(t, r.Where(), n)
			n++
		}
	}
	return &s
}

func (v *verbGrants) add(t Target, where string, n int) {
	g := grant{n: n, where: where}
	if t.Fields != nil {
		g.fields = make(map[string]struct{}, len(t.Fields))
		for _, f := range t.Fields {
			g.fields[f] = struct{}{}
		}
	}
	stem, glob := strings.CutSuffix(t.Type, "*")
	if !glob {
		v.exact[t.Type] = append(v.exact[t.Type], g)
		return
	}
	g.stem = stem
	v.globs = append(v.globs, g)
}

// anyField asks for the type itself: some rule of it, whatever its fields.
const anyField = ""

// has finds the first rule that gives verb on a type's field.
func (s *Script) has(verb, typ, field string) (string, bool) {
	v := s.verbs[verb]
	if v == nil {
		return "", false
	}
	var found *grant
	for i := range v.exact[typ] {
		if g := &v.exact[typ][i]; g.gives(verb, typ, field) {
			found = g
			break
		}
	}
	for i := range v.globs {
		g := &v.globs[i]
		if found != nil && found.n < g.n {
			break
		}
		if strings.HasPrefix(typ, g.stem) && g.gives(verb, typ, field) && !needsName(verb, typ) {
			found = g
			break
		}
	}
	if found == nil {
		return "", false
	}
	return found.where, true
}

// gives says whether a grant of the type gives the field too.
func (g *grant) gives(verb, typ, field string) bool {
	if field == anyField || g.fields == nil && !needsField(verb, typ, field) {
		return true
	}
	_, ok := g.fields[field]
	return ok
}

func (s *Script) hasBare(verb string) (string, bool) {
	v := s.verbs[verb]
	if v == nil || v.bare == "" {
		return "", false
	}
	return v.bare, true
}

// hasAny finds the first rule of a verb, whatever it reaches.
func (s *Script) hasAny(verb string) (string, bool) {
	for i := range s.Rules {
		if s.verbs != nil && s.Rules[i].Verb == verb {
			return s.Rules[i].Where(), true
		}
	}
	return "", false
}

// MayRead says whether the script may read a type's field, for answers that
// hold more than was asked for. Which record it is, is told to whoever may read
// or write some of it.
func (s *Script) MayRead(typ, field string) bool {
	if flow.IsSecretField(field) {
		return false
	}
	if field != "id" && field != "type" {
		_, ok := s.has("read", typ, field)
		return ok && field != anyField
	}
	for _, verb := range [...]string{"read", "create", "update", "delete", "revive"} {
		if _, ok := s.has(verb, typ, anyField); ok {
			return true
		}
	}
	return false
}

const (
	uploadVerb   = string(flow.GroupUpload)
	downloadVerb = string(flow.GroupDownload)
)

func isWrite(verb string) bool {
	return verb == "create" || verb == "update" || verb == "delete" || verb == "revive"
}

// needsName says whether a rule has to name the type: a glob does not cover it.
// Case is folded: nobody has tried whether the site does. A file that is put
// into a record counts as a write of it.
func needsName(verb, typ string) bool {
	writes := isWrite(verb) || verb == uploadVerb
	switch {
	case isWord(verb, typ) && verb != "presets":
		return true
	case verb != "read" && verb != downloadVerb && !writes:
		return false
	case strings.EqualFold(typ, "EventLogEntry"): // old and new values of every field of every type
		return true
	}
	return writes && isProtected(typ)
}

// isProtected says whether writes of a type, or of what connects it to others
// (HumanUser_projects_Connection), give rights or let others act as somebody.
func isProtected(typ string) bool {
	typ = strings.ToLower(typ)
	if strings.HasSuffix(typ, "_connection") {
		typ, _, _ = strings.Cut(typ, "_")
	}
	switch typ {
	case "apiuser", "clientuser", "humanuser", "permissionruleset", "actionmenuitem", "eventlogentry":
		return true
	}
	return false
}

// needsField says whether a rule has to name the field: its type alone does
// not cover it. These take over accounts, silence the event log, or rewrite
// who did what (flow-protocol §6.2).
func needsField(verb, typ, field string) bool {
	if !isWrite(verb) && verb != uploadVerb {
		return false
	}
	switch strings.ToLower(field) {
	case "created_by", "created_at":
		return true
	case "login", "email", "sg_status_list", "locked_until", "sso_login", "oxygen_user_id":
		return strings.EqualFold(typ, "HumanUser")
	case "permission_rule_set":
		return strings.EqualFold(typ, "HumanUser") || strings.EqualFold(typ, "ApiUser")
	case "generate_event_log_entries":
		return strings.EqualFold(typ, "ApiUser")
	}
	return false
}

// Decide answers for one call.
func (s *Script) Decide(q Query) Verdict {
	c, userCheck := q.Call, q.UserCheck
	switch {
	case c.UserAuth && (c.Group == flow.GroupSession || !(userCheck && s.ForwardUser)):
		return Verdict{Reason: UserAuth, What: "use user_login and user_password"}
	case c.UserAuth:
		return Verdict{Allow: true, Rule: "user_auth: forward"}
	case c.SudoAsLogin != "" && !slices.Contains(s.Sudo, c.SudoAsLogin):
		return Verdict{Reason: Sudo, What: "act as another login"}
	case c.Group == flow.GroupInfo: // it goes without credentials, so none may have been sent
		return Verdict{Allow: true, Rule: "info"}
	case c.Group == flow.GroupSession: // answered with a handle, which gives no more than the script has
		return Verdict{Allow: true, Rule: "handle"}
	}
	d := decision{s: s}
	if c.Group == flow.GroupBatch {
		for i := range c.Parts {
			d.call(&c.Parts[i])
		}
		if len(c.Parts) == 0 {
			return Verdict{Reason: NoRule, What: "send an empty batch"}
		}
	} else {
		d.call(c)
	}
	return d.verdict()
}

// decision collects what a call needs and lacks.
type decision struct {
	s      *Script
	rule   string
	secret string
	lacks  []lack
	more   bool // and others, beyond maxLacks
}

type lack struct{ verb, typ, field string }

// maxLacks bounds how much a refusal spells out.
const maxLacks = 64

func (d *decision) need(verb, typ, field string) {
	where, ok := d.s.has(verb, typ, field)
	d.note(where, ok, lack{verb, typ, field})
}

func (d *decision) needBare(verb string) {
	where, ok := d.s.hasBare(verb)
	d.note(where, ok, lack{verb: verb})
}

func (d *decision) note(where string, ok bool, l lack) {
	switch {
	case ok && d.rule == "":
		d.rule = where
	case ok || d.more || slices.Contains(d.lacks, l):
	case len(d.lacks) == maxLacks:
		d.more = true
	default:
		d.lacks = append(d.lacks, l)
	}
}

func (d *decision) call(c *flow.Call) {
	d.main(c)
	for _, p := range c.Presets {
		d.need("presets", p, anyField)
	}
	for _, t := range c.Touches {
		d.touch(c, t)
	}
}

// main asks for the method itself.
func (d *decision) main(c *flow.Call) {
	verb := string(c.Group)
	switch c.Group {
	case flow.GroupCreate, flow.GroupUpdate, flow.GroupDelete, flow.GroupRevive:
		d.need(verb, c.Type, anyField)
	case flow.GroupSchema, flow.GroupFollow:
		d.need(verb, orEvery(c.Type), anyField)
	case flow.GroupSchedule, flow.GroupPreferences:
		d.needBare(verb)
	case flow.GroupNamed:
		d.named(c)
	case flow.GroupRead: // its touches say it all
		if len(c.Touches) == 0 { // a text search in no type, which may be in all
			d.need("read", orEvery(""), anyField)
		}
	case flow.GroupUpload:
		if !uploads(c) { // a link for a file that is named later
			where, ok := d.s.hasAny(verb)
			d.note(where, ok, lack{verb: verb})
		}
	case flow.GroupDownload:
		if len(c.Touches) == 0 {
			d.note("", false, lack{verb: c.Method})
		}
	case flow.GroupInfo, flow.GroupBatch, flow.GroupSession:
		d.note("", false, lack{verb: c.Method})
	default:
		d.note("", false, lack{verb: c.Method})
	}
}

func uploads(c *flow.Call) bool {
	return slices.ContainsFunc(c.Touches, func(t flow.Touch) bool { return t.Use == flow.UseUpload })
}

// orEvery is what a call without a type reaches: every type, which only a rule
// for "*" gives.
func orEvery(typ string) string {
	if typ == "" {
		return "*"
	}
	return typ
}

func (d *decision) named(c *flow.Call) {
	want, known := verbTakes(c.Method)
	switch {
	case c.Studio:
		d.need(c.Method, StudioTarget, anyField)
	case known && want == takesNothing:
		d.needBare(c.Method)
	case c.Method == "activity_stream":
		if where, ok := d.s.hasBare(c.Method); ok {
			d.note(where, true, lack{})
			return
		}
		d.need(c.Method, c.Type, anyField)
	case c.Type != "":
		d.need(c.Method, c.Type, anyField)
	default:
		d.needBare(c.Method)
	}
}

// touch asks for one field or type that the call reaches.
func (d *decision) touch(c *flow.Call, t flow.Touch) {
	if flow.IsSecretField(t.Field) {
		d.secret = strings.TrimPrefix(t.Type+"."+t.Field, ".")
		return
	}
	switch t.Use {
	case flow.UseReturn, flow.UseFilter, flow.UseSort, flow.UseSummary:
		if c.Group == flow.GroupFollow {
			return // main asked for it
		}
		field := t.Field
		if field == "id" || field == "type" {
			if t.Use == flow.UseReturn && t.Type == c.Type && isWrite(string(c.Group)) {
				return // whoever may make a record may know which it is
			}
			field = anyField
		}
		d.need("read", t.Type, field)
	case flow.UseLink:
		if where, ok := d.s.has("read", t.Type, anyField); ok {
			d.note(where, true, lack{})
			return
		}
		d.need("link", t.Type, anyField)
	case flow.UseWrite:
		if t.Field != "" && (c.Group == flow.GroupCreate || c.Group == flow.GroupUpdate) {
			d.need(string(c.Group), t.Type, t.Field)
		}
	case flow.UseUpload:
		if t.Field == anyField { // a file goes somewhere: where it isn't said, it may be anywhere
			t.Field = flow.EveryField
		}
		d.need(uploadVerb, t.Type, t.Field)
	case flow.UseDownload:
		d.need(downloadVerb, t.Type, t.Field)
	default:
		d.note("", false, lack{verb: c.Method})
	}
}

func (d *decision) verdict() Verdict {
	switch {
	case d.secret != "":
		return Verdict{Reason: SecretField, What: "reach " + d.secret}
	case len(d.lacks) > 0:
		return Verdict{Reason: NoRule, What: what(d.lacks), Suggest: suggest(d.lacks, d.more)}
	case d.rule == "":
		return Verdict{Reason: NoRule, What: "make this call"}
	}
	return Verdict{Allow: true, Rule: d.rule}
}
