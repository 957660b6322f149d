package main

import "muster/registry"

// membershipEvents announces who enters and leaves which group, static or dynamic, on
// $aws/events/thingGroupMembership/thingGroup/<group>/thing/<thing>/added or removed.
type membershipEvents struct {
	*registryEvents
	things *registry.Registry
}

// announce is a listener of registry.OnMembership. Beside AWS's fields there are the names, why it happened, and the registry's revision
// from which on queries see it.
func (e membershipEvents) announce(c registry.MembershipChange) {
	const eventType = "THING_GROUP_MEMBERSHIP"
	if !e.wanted(eventType) {
		return
	}
	operation := "REMOVED"
	if c.Entered {
		operation = "ADDED"
	}
	// Of what was deleted there is no id any more.
	thing, _ := e.things.ThingByID(c.Thing)
	group, _ := e.things.GroupByID(c.Group)
	e.registryEvents.announce("thingGroupMembership/thingGroup/"+c.GroupName+"/thing/"+c.ThingName, operation, struct {
		eventHeader
		GroupARN     string `json:"groupArn"`
		GroupID      string `json:"groupId"`
		ThingARN     string `json:"thingArn"`
		ThingID      string `json:"thingId"`
		MembershipID string `json:"membershipId"`
		GroupName    string `json:"groupName"`
		ThingName    string `json:"thingName"`
		Cause        string `json:"cause"`
		Revision     int64  `json:"revision"`
	}{
		e.header(eventType, operation), e.things.GroupARN(c.GroupName), group.UUID, e.things.ThingARN(c.ThingName), thing.UUID,
		thing.UUID + "~" + group.UUID, c.GroupName, c.ThingName, c.Cause, c.Revision,
	})
}
