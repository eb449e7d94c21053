package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// hashLen is how many bytes of the SHA-256 of a line stand in the next: 16.
const hashLen = 16

// chain is a place between two lines: the number and hash of the one before.
// The zero chain is where a log begins.
type chain struct {
	seq  uint64
	hash [hashLen]byte
}

// appendHead appends the start of the line that comes after c.
func (c *chain) appendHead(b []byte) []byte {
	b = append(b, `{"v":`...)
	b = strconv.AppendInt(b, Version, 10)
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, c.seq+1, 10)
	b = append(b, `,"prev":"`...)
	b = hex.AppendEncode(b, c.hash[:])
	return append(b, '"')
}

// after is the place behind line, which has no line end.
func (c *chain) after(line []byte) chain {
	return chain{seq: c.seq + 1, hash: sumLine(line)}
}

func sumLine(line []byte) [hashLen]byte {
	sum := sha256.Sum256(line)
	return [hashLen]byte(sum[:hashLen])
}

// errNotWhole is a line that isn't JSON, as what a crash leaves behind never is.
var errNotWhole = errors.New("not a complete audit line")

// record is what the chain needs of a line.
type record struct {
	V    int    `json:"v"`
	Seq  uint64 `json:"seq"`
	Prev string `json:"prev"`
	Ev   Kind   `json:"ev"`
	Torn bool   `json:"torn"`
}

func parseRecord(line []byte) (record, error) {
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		return r, errNotWhole
	}
	if r.V != Version {
		return r, fmt.Errorf("format version %d, this program knows %d", r.V, Version)
	}
	return r, nil
}

// tail is the end of an audit file.
type tail struct {
	chain chain
	// open says that the last line has no line end, torn that it isn't whole.
	open, torn bool
}

// readTail finds the end of the chain in f, whose size is given.
func readTail(f io.ReaderAt, size int64) (tail, error) {
	buf := make([]byte, min(size, 2*maxLine))
	if _, err := f.ReadAt(buf, size-int64(len(buf))); err != nil && !errors.Is(err, io.EOF) {
		return tail{}, err
	}
	var t tail
	end := bytes.LastIndexByte(buf, '\n')
	rest := buf[end+1:]
	if end >= 0 {
		line := buf[bytes.LastIndexByte(buf[:end], '\n')+1 : end]
		r, err := parseRecord(line)
		if err != nil {
			return tail{}, fmt.Errorf("its last line: %w", err)
		}
		t.chain = chain{seq: r.Seq, hash: sumLine(line)}
	} else if size > maxLine {
		return tail{}, errors.New("it holds no audit line")
	}
	if len(rest) > 0 {
		t.open, t.torn = true, true
		if r, err := parseRecord(rest); err == nil && t.chain.precedes(r) {
			t.chain, t.torn = t.chain.after(rest), false
		}
	}
	return t, nil
}

func (c *chain) precedes(r record) bool {
	return r.Seq == c.seq+1 && r.Prev == hex.EncodeToString(c.hash[:])
}

// tailOf is readTail of a path; a file that isn't there has the zero tail.
func tailOf(path string) (tail, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return tail{}, nil
	} else if err != nil {
		return tail{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return tail{}, err
	}
	return readTail(f, st.Size())
}
