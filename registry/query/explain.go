package query

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// Explain runs the plan and returns it as text: a line per node with the number of things, and for terms how they were
// looked up.
func (p *Plan) Explain(ctx context.Context, x *index.Index) (string, error) {
	r := run{Plan: p, ctx: ctx, index: x}
	lines, _, err := r.explain(p.query.root, "")
	return lines, err
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
		f, err := r.term(r.query.termOf(n))
		if err != nil {
			return "", nil, err
		}
		how := fmt.Sprintf("%d values in %d fields looked at", r.seen.values, r.seen.fields)
		if c, ok := columnOf(n.Field); ok {
			how = "the last value of each thing"
			if c.Func != LastValue {
				how = fmt.Sprintf("the samples of each thing from %s on", time.UnixMilli(r.nowMs-c.Over.Milliseconds()).UTC().Format(time.RFC3339))
			}
		}
		return fmt.Sprintf("%s%s: %d things, %s\n", indent, String(n), f.bits.Count(), how), r.own(f).bits, nil
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
