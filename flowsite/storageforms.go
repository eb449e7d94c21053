package flowsite

import (
	"maps"
	"strconv"
	"strings"
)

// storageForms are the form calls of a direct upload (flow-protocol §3.3).
func storageForms() map[string]formSpec {
	upload := words("upload_type", "filename", "timestamp", "upload_id")
	return map[string]formSpec{
		"api_get_upload_link_info": {
			must: words("upload_type", "filename", "multipart_upload"), may: words("created_at"), run: (*ctx).uploadLinkInfo,
		},
		"api_get_upload_link_for_part":  {must: append(words("part_number"), upload...), run: (*ctx).uploadLinkForPart},
		"api_complete_multipart_upload": {must: append(words("etags"), upload...), run: (*ctx).completeMultipart},
		"api_link_file": {
			must: words("entity_type", "entity_id", "upload_link_info"),
			may:  words("filmstrip", "field_name", "display_name", "tag_list", "created_at"), run: (*ctx).linkUploaded,
		},
	}
}

// allForms is the table of flow-protocol §3.2, whole.
func allForms() map[string]formSpec {
	all := forms()
	maps.Copy(all, storageForms())
	return all
}

func (c *ctx) uploadLinkInfo(f *uploadForm) (string, error) {
	if err := c.mayMethod(); err != nil {
		return "", err
	}
	u, err := c.beginUpload(f.fields["upload_type"], f.fields["filename"], f.fields["multipart_upload"] == "True", f.fields["created_at"])
	if err != nil {
		return "", err
	}
	u.info = strings.Join(words("1", c.putLink(u, 1), u.timestamp, u.kind, u.id, ""), "\n")
	return u.info, nil
}

// openUpload is the upload that a form is about; all that names it must agree.
func (c *ctx) openUpload(f *uploadForm) (*storageUpload, error) {
	if err := c.mayMethod(); err != nil {
		return nil, err
	}
	u := c.uploads[f.fields["upload_id"]]
	if u == nil || !u.multipart || u.complete || u.kind != f.fields["upload_type"] || u.filename != f.fields["filename"] || u.timestamp != f.fields["timestamp"] {
		return nil, bad("API %s() there is no such upload in parts", c.method)
	}
	return u, nil
}

func (c *ctx) uploadLinkForPart(f *uploadForm) (string, error) {
	u, err := c.openUpload(f)
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(f.fields["part_number"])
	if err != nil || n < 1 || n > maxPart {
		return "", bad("API %s() part_number %s", c.method, f.fields["part_number"])
	}
	return "1\n" + c.putLink(u, n) + "\n", nil
}

func (c *ctx) completeMultipart(f *uploadForm) (string, error) {
	u, err := c.openUpload(f)
	if err != nil {
		return "", err
	}
	if err := c.completeUpload(u, strings.Split(f.fields["etags"], ",")); err != nil {
		return "", err
	}
	return "1\n", nil
}

// linkUploaded makes an Attachment of what was uploaded. upload_link_info must
// be the first answer, unchanged.
func (c *ctx) linkUploaded(f *uploadForm) (string, error) {
	lines := strings.Split(f.fields["upload_link_info"], "\n")
	if len(lines) < 5 || c.uploads[lines[4]] == nil {
		return "", bad("API %s() there is no such upload", c.method)
	}
	u := c.uploads[lines[4]]
	if !c.sameInfo(u, f.fields["upload_link_info"]) {
		return "", bad("API %s() upload_link_info was changed", c.method)
	}
	e, err := c.formRow(f)
	if err != nil {
		return "", err
	}
	if f.blob, err = c.uploadedBlob(u); err != nil {
		return "", err
	}
	link := c.linkFile
	if u.kind == "Thumbnail" {
		link = c.linkThumbnail
	}
	id, err := link(e, f)
	if err != nil {
		return "", err
	}
	u.linked = true
	c.forget(u)
	return done(id, f.fields["display_name"]), nil
}

func (c *ctx) linkThumbnail(e *entity, f *uploadForm) (int, error) {
	if f.fields["filmstrip"] != "" {
		return c.setImage(e, f, "filmstrip_image")
	}
	return c.setImage(e, f, "image")
}

// sameInfo: what follows the site's own lines is echo, which a proxy changes.
func (c *ctx) sameInfo(u *storageUpload, text string) bool {
	if c.opts.Echo {
		return strings.HasPrefix(text, u.info)
	}
	return text == u.info
}
