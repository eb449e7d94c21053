package vault

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/sync/errgroup"
)

const (
	// parallel bounds the questions to Vault at the same time.
	parallel = 8
	// firstRetry is the pause after a failed look; it doubles up to Refresh, and
	// up to maxRetry while Vault is down, so that it is noticed soon when it is
	// back.
	firstRetry = time.Second
	maxRetry   = time.Minute
	// maxTokens bounds how many tokens one look tries: other looks may replace
	// them under it.
	maxTokens = 4
)

// run is the store's goroutine. It closes first when every key was tried once.
func (s *Store) run(first chan<- struct{}) {
	s.look(s.all())
	close(first)
	full := time.Now().Add(s.interval())
	backoff, retry := time.Duration(0), time.Time{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		failing := s.failing()
		switch {
		case len(failing) == 0 && !s.ending():
			backoff, retry = 0, time.Time{}
		case retry.IsZero():
			backoff = min(max(2*backoff, min(firstRetry, s.opt.Refresh)), s.longest(failing))
			retry = time.Now().Add(time.Duration(float64(backoff) * (0.5 + s.opt.Jitter()/2)))
		}
		at := full
		if !retry.IsZero() && retry.Before(at) {
			at = retry
		}
		timer.Reset(time.Until(at))
		select {
		case <-s.life.Done():
			return
		case <-s.kick: // something changed elsewhere: only think again
			continue
		case <-timer.C:
		}
		if due := !time.Now().Before(full); due || s.ending() {
			s.look(s.all())
			full = time.Now().Add(s.interval())
		} else {
			s.look(failing)
		}
		retry = time.Time{}
	}
}

// interval is the time to the next look at all keys, within a tenth of Refresh.
func (s *Store) interval() time.Duration {
	return time.Duration(float64(s.opt.Refresh) * (0.9 + s.opt.Jitter()/5))
}

// longest is the longest pause between two looks at what fails.
func (s *Store) longest(failing []*entry) time.Duration {
	if s.ending() {
		return min(maxRetry, s.opt.Refresh)
	}
	for _, e := range failing {
		if f := e.view.Load().fault; f == nil || f.down() {
			return min(maxRetry, s.opt.Refresh)
		}
	}
	return s.opt.Refresh
}

// failing are the entries whose last look failed.
func (s *Store) failing() []*entry {
	var all []*entry
	for _, e := range s.all() {
		if v := e.view.Load(); v.fault != nil || !v.has {
			all = append(all, e)
		}
	}
	return all
}

// wake makes the store's goroutine think again.
func (s *Store) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// look reads the keys of entries, in parallel, and says whether any changed.
func (s *Store) look(entries []*entry) (changed bool) {
	ctx, ticket, since := s.life, s.tickets.Add(1), s.generation()
	sess, version, f := s.prepare(ctx, since)
	if f != nil {
		s.vaultIs(ctx, f)
		for _, e := range entries {
			changed = s.apply(ctx, e, ticket, nil, f) || changed
		}
		return changed
	}
	var down, strange atomic.Pointer[fault]
	var some, answered atomic.Bool
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, e := range entries {
		g.Go(func() error {
			var r *reading
			f := down.Load() // nobody asks a Vault that was just found to be down
			if f == nil {
				r, f = s.readOne(ctx, sess, version, since, e)
			}
			switch {
			case f != nil && f.down():
				down.Store(f)
			case f != nil && f.kind == odd:
				strange.Store(f)
			default:
				answered.Store(true)
			}
			if s.apply(ctx, e, ticket, r, f) {
				some.Store(true)
			}
			return nil
		})
	}
	_ = g.Wait() // no function above returns an error
	switch f := down.Load(); {
	case f != nil:
		s.vaultIs(ctx, f)
	case answered.Load():
		s.vaultIs(ctx, nil)
	case len(entries) == len(s.entries): // errors for all of them are Vault's own
		s.vaultIs(ctx, strange.Load())
	}
	return some.Load()
}

// prepare gets a token that may work and the version of the KV engine.
func (s *Store) prepare(ctx context.Context, since uint64) (*session, int, *fault) {
	sess, f := s.token(ctx)
	if f != nil {
		return nil, 0, f
	}
	if s.opt.KVVersion != 0 {
		return sess, s.opt.KVVersion, nil
	}
	version := 0
	sess, f = s.insist(ctx, sess, since, func(sess *session) (f *fault) {
		version, f = s.ask(ctx, sess)
		return f
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == nil {
		s.found = version
	} else if s.found != 0 && !f.down() {
		return sess, s.found, nil // the reads will say whether it is still right
	}
	return sess, s.found, f
}

// readOne reads one key, and at the first time those before it.
func (s *Store) readOne(ctx context.Context, sess *session, version int, since uint64, e *entry) (r *reading, f *fault) {
	sess, f = s.insist(ctx, sess, since, func(sess *session) (f *fault) {
		r, f = s.read(ctx, sess, version, &e.script)
		return f
	})
	if f == nil && version == 2 && e.view.Load().last.IsZero() {
		r.older = s.older(ctx, sess, &e.script, r.version)
	}
	return r, f
}

// insist does what Vault may refuse because the token is dead: it tries again
// with a token minted since the look began, and only that one's refusal counts.
// Vault answers a dead token and a missing permission alike.
func (s *Store) insist(ctx context.Context, sess *session, since uint64, do func(*session) *fault) (*session, *fault) {
	for range maxTokens {
		f := do(sess)
		if f == nil || f.kind != denied {
			return sess, f
		}
		// Another look may have replaced the token, and revoked this one, meanwhile.
		cur := s.current()
		if cur == sess && sess.gen > since {
			if !sess.minted { // it was handed to us, and may have been dead then
				return sess, s.alive(ctx, sess, f)
			}
			return sess, f
		}
		if cur != nil && cur != sess {
			sess = cur
			continue
		}
		next, err := s.login(ctx, sess)
		if errors.Is(err, errSame) {
			return sess, s.alive(ctx, sess, f)
		}
		if err != nil {
			return sess, asFault(err)
		}
		sess = next
	}
	return sess, faultf(unavailable, "Vault at %s keeps refusing tokens that it just gave", s.opt.Address)
}

// alive is what a refusal means to a token that can't be replaced: that of one
// which is alive is a no, that of a dead one is not.
func (s *Store) alive(ctx context.Context, sess *session, f *fault) *fault {
	switch l := s.lookup(ctx, sess); {
	case l == nil:
		return f
	case l.kind != denied:
		return l
	}
	if path := s.opt.Login.TokenFile; path != "" {
		return faultf(noLogin, "Vault refuses the token in %s: it expired or was revoked; write a new one to it, or look after the Vault Agent that should", path)
	}
	return faultf(noLogin, "Vault refuses the token: it expired or was revoked; start again with a new one")
}

// asFault is err, which is a fault unless the wait for it was given up.
func asFault(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	return faultf(unavailable, "the login to Vault was given up")
}

// token is the session to use: the current one, unless a better one is to be
// had.
func (s *Store) token(ctx context.Context) (*session, *fault) {
	cur := s.current()
	if cur != nil && !cur.over() && !(cur.minted && cur.ending.Load()) && !s.method.moved(cur) {
		return cur, nil
	}
	next, err := s.login(ctx, cur)
	if err == nil {
		return next, nil
	}
	f := asFault(err)
	if errors.Is(err, errSame) {
		return cur, nil
	}
	if cur == nil || cur.over() {
		return nil, f
	}
	// While no login can be made, or it is refused, a token that still lives will
	// do: Vault takes its word, and Kubernetes logins are refused also while
	// Kubernetes itself is down.
	if !cur.warned.Swap(true) {
		s.opt.Logger.LogAttrs(ctx, slog.LevelWarn, "login to Vault failed, the old token is used as long as it lives",
			slog.Duration("ttl", time.Until(time.Unix(0, cur.expires.Load())).Round(time.Second)), slog.String("why", f.text))
	}
	return cur, nil
}

// login replaces old by a new session, once however many ask.
func (s *Store) login(ctx context.Context, old *session) (*session, error) {
	v, err, _ := s.flights.Do("login", func() (any, error) {
		if cur := s.current(); cur != old {
			return cur, nil
		}
		sess, err := s.method.login(ctx, s, old)
		if err != nil {
			return nil, err
		}
		s.install(sess)
		level := slog.LevelInfo
		if old != nil {
			level = slog.LevelDebug // no news: tokens end, and a refusal is asked about twice
		}
		s.opt.Logger.LogAttrs(ctx, level, "logged in to Vault", slog.Duration("ttl", sess.ttl), slog.Bool("renewable", sess.renewable))
		s.revoke(ctx, old)
		return sess, nil
	})
	if err != nil {
		return nil, err
	}
	sess, ok := v.(*session)
	if !ok || sess == nil {
		return nil, faultf(unavailable, "the login to Vault brought no token")
	}
	return sess, nil
}

// install makes sess the current session and watches over it.
func (s *Store) install(sess *session) {
	sess.setTTL(sess.ttl)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
	s.gens++
	sess.gen = s.gens
	s.session = sess
	if s.closed || sess.ttl <= 0 {
		return // a token without end needs nobody to renew it
	}
	w, err := sess.client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: &api.Secret{Auth: &api.SecretAuth{
		ClientToken: text(sess.token), Renewable: sess.renewable, LeaseDuration: int(sess.ttl / time.Second),
	}}})
	if err != nil {
		sess.ending.Store(true)
		return
	}
	s.stop = w.Stop
	s.work.Go(w.Start)
	s.work.Go(func() { s.watch(sess, w) })
}

// watch follows a token's renewals until it can't be renewed any more or the
// watcher is stopped.
func (s *Store) watch(sess *session, w *api.LifetimeWatcher) {
	for {
		select {
		case <-s.life.Done():
			w.Stop()
			return
		case out := <-w.RenewCh():
			if out.Secret != nil && out.Secret.Auth != nil {
				sess.setTTL(time.Duration(out.Secret.Auth.LeaseDuration) * time.Second)
			}
		case err := <-w.DoneCh():
			if s.current() != sess || s.life.Err() != nil {
				return
			}
			sess.ending.Store(true)
			if !sess.minted {
				// What the error says may quote Vault.
				s.opt.Logger.LogAttrs(s.life, slog.LevelWarn, "Vault token can't be renewed any more; replace it before it ends",
					slog.Bool("error", err != nil),
					slog.Duration("ttl", time.Until(time.Unix(0, sess.expires.Load())).Round(time.Second)))
			}
			s.wake()
			return
		}
	}
}

// current is the session in use; nil before the first login.
func (s *Store) current() *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session
}

// generation counts the sessions so far.
func (s *Store) generation() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gens
}

// ending says whether it is time to log in again.
func (s *Store) ending() bool {
	cur := s.current()
	return cur != nil && cur.minted && cur.ending.Load()
}

// vaultIs notes how Vault is, and logs it when that is news.
func (s *Store) vaultIs(ctx context.Context, f *fault) {
	if ctx.Err() != nil {
		return
	}
	next := Status{State: StateOK}
	if f != nil {
		next = Status{State: f.state(), Why: f.text}
	}
	s.mu.Lock()
	before := s.state
	s.state = next
	s.mu.Unlock()
	if before.State == next.State {
		return // what it says in its trouble changes while the trouble lasts
	}
	state := slog.String("state", next.State)
	if f == nil {
		s.opt.Logger.LogAttrs(ctx, slog.LevelInfo, "Vault is in use", state)
		return
	}
	s.opt.Logger.LogAttrs(ctx, slog.LevelWarn, "Vault can't be used", state, slog.String("why", next.Why))
}

// state is the word for a fault in [Status].
func (f *fault) state() string {
	switch f.kind {
	case unavailable, odd:
		return StateUnavailable
	case sealed:
		return StateSealed
	case noLogin:
		return StateLogin
	case refused:
		return StateDenied
	case denied, gone, unusable:
	}
	return StateOK
}
