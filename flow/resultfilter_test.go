package flow_test

import (
	"errors"
	"fmt"
	"testing"

	"stagedoor/flow"
)

// TestListsThatAreAddedTo: a call that adds to a list of links, or takes from
// it, is answered with more than it wrote.
func TestListsThatAreAddedTo(t *testing.T) {
	for body, want := range map[string]string{
		call("update", `{"type":"Shot","id":1,"fields":[{"field_name":"assets","value":[],"multi_entity_update_mode":"add"},{"field_name":"code","value":"a"}]}`): "[{Shot assets 1}]",
		call("update", `{"fields":[{"multi_entity_update_mode":"remove","value":[],"field_name":"assets"}],"id":1,"type":"Shot"}`):                                "[{Shot assets 1}]",
		call("update", `{"type":"Shot","id":1,"fields":[{"field_name":"assets","value":[],"multi_entity_update_mode":"set"}]}`):                                   "[]",
		call("update", `{"type":"Shot","id":1,"fields":[{"field_name":"assets","multi_entity_update_mode":"set"}]}`):                                              "[{Shot assets 1}]",
		call("update", `{"type":"Shot","id":1,"fields":[{"field_name":"assets"}]}`):                                                                               "[{Shot assets 1}]",
		call("update", `{"type":"Shot","id":1,"fields":[{"field_name":"assets","value":[],"multi_entity_update_mode":null}]}`):                                    "[{Shot assets 1}]",
		call("batch", `[{"request_type":"update","type":"Shot","id":1,"fields":[{"field_name":"a","value":[]},{"field_name":"b","value":[]}],"multi_entity_update_mode":"add"},{"request_type":"update","type":"Task","id":1,"fields":[{"field_name":"c","value":[],"multi_entity_update_mode":"add"},{"field_name":"d","value":1}]}]`): "[{Shot a 1} {Shot b 1} {Task c 1}]",
		call("read", `{"type":"Shot","return_fields":["code"],"filters":{"logical_operator":"and","conditions":[]}}`): "[]",
	} {
		if m := parse(t, body); fmt.Sprint(m.Lists) != want {
			t.Errorf("%s: %v, want %s", body, m.Lists, want)
		}
	}
}

// TestFilterResults: a list that was added to is not answered to whom may not
// read it.
func TestFilterResults(t *testing.T) {
	lists := []flow.Touch{{Type: "Shot", Field: "assets", Use: flow.UseReturn}, {Type: "Shot", Field: "code", Use: flow.UseReturn}}
	for _, tt := range []struct{ body, want string }{
		{`{"results":{"type":"Shot","id":1,"assets":[{"type":"Asset","id":5,"name":"x"}],"code":[],"b":1}}`, `{"results":{"type":"Shot","id":1,"code":[],"b":1}}`},
		{` {"results": [ {"type":"Shot", "\u0061ssets":[1], "id":1}, true, null, {"assets":1} ], "x":1} `, `{"results":[{"type":"Shot","id":1},true,null,{}],"x":1}`},
		{`{"exception":true,"message":"assets","error_code":104}`, `{"exception":true,"message":"assets","error_code":104}`},
		{`{"results":true}`, `{"results":true}`},
		{"", ""},
	} {
		if out, _, err := flow.FilterResults([]byte(tt.body), lists, readable("Shot.code")); err != nil || string(out) != tt.want {
			t.Errorf("%s: %s %v, want %s", tt.body, out, err, tt.want)
		}
		if out, n, err := flow.FilterResults([]byte(tt.body), lists, readable("Shot.code", "Shot.assets")); err != nil || n != 0 || string(out) != tt.body {
			t.Errorf("%s, where all may be read: %s %v", tt.body, out, err)
		}
		if out, n, err := flow.FilterResults([]byte(tt.body), nil, readable()); err != nil || n != 0 || string(out) != tt.body {
			t.Errorf("%s, where no list is changed: %s %v", tt.body, out, err)
		}
	}
	for _, body := range []string{`x`, `[]`, `"assets"`, `<html>`, `{"results":[[]]}`, `{"results":{}}x`, `{"results":{},"results":{}}`, `{"results":{"assets":1`} {
		if out, n, err := flow.FilterResults([]byte(body), lists, readable()); !errors.Is(err, flow.ErrNotRecords) || out != nil || n != 0 {
			t.Errorf("%s: %s %v", body, out, err)
		}
	}
}
