package flow

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// Links says where the site's files are for a tool that calls the proxy: an
// answer's links to them are turned to the proxy, and turned back where the
// tool writes such a link. Nothing but whole links under the names that hold
// one is ever changed, and no web link.
//
// Links is immutable and safe for concurrent use, and so must be its functions.
// A nil Links changes nothing.
type Links struct {
	// Site is the site's origin, https://host[:port], without a path.
	Site string
	// Here is the proxy's origin as this tool calls it, http://127.0.0.1:8470.
	Here string
	// Also holds other origins of the same listener: what was read through one
	// may be written through another.
	Also []string
	// Relay turns a pre-signed link to an allowed storage host into one through
	// the proxy; ok is false for any other link. nil without storage relay.
	Relay func(u string) (relayed string, ok bool)
	// RelayUp is Relay for links that a file is sent to.
	RelayUp func(u string) (relayed string, ok bool)
	// Unrelay is the way back, nil without storage relay.
	Unrelay func(u string) (link string, ok bool)
}

// Out turns a link to a file of the site into one to the same file through the
// proxy. Any other text is returned as it is.
func (l *Links) Out(u string) string {
	if l == nil {
		return u
	}
	if rest, ok := filePath(u, l.Site); ok {
		return l.Here + rest
	}
	if l.Relay != nil {
		if relayed, ok := l.Relay(u); ok {
			return relayed
		}
	}
	return u
}

// Back turns a link through the proxy into the one that the site gave. Any
// other text is returned as it is.
func (l *Links) Back(u string) string {
	if l == nil {
		return u
	}
	if rest, ok := filePath(u, l.Here); ok {
		return l.Site + rest
	}
	for _, origin := range l.Also {
		if rest, ok := filePath(u, origin); ok {
			return l.Site + rest
		}
	}
	if l.Unrelay != nil {
		if link, ok := l.Unrelay(u); ok {
			return link
		}
	}
	return u
}

// filePath says what follows origin in a link to a file of it, from the slash
// on. ok is false for anything else.
func filePath(u, origin string) (rest string, ok bool) {
	rest, ok = sitePath(u, origin)
	if !ok {
		return "", false
	}
	for _, dir := range [...]string{"/file_serve/", "/thumbnail/", "/images/", "/files/"} {
		if strings.HasPrefix(rest, dir) {
			return rest, true
		}
	}
	return "", false
}

// sitePath is what follows origin in a link, from the slash on.
func sitePath(u, origin string) (rest string, ok bool) {
	if origin == "" || len(u) <= len(origin) || u[len(origin)] != '/' || !strings.EqualFold(u[:len(origin)], origin) {
		return "", false
	}
	return u[len(origin):], true
}

// outLinks is Out for the members of links in an answer of REST: those of a site
// that stores files itself lead to its REST API (flow-protocol §5.5).
func (l *Links) outLinks(u, member string) string {
	if rest, ok := sitePath(u, l.Site); ok {
		for _, dir := range [...]string{"/api/v1/", "/api/v1.1/", "/api/v1.x/"} {
			if strings.HasPrefix(rest, dir) {
				return l.Here + rest
			}
		}
	}
	if l.RelayUp != nil && strings.HasSuffix(member, "upload") {
		if relayed, ok := l.RelayUp(u); ok {
			return relayed
		}
	}
	return l.Out(u)
}

// NewReader turns the links in an answer in JSON that is read from src: those of
// members named url, but of no object whose link_type is web, those that are
// pictures' fields ([IsImageField]), and links.upload and links.download. Every
// split of the source gives the same bytes. buf is scratch space, used until the
// end; less than 32 KiB is replaced.
//
// It works on what the site sent, so it belongs before a [Scrubber].
func (l *Links) NewReader(src io.Reader, buf []byte) io.Reader {
	if l == nil {
		return src
	}
	if len(buf) < minLinkBuf {
		buf = make([]byte, minLinkBuf)
	}
	return &linkReader{linkSearch: linkSearch{l: l}, src: src, buf: buf}
}

// Whole is NewReader for a complete answer. b itself is returned where nothing
// was turned.
func (l *Links) Whole(b []byte) []byte {
	if l == nil {
		return b
	}
	s := linkSearch{l: l, b: b, final: true}
	var out []byte
	from := 0
	for {
		at, link, _ := s.next(from)
		if link == nil {
			break
		}
		out = append(append(out, b[from:at.start]...), link...)
		from = at.end
	}
	if from == 0 {
		return b
	}
	return append(out, b[from:]...)
}

// Text turns the pre-signed link in the second line of an answer to a form of
// /upload/... (flow-protocol §3.3). ParseForm turns it back.
func (l *Links) Text(b []byte) []byte {
	if l == nil || l.RelayUp == nil || !bytes.HasPrefix(b, []byte("1\n")) {
		return b
	}
	first, rest, _ := bytes.Cut(b, []byte("\n"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if !utf8.Valid(line) {
		return b
	}
	link := strings.TrimSuffix(string(line), "\r")
	relayed, ok := l.RelayUp(link)
	if !ok {
		return b
	}
	out := append(append(make([]byte, 0, len(b)+len(relayed)), first...), '\n')
	return append(append(out, relayed...), rest[len(link):]...)
}
