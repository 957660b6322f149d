package registry

import (
	"context"
	"slices"
	"strings"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// Group returns the group of that name, or NotFound.
func (r *Registry) Group(name string) (Group, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if g := r.groups.byName[name]; g != nil {
		return g.group(), nil
	}
	if err := CheckName("thingGroupName", name); err != nil {
		return Group{}, err
	}
	return Group{}, errNoGroup(name)
}

// GroupByID returns the group of that id, or NotFound.
func (r *Registry) GroupByID(id uint32) (Group, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if g := r.groups.at(id); g != nil {
		return g.group(), nil
	}
	return Group{}, refuse(NotFound, "there is no thing group with the id %d", id)
}

// GroupID returns the dense id of a group.
func (r *Registry) GroupID(name string) (uint32, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if g := r.groups.byName[name]; g != nil {
		return g.id, true
	}
	return 0, false
}

// GroupName returns the name of a group by its dense id; false when it was deleted or never was.
func (r *Registry) GroupName(id uint32) (string, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if g := r.groups.at(id); g != nil {
		return g.name, true
	}
	return "", false
}

// GroupPath returns the names of the groups above a group, the root first.
func (r *Registry) GroupPath(name string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var names []string
	if g := r.groups.byName[name]; g != nil {
		for above := g.parent; above != nil; above = above.parent {
			names = append(names, above.name)
		}
	}
	slices.Reverse(names)
	return names
}

// CountGroups returns the number of groups.
func (r *Registry) CountGroups() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.groups.order)
}

// GroupFilter selects groups for ListGroups; zero fields select all.
type GroupFilter struct {
	Parent string // only those directly below it
	Roots  bool   // only those without a parent; not together with Parent
	Below  bool   // with Parent: those below it at any depth
	Prefix string // of the name
}

// ListGroups returns up to limit groups by name ascending. after is "" or the next of the page before; next is "" at the
// end. A parent that does not exist is NotFound.
func (r *Registry) ListGroups(f GroupFilter, after string, limit int) (groups []Group, next string, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return pageOf(after, limit, func(from string, yield func(string, Group) bool) error {
		list := r.groups.order
		var above *groupRecord
		switch {
		case f.Parent != "":
			if above = r.groups.byName[f.Parent]; above == nil {
				return errNoGroup(f.Parent)
			}
			if !f.Below {
				list = above.children
			}
		case f.Roots:
			list = r.groups.roots
		}
		start, found := findGroup(list, max(from, f.Prefix))
		if found && from >= f.Prefix && from != "" {
			start++
		}
		for _, g := range list[start:] {
			isBelow := above == nil || !f.Below || g != above && g.within(above)
			if !strings.HasPrefix(g.name, f.Prefix) || isBelow && !yield(g.name, g.group()) {
				break
			}
		}
		return nil
	})
}

// GroupsOf returns the names of the groups that a thing is in directly, ascending. An unknown thing is NotFound.
func (r *Registry) GroupsOf(thing string) ([]string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	rec := r.things[thing]
	if rec == nil {
		if err := CheckName("thingName", thing); err != nil {
			return nil, err
		}
		return nil, errNoThing(thing)
	}
	return r.groupNamesOf(rec.id), nil
}

// AppendGroupsOf appends the ids of the groups that a thing is in, and of all above them, each once; for an unknown
// thing none. Made for many things: it allocates only when dst has no room.
func (r *Registry) AppendGroupsOf(dst []uint32, thing uint32) []uint32 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	from := len(dst)
	for _, g := range r.groupsOf(thing) {
		for ; g != nil && !slices.Contains(dst[from:], g.id); g = g.parent {
			dst = append(dst, g.id)
		}
	}
	return dst
}

// AddMembersOf sets in dst the bits of the things in a group, and in the groups below it if asked. An unknown group is
// NotFound.
func (r *Registry) AddMembersOf(dst *bitset.BitSet, group string, recursive bool) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.groups.byName[group]
	if g == nil {
		return errNoGroup(group)
	}
	r.addMembers(dst, g, recursive)
	return nil
}

// GroupSize is how much is in a group.
type GroupSize struct {
	Groups    int `json:"groups"`    // directly below it
	Things    int `json:"things"`    // directly in it
	AllThings int `json:"allThings"` // in it or in a group below it, each once
}

// GroupSize counts what is in a group, or NotFound.
func (r *Registry) GroupSize(group string) (GroupSize, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.groups.byName[group]
	if g == nil {
		return GroupSize{}, errNoGroup(group)
	}
	size := GroupSize{Groups: len(g.children), Things: g.members.Count(), AllThings: g.members.Count()}
	if len(g.children) > 0 {
		all := bitset.MustNew(uint(len(r.byID)))
		r.addMembers(all, g, true)
		size.AllThings = int(all.Count())
	}
	return size, nil
}

// ThingsInGroup returns up to limit names of the things in a group, ascending without case, and in the groups below it
// if asked. after is "" or the next of the page before; next is "" at the end. Things that come or go meanwhile shift
// nothing.
func (r *Registry) ThingsInGroup(group string, recursive bool, after string, limit int) (names []string, next string, err error) {
	if err := CheckName("thingGroupName", group); err != nil {
		return nil, "", err
	}
	return r.pageOfNames(after, limit, func(set *bitset.BitSet) error {
		g := r.groups.byName[group]
		if g == nil {
			return errNoGroup(group)
		}
		r.addMembers(set, g, recursive)
		return nil
	})
}

// pageOfNames pages through a set of things that fill makes, by name.
func (r *Registry) pageOfNames(after string, limit int, fill func(*bitset.BitSet) error) (names []string, next string, err error) {
	if err := checkLimit(limit); err != nil {
		return nil, "", err
	}
	var from *index.Key
	if after != "" {
		if from, err = decodeKey(after, fieldName); err != nil {
			return nil, "", err
		}
	}
	r.fleet.RLock()
	defer r.fleet.RUnlock()
	set := new(bitset.BitSet)
	if err := fill(set); err != nil {
		return nil, "", err
	}
	ids, last, more := r.index.Page(set, fieldName, false, from, limit)
	for _, id := range ids {
		names = append(names, r.byID[id].name)
	}
	if more {
		next = encodeKey(fieldName, last)
	}
	return names, next, nil
}

// GroupHit is a group that a query over the index of groups finds.
type GroupHit struct {
	Group Group
	Above []string // names of all groups above, the root first
}

// QueryGroups returns one page of the groups that match a query in the fields thingGroupName, thingGroupId, description,
// parentGroupNames and attributes.<name>, by name. Of in, Text, Limit, Cursor and MinRevision count.
func (r *Registry) QueryGroups(ctx context.Context, in QueryInput) (hits []GroupHit, next string, err error) {
	if err := checkLimit(in.Limit); err != nil {
		return nil, "", err
	}
	var after *index.Key
	if in.Cursor != "" {
		if after, err = decodeKey(in.Cursor, fieldGroupName); err != nil {
			return nil, "", err
		}
	}
	err = r.searchGroups(ctx, in, func(set *bitset.BitSet) {
		ids, last, more := r.groupIndex.Page(set, fieldGroupName, false, after, in.Limit)
		for _, id := range ids {
			g := r.groups.byID[id]
			hit := GroupHit{Group: g.group()}
			for above := g.parent; above != nil; above = above.parent {
				hit.Above = append(hit.Above, above.name)
			}
			slices.Reverse(hit.Above)
			hits = append(hits, hit)
		}
		if more {
			next = encodeKey(fieldGroupName, last)
		}
	})
	return hits, next, err
}
