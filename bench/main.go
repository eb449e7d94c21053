// Bench measures what a call through Stagedoor costs, beside nginx, nginx with
// Lua, HAProxy and a bare httputil.ReverseProxy, all in the same run:
//
//	go run ./bench             the comparison
//	go run ./bench -files      uploads and downloads
//	go run ./bench -held       memory with 1 000 held calls of 1 MiB
//	go run ./bench -profile    where Stagedoor's time and allocations go
//
// Run it from the module's root. It needs wrk, and each of nginx, its Lua module
// and HAProxy that is to be compared (Debian packages). Everything listens on
// loopback, and what is generated lies in a temporary folder. README.md says
// what the figures mean.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// install is how everything that is compared gets onto a Debian machine.
const install = "apt-get install wrk nginx libnginx-mod-http-lua lua-cjson haproxy"

// options are the flags.
type options struct {
	held, files, profile bool

	size        string // of a file
	rounds      int
	duration    time.Duration // of one run of wrk
	connections int
	only        string // names of contenders, by comma; all if empty
	readme      string // the file that the figures are put into
	keep        bool
	out         io.Writer
}

func main() {
	// SIGPIPE too: after "| head", what was started must still be ended.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	o := options{out: os.Stdout}
	flag.BoolVar(&o.held, "held", false, "measure memory with 1 000 held calls of 1 MiB instead")
	flag.BoolVar(&o.files, "files", false, "measure uploads and downloads instead")
	flag.StringVar(&o.size, "size", "1GB", "with -files: size of the file")
	flag.BoolVar(&o.profile, "profile", false, "profile Stagedoor under the load instead")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; each runs every contender once")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "length of one run")
	flag.IntVar(&o.connections, "connections", 32, "connections that wrk keeps open")
	flag.StringVar(&o.only, "only", "", "contenders to run, by comma (default all)")
	flag.StringVar(&o.readme, "readme", "", "file to put the figures into, such as bench/README.md")
	flag.BoolVar(&o.keep, "keep", false, "leave the temporary folder, with configurations, logs and profiles")
	flag.Parse()
	err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run makes the laboratory, does one of the three measurements in it and takes
// it down.
func run(ctx context.Context, o *options) (err error) {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("what a process costs is read from /proc, which %s does not have", runtime.GOOS)
	}
	if o.rounds < 1 || o.rounds > 100 || o.duration < time.Second || o.duration > time.Minute || o.connections < 1 || o.connections > 500 {
		return fmt.Errorf("-rounds is 1 to 100, -duration 1s to 1m, -connections 1 to 500")
	}
	// Nothing of it may run for ever, whatever hangs.
	bound := 5*time.Minute + time.Duration(o.rounds)*time.Duration(len(contenders()))*(o.duration+time.Second)
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	l, err := newLab(ctx, o)
	if err != nil {
		return err
	}
	defer l.close()
	switch {
	case o.files && o.profile:
		err = l.profileFiles(ctx)
	case o.files:
		err = l.compareFiles(ctx)
	case o.held:
		err = l.measureHeld(ctx)
	case o.profile:
		err = l.profileStagedoor(ctx)
	default:
		err = l.compare(ctx)
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("interrupted or out of time (%s): %w", bound, err)
	}
	return err
}

// compare runs every contender once in each round and prints the figures.
func (l *lab) compare(ctx context.Context) error {
	if err := haveWrk(); err != nil {
		return err
	}
	running, err := l.startAll(ctx)
	if err != nil {
		return err
	}
	for round := range l.o.rounds {
		for i := range running {
			c := running[(round+i)%len(running)] // nobody is always the first
			s, err := l.load(ctx, c, l.o.duration)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.samples = append(c.samples, s)
			l.printf("round %d  %-15s %7.0f calls/s  %6.1f µs CPU per call  p50 %5.2f ms  p99 %6.2f ms  rest of the machine %2.0f %%\n",
				round+1, c.name, s.rate, s.cpu, s.p50, s.p99, 100*s.others)
		}
	}
	for _, c := range running {
		if c.peak, err = peakMemory(c.process.pid()); err != nil {
			return err
		}
		if c.check == nil {
			continue
		}
		if err := c.check(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return l.report(ctx, "comparison", l.table(ctx, running))
}

// startAll brings up every contender that was asked for and is installed, and
// warms it up.
func (l *lab) startAll(ctx context.Context) (running []*contender, err error) {
	for _, c := range contenders() {
		if l.o.only != "" && !slices.Contains(strings.Split(l.o.only, ","), c.name) {
			continue
		}
		if what := c.missing(); what != "" {
			l.printf("*** SKIPPED: %s. %s not found; on Debian: %s\n", c.name, what, install)
			l.skipped = append(l.skipped, c.name)
			continue
		}
		if err := c.start(ctx, l); err != nil {
			return nil, fmt.Errorf("starting %s: %w", c.name, err)
		}
		running = append(running, c)
	}
	if len(running) == 0 {
		return nil, fmt.Errorf("nothing to compare: -only %q names no contender", l.o.only)
	}
	for _, c := range running {
		if _, err := l.load(ctx, c, time.Second); err != nil { // connections, caches, the collector's pace
			return nil, fmt.Errorf("warming %s up: %w", c.name, err)
		}
	}
	return running, nil
}
