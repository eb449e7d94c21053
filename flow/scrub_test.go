package flow_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"stagedoor/flow"
	"stagedoor/secret"
)

// A key with every character that some encoding spells otherwise.
const nastyKey = `k"e\y/+&<é>%41 0123456789`

func spellings(key string) map[string]string {
	var uni, pct, mix strings.Builder
	for i, c := range []byte(key) {
		fmt.Fprintf(&uni, `\u%04x`, c)
		fmt.Fprintf(&pct, `%%%02X`, c)
		switch i % 3 {
		case 0:
			fmt.Fprintf(&mix, `\u%04X`, c)
		case 1:
			fmt.Fprintf(&mix, `%%%02x`, c)
		default:
			if c == '\\' || c == '"' {
				mix.WriteByte('\\')
			}
			mix.WriteByte(c)
		}
	}
	json := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key)
	return map[string]string{
		"plain": key, "json": json, "json slash": strings.ReplaceAll(json, "/", `\/`),
		"all \\u": uni.String(), "all %": pct.String(), "mixed": mix.String(),
		"query": url.QueryEscape(key), "path": url.PathEscape(key),
		"base64": base64.StdEncoding.EncodeToString([]byte(key)), "base64url": base64.URLEncoding.EncodeToString([]byte(key)),
		"basic auth":   base64.StdEncoding.EncodeToString([]byte("ab:" + key + ":c")),
		"basic auth 1": base64.StdEncoding.EncodeToString([]byte("a:x" + key)),
		"basic auth 2": base64.RawURLEncoding.EncodeToString([]byte("abcd" + key + "zz")),
		"hex":          hex.EncodeToString([]byte(key)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(key))),
	}
}

func TestScrubFindsEverySpelling(t *testing.T) {
	for _, key := range []string{realKey, nastyKey} {
		s := flow.NewScrubber(secret.FromString(key))
		for name, spelled := range spellings(key) {
			if key == nastyKey && name == "mixed" {
				continue // %-escapes of a key that itself holds % are ambiguous
			}
			in := `{"a":"x` + spelled + `y"}`
			out, n := s.Bytes([]byte(in))
			if n != 1 || !strings.Contains(string(out), flow.Redacted) || len(out) > len(in)+len(flow.Redacted)-len(key) {
				t.Errorf("%s of %s: %d found, %s", name, key, n, out)
			}
			for _, size := range []int{1, 2, 3, 7, 16} {
				got, m := stream(t, s, in, size)
				if got != string(out) || m != n {
					t.Errorf("%s in reads of %d: %s, want %s", name, size, got, out)
				}
			}
		}
	}
}

func stream(t *testing.T, s *flow.Scrubber, in string, size int) (string, int) {
	t.Helper()
	r := s.NewReader(&chunked{strings.NewReader(in), size}, make([]byte, 4096), true)
	var out bytes.Buffer
	if _, err := io.Copy(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String(), r.Redactions()
}

type chunked struct {
	r    io.Reader
	size int
}

func (c *chunked) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.size)]) }

func TestScrubLeavesTheRestAlone(t *testing.T) {
	s := flow.NewScrubber(secret.FromString(realKey))
	for _, in := range []string{"", "{}", realKey[:10] + " " + realKey[10:], strings.Repeat(`\u00e9%20`, 3000), realKey[:len(realKey)-1]} {
		got, n := stream(t, s, in, 5)
		if got != in || n != 0 {
			t.Errorf("%.60q became %.60q", in, got)
		}
	}
	if got, n := s.Whole([]byte("salted_password"), true); string(got) != "salted_password" || n != 0 {
		t.Errorf("got %s", got)
	}
}

func TestScrubPassesErrorsOn(t *testing.T) {
	s := flow.NewScrubber(secret.FromString(realKey))
	r := s.NewReader(iotest.TimeoutReader(strings.NewReader("abc")), make([]byte, 4096), true)
	if _, err := io.ReadAll(r); err == nil {
		t.Error("a broken answer looks complete")
	}
}

func TestCredentialFieldsAreEmptied(t *testing.T) {
	s := flow.NewScrubber(secret.FromString(realKey))
	for _, tt := range []struct{ in, want string }{
		{`{"salted_password":"abc","b":1}`, `{"salted_password":null,"b":1}`},
		{`{"a":{"created_by.ApiUser.salted_password" : "a\"b" },"c":2}`, `{"a":{"created_by.ApiUser.salted_password" :null },"c":2}`},
		{`{"password_proxy":{"x":["}","]"]},"c":2}`, `{"password_proxy":null,"c":2}`},
		{`{"salted_password":12.5}`, `{"salted_password":null}`},
		{`{"salted_password":null,"password_proxy":[1]}`, `{"salted_password":null,"password_proxy":null}`},
		{`{"s\u0061lted_password":"x"}`, `{"s\u0061lted_password":null}`},
		{`{"a":"salted_password","b":"\"salted_password\": x"}`, `{"a":"salted_password","b":"\"salted_password\": x"}`},
		{`["salted_password","x"]`, `["salted_password","x"]`},
	} {
		for _, size := range []int{1, 3, 11, 4096} {
			if got, _ := stream(t, s, tt.in, size); got != tt.want {
				t.Errorf("in reads of %d: got %s, want %s", size, got, tt.want)
			}
		}
		if got, _ := s.Whole([]byte(tt.in), true); string(got) != tt.want {
			t.Errorf("whole: got %s, want %s", got, tt.want)
		}
		if got, _ := s.Whole([]byte(tt.in), false); string(got) != tt.in {
			t.Errorf("schema: got %s, want %s", got, tt.in)
		}
	}
}

func TestEmptyMeta(t *testing.T) {
	in := `{"results":{"entities":[{"meta":{"type":"attribute_change","attribute_name":"salted_password","old_value":"a","new_value":{"b":1}}},{"meta":{"attribute_name":"code","old_value":"a","new_value":"b"}}]}}`
	want := `{"results":{"entities":[{"meta":{"type":"attribute_change","attribute_name":"salted_password","old_value":null,"new_value":null}},{"meta":{"attribute_name":"code","old_value":"a","new_value":"b"}}]}}`
	got, n, ok := flow.EmptyMeta([]byte(in))
	if string(got) != want || n != 2 || !ok {
		t.Errorf("%d: %s", n, got)
	}
	for _, same := range []string{`{"a":1}`, `not json`, `"salted_password"`, `{"a":NaN}`, `{"old_value":1,"x":"salted_passwore"}`, " \"salted_password\" \n"} {
		if got, n, ok := flow.EmptyMeta([]byte(same)); string(got) != same || n != 0 || !ok {
			t.Errorf("%s became %s", same, got)
		}
	}
	for _, name := range []string{
		"password_proxy", "Password_Proxy", "HumanUser.PASSWORD_PROXY", "created_by.ApiUser.salted_password", `salted\u005fpassword`, `SALTED_PASSW\u004fRD`,
		"pa\u017f\u017fword_proxy", `pa\u017f\u017Fword_proxy`,
	} {
		in := `{"attribute_name":"` + name + `","old_value":"LEAK","new_value":["LEAK"],"added":["LEAK"],"removed":{"a":"LEAK"},"b":1}`
		out, n, ok := flow.EmptyMeta([]byte(in))
		if want := `{"attribute_name":"` + name + `","old_value":null,"new_value":null,"added":null,"removed":null,"b":1}`; string(out) != want || n != 4 || !ok {
			t.Errorf("%d: %s, want %s", n, out, want)
		}
	}
}

// TestEmptyMetaInText: an event's meta that is a text of JSON is emptied whole
// where it mentions a credential field, however deep the text lies in others.
func TestEmptyMetaInText(t *testing.T) {
	quoted := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	for _, text := range []string{
		`{"attribute_name":"salted_password","new_value":"LEAK"}`, ` [ {"attribute_name":"Password_Proxy","new_value":"LEAK"}]`, `["salted_password","LEAK"]`, `[["HumanUser.password_proxy","LEAK"]]`,
		`{"attribute_name":"salted\u005fpassword","new_value":"LEAK"}`, `{"attribute_name":"pa\u017fsword_proxy","new_value":"LEAK"}`, "{\"a\":\"pa\u017f\u017fword_proxy\",\"new_value\":\"LEAK\"}",
		`{"attribute_name":"salted_password","new_value":"LEAK`, `{"salted_password":["LEAK","b"]}`, "{\n\t\"x\":\"salted_password\",\"y\":\"LEAK\"}",
		quoted(`{"attribute_name":"salted_password","new_value":"LEAK"}`), quoted(quoted(`{"attribute_name":"salted\u005fpassword","new_value":"LEAK"}`)),
		`{"meta":` + quoted(`{"attribute_name":"salted_password","new_value":"LEAK"}`) + `}`,
	} {
		in := `{"id":1,"meta":` + quoted(text) + `,"b":[` + quoted(text) + `]}`
		if out, n, ok := flow.EmptyMeta([]byte(in)); !ok || n != 2 || string(out) != `{"id":1,"meta":null,"b":[null]}` {
			t.Errorf("%s became %s (%d %v)", in, out, n, ok)
		}
	}
	for _, text := range []string{
		`salted_password is asked for`, `[WIP] the salted_password`, `{salted_password}`, `{"attribute_name":"code","new_value":"\u00e9"}`, `see {"a":"salted_password"}`, ``, ` `, `"`, `{`, `["`, `{"a":"x\u017a"}`,
		"{\"a\":\"\u017f\"}",
	} {
		in := `{"description":` + quoted(text) + `,"x":"salted_password"}`
		if out, n, ok := flow.EmptyMeta([]byte(in)); !ok || n != 0 || string(out) != in {
			t.Errorf("%s became %s (%d %v)", in, out, n, ok)
		}
	}
}

// TestEmptyMetaFailsClosed: of what it can't read it hands nothing on.
func TestEmptyMetaFailsClosed(t *testing.T) {
	const entry = `{"attribute_name":"password_proxy","old_value":"LEAK"}`
	deep := strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001)
	for _, in := range []string{
		"salted_password", entry + "\x00", entry + entry, `1 ` + entry, `{"x":NaN,"meta":` + entry + `}`, `[` + entry + `,` + deep + `]`, `[` + entry, `[` + entry + `,]`,
		`{"a":1}{"attribute_name":"PASSWORD_PROXY","old_value":"LEAK"}`, "<pre>" + entry + "</pre>",
	} {
		if out, n, ok := flow.EmptyMeta([]byte(in)); ok || out != nil || n != 0 {
			t.Errorf("%.80s became %.80s", in, out)
		}
	}
}

func TestFaults(t *testing.T) {
	b := flow.AppendFault(nil, 104, "a \"b\"\n<é>")
	if string(b) != `{"exception":true,"message":"a \"b\"\n<é>","error_code":104}` {
		t.Errorf("%s", b)
	}
	code, msg, ok := flow.ReadFault(b)
	if code != 104 || msg != "a \"b\"\n<é>" || !ok {
		t.Error(code, msg, ok)
	}
	for _, no := range []string{`{"results":{"exception":true}}`, `{"exception":false,"error_code":102}`, `[]`, ``, `{"exception":tru`} {
		if _, _, ok := flow.ReadFault([]byte(no)); ok {
			t.Errorf("%s is read as a fault", no)
		}
	}
}

// FuzzScrub: any split gives what the whole gives, no key is left, and JSON
// stays JSON.
func FuzzScrub(f *testing.F) {
	for _, s := range scrubSeeds() {
		f.Add([]byte(s), 3)
	}
	var keys []secret.Value
	for _, k := range oddKeys() {
		keys = append(keys, secret.FromString(k))
	}
	s := flow.NewScrubber(keys...)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		size = 1 + (size%64+64)%64
		clean, _ := s.Whole(in, false)
		for _, k := range oddKeys() {
			if bytes.Contains(clean, []byte(k)) {
				t.Fatalf("the key survives in %q", clean)
			}
		}
		if json.Valid(in) && !json.Valid(clean) {
			t.Fatalf("%q is no JSON any more: %q", in, clean)
		}
		whole, n := s.Whole(in, true)
		got, m := stream(t, s, string(in), size)
		if got != string(whole) || n != m {
			t.Fatalf("in reads of %d: %q (%d), whole %q (%d)", size, got, m, whole, n)
		}
		if json.Valid(in) && !json.Valid(whole) {
			t.Fatalf("%q is no JSON any more: %q", in, whole)
		}
		if meta, _, ok := flow.EmptyMeta(in); ok && json.Valid(in) && !json.Valid(meta) {
			t.Fatalf("%q is no JSON any more: %q", in, meta)
		}
	})
}

func scrubSeeds() []string {
	var out []string
	for _, key := range oddKeys() {
		for _, escape := range escapes() {
			out = append(out, `{"a":"x`+escape(key)+`"}`)
		}
	}
	for _, s := range spellings(realKey) {
		out = append(out, `{"a":"`+s+`"}`)
	}
	return append(out, `{"salted_password":{"a":["]"]},"b":"\nEWKEY0123456789"}`, `{"s\u0061lted_password" : "\"" ,"password_proxy":1}`,
		`{"meta":{"attribute_name":"salted_password","old_value":"a","new_value":["b"]}}`, `["\u0041BCDEF0123456","\\0041BCDEF0123456"]`)
}

func TestFuzzScrubHasSeeds(t *testing.T) {
	if n := len(scrubSeeds()); n < 100 {
		t.Errorf("%d seeds", n)
	}
}

// BenchmarkScrub measures the search alone, in memory, on answers without a key
// and with credential fields looked for: no gzip, no network. "percent"
// and "escapes" are nothing but beginnings of the key, "backslashes" and "html"
// nothing but escapes of escapes: what a hostile site could send at worst.
func BenchmarkScrub(b *testing.B) {
	one := flow.NewScrubber(secret.FromString(realKey))
	five := flow.NewScrubber(secret.FromString(realKey), secret.FromString("old-key-1-0123456789abcdef"),
		secret.FromString("old-key-2-0123456789abcdef"), secret.FromString("old-key-3-0123456789abcdef"), secret.FromString("old-key-4-0123456789abcdef"))
	row := `{"type":"Shot","id":1172,"code":"sh_0010","image":"https://s3/x%20y?a=b\u0026c","project":{"type":"Project","id":65,"name":"Heron"}},`
	plain := strings.ReplaceAll(strings.ReplaceAll(row, "%20", "_"), `\u0026`, "_")
	for _, bb := range []struct {
		name string
		s    *flow.Scrubber
		row  string
		size int
	}{
		{"2KiB", one, row, 2 << 10},
		{"64KiB", one, row, 64 << 10},
		{"8MiB", one, row, 8 << 20},
		{"plain", one, plain, 1 << 20},
		{"old", five, row, 1 << 20},
		{"percent", one, `%6c%69%2D`, 1 << 20},
		{"escapes", one, `\u006c\u0069\u002d`, 1 << 20},
		{"japanese", one, `\u3042\u3044`, 1 << 20},
		{"spaces", one, `%20%C3%A9`, 1 << 20},
		{"html", one, `&amp;&lt;`, 1 << 20},
		{"backslashes", one, `\\`, 1 << 20},
	} {
		in := []byte(strings.Repeat(bb.row, bb.size/len(bb.row)))
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				bb.s.Whole(in, true)
			}
		})
		b.Run(bb.name+"/stream", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			buf := make([]byte, 32<<10)
			for b.Loop() {
				if _, err := io.Copy(io.Discard, bb.s.NewReader(bytes.NewReader(in), buf, true)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
