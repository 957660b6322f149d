package ingest_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"muster/ingest/lane"
)

// filtersPacket is a SUBSCRIBE of filters with QoS 1, or an UNSUBSCRIBE.
func filtersPacket(version byte, subscribe bool, id uint16, filters ...string) []byte {
	body := []byte{byte(id >> 8), byte(id)}
	if version == 5 {
		body = append(body, 0)
	}
	first := byte(0xa2)
	for _, f := range filters {
		if body = str(body, f); subscribe {
			first, body = 0x82, append(body, 1)
		}
	}
	return packet(first, body)
}

// answered reads a SUBACK or UNSUBACK and returns its codes.
func (c *client) answered(want byte, id uint16) []byte {
	c.t.Helper()
	first, body := c.read()
	head := 2
	if c.version == 5 {
		head = 3
	}
	if first != want || len(body) < head || body[0] != byte(id>>8) || body[1] != byte(id) {
		c.t.Fatalf("got %x %x, want the answer to %d", first, body, id)
	}
	return body[head:]
}

// TestSubscribeBeyondTheLimits: filters beyond the limits are refused each for itself; the others are granted and the connection goes on.
func TestSubscribeBeyondTheLimits(t *testing.T) {
	deep := "a/1/2/3/4/5/6/7/8"
	filters := []string{"a/0", deep, "$share/g/" + deep, "dt/me/1/2/3/4/5/6/7/8", "a/4", "a/5", "a/6", "a/7", "a/8", "a/9"}
	for version := byte(4); version <= 5; version++ {
		invalid, quota := byte(0x8f), byte(0x97)
		if version < 5 {
			invalid, quota = 0x80, 0x80
		}
		f := newFixture(t, true).start()
		c := f.connect(version, "me")
		c.send(filtersPacket(version, true, 1, filters...))
		if got, want := c.answered(0x90, 1), []byte{1, invalid, invalid, 1, 1, 1, 1, 1, quota, quota}; !bytes.Equal(got, want) {
			t.Fatalf("v%d: codes %x, want %x", version, got, want)
		}
		for _, topic := range []string{"a/8", "a/9", "a/0"} { // the last one arrives, and nothing before it
			c.send(publishPacket(version, topic, topic, 0, 0, false))
		}
		if m := c.message(); m.topic != "a/0" {
			t.Fatalf("v%d: got %+v", version, m)
		}
		by := f.server.Stats().RefusedBy
		if by["filter with too many levels"] != 2 || by["too many filters"] != 1 {
			t.Fatalf("v%d: %v", version, by)
		}
		c.send(filtersPacket(version, false, 2, filters...))
		want := []byte{0, 0x11, 0x11, 0, 0, 0, 0, 0, 0x11, 0x11}
		if version < 5 {
			want = nil
		}
		if got := c.answered(0xb0, 2); !bytes.Equal(got, want) {
			t.Fatalf("v%d: unsuback %x, want %x", version, got, want)
		}

		// with wider limits all are granted
		f = newFixture(t, true)
		f.config.Packets = lane.DefaultLimits()
		f.config.Packets.Filters, f.config.Packets.TopicLevels = 10, 9
		f.start()
		c = f.connect(version, "me")
		c.send(filtersPacket(version, true, 1, filters...))
		if got := c.answered(0x90, 1); !bytes.Equal(got, bytes.Repeat([]byte{1}, 10)) {
			t.Fatalf("v%d: codes %x with wider limits", version, got)
		}
		c.send(publishPacket(version, deep, "x", 0, 0, false))
		if m := c.message(); m.topic != deep {
			t.Fatalf("v%d: got %+v", version, m)
		}
	}
}

// TestSubscribeOfAWholePacket sends as many filters as a packet holds: each has its code.
func TestSubscribeOfAWholePacket(t *testing.T) {
	f := newFixture(t, true).start()
	for version := byte(4); version <= 5; version++ {
		c := f.connect(version, "me")
		filters := strings.Split(strings.Repeat("a,", 25_000), ",")[:25_000]
		c.send(filtersPacket(version, true, 1, filters...))
		if got := c.answered(0x90, 1); len(got) != len(filters) || got[0] != 1 || got[8] < 0x80 || got[len(got)-1] < 0x80 {
			t.Fatalf("v%d: %d codes, %x ...", version, len(got), got[:min(len(got), 10)])
		}
		c.send([]byte{0xc0, 0})
		c.expect(0xd0, 0)
	}
}

// TestSubackLargerThanTheClientTakes: nothing larger than the client's maximum packet size is sent [MQTT-3.1.2-24].
func TestSubackLargerThanTheClientTakes(t *testing.T) {
	f := newFixture(t, true).start()
	c := f.connect(5, "me", withProps(39, 0, 0, 0, 30))
	var filters []string
	for i := range 30 {
		filters = append(filters, fmt.Sprint("a/", i))
	}
	c.send(filtersPacket(5, true, 1, filters[:25]...))
	if got := c.answered(0x90, 1); len(got) != 25 {
		t.Fatalf("%d codes", len(got))
	}
	c.send(filtersPacket(5, true, 2, filters...))
	if last := c.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x95 || len(last) > 30 {
		t.Fatalf("got %x, want DISCONNECT 0x95", last)
	}
}

// TestPublishTooDeep: a message whose topic has too many levels is refused alone where the version has a way to say so: PUBACK or PUBREC 0x90 (v5
// sections 3.4.2.1 and 3.5.2.1). At QoS 0 it is dropped. An alias for such a topic is known, and refused again. All are counted. A 3.1.1
// client would take any answer for success: its connection ends.
func TestPublishTooDeep(t *testing.T) {
	deep := "a/1/2/3/4/5/6/7/8"
	f := newFixture(t, true).start()
	c := f.connect(5, "me")
	refused := func(want byte, id uint16) {
		t.Helper()
		first, body := c.read()
		if first != want || len(body) < 3 || body[0] != byte(id>>8) || body[1] != byte(id) || body[2] != 0x90 {
			t.Fatalf("got %x %x, want %x for %d with code 0x90", first, body, want, id)
		}
	}
	c.send(publishPacket(5, deep, "x", 0, 0, false))
	c.send(publishPacket(5, deep, "x", 1, 1, false))
	refused(0x40, 1)
	c.send(publishPacket(5, deep, "x", 2, 2, true))
	refused(0x50, 2)
	c.send(publishPacket(5, deep, "x", 2, 2, false)) // the exchange before has ended: the id is free
	refused(0x50, 2)
	alias := func(topic string, id byte) []byte {
		return packet(0x32, append(str(nil, topic), 0, id, 3, 35, 0, 1, 'x'))
	}
	c.send(alias(deep, 3))
	refused(0x40, 3)
	c.send(alias("", 4))
	refused(0x40, 4)
	c.send(alias("dt/me", 5)) // the alias stands for something else from here on; its payload is no telemetry
	if first, body := c.read(); first != 0x40 || len(body) < 3 || body[1] != 5 || body[2] != 0x99 {
		t.Fatalf("got %x %x, want PUBACK 0x99", first, body)
	}
	c.send([]byte{0xc0, 0})
	c.expect(0xd0, 0)
	if n := f.server.Stats().RefusedBy["topic with too many levels"]; n != 6 {
		t.Fatalf("%d refusals are counted, want 6", n)
	}
	for qos := range byte(3) {
		old := f.connect(4, fmt.Sprint("old-", qos))
		old.send(publishPacket(4, deep, "x", qos, uint16(qos), false))
		if last := old.expectEnd(); last != nil {
			t.Fatalf("3.1.1, QoS %d: last packet %x, want none", qos, last)
		}
	}
}
