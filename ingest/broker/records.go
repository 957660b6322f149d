package broker

import (
	"encoding/binary"

	"muster/tsdb"
)

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
