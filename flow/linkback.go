package flow

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Links of ours in what a tool writes. The same for all ways in: a member named
// url at any depth of a written value, and the whole value of a field that is a
// picture's ([IsImageField]), whatever link_type says: the proxy's origin means
// nothing to the site.

// linkMember names the link in the value of a file field.
const linkMember = "url"

// IsImageField says whether a field's value is, as a whole, a link to a picture
// of the site's. A dotted path counts as its last field.
func IsImageField(name string) bool {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "image", "filmstrip_image", "thumb_image", "filmstrip_thumb_image", "thumbnail", "filmstrip_thumbnail":
		return true
	}
	return false
}

// writtenValue reads the value of a field that is written, as [walker.value]
// does, and turns back the links in it. Where it is a string, it says where that
// stands in out: [walker.linkBack] turns it back once the field is known.
func (w *walker) writtenValue(link func(typ string) error) (at span, err error) {
	if w.dec.PeekKind() == '"' {
		at.start = len(w.out)
		_, err = w.scalar()
		at.end = len(w.out)
		return at, err
	}
	w.written = w.links != nil
	err = w.value(link)
	w.written = false
	return at, err
}

// linkBack turns back the string that stands at a place of out, if it is the
// whole value of a picture's field.
func (w *walker) linkBack(field string, at span) {
	if w.links == nil || at.end == at.start || !IsImageField(field) {
		return
	}
	if quoted, ok := w.links.quotedBack(w.out[at.start:at.end]); ok {
		tail := string(w.out[at.end:])
		w.out = append(append(w.out[:at.start], quoted...), tail...)
	}
}

// writtenLink reads the value of a member named url in written data.
func (w *walker) writtenLink(link func(typ string) error) error {
	if w.dec.PeekKind() != '"' {
		return w.value(link)
	}
	start := len(w.out)
	if _, err := w.scalar(); err != nil {
		return err
	}
	if quoted, ok := w.links.quotedBack(w.out[start:]); ok {
		w.out = append(w.out[:start], quoted...)
	}
	return nil
}

// quotedBack turns a link in a JSON string back; ok is false where it stays.
func (l *Links) quotedBack(v jsontext.Value) (out []byte, ok bool) {
	u, ok := unquote(v)
	if !ok {
		return nil, false
	}
	back := l.Back(u)
	if back == u {
		return nil, false
	}
	return appendQuoted(nil, back), true
}
