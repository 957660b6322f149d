package query

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// Fields of a thing that a bare word is searched in, besides those with the root attributes.
const (
	nameField       = "thingName"
	idField         = "thingId"
	groupNamesField = "thingGroupNames"
	groupField      = "group" // with the groups above those of groupNamesField
	attributesRoot  = "attributes."
)

// bareFields are searched for bare words, besides attributes: those of things, and those of groups.
var bareFields = []string{nameField, idField, "thingTypeName", groupNamesField, "thingGroupName", "thingGroupId", "description", "parentGroupNames"}

// aliases are other names of fields (AWS's managed fields).
var aliases = map[string]string{
	"registry.thingTypeName":   "thingTypeName",
	"registry.thingGroupNames": "thingGroupNames",
}

// FieldName returns the name under which the index has a field.
func FieldName(field string) string {
	if name, ok := aliases[field]; ok {
		return name
	}
	return field
}

// Plan is a query at a time, with what telemetry answered.
type Plan struct {
	query     *Query
	nowMs     int64
	telemetry map[*Term]*bitset.BitSet
}

// Plan asks telemetry, so that no lock of the fleet needs to be held for it. telemetry may be nil: then terms over it
// are errors (*Error).
func (q *Query) Plan(ctx context.Context, nowMs int64, telemetry Telemetry) (*Plan, error) {
	p := &Plan{query: q, nowMs: nowMs}
	return p, p.ask(ctx, q.root, telemetry)
}

func (p *Plan) ask(ctx context.Context, n Node, telemetry Telemetry) error {
	switch n := n.(type) {
	case And:
		return p.askAll(ctx, n, telemetry)
	case Or:
		return p.askAll(ctx, n, telemetry)
	case Not:
		return p.ask(ctx, n.Node, telemetry)
	case *Term:
		column, ok := columnOf(n.Field)
		if !ok {
			return nil
		}
		if telemetry == nil {
			return &Error{n.At, "this gateway has no telemetry to search in"}
		}
		questions, err := comparisons(n, column, p.nowMs)
		if err != nil {
			return err
		}
		var all *bitset.BitSet
		for _, c := range questions {
			some := new(bitset.BitSet)
			if err := telemetry.Compare(ctx, column, p.nowMs, c.op, c.operand, some); err != nil {
				return err
			}
			if all == nil {
				all = some
			} else {
				all.InPlaceIntersection(some)
			}
		}
		if p.telemetry == nil {
			p.telemetry = map[*Term]*bitset.BitSet{}
		}
		p.telemetry[n] = all
	}
	return nil
}

func (p *Plan) askAll(ctx context.Context, list []Node, telemetry Telemetry) error {
	for _, n := range list {
		if err := p.ask(ctx, n, telemetry); err != nil {
			return err
		}
	}
	return nil
}

// Run returns the things of an index that match. The caller owns the set. The error is ctx's.
func (p *Plan) Run(ctx context.Context, x *index.Index) (*bitset.BitSet, error) {
	r := run{Plan: p, ctx: ctx, index: x}
	return r.eval(p.query.root)
}

// Explain runs the plan and returns it as text: a line per node with the number of things, and for terms how they were
// looked up.
func (p *Plan) Explain(ctx context.Context, x *index.Index) (string, error) {
	r := run{Plan: p, ctx: ctx, index: x}
	lines, _, err := r.explain(p.query.root, "")
	return lines, err
}

// run is one evaluation.
type run struct {
	*Plan
	ctx   context.Context
	index *index.Index
	bare  []string       // fields of bare words, once they were asked for
	seen  work           // of the last term
	among *bitset.BitSet // the only things that still matter; nil: all
}

// work is what was looked at for a term.
type work struct{ fields, values int }

func (r *run) newSet() *bitset.BitSet { return bitset.MustNew(r.index.Live().Len()) }

// eval returns a set that the caller may change. What it has of things that are not in among means nothing.
func (r *run) eval(n Node) (*bitset.BitSet, error) {
	switch n := n.(type) {
	case And:
		return r.and(n)
	case Or:
		return r.or(n)
	case Not:
		set, err := r.eval(n.Node)
		if err != nil {
			return nil, err
		}
		rest := r.index.Live().Clone()
		rest.InPlaceDifference(set)
		return rest, nil
	case *Term:
		return r.term(n)
	}
	panic("BUG: not a node")
}

// cheapFirst returns the parts in the order in which they are evaluated.
func (r *run) cheapFirst(list []Node) []Node {
	parts := slices.Clone(list)
	slices.SortStableFunc(parts, func(a, b Node) int { return r.cost(a) - r.cost(b) })
	return parts
}

// or evaluates the cheap parts first, and the others for the things that are still missing.
func (r *run) or(list Or) (*bitset.BitSet, error) {
	outer := r.among
	defer func() { r.among = outer }()
	var sum *bitset.BitSet
	for _, part := range r.cheapFirst(list) {
		if sum != nil && r.cost(part) > 0 {
			missing := outer
			if missing == nil {
				missing = r.index.Live()
			}
			if r.among = missing.Difference(sum); r.among.None() {
				break
			}
		}
		set, err := r.eval(part)
		if err != nil {
			return nil, err
		}
		if sum == nil {
			sum = set
		} else {
			sum.InPlaceUnion(set)
		}
	}
	return sum, nil
}

// and evaluates the cheap parts first and stops when nothing is left.
func (r *run) and(list And) (*bitset.BitSet, error) {
	outer := r.among
	defer func() { r.among = outer }()
	var rest *bitset.BitSet
	for _, part := range r.cheapFirst(list) {
		if rest != nil {
			r.among = rest
		}
		inner, negative := part, false
		if not, ok := part.(Not); ok && rest != nil {
			inner, negative = not.Node, true
		}
		set, err := r.eval(inner)
		if err != nil {
			return nil, err
		}
		switch {
		case rest == nil:
			rest = set
		case negative:
			rest.InPlaceDifference(set)
		default:
			rest.InPlaceIntersection(set)
		}
		if rest.None() {
			break
		}
	}
	return rest, nil
}

// cost is 0 for a lookup, 1 for what walks a part of a field, 2 for what looks at every value.
func (r *run) cost(n Node) int {
	switch n := n.(type) {
	case And:
		return r.costOf(n)
	case Or:
		return r.costOf(n)
	case Not:
		return r.cost(n.Node)
	case *Term:
		switch {
		case n.Kind == Exists || r.telemetry[n] != nil:
			return 0
		case n.Kind == Regex:
			return 3
		case n.Field == "" && r.query.typed:
			return 2
		case n.Kind == Word && strings.ContainsAny(n.Text[:1], string([]rune{index.AnyRun, index.AnyOne})):
			return 2
		case n.Kind == Range || strings.ContainsAny(n.Text, string([]rune{index.AnyRun, index.AnyOne})):
			return 1
		}
	}
	return 0
}

func (r *run) costOf(list []Node) int {
	most := 0
	for _, part := range list {
		most = max(most, r.cost(part))
	}
	return most
}

func (r *run) term(t *Term) (*bitset.BitSet, error) {
	set := r.newSet()
	r.seen = work{}
	var err error
	switch m := r.query.match[t]; {
	case r.telemetry[t] != nil:
		set = r.index.Live().Intersection(r.telemetry[t])
	case t.Field == "" && t.Kind == Exists:
		set = r.index.Live().Clone()
	case t.Field == "" && r.query.typed && t.Kind == Word && !strings.ContainsAny(t.Text, string([]rune{index.AnyRun, index.AnyOne})):
		err = r.typedWord(set, t)
	case t.Field == "":
		for _, field := range r.bareFields() {
			if err = r.look(set, field, m); err != nil {
				break
			}
		}
	default:
		if m == nil { // from or to a time
			if m, err = matchOf(t, r.nowMs); err != nil {
				break
			}
		}
		err = r.look(set, FieldName(t.Field), m)
	}
	if err != nil {
		return nil, err
	}
	return set, nil
}

// look adds the things that match in a field.
func (r *run) look(set *bitset.BitSet, field string, m *index.Match) error {
	n, err := r.index.Select(r.ctx, set, field, m, r.among)
	r.seen.fields++
	r.seen.values += n
	return err
}

// typedWord looks for a bare word as people type it.
func (r *run) typedWord(set *bitset.BitSet, t *Term) error {
	begin := index.Prefix(t.Text)
	for _, field := range r.bareFields() {
		m := begin
		switch field {
		case nameField:
			m = index.Contains(t.Text)
		case idField:
			m = r.query.match[t]
		}
		if err := r.look(set, field, m); err != nil {
			return err
		}
	}
	return nil
}

// bareFields returns the fields that a bare word is searched in.
func (r *run) bareFields() []string {
	if r.bare == nil {
		r.bare = []string{}
		for _, field := range r.index.Fields() {
			if slices.Contains(bareFields, field) || strings.HasPrefix(field, attributesRoot) {
				r.bare = append(r.bare, field)
			}
		}
	}
	return r.bare
}

// explain evaluates a node as eval does, but all of it and in the order of the text, and describes it.
func (r *run) explain(n Node, indent string) (lines string, set *bitset.BitSet, err error) {
	list, name := []Node(nil), ""
	switch n := n.(type) {
	case And:
		list, name = n, "AND"
	case Or:
		list, name = n, "OR"
	case Not:
		list, name = []Node{n.Node}, "NOT"
	case *Term:
		if set, err = r.term(n); err != nil {
			return "", nil, err
		}
		how := fmt.Sprintf("%d values in %d fields looked at", r.seen.values, r.seen.fields)
		if c, ok := columnOf(n.Field); ok {
			how = "the last value of each thing"
			if c.Func != LastValue {
				how = fmt.Sprintf("the samples of each thing from %s on", time.UnixMilli(r.nowMs-c.Over.Milliseconds()).UTC().Format(time.RFC3339))
			}
		}
		return fmt.Sprintf("%s%s: %d things, %s\n", indent, String(n), set.Count(), how), set, nil
	}
	var b strings.Builder
	for _, part := range list {
		inner, some, err := r.explain(part, indent+"  ")
		if err != nil {
			return "", nil, err
		}
		b.WriteString(inner)
		switch {
		case name == "NOT":
			set = r.index.Live().Clone()
			set.InPlaceDifference(some)
		case set == nil:
			set = some
		case name == "AND":
			set.InPlaceIntersection(some)
		default:
			set.InPlaceUnion(some)
		}
	}
	return fmt.Sprintf("%s%s: %d things\n", indent, name, set.Count()) + b.String(), set, nil
}
