package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// sink is where lines end up: a file of ours, or what Options.Sink is. It
// belongs to the writer.
type sink struct {
	opts *Options
	f    *os.File // nil: Options.Sink
	// size counts for rotation; regular is a file that can be rotated.
	size    int64
	regular bool
}

// fileMode is the mode of a log: its owner only.
const fileMode = 0o600

// open opens the sink and finds where its chain ends.
func (s *sink) open() (tail, error) {
	if s.opts.Sink != nil {
		return tail{}, nil
	}
	if err := s.openFile(); err != nil {
		return tail{}, err
	}
	if !s.regular {
		return tail{}, nil
	}
	t, err := tailOf(s.opts.Path)
	if err == nil && s.size == 0 {
		// A rotation may have been the last thing that happened.
		t, err = tailOf(s.rotated(1))
		t.open = false // not in this file
	}
	if err != nil {
		err = fmt.Errorf("%s is not an audit log that can be continued; move it away: %w", s.opts.Path, err)
		return tail{}, errors.Join(err, s.close())
	}
	return t, nil
}

// openFile opens Options.Path in place of what is open now. A file that others
// may write is refused: they could write a history of their own, chain and all.
func (s *sink) openFile() error {
	f, err := os.OpenFile(s.opts.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, fileMode)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && st.Mode().IsRegular() {
		err = errors.Join(ours(st, s.opts.Path), lock(f))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	err = s.close()
	s.f, s.size, s.regular = f, st.Size(), st.Mode().IsRegular()
	return err
}

// write is an io.Writer's, also when Options.Sink keeps to that less well.
func (s *sink) write(b []byte) (n int, err error) {
	if s.f == nil {
		n, err = s.opts.Sink.Write(b)
	} else {
		n, err = s.f.Write(b)
		s.size += int64(n)
	}
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return min(n, len(b)), err
}

// full says whether a line of n bytes and its head, after pending bytes, would
// be too much for the file.
func (s *sink) full(pending, n int) bool {
	const head = 80
	have := s.size + int64(pending)
	return s.regular && have > 0 && have+int64(n)+head > s.opts.MaxSize
}

// rotate renames the file to .1, .1 to .2 and so on, and begins a new one. When
// that fails, the old one stays in use.
func (s *sink) rotate() error {
	for i := s.opts.Keep - 1; i >= 1; i-- {
		err := os.Rename(s.rotated(i), s.rotated(i+1))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(s.opts.Path, s.rotated(1)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return s.openFile()
}

func (s *sink) rotated(i int) string { return s.opts.Path + "." + strconv.Itoa(i) }

// reopen opens the path anew if it isn't the file that is open.
func (s *sink) reopen() error {
	if s.f == nil {
		return nil
	}
	now, err := s.f.Stat()
	if err != nil {
		return err
	}
	if st, err := os.Stat(s.opts.Path); err == nil && os.SameFile(st, now) {
		return nil
	}
	if err := s.openFile(); err != nil {
		return fmt.Errorf("audit: opening the log anew: %w", err)
	}
	return nil
}

// free is the space in bytes left to an unprivileged writer, or -1.
func (s *sink) free() int64 {
	if !s.regular || s.opts.MinFree < 0 {
		return -1
	}
	return freeIn(filepath.Dir(s.opts.Path))
}

func (s *sink) close() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}
