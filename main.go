// Command muster turns a small gateway into a secure, self-hosted home for a fleet of devices.
//
// This package is the wiring and nothing else: settings.go reads the settings, serve.go opens the parts in order and
// closes them in reverse, join.go fits the parts' small interfaces to each other, and one file per subcommand
// (demo.go, admin.go, query.go, fsck.go) talks to a person.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"muster/admin"
	"muster/agent"
)

// version is set by the linker (Makefile).
var version = "dev"

// subcommand runs with the arguments after its name; an error is printed and ends the process with status 1.
type subcommand struct {
	name, summary string
	run           func(ctx context.Context, args []string, out, errs io.Writer) error
}

var subcommands = []subcommand{
	{"serve", "run a gateway", serveCommand},
	{"demo", "run a gateway with a simulated fleet and print what to try", demoCommand},
	{"agent", "run on a device: enroll, connect, publish the host's telemetry", exits(agent.Main)},
	{"admin", "allow devices, print login links, revoke certificates of a running gateway", adminCommand},
	{"query", "ask a running gateway in PromQL", queryCommand},
	{"fsck", "check telemetry and audit log of a stopped gateway", fsckCommand},
	{"backup", "copy everything a running gateway keeps, or verify such a copy", backupCommand},
	{"restore", "make a data folder out of a backup", restoreCommand},
	{"bench", "measure: load, memory, crashes, the twin store, comparison with others", benchCommand},
	{"openapi", "print the OpenAPI document of the HTTP API", openAPICommand},
	{"version", "print the version", versionCommand},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is main without the process: it returns the exit status, 0 for success, 1 for an error, 2 for wrong usage.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		usage(errs)
		return 2
	}
	switch args[0] {
	case "help", "-h", "--help":
		usage(out)
		return 0
	}
	for _, sub := range subcommands {
		if sub.name != args[0] {
			continue
		}
		var code exitCode
		switch err := sub.run(ctx, args[1:], out, errs); {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.As(err, &code):
			return int(code)
		default:
			fmt.Fprintf(errs, "muster %s: %v\n", sub.name, err)
			return 1
		}
	}
	fmt.Fprintf(errs, "muster: unknown command %q\n\n", args[0])
	usage(errs)
	return 2
}

func usage(out io.Writer) {
	fmt.Fprint(out, "muster: a gateway for a fleet of devices\n\n")
	for _, sub := range subcommands {
		fmt.Fprintf(out, "  muster %-8s %s\n", sub.name, sub.summary)
	}
	fmt.Fprint(out, "\n`muster COMMAND --help` shows the flags and examples of each.\n")
}

// exitCode is the status of a subcommand that has already said why.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit status %d", int(c)) }

// exits adapts a command that prints its own errors and returns its exit status.
func exits(f func(ctx context.Context, args []string, out, errs io.Writer) int) func(context.Context, []string, io.Writer, io.Writer) error {
	return func(ctx context.Context, args []string, out, errs io.Writer) error {
		if status := f(ctx, args, out, errs); status != 0 {
			return exitCode(status)
		}
		return nil
	}
}

func openAPICommand(_ context.Context, args []string, out, _ io.Writer) error {
	if len(args) > 0 {
		return errors.New("takes no arguments; it prints what a gateway of this version serves at /api/openapi.json")
	}
	text, err := admin.OpenAPI(version)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", text)
	return err
}

func versionCommand(_ context.Context, _ []string, out, _ io.Writer) error {
	goVersion := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
	}
	_, err := fmt.Fprintln(out, "muster", version, goVersion)
	return err
}
