package main_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"stagedoor/flow"
	"stagedoor/flowsite"
)

// gossip is a site that repeats each secret that it was ever sent, or gave out
// itself, in whatever it answers: in headers, before and in bodies, in
// redirects, in cookies, in error pages.
type gossip struct {
	*theSite
	how atomic.Pointer[manner]

	mu      sync.Mutex // guards all below
	secrets []string
	kinds   map[string]int // answers by kind and method
}

// manner is how it answers.
type manner struct {
	// status, when not 0, replaces every answer but those that only Stagedoor
	// sees; location then is of a redirect.
	status   int
	location string
	// gzip packs the answer; pieces sends it so many bytes at a time; cut, when
	// more than 0, in two pieces with the seam there.
	gzip   bool
	pieces int
	cut    int
	// short repeats one secret in few spellings: for answers that are cut at
	// every byte.
	short bool
	// own repeats only what came with the very request that is answered.
	own bool
}

func (m *manner) String() string {
	return fmt.Sprintf("status %d, location %q, gzip %t, pieces of %d, own %t", m.status, m.location, m.gzip, m.pieces, m.own)
}

// startGossip starts one with the demo's rows, a file and a picture.
func startGossip(t *testing.T) *gossip {
	t.Helper()
	g := &gossip{theSite: newSite(t, flowsite.Options{Plain: true, Now: nil}), kinds: map[string]int{}}
	g.secrets = []string{siteKey}
	g.how.Store(&manner{})
	srv := httptest.NewUnstartedServer(g)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	g.URL, g.CAFile = srv.URL, certificateOf(t, srv)
	g.SetURL(srv.URL)
	g.AddFile("a.txt", "text/plain", []byte(aText))
	return g
}

// ServeHTTP has the stand-in answer, and gossips.
func (g *gossip) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in bytes.Buffer
	if _, err := in.ReadFrom(r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	mine := g.overhear(r)
	if bytes.Contains(in.Bytes(), []byte("script_key")) {
		mine = append(mine, siteKey)
	}
	r.Body = io.NopCloser(&in)
	rec := httptest.NewRecorder()
	g.Site.ServeHTTP(rec, r)
	how := g.how.Load()
	if private(r, in.Bytes()) {
		g.remember(rec.Body.Bytes())
		how = nil
	}
	g.note()
	body := rec.Body.Bytes()
	maps.Copy(w.Header(), rec.Header())
	status := rec.Code
	if how != nil {
		secrets := g.known()
		switch {
		case how.short:
			secrets = secrets[:1]
		case how.own:
			secrets = mine
		}
		status, body = how.gossip(w, r, secrets, status, body)
	}
	w.Header().Del("Content-Length")
	how.send(w, status, body)
}

// private says whether the answer is one that only Stagedoor sees: a session or
// a token for it.
func private(r *http.Request, body []byte) bool {
	return strings.HasSuffix(r.URL.Path, "/auth/access_token") || bytes.Contains(body, []byte(`"get_session_token"`))
}

// overhear keeps the credentials in a request's header, and gives them.
func (g *gossip) overhear(r *http.Request) (mine []string) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		mine = append(mine, token)
	}
	if c, err := r.Cookie("_session_id"); err == nil {
		mine = append(mine, c.Value)
	}
	for _, token := range mine {
		g.keep(token)
	}
	return mine
}

// remember keeps the credentials in an answer.
func (g *gossip) remember(body []byte) {
	var m struct {
		Results struct {
			ID string `json:"session_id"`
		} `json:"results"`
		Access string `json:"access_token"`
	}
	if json.Unmarshal(body, &m) == nil { // the refresh token is never sent: there is none to repeat
		g.keep(m.Results.ID)
		g.keep(m.Access)
	}
}

func (g *gossip) keep(secret string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if secret != "" && !slices.Contains(g.secrets, secret) {
		g.secrets = append(g.secrets, secret)
	}
}

func (g *gossip) known() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.secrets)
}

// note counts the answer to what the stand-in has just received.
func (g *gossip) note() {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.Received()
	if len(all) > 0 {
		last := all[len(all)-1]
		g.kinds[last.Kind+" "+last.Method]++
	}
}

// whispers are the spellings in which a secret is repeated.
func whispers(secret string, short bool) (out []string) {
	if short {
		asJSON, _ := json.Marshal(secret)
		return []string{secret, url.QueryEscape(secret), string(asJSON), base64.StdEncoding.EncodeToString([]byte("x" + secret))}
	}
	for _, text := range flowsite.Echoes(secret) {
		out = append(out, text)
	}
	for _, text := range spellings(secret) {
		out = append(out, text)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// gossip changes an answer.
func (m *manner) gossip(w http.ResponseWriter, r *http.Request, secrets []string, status int, body []byte) (int, []byte) {
	h := w.Header()
	var all []string
	for _, s := range secrets {
		all = append(all, whispers(s, m.short)...)
	}
	for i, text := range all {
		if !strings.ContainsAny(text, "\r\n\x00") {
			h.Set("X-Gossip-"+strconv.Itoa(i), text)
		}
	}
	for i, s := range secrets {
		h.Set("Link", "</a?k="+url.QueryEscape(s)+">; rel=preload") // before the answer, and after it
		w.WriteHeader(http.StatusEarlyHints)
		if r.Context().Err() != nil { // over HTTP/2 the hint may still be on its way, and the header is read
			panic(http.ErrAbortHandler)
		}
		h.Set(http.TrailerPrefix+"X-Gossip-"+strconv.Itoa(i), s)
		h.Del("Link")
		for _, name := range []string{"Content-Language", "Content-Disposition", "Etag", "Last-Modified", "Retry-After", "Link", "Warning", "Www-Authenticate", "X-Request-Id", "Server"} {
			h.Add(name, whispers(s, true)[i%4])
		}
		h.Add("Set-Cookie", "_session_id="+url.QueryEscape(s))
	}
	if m.status != 0 {
		status = m.status
		body = []byte("<html><body>no\n</body></html>")
		h.Set("Content-Type", "text/html")
		if m.location != "" {
			h.Set("Location", strings.ReplaceAll(m.location, "SECRET", url.QueryEscape(append([]string{""}, secrets...)[len(secrets)])))
		}
	}
	if r.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified {
		return status, nil
	}
	return status, spread(h.Get("Content-Type"), body, all)
}

// spread puts texts into a body: as a member where it is JSON, before and after
// it where it is none.
func spread(contentType string, body []byte, texts []string) []byte {
	if len(texts) == 0 {
		return body
	}
	lines := strings.Join(texts, "\n")
	if strings.HasPrefix(contentType, "application/json") && len(body) > 2 && body[len(bytes.TrimRight(body, "\n "))-1] == '}' {
		body = bytes.TrimRight(body, "\n ")
		var raw strings.Builder
		for i, text := range texts {
			if json.Valid([]byte(`"` + text + `"`)) { // as it is: escapes of its own
				fmt.Fprintf(&raw, `"raw%d":"%s",`, i, text) //nolint:gocritic // no other escapes on purpose
			}
		}
		member, _ := json.Marshal(texts) //nolint:errchkjson // texts
		names, _ := json.Marshal(map[string]string{texts[0]: texts[len(texts)-1]})
		out := slices.Concat(body[:len(body)-1], []byte(`,"gossip":{`+raw.String()+`"all":`), member, []byte(`,"names":`), names, []byte("}}"))
		if json.Valid(out) {
			return out
		}
	}
	if len(body) > 0 && (body[0] == '1' || body[0] == '0') && strings.HasPrefix(contentType, "text/") {
		return append(body, lines...) // a form's answer begins with its digit
	}
	return slices.Concat([]byte(lines), body, []byte(lines))
}

// send writes an answer; nil is a manner that changes nothing.
func (m *manner) send(w http.ResponseWriter, status int, body []byte) {
	if m == nil {
		m = &manner{}
	}
	if m.gzip && len(body) > 0 {
		var packed bytes.Buffer
		zw := gzip.NewWriter(&packed)
		_, _ = zw.Write(body) // a Buffer takes everything
		_ = zw.Close()
		body = packed.Bytes()
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Del("Content-Range")
	}
	flush := http.NewResponseController(w)
	if m.pieces == 0 && m.cut == 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	if status == http.StatusNoContent || status == http.StatusNotModified {
		return
	}
	for len(body) > 0 {
		n := len(body)
		switch {
		case m.pieces > 0:
			n = min(n, m.pieces)
		case m.cut > 0 && m.cut < n:
			n = m.cut
		}
		if _, err := w.Write(body[:n]); err != nil {
			return // the caller has gone
		}
		if m.cut > 0 {
			m = &manner{}
		}
		_ = flush.Flush()
		body = body[n:]
	}
}

// walk is a request for every endpoint of the stand-in, as a tool sends it. A
// placeholder stands wherever clients have a credential.
func walk() []request {
	const (
		auth  = `{"script_name":"comp-publisher","script_key":"x"}`
		shot  = `{"type":"Shot","id":1}`
		film  = `{"type":"Project","id":65}`
		none  = `{"logical_operator":"and","conditions":[]}`
		hook  = `{"url":"https://example.invalid/hook","entity_types":{"Shot":{"create":[]}},"projects":[65]}`
		uuid  = "5a1d49b0-0c69-11e7-a24c-003ee1c0d0c2"
		creds = "&script_name=comp-publisher&script_key=x"
		v1    = "/api/v1"
	)
	rpc := func(method, args string) request { return rpcRequest(method, auth, args) }
	entity := []formPart{{Name: "entity_type", Value: "Shot"}, {Name: "entity_id", Value: "1"}, {Name: "script_name", Value: "comp-publisher"}, {Name: "script_key", Value: "x"}}
	form := func(more ...formPart) []formPart { return slices.Concat(entity, more) }
	get := func(path string) request { return request{Path: path} }
	send := func(verb, path, body string) request { return jsonRequest(verb, v1+path, body) }
	all := []request{
		jsonRequest("POST", "/api3/json", `{"method_name":"info","params":[]}`),
		rpc("read", `{"type":"Shot","return_fields":["code","image"],"filters":`+none+`,"return_only":"active","paging":{"entities_per_page":2,"current_page":1}}`),
		rpc("summarize", `{"type":"Task","filters":`+none+`,"summaries":[{"field":"id","type":"count"}]}`),
		rpc("create", `{"type":"Playlist","fields":[{"field_name":"code","value":"a"},{"field_name":"project","value":`+film+`}],"return_fields":["id"]}`),
		rpc("update", `{"type":"Shot","id":1,"fields":[{"field_name":"description","value":"a"}]}`),
		rpc("delete", `{"type":"Shot","id":5}`), rpc("revive", `{"type":"Shot","id":5}`),
		rpc("batch", `[{"request_type":"update","type":"Shot","id":1,"fields":[{"field_name":"description","value":"a"}]}]`),
		rpc("follow", `{"user":{"type":"HumanUser","id":1},"entity":`+shot+`}`), rpc("unfollow", `{"user":{"type":"HumanUser","id":1},"entity":`+shot+`}`),
		rpc("followers", `{"entity":`+shot+`}`), rpc("following", `{"user":{"type":"HumanUser","id":1}}`),
		rpc("schema_entity_read", ""), rpc("schema_read", ""), rpc("schema_field_read", `{"type":"Shot"}`),
		rpc("schema_field_create", `{"type":"Shot","data_type":"text","properties":[{"property_name":"name","value":"A"}]}`),
		rpc("schema_field_update", `{"type":"Shot","field_name":"sg_bid","properties":[{"property_name":"description","value":"a"}]}`),
		rpc("schema_field_delete", `{"type":"Shot","field_name":"sg_no_such"}`),
		rpc("work_schedule_read", `{"start_date":"2026-03-01","end_date":"2026-03-05","project":`+film+`,"user":null}`),
		rpc("work_schedule_update", `{"date":"2026-03-04","working":false,"description":"a","project":`+film+`,"user":null,"recalculate_field":null}`),
		rpc("export_page", `{"format":"csv","page_id":900,"layout_name":null}`),
		rpc("update_project_last_accessed_by_current_user", `{"project_id":65,"user_id":1}`),
		rpc("note_thread_contents", `{"note_id":700,"entity_fields":{}}`),
		rpc("query_display_name_cache", `{"text":"sq01_0020","entity_types":{"Shot":`+none+`},"project_ids":[65],"max_results":5}`),
		rpc("activity_stream", `{"type":"Shot","id":1,"entity_fields":{},"max_id":null,"min_id":null,"limit":3}`),
		rpc("nav_expand", `{"path":"/Project/65","seed_entity_field":"entity","entity_fields":{}}`),
		rpc("nav_search", `{"root_path":"/Project/65","seed_entity_field":null,"search_criteria":{"search_string":"sq01"}}`),
		rpc("preferences_read", `{"prefs":["hours_per_day"]}`),
		rpc("user_subscriptions_read", ""), rpc("user_subscriptions_create", `{"users":[{"humanUserId":2,"subscription":"flow"}]}`),
		rpc("get_session_token", ""),

		multipartRequest("/upload/upload_file", form(formPart{Name: "display_name", Value: "a"}, aFile("bytes"))...),
		multipartRequest("/upload/publish_thumbnail", form(formPart{Name: "thumb_image", Filename: "a.png", Value: "\x89PNG"})...),
		formRequest("/upload/share_thumbnail", "entities=Shot_2&source_entity=Shot_1&filmstrip_thumbnail=False"+creds),
		formRequest("/upload/api_get_upload_link_info", "upload_type=Attachment&filename=a.mov&multipart_upload=True"+creds),
		formRequest("/upload/api_get_upload_link_for_part", "upload_type=Attachment&filename=a.mov&timestamp=x&upload_id=x&part_number=1"+creds),
		formRequest("/upload/api_complete_multipart_upload", "upload_type=Attachment&filename=a.mov&timestamp=x&upload_id=x&etags=x"+creds),
		formRequest("/upload/api_link_file", "entity_type=Shot&entity_id=1&upload_link_info=1%0Ahttps%3A%2F%2Fexample.invalid%0Ax%0AAttachment%0Ax%0A&display_name=a"+creds),

		get("/file_serve/attachment/801"), get("/file_serve/attachment/999"), get("/thumbnail/full/Shot/1"),
		get("/images/status/transient/thumbnail_pending.png"), get("/files/0000/0000/0001/a.txt"),
		{Path: "/file_serve/attachment/801", Header: header("Range", "bytes=10-99")},
		{Verb: http.MethodHead, Path: "/file_serve/attachment/801"},

		get(v1), get(v1 + "/spec.json"), get(v1 + "/spec.yaml"),
		formRequest(v1+"/auth/access_token", aLogin),
		get(v1 + "/entity/shots?fields=code,image"), get(v1 + "/entity/shots/1?fields=*"), get(v1 + "/entity/shots/1/relationships/assets"),
		get(v1 + "/entity/shots/1/image?alt=original"), get(v1 + "/entity/versions/1/sg_uploaded_movie?alt=original"),
		vendor(v1+"/entity/shots/_search", "array", `{"filters":[]}`),
		vendor(v1+"/entity/tasks/_summarize", "hash", `{"filters":`+none+`,"summary_fields":[{"field":"id","type":"count"}]}`),
		vendor(v1+"/entity/_text_search", "array", `{"text":"sq01","entity_types":{"Shot":[]}}`),
		send("POST", "/entity/playlists", `{"code":"a","project":`+film+`}`), send("PUT", "/entity/shots/1", `{"description":"b"}`),
		{Verb: "DELETE", Path: v1 + "/entity/shots/6"},
		{Verb: "POST", Path: v1 + "/entity/shots/6?revive=true"},
		send("POST", "/entity/_batch", `{"requests":[{"request_type":"update","entity":"Shot","record_id":1,"data":{"description":"a"}}]}`),
		get(v1 + "/entity/shots/1/activity_stream?limit=3"), get(v1 + "/entity/shots/1/followers"), get(v1 + "/entity/human_users/1/following"),
		send("POST", "/entity/human_users/1/follow", `{"entities":[{"record_id":1,"entity":"Shot"}]}`), send("PUT", "/entity/shots/1/unfollow", `{"user_id":1}`),
		get(v1 + "/entity/notes/700/thread_contents"), send("PUT", "/entity/projects/65/_update_last_accessed", `{"user_id":1}`),
		get(v1 + "/schema"), get(v1 + "/schema/Shot"), get(v1 + "/schema/Shot/fields"), get(v1 + "/schema/Shot/fields/code"),
		send("POST", "/schema/Shot/fields", `{"data_type":"text","properties":[{"property_name":"name","value":"B"}]}`),
		send("PUT", "/schema/Shot/fields/sg_bid", `{"properties":[{"property_name":"description","value":"a"}]}`),
		{Verb: "DELETE", Path: v1 + "/schema/Shot/fields/sg_no_such"},
		{Verb: "POST", Path: v1 + "/schema/Shot/fields/sg_no_such?revive=true"},
		send("POST", "/hierarchy/_expand", `{"path":"/Project/65"}`), send("POST", "/hierarchy/_search", `{"root_path":"/Project/65","search_criteria":{"search_string":"sq01"}}`),
		get(v1 + "/preferences?prefs=hours_per_day"), send("PUT", "/preferences/update", `{"preference":"custom_entity","entity_type":"CustomEntity01","display_name":"Rig"}`),
		get(v1 + "/license_info"), get(v1 + "/schedule/work_day_rules?start_date=2026-03-01&end_date=2026-03-05"),
		send("PUT", "/schedule/work_day_rules", `{"date":"2026-03-04","working":false,"description":"a","project_id":65}`),
		get(v1 + "/subscription_seat/user_subscriptions"), send("POST", "/subscription_seat/user_subscriptions", `{"2":"flow"}`),
		get(v1 + "/exports/page/900.csv"), send("POST", "/transcode/attachment_metadata/801", `{"width":1}`),
		get(v1 + "/webhook/hooks"), send("POST", "/webhook/hooks", hook), get(v1 + "/webhook/hooks/" + uuid), send("PUT", "/webhook/hooks/"+uuid, hook),
		{Verb: "DELETE", Path: v1 + "/webhook/hooks/" + uuid},
		{Verb: "POST", Path: v1 + "/webhook/hooks/" + uuid + "/test_connection"},
		get(v1 + "/webhook/hooks/" + uuid + "/deliveries"), get(v1 + "/webhook/deliveries/" + uuid), send("PUT", "/webhook/deliveries/"+uuid, `{"acknowledgement":"a"}`),
		{Verb: "POST", Path: v1 + "/webhook/deliveries/" + uuid + "/redeliver"},
		get(v1 + "/entity/versions/1/sg_uploaded_movie/_upload?filename=a.mov"), get(v1 + "/entity/notes/700/_upload?filename=a.mov&multipart_upload=true"),
		send("POST", "/entity/notes/700/_upload", `{"upload_info":{"timestamp":"x","upload_type":"Attachment","upload_id":"x","storage_service":"sg","original_filename":"a.mov","multipart_upload":false},"upload_data":{"display_name":"a"}}`),

		formRequest("/api3/sgtk_install_script", "session_token=x"), get("/internal_api/session"), get("/user/login"), get("/page/900"),
		jsonRequest("POST", "/api3/track_metrics/", `{"auth_args":{},"metrics":[]}`),
	}
	return all
}

// raw is all the bytes that come back on a connection for a request.
func (s *stagedoor) raw(r request) string {
	s.t.Helper()
	c := s.dialed()
	defer c.Close() //nolint:errcheck // read to its end
	verb := r.Verb
	if verb == "" {
		verb = http.MethodGet
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", verb, r.Path, s.Address("tools"))
	_ = r.Header.Write(&b) // a Builder takes everything
	if r.Body != "" || verb == http.MethodPost || verb == http.MethodPut {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.Body))
	}
	b.WriteString("\r\n" + r.Body)
	if _, err := io.WriteString(c, b.String()); err != nil {
		s.t.Fatal(err)
	}
	var out bytes.Buffer
	_, _ = out.ReadFrom(c) // a broken end is looked through as well
	return out.String()
}

// unpacked is the body of an answer, without chunks and packing, as far as it
// can be read.
func unpacked(answer, verb string) string {
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), &http.Request{Method: verb})
	if err != nil {
		return ""
	}
	defer res.Body.Close() //nolint:errcheck // only read
	var b bytes.Buffer
	_, _ = b.ReadFrom(res.Body)
	if zr, err := gzip.NewReader(bytes.NewReader(b.Bytes())); err == nil {
		var plain bytes.Buffer
		_, _ = plain.ReadFrom(zr)
		return b.String() + plain.String()
	}
	return b.String()
}

// search is for every spelling of many secrets at once.
type search struct {
	known map[string]map[string]string // secret → spellings
}

// found names what of the secrets a text holds.
func (s *search) found(secrets []string, text string) (out []string) {
	if s.known == nil {
		s.known = map[string]map[string]string{}
	}
	for i, secret := range secrets {
		if s.known[secret] == nil {
			s.known[secret] = spellings(secret)
		}
		var names []string
		for name, spelling := range s.known[secret] {
			if strings.Contains(text, spelling) {
				names = append(names, name)
			}
		}
		if names != nil {
			slices.Sort(names)
			out = append(out, fmt.Sprintf("secret %d as %s", i, strings.Join(names, ", ")))
		}
	}
	return out
}

// Whatever the site says of a secret that it was sent, wherever and however it
// says it, on every endpoint: the tool receives nothing of it, and neither the
// logs nor the metrics hold it.
func TestNoEndpointLeaksWhatTheSiteWasSent(t *testing.T) {
	t.Parallel()
	const here = "https://127.0.0.1/file_serve/attachment/801?token=SECRET"
	manners := []*manner{
		{own: true},
		{own: true, pieces: 13},
		{own: true, status: 500},
		{own: true, status: 302, location: here},
		{},
		{gzip: true},
		{pieces: 4096},
		{pieces: 7},
		{gzip: true, pieces: 11},
		{status: 500},
		{status: 403, gzip: true},
		{status: 401, pieces: 61},
		{status: 404},
		{status: 503},
		{status: 302, location: here},
		{status: 302, location: "https://storage.invalid/a?X-Amz-Signature=SECRET"},
		{status: 307, location: "/user/login?return_path=SECRET"},
		{status: 303, location: "/images/SECRET"},
	}
	site := startGossip(t)
	s := door(t, site.theSite, "log: {format: json, level: debug}\n"+handleKey(t), everyDoor)
	// What the site sends here is known before it says it: a session and a
	// bearer are fetched first.
	s.raw(request{Path: "/file_serve/attachment/801"})
	s.raw(request{Path: "/api/v1/entity/shots/1?fields=code"})
	if n := len(site.known()); n < 3 {
		t.Errorf("the site was sent %d secrets only", n)
	}
	var look search
	bytesSeen, redacted := 0, 0
	for _, how := range manners {
		site.how.Store(how)
		for _, r := range walk() {
			answer := s.raw(r)
			text := answer + unpacked(answer, r.Verb)
			bytesSeen += len(answer)
			redacted += strings.Count(text, "redacted")
			if found := look.found(site.known(), text); found != nil {
				t.Errorf("%v: %s %s %s: the tool is given %s", how, r.Verb, r.Path, shortened(r.Body), found)
			}
			for _, name := range []string{"Set-Cookie:", "X-Gossip", flowsite.CookieCanary} {
				if strings.Contains(answer, name) {
					t.Errorf("%v: %s %s: the tool is given %s", how, r.Verb, r.Path, name)
				}
			}
		}
	}
	if bytesSeen < 1<<20 || redacted == 0 {
		t.Errorf("only %d bytes were looked through, with %d redactions", bytesSeen, redacted)
	}
	site.wantEvery(t)
	_, metrics := s.Get("/metrics")
	_, ready := s.Get("/readyz")
	s.Stop()
	for where, text := range map[string]string{"the log": s.Log(), "the audit log": s.Audit(), "the metrics": metrics, "the readiness": ready} {
		if found := look.found(site.known(), text); found != nil {
			t.Errorf("%s holds %s", where, found)
		}
	}
}

// wantEvery checks that the site was asked on every endpoint.
func (g *gossip) wantEvery(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	want := []string{
		"download file_serve", "download thumbnail", "download images", "download files",
		"upload upload_file", "upload publish_thumbnail", "upload share_thumbnail", "upload api_get_upload_link_info",
		"upload api_get_upload_link_for_part", "upload api_complete_multipart_upload", "upload api_link_file",
		"rest rest_upload", "rest download", "rest access_token", "rest license_info", "rest transcode", "rest webhook_read", "rest webhook_write", "rest preferences_update",
	}
	for _, m := range flow.Methods() {
		want = append(want, "rpc "+m)
		if m != "get_session_token" && m != "schema_read" {
			want = append(want, "rest "+m)
		}
	}
	for _, w := range want {
		if g.kinds[w] == 0 {
			t.Errorf("the site was never asked for %s", w)
		}
	}
}

// A secret is found wherever an answer is cut in two, on each kind of way in.
func TestASecretIsFoundWhereverAnAnswerIsCut(t *testing.T) {
	t.Parallel()
	site := startGossip(t)
	s := door(t, site.theSite, handleKey(t), everyDoor)
	texts := whispers(siteKey, true)
	last := 0
	for _, text := range texts {
		last += 2*len(text) + 20 // each stands twice in JSON
	}
	var look search
	for _, r := range []request{
		rpcRequest("preferences_read", "{}", `{"prefs":["hours_per_day"]}`),
		formRequest("/upload/share_thumbnail", "entities=Shot_2&source_entity=Shot_1&filmstrip_thumbnail=False"),
		{Path: "/api/v1/preferences?prefs=hours_per_day"},
		{Path: "/file_serve/attachment/999"},
	} {
		for cut := 1; cut < last; cut++ {
			site.how.Store(&manner{short: true, cut: cut})
			answer := s.raw(r)
			if found := look.found([]string{siteKey}, answer+unpacked(answer, r.Verb)); found != nil {
				t.Fatalf("%s %s, cut at %d: the tool is given %v:\n%s", r.Verb, r.Path, cut, found, shortened(answer))
			}
		}
	}
}
