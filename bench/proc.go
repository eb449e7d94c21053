package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU time in /proc: USER_HZ is 100 on every Linux.
const tick = 10 * time.Millisecond

// clock is CPU time used so far.
type clock struct {
	proxy, site time.Duration
	// busy and total are the machine's, over all its processors.
	busy, total time.Duration
}

func readClock(proxy, site int) (c clock, err error) {
	if c.proxy, err = cpuTime(proxy); err != nil {
		return c, err
	}
	if c.site, err = cpuTime(site); err != nil {
		return c, err
	}
	c.busy, c.total, err = machineTime()
	return c, err
}

// cpuTime is what a process and all that descend from it have used.
func cpuTime(pid int) (sum time.Duration, err error) {
	pids, err := tree(pid)
	for _, p := range pids {
		st, statErr := readStat(p)
		if statErr != nil {
			return 0, statErr
		}
		sum += st.cpu
	}
	return sum, err
}

// peakMemory is the sum of the peaks of a process and all that descend from it,
// in bytes. Pages that they share count for each.
func peakMemory(pid int) (int64, error) { return memory(pid, "VmHWM") }

// memory sums a field of /proc/PID/status up over a process tree, in bytes.
func memory(pid int, field string) (sum int64, err error) {
	pids, err := tree(pid)
	for _, p := range pids {
		text, readErr := os.ReadFile(procFile(p, "status"))
		if readErr != nil {
			return 0, readErr
		}
		_, rest, ok := strings.Cut(string(text), "\n"+field+":")
		var kib int64
		if _, scanErr := fmt.Sscan(rest, &kib); !ok || scanErr != nil {
			return 0, fmt.Errorf("no %s of process %d", field, p)
		}
		sum += kib << 10
	}
	return sum, err
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// tree is a process and all that descend from it.
func tree(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, e := range entries {
		p, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		st, err := readStat(p)
		if errors.Is(err, os.ErrNotExist) {
			continue // it ended meanwhile
		}
		if err != nil {
			continue
		}
		children[st.parent] = append(children[st.parent], p)
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

type stat struct {
	parent int
	cpu    time.Duration
}

// readStat reads /proc/PID/stat, whose second field is a name that may hold
// anything (proc(5)).
func readStat(pid int) (s stat, err error) {
	text, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return s, err
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const parent, user, system = 1, 11, 12 // counted from the field after the name
	if len(f) <= system {
		return s, fmt.Errorf("reading %s: too short", procFile(pid, "stat"))
	}
	if s.parent, err = strconv.Atoi(f[parent]); err != nil {
		return s, err
	}
	for _, i := range []int{user, system} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return s, err
		}
		s.cpu += time.Duration(n) * tick
	}
	return s, nil
}

// machineTime reads the first line of /proc/stat: user, nice, system, idle,
// iowait, irq, softirq, steal.
func machineTime() (busy, total time.Duration, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	f := strings.Fields(line)
	const idle, iowait, steal = 3, 4, 7
	if len(f) <= steal+1 {
		return 0, 0, errors.New("reading /proc/stat: too short")
	}
	for i, v := range f[1 : steal+2] {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return 0, 0, err
		}
		d := time.Duration(n) * tick
		total += d
		if i != idle && i != iowait {
			busy += d
		}
	}
	return busy, total, nil
}
