package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"stagedoor/config"
	"stagedoor/schema"
)

// aSite is what a site has, pulled so many days ago.
func aSite(days int) *schema.Snapshot {
	fields := func(names ...string) schema.Type {
		t := schema.Type{Fields: map[string]schema.Field{}}
		for _, n := range names {
			t.Fields[n] = schema.Field{DataType: "text"}
		}
		return t
	}
	s := &schema.Snapshot{
		Site:   "https://acme.shotgrid.autodesk.com",
		Pulled: time.Now().Add(-time.Duration(days) * 24 * time.Hour).UTC(),
		Types: map[string]schema.Type{
			"Project": fields("name"), "Shot": fields("code", "project", "sg_cut_in"), "HumanUser": fields("login", "name"),
			"Version": fields("code", "project", "sg_status_list", "sg_path_to_movie"), "CustomEntity01": fields("code"),
			"Attachment": fields("this_file"),
		},
	}
	return s
}

const schemaHead = `version: 1
site: https://ACME.shotgrid.autodesk.com:443
listen: 127.0.0.1:8470
identity: none
`

// against parses rules and gives what is said of them, but for the listener.
func against(text string, open config.Snapshots) string {
	_, ds := config.ParseWith("dir/stagedoor.yaml", []byte(schemaHead+text), open)
	var out []string
	for i := range ds {
		if !strings.Contains(ds[i].Msg, "identity: none") {
			ds[i].Source = ""
			out = append(out, ds[i].Format())
		}
	}
	return strings.Join(out, "\n")
}

// held is against with one script's rules and a fresh snapshot.
func held(rules string) string {
	return against("scripts:\n  comp:\n    file: /etc/key.json\n"+rules, func(string) (*schema.Snapshot, error) { return aSite(0), nil })
}

func TestRulesAreHeldAgainstTheSchemaOfTheSite(t *testing.T) {
	date := time.Now().UTC().Format(time.DateOnly)
	hint := func(what string) string {
		return "\n  hint: site schema of " + date + " (stagedoor schema pull) " + what
	}
	for name, c := range map[string]struct{ rules, want string }{
		"what is there": {`    allow:
      - read: [Shot, Version.code, Version.id, Version.type, HumanUser.login]
        projects: [5]
        where: call.writes
`, `dir/stagedoor.yaml:9:62: error: HumanUser has no project: read of it can't be confined to projects` +
			"\n  hint: give it a rule of its own, without projects"},
		"a field's end is missing": {
			"    allow: [{update: Version.sg_status}]\n",
			`dir/stagedoor.yaml:8:22: error: unknown field "Version.sg_status" in update` + hint("has sg_status_list"),
		},
		"a field among others": {
			"    allow: [{read: {Shot: [code, sg_cutin]}}]\n",
			`dir/stagedoor.yaml:8:34: error: unknown field "Shot.sg_cutin" in read` + hint("has sg_cut_in"),
		},
		"a type": {
			"    allow: [{link: [Shot, Verson]}]\n",
			`dir/stagedoor.yaml:8:27: error: unknown type "Verson" in link` + hint("has Version"),
		},
		"a type like nothing": {
			"    allow: [{delete: Playlist}]\n",
			`dir/stagedoor.yaml:8:22: error: unknown type "Playlist" in delete` + hint("has no such type; pull again if it is new"),
		},
		"a field like nothing": {
			"    allow: [{read: Shot.frobnication}]\n",
			`dir/stagedoor.yaml:8:20: error: unknown field "Shot.frobnication" in read` + hint("has no such field; pull again if it is new"),
		},
		"globs, words and what no schema lists": {
			"    allow: [{read: {\"Custom*\": [anything], \"*\": [at_all], HumanUser_projects_Connection: [user]}}, {download: [images, Attachment, Shot.image]}, {presets: [LATEST]}, {work_schedule_update: studio}, preferences]\n", "",
		},
		"a glob for nothing": {
			"    allow: [{read: \"Costum*\"}]\n",
			`dir/stagedoor.yaml:8: warning: Costum* in read is no type of the site` + hint("has none that begins like this"),
		},
		"the project itself": {"    allow: [{read: Project.name, projects: [5]}]\n", ""},
		"a deny folds case":  {"    allow: [{read: Shot}]\n    deny: [{read: SHOT.Code}, {read: SHOT.cod}]\n", `dir/stagedoor.yaml:9:38: error: unknown field "SHOT.cod" in read` + hint("has code")},
	} {
		got := held(c.rules)
		if name == "a deny folds case" {
			got = last(got, `dir/stagedoor.yaml:9:38`) // without the warning that the one says it already
		}
		if got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

// last is the part of a text from a mark on.
func last(text, mark string) string {
	if i := strings.Index(text, mark); i >= 0 {
		return text[i:]
	}
	return text
}

func TestRolesAreHeldAgainstTheSchemaOnce(t *testing.T) {
	got := against(`shared: true
roles: {reader: {allow: [{read: Sho}]}}
scripts:
  a: {file: /etc/a.json, roles: reader}
  b: {file: /etc/b.json, roles: reader}
`, func(string) (*schema.Snapshot, error) { return aSite(0), nil })
	if n := strings.Count(got, `unknown type "Sho" in read`); n != 1 {
		t.Errorf("said %d times:\n%s", n, got)
	}
}

func TestTheSnapshotItself(t *testing.T) {
	const rules = "scripts: {comp: {file: /etc/key.json, allow: [{read: Shot}]}}\n"
	for name, c := range map[string]struct {
		top, path, want string
		s               *schema.Snapshot
		err             error
	}{
		"fresh":                   {s: aSite(89), path: "dir/stagedoor.schema.json"},
		"none where it may be":    {err: fmt.Errorf("reading: %w", fs.ErrNotExist), path: "dir/stagedoor.schema.json"},
		"none where it has to be": {top: "schema: flow.json\n", err: fs.ErrNotExist, path: "dir/flow.json", want: "dir/stagedoor.yaml:5:9: error: there is no such file\n  hint: stagedoor schema pull makes it"},
		"elsewhere":               {top: "schema: /srv/flow.json\n", s: aSite(0), path: "/srv/flow.json"},
		"broken":                  {err: errors.New("this is no snapshot"), path: "dir/stagedoor.schema.json", want: "dir/stagedoor.yaml: error: this is no snapshot\n  hint: stagedoor schema pull makes it anew"},
		"old": {
			s: aSite(91), path: "dir/stagedoor.schema.json",
			want: "dir/stagedoor.yaml: warning: what is known of the site's schema is 91 days old (" + aSite(91).Pulled.Format(time.DateOnly) + ")\n  hint: stagedoor schema pull makes it anew",
		},
		"another site's": {
			s: &schema.Snapshot{Site: "https://other.shotgrid.autodesk.com", Types: aSite(0).Types}, path: "dir/stagedoor.schema.json",
			want: "dir/stagedoor.yaml: error: the schema beside this file is of https://other.shotgrid.autodesk.com, and the site is https://acme.shotgrid.autodesk.com:443\n  hint: stagedoor schema pull makes it anew",
		},
	} {
		asked := ""
		got := against(c.top+rules, func(path string) (*schema.Snapshot, error) {
			asked = path
			return c.s, c.err
		})
		if got != c.want || asked != c.path {
			t.Errorf("%s: asked for %s, got\n%s\nwant\n%s", name, asked, got, c.want)
		}
	}
}

// Who serves by a file does not depend on the snapshot beside it.
func TestParseAsksForNoSnapshot(t *testing.T) {
	text := schemaHead + "schema: flow.json\nscripts: {comp: {file: /etc/key.json, allow: [{read: Shott}]}}\n"
	if c, ds := config.Parse("stagedoor.yaml", []byte(text)); c == nil {
		t.Error(config.Format(ds))
	}
}
