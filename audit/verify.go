package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// Verify reads a log and says how many lines of it are good: of a known
// version, numbered without a gap, each with the hash of the one before. The
// error names the first line that isn't. A log may begin anywhere in its chain,
// since old files are deleted; what was cut off its end can't be seen either.
//
// One kind of damage is accepted, and not counted: a line that was cut short,
// when the line after it says so (a crash, a full disk).
func Verify(r io.Reader) (n int, err error) {
	var v verifier
	if err := v.file(r, ""); err != nil {
		return v.n, err
	}
	return v.n, v.broken
}

// VerifyFiles is [Verify] of a chain that goes on over several files, oldest
// first (audit.log.2, audit.log.1, audit.log).
func VerifyFiles(paths ...string) (n int, err error) {
	var v verifier
	for _, path := range paths {
		if err := v.path(path); err != nil {
			return v.n, err
		}
	}
	return v.n, v.broken
}

type verifier struct {
	n  int // good lines
	at chain
	// broken is about a line that is forgiven if the next one calls it torn.
	broken error
}

func (v *verifier) path(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("audit: opening a log: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	return v.file(f, path+":")
}

// file checks the lines of one file and leaves v where the next goes on.
func (v *verifier) file(r io.Reader, name string) error {
	br := bufio.NewReaderSize(r, maxLine)
	for no := 1; ; no++ {
		line, err := br.ReadSlice('\n')
		last := errors.Is(err, io.EOF)
		if last && len(line) == 0 {
			return nil
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			err = errors.New("longer than any audit line")
		}
		if err == nil || last {
			err = v.line(bytes.TrimSuffix(line, []byte("\n")))
		}
		switch {
		case errors.Is(err, errNotWhole):
			// A disk that stays full can cut several.
			if v.broken == nil {
				v.broken = fmt.Errorf("audit: %sline %d: %w", name, no, err)
			}
		case err != nil && v.broken != nil:
			return v.broken
		case err != nil:
			return fmt.Errorf("audit: %sline %d: %w", name, no, err)
		}
		if last {
			return nil
		}
	}
}

func (v *verifier) line(line []byte) error {
	r, err := parseRecord(line)
	if err != nil {
		return err
	}
	mends := r.Torn && (r.Ev == Start || r.Ev == Probe)
	if mends != (v.broken != nil) {
		return errors.New("says that the line before is torn, which it is not")
	}
	if v.n > 0 || r.Seq == 1 {
		if err := v.at.check(r); err != nil {
			return err
		}
	}
	v.at = chain{seq: r.Seq, hash: sumLine(line)}
	v.broken = nil
	v.n++
	return nil
}

func (c *chain) check(r record) error {
	switch {
	case r.Seq == 1 && c.seq > 0:
		return fmt.Errorf("a new log begins here, after seq %d; verify it by itself", c.seq)
	case r.Seq != c.seq+1:
		return fmt.Errorf("seq %d, want %d: lines are missing or out of order", r.Seq, c.seq+1)
	case !c.precedes(r):
		return errors.New("its prev is not the hash of the line before: one of them was changed")
	}
	return nil
}
