package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stagedoor/audit"
)

// buffer is a sink that can fail or block.
type buffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	fail  error
	room  int           // bytes taken before a failure cuts the write
	gate  chan struct{} // not nil: every write waits until it is closed
	wrote int
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	gate := b.gate
	b.mu.Unlock()
	if gate != nil {
		<-gate
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrote++
	if b.fail != nil {
		n, _ := b.b.Write(p[:min(b.room, len(p))])
		return n, b.fail
	}
	return b.b.Write(p)
}

func (b *buffer) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// lines parses a log, skipping what isn't JSON.
func lines(t *testing.T, log string) (out []map[string]any) {
	t.Helper()
	for line := range strings.Lines(log) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil {
			out = append(out, m)
		}
	}
	return out
}

func kinds(t *testing.T, log string) string {
	t.Helper()
	var out []string
	for _, m := range lines(t, log) {
		s := fmt.Sprint(m["ev"])
		if id, ok := m["id"]; ok {
			s += ":" + fmt.Sprint(id)
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func verified(t *testing.T, log string, want int) {
	t.Helper()
	n, err := audit.Verify(strings.NewReader(log))
	if err != nil || n != want {
		t.Errorf("Verify: %d lines, %v; want %d\n%s", n, err, want, log)
	}
}

func open(t *testing.T, o audit.Options) *audit.Log {
	t.Helper()
	l, err := audit.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func intent(id string) *audit.Event { return &audit.Event{Kind: audit.Intent, ID: id} }

func outcome(id string) *audit.Event { return &audit.Event{Kind: audit.Outcome, ID: id} }

// pause lets time pass in a bubble.
func pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}

func TestLinesAreAsDocumented(t *testing.T) {
	var b buffer
	l := open(t, audit.Options{Sink: &b, Software: "1.2", Config: "c0ffee", Now: func() time.Time {
		return time.Date(2026, 11, 23, 9, 8, 7, 6e6, time.FixedZone("", 3600))
	}})
	err := l.Append(&audit.Event{
		Kind: audit.Intent, ID: "r1", Listener: "tools", Caller: "127.0.0.1", Script: "ev", SiteName: "ev_prod",
		CallKind: "rpc", Method: "batch", Group: "update", Types: []string{"Shot", "Task"}, Parts: 2, Cost: 2,
		Decision: audit.Allow, Rule: "stagedoor.yaml:12", KeyVersion: "7",
		CallerCredential: audit.CredLiveKey, DroppedAuth: []string{"foo"}, SudoAsLogin: "ann",
		SessionUUID: "u", BytesIn: 99, Observed: "denied", AllowWith: "- update: Shot\n- delete: Task",
		Shape: []byte(`{"method":"batch"}`), Served: "cache", ServedBy: "r0",
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Note(&audit.Event{
		Kind: audit.Outcome, ID: "r1", Status: 200, Fault: 104, BytesOut: 5,
		Upstream: 12345 * time.Microsecond, Hold: 2 * time.Second, Total: time.Millisecond + 7*time.Microsecond,
		Result: audit.ResultFault, Retried: "key_changed", Redacted: 3,
	})
	err = l.Refused(&audit.Event{
		Kind: audit.RefusedCall, ID: "r2", CallKind: "rest", Method: "delete", Decision: audit.Refuse, Reason: "rate_limit",
		Status: 200, Fault: 100, Hold: 20 * time.Second, Total: 20001 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(b.String(), "\n")
	want := []string{
		`{"v":1,"seq":1,"prev":"00000000000000000000000000000000","t":"2026-11-23T08:08:07.006Z","ev":"start","software":"1.2","config":"c0ffee"}`,
		`"t":"2026-11-23T08:08:07.006Z","ev":"intent","id":"r1","listener":"tools","caller":"127.0.0.1","script":"ev","site_name":"ev_prod","kind":"rpc","method":"batch","group":"update","types":["Shot","Task"],"parts":2,"cost":2,"decision":"allow","rule":"stagedoor.yaml:12","observed":"denied","allow_with":"- update: Shot\n- delete: Task","shape":{"method":"batch"},"served":"cache","served_by":"r0","key_version":"7","caller_credential":"live_key","dropped_auth":["foo"],"sudo_as_login":"ann","session_uuid":"u","bytes_in":99}`,
		`"ev":"outcome","id":"r1","status":200,"fault":104,"bytes_out":5,"upstream_ms":12.345,"hold_ms":2000,"total_ms":1.007,"result":"fault","retried":"key_changed","redacted":3}`,
		`"ev":"refused","id":"r2","kind":"rest","method":"delete","decision":"refuse","reason":"rate_limit","status":200,"fault":100,"hold_ms":20000,"total_ms":20001}`,
		`"ev":"stop"}`,
	}
	for i, w := range want {
		if !strings.HasSuffix(got[i], w) {
			t.Errorf("line %d:\n%s\nwant at its end\n%s", i+1, got[i], w)
		}
	}
	verified(t, b.String(), 5)
}

// A string from outside is one clean string in one line, whatever is in it.
func TestStringsFromOutside(t *testing.T) {
	long := strings.Repeat("é", audit.MaxString)
	for in, want := range map[string]string{
		"a\"b\\c\n\r\t\x00\x1b[31m": "a\"b\\c\n\r\t\x00\x1b[31m",
		"bad \xff\xc3 utf8":         "bad \ufffd\ufffd utf8",
		"\u2028\u202e\u009b\x7f日本":  "\u2028\u202e\u009b\x7f日本",
		long:                        strings.Repeat("é", audit.MaxString/2) + "…",
		"x" + long:                  "x" + strings.Repeat("é", audit.MaxString/2-1) + "…",
		strings.Repeat("\x80", 999): strings.Repeat("\ufffd", audit.MaxString) + "…",
	} {
		var b buffer
		l := open(t, audit.Options{Sink: &b})
		if err := l.Append(&audit.Event{Kind: audit.Intent, Method: in, Types: []string{"T"}}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if r != '\n' && (r < ' ' || r >= 0x7f && r <= 0x9f || r == 0x2028 || r == 0x202e) {
				t.Errorf("%q: raw %U in the log", in, r)
			}
		}
		if got := lines(t, b.String())[1]["method"]; got != want {
			t.Errorf("%q: read back as %q", in, got)
		}
	}
}

// TestAShapeIsOneCleanPartOfItsLine: what is written as it is must not end the
// line, nor be longer than a reader takes.
func TestAShapeIsOneCleanPartOfItsLine(t *testing.T) {
	for shape, want := range map[string]bool{
		`{"type":"Shot","touches":{"return":["Shot.code"]}}`: true,
		"{\"type\":\n\"Shot\"}":                              false,
		"{\"type\":\"\u2028\"}":                              false,
		"{\"type\":\"\xff\"}":                                false,
		`["Shot"]`:                                           false,
		`{"type":"Shot"`:                                     false,
		`{"type":"` + strings.Repeat("a", audit.MaxShape) + `"}`: false,
		"": false,
	} {
		var b buffer
		l := open(t, audit.Options{Sink: &b})
		e := audit.Event{Kind: audit.Intent, ID: "a", Shape: []byte(shape), AllowWith: strings.Repeat("x", 5000)}
		if err := errors.Join(l.Append(&e), l.Close()); err != nil {
			t.Fatal(err)
		}
		m := lines(t, b.String())[1]
		if _, ok := m["shape"].(map[string]any); ok != want {
			t.Errorf("%q: written %v", shape, m["shape"])
		}
		if rule, _ := m["allow_with"].(string); len(rule) != audit.MaxRule+len("…") {
			t.Errorf("%d bytes of a rule", len(rule))
		}
		verified(t, b.String(), 3)
	}
}

// TestARepeatKeepsTheFirstShape: what is folded is still told by one of its
// kind, in a copy of its own. What asks for something else is another kind.
func TestARepeatKeepsTheFirstShape(t *testing.T) {
	var b buffer
	l := open(t, audit.Options{Sink: &b})
	buf := []byte(`{"type":"Shot"}`)
	e := refused("first", "127.0.0.1", "delete")
	e.Shape, e.AllowWith = buf, "- delete: Shot"
	first := e
	if err := l.Refused(&e); err != nil {
		t.Fatal(err)
	}
	copy(buf, `{"type":"Task"}`) // the caller's buffer, used again
	e.ID, e.AllowWith = "other", "- delete: Task"
	if err := l.Refused(&e); err != nil {
		t.Fatal(err)
	}
	first.ID, first.Shape = "second", []byte(`{"type":"Shot"}`)
	if err := errors.Join(l.Refused(&first), l.Close()); err != nil {
		t.Fatal(err)
	}
	records := lines(t, b.String())
	if m := records[2]; m["id"] != "other" || fmt.Sprint(m["shape"]) != "map[type:Task]" {
		t.Errorf("%v", m)
	}
	for _, m := range []map[string]any{records[1], records[3]} {
		if fmt.Sprint(m["shape"]) != "map[type:Shot]" || m["allow_with"] != "- delete: Shot" {
			t.Errorf("%v", m)
		}
	}
	if records[3]["last_id"] != "second" {
		t.Errorf("%v", records[3])
	}
	verified(t, b.String(), 5)
}

func TestListsAreBounded(t *testing.T) {
	var b buffer
	l := open(t, audit.Options{Sink: &b})
	types := make([]string, 5000)
	for i := range types {
		types[i] = strings.Repeat("\x01", 5000)
	}
	e := audit.Event{
		Kind: audit.Intent, Types: types, DroppedAuth: types, ID: types[0], Method: types[0], Rule: types[0],
		SudoAsLogin: types[0], Reason: types[0], Script: types[0], SiteName: types[0],
	}
	if err := l.Append(&e); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	m := lines(t, b.String())[1]
	if got, ok := m["types"].([]any); !ok || len(got) != audit.MaxList || m["types_more"] != 5000.0-audit.MaxList {
		t.Errorf("%d types, %v more", len(got), m["types_more"])
	}
	verified(t, b.String(), 3) // also: no line is too long for a reader
}

func TestGroupCommitKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := buffer{}
		l := open(t, audit.Options{Sink: &b})
		gate := make(chan struct{})
		b.set(func() { b.gate, b.wrote = gate, 0 })
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				if err := l.Append(intent(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			l.Note(outcome(fmt.Sprint(i)))
		}
		close(gate)
		wg.Wait()
		synctest.Wait()
		if b.wrote != 2 {
			t.Errorf("%d writes, want 2: the first line, and what came meanwhile", b.wrote)
		}
		var want strings.Builder
		want.WriteString("start")
		for i := range 50 {
			fmt.Fprintf(&want, " intent:%d outcome:%d", i, i)
		}
		if got := kinds(t, b.String()); got != want.String() {
			t.Errorf("got  %s\nwant %s", got, want.String())
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		verified(t, b.String(), 102)
	})
}

func TestOutcomeIsWrittenWithoutAnotherIntent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		l := open(t, audit.Options{Sink: &b})
		l.Note(outcome("a"))
		pause(50 * time.Millisecond)
		if got := kinds(t, b.String()); got != "start outcome:a" {
			t.Error(got)
		}
		_ = l.Close()
	})
}

func TestBlockedSinkRefusesAfterASecondAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		var read strings.Builder
		stop := make(chan struct{})
		reader := func() {
			defer func() { stop <- struct{}{} }()
			buf := make([]byte, 1<<16)
			for {
				n, err := r.Read(buf)
				read.Write(buf[:n])
				if err != nil || strings.HasSuffix(read.String(), "\"id\":\"pause\"}\n") {
					return
				}
			}
		}
		go reader()
		l := open(t, audit.Options{Sink: w})
		_ = l.Append(intent("pause"))
		<-stop // nobody reads from here on

		t0 := time.Now()
		if err := l.Append(intent("a")); !errors.Is(err, audit.ErrBlocked) || time.Since(t0) != time.Second {
			t.Errorf("%v after %v", err, time.Since(t0))
		}
		t0 = time.Now()
		if err := l.Append(intent("b")); !errors.Is(err, audit.ErrBlocked) || time.Since(t0) != 0 {
			t.Errorf("the next: %v after %v, want at once", err, time.Since(t0))
		}
		if err := l.Healthy(); !errors.Is(err, audit.ErrBlocked) {
			t.Errorf("healthy: %v", err)
		}
		l.Note(outcome("c"))
		if err := l.Reopen(); !errors.Is(err, audit.ErrBlocked) {
			t.Errorf("reopen: %v", err)
		}
		go reader()
		synctest.Wait()
		if err := l.Healthy(); err != nil {
			t.Errorf("after it was read: %v", err)
		}
		if err := l.Append(intent("d")); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		_ = w.Close()
		<-stop
		// a was in the sink's hands, b never was.
		if got, want := kinds(t, read.String()), "start intent:pause intent:a outcome:c intent:d stop"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		verified(t, read.String(), 6)
	})
}

// slow is a sink that takes its time for each write.
type slow struct{ each time.Duration }

func (s slow) Write(p []byte) (int, error) {
	pause(s.each)
	return len(p), nil
}

// TestSlowSinkIsNotABlockedOne: a line may wait for a write that is not its own.
func TestSlowSinkIsNotABlockedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, audit.Options{Sink: slow{900 * time.Millisecond}})
		first := make(chan error)
		go func() { first <- l.Append(intent("a")) }()
		synctest.Wait()
		pause(100 * time.Millisecond)
		t0 := time.Now()
		if err := l.Append(intent("b")); err != nil || time.Since(t0) != 1700*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(t0))
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestHangUpsAreToldFromRefusals: they have a result, and no reason.
func TestHangUpsAreToldFromRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		l := open(t, audit.Options{Sink: &b})
		for _, e := range []audit.Event{
			{Result: audit.ResultAborted},
			{Result: audit.ResultAborted},
			{Result: audit.ResultAborted, Reason: "no_rule"},
			{Result: "no_rule", Reason: "no_rule"},
		} {
			e.Kind, e.Caller = audit.RefusedCall, "127.0.0.1"
			if err := l.Refused(&e); err != nil {
				t.Error(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var results []string
		for _, m := range lines(t, b.String()) {
			if m["ev"] == "refused" || m["ev"] == "repeat" {
				results = append(results, fmt.Sprint(m["ev"], " ", m["reason"], " ", m["result"]))
			}
		}
		slices.Sort(results)
		want := []string{"refused <nil> aborted", "refused no_rule <nil>", "repeat <nil> aborted", "repeat no_rule <nil>"}
		if !slices.Equal(results, want) {
			t.Errorf("%q", results)
		}
	})
}

// The same through the kernel: a pipe that nobody reads.
func TestBlockedPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := open(t, audit.Options{Sink: w, Timeout: 100 * time.Millisecond})
	e := audit.Event{Kind: audit.Intent, Method: strings.Repeat("m", 200)}
	for range 2000 { // 64 KiB fit
		if err = l.Append(&e); err != nil {
			break
		}
	}
	if !errors.Is(err, audit.ErrBlocked) {
		t.Fatalf("a full pipe: %v", err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	for t0 := time.Now(); l.Append(&e) != nil; {
		if time.Since(t0) > 10*time.Second {
			t.Fatal("service doesn't come back")
		}
	}
	if err := errors.Join(l.Healthy(), l.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}

func TestFailedWriteRefusesAndChainSurvives(t *testing.T) {
	full := errors.New("no space left")
	for _, room := range []int{0, 1, 40, 150, 1000} {
		t.Run(fmt.Sprint(room, " bytes fit"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b buffer
				l := open(t, audit.Options{Sink: &b})
				b.set(func() { b.fail, b.room = full, room })
				err := l.Append(intent("a"))
				if room < 150 && !errors.Is(err, full) {
					t.Errorf("append: %v", err)
				}
				l.Note(outcome("z"))
				pause(time.Second)
				if err := l.Healthy(); !errors.Is(err, full) {
					t.Errorf("healthy: %v", err)
				}
				if l.Stats().Errors == 0 {
					t.Error("no errors counted")
				}
				b.set(func() { b.fail = nil })
				pause(3 * time.Second) // it tries by itself
				if err := l.Healthy(); err != nil {
					t.Errorf("healthy again: %v", err)
				}
				if err := l.Append(intent("b")); err != nil {
					t.Error(err)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				got := kinds(t, b.String())
				if !strings.Contains(got, "probe") || strings.Count(got, "outcome:z") != 1 || !strings.HasSuffix(got, "intent:b stop") {
					t.Error(got)
				}
				if _, err := audit.Verify(strings.NewReader(b.String())); err != nil {
					t.Errorf("%v\n%s", err, b.String())
				}
			})
		})
	}
}

func TestLostOutcomesAreOwnedUpTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		l := open(t, audit.Options{Sink: &b})
		gate := make(chan struct{})
		b.set(func() { b.gate = gate })
		e := audit.Event{Kind: audit.Outcome, ID: strings.Repeat("x", 256)}
		for range 60000 {
			l.Note(&e)
		}
		lost := int(l.Stats().Lost)
		if lost == 0 || l.Stats().Queued > 17<<20 {
			t.Fatalf("%d lost, %d bytes queued", lost, l.Stats().Queued)
		}
		if err := l.Append(intent("a")); !errors.Is(err, audit.ErrFull) && !errors.Is(err, audit.ErrBlocked) {
			t.Errorf("append: %v", err)
		}
		close(gate)
		pause(5 * time.Second)
		if !strings.Contains(b.String(), fmt.Sprintf(`"ev":"probe","lost":%d}`, lost)) {
			t.Errorf("no line says that %d were lost", lost)
		}
		_ = l.Close()
		verified(t, b.String(), 60000-lost+3)
	})
}

func TestRefusalsAreAggregated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		l := open(t, audit.Options{Sink: &b})
		refuse := func(id, method string) {
			t.Helper()
			err := l.Refused(&audit.Event{
				Kind: audit.RefusedCall, ID: id, Caller: "127.0.0.1", Script: "ev", Method: method,
				Types: []string{"Shot"}, Decision: audit.Refuse, Reason: "not_allowed",
			})
			if err != nil {
				t.Error(err)
			}
		}
		for i := range 100 {
			refuse(fmt.Sprint("r", i), "delete")
		}
		refuse("other", "create")
		pause(audit.RepeatWindow + time.Second)
		refuse("later", "delete")
		refuse("last", "delete")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got, want := kinds(t, b.String()), "start refused:r0 refused:other repeat refused:later repeat stop"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		m := lines(t, b.String())[3]
		if m["count"] != 99.0 || m["first_id"] != "r0" || m["last_id"] != "r99" || m["method"] != "delete" || m["reason"] != "not_allowed" {
			t.Errorf("repeat line: %v", m)
		}
		verified(t, b.String(), 7)
	})
}

// One legacy key among many placeholders has a line of its own.
func TestRefusalsOfAnotherKindOfCallerAreNotCountedTogether(t *testing.T) {
	var b buffer
	l := open(t, audit.Options{Sink: &b})
	for _, e := range []audit.Event{
		{ID: "a", CallerCredential: audit.CredPlaceholder},
		{ID: "b", CallerCredential: audit.CredLiveKey},
		{ID: "c", CallerCredential: audit.CredPlaceholder, Listener: "other"},
		{ID: "d", CallerCredential: audit.CredPlaceholder, SudoAsLogin: "ann"},
		{ID: "e", CallerCredential: audit.CredLiveKey},
	} {
		e.Kind, e.Method, e.Reason = audit.RefusedCall, "delete", "no_rule"
		if err := l.Refused(&e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := kinds(t, b.String()), "start refused:a refused:b refused:c refused:d repeat stop"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if m := lines(t, b.String())[5]; m["caller_credential"] != "live_key" || m["last_id"] != "e" {
		t.Errorf("repeat line: %v", m)
	}
}

// TestRefusalsOfTwoWaysInAreCountedApart: the same call by RPC and by REST.
func TestRefusalsOfTwoWaysInAreCountedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		l := open(t, audit.Options{Sink: &b})
		for i := range 4 {
			e := refused(fmt.Sprint("r", i), "127.0.0.1", "delete")
			e.CallKind = []string{"rpc", "rest"}[i%2]
			if err := l.Refused(&e); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		repeats := map[any]any{}
		for _, m := range lines(t, b.String()) {
			if m["ev"] == "repeat" {
				repeats[m["kind"]] = m["count"]
			}
		}
		if len(repeats) != 2 || repeats["rpc"] != 1.0 || repeats["rest"] != 1.0 {
			t.Errorf("repeat lines by kind: %v", repeats)
		}
	})
}

// refused is a refusal of a caller's that chooses what it asks for.
func refused(id, caller, method string) audit.Event {
	return audit.Event{
		Kind: audit.RefusedCall, ID: id, Listener: "tools", Caller: caller, Script: "ev", CallKind: "rpc", Method: method, Group: "write",
		Types: []string{"T" + method}, Decision: audit.Refuse, Rule: "stagedoor.yaml:" + method, Reason: "no_rule",
		CallerCredential: audit.CredPlaceholder, SudoAsLogin: "u" + method,
	}
}

// refusals is how many calls the refused and repeat lines of a log stand for.
func refusals(t *testing.T, log string) (calls, alone, repeats int) {
	t.Helper()
	for _, m := range lines(t, log) {
		switch m["ev"] {
		case "refused":
			alone++
			calls++
		case "repeat":
			n, ok := m["count"].(float64)
			if !ok {
				t.Errorf("repeat line: %v", m)
			}
			repeats++
			calls += int(n)
		}
	}
	return calls, alone, repeats
}

// TestCallerCannotFillTheLogWithFreshRefusals: what makes each of them another
// kind is the caller's to choose, and rotation would delete all else.
func TestCallerCannotFillTheLogWithFreshRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const windows, calls = 3, 2000
		var b buffer
		l := open(t, audit.Options{Sink: &b})
		for w := range windows {
			for i := range calls {
				e := refused(fmt.Sprint("r", w, "-", i), "127.0.0.1", fmt.Sprint("m", w, "-", i))
				if err := l.Refused(&e); err != nil {
					t.Fatal(err)
				}
			}
			pause(audit.RepeatWindow + time.Second)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		n, alone, repeats := refusals(t, b.String())
		if n != windows*calls || alone != windows*(audit.MaxKinds+1) || repeats != windows {
			t.Errorf("%d of %d calls, in %d refused and %d repeat lines", n, windows*calls, alone, repeats)
		}
		verified(t, b.String(), 2+alone+repeats)
		for _, m := range lines(t, b.String()) {
			if m["ev"] != "repeat" {
				continue
			}
			if m["first_id"] != fmt.Sprint("r0-", audit.MaxKinds) || m["last_id"] != fmt.Sprint("r0-", calls-1) ||
				m["listener"] != "tools" || m["caller"] != "127.0.0.1" || m["script"] != "ev" || m["reason"] != "no_rule" ||
				m["decision"] != "refuse" || m["caller_credential"] != "placeholder" {
				t.Errorf("repeat line: %v", m)
			}
			for _, chosen := range []string{"kind", "method", "group", "types", "rule", "sudo_as_login"} {
				if _, ok := m[chosen]; ok {
					t.Errorf("a line for many kinds has %s: %v", chosen, m)
				}
			}
			break
		}
	})
}

// What one caller does takes nothing from what is told of others, and a legacy
// key shows whatever else there is.
func TestFreshRefusalsHideNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		l := open(t, audit.Options{Sink: &b})
		refuse := func(e audit.Event) {
			t.Helper()
			if err := l.Refused(&e); err != nil {
				t.Error(err)
			}
		}
		for i := range audit.MaxKinds + 10 {
			refuse(refused("fresh", "127.0.0.1", fmt.Sprint("m", i)))
		}
		for _, change := range []func(*audit.Event){
			func(e *audit.Event) { e.ID, e.CallerCredential = "key", audit.CredLiveKey },
			func(e *audit.Event) { e.ID, e.CallerCredential = "old key", audit.CredOldKey },
			func(e *audit.Event) { e.ID, e.Caller = "caller", "127.0.0.2" },
			func(e *audit.Event) { e.ID, e.Script = "script", "other" },
			func(e *audit.Event) { e.ID, e.Reason = "reason", "sudo" },
			func(e *audit.Event) { e.ID, e.Listener = "listener", "other" },
		} {
			e := refused("", "127.0.0.1", "another")
			change(&e)
			refuse(e)
			if got := kinds(t, b.String()); !strings.HasSuffix(got, " refused:"+e.ID) {
				t.Errorf("%s is not told at once", e.ID)
			}
		}
		// A window that was there keeps its count.
		refuse(refused("again", "127.0.0.1", "m0"))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		own := slices.ContainsFunc(lines(t, b.String()), func(m map[string]any) bool {
			return m["ev"] == "repeat" && m["method"] == "m0" && m["count"] == 1.0 && m["last_id"] == "again"
		})
		if !own {
			t.Errorf("no repeat line of m0:\n%s", b.String())
		}
	})
}

// TestFirstOfManyKindsIsWrittenOrTriedAgain: a line that was not written is not
// repeated by others.
func TestFirstOfManyKindsIsWrittenOrTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		l := open(t, audit.Options{Sink: &b})
		for i := range audit.MaxKinds {
			e := refused("fresh", "127.0.0.1", fmt.Sprint("m", i))
			if err := l.Refused(&e); err != nil {
				t.Fatal(err)
			}
		}
		b.set(func() { b.fail = errors.New("no space") })
		e := refused("lost", "127.0.0.1", "x")
		if err := l.Refused(&e); err == nil {
			t.Error("no error of a sink that fails")
		}
		b.set(func() { b.fail = nil })
		e = refused("first", "127.0.0.1", "y")
		if err := l.Refused(&e); err != nil {
			t.Error(err)
		}
		if got := kinds(t, b.String()); !strings.HasSuffix(got, "refused:first") {
			t.Error(got)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// However many callers there are (each loopback address is one), nobody's
// refusals are written one by one.
func TestRefusalKindsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const windows, callers = 2, audit.MaxRepeats + audit.MaxGroups + 500
		var b buffer
		l := open(t, audit.Options{Sink: &b})
		for i := range windows * 2 * callers {
			e := refused("r", fmt.Sprint("c", i%callers), "delete")
			if err := l.Refused(&e); err != nil {
				t.Fatal(err)
			}
			if i == 2*callers-1 {
				pause(audit.RepeatWindow + time.Second)
			}
		}
		key := refused("key", "late", "delete")
		key.CallerCredential = audit.CredLiveKey
		if err := errors.Join(l.Refused(&key), l.Close()); err != nil {
			t.Fatal(err)
		}
		n, alone, repeats := refusals(t, b.String())
		const most = audit.MaxRepeats + audit.MaxGroups + 1
		if want := windows*2*callers + 1; n != want || alone != windows*most+1 || repeats != windows*most {
			t.Errorf("%d of %d calls, in %d refused and %d repeat lines, want %d of each in a window", n, want, alone, repeats, most)
		}
		rest := slices.IndexFunc(lines(t, b.String()), func(m map[string]any) bool {
			return m["ev"] == "repeat" && m["count"] == 999.0
		})
		if rest < 0 {
			t.Fatal("no line for everything else")
		}
		m := lines(t, b.String())[rest]
		for _, of := range []string{"listener", "caller", "script", "reason", "method", "decision"} {
			if _, ok := m[of]; ok {
				t.Errorf("the line for everything else has %s: %v", of, m)
			}
		}
		if m["caller_credential"] != "placeholder" {
			t.Errorf("the line for everything else: %v", m)
		}
		verified(t, b.String(), 2+alone+repeats)
	})
}

// A refusal names few types: what is refused is the caller's to choose.
func TestRefusalsNameFewTypes(t *testing.T) {
	types := make([]string, audit.MaxList+6)
	for i := range types {
		types[i] = fmt.Sprint("Type", i)
	}
	var b buffer
	l := open(t, audit.Options{Sink: &b})
	call := audit.Event{Kind: audit.Intent, ID: "a", Types: types}
	no := audit.Event{Kind: audit.RefusedCall, ID: "b", Reason: "no_rule", Types: types}
	if err := errors.Join(l.Append(&call), l.Refused(&no), l.Refused(&no)); err != nil {
		t.Fatal(err)
	}
	// One type more is another kind, also among those that are not named.
	no.Types = append(no.Types, "More")
	few := audit.Event{Kind: audit.RefusedCall, ID: "c", Reason: "no_rule", Types: types[:audit.MaxRefusedTypes]}
	if err := errors.Join(l.Refused(&no), l.Refused(&few), l.Refused(&few), l.Close()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range lines(t, b.String()) {
		if ts, ok := m["types"].([]any); ok {
			got = append(got, fmt.Sprint(m["ev"], " ", len(ts), " ", m["types_more"]))
		}
	}
	slices.Sort(got[4:]) // windows end in no order
	want := []string{
		"intent 64 6", "refused 8 62", "refused 8 63", "refused 8 <nil>", "repeat 8 62", "repeat 8 <nil>",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestClosed(t *testing.T) {
	var b buffer
	l := open(t, audit.Options{Sink: &b})
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	l.Note(outcome("a"))
	for _, err := range []error{l.Append(intent("a")), l.Healthy(), l.Reopen()} {
		if !errors.Is(err, audit.ErrClosed) {
			t.Error(err)
		}
	}
	if _, err := audit.Open(audit.Options{}); err == nil {
		t.Error("a log without a sink")
	}
}

func TestRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, audit.Options{Path: path, MaxSize: 20000, Keep: 1000, MinFree: -1})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				id := fmt.Sprint(i, "-", j)
				if err := l.Append(intent(id)); err != nil {
					t.Error(err)
				}
				l.Note(outcome(id))
				if err := l.Refused(&audit.Event{Kind: audit.RefusedCall, ID: id, Method: fmt.Sprint(j / 10)}); err != nil {
					t.Error(err)
				}
				if j%50 == 0 {
					if err := errors.Join(l.Reopen(), l.Healthy()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files := rotatedFiles(t, path)
	if len(files) < 10 {
		t.Errorf("%d files", len(files))
	}
	n, err := audit.VerifyFiles(files...)
	if err != nil || n < 3200 {
		t.Errorf("%d lines, %v", n, err)
	}
}

// BenchmarkLine is one line encoded and chained; it doesn't measure a write.
func BenchmarkLine(b *testing.B) {
	l, err := audit.Open(audit.Options{Sink: io.Discard})
	if err != nil {
		b.Fatal(err)
	}
	e := audit.Event{
		Kind: audit.Intent, ID: "01JD4Z6Q8W0V7N2M5K3H9T1XEC", Listener: "tools", Caller: "127.0.0.1",
		Script: "ev-rollup", SiteName: "ev_rollup_prod", Method: "read", Group: "read",
		Types: []string{"Shot", "Task"}, Parts: 1, Cost: 1, Decision: audit.Allow, Rule: "stagedoor.yaml:41",
		KeyVersion: "7", CallerCredential: audit.CredPlaceholder, BytesIn: 612,
	}
	b.ReportAllocs()
	for b.Loop() {
		audit.Encode(l, &e)
	}
	_ = l.Close()
}

// BenchmarkAppend is an intent and its outcome, one caller, into a file.
func BenchmarkAppend(b *testing.B) {
	benchmarkAppend(b, func(f func()) {
		for b.Loop() {
			f()
		}
	})
}

// BenchmarkAppendParallel is the same from 64 callers at once.
func BenchmarkAppendParallel(b *testing.B) {
	b.SetParallelism(32)
	benchmarkAppend(b, func(f func()) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				f()
			}
		})
	})
}

func benchmarkAppend(b *testing.B, run func(func())) {
	b.Helper()
	l, err := audit.Open(audit.Options{Path: filepath.Join(b.TempDir(), "audit.log"), MinFree: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	run(func() {
		e := audit.Event{
			Kind: audit.Intent, ID: "01JD4Z6Q8W0V7N2M5K3H9T1XEC", Listener: "tools", Caller: "127.0.0.1",
			Script: "ev-rollup", SiteName: "ev_rollup_prod", Method: "read", Group: "read",
			Parts: 1, Cost: 1, Decision: audit.Allow, Rule: "stagedoor.yaml:41",
			KeyVersion: "7", CallerCredential: audit.CredPlaceholder, BytesIn: 612,
		}
		if err := l.Append(&e); err != nil {
			b.Error(err)
		}
		o := audit.Event{
			Kind: audit.Outcome, ID: "01JD4Z6Q8W0V7N2M5K3H9T1XEC", Status: 200, BytesOut: 4096,
			Upstream: 42 * time.Millisecond, Total: 43 * time.Millisecond, Result: audit.ResultOK,
		}
		l.Note(&o)
	})
	if err := l.Close(); err != nil {
		b.Error(err)
	}
}
