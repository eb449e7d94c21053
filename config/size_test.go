package config_test

import (
	"fmt"
	"strings"
	"testing"

	"stagedoor/config"
)

// rulesOf is a configuration whose one script has n rules.
func rulesOf(n int, rule func(i int) string) []byte {
	var b strings.Builder
	b.WriteString("version: 1\nsite: https://acme.shotgrid.autodesk.com\nlisten: 127.0.0.1:8470\nidentity: none\nscripts:\n  comp:\n    file: /etc/key.json\n    allow:\n")
	for i := range n {
		b.WriteString("      - " + rule(i) + "\n")
	}
	return []byte(b.String())
}

func TestTenThousandRulesAreRead(t *testing.T) {
	c, ds := config.Parse("stagedoor.yaml", rulesOf(10_000, func(i int) string { return fmt.Sprintf("read: Shot.sg_f%d", i) }))
	if c == nil || len(c.Scripts[0].Allow) != 10_000 || len(ds) != 1 {
		t.Errorf("%.500s", config.Format(ds))
	}
}

// One that adds nothing is found wherever it stands among many.
func TestARuleThatAddsNothingIsFoundAmongMany(t *testing.T) {
	_, ds := config.Parse("stagedoor.yaml", rulesOf(9000, func(i int) string {
		switch i {
		case 100:
			return "read: [Task, CustomEntity01.x, Note.subject]"
		case 8000:
			return "read: Task.content"
		case 8500:
			return "read: [Note.subject, Task]"
		case 8800:
			return "read: [Note.subject, Note.content]"
		}
		return fmt.Sprintf("read: [Shot.code, Shot.sg_f%d]", i)
	}))
	var got []string
	for i := range ds {
		if strings.Contains(ds[i].Msg, "adds nothing") {
			got = append(got, fmt.Sprint(ds[i].Line, " ", ds[i].Msg))
		}
	}
	want := []string{"8009 this read rule adds nothing to the one in line 109", "8509 this read rule adds nothing to the one in line 109"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q", got)
	}
}

func TestTooManyTypesAreRefused(t *testing.T) {
	types := func(n int) func(int) string {
		return func(i int) string {
			var b strings.Builder
			for j := range n {
				fmt.Fprintf(&b, ", T%d", i*n+j)
			}
			return "read: [" + b.String()[2:] + "]"
		}
	}
	if c, ds := config.Parse("stagedoor.yaml", rulesOf(20, types(1000))); c == nil {
		t.Errorf("20 000: %.300s", config.Format(ds))
	}
	if c, ds := config.Parse("stagedoor.yaml", rulesOf(21, types(1000))); c != nil || !strings.Contains(config.Format(ds), "more than 20000 types in the rules of one script") {
		t.Errorf("21 000: %.300s", config.Format(ds))
	}
}

// A small file must not become many rules: those of a role count for each script
// that has it.
func TestRulesOfRolesAreCountedForEachScript(t *testing.T) {
	text := func(scripts int) []byte {
		var b strings.Builder
		b.WriteString("version: 1\nsite: https://acme.shotgrid.autodesk.com\nlisten: 127.0.0.1:8470\nidentity: none\nshared: true\nroles:\n  big:\n    allow:\n")
		for i := range 10_000 {
			fmt.Fprintf(&b, "      - read: T%d\n", i)
		}
		b.WriteString("scripts:\n")
		for i := range scripts {
			fmt.Fprintf(&b, "  s%d: {file: /etc/key%d.json, roles: big}\n", i, i)
		}
		return []byte(b.String())
	}
	if c, ds := config.Parse("stagedoor.yaml", text(20)); c == nil {
		t.Errorf("20 scripts: %.300s", config.Format(ds))
	}
	if c, ds := config.Parse("stagedoor.yaml", text(21)); c != nil || !strings.Contains(config.Format(ds), "more than 200000 types in the rules of all scripts") {
		t.Errorf("21 scripts: %.300s", config.Format(ds))
	}
}

func BenchmarkParseTenThousandRules(b *testing.B) {
	data := rulesOf(10_000, func(i int) string { return fmt.Sprintf("read: Shot.sg_f%d", i) })
	for b.Loop() {
		if c, ds := config.Parse("stagedoor.yaml", data); c == nil {
			b.Fatal(config.Format(ds))
		}
	}
}

func TestProjectsAndConditionsOfAScriptAreBounded(t *testing.T) {
	for name, rule := range map[string]func(int) string{
		"more than 255 projects in the rules of one script":  func(i int) string { return fmt.Sprintf("{read: T%d, projects: [%d]}", i, i+1) },
		"more than 64 conditions in the rules of one script": func(i int) string { return fmt.Sprintf("{read: T%d, where: call.parts < 5}", i) },
		"more than 255 projects":                             func(int) string { return "{read: T, projects: [1" + many(2, 300) + "]}" },
		"more than 2000 different conditions":                func(i int) string { return fmt.Sprintf("{read: T%d, where: call.parts < %d}", i, i) },
	} {
		n := 300
		switch {
		case strings.Contains(name, "different"):
			n = 2001
		case !strings.Contains(name, "of one script"):
			n = 1
		}
		if c, ds := config.Parse("stagedoor.yaml", rulesOf(n, rule)); c != nil || !strings.Contains(config.Format(ds), name) {
			t.Errorf("%s: %.300s", name, config.Format(ds))
		}
	}
	// Not in one script, and not one by one.
	if c, ds := config.Parse("stagedoor.yaml", rulesOf(255, func(i int) string { return fmt.Sprintf("{read: T%d, projects: [%d]}", i, i+1) })); c == nil {
		t.Errorf("255: %.300s", config.Format(ds))
	}
}

// many are the numbers between two, with commas before them.
func many(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, ", %d", i)
	}
	return b.String()
}
