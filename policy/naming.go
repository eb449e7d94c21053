package policy

import (
	"strings"

	"stagedoor/flow"
)

const (
	readVerb     = string(flow.GroupRead)
	infoVerb     = string(flow.GroupInfo)
	uploadVerb   = string(flow.GroupUpload)
	downloadVerb = string(flow.GroupDownload)
	linkVerb     = "link"
	presetsVerb  = "presets"
	streamVerb   = "activity_stream"
	scheduleVerb = "work_schedule_update"
	dropVerb     = "schema_field_delete"
)

func isWrite(verb string) bool {
	return verb == "create" || verb == "update" || verb == "delete" || verb == "revive"
}

// needsName says whether a rule has to name the type: a glob does not cover it.
// Case is folded: nobody has tried whether the site does. A file that is put
// into a record counts as a write of it.
func needsName(verb, typ string) bool {
	writes := isWrite(verb) || verb == uploadVerb
	switch {
	case verb == dropVerb: // takes the values of every record with it
		return true
	case isWord(verb, typ) && verb != presetsVerb:
		return true
	case strings.HasPrefix(verb, "schema_field_"):
		return isProtected(typ)
	case verb != readVerb && verb != downloadVerb && !writes:
		return false
	case strings.EqualFold(typ, "EventLogEntry"): // old and new values of every field of every type
		return true
	}
	return writes && isProtected(typ)
}

// isProtected says whether writes of a type, or of what connects it to others
// (HumanUser_projects_Connection), give rights or let others act as somebody.
func isProtected(typ string) bool {
	if n := strings.IndexByte(typ, '_'); n >= 0 && hasSuffixFold(typ, "_connection") {
		typ = typ[:n]
	}
	for _, p := range [...]string{"ApiUser", "ClientUser", "HumanUser", "PermissionRuleSet", "ActionMenuItem", "EventLogEntry"} {
		if strings.EqualFold(typ, p) {
			return true
		}
	}
	return false
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// needsField says whether a rule has to name the field: its type alone does
// not cover it. These take over accounts, silence the event log, or rewrite
// who did what (flow-protocol §6.2).
func needsField(verb, typ, field string) bool {
	if !isWrite(verb) && verb != uploadVerb {
		return false
	}
	is := func(names ...string) bool {
		for _, n := range names {
			if strings.EqualFold(field, n) {
				return true
			}
		}
		return false
	}
	switch {
	case is("created_by", "created_at"):
		return true
	case is("login", "email", "sg_status_list", "locked_until", "sso_login", "oxygen_user_id"):
		return strings.EqualFold(typ, "HumanUser")
	case is("permission_rule_set"):
		return strings.EqualFold(typ, "HumanUser") || strings.EqualFold(typ, "ApiUser")
	case is("generate_event_log_entries"):
		return strings.EqualFold(typ, "ApiUser")
	}
	return false
}

// Need is one thing that a call asks for: a verb on a type's field. Field is ""
// where the type itself is meant, [flow.EveryField] where all of its fields are;
// Type is "" where the verb stands alone, "*" where every type is meant.
type Need struct{ Verb, Type, Field string }

// NeedsNaming says whether only a rule that names it gives the need: one for
// "*" or for the type alone does not. Nothing of this kind is let through
// unruled, not even in observe mode.
func (n Need) NeedsNaming() bool {
	switch flow.Group(n.Verb) {
	case flow.GroupRead, flow.GroupCreate, flow.GroupUpdate, flow.GroupDelete, flow.GroupRevive, flow.GroupFollow,
		flow.GroupSchema, flow.GroupSchedule, flow.GroupPreferences, flow.GroupUpload, flow.GroupDownload, linkVerb:
		return needsName(n.Verb, n.Type) || needsField(n.Verb, n.Type, n.Field)
	case flow.GroupNamed, flow.GroupInfo, flow.GroupBatch, flow.GroupSession:
	}
	return true
}
