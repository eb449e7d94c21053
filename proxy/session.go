package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/secret"
	"stagedoor/upstream"
)

// Bounds of what is obtained from the site with a script's key.
const (
	// maxSessions is how many sessions and tokens of one script are kept; the one
	// that was used longest ago goes.
	maxSessions = 16
	// maxMinted is the longest answer that a session is read from, in bytes.
	maxMinted = 64 << 10
	// sessionLife is how long a session is used before another is asked for. The
	// site ends one that is idle for an hour at the earliest (flow-protocol §6.1).
	sessionLife = 30 * time.Minute
	// tokenMargin is taken off the life of a bearer token, which is 10 minutes.
	tokenMargin = time.Minute
	// mintTime bounds how long calls wait for a session.
	mintTime = 30 * time.Second
)

// What calls go with, besides the script's key.
const (
	withSession = "session" // the cookie of downloads
	withBearer  = "bearer"  // REST
)

// sessions keeps what the proxy obtained itself, for the calls of one script
// that say the same of who acts and why.
type sessions struct {
	group singleflight.Group
	mu    sync.Mutex
	of    map[sessionKey]*session
}

// sessionKey also has the site: a session must not go to another one that a
// reload has put in its place.
type sessionKey struct{ with, site, script, sudo, uuid string }

// session is a session or bearer token of the site's; it is immutable but for
// used, which sessions.mu guards.
type session struct {
	token secret.Value
	key   secret.Value // the script's key that it was obtained with
	until time.Time
	used  time.Time
}

// refusedMint is a refusal of ours in place of a session.
type refusedMint struct {
	reason       Reason
	what, advice string
}

func (r *refusedMint) Error() string { return r.what }

func (x *exchange) sessionKey(with string) sessionKey {
	return sessionKey{with, x.st.Origin, x.scriptName, x.call.SudoAsLogin, x.call.SessionUUID}
}

// obtain gives the call a session or token: one that is kept, or a new one,
// which is asked for once however many calls wait for it.
func (x *exchange) obtain(with string) error {
	k := x.sessionKey(with)
	if s := x.p.sessions.get(k, x.cred.Key, x.p.cfg.Now()); s != nil {
		x.session = s
		return nil
	}
	c := x.p.sessions.group.DoChan(fmt.Sprintf("%q", k), func() (any, error) {
		if s := x.p.sessions.get(k, x.cred.Key, x.p.cfg.Now()); s != nil {
			return s, nil // made while this one came
		}
		return x.mint(with)
	})
	select {
	case r := <-c:
		s, ok := r.Val.(*session)
		if r.Err != nil || !ok {
			return r.Err
		}
		x.session = s
		return nil
	case <-x.r.Context().Done():
		return fmt.Errorf("waiting for a %s: %w", with, context.Cause(x.r.Context()))
	}
}

// dead forgets the session that the site has just refused, unless another has
// taken its place already.
func (x *exchange) dead(with string) {
	s := &x.p.sessions
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := x.sessionKey(with); s.of[k] == x.session {
		delete(s.of, k)
	}
}

func (s *sessions) get(k sessionKey, key secret.Value, now time.Time) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.of[k]
	if e == nil || !now.Before(e.until) || !e.key.Same(key) {
		return nil
	}
	e.used = now
	return e
}

func (s *sessions) put(k sessionKey, e *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[sessionKey]*session)
	}
	s.of[k] = e
	var oldest sessionKey
	n := 0
	for o, e := range s.of { // bounded by the scripts there are
		if o.script != k.script {
			continue
		}
		n++
		if was := s.of[oldest]; was == nil || e.used.Before(was.used) {
			oldest = o
		}
	}
	if n > maxSessions {
		delete(s.of, oldest)
	}
}

// mint asks the site, and once more where the key has changed meanwhile.
func (x *exchange) mint(with string) (s *session, err error) {
	defer func() {
		if f := recover(); f != nil { // it runs in a goroutine of its own, and would end the process
			x.p.cfg.Logger.Error("asking for a session panicked", slog.String("id", x.id), slog.String("kind", kindOf(f)))
			s, err = nil, errors.New("a fault inside Stagedoor")
		}
	}()
	s, err = x.mintWith(with, x.cred)
	if !errors.Is(err, errKeyRefused) {
		return s, err
	}
	now, found := x.newerKey()
	if found == nil && (!now.Key.Same(x.cred.Key) || now.SiteName != x.cred.SiteName) {
		s, err = x.mintWith(with, now)
	}
	if errors.Is(err, errKeyRefused) {
		what, advice := x.keyRefusal()
		return nil, &refusedMint{KeyRefused, what, advice}
	}
	return s, err
}

var errKeyRefused = errors.New("the site refuses the key")

// mintWith is one call to the site, with a record of its own. Others wait for it
// too, so it does not end with the caller.
func (x *exchange) mintWith(with string, cred secret.Credential) (s *session, err error) {
	ctx, cancel := outlive(x.r.Context(), mintTime)
	defer cancel()
	y := x.p.aside(ctx, x, flow.SessionCall(x.call.SudoAsLogin, x.call.SessionUUID), with+" for "+x.id)
	y.cred = cred
	if with == withBearer {
		y.call.Method, y.call.Kind = methodToken, flow.KindREST
	}
	if !y.intent() {
		return nil, &refusedMint{AuditFailed, AuditFailed.answer().says, ""}
	}
	x.chargeOwn()
	defer func() {
		y.settle(nil)
		if err != nil && y.reason == "" && y.fault == 0 {
			y.result = audit.ResultSiteError
		}
		_ = y.record(audit.Outcome)
	}()
	token, life, err := y.askFor(with)
	if err != nil {
		return nil, err
	}
	now := x.p.cfg.Now()
	s = &session{token: token, key: cred.Key, until: now.Add(life), used: now}
	x.p.scrubs.get(x.scriptName, cred, token) // looks for it before anything can be answered with it
	x.p.sessions.put(x.sessionKey(with), s)
	return s, nil
}

// askFor makes the call and reads the token from its answer.
func (x *exchange) askFor(with string) (secret.Value, time.Duration, error) {
	req := upstream.Request{Path: pathAPI3, Body: x.rpc.Body(x.cred), Header: x.mintHeader(typeJSON)}
	if with == withBearer { // flow-protocol §5.2
		req = upstream.Request{Path: pathToken, Body: flow.TokenForm(x.cred, x.call.SudoAsLogin, x.call.SessionUUID), Header: x.mintHeader("application/x-www-form-urlencoded")}
	}
	res, err := x.do(req)
	if err != nil {
		return secret.Value{}, 0, err
	}
	res.Body = &bounded{ReadCloser: res.Body, left: maxMinted}
	a, err := x.open(res)
	if err != nil {
		return secret.Value{}, 0, err
	}
	defer a.close(x.p)
	x.done, x.status, x.fault = true, a.res.StatusCode, a.code
	token, life, ok := secret.Value{}, sessionLife, false
	switch status := a.res.StatusCode; {
	case with == withSession:
		token, ok = flow.ReadSession(a.head)
	case status == http.StatusOK:
		token, life, ok = flow.ReadToken(a.head)
		life -= tokenMargin
	case status == http.StatusBadRequest, status == http.StatusUnauthorized:
		a.code = flow.FaultAuth // its two refusals of a credential: flow-protocol §5.2
		x.fault = a.code
	}
	switch {
	case ok && life > 0:
		return token, life, nil
	case a.code == flow.FaultAuth && x.call.SudoAsLogin != "" && !x.p.keyRefused(x):
		return secret.Value{}, 0, &refusedMint{Sudo, "the site does not let " + x.scriptName + " act as " + shown(x.call.SudoAsLogin), ""}
	case a.code == flow.FaultAuth:
		return secret.Value{}, 0, errKeyRefused
	}
	return secret.Value{}, 0, fmt.Errorf("the site gave no %s (status %d, code %d)", with, a.res.StatusCode, a.code)
}

// mintHeader is the same whoever asks first: others wait for the answer too.
func (x *exchange) mintHeader(contentType string) [][2]string {
	return [][2]string{
		{"Content-Type", contentType},
		{"Accept", "application/json"},
		{"Accept-Encoding", "gzip"},
		{"User-Agent", x.p.userAgent},
		{headerRequestID, x.id},
	}
}

// bounded is a body of at most left bytes.
type bounded struct {
	io.ReadCloser
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errors.New("longer than a session can be")
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

const (
	pathToken   = "/api/v1/auth/access_token"
	methodToken = "access_token"
)

// refuseMint answers for a call that got no session.
func (x *exchange) refuseMint(err error) {
	if r, ok := errors.AsType[*refusedMint](err); ok {
		x.refuse(r.reason, r.what, r.advice)
		x.deny()
		return
	}
	x.siteFailed(&notSent{err})
}

// notSent is a failure before the call itself left.
type notSent struct{ err error }

func (e *notSent) Error() string { return e.err.Error() }
func (e *notSent) Unwrap() error { return e.err }
