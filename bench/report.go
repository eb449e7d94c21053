package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// median is the middle of a figure over the rounds.
func (c *contender) median(figure func(sample) float64) float64 {
	return middle(c.sorted(figure))
}

// middle is the median of sorted figures.
func middle(v []float64) float64 {
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

func (c *contender) sorted(figure func(sample) float64) []float64 {
	v := make([]float64, len(c.samples))
	for i, s := range c.samples {
		v[i] = figure(s)
	}
	slices.Sort(v)
	return v
}

func rate(s sample) float64   { return s.rate }
func cpu(s sample) float64    { return s.cpu }
func p50(s sample) float64    { return s.p50 }
func p99(s sample) float64    { return s.p99 }
func others(s sample) float64 { return s.others }

// table writes the figures as Markdown.
func (l *lab) table(ctx context.Context, cs []*contender) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. %d rounds of %s, wrk with %d connections; medians.\n\n", l.machine(ctx), l.o.rounds, l.o.duration, l.o.connections)
	b.WriteString("| | calls/s | CPU µs per call | lowest to highest | ÷ " + nameLua + " | ÷ " + nameBare + " | p50 ms | p99 ms | peak memory MiB |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	var busy float64
	for _, c := range cs {
		v := c.sorted(cpu)
		fmt.Fprintf(&b, "| %s | %.0f | %.1f | %.1f–%.1f | %s | %s | %.2f | %.2f | %.1f |\n",
			c.name, c.median(rate), c.median(cpu), v[0], v[len(v)-1], ratio(c, find(cs, nameLua)), ratio(c, find(cs, nameBare)),
			c.median(p50), c.median(p99), float64(c.peak)/(1<<20))
		busy = max(busy, c.sorted(others)[len(v)-1])
	}
	fmt.Fprintf(&b, "\nThe rest of the machine used up to %.0f %% of it during a run.", 100*busy)
	for _, name := range l.skipped {
		fmt.Fprintf(&b, " SKIPPED, not installed: %s.", name)
	}
	if ours, bare := find(cs, nameStagedoor), find(cs, nameBare); ours != nil && bare != nil {
		word := "within"
		if ours.median(cpu) > bare.median(cpu) {
			word = "OVER"
		}
		fmt.Fprintf(&b, " Budget: Stagedoor %.1f µs, bare ReverseProxy %.1f µs: %s.", ours.median(cpu), bare.median(cpu), word)
	}
	b.WriteString("\n")
	return b.String()
}

func find(cs []*contender, name string) *contender {
	for _, c := range cs {
		if c.name == name {
			return c
		}
	}
	return nil
}

func ratio(c, base *contender) string {
	if base == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f", c.median(cpu)/base.median(cpu))
}

// machine says what the figures were measured on, and with what.
func (l *lab) machine(ctx context.Context) string {
	parts := []string{time.Now().UTC().Format("2006-01-02"), fmt.Sprintf("%d processors", runtime.NumCPU())}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`(?m)^model name\s*: (.+)$`).FindSubmatch(text); m != nil {
			parts = append(parts, string(m[1]))
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		version, _, _ := strings.Cut(strings.TrimSpace(string(text)), "-")
		parts = append(parts, "Linux "+version)
	}
	parts = append(parts, runtime.Version())
	for _, v := range [][]string{{"nginx", "-v"}, {"haproxy", "-v"}} {
		path, err := lookPath(v[0])
		if err != nil {
			continue
		}
		out, _ := exec.CommandContext(ctx, path, v[1:]...).CombinedOutput()
		if m := regexp.MustCompile(`\d+\.\d+\.\d+`).Find(out); m != nil {
			parts = append(parts, v[0]+" "+string(m))
		}
	}
	return strings.Join(parts, ", ")
}

// report prints the figures and puts them between their marks in the file that
// was named, if one was.
func (l *lab) report(ctx context.Context, mark, text string) error {
	l.printf("\n%s", text)
	if l.o.readme == "" || ctx.Err() != nil {
		return ctx.Err()
	}
	begin, end := "<!-- "+mark+": begin -->\n", "<!-- "+mark+": end -->\n"
	old, err := os.ReadFile(l.o.readme)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no lines %q and %q", l.o.readme, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(l.o.readme, []byte(head+begin+text+end+tail), 0o644) //nolint:gosec // a page for everybody
}
