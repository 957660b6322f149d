package broker

import (
	"bytes"

	"muster/ingest/lane"
)

// Fanout implements lane.Handler.
func (l *link) Fanout(p *lane.Publish) (kept bool) {
	return l.b.route(l.b.newMessage(p, l.session.client))
}

// OnceKept implements lane.Handler.
func (l *link) OnceKept(f func()) { l.b.journal.after(f) }

// newMessage copies p, which belongs to a connection's buffer.
func (b *Broker) newMessage(p *lane.Publish, client string) *message {
	m := &message{topic: p.Topic, origin: client, payload: bytes.Clone(p.Payload), qos: p.QoS, retain: p.Retain}
	props, expirySec, _ := lane.ForwardProperties(nil, p.Properties)
	m.props = props
	if expirySec >= 0 {
		m.expiresAt = b.clock.Now().Unix() + expirySec
	}
	return m
}

// Publish implements lane.Handler.
func (l *link) Publish(p *lane.Publish) error {
	if !mayPublish(&l.grant, p.Topic, p.Retain) {
		l.b.env.Refuse("publish not allowed")
		// 3.1.1 has no way to say no, and an acknowledgement would be a lie: the connection ends, as with AWS IoT.
		if l.c.Version() < 5 {
			return errNotAuthorized
		}
		l.answer(p, codeNotAuthorized, "not authorized")
		return nil
	}
	if p.QoS == 2 {
		limit := maxReceived
		if l.c.Version() == 5 {
			limit = l.b.env.Limits.InFlight
		}
		again, err := l.session.receiving(p.ID, limit)
		if err != nil {
			return err
		}
		if again {
			if l.b.journal.syncTo(l.b.journal.changed()) != nil { // its first copy may be on the way to the disk; logged there
				return l.b.refuse(errSessionsLog)
			}
			l.answer(p, 0, "")
			return nil
		}
	}
	code, reason, err := l.accept(p)
	if err != nil {
		return err
	}
	l.answer(p, code, reason)
	return nil
}

// accept stores, retains and delivers p, and returns when all of that which must survive is on disk.
func (l *link) accept(p *lane.Publish) (code byte, reason string, err error) {
	if forgets := p.Retain && len(p.Payload) == 0; !forgets { // [MQTT-3.3.1-6]
		if code, reason, err = l.c.StoreTelemetry(p); err != nil {
			return 0, "", err
		}
	}
	var m *message
	if code == 0 {
		m = l.b.newMessage(p, l.session.client)
	}
	var wait, full bool
	if p.QoS == 2 {
		if m != nil { // before the message is taken over: after a crash between the two it comes again
			l.b.hand(m, l.grant.ThingName, m.origin)
		}
		l.b.journal.together(func() { wait, full = l.takeOver(m, p) })
	} else if wait, full = l.takeOver(m, p); m != nil && !full {
		l.b.hand(m, l.grant.ThingName, m.origin)
	}
	if full {
		return l.refusedRetained(p)
	}
	if p.QoS == 0 || !wait {
		return code, reason, nil
	}
	if l.b.journal.syncTo(l.b.journal.changed()) != nil { // logged there
		return 0, "", l.b.refuse(errSessionsLog)
	}
	return code, reason, nil
}

// takeOver retains and routes m, which is nil for a message that was refused, and notes the packet id of QoS 2. wait says that the answer has to
// wait for the journal, full that m is to be retained and there is no room.
func (l *link) takeOver(m *message, p *lane.Publish) (wait, full bool) {
	if m != nil && p.Retain {
		if !l.b.retain(m) {
			return false, true
		}
		wait = true
	}
	if m != nil {
		wait = l.b.route(m) || wait
	}
	// PUBREC with an error ends the exchange, so then there is nothing to note [MQTT-4.3.3-9]; 3.1.1 has no such PUBREC.
	if p.QoS == 2 && (m != nil || l.c.Version() < 5) {
		l.c.SetHeld(l.session.noteReceived(p.ID))
		wait = true
	}
	return wait, false
}

// refusedRetained decides on a message for which the retained quotas have no room: no false acknowledgement.
func (l *link) refusedRetained(p *lane.Publish) (code byte, reason string, err error) {
	if p.QoS > 0 && l.c.Version() < 5 {
		return 0, "", lane.Violation{Code: codeQuota, Reason: "too many retained messages"}
	}
	return codeQuota, "too many retained messages", nil
}

func (l *link) answer(p *lane.Publish, code byte, reason string) {
	switch p.QoS {
	case 1:
		l.c.Ack(p.ID, code, reason)
	case 2:
		_, _ = l.c.Write(lane.AppendAck(nil, pubrec, p.ID, code, reason, l.c.Version(), l.c.ProblemInfo())) // it only fails when the connection ends
	}
}

func (l *link) released(id uint16) {
	held := l.session.release(id, func(known bool) {
		code := byte(0)
		if !known {
			code = codeNotFound
		}
		_, _ = l.c.Write(lane.AppendAck(nil, pubcomp, id, code, "", l.c.Version(), true)) // it only fails when the connection ends
	})
	l.c.SetHeld(held)
}
