package proxy_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"stagedoor/audit"
	"stagedoor/caller"
	"stagedoor/handle"
	"stagedoor/limit"
	"stagedoor/policy"
	"stagedoor/proxy"
)

// once is a budget of one call, that holds none.
func once() *limit.Limiter { return limit.New(limit.Options{Rate: 0.001, Burst: 1, MaxHold: -1}) }

// with changes what pub has, and what all share.
func with(edit func(*proxy.State, *proxy.Script)) option {
	return func(st *proxy.State, _ *proxy.Listener) { edit(st, st.Scripts["pub"]) }
}

// TestARefusalSaysWhoseLimitItWas: whoever reads it can do something about one of
// them only.
func TestARefusalSaysWhoseLimitItWas(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*proxy.State, *proxy.Script)
		says string
	}{
		{"script", func(_ *proxy.State, s *proxy.Script) { s.Limiter = once() }, "Stagedoor: pub is over its rate limit, after a wait of 0s; try again in "},
		{"caller", func(st *proxy.State, _ *proxy.Script) {
			st.Callers = limit.NewCallers(limit.Options{Rate: 0.001, Burst: 1, MaxHold: -1})
		}, "Stagedoor: the caller 127.0.0.1 is over the limit of each caller"},
		{"kind", func(_ *proxy.State, s *proxy.Script) { s.Kinds = map[string]*limit.Limiter{proxy.KindRead: once()} }, "Stagedoor: pub is over its limit for reads"},
		{"fleet", func(_ *proxy.State, s *proxy.Script) { s.Fleet = once() }, "Stagedoor: pub is over its limit for all hosts together"},
		{"site", func(st *proxy.State, _ *proxy.Script) { st.SiteLimiter = once() }, "Stagedoor: all scripts together have used up the site's budget"},
		{"site of the fleet", func(st *proxy.State, _ *proxy.Script) { st.SiteFleet = once() }, "Stagedoor: all scripts together have used up the site's budget"},
		{"interactive", func(st *proxy.State, s *proxy.Script) { st.SiteLimiter, s.Lane = once(), limit.Interactive }, "Stagedoor: the site is busy: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, answering(`{"results":1}`), with(tt.edit))
			if got := s.post(readShot); refused(got) != "" {
				t.Fatalf("the first call: %+v", got)
			}
			got := s.post(readShot)
			if refused(got) != string(proxy.RateLimit) || !strings.Contains(got.body, tt.says) || got.header.Get("Retry-After") == "" {
				t.Errorf("%+v", got)
			}
			if n := len(s.received()); n != 1 {
				t.Errorf("the site saw %d calls", n)
			}
			if n := s.metrics.inFlight(); n != 0 {
				t.Errorf("%d calls are in flight", n)
			}
			if e := s.audit.all()[2]; e.Kind != audit.RefusedCall || e.Rule != "t.yaml:1" || len(e.Shape) == 0 {
				t.Errorf("recorded %+v", e)
			}
		})
	}
}

// TestAFullQueueSaysWhose: the text differs where others fill it.
func TestAFullQueueSaysWhose(t *testing.T) {
	full := func() *limit.Limiter {
		l := limit.New(limit.Options{Rate: 0.001, Burst: 1, MaxHold: time.Minute, MaxQueue: -1})
		l.Charge(1)
		return l
	}
	for says, edit := range map[string]func(*proxy.State, *proxy.Script){
		"Stagedoor: pub is over its rate limit and too many of its calls are waiting; try again in ":                   func(_ *proxy.State, s *proxy.Script) { s.Limiter = full() },
		"Stagedoor: all scripts together have used up the site's budget and too many calls are waiting; try again in ": func(st *proxy.State, _ *proxy.Script) { st.SiteLimiter = full() },
	} {
		s := start(t, answering(`{"results":1}`), with(edit))
		if got := s.post(readShot); refused(got) != string(proxy.QueueFull) || !strings.Contains(got.body, says) || len(s.received()) != 0 {
			t.Errorf("%+v", got)
		}
	}
}

// TestALimitForAKindIsForThatKind: the others go on.
func TestALimitForAKindIsForThatKind(t *testing.T) {
	for kind, call := range map[string]string{
		proxy.KindRead: readShot, proxy.KindWrite: createShot, proxy.KindSchema: `{"method_name":"schema_read","params":[{"script_name":"pub","script_key":"x"},{}]}`,
	} {
		s := start(t, answering(`{"results":1}`), with(func(_ *proxy.State, s *proxy.Script) { s.Kinds = map[string]*limit.Limiter{kind: once()} }))
		for _, c := range []string{readShot, createShot, `{"method_name":"schema_read","params":[{"script_name":"pub","script_key":"x"},{}]}`} {
			s.post(c)
			if got := s.post(c); (refused(got) == string(proxy.RateLimit)) != (c == call) {
				t.Errorf("a limit for %s: %s: %+v", kind, c, got)
			}
		}
	}
}

func TestALaterBudgetThatRefusesGivesBackWhatEarlierOnesGave(t *testing.T) {
	script := once()
	site := limit.New(limit.Options{InFlight: 1, MaxHold: -1})
	s := start(t, answering(`{"results":1}`), with(func(st *proxy.State, p *proxy.Script) { p.Limiter, st.SiteLimiter = script, site }))
	g, err := site.Acquire(t.Context(), 1) // somebody else's
	if err != nil {
		t.Fatal(err)
	}
	if got := s.post(readShot); refused(got) != string(proxy.RateLimit) || !strings.Contains(got.body, "the site's budget") {
		t.Fatalf("%+v", got)
	}
	g.Release()
	if got := s.post(readShot); refused(got) != "" {
		t.Errorf("the script's one token is gone: %+v", got)
	}
}

// TestWhatNeverLeftCostsNothing: no key, or no record.
func TestWhatNeverLeftCostsNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		breaks, mends func(*stage)
		reason        proxy.Reason
	}{
		"no key": {func(s *stage) { s.keys.err = errors.New("no key for pub: it is gone") }, func(s *stage) { s.keys.err = nil }, proxy.NoKey},
		"no record": {func(s *stage) { s.audit.fail = errors.New("disk full") }, func(s *stage) {
			s.audit.fail = nil
		}, proxy.AuditFailed},
	} {
		t.Run(name, func(t *testing.T) {
			script, site := once(), once()
			s := start(t, answering(`{"results":1}`), with(func(st *proxy.State, p *proxy.Script) { p.Limiter, st.SiteLimiter = script, site }))
			tt.breaks(s)
			for range 3 {
				if got := s.post(readShot); refused(got) != string(tt.reason) {
					t.Fatalf("%+v", got)
				}
			}
			tt.mends(s)
			if got := s.post(readShot); refused(got) != "" {
				t.Errorf("its tokens are gone: %+v", got)
			}
			if in, _ := site.Stats(); in != 0 || s.metrics.inFlight() != 0 {
				t.Errorf("%d calls hold a slot of the site", in)
			}
		})
	}
}

func TestABrakeSaysWhoWhyAndUntilWhen(t *testing.T) {
	until := time.Now().Add(30 * time.Minute)
	for _, tt := range []struct {
		brake  limit.Brake
		served int // calls before it refuses
		says   string
	}{
		{limit.Brake{Scope: limit.ScopeScript, Name: "pub", Why: "the site is slow", By: "wrangler"}, 0, "Stagedoor: pub is paused until " + until.Local().Format("15:04") + " by wrangler: the site is slow. Ask #pipeline"},
		{limit.Brake{Scope: limit.ScopeScript, Name: "pub", Rate: 0.001, Why: "x\ny"}, 1, "Stagedoor: pub is slowed to 0.001/s until " + until.Local().Format("15:04") + ": x y. Ask #pipeline"},
		{limit.Brake{Scope: limit.ScopeCaller, Name: "127.0.0.1"}, 0, "Stagedoor: the caller 127.0.0.1 is paused until "},
		{limit.Brake{Scope: limit.ScopeScript, Name: "other"}, 3, ""},
	} {
		var brakes limit.Brakes
		tt.brake.Until = until
		if err := brakes.Set(tt.brake); err != nil {
			t.Fatal(err)
		}
		s := start(t, answering(`{"results":1}`), with(func(st *proxy.State, p *proxy.Script) { st.Brakes, p.MaxHold = &brakes, -1 }))
		for i := range 3 {
			got := s.post(readShot)
			if i < tt.served {
				if refused(got) != "" {
					t.Errorf("%+v: call %d: %+v", tt.brake, i, got)
				}
				continue
			}
			if refused(got) != string(proxy.Braked) || !strings.Contains(got.body, tt.says) || got.header.Get("Retry-After") == "" {
				t.Errorf("%+v: call %d: %+v", tt.brake, i, got)
			}
		}
		brakes.Lift(tt.brake.Scope, tt.brake.Name)
		if got := s.post(readShot); refused(got) != "" {
			t.Errorf("lifted: %+v", got)
		}
	}
}

func TestTheSitesHealthBoundsWhatIsInFlight(t *testing.T) {
	health := limit.NewHealth(limit.HealthOptions{Max: 2, Min: 1})
	var sick atomic.Bool
	inside, leave := make(chan struct{}, 1), make(chan struct{})
	s := start(t, func(w http.ResponseWriter, r *http.Request) {
		if sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		inside <- struct{}{}
		<-leave
		answering(`{"results":1}`)(w, r)
	}, with(func(st *proxy.State, _ *proxy.Script) {
		st.Health, st.SiteLimiter = health, limit.New(limit.Options{InFlight: 2, MaxHold: -1})
	}))
	sick.Store(true)
	s.post(readShot)
	if n := health.Limit(); n != 1 {
		t.Errorf("after a 503: %d in flight", n)
	}
	sick.Store(false)
	first := make(chan result, 1)
	go func() { first <- s.post(readShot) }()
	<-inside
	if got := s.post(readShot); refused(got) != string(proxy.RateLimit) {
		t.Errorf("a second call went to a sick site: %+v", got)
	}
	close(leave)
	if got := <-first; refused(got) != "" {
		t.Errorf("%+v", got)
	}
}

func TestAnUploadCostsByItsBytesWhereAsked(t *testing.T) {
	for perCost, want := range map[int64]int{0: 1, 1 << 20: 1, 10 << 10: 5} {
		s := start(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "1:42\nok") },
			with(func(_ *proxy.State, p *proxy.Script) { p.UploadBytes = perCost }))
		contentType, body := formFile(t, "sg_uploaded_movie", 48<<10)
		if got := s.do(http.MethodPost, "/upload/upload_file", string(body), "Content-Type", contentType); got.status != 200 || refused(got) != "" {
			t.Fatalf("%+v", got)
		}
		if e := s.audit.all()[0]; e.Cost != want {
			t.Errorf("1 for each %d bytes: %d bytes cost %d, not %d", perCost, len(body), e.Cost, want)
		}
	}
}

// asCaller makes pub act as its caller, whom the kernel names.
func asCaller(edit ...func(*proxy.State, *proxy.Listener)) option {
	return func(st *proxy.State, l *proxy.Listener) {
		l.Identity = proxy.IdentityKernel
		st.Login = func(uid uint32) (string, bool) {
			name, ok := map[uint32]string{1001: "anna", 1002: "bob"}[uid]
			return name, ok
		}
		st.Scripts["pub"].Policy = policy.Compile(policy.Script{
			Name: "pub", Where: "t.yaml:0", SudoCaller: true, Rules: []policy.Rule{rule("read: Shot", nil), rule("download: Attachment", nil)},
		})
		for _, e := range edit {
			e(st, l)
		}
	}
}

// is says that every connection from now on is a user's.
func (s *stage) is(uid uint32) *stage {
	s.server.Ask(func(net.Conn) (uint32, error) { return uid, nil })
	s.client.CloseIdleConnections()
	return s
}

func TestAScriptActsAsItsCaller(t *testing.T) {
	s := start(t, answering(`{"results":1}`), asCaller()).is(1001)
	if got := s.post(readShot); refused(got) != "" {
		t.Fatalf("%+v", got)
	}
	own := strings.Replace(readShot, `"script_key":"x"`, `"script_key":"x","sudo_as_login":"anna"`, 1)
	if got := s.post(own); refused(got) != "" {
		t.Errorf("the caller's own login, said by the tool: %+v", got)
	}
	for _, sent := range s.received() {
		if !strings.Contains(sent, `"sudo_as_login":"anna"`) {
			t.Errorf("sent %s", sent)
		}
	}
	got := s.post(strings.Replace(own, "anna", "bob", 1))
	if refused(got) != string(proxy.Sudo) || !strings.Contains(got.body, "pub may not act as bob; its calls go as the caller's own login, anna") || len(s.received()) != 2 {
		t.Errorf("another's login: %+v", got)
	}
	for _, e := range s.audit.all() {
		if e.Caller != "" && e.Caller != "anna" || e.Kind == audit.Intent && e.SudoAsLogin != "anna" {
			t.Errorf("recorded %+v", e)
		}
	}
	if got := s.is(1002).post(readShot); refused(got) != "" || !strings.Contains(s.received()[2], `"sudo_as_login":"bob"`) {
		t.Errorf("another caller: %+v, sent %s", got, s.received()[2])
	}
}

func TestALoginIsMadeOfTheUsersName(t *testing.T) {
	s := start(t, answering(`{"results":1}`), asCaller(func(st *proxy.State, _ *proxy.Listener) { st.Scripts["pub"].FlowLogin = "{user}@acme.example" })).is(1001)
	if got := s.post(readShot); refused(got) != "" || !strings.Contains(s.received()[0], `"sudo_as_login":"anna@acme.example"`) {
		t.Errorf("%+v, sent %s", got, s.received())
	}
}

// TestTokensAndSessionsAreTheCallersOwn: what REST and downloads go with is
// obtained as the caller, and is no other caller's.
func TestTokensAndSessionsAreTheCallersOwn(t *testing.T) {
	s := start(t, restSite(`{"data":[]}`), asCaller()).is(1001)
	for _, who := range []struct {
		uid  uint32
		name string
	}{{1001, "anna"}, {1002, "bob"}, {1001, "anna"}} {
		if got := s.is(who.uid).get("/api/v1/entity/shots?fields=code"); got.status != 200 {
			t.Errorf("%s: %+v", who.name, got)
		}
	}
	var scopes []string
	for _, sent := range s.received() {
		if q, err := url.ParseQuery(sent); err == nil && q.Get("grant_type") == "client_credentials" {
			scopes = append(scopes, q.Get("scope"))
		}
	}
	if strings.Join(scopes, " ") != "sudo_as_login:anna sudo_as_login:bob" {
		t.Errorf("tokens were got with %q", scopes)
	}

	files := &fileSite{tokens: []string{session1}, serve: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the file") }}
	s = start(t, files.ServeHTTP, asCaller()).is(1001)
	for _, uid := range []uint32{1001, 1002, 1001} {
		if got := s.is(uid).get("/file_serve/attachment/12"); got.body != "the file" {
			t.Errorf("user %d: %+v", uid, got)
		}
	}
	var minted []string
	for _, sent := range s.received() {
		if strings.Contains(sent, "get_session_token") {
			minted = append(minted, sent)
		}
	}
	if len(minted) != 2 || !strings.Contains(minted[0], `"sudo_as_login":"anna"`) || !strings.Contains(minted[1], `"sudo_as_login":"bob"`) {
		t.Errorf("sessions were got with %q", minted)
	}
}

// TestAHandleDoesNotLendALogin: one that stands for a caller is no good in
// another's hand.
func TestAHandleDoesNotLendALogin(t *testing.T) {
	token, err := testHandles().Sign(handle.Handle{Script: "pub", Listener: "local", Use: handle.UseSession, Expires: time.Now().Add(time.Hour), Sudo: "anna"})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, answering(`{"results":1}`), asCaller()).is(1001)
	call := `{"method_name":"read","params":[{"session_token":"` + token + `"},{"type":"Shot","return_fields":["code"]}]}`
	if got := s.post(call); refused(got) != "" {
		t.Errorf("in its own hand: %+v", got)
	}
	if got := s.is(1002).post(call); refused(got) != string(proxy.Sudo) {
		t.Errorf("in another's: %+v", got)
	}
}

func TestOnlyACallerWhomTheKernelNamesIsServed(t *testing.T) {
	kernel := func(st *proxy.State, l *proxy.Listener) { asCaller()(st, l); rules(rule("read: Shot", nil))(st, l) }
	for _, tt := range []struct {
		name  string
		owner func(net.Conn) (uint32, error)
		opt   option
		says  string
	}{
		{"nobody", func(net.Conn) (uint32, error) { return 0, caller.ErrNobody }, kernel, "the kernel knows nobody on this host who holds this connection"},
		{"could not tell", func(net.Conn) (uint32, error) { return 0, errors.New("no answer") }, kernel, "it could not be told who calls"},
		{"not asked", nil, kernel, "nobody asked who calls when this connection was opened"},
		{"no name to act as", func(net.Conn) (uint32, error) { return 7, nil }, asCaller(), "pub acts as whoever calls, and it is not known here who that is (user uid:7 has no name on this host)"},
		{"a listener that does not ask", nil, asCaller(func(_ *proxy.State, l *proxy.Listener) { l.Identity = "none" }), "to know it: identity: kernel on this listener"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, answering(`{"results":1}`), tt.opt)
			s.server.Ask(tt.owner)
			for _, got := range []result{s.post(readShot), s.get("/api/v1/entity/shots?fields=code")} {
				if refused(got) != string(proxy.CallerUnknown) || !strings.Contains(got.body, tt.says) || len(s.received()) != 0 {
					t.Errorf("%+v", got)
				}
			}
		})
	}
	s := start(t, answering(`{"results":1}`), kernel).is(7)
	if got := s.post(readShot); refused(got) != "" || s.audit.all()[0].Caller != "uid:7" {
		t.Errorf("a user without a name: %+v", got)
	}
}

// TestTheKernelIsAskedOnceForEachConnection: and for this process it says who
// runs it.
func TestTheKernelIsAskedOnceForEachConnection(t *testing.T) {
	var asked atomic.Int32
	s := start(t, answering(`{"results":1}`), func(st *proxy.State, l *proxy.Listener) {
		asCaller()(st, l)
		rules(rule("read: Shot", nil))(st, l)
		st.Login = func(uint32) (string, bool) { return "me", true }
	})
	s.server.Ask(func(c net.Conn) (uint32, error) {
		asked.Add(1)
		return caller.Owner(c)
	})
	for range 3 {
		if got := s.post(readShot); refused(got) != "" {
			t.Fatalf("%+v", got)
		}
	}
	if asked.Load() != 1 || s.audit.all()[0].Caller != "me" {
		t.Errorf("asked %d times, %+v", asked.Load(), s.audit.all()[0])
	}
}
