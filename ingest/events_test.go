package ingest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// lifecycle is an event as it comes in.
type lifecycle struct {
	ClientID                  string
	ThingName                 string
	Timestamp                 int64
	EventType                 string
	ClientInitiatedDisconnect *bool
	DisconnectReason          string
	SessionIdentifier         string
	PrincipalIdentifier       string
	IPAddress                 string
	VersionNumber             *uint64
	Topics                    []string
}

// event reads one event and checks what all have.
func (c *client) event() lifecycle {
	c.t.Helper()
	m := c.message()
	var e lifecycle
	if err := json.Unmarshal([]byte(m.payload), &e); err != nil {
		c.t.Fatalf("%v in %s", err, m.payload)
	}
	family := "presence"
	if strings.HasSuffix(e.EventType, "subscribed") {
		family = "subscriptions"
	}
	if m.topic != "$aws/events/"+family+"/"+e.EventType+"/"+e.ClientID || len(e.SessionIdentifier) != 32 || e.ThingName != e.ClientID {
		c.t.Fatalf("event %s on %s", m.payload, m.topic)
	}
	if age := time.Since(time.UnixMilli(e.Timestamp)); age < -time.Second || age > time.Minute {
		c.t.Fatalf("event of %s ago", age)
	}
	return e
}

func TestPresenceEvents(t *testing.T) {
	eachTLS(t, true, func(t *testing.T, f *fixture) {
		f.start()
		watcher := f.connect(4, "watcher")
		watcher.subscribe(1, "$aws/events/presence/#", 0)
		expectEnd := func(id, reason string, byClient bool, connected lifecycle) {
			t.Helper()
			e := watcher.event()
			if e.EventType != "disconnected" || e.ClientID != id || e.DisconnectReason != reason || *e.ClientInitiatedDisconnect != byClient {
				t.Fatalf("got %+v, want %s disconnected with %s", e, id, reason)
			}
			if e.SessionIdentifier != connected.SessionIdentifier || *e.VersionNumber != *connected.VersionNumber || e.PrincipalIdentifier != connected.PrincipalIdentifier {
				t.Fatalf("connected %+v\ndisconnected %+v", connected, e)
			}
		}
		expectStart := func(id string) lifecycle {
			t.Helper()
			e := watcher.event()
			if e.EventType != "connected" || e.ClientID != id || e.IPAddress != "127.0.0.1" || e.DisconnectReason != "" || e.ClientInitiatedDisconnect != nil {
				t.Fatalf("got %+v, want %s connected", e, id)
			}
			return e
		}
		c := f.dialTLS(5, "lamp")
		c.open("lamp")
		e := expectStart("lamp")
		sum := sha256.Sum256(testCA().issue(t, "lamp").Certificate[0])
		if e.PrincipalIdentifier != hex.EncodeToString(sum[:]) {
			t.Fatalf("principal %q", e.PrincipalIdentifier)
		}
		c.send([]byte{0xe0, 0})
		expectEnd("lamp", "CLIENT_INITIATED_DISCONNECT", true, e)

		last := uint64(0)
		f5 := func(end func(c *client), reason string, byClient bool) {
			t.Helper()
			c := f.dialTLS(5, "lamp")
			c.open("lamp")
			e := expectStart("lamp")
			if *e.VersionNumber <= last {
				t.Fatalf("version %d after %d", *e.VersionNumber, last)
			}
			last = *e.VersionNumber
			end(c)
			expectEnd("lamp", reason, byClient, e)
		}
		f5(func(c *client) { c.conn.Close() }, "CONNECTION_LOST", false)
		f5(func(c *client) { c.send([]byte{0xe0, 1, 4}) }, "CLIENT_INITIATED_DISCONNECT", true)
		f5(func(c *client) { c.send(connectPacket(5, "lamp")) }, "CLIENT_ERROR", false)
		f5(func(*client) { f.server.Kick("lamp", "revoked") }, "FORBIDDEN_ACCESS", false)
		f5(func(*client) { f.server.Disconnect("lamp", false, false) }, "API_INITIATED_DISCONNECT", false)

		// a takeover: the end of the old connection comes first, and once
		old := f.dialTLS(4, "lamp")
		old.open("lamp")
		first := expectStart("lamp")
		c = f.dialTLS(4, "lamp")
		c.open("lamp")
		expectEnd("lamp", "DUPLICATE_CLIENTID", false, first)
		second := expectStart("lamp")
		if second.SessionIdentifier == first.SessionIdentifier {
			t.Fatal("two connections with one session identifier")
		}
		old.expectEnd()
		// 3.1.1 has no other answer to a publish that is not allowed
		c.send(publishPacket(4, "$aws/events/presence/connected/x", "{}", 1, 1, false))
		expectEnd("lamp", "AUTH_ERROR", false, second)

		f.connect(4, "fan", withKeepalive(1))
		if e = expectStart("fan"); e.PrincipalIdentifier != "anonymous" {
			t.Fatalf("%+v", e)
		}
		expectEnd("fan", "MQTT_KEEP_ALIVE_TIMEOUT", false, e)
	})
}

func TestSubscriptionEvents(t *testing.T) {
	f := newFixture(t, true).start()
	watcher := f.connect(4, "watcher")
	watcher.subscribe(1, "$aws/events/subscriptions/+/lamp", 1)
	c := f.connect(5, "lamp")
	c.send(packet(0x82, append(append(append(str([]byte{0, 1, 0}, "a/b"), 0), str(nil, "a/#")...), 1)))
	if e := watcher.event(); e.EventType != "subscribed" || fmt.Sprint(e.Topics) != "[a/b a/#]" || e.VersionNumber != nil {
		t.Fatalf("%+v", e)
	}
	c.send(packet(0xa2, str(str([]byte{0, 2, 0}, "none"), "a/b")))
	if e := watcher.event(); e.EventType != "unsubscribed" || fmt.Sprint(e.Topics) != "[a/b]" {
		t.Fatalf("%+v", e)
	}
}

// A thousand times in parallel: each client's events come in order, in pairs, each once.
func TestPresenceEventsInOrder(t *testing.T) {
	f := newFixture(t, true)
	f.start()
	watcher := f.connect(4, "watcher")
	watcher.subscribe(1, "$aws/events/presence/#", 0)
	const clients, rounds = 8, 12
	for i := range clients {
		go func() {
			for round := range rounds {
				c := f.dialPlain(4)
				if _, err := c.conn.Write(connectPacket(4, fmt.Sprintf("c%d", i%4))); err != nil { // two fight for each session
					t.Error(err)
				}
				_, _, _ = c.tryRead(patience)
				if round%3 == 0 {
					_, _ = c.conn.Write([]byte{0xe0, 0})
				}
				c.conn.Close()
			}
		}()
	}
	open := map[string]string{}
	last := uint64(0)
	for range 2 * clients * rounds {
		e := watcher.event()
		switch e.EventType {
		case "connected":
			if open[e.ClientID] != "" || *e.VersionNumber <= last {
				t.Fatalf("%+v while session %q is open", e, open[e.ClientID])
			}
			open[e.ClientID], last = e.SessionIdentifier, *e.VersionNumber
		case "disconnected":
			if open[e.ClientID] != e.SessionIdentifier {
				t.Fatalf("%+v while session %q is open", e, open[e.ClientID])
			}
			open[e.ClientID] = ""
		}
	}
}
