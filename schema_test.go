package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stagedoor/flowsite"
	"stagedoor/schema"
)

// schemaPlace is a folder with a configuration for a site, and where the
// snapshot of its schema belongs.
func schemaPlace(t *testing.T, site *theSite, rest string) (config, snapshot string) {
	t.Helper()
	dir := t.TempDir()
	config = filepath.Join(dir, "stagedoor.yaml")
	write(t, config, 0o644, "version: 1\nadmin: off\n"+scriptConfig(site, "file: "+keyFile(t), "")+rest)
	return config, filepath.Join(dir, "stagedoor.schema.json")
}

func TestTheSchemaIsPulledAndWhatChangedIsTold(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	config, path := schemaPlace(t, site, "    allow: [{read: Shot.code}]\n")
	pull := func() string {
		t.Helper()
		code, out, errs := run(t, "schema", "pull", "--config", config)
		if code != 0 {
			t.Fatalf("exit code %d: %s%s", code, out, errs)
		}
		if names := spelled(out+errs, siteKey); names != nil {
			t.Errorf("the key was printed, spelled as %v", names)
		}
		return out
	}
	if out := pull(); !strings.HasPrefix(out, path+": ") || !strings.Contains(out, "written") {
		t.Errorf("the first time: %s", out)
	}
	s, err := schema.Read(path)
	if err != nil || s.Site != site.URL || s.Types["Shot"].Fields["project"].DataType != "entity" {
		t.Errorf("the snapshot: %v, %v", s, err)
	}
	if out := pull(); !strings.Contains(out, "nothing changed") {
		t.Errorf("again: %s", out)
	}
	delete(s.Types["Shot"].Fields, "code")
	s.Types["Scone"] = schema.Type{}
	if err := s.Write(path); err != nil {
		t.Fatal(err)
	}
	if out := pull(); !strings.HasPrefix(out, "- Scone\n+ Shot.code (text)\n") || !strings.Contains(out, "2 changes since ") {
		t.Errorf("after changes: %s", out)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", st, err)
	}
}

func TestTheSchemaIsPulledByTheNamedScriptOrNot(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	config, path := schemaPlace(t, site, "    allow: []\n")
	if code, _, errs := run(t, "schema", "pull", "--script", "other", "--config", config); code != 2 || !strings.Contains(errs, "the configuration has comp-publisher") {
		t.Errorf("an unknown script: %d %s", code, errs)
	}
	other := filepath.Join(filepath.Dir(path), "other.json")
	if code, out, errs := run(t, "schema", "pull", "--script", "comp-publisher", "-o", other, "--config", config); code != 0 {
		t.Errorf("into another file: %d %s%s", code, out, errs)
	}
	if _, err := schema.Read(other); err != nil {
		t.Error(err)
	}
	write(t, path, 0o644, "somebody's notes")
	if code, _, errs := run(t, "schema", "pull", "--config", config); code != 1 || !strings.Contains(errs, "remove it first") {
		t.Errorf("over what is no snapshot: %d %s", code, errs)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "somebody's notes" {
		t.Errorf("it holds %q, %v", b, err)
	}
}

func TestValidateKnowsTheFieldsOfTheSite(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	config, path := schemaPlace(t, site, "    allow:\n      - update: Shot.codes\n      - read: Shott\n")
	if code, out, _ := run(t, "validate", "--config", config); code != 0 {
		t.Errorf("without a snapshot: %d %s", code, out)
	}
	if code, out, errs := run(t, "schema", "pull", "--config", config); code != 0 {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	today := time.Now().UTC().Format(time.DateOnly)
	code, out, _ := run(t, "validate", "--config", config)
	for _, want := range []string{
		":12:17: error: unknown field \"Shot.codes\" in update\n",
		"has code\n", ":13:15: error: unknown type \"Shott\" in read\n",
		"  hint: site schema of ", " (stagedoor schema pull) has Shot\n", "2 errors",
	} {
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, lacks %q:\n%s", code, want, out)
		}
	}
	if !strings.Contains(out, today) && !strings.Contains(out, time.Now().UTC().Format(time.DateOnly)) { // unless the day ended in between
		t.Errorf("no date: %s", out)
	}
	if code, out, _ := run(t, "check", "--config", config); code != 1 || !strings.Contains(out, "unknown type \"Shott\"") {
		t.Errorf("check: %d %s", code, out)
	}
	s, err := schema.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Site = "https://other.shotgrid.autodesk.com"
	if err := s.Write(path); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := run(t, "validate", "--config", config); code != 1 || !strings.Contains(out, "is of https://other.shotgrid.autodesk.com") {
		t.Errorf("another site's: %d %s", code, out)
	}
}
