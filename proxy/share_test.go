package proxy_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/audit"
	"stagedoor/flow"
	"stagedoor/limit"
	"stagedoor/policy"
	"stagedoor/proxy"
)

func TestAThousandCallersOfTheSchemaAreOneCall(t *testing.T) {
	inHall(t, 0, func(h *hall) {
		const callers = 1000
		var pages [callers]chan *page
		for i := range pages {
			pages[i] = h.sends(schemaRead)
		}
		first := h.next()
		if s := h.proxy.Shared(); s.Waiting != callers-1 || s.Flights != 1 {
			t.Errorf("while the site thinks: %+v", s)
		}
		first.answer(`{"results":{"Shot":{}}}`)
		ids := make(map[string]bool)
		for _, p := range pages {
			got := <-p
			if got.status != http.StatusOK || got.body.String() != `{"results":{"Shot":{}}}` || got.early {
				h.t.Fatalf("%d %s, before its record: %t", got.status, got.body.String(), got.early)
			}
			ids[got.header.Get("Stagedoor-Request-Id")] = true
		}
		if n := h.site.calls(); n != 1 || len(ids) != callers {
			t.Errorf("the site saw %d calls, of %d ids", n, len(ids))
		}
		h.holdRecords(callers)
	}, limited) // only one of them takes anything of the limit
}

// holdRecords holds the records of a thousand calls against each other.
func (h *hall) holdRecords(callers int) {
	h.t.Helper()
	leader, intents, outcomes := "", 0, 0
	for _, e := range h.intents() {
		if e.Served == "" {
			leader = e.ID
		}
	}
	for _, e := range h.audit.all() {
		switch {
		case e.Kind == audit.Intent && e.ID != leader && (e.Served != "shared" || e.ServedBy != leader || e.Rule != "t.yaml:2" || e.KeyVersion != "1" || e.CallerCredential != audit.CredPlaceholder):
			h.t.Fatalf("recorded %+v", e)
		case e.Kind == audit.Intent:
			intents++
		case e.Kind == audit.Outcome && e.Status == http.StatusOK && e.Result == audit.ResultOK && e.BytesOut > 0:
			outcomes++
		}
	}
	if intents != callers || outcomes != callers {
		h.t.Errorf("%d intents, %d outcomes", intents, outcomes)
	}
}

func TestAnswersAreKeptForAsLongAsTheRuleSays(t *testing.T) {
	inHall(t, 30, func(h *hall) {
		h.site.atOnce()
		first := h.does(schemaRead)
		pass(29 * time.Second)
		second := <-h.sends(schemaRead)
		if second.body.String() != first || second.header.Get("Age") != "29" || second.header.Get("Content-Type") != "application/json" || h.site.calls() != 1 {
			t.Errorf("%s, then %s %v, of %d calls", first, second.body.String(), second.header, h.site.calls())
		}
		if in := h.intents(); in[1].Served != "cache" || in[1].ServedBy != in[0].ID || in[1].ID == in[0].ID {
			t.Errorf("recorded %+v", in[1])
		}
		pass(time.Second)
		if !h.asks(schemaRead) {
			t.Error("it was kept for longer")
		}
	})
}

// TestInfoIsSharedWhereARuleSaysSo: it is allowed without one.
func TestInfoIsSharedWhereARuleSaysSo(t *testing.T) {
	const info = `{"method_name":"info","params":[]}`
	inHall(t, 30, func(h *hall) {
		h.site.atOnce()
		if h.does(info); !h.asks(info) {
			t.Error("shared without a rule")
		}
		h.state.Scripts["pub"].Policy = policy.Compile(policy.Script{Rules: []policy.Rule{{Verb: "info", Share: policy.Share{Coalesce: true, Seconds: 30}}}})
		h.does(info)
		if h.asks(info) {
			t.Error("asked again within the time of the rule")
		}
	})
}

func TestWithoutARuleNothingIsShared(t *testing.T) {
	inHall(t, 30, func(h *hall) {
		h.state.Scripts["pub"].Policy = readsShots()
		a, b := h.sends(readShot), h.sends(readShot)
		h.next().answer(`{"results":1}`)
		h.next().answer(`{"results":2}`)
		if <-a; (<-b).status != http.StatusOK || h.site.calls() != 2 {
			t.Errorf("%d calls", h.site.calls())
		}
	})
}

func TestOnlySuccessIsShared(t *testing.T) {
	for name, answer := range map[string]func() *http.Response{
		"a fault":               saying(`{"exception":true,"message":"no","error_code":104}`),
		"half a fault":          saying(`{"exception":`),
		"an error of the site":  func() *http.Response { return status(http.StatusBadGateway) },
		"a page":                func() *http.Response { r := status(200); r.Header.Set("Content-Type", "text/html"); return r },
		"nothing":               saying(``),
		"not the whole":         func() *http.Response { return status(http.StatusPartialContent) },
		"a redirect":            func() *http.Response { return status(http.StatusSeeOther) },
		"a broken connection":   func() *http.Response { return nil },
		"an answer that breaks": func() *http.Response { r := status(200); r.Body = io.NopCloser(snapped{}); return r },
	} {
		t.Run(name, func(t *testing.T) {
			inHall(t, 30, func(h *hall) {
				first := h.sends(schemaRead)
				lead := h.next()
				second := h.sends(schemaRead)
				h.none()
				lead.done <- answer() //nolint:bodyclose // the proxy closes it
				<-first
				h.next().answer(`{"results":2}`)
				if got := (<-second).body.String(); got != `{"results":2}` {
					t.Errorf("the second got %s", got)
				}
				if got := (<-h.sends(schemaRead)).body.String(); got != `{"results":2}` || h.site.calls() != 2 {
					t.Errorf("the third got %s, of %d calls", got, h.site.calls())
				}
			})
		})
	}
}

// snapped is a body that breaks off.
type snapped struct{}

func (snapped) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Where call after call comes to nothing, those who wait are not sent one by one
// for ever, nor all at once at the first failure.
func TestAFailureIsFollowedByOneCallAtATimeAndThenByAll(t *testing.T) {
	inHall(t, 30, func(h *hall) {
		const callers = 20
		var pages [callers]chan *page
		for i := range pages {
			pages[i] = h.sends(schemaRead)
		}
		for range 3 {
			lead := h.next()
			h.none()
			lead.answer(`{"exception":true,"message":"no","error_code":103}`)
		}
		for range callers - 3 {
			h.next().answer(`{"exception":true,"message":"no","error_code":103}`)
		}
		for _, p := range pages {
			if code, _, _ := flow.ReadFault((<-p).body.Bytes()); code != 103 {
				t.Errorf("code %d", code)
			}
		}
	})
}

func TestWhoHangsUpIsFollowedByAnother(t *testing.T) {
	inHall(t, 0, func(h *hall) {
		ctx, hangUp := context.WithCancel(h.t.Context())
		gone := func(r *http.Request) { *r = *r.WithContext(ctx) }
		first := h.sends(schemaRead, gone)
		h.next()
		second, third := h.sends(schemaRead, gone), h.sends(schemaRead)
		h.none()
		hangUp() // the one that leads, and one that waits
		if a, b := <-first, <-second; !a.broken || !b.broken {
			t.Error("a caller that is gone was answered")
		}
		fourth := h.sends(schemaRead)
		h.next().answer(`{"results":1}`)
		if a, b := <-third, <-fourth; a.body.String() != `{"results":1}` || b.body.String() != `{"results":1}` || h.site.calls() != 2 {
			t.Errorf("%s, %s, %d calls", a.body.String(), b.body.String(), h.site.calls())
		}
		var aborted []audit.Event
		for _, e := range h.audit.all() {
			if e.Result == audit.ResultAborted {
				aborted = append(aborted, e)
			}
		}
		if len(aborted) != 2 || aborted[0].Kind == aborted[1].Kind {
			t.Errorf("recorded %+v", aborted)
		}
	})
}

// A caller that reads its answer slowly keeps it from nobody.
func TestASlowReaderHoldsNobodyUp(t *testing.T) {
	inHall(t, 0, func(h *hall) {
		slow := &page{sink: sink{header: http.Header{}}, audit: h.audit, slow: make(chan struct{})}
		first := h.sendsOn(h.local, schemaRead, slow)
		lead := h.next()
		second := h.sends(schemaRead)
		h.none()
		long := `{"results":"` + strings.Repeat("a", 1<<20) + `"}` // which would go on in pieces otherwise
		lead.answer(long)
		if got := <-second; got.body.String() != long {
			t.Errorf("%d bytes", got.body.Len())
		}
		close(slow.slow)
		if got := <-first; got.body.String() != long {
			t.Errorf("%d bytes", got.body.Len())
		}
	})
}

func TestLongAnswersAreNotShared(t *testing.T) {
	inHall(t, 30, func(h *hall) {
		first := h.sends(schemaRead)
		lead := h.next()
		second, third := h.sends(schemaRead), h.sends(schemaRead)
		h.none()
		long := `{"results":"` + strings.Repeat("a", 8<<20) + `"}`
		lead.answer(long)
		h.next().answer(long) // the others don't wait for each other
		h.next().answer(long)
		for _, p := range []chan *page{first, second, third} {
			if got := <-p; got.body.String() != long {
				t.Errorf("%d bytes", got.body.Len())
			}
		}
		if s := h.proxy.Shared(); s.Bytes != 0 || s.Entries != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestNoCallWaitsForEver(t *testing.T) {
	inHall(t, 0, func(h *hall) {
		first := h.sends(schemaRead)
		lead := h.next()
		second := h.sends(schemaRead)
		pass(5*time.Minute - time.Second)
		h.none()
		pass(time.Second)
		h.next().answer(`{"results":2}`)
		if got := <-second; got.body.String() != `{"results":2}` {
			t.Errorf("%s", got.body.String())
		}
		lead.answer(`{"results":1}`)
		<-first
	})
}

func TestThoseWhoWaitAreToldOfAStop(t *testing.T) {
	inHall(t, 0, func(h *hall) {
		first := h.sends(schemaRead)
		lead := h.next()
		ctx, cut := context.WithCancelCause(h.t.Context())
		second := h.sends(schemaRead, func(r *http.Request) { *r = *r.WithContext(ctx) })
		h.none()
		cut(proxy.ErrCut())
		if got := <-second; got.header.Get("Stagedoor-Refused") != string(proxy.Busy) {
			t.Errorf("%v %s", got.header, got.body.String())
		}
		lead.answer(`{"results":1}`)
		<-first
	})
}

func TestNoRecordNoSharedAnswer(t *testing.T) {
	inHall(t, 30, func(h *hall) {
		h.site.atOnce()
		h.does(schemaRead)
		h.audit.mu.Lock()
		h.audit.fail = io.ErrShortWrite
		h.audit.mu.Unlock()
		if got := <-h.sends(schemaRead); got.header.Get("Stagedoor-Refused") != string(proxy.AuditFailed) || strings.Contains(got.body.String(), "results") {
			t.Errorf("%v %s", got.header, got.body.String())
		}
	})
}

// What a link to storage leads to is open for minutes.
func TestAnswersWithSignedLinksAreNotKept(t *testing.T) {
	for _, link := range []string{
		`https://s3.example/a?X-Amz-Signature=0a`, `https://s3.example/a?a=b\u0026Signature=0a`,
		`https://blob.example/a?sv=1&sig=0a`, `http://localhost/storage/cHVi.0a/s3.example/a?X-Goog-Signature=0a`,
	} {
		inHall(t, 30, func(h *hall) {
			a, b := h.sends(schemaRead), h.sends(schemaRead)
			lead := h.next()
			h.none()
			lead.answer(`{"results":"` + link + `"}`)
			if <-a; (<-b).body.Len() == 0 {
				t.Error("those who waited got nothing")
			}
			c := h.sends(schemaRead)
			h.next().answer(`{"results":1}`)
			<-c
		})
	}
}

// Somebody who pauses a script means all of its calls.
func TestABrakeHoldsSharedCallsToo(t *testing.T) {
	brakes := new(limit.Brakes)
	inHall(t, 300, func(h *hall) {
		h.site.atOnce()
		h.asks(schemaRead)
		if err := brakes.Set(limit.Brake{Scope: limit.ScopeScript, Name: "pub", Until: time.Now().Add(time.Minute), Why: "test", By: "test"}); err != nil {
			h.t.Fatal(err)
		}
		if got := <-h.sends(schemaRead); got.header.Get("Stagedoor-Refused") != string(proxy.Braked) {
			t.Errorf("%v %s", got.header, got.body.String())
		}
		pass(time.Minute)
		if h.asks(schemaRead) {
			t.Error("afterwards nothing was kept")
		}
	}, func(_ *proxy.Config, st *proxy.State) { st.Brakes = brakes })
}

// TestMaxHoldBoundsTheWaitForACallThatIsHeld: one after another would hold each
// call for as long as all before it.
func TestMaxHoldBoundsTheWaitForACallThatIsHeld(t *testing.T) {
	const most = 2 * time.Second
	inHall(t, 0, func(h *hall) {
		began := time.Now()
		var pages []chan *page
		for range 4 {
			pages = append(pages, h.sends(schemaRead))
		}
		for _, p := range pages {
			if got := <-p; got.header.Get("Stagedoor-Refused") != string(proxy.RateLimit) {
				t.Errorf("%v %s", got.header, got.body.String())
			}
		}
		if d := time.Since(began); d > most {
			t.Errorf("held for %v", d)
		}
	}, func(_ *proxy.Config, st *proxy.State) {
		l := limit.New(limit.Options{Rate: 1, Burst: 1, InFlight: 1})
		g, err := l.Acquire(context.Background(), 1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Release)
		st.Scripts["pub"].Limiter, st.Scripts["pub"].MaxHold = l, most
	})
}

func TestAReloadStartsAnew(t *testing.T) {
	inHall(t, 30, func(h *hall) {
		h.site.atOnce()
		h.does(schemaRead)
		h.site.auto = nil
		old := h.sends(readShot)
		lead := h.next()
		waits := h.sends(readShot)
		h.none()
		again := *h.state
		h.proxy.Replace(&again)
		fresh := h.sends(readShot) // must not wait for a call that was decided by other rules
		second := h.next()
		lead.answer(`{"results":"old"}`)
		if a, b := <-old, <-waits; a.body.String() != b.body.String() {
			t.Errorf("%s and %s", a.body.String(), b.body.String())
		}
		if s := h.proxy.Shared(); s.Entries != 0 {
			t.Errorf("it was kept: %+v", s)
		}
		second.answer(`{"results":"new"}`)
		if got := <-fresh; got.body.String() != `{"results":"new"}` || h.does(readShot) != `{"results":"new"}` {
			t.Errorf("%s", got.body.String())
		}
		h.site.atOnce()
		if !h.asks(schemaRead) {
			t.Error("an answer outlived its configuration")
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	t.Run("bytes", func(t *testing.T) {
		inHall(t, 30, func(h *hall) {
			long := `{"results":"` + strings.Repeat("a", 8<<20-100) + `"}`
			h.site.auto = func(string) string { return long }
			for i := range 9 {
				h.asks(reading("Shot", "code", "sg_"+strconv.Itoa(i)))
				if s := h.proxy.Shared(); s.Bytes > 64<<20 || s.Bytes != int64(s.Entries*len(long)) {
					h.t.Fatalf("after %d: %+v", i+1, s)
				}
			}
			if h.asks(reading("Shot", "code", "sg_8")) || !h.asks(reading("Shot", "code", "sg_0")) {
				t.Error("the newest went, or the oldest stayed")
			}
		})
	})
	t.Run("entries", func(t *testing.T) {
		inHall(t, 30, func(h *hall) {
			h.site.atOnce()
			for i := range 4096 + 10 {
				h.does(reading("Shot", "sg_"+strconv.Itoa(i)))
			}
			if s := h.proxy.Shared(); s.Entries != 4096 {
				t.Errorf("%+v", s)
			}
			if h.asks(reading("Shot", "sg_10")) || !h.asks(reading("Shot", "sg_9")) {
				t.Error("another went than the one that was used longest ago")
			}
		})
	})
	t.Run("waiters", func(t *testing.T) {
		inHall(t, 0, func(h *hall) {
			pages := []chan *page{h.sends(schemaRead)}
			lead := h.next()
			for range 4096 {
				pages = append(pages, h.sends(schemaRead))
			}
			h.none()
			pages = append(pages, h.sends(schemaRead))
			h.next().answer(`{"results":1}`) // one too many: it goes on its own
			lead.answer(`{"results":1}`)
			for _, p := range pages {
				<-p
			}
		})
	})
	t.Run("an answer that is still being read", func(t *testing.T) {
		inHall(t, 30, func(h *hall) {
			long := `{"results":"` + strings.Repeat("a", 8<<20-100) + `"}`
			h.site.auto = func(string) string { return long }
			h.does(schemaRead)
			slow := &page{sink: sink{header: http.Header{}}, audit: h.audit, slow: make(chan struct{})}
			reader := h.sendsOn(h.local, schemaRead, slow)
			synctest.Wait()
			for i := range 8 {
				h.does(reading("Shot", "sg_"+strconv.Itoa(i)))
			}
			if s := h.proxy.Shared(); s.Bytes != int64((s.Entries+1)*len(long)) || s.Bytes > 64<<20 {
				t.Errorf("%+v", s)
			}
			close(slow.slow)
			<-reader
			if s := h.proxy.Shared(); s.Bytes != int64(s.Entries*len(long)) {
				t.Errorf("%+v", s)
			}
		})
	})
}

func TestACallThatSharesNothingCostsNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, proxy.NotShared()); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
}

// BenchmarkNotShared is what sharing costs a call whose rule says nothing of it.
func BenchmarkNotShared(b *testing.B) {
	f := proxy.NotShared()
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
}

// BenchmarkServedFromCache is the handler alone, as in BenchmarkServeHTTP.
func BenchmarkServedFromCache(b *testing.B) {
	serve := small(b, func(_ *proxy.Config, st *proxy.State) { st.Scripts["pub"].Policy = shares(3600) })
	b.ReportAllocs()
	for b.Loop() {
		serve()
	}
}
