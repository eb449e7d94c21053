package flowsite

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	accessLife = 600 * time.Second // flow-protocol §5.2
	// refreshLife isn't measured: longer than the access token's, the
	// documentation says.
	refreshLife = 24 * time.Hour
	// maxTokens bounds the tokens kept; the oldest go first. A test makes
	// fewer.
	maxTokens = 10_000
	// jwtHeader is the first part of every token.
	jwtHeader = `{"alg":"HS256"}`
)

// restToken is what an access or a refresh token stands for.
type restToken struct {
	script     *script // nil: a person's own
	person     *person // nil: a script's own
	sudo, uuid string
	how        string // auth_type: api_key, session_token, password
	expires    time.Time
}

func (t *restToken) held(kind string) restHeld {
	h := restHeld{kind: kind, sudo: t.sudo, uuid: t.uuid}
	if t.script != nil {
		h.script = t.script.name
	}
	return h
}

// restTokens are the live tokens. Site.mu guards it.
type restTokens struct {
	key             []byte // signs; made with the first token
	access, refresh tokenBox
}

// tokenBox keeps tokens by their text, within maxTokens.
type tokenBox struct {
	byText map[string]*restToken
	order  []string
}

func (b *tokenBox) put(text string, t *restToken) {
	if b.byText == nil {
		b.byText = map[string]*restToken{}
	}
	b.byText[text] = t
	b.order = append(b.order, text)
	for len(b.order) > maxTokens {
		delete(b.byText, b.order[0])
		b.order = b.order[1:]
	}
}

func (b *tokenBox) clear() { *b = tokenBox{} }

// ExpireTokens makes every access token of REST one that has expired. Refresh
// tokens stay good.
func (s *Site) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens.access.byText {
		t.expires = time.Time{}
	}
}

// DropTokens forgets every token of REST, refresh tokens too.
func (s *Site) DropTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens.access.clear()
	s.tokens.refresh.clear()
}

// bearerLocked finds who holds the call's access token, and notes what the
// token says, whether it is good or not.
func (s *Site) bearerLocked(q *rest) (identity, error) {
	if q.token == "" {
		return identity{}, restUnauthorized("Request rejected due to invalid credentials.")
	}
	q.held.kind = KindBearer
	t := s.tokens.access.byText[q.token]
	if t == nil {
		return identity{}, restUnauthorized("Token invalid")
	}
	q.held = t.held(KindBearer)
	if !s.opts.Now().Before(t.expires) {
		return identity{}, restUnauthorized("Token Expired")
	}
	id, err := s.ownerLocked(t)
	if err != nil {
		return identity{}, restUnauthorized("Token invalid")
	}
	return id, nil
}

// ownerLocked is the identity of a token's owner as of now: a script may have
// been disabled since.
func (s *Site) ownerLocked(t *restToken) (identity, error) {
	var id identity
	switch {
	case t.script != nil && !t.script.disabled:
		id = t.script.identity()
	case t.script == nil && t.person != nil && s.activeLocked(t.person):
		id = t.person.identity()
	default:
		return identity{}, refused("Can't authenticate.")
	}
	id.uuid = t.uuid
	if t.sudo != "" {
		return s.sudoLocked(id, t.sudo)
	}
	return id, nil
}

// tokenFields are the names of the token endpoint, by grant: what it must
// have, then what it may.
func tokenFields() map[string][2][]string {
	sudo := words("scope", "session_uuid")
	refresh := [2][]string{words("refresh_token"), nil}
	return map[string][2][]string{
		"client_credentials": {words("client_id", "client_secret"), sudo},
		"password":           {words("username", "password"), append(words("auth_token"), sudo...)},
		"session_token":      {words("session_token"), sudo},
		"refresh_token":      refresh,
		"refresh":            refresh, // as nodejs and Rust spell it
	}
}

const formType = "application/x-www-form-urlencoded"

// judgeForm reads the parameters of the token endpoint from body and query.
func (x *exchange) judgeForm(q *rest) []string {
	if q.token != "" {
		return []string{"the token endpoint is sent a token"}
	}
	given := x.r.Header.Get("Content-Type")
	kind, _, _ := strings.Cut(given, ";")
	if given != "" && strings.TrimSpace(strings.ToLower(kind)) != formType {
		q.early = unsupported(given, formType)
		return nil
	}
	form, found := readQuery(string(x.rec.Body), len(x.rec.Body) > 0)
	for _, name := range q.query.names {
		if form.has(name) {
			found = append(found, name+" is in the query and in the body")
			continue
		}
		form.names = append(form.names, name)
		form.values[name] = q.query.get(name)
	}
	q.form = form
	q.noteForm()
	return append(found, form.judgeGrant()...)
}

// noteForm records the credential and keeps the secrets for the echo.
func (q *rest) noteForm() {
	f := q.form
	for _, name := range words("client_secret", "password", "auth_token", "session_token", "refresh_token") {
		if v := f.get(name); v != "" {
			q.secrets = append(q.secrets, restSecret{name, v})
		}
	}
	kinds := map[string]string{
		"client_credentials": KindScript, "password": KindUser, "session_token": KindSession,
		"refresh_token": KindRefresh, "refresh": KindRefresh,
	}
	sudo, _ := strings.CutPrefix(f.get("scope"), sudoScope)
	q.held = restHeld{kinds[f.get("grant_type")], f.get("client_id"), sudo, f.get("session_uuid")}
}

const sudoScope = "sudo_as_login:"

// judgeGrant finds names that don't belong to the grant: a credential of
// another kind, or one that no client sends.
func (q restQuery) judgeGrant() []string {
	fields, known := tokenFields()[q.get("grant_type")]
	if !known {
		return nil // the site says so itself
	}
	var found []string
	for _, name := range q.names {
		if name != "grant_type" && !slices.Contains(fields[0], name) && !slices.Contains(fields[1], name) {
			found = append(found, "access_token: "+name+" with the grant "+q.get("grant_type"))
		}
	}
	if scope, given := q.values["scope"]; given && (!strings.HasPrefix(scope, sudoScope) || scope == sudoScope) {
		found = append(found, "access_token: the scope is "+scope)
	}
	return found
}

// accessToken is the token endpoint.
func (c *ctx) accessToken(q *rest) (restAnswer, error) {
	f := q.form
	fields, known := tokenFields()[f.get("grant_type")]
	if !known {
		return restAnswer{}, badGrant("Unsupported grant_type")
	}
	for _, name := range fields[0] {
		if f.get(name) == "" {
			return restAnswer{}, badGrant("Missing or invalid authentication arguments")
		}
	}
	t, err := c.grant(f)
	if err != nil {
		return restAnswer{}, err
	}
	access, err := c.mint(t, &c.tokens.access, accessLife)
	if err != nil {
		return restAnswer{}, err
	}
	refresh, err := c.mint(t, &c.tokens.refresh, refreshLife)
	if err != nil {
		return restAnswer{}, err
	}
	return restOK(map[string]any{
		"token_type": "Bearer", "access_token": access, "expires_in": int(accessLife / time.Second), "refresh_token": refresh,
	}), nil
}

func badGrant(title string) error {
	return &restError{status: http.StatusBadRequest, code: codeAuth, title: title}
}

// grant checks the credential.
func (c *ctx) grant(f restQuery) (restToken, error) {
	if v := f.get("refresh_token"); v != "" {
		return c.refreshed(v)
	}
	t, id, err := c.granted(f)
	if err != nil {
		return t, asGrantError(err)
	}
	t.uuid = f.get("session_uuid")
	t.sudo, _ = strings.CutPrefix(f.get("scope"), sudoScope)
	if t.sudo != "" {
		if _, err := c.sudoLocked(id, t.sudo); err != nil {
			return t, asGrantError(err)
		}
	}
	return t, nil
}

func (c *ctx) granted(f restQuery) (restToken, identity, error) {
	switch f.get("grant_type") {
	case "client_credentials":
		id, err := c.holderLocked(auth{kind: KindScript, script: f.get("client_id"), key: f.get("client_secret")})
		return restToken{script: id.script, how: "api_key"}, id, err
	case "password":
		id, err := c.holderLocked(auth{kind: KindUser, login: f.get("username"), password: f.get("password"), second: f.get("auth_token")})
		return restToken{person: id.person, how: "password"}, id, err
	default:
		return c.grantedSession(f.get("session_token"))
	}
}

func (c *ctx) grantedSession(token string) (restToken, identity, error) {
	id, err := c.sessionLocked(auth{session: token, rejectExpired: true})
	if err != nil {
		// The last four characters come back, as measured (§5.2).
		err = refused("Can't authenticate the session token that ends in '%s'", token[max(0, len(token)-4):])
	}
	return restToken{script: id.script, person: id.person, how: "session_token"}, id, err
}

// refreshed uses a refresh token up.
func (c *ctx) refreshed(text string) (restToken, error) {
	t := c.tokens.refresh.byText[text]
	if t == nil || !c.now.Before(t.expires) {
		return restToken{}, restUnauthorized("Token invalid")
	}
	delete(c.tokens.refresh.byText, text)
	if _, err := c.ownerLocked(t); err != nil {
		return restToken{}, restUnauthorized("Token invalid")
	}
	return *t, nil
}

// asGrantError is a fault of the token endpoint: 400, whatever the code.
func asGrantError(err error) error {
	e := asRESTError(err)
	return &restError{status: http.StatusBadRequest, code: e.code, title: e.Error()}
}

// mint makes a token in the form of a JWT and keeps what it stands for.
func (c *ctx) mint(t restToken, into *tokenBox, life time.Duration) (string, error) {
	if c.tokens.key == nil {
		key := make([]byte, sha256.Size)
		if _, err := io.ReadFull(c.opts.Entropy, key); err != nil {
			return "", fmt.Errorf("making a token: %w", err)
		}
		c.tokens.key = key
	}
	id, err := c.random()
	if err != nil {
		return "", err
	}
	t.expires = c.now.Add(life)
	owner := link{}
	switch {
	case t.script != nil:
		owner = t.script.identity().actor
	case t.person != nil:
		owner = t.person.row()
	}
	claims := appendJSON(nil, map[string]any{
		"iss": c.url, "aud": c.url, "exp": int(t.expires.Unix()), "iat": int(c.now.Unix()), "jti": id,
		"user": owner, "sudo_as_login": orNil(t.sudo), "auth_type": t.how, "session_uuid": orNil(t.uuid),
	})
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(jwtHeader)) + "." + enc(claims)
	mac := hmac.New(sha256.New, c.tokens.key)
	mac.Write([]byte(text)) // a hash takes everything
	text += "." + enc(mac.Sum(nil))
	into.put(text, &t)
	return text, nil
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}
