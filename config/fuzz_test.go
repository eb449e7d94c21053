package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stagedoor/config"
)

// seeds are the files of testdata.
func seeds(tb testing.TB) [][]byte {
	tb.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	var out [][]byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

func TestFuzzConfigHasSeeds(t *testing.T) {
	if n := len(seeds(t)); n < 100 {
		t.Errorf("%d seeds", n)
	}
}

// FuzzConfig: what is accepted means the same when it is written out and read
// again; what is refused says why, and gives no configuration; and a key under a
// field that is not known never shows, whatever stands before it.
func FuzzConfig(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	canary := canaries()["application key"]
	f.Fuzz(func(t *testing.T, data []byte) {
		_, planted := config.Parse("stagedoor.yaml", []byte(string(data)+"\nplanted: "+canary+"\n"))
		if s := shown(t, planted, canary); s != "" {
			t.Errorf("shows %s", s)
		}
		c, ds := config.Parse("stagedoor.yaml", data)
		if c == nil {
			if len(ds) == 0 || !strings.Contains(config.Format(ds), "error: ") {
				t.Errorf("refused without a reason: %s", config.Format(ds))
			}
			return
		}
		roundTrip(t, c)
	})
}
