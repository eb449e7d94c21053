package schema_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"stagedoor/schema"
)

const site = "https://acme.shotgrid.autodesk.com"

var pulled = time.Date(2026, 11, 20, 8, 30, 0, 5, time.UTC)

// answer is a piece of what the site says.
const answer = `{
 "Shot": {
  "code": {"name": {"value": "Shot Code", "editable": true}, "data_type": {"value": "text", "editable": false}, "properties": {"default_value": {"value": "secret default"}, "valid_types": {"value": null}}},
  "assets": {"data_type": {"value": "multi_entity"}, "properties": {"valid_types": {"value": ["Asset", "3D", "Asset", "Element"]}}},
  "no name": {"data_type": {"value": "text"}}
 },
 "Project": {},
 "banner-x": {}
}`

func snapshot(t *testing.T) *schema.Snapshot {
	t.Helper()
	s, err := schema.FromAPI3(site, pulled, []byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASnapshotHoldsNamesOnly(t *testing.T) {
	want := `{
  "site": "https://acme.shotgrid.autodesk.com",
  "pulled": "2026-11-20T08:30:00Z",
  "types": {
    "Project": {},
    "Shot": {
      "assets": {"data_type": "multi_entity", "valid_types": ["Asset", "Element"]},
      "code": {"data_type": "text"}
    }
  }
}
`
	if got := string(snapshot(t).Bytes()); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestASnapshotIsReadAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stagedoor.schema.json")
	if _, err := schema.Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	s := snapshot(t)
	for range 2 { // over nothing, and over the one before
		if err := s.Write(path); err != nil {
			t.Fatal(err)
		}
	}
	again, err := schema.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(again.Bytes()) != string(s.Bytes()) || !reflect.DeepEqual(again.Types["Shot"].Fields["assets"], s.Types["Shot"].Fields["assets"]) {
		t.Errorf("got %+v", again)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	all, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(all) != 1 {
		t.Errorf("left beside it: %v, %v", all, err)
	}
}

func TestAFolderIsNoSnapshotAndTakesNone(t *testing.T) {
	dir := t.TempDir()
	if _, err := schema.Read(dir); err == nil {
		t.Error("read a folder")
	}
	path := filepath.Join(dir, "taken")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := snapshot(t).Write(path); err == nil {
		t.Error("wrote over a folder")
	}
	all, err := os.ReadDir(dir)
	if err != nil || len(all) != 1 {
		t.Errorf("left beside it: %v, %v", all, err)
	}
}

func TestWhatIsNoSnapshotIsRefused(t *testing.T) {
	good := string(snapshot(t).Bytes())
	if _, err := schema.Parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing":         "",
		"null":            "null",
		"no site":         strings.Replace(good, site, "", 1),
		"no time":         strings.Replace(good, `"pulled": "2026-11-20T08:30:00Z",`, "", 1),
		"no types":        `{"site": "https://a", "pulled": "2026-11-20T08:30:00Z", "types": {}}`,
		"unknown":         strings.Replace(good, `"data_type": "text"`, `"data_type": "text", "editable": true`, 1),
		"unknown at top":  strings.Replace(good, `"site":`, `"extra": 1, "site":`, 1),
		"twice":           strings.Replace(good, `"Project": {}`, `"Project": {}, "Project": {}`, 1),
		"trailing":        good + "{}",
		"not UTF-8":       strings.Replace(good, "acme", "ac\xffme", 1),
		"type's name":     strings.Replace(good, `"Project": {}`, `"project": {}`, 1),
		"field's name":    strings.Replace(good, `"code":`, `"co.de":`, 1),
		"no data type":    strings.Replace(good, `"data_type": "text"`, ``, 1),
		"link to no type": strings.Replace(good, `"Element"`, `"element"`, 1),
		"long name":       strings.Replace(good, `"code":`, `"`+strings.Repeat("c", 300)+`":`, 1),
	} {
		if s, err := schema.Parse([]byte(text)); err == nil {
			t.Errorf("%s: taken: %+v", name, s)
		}
	}
}

func TestAnAnswerThatIsNoSchemaIsRefused(t *testing.T) {
	for _, text := range []string{"", "[]", "null", "{}", `{"Shot": []}`, `{"Shot": {"code": {"data_type": "text"}}}`, `{"lower": {}}`, strings.Repeat(" ", schema.MaxFile+1)} {
		if _, err := schema.FromAPI3(site, pulled, []byte(text)); err == nil {
			t.Errorf("%.40q was taken", text)
		}
	}
}

func TestChanges(t *testing.T) {
	field := func(kind string, links ...string) schema.Field {
		return schema.Field{DataType: kind, ValidTypes: links}
	}
	before := &schema.Snapshot{Types: map[string]schema.Type{
		"Shot":  {Fields: map[string]schema.Field{"code": field("text"), "sg_gone": field("number"), "sg_link": field("entity", "Asset")}},
		"Scene": {Fields: map[string]schema.Field{"code": field("text")}},
	}}
	now := &schema.Snapshot{Types: map[string]schema.Type{
		"Shot": {Fields: map[string]schema.Field{"code": field("text"), "sg_new": field("date"), "sg_link": field("entity", "Asset", "Shot")}},
		"Cut":  {},
	}}
	var got []string
	for _, c := range now.Changes(before) {
		got = append(got, c.String())
	}
	want := []string{"+ Cut", "- Scene", "- Shot.sg_gone (number)", "~ Shot.sg_link (entity Asset, now entity Asset|Shot)", "+ Shot.sg_new (date)"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if n := len(now.Changes(nil)); n != 2 {
		t.Errorf("%d changes from nothing", n)
	}
	if n := len(now.Changes(now)); n != 0 {
		t.Errorf("%d changes from itself", n)
	}
}

// FuzzParse: what is taken is written as it is read, and no bytes make it panic.
func FuzzParse(f *testing.F) {
	f.Add([]byte(answer))
	f.Add([]byte(`{"site":"https://a","pulled":"2026-11-20T08:30:00Z","types":{"Shot":{"code":{"data_type":"text"}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := schema.FromAPI3(site, pulled, data); err == nil {
			if _, err := schema.Parse(s.Bytes()); err != nil {
				t.Errorf("what was pulled is refused: %v", err)
			}
		}
		s, err := schema.Parse(data)
		if err != nil {
			return
		}
		again, err := schema.Parse(s.Bytes())
		if err != nil || string(again.Bytes()) != string(s.Bytes()) {
			t.Errorf("read again: %v", err)
		}
	})
}
