package flow

import (
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxAsked is how many records one [ProjectsOf] asks for: a page of the site's.
const MaxAsked = 500

// ProjectsOf is the call that asks in which projects records of one type lie,
// [MaxAsked] at most; retired asks for records that are deleted, which a plain
// read does not find. Like [Probe] it is the proxy's own.
func ProjectsOf(typ string, ids []int64, retired bool) *Message {
	arg := appendQuoted([]byte(`{"type":`), typ)
	arg = append(arg, `,"return_fields":["id","project"],"filters":{"logical_operator":"and","conditions":[{"path":"id","relation":"in","values":[`...)
	for i, id := range ids {
		if i > 0 {
			arg = append(arg, ',')
		}
		arg = strconv.AppendInt(arg, id, 10)
	}
	only := "active"
	if retired {
		only = "retired"
	}
	arg = append(arg, `]}]},"return_only":"`+only+`","paging":{"entities_per_page":`+strconv.Itoa(MaxAsked)+`,"current_page":1},`+
		`"api_return_image_urls":false,"return_paging_info_without_counts":false}`...)
	return &Message{
		Call: Call{
			Kind: KindRPC, Method: "read", Group: GroupRead, Type: typ, PageSize: MaxAsked,
			Touches: []Touch{{typ, "id", UseReturn}, {typ, "project", UseReturn}, {typ, "id", UseFilter}},
		},
		auth: true, arg: arg,
	}
}

// ReadProjects takes out of the site's answer to [ProjectsOf] in which project
// each record lies, 0 for a record that lies in none. Records that the site does
// not tell of, because they are not there or may not be seen, are missing. ok is
// false for any other answer.
func ReadProjects(answer []byte, typ string, ids []int64) (projects map[int64]int64, ok bool) {
	type entity struct {
		Type    string         `json:"type"`
		ID      int64          `json:"id"`
		Project jsontext.Value `json:"project"`
	}
	var a struct {
		Results struct {
			Entities []entity `json:"entities"`
		} `json:"results"`
		Exception bool `json:"exception"`
	}
	if json.Unmarshal(answer, &a) != nil || a.Exception || a.Results.Entities == nil {
		return nil, false
	}
	projects = make(map[int64]int64, len(a.Results.Entities))
	for _, e := range a.Results.Entities {
		_, twice := projects[e.ID]
		if e.Type != typ || twice || !slices.Contains(ids, e.ID) || e.Project == nil {
			return nil, false
		}
		var in *entity
		switch err := json.Unmarshal(e.Project, &in); {
		case err != nil, in != nil && (in.Type != projectName || in.ID <= 0):
			return nil, false
		case in == nil:
			projects[e.ID] = 0
		default:
			projects[e.ID] = in.ID
		}
	}
	return projects, true
}

// projectName is the entity type of projects.
const projectName = "Project"
