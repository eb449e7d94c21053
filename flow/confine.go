package flow

import (
	"slices"
	"strconv"
	"strings"
)

// Adding a filter to a call. What is sent is what was read, with one condition
// more that every record has to satisfy: the project is one of some.

// CanConfine says whether a filter on the project can be added: to reads and
// summaries.
func (m *Message) CanConfine() bool { return m.place.form != styleNone }

// Confine adds the filter: from now on the call is sent for records of these
// projects only, and with all its own filters. It must not be called while the
// message is sent, and panics where the call can't be confined: it would go out
// as it is.
func (m *Message) Confine(ids []int64) {
	mustConfine(m.CanConfine())
	m.arg, m.place = m.place.confine(m.arg, ids)
}

func mustConfine(can bool) {
	if !can {
		panic("flow: a call that can't be confined")
	}
}

// CanConfine is [Message.CanConfine]: of lists, searches and summaries, but not
// of a list that is filtered already by projects in a way that can't be read.
func (r *REST) CanConfine() bool {
	if r.place.form != styleQuery {
		return r.place.form != styleNone
	}
	i := r.filtered()
	if i < 0 {
		return true
	}
	return idsOf(r.params[i].Value) != nil
}

// Confine is [Message.Confine].
func (r *REST) Confine(ids []int64) {
	mustConfine(r.CanConfine())
	if r.place.form != styleQuery {
		r.Body, r.place = r.place.confine(r.Body, ids)
		return
	}
	r.params = slices.Clone(r.params)
	if i := r.filtered(); i >= 0 { // a name may stand once only
		r.params[i].Value = listOf(common(idsOf(r.params[i].Value), ids))
	} else {
		r.params = append(r.params, Pair{paramOfID, listOf(ids)})
	}
	r.Query = string(AppendQuery(nil, r.params))
}

// paramOfID is the filter on the project's id in a query: one on the project
// itself is by its name (flow-protocol §5.4).
const paramOfID = "filter[" + pathOfID + "]"

// filtered is where the query has it, -1 for nowhere.
func (r *REST) filtered() int {
	return slices.IndexFunc(r.params, func(p Pair) bool { return p.Name == paramOfID })
}

// idsOf reads 1,2 as a query has it; nil where it is no list of ids.
func idsOf(list string) []int64 {
	var ids []int64
	for s := range strings.SplitSeq(list, ",") {
		if !isID(s) || len(ids) == MaxStated {
			return nil
		}
		id, _ := strconv.ParseInt(s, 10, 64)
		ids = append(ids, id)
	}
	return ids
}

// listOf writes 1,2; 0, which is no project's, for none.
func listOf(ids []int64) string {
	if len(ids) == 0 {
		return "0"
	}
	var out []byte
	for i, id := range ids {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, id, 10)
	}
	return string(out)
}

func common(a, b []int64) []int64 {
	return slices.DeleteFunc(a, func(id int64) bool { return !slices.Contains(b, id) })
}

// confine adds a condition to the filters of what is sent, and says where they
// then are. Where all conditions of the outermost group have to hold, it is the
// first of them; else the filters become the second of two that have to.
func (p filterPlace) confine(arg []byte, ids []int64) ([]byte, filterPlace) {
	if p.end == 0 {
		return p.confineNone(arg, ids)
	}
	out := make([]byte, 0, len(arg)+48*(len(ids)+4))
	condition := func() { out = appendCondition(out, p.form, ids) }
	if p.all && p.conds > 0 {
		out = append(out, arg[:p.conds]...)
		condition()
		if p.count > 0 {
			out = append(out, ',')
		}
		out = append(out, arg[p.conds:]...)
		p.count++
		p.end += len(out) - len(arg)
		return out, p
	}
	empty := p.either && p.conds > 0 && p.count == 0 // any of none is no filter
	out = append(append(out, arg[:p.start]...), groupStart...)
	p.conds = len(out)
	condition()
	p.count = 1
	if !empty {
		out = append(append(out, ','), arg[p.start:p.end]...)
		p.count++
	}
	out = append(out, groupEnd...)
	end := len(out)
	out = append(out, arg[p.end:]...)
	p.all, p.group, p.end = true, true, end
	return out, p
}

const (
	groupStart = `{"logical_operator":"and","conditions":[`
	groupEnd   = `]}`
)

// confineNone is confine for a call without filters.
func (p filterPlace) confineNone(arg []byte, ids []int64) ([]byte, filterPlace) {
	out := append(make([]byte, 0, len(arg)+48*(len(ids)+4)), `{"`+memberFilter+`":`...)
	p.start = len(out)
	if p.form == styleArray {
		out = append(out, '[')
	} else {
		out = append(out, groupStart...)
	}
	p.conds, p.count, p.all, p.group = len(out), 1, true, true
	out = appendCondition(out, p.form, ids)
	if p.form == styleArray {
		out = append(out, ']')
	} else {
		out = append(out, groupEnd...)
	}
	p.end = len(out)
	if len(arg) > len(`{}`) {
		out = append(out, ',')
	}
	return append(out, arg[1:]...), p
}

// appendCondition writes that the project is one of some, in the style of the
// call.
func appendCondition(dst []byte, form style, ids []int64) []byte {
	object := form == styleTree
	if object {
		dst = append(dst, `{"path":"project","relation":"in","values":[`...)
	} else {
		dst = append(dst, `["project","in",[`...)
	}
	if len(ids) == 0 {
		ids = []int64{0} // no project has it
	}
	for i, id := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"type":"Project","id":`...)
		dst = append(strconv.AppendInt(dst, id, 10), '}')
	}
	if object {
		return append(dst, `]}`...)
	}
	return append(dst, `]]`...)
}
