package cli_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"stagedoor/cli"
	"stagedoor/config"
	"stagedoor/flow"
	"stagedoor/policy"
)

// run is a command's exit code and what it wrote.
func run(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = cli.Main(t.Context(), args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

func put(t *testing.T, path, text string) string {
	t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(t.TempDir(), path)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// someNeed draws a need of any verb.
func someNeed() *rapid.Generator[policy.Need] {
	return rapid.Custom(func(t *rapid.T) policy.Need {
		verb := rapid.SampledFrom(policy.Verbs()).Draw(t, "verb")
		typ := rapid.SampledFrom([]string{"Shot", "Version", "CustomEntity01", "HumanUser"}).Draw(t, "type")
		switch verb {
		case "read", "create", "update", "upload", "download":
			return policy.Need{Verb: verb, Type: typ, Field: rapid.SampledFrom([]string{"code", "login", "yes", "sg_status_list"}).Draw(t, "field")}
		case "delete", "revive", "follow", "schema", "link", "activity_stream", "schema_field_create", "schema_field_update", "schema_field_delete":
			return policy.Need{Verb: verb, Type: typ}
		case "presets":
			return policy.Need{Verb: verb, Type: "LATEST"}
		case "work_schedule_update":
			return policy.Need{Verb: verb, Type: rapid.SampledFrom([]string{"", policy.StudioTarget}).Draw(t, "schedule")}
		}
		return policy.Need{Verb: verb}
	})
}

// What a rule gives is asked by a call that needs exactly that, so the call must.
func TestACallForANeedNeedsIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := someNeed().Draw(t, "need")
		got := policy.Compile(policy.Script{}).Needs(cli.NeedCall(n))
		got = slices.DeleteFunc(got, func(o policy.Need) bool {
			return o.Field == "" && o.Type == n.Type && n.Field != "" || o.Type == "StagedoorProbe"
		})
		if !slices.Equal(got, []policy.Need{n}) {
			t.Fatalf("the call for %v needs %v", n, got)
		}
	})
}

// The rules for needs give all of them, what they name is what is needed, and
// they are a configuration as they are written.
func TestRulesForNeedsGiveThemAndAreARuleOfAFile(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		needs := rapid.SliceOfN(someNeed(), 1, 12).Draw(t, "needs")
		rules := cli.RulesFor(needs)
		text := head + "scripts:\n  comp:\n    file: /etc/key.json\n    allow:\n"
		for i := range rules {
			text += "      - " + cli.RuleYAML(&rules[i]) + "\n"
		}
		c, ds := config.Parse("stagedoor.yaml", []byte(text))
		if c == nil {
			t.Fatalf("%s\n%s", config.Format(ds), text)
		}
		for _, n := range needs {
			if !cli.Gives(c.Scripts[0].Allow, n) {
				t.Fatalf("%v is not given by\n%s", n, text)
			}
		}
		other := someNeed().Draw(t, "another need")
		if slices.Contains(needs, other) || bring(needs, other) {
			return
		}
		if cli.Gives(c.Scripts[0].Allow, other) {
			t.Fatalf("%v is given by\n%s", other, text)
		}
	})
}

// bring says whether needs bring another one with them: to read a type is to be
// let link to it, and a call of a verb alone is for all types.
func bring(needs []policy.Need, o policy.Need) bool {
	return slices.ContainsFunc(needs, func(n policy.Need) bool {
		return o.Verb == "link" && n.Verb == "read" && n.Type == o.Type || n.Verb == o.Verb && n.Type == ""
	})
}

// record is one line of an audit log.
func record(t *testing.T, n int, day, ev, more string, c *flow.Call) string {
	t.Helper()
	return fmt.Sprintf(`{"v":1,"seq":%d,"prev":"","t":"2026-11-%sT10:00:00.000Z","ev":%q,"id":"01KB2M7Q%018d","listener":"l","caller":"c","script":"comp"%s,"shape":%s}`+"\n",
		n, day, ev, n, more, flow.AppendShape(nil, c))
}

func readCode(typ string) *flow.Call {
	return &flow.Call{Kind: flow.KindRPC, Method: "read", Group: flow.GroupRead, Type: typ, Touches: []flow.Touch{{Type: typ, Field: "code", Use: flow.UseReturn}}}
}

// aTrail is a log of three days in which a script reads what it has no rule for.
func aTrail(t *testing.T) string {
	t.Helper()
	text, n := "", 0
	for _, day := range []string{"20", "21", "22"} {
		for range 2 {
			n++
			text += record(t, n, day, "intent", `,"decision":"allow","observed":"no_rule"`, readCode("Shot"))
		}
	}
	text += record(t, n+1, "22", "refused", `,"decision":"refuse","reason":"no_rule"`, readCode("Shot"))
	return text + `{"v":1,"seq":9,"prev":"","t":"2026-11-22T11:00:00.000Z","ev":"stop"}` + "\n"
}

const observed = "version: 1\nsite: https://acme.shotgrid.autodesk.com\nlisten: 127.0.0.1:8470\nidentity: none\n" +
	"scripts:\n  comp: {file: /etc/key.json, mode: observe}\n"

func TestATrailMayBePackedAndHaveATornLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg, trail := put(t, filepath.Join(dir, "stagedoor.yaml"), observed), aTrail(t)
	var z, g bytes.Buffer
	zw, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	gw := gzip.NewWriter(&g)
	for _, err := range []error{write(zw, trail), zw.Close(), write(gw, trail), gw.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"plain": trail, "zst": z.String(), "gz": g.String(), "torn": trail[:len(trail)-30] + "\n", "rolled": "ev\":\"intent\"}\n" + trail,
	} {
		code, out, errs := run(t, "policy", "learn", "comp", "-c", cfg, "--from", put(t, filepath.Join(dir, "audit."+name), text))
		if code != 0 || errs != "" || !strings.Contains(out, "- read: Shot.code                      # 7, 1 of them refused so far\n") {
			t.Errorf("%s: %d %s%s", name, code, out, errs)
		}
		if torn := name == "torn" || name == "rolled"; torn != strings.Contains(out, "1 torn line") {
			t.Errorf("%s: %s", name, out)
		}
	}
	// All of them, each once, however often it is named.
	if _, out, _ := run(t, "policy", "learn", "comp", "-c", cfg, "--from", filepath.Join(dir, "audit.*"), "--from", filepath.Join(dir, "audit.gz")); !strings.Contains(out, "# 3 days, 1 caller, 35 calls, 1 shape;") {
		t.Errorf("all together: %s", out)
	}
}

func write(w interface{ Write([]byte) (int, error) }, text string) error {
	_, err := w.Write([]byte(text))
	return err
}

// A request id is found in the file that is written now, and in those that were
// rotated, packed or not, the newest first.
func TestARequestIDIsFoundInRotatedLogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := filepath.Join(dir, "audit.jsonl")
	cfg := put(t, filepath.Join(dir, "stagedoor.yaml"), observed+"audit: {file: "+log+"}\n")
	one := func(n int, typ string) string {
		return record(t, n, "22", "refused", `,"decision":"refuse","reason":"no_rule"`, readCode(typ))
	}
	put(t, log, one(1, "Shot"))
	put(t, log+".1", one(2, "Asset"))
	var g bytes.Buffer
	gw := gzip.NewWriter(&g)
	if err := write(gw, one(3, "Task")); err != nil {
		t.Fatal(err)
	}
	if err := gw.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, log+".2.gz", g.String())
	put(t, log+".check", "not a log at all")
	for n, typ := range map[int]string{1: "Shot", 2: "Asset", 3: "Task"} {
		code, out, errs := run(t, "policy", "explain", "-c", cfg, fmt.Sprintf("01KB2M7Q%018d", n))
		if code != 0 || errs != "" || !strings.Contains(out, "read "+typ+" [code]") || !strings.HasPrefix(out, "observed  2026-11-22") {
			t.Errorf("%d: %d %s%s", n, code, out, errs)
		}
	}
}

// An artist who tried again sends the id of the last refusal, which the log keeps
// in the repeat of the first.
func TestTheLastOfSeveralRefusalsIsFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := filepath.Join(dir, "audit.jsonl")
	cfg := put(t, filepath.Join(dir, "stagedoor.yaml"), observed+"audit: {file: "+log+"}\n")
	const refused = `,"decision":"refuse","reason":"no_rule"`
	id := func(n int) string { return fmt.Sprintf("01KB2M7Q%018d", n) }
	put(t, log, record(t, 1, "22", "refused", refused, readCode("Shot"))+
		fmt.Sprintf(`{"v":1,"seq":2,"prev":"","t":"2026-11-22T10:00:10.000Z","ev":"repeat","listener":"l","caller":"c","script":"comp"%s,"shape":%s,"count":2,"first_id":%q,"last_id":%q}`+"\n",
			refused, flow.AppendShape(nil, readCode("Shot")), id(1), id(3))+
		fmt.Sprintf(`{"v":1,"seq":3,"prev":"","t":"2026-11-22T10:00:10.000Z","ev":"repeat","script":"comp"%s,"count":2,"first_id":%q,"last_id":%q}`+"\n", refused, id(4), id(5)))
	for _, n := range []int{1, 3} {
		code, out, errs := run(t, "policy", "explain", "-c", cfg, "--json", id(n))
		if code != 0 || errs != "" || !strings.Contains(out, id(n)) || !strings.Contains(out, "read Shot [code]") {
			t.Errorf("%d: %d %s%s", n, code, out, errs)
		}
	}
	for _, n := range []int{2, 5} { // 2 is only counted; 5 is the last of several kinds
		if code, out, errs := run(t, "policy", "explain", "-c", cfg, id(n)); code != 2 || !strings.Contains(errs, "no record of "+id(n)) {
			t.Errorf("%d: %d %s%s", n, code, out, errs)
		}
	}
}

// What a caller wrote into its call is told in one line that no terminal acts on,
// and is never a line that looks learnt.
func TestWhatCallersWroteIsNotPrintedAsItIs(t *testing.T) {
	t.Parallel()
	cfg := put(t, "stagedoor.yaml", strings.Replace(observed, "mode: observe", "allow: [{read: Shot}]", 1))
	for _, login := range []string{"anna]\n- update: \"*\" # 4 032\n- delete: \"*\"\n#\x1b[2J", "anna, *", "*", "a\u202eb"} {
		quoted, err := json.Marshal(login)
		if err != nil {
			t.Fatal(err)
		}
		more := `,"decision":"refuse","reason":"sudo","rule":"\u001b[2Jx","sudo_as_login":` + string(quoted)
		c := readCode("Shot")
		c.SudoAsLogin = "x" // a record says that there is one, not which
		line := record(t, 1, "22", "refused", more, c)
		log := put(t, "audit.jsonl", line)
		for _, args := range [][]string{{"learn", "comp", "--from", log}, {"replay", "--from", log}, {"explain", line}} {
			_, out, errs := run(t, append([]string{"policy", "-c", cfg}, args...)...)
			if strings.ContainsFunc(out+errs, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
				t.Errorf("%q: %q %q", args[0], out, errs)
			}
			for l := range strings.Lines(out) {
				if strings.HasPrefix(l, "- ") || args[0] == "learn" && strings.Contains(l, "[") && !strings.Contains(l, "[code]") {
					t.Errorf("%s of %q: %s", args[0], login, l)
				}
			}
			if out == "" {
				t.Errorf("%s of %q says nothing: %s", args[0], login, errs)
			}
		}
	}
	log := put(t, "audit.jsonl", record(t, 1, "22", "refused", `,"reason":"sudo","sudo_as_login":"anna"`, readCode("Shot")))
	if _, out, errs := run(t, "policy", "learn", "comp", "-c", cfg, "--from", log); !strings.Contains(out, "sudo_as_login: [anna]") {
		t.Errorf("a plain login is not offered: %s%s", out, errs)
	}
}

// A link to what no type is written like is given by all links alone: nobody asked
// for those.
func TestALinkThatOnlyAllLinksGiveIsNotLearnt(t *testing.T) {
	t.Parallel()
	cfg := put(t, "stagedoor.yaml", observed)
	c := &flow.Call{
		Kind: flow.KindRPC, Method: "update", Group: flow.GroupUpdate, Type: "Note", Writes: true,
		Touches: []flow.Touch{{Type: "Note", Field: "note_links", Use: flow.UseWrite}, {Type: "foo", Use: flow.UseLink}},
	}
	text := ""
	for n, day := range []string{"20", "21", "22"} {
		text += record(t, n, day, "intent", `,"decision":"allow","observed":"no_rule"`, c)
	}
	code, out, errs := run(t, "policy", "learn", "comp", "-c", cfg, "--from", put(t, "audit.jsonl", text))
	if code != 0 || strings.Contains(out, "\n- ") || !strings.Contains(out, "only all links give it") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}

// A record whose shape is of another version is told, and ends nothing.
func TestAShapeThatCantBeReadIsCounted(t *testing.T) {
	t.Parallel()
	cfg := put(t, "stagedoor.yaml", observed)
	strange := strings.Replace(record(t, 8, "22", "intent", "", readCode("Shot")), `"read"`, `"of_next_year"`, 1)
	log := put(t, "audit.jsonl", aTrail(t)+strange)
	for _, args := range [][]string{{"learn", "comp"}, {"replay"}} {
		code, out, errs := run(t, append([]string{"policy", "-c", cfg, "--from", log}, args...)...)
		if code != 0 || errs != "" || !strings.Contains(out, "not looked at: 1 call with a shape that this stagedoor can't read") {
			t.Errorf("%s: %d %s%s", args[0], code, out, errs)
		}
	}
}

// A configuration keeps every byte of what it had, wherever its rules stand.
func TestRulesArePutIntoAFileWithoutTouchingTheRest(t *testing.T) {
	t.Parallel()
	blocks, inline := []string{"- read: Task.content", "- delete: Note"}, "{read: Task.content}, {delete: Note}"
	for _, c := range []struct{ name, before, after string }{
		{
			"a list", "  comp:\n    allow:\n      - read: Shot # a\n      # b\n    file: /k # c\n",
			"  comp:\n    allow:\n      - read: Shot # a\n      - read: Task.content\n      - delete: Note\n      # b\n    file: /k # c\n",
		},
		{
			"a list as far left as its key", "  comp:\n    allow:\n    - read: Shot\n    - {update: Shot,\n       where: call.parts < 3}\n    file: /k\n",
			"  comp:\n    allow:\n    - read: Shot\n    - {update: Shot,\n       where: call.parts < 3}\n    - read: Task.content\n    - delete: Note\n    file: /k\n",
		},
		{
			"a mapping in the last item", "  comp:\n    file: /k\n    allow:\n      - read:\n          Shot: [code]\n\n          Asset: code   # last\n\n\n# the end\n",
			"  comp:\n    file: /k\n    allow:\n      - read:\n          Shot: [code]\n\n          Asset: code   # last\n      - read: Task.content\n      - delete: Note\n\n\n# the end\n",
		},
		{
			"no line feed at the end", "  comp:\n    file: /k\n    allow:\n      - read: Shot",
			"  comp:\n    file: /k\n    allow:\n      - read: Shot\n      - read: Task.content\n      - delete: Note\n",
		},
		{
			"carriage returns", "  comp:\r\n    file: /k\r\n    allow:\r\n      - read: Shot\r\n",
			"  comp:\r\n    file: /k\r\n    allow:\r\n      - read: Shot\r\n      - read: Task.content\r\n      - delete: Note\r\n",
		},
		{
			"brackets", "  comp: {file: /k, allow: [{read: Shot}]} # d\n",
			"  comp: {file: /k, allow: [{read: Shot}, {read: Task.content}, {delete: Note}]} # d\n",
		},
		{
			"brackets with nothing in them", "  comp:\n    file: /k\n    allow: [ ] # none yet\n",
			"  comp:\n    file: /k\n    allow: [ {read: Task.content}, {delete: Note}] # none yet\n",
		},
		{
			"brackets over lines, with a comma and a comment", "  comp:\n    file: /k\n    allow: [\n      {read: Shot}, # a, b\n    ]\n",
			"  comp:\n    file: /k\n    allow: [\n      {read: Shot}, # a, b\n    {read: Task.content}, {delete: Note}]\n",
		},
		{
			"letters of several bytes", "  comp: {file: /ключ, allow: [{read: Shot}]}\n",
			"  comp: {file: /ключ, allow: [{read: Shot}, {read: Task.content}, {delete: Note}]}\n",
		},
		{
			"no list", "  comp:\n    file: /k\n    limit:\n      rate: 5/s\n  # other\n",
			"  comp:\n    file: /k\n    limit:\n      rate: 5/s\n    allow:\n      - read: Task.content\n      - delete: Note\n  # other\n",
		},
		{
			"no list, in braces", "  comp: {file: /k}\n",
			"  comp: {file: /k, allow: [{read: Task.content}, {delete: Note}]}\n",
		},
	} {
		nl := "\n"
		if strings.Contains(c.before, "\r") {
			nl = "\r\n"
		}
		top := strings.ReplaceAll(head, "\n", nl) + "scripts:" + nl
		got, err := cli.InsertRules([]byte(top+c.before), "comp", blocks, inline)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if string(got) != top+c.after {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, top+c.after)
		}
		if cfg, ds := config.Parse("stagedoor.yaml", got); cfg == nil || len(cfg.Scripts[0].Allow) < 2 {
			t.Errorf("%s: it is no configuration any more: %s", c.name, config.Format(ds))
		}
	}
	if _, err := cli.InsertRules([]byte(head+scripts), "nobody", blocks, inline); err == nil {
		t.Error("rules were put into a script that is not there")
	}
}

// --write keeps the file's mode, and writes through a link to what it leads to.
func TestWritingRulesKeepsTheFileAsItWas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, trail := put(t, filepath.Join(dir, "real.yaml"), observed), put(t, filepath.Join(dir, "audit.jsonl"), aTrail(t))
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "stagedoor.yaml")
	if err := os.Symlink("real.yaml", link); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := run(t, "policy", "learn", "comp", "--from", trail, "--write", link); code != 0 {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	st, err := os.Lstat(file)
	if err != nil || st.Mode() != 0o640 {
		t.Errorf("%v %v", st, err)
	}
	if to, err := os.Readlink(link); err != nil || to != "real.yaml" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	cfg, err := config.Inspect(file)
	if err != nil || len(cfg.Scripts[0].Allow) != 1 || cfg.Scripts[0].Allow[0].Targets[0].Fields[0] != "code" {
		t.Errorf("%v %v", cfg, err)
	}
	all, err := os.ReadDir(dir)
	if err != nil || len(all) != 3 {
		t.Errorf("beside the file lie %v, %v", all, err)
	}
}

// The short form of a call is read as shotgun_api3 would send it.
func TestTheShortFormOfACall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := put(t, filepath.Join(dir, "stagedoor.yaml"), observed)
	for _, c := range []struct{ call, words string }{
		{"{method: read, type: Shot, fields: [code, sg_asset.Asset.code], filter: [sg_status_list], sort: [id], project: 122, page: 50}", "read Shot [code, sg_asset, Asset.code]  filtered by project, sg_status_list  sorted by id  50 a page  in project 122"},
		{"{method: read, type: Project, project: [122, 145]}", "read Project [every field]  filtered by id  in project 122, 145"},
		{"{method: read, type: Version, fields: [code], presets: [LATEST]}", "read Version [code]  presets LATEST"},
		{"{method: summarize, type: Shot, sums: [id], filter: [code]}", "summarize Shot  filtered by code  sums id"},
		{"{method: create, type: Version, fields: [code], links: {entity: Shot}, project: 122}", "create Version [code, entity, project]  links Shot, Project  in project 122"},
		{"{method: update, type: Version, id: 7, fields: [code]}", "update Version [code]"},
		{"{method: delete, type: Version, id: 7}", "delete Version"},
		{"{method: batch, parts: [{method: update, type: Shot, fields: [code]}, {method: update, type: Shot, fields: [code]}]}", "batch of 2 parts\n            2 × update Shot [code]"},
		{"{method: follow, type: Shot}", "follow Shot"},
		{"{method: schema_field_read, type: Shot}", "schema_field_read Shot"},
		{"{method: schema_field_delete, type: Shot, field: sg_x}", "schema_field_delete Shot [sg_x]"},
		{"{method: upload, type: Version, field: sg_uploaded_movie}", "upload_file Version  into sg_uploaded_movie"},
		{"{method: upload, type: Note}", "upload_file Note  into attachments"},
		{"{method: thumbnail, type: Shot}", "publish_thumbnail Shot  into image"},
		{"{method: download, type: Attachment, id: 9}", "download Attachment  of Attachment"},
		{"{method: download, type: Version, field: image}", "download Version  of image"},
		{"{method: download, type: images}", "download images  of images"},
	} {
		fixtures := put(t, filepath.Join(dir, "a.test.yaml"), "tests:\n  - name: it\n    call: "+c.call+"\n    expect: refuse\n    reason: none_such\n")
		code, out, errs := run(t, "policy", "test", "--json", "-c", cfg, fixtures)
		var got struct{ Tests []struct{ Call string } }
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 || len(got.Tests) != 1 {
			t.Errorf("%s: %d %s%s", c.call, code, out, errs)
			continue
		}
		if got.Tests[0].Call != c.words {
			t.Errorf("%s\nis   %s\nwant %s", c.call, got.Tests[0].Call, c.words)
		}
	}
}

// A curl line is the request that curl would send.
func TestACurlLineIsTheRequestThatCurlSends(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := put(t, filepath.Join(dir, "stagedoor.yaml"), observed)
	body := put(t, filepath.Join(dir, "body.json"), "{\"description\":\r\n \"x\"}")
	const at = "http://127.0.0.1:8470"
	for _, c := range []struct{ line, says string }{
		{`curl ` + at + `/api/v1/entity/shots?fields=code`, "read Shot [code]"},
		{`curl -G -d fields=code --url ` + at + `/api/v1/entity/shots`, "read Shot [code]"},
		{`curl -sSXDELETE ` + at + `/api/v1/entity/shots/7`, "delete Shot"},
		{`curl -sS -X DELETE "` + at + `/api/v1/entity/shots/7"`, "delete Shot"},
		{`curl -XPUT -H 'Content-Type: application/json' -d @` + body + ` ` + at + `/api/v1/entity/shots/7`, "update Shot [description]"},
		{`curl -X PUT --json '{"description": "x"}' 127.0.0.1:8470/api/v1/entity/shots/7`, "update Shot [description]"},
		{"curl -X PUT \\\n  -H content-type:application/json \\\n --data-raw '{\"description\": \"@x\"}' " + at + `/api/v1/entity/shots/7`, "update Shot [description]"},
		{`curl --data-urlencode 'entities=Shot_1,Asset_2' --data-urlencode source_entity=Version_3 ` + at + `/upload/share_thumbnail`, "share_thumbnail"},
		{`curl -o x.png -L ` + at + `/thumbnail/full/Shot/7`, "download Shot  of image"},
		{`curl -I ` + at + `/thumbnail/full/Shot/7`, "download Shot  of image"},
	} {
		_, out, errs := run(t, "policy", "explain", "-c", cfg, "--json", c.line)
		var got struct{ Call string }
		if err := json.Unmarshal([]byte(out), &got); err != nil || !strings.HasPrefix(got.Call, c.says) {
			t.Errorf("%s: %s%s", c.line, out, errs)
		}
	}
	for line, says := range map[string]string{
		`curl -X`:                         "the curl option -X has no value",
		`curl -s`:                         "the curl line has no URL",
		`curl http://a http://b`:          "the curl line has two URLs",
		`curl -d @- http://a`:             "the curl line reads standard input",
		`curl -d @/no/such/file http://a`: "the data of the curl line: ",
		`curl -F name http://a`:           "a form's field is name=value",
		`curl -H novalue http://a`:        "a header is NAME: VALUE",
		`curl 'http://a/b c'`:             "the URL has white space in it",
		`curl "http://a`:                  "reading the curl line: ",
		`curl -sZ http://a/api/v1/schema`: "the curl option -Z is not known here",
		`curl -X 'A B' http://a/api/v1/x`: `"A B" is no HTTP verb`,
	} {
		if code, out, errs := run(t, "policy", "explain", "-c", cfg, line); code != 2 || out != "" || !strings.HasPrefix(errs, "stagedoor: "+says) {
			t.Errorf("%s: %d %s%s", line, code, out, errs)
		}
	}
}

// Who calls is nobody's secret to explain: a script that acts as its caller is
// decided as for anybody.
func TestAScriptThatActsAsItsCallerIsExplainedForAnybody(t *testing.T) {
	t.Parallel()
	cfg := put(t, "stagedoor.yaml", "version: 1\nsite: https://acme.shotgrid.autodesk.com\nlisten: 127.0.0.1:8470\nidentity: kernel\n"+
		"scripts:\n  comp: {file: /etc/key.json, sudo_as_login: caller, allow: [{read: Shot}]}\n")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 0, "acts as   the caller's own login\n"},
		{[]string{"--login", "ann"}, 0, "acts as   ann, the caller's own login\n"},
	} {
		code, out, errs := run(t, append([]string{"policy", "explain", "-c", cfg, "GET /api/v1/entity/shots?fields=code"}, c.args...)...)
		if code != c.code || !strings.HasSuffix(out, c.says) {
			t.Errorf("%v: %d %s%s", c.args, code, out, errs)
		}
	}
}

// Several verbs may stand in one item: what is told is the rule that decided, and
// that no glob covers what has to be named.
func TestTheRuleThatDecidedIsTheOneThatIsTold(t *testing.T) {
	t.Parallel()
	cfg := put(t, "stagedoor.yaml", head+`scripts:
  comp:
    file: /etc/key.json
    allow:
      - {read: "*", create: "*", update: ["*", "HumanUser*"]}
    deny:
      - {create: Note, update: Note}
`)
	call := func(method, typ, field string) string {
		return fmt.Sprintf(`{"method_name":%q,"params":[{"script_name":"comp","script_key":"x"},{"type":%q,"id":1,"fields":[{"field_name":%q,"value":"a"}]}]}`, method, typ, field)
	}
	for call, want := range map[string]string{
		call("update", "Shot", "code"):           `stagedoor.yaml:9  - update: ["*", HumanUser*]`,
		call("update", "Note", "subject"):        `stagedoor.yaml:11  - update: Note`,
		call("update", "HumanUser", "firstname"): `update has *, HumanUser*; not HumanUser, which has to be named`,
	} {
		if _, out, errs := run(t, "policy", "explain", "-c", cfg, call); !strings.Contains(out, want+"\n") {
			t.Errorf("%q is not in\n%s%s", want, out, errs)
		}
	}
}

// What two rule sets give is different for some need exactly where diff says so.
func TestDiffIsEmptyWhereNothingChanges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		needs := rapid.SliceOfN(someNeed(), 0, 6)
		one := needs.Draw(t, "old")
		other := rapid.OneOf(needs, rapid.Permutation(one)).Draw(t, "new")
		was, is := withRules(t, one), withRules(t, other)
		changed := slices.ContainsFunc(slices.Concat(one, other), func(n policy.Need) bool {
			return cli.Gives(was.Scripts[0].Allow, n) != cli.Gives(is.Scripts[0].Allow, n)
		})
		if diff := cli.Diff(was, is); changed != (len(diff) > 0) {
			t.Fatalf("changed: %t, but diff says %q", changed, diff)
		}
	})
}

// withRules is a configuration whose one script is given needs, each by a rule of
// its own.
func withRules(t *rapid.T, needs []policy.Need) *config.Config {
	text, seen := head+"scripts:\n  comp:\n    file: /etc/key.json\n    allow:\n      - read: Tag.id\n", map[policy.Need]bool{}
	for _, n := range needs {
		if !seen[n] {
			rules := cli.RulesFor([]policy.Need{n})
			text += "      - " + cli.RuleYAML(&rules[0]) + "\n"
			seen[n] = true
		}
	}
	c, ds := config.Parse("stagedoor.yaml", []byte(text))
	if c == nil {
		t.Fatalf("%s\n%s", config.Format(ds), text)
	}
	return c
}
