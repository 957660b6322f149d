package ingest_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"muster/ingest/broker"
)

// TestRightsThatChange: a policy that changes is obeyed with the next packet, on the short way of telemetry as on the broker's, in both
// directions, by what waits as well, and by wills.
func TestRightsThatChange(t *testing.T) {
	f := newFixture(t, true).start()
	forbid := func(what string) { f.gate.forbidden.Store(what, true) }
	allow := func(what string) { f.gate.forbidden.Delete(what) }
	pub := f.connect(5, "pub")
	publish := func(c *client, topic, payload string, want ...byte) {
		t.Helper()
		c.send(publishPacket(5, topic, payload, 1, 7, false))
		first, body := c.read()
		if first != 0x40 || len(want) > 0 && (len(body) < 3 || body[2] != want[0]) || len(want) == 0 && len(body) > 2 {
			t.Fatalf("%s: got %x %x, want the code %x", topic, first, body, want)
		}
	}
	quiet := func(c *client) {
		t.Helper()
		c.send([]byte{0xc0, 0})
		c.expect(0xd0, 0)
	}
	got := func(c *client, payload string) received {
		t.Helper()
		m := c.message()
		if m.payload != payload {
			t.Fatalf("got %+v, want %s", m, payload)
		}
		return m
	}

	// telemetry
	lamp := f.connect(5, "lamp")
	publish(lamp, "dt/lamp", `{"a":1}`)
	forbid("lamp publish dt/lamp")
	publish(lamp, "dt/lamp", `{"a":2}`, 0x87)
	lamp.send(publishPacket(5, "dt/lamp", `{"a":3}`, 0, 0, false))
	quiet(lamp)
	if v, _ := f.last("lamp", "a"); v != 1 {
		t.Fatalf("%v was stored", v)
	}
	allow("lamp publish dt/lamp")
	publish(lamp, "dt/lamp", `{"a":4}`)

	// what a subscription brings, at once and retained
	zero := f.connect(5, "zero")
	zero.subscribe(1, "x", 0)
	forbid("zero receive x")
	pub.send(publishPacket(5, "x", "no", 1, 8, true))
	pub.expect(0x40, 2, 0, 8)
	quiet(zero)
	zero.subscribe(1, "x", 0)
	quiet(zero)
	allow("zero receive x")
	zero.subscribe(1, "x", 0)
	got(zero, "no")
	c := f.connect(5, "reader", withProps(33, 0, 1)) // one message at a time
	forbid("reader receive x")
	c.subscribe(1, "x", 1)
	publish(pub, "x", "no")
	quiet(c)
	pub.send(publishPacket(5, "x", "kept", 1, 8, true))
	pub.expect(0x40, 2, 0, 8)
	c.subscribe(1, "x", 1)
	quiet(c)
	allow("reader receive x")
	c.subscribe(1, "x", 1)
	m := got(c, "kept")
	// and what waits for room
	publish(pub, "x", "waits")
	quiet(c)
	forbid("reader receive x")
	c.send([]byte{0x40, 2, byte(m.id >> 8), byte(m.id)})
	quiet(c)
	allow("reader receive x")
	publish(pub, "x", "yes")
	got(c, "yes")

	// a will, when it is published
	watch := f.connect(5, "watch")
	watch.subscribe(1, "end", 1)
	for _, forbidden := range []bool{true, false} {
		c := f.connect(5, "mortal", withWill(5, "end", "gone", 1, false))
		if forbidden {
			forbid("mortal publish end")
		}
		before := f.server.Stats().Connections
		c.conn.Close()
		eventually(t, "the end", func() bool { return f.server.Stats().Connections < before })
		if allow("mortal publish end"); !forbidden {
			got(watch, "gone")
		}
		quiet(watch) // nothing that was forbidden
	}

	// the connection itself
	forbid("lamp connect lamp")
	f.server.Review("lamp")
	if last := lamp.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x87 {
		t.Fatalf("got %x, want a disconnect with 0x87", last)
	}
	quiet(pub)
}

// TestSessionsAreBounded: beyond the limit nobody gets a session, and who has one keeps it.
func TestSessionsAreBounded(t *testing.T) {
	f := newFixture(t, true)
	f.config.Sessions = broker.DefaultLimits()
	f.config.Sessions.Sessions = 2
	f.start()
	f.connect(5, "a")
	f.connect(4, "b")
	for version, want := range map[byte][]byte{4: {0x20, 2, 0, 3}, 5: {0x20, 0, 0, 0x97}} {
		c := f.dialPlain(version)
		c.send(connectPacket(version, "c"))
		if last := c.expectEnd(); len(last) < 4 || last[0] != 0x20 || !bytes.Equal(last[2:4], want[2:]) {
			t.Errorf("v%d: %x", version, last)
		}
	}
	f.connect(5, "a")
}

// TestPropertiesAreBounded: more than 4 KiB of them end the connection.
func TestPropertiesAreBounded(t *testing.T) {
	f := newFixture(t, true).start()
	for size, ends := range map[int]bool{4000: false, 4100: true} {
		c := f.connect(5, "lamp")
		user := append([]byte{38, 0, 1, 'n', byte(size >> 8), byte(size)}, bytes.Repeat([]byte("v"), size)...)
		body := append([]byte{0, 1, 'x', 0, 1, byte(len(user)) | 0x80, byte(len(user) >> 7)}, user...)
		c.send(append([]byte{0x32, byte(len(body)) | 0x80, byte(len(body) >> 7)}, body...))
		if !ends {
			c.expect(0x40, 2, 0, 1)
		} else if last := c.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x95 {
			t.Errorf("%d bytes: %x", size, last)
		}
	}
}

// TestUnreadAnswers: who makes the gateway answer and reads nothing is cut off, long before its time to read is over.
func TestUnreadAnswers(t *testing.T) {
	f := newFixture(t, true).start()
	c := f.connect(5, "deaf")
	pings := bytes.Repeat([]byte{0xc0, 0}, 32<<10)
	for sent := 0; ; sent += len(pings) {
		if sent > 32<<20 {
			t.Fatal("32 MiB of pings were taken, whose answers nobody reads")
		}
		if _, err := c.conn.Write(pings); err != nil {
			break
		}
	}
	eventually(t, "the end", func() bool { return f.server.Stats().Connections == 0 })
}

// TestSlowReaderIsWaitedFor: a subscriber that reads late is not cut off, and misses nothing of QoS 1: what its socket has no room for waits in
// its session.
func TestSlowReaderIsWaitedFor(t *testing.T) {
	f := newFixture(t, true)
	f.config.Sessions = broker.DefaultLimits()
	f.config.Sessions.QueueBytes = 32 << 20
	f.start()
	c := f.connect(5, "late")
	c.subscribe(1, "big", 1)
	pub := f.connect(4, "pub")
	const count, size = 150, 100_000 // far more than the sockets and the connection take
	for i := range uint16(count) {
		pub.send(publishPacket(4, "big", fmt.Sprint(i, " ", strings.Repeat("x", size)), 1, i+1, false))
		pub.expect(0x40, 2, byte((i+1)>>8), byte(i+1))
	}
	for i := range count {
		m := c.message()
		if want := fmt.Sprint(i, " "); !strings.HasPrefix(m.payload, want) || len(m.payload) != len(want)+size {
			t.Fatalf("message %d is %.20q", i, m.payload)
		}
		c.send([]byte{0x40, 2, byte(m.id >> 8), byte(m.id)})
	}
	if n := f.server.Stats().Dropped; n != 0 {
		t.Fatalf("%d were dropped", n)
	}
}
