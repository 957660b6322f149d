package ingest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"muster/ingest/broker"
)

// TestDrainSpreadsReconnects stops a server with 300 devices, which were promised 600 ms of spread: the ends of their connections are spread over
// that time, MQTT 5 clients are told why, whoever connects meanwhile reads that the server is unavailable, and the others work on.
func TestDrainSpreadsReconnects(t *testing.T) {
	const devices, spread = 300, 600 * time.Millisecond
	f := newFixture(t, true).start() // Config.Drain is longer: few devices need less
	clients := make([]*client, devices)
	for i := range clients {
		clients[i] = f.connect(byte(4+i%2), fmt.Sprint("lamp-", i))
	}
	began := time.Now()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		f.stop(f.server, f.store)
	}()
	ends := make([]time.Duration, devices)
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			told := byte(0)
			for {
				first, body, err := c.tryRead(patience)
				if err != nil {
					break
				}
				if first == 0xe0 && len(body) > 0 {
					told = body[0]
				}
			}
			ends[i] = time.Since(began)
			if want := byte(0x8b) * byte(i%2); told != want {
				t.Errorf("device %d, v%d: told %x, want %x", i, c.version, told, want)
			}
		})
	}
	eventually(t, "the first end", func() bool { return f.server.Stats().Connections < devices })
	late := f.dialPlain(5)
	late.send(connectPacket(5, "late"))
	if last := late.expectEnd(); len(last) < 4 || last[0] != 0x20 || last[3] != 0x88 {
		t.Errorf("v5: got %x, want CONNACK 0x88", last)
	}
	late = f.dialPlain(4)
	late.send(connectPacket(4, "late"))
	if last := late.expectEnd(); string(last) != "\x20\x02\x00\x03" {
		t.Errorf("v4: got %x, want CONNACK 3", last)
	}
	wg.Wait()
	<-stopped
	slices.Sort(ends)
	if first, last := ends[0], ends[devices-1]; last-first < spread/2 || last > spread+2*time.Second {
		t.Errorf("the first ended after %v, the last after %v; want about %v between them", first, last, spread)
	}
	for i := range ends { // a loaded machine may lose some time and catch up
		if i >= devices/2 && ends[i]-ends[i-devices/2] < spread/8 {
			t.Fatalf("half of the connections ended within %v", ends[i]-ends[i-devices/2])
		}
	}
}

// TestDrainAtOnce: without the time nobody waits, nor for a single device with it.
func TestDrainAtOnce(t *testing.T) {
	for _, drain := range []time.Duration{-1, time.Hour} {
		f := newFixture(t, true)
		f.config.Drain = drain
		f.start()
		n := 1
		if drain < 0 {
			n = 750
		}
		for i := range n {
			f.connect(5, fmt.Sprint("lamp-", i))
		}
		began := time.Now()
		f.stop(f.server, f.store)
		if took := time.Since(began); took > 1200*time.Millisecond { // 1.5 s at the rate of a drain
			t.Errorf("drain %v, %d devices: %v", drain, n, took)
		}
	}
}

// TestDrainWithinItsBound: the time is at most half of what the stop may take, and what is not done at its end is cut off.
func TestDrainWithinItsBound(t *testing.T) {
	f := newFixture(t, true)
	f.config.Drain = time.Hour
	f.start()
	var clients []*client
	for i := range 500 {
		clients = append(clients, f.connect(4, fmt.Sprint("lamp-", i)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 600*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := f.server.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, c := range clients {
		c.expectEnd()
	}
}

// TestDrainLosesNothing stops a server again and again while clients publish as fast as they can: what was acknowledged, of QoS 1, QoS 2 and
// telemetry, is there after the restart, QoS 2 once, and exchanges that were cut go on.
func TestDrainLosesNothing(t *testing.T) {
	f := newFixture(t, true)
	f.config.Sessions = broker.DefaultLimits()
	f.config.Sessions.QueueMessages = 100_000
	f.start()
	sub := f.once("sub")
	sub.subscribe(1, "a/#", 2)
	sub.send([]byte{0xe0, 0})
	sub.expectEnd()
	const devices = 8
	sent, acked := make([]int, devices), make([]int, devices) // the last number
	for round := range 3 {
		for i := range 100 { // so that it takes its time
			f.connect(4, fmt.Sprint("idle-", i))
		}
		var wg sync.WaitGroup
		for i := range devices {
			c := f.once(fmt.Sprint("lamp-", i))
			wg.Go(func() {
				topic := fmt.Sprint([]string{"a/lamp-", "dt/lamp-"}[i%2], i)
				for {
					n := sent[i]
					if n == acked[i] {
						n++
					}
					sent[i] = n
					p := publishPacket(5, topic, fmt.Sprintf(`{"n":%d}`, n), byte(1+i/2%2), 1+uint16(n%1000), false)
					if _, err := c.conn.Write(p); err != nil {
						return
					}
					if i/2%2 == 0 {
						if !c.acknowledged(0x40, n) {
							return
						}
						acked[i] = n
						continue
					}
					if !c.acknowledged(0x50, n) {
						return
					}
					id := binary.BigEndian.AppendUint16(nil, 1+uint16(n%1000))
					if _, err := c.conn.Write(packet(0x62, id)); err != nil {
						return
					}
					acked[i] = n // the server has it; the end of the exchange may be cut
					if !c.acknowledged(0x70, n) {
						return
					}
				}
			})
		}
		eventually(t, "they are at work", func() bool { return f.server.Stats().Messages > uint64(50+30*round) })
		f.restart()
		wg.Wait()
		for i := range devices { // PUBREL once more: nothing is in the way of the next message with this id
			if i/2%2 == 1 && acked[i] > 0 {
				c := f.once(fmt.Sprint("lamp-", i))
				c.send(packet(0x62, binary.BigEndian.AppendUint16(nil, 1+uint16(acked[i]%1000))))
				if !c.acknowledged(0x70, acked[i]) {
					t.Fatal("no PUBCOMP")
				}
			}
		}
	}
	for i := 1; i < devices; i += 2 {
		if n, ok := f.last(fmt.Sprint("lamp-", i), "n"); !ok || int(n) < acked[i] || acked[i] == 0 {
			t.Errorf("lamp-%d: %v is stored, %d were acknowledged", i, n, acked[i])
		}
	}
	sub = f.once("sub")
	seen := make(map[string]int)
	for i := 0; i < devices; i += 2 {
		name := fmt.Sprint("a/lamp-", i)
		for seen[name] < acked[i] {
			m := sub.message()
			var n int
			if _, err := fmt.Sscanf(m.payload, `{"n":%d}`, &n); err != nil {
				t.Fatal(err)
			}
			if n != seen[m.topic]+1 && (m.qos == 2 || n > seen[m.topic]+1) {
				t.Fatalf("%s, qos %d: %d after %d", m.topic, m.qos, n, seen[m.topic])
			}
			seen[m.topic] = max(n, seen[m.topic])
			id := binary.BigEndian.AppendUint16(nil, m.id)
			if m.qos == 1 {
				sub.send(packet(0x40, id))
				continue
			}
			sub.send(packet(0x50, id))
			sub.expect(packet(0x62, id)...)
			sub.send(packet(0x70, id))
		}
		if acked[i] == 0 {
			t.Errorf("%s: nothing was acknowledged", name)
		}
	}
	t.Log("acknowledged", acked)
}

// acknowledged reads an acknowledgement of message n, a PUBCOMP also of one that the server has finished; false: the connection ended.
func (c *client) acknowledged(want byte, n int) bool {
	first, body, err := c.tryRead(patience)
	if err != nil || first == 0xe0 {
		return false
	}
	if first != want || int(binary.BigEndian.Uint16(body)) != 1+n%1000 || len(body) > 2 && body[2] >= 0x80 && (want != 0x70 || body[2] != 0x92) {
		c.t.Errorf("got %x %x, want %x of %d", first, body, want, n)
		return false
	}
	return true
}
