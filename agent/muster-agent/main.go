// Command muster-agent is the device side of muster alone, for devices where every megabyte counts.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"muster/agent"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := agent.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
