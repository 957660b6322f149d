package ingest_test

import (
	"bytes"
	"testing"
	"time"

	"muster/ingest"
	"muster/tsdb/vfs"
)

// once connects a client with a session that stays and takes one message at a time.
func (f *fixture) once(id string) *client {
	return f.connect(5, id, keepSession(3600), withProps(33, 0, 1))
}

func (c *client) publishOnce(topic, payload string, id byte, dup bool) {
	c.t.Helper()
	p := publishPacket(5, topic, payload, 2, uint16(id), false)
	if dup {
		p[0] |= 8
	}
	c.send(p)
	if first, body := c.read(); first != 0x50 || body[1] != id || len(body) > 2 && body[2] >= 0x80 {
		c.t.Fatalf("pubrec: %x %x", first, body)
	}
}

func (c *client) releaseOnce(id byte) {
	c.t.Helper()
	c.send([]byte{0x62, 2, 0, id})
	c.expect(0x70, 2, 0, id)
}

// takeOnce reads a QoS 2 message to its end.
func (c *client) takeOnce() received {
	c.t.Helper()
	m := c.message()
	id := byte(m.id)
	c.send([]byte{0x50, 2, 0, id})
	c.expect(0x62, 2, 0, id)
	c.send([]byte{0x70, 2, 0, id})
	return m
}

// TestTornExactlyOnce cuts the write that takes over a QoS 2 message after every byte. The client, which had no answer, sends it again: each of
// two subscribers gets it once.
func TestTornExactlyOnce(t *testing.T) {
	if loop != ingest.LoopGoroutine {
		t.Skip("what is on disk is the same with every loop")
	}
	const name = "sessions/sessions.log"
	disk := vfs.NewMem()
	f := newFixture(t, true)
	f.dir, f.fs = ".", disk
	f.start()
	for _, id := range []string{"north", "south"} {
		c := f.once(id)
		c.subscribe(1, "a/b", 2)
		c.send([]byte{0xe0, 0})
		c.expectEnd()
	}
	p := f.once("pub")
	p.publishOnce("a/nobody", "zero", 1, false)
	p.releaseOnce(1) // all of it is on disk
	before, err := disk.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	p.publishOnce("a/b", "one", 7, false)
	after, err := disk.ReadFile(name)
	if err != nil || !bytes.HasPrefix(after, before) || len(after) < len(before)+50 {
		t.Fatalf("%d bytes, then %d, %v", len(before), len(after), err)
	}
	for cut := len(before); cut <= len(after); cut++ {
		disk := vfs.NewMem()
		_ = disk.MkdirAll("sessions", 0o700)
		if err := disk.WriteFile(name, after[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		f := newFixture(t, true)
		f.dir, f.fs = ".", disk
		f.start()
		p := f.once("pub")
		p.publishOnce("a/b", "one", 7, true)
		p.releaseOnce(7)
		p.publishOnce("a/b", "two", 8, false)
		for _, id := range []string{"north", "south"} {
			c := f.once(id)
			if one, two := c.takeOnce(), c.takeOnce(); one.payload != "one" || two.payload != "two" {
				t.Fatalf("%d of %d bytes were written: %s got %q, then %q", cut-len(before), len(after)-len(before), id, one.payload, two.payload)
			}
		}
		f.stop(f.server, f.store)
	}
}

// TestRepeatedWhileTheDiskWorks sends a QoS 2 message again, on a new connection, before its first copy is on disk: no answer says that it is.
func TestRepeatedWhileTheDiskWorks(t *testing.T) {
	disk := newHeldFS(vfs.OS{})
	f := newFixture(t, true)
	f.fs = disk
	f.start()
	sub := f.once("sub")
	sub.subscribe(1, "a/b", 2)
	f.once("pub").send([]byte{0xc0, 0}) // its session is there
	disk.stop()
	defer disk.free()
	p := publishPacket(5, "a/b", "one", 2, 7, false)
	f.once("pub").send(p)
	eventually(t, "the message", func() bool { return f.server.Stats().MessagesBroker == 1 })
	p[0] |= 8
	c := f.once("pub")
	c.send(p)
	eventually(t, "its repetition", func() bool { return f.server.Stats().MessagesBroker == 2 })
	c.expectNothing(50 * time.Millisecond)
	disk.free()
	c.expect(0x50, 2, 0, 7)
	c.releaseOnce(7)
	if m := sub.takeOnce(); m.payload != "one" {
		t.Fatalf("got %q", m.payload)
	}
	sub.expectNothing(50 * time.Millisecond)
}
