package lane

import (
	"context"
	"errors"
	"strings"
	"time"

	"muster/ingest/decode"
	"muster/tsdb"
)

// publish handles a PUBLISH: telemetry goes to the store here, everything else to the handler.
func (c *Conn) publish(first byte, body []byte) error {
	p, topic, alias, v := parsePublish(first, c.version, body, &c.env.Limits)
	if v.bad() {
		return c.refuse(v)
	}
	name, v := c.resolve(topic, alias)
	if v.bad() {
		return c.refuse(v)
	}
	p.Topic = name.name
	if p.QoS == 1 {
		if err := c.waitRoom(); err != nil {
			if err == errReceiveMaximum {
				c.env.Refuse(errReceiveMaximum.Error())
			}
			return err
		}
	}
	if name.telemetry && p.QoS < 2 && !p.Retain && c.grant.Rights.Publish(p.Topic) {
		return c.take(&p)
	}
	c.env.MessagesBroker.Inc()
	return c.h.Publish(&p)
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
		if known.name == "" {
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
	name := string(topic)
	rest, ok := strings.CutPrefix(name, c.prefix)
	n := topicName{name: name, telemetry: ok && (rest == "" || rest[0] == '/')}
	c.names[c.nextName] = n
	c.nextName = (c.nextName + 1) % len(c.names)
	return n
}

var errReceiveMaximum error = Violation{Code: codeReceiveMaximum, Reason: "receive maximum exceeded"}

// waitRoom waits until one more QoS 1 message may be unacknowledged. A v5 client knows the receive maximum and is cut off when
// it goes over it [MQTT-3.3.4-9]; a 3.1.1 client is not read from meanwhile.
func (c *Conn) waitRoom() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version == 5 && c.owed.size+c.heldQoS2 >= c.env.Limits.InFlight {
		return errReceiveMaximum
	}
	for c.cause == nil && c.owed.size >= c.env.Limits.InFlight {
		c.room.Wait()
	}
	return c.cause
}

// take stores a telemetry message and owes its PUBACK.
func (c *Conn) take(p *Publish) error {
	c.env.MessagesLane.Inc()
	var waiter tsdb.Waiter
	if p.QoS > 0 {
		waiter = c
	}
	seq, code, reason, err := c.store(p, waiter)
	if err != nil {
		return err
	}
	if code == 0 && c.env.Fanout.Load() > 0 {
		c.h.Fanout(p)
	}
	if p.QoS > 0 {
		c.owe(ack{seq: seq, id: p.ID, code: code, reason: reason})
	}
	return nil
}

// StoreTelemetry stores a message that reached the handler (retained, or QoS 2) if it is telemetry, and waits until it is on
// disk. code and reason are those of a refusal. Reading goroutine only.
func (c *Conn) StoreTelemetry(p *Publish) (code byte, reason string, err error) {
	if !c.intern([]byte(p.Topic)).telemetry {
		return 0, "", nil
	}
	_, code, reason, err = c.store(p, nil)
	if err != nil || code != 0 {
		return code, reason, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), syncTimeout)
	defer cancel()
	if err := c.env.Store.Sync(ctx); err != nil {
		return 0, "", errRows
	}
	return 0, "", nil
}

// syncTimeout bounds how long one connection waits for the disk before it is given up.
const syncTimeout = 30 * time.Second

// store decodes a payload and appends its rows. seq is that of the last row. A refused message has a reason code (v5 section
// 3.4.2.1) and is acknowledged with it; an error ends the connection.
func (c *Conn) store(p *Publish, waiter tsdb.Waiter) (seq uint64, code byte, reason string, err error) {
	d := c.env.acquireDecoder()
	defer c.env.releaseDecoder(d)
	rows, err := d.JSON(p.Payload, c.arrivalMs)
	if err != nil {
		return c.malformed(p, err)
	}
	for i := range rows {
		seq, err = c.env.Store.Append(c.grant.Thing, rows[i].TimeMs, rows[i].Values, waiter)
		if err != nil {
			return c.refusedRow(p, err)
		}
	}
	return seq, 0, "", nil
}

// malformed counts and keeps a payload that is not telemetry. The connection stays: a v5 client is told, an older one must
// not send it again for ever.
func (c *Conn) malformed(p *Publish, cause error) (seq uint64, code byte, reason string, err error) {
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
	return 0, codePayloadFormat, reason, nil
}

// refusedRow decides on a row that the store did not take. No false acknowledgement: where the version cannot say no, the
// connection ends and the client sends the message again later.
func (c *Conn) refusedRow(p *Publish, cause error) (seq uint64, code byte, reason string, err error) {
	c.env.RowsRefused.Inc()
	switch {
	case errors.Is(cause, tsdb.ErrTime), errors.Is(cause, tsdb.ErrRow), errors.Is(cause, tsdb.ErrColumns):
		return c.malformed(p, cause)
	case !errors.Is(cause, tsdb.ErrDiskFull):
		return 0, 0, "", errRows
	case p.QoS == 0 || c.version == 5:
		return 0, codeQuotaExceeded, "disk full", nil
	}
	return 0, 0, "", c.refuse(Violation{Code: codeQuotaExceeded, Reason: "disk full"})
}

const codePayloadFormat = 0x99
