package flowsite

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// File is what the site knows of a file that was uploaded or put in.
type File struct {
	Name, ContentType string
	Size              int64
	SHA256            string // hex
}

// blob is a file with its contents, where those are kept.
type blob struct {
	File
	tag      string // its ETag
	data     []byte // nil: not kept
	made     bool   // the bytes are computed: a large file
	modified time.Time
}

// kept says whether the contents can be sent.
func (b *blob) kept() bool { return b.made || int64(len(b.data)) == b.Size }

func (b *blob) content() io.ReaderAt {
	if b.made {
		return pattern(b.Size)
	}
	return bytes.NewReader(b.data)
}

// intake takes a stream in: its size and sum, and its bytes where they are
// to be kept.
type intake struct {
	size int64
	sum  hash.Hash
	data []byte
	keep bool
}

// newIntake keeps the bytes of a stream of at most length bytes, if the site
// still has room for them.
func (s *Site) newIntake(length int64) *intake {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &intake{sum: sha256.New(), keep: length <= s.opts.KeepFiles-s.keptBytes}
}

func (in *intake) Write(b []byte) (int, error) {
	in.size += int64(len(b))
	_, _ = in.sum.Write(b) // never fails
	if in.keep {
		in.data = append(in.data, b...)
	}
	return len(b), nil
}

// blobLocked is the stream as a file, unless the room went elsewhere.
func (s *Site) blobLocked(in *intake, name, contentType string) *blob {
	b := &blob{
		File:     File{Name: name, ContentType: contentType, Size: in.size, SHA256: hex.EncodeToString(in.sum.Sum(nil))},
		modified: s.opts.Now().UTC().Truncate(time.Second),
	}
	b.tag = tagOf(b.SHA256)
	if in.keep && s.keptBytes+in.size <= s.opts.KeepFiles {
		b.data = in.data
		s.keptBytes += in.size
	}
	return b
}

func tagOf(sum string) string { return `"` + sum[:32] + `"` }

// attachment is the value of a file field: what a read shows of it, but for
// the link, which is made when it is shown.
func attachment(id int, b *blob, name string) map[string]any {
	return map[string]any{
		"type": "Attachment", "id": number(id), "name": name, "content_type": b.ContentType, "link_type": "upload",
	}
}

// attach makes the Attachment row of a file and keeps the file.
func (c *ctx) attach(b *blob, to *entity, f *uploadForm) (*entity, error) {
	t := c.state.schema.types["Attachment"]
	if t == nil {
		return nil, bad("API %s() this site has no type Attachment", c.method)
	}
	id := c.state.last[t.key] + 1
	name := orDefault(f.fields["display_name"], b.Name)
	values := map[string]any{
		"created_at": c.stamp(), "created_by": c.who.actor, "updated_at": c.stamp(), "updated_by": c.who.actor,
		"display_name": name, "filename": b.Name, "file_size": number(int(b.Size)),
		"file_extension": strings.TrimPrefix(filepath.Ext(b.Name), "."), "this_file": attachment(id, b, name),
	}
	if v := f.fields["created_at"]; v != "" {
		at, err := clientTime(v)
		if err != nil {
			return nil, bad("API %s() created_at %s", c.method, v)
		}
		values["created_at"] = at.Format(dateTime)
	}
	if p, ok := to.project(); ok {
		values["project"] = p
	}
	if t.fields["attachment_links"].links(to.typ.key) {
		values["attachment_links"] = []link{to.link()}
	}
	if tags := f.fields["tag_list"]; tags != "" {
		values["tags"] = c.tags(tags)
	}
	a := &entity{typ: t, id: id, values: values}
	c.state.put(a)
	c.event(a, "New", map[string]any{"type": "new_entity", "entity_type": t.key, "entity_id": id}, "")
	c.state.files[id] = b
	return a, nil
}

// clientTime reads the two forms that clients send (3.10.3): isoformat(), and
// the text of a datetime.
func clientTime(v string) (time.Time, error) {
	var first error
	for _, form := range words("2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05") {
		t, err := time.Parse(form, v)
		if err == nil {
			return t.UTC(), nil
		}
		first = errors.Join(first, err)
	}
	return time.Time{}, first
}

// tags finds the Tag rows of a list of names, and makes those missing.
func (c *ctx) tags(list string) []link {
	t := c.state.schema.types["Tag"]
	var out []link
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name == "" || t == nil {
			continue
		}
		id := c.findLocked("Tag", "name", name)
		if id == 0 {
			id = c.state.last["Tag"] + 1
			c.state.put(&entity{typ: t, id: id, values: map[string]any{"name": name, "created_at": c.stamp(), "created_by": c.who.actor}})
		}
		out = append(out, link{"Tag", id})
	}
	return out
}

// set writes one field of a row with its event, and who did it.
func (c *ctx) set(e *entity, f *field, v any, mode string) {
	e = c.apply(e, change{f, v, mode})
	c.state.put(e.with(map[string]any{"updated_at": c.stamp(), "updated_by": c.who.actor}))
}

// AddFile puts a file in as an Attachment named name, with no event, and
// gives its id.
func (s *Site) AddFile(name, contentType string, data []byte) int {
	in := &intake{sum: sha256.New(), keep: true}
	_, _ = in.Write(data) // never fails
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.blobLocked(in, name, contentType)
	b.data = data // what a test puts in is kept whatever the bound
	return s.addLocked(b)
}

func (s *Site) addLocked(b *blob) int {
	id := s.state.last["Attachment"] + 1
	s.seedLocked("Attachment", id, map[string]any{"display_name": b.Name, "filename": b.Name})
	e := s.state.get(link{"Attachment", id})
	// Not through Seed: the size may be over what a number field takes.
	s.state.put(e.with(map[string]any{"this_file": attachment(id, b, b.Name), "file_size": number(int(b.Size))}))
	s.state.files[id] = b
	return id
}

// File tells what the site knows of an Attachment's file; false where it has
// none.
func (s *Site) File(id int) (File, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.state.files[id]
	if b == nil {
		return File{}, false
	}
	return b.File, true
}

// FileData is the contents of an Attachment's file; nil where they aren't
// kept.
func (s *Site) FileData(id int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.state.files[id]; b != nil {
		return b.data
	}
	return nil
}

// Aborted counts uploads that broke off before they were complete. They leave
// nothing.
func (s *Site) Aborted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.aborted
}
