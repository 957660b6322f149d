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
