package lane

import (
	"errors"
	"strings"
	"sync"
	"time"

	"muster/agent/wire"
	"muster/ingest/decode"
	"muster/tsdb"
)

// publish handles a PUBLISH: telemetry goes to the store here, everything else to the handler.
func (c *Conn) publish(first byte, body []byte) error {
	w := c.env.acquireWorkspace()
	err := c.publishIn(w, first, body)
	c.env.releaseWorkspace(w)
	return err
}

func (c *Conn) publishIn(w *workspace, first byte, body []byte) error {
	msg, topic, alias, v := parsePublish(first, c.version, body, &c.env.Limits)
	if v.bad() {
		return c.refuse(v)
	}
	w.msg = msg
	p := &w.msg
	name, v := c.resolve(topic, alias)
	if v.bad() {
		return c.refuse(v)
	}
	if name.deep && c.version < 5 {
		return c.refuse(errTooDeep) // no way to say no to the message alone
	}
	p.Topic = name.name
	telemetry := name.telemetry && !c.env.Bypass && p.QoS < 2 && !p.Retain && c.grant.Rights.Publish(p.Topic)
	if c.hurried && (!telemetry && !name.deep || c.env.behind.Load() > 0) {
		return errWait
	}
	if p.QoS == 1 {
		if err := c.waitRoom(); err != nil {
			if err == errReceiveMaximum {
				c.env.Refuse(errReceiveMaximum.Error())
			}
			return err
		}
	}
	if c.env.Quotas != nil {
		if refused, err := c.admit(p, len(body)); refused || err != nil {
			return err
		}
	}
	if name.deep {
		c.refuseDeep(p)
		return nil
	}
	if telemetry {
		return c.take(p, w.decoder)
	}
	c.env.MessagesBroker.Inc()
	return c.h.Publish(p)
}

// refuseDeep refuses a message of a v5 client for its topic, which is well-formed: the client is told, where QoS lets it be, and stays (v5
// sections 3.4.2.1 and 3.5.2.1).
func (c *Conn) refuseDeep(p *Publish) {
	c.env.Refuse(errTooDeep.Reason)
	switch p.QoS {
	case 1:
		c.Ack(p.ID, errTooDeep.Code, errTooDeep.Reason)
	case 2:
		_, _ = c.Write(AppendAck(nil, typePubrec<<4, p.ID, errTooDeep.Code, errTooDeep.Reason, c.version, c.problemInfo)) // it only fails when the connection ends
	}
}

// resolve returns the topic that topic or alias stands for and keeps an alias that is defined (v5 section 3.3.2.3.4).
func (c *Conn) resolve(topic []byte, alias uint16) (topicName, Violation) {
	if alias == 0 {
		return c.intern(topic), Violation{}
	}
	if c.aliases == nil {
		c.aliases = make([]topicName, c.env.Limits.TopicAliases+1)
	}
	known := &c.aliases[alias]
	if len(topic) == 0 {
		if known.name == "" && !known.deep {
			return topicName{}, protocolError("unknown topic alias")
		}
		return *known, Violation{}
	}
	if string(topic) != known.name {
		*known = c.intern(topic)
	}
	return *known, Violation{}
}

// intern returns topic as a string; the last few cost no allocation.
func (c *Conn) intern(topic []byte) topicName {
	for i := range c.names {
		if string(topic) == c.names[i].name {
			return c.names[i]
		}
	}
	if c.env.Limits.tooDeep(topic) {
		return topicName{deep: true}
	}
	name := string(topic)
	n := topicName{name: name, telemetry: ofThing(name, c.grant.ThingName) || c.env.Topics.Match(name, c.grant.ThingName)}
	if len(c.names) < maxNames {
		c.names = append(c.names, n)
		return n
	}
	c.names[c.nextName] = n
	c.nextName = (c.nextName + 1) % maxNames
	return n
}

const maxNames = 4

// ofThing says whether a topic is dt/<thing> or below.
func ofThing(topic, thing string) bool {
	rest, root := strings.CutPrefix(topic, wire.TelemetryRoot+"/")
	rest, own := strings.CutPrefix(rest, thing)
	return root && own && (rest == "" || rest[0] == '/')
}

var errReceiveMaximum error = Violation{Code: codeReceiveMaximum, Reason: "receive maximum exceeded"}

// waitRoom waits until one more QoS 1 message may be unacknowledged. A v5 client knows the receive maximum and is cut off when
// it goes over it [MQTT-3.3.4-9]; a 3.1.1 client is not read from meanwhile.
func (c *Conn) waitRoom() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version == 5 && c.owed.size+int(c.heldQoS2) >= c.env.Limits.InFlight {
		return errReceiveMaximum
	}
	for c.cause == nil && c.owed.size >= c.env.Limits.InFlight {
		if c.hurried {
			return errWait
		}
		if c.room == nil {
			c.room = sync.NewCond(&c.mu)
		}
		c.room.Wait()
	}
	return c.cause
}

// take stores a telemetry message and owes its PUBACK, which is ready at once where it does not wait for the disk: who commits rows from
// memory tells of them before each group, but not while it writes the one before.
func (c *Conn) take(p *Publish, d *decode.Decoder) error {
	c.env.MessagesLane.Inc()
	var waiter tsdb.Waiter
	if p.QoS > 0 && !c.env.ackMemory {
		waiter = c
	}
	first, last, code, reason, err := c.store(p, d, waiter)
	if err != nil {
		return err
	}
	kept := code == 0 && c.env.Fanout.Load() > 0 && c.h.Fanout(p)
	if p.QoS == 0 {
		return nil
	}
	a := ack{id: p.ID, code: code, reason: reason}
	if waiter != nil {
		a.first, a.seq = first, last
	}
	if kept {
		a.copies = c.expectCopies()
	}
	c.owe(a)
	return nil
}

// expectCopies lets an ack wait until the copies of its message are on disk.
func (c *Conn) expectCopies() uint64 {
	c.copies++
	n := c.copies
	c.h.OnceKept(func() {
		c.kept.Store(n)
		c.signal()
	})
	return n
}

// StoreTelemetry stores a message that reached the handler (retained, or QoS 2) if it is telemetry, and waits until it is on
// disk. code and reason are those of a refusal. Who reads calls it.
func (c *Conn) StoreTelemetry(p *Publish) (code byte, reason string, err error) {
	if handled, code, reason, err := c.sparkplug(p); handled {
		return code, reason, err
	}
	if !c.intern([]byte(p.Topic)).telemetry {
		return 0, "", nil
	}
	rows := &settled{wake: make(chan struct{}, 1)}
	w := c.env.acquireWorkspace()
	_, last, code, reason, err := c.store(p, w.decoder, rows)
	c.env.releaseWorkspace(w)
	if err != nil || code != 0 {
		return code, reason, err
	}
	if err := rows.wait(last); err != nil {
		_, _, code, reason, err = c.refusedRow(p, err)
		return code, reason, err
	}
	return 0, "", nil
}

// settled waits for the rows of one message.
type settled struct {
	wake chan struct{}

	mu   sync.Mutex // guards what follows
	upTo uint64
	err  error
}

// Durable implements tsdb.Waiter.
func (s *settled) Durable(upTo uint64, err error) {
	s.mu.Lock()
	s.upTo = upTo
	if err != nil {
		s.err = err
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// wait returns when the rows up to last are on disk, or that they will not be.
func (s *settled) wait(last uint64) error {
	giveUp := time.NewTimer(syncTimeout)
	defer giveUp.Stop()
	for {
		s.mu.Lock()
		upTo, err := s.upTo, s.err
		s.mu.Unlock()
		if err != nil || upTo >= last {
			return err
		}
		select {
		case <-s.wake:
		case <-giveUp.C:
			return errRows
		}
	}
}

// syncTimeout bounds how long one connection waits for the disk before it is given up.
const syncTimeout = 30 * time.Second

// store decodes a payload and appends its rows. first and last are their sequence numbers. A refused message has a reason code (v5 section
// 3.4.2.1) and is acknowledged with it; an error ends the connection.
func (c *Conn) store(p *Publish, d *decode.Decoder, waiter tsdb.Waiter) (first, last uint64, code byte, reason string, err error) {
	d.Thing, d.Schema = c.grant.ThingName, c.currentSchema()
	skipped := d.Skipped()
	d.Encoding = p.Encoding
	rows, err := d.Decode(p.ContentType, p.Payload, c.arrivalMs)
	d.Encoding = nil // it points into the connection's buffer
	if err != nil {
		return c.malformed(p, err)
	}
	if n := d.Skipped() - skipped; n > 0 {
		c.env.ValuesSkipped.Add(int(n))
	}
	if first, last, err = c.appendRows(c.grant.Thing, rows, waiter); err != nil {
		return c.refusedRow(p, err)
	}
	return first, last, 0, "", nil
}

// appendRows appends rows of a thing. first and last are their sequence numbers.
func (c *Conn) appendRows(thing tsdb.ThingID, rows []decode.Row, waiter tsdb.Waiter) (first, last uint64, err error) {
	if c.env.Quotas != nil {
		samples := 0
		for i := range rows {
			samples += len(rows[i].Values)
		}
		c.chargeQuota(ofSamples, samples)
	}
	for i := range rows {
		c.park.where.Store(inStore)
		last, err = c.env.Store.Append(thing, rows[i].TimeMs, rows[i].Values, waiter)
		if c.park.where.Swap(0) == inFullStore {
			c.env.behind.Add(-1)
		}
		if err != nil {
			return first, last, err
		}
		if i == 0 {
			first = last
		}
	}
	return first, last, nil
}

// currentSchema returns the schema of the thing, asking again when one may have changed.
func (c *Conn) currentSchema() *decode.Schema {
	if c.env.Schemas == nil {
		return nil
	}
	if epoch := c.env.Schemas.Epoch(); epoch != c.schemas {
		c.schema, c.schemas = c.env.Schemas.Schema(c.grant.Thing), epoch
	}
	return c.schema
}

// malformed counts and keeps a payload that is not telemetry. The connection stays: a v5 client is told, an older one must
// not send it again for ever.
func (c *Conn) malformed(p *Publish, cause error) (first, last uint64, code byte, reason string, err error) {
	reason = cause.Error()
	if m := (*decode.Malformed)(nil); errors.As(cause, &m) {
		reason = m.Error()
	}
	c.env.MalformedPayloads.Inc()
	c.env.keepSample(Sample{
		At:      c.env.Clock.Now(),
		Thing:   c.grant.ThingName,
		Topic:   p.Topic,
		Reason:  reason,
		Payload: append([]byte(nil), p.Payload[:min(len(p.Payload), maxSampleBytes)]...),
	})
	return 0, 0, codePayloadFormat, reason, nil
}

// refusedRow decides on a row that the store did not take. No false acknowledgement: where the version cannot say no, the
// connection ends and the client sends the message again later.
func (c *Conn) refusedRow(p *Publish, cause error) (first, last uint64, code byte, reason string, err error) {
	c.env.RowsRefused.Inc()
	switch {
	case errors.Is(cause, tsdb.ErrTime), errors.Is(cause, tsdb.ErrRow), errors.Is(cause, tsdb.ErrColumns):
		return c.malformed(p, cause)
	case !errors.Is(cause, tsdb.ErrDiskFull):
		return 0, 0, 0, "", errRows
	case p.QoS == 0 || c.version == 5:
		return 0, 0, errDiskFull.Code, errDiskFull.Reason, nil
	}
	return 0, 0, 0, "", c.refuse(errDiskFull)
}

const codePayloadFormat = 0x99
