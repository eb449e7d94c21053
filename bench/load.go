package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// sample is what one run of wrk told.
type sample struct {
	rate     float64 // calls per second
	cpu      float64 // of the proxy, in microseconds per call
	p50, p99 float64 // milliseconds
	others   float64 // share of the machine that was used by none of ours
}

func haveWrk() error {
	if _, err := lookPath("wrk"); err != nil {
		return errors.New("wrk not found, which makes the load; on Debian: " + install)
	}
	return nil
}

// load runs wrk against one contender.
func (l *lab) load(ctx context.Context, c *contender, d time.Duration) (s sample, err error) {
	goodBefore, badBefore, err := l.seen(ctx)
	if err != nil {
		return s, err
	}
	before, err := readClock(c.process.pid(), l.site.pid())
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, d+20*time.Second)
	defer cancel()
	wrk := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(l.o.connections),
		"-d"+strconv.Itoa(int(d.Seconds()))+"s", "--timeout", "10s", "-s", c.script, "http://"+c.address+"/api3/json")
	out, err := wrk.CombinedOutput()
	if err != nil {
		return s, fmt.Errorf("running wrk: %w\n%s", err, out)
	}
	after, err := readClock(c.process.pid(), l.site.pid())
	if err != nil {
		return s, err
	}
	r, err := readResult(string(out))
	if err != nil {
		return s, err
	}
	good, bad, err := l.seen(ctx)
	if err != nil {
		return s, err
	}
	// wrk hangs up with calls under way, so the site may have seen some more.
	if got := good - goodBefore; bad != badBefore || got < r.calls || got > r.calls+2*int64(l.o.connections) {
		return s, fmt.Errorf("wrk made %d calls; the site saw %d with the key and %d without", r.calls, got, bad-badBefore)
	}
	proxy := after.proxy - before.proxy
	ours := proxy + after.site - before.site + wrk.ProcessState.UserTime() + wrk.ProcessState.SystemTime()
	s.rate = float64(r.calls) / r.took.Seconds()
	s.cpu = float64(proxy.Microseconds()) / float64(r.calls)
	s.p50, s.p99 = r.p50, r.p99
	if all := after.total - before.total; all > 0 {
		s.others = max(0, float64(after.busy-before.busy-ours)/float64(all))
	}
	return s, nil
}

// result is the line that conf/read.lua prints.
type result struct {
	calls    int64
	took     time.Duration
	p50, p99 float64 // milliseconds
}

func readResult(out string) (r result, err error) {
	_, line, ok := strings.Cut(out, "\nresult ")
	if !ok {
		return r, fmt.Errorf("wrk printed no result:\n%s", out)
	}
	var micros, p50, p99 int64
	var connect, read, write, status, timeout int
	if _, err := fmt.Sscan(line, &r.calls, &micros, &p50, &p99, &connect, &read, &write, &status, &timeout); err != nil {
		return r, fmt.Errorf("reading wrk's result: %w\n%s", err, out)
	}
	if connect+read+write+status+timeout > 0 || r.calls == 0 {
		return r, fmt.Errorf("of %d calls some failed: connect %d, read %d, write %d, status %d, timeout %d",
			r.calls, connect, read, write, status, timeout)
	}
	r.took = time.Duration(micros) * time.Microsecond
	r.p50, r.p99 = float64(p50)/1000, float64(p99)/1000
	return r, nil
}
