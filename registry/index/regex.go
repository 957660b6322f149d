package index

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"unicode"
)

// MaxRegexLen bounds a regular expression in bytes.
const MaxRegexLen = 256

// Regex matches values that match an RE2 expression somewhere (^ and $ are the ends of the value), without case. It
// takes time linear in the values. The error says what is wrong with the expression.
func Regex(expr string) (*Match, error) {
	if len(expr) > MaxRegexLen {
		return nil, errors.New("the expression is too long")
	}
	tree, err := syntax.Parse(expr, syntax.Perl|syntax.FoldCase)
	if err != nil {
		var e *syntax.Error
		if errors.As(err, &e) {
			return nil, errors.New(string(e.Code) + ": " + e.Expr)
		}
		return nil, err
	}
	if size(tree) > maxRegexSize {
		return nil, errors.New("the expression is too large once its repetitions are written out")
	}
	// Values are folded: an expression in lower case that minds the case matches the same, faster, and shows a literal
	// that can be looked for first.
	lower(tree)
	compiled, err := regexp.Compile(tree.String())
	if err != nil {
		return nil, err
	}
	return &Match{kind: regex, regex: compiled, literal: required(tree)}, nil
}

// maxRegexSize bounds the program of an expression in instructions, and so the time and memory that it takes: each byte of
// a value may cost as much.
const maxRegexSize = 2000

// size returns about how many instructions an expression becomes.
func size(tree *syntax.Regexp) int {
	sum := 1 + len(tree.Rune)/2
	for _, sub := range tree.Sub {
		sum += size(sub)
	}
	if tree.Op == syntax.OpRepeat {
		sum *= max(tree.Min, tree.Max, 1)
	}
	return sum
}

// lower turns the literals of a parsed expression into lower case.
func lower(tree *syntax.Regexp) {
	if tree.Op == syntax.OpLiteral && tree.Flags&syntax.FoldCase != 0 {
		for i, r := range tree.Rune {
			tree.Rune[i] = unicode.ToLower(r)
		}
		tree.Flags &^= syntax.FoldCase
	}
	for _, sub := range tree.Sub {
		lower(sub)
	}
}

// required returns a literal that every match has in it, the longest that is easy to see.
func required(tree *syntax.Regexp) string {
	switch tree.Op {
	case syntax.OpLiteral:
		return string(tree.Rune)
	case syntax.OpCapture, syntax.OpPlus:
		return required(tree.Sub[0])
	case syntax.OpConcat:
		longest := ""
		for _, sub := range tree.Sub {
			if text := required(sub); len(text) > len(longest) {
				longest = text
			}
		}
		return longest
	}
	return ""
}
