package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"stagedoor/admin"
	"stagedoor/audit"
	"stagedoor/cli"
	"stagedoor/config"
	"stagedoor/flow"
	"stagedoor/flowsite"
	"stagedoor/policy"
	"stagedoor/proxy"
	"stagedoor/schema"
)

// What the documentation says is true of the code beside it.

// pages are the files for readers, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all, err := filepath.Glob("docs/*.md")
	if err != nil || len(all) < 7 {
		t.Fatalf("%d files in docs, %v", len(all), err)
	}
	out := map[string]string{}
	for _, path := range append(all, "README.md") {
		out[path] = source(t, path)
	}
	return out
}

func source(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fence is a block of code: its language, and its text less the indentation.
type fence struct{ lang, text string }

func fences(page string) (out []fence) {
	var open *fence
	indent := 0
	for line := range strings.Lines(page) {
		trimmed := strings.TrimLeft(line, " ")
		switch {
		case strings.HasPrefix(trimmed, "```") && open == nil:
			indent = len(line) - len(trimmed)
			open = &fence{lang: strings.TrimSpace(trimmed[3:])}
		case strings.HasPrefix(trimmed, "```"):
			out = append(out, *open)
			open = nil
		case open != nil:
			open.text += strings.TrimPrefix(line, strings.Repeat(" ", indent))
		}
	}
	return out
}

// spans are the pieces of code within a text.
func spans(text string) (out []string) {
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// rows are the tables of a page, cell by cell, with the heading above each and
// without the rows of dashes.
type row struct {
	heading string
	cells   []string
}

func rows(page string) (out []row) {
	heading := ""
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if h, ok := strings.CutPrefix(line, "## "); ok {
			heading = h
		}
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		out = append(out, row{heading, cells})
	}
	return out
}

func TestEveryConfigurationInTheDocsIsOne(t *testing.T) {
	n := 0
	for path, page := range pages(t) {
		for _, f := range fences(page) {
			if f.lang != "yaml" || !strings.Contains(f.text, "version: 1") {
				continue
			}
			n++
			if c, ds := config.Parse(path, []byte(f.text)); c == nil {
				t.Errorf("%s: %s", path, config.Format(ds))
			}
		}
	}
	if n < 2 {
		t.Errorf("%d configurations were found", n)
	}
}

// help is what a command says of itself.
func help(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := cli.Main(t.Context(), append(args, "--help"), strings.NewReader(""), &out, &errs); code != 0 || errs.Len() > 0 {
		t.Fatalf("%v --help: %d %s", args, code, &errs)
	}
	return out.String()
}

func TestEveryCommandInTheDocsExists(t *testing.T) {
	commands := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+) +[A-Z]`).FindAllStringSubmatch(help(t), -1) {
		commands[m[1]] = help(t, m[1])
	}
	if len(commands) < 7 {
		t.Fatalf("the help lists %v", slices.Sorted(maps.Keys(commands)))
	}
	texts := pages(t)
	for _, pattern := range []string{"deploy/*", "bench/*.md", "Dockerfile"} {
		all, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range all {
			if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && !strings.HasSuffix(path, ".go") {
				texts[path] = "```\n" + source(t, path) + "\n```\n"
			}
		}
	}
	named := map[string]bool{}
	call := regexp.MustCompile(`(?:^|[\s/])(?:stagedoor|go run \.) ([a-z]+)([^\n#]*)`)
	for path, text := range texts {
		code := spans(text)
		for _, f := range fences(text) {
			if f.lang == "" {
				code = append(code, strings.Split(f.text, "\n")...)
			}
		}
		for _, line := range code {
			for _, m := range call.FindAllStringSubmatch(line, -1) {
				said, ok := commands[m[1]]
				if !ok {
					t.Errorf("%s: there is no command %s (%s)", path, m[1], line)
					continue
				}
				named[m[1]] = true
				for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(m[2], -1) {
					if !strings.Contains(said, flag+" ") {
						t.Errorf("%s: %s has no %s", path, m[1], flag)
					}
				}
			}
		}
	}
	for name := range commands {
		if name != "help" && name != "completion" && !named[name] {
			t.Errorf("no page tells of the command %s", name)
		}
	}
	for _, flag := range regexp.MustCompile("`(--[a-z]+)`").FindAllStringSubmatch(strings.Join(slices.Collect(maps.Values(texts)), ""), -1) {
		if !strings.Contains(strings.Join(slices.Collect(maps.Values(commands)), ""), flag[1]+" ") {
			t.Errorf("there is no %s", flag[1])
		}
	}
}

// flat is a configuration as [config.Config.Effective] writes it, as paths and
// values; names of scripts and places in lists are left out of the paths.
func flat(effective string) map[string]string {
	out := map[string]string{}
	type level struct {
		indent int
		name   string
	}
	var at []level
	for line := range strings.Lines(effective) {
		line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), "  # default")
		text := strings.TrimLeft(line, " ")
		indent := len(line) - len(text)
		if rest, ok := strings.CutPrefix(text, "- "); ok {
			text, indent = rest, indent+2
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			continue
		}
		for len(at) > 0 && at[len(at)-1].indent >= indent {
			at = at[:len(at)-1]
		}
		at = append(at, level{indent, name})
		var path []string
		for i, l := range at {
			if i != 1 || at[0].name != "scripts" && at[0].name != "roles" {
				path = append(path, l.name)
			}
		}
		if !slices.Contains(path, "allow") && !slices.Contains(path, "deny") && len(path) > 0 {
			out[strings.Join(path, ".")] = strings.TrimSpace(value)
		}
	}
	return out
}

// everything is a configuration with every section and nothing else said.
const everything = `version: 1
site: https://acme.shotgrid.autodesk.com
listen: [{address: "127.0.0.1:8470", identity: none}]
vault: {address: "https://vault:8200"}
login: {approle: {role_id: r, secret_id_file: /etc/secret}}
audit: {file: /var/log/audit.jsonl}
admin: {address: "127.0.0.1:8471"}
scripts:
  comp: {active: flow/comp}
`

func effective(t *testing.T, name, text string) map[string]string {
	t.Helper()
	c, ds := config.Parse(name, []byte(text))
	if c == nil {
		t.Fatal(config.Format(ds))
	}
	return flat(string(c.Effective()))
}

// field is one field in docs/configuration.md: where it stands in the file, and
// what its row says.
type field struct{ path, def, bounds string }

// documented reads the tables of docs/configuration.md.
func documented(t *testing.T) (out []field) {
	t.Helper()
	table := map[string]string{"At the top": "", "listen": "listen.", "vault and login": "vault.", "scripts": "scripts.", "handles and storage": "", "upstream, audit, admin, log": "", "limits": "limits."}
	limit := false
	for _, r := range rows(source(t, "docs/configuration.md")) {
		prefix, ok := table[r.heading]
		limit = limit && r.heading == "scripts" || strings.Contains(r.cells[0], "`limit`") && strings.Contains(r.cells[0], "field of")
		if !ok || len(r.cells) < 3 || strings.HasPrefix(r.cells[0], "field") {
			continue
		}
		if limit {
			prefix += "limit."
		}
		names, defs := spans(r.cells[0]), spans(r.cells[2])
		section := ""
		for i, name := range names {
			f := field{}
			if s, n, ok := strings.Cut(name, "."); ok {
				section, name = s+".", n
			}
			f.path = prefix + section + name
			if len(defs) == len(names) {
				f.def = defs[i]
			} else if len(defs) == 1 {
				f.def = defs[0]
			}
			if len(r.cells) > 3 {
				bounds := strings.Split(r.cells[3], ", ")
				f.bounds = bounds[min(i, len(bounds)-1)]
			}
			out = append(out, f)
		}
	}
	return out
}

func TestEveryFieldIsInTheDocs(t *testing.T) {
	code := " " + strings.Join(spans(source(t, "docs/configuration.md")), " ") + " "
	fields := effective(t, "ok-everything.yaml", source(t, "config/testdata/ok-everything.yaml"))
	maps.Copy(fields, effective(t, "ok-precise.yaml", source(t, "config/testdata/ok-precise.yaml")))
	if len(fields) < 70 {
		t.Fatalf("%d fields", len(fields))
	}
	for path := range fields {
		name := path[strings.LastIndexByte(path, '.')+1:]
		if !regexp.MustCompile(`\W` + name + `\W`).MatchString(code) {
			t.Errorf("docs/configuration.md does not tell of %s", path)
		}
	}
}

// inFile is a configuration that says one field and nothing else.
func inFile(path, value string) string {
	parts := strings.Split(path, ".")
	switch parts[0] {
	case "scripts":
		parts = slices.Insert(parts, 1, "comp")
	case "listen":
		if len(parts) > 1 {
			return "listen: [{" + parts[1] + ": " + value + "}]\n"
		}
	}
	return strings.Join(parts, ": {") + ": " + value + strings.Repeat("}", len(parts)-1) + "\n"
}

// about are the diagnostics of a configuration that name a field.
func about(text, name string) (out []string) {
	_, ds := config.Parse("stagedoor.yaml", []byte(text))
	for i := range ds {
		if strings.Contains(ds[i].Msg, "would not fit into all buffers") {
			continue // a bound of two fields together
		}
		if ds[i].Severity == config.Error && (strings.HasPrefix(ds[i].Msg, name+":") || strings.HasPrefix(ds[i].Msg, `unknown field "`+name+`"`)) {
			out = append(out, ds[i].Msg)
		}
	}
	return out
}

func TestEveryFieldInTheDocsExists(t *testing.T) {
	fields := documented(t)
	if len(fields) < 60 {
		t.Fatalf("%d fields were found in docs/configuration.md", len(fields))
	}
	if len(about(inFile("max_bdy", "1"), "max_bdy")) == 0 {
		t.Fatal("an unknown field would not be seen")
	}
	for _, f := range fields {
		name := f.path[strings.LastIndexByte(f.path, '.')+1:]
		for _, msg := range about(inFile(f.path, "1"), name) {
			if strings.HasPrefix(msg, "unknown field") {
				t.Errorf("%s: %s", f.path, msg)
			}
		}
	}
}

func TestDefaultsInTheDocsAreTheCodes(t *testing.T) {
	have := effective(t, "stagedoor.yaml", everything)
	n := 0
	for _, f := range documented(t) {
		got, ok := have[f.path]
		if !ok || got == "" || f.def == "" {
			continue // not written out, or a section of its own
		}
		n++
		if strings.Trim(got, `"`) != f.def {
			t.Errorf("%s: the default is %s, and the docs say %s", f.path, got, f.def)
		}
	}
	if n < 28 {
		t.Errorf("%d defaults were compared", n)
	}
	// Those that are not a value of their field.
	if admin := have["admin.address"]; strings.Trim(admin, `"`) != config.DefaultAdmin {
		t.Errorf("admin is %s", admin)
	}
}

func TestBoundsInTheDocsAreTheCodes(t *testing.T) {
	bound := regexp.MustCompile(`^(\d+)(/s|/m|ms|s|m|h|KiB|MiB|GiB|TiB|) to (\d+)(/s|/m|ms|s|m|h|KiB|MiB|GiB|TiB|)$`)
	n := 0
	for _, f := range documented(t) {
		m := bound.FindStringSubmatch(f.bounds)
		if m == nil {
			continue
		}
		n++
		name := f.path[strings.LastIndexByte(f.path, '.')+1:]
		value := func(number, unit string, plus int) string {
			i, err := strconv.Atoi(number)
			if err != nil {
				t.Fatal(err)
			}
			if unit == "TiB" {
				i, unit = i*1024, "GiB"
			}
			return strconv.Itoa(i+plus) + unit
		}
		for _, v := range []string{value(m[1], m[2], 0), value(m[3], m[4], 0)} {
			if ds := about(inFile(f.path, v), name); len(ds) > 0 {
				t.Errorf("%s: the docs allow %s: %s", f.path, v, ds)
			}
		}
		beyond := []string{value(m[3], m[4], 1)}
		if m[1] != "0" {
			beyond = append(beyond, value(m[1], m[2], -1))
		}
		for _, v := range beyond {
			if ds := about(inFile(f.path, v), name); len(ds) == 0 {
				t.Errorf("%s: the code takes %s, the docs say %s", f.path, v, f.bounds)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d bounds were compared", n)
	}
}

// Bounds that no configuration changes: the words of the docs, and where the
// code has them.
func TestFixedBoundsInTheDocsAreTheCodes(t *testing.T) {
	page := source(t, "docs/configuration.md")
	_, page, ok := strings.Cut(page, "## Fixed bounds")
	if !ok {
		t.Fatal("the section is gone")
	}
	if flow.MaxTypes > audit.MaxList {
		t.Error("a call may name a type that its record does not list")
	}
	for _, b := range []struct{ docs, file, code string }{
		{"32 KiB, within 10 s", "proxy/server.go", `maxHeader = 32 << 10`},
		{"32 KiB, within 10 s", "proxy/server.go", `headerTime = 10 \* time.Second`},
		{"50/s, 32 at a time", "cli/stack.go", `unnamedRate += 50 `},
		{"50/s, 32 at a time", "cli/stack.go", `unnamedInFlight = 32`},
		{"read to its end before it goes on, up to 32 MiB", "proxy/forward.go", `maxSpool = 32 << 20`},
		{"500 to 1, from 8 MiB on", "proxy/forward.go", `maxRatio += 500`},
		{"500 to 1, from 8 MiB on", "proxy/forward.go", `ratioFrom = 8 << 20`},
		{"an answer's header | 64 KiB", "upstream/upstream.go", `maxHeaderBytes = 64 << 10`},
		{fmt.Sprintf("the admin address | %d connections", admin.MaxConns), "admin/server.go", `MaxConns`},
		{fmt.Sprintf("for 10 s | %d of one listener", audit.MaxKinds), "audit/repeat.go", `RepeatWindow = 10 \* time.Second`},
		{fmt.Sprintf("%d in all; beyond it %d groups", audit.MaxRepeats, audit.MaxGroups), "audit/repeat.go", `MaxGroups`},
		{fmt.Sprintf("of a refusal names | %d, %d |", audit.MaxList, audit.MaxRefusedTypes), "audit/encode.go", `MaxRefusedTypes`},
		{fmt.Sprintf("| %d; %d |", flow.MaxParts, flow.MaxReach), "flow/parse.go", `MaxParts`},
		{fmt.Sprintf("| %d; %d |", flow.MaxTypes, flow.MaxHops), "flow/parse.go", `MaxTypes`},
		{fmt.Sprintf("of an auth object | %d, 524288, %d |", flow.MaxMembers, flow.MaxAuthKeys), "flow/parse.go", `maxCrowd += 1 << 19`},
		{"read to its end up to 16 GiB", "proxy/read.go", `maxFileDrain = 16 << 30`},
		{"up to 16 GiB, for 10 min at most", "proxy/read.go", `drainTime = 10 \* time.Minute`},
		{"takes 384 KiB of `max_buffered`", "proxy/upload.go", `formRoom = 384 << 10`},
		{"read to its end up to 256 MiB", "proxy/read.go", `maxDrain = 256 << 20`},
		{"| 1 MiB; 256 KiB, 64 KiB, 64 |", "flow/*.go", `MaxFormBody = 1 << 20`},
		{"| 1 MiB; 256 KiB, 64 KiB, 64 |", "flow/*.go", `MaxFormHead = 256 << 10`},
		{"| 1 MiB; 256 KiB, 64 KiB, 64 |", "flow/*.go", `MaxFormField = 64 << 10`},
		{fmt.Sprintf("`share_thumbnail` | %d |", flow.MaxTargets), "flow/*.go", `MaxTargets`},
		{"| 8 KiB, 64 KiB, 256; 16 KiB |", "proxy/routes.go", `maxPath = 8 << 10`},
		{"| 8 KiB, 64 KiB, 256; 16 KiB |", "flow/*.go", `MaxQuery = 64 << 10`},
		{"a token in a header, a handle | 4 KiB", "proxy/handle.go", `maxToken = 4 << 10`},
		{"to tell a web link | 8 KiB", "flow/linkstream.go", `maxLinkObject = 8 << 10`},
		{"the wait for one | 16; 32, with", "proxy/session.go", `maxSessions = 16`},
		{"the wait for one | 16; 32, with", "proxy/scrubbers.go", `maxScrubbed = 2 \* maxSessions`},
		{"; 30 min, tokens a minute less", "proxy/session.go", `sessionLife = 30 \* time.Minute`},
		{"tokens a minute less than they live; 30 s", "proxy/session.go", `mintTime = 30 \* time.Second`},
		{"connections are kept to | 32", "upstream/pool.go", `maxHosts = 32`},
		{"how many of one call are looked up | 10000, 60 s; 500 |", "proxy/lookup.go", `maxLookups = 10_000`},
		{"how many of one call are looked up | 10000, 60 s; 500 |", "proxy/lookup.go", `lookupLife = time.Minute`},
		{"how many of one call are looked up | 10000, 60 s; 500 |", "flow/lookup.go", `MaxAsked = 500`},
		{fmt.Sprintf("the length of one | %d; %d, %d characters |", policy.MaxProjects, policy.MaxConditions, policy.MaxCondition), "policy/*.go", `MaxConditions`},
		{fmt.Sprintf("bring one another in a row | %d types, %d; %d |", config.MaxTargets, config.MaxAllTargets, config.MaxRoleDepth), "config/roles.go", `MaxRoleDepth`},
		{fmt.Sprintf("its types, its fields | 32 MiB, %d, %d |", schema.MaxTypes, schema.MaxFields), "schema/schema.go", `MaxFile += 32 << 20`},
		{"1 MiB, 16 levels, 20000 items in a list, 1000 fields at one place", "config/tree.go", `maxItems  = 20_000`},
		{"1 MiB, 16 levels, 20000 items in a list, 1000 fields at one place", "config/tree.go", `maxFields = 1000`},
		{"15 s, and 1 s more for each 64 KiB", "proxy/read.go", `bodyTime = 15 \* time.Second`},
		{"15 s, and 1 s more for each 64 KiB", "proxy/read.go", `bodyRate = 64 << 10`},
	} {
		if !strings.Contains(page, b.docs) {
			t.Errorf("the docs do not say %q", b.docs)
		}
		files, err := filepath.Glob(b.file)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", b.file, err)
		}
		found := false
		for _, f := range files {
			found = found || regexp.MustCompile(b.code).MatchString(source(t, f))
		}
		if !found {
			t.Errorf("%s has no %s", b.file, b.code)
		}
	}
}

// Each word that a rule may start with has its row in docs/rules.md.
func TestEveryWordOfARuleIsInTheDocs(t *testing.T) {
	said := map[string]bool{}
	for _, r := range rows(source(t, "docs/rules.md")) {
		if words := spans(r.cells[0]); len(words) > 0 && len(r.cells) == 3 {
			for _, w := range words {
				said[w] = true
			}
		}
	}
	have := map[string]bool{}
	for _, v := range policy.Verbs() {
		have[v] = true
	}
	wantSame(t, "words of rules", have, said)
}

// answers is the table of proxy/reason.go, as its source has it: the status and
// the fault of each reason.
func answers(t *testing.T) map[proxy.Reason]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "proxy/reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	words, out := map[string]proxy.Reason{}, map[proxy.Reason]string{}
	faults := map[string]string{"FaultServer": "100", "FaultAuth": "102", "FaultBadRequest": "103", "FaultDenied": "104"}
	statuses := map[string]string{}
	for code := range 600 {
		if text := http.StatusText(code); text != "" {
			statuses["Status"+strings.NewReplacer(" ", "", "-", "").Replace(text)] = strconv.Itoa(code)
		}
	}
	statuses["StatusOK"] = "200"
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			if lit, ok := n.Values[0].(*ast.BasicLit); ok {
				word, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				words[n.Names[0].Name] = proxy.Reason(word)
			}
		case *ast.CaseClause:
			ret, ok := n.Body[0].(*ast.ReturnStmt)
			if !ok {
				return true
			}
			lit, ok := ret.Results[0].(*ast.CompositeLit)
			if !ok {
				return true
			}
			status, ok := lit.Elts[0].(*ast.SelectorExpr)
			if !ok {
				t.Fatalf("%v", lit.Elts[0])
			}
			text := statuses[status.Sel.Name]
			if f, ok := lit.Elts[1].(*ast.SelectorExpr); ok && text == "200" {
				text = "fault " + faults[f.Sel.Name]
			}
			for _, e := range n.List {
				name, ok := e.(*ast.Ident)
				if !ok {
					t.Fatalf("%v", e)
				}
				out[words[name.Name]] = text
			}
		}
		return true
	})
	return out
}

func TestEveryReasonIsInTheDocs(t *testing.T) {
	table := answers(t)
	said := map[proxy.Reason]string{}
	for _, r := range rows(source(t, "docs/refusals.md")) {
		for _, word := range spans(r.cells[0]) {
			said[proxy.Reason(word)], _, _ = strings.Cut(r.cells[1], ",")
		}
	}
	for _, r := range proxy.Reasons() {
		if table[r] == "" {
			t.Errorf("no answer of %s was found in proxy/reason.go", r)
		}
		if said[r] != table[r] {
			t.Errorf("%s is answered with %s, and docs/refusals.md says %q", r, table[r], said[r])
		}
		delete(said, r)
	}
	for r := range said {
		t.Errorf("docs/refusals.md tells of %s, which is no reason", r)
	}
}

// One run that has something to tell of everything.
func TestMetricsAndAuditFieldsAreInTheDocs(t *testing.T) {
	t.Parallel()
	site := startSite(t, flowsite.Options{})
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	s := serveIn(t, shortHome(t), nil, scriptConfig(site, "file: "+keyFile(t), "audit: {file: "+path+", min_free: 1KiB}\n"+
		"limits: {fleet: {redis: redis://127.0.0.1:1, share: 1/2}}")+
		"    limit: {fleet: 200/s}\n    allow: [{read: Shot, cache: 1m}]\n")
	s.wantOK("for the metrics")
	s.wantOK("for the metrics") // from the cache
	if out, code := s.command("slow", "127.0.0.1", "--caller", "--to", "100/s", "--why", "for the metrics"); code != 0 {
		t.Fatal(out)
	}
	for range 2 { // the second is a repeat
		s.Call("tools", strings.Replace(findShots, `"read"`, `"delete"`, 1))
		s.Call("tools", `{"method_name":"delete","params":[{"script_name":"x","script_key":"x","other":1},{"type":"Shot","id":1}]}`)
	}
	_, served := s.Get("/metrics")
	s.Stop()

	have := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (stagedoor_\w+) `).FindAllStringSubmatch(served, -1) {
		have[m[1]] = true
	}
	said := map[string]bool{}
	for _, name := range regexp.MustCompile(`stagedoor_\w+`).FindAllString(source(t, "docs/operation.md"), -1) {
		said[name] = true
	}
	wantSame(t, "metrics", have, said)

	written, told := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(source(t, path)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		for name := range m {
			written[name] = true
		}
	}
	for _, r := range rows(source(t, "docs/audit.md")) {
		for _, name := range spans(r.cells[0]) {
			told[name] = true
		}
	}
	for _, f := range fences(source(t, "docs/audit.md")) {
		var example map[string]any
		if err := json.Unmarshal([]byte(f.text), &example); err != nil || !told["seq"] {
			t.Errorf("the example in docs/audit.md: %v", err)
		}
		for name := range example {
			if !told[name] {
				t.Errorf("docs/audit.md shows %s and does not tell of it", name)
			}
		}
	}
	// What this run had no cause for stands in the code.
	code := source(t, "audit/encode.go")
	for name := range told {
		if strings.Contains(code, `,"`+name+`":`) || strings.Contains(code, `list(b, "`+name+`"`) {
			written[name] = true
		}
	}
	for _, m := range regexp.MustCompile(`,"(\w+)":`).FindAllStringSubmatch(code, -1) {
		written[m[1]] = true
	}
	wantSame(t, "fields of the audit log", written, told)
}

func wantSame(t *testing.T, what string, have, said map[string]bool) {
	t.Helper()
	if len(have) < 10 {
		t.Errorf("%d %s", len(have), what)
	}
	for name := range have {
		if !said[name] {
			t.Errorf("the docs do not tell of %s, one of the %s", name, what)
		}
	}
	for name := range said {
		if !have[name] {
			t.Errorf("the docs tell of %s, which is none of the %s", name, what)
		}
	}
}

// The closed lists of the audit log's words.
func TestTheWordsOfTheAuditLogAreInTheDocs(t *testing.T) {
	page := source(t, "docs/audit.md")
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^\t\w+ (?:Kind|Credential|Result) = "(\w+)"`).FindAllStringSubmatch(source(t, "audit/event.go"), -1) {
		n++
		if !slices.Contains(spans(page), m[1]) {
			t.Errorf("docs/audit.md does not tell of %s", m[1])
		}
	}
	if n < 20 {
		t.Errorf("%d words were found", n)
	}
}
