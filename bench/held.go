package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// heldCalls calls of heldSize bytes each are held at a time.
const (
	heldCalls = 1000
	heldSize  = 1 << 20
)

// heldCase is one measurement of memory.
type heldCase struct {
	name        string
	maxBuffered string
	body        func() string
	// all says that every call has to get as far as the queue.
	all bool
}

func heldCases() []heldCase {
	return []heldCase{
		{"create with a text of 1 MiB, max_buffered 2GiB", "2GiB", createText, true},
		{"read with a filter of 1 MiB of ids, max_buffered 2GiB", "2GiB", readIDs, true},
		{"create with a text of 1 MiB, max_buffered 256MiB (the default)", "256MiB", createText, false},
	}
}

// createText is a call whose size is in one string.
func createText() string {
	head := `{"method_name": "create", "params": [{"script_name": "` + script + `", "script_key": "x"}, {"type": "Note", "fields": [` +
		`{"field_name": "project", "value": {"type": "Project", "id": 65}}, {"field_name": "content", "value": "`
	tail := `"}], "return_fields": ["id"]}]}`
	const line = "Please look at the left hand again, it floats. "
	return head + strings.Repeat(line, heldSize/len(line)+1)[:heldSize-len(head)-len(tail)] + tail
}

// readIDs is a call whose size is in many small values.
func readIDs() string {
	head := `{"method_name": "read", "params": [{"script_name": "` + script + `", "script_key": "x"}, {"type": "Shot", "return_fields": ["code"], ` +
		`"filters": {"logical_operator": "and", "conditions": [{"path": "id", "relation": "in", "values": [1000000`
	tail := `]}]}, "return_only": "active", "paging": {"entities_per_page": 500, "current_page": 1}}]}`
	var b strings.Builder
	b.WriteString(head)
	for i := 1000001; b.Len() < heldSize-len(tail)-10; i++ {
		b.WriteString(", ")
		b.WriteString(strconv.Itoa(i))
	}
	b.WriteString(tail)
	return b.String() + strings.Repeat(" ", heldSize-b.Len())
}

// measureHeld measures each case in a Stagedoor of its own.
func (l *lab) measureHeld(ctx context.Context) error {
	if err := l.build(ctx, pkgStagedoor, "stagedoor"); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s. %d calls of 1 MiB at once, on a limit that holds them all.\n\n", l.machine(ctx), heldCalls)
	b.WriteString("| | in the queue | memory before MiB | peak with all held MiB | peak after all hung up MiB |\n|---|--:|--:|--:|--:|\n")
	for _, h := range heldCases() {
		line, err := l.hold(ctx, h)
		if err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
		b.WriteString(line)
	}
	return l.report(ctx, "held", b.String())
}

// heldTime bounds one case.
const heldTime = 90 * time.Second

// hold measures one case and gives its line of the table.
func (l *lab) hold(ctx context.Context, h heldCase) (line string, err error) {
	ctx, cancel := context.WithTimeout(ctx, heldTime)
	defer cancel()
	addr, err := freeAddress(ctx)
	if err != nil {
		return "", err
	}
	door := &stagedoor{}
	file, err := door.configure(ctx, l, "stagedoor-held.yaml", addr, h.maxBuffered)
	if err != nil {
		return "", err
	}
	p, err := l.start(ctx, nameStagedoor, addr, l.path("stagedoor"), "serve", "--config", file)
	if err != nil {
		return "", err
	}
	defer p.stop()
	before, err := memory(p.pid(), "VmRSS")
	if err != nil {
		return "", err
	}
	calls := &callers{addr: addr, request: request(addr, h.body())}
	calls.begin(ctx, heldCalls+1) // one is in flight
	defer calls.hangUp()
	queued, err := door.settle(ctx, l, calls, h.all)
	if err != nil {
		return "", err
	}
	held, err := peakMemory(p.pid())
	if err != nil {
		return "", err
	}
	calls.hangUp()
	if err := door.empty(ctx, l); err != nil {
		return "", err
	}
	after, err := peakMemory(p.pid())
	if err != nil {
		return "", err
	}
	const mib = 1 << 20
	return fmt.Sprintf("| %s | %d | %d | %d | %d |\n", h.name, queued, before/mib, held/mib, after/mib), nil
}

// waiting is how many calls are held, and how many bytes of bodies are in memory.
func (s *stagedoor) waiting(ctx context.Context, l *lab) (queued int, buffered float64, err error) {
	text, err := l.get(ctx, "http://"+s.admin+"/metrics")
	return int(metric(text, "stagedoor_queued")), metric(text, "stagedoor_buffered_bytes"), err
}

// settle waits until all calls are held, or nothing changes any more.
func (s *stagedoor) settle(ctx context.Context, l *lab, calls *callers, all bool) (queued int, err error) {
	const same = 6 // looks without a change
	last, still := 0.0, 0
	err = poll(ctx, 500*time.Millisecond, func() (bool, error) {
		n, buffered, err := s.waiting(ctx, l)
		if err = errors.Join(err, calls.failed()); err != nil {
			return false, err
		}
		if still++; n != queued || buffered != last {
			still = 0
		}
		queued, last = n, buffered
		return queued == heldCalls || !all && queued > 0 && still >= same, nil
	})
	if err != nil {
		return 0, fmt.Errorf("%d of %d calls were held: %w", queued, heldCalls, err)
	}
	return queued, nil
}

// empty waits until nothing is held and no body is in memory.
func (s *stagedoor) empty(ctx context.Context, l *lab) error {
	err := poll(ctx, 200*time.Millisecond, func() (bool, error) {
		n, buffered, err := s.waiting(ctx, l)
		return n == 0 && buffered == 0, err
	})
	if err != nil {
		return fmt.Errorf("calls are held whose callers hung up: %w", err)
	}
	return nil
}

// request is a whole HTTP request around a body.
func request(addr, body string) string {
	return "POST /api3/json HTTP/1.1\r\nHost: " + addr + "\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

// callers make the same call from a connection each and wait.
type callers struct {
	addr, request string
	cancel        context.CancelFunc
	wait          sync.WaitGroup
	answered      atomic.Value // error, once a call has an answer
}

func (c *callers) failed() error {
	err, _ := c.answered.Load().(error)
	return err
}

func (c *callers) begin(ctx context.Context, n int) {
	ctx, c.cancel = context.WithCancel(ctx)
	for range n {
		c.wait.Go(func() {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", c.addr)
			if err != nil {
				return // settle finds that a call is missing
			}
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			if _, err := io.WriteString(conn, c.request); err != nil {
				return
			}
			var b [1024]byte
			n, err := conn.Read(b[:])
			if err == nil && ctx.Err() == nil {
				c.answered.CompareAndSwap(nil, fmt.Errorf("a call was answered, not held: %s", b[:n]))
			}
			_ = conn.Close()
		})
	}
}

// hangUp closes all connections and waits for that.
func (c *callers) hangUp() {
	c.cancel()
	c.wait.Wait()
}
