package conformance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"
	"unicode/utf8"
)

// patience is how long a client waits for what must come.
const patience = 10 * time.Second

// Packet types with the flags that they have (v5 section 2.1.3).
const (
	connect     = 1 << 4
	connack     = 2 << 4
	publish     = 3 << 4
	puback      = 4 << 4
	pubrec      = 5 << 4
	pubrel      = 6<<4 | 2
	pubcomp     = 7 << 4
	subscribe   = 8<<4 | 2
	suback      = 9 << 4
	unsubscribe = 10<<4 | 2
	unsuback    = 11 << 4
	pingreq     = 12 << 4
	pingresp    = 13 << 4
	disconnect  = 14 << 4
	auth        = 15 << 4
)

// client speaks MQTT byte by byte.
type client struct {
	t       testing.TB
	conn    net.Conn
	version byte
	name    string // its client id
	nextID  uint16
	present bool   // of the CONNACK
	props   []byte // of the CONNACK
}

// hello is a CONNECT.
type hello struct {
	protocol    string
	level       byte
	flags       byte // besides those of the fields below
	keepAlive   uint16
	props       []byte
	id          string
	willProps   []byte
	willTopic   string
	willPayload string
	user        *string
	password    *string
	surplus     []byte
}

const (
	flagClean      = 2
	flagWill       = 4
	flagWillRetain = 0x20
)

// newHello is a CONNECT that is accepted: a clean session without a will.
func newHello(version byte, id string) hello {
	return hello{protocol: "MQTT", level: version, flags: flagClean, id: id, keepAlive: 60}
}

// kept makes the session outlive its connection, with v5 for an hour.
func (h hello) kept() hello {
	h.flags &^= flagClean
	if h.level == 5 {
		h.props = append(bytes.Clone(h.props), 17, 0, 0, 14, 16)
	}
	return h
}

func (h hello) withWill(topic, payload string, qos byte, retain bool, props ...byte) hello {
	h.flags |= flagWill | qos<<3
	if retain {
		h.flags |= flagWillRetain
	}
	h.willTopic, h.willPayload, h.willProps = topic, payload, props
	return h
}

func (h hello) withProps(props ...byte) hello {
	h.props = append(bytes.Clone(h.props), props...)
	return h
}

func (h hello) bytes() []byte {
	flags := h.flags
	if h.user != nil {
		flags |= 0x80
	}
	if h.password != nil {
		flags |= 0x40
	}
	body := append(text(nil, h.protocol), h.level, flags, byte(h.keepAlive>>8), byte(h.keepAlive))
	if h.level == 5 {
		body = properties(body, h.props)
	}
	body = text(body, h.id)
	if h.flags&flagWill != 0 {
		if h.level == 5 {
			body = properties(body, h.willProps)
		}
		body = text(text(body, h.willTopic), h.willPayload)
	}
	if h.user != nil {
		body = text(body, *h.user)
	}
	if h.password != nil {
		body = text(body, *h.password)
	}
	return packet(connect, append(body, h.surplus...))
}

// packet puts a fixed header before body.
func packet(first byte, body []byte) []byte { return append(varInt([]byte{first}, len(body)), body...) }

func varInt(dst []byte, v int) []byte {
	for v >= 128 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func text(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func properties(dst, props []byte) []byte { return append(varInt(dst, len(props)), props...) }

// pair is a user property.
func pair(name, value string) []byte { return text(text([]byte{38}, name), value) }

// message is a PUBLISH.
type message struct {
	topic, payload string
	qos            byte
	id             uint16
	retain, dup    bool
	props          []byte
}

func (m message) bytes(version byte) []byte {
	first := byte(publish) | m.qos<<1
	if m.retain {
		first |= 1
	}
	if m.dup {
		first |= 8
	}
	body := text(nil, m.topic)
	if m.qos > 0 {
		body = binary.BigEndian.AppendUint16(body, m.id)
	}
	if version == 5 {
		body = properties(body, m.props)
	}
	return packet(first, append(body, m.payload...))
}

// with is an acknowledgement, or the head of a SUBSCRIBE: a packet id and no properties.
func with(first byte, id uint16, rest ...byte) []byte {
	return packet(first, append([]byte{byte(id >> 8), byte(id)}, rest...))
}

// filters is a SUBSCRIBE of filters with their options, or with options below 0 an UNSUBSCRIBE.
func (c *client) filters(first byte, id uint16, props []byte, options int, filters ...string) []byte {
	body := []byte{byte(id >> 8), byte(id)}
	if c.version == 5 {
		body = properties(body, props)
	}
	for _, f := range filters {
		if body = text(body, f); options >= 0 {
			body = append(body, byte(options))
		}
	}
	return packet(first, body)
}

func (c *client) send(packets ...[]byte) {
	c.t.Helper()
	if _, err := c.conn.Write(bytes.Join(packets, nil)); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

var errForm = errors.New("the server sent a packet of bad form")

// tryRead reads one packet and checks its form: type and flags, the shortest length, valid properties and text.
func (c *client) tryRead(wait time.Duration) (first byte, body []byte, err error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return 0, nil, err
	}
	var one [1]byte
	if _, err := io.ReadFull(c.conn, one[:]); err != nil {
		return 0, nil, err
	}
	first = one[0]
	size := 0
	for shift := 0; ; shift += 7 {
		if _, err := io.ReadFull(c.conn, one[:]); err != nil {
			return 0, nil, err
		}
		size |= int(one[0]&0x7f) << shift
		if one[0] < 128 {
			if shift > 0 && one[0] == 0 {
				return 0, nil, fmt.Errorf("%w: remaining length not in its shortest form", errForm)
			}
			break
		}
	}
	body = make([]byte, size)
	if _, err = io.ReadFull(c.conn, body); err == nil && !wellFormed(first, body, c.version) {
		err = fmt.Errorf("%w: %x %x", errForm, first, body)
	}
	return first, body, err
}

// wellFormed says whether a packet is one that a server may send.
func wellFormed(first byte, body []byte, version byte) bool {
	rest := body
	id := func() bool {
		if len(rest) < 2 || rest[0]|rest[1] == 0 {
			return false
		}
		rest = rest[2:]
		return true
	}
	props := func(allowed ...byte) bool {
		if version < 5 {
			return true
		}
		_, after, ok := splitProperties(rest, allowed...)
		rest = after
		return ok
	}
	switch first {
	case connack:
		return len(body) >= 2 && body[0] <= 1 && (version < 5 && len(body) == 2 || version == 5 && func() bool {
			rest = body[2:]
			return props(17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42) && len(rest) == 0
		}())
	case puback, pubrec, pubrel, pubcomp:
		if !id() || len(rest) > 0 && version < 5 {
			return false
		}
		if len(rest) < 2 {
			return true
		}
		rest = rest[1:]
		return props(31, 38) && len(rest) == 0
	case suback:
		return id() && props(31, 38) && len(rest) > 0
	case unsuback:
		return id() && props(31, 38) && (len(rest) > 0) == (version == 5)
	case pingresp:
		return len(body) == 0
	case disconnect:
		if version < 5 || len(body) == 0 || body[0] < 0x80 {
			return false // a server's goodbye has a reason
		}
		if rest = body[1:]; len(rest) == 0 {
			return true
		}
		return props(28, 31, 38) && len(rest) == 0 // never a session expiry [MQTT-3.14.2-2]
	}
	if first&0xf0 != publish || first&6 == 6 || first&0x0e == 8 {
		return false
	}
	topic, after, ok := splitText(rest)
	rest = after
	if !ok || !utf8.ValidString(topic) || first&6 != 0 && !id() {
		return false
	}
	return props(1, 2, 3, 8, 9, 11, 35, 38)
}

func splitText(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
		return "", nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return string(b[2:n]), b[n:], true
}

// splitProperties takes the properties from b and says whether all are of allowed kinds and of good form.
func splitProperties(b []byte, allowed ...byte) (props, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	props, rest = b[n:n+int(size)], b[n+int(size):]
	seen := map[byte]bool{}
	ok = eachProperty(props, func(id byte, _ []byte) bool {
		again := seen[id] && id != 38 && id != 11
		seen[id] = true
		return !again && bytes.IndexByte(allowed, id) >= 0
	})
	return props, rest, ok
}

// eachProperty calls f for every property; false: f said so, or the bytes have no such form.
func eachProperty(props []byte, f func(id byte, value []byte) bool) bool {
	for len(props) > 0 {
		id, size := props[0], 0
		rest := props[1:]
		switch id {
		case 1, 23, 25, 36, 37, 40, 41, 42:
			size = 1
		case 19, 33, 34, 35:
			size = 2
		case 2, 17, 24, 39:
			size = 4
		case 11:
			_, size = binary.Uvarint(rest)
		case 38:
			for range 2 {
				s, after, ok := splitText(rest[size:])
				if !ok || !utf8.ValidString(s) {
					return false
				}
				size = len(rest) - len(after)
			}
		default:
			_, after, ok := splitText(rest)
			if !ok {
				return false
			}
			size = len(rest) - len(after)
		}
		if size <= 0 || size > len(rest) || !f(id, rest[:size]) {
			return false
		}
		props = rest[size:]
	}
	return true
}

// property returns the value of the first property with the id, without the length of a text.
func property(props []byte, id byte) (value []byte, ok bool) {
	eachProperty(props, func(got byte, v []byte) bool {
		if got == id {
			value, ok = v, true
		}
		return !ok
	})
	return value, ok
}

// ended says that err is the end of a connection, and not the end of our patience.
func ended(err error) bool {
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, errForm)
}
