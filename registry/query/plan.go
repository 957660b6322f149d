package query

import (
	"context"

	"github.com/bits-and-blooms/bitset"
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
