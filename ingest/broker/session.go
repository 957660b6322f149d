package broker

import (
	"cmp"
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
	var keys []string
	s.eachRecord(func(key string, _ func() []byte) { keys = append(keys, key) })
	s.b.journal.delete(keys...)
}

// saveAll writes every record of a session that was not kept so far.
func (s *session) saveAll() {
	var keys []string
	var values [][]byte
	s.eachRecord(func(key string, value func() []byte) { keys, values = append(keys, key), append(values, value()) })
	s.b.journal.putAll(keys, values)
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
	return s.link == nil && s.offSince > 0 && now.Unix() >= s.end()
}

// end returns when a session without a connection is over, Unix s.
func (s *session) end() int64 { return s.offSince + int64(s.expirySec) }

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
