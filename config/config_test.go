package config_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"stagedoor/config"
	"stagedoor/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compares what is said about each file of testdata. Those whose
// name starts with "ok" are accepted, and their golden file is Effective.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			c, ds := config.Parse("stagedoor.yaml", data)
			got := config.Format(ds) + "\n"
			if ok := strings.HasPrefix(filepath.Base(f), "ok"); ok != (c != nil) {
				t.Errorf("accepted: %v\n%s", c != nil, got)
			}
			if c != nil {
				got += "\n" + string(c.Effective())
				roundTrip(t, c)
			}
			golden := strings.TrimSuffix(f, "yaml") + "golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// bare is c without what depends on where things stand in the file.
func bare(c *config.Config) *config.Config {
	out := *c
	out.Warnings = nil
	out.Scripts = nil
	for _, s := range c.Scripts {
		s.Line, s.AllowWhere = 0, ""
		s.Allow, s.Deny = bareRules(s.Allow), bareRules(s.Deny)
		out.Scripts = append(out.Scripts, s)
	}
	return &out
}

// bareRules are rules without their places; of a condition, which holds
// functions, the text is kept, as the role's name.
func bareRules(in []policy.Rule) (out []policy.Rule) {
	for _, r := range in {
		r.Line = 0
		if r.When != nil {
			r.Role += " where " + r.When.String()
			r.When = nil
		}
		out = append(out, r)
	}
	return out
}

func roundTrip(t *testing.T, c *config.Config) {
	t.Helper()
	text := c.Effective()
	again, ds := config.Parse("stagedoor.yaml", text)
	if again == nil {
		t.Fatalf("the effective configuration is refused:\n%s\n%s", text, config.Format(ds))
	}
	if !reflect.DeepEqual(bare(c), bare(again)) {
		t.Fatalf("the effective configuration differs:\n%s\n%+v\n%+v", text, bare(c), bare(again))
	}
	if text2 := again.Effective(); !bytes.Equal(text, text2) {
		t.Fatalf("differs the second time:\n%s\n%s", text, text2)
	}
}

// Whoever owns the file may change it.
func TestAnotherUsersFileIsNotServedBy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := filepath.Join(t.TempDir(), "stagedoor.yaml")
	data, err := os.ReadFile("testdata/ok-first-day.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err != nil {
		t.Errorf("our own: %v", err)
	}
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("another's: %v", err)
	}
	if c, err := config.Inspect(path); c == nil {
		t.Errorf("to look at: %v", err)
	}
}
