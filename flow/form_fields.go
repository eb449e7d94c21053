package flow

import (
	"slices"
	"strconv"
	"strings"
)

// uploadPaths is what the paths of forms have in common.
const uploadPaths = "/upload/"

// maxID is the largest entity id. JSON numbers are exact up to it, and a
// client's language may hold it in one.
const maxID = 1 << 53

// maxPart is the highest part_number. Storage has no more parts in one file.
const maxPart = 10_000

// MaxTargets is how many entities one share_thumbnail may name. The client has
// no bound; a show has a few thousand shots.
const MaxTargets = 1 << 14

// formField is one field of a form, beside those that hold credentials.
type formField struct {
	name string
	is   func(value string) bool
	// need says that the form is none without it. A field that is not needed
	// and empty counts as absent, where is refuses an empty value.
	need bool
}

// formSpec is what one path takes (flow-protocol §3.2).
type formSpec struct {
	fields []formField
	// file is the name of the part that holds a file, "" for none.
	file string
}

func (s *formSpec) field(name string) (formField, bool) {
	i := slices.IndexFunc(s.fields, func(f formField) bool { return f.name == name })
	if i < 0 {
		return formField{}, false
	}
	return s.fields[i], true
}

// uploadMethod is the last element of a path of a form.
func uploadMethod(path string) string {
	method, ok := strings.CutPrefix(path, uploadPaths)
	if !ok {
		return ""
	}
	return method
}

// formSpecOf looks a form up by its method.
func formSpecOf(method string) (formSpec, bool) {
	entity := []formField{{"entity_type", IsTypeName, true}, {"entity_id", isID, true}}
	about := []formField{{"field_name", IsName, false}, {"display_name", anyValue, false}, {"tag_list", anyValue, false}, {"created_at", anyValue, false}}
	filmstrip := formField{"filmstrip", isFlag, false}
	cloud := []formField{{"upload_type", IsName, true}, {"filename", notEmpty, true}, {"timestamp", anyValue, true}, {"upload_id", anyValue, true}}
	switch method {
	case "upload_file":
		return formSpec{fields: slices.Concat(entity, about), file: "file"}, true
	case "publish_thumbnail":
		return formSpec{fields: append(entity, filmstrip), file: "thumb_image"}, true
	case "share_thumbnail":
		return formSpec{fields: []formField{
			{"entities", notEmpty, true}, {"source_entity", notEmpty, true}, {"filmstrip_thumbnail", isFlag, false},
		}}, true
	case "api_get_upload_link_info":
		return formSpec{fields: []formField{
			{"upload_type", isUploadType, true}, {"filename", notEmpty, true}, {"multipart_upload", isFlag, false}, {"created_at", anyValue, false},
		}}, true
	case "api_get_upload_link_for_part":
		return formSpec{fields: append(cloud, formField{"part_number", isPart, true})}, true
	case "api_complete_multipart_upload":
		return formSpec{fields: append(cloud, formField{"etags", notEmpty, true})}, true
	case "api_link_file":
		return formSpec{fields: slices.Concat(entity, about, []formField{filmstrip, {"upload_link_info", notEmpty, true}})}, true
	}
	return formSpec{}, false
}

// formNames lists every name that any form has.
func formNames() []string {
	return []string{
		"entity_type", "entity_id", "field_name", "display_name", "tag_list", "created_at", "file", "thumb_image",
		"filmstrip", "entities", "source_entity", "filmstrip_thumbnail", "upload_type", "filename", "multipart_upload",
		"timestamp", "upload_id", "part_number", "etags", "upload_link_info",
	}
}

func anyValue(string) bool       { return true }
func notEmpty(s string) bool     { return s != "" }
func isUploadType(s string) bool { return s == "Attachment" || s == "Thumbnail" }

// isFlag takes what the client writes for a bool (flow-protocol §3.1).
func isFlag(s string) bool { return isOn(s) || s == "False" || s == "0" }

func isOn(s string) bool { return s == "True" || s == "1" }

func isID(s string) bool { return isCount(s, maxID) }

func isPart(s string) bool { return isCount(s, maxPart) }

// isCount takes a number from 1 in its one spelling: a leading zero is octal to
// some.
func isCount(s string, most int64) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n > 0 && n <= most && s[0] != '0' && s[0] != '+'
}

// target is one entity as share_thumbnail writes it.
type target struct {
	typ string
	id  int64
}

// readTarget reads Type_id. Types may have an underscore themselves.
func readTarget(s string) (target, bool) {
	i := strings.LastIndexByte(s, '_')
	if i < 0 || !IsTypeName(s[:i]) || !isID(s[i+1:]) {
		return target{}, false
	}
	id, err := strconv.ParseInt(s[i+1:], 10, 64)
	return target{s[:i], id}, err == nil
}

func readTargets(s string) ([]target, error) {
	if n := strings.Count(s, ",") + 1; n > MaxTargets {
		return nil, shape("entities names more than " + strconv.Itoa(MaxTargets))
	}
	var all []target
	for one := range strings.SplitSeq(s, ",") {
		t, ok := readTarget(one)
		if !ok {
			return nil, shape("entities is not a list of Type_id")
		}
		all = append(all, t)
	}
	return all, nil
}

// The fields that files without a field of their own end up in.
const (
	fieldAttachments = "attachments"     // of the record itself
	fieldImage       = "image"           // its thumbnail
	fieldFilmstrip   = "filmstrip_image" // its filmstrip
)

// fileField is the field that a field_name means. Thumbnails have two names
// each (flow-protocol §3.2).
func fileField(name string) string {
	switch name {
	case "":
		return fieldAttachments
	case "thumb_image":
		return fieldImage
	case "filmstrip_thumb_image":
		return fieldFilmstrip
	}
	return name
}

// thumbField is the field of a thumbnail.
func thumbField(filmstrip bool) string {
	if filmstrip {
		return fieldFilmstrip
	}
	return fieldImage
}

// linkedFields lists every field that api_link_file may fill. It names none for
// a thumbnail: what tells it from an attachment of the record is line 4 of the
// answer that it repeats. Where that line says neither, both are meant.
func linkedFields(field string, filmstrip bool, info string) []string {
	kind := infoLine(info, 3)
	thumb := kind == "Thumbnail"
	var fields []string
	if field != "" {
		fields = append(fields, fileField(field))
	}
	if filmstrip {
		fields = append(fields, fieldFilmstrip)
	}
	if thumb && !filmstrip || field == "" && !isUploadType(kind) {
		fields = append(fields, fieldImage)
	}
	if field == "" && !thumb {
		fields = append(fields, fieldAttachments)
	}
	return fields
}

// infoLine is one line of an upload_link_info, from 0.
func infoLine(info string, n int) string {
	for line := range strings.SplitSeq(info, "\n") {
		if n == 0 {
			return line
		}
		n--
	}
	return ""
}

// linkBack puts the storage link of an upload_link_info, its second line, back
// to what the site gave out. All else stays as it is, byte for byte.
func linkBack(info string, l *Links) string {
	if l == nil {
		return info
	}
	first, rest, ok := strings.Cut(info, "\n")
	if !ok {
		return info
	}
	link, rest, more := strings.Cut(rest, "\n")
	link = first + "\n" + l.Back(link)
	if more {
		link += "\n" + rest
	}
	return link
}
