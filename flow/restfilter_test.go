package flow_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"stagedoor/flow"
)

// readable is a script that may read some fields.
func readable(fields ...string) func(flow.Seen) bool {
	return func(f flow.Seen) bool { return slices.Contains(fields, f.Type+"."+f.Field) }
}

// TestFilterRecords: what was not to be read is not in the answer.
func TestFilterRecords(t *testing.T) {
	all := flow.Filter{Records: true}
	for _, tt := range []struct {
		name, body string
		f          flow.Filter
		want       string
		removed    int
	}{
		{
			"one record", `{"data":{"type":"Shot","id":1,"attributes":{"code":"a","secret":"s","id":1,"type":"Shot"},"relationships":{"project":{"data":{"id":1,"name":"p","type":"Project"},"links":{"self":"/x"}},"task":{"data":null}},"links":{"self":"/y"}},"links":{"self":"/z"}}`, all,
			`{"data":{"type":"Shot","id":1,"attributes":{"code":"a","id":1,"type":"Shot"},"relationships":{"project":{"data":{"id":1,"name":"p","type":"Project"},"links":{"self":"/x"}}},"links":{"self":"/y"}},"links":{"self":"/z"}}`, 2,
		},
		{
			"a list, the type last", ` {"data": [ {"attributes":{"x":1,"code":"a"},"id":1,"type":"Shot"}, {"attributes":{"x":1,"code":"b"},"id":2,"type":"Asset"} ] } `, all,
			`{"data":[{"attributes":{"code":"a"},"id":1,"type":"Shot"},{"attributes":{},"id":2,"type":"Asset"}]}`, 3,
		},
		{
			"dotted names", `{"data":{"type":"Shot","id":1,"attributes":{"project.Project.name":"a","project.Project.secret":"b","task.Task.content":"c","code.x":"d","":1}}}`, all,
			`{"data":{"type":"Shot","id":1,"attributes":{"project.Project.name":"a"}}}`, 4,
		},
		{"no attributes", `{"data":{"type":"Shot","id":1,"attributes":null}}`, all, `{"data":{"type":"Shot","id":1,"attributes":null}}`, 0},
		{"no records", `{"data":[],"links":{}}`, all, `{"data":[],"links":{}}`, 0},
		{"no data", `{"data":null}`, all, `{"data":null}`, 0},
		{"fields beside the attributes", `{"data":{"type":"Shot","id":1,"secret":1,"code":2,"name":"x"}}`, all, `{"data":{"type":"Shot","id":1,"code":2}}`, 2},
		{"a link's name", `{"data":[{"type":"Shot","id":1,"secret":1,"name":"x"}]}`, flow.Filter{Records: true, Linked: true}, `{"data":[{"type":"Shot","id":1,"name":"x"}]}`, 1},
		{"included records", `{"data":null,"included":[{"type":"Asset","id":1,"attributes":{"code":"x"}},{"type":"Shot","id":1,"attributes":{"code":"x"}}]}`, all, `{"data":null,"included":[{"type":"Asset","id":1,"attributes":{}},{"type":"Shot","id":1,"attributes":{"code":"x"}}]}`, 1},
		{
			"what was written", `{"data":{"type":"Shot","id":1,"attributes":{"mine":1,"other":2},"relationships":{"also":{"data":null},"not":{}}}}`,
			flow.Filter{Records: true, Written: []flow.Written{{Type: "Shot", ID: 1, Fields: []string{"mine", "also"}}}},
			`{"data":{"type":"Shot","id":1,"attributes":{"mine":1},"relationships":{"also":{"data":null}}}}`, 2,
		},
		{
			"what each part of a batch wrote", `{"data":[{"type":"Shot","id":1,"attributes":{"a":1,"b":1}},{"type":"Shot","id":2,"attributes":{"a":1,"b":1}},null,true]}`,
			flow.Filter{Records: true, Written: []flow.Written{{Type: "Shot", Fields: []string{"a"}}, {Type: "Shot", ID: 2, Fields: []string{"b"}}, {Type: "Shot", ID: 3}, {Type: "Shot", ID: 4}}},
			`{"data":[{"type":"Shot","id":1,"attributes":{"a":1}},{"type":"Shot","id":2,"attributes":{"b":1}},null,true]}`, 2,
		},
		{
			"parts of a batch that are wrapped", `{"data":[{"data":{"type":"Shot","id":1,"attributes":{"a":1,"b":1}},"links":{}},{"data":null}]}`,
			flow.Filter{Records: true, Written: []flow.Written{{Type: "Shot", ID: 1, Fields: []string{"a"}}, {}}},
			`{"data":[{"data":{"type":"Shot","id":1,"attributes":{"a":1}},"links":{}},{"data":null}]}`, 1,
		},
		{"what was written is no other record's", `{"data":null,"included":[{"type":"Shot","id":1,"attributes":{"a":1}}]}`, flow.Filter{Records: true, Written: []flow.Written{{Type: "Shot", Fields: []string{"a"}}}}, `{"data":null,"included":[{"type":"Shot","id":1,"attributes":{}}]}`, 1},
		{"an error", `{"errors":[{"id":"x","status":400}]}`, all, `{"errors":[{"id":"x","status":400}]}`, 0},
		{"escapes stay", `{"data":{"type":"Sh\u006ft","id":1,"attributes":{"c\u006fde":"a\u2028\"<"}}}`, all, `{"data":{"type":"Sh\u006ft","id":1,"attributes":{"c\u006fde":"a\u2028\"<"}}}`, 0},
		{"numbers stay", `{"data":{"type":"Shot","id":1180591620717411303424,"attributes":{"code":1e400}}}`, all, `{"data":{"type":"Shot","id":1180591620717411303424,"attributes":{"code":1e400}}}`, 0},
		{"nothing", ``, all, ``, 0},
		{"a space", ` `, all, ` `, 0},
		{"nothing to do", `{"x":`, flow.Filter{}, `{"x":`, 0},
	} {
		out, n, err := flow.FilterRecords([]byte(tt.body), tt.f, readable("Shot.code", "Shot.project", "Project.name"))
		if err != nil || string(out) != tt.want || n != tt.removed {
			t.Errorf("%s:\n got  %s %d %v\n want %s %d", tt.name, out, n, err, tt.want, tt.removed)
		}
	}
}

// TestFilterKeepsWhatWasWrittenWhereItWas: what a call wrote is kept in the
// record that it was written to, and in no other.
func TestFilterKeepsWhatWasWrittenWhereItWas(t *testing.T) {
	const shot, task = `{"type":"Shot","id":1,"attributes":{"a":1}}`, `{"type":"Task","id":2,"attributes":{"b":1}}`
	const noShot, noTask = `{"type":"Shot","id":1,"attributes":{}}`, `{"type":"Task","id":2,"attributes":{}}`
	wroteShot, wroteTask := flow.Written{Type: "Shot", ID: 1, Fields: []string{"a"}}, flow.Written{Type: "Task", ID: 2, Fields: []string{"b"}}
	gone := flow.Written{Type: "Note", ID: 3}
	for _, tt := range []struct {
		name, data string
		written    []flow.Written
		want       string
	}{
		{"each its own", `[` + shot + `,` + task + `]`, []flow.Written{wroteShot, wroteTask}, `[` + shot + `,` + task + `]`},
		{"in another order", `[` + task + `,` + shot + `]`, []flow.Written{wroteShot, wroteTask}, `[` + noTask + `,` + noShot + `]`},
		{"one that was deleted is a null", `[null,` + task + `]`, []flow.Written{gone, wroteTask}, `[null,` + task + `]`},
		{"one that was deleted is left out", `[` + shot + `,` + task + `]`, []flow.Written{wroteShot, gone, wroteTask}, `[` + noShot + `,` + noTask + `]`},
		{"one record more", `[` + shot + `,` + task + `]`, []flow.Written{wroteShot}, `[` + noShot + `,` + noTask + `]`},
		{"no list", task, []flow.Written{wroteShot, wroteTask}, noTask},
		{"of another type", task, []flow.Written{{Type: "Shot", ID: 2, Fields: []string{"b"}}}, noTask},
		{"of another id", shot, []flow.Written{{Type: "Shot", ID: 2, Fields: []string{"a"}}}, noShot},
		{"without an id", `{"type":"Shot","attributes":{"a":1}}`, []flow.Written{wroteShot}, `{"type":"Shot","attributes":{}}`},
		{"an id that is none", `{"type":"Shot","id":"1","attributes":{"a":1}}`, []flow.Written{wroteShot}, `{"type":"Shot","id":"1","attributes":{}}`},
		{"made, so the id is new", shot, []flow.Written{{Type: "Shot", Fields: []string{"a"}}}, shot},
		{"wrapped", `[{"data":` + shot + `},{"data":` + task + `}]`, []flow.Written{wroteShot, {Type: "Shot", ID: 2, Fields: []string{"b"}}}, `[{"data":` + shot + `},{"data":` + noTask + `}]`},
	} {
		out, _, err := flow.FilterRecords([]byte(`{"data":`+tt.data+`}`), flow.Filter{Records: true, Written: tt.written}, readable())
		if want := `{"data":` + tt.want + `}`; err != nil || string(out) != want {
			t.Errorf("%s:\n got  %s %v\n want %s", tt.name, out, err, want)
		}
	}
}

// TestFilterSaysWhoseRecordItIs: of each field, which part of the call the record
// answers.
func TestFilterSaysWhoseRecordItIs(t *testing.T) {
	const shot, task = `{"type":"Shot","id":1,"attributes":{"a.Task.b":1}}`, `{"type":"Task","id":2,"attributes":{"b":1}}`
	of := func(part int) string { return fmt.Sprintf("Shot:Shot.a %d,Shot:Task.b %d", part, part) }
	wrote := func(w ...flow.Written) flow.Filter { return flow.Filter{Records: true, Written: w} }
	for _, tt := range []struct {
		name, body string
		f          flow.Filter
		want       string
	}{
		{"one that is read", `{"data":` + shot + `}`, flow.Filter{Records: true}, of(0)},
		{"each of a list", `{"data":[` + task + `,` + shot + `]}`, flow.Filter{Records: true}, "Task:Task.b 0," + of(0)},
		{"what came with it", `{"data":null,"included":[` + shot + `]}`, flow.Filter{Records: true}, of(flow.Elsewhere)},
		{"links", `{"data":[` + shot + `]}`, flow.Filter{Records: true, Linked: true}, of(flow.Elsewhere)},
		{"what was written", `{"data":` + shot + `}`, wrote(flow.Written{Type: "Shot", ID: 1}), of(0)},
		{"what was made", `{"data":` + shot + `}`, wrote(flow.Written{Type: "Shot"}), of(0)},
		{"another than was written", `{"data":` + shot + `}`, wrote(flow.Written{Type: "Shot", ID: 2}), of(flow.Elsewhere)},
		{"parts", `{"data":[` + task + `,{"data":` + shot + `}]}`, wrote(flow.Written{Type: "Task", ID: 2}, flow.Written{Type: "Shot"}), "Task:Task.b 0," + of(1)},
		{"parts and one answer", `{"data":[` + shot + `]}`, wrote(flow.Written{Type: "Shot"}, flow.Written{Type: "Shot"}), of(flow.Elsewhere)},
		{"parts and no list", `{"data":` + shot + `}`, wrote(flow.Written{Type: "Shot"}, flow.Written{Type: "Shot"}), of(flow.Elsewhere)},
	} {
		var seen []string
		if _, _, err := flow.FilterRecords([]byte(tt.body), tt.f, func(s flow.Seen) bool {
			seen = append(seen, fmt.Sprintf("%s:%s.%s %d", s.Record, s.Type, s.Field, s.Part))
			return true
		}); err != nil || strings.Join(seen, ",") != tt.want {
			t.Errorf("%s: %v %v, not %s", tt.name, seen, err, tt.want)
		}
	}
}

// TestFilterRecordsReadsOrRefuses: an answer that can't be read is none.
func TestFilterRecordsReadsOrRefuses(t *testing.T) {
	for _, body := range []string{
		`x`, `[]`, `"a"`, `{"data":1}`, `{"data":"x"}`, `{"data":true}`, `{"data":[1]}`, `{"data":["x"]}`, `{"data":[[]]}`, `{"data":{}}`, `{"data":{"id":1}}`, `{"data":{"type":1}}`, `{"data":{"type":null,"code":1}}`, `{"data":{"type":"shots"}}`, `{"data":{"type":"Shot","attributes":[]}}`, `{"data":{"type":"Shot","attributes":"x"}}`, `{"data":{"type":"Shot","relationships":1}}`,
		`{"data":null}x`, `{"data":null}{}`, `{"data":null,"data":null}`, `{"data":{"type":"Shot","type":"Shot"}}`, `{"results":[]}`, `{"data":`, "{\"data\":\"\xff\"}", `<html>`,
		`{"data":[{"data":{"data":{"type":"Shot"}}}]}`, `{"data":[{"data":{"type":"Shot"},"x":1}]}`, `{"data":[{"data":"x"}]}`, `{"data":[{"data":{"x":1}}]}`,
	} {
		if out, _, err := flow.FilterRecords([]byte(body), flow.Filter{Records: true}, func(flow.Seen) bool { return true }); !errors.Is(err, flow.ErrNotRecords) || out != nil {
			t.Errorf("%s: %s", body, out)
		}
	}
}

func TestFilterRecordsDropsWhatIsNoneOfRecords(t *testing.T) {
	out, n, err := flow.FilterRecords([]byte(`{"echo":"x","data":{"type":"Shot","id":1,"attributes":{}},"more":[1]}`), flow.Filter{Records: true}, readable())
	if want := `{"data":{"type":"Shot","id":1,"attributes":{}}}`; err != nil || string(out) != want || n != 2 {
		t.Errorf("%s, %d removed, %v", out, n, err)
	}
}

// FuzzFilterRecords: an independent reader finds no field in what is left that
// may not be read.
func FuzzFilterRecords(f *testing.F) {
	for _, s := range []string{
		`{"data":{"type":"Shot","id":1,"attributes":{"code":"a","x":1},"relationships":{"y":{}}}}`,
		`{"data":[{"type":"Shot","attributes":{"code":1,"code.x":1}}],"included":[{"type":"Task","attributes":{"code":1}}]}`,
		`{"data":[{"data":{"type":"Shot","attributes":{"x":1}}}]}`,
	} {
		f.Add([]byte(s))
	}
	may := readable("Shot.code")
	f.Fuzz(func(t *testing.T, body []byte) {
		out, n, err := flow.FilterRecords(body, flow.Filter{Records: true}, may)
		if err != nil || len(strings.TrimSpace(string(body))) == 0 {
			return
		}
		var answer struct{ Data, Included json.RawMessage }
		if err := json.Unmarshal(out, &answer); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		noSecrets(t, answer.Data)
		noSecrets(t, answer.Included)
		again, m, err := flow.FilterRecords(out, flow.Filter{Records: true}, may)
		if err != nil || m != 0 || string(again) != string(out) {
			t.Fatalf("filtered again: %s %d %v (%d)", again, m, err, n)
		}
	})
}

func noSecrets(t *testing.T, raw json.RawMessage) {
	t.Helper()
	if len(raw) == 0 {
		return
	}
	if raw[0] == '[' {
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			noSecrets(t, x)
		}
		return
	}
	var m map[string]json.RawMessage
	if raw[0] != '{' {
		return
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	var typ string
	if err := json.Unmarshal(m["type"], &typ); err != nil {
		noSecrets(t, m["data"])
		return
	}
	for _, part := range []string{"attributes", "relationships"} {
		var fields map[string]json.RawMessage
		if m[part] != nil {
			if err := json.Unmarshal(m[part], &fields); err != nil {
				t.Fatal(err)
			}
		}
		for name := range fields {
			if name != "id" && name != "type" && (typ != "Shot" || name != "code") {
				t.Fatalf("%s.%s is left in %s", typ, name, raw)
			}
		}
	}
}

func TestAppendErrors(t *testing.T) {
	b := flow.AppendErrors([]byte("x"), 403, 104, "Not permitted", "the script may not \"read\" Shot.code\n", "id-1")
	var got struct {
		Errors []struct {
			ID, Title, Detail string
			Status, Code      int
			Source, Meta      any
		}
	}
	if err := json.Unmarshal(b[1:], &got); err != nil || len(got.Errors) != 1 {
		t.Fatalf("%s: %v", b, err)
	}
	e := got.Errors[0]
	if e.ID != "id-1" || e.Status != 403 || e.Code != 104 || e.Title != "Not permitted" || e.Detail != "the script may not \"read\" Shot.code\n" || e.Source != nil || e.Meta != nil {
		t.Errorf("%+v", e)
	}
}
