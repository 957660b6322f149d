package registry

import (
	"testing"
	"time"
)

// TestCrowd: a write that comes alone is not kept waiting, and those that come with others are, as long as one of the last groups was larger.
func TestCrowd(t *testing.T) {
	r := &Registry{writes: make(chan *write, 4), closing: make(chan struct{})}
	gather := func(have int) *write {
		var until <-chan time.Time
		return r.gather(have, &until)
	}
	// Nothing is there, and nothing comes: a wait would take an hour.
	r.crowd.took = time.Hour
	if w := gather(1); w != nil {
		t.Fatal("a write out of nothing")
	}
	r.crowd.note(3, time.Hour)
	if w := gather(3); w != nil {
		t.Fatal("a write out of nothing")
	}
	go func() { r.writes <- &write{thing: "late"} }()
	if w := gather(2); w != nil && w.thing != "late" {
		t.Fatalf("got %q", w.thing)
	} else if w == nil { // 2 ms were over before it came
		<-r.writes
	}
	r.crowd.note(3, 0)
	if w := gather(1); w != nil {
		t.Fatal("it waits longer than a commit takes")
	}
	for range len(r.crowd.sizes) {
		r.crowd.note(1, time.Hour)
	}
	if n := r.crowd.usual(); n != 1 {
		t.Fatalf("%d writes are usual after many came alone", n)
	}
	r.writes <- &write{thing: "there"}
	if w := gather(5); w == nil || w.thing != "there" {
		t.Fatal("a write that is there is not taken")
	}
	close(r.closing)
	r.crowd.note(9, time.Hour)
	if w := gather(1); w != nil {
		t.Fatal("a write out of nothing")
	}
}
