package main

import (
	"context"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/query"
	"muster/tsdb"
)

// lastValues answers fleet queries about telemetry. It implements query.Telemetry.
type lastValues struct{ store *tsdb.Store }

// Compare implements query.Telemetry. A last value counts however old it is.
func (l lastValues) Compare(ctx context.Context, column query.Column, nowMs int64, op query.Op, operand float64, dst *bitset.BitSet) error {
	id, ok := l.store.Dict().LookupMetric(column.Metric)
	if !ok {
		return nil
	}
	var had []tsdb.ThingID
	l.store.EachLast(id, func(thing tsdb.ThingID, kind tsdb.Kind, number float64) {
		switch {
		case column.Func != query.LastValue:
			had = append(had, thing)
		case kind != tsdb.String && op.Holds(number, operand):
			dst.Set(uint(thing))
		}
	})
	var samples tsdb.Samples
	for i, thing := range had {
		if i%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		value, ok, err := l.window(&samples, thing, id, column, nowMs)
		if err != nil {
			return err
		}
		if ok && op.Holds(value, operand) {
			dst.Set(uint(thing))
		}
	}
	return nil
}

// window reads the samples of a window that ends at a time, of a thing that ever had one, into samples and returns the value over them.
func (l lastValues) window(samples *tsdb.Samples, thing tsdb.ThingID, id tsdb.MetricID, column query.Column, nowMs int64) (float64, bool, error) {
	err := l.store.Read(samples, thing, id, nowMs-column.Over.Milliseconds()+1, nowMs)
	if err != nil {
		return 0, false, err
	}
	value, ok := column.Func.Of(samples.TimesMs, samples.Values, true)
	return value, ok, nil
}
