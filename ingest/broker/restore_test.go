package broker

import (
	"testing"

	"muster/tsdb/vfs"
)

// TestRestoreForgetsStatesWithoutMessage: a log of format 1 may have lost a message and kept its packet id, which must not become that of the
// next message with the same number.
func TestRestoreForgetsStatesWithoutMessage(t *testing.T) {
	disk := vfs.NewMem()
	j := mustOpen(t, disk, quiet())
	m := &message{topic: "a", payload: []byte("x"), qos: 2}
	j.put(queueKey("dev", 4), encodeDelivery(&delivery{m: m, seq: 4, qos: 2}))
	j.put(stateKey("dev", 4), encodeState(&delivery{m: m, seq: 4, qos: 2, id: 3}))
	j.put(stateKey("dev", 5), encodeState(&delivery{m: m, seq: 5, qos: 2, id: 9, released: true}))
	b := &Broker{journal: j, clock: vfs.SystemClock{}, log: quiet(), limits: DefaultLimits(), sessions: make(map[string]*session)}
	b.restore()
	s := b.sessions["dev"]
	if len(s.flight) != 1 || s.flight[0].id != 3 || len(s.pending) != 0 {
		t.Fatalf("%d in flight, %d waiting", len(s.flight), len(s.pending))
	}
	got := contents(j)
	if _, there := got[stateKey("dev", 5)]; there || len(got) != 2 {
		t.Fatalf("the journal has %q", got)
	}
}
