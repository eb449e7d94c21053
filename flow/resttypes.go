package flow

import (
	"slices"
	"strconv"
	"strings"
)

// lastCustom is the number of the last custom entity of each kind that a site
// can have.
const lastCustom = 99

// Types knows the names of the site's entity types, and in which typeSpellings REST
// clients write them. It is immutable and safe for concurrent use. A nil Types
// knows none.
type Types struct {
	// spelled maps each spelling, in lower case, to the type's name. It is ""
	// for a spelling that may mean two types.
	spelled map[string]string
}

// NewTypes knows the types that Flow has on every site, its custom ones
// (CustomEntity01 to 99 and their kin), and those in known that are type names.
// Where a spelling of a known type is one of Flow's already, it keeps Flow's
// meaning: that is how the site reads it.
func NewTypes(known ...string) *Types {
	t := &Types{spelled: make(map[string]string)}
	ours := builtinTypes()
	for _, stem := range [...]string{"CustomEntity", "CustomNonProjectEntity", "CustomThreadedEntity"} {
		for n := 1; n <= lastCustom; n++ {
			digits := strconv.Itoa(n)
			if n < 10 {
				digits = "0" + digits
			}
			ours = append(ours, stem+digits)
		}
	}
	t.add(ours)
	more := &Types{spelled: make(map[string]string)}
	more.add(slices.DeleteFunc(slices.Clone(known), func(s string) bool { return !IsTypeName(s) }))
	for s, name := range more.spelled {
		if _, ok := t.spelled[s]; !ok {
			t.spelled[s] = name
		}
	}
	return t
}

func (t *Types) add(names []string) {
	for _, name := range names {
		for _, s := range typeSpellings(name) {
			if other, ok := t.spelled[s]; ok && other != name {
				t.spelled[s] = ""
				continue
			}
			t.spelled[s] = name
		}
	}
}

// Canonical is the one name of the entity type that spelling means: the name
// itself, in any case, as snake_case, or in the plural of either. ok is false
// for an unknown type, and for a spelling that may mean two.
func (t *Types) Canonical(spelling string) (name string, ok bool) {
	if t == nil || !IsName(spelling) {
		return "", false
	}
	if name := t.spelled[strings.ToLower(spelling)]; name != "" {
		return name, true
	}
	// What connects two types is named for a field of one (Asset_shots_Connection),
	// so the names can't be listed. Only the exact one is taken.
	if stem, field, found := strings.Cut(strings.TrimSuffix(spelling, "_Connection"), "_"); found &&
		strings.HasSuffix(spelling, "_Connection") && t.spelled[strings.ToLower(stem)] == stem && IsName(field) {
		return spelling, true
	}
	return "", false
}

// typeSpellings lists how a type may be written, all in lower case.
func typeSpellings(name string) []string {
	lower, snake := strings.ToLower(name), snakeCase(name)
	return []string{lower, snake, plural(lower), plural(snake)}
}

// snakeCase writes PublishedFile as published_file and CustomEntity01 as
// custom_entity01.
func snakeCase(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			if i > 0 && name[i-1] != '_' && !(name[i-1] >= 'A' && name[i-1] <= 'Z') {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

// plural is the plural of a word in lower case, as Flow's slugs have it:
// human_users, event_log_entries, statuses, launches.
func plural(word string) string {
	last := word[len(word)-1]
	switch {
	case strings.HasSuffix(word, "person"):
		return strings.TrimSuffix(word, "person") + "people"
	case last == 'y' && len(word) > 1 && !strings.ContainsRune("aeiou", rune(word[len(word)-2])):
		return word[:len(word)-1] + "ies"
	case last == 's', last == 'x', last == 'z', strings.HasSuffix(word, "ch"), strings.HasSuffix(word, "sh"):
		return word + "es"
	}
	return word + "s"
}

// builtinTypes are Flow's entity types: those of the schema that the Python
// client ships for its tests, and those that its documentation names.
func builtinTypes() []string {
	return strings.Fields(`
		ActionMenuItem ApiUser AppWelcome AppWelcomeUserConnection Asset AssetAssetConnection
		AssetBlendshapeConnection AssetElementConnection AssetLevelConnection AssetLibrary
		AssetMocapTakeConnection AssetSceneConnection AssetSequenceConnection AssetShootDayConnection
		AssetShotConnection Attachment Banner BannerUserConnection Blendshape Booking Camera
		CameraMocapTakeConnection Candidate ClientUser Composition Cut CutItem CutVersionConnection Delivery
		DeliveryTarget Department Element ElementShotConnection Episode EventLogEntry FilesystemLocation
		Group GroupUserConnection HumanUser Icon Launch LaunchSceneConnection LaunchShotConnection
		Level LocalStorage Milestone MocapPass MocapSetup MocapTake MocapTakeRange
		MocapTakeRangeShotConnection Note Page PageHit PageSetting Performer
		PerformerMocapTakeConnection PerformerRoutineConnection PerformerShootDayConnection
		PermissionRuleSet Phase PhysicalAsset PhysicalAssetMocapTakeConnection PipelineConfiguration
		Playlist PlaylistShare PlaylistVersionConnection Project ProjectUserConnection PublishEvent
		PublishedFile PublishedFileDependency PublishedFileType Release ReleaseTicketConnection Reply
		Revision RevisionRevisionConnection RevisionTicketConnection Routine RvLicense Scene Sequence
		ShootDay ShootDaySceneConnection Shot ShotShotConnection Slate Software Status Step Tag
		TankContainer TankDependency TankPublishedFile TankType Task TaskDependency TaskTemplate
		Ticket TicketTicketConnection TimeLog Tool Version`)
}
