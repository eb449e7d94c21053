package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"stagedoor/flowsite"
	"stagedoor/internal/parts"
)

const onePlaylist = `sg.create('Playlist', {'code': 'Wednesday'})['type']`

// playlistRules allow what these tests do.
const playlistRules = "    limit: {rate: 10000/s, burst: 100000, in_flight: 64}\n    allow: [{read: [Shot, Playlist]}, {create: Playlist}]\n"

// applied is how many playlists the site has made.
func applied(site *theSite) int {
	n := 0
	for _, e := range site.EventLog() {
		if e.Type == "Shotgun_Playlist_New" {
			n++
		}
	}
	return n
}

// The old client sends a call that failed up to six times. It must not get an
// answer that makes it: the site does the call once, whatever becomes of the
// answer.
func TestAWriteWhoseAnswerIsLostIsDoneOnce(t *testing.T) {
	t.Parallel()
	faults := map[string]flowsite.Fault{
		"502":   {Status: 502},
		"504":   {Status: 504},
		"reset": {Reset: true},
		"close": {Close: true},
		"cut":   {Truncate: 10},
	}
	// Without Stagedoor it is done again and again: the faults are such.
	t.Run("directly", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"502", "reset", "close"} {
			site := startSite(t, flowsite.Options{})
			fail(site, faults[name])
			p := startTool(t, parts.OldClient, site.URL, "ca_certs="+quoted(t, site.CAFile), "script_name="+quoted(t, siteScript), "api_key="+quoted(t, siteKey))
			if got := p.Do(onePlaylist); got.Class == "" || applied(site) < 2 {
				t.Errorf("%s: directly, the site did the call %d times: %s", name, applied(site), got)
			}
		}
	})
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			for _, rest := range []string{"", "upstream: {http2: off}\n"} {
				site := startSite(t, flowsite.Options{})
				s := serve(t, scriptConfig(site, "file: "+keyFile(t), rest)+playlistRules)
				p := startTool(t, version, s.base("tools"))
				done := 0
				for _, warm := range []bool{false, true} {
					for name, f := range faults {
						if warm { // the connection is a kept one
							p.OK(oneShot)
						}
						fail(site, f)
						got := p.Do(onePlaylist)
						site.ClearFaults()
						done++
						if got.Class != "ProtocolError" || !strings.Contains(got.Text, "500 Internal Server Error") {
							t.Errorf("%s: the client got %s", name, got)
						}
						if n := applied(site); n != done {
							t.Errorf("%s: the site has done %d calls of %d", name, n, done)
							done = n
						}
					}
				}
				if got := p.OK(onePlaylist); got != `"Playlist"` {
					t.Errorf("afterwards: %s", got)
				}
			}
		})
	}
}

// fail lets every create be done and its answer lost.
func fail(site *theSite, f flowsite.Fault) {
	f.Method, f.After = "create", true
	site.Fail(f, 0)
}

// quoted is a text as JSON, and as Python; or a list of several.
func quoted(t *testing.T, texts ...string) string {
	t.Helper()
	var v any = texts
	if len(texts) == 1 {
		v = texts[0]
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A read is safe to send again: the client sees nothing of a kept connection
// that dies under it.
func TestAReadOutlivesItsConnection(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			for _, f := range []flowsite.Fault{{Method: "read", Reset: true}, {Method: "read", Close: true}} {
				site := startSite(t, flowsite.Options{})
				s := serve(t, scriptConfig(site, "file: "+keyFile(t), "upstream: {http2: off}\n")+playlistRules)
				p := startTool(t, version, s.base("tools"))
				p.OK(oneShot)
				site.Fail(f, 1)
				seen := site.Calls()
				if got := p.OK(oneShot); !strings.Contains(got, "harbour_sq01_0010") {
					t.Errorf("got %s", got)
				}
				if n := site.Calls() - seen; n != 2 {
					t.Errorf("the site saw the call %d times", n)
				}
				s.AwaitAudit(`"retried":"connection_died"`)
			}
		})
	}
}

// Whoever closes an idle connection first, the next call is served, once, be
// it a read or a write. The test waits for the close itself, at both sides.
func TestACallAfterItsConnectionWasClosed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, rest string
		idle       time.Duration // of the site
	}{
		{"by Stagedoor", "upstream: {idle: 100ms}\n", time.Hour},
		{"by Stagedoor on HTTP1", "upstream: {idle: 100ms, http2: off}\n", time.Hour},
		{"by the site", "upstream: {idle: 1h}\n", 50 * time.Millisecond},
		{"by the site on HTTP1", "upstream: {idle: 1h, http2: off}\n", 50 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			site := idlingSite(t, flowsite.Options{}, test.idle)
			s := serve(t, scriptConfig(site.theSite, "file: "+keyFile(t), test.rest)+playlistRules)
			for _, version := range clients() {
				p := startTool(t, version, s.base("tools"))
				p.OK(oneShot)
				for range 2 {
					made := applied(site.theSite)
					<-site.closed
					if got := p.Do(oneShot); !strings.Contains(got.String(), "harbour_sq01_0010") {
						t.Errorf("a read: %s", got)
					}
					<-site.closed
					if got := p.Do(onePlaylist); got.String() != `"Playlist"` {
						t.Errorf("a write: %s", got)
					}
					if n := applied(site.theSite) - made; n != 1 {
						t.Errorf("the site made %d playlists", n)
					}
				}
				<-site.closed // so that the next client's first is its own
			}
		})
	}
}

// The site closes connections that were idle for 267 ms, Stagedoor drops them
// after 200 ms: as 20 s and 15 s. Of a thousand reads with pauses around that
// none fails. Ten Stagedoors, so that it is over sooner; each has one tool, or
// connections would never be idle.
func TestAThousandReadsAtASiteThatClosesIdleConnections(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := idlingSite(t, flowsite.Options{}, 267*time.Millisecond)
			rest := "upstream: {idle: 200ms}\n"
			if version == parts.OldClient {
				rest = "upstream: {idle: 200ms, http2: off}\n"
			}
			var bases []string
			for range 10 {
				bases = append(bases, serve(t, scriptConfig(site.theSite, "file: "+keyFile(t), rest)+playlistRules).base("tools"))
			}
			p := startTool(t, version, bases[0])
			p.Run(`
import random, threading
failures, served = [], []

def reads(base_url):
    pauses, client = random.Random(base_url), new(base_url)
    for _ in range(100):
        try:
            served.append(client.find_one('Shot', [['id', 'is', 1]], ['code'])['code'])
        except Exception as e:
            failures.append(repr(e))
        time.sleep(pauses.uniform(0.15, 0.35))  # the tool's work between its calls

threads = [threading.Thread(target=reads, args=(base_url,)) for base_url in ` + quoted(t, bases...) + `]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
`)
			if got := p.OK(`[len(served), len(set(served)), failures]`); got != `[1000, 1, []]` {
				t.Errorf("served, different ones, failures: %s", got)
			}
			conns, reused := map[int64]bool{}, 0
			for _, r := range site.Received() {
				conns[r.Conn] = true
				if r.Reused {
					reused++
				}
			}
			if len(conns) < 100 || reused < 100 {
				t.Errorf("%d connections, %d calls on one that had been idle: nothing was tried", len(conns), reused)
			}
		})
	}
}

// The policy changes again and again while a tool is at work: none of its calls
// fails, and a file that is wrong changes nothing.
func TestThePolicyChangesUnderATool(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, flowsite.Options{})
			s := serve(t, scriptConfig(site, "file: "+keyFile(t), "")+playlistRules)
			text, err := os.ReadFile(s.Config)
			if err != nil {
				t.Fatal(err)
			}
			p, other := startTool(t, version, s.base("tools")), startTool(t, version, s.base("tools"))
			enough := filepath.Join(t.TempDir(), "enough")
			p.Run(fmt.Sprintf(`
def work():
    done = 0
    while not os.path.exists(%q):
        assert sg.find_one('Shot', [['id', 'is', 1]], ['code'])['code'] == 'harbour_sq01_0010'
        done += 1
    return done
`, enough))
			p.Begin("work()")
			reload := func(config string, outcome string, n int) {
				t.Helper()
				write(t, s.Config, 0o644, config)
				s.Signal(syscall.SIGHUP)
				s.AwaitLogs(outcome, n)
			}
			without := strings.Replace(string(text), "{create: Playlist}", "{create: Version}", 1)
			for i := range 5 {
				reload(without, `"msg":"configuration reloaded"`, 2*i+1)
				if got := other.Do(onePlaylist); !strings.HasPrefix(got.String(), "Fault: Stagedoor: comp-publisher may not create Playlist") {
					t.Errorf("without the rule: %s", got)
				}
				reload(without+"      - {raed: Shot}\n", `the old one stays in force`, 2*i+1)
				reload(string(text)+"nonsense: 1\n", `the old one stays in force`, 2*i+2)
				if got := other.Do(onePlaylist); got.Class != "Fault" {
					t.Errorf("a wrong file came into force: %s", got)
				}
				reload(string(text), `"msg":"configuration reloaded"`, 2*i+2)
				if got := other.Do(onePlaylist); got.String() != `"Playlist"` {
					t.Errorf("with the rule again: %s", got)
				}
			}
			write(t, enough, 0o600, "")
			if done := p.End(); done.Class != "" || len(done.Result) < 2 {
				t.Errorf("the tool's calls while the policy changed: %s", done)
			}
		})
	}
}

// A tool whose call is at the site gets its answer though Stagedoor is told to
// end, and it ends well.
func TestATermDoesNotCostACallInFlight(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, flowsite.Options{})
			there, hold := make(chan struct{}), make(chan struct{})
			s := serve(t, scriptConfig(site, "file: "+keyFile(t), "")+playlistRules)
			p := startTool(t, version, s.base("tools"))
			p.OK(oneShot)
			site.BeforeReply(func(flowsite.Received) { close(there); <-hold })
			p.Begin(onePlaylist)
			<-there
			s.Signal(syscall.SIGTERM)
			s.AwaitLog(`"msg":"draining"`)
			// Once it takes no more connections, an answer says that its own ends.
			for address := s.Address("tools"); ; {
				c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
				if err != nil {
					break
				}
				_ = c.Close()
			}
			close(hold)
			if got := p.End(); got.String() != `"Playlist"` {
				t.Errorf("the call in flight: %s", got)
			}
			s.AwaitEnd()
			if s.err != nil {
				t.Errorf("stagedoor ended with %v", s.err)
			}
			if got := p.Do(oneShot); got.Class != "ConnectionRefusedError" {
				t.Errorf("the next call: %s", got)
			}
			if applied(site) != 1 {
				t.Errorf("the site made %d playlists", applied(site))
			}
		})
	}
}

// A write that the site is still at when the drain is over is answered: a
// connection that is dropped would make an old client send it again, and the
// next process would do it twice.
func TestAWriteThatADrainCutsIsNotSentAgain(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, flowsite.Options{})
			there, hold := make(chan struct{}), make(chan struct{})
			t.Cleanup(func() { close(hold) })
			s := serve(t, scriptConfig(site, "file: "+keyFile(t), "drain: 0s")+playlistRules)
			p := startTool(t, version, s.base("tools"))
			p.OK(oneShot)
			site.BeforeReply(func(flowsite.Received) { close(there); <-hold })
			p.Begin(onePlaylist)
			<-there
			s.Signal(syscall.SIGTERM)
			if got := p.End(); got.Class != "ProtocolError" || !strings.Contains(got.Text, "500") {
				t.Errorf("the call that was cut: %s", got)
			}
			s.AwaitEnd()
			if s.err != nil || applied(site) != 1 {
				t.Errorf("ended with %v, %d playlists made", s.err, applied(site))
			}
		})
	}
}

// A caller that hangs up while its call is held leaves the queue: its call is
// not sent, and what it would have cost is there for the next.
func TestACallerThatHangsUpWhileHeldCostsNothing(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "")+
		"    limit: {rate: 1/m, burst: 3, in_flight: 1, max_hold: 10m, queue: 1}\n    allow: [{read: Shot}]\n")
	p := startTool(t, parts.NewestClient, s.base("tools"))
	there, hold := make(chan struct{}), make(chan struct{})
	site.Fail(flowsite.Fault{Method: "read", Hold: hold, Match: func(flowsite.Received) bool { close(there); return true }}, 1)
	p.Begin(oneShot) // with its info, two calls of three
	<-there

	// Of two more calls one waits in the queue, which has one place; the other
	// is refused, and that tells that the first waits.
	answers := make(chan string, 2)
	hangUp := []func(){waitingCall(t, s.Address("tools"), answers), waitingCall(t, s.Address("tools"), answers)}
	if got := <-answers; got != "queue_full" {
		t.Fatalf("a call beyond the queue was answered %q", got)
	}
	for _, f := range hangUp {
		f()
	}
	s.AwaitAudit(`"result":"aborted"`)
	close(hold)
	if got := p.End(); !strings.Contains(got.String(), "harbour_sq01_0010") {
		t.Errorf("the call at the site: %s", got)
	}
	if got := p.OK(oneShot); !strings.Contains(got, "harbour_sq01_0010") {
		t.Errorf("the next: %s", got)
	}
	wellBehaved(t, site, 3)
	s.Stop()
	for _, r := range s.Records() {
		if r["ev"] == "outcome" && r["hold_ms"] != nil && fmt.Sprint(r["hold_ms"]) != "0" {
			t.Errorf("a call was held: %v", r)
		}
	}
}

// waitingCall sends a read on a connection of its own. The word by which it is
// refused goes to answers; what comes back hangs up.
func waitingCall(t *testing.T, address string, answers chan<- string) (hangUp func()) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	const body = `{"method_name":"read","params":[{"type":"Shot","return_fields":["code"],"filters":{"logical_operator":"and","conditions":[]},` +
		`"return_only":"active","paging":{"entities_per_page":1,"current_page":1}}]}`
	_, err = fmt.Fprintf(c, "POST /api3/json HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", address, len(body), body)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if res, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			_ = res.Body.Close()
			answers <- res.Header.Get("Stagedoor-Refused")
		}
	}()
	return func() { _ = c.Close() }
}

// authenticate_human_user is refused unless the policy forwards it, and then it
// is the site that says yes or no: the script's key never stands in for a
// person's password.
func TestNoPasswordIsRightBecauseTheScriptsKeyIs(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			for _, forward := range []bool{false, true} {
				site := startSite(t, flowsite.Options{})
				site.AddUser(flowsite.Person{Login: "ann", Password: "ann's pass"})
				site.AddUser(flowsite.Person{Login: "ben", Password: "ben's pass"})
				rule := ""
				if forward {
					rule = "    user_auth: forward\n"
				}
				s := serve(t, scriptConfig(site, "file: "+keyFile(t), "")+rule+"    allow: [{read: '*'}]\n")
				p := startTool(t, version, s.base("tools"))
				for _, try := range []struct{ login, password, want string }{
					{"ann", "ann's pass", `{"id": 1, "login": "ann", "type": "HumanUser"}`},
					{"ann", "ann's Pass", "null"},
					{"ann", "ben's pass", "null"},
					{"ann", siteKey, "null"},
					{"nobody", "ann's pass", "null"},
					{siteScript, siteKey, "null"},
					{"dan", "x", "null"},
				} {
					want := try.want
					if !forward {
						want = "null"
					}
					got := p.Do(fmt.Sprintf(`sg.authenticate_human_user(%q, %q)`, try.login, try.password))
					// The old client makes nothing of a fault, the new one passes it on.
					no := version == parts.OldClient && got.String() == "null" || version != parts.OldClient && got.Class == "AuthenticationFault"
					if want == "null" && !no || want != "null" && got.String() != want {
						t.Errorf("forward %t: %s with %s: %s", forward, try.login, try.password, got)
					}
				}
				p.Run(`sg = new(script_name=None, api_key=None, login='ann', password="ann's pass")`)
				for _, call := range []string{oneShot, `sg.find('HumanUser', [['login', 'is', 'ann']], ['email'])`, `sg.get_session_token()`} {
					if got := p.Do(call); got.Class != "AuthenticationFault" && got.Class != "Fault" {
						t.Errorf("forward %t: as ann, %s: %s", forward, call, got)
					}
				}
				people := 0
				for _, r := range site.Received() {
					if r.Credential == flowsite.KindUser {
						people++
					}
				}
				if want := map[bool]int{false: 0, true: 7}[forward]; people != want || calls(site) != want {
					t.Errorf("forward %t: the site saw %d calls, %d of people", forward, calls(site), people)
				}
				if v := site.Violations(); len(v) > 0 {
					t.Errorf("the site saw what no client sends: %v", v)
				}
			}
		})
	}
}

// The forms of a base URL that tools are configured with.
func TestBaseURLs(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, flowsite.Options{})
			config := strings.Replace(scriptConfig(site, "file: "+keyFile(t), ""), "listen: [", "listen: ["+
				"{address: 'localhost:0', name: local, identity: none}, {address: 127.0.0.1:0, name: single, identity: none, keepalive: off}, ", 1)
			six := haveIPv6(t)
			if six {
				config = strings.Replace(config, "listen: [", "listen: [{address: '[::1]:0', name: six, identity: none}, ", 1)
			}
			s := serve(t, config+playlistRules)
			p := startTool(t, version, s.base("tools"))
			urls := []string{
				s.base("tools"), s.base("tools") + "/", "http://u:p@" + s.Address("tools"), "http://u:p@" + s.Address("tools") + "/",
				"http://localhost:" + portOf(s.Address("local")), "http://LOCALHOST:" + portOf(s.Address("local")) + "/", s.base("single"),
			}
			if six {
				urls = append(urls, s.base("six"))
			}
			for _, url := range urls {
				p.Run(fmt.Sprintf("sg = new(%q)", url))
				for range 2 {
					if got := p.Do(oneShot); !strings.Contains(got.String(), "harbour_sq01_0010") {
						t.Errorf("%s: %s", url, got)
					}
				}
			}
			wellBehaved(t, site, 3*len(urls))
		})
	}
}

func haveIPv6(t *testing.T) bool {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp6", "[::1]:0")
	if err != nil {
		t.Log("this host has no ::1")
		return false
	}
	return ln.Close() == nil
}

// Whatever credential a tool still carries, the site sees the Script's own, and
// the audit log says what it was: so a studio finds the keys in old code.
func TestTheAuditLogTellsWhatAToolCarried(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, flowsite.Options{})
			s := serve(t, scriptConfig(site, "file: "+keyFile(t), "")+playlistRules)
			p := startTool(t, version, s.base("tools"))
			var want []string
			for _, c := range [][2]string{
				{`sg = new()`, "placeholder"},
				{fmt.Sprintf(`sg = new(script_name=%q, api_key=%q)`, siteScript, siteKey), "live_key"},
				{`sg = new(script_name=None, api_key=None, session_token='0123456789abcdef0123456789abcdef')`, "session"},
			} {
				p.Run(c[0])
				p.OK(oneShot)
				want = append(want, c[1])
			}
			wellBehaved(t, site, 6)
			s.Stop()
			var got []string
			for _, r := range s.Records() {
				if r["ev"] == "intent" && r["method"] == "read" {
					got = append(got, fmt.Sprint(r["caller_credential"]))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("the records have %v, not %v", got, want)
			}
			lacks(t, "the audit log", s.Audit())
		})
	}
}

// Thirty tools with a connection each, at a listener that keeps ten, one call
// after the other: as the bound comes near answers say that the connection
// ends, so that no tool ever finds its own closed.
func TestMoreToolsThanConnections(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, flowsite.Options{})
			s := serve(t, scriptConfig(site, "file: "+keyFile(t), "max_connections: 10\n")+playlistRules)
			p := startTool(t, version, s.base("tools"))
			p.Run(`
tools = [new() for _ in range(30)]
for turn in range(4):
    for tool in tools:
        tool.find_one('Shot', [['id', 'is', 1]], ['code'])
    for tool in tools[turn::3]:
        tool.create('Playlist', {'code': 'Wednesday'})
`)
			if n := applied(site); n != 10+10+10+10-1 {
				t.Errorf("the site made %d playlists", n)
			}
			wellBehaved(t, site, 30+4*30+39)
		})
	}
}

// What docs/operation.md says of restarts.
func TestWhatARestartCosts(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			for _, keepalive := range []string{"on", "off"} {
				site := startSite(t, flowsite.Options{})
				config := func(address string) string {
					return strings.Replace(scriptConfig(site, "file: "+keyFile(t), ""), "address: 127.0.0.1:0,",
						fmt.Sprintf("address: %q, keepalive: %s,", address, keepalive), 1) + playlistRules
				}
				s := serve(t, config("127.0.0.1:0"))
				p := startTool(t, version, s.base("tools"))
				p.OK(oneShot)
				s.Stop()
				serve(t, config(s.Address("tools")))
				first, then := p.Do(onePlaylist), p.Do(onePlaylist)
				want := `"Playlist"`
				if keepalive == "on" && version != parts.OldClient {
					want = "BrokenPipeError"
				}
				if got := first.String(); !strings.HasPrefix(got, want) {
					t.Errorf("keepalive %s: the first call after a restart: %s", keepalive, got)
				}
				if got := then.String(); got != `"Playlist"` {
					t.Errorf("keepalive %s: the second call after a restart: %s", keepalive, got)
				}
				made := 2
				if first.Class != "" {
					made = 1
				}
				if applied(site) != made {
					t.Errorf("keepalive %s: the site made %d playlists", keepalive, applied(site))
				}
			}
		})
	}
}

// Calls and answers of many megabytes.
func TestABigCallAndABigAnswer(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, flowsite.Options{})
			s := serve(t, scriptConfig(site, "file: "+keyFile(t), "")+"    allow: [{read: Shot}, {update: Shot}]\n")
			p := startTool(t, version, s.base("tools"))
			p.Run(`
text = 'a\u00e9\u2028"' * 2000000
sg.update('Shot', 2, {'description': text})
read = sg.find_one('Shot', [['id', 'is', 2]], ['description'])['description']
assert read == text, (len(read), len(text))
`)
			wellBehaved(t, site, 3)
		})
	}
}
