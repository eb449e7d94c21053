package flow_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"stagedoor/flow"
)

// inQuery and inBody write each name that a search may have in either place,
// once with something in it and once without.
func searchNames() map[string]struct{ inQuery, inBody []string } {
	return map[string]struct{ inQuery, inBody []string }{
		"fields": {[]string{"fields=code", "fields=*", "fields="}, []string{`"fields":["code"]`, `"fields":"code"`, `"fields":[]`, `"fields":""`, `"fields":null`, `"\u0066ields":["code"]`}},
		"sort":   {[]string{"sort=code", "sort="}, []string{`"sort":"-id"`, `"sort":[]`, `"sort":null`}},
		"page":   {[]string{"page[size]=5", "page%5Bnumber%5D=2"}, []string{`"page":{"size":5}`, `"page":{"number":1}`, `"page":{}`}},
		"options": {
			[]string{"options[return_only]=retired", "options%5Binclude_archived_projects%5D=false"},
			[]string{`"options":{"return_only":"active"}`, `"options":{"include_archived_projects":true}`, `"options":{}`, `"options":null`},
		},
	}
}

// TestANameOfASearchStandsInTheQueryOrInTheBody: the site reads one of two, and
// nobody here knows which.
func TestANameOfASearchStandsInTheQueryOrInTheBody(t *testing.T) {
	for inQuery, q := range searchNames() {
		for inBody, b := range searchNames() {
			for _, query := range q.inQuery {
				for _, member := range b.inBody {
					line := fmt.Sprintf(`POST /entity/shots/_search?%s {"filters":[],%s}`, query, member)
					_, err := parseREST(line)
					if refused := err != nil; refused != (inQuery == inBody) {
						t.Errorf("%s: %v", line, err)
					}
					if _, ok := errors.AsType[*flow.ParseError](err); err != nil && !ok {
						t.Errorf("%s: %T", line, err)
					}
				}
			}
		}
	}
}

// TestASearchThatListsNoFieldsIsFiltered: an answer goes on as it is only where
// every reader of the call sees the same fields listed.
func TestASearchThatListsNoFieldsIsFiltered(t *testing.T) {
	for _, query := range []string{"", "?fields=", "?fields=%2A", "?fields=code", "?fields=code,*"} {
		for _, body := range []string{"", `,"fields":null`, `,"fields":""`, `,"fields":[]`, `,"fields":"*"`, `,"fields":["code"]`, `,"fields":["code","*"]`} {
			line := `POST /entity/shots/_search` + query + ` {"filters":[]` + body + `}`
			r, err := parseREST(line)
			if err != nil {
				if query == "" || body == "" {
					t.Errorf("%s: %v", line, err)
				}
				continue
			}
			listed := (query == "?fields=code" && body == "") || (query == "" && body == `,"fields":["code"]`)
			if r.Filter.Records == listed {
				t.Errorf("%s: filtered: %v", line, r.Filter.Records)
			}
		}
	}
}

// TestAWriteNamesNothingThatTheQueryHas: data is an object of fields, beside
// which the site reads options.
func TestAWriteNamesNothingThatTheQueryHas(t *testing.T) {
	for _, line := range []string{
		`POST /entity/shots?options[fields]=code {"options":{"fields":["image"]}}`,
		`PUT /entity/shots/1?options[fields]=code {"code":"x","options":"y"}`,
		`PUT /entity/shots/1?options%5Bfields%5D= {"options":null}`,
		`PUT /entity/shots/1 {"options":{"fields":["image"]}}`,
		`POST /entity/shots {"options":{"fields":["image"]}}`,
	} {
		if r, err := parseREST(line); err == nil {
			t.Errorf("%s: %s", line, said(&r.Call))
		}
	}
	if _, err := parseREST(`PUT /entity/shots/1?options[fields]=code {"code":"x","sort":1}`); err != nil {
		t.Error(err)
	}
}

// TestOnlyTheNamesOfARouteStandInItsQuery: where the body says all, the query
// says nothing.
func TestOnlyTheNamesOfARouteStandInItsQuery(t *testing.T) {
	for _, line := range []string{
		`POST /entity/shots/_summarize? {"filters":[],"summary_fields":[]}`,
		`POST /entity/_text_search? {"text":"a","entity_types":{"Shot":[]}}`,
		`POST /entity/_batch? {"requests":[]}`,
		`POST /entity/human_users/1/follow? {"entities":[{"record_id":1,"entity":"Shot"}]}`,
		`PUT /entity/shots/1/unfollow? {"user_id":1}`,
		`PUT /entity/projects/1/_update_last_accessed? {"user_id":1}`,
		`POST /hierarchy/_expand? {"path":"/"}`,
		`POST /hierarchy/_search? {"root_path":"/"}`,
		`PUT /preferences/update? {"preference":"enable"}`,
		`PUT /schedule/work_day_rules? {"date":"2026-01-01"}`,
		`POST /subscription_seat/user_subscriptions? {"1":"x"}`,
		`POST /webhook/hooks? {"url":"https://x"}`,
		`PUT /webhook/hooks/` + uuid + `? {"name":"x"}`,
		`POST /schema/Shot/fields? {"data_type":"text"}`,
		`PUT /schema/Shot/fields/sg_x? {"project_id":1}`,
		`POST /entity/notes/1/_upload? {"upload_info":{}}`,
		`POST /entity/notes/1/_upload/multipart_abort? {"upload_id":"x"}`,
	} {
		if _, err := parseREST(strings.Replace(line, "?", "", 1)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		for _, query := range []string{
			"filters=x", "summary_fields=id", "grouping=id", "options[include_archived_projects]=1", "page[size]=1", "sort=code", "fields=code", "text=a", "entity_types[Shot]=1",
			"requests=1", "entities=1", "user_id=1", "path=a", "root_path=a", "preference=a", "date=1", "project_id=1", "data_type=a", "url=a", "upload_info=a", "upload_id=a", "1=x", "_method=delete", "id=1",
		} {
			if r, err := parseREST(strings.Replace(line, "?", "?"+query, 1)); err == nil {
				t.Errorf("%s with %s: %s", line, query, said(&r.Call))
			}
		}
	}
}

// onePlace: no name of the body stands in the query, as net/url reads that.
func onePlace(t *testing.T, r *flow.REST, body map[string]any) {
	t.Helper()
	query, err := url.ParseQuery(r.Query)
	if err != nil {
		t.Fatal(err)
	}
	for name := range query {
		word, _, _ := strings.Cut(name, "[")
		if _, twice := body[word]; twice {
			t.Fatalf("%s: %s stands in both", sent(r), word)
		}
	}
	if r.Call.Method != "read" || r.Filter.Records || !strings.HasSuffix(r.Path, "/_search") {
		return
	}
	list, _ := body["fields"].([]any)
	text, _ := body["fields"].(string)
	if query.Get("fields") == "" && len(list) == 0 && text == "" {
		t.Fatalf("%s: lists no fields and is not filtered", sent(r))
	}
}

// TestWrittenDataHoldsFieldsOnly: names that a Rails site reads as something
// else than a field's are refused, and ids are numbers.
func TestWrittenDataHoldsFieldsOnly(t *testing.T) {
	for _, name := range []string{"id", "type", "_method", "_json", "_"} {
		for _, line := range []string{
			`POST /entity/shots {"code":"x","` + name + `":1}`, `PUT /entity/shots/1 {"` + name + `":"delete"}`,
			`POST /entity/_batch {"requests":[{"request_type":"update","entity":"Shot","record_id":1,"data":{"` + name + `":1}}]}`,
		} {
			if r, err := parseREST(line); err == nil {
				t.Errorf("%s: %s", line, said(&r.Call))
			}
		}
	}
	for _, id := range []string{`"1"`, "true", "null", "[1]", "{}"} {
		for _, line := range []string{
			`POST /entity/_batch {"requests":[{"request_type":"delete","entity":"Shot","record_id":` + id + `}]}`,
			`POST /entity/human_users/1/follow {"entities":[{"record_id":` + id + `,"entity":"Shot"}]}`,
		} {
			if r, err := parseREST(line); err == nil {
				t.Errorf("%s: %s", line, said(&r.Call))
			}
		}
	}
}
