package cli

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/klauspost/compress/zstd"

	"stagedoor/audit"
)

// Bounds of reading audit logs.
const (
	// maxTrailFiles is how many files one trail may have: a hundred hosts for
	// a quarter of a year.
	maxTrailFiles = 10_000
	// maxTrailLine is the longest line of a log, in bytes: none that package
	// audit writes is longer.
	maxTrailLine = 256 << 10
	// maxTrailBytes bounds one file, unpacked: a log is rotated at 100 MiB, and
	// what packs better than that is no log.
	maxTrailBytes = 8 << 30
	// maxWindow is the memory that unpacking one file may take, in bytes.
	maxWindow = 64 << 20
)

// auditLine is what these commands read of a record. A new optional field does
// not change a log's version, so others are passed over.
type auditLine struct {
	V           int             `json:"v"`
	T           time.Time       `json:"t"`
	Ev          audit.Kind      `json:"ev"`
	ID          string          `json:"id"`
	Listener    string          `json:"listener"`
	Caller      string          `json:"caller"`
	Script      string          `json:"script"`
	Method      string          `json:"method"`
	Decision    audit.Decision  `json:"decision"`
	Rule        string          `json:"rule"`
	Reason      string          `json:"reason"`
	Observed    string          `json:"observed"`
	Shape       json.RawMessage `json:"shape"`
	SudoAsLogin string          `json:"sudo_as_login"`
	Count       int             `json:"count"`
	LastID      string          `json:"last_id"`
}

// readAuditLine reads one record.
func readAuditLine(text []byte) (*auditLine, error) {
	var l auditLine
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, fmt.Errorf("the record is not one JSON line: %w", err)
	}
	if l.V != audit.Version {
		return nil, fmt.Errorf("the record is of version %d of the format; this stagedoor knows %d", l.V, audit.Version)
	}
	l.clean()
	return &l, nil
}

// clean makes every text of a record one line that a terminal acts on nowhere:
// what a caller wrote is printed among rules that are for pasting. The shape holds
// identifiers alone.
func (l *auditLine) clean() {
	for _, s := range []*string{
		&l.ID, &l.LastID, &l.Listener, &l.Caller, &l.Script, &l.Method, &l.Rule, &l.Reason, &l.Observed, &l.SudoAsLogin,
	} {
		*s = printable(*s)
	}
}

// printable puts U+FFFD for each character that is none to be seen.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// trail are the logs that are named, or the configuration's own.
func (b *rulebook) trail(from []string) ([]string, error) {
	if len(from) > 0 {
		return trailFiles(from)
	}
	return b.ownTrail()
}

// trailFiles are the files that patterns stand for, in order of their names,
// each once. "-" is standard input.
func trailFiles(patterns []string) ([]string, error) {
	var out []string
	for _, p := range patterns {
		if p == "-" {
			out = append(out, p)
			continue
		}
		found, err := filepath.Glob(p)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", p, err)
		case len(found) == 0:
			return nil, fmt.Errorf("%s: there is no such file", p)
		}
		out = append(out, found...)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) > maxTrailFiles {
		return nil, fmt.Errorf("%d files are more than %d; narrow the pattern", len(out), maxTrailFiles)
	}
	return out, nil
}

// ownTrail are the files of the configuration's own log, the newest first: as it
// was rotated here, and as logrotate packs it.
func (b *rulebook) ownTrail() ([]string, error) {
	path := b.cfg.Audit.File
	if path == "" {
		return nil, fmt.Errorf("%s sends the audit log to standard output; say where it is kept: --from 'GLOB'", b.path)
	}
	type file struct {
		name string
		n    int
	}
	found, err := filepath.Glob(globEscape(path) + ".*")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	files := []file{{path, 0}}
	for _, name := range found {
		suffix := strings.TrimPrefix(name, path+".")
		suffix = strings.TrimSuffix(strings.TrimSuffix(suffix, ".gz"), ".zst")
		if n, err := strconv.Atoi(suffix); err == nil {
			files = append(files, file{name, n})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return a.n - b.n })
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.name
	}
	return out, nil
}

// globEscape makes a pattern of a name that stands for itself.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// trailReader goes through the lines of logs.
type trailReader struct {
	stdin io.Reader
	// torn counts lines that a crash or a full disk cut short.
	torn int
}

// errStop ends a walk through a trail early.
var errStop = errors.New("stop")

// file calls fn for each line of a file, which may be packed. The bytes are fn's
// until it returns. fn may end it with errStop.
func (t *trailReader) file(path string, fn func(line []byte) error) error {
	src := t.stdin
	if path != "-" {
		f, err := os.Open(filepath.Clean(path))
		if err != nil {
			return fmt.Errorf("opening an audit log: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		src = f
	}
	r, done, err := unpacked(bufio.NewReaderSize(src, maxTrailLine))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer done()
	err = t.lines(&bounded{r, maxTrailBytes}, fn)
	if err != nil && !errors.Is(err, errStop) {
		return fmt.Errorf("%s:%w", path, err)
	}
	return err
}

// bounded fails where a limit is reached: a log that is cut short tells lies.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, fmt.Errorf("more than %d bytes, unpacked", int64(maxTrailBytes))
	}
	return n, err
}

// unpacked looks at the first bytes of a file, not at its name.
func unpacked(br *bufio.Reader) (r io.Reader, done func(), err error) {
	head, _ := br.Peek(4)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, nil, fmt.Errorf("unpacking: %w", err)
		}
		return z, func() {}, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("unpacking: %w", err)
		}
		return z, z.Close, nil
	}
	return br, func() {}, nil
}

// lines calls fn for each line. A line that is not whole is passed over and
// counted; a file that holds nothing else is no log.
func (t *trailReader) lines(r io.Reader, fn func(line []byte) error) error {
	br, good, bad := bufio.NewReaderSize(r, maxTrailLine), 0, 0
	for no := 1; ; no++ {
		line, err := br.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			if good == 0 && bad > 0 {
				return errors.New("1: this is no audit log")
			}
			t.torn += bad
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("%d: a line is longer than any of an audit log", no)
		case err != nil && !errors.Is(err, io.EOF):
			return fmt.Errorf("%d: reading: %w", no, err)
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] != '{' || line[len(line)-1] != '}' {
			bad++
			continue
		}
		good++
		if err := fn(line); err != nil {
			if errors.Is(err, errStop) {
				return err
			}
			return fmt.Errorf("%d: %w", no, err)
		}
	}
}

// records calls fn for each record of the files.
func (t *trailReader) records(paths []string, fn func(l *auditLine) error) error {
	for _, path := range paths {
		err := t.file(path, func(line []byte) error {
			l, err := readAuditLine(line)
			if err != nil {
				return err
			}
			return fn(l)
		})
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// minID is how much of a request id finds it, in characters: its time, to the
// second or so.
const minID = 8

// isRequestID says whether a text can be a request id, or its beginning.
func isRequestID(s string) bool {
	if len(s) < minID || len(s) > 26 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z') {
			return false
		}
	}
	return s[0] >= '0' && s[0] <= '7'
}

// asks says whether a record tells what was asked with a request id: by itself, or
// as the last of the refusals that are like the first of a repeat.
func (l *auditLine) asks(id string) bool {
	switch l.Ev { //nolint:exhaustive // the others tell nothing of it
	case audit.Intent, audit.RefusedCall:
	case audit.Repeat:
		if len(l.Shape) == 0 { // of several kinds together
			return false
		}
		l.ID = l.LastID
	default:
		return false
	}
	return strings.HasPrefix(l.ID, id)
}

// find looks a request id up. Of a call's records the one that says what was
// asked is meant.
func (t *trailReader) find(paths []string, id string) (*auditLine, error) {
	id = strings.ToUpper(id)
	want := []byte(`id":"` + id) // also the last_id of a repeat
	var found *auditLine
	for _, path := range paths {
		err := t.file(path, func(line []byte) error {
			if !bytes.Contains(line, want) {
				return nil
			}
			l, err := readAuditLine(line)
			if err != nil {
				return err
			}
			switch {
			case !l.asks(id):
			case found != nil && found.ID != l.ID:
				return fmt.Errorf("%s begins several request ids, such as %s and %s; give more of it", id, found.ID, l.ID)
			case l.ID == id:
				found = l
				return errStop
			default:
				found = l
			}
			return nil
		})
		switch {
		case errors.Is(err, errStop):
			return found, nil
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return nil, err
		case found != nil:
			return found, nil
		}
	}
	return nil, fmt.Errorf("no record of %s is kept in %s", id, strings.Join(shorten(paths), ", "))
}

// maxListed is how many files a message names.
const maxListed = 5

func shorten(paths []string) []string {
	if len(paths) <= maxListed {
		return paths
	}
	return append(slices.Clone(paths[:maxListed-1]), fmt.Sprintf("and %d others", len(paths)-maxListed+1))
}
