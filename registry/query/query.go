// Package query is the fleet query language: text -> syntax tree -> plan -> bitset of things. It is AWS IoT's fleet
// indexing language as documented, with more.
//
//	lamp                             a bare word: things with that word in any field
//	thingName:lamp-1                 a field has the word; thingName:"two words" has them one after the other
//	thingName:la?p*                  wildcards; attributes.city:* has any value; * alone is every thing
//	attributes.floor:{1 TO 3]        a range of numbers, { } without the bound itself, or of "texts"; * is no bound
//	attributes.floor<5               < <= > >=
//	a AND b OR NOT (c d)             AND may be left out and binds closer than OR; -c is NOT c
//	thingName:(tv* AND -plasma)      a field for a whole group
//	attributes.pos:geo_distance,48.1,11.5,10km   a place near another one
//
// Beyond AWS's: wildcards in front, several of them, 512 terms instead of 12, attributes.serial:/^sn-[0-9]+$/ (RE2),
// relative times in ranges and comparisons (connectivity.timestamp<now-1h, units s m h d w), the last value of a
// telemetry column (telemetry.temp_c>60) and windows over it (telemetry.temp_c.avg(5m)>60, Func has all), groups with all that
// is below them (group:north), certificates (cert.notAfter<now+30d), geo_box and geo_polygon (index.ParseShape). Values have no case,
// fields have. A \ takes the meaning from the character behind.
//
// Typed queries (Options.Typed) are what people type into a search box: a bare word matches things that have it anywhere in
// their name, or at the beginning of a word of any other field; in quotes it is a word as above. A word with a
// colon whose first part is no field is a bare word.
//
// The package keeps no state and starts nothing. A Query never changes and is safe for concurrent use.
package query

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// Telemetry answers terms over live telemetry.
type Telemetry interface {
	// Compare sets in dst the bit of every thing whose value of a column is a number (a boolean is 0 or 1) for which the
	// comparison is true. Windows end at nowMs. Safe for concurrent use.
	Compare(ctx context.Context, column Column, nowMs int64, op Op, operand float64, dst *bitset.BitSet) error
}

// Op is a comparison with a number.
type Op uint8

const (
	Less Op = iota
	LessOrEqual
	Greater
	GreaterOrEqual
	Equal
	Any // there is a number; the operand does not count
)

// Holds says whether the comparison of a value with the operand is true. A value that is no number (NaN) is there, and
// compares with nothing.
func (op Op) Holds(value, operand float64) bool {
	switch op {
	case Less:
		return value < operand
	case LessOrEqual:
		return value <= operand
	case Greater:
		return value > operand
	case GreaterOrEqual:
		return value >= operand
	case Equal:
		return value == operand
	}
	return true
}

// Query is a parsed query.
type Query struct {
	root  Node
	typed bool
	match map[*Term]*index.Match // of all terms but ranges from or to a time, and telemetry's
	first *step
}

const telemetryRoot = "telemetry."

// newQuery prepares the matches of all terms; match has those of the regular expressions.
func newQuery(root Node, opts Options, match map[*Term]*index.Match) (*Query, error) {
	q := &Query{root: root, typed: opts.Typed, match: match}
	if err := q.prepare(root); err != nil {
		return nil, err
	}
	q.first = q.stepOf(root)
	return q, nil
}

func (q *Query) prepare(n Node) error {
	switch n := n.(type) {
	case And:
		return q.prepareAll(n)
	case Or:
		return q.prepareAll(n)
	case Not:
		return q.prepare(n.Node)
	case *Term:
		if column, ok := columnOf(n.Field); ok {
			_, err := comparisons(n, column, 0)
			return err
		}
		if q.match[n] != nil || n.Kind == Range && (isTime(n.Lo) || isTime(n.Hi)) {
			return nil
		}
		m, err := matchOf(n, 0)
		q.match[n] = m
		return err
	}
	panic("BUG: not a node")
}

func (q *Query) prepareAll(list []Node) error {
	for _, n := range list {
		if err := q.prepare(n); err != nil {
			return err
		}
	}
	return nil
}

// String prints the query.
func (q *Query) String() string { return String(q.root) }

// Root returns the syntax tree. Do not change it.
func (q *Query) Root() Node { return q.root }

// matchOf returns what a term of the index looks for. nowMs is the time that relative times are from.
func matchOf(t *Term, nowMs int64) (*index.Match, error) {
	switch t.Kind {
	case Exists:
		return index.Exists(), nil
	case Phrase:
		return index.Phrase(t.Text), nil
	case Range:
		if t.Lo.Quoted || t.Hi.Quoted {
			return index.TextRange(t.Lo.text(), t.Hi.text(), t.Lo.Open, t.Hi.Open), nil
		}
		return index.NumberRange(t.Lo.number(nowMs, math.Inf(-1)), t.Hi.number(nowMs, math.Inf(1)), t.Lo.Open, t.Hi.Open), nil
	}
	switch {
	case strings.ContainsAny(t.Text, string([]rune{index.AnyRun, index.AnyOne})):
		return index.Glob(t.Text), nil
	case len(strings.Fields(t.Text)) == 0:
		return nil, &Error{t.At, "there is only white space to search for"}
	}
	return index.Phrase(t.Text), nil // one word, unless white space in it is escaped
}

func (b Bound) text() *string {
	if b.none() {
		return nil
	}
	return &b.Text
}

// number returns what a bound is at a time, none if there is no bound.
func (b Bound) number(nowMs int64, none float64) float64 {
	if b.none() {
		return none
	}
	if offset, ok := parseTime(b.Text); ok {
		return float64(nowMs + offset.Milliseconds())
	}
	num, _ := index.ParseNumber(b.Text)
	return num
}

// isBound says whether a text is a number or a relative time.
func isBound(text string) bool {
	_, isNumber := index.ParseNumber(text)
	_, isTime := parseTime(text)
	return isNumber || isTime
}

func isTime(b Bound) bool {
	_, ok := parseTime(b.Text)
	return ok && !b.Quoted
}

var units = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}

// parseTime reads now, now-90s or now+7d: how far it is from now.
func parseTime(text string) (time.Duration, bool) {
	rest, ok := strings.CutPrefix(text, "now")
	if !ok {
		return 0, false
	}
	if rest == "" {
		return 0, true
	}
	n, unit := 0, units[rest[len(rest)-1]]
	digits := rest[1 : max(len(rest), 2)-1]
	if unit == 0 || digits == "" || len(digits) > 9 || rest[0] != '-' && rest[0] != '+' {
		return 0, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	if n > int(math.MaxInt64/int64(unit)/2) {
		return 0, false
	}
	if rest[0] == '-' {
		n = -n
	}
	return time.Duration(n) * unit, true
}

// comparison is one question to Telemetry.
type comparison struct {
	op      Op
	operand float64
}

// comparisons returns what to ask for a term over telemetry: all of it must be true.
func comparisons(t *Term, column Column, nowMs int64) ([]comparison, error) {
	if column.Metric == "" {
		return nil, &Error{t.At, "the name of a column is missing after telemetry."}
	}
	switch t.Kind {
	case Exists:
		return []comparison{{Any, 0}}, nil
	case Range:
		if t.Lo.Quoted || t.Hi.Quoted {
			break
		}
		list := []comparison{}
		if !t.Lo.none() {
			list = append(list, comparison{GreaterOrEqual - Op(bit(t.Lo.Open)), t.Lo.number(nowMs, 0)})
		}
		if !t.Hi.none() {
			list = append(list, comparison{LessOrEqual - Op(bit(t.Hi.Open)), t.Hi.number(nowMs, 0)})
		}
		if len(list) == 0 {
			list = append(list, comparison{Any, 0})
		}
		return list, nil
	case Word, Phrase:
		switch index.Fold(t.Text) {
		case "true":
			return []comparison{{Equal, 1}}, nil
		case "false":
			return []comparison{{Equal, 0}}, nil
		}
		if num, ok := index.ParseNumber(t.Text); ok {
			return []comparison{{Equal, num}}, nil
		}
	}
	return nil, &Error{t.At, fmt.Sprintf("telemetry.%s is compared with a number: telemetry.%[1]s>60, :60, :true, :[1 TO 3] or :*", column)}
}
