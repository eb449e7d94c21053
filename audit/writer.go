package audit

import (
	"log/slog"
	"runtime"
	"time"
)

// writer is the one goroutine that writes. It takes all that is queued, puts
// each line in its place in the chain and hands them to the sink in one write.
type writer struct {
	log  *Log
	sink sink
	at   chain
	// open says that the sink ends within a line, torn that the line is not
	// whole, failed that the last write was an error.
	open, torn, failed bool
	// stay is set when a rotation failed, until the next look.
	stay bool
	told int // lost outcomes that the write under way owns up to

	taken []entry
	out   []byte
	marks []mark // one per line in out
}

// mark is where a line ends in out, its line end not counted, and the place in
// the chain behind it.
type mark struct {
	end int
	at  chain
}

func (w *writer) run() {
	l := w.log
	defer close(l.done)
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for {
		select {
		case <-l.wake:
			// Those who are about to append go first and share the write: a
			// quarter of all writes less under load, 4 % of what a call costs.
			runtime.Gosched()
		case <-l.lazy.C:
		case <-l.repeat.timer.C:
			l.flushRepeats(false)
		case <-check.C:
			w.look()
		case o := <-l.orders:
			if o.stop {
				o.done <- w.stop()
				return
			}
			o.done <- w.reopen()
		}
		w.drain()
	}
}

// drain writes until nothing is queued, or the sink fails: then the next line,
// or the next look, tries again.
func (w *writer) drain() {
	for w.take() {
		n, err := w.commit()
		w.finish(n, err)
		if err != nil {
			return
		}
	}
}

// take moves the queue into w.taken, less what nobody waits for any more.
func (w *writer) take() bool {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drowsy = false
	w.taken, l.queue = l.queue, w.taken[:0]
	kept := w.taken[:0]
	for _, e := range w.taken {
		if e.wait != nil && e.wait.gone {
			l.queued -= len(*e.body)
			continue
		}
		kept = append(kept, e)
	}
	w.taken = kept
	if len(kept) == 0 {
		return false
	}
	l.busy = time.Now()
	return true
}

// commit writes w.taken and says how many of them the sink has.
func (w *writer) commit() (int, error) {
	w.out, w.marks = w.out[:0], w.marks[:0]
	own, written := w.begin(), 0
	for i := range w.taken {
		body := *w.taken[i].body
		// What ends a torn line stays in the file with it.
		if w.sink.full(len(w.out), len(body)) && (len(w.marks) > 0 || len(w.out) == 0) {
			n, err := w.flush()
			written += n
			if err != nil {
				return max(written-own, 0), err
			}
			w.rotate()
		}
		w.add(body)
	}
	n, err := w.flush()
	return max(written+n-own, 0), err
}

// begin ends a line that was left open, and adds one of our own where there is
// something to own up to. It says how many it added.
func (w *writer) begin() int {
	if w.open {
		w.out = append(w.out, '\n')
	}
	l := w.log
	l.mu.Lock()
	w.told = l.lost
	l.mu.Unlock()
	if !w.failed && w.told == 0 {
		// A torn line found by Open: the first line is its Start, which says so.
		return 0
	}
	e := Event{Kind: Probe, Torn: w.torn, Lost: w.told}
	w.add(appendEvent(nil, &e, l.now()))
	return 1
}

func (w *writer) add(body []byte) {
	at := w.at
	if len(w.marks) > 0 {
		at = w.marks[len(w.marks)-1].at
	}
	start := len(w.out)
	w.out = at.appendHead(w.out)
	w.out = append(w.out, body...)
	w.marks = append(w.marks, mark{end: len(w.out), at: at.after(w.out[start:])})
	w.out = append(w.out, '\n')
}

// flush hands w.out to the sink, in one write, and moves w.at behind what the
// sink took of it. It says how many whole lines that was.
func (w *writer) flush() (lines int, err error) {
	if len(w.out) == 0 {
		return 0, nil
	}
	n, err := w.sink.write(w.out)
	behind := 0
	for lines < len(w.marks) && w.marks[lines].end <= n {
		w.at = w.marks[lines].at
		behind = w.marks[lines].end + 1
		lines++
	}
	switch {
	case n == 0: // as before
	case lines == 0 && n == 1 && w.open:
		w.open = false // an end for the torn line, no more
	case lines == 0:
		w.open, w.torn = true, true
	default:
		w.open = behind != n
		w.torn = n > behind
	}
	w.out, w.marks = w.out[:0], w.marks[:0]
	return lines, err
}

// finish tells whoever waits what became of the first n of w.taken and of the
// rest. Outcomes that were not written go back to the head of the queue.
func (w *writer) finish(n int, err error) {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	var again []entry
	for i, e := range w.taken {
		switch {
		case i >= n && e.wait == nil:
			again = append(again, e)
			continue
		case i >= n:
			e.wait.err <- err
		case e.wait != nil:
			e.wait.err <- nil
		}
		l.queued -= len(*e.body)
		if cap(*e.body) <= keepBuffer {
			l.bufs.Put(e.body)
		}
	}
	clear(w.taken)
	if len(again) > 0 {
		l.queue = append(again, l.queue...)
	}
	w.settle(err)
}

// settle records how a write went. l.mu is held.
func (w *writer) settle(err error) {
	l := w.log
	l.busy = time.Time{}
	if err != nil {
		l.errs++
	} else {
		l.lost -= w.told
	}
	switch {
	case err != nil && l.state.write == nil:
		l.opts.Logger.Error("audit log can't be written; calls are refused", slog.Any("error", err))
	case err == nil && l.state.write != nil:
		l.opts.Logger.Info("audit log works again")
	}
	l.state.write = err
	w.failed = err != nil
}

// look checks the space left, and tries a sink that failed or owes a line.
func (w *writer) look() {
	l := w.log
	w.stay = false
	w.busy(func() {
		free := w.sink.free()
		l.mu.Lock()
		l.state.free = free
		l.mu.Unlock()
	})
	l.mu.Lock()
	owed := l.lost > 0 || w.failed
	idle := len(l.queue) == 0
	l.mu.Unlock()
	if owed && idle {
		w.busy(func() {
			w.taken = w.taken[:0]
			n, err := w.commit()
			w.finish(n, err)
		})
	}
}

// busy does something that may block, so that stuck sees it.
func (w *writer) busy(f func()) {
	w.log.mu.Lock()
	w.log.busy = time.Now()
	w.log.mu.Unlock()
	f()
	w.log.mu.Lock()
	w.log.busy = time.Time{}
	w.log.mu.Unlock()
}

func (w *writer) rotate() {
	if w.stay {
		return
	}
	l := w.log
	err := w.sink.rotate()
	w.stay = err != nil
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.state.rotate == nil {
		l.opts.Logger.Error("audit log can't be rotated; it grows", slog.Any("error", err))
	}
	l.state.rotate = err
}

func (w *writer) reopen() (err error) {
	w.busy(func() { err = w.sink.reopen() })
	return err
}

// stop writes all that is left, says goodbye and closes the file.
func (w *writer) stop() error {
	l := w.log
	l.flushRepeats(true)
	l.push(&Event{Kind: Stop})
	w.drain()
	l.mu.Lock()
	err := l.state.write
	l.mu.Unlock()
	if closeErr := w.sink.close(); err == nil {
		err = closeErr
	}
	return err
}
