package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestQueueBounds(t *testing.T) {
	var q queue
	q.init(3, 100)
	f := func(size, wantQueued int, wantDropped uint64) {
		t.Helper()
		q.put(&message{topic: "t", payload: make([]byte, size)})
		if queued, _, _, dropped := q.counts(); queued != wantQueued || dropped != wantDropped {
			t.Fatalf("%d queued, %d dropped; want %d, %d", queued, dropped, wantQueued, wantDropped)
		}
	}
	f(10, 1, 0)
	f(20, 2, 0)
	f(30, 3, 0)
	// too many messages: the oldest goes
	f(40, 3, 1)
	// too many bytes: 20+30+40+50 > 100, so 20 goes for the number and 30 for the bytes
	f(50, 2, 3)
	// larger than all that fits: it waits alone
	f(1000, 1, 5)
	// what is in flight takes no room from what waits, and is not dropped
	m := q.next(10)
	if m == nil || len(m.payload) != 1000 || q.next(10) != nil {
		t.Fatalf("%+v", m)
	}
	f(10, 2, 5)
	f(10, 3, 5)
	f(10, 4, 5)
	f(10, 4, 6)
	// unless it has to be sent again
	q.rewind(true)
	f(10, 3, 8)
}

func TestQueueWindowAndIDs(t *testing.T) {
	var q queue
	q.init(200_000, 1<<30)
	q.nextID = 65_530 // ids wrap, without 0 and without those in flight
	done := make(chan error, 20)
	for range 20 {
		q.put(&message{topic: "t", done: make(chan error, 1)})
	}
	used := map[uint16]bool{}
	var sent []*message
	for m := q.next(16); m != nil; m = q.next(16) {
		if m.id == 0 || used[m.id] {
			t.Fatalf("id %d", m.id)
		}
		used[m.id] = true
		sent = append(sent, m)
	}
	if len(sent) != 16 {
		t.Fatalf("%d in a window of 16", len(sent))
	}
	close(done)
	q.ack(sent[3].id, 0)
	q.ack(sent[3].id, 0) // twice
	q.ack(sent[5].id, 0x87)
	if err := <-sent[3].done; err != nil {
		t.Fatal(err)
	}
	if refused := (*RefusedError)(nil); !errors.As(<-sent[5].done, &refused) || refused.Code != 0x87 {
		t.Fatal("a refused message is not told")
	}
	q.nextID = sent[0].id - 1 // the next id is in use
	if m := q.next(16); m == nil || used[m.id] && m.id != sent[3].id && m.id != sent[5].id {
		t.Fatalf("%+v", m)
	}
	queued, acked, refused, dropped := q.counts()
	if queued != 18 || acked != 1 || refused != 1 || dropped != 0 {
		t.Fatal(queued, acked, refused, dropped)
	}
}

// FuzzProperties: a block that is taken is the same when its properties are written again.
func FuzzProperties(f *testing.F) {
	f.Add([]byte{3, propReceiveMaximum, 0, 2})
	f.Add([]byte{6, propReason, 0, 3, 'w', 'h', 'y'})
	f.Add([]byte{9, 0x26, 0, 1, 'a', 0, 3, 'b', 'c', 'd'})
	f.Add([]byte{0x80, 0x00})
	f.Add([]byte{2, propReason, 0})
	f.Fuzz(func(t *testing.T, block []byte) {
		var again []byte
		err := eachProperty(block, func(id byte, value []byte) {
			again = append(again, id)
			switch id {
			case 0x12, 0x15, 0x16, 0x1A, 0x1C, propReason:
				again = binary.BigEndian.AppendUint16(again, uint16(len(value)))
			}
			again = append(again, value...)
		})
		if err != nil {
			return
		}
		size, n := readVarint(block)
		if !bytes.Equal(again, block[n:n+size]) {
			t.Fatalf("%x became %x", block[n:n+size], again)
		}
		parseDisconnect(append([]byte{0x8B}, block...))
		parseConnack(packetConnack, append([]byte{0, 0}, block...))
	})
}
