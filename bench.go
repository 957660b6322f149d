package main

import (
	"context"
	"io"

	"muster/bench"
	"muster/ingest/decode"
	"muster/tsdb"
	"muster/tsdb/measure"
	"muster/tsdb/torture"
)

// benchCommand is `muster bench`. Package bench speaks the network alone; what looks at the twin store by itself comes from here.
func benchCommand(ctx context.Context, args []string, out, errs io.Writer) error {
	command := bench.Command{
		Store: func(ctx context.Context, args []string, out, errs io.Writer) int {
			return measure.Main(ctx, args, out, errs, newDecoder)
		},
		Torture: func(ctx context.Context, powerCuts, faults int, seed uint64, out io.Writer) error {
			return torture.Run(ctx, torture.Plan{PowerCuts: powerCuts, Faults: faults, Seed: seed}, out)
		},
	}
	return exits(command.Main)(ctx, args, out, errs)
}

// newDecoder lends the decoder of JSON telemetry to package measure.
func newDecoder(dict *tsdb.Dict) measure.Decoder {
	decoder := decode.New(dict)
	return func(payload []byte, add func(timeMs int64, values []tsdb.Value) error) error {
		rows, err := decoder.JSON(payload, 0)
		for i := 0; i < len(rows) && err == nil; i++ {
			err = add(rows[i].TimeMs, rows[i].Values)
		}
		return err
	}
}
