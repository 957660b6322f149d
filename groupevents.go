package main

import "muster/registry"

// groupEvents announces changes of thing groups on $aws/events/thingGroup/<group>/created, updated or deleted.
type groupEvents struct {
	*registryEvents
	things *registry.Registry
}

// announce is a listener of registry.OnGroup. A group that was moved to another parent was updated.
func (e groupEvents) announce(c registry.GroupChange) {
	e.place(c)
	const eventType = "THING_GROUP"
	if !e.wanted(eventType) {
		return
	}
	operation := "UPDATED"
	if c.Op == registry.Created || c.Op == registry.Deleted {
		operation = operations[c.Op]
	}
	g := c.Group
	type ancestor struct {
		ARN string `json:"groupArn"`
		ID  string `json:"groupId"`
	}
	above := []ancestor{}
	var parent, parentID, description, mapping *string
	if g.Parent != "" {
		parent = &g.Parent
		for _, name := range append(e.things.GroupPath(g.Parent), g.Parent) {
			if group, err := e.things.Group(name); err == nil {
				above = append(above, ancestor{e.things.GroupARN(name), group.UUID})
				parentID = &group.UUID
			}
		}
	}
	if g.Description != "" {
		description = &g.Description
	}
	if g.Dynamic != nil {
		mapping = &g.UUID
	}
	attributes := g.Attributes
	if attributes == nil {
		attributes = map[string]string{}
	}
	e.registryEvents.announce("thingGroup/"+g.Name, operation, struct {
		eventHeader
		GroupID     string            `json:"thingGroupId"`
		GroupName   string            `json:"thingGroupName"`
		Version     int64             `json:"versionNumber"`
		Parent      *string           `json:"parentGroupName"`
		ParentID    *string           `json:"parentGroupId"`
		Description *string           `json:"description"`
		Above       []ancestor        `json:"rootToParentThingGroups"`
		Attributes  map[string]string `json:"attributes"`
		MappingID   *string           `json:"dynamicGroupMappingId"` // null for a static group
		Revision    int64             `json:"revision"`
	}{e.header(eventType, operation), g.UUID, g.Name, g.Version, parent, parentID, description, above, attributes, mapping, c.Revision})
}

// place announces that a group is below another one, or no longer, on
// $aws/events/thingGroupHierarchy/thingGroup/<parent>/childThingGroup/<group>/added or removed.
func (e groupEvents) place(c registry.GroupChange) {
	const eventType = "THING_GROUP_HIERARCHY"
	parent := c.Group.Parent
	if c.Op == registry.Deleted {
		parent = ""
	}
	if parent == c.OldParent || !e.wanted(eventType) {
		return
	}
	tell := func(parent, operation string) {
		if parent == "" {
			return
		}
		above, _ := e.things.Group(parent) // zero if it was deleted meanwhile
		e.registryEvents.announce("thingGroupHierarchy/thingGroup/"+parent+"/childThingGroup/"+c.Group.Name, operation, struct {
			eventHeader
			GroupID   string `json:"thingGroupId"`
			GroupName string `json:"thingGroupName"`
			ChildID   string `json:"childGroupId"`
			ChildName string `json:"childGroupName"`
			Revision  int64  `json:"revision"`
		}{e.header(eventType, operation), above.UUID, parent, c.Group.UUID, c.Group.Name, c.Revision})
	}
	tell(c.OldParent, "REMOVED")
	tell(parent, "ADDED")
}
