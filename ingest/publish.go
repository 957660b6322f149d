package ingest

import (
	"fmt"
	"strings"

	"muster/agent/wire"
	"muster/ingest/broker"
	"muster/ingest/lane"
	"muster/tsdb"
)

// What is said to devices, and heard from them, inside the gateway.
type (
	// PublishOptions are QoS, retain flag, MQTT 5 properties and origin of a message of Publish.
	PublishOptions = broker.PublishOptions
	// Properties are MQTT 5 properties of a message.
	Properties = lane.Properties
	// Received is a message as a handler gets it.
	Received = broker.Received
	// Retained is a retained message.
	Retained = broker.Retained
	// PublishError is a refused Publish; its Kind is one of the errors below.
	PublishError = broker.PublishError
)

// Kinds of a PublishError, for errors.Is.
var (
	ErrInvalid = broker.ErrInvalid
	ErrFull    = broker.ErrFull
	ErrUnable  = broker.ErrUnable
)

// Things knows the things by name.
type Things interface {
	ThingByName(name string) (id tsdb.ThingID, ok bool)
}

// Publish delivers a message as if a client that may publish everything had sent it, also to topics under $aws/, which no client
// may publish to but in its own $aws/things/<thing>/. Retained messages, queues of clients that are away and handlers see it; with
// QoS 1 it returns when all that must survive is on disk. On a telemetry topic it is also stored as telemetry of the thing,
// which must be registered. The error is a *PublishError. Safe for concurrent use, at any time.
//
// What the gateway itself publishes (no opts.Origin) goes to no handler and is no telemetry.
func (s *Server) Publish(topic string, payload []byte, opts PublishOptions) error {
	forgets := opts.Retain && len(payload) == 0
	if name, ok := s.telemetryThing(topic); ok && opts.Origin != "" && !forgets {
		if err := s.storeFor(name, topic, payload, opts); err != nil {
			return err
		}
	}
	return s.broker.Publish(topic, payload, opts)
}

// telemetryThing returns the thing of a topic dt/<thing> or dt/<thing>/..., or of one by setting.
func (s *Server) telemetryThing(topic string) (name string, ok bool) {
	if rest, ok := strings.CutPrefix(topic, wire.TelemetryRoot+"/"); ok {
		name, _, _ = strings.Cut(rest, "/")
		return name, true
	}
	return s.env.Topics.Thing(topic)
}

// storeFor stores what was published on a telemetry topic of a thing.
func (s *Server) storeFor(name, topic string, payload []byte, opts PublishOptions) error {
	var id tsdb.ThingID
	known := false
	if s.things != nil {
		id, known = s.things.ThingByName(name)
	}
	if !known {
		return &PublishError{Kind: ErrInvalid, Message: fmt.Sprintf("topic %q is for the telemetry of thing %q, which is not registered", topic, name)}
	}
	p := &lane.Publish{Topic: topic, Payload: payload, QoS: 1, ContentType: []byte(opts.Properties.ContentType)}
	for _, pair := range opts.Properties.User {
		if strings.EqualFold(pair[0], "content-encoding") {
			p.Encoding = []byte(pair[1])
		}
	}
	switch reason, err := s.env.StoreFor(lane.Grant{Thing: id, ThingName: name}, p); {
	case err != nil:
		return &PublishError{Kind: ErrUnable, Message: err.Error()}
	case reason != "":
		return &PublishError{Kind: ErrInvalid, Message: fmt.Sprintf("topic %q is for telemetry, and the payload is none: %s", topic, reason)}
	}
	return nil
}

// Announce publishes an event of the gateway itself with QoS 1. It waits for nothing: sessions of clients that are away have it on disk
// within a second. topic must be valid. It may be called at any time, by listeners of the registry, too.
func (s *Server) Announce(topic string, payload []byte) { s.broker.Announce(topic, payload) }

// EventsWanted says whether somebody has subscribed to events under $aws/events/: without, none needs to be made.
func (s *Server) EventsWanted() bool { return s.broker.EventsWanted() }

// Handle calls handle for every message that a client, a will, or a Publish with an origin sends to a topic that matches filter,
// which must begin with $aws/. It is called before the message is acknowledged, in the goroutine of its sender: calls of one
// connection come one after the other in order, those of several at the same time. handle may call Publish. It should be
// done within seconds; a panic in it ends the sender's connection. For ever.
func (s *Server) Handle(filter string, handle func(Received)) error {
	return s.broker.Handle(filter, handle)
}

// Retained returns the retained message of a topic.
func (s *Server) Retained(topic string) (Retained, bool) { return s.broker.Retained(topic) }

// ListRetained returns up to limit retained messages by topic ascending, from the first after `after` ("": all).
func (s *Server) ListRetained(after string, limit int) []Retained {
	return s.broker.ListRetained(after, limit)
}

// Disconnect ends the connection of a client. endSession forgets its session, too, also of a client that is away; without
// preventWill its will is published. It returns false where there was nothing to end.
func (s *Server) Disconnect(clientID string, endSession, preventWill bool) bool {
	return s.broker.Disconnect(clientID, endSession, preventWill)
}
