package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MQTT control packets this client sends or understands (MQTT 3.1.1 and 5, section 2.1).
const (
	packetConnect    = 1
	packetConnack    = 2
	packetPublish    = 3
	packetPuback     = 4
	packetSubscribe  = 8
	packetSuback     = 9
	packetPingresp   = 13
	packetDisconnect = 14
)

// version is the protocol level of a CONNECT.
type version byte

const (
	mqtt311 version = 4
	mqtt5   version = 5
)

// maxPacketBytes bounds what this client takes from a broker: it subscribes to little and publishes to nobody.
const maxPacketBytes = 256 << 10

// appendConnect appends a CONNECT with a clean session (3.1.1) or clean start (5).
func appendConnect(dst []byte, v version, clientID string, keepAliveSec uint16) []byte {
	size := 10 + 2 + len(clientID)
	if v == mqtt5 {
		size++
	}
	dst = appendHeader(dst, packetConnect<<4, size)
	dst = append(dst, 0, 4, 'M', 'Q', 'T', 'T', byte(v), 0x02)
	dst = binary.BigEndian.AppendUint16(dst, keepAliveSec)
	if v == mqtt5 {
		dst = append(dst, 0) // no properties
	}
	return appendString(dst, clientID)
}

// appendPublish appends a PUBLISH, not retained. id is left out for QoS 0.
func appendPublish(dst []byte, v version, qos byte, id uint16, topic string, payload []byte) []byte {
	size := 2 + len(topic) + len(payload)
	if qos > 0 {
		size += 2
	}
	if v == mqtt5 {
		size++
	}
	dst = appendHeader(dst, packetPublish<<4|qos<<1, size)
	dst = appendString(dst, topic)
	if qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	if v == mqtt5 {
		dst = append(dst, 0)
	}
	return append(dst, payload...)
}

// appendSubscribe appends a SUBSCRIBE for one filter at QoS 1.
func appendSubscribe(dst []byte, v version, id uint16, filter string) []byte {
	size := 2 + 2 + len(filter) + 1
	if v == mqtt5 {
		size++
	}
	dst = appendHeader(dst, packetSubscribe<<4|2, size)
	dst = binary.BigEndian.AppendUint16(dst, id)
	if v == mqtt5 {
		dst = append(dst, 0)
	}
	return append(appendString(dst, filter), 1)
}

// appendFilters appends a SUBSCRIBE for filters at QoS 1, or their UNSUBSCRIBE.
func appendFilters(dst []byte, v version, id uint16, subscribe bool, filters []string) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	if v == mqtt5 {
		body = append(body, 0)
	}
	kind := byte(packetSubscribe)
	if !subscribe {
		kind += 2 // UNSUBSCRIBE
	}
	for _, f := range filters {
		if body = appendString(body, f); subscribe {
			body = append(body, 1)
		}
	}
	return append(appendHeader(dst, kind<<4|2, len(body)), body...)
}

// appendDisconnect appends a normal DISCONNECT, which both versions may write without a body.
func appendDisconnect(dst []byte) []byte { return append(dst, packetDisconnect<<4, 0) }

// appendHeader appends the fixed header of a packet whose body has size bytes.
func appendHeader(dst []byte, first byte, size int) []byte {
	dst = append(dst, first)
	for ; size > 0x7f; size >>= 7 {
		dst = append(dst, byte(size)|0x80)
	}
	return append(dst, byte(size))
}

func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// packet is one control packet within a buffer.
type packet struct {
	kind byte // packetConnack, ...
	body []byte
}

// cutPacket takes the first packet off buf. If it is not complete, rest is buf and whole is false.
func cutPacket(buf []byte) (p packet, rest []byte, whole bool, err error) {
	size := 0
	for i := 1; i < len(buf) && i <= 4; i++ {
		size |= int(buf[i]&0x7f) << (7 * (i - 1))
		if buf[i]&0x80 != 0 {
			continue
		}
		if size > maxPacketBytes {
			return packet{}, buf, false, fmt.Errorf("the broker sends a packet of %d bytes, at most %d are taken", size, maxPacketBytes)
		}
		end := i + 1 + size
		if end > len(buf) {
			return packet{}, buf, false, nil
		}
		return packet{kind: buf[0] >> 4, body: buf[i+1 : end]}, buf[end:], true, nil
	}
	if len(buf) >= 5 {
		return packet{}, buf, false, errors.New("the broker sends a packet length of more than 4 bytes")
	}
	return packet{}, buf, false, nil
}

// puback returns the packet id and the reason code, 0 where the packet has none.
func (p packet) puback() (id uint16, reason byte, err error) {
	if len(p.body) < 2 {
		return 0, 0, fmt.Errorf("PUBACK of %d bytes", len(p.body))
	}
	if len(p.body) > 2 {
		reason = p.body[2]
	}
	return binary.BigEndian.Uint16(p.body), reason, nil
}

// connack returns nil if the broker accepts the connection.
func (p packet) connack() error {
	switch {
	case p.kind != packetConnack || len(p.body) < 2:
		return fmt.Errorf("want CONNACK, the broker sends packet type %d of %d bytes", p.kind, len(p.body))
	case p.body[1] != 0:
		return fmt.Errorf("the broker refuses the connection with code 0x%02x", p.body[1])
	}
	return nil
}

// suback returns nil if the broker grants the one filter that was asked for.
func (p packet) suback() error {
	if p.kind != packetSuback || len(p.body) < 3 {
		return fmt.Errorf("want SUBACK, the broker sends packet type %d of %d bytes", p.kind, len(p.body))
	}
	if code := p.body[len(p.body)-1]; code >= 0x80 {
		return fmt.Errorf("the broker refuses the subscription with code 0x%02x", code)
	}
	return nil
}
