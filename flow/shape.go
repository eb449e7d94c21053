package flow

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// MaxShape is the longest shape of a call, in bytes. A find of 50 fields has
// 1.5 KiB; what is longer is cut, and no record of it gets out of hand.
const MaxShape = 4 << 10

// ShapeLogin stands for the login in a call that was read back from its shape:
// shapes hold no logins.
const ShapeLogin = "?"

// ShapeProject stands for the projects of a call that was read back from its
// shape: shapes hold no ids, and no project has this one.
const ShapeProject = 0

// AppendShape appends the shape of a call, as JSON: what it names, and how often,
// but no value and no id. Calls that ask for the same have the same shape, in
// whatever order they name it.
//
//	{"kind":"rpc","method":"read","type":"Version","return":["Shot.code","Version.entity"],
//	 "filter":["Version.project"],"page":500,"hops":1,"in_project":true}
//
// return, filter, sort, summary, write, link, upload and download list what is
// touched, "Type", "Type.field" or, where no type is known, ".field". records
// counts the records by type, parts holds the parts of a batch, equal ones once
// with their number n. A shape that would be longer than MaxShape is cut: it has
// "cut":true, and what it touches and its parts are left out.
func AppendShape(dst []byte, c *Call) []byte {
	start := len(dst)
	dst, ok := appendShape(dst, c, 0, start+MaxShape)
	if ok && len(dst)-start <= MaxShape {
		return dst
	}
	dst = append(dst[:start], `{"cut":true`...)
	return append(appendShapeHead(dst, c), '}')
}

// appendShape appends a call, or a part of one that stands n times. ok is false
// for one that is sure to end behind limit.
func appendShape(dst []byte, c *Call, n, limit int) (out []byte, ok bool) {
	dst = append(dst, '{')
	begin := len(dst)
	if n > 1 {
		dst = append(dst, `,"n":`...)
		dst = strconv.AppendInt(dst, int64(n), 10)
	}
	dst = appendShapeHead(dst, c)
	if 4*(len(c.Touches)+len(c.Presets)) > MaxShape { // none is shorter than "A",
		return dst, false
	}
	dst = appendTouches(dst, c.Touches)
	dst = appendNames(dst, "presets", c.Presets)
	dst = appendRecords(dst, c.Records)
	if len(c.Parts) > 0 {
		if dst, ok = appendParts(dst, c.Parts, limit); !ok {
			return dst, false
		}
	}
	if len(dst) > begin { // the first comma parts nothing
		dst = append(dst[:begin], dst[begin+1:]...)
	}
	return append(dst, '}'), len(dst) < limit
}

// appendShapeHead appends what is said of a call as a whole.
func appendShapeHead(dst []byte, c *Call) []byte {
	text := func(name, value string) {
		if value != "" {
			dst = append(append(append(dst, `,"`...), name...), `":`...)
			dst = appendQuoted(dst, value)
		}
	}
	number := func(name string, n int) {
		if n > 0 {
			dst = append(append(append(dst, `,"`...), name...), `":`...)
			dst = strconv.AppendInt(dst, int64(n), 10)
		}
	}
	is := func(name string, yes bool) {
		if yes {
			dst = append(append(append(dst, `,"`...), name...), `":true`...)
		}
	}
	text("kind", string(c.Kind))
	text("method", c.Method)
	text("type", c.Type)
	number("page", c.PageSize)
	number("hops", c.Hops)
	is("in_project", c.Projects != nil)
	is("moves", len(c.Into) > 0 || c.IntoOther)
	is("studio", c.Studio)
	is("sudo", c.SudoAsLogin != "")
	is("user", c.UserAuth)
	return dst
}

// useWords are the names of the positions in a shape, in the order of [Use].
func useWords() [UseDownload + 1]string {
	return [...]string{
		UseReturn: "return", UseFilter: "filter", UseSort: "sort", UseSummary: "summary",
		UseWrite: "write", UseLink: "link", UseUpload: "upload", UseDownload: "download",
	}
}

func appendTouches(dst []byte, touches []Touch) []byte {
	var few [shortList]Touch // most calls need no more, and no memory
	sorted := append(few[:0], touches...)
	slices.SortFunc(sorted, func(a, b Touch) int {
		return cmp.Or(int(a.Use)-int(b.Use), strings.Compare(a.Type, b.Type), strings.Compare(a.Field, b.Field))
	})
	words := useWords()
	var use Use
	for _, t := range slices.Compact(sorted) {
		if t.Use == 0 || t.Use > UseDownload {
			continue
		}
		if t.Use == use {
			dst = append(dst, ',')
		} else {
			if use != 0 {
				dst = append(dst, ']')
			}
			use = t.Use
			dst = append(append(append(dst, `,"`...), words[use]...), `":[`...)
		}
		dst = append(append(dst, '"'), t.Type...)
		if t.Field != "" {
			dst = append(append(dst, '.'), t.Field...)
		}
		dst = append(dst, '"')
	}
	if use != 0 {
		dst = append(dst, ']')
	}
	return dst
}

func appendNames(dst []byte, what string, names []string) []byte {
	if len(names) == 0 {
		return dst
	}
	dst = append(append(append(dst, `,"`...), what...), `":[`...)
	for i, n := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(dst, n)
	}
	return append(dst, ']')
}

// appendRecords counts records by type.
func appendRecords(dst []byte, records []Record) []byte {
	if len(records) == 0 {
		return dst
	}
	if only := records[0].Type; !slices.ContainsFunc(records, func(r Record) bool { return r.Type != only }) {
		dst = append(appendQuoted(append(dst, `,"records":{`...), only), ':')
		return append(strconv.AppendInt(dst, int64(len(records)), 10), '}')
	}
	var types []string
	counts := make(map[string]int)
	for _, r := range records {
		if counts[r.Type] == 0 {
			types = append(types, r.Type)
		}
		counts[r.Type]++
	}
	slices.Sort(types)
	dst = append(dst, `,"records":{`...)
	for i, typ := range types {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendQuoted(dst, typ), ':')
		dst = strconv.AppendInt(dst, int64(counts[typ]), 10)
	}
	return append(dst, '}')
}

// appendParts appends the parts of a batch, equal ones once, in the order in
// which they appear first.
func appendParts(dst []byte, parts []Call, limit int) (out []byte, ok bool) {
	type fold struct{ first, n int }
	var folds []fold
	known := make(map[string]int) // place in folds, by shape
	size := len(dst)
	var one []byte
	for i := range parts {
		if one, ok = appendShape(one[:0], &parts[i], 0, MaxShape); !ok {
			return dst, false
		}
		at, found := known[string(one)]
		if !found {
			if size += len(one); size > limit {
				return dst, false
			}
			at = len(folds)
			known[string(one)] = at
			folds = append(folds, fold{first: i})
		}
		folds[at].n++
	}
	dst = append(dst, `,"parts":[`...)
	for i, f := range folds {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, ok = appendShape(dst, &parts[f.first], f.n, limit); !ok {
			return dst, false
		}
	}
	return append(dst, ']'), true
}

// errShape is what is wrong with a text that is no shape.
var errShape = errors.New("not the shape of a call")

// shapeJSON is a shape as it is written.
type shapeJSON struct {
	Cut       bool           `json:"cut"`
	N         int            `json:"n"`
	Kind      Kind           `json:"kind"`
	Method    string         `json:"method"`
	Type      string         `json:"type"`
	Page      int            `json:"page"`
	Hops      int            `json:"hops"`
	InProject bool           `json:"in_project"`
	Moves     bool           `json:"moves"`
	Studio    bool           `json:"studio"`
	Sudo      bool           `json:"sudo"`
	User      bool           `json:"user"`
	Return    []string       `json:"return"`
	Filter    []string       `json:"filter"`
	Sort      []string       `json:"sort"`
	Summary   []string       `json:"summary"`
	Write     []string       `json:"write"`
	Link      []string       `json:"link"`
	Upload    []string       `json:"upload"`
	Download  []string       `json:"download"`
	Presets   []string       `json:"presets"`
	Records   map[string]int `json:"records"`
	Parts     []shapeJSON    `json:"parts"`
}

// ReadShape reads a shape back into a call that asks for the same. cut says that
// what it touches is not known: no decision can be taken on it. Ids and logins
// are not in a shape: records have the id 0, projects are ShapeProject, and the
// login of sudo is ShapeLogin.
func ReadShape(data []byte) (c Call, cut bool, err error) {
	if len(data) > MaxShape {
		return Call{}, false, fmt.Errorf("reading a shape: more than %d bytes", MaxShape)
	}
	var s shapeJSON
	if err := json.Unmarshal(data, &s, json.RejectUnknownMembers(true)); err != nil {
		return Call{}, false, fmt.Errorf("reading a shape: %w", errShape) // the cause may quote it
	}
	if s.N != 0 || !s.isWhole() {
		return Call{}, false, fmt.Errorf("reading a shape: %w", errShape)
	}
	if c, err = s.call(); err != nil {
		return Call{}, false, fmt.Errorf("reading a shape: %w", err)
	}
	return c, s.Cut, nil
}

// isWhole says whether what is cut is, and what is a whole has a way in.
func (s *shapeJSON) isWhole() bool {
	switch s.Kind {
	case "", KindRPC, KindUpload, KindDownload, KindREST, KindStorage:
	default:
		return false
	}
	parts := 0
	for i := range s.Parts {
		p := &s.Parts[i]
		if p.Cut || p.Kind != "" || len(p.Parts) > 0 || p.N < 0 || p.N > MaxParts {
			return false
		}
		parts += max(1, p.N)
	}
	return parts <= MaxParts
}

// call turns a shape into a call.
func (s *shapeJSON) call() (c Call, err error) {
	info, ok := shapeMethod(s.Method)
	switch {
	case !ok, s.Type != "" && !IsName(s.Type), s.Page < 0, s.Hops < 0, s.Hops > MaxReach:
		return c, errShape
	}
	c = Call{
		Kind: s.Kind, Method: s.Method, Group: info.Group, Writes: info.Writes, Type: s.Type,
		PageSize: s.Page, Hops: s.Hops, IntoOther: s.Moves, Studio: s.Studio, UserAuth: s.User, Presets: s.Presets,
	}
	if s.InProject {
		c.Projects = []int64{ShapeProject}
	}
	if s.Sudo {
		c.SudoAsLogin = ShapeLogin
	}
	if !allNames(s.Presets) {
		return c, errShape
	}
	if c.Touches, err = s.touches(); err != nil {
		return c, err
	}
	if c.Records, err = s.records(); err != nil {
		return c, err
	}
	for i := range s.Parts {
		part, err := s.Parts[i].call()
		if err != nil {
			return c, err
		}
		for range max(1, s.Parts[i].N) {
			c.Parts = append(c.Parts, part)
		}
	}
	return c, nil
}

// shapeMethod looks up a method, by whichever way it came.
func shapeMethod(name string) (MethodInfo, bool) {
	if _, ok := formSpecOf(name); ok {
		return MethodInfo{GroupUpload, true}, true
	}
	switch name {
	case string(GroupDownload), "storage_get":
		return MethodInfo{Group: GroupDownload}, true
	case "storage_put":
		return MethodInfo{GroupUpload, true}, true
	case methodToken:
		return MethodInfo{GroupSession, true}, true
	case "track_metrics":
		return MethodInfo{Group: GroupInfo}, true
	}
	info := restMethod(name)
	return info, info.Group != ""
}

func (s *shapeJSON) touches() ([]Touch, error) {
	var out []Touch
	for i, list := range [...][]string{
		UseReturn: s.Return, UseFilter: s.Filter, UseSort: s.Sort, UseSummary: s.Summary,
		UseWrite: s.Write, UseLink: s.Link, UseUpload: s.Upload, UseDownload: s.Download,
	} {
		for _, name := range list {
			typ, field, dotted := strings.Cut(name, ".")
			if typ == "" && !dotted || typ != "" && !IsName(typ) || dotted && !IsName(field) && field != EveryField {
				return nil, errShape
			}
			out = append(out, Touch{typ, field, Use(i)})
		}
	}
	return out, nil
}

func (s *shapeJSON) records() ([]Record, error) {
	var out []Record
	types := make([]string, 0, len(s.Records))
	for typ := range s.Records {
		types = append(types, typ)
	}
	slices.Sort(types)
	for _, typ := range types {
		n := s.Records[typ]
		if !IsName(typ) || n < 1 || n > MaxParts-len(out) {
			return nil, errShape
		}
		out = append(out, slices.Repeat([]Record{{Type: typ}}, n)...)
	}
	return out, nil
}

func allNames(names []string) bool {
	return !slices.ContainsFunc(names, func(s string) bool { return !IsName(s) })
}
