package ingest_test

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// hostile are packets that end their connection, as hex. The key says why; a prefix "v4 " or "v5 " limits the version, "first "
// is sent instead of a CONNECT, anything else after one.
var hostile = map[string]string{
	"v5 subscribe without options byte (mochi 501)": "8206 0001 00 0001 61",
	"v4 subscribe without options byte":             "8205 0001 0001 61",
	"v4 subscribe without filters":                  "8202 0001",
	"v5 subscribe without filters":                  "8203 0001 00",
	"v4 subscribe with packet id 0":                 "8206 0000 0001 61 00",
	"v4 subscribe with flags 0":                     "8006 0001 0001 61 00",
	"v4 subscribe qos 3":                            "8206 0001 0001 61 03",
	"v5 subscribe retain handling 3":                "8207 0001 00 0001 61 30",
	"v5 subscribe reserved bits":                    "8207 0001 00 0001 61 40",
	"v4 subscribe option bits of v5":                "8206 0001 0001 61 04",
	"v5 subscribe shared no-local":                  "8210 0001 00 000a 2473686172652f672f61 05",
	"v5 subscribe shared without topic":             "820e 0001 00 0008 2473686172652f67 00",
	"v5 subscribe identifier 0":                     "8209 0001 02 0b00 0001 61 00",
	"v5 subscribe identifier twice":                 "820b 0001 04 0b010b02 0001 61 00",
	"v5 subscribe property of publish":              "820a 0001 03 230001 0001 61 00",
	"v5 subscribe properties beyond the packet":     "8204 0001 7f 00",
	"v4 subscribe filter a#":                        "8207 0001 0002 6123 00",
	"v4 subscribe filter #/a":                       "8208 0001 0003 232f61 00",
	"v4 subscribe empty filter":                     "8205 0001 0000 00",
	"v4 subscribe filter with nul":                  "8206 0001 0001 00 00",
	"v4 subscribe filter not utf-8":                 "8206 0001 0001 ff 00",
	"v4 unsubscribe without filters":                "a202 0001",
	"v4 unsubscribe cut":                            "a205 0001 0002 61",
	"v4 publish qos 3":                              "3603 0001 61",
	"v4 publish dup qos 0":                          "3803 0001 61",
	"v4 publish wildcard":                           "3003 0001 2b",
	"v4 publish empty topic":                        "3002 0000",
	"v5 publish empty topic without alias":          "3003 0000 00",
	"v4 publish topic with nul":                     "3003 0001 00",
	"v4 publish surrogate":                          "3005 0003 eda080",
	"v4 publish packet id 0":                        "3205 0001 61 0000",
	"v4 publish topic beyond the packet":            "3003 ffff 61",
	"v5 publish alias 0":                            "3007 0001 61 03 230000",
	"v5 publish alias 11":                           "3007 0001 61 03 23000b",
	"v5 publish unknown property":                   "3006 0001 61 02 7f00",
	"v5 publish payload format twice":               "3008 0001 61 04 01000100",
	"v5 publish payload format 2":                   "3006 0001 61 02 0102",
	"v5 publish subscription identifier":            "3006 0001 61 02 0b01",
	"v5 publish wildcard response topic":            "3008 0001 61 04 08000123",
	"v5 publish property cut":                       "3006 0001 61 02 0200",
	"v5 publish property length too long a form":    "3006 0001 61 8000 00",
	"v4 too many levels":                            "3015 0013" + hex.EncodeToString([]byte("a/b/c/d/e/f/g/h/i/j")),
	"v4 puback id 0":                                "4002 0000",
	"v4 puback too long":                            "4003 0001 00",
	"v5 puback reason code":                         "4003 0001 01",
	"v4 pubrel flags":                               "6002 0001",
	"v4 empty puback":                               "4000",
	"v4 connack of a client":                        "2002 0000",
	"v4 suback of a client":                         "9003 0001 00",
	"v4 unsuback of a client":                       "b002 0001",
	"v4 pingresp of a client":                       "d000",
	"v4 pingreq with a body":                        "c001 00",
	"v4 pingreq flags":                              "c100",
	"v4 disconnect with a body":                     "e001 00",
	"v5 disconnect reason code":                     "e001 01",
	"v5 disconnect property":                        "e004 00 02 2600",
	"v4 type 0":                                     "0000",
	"v4 auth":                                       "f000",
	"v5 auth":                                       "f002 18 00",
	"v4 length of five bytes":                       "30ffffffff7f",
	"v4 length not shortest":                        "c08000",
	"v4 packet over 128 KiB, only its header":       "30818008",
	"v4 second connect":                             "100c 0004 4d515454 04 02 003c 0000",
	"v5 second connect":                             "100d 0004 4d515454 05 02 003c 00 0000",
	"first publish":                                 "3003 0001 61",
	"first pingreq":                                 "c000",
	"first puback":                                  "4002 0001",
	"first subscribe":                               "8206 0001 0001 61 00",
	"first disconnect":                              "e000",
	"first type 0":                                  "0000",
	"first connect 256 MiB":                         "10ffffff7f",
	"first connect over 8 KiB":                      "108140",
	"first connect empty":                           "1000",
	"first connect wrong name":                      "100c 0004 4d515455 04 02 003c 0000",
	"first connect of mqtt 3.1":                     "100e 0006 4d5149736470 03 02 003c 0000",
	"first connect version 6":                       "100c 0004 4d515454 06 02 003c 0000",
	"first connect reserved flag":                   "100c 0004 4d515454 04 03 003c 0000",
	"first connect will qos 3":                      "1012 0004 4d515454 04 1e 003c 0000 0001 61 0001 62",
	"first connect will retain without will":        "100c 0004 4d515454 04 22 003c 0000",
	"first connect surplus bytes":                   "100d 0004 4d515454 04 02 003c 0000 00",
	"first connect password without user":           "100f 0004 4d515454 04 42 003c 0000 0001 62",
	"first connect user missing":                    "100c 0004 4d515454 04 82 003c 0000",
	"first connect will cut":                        "100f 0004 4d515454 04 06 003c 0000 0001 61",
	"first connect empty id, kept session":          "100c 0004 4d515454 04 00 003c 0000",
	"first connect id with wildcard":                "100d 0004 4d515454 04 02 003c 0001 2b",
	"first connect id with slash":                   "100f 0004 4d515454 04 02 003c 0003 612f62",
	"first connect receive maximum 0":               "1010 0004 4d515454 05 02 003c 03 210000 0000",
	"first connect auth method":                     "1011 0004 4d515454 05 02 003c 04 15000178 0000",
	"first connect auth data alone":                 "1011 0004 4d515454 05 02 003c 04 16000178 0000",
	"first connect will property out of place":      "1012 0004 4d515454 05 02 003c 05 1800000001 0000",
	"first http":                                    hex.EncodeToString([]byte("GET / HTTP/1.1\r\n\r\n")),
	"first tls on plain":                            "1603010200010001fc0303",
}

// TestHostilePackets sends each packet on connections of their own; only those end, and an honest client loses nothing.
func TestHostilePackets(t *testing.T) {
	f := newFixture(t, true).start()
	honest := f.connect(5, "honest")
	honest.subscribe(1, "own", 1)
	id := uint16(0)
	check := func() {
		t.Helper()
		id++
		honest.send(publishPacket(5, "own", "x", 1, id, false))
		for range 2 {
			first, body := honest.read()
			if first>>4 == 3 {
				honest.send([]byte{0x40, 2, body[5], body[6]})
			} else if first != 0x40 || body[0] != byte(id>>8) || body[1] != byte(id) {
				t.Fatalf("honest client got %x %x", first, body)
			}
		}
	}
	for name, text := range hostile {
		raw, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(name, err)
		}
		var versions []byte
		first := strings.HasPrefix(name, "first ")
		switch {
		case first:
			versions = []byte{0}
		case strings.HasPrefix(name, "v4 "):
			versions = []byte{4}
		default:
			versions = []byte{5}
		}
		for _, version := range versions {
			c := f.dialPlain(version)
			if !first {
				c.open("hostile")
			}
			c.send(raw)
			last := c.expectEnd()
			switch {
			case version == 5 && (len(last) < 3 || last[0] != 0xe0 || last[2] < 0x80):
				t.Errorf("%s: last packet %x, want a disconnect with a reason", name, last)
			case version == 4 && last != nil:
				t.Errorf("%s: last packet %x, want none", name, last)
			case first && last != nil && last[0] != 0x20:
				t.Errorf("%s: last packet %x", name, last)
			}
			check()
		}
	}
	stats := f.server.Stats()
	if stats.Panics != 0 {
		t.Fatalf("%d panics", stats.Panics)
	}
	if stats.Refused != uint64(len(hostile)) {
		t.Errorf("%d refusals counted of %d: %v", stats.Refused, len(hostile), stats.RefusedBy)
	}
}

func TestReasonCodes(t *testing.T) {
	f := newFixture(t, true).start()
	for name, code := range map[string]byte{
		"v5 subscribe without options byte (mochi 501)": 0x81,
		"v5 second connect":                             0x82,
		"v5 publish alias 11":                           0x94,
		"v5 publish subscription identifier":            0x82,
		"v5 auth":                                       0x82,
		"v4 packet over 128 KiB, only its header":       0x95,
	} {
		raw, _ := hex.DecodeString(strings.ReplaceAll(hostile[name], " ", ""))
		c := f.connect(5, "hostile")
		c.send(raw)
		if last := c.expectEnd(); len(last) < 3 || last[2] != code {
			t.Errorf("%s: %x, want %x", name, last, code)
		}
	}
	for name, want := range map[string][]byte{
		"first connect of mqtt 3.1":            {0x20, 2, 0, 1},
		"first connect version 6":              {0x20, 2, 0, 1},
		"first connect empty id, kept session": {0x20, 2, 0, 2},
		"first connect id with wildcard":       {0x20, 2, 0, 2},
	} {
		raw, _ := hex.DecodeString(strings.ReplaceAll(hostile[name], " ", ""))
		c := f.dialPlain(4)
		c.send(raw)
		if last := c.expectEnd(); !bytes.Equal(last, want) {
			t.Errorf("%s: %x, want %x", name, last, want)
		}
	}
	raw, _ := hex.DecodeString(strings.ReplaceAll(hostile["first connect auth method"], " ", ""))
	c := f.dialPlain(5)
	c.send(raw)
	if last := c.expectEnd(); len(last) < 4 || last[0] != 0x20 || last[3] != 0x8c {
		t.Errorf("auth method: %x", last)
	}
}

// TestSlowClients: who does not finish TLS and CONNECT in time is cut off, and stops nobody meanwhile.
func TestSlowClients(t *testing.T) { eachTLS(t, false, testSlowClients) }

func testSlowClients(t *testing.T, f *fixture) {
	f.config.HelloTimeout = 2 * time.Second
	f.config.MaxHandshakes = 2
	f.start()
	start := time.Now()
	var idle []net.Conn
	dial := func(addr string) net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		idle = append(idle, conn)
		return conn
	}
	for range 20 { // far more than handshakes may compute
		dial(f.addr)
		dial(f.plain)
	}
	dripping := dial(f.plain)
	go func() { // a byte at a time, and never done
		for _, b := range connectPacket(4, strings.Repeat("x", 100)) {
			if _, err := dripping.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	silent, err := tls.Dial("tcp", f.addr, f.tlsConfig("lamp-2")) // handshake, no CONNECT
	if err != nil {
		t.Fatal(err)
	}
	idle = append(idle, silent)
	c := f.dialTLS(4, "lamp-1")
	c.open("lamp-1")
	if d := time.Since(start); d > 1700*time.Millisecond {
		t.Fatalf("an honest client waited %v", d)
	}
	for i, conn := range idle {
		(&client{t: t, conn: conn}).expectEnd()
		if d := time.Since(start); d > 8*time.Second {
			t.Fatalf("connection %d lived %v", i, d)
		}
	}
	c.send([]byte{0xc0, 0})
	c.expect(0xd0, 0)
}

func TestAddressRate(t *testing.T) {
	f := newFixture(t, false)
	f.config.AddressRate, f.config.AddressBurst = 0.001, 5
	f.start()
	for i := range 5 {
		f.connect(4, fmt.Sprint("lamp-", i))
	}
	f.dialPlain(4).expectEnd()
	if n := f.server.Stats().RefusedBy["address rate"]; n != 1 {
		t.Fatalf("%d refusals, want 1", n)
	}
}

func TestTooManyConnections(t *testing.T) {
	f := newFixture(t, false)
	f.config.MaxConns = 2
	f.start()
	a := f.connect(4, "a")
	f.connect(4, "b")
	f.dialPlain(4).expectEnd()
	a.conn.Close()
	eventually(t, "the end of a", func() bool { return f.presence.has("a: connection closed by the client") })
	eventually(t, "a free place", func() bool {
		c := f.dialPlain(4)
		if _, err := c.conn.Write(connectPacket(4, "c")); err != nil {
			return false
		}
		first, _, err := c.tryRead(patience)
		return err == nil && first == 0x20
	})
}

// TestPanicEndsOneConnection: the gate panics for one client, as a fault of ours would.
func TestPanicEndsOneConnection(t *testing.T) {
	f := newFixture(t, false)
	f.presence.gate = f.gate
	f.gate.panicFor = "boom"
	f.start()
	honest := f.connect(4, "honest")
	c := f.dialPlain(4)
	c.send(connectPacket(4, "boom"))
	c.expectEnd()
	honest.send([]byte{0xc0, 0})
	honest.expect(0xd0, 0)
	eventually(t, "the count", func() bool { return f.server.Stats().Panics == 1 })
	eventually(t, "the log line", func() bool { return strings.Count(f.log.String(), "panic in a connection") == 1 })
}

// TestSlowReader: a client that reads nothing is cut off, and what it was to get waits in its session.
func TestSlowReader(t *testing.T) {
	f := newFixture(t, true)
	f.config.WriteTimeout = 300 * time.Millisecond
	f.start()
	c := f.dialPlain(4)
	c.open("sleepy", keepSession(0))
	c.subscribe(1, "big", 1)
	pub := f.connect(4, "pub")
	payload := strings.Repeat("x", 100_000)
	// the sockets' buffers take some megabytes; a session keeps 1 MiB
	for i := range uint16(10) {
		pub.send(publishPacket(4, "big", fmt.Sprint(i, payload), 1, i+1, false))
		pub.expect(0x40, 2, byte((i+1)>>8), byte(i+1))
	}
	pub.send(publishPacket(4, "big", "one too many "+payload, 1, 99, false))
	pub.expect(0x40, 2, 0, 99)
	c.conn.Close()
	eventually(t, "the end", func() bool { return f.server.Stats().Connections == 1 })
	c = f.dialPlain(4)
	if !c.open("sleepy", keepSession(0)) {
		t.Fatal("no session")
	}
	for i := range 10 {
		m := c.message()
		if m.payload != fmt.Sprint(i, payload) {
			t.Fatalf("message %d is %.20q", i, m.payload)
		}
		c.send([]byte{0x40, 2, byte(m.id >> 8), byte(m.id)})
	}
	c.expectNothing(50 * time.Millisecond)
	if f.server.Stats().Dropped != 1 {
		t.Fatalf("dropped %d, want 1", f.server.Stats().Dropped)
	}
}
