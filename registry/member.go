package registry

import (
	"context"
	"iter"
	"slices"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// AddToGroup puts a thing into a static group. One that is in it already stays there.
func (r *Registry) AddToGroup(ctx context.Context, group, thing string) error {
	return r.regroup(ctx, thing, []string{group}, nil, "added by AddThingToThingGroup", "")
}

// RemoveFromGroup takes a thing out of a static group. One that is not in it is no error.
func (r *Registry) RemoveFromGroup(ctx context.Context, group, thing string) error {
	return r.regroup(ctx, thing, nil, []string{group}, "", "removed by RemoveThingFromThingGroup")
}

// UpdateGroupsForThing puts a thing into some static groups and takes it out of others, all or nothing. What is in both
// lists is Invalid.
func (r *Registry) UpdateGroupsForThing(ctx context.Context, thing string, add, remove []string) error {
	return r.regroup(ctx, thing, add, remove, "added by UpdateThingGroupsForThing", "removed by UpdateThingGroupsForThing")
}

func (r *Registry) regroup(ctx context.Context, thing string, add, remove []string, addCause, removeCause string) error {
	if err := CheckName("thingName", thing); err != nil {
		return err
	}
	for _, name := range append(slices.Clone(add), remove...) {
		if err := CheckName("thingGroupName", name); err != nil {
			return err
		}
		if slices.Contains(add, name) && slices.Contains(remove, name) {
			return refuse(Invalid, "thing group %q is in thingGroupsToAdd and in thingGroupsToRemove; name it once", name)
		}
	}
	return r.submit(ctx, thing, func(tx *transaction) error {
		rec := r.things[thing]
		if rec == nil {
			return errNoThing(thing)
		}
		var now []*groupRecord
		for _, g := range r.groupsOf(rec.id) {
			now = append(now, g)
		}
		var joined, left []*groupRecord
		for _, name := range remove {
			g, err := r.staticGroup(name)
			if err != nil {
				return err
			}
			if i := slices.Index(now, g); i >= 0 {
				now = slices.Delete(now, i, i+1)
				left = append(left, g)
			}
		}
		for _, name := range add {
			g, err := r.staticGroup(name)
			if err != nil {
				return err
			}
			if !slices.Contains(now, g) {
				now = append(now, g)
				joined = append(joined, g)
			}
		}
		if len(joined) > 0 {
			if err := r.checkMemberships(thing, now); err != nil {
				return err
			}
		}
		if len(joined) == 0 && len(left) == 0 {
			return nil
		}
		for _, g := range left {
			tx.Leave = append(tx.Leave, Member{g.id, rec.id})
		}
		for _, g := range joined {
			tx.Join = append(tx.Join, Member{g.id, rec.id})
		}
		tx.memory = append(tx.memory, func() {
			for _, g := range left {
				r.setMember(g, rec.id, false, removeCause)
			}
			for _, g := range joined {
				r.setMember(g, rec.id, true, addCause)
			}
		})
		return nil
	})
}

// staticGroup returns the static group of that name. The caller is the writing goroutine.
func (r *Registry) staticGroup(name string) (*groupRecord, error) {
	g := r.groups.byName[name]
	switch {
	case g == nil:
		return nil, errNoGroup(name)
	case g.dynamic != nil:
		return nil, refuse(Invalid, "thing group %q is a dynamic group: its members follow from its query and cannot be added or removed", name)
	}
	return g, nil
}

// checkMemberships says whether a thing may be in these groups. Dynamic ones do not count.
func (r *Registry) checkMemberships(thing string, groups []*groupRecord) error {
	static := 0
	perRoot := make(map[*groupRecord]int)
	for _, g := range groups {
		if g.dynamic != nil {
			continue
		}
		static++
		root := g.root()
		if perRoot[root]++; perRoot[root] > r.opts.MaxGroupsPerHierarchy {
			return refuse(Invalid, "thing %q would be in %d groups of the hierarchy of %q, and %d is the limit; take it out of the other first (setting registry.max-groups-per-hierarchy)",
				thing, perRoot[root], root.name, r.opts.MaxGroupsPerHierarchy)
		}
	}
	if static > r.opts.MaxGroupsPerThing {
		return refuse(Invalid, "thing %q would be in %d thing groups, and %d is the limit (setting registry.max-groups-per-thing)",
			thing, static, r.opts.MaxGroupsPerThing)
	}
	return nil
}

// setMember puts an existing thing into a group or takes it out, and reports whether that changed anything. cause is for
// the listeners. The caller is in a change; static groups are the business of regroup, which stores them.
func (r *Registry) setMember(g *groupRecord, id uint32, in bool, cause string) bool {
	if in && !g.members.Add(id) || !in && !g.members.Remove(id) {
		return false
	}
	for int(id) >= len(r.memberOf) {
		r.memberOf = append(r.memberOf, index.Set{})
	}
	if in {
		r.memberOf[id].Add(g.id)
	} else {
		r.memberOf[id].Remove(g.id)
	}
	switch {
	case slices.ContainsFunc(r.namesakes(g), func(other *groupRecord) bool { return other.members.Has(id) }):
	case in:
		r.index.Add(id, fieldGroups, g.name)
	default:
		r.index.Remove(id, fieldGroups, g.name)
	}
	if !r.dynamic.settling {
		r.delta.members = append(r.delta.members, memberDelta{id, g, cause})
	}
	r.notify(notice{members: &membersChange{group: g, dynamic: g.dynamic != nil, things: []*record{r.byID[id]}, entered: in, cause: cause}})
	return true
}

// setMembers makes these things, which must exist, the direct members of a group, and no others: setMember for many at once. It returns those that
// entered or left. The caller is in a change, and tells dynamic groups that name this one.
func (r *Registry) setMembers(g *groupRecord, members *bitset.BitSet, cause string) (changed *bitset.BitSet) {
	left := new(bitset.BitSet)
	g.members.AddTo(left)
	entered := members.Difference(left)
	left.InPlaceDifference(members)
	g.members = index.SetOf(members)
	if top, any := entered.PreviousSet(max(entered.Len(), 1) - 1); any && int(top) >= len(r.memberOf) {
		r.memberOf = append(r.memberOf, make([]index.Set, int(top)+1-len(r.memberOf))...)
	}
	if !r.dynamic.starting {
		for id := range entered.EachSet() {
			r.memberOf[id].Add(g.id)
		}
		for id := range left.EachSet() {
			r.memberOf[id].Remove(g.id)
		}
	}
	add, remove := entered, left
	for _, other := range r.namesakes(g) {
		theirs := new(bitset.BitSet)
		other.members.AddTo(theirs)
		add, remove = add.Difference(theirs), remove.Difference(theirs)
	}
	r.index.AddAll(add, fieldGroups, g.name)
	r.index.RemoveAll(remove, fieldGroups, g.name)
	r.notifyMembers(g, left, false, cause)
	r.notifyMembers(g, entered, true, cause)
	return entered.Union(left)
}

// namesakes returns the other groups whose names differ in case only: the index has the names of them once.
func (r *Registry) namesakes(g *groupRecord) (list []*groupRecord) {
	for _, other := range r.groups.byFolded[g.folded] {
		if other != g {
			list = append(list, other)
		}
	}
	return list
}

// groupsOf visits the groups that a thing is in directly, by id ascending; it may leave them meanwhile. The caller holds fleet or mu.
func (r *Registry) groupsOf(id uint32) iter.Seq2[int, *groupRecord] {
	return func(yield func(int, *groupRecord) bool) {
		if int(id) >= len(r.memberOf) {
			return
		}
		groups := &r.memberOf[id]
		n := 0
		for g, ok := groups.Next(0); ok; g, ok = groups.Next(g + 1) {
			if !yield(n, r.groups.byID[g]) {
				return
			}
			n++
		}
	}
}

// groupNamesOf returns their names, ascending; nil for none.
func (r *Registry) groupNamesOf(id uint32) []string {
	var names []string
	for _, g := range r.groupsOf(id) {
		names = append(names, g.name)
	}
	slices.Sort(names)
	return names
}

// addMembers sets the bits of the members of g and of the groups below it. The caller holds fleet or mu.
func (r *Registry) addMembers(dst *bitset.BitSet, g *groupRecord, recursive bool) {
	g.members.AddTo(dst)
	if recursive {
		for _, c := range g.children {
			r.addMembers(dst, c, true)
		}
	}
}

// selectGroups sets the bits of the things that are in a group whose name matches, or in one below it. It answers the
// field group of queries.
func (r *Registry) selectGroups(dst *bitset.BitSet, m *index.Match) (groups int) {
	exact, isExact := m.Exact()
	for _, g := range r.groups.order {
		if isExact && g.folded == exact || !isExact && m.MatchesWord(g.folded) {
			r.addMembers(dst, g, true)
		}
	}
	return len(r.groups.order)
}
