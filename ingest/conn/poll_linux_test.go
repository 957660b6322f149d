package conn

import "testing"

// TestEveryWakeCounts: the wakes of a poller have no end, although nobody reads its eventfd.
func TestEveryWakeCounts(t *testing.T) {
	p, err := openPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	for i := range 10_000 {
		p.wake()
		if n := p.wait(1000); n != 1 {
			t.Fatalf("wake %d ended no wait", i)
		}
		if slot, _ := p.event(0); slot != wakeSlot {
			t.Fatalf("wake %d: event of slot %d", i, slot)
		}
	}
}
