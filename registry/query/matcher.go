package query

import (
	"math"
	"slices"
	"strings"

	"muster/registry/index"
)

// Document is one thing as a Matcher sees it: what the index has of it.
type Document interface {
	// Values returns the values of a field of the index. The caller does not keep them.
	Values(field string) []index.Value
	// EachBare calls f with the fields that a bare word is searched in and that the thing has, until f returns true, and
	// says whether it did.
	EachBare(f func(field string, values []index.Value) bool) bool
	// Number returns the value of a column of telemetry, false if there is no number.
	Number(c Column) (value float64, ok bool)
}

// Matcher tests one thing at a time. It gives the answer that the query's plan gives over the whole index. It never changes and is
// safe for concurrent use.
type Matcher struct {
	query *Query
	root  part
	needs Needs
}

// Needs is what the answer of a query depends on, besides that the thing is there.
type Needs struct {
	Fields  []string // of the index
	Bare    bool     // all fields that a bare word is searched in
	Columns []Threshold
	Groups  []*index.Match // memberships in groups with these names, directly or below them
	Timed   bool           // time alone
}

// Threshold is a column, and between which numbers of it the answer is the same.
type Threshold struct {
	Column
	Bounds []float64
	Any    bool // every new number counts
}

// Never is a time after all others.
const Never = math.MaxInt64

// part is a node, ready to be evaluated.
type part struct {
	kind    partKind
	parts   []part       // of and, or, not
	field   string       // of inField
	match   *index.Match // of inField and inAny
	begin   *index.Match // of typed: the beginning of a word
	inside  *index.Match // of typed: anywhere
	lo, hi  limit        // of relative and number
	column  Column       // of number
	compare []comparison // of number, nil: lo and hi have a time
}

type partKind uint8

const (
	every partKind = iota
	and
	or
	not
	inField
	inAny    // a bare word
	typed    // a bare word as people type it
	relative // a range with a time in a field
	number   // of telemetry
)

// Matcher returns the matcher of a query.
func (q *Query) Matcher() *Matcher {
	m := &Matcher{query: q}
	m.root = m.compile(q, q.root)
	slices.Sort(m.needs.Fields)
	m.needs.Fields = slices.Compact(m.needs.Fields)
	return m
}

// Query returns the query that the matcher is of.
func (m *Matcher) Query() *Query { return m.query }

// Needs returns what the answer depends on. Do not change it.
func (m *Matcher) Needs() Needs { return m.needs }

func (m *Matcher) compile(q *Query, n Node) part {
	list := func(kind partKind, nodes []Node) part {
		p := part{kind: kind}
		for _, n := range nodes {
			p.parts = append(p.parts, m.compile(q, n))
		}
		return p
	}
	switch n := n.(type) {
	case And:
		return list(and, n)
	case Or:
		return list(or, n)
	case Not:
		return list(not, []Node{n.Node})
	case *Term:
		return m.compileTerm(q, n)
	}
	panic("BUG: not a node")
}

func (m *Matcher) compileTerm(q *Query, t *Term) part {
	if c, ok := columnOf(t.Field); ok {
		return m.compileNumber(t, c)
	}
	switch {
	case t.Field == "" && t.Kind == Exists:
		return part{kind: every}
	case t.Field == "" && q.typed && t.Kind == Word && !hasWildcard(t.Text):
		p := part{kind: typed, match: q.match[t], begin: index.Prefix(t.Text), inside: index.Contains(t.Text)}
		m.needs.Bare = true
		m.needs.Groups = append(m.needs.Groups, p.begin)
		return p
	case t.Field == "":
		m.needs.Bare = true
		m.needs.Groups = append(m.needs.Groups, q.match[t])
		return part{kind: inAny, match: q.match[t]}
	}
	p := part{kind: inField, field: FieldName(t.Field), match: q.match[t]}
	if p.match == nil {
		p.kind, p.lo, p.hi = relative, newLimit(t.Lo, math.Inf(-1)), newLimit(t.Hi, math.Inf(1))
		m.needs.Timed = true
	}
	m.needs.Fields = append(m.needs.Fields, p.field)
	if p.field == groupField || p.field == groupNamesField {
		names := p.match
		if names == nil {
			names = index.Exists()
		}
		m.needs.Groups = append(m.needs.Groups, names)
	}
	return p
}

func (m *Matcher) compileNumber(t *Term, c Column) part {
	p := part{kind: number, column: c, lo: newLimit(t.Lo, math.Inf(-1)), hi: newLimit(t.Hi, math.Inf(1))}
	need := Threshold{Column: c}
	if t.Kind == Range && (isTime(t.Lo) || isTime(t.Hi)) {
		need.Any, m.needs.Timed = true, true
	} else {
		var err error
		if p.compare, err = comparisons(t, c, 0); err != nil {
			panic("BUG: a term that was not prepared: " + err.Error())
		}
		for _, c := range p.compare {
			if c.op != Any {
				need.Bounds = append(need.Bounds, c.operand)
			}
		}
	}
	m.needs.Columns = append(m.needs.Columns, need)
	return p
}

func hasWildcard(text string) bool {
	return strings.ContainsAny(text, string([]rune{index.AnyRun, index.AnyOne}))
}

// Matches says whether a thing matches at a time. While nothing that the query needs changes, the answer stays the same until
// untilMs: Never, or a time after nowMs at which to ask again.
func (m *Matcher) Matches(d Document, nowMs int64) (ok bool, untilMs int64) {
	e := evaluation{d, nowMs, Never}
	ok = e.eval(&m.root)
	return ok, e.untilMs
}

type evaluation struct {
	d              Document
	nowMs, untilMs int64
}

func (e *evaluation) eval(p *part) bool {
	switch p.kind {
	case every:
		return true
	case and:
		for i := range p.parts {
			if !e.eval(&p.parts[i]) {
				return false
			}
		}
		return true
	case or:
		for i := range p.parts {
			if e.eval(&p.parts[i]) {
				return true
			}
		}
		return false
	case not:
		return !e.eval(&p.parts[0])
	case inField:
		return anyOf(e.d.Values(p.field), p.match)
	case inAny:
		return e.d.EachBare(func(_ string, values []index.Value) bool { return anyOf(values, p.match) })
	case typed:
		return e.d.EachBare(func(field string, values []index.Value) bool {
			switch field {
			case nameField:
				return anyOf(values, p.inside)
			case idField:
				return anyOf(values, p.match)
			}
			return anyOf(values, p.begin)
		})
	case relative:
		found := false
		values := e.d.Values(p.field)
		for i := range values {
			if num, ok := values[i].Number(); ok && e.within(num, p) {
				found = true
			}
		}
		return found
	case number:
		value, ok := e.d.Number(p.column)
		if !ok || p.compare == nil {
			return ok && e.within(value, p)
		}
		for _, c := range p.compare {
			if !c.op.Holds(value, c.operand) {
				return false
			}
		}
		return true
	}
	panic("BUG: no such part")
}

func anyOf(values []index.Value, m *index.Match) bool {
	for i := range values {
		if m.Matches(&values[i]) {
			return true
		}
	}
	return false
}

// limit is a Bound that was read once.
type limit struct {
	num     float64 // unless moves
	afterMs int64   // how far it is from now
	moves   bool
	open    bool
}

// newLimit reads a bound; none is what it is if there is none.
func newLimit(b Bound, none float64) limit {
	offset, moves := parseTime(b.Text)
	return limit{num: b.number(0, none), afterMs: offset.Milliseconds(), moves: moves && !b.Quoted, open: b.Open}
}

// at is where a limit is at a time.
func (l *limit) at(nowMs int64) float64 {
	if l.moves {
		return float64(nowMs + l.afterMs)
	}
	return l.num
}

// within says whether a number is in a range from or to a time, and notes when that may change.
func (e *evaluation) within(value float64, p *part) bool {
	e.noteReached(value, &p.lo)
	e.noteReached(value, &p.hi)
	lo, hi := p.lo.at(e.nowMs), p.hi.at(e.nowMs)
	return (value > lo || value == lo && !p.lo.open) && (value < hi || value == hi && !p.hi.open)
}

// noteReached notes when a limit that moves reaches a value, and when it passes it, a millisecond later.
func (e *evaluation) noteReached(value float64, l *limit) {
	if !l.moves || !(math.Abs(value) < 1<<53) { // NaN, too, is never reached
		return
	}
	reached := int64(math.Floor(value)) - l.afterMs
	for _, ms := range [...]int64{reached, reached + 1} {
		if ms > e.nowMs {
			e.untilMs = min(e.untilMs, ms)
		}
	}
}
