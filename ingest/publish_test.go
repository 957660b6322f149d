package ingest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/ingest"
	"muster/tsdb"
)

// ThingByName makes the test's gate know things by name.
func (g *gate) ThingByName(name string) (tsdb.ThingID, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	id, ok := g.things[name]
	return id, ok
}

func TestPublishInProcess(t *testing.T) {
	f := newFixture(t, true).start()
	c := f.connect(5, "app")
	c.subscribe(1, "$aws/things/app/shadow/#", 1)
	err := f.server.Publish("$aws/things/app/shadow/update/delta", []byte("on"), ingest.PublishOptions{QoS: 1,
		Properties: ingest.Properties{Text: true, ExpirySec: 60, ContentType: "text/plain", ResponseTopic: "re/ply", CorrelationData: []byte{7}, User: [][2]string{{"a", "1"}, {"a", "2"}}}})
	if err != nil {
		t.Fatal(err)
	}
	first, body := c.read()
	if first != 0x32 {
		t.Fatalf("first byte %x", first)
	}
	body = body[2+int(binary.BigEndian.Uint16(body)):]
	// message expiry, payload format, content type, response topic, correlation data, user properties
	want := append([]byte{2, 0, 0, 0, 60, 1, 1, 3}, str(nil, "text/plain")...)
	want = append(str(append(want, 8), "re/ply"), 9, 0, 1, 7)
	want = append(str(str(append(want, 38), "a"), "1"), 38)
	want = str(str(want, "a"), "2")
	if got := body[3 : 3+int(body[2])]; !bytes.Equal(got, want) {
		t.Fatalf("properties\n got %x\nwant %x", got, want)
	}

	// what MQTT cannot say, or must not
	for topic, opts := range map[string]ingest.PublishOptions{
		"":           {},
		"a/+/b":      {},
		"a/#":        {},
		"a\x00":      {},
		"a/\xff":     {},
		"qos":        {QoS: 2},
		"response":   {Properties: ingest.Properties{ResponseTopic: "a/#"}},
		"long":       {Properties: ingest.Properties{ContentType: strings.Repeat("x", 70_000)}},
		"properties": {Properties: ingest.Properties{ContentType: strings.Repeat("x", 5000)}},
	} {
		if err := f.server.Publish(topic, nil, opts); !errors.Is(err, ingest.ErrInvalid) {
			t.Errorf("publish to %q: %v, want it to be invalid", topic, err)
		}
	}
	if err := f.server.Publish("large", make([]byte, 128<<10), ingest.PublishOptions{}); !errors.Is(err, ingest.ErrInvalid) {
		t.Errorf("large: %v", err)
	}
	f.stop(f.server, f.store)
	if err := f.server.Publish("late", nil, ingest.PublishOptions{QoS: 1}); !errors.Is(err, ingest.ErrUnable) {
		t.Errorf("publish after shutdown: %v", err)
	}
	f.server.Announce("$aws/events/x", nil)
}

// A publish with QoS 1 is on disk when it returns: a client that was away gets it after a restart.
func TestPublishInProcessSurvives(t *testing.T) {
	f := newFixture(t, true).start()
	c := f.connect(4, "app", keepSession(0))
	c.subscribe(1, "jobs/#", 1)
	c.send([]byte{0xe0, 0})
	c.expectEnd()
	if err := f.server.Publish("jobs/1", []byte("reboot"), ingest.PublishOptions{QoS: 1, Retain: true}); err != nil {
		t.Fatal(err)
	}
	f.restart()
	c = f.dialPlain(4)
	if !c.open("app", keepSession(0)) {
		t.Fatal("no session")
	}
	if m := c.message(); m.topic != "jobs/1" || m.payload != "reboot" || m.qos != 1 {
		t.Fatalf("%+v", m)
	}
	if r, ok := f.server.Retained("jobs/1"); !ok || string(r.Payload) != "reboot" || time.Since(time.UnixMilli(r.AtMs)) > time.Minute {
		t.Fatalf("%+v %v", r, ok)
	}
}

func TestRetainedInProcess(t *testing.T) {
	f := newFixture(t, true).start()
	for i := range 150 { // more than one client may retain
		if err := f.server.Publish(fmt.Sprintf("config/%03d", i), []byte("v"), ingest.PublishOptions{Retain: true}); err != nil {
			t.Fatal(err)
		}
	}
	c := f.connect(4, "app")
	c.send(publishPacket(4, "config/app", "mine", 1, 1, true))
	c.expect(0x40, 2, 0, 1)
	var topics []string
	after := ""
	for {
		page := f.server.ListRetained(after, 40)
		for _, r := range page {
			topics = append(topics, r.Topic)
			after = r.Topic
		}
		if len(page) < 40 {
			break
		}
	}
	if len(topics) != 151 || topics[0] != "config/000" || topics[150] != "config/app" {
		t.Fatalf("%d topics: %v", len(topics), topics)
	}
	if r, ok := f.server.Retained("config/app"); !ok || string(r.Payload) != "mine" || r.QoS != 1 {
		t.Fatalf("%+v %v", r, ok)
	}
	if err := f.server.Publish("config/app", nil, ingest.PublishOptions{Retain: true}); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.server.Retained("config/app"); ok {
		t.Fatal("still there")
	}
}

// What is published for a thing from outside is its telemetry; what the gateway says itself is not.
func TestPublishTelemetryInProcess(t *testing.T) {
	f := newFixture(t, true).start()
	c := f.connect(4, "lamp")
	c.subscribe(1, "dt/lamp/#", 0)
	outside := ingest.PublishOptions{QoS: 1, Origin: "key"}
	if err := f.server.Publish("dt/lamp/x", []byte(`{"t":21.5}`), outside); err != nil {
		t.Fatal(err)
	}
	if m := c.message(); m.topic != "dt/lamp/x" || m.payload != `{"t":21.5}` {
		t.Fatalf("%+v", m)
	}
	if v, ok := f.last("lamp", "t"); !ok || v != 21.5 {
		t.Fatalf("t = %v %v", v, ok)
	}
	if err := f.server.Publish("dt/lamp", []byte(`{"t":`), outside); !errors.Is(err, ingest.ErrInvalid) {
		t.Fatalf("malformed: %v", err)
	}
	if err := f.server.Publish("dt/nobody", []byte(`{"t":1}`), outside); !errors.Is(err, ingest.ErrInvalid) || !strings.Contains(err.Error(), "not registered") {
		t.Fatalf("unknown thing: %v", err)
	}
	if err := f.server.Publish("dt/lamp", []byte("no telemetry"), ingest.PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	if m := c.message(); m.payload != "no telemetry" {
		t.Fatalf("%+v", m)
	}
}

func TestHandle(t *testing.T) {
	f := newFixture(t, true).start()
	if err := f.server.Handle("dt/#", func(ingest.Received) {}); err == nil {
		t.Fatal("a handler for telemetry was taken")
	}
	var mu sync.Mutex
	var got []string
	err := f.server.Handle("$aws/things/+/shadow/+", func(m ingest.Received) {
		mu.Lock()
		got = append(got, fmt.Sprintf("%s %s %s %s %s", m.Thing, m.Origin, m.Topic, m.Payload, m.Properties.ContentType))
		mu.Unlock()
		if err := f.server.Publish(m.Topic+"/accepted", m.Payload, ingest.PublishOptions{}); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c := f.connect(5, "lamp")
	c.subscribe(1, "$aws/things/lamp/shadow/+/accepted", 0)
	for i := range byte(20) {
		body := append(str(nil, "$aws/things/lamp/shadow/update"), 0, i+1)
		body = append(str(append(body, 4, 3), "t"), 'p', 'a'+i)
		c.send(packet(0x32, body))
		// the answer of the handler comes before the acknowledgement
		if m := c.message(); m.topic != "$aws/things/lamp/shadow/update/accepted" || m.payload != "p"+string('a'+rune(i)) {
			t.Fatalf("%+v", m)
		}
		if first, _ := c.read(); first != 0x40 {
			t.Fatalf("got %x, want a PUBACK", first)
		}
	}
	// also from outside, and as a will
	if err := f.server.Publish("$aws/things/lamp/shadow/delete", []byte("x"), ingest.PublishOptions{Origin: "key"}); err != nil {
		t.Fatal(err)
	}
	w := f.connect(4, "fan", withWill(4, "$aws/things/fan/shadow/update", "gone", 1, false))
	w.conn.Close()
	eventually(t, "the will", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == 22
	})
	for i := range 20 {
		if want := fmt.Sprintf("lamp lamp $aws/things/lamp/shadow/update p%c t", 'a'+i); got[i] != want {
			t.Fatalf("%d: got %q, want %q", i, got[i], want)
		}
	}
	if got[20] != " key $aws/things/lamp/shadow/delete x " || got[21] != "fan fan $aws/things/fan/shadow/update gone " {
		t.Fatal(got[20:])
	}
}

// Whatever its policy says, a client publishes to no reserved topic but its own.
func TestReservedTopicsAreRefused(t *testing.T) {
	f := newFixture(t, true).start()
	for _, topic := range []string{"$aws/events/presence/connected/lamp", "$aws/events/thing/lamp/deleted", "$aws/things/fan/shadow/update", "$aws/things/lamp", "$SYS/x"} {
		c := f.connect(5, "lamp")
		c.send(publishPacket(5, topic, "x", 1, 9, false))
		if first, body := c.read(); first != 0x40 || body[2] != 0x87 {
			t.Fatalf("%s: %x %x, want PUBACK 0x87", topic, first, body)
		}
		c = f.connect(4, "lamp")
		c.send(publishPacket(4, topic, "x", 1, 9, false))
		if last := c.expectEnd(); last != nil {
			t.Fatalf("%s: %x, want an end without an acknowledgement", topic, last)
		}
	}
}

func TestDisconnectInProcess(t *testing.T) {
	f := newFixture(t, true).start()
	watcher := f.connect(4, "watcher")
	watcher.subscribe(1, "wills/#", 0)
	if f.server.Disconnect("lamp", true, false) {
		t.Fatal("ended nobody")
	}
	c := f.connect(5, "lamp", keepSession(1000), withWill(5, "wills/lamp", "gone", 0, false))
	if !f.server.Disconnect("lamp", false, false) {
		t.Fatal("not ended")
	}
	if last := c.expectEnd(); len(last) < 3 || last[0] != 0xe0 || last[2] != 0x98 {
		t.Fatalf("last packet %x, want DISCONNECT 0x98", last)
	}
	if m := watcher.message(); m.topic != "wills/lamp" {
		t.Fatalf("%+v", m)
	}
	eventually(t, "disconnected", func() bool { return f.presence.has("lamp: disconnected by an operator") })
	if f.server.Disconnect("lamp", false, false) {
		t.Fatal("nobody is connected")
	}
	c = f.dialPlain(5)
	if !c.open("lamp", keepSession(1000), withWill(5, "wills/lamp", "gone", 0, false)) {
		t.Fatal("the session should be there")
	}
	if !f.server.Disconnect("lamp", true, true) {
		t.Fatal("not ended")
	}
	c.expectEnd()
	watcher.expectNothing(50 * time.Millisecond)
	eventually(t, "the end of the session", func() bool { return f.server.Stats().Connections == 1 })
	c = f.dialPlain(5)
	if c.open("lamp", keepSession(1000)) {
		t.Fatal("the session should be gone")
	}
	c.send([]byte{0xe0, 0})
	c.expectEnd()
	eventually(t, "the end of the connection", func() bool { return f.server.Stats().Connections == 1 })
	if !f.server.Disconnect("lamp", true, false) {
		t.Fatal("the session of a client that is away was not ended")
	}
	c = f.dialPlain(5)
	if c.open("lamp", keepSession(1000)) {
		t.Fatal("the session should be gone")
	}
}

// Many publish at the same time, while clients come and go and the server shuts down.
func TestPublishInProcessConcurrently(t *testing.T) {
	f := newFixture(t, true).start()
	if err := f.server.Handle("$aws/things/+/echo", func(m ingest.Received) {
		_ = f.server.Publish(m.Topic+"/accepted", m.Payload, ingest.PublishOptions{QoS: 1}) // refused at the end
	}); err != nil {
		t.Fatal(err)
	}
	c := f.connect(4, "app", keepSession(0))
	c.subscribe(1, "$aws/things/+/echo/accepted", 1)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				err := f.server.Publish("$aws/things/x/echo", []byte("x"), ingest.PublishOptions{QoS: 1, Origin: "key"})
				if errors.Is(err, ingest.ErrUnable) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 50 {
		if m := c.message(); m.qos == 1 {
			c.send([]byte{0x40, 2, byte(m.id >> 8), byte(m.id)})
		}
	}
	c.conn.Close()
	f.stop(f.server, f.store)
	wg.Wait()
	if _, err := os.Stat(f.dir + "/sessions/sessions.log"); err != nil {
		t.Fatal(err)
	}
}
