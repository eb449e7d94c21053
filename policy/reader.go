package policy

import "stagedoor/flow"

// Reader says what of an answer that holds more than was asked for a script may
// read: what the answered call could have asked for by name, of records that lie
// where those of the call are known to lie. It belongs to one goroutine.
type Reader struct {
	d       decision
	whole   flow.Call
	observe bool
	part    int // that place is of
	place   mask
}

// Reader is that of the answer to q's call, which [Script.Decide] allows. It keeps
// the call as it is now, but for its parts, which nobody may change.
func (s *Script) Reader(q Query) *Reader {
	r := &Reader{whole: *q.Call, observe: q.Observe}
	r.d = decision{s: s, whole: &r.whole, parts: max(1, len(r.whole.Parts))}
	r.turn(0)
	return r
}

// May says whether a field may be shown: whether some rule gives it and no deny
// rule takes it away wherever the record may lie. Which record it is, is told to
// whoever may read or write some of it.
func (r *Reader) May(f flow.Seen) bool {
	switch {
	case flow.IsSecretField(f.Field), f.Field == anyField, r.d.s.allow.verbs == nil:
		return false
	case f.Part != r.part:
		r.turn(f.Part)
	}
	place := &r.place
	if f.Record != r.d.part.Type { // the call says nothing about it
		place = &r.d.s.everywhere
	}
	// Where it is observed, a script is shown what it would see without rules.
	if n := (Need{readVerb, f.Type, f.Field}); r.observe && !n.NeedsNaming() {
		return true
	}
	if !isIdentity(f.Field) {
		return r.given(readVerb, f.Type, f.Field, place)
	}
	for _, verb := range [...]string{readVerb, "create", "update", "delete", "revive"} {
		if r.given(verb, f.Type, anyField, place) {
			return true
		}
	}
	return false
}

func (r *Reader) given(verb, typ, field string, place *mask) bool {
	n := need{Need: Need{verb, typ, field}}
	if r.d.open(n) {
		return true
	}
	met := r.d.meets(n)
	return place.within(&met.all)
}

// turn makes ready for records of another part.
func (r *Reader) turn(part int) {
	r.part, r.place = part, r.d.s.everywhere
	c := &r.whole
	if r.d.unsure = part < 0; r.d.unsure {
		r.d.begin(c)
		return
	}
	if c.Group == flow.GroupBatch && part < len(c.Parts) {
		c = &c.Parts[part]
	}
	o := r.d.decidePart(c)
	if amended := o.lookup || !o.filter.empty(); o.ok && !(amended && r.observe) {
		r.place = o.at
		for _, rec := range c.Records {
			if o.lookup && rec.Type == projectType { // which is where it is, without a look
				r.place.set(r.d.s.bit[rec.ID])
			}
		}
	}
	if at, known := r.d.s.shown(c); known {
		r.place.and(&at)
	}
	into := r.d.s.into(c)
	r.place.or(&into)
	if r.place.empty() {
		r.place = r.d.s.everywhere
	}
}
