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
	SecretField Reason = "secret_field" // a credential field; no rule can allow it
	SessionCall Reason = "session_call" // the answer would be a session
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
}

// Script is one script's policy. It is immutable after [Compile].
type Script struct {
	// Name is the script's name in the configuration.
	Name string
	// Rules is the allow list, in the order of the file.
	Rules []Rule
	// Sudo lists the logins that the script may act as.
	Sudo []string
	// ForwardUser lets authenticate_human_user's read go out with the person's
	// own credentials.
	ForwardUser bool

	grants map[string][]grant
}

type grant struct {
	where  string
	typ    string // exact, or the stem of a glob
	glob   bool
	bare   bool // the rule names no target
	fields map[string]struct{}
}

// Compile makes a script's rules ready to decide with.
func Compile(s Script) *Script {
	s.grants = make(map[string][]grant)
	for i := range s.Rules {
		r := &s.Rules[i]
		if len(r.Targets) == 0 {
			s.grants[r.Verb] = append(s.grants[r.Verb], grant{where: r.Where(), bare: true})
		}
		for _, t := range r.Targets {
			g := grant{where: r.Where()}
			g.typ, g.glob = strings.CutSuffix(t.Type, "*")
			if t.Fields != nil {
				g.fields = make(map[string]struct{}, len(t.Fields))
				for _, f := range t.Fields {
					g.fields[f] = struct{}{}
				}
			}
			s.grants[r.Verb] = append(s.grants[r.Verb], g)
		}
	}
	return &s
}

// anyField asks for the type itself: some rule of it, whatever its fields.
const anyField = ""

// has finds the first rule that gives verb on a type's field.
func (s *Script) has(verb, typ, field string) (string, bool) {
	for i := range s.grants[verb] {
		g := &s.grants[verb][i]
		if g.bare || !g.glob && g.typ != typ || g.glob && (!strings.HasPrefix(typ, g.typ) || needsName(verb, typ)) {
			continue
		}
		if g.fields == nil && !needsField(verb, typ, field) {
			return g.where, true
		}
		if field == anyField {
			return g.where, true
		}
		if _, ok := g.fields[field]; ok {
			return g.where, true
		}
	}
	return "", false
}

func (s *Script) hasBare(verb string) (string, bool) {
	for _, g := range s.grants[verb] {
		if g.bare {
			return g.where, true
		}
	}
	return "", false
}

func isWrite(verb string) bool {
	return verb == "create" || verb == "update" || verb == "delete" || verb == "revive"
}

// needsName says whether a rule has to name the type: a glob does not cover it.
func needsName(verb, typ string) bool {
	switch typ {
	case "EventLogEntry": // old and new values of every field of every type
		return verb == "read" || isWrite(verb)
	case "ApiUser", "PermissionRuleSet", "HumanUser", "ActionMenuItem":
		return isWrite(verb)
	}
	return false
}

// needsField says whether a rule has to name the field: its type alone does
// not cover it. These take over accounts, silence the event log, or rewrite
// who did what (flow-protocol §6.2).
func needsField(verb, typ, field string) bool {
	if !isWrite(verb) {
		return false
	}
	switch field {
	case "created_by", "created_at":
		return true
	case "login", "email", "sg_status_list", "locked_until", "sso_login", "oxygen_user_id":
		return typ == "HumanUser"
	case "permission_rule_set":
		return typ == "HumanUser" || typ == "ApiUser"
	case "generate_event_log_entries":
		return typ == "ApiUser"
	}
	return false
}

// Decide answers for one call. userCheck says that the call is the read of
// authenticate_human_user with the person's own credentials.
func (s *Script) Decide(c *flow.Call, userCheck bool) Verdict {
	switch {
	case c.Group == flow.GroupInfo:
		return Verdict{Allow: true, Rule: "info"}
	case c.Group == flow.GroupSession:
		return Verdict{Reason: SessionCall, What: "call " + c.Method}
	case c.UserAuth && !(userCheck && s.ForwardUser):
		return Verdict{Reason: UserAuth, What: "use user_login and user_password"}
	case c.UserAuth:
		return Verdict{Allow: true, Rule: "user_auth: forward"}
	case c.SudoAsLogin != "" && !slices.Contains(s.Sudo, c.SudoAsLogin):
		return Verdict{Reason: Sudo, What: "act as another login"}
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
	case !ok && len(d.lacks) < maxLacks && !slices.Contains(d.lacks, l):
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
		if len(c.Touches) == 0 {
			d.lacks = append(d.lacks, lack{verb: c.Method})
		}
	case flow.GroupInfo, flow.GroupBatch, flow.GroupSession:
		d.lacks = append(d.lacks, lack{verb: c.Method})
	default:
		d.lacks = append(d.lacks, lack{verb: c.Method})
	}
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
	switch {
	case c.Studio:
		d.need(c.Method, StudioTarget, anyField)
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
		d.secret = t.Type + "." + t.Field
		return
	}
	switch t.Use {
	case flow.UseReturn, flow.UseFilter, flow.UseSort, flow.UseSummary:
		if c.Group == flow.GroupFollow {
			return // main asked for it
		}
		field := t.Field
		if field == "id" || field == "type" {
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
	default:
		d.lacks = append(d.lacks, lack{verb: c.Method})
	}
}

func (d *decision) verdict() Verdict {
	switch {
	case d.secret != "":
		return Verdict{Reason: SecretField, What: "reach " + d.secret}
	case len(d.lacks) > 0:
		return Verdict{Reason: NoRule, What: what(d.lacks), Suggest: suggest(d.lacks)}
	case d.rule == "":
		return Verdict{Reason: NoRule, What: "make this call"}
	}
	return Verdict{Allow: true, Rule: d.rule}
}

// what names the first thing that is missing, as precisely as it can.
func what(lacks []lack) string {
	l := lacks[0]
	for _, o := range lacks {
		if o.verb == l.verb && o.typ == l.typ && o.field != "" {
			l = o
			break
		}
	}
	switch {
	case l.typ == "":
		return "call " + l.verb
	case l.verb == "presets":
		return "use the filter preset " + l.typ
	case l.verb == "link":
		return "link to " + l.typ
	case l.typ == "*":
		return l.verb + " every type"
	case l.field == anyField:
		return l.verb + " " + l.typ
	}
	return l.verb + " " + l.typ + "." + l.field
}

// suggest writes the smallest rules that give what is missing, as one list
// item that can be pasted.
func suggest(lacks []lack) string {
	var verbs []string
	byVerb := map[string][]lack{}
	for _, l := range lacks {
		if _, ok := byVerb[l.verb]; !ok {
			verbs = append(verbs, l.verb)
		}
		byVerb[l.verb] = append(byVerb[l.verb], l)
	}
	var parts []string
	bare := 0
	for _, v := range verbs {
		if byVerb[v][0].typ == "" {
			parts = append(parts, v)
			bare++
			continue
		}
		parts = append(parts, v+": "+targets(byVerb[v]))
	}
	if len(parts) == 1 || bare > 0 {
		return "- " + strings.Join(parts, "\n- ")
	}
	return "- {" + strings.Join(parts, ", ") + "}"
}

// targets writes Type, Type.field or {Type: [fields], ...}.
func targets(lacks []lack) string {
	var types []string
	fields := map[string][]string{}
	for _, l := range lacks {
		if _, ok := fields[l.typ]; !ok {
			types = append(types, l.typ)
			fields[l.typ] = nil
		}
		if l.field != "" {
			fields[l.typ] = append(fields[l.typ], l.field)
		}
	}
	if len(types) == 1 && len(fields[types[0]]) <= 1 {
		return yamlWord(strings.Join(append(types, fields[types[0]]...), "."))
	}
	out := make([]string, len(types))
	for i, t := range types {
		switch f := fields[t]; len(f) {
		case 0:
			out[i] = yamlWord(t) + ": id"
		case 1:
			out[i] = t + ": " + f[0]
		default:
			out[i] = t + ": [" + strings.Join(f, ", ") + "]"
		}
	}
	if allBare(fields) {
		return "[" + strings.Join(types, ", ") + "]"
	}
	return "{" + strings.Join(out, ", ") + "}"
}

func allBare(fields map[string][]string) bool {
	for _, f := range fields {
		if len(f) > 0 {
			return false
		}
	}
	return true
}

// yamlWord quotes a word that YAML would read as something else.
func yamlWord(w string) string {
	if w == "*" {
		return `"*"`
	}
	return w
}
