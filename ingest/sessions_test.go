package ingest_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"muster/tsdb/vfs"
)

func TestRetained(t *testing.T) {
	f := newFixture(t, true).start()
	for round := range 2 { // again after a restart
		if round == 0 {
			c := f.connect(4, "a")
			for i, topic := range []string{"home", "home/kitchen", "home/hall/lamp"} {
				c.send(publishPacket(4, topic, "on "+topic, 1, uint16(i+1), true))
				c.expect(0x40, 2, 0, byte(i+1))
			}
			c.send(publishPacket(4, "home/gone", "x", 1, 9, true))
			c.expect(0x40, 2, 0, 9)
			c.send(publishPacket(4, "home/gone", "", 1, 10, true))
			c.expect(0x40, 2, 0, 10)
		} else {
			f.restart()
		}
		for filter, want := range map[string][]string{
			"home":        {"home"},
			"home/#":      {"home", "home/hall/lamp", "home/kitchen"},
			"home/+":      {"home/kitchen"},
			"+/+/#":       {"home/hall/lamp", "home/kitchen"},
			"#":           {"home", "home/hall/lamp", "home/kitchen"},
			"nothing/#":   nil,
			"$share/g/#":  nil,
			"home/+/lamp": {"home/hall/lamp"},
		} {
			s := f.connect(4, "s")
			s.subscribe(1, filter, 0)
			s.send([]byte{0xc0, 0})
			var got []string
			for {
				first, body := s.read()
				if first == 0xd0 {
					break
				}
				if first&1 == 0 {
					t.Fatalf("%s: message without the retain flag", filter)
				}
				got = append(got, string(body[2:2+int(body[1])]))
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Fatalf("round %d, %s: got %v, want %v", round, filter, got, want)
			}
		}
	}
}

func TestWills(t *testing.T) {
	f := newFixture(t, true).start()
	watcher := f.connect(4, "watcher")
	watcher.subscribe(1, "wills/#", 1)
	expect := func(topic string) {
		t.Helper()
		m := watcher.message()
		if m.topic != topic || m.payload != "gone" {
			t.Fatalf("got %+v, want %s", m, topic)
		}
		if m.qos == 1 {
			watcher.send([]byte{0x40, 2, byte(m.id >> 8), byte(m.id)})
		}
	}
	for _, version := range []byte{4, 5} {
		topic := fmt.Sprintf("wills/%d", version)
		// a broken connection
		c := f.connect(version, "c", withWill(version, topic, "gone", 1, false))
		c.conn.Close()
		expect(topic)
		// a goodbye
		c = f.connect(version, "c", withWill(version, topic, "gone", 1, false))
		c.send([]byte{0xe0, 0})
		c.expectEnd()
		watcher.expectNothing(50 * time.Millisecond)
		// a violation
		c = f.connect(version, "c", withWill(version, topic, "gone", 1, false))
		c.send([]byte{0x36, 0})
		c.expectEnd()
		expect(topic)
		// a takeover
		c = f.connect(version, "c", withWill(version, topic, "gone", 1, false))
		f.connect(version, "c")
		c.expectEnd()
		expect(topic)
	}
	// a goodbye that asks for the will
	c := f.connect(5, "c", withWill(5, "wills/asked", "gone", 0, false))
	c.send([]byte{0xe0, 1, 4})
	expect("wills/asked")
	// a delayed will fires later, and not when the client comes back in time
	delayed := func() *client {
		d := f.dialPlain(5)
		p := connectPacket(5, "d", withWill(5, "wills/late", "gone", 1, false), keepSession(60))
		at := bytes.Index(p, append([]byte{0}, str(nil, "wills/late")...)) // the will's empty properties
		p = slices.Concat(p[:at], []byte{5, 24, 0, 0, 0, 1}, p[at+1:])
		p[1] += 5
		d.send(p)
		if first, body := d.read(); first != 0x20 || body[1] != 0 {
			t.Fatalf("connack: %x %x", first, body)
		}
		return d
	}
	delayed().conn.Close()
	watcher.expectNothing(300 * time.Millisecond)
	expect("wills/late")
	delayed().conn.Close()
	eventually(t, "the end of d", func() bool { return f.presence.has("d: connection closed by the client") })
	f.connect(5, "d", keepSession(60))
	watcher.expectNothing(2500 * time.Millisecond)
}

func TestSessionsGoOn(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("v%d restart %v", version, restart), func(t *testing.T) {
				f := newFixture(t, true).start()
				expiry := uint32(3600) * uint32(version-4)
				c := f.dialPlain(version)
				if c.open("keeper", keepSession(expiry)) {
					t.Fatal("session present on the first connect")
				}
				c.subscribe(1, "news/#", 2)
				pub := f.connect(4, "pub")
				// one message is sent and not acknowledged, one is received and not completed
				pub.send(publishPacket(4, "news/1", "one", 1, 1, false))
				pub.expect(0x40, 2, 0, 1)
				pub.send(publishPacket(4, "news/2", "two", 2, 2, false))
				pub.expect(0x50, 2, 0, 2)
				one, two := c.message(), c.message()
				if one.payload != "one" || two.payload != "two" || one.dup || two.qos != 2 {
					t.Fatalf("got %+v %+v", one, two)
				}
				c.send([]byte{0x50, 2, byte(two.id >> 8), byte(two.id)})
				c.expect(0x62, 2, byte(two.id>>8), byte(two.id))
				// a QoS 2 message of its own is open as well
				c.send(publishPacket(version, "elsewhere", "x", 2, 77, false))
				c.expect(0x50, 2, 0, 77)
				c.conn.Close()
				eventually(t, "the disconnect", func() bool { return f.presence.has("keeper: connection closed by the client") })
				// while it is away
				for i := range byte(20) {
					pub.send(publishPacket(4, "news/away", fmt.Sprint("away ", i), 1, uint16(100+i), false))
					pub.expect(0x40, 2, 0, 100+i)
				}
				if restart {
					f.restart()
				}
				c = f.dialPlain(version)
				if !c.open("keeper", keepSession(expiry)) {
					t.Fatal("session not present")
				}
				// the first again, the release again, then the rest in order
				if m := c.message(); m.payload != "one" || !m.dup || m.id != one.id {
					t.Fatalf("resent: %+v", m)
				}
				c.expect(0x62, 2, byte(two.id>>8), byte(two.id))
				c.send([]byte{0x40, 2, byte(one.id >> 8), byte(one.id)})
				c.send([]byte{0x70, 2, byte(two.id >> 8), byte(two.id)})
				for i := range 20 {
					m := c.message()
					if m.payload != fmt.Sprint("away ", i) || m.dup {
						t.Fatalf("message %d: %+v", i, m)
					}
					c.send([]byte{0x40, 2, byte(m.id >> 8), byte(m.id)})
				}
				// its own open QoS 2 message is known
				c.send([]byte{0x62, 2, 0, 77})
				c.expect(0x70, 2, 0, 77)
				// the subscription is there
				again := f.connect(4, "pub2")
				again.send(publishPacket(4, "news/now", "now", 0, 0, false))
				if m := c.message(); m.payload != "now" {
					t.Fatalf("got %+v", m)
				}
				// a clean start ends it all
				c.send([]byte{0xe0, 0})
				c.expectEnd()
				c = f.dialPlain(version)
				if c.open("keeper") {
					t.Fatal("session present after a clean start")
				}
				again.send(publishPacket(4, "news/now", "now", 0, 0, false))
				c.expectNothing(50 * time.Millisecond)
			})
		}
	}
}

func TestTimeEndsThings(t *testing.T) {
	f := newFixture(t, true)
	clock := vfs.NewManual(time.Now())
	f.clock = clock
	f.start()
	away := func(id string, expiry uint32) {
		c := f.connect(5, id, keepSession(expiry))
		c.subscribe(1, "news", 1)
		c.conn.Close()
		eventually(t, "the disconnect", func() bool { return f.presence.has(id + ": connection closed by the client") })
	}
	for _, id := range []string{"first", "second"} { // they end without anybody asking for them
		away(id, 2)
		clock.Advance(3 * time.Second)
		eventually(t, "the end of "+id, func() bool { return f.metric("muster_ingest_sessions") == "muster_ingest_sessions 0\n" })
	}
	away("short", 10)
	away("long", 0xffffffff)
	pub := f.connect(5, "pub")
	send := func(topic string, retain bool, id byte) { // with 5 s to live
		first := byte(0x32)
		if retain {
			first |= 1
		}
		body := append(append(str(nil, topic), 0, id, 5, 2, 0, 0, 0, 5), "x"...)
		pub.send(packet(first, body))
		pub.expect(0x40, 2, 0, id)
	}
	send("kept", true, 1)
	send("news", false, 2)
	late := f.connect(4, "late")
	late.subscribe(1, "kept", 0)
	if m := late.message(); m.topic != "kept" {
		t.Fatalf("got %+v", m)
	}
	clock.Advance(11 * time.Second)
	// a message does not outlive its expiry, neither retained nor in a queue
	late = f.connect(4, "late")
	late.subscribe(1, "kept", 0)
	late.expectNothing(50 * time.Millisecond)
	if c := f.dialPlain(5); c.open("short", keepSession(10)) {
		t.Fatal("an expired session was present")
	}
	c := f.dialPlain(5)
	if !c.open("long", keepSession(0xffffffff)) {
		t.Fatal("no session")
	}
	c.expectNothing(50 * time.Millisecond)
	c.conn.Close()
	// for ever means seven days
	eventually(t, "the disconnect", func() bool { return f.server.Stats().Connections == 3 })
	clock.Advance(8 * 24 * time.Hour)
	c = f.dialPlain(5)
	if c.open("long", keepSession(0xffffffff)) {
		t.Fatal("a session of last week was present")
	}
}

func TestReceiveMaximumOfASubscriber(t *testing.T) {
	f := newFixture(t, true).start()
	c := f.connect(5, "slow", withProps(33, 0, 2))
	c.subscribe(1, "q", 1)
	pub := f.connect(4, "pub")
	for i := range byte(10) {
		pub.send(publishPacket(4, "q", string('a'+i), 1, uint16(i)+1, false))
		pub.expect(0x40, 2, 0, i+1)
	}
	window := []received{c.message(), c.message()}
	for i := range 10 {
		if i < 8 {
			c.expectNothing(20 * time.Millisecond)
		}
		if want := string(rune('a' + i)); window[0].payload != want {
			t.Fatalf("message %d is %+v", i, window[0])
		}
		c.send([]byte{0x40, 2, byte(window[0].id >> 8), byte(window[0].id)})
		if window = window[1:]; i < 8 {
			window = append(window, c.message())
		}
	}
}

func TestTakeover(t *testing.T) {
	f := newFixture(t, false).start()
	first := f.connect(5, "lamp-1")
	second := f.connect(5, "lamp-1")
	if last := first.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x8e {
		t.Fatalf("got %x, want a disconnect with 0x8e", last)
	}
	second.send(publishPacket(5, "dt/lamp-1", `{"a":1}`, 1, 1, false))
	second.expect(0x40, 2, 0, 1)
	if f.presence.has("lamp-1: session taken over") {
		t.Fatal("the thing was said to be gone")
	}
	eventually(t, "one connection", func() bool { return f.server.Stats().Connections == 1 })
}

func TestSharedSubscriptions(t *testing.T) {
	f := newFixture(t, true).start()
	a, b := f.connect(5, "a"), f.connect(5, "b")
	a.subscribe(1, "$share/g/work", 1)
	b.subscribe(1, "$share/g/work", 1)
	pub := f.connect(4, "pub")
	for i := range byte(40) {
		pub.send(publishPacket(4, "work", "x", 1, uint16(i)+1, false))
		pub.expect(0x40, 2, 0, i+1)
	}
	counts := 0
	for _, c := range []*client{a, b} {
		for {
			first, _, err := c.tryRead(50 * time.Millisecond)
			if err != nil {
				break
			}
			if first>>4 == 3 {
				counts++
			}
		}
	}
	if counts != 40 {
		t.Fatalf("%d messages arrived, want 40", counts)
	}
}

// TestStorm: clients subscribe, unsubscribe, publish, retain, leave and take each other's sessions, all at once. Nothing
// breaks, and at the end a fresh pair of clients finds everything in order.
func TestStorm(t *testing.T) {
	f := newFixture(t, true).start()
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for round := range 15 {
				conn, err := net.Dial("tcp", f.plain)
				if err != nil {
					t.Error(err)
					return
				}
				version := byte(4 + g%2)
				var b []byte
				opts := []connectOption{withWill(version, "storm/will", "x", 1, g == 0)}
				if g%3 == 0 {
					opts = append(opts, keepSession(uint32(version-4)*100))
				}
				b = append(b, connectPacket(version, fmt.Sprint("storm-", g/2), opts...)...)
				for i := range uint16(20) {
					b = append(b, subscribePacket(version, i+1, fmt.Sprint("storm/", i%5, "/#"), byte(i%3))...)
					b = append(b, publishPacket(version, fmt.Sprint("storm/", i%5, "/x"), "payload", byte(i%3), i+100, i%7 == 0)...)
					b = append(b, publishPacket(version, fmt.Sprint("dt/storm-", g/2), `{"a":1}`, 1, i+200, false)...)
					body := []byte{0, 1}
					if version == 5 {
						body = append(body, 0)
					}
					b = append(b, packet(0xa2, str(body, fmt.Sprint("storm/", i%4, "/#")))...)
				}
				_, _ = conn.Write(b) // a takeover may close it meanwhile
				_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
				_, _ = io.Copy(io.Discard, conn)
				if round%2 == 0 {
					_, _ = conn.Write([]byte{0xe0, 0})
				}
				conn.Close()
			}
		})
	}
	wg.Wait()
	eventually(t, "the end of the storm", func() bool { return f.server.Stats().Connections == 0 })
	c := f.connect(5, "calm")
	c.subscribe(1, "after/#", 1)
	c.send(publishPacket(5, "after/it", "x", 1, 2, false))
	for range 2 {
		c.read()
	}
	if stats := f.server.Stats(); stats.Panics != 0 {
		t.Fatalf("%d panics", stats.Panics)
	}
	f.restart()
}
