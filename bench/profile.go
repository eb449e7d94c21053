package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// top is how many lines of a profile are printed.
const top = 40

// profileStagedoor puts Stagedoor under the load with a profiler linked in, and
// prints where CPU time and allocations go.
func (l *lab) profileStagedoor(ctx context.Context) error {
	if err := haveWrk(); err != nil {
		return err
	}
	if err := l.build(ctx, pkgProfiled, "profiled"); err != nil {
		return err
	}
	cpu, mem := l.path("cpu.prof"), l.path("allocs.prof")
	door := &stagedoor{}
	c := &contender{name: nameStagedoor, injects: true, prepare: func(ctx context.Context, l *lab, c *contender) ([]string, error) {
		file, err := door.configure(ctx, l, "stagedoor.yaml", c.address, "")
		return []string{l.path("profiled"), cpu, mem, "serve", "--config", file}, err
	}}
	if err := c.start(ctx, l); err != nil {
		return err
	}
	s, err := l.load(ctx, c, l.o.duration)
	if err != nil {
		return err
	}
	if err := door.check(ctx, l); err != nil {
		return err
	}
	calls := s.rate * l.o.duration.Seconds()
	c.process.stop() // writes the profiles
	l.printf("%.0f calls, %.1f µs CPU per call with the profiler on\n", calls, s.cpu)
	return l.printProfiles(ctx, cpu, mem, fmt.Sprintf("%.0f calls in %s", calls, l.o.duration.Round(time.Second)))
}

// profileFiles is profileStagedoor for files: one upload and one download, each
// in a process of its own.
func (l *lab) profileFiles(ctx context.Context) error {
	size, err := parseSize(l.o.size)
	if err != nil {
		return err
	}
	if err := l.build(ctx, pkgProfiled, "profiled"); err != nil {
		return err
	}
	for _, w := range ways() {
		cpu, mem := l.path(w.name+".cpu.prof"), l.path(w.name+".allocs.prof")
		door := &stagedoor{}
		c := &contender{name: nameStagedoor, injects: true, prepare: func(ctx context.Context, l *lab, c *contender) ([]string, error) {
			file, err := door.configure(ctx, l, "stagedoor-files.yaml", c.address, "")
			return []string{l.path("profiled"), cpu, mem, "serve", "--config", file}, err
		}}
		if err := c.launch(ctx, l); err != nil {
			return err
		}
		s, err := l.move(ctx, c, w, size)
		if err != nil {
			return err
		}
		c.process.stop() // writes the profiles
		what := w.name + " of " + sizeText(size)
		l.printf("%s: %.0f MB/s, %.2f s CPU per GB with the profiler on\n", what, s.rate, s.cpu)
		if err := l.printProfiles(ctx, cpu, mem, what); err != nil {
			return err
		}
	}
	return nil
}

// printProfiles prints where time and allocations went in what was done.
func (l *lab) printProfiles(ctx context.Context, cpu, mem, what string) error {
	for _, p := range []struct{ title, file, args string }{
		{"CPU, by function", cpu, "-top"},
		{"CPU, by function and what it calls", cpu, "-top -cum"},
		{"bytes allocated, by function", mem, "-top -sample_index=alloc_space"},
		{"objects allocated, by function and what it calls", mem, "-top -cum -sample_index=alloc_objects"},
	} {
		args := append([]string{"tool", "pprof", fmt.Sprintf("-nodecount=%d", top)}, strings.Fields(p.args)...)
		out, err := exec.CommandContext(ctx, "go", append(args, l.path("profiled"), p.file)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("reading the profile: %w\n%s", err, out)
		}
		l.printf("\n== %s (%s)\n%s", p.title, what, out)
	}
	return nil
}
