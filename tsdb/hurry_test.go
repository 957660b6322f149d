package tsdb_test

import (
	"testing"
	"time"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// told is a Waiter that says in a channel up to where it was told.
type told chan uint64

func (w told) Durable(upTo uint64, _ error) { w <- upTo }

// TestHurry: rows do not wait for more once someone is in a hurry; who waits for them is told before that one. With nothing to
// commit nobody is told.
func TestHurry(t *testing.T) {
	for name, memory := range map[string]bool{"disk": false, "memory": true} {
		t.Run(name, func(t *testing.T) {
			opts := small(vfs.NewMem())
			opts.GroupWait, opts.AckMemory = time.Hour, memory
			s := open(t, opts)
			m := metric(t, s, "power")
			done := make(chan struct{}, 1)
			s.Hurry(done)
			w := make(told, 1)
			seq, err := s.Append(1, 1000, []tsdb.Value{decimal(m, 1, 0)}, w)
			must(t, err)
			select {
			case <-w:
				t.Fatal("committed before anybody was in a hurry")
			case <-done:
				t.Fatal("nothing was committed, and someone told")
			case <-time.After(20 * time.Millisecond):
			}
			s.Hurry(done)
			select {
			case <-done:
			case <-time.After(5 * time.Second):
				t.Fatal("not committed")
			}
			select {
			case upTo := <-w:
				if upTo < seq {
					t.Fatalf("told of row %d, want %d", upTo, seq)
				}
			default:
				t.Fatal("the waiter was not told first")
			}
		})
	}
}
