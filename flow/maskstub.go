package flow

import "io"

// NewMaskReader scrubs a file.
func (s *Scrubber) NewMaskReader(src io.Reader, buf []byte) *Reader {
	return s.NewReader(src, buf, false)
}
