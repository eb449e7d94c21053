package flow

import "slices"

// Use says in which position of a call a field is named.
type Use uint8

// The positions. All but UseWrite, UseLink and UseUpload read.
const (
	UseReturn   Use = iota + 1 // return_fields, entity_fields
	UseFilter                  // filters: a side channel, so it counts as reading
	UseSort                    // sorts, grouping
	UseSummary                 // summaries
	UseWrite                   // data of create and update
	UseLink                    // a linked entity named in written data
	UseUpload                  // a file that is put into a field
	UseDownload                // a file that is fetched from one
)

// Kind is the way in by which a call came.
type Kind string

// The kinds. The zero value is an RPC call.
const (
	KindRPC      Kind = "rpc"      // POST /api3/json
	KindUpload   Kind = "upload"   // a form of /upload/...
	KindDownload Kind = "download" // a file of /file_serve, /thumbnail, /images, /files
	KindREST     Kind = "rest"     // /api/v1/...
	KindStorage  Kind = "storage"  // a pre-signed link, relayed
)

// Touch is one (entity type, field) that a call reaches. Field is "" where the
// call reaches the type itself and no field of it by name. A dotted path
// counts at every hop: entity.Shot.code on Version touches Version.entity and
// Shot.code. Type is "" where a credential field is named in a text whose
// entity type can't be told.
type Touch struct {
	Type, Field string
	Use         Use
}

// EveryField stands in Touch.Field where a call reaches all fields of a type:
// a read that lists none.
const EveryField = "*"

// Caller credential classes: what the tool itself carried in its auth object.
const (
	CredNone        = "none"        // no auth object, or an empty one
	CredPlaceholder = "placeholder" // a script key that is no key of ours
	CredLiveKey     = "live_key"    // the script's real key of today
	CredOldKey      = "old_key"     // a key that the script had before
	CredSession     = "session"     // a session or bearer token that is none of ours
	CredHandle      = "handle"      // a handle that this proxy gave out
	CredUser        = "user"        // user_login or user_password
)

// Record is one entity on the site.
type Record struct {
	Type string
	ID   int64
}

// Call is what one request asks for, in Flow's words: facts only, no values of
// data, safe to log. The zero Call is no call and no policy allows it.
type Call struct {
	// Kind is the way in, "" for a part of a batch.
	Kind Kind
	// Method is the RPC method, or the request_type of a part of a batch. What
	// came by REST has the method that api3 has for the same thing, so that one
	// rule governs both.
	Method string
	// Group is the policy group of the method.
	Group Group
	// Writes says whether the site's state may change.
	Writes bool
	// Type is the entity type that the call is about, "" where it names none.
	Type string
	// ID is the entity's id where the call names one, else 0.
	ID int64
	// Touches holds everything that the call reaches, without repeats.
	Touches []Touch
	// Presets names additional_filter_presets, whose reach can't be read.
	Presets []string
	// Studio marks a work schedule write for no project and no user.
	Studio bool
	// PageSize is paging.entities_per_page of a read, 0 where absent.
	PageSize int
	// Projects are ids of projects: every record that the call is about lies in one
	// of them, as the call itself says: a filter of a read on the project that every
	// other condition only narrows, the project of a create. They are sorted and
	// stand once, at most MaxStated. nil: it says nothing.
	Projects []int64
	// Into are the projects that an update puts into the record's own project field;
	// IntoOther says that it writes there what names no project.
	Into      []int64
	IntoOther bool
	// Records are the records that a call by id is about: of an update, delete,
	// revive, upload, download, follow, note thread, activity stream, of a read whose
	// filter names one id, or by its path on REST. nil: it says nothing.
	Records []Record
	// Hops counts the linked entities that dotted paths lead through, each prefix
	// once: entity.Shot.code and entity.Shot.id are one hop.
	Hops int
	// Parts holds the parts of a batch in order.
	Parts []Call

	// ScriptName is the script_name that the tool sent; no secret.
	ScriptName string
	// SudoAsLogin is the login that the tool wants to act as, "" for none.
	SudoAsLogin string
	// SessionUUID is the session_uuid that the tool sent, "" for none.
	SessionUUID string
	// UserAuth says that the auth object held user credentials.
	UserAuth bool
	// DroppedAuth names extra keys of the auth object that are not sent on.
	DroppedAuth []string
}

// What a read costs. A page is as many rows as the site gives when it isn't
// asked for more; the largest page that a site has is ten of these, whatever is
// asked for.
const (
	costRows    = 500
	maxCostRows = 5000
)

// Cost is what the call takes from a rate limit: the sum of its parts. A read
// costs 1 for each begun 500 rows of its page size, of 5000 at most, and 1 for
// each hop; anything else costs 1.
func (c *Call) Cost() int {
	if len(c.Parts) > 0 {
		n := 0
		for i := range c.Parts {
			n += c.Parts[i].Cost()
		}
		return n
	}
	if c.Group != GroupRead {
		return 1
	}
	rows := min(max(c.PageSize, 1), maxCostRows)
	return (rows+costRows-1)/costRows + c.Hops
}

// Reaches says whether the call, or a part of it, names the entity type.
func (c *Call) Reaches(typ string) bool {
	return c.Type == typ || slices.ContainsFunc(c.Touches, func(t Touch) bool { return t.Type == typ }) ||
		slices.ContainsFunc(c.Parts, func(p Call) bool { return p.Reaches(typ) })
}

// Types lists the entity types that the call names, without repeats, in order
// of appearance.
func (c *Call) Types() []string {
	var l typeList
	c.addTypes(&l)
	return l.types
}

func (c *Call) addTypes(l *typeList) {
	l.add(c.Type)
	for i := range c.Touches {
		l.add(c.Touches[i].Type)
	}
	for i := range c.Parts {
		c.Parts[i].addTypes(l)
	}
}

// typeList is a list without repeats.
type typeList struct {
	types []string
	seen  map[string]struct{} // nil while the list is short
}

// shortList is the length up to which a list is searched from end to end.
const shortList = 16

func (l *typeList) add(t string) {
	if t == "" || len(l.types) > 0 && l.types[len(l.types)-1] == t {
		return
	}
	if len(l.types) < shortList {
		if !slices.Contains(l.types, t) {
			l.types = append(l.types, t)
		}
		return
	}
	if l.seen == nil {
		l.seen = make(map[string]struct{}, 2*shortList)
		for _, o := range l.types {
			l.seen[o] = struct{}{}
		}
	}
	if _, ok := l.seen[t]; !ok {
		l.seen[t] = struct{}{}
		l.types = append(l.types, t)
	}
}
