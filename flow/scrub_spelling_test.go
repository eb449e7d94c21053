package flow_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"

	"stagedoor/flow"
	"stagedoor/secret"
)

// oddKeys have what JSON, URLs and HTML each spell otherwise, and characters
// beyond ASCII.
func oddKeys() []string {
	return []string{
		realKey, nastyKey, `a&b<c>"d'e+f/g%h\i j0123`, "clé-für-日本-🎬-0123456789", `\\\\nn\"\u0041//%%41&&amp;`,
		"nEWKEY0123456789", "0041BCDEF0123456", "ends-in-a-backslash\\",
	}
}

// escapes lists ways to write a text that another program reads back.
func escapes() map[string]func(string) string {
	perRune := func(f func(rune) string) func(string) string {
		return func(s string) string {
			var b strings.Builder
			for _, r := range s {
				b.WriteString(f(r))
			}
			return b.String()
		}
	}
	quoted := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			panic(err)
		}
		return string(b[1 : len(b)-1])
	}
	perUnit := perRune(func(r rune) string {
		if r > 0xffff {
			hi, lo := utf16.EncodeRune(r)
			return fmt.Sprintf(`\u%04x\u%04X`, hi, lo)
		}
		return fmt.Sprintf(`\u%04X`, r)
	})
	perByte := func(format string) func(string) string {
		return func(s string) string {
			var b strings.Builder
			for _, c := range []byte(s) {
				fmt.Fprintf(&b, format, c)
			}
			return b.String()
		}
	}
	percent := perByte("%%%02x")
	javascript := perRune(func(r rune) string {
		if r > 0xffff {
			hi, lo := utf16.EncodeRune(r)
			return fmt.Sprintf(`%%u%04x%%u%04X`, hi, lo)
		}
		return fmt.Sprintf(`%%u%04X`, r)
	})
	names := strings.NewReplacer("&", "&amp;", "/", "&sol;", "+", "&plus;", "-", "&hyphen;", "_", "&lowbar;", "=", "&equals;", "%", "&percnt;")
	unescaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace
	return map[string]func(string) string{
		"go json":               quoted, // with \u003c for <
		"all \\u":               perUnit,
		"all percent":           percent,
		"query":                 url.QueryEscape,
		"path":                  url.PathEscape,
		"html":                  html.EscapeString,
		"html decimal":          perRune(func(r rune) string { return fmt.Sprintf("&#%d;", r) }),
		"html hex":              perRune(func(r rune) string { return fmt.Sprintf("&#x%X;", r) }),
		"html zeros":            perRune(func(r rune) string { return fmt.Sprintf("&#x%06x;", r) }),
		"json in json":          func(s string) string { return quoted(quoted(s)) },
		"\\u in json":           func(s string) string { return quoted(perUnit(s)) },
		"html in json":          func(s string) string { return quoted(html.EscapeString(s)) },
		"html twice":            func(s string) string { return html.EscapeString(html.EscapeString(s)) },
		"query twice":           func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
		"all % twice":           func(s string) string { return strings.ReplaceAll(percent(s), "%", "%25") },
		"\\x":                   perByte(`\x%02x`),
		"octal":                 perByte(`\%03o`),
		"\\x in json":           func(s string) string { return quoted(perByte(`\x%02X`)(s)) },
		"octal in json":         func(s string) string { return quoted(perByte(`\%03o`)(s)) },
		"javascript":            javascript,
		"javascript twice":      func(s string) string { return strings.ReplaceAll(javascript(s), "%", "%25") },
		"html without ;":        perRune(func(r rune) string { return fmt.Sprintf("&#%d", r) }),
		"html hex without ;":    perRune(func(r rune) string { return fmt.Sprintf("&#x%X", r) }),
		"html names":            names.Replace,
		"html names twice":      func(s string) string { return html.EscapeString(names.Replace(s)) },
		"html names in a query": func(s string) string { return url.QueryEscape(names.Replace(s)) },
		"base64 of json":        func(s string) string { return base64.StdEncoding.EncodeToString([]byte(unescaped(s))) },
		"hex of json":           func(s string) string { return hex.EncodeToString([]byte(unescaped(s))) },
		"base64 in a query": func(s string) string {
			return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s)))
		},
		"base64 with \\/": func(s string) string {
			return strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte(s)), "/", `\/`)
		},
	}
}

func TestScrubFindsOddKeysInEverySpelling(t *testing.T) {
	for _, key := range oddKeys() {
		s := flow.NewScrubber(secret.FromString(key))
		for name, escape := range escapes() {
			if key == oddKeys()[4] && strings.Contains(name, "json") {
				continue // a key of backslashes can be read in two ways once they are doubled
			}
			in := "<<" + escape(key) + ">>"
			out, n := s.Bytes([]byte(in))
			if want := "<<" + flow.Redacted; n != 1 || !strings.HasPrefix(string(out), want) || len(out) > len(want)+len("=%3D%3D>>") {
				t.Errorf("%s of %s: %d found in %s: %s", name, key, n, in, out)
			}
			for _, size := range []int{1, 5, 13} {
				if got, m := stream(t, s, in, size); got != string(out) || m != n {
					t.Errorf("%s of %s in reads of %d: %s, want %s", name, key, size, got, out)
				}
			}
		}
	}
}

// TestRedactionKeepsJSON: a key that begins or ends inside an escape takes all
// of the escape with it.
func TestRedactionKeepsJSON(t *testing.T) {
	for _, key := range oddKeys() {
		s := flow.NewScrubber(secret.FromString(key))
		for _, before := range []string{``, `\n`, `\\`, `\\\n`, `\\\\`, `\u00e9`} {
			for _, raw := range []string{
				`["` + before + key + `"]`, `["` + before + `\` + key + `"]`, `["` + before + `\u` + key + `"]`,
				`["` + before + key + `",1]`, `["` + before + key + `\n"]`, `["` + before + key + `n"]`,
			} {
				out, n := s.Bytes([]byte(raw))
				if n != 1 || strings.Contains(string(out), key) {
					t.Fatalf("%d in %s: %s", n, raw, out)
				}
				if json.Valid([]byte(raw)) && !json.Valid(out) {
					t.Errorf("%s became %s", raw, out)
				}
			}
		}
	}
}

func TestScrubSeveralKeys(t *testing.T) {
	s := flow.NewScrubber(secret.FromString("0123456789abcdef"), secret.FromString("0123456789abcdefghij"), secret.Value{}, secret.FromString("ghij456789klmnop"))
	for _, tt := range []struct{ in, want string }{
		{"<0123456789abcdefghij>", "<" + flow.Redacted + ">"}, // the longer one
		{"<0123456789abcdefghiX>", "<" + flow.Redacted + "ghiX>"},
		{"<0123456789abcdefghij456789klmnop>", "<" + flow.Redacted + "456789klmnop>"}, // overlapping
		{"0123456789abcdef0123456789abcdef", flow.Redacted + flow.Redacted},
	} {
		out, _ := s.Bytes([]byte(tt.in))
		if string(out) != tt.want {
			t.Errorf("%s became %s, want %s", tt.in, out, tt.want)
		}
		for size := 1; size < len(tt.in); size++ {
			if got, _ := stream(t, s, tt.in, size); got != tt.want {
				t.Errorf("%s in reads of %d became %s, want %s", tt.in, size, got, tt.want)
			}
		}
	}
	if got, n := flow.NewScrubber().Bytes([]byte("abc")); string(got) != "abc" || n != 0 {
		t.Errorf("no key: %s", got)
	}
}

// TestLongKeysNeedNoLongBuffer: a key whose spellings are longer than the
// caller's buffer is found all the same.
func TestLongKeysNeedNoLongBuffer(t *testing.T) {
	key := strings.Repeat("long-key-", 60)
	s := flow.NewScrubber(secret.FromString(key))
	in := strings.Repeat("x", 9000) + escapes()["html hex"](key) + strings.Repeat("y", 9000)
	if got, n := stream(t, s, in, 4096); n != 1 || strings.Contains(got, "&#") {
		t.Errorf("%d found", n)
	}
}

func TestCredentialFieldsInOddAnswers(t *testing.T) {
	s := flow.NewScrubber(secret.FromString(realKey))
	space := strings.Repeat(" ", 5000)
	for _, tt := range []struct{ name, in, want string }{
		{"both names run together", `{"salted_password_proxy":1,"b":2}`, `{"salted_password_proxy":null,"b":2}`},
		{"much white space", `{"salted_password"` + space + `:` + space + `"x" ,"b":2}`, `{"salted_password"` + space + `:null ,"b":2}`},
		{"all of the name escaped", `{"` + escapes()["all \\u"]("password_proxy") + `":[{"a":"]"}]}`, `{"` + escapes()["all \\u"]("password_proxy") + `":null}`},
		{"a name that goes on", `{"salted_password_x":1,"xsalted_password":2}`, `{"salted_password_x":1,"xsalted_password":null}`},
		{"a value", `{"a":"salted_password","b":["password_proxy" , "x"]}`, `{"a":"salted_password","b":["password_proxy" , "x"]}`},
		{"cut in the value", `{"salted_password":"abc`, `{"salted_password":null`},
		{"cut in a deep value", `{"salted_password":{"a":["b`, `{"salted_password":null`},
		{"cut after the name", `{"salted_password"`, `{"salted_password"`},
		{"cut in the name", `{"salted_passwo`, `{"salted_passwo`},
		{"nested objects", `{"a":{"salted_password":{"salted_password":1},"b":{}},"password_proxy":true}`, `{"a":{"salted_password":null,"b":{}},"password_proxy":null}`},
		{"escapes in the value", `{"salted_password":"\\\"","b":"\\"}`, `{"salted_password":null,"b":"\\"}`},
	} {
		for _, size := range []int{1, 2, 17, 4096} {
			if got, _ := stream(t, s, tt.in, size); got != tt.want {
				t.Errorf("%s in reads of %d: got %s, want %s", tt.name, size, got, tt.want)
			}
		}
		if got, _ := s.Whole([]byte(tt.in), true); string(got) != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestEmptyMetaDeepDown(t *testing.T) {
	const depth = 9000 // each level was once copied for each above it
	in := strings.Repeat(`{"value":`, depth) + `{"old_value":[1,2],"x":3,"attribute_name":"ApiUser.s\u0061lted_password","new_value":"b","y":4}` + strings.Repeat(`}`, depth)
	want := strings.Repeat(`{"value":`, depth) + `{"old_value":null,"x":3,"attribute_name":"ApiUser.s\u0061lted_password","new_value":null,"y":4}` + strings.Repeat(`}`, depth)
	if got, n, ok := flow.EmptyMeta([]byte(in)); !ok || string(got) != want || n != 2 {
		t.Errorf("%d emptied", n)
	}
	in = `{"a":"\u0065","b":"\u00e9","c":1}`
	if got, n, ok := flow.EmptyMeta([]byte(in)); !ok || string(got) != in || n != 0 {
		t.Errorf("got %s", got)
	}
}
