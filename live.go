package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/query"
	"muster/tsdb"
	"muster/tsdb/prom"
)

// liveTelemetry answers fleet queries about telemetry, and lets dynamic groups follow it. It implements registry.LiveTelemetry.
type liveTelemetry struct {
	store   *tsdb.Store
	samples *sync.Pool // of *tsdb.Samples, for windows
}

func newLiveTelemetry(store *tsdb.Store) liveTelemetry {
	return liveTelemetry{store, &sync.Pool{New: func() any { return new(tsdb.Samples) }}}
}

// Compare implements query.Telemetry. A last value counts however old it is.
func (l liveTelemetry) Compare(ctx context.Context, column query.Column, nowMs int64, op query.Op, operand float64, dst *bitset.BitSet) error {
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
	for i, thing := range had {
		if i%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		value, ok, _, err := l.Window(column, nowMs, uint32(thing))
		if err != nil {
			return err
		}
		if ok && op.Holds(value, operand) {
			dst.Set(uint(thing))
		}
	}
	return nil
}

// Last implements registry.LiveTelemetry.
func (l liveTelemetry) Last(metric string, thing uint32) (float64, bool) {
	id, ok := l.store.Dict().LookupMetric(metric)
	if !ok {
		return 0, false
	}
	f, ok := l.store.Last(tsdb.ThingID(thing), id)
	return f.Number, ok && f.Kind != tsdb.String
}

// Window implements registry.LiveTelemetry.
func (l liveTelemetry) Window(column query.Column, nowMs int64, thing uint32) (value float64, ok bool, firstMs int64, err error) {
	id, known := l.store.Dict().LookupMetric(column.Metric)
	if !known {
		return 0, false, 0, nil
	}
	samples := l.samples.Get().(*tsdb.Samples)
	defer l.samples.Put(samples)
	if err := l.store.Read(samples, tsdb.ThingID(thing), id, nowMs-column.Over.Milliseconds()+1, nowMs); err != nil {
		return 0, false, 0, err
	}
	if len(samples.TimesMs) > 0 {
		firstMs = samples.TimesMs[0]
	}
	had := firstMs != 0
	if column.Func == query.Count && !had {
		_, had = l.store.Last(tsdb.ThingID(thing), id)
	}
	value, ok = column.Func.Of(samples.TimesMs, samples.Values, had)
	return value, ok, firstMs, nil
}

// Samples implements registry.LiveTelemetry.
func (l liveTelemetry) Samples(metric string, thing uint32, fromMs, toMs int64, f func(timesMs []int64, values []float64)) error {
	id, known := l.store.Dict().LookupMetric(metric)
	if !known {
		return nil
	}
	samples := l.samples.Get().(*tsdb.Samples)
	defer l.samples.Put(samples)
	if err := l.store.Read(samples, tsdb.ThingID(thing), id, fromMs, toMs); err != nil {
		return err
	}
	f(samples.TimesMs, samples.Values)
	return nil
}

// EachWith implements registry.LiveTelemetry.
func (l liveTelemetry) EachWith(metric string, f func(thing uint32)) {
	id, ok := l.store.Dict().LookupMetric(metric)
	if !ok {
		return
	}
	var all []tsdb.ThingID
	l.store.EachLast(id, func(thing tsdb.ThingID, _ tsdb.Kind, _ float64) { all = append(all, thing) })
	for _, thing := range all {
		f(uint32(thing))
	}
}

// Watch implements registry.LiveTelemetry. A metric that nothing has sent yet gets its id here.
func (l liveTelemetry) Watch(needs []query.Threshold) {
	var list []tsdb.Threshold
	for _, need := range needs {
		id, err := l.store.Dict().Metric([]byte(need.Metric))
		if err != nil {
			continue // the dictionary is full, so that nothing can send it either; or the name is none
		}
		list = append(list, tsdb.Threshold{Metric: id, Bounds: need.Bounds, Any: need.Any || need.Func != query.LastValue})
	}
	l.store.Watch(list)
}

// Crossed implements registry.LiveTelemetry.
func (l liveTelemetry) Crossed() <-chan struct{} { return l.store.Crossed() }

// TakeCrossings implements registry.LiveTelemetry.
func (l liveTelemetry) TakeCrossings(f func(thing uint32, metric string)) (lost bool) {
	list, lost := l.store.TakeCrossings(nil)
	for _, c := range list {
		f(uint32(c.Thing), l.store.Dict().MetricName(c.Metric))
	}
	return lost
}

// expressions evaluates PromQL for dynamic groups. It implements registry.Expressions.
type expressions struct {
	queries *prom.API
	things  directory
}

// Things implements registry.Expressions.
func (e expressions) Things(ctx context.Context, expression string) ([]uint32, error) {
	r := e.queries.Serve(ctx, "GET", "/api/v1/query", url.Values{"query": {expression}})
	var answer struct {
		Error string `json:"error"`
		Data  struct {
			Type   string          `json:"resultType"`
			Result json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(r.Body, &answer); err != nil {
		return nil, fmt.Errorf("answer of the PromQL engine: %w", err)
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	if answer.Data.Type != "vector" {
		return nil, fmt.Errorf("the expression is a %s; it must be an instant vector, such as avg_over_time(temp_c[5m]) > 60", answer.Data.Type)
	}
	var series []struct {
		Metric struct {
			Thing string `json:"thing"`
		} `json:"metric"`
	}
	if err := json.Unmarshal(answer.Data.Result, &series); err != nil {
		return nil, fmt.Errorf("answer of the PromQL engine: %w", err)
	}
	ids := make([]uint32, 0, len(series))
	for _, s := range series {
		if s.Metric.Thing == "" {
			return nil, errors.New("a series of the result has no label thing; keep it, as in sum by (thing) (power_w)")
		}
		if id, ok := e.things.ThingByName(s.Metric.Thing); ok {
			ids = append(ids, uint32(id))
		}
	}
	return ids, nil
}
