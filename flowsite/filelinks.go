package flowsite

import (
	"maps"
	"strconv"
)

// SetURL changes what the site says is its own address in answers; "" puts
// back that of the options. Give it the URL of the Server that clients call.
func (s *Site) SetURL(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url = orDefault(url, s.opts.URL)
}

// imageLink is the URL of an image as a read shows it (flow-protocol §4.1).
func (c *ctx) imageLink(at string) string {
	if c.state.images[at].pending {
		at = pendingImage
	}
	return c.url + "/images/" + at
}

// withLink is the value of a file field as a read shows it.
func (c *ctx) withLink(v map[string]any) any {
	id, ok := uploaded(v)
	if _, verbatim := v["url"]; !ok || verbatim {
		return v
	}
	out := maps.Clone(v)
	out["url"] = c.fileLink(id)
	return out
}

func (c *ctx) fileLink(id int) string {
	return c.url + "/file_serve/attachment/" + strconv.Itoa(id)
}

// uploaded is the Attachment of a file that was uploaded, and not linked.
func uploaded(v map[string]any) (int, bool) {
	id, ok := toInt(v["id"])
	return id, ok && v["link_type"] == "upload" && v["type"] == "Attachment"
}
