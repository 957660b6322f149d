package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestRegistryEvents(t *testing.T) {
	g := startGatewayWith(t, allowAll)
	f := func(method, path, text string, status int, part string) {
		t.Helper()
		if code, body := g.call(method, "/iot"+path, text); code != status || !strings.Contains(body, part) {
			t.Fatalf("%s %s: %d %s\nwant %d %s", method, path, code, body, status, part)
		}
	}
	sub := g.mosquittoSub("app", "$aws/events/thing/#", "%t %p")
	f("GET", "/event-configurations", "", 200, `"THING":{"Enabled":false}`)
	f("POST", "/things/quiet", "", 200, "quiet")
	f("PATCH", "/event-configurations", `{"eventConfigurations":{"THINGS":{"Enabled":true}}}`, 400, "THING_GROUP_MEMBERSHIP")
	f("PATCH", "/event-configurations", `{"eventConfigurations":{"THING":{"Enabled":true}}}`, 200, "{}")
	f("GET", "/event-configurations", "", 200, `"THING":{"Enabled":true},"THING_GROUP":{"Enabled":false}`)

	f("POST", "/thing-types/lamp", "", 200, "lamp")
	f("POST", "/things/lamp-1", `{"attributePayload":{"attributes":{"city":"ulm"}}}`, 200, "lamp-1")
	f("PATCH", "/things/lamp-1", `{"thingTypeName":"lamp"}`, 200, "{}")
	f("DELETE", "/things/lamp-1", "", 200, "{}")
	var id string
	for i, operation := range []string{"CREATED", "UPDATED", "DELETED"} {
		topic, text, _ := strings.Cut(sub.line(), " ")
		var e struct {
			EventType, EventID, Operation, AccountID, ThingID, ThingName string
			ThingTypeName                                                *string
			VersionNumber                                                int
			Timestamp                                                    int64
			Attributes                                                   map[string]string
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if topic != "$aws/events/thing/lamp-1/"+strings.ToLower(operation) || e.EventType != "THING_EVENT" || e.Operation != operation || e.AccountID != "123456789012" ||
			e.ThingName != "lamp-1" || e.Attributes["city"] != "ulm" || len(e.EventID) != 36 || e.VersionNumber != min(i+1, 2) || e.Timestamp < 1_700_000_000_000 {
			t.Fatalf("%s %s", topic, text)
		}
		if id == "" {
			id = e.ThingID
		}
		if e.ThingID != id || len(id) != 36 || (e.ThingTypeName != nil) != (i > 0) {
			t.Fatalf("%s %s", topic, text)
		}
	}
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	again := startGateway(t, g.dir)
	if code, body := again.call("GET", "/iot/event-configurations", ""); code != 200 || !strings.Contains(body, `"THING":{"Enabled":true}`) {
		t.Fatalf("after a restart: %d %s", code, body)
	}
}

func TestGroupEvents(t *testing.T) {
	g := startGatewayWith(t, allowAll)
	f := func(method, path, text string, part string) {
		t.Helper()
		if code, body := g.call(method, "/iot"+path, text); code != 200 || !strings.Contains(body, part) {
			t.Fatalf("%s %s: %d %s\nwant %s", method, path, code, body, part)
		}
	}
	sub := g.mosquittoSub("app", "$aws/events/thingGroup/#", "%t %p")
	f("PATCH", "/event-configurations", `{"eventConfigurations":{"THING_GROUP":{"Enabled":true}}}`, "{}")
	f("POST", "/thing-groups/site", "", "site")
	f("POST", "/thing-groups/hall", `{"parentGroupName":"site","thingGroupProperties":{"attributePayload":{"attributes":{"floor":"2"}}}}`, "hall")
	f("PATCH", "/thing-groups/hall", `{"thingGroupProperties":{"thingGroupDescription":"the hall"}}`, "version")
	f("DELETE", "/thing-groups/hall", "", "{}")
	want := func(topic string, parts ...string) {
		t.Helper()
		line := sub.line()
		if !strings.HasPrefix(line, "$aws/events/thingGroup/"+topic+" ") {
			t.Fatalf("got  %s\nwant %s", line, topic)
		}
		for _, part := range parts {
			if !strings.Contains(line, part) {
				t.Fatalf("got  %s\nwant %s", line, part)
			}
		}
	}
	want("site/created", `"operation":"CREATED"`, `"parentGroupName":null`, `"rootToParentThingGroups":[]`, `"versionNumber":1`)
	want("hall/created", `"parentGroupName":"site"`, `"groupArn":"arn:aws:iot:local:123456789012:thinggroup/site"`, `"attributes":{"floor":"2"}`)
	want("hall/updated", `"operation":"UPDATED"`, `"description":"the hall"`, `"versionNumber":2`)
	want("hall/deleted", `"operation":"DELETED"`, `"eventType":"THING_GROUP_EVENT"`)
}

// TestPlaceEvents: events of thing types, of the type that a thing has, and of the place of a group.
func TestPlaceEvents(t *testing.T) {
	g := startGatewayWith(t, allowAll)
	sub := g.mosquittoSub("app", "$aws/events/+/#", "%t %p")
	want := func(topic string, parts ...string) {
		t.Helper()
		line := sub.line()
		for strings.HasPrefix(line, "$aws/events/presence/") || strings.HasPrefix(line, "$aws/events/subscriptions/") {
			line = sub.line()
		}
		if !strings.HasPrefix(line, "$aws/events/"+topic+" ") {
			t.Fatalf("got  %s\nwant %s", line, topic)
		}
		for _, part := range parts {
			if !strings.Contains(line, part) {
				t.Fatalf("got  %s\nwant %s", line, part)
			}
		}
	}
	f := func(method, path, text string) {
		t.Helper()
		if code, body := g.call(method, "/iot"+path, text); code != 200 {
			t.Fatalf("%s %s: %d %s", method, path, code, body)
		}
	}
	f("PATCH", "/event-configurations", `{"eventConfigurations":{"THING_TYPE":{"Enabled":true},"THING_TYPE_ASSOCIATION":{"Enabled":true},"THING_GROUP_HIERARCHY":{"Enabled":true}}}`)
	f("POST", "/thing-types/lamp", `{"thingTypeProperties":{"thingTypeDescription":"of streets","searchableAttributes":["city"]}}`)
	want("thingType/lamp/created", `"eventType":"THING_TYPE_EVENT"`, `"thingTypeName":"lamp"`, `"isDeprecated":false`, `"deprecationDate":null`,
		`"searchableAttributes":["city"]`, `"description":"of streets"`)
	f("POST", "/thing-types/pole", "")
	want("thingType/pole/created", `"description":null`, `"searchableAttributes":[]`)
	f("POST", "/things/a", `{"thingTypeName":"lamp"}`)
	want("thingTypeAssociation/thing/a/thingType/lamp/added", `"eventType":"THING_TYPE_ASSOCIATION_EVENT"`, `"operation":"ADDED"`, `"thingName":"a"`, `"thingTypeName":"lamp"`)
	f("PATCH", "/things/a", `{"attributePayload":{"attributes":{"k":"v"}}}`) // no event
	f("PATCH", "/things/a", `{"thingTypeName":"pole"}`)
	want("thingTypeAssociation/thing/a/thingType/lamp/removed", `"operation":"REMOVED"`)
	want("thingTypeAssociation/thing/a/thingType/pole/added", `"operation":"ADDED"`)
	f("DELETE", "/things/a", "")
	want("thingTypeAssociation/thing/a/thingType/pole/removed", `"operation":"REMOVED"`)
	f("POST", "/thing-types/pole/deprecate", "{}")
	want("thingType/pole/updated", `"isDeprecated":true`, `"operation":"UPDATED"`)

	f("POST", "/thing-groups/site", "")
	f("POST", "/thing-groups/hall", `{"parentGroupName":"site"}`)
	want("thingGroupHierarchy/thingGroup/site/childThingGroup/hall/added", `"eventType":"THING_GROUP_HIERARCHY_EVENT"`, `"operation":"ADDED"`,
		`"thingGroupName":"site"`, `"childGroupName":"hall"`)
	f("DELETE", "/thing-groups/hall", "")
	want("thingGroupHierarchy/thingGroup/site/childThingGroup/hall/removed", `"operation":"REMOVED"`)
}
