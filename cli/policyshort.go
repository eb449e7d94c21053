package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"strconv"

	"stagedoor/flow"
)

// shortCall is a call in a few words, for fixtures. It becomes the request that
// shotgun_api3 would send, and is read as such.
type shortCall struct {
	// Method is an api3 method, or upload, thumbnail, download.
	Method string `yaml:"method"`
	Type   string `yaml:"type"`
	ID     int64  `yaml:"id"`
	// Fields are returned by a read, and written by a create and an update;
	// dotted paths where the method takes them.
	Fields []string `yaml:"fields"`
	// Links are written fields that name a record, by the type of that.
	Links map[string]string `yaml:"links"`
	// Filter and Sort are paths, Sums the fields of a summarize, Presets names.
	Filter  []string `yaml:"filter"`
	Sort    []string `yaml:"sort"`
	Sums    []string `yaml:"sums"`
	Presets []string `yaml:"presets"`
	// Project is what a read is filtered by, or what a write puts into the
	// record's own project field.
	Project ids `yaml:"project"`
	Page    int `yaml:"page"`
	// Field is where an upload goes, or of what a download is.
	Field string      `yaml:"field"`
	Parts []shortCall `yaml:"parts"`
}

type object = map[string]any

// anID stands for an id that decides nothing.
const anID = 1

func (s *shortCall) request(script string) (*rawRequest, error) {
	switch s.Method {
	case "upload", "thumbnail":
		return s.form(script)
	case "download":
		return s.download()
	}
	if _, ok := flow.Method(s.Method); !ok {
		return nil, fmt.Errorf("call: no method %q is known; what only REST has is written as rest", s.Method)
	}
	params := []any{object{"script_name": script, "script_key": "x"}}
	arg, err := s.argument()
	if err != nil {
		return nil, err
	}
	if arg != nil {
		params = append(params, arg)
	}
	body, err := json.Marshal(object{"method_name": s.Method, "params": params})
	if err != nil {
		return nil, fmt.Errorf("writing the call: %w", err)
	}
	return &rawRequest{method: http.MethodPost, target: "/api3/json", header: jsonHeader(), body: body}, nil
}

// argument is params[1] (flow-protocol §2.1).
func (s *shortCall) argument() (any, error) {
	record := object{"type": s.Type, "id": max(s.ID, anID)}
	switch s.Method {
	case "read":
		return s.read(), nil
	case "summarize":
		return object{"type": s.Type, "filters": s.filters(), "summaries": fieldObjects(s.Sums, "field", "type", "count")}, nil
	case "create", "update", "delete", "revive":
		return s.write(), nil
	case "batch":
		out := []any{}
		for i := range s.Parts {
			p := &s.Parts[i]
			part := p.write()
			part["request_type"] = p.Method
			out = append(out, part)
		}
		return out, nil
	case "info", "schema_read", "schema_entity_read", "preferences_read", "get_session_token", "user_subscriptions_read":
		return nil, nil //nolint:nilnil // these take none
	case "schema_field_read":
		return object{"type": s.Type}, nil
	case "schema_field_delete":
		return object{"type": s.Type, "field_name": s.Field}, nil
	case "follow", "unfollow":
		return object{"entity": record, "user": object{"type": "HumanUser", "id": anID}}, nil
	case "followers":
		return object{"entity": record}, nil
	case "note_thread_contents":
		return object{"note_id": max(s.ID, anID)}, nil
	}
	return nil, fmt.Errorf("call: %s has no short form; write it as api3", s.Method)
}

func (s *shortCall) read() object {
	arg := object{
		"type": s.Type, "return_fields": orEmpty(s.Fields), "filters": s.filters(), "return_only": "active",
		"api_return_image_urls": true, "return_paging_info_without_counts": false,
	}
	if s.Page > 0 {
		arg["paging"] = object{"entities_per_page": s.Page, "current_page": 1}
	}
	if len(s.Sort) > 0 {
		arg["sorts"] = fieldObjects(s.Sort, "field_name", "direction", "asc")
	}
	if len(s.Presets) > 0 {
		presets := []any{}
		for _, p := range s.Presets {
			presets = append(presets, object{"preset_name": p})
		}
		arg["additional_filter_presets"] = presets
	}
	return arg
}

// filters are conditions that all have to hold.
func (s *shortCall) filters() object {
	conditions := []any{}
	if len(s.Project) > 0 {
		conditions = append(conditions, s.inProjects())
	}
	for _, path := range s.Filter {
		conditions = append(conditions, object{"path": path, "relation": "is", "values": []any{"x"}})
	}
	return object{"logical_operator": "and", "conditions": conditions}
}

func (s *shortCall) inProjects() object {
	path, values := "project", []any{}
	for _, id := range s.Project {
		if s.Type == "Project" {
			path = "id"
			values = append(values, id)
			continue
		}
		values = append(values, object{"type": "Project", "id": id})
	}
	return object{"path": path, "relation": "in", "values": values}
}

func (s *shortCall) write() object {
	arg := object{"type": s.Type}
	if s.Method != "create" {
		arg["id"] = max(s.ID, anID)
	}
	if s.Method == "delete" || s.Method == "revive" {
		return arg
	}
	fields := []any{}
	write := func(name string, value any) {
		fields = append(fields, object{"field_name": name, "value": value})
	}
	for _, f := range s.Fields {
		write(f, "x")
	}
	for f, typ := range s.Links {
		write(f, object{"type": typ, "id": anID})
	}
	for _, id := range s.Project {
		write("project", object{"type": "Project", "id": id})
	}
	arg["fields"] = fields
	if s.Method == "create" {
		arg["return_fields"] = []string{"id"}
	}
	return arg
}

func fieldObjects(paths []string, key, extra, value string) []any {
	out := []any{}
	for _, p := range paths {
		out = append(out, object{key: p, extra: value})
	}
	return out
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// form is an upload of a file, or of a thumbnail.
func (s *shortCall) form(script string) (*rawRequest, error) {
	path, file := "/upload/upload_file", "file"
	fields := [][2]string{{"entity_type", s.Type}, {"entity_id", strconv.FormatInt(max(s.ID, anID), 10)}}
	switch {
	case s.Method == "thumbnail":
		path, file = "/upload/publish_thumbnail", "thumb_image"
	case s.Field != "":
		fields = append(fields, [2]string{"field_name", s.Field})
	}
	fields = append(fields, [2]string{"script_name", script}, [2]string{"script_key", "x"})
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, f := range fields {
		if err := w.WriteField(f[0], f[1]); err != nil {
			return nil, fmt.Errorf("writing the form: %w", err)
		}
	}
	if _, err := w.CreateFormFile(file, "a.file"); err != nil {
		return nil, fmt.Errorf("writing the form: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("writing the form: %w", err)
	}
	return &rawRequest{method: http.MethodPost, target: path, header: http.Header{"Content-Type": {w.FormDataContentType()}}, body: body.Bytes()}, nil
}

// download is a request for a file, by the path that the clients use.
func (s *shortCall) download() (*rawRequest, error) {
	id, path := strconv.FormatInt(max(s.ID, anID), 10), ""
	switch {
	case s.Type == "Attachment":
		path = "/file_serve/attachment/" + id
	case s.Type == "Version" && s.Field == "sg_uploaded_movie":
		path = "/file_serve/version/" + id
	case s.Type == "images", s.Type == "files":
		path = "/" + s.Type + "/a/file.jpg"
	case s.Field == "image":
		path = "/thumbnail/full/" + s.Type + "/" + id
	default:
		return nil, errors.New("call: this download has no path of its own; write it as rest")
	}
	return &rawRequest{method: http.MethodGet, target: path, header: http.Header{}}, nil
}
