package main

import (
	"fmt"
	"strings"
)

// script is the one that every call is made by.
const script = "comp-publisher"

// read is the call that shotgun_api3 3.10 sends, byte for byte, for
//
//	sg.find("Shot", [["project", "is", {"type": "Project", "id": 65}]], ["code", "sg_status_list"])
//
// with this key.
func read(key string) string {
	return `{"method_name": "read", "params": [{"script_name": "` + script + `", "script_key": "` + key + `"}, ` +
		`{"type": "Shot", "return_fields": ["code", "sg_status_list"], ` +
		`"filters": {"logical_operator": "and", "conditions": [{"path": "project", "relation": "is", "values": [{"id": 65, "type": "Project"}]}]}, ` +
		`"return_only": "active", "paging": {"entities_per_page": 500, "current_page": 1}, ` +
		`"api_return_image_urls": true, "return_paging_info_without_counts": true}]}`
}

// placeholder is the key that a tool sends where the proxy puts the key in.
const placeholder = "x"

// shots is how many the answer tells of: about 1 KB.
const shots = 15

// answer is the site's answer to read.
func answer() string {
	rows := make([]string, shots)
	states := []string{"ip", "fin", "wtg"}
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"type":"Shot","id":%d,"code":"bunny_%03d_%04d","sg_status_list":"%s"}`, 1172+i, 10+i/10, 10*(i+1), states[i%len(states)])
	}
	return `{"results":{"entities":[` + strings.Join(rows, ",") + `],"paging_info":{"has_next_page":false}}}`
}
