// Package schema keeps what a site's schema says of types and fields: enough to
// tell whether a rule names something that is there.
//
// It makes no calls and decides nothing. A [Snapshot] holds names only, never a
// value or an id of the site, so that it may lie in a repository beside the
// configuration.
package schema

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"stagedoor/flow"
)

// Bounds of a snapshot: several times what the largest site has.
const (
	MaxFile   = 32 << 20 // bytes, of the file and of the site's answer
	MaxTypes  = 4096
	MaxFields = 1 << 18 // of all types together
	MaxLinks  = 1 << 20 // of all fields together: types that one may link to
	maxName   = 256     // bytes
)

// Snapshot is the schema of a site at one time.
type Snapshot struct {
	Site   string          // https://host, as the configuration has it
	Pulled time.Time       // in UTC, whole seconds
	Types  map[string]Type // by name, as rules write it
}

// Type is an entity type.
type Type struct {
	Fields map[string]Field // by name
}

// Field is what a field holds.
type Field struct {
	DataType   string   // the site's word: text, entity, multi_entity, status_list
	ValidTypes []string // what it may link to, sorted; none where it links to nothing
}

// file is a snapshot as it lies on disk:
//
//	{
//	  "site": "https://acme.shotgrid.autodesk.com",
//	  "pulled": "2026-11-20T08:30:00Z",
//	  "types": {
//	    "Shot": {
//	      "code": {"data_type": "text"},
//	      "project": {"data_type": "entity", "valid_types": ["Project"]}
//	    }
//	  }
//	}
type file struct {
	Site   string                          `json:"site"`
	Pulled time.Time                       `json:"pulled"`
	Types  map[string]map[string]fileField `json:"types"`
}

type fileField struct {
	DataType   string   `json:"data_type"`
	ValidTypes []string `json:"valid_types,omitempty"`
}

// Read reads the snapshot at path. It is strict: what it does not know is an
// error. The error wraps [fs.ErrNotExist] where there is no file.
func Read(path string) (*Snapshot, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the schema of the site: %w", err)
	}
	s, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading the schema of the site: %s: %w", path, err)
	}
	return s, nil
}

func readFile(path string) (_ []byte, err error) {
	if st, serr := os.Stat(path); serr == nil && !st.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("this is no file")} // opening a pipe would wait for its other end
	}
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1)) //nolint:forbidigo // bounded; Parse refuses what is longer
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Parse reads a snapshot from the content of its file.
func Parse(data []byte) (*Snapshot, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("longer than %d bytes", MaxFile)
	}
	var f file
	if err := json.Unmarshal(data, &f, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("this is no snapshot: %w", err)
	}
	if f.Site == "" || f.Pulled.IsZero() || len(f.Types) == 0 {
		return nil, errors.New("this is no snapshot: site, pulled and types belong in it")
	}
	s := &Snapshot{Site: f.Site, Pulled: f.Pulled.UTC(), Types: map[string]Type{}}
	for name, fields := range f.Types {
		t := Type{Fields: map[string]Field{}}
		for field, v := range fields {
			t.Fields[field] = Field(v)
		}
		s.Types[name] = t
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	return s, nil
}

// check holds a snapshot to its bounds, and to what names are.
func (s *Snapshot) check() error {
	fields, links := 0, 0
	if len(s.Types) > MaxTypes {
		return fmt.Errorf("more than %d types", MaxTypes)
	}
	for typ, t := range s.Types {
		if !flow.IsTypeName(typ) || len(typ) > maxName {
			return errors.New("a type has a name that is none")
		}
		fields += len(t.Fields)
		for name, f := range t.Fields {
			links += len(f.ValidTypes)
			if err := f.check(typ, name); err != nil {
				return err
			}
		}
	}
	if fields > MaxFields || links > MaxLinks {
		return fmt.Errorf("more than %d fields, or %d links", MaxFields, MaxLinks)
	}
	return nil
}

func (f Field) check(typ, name string) error {
	if !flow.IsName(name) || len(name) > maxName || !flow.IsName(f.DataType) || len(f.DataType) > maxName {
		return fmt.Errorf("a field of %s, or its data type, has a name that is none", typ)
	}
	for _, v := range f.ValidTypes {
		if !flow.IsTypeName(v) || len(v) > maxName {
			return fmt.Errorf("%s.%s links to what is no type", typ, name)
		}
	}
	return nil
}

// apiField is a field in the answer to schema_read; the site tells much more.
type apiField struct {
	DataType struct {
		Value string `json:"value"`
	} `json:"data_type"`
	Properties struct {
		ValidTypes struct {
			Value []string `json:"value"`
		} `json:"valid_types"`
	} `json:"properties"`
}

// FromAPI3 makes a snapshot of the results of schema_read: types by name, fields
// by name. Names that no rule could write are left out.
func FromAPI3(site string, pulled time.Time, results []byte) (*Snapshot, error) {
	if len(results) > MaxFile {
		return nil, fmt.Errorf("reading the answer to schema_read: longer than %d bytes", MaxFile)
	}
	var types map[string]map[string]apiField
	if err := json.Unmarshal(results, &types); err != nil {
		return nil, errors.New("reading the answer to schema_read: it lists no types and fields") // the error would quote the site's words
	}
	s := &Snapshot{Site: site, Pulled: pulled.UTC().Truncate(time.Second), Types: map[string]Type{}}
	for name, fields := range types {
		if !flow.IsTypeName(name) || len(name) > maxName {
			continue
		}
		t := Type{Fields: map[string]Field{}}
		for field, f := range fields {
			if flow.IsName(field) && len(field) <= maxName && flow.IsName(f.DataType.Value) {
				t.Fields[field] = Field{f.DataType.Value, links(f.Properties.ValidTypes.Value)}
			}
		}
		s.Types[name] = t
	}
	if len(s.Types) == 0 {
		return nil, errors.New("reading the answer to schema_read: it lists no types")
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("reading the answer to schema_read: %w", err)
	}
	return s, nil
}

// links are the types among words, sorted, each once.
func links(words []string) []string {
	out := slices.Clone(words)
	out = slices.DeleteFunc(out, func(w string) bool { return !flow.IsTypeName(w) || len(w) > maxName })
	slices.Sort(out)
	return slices.Compact(out)
}

// Bytes is the snapshot as its file holds it: sorted, a field a line, so that a
// comparison of two shows what changed.
func (s *Snapshot) Bytes() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "{\n  \"site\": %s,\n  \"pulled\": %q,\n  \"types\": {", text(s.Site), s.Pulled.UTC().Format(time.RFC3339))
	for i, typ := range slices.Sorted(maps.Keys(s.Types)) {
		fields := s.Types[typ].Fields
		fmt.Fprintf(&b, "%s\n    %s: {", comma(i), text(typ))
		for j, name := range slices.Sorted(maps.Keys(fields)) {
			f := fields[name]
			fmt.Fprintf(&b, "%s\n      %s: {\"data_type\": %s", comma(j), text(name), text(f.DataType))
			for k, v := range f.ValidTypes {
				if k == 0 {
					b.WriteString(", \"valid_types\": [")
				} else {
					b.WriteString(", ")
				}
				b.WriteString(text(v))
			}
			if len(f.ValidTypes) > 0 {
				b.WriteByte(']')
			}
			b.WriteByte('}')
		}
		if len(fields) > 0 {
			b.WriteString("\n    ")
		}
		b.WriteByte('}')
	}
	b.WriteString("\n  }\n}\n")
	return []byte(b.String())
}

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

// text quotes a text, in which invalid UTF-8 would have been refused before.
func text(s string) string {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		return `""`
	}
	return string(b)
}

// mode is the mode of a snapshot: it holds names of the site, which are no
// secret to who works there.
const mode = 0o644

// Write writes the snapshot to path, as a whole or not at all.
func (s *Snapshot) Write(path string) (err error) {
	fail := func(err error) error { return fmt.Errorf("writing the schema of the site: %w", err) }
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fail(err)
	}
	_, err = f.Write(s.Bytes())
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fail(errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// Change is a difference between two snapshots.
type Change struct {
	Kind        string // "+" is new, "-" is gone, "~" is another kind of field
	Type, Field string // Field is empty where it is the type as a whole
	Was, Is     string // data types; of a type as a whole, empty
}

// String is the change on one line: "+ Shot.sg_cut_in (number)".
func (c Change) String() string {
	name := c.Kind + " " + c.Type
	if c.Field == "" {
		return name
	}
	name += "." + c.Field
	switch c.Kind {
	case "+":
		return name + " (" + c.Is + ")"
	case "-":
		return name + " (" + c.Was + ")"
	}
	return name + " (" + c.Was + ", now " + c.Is + ")"
}

// Changes lists what differs from before, sorted by type and field. The fields of
// a type that is new or gone are not listed. before may be nil: all is new.
func (s *Snapshot) Changes(before *Snapshot) (out []Change) {
	if before == nil {
		before = &Snapshot{}
	}
	for typ, t := range s.Types {
		old, ok := before.Types[typ]
		if !ok {
			out = append(out, Change{Kind: "+", Type: typ})
			continue
		}
		out = append(out, fieldChanges(typ, t, old)...)
	}
	for typ := range before.Types {
		if _, ok := s.Types[typ]; !ok {
			out = append(out, Change{Kind: "-", Type: typ})
		}
	}
	slices.SortFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Field, b.Field))
	})
	return out
}

func fieldChanges(typ string, t, old Type) (out []Change) {
	for name, f := range t.Fields {
		was, ok := old.Fields[name]
		switch {
		case !ok:
			out = append(out, Change{"+", typ, name, "", f.kind()})
		case was.kind() != f.kind():
			out = append(out, Change{"~", typ, name, was.kind(), f.kind()})
		}
	}
	for name, f := range old.Fields {
		if _, ok := t.Fields[name]; !ok {
			out = append(out, Change{"-", typ, name, f.kind(), ""})
		}
	}
	return out
}

// kind is a field's data type and what it links to.
func (f Field) kind() string {
	return strings.TrimSpace(f.DataType + " " + strings.Join(f.ValidTypes, "|"))
}
