package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

	"muster/admin"
	"muster/ingest"
	"muster/registry"
	"muster/tsdb/vfs"
)

// registryEvents announces changes of the registry over MQTT, under $aws/events/, with AWS IoT's topics and fields. AWS's may be lost,
// late or twice; these come once each, in the order of the changes, before the call that made the change returns.
type registryEvents struct {
	on        *admin.Events
	devices   *ingest.Server
	clock     vfs.Clock
	accountID string
}

// wanted says whether an event of a type is to be made: it is switched on and somebody may listen.
func (e *registryEvents) wanted(eventType string) bool {
	return e.devices.EventsWanted() && e.on.On(eventType)
}

// header is what all registry events have.
type eventHeader struct {
	EventType   string `json:"eventType"`
	EventID     string `json:"eventId"`
	TimestampMs int64  `json:"timestamp"`
	Operation   string `json:"operation"`
	AccountID   string `json:"accountId"`
}

func (e *registryEvents) header(eventType, operation string) eventHeader {
	return eventHeader{eventType + "_EVENT", newUUID(), e.clock.Now().UnixMilli(), operation, e.accountID}
}

// announce publishes an event; operation is the last level of its topic, in upper case.
func (e *registryEvents) announce(topic, operation string, event any) {
	e.publish(topic+"/"+strings.ToLower(operation), event)
}

// publish publishes an event on a topic below $aws/events/.
func (e *registryEvents) publish(topic string, event any) {
	text, err := json.Marshal(event)
	if err != nil {
		panic("BUG: " + err.Error()) // texts and numbers
	}
	e.devices.Announce("$aws/events/"+topic, text)
}

// operations are AWS's names of what happened.
var operations = map[registry.Op]string{registry.Created: "CREATED", registry.Updated: "UPDATED", registry.Deleted: "DELETED"}

// thing announces a change of a thing. It is a listener of registry.OnChange.
func (e *registryEvents) thing(c registry.Change) {
	if !e.wanted("THING") {
		return
	}
	var typeName *string
	if c.Thing.TypeName != "" {
		typeName = &c.Thing.TypeName
	}
	attributes := c.Thing.Attributes
	if attributes == nil {
		attributes = map[string]string{}
	}
	e.announce("thing/"+c.Thing.Name, operations[c.Op], struct {
		eventHeader
		ThingID    string            `json:"thingId"`
		ThingName  string            `json:"thingName"`
		Version    int64             `json:"versionNumber"`
		TypeName   *string           `json:"thingTypeName"`
		Attributes map[string]string `json:"attributes"`
	}{e.header("THING", operations[c.Op]), c.Thing.UUID, c.Thing.Name, c.Thing.Version, typeName, attributes})
}

// newUUID returns a random UUID (RFC 9562 version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
