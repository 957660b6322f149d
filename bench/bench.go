// Package bench measures how many devices a gateway carries, and checks that it keeps what it has acknowledged.
//
// It knows brokers by their network alone (MQTT bytes, TLS, HTTP, /proc), so that it measures others by the same yardstick, and
// imports no package of the server. Each sub-command is bounded in time and ends by itself; its goroutines end with it.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

const help = `Usage: muster bench COMMAND [flags]

Commands:
  fleet     simulate devices, count acknowledgements, report latency and the broker's cost
  crash     kill a gateway under load again and again, and look for every acknowledged sample
  compare   give muster and mosquitto the same load in turn
  soak      everything that clients do, over and over on one gateway: nothing may grow
  registry  make things over the API, ask queries, time dynamic groups; kill the gateway and look for every answered change
  capacity  more and more devices until a limit breaks: devices per gateway, what each costs, what boxes carry
  fanout    one publishes, many subscribe, some of them slow: what a delivery costs and how long it takes
  storm     cut all devices off and let them come back at once over mutual TLS: how long, what it costs, nothing lost
  hostile   everything that attackers and broken devices do, in every state, while an honest fleet publishes
  tsdb      speed, size and memory of the twin store by itself, beside VictoriaMetrics or Prometheus

Examples:
  muster bench fleet --addr 127.0.0.1:1883 --devices 1000 --rate 1 --duration 30s
  muster bench crash --kills 100 --seed 1
  muster bench crash --powercuts 10000 --seed 1
  muster bench compare --devices 1000 --rate 1 --rounds 3
  muster bench soak --for 5m
  muster bench registry
  muster bench tsdb

muster bench COMMAND --help lists the flags of a command.
`

// Command is `muster bench`. Its fields are what looks at the twin store by itself, which this package must not know: main lends it.
type Command struct {
	// Store is `muster bench tsdb`; it returns the exit code.
	Store func(ctx context.Context, args []string, stdout, stderr io.Writer) int
	// Torture cuts the power under simulated disks and lets the first faults operations fail; its error says what was lost.
	Torture func(ctx context.Context, powerCuts, faults int, seed uint64, out io.Writer) error
}

// Main runs the sub-command that args names, until it is done or ctx is cancelled, and returns the exit code: 0, 1 if the
// measured thing failed (a message lost, a connection refused), 2 if the arguments are wrong.
func (c Command) Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, help)
		return 2
	}
	began, code := time.Now(), 0
	switch name, args := args[0], args[1:]; name {
	case "fleet":
		code = fleetCommand(ctx, args, stdout, stderr)
	case "crash":
		code = crashCommand(ctx, args, stdout, stderr, c.Torture)
	case "compare":
		code = compareCommand(ctx, args, stdout, stderr)
	case "soak":
		code = soakCommand(ctx, args, stdout, stderr)
	case "registry":
		code = registryCommand(ctx, args, stdout, stderr)
	case "capacity":
		code = capacityCommand(ctx, args, stdout, stderr)
	case "fanout":
		code = fanoutCommand(ctx, args, stdout, stderr)
	case "storm":
		code = stormCommand(ctx, args, stdout, stderr)
	case "hostile":
		code = hostileCommand(ctx, args, stdout, stderr)
	case "tsdb":
		code = c.Store(ctx, args, stdout, stderr)
	case "-h", "-help", "--help", "help":
		fmt.Fprint(stdout, help)
		return 0
	default:
		fmt.Fprintf(stderr, "bench: unknown command %q\n%s", name, help)
		return 2
	}
	if time.Since(began) > time.Second { // a shorter one has measured nothing
		fmt.Fprintln(stderr, machine())
	}
	return code
}

// orSelf returns the binary to start: the given one, or this program.
func orSelf(binary string) (string, error) {
	if binary != "" {
		return binary, nil
	}
	return os.Executable()
}

// printJSON writes a result for programs.
func printJSON(w io.Writer, result any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(result)
}

// sleep waits for d; a cancelled context is its error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
