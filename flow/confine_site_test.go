package flow_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"stagedoor/flow"
	"stagedoor/flowsite"
)

// confineSite is the stand-in site, which shares no code with the parser: two
// projects, with shots, tasks and versions in both.
type confineSite struct {
	t     *testing.T
	site  *flowsite.Site
	token string
}

func newConfineSite(t *testing.T) confineSite {
	t.Helper()
	site, err := flowsite.New(flowsite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	site.Demo()
	site.AddScript("publisher-2026", realKey, flowsite.RoleAdmin())
	site.AddScript("tool", realKey, flowsite.RoleAdmin())
	return confineSite{t, site, bearer(t, site)}
}

func (s confineSite) do(r *http.Request) []byte {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.site.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		s.t.Fatalf("%s %s: %d %s", r.Method, r.URL, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// rows are the ids that a read of api3 is answered with.
func (s confineSite) rows(m *flow.Message) (ids []int) {
	s.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/api3/json", strings.NewReader(string(m.Body(cred()))))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	var got struct {
		Message string
		Results struct{ Entities []struct{ ID int } }
	}
	if err := json.Unmarshal(s.do(r), &got); err != nil || got.Message != "" {
		s.t.Fatalf("%s, %v: %s", got.Message, err, m.Body(cred()))
	}
	for _, e := range got.Results.Entities {
		ids = append(ids, e.ID)
	}
	return ids
}

func (s confineSite) restRows(c *flow.REST) (ids []int) {
	s.t.Helper()
	target := c.Path
	if c.Query != "" {
		target += "?" + c.Query
	}
	r := httptest.NewRequest(c.Verb, target, strings.NewReader(string(c.Body)))
	if c.ContentType != "" {
		r.Header.Set("Content-Type", c.ContentType)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	var got struct{ Data []struct{ ID int } }
	if err := json.Unmarshal(s.do(r), &got); err != nil {
		s.t.Fatal(err)
	}
	for _, e := range got.Data {
		ids = append(ids, e.ID)
	}
	return ids
}

// TestTheSiteConfinesWhatIsSent: of what a read is answered with, a confined one
// is answered with the rows of the project, no others and no fewer, in the order
// that was asked for.
func TestTheSiteConfinesWhatIsSent(t *testing.T) {
	s := newConfineSite(t)
	const film, typ = flowsite.DemoFilm, "Task"
	read := func(filters, more string) string {
		return call("read", `{"type":"`+typ+`","return_fields":["id"],"filters":`+filters+`,"return_only":"active","paging":{"entities_per_page":500,"current_page":1},"api_return_image_urls":true,"return_paging_info_without_counts":false`+more+`}`)
	}
	inFilm := s.rows(parse(t, read(all(cond("project", "is", project(film))), "")))
	want := func(rows []int) []int {
		return slices.DeleteFunc(slices.Clone(rows), func(id int) bool { return !slices.Contains(inFilm, id) })
	}
	p, q := cond("project", "is", project(film)), cond("project", "is", project(flowsite.DemoSeries))
	ip := cond("content", "is", `"Animation"`)
	some := 0
	for _, filters := range []string{
		all(), group("or"), all(p), all(q), group("or", p, q), group("or", p, ip), all(group("or", q, ip)), all(ip, group("or", p, q)), all(cond("project", "is_not", project(film))),
		all(cond("entity.Shot.code", "contains", `"0010"`)), all(cond("id", "in", "1", "2", "40")), ip,
	} {
		for _, more := range []string{"", `,"sorts":[{"field_name":"id","direction":"desc"}]`} {
			whole, confined := parse(t, read(filters, more)), parse(t, read(filters, more))
			confined.Confine([]int64{film})
			if got, want := s.rows(confined), want(s.rows(whole)); !slices.Equal(got, want) {
				t.Errorf("%s: rows %v, want %v: %s", filters, got, want, confined.Body(cred()))
			}
			some += len(s.rows(whole)) - len(s.rows(confined))
		}
	}
	triple, other := `["project","is",`+project(film)+`]`, `["content","is","Animation"]`
	for _, line := range []string{
		"GET /entity/tasks?fields=id", "GET /entity/tasks?fields=id&sort=-id", "GET /entity/tasks?filter[content]=Animation", "GET /entity/tasks?filter[project.Project.id]=66,65",
		"GET /entity/tasks?filter[project.Project.id]=66", "GET /entity/tasks?filter[project]=Night+Train",
		`POST /entity/tasks/_search {"filters":[]}`, `POST /entity/tasks/_search {}`, `POST /entity/tasks/_search {"filters":[` + triple + `,` + other + `]}`, `POST /entity/tasks/_search {"filters":[` + other + `],"sort":"-id"}`,
		`POST /entity/tasks/_search {"filters":{"logical_operator":"or","conditions":[` + triple + `,` + other + `]}}`, `POST /entity/tasks/_search {"filters":{"logical_operator":"or","conditions":[]}}`,
		`POST /entity/tasks/_search {"filters":{"logical_operator":"and","conditions":[` + other + `,{"logical_operator":"or","conditions":[` + triple + `,` + other + `]}]}}`,
	} {
		whole, confined := rest(t, line), rest(t, line)
		confined.Confine([]int64{film})
		if got, want := s.restRows(confined), want(s.restRows(whole)); !slices.Equal(got, want) {
			t.Errorf("%s: rows %v, want %v: %s %s", line, got, want, confined.Query, confined.Body)
		}
		some += len(s.restRows(whole)) - len(s.restRows(confined))
	}
	if some == 0 {
		t.Error("nothing was confined")
	}
	if v := s.site.Violations(); len(v) > 0 {
		t.Errorf("no client sends that: %q", v)
	}
}

// TestTheSiteConfinesSummaries as it does reads.
func TestTheSiteConfinesSummaries(t *testing.T) {
	s := newConfineSite(t)
	count := func(m *flow.Message) (n int) {
		r := httptest.NewRequest(http.MethodPost, "/api3/json", strings.NewReader(string(m.Body(cred()))))
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
		var got struct {
			Results struct{ Summaries struct{ ID int } }
		}
		if err := json.Unmarshal(s.do(r), &got); err != nil {
			t.Fatal(err)
		}
		return got.Results.Summaries.ID
	}
	summary := func(filters string) *flow.Message {
		return parse(t, call("summarize", `{"type":"Shot","summaries":[{"field":"id","type":"count"}],"filters":`+filters+`,"include_archived_projects":true}`))
	}
	for _, filters := range []string{all(), group("or"), group("or", cond("code", "contains", `"0010"`), cond("id", "greater_than", "0"))} {
		m := summary(filters)
		m.Confine([]int64{flowsite.DemoFilm})
		if whole, confined := count(summary(filters)), count(m); whole != 12 || confined != 8 {
			t.Errorf("%s: %d of %d shots: %s", filters, confined, whole, m.Body(cred()))
		}
	}
}
