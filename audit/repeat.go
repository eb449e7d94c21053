package audit

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"sync"
	"time"
)

const (
	// RepeatWindow is how long refusals of a kind are counted before a line
	// says how many there were: 10 s.
	RepeatWindow = 10 * time.Second
	// MaxRepeats is how many kinds of refusal have a window of their own at a
	// time: 1024. With the shape of what it counts one takes 6 KiB at most.
	MaxRepeats = 1024
	// MaxKinds is how many of these one caller has for one script and reason:
	// 32. Kind, method, types and login are its own choice, so it could have a window
	// for every call; nobody reads so many.
	MaxKinds = 32
	// MaxGroups is for how many callers, scripts and reasons the refusals
	// beyond these bounds are told apart: 256. What exceeds it as well is all
	// counted together.
	MaxGroups = 256
)

// repeats counts refusals, so that a tool in a loop can't fill the disk, or
// hide in what it fills it with. Its bounds hold for a caller that makes every
// call another one, too: rotation would delete the history.
type repeats struct {
	timer *time.Timer // fires when a window has ended
	mu    sync.Mutex
	seen  map[refusal]*counted
	// wide counts the windows in seen of each width, kinds the own ones of each
	// source.
	wide  [rest + 1]int
	kinds map[source]int
}

// width says what a window counts together.
type width int

const (
	own   width = iota // identical refusals
	group              // all of one source and credential
	rest               // everything else of one credential
)

// source is what a caller can't choose freely of a refusal. Without a reason
// they are callers that hung up.
type source struct{ listener, caller, script, reason string }

// refusal is what the refusals in one window have in common. The credential is
// in every width: a legacy key among many placeholders has to show. It is a
// closed set, so there are few windows of width rest.
type refusal struct {
	width      width
	from       source
	credential Credential
	// Of width own only. more is how many types are left out of types.
	kind, method, types, sudo string
	more                      int
	// asked is a hash of what it asked for, and of the rule that refused it.
	asked [hashLen]byte
}

// counted is a window: the event that opened it, and how many followed.
type counted struct {
	line  Event
	until time.Time
}

// Refused writes e, a [RefusedCall]. The first of several identical ones (same
// listener, caller, script, kind, method, types, shape, rule, reason, credential and login) is
// written as Append does; those that follow within [RepeatWindow] are counted,
// and written as one [Repeat] line when the window ends or the log is closed.
// Beyond [MaxKinds] and [MaxRepeats] the same is done with all that have
// listener, caller, script, reason and credential in common, beyond [MaxGroups]
// with all that have the credential in common.
func (l *Log) Refused(e *Event) error {
	r := &l.repeat
	key := keyOf(e)
	t := l.now()
	r.mu.Lock()
	key, c := l.window(key, t)
	if c != nil {
		c.line.Count++
		c.line.LastID = clip(e.ID)
		r.mu.Unlock()
		return nil
	}
	c = l.open(key, e, t)
	r.mu.Unlock()
	err := l.Append(e)
	if err != nil {
		r.mu.Lock()
		if r.seen[key] == c && c.line.Count == 0 {
			r.remove(key) // the first was not written, so nothing repeats it
		}
		r.mu.Unlock()
	}
	return err
}

// keyOf copies what it keeps: a string from a request would hold on to the
// whole body it was cut from.
func keyOf(e *Event) refusal {
	var types strings.Builder
	for _, t := range e.Types[:min(len(e.Types), MaxRefusedTypes)] {
		types.WriteString(t[:min(len(t), MaxItem)])
		types.WriteByte(',')
	}
	return refusal{
		from: source{
			listener: clip(e.Listener), caller: clip(e.Caller), script: clip(e.Script), reason: clip(e.Reason),
		},
		credential: Credential(clip(string(e.CallerCredential))),
		kind:       clip(e.CallKind), method: clip(e.Method), types: types.String(), more: max(0, len(e.Types)-MaxRefusedTypes),
		sudo:  clip(e.SudoAsLogin),
		asked: askedOf(e),
	}
}

// askedOf tells refusals of one method apart by the fields that they name: each
// has a rule of its own that would allow it.
func askedOf(e *Event) (out [hashLen]byte) {
	h := sha256.New()
	for _, part := range [...]string{clip(e.Rule), clip(e.AllowWith), string(e.Shape)} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	copy(out[:], h.Sum(nil))
	return out
}

func clip(s string) string {
	s, _ = truncate(s, MaxString)
	return strings.Clone(s)
}

// window finds the narrowest key that a refusal can be counted under, and the
// window that is open for it; without one there is room to open it.
// l.repeat.mu is held.
func (l *Log) window(key refusal, t time.Time) (refusal, *counted) {
	r := &l.repeat
	for {
		c := r.seen[key]
		if c != nil && t.Before(c.until) {
			return key, c
		}
		if c != nil {
			l.end(key, c)
		}
		if r.room(key) {
			return key, nil
		}
		key = key.wider()
	}
}

// room says whether key may have a window. r.mu is held.
func (r *repeats) room(key refusal) bool {
	switch key.width {
	case own:
		return r.wide[own] < MaxRepeats && r.kinds[key.from] < MaxKinds
	case group:
		return r.wide[group] < MaxGroups
	case rest:
	}
	return true
}

// wider is the key that counts more together.
func (key refusal) wider() refusal {
	if key.width == own {
		return refusal{width: group, from: key.from, credential: key.credential}
	}
	return refusal{width: rest, credential: key.credential}
}

// open begins a window. l.repeat.mu is held.
func (l *Log) open(key refusal, e *Event, t time.Time) *counted {
	r := &l.repeat
	if r.seen == nil {
		r.seen, r.kinds = make(map[refusal]*counted), make(map[source]int)
	}
	if len(r.seen) == 0 {
		r.timer.Reset(RepeatWindow)
	}
	c := &counted{line: key.line(e), until: t.Add(RepeatWindow)}
	r.seen[key] = c
	r.wide[key.width]++
	if key.width == own {
		r.kinds[key.from]++
	}
	return c
}

// line is the Repeat of a window that e opens: what all in it have in common.
func (key refusal) line(e *Event) Event {
	line := Event{
		Kind: Repeat, FirstID: clip(e.ID), CallerCredential: key.credential,
		Listener: key.from.listener, Caller: key.from.caller, Script: key.from.script, Reason: key.from.reason,
		CallKind: key.kind, Method: key.method, SudoAsLogin: key.sudo, moreTypes: key.more,
	}
	if key.width != rest {
		line.Decision, line.Result = e.Decision, e.Result
	}
	if key.width == own { // of several shapes the first: what it asked for says enough of the others
		line.Group, line.Rule, line.AllowWith = clip(e.Group), clip(e.Rule), strings.Clone(e.AllowWith[:min(len(e.AllowWith), MaxRule)])
		if len(e.Shape) <= MaxShape { // its buffer is the caller's
			line.Shape = bytes.Clone(e.Shape)
		}
	}
	if types := strings.TrimSuffix(key.types, ","); types != "" {
		line.Types = strings.Split(types, ",")
	}
	return line
}

// end closes a window and queues its line, if there is anything to count.
// l.repeat.mu is held.
func (l *Log) end(key refusal, c *counted) {
	l.repeat.remove(key)
	if c.line.Count > 0 {
		l.push(&c.line)
	}
}

// remove forgets a window. r.mu is held.
func (r *repeats) remove(key refusal) {
	delete(r.seen, key)
	r.wide[key.width]--
	if key.width != own {
		return
	}
	if r.kinds[key.from]--; r.kinds[key.from] == 0 {
		delete(r.kinds, key.from)
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
