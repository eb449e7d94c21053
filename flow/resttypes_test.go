package flow_test

import (
	"strings"
	"testing"

	"stagedoor/flow"
)

// TestTypeSpellings: each spelling that clients use means one type.
func TestTypeSpellings(t *testing.T) {
	types := flow.NewTypes("MyThing", "shot", "Shots", "not a type", "SHOT", "")
	for spelling, want := range map[string]string{
		"Shot": "Shot", "shot": "Shot", "shots": "Shot", "Shots": "Shot", "SHOTS": "Shot",
		"HumanUser": "HumanUser", "humanuser": "HumanUser", "human_user": "HumanUser", "human_users": "HumanUser", "HumanUsers": "HumanUser", "Human_Users": "HumanUser",
		"event_log_entries": "EventLogEntry", "EventLogEntries": "EventLogEntry", "statuses": "Status", "status": "Status", "phases": "Phase", "launches": "Launch",
		"replies": "Reply", "deliveries": "Delivery", "task_dependencies": "TaskDependency", "asset_libraries": "AssetLibrary", "time_logs": "TimeLog", "shoot_days": "ShootDay",
		"custom_entity01": "CustomEntity01", "custom_entity01s": "CustomEntity01", "CustomEntity99": "CustomEntity99", "custom_non_project_entity15s": "CustomNonProjectEntity15", "CustomThreadedEntity07": "CustomThreadedEntity07",
		"attachments": "Attachment", "Attachment": "Attachment", "published_file_types": "PublishedFileType", "rv_licenses": "RvLicense",
		"MyThing": "MyThing", "my_things": "MyThing", "playlist_version_connections": "PlaylistVersionConnection",
		"Asset_shots_Connection": "Asset_shots_Connection", "HumanUser_projects_Connection": "HumanUser_projects_Connection",
	} {
		if got, ok := types.Canonical(spelling); !ok || got != want {
			t.Errorf("%s: %q %v", spelling, got, ok)
		}
	}
	for _, spelling := range []string{
		"", "users", "shotss", "sh_ot", "h_uman_users", "human-users", "human__users", "_human_users", "human_users_", "Shot.json", "CustomEntity00", "CustomEntity1", "CustomEntity100", "custom_entity_01",
		"replys", "entrys", "eventlogentrys", "Asset_shots_connection", "asset_shots_connections", "Nothing_shots_Connection", "asset_shots_Connection", "Asset__Connection_x", "_Connection", "Asset_Connection", "not a type", strings.Repeat("a", 200), "\u017fhot", "tas\u212a",
	} {
		if got, ok := types.Canonical(spelling); ok {
			t.Errorf("%q is taken for %s", spelling, got)
		}
	}
	if _, ok := (*flow.Types)(nil).Canonical("Shot"); ok {
		t.Error("no types know one")
	}
	// Two types of which neither is Flow's: nobody knows which the site means.
	two := flow.NewTypes("Glass", "Glasses", "Foo_Bar", "FooBar")
	for _, spelling := range []string{"Glasses", "foo_bars", "foo_bar"} {
		if got, ok := two.Canonical(spelling); ok {
			t.Errorf("%q is taken for %s", spelling, got)
		}
	}
	if got, ok := two.Canonical("glass"); !ok || got != "Glass" {
		t.Error(got, ok)
	}
}

// TestEverySpellingIsSentAsOne: the path that the site gets has the name that
// was decided on.
func TestEverySpellingIsSentAsOne(t *testing.T) {
	for _, spelling := range []string{"EventLogEntry", "eventlogentry", "event_log_entry", "event_log_entries", "EventLogEntries", "EVENT_LOG_ENTRIES"} {
		r := rest(t, "GET /entity/"+spelling+"/1?fields=meta")
		if r.Path != "/api/v1/entity/EventLogEntry/1" || r.Call.Type != "EventLogEntry" || said(&r.Call) != "read read EventLogEntry#1: EventLogEntry./1 EventLogEntry.meta/1" {
			t.Errorf("%s: %s %s", spelling, r.Path, said(&r.Call))
		}
	}
}
