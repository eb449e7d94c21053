package proxy

import (
	"slices"
	"sync"
	"sync/atomic"

	"stagedoor/flow"
	"stagedoor/secret"
)

// maxScrubbed is how many sessions and tokens of a script are looked for in its
// answers: those that are kept, and as many that others have replaced, which the
// site may still accept. A token takes 300 KiB of a scrubber.
const maxScrubbed = 2 * maxSessions

// scrubbers keeps one scrubber for each script: of its key in force, and of
// what was obtained with it. It is bounded by the number of configured scripts.
type scrubbers struct {
	mu    sync.RWMutex
	of    map[string]*scrubbed
	empty *flow.Scrubber // for calls that go without a key of ours
}

// scrubbed is one script's. Making a scrubber takes milliseconds, so that only
// those of the same script wait for it.
type scrubbed struct {
	mu  sync.Mutex // held to put another in place
	now atomic.Pointer[scrubEntry]
}

// scrubEntry is never changed.
type scrubEntry struct {
	key    secret.Value
	old    []secret.Value
	tokens []secret.Value // newest last
	s      *flow.Scrubber
}

func (c *scrubbers) init() {
	c.of = make(map[string]*scrubbed)
	c.empty = flow.NewScrubber()
}

func (c *scrubbers) script(name string) *scrubbed {
	c.mu.RLock()
	e := c.of[name]
	c.mu.RUnlock()
	if e != nil {
		return e
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e = c.of[name]; e == nil {
		e = new(scrubbed)
		e.now.Store(new(scrubEntry))
		c.of[name] = e
	}
	return e
}

// get is the scrubber for answers to a call that went with cred and with token,
// either of which may be none.
func (c *scrubbers) get(script string, cred secret.Credential, token secret.Value) *flow.Scrubber {
	e := c.script(script)
	if n := e.now.Load(); n.covers(cred.Key, token) {
		if n.s == nil {
			return c.empty
		}
		return n.s
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	n := *e.now.Load()
	if n.covers(cred.Key, token) {
		return n.s // others have made it meanwhile
	}
	if !n.knows(cred.Key) {
		old := slices.Clone(cred.Old)
		if !n.key.IsZero() && !slices.ContainsFunc(old, n.key.Same) {
			old = append(old, n.key)
		}
		n.key, n.old = cred.Key, old
	}
	if !token.IsZero() && !slices.ContainsFunc(n.tokens, token.Same) {
		n.tokens = append(slices.Clone(n.tokens[max(0, len(n.tokens)-maxScrubbed+1):]), token)
	}
	n.s = flow.NewScrubber(slices.Concat([]secret.Value{n.key}, n.old, n.tokens)...)
	e.now.Store(&n)
	return n.s
}

func (n *scrubEntry) knows(key secret.Value) bool {
	return key.IsZero() || n.key.Same(key) || slices.ContainsFunc(n.old, key.Same)
}

func (n *scrubEntry) covers(key, token secret.Value) bool {
	return n.knows(key) && (token.IsZero() || slices.ContainsFunc(n.tokens, token.Same))
}
