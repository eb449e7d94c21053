package proxy

// shares is what a Proxy keeps to let equal reads share an answer; its zero
// value keeps nothing.
type shares struct{}

// sharing is what an exchange knows of the answer that it shares.
type sharing struct{}

// shared answers a call whose rule lets equal reads share an answer from that of
// another one, and says whether it did: it writes the records and the answer,
// with x.served set. A call that it refuses (x.refuse) counts as answered; one
// that it leaves alone goes on to the site.
func (x *exchange) shared() bool { return false }

// leaving is called once for each call that is about to go to the site, its
// intent written.
func (x *exchange) leaving() {}

// keep is given the site's answer as the caller is about to get it, complete and
// scrubbed; x.w.Header() holds its header. One that is handed on in pieces never
// comes here. body is the caller's only until keep returns.
func (x *exchange) keep(status int, body []byte) { _, _ = status, body }

// left is called at the end of every call, whatever became of it.
func (x *exchange) left() {}
