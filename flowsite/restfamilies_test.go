package flowsite_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"stagedoor/flowsite"
)

func (c restCaller) post(target, body string, change ...func(*http.Request)) restAnswer {
	c.tb.Helper()
	return c.send(http.MethodPost, target, body, change...)
}

func (c restCaller) put(target, body string) restAnswer {
	c.tb.Helper()
	return c.send(http.MethodPut, target, body)
}

// list is a list in the body.
func (a restAnswer) list(names ...string) array {
	a.tb.Helper()
	list, ok := a.at(names...).(array)
	if !ok {
		a.tb.Fatalf("no list %v in %s", names, a.text)
	}
	return list
}

func member(v any, name string) any {
	m, _ := v.(object)
	return m[name]
}

// §5.4: the links of one field, all at once.
func TestRelationships_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	call(t, s).same(c.get("/entity/shots/1/relationships/sg_sequence").ok(http.StatusOK).object(),
		`{"data":{"id":1,"name":"harbour_sq01","type":"Sequence"},"links":{"self":"/api/v1/entity/shots/1/relationships/sg_sequence"}}`)
	if got := ids(c.get("/entity/sequences/1/relationships/shots").list("data")); !slices.Equal(got, []int{1, 2, 3, 4}) {
		t.Errorf("%v", got)
	}
	says(t, c.get("/entity/shots/1/relationships/code").refused(http.StatusBadRequest, 103), "'code' is not a relationship field")
	says(t, c.get("/entity/shots/1/relationships/nope").refused(http.StatusNotFound, 103), "Field 'Shot.nope' does not exist.")
	c.get("/entity/shots/999/relationships/assets").refused(http.StatusNotFound, 104)
	clean(t, s)
}

// §5.4: the stream of a row, with bounds that are exclusive.
func TestActivityStream_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	for _, d := range []string{"a", "b", "c"} {
		c.put("/entity/shots/1", `{"description":"`+d+`"}`).ok(http.StatusOK)
	}
	a := c.get("/entity/shots/1/activity_stream?limit=2&entity_fields[Shot]=code").ok(http.StatusOK)
	updates := a.list("data", "updates")
	if got := ids(updates); !slices.Equal(got, []int{3, 2}) {
		t.Fatalf("%v", got)
	}
	if member(updates[0], "created_at") != "2026-03-04T10:30:00Z" || member(member(updates[0], "primary_entity"), "code") != "harbour_sq01_0010" {
		t.Errorf("%s", a.text)
	}
	if got := ids(c.get("/entity/shots/1/activity_stream?max_id=3&min_id=1").list("data", "updates")); !slices.Equal(got, []int{2}) {
		t.Errorf("%v", got)
	}
	for _, wrong := range []string{"limit=0", "limit=501", "limit=x", "entity_fields[Nope]=code"} {
		c.get("/entity/shots/1/activity_stream?"+wrong).refused(http.StatusBadRequest, 103)
	}
	c.get("/entity/shots/999/activity_stream").refused(http.StatusInternalServerError, 100)
	clean(t, s)
}

// §5.4: following is the same on both ways in; a list of follows isn't atomic.
func TestFollowing_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	follow := func(list string) restAnswer { return c.post("/entity/human_users/1/follow", `{"entities":`+list+`}`) }
	follow(`[{"record_id":1,"entity":"Shot"},{"record_id":1,"entity":"Version"}]`).ok(http.StatusNoContent)
	call(t, s).ok("follow", object{"user": link("HumanUser", 2), "entity": link("Shot", 1)})
	call(t, s).same(c.get("/entity/shots/1/followers").ok(http.StatusOK).object(), `{"data":[
		{"id":1,"type":"HumanUser","attributes":{"name":"Ann Åström"},"links":{"self":"/api/v1/entity/HumanUser/1"}},
		{"id":2,"type":"HumanUser","attributes":{"name":"Ben Okafor"},"links":{"self":"/api/v1/entity/HumanUser/2"}}]}`)
	for query, want := range map[string]int{"": 2, "?entity=shots": 1, "?entity=Shot&project_id=65": 1, "?project_id=66": 0} {
		if got := c.get("/entity/human_users/1/following" + query).ok(http.StatusOK).list("data"); len(got) != want {
			t.Errorf("%q: %v", query, got)
		}
	}
	follow(`[{"record_id":2,"entity":"Shot"},{"record_id":999,"entity":"Shot"}]`).refused(http.StatusNotFound, 104)
	if got := c.get("/entity/shots/2/followers").list("data"); len(got) != 1 {
		t.Errorf("what came before the wrong one is followed: %v", got)
	}
	follow(`[{"record_id":1,"entity":"shots"}]`).refused(http.StatusInternalServerError, 100)
	says(t, follow(`[{"record_id":1,"entity":"Nope"}]`).refused(http.StatusBadRequest, 103), `"0":{"entity":["entity is not valid"]}`)
	c.put("/entity/shots/1/unfollow", `{"user_id":1}`).ok(http.StatusNoContent)
	c.put("/entity/shots/1/unfollow", `{"user_id":1}`).ok(http.StatusNoContent)
	says(t, c.put("/entity/shots/1/unfollow", `{}`).refused(http.StatusBadRequest, 103), "user_id is missing")
	c.put("/entity/shots/1/unfollow", `{"user_id":999}`).refused(http.StatusNotFound, 104)
	if got := ids(c.get("/entity/shots/1/followers").list("data")); !slices.Equal(got, []int{2}) {
		t.Errorf("%v", got)
	}
	c.get("/entity/human_users/999/following").refused(http.StatusNotFound, 104)
	c.get("/entity/api_users/1/following").refused(http.StatusNotFound, 103)
	says(t, c.get("/entity/human_users/1/following?entity=nope").refused(http.StatusBadRequest, 103), "entity is not valid")
	clean(t, s)
}

// §5.4: a note with its files and replies.
func TestThreadContents_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	rows := c.get("/entity/notes/700/thread_contents?entity_fields[Note]=subject&entity_fields[Attachment]=filename").ok(http.StatusOK).list("data")
	want := call(t, s).ok("note_thread_contents", object{"note_id": 700, "entity_fields": object{"Note": array{"subject"}, "Attachment": array{"filename"}}})
	if list, _ := want.(array); !slices.Equal(ids(rows), ids(list)) || len(rows) != 3 {
		t.Errorf("REST %v, api3 %v", rows, want)
	}
	if member(rows[0], "subject") != "Timing of the wave" || member(rows[0], "created_at") != "2026-03-04T10:30:00Z" {
		t.Errorf("%v", rows[0])
	}
	says(t, c.get("/entity/versions/1/thread_contents").refused(http.StatusNotFound, 103), "Field 'Version.thread_contents' does not exist.")
	clean(t, s)
}

// §5.4: a project's last visit.
func TestLastAccessed_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	call(t, s).same(c.put("/entity/projects/65/_update_last_accessed", `{"user_id":1}`).ok(http.StatusOK).object(),
		`{"data":{"type":"Project","id":65},"links":{"self":"/api/v1/entity/projects/65"}}`)
	before := s.Snapshot()
	c.put("/entity/projects/65/_update_last_accessed", `{"user_id":999}`).ok(http.StatusOK)
	if string(s.Snapshot()) != string(before) {
		t.Error("nobody visited a project")
	}
	says(t, c.put("/entity/projects/65/_update_last_accessed", `{}`).refused(http.StatusBadRequest, 103), "user_id is missing")
	c.put("/entity/projects/999/_update_last_accessed", `{"user_id":1}`).refused(http.StatusBadRequest, 104)
	c.put("/entity/shots/1/_update_last_accessed", `{"user_id":1}`).refused(http.StatusNotFound, 103)
	clean(t, s)
}

// §5.4: the schema is read as api3 reads it; fields come, change, go and come
// back.
func TestSchemaOnREST_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c, api3 := viaREST(t, s), call(t, s)
	if got := c.get("/schema?project_id=65").at("data"); encode(t, got) != encode(t, api3.ok("schema_entity_read")) {
		t.Error("the types differ from those of api3")
	}
	if got := c.get("/schema/Shot/fields").at("data"); encode(t, got) != encode(t, api3.ok("schema_field_read", object{"type": "Shot"})) {
		t.Error("the fields differ from those of api3")
	}
	if got := c.get("/schema/Shot").at("data", "name", "value"); got != "Shot" {
		t.Errorf("%v", got)
	}
	if got := c.get("/schema/Shot/fields/code").at("data", "data_type", "value"); got != "text" {
		t.Errorf("%v", got)
	}
	says(t, c.get("/schema/Shot/fields/nope").refused(http.StatusNotFound, 103), "Field 'Shot.nope' does not exist.")
	c.get("/schema/shots").refused(http.StatusNotFound, 103)
	a := c.post("/schema/Shot/fields", `{"data_type":"text","properties":[{"property_name":"name","value":"My Field"}]}`).ok(http.StatusCreated)
	if got := a.at("links", "self"); got != "/api/v1/schema/Shot/fields/sg_my_field" {
		t.Errorf("%v", got)
	}
	const field = "/schema/Shot/fields/sg_my_field"
	a = c.put(field, `{"data_type":"number","properties":[{"property_name":"name","value":"Renamed"}]}`).ok(http.StatusOK)
	if a.at("data", "name", "value") != "Renamed" || a.at("data", "data_type", "value") != "text" {
		t.Errorf("%s", a.text)
	}
	for _, revive := range []func() restAnswer{
		func() restAnswer { return c.post(field+"?revive=true", "") },
		func() restAnswer { return c.post(field, `{"revive":true}`) },
	} {
		c.send(http.MethodDelete, field, "").ok(http.StatusNoContent)
		c.get(field).refused(http.StatusNotFound, 103)
		revive().ok(http.StatusNoContent)
		c.get(field).ok(http.StatusOK)
	}
	says(t, c.post(field, "").refused(http.StatusBadRequest, 103), "revive is missing")
	c.send(http.MethodDelete, "/schema/Shot/fields/code", "").refused(http.StatusBadRequest, 103)
	clean(t, s)
}

// §5.4: the tree takes JSON only, and its own code for a lost path.
func TestHierarchy_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	got := c.post("/hierarchy/_expand", `{"path":"/Project/65/Shot"}`).ok(http.StatusOK).at("data")
	want := call(t, s).ok("nav_expand", object{"path": "/Project/65/Shot", "seed_entity_field": "Version.entity", "entity_fields": object{}})
	if encode(t, got) != encode(t, want) {
		t.Errorf("REST %v, api3 %v", got, want)
	}
	found := c.post("/hierarchy/_search", `{"root_path":"/Project/65","search_criteria":{"entity":{"type":"Shot","id":1}}}`).ok(http.StatusOK).list("data")
	if len(found) != 1 || member(found[0], "label") != "harbour_sq01_0010" {
		t.Errorf("%v", found)
	}
	c.post("/hierarchy/_expand", `{"path":"/Nope"}`).refused(http.StatusBadRequest, 107)
	says(t, c.post("/hierarchy/_search", `{"root_path":"/","search_criteria":{"Shot":1}}`).refused(http.StatusBadRequest, 103), "size must be 1")
	says(t, c.post("/hierarchy/_search", `{"root_path":"/","search_criteria":[]}`).refused(http.StatusBadRequest, 103), "must be a hash")
	c.post("/hierarchy/_expand", `{"path":"/"}`, array3).refused(http.StatusUnsupportedMediaType, 103)
	clean(t, s)
}

// §5.4, §6.3: preferences, licences, seats and the document of the API.
func TestSiteFacts_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c, api3 := viaREST(t, s), call(t, s)
	api3.same(c.get("/preferences?prefs=hours_per_day,nope").ok(http.StatusOK).at("data"), `{"hours_per_day":8}`)
	if got := c.get("/preferences").at("data"); encode(t, got) != encode(t, api3.ok("preferences_read", object{"prefs": array{}})) {
		t.Errorf("%v", got)
	}
	for _, body := range []string{`{}`, `[]`, `{"preference":"enable_entity","entity_type":"CustomEntity02","display_name":"x"}`} {
		c.put("/preferences/update", body).refused(http.StatusBadRequest, 111)
	}
	if got := c.get("/license_info").ok(http.StatusOK).object(); got["status"] != "success" || member(got["data"], "rule") != "quantity" {
		t.Errorf("%v", got)
	}
	api3.same(c.post("/subscription_seat/user_subscriptions", `{"1":"full"}`).ok(http.StatusOK).object(), `{"1":null}`)
	if got := c.get("/subscription_seat/user_subscriptions").ok(http.StatusOK).object(); got["1"] != "full" || len(got) != 4 {
		t.Errorf("%v", got)
	}
	for body, why := range map[string]string{`{"999":"full"}`: "Invalid humanUserId 999", `{"ann":"full"}`: "Invalid humanUserId ann", `[]`: "Expected Hash but received Array"} {
		says(t, c.post("/subscription_seat/user_subscriptions", body).refused(http.StatusBadRequest, 103), why)
	}
	spec := c.get("/spec.json").ok(http.StatusOK)
	if paths, _ := spec.at("paths").(object); len(paths) < 39 || paths["/entity/{type}/_search"] == nil {
		t.Errorf("%d paths", len(paths))
	}
	c.get("/spec.yaml").ok(http.StatusOK)
	c.get("/spec.xml").ok(http.StatusNotAcceptable)
	c.get("/spec").refused(http.StatusNotFound, 103)
	c.token = ""
	c.get("/spec.json").refused(http.StatusUnauthorized, 102)
	clean(t, s)
}

// §5.4: a licence is for admins, also under sudo.
func TestLicenceNeedsAnAdmin_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	s.AddUser(flowsite.Person{Login: "cleo", Role: flowsite.Role{Name: "Artist", Read: map[string][]string{"Shot": {"code"}}}})
	c := viaREST(t, s, "scope", "sudo_as_login:cleo")
	c.get("/license_info").refused(http.StatusUnauthorized, 110)
	attributes, _ := c.get("/entity/shots/1?fields=*").ok(http.StatusOK).at("data", "attributes").(object)
	if len(attributes) != 1 || attributes["code"] == nil {
		t.Errorf("an artist reads %v", attributes)
	}
	says(t, c.get("/entity/api_users").refused(http.StatusBadRequest, 104), "ApiUser is not allowed")
	clean(t, s)
}

// §5.4, §5.7: the work schedule, with its own form of a fault.
func TestSchedule_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	c.put("/schedule/work_day_rules", `{"date":"2026-03-03","working":false,"description":"shoot","project_id":65}`).ok(http.StatusOK)
	days := c.get("/schedule/work_day_rules?start_date=2026-03-02&end_date=2026-03-03&project_id=65").ok(http.StatusOK).list("data")
	call(t, s).same(days, `[{"date":"2026-03-02","working":true,"description":null,"reason":"STUDIO_WORK_WEEK"},
		{"date":"2026-03-03","working":false,"description":"shoot","reason":"PROJECT_EXCEPTION"}]`)
	c.get("/schedule/work_day_rules?start_date=2026-03-02&end_date=2026-03-03&project_id=999").ok(http.StatusOK)
	call(t, s).same(c.get("/schedule/work_day_rules?start_date=03/02/2026&end_date=2026-03-03").ok(http.StatusBadRequest).object(), `{"status":"error","error":"invalid date"}`)
	says(t, c.get("/schedule/work_day_rules?start_date=2026-03-02").refused(http.StatusBadRequest, 103), "end_date is missing")
	says(t, c.put("/schedule/work_day_rules", `{"date":"2026-03-03"}`).refused(http.StatusBadRequest, 103), "working is missing")
	clean(t, s)
}

// §5.4: pages as CSV, and a fault in plain words.
func TestExports_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	want := call(t, s).ok("export_page", object{"format": "csv", "page_id": flowsite.DemoPage, "layout_name": nil})
	for _, target := range []string{"/exports/page/900.csv", "/exports/page/900/main.csv"} {
		a := c.get(target).ok(http.StatusOK)
		if a.text != want || !strings.HasPrefix(a.header.Get("Content-Type"), "text/csv") {
			t.Errorf("%s: %q", target, a.text)
		}
	}
	for target, text := range map[string]string{
		"/exports/page/901.csv": "Export for Page id=901 not available", "/exports/page/999.csv": "Trying to perform export for retired Page id=999",
		"/exports/page/abc.csv": "Trying to perform export for retired Page id=0", "/exports/page/900.xml": "Export for Page id=900 not available",
	} {
		if a := c.get(target).ok(http.StatusUnprocessableEntity); a.text != text {
			t.Errorf("%s: %q", target, a.text)
		}
	}
	c.get("/exports/page/900").refused(http.StatusNotFound, 103)
	clean(t, s)
}

// §5.4, §5.7: the facts of a film, with its own form of a fault.
func TestTranscode_5_4(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	if a := c.post("/transcode/attachment_metadata/800", `{"width":1920,"frame_rate":24.0}`).ok(http.StatusOK); a.text != " " {
		t.Errorf("%q", a.text)
	}
	says(t, c.post("/transcode/attachment_metadata/800", `{"width":"x"}`).refused(http.StatusBadRequest, 103), "width must be an integer")
	call(t, s).same(c.post("/transcode/attachment_metadata/999", `{}`).ok(http.StatusNotFound).object(), `{"error":"Attachment 999 not found"}`)
	clean(t, s)
}

// §5.6: webhooks are made, read, changed and deleted; their token never comes
// back, and a change of status leaves a delivery.
func TestWebhooks_5_6(t *testing.T) {
	s := newSite(t, flowsite.Options{})
	c := viaREST(t, s)
	body := `{"url":"https://hooks.example.com/x","entity_types":{"Shot":{"create":[],"update":["sg_status_list"]},"ApiUser":{"update":[]}},"projects":[65],"token":"hook-token-0815"}`
	a := c.post("/webhook/hooks", body).ok(http.StatusCreated)
	id, _ := a.at("data", "id").(string)
	if a.at("data", "is_token_set") != true || a.at("data", "status") != "active" || strings.Contains(a.text, "hook-token-0815") {
		t.Errorf("%s", a.text)
	}
	hook := "/webhook/hooks/" + id
	c.get(hook).ok(http.StatusOK)
	c.put(hook, `{"status":"disabled"}`).ok(http.StatusOK)
	for status, want := range map[string]int{"": 1, "?status=disabled": 1, "?status=active": 0} {
		if got := c.get("/webhook/hooks" + status).ok(http.StatusOK).list("data"); len(got) != want {
			t.Errorf("%q: %v", status, got)
		}
	}
	sent := c.get(hook + "/deliveries").ok(http.StatusOK).list("data")
	if len(sent) != 1 {
		t.Fatalf("%v", sent)
	}
	first, _ := member(sent[0], "id").(string)
	delivery := "/webhook/deliveries/" + first
	if got := c.get(delivery).ok(http.StatusOK).at("data", "request_body", "data", "webhook_status"); got != "disabled" {
		t.Errorf("%v", got)
	}
	c.put(delivery, `{"acknowledgement":"seen"}`).ok(http.StatusOK)
	c.put(delivery, `{"acknowledgement":"`+strings.Repeat("x", 4097)+`"}`).refused(http.StatusBadRequest, 103)
	c.post(delivery+"/redeliver", "").ok(http.StatusNoContent)
	c.post(hook+"/test_connection", "").ok(http.StatusNoContent)
	for body, why := range map[string]string{
		`{"entity_types":{}}`: "url is missing", `{"url":"https://127.0.0.1/","event_type":"x"}`: "reserved/internal ip address",
		`{"url":"https://h.example.com/"}`: "either entity types or event type", `{"url":"https://h.example.com/","entity_types":{"Nope":{}}}`: "is not valid",
	} {
		says(t, c.post("/webhook/hooks", body).refused(http.StatusBadRequest, 103), why)
	}
	c.put(hook, `{}`).refused(http.StatusBadRequest, 103)
	c.put(hook, `{"status":"asleep"}`).refused(http.StatusBadRequest, 103)
	c.post("/webhook/hooks", body, array3).refused(http.StatusUnsupportedMediaType, 103)
	c.send(http.MethodDelete, hook, "").ok(http.StatusNoContent)
	for _, target := range []string{hook, hook + "/deliveries", delivery} {
		c.get(target).refused(http.StatusNotFound, 104)
	}
	clean(t, s)
}

// §6.4: the site mirrors any Origin where it is told to, as the real one does.
func TestRESTMirrorsOrigin_6_4(t *testing.T) {
	s := newSite(t, flowsite.Options{CORS: true})
	c := viaREST(t, s)
	for _, origin := range []string{"https://evil.invalid", "null", "nonsense"} {
		a := c.send(http.MethodGet, "/entity/shots/1", "", header("Origin", origin)).ok(http.StatusOK)
		if a.header.Get("Access-Control-Allow-Origin") != origin || a.header.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("%v", a.header)
		}
		if a = c.send(http.MethodOptions, "/entity/shots/1", "", header("Origin", origin)).ok(http.StatusOK); a.header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("%v", a.header)
		}
	}
}

// A site that echoes repeats each secret that was sent to it, in headers and
// bodies, whatever the answer: what a proxy must not let through.
func TestRESTEchoesEverySecret_6(t *testing.T) {
	s := newSite(t, flowsite.Options{Echo: true})
	c := viaREST(t, s)
	for name, a := range map[string]restAnswer{
		"a row":        c.get("/entity/shots/1"),
		"a refusal":    c.get("/entity/nope/1"),
		"an empty one": c.send(http.MethodDelete, "/entity/shots/2", ""),
		"CSV":          c.get("/exports/page/900.csv"),
		"plain words":  c.get("/exports/page/901.csv"),
	} {
		for encoding, secret := range flowsite.Echoes(c.token) {
			if a.header.Get("X-Echo-Bearer-"+strings.ReplaceAll(encoding, "_", "-")) != secret {
				t.Errorf("%s: no %s of the token in the headers", name, encoding)
			}
		}
		if a.text != "" && !strings.Contains(a.text, c.token) {
			t.Errorf("%s: no token in %s", name, a.text)
		}
	}
	for name, kv := range map[string][]string{
		"client_secret": scriptGrant(), "password": {"grant_type", "password", "username", "ann", "password", "echoed"},
		"session_token": {"grant_type", "session_token", "session_token", "echoed"}, "refresh_token": {"grant_type", "refresh", "refresh_token", "echoed"},
	} {
		a := c.grant(kv...)
		value := kv[len(kv)-1]
		got, _ := a.object()["echo_"+name].(object)
		if got["plain"] != value || got["json_escaped"] != value || a.header.Get("X-Echo-"+strings.ReplaceAll(name, "_", "-")+"-plain") != value {
			t.Errorf("%s: %s %v", name, a.text, a.header)
		}
	}
	clean(t, s)
}
