package flowsite

import (
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// The kinds of credential that an auth object can hold (flow-protocol §1.3).
const (
	KindNone    = ""
	KindScript  = "script"
	KindUser    = "user"
	KindSession = "session"
)

// auth is the auth object of a call.
type auth struct {
	kind                    string
	script, key             string
	login, password, second string
	session                 string
	rejectExpired           bool
	uuid, sudo, product     string
}

// secret is the part of a credential that must not come back.
func (a *auth) secret() string { return a.key + a.password + a.session }

// readAuth takes an auth object apart and finds what makes it none of the
// forms of §1.3: unknown names, a missing half, two credentials, none.
func readAuth(v any) (auth, []string) {
	m, ok := v.(map[string]any)
	if !ok {
		return auth{}, []string{"the auth object is no object"}
	}
	var a auth
	var found []string
	slots := a.slots()
	for _, name := range sortedKeys(m) {
		if name == "reject_if_expired" {
			if a.rejectExpired, ok = m[name].(bool); !ok {
				found = append(found, "auth: reject_if_expired is no boolean")
			}
			continue
		}
		slot := slots[name]
		text, isText := m[name].(string)
		switch {
		case slot == nil:
			found = append(found, "auth: unknown key "+name)
		case !isText || text == "":
			found = append(found, "auth: "+name+" is no text or empty")
		default:
			*slot = text
		}
	}
	return a, append(found, a.settle(m)...)
}

func (a *auth) slots() map[string]*string {
	return map[string]*string{
		"script_name": &a.script, "script_key": &a.key,
		"user_login": &a.login, "user_password": &a.password, "auth_token": &a.second,
		"session_token": &a.session, "session_uuid": &a.uuid, "sudo_as_login": &a.sudo, "product": &a.product,
	}
}

// settle sets the kind, which must be one.
func (a *auth) settle(m map[string]any) []string {
	has := func(names ...string) int {
		n := 0
		for _, name := range names {
			if _, ok := m[name]; ok {
				n++
			}
		}
		return n
	}
	script, user, session := has("script_name", "script_key"), has("user_login", "user_password"), has("session_token")
	var found []string
	kinds := 0
	if script > 0 {
		a.kind, kinds = KindScript, kinds+1
	}
	if user > 0 {
		a.kind, kinds = KindUser, kinds+1
	}
	if session > 0 {
		a.kind, kinds = KindSession, kinds+1
	}
	switch {
	case kinds == 0:
		found = append(found, "auth: no credential")
	case kinds > 1:
		found = append(found, "auth: more than one kind of credential")
	}
	if script == 1 || user == 1 {
		found = append(found, "auth: half a credential")
	}
	if user == 0 && has("auth_token") > 0 {
		found = append(found, "auth: auth_token without a login")
	}
	if session == 0 && has("reject_if_expired") > 0 {
		found = append(found, "auth: reject_if_expired without a session")
	}
	return found
}

// identity is who a call counts as.
type identity struct {
	script *script // nil: a person
	person *person // set for people and sudo
	role   Role
	actor  link // who the site says did it
	// behind is the one who used sudo_as_login; zero without sudo.
	behind  link
	uuid    string
	session string // token that was used or minted
}

// session is a token that get_session_token gave out.
type session struct {
	script *script
	person *person
	used   time.Time
}

func refused(format string, a ...any) error { return &fault{codeAuth, fmt.Sprintf(format, a...)} }

func (s *Site) authenticateLocked(c rpc) (identity, error) {
	if c.method == "info" {
		return identity{}, nil // needs no credential: §1.8
	}
	if _, ok := s.methods[c.method]; !ok {
		// After authentication on the real site too, as far as is known; an
		// unknown method with a bad key stays a refusal of the key.
		if _, err := s.holderLocked(c.auth); err != nil {
			return identity{}, err
		}
		return identity{}, bad("API call %s() does not exist", c.method)
	}
	return s.identifyLocked(c.auth)
}

// identifyLocked finds who a call with this credential counts as.
func (s *Site) identifyLocked(a auth) (identity, error) {
	id, err := s.holderLocked(a)
	if err != nil {
		return identity{}, err
	}
	id.uuid = a.uuid
	if a.sudo != "" {
		return s.sudoLocked(id, a.sudo)
	}
	return id, nil
}

// holderLocked finds who holds the credential.
func (s *Site) holderLocked(a auth) (identity, error) {
	switch a.kind {
	case KindScript:
		sc := s.scripts[a.script]
		if sc == nil || sc.disabled || !equal(sc.key, a.key) {
			return identity{}, refused("Can't authenticate script '%s'", a.script)
		}
		return sc.identity(), nil
	case KindUser:
		return s.userLocked(a)
	case KindSession:
		return s.sessionLocked(a)
	default:
		return identity{}, refused("no credential")
	}
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func (s *Site) userLocked(a auth) (identity, error) {
	if code := s.opts.UserAuthCode; code != 0 {
		return identity{}, &fault{code, "User credentials are not allowed on this site."}
	}
	p := s.people[a.login]
	if p == nil || !s.activeLocked(p) || !equal(p.Password, a.password) {
		return identity{}, refused("Can't authenticate user '%s'.", a.login)
	}
	if p.SecondFactor != "" && a.second == "" {
		return identity{}, &fault{codeTwo, "Missing two factor authentication token."}
	}
	if p.SecondFactor != "" && !equal(p.SecondFactor, a.second) {
		return identity{}, refused("Can't authenticate user '%s'.", a.login)
	}
	return p.identity(), nil
}

// sessionLocked accepts a live session. One that expired is refused where the
// caller asks for that (reject_if_expired) and revived where it doesn't.
func (s *Site) sessionLocked(a auth) (identity, error) {
	t := s.sessions[a.session]
	if t == nil {
		return identity{}, refused("Can't authenticate session.")
	}
	now := s.opts.Now()
	if a.rejectExpired && now.Sub(t.used) > s.opts.SessionTTL {
		return identity{}, refused("Session has expired.")
	}
	var id identity
	switch {
	case t.script != nil && !t.script.disabled:
		id = t.script.identity()
	case t.person != nil && s.activeLocked(t.person):
		id = t.person.identity()
	default:
		return identity{}, refused("Can't authenticate session.")
	}
	t.used = now
	id.session = a.session
	return id, nil
}

// sudoLocked puts a person in the place of the caller. The beginning of the
// refusal is measured (§1.3); the three reasons are (§5.2), their words not.
func (s *Site) sudoLocked(id identity, login string) (identity, error) {
	refuse := func(why string) (identity, error) {
		return identity{}, refused("The user does not have permission to 'sudo': %s", why)
	}
	if id.role.NoSudo {
		return refuse("not granted")
	}
	p := s.people[login] // by login, never by e-mail
	switch {
	case p == nil || s.state.get(p.row()) == nil || s.state.get(p.row()).retired:
		return refuse("no person has the login '" + login + "'")
	case !s.activeLocked(p):
		return refuse("'" + login + "' is not active")
	case !s.impersonableLocked(p):
		return refuse("'" + login + "' can't be impersonated")
	}
	as := p.identity()
	as.behind, as.uuid, as.session, as.script = id.actor, id.uuid, id.session, id.script
	return as, nil
}

// sessionToken mints a token, or answers with the one that was used.
func (c *ctx) sessionToken(args) (any, error) {
	if c.who.session != "" {
		return map[string]any{"session_id": c.who.session}, nil
	}
	token, err := c.random()
	if err != nil {
		return nil, err
	}
	t := &session{script: c.who.script, person: c.who.person, used: c.now}
	if t.script != nil {
		t.person = nil // a script's session stays the script's
	}
	c.sessions[token] = t
	return map[string]any{"session_id": token}, nil
}

func (s *Site) random() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(s.opts.Entropy, b[:]); err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// ExpireSessions makes every session as old as can be.
func (s *Site) ExpireSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.sessions {
		t.used = time.Time{}
	}
}

// DropSessions forgets every session, as a restarted site may.
func (s *Site) DropSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}
