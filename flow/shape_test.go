package flow_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"stagedoor/flow"
)

func shapeOf(c *flow.Call) string { return string(flow.AppendShape(nil, c)) }

func TestShape(t *testing.T) {
	update := `{"request_type":"update","type":"Shot","id":7,"fields":[{"field_name":"code","value":"a"}]}`
	remove := `{"request_type":"delete","type":"Task","id":8}`
	for name, tt := range map[string]struct{ body, want string }{
		"a read": {
			call("read", `{"type":"Version","return_fields":["entity.Shot.code","code"],"sorts":[{"field_name":"id"}],"paging":{"entities_per_page":500,"current_page":1},"filters":`+all(cond("project", "is", project(122)))+`}`),
			`{"kind":"rpc","method":"read","type":"Version","page":500,"hops":1,"in_project":true,"return":["Shot.code","Version","Version.code","Version.entity"],"filter":["Version.project"],"sort":["Version.id"]}`,
		},
		"of every field": {
			call("read", `{"type":"Shot","return_fields":[],"additional_filter_presets":[{"preset_name":"LATEST"}]}`),
			`{"kind":"rpc","method":"read","type":"Shot","return":["Shot","Shot.*"],"presets":["LATEST"]}`,
		},
		"a batch": {
			call("batch", "["+update+","+remove+","+update+","+update+"]"),
			`{"kind":"rpc","method":"batch","parts":[{"n":3,"method":"update","type":"Shot","write":["Shot","Shot.code"],"records":{"Shot":1}},{"method":"delete","type":"Task","write":["Task"],"records":{"Task":1}}]}`,
		},
		"a move with sudo": {
			`{"method_name":"update","params":[{"sudo_as_login":"ann"},{"type":"Shot","id":7,"fields":[{"field_name":"project","value":` + project(3) + `},{"field_name":"assets","value":[{"type":"Asset","id":5}]}]}]}`,
			`{"kind":"rpc","method":"update","type":"Shot","moves":true,"sudo":true,"write":["Shot","Shot.assets","Shot.project"],"link":["Asset","Project"],"records":{"Shot":1}}`,
		},
		"a field of what isn't known": {
			call("nav_expand", `{"path":"/a/salted_password","seed_entity_field":"x","entity_fields":{}}`),
			`{"kind":"rpc","method":"nav_expand","filter":[".salted_password"]}`,
		},
		"a schedule":         {call("work_schedule_update", `{"date":"2026-01-01","working":true}`), `{"kind":"rpc","method":"work_schedule_update","studio":true}`},
		"a person's own key": {`{"method_name":"read","params":[{"user_login":"a","user_password":"b"},{"type":"HumanUser","return_fields":["id"]}]}`, `{"kind":"rpc","method":"read","type":"HumanUser","user":true,"return":["HumanUser","HumanUser.id"]}`},
		"info":               {`{"method_name":"info","params":[]}`, `{"kind":"rpc","method":"info"}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := shapeOf(&parse(t, tt.body).Call); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
	for line, want := range map[string]string{
		"GET /entity/versions/7/image?alt=original": `{"kind":"rest","method":"download","type":"Version","download":["Version.image"],"records":{"Version":1}}`,
		`POST /entity/human_users/3/follow {"entities":[{"record_id":7,"entity":"shots"},{"record_id":9,"entity":"Asset"},{"record_id":8,"entity":"Shot"}]}`: `{"kind":"rest","method":"batch","parts":[{"method":"follow","type":"Shot","return":["Shot"],"records":{"Shot":2}},{"method":"follow","type":"Asset","return":["Asset"],"records":{"Asset":1}}]}`,
	} {
		if got := shapeOf(&rest(t, line).Call); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	if got := shapeOf(new(flow.Call)); got != "{}" {
		t.Errorf("no call is %s", got)
	}
}

// TestTheOrderOfNamesChangesNoShape: the clients write them as they like.
func TestTheOrderOfNamesChangesNoShape(t *testing.T) {
	a := shapeOf(&parse(t, call("read", `{"type":"Shot","return_fields":["code","id"],"filters":`+all(cond("code", "is", `"a"`))+`}`)).Call)
	b := shapeOf(&parse(t, call("read", `{"filters":`+all(cond("code", "is", `"b"`))+`,"return_fields":["id","code"],"type":"Shot"}`)).Call)
	if a != b {
		t.Errorf("%s\n%s", a, b)
	}
}

// TestAShapeCostsNoMemory, for the calls that tools make all day: every record
// has one.
func TestAShapeCostsNoMemory(t *testing.T) {
	room := make([]byte, 0, flow.MaxShape)
	for _, body := range []string{call("read", realRead), call("update", `{"type":"Shot","id":7,"fields":[{"field_name":"code","value":"a"}]}`)} {
		c := parse(t, body).Call
		if n := testing.AllocsPerRun(100, func() { flow.AppendShape(room, &c) }); n != 0 {
			t.Errorf("%v allocations for %s", n, flow.AppendShape(nil, &c))
		}
	}
}

// TestALongShapeIsCut to what it is of, behind what stood there before.
func TestALongShapeIsCut(t *testing.T) {
	var fields, parts []string
	for i := range 1000 {
		fields = append(fields, fmt.Sprintf(`"sg_a_long_name_of_field_%d"`, i))
		parts = append(parts, fmt.Sprintf(`{"request_type":"create","type":"Shot","fields":[{"field_name":"sg_%d","value":1}]}`, i))
	}
	for want, body := range map[string]string{
		`{"cut":true,"kind":"rpc","method":"read","type":"Shot"}`: call("read", `{"type":"Shot","return_fields":[`+strings.Join(fields, ",")+`]}`),
		`{"cut":true,"kind":"rpc","method":"batch"}`:              call("batch", "["+strings.Join(parts, ",")+"]"),
	} {
		c := parse(t, body).Call
		got := string(flow.AppendShape([]byte("before "), &c))
		if got != "before "+want {
			t.Errorf("%s", got)
		}
		back, cut, err := flow.ReadShape([]byte(want))
		if err != nil || !cut || back.Method != c.Method || back.Group != c.Group || len(back.Touches)+len(back.Parts) > 0 {
			t.Errorf("%+v, %t, %v", back, cut, err)
		}
	}
	long := call("read", `{"type":"Shot","return_fields":[`+strings.Join(fields[:100], ",")+`]}`)
	if got := shapeOf(&parse(t, long).Call); len(got) > flow.MaxShape || strings.Contains(got, "cut") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

// TestAShapeHasNoValues, no ids and no logins.
func TestAShapeHasNoValues(t *testing.T) {
	for _, body := range []string{
		call("read", `{"type":"Shot","return_fields":["code"],"filters":`+all(cond("code", "is", `"SECRET"`), cond("id", "is", "4711"), cond("project", "is", project(4711)))+`,"additional_filter_presets":[{"preset_name":"LATEST","x":"SECRET"}]}`),
		`{"method_name":"update","params":[{"script_name":"SECRET","script_key":"SECRET","sudo_as_login":"SECRET","session_uuid":"SECRET","SECRET":1},{"type":"Shot","id":4711,"fields":[{"field_name":"code","value":{"SECRET":"SECRET"}},{"field_name":"project","value":` + project(4711) + `}]}]}`,
		call("query_display_name_cache", `{"text":"SECRET","entity_types":{"Shot":`+all()+`},"project_ids":[4711]}`),
		call("follow", `{"user":{"type":"HumanUser","id":4711,"name":"SECRET"},"entity":{"type":"Shot","id":4711}}`),
	} {
		if got := shapeOf(&parse(t, body).Call); strings.Contains(got, "SECRET") || strings.Contains(got, "4711") {
			t.Errorf("%s", got)
		}
	}
}

func TestWhatIsNoShape(t *testing.T) {
	for _, s := range []string{
		``, `null`, `[]`, `"x"`, `{`, `{}`, `{"method":"read"} {}`, `{"method":"read","method":"read"}`, `{"method":"read","x":1}`, `{"Method":"read"}`,
		`{"method":"drop"}`, `{"method":"read","kind":"smtp"}`, `{"method":"read","n":2}`, `{"method":"read","page":-1}`, `{"method":"read","page":1.5}`,
		`{"method":"read","hops":-1}`, `{"method":"read","type":"a b"}`, `{"method":"read","return":[""]}`, `{"method":"read","return":["Shot."]}`,
		`{"method":"read","return":["Shot.a.b"]}`, `{"method":"read","return":"Shot"}`, `{"method":"read","presets":["a b"]}`, `{"method":"delete","records":{"Shot":0}}`,
		`{"method":"delete","records":{"Shot":65537}}`, `{"method":"delete","records":{"a b":1}}`, `{"method":"batch","parts":[{"method":"batch","parts":[{"method":"read"}]}]}`,
		`{"method":"batch","parts":[{"method":"delete","kind":"rpc"}]}`, `{"method":"batch","parts":[{"n":65536,"method":"delete"},{"method":"delete"}]}`,
		`{"method":"batch","parts":[{"n":-1,"method":"delete"}]}`, `{"method":"batch","parts":[{"cut":true,"method":"delete"}]}`, "{\"method\":\"read\",\"type\":\"\xff\"}",
		`{"method":"read","return":["` + strings.Repeat("a", flow.MaxShape) + `"]}`,
	} {
		if c, _, err := flow.ReadShape([]byte(s)); err == nil {
			t.Errorf("%s was read as %+v", s, c)
		} else if strings.Contains(err.Error(), "smtp") || len(err.Error()) > 100 {
			t.Errorf("the error repeats it: %v", err)
		}
	}
}

// TestReadShape: what is read back stands for what was.
func TestReadShape(t *testing.T) {
	c := parse(t, `{"method_name":"update","params":[{"sudo_as_login":"ann"},{"type":"Shot","id":7,"fields":[{"field_name":"project","value":`+project(3)+`}]}]}`).Call
	back, cut, err := flow.ReadShape(flow.AppendShape(nil, &c))
	if err != nil || cut {
		t.Fatal(cut, err)
	}
	if back.SudoAsLogin != flow.ShapeLogin || !back.IntoOther || back.Into != nil || !slices.Equal(back.Records, []flow.Record{{Type: "Shot"}}) || !back.Writes || back.Group != flow.GroupUpdate {
		t.Errorf("%+v", back)
	}
	c = parse(t, readOf("Shot", all(cond("project", "is", project(122))))).Call
	back, _, err = flow.ReadShape(flow.AppendShape(nil, &c))
	if err != nil || !slices.Equal(back.Projects, []int64{flow.ShapeProject}) {
		t.Errorf("%+v, %v", back.Projects, err)
	}
}

// TestEveryCallThatIsRecordedHasAShape that can be read back, also what no method
// table lists: the token exchange of REST, metrics, links to storage.
func TestEveryCallThatIsRecordedHasAShape(t *testing.T) {
	token, err := flow.ParseTokenRequest("", "application/x-www-form-urlencoded", []byte("grant_type=client_credentials&client_id=pub&client_secret=x"))
	if err != nil {
		t.Fatal(err)
	}
	calls := []flow.Call{
		token.Call,
		{Kind: flow.KindRPC, Method: "track_metrics", Group: flow.GroupInfo},
		{Kind: flow.KindStorage, Method: "storage_get", Group: flow.GroupDownload},
		{Kind: flow.KindStorage, Method: "storage_put", Group: flow.GroupUpload, Writes: true},
	}
	for i := range calls {
		c := &calls[i]
		back, cut, err := flow.ReadShape(flow.AppendShape(nil, c))
		if err != nil || cut || back.Kind != c.Kind || back.Method != c.Method || back.Group != c.Group || back.Writes != c.Writes {
			t.Errorf("%s: %+v, %t, %v", c.Method, back, cut, err)
		}
	}
}

// bare is a call without what its shape leaves out, names in one order.
func bare(c flow.Call) flow.Call {
	out := flow.Call{
		Kind: c.Kind, Method: c.Method, Group: c.Group, Writes: c.Writes, Type: c.Type, Studio: c.Studio,
		PageSize: max(0, c.PageSize), Hops: c.Hops, UserAuth: c.UserAuth, IntoOther: c.IntoOther || len(c.Into) > 0,
	}
	if c.Projects != nil {
		out.Projects = []int64{flow.ShapeProject}
	}
	if c.SudoAsLogin != "" {
		out.SudoAsLogin = flow.ShapeLogin
	}
	out.Touches = slices.SortedFunc(slices.Values(c.Touches), func(a, b flow.Touch) int {
		return cmp.Or(int(a.Use)-int(b.Use), strings.Compare(a.Type, b.Type), strings.Compare(a.Field, b.Field))
	})
	out.Touches = slices.Compact(out.Touches)
	out.Presets = slices.Compact(slices.Sorted(slices.Values(c.Presets)))
	for _, r := range c.Records {
		out.Records = append(out.Records, flow.Record{Type: r.Type})
	}
	slices.SortFunc(out.Records, func(a, b flow.Record) int { return strings.Compare(a.Type, b.Type) })
	// Equal parts stand together in a shape.
	known := map[string]int{}
	var folds [][]flow.Call
	for _, p := range c.Parts {
		b := bare(p)
		key := fmt.Sprintf("%+v", b)
		i, ok := known[key]
		if !ok {
			i = len(folds)
			known[key] = i
			folds = append(folds, nil)
		}
		folds[i] = append(folds[i], b)
	}
	out.Parts = slices.Concat(folds...)
	return out
}

// FuzzShape: a shape is short, strict JSON, the same each time, and what is read
// back asks for the same; and what is read from any text has that text's shape.
func FuzzShape(f *testing.F) {
	all := append(seeds(), restSeeds()...)
	if len(all) < 40 {
		f.Fatal("the seeds are gone")
	}
	for _, s := range all {
		f.Add([]byte(s))
	}
	f.Add([]byte(`{"kind":"rpc","method":"batch","sudo":true,"parts":[{"n":3,"method":"update","type":"Shot","page":5,"hops":2,"studio":true,"write":["Shot.code","Shot.code"],"records":{"Shot":2,"Asset":1}}]}`))
	types := flow.NewTypes("CustomThing")
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, cut, err := flow.ReadShape(data); err == nil && !cut {
			sameShape(t, &c)
		}
		if m, err := flow.ParseRPC(data, nil, flow.DefaultMaxDepth); err == nil {
			sameShape(t, &m.Call)
		}
		if r, err := new(flow.Parser).ParseREST(restCall(string(data)), types, nil, flow.DefaultMaxDepth); err == nil {
			sameShape(t, &r.Call)
		}
	})
}

func sameShape(t *testing.T, c *flow.Call) {
	t.Helper()
	shape := flow.AppendShape(nil, c)
	if len(shape) > flow.MaxShape || !json.Valid(shape) {
		t.Fatalf("%d bytes: %s", len(shape), shape)
	}
	if again := flow.AppendShape(nil, c); !bytes.Equal(shape, again) {
		t.Fatalf("%s\n%s", shape, again)
	}
	back, cut, err := flow.ReadShape(shape)
	if err != nil {
		t.Fatalf("%v: %s", err, shape)
	}
	if cut {
		if back.Method != c.Method || back.Group != c.Group || len(c.Touches)+len(c.Presets)+len(c.Parts) < 10 && len(shape) > 1000 {
			t.Fatalf("%+v\ncut to %s", c, shape)
		}
		return
	}
	if a, b := bare(*c), bare(back); !reflect.DeepEqual(a, b) {
		t.Fatalf("%+v\nread back as %+v\nfrom %s", a, b, shape)
	}
	if again := flow.AppendShape(nil, &back); !bytes.Equal(shape, again) {
		t.Fatalf("%s\n%s", shape, again)
	}
}
