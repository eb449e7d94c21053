package fleet_test

import (
	"strconv"
	"strings"
	"testing"

	"stagedoor/fleet"
)

// FuzzBrakeEntry holds that what is taken for a brake is exactly what is written
// for one.
func FuzzBrakeEntry(f *testing.F) {
	seeds := [][2]string{
		{"script:farm", "1\t0.5\t1795579165187\tanna\tsite slow"},
		{"caller:anna:b", "1\t0\t1\t\t"},
		{"script:farm", "1\tlifted\t1795579165187\t\t"},
		{"script:farm", "1\t1e+06\t1\ta\tb"},
		{"", ""},
	}
	for _, s := range seeds {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, field, raw string) {
		b, lifted, ends, err := fleet.ParseEntry(field, raw)
		if err != nil {
			return
		}
		rate := strconv.FormatFloat(b.Rate, 'g', -1, 64)
		if lifted {
			rate = "lifted"
		}
		again := strings.Join([]string{"1", rate, strconv.FormatInt(ends, 10), b.By, b.Why}, "\t")
		if again != raw || b.Scope+":"+b.Name != field || b.Rate < 0 || b.Rate > 1e6 || b.Name == "" ||
			len(b.Name) > fleet.MaxBrakeText || len(b.Why) > fleet.MaxBrakeText || len(b.By) > fleet.MaxBrakeText {
			t.Errorf("%q %q was read as %+v, %v, %d", field, raw, b, lifted, ends)
		}
	})
}
