package ingest_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/ingest"
)

// openFiles returns how many file descriptors the process has; -1 where that is not known.
func openFiles() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(names)
}

// TestIdleConnectionsHoldNothing: parked connections have no goroutine and one file descriptor each, and all is given back,
// whichever way they end.
func TestIdleConnectionsHoldNothing(t *testing.T) {
	eachTLS(t, false, func(t *testing.T, f *fixture) {
		f.start()
		warm := f.connect(4, "warm") // what is made once
		warm.send(publishPacket(4, "dt/warm", `{"a":1}`, 1, 7, false))
		warm.expect(0x40, 2, 0, 7)
		goroutines, files := runtime.NumGoroutine(), openFiles()
		const n = 60
		var clients []*client
		for i := range n {
			var c *client
			if i%3 == 0 {
				c = f.dialTLS(5, fmt.Sprint("lamp-", i))
			} else {
				c = f.dialPlain(5)
			}
			c.open(fmt.Sprint("lamp-", i))
			c.send(publishPacket(5, fmt.Sprint("dt/lamp-", i), `{"a":1}`, 1, 7, false))
			c.expect(0x40, 2, 0, 7)
			clients = append(clients, c)
		}
		parked := n
		if !f.config.CompactTLS {
			parked -= n / 3
		}
		if loop == ingest.LoopEpoll {
			eventually(t, "parked connections without goroutines", func() bool { return runtime.NumGoroutine() <= goroutines+2*(n-parked) })
		}
		if files >= 0 {
			eventually(t, "one file descriptor each", func() bool { return openFiles() == files+2*n })
		}
		for i, c := range clients {
			switch i % 4 {
			case 0:
				c.send([]byte{0xe0, 0})
			case 1:
				c.send([]byte{0x00}) // hostile
			case 2:
				f.server.Kick(fmt.Sprint("lamp-", i), "kicked")
			}
			c.conn.Close()
		}
		eventually(t, "all goroutines gone", func() bool { return runtime.NumGoroutine() <= goroutines })
		eventually(t, "all files closed", func() bool { return openFiles() == files })
		eventually(t, "one session left", func() bool { return f.server.Stats().Connections == 1 })
		if n := f.server.Stats().Panics; n != 0 {
			t.Fatalf("%d panics", n)
		}
	})
}

// TestHalfPackets sends a packet byte by byte; after each, the server has seen it and has nothing more to do.
func TestHalfPackets(t *testing.T) {
	eachTLS(t, true, func(t *testing.T, f *fixture) {
		f.start()
		for _, c := range []*client{f.dialPlain(4), f.dialTLS(4, "lamp-1")} {
			c.open("lamp-1")
			for id, b := range [][]byte{
				publishPacket(4, "dt/lamp-1", `{"a":1}`, 1, 1, false),
				publishPacket(4, "elsewhere", `b`, 1, 2, false),
				publishPacket(4, "elsewhere", strings.Repeat("x", 130), 1, 3, false),
			} {
				for i := range b {
					before := f.server.Stats().BytesIn
					c.send(b[i : i+1])
					eventually(t, "the byte", func() bool { return f.server.Stats().BytesIn > before })
				}
				c.expect(0x40, 2, 0, byte(id+1))
			}
			// two packets and a half, then the rest
			b := bytes.Repeat(publishPacket(4, "dt/lamp-1", `{"a":2}`, 1, 9, false), 3)
			c.send(b[:len(b)-5])
			c.expect(0x40, 2, 0, 9)
			c.expect(0x40, 2, 0, 9)
			c.expectNothing(20 * time.Millisecond)
			c.send(b[len(b)-5:])
			c.expect(0x40, 2, 0, 9)
		}
	})
}

// TestLargePackets go through buffers that grow, between small ones.
func TestLargePackets(t *testing.T) {
	eachTLS(t, true, func(t *testing.T, f *fixture) {
		f.start()
		for _, c := range []*client{f.dialPlain(4), f.dialTLS(4, "lamp-1")} {
			c.open("lamp-1")
			c.subscribe(1, "big", 0)
			for i := range byte(5) {
				payload := strings.Repeat(string('a'+rune(i)), 100_000+int(i))
				c.send(append(publishPacket(4, "big", payload, 1, uint16(i)+1, false), publishPacket(4, "dt/lamp-1", `{"a":1}`, 1, uint16(i)+100, false)...))
				acks := 0
				for range 3 {
					first, body := c.read()
					switch {
					case first == 0x40 && body[1] == []byte{i + 1, i + 100}[acks]:
						acks++
					case first != 0x30 || string(body[5:]) != payload:
						t.Fatalf("got %x with %d bytes", first, len(body))
					}
				}
			}
		}
	})
}

// TestOrderAcrossHandovers mixes what a loop does itself with what it hands over; the acknowledgements keep the order.
func TestOrderAcrossHandovers(t *testing.T) {
	eachTLS(t, true, func(t *testing.T, f *fixture) {
		f.start()
		for _, c := range []*client{f.dialPlain(4), f.dialTLS(4, "lamp-1")} {
			c.open("lamp-1")
			const rounds = 40 // 80 in flight: below the receive maximum
			var b []byte
			for i := range uint16(rounds) {
				b = append(b, publishPacket(4, "dt/lamp-1", `{"a":1}`, 1, 2*i+1, false)...)
				b = append(b, publishPacket(4, "other", `x`, 1, 2*i+2, i%9 == 0)...)
				b = append(b, subscribePacket(4, 500+i, fmt.Sprint("own/", i%5), 1)...)
				b = append(b, 0xc0, 0)
			}
			for len(b) > 0 { // in pieces that end anywhere
				n := min(len(b), 777)
				c.send(b[:n])
				b = b[n:]
			}
			acks, subacks, pings := uint16(0), uint16(0), 0
			for range 4 * rounds {
				first, body := c.read()
				id := uint16(0)
				if len(body) >= 2 {
					id = uint16(body[0])<<8 | uint16(body[1])
				}
				switch first {
				case 0x40:
					acks++
					if id != acks {
						t.Fatalf("puback %d, want %d", id, acks)
					}
				case 0x90:
					if id != 500+subacks {
						t.Fatalf("suback %d, want %d", id, 500+subacks)
					}
					subacks++
				case 0xd0:
					pings++
				default:
					t.Fatalf("got %x %x", first, body)
				}
			}
			if acks != 2*rounds || subacks != rounds || pings != rounds {
				t.Fatalf("%d pubacks, %d subacks, %d pingresps", acks, subacks, pings)
			}
		}
	})
}

// TestManyKeepAlives: thousands of idle connections end when their time is over, and those that are alive stay.
func TestManyKeepAlives(t *testing.T) {
	f := newFixture(t, false).start()
	const n = 1000
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = f.connect(4, fmt.Sprint("lamp-", i), withKeepalive(1)).conn
	}
	alive := f.connect(4, "alive", withKeepalive(1))
	start := time.Now()
	for f.server.Stats().Connections > 1 {
		alive.send([]byte{0xc0, 0})
		alive.expect(0xd0, 0)
		if time.Since(start) > patience {
			t.Fatalf("%d connections are left", f.server.Stats().Connections)
		}
		alive.expectNothing(100 * time.Millisecond)
	}
	if d := time.Since(start); d < 500*time.Millisecond {
		t.Fatalf("all ended after %v", d)
	}
	if !f.presence.has("lamp-0: keep alive timeout") {
		t.Fatal("another reason than the keep alive")
	}
}

// TestShutdownTellsIdleClients: every v5 client is told, those that are parked too.
func TestShutdownTellsIdleClients(t *testing.T) {
	eachTLS(t, false, func(t *testing.T, f *fixture) {
		f.start()
		var clients []*client
		for i := range 40 {
			clients = append(clients, f.connect(5, fmt.Sprint("lamp-", i)))
		}
		for i := range 5 {
			name := fmt.Sprint("secure-", i)
			c := f.dialTLS(5, name)
			c.open(name)
			clients = append(clients, c)
		}
		f.stop(f.server, f.store)
		for _, c := range clients {
			if last := c.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x8b {
				t.Fatalf("got %x, want a disconnect with 0x8b", last)
			}
		}
	})
}

// TestStalledStoreStopsNobodyElse: while the store takes no more rows, who has sent some waits, and all others are served.
func TestStalledStoreStopsNobodyElse(t *testing.T) {
	f := newFixture(t, true)
	hold := newHeldFS(f.fs)
	f.fs = hold
	f.start()
	other := f.connect(5, "other")
	other.subscribe(1, "x", 0)
	hold.stop()
	t.Cleanup(hold.free)
	const senders, rows = 5, 3000 // far more than the store keeps that is not on disk
	var wg sync.WaitGroup
	for i := range senders {
		c := f.connect(4, fmt.Sprint("flood-", i))
		wg.Go(func() {
			for range rows {
				var columns []string
				for k := range 60 {
					columns = append(columns, fmt.Sprintf(`"column_%d":%d`, k, rand.Int64N(1e15)))
				}
				_, _ = c.conn.Write(publishPacket(4, fmt.Sprint("dt/flood-", i), "{"+strings.Join(columns, ",")+"}", 0, 0, false))
			}
		})
	}
	taken := uint64(0)
	for i, still := 0, 0; still < 50; i++ { // until the store has taken nothing for as many exchanges
		if n := f.server.Stats().MessagesLane; n != taken || n == 0 {
			taken, still = n, 0
		}
		still++
		start := time.Now()
		other.send([]byte{0xc0, 0})
		other.expect(0xd0, 0)
		other.send(publishPacket(5, "x", "y", 0, 0, false))
		if m := other.message(); m.payload != "y" {
			t.Fatalf("got %+v", m)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Fatalf("exchange %d took %v", i, d)
		}
	}
	if taken == senders*rows {
		t.Fatal("the store took everything: it was not stalled")
	}
	hold.free()
	wg.Wait()
	for by := time.Now().Add(time.Minute); f.server.Stats().MessagesLane < senders*rows; time.Sleep(time.Millisecond) {
		if time.Now().After(by) {
			t.Fatalf("%d of %d rows were taken", f.server.Stats().MessagesLane, senders*rows)
		}
	}
	if n := f.server.Stats().Panics; n != 0 {
		t.Fatalf("%d panics", n)
	}
}
