package registry

import (
	"context"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// Preview is what a definition would find now.
type Preview struct {
	Total int
	Hits  []Hit // the first of them, by name
	// Against a group: how many things would enter and leave, and the first of each by name. A thing that would have to wait for
	// EnterAfter or LeaveAfter counts.
	Entering, Leaving             int
	EnteringThings, LeavingThings []string
}

// PreviewGroup says what a definition would find, and what would change if a group had it. group may be "": then everything would enter.
func (r *Registry) PreviewGroup(ctx context.Context, d Definition, group string, limit int) (Preview, error) {
	if limit < 0 || limit > MaxPage {
		return Preview{}, refuse(Invalid, "limit must be 0 to %d, it is %d", MaxPage, limit)
	}
	if _, err := r.rule(0, group, d); err != nil {
		return Preview{}, err
	}
	var out Preview
	show := func(found, leave *bitset.BitSet) error {
		members := new(bitset.BitSet)
		if group != "" {
			g := r.groups.byName[group]
			if g == nil {
				return errNoGroup(group)
			}
			g.members.AddTo(members)
		}
		// With a leave query, what is in stays until it matches that.
		kept := members.Intersection(found)
		if leave != nil {
			found.InPlaceDifference(leave)
			kept = members.Difference(leave)
		}
		entering, leaving := found.Difference(members), members.Difference(kept)
		found = found.Union(kept)
		out.Total, out.Entering, out.Leaving = int(found.Count()), int(entering.Count()), int(leaving.Count())
		for _, id := range r.firstOf(found, limit) {
			out.Hits = append(out.Hits, r.hit(id))
		}
		for _, id := range r.firstOf(entering, limit) {
			out.EnteringThings = append(out.EnteringThings, r.byID[id].name)
		}
		for _, id := range r.firstOf(leaving, limit) {
			out.LeavingThings = append(out.LeavingThings, r.byID[id].name)
		}
		return nil
	}
	if expression, ok := d.Expression(); ok {
		return out, r.previewExpression(ctx, expression, func(found *bitset.BitSet) error { return show(found, nil) })
	}
	var leave *bitset.BitSet
	if d.LeaveQuery != "" {
		err := r.search(ctx, QueryInput{Text: d.LeaveQuery}, func(set *bitset.BitSet) { leave = set.Clone() })
		if err != nil {
			return out, err
		}
	}
	var refused error
	if err := r.search(ctx, QueryInput{Text: d.Query}, func(set *bitset.BitSet) { refused = show(set, leave) }); err != nil {
		return out, err
	}
	return out, refused
}

// firstOf returns the first things of a set by name. The caller holds fleet.
func (r *Registry) firstOf(set *bitset.BitSet, limit int) []uint32 {
	if limit == 0 {
		return nil
	}
	ids, _, _ := r.index.Page(set, fieldName, false, (*index.Key)(nil), limit)
	return ids
}

func (r *Registry) previewExpression(ctx context.Context, expression string, show func(*bitset.BitSet) error) error {
	r.fleet.RLock()
	expressions := r.dynamic.expressions
	r.fleet.RUnlock()
	if expressions == nil {
		return refuse(Invalid, "query: this gateway has no PromQL for groups")
	}
	ids, err := expressions.Things(ctx, expression)
	if err != nil {
		return &Error{Kind: Invalid, Message: "query: promql: " + err.Error(), cause: err}
	}
	found := new(bitset.BitSet)
	for _, id := range ids {
		found.Set(uint(id))
	}
	r.fleet.RLock()
	defer r.fleet.RUnlock()
	found.InPlaceIntersection(r.index.Live())
	return show(found)
}
