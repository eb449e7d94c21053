package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// scriptPos is where the parts of a script stand.
type scriptPos struct {
	node, active, file, limit, allow *node

	allowed, denied ruleSet
	roles           []*node // their names
	sudo            *node   // sudo_as_login: caller
	fleet, rate     *node   // of its limit
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
	pos.allowed = ruleSet{of: s.Name}
	pos.denied = ruleSet{of: s.Name, deny: true}
	var keyField, until string
	var flowLogin, untilAt *node
	before := len(r.found)
	session, user, mode := "keep", "refuse", "enforce"
	ok := r.object(n, fmt.Sprintf("script %q", s.Name), []field{
		{"active", func(v *node) { pos.active = v; r.active(&s, &keyField)(v) }, ""},
		{"file", func(v *node) { pos.file = v; r.path(&s.File)(v) }, ""},
		{"script_name", r.text(&s.SiteName), ""},
		{"key_field", r.secretField(&s.KeyField), ""},
		{"name_field", r.secretField(&s.NameField), ""},
		{"contact", r.text(&s.Contact), ""},
		{"allow", func(v *node) { pos.allow = v; r.ruleList(&pos.allowed, v) }, ""},
		{"deny", func(v *node) { r.ruleList(&pos.denied, v) }, ""},
		{"roles", r.roleNames(&pos.roles), ""},
		{"mode", r.word(&mode, "enforce", "observe"), ""},
		{"observe_until", func(v *node) { untilAt = v; r.text(&until)(v) }, ""},
		{"limit", func(v *node) { pos.limit = v; r.limit(&s.Limit, &pos, v) }, ""},
		{"sudo_as_login", func(v *node) { r.sudo(&s, &pos, v) }, ""},
		{"flow_login", func(v *node) { flowLogin = v; r.flowLogin(&s.FlowLogin)(v) }, ""},
		{"session_uuid", r.word(&session, "keep", "drop"), ""},
		{"user_auth", func(v *node) { r.userAuth(&user, v) }, ""},
	}, "next", "callers", "places")
	s.DropSession, s.ForwardUser = session == "drop", user == "forward"
	r.mode(&s, n, mode, untilAt, until)
	r.loginOf(&s, flowLogin)
	r.cfg.Scripts = append(r.cfg.Scripts, s)
	r.seen.scripts = append(r.seen.scripts, pos)
	if ok {
		r.keyOf(&r.cfg.Scripts[len(r.cfg.Scripts)-1], pos, keyField, len(r.found) > before)
	}
}

// Years that observe may end in: what is outside of them is a slip of the pen.
const (
	minObserveYear = 2020
	maxObserveYear = 2100
)

// mode settles whether a script's rules are enforced, and from when on.
func (r *reading) mode(s *Script, n *node, mode string, at *node, until string) {
	s.Observe = mode == "observe"
	switch {
	case at == nil && s.Observe:
		r.warn(n.field("mode").key.place, s.Name+" is observed without an end: nothing is refused for want of a rule until this line goes", "add observe_until: YYYY-MM-DD, the first day that it enforces")
	case at == nil || until == "":
	case !s.Observe:
		r.error(at.key.place, "observe_until without mode: observe", "add mode: observe, or remove it")
	default:
		t, err := time.Parse(time.DateOnly, until)
		if err != nil || t.Year() < minObserveYear || t.Year() > maxObserveYear {
			r.value(at, quoted(at)+" is no date", "write the first day that it enforces: YYYY-MM-DD")
			return
		}
		s.ObserveEnd = t
		if !t.After(r.now) {
			r.warn(at.key.place, s.Name+" enforces since "+until, "remove mode and observe_until")
		}
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
	none := pos.allow == nil && !wrong || pos.allow != nil && pos.allow.kind == kindList && len(pos.allow.items) == 0
	if none && len(pos.roles) == 0 && !s.Observe { // an observed one begins like this
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

// sudo reads whom a script may act as: logins and patterns, or caller.
func (r *reading) sudo(s *Script, pos *scriptPos, n *node) {
	if n.kind == kindText && n.text == "caller" {
		s.SudoCaller, pos.sudo = true, n
		return
	}
	r.texts(&s.SudoAsLogin, func(dst *string) reader {
		read := r.textLike(dst, func(v string) (msg, hint string) {
			switch {
			case v == "caller":
				return "stands alone", "write sudo_as_login: caller; every call then goes out as who makes it"
			case strings.ContainsAny(v, "?{}"):
				return "is no login", "name logins, with * for any characters: [anna, \"comp-*\"]"
			}
			return "", ""
		})
		return func(it *node) {
			if read(it); strings.Trim(*dst, "*") == "" && *dst != "" {
				r.warn(it.place, s.Name+" may act as anybody: the site's event log then names whom the caller chose", "")
			}
		}
	})(n)
}

// userWord stands for the user's name in flow_login.
const userWord = "{user}"

// flowLogin reads how a caller's login is made from the name of the user.
func (r *reading) flowLogin(dst *string) reader {
	return r.textLike(dst, func(v string) (msg, hint string) {
		if rest := strings.Replace(v, userWord, "", 1); rest == v || strings.ContainsAny(rest, "{}* ") {
			return "makes no login", "write \"" + userWord + "\", or with more around it: \"" + userWord + "@acme.com\""
		}
		return "", ""
	})
}

// loginOf fills in how a caller's login is made.
func (r *reading) loginOf(s *Script, at *node) {
	switch {
	case at != nil && !s.SudoCaller:
		r.error(at.key.place, "flow_login without sudo_as_login: caller", "it makes the caller's login; add the one, or remove the other")
	case s.SudoCaller && s.FlowLogin == "":
		s.FlowLogin = userWord
	}
}

// callerKnown refuses sudo_as_login: caller where nobody tells who calls.
func (r *reading) callerKnown() {
	for i := range r.cfg.Scripts {
		at := r.seen.scripts[i].sudo
		if at == nil {
			continue
		}
		for j := range r.cfg.Listeners {
			l := &r.cfg.Listeners[j]
			if l.Identity == "none" && slices.Contains(l.Scripts, r.cfg.Scripts[i].Name) {
				r.value(at, "who calls is not known on "+l.Name+", which has identity: none",
					"write identity: kernel there (Linux; callers on this host), or name logins here")
				break
			}
		}
	}
}

func (r *reading) userAuth(dst *string, n *node) {
	r.word(dst, "refuse", "forward")(n)
	if *dst == "forward" {
		r.warn(n.key.place, "user_auth: forward: people's passwords pass through here to the site, for authenticate_human_user only", "")
	}
}
