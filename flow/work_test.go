package flow_test

import (
	"strings"
	"testing"

	"stagedoor/flow"
	"stagedoor/secret"
)

// TestEscapesOfAKeysCharactersCostNoMoreThanReadingThem: whoever may store a text
// must not make its readers pay for each word that a character of it is in.
func TestEscapesOfAKeysCharactersCostNoMoreThanReadingThem(t *testing.T) {
	s := flow.NewScrubber(secret.FromString(realToken()), secret.FromString(realKey))
	for _, unit := range []string{
		"%65", "%2565", "%2561%2542%2563%2544%2533", `\u0065`, `\\u0065`, "&#101;", "&amp;#101;", "%25252565", `%65&#121;\u004a`,
		"%25", `\\`, "&amp;amp;", "%2565%2579%254a", "y%254a", realToken()[:8] + "%2565", "%65" + realToken()[1:20],
	} {
		once := s.ScrubWork([]byte(strings.Repeat(unit, 8<<10/len(unit))))
		in := strings.Repeat(unit, 64<<10/len(unit))
		work := s.ScrubWork([]byte(in))
		if most := 2 * len(in); work > most || work > 9*once+100 {
			t.Errorf("%s: %d steps for %d bytes, %d for an eighth of them", unit, work, len(in), once)
		}
	}
}

func TestManyLinksInAnObjectCostNoMoreThanReadingIt(t *testing.T) {
	for _, unit := range []string{
		`\u002f\u002f`, `//`, `/\u002f`, `"upload":"//",`, `"upload":"\/\/",`, `"upload":"` + site + `/files/x",`, `"url":"` + site + `/files/x",`,
		`{"upload":"\/\/"},"upload":"\/\/",`, `},"upload":"\/\/",`, `{"upload":"\/\/",`, `],"url":"` + site + `/files/x",`,
	} {
		for what, l := range map[string]*flow.Links{"links": links(), "relayed": relayed()} {
			once := l.LinkWork([]byte(`{"r":` + strings.Repeat(unit, 32<<10/len(unit))))
			in := `{"r":` + strings.Repeat(unit, 256<<10/len(unit))
			work := l.LinkWork([]byte(in))
			if most := 8 * len(in); work == 0 || work > most || work > 9*once+100 {
				t.Errorf("%s, %s: %d steps for %d bytes, %d for an eighth of them", unit, what, work, len(in), once)
			}
		}
	}
}

// TestLinksInNestedObjectsAreTold: what is known of one object is not taken for
// another's.
func TestLinksInNestedObjectsAreTold(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{"links":{"a":{"upload":"@/api/v1/x"},"upload":"@/api/v1/x"},"upload":"@/api/v1/x"}`, `{"links":{"a":{"upload":"@/api/v1/x"},"upload":"~/api/v1/x"},"upload":"@/api/v1/x"}`},
		{`{"upload":"@/files/x","links":{"upload":"@/files/x","a":[{},"upload"],"download":"@/files/x"}}`, `{"upload":"@/files/x","links":{"upload":"~/files/x","a":[{},"upload"],"download":"~/files/x"}}`},
		{`{"a.url":"@/files/1","b":{"url":"@/files/2","link_type":"web"},"url":"@/files/3"}`, `{"a.url":"~/files/1","b":{"url":"@/files/2","link_type":"web"},"url":"~/files/3"}`},
		{`{"a.url":"@/files/1","b":{"url":"@/files/2"},"url":"@/files/3","link_type":"web"}`, `{"a.url":"@/files/1","b":{"url":"~/files/2"},"url":"@/files/3","link_type":"web"}`},
	} {
		in, want := spell(tt.in), spell(tt.want)
		if got := string(links().Whole([]byte(in))); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
		for size := 1; size < len(in); size++ {
			if got := readLinks(t, links(), &chunked{strings.NewReader(in), size}); got != want {
				t.Fatalf("%s in reads of %d became %s, want %s", in, size, got, want)
			}
		}
	}
}
