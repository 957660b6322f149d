package prom

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/strutil"
)

const (
	// maxSubquerySteps bounds the steps of a subquery. The engine makes two tables of that length before it counts samples.
	maxSubquerySteps = 1_000_000
	// maxRegexOps bounds the compiled size of all regular expressions of a query, at some 40 bytes each. A pattern of a
	// few bytes, such as (.{30}){30}, compiles to thousands.
	maxRegexOps = 200_000
	// Labels that label_replace and label_join make: nested calls square them.
	labelValueBytes    = 1 << 10 // what a label of the directory or a text may have
	maxLabelValueBytes = 64 << 10
	maxLabelBytes      = 256 << 20 // of all selected series together
)

// scope is the queryable of one query, with what its text says about its cost.
type scope struct {
	*queryable
	labelBytes int   // that functions may add to a series; 0 without such functions
	lookbackMs int64 // how old a sample of a vector selector may be
	plain      bool  // no subqueries: vector selectors are evaluated at the steps of the query and nowhere else
	groupUses  map[selectorID]groupUse
	pushed     map[selectorID]pushed
	cost       cost
	// The times that the text needs, where parts were taken out of it.
	minMs, maxMs int64
}

// Querier implements storage.Queryable.
func (s *scope) Querier(minMs, maxMs int64) (storage.Querier, error) {
	if len(s.pushed) > 0 {
		minMs, maxMs = min(minMs, s.minMs), max(maxMs, s.maxMs)
	}
	q := s.querier(minMs, maxMs)
	q.labelBytes, q.lookbackMs, q.plain, q.groupUses, q.pushed, q.cost = s.labelBytes, s.lookbackMs, s.plain, s.groupUses, s.pushed, &s.cost
	return q, nil
}

// admit refuses a statement that the engine could not evaluate in bounded memory, and notes its cost. It takes out what is
// evaluated here.
func (s *scope) admit(stmt parser.Statement) error {
	eval := stmt.(*parser.EvalStmt)
	s.lookbackMs, s.plain = eval.LookbackDelta.Milliseconds(), true
	s.groupUses = map[selectorID]groupUse{}
	groupUses(eval.Expr, groupShown, s.groupUses)
	var err error
	parser.Inspect(eval.Expr, func(node parser.Node, path []parser.Node) error {
		sub, ok := node.(*parser.SubqueryExpr)
		if !ok {
			return err
		}
		s.plain = false
		span := eval.End.Sub(eval.Start) + sub.Range
		for _, n := range path {
			if outer, ok := n.(*parser.SubqueryExpr); ok {
				span += outer.Range
			}
		}
		step := sub.Step
		if step == 0 {
			step = subqueryStep
		}
		// A sum that overflowed is negative.
		if steps := span / step; steps > maxSubquerySteps || span < 0 {
			err = &limitError{fmt.Sprintf("subquery %s has more than %d steps; shorten its range or widen its step", sub, maxSubquerySteps)}
		}
		return err
	})
	if err != nil {
		return err
	}
	longest, made := longestLabel(eval.Expr)
	if longest > maxLabelValueBytes {
		return &limitError{fmt.Sprintf("label_replace or label_join may make a label of more than %d bytes; shorten the replacement", maxLabelValueBytes)}
	}
	if made {
		s.labelBytes = longest
	}
	if !s.engineOnly {
		s.minMs, s.maxMs = promql.FindMinMaxTime(eval)
		s.pushed = map[selectorID]pushed{}
		eval.Expr = s.pushDown(eval.Expr, eval)
	}
	return nil
}

// subqueryStep is the step of a subquery that names none.
const subqueryStep = time.Minute

// longestLabel bounds the length of a label value of expr's series. made is true when functions make labels.
func longestLabel(expr parser.Node) (longest int, made bool) {
	longest = labelValueBytes
	for child := range parser.ChildrenIter(expr) {
		l, m := longestLabel(child)
		longest, made = max(longest, l), made || m
	}
	call, ok := expr.(*parser.Call)
	if !ok {
		return longest, made
	}
	grown := 0
	switch call.Func.Name {
	case "label_replace":
		text := literal(call.Args[2])
		grown = strings.Count(text, "$")*longest + len(text)
		made = true
	case "label_join":
		grown = (len(call.Args) - 3) * (longest + len(literal(call.Args[2])))
		made = true
	}
	// Far beyond the bound, and far from the end of int.
	return min(max(longest, grown), 16*maxLabelValueBytes), made
}

// literal returns the text of a string argument.
func literal(expr parser.Expr) string {
	for {
		switch e := expr.(type) {
		case *parser.StringLiteral:
			return e.Val
		case *parser.ParenExpr:
			expr = e.Expr
		case *parser.StepInvariantExpr:
			expr = e.Expr
		default:
			return ""
		}
	}
}

// regexOps estimates the compiled size of a quoted text, were it a regular expression. Only one with a repetition can be
// much larger than its text.
func regexOps(quoted string) int {
	if !strings.Contains(quoted, "{") {
		return 0
	}
	text, err := strutil.Unquote(quoted)
	if err != nil {
		return 0
	}
	return patternOps(text)
}

// patternOps estimates the compiled size of a regular expression.
func patternOps(text string) int {
	re, err := syntax.Parse(text, syntax.Perl|syntax.DotNL)
	if err != nil {
		return 0
	}
	return countOps(re)
}

func countOps(re *syntax.Regexp) int {
	ops := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		ops += countOps(sub)
	}
	if re.Op == syntax.OpRepeat {
		ops *= max(re.Min, re.Max, 1)
	}
	// The parser bounds products of repetitions by 1,000, so this cannot run over.
	return ops
}
