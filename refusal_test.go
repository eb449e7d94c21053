package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"stagedoor/flowsite"
	"stagedoor/internal/parts"
	"stagedoor/proxy"
)

// refusal is one way to be refused, and what the user of the tool reads.
type refusal struct {
	reason proxy.Reason
	// before is done once by the tool, with a client sg of its own; call is
	// what is refused.
	before, call string
	// class is of the exception; "": Fault.
	class string
	// says is in the first line. A refusal that is no fault (the client shows
	// no text of those but of 403) says what the client makes of the status.
	says string
	// advice is the second line; "": there is none.
	advice string
	// reached is how many calls the site saw.
	reached int
	// times are how often the old client tries, where that is not once.
	times int
}

const oneShot = `sg.find_one('Shot', [['id', 'is', 1]], ['code'])`

// refusals are those that a client can bring about on a listener with one
// script, comp-publisher, which may read Shot and write a little.
func refusals() []refusal {
	const notFault = "ProtocolError"
	const mayNot = "comp-publisher may not "
	const toAllow = "to allow it, under scripts.comp-publisher.allow:  - "
	header := func(name, value string) string { return fmt.Sprintf("with_header(sg, %q, %q)", name, value) }
	return []refusal{
		{reason: proxy.BadTarget, before: `sg = new('http://site.invalid', http_proxy=server)`, call: oneShot, class: "HTTPError", says: "(400, b'Bad Request')", times: 3},
		{reason: proxy.BadHost, before: header("host", "site.invalid"), call: oneShot, class: notFault, says: "421 "},
		{reason: proxy.Browser, before: header("origin", "https://site.invalid"), call: oneShot, class: notFault, says: "403 Forbidden: b'Stagedoor: web pages may not call this proxy"},
		{reason: proxy.Browser, before: header("sec-fetch-site", "none"), call: oneShot, class: notFault, says: "403 Forbidden"},
		{reason: proxy.Upgrade, before: header("upgrade", "websocket"), call: oneShot, class: notFault, says: "400 Bad Request"},
		{reason: proxy.Override, before: header("x-http-method-override", "GET"), call: oneShot, class: notFault, says: "400 Bad Request"},
		{reason: proxy.BadRoute, before: `sg.config.api_path = '/api3/rest'`, call: oneShot, class: notFault, says: "404 Not Found"},
		{
			reason: proxy.BadVerb, before: `sg.config.api_path = '/api3/json'; call = sg._make_call; sg._make_call = lambda verb, *rest: call('PUT', *rest)`,
			call: oneShot, class: notFault, says: "405 Method Not Allowed",
		},
		{reason: proxy.ContentType, before: header("content-type", "text/plain"), call: oneShot, class: notFault, says: "415 Unsupported Media Type"},
		{reason: proxy.QueryString, before: `sg.config.api_path += '?a=b'`, call: oneShot, says: "the request's URL has a query string"},
		{reason: proxy.ContentEncoding, before: header("content-encoding", "gzip"), call: oneShot, says: "the request's body has a Content-Encoding"},
		{reason: proxy.TooBig, call: `sg.update('Shot', 1, {'description': 'x' * 70000})`, says: "the request's body is larger than max_body (64 KiB)"},
		{reason: proxy.TooDeep, call: `sg.find('Shot', [__import__('functools').reduce(lambda inner, _: {'filter_operator': 'any', 'filters': [inner]}, range(6), ['id', 'is', 1])])`, says: "the call read: params: nested deeper than 12", advice: "max_depth is the bound"},
		{reason: proxy.BadJSON, call: `sg.update('Shot', 1, {'sg_bid': float('nan')})`, says: "is not strict JSON: "},
		{reason: proxy.BadCall, call: `sg._call_rpc('read', {'type': 1})`, says: "the call read is not as the protocol has it: "},
		{reason: proxy.UnknownMethod, call: `sg._call_rpc('reboot', {})`, says: "no method reboot is known; Stagedoor serves what shotgun_api3 can send"},
		{reason: proxy.NoRule, call: `sg.find('Version', [], ['code'])`, says: mayNot + "read Version", advice: toAllow + "read: Version.code"},
		{reason: proxy.NoRule, call: `sg.find('Shot', [], ['entity.Asset.code'])`, says: mayNot + "read Asset", advice: toAllow + "read: Asset.code"},
		{reason: proxy.NoRule, call: `sg.create('Version', {'code': 'a', 'project': {'type': 'Project', 'id': 65}})`, says: mayNot + "create Version", advice: toAllow + "{create: {Version: [code, project]}, link: Project}"},
		{reason: proxy.NoRule, call: `sg.delete('Shot', 1)`, says: mayNot + "delete Shot", advice: toAllow + "delete: Shot"},
		{reason: proxy.NoRule, call: `sg.schema_field_read('Shot')`, says: mayNot + "read the schema of Shot", advice: toAllow + "schema: Shot"},
		{reason: proxy.NoRule, call: `sg.preferences_read()`, says: mayNot + "read preferences", advice: toAllow + "preferences"},
		{
			reason: proxy.NoRule, call: `sg.batch([{'request_type': 'update', 'entity_type': 'Shot', 'entity_id': 1, 'data': {'description': 'a'}}, {'request_type': 'delete', 'entity_type': 'Task', 'entity_id': 1}])`,
			says: mayNot + "delete Task", advice: toAllow + "delete: Task",
		},
		{reason: proxy.SecretField, call: `sg.find('HumanUser', [], ['salted_password'])`, says: mayNot + "reach HumanUser.salted_password; it holds a credential", advice: "no rule can allow it"},
		{
			reason: proxy.BadHandle, before: `sg = new(script_name=None, api_key=None, session_token=sg.get_session_token()[:-3])`, call: oneShot, class: "AuthenticationFault",
			says: "the session token is none that this proxy knows", advice: "get a new one; after a change of the handle key all are void",
		},
		{
			reason: proxy.Sudo, before: `sg = new(sudo_as_login='ann')`, call: oneShot, says: "comp-publisher may not act as ann; no sudo_as_login grants it",
			advice: "to allow it, under scripts.comp-publisher:  sudo_as_login: [ann]",
		},
		{
			reason: proxy.UserAuth, before: `sg = new(script_name=None, api_key=None, login='ann', password='a password')`, call: oneShot, class: "AuthenticationFault",
			says: mayNot + "", advice: `use script_name and api_key="x"; for a tool that checks passwords: user_auth: forward under scripts.comp-publisher`,
		},
		{reason: proxy.Denied, call: `sg.find('Task', [], ['content'])`, says: mayNot + "read Task.content: stagedoor.yaml:", advice: "to allow it, take it out of that deny rule"},
		{reason: proxy.Project, call: `sg.find('Sequence', [], ['code'])`, says: mayNot + "read Sequence", advice: toAllow + "{read: Sequence.code, projects: {ids: [65], filter: add}}"},
		{reason: proxy.Rows, call: `sg.find('Note', [], ['subject'])`, says: mayNot + "read Note", advice: toAllow + "{read: Note.subject, max_rows: 500}"},
		{
			reason: proxy.Batch, call: `sg.batch([{'request_type': 'update', 'entity_type': 'Note', 'entity_id': i, 'data': {'subject': 'a'}} for i in (1, 2)])`,
			says: mayNot + "update Note", advice: toAllow + "{update: Note.subject, max_batch: 2}",
		},
		{reason: proxy.Condition, call: `sg.find('Step', [], ['code'])`, says: mayNot + "read Step", advice: toAllow + "read: Step.code # without the condition of stagedoor.yaml:19"},
		{reason: proxy.SiteFailed, call: `sg.create('Playlist', {'code': 'reset'})`, class: notFault, says: "500 Internal Server Error", reached: 1},
		{reason: proxy.SiteRedirect, call: `sg.update('Shot', 7, {'description': 'redirected'})`, class: notFault, says: "500 Internal Server Error", reached: 1},
		{reason: proxy.SiteRedirect, call: `sg.update('Shot', 8, {'description': 'redirected'})`, class: notFault, says: "500 Internal Server Error", reached: 1},
	}
}

// Every refusal that the user of a Python tool should read is a fault whose
// message says in its first line, which stands alone, what is refused and whom
// to ask, and in its second what to do. It is counted once, because the client
// does not send it again, and recorded under the id that the user reads.
func TestWhatAnArtistReadsOfARefusal(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, flowsite.Options{})
			site.Fail(flowsite.Fault{Method: "create", Type: "Playlist", After: true, Reset: true}, 0)
			id := func(n int) func(flowsite.Received) bool {
				return func(r flowsite.Received) bool {
					return strings.Contains(fmt.Sprint(r.Params), fmt.Sprintf("id:%d ", n))
				}
			}
			site.Fail(flowsite.Fault{Method: "update", Match: id(7), Status: 303, Location: "https://site.invalid/"}, 0)
			site.Fail(flowsite.Fault{Method: "update", Match: id(8), Status: 308, Location: "https://site.invalid/"}, 0)
			s := serve(t, scriptConfig(site, "file: "+keyFile(t), "max_body: 64KiB\nmax_depth: 12\n")+
				`    allow:
      - {read: [Shot, Task], create: Playlist, update: Shot.description}
      - {read: Sequence, projects: [65]}
      - {read: Note, max_rows: 10}
      - {update: Note.subject, max_batch: 1}
      - {read: Step, where: call.page_size < 10}
    deny: [{read: Task.content}]
`)
			p := startTool(t, version, s.base("tools"))
			p.Run(fmt.Sprintf("base, server = %q, %q", s.base("tools"), s.Address("tools")))
			for _, r := range refusals() {
				s.refuses(p, site, r)
			}
			if text := p.OK(oneShot); !strings.Contains(text, "harbour_sq01_0010") {
				t.Errorf("after all that: %s", text)
			}
			if v := site.Violations(); len(v) > 0 {
				t.Errorf("the site saw what no client sends: %v", v)
			}
		})
	}
}

// refuses lets the tool do what has to be refused.
func (s *stagedoor) refuses(p *tool, site *theSite, r refusal) {
	t := s.t
	t.Helper()
	what := string(r.reason) + ": " + r.call
	p.Run("sg = new()")
	if r.before != "" {
		p.Run(r.before)
	}
	counted, seen := s.refusedTotal(r.reason), calls(site)
	got := p.Do(r.call)
	times := 1
	if r.times > 0 && p.version == parts.OldClient {
		times = r.times
	}
	if n := s.refusedTotal(r.reason) - counted; n != times {
		t.Errorf("%s\n was refused %d times", what, n)
	}
	if n := calls(site) - seen; n != r.reached {
		t.Errorf("%s\n the site saw %d calls", what, n)
	}
	class := r.class
	if class == "" {
		class = "Fault"
	}
	if got.Class != class {
		t.Errorf("%s\n got %s", what, got)
		return
	}
	if class == "ProtocolError" || class == "HTTPError" {
		if !strings.Contains(got.Text, r.says) {
			t.Errorf("%s\n got %s", what, got)
		}
		return
	}
	id := artistReads(t, what, got.Text, r.says, r.advice)
	s.recorded(what, id, r.reason)
}

// artistReads checks the text of a fault and gives the request id in it.
func artistReads(t *testing.T, what, text, says, advice string) string {
	t.Helper()
	first, second, _ := strings.Cut(text, "\n")
	m := regexp.MustCompile(`^Stagedoor: .+\. Ask #pipeline, with the request id ([0-9A-Z]{26})\.$`).FindStringSubmatch(first)
	if m == nil || !strings.Contains(first, says) {
		t.Errorf("%s\n the first line is %q,\n not %q", what, first, says)
		return ""
	}
	if strings.TrimSpace(second) != advice {
		t.Errorf("%s\n the second line is  %q,\n not %q", what, second, advice)
	}
	return m[1]
}

// recorded checks that the audit log has the refusal of that id once, and for
// a call that was sent that it was to be sent.
func (s *stagedoor) recorded(what, id string, reason proxy.Reason) {
	s.t.Helper()
	if id == "" {
		return
	}
	s.AwaitAudit(`"reason":"` + string(reason) + `"`)
	var of []string
	for _, r := range s.Records() {
		if r["id"] == id {
			of = append(of, fmt.Sprint(r["ev"], " ", r["reason"]))
		}
	}
	if want := []string{"refused " + string(reason)}; !slices.Equal(of, want) &&
		!slices.Equal(of, []string{"intent <nil>", "outcome " + string(reason)}) {
		s.t.Errorf("%s\n the records of %s are %v", what, id, of)
	}
}

// refusedTotal is the metric.
func (s *stagedoor) refusedTotal(reason proxy.Reason) int {
	s.t.Helper()
	_, metrics := s.Get("/metrics")
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^stagedoor_refused_total\{reason="`+string(reason)+`",script="[^"]*"\} (\d+)$`).FindAllStringSubmatch(metrics, -1) {
		i, err := strconv.Atoi(m[1])
		if err != nil {
			s.t.Fatal(err)
		}
		n += i
	}
	return n
}

// calls is how many calls the site has received, without info.
func calls(site *theSite) int {
	n := 0
	for _, r := range site.Received() {
		if r.Method != "info" {
			n++
		}
	}
	return n
}

// Where a listener serves several scripts, the name that the tool sends picks
// one; a call that names none, or another, is told so.
func TestWhatAnArtistReadsWhereTheScriptIsNotKnown(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, flowsite.Options{})
			config := strings.Replace(scriptConfig(site, "file: "+keyFile(t), ""), "identity: none", "identity: none, shared: true", 1)
			s := serve(t, config+"    allow: [{read: Shot}]\n  ingest:\n    file: "+keyFile(t)+"\n    allow: [{read: Task}]\n")
			p := startTool(t, version, s.base("tools"))
			if got := p.OK(oneShot); !strings.Contains(got, "harbour_sq01_0010") {
				t.Errorf("comp-publisher got %s", got)
			}
			s.refuses(p, site, refusal{
				reason: proxy.NoRule, before: `sg = new(script_name='ingest')`, call: oneShot, says: "ingest may not read Shot",
				advice: "to allow it, under scripts.ingest.allow:  - read: Shot.code",
			})
			s.refuses(p, site, refusal{
				reason: proxy.ScriptUnknown, before: `sg = new(script_name='roto')`, call: oneShot, says: "the script roto is not served on this listener",
				advice: "it serves comp-publisher, ingest; check the tool's script_name",
			})
			s.refuses(p, site, refusal{
				reason: proxy.ScriptUnnamed, before: `sg = new(script_name=None, api_key=None, session_token='a session')`, call: oneShot,
				says:   "the call names no script and this listener serves several",
				advice: `set script_name in the tool (api_key="x" will do), or default_script on the listener`,
			})
		})
	}
}

// Calls over the limit, past the queue, without a key and with one that the
// site refuses.
func TestWhatAnArtistReadsWhenACallCantBeServed(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, flowsite.Options{})
			try := func(script string, r refusal) {
				t.Helper()
				s := serve(t, scriptConfig(site, script, "")+"    sudo_as_login: [ann]\n    allow: [{read: Shot}]\n")
				s.refuses(startTool(t, version, s.base("tools")), site, r)
			}
			// A call before it, with its info, takes what there is.
			const before = `sg.find_one('Shot', []); sg.find_one('Shot', [])`
			try("file: "+keyFile(t)+"\n    limit: {rate: 1/m, burst: 3, max_hold: 100ms}", refusal{
				reason: proxy.RateLimit, before: before, call: oneShot, says: "comp-publisher is over its rate limit, after a wait of ",
			})
			try("file: "+keyFile(t)+"\n    limit: {rate: 1/m, burst: 3, queue: 0}", refusal{
				reason: proxy.QueueFull, before: before, call: oneShot, says: "comp-publisher is over its rate limit and too many of its calls are waiting; try again in ",
			})
			missing := filepath.Join(t.TempDir(), "none.json")
			try("file: "+missing, refusal{reason: proxy.NoKey, call: oneShot, says: "the key file can't be opened: open " + missing})

			key := keyFile(t)
			if err := site.RotateKey(siteScript, "another key, made by hand at the site"); err != nil {
				t.Fatal(err)
			}
			try("file: "+key, refusal{
				reason: proxy.KeyRefused, call: oneShot, says: "the site refuses the key", reached: 1,
				advice: "put the Script's current key into its source; Stagedoor takes it up within 30s",
			})
			// On a call with sudo_as_login the fault says nothing of the key: one call
			// without it does, and then it is the same.
			try("file: "+key, refusal{
				reason: proxy.KeyRefused, before: `sg = new(sudo_as_login='ann')`, call: oneShot, says: "the site refuses the key", reached: 2,
				advice: "put the Script's current key into its source; Stagedoor takes it up within 30s",
			})
		})
	}
}

// While all of max_buffered is taken, large bodies are not read; after a while
// the call is refused.
func TestWhatAnArtistReadsWhenTheHostIsBusy(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	held := make(chan struct{})
	site.Fail(flowsite.Fault{Method: "update", Hold: held}, 1)
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "max_body: 256KiB\nmax_buffered: 256KiB\n")+"    allow: [{read: Shot}, {update: Shot}]\n")
	holder := startTool(t, clients()[0], s.base("tools"))
	holder.Begin(`sg.update('Shot', 1, {'description': 'x' * 240000})['id']`)
	s.AwaitAudit(`"method":"update"`)

	var waiting []*tool
	for _, version := range clients() {
		p := startTool(t, version, s.base("tools"))
		p.Begin(`sg.update('Shot', 2, {'description': 'y' * 90000})`)
		waiting = append(waiting, p)
	}
	for i, p := range waiting {
		got := p.End()
		what := clients()[i] + ": busy"
		if got.Class != "Fault" {
			t.Fatalf("%s: got %s", what, got)
		}
		id := artistReads(t, what, got.Text, "too many calls are waiting on this host (max_buffered); try again", "")
		if i == 0 { // the others are the same refusal again, and only counted
			s.recorded(what, id, proxy.Busy)
		}
	}
	if n := s.refusedTotal(proxy.Busy); n != len(waiting) {
		t.Errorf("%d calls were refused", n)
	}
	close(held)
	if got := holder.End(); got.String() != "1" {
		t.Errorf("the call that was held got %s", got)
	}
	if got := waiting[0].OK(`sg.update('Shot', 2, {'description': 'y' * 90000})['id']`); got != "2" {
		t.Errorf("a call after it got %s", got)
	}
}

// Nobody reads the audit log: once the pipe is full, no call leaves without
// its record, and calls are served again when there is room.
func TestWhatAnArtistReadsWhenTheAuditLogIsBlocked(t *testing.T) {
	t.Parallel()
	for _, version := range clients() {
		t.Run("shotgun_api3 "+version, func(t *testing.T) {
			t.Parallel()
			site := startSite(t, flowsite.Options{})
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close() //nolint:errcheck // only read
			s := serveTo(t, w, scriptConfig(site, "file: "+keyFile(t)+"\n    limit: {rate: 10000/s}", "")+"    allow: [{read: Shot}]\n")
			_ = w.Close() // it is the process's now
			p := startTool(t, version, s.base("tools"))
			// A pipe takes 64 KiB, some hundred records.
			p.Run(`
failure = None
for i in range(1000):
    seen = i
    try:
        sg.find_one('Shot', [['id', 'is', 1]], ['code'])
    except shotgun_api3.Fault as e:
        failure = str(e)
        break
`)
			var text string
			if err := json.Unmarshal([]byte(p.OK("failure")), &text); err != nil {
				t.Fatal(err)
			}
			artistReads(t, "a blocked audit log", text, "the audit record could not be written, so the call was not sent; tell whoever runs Stagedoor on this host", "")
			if served := p.OK("seen"); fmt.Sprint(calls(site)) != served {
				t.Errorf("the site saw %d calls, %s were served", calls(site), served)
			}
			if n := s.refusedTotal(proxy.AuditFailed); n != 1 {
				t.Errorf("%d calls were refused", n)
			}
			if status, _ := s.Get("/readyz"); status == 200 {
				t.Error("it is ready, with an audit log that can't be written")
			}
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				_, _ = io.Copy(io.Discard, r)
			}()
			// Each call that is still refused has waited for the log.
			p.Run(`
row = None
while not row:
    try:
        row = sg.find_one('Shot', [['id', 'is', 1]], ['code'])
    except shotgun_api3.Fault as e:
        assert 'the audit record' in str(e), e
`)
			s.Stop()
			<-drained
		})
	}
}

// What no Python client sends is refused all the same, each with its word.
func TestRefusalsThatNoClientBringsAbout(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := serve(t, scriptConfig(site, "file: "+keyFile(t), "")+"    allow: [{read: Shot}]\n")
	host := s.Address("tools")
	const call = `{"method_name":"info","params":[]}`
	post := "POST /api3/json HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\n"
	body := func(text string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(text), text) }
	slow, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", host) // meanwhile
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close() //nolint:errcheck // nothing is lost
	if _, err := io.WriteString(slow, post+"Content-Length: 1000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		reason  proxy.Reason
		status  int
		request string
	}{
		{"", 200, post + body(call)},
		{proxy.BadTarget, 400, "POST https://site.invalid/api3/json HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\n" + body(call)},
		{proxy.BadTarget, 400, "CONNECT site.invalid:443 HTTP/1.1\r\nHost: site.invalid:443\r\n\r\n"},
		{proxy.BadHost, 421, strings.Replace(post, host, "site.invalid", 1) + body(call)},
		{proxy.Browser, 403, "OPTIONS /api3/json HTTP/1.1\r\nHost: " + host + "\r\n\r\n"},
		{proxy.BadFraming, 400, strings.Replace(post, "HTTP/1.1", "HTTP/1.0", 1) + body(call)},
		{proxy.BadFraming, 400, post + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"met\r\nno number\r\n"},
		{proxy.BadVerb, 405, "GET /api3/json HTTP/1.1\r\nHost: " + host + "\r\n\r\n"},
		{proxy.BadRoute, 404, "POST /api3/json/ HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\n" + body(call)},
		{proxy.BadRoute, 404, "POST /api3%2fjson HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\n" + body(call)},
		{proxy.BadJSON, 200, post + body(`{"method_name":"info","method_name":"read","params":[]}`)},
		{proxy.BadJSON, 200, post + body("{\"method_name\":\"info\xff\",\"params\":[]}")},
		{proxy.BadJSON, 200, post + body(call+call)},
		{proxy.BadCall, 200, post + body(`["info"]`)},
	} {
		counted := s.refusedTotal(test.reason)
		res := raw(t, host, test.request) //nolint:bodyclose // closed there
		if got := res.Header.Get("Stagedoor-Refused"); res.StatusCode != test.status || got != string(test.reason) {
			t.Errorf("%q was answered %s, refused as %q", test.request, res.Status, got)
		}
		if n := s.refusedTotal(test.reason) - counted; test.reason != "" && n != 1 {
			t.Errorf("%q was refused %d times", test.request, n)
		}
		if res.Header.Get("Stagedoor-Request-Id") == "" || strings.Contains(fmt.Sprint(res.Header), "Access-Control") {
			t.Errorf("%q was answered with %v", test.request, res.Header)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(slow), nil)
	if err != nil {
		t.Fatalf("a body that stalls is answered with nothing: %v", err)
	}
	_ = res.Body.Close()
	if got := res.Header.Get("Stagedoor-Refused"); res.StatusCode != http.StatusRequestTimeout || got != string(proxy.TooSlow) {
		t.Errorf("a body that stalls was answered %s, refused as %q", res.Status, got)
	}
	wellBehaved(t, site, 1)
}

// raw sends bytes and gives the head of the answer.
func raw(t *testing.T, address, request string) *http.Response {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // nothing is lost
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%q was answered with nothing: %v", request, err)
	}
	_ = res.Body.Close()
	return res
}

// Every reason is either in these tests or named here, with what stands in the
// way of a black-box test.
func TestEveryReasonIsAsserted(t *testing.T) {
	t.Parallel()
	asserted := []proxy.Reason{
		proxy.ScriptUnnamed, proxy.ScriptUnknown, proxy.RateLimit, proxy.QueueFull, proxy.NoKey, proxy.KeyRefused,
		proxy.Busy, proxy.AuditFailed, proxy.BadFraming, proxy.TooSlow, proxy.Braked,
		proxy.CallerUnknown, // a client of another host or namespace: package proxy has it
		proxy.Internal,      // a fault of ours: nothing brings it about
	}
	for _, r := range refusals() {
		asserted = append(asserted, r.reason)
	}
	for _, r := range proxy.Reasons() {
		if !slices.Contains(asserted, r) {
			t.Errorf("what an artist reads of %s is not asserted", r)
		}
	}
}
