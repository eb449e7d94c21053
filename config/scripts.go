package config

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// scriptPos is where the parts of a script stand.
type scriptPos struct {
	node, active, file, limit, allow *node
}

// maxScriptName is the length of a script's name in characters.
const maxScriptName = 128

func (r *reading) scripts(n *node) {
	switch {
	case n.kind != kindMap:
		r.hide(n)
		r.value(n, "scripts by name are wanted here, this is "+n.kind.String(), "write NAME: {active: PATH, allow: [{read: Shot}]}")
		return
	case len(n.fields) == 0:
		r.value(n, "no script", "add NAME: {active: PATH, allow: [{read: Shot}]}")
		return
	}
	for _, v := range n.fields {
		name := v.key.text
		if strings.TrimSpace(name) != name || name == "" || utf8.RuneCountInString(name) > maxScriptName {
			r.error(v.key.place, quoted(v.key)+" is no script name", fmt.Sprintf("1 to %d characters, no white space around them", maxScriptName))
			continue
		}
		if v.kind == kindNull {
			r.error(v.key.place, quoted(v.key)+" says nothing", "give it active: PATH, and allow")
			continue
		}
		r.script(v)
	}
}

func (r *reading) script(n *node) {
	s := Script{
		Name: n.key.text, Line: n.key.line, Contact: r.contact(),
		NameField: DefaultNameField, Limit: defaultLimit(DefaultRate),
	}
	pos := scriptPos{node: n}
	var keyField string
	before := len(r.found)
	session, user := "keep", "refuse"
	ok := r.object(n, fmt.Sprintf("script %q", s.Name), []field{
		{"active", func(v *node) { pos.active = v; r.active(&s, &keyField)(v) }, ""},
		{"file", func(v *node) { pos.file = v; r.path(&s.File)(v) }, ""},
		{"script_name", r.text(&s.SiteName), ""},
		{"key_field", r.secretField(&s.KeyField), ""},
		{"name_field", r.secretField(&s.NameField), ""},
		{"contact", r.text(&s.Contact), ""},
		{"allow", func(v *node) { pos.allow = v; r.allow(&s, v) }, ""},
		{"limit", func(v *node) { pos.limit = v; r.limit(&s.Limit, v) }, ""},
		{"sudo_as_login", r.sudo(&s.SudoAsLogin), ""},
		{"session_uuid", r.word(&session, "keep", "drop"), ""},
		{"user_auth", func(v *node) { r.userAuth(&user, v) }, ""},
	}, "next", "mode", "observe_until", "projects", "lane", "fleet", "node", "roles", "callers", "limits", "places")
	s.DropSession, s.ForwardUser = session == "drop", user == "forward"
	r.cfg.Scripts = append(r.cfg.Scripts, s)
	r.seen.scripts = append(r.seen.scripts, pos)
	if ok {
		r.keyOf(&r.cfg.Scripts[len(r.cfg.Scripts)-1], pos, keyField, len(r.found) > before)
	}
}

// keyOf settles where a script's key comes from.
func (r *reading) keyOf(s *Script, pos scriptPos, field string, wrong bool) {
	key := pos.node.key.place
	switch {
	case pos.active != nil && pos.file != nil:
		r.error(pos.file.key.place, "active and file: a script has one key", "keep active (in Vault) or file")
	case pos.active == nil && pos.file == nil:
		r.error(key, fmt.Sprintf("%s has no key", quoted(pos.node.key)), "add active: PATH (in Vault, below the mount) or file: PATH")
	}
	switch {
	case field != "" && s.KeyField != "":
		r.error(pos.node.field("key_field").key.place, "active names the key's field already", "keep one of the two")
	case field != "":
		s.KeyField = field
	case s.KeyField == "":
		s.KeyField = DefaultKeyField
	}
	if pos.allow == nil && !wrong || pos.allow != nil && pos.allow.kind == kindList && len(pos.allow.items) == 0 {
		r.warn(key, s.Name+" has no allow: it may only call info", "")
	}
}

// contact is the contact of the whole file, wherever it stands.
func (r *reading) contact() string {
	if c := r.seen.top.field("contact"); c != nil && c.kind == kindText {
		return c.text
	}
	return ""
}

// active reads a path in Vault, with the key's field after a #. What is no path
// may be the key itself.
func (r *reading) active(s *Script, field *string) reader {
	return r.vaultRef(&s.Active, field)
}

func (r *reading) vaultRef(dst, field *string) reader {
	var path string
	read := r.textLike(&path, func(v string) (msg, hint string) {
		p, f, has := strings.Cut(v, "#")
		if has && !validField(f) {
			return "has no field name after the #", "write PATH, or PATH#FIELD"
		}
		if !strings.Contains(p, "/") && keyLike(p) {
			return "looks like a key: no secret belongs in this file", "name the path in Vault where it is: flow/NAME"
		}
		return badVaultPath(p)
	})
	return func(n *node) {
		if n.kind != kindText || keyLike(n.text) || noVaultPath(n.text) {
			r.hide(n)
		}
		read(n)
		*dst, *field, _ = strings.Cut(path, "#")
	}
}

// noVaultPath says whether a text is not even meant as a path in Vault.
func noVaultPath(s string) bool {
	msg, _ := badVaultPath(s)
	return msg != "" && (!strings.Contains(s, "/") || strings.ContainsAny(s, " \t"))
}

func validField(s string) bool {
	return s != "" && len(s) <= maxScriptName && !strings.ContainsAny(s, " \t#")
}

// secretField reads the name of a field of a secret.
func (r *reading) secretField(dst *string) reader {
	return r.textLike(dst, func(s string) (msg, hint string) {
		if !validField(s) {
			return "is no field of a secret", "the name of the field that holds it, for example " + DefaultKeyField
		}
		return "", ""
	})
}

func (r *reading) limit(l *Limit, n *node) {
	burst := 0
	r.object(n, "limit", []field{
		{"rate", r.rate(&l.Rate), ""},
		{"burst", r.count(&burst, 1, MaxBurst), ""},
		{"in_flight", r.count(&l.InFlight, 1, MaxInFlight), ""},
		{"max_hold", r.duration(&l.MaxHold, 0, 10*time.Minute), ""},
		{"queue", r.count(&l.Queue, 0, MaxQueue), ""},
	}, "fleet", "node", "lane", "site", "share")
	l.Burst = burst
	if burst == 0 {
		l.Burst = defaultBurst(l.Rate)
	}
	if w := l.LongestWait(); w > l.MaxHold {
		at := n.key.place
		r.warn(at, fmt.Sprintf("a batch of more than %d parts may have to wait %s for a full bucket; max_hold refuses it after %s", l.Burst, showDuration(w), showDuration(l.MaxHold)), "")
	}
}

// sudo reads the logins that a script may act as.
func (r *reading) sudo(dst *[]string) reader {
	return r.texts(dst, func(s *string) reader {
		return r.textLike(s, func(v string) (msg, hint string) {
			switch {
			case v == "caller":
				return "needs callers that are known by the kernel's word", "that comes with callers:, which this version doesn't know yet; until then name logins"
			case strings.ContainsAny(v, "*?{}"):
				return "is a pattern; logins are named exactly", "list them: [anna, ben]"
			}
			return "", ""
		})
	})
}

func (r *reading) userAuth(dst *string, n *node) {
	r.word(dst, "refuse", "forward")(n)
	if *dst == "forward" {
		r.warn(n.key.place, "user_auth: forward: people's passwords pass through here to the site, for authenticate_human_user only", "")
	}
}
