package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"muster/ingest/lane"
)

// First bytes of acknowledgements.
const (
	puback  = 4 << 4
	pubrec  = 5 << 4
	pubrel  = 6<<4 | 2
	pubcomp = 7 << 4
)

// Reason codes that the broker gives.
const (
	codeNotAuthorized  = 0x87
	codeAdministrative = 0x98
	codeInternal       = 0x83
	codeQuota          = 0x97
	codeNotFound       = 0x92
)

var errNotAuthorized = lane.Violation{Code: codeNotAuthorized, Return: 0x05, Reason: "not authorized"}

var errSmall = lane.Violation{Code: 0x95, Reason: "the client takes only packets that are too small"}

var errSessionsLog = lane.Violation{Code: codeInternal, Reason: "sessions cannot be written to disk"}

// admitTimeout bounds how long the gate may take to know a client.
const admitTimeout = 5 * time.Second

// link is one connection and the session it serves. It implements lane.Handler.
type link struct {
	b      *Broker
	c      *lane.Conn
	cert   *x509.Certificate
	remote netip.AddrPort
	over   func() // is told when a parked connection has ended

	// Set by Connect, before the session knows the link.
	grant       lane.Grant
	id          identity
	session     *session // nil: none was opened
	window      int      // messages in flight to the client
	maxPacket   uint32   // 0: no limit
	wantsExpiry bool     // the client's session expiry was not 0

	ready bool // the CONNACK is queued; guarded by session.mu

	mu   sync.Mutex // guards what follows
	will *will
	gone bool // closed was run
}

// Connect implements lane.Handler.
func (l *link) Connect(info *lane.Connect) error {
	b := l.b
	client := info.ClientID
	if client == "" && l.cert == nil {
		client = b.newClientID()
	}
	claim := Claim{ClientID: client, Cert: l.cert, Remote: l.remote}
	kicks := b.kicks.Load()
	grant, err := b.admit(claim)
	if err != nil {
		b.env.Refuse("not admitted")
		if b.refusals.Allow() {
			b.log.Info("client not admitted", "remote", l.remote, "client", client, "err", err)
		}
		return errNotAuthorized
	}
	if client == "" {
		client = grant.ThingName
	}
	if !grant.Rights.Connect(client) {
		b.env.Refuse("client id not allowed")
		if b.refusals.Allow() {
			b.log.Info("client id not allowed", "remote", l.remote, "thing", grant.ThingName, "client", client)
		}
		return errNotAuthorized
	}
	l.grant = grant
	if l.cert != nil {
		l.id.principal = sha256.Sum256(l.cert.Raw)
	}
	if err := l.takeConnect(info, client); err != nil {
		return err
	}
	expiry := l.sessionExpiry(info)
	connack := l.connack(info, client, expiry)
	if l.maxPacket > 0 && len(connack) > int(l.maxPacket) { // [MQTT-3.1.2-24]
		return b.refuse(errSmall)
	}
	// A client without an id gets a session that nobody had before [MQTT-3.2.2-16].
	clean := info.Clean || info.ClientID == ""
	present, err := b.attach(l, client, grant, clean, expiry)
	if err != nil {
		return err
	}
	if info.Will != nil && b.journal.syncTo(b.journal.changed()) != nil { // logged there
		return b.refuse(errSessionsLog)
	}
	if present {
		connack[connackFlags(connack)] = 1
	}
	if b.kicks.Load() != kicks { // perhaps this client's, when it had no session yet that Kick could find
		if again, err := b.admit(claim); err != nil || again.Thing != grant.Thing || !grant.Rights.Connect(client) {
			l.c.End(lane.Violation{Code: codeAdministrative, Reason: "no longer admitted"})
		}
	}
	_, _ = l.c.Write(connack) // it only fails when the connection ends
	l.c.Meter(grant.Thing)
	l.c.Open(grant, info.Keepalive)
	l.session.open(l)
	l.cert = nil // 2.5 KB that nobody needs any more
	return nil
}

func (b *Broker) admit(c Claim) (lane.Grant, error) {
	ctx, cancel := context.WithTimeout(context.Background(), admitTimeout)
	defer cancel()
	return b.gate.Admit(ctx, c)
}

// takeConnect keeps the client's limits and its will, if it may publish that (EMQX #8978: wills need the same check).
func (l *link) takeConnect(info *lane.Connect, client string) error {
	l.window = min(int(info.ReceiveMaximum), l.b.env.Limits.InFlight)
	l.maxPacket = info.MaxPacketBytes
	l.wantsExpiry = info.SessionExpirySec > 0
	if info.Will == nil {
		return nil
	}
	if !mayPublish(&l.grant, info.Will.Topic, info.Will.Retain) {
		l.b.env.Refuse("will not allowed")
		return errNotAuthorized
	}
	l.will = l.newWill(info.Will, client)
	return nil
}

// sessionExpiry returns how long the session outlives its connection, in seconds, capped.
func (l *link) sessionExpiry(info *lane.Connect) uint32 {
	longest := uint32(l.b.limits.SessionExpiry / time.Second)
	switch {
	case info.Version == 5:
		return min(info.SessionExpirySec, longest)
	case info.Clean:
		return 0
	}
	return longest
}

// connack accepts the client, without a session present, and tells a v5 one our limits (v5 section 3.2.2.3).
func (l *link) connack(info *lane.Connect, client string, expirySec uint32) []byte {
	if info.Version < 5 {
		return []byte{2 << 4, 2, 0, 0}
	}
	limits := &l.b.env.Limits
	var props []byte
	if expirySec != info.SessionExpirySec {
		props = binary.BigEndian.AppendUint32(append(props, 17), expirySec)
	}
	props = binary.BigEndian.AppendUint16(append(props, 33), uint16(limits.InFlight))
	props = binary.BigEndian.AppendUint32(append(props, 39), uint32(limits.PacketBytes))
	props = binary.BigEndian.AppendUint16(append(props, 34), uint16(limits.TopicAliases))
	if info.ClientID == "" { // [MQTT-3.2.2-16]
		props = binary.BigEndian.AppendUint16(append(props, 18), uint16(len(client)))
		props = append(props, client...)
	}
	packet := appendVar([]byte{2 << 4}, 2+varLen(len(props))+len(props))
	packet = append(packet, 0, 0)
	return append(appendVar(packet, len(props)), props...)
}

// connackFlags returns where in a CONNACK the session present flag is: behind the remaining length.
func connackFlags(packet []byte) int {
	i := 1
	for packet[i] >= 128 {
		i++
	}
	return i + 1
}

// closed ends the link, once: the session goes on without it, the will fires unless the client said goodbye.
func (l *link) closed(reason error) {
	l.mu.Lock()
	again := l.gone
	l.gone = true
	l.mu.Unlock()
	if again || l.session == nil {
		return
	}
	w := l.takeWill()
	if reason == lane.ErrDisconnected { // [MQTT-3.14.4-3]
		w = nil
	}
	l.c.Unmeter()
	l.b.detach(l, w, reason)
}

// Room implements lane.Handler.
func (l *link) Room() {
	s := l.session
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l {
		s.pump()
	}
}

// Ended implements lane.Handler.
func (l *link) Ended(reason error) {
	defer l.over()
	l.closed(reason)
}

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
	wait := false
	if code == 0 {
		m := l.b.newMessage(p, l.session.client)
		if p.Retain {
			if !l.b.retain(m) {
				return l.refusedRetained(p)
			}
			wait = true
		}
		wait = l.b.route(m) || wait
		l.b.hand(m, l.grant.ThingName, m.origin)
	}
	// Noted after the delivery: a crash between the two repeats the message, the other way round would lose it. PUBREC with
	// an error ends the exchange, so then there is nothing to note [MQTT-4.3.3-9]; 3.1.1 has no such PUBREC.
	if p.QoS == 2 && (code == 0 || l.c.Version() < 5) {
		l.c.SetHeld(l.session.noteReceived(p.ID))
		wait = true
	}
	if p.QoS == 0 || !wait {
		return code, reason, nil
	}
	if l.b.journal.syncTo(l.b.journal.changed()) != nil { // logged there
		return 0, "", l.b.refuse(errSessionsLog)
	}
	return code, reason, nil
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

// Packet implements lane.Handler.
func (l *link) Packet(first byte, body []byte) error {
	switch kind := first >> 4; kind {
	case puback >> 4, pubrec >> 4, pubcomp >> 4:
		l.session.acknowledged(l, kind, packetID(body), reasonCode(body))
	case pubrel >> 4:
		l.released(packetID(body))
	case 8:
		return l.subscribe(body)
	case 10:
		return l.unsubscribe(body)
	case 14:
		return l.disconnect(body)
	}
	return nil
}

func packetID(body []byte) uint16 { return binary.BigEndian.Uint16(body) }

func reasonCode(body []byte) byte {
	if len(body) > 2 {
		return body[2]
	}
	return 0
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

// subscribe grants what the rights allow, answers, and sends the retained messages (v5 section 3.8.4).
func (l *link) subscribe(body []byte) error {
	id, subID, filters := lane.ReadFilters(body, l.c.Version(), true)
	codes := make([]byte, len(filters))
	existed := make([]bool, len(filters))
	subs := make([]subscription, len(filters))
	listened := l.b.index.listened()
	for i, f := range filters { // the options are those of v5 section 3.8.3.1; 3.1.1 has the QoS alone
		subs[i] = subscription{filter: f.Name, id: subID, qos: f.Options & 3, noLocal: f.Options&4 != 0, retainAsPublished: f.Options&8 != 0, retainHandling: f.Options >> 4 & 3}
		codes[i], existed[i] = l.grantSubscription(subs[i])
	}
	if !listened && l.b.index.listened() {
		l.b.saveAllOpen()
	}
	if l.session.isKept() && l.b.journal.syncTo(l.b.journal.changed()) != nil { // logged there
		return l.b.refuse(errSessionsLog)
	}
	l.sendSubscribed(9<<4, id, codes)
	var granted []string
	for i, sub := range subs {
		if codes[i] < 0x80 {
			granted = append(granted, sub.filter)
		}
	}
	l.tellTopics("subscribed", granted)
	for i, sub := range subs {
		if codes[i] < 0x80 {
			l.sendRetained(sub, existed[i])
		}
	}
	return nil
}

func (l *link) grantSubscription(sub subscription) (code byte, existed bool) {
	s := l.session
	refused := byte(0x80) // 3.1.1 knows no other failure
	if !l.grant.Rights.Subscribe(plainFilter(sub.filter)) {
		l.b.env.Refuse("subscribe not allowed")
		if l.c.Version() == 5 {
			refused = codeNotAuthorized
		}
		return refused, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.link != l {
		return refused, false
	}
	_, existed = s.subs[sub.filter]
	if !existed && len(s.subs) >= l.b.limits.Subscriptions {
		l.b.env.Refuse("too many subscriptions")
		if l.c.Version() == 5 {
			refused = codeQuota
		}
		return refused, false
	}
	s.subs[sub.filter] = sub
	l.b.index.add(s.client, sub, !existed)
	if s.kept() {
		l.b.journal.put(subscriptionKey(s.client, sub.filter), encodeSubscription(sub))
	}
	return sub.qos, existed
}

// sendSubscribed sends a SUBACK or UNSUBACK.
func (l *link) sendSubscribed(first byte, id uint16, codes []byte) {
	head := 2
	if l.c.Version() == 5 {
		head = 3 // no properties
	}
	packet := appendVar([]byte{first}, head+len(codes))
	packet = append(packet, byte(id>>8), byte(id))
	if l.c.Version() == 5 {
		packet = append(packet, 0)
	}
	_, _ = l.c.Write(append(packet, codes...)) // it only fails when the connection ends
}

// sendRetained sends the retained messages of a new subscription (v5 section 3.3.1.3); shared ones get none (4.8.2).
func (l *link) sendRetained(sub subscription, existed bool) {
	if sub.retainHandling == 2 || sub.retainHandling == 1 && existed || plainFilter(sub.filter) != sub.filter {
		return
	}
	l.session.deliverRetained(l.b.retained.matching(sub.filter), sub)
}

func (l *link) unsubscribe(body []byte) error {
	id, _, filters := lane.ReadFilters(body, l.c.Version(), false)
	codes := make([]byte, len(filters))
	var dropped []string
	for i, f := range filters {
		if codes[i] = l.dropSubscription(f.Name); codes[i] == 0 {
			dropped = append(dropped, f.Name)
		}
	}
	if l.session.isKept() && l.b.journal.syncTo(l.b.journal.changed()) != nil { // logged there
		return l.b.refuse(errSessionsLog)
	}
	if l.c.Version() < 5 {
		codes = nil // v3.1.1 section 3.11.3: no payload
	}
	l.sendSubscribed(11<<4, id, codes)
	l.tellTopics("unsubscribed", dropped)
	return nil
}

func (l *link) dropSubscription(filter string) (code byte) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.subs[filter]; !ok || s.link != l {
		return 0x11 // no subscription existed
	}
	delete(s.subs, filter)
	l.b.index.remove(s.client, filter)
	l.b.journal.delete(subscriptionKey(s.client, filter))
	return 0
}

// disconnect handles the client's goodbye (v5 section 3.14). With a reason code other than 0 its will is published.
func (l *link) disconnect(body []byte) error {
	if expiry, ok := lane.ReadDisconnect(body, l.c.Version()); ok {
		if expiry > 0 && !l.wantsExpiry {
			return l.b.refuse(lane.Violation{Code: 0x82, Reason: "session expiry set at disconnect"}) // v5 section 3.14.2.2.2
		}
		l.session.setExpiry(min(expiry, uint32(l.b.limits.SessionExpiry/time.Second)))
	}
	if len(body) > 0 && body[0] != 0 {
		return errGoodbye
	}
	// From here on nothing publishes it, neither a takeover before this connection has ended nor a crash [MQTT-3.14.4-3].
	if l.discardWill() && l.b.journal.syncTo(l.b.journal.changed()) != nil { // logged there
		return l.b.refuse(errSessionsLog)
	}
	return lane.ErrDisconnected
}

// errGoodbye is a DISCONNECT that asks for the will, or tells of an error of the client.
var errGoodbye = lane.Violation{Reason: "disconnected by the client with a reason code"}
