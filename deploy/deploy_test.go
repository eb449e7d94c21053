package deploy_test

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// maxBinary bounds the image: it holds little else. What is above it brings in
// something that nobody meant to ship.
const maxBinary = 40 << 20

// instruction is one line of a Dockerfile, its continuations joined.
type instruction struct {
	line int
	word string // FROM, COPY, …
	args string
}

// list is the arguments in the form that no shell reads.
func (i instruction) list(t *testing.T) []string {
	t.Helper()
	var out []string
	if err := json.Unmarshal([]byte(i.args), &out); err != nil {
		t.Fatalf("Dockerfile:%d: %s is not a JSON list, so a shell would read it: %s", i.line, i.word, i.args)
	}
	return out
}

// stage is what stands from one FROM to the next.
type stage []instruction

// all are the stage's instructions of one kind.
func (s stage) all(word string) []instruction {
	var out []instruction
	for _, i := range s {
		if i.word == word {
			out = append(out, i)
		}
	}
	return out
}

// only is the stage's one instruction of that kind.
func (s stage) only(t *testing.T, word string) instruction {
	t.Helper()
	found := s.all(word)
	if len(found) != 1 {
		t.Fatalf("stage %q has %d %s, want one", s[0].args, len(found), word)
	}
	return found[0]
}

// dockerfile is the stages of the Dockerfile, the last of them the image.
func dockerfile(t *testing.T) []stage {
	t.Helper()
	known := []string{"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"}
	var out []stage
	var open *instruction
	for no, line := range lines(t, "Dockerfile") {
		text := strings.TrimSpace(line)
		if text == "" || text[0] == '#' {
			continue
		}
		text, goesOn := strings.CutSuffix(text, `\`)
		if open != nil {
			open.args += " " + strings.TrimSpace(text)
		} else {
			word, args, _ := strings.Cut(text, " ")
			if !slices.Contains(known, word) {
				t.Fatalf("Dockerfile:%d: this test doesn't know %s", no+1, word)
			}
			if word == "FROM" {
				out = append(out, nil)
			}
			if len(out) == 0 {
				t.Fatalf("Dockerfile:%d: %s before the first FROM", no+1, word)
			}
			last := &out[len(out)-1]
			*last = append(*last, instruction{no + 1, word, strings.TrimSpace(args)})
			open = &(*last)[len(*last)-1]
		}
		if !goesOn {
			open = nil
		}
	}
	if len(out) != 2 {
		t.Fatalf("%d stages, want two: build and image", len(out))
	}
	return out
}

func lines(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	var out []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		out = append(out, s.Text())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// build runs the image's own go command, as its build stage has it but for
// where the result goes, and env beside.
func build(t *testing.T, env ...string) (binary string) {
	t.Helper()
	s := dockerfile(t)[0]
	var argv []string
	for _, run := range s.all("RUN") {
		if argv = run.list(t); argv[0] == "go" && argv[1] == "build" {
			break
		}
	}
	binary = filepath.Join(t.TempDir(), "stagedoor")
	o := slices.Index(argv, "-o")
	if argv[1] != "build" || o < 0 {
		t.Fatalf("the build stage ends with %q, want a go build with -o", argv)
	}
	argv[o+1] = binary
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = ".."
	cmd.Env = os.Environ()
	for _, e := range s.all("ENV") {
		cmd.Env = append(cmd.Env, strings.Fields(e.args)...)
	}
	cmd.Env = append(cmd.Env, env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return binary
}

func TestTheBinaryNeedsNothingBesideIt(t *testing.T) {
	binary := build(t)
	st, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() > maxBinary {
		t.Errorf("%d bytes, want %d at most", st.Size(), maxBinary)
	}
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary has a %s segment: it asks for a loader that scratch hasn't got", p.Type)
		}
	}
	if f.Section(".debug_info") != nil {
		t.Error("the binary carries debug information")
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(here+"/")) {
		t.Error("the binary names the folder that it was built in")
	}
}

// What the image starts is asked of the binary: the command by its --help, and
// each flag must stand there.
func TestTheBinaryKnowsItsCommand(t *testing.T) {
	var env []string
	if runtime.GOOS != "linux" {
		env = []string{"GOOS=" + runtime.GOOS} // the image's own doesn't run here
	}
	binary := build(t, env...)
	s := dockerfile(t)[1]
	if got := s.only(t, "ENTRYPOINT").list(t); !slices.Equal(got, []string{"/stagedoor"}) {
		t.Fatalf("the entry point is %q", got)
	}
	words, flags := split(s.only(t, "CMD").list(t))
	if len(words) == 0 {
		t.Fatal("the image starts no command")
	}
	help, known := ask(t, binary, words[0])
	if !known {
		t.Fatalf("stagedoor has no command %q; it says:\n%s", words[0], help)
	}
	for _, f := range flags {
		if !regexp.MustCompile(`(^|[\s,])` + regexp.QuoteMeta(f) + `([\s,=]|$)`).MatchString(help) {
			t.Errorf("stagedoor %s has no flag %s:\n%s", words[0], f, help)
		}
	}
	if help, known := ask(t, binary, "no-such-command"); known {
		t.Errorf("the question can't say no: no-such-command is answered:\n%s", help)
	}
}

// ask is what the binary says of a command, and whether it is one: of what it
// doesn't know it may complain, or give the help of the whole.
func ask(t *testing.T, binary, command string) (help string, known bool) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, command, "--help").CombinedOutput()
	usage := regexp.MustCompile(`(?m)^Usage:\s+stagedoor ` + regexp.QuoteMeta(command) + `\b`)
	return string(out), err == nil && usage.Match(out)
}

// split parts a command line into words and the names of its flags.
func split(argv []string) (words, flags []string) {
	for _, a := range argv {
		if strings.HasPrefix(a, "-") {
			name, _, _ := strings.Cut(a, "=")
			flags = append(flags, name)
		} else {
			words = append(words, a)
		}
	}
	return words, flags
}

func TestTheImageHoldsThreeThings(t *testing.T) {
	s := dockerfile(t)[1]
	if s[0].args != "scratch" {
		t.Fatalf("the image starts from %s, want scratch", s[0].args)
	}
	if got := s.only(t, "ENV").args; got != "STATE_DIRECTORY=/var/lib/stagedoor" {
		t.Errorf("ENV %s", got)
	}
	for _, word := range []string{"RUN", "ARG", "WORKDIR"} {
		if found := s.all(word); len(found) > 0 {
			t.Errorf("Dockerfile:%d: %s in the image, want none", found[0].line, word)
		}
	}
	var got []string
	for _, c := range s.all("COPY") {
		got = append(got, c.args)
	}
	want := []string{
		"--from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
		"deploy/passwd deploy/group /etc/",
		"--from=build /stagedoor /stagedoor",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the image holds %q, want %q", got, want)
	}
}

func TestTheImageRunsAsNobodySpecial(t *testing.T) {
	user := dockerfile(t)[1].only(t, "USER").args
	uid, gid, ok := strings.Cut(user, ":")
	if !ok {
		t.Fatalf("USER %s, want UID:GID", user)
	}
	for _, id := range []string{uid, gid} {
		if n, err := strconv.Atoi(id); err != nil || n < 1000 {
			t.Errorf("USER %s: %s is no number from 1000 on", user, id)
		}
	}
	account := strings.Split(strings.Join(lines(t, "passwd"), "\n"), ":")
	if len(account) != 7 || account[0] != "stagedoor" || account[1] != "x" || account[2] != uid || account[3] != gid {
		t.Errorf("passwd says %q, want stagedoor with %s", account, user)
	}
	if want := []string{"stagedoor:x:" + gid + ":"}; !slices.Equal(lines(t, "group"), want) {
		t.Errorf("group says %q, want %q", lines(t, "group"), want)
	}
}

func TestNothingSecretIsBuiltIn(t *testing.T) {
	telling := regexp.MustCompile(`(?i)secret|token|passw(or)?d=|credential|api_?key|private|BEGIN `)
	for _, s := range dockerfile(t) {
		for _, i := range s {
			if m := telling.FindString(i.args); m != "" {
				t.Errorf("Dockerfile:%d: %s speaks of %q", i.line, i.word, m)
			}
			if i.word == "ADD" || strings.Contains(i.args, "--mount") {
				t.Errorf("Dockerfile:%d: %s brings in what isn't in the tree", i.line, i.word)
			}
		}
	}
}

// The Go release is named to the last digit, and go.mod's is no newer: with
// GOTOOLCHAIN=local the build would stop.
func TestTheToolchainIsPinned(t *testing.T) {
	from := dockerfile(t)[0][0].args
	m := regexp.MustCompile(`^golang:1\.(\d+)\.(\d+)(@sha256:[0-9a-f]{64})? AS build$`).FindStringSubmatch(from)
	if m == nil {
		t.Fatalf("FROM %s, want golang:1.X.Y AS build", from)
	}
	for _, line := range lines(t, "../go.mod") {
		v, ok := strings.CutPrefix(line, "go 1.")
		if !ok {
			continue
		}
		minor, patch, _ := strings.Cut(v, ".")
		if m[1] != minor || atoi(t, m[2]) < atoi(t, "0"+patch) {
			t.Errorf("the image builds with %s, go.mod wants go 1.%s", from, v)
		}
		return
	}
	t.Error("go.mod names no Go release")
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What .dockerignore keeps out, the build must not need: neither a source file
// nor an embedded one, and neither what the Dockerfile copies.
func TestTheBuildGetsWhatItNeeds(t *testing.T) {
	ignored := ignore(t)
	const form = `{{if .Module}}{{if .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}
{{end}}{{range .EmbedFiles}}{{$d}}/{{.}}
{{end}}{{end}}{{end}}`
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", form, ".")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	need := []string{"go.mod", "go.sum", "deploy/passwd", "deploy/group"}
	for file := range strings.FieldsSeq(string(out)) {
		rel, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		need = append(need, filepath.ToSlash(rel))
	}
	if !slices.Contains(need, "main.go") {
		t.Fatalf("go list names %d files, and main.go isn't among them", len(need))
	}
	for _, file := range need {
		if p := ignored(file); p != "" {
			t.Errorf(".dockerignore keeps out %s (%s), which the build needs", file, p)
		}
	}
	for _, file := range []string{".git/config", "flow/parse_test.go", "config/testdata/missing.yaml", "site.key", "a/b/ca.pem", "stagedoor.yaml"} {
		if ignored(file) == "" {
			t.Errorf(".dockerignore lets in %s", file)
		}
	}
}

// ignore reads .dockerignore: for a file, the pattern that keeps it out, or "".
// A pattern is rooted, ** in front means at any depth, and a folder takes all
// that is in it along.
func ignore(t *testing.T) func(file string) string {
	t.Helper()
	var patterns []string
	for no, p := range lines(t, "../.dockerignore") {
		if p == "" || p[0] == '#' {
			continue
		}
		if rest := strings.TrimPrefix(p, "**/"); p[0] == '!' || strings.Contains(rest, "**") || strings.HasPrefix(rest, "**") {
			t.Fatalf(".dockerignore:%d: this test doesn't know the form %q", no+1, p)
		}
		patterns = append(patterns, strings.TrimPrefix(p, "/"))
	}
	return func(file string) string {
		parts := strings.Split(file, "/")
		for _, p := range patterns {
			rest, anywhere := strings.CutPrefix(p, "**/")
			for from := range parts {
				if from > 0 && !anywhere {
					break
				}
				for to := from + 1; to <= len(parts); to++ {
					if ok, err := path.Match(rest, strings.Join(parts[from:to], "/")); err != nil {
						t.Fatal(fmt.Errorf(".dockerignore: %q: %w", p, err))
					} else if ok {
						return p
					}
				}
			}
		}
		return ""
	}
}
