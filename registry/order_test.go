package registry

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestNameOrder compares the order with a sorted slice, through splits and emptied chunks.
func TestNameOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var o nameOrder
	var names []string
	read := func(after string) (got []string) {
		buf := make([]*record, 0, maxChunk)
		for {
			if buf = o.appendAfter(buf[:0], after); len(buf) == 0 {
				return got
			}
			for _, rec := range buf {
				got = append(got, rec.name)
			}
			after = got[len(got)-1]
		}
	}
	check := func() {
		t.Helper()
		if got := read(""); !slices.Equal(got, names) {
			t.Fatalf("%d names, want %d", len(got), len(names))
		}
		after := fmt.Sprintf("%05d", rng.IntN(12_000))
		i, found := slices.BinarySearch(names, after)
		if found {
			i++
		}
		if got := read(after); !slices.Equal(got, names[i:]) {
			t.Fatalf("after %s: %d names, want %d", after, len(got), len(names)-i)
		}
		for _, c := range o.chunks {
			if len(c) == 0 || len(c) > maxChunk {
				t.Fatalf("a chunk has %d records", len(c))
			}
		}
	}
	for round, grow := range []int{90, 90, 10, 0, 60} { // per cent of inserts
		for range 10_000 {
			name := fmt.Sprintf("%05d", rng.IntN(10_000))
			i, found := slices.BinarySearch(names, name)
			switch insert := rng.IntN(100) < grow; {
			case insert:
				o.put(&record{name: name, version: int64(round)})
				if !found {
					names = slices.Insert(names, i, name)
				}
			default:
				o.remove(name)
				if found {
					names = slices.Delete(names, i, i+1)
				}
			}
		}
		check()
	}
	for _, name := range slices.Clone(names) {
		o.remove(name)
	}
	names = nil
	check()
	records := []*record{{name: "b"}, {name: "a"}}
	o.load(records)
	names = []string{"a", "b"}
	check()
	put := &record{name: "a", version: 7}
	o.put(put)
	if o.chunks[0][0] != put {
		t.Error("put did not replace")
	}
}
