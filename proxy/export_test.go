package proxy

import "net/http"

// AnswerOf shows the table of reasons.
func AnswerOf(r Reason) (status, fault int) {
	a := r.answer()
	return a.status, a.fault
}

// SaysOf is a reason's own text.
func SaysOf(r Reason) string { return r.answer().says }

// RouteOf is the routes' match.
func RouteOf() func(*http.Request) Reason {
	t := newRoutes()
	return func(r *http.Request) Reason {
		_, reason := t.match(r)
		return reason
	}
}

// Spooled is what long answers take now.
func Spooled(p *Proxy) int64 { return p.spooled.Load() }

// FillSpools leaves no room for long answers.
func FillSpools(p *Proxy) { p.spooled.Store(maxSpooled) }
