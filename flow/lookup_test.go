package flow_test

import (
	"maps"
	"strings"
	"testing"

	"stagedoor/flow"
	"stagedoor/secret"
)

func TestAskingForProjectsIsAReadLikeAClients(t *testing.T) {
	m := flow.ProjectsOf("CustomEntity07", []int64{3, 12}, false)
	body := string(m.Body(secret.Credential{SiteName: "pub", Key: secret.FromString("a-key-of-some-length")}))
	var p flow.Parser
	read, err := p.ParseRPC([]byte(body), nil, flow.DefaultMaxDepth)
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	c := &read.Call
	if c.Method != "read" || c.Type != "CustomEntity07" || c.PageSize != flow.MaxAsked || c.Writes || !strings.Contains(body, `"values":[3,12]`) || !strings.Contains(body, `"return_only":"active"`) {
		t.Errorf("%s\n%+v", body, c)
	}
	for _, touch := range c.Touches {
		if touch.Type != "CustomEntity07" || touch.Field != "" && touch.Field != "id" && touch.Field != "project" {
			t.Errorf("it touches %+v", touch)
		}
	}
	if deleted := string(flow.ProjectsOf("Shot", []int64{3}, true).Body(secret.Credential{})); !strings.Contains(deleted, `"return_only":"retired"`) {
		t.Error(deleted)
	}
}

// TestOnlyAPlainAnswerTellsOfProjects: what can be read in two ways, or tells of
// something else, tells nothing.
func TestOnlyAPlainAnswerTellsOfProjects(t *testing.T) {
	row := func(id, project string) string { return `{"type":"Shot","id":` + id + `,"project":` + project + `}` }
	const heron = `{"type":"Project","id":122,"name":"heron"}`
	rows := func(r ...string) string { return `{"results":{"entities":[` + strings.Join(r, ",") + `]}}` }
	for answer, want := range map[string]map[int64]int64{
		rows(row("3", heron)):                    {3: 122},
		rows(row("3", heron), row("12", "null")): {3: 122, 12: 0},
		rows():                                   {},
		rows(row("3", heron), row("3", heron)):   nil,
		rows(row("4", heron)):                    nil,
		rows(`{"type":"Task","id":3,"project":` + heron + `}`):          nil,
		rows(`{"type":"Shot","id":3}`):                                  nil,
		rows(row("3", `{"type":"Shot","id":122}`)):                      nil,
		rows(row("3", `{"type":"Project","id":0}`)):                     nil,
		rows(row("3", `[`+heron+`]`)):                                   nil,
		rows(row("3", `"122"`)):                                         nil,
		rows(row("3", `{"type":"Project","id":1,"id":122}`)):            nil,
		`{"results":{"Entities":[` + row("3", heron) + `]}}`:            nil,
		`{"exception":true,"message":"no","error_code":104}`:            nil,
		`{"results":{"entities":[]},"exception":true,"error_code":104}`: nil,
		`<html>`: nil,
		"":       nil,
	} {
		got, ok := flow.ReadProjects([]byte(answer), "Shot", []int64{3, 12})
		if ok != (want != nil) || !maps.Equal(got, want) {
			t.Errorf("%s: %v %v", answer, got, ok)
		}
	}
}
