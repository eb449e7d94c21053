package flow_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"stagedoor/flow"
	"stagedoor/secret"
)

const (
	site = "https://studio.example"
	here = "http://127.0.0.1:8470"
	s3   = "https://media.storage.example/"
)

func links() *flow.Links {
	return &flow.Links{Site: site, Here: here, Also: []string{"http://localhost:8470"}}
}

// relayed also turns links to s3.
func relayed() *flow.Links {
	l := links()
	l.Relay = func(u string) (string, bool) {
		rest, ok := strings.CutPrefix(u, s3)
		return here + "/storage/mac/" + rest, ok
	}
	l.RelayUp = l.Relay
	l.Unrelay = func(u string) (string, bool) {
		rest, ok := strings.CutPrefix(u, here+"/storage/mac/")
		return s3 + rest, ok
	}
	return l
}

func TestOnlyLinksToFilesOfTheSiteAreTurned(t *testing.T) {
	l := links()
	for _, path := range []string{"/file_serve/attachment/7", "/thumbnail/full/Shot/2", "/images/status/transient/thumbnail_pending.png", "/files/0000/a.jpg?x=1#y"} {
		for _, origin := range []string{site, "HTTPS://Studio.EXAMPLE"} {
			if got := l.Out(origin + path); got != here+path {
				t.Errorf("%s became %s", origin+path, got)
			}
		}
		for _, origin := range []string{here, "http://LOCALHOST:8470"} {
			if got := l.Back(origin + path); got != site+path {
				t.Errorf("%s became %s", origin+path, got)
			}
		}
	}
	for _, u := range []string{
		"", site, site + "/", site + "/detail/Shot/2", site + "/files", site + "/filesystem/x", site + "/Files/x", site + ".evil.example/files/x",
		site + ":443/files/x", site + "@evil.example/files/x", "http://studio.example/files/x", "//studio.example/files/x", "/files/x", " " + site + "/files/x",
		"https://user@studio.example/files/x", s3 + "files/x", "see " + site + "/files/x", site + "//files/x", site + "/api/v1/entity/shots",
		here + "/files/x", "https://\u017ftudio.example/files/x",
	} {
		if got := l.Out(u); got != u {
			t.Errorf("%s became %s", u, got)
		}
	}
	for _, u := range []string{"", here, here + "/", here + "/api3/json", here + "0/files/x", "http://127.0.0.1/files/x", here + "/storage/mac/x", site + "/files/x"} {
		if got := l.Back(u); got != u {
			t.Errorf("%s became %s", u, got)
		}
	}
	var none *flow.Links
	if none.Out(site+"/files/x") != site+"/files/x" || none.Back(here+"/files/x") != here+"/files/x" || string(none.Whole([]byte(site))) != site {
		t.Error("no Links changes something")
	}
}

// linkCase is an answer with @ for the site's origin, ~ for the proxy's and ^ for
// storage.
type linkCase struct{ name, in, want string }

func linkCases() []linkCase {
	return []linkCase{
		{"a file field", `{"url":"@/file_serve/attachment/7","name":"a"}`, `{"url":"~/file_serve/attachment/7","name":"a"}`},
		{"a file field among others", `{"a":[{"id":1},{"b":{"link_type":"upload","url":"@/files/x","name":"{\"]"}}],"c":"}"}`, `{"a":[{"id":1},{"b":{"link_type":"upload","url":"~/files/x","name":"{\"]"}}],"c":"}"}`},
		{"a web link, told before", `{"link_type":"web","url":"@/files/x"}`, ""},
		{"a web link, told after", `{"url":"@/files/x","a":{"b":["}",{}]},"link_type":"web"}`, ""},
		{"a web link in escapes", `{"url":"@/files/x","link\u005ftype" : "w\u0065b"}`, ""},
		{"a web link around, none inside", `{"link_type":"web","a":{"url":"@/files/x"}}`, `{"link_type":"web","a":{"url":"~/files/x"}}`},
		{"a web link inside, none around", `{"url":"@/files/x","a":{"link_type":"web"},"b":"\"link_type\":\"web\""}`, `{"url":"~/files/x","a":{"link_type":"web"},"b":"\"link_type\":\"web\""}`},
		{"a web link beside", `[{"link_type":"web","url":"@/files/x"},{"url":"@/files/x"},{"link_type":"web","url":"@/files/x"}]`, `[{"link_type":"web","url":"@/files/x"},{"url":"~/files/x"},{"link_type":"web","url":"@/files/x"}]`},
		{"pictures", `{"image":"@/images/a.png","filmstrip_image":"@/thumbnail/full/Shot/2"}`, `{"image":"~/images/a.png","filmstrip_image":"~/thumbnail/full/Shot/2"}`},
		{"a picture behind links", `{"entity.Shot.image":"@/images/a.png","a.url":"@/files/x","image.code":"@/images/a.png"}`, `{"entity.Shot.image":"~/images/a.png","a.url":"~/files/x","image.code":"@/images/a.png"}`},
		{"REST", `{"data":{"attributes":{"image":"@/images/a.png","f":[{"url":"@/files/x"},{"url":"@/files/y"}]},"links":{"self":"/api/v1/entity/shots/2"}}}`, `{"data":{"attributes":{"image":"~/images/a.png","f":[{"url":"~/files/x"},{"url":"~/files/y"}]},"links":{"self":"/api/v1/entity/shots/2"}}}`},
		{"links of REST", `{"links":{"upload":"@/api/v1/entity/notes/1/_upload?a=b\u0026c=d","download":"@/files/x","self":"@/files/x"}}`, `{"links":{"upload":"~/api/v1/entity/notes/1/_upload?a=b&c=d","download":"~/files/x","self":"@/files/x"}}`},
		{"upload outside of links", `{"upload":"@/files/x","links":{"a":{"upload":"@/files/x"}},"links.upload":"@/files/x"}`, `{"upload":"@/files/x","links":{"a":{"upload":"@/files/x"}},"links.upload":"~/files/x"}`},
		{"text", `{"content":"@/files/x","description":"\"url\":\"@/files/x\"","urls":"@/files/x","x":["@/files/x"],"url":["@/files/x"],"@/files/x":1,"URL":"@/files/x"}`, ""},
		{"text that begins with one", `{"url":"x @/files/x","image":"@/files","thumbnail":"@/detail/Shot/2"}`, ""},
		{"a text about one", `{"url":"@/files/x and more"}`, `{"url":"~/files/x and more"}`},
		{"other hosts", `{"url":"@.evil.example/files/x","image":"https://evil.example/?@/files/x","a":{"url":"http://studio.example/files/x"}}`, ""},
		{"escaped slashes", `{"url":"https:\/\/studio.example\/files\/x"}`, `{"url":"~/files/x"}`},
		{"escaped all over", `{"\u0075r\u006c":"\u0068\u0074\u0074\u0070\u0073\u003a\u002f\u002F\u0053tudio.example\u002ffiles/\u00e9\"\\"}`, `{"url":"~/files/é\"\\"}`},
		{"mixed slashes", `[{"url":"https:/\u002fstudio.example/files/a"},{"url":"https:\u002f/studio.example/files/b"},{"url":"https:\/\u002fstudio.example/files/c"},{"url":"https:\u002F\/studio.example/files/d"}]`, `[{"url":"~/files/a"},{"url":"~/files/b"},{"url":"~/files/c"},{"url":"~/files/d"}]`},
		{"white space", "{ \"a\" : 1 ,\n\t\"url\" \r\n:\t \"@/files/x\" }", "{ \"a\" : 1 ,\n\t\"url\" \r\n:\t \"~/files/x\" }"},
		{"half a surrogate", `{"url":"@/files/\ud800"}`, ""},
		{"names in quotes", `{"a\"url":"@/files/x","a\\":"@/files/x","a\\.url":"@/files/x"}`, `{"a\"url":"@/files/x","a\\":"@/files/x","a\\.url":"~/files/x"}`},
		{"storage", `{"url":"^a?X-Amz-Signature=0","image":"^b","links":{"upload":"^c"},"text":"^d"}`, ""},
		{"cut off", `{"url":"@/files/x`, ""},
		{"cut off behind", `{"url":"@/files/x","a":`, ""},
		{"nothing", ``, ""},
		{"slashes", `"////\/\/\u002f\u002f"//`, ""},
	}
}

func spell(s string) string { return strings.NewReplacer("@", site, "~", here, "^", s3).Replace(s) }

func (c linkCase) texts() (in, want string) {
	if c.want == "" {
		return spell(c.in), spell(c.in)
	}
	want = spell(c.want)
	for _, unchanged := range []string{`\u0075r\u006c`} { // a name stays as it was written
		if strings.Contains(c.in, unchanged) {
			want = strings.Replace(want, `"url"`, `"`+unchanged+`"`, 1)
		}
	}
	return spell(c.in), want
}

func TestLinksInAnswersAreTurnedByKey(t *testing.T) {
	for _, c := range linkCases() {
		in, want := c.texts()
		if got := string(links().Whole([]byte(in))); got != want {
			t.Errorf("%s: %s became\n%s, want\n%s", c.name, in, got, want)
		}
	}
}

func TestLinksAreTurnedHoweverAnAnswerIsSplit(t *testing.T) {
	// Far into a long answer, so that what is kept of it matters.
	pad := `[` + strings.Repeat(`{"type":"Shot","id":1,"code":"\\\"{"},`, 2000)
	for _, c := range linkCases() {
		in, want := c.texts()
		for _, before := range []string{"", pad} {
			for at := range len(in) + 1 {
				if before != "" && at%7 != 0 {
					continue
				}
				if got := readLinks(t, links(), io.MultiReader(strings.NewReader(before+in[:at]), strings.NewReader(in[at:]))); got != before+want {
					t.Fatalf("%s, split at %d: %s", c.name, at, got[len(before):])
				}
			}
			src := iotest.DataErrReader(&chunked{strings.NewReader(before + in), 1 + len(in)/3})
			if got := readLinks(t, links(), src); got != before+want {
				t.Errorf("%s in reads: %s", c.name, got[len(before):])
			}
		}
		if got := readLinks(t, links(), iotest.OneByteReader(strings.NewReader(in))); got != want {
			t.Errorf("%s byte by byte: %s", c.name, got)
		}
	}
}

func readLinks(t *testing.T, l *flow.Links, src io.Reader) string {
	t.Helper()
	out, err := io.ReadAll(l.NewReader(src, nil))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestStorageLinksAreTurnedWhereTheyAreRelayed(t *testing.T) {
	in := spell(`{"url":"^a?x=1\u0026y=%2F","image":"^b","links":{"upload":"^c"},"text":"^d","w":{"url":"^e","link_type":"web"},"s":{"url":"@/files/x"},"o":{"url":"https://other.example/x"}}`)
	want := spell(`{"url":"~/storage/mac/a?x=1&y=%2F","image":"~/storage/mac/b","links":{"upload":"~/storage/mac/c"},"text":"^d","w":{"url":"^e","link_type":"web"},"s":{"url":"~/files/x"},"o":{"url":"https://other.example/x"}}`)
	for at := range len(in) {
		if got := readLinks(t, relayed(), io.MultiReader(strings.NewReader(in[:at]), strings.NewReader(in[at:]))); got != want {
			t.Fatalf("split at %d: %s, want %s", at, got, want)
		}
	}
}

func TestTheSecondLineOfAnUploadAnswerIsRelayed(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"1\n^a?x=1\n2026\nAttachment\nid\n", "1\n~/storage/mac/a?x=1\n2026\nAttachment\nid\n"},
		{"1\n^a", "1\n~/storage/mac/a"},
		{"1\r\n^a", ""},
		{"1\n^a\r\n^b\n", "1\n~/storage/mac/a\r\n^b\n"},
		{"0:^a\n^a\n", ""},
		{"1:7\n^a\n", ""},
		{"1\nhttps://other.example/x\n^a", ""},
		{"1", ""},
		{"1\n", ""},
		{"", ""},
	} {
		in, want := spell(tt.in), spell(tt.want)
		if want == "" {
			want = in
		}
		if got := string(relayed().Text([]byte(in))); got != want {
			t.Errorf("%q became %q", in, got)
		}
		if got := string(links().Text([]byte(in))); got != in {
			t.Errorf("without relay %q became %q", in, got)
		}
	}
}

// TestALinkFarFromItsNeighboursStays is about the bound: what can't be told
// apart from a web link within it stays as it is, pictures need no telling.
func TestALinkFarFromItsNeighboursStays(t *testing.T) {
	far, near := strings.Repeat("x", 9<<10), strings.Repeat("x", 7<<10)
	for _, tt := range []struct {
		in     string
		turned bool
	}{
		{`{"a":"` + near + `","url":"@/files/x","b":"` + near + `"}`, true},
		{`{"a":"` + far + `","url":"@/files/x","b":1}`, false},
		{`{"a":1,"url":"@/files/x","b":"` + far + `"}`, false},
		{`{"url":"@/files/` + far + `"}`, false},
		{`{"url":"@/files/` + near + `"}`, true},
		{`{"a":"` + far + `","image":"@/files/x","b":"` + far + `"}`, true},
		{`{"` + far + `.image":"@/files/x"}`, false},
	} {
		in, want := spell(tt.in), spell(tt.in)
		if tt.turned {
			want = spell(strings.Replace(tt.in, "@", "~", 1))
		}
		if got := string(links().Whole([]byte(in))); got != want {
			t.Errorf("%.60s… turned: %v, want %v", in, got != in, tt.turned)
		}
		for _, size := range []int{1000, 4096, 8192, 8193, 1 << 20} {
			if got := readLinks(t, links(), &chunked{strings.NewReader(in), size}); got != want {
				t.Errorf("in reads of %d, %.60s… turned: %v, want %v", size, in, got != in, tt.turned)
			}
		}
	}
}

func TestABrokenAnswerStaysBroken(t *testing.T) {
	r := links().NewReader(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(`{"url":"x"}`))), nil)
	if _, err := io.ReadAll(r); err == nil {
		t.Error("a broken answer looks complete")
	}
}

func TestWrittenLinksReachTheSiteAsItsOwn(t *testing.T) {
	l := relayed()
	for _, tt := range []struct{ arg, want string }{
		{`{"type":"Version","id":1,"fields":[{"field_name":"sg_movie","value":{"url":"~/files/x","name":"~/files/x"}}]}`, `{"type":"Version","id":1,"fields":[{"field_name":"sg_movie","value":{"url":"@/files/x","name":"~/files/x"}}]}`},
		{`{"type":"Version","id":1,"fields":[{"value":[{"a":{"url":"http://localhost:8470/files/x"}}],"field_name":"sg_movie"}]}`, `{"type":"Version","id":1,"fields":[{"value":[{"a":{"url":"@/files/x"}}],"field_name":"sg_movie"}]}`},
		{`{"type":"Version","id":1,"fields":[{"field_name":"image","value":"~/thumbnail/x"},{"value":"~/storage/mac/a?b","field_name":"filmstrip_image"}]}`, `{"type":"Version","id":1,"fields":[{"field_name":"image","value":"@/thumbnail/x"},{"value":"^a?b","field_name":"filmstrip_image"}]}`},
		{`{"type":"Version","id":1,"fields":[{"field_name":"description","value":"~/files/x"},{"field_name":"url","value":"~/files/x"},{"field_name":"f","value":["~/files/x"]}]}`, ""},
		{`{"type":"Version","id":1,"fields":[{"field_name":"f","value":{"url":7}},{"field_name":"f","value":{"url":{"url":"~/files/x"}}},{"field_name":"f","value":{"url":"~/api3/json"}}]}`, `{"type":"Version","id":1,"fields":[{"field_name":"f","value":{"url":7}},{"field_name":"f","value":{"url":{"url":"@/files/x"}}},{"field_name":"f","value":{"url":"~/api3/json"}}]}`},
	} {
		for _, batch := range []bool{false, true} {
			arg, want, method := spell(tt.arg), spell(tt.want), "update"
			if want == "" {
				want = arg
			}
			if batch {
				const head = `[{"request_type":"update",`
				arg, want, method = head+arg[1:]+`]`, head+want[1:]+`]`, "batch"
			}
			body := `{"method_name":"` + method + `","params":[{},` + arg + `]}`
			m, err := flow.ParseRPC([]byte(body), l, flow.DefaultMaxDepth)
			if err != nil {
				t.Errorf("%s: %v", body, err)
				continue
			}
			if got := string(m.Body(secret.Credential{})); !strings.HasSuffix(got, ","+want+"]}") {
				t.Errorf("%s became %s", arg, got)
			}
			m, err = flow.ParseRPC([]byte(body), nil, flow.DefaultMaxDepth)
			if err != nil || !strings.HasSuffix(string(m.Body(secret.Credential{})), ","+arg+"]}") {
				t.Errorf("without links %s became %s, %v", arg, m.Body(secret.Credential{}), err)
			}
		}
	}
}

func TestFiltersKeepTheirLinks(t *testing.T) {
	body := spell(`{"method_name":"read","params":[{},{"type":"Version","return_fields":["id"],"filters":{"logical_operator":"and","conditions":[{"path":"a","relation":"is","values":[{"url":"~/files/x"}]}]}}]}`)
	m, err := flow.ParseRPC([]byte(body), links(), flow.DefaultMaxDepth)
	if err != nil || !strings.Contains(string(m.Body(secret.Credential{})), here) {
		t.Error(err)
	}
}

// TestReadAndWrittenAgainALinkIsTheSitesOwn follows a value from the site to a
// tool and back.
func TestReadAndWrittenAgainALinkIsTheSitesOwn(t *testing.T) {
	for _, value := range []string{`{"url":"@/file_serve/attachment/7?a=b&c","name":"a.mov"}`, `{"url":"^a?X-Amz-Signature=0"}`, `[{"url":"@/files/x"},{"url":"^b"}]`} {
		value = spell(value)
		row := relayed().Whole([]byte(`{"results":` + value + `}`))
		got := row[len(`{"results":`) : len(row)-1]
		if bytes.Contains(got, []byte(site)) || bytes.Contains(got, []byte(s3)) {
			t.Errorf("read is %s", got)
		}
		body := `{"method_name":"create","params":[{},{"type":"Version","fields":[{"field_name":"sg_movie","value":` + string(got) + `}]}]}`
		m, err := flow.ParseRPC([]byte(body), relayed(), flow.DefaultMaxDepth)
		if err != nil {
			t.Fatal(err)
		}
		if sent := string(m.Body(secret.Credential{})); !strings.Contains(sent, `"value":`+value+`}`) {
			t.Errorf("%s is written as %s", value, sent)
		}
	}
}

// FuzzLinks: what is turned is what a reader of whole documents would turn, and
// every split gives the same.
func FuzzLinks(f *testing.F) {
	for _, s := range linkSeeds() {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		size = 1 + (size%64+64)%64
		for _, l := range []*flow.Links{links(), relayed()} {
			whole := l.Whole(bytes.Clone(in))
			if got := readLinks(t, l, &chunked{bytes.NewReader(in), size}); got != string(whole) {
				t.Fatalf("%q in reads of %d: %q, whole %q", in, size, got, whole)
			}
			if len(in) > 8<<10 || !json.Valid(in) || !utf8.Valid(in) {
				continue
			}
			want, turned := wholeLinks(l, in, "")
			if got, _ := wholeLinks(nil, whole, ""); got != want {
				t.Fatalf("%s became\n%s, want\n%s", in, got, want)
			}
			if !turned && !bytes.Equal(in, whole) {
				t.Fatalf("%s holds no link and became %s", in, whole)
			}
		}
	})
}

func linkSeeds() []string {
	var out []string
	for _, c := range linkCases() {
		in, _ := c.texts()
		out = append(out, in, "["+in+","+in+"]", `{"a":`+in+`}`)
	}
	return out
}

func TestFuzzLinksHasSeeds(t *testing.T) {
	valid := 0
	for _, s := range linkSeeds() {
		if json.Valid([]byte(s)) {
			valid++
		}
	}
	if valid < 50 {
		t.Errorf("%d seeds that are JSON", valid)
	}
}

// wholeLinks reads a document with the standard library, turns its links with l,
// and shows what it read. parent is the name of the member that it is.
func wholeLinks(l *flow.Links, in []byte, parent string) (shown string, turned bool) {
	dec := json.NewDecoder(bytes.NewReader(in))
	dec.UseNumber()
	tok, err := dec.Token()
	if err != nil {
		return err.Error(), false
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return fmt.Sprintf("%T %q", tok, fmt.Sprint(tok)), false
	}
	type member struct {
		name string
		raw  json.RawMessage
	}
	var members []member
	web := false
	for dec.More() {
		var m member
		if delim == '{' {
			name, _ := dec.Token()
			m.name, _ = name.(string)
		}
		if err := dec.Decode(&m.raw); err != nil {
			return err.Error(), false
		}
		var s string
		if m.name == "link_type" && json.Unmarshal(m.raw, &s) == nil && s == "web" {
			web = true
		}
		members = append(members, m)
	}
	for _, m := range members {
		var s string
		name := m.name
		isString := len(m.raw) > 0 && m.raw[0] == '"' && json.Unmarshal(m.raw, &s) == nil
		if isString && l != nil && delim == '{' && !strings.ContainsRune(name+s, utf8.RuneError) {
			if to := turnedAs(l, parent, name, s, web); to != s {
				turned = true
				m.raw, _ = json.Marshal(to)
			}
		}
		sub, did := wholeLinks(l, m.raw, name)
		turned = turned || did
		shown += fmt.Sprintf("%q: %s\n", name, sub)
	}
	return string(rune(delim)) + shown + "end", turned
}

func turnedAs(l *flow.Links, parent, name, s string, web bool) string {
	isLinks := func(n string) bool { return n == "links" || strings.HasSuffix(n, ".links") }
	last := name[strings.LastIndex(name, ".")+1:]
	switch last {
	case "url":
		if web {
			return s
		}
		return l.Out(s)
	case "image", "filmstrip_image", "thumb_image", "filmstrip_thumb_image", "thumbnail", "filmstrip_thumbnail":
		return l.Out(s)
	case "upload", "download":
		if last == name && isLinks(parent) || last != name && isLinks(strings.TrimSuffix(name, "."+last)) {
			for _, v := range []string{"/api/v1/", "/api/v1.1/", "/api/v1.x/"} {
				if len(s) >= len(site+v) && strings.EqualFold(s[:len(site)], site) && strings.HasPrefix(s[len(site):], v) {
					return here + s[len(site):]
				}
			}
			return l.Out(s)
		}
	}
	return s
}

// BenchmarkLinks measures what links cost over the scrubber alone: answers of
// api3 and REST without a link of the site's, and with one in each row.
func BenchmarkLinks(b *testing.B) {
	s := flow.NewScrubber(secret.FromString(realKey))
	for name, row := range map[string]string{
		"plain":  `{"type":"Shot","id":1172,"code":"sh_0010","created_at":"2026-01-02T03:04:05Z","project":{"type":"Project","id":65,"name":"Heron"}},`,
		"rest":   `{"type":"Shot","id":1172,"attributes":{"code":"sh_0010"},"relationships":{"project":{"data":{"id":65,"name":"Heron","type":"Project"},"links":{"self":"/api/v1/entity/shots/1172/relationships/project","related":"/api/v1/entity/projects/65"}}},"links":{"self":"/api/v1/entity/shots/1172"}},`,
		"s3":     `{"type":"Shot","id":1172,"code":"sh_0010","image":"https://s3/x%20y?a=b\u0026c","project":{"type":"Project","id":65,"name":"Heron"}},`,
		"linked": `{"type":"Shot","id":1172,"code":"sh_0010","f":{"url":"` + site + `/files/x","name":"a","link_type":"upload"},"project":{"type":"Project","id":65,"name":"Heron"}},`,
		"web":    `{"f":{"url":"` + site + `/files/x","name":"a","link_type":"web"}},`,
	} {
		in := []byte(strings.Repeat(row, (1<<20)/len(row)))
		buf, buf2 := make([]byte, 32<<10), make([]byte, 32<<10)
		for _, l := range []*flow.Links{nil, links()} {
			b.Run(fmt.Sprintf("%s/links=%v", name, l != nil), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(in)))
				for b.Loop() {
					src := l.NewReader(bytes.NewReader(in), buf2)
					if _, err := io.Copy(io.Discard, s.NewReader(src, buf, true)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// TestLinksFarApartAreTurnedInLargeReads reads as the proxy does: long answers
// with little to turn, where most of what is read goes through without a copy.
func TestLinksFarApartAreTurnedInLargeReads(t *testing.T) {
	row, linked := `{"type":"Shot","id":1,"code":"a \"b\" c","n":"x/y"},`, spell(`{"f":{"name":"a","url":"@/files/x","type":"Attachment"}},`)
	for _, gap := range []int{1, 150, 320, 700} {
		var in, want strings.Builder
		for range 20 {
			in.WriteString(strings.Repeat(row, gap) + linked)
			want.WriteString(strings.Repeat(row, gap) + strings.Replace(linked, site, here, 1))
		}
		for _, size := range []int{4000, 20000, 24500, 32 << 10} {
			for _, read := range []int{100, 17 << 10, 1 << 20} {
				r := links().NewReader(iotest.DataErrReader(&chunked{strings.NewReader(in.String()), size}), nil)
				var out bytes.Buffer
				if _, err := io.CopyBuffer(struct{ io.Writer }{&out}, r, make([]byte, read)); err != nil || out.String() != want.String() {
					t.Errorf("%d rows apart, reads of %d by %d: %d bytes, want %d, %v", gap, size, read, out.Len(), want.Len(), err)
				}
			}
		}
	}
}
