package audit

import (
	"strings"
	"sync"
	"time"
)

const (
	// RepeatWindow is how long identical refusals are counted before a line
	// says how many there were: 10 s.
	RepeatWindow = 10 * time.Second
	// MaxRepeats is how many kinds of refusal are counted at a time: 1024.
	// Others are written one by one.
	MaxRepeats = 1024
)

// repeats counts identical refusals, so that a tool in a loop can't fill the
// disk, or hide in what it fills it with.
type repeats struct {
	timer *time.Timer // fires when a window has ended
	mu    sync.Mutex
	seen  map[refusal]*counted
}

// refusal is what makes two refusals identical. Without a reason they are
// callers that hung up.
type refusal struct{ listener, caller, script, method, types, reason, credential, sudo string }

// counted is a window: the event that opened it, and how many followed.
type counted struct {
	line  Event
	until time.Time
}

// Refused writes e, a [RefusedCall]. The first of several identical ones (same
// listener, caller, script, method, types, reason, credential and login) is written as Append does; those
// that follow within [RepeatWindow] are counted, and written as one [Repeat]
// line when the window ends or the log is closed.
func (l *Log) Refused(e *Event) error {
	r := &l.repeat
	key := keyOf(e)
	t := l.now()
	r.mu.Lock()
	c := r.seen[key]
	if c != nil && t.Before(c.until) {
		c.line.Count++
		c.line.LastID = clip(e.ID)
		r.mu.Unlock()
		return nil
	}
	if c != nil {
		l.end(key, c)
	}
	if len(r.seen) < MaxRepeats {
		l.open(key, e, t)
	}
	r.mu.Unlock()
	err := l.Append(e)
	if err != nil {
		r.mu.Lock()
		if c := r.seen[key]; c != nil && c.line.Count == 0 {
			delete(r.seen, key) // the first was not written, so nothing repeats it
		}
		r.mu.Unlock()
	}
	return err
}

// keyOf copies what it keeps: a string from a request would hold on to the
// whole body it was cut from.
func keyOf(e *Event) refusal {
	var types strings.Builder
	for _, t := range e.Types[:min(len(e.Types), MaxList)] {
		types.WriteString(t[:min(len(t), MaxItem)])
		types.WriteByte(',')
	}
	return refusal{
		caller: clip(e.Caller), script: clip(e.Script), method: clip(e.Method),
		types: types.String(), reason: clip(e.Reason),
		// A legacy key among many placeholders has to show.
		credential: clip(string(e.CallerCredential)), listener: clip(e.Listener), sudo: clip(e.SudoAsLogin),
	}
}

func clip(s string) string {
	s, _ = truncate(s, MaxString)
	return strings.Clone(s)
}

// open begins a window. l.repeat.mu is held.
func (l *Log) open(key refusal, e *Event, t time.Time) {
	r := &l.repeat
	if r.seen == nil {
		r.seen = make(map[refusal]*counted)
	}
	if len(r.seen) == 0 {
		r.timer.Reset(RepeatWindow)
	}
	line := Event{
		Kind: Repeat, Listener: clip(e.Listener), Caller: key.caller, Script: key.script,
		Method: key.method, Group: clip(e.Group), Reason: key.reason, Rule: clip(e.Rule),
		Decision: e.Decision, CallerCredential: e.CallerCredential, SudoAsLogin: key.sudo, FirstID: clip(e.ID), Result: e.Result,
	}
	if types := strings.TrimSuffix(key.types, ","); types != "" {
		line.Types = strings.Split(types, ",")
	}
	r.seen[key] = &counted{line: line, until: t.Add(RepeatWindow)}
}

// end closes a window and queues its line, if there is anything to count.
// l.repeat.mu is held.
func (l *Log) end(key refusal, c *counted) {
	delete(l.repeat.seen, key)
	if c.line.Count > 0 {
		l.push(&c.line)
	}
}

// flushRepeats ends the windows whose time is up, or all.
func (l *Log) flushRepeats(all bool) {
	r := &l.repeat
	r.mu.Lock()
	defer r.mu.Unlock()
	t := l.now()
	var next time.Duration
	for key, c := range r.seen {
		left := c.until.Sub(t)
		if all || left <= 0 {
			l.end(key, c)
		} else if next == 0 || left < next {
			next = left
		}
	}
	if next > 0 {
		r.timer.Reset(next)
	}
}

// push queues a line of the log's own, also while it closes.
func (l *Log) push(e *Event) {
	body := l.encode(e)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.queued+len(*body) > maxQueued {
		l.lost++
		l.allBad++
		return
	}
	l.queue = append(l.queue, entry{body: body})
	l.queued += len(*body)
	l.signal()
}
