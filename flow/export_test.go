package flow

// ScrubWork counts what a search for all keys in b costs: escapes read,
// characters of words tried, and places looked at.
func (s *Scrubber) ScrubWork(b []byte) int {
	find := search{f: s.keys, b: b}
	for from := 0; ; {
		m, ok := find.next(from)
		if !ok {
			return find.work
		}
		from = m.end
	}
}

// LinkWork counts the bytes that a search for all links in b looks at around
// them, and for slashes.
func (l *Links) LinkWork(b []byte) int {
	s := linkSearch{l: l, b: b, final: true}
	for from := 0; ; {
		at, link, _ := s.next(from)
		if link == nil {
			return s.work
		}
		from = at.end
	}
}
