package flow

import (
	"strconv"
	"strings"
)

// Words that stand for a type in rules about files that name no entity.
const (
	ImagesWord = "images" // the site's own pictures: /images/..., /thumbnail/api_image/...
	FilesWord  = "files"  // stored files by their place: /files/...
)

// Download is a request for one of the site's files (flow-protocol §4.1).
type Download struct {
	Carried

	Call Call

	path, query string
}

// ParseDownload reads a path, escaped as it was sent, and its query string.
// Which paths there are is the router's business; what they name is read here.
func ParseDownload(path, query string) (*Download, error) {
	d := &Download{Call: Call{Kind: KindDownload, Method: "download", Group: GroupDownload}, path: path}
	if query != "" {
		pairs, err := ReadQuery(query)
		if err != nil {
			return nil, at(err, "the query string", d.Call.Method)
		}
		for _, p := range pairs {
			if !isFileQuery(p.Name) {
				return nil, &ParseError{Flaw: FlawShape, Method: d.Call.Method, Msg: "the query string has a name that links to files do not: " + quoteName(p.Name)}
			}
		}
		d.query = string(AppendQuery(nil, pairs))
	}
	s := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for _, part := range s {
		if part == "" || part == "." || part == ".." {
			return nil, &ParseError{Flaw: FlawShape, Method: d.Call.Method, Msg: "the path has an empty or a dotted part"}
		}
	}
	switch {
	case len(s) >= 3 && s[0] == "file_serve" && s[1] == "attachment":
		return d.of("Attachment", "", s[2])
	case len(s) >= 3 && s[0] == "file_serve" && s[1] == "version":
		return d.of("Version", "sg_uploaded_movie", s[2])
	case len(s) == 4 && s[0] == "thumbnail" && IsTypeName(s[2]):
		return d.of(s[2], "image", s[3])
	case len(s) >= 2 && (s[0] == "images" || s[0] == "thumbnail" && s[1] == "api_image"):
		return d.of(ImagesWord, "", "")
	case len(s) >= 2 && s[0] == "files":
		return d.of(FilesWord, "", "")
	}
	return nil, &ParseError{Flaw: FlawShape, Method: d.Call.Method, Msg: "the path names no file of the site"}
}

// isFileQuery knows what the site's own links to pictures carry. Any other name
// may say which file is meant, and be read before the path.
func isFileQuery(name string) bool {
	switch name {
	case "AccessKeyId", "AWSAccessKeyId", "Expires", "Signature", "v":
		return true
	}
	return false
}

func (d *Download) of(typ, field, id string) (*Download, error) {
	if id != "" {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n <= 0 || id[0] == '0' || d.query != "" {
			return nil, &ParseError{Flaw: FlawShape, Method: d.Call.Method, Msg: "the path's id is no number, or a query string stands beside it"}
		}
		d.Call.ID = n
	}
	d.Call.Type = typ
	d.Call.isAbout(typ, d.Call.ID)
	d.Call.Touches = []Touch{{Type: typ, Field: field, Use: UseDownload}}
	return d, nil
}

// Target is the path and query to send.
func (d *Download) Target() string {
	if d.query == "" {
		return d.path
	}
	return d.path + "?" + d.query
}
