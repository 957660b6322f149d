package broker

import (
	"encoding/binary"
	"time"
)

// message is an application message on its way to subscribers. It is never changed once made, so that sessions share it.
type message struct {
	topic     string
	origin    string // client id of the publisher, for no-local
	payload   []byte
	props     []byte // v5 properties that are forwarded, encoded, without length and message expiry
	expiresAt int64  // Unix seconds; 0: never
	atMs      int64  // of a retained one: when it was published, Unix ms; 0: not known
	qos       byte
	retain    bool
}

// size is what a message counts for in the quotas, bytes.
func (m *message) size() int { return len(m.topic) + len(m.payload) + len(m.props) }

func (m *message) expired(now time.Time) bool { return m.expiresAt > 0 && m.expiresAt <= now.Unix() }

// appendMessage encodes m for the journal.
func appendMessage(dst []byte, m *message) []byte {
	flags := m.qos
	if m.retain {
		flags |= 4
	}
	if m.atMs != 0 {
		flags |= 8
	}
	dst = append(dst, flags)
	if m.atMs != 0 {
		dst = binary.AppendVarint(dst, m.atMs)
	}
	dst = binary.AppendVarint(dst, m.expiresAt)
	dst = appendBytes(dst, m.topic)
	dst = appendBytes(dst, m.origin)
	dst = appendBytes(dst, m.props)
	return append(dst, m.payload...)
}

// decodeMessage reads what appendMessage wrote. The message keeps data.
func decodeMessage(data []byte) (*message, bool) {
	r := fields{b: data}
	m := &message{}
	flags := r.u8()
	m.qos, m.retain = flags&3, flags&4 != 0
	if flags&8 != 0 {
		m.atMs = r.varint()
	}
	m.expiresAt = r.varint()
	m.topic = string(r.bytes())
	m.origin = string(r.bytes())
	m.props = r.bytes()
	m.payload = r.b
	return m, !r.bad && m.qos < 3
}

func appendBytes[T string | []byte](dst []byte, s T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// fields reads the values of a record; once bytes are missing, bad stays true.
type fields struct {
	b   []byte
	bad bool
}

func (r *fields) u8() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *fields) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	return v - v*uint64(r.skip(n))
}

func (r *fields) varint() int64 {
	v, n := binary.Varint(r.b)
	return v - v*int64(r.skip(n))
}

// skip drops n bytes; it returns 1 where the number was no good.
func (r *fields) skip(n int) int {
	if n <= 0 {
		r.bad = true
		return 1
	}
	r.b = r.b[n:]
	return 0
}

func (r *fields) bytes() []byte {
	size := r.uvarint()
	if r.bad || size > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	s := r.b[:size:size]
	r.b = r.b[size:]
	return s
}

// left is how many seconds of m remain, at least 1; 0: it does not expire.
func (m *message) left(now time.Time) uint32 {
	if m.expiresAt == 0 {
		return 0
	}
	return uint32(max(1, m.expiresAt-now.Unix()))
}

// appendPublish encodes m as a PUBLISH with packet id 0 (v5 section 3.3); of m, left seconds remain. subIDs are the identifiers of the
// subscriptions that it matched.
func appendPublish(dst []byte, m *message, version, qos byte, retain bool, subIDs []int, left uint32) []byte {
	first := byte(3<<4) | qos<<1
	if retain {
		first |= 1
	}
	body := 2 + len(m.topic) + len(m.payload)
	if qos > 0 {
		body += 2
	}
	props := 0
	if version == 5 {
		props = propertiesSize(m, subIDs)
		body += varLen(props) + props
	}
	dst = append(dst, first)
	dst = appendVar(dst, body)
	dst = append(dst, byte(len(m.topic)>>8), byte(len(m.topic)))
	dst = append(dst, m.topic...)
	if qos > 0 {
		dst = append(dst, 0, 0)
	}
	if version == 5 {
		dst = appendVar(dst, props)
		if left > 0 {
			dst = append(dst, 2) // message expiry interval: what is left of it [MQTT-3.3.2-6]
			dst = binary.BigEndian.AppendUint32(dst, left)
		}
		for _, id := range subIDs {
			dst = appendVar(append(dst, 11), id)
		}
		dst = append(dst, m.props...)
	}
	return append(dst, m.payload...)
}

// propertiesSize is how long the v5 properties of a PUBLISH are, bytes without their length.
func propertiesSize(m *message, subIDs []int) int {
	size := len(m.props)
	if m.expiresAt > 0 {
		size += 5
	}
	for _, id := range subIDs {
		size += 1 + varLen(id)
	}
	return size
}

// appendVar appends a variable byte integer (v5 section 1.5.5).
func appendVar(dst []byte, v int) []byte {
	for v >= 128 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func varLen(v int) int {
	n := 1
	for ; v >= 128; v >>= 7 {
		n++
	}
	return n
}
