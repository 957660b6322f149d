package prom

import (
	"math"

	"muster/tsdb"
)

// stepReader reads what a series has at each step. Not for concurrent use.
type stepReader struct {
	p       *pushedAggregate
	q       *querier
	rows    []float64
	samples tsdb.StepSamples
	buckets tsdb.Buckets
	src     windowSource
	call    callIterator
	held    int
}

// start makes room for numbers numbers.
func (r *stepReader) start(numbers int) error {
	r.rows = make([]float64, numbers)
	r.src.numbers.spanMs = firstWindowMs
	r.call.p, r.call.q = r.p.call, r.q
	return r.account()
}

// account tells the query how much the buffers have grown.
func (r *stepReader) account() error {
	held := 8*cap(r.rows) + 16*cap(r.samples.TimesMs) + 64*cap(r.buckets.List)
	grown := held - r.held
	if r.held = held; grown == 0 {
		return nil
	}
	return r.q.hold(grown)
}

// release gives back what the reader took from the query's account.
func (r *stepReader) release() {
	r.call.release()
	_ = r.q.hold(-r.held - r.src.numbers.held)
}

// read fills row with the number of s at each step, a staleness marker where there is none.
func (r *stepReader) read(row []float64, s *series) error {
	switch {
	case r.p.call != nil:
		return r.readCall(row, s)
	case s.single && s.also == nil:
		row[0] = s.last.value
		return nil
	case s.info || s.also != nil:
		return r.readSamples(row, s)
	}
	sel, p := s.sel, r.p
	if sel.tierMs > 0 {
		err := r.q.store.ReadBuckets(&r.buckets, s.thing, s.metric, sel.tierMs, tsdb.BucketLast, sel.minMs, sel.maxMs)
		if err != nil {
			return r.q.readError(err, s)
		}
		if len(r.buckets.List) > 0 {
			return r.readSamples(row, s)
		}
	}
	if err := r.q.store.ReadLastAt(&r.samples, s.thing, s.metric, sel.minMs, p.startMs-p.offsetMs, p.stepMs, len(row)); err != nil {
		return r.q.readError(err, s)
	}
	if min(r.samples.EarliestMs, sel.maxMs)-sel.minMs >= tsdb.Tier5m {
		return r.readSamples(row, s) // tiers may tell what was before
	}
	found := 0
	oldestMs := p.startMs - p.offsetMs - p.lookbackMs
	for i, ms := range r.samples.TimesMs {
		if row[i] = staleNaN; ms > oldestMs && ms >= 0 {
			row[i] = r.samples.Values[i]
			found++
		}
		oldestMs += p.stepMs
	}
	r.q.cost.read(found, r.samples.Cost)
	return r.account()
}

// readSamples fills row by going over the samples one by one.
func (r *stepReader) readSamples(row []float64, s *series) error {
	p, src := r.p, &r.src
	src.reset(s)
	lastMs, last := int64(math.MinInt64), staleNaN
	edgeMs := p.startMs - p.offsetMs
	for i := range row {
		for {
			times, values := src.peek(math.MinInt64)
			n := 0
			for n < len(times) && times[n] <= edgeMs {
				lastMs, last = times[n], values[n]
				n++
			}
			src.skip(n)
			if n < len(times) || len(times) == 0 {
				break
			}
		}
		if row[i] = staleNaN; lastMs > edgeMs-p.lookbackMs && lastMs != math.MinInt64 {
			row[i] = last
		}
		edgeMs += p.stepMs
	}
	return src.err()
}

// readCall fills row with the results of the call.
func (r *stepReader) readCall(row []float64, s *series) error {
	r.call.reset(s)
	if r.call.err != nil {
		return r.call.err
	}
	for i := range row {
		row[i] = staleNaN
	}
	for i, ms := range r.call.times {
		row[(ms-r.p.startMs)/r.p.stepMs] = r.call.values[i]
	}
	return nil
}
