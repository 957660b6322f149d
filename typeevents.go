package main

import "muster/registry"

// thingType announces changes of a thing type on $aws/events/thingType/<type>/created, updated or deleted; a deprecation is an update.
// It is a listener of registry.OnType.
func (e *registryEvents) thingType(c registry.TypeChange) {
	const eventType = "THING_TYPE"
	if !e.wanted(eventType) {
		return
	}
	t := c.Type
	var description *string
	if t.Description != "" {
		description = &t.Description
	}
	var deprecatedMs *int64
	if t.Deprecated {
		deprecatedMs = &t.DeprecatedMs
	}
	searchable, propagating := t.SearchableAttributes, t.Propagating
	if searchable == nil {
		searchable = []string{}
	}
	if propagating == nil {
		propagating = []registry.PropagatingAttribute{}
	}
	e.announce("thingType/"+t.Name, operations[c.Op], struct {
		eventHeader
		TypeID       string                          `json:"thingTypeId"`
		TypeName     string                          `json:"thingTypeName"`
		Deprecated   bool                            `json:"isDeprecated"`
		DeprecatedMs *int64                          `json:"deprecationDate"`
		Searchable   []string                        `json:"searchableAttributes"`
		Propagating  []registry.PropagatingAttribute `json:"propagatingAttributes"`
		Description  *string                         `json:"description"`
		Revision     int64                           `json:"revision"`
	}{e.header(eventType, operations[c.Op]), t.UUID, t.Name, t.Deprecated, deprecatedMs, searchable, propagating, description, c.Revision})
}

// typeOfThing announces that a thing has a type, or no longer, on $aws/events/thingTypeAssociation/thing/<thing>/thingType/<type>/added
// or removed. It is a listener of registry.OnChange. The topic is that of AWS's page of registry events; its page of reserved topics
// still has an older one, without thingType and the operation.
func (e *registryEvents) typeOfThing(c registry.Change) {
	const eventType = "THING_TYPE_ASSOCIATION"
	now := c.Thing.TypeName
	if c.Op == registry.Deleted {
		now = ""
	}
	if now == c.OldType || !e.wanted(eventType) {
		return
	}
	tell := func(typeName, operation string) {
		if typeName == "" {
			return
		}
		e.announce("thingTypeAssociation/thing/"+c.Thing.Name+"/thingType/"+typeName, operation, struct {
			eventHeader
			ThingID   string `json:"thingId"`
			ThingName string `json:"thingName"`
			TypeName  string `json:"thingTypeName"`
			Revision  int64  `json:"revision"`
		}{e.header(eventType, operation), c.Thing.UUID, c.Thing.Name, typeName, c.Revision})
	}
	tell(c.OldType, "REMOVED")
	tell(now, "ADDED")
}
