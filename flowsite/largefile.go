package flowsite

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// pattern is a file of so many bytes that are computed as they are read: a
// large download takes no memory.
type pattern int64

// ReadAt fills b with the bytes from offset off on.
func (p pattern) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(p) {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), int64(p)-off))
	for i := 0; i < n; {
		at := off + int64(i)
		next := scramble(uint64(at) / 8) //nolint:gosec // at is no negative number
		if at%8 == 0 && n-i >= 8 {
			binary.LittleEndian.PutUint64(b[i:], next)
			i += 8
			continue
		}
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], next)
		i += copy(b[i:n], word[at%8:])
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// scramble is the finalizer of splitmix64: neighbours have nothing in common.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// LargeFileSHA256 is the sum of a file that [Site.AddLargeFile] made, in hex.
// It takes about a second for each gigabyte.
func LargeFileSHA256(size int64) string {
	h := sha256.New()
	_, _ = io.Copy(h, io.NewSectionReader(pattern(size), 0, size)) // neither end fails
	return hex.EncodeToString(h.Sum(nil))
}

// AddLargeFile puts in a file of so many bytes, whose contents are computed
// when they are sent, and gives the id of its Attachment. Its sum is
// [LargeFileSHA256].
func (s *Site) AddLargeFile(size int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addLocked(&blob{
		File: File{Name: "large.bin", ContentType: "application/octet-stream", Size: size},
		tag:  fmt.Sprintf(`"made-%d"`, size), made: true, modified: s.opts.Now().UTC().Truncate(time.Second),
	})
}
