package prom

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/schema"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
)

// pushedAggregate is an aggregation over a selector or over a call that is evaluated here.
type pushedAggregate struct {
	stepRange
	op       parser.ItemType
	grouping []string // ascending
	without  bool
	k        int // of topk and bottomk

	call       *pushedCall // what is aggregated; nil: a selector
	matchers   []*labels.Matcher
	offsetMs   int64
	lookbackMs int64
}

// newPushedAggregate returns how an aggregation can be evaluated here, nil if it cannot.
func newPushedAggregate(e *parser.AggregateExpr, eval *parser.EvalStmt) *pushedAggregate {
	p := &pushedAggregate{stepRange: stepsOf(eval), op: e.Op, grouping: slices.Sorted(slices.Values(e.Grouping)), without: e.Without}
	switch e.Op {
	case parser.SUM, parser.AVG, parser.MIN, parser.MAX, parser.COUNT, parser.GROUP, parser.STDDEV, parser.STDVAR:
	case parser.TOPK, parser.BOTTOMK:
		// At several steps the series are in no order; of the parameter, the engine says what is wrong with it.
		k, ok := e.Param.(*parser.NumberLiteral)
		if !ok || !(k.Val >= 1 && k.Val < 1e6) || p.startMs != p.endMs {
			return nil
		}
		p.k = int(k.Val)
	default:
		return nil
	}
	switch of := e.Expr.(type) {
	case *parser.VectorSelector:
		p.matchers, p.offsetMs, p.lookbackMs = of.LabelMatchers, of.OriginalOffset.Milliseconds(), eval.LookbackDelta.Milliseconds()
		if !isPlain(of) || p.lookbackMs == 0 {
			return nil
		}
	case *parser.Call:
		if p.call = newPushedCall(of, eval); p.call == nil {
			return nil
		}
		p.matchers = p.call.matchers
	default:
		return nil
	}
	return p
}

func (p *pushedAggregate) open(ctx context.Context, q *querier) storage.SeriesSet {
	q.cost.aggregates.Add(1)
	hints := &storage.SelectHints{Start: p.startMs - p.offsetMs - p.lookbackMs + 1, End: p.endMs - p.offsetMs, Step: p.stepMs}
	if p.call != nil {
		q.cost.calls.Add(1)
		hints = p.call.hints()
	}
	return &aggregation{p: p, q: q, ctx: ctx, set: q.selectParts(ctx, hints, p.matchers), n: p.count()}
}

// aggregation is the series set of a pushedAggregate. It is evaluated when the engine asks for the first series.
type aggregation struct {
	p   *pushedAggregate
	q   *querier
	ctx context.Context
	set *seriesSet
	n   int // steps

	started bool
	groupOf []int32 // of each series
	first   []int32 // of each group, the series that has its labels
	samples int     // that were aggregated
	results []aggregateSeries
	pos     int // of the current one, plus one
	notes   annotations.Annotations
}

// Next implements storage.SeriesSet.
func (a *aggregation) Next() bool {
	if !a.started && a.set.err == nil {
		a.started = true
		a.evaluate()
	}
	if a.pos >= len(a.results) {
		return false
	}
	a.pos++
	return true
}

func (a *aggregation) At() storage.Series                { return &a.results[a.pos-1] }
func (a *aggregation) Err() error                        { return a.set.err } // of evaluating, the series tell, as those of the engine do
func (a *aggregation) Warnings() annotations.Annotations { return a.notes }

// evaluate makes the results, in the order of each group's first series that has a sample, as the engine has them.
func (a *aggregation) evaluate() {
	if err := a.group(); err != nil {
		a.results = []aggregateSeries{{err: err}}
		return
	}
	var err error
	if a.p.k > 0 {
		err = a.choose()
	} else {
		err = a.fold()
	}
	if err != nil {
		a.results = []aggregateSeries{{err: err}}
		return
	}
	if c := a.p.call; c != nil && a.samples > 0 && c.wantsCounter(a.set.value(0, nameLabel)) {
		a.notes = c.notCounter(a.set.value(0, nameLabel))
	}
	found := 0
	for i := range a.results {
		for _, v := range a.results[i].values {
			if !value.IsStaleNaN(v) {
				found++
			}
		}
	}
	a.q.cost.aggregated(a.samples, found)
}

// took counts samples of the series as the engine does, though they are not held: those of one aggregation may not be more than a query holds.
// What other parts of the query hold meanwhile is not known here.
func (a *aggregation) took(samples int) error {
	if a.samples += samples; a.q.maxSamples > 0 && a.samples > a.q.maxSamples {
		return promql.ErrTooManySamples("query execution")
	}
	return nil
}

// group finds the group of each series.
func (a *aggregation) group() error {
	p, n := a.p, len(a.set.list)
	a.groupOf = make([]int32, n)
	if n == 0 {
		return nil
	}
	if !p.without && len(p.grouping) == 0 {
		a.first = []int32{0}
		return nil
	}
	known := map[string]int32{}
	names := append(slices.Clone(p.grouping), nameLabel)
	slices.Sort(names)
	var key []byte
	for i := range a.set.list {
		if i%1024 == 0 {
			if err := a.ctx.Err(); err != nil {
				return err
			}
		}
		key = key[:0]
		if p.without {
			key = a.labels(i).BytesWithoutLabels(key, names...)
		} else {
			for _, name := range p.grouping {
				v := a.value(i, name)
				if len(p.grouping) > 1 {
					key = binary.AppendUvarint(key, uint64(len(v)))
				}
				key = append(key, v...)
			}
		}
		g, ok := known[string(key)]
		if !ok {
			g = int32(len(known))
			known[string(key)] = g
			a.first = append(a.first, int32(i))
		}
		a.groupOf[i] = g
	}
	return nil
}

// dropsName says whether what is aggregated has lost its name.
func (a *aggregation) dropsName() bool { return a.p.call != nil && !a.p.call.keepName }

// labels returns those of series i, as it is aggregated.
func (a *aggregation) labels(i int) labels.Labels {
	if a.dropsName() {
		return a.set.labels(i).DropReserved(schema.IsMetadataLabel)
	}
	return a.set.labels(i)
}

// value returns the value of one of them.
func (a *aggregation) value(i int, name string) string {
	if a.dropsName() && schema.IsMetadataLabel(name) {
		return ""
	}
	return a.set.value(i, name)
}

// groupLabels returns the labels of a group.
func (a *aggregation) groupLabels(g int) labels.Labels {
	i := int(a.first[g])
	if a.p.without {
		return labels.NewBuilder(a.labels(i)).Del(a.p.grouping...).Del(nameLabel).Labels()
	}
	var b labels.ScratchBuilder
	for j, name := range a.p.grouping {
		if v := a.value(i, name); v != "" && (j == 0 || name != a.p.grouping[j-1]) {
			b.Add(name, v)
		}
	}
	return b.Labels()
}

// aggregateSeries is one result: a number for each step, a staleness marker where there is none.
type aggregateSeries struct {
	steps  stepRange
	lset   labels.Labels
	values []float64
	err    error // of the whole evaluation
}

// Labels implements storage.Series.
func (s *aggregateSeries) Labels() labels.Labels { return s.lset }

// Iterator implements storage.Series.
func (s *aggregateSeries) Iterator(it chunkenc.Iterator) chunkenc.Iterator {
	si, ok := it.(*stepIterator)
	if !ok {
		si = &stepIterator{}
	}
	si.s, si.pos = s, -1
	return si
}

// stepIterator walks over an aggregateSeries. Not for concurrent use.
type stepIterator struct {
	floatsOnly
	s   *aggregateSeries
	pos int
}

// Next implements chunkenc.Iterator.
func (it *stepIterator) Next() chunkenc.ValueType {
	it.pos++
	return it.kind()
}

// Seek implements chunkenc.Iterator.
func (it *stepIterator) Seek(timeMs unixMs) chunkenc.ValueType {
	r := &it.s.steps
	if it.pos = max(it.pos, 0); timeMs > r.startMs && len(it.s.values) > 0 {
		it.pos = max(it.pos, int((min(timeMs, r.endMs+r.stepMs)-r.startMs+r.stepMs-1)/r.stepMs))
	}
	return it.kind()
}

func (it *stepIterator) kind() chunkenc.ValueType {
	if it.pos < len(it.s.values) {
		return chunkenc.ValFloat
	}
	it.pos = len(it.s.values)
	return chunkenc.ValNone
}

// At implements chunkenc.Iterator.
func (it *stepIterator) At() (int64, float64) { return it.AtT(), it.s.values[it.pos] }

// AtT implements chunkenc.Iterator.
func (it *stepIterator) AtT() int64 { return it.s.steps.startMs + int64(it.pos)*it.s.steps.stepMs }

// Err implements chunkenc.Iterator.
func (it *stepIterator) Err() error { return it.s.err }
