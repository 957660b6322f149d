package prom

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Bounds of a query text. They keep the parser, which calls itself for every level, and the regular expressions, which
// are compiled while parsing, within a few MB.
const (
	maxQueryBytes = 64 << 10
	maxQueryDepth = 128
	maxQueryNodes = 4096
	maxQueryWords = 8192 // words and operators; the parser takes quadratic time in the length of a chain of operators
	maxRegexBytes = 8 << 10
	maxSelectors  = 64 // match[] parameters of one request
)

// boundedParser is Prometheus' parser with bounds on what it is given.
type boundedParser struct{ parser.Parser }

// ParseExpr implements parser.Parser.
func (p boundedParser) ParseExpr(text string) (parser.Expr, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	expr, err := p.Parser.ParseExpr(text)
	if err != nil {
		return nil, err
	}
	nodes := 0
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		if node == nil {
			return nil
		}
		if nodes++; nodes > maxQueryNodes {
			err = fmt.Errorf("query has more than %d parts; split it", maxQueryNodes)
		} else if len(path) > maxQueryDepth {
			err = fmt.Errorf("query is nested more than %d levels deep; split it", maxQueryDepth)
		} else if v, ok := node.(*parser.VectorSelector); ok {
			err = checkMatchers(v.LabelMatchers)
		} else if c, ok := node.(*parser.Call); ok && c.Func.Name == "label_replace" && len(literal(c.Args[4])) > maxRegexBytes {
			err = fmt.Errorf("regular expression of label_replace is longer than %d bytes; shorten it", maxRegexBytes)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return expr, nil
}

// ParseMetricSelector implements parser.Parser.
func (p boundedParser) ParseMetricSelector(text string) ([]*labels.Matcher, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	matchers, err := p.Parser.ParseMetricSelector(text)
	if err != nil {
		return nil, err
	}
	return matchers, checkMatchers(matchers)
}

// checkText bounds the text before it is parsed, which cannot be interrupted: its length, how deep brackets nest, how many
// words and operators it has, and the patterns in it.
func checkText(text string) error {
	if len(text) > maxQueryBytes {
		return fmt.Errorf("query is longer than %d bytes; split it", maxQueryBytes)
	}
	depth, words, ops, start := 0, 0, 0, 0
	var quote byte
	inWord := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		wasWord := inWord
		inWord = quote == 0 && (c == '_' || c == ':' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
		switch {
		case quote != 0:
			if c == '\\' && quote != '`' {
				i++
			} else if c == quote {
				quote = 0
				if ops += regexOps(text[start : i+1]); ops > maxRegexOps {
					return fmt.Errorf("regular expressions compile to more than %d operations; use fewer repetitions", maxRegexOps)
				}
			}
		case c == '"' || c == '\'' || c == '`':
			quote, start = c, i
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == ')' || c == ']' || c == '}':
			depth--
		case inWord && !wasWord, strings.IndexByte("+-*/%^=<>!", c) >= 0:
			words++
		}
		if depth > maxQueryDepth {
			return fmt.Errorf("query is nested more than %d levels deep; split it", maxQueryDepth)
		}
		if words > maxQueryWords {
			return fmt.Errorf("query has more than %d words and operators; split it", maxQueryWords)
		}
	}
	return nil
}

func checkMatchers(matchers []*labels.Matcher) error {
	for _, m := range matchers {
		if (m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp) && len(m.Value) > maxRegexBytes {
			return fmt.Errorf("regular expression on label %q is longer than %d bytes; shorten it", m.Name, maxRegexBytes)
		}
	}
	return nil
}

// gate lets a few queries run and a few more wait. Safe for concurrent use.
type gate struct {
	slots    chan struct{}
	waiting  atomic.Int32
	maxQueue int32
}

// enter waits for a slot. It returns errBusy at once when the queue is full, and an error with ctx's when ctx ends first.
func (g *gate) enter(ctx context.Context) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	if g.waiting.Add(1) > g.maxQueue {
		g.waiting.Add(-1)
		return errBusy
	}
	defer g.waiting.Add(-1)
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for other queries: %w", ctx.Err())
	}
}

func (g *gate) leave() { <-g.slots }
