package broker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/ingest/lane"
)

// PublishOptions are what a message of Publish has beside topic and payload.
type PublishOptions struct {
	QoS        byte // 0 or 1; QoS 2 is a conversation, which nobody has inside a process
	Retain     bool
	Properties lane.Properties
	// Origin says who publishes for whom handles the message: the name of a person or program. "" is the gateway itself, whose
	// messages go to subscribers only: what a handler answers must not come back to it.
	Origin string
}

// Received is a message as a handler gets it. It may keep Payload and Properties, but not change them.
type Received struct {
	Thing      string // whose connection sent it; "": it came by Publish
	Origin     string // its client id, or PublishOptions.Origin
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Properties lane.Properties
}

// Retained is a retained message.
type Retained struct {
	Topic      string
	Payload    []byte // do not change
	QoS        byte
	Properties lane.Properties
	AtMs       int64 // when it was published, Unix ms; 0: before this was kept
}

// Errors of Publish, for errors.Is. A *PublishError has the sentence for who asked.
var (
	ErrInvalid = errors.New("invalid message")
	ErrFull    = errors.New("no room for the message")
	ErrUnable  = errors.New("the broker takes no messages now")
)

// PublishError is a refused Publish.
type PublishError struct {
	Kind    error // one of the above
	Message string
}

func (e *PublishError) Error() string { return e.Message }
func (e *PublishError) Unwrap() error { return e.Kind }

// handlerEntry is a filter and who handles what matches it.
type handlerEntry struct {
	filter string
	handle func(Received)
}

// Publish delivers a message as if a client that may publish everything had sent it; topics that begin with $ are no exception. With QoS 1 it
// returns when all of it that must survive is on disk. The payload is copied. A *PublishError says why not.
func (b *Broker) Publish(topic string, payload []byte, opts PublishOptions) error {
	if opts.QoS > 1 {
		return &PublishError{ErrInvalid, fmt.Sprintf("qos is %d: it must be 0 or 1", opts.QoS)}
	}
	props, ok := lane.AppendProperties(nil, &opts.Properties)
	if !ok {
		return &PublishError{ErrInvalid, "a property is longer than 65,535 bytes"}
	}
	if err := b.env.Limits.CheckPublish(topic, props, len(payload)); err != nil {
		return &PublishError{ErrInvalid, "the message cannot be sent over MQTT: " + err.Error()}
	}
	if !b.enter() {
		return &PublishError{ErrUnable, "the gateway is shutting down: try again later"}
	}
	defer b.inside.Done()
	m := &message{topic: topic, payload: slices.Clone(payload), props: props, qos: opts.QoS, retain: opts.Retain}
	if sec := opts.Properties.ExpirySec; sec > 0 {
		m.expiresAt = b.clock.Now().Unix() + int64(sec)
	}
	if m.retain && !b.retain(m) {
		return &PublishError{ErrFull, "too many retained messages: delete some by publishing an empty retained message"}
	}
	wait := b.route(m) || m.retain
	if opts.Origin != "" {
		b.hand(m, "", opts.Origin)
	}
	if wait && m.qos > 0 && b.journal.syncTo(b.journal.changed()) != nil { // logged there
		return &PublishError{ErrUnable, errSessionsLog.Reason}
	}
	return nil
}

// Announce publishes an event of the gateway itself with QoS 1, on disk within a second. It waits for nothing and may be called
// under Broker.meeting; topic must be valid. After Close it does nothing.
func (b *Broker) Announce(topic string, payload []byte) {
	if !b.enter() {
		return
	}
	defer b.inside.Done()
	b.route(&message{topic: topic, payload: payload, qos: 1})
}

// enter begins a call that comes from no connection; false after Close.
func (b *Broker) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.inside.Add(1)
	return true
}

// leave waits for the calls that enter let in.
func (b *Broker) leave() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.inside.Wait()
}

// Handle calls handle for every message that a client, a will or a Publish with an origin sends to a topic that matches filter, which
// must begin with $aws/. That happens before the message is acknowledged, in the goroutine of its sender: calls of one
// connection come in order, those of several at the same time. handle may publish. A panic ends the sender's connection.
func (b *Broker) Handle(filter string, handle func(Received)) error {
	if !strings.HasPrefix(filter, "$aws/") {
		return fmt.Errorf("handler for %q: only topics under $aws/ have handlers", filter)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []handlerEntry
	if old := b.handlers.Load(); old != nil {
		list = slices.Clone(*old)
	}
	list = append(list, handlerEntry{filter, handle})
	b.handlers.Store(&list)
	return nil
}

// hand gives m to its handlers.
func (b *Broker) hand(m *message, thing, origin string) {
	list := b.handlers.Load()
	if list == nil || m.topic[0] != '$' {
		return
	}
	for i := range *list {
		h := &(*list)[i]
		if !covers(h.filter, m.topic) {
			continue
		}
		props := lane.ParseProperties(m.props)
		if m.expiresAt > 0 {
			props.ExpirySec = uint32(max(1, m.expiresAt-b.clock.Now().Unix()))
		}
		h.handle(Received{Thing: thing, Origin: origin, Topic: m.topic, Payload: m.payload, QoS: m.qos, Retain: m.retain, Properties: props})
	}
}

// covers says whether a topic filter matches a topic (v5 section 4.7), both valid.
func covers(filter, topic string) bool {
	for {
		f, filterRest, moreFilter := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, topicRest, moreTopic := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		switch {
		case !moreTopic:
			return !moreFilter || filterRest == "#"
		case !moreFilter:
			return false
		}
		filter, topic = filterRest, topicRest
	}
}

// Retained returns the retained message of a topic.
func (b *Broker) Retained(topic string) (Retained, bool) {
	m := b.retained.get(topic)
	if m == nil || m.expired(b.clock.Now()) {
		return Retained{}, false
	}
	return m.published(b.clock.Now()), true
}

// ListRetained returns up to limit retained messages by topic ascending, from the first after `after`.
func (b *Broker) ListRetained(after string, limit int) []Retained {
	now := b.clock.Now()
	var list []Retained
	for _, m := range b.retained.from(after) {
		if len(list) == limit {
			break
		}
		if !m.expired(now) {
			list = append(list, m.published(now))
		}
	}
	return list
}

// published is m as its reader sees it.
func (m *message) published(now time.Time) Retained {
	props := lane.ParseProperties(m.props)
	if m.expiresAt > 0 {
		props.ExpirySec = uint32(max(1, m.expiresAt-now.Unix()))
	}
	return Retained{Topic: m.topic, Payload: m.payload, QoS: m.qos, Properties: props, AtMs: m.atMs}
}

// errByAPI ends a connection that Disconnect was called for.
var errByAPI = lane.Violation{Code: codeAdministrative, Reason: "disconnected by an operator"}

// Disconnect ends the connection of a client. endSession forgets its session, too, also of a client that is away; without
// preventWill its will is published. It returns false where there was nothing to end.
func (b *Broker) Disconnect(client string, endSession, preventWill bool) bool {
	s := b.session(client)
	if s == nil {
		return false
	}
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	if l == nil && !endSession {
		return false
	}
	if endSession {
		s.setExpiry(0) // it ends with its connection, or, if it has none, at once
	}
	if l != nil {
		if preventWill {
			l.discardWill()
		}
		l.c.End(errByAPI)
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == nil && !s.ended {
		delete(b.sessions, client)
		s.forget()
	}
	return true
}
