package flow_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"stagedoor/flow"
)

// Filters of all kinds: none, groups of any operator, empty ones, conditions
// alone, and what states projects itself.
func filterSeeds() []string {
	p := cond("project", "is", project(122))
	return []string{
		"", all(), group("or"), group("xor"), `{}`, `{"conditions":[]}`, `{"logical_operator":"and"}`, `{"logical_operator":"or"}`,
		p, all(p), group("or", p), group("AND", p), group("or", p, cond("code", "is", `"a"`)), all(p, cond("project", "in", project(1), project(9))),
		all(group("or", p), all()), `{"conditions":[` + p + `],"logical_operator":"and"}`, `{"conditions":[],"logical_operator":"and"}`,
		`{"logical_operator":"\u0061nd","conditions":[` + cond("c\\u006fde", "is", `"a\"b"`) + `]}`, all(cond("id", "is", "7")),
	}
}

func restFilterSeeds() []string {
	p := `["project","is",` + project(122) + `]`
	return []string{
		`{}`, `{"filters":[]}`, `{"filters":[` + p + `]}`, `{"fields":["code"],"filters":[` + p + `,["code","is","a"]]}`, `{"filters":[["id","is",7]],"page":{"size":3}}`,
		`{"filters":{"conditions":[],"logical_operator":"and"}}`, `{"filters":{"logical_operator":"or","conditions":[]}}`, `{"filters":{"logical_operator":"or","conditions":[` + p + `]}}`,
		`{"filters":{"logical_operator":"and","conditions":[` + p + `,{"logical_operator":"or","conditions":[` + p + `]}]},"sort":"code"}`, `{"filters":{"conditions":[` + p + `]}}`, `{"filters":{}}`,
		`{"filters":{"conditions":[],"x":1}}`,
	}
}

func TestWhatCanBeConfined(t *testing.T) {
	for body, want := range map[string]bool{
		readOf("Shot", all()): true,
		call("summarize", `{"type":"Shot","filters":`+all()+`,"summaries":[]}`):            true,
		call("read", `{"type":"Shot","return_fields":["code"]}`):                           true,
		call("update", `{"type":"Shot","id":1,"fields":[]}`):                               false,
		call("query_display_name_cache", `{"text":"a","entity_types":{"Shot":`+all()+`}}`): false,
		`{"method_name":"info","params":[]}`:                                               false,
		call("batch", `[{"request_type":"delete","type":"Shot","id":1}]`):                  false,
	} {
		if got := parse(t, body).CanConfine(); got != want {
			t.Errorf("%t: %s", got, body)
		}
	}
	for line, want := range map[string]bool{
		"GET /entity/shots": true,
		"GET /entity/shots?filter[project.Project.id]=1,2": true,
		"GET /entity/shots?filter[project.Project.id]=1,x": false,
		"GET /entity/shots?filter[project]=heron":          true,
		"GET /entity/shots/7":                              false,
		"GET /entity/shots/7/relationships/assets":         false,
		"GET /entity/shots/7/image?alt=original":           false,
		"GET /schema/shots":                                false,
		`POST /entity/shots/_search {"filters":[]}`:        true,
		`POST /entity/shots/_summarize {"filters":[]}`:     true,
		`POST /entity/shots {"code":"a"}`:                  false,
		`POST /entity/_text_search {"text":"a"}`:           false,
	} {
		if got := rest(t, line).CanConfine(); got != want {
			t.Errorf("%t: %s", got, line)
		}
	}
	if flow.Probe().CanConfine() {
		t.Error("the probe can be confined")
	}
	defer func() {
		if recover() == nil {
			t.Error("a call that can't be confined was let go")
		}
	}()
	parse(t, call("delete", `{"type":"Shot","id":1}`)).Confine([]int64{1})
}

// TestConfinedBytes: what goes out, byte for byte.
func TestConfinedBytes(t *testing.T) {
	in := cond("project", "in", project(122), project(145))
	p, q := cond("project", "is", project(9)), cond("code", "is", `"a"`)
	for filters, want := range map[string]string{
		all():            all(in),
		group("or"):      all(in),
		all(p, q):        all(in, p, q),
		group("or", p):   all(in, group("or", p)),
		group("xor"):     all(in, group("xor")),
		p:                all(in, p),
		`{}`:             all(in, `{}`),
		all(group("or")): all(in, group("or")),
	} {
		m := parse(t, readOf("Shot", filters))
		m.Confine([]int64{122, 145})
		if out := string(m.Body(cred())); !strings.Contains(out, `"filters":`+want+`}]}`) {
			t.Errorf("%s\nwent as %s", filters, out)
		}
	}
	m := parse(t, call("read", `{"type":"Shot","return_fields":["code"]}`))
	m.Confine([]int64{122, 145})
	if out := string(m.Body(cred())); !strings.HasSuffix(out, `,{"filters":`+all(in)+`,"type":"Shot","return_fields":["code"]}]}`) {
		t.Errorf("without filters it went as %s", out)
	}
	triple := `["project","in",[` + project(122) + `,` + project(145) + `]]`
	for line, want := range map[string]string{
		`POST /entity/Shot/_search {"filters":[["code","is","a"]]}`:                                        `{"filters":[` + triple + `,["code","is","a"]]}`,
		`POST /entity/Shot/_search {"filters":[]}`:                                                         `{"filters":[` + triple + `]}`,
		`POST /entity/Shot/_search {}`:                                                                     `{"filters":[` + triple + `]}`,
		`POST /entity/Shot/_search {"fields":"code"}`:                                                      `{"filters":[` + triple + `],"fields":"code"}`,
		`POST /entity/Shot/_search {"filters":{"logical_operator":"or","conditions":[["code","is","a"]]}}`: `{"filters":` + all(triple, group("or", `["code","is","a"]`)) + `}`,
		`POST /entity/Shot/_search {"filters":{"logical_operator":"or","conditions":[]}}`:                  `{"filters":` + all(triple) + `}`,
		"GET /entity/Shot":             "filter%5Bproject.Project.id%5D=122%2C145",
		"GET /entity/Shot?fields=code": "fields=code&filter%5Bproject.Project.id%5D=122%2C145",
		"GET /entity/Shot?filter[project.Project.id]=145,9&fields=a": "filter%5Bproject.Project.id%5D=145&fields=a",
		"GET /entity/Shot?filter[project.Project.id]=9":              "filter%5Bproject.Project.id%5D=0",
	} {
		r := rest(t, line)
		r.Confine([]int64{122, 145})
		if got := string(r.Body) + r.Query; got != want {
			t.Errorf("%s\nwent as %s", line, got)
		}
	}
}

// TestConfinedToNothing: no list of no projects is sent, which a site may take
// for no filter.
func TestConfinedToNothing(t *testing.T) {
	m := parse(t, readOf("Shot", all()))
	m.Confine(nil)
	if out := string(m.Body(cred())); !strings.Contains(out, all(cond("project", "in", project(0)))) {
		t.Errorf("%s", out)
	}
	r := rest(t, "GET /entity/Shot")
	r.Confine(nil)
	if r.Query != "filter%5Bproject.Project.id%5D=0" {
		t.Errorf("%s", r.Query)
	}
}

// confineDepth leaves room for the groups that are put around filters.
const confineDepth = flow.DefaultMaxDepth + 4

// stripped takes the added condition out of filters again, as another parser
// reads them: what is left has to be what came.
func stripped(filters any, ids []int64) any {
	isOurs := func(v any) bool {
		var values []any
		switch v := v.(type) {
		case map[string]any:
			if v["path"] != "project" || v["relation"] != "in" {
				return false
			}
			values, _ = v["values"].([]any)
		case []any:
			if len(v) != 3 || v[0] != "project" || v[1] != "in" {
				return false
			}
			values, _ = v[2].([]any)
		}
		var want []any
		for _, id := range ids {
			want = append(want, map[string]any{"type": "Project", "id": json.Number(fmt.Sprint(id))})
		}
		return reflect.DeepEqual(values, want)
	}
	if list, ok := filters.([]any); ok && len(list) > 0 && isOurs(list[0]) {
		return list[1:]
	}
	m, _ := filters.(map[string]any)
	list, ok := m["conditions"].([]any)
	if !ok || m["logical_operator"] != "and" || len(list) == 0 || !isOurs(list[0]) {
		return nil
	}
	m["conditions"] = list[1:]
	return m
}

// sameFilters says whether b, which was confined and stripped, is a.
func sameFilters(a, b any) bool {
	if b == nil {
		return false
	}
	m, _ := b.(map[string]any)
	rest, _ := m["conditions"].([]any)
	group, _ := a.(map[string]any)
	conditions, has := group["conditions"].([]any)
	came, _ := a.([]any)
	sent, list := b.([]any)
	switch {
	case list && len(came) == 0:
		return len(sent) == 0
	case list:
		return reflect.DeepEqual(a, b)
	case a == nil, has && len(conditions) == 0 && (group["logical_operator"] == "or" || group["logical_operator"] == "and"):
		return len(rest) == 0
	}
	return reflect.DeepEqual(a, b) || len(rest) == 1 && reflect.DeepEqual(rest[0], a) ||
		len(rest) == 0 && has && len(conditions) == 0
}

// narrower says whether a confined call is the one that came, but for the filter
// and where it stays.
func narrower(t *testing.T, came, sent *flow.Call, ids []int64) {
	t.Helper()
	if !ignored(came.Type) && came.Type != "Project" {
		if sent.Projects == nil || slices.ContainsFunc(sent.Projects, func(id int64) bool { return !slices.Contains(ids, id) }) {
			t.Fatalf("confined to %v, it says %v", ids, sent.Projects)
		}
	}
	a, b := *came, *sent
	added := func(touch flow.Touch) bool {
		return touch.Use == flow.UseFilter && !slices.Contains(a.Touches, touch) &&
			(touch.Type == a.Type && touch.Field == "project" || touch.Type == "Project" && touch.Field == "id")
	}
	b.Touches = slices.DeleteFunc(slices.Clone(b.Touches), added)
	order := func(x, y flow.Touch) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) }
	a.Touches = slices.SortedFunc(slices.Values(a.Touches), order)
	slices.SortFunc(b.Touches, order)
	if b.Hops != a.Hops && b.Hops != a.Hops+1 {
		t.Fatalf("%d hops became %d", a.Hops, b.Hops)
	}
	for _, c := range []*flow.Call{&a, &b} {
		c.Projects, c.Records, c.Hops = nil, nil, 0
		c.ScriptName, c.DroppedAuth, c.UserAuth = "", nil, false
	}
	if !reflect.DeepEqual(a, b) {
		t.Fatalf("came %+v\nsent %+v", a, b)
	}
}

func ignored(typ string) bool {
	return strings.EqualFold(typ, "EventLogEntry") || strings.EqualFold(typ, "PageSetting")
}

// FuzzConfine: a confined call is the call that came, with one condition more
// that every record has to satisfy, to our parser and to another.
func FuzzConfine(f *testing.F) {
	if len(filterSeeds()) < 15 {
		f.Fatal("the seeds are gone")
	}
	for _, s := range filterSeeds() {
		arg := `{"type":"Shot","return_fields":["code"],"filters":` + s + `}`
		if s == "" {
			arg = `{"type":"Shot"}`
		}
		f.Add([]byte(call("read", arg)), uint8(3))
	}
	f.Add([]byte(call("summarize", `{"filters":`+all()+`,"summaries":[],"type":"Task"}`)), uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, n uint8) {
		m, err := flow.ParseRPC(body, nil, flow.DefaultMaxDepth)
		if err != nil || !m.CanConfine() {
			return
		}
		came := members(t, m.Body(cred()))
		var ids []int64
		for i := range int64(n%5) + 1 {
			ids = append(ids, 100*i+1)
		}
		call := m.Call
		m.Confine(ids)
		once := m.Body(cred())
		again, err := flow.ParseRPC(once, nil, confineDepth)
		if err != nil {
			t.Fatalf("what was confined does not parse: %v\n%s", err, once)
		}
		narrower(t, &call, &again.Call, ids)
		sent := members(t, once)
		if !sameFilters(came["filters"], stripped(sent["filters"], ids)) {
			t.Fatalf("filters came as %v\nwent as %s", came["filters"], once)
		}
		delete(came, "filters")
		delete(sent, "filters")
		if !reflect.DeepEqual(came, sent) {
			t.Fatalf("came %v\nsent %v", came, sent)
		}
		m.Confine(ids[:1])
		twice, err := flow.ParseRPC(m.Body(cred()), nil, confineDepth)
		if err != nil {
			t.Fatalf("confined twice: %v\n%s", err, m.Body(cred()))
		}
		narrower(t, &call, &twice.Call, ids[:1])
	})
}

// FuzzConfineREST is FuzzConfine for REST.
func FuzzConfineREST(f *testing.F) {
	if len(restFilterSeeds()) < 10 {
		f.Fatal("the seeds are gone")
	}
	for _, s := range restFilterSeeds() {
		f.Add("/entity/Shot/_search", "", []byte(s), strings.Contains(s, "conditions"), uint8(2))
	}
	f.Add("/entity/Shot/_summarize", "", []byte(`{"summary_fields":[]}`), true, uint8(1))
	for _, q := range []string{"", "fields=code", "filter[project.Project.id]=1,5", "filter[project.Project.id]=1,x", "filter[project]=a&filter[id]=3"} {
		f.Add("/entity/shots", q, []byte(nil), false, uint8(2))
	}
	types := flow.NewTypes()
	f.Fuzz(func(t *testing.T, path, query string, body []byte, hash bool, n uint8) {
		in := flow.RESTRequest{Method: "POST", Path: "/api/v1" + path, Query: query, Body: body, ContentType: []string{arrayType}}
		if hash {
			in.ContentType[0] = hashType
		}
		if len(body) == 0 {
			in.Method, in.ContentType = "GET", nil
		}
		r, err := new(flow.Parser).ParseREST(in, types, nil, flow.DefaultMaxDepth)
		if err != nil || !r.CanConfine() {
			return
		}
		var ids []int64
		for i := range int64(n%5) + 1 {
			ids = append(ids, 4*i+1)
		}
		before := *r
		r.Confine(ids)
		in.Path, in.Query, in.Body = r.Path, r.Query, r.Body
		again, err := new(flow.Parser).ParseREST(in, types, nil, confineDepth)
		if err != nil {
			t.Fatalf("what was confined does not parse: %v\n%s %s", err, r.Query, r.Body)
		}
		if strings.HasSuffix(r.Query, "filter%5Bproject.Project.id%5D=0") || strings.Contains(r.Query, "filter%5Bproject.Project.id%5D=0&") {
			again.Call.Projects = ids // a list of none is one of any
		}
		narrower(t, &before.Call, &again.Call, ids)
		if r.Verb != before.Verb || r.Path != before.Path || r.ContentType != before.ContentType || !reflect.DeepEqual(r.Filter, before.Filter) {
			t.Fatalf("came %+v\nsent %+v", before, r)
		}
		if len(body) == 0 {
			sameQuery(t, before.Query, r.Query)
			return
		}
		came, sent := object(t, before.Body), object(t, r.Body)
		if !sameFilters(came["filters"], stripped(sent["filters"], ids)) {
			t.Fatalf("came %s\nsent %s", before.Body, r.Body)
		}
		delete(came, "filters")
		delete(sent, "filters")
		if !reflect.DeepEqual(came, sent) || r.Query != before.Query {
			t.Fatalf("came %s\nsent %s", before.Body, r.Body)
		}
	})
}

// members reads the argument of a call.
func members(t *testing.T, body []byte) map[string]any {
	t.Helper()
	m, ok := argument(t, body).(map[string]any)
	if !ok {
		t.Fatalf("no object: %s", body)
	}
	return m
}

func sameQuery(t *testing.T, came, sent string) {
	t.Helper()
	a, errA := url.ParseQuery(came)
	b, errB := url.ParseQuery(sent)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	const added = "filter[project.Project.id]"
	delete(a, added)
	delete(b, added)
	if !reflect.DeepEqual(a, b) {
		t.Fatalf("came %s\nsent %s", came, sent)
	}
}

func object(t *testing.T, body []byte) map[string]any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("encoding/json: %v", err)
	}
	return m
}
