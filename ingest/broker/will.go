package broker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"muster/ingest/lane"
	"muster/tsdb"
)

// will is what is published when a connection ends without a word (v5 section 3.1.2.5). It is in the journal from before the CONNACK until it
// is published or discarded: a connection that a crash has ended ended without a word, too.
type will struct {
	m         *message // its expiry counts from its publication
	client    string
	seq       uint64 // its name in the journal, with the client
	delaySec  uint32
	expirySec int64 // message expiry; below 0: none
	grant     lane.Grant
	principal [sha256.Size]byte // of the certificate; zero: none
	at        time.Time         // when its delay is over; zero: its connection has not ended
}

// Recaller is a Gate that knows a thing that has no connection. Wills that were open at a crash are published only with its word.
type Recaller interface {
	// Recall returns what the client of the thing may do now. certificate is the SHA-256 of the one that it had, zero for none.
	Recall(ctx context.Context, thing, clientID string, certificate [sha256.Size]byte) (lane.Grant, error)
}

func (l *link) newWill(p *lane.Publish, client string) *will {
	props, expirySec, delaySec := lane.ForwardProperties(nil, p.Properties)
	m := &message{topic: p.Topic, origin: client, payload: []byte(string(p.Payload)), props: props, qos: p.QoS, retain: p.Retain}
	return &will{m: m, client: client, seq: l.b.willSeq.Add(1), delaySec: delaySec, expirySec: expirySec, grant: l.grant, principal: l.id.principal}
}

// takeWill returns the will, once.
func (l *link) takeWill() *will {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.will
	l.will = nil
	return w
}

// discardWill forgets the will. It reports whether there was one.
func (l *link) discardWill() bool {
	w := l.takeWill()
	if w != nil {
		l.b.forgetWill(w)
	}
	return w != nil
}

func (b *Broker) saveWill(w *will)   { b.journal.put(willKey(w.client, w.seq), encodeWill(w)) }
func (b *Broker) forgetWill(w *will) { b.journal.delete(willKey(w.client, w.seq)) }

// fireWill publishes a will, if its client still has the right to.
func (b *Broker) fireWill(w *will) {
	if w.grant.Rights == nil && !b.recall(w) || !mayPublish(&w.grant, w.m.topic, w.m.retain) {
		b.forgetWill(w)
		b.env.Refuse("will not allowed any more")
		return
	}
	m := *w.m
	if w.expirySec >= 0 {
		m.expiresAt = b.clock.Now().Unix() + w.expirySec
	}
	b.journal.together(func() {
		if m.retain {
			b.retain(&m)
		}
		b.route(&m)
		b.forgetWill(w)
	})
	b.hand(&m, w.grant.ThingName, m.origin)
	b.env.SparkplugWill(&w.grant, m.topic, m.payload)
}

// recall asks for the rights of a will that was read from the journal.
func (b *Broker) recall(w *will) bool {
	gate, ok := b.gate.(Recaller)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), admitTimeout)
	defer cancel()
	grant, err := gate.Recall(ctx, w.grant.ThingName, w.client, w.principal)
	if err != nil || grant.Thing != w.grant.Thing {
		b.log.Info("will of a thing that may not publish any more", "thing", w.grant.ThingName, "client", w.client, "err", err)
		return false
	}
	w.grant = grant
	return true
}

// dueWills takes those whose time has come.
func (b *Broker) dueWills(now time.Time) []*will {
	b.mu.Lock()
	defer b.mu.Unlock()
	var due []*will
	for client, w := range b.wills {
		if !now.Before(w.at) {
			due = append(due, w)
			delete(b.wills, client)
		}
	}
	return due
}

// restoreWill takes a will from the journal. Its connection ended at the latest with the process that wrote it.
func (b *Broker) restoreWill(client, rest string, value []byte) bool {
	w, ok := decodeWill(client, value)
	if !ok || len(rest) != 8 {
		return false
	}
	w.seq = binary.BigEndian.Uint64([]byte(rest))
	if w.at.IsZero() {
		delay := w.delaySec
		if s := b.sessions[client]; s == nil {
			delay = 0
		} else {
			delay = min(delay, s.expirySec)
		}
		w.at = b.clock.Now().Add(time.Duration(delay) * time.Second)
	}
	if other := b.wills[client]; other != nil { // of an older connection: it should have been gone
		if older := min(w.seq, other.seq); older == w.seq {
			w = other
		}
	}
	b.wills[client] = w
	return true
}

func willKey(client string, seq uint64) string {
	return string(binary.BigEndian.AppendUint64(clientKey(keyWill, client), seq))
}

func encodeWill(w *will) []byte {
	dst := binary.AppendUvarint(nil, uint64(w.grant.Thing))
	dst = appendBytes(dst, w.grant.ThingName)
	dst = append(dst, w.principal[:]...)
	dst = binary.AppendUvarint(dst, uint64(w.delaySec))
	dst = binary.AppendVarint(dst, w.expirySec)
	at := int64(0)
	if !w.at.IsZero() {
		at = w.at.Unix()
	}
	return appendMessage(binary.AppendVarint(dst, at), w.m)
}

func decodeWill(client string, value []byte) (*will, bool) {
	r := fields{b: value}
	w := &will{client: strings.Clone(client)}
	w.grant.Thing = tsdb.ThingID(r.uvarint())
	w.grant.ThingName = string(r.bytes())
	for i := range w.principal {
		w.principal[i] = r.u8()
	}
	w.delaySec = uint32(r.uvarint())
	w.expirySec = r.varint()
	if at := r.varint(); at != 0 {
		w.at = time.Unix(at, 0)
	}
	m, ok := decodeMessage(r.b)
	w.m = m
	return w, ok && !r.bad
}
