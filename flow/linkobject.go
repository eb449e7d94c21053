package flow

// maxLinkObjects is how many objects around links are known at once. No more
// than half as many, with a link each, stand within maxLinkObject.
const maxLinkObjects = 2 << 10

// linkObject is what is known of the text before a place outside of strings:
// which object is open there, and what was read of that. An answer may have
// many links in an object, or in nested ones; each of its bytes is read once
// for all of them, not once for each.
type linkObject struct {
	end, lo int  // the place, and from where on the text before it was looked at
	open    int  // the brace or bracket that is open there; -1 for none from lo on
	named   bool // links and nameAt are known
	links   bool // it is the value of a member named links
	nameAt  int  // where that name begins, with any backslashes before it
	members objectMembers
}

// objectBefore finds the object that is open at end, which is outside of
// strings; nil where that does not begin at lo or later, or is an array. It is
// valid until the next call.
func (s *linkSearch) objectBefore(lo, end int) *linkObject {
	o := linkObject{end: end, lo: lo, open: -1}
	depth, i := 0, end
	for i > lo && o.open < 0 {
		s.work++
		if known, ok := s.known(lo, i); ok {
			switch {
			case known.open < lo:
				i = lo
			case depth == 0:
				o = known
				o.end, o.lo = end, lo
			default:
				depth--
				i = known.open
			}
			continue
		}
		i--
		switch s.b[i] {
		case '"':
			if i = lo + stringBefore(s.b[lo:i+1]); i < lo {
				i = lo
			}
		case '}', ']':
			depth++
		case '{', '[':
			if depth == 0 {
				o.open = i
			}
			depth--
		}
	}
	return s.know(o)
}

// known takes what is known of i from the list, and all that is known behind it.
func (s *linkSearch) known(lo, i int) (o linkObject, ok bool) {
	for n := len(s.objects) - 1; n >= 0 && s.objects[n].end >= i; n-- {
		o, s.objects = s.objects[n], s.objects[:n]
		if o.end == i && (o.open >= 0 || o.lo <= lo) {
			return o, true
		}
	}
	return linkObject{}, false
}

// know puts o on the list.
func (s *linkSearch) know(o linkObject) *linkObject {
	if o.open >= 0 && o.members.at == 0 {
		o.members = objectMembers{at: o.open + 1, v: undecided}
	}
	if len(s.objects) == maxLinkObjects {
		s.objects = s.objects[:copy(s.objects, s.objects[maxLinkObjects/2:])]
	}
	s.objects = append(s.objects, o)
	if o.open < 0 || s.b[o.open] == '[' {
		return nil
	}
	return &s.objects[len(s.objects)-1]
}

// isLinks says whether the object is the value of a member named links, whose
// name begins behind lo.
func (o *linkObject) isLinks(b []byte, lo int) bool {
	if !o.named {
		name, at := nameBefore(b[lo:o.open])
		o.named, o.links, o.nameAt = true, isLinksName(name), lo+at
		for o.nameAt > lo && b[o.nameAt-1] == '\\' {
			o.nameAt--
		}
	}
	return o.links && o.nameAt > lo
}

// objectMembers reads the members of an object as far as they are there, to find
// out whether its link_type is web.
type objectMembers struct {
	at     int // up to where they were read
	part   memberPart
	isType bool // the member is link_type
	value  int  // where its value begins
	skip   valueSkipper
	web    bool
	v      verdict
}

// memberPart is what of a member comes next.
type memberPart uint8

const (
	partName memberPart = iota
	partValue
	partEnd
)

// read reads on in b, which may have become longer since. The verdict isLink
// says that web is known, noLink that it is no object of JSON.
func (m *objectMembers) read(b []byte) verdict {
	for ok := true; ok && m.v == undecided; {
		switch m.part {
		case partName:
			ok = m.name(b)
		case partValue:
			ok = m.val(b)
		case partEnd:
			ok = m.comma(b)
		}
	}
	return m.v
}

// name reads a member up to its value, or the end of the object. ok is false
// where more is needed.
func (m *objectMembers) name(b []byte) (ok bool) {
	i := skipSpace(b, m.at)
	if i == len(b) {
		return false
	}
	if b[i] != '"' {
		m.v = whether(b[i] == '}', isLink)
		return true
	}
	name := b[i:min(len(b), endOfString(b, i+1)+1)]
	i = skipSpace(b, i+len(name))
	if i == len(b) {
		return false
	}
	if b[i] != ':' {
		m.v = noLink
		return true
	}
	if i = skipSpace(b, i+1); i == len(b) {
		return false
	}
	key, _ := unquote(name)
	m.isType, m.at = key == "link_type", i
	m.value, m.skip, m.part = m.at, valueSkipper{}, partValue
	return true
}

func (m *objectMembers) val(b []byte) (ok bool) {
	n, done := m.skip.feed(b[m.at:])
	m.at += n
	if !done {
		return false
	}
	if m.isType {
		typ, _ := unquote(b[m.value:m.at])
		m.web = m.web || typ == "web"
	}
	m.part = partEnd
	return true
}

func (m *objectMembers) comma(b []byte) (ok bool) {
	i := skipSpace(b, m.at)
	if i == len(b) {
		return false
	}
	m.at, m.part = i+1, partName
	switch b[i] {
	case '}':
		m.v = isLink
	case ',':
	default:
		m.v = noLink
	}
	return true
}
