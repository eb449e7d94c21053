package flow

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// maxLinkObject is how far around a link, in bytes, an answer is looked at to
// find out what the link is: back to the name, and to the begin and the end of
// its object. It also bounds the link. The value of a file field has a pre-signed
// link of 2 KiB and up to four local paths of a few hundred bytes. A link whose
// kind is not found within it stays as it is.
const maxLinkObject = 8 << 10

// minLinkBuf is the shortest scratch space: what is held before a link and from
// it on, and as much again to read into.
const minLinkBuf = 4 * maxLinkObject

// maxLinkStart is the longest that stands from a link's quote to the end of the
// two slashes behind its scheme, each character as six: "\u0068..., in bytes.
const maxLinkStart = 1 + 8*len(`\u0000`)

// linkSearch finds links in a JSON text of which b is a part.
//
// It needs no state of the document around it. The two slashes behind a link's
// scheme, however they are escaped, are found by a byte search; most answers
// have none, or few. From there the quote that opens the string is near; as it
// is preceded by a colon, it is one of JSON's own, and the text before it can be
// read backwards, quote by quote, as far as needed.
type linkSearch struct {
	l     *Links
	b     []byte
	final bool // b ends where the text does

	esc, escN int // the next two slashes that are both \u002f; up to where that was looked for

	objects []linkObject // known so far: objectBefore
	work    int          // bytes looked at around links and for slashes: what all of it cost
}

// verdict is what is known of one place of a text.
type verdict uint8

const (
	noLink verdict = iota
	isLink
	undecided // more of the text is needed
)

// next finds the first link at from or later that is turned, where it stands and
// what it becomes. Where there is none, link is nil, and b is decided on up to
// stop.
func (s *linkSearch) next(from int) (at span, link []byte, stop int) {
	last := -1              // the quote tried before
	quote, seen := -1, from // the last quote before seen
	for p := from; ; {
		p = s.slashes(p)
		if p < 0 {
			break
		}
		lo := max(from, p-maxLinkStart)
		begin := max(lo, seen)
		if i := bytes.LastIndexByte(s.b[begin:p], '"'); i >= 0 {
			quote = begin + i
		}
		seen = p
		if quote >= lo && quote != last {
			last = quote
			end, link, v := s.link(last)
			switch v {
			case isLink:
				return span{last, end}, link, 0
			case undecided:
				return span{}, nil, last
			case noLink:
			}
		}
		p++
	}
	if s.final {
		return span{}, nil, len(s.b)
	}
	return span{}, nil, max(from, len(s.b)-maxLinkStart)
}

// slashes finds the next place, at from or later, where two slashes follow each
// other; -1 for none. The first may stand a little before it.
func (s *linkSearch) slashes(from int) int {
	b := s.b
	esc := s.escapedSlashes(from)
	for i := from; i < len(b); i++ {
		// No further: else a text of \u002f alone is searched once for each pair.
		near := b[i:max(i, min(len(b), esc+1))]
		n := bytes.IndexByte(near, '/')
		if n < 0 {
			s.work += len(near)
			break
		}
		s.work += n
		if i += n; i+1 < len(b) && b[i+1] == '/' {
			return i
		}
		if i+1 < len(b) && b[i+1] == '\\' || i > 0 && (b[i-1] == '\\' || b[i-1]|0x20 == 'f') {
			if isDouble(b, i) {
				return i
			}
		}
	}
	if esc < len(b) {
		return esc
	}
	return -1
}

// isDouble says whether an escaped slash follows the one at i, or precedes it.
func isDouble(b []byte, i int) bool {
	rest, before := b[i+1:], bytes.TrimSuffix(b[:i], []byte(`\`))
	const escaped = len(`\u002f`)
	return bytes.HasPrefix(rest, []byte(`\/`)) || isSlashEscape(rest) ||
		len(before) >= escaped && isSlashEscape(before[len(before)-escaped:])
}

// escapedSlashes finds two slashes that are both written as \u002f; len(b) for
// none.
func (s *linkSearch) escapedSlashes(from int) int {
	const common = `\u002`
	if s.esc >= from && s.esc < s.escN {
		return s.esc
	}
	for i := max(from, s.escN-2*len(`\u002f`)); ; i++ {
		n := bytes.Index(s.b[min(i, len(s.b)):], []byte(common))
		if n < 0 {
			break
		}
		i += n
		if isSlashEscape(s.b[i:]) && isSlashEscape(s.b[i+len(common)+1:]) {
			s.esc, s.escN = i, i+1
			return i
		}
	}
	s.esc, s.escN = len(s.b), len(s.b)
	return len(s.b)
}

func isSlashEscape(b []byte) bool {
	return bytes.HasPrefix(b, []byte(`\u002f`)) || bytes.HasPrefix(b, []byte(`\u002F`))
}

// link reads the string that begins with the quote at q, if it is the value of a
// member that holds a link, and turns it. end is behind it.
func (s *linkSearch) link(q int) (end int, link []byte, v verdict) {
	if v := s.mayBeSites(q + 1); v != isLink {
		return 0, nil, v
	}
	lo, hi := max(0, q-maxLinkObject), min(len(s.b), q+maxLinkObject)
	kind, name := s.linkKind(lo, q)
	if kind == "" {
		return 0, nil, noLink
	}
	more := undecided // where what is looked for may still come
	if s.final || hi == q+maxLinkObject {
		more = noLink
	}
	end = endOfString(s.b[:hi], q+1) + 1
	if end > hi {
		return 0, nil, more
	}
	u, ok := unquote(s.b[q:end])
	turned := s.l.Out(u)
	if kind == "links" {
		member, _ := nameBefore(s.b[lo:q])
		turned = s.l.outLinks(u, member)
	}
	if !ok || turned == u || !utf8.ValidString(u) {
		return 0, nil, noLink
	}
	if kind == linkMember {
		o := s.objectBefore(lo, lo+name)
		if o == nil {
			return 0, nil, noLink
		}
		s.work -= o.members.at
		v := o.members.read(s.b[:hi])
		s.work += o.members.at
		switch {
		case v == undecided:
			return 0, nil, more
		case o.members.web || v == noLink:
			return 0, nil, noLink
		}
	}
	return end, appendQuoted(nil, turned), isLink
}

func whether(cond bool, v verdict) verdict {
	if cond {
		return v
	}
	return noLink
}

// mayBeSites is the quick no for a string whose text begins at i.
func (s *linkSearch) mayBeSites(i int) verdict {
	site := s.l.Site
	if s.l.Relay != nil {
		return isLink
	}
	head := s.b[i:min(len(s.b), i+len(site))]
	switch {
	case hasEscape(head):
		return isLink
	case len(head) < len(site):
		return whether(!s.final, undecided)
	}
	return whether(strings.EqualFold(string(head), site), isLink)
}

// linkKind says what kind of link is the value that begins at q, by its
// member's name: "url", "image" for a picture's, "links" for a member of links
// in an answer of REST, "" for none. name is where the name begins, from lo on,
// where the search begins.
func (s *linkSearch) linkKind(lo, q int) (kind string, at int) {
	name, at := nameBefore(s.b[lo:q])
	switch dot := strings.LastIndexByte(name, '.'); {
	case name[dot+1:] == linkMember:
		return linkMember, at
	case IsImageField(name):
		return "image", at
	case dot >= 0 && isTransfer(name[dot+1:]) && isLinksName(name[:dot]):
		return "links", at
	case isTransfer(name):
		if o := s.objectBefore(lo, lo+at); o != nil && o.isLinks(s.b, lo) {
			return "links", at
		}
	}
	return "", at
}

// isTransfer says whether a member of links leads to a file (flow-protocol
// §5.5).
func isTransfer(name string) bool { return name == "upload" || name == "download" }

func isLinksName(name string) bool { return name == "links" || strings.HasSuffix(name, ".links") }

// nameBefore reads the member's name that stands at the end of b, with its
// colon, and says where its quote is; "" for none.
func nameBefore(b []byte) (name string, at int) {
	b = bytes.TrimRight(b, " \t\r\n")
	if len(b) == 0 || b[len(b)-1] != ':' {
		return "", 0
	}
	b = bytes.TrimRight(b[:len(b)-1], " \t\r\n")
	at = stringBefore(b)
	if at < 0 {
		return "", 0
	}
	name, ok := unquote(b[at:])
	if !ok {
		return "", 0
	}
	return name, at
}

// stringBefore finds the opening quote of the string that ends b; -1 where b
// does not hold all of it, or may begin inside of an escape.
func stringBefore(b []byte) int {
	if len(b) == 0 || b[len(b)-1] != '"' {
		return -1
	}
	for end := len(b) - 1; ; {
		end = bytes.LastIndexByte(b[:end], '"')
		if end <= 0 {
			return -1
		}
		run := end
		for run > 0 && b[run-1] == '\\' {
			run--
		}
		if run == 0 {
			return -1
		}
		if (end-run)%2 == 0 {
			return end
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// linkReader turns links in a stream.
type linkReader struct {
	linkSearch

	src   io.Reader
	buf   []byte // b is what of it holds data
	from  int    // b[:from] is decided and kept to be looked at
	ready []byte // decided, not yet handed out: a part of b
	link  []byte // to be handed out after it
	err   error
}

// Read hands out the answer.
func (r *linkReader) Read(p []byte) (int, error) {
	for len(r.ready) == 0 {
		if r.link != nil {
			r.ready, r.link = r.link, nil
			continue
		}
		if r.decide(); len(r.ready) > 0 || r.link != nil {
			continue
		}
		if r.err != nil {
			return 0, r.err
		}
		if n := r.through(p); n > 0 {
			return n, nil
		}
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// decide goes on to the next link, or as far as what was read allows.
func (r *linkReader) decide() {
	at, link, stop := r.next(r.from)
	if link == nil {
		r.ready, r.from = r.b[r.from:stop], stop
		return
	}
	r.ready, r.link, r.from = r.b[r.from:at.start], link, at.end
}

// through reads more, into p: where no link can begin in it, that spares the
// copy, and n of p are decided. Else it goes the long way, and n is 0.
func (r *linkReader) through(p []byte) (n int) {
	pending := r.b[r.from:]
	if len(pending) > maxLinkStart || len(p) < 2*maxLinkObject {
		r.err = r.fill(r.src)
		return 0
	}
	kept := copy(p, pending)
	read, err := r.src.Read(p[kept:min(len(p), len(r.buf)-maxLinkObject)])
	text := p[:kept+read]
	decided := len(text) - maxLinkStart
	links := linkSearch{b: text}
	if err != nil || decided < maxLinkObject || links.slashes(0) >= 0 {
		// All that was read fits: fill makes room for as much.
		_ = r.fill(bytes.NewReader(text[kept:]))
		r.err, r.final = err, err != nil
		return 0
	}
	r.b = r.buf[:copy(r.buf, text[decided-maxLinkObject:])]
	r.from, r.esc, r.escN = maxLinkObject, 0, 0
	r.objects = r.objects[:0]
	return decided
}

// fill reads more. Of what is decided, as much is kept as may be looked at.
func (r *linkReader) fill(src io.Reader) error {
	if drop := r.from - maxLinkObject; drop > 0 {
		r.b = r.buf[:copy(r.buf, r.b[drop:])]
		r.from -= drop
		r.esc, r.escN = max(0, r.esc-drop), max(0, r.escN-drop)
		r.objects = r.objects[:0]
	}
	n, err := src.Read(r.buf[len(r.b):])
	r.b = r.buf[:len(r.b)+n]
	r.final = err != nil
	return err
}
