package agent

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The part of MQTT 5 that a publishing device needs. Section numbers are of the OASIS standard of 7 March 2019.

// Packet types with their flags (section 2.1).
const (
	packetConnect    = 0x10
	packetConnack    = 0x20
	packetPublish    = 0x30
	packetPublishQ1  = 0x32
	packetPuback     = 0x40
	packetPingreq    = 0xC0
	packetPingresp   = 0xD0
	packetDisconnect = 0xE0

	flagDup = 0x08
)

// Properties (section 2.2.2).
const (
	propSessionExpiry   = 0x11
	propServerKeepAlive = 0x13
	propReason          = 0x1F
	propReceiveMaximum  = 0x21
	propMaximumPacket   = 0x27
)

// maxIncoming is the largest packet taken: nothing long is for a device that only publishes. The gateway is told.
const maxIncoming = 16 << 10

// reasons are the reason codes that an operator may see (section 2.4).
var reasons = map[byte]string{
	0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "it does not accept this",
	0x84: "MQTT 5 is not supported", 0x85: "the client id is not valid", 0x86: "bad user name or password",
	0x87: "not authorized", 0x88: "the server is not available", 0x89: "the server is busy", 0x8A: "banned",
	0x8B: "the server is shutting down", 0x8D: "nothing was heard within the keep-alive time",
	0x8E: "another connection took the session over", 0x90: "the topic name is not valid", 0x93: "too many messages in flight",
	0x95: "the packet is too large", 0x96: "messages come too fast", 0x97: "a quota is used up", 0x98: "an operator ended the connection",
	0x99: "the payload's format is not valid", 0x9C: "use another server", 0x9D: "the server has moved", 0x9F: "connections come too fast",
}

// packetError is a refusal in a CONNACK or DISCONNECT.
type packetError struct {
	what string
	code byte
	text string // the server's words, may be empty
}

func (e *packetError) Error() string {
	reason := reasons[e.code]
	if reason == "" {
		reason = fmt.Sprintf("code 0x%02x", e.code)
	}
	if e.text != "" {
		reason += ": " + e.text
	}
	return e.what + ": " + reason
}

// appendConnect appends a CONNECT without clean start, will and password (section 3.1).
func appendConnect(dst []byte, clientID string, keepAliveSec uint16, sessionExpirySec uint32) []byte {
	props := make([]byte, 0, 10)
	props = append(props, propSessionExpiry)
	props = binary.BigEndian.AppendUint32(props, sessionExpirySec)
	props = append(props, propMaximumPacket)
	props = binary.BigEndian.AppendUint32(props, maxIncoming)
	dst = append(dst, packetConnect)
	dst = appendVarint(dst, 10+1+len(props)+2+len(clientID))
	dst = append(dst, 0, 4, 'M', 'Q', 'T', 'T', 5, 0)
	dst = binary.BigEndian.AppendUint16(dst, keepAliveSec)
	dst = append(dst, byte(len(props)))
	dst = append(dst, props...)
	return appendString(dst, clientID)
}

// appendPublish appends m with QoS 1 (section 3.3).
func appendPublish(dst []byte, m *message) []byte {
	head := byte(packetPublishQ1)
	if m.again {
		head |= flagDup
	}
	dst = append(dst, head)
	dst = appendVarint(dst, 2+len(m.topic)+2+1+len(m.payload))
	dst = appendString(dst, m.topic)
	dst = binary.BigEndian.AppendUint16(dst, m.id)
	dst = append(dst, 0) // no properties
	return append(dst, m.payload...)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// appendVarint appends a variable byte integer (section 1.5.5).
func appendVarint(dst []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

// readPacket reads one packet of at most maxIncoming bytes into buf, which it may grow, and returns its first byte and
// its body, valid until the next call.
func readPacket(r *bufio.Reader, buf *[]byte) (head byte, body []byte, err error) {
	if head, err = r.ReadByte(); err != nil {
		return 0, nil, err
	}
	size := 0
	for shift := 0; ; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		size |= int(b&0x7F) << shift
		if b < 0x80 {
			break
		}
		if shift == 21 {
			return 0, nil, errors.New("a packet's length has more than 4 bytes")
		}
	}
	if size > maxIncoming {
		return 0, nil, fmt.Errorf("a packet of %d bytes came, at most %d were agreed on", size, maxIncoming)
	}
	if cap(*buf) < size {
		*buf = make([]byte, size)
	}
	body = (*buf)[:size]
	_, err = io.ReadFull(r, body)
	return head, body, err
}

// connack is what a device needs to know of the answer to its CONNECT (section 3.2).
type connack struct {
	sessionPresent bool
	code           byte
	window         int    // messages that may be in flight
	keepAliveSec   uint16 // the server's; 0: it leaves the device's
	text           string
}

var errMalformed = errors.New("the gateway sent a malformed packet")

func parseConnack(head byte, body []byte) (connack, error) {
	if head != packetConnack || len(body) < 3 {
		return connack{}, errMalformed
	}
	c := connack{sessionPresent: body[0]&1 != 0, code: body[1], window: maxWindow}
	err := eachProperty(body[2:], func(id byte, value []byte) {
		switch id {
		case propReceiveMaximum:
			c.window = min(maxWindow, int(binary.BigEndian.Uint16(value)))
		case propServerKeepAlive:
			c.keepAliveSec = binary.BigEndian.Uint16(value)
		case propReason:
			c.text = string(value)
		}
	})
	if c.window == 0 {
		err = errMalformed
	}
	return c, err
}

// parseDisconnect returns why the server ended the connection (section 3.14).
func parseDisconnect(body []byte) error {
	e := &packetError{what: "the gateway ended the connection"}
	if len(body) > 0 {
		e.code = body[0]
	}
	if len(body) > 1 {
		if err := eachProperty(body[1:], func(id byte, value []byte) {
			if id == propReason {
				e.text = string(value)
			}
		}); err != nil {
			return err
		}
	}
	return e
}

// parsePuback returns the packet id and the reason code of a PUBACK (section 3.4).
func parsePuback(body []byte) (id uint16, code byte, err error) {
	if len(body) < 2 {
		return 0, 0, errMalformed
	}
	if len(body) > 2 {
		code = body[2]
	}
	return binary.BigEndian.Uint16(body), code, nil
}

// eachProperty calls f with each property of a block that starts with its length. Strings come without their length.
func eachProperty(block []byte, f func(id byte, value []byte)) error {
	size, n := readVarint(block)
	if n == 0 || size > len(block)-n {
		return errMalformed
	}
	for rest := block[n : n+size]; len(rest) > 0; {
		id := rest[0]
		skip, width := propertyWidth(id, rest[1:])
		if width < 0 || len(rest) < 1+skip+width {
			return errMalformed
		}
		f(id, rest[1+skip:1+skip+width])
		rest = rest[1+skip+width:]
	}
	return nil
}

// propertyWidth returns how many bytes of length a property's value has in front, and how many bytes it has itself;
// width -1 if it is not known or cut short. Only properties that servers send to publishers are known.
func propertyWidth(id byte, rest []byte) (skip, width int) {
	switch id {
	case 0x24, 0x25, 0x28, 0x29, 0x2A: // maximum QoS, retain, wildcard, identifier and shared subscription available
		return 0, 1
	case propServerKeepAlive, propReceiveMaximum, 0x22: // topic alias maximum
		return 0, 2
	case propSessionExpiry, propMaximumPacket:
		return 0, 4
	case 0x12, 0x15, 0x16, 0x1A, 0x1C, propReason: // assigned id, authentication, response information, server reference
		if len(rest) < 2 {
			return 0, -1
		}
		return 2, int(binary.BigEndian.Uint16(rest))
	case 0x26: // user property: two strings
		if len(rest) < 2 {
			return 0, -1
		}
		name := int(binary.BigEndian.Uint16(rest))
		if len(rest) < 2+name+2 {
			return 0, -1
		}
		return 0, 2 + name + 2 + int(binary.BigEndian.Uint16(rest[2+name:]))
	}
	return 0, -1
}

// readVarint returns a variable byte integer and how many bytes it has; 0 bytes: it is malformed.
func readVarint(b []byte) (value, n int) {
	for n < 4 && n < len(b) {
		value |= int(b[n]&0x7F) << (7 * n)
		if n++; b[n-1] < 0x80 {
			return value, n
		}
	}
	return 0, 0
}
