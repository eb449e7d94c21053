package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"stagedoor/cli"
	"stagedoor/config"
	"stagedoor/flowsite"
	"stagedoor/internal/parts"
)

// The sample studio of docs/studio: its rules as they stand there, before a site,
// a Vault and the real client.

const studioFile = "docs/studio/stagedoor.yaml"

// studioScripts are the six, in the order of the file.
func studioScripts() []string {
	return []string{"publisher", "wrangler", "review", "events", "dashboard", "ingest"}
}

// artist is whoever runs the test, as the site knows them.
const artist = "Who Calls"

// studio is the sample studio in service.
type studio struct {
	t    *testing.T
	site *theSite
	s    *stagedoor
	// elsewhere is a version of a show that is not the studio's.
	elsewhere int
}

// startStudio serves docs/studio/stagedoor.yaml: with the addresses of this test,
// and everything else as it is.
func startStudio(t *testing.T) *studio {
	t.Helper()
	site := startSite(t, flowsite.Options{})
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	site.AddUser(flowsite.Person{Login: me.Username, First: "Who", Last: "Calls"})
	site.Seed("Project", map[string]any{"id": 99, "name": "Not Ours", "code": "other"})
	elsewhere := site.Seed("Version", map[string]any{"code": "other_v001", "project": map[string]any{"type": "Project", "id": 99}})
	v := parts.Vault(t, parts.VaultOptions{})
	for _, name := range studioScripts() {
		site.AddScript(name+"-2026", "key-of-"+name+"-0123456789", flowsite.RoleAdmin())
		v.Put("flow/"+name, map[string]any{"script_name": name + "-2026", "api_key": "key-of-" + name + "-0123456789"})
	}
	v.ReadPolicy("studio", "kv/data/flow/*")
	role := v.AppRole("studio", "studio", time.Hour, 24*time.Hour)
	secretID := filepath.Join(t.TempDir(), "secret-id")
	write(t, secretID, 0o600, role.NewSecretID())
	text := source(t, studioFile)
	for _, edit := range []struct{ pattern, with string }{
		{`(?m)^(version|admin): .*\n`, ""}, // serve brings its own
		{`(?m)^site: .*$`, fmt.Sprintf("site: %s\nsite_ca: %s", site.URL, site.CAFile)},
		{`(?m)^vault: .*$`, fmt.Sprintf("vault: {address: %q, ca: %s, mount: kv}", v.Address, v.CAFile)},
		{`(?m)^login: .*$`, fmt.Sprintf("login: {approle: {role_id: %s, secret_id_file: %s}}", role.RoleID, secretID)},
		{`address: 127\.0\.0\.1:\d+`, "address: 127.0.0.1:0"},
		{`observe_until: .*`, "observe_until: " + time.Now().AddDate(1, 0, 0).Format(time.DateOnly)},
	} {
		re := regexp.MustCompile(edit.pattern)
		if !re.MatchString(text) {
			t.Fatalf("%s has no %s", studioFile, edit.pattern)
		}
		text = re.ReplaceAllString(text, edit.with)
	}
	return &studio{t: t, site: site, s: serve(t, text), elsewhere: elsewhere}
}

// listener is where a script is served.
func listener(script string) string {
	return map[string]string{"publisher": "publish", "wrangler": "farm"}[script]
}

// run runs a script's tool and gives what it printed, line by line.
func (s *studio) run(t *testing.T, script, what string) []string {
	t.Helper()
	at := listener(script)
	if at == "" {
		at = script
	}
	out := begin(t, parts.NewestClient, "", "-B", filepath.Join("testdata", "studio", script+".py"), s.s.base(at), what, t.TempDir(), fmt.Sprint(s.elsewhere))()
	return strings.Split(strings.TrimSpace(out), "\n")
}

// Each tool does its job with the rules that it has. The site's log names the
// artist, the dashboard's questions are asked once, and what the observed tool did
// beyond its rules is what policy learn would add to them.
func TestTheSampleStudioWorks(t *testing.T) {
	t.Parallel()
	s := startStudio(t)
	want := map[string]string{
		"publisher": `{"sequence": "harbour_sq01", "version": "harbour_sq01_0010_v002", "shows": ["Harbour Lights", "Night Train", "Not Ours"], "codes": 12}`,
		"wrangler":  `{"tasks": ["fin", "fin"], "taken back": true}`,
		"review":    `{"playlist": "Friday", "versions": 2, "note": "Friday"}`,
		"events":    `{"log": 1, "statuses": true, "shot": true}`,
		"dashboard": `{"shots": 8, "same": true, "tasks": true, "schema": true, "prefs": ["date_component_order"]}`,
		"ingest":    `{"camera": "A001_C003", "version": "A001_C003", "assets": true}`,
	}
	for _, script := range studioScripts() { // in this order: events sees what wrangler did
		if got := s.run(t, script, "job"); len(got) != 1 || got[0] != want[script] {
			t.Errorf("%s: %s\nwant %s", script, strings.Join(got, "\n"), want[script])
		}
	}
	if v := s.site.Violations(); len(v) > 0 {
		t.Errorf("the site complains: %v", v)
	}
	s.namesTheArtist(t)
	if n := s.asked("dashboard-2026"); n["read"] != 1 || n["schema_field_read"] != 1 {
		t.Errorf("the dashboard asked the site for %v", n)
	}
	s.learns(t)
}

// namesTheArtist looks at whose the publish is in the site's own log.
func (s *studio) namesTheArtist(t *testing.T) {
	t.Helper()
	n := 0
	for _, e := range s.site.EventLog() {
		if e.Type == "Shotgun_Version_New" && e.User == artist && e.Actual == "publisher-2026" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d versions were made in a person's name: %+v", n, s.site.EventLog())
	}
}

// asked counts a Script's calls at the site.
func (s *studio) asked(siteName string) map[string]int {
	out := map[string]int{}
	for _, r := range s.site.Received() {
		if bytes.Contains(r.Body, []byte(`"`+siteName+`"`)) {
			out[r.Method]++
		}
	}
	return out
}

// learns reads the log of what was done with the policy commands.
func (s *studio) learns(t *testing.T) {
	t.Helper()
	s.s.AwaitAudit(`"method":"read","group":"read","types":["Asset"`)
	s.s.Stop()
	trail := filepath.Join(t.TempDir(), "audit.jsonl")
	write(t, trail, 0o600, s.s.Audit())
	code, out, errs := stagedoorCommand(t, "policy", "replay", "-c", s.s.Config, "--from", trail)
	if code != 0 || strings.Contains(out, "breaks") {
		t.Errorf("policy replay: %d\n%s%s", code, out, errs)
	}
	code, out, errs = stagedoorCommand(t, "policy", "learn", "ingest", "--min-calls", "1", "-c", s.s.Config, "--from", trail)
	if code != 0 || !strings.Contains(out, "- read: {Asset: [code, project]}") || strings.Contains(out, "- update") {
		t.Errorf("policy learn: %d\n%s%s", code, out, errs)
	}
}

// stagedoorCommand runs a command in this process.
func stagedoorCommand(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = cli.Main(t.Context(), args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// Each tool is told what it may not do, in words that stand for themselves.
func TestTheSampleStudioRefusesWhatGoesTooFar(t *testing.T) {
	t.Parallel()
	s := startStudio(t)
	before := len(s.site.EventLog())
	for script, want := range map[string][]string{
		"publisher": {
			`may not create Version.project in project 99: stagedoor.yaml:\d+ gives it in projects 65 and 66`,
			`may not update Version.sg_status_list of Version \d+: it lies outside projects 65 and 66, where stagedoor.yaml:\d+ gives it`,
			`may not update Version.client_approved: stagedoor.yaml:\d+ denies it`,
			`may not delete Version; no rule allows it`,
			`may not act as cleo; its calls go as the caller's own login, \S+`,
			`may not reach HumanUser.password_proxy; it holds a credential`,
		},
		"wrangler": {
			`may not delete TimeLog: the condition of stagedoor.yaml:\d+ does not hold`,
			`may not update Task.sg_status_list: 51 parts in a batch, the rule gives 50`,
			`may not update Task.content; no rule allows it`,
			`may not create TimeLog.project in project 99: stagedoor.yaml:\d+ gives it in projects 65 and 66`,
		},
		"review": {
			`may not read Note.content; no rule allows it`,
			`may not delete Playlist; no rule allows it`,
			`may not act as admin; no sudo_as_login grants it`,
			`may not update Version.sg_status_list; no rule allows it`,
		},
		"events": {
			`may not read EventLogEntry.audit_trail; no rule allows it`,
			`may not update Shot.sg_cut_in; no rule allows it`,
			`may not read ApiUser.firstname; no rule allows it`,
		},
		"dashboard": {
			`may not read Shot.sg_bid: stagedoor.yaml:\d+ denies it`,
			`may not read Shot.sg_bid: stagedoor.yaml:\d+ denies it`,
			`may not update Shot.sg_status_list; no rule allows it`,
			`may not read HumanUser.name; no rule allows it`,
		},
		"ingest": {
			`may not update HumanUser.permission_rule_set; no rule allows it`,
			`may not call schema_field_delete for Shot; no rule allows it`,
			`may not read EventLogEntry.meta; no rule allows it`,
		},
	} {
		got := s.run(t, script, "overreach")
		if len(got) != len(want) {
			t.Errorf("%s: %s", script, strings.Join(got, "\n"))
			continue
		}
		for i, line := range got {
			var text string
			if err := json.Unmarshal([]byte(line), &text); err != nil {
				t.Fatalf("%s: %v: %s", script, err, line)
			}
			re := regexp.MustCompile(`\AStagedoor: ` + script + ` ` + want[i] + `\. Ask #pipeline, with the request id [0-9A-Z]{26}\.\n  `)
			if !re.MatchString(text) {
				t.Errorf("%s: %q\nwant %s", script, text, want[i])
			}
		}
	}
	if n := len(s.site.EventLog()); n != before {
		t.Errorf("%d changes were made at the site", n-before)
	}
}

// The fixtures beside the rules hold, and the rules are clean: what validate warns
// of is what the studio knows and wants, and all that they name is in the schema.
func TestTheSampleStudioIsProvedByItsFixtures(t *testing.T) {
	t.Parallel()
	code, out, errs := stagedoorCommand(t, "policy", "test", "docs/studio/policy.test.yaml")
	m := regexp.MustCompile(`\A(\d+) passed\n\z`).FindStringSubmatch(out)
	if code != 0 || errs != "" || m == nil {
		t.Fatalf("policy test: %d\n%s%s", code, out, errs)
	}
	if n, err := strconv.Atoi(m[1]); err != nil || n < 60 {
		t.Errorf("there are %d fixtures, %v", n, err)
	}
	s := startStudio(t)
	snapshot := filepath.Join(filepath.Dir(s.s.Config), config.SchemaName)
	if code, out, errs := stagedoorCommand(t, "schema", "pull", "-c", s.s.Config); code != 0 {
		t.Fatalf("schema pull: %d\n%s%s", code, out, errs)
	}
	if _, err := os.Stat(snapshot); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{studioFile, s.s.Config} {
		code, out, errs := stagedoorCommand(t, "validate", "-c", path)
		if code != 0 || errs != "" || strings.Count(out, "identity: kernel") != len(studioScripts()) ||
			!strings.Contains(out, "events may read EventLogEntry") || strings.Count(out, "warning: ") != len(studioScripts())+1 {
			t.Errorf("validate -c %s: %d\n%s%s", path, code, out, errs)
		}
	}
}
