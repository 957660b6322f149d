package broker

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"muster/ingest/lane"
	"muster/tsdb"
)

// session is what a client id has beyond one connection: subscriptions, messages on their way to it, and the QoS 2
// messages that it has not released. Where its expiry is not 0 all of it is in the journal.
type session struct {
	b      *Broker
	client string

	mu         sync.Mutex // guards what follows; taken after Broker.mu, before everything of the lane and the journal
	thing      tsdb.ThingID
	thingName  string
	rights     lane.Rights // nil: not known since the start
	link       *link       // nil: not connected
	expirySec  uint32
	offSince   int64 // Unix seconds; 0: connected
	ended      bool  // no longer in Broker.sessions
	subs       map[string]subscription
	received   map[uint16]bool // QoS 2 packet ids between PUBLISH and PUBREL; true: on this connection
	fresh      int             // how many of received are true
	pending    []*delivery     // not sent yet, in order
	flight     []*delivery     // sent and not acknowledged, in order
	unsent     int             // how many of flight were not sent on this connection
	delayed    int             // calls of onceKept that wait; what comes after waits as well, to keep the order
	backlog    []retained      // to be sent when nothing else waits
	queueBytes int
	lastSeq    uint64
	lastID     uint16
}

// delivery is one QoS 1 or 2 message on its way to a session.
type delivery struct {
	m        *message
	seq      uint64 // order within the session; its name in the journal
	id       uint16 // packet id; 0: not sent yet
	qos      byte
	retain   bool
	released bool // QoS 2: PUBREC came, PUBREL was sent
	sent     bool // on this connection
	waits    bool // what is next leaves once the journal has it: see onceKept
	subIDs   []int
}

func newSession(b *Broker, client string) *session {
	return &session{b: b, client: client, subs: make(map[string]subscription)}
}

// kept says whether the session outlives its connection. The mutex is held.
func (s *session) kept() bool { return s.expirySec > 0 }

func (s *session) isKept() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept()
}

// retained is a retained message that a new subscription is to get.
type retained struct {
	m   *message
	sub subscription
}

// deliver sends m to the session or queues it. It reports whether the journal has something new that the acknowledgement
// of m should wait for.
func (s *session) deliver(m *message, t *target) (journaled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.rights != nil && !s.rights.Receive(m.topic) || m.expired(s.b.clock.Now()) {
		return false
	}
	qos, retain := min(m.qos, t.qos), m.retain && t.retainAsPublished
	if qos == 0 {
		s.sendQoS0(&delivery{m: m, retain: retain, subIDs: t.ids})
		return false
	}
	if s.link == nil && !s.kept() {
		return false
	}
	if len(s.pending)+len(s.flight) >= s.b.limits.QueueMessages || s.queueBytes+m.size() > s.b.limits.QueueBytes {
		s.b.droppedQueue.Inc()
		return false
	}
	s.queue(&delivery{m: m, qos: qos, retain: retain, subIDs: t.ids})
	s.pump()
	return s.kept()
}

// queue puts d behind what waits. The mutex is held.
func (s *session) queue(d *delivery) {
	s.lastSeq++
	d.seq = s.lastSeq
	s.queueBytes += d.m.size()
	s.pending = append(s.pending, d)
	if s.kept() {
		s.b.journal.put(queueKey(s.client, d.seq), encodeDelivery(d))
	}
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
		s.b.journal.delete(queueKey(s.client, d.seq))
		s.b.journal.delete(stateKey(s.client, d.seq))
	}
}

// acknowledged handles a PUBACK, PUBREC or PUBCOMP of the client (v5 section 4.3).
func (s *session) acknowledged(l *link, kind byte, id uint16, code byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return
	}
	i := s.inFlight(id)
	switch {
	case kind == pubrec>>4 && i < 0:
		s.answer(pubrel, id, 0x92)
	case i < 0: // an answer to nothing: of a message that has expired, or sent twice
	case kind == puback>>4 && s.flight[i].qos == 1, kind == pubcomp>>4 && s.flight[i].released, kind == pubrec>>4 && code >= 0x80:
		s.done(i)
	case kind == pubrec>>4 && s.flight[i].qos == 2:
		d := s.flight[i]
		d.released = true
		s.noteSent(d)
		s.onceKept(d, func() bool { s.answer(pubrel, id, 0); return true })
	}
	s.pump()
}

// maxReceived bounds the QoS 2 packet ids that a client leaves unreleased: a 3.1.1 client knows no receive maximum, and a v5 client may
// leave some on each of several connections.
const maxReceived = 10_000

// receiving says whether a QoS 2 packet id is a repetition of a message that was delivered [MQTT-4.3.3-10], or that the
// client has more open than it may.
func (s *session) receiving(id uint16, limit int) (again bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine, again := s.received[id]
	if again {
		if !mine {
			s.received[id] = true
			s.fresh++
		}
		return true, nil
	}
	if s.fresh >= limit || len(s.received) >= maxReceived {
		return false, s.b.refuse(lane.Violation{Code: 0x93, Reason: "receive maximum exceeded"})
	}
	return false, nil
}

// noteReceived notes the packet id of a QoS 2 message that was delivered; it returns how many are open.
func (s *session) noteReceived(id uint16) (held int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return s.fresh
	}
	if s.received == nil {
		s.received = make(map[uint16]bool)
	}
	s.received[id] = true
	s.fresh++
	if s.kept() {
		s.b.journal.put(receivedKey(s.client, id), nil)
	}
	return s.fresh
}

// release forgets a QoS 2 packet id; known is false where it was not there. answer sends the PUBCOMP: after a crash the id must
// not be taken for that of a repetition, so the journal comes first.
func (s *session) release(id uint16, answer func(known bool)) (held int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine, known := s.received[id]
	if mine {
		s.fresh--
	}
	delete(s.received, id)
	if s.b.journal.delete(receivedKey(s.client, id)); s.kept() && known {
		s.b.journal.after(func() { answer(true) })
	} else {
		answer(known)
	}
	return s.fresh
}

// open lets messages out to l: its CONNACK is queued.
func (s *session) open(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.ready = true
	if s.link == l {
		s.pump()
	}
}

// save writes the session's own record; of one that is not kept there is none. The mutex is held.
func (s *session) save() {
	if s.kept() {
		s.b.journal.put(sessionKey(s.client), encodeSession(s))
	}
}

// forget ends the session: nothing of it remains, in memory or on disk. Broker.mu and the session's mutex are held.
func (s *session) forget() {
	s.ended = true
	s.unsave()
	for filter := range s.subs {
		s.b.index.remove(s.client, filter)
	}
	s.subs, s.flight, s.pending, s.backlog, s.received, s.queueBytes, s.unsent = nil, nil, nil, nil, nil, 0, 0
}

// unsave removes the session's records but keeps it in memory: its client connects anew and wants no expiry.
func (s *session) unsave() {
	s.eachRecord(func(key string, _ func() []byte) { s.b.journal.delete(key) })
}

// saveAll writes every record of a session that was not kept so far.
func (s *session) saveAll() {
	s.eachRecord(func(key string, value func() []byte) { s.b.journal.put(key, value()) })
}

// eachRecord calls f with the key and the value of all that the journal has of the session while it is kept.
func (s *session) eachRecord(f func(key string, value func() []byte)) {
	f(sessionKey(s.client), func() []byte { return encodeSession(s) })
	for filter, sub := range s.subs {
		f(subscriptionKey(s.client, filter), func() []byte { return encodeSubscription(sub) })
	}
	for _, d := range s.pending {
		f(queueKey(s.client, d.seq), func() []byte { return encodeDelivery(d) })
	}
	for _, d := range s.flight {
		f(queueKey(s.client, d.seq), func() []byte { return encodeDelivery(d) })
		f(stateKey(s.client, d.seq), func() []byte { return encodeState(d) })
	}
	for id := range s.received {
		f(receivedKey(s.client, id), func() []byte { return nil })
	}
}

// setExpiry changes how long the session outlives its connection; 0 ends it with that.
func (s *session) setExpiry(sec uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept() && sec == 0 {
		s.unsave()
	}
	s.expirySec = sec
	s.save()
}

// over says whether the session's time without a connection has ended.
func (s *session) over(now time.Time) bool {
	return s.link == nil && s.offSince > 0 && now.Unix() >= s.offSince+int64(s.expirySec)
}

// restoreOrder puts the messages that were read from the journal, in any order, in theirs.
func (s *session) restoreOrder() {
	byTime := func(a, b *delivery) int { return cmp.Compare(a.seq, b.seq) }
	slices.SortFunc(s.flight, byTime)
	slices.SortFunc(s.pending, byTime)
	for _, d := range slices.Concat(s.flight, s.pending) {
		s.queueBytes += d.m.size()
		s.lastSeq = max(s.lastSeq, d.seq)
	}
}

// Keys of the journal: a letter, the client id, 0, and what tells the records of one client apart. docs/formats/sessions.md.
const (
	keySession      = 's'
	keySubscription = 'f'
	keyQueue        = 'q'
	keyState        = 'p'
	keyReceived     = 'i'
	keyRetained     = 'r'
	keyWill         = 'w'
	keyOpen         = 'o'
)

func clientKey(kind byte, client string) []byte {
	key := make([]byte, 0, len(client)+10)
	key = append(key, kind)
	key = append(key, client...)
	return append(key, 0)
}

func sessionKey(client string) string { return string(clientKey(keySession, client)) }

func subscriptionKey(client, filter string) string {
	return string(append(clientKey(keySubscription, client), filter...))
}

func queueKey(client string, seq uint64) string {
	return string(binary.BigEndian.AppendUint64(clientKey(keyQueue, client), seq))
}

func stateKey(client string, seq uint64) string {
	return string(binary.BigEndian.AppendUint64(clientKey(keyState, client), seq))
}

func receivedKey(client string, id uint16) string {
	return string(binary.BigEndian.AppendUint16(clientKey(keyReceived, client), id))
}

func retainedKey(topic string) string { return string(keyRetained) + topic }

func encodeSession(s *session) []byte {
	dst := binary.AppendUvarint(nil, uint64(s.thing))
	dst = appendBytes(dst, s.thingName)
	dst = binary.AppendUvarint(dst, uint64(s.expirySec))
	return binary.AppendVarint(dst, s.offSince)
}

func (s *session) decode(value []byte) bool {
	r := fields{b: value}
	s.thing = tsdb.ThingID(r.uvarint())
	s.thingName = string(r.bytes())
	s.expirySec = uint32(r.uvarint())
	s.offSince = r.varint()
	return !r.bad
}

func encodeSubscription(sub subscription) []byte {
	flags := sub.qos | sub.retainHandling<<4
	if sub.noLocal {
		flags |= 4
	}
	if sub.retainAsPublished {
		flags |= 8
	}
	return binary.AppendUvarint([]byte{flags}, uint64(sub.id))
}

func decodeSubscription(filter string, value []byte) (subscription, bool) {
	r := fields{b: value}
	flags := r.u8()
	sub := subscription{filter: filter, id: int(r.uvarint()), qos: flags & 3, retainHandling: flags >> 4 & 3, noLocal: flags&4 != 0, retainAsPublished: flags&8 != 0}
	return sub, !r.bad && sub.qos < 3
}

func encodeDelivery(d *delivery) []byte {
	flags := d.qos
	if d.retain {
		flags |= 4
	}
	dst := append(make([]byte, 0, 32+d.m.size()), flags)
	dst = binary.AppendUvarint(dst, uint64(len(d.subIDs)))
	for _, id := range d.subIDs {
		dst = binary.AppendUvarint(dst, uint64(id))
	}
	return appendMessage(dst, d.m)
}

func decodeDelivery(seq uint64, value []byte) (*delivery, bool) {
	r := fields{b: value}
	flags := r.u8()
	d := &delivery{seq: seq, qos: flags & 3, retain: flags&4 != 0}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		d.subIDs = append(d.subIDs, int(r.uvarint()))
	}
	m, ok := decodeMessage(r.b)
	d.m = m
	return d, ok && !r.bad && (d.qos == 1 || d.qos == 2)
}

func encodeState(d *delivery) []byte {
	state := byte(0)
	if d.released {
		state = 1
	}
	return binary.BigEndian.AppendUint16([]byte{state}, d.id)
}
