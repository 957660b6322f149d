package prom

import (
	"math"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/schema"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"

	"muster/tsdb"
)

// callSet hands out the series of a call.
type callSet struct {
	*seriesSet
	p     *pushedCall
	notes annotations.Annotations
}

func (s *callSet) At() storage.Series                { return &callSeries{&s.list[s.pos-1], s.p} }
func (s *callSet) Warnings() annotations.Annotations { return s.notes }

// callSeries is the result of a call for one series.
type callSeries struct {
	s *series
	p *pushedCall
}

func (c *callSeries) Labels() labels.Labels {
	if c.p.keepName {
		return c.s.lset
	}
	return c.s.lset.DropReserved(schema.IsMetadataLabel)
}

// Iterator implements storage.Series. Nothing is evaluated before, so that one result is held at a time.
func (c *callSeries) Iterator(it chunkenc.Iterator) chunkenc.Iterator {
	ci, ok := it.(*callIterator)
	if !ok {
		ci = &callIterator{}
	}
	ci.p = c.p
	ci.reset(c.s)
	return ci
}

// callIterator walks over the results of a call for one series: one sample at each step that has one, and a staleness marker behind
// the last of several steps in a row, lest it count at the next. Not for concurrent use.
type callIterator struct {
	floatsOnly
	p      *pushedCall
	src    windowSource
	times  []int64
	values []float64
	lastMs int64 // of the last result
	pos    int
	err    error

	buckets tsdb.Buckets
	items   []tsdb.Bucket // buckets, and what samples between them amount to

	floats []promql.FPoint // samples of the window
	matrix promql.Matrix   // one series, of floats
	helper promql.EvalNodeHelper
	q      *querier
	held   int
}

// reset evaluates the call for s.
func (it *callIterator) reset(s *series) {
	it.times, it.values, it.pos, it.err = it.times[:0], it.values[:0], -1, nil
	it.q = s.sel.q
	if it.matrix == nil {
		it.matrix = make(promql.Matrix, 1)
		it.helper.Out = make(promql.Vector, 0, 1)
	}
	if !it.byBuckets(s) && it.err == nil {
		it.bySamples(s)
	}
	if err := it.account(); it.err == nil {
		it.err = err
	}
	if it.err != nil {
		it.times, it.values = it.times[:0], it.values[:0]
	}
}

// bySamples evaluates the call over all samples.
func (it *callIterator) bySamples(s *series) {
	p := it.p
	it.begin()
	it.floats = it.floats[:0]
	it.src.reset(s)
	it.matrix[0].Metric = s.lset
	for step := p.startMs; step <= p.endMs; step += p.stepMs {
		toMs := step - p.offsetMs
		it.slide(toMs-p.rangeMs, toMs)
		if it.err == nil {
			it.err = it.src.err()
		}
		if it.err != nil {
			return
		}
		found, result := false, 0.0
		if len(it.floats) > 0 {
			it.matrix[0].Floats, it.helper.Ts = it.floats, step
			out, _ := p.function(nil, it.matrix, p.call.Args, &it.helper)
			if found = len(out) > 0; found {
				result = out[0].F
			}
			it.helper.Out = out[:0]
		}
		it.put(step, result, found)
		if !found && len(it.floats) == 0 && it.src.done() {
			return
		}
	}
}

// begin makes the result empty.
func (it *callIterator) begin() {
	it.times, it.values, it.lastMs = it.times[:0], it.values[:0], math.MinInt64
}

// put adds the result at a step, or the staleness marker that says that it has none.
func (it *callIterator) put(step int64, result float64, found bool) {
	if found {
		it.times, it.values, it.lastMs = append(it.times, step), append(it.values, result), step
	} else if it.lastMs == step-it.p.stepMs {
		it.times, it.values = append(it.times, step), append(it.values, staleNaN)
	}
}

// slide makes floats the samples with fromMs < time <= toMs; both only ever rise.
func (it *callIterator) slide(fromMs, toMs int64) {
	drop := 0
	for drop < len(it.floats) && it.floats[drop].T <= fromMs {
		drop++
	}
	it.floats = append(it.floats[:0], it.floats[drop:]...)
	for {
		times, values := it.src.peek(fromMs + 1)
		n := 0
		for n < len(times) && times[n] <= toMs {
			if times[n] > fromMs && !value.IsStaleNaN(values[n]) {
				it.floats = append(it.floats, promql.FPoint{T: times[n], F: values[n]})
			}
			n++
		}
		it.src.skip(n)
		if n < len(times) || len(times) == 0 {
			return
		}
		if it.err = it.account(); it.err != nil {
			return
		}
	}
}

// account tells the query how much the buffers have grown.
func (it *callIterator) account() error {
	held := 16*cap(it.floats) + 8*cap(it.times) + 8*cap(it.values) + 64*(cap(it.items)+cap(it.buckets.List)) + 16*cap(it.buckets.Raw)
	grown := held - it.held
	it.held = held
	return it.q.hold(grown)
}

// release gives back what the iterator took from the query's account.
func (it *callIterator) release() {
	if it.q != nil {
		_ = it.q.hold(-it.held - it.src.numbers.held)
		it.held, it.src.numbers.held = 0, 0
	}
}

// Next implements chunkenc.Iterator.
func (it *callIterator) Next() chunkenc.ValueType {
	if it.pos+1 < len(it.times) {
		it.pos++
		return chunkenc.ValFloat
	}
	it.pos = len(it.times)
	return chunkenc.ValNone
}

// Seek implements chunkenc.Iterator.
func (it *callIterator) Seek(timeMs unixMs) chunkenc.ValueType {
	for it.pos = max(it.pos, 0); it.pos < len(it.times); it.pos++ {
		if it.times[it.pos] >= timeMs {
			return chunkenc.ValFloat
		}
	}
	return chunkenc.ValNone
}

// At implements chunkenc.Iterator.
func (it *callIterator) At() (int64, float64) { return it.times[it.pos], it.values[it.pos] }

// AtT implements chunkenc.Iterator.
func (it *callIterator) AtT() int64 { return it.times[it.pos] }

// Err implements chunkenc.Iterator.
func (it *callIterator) Err() error { return it.err }
