package ingest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"muster/ingest"
)

func TestTelemetryReachesTheStoreAndIsAcknowledged(t *testing.T) {
	eachTLS(t, false, testTelemetryReachesTheStoreAndIsAcknowledged)
}

func testTelemetryReachesTheStoreAndIsAcknowledged(t *testing.T, f *fixture) {
	f.start()
	for _, version := range []byte{4, 5} {
		name := fmt.Sprintf("lamp-%d", version)
		c := f.dialTLS(version, name)
		c.open(name)
		c.send(publishPacket(version, "dt/"+name, `{"power_w":41.5,"on":true}`, 1, 7, false))
		c.expect(0x40, 2, 0, 7)
		if got, ok := f.last(name, "power_w"); !ok || got != 41.5 {
			t.Fatalf("power_w = %v, %v", got, ok)
		}
		// QoS 0, on a stream below
		c.send(publishPacket(version, "dt/"+name+"/meter/a", `{"energy_kwh":12}`, 0, 0, false))
		eventually(t, "the qos 0 message", func() bool { got, ok := f.last(name, "energy_kwh"); return ok && got == 12 })
		// QoS 2 and retained telemetry are stored too
		c.send(publishPacket(version, "dt/"+name, `{"two":2}`, 2, 8, false))
		c.expect(0x50, 2, 0, 8)
		c.send([]byte{0x62, 2, 0, 8})
		c.expect(0x70, 2, 0, 8)
		c.send(publishPacket(version, "dt/"+name, `{"kept":3}`, 1, 9, true))
		c.expect(0x40, 2, 0, 9)
		if got, ok := f.last(name, "two"); !ok || got != 2 {
			t.Fatalf("two = %v, %v", got, ok)
		}
		if got, ok := f.last(name, "kept"); !ok || got != 3 {
			t.Fatalf("kept = %v, %v", got, ok)
		}
	}
	if s := f.server.Stats(); s.MessagesLane != 4 || s.MessagesBroker != 4 || s.Acks != 4 {
		t.Fatalf("stats: %+v", s)
	}
}

func TestMosquittoClients(t *testing.T) { eachTLS(t, false, testMosquittoClients) }

func testMosquittoClients(t *testing.T, f *fixture) {
	f.start()
	ca, cert, key := testCA().files(t, "truck-1")
	host, port, _ := net.SplitHostPort(f.addr)
	args := func(more ...string) []string {
		return append([]string{"-h", host, "-p", port, "--cafile", ca, "--cert", cert, "--key", key}, more...)
	}
	run := func(name string, more ...string) (string, error) {
		out, err := exec.Command(name, args(more...)...).CombinedOutput()
		return string(out), err
	}
	for _, version := range []string{"311", "5"} {
		for _, qos := range []string{"0", "1", "2"} {
			// one client may have the thing's name at a time, so the message waits as a retained one
			topic := "dt/truck-1/" + version + "-" + qos
			if out, err := run("mosquitto_pub", "-V", version, "-i", "truck-1", "-q", qos, "-r", "-t", topic, "-m", `{"speed":`+qos+`}`); err != nil {
				t.Fatalf("publish %s: %v %s", topic, err, out)
			}
			// a takeover would drop what a QoS 0 client has left unread
			eventually(t, "the end of the publisher", func() bool { return f.server.Stats().Connections == 0 })
			out, err := run("mosquitto_sub", "-V", version, "-i", "truck-1", "-q", qos, "-t", topic, "-C", "1", "-W", "5")
			if err != nil || strings.TrimSpace(out) != `{"speed":`+qos+`}` {
				t.Fatalf("subscribe %s: %v %q", topic, err, out)
			}
		}
	}
	// another thing's topic
	if out, err := run("mosquitto_pub", "-i", "truck-1", "-q", "1", "-t", "dt/truck-2", "-m", `{"speed":1}`); err == nil {
		t.Fatalf("publish for another thing succeeded: %s", out)
	}
	if f.server.Stats().RefusedBy["publish not allowed"] == 0 {
		t.Fatal("the refusal was not counted")
	}
	// another client id than the thing's
	if out, err := run("mosquitto_pub", "-i", "truck-2", "-t", "dt/truck-1", "-m", `{}`); err == nil {
		t.Fatalf("wrong client id succeeded: %s", out)
	}
	// no certificate
	if out, err := exec.Command("mosquitto_pub", "-h", host, "-p", port, "--cafile", ca, "-t", "dt/truck-1", "-m", "{}").CombinedOutput(); err == nil {
		t.Fatalf("no certificate succeeded: %s", out)
	}
}

func TestPahoV5(t *testing.T) { eachTLS(t, true, testPahoV5) }

func testPahoV5(t *testing.T, f *fixture) {
	f.start()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	dial := func(id string) (*paho.Client, <-chan *paho.Publish) {
		conn, err := tls.Dial("tcp", f.addr, f.tlsConfig(id))
		if err != nil {
			t.Fatal(err)
		}
		in := make(chan *paho.Publish, 100)
		c := paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(conn), OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(p paho.PublishReceived) (bool, error) { in <- p.Packet; return true, nil },
		}})
		ack, err := c.Connect(ctx, &paho.Connect{ClientID: id, KeepAlive: 30, CleanStart: true})
		if err != nil {
			t.Fatal(err)
		}
		if p := ack.Properties; p.ReceiveMaximum == nil || *p.ReceiveMaximum != 100 || p.TopicAliasMaximum == nil || *p.TopicAliasMaximum != 10 || p.MaximumPacketSize == nil || *p.MaximumPacketSize != 128<<10 {
			t.Fatalf("connack properties: %+v", p)
		}
		t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
		return c, in
	}
	sub, in := dial("sub")
	pub, _ := dial("pub")
	if _, err := sub.Subscribe(ctx, &paho.Subscribe{Properties: &paho.SubscribeProperties{SubscriptionIdentifier: ptr(5)}, Subscriptions: []paho.SubscribeOptions{{Topic: "city/+/x", QoS: 2}}}); err != nil {
		t.Fatal(err)
	}
	for qos := range byte(3) {
		expiry := uint32(100)
		res, err := pub.Publish(ctx, &paho.Publish{Topic: "city/a/x", QoS: qos, Payload: []byte{'m', '0' + qos}, Properties: &paho.PublishProperties{
			ContentType: "text/plain", ResponseTopic: "answers", CorrelationData: []byte{1, 2}, MessageExpiry: &expiry,
			User: paho.UserProperties{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}}}})
		if err != nil || res != nil && res.ReasonCode != 0 {
			t.Fatalf("publish qos %d: %v %+v", qos, err, res)
		}
		p := <-in
		if string(p.Payload) != "m"+string('0'+qos) || p.QoS != qos || p.Properties.ContentType != "text/plain" || p.Properties.ResponseTopic != "answers" ||
			!bytes.Equal(p.Properties.CorrelationData, []byte{1, 2}) || *p.Properties.SubscriptionIdentifier != 5 || *p.Properties.MessageExpiry > expiry ||
			len(p.Properties.User) != 2 || p.Properties.User[0].Key != "b" {
			t.Fatalf("qos %d arrived as %+v %+v", qos, p, p.Properties)
		}
	}
	if _, err := sub.Unsubscribe(ctx, &paho.Unsubscribe{Topics: []string{"city/+/x"}}); err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }

// TestPacketIDsOfBothDirectionsAreApart is what mochi gets wrong: the client's ids and the server's are two sets.
func TestPacketIDsOfBothDirectionsAreApart(t *testing.T) {
	f := newFixture(t, true).start()
	c := f.connect(5, "echo")
	c.subscribe(1, "a", 2)
	c.send(publishPacket(5, "a", "m1", 2, 1, false))
	// the message comes back as the server's id 1 while the client's own 1 is open
	var back received
	for range 2 {
		first, body := c.read()
		switch first >> 4 {
		case 3:
			back = received{id: uint16(body[3])<<8 | uint16(body[4])}
		case 5:
		default:
			t.Fatalf("got %x %x", first, body)
		}
	}
	if back.id != 1 {
		t.Fatalf("server's first id is %d", back.id)
	}
	// a SUBSCRIBE with the id of the message in flight
	c.subscribe(1, "b", 1)
	// both exchanges go on
	c.send([]byte{0x62, 2, 0, 1})
	c.expect(0x70, 2, 0, 1)
	c.send([]byte{0x50, 2, 0, 1})
	c.expect(0x62, 2, 0, 1)
	c.send([]byte{0x70, 2, 0, 1})
	// a repeated QoS 2 publish is answered and not delivered again
	c.send(publishPacket(5, "a", "m2", 2, 9, false))
	first, _ := c.read()
	second, _ := c.read()
	if first>>4 == second>>4 {
		t.Fatalf("got %x and %x", first, second)
	}
	repeat := publishPacket(5, "a", "m2", 2, 9, false)
	repeat[0] |= 8
	c.send(repeat)
	c.expect(0x50, 2, 0, 9)
	c.expectNothing(50 * time.Millisecond)
}

func TestAcknowledgementsKeepTheOrderOfPublishes(t *testing.T) {
	f := newFixture(t, true)
	hold := newHeldFS(f.fs)
	f.fs = hold
	f.start()
	c := f.connect(4, "lamp-1")
	c.send(publishPacket(4, "dt/lamp-1", `{"a":1}`, 1, 1, false))
	c.expect(0x40, 2, 0, 1)

	// Nothing is acknowledged before the sync of its group, nor anything that came after it.
	hold.stop()
	c.send(publishPacket(4, "dt/lamp-1", `{"a":2}`, 1, 2, false))
	c.send(publishPacket(4, "other/topic", `x`, 1, 3, false))
	c.send(publishPacket(4, "dt/lamp-1", `{"a":4}`, 1, 4, false))
	c.send([]byte{0xc0, 0})
	c.expect(0xd0, 0)
	c.expectNothing(200 * time.Millisecond)
	hold.free()
	c.expect(0x40, 2, 0, 2)
	c.expect(0x40, 2, 0, 3)
	c.expect(0x40, 2, 0, 4)
}

func TestMalformedPayload(t *testing.T) {
	f := newFixture(t, false).start()
	c := f.connect(5, "lamp-5")
	c.send(publishPacket(5, "dt/lamp-5", `{"a":`, 1, 1, false))
	first, body := c.read()
	if first != 0x40 || body[2] != 0x99 || !bytes.Contains(body, []byte{31}) {
		t.Fatalf("answer: %x %q", first, body)
	}
	old := f.connect(4, "lamp-4")
	old.send(publishPacket(4, "dt/lamp-4", `nonsense`, 1, 1, false))
	old.expect(0x40, 2, 0, 1)
	// both stay
	c.send(publishPacket(5, "dt/lamp-5", `{"a":1}`, 1, 2, false))
	c.expect(0x40, 2, 0, 2)
	samples := f.server.Malformed()
	if len(samples) != 2 || samples[0].Thing != "lamp-4" || string(samples[0].Payload) != "nonsense" || samples[1].Topic != "dt/lamp-5" || samples[1].Reason == "" {
		t.Fatalf("samples: %+v", samples)
	}
	if f.server.Stats().Malformed != 2 {
		t.Fatalf("stats: %+v", f.server.Stats())
	}
	// the last hundred are kept
	for i := range 120 {
		c.send(publishPacket(5, "dt/lamp-5", fmt.Sprint("bad ", i), 0, 0, false))
	}
	c.send([]byte{0xc0, 0})
	c.expect(0xd0, 0)
	if samples := f.server.Malformed(); len(samples) != 100 || string(samples[0].Payload) != "bad 119" || string(samples[99].Payload) != "bad 20" {
		t.Fatalf("%d samples, newest %q", len(samples), samples[0].Payload)
	}
}

func TestRightsOnEveryPath(t *testing.T) { eachTLS(t, false, testRightsOnEveryPath) }

func testRightsOnEveryPath(t *testing.T, f *fixture) {
	f.start()
	// v5 is told
	c := f.connect(5, "lamp-1")
	f.connect(5, "lamp-2")
	for _, topic := range []string{"dt/lamp-2", "other", "$SYS/x", "$aws/things/lamp-2/shadow/update", "$aws/things/lamp-1x/shadow", "$share/g/dt/lamp-1"} {
		c.send(publishPacket(5, topic, "{}", 1, 5, false))
		if first, body := c.read(); first != 0x40 || body[2] != 0x87 {
			t.Fatalf("publish to %q: %x %x", topic, first, body)
		}
		c.send(publishPacket(5, topic, "{}", 2, 6, false))
		if first, body := c.read(); first != 0x50 || body[2] != 0x87 {
			t.Fatalf("publish qos 2 to %q: %x %x", topic, first, body)
		}
	}
	c.send(publishPacket(5, "$aws/things/lamp-1/shadow/update", "{}", 1, 7, false))
	c.expect(0x40, 2, 0, 7)
	for _, filter := range []string{"dt/lamp-2", "#", "+/lamp-1", "dt/+", "$share/g/dt/lamp-2", "$SYS/#"} {
		c.send(subscribePacket(5, 9, filter, 1))
		c.expect(0x90, 4, 0, 9, 0, 0x87)
	}
	// 3.1.1 cannot be told: the connection ends, and a subscription fails
	old := f.connect(4, "lamp-3")
	old.send(subscribePacket(4, 9, "dt/lamp-2", 1))
	old.expect(0x90, 3, 0, 9, 0x80)
	old.send(publishPacket(4, "dt/lamp-2", "{}", 1, 5, false))
	if last := old.expectEnd(); last != nil {
		t.Fatalf("got %x before the end", last)
	}
	// a will that may not be published is no will: the client does not come in
	for version, want := range map[byte][]byte{4: {0x20, 2, 0, 5}, 5: {0x20, 20, 0, 0x87, 17, 31, 0, 14}} {
		w := f.dialPlain(version)
		w.send(connectPacket(version, "lamp-4", withWill(version, "dt/lamp-2", "gone", 1, false)))
		if last := w.expectEnd(); !bytes.HasPrefix(last, want) {
			t.Fatalf("will of another, v%d: %x", version, last)
		}
	}
	// over TLS the client id is the certificate's thing; an empty one becomes it
	wrong := f.dialTLS(4, "lamp-6")
	wrong.send(connectPacket(4, "lamp-7"))
	if last := wrong.expectEnd(); !bytes.Equal(last, []byte{0x20, 2, 0, 5}) {
		t.Fatalf("wrong client id: %x", last)
	}
	empty := f.dialTLS(5, "lamp-6")
	empty.send(connectPacket(5, ""))
	if first, body := empty.read(); first != 0x20 || body[1] != 0 || !bytes.Contains(body, append([]byte{18, 0, 6}, "lamp-6"...)) {
		t.Fatalf("empty client id: %x %x", first, body)
	}
	// nobody comes in without a certificate
	if conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: testCA().pool()}); err == nil {
		bare := &client{t: t, conn: conn, version: 4}
		_, _ = conn.Write(connectPacket(4, "lamp-1"))
		bare.expectEnd()
	}
	if f.presence.has("lamp-7: connected") {
		t.Fatal("lamp-7 was let in")
	}
}

// TestServeConn: MQTT over a connection that another listener accepted.
func TestServeConn(t *testing.T) {
	f := newFixture(t, false).start()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{testCA().issue(t, "server")}, ClientAuth: tls.RequestClientCert})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				if conn.(*tls.Conn).Handshake() == nil {
					f.server.ServeConn(conn)
				}
			}()
		}
	}()
	dial := func(config *tls.Config) *client {
		conn, err := tls.Dial("tcp", l.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return &client{t: t, conn: conn, version: 4}
	}
	c := dial(f.tlsConfig("lamp-1"))
	c.open("lamp-1")
	c.send(publishPacket(4, "dt/lamp-1", `{"a":1}`, 1, 1, false))
	c.expect(0x40, 2, 0, 1)
	dial(&tls.Config{RootCAs: testCA().pool()}).expectEnd()
	f.stop(f.server, f.store)
	c.expectEnd()
}

func TestReceiveMaximumOfThePublisher(t *testing.T) {
	f := newFixture(t, true)
	hold := newHeldFS(f.fs)
	f.fs = hold
	f.start()
	c5, c4 := f.connect(5, "v5"), f.connect(4, "v4")
	hold.stop()
	for i := range uint16(101) {
		c5.send(publishPacket(5, "dt/v5", `{"a":1}`, 1, i+1, false))
	}
	if last := c5.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x93 {
		t.Fatalf("got %x, want a disconnect with 0x93", last)
	}
	// an old client is not read from, and loses nothing
	go func() {
		for i := range uint16(150) {
			_, _ = c4.conn.Write(publishPacket(4, "dt/v4", `{"a":1}`, 1, i+1, false))
		}
	}()
	c4.expectNothing(100 * time.Millisecond)
	hold.free()
	for i := range 150 {
		c4.expect(0x40, 2, byte((i+1)>>8), byte(i+1))
	}
	// QoS 2 counts too
	c := f.connect(5, "two")
	for i := range uint16(101) {
		c.send(publishPacket(5, "x", `y`, 2, i+1, false))
	}
	if last := c.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x93 {
		t.Fatalf("got %x, want a disconnect with 0x93", last)
	}
}

func TestKick(t *testing.T) {
	f := newFixture(t, false).start()
	c, other := f.connect(5, "lamp-1"), f.connect(4, "lamp-2")
	f.server.Kick("lamp-1", "certificate revoked")
	if last := c.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x98 || !bytes.Contains(last, []byte("certificate revoked")) {
		t.Fatalf("got %x", last)
	}
	eventually(t, "the presence event", func() bool { return f.presence.has("lamp-1: certificate revoked") })
	other.send([]byte{0xc0, 0})
	other.expect(0xd0, 0)
}

// TestEndOverTLS: a client that is kicked reads why, and a proper end of the TLS connection.
func TestEndOverTLS(t *testing.T) { eachTLS(t, false, testEndOverTLS) }

func testEndOverTLS(t *testing.T, f *fixture) {
	f.start()
	c := f.dialTLS(5, "lamp-1")
	c.open("lamp-1")
	c.send([]byte{0xc0, 0})
	c.expect(0xd0, 0)
	f.server.Kick("lamp-1", "revoked")
	if first, body := c.read(); first != 0xe0 || body[0] != 0x98 {
		t.Fatalf("got %x %x, want a disconnect", first, body)
	}
	if _, _, err := c.tryRead(patience); err != io.EOF {
		t.Fatalf("the connection ended with %v", err)
	}
	if conn := c.conn.(*tls.Conn).ConnectionState(); conn.Version != tls.VersionTLS13 {
		t.Fatalf("version %#x", conn.Version)
	}
}

// TestKickBetweenAdmissionAndSession: a key that is revoked while its client connects finds no session to end yet.
func TestKickBetweenAdmissionAndSession(t *testing.T) {
	f := newFixture(t, false)
	f.gate.admitted = func(name string) {
		f.gate.mu.Lock()
		f.gate.denied = map[string]bool{name: true}
		f.gate.mu.Unlock()
		f.server.Kick(name, "certificate revoked")
	}
	f.start()
	c := f.dialPlain(5)
	c.send(connectPacket(5, "lamp-1"))
	c.expectEnd()
	eventually(t, "no session", func() bool { return f.server.Stats().Connections == 0 })
}

func TestShutdownAcknowledgesWhatIsOnDisk(t *testing.T) {
	f := newFixture(t, false).start()
	c, old := f.connect(5, "lamp-1"), f.connect(4, "lamp-2")
	for i := range uint16(50) {
		c.send(publishPacket(5, "dt/lamp-1", `{"a":1}`, 1, i+1, false))
		old.send(publishPacket(4, "dt/lamp-2", `{"a":1}`, 1, i+1, false))
	}
	eventually(t, "all messages", func() bool { return f.server.Stats().MessagesLane == 100 })
	f.stop(f.server, f.store)
	for i := range byte(50) {
		c.expect(0x40, 2, 0, i+1)
		old.expect(0x40, 2, 0, i+1)
	}
	if last := c.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x8b {
		t.Fatalf("got %x, want a disconnect with 0x8b", last)
	}
	old.expectEnd()
	if f.presence.has("lamp-1: connection closed by the client") || !f.presence.has("lamp-1: server shutting down") {
		t.Fatalf("events: %v", f.presence.events)
	}
}

func TestKeepAlive(t *testing.T) {
	f := newFixture(t, false).start()
	c := f.connect(5, "lamp-1", withKeepalive(1))
	start := time.Now()
	// telemetry alone keeps a connection; so it does for longer than 1.5 keep alives
	for i := range byte(10) {
		c.send(publishPacket(5, "dt/lamp-1", `{"a":1}`, 1, uint16(i)+1, false))
		c.expect(0x40, 2, 0, i+1)
		c.expectNothing(200 * time.Millisecond)
	}
	if last := c.expectEnd(); len(last) < 3 || last[2] != 0x8d {
		t.Fatalf("got %x, want a disconnect with 0x8d", last)
	}
	if d := time.Since(start); d < 3*time.Second || d > 5*time.Second {
		t.Fatalf("ended after %v", d)
	}
}

func TestTopicAliases(t *testing.T) {
	f := newFixture(t, true).start()
	watcher := f.connect(4, "watcher")
	watcher.subscribe(1, "#", 0)
	c := f.connect(5, "lamp-1")
	send := func(topic, payload string, alias byte) {
		body := append(str(nil, topic), 3, 35, 0, alias)
		c.send(packet(0x30, append(body, payload...)))
	}
	expect := func(topic, payload string) {
		t.Helper()
		if m := watcher.message(); m.topic != topic || m.payload != payload {
			t.Fatalf("got %+v, want %s %s", m, topic, payload)
		}
	}
	// telemetry and other topics, mixed, with a changed alias; the watcher makes telemetry take both ways
	send("dt/lamp-1", `{"a":1}`, 1)
	expect("dt/lamp-1", `{"a":1}`)
	send("x", "1", 2)
	expect("x", "1")
	send("", `{"a":2}`, 1)
	expect("dt/lamp-1", `{"a":2}`)
	send("", "2", 2)
	expect("x", "2")
	send("y", "3", 1)
	expect("y", "3")
	send("", "4", 1)
	expect("y", "4")
	if got, ok := f.last("lamp-1", "a"); !ok || got != 2 {
		t.Fatalf("a = %v, %v", got, ok)
	}
	send("", "5", 3)
	if last := c.expectEnd(); len(last) < 3 || last[2] != 0x82 {
		t.Fatalf("unknown alias: %x", last)
	}
	c = f.connect(5, "lamp-1")
	send("x", "5", 11)
	if last := c.expectEnd(); len(last) < 3 || last[2] != 0x94 {
		t.Fatalf("alias out of range: %x", last)
	}
}

func TestFanoutAcknowledgesOnce(t *testing.T) {
	f := newFixture(t, true).start()
	c := f.connect(4, "lamp-1")
	c.subscribe(1, "dt/#", 1)
	c.send(publishPacket(4, "dt/lamp-1", `{"a":1}`, 1, 5, false))
	kinds := map[byte]int{}
	for range 2 {
		first, _ := c.read()
		kinds[first>>4]++
	}
	if kinds[3] != 1 || kinds[4] != 1 {
		t.Fatalf("got %v", kinds)
	}
	c.expectNothing(50 * time.Millisecond)
	// no-local
	c5 := f.connect(5, "lamp-5")
	c5.send(subscribePacket(5, 2, "dt/lamp-5", 1|4))
	c5.expect(0x90, 4, 0, 2, 0, 1)
	c5.send(publishPacket(5, "dt/lamp-5", `{"a":1}`, 1, 5, false))
	c5.expect(0x40, 2, 0, 5)
	c5.expectNothing(50 * time.Millisecond)
}

func TestPlainListenerStaysAtHome(t *testing.T) {
	f := newFixture(t, false).start()
	_, err := ingest.Open(ingest.Options{Store: f.store, Gate: f.gate, Presence: f.presence, PlainAddr: "0.0.0.0:0"})
	if err == nil || !strings.Contains(err.Error(), "not a loopback address") {
		t.Fatalf("error: %v", err)
	}
}
