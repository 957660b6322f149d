package prom

import (
	"context"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Calls such as rate(x[5m]) and aggregations such as sum by (city) (x) are taken out of the engine's hands: in their place it gets a selector, and
// its Select gives series with the results at each step. Samples come as slices from the store's columns, where the engine pulls them
// one by one through two iterators. The function of a call is the engine's own, and aggregations add up in the engine's order, so the numbers are the
// same to the last bit. What cannot be told from the outside stays with the engine: @, subqueries, histograms, calls over several metric names.

// pushable are the functions of one range vector that look at floats only. Those that are true keep the metric's name.
var pushable = map[string]bool{
	"rate": false, "increase": false, "delta": false, "irate": false, "idelta": false, "changes": false, "resets": false, "deriv": false,
	"avg_over_time": false, "sum_over_time": false, "count_over_time": false, "min_over_time": false, "max_over_time": false,
	"stddev_over_time": false, "stdvar_over_time": false, "present_over_time": false, "last_over_time": true,
}

// pushed is a part of a query that is evaluated here.
type pushed interface {
	// open is the Select of the selector in its place.
	open(ctx context.Context, q *querier) storage.SeriesSet
}

// stepRange are the steps of a query, both ends included.
type stepRange struct{ startMs, endMs, stepMs int64 }

func stepsOf(eval *parser.EvalStmt) stepRange {
	return stepRange{eval.Start.UnixMilli(), eval.End.UnixMilli(), max(eval.Interval.Milliseconds(), 1)}
}

func (r *stepRange) count() int { return int((r.endMs-r.startMs)/r.stepMs) + 1 }

// pushedCall is a call that is evaluated here.
type pushedCall struct {
	stepRange
	call              *parser.Call
	matrix            *parser.MatrixSelector
	matchers          []*labels.Matcher
	rangeMs, offsetMs int64
	tierMs            int64 // 0, or the tier whose buckets do for samples
	function          promql.FunctionCall
	keepName          bool
}

// pushDown replaces the parts of expr that can be evaluated here by selectors, and notes them.
func (s *scope) pushDown(expr parser.Expr, eval *parser.EvalStmt) parser.Expr {
	switch e := expr.(type) {
	case *parser.AggregateExpr:
		if p := newPushedAggregate(e, eval); p != nil {
			return s.inPlaceOf(e, p)
		}
		e.Expr = s.pushDown(e.Expr, eval)
	case *parser.BinaryExpr:
		e.LHS, e.RHS = s.pushDown(e.LHS, eval), s.pushDown(e.RHS, eval)
	case *parser.ParenExpr:
		e.Expr = s.pushDown(e.Expr, eval)
	case *parser.UnaryExpr:
		e.Expr = s.pushDown(e.Expr, eval)
	case *parser.Call:
		if p := newPushedCall(e, eval); p != nil {
			return s.inPlaceOf(e, p)
		}
		for i, arg := range e.Args {
			e.Args[i] = s.pushDown(arg, eval)
		}
	}
	return expr
}

// inPlaceOf returns a selector for p. It matches no series, and has a place of its own.
func (s *scope) inPlaceOf(expr parser.Expr, p pushed) *parser.VectorSelector {
	selector := &parser.VectorSelector{
		PosRange:      expr.PositionRange(),
		LabelMatchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, nameLabel, "")},
	}
	s.pushed[&selector.LabelMatchers[0]] = p
	return selector
}

// newPushedCall returns how a call can be evaluated here, nil if it cannot.
func newPushedCall(call *parser.Call, eval *parser.EvalStmt) *pushedCall {
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
	if !one || !isPlain(vs) || matrix.Range <= 0 {
		return nil
	}
	vs.Offset = vs.OriginalOffset // as the engine does before it evaluates; the function looks at it
	p := &pushedCall{
		stepRange: stepsOf(eval), call: call, matrix: matrix, matchers: vs.LabelMatchers,
		rangeMs: matrix.Range.Milliseconds(), offsetMs: vs.Offset.Milliseconds(),
		function: promql.FunctionCalls[call.Func.Name], keepName: keepName,
	}
	if p.rangeMs == 0 {
		return nil
	}
	p.chooseTier()
	return p
}

// isPlain says whether a selector is evaluated at the steps of the query, and has its offset alone.
func isPlain(vs *parser.VectorSelector) bool {
	return vs.Timestamp == nil && vs.StartOrEnd == 0 && !vs.Anchored && !vs.Smoothed
}

// hints are those of the samples that p needs.
func (p *pushedCall) hints() *storage.SelectHints {
	return &storage.SelectHints{
		Start: p.startMs - p.offsetMs - p.rangeMs + 1, End: p.endMs - p.offsetMs, Step: p.stepMs, Range: p.rangeMs, Func: p.call.Func.Name,
	}
}

func (p *pushedCall) open(ctx context.Context, q *querier) storage.SeriesSet {
	q.cost.calls.Add(1)
	set := q.selectSeries(ctx, false, p.hints(), p.matchers...)
	return &callSet{seriesSet: set, p: p, notes: p.remark(set)}
}

// remark says what the engine says of a rate over what has no counter's name, if there is a result at all.
func (p *pushedCall) remark(set *seriesSet) annotations.Annotations {
	if len(set.list) == 0 || !p.wantsCounter(set.value(0, nameLabel)) {
		return nil
	}
	it := &callIterator{p: p}
	defer it.release()
	for i := range set.list {
		it.reset(&set.list[i])
		if len(it.times) > 0 || it.err != nil {
			return p.notCounter(set.value(0, nameLabel))
		}
	}
	return nil
}

// wantsCounter says whether p is a rate and name not that of a counter.
func (p *pushedCall) wantsCounter(name string) bool {
	if p.call.Func.Name != "rate" && p.call.Func.Name != "increase" {
		return false
	}
	return !slices.ContainsFunc([]string{"_total", "_sum", "_count", "_bucket"}, func(s string) bool { return strings.HasSuffix(name, s) })
}

// notCounter is the engine's remark.
func (p *pushedCall) notCounter(name string) annotations.Annotations {
	return annotations.New().Add(annotations.NewPossibleNonCounterInfo(name, p.matrix.PositionRange()))
}
