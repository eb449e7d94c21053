package policy

import (
	"math/bits"
	"slices"
)

// MaxProjects is how many projects the rules of one script may name: sets of
// them are masks of a fixed size, so that a decision allocates nothing.
const MaxProjects = maskWords*wordBits - 1

const (
	maskWords = 4
	wordBits  = 64
)

// mask is a set of projects. Bit 0 is every project that no rule of the script
// names; the others are those named.
type mask [maskWords]uint64

// others is the bit of the projects that no rule names.
const others = 0

func (m *mask) set(bit int)      { m[bit/wordBits] |= 1 << (bit % wordBits) }
func (m *mask) has(bit int) bool { return m[bit/wordBits]&(1<<(bit%wordBits)) != 0 }
func (m *mask) empty() bool      { return *m == mask{} }

func (m *mask) or(o *mask) {
	for i := range m {
		m[i] |= o[i]
	}
}

func (m *mask) and(o *mask) {
	for i := range m {
		m[i] &= o[i]
	}
}

func (m *mask) without(o *mask) {
	for i := range m {
		m[i] &^= o[i]
	}
}

func (m *mask) meets(o *mask) bool {
	for i := range m {
		if m[i]&o[i] != 0 {
			return true
		}
	}
	return false
}

func (m *mask) within(o *mask) bool {
	for i := range m {
		if m[i]&^o[i] != 0 {
			return false
		}
	}
	return true
}

// reach is where something is given: by all rules, by those that hold without a
// look at the record once a filter is added, and by those for which it may be
// looked up. added is where a rule gives it that lets a filter be added.
type reach struct{ all, filter, lookup, added mask }

func (r *reach) or(o *reach) {
	r.all.or(&o.all)
	r.filter.or(&o.filter)
	r.lookup.or(&o.lookup)
	r.added.or(&o.added)
}

// and keeps what both reach; where a filter may be added, one of them is enough.
func (r *reach) and(o *reach) {
	r.all.and(&o.all)
	r.filter.and(&o.filter)
	r.lookup.and(&o.lookup)
	r.added.or(&o.added)
}

func (r *reach) without(m *mask) {
	r.all.without(m)
	r.filter.without(m)
	r.lookup.without(m)
	r.added.without(m)
}

// places is what the bits of a script's masks stand for.
type places struct {
	bit        map[int64]int // of each project named
	ids        []int64       // of each bit, ids[0] unused
	everywhere mask
	// sets are the ids of the masks that rules have, so that a verdict need not
	// make them.
	sets map[mask][]int64
}

func newPlaces() places {
	p := places{bit: map[int64]int{}, ids: []int64{0}, sets: map[mask][]int64{}}
	p.everywhere.set(others)
	return p
}

// name gives a project a bit, while there are any.
func (p *places) name(id int64) {
	if _, ok := p.bit[id]; ok || len(p.ids) > MaxProjects {
		return
	}
	p.bit[id] = len(p.ids)
	p.everywhere.set(len(p.ids))
	p.ids = append(p.ids, id)
}

// of is the mask of projects; those without a name are the others.
func (p *places) of(ids []int64) (m mask) {
	for _, id := range ids {
		m.set(p.bit[id])
	}
	return m
}

// named is the mask of those of ids that have a bit of their own; all says
// whether each has.
func (p *places) named(ids []int64) (m mask, all bool) {
	all = true
	for _, id := range ids {
		if bit, ok := p.bit[id]; ok {
			m.set(bit)
			continue
		}
		all = false
	}
	return m, all
}

// list is the ids of a mask's named projects, sorted. Nobody may change it.
func (p *places) list(m mask) []int64 {
	if ids, ok := p.sets[m]; ok {
		return ids
	}
	return p.make(m)
}

func (p *places) make(m mask) []int64 {
	m[0] &^= 1 << others
	var ids []int64
	for i, w := range m {
		for ; w != 0; w &= w - 1 {
			ids = append(ids, p.ids[i*wordBits+bits.TrailingZeros64(w)])
		}
	}
	slices.Sort(ids)
	return ids
}
