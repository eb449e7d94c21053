package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"stagedoor/flowsite"
)

// The same script, every call of the real REST client, once with the real key
// at the site itself and once without through Stagedoor: the same results, the
// same state in the end, the same calls.
func TestTheRESTClientDoesTheSame(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"/api/v1", "/api/v1.1"} {
		for _, storage := range []string{"away", "relayed", "none"} {
			if base != "/api/v1" && storage != "away" {
				continue
			}
			t.Run(base[len("/api/"):]+", storage "+storage, func(t *testing.T) {
				t.Parallel()
				p := newPair(t, storage == "relayed", storage != "none", flowsite.Options{StorageLinks: storage != "none"})
				options := []string{"base=" + base, "sudo=ann", "uuid=5a1d49b0-0c69-11e7-a24c-003ee1c0d0c2"}
				if storage == "none" {
					options = append(options, "download=no")
				}
				want := beginNode(t, siteKey+"\n", p.trusted(p.direct), "rest.mjs", append([]string{p.direct.URL, siteScript}, options...)...)()
				var cas []string
				if storage == "away" {
					cas = p.trusted(p.through)
				}
				got := beginNode(t, "x\n", cas, "rest.mjs", append([]string{p.s.base("tools"), "comp-publisher"}, options...)...)()
				same(t, "result", got, want)
				p.compare()
			})
		}
	}
}

// What plain curl does: no Authorization, any placeholder, a handle that it got
// by a form or a query.
func TestCurlNeedsNoAuthorization(t *testing.T) {
	t.Parallel()
	site := fileSite(t)
	s := door(t, site, handleKey(t), everyDoor)
	api := s.base("tools") + "/api/v1"
	type pair struct{ token, refresh string }
	exchange := func(args ...string) pair {
		t.Helper()
		a := curl(t, append(args, "-X", "POST")...)
		if a.Status != 200 {
			t.Fatalf("%v: %s", args, a)
		}
		return pair{textAt(t, a.Body, "access_token"), textAt(t, a.Body, "refresh_token")}
	}
	const login = "grant_type=client_credentials&client_id=comp-publisher&client_secret=x"
	form := exchange("-d", login, api+"/auth/access_token")
	query := exchange(api + "/auth/access_token?" + login)
	session := exchange("-d", "grant_type=session_token&session_token="+s.sessionHandle("tools"), api+"/auth/access_token")
	again := exchange("-d", "grant_type=refresh_token&refresh_token="+form.refresh, api+"/auth/access_token")
	spelled := exchange(api + "/auth/access_token?grant_type=refresh&refresh_token=" + query.refresh)
	for what, args := range map[string][]string{
		"nothing": {}, "a placeholder": {"-H", "Authorization: Bearer x"}, "a placeholder of another kind": {"-u", "x:y"},
		"a form's handle": {"-H", "Authorization: Bearer " + form.token}, "a query's": {"-H", "Authorization: Bearer " + query.token},
		"a session's": {"-H", "Authorization: Bearer " + session.token}, "a refreshed one": {"-H", "Authorization: Bearer " + again.token},
		"one refreshed as clients spell it": {"-H", "Authorization: Bearer " + spelled.token},
	} {
		a := curl(t, append(args, api+"/entity/shots/1?fields=code")...)
		if a.Status != 200 || textAt(t, a.Body, "data", "attributes", "code") != "harbour_sq01_0010" {
			t.Errorf("with %s: %s", what, a)
		}
	}
	for what, c := range map[string]struct {
		args   []string
		status int
	}{
		"a password":                     {[]string{"-d", "grant_type=password&username=ann&password=x", api + "/auth/access_token"}, 400},
		"no grant":                       {[]string{"-d", "client_id=x", api + "/auth/access_token"}, 400},
		"an unknown grant":               {[]string{"-d", "grant_type=implicit", api + "/auth/access_token"}, 400},
		"JSON":                           {[]string{"-H", "Content-Type: application/json", "-d", `{"grant_type":"client_credentials"}`, api + "/auth/access_token"}, 400},
		"a grant twice":                  {[]string{"-d", login + "&grant_type=password", api + "/auth/access_token"}, 400},
		"a form and a query that differ": {[]string{"-d", login, api + "/auth/access_token?grant_type=password&username=ann&password=x"}, 400},
		"a GET":                          {[]string{"-G", "-d", login, api + "/auth/access_token"}, 405},
	} {
		a := curl(t, c.args...)
		if a.Status != c.status || a.refused() == "" {
			t.Errorf("%s: %s", what, a)
		}
	}
	for _, r := range site.Received() {
		if r.Kind == flowsite.RouteREST && strings.HasSuffix(r.Method, "access_token") && strings.Contains(r.Target+string(r.Body), "password") {
			t.Errorf("the site saw %s", r.Target)
		}
	}
	wantNoViolations(t, site, "with curl")
	if text := s.Log() + s.Audit(); strings.Contains(text, form.token) || strings.Contains(text, "client_secret") {
		t.Error("the logs hold a handle or a query string")
	}
}

// Uploads with curl's -F, which puts no length at its parts and asks first
// whether it may send; a body that is too large to be sent unasked.
func TestCurlSendsFilesAndLargeBodies(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := door(t, site, handleKey(t), everyDoor)
	file := filepath.Join(t.TempDir(), "plåte.exr")
	content := strings.Repeat(aText, 300)
	write(t, file, 0o600, content)
	args := []string{"-F", "entity_type=Shot", "-F", "entity_id=1", "-F", "display_name=a plate", "-F", "file=@" + file, s.base("tools") + "/upload/upload_file"}
	a := curl(t, args...)
	m := regexp.MustCompile(`^1:(\d+)\n`).FindStringSubmatch(a.Body)
	if a.Status != 200 || m == nil {
		t.Fatalf("an upload: %s", a)
	}
	if got := curl(t, "-L", s.base("tools")+"/file_serve/attachment/"+m[1]); got.Body != content {
		t.Errorf("what was uploaded comes back as %s", got)
	}
	first := append([]string{args[6], args[7]}, args[:6]...) // the file before the fields
	if a := curl(t, append(first, args[8])...); a.Status != 200 || !strings.HasPrefix(a.Body, "0:Stagedoor: ") {
		t.Errorf("an upload whose file comes first: %s", a)
	}
	text := strings.Repeat("all of a long text ", 80_000) // 1.5 MB
	body := filepath.Join(t.TempDir(), "body.json")
	write(t, body, 0o600, `{"description":"`+text+`"}`)
	if a := curl(t, "-X", "PUT", "-H", "Content-Type: application/json", "--data-binary", "@"+body, s.base("tools")+"/api/v1/entity/shots/1"); a.Status != 200 {
		t.Errorf("a large body: %s", a)
	}
	write(t, body, 0o600, `{"method_name":"update","params":[{},{"type":"Shot","id":2,"fields":[{"field_name":"description","value":"`+text+`"}]}]}`)
	if a := curl(t, "-H", "Content-Type: application/json", "--data-binary", "@"+body, s.base("tools")+"/api3/json"); a.Status != 200 || strings.Contains(a.Body, `"exception":true`) {
		t.Errorf("a large call: %s", a)
	}
	if n := strings.Count(string(site.Snapshot()), text); n < 2 {
		t.Errorf("the site has the text %d times", n)
	}
	wantNoViolations(t, site, "with large bodies")
}

// asREST is a call in both ways in.
type asREST struct {
	rpc, rest request
}

// vendor is a request with one of Flow's own content types.
func vendor(path, kind, body string) request {
	return request{Verb: http.MethodPost, Path: path, Body: body, Header: header("Content-Type", "application/vnd+shotgun.api3_"+kind+"+json")}
}

// twoWays are calls that mean the same on both ways in.
func twoWays() map[string]asREST {
	read := func(typ, fields, filters string) request {
		return rpcRequest("read", "{}", fmt.Sprintf(`{"type":%q,"return_fields":[%s],"filters":{"logical_operator":"and","conditions":[%s]},"return_only":"active","paging":{"entities_per_page":5,"current_page":1}}`, typ, fields, filters))
	}
	is := func(path, value string) string {
		return fmt.Sprintf(`{"path":%q,"relation":"is","values":[%s]}`, path, value)
	}
	const link = `{"type":"Shot","id":1}`
	return map[string]asREST{
		"read":                        {read("Shot", `"code"`, ""), request{Path: "/api/v1/entity/shots?fields=code"}},
		"read one":                    {read("Shot", `"code"`, is("id", "1")), request{Path: "/api/v1/entity/shots/1?fields=code"}},
		"read another type":           {read("Asset", `"code"`, ""), request{Path: "/api/v1/entity/assets?fields=code"}},
		"read another field":          {read("Shot", `"code","description"`, ""), request{Path: "/api/v1/entity/shots?fields=code,description"}},
		"read a dotted field":         {read("Shot", `"sg_sequence.Sequence.code"`, ""), request{Path: "/api/v1/entity/shots?fields=sg_sequence.Sequence.code"}},
		"read the log":                {read("EventLogEntry", `"meta"`, ""), request{Path: "/api/v1/entity/event_log_entries?fields=meta"}},
		"read a credential":           {read("HumanUser", `"password_proxy"`, ""), request{Path: "/api/v1/entity/human_users?fields=password_proxy"}},
		"read a credential behind":    {read("Shot", `"created_by.ApiUser.salted_password"`, ""), request{Path: "/api/v1/entity/shots?fields=created_by.ApiUser.salted_password"}},
		"filter by a field":           {read("Shot", `"code"`, is("sg_cut_in", "1")), request{Path: "/api/v1/entity/shots?fields=code&filter%5Bsg_cut_in%5D=1"}},
		"filter by a credential":      {read("HumanUser", `"login"`, is("password_proxy", `"x"`)), request{Path: "/api/v1/entity/human_users?fields=login&filter%5Bpassword_proxy%5D=x"}},
		"search":                      {read("Shot", `"code"`, is("sg_status_list", `"fin"`)), vendor("/api/v1/entity/shots/_search?fields=code", "array", `{"filters":[["sg_status_list","is","fin"]]}`)},
		"search, fields in the body":  {read("Shot", `"code","description"`, is("sg_status_list", `"fin"`)), vendor("/api/v1/entity/shots/_search", "hash", `{"fields":["code","description"],"filters":{"logical_operator":"and","conditions":[["sg_status_list","is","fin"]]}}`)},
		"search behind a link":        {read("Shot", `"code"`, is("sg_sequence.Sequence.code", `"a"`)), vendor("/api/v1/entity/shots/_search?fields=code", "array", `{"filters":[["sg_sequence.Sequence.code","is","a"]]}`)},
		"create":                      {rpcRequest("create", "{}", `{"type":"Shot","fields":[{"field_name":"code","value":"a"}],"return_fields":["id"]}`), jsonRequest(http.MethodPost, "/api/v1/entity/shots", `{"code":"a"}`)},
		"create another type":         {rpcRequest("create", "{}", `{"type":"Task","fields":[{"field_name":"content","value":"a"},{"field_name":"entity","value":`+link+`}],"return_fields":["id"]}`), jsonRequest(http.MethodPost, "/api/v1/entity/tasks", `{"content":"a","entity":`+link+`}`)},
		"create a script":             {rpcRequest("create", "{}", `{"type":"ApiUser","fields":[{"field_name":"firstname","value":"a"}],"return_fields":["id"]}`), jsonRequest(http.MethodPost, "/api/v1/entity/api_users", `{"firstname":"a"}`)},
		"update":                      {rpcRequest("update", "{}", `{"type":"Shot","id":1,"fields":[{"field_name":"description","value":"a"}]}`), jsonRequest(http.MethodPut, "/api/v1/entity/shots/1", `{"description":"a"}`)},
		"update another field":        {rpcRequest("update", "{}", `{"type":"Shot","id":1,"fields":[{"field_name":"code","value":"a"}]}`), jsonRequest(http.MethodPut, "/api/v1/entity/shots/1", `{"code":"a"}`)},
		"update a password":           {rpcRequest("update", "{}", `{"type":"HumanUser","id":1,"fields":[{"field_name":"password_proxy","value":"a"}]}`), jsonRequest(http.MethodPut, "/api/v1/entity/human_users/1", `{"password_proxy":"a"}`)},
		"delete":                      {rpcRequest("delete", "{}", `{"type":"Shot","id":5}`), request{Verb: http.MethodDelete, Path: "/api/v1/entity/shots/5"}},
		"delete another type":         {rpcRequest("delete", "{}", `{"type":"Task","id":5}`), request{Verb: http.MethodDelete, Path: "/api/v1/entity/tasks/5"}},
		"revive":                      {rpcRequest("revive", "{}", `{"type":"Shot","id":5}`), request{Verb: http.MethodPost, Path: "/api/v1/entity/shots/5?revive=true"}},
		"batch":                       {rpcRequest("batch", "{}", `[{"request_type":"update","type":"Shot","id":1,"fields":[{"field_name":"description","value":"a"}]}]`), jsonRequest(http.MethodPost, "/api/v1/entity/_batch", `{"requests":[{"request_type":"update","entity":"Shot","record_id":1,"data":{"description":"a"}}]}`)},
		"batch with one that may not": {rpcRequest("batch", "{}", `[{"request_type":"update","type":"Shot","id":1,"fields":[{"field_name":"description","value":"a"}]},{"request_type":"delete","type":"Task","id":1}]`), jsonRequest(http.MethodPost, "/api/v1/entity/_batch", `{"requests":[{"request_type":"update","entity":"Shot","record_id":1,"data":{"description":"a"}},{"request_type":"delete","entity":"Task","record_id":1}]}`)},
		"summarize":                   {rpcRequest("summarize", "{}", `{"type":"Task","filters":{"logical_operator":"and","conditions":[]},"summaries":[{"field":"id","type":"count"}]}`), vendor("/api/v1/entity/tasks/_summarize", "array", `{"filters":[],"summary_fields":[{"field":"id","type":"count"}]}`)},
		"schema":                      {rpcRequest("schema_field_read", "{}", `{"type":"Shot"}`), request{Path: "/api/v1/schema/Shot/fields"}},
		"schema of another type":      {rpcRequest("schema_field_read", "{}", `{"type":"Task"}`), request{Path: "/api/v1/schema/Task/fields"}},
		"a field's end":               {rpcRequest("schema_field_delete", "{}", `{"type":"Shot","field_name":"sg_bid"}`), request{Verb: http.MethodDelete, Path: "/api/v1/schema/Shot/fields/sg_bid"}},
		"follow":                      {rpcRequest("follow", "{}", `{"user":{"type":"HumanUser","id":1},"entity":`+link+`}`), jsonRequest(http.MethodPost, "/api/v1/entity/human_users/1/follow", `{"entities":[{"record_id":1,"entity":"Shot"}]}`)},
		"followers":                   {rpcRequest("followers", "{}", `{"entity":`+link+`}`), request{Path: "/api/v1/entity/shots/1/followers"}},
		"preferences":                 {rpcRequest("preferences_read", "{}", `{"prefs":["hours_per_day"]}`), request{Path: "/api/v1/preferences?prefs=hours_per_day"}},
		"activity":                    {rpcRequest("activity_stream", "{}", `{"type":"Shot","id":1,"entity_fields":{},"max_id":null,"min_id":null,"limit":3}`), request{Path: "/api/v1/entity/shots/1/activity_stream?limit=3"}},
		"the days":                    {rpcRequest("work_schedule_read", "{}", `{"start_date":"2026-03-01","end_date":"2026-03-05","project":{"type":"Project","id":65},"user":null}`), request{Path: "/api/v1/schedule/work_day_rules?start_date=2026-03-01&end_date=2026-03-05&project_id=65"}},
		"seats":                       {rpcRequest("user_subscriptions_read", "{}", ""), request{Path: "/api/v1/subscription_seat/user_subscriptions"}},
	}
}

// verdict is what a refusal says: reason and text, less the request id, "" where
// the call is served.
func verdict(t *testing.T, a httpAnswer) string {
	t.Helper()
	if a.refused() == "" {
		return ""
	}
	var answer struct {
		Message string `json:"message"`
		Errors  []struct {
			Status int    `json:"status"`
			Code   int    `json:"code"`
			Title  string `json:"title"`
			Detail string `json:"detail"`
		} `json:"errors"`
	}
	if err := json.Unmarshal([]byte(a.Body), &answer); err != nil {
		t.Errorf("a refusal is no JSON: %v: %s", err, a)
	}
	text := answer.Message
	for _, e := range answer.Errors {
		if e.Status != a.Status || e.Code == 0 || e.Title == "" {
			t.Errorf("a refusal is no JSON:API error: %s", a)
		}
		text += e.Title
		if e.Detail != "" && e.Detail != e.Title {
			text = e.Detail
		}
	}
	return a.refused() + ": " + regexp.MustCompile(`[0-9A-Z]{26}`).ReplaceAllString(text, "ID")
}

// One rule governs both ways in: what it allows it allows on both, and what it
// does not is refused on both, with the same reason in the same words.
func TestOneRuleGovernsBothWaysIn(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	const many = "    limit: {rate: 10000/s, burst: 100000, in_flight: 100}\n"
	for _, rules := range []string{
		many + "    allow: []\n",
		many + "    allow: [{read: Shot.code}]\n",
		many + "    allow: [{read: {Shot: [code, sg_status_list, sg_sequence], Sequence: code}}, {update: Shot.description}, {create: Shot.code}, {schema: Shot}]\n",
		many + "    allow: [{read: '*'}, {create: '*'}, {update: '*'}, {delete: Shot}, {revive: Shot}, {follow: Shot}, preferences, schedule]\n",
		everyDoor,
	} {
		s := door(t, site, handleKey(t), rules)
		allowed := 0
		for what, c := range twoWays() {
			rpc, rest := verdict(t, s.ask("tools", c.rpc)), verdict(t, s.ask("tools", c.rest))
			if rpc != rest {
				t.Errorf("%s\n%s:\n on api3 %q\n on REST %q", rules, what, rpc, rest)
			}
			if rpc == "" {
				allowed++
			}
		}
		if none := strings.Contains(rules, "allow: []"); none != (allowed == 0) || allowed == len(twoWays()) {
			t.Errorf("%s\nallows %d of %d", rules, allowed, len(twoWays()))
		}
		s.Stop()
	}
	wantNoViolations(t, site, "on both ways in")
}

// All fields, and the whole record that a write answers with, are what the
// script may read of them.
func TestAnAnswerHoldsNoMoreThanTheScriptMayRead(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := door(t, site, handleKey(t), "    allow: [{read: {Shot: [code, sg_sequence], HumanUser: '*'}}, {update: Shot.description}, {create: Shot}]\n")
	names := func(a httpAnswer) []string {
		t.Helper()
		var answer struct {
			Data struct {
				Attributes, Relationships map[string]json.RawMessage
			}
		}
		if err := json.Unmarshal([]byte(a.Body), &answer); err != nil || a.Status >= 300 {
			t.Fatalf("%v: %s", err, a)
		}
		var out []string
		for name := range answer.Data.Attributes {
			out = append(out, name)
		}
		for name := range answer.Data.Relationships {
			out = append(out, name)
		}
		return out
	}
	for what, r := range map[string]request{
		"a write":    jsonRequest(http.MethodPut, "/api/v1/entity/shots/1", `{"description":"a text of this test"}`),
		"all fields": {Path: "/api/v1/entity/shots/1?fields=*"},
	} {
		a := s.ask("tools", r)
		got := names(a)
		if !slices.Contains(got, "code") || !slices.Contains(got, "sg_sequence") {
			t.Errorf("%s lacks what may be read: %v", what, got)
		}
		for _, name := range got {
			if name != "code" && name != "sg_sequence" && !(what == "a write" && name == "description") {
				t.Errorf("%s holds %s", what, name)
			}
		}
		if strings.Contains(a.Body, "harbour_asset") {
			t.Errorf("%s holds links that may not be read: %s", what, a)
		}
	}
	a := s.ask("tools", request{Path: "/api/v1/entity/human_users/1?fields=*"})
	if got := names(a); !slices.Contains(got, "login") || slices.Contains(got, "password_proxy") || strings.Contains(a.Body, "password") {
		t.Errorf("all fields of a person: %s", a)
	}
	wantNoViolations(t, site, "with all fields")
}

// Paths that could be read in two ways, and routes that nobody knows, are
// refused before anything is asked of the site.
func TestARESTPathHasOneMeaning(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := door(t, site, handleKey(t), everyDoor)
	for _, r := range []request{
		{Path: "/api/v1/entity/shots.json"},
		{Path: "/api/v1/entity/shots/1.json"},
		{Path: "/api/v1/entity/shots/1/sg_sequence.Sequence.code"},
		{Path: "/api/v1/entity/sh%6fts"},
		{Path: "/api/v1/entity/shots%2f1"},
		{Path: "/api/v1/entity//shots"},
		{Path: "/api/v1//entity/shots"},
		{Path: "/api/v1/entity/shots/../api_users"},
		{Path: "/api/v1/entity/./shots"},
		{Path: "/api/v1/entity/shots;x=1"},
		{Path: "/api/v1/entity/shots/1/"},
		{Path: "/api/v1/entity/shots/01"},
		{Path: "/api/v1/entity/shots/-1"},
		{Path: "/api/v1/entity/shots/1e3"},
		{Path: "/api/v1/entity/shots/99999999999999999999"},
		{Path: "/api/v1/entity/shotss"},
		{Path: "/api/v1/entity/users"},
		{Path: "/api/v1/entity/no_such_type"},
		{Path: "/api/v1/entity/shots/1/_revive"},
		{Path: "/api/v1/entity/shots/1/_upload_complete"},
		{Path: "/api/v1/no_such_route"},
		{Path: "/api/v1.2/entity/shots"},
		{Path: "/api/v1.1.1/entity/shots"},
		{Path: "/API/v1/entity/shots"},
		{Path: "/api/V1/entity/shots"},
		{Path: "/api/v1/internal_api/session"},
		{Path: "/api/v1/schema/Shot.json"},
		{Path: "/api/v1/spec.xml"},
		{Verb: "PATCH", Path: "/api/v1/entity/shots/1"},
		{Verb: "PATCH", Path: "/api/v1/preferences/update"},
		{Path: "/api/v1/entity/shots?fields=code&fields=description"},
		{Path: "/api/v1/entity/shots?fields=code;x"},
		{Path: "/api/v1/entity/shots?fields=%ff"},
		{Path: "/api/v1/entity/shots?fields[]=code"},
		{Path: "/api/v1/entity/shots?_method=delete"},
		{Path: "/api/v1/entity/shots?Fields=code"},
		{Path: "/api/v1/entity/shots?filter[code]=a&filter[code]=b"},
		{Path: "/api/v1/entity/shots?filter[code][x]=a"},
		{Path: "/api/v1/entity/shots?page=1"},
		jsonRequest("PUT", "/api/v1/entity/shots/1", `{"description":"a","description":"b"}`),
		jsonRequest("PUT", "/api/v1/entity/shots/1", `{"description":"a"}{}`),
		jsonRequest("PUT", "/api/v1/entity/shots/1", `["description"]`),
		jsonRequest("POST", "/api/v1/entity/shots/_search", `{"filters":[]}`),
		vendor("/api/v1/entity/shots", "array", `{"code":"a"}`),
		vendor("/api/v1/entity/shots/_search", "array", `{"filters":[],"FILTERS":[]}`),
		vendor("/api/v1/entity/shots/_search?fields=code", "array", `{"filters":[],"fields":["description"]}`),
		{Path: "/api/v1/entity/shots", Body: "{}", Header: header("Content-Type", "application/json")},
	} {
		a := s.ask("tools", r)
		if a.Status < 400 || a.refused() == "" {
			t.Errorf("%s %s %s: %s", r.Verb, r.Path, r.Body, a)
		}
		if strings.HasPrefix(r.Path, "/api/v1/entity/shots?") && !strings.Contains(a.Body, `"errors":[`) {
			t.Errorf("%s: the refusal is no JSON:API error: %s", r.Path, a)
		}
	}
	wantUntouched(t, site, "with paths that could be read in two ways")
	for spelling, want := range map[string]string{"shots": "Shot", "Shot": "Shot", "human_users": "HumanUser", "HumanUser": "HumanUser", "custom_entity01s": "", "event_log_entries": "EventLogEntry"} {
		site.ResetRecord()
		a := s.ask("tools", request{Path: "/api/v1/entity/" + spelling + "?fields=id"})
		if want == "" {
			continue
		}
		all := seen(site)
		if a.Status != 200 || len(all) != 1 || all[0].Type != want {
			t.Errorf("%s: the site saw %v: %s", spelling, all, a)
		}
	}
	wantNoViolations(t, site, "with spellings")
}

// What reaches beyond records needs a rule that names it.
func TestWhatOnlyRESTHasNeedsARuleOfItsOwn(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	const uuid = "5a1d49b0-0c69-11e7-a24c-003ee1c0d0c2"
	broad := "    allow: [{read: '*'}, {read: EventLogEntry}, {create: '*'}, {update: '*'}, {delete: '*'}, {revive: '*'}, {follow: '*'}, {schema: '*'}, {upload: '*'}, {download: '*'}, preferences, schedule"
	hook := jsonRequest("POST", "/api/v1/webhook/hooks", `{"url":"https://example.invalid/hook","entity_types":{"Shot":{"create":[]}},"projects":[65]}`)
	for word, all := range map[string][]request{
		"webhook_read":              {{Path: "/api/v1/webhook/hooks"}, {Path: "/api/v1/webhook/hooks/" + uuid}, {Path: "/api/v1/webhook/hooks/" + uuid + "/deliveries"}},
		"webhook_write":             {hook, {Verb: "DELETE", Path: "/api/v1/webhook/hooks/" + uuid}, {Verb: "POST", Path: "/api/v1/webhook/hooks/" + uuid + "/test_connection"}},
		"preferences_update":        {jsonRequest("PUT", "/api/v1/preferences/update", `{"preference":"custom_entity","entity_type":"CustomEntity01","display_name":"Rig"}`)},
		"license_info":              {{Path: "/api/v1/license_info"}},
		"user_subscriptions_create": {jsonRequest("POST", "/api/v1/subscription_seat/user_subscriptions", `{"2":"flow"}`)},
		"user_subscriptions_read":   {{Path: "/api/v1/subscription_seat/user_subscriptions"}},
		"transcode":                 {{Verb: "POST", Path: "/api/v1/transcode/attachment_metadata/1"}},
		"schema_field_create: '*'":  {jsonRequest("POST", "/api/v1/schema/Shot/fields", `{"data_type":"text","properties":[{"property_name":"name","value":"A"}]}`)},
		"schema_field_delete: Shot": {{Verb: "DELETE", Path: "/api/v1/schema/Shot/fields/sg_bid"}},
		"export_page":               {{Path: "/api/v1/exports/page/900.csv"}},
	} {
		without := door(t, site, handleKey(t), broad+"]\n")
		for _, r := range all {
			before := len(seen(site))
			if a := without.ask("tools", r); a.Status != 403 || a.refused() != "no_rule" || len(seen(site)) != before {
				t.Errorf("%s %s without a rule: %s", r.Verb, r.Path, a)
			}
		}
		without.Stop()
		rule := word
		if strings.Contains(rule, ":") {
			rule = "{" + rule + "}"
		}
		with := door(t, site, handleKey(t), broad+", "+rule+"]\n")
		for _, r := range all {
			if a := with.ask("tools", r); a.refused() != "" {
				t.Errorf("%s %s with the rule %s: %s", r.Verb, r.Path, word, a)
			}
		}
		with.Stop()
	}
	wantNoViolations(t, site, "with what only REST has")
}

// What the user of the Node client reads of a refusal, which is sent once.
func TestWhatTheUserOfTheRESTClientReads(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	site.Fail(flowsite.Fault{Type: "Playlist", Status: 500}, 0)
	s := door(t, site, handleKey(t), "    limit: {rate: 1000/s, burst: 1000}\n    allow: [{read: Shot}, {create: Playlist}]\n")
	out := beginNode(t, "", nil, "refused.mjs", s.base("tools"))()
	var got map[string]struct {
		Status  int
		Message string
		Sent    int
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]struct {
		status int
		says   string
	}{
		"a rule":     {403, "Stagedoor: comp-publisher may not delete Shot; no rule allows it. Ask #pipeline, with the request id "},
		"a field":    {403, "comp-publisher may not reach HumanUser.password_proxy"},
		"a login":    {403, "comp-publisher may not act as ann"},
		"a password": {400, "user_password"},
		"the site":   {409, "Stagedoor: "},
		"a handle":   {401, "Stagedoor: "},
	} {
		g := got[what]
		if g.Status != want.status || !strings.Contains(g.Message, want.says) || g.Sent != 1 {
			t.Errorf("%s: %+v", what, g)
		}
	}
	if n := len(seen(site)); n != 1 {
		t.Errorf("the site saw %d calls", n)
	}
}

// begun is the answer to the first step of an upload over REST.
type begun struct {
	Data  map[string]any
	Links struct {
		Upload   string `json:"upload"`
		Complete string `json:"complete_upload"`
		Next     string `json:"get_next_part"`
	}
}

// restBegin asks for the links of an upload to a Version's movie.
func (s *stagedoor) restBegin(query string) begun {
	s.t.Helper()
	a := curl(s.t, s.base("tools")+"/api/v1/entity/versions/1/sg_uploaded_movie/_upload?filename=a.mov"+query)
	var b begun
	if err := json.Unmarshal([]byte(a.Body), &b); err != nil || b.Links.Upload == "" {
		s.t.Fatalf("an upload begins with %v: %s", err, a)
	}
	return b
}

// restComplete links what was uploaded.
func (s *stagedoor) restComplete(b begun, etags []string) {
	s.t.Helper()
	if etags != nil {
		b.Data["etags"] = etags
	}
	body, err := json.Marshal(map[string]any{"upload_info": b.Data, "upload_data": map[string]any{"display_name": "a movie"}})
	if err != nil {
		s.t.Fatal(err)
	}
	if a := s.ask("tools", jsonRequest(http.MethodPost, b.Links.Complete, string(body))); a.Status != 201 && a.Status != 204 {
		s.t.Errorf("an upload ends with %s", a)
	}
}

// wantMovie checks that the site has this text as the last file.
func wantMovie(t *testing.T, site *theSite, text string) {
	t.Helper()
	for id := 801; ; id++ {
		f, ok := site.File(id)
		if !ok {
			t.Errorf("the site has no such file of %d bytes", len(text))
			return
		}
		if sum := sha256.Sum256([]byte(text)); f.SHA256 == hex.EncodeToString(sum[:]) && f.Size == int64(len(text)) {
			return
		}
	}
}

// A file in parts over REST, as a hand-written tool sends it; one that is given
// up leaves nothing.
func TestAFileInPartsOverREST(t *testing.T) {
	t.Parallel()
	for _, relay := range []bool{false, true} {
		t.Run(fmt.Sprintf("relay %t", relay), func(t *testing.T) {
			t.Parallel()
			site := storageSite(t, flowsite.Options{})
			top, trust := handleKey(t), []string{"--cacert", site.StorageCA}
			if relay {
				top, trust = top+relayTo(site), nil
			}
			s := door(t, site, top, everyDoor)
			text := strings.Repeat(aText, 700) // 7 MB: a part of 5 MiB and another
			b := s.restBegin("&multipart_upload=true")
			var etags []string
			rest, link, next := text, b.Links.Upload, b.Links.Next
			for {
				part := filepath.Join(t.TempDir(), "part")
				write(t, part, 0o600, rest[:min(5<<20, len(rest))])
				a := curl(t, append([]string{"-T", part, "-H", "Content-Type: video/quicktime", link}, trust...)...)
				if a.Status != 200 || a.Header.Get("Etag") == "" {
					t.Fatalf("part %d: %s", len(etags)+1, a)
				}
				etags = append(etags, a.Header.Get("Etag"))
				if rest = rest[min(5<<20, len(rest)):]; rest == "" {
					break
				}
				a = curl(t, s.base("tools")+next)
				link, next = textAt(t, a.Body, "links", "upload"), textAt(t, a.Body, "links", "get_next_part")
			}
			if len(etags) != 2 {
				t.Errorf("it went in %d parts", len(etags))
			}
			s.restComplete(b, etags)
			wantMovie(t, site, text)

			before := string(site.Snapshot())
			b = s.restBegin("&multipart_upload=true")
			info, err := json.Marshal(b.Data)
			if err != nil {
				t.Fatal(err)
			}
			if a := s.ask("tools", jsonRequest(http.MethodPost, b.Links.Complete+"/multipart_abort", string(info))); a.Status != 204 {
				t.Errorf("giving it up: %s", a)
			}
			if string(site.Snapshot()) != before {
				t.Error("what was given up left something")
			}
			wantNoViolations(t, site, "with parts")
		})
	}
}

// A file to the site itself over REST: the link that the tool is given leads
// through the proxy, with a length or without.
func TestAFileToTheSiteOverREST(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	s := door(t, site, handleKey(t), everyDoor)
	for what, more := range map[string][]string{
		"with a length":    {},
		"in chunks":        {"-H", "Transfer-Encoding: chunked"},
		"with its bearer":  {"-H", "Authorization: Bearer " + s.tokens(aLogin).Access},
		"with another tag": {"-H", "Content-Size: 100"},
	} {
		text := strings.Repeat(what, 100_000)
		file := filepath.Join(t.TempDir(), "a.mov")
		write(t, file, 0o600, text)
		b := s.restBegin("")
		if !strings.HasPrefix(b.Links.Upload, s.base("tools")+"/api/v1/entity/") {
			t.Errorf("the link leads to %s", b.Links.Upload)
		}
		a := curl(t, append([]string{"-T", file, "-H", "Content-Type: video/quicktime", b.Links.Upload}, more...)...)
		if a.Status != 200 {
			t.Errorf("%s: %s", what, a)
		}
		if id := textAt(t, a.Body, "data", "upload_id"); id != "" {
			b.Data["upload_id"] = id
		}
		s.restComplete(b, nil)
		wantMovie(t, site, text)
	}
	a := s.ask("tools", request{Verb: http.MethodPut, Path: "/api/v1/entity/api_users/1/image/_upload?filename=a", Body: "x", Header: header("Content-Type", "image/png")})
	if a.Status < 400 || a.refused() == "" {
		t.Errorf("a file for a script's picture: %s", a)
	}
	wantNoViolations(t, site, "with files to the site")
}
