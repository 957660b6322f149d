package prom

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/schema"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"

	"muster/tsdb"
)

// Calls such as rate(x[5m]) are taken out of the engine's hands: in their place it gets a selector, and its Select gives a series with the call's
// result at each step. The samples of a window come as slices from the store's columns, where the engine pulls them
// one by one through two iterators. The function itself is the engine's own, so the numbers are the same to the last bit. What cannot
// be told from the outside of a call stays with the engine: @, subqueries, histograms, several metric names at once.

// pushable are the functions of one range vector that look at floats only. Those that are true keep the metric's name.
var pushable = map[string]bool{
	"rate": false, "increase": false, "delta": false, "irate": false, "idelta": false, "changes": false, "resets": false, "deriv": false,
	"avg_over_time": false, "sum_over_time": false, "count_over_time": false, "min_over_time": false, "max_over_time": false,
	"stddev_over_time": false, "stdvar_over_time": false, "present_over_time": false, "last_over_time": true,
}

// pushedCall is a call that is evaluated here.
type pushedCall struct {
	call                   *parser.Call
	matrix                 *parser.MatrixSelector
	matchers               []*labels.Matcher
	startMs, endMs, stepMs int64
	rangeMs, offsetMs      int64
	tierMs                 int64 // 0, or the tier whose buckets do for samples
	function               promql.FunctionCall
	keepName               bool
}

// pushDown replaces the calls of expr that can be evaluated here by selectors, and notes them.
func (s *scope) pushDown(expr parser.Expr, eval *parser.EvalStmt) parser.Expr {
	switch e := expr.(type) {
	case *parser.AggregateExpr:
		e.Expr = s.pushDown(e.Expr, eval)
	case *parser.BinaryExpr:
		e.LHS, e.RHS = s.pushDown(e.LHS, eval), s.pushDown(e.RHS, eval)
	case *parser.ParenExpr:
		e.Expr = s.pushDown(e.Expr, eval)
	case *parser.UnaryExpr:
		e.Expr = s.pushDown(e.Expr, eval)
	case *parser.Call:
		if p := pushed(e, eval); p != nil {
			selector := &parser.VectorSelector{
				PosRange: e.PosRange,
				// Matches no series, and has a place of its own.
				LabelMatchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, nameLabel, "")},
			}
			s.calls[&selector.LabelMatchers[0]] = p
			return selector
		}
		for i, arg := range e.Args {
			e.Args[i] = s.pushDown(arg, eval)
		}
	}
	return expr
}

// pushed returns how a call can be evaluated here, nil if it cannot.
func pushed(call *parser.Call, eval *parser.EvalStmt) *pushedCall {
	keepName, ok := pushable[call.Func.Name]
	if !ok || len(call.Args) != 1 {
		return nil
	}
	matrix, ok := call.Args[0].(*parser.MatrixSelector)
	if !ok {
		return nil
	}
	vs := matrix.VectorSelector.(*parser.VectorSelector)
	// Of one name, series differ also without it.
	one := slices.ContainsFunc(vs.LabelMatchers, func(m *labels.Matcher) bool { return m.Name == nameLabel && m.Type == labels.MatchEqual })
	if !one || vs.Timestamp != nil || vs.StartOrEnd != 0 || vs.Anchored || vs.Smoothed || matrix.Range <= 0 {
		return nil
	}
	vs.Offset = vs.OriginalOffset // as the engine does before it evaluates; the function looks at it
	p := &pushedCall{
		call: call, matrix: matrix, matchers: vs.LabelMatchers,
		startMs: eval.Start.UnixMilli(), endMs: eval.End.UnixMilli(), stepMs: max(eval.Interval.Milliseconds(), 1),
		rangeMs: matrix.Range.Milliseconds(), offsetMs: vs.Offset.Milliseconds(),
		function: promql.FunctionCalls[call.Func.Name], keepName: keepName,
	}
	if p.rangeMs == 0 {
		return nil
	}
	p.chooseTier()
	return p
}

// selectCall is Select for a call.
func (q *querier) selectCall(ctx context.Context, p *pushedCall) storage.SeriesSet {
	q.cost.calls.Add(1)
	set := q.selectSeries(ctx, false, &storage.SelectHints{
		Start: p.startMs - p.offsetMs - p.rangeMs + 1, End: p.endMs - p.offsetMs, Step: p.stepMs, Range: p.rangeMs, Func: p.call.Func.Name,
	}, p.matchers...)
	out := &callSet{seriesSet: set, p: p}
	if set.err == nil && isRate(p.call.Func.Name) {
		out.notes = p.remark(set)
	}
	return out
}

func isRate(function string) bool { return function == "rate" || function == "increase" }

// remark says what the engine says of a rate over what has no counter's name, if there is a result at all.
func (p *pushedCall) remark(set *seriesSet) annotations.Annotations {
	if len(set.list) == 0 {
		return nil
	}
	name := set.list[0].lset.Get(nameLabel)
	if slices.ContainsFunc([]string{"_total", "_sum", "_count", "_bucket"}, func(s string) bool { return strings.HasSuffix(name, s) }) {
		return nil
	}
	it := &callIterator{p: p}
	for i := range set.list {
		it.reset(&set.list[i])
		if len(it.times) > 0 || it.err != nil {
			it.release()
			return annotations.New().Add(annotations.NewPossibleNonCounterInfo(name, p.matrix.PositionRange()))
		}
	}
	it.release()
	return nil
}

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
		it.times, it.values = append(it.times, step), append(it.values, math.Float64frombits(value.StaleNaN))
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

// AtST implements chunkenc.Iterator; results have no start timestamp.
func (it *callIterator) AtST() int64 { return 0 }

// AtHistogram implements chunkenc.Iterator; results are no histograms.
func (it *callIterator) AtHistogram(*histogram.Histogram) (int64, *histogram.Histogram) {
	panic("BUG: AtHistogram on the result of a call")
}

// AtFloatHistogram implements chunkenc.Iterator; results are no histograms.
func (it *callIterator) AtFloatHistogram(*histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	panic("BUG: AtFloatHistogram on the result of a call")
}

// Err implements chunkenc.Iterator.
func (it *callIterator) Err() error { return it.err }

// windowSource gives the samples of a series in slices.
type windowSource struct {
	numbers sampleIterator
	merged  chunkenc.Iterator // of a series that was sent under the labels of another; else nil
	times   []int64           // not yet taken
	values  []float64
	oneTime [1]int64
	oneVal  [1]float64
	ended   bool
}

func (w *windowSource) reset(s *series) {
	w.times, w.values, w.ended, w.merged = nil, nil, false, nil
	if s.also != nil {
		w.merged = s.merged()
		return
	}
	if w.numbers.spanMs == 0 {
		w.numbers.spanMs = firstWindowMs
	}
	w.numbers.reset(s)
	if s.single {
		w.times, w.values = w.numbers.times, w.numbers.values
	}
}

// peek returns the next samples, none at the end. Those before fromMs may be left out.
func (w *windowSource) peek(fromMs int64) (times []int64, values []float64) {
	for len(w.times) == 0 && !w.ended {
		if w.merged != nil {
			if w.ended = w.merged.Next() == chunkenc.ValNone; !w.ended {
				w.oneTime[0], w.oneVal[0] = w.merged.At()
				w.times, w.values = w.oneTime[:], w.oneVal[:]
			}
			continue
		}
		it := &w.numbers
		if w.ended = it.load(max(it.nextMs, min(fromMs, tsdb.MaxTimeMs))) == chunkenc.ValNone; !w.ended {
			w.times, w.values = it.times, it.values
		}
	}
	return w.times, w.values
}

// skip takes the first n samples.
func (w *windowSource) skip(n int) { w.times, w.values = w.times[n:], w.values[n:] }

// done says that no sample is left.
func (w *windowSource) done() bool { return w.ended && len(w.times) == 0 }

func (w *windowSource) err() error {
	if w.merged != nil {
		return w.merged.Err()
	}
	return w.numbers.err
}
