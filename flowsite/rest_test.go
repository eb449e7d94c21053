package flowsite_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"stagedoor/flowsite"
)

// restCaller sends REST calls to a site, without a network.
type restCaller struct {
	tb     testing.TB
	site   *flowsite.Site
	token  string
	prefix string
}

// restAnswer is what a REST call comes to.
type restAnswer struct {
	tb     testing.TB
	status int
	header http.Header
	text   string
}

// object is the answer's body, which must be an object.
func (a restAnswer) object() object {
	a.tb.Helper()
	var m object
	if err := json.Unmarshal([]byte(a.text), &m); err != nil {
		a.tb.Fatalf("HTTP %d: %v in %q", a.status, err, a.text)
	}
	return m
}

// at walks into the body by names.
func (a restAnswer) at(names ...string) any {
	a.tb.Helper()
	var v any = a.object()
	for _, name := range names {
		m, ok := v.(object)
		if !ok {
			a.tb.Fatalf("no %v in %s", names, a.text)
		}
		v = m[name]
	}
	return v
}

// send sends a request as a REST client does.
func (c restCaller) send(verb, target, body string, change ...func(*http.Request)) restAnswer {
	c.tb.Helper()
	var src io.Reader
	if body != "" {
		src = strings.NewReader(body)
	}
	r := httptest.NewRequest(verb, c.prefix+target, src)
	r.Header.Set("Accept", "application/json")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	c.site.ServeHTTP(w, r)
	return restAnswer{c.tb, w.Code, w.Header(), w.Body.String()}
}

// array3 and hash3 are the vendor types.
func array3(r *http.Request) {
	r.Header.Set("Content-Type", "application/vnd+shotgun.api3_array+json")
}

func hash3(r *http.Request) {
	r.Header.Set("Content-Type", "application/vnd+shotgun.api3_hash+json")
}

func form(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }

// ok asserts the status, and that nothing was a violation.
func (a restAnswer) ok(status int) restAnswer {
	a.tb.Helper()
	if a.status != status {
		a.tb.Fatalf("want HTTP %d, got %d %s", status, a.status, a.text)
	}
	return a
}

// refused asserts a JSON:API error, and gives its title and detail.
func (a restAnswer) refused(status, code int) string {
	a.tb.Helper()
	errors, _ := a.ok(status).object()["errors"].(array)
	if len(errors) != 1 {
		a.tb.Fatalf("want one error, got %s", a.text)
	}
	e, _ := errors[0].(object)
	if e["status"] != float64(status) || e["code"] != float64(code) || e["id"] == "" {
		a.tb.Errorf("want status %d code %d, got %s", status, code, a.text)
	}
	detail, _ := e["detail"].(string)
	title, _ := e["title"].(string)
	return title + " | " + detail + " | " + encode(a.tb, e["source"])
}

func says(tb testing.TB, text, want string) {
	tb.Helper()
	if !strings.Contains(text, want) {
		tb.Errorf("want %q in %q", want, text)
	}
}

// grant asks the token endpoint.
func (c restCaller) grant(kv ...string) restAnswer {
	c.tb.Helper()
	c.token = ""
	return c.send(http.MethodPost, "/auth/access_token", formOf(kv...).Encode(), form)
}

func formOf(kv ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(kv); i += 2 {
		v.Set(kv[i], kv[i+1])
	}
	return v
}

func (a restAnswer) token(name string) string {
	a.tb.Helper()
	t, _ := a.ok(http.StatusOK).object()[name].(string)
	if strings.Count(t, ".") != 2 {
		a.tb.Fatalf("no token of three parts under %s in %s", name, a.text)
	}
	return t
}

func scriptGrant(more ...string) []string {
	return append([]string{"grant_type", "client_credentials", "client_id", scriptName, "client_secret", scriptKey}, more...)
}

// viaREST is a caller with a token of the script "publish".
func viaREST(tb testing.TB, s *flowsite.Site, more ...string) restCaller {
	tb.Helper()
	c := restCaller{tb: tb, site: s, prefix: "/api/v1"}
	c.token = c.grant(scriptGrant(more...)...).token("access_token")
	return c
}

func (c restCaller) get(target string) restAnswer {
	c.tb.Helper()
	return c.send(http.MethodGet, target, "")
}

// ids of an answer's rows.
func (a restAnswer) ids() []int {
	a.tb.Helper()
	rows, _ := a.ok(http.StatusOK).object()["data"].(array)
	return ids(rows)
}

// §5.1: the API says what it is without a token, under two prefixes.
func TestRootNeedsNoToken_5_1(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	for _, target := range []string{"/api/v1", "/api/v1/", "/api/v1.1", "/api/v1.1/"} {
		a := restCaller{tb: t, site: s}.get(target).ok(http.StatusOK)
		if a.at("data", "shotgun_version_number") != "8.89.0" {
			t.Errorf("%s: %s", target, a.text)
		}
	}
	for _, target := range []string{"/api", "/api/", "/api/v1.2", "/api/v2", "/api/v2/entity/shots", "/api/v1x/entity/shots"} {
		restCaller{tb: t, site: s}.get(target).refused(http.StatusNotFound, 103)
	}
	clean(t, s)
}

// §5.1: links echo the prefix that was used.
func TestLinksEchoThePrefix_5_1(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	for _, prefix := range []string{"/api/v1", "/api/v1.1"} {
		c.prefix = prefix
		a := c.get("/entity/shots/1?fields=code,project").ok(http.StatusOK)
		if got := a.at("data", "links", "self"); got != prefix+"/entity/shots/1" {
			t.Errorf("self: %v", got)
		}
		if got := a.at("data", "relationships", "project", "links", "related"); got != prefix+"/entity/projects/65" {
			t.Errorf("related: %v", got)
		}
	}
	clean(t, s)
}

// §5.2: each grant, in the body and in the query.
func TestEachGrantGivesTokens_5_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := restCaller{tb: t, site: s, prefix: "/api/v1"}
	session, _ := call(t, s).ok("get_session_token").(object)
	token, _ := session["session_id"].(string)
	for _, kv := range [][]string{
		scriptGrant(),
		{"grant_type", "password", "username", "ann", "password", password},
		{"grant_type", "session_token", "session_token", token},
	} {
		for _, inQuery := range []bool{false, true} {
			a := c.grant(kv...)
			if inQuery {
				a = c.send(http.MethodPost, "/auth/access_token?"+formOf(kv...).Encode(), "")
			}
			if o := a.ok(http.StatusOK).object(); o["token_type"] != "Bearer" || o["expires_in"] != 600.0 || len(o) != 4 {
				t.Errorf("%v", o)
			}
			as := c
			as.token = a.token("access_token")
			as.get("/entity/shots/1").ok(http.StatusOK)
			for _, grant := range []string{"refresh", "refresh_token"} {
				next := c.grant("grant_type", grant, "refresh_token", a.token("refresh_token"))
				as.token = next.token("access_token")
				as.get("/entity/shots/1").ok(http.StatusOK)
				says(t, c.grant("grant_type", grant, "refresh_token", a.token("refresh_token")).refused(http.StatusUnauthorized, 102), "Unauthorized | Token invalid")
				a = next
			}
		}
	}
	clean(t, s)
}

// §5.2: what each grant's failure is.
func TestGrantsFailAsMeasured_5_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := restCaller{tb: t, site: s, prefix: "/api/v1"}
	s.AddUser(flowsite.Person{Login: "ben", NoImpersonation: true})
	says(t, c.grant("grant_type", "client_credentials", "client_id", "publish", "client_secret", "wrong").refused(http.StatusBadRequest, 102), "Can't authenticate script 'publish'")
	says(t, c.grant("grant_type", "password", "username", "ann", "password", "wrong").refused(http.StatusBadRequest, 102), "Can't authenticate user 'ann'.")
	says(t, c.grant("grant_type", "session_token", "session_token", "not-a-session-wxyz").refused(http.StatusBadRequest, 102), "'wxyz'")
	says(t, c.grant("grant_type", "refresh_token", "refresh_token", "a.b.c").refused(http.StatusUnauthorized, 102), "Token invalid")
	says(t, c.grant("grant_type", "authorization_code").refused(http.StatusBadRequest, 102), "Unsupported grant_type")
	says(t, c.grant().refused(http.StatusBadRequest, 102), "Unsupported grant_type")
	says(t, c.grant("grant_type", "client_credentials", "client_id", "publish").refused(http.StatusBadRequest, 102), "Missing or invalid authentication arguments")
	for login, why := range map[string]string{"dan": "not active", "nobody": "no person", "ben": "can't be impersonated", "ann@studio.invalid": "no person"} {
		says(t, c.grant(scriptGrant("scope", "sudo_as_login:"+login)...).refused(http.StatusBadRequest, 102), why)
	}
	for _, kind := range []string{"application/json", "text/plain"} {
		c.send(http.MethodPost, "/auth/access_token", "{}", header("Content-Type", kind)).refused(http.StatusUnsupportedMediaType, 103)
	}
	clean(t, s)
}

// §5.2: credentials of two kinds, names that no grant has, a name twice.
func TestTokenFormIsReadStrictly_5_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := restCaller{tb: t, site: s, prefix: "/api/v1"}
	for why, body := range map[string]string{
		"session_token with the grant client": formOf(scriptGrant("session_token", "x")...).Encode(),
		"sudo_as_login with the grant":        formOf(scriptGrant("sudo_as_login", "ann")...).Encode(),
		"the scope is everything":             formOf(scriptGrant("scope", "everything")...).Encode(),
		"the query repeats client_id":         formOf(scriptGrant()...).Encode() + "&client_id=x",
		"the query has novalue":               formOf(scriptGrant()...).Encode() + "&novalue",
	} {
		violatedREST(t, s, c.send(http.MethodPost, "/auth/access_token", body, form), why)
	}
	violatedREST(t, s, c.send(http.MethodPost, "/auth/access_token?client_id=publish", formOf(scriptGrant()...).Encode(), form), "client_id is in the query and in the body")
	c.token = "x"
	violatedREST(t, s, c.send(http.MethodPost, "/auth/access_token", formOf(scriptGrant()...).Encode(), form), "the token endpoint is sent a token")
}

func violatedREST(tb testing.TB, s *flowsite.Site, a restAnswer, why string) {
	tb.Helper()
	v := s.Violations()
	if a.status != http.StatusBadRequest || !strings.Contains(a.text, "no client sends this") ||
		!slices.ContainsFunc(v, func(line string) bool { return strings.Contains(line, why) }) {
		tb.Errorf("want the violation %q, got HTTP %d %s %q", why, a.status, a.text, v)
	}
	s.ResetRecord()
}

// §5.2, §5.3: a token lives 600 seconds of the site's clock; then it has
// expired, and one that the site doesn't know is invalid.
func TestTokensExpire_5_2(t *testing.T) {
	now := clock()
	s := newSite(t, flowsite.Options{Now: func() time.Time { return now }})
	c := viaREST(t, s)
	now = now.Add(599 * time.Second)
	c.get("/entity/shots/1").ok(http.StatusOK)
	now = now.Add(time.Second)
	says(t, c.get("/entity/shots/1").refused(http.StatusUnauthorized, 102), "Token Expired")

	a := c.grant(scriptGrant()...)
	c.token = a.token("access_token")
	c.get("/entity/shots/1").ok(http.StatusOK)
	s.ExpireTokens()
	says(t, c.get("/entity/shots/1").refused(http.StatusUnauthorized, 102), "Token Expired")
	a = c.grant("grant_type", "refresh", "refresh_token", a.token("refresh_token"))
	c.token = a.token("access_token")
	c.get("/entity/shots/1").ok(http.StatusOK)
	s.DropTokens()
	says(t, c.get("/entity/shots/1").refused(http.StatusUnauthorized, 102), "Token invalid")
	c.grant("grant_type", "refresh", "refresh_token", a.token("refresh_token")).refused(http.StatusUnauthorized, 102)

	c.token = ""
	c.get("/entity/shots/1").refused(http.StatusUnauthorized, 102)
	c = viaREST(t, s)
	if err := s.DisableScript(scriptName); err != nil {
		t.Fatal(err)
	}
	says(t, c.get("/entity/shots/1").refused(http.StatusUnauthorized, 102), "Token invalid")
	clean(t, s)
}

// §5.2: sudo and session_uuid come from the token, and the event log and the
// record carry them.
func TestSudoAndUUIDComeFromTheToken_5_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s, "scope", "sudo_as_login:ann", "session_uuid", "u-1")
	c.send(http.MethodPut, "/entity/shots/1", `{"description":"by ann"}`).ok(http.StatusOK)
	log := s.EventLog()
	ev := log[len(log)-1]
	if ev.User != "Ann Åström" || ev.Actual != scriptName || ev.SessionUUID != "u-1" {
		t.Errorf("%+v", ev)
	}
	got := s.Received()
	last := got[len(got)-1]
	if last.Kind != flowsite.RouteREST || last.Method != "update" || last.Type != "Shot" || last.Credential != flowsite.KindBearer ||
		last.Script != scriptName || last.Sudo != "ann" || last.SessionUUID != "u-1" || last.FaultCode != 0 {
		t.Errorf("%+v", last)
	}
	if first := got[0]; first.Method != "access_token" || first.Credential != flowsite.KindScript || first.Script != scriptName || first.Sudo != "ann" {
		t.Errorf("%+v", first)
	}
	clean(t, s)
}

// §5.3, §5.4: what a proxy must not send on.
func TestRequestIsReadStrictly_5_3(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	for why, h := range map[string]func(*http.Request){
		"header Cookie":                  header("Cookie", "_session_id=x"),
		"header Proxy-Authorization":     header("Proxy-Authorization", "Basic x"),
		"header X-Forwarded-For":         header("X-Forwarded-For", "1.2.3.4"),
		"header Origin":                  header("Origin", "https://evil.invalid"),
		"Authorization is not 'Bearer'":  header("Authorization", "bearer "+c.token),
		"Authorization is not 'Bearer' ": header("Authorization", "Basic eDp5"),
		"header Authorization repeated":  header("Authorization", "Bearer x", "Bearer y"),
		"the protocol is HTTP/1.0":       func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0 },
		"no content length":              func(r *http.Request) { r.ContentLength, r.TransferEncoding = -1, []string{"chunked"} },
	} {
		violatedREST(t, s, c.send(http.MethodGet, "/entity/shots/1", "", h), strings.TrimSpace(why))
	}
	violatedREST(t, s, c.send(http.MethodGet, "/entity/shots/1", "{}"), "read has a body")
	violatedREST(t, s, c.send(http.MethodDelete, "/entity/shots/1", "{}"), "delete has a body")
	for target, why := range map[string]string{
		"/entity/shots/1.json":                        "the path is",
		"/entity/shots/1/entity.Shot.code":            "the path is",
		"/entity/%73hots/1":                           "the path is",
		"/entity//shots/1":                            "the path is",
		"/entity/shots/1/":                            "the path is",
		"/entity/shots/../shots/1":                    "the path is",
		"/entity/shots/1?x=1":                         "unknown query name x",
		"/entity/shots/1?fields=code&fields=id":       "repeats fields",
		"/entity/shots/1?fields":                      "the query has fields",
		"/entity/shots?filter=x":                      "unknown query name filter",
		"/entity/shots?filter[a][b]=x":                "unknown query name",
		"/entity/shots?page[size]=1&page%5Bsize%5D=2": "repeats page[size]",
		"/entity/shots?fields=%ff":                    "not plain text",
		"/entity/shots?fields=%zz":                    "the query has",
	} {
		violatedREST(t, s, c.get(target), why)
	}
	for body, why := range map[string]string{
		`{"filters":[],"filters":[]}`:          "duplicate",
		`{"filters":[],"x":1}`:                 "unknown argument x",
		`{"filters":[]} {}`:                    "after the value",
		`{"filters":[["id","is",NaN]]}`:        "invalid character",
		"{\"filters\":[],\"fields\":\"\xff\"}": "UTF-8",
	} {
		violatedREST(t, s, c.send(http.MethodPost, "/entity/shots/_search", body, array3), why)
	}
	violatedREST(t, s, c.send(http.MethodPost, "/entity/shots/_search?fields=code", `{"filters":[],"fields":"code"}`, array3), "in the query and in the body")
}

// §5.4: types have two spellings each, Attachment more.
func TestTypeSpellings_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	for _, typ := range []string{"Shot", "shots", "HumanUser", "human_users", "Attachment", "attachment", "attachments", "event_log_entries", "statuses", "replies", "custom_entity01s"} {
		c.get("/entity/" + typ).ok(http.StatusOK)
	}
	for _, typ := range []string{"shot", "Shots", "humanusers", "HumanUsers", "users", "attachmentss", "human_user", "SHOT"} {
		says(t, c.get("/entity/"+typ).refused(http.StatusNotFound, 103), "Entity type '"+typ+"' does not exist.")
	}
	for _, target := range []string{"/entity/shots/abc", "/entity/shots/01", "/entity", "/nope", "/entity/shots/_nope", "/entity/shots/1/_nope"} {
		c.get(target).refused(http.StatusNotFound, 103)
	}
	c.send(http.MethodPatch, "/entity/shots/1", `{"code":"x"}`).refused(http.StatusNotFound, 103)
	clean(t, s)
}

// §5.4: rows are JSON:API, and unknown fields are left out.
func TestReadShowsRowsAsJSONAPI_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	call(t, s).same(c.get("/entity/shots/1?fields=code,sg_sequence,sg_sequence.Sequence.code,nope,project.Nope.x").ok(http.StatusOK).object(), `{
		"data":{"type":"Shot","id":1,
			"attributes":{"code":"harbour_sq01_0010","sg_sequence.Sequence.code":"harbour_sq01"},
			"relationships":{"sg_sequence":{"data":{"id":1,"name":"harbour_sq01","type":"Sequence"},
				"links":{"self":"/api/v1/entity/shots/1/relationships/sg_sequence","related":"/api/v1/entity/sequences/1"}}},
			"links":{"self":"/api/v1/entity/shots/1"}},
		"links":{"self":"/api/v1/entity/shots/1"}}`)
	says(t, c.get("/entity/shots/999").refused(http.StatusNotFound, 104), "Shot: 999 not found")
	// §6.2: every field is every field, the key of a script too.
	id := s.AddScript("other", "secret-of-other", flowsite.RoleAdmin())
	for _, target := range []string{"?fields=*", "?fields=salted_password", ""} {
		a := c.get("/entity/api_users/" + encode(t, id) + target).ok(http.StatusOK)
		if a.at("data", "attributes", "salted_password") == nil {
			t.Errorf("%q: no canary in %s", target, a.text)
		}
	}
	clean(t, s)
}

// §5.4, §5.9: pages, and a next one always.
func TestListsPageAndSort_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	for target, want := range map[string][]int{
		"/entity/shots?page[size]=5&page[number]=3":                 {11, 12},
		"/entity/shots?page%5Bsize%5D=5&page%5Bnumber%5D=9":         {},
		"/entity/shots?sort=-id&page[size]=3":                       {12, 11, 10},
		"/entity/shots?sort=sg_status_list,-code&page[size]=2":      {12, 8},
		"/entity/shots?sort=nope&page[size]=2":                      {1, 2},
		"/entity/shots?filter[project.Project.id]=66":               {9, 10, 11, 12},
		"/entity/shots?filter[sg_status_list]=wtg,fin&sort=-id":     {12, 9, 8, 5, 4, 1},
		"/entity/shots?filter[id]=3":                                {3},
		"/entity/shots?filter[sg_sequence]=harbour_sq02&sort=-code": {8, 7, 6, 5},
		"/entity/shots?options[return_only]=retired":                {},
	} {
		if got := c.get(target).ids(); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", target, got, want)
		}
	}
	a := c.get("/entity/shots?page[size]=5&page[number]=9&sort=id").ok(http.StatusOK)
	if got := a.at("links", "next"); got != "/api/v1/entity/shots?page%5Bnumber%5D=10&page%5Bsize%5D=5&sort=id" {
		t.Errorf("next: %v", got)
	}
	if got := a.at("links", "prev"); got != "/api/v1/entity/shots?page%5Bnumber%5D=8&page%5Bsize%5D=5&sort=id" {
		t.Errorf("prev: %v", got)
	}
	for _, target := range []string{"page[size]=0", "page[size]=5001", "page[number]=0", "page[size]=x", "filter[nope]=1", "filter[id]=x", "options[return_only]=all"} {
		c.get("/entity/shots?"+target).refused(http.StatusBadRequest, 103)
	}
	clean(t, s)
}

// §5.4: both forms of filters, and fields, sort and page in body or query.
func TestSearchTakesBothForms_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	search := func(query, body string, kind func(*http.Request)) restAnswer {
		t.Helper()
		return c.send(http.MethodPost, "/entity/shots/_search"+query, body, kind)
	}
	triples := `[["project","is",{"type":"Project","id":66}],["code","contains","0010"]]`
	group := `{"logical_operator":"or","conditions":[["id","is",3],{"logical_operator":"and","conditions":[["sg_status_list","in",["fin","wtg"]],["id","less_than",5]]}]}`
	for _, tc := range []struct {
		query, body string
		kind        func(*http.Request)
		want        []int
	}{
		{"", `{"filters":` + triples + `}`, array3, []int{9}},
		{"", `{"filters":[]}`, array3, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
		{"?page[size]=2", `{}`, hash3, []int{1, 2}},
		{"?page[size]=2&page[number]=1&sort=-id&fields=code", `{"filters":` + group + `}`, hash3, []int{4, 3}},
		{"", `{"filters":` + group + `,"page":{"size":2,"number":1},"sort":"-id","fields":["code"]}`, hash3, []int{4, 3}},
		{"", `{"filters":[["id","in",1,2]],"sort":["-id"],"options":{"return_only":"active","include_archived_projects":false}}`, array3, []int{2, 1}},
	} {
		a := search(tc.query, tc.body, tc.kind)
		if got := a.ids(); !slices.Equal(got, tc.want) {
			t.Errorf("%s %s: got %v, want %v", tc.query, tc.body, got, tc.want)
		}
		if a.at("links", "next") == nil {
			t.Errorf("no next page in %s", a.text)
		}
	}
	for body, why := range map[string]string{
		`{"filters":{"conditions":[]}}`:          "Missing logical operator",
		`{"filters":{"logical_operator":"and"}}`: "Missing conditions",
		`{"filters":{"logical_operator":"and","conditions":[{"path":"id","relation":"is","values":[1]}]}}`: "Missing logical operator",
		`{"filters":{"logical_operator":"and","conditions":[["nope","is",1]]}}`:                            "Shot.nope doesn't exist",
		`{"filters":{"logical_operator":"and","conditions":[["id","resembles",1]]}}`:                       "not supported",
		`{"filters":[]}`: "filters must be a hash",
	} {
		says(t, search("", body, hash3).refused(http.StatusBadRequest, 103), why)
	}
	search("", `{"filters":{"logical_operator":"or","conditions":[]}}`, array3).refused(http.StatusBadRequest, 103)
	says(t, search("", `{"filters":[]}`, header("Content-Type", "application/json")).refused(http.StatusUnsupportedMediaType, 103), "api3_hash+json")
	search("", "", array3).refused(http.StatusBadRequest, 103)
	clean(t, s)
}

// §5.4: JSON where JSON belongs, and no vendor type as Accept.
func TestContentTypes_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	says(t, c.send(http.MethodPost, "/entity/shots", `{"code":"x"}`, array3).refused(http.StatusUnsupportedMediaType, 103), "'application/json'")
	a := c.send(http.MethodGet, "/entity/shots/1", "", header("Accept", "application/vnd+shotgun.api3_array+json"))
	if a.ok(http.StatusNotAcceptable); len(a.text) != 1 {
		t.Errorf("%q", a.text)
	}
	clean(t, s)
}

// §5.4: create, update, delete, revive, and what each answers.
func TestWrites_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	a := c.send(http.MethodPost, "/entity/shots", `{"code":"new","project":{"type":"Project","id":65},"assets":[{"type":"Asset","id":1}]}`).ok(http.StatusCreated)
	if a.at("data", "id") != 13.0 || a.at("data", "attributes", "code") != "new" || a.at("data", "attributes", "created_at") != "2026-03-04 10:30:00 UTC" {
		t.Errorf("%s", a.text)
	}
	says(t, c.send(http.MethodPost, "/entity/shots", `{"nope":1}`).refused(http.StatusBadRequest, 103), "API create() Shot.nope doesn't exist")
	a = c.send(http.MethodPut, "/entity/shots/13", `{"description":"d","assets":{"multi_entity_update_mode":"add","value":[{"type":"Asset","id":2}]}}`).ok(http.StatusOK)
	attributes, _ := a.at("data", "attributes").(object)
	if attributes["description"] != "d" || attributes["code"] != "new" || attributes["sg_status_list"] != "wtg" {
		t.Errorf("a PUT answers every field, not %v", attributes)
	}
	if list, _ := a.at("data", "relationships", "assets", "data").(array); len(list) != 2 {
		t.Errorf("%v", list)
	}
	says(t, c.send(http.MethodPut, "/entity/shots/999", `{}`).refused(http.StatusNotFound, 104), "does not exist")
	c.send(http.MethodPut, "/entity/shots/13", `{}`).ok(http.StatusOK)
	if a = c.send(http.MethodDelete, "/entity/shots/13", "").ok(http.StatusNoContent); a.text != "" {
		t.Errorf("%q", a.text)
	}
	c.send(http.MethodDelete, "/entity/shots/13", "").refused(http.StatusNotFound, 104)
	c.get("/entity/shots/13").refused(http.StatusNotFound, 104)
	c.get("/entity/shots/13?options[return_only]=retired").ok(http.StatusOK)
	says(t, c.send(http.MethodPost, "/entity/shots/13", `{"code":"x"}`).refused(http.StatusBadRequest, 103), "revive is missing")
	says(t, c.send(http.MethodPost, "/entity/shots/13?revive=false", "").refused(http.StatusBadRequest, 103), "revive must be true")
	for _, did := range []bool{true, false} {
		a = c.send(http.MethodPost, "/entity/shots/13?revive=true", "").ok(http.StatusOK)
		if a.at("meta", "did_revive") != did {
			t.Errorf("%s", a.text)
		}
	}
	clean(t, s)
}

// §5.4: a batch is done whole or not at all, with or without a last slash.
func TestBatchIsAtomic_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	before := string(s.Snapshot())
	bad := `{"requests":[{"request_type":"create","entity":"Shot","data":{"code":"n"}},{"request_type":"delete","entity":"Shot","record_id":999}]}`
	c.send(http.MethodPost, "/entity/_batch", bad).refused(http.StatusNotFound, 104)
	if string(s.Snapshot()) != before {
		t.Error("half a batch was applied")
	}
	good := `{"requests":[{"request_type":"create","entity":"Shot","data":{"code":"n"},"options":{"fields":["sg_status_list"]}},
		{"request_type":"update","entity":"Shot","record_id":1,"data":{"description":"b"}},{"request_type":"delete","entity":"Shot","record_id":2}]}`
	a := c.send(http.MethodPost, "/entity/_batch/", good).ok(http.StatusOK)
	list, _ := a.object()["data"].(array)
	if len(list) != 3 {
		t.Fatalf("%s", a.text)
	}
	first, _ := list[0].(object)
	call(t, s).same(first["data"], `{"type":"Shot","id":13,"attributes":{"code":"n","sg_status_list":"wtg"},"relationships":{},"links":{"self":"/api/v1/entity/shots/13"}}`)
	c.send(http.MethodPost, "/entity/_batch", `{"data":[]}`)
	violatedREST(t, s, c.send(http.MethodPost, "/entity/_batch", `{"data":[]}`), "unknown argument data")
	c.send(http.MethodPost, "/entity/_batch", `{"requests":[{"request_type":"create","entity":"shots","data":{}}]}`).refused(http.StatusBadRequest, 103)
}

// §5.4: what api3 sees, REST sees.
func TestAPI3AndRESTSeeTheSameRows_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	api3, c := call(t, s), viaREST(t, s)
	c.send(http.MethodPost, "/entity/tasks", `{"content":"by REST","project":{"type":"Project","id":65}}`).ok(http.StatusCreated)
	api3.ok("create", object{"type": "Task", "fields": fields("content", "by api3", "project", link("Project", 66)), "return_fields": array{}})
	for _, typ := range []string{"Shot", "Task", "Version", "HumanUser", "Note", "EventLogEntry"} {
		rows := api3.rows(readArgs(typ, all(cond("id", "greater_than", 1)), "cached_display_name", "created_by"))
		a := c.send(http.MethodPost, "/entity/"+typ+"/_search", `{"filters":[["id","greater_than",1]],"fields":"cached_display_name,created_by"}`, array3)
		if got := a.ids(); !slices.Equal(got, ids(rows)) {
			t.Errorf("%s: REST sees %v, api3 %v", typ, got, ids(rows))
		}
		list, _ := a.object()["data"].(array)
		for i, row := range list {
			m, _ := row.(object)
			attributes, _ := m["attributes"].(object)
			relationships, _ := m["relationships"].(object)
			by, _ := relationships["created_by"].(object)
			want, _ := rows[i].(object)
			if attributes["cached_display_name"] != want["cached_display_name"] || encode(t, by["data"]) != encode(t, want["created_by"]) {
				t.Errorf("%s: REST has %v, api3 %v", typ, m, want)
			}
		}
	}
	clean(t, s)
}

// §5.4: summaries and text search agree with api3.
func TestSummariesAndTextSearch_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	body := `{"filters":[["project","is",{"type":"Project","id":65}]],"summary_fields":[{"field":"id","type":"count"}],"grouping":[{"field":"sg_status_list","type":"exact","direction":"asc"}]}`
	got := c.send(http.MethodPost, "/entity/shots/_summarize", body, array3).ok(http.StatusOK).object()["data"]
	want := call(t, s).ok("summarize", object{
		"type": "Shot", "filters": all(cond("project", "is", link("Project", 65))), "summaries": array{object{"field": "id", "type": "count"}},
		"grouping": array{object{"field": "sg_status_list", "type": "exact", "direction": "asc"}},
	})
	if encode(t, got) != encode(t, want) {
		t.Errorf("REST %v, api3 %v", got, want)
	}
	a := c.send(http.MethodPost, "/entity/_text_search", `{"text":"harbour","entity_types":{"Shot":[],"Asset":[["id","is",1]]},"page":{"size":3}}`, array3)
	if got := a.ids(); len(got) != 3 {
		t.Errorf("%v", got)
	}
	both := c.send(http.MethodPost, "/entity/_text_search", `{"text":"harbour","entity_types":{"Asset":[]},"entity_filters":{"Asset":[]}}`, array3)
	if got := both.ids(); !slices.Equal(got, []int{1, 2, 3, 4}) {
		t.Errorf("as Rust sends it: %v", got)
	}
	for body, why := range map[string]string{`{"text":"abc"}`: "entity_types is missing", `{"entity_types":{}}`: "text is missing"} {
		says(t, c.send(http.MethodPost, "/entity/_text_search", body, array3).refused(http.StatusBadRequest, 103), why)
	}
	clean(t, s)
}

// §5.7: a planned fault has the form of REST.
func TestPlannedFaultsOnREST_5_7(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	s.Fail(flowsite.Fault{Method: "update", Type: "Shot", Code: 104, Message: "not today"}, 1)
	s.Fail(flowsite.Fault{Method: "read", Status: http.StatusServiceUnavailable}, 1)
	says(t, c.send(http.MethodPut, "/entity/shots/1", `{"description":"x"}`).refused(http.StatusBadRequest, 104), "not today")
	c.get("/entity/shots/1").ok(http.StatusServiceUnavailable)
	c.get("/entity/shots/1").ok(http.StatusOK)
}

// §5.2: a token is a JWT that a client can read the end of; both are.
func TestTokensAreReadableJWTs_5_2(t *testing.T) {
	s := newSite(t, flowsite.Options{URL: "https://site.invalid"})
	a := restCaller{tb: t, site: s, prefix: "/api/v1"}.grant(scriptGrant("scope", "sudo_as_login:ann", "session_uuid", "u-1")...)
	for name, life := range map[string]time.Duration{"access_token": 600 * time.Second, "refresh_token": 24 * time.Hour} {
		raw, err := base64.RawURLEncoding.DecodeString(strings.Split(a.token(name), ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims object
		if err := json.Unmarshal(raw, &claims); err != nil {
			t.Fatal(err)
		}
		if claims["exp"] != float64(clock().Add(life).Unix()) || claims["iss"] != "https://site.invalid" || claims["sudo_as_login"] != "ann" ||
			claims["session_uuid"] != "u-1" || claims["auth_type"] != "api_key" || member(claims["user"], "type") != "ApiUser" {
			t.Errorf("%s: %v", name, claims)
		}
	}
	clean(t, s)
}

// §5.2, §1.5: a second factor, and a site whose people log in elsewhere.
func TestPeopleWithTwoFactorsAndSSO_5_2(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	s.AddUser(flowsite.Person{Login: "ann", Password: password, SecondFactor: "123456"})
	c := restCaller{tb: t, site: s, prefix: "/api/v1"}
	says(t, c.grant("grant_type", "password", "username", "ann", "password", password).refused(http.StatusBadRequest, 106), "two factor")
	c.grant("grant_type", "password", "username", "ann", "password", password, "auth_token", "123456").ok(http.StatusOK)
	clean(t, s)
	for _, code := range []int{108, 110} {
		s := newSite(t, flowsite.Options{UserAuthCode: code})
		restCaller{tb: t, site: s, prefix: "/api/v1"}.grant("grant_type", "password", "username", "ann", "password", password).refused(http.StatusBadRequest, code)
		clean(t, s)
	}
}
