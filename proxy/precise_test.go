package proxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"stagedoor/audit"
	"stagedoor/limit"
	"stagedoor/policy"
	"stagedoor/proxy"
)

// rules makes pub's policy of rules, which stand in lines 1, 2 and so on.
func rules(of ...policy.Rule) option {
	return func(st *proxy.State, _ *proxy.Listener) { st.Scripts["pub"].Policy = compiled(of...) }
}

func compiled(of ...policy.Rule) *policy.Script {
	for i := range of {
		of[i].File, of[i].Line = "t.yaml", i+1
	}
	return policy.Compile(policy.Script{Name: "pub", Where: "t.yaml:0", Rules: of})
}

// rule is "verb: Type" or "verb: Type.field", in projects.
func rule(words string, in *policy.Projects) policy.Rule {
	verb, target, _ := strings.Cut(words, ": ")
	typ, field, one := strings.Cut(target, ".")
	r := policy.Rule{Verb: verb, Targets: []policy.Target{{Type: typ}}, Projects: in}
	if one {
		r.Targets[0].Fields = []string{field}
	}
	return r
}

// looked are projects whose records are looked up.
func looked(ids ...int64) *policy.Projects { return &policy.Projects{IDs: ids, Lookup: true} }

// places is a site that knows in which projects records lie, 0 for none; others it
// does not tell of. Every other call is answered with a 1.
type places struct {
	mu     sync.Mutex
	of     map[int64]int64
	asked  int    // how often
	before func() // an answer about projects
	status int    // of such an answer, if it is none
}

var askedFor = regexp.MustCompile(`"type":"(\w+)","return_fields":\["id","project"\].*"path":"id","relation":"in","values":\[([0-9,]+)\]`)

func (p *places) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	m := askedFor.FindSubmatch(b)
	switch {
	case strings.HasPrefix(r.URL.Path, "/api/"):
		restSite(`{"data":{"type":"Shot","id":12,"attributes":{}}}`)(w, r)
		return
	case strings.HasPrefix(r.URL.Path, "/upload/"):
		_, _ = io.WriteString(w, "1:42\nok")
		return
	case m == nil:
		_, _ = io.WriteString(w, `{"results":1}`)
		return
	}
	p.mu.Lock()
	p.asked++
	var rows []string
	for id := range strings.SplitSeq(string(m[2]), ",") {
		n, _ := strconv.ParseInt(id, 10, 64)
		in, known := p.of[n]
		switch {
		case known && in == 0:
			rows = append(rows, fmt.Sprintf(`{"type":%q,"id":%d,"project":null}`, m[1], n))
		case known:
			rows = append(rows, fmt.Sprintf(`{"type":%q,"id":%d,"project":{"type":"Project","id":%d,"name":"x"}}`, m[1], n, in))
		}
	}
	before, status := p.before, p.status
	p.mu.Unlock()
	if before != nil {
		before()
	}
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	_, _ = fmt.Fprintf(w, `{"results":{"entities":[%s]}}`, strings.Join(rows, ","))
}

func (p *places) questions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// update writes a field of a Shot.
func update(id int, field, value string) string {
	return fmt.Sprintf(`{"method_name":"update","params":[{"script_name":"pub","script_key":"x"},{"type":"Shot","id":%d,"fields":[{"field_name":%q,"value":%s}]}]}`, id, field, value)
}

func refused(got result) string { return got.header.Get("Stagedoor-Refused") }

func TestARecordIsLookedUpWhereItsRuleWantsItInAProject(t *testing.T) {
	site := &places{of: map[int64]int64{12: 122, 13: 145, 14: 0}}
	s := start(t, site.ServeHTTP, rules(rule("update: Shot.code", looked(122))))
	if got := s.post(update(12, "code", `"a"`)); got.body != `{"results":1}` {
		t.Fatalf("a Shot in the project: %+v", got)
	}
	for _, id := range []int{13, 14, 15} {
		got := s.post(update(id, "code", `"a"`))
		if refused(got) != string(proxy.Project) || !strings.Contains(got.body, "Stagedoor: pub may not update Shot") || !strings.Contains(got.body, strconv.Itoa(id)) {
			t.Errorf("Shot %d: %+v", id, got)
		}
		if strings.Contains(got.body, "145") {
			t.Errorf("the refusal tells in which project Shot %d lies: %s", id, got.body)
		}
	}
	for i, want := range []string{"- {update: Shot.code, projects: {ids: [145], lookup: cached}}", "- update: Shot.code # in every project: it lies in none", ""} {
		var refusals []audit.Event
		for _, e := range s.audit.all() {
			if e.Kind == audit.RefusedCall {
				refusals = append(refusals, e)
			}
		}
		if len(refusals) != 3 || refusals[i].AllowWith != want || refusals[i].Rule != "t.yaml:1" {
			t.Errorf("recorded %+v, not %s", refusals, want)
		}
	}
	sent := s.received()
	if n := len(sent); n != 5 || strings.Contains(sent[0], `"method_name":"update"`) || !strings.Contains(sent[0], key1) {
		t.Errorf("the site saw %d calls: %q", n, sent)
	}
	ev := s.audit.all()
	if ev[0].Kind != audit.Intent || ev[0].Method != "read" || !strings.HasPrefix(ev[0].Rule, "lookup for ") || ev[1].Kind != audit.Outcome || ev[1].ID != ev[0].ID ||
		ev[0].Rule != "lookup for "+ev[2].ID || ev[2].Method != "update" || ev[2].Rule != "t.yaml:1" {
		t.Errorf("recorded %+v", ev[:3])
	}
}

// TestEachWayToARecordIsLookedUp: by api3, a form and REST alike.
func TestEachWayToARecordIsLookedUp(t *testing.T) {
	contentType, form := formFile(t, "sg_uploaded_movie", 48<<10)
	for name, send := range map[string]func(*stage) result{
		"update": func(s *stage) result { return s.post(update(7, "code", `"a"`)) },
		"delete": func(s *stage) result {
			return s.post(`{"method_name":"delete","params":[{"script_name":"pub","script_key":"x"},{"type":"Shot","id":7}]}`)
		},
		"revive": func(s *stage) result {
			return s.post(`{"method_name":"revive","params":[{"script_name":"pub","script_key":"x"},{"type":"Shot","id":7}]}`)
		},
		"upload": func(s *stage) result {
			return s.do(http.MethodPost, "/upload/upload_file", string(form), "Content-Type", contentType)
		},
		"REST update": func(s *stage) result {
			return s.do(http.MethodPut, "/api/v1/entity/shots/7", `{"code":"a"}`, "Content-Type", "application/json", "Accept", "application/json")
		},
		"REST delete": func(s *stage) result { return s.do(http.MethodDelete, "/api/v1/entity/shots/7", "") },
		"REST read":   func(s *stage) result { return s.get("/api/v1/entity/shots/7?fields=code") },
	} {
		t.Run(name, func(t *testing.T) {
			site := &places{of: map[int64]int64{7: 122}}
			s := start(t, site.ServeHTTP, rules(
				rule("read: Shot.code", looked(122)), rule("update: Shot.code", looked(122)), rule("delete: Shot", looked(122)), rule("revive: Shot", looked(122)),
				rule("upload: Version.sg_uploaded_movie", looked(122))))
			if got := send(s); got.status >= 300 || refused(got) != "" {
				t.Fatalf("in the project: %+v", got)
			}
			if n := site.questions(); n != 1 || (name == "revive") != strings.Contains(s.received()[0], `"return_only":"retired"`) {
				t.Errorf("%d questions: %q", n, s.received()[0])
			}
			site = &places{of: map[int64]int64{7: 145}}
			s = start(t, site.ServeHTTP, rules(
				rule("read: Shot.code", looked(122)), rule("update: Shot.code", looked(122)), rule("delete: Shot", looked(122)), rule("revive: Shot", looked(122)),
				rule("upload: Version.sg_uploaded_movie", looked(122))))
			if got := send(s); refused(got) != string(proxy.Project) || len(s.received()) != 1 {
				t.Errorf("in another: %+v, the site saw %d calls", got, len(s.received()))
			}
		})
	}
}

// TestAnAnswerShowsAFieldOnlyWhereItsRuleHolds: what an answer of REST holds
// beyond what was asked for is held against the rules' projects and conditions.
func TestAnAnswerShowsAFieldOnlyWhereItsRuleHolds(t *testing.T) {
	budget := rule("read: Shot.sg_budget", &policy.Projects{IDs: []int64{122}})
	few := rule("read: Shot.sg_budget", nil)
	few.MaxRows = 10
	for _, tt := range []struct {
		name, path string
		rule       policy.Rule
		want       bool
	}{
		{"a record, in whatever project", "shots/12", budget, false},
		{"with every field", "shots/12?fields=*", budget, false},
		{"those of another project", "shots?filter[project.Project.id]=145&fields=*", budget, false},
		{"those of the rule's project", "shots?filter[project.Project.id]=122&fields=*", budget, true},
		{"more rows than the rule gives", "shots?page[size]=11", few, false},
		{"as many as it gives", "shots?page[size]=10", few, true},
		{"links", "assets/3/relationships/shots", budget, false},
	} {
		s := start(t, restSite(`{"data":[{"type":"Shot","id":12,"attributes":{"code":"a","sg_budget":777}}]}`), rules(rule("read: Shot.code", nil), tt.rule, rule("read: Asset.shots", nil), rule("read: Shot.project", nil), rule("read: Project.id", nil)))
		if got := s.get("/api/v1/entity/" + tt.path); got.status != 200 || !strings.Contains(got.body, `"code":"a"`) || strings.Contains(got.body, "777") != tt.want {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

func TestWhatWasLookedUpIsKnownForAWhile(t *testing.T) {
	site := &places{of: map[int64]int64{12: 122, 13: 122}}
	s := start(t, site.ServeHTTP, rules(rule("update: Shot.code", looked(122))))
	for range 3 {
		if got := s.post(update(12, "code", `"a"`)); got.status != 200 || refused(got) != "" {
			t.Fatalf("%+v", got)
		}
	}
	if n := site.questions(); n != 1 {
		t.Errorf("%d questions about one record", n)
	}
	batch := `{"method_name":"batch","params":[{"script_name":"pub","script_key":"x"},[` +
		`{"request_type":"update","type":"Shot","id":12,"fields":[{"field_name":"code","value":"a"}]},` +
		`{"request_type":"update","type":"Shot","id":13,"fields":[{"field_name":"code","value":"b"}]},` +
		`{"request_type":"update","type":"Shot","id":13,"fields":[{"field_name":"code","value":"c"}]}]]}`
	if got := s.post(batch); got.status != 200 || refused(got) != "" {
		t.Errorf("%+v", got)
	}
	if n := site.questions(); n != 2 {
		t.Errorf("%d questions after a batch with one record more", n)
	}
}

func TestManyWhoAskAtOnceAskOnce(t *testing.T) {
	const many = 20
	waiting := make(chan struct{})
	site := &places{of: map[int64]int64{12: 122}, before: func() { <-waiting }}
	s := start(t, site.ServeHTTP, rules(rule("update: Shot.code", looked(122))))
	answers := make(chan result, many)
	for range many {
		go func() { answers <- s.post(update(12, "code", `"a"`)) }()
	}
	close(waiting)
	for range many {
		if got := <-answers; got.status != 200 || refused(got) != "" {
			t.Errorf("%+v", got)
		}
	}
	if n := site.questions(); n != 1 {
		t.Errorf("%d questions", n)
	}
}

func TestACallWhoseRecordsCanNotBeLookedUpIsNotSent(t *testing.T) {
	for name, prepare := range map[string]func(*places, *stage){
		"the site fails":         func(p *places, _ *stage) { p.status = http.StatusServiceUnavailable },
		"the site does not tell": func(p *places, _ *stage) { p.of = nil },
		"there is no key":        func(_ *places, s *stage) { s.keys.err = fmt.Errorf("no key for pub: it is gone") },
		"there is no record":     func(_ *places, s *stage) { s.audit.fail = fmt.Errorf("disk full") },
	} {
		t.Run(name, func(t *testing.T) {
			site := &places{of: map[int64]int64{12: 122}}
			s := start(t, site.ServeHTTP, rules(rule("update: Shot.code", looked(122))))
			prepare(site, s)
			want := map[string]proxy.Reason{
				"the site fails": proxy.SiteFailed, "the site does not tell": proxy.Project, "there is no key": proxy.NoKey, "there is no record": proxy.AuditFailed,
			}[name]
			got := s.post(update(12, "code", `"a"`))
			if refused(got) != string(want) {
				t.Errorf("%+v", got)
			}
			if want == proxy.SiteFailed && !strings.Contains(got.body, "did not say in which project Shot 12 lies; update was not sent") {
				t.Errorf("%s", got.body)
			}
			for _, sent := range s.received() {
				if strings.Contains(sent, `"method_name":"update"`) {
					t.Errorf("the site got %s", sent)
				}
			}
		})
	}
}

func TestALookupGoesThroughTheScriptsLimit(t *testing.T) {
	site := &places{of: map[int64]int64{12: 122}}
	l := limit.New(limit.Options{Rate: 0.001, Burst: 1, MaxHold: -1})
	s := start(t, site.ServeHTTP, rules(rule("update: Shot.code", looked(122))), func(st *proxy.State, _ *proxy.Listener) { st.Scripts["pub"].Limiter = l })
	if got := s.post(update(12, "code", `"a"`)); refused(got) != string(proxy.RateLimit) || got.header.Get("Retry-After") == "" {
		t.Errorf("%+v", got)
	}
	if n := site.questions(); n != 1 || len(s.received()) != 1 {
		t.Errorf("the site saw %q", s.received())
	}
}

// TestARecordThatIsMovedIsLookedUpAgain: by a call of this proxy's, by whichever
// of its scripts.
func TestARecordThatIsMovedIsLookedUpAgain(t *testing.T) {
	const heron, atlas = `{"type":"Project","id":122}`, `{"type":"Project","id":145}`
	site := &places{of: map[int64]int64{12: 122}}
	s := start(t, site.ServeHTTP, rules(rule("update: Shot.code", looked(122)), rule("update: Shot.project", nil), rule("read: Project", nil)))
	if got := s.post(update(12, "code", `"a"`)); refused(got) != "" {
		t.Fatalf("%+v", got)
	}
	for _, move := range []string{atlas, heron} {
		if got := s.post(update(12, "project", move)); refused(got) != "" {
			t.Fatalf("%+v", got)
		}
		site.mu.Lock()
		site.of[12] = map[string]int64{heron: 122, atlas: 145}[move]
		site.mu.Unlock()
		want := map[string]string{heron: "", atlas: string(proxy.Project)}[move]
		if got := s.post(update(12, "code", `"a"`)); refused(got) != want {
			t.Errorf("after a move to %s: %+v", move, got)
		}
	}
	if n := site.questions(); n != 3 {
		t.Errorf("%d questions", n)
	}
}

// TestWhatWasAskedBeforeAMoveIsNotKept: the answer may be what was true before.
func TestWhatWasAskedBeforeAMoveIsNotKept(t *testing.T) {
	site := &places{of: map[int64]int64{12: 122}}
	s := start(t, site.ServeHTTP, rules(rule("update: Shot.code", looked(122)), rule("update: Shot.project", nil), rule("read: Project", nil)))
	var once sync.Once
	site.before = func() {
		once.Do(func() {
			if got := s.post(update(12, "project", `{"type":"Project","id":145}`)); refused(got) != "" {
				t.Errorf("the move: %+v", got)
			}
			site.mu.Lock()
			site.of[12] = 145
			site.mu.Unlock()
		})
	}
	s.post(update(12, "code", `"a"`)) // which saw it where it was
	if got := s.post(update(12, "code", `"a"`)); refused(got) != string(proxy.Project) {
		t.Errorf("%+v", got)
	}
}

func TestACallForTooManyRecordsIsNotLookedUp(t *testing.T) {
	site := &places{}
	s := start(t, site.ServeHTTP, rules(rule("update: Shot.code", looked(122))))
	parts := make([]string, 501)
	for i := range parts {
		parts[i] = fmt.Sprintf(`{"request_type":"update","type":"Shot","id":%d,"fields":[{"field_name":"code","value":"a"}]}`, i+1)
	}
	got := s.post(`{"method_name":"batch","params":[{"script_name":"pub","script_key":"x"},[` + strings.Join(parts, ",") + `]]}`)
	if refused(got) != string(proxy.Project) || !strings.Contains(got.body, "more than 500 records") || site.questions() != 0 {
		t.Errorf("%+v", got)
	}
}

// TestAReadIsConfinedToItsProjects: what the site is asked is no more than the
// rule allows, by each way in.
func TestAReadIsConfinedToItsProjects(t *testing.T) {
	confined := rules(rule("read: Shot.code", &policy.Projects{IDs: []int64{122, 145}, AddFilter: true}))
	t.Run("api3", func(t *testing.T) {
		s := start(t, answering(`{"results":1}`), confined)
		if got := s.post(readShot); refused(got) != "" {
			t.Fatalf("%+v", got)
		}
		var sent struct {
			Params []struct {
				Filters struct {
					Operator   string `json:"logical_operator"`
					Conditions []struct {
						Path, Relation string
						Values         []struct {
							Type string
							ID   int64
						}
					}
				}
			}
		}
		if err := json.Unmarshal([]byte(s.received()[0]), &sent); err != nil {
			t.Fatal(err)
		}
		f := sent.Params[1].Filters
		if f.Operator != "and" || len(f.Conditions) != 1 || f.Conditions[0].Path != "project" || f.Conditions[0].Relation != "in" || fmt.Sprint(f.Conditions[0].Values) != "[{Project 122} {Project 145}]" {
			t.Errorf("sent %s", s.received()[0])
		}
		if e := s.audit.all()[0]; strings.Contains(string(e.Shape), "in_project") {
			t.Errorf("the record says that the call itself stays in projects: %s", e.Shape)
		}
	})
	t.Run("REST", func(t *testing.T) {
		var queries []string
		s := start(t, func(w http.ResponseWriter, r *http.Request) {
			queries = append(queries, r.URL.RawQuery)
			restSite(`{"data":[]}`)(w, r)
		}, confined)
		if got := s.get("/api/v1/entity/shots?fields=code"); got.status != 200 {
			t.Fatalf("%+v", got)
		}
		if q := queries[len(queries)-1]; !strings.Contains(q, "filter%5Bproject.Project.id%5D=122%2C145") {
			t.Errorf("sent %s", q)
		}
	})
	t.Run("what can't be confined", func(t *testing.T) {
		s := start(t, answering(`{"results":1}`), rules(rule("read: EventLogEntry", &policy.Projects{IDs: []int64{122}, AddFilter: true})))
		if got := s.post(readEvents); refused(got) != string(proxy.Project) || len(s.received()) != 0 {
			t.Errorf("%+v, the site saw %q", got, s.received())
		}
	})
}

func TestRefusalsSayWhichRuleAndWhatWouldDo(t *testing.T) {
	read := func(edit func(*policy.Rule)) []policy.Rule {
		r := rule("read: Shot.code", nil)
		edit(&r)
		return []policy.Rule{r}
	}
	denied := rule("read: Shot.code", nil)
	denied.File, denied.Line = "t.yaml", 9
	for _, tt := range []struct {
		reason proxy.Reason
		rules  []policy.Rule
		deny   []policy.Rule
		says   []string
	}{
		{proxy.NoRule, nil, nil, []string{"pub may not read Shot.code; no rule allows it. Ask #pipeline", `\n  to allow it, under scripts.pub.allow:  - read: Shot.code`}},
		{proxy.Denied, read(func(*policy.Rule) {}), []policy.Rule{denied}, []string{"pub may not read Shot.code", "t.yaml:9", "deny rule"}},
		{proxy.Project, read(func(r *policy.Rule) { r.Projects = &policy.Projects{IDs: []int64{122}} }), nil, []string{"pub may not read Shot", "t.yaml:1", "122", "to allow it, under scripts.pub.allow:  - {read: Shot.code, projects: {ids: [122], filter: add}}"}},
		{proxy.Rows, read(func(r *policy.Rule) { r.MaxRows = 50 }), nil, []string{"pub may not read Shot", "500 rows", "50", "to allow it, under scripts.pub.allow:  - {read: Shot.code, max_rows: 500}"}},
	} {
		t.Run(string(tt.reason), func(t *testing.T) {
			s := start(t, answering(`{"results":1}`), func(st *proxy.State, _ *proxy.Listener) {
				for i := range tt.rules {
					tt.rules[i].File, tt.rules[i].Line = "t.yaml", i+1
				}
				st.Scripts["pub"].Policy = policy.Compile(policy.Script{Name: "pub", Where: "t.yaml:0", Rules: tt.rules, Deny: tt.deny})
			})
			got := s.post(readShot)
			if refused(got) != string(tt.reason) || len(s.received()) != 0 {
				t.Fatalf("%+v", got)
			}
			for _, says := range tt.says {
				if !strings.Contains(got.body, says) {
					t.Errorf("%s does not say %q", got.body, says)
				}
			}
			e := s.audit.all()[0]
			if e.Kind != audit.RefusedCall || e.Rule == "" || !strings.Contains(string(e.Shape), `"Shot.code"`) || tt.reason != proxy.Denied && !strings.Contains(e.AllowWith, "read: Shot.code") {
				t.Errorf("recorded %+v, shape %s", e, e.Shape)
			}
		})
	}
}

// TestObserveSendsWhatEnforceWould: the same bytes, and says what would not go.
func TestObserveSendsWhatEnforceWould(t *testing.T) {
	observing := func(until time.Time) option {
		return func(st *proxy.State, _ *proxy.Listener) {
			st.Scripts["pub"].Observe, st.Scripts["pub"].ObserveEnd = true, until
		}
	}
	calls := []string{readShot, createShot, update(12, "code", `"a"`)}
	all := rules(rule("read: Shot", nil), rule("create: Shot", nil), rule("update: Shot", nil))
	enforced, observed := start(t, answering(`{"results":1}`), all), start(t, answering(`{"results":1}`), rules(), observing(time.Time{}))
	for _, c := range calls {
		if a, b := enforced.post(c), observed.post(c); a.status != 200 || a.body != b.body || refused(a)+refused(b) != "" {
			t.Errorf("%s\n%+v\n%+v", c, a, b)
		}
	}
	if a, b := enforced.received(), observed.received(); !slices.Equal(a, b) || len(a) != len(calls) {
		t.Errorf("enforced %q\nobserved %q", a, b)
	}
	if got := observed.metrics.observed; len(got) != len(calls) || got[0] != "pub/no_rule" {
		t.Errorf("counted %q", got)
	}
	for _, e := range observed.audit.all() {
		if e.Kind == audit.Intent && (e.Decision != audit.Allow || e.Observed != "no_rule" || !strings.Contains(e.AllowWith, "Shot") || len(e.Shape) == 0 || e.Reason != "") {
			t.Errorf("recorded %+v", e)
		}
	}
	for _, e := range enforced.audit.all() {
		if e.Observed != "" || e.AllowWith != "" {
			t.Errorf("recorded %+v", e)
		}
	}
	needsNaming := strings.Replace(createShot, "Shot", "ApiUser", 1)
	if got := observed.post(needsNaming); refused(got) != string(proxy.NoRule) {
		t.Errorf("what needs naming: %+v", got)
	}
	over := start(t, answering(`{"results":1}`), rules(), observing(time.Now().Add(-time.Minute)))
	if got := over.post(readShot); refused(got) != string(proxy.NoRule) {
		t.Errorf("after its end: %+v", got)
	}
}

func TestShapesHoldNoValues(t *testing.T) {
	s := start(t, answering(`{"results":1}`))
	s.post(strings.Replace(createShot, `"value":"a"`, `"value":"a confidential title"`, 1))
	s.post(`{"method_name":"frob","params":[]}`)
	ev := s.audit.all()
	if shape := string(ev[0].Shape); !strings.Contains(shape, `"Shot.code"`) || strings.Contains(shape, "confidential") {
		t.Errorf("%s", shape)
	}
	for _, e := range ev[1:] {
		if len(e.Shape) > 0 {
			t.Errorf("%s %s has a shape: %s", e.Kind, e.Reason, e.Shape)
		}
	}
}
