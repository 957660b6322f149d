package main

import (
	"context"
	"io"

	"muster/bench"
	"muster/tsdb/torture"
)

// benchCommand is `muster bench`. Package bench speaks the network alone; what looks at the twin store by itself comes from here.
func benchCommand(ctx context.Context, args []string, out, errs io.Writer) error {
	command := bench.Command{
		Torture: func(ctx context.Context, powerCuts, faults int, seed uint64, out io.Writer) error {
			return torture.Run(ctx, torture.Plan{PowerCuts: powerCuts, Faults: faults, Seed: seed}, out)
		},
	}
	return exits(command.Main)(ctx, args, out, errs)
}
