package conformance

import (
	"bytes"
	"encoding/binary"
	"slices"
)

func (c *client) read() (first byte, body []byte) {
	c.t.Helper()
	first, body, err := c.tryRead(patience)
	if err != nil {
		c.t.Fatalf("%s reads: %v", c.name, err)
	}
	return first, body
}

// expect reads packets and compares them whole.
func (c *client) expect(packets ...[]byte) {
	c.t.Helper()
	for _, want := range packets {
		first, body := c.read()
		if got := packet(first, body); !bytes.Equal(got, want) {
			c.t.Fatalf("%s got %x, want %x", c.name, got, want)
		}
	}
}

// quiet makes sure that the server has dealt with all that c sent, and that nothing is on its way to c.
func (c *client) quiet() {
	c.t.Helper()
	c.send([]byte{pingreq, 0})
	c.expect([]byte{pingresp, 0})
}

// closed expects the end of the connection, with v5 after a DISCONNECT with one of the codes; none: with or without any.
// Nothing else may come before.
func (c *client) closed(codes ...byte) {
	c.t.Helper()
	first, body, err := c.tryRead(patience)
	if err == nil {
		if c.version < 5 || first != disconnect {
			c.t.Fatalf("%s got %x %x, want the end", c.name, first, body)
		}
		if len(codes) > 0 && !slices.Contains(codes, body[0]) {
			c.t.Fatalf("%s was disconnected with %x, want %x", c.name, body[0], codes)
		}
		_, _, err = c.tryRead(patience)
	} else if c.version == 5 && len(codes) > 0 {
		c.t.Fatalf("%s: %v, want a DISCONNECT with %x", c.name, err, codes)
	}
	if !ended(err) {
		c.t.Fatalf("%s: %v, want the end", c.name, err)
	}
}

// refused expects a CONNACK with the code of its version, and the end. Code 0: the end alone, or with v5 any CONNACK of failure.
func (c *client) refused(code3, code5 byte) {
	c.t.Helper()
	code := code3
	if c.version == 5 {
		code = code5
	}
	first, body, err := c.tryRead(patience)
	if err == nil {
		if first != connack || body[0] != 0 || body[1] == 0 || code != 0 && body[1] != code || code == 0 && c.version < 5 {
			c.t.Fatalf("got %x %x, want a refusal with %x", first, body, code)
		}
		_, _, err = c.tryRead(patience)
	} else if code != 0 {
		c.t.Fatalf("%v, want a refusal with %x", err, code)
	}
	if !ended(err) {
		c.t.Fatalf("%v, want the end", err)
	}
}

// accepted reads the CONNACK.
func (c *client) accepted() *client {
	c.t.Helper()
	first, body := c.read()
	if first != connack || body[1] != 0 {
		c.t.Fatalf("connack of %q: %x %x", c.name, first, body)
	}
	c.present = body[0] == 1
	if c.version == 5 {
		c.props, _, _ = splitProperties(body[2:], 17, 18, 19, 26, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42)
	}
	return c
}

// freshID returns a packet id that the client has not used.
func (c *client) freshID() uint16 {
	c.nextID++
	return c.nextID
}

// subscribe subscribes to one filter with the options, which begin with the QoS, and expects that QoS.
func (c *client) subscribe(filter string, options byte, props ...byte) {
	c.t.Helper()
	id := c.freshID()
	c.send(c.filters(subscribe, id, props, int(options), filter))
	c.expect(c.subscribed(suback, id, options&3))
}

func (c *client) unsubscribe(filter string) {
	c.t.Helper()
	id := c.freshID()
	c.send(c.filters(unsubscribe, id, nil, -1, filter))
	if c.version == 5 {
		c.expect(with(unsuback, id, 0, 0))
	} else {
		c.expect(with(unsuback, id))
	}
}

// subscribed is a SUBACK, or with v5 an UNSUBACK.
func (c *client) subscribed(first byte, id uint16, codes ...byte) []byte {
	if c.version == 5 {
		codes = append([]byte{0}, codes...)
	}
	return with(first, id, codes...)
}

// publish sends a message and goes through with its QoS.
func (c *client) publish(m message) {
	c.t.Helper()
	if m.qos > 0 {
		m.id = c.freshID()
	}
	c.send(m.bytes(c.version))
	switch m.qos {
	case 0:
		c.quiet()
	case 1:
		c.expect(with(puback, m.id))
	case 2:
		c.expect(with(pubrec, m.id))
		c.send(with(pubrel, m.id))
		c.expect(with(pubcomp, m.id))
	}
}

// message reads a PUBLISH without answering it.
func (c *client) message() message {
	c.t.Helper()
	first, body := c.read()
	if first&0xf0 != publish {
		c.t.Fatalf("%s got %x %x, want a message", c.name, first, body)
	}
	m := message{qos: first >> 1 & 3, retain: first&1 != 0, dup: first&8 != 0}
	m.topic, body, _ = splitText(body)
	if m.qos > 0 {
		m.id, body = binary.BigEndian.Uint16(body), body[2:]
	}
	if c.version == 5 {
		m.props, body, _ = splitProperties(body, 1, 2, 3, 8, 9, 11, 35, 38)
	}
	m.payload = string(body)
	return m
}

// got reads a PUBLISH, compares it but for its packet id, and goes through with its QoS.
func (c *client) got(want message) {
	c.t.Helper()
	m := c.message()
	c.same(m, want)
	c.finish(m)
}

func (c *client) same(got, want message) {
	c.t.Helper()
	if got.topic != want.topic || got.payload != want.payload || got.qos != want.qos || got.retain != want.retain || got.dup != want.dup ||
		!bytes.Equal(got.props, want.props) {
		c.t.Fatalf("%s got %+v, want %+v", c.name, got, want)
	}
}

// finish answers a PUBLISH to its end.
func (c *client) finish(m message) {
	c.t.Helper()
	switch m.qos {
	case 1:
		c.send(with(puback, m.id))
	case 2:
		c.send(with(pubrec, m.id))
		c.expect(with(pubrel, m.id))
		c.send(with(pubcomp, m.id))
	}
}

// leave ends the connection with a DISCONNECT and waits until the server has closed it.
func (c *client) leave() {
	c.t.Helper()
	c.send([]byte{disconnect, 0})
	if _, _, err := c.tryRead(patience); !ended(err) {
		c.t.Fatalf("after DISCONNECT: %v", err)
	}
}
