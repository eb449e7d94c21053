package flow_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"stagedoor/flow"
)

const (
	jsonType  = "application/json"
	arrayType = "application/vnd+shotgun.api3_array+json"
	hashType  = "application/vnd+shotgun.api3_hash+json"
)

// restCall is a request in one line: "GET /entity/shots/1?fields=code", and a
// body behind a space, whose type is chosen by its filters.
func restCall(line string) flow.RESTRequest {
	verb, rest, _ := strings.Cut(line, " ")
	target, body, _ := strings.Cut(rest, " ")
	path, query, _ := strings.Cut(target, "?")
	r := flow.RESTRequest{Method: verb, Path: "/api/v1" + path, Query: query}
	if body != "" {
		r.Body = []byte(body)
		r.ContentType = []string{jsonType}
		if strings.HasSuffix(path, "_search") && !strings.Contains(path, "hierarchy") || strings.HasSuffix(path, "_summarize") || strings.HasSuffix(path, "_text_search") {
			r.ContentType[0] = arrayType
			if strings.Contains(body, `"conditions"`) {
				r.ContentType[0] = hashType
			}
		}
	}
	return r
}

func parseREST(line string) (*flow.REST, error) {
	return new(flow.Parser).ParseREST(restCall(line), flow.NewTypes("CustomThing"), nil, flow.DefaultMaxDepth)
}

func rest(t *testing.T, line string) *flow.REST {
	t.Helper()
	r, err := parseREST(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return r
}

// said is what a call asks for, in one line.
func said(c *flow.Call) string {
	s := fmt.Sprintf("%s %s", c.Method, c.Group)
	if c.Type != "" {
		s += " " + c.Type
	}
	if c.ID != 0 {
		s += fmt.Sprintf("#%d", c.ID)
	}
	if c.PageSize != 0 {
		s += fmt.Sprintf(" page %d", c.PageSize)
	}
	if c.Studio {
		s += " studio"
	}
	for _, p := range c.Presets {
		s += " preset " + p
	}
	s += ":"
	for _, touch := range c.Touches {
		s += fmt.Sprintf(" %s.%s/%d", touch.Type, touch.Field, touch.Use)
	}
	for i := range c.Parts {
		s += " (" + said(&c.Parts[i]) + ")"
	}
	return s
}

// TestRESTCalls: each family of routes is the call that api3 has, and what is
// sent is rebuilt.
func TestRESTCalls(t *testing.T) {
	for _, tt := range []struct{ line, want, sent string }{
		{"GET ", "info info:", "GET /api/v1"},
		{"GET /", "info info:", "GET /api/v1"},
		{"GET /entity/shots?fields=code,entity.Asset.code&filter%5Bsg_sequence.Sequence.code%5D=a&sort=-code,id&page%5Bsize%5D=50", "read read Shot page 50: Shot./1 Shot.code/1 Shot.entity/1 Asset.code/1 Shot.sg_sequence/2 Sequence.code/2 Shot.code/3 Shot.id/3", "GET /api/v1/entity/Shot?fields=code%2Centity.Asset.code&filter%5Bsg_sequence.Sequence.code%5D=a&sort=-code%2Cid&page%5Bsize%5D=50"},
		{"GET /entity/human_users/3", "read read HumanUser#3: HumanUser./1", "GET /api/v1/entity/HumanUser/3"},
		{`POST /entity/event_log_entries/_search {"filters": [["entity.Shot.code","is","x"]], "fields": ["id","meta"], "sort": "-id", "page": {"size": 5, "number": 1}}`, "read read EventLogEntry page 5: EventLogEntry./1 EventLogEntry.entity/2 Shot.code/2 EventLogEntry.id/1 EventLogEntry.meta/1 EventLogEntry.id/3", `POST /api/v1/entity/EventLogEntry/_search ` + arrayType + ` {"filters":[["entity.Shot.code","is","x"]],"fields":["id","meta"],"sort":"-id","page":{"size":5,"number":1}}`},
		{`POST /entity/Shot/_search?fields=code {"filters":{"logical_operator":"or","conditions":[["a","is",1],{"logical_operator":"and","conditions":[["b.Task.c","in",[1,2]]]}]}}`, "read read Shot: Shot./1 Shot.code/1 Shot.a/2 Shot.b/2 Task.c/2", `POST /api/v1/entity/Shot/_search?fields=code ` + hashType + ` {"filters":{"logical_operator":"or","conditions":[["a","is",1],{"logical_operator":"and","conditions":[["b.Task.c","in",[1,2]]]}]}}`},
		{`POST /entity/shots {"code":"x","project":{"type":"Project","id":4},"assets":{"multi_entity_update_mode":"add","value":[{"type":"Asset","id":1}]}}`, "create create Shot: Shot./5 Shot.code/5 Shot.project/5 Project./6 Shot.assets/5 Asset./6", `POST /api/v1/entity/Shot application/json {"code":"x","project":{"type":"Project","id":4},"assets":{"multi_entity_update_mode":"add","value":[{"type":"Asset","id":1}]}}`},
		{`PUT /entity/shots/12 {"code":"x"}`, "update update Shot#12: Shot./5 Shot.code/5", `PUT /api/v1/entity/Shot/12 application/json {"code":"x"}`},
		{"DELETE /entity/shot/12", "delete delete Shot#12: Shot./5", "DELETE /api/v1/entity/Shot/12"},
		{"POST /entity/shot/12?revive=true", "revive revive Shot#12: Shot./5", "POST /api/v1/entity/Shot/12?revive=true"},
	} {
		r := rest(t, tt.line)
		if got := said(&r.Call); got != tt.want {
			t.Errorf("%s\n got  %s\n want %s", tt.line, got, tt.want)
		}
		if got := sent(r); got != tt.sent {
			t.Errorf("%s\n sent %s\n want %s", tt.line, got, tt.sent)
		}
		if r.Call.Kind != flow.KindREST {
			t.Errorf("%s: kind %q", tt.line, r.Call.Kind)
		}
	}
}

func sent(r *flow.REST) string {
	s := r.Verb + " " + r.Path
	if r.Query != "" {
		s += "?" + r.Query
	}
	if r.ContentType != "" {
		s += " " + r.ContentType
	}
	if r.Body != nil {
		s += " " + string(r.Body)
	}
	return s
}

// TestRESTRefuses: what is not exactly a call is none.
func TestRESTRefuses(t *testing.T) {
	for _, line := range []string{
		"GET /entity/shots/", "GET /entity//1", "GET /entity/shots/01", "GET /entity/shots/1.json", "GET /entity/sh%6fts", "GET /entity/nonsense", "GET /entity/api_users.json",
		"PATCH /entity/shots/1", "GET /x", "GET entity",
		"GET /entity/shots?fields=code&fields=id", "GET /entity/shots?x=1", "GET /entity/shots?filter[a][b]=1", "GET /entity/shots?page[x]=1", "GET /entity/shots?filter=1", "GET /entity/shots?fields=a,,b",
		`GET /entity/shots {"a":1}`, `POST /entity/shots {"a":1,"a":2}`, `POST /entity/shots {"a":1} x`, `POST /entity/shots [1]`,
		`POST /entity/Shot/_search {"filters":[["a","is"]]}`, `POST /entity/Shot/_search {"filters":[],"x":1}`,
	} {
		r, err := parseREST(line)
		if err == nil {
			t.Errorf("%s: %s", line, said(&r.Call))
			continue
		}
		if _, ok := errors.AsType[*flow.ParseError](err); !ok {
			t.Errorf("%s: %T", line, err)
		}
	}
}
