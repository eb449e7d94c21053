// Fleet measures what thousands of proxies cost one Redis, and how exact a
// budget is that they share: all are in this process, each with a lease, a
// connection and a goroutine of its own, against one real Redis, which it starts
// on loopback.
//
//	go run ./bench/fleet -nodes 5000
//
// It prints a table, and ends with an error when the bound that the package
// fleet promises was broken.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"stagedoor/fleet"
	"stagedoor/limit"
)

// options are the flags.
type options struct {
	nodes    int
	rate     float64
	burst    int
	lease    time.Duration
	duration time.Duration
	out      io.Writer
}

// printf prints a part of the table; whoever reads it sees when it ends early.
func (o *options) printf(format string, args ...any) { _, _ = fmt.Fprintf(o.out, format, args...) }

// hold is how long a call of the simulation is held at most.
const hold = 20 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	o := options{out: os.Stdout}
	flag.IntVar(&o.nodes, "nodes", 5000, "proxies")
	flag.Float64Var(&o.rate, "rate", 120, "calls per second that all of them share")
	flag.IntVar(&o.burst, "burst", 120, "the burst they share")
	flag.DurationVar(&o.lease, "lease", fleet.DefaultLease, "how long a leased token is kept")
	flag.DurationVar(&o.duration, "duration", 20*time.Second, "length of each part")
	flag.Parse()
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func (o *options) limit() limit.Options {
	return limit.Options{Rate: o.rate, Burst: o.burst, MaxHold: hold}
}

// run starts Redis and the proxies, and puts them through three loads.
func run(ctx context.Context, o *options) error {
	if o.nodes < 1 || o.nodes > 8000 || o.rate <= 0 || o.burst < 1 || o.duration < time.Second || o.lease <= 0 {
		return errors.New("-nodes is 1 to 8000, -rate, -burst and -lease are over 0, -duration is from 1s")
	}
	dir, err := os.MkdirTemp("", "stagedoor-fleet-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing to be done about it
	server, address, err := startRedis(ctx, dir)
	if err != nil {
		return err
	}
	defer server()
	s, err := newSimulation(ctx, o, address)
	if err != nil {
		return err
	}
	defer s.close()
	o.printf("%d proxies, one budget of %g/s with a burst of %d, leases of up to %d for %v, %v a line\n\n",
		o.nodes, o.rate, o.burst, fleet.MaxLease(o.limit(), o.lease), o.lease, o.duration)
	o.printf("| asked | let through | refused | over, at worst | bound | leases | asks of Redis | all operations | Redis's CPU | held p50 | p99 | without a wait |\n")
	o.printf("|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	var broken error
	for _, load := range []struct {
		what   string
		demand float64 // of the rate; 0 is nothing
		busy   int     // proxies that ask; 0 is all
	}{
		{"nothing", 0, 0},
		{"half of it, by all", 0.5, 0},
		{"half of it, by 10", 0.5, 10},
		{"95 %, by 100", 0.95, 100},
		{"three times as much, by all", 3, 0},
	} {
		if load.busy > o.nodes {
			continue
		}
		r, err := s.measure(ctx, load.demand, load.busy)
		if err != nil {
			return err
		}
		r.print(o, load.what)
		if r.over > r.bound {
			broken = fmt.Errorf("%s: %.0f calls over the budget, and the bound is %.0f", load.what, r.over, r.bound)
		}
	}
	return broken
}

// startRedis starts a Redis that keeps nothing, and returns what ends it.
func startRedis(ctx context.Context, dir string) (stop func(), address string, err error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if binary, err = exec.LookPath("valkey-server"); err != nil {
			return nil, "", errors.New("no redis-server and no valkey-server in the PATH: apt-get install redis-server")
		}
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	address = ln.Addr().String()
	_, port, err := net.SplitHostPort(address)
	if err = errors.Join(err, ln.Close()); err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), binary, "--bind", "127.0.0.1", "--port", port, "--dir", dir,
		"--save", "", "--appendonly", "no", "--maxclients", "18000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "eady to accept connections") {
			go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
			return stop, address, nil
		}
	}
	stop()
	return nil, "", errors.New("redis didn't come up")
}

// simulation is the proxies.
type simulation struct {
	o       *options
	admin   *redis.Client
	fleets  []*fleet.Fleet
	budgets []*fleet.Budget
}

func newSimulation(ctx context.Context, o *options, address string) (*simulation, error) {
	s := &simulation{o: o, admin: redis.NewClient(&redis.Options{Addr: address, Protocol: 2})}
	for i := range o.nodes {
		f, err := fleet.Open(fleet.Options{
			URL: "redis://" + address, Share: 1 / float64(o.nodes), Lease: o.lease, Node: "node-" + strconv.Itoa(i),
		})
		if err != nil {
			s.close()
			return nil, err
		}
		s.fleets = append(s.fleets, f)
		s.budgets = append(s.budgets, f.Budget("site", o.limit()))
		if i%50 == 49 { // they don't all start in one moment elsewhere either
			pause(ctx, 20*time.Millisecond)
		}
	}
	for _, f := range s.fleets {
		for !f.Status().Connected {
			if ctx.Err() != nil {
				s.close()
				return nil, ctx.Err()
			}
			pause(ctx, 10*time.Millisecond)
		}
	}
	return s, nil
}

func (s *simulation) close() {
	var wg sync.WaitGroup
	for _, f := range s.fleets {
		wg.Go(f.Close)
	}
	wg.Wait()
	_ = s.admin.Close()
}

// result is what one load came to.
type result struct {
	took                time.Duration
	asked, let, refused int
	over, bound         float64
	leases              float64 // a second
	asks, all           float64 // operations of Redis a second
	cpu                 float64 // of one processor
	held50, held99      time.Duration
	atOnce              float64 // part of the calls let through
	outages, alone      uint64
}

// record is what became of the calls.
type record struct {
	mu      sync.Mutex
	let     []int64 // when, in nanoseconds
	held    []time.Duration
	refused int
	asked   int
}

// measure puts a load on busy proxies (0 is all), in calls that come by chance.
func (s *simulation) measure(ctx context.Context, demand float64, busy int) (*result, error) {
	if busy == 0 {
		busy = len(s.budgets)
	}
	before, err := s.counters(ctx)
	if err != nil {
		return nil, err
	}
	var rec record
	from := time.Now()
	if demand == 0 {
		pause(ctx, s.o.duration)
	} else {
		s.load(ctx, &rec, demand*s.o.rate/float64(busy), s.budgets[:busy])
	}
	to := time.Now()
	after, err := s.counters(ctx)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return s.result(&rec, from, to, before, after), nil
}

// load lets each proxy make calls at a rate of its own until the time is over.
// Calls that wait then are let go.
func (s *simulation) load(ctx context.Context, rec *record, each float64, budgets []*fleet.Budget) {
	ctx, stop := context.WithTimeout(ctx, s.o.duration)
	defer stop()
	var wg sync.WaitGroup
	for _, b := range budgets {
		wg.Go(func() {
			for ctx.Err() == nil {
				pause(ctx, time.Duration(rand.ExpFloat64()/each*float64(time.Second))) //nolint:gosec // a load, no secret
				if ctx.Err() != nil {
					return
				}
				wg.Go(func() { rec.call(ctx, b) })
			}
		})
	}
	wg.Wait()
}

func (r *record) call(ctx context.Context, b *fleet.Budget) {
	g, err := b.Take(ctx, limit.Ask{Cost: 1})
	now := time.Now().UnixNano()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	var refused *limit.Refused
	switch {
	case err == nil:
		r.let = append(r.let, now)
		r.held = append(r.held, g.Held)
	case errors.As(err, &refused):
		r.refused++
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// counters is what Redis and the proxies have counted so far.
type counters struct {
	asks, all float64
	cpu       float64 // seconds
	leases    uint64
	outages   uint64
	alone     uint64
}

func (s *simulation) counters(ctx context.Context) (counters, error) {
	var c counters
	text, err := s.admin.Info(ctx, "commandstats", "cpu", "stats").Result()
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		number, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		n, err := strconv.ParseFloat(number, 64)
		if err != nil {
			continue
		}
		switch name {
		case "cmdstat_hmget": // each ask for a lease has one
			c.asks += n
		case "cmdstat_evalsha", "cmdstat_eval":
			c.all += n
		case "used_cpu_sys", "used_cpu_user":
			c.cpu += n
		}
	}
	for _, f := range s.fleets {
		st := f.Status()
		c.leases += st.Leases
		c.outages += st.Outages
		c.alone += st.FellBack
	}
	return c, nil
}

func (s *simulation) result(rec *record, from, to time.Time, a, b counters) *result {
	took := to.Sub(from)
	second := took.Seconds()
	slices.Sort(rec.let)
	slices.Sort(rec.held)
	r := &result{
		took: took, asked: rec.asked, let: len(rec.let), refused: rec.refused,
		over:   excess(rec.let, s.o.rate),
		bound:  float64(s.o.burst+fleet.Overshoot(s.o.limit(), s.o.lease, len(s.budgets))) + float64(b.alone-a.alone),
		leases: float64(b.leases-a.leases) / second, asks: (b.asks - a.asks) / second, all: (b.all - a.all) / second,
		cpu: (b.cpu - a.cpu) / second, outages: b.outages - a.outages, alone: b.alone - a.alone,
	}
	if n := len(rec.held); n > 0 {
		r.held50, r.held99 = rec.held[n/2], rec.held[n*99/100]
		at, _ := slices.BinarySearch(rec.held, 1)
		r.atOnce = float64(at) / float64(n)
	}
	return r
}

// excess is by how many calls the busiest stretch of time is over the rate.
func excess(let []int64, rate float64) float64 {
	worst, most := 0.0, math.Inf(-1)
	for i, at := range let {
		x := rate * float64(at-let[0]) / 1e9
		most = max(most, x-float64(i))
		worst = max(worst, float64(i+1)-x+most)
	}
	return worst
}

func (r *result) print(o *options, what string) {
	second := r.took.Seconds()
	o.printf("| %s | %.1f/s | %.1f/s | %.0f | %.0f | %.0f/s | %.0f/s | %.0f/s | %.1f %% | %v | %v | %.0f %% |\n",
		what, float64(r.let)/second, float64(r.refused)/second, r.over, r.bound, r.leases, r.asks, r.all, 100*r.cpu,
		r.held50.Round(100*time.Microsecond), r.held99.Round(100*time.Microsecond), 100*r.atOnce)
	if r.outages > 0 || r.alone > 0 {
		o.printf("\n*** %d times a proxy lost Redis; %d calls had a share alone: is this machine too busy for so many? ***\n\n", r.outages, r.alone)
	}
}
