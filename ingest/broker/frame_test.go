package broker

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// naivePublish is a PUBLISH built part by part, the oracle.
func naivePublish(d *delivery, version byte, dup bool, now time.Time) []byte {
	flags := d.qos << 1
	if d.retain {
		flags |= 1
	}
	if dup {
		flags |= 8
	}
	body := binary.BigEndian.AppendUint16(nil, uint16(len(d.m.topic)))
	body = append(body, d.m.topic...)
	if d.qos > 0 {
		body = binary.BigEndian.AppendUint16(body, d.id)
	}
	if version == 5 {
		var props []byte
		if d.m.expiresAt > 0 {
			props = binary.BigEndian.AppendUint32(append(props, 2), uint32(max(1, d.m.expiresAt-now.Unix())))
		}
		for _, id := range d.subIDs {
			props = binary.AppendUvarint(append(props, 11), uint64(id))
		}
		props = append(props, d.m.props...)
		body = append(binary.AppendUvarint(body, uint64(len(props))), props...)
	}
	body = append(body, d.m.payload...)
	return append(binary.AppendUvarint([]byte{3<<4 | flags}, uint64(len(body))), body...)
}

// TestFramesAgainstANaiveEncoder sends few messages to very different subscribers, in any order, from the same frames.
func TestFramesAgainstANaiveEncoder(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		now := time.Unix(1_700_000_000, 0)
		list := make([]*message, 3)
		for i := range list {
			list[i] = &message{topic: strings.Repeat("t", 1+rnd.IntN(200)), payload: bytes.Repeat([]byte{byte(i)}, rnd.IntN(3)*rnd.IntN(9000)), qos: 2}
			if rnd.IntN(2) == 0 {
				list[i].props = append([]byte{38, 0, 1, 'k', 0, 100}, strings.Repeat("v", 100)...)
			}
			if rnd.IntN(2) == 0 {
				list[i].expiresAt = now.Unix() + int64(rnd.IntN(60))
			}
		}
		var f frames
		var m *message
		for n := range 2000 {
			if n%20 == 0 {
				m = list[rnd.IntN(len(list))]
			}
			d := &delivery{m: m, id: uint16(rnd.Uint32()), qos: byte(rnd.IntN(3)), retain: rnd.IntN(2) == 0}
			for range max(0, rnd.IntN(5)-2) {
				d.subIDs = append(d.subIDs, 1+rnd.IntN(2)*200)
			}
			version, dup := byte(4+rnd.IntN(2)), rnd.IntN(4) == 0
			if rnd.IntN(50) == 0 {
				now = now.Add(time.Second)
			}
			if got, want := f.publish(d, version, dup, now), naivePublish(d, version, dup, now); !bytes.Equal(got, want) {
				t.Fatalf("seed %d, packet %d: version %d, %+v\n got %x\nwant %x", seed, n, version, d, got, want)
			}
		}
	}
}

// TestFramesEncodeOnce: a message that goes to subscribers of both versions is copied once for each, and nothing is allocated.
func TestFramesEncodeOnce(t *testing.T) {
	payload := bytes.Repeat([]byte{'x'}, 1000)
	m := &message{topic: "a/b", payload: payload, qos: 1}
	var f frames
	d := &delivery{m: m, qos: 1}
	now := time.Now()
	send := func(version byte) []byte {
		d.id++
		return f.publish(d, version, false, now)
	}
	first, other := send(4), send(5)
	payload[0] = 'y' // nobody does that: whoever encodes again shows it
	if again := send(4); &again[0] != &first[0] || again[len(again)-1000] != 'x' {
		t.Error("encoded again for the same version")
	}
	if again := send(5); &again[0] != &other[0] || again[len(again)-1000] != 'x' {
		t.Error("encoded again after another version")
	}
	if n := testing.AllocsPerRun(1000, func() { send(4); send(5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if d.m = (&message{topic: "a/b", payload: []byte("z")}); bytes.Contains(send(4), []byte("x")) {
		t.Error("the message before was sent")
	}
}

func BenchmarkFrames(b *testing.B) {
	f := frames{}
	d := &delivery{m: &message{topic: "bench/fanout", payload: make([]byte, 200), qos: 1}, qos: 1}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		d.id++
		if len(f.publish(d, 4, false, now)) != 219 {
			b.Fatal("size")
		}
	}
}
