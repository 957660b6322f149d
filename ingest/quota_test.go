package ingest_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/ingest"
)

// A v5 client is told what is over its quota, and nothing of that is stored.
func TestQuotaOfThing(t *testing.T) {
	f := newFixture(t, true)
	f.config.ThingRates = ingest.Rates{Messages: 2}
	f.start()
	send := func(c *client, n int) (refused int) {
		t.Helper()
		for i := range n {
			c.send(publishPacket(5, "dt/lamp", `{"t":1}`, 1, uint16(i+1), false))
			switch first, body := c.read(); {
			case first != 0x40 || binary.BigEndian.Uint16(body) != uint16(i+1):
				t.Fatalf("got %x %x", first, body)
			case len(body) > 2 && body[2] == 0x97:
				refused++
			}
		}
		return refused
	}
	c := f.connect(5, "lamp")
	if refused := send(c, 30); refused < 5 || refused > 10 { // 20 at once
		t.Fatalf("%d of 30 were refused", refused)
	}
	// a new connection is no way round it
	if refused := send(f.connect(5, "lamp"), 10); refused < 5 {
		t.Fatalf("%d of 10 were refused", refused)
	}
	// nor is another kind of message
	c = f.connect(5, "lamp")
	for i := range uint16(4) {
		c.send(publishPacket(5, "x", "y", 1, i+1, false))
		c.read()
	}
	c.send(publishPacket(5, "x", "y", 1, 9, false))
	if _, body := c.read(); len(body) < 3 || body[2] != 0x97 {
		t.Fatalf("got %x", body)
	}
	// others have their own
	other := f.connect(5, "fan")
	other.send(publishPacket(5, "dt/fan", `{"t":1}`, 1, 1, false))
	if _, body := other.read(); len(body) > 2 && body[2] != 0 {
		t.Fatalf("got %x", body)
	}
	if n := f.server.Stats().MessagesLane; n > 35 {
		t.Fatalf("%d messages were taken", n)
	}
}

// A 3.1.1 client is not read from, loses nothing, and holds up nobody.
func TestQuotaDelays(t *testing.T) {
	f := newFixture(t, true)
	f.config.ThingRates = ingest.Rates{Messages: 20}
	f.start()
	c := f.connect(4, "lamp")
	start := time.Now()
	const n = 230 // 200 at once
	go func() {
		for i := range uint16(n) {
			_, _ = c.conn.Write(publishPacket(4, "dt/lamp", fmt.Sprintf(`{"t":%d}`, i), 1, i+1, false))
		}
	}()
	fan := f.connect(4, "fan")
	for i := range byte(n) {
		if i%20 == 0 {
			begin := time.Now()
			fan.send([]byte{0xc0, 0})
			fan.expect(0xd0, 0)
			if d := time.Since(begin); d > 500*time.Millisecond {
				t.Fatalf("another client waited %v", d)
			}
		}
		c.expect(0x40, 2, 0, i+1)
	}
	if d := time.Since(start); d < 1200*time.Millisecond {
		t.Fatalf("%d messages took %v", n, d)
	}
	if v, _ := f.last("lamp", "t"); v != n-1 {
		t.Fatalf("t = %v", v)
	}
	// one that waits does not hold up the end
	go func() {
		for i := range uint16(100) {
			_, _ = c.conn.Write(publishPacket(4, "dt/lamp", `{"t":1}`, 0, i+1, false))
		}
	}()
	eventually(t, "the connection waits", func() bool { return strings.Contains(f.metric("muster_ingest_throttled_connections"), " 1") })
	start = time.Now()
	f.stop(f.server, f.store)
	if d := time.Since(start); d > 2*time.Second {
		t.Fatalf("the end took %v", d)
	}
}

func TestQuotaOfSamplesAndOfAll(t *testing.T) {
	f := newFixture(t, true)
	f.config.ThingRates = ingest.Rates{Samples: 3}
	f.config.TotalRates = ingest.Rates{Bytes: 1000}
	f.start()
	refused := func(c *client, id uint16, thing, payload string) bool {
		t.Helper()
		c.send(publishPacket(5, "dt/"+thing, payload, 1, id, false))
		_, body := c.read()
		return len(body) > 2 && body[2] == 0x97
	}
	c := f.connect(5, "lamp")
	many := `[` + strings.Repeat(`{"a":1,"b":2},`, 19) + `{"a":1,"b":2}]` // 40 values; 30 at once
	if refused(c, 1, "lamp", many) || !refused(c, 2, "lamp", `{"a":1}`) {
		t.Fatal("the quota of samples does not hold")
	}
	last := false
	for i := range 10 { // 10,000 bytes at once for all
		name := fmt.Sprint("c", i)
		last = refused(f.connect(5, name), 1, name, `{"s":"`+strings.Repeat("x", 1000)+`","u":"`+strings.Repeat("y", 1000)+`"}`)
	}
	if !last {
		t.Fatal("the quota of all does not hold")
	}
	for _, want := range []string{`muster_ingest_quota_exceeded_total{scope="thing",what="samples"} 1`, `muster_ingest_quota_exceeded_total{scope="gateway",what="bytes"}`} {
		if !strings.Contains(f.metric("muster_ingest_quota_exceeded_total"), want) {
			t.Errorf("no %s in\n%s", want, f.metric("muster_ingest_quota_exceeded_total"))
		}
	}
}
