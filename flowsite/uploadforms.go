package flowsite

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// formSpec is one form call: what it may hold and what it does.
type formSpec struct {
	must, may []string
	file      string // the name of the file part; "": url-encoded
	run       func(*ctx, *uploadForm) (string, error)
}

// forms is the table of flow-protocol §3.2, by the path's last element.
func forms() map[string]formSpec {
	return map[string]formSpec{
		"upload_file": {
			must: words("entity_type", "entity_id", "display_name"), may: words("field_name", "tag_list", "created_at"),
			file: "file", run: (*ctx).uploadFile,
		},
		"publish_thumbnail": {
			must: words("entity_type", "entity_id"), may: words("filmstrip"), file: "thumb_image", run: (*ctx).publishThumbnail,
		},
		"share_thumbnail": {must: words("entities", "source_entity", "filmstrip_thumbnail"), run: (*ctx).shareThumbnail},
	}
}

// formRow is the row that entity_type and entity_id name.
func (c *ctx) formRow(f *uploadForm) (*entity, error) {
	return c.rowOf(f.fields["entity_type"], f.fields["entity_id"], true)
}

func (c *ctx) rowOf(typ, idText string, write bool) (*entity, error) {
	t, err := c.typeOf(typ, write)
	if err != nil {
		return nil, err
	}
	id, err := strconv.Atoi(idText)
	if err != nil {
		return nil, bad("API %s() id %q", c.method, idText)
	}
	return c.live(link{t.key, id}, write)
}

// done is the answer of §3.4: the client takes the id from it.
func done(id int, name string) string { return fmt.Sprintf("1:%d\n%s\n", id, name) }

// uploadFile makes an Attachment of the file and links it.
func (c *ctx) uploadFile(f *uploadForm) (string, error) {
	e, err := c.formRow(f)
	if err != nil {
		return "", err
	}
	id, err := c.linkFile(e, f)
	if err != nil {
		return "", err
	}
	return done(id, f.fields["display_name"]), nil
}

// linkFile puts f.blob where the form says: in a file field, in an image
// field, or among the record's attachments.
func (c *ctx) linkFile(e *entity, f *uploadForm) (int, error) {
	name := f.fields["field_name"]
	if name == "" {
		return c.attachTo(e, f)
	}
	if v, ok := thumbnailFields()[name]; ok {
		return c.setImage(e, f, v)
	}
	fd := e.typ.fields[name]
	switch {
	case fd == nil:
		return 0, bad("API %s() %s.%s doesn't exist", c.method, e.typ.key, name)
	case fd.Type != "url":
		return 0, bad("API %s() %s.%s is no file field", c.method, e.typ.key, name)
	}
	if err := c.mayField(fd, true); err != nil {
		return 0, err
	}
	if e.typ.key == "Attachment" {
		c.replaceFile(e, fd, f)
		return e.id, nil
	}
	a, err := c.attach(f.blob, e, f)
	if err != nil {
		return 0, err
	}
	c.set(c.state.get(e.link()), fd, a.values["this_file"], "set")
	return a.id, nil
}

// replaceFile gives an Attachment another file.
func (c *ctx) replaceFile(e *entity, fd *field, f *uploadForm) {
	c.state.files[e.id] = f.blob
	e = e.with(map[string]any{"filename": f.blob.Name, "file_size": number(int(f.blob.Size))})
	c.state.put(e)
	c.set(e, fd, attachment(e.id, f.blob, orDefault(f.fields["display_name"], f.blob.Name)), "set")
}

// thumbnailFields are the names that mean a picture (§3.2).
func thumbnailFields() map[string]string {
	return map[string]string{
		"thumb_image": "image", "image": "image", "filmstrip_thumb_image": "filmstrip_image", "filmstrip_image": "filmstrip_image",
	}
}

// attachTo adds the file to the record's attachments, where its type has such
// a field; the Attachment's own links say it in any case.
func (c *ctx) attachTo(e *entity, f *uploadForm) (int, error) {
	fd := e.typ.fields["attachments"]
	if fd != nil {
		if err := c.mayField(fd, true); err != nil {
			return 0, err
		}
	}
	a, err := c.attach(f.blob, e, f)
	if err != nil {
		return 0, err
	}
	if fd != nil && fd.isMulti() {
		c.set(c.state.get(e.link()), fd, []link{a.link()}, "add")
	}
	return a.id, nil
}

// publishThumbnail sets the image of a row, or its filmstrip.
func (c *ctx) publishThumbnail(f *uploadForm) (string, error) {
	e, err := c.formRow(f)
	if err != nil {
		return "", err
	}
	key := "image"
	if f.fields["filmstrip"] != "" {
		key = "filmstrip_image"
	}
	id, err := c.setImage(e, f, key)
	if err != nil {
		return "", err
	}
	return done(id, f.blob.Name), nil
}

func (c *ctx) imageField(e *entity, key string, write bool) (*field, error) {
	fd := e.typ.fields[key]
	if fd == nil || fd.Type != "image" {
		return nil, bad("API %s() %s.%s doesn't exist", c.method, e.typ.key, key)
	}
	return fd, c.mayField(fd, write)
}

func (c *ctx) setImage(e *entity, f *uploadForm, key string) (int, error) {
	fd, err := c.imageField(e, key, true)
	if err != nil {
		return 0, err
	}
	a, err := c.attach(f.blob, e, f)
	if err != nil {
		return 0, err
	}
	// What is stored is the path below /images/.
	at := fmt.Sprintf("thumbnail/%s_%d%s", strings.ToLower(e.typ.key), a.id, filepath.Ext(f.blob.Name))
	c.state.images[at] = image{attachment: a.id, pending: c.opts.PendingThumbnails}
	c.set(c.state.get(e.link()), fd, at, "set")
	return a.id, nil
}

// shareThumbnail gives rows the image of another.
func (c *ctx) shareThumbnail(f *uploadForm) (string, error) {
	key := "image"
	if f.fields["filmstrip_thumbnail"] == "1" {
		key = "filmstrip_image"
	}
	source, err := c.namedRow(f.fields["source_entity"], false)
	if err != nil {
		return "", err
	}
	from, err := c.imageField(source, key, false)
	if err != nil {
		return "", err
	}
	at, _ := c.state.value(source, from).(string)
	img := c.state.images[at]
	if img.pending {
		return "2:the thumbnail is still being made\n", nil
	}
	for name := range strings.SplitSeq(f.fields["entities"], ",") {
		e, err := c.namedRow(name, true)
		if err != nil {
			return "", err
		}
		to, err := c.imageField(e, key, true)
		if err != nil {
			return "", err
		}
		var v any
		if at != "" {
			v = at
		}
		c.set(e, to, v, "set")
	}
	if img.attachment == 0 {
		return "1:\n", nil // no picture, or one that was no upload
	}
	return done(img.attachment, ""), nil
}

// namedRow reads Type_id, split at the last underscore (§3.2).
func (c *ctx) namedRow(text string, write bool) (*entity, error) {
	at := strings.LastIndexByte(text, '_')
	if at < 1 || !isWholeText(text[at+1:]) {
		return nil, bad("API %s() %q names no entity", c.method, text)
	}
	return c.rowOf(text[:at], text[at+1:], write)
}
