package limit

import (
	"container/list"
	"sync"
	"time"
)

// MaxCallers is how many callers have a budget of their own at a time: 4096. A
// render node has a few, a shared host some hundred.
const MaxCallers = 4096

// callersLook is how many callers are looked at for one whose budget can be
// forgotten, when there is no room for another.
const callersLook = 16

// Callers is a budget for each caller, all with the same options. It holds
// [MaxCallers] at most: for a new one it forgets one that wasn't heard of for
// long and whose budget is as good as new. Where there is none such the new one
// shares a budget with all others that found no room, so that nobody gets a
// fresh budget by coming under many names. It is safe for concurrent use; use
// [NewCallers].
type Callers struct {
	mu     sync.Mutex
	opts   Options
	byKey  map[string]*list.Element
	recent list.List // *callerBudget, the one heard of last at the back
	others *Limiter
}

type callerBudget struct {
	key string
	l   *Limiter
}

// NewCallers makes a set of budgets with o each.
func NewCallers(o Options) *Callers {
	return &Callers{opts: o, byKey: map[string]*list.Element{}, others: New(o)}
}

// Get is the budget of a caller. It is to be used at once and not kept: a
// caller that isn't heard of may be given another.
func (c *Callers) Get(key string) *Limiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.recent.MoveToBack(e)
		return budget(e).l
	}
	if len(c.byKey) >= MaxCallers && !c.forget() {
		return c.others
	}
	b := &callerBudget{key: key, l: New(c.opts)}
	c.byKey[key] = c.recent.PushBack(b)
	return b.l
}

// forget makes room for one caller, if one of the first few is at rest. The
// others go to the back, so that it doesn't look at the same ones for ever.
// c.mu is held.
func (c *Callers) forget() bool {
	for range callersLook {
		e := c.recent.Front()
		if e == nil {
			return false
		}
		if b := budget(e); b.l.rested() {
			delete(c.byKey, b.key)
			c.recent.Remove(e)
			return true
		}
		c.recent.MoveToBack(e)
	}
	return false
}

// Update puts new options in force for all callers; see [Limiter.Update].
func (c *Callers) Update(o Options) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opts = o
	c.others.Update(o)
	for e := c.recent.Front(); e != nil; e = e.Next() {
		budget(e).l.Update(o)
	}
}

func budget(e *list.Element) *callerBudget {
	b, ok := e.Value.(*callerBudget)
	if !ok {
		panic("limit: the list holds budgets only")
	}
	return b
}

// rested says whether the limiter is as good as new: nobody has or awaits
// anything of it, and the bucket is full.
func (l *Limiter) rested() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight == 0 && l.ahead(Farm) == 0 && l.bucket.level(time.Now()) >= float64(l.opts.Burst)
}
