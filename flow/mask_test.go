package flow_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"stagedoor/flow"
	"stagedoor/secret"
)

func masked(t *testing.T, s *flow.Scrubber, src io.Reader, buf ...byte) (string, int) {
	t.Helper()
	r := s.NewMaskReader(src, buf)
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out), r.Redactions()
}

func TestAKeyInAFileIsMaskedInItsOwnLength(t *testing.T) {
	for _, key := range []string{realKey, nastyKey} {
		s := flow.NewScrubber(secret.FromString(key))
		for name, spelled := range spellings(key) {
			if key == nastyKey && name == "mixed" {
				continue // %-escapes of a key that itself holds % are ambiguous
			}
			in := "\x00\xff\\%&" + spelled + "\x89PNG" + spelled
			got, n := masked(t, s, strings.NewReader(in))
			if n != 2 || len(got) != len(in) || strings.Contains(got, spelled) || !strings.HasPrefix(got, "\x00\xff\\%&") || strings.Count(got, "*") < 2*len(spelled)*3/4 {
				t.Errorf("%s of %s: %d found, %q became %q", name, key, n, in, got)
			}
		}
	}
}

func TestMasksAreTheSameHoweverAFileIsSplit(t *testing.T) {
	s := flow.NewScrubber(secret.FromString(realKey), secret.FromString(nastyKey))
	buf := make([]byte, 256<<10)
	for _, spelled := range append(scrubSeeds(), spellings(realKey)["all \\u"], spellings(realKey)["hex"]) {
		in := "%\\&" + spelled + "\x00" + realKey + `\`
		want, n := masked(t, s, strings.NewReader(in))
		if len(want) != len(in) || n == 0 {
			t.Errorf("%q became %q", in, want)
		}
		if got, m := masked(t, s, iotest.OneByteReader(strings.NewReader(in)), buf...); got != want || m != n {
			t.Errorf("byte by byte %q became %q, want %q", in, got, want)
		}
		for at := range len(in) {
			src := io.MultiReader(strings.NewReader(in[:at]), strings.NewReader(in[at:]))
			if got, m := masked(t, s, src, buf...); got != want || m != n {
				t.Fatalf("split at %d, %q became %q, want %q", at, in, got, want)
			}
		}
	}
}

// TestAKeyAcrossReadsOfALargeFileIsMasked puts keys where one buffer ends and
// the next begins.
func TestAKeyAcrossReadsOfALargeFileIsMasked(t *testing.T) {
	s := flow.NewScrubber(secret.FromString(realKey))
	in := noise(600 << 10)
	at := []int{0, 256<<10 - 5, 256<<10 + 100, 512<<10 - len(realKey), len(in) - len(realKey)}
	want := bytes.Clone(in)
	for _, i := range at {
		copy(in[i:], realKey)
		copy(want[i:], strings.Repeat("*", len(realKey)))
	}
	src := bytes.NewReader(in)
	r := s.NewMaskReader(src, nil)
	var out bytes.Buffer
	if n, err := io.Copy(&out, r); err != nil || n != int64(len(in)) || r.Redactions() != len(at) || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%d bytes, %v, %d found", n, err, r.Redactions())
	}
	if got, n := masked(t, s, bytes.NewReader(in)); n != len(at) || got != string(want) {
		t.Errorf("read, %d found", n)
	}
}

func TestABrokenFileStaysBroken(t *testing.T) {
	s := flow.NewScrubber(secret.FromString(realKey))
	broken := func() io.Reader { return s.NewMaskReader(iotest.TimeoutReader(strings.NewReader("abc")), nil) }
	if b, err := io.ReadAll(broken()); err == nil || string(b) != "abc" {
		t.Errorf("a broken file looks complete: %q", b)
	}
	var out bytes.Buffer
	if _, err := io.Copy(&out, broken()); err == nil || out.String() != "abc" {
		t.Errorf("a broken file looks complete: %q", out.String())
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// BenchmarkMask measures the search in files: noise, as in a movie, text, and
// zeros.
func BenchmarkMask(b *testing.B) {
	for name, s := range map[string]*flow.Scrubber{
		"key":       flow.NewScrubber(secret.FromString(realKey)),
		"key+token": flow.NewScrubber(secret.FromString(realKey), secret.FromString(realToken())),
		"five": flow.NewScrubber(secret.FromString(realKey), secret.FromString("old-key-1-0123456789abcdef"), secret.FromString("old-key-2-0123456789abcdef"),
			secret.FromString("old-key-3-0123456789abcdef"), secret.FromString("0123456789abcdef0123456789abcdef")),
	} {
		for what, in := range map[string][]byte{
			"noise": noise(16 << 20), "zeros": make([]byte, 16<<20), "text": []byte(strings.Repeat("v 0.1250 -3.7500 12.0625\n", 16<<20/25)),
		} {
			buf := make([]byte, 256<<10)
			b.Run(fmt.Sprintf("%s/%s", name, what), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(in)))
				for b.Loop() {
					if _, err := io.Copy(io.Discard, s.NewMaskReader(bytes.NewReader(in), buf)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// FuzzMask: what is masked is what would be replaced in an answer, every split
// gives the same, and a cut masks nothing less.
func FuzzMask(f *testing.F) {
	for _, s := range scrubSeeds() {
		f.Add([]byte(s+"\x00\x80"+s), 3)
	}
	var keys []secret.Value
	for _, k := range oddKeys() {
		keys = append(keys, secret.FromString(k))
	}
	s := flow.NewScrubber(keys...)
	buf := make([]byte, 256<<10)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		size = 1 + (size%64+64)%64
		whole, n := masked(t, s, bytes.NewReader(in), buf...)
		if got, m := masked(t, s, &chunked{bytes.NewReader(in), size}, buf...); got != whole || m != n {
			t.Fatalf("in reads of %d: %q (%d), whole %q (%d)", size, got, m, whole, n)
		}
		if len(whole) != len(in) {
			t.Fatalf("%q became %q", in, whole)
		}
		checkCut(t, s, buf, string(in), whole, size)
		if bytes.ContainsAny(in, string(flow.Mask)+flow.Redacted[:1]) {
			return // what was replaced can't be told
		}
		replaced, m := s.Bytes(in)
		want := strings.ReplaceAll(string(replaced), flow.Redacted, "")
		if got := strings.ReplaceAll(whole, string(flow.Mask), ""); got != want || n != m {
			t.Fatalf("%q became %q (%d), want %q (%d)", in, whole, n, replaced, m)
		}
	})
}
