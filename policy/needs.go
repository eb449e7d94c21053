package policy

import (
	"slices"
	"strings"

	"stagedoor/flow"
)

// anyField asks for the type itself: some rule of it, whatever its fields.
const anyField = ""

// how says what gives a need.
type how uint8

const (
	byTarget  how = iota // a rule of the verb for the type's field
	byWord               // a rule that is the verb alone
	byAny                // any rule of the verb: the call is about no record yet
	byLink               // a rule that lets the type be read, or linked to
	byStream             // a rule that is the verb alone, or for the type
	byNothing            // no rule: it can't be read what the call reaches
)

// need is a Need, and what gives it.
type need struct {
	Need

	how how
}

// ask visits everything that a call needs, but for its parts.
func (d *decision) ask(c *flow.Call) {
	d.main(c)
	for _, p := range c.Presets {
		d.need(presetsVerb, p, anyField)
	}
	for i := range c.Touches {
		d.touch(c, &c.Touches[i])
	}
}

func (d *decision) need(verb, typ, field string) { d.visit(need{Need: Need{verb, typ, field}}) }
func (d *decision) bare(verb string)             { d.visit(need{Need: Need{Verb: verb}, how: byWord}) }

func (d *decision) never(c *flow.Call) { d.visit(need{Need: Need{Verb: c.Method}, how: byNothing}) }

// main asks for the method itself.
func (d *decision) main(c *flow.Call) {
	verb := string(c.Group)
	switch c.Group {
	case flow.GroupCreate, flow.GroupUpdate, flow.GroupDelete, flow.GroupRevive:
		d.need(verb, c.Type, anyField)
	case flow.GroupSchema, flow.GroupFollow:
		d.need(verb, orEvery(c.Type), anyField)
	case flow.GroupSchedule, flow.GroupPreferences:
		d.bare(verb)
	case flow.GroupNamed:
		d.named(c)
	case flow.GroupRead: // its touches say it all
		if len(c.Touches) == 0 { // a text search in no type, which may be in all
			d.need(readVerb, orEvery(""), anyField)
		}
	case flow.GroupUpload:
		if !uploads(c) { // a link for a file that is named later
			d.visit(need{Need: Need{Verb: verb}, how: byAny})
		}
	case flow.GroupDownload:
		if len(c.Touches) == 0 {
			d.never(c)
		}
	case flow.GroupInfo, flow.GroupBatch, flow.GroupSession:
		d.never(c)
	default:
		d.never(c)
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
		d.bare(c.Method)
	case c.Method == streamVerb:
		d.visit(need{Need: Need{c.Method, c.Type, anyField}, how: byStream})
	case c.Type != "":
		d.need(c.Method, c.Type, anyField)
	default:
		d.bare(c.Method)
	}
}

// touch asks for one field or type that the call reaches.
func (d *decision) touch(c *flow.Call, t *flow.Touch) {
	if flow.IsSecretField(t.Field) {
		d.secret = t
		return
	}
	switch t.Use {
	case flow.UseReturn, flow.UseFilter, flow.UseSort, flow.UseSummary:
		d.reads(c, t)
	case flow.UseLink:
		d.visit(need{Need: Need{linkVerb, t.Type, anyField}, how: byLink})
	case flow.UseWrite:
		if t.Field != "" && (c.Group == flow.GroupCreate || c.Group == flow.GroupUpdate) {
			d.need(string(c.Group), t.Type, t.Field)
		}
	case flow.UseUpload:
		field := t.Field
		if field == anyField { // a file goes somewhere: where it isn't said, it may be anywhere
			field = flow.EveryField
		}
		d.need(uploadVerb, t.Type, field)
	case flow.UseDownload:
		d.need(downloadVerb, t.Type, t.Field)
	default:
		d.never(c)
	}
}

func (d *decision) reads(c *flow.Call, t *flow.Touch) {
	if c.Group == flow.GroupFollow {
		return // main asked for it
	}
	field := t.Field
	if isIdentity(field) {
		if t.Use == flow.UseReturn && t.Type == c.Type && isWrite(string(c.Group)) {
			return // whoever may make a record may know which it is
		}
		field = anyField
	}
	d.need(readVerb, t.Type, field)
}

// isIdentity says whether a field only says which record it is.
func isIdentity(field string) bool { return field == "id" || field == "type" }

// Needs lists everything that a call asks for, its parts' needs too, without
// repeats, in the order of the call. What no rule can give is not in it:
// credential fields, and calls that need no rule.
func (s *Script) Needs(c *flow.Call) []Need {
	switch c.Group {
	case flow.GroupInfo, flow.GroupSession:
		return nil
	case flow.GroupBatch:
		l := needList{seen: map[Need]struct{}{}}
		for i := range c.Parts {
			l.of(s, &c.Parts[i])
		}
		return l.needs
	case flow.GroupRead, flow.GroupCreate, flow.GroupUpdate, flow.GroupDelete, flow.GroupRevive, flow.GroupFollow, flow.GroupSchema,
		flow.GroupSchedule, flow.GroupPreferences, flow.GroupUpload, flow.GroupDownload, flow.GroupNamed:
	}
	l := needList{seen: map[Need]struct{}{}}
	l.of(s, c)
	return l.needs
}

// needList is needs without repeats.
type needList struct {
	needs []Need
	seen  map[Need]struct{}
}

func (l *needList) of(s *Script, c *flow.Call) {
	d := decision{s: s, phase: listing, list: l}
	d.ask(c)
}

func (l *needList) add(n need) {
	if _, ok := l.seen[n.Need]; ok || n.how == byNothing {
		return
	}
	l.seen[n.Need] = struct{}{}
	l.needs = append(l.needs, n.Need)
}

// secretName names the credential field of a touch.
func secretName(t *flow.Touch) string { return strings.TrimPrefix(t.Type+"."+t.Field, ".") }
