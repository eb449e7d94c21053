package flowsite_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"stagedoor/flowsite"
	"stagedoor/internal/parts"
)

// update writes testdata/every_method.json anew.
var update = flag.Bool("update", false, "write golden files")

// caFile is the server's certificate in a file, for Python.
func caFile(t *testing.T, srv *flowsite.Server) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, srv.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// python runs a script with the client of a version and gives its output. The
// environment is empty but for what is given, so that no proxy is used.
func python(t *testing.T, version, stdin string, args ...string) []byte {
	t.Helper()
	return pythonIn(t, nil, version, stdin, args...)
}

func pythonIn(t *testing.T, env []string, version, stdin string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), parts.Python(t, version), append([]string{"-I"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(env, "LANG=C.UTF-8")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &errs, &out)
	}
	return out.Bytes()
}

func everyMethod(t *testing.T, version string) ([]byte, *flowsite.Site) {
	t.Helper()
	s := newSite(t, flowsite.Options{})
	srv := start(t, s)
	out := python(t, version, scriptKey+"\n", "testdata/every_method.py", srv.URL, scriptName,
		"ca="+caFile(t, srv), "sudo=ben", "password=ann:"+password)
	return out, s
}

// The judge of the stand-in: every public method of the real client that api3
// JSON serves, with results read and agreed by a person (the golden file), and
// no violation. Its shapes are those captured in flow-protocol §2.1, §2.2.
func TestEveryMethodOfTheRealClient_2_1(t *testing.T) {
	out, s := everyMethod(t, parts.NewestClient)
	clean(t, s)
	const golden = "testdata/every_method.json"
	if *update {
		if err := os.WriteFile(golden, out, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	compareSteps(t, out, want, nil)
	again, other := everyMethod(t, parts.NewestClient)
	if !bytes.Equal(out, again) || !bytes.Equal(s.Snapshot(), other.Snapshot()) {
		t.Error("a second run differs")
	}
	methodsCalled(t, s)
	t.Run("sends what was measured, §1.1, §1.2", func(t *testing.T) { sendsWhatWasMeasured(t, s) })
}

// compareSteps names the steps that differ, but for those that may.
func compareSteps(t *testing.T, got, want []byte, may []string) {
	t.Helper()
	var g, w map[string]any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(want, &w); err != nil {
		t.Fatal(err)
	}
	for step := range w {
		if a, b := encode(t, g[step]), encode(t, w[step]); a != b && !slices.Contains(may, step) {
			t.Errorf("%s\ngot  %s\nwant %s", step, a, b)
		}
	}
	for step := range g {
		if _, ok := w[step]; !ok {
			t.Errorf("%s is new", step)
		}
	}
}

// methodsCalled: all of the table of §2.1, and no other.
func methodsCalled(t *testing.T, s *flowsite.Site) {
	t.Helper()
	want := strings.Fields(`activity_stream batch create delete export_page follow followers following get_session_token info
		nav_expand nav_search note_thread_contents preferences_read query_display_name_cache read revive schema_entity_read
		schema_field_create schema_field_delete schema_field_read schema_field_update schema_read summarize unfollow update
		update_project_last_accessed_by_current_user user_subscriptions_create user_subscriptions_read work_schedule_read work_schedule_update`)
	var got []string
	for _, r := range s.Received() {
		if !slices.Contains(got, r.Method) {
			got = append(got, r.Method)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("methods called: %v", got)
	}
}

// sendsWhatWasMeasured: §1.1, §1.2 (CAP): what the real client was measured to
// send is what the site received from it. No cookie, although each answer set
// one.
func sendsWhatWasMeasured(t *testing.T, s *flowsite.Site) {
	t.Helper()
	allowed := strings.Fields("Accept-Encoding Connection Content-Length Content-Type Locale User-Agent")
	agent := regexp.MustCompile(`^shotgun-json \(\d+\.\d+\.\d+\); Python 3\.\d+ \(Linux\); ssl OpenSSL [^;]+(; tool 1\.0)?$`)
	locales, agents := 0, 0
	for _, r := range s.Received() {
		for name, v := range r.Header {
			if !slices.Contains(allowed, name) {
				t.Errorf("call %d: header %s: %s", r.N, name, v)
			}
		}
		if r.Proto != "HTTP/1.1" || r.Target != "/api3/json" || r.HTTPMethod != "POST" {
			t.Errorf("call %d: %s %s %s", r.N, r.HTTPMethod, r.Target, r.Proto)
		}
		for name, want := range map[string]string{"Content-Type": "application/json; charset=utf-8", "Connection": "keep-alive", "Accept-Encoding": "gzip, deflate"} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("call %d: %s: %q", r.N, name, got)
			}
		}
		if !agent.MatchString(r.Header.Get("User-Agent")) {
			t.Errorf("user agent %q", r.Header.Get("User-Agent"))
		}
		if r.Header.Get("Locale") == "auto" {
			locales++
		}
		if strings.HasSuffix(r.Header.Get("User-Agent"), "; tool 1.0") {
			agents++
		}
		measuredBody(t, r)
	}
	passwordCheck(t, s)
	if locales == 0 || agents == 0 {
		t.Errorf("%d calls with a locale, %d with the tool's agent", locales, agents)
	}
}

// passwordCheck: §2.3 (CAP): authenticate_human_user is a read of HumanUser.
func passwordCheck(t *testing.T, s *flowsite.Site) {
	t.Helper()
	var got []string
	for _, r := range s.Received() {
		if r.Credential == flowsite.KindUser {
			got = append(got, r.Method+" "+encode(t, r.Params))
		}
	}
	const want = `read [{"api_return_image_urls":true,"filters":{"conditions":[` +
		`{"path":"sg_status_list","relation":"is","values":["act"]},{"path":"login","relation":"is","values":["ann"]}],"logical_operator":"and"},` +
		`"paging":{"current_page":1,"entities_per_page":1},"return_fields":["id","login"],"return_only":"active",` +
		`"return_paging_info_without_counts":false,"type":"HumanUser"}]`
	if len(got) != 2 || got[0] != want || got[1] != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// measuredBody: §1.2: two keys in order, a space after comma and colon, the
// number of params by method, text as UTF-8.
func measuredBody(t *testing.T, r flowsite.Received) {
	t.Helper()
	if !bytes.HasPrefix(r.Body, []byte(`{"method_name": "`+r.Method+`", "params": [`)) {
		t.Errorf("call %d begins %.60s", r.N, r.Body)
	}
	lengths := map[string][]int{
		"info": {0}, "get_session_token": {0}, "user_subscriptions_read": {0},
		"schema_read": {0, 1}, "schema_entity_read": {0, 1},
	}
	want, ok := lengths[r.Method]
	if !ok {
		want = []int{1}
	}
	if !slices.Contains(want, len(r.Params)) {
		t.Errorf("%s has %d params after the auth object", r.Method, len(r.Params))
	}
	if r.Method == "create" && r.Type == "Shot" && !bytes.Contains(r.Body, []byte("日本語 \U0001F600 <&> \u2028")) {
		t.Errorf("text is escaped: %s", r.Body)
	}
}

// §1.7, §2.1 (CAP): the wire of releases before 3.8.5 is the same.
func TestEveryMethodOfAnOldClient_2_1(t *testing.T) {
	out, s := everyMethod(t, parts.OldClient)
	clean(t, s)
	want, err := os.ReadFile("testdata/every_method.json")
	if err != nil {
		t.Fatal(err)
	}
	compareSteps(t, out, want, []string{"export_page", "export_page.private"}) // newer than this release
}
