package broker

import (
	"slices"

	"muster/ingest/lane"
)

// pump sends what the client's receive maximum and its socket have room for. The mutex is held.
func (s *session) pump() {
	if s.link == nil || !s.link.ready {
		return
	}
	s.resend()
	s.sendPending()
	for s.nextRetained() {
		s.sendPending()
	}
}

// resend repeats, after a reconnect, what was not acknowledged [MQTT-4.4.0-1]. Releases do not wait for the receive maximum
// [MQTT-3.3.4-10], which may be smaller than that of the connection before.
func (s *session) resend() {
	used := len(s.flight) - s.unsent
	for i := 0; s.unsent > 0 && i < len(s.flight) && s.link.c.HasRoom(); i++ {
		d := s.flight[i]
		switch {
		case d.sent || d.waits || !d.released && used >= s.link.window:
			continue
		case d.released:
			s.answer(pubrel, d.id, 0)
		case !s.send(d, true):
			s.done(i)
			i--
			continue
		}
		s.noteSent(d)
		used++
	}
}

// onceKept keeps the state of d, which is in flight, and calls send. Of a QoS 2 message the state must be on disk before: then send is called later,
// if the connection is still the same. false: send said so. The mutex is held, and held for send.
func (s *session) onceKept(d *delivery, send func() bool) bool {
	if s.kept() {
		s.b.journal.put(stateKey(s.client, d.seq), encodeState(d))
	}
	if !s.kept() || d.qos < 2 && s.delayed == 0 {
		return send()
	}
	d.waits = true
	s.delayed++
	l := s.link
	s.b.journal.after(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		d.waits = false
		s.delayed--
		if i := s.inFlight(d.id); s.link == l && i >= 0 && s.flight[i] == d && !send() {
			s.done(i)
		}
		s.pump()
	})
	return true
}

func (s *session) noteSent(d *delivery) {
	if !d.sent {
		d.sent = true
		s.unsent--
	}
}

func (s *session) sendPending() {
	for s.unsent == 0 && len(s.flight) < s.link.window && len(s.pending) > 0 && s.link.c.HasRoom() {
		d := s.pending[0]
		s.pending[0] = nil
		if s.pending = s.pending[1:]; len(s.pending) == 0 {
			s.pending = nil
		}
		s.flight = append(s.flight, d)
		d.sent = true
		d.id = s.nextID()
		// The rights may have changed while it waited, or were not known after a start.
		if d.m.expired(s.b.clock.Now()) || !s.rights.Receive(d.m.topic) || !s.onceKept(d, func() bool { return s.send(d, false) }) {
			s.done(len(s.flight) - 1)
		}
	}
}

// retained is a retained message that a new subscription is to get.
type retained struct {
	m   *message
	sub subscription
}

// deliverRetained sends the retained messages of a new subscription, as fast as the client reads (v5 section 3.3.1.3). What the client
// leaves unread costs no copy, so the limits of the queue do not count; a message that is replaced meanwhile is left out.
func (s *session) deliverRetained(list []*message, sub subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.backlog = slices.DeleteFunc(s.backlog, func(r retained) bool { return r.sub.filter == sub.filter })
	for _, m := range list {
		if len(s.backlog) >= s.b.limits.Retained {
			s.b.droppedQueue.Inc()
			continue
		}
		s.backlog = append(s.backlog, retained{m, sub})
	}
	s.pump()
}

// nextRetained moves one message of the backlog on; false: there is none, or no room. The mutex is held.
func (s *session) nextRetained() bool {
	if len(s.backlog) == 0 || len(s.pending) > 0 || s.unsent > 0 || !s.link.c.HasRoom() {
		return false
	}
	m, sub := s.backlog[0].m, s.backlog[0].sub
	qos := min(m.qos, sub.qos)
	if qos > 0 && len(s.flight) >= s.link.window {
		return false
	}
	s.backlog[0] = retained{}
	if s.backlog = s.backlog[1:]; len(s.backlog) == 0 {
		s.backlog = nil
	}
	if _, ok := s.subs[sub.filter]; !ok || !s.rights.Receive(m.topic) || m.expired(s.b.clock.Now()) || s.b.retained.get(m.topic) != m {
		return true
	}
	d := &delivery{m: m, qos: qos, retain: true}
	if sub.id > 0 {
		d.subIDs = []int{sub.id}
	}
	if qos == 0 {
		s.send(d, false)
	} else {
		s.queue(d)
	}
	return true
}

// sendQoS0 sends at once or not at all: a client that is away or slow misses it.
func (s *session) sendQoS0(d *delivery) {
	if s.link == nil || !s.link.ready {
		return
	}
	if !s.link.c.HasRoom() || !s.send(d, false) {
		s.b.droppedSlow.Inc()
	}
}

// send writes d to the connection; false: it is too large for the client and is dropped [MQTT-3.1.2-25].
func (s *session) send(d *delivery, dup bool) bool {
	f := s.b.frames.Get().(*frames)
	defer s.b.frames.Put(f)
	b := f.publish(d, s.link.c.Version(), dup, s.b.clock.Now())
	if s.link.maxPacket > 0 && uint32(len(b)) > s.link.maxPacket {
		s.b.droppedLarge.Inc()
		return false
	}
	s.b.published.Inc()
	_, _ = s.link.c.Write(b) // it only fails when the connection ends; then the message stays queued
	return true
}

func (s *session) answer(first byte, id uint16, code byte) {
	c := s.link.c
	_, _ = c.Write(lane.AppendAck(nil, first, id, code, "", c.Version(), true)) // it only fails when the connection ends
}

// nextID returns a packet id that is not in flight. The window is far smaller than the ids are many.
func (s *session) nextID() uint16 {
	for {
		s.lastID++
		if s.lastID != 0 && s.inFlight(s.lastID) < 0 {
			return s.lastID
		}
	}
}

func (s *session) inFlight(id uint16) int {
	return slices.IndexFunc(s.flight, func(d *delivery) bool { return d.id == id })
}

// done forgets the i-th message in flight.
func (s *session) done(i int) {
	d := s.flight[i]
	s.flight = slices.Delete(s.flight, i, i+1)
	if !d.sent {
		s.unsent--
	}
	s.queueBytes -= d.m.size()
	if s.kept() {
		s.b.journal.delete(queueKey(s.client, d.seq), stateKey(s.client, d.seq))
	}
}

// acknowledged handles a PUBACK, PUBREC or PUBCOMP of the client (v5 section 4.3). One that the message with its id cannot have is out of
// order (v5 section 4.13).
func (s *session) acknowledged(l *link, kind byte, id uint16, code byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return nil
	}
	i := s.inFlight(id)
	switch {
	case kind == pubrec>>4 && i < 0:
		s.answer(pubrel, id, 0x92)
	case i < 0: // an answer to nothing: of a message that has expired, or sent twice
	case kind == puback>>4 && s.flight[i].qos == 1, kind == pubcomp>>4 && s.flight[i].released, kind == pubrec>>4 && s.flight[i].qos == 2 && code >= 0x80:
		s.done(i)
	case kind == pubrec>>4 && s.flight[i].qos == 2:
		d := s.flight[i]
		d.released = true
		s.noteSent(d)
		s.onceKept(d, func() bool { s.answer(pubrel, id, 0); return true })
	default:
		return s.b.refuse(errAnswer)
	}
	s.pump()
	return nil
}
