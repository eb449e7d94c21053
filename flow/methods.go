package flow

// Group is a policy group: the words that an allow rule starts with. Each RPC
// method belongs to exactly one.
type Group string

// The groups. Those of the first block are given by rules for entity types or
// fields; those of the second have to be named by the method itself, because
// what they reach can't be read from the call or because they change the site
// itself; the last ones are decided without a rule.
const (
	GroupRead        Group = "read"
	GroupCreate      Group = "create"
	GroupUpdate      Group = "update"
	GroupDelete      Group = "delete"
	GroupRevive      Group = "revive"
	GroupFollow      Group = "follow"
	GroupSchema      Group = "schema"
	GroupSchedule    Group = "schedule"
	GroupPreferences Group = "preferences"

	GroupUpload   Group = "upload"   // files into fields
	GroupDownload Group = "download" // files out of fields

	GroupNamed Group = "named"

	GroupInfo    Group = "info"    // always allowed
	GroupBatch   Group = "batch"   // decided part by part
	GroupSession Group = "session" // answered by the proxy itself: the site's answer would be a secret
)

// MethodInfo is what is known of one RPC method (flow-protocol §2.1).
type MethodInfo struct {
	Group  Group
	Writes bool
}

// Method looks an RPC method up. Unknown methods are refused by the caller:
// the site may know names that no client sends.
func Method(name string) (MethodInfo, bool) {
	switch name {
	case "info":
		return MethodInfo{Group: GroupInfo}, true
	case "read", "summarize", "note_thread_contents", "query_display_name_cache":
		return MethodInfo{Group: GroupRead}, true
	case "create":
		return MethodInfo{GroupCreate, true}, true
	case "update", "update_project_last_accessed_by_current_user":
		return MethodInfo{GroupUpdate, true}, true
	case "delete":
		return MethodInfo{GroupDelete, true}, true
	case "revive":
		return MethodInfo{GroupRevive, true}, true
	case "batch":
		return MethodInfo{GroupBatch, true}, true
	case "follow", "unfollow":
		return MethodInfo{GroupFollow, true}, true
	case "followers", "following":
		return MethodInfo{Group: GroupFollow}, true
	case "schema_entity_read", "schema_read", "schema_field_read":
		return MethodInfo{Group: GroupSchema}, true
	case "work_schedule_read":
		return MethodInfo{Group: GroupSchedule}, true
	case "preferences_read":
		return MethodInfo{Group: GroupPreferences}, true
	case "export_page", "nav_expand", "nav_search", "activity_stream", "user_subscriptions_read":
		return MethodInfo{Group: GroupNamed}, true
	case "schema_field_create", "schema_field_update", "schema_field_delete",
		"work_schedule_update", "user_subscriptions_create":
		return MethodInfo{GroupNamed, true}, true
	case "get_session_token":
		return MethodInfo{GroupSession, true}, true
	}
	return MethodInfo{}, false
}

// RESTMethods lists what only REST has (flow-protocol §5.4), for rules: each has
// to be named.
func RESTMethods() []string {
	return []string{"webhook_read", "webhook_write", "preferences_update", "license_info", "transcode"}
}

// Methods lists every method of flow-protocol §2.1, in its order.
func Methods() []string {
	return []string{
		"info", "read", "summarize", "create", "update", "delete", "revive", "batch",
		"follow", "unfollow", "followers", "following",
		"schema_entity_read", "schema_read", "schema_field_read",
		"schema_field_create", "schema_field_update", "schema_field_delete",
		"work_schedule_read", "work_schedule_update", "export_page",
		"update_project_last_accessed_by_current_user", "note_thread_contents",
		"query_display_name_cache", "activity_stream", "nav_expand", "nav_search",
		"preferences_read", "user_subscriptions_read", "user_subscriptions_create",
		"get_session_token",
	}
}
