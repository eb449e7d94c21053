package flow_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"stagedoor/flow"
)

// restSeeds are calls of every family, and some that are refused.
func restSeeds() []string {
	return []string{
		"GET /", "GET /entity/shots?fields=code,entity.Asset.code&filter[a.B.c]=1&sort=-code&page[size]=5&options[return_only]=active",
		"GET /entity/human_users/3?fields=*", "DELETE /entity/Shot/1", "POST /entity/shots/1?revive=1", "GET /entity/Version/1/image?alt=thumbnail",
		`POST /entity/Shot/_search?fields=code {"filters":[["a.B.c","is",{"type":"Asset","id":1}]],"sort":"-x","page":{"size":1}}`,
		`POST /entity/Shot/_search {"filters":{"logical_operator":"or","conditions":[["a","is",1],{"logical_operator":"and","conditions":[["b","in",[1]]]}]},"fields":["x","*"]}`,
		`POST /entity/Task/_summarize {"filters":[],"summary_fields":[{"field":"id","type":"count"}],"grouping":[{"field":"entity","type":"exact"}]}`,
		`POST /entity/_text_search {"text":"a","entity_types":{"Asset":[["sg_x","is",1]]},"sort":"code"}`,
		`POST /entity/shots {"code":"\u0041 b","project":{"type":"Project","id":1},"n":1e400}`,
		`PUT /entity/shots/1 {"assets":{"multi_entity_update_mode":"add","value":[{"type":"Asset","id":1}]}}`,
		`POST /entity/_batch/ {"requests":[{"entity":"tasks","request_type":"update","record_id":2,"data":{"a":1}},{"request_type":"delete","entity":"Note","record_id":1}]}`,
		`POST /entity/human_users/1/follow {"entities":[{"record_id":2,"entity":"shots"},{"record_id":3,"entity":"Asset"}]}`,
		"GET /entity/notes/1/thread_contents?entity_fields[Note]=a,b.Task.c", "PUT /entity/notes/1/_upload?filename=a&signature=b",
		`POST /entity/notes/1/_upload {"upload_info":{"upload_id":"x"},"upload_data":{"tags":[{"type":"Tag","id":1}]}}`,
		`POST /hierarchy/_expand {"path":"/","entity_fields":[{"entity":"shots","fields":["a"]}]}`,
		`POST /webhook/hooks {"entity_types":{"Shot":{"update":["code"]}}}`, `PUT /preferences/update {"entity_type":"shots"}`,
		"GET /webhook/hooks/0a9d4cc2-7f2b-4d6e-9b1a-000000000001/deliveries?entity_type=shots",
		`POST /entity/shots/_search?fields= {"filters":[],"fields":["code"]}`, `PUT /entity/shots/1?options[fields]=a {"options":1}`,
		`POST /entity/shots {"a":1,"a":2}`, "GET /entity/shots?fields=a&fields=b", "GET /entity/sh%6fts", `PUT /entity/shots/1 {"salted_password":1}`,
	}
}

// FuzzREST: what reaches the site says what was decided, to readers that share
// no code with the parser.
func FuzzREST(f *testing.F) {
	seeds := restSeeds()
	if len(seeds) < 20 {
		f.Fatal("the seeds are gone")
	}
	for _, s := range seeds {
		r := restCall(s)
		ct := ""
		if len(r.ContentType) > 0 {
			ct = r.ContentType[0]
		}
		f.Add(r.Method, r.Path, r.Query, ct, r.Body)
	}
	types := flow.NewTypes()
	f.Fuzz(func(t *testing.T, verb, path, query, ct string, body []byte) {
		in := flow.RESTRequest{Method: verb, Path: path, Query: query, Body: body}
		if ct != "" {
			in.ContentType = []string{ct}
		}
		before := bytes.Clone(body)
		r, err := new(flow.Parser).ParseREST(in, types, nil, flow.DefaultMaxDepth)
		if !bytes.Equal(before, body) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			if r != nil {
				t.Fatal("a refused call was returned")
			}
			return
		}
		if ok, _ := flow.RESTRoute(verb, path); !ok {
			t.Fatalf("%s %s: parsed and no route", verb, path)
		}
		checkPath(t, types, path, r)
		checkQuery(t, types, query, r)
		checkBody(t, types, body, r)
		again := flow.RESTRequest{Method: r.Verb, Path: r.Path, Query: r.Query, Body: r.Body}
		if r.ContentType != "" {
			again.ContentType = []string{r.ContentType}
		}
		twice, err := new(flow.Parser).ParseREST(again, types, nil, flow.DefaultMaxDepth)
		if err != nil {
			t.Fatalf("what is sent does not parse: %v\n%s", err, sent(r))
		}
		if sent(twice) != sent(r) || said(&twice.Call) != said(&r.Call) {
			t.Fatalf("sent %s\n then %s\n%s\n%s", sent(r), sent(twice), said(&r.Call), said(&twice.Call))
		}
	})
}

// checkPath: the path that is sent has no second reading, and its type is the
// one that the call is about.
func checkPath(t *testing.T, types *flow.Types, path string, r *flow.REST) {
	t.Helper()
	u, err := url.ParseRequestURI(r.Path)
	if err != nil || u.Path != r.Path || u.EscapedPath() != r.Path || u.RawQuery != "" {
		t.Fatalf("the path %q reads as %q", r.Path, u.Path)
	}
	was, is := strings.Split(path, "/"), strings.Split(r.Path, "/")
	for i, s := range is {
		if s == was[i] {
			continue
		}
		name, ok := types.Canonical(was[i])
		if i == 2 && was[i] == "v1.x" && s == "v1" || ok && i == 4 && s == name {
			continue
		}
		t.Fatalf("%q became %q", path, r.Path)
	}
	if len(is) > 4 && (is[3] == "entity" || is[3] == "schema") && !strings.HasPrefix(is[4], "_") {
		if name, _ := types.Canonical(is[4]); name == "" || r.Call.Group != flow.GroupFollow && r.Call.Group != flow.GroupBatch && r.Call.Type != name {
			t.Fatalf("%q is about %q", r.Path, r.Call.Type)
		}
	}
}

// checkQuery: net/url reads the same names once each, with the same values but
// for types, and what they name is touched.
func checkQuery(t *testing.T, types *flow.Types, query string, r *flow.REST) {
	t.Helper()
	was, err := url.ParseQuery(query)
	if err != nil {
		t.Fatalf("%q: %v", query, err)
	}
	is, err := url.ParseQuery(r.Query)
	if err != nil {
		t.Fatalf("%q: %v", r.Query, err)
	}
	if !slices.Equal(slices.Sorted(maps.Keys(was)), slices.Sorted(maps.Keys(is))) {
		t.Fatalf("%q became %q", query, r.Query)
	}
	for name, v := range is {
		if len(v) != 1 || len(was[name]) != 1 {
			t.Fatalf("%q: %s %d times", r.Query, name, len(v))
		}
		want := was[name][0]
		if name == "entity" || name == "entity_type" {
			want, _ = types.Canonical(want)
		}
		if v[0] != want {
			t.Fatalf("%s: %q became %q", name, was[name][0], v[0])
		}
		if path, ok := strings.CutPrefix(name, "filter["); ok {
			mustTouch(t, r, r.Call.Type, strings.TrimSuffix(path, "]"))
		}
		if name == "fields" || name == "sort" || name == "options[fields]" {
			for p := range strings.SplitSeq(v[0], ",") {
				mustTouch(t, r, r.Call.Type, strings.TrimPrefix(p, "-"))
			}
		}
	}
}

// mustTouch: the call touches each field of a path.
func mustTouch(t *testing.T, r *flow.REST, typ, path string) {
	t.Helper()
	if path == "" || path == "*" && r.Filter.Records {
		return
	}
	parts := strings.Split(path, ".")
	for i := 0; i < len(parts); i += 2 {
		if i > 0 {
			typ = parts[i-1]
		}
		if !reaches(&r.Call, typ, parts[i]) {
			t.Fatalf("%s: %s.%s is not touched", sent(r), typ, parts[i])
		}
	}
}

func reaches(c *flow.Call, typ, field string) bool {
	return slices.ContainsFunc(c.Touches, func(x flow.Touch) bool { return x.Type == typ && x.Field == field }) ||
		slices.ContainsFunc(c.Parts, func(p flow.Call) bool { return reaches(&p, typ, field) })
}

// checkBody: encoding/json reads the same value, but for types.
func checkBody(t *testing.T, types *flow.Types, body []byte, r *flow.REST) {
	t.Helper()
	if r.Body == nil {
		if len(body) > 0 {
			t.Fatal("a body was dropped")
		}
		return
	}
	was, is := decode(t, body), decode(t, r.Body)
	if !sameButTypes(types, was, is) {
		t.Fatalf("%s\nbecame %s", body, r.Body)
	}
	m, _ := is.(map[string]any)
	onePlace(t, r, m)
	switch r.Call.Method {
	case "create", "update":
		for name, v := range m {
			mustTouch(t, r, r.Call.Type, name)
			mustTouchLinks(t, r, v)
		}
	case "read", "summarize":
		mustTouchFilters(t, r, r.Call.Type, m["filters"])
	case "query_display_name_cache":
		of, _ := m["entity_types"].(map[string]any)
		for typ, v := range of {
			mustTouchFilters(t, r, typ, v)
		}
	case "batch":
		parts, _ := m["requests"].([]any)
		for _, p := range parts {
			part, _ := p.(map[string]any)
			data, _ := part["data"].(map[string]any)
			typ, _ := part["entity"].(string)
			for name, v := range data {
				mustTouch(t, r, typ, name)
				mustTouchLinks(t, r, v)
			}
		}
	}
}

func mustTouchFilters(t *testing.T, r *flow.REST, typ string, v any) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		if len(v) > 0 {
			if path, ok := v[0].(string); ok {
				mustTouch(t, r, typ, path)
				return
			}
		}
		for _, x := range v {
			mustTouchFilters(t, r, typ, x)
		}
	case map[string]any:
		mustTouchFilters(t, r, typ, v["conditions"])
	}
}

func mustTouchLinks(t *testing.T, r *flow.REST, v any) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			mustTouchLinks(t, r, x)
		}
	case map[string]any:
		typ, isText := v["type"].(string)
		_, hasID := v["id"]
		if isText && typ != "" && hasID && !reaches(&r.Call, typ, "") {
			t.Fatalf("%s: the link to %s is not touched", sent(r), typ)
		}
		for _, x := range v {
			mustTouchLinks(t, r, x)
		}
	}
}

func decode(t *testing.T, b []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

// sameButTypes compares two values; a type may have become its name.
func sameButTypes(types *flow.Types, was, is any) bool {
	switch was := was.(type) {
	case []any:
		is, ok := is.([]any)
		return ok && slices.EqualFunc(was, is, func(a, b any) bool { return sameButTypes(types, a, b) })
	case map[string]any:
		is, ok := is.(map[string]any)
		if !ok || len(was) != len(is) {
			return false
		}
		for name, a := range was {
			b, ok := is[name]
			if !ok {
				return false
			}
			if s, isText := a.(string); isText && (name == "entity" || name == "entity_type") {
				c, _ := types.Canonical(s)
				if b != s && b != c {
					return false
				}
				continue
			}
			if !sameButTypes(types, a, b) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(was, is)
}
