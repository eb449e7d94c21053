// Profiled is Stagedoor with a CPU profile taken of it, for the benchmark only:
// Stagedoor itself links no profiler.
//
//	profiled CPU-FILE ALLOCATIONS-FILE serve --config stagedoor.yaml
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"syscall"

	"stagedoor/cli"
)

// memRate samples an allocation in each so many bytes, finer than the default
// so that a short run tells enough.
const memRate = 32 << 10

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "profiled:", err)
		code = 1
	}
	os.Exit(code)
}

func run() (code int, err error) {
	if len(os.Args) < 4 {
		return 0, fmt.Errorf("usage: %s CPU-FILE ALLOCATIONS-FILE COMMAND", os.Args[0])
	}
	runtime.MemProfileRate = memRate
	cpu, err := os.Create(os.Args[1]) //nolint:gosec // a file that whoever starts it names
	if err != nil {
		return 0, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return 0, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code = cli.Main(ctx, os.Args[3:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	pprof.StopCPUProfile()
	if err := cpu.Close(); err != nil {
		return code, err
	}
	mem, err := os.Create(os.Args[2]) //nolint:gosec // a file that whoever starts it names
	if err != nil {
		return code, err
	}
	if err := pprof.Lookup("allocs").WriteTo(mem, 0); err != nil {
		return code, err
	}
	return code, mem.Close()
}
