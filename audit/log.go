package audit

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// DefaultMaxSize is the size in bytes at which a file is rotated where the
	// configuration names none: 100 MiB.
	DefaultMaxSize = 100 << 20
	// DefaultKeep is how many rotated files are kept: 10.
	DefaultKeep = 10
	// DefaultTimeout is how long a write may take while calls wait for it: 1 s.
	DefaultTimeout = time.Second
	// DefaultMinFree is the free space in bytes below which Healthy says no:
	// 256 MiB, hours before the disk is full.
	DefaultMinFree = 256 << 20

	// maxIntents bounds the bytes of lines that wait for the sink while new
	// intents are still taken: 4 MiB.
	maxIntents = 4 << 20
	// maxQueued bounds them for outcomes, whose calls have happened and whose
	// room intents can't take: 16 MiB. What exceeds it is lost, and counted.
	maxQueued = 16 << 20
	// noteDelay is how long an outcome may wait for an intent to be written
	// along with: 20 ms. It saves every second write.
	noteDelay = 20 * time.Millisecond
	// checkEvery is how often free space is looked at, and a sink that failed
	// is tried: 2 s.
	checkEvery = 2 * time.Second
	// keepBuffer is the largest buffer kept for the next line: 16 KiB.
	keepBuffer = 16 << 10
)

var (
	// ErrBlocked says that the sink took nothing for Options.Timeout.
	ErrBlocked = errors.New("audit: the sink takes nothing")
	// ErrFull says that too many lines wait for the sink already.
	ErrFull = errors.New("audit: too many lines wait for the sink")
	// ErrClosed says that the log was closed.
	ErrClosed = errors.New("audit: the log is closed")
)

// Options says where lines go. Either Sink or Path must be set.
type Options struct {
	// Sink takes the lines of a log that is not a file of ours (stdout). It is
	// neither rotated nor continued: every process begins a chain.
	Sink io.Writer
	// Path is a file, made with mode 0600 and appended to. One process at a
	// time may write it.
	Path string
	// MaxSize is the size in bytes at which Path is renamed to Path.1, and so
	// on; 0 is [DefaultMaxSize].
	MaxSize int64
	// Keep is how many renamed files are kept; 0 is [DefaultKeep].
	Keep int
	// Timeout is how long the sink may take for one write before Append gives
	// up; 0 is [DefaultTimeout].
	Timeout time.Duration
	// MinFree is the free space in bytes below which Healthy says no; 0 is
	// [DefaultMinFree], negative never looks.
	MinFree int64
	// Software is Stagedoor's version and Config the configuration's
	// fingerprint, both for the first line.
	Software, Config string
	// Now is the clock of the lines; nil is time.Now.
	Now func() time.Time
	// Logger is told when the sink fails and when it works again, once each;
	// nil tells nobody.
	Logger *slog.Logger
}

// Log is an audit log. It is safe for concurrent use; use [Open]. One goroutine
// writes, and Close waits for it.
type Log struct {
	opts   Options
	now    func() time.Time
	waits  sync.Pool // *wait
	bufs   sync.Pool // *[]byte
	wake   chan struct{}
	lazy   *time.Timer // fires when outcomes have waited long enough
	orders chan order
	done   chan struct{} // the writer has ended
	repeat repeats

	mu     sync.Mutex
	queue  []entry
	queued int // bytes in queue and in the writer's hands
	drowsy bool
	closed bool
	// busy is when the writer began what it is doing, zero when it waits.
	busy   time.Time
	state  state
	errs   uint64
	lost   int    // outcomes since the last line that said so
	allBad uint64 // outcomes lost in all
}

// state is what the writer last found out.
type state struct {
	write  error // of the last write
	rotate error // of the last rotation
	free   int64 // bytes; negative is unknown
}

// entry is a line that waits for its place in the chain.
type entry struct {
	body *[]byte
	wait *wait // nil: an outcome, nobody waits
}

// wait is an Append that waits for its line.
type wait struct {
	err   chan error // buffered: the writer never blocks on it
	timer *time.Timer
	gone  bool // guarded by Log.mu: its line is not to be written any more
}

// order asks the writer for something besides lines.
type order struct {
	stop bool // else reopen
	done chan error
}

// Open starts a log and writes its first line; it fails when it can't. A file
// that exists is continued, also one whose last line is torn.
func Open(o Options) (*Log, error) {
	if (o.Sink == nil) == (o.Path == "") {
		return nil, errors.New("audit: exactly one of sink and path is needed")
	}
	o = o.effective()
	l := &Log{
		opts: o, now: o.Now, wake: make(chan struct{}, 1), lazy: stopped(),
		orders: make(chan order), done: make(chan struct{}),
	}
	l.repeat.timer = stopped()
	l.waits.New = func() any { return &wait{err: make(chan error, 1), timer: stopped()} }
	l.bufs.New = func() any { return new(make([]byte, 0, 1024)) }
	w := &writer{log: l, sink: sink{opts: &l.opts}}
	t, err := w.sink.open()
	if err != nil {
		return nil, fmt.Errorf("audit: opening the log: %w", err)
	}
	w.at, w.open, w.torn = t.chain, t.open, t.torn
	l.state.free = w.sink.free()
	go w.run()
	first := Event{Kind: Start, Software: o.Software, Config: o.Config, Torn: t.torn}
	if err := l.Append(&first); err != nil {
		return nil, errors.Join(fmt.Errorf("audit: writing the first line: %w", err), l.Close())
	}
	return l, nil
}

func (o Options) effective() Options {
	if o.MaxSize <= 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.Keep <= 0 {
		o.Keep = DefaultKeep
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MinFree == 0 {
		o.MinFree = DefaultMinFree
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// stopped is a timer that doesn't run.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// Append writes e and returns once the operating system has the line. The
// error says why it may not have it: the sink failed, or has been at one write
// for Options.Timeout (at once, when it already had been when e came). Then
// the call it is about must be refused. A line that was being written when the
// time was up can still appear.
func (l *Log) Append(e *Event) error {
	body := l.encode(e)
	w, ok := l.waits.Get().(*wait)
	if !ok {
		panic("audit: the pool holds waits only")
	}
	if err := l.enqueue(entry{body: body, wait: w}, maxIntents); err != nil {
		l.bufs.Put(body)
		l.waits.Put(w)
		return err
	}
	l.signal()
	for left := l.opts.Timeout; left > 0; left = l.giveUp(w) {
		w.timer.Reset(left)
		select {
		case err := <-w.err:
			w.timer.Stop()
			l.waits.Put(w)
			return err
		case <-w.timer.C:
		}
	}
	select {
	case err := <-w.err:
		return err
	default:
		return ErrBlocked
	}
}

// giveUp says how much longer w is to wait; at 0 its line is not to be written
// any more. A writer that waits for a processor is not a sink that is stuck.
func (l *Log) giveUp(w *wait) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy.IsZero() {
		return l.opts.Timeout
	}
	if left := l.opts.Timeout - time.Since(l.busy); left > 0 {
		return left // it is at another write than the one that the line waited for
	}
	w.gone = true // and never pooled again: the writer may know it still
	return 0
}

// Note writes e without waiting for it, in the order of the calls to Note and
// Append. It is for outcomes: what it says has happened, so the line is kept
// through a failure of the sink, within a bound; what exceeds it is lost, and
// the next [Probe] line says how many were.
func (l *Log) Note(e *Event) {
	body := l.encode(e)
	if err := l.enqueue(entry{body: body}, maxQueued); err != nil {
		l.bufs.Put(body)
	}
}

func (l *Log) encode(e *Event) *[]byte {
	b, ok := l.bufs.Get().(*[]byte)
	if !ok {
		panic("audit: the pool holds buffers only")
	}
	*b = appendEvent((*b)[:0], e, l.now())
	return b
}

// enqueue puts a line in the queue if that holds less than limit bytes.
func (l *Log) enqueue(e entry, limit int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	switch {
	case l.closed:
		err = ErrClosed
	case e.wait != nil && l.stuck():
		err = ErrBlocked
	case l.queued+len(*e.body) > limit:
		err = ErrFull
	}
	if err != nil {
		if e.wait == nil {
			l.lost++
			l.allBad++
		}
		return err
	}
	l.queue = append(l.queue, e)
	l.queued += len(*e.body)
	if e.wait == nil && !l.drowsy {
		l.drowsy = true
		l.lazy.Reset(noteDelay)
	}
	return nil
}

// stuck says whether the writer has been at one write for too long.
// l.mu is held.
func (l *Log) stuck() bool {
	return !l.busy.IsZero() && time.Since(l.busy) >= l.opts.Timeout
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
}

// Reopen closes the file and opens its path anew, after something else has
// renamed it. The chain goes on. On an error the old file stays in use. It does
// nothing for a sink.
func (l *Log) Reopen() error { return l.order(order{}) }

// Close writes what is left and a last line, and closes a file. It waits for a
// blocked sink no longer than Options.Timeout; the error says what was lost.
// After it every Append fails.
func (l *Log) Close() error {
	l.mu.Lock()
	again := l.closed
	l.closed = true
	l.mu.Unlock()
	if again {
		return nil
	}
	return l.order(order{stop: true})
}

// order has the writer do o, for as long as Options.Timeout.
func (l *Log) order(o order) error {
	o.done = make(chan error, 1)
	timer := time.NewTimer(l.opts.Timeout)
	defer timer.Stop()
	select {
	case l.orders <- o:
	case <-l.done:
		return ErrClosed
	case <-timer.C:
		if o.stop {
			// Its write can't be called off; it ends with the write, or with
			// the process.
			go func() {
				select {
				case l.orders <- o:
				case <-l.done:
				}
			}()
		}
		return ErrBlocked
	}
	select {
	case err := <-o.done:
		return err
	case <-timer.C:
		return ErrBlocked
	}
}

// Healthy is nil, or why no call should come here: the sink failed or is stuck,
// the file could not be rotated, or the disk is nearly full. It doesn't touch
// the disk.
func (l *Log) Healthy() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return ErrClosed
	case l.stuck():
		return ErrBlocked
	case l.state.write != nil:
		return fmt.Errorf("audit: the last write failed: %w", l.state.write)
	case l.state.rotate != nil:
		return fmt.Errorf("audit: the file grows past its bound, it can't be rotated: %w", l.state.rotate)
	case l.state.free >= 0 && l.state.free < l.opts.MinFree:
		return fmt.Errorf("audit: %d MiB free on the disk of the log, %d MiB wanted",
			l.state.free>>20, l.opts.MinFree>>20)
	}
	return nil
}

// Stats are figures for metrics.
type Stats struct {
	// Errors counts writes that failed, Lost outcomes that were never written.
	Errors, Lost uint64
	// Free is the space left for the file in bytes, as of the last look;
	// negative where that is not known.
	Free int64
	// Queued is bytes of lines that wait to be written.
	Queued int
}

// Stats are the figures as of now.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Errors: l.errs, Lost: l.allBad, Free: l.state.free, Queued: l.queued}
}
