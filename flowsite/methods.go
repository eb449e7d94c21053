package flowsite

import (
	"slices"
)

// method is one RPC method: what its argument may hold and what it does.
type method struct {
	// form of the argument.
	form form
	// must and may are the names an argument object has.
	must, may []string
	run       func(*ctx, any) (any, error)
}

type form int

const (
	object   form = iota // {…}
	optional             // {…} or left out
	nothing              // left out
	list                 // […]
)

// judge finds names that no client sends. Wrong values are faults, said by
// the method itself.
func (m method) judge(c rpc) []string {
	args, isObject := c.args.(map[string]any)
	switch m.form {
	case nothing:
		if len(c.params) > 0 {
			return []string{c.method + " takes no argument"}
		}
		return nil
	case list:
		if _, ok := c.args.([]any); !ok {
			return []string{c.method + ": the argument is no array"}
		}
		return nil
	case optional:
		if len(c.params) == 0 {
			return nil
		}
	case object:
	}
	if !isObject {
		return []string{c.method + ": the argument is no object"}
	}
	return judgeNames(c.method, args, m.must, m.may)
}

func judgeNames(where string, args map[string]any, must, may []string) []string {
	var found []string
	for _, name := range sortedKeys(args) {
		if !slices.Contains(must, name) && !slices.Contains(may, name) {
			found = append(found, where+": unknown argument "+name)
		}
	}
	for _, name := range must {
		if _, ok := args[name]; !ok {
			found = append(found, where+": no argument "+name)
		}
	}
	return found
}

// with turns a handler of named arguments into one of any argument.
func with(run func(*ctx, args) (any, error)) func(*ctx, any) (any, error) {
	return func(c *ctx, v any) (any, error) {
		m, _ := v.(map[string]any)
		return run(c, m)
	}
}

func words(s ...string) []string { return s }

// methods is the table of flow-protocol §2.1, whole.
func methods() map[string]method {
	m := map[string]method{
		"info":      {form: nothing, run: with((*ctx).info)},
		"read":      {must: words("type", "return_fields", "filters", "return_only", "paging"), may: words("additional_filter_presets", "include_archived_projects", "sorts", "api_return_image_urls", "return_paging_info_without_counts", "return_paging_info"), run: with((*ctx).read)},
		"summarize": {must: words("type", "summaries", "filters"), may: words("grouping", "include_archived_projects"), run: with((*ctx).summarize)},
		"create":    {must: words("type", "fields", "return_fields"), run: with((*ctx).create)},
		"update":    {must: words("type", "id", "fields"), run: with((*ctx).update)},
		"delete":    {must: words("type", "id"), run: with((*ctx).retire)},
		"revive":    {must: words("type", "id"), run: with((*ctx).revive)},
		"batch":     {form: list, run: (*ctx).batch},
		"follow":    {must: words("user", "entity"), run: with((*ctx).follow)},
		"unfollow":  {must: words("user", "entity"), run: with((*ctx).unfollow)},
		"followers": {must: words("entity"), run: with((*ctx).followers)},
		"following": {must: words("user"), may: words("project", "entity_type"), run: with((*ctx).following)},
	}
	addSchemaMethods(m)
	addPageMethods(m)
	return m
}

func addSchemaMethods(m map[string]method) {
	m["schema_entity_read"] = method{form: optional, may: words("project"), run: with((*ctx).schemaEntityRead)}
	m["schema_read"] = method{form: optional, may: words("project"), run: with((*ctx).schemaRead)}
	m["schema_field_read"] = method{must: words("type"), may: words("field_name", "project"), run: with((*ctx).schemaFieldRead)}
	m["schema_field_create"] = method{must: words("type", "data_type", "properties"), run: with((*ctx).schemaFieldCreate)}
	m["schema_field_update"] = method{must: words("type", "field_name", "properties"), may: words("project"), run: with((*ctx).schemaFieldUpdate)}
	m["schema_field_delete"] = method{must: words("type", "field_name"), run: with((*ctx).schemaFieldDelete)}
}

func addPageMethods(m map[string]method) {
	m["work_schedule_read"] = method{must: words("start_date", "end_date", "project", "user"), run: with((*ctx).workScheduleRead)}
	m["work_schedule_update"] = method{must: words("date", "working", "description", "project", "user", "recalculate_field"), run: with((*ctx).workScheduleUpdate)}
	m["export_page"] = method{must: words("format", "page_id", "layout_name"), run: with((*ctx).exportPage)}
	m["update_project_last_accessed_by_current_user"] = method{must: words("project_id"), may: words("user_id"), run: with((*ctx).lastAccessed)}
	m["note_thread_contents"] = method{must: words("note_id", "entity_fields"), run: with((*ctx).noteThread)}
	m["query_display_name_cache"] = method{must: words("text", "entity_types", "project_ids", "max_results"), run: with((*ctx).textSearch)}
	m["activity_stream"] = method{must: words("type", "id", "max_id", "min_id", "limit", "entity_fields"), run: with((*ctx).activityStream)}
	m["nav_expand"] = method{must: words("path", "seed_entity_field", "entity_fields"), run: with((*ctx).navExpand)}
	m["nav_search"] = method{must: words("root_path", "seed_entity_field", "search_criteria"), run: with((*ctx).navSearch)}
	m["preferences_read"] = method{must: words("prefs"), run: with((*ctx).preferencesRead)}
	m["user_subscriptions_read"] = method{form: nothing, run: with((*ctx).subscriptionsRead)}
	m["user_subscriptions_create"] = method{must: words("users"), run: with((*ctx).subscriptionsCreate)}
	m["get_session_token"] = method{form: nothing, run: with((*ctx).sessionToken)}
}
