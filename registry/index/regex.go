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
	// Values are folded: an expression in lower case that minds the case matches the same, faster, and shows its literals.
	lower(tree)
	compiled, err := regexp.Compile(tree.String())
	if err != nil {
		return nil, err
	}
	m := &Match{kind: regex, regex: compiled}
	m.grams.addRegex(tree)
	m.text, m.allBegin = beginning(tree)
	return m, nil
}

// beginning returns what every value begins with in which an expression is found, "" for nothing; whole says that it is found in all that do.
func beginning(tree *syntax.Regexp) (text string, whole bool) {
	if tree.Op == syntax.OpConcat && tree.Sub[0].Op == syntax.OpBeginText && tree.Sub[1].Op == syntax.OpLiteral {
		return string(tree.Sub[1].Rune), len(tree.Sub) == 2
	}
	return "", false
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
