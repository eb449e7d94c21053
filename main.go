// Stagedoor is a credential-brokering sidecar proxy for Autodesk Flow
// Production Tracking. See README.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"stagedoor/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	code := cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
