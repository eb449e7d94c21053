package flowsite_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"stagedoor/flowsite"
)

// Whatever argument comes with a good credential, the answer is JSON, results
// or a fault, or a violation. The state is whatever the calls before made it.
func FuzzArgument(f *testing.F) {
	s := newSite(f, flowsite.Options{RecordMax: -1, NoEvents: true})
	seeds := []struct {
		method string
		arg    any
	}{
		{"read", readArgs("Task", anyOf(cond("entity.Shot.code", "contains", "x"), cond("due_date", "in_last", 1, "DAY")), "entity", "step.Step.code")},
		{"read", readArgs("Version", cond("tag_list", "is", array{"a", object{}}))},
		{"summarize", object{"type": "Shot", "summaries": array{object{"field": "id", "type": "count"}}, "filters": all(), "grouping": array{object{"field": "code", "type": "firstletter", "direction": "asc"}}}},
		{"create", object{"type": "Shot", "fields": fields("code", "ÅÄ", "assets", array{link("Asset", 1)}), "return_fields": array{"id"}}},
		{"update", object{"type": "Shot", "id": 1, "fields": array{object{"field_name": "tasks", "value": array{link("Task", 2)}, "multi_entity_update_mode": "add"}}}},
		{"batch", array{object{"request_type": "delete", "type": "Shot", "id": 1}, object{"request_type": "update", "type": "Shot", "id": 1}}},
		{"schema_field_create", object{"type": "Shot", "data_type": "list", "properties": array{object{"property_name": "name", "value": "x"}, object{"property_name": "default_value", "value": object{}}}}},
		{"query_display_name_cache", object{"text": "sq0", "entity_types": object{"Shot": all()}, "project_ids": array{1, "x"}, "max_results": -1}},
		{"activity_stream", object{"type": "Project", "id": 65, "max_id": nil, "min_id": nil, "limit": 3, "entity_fields": object{"Shot": array{"code"}}}},
		{"note_thread_contents", object{"note_id": 700, "entity_fields": object{"Note": array{"subject"}}}},
		{"nav_expand", object{"path": "/Project/65/Shot", "seed_entity_field": nil, "entity_fields": nil}},
		{"work_schedule_read", object{"start_date": "2026-03-01", "end_date": "2026-03-05", "project": link("Project", 65), "user": nil}},
		{"user_subscriptions_create", object{"users": array{object{"humanUserId": 1, "subscription": object{}}}}},
		{"follow", object{"user": link("HumanUser", 1), "entity": link("Shot", 1)}},
		{"export_page", object{"format": "csv", "page_id": 900, "layout_name": nil}},
	}
	if len(seeds) < 15 {
		f.Fatal("seeds are missing")
	}
	for _, seed := range seeds {
		f.Add(seed.method, encode(f, seed.arg))
	}
	auth := encode(f, scriptAuth())
	f.Fuzz(func(t *testing.T, method, arg string) {
		w := post(s, `{"method_name":`+encode(t, method)+`,"params":[`+auth+`,`+arg+`]}`)
		s.ResetRecord()
		if w.Code == http.StatusBadRequest {
			return
		}
		var m map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Code != http.StatusOK {
			t.Errorf("HTTP %d %v: %s", w.Code, err, w.Body)
		}
	})
}
