package flowsite

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of a multipart form.
const (
	maxPartHead  = 8 << 10  // the header lines of one part
	maxFormField = 1 << 20  // one value: api_link_file repeats a link of 2 KB
	maxFormHead  = 4 << 20  // everything that isn't the file
	readAhead    = 64 << 10 // the buffer in which the next boundary is sought
)

// errMalformed marks a form that came whole and is none that a client sends.
var errMalformed = errors.New("malformed multipart")

func malformed(format string, a ...any) error {
	return fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, a...))
}

// multipartReader reads a form as the client writes it (flow-protocol §3.1) and
// nothing looser: no preamble, CRLF everywhere, boundaries with nothing after
// them, the end and at most one empty line.
type multipartReader struct {
	src   *bufio.Reader
	delim []byte // CRLF, two dashes, boundary
	head  []byte // what was read, less the file's bytes
	begun bool
}

func newMultipartReader(src io.Reader, boundary string) *multipartReader {
	return &multipartReader{src: bufio.NewReaderSize(src, readAhead), delim: []byte("\r\n--" + boundary)}
}

// formPart is the head of one part.
type formPart struct {
	name, filename string
	isFile         bool
	contentType    string // "": none given
	length         string // Content-Length as given, "": none
}

// next reads the head of the next part; io.EOF after the last one, when
// nothing else follows.
func (m *multipartReader) next() (formPart, error) {
	if !m.begun {
		m.begun = true
		line, err := m.take(len(m.delim) - 2)
		if err != nil {
			return formPart{}, err
		}
		if !bytes.Equal(line, m.delim[2:]) {
			return formPart{}, malformed("it doesn't begin with its boundary")
		}
	}
	after, err := m.take(2)
	switch {
	case err != nil:
		return formPart{}, err
	case string(after) == "--":
		return formPart{}, m.end()
	case string(after) != "\r\n":
		return formPart{}, malformed("something after a boundary")
	}
	return m.partHead()
}

// take reads n bytes that aren't the file's.
func (m *multipartReader) take(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := m.fill(b); err != nil {
		return nil, short(err)
	}
	if len(m.head)+n > maxFormHead {
		return nil, malformed("more than %d bytes beside the file", maxFormHead)
	}
	m.head = append(m.head, b...)
	return b, nil
}

// fill is io.ReadFull, but for io.EOF where the stream ends in between: a
// request that broke off says io.ErrUnexpectedEOF.
func (m *multipartReader) fill(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		got, err := m.src.Read(b[n:])
		n += got
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// short tells a form that ends early though the request is complete from a
// request that broke off.
func short(err error) error {
	if errors.Is(err, io.EOF) {
		return malformed("it ends early")
	}
	return err
}

// end: the last boundary, CRLF, at most one empty line.
func (m *multipartReader) end() error {
	rest := make([]byte, len("\r\n\r\n")+1) // one more than there may be
	n, err := m.fill(rest)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	rest = rest[:n]
	m.head = append(m.head, rest...)
	if s := string(rest); s != "\r\n" && s != "\r\n\r\n" {
		return malformed("%q after the end", rest)
	}
	return io.EOF
}

func (m *multipartReader) partHead() (formPart, error) {
	var p formPart
	seen := map[string]bool{}
	for size := 0; ; {
		line, err := m.line()
		if err != nil {
			return p, err
		}
		if line == "" {
			break
		}
		if size += len(line); size > maxPartHead {
			return p, malformed("a part's header is over %d bytes", maxPartHead)
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok || seen[name] {
			return p, malformed("part header %q", line)
		}
		seen[name] = true
		if err := p.set(name, value); err != nil {
			return p, err
		}
	}
	if !seen["Content-Disposition"] {
		return p, malformed("a part with no name")
	}
	if !p.isFile && len(seen) > 1 {
		return p, malformed("part %s has headers that clients give files only", p.name)
	}
	return p, nil
}

func (m *multipartReader) line() (string, error) {
	b, err := m.src.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			return "", malformed("an endless header line")
		}
		return "", short(err)
	}
	if len(m.head)+len(b) > maxFormHead {
		return "", malformed("more than %d bytes beside the file", maxFormHead)
	}
	m.head = append(m.head, b...)
	text, ok := strings.CutSuffix(string(b), "\r\n")
	if !ok || strings.ContainsAny(text, "\r\n\x00") {
		return "", malformed("a header line that doesn't end in CRLF")
	}
	return text, nil
}

func (p *formPart) set(name, value string) error {
	switch name {
	case "Content-Disposition":
		return p.disposition(value)
	case "Content-Type":
		p.contentType = value
	case "Content-Length":
		p.length = value
	default:
		return malformed("part header %s", name)
	}
	return nil
}

// disposition takes `form-data; name="…"` with or without `; filename="…"`.
// The client doesn't escape the file's name, so it goes on to the last quote;
// an escaped quote or backslash is understood, too.
func (p *formPart) disposition(v string) error {
	rest, ok := strings.CutPrefix(v, `form-data; name="`)
	if !ok {
		return malformed("disposition %q", v)
	}
	name, rest, ok := strings.Cut(rest, `"`)
	if !ok || name == "" {
		return malformed("disposition %q", v)
	}
	p.name = name
	if rest == "" {
		return nil
	}
	file, ok := strings.CutPrefix(rest, `; filename="`)
	file, ended := strings.CutSuffix(file, `"`)
	if !ok || !ended {
		return malformed("disposition %q", v)
	}
	p.isFile = true
	p.filename = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(file)
	return nil
}

// value reads a scalar part.
func (m *multipartReader) value() (string, error) {
	var b bytes.Buffer
	if _, err := m.copyTo(&limited{w: &b, left: maxFormField}); err != nil {
		return "", err
	}
	if len(m.head)+b.Len()+len(m.delim) > maxFormHead {
		return "", malformed("more than %d bytes beside the file", maxFormHead)
	}
	m.head = append(append(m.head, b.Bytes()...), m.delim...)
	return b.String(), nil
}

// limited refuses what is over a bound.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, malformed("a value over %d bytes", maxFormField)
	}
	return l.w.Write(b)
}

// copyTo writes a part's bytes, up to the next boundary, which it consumes.
func (m *multipartReader) copyTo(w io.Writer) (int64, error) {
	var total int64
	for {
		// At least the delimiter must be in sight, or it could be cut.
		if _, err := m.src.Peek(len(m.delim)); err != nil {
			return total, short(err)
		}
		b, err := m.src.Peek(m.src.Buffered())
		if err != nil {
			return total, err
		}
		n, found := len(b)-len(m.delim)+1, false
		if at := bytes.Index(b, m.delim); at >= 0 {
			n, found = at, true
		}
		if _, err := w.Write(b[:n]); err != nil {
			return total, err
		}
		total += int64(n)
		if found {
			n += len(m.delim)
		}
		if _, err := m.src.Discard(n); err != nil {
			return total, err
		}
		if found {
			return total, nil
		}
	}
}
