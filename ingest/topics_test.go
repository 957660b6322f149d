package ingest_test

import (
	"testing"

	"muster/ingest"
)

func TestTopicsBySetting(t *testing.T) {
	f := newFixture(t, true)
	topics, err := ingest.ParseTopics([]string{"sensors/{thing}/data", "v1/devices/me/telemetry"})
	if err != nil {
		t.Fatal(err)
	}
	f.config.Topics = topics
	f.start()
	watcher := f.connect(4, "watcher")
	watcher.subscribe(1, "sensors/#", 0)
	for version := byte(4); version <= 5; version++ {
		c := f.connect(version, "lamp")
		c.send(publishPacket(version, "sensors/lamp/data", `{"t":1}`, 1, 1, false))
		c.read()
		c.send(publishPacket(version, "v1/devices/me/telemetry", `{"u":2}`, 1, 2, false))
		c.read()
		// of another thing, it is a message like any other
		c.send(publishPacket(version, "sensors/fan/data", `{"w":3}`, 1, 3, false))
		c.read()
		for _, want := range []string{"sensors/lamp/data", "sensors/fan/data"} {
			if m := watcher.message(); m.topic != want {
				t.Fatalf("got %+v, want %s", m, want)
			}
		}
	}
	for column, want := range map[string]bool{"t": true, "u": true, "w": false} {
		if _, ok := f.last("lamp", column); ok != want {
			t.Errorf("column %s is there: %v, want %v", column, ok, want)
		}
	}
	if s := f.server.Stats(); s.MessagesLane != 4 || s.MessagesBroker != 2 {
		t.Fatalf("%d messages by the lane, %d by the broker", s.MessagesLane, s.MessagesBroker)
	}
	// over HTTP it is of the thing that the topic names
	if err := f.server.Publish("sensors/lamp/data", []byte(`{"t":7}`), ingest.PublishOptions{QoS: 1, Origin: "key"}); err != nil {
		t.Fatal(err)
	}
	if v, _ := f.last("lamp", "t"); v != 7 {
		t.Fatalf("t = %v", v)
	}
}
