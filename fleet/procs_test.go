package fleet_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"stagedoor/fleet"
	"stagedoor/internal/parts"
	"stagedoor/limit"
)

// nodeVariable makes a run of this test binary one proxy of a fleet.
const nodeVariable = "STAGEDOOR_TEST_FLEET_NODE"

func TestMain(m *testing.M) {
	if text := os.Getenv(nodeVariable); text != "" {
		if err := runNode(text, os.Stdin, os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	m.Run()
}

// node is one proxy's orders.
type node struct {
	URL     string
	Share   float64
	Lease   time.Duration
	Limit   limit.Options
	Workers int           // who ask without end
	Step    time.Duration // by how much its clock is off, every other moment
}

// nodeSaid is a line that a proxy writes: when it came up, whenever it loses or
// finds Redis, and what it let through, at its end.
type nodeSaid struct {
	Up, Away, Back bool    `json:",omitempty"`
	Let            []int64 `json:",omitempty"` // when, in nanoseconds
	Refused        int     `json:",omitempty"`
	Status         fleet.Status
}

// runNode is a proxy process: it lets its workers through until stdin ends.
func runNode(orders string, in io.Reader, out io.Writer) error {
	var n node
	if err := json.Unmarshal([]byte(orders), &n); err != nil {
		return err
	}
	now := time.Now
	if n.Step != 0 {
		now = func() time.Time { // a wall clock that is set back and forth
			t := time.Now().Round(0)
			if t.UnixMilli()/300%2 == 1 {
				t = t.Add(n.Step)
			}
			return t
		}
	}
	f, err := fleet.Open(fleet.Options{URL: n.URL, Share: n.Share, Lease: n.Lease, Now: now})
	if err != nil {
		return err
	}
	b := f.Budget("farm", n.Limit)
	var mu sync.Mutex
	enc := json.NewEncoder(out)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	all := nodeSaid{}
	var wg sync.WaitGroup
	for range n.Workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, err := b.Take(ctx, limit.Ask{Cost: 1})
				at := time.Now().UnixNano()
				mu.Lock()
				if err == nil {
					all.Let = append(all.Let, at)
				} else {
					all.Refused++
				}
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		was, said := false, false
		for ctx.Err() == nil {
			s := f.Status()
			if s.Connected != was || !said && s.Err != "" {
				mu.Lock()
				_ = enc.Encode(nodeSaid{Up: !said, Away: !s.Connected, Back: s.Connected})
				mu.Unlock()
				was, said = s.Connected, true
			}
			<-tick.C
		}
	})
	_, _ = io.Copy(io.Discard, in)
	stop()
	wg.Wait()
	all.Status = f.Status()
	f.Close()
	return enc.Encode(all)
}

// proxies is a fleet of processes on one budget.
type proxies struct {
	t   *testing.T
	all []*proxy
	// outages is how often each lost Redis, after end.
	outages []uint64
}

type proxy struct {
	cmd  *exec.Cmd
	in   io.Closer
	errs *notes
	said chan nodeSaid
}

// startProxies starts one process for each orders. Within is what each is
// started inside of, if not nil.
func startProxies(t *testing.T, orders []node, within []string) *proxies {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &proxies{t: t}
	for _, o := range orders {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		argv := append(slices.Clone(within), self)
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), nodeVariable+"="+string(text))
		// Where go-redis would write, and what the race detector says.
		errs := &notes{}
		cmd.Stderr = errs
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		one := &proxy{cmd: cmd, in: in, errs: errs, said: make(chan nodeSaid, 1000)}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		go func() {
			defer close(one.said)
			dec := json.NewDecoder(bufio.NewReaderSize(out, 1<<20))
			for {
				var s nodeSaid
				if dec.Decode(&s) != nil {
					return
				}
				one.said <- s
			}
		}()
		p.all = append(p.all, one)
	}
	return p
}

// await waits until all proxies but the first few have said something.
func (p *proxies) await(what string, from int, is func(nodeSaid) bool) {
	p.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for i, one := range p.all[from:] {
		for heard := false; !heard; {
			select {
			case s, ok := <-one.said:
				if !ok {
					p.t.Fatalf("proxy %d ended while it was waited for: %s", from+i, what)
				}
				heard = is(s)
			case <-timer.C:
				p.t.Fatalf("waited %v until proxy %d: %s", patience, from+i, what)
			}
		}
	}
}

func isAway(s nodeSaid) bool { return s.Away }
func isBack(s nodeSaid) bool { return s.Back }

// end stops all, and returns when they let calls through, in order of time.
func (p *proxies) end() []int64 {
	p.t.Helper()
	for _, one := range p.all {
		_ = one.in.Close()
	}
	var let []int64
	for i, one := range p.all {
		var last nodeSaid
		for s := range one.said {
			last = s
		}
		if last.Status.Share == 0 {
			p.t.Errorf("proxy %d ended without a word", i)
		}
		if err := one.cmd.Wait(); err != nil || one.errs.String() != "" {
			p.t.Errorf("proxy %d: %v, and on stderr: %s", i, err, one.errs.String())
		}
		let = append(let, last.Let...)
		p.outages = append(p.outages, last.Status.Outages)
	}
	slices.Sort(let)
	return let
}

// excess is by how many calls the busiest stretch of time between two moments is
// over what the rate allows in it.
func excess(let []int64, from, to time.Time, rate float64) float64 {
	worst, most := 0.0, 0.0 // most is the largest of rate*t_i - i so far
	n := 0.0
	started := false
	for _, at := range let {
		if at < from.UnixNano() || at > to.UnixNano() {
			continue
		}
		x := rate*float64(at-from.UnixNano())/1e9 - n
		if !started || x > most {
			most, started = x, true
		}
		n++
		worst = max(worst, n-rate*float64(at-from.UnixNano())/1e9+most)
	}
	return worst
}

// What the processes share: a rate of 200 a second and a burst of 20, so that a
// lease is 5. A share of a fortieth is half of the rate for all 20 together.
const (
	processes   = 20
	workers     = 3
	farmRate    = 200.0
	farmBurst   = 20
	farmShare   = 1.0 / 40
	farmHold    = 5 * time.Second
	shareAlone  = processes * farmShare * farmRate // rate of all by their shares
	burstsAlone = processes * 1                    // of a burst of 20/40, at least 1
)

func farmOrders(url string) node {
	return node{
		URL: url, Share: farmShare, Workers: workers,
		Limit: limit.Options{Rate: farmRate, Burst: farmBurst, MaxHold: farmHold},
	}
}

func farm(url string) []node {
	return slices.Repeat([]node{farmOrders(url)}, processes)
}

// The bound that the package promises: a burst, one lease each, and a call of
// each worker that may have been let through before it was written down.
func farmBound() float64 {
	return farmBurst + float64(fleet.Overshoot(farmOrders("").Limit, fleet.DefaultLease, processes)) + processes*workers
}

// within holds the bound for a stretch of time, and that the budget was used.
func (p *proxies) within(let []int64, from, to time.Time, rate, more float64) {
	p.t.Helper()
	n := 0
	for _, at := range let {
		if at >= from.UnixNano() && at <= to.UnixNano() {
			n++
		}
	}
	over, bound := excess(let, from, to, rate), farmBound()+more
	p.t.Logf("%d calls in %v at %.0f/s, at worst %.0f over; the bound is %.0f", n, to.Sub(from).Round(time.Millisecond), rate, over, bound)
	if over > bound {
		p.t.Errorf("%.0f calls over the rate of %.0f/s; the bound is %.0f", over, rate, bound)
	}
	if float64(n) < rate*to.Sub(from).Seconds()/4 {
		p.t.Errorf("only %d calls in %v at %.0f/s", n, to.Sub(from), rate)
	}
}

// pause lets the fleet go on for a while: what is counted happens in time.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(errors.New("the test ended"))
	}
}

func TestTwentyProcessesStayWithinOneBudget(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	p := startProxies(t, farm(r.URL), nil)
	p.await("up", 0, isBack)
	from := time.Now()
	pause(t, 3*time.Second)
	to := time.Now()
	p.within(p.end(), from, to, farmRate, 0)
}

func TestTwentyProcessesWhileRedisIsKilledAndRestarted(t *testing.T) {
	for name, restart := range map[string]func(*parts.RedisServer){
		"with its data": (*parts.RedisServer).Restart, "without": (*parts.RedisServer).RestartEmpty,
	} {
		t.Run(name, func(t *testing.T) {
			r := parts.Redis(t, parts.RedisOptions{})
			p := startProxies(t, farm(r.URL), nil)
			p.await("up", 0, isBack)
			from := time.Now()
			pause(t, time.Second)
			r.Stop()
			p.await("alone", 0, isAway)
			alone := time.Now()
			pause(t, 2*time.Second)
			restarting := time.Now()
			restart(r)
			p.await("back", 0, isBack)
			back := time.Now()
			pause(t, time.Second)
			to := time.Now()
			let := p.end()
			p.within(let, alone, restarting, shareAlone, burstsAlone)
			// Where it lost its data Redis starts with a full bucket.
			p.within(let, back, to, farmRate, farmBurst+burstsAlone)
			p.within(let, from, to, farmRate+shareAlone, farmBurst+burstsAlone)
		})
	}
}

func TestTwentyProcessesWhileRedisIsSlow(t *testing.T) {
	r := parts.Redis(t, parts.RedisOptions{})
	w := r.Wire()
	p := startProxies(t, farm("redis://"+w.Address), nil)
	p.await("up", 0, isBack)
	from := time.Now()
	w.Delay(fleet.OperationTimeout / 5) // slow, and still there
	pause(t, 2*time.Second)
	slow := time.Now()
	w.Delay(2 * fleet.OperationTimeout) // too slow to wait for
	p.await("alone", 0, isAway)
	alone := time.Now()
	pause(t, 2*time.Second)
	mended := time.Now()
	w.Delay(0)
	p.await("back", 0, isBack)
	back := time.Now()
	pause(t, time.Second)
	to := time.Now()
	let := p.end()
	p.within(let, from, slow, farmRate, 0)
	p.within(let, alone, mended, shareAlone, burstsAlone)
	p.within(let, back, to, farmRate, burstsAlone)
}

func TestProcessesWithSteppedClocks(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			r := parts.Redis(t, parts.RedisOptions{})
			orders := farm(r.URL)
			for i := range orders {
				orders[i].Step = step
			}
			p := startProxies(t, orders, nil)
			p.await("up", 0, isBack)
			from := time.Now()
			pause(t, 3*time.Second)
			to := time.Now()
			p.within(p.end(), from, to, farmRate, 0)
		})
	}
}

func sorted(at []int64) []int64 {
	slices.Sort(at)
	return at
}
