package query

import (
	"strings"
	"unicode"

	"muster/registry/index"
)

// Node is a part of a parsed query: And, Or, Not or *Term.
type Node interface {
	// print prints the node as a part of something that binds that strongly.
	print(b *strings.Builder, around strength)
}

type strength uint8

const (
	alone strength = iota
	inOr
	inAnd // or behind a NOT
)

// And and Or have at least two parts.
type (
	And []Node
	Or  []Node
	Not struct{ Node Node }
)

// Term is one condition.
type Term struct {
	Field  string // "": a bare word
	Kind   Kind
	Text   string // of Word, with index.AnyRun and index.AnyOne for its wildcards; of Phrase, Regex and Area
	Lo, Hi Bound  // of Range
	// At is where the term is in the query, in characters from 0. It does not count when terms are compared.
	At int
}

// Kind is the form of a term.
type Kind uint8

const (
	Exists Kind = iota // *
	Word               // abc, ab*, a?b
	Phrase             // "in quotes"
	Regex              // /re2/
	Range              // [lo TO hi], {lo TO hi}, and < <= > >=
	Area               // geo_distance,48.1,11.5,10km
)

// Bound is an end of a range.
type Bound struct {
	Text   string // "": none. A number, a relative time (now-1h), or what was in quotes
	Quoted bool   // a text, whatever it looks like
	Open   bool   // the bound itself is not in the range
}

// String prints a query so that Parse makes the same of it.
func String(n Node) string {
	var b strings.Builder
	n.print(&b, alone)
	return b.String()
}

func (list And) print(b *strings.Builder, around strength) {
	printList(b, list, " AND ", inAnd, around == inAnd)
}

func (list Or) print(b *strings.Builder, around strength) {
	printList(b, list, " OR ", inOr, around != alone)
}

func printList(b *strings.Builder, list []Node, between string, inside strength, brackets bool) {
	if brackets {
		b.WriteByte('(')
	}
	for i, n := range list {
		if i > 0 {
			b.WriteString(between)
		}
		n.print(b, inside)
	}
	if brackets {
		b.WriteByte(')')
	}
}

func (n Not) print(b *strings.Builder, _ strength) {
	b.WriteString("NOT ")
	n.Node.print(b, inAnd)
}

func (t *Term) print(b *strings.Builder, _ strength) {
	if c, ok := columnOf(t.Field); ok && c.Func != LastValue {
		printWord(b, telemetryRoot+c.Metric, true)
		b.WriteString(strings.TrimPrefix(c.String(), c.Metric))
		b.WriteByte(':')
	} else if t.Field != "" {
		printWord(b, t.Field, true)
		b.WriteByte(':')
	}
	switch t.Kind {
	case Exists:
		b.WriteByte('*')
	case Word, Area:
		printWord(b, t.Text, t.Field == "")
	case Phrase:
		printQuoted(b, t.Text)
	case Regex:
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(t.Text, "/", `\/`))
		b.WriteByte('/')
	case Range:
		b.WriteByte("[{"[bit(t.Lo.Open)])
		printBound(b, t.Lo)
		b.WriteString(" TO ")
		printBound(b, t.Hi)
		b.WriteByte("]}"[bit(t.Hi.Open)])
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func printBound(b *strings.Builder, bound Bound) {
	switch {
	case bound.Quoted:
		printQuoted(b, bound.Text)
	case bound.Text == "":
		b.WriteByte('*')
	default:
		b.WriteString(bound.Text)
	}
}

func printQuoted(b *strings.Builder, text string) {
	b.WriteByte('"')
	b.WriteString(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text))
	b.WriteByte('"')
}

// printWord escapes what would end a word or mean something. A field, and a word that could be taken for one, also
// escapes what stands behind fields.
func printWord(b *strings.Builder, text string, bare bool) {
	if text == "AND" || text == "OR" || text == "NOT" || text == "TO" {
		b.WriteByte('\\')
	}
	for i, r := range text {
		switch {
		case r == index.AnyRun:
			r = '*'
		case r == index.AnyOne:
			r = '?'
		case endsWord(r) || r == '\\' || r == '*' || r == '?' || r == ':' && bare || unicode.IsSpace(r),
			i == 0 && (r == '-' && bare || r == '/'):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
}

// endsWord says whether a character that is not escaped ends a word.
func endsWord(r rune) bool {
	switch r {
	case '(', ')', '[', ']', '{', '}', '"', '<', '>':
		return true
	}
	return false
}
