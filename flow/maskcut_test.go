package flow_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"stagedoor/flow"
	"stagedoor/secret"
)

// rim is how many characters of a key may show at an end of a part of a file.
const rim = 3

// cutMasked masks in[from:to] as a part of in.
func cutMasked(t *testing.T, s *flow.Scrubber, buf []byte, in string, from, to int, src func(io.Reader) io.Reader) (string, int) {
	t.Helper()
	part := io.Reader(strings.NewReader(in[from:to]))
	if src != nil {
		part = src(part)
	}
	r := s.NewMaskReader(part, buf)
	r.Cut(from > 0, to < len(in))
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != to-from {
		t.Fatalf("%d bytes became %d", to-from, len(out))
	}
	return string(out), r.Redactions()
}

// TestNoRangeShowsMoreThanTheRimsOfAKey cuts files everywhere: each part shows
// at most the first and last three characters of the key and its neighbours.
func TestNoRangeShowsMoreThanTheRimsOfAKey(t *testing.T) {
	buf := make([]byte, 256<<10)
	s := flow.NewScrubber(secret.FromString(realKey))
	const before, after = "the session is <b>", "</b>, and so on for some more bytes"
	in := before + realKey + after
	start, end := len(before), len(before)+len(realKey)
	for from := 0; from <= len(in)-flow.MinRange; from++ {
		for to := from + flow.MinRange; to <= len(in); to++ {
			got, n := cutMasked(t, s, buf, in, from, to, nil)
			want := []byte(in[from:to])
			lo, hi := max(from, start), min(to, end)
			shown := hi - lo // of the key
			if shown > rim || shown > 0 && from >= start && to <= end {
				copy(want[lo-from:], strings.Repeat("*", shown))
				if n != 1 {
					t.Errorf("%d-%d: %d found", from, to, n)
				}
			}
			if got != string(want) {
				t.Fatalf("%d-%d: %q became %q, want %q", from, to, in[from:to], got, want)
			}
		}
	}
}

// TestNoRangeShowsMoreThanTheRimsOfAnySpelling: of a key with escapes, in JSON,
// URLs and HTML, cut within them too.
func TestNoRangeShowsMoreThanTheRimsOfAnySpelling(t *testing.T) {
	buf := make([]byte, 256<<10)
	for _, key := range []string{realKey, `pa&ss/w"ord+<1>%2F`} {
		s := flow.NewScrubber(secret.FromString(key))
		for name, spelled := range spellings(key) {
			if name == "mixed" && key != realKey {
				continue
			}
			in := "at first: " + spelled + " and then more"
			start, end := len("at first: "), len("at first: ")+len(spelled)
			whole, _ := cutMasked(t, s, buf, in, 0, len(in), nil)
			// Where the last byte of the first three characters is, and the first of
			// the last three, each with an escape that is cut beside it.
			rimBytes := (rim + 1) * 14
			for from := 0; from <= len(in)-flow.MinRange; from++ {
				for _, to := range []int{from + flow.MinRange, from + 2*flow.MinRange, len(in)} {
					if to > len(in) {
						continue
					}
					got, _ := cutMasked(t, s, buf, in, from, to, nil)
					for i := range got {
						at := from + i
						if inner := at >= start+rimBytes && at < end-rimBytes; inner && whole[at] == flow.Mask && got[i] != flow.Mask {
							t.Fatalf("%s of %s, %d-%d: %q became %q", name, key, from, to, in[from:to], got)
						}
					}
					checkRims(t, name, key, got, spelled)
				}
			}
		}
	}
}

// checkRims: no more than the rims of a key stand in what is shown, as it is.
func checkRims(t *testing.T, name, key, got, spelled string) {
	t.Helper()
	for i := 0; i+rim+1 <= len(key); i++ {
		if piece := key[i : i+rim+1]; strings.Contains(spelled, piece) && strings.Contains(got, piece) {
			t.Fatalf("%s of %s: %q shows %q", name, key, got, piece)
		}
	}
}

func TestCutFilesAreMaskedTheSameHoweverTheyAreSplit(t *testing.T) {
	buf := make([]byte, 256<<10)
	s := flow.NewScrubber(secret.FromString(realKey), secret.FromString(nastyKey))
	for _, spelled := range append(scrubSeeds(), spellings(realKey)["all \\u"], spellings(nastyKey)["hex"]) {
		in := spelled + "\x00" + realKey + " " + spelled
		for from := 0; from < len(in)-flow.MinRange; from += 31 {
			to := min(len(in), from+len(in)*2/3)
			want, n := cutMasked(t, s, buf, in, from, to, nil)
			if got, m := cutMasked(t, s, buf, in, from, to, iotest.OneByteReader); got != want || m != n {
				t.Fatalf("byte by byte %q became %q (%d), want %q (%d)", in[from:to], got, m, want, n)
			}
			if got, m := cutMasked(t, s, buf, in, from, to, iotest.DataErrReader); got != want || m != n {
				t.Fatalf("with its end %q became %q (%d), want %q (%d)", in[from:to], got, m, want, n)
			}
		}
	}
}

// TestAKeyBehindACutOneIsFound: what is masked at the beginning is no key's
// beginning that is lost.
func TestAKeyBehindACutOneIsFound(t *testing.T) {
	buf := make([]byte, 256<<10)
	const key = "xyza0123456789bcxyza" // ends as it begins
	s := flow.NewScrubber(secret.FromString(key))
	in := "...." + key[:16] + key + "...."
	if got, n := cutMasked(t, s, buf, in, 20, len(in), nil); got != strings.Repeat("*", len(key))+"...." || n != 1 {
		t.Errorf("%q, %d found", got, n)
	}
	in = key + key
	if got, _ := cutMasked(t, s, buf, in, 4, 4+30, nil); got != strings.Repeat("*", 30) {
		t.Errorf("%q", got)
	}
}

func TestTheCutsOfALargeFileAreMasked(t *testing.T) {
	s := flow.NewScrubber(secret.FromString(realKey))
	in := noise(600 << 10)
	copy(in, realKey[5:])
	copy(in[len(in)-7:], realKey[:7])
	want := bytes.Clone(in)
	copy(want, strings.Repeat("*", len(realKey)-5))
	copy(want[len(in)-7:], "*******")
	r := s.NewMaskReader(bytes.NewReader(in), nil)
	r.Cut(true, true)
	var out bytes.Buffer
	if n, err := io.Copy(&out, r); err != nil || n != int64(len(in)) || r.Redactions() != 2 || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%d bytes, %v, %d found", n, err, r.Redactions())
	}
}

// TestWhatIsNotCutIsNotMasked: a file that is whole may begin and end as it
// likes.
func TestWhatIsNotCutIsNotMasked(t *testing.T) {
	s := flow.NewScrubber(secret.FromString(realKey))
	for _, in := range []string{realKey[5:], realKey[:9], realKey[2:20], realKey[9:] + " " + realKey[:9]} {
		if got, n := masked(t, s, strings.NewReader(in)); got != in || n != 0 {
			t.Errorf("%q became %q", in, got)
		}
		r := s.NewMaskReader(strings.NewReader(in+"."), nil)
		r.Cut(false, true)
		if out, err := io.ReadAll(r); err != nil || string(out) != in+"." {
			t.Errorf("%q became %q, %v", in, out, err)
		}
		r = s.NewMaskReader(strings.NewReader("."+in), nil)
		r.Cut(true, false)
		if out, err := io.ReadAll(r); err != nil || string(out) != "."+in {
			t.Errorf("%q became %q, %v", in, out, err)
		}
	}
}

// TestAFileThatBrokeOffShowsNoBeginningOfAKey: its end is cut, and nobody said
// so.
func TestAFileThatBrokeOffShowsNoBeginningOfAKey(t *testing.T) {
	s := flow.NewScrubber(secret.FromString(realKey))
	broken := errors.New("broken")
	r := s.NewMaskReader(io.MultiReader(strings.NewReader("abc "+realKey[:12]), iotest.ErrReader(broken)), nil)
	if b, err := io.ReadAll(r); !errors.Is(err, broken) || string(b) != "abc ************" {
		t.Errorf("%q, %v", b, err)
	}
}

// checkCut: of a file whose ends are cut every split gives the same, and what is
// masked beside what is masked in a whole one is at its ends.
func checkCut(t *testing.T, s *flow.Scrubber, buf []byte, in, whole string, size int) {
	t.Helper()
	for _, ends := range [][2]bool{{true, false}, {false, true}, {true, true}} {
		var got [2]string
		var n [2]int
		for i, src := range []io.Reader{strings.NewReader(in), &chunked{bytes.NewReader([]byte(in)), size}} {
			r := s.NewMaskReader(src, buf)
			r.Cut(ends[0], ends[1])
			out, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			got[i], n[i] = string(out), r.Redactions()
		}
		if got[0] != got[1] || n[0] != n[1] || len(got[0]) != len(in) {
			t.Fatalf("%q cut %v became %q (%d), in reads of %d %q (%d)", in, ends, got[0], n[0], size, got[1], n[1])
		}
		head, tail := 0, len(in)
		for ends[0] && head < len(in) && got[0][head] == flow.Mask {
			head++
		}
		for ends[1] && tail > head && got[0][tail-1] == flow.Mask {
			tail--
		}
		if got[0][head:tail] != whole[head:tail] {
			t.Fatalf("%q cut %v became %q, whole %q", in, ends, got[0], whole)
		}
	}
}

// spellAs writes one character in one of the ways that are read.
func spellAs(c byte, way int) string {
	forms := []string{"%c", `\u%04x`, "%%%02X", "&#%d;", "&#x%x;", `\x%02x`, `\%03o`, "%%u%04X", "%%25%02x", `\\u%04x`, "&amp;#%d;", `\u0026#%d;`, "%%26%%23%d%%3B", "%%26%%23x%X%%3b"}
	return fmt.Sprintf(forms[way%len(forms)], c)
}

// FuzzMaskCut puts the parts of a file together again: of a key in it, whatever
// way each of its characters is written and wherever it is cut, no more shows
// than its first and last three characters and an escape that is cut beside
// these.
func FuzzMaskCut(f *testing.F) {
	for way := range 14 {
		f.Add("some text ", []byte{byte(way)}, " behind", []byte{20, 17}, false)
		f.Add("", []byte{byte(way), 0, 0, 0, byte(way), 1}, "", []byte{0, 3, 40, 1}, true)
	}
	f.Add(`\`, []byte{0}, "0041", []byte{1, 5, 8}, true)
	buf := make([]byte, 256<<10)
	var scrubbers [2]*flow.Scrubber
	keys := [2]string{realKey, `pa&ss/w"ord+<1>%2F`}
	for i, key := range keys {
		scrubbers[i] = flow.NewScrubber(secret.FromString(key))
	}
	f.Fuzz(func(t *testing.T, before string, ways []byte, after string, sizes []byte, nasty bool) {
		key, s := keys[0], scrubbers[0]
		if nasty {
			key, s = keys[1], scrubbers[1]
		}
		if len(ways) == 0 || len(before)+len(after) > 1<<10 {
			return
		}
		in := before
		var places []int // where each character begins
		for i := range len(key) {
			places = append(places, len(in))
			in += spellAs(key[i], int(ways[i%len(ways)]))
		}
		in += after
		whole, _ := masked(t, s, strings.NewReader(in), buf...)
		out := ""
		for i := 0; len(out) < len(in); i++ {
			to := len(in)
			if i < len(sizes) {
				to = min(to, len(out)+flow.MinRange+int(sizes[i]))
			}
			part, n := cutMasked(t, s, buf, in, len(out), to, nil)
			if again, m := cutMasked(t, s, buf, in, len(out), to, iotest.HalfReader); again != part || m != n {
				t.Fatalf("%q became %q (%d) and %q (%d)", in[len(out):to], part, n, again, m)
			}
			out += part
		}
		for i := range out {
			if out[i] != in[i] && out[i] != flow.Mask {
				t.Fatalf("%q became %q", in, out)
			}
		}
		inner := out[places[rim+1]:places[len(key)-rim-1]]
		if found := whole[places[0]] == flow.Mask && whole[places[len(key)-1]] == flow.Mask; found && strings.Trim(inner, string(flow.Mask)) != "" {
			t.Fatalf("%q\nin parts became %q\nwhole %q", in, out, whole)
		}
	})
}
