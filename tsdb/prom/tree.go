package prom

import (
	"context"
	"net/url"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/annotations"
)

// parseQuery answers /parse_query: the tree of an expression, in the form that Prometheus' own UI reads.
func (a *API) parseQuery(_ context.Context, form url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	expr, err := a.parser.ParseExpr(form.Get("query"))
	if err != nil {
		return dst, nil, badParam("query", err)
	}
	return appendJSON(dst, treeOf(expr))
}

// tree is one node as JSON.
type tree map[string]any

// treeOf returns the node of an expression, nil for none. Expressions in the place of durations are not in our language, so their fields are null.
func treeOf(expr parser.Expr) tree {
	switch e := expr.(type) {
	case *parser.AggregateExpr:
		t := tree{"type": "aggregation", "op": e.Op.String(), "expr": treeOf(e.Expr), "param": nil, "grouping": orEmpty(e.Grouping), "without": e.Without}
		if e.Param != nil {
			t["param"] = treeOf(e.Param)
		}
		return t
	case *parser.BinaryExpr:
		t := tree{"type": "binaryExpr", "op": e.Op.String(), "lhs": treeOf(e.LHS), "rhs": treeOf(e.RHS), "matching": nil, "bool": e.ReturnBool}
		if m := e.VectorMatching; m != nil {
			t["matching"] = tree{
				"card": m.Card.String(), "labels": orEmpty(m.MatchingLabels), "on": m.On, "include": orEmpty(m.Include),
				"fillValues": tree{"lhs": m.FillValues.LHS, "rhs": m.FillValues.RHS},
			}
		}
		return t
	case *parser.Call:
		args := []tree{}
		for _, arg := range e.Args {
			args = append(args, treeOf(arg))
		}
		f := e.Func
		return tree{"type": "call", "args": args, "func": tree{
			"name": f.Name, "argTypes": f.ArgTypes, "variadic": f.Variadic, "returnType": f.ReturnType,
		}}
	case *parser.MatrixSelector:
		t := selectorTree("matrixSelector", e.VectorSelector.(*parser.VectorSelector))
		t["range"], t["rangeExpr"] = e.Range.Milliseconds(), nil
		return t
	case *parser.VectorSelector:
		return selectorTree("vectorSelector", e)
	case *parser.SubqueryExpr:
		return tree{
			"type": "subquery", "expr": treeOf(e.Expr), "range": e.Range.Milliseconds(), "rangeExpr": nil, "offset": e.OriginalOffset.Milliseconds(),
			"offsetExpr": nil, "step": e.Step.Milliseconds(), "stepExpr": nil, "timestamp": e.Timestamp, "startOrEnd": startOrEnd(e.StartOrEnd),
		}
	case *parser.NumberLiteral:
		return tree{"type": "numberLiteral", "val": strconv.FormatFloat(e.Val, 'f', -1, 64)}
	case *parser.StringLiteral:
		return tree{"type": "stringLiteral", "val": e.Val}
	case *parser.ParenExpr:
		return tree{"type": "parenExpr", "expr": treeOf(e.Expr)}
	case *parser.UnaryExpr:
		return tree{"type": "unaryExpr", "op": e.Op.String(), "expr": treeOf(e.Expr)}
	}
	return nil
}

func selectorTree(kind string, s *parser.VectorSelector) tree {
	matchers := []tree{}
	for _, m := range s.LabelMatchers {
		matchers = append(matchers, matcherTree(m))
	}
	return tree{
		"type": kind, "name": s.Name, "offset": s.OriginalOffset.Milliseconds(), "offsetExpr": nil, "matchers": matchers,
		"timestamp": s.Timestamp, "startOrEnd": startOrEnd(s.StartOrEnd), "anchored": s.Anchored, "smoothed": s.Smoothed,
	}
}

func matcherTree(m *labels.Matcher) tree {
	return tree{"name": m.Name, "value": m.Value, "type": m.Type.String()}
}

// startOrEnd is "start" or "end" of `@ start()` and `@ end()`, else null.
func startOrEnd(item parser.ItemType) any {
	if item == 0 {
		return nil
	}
	return item.String()
}

func orEmpty(list []string) []string { return append([]string{}, list...) }
