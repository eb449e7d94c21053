package flow

import (
	"strconv"
	"strings"
)

// maxSegments is how many segments a REST path has at most, behind its prefix:
// /entity/versions/1/sg_uploaded_movie/_upload/multipart_abort.
const maxSegments = 6

// restRoute is a path that was split.
type restRoute struct {
	prefix string
	segs   []string
	shape  string // the segments, with T for a type, F for a field, # for an id and @ for a UUID
}

// Prefixes of the REST API. The documentation writes v1.x for v1.
const (
	prefixV1   = "/api/v1"
	prefixV1x  = "/api/v1.x"
	prefixV1p1 = "/api/v1.1"
)

// RESTRoute says whether a path is a route of the REST API for a verb, and if
// not, whether it is one for another. It is asked before the body is read.
func RESTRoute(verb, path string) (ok, otherVerb bool) {
	rt, ok := splitREST(path)
	if !ok {
		return false, false
	}
	if _, ok := restOp(verb, rt.shape); ok {
		return true, false
	}
	for _, other := range [...]string{"GET", "POST", "PUT", "DELETE"} {
		if _, ok := restOp(other, rt.shape); ok {
			return false, true
		}
	}
	return false, false
}

// RESTStreams says whether what follows the head of a call is a file, which is
// not read before the call is decided: [REST.Stream].
func RESTStreams(verb, path string) bool {
	rt, ok := splitREST(path)
	if !ok {
		return false
	}
	op, ok := restOp(verb, rt.shape)
	return ok && op.body == streamBody
}

// splitREST takes a path apart, as it is on the wire. Nothing is decoded and
// nothing cleaned: what is not plain is no route.
func splitREST(path string) (rt restRoute, ok bool) {
	rest := ""
	for _, p := range [...]string{prefixV1, prefixV1p1, prefixV1x} {
		if after, found := strings.CutPrefix(path, p); found && (after == "" || after[0] == '/') {
			rt.prefix, rest, ok = p, after, true
		}
	}
	if !ok {
		return rt, false
	}
	if rt.prefix == prefixV1x {
		rt.prefix = prefixV1
	}
	switch rest {
	case "", "/":
		return rt, true
	case "/entity/_batch/": // shotgun-nodejs
		rest = "/entity/_batch"
	}
	rt.segs = strings.Split(rest[1:], "/")
	if len(rt.segs) > maxSegments {
		return rt, false
	}
	rt.shape, ok = shapeOf(rt.segs)
	return rt, ok
}

// shapeOf replaces what is variable in a path.
func shapeOf(segs []string) (string, bool) {
	last := len(segs) - 1
	var b strings.Builder
	for i, s := range segs {
		if i > 0 {
			b.WriteByte('/')
		}
		word := shapeSegment(segs[0], s, i, i == last)
		if word == "" {
			return "", false
		}
		b.WriteString(word)
	}
	return b.String(), true
}

// shapeSegment is what segment i of a path below root stands for, "" for
// nothing.
func shapeSegment(root, s string, i int, last bool) string {
	if i == 0 {
		if s == "spec.json" || s == "spec.yaml" || isWord(s) {
			return s
		}
		return ""
	}
	if root == "exports" && i >= 2 && last {
		return shapeExport(s, i)
	}
	switch {
	case !isWord(s):
		return ""
	case root == "webhook" && i == 2:
		if isUUID(s) {
			return "@"
		}
		return ""
	case isRecordID(s):
		return "#"
	case (root == "entity" || root == "schema") && i == 1 && s[0] != '_':
		return "T"
	case !isFieldPlace(root, s, i):
		return s
	case !IsName(s):
		return ""
	}
	return "F"
}

// shapeExport is shapeSegment for the end of an export: page.format, or
// layout.format behind a page.
func shapeExport(s string, i int) string {
	name, format, dotted := strings.Cut(s, ".")
	switch {
	case !dotted || !isFormat(format):
		return ""
	case i == 2 && isRecordID(name):
		return "#.x"
	case i == 3 && isWord(name):
		return "L.x"
	}
	return ""
}

// isFieldPlace says whether a field may stand at segment i, and s is no word of
// the API's.
func isFieldPlace(root, s string, i int) bool {
	switch {
	case root == "schema":
		return i == 3
	case root == "entity" && i == 3:
		return !isEntityWord(s)
	case root == "entity" && i == 4:
		return s[0] != '_' && s != "multipart" && s != "multipart_abort"
	}
	return false
}

// isEntityWord says whether a segment behind an entity's id is no field.
func isEntityWord(s string) bool {
	switch s {
	case "relationships", "activity_stream", "followers", "following", "follow", "unfollow", "thread_contents":
		return true
	}
	return s[0] == '_'
}

func isWord(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// maxFormat is the longest ending of an export. The site has csv.
const maxFormat = 8

func isFormat(s string) bool {
	return s != "" && len(s) <= maxFormat && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// isRecordID says whether s is an id as the site writes it.
func isRecordID(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

// uuidLen is the length of a UUID in text.
const uuidLen = 36

func isUUID(s string) bool {
	return len(s) == uuidLen && strings.Trim(s, "0123456789abcdefABCDEF-") == "" && strings.Count(s, "-") == 4
}

// restBody says what a route takes for a body.
type restBody uint8

const (
	noBody     restBody = iota
	jsonBody            // application/json
	vndBody             // one of the vendor types, which say how filters are written
	anyBody             // ignored by the site: none, or an empty object
	streamBody          // a file, which follows
)

// restCall is what a route asks for.
type restCall struct {
	method string
	body   restBody
}

// restOp is the table of routes (flow-protocol §5.4, §5.5).
//
//nolint:funlen // one line per route
func restOp(verb, shape string) (restCall, bool) {
	switch verb + " " + shape {
	case "GET ":
		return restCall{method: "info"}, true
	case "GET spec.json", "GET spec.yaml":
		return restCall{method: "schema_read"}, true

	case "GET entity/T", "GET entity/T/#", "GET entity/T/#/relationships/F":
		return restCall{method: "read"}, true
	case "GET entity/T/#/F":
		return restCall{method: "read"}, true // or download, by its query
	case "POST entity/T/_search":
		return restCall{"read", vndBody}, true
	case "POST entity/T/_summarize":
		return restCall{"summarize", vndBody}, true
	case "POST entity/_text_search":
		return restCall{"query_display_name_cache", vndBody}, true
	case "POST entity/T":
		return restCall{"create", jsonBody}, true
	case "PUT entity/T/#":
		return restCall{"update", jsonBody}, true
	case "DELETE entity/T/#":
		return restCall{method: "delete"}, true
	case "POST entity/T/#":
		return restCall{"revive", anyBody}, true
	case "POST entity/_batch":
		return restCall{"batch", jsonBody}, true

	case "GET entity/T/#/activity_stream":
		return restCall{method: "activity_stream"}, true
	case "GET entity/T/#/followers":
		return restCall{method: "followers"}, true
	case "GET entity/T/#/following":
		return restCall{method: "following"}, true
	case "POST entity/T/#/follow":
		return restCall{"follow", jsonBody}, true
	case "PUT entity/T/#/unfollow":
		return restCall{"unfollow", jsonBody}, true
	case "GET entity/T/#/thread_contents":
		return restCall{method: "note_thread_contents"}, true
	case "PUT entity/T/#/_update_last_accessed":
		return restCall{"update_project_last_accessed_by_current_user", jsonBody}, true

	case "GET entity/T/#/_upload", "GET entity/T/#/F/_upload":
		return restCall{method: "api_get_upload_link_info"}, true
	case "GET entity/T/#/_upload/multipart", "GET entity/T/#/F/_upload/multipart":
		return restCall{method: "api_get_upload_link_for_part"}, true
	case "PUT entity/T/#/_upload", "PUT entity/T/#/F/_upload":
		return restCall{"rest_upload", streamBody}, true
	case "POST entity/T/#/_upload", "POST entity/T/#/F/_upload":
		return restCall{"api_link_file", jsonBody}, true
	case "POST entity/T/#/_upload/multipart_abort", "POST entity/T/#/F/_upload/multipart_abort":
		return restCall{"rest_upload_abort", jsonBody}, true

	case "GET schema", "GET schema/T":
		return restCall{method: "schema_entity_read"}, true
	case "GET schema/T/fields", "GET schema/T/fields/F":
		return restCall{method: "schema_field_read"}, true
	case "POST schema/T/fields":
		return restCall{"schema_field_create", jsonBody}, true
	case "PUT schema/T/fields/F":
		return restCall{"schema_field_update", jsonBody}, true
	case "DELETE schema/T/fields/F":
		return restCall{method: "schema_field_delete"}, true
	case "POST schema/T/fields/F": // brings a field back
		return restCall{"schema_field_create", anyBody}, true

	case "POST hierarchy/_expand":
		return restCall{"nav_expand", jsonBody}, true
	case "POST hierarchy/_search":
		return restCall{"nav_search", jsonBody}, true
	case "GET preferences":
		return restCall{method: "preferences_read"}, true
	case "PUT preferences/update":
		return restCall{"preferences_update", jsonBody}, true
	case "GET license_info":
		return restCall{method: "license_info"}, true
	case "GET schedule/work_day_rules":
		return restCall{method: "work_schedule_read"}, true
	case "PUT schedule/work_day_rules":
		return restCall{"work_schedule_update", jsonBody}, true
	case "GET subscription_seat/user_subscriptions":
		return restCall{method: "user_subscriptions_read"}, true
	case "POST subscription_seat/user_subscriptions":
		return restCall{"user_subscriptions_create", jsonBody}, true
	case "GET exports/page/#.x", "GET exports/page/#/L.x":
		return restCall{method: "export_page"}, true

	case "GET webhook/hooks", "GET webhook/hooks/@", "GET webhook/hooks/@/deliveries", "GET webhook/deliveries/@":
		return restCall{method: "webhook_read"}, true
	case "POST webhook/hooks", "PUT webhook/hooks/@", "PUT webhook/deliveries/@":
		return restCall{"webhook_write", jsonBody}, true
	case "DELETE webhook/hooks/@":
		return restCall{method: "webhook_write"}, true
	case "POST webhook/hooks/@/test_connection", "POST webhook/deliveries/@/redeliver":
		return restCall{"webhook_write", anyBody}, true
	case "POST transcode/attachment_metadata/#":
		return restCall{"transcode", anyBody}, true
	}
	return restCall{}, false
}

// restMethod is what is known of a method that a route has.
func restMethod(name string) MethodInfo {
	switch name {
	case "rest_upload", "rest_upload_abort", "api_get_upload_link_info", "api_get_upload_link_for_part", "api_link_file":
		return MethodInfo{GroupUpload, true}
	case "webhook_write", "preferences_update", "transcode":
		return MethodInfo{GroupNamed, true}
	case "webhook_read", "license_info":
		return MethodInfo{Group: GroupNamed}
	}
	info, _ := Method(name)
	return info
}
