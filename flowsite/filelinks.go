package flowsite

import (
	"maps"
	"strconv"
	"strings"
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
	img := c.state.images[at]
	if img.pending {
		at = pendingImage
	}
	if b := c.state.files[img.attachment]; b != nil && !img.pending && c.opts.StorageLinks && c.storageURL != "" {
		return c.getLink(img.attachment, b, nil)
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
	if b := c.state.files[id]; b != nil && c.opts.StorageLinks && c.storageURL != "" {
		return c.getLink(id, b, nil)
	}
	return c.siteLink(id)
}

func (c *ctx) siteLink(id int) string {
	return c.url + "/file_serve/attachment/" + strconv.Itoa(id)
}

// uploaded is the Attachment of a file that was uploaded, and not linked.
func uploaded(v map[string]any) (int, bool) {
	id, ok := toInt(v["id"])
	return id, ok && v["link_type"] == "upload" && v["type"] == "Attachment"
}

// ownFile recognises the value of a file field that a caller read and writes
// back: the link in it is made anew when it is shown. nil for one with any
// other link, which stays as it was written, so that a link that a proxy
// should have turned back is seen. The client 3.8.4 writes type and id
// alone.
func (c *ctx) ownFile(v map[string]any) map[string]any {
	id, ok := toInt(v["id"])
	b := c.state.files[id]
	if !ok || v["type"] != "Attachment" || b == nil {
		return nil
	}
	u, given := v["url"].(string)
	if l := c.links[strings.TrimPrefix(u, c.storageURL)]; given && u != c.siteLink(id) && (l == nil || l.file != id) {
		return nil
	}
	name, _ := v["name"].(string)
	return attachment(id, b, orDefault(name, b.Name))
}
