package registry

import (
	"muster/registry/index"
)

// Fields of the index of groups besides attributes.<name>.
const (
	fieldGroupName   = "thingGroupName"
	fieldGroupID     = "thingGroupId"
	fieldDescription = "description"
	fieldParents     = "parentGroupNames" // all groups above
)

// loadGroupIndex builds the index of all groups; Open has nobody else yet.
func (r *Registry) loadGroupIndex() {
	r.groupIndex = index.New(fieldGroupName, func(id uint32) string { return r.groups.byID[id].name })
	for _, g := range r.groups.order {
		r.groupIndex.AddThing(g.id)
		r.indexGroup(g, false)
	}
}

// groupValues calls visit for all values of a group in the index.
func groupValues(g *groupRecord, visit func(field, value string)) {
	visit(fieldGroupName, g.name)
	visit(fieldGroupID, formatUUID(g.uuid))
	visit(fieldDescription, g.description)
	for key, value := range g.attributes {
		visit(fieldAttribute+key, value)
	}
	seen := map[string]bool{}
	for above := g.parent; above != nil; above = above.parent {
		if !seen[above.folded] {
			seen[above.folded] = true
			visit(fieldParents, above.name)
		}
	}
}

// indexGroup adds a group to the index of groups, and all below it if asked. The caller is in a change.
func (r *Registry) indexGroup(g *groupRecord, below bool) {
	groupValues(g, func(field, value string) { r.groupIndex.Add(g.id, field, value) })
	if below {
		for _, c := range g.children {
			r.indexGroup(c, true)
		}
	}
}

// unindexGroup takes out what indexGroup added.
func (r *Registry) unindexGroup(g *groupRecord, below bool) {
	groupValues(g, func(field, value string) { r.groupIndex.Remove(g.id, field, value) })
	if below {
		for _, c := range g.children {
			r.unindexGroup(c, true)
		}
	}
}
