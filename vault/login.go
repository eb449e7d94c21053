package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"

	"stagedoor/internal/trust"
	"stagedoor/secret"
)

const (
	// maxLoginFile bounds a token, secret id or service account token in bytes.
	maxLoginFile = 16 << 10
	// revokeTime bounds the farewell to a token that is replaced.
	revokeTime = time.Second
)

// text opens a credential for vault/api, which takes strings. It is the only
// place in this package that opens one.
func text(v secret.Value) string {
	var t string
	v.Reveal(func(b []byte) { t = string(b) })
	return t
}

// session is one token and the client that carries it. It is never printed.
type session struct {
	client *api.Client
	token  secret.Value
	// gen counts the sessions of a store, so that "minted since" can be asked.
	gen uint64
	// minted is true for a token from a login of ours: it may be revoked.
	minted bool
	// renewable and ttl are as Vault said; ttl 0 is for ever or unknown.
	renewable bool
	ttl       time.Duration
	// expires is when the token dies in Unix nanoseconds by the wall clock; 0 is
	// never or unknown.
	expires atomic.Int64
	// ending says that it can't be renewed any more, warned that this was logged.
	ending, warned atomic.Bool
	// shared says that another store uses the token too: it is not ours to revoke.
	shared atomic.Bool
	// file is the token file it came from.
	file os.FileInfo
}

// setTTL notes how long the token lives from now on.
func (sess *session) setTTL(ttl time.Duration) {
	if ttl <= 0 {
		sess.expires.Store(0)
		return
	}
	sess.expires.Store(time.Now().Add(ttl).UnixNano())
}

// over says whether the token is certainly dead.
func (sess *session) over() bool {
	at := sess.expires.Load()
	return at != 0 && time.Now().UnixNano() >= at
}

// errSame says that a login would bring the token that we have.
var errSame = errors.New("the same token again")

// method is a way to log in. It is called by one goroutine at a time.
type method interface {
	// login gets a token, other than old's: errSame where there is none. Other
	// errors are faults.
	login(ctx context.Context, s *Store, old *session) (*session, error)
	// moved says, without the network, whether a better token is to be had.
	moved(cur *session) bool
}

// newMethod checks that exactly one way to log in is given.
func newMethod(l *Login) (method, error) {
	var all []method
	if l.TokenFile != "" {
		all = append(all, &tokenFile{path: l.TokenFile})
	}
	if !l.Token.IsZero() {
		all = append(all, &staticToken{token: l.Token})
	}
	if a := l.AppRole; a != nil {
		if (a.RoleID == "") == (a.RoleIDFile == "") {
			return nil, errors.New("the AppRole login needs a role id or a file of one")
		}
		if a.SecretIDFile == "" {
			return nil, errors.New("the AppRole login needs a file with the secret id")
		}
		all = append(all, &appRole{cfg: *a})
	}
	if k := l.Kubernetes; k != nil {
		if k.Role == "" || k.TokenFile == "" {
			return nil, errors.New("the Kubernetes login needs a role and the file of the service account's token")
		}
		all = append(all, &kube{cfg: *k})
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("exactly one way to log in to Vault is needed, and %d are given", len(all))
	}
	return all[0], nil
}

// same says whether two configurations log in as the same client.
func (l *Login) same(o *Login) bool {
	if l.TokenFile != o.TokenFile || (l.AppRole == nil) != (o.AppRole == nil) || (l.Kubernetes == nil) != (o.Kubernetes == nil) {
		return false
	}
	if l.Token.IsZero() != o.Token.IsZero() || !l.Token.IsZero() && !l.Token.Same(o.Token) {
		return false
	}
	return (l.AppRole == nil || *l.AppRole == *o.AppRole) && (l.Kubernetes == nil || *l.Kubernetes == *o.Kubernetes)
}

// staticToken is a token that nothing replaces.
type staticToken struct{ token secret.Value }

func (m *staticToken) moved(*session) bool { return false }

func (m *staticToken) login(ctx context.Context, s *Store, old *session) (*session, error) {
	if old != nil {
		return nil, errSame
	}
	return s.adopt(ctx, m.token)
}

// tokenFile is a file that somebody else keeps a token in, a Vault Agent as a
// rule. Such a token is renewed like any other, which does an Agent no harm and
// keeps the token alive where none is; it is never revoked: it is not ours.
type tokenFile struct{ path string }

func (m *tokenFile) moved(cur *session) bool {
	st, err := os.Stat(m.path)
	if err != nil || cur.file == nil {
		return false
	}
	return !os.SameFile(st, cur.file) || !st.ModTime().Equal(cur.file.ModTime()) || st.Size() != cur.file.Size()
}

func (m *tokenFile) login(ctx context.Context, s *Store, old *session) (*session, error) {
	st, err := os.Stat(m.path)
	if err != nil {
		return nil, faultf(noLogin, "the token file %s can't be read; write a token to it", m.path)
	}
	token, f := readSecret(m.path, "token")
	if f != nil {
		return nil, f
	}
	if old != nil && old.token.Same(token) {
		return nil, errSame
	}
	sess, err := s.adopt(ctx, token)
	if err != nil {
		return nil, err
	}
	sess.file = st
	return sess, nil
}

// appRole logs in with a role id and a secret id.
type appRole struct {
	cfg AppRole

	mu sync.Mutex // guards the two below, which another store may take over
	// wrapping is the wrapping token that was used last, secretID what was in it;
	// zero where the token turned out to be spent.
	wrapping, secretID secret.Value
}

func (m *appRole) moved(*session) bool { return false }

func (m *appRole) login(ctx context.Context, s *Store, _ *session) (*session, error) {
	role := m.cfg.RoleID
	if m.cfg.RoleIDFile != "" {
		v, f := readSecret(m.cfg.RoleIDFile, "role id")
		if f != nil {
			return nil, f
		}
		role = text(v)
	}
	id, f := m.id(ctx, s)
	if f != nil {
		return nil, f
	}
	auth, err := approle.NewAppRoleAuth(role, &approle.SecretID{FromString: text(id)}, approle.WithMountPath(m.cfg.Mount))
	if err != nil {
		return nil, faultf(noLogin, "the AppRole login can't be made; check vault's login")
	}
	return s.mint(ctx, auth, "AppRole", "auth/"+m.cfg.Mount+"/login",
		"the role id or the secret id is wrong, expired or used up; write a new secret id to "+m.cfg.SecretIDFile)
}

// id is the secret id: from its file, or unwrapped once and kept in memory.
func (m *appRole) id(ctx context.Context, s *Store) (secret.Value, *fault) {
	if !m.cfg.Wrapped {
		return readSecret(m.cfg.SecretIDFile, "secret id")
	}
	m.mu.Lock()
	wrapping, id := m.wrapping, m.secretID
	m.mu.Unlock()
	token, f := readSecret(m.cfg.SecretIDFile, "wrapping token")
	switch {
	case f != nil && !id.IsZero():
		return id, nil // the file may go when it was used
	case f != nil:
		return secret.Value{}, f
	case !wrapping.Same(token):
		id, f = s.unwrap(ctx, token)
		if f != nil && f.kind != noLogin {
			return secret.Value{}, f // not known to be spent: asked again
		}
		m.mu.Lock()
		m.wrapping, m.secretID = token, id
		m.mu.Unlock()
	}
	if id.IsZero() {
		return secret.Value{}, faultf(noLogin, "the wrapping token in %s is used up or was intercepted: somebody else unwrapped it, or it expired; "+
			"find out who, and write a new one: vault write -f -wrap-ttl=5m auth/%s/role/ROLE/secret-id", m.cfg.SecretIDFile, m.cfg.Mount)
	}
	return id, nil
}

// unwrap trades a wrapping token for the secret id in it. It can be done once:
// a fault of kind noLogin says that the token is spent.
func (s *Store) unwrap(ctx context.Context, token secret.Value) (secret.Value, *fault) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	c, err := s.newClient(token, s.after)
	if err != nil {
		return secret.Value{}, faultf(unavailable, "%s", err.Error())
	}
	// With no token in the body, the client's own is the one that is unwrapped.
	sec, err := c.Logical().WriteWithContext(ctx, "sys/wrapping/unwrap", nil)
	spent := faultf(noLogin, "the wrapping token is spent")
	switch code := refusal(err); {
	case code == http.StatusBadRequest || code == http.StatusForbidden || code == http.StatusNotFound:
		return secret.Value{}, spent
	case err != nil:
		return secret.Value{}, s.outage(err)
	}
	if sec == nil {
		return secret.Value{}, spent
	}
	id, ok := sec.Data["secret_id"].(string)
	if !ok || id == "" {
		return secret.Value{}, spent
	}
	return secret.FromString(id), nil
}

// kube logs in with a service account's token, read anew at each login because
// the kubelet replaces it.
type kube struct{ cfg Kubernetes }

func (m *kube) moved(*session) bool { return false }

func (m *kube) login(ctx context.Context, s *Store, _ *session) (*session, error) {
	jwt, f := readSecret(m.cfg.TokenFile, "service account token")
	if f != nil {
		return nil, f
	}
	auth, err := kubernetes.NewKubernetesAuth(m.cfg.Role,
		kubernetes.WithServiceAccountToken(text(jwt)), kubernetes.WithMountPath(m.cfg.Mount))
	if err != nil {
		return nil, faultf(noLogin, "the Kubernetes login can't be made; check vault's login")
	}
	return s.mint(ctx, auth, "Kubernetes", "auth/"+m.cfg.Mount+"/login",
		fmt.Sprintf("check that role %s allows this service account and namespace", m.cfg.Role))
}

// mint logs in by a method of Vault.
func (s *Store) mint(ctx context.Context, auth api.AuthMethod, name, path, advice string) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	c, err := s.newClient(secret.Value{}, s.after)
	if err != nil {
		return nil, faultf(unavailable, "%s", err.Error())
	}
	sec, err := auth.Login(ctx, c)
	switch refusal(err) {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return nil, faultf(refused, "Vault refuses the %s login at %s: %s", name, path, advice)
	}
	if err != nil {
		return nil, s.outage(err)
	}
	if sec == nil || sec.Auth == nil || sec.Auth.ClientToken == "" {
		return nil, s.outage(errors.New("no token in the answer"))
	}
	c.SetToken(sec.Auth.ClientToken)
	return &session{
		client: c, token: secret.FromString(sec.Auth.ClientToken), minted: true,
		renewable: sec.Auth.Renewable, ttl: time.Duration(sec.Auth.LeaseDuration) * time.Second,
	}, nil
}

// adopt makes a session of a token that was handed to us.
func (s *Store) adopt(ctx context.Context, token secret.Value) (*session, error) {
	c, err := s.newClient(token, s.after)
	if err != nil {
		return nil, faultf(unavailable, "%s", err.Error())
	}
	sess := &session{client: c, token: token}
	// A token may be forbidden to look at itself, and a dead one is too: reading
	// keys will tell the two apart.
	if f := s.lookup(ctx, sess); f != nil && f.kind != denied {
		return nil, f
	}
	return sess, nil
}

// lookup asks Vault about a session's own token.
func (s *Store) lookup(ctx context.Context, sess *session) *fault {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	sec, err := sess.client.Auth().Token().LookupSelfWithContext(ctx)
	if refusal(err) == http.StatusForbidden {
		return faultf(denied, "Vault refuses the token")
	}
	if err != nil {
		return s.outage(err)
	}
	ttl, terr := sec.TokenTTL()
	renewable, rerr := sec.TokenIsRenewable()
	if sec == nil || sec.Data == nil || terr != nil || rerr != nil {
		return s.outage(errors.New("no token in the answer"))
	}
	sess.ttl, sess.renewable = ttl, renewable
	return nil
}

// revoke says farewell to a token of ours that is no longer used, so that a
// script which is refused at every look leaves no trail of live tokens. It is
// no loss when it fails: the token has its own end.
func (s *Store) revoke(ctx context.Context, sess *session) {
	if sess == nil || !sess.minted || sess.shared.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(revokeTime, s.opt.Timeout))
	defer cancel()
	c, err := s.newClient(sess.token, nil)
	if err != nil {
		return
	}
	// The token in the argument is ignored by vault/api.
	_ = c.Auth().Token().RevokeSelfWithContext(ctx, "")
}

// readSecret reads one line from a file.
func readSecret(path, what string) (secret.Value, *fault) {
	b, err := trust.ReadFrom(path, maxLoginFile)
	if err != nil {
		return secret.Value{}, faultf(noLogin, "the %s can't be read: %s", what, err.Error())
	}
	t := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if t == "" {
		return secret.Value{}, faultf(noLogin, "the file of the %s, %s, is empty; write one to it", what, path)
	}
	if strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return secret.Value{}, faultf(noLogin, "the file %s holds more than a %s; write one line with nothing else to it", path, what)
	}
	return secret.FromString(t), nil
}
