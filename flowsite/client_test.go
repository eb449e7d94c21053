package flowsite_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"stagedoor/flowsite"
	"stagedoor/internal/parts"
)

// facts runs one function of client_facts.py against a site without TLS, as
// the facts were measured.
func facts(t *testing.T, s *flowsite.Site, version, fact string, given, into any) {
	t.Helper()
	srv, err := s.StartPlain()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}()
	stdin := scriptKey + "\n"
	if f, ok := given.(func(url string) any); ok {
		given = f(srv.URL)
	}
	if given != nil {
		stdin += encode(t, given)
	}
	// §1.10 (CAP): RPC takes no notice of a proxy in the environment.
	env := []string{"http_proxy=http://127.0.0.1:9", "https_proxy=http://127.0.0.1:9"}
	out := pythonIn(t, env, version, stdin, "testdata/client_facts.py", fact, srv.URL, scriptName)
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// made is what the client made of a call.
type made struct {
	Raised, Text, Bytes string
	Code                any
	Value               any
}

func (m made) String() string {
	switch {
	case m.Raised != "" && m.Code != nil:
		return fmt.Sprint(m.Raised, " ", m.Code)
	case m.Raised != "":
		return m.Raised
	case m.Bytes != "":
		return "bytes " + m.Bytes
	default:
		return fmt.Sprintf("%v", m.Value)
	}
}

// marked counts the requests of each mark (the id of a delete).
func marked(s *flowsite.Site) map[int]int {
	counts := map[int]int{}
	for _, r := range s.Received() {
		if r.Method != "delete" {
			continue
		}
		var args struct{ ID int }
		b, err := json.Marshal(r.Params[0])
		if err == nil && json.Unmarshal(b, &args) == nil {
			counts[args.ID]++
		}
	}
	return counts
}

type answer struct {
	fault flowsite.Fault
	times int // 0: always
	// sends is how often the newest client and one before 3.8.5 send it.
	sends, oldSends int
	want, oldWant   string // "" as want
}

// run makes both clients meet each answer.
func run(t *testing.T, answers []answer, timeouts map[int]float64) {
	t.Helper()
	for version, old := range map[string]bool{parts.NewestClient: false, parts.OldClient: true} {
		s := newSite(t, flowsite.Options{})
		var given array
		for i, a := range answers {
			mark := 1000 + i
			a.fault.Match = func(r flowsite.Received) bool {
				return r.Method == "delete" && strings.Contains(encode(t, r.Params), fmt.Sprintf(`"id":%d`, mark))
			}
			s.Fail(a.fault, a.times)
			timeout := any(nil)
			if v, ok := timeouts[i]; ok {
				timeout = v
			}
			given = append(given, array{mark, timeout})
		}
		var got map[int]made
		facts(t, s, version, "faults", given, &got)
		counts := marked(s)
		for i, a := range answers {
			sends, want := a.sends, a.want
			if old {
				sends = a.oldSends
				if a.oldWant != "" {
					want = a.oldWant
				}
			}
			if n := counts[1000+i]; n != sends {
				t.Errorf("%s, answer %d (%s): sent %d times, want %d", version, i, want, n, sends)
			}
			if m := got[1000+i].String(); m != want {
				t.Errorf("%s, answer %d: %s (%s), want %s", version, i, m, got[1000+i].Text, want)
			}
		}
	}
}

// §1.6 (CAP): what each status does to the client, and how often it sends.
func TestStatuses_1_6(t *testing.T) {
	protocol := func(status, sends int) answer {
		return answer{flowsite.Fault{Status: status}, 0, sends, sends, fmt.Sprintf("ProtocolError %d", status), ""}
	}
	var answers []answer
	for _, status := range []int{300, 301, 302, 307, 400, 401, 403, 404, 413, 429, 500, 503, 520} {
		answers = append(answers, protocol(status, 1))
	}
	answers = append(answers,
		protocol(502, 3), protocol(504, 3), // §1.7 too: also for writes
		// 303 is followed as GET, which the site refuses; 308 as POST.
		answer{flowsite.Fault{Status: 303, Location: "/api3/json"}, 0, 1, 1, "ProtocolError 400", ""},
		answer{flowsite.Fault{Status: 308, Location: "/api3/json"}, 1, 2, 2, "Fault", ""},
		answer{flowsite.Fault{Status: 201, Body: []byte(`{"results":7}`), ContentType: "application/json"}, 0, 1, 1, "7", ""},
	)
	run(t, answers, nil)
}

// §1.7 (CAP): how often a write arrives when its answer doesn't.
func TestRepeatedWrites_1_7(t *testing.T) {
	late := make(chan struct{})
	defer close(late)
	run(t, []answer{
		{flowsite.Fault{Close: true, After: true}, 0, 2, 6, "RemoteDisconnected", ""},
		{flowsite.Fault{Truncate: 3}, 0, 1, 3, "IncompleteRead", ""},
		{flowsite.Fault{Hold: late}, 0, 1, 3, "TimeoutError", ""},
	}, map[int]float64{2: 0.2})
}

// §1.4 (CAP): how bodies are decoded.
func TestDecoding_1_4(t *testing.T) {
	body := func(text, kind, want string) answer {
		return answer{flowsite.Fault{Body: []byte(text), ContentType: kind}, 0, 1, 1, want, ""}
	}
	untyped := body(`{"results":1}`, "", "1")
	untyped.fault.Header = http.Header{"Content-Type": nil}
	// §1.10: a coding that the client doesn't know is not decoded.
	encoded := body(`{"results":4}`, "application/json", "4")
	encoded.fault.Header = http.Header{"Content-Encoding": {"br"}}
	run(t, []answer{
		body(`{"results":1}`, "application/json", "1"),
		body(`{"results":2}`, "text/javascript; charset=utf-8", "2"),
		body("<html>login</html>", "text/html", "bytes <html>login</html>"),
		body(`{"exception":false,"results":3}`, "application/json", "3"),
		body("{\"results\":\"\xff\"}", "application/json", "UnicodeDecodeError"),
		untyped,
		encoded,
		body(`{"bare":1}`, "application/json", "map[bare:1]"),
	}, nil)
}

// §1.5 (CAP): which exception each error code becomes.
func TestExceptions_1_5(t *testing.T) {
	code := func(n int, want string) answer { return answer{flowsite.Fault{Code: n}, 0, 1, 1, want, ""} }
	run(t, []answer{
		code(102, "AuthenticationFault"), code(106, "MissingTwoFactorAuthenticationFault"),
		code(108, "UserCredentialsNotAllowedForSSOAuthenticationFault"),
		code(110, "UserCredentialsNotAllowedForOxygenAuthenticationFault"),
		code(100, "Fault"), code(103, "Fault"), code(104, "Fault"), code(107, "Fault"), code(111, "Fault"),
		{flowsite.Fault{Body: []byte(`{"exception":true}`), ContentType: "application/json"}, 0, 1, 1, "Fault", ""},
	}, nil)
}

// §1.9 (CAP): where calls go for each form of base_url.
func TestBaseURLs_1_9(t *testing.T) {
	type want struct{ target, basic, made string }
	const fine = "map[id:1 type:Shot]"
	forms := map[string]want{
		"HOST":                              {"/api3/json", "", fine},
		"HOST/":                             {"/api3/json", "", fine},
		"HOST/some/prefix":                  {"/some/api3/json", "", "ProtocolError 400"},
		"HOST/some/prefix/":                 {"/some/prefix/api3/json", "", "ProtocolError 400"},
		"http://u:p%40SS@ADDR/Some/Prefix/": {"/some/prefix/api3/json", "Basic dTpwQFNT", "ProtocolError 400"},
		"http://u@ADDR":                     {"/api3/json", "Basic dQ==", "ProtocolError 400"},
		"HOST?x=1#f":                        {"/api3/json", "", fine},
		"HTTP://ADDR":                       {"/api3/json", "", fine},
		"ADDR":                              {"", "", "ValueError"},
		"file:///etc":                       {"", "", "ValueError"},
	}
	names := slices.Sorted(maps.Keys(forms))
	s := newSite(t, flowsite.Options{})
	var got []made
	facts(t, s, parts.NewestClient, "urls", func(url string) any {
		var list array
		for _, form := range names {
			list = append(list, strings.NewReplacer("HOST", url, "ADDR", strings.TrimPrefix(url, "http://")).Replace(form))
		}
		return list
	}, &got)
	requests := map[string]int{}
	for _, r := range s.Received() {
		_, n, _ := strings.Cut(r.Header.Get("User-Agent"), "; form-")
		i, err := strconv.Atoi(n)
		if err != nil {
			t.Fatal(err)
		}
		form := names[i]
		requests[form]++
		if w := forms[form]; r.Target != w.target || r.Header.Get("Authorization") != w.basic {
			t.Errorf("%s: went to %s with %q", form, r.Target, r.Header.Get("Authorization"))
		}
	}
	for i, form := range names {
		w := forms[form]
		if got[i].String() != w.made {
			t.Errorf("%s: %s (%s), want %s", form, got[i], got[i].Text, w.made)
		}
		if (requests[form] == 0) != (w.target == "") {
			t.Errorf("%s: %d requests", form, requests[form])
		}
	}
}

// §1.8 (CAP): the constructor sends one info, and none with connect=False; a
// version below 2.4.0 is refused.
func TestConnecting_1_8(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	var got struct{ Default []int }
	facts(t, s, parts.NewestClient, "connecting", nil, &got)
	received := s.Received()
	if len(received) != 2 || received[0].Method != "info" || len(received[0].Params) != 0 || fmt.Sprint(got.Default) != "[8 89 0]" {
		t.Fatalf("%v, %d requests", got, len(received))
	}
	if received[1].Method != "info" || received[0].Host == received[1].Host {
		t.Errorf("the server changed, and info went to %s", received[1].Host)
	}
	var m made
	facts(t, newSite(t, flowsite.Options{Version: [3]int{2, 3, 9}}), parts.NewestClient, "old_server", nil, &m)
	if m.Raised != "ShotgunError" {
		t.Errorf("server 2.3.9: %v", m)
	}
}

// §1.10 (CAP): the client's http_proxy option makes a CONNECT tunnel of a call,
// also for http.
func TestProxyOptionTunnels_1_10(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	var m made
	facts(t, s, parts.NewestClient, "tunnel", nil, &m)
	r := s.Received()
	if m.Raised == "" || len(r) == 0 || r[0].HTTPMethod != http.MethodConnect || r[0].Target != "mysite.example:80" {
		t.Errorf("%v, received %+v", m, r)
	}
}

// §1.3 (CAP): the forms of the auth object on the wire, and the calls that
// come before.
func TestAuthForms_1_3(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	s.AddUser(flowsite.Person{Login: "two", Password: "pw", SecondFactor: "123456"})
	var got []json.RawMessage
	facts(t, s, parts.NewestClient, "auth", nil, &got)
	bodies := map[int]string{}
	var order []string
	for _, r := range s.Received() {
		order = append(order, r.Method+" "+r.Credential)
		if r.Method == "delete" {
			bodies[len(bodies)+1] = string(r.Body)
		}
	}
	key := encode(t, scriptKey)
	if want := `{"method_name": "delete", "params": [{"script_name": "publish", "script_key": ` + key + `, "session_uuid": "uu-id", "sudo_as_login": "ben", "product": "rv"}, {"type": "Shot", "id": 1}]}`; bodies[1] != want {
		t.Errorf("\n%s\n%s", bodies[1], want)
	}
	if want := `{"method_name": "delete", "params": [{"script_name": "publish", "script_key": ` + key + `}, {"type": "Shot", "id": 2}]}`; bodies[2] != want {
		t.Errorf("the script doesn't win over its session: %s", bodies[2])
	}
	if b := bodies[3]; !strings.HasPrefix(b, `{"method_name": "delete", "params": [{"session_token": "`) || !strings.HasSuffix(b, `", "reject_if_expired": true}, {"type": "Shot", "id": 3}]}`) {
		t.Errorf("session: %s", b)
	}
	// Sudo and sessions ask for info first; the second factor is traded for a
	// session in the constructor.
	want := `["info ","delete script","get_session_token script","delete script","info ","delete session","info ","get_session_token user","delete session","delete user"]`
	if encode(t, order) != want {
		t.Errorf("order %s\nwant  %s", encode(t, order), want)
	}
	for i, w := range []string{`true`, `true`, `true`, `[null,null,null]`, `true`, `"MissingTwoFactorAuthenticationFault"`, `"ValueError"`} {
		if g := strings.ReplaceAll(string(got[i]), " ", ""); !strings.Contains(g, w) {
			t.Errorf("%d: %s, want %s", i, g, w)
		}
	}
	clean(t, s)
}

// §1.2, §2.4 (CAP): big integers stay integers, NaN goes out bare (and is
// refused here), a lone surrogate never leaves; entity hashes are pruned in
// filters and not in create or batch (§2.2).
func TestValuesOnTheWire_1_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	var got []made
	facts(t, s, parts.NewestClient, "values", nil, &got)
	for i, want := range []string{"map[id:1 sg_metadata:map[n:1.1805916207174113e+21] type:Version]", "ProtocolError 400", "UnicodeEncodeError", "[map[id:1 type:Shot]]", ""} {
		if want != "" && got[i].String() != want {
			t.Errorf("%d: %s, want %s", i, got[i], want)
		}
	}
	var bodies []string
	for _, r := range s.Received() {
		if r.Method != "info" {
			bodies = append(bodies, string(r.Body))
		}
	}
	if len(bodies) == 5 {
		// The order of a pruned hash's names is any: the client keeps a set.
		bodies[2] = encode(t, s.Received()[len(s.Received())-3].Params)
	}
	for i, part := range []string{
		`{"n": 1180591620717411303424}`, `{"n": NaN}`, `"values":[{"id":65,"name":"n","type":"Project"}]`, `"value": {"type": "HumanUser", "id": 1, "code": "c"}`,
		`[{"request_type": "update", "type": "Shot", "id": 1, "fields": [{"field_name": "sg_sequence", "value": {"type": "Sequence", "id": 2, "code": "c"}}]}]`,
	} {
		if len(bodies) != 5 || !strings.Contains(bodies[i], part) {
			t.Errorf("body %d of %d lacks %s: %q", i, len(bodies), part, bodies)
		}
	}
	if len(s.Violations()) != 1 || !strings.Contains(string(s.Snapshot()), "1180591620717411303424") {
		t.Errorf("violations %q", s.Violations())
	}
}

// §2.6 (CAP): find goes on while has_next_page, or by the count on servers
// before 7.4; a limit within a page, or a page, is one call.
func TestPagingLoops_2_6(t *testing.T) {
	for version, mode := range map[[3]int]string{{8, 89, 0}: "return_paging_info_without_counts", {7, 3, 1}: "return_paging_info"} {
		s := newSite(t, flowsite.Options{PageMax: 5, Version: version})
		var got []int
		facts(t, s, parts.NewestClient, "paging", nil, &got)
		if fmt.Sprint(got) != "[12 5 7 2]" {
			t.Errorf("%v: %v rows", version, got)
		}
		var reads []string
		for _, r := range s.Received() {
			if r.Method == "read" {
				m, _ := r.Params[0].(map[string]any)
				p, _ := m["paging"].(map[string]any)
				reads = append(reads, fmt.Sprint(p["current_page"], " ", m[mode]))
			}
		}
		if got := strings.Join(reads, ","); got != "1 true,2 true,3 true,1 false,1 true,2 true,3 false" {
			t.Errorf("%v: reads %s", version, got)
		}
		clean(t, s)
	}
}
