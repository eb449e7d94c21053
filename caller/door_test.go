package caller_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"stagedoor/caller"
)

func request(t *testing.T, raw string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(raw, "\n", "\r\n"))))
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return r
}

func TestDoor(t *testing.T) {
	d := caller.NewDoor("8470", "flow.farm.lan")
	for _, tt := range []struct {
		raw  string
		want caller.Problem
	}{
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:8470\n\n", ""},
		{"POST /api3/json HTTP/1.1\nHost: LocalHost:8470\n\n", ""},
		{"POST /api3/json HTTP/1.1\nHost: [::1]:8470\n\n", ""},
		{"POST /api3/json HTTP/1.1\nHost: flow.farm.lan:8470\n\n", ""},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:80\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: \n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: localhost.:8470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: 2130706433:8470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: 127.1:8470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: 0.0.0.0:8470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: evil.example:8470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:08470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1.:8470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: 0x7f.0.0.1:8470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.2:8470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: [::ffff:127.0.0.1]:8470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: [::1%25lo]:8470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: [0:0:0:0:0:0:0:1]:8470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: sub.localhost:8470\n\n", caller.BadHost},
		{"POST /api3/json HTTP/1.1\nHost: ::1:8470\n\n", ""},
		{"POST /api3/json HTTP/1.1\nHost: acme.shotgrid.autodesk.com\n\n", caller.BadHost},
		{"POST http://127.0.0.1:8470/api3/json HTTP/1.1\nHost: evil.example\n\n", caller.BadTarget},
		{"CONNECT 127.0.0.1:8470 HTTP/1.1\nHost: 127.0.0.1:8470\n\n", caller.BadTarget},
		{"POST //api3/json HTTP/1.1\nHost: 127.0.0.1:8470\n\n", caller.BadTarget},
		{"POST https://site.example/api3/json HTTP/1.1\nHost: 127.0.0.1:8470\n\n", caller.BadTarget},
		{"GET mailto:x HTTP/1.1\nHost: 127.0.0.1:8470\n\n", caller.BadTarget},
		{"CONNECT /api3/json HTTP/1.1\nHost: 127.0.0.1:8470\n\n", caller.BadTarget},
		{"OPTIONS * HTTP/1.1\nHost: 127.0.0.1:8470\n\n", caller.BadTarget},
		{"OPTIONS /api3/json HTTP/1.1\nHost: 127.0.0.1:8470\n\n", caller.Browser},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:8470\nOrigin: null\n\n", caller.Browser},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:8470\norigin: http://127.0.0.1:8470\n\n", caller.Browser},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:8470\nSec-Fetch-Site: none\n\n", caller.Browser},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:8470\nSec-Fetch-Mode: cors\n\n", ""},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:8470\nUpgrade: h2c\nConnection: upgrade\n\n", caller.Upgrade},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:8470\nHTTP2-Settings: AAMAAABkAAQAAP__\n\n", caller.Upgrade},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:8470\nOrigin:\n\n", caller.Browser},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:8470\nConnection: Origin\nOrigin: x\n\n", caller.Browser},
		{"POST /api3/json HTTP/1.1\nHost: 127.0.0.1:8470\nX-HTTP-Method-Override: GET\n\n", caller.Override},
	} {
		if got := d.Check(request(t, tt.raw)); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.raw, got, tt.want)
		}
	}
}

func hostSeeds() []string {
	return []string{"127.0.0.1:8470", "localhost:8470", "[::1]:8470", "evil.example", "127.0.0.1:8470.evil", "\u212aocalhost:8470", "LOCALHOST:8470"}
}

// FuzzHost: a host that is let in is, but for ASCII case, one of the few
// spellings that are this listener's.
func FuzzHost(f *testing.F) {
	for _, s := range hostSeeds() {
		f.Add(s)
	}
	d := caller.NewDoor("8470", "flow.farm.lan")
	f.Fuzz(func(t *testing.T, host string) {
		if !d.KnowsHost(host) {
			return
		}
		for _, ok := range []string{"127.0.0.1:8470", "localhost:8470", "[::1]:8470", "::1:8470", "flow.farm.lan:8470"} {
			if len(host) == len(ok) && strings.EqualFold(host, ok) {
				return
			}
		}
		t.Fatalf("%q is let in", host)
	})
}

func TestFuzzHostHasSeeds(t *testing.T) {
	if len(hostSeeds()) < 5 {
		t.Error("the fuzz target has lost its seeds")
	}
}
