package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"stagedoor/cli"
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
	site.AddUser(flowsite.Person{Login: me.Username, First: "Who", Last: "Runs This"})
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
	out := begin(t, parts.NewestClient, "", filepath.Join("testdata", "studio", script+".py"), s.s.base(at), what, t.TempDir(), fmt.Sprint(s.elsewhere))()
	return strings.Split(strings.TrimSpace(out), "\n")
}

// Each tool does its job with the rules that it has, and holds no key.
func TestTheSampleStudioWorks(t *testing.T) {
	t.Parallel()
	s := startStudio(t)
	for script, want := range map[string]string{
		"publisher": `{"sequence": "harbour_sq01", "version": "harbour_sq01_0010_v002", "shows": ["Harbour Lights", "Night Train", "Not Ours"], "codes": 12}`,
		"wrangler":  `{"tasks": ["fin", "fin"], "taken back": true}`,
		"review":    `{"playlist": "Friday", "versions": 2, "note": "Friday"}`,
		"events":    `{"log": 1, "statuses": true, "shot": true}`,
		"dashboard": `{"shots": 8, "same": true, "tasks": true, "schema": true, "prefs": ["date_component_order"]}`,
		"ingest":    `{"camera": "A001_C003", "version": "A001_C003", "assets": true}`,
	} {
		t.Run(script, func(t *testing.T) {
			if got := s.run(t, script, "job"); len(got) != 1 || got[0] != want {
				t.Errorf("%s\nwant %s", strings.Join(got, "\n"), want)
			}
		})
	}
}

func TestOver(t *testing.T) {
	s := startStudio(t)
	for _, script := range studioScripts() {
		t.Log(script, "\n", strings.Join(s.run(t, script, "overreach"), "\n"))
	}
}

var _ = []any{bytes.MinRead, json.Valid, os.Args, slices.Sort[[]int], cli.Main}
