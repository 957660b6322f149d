package tsdb

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// Things are found by id wherever they are kept, whatever the order in which they come and go.
func TestThings(t *testing.T) {
	var got things
	want := map[ThingID]*thing{}
	rng := rand.New(rand.NewPCG(1, 1))
	for step := range 20_000 {
		id := ThingID(rng.IntN(400+step)) * shardCount
		switch rng.IntN(40) {
		case 0:
			id = ThingID(rng.Uint32()) / shardCount * shardCount
		case 1, 2:
			id = FirstSource + ThingID(rng.IntN(100))*shardCount
		}
		if got.get(id) != want[id] {
			t.Fatalf("thing %d is %v, want %v", id, got.get(id), want[id])
		}
		if want[id] == nil {
			want[id] = &thing{id: id}
			got.put(want[id])
		} else if rng.IntN(2) == 0 {
			delete(want, id)
			got.remove(id)
		}
	}
	all := map[ThingID]*thing{}
	for x := range got.all() {
		all[x.id] = x
	}
	if !maps.Equal(all, want) || got.count != len(want) {
		t.Fatalf("%d things, %d counted, want %d", len(all), got.count, len(want))
	}
	if len(got.near) < 8000/shardCount || len(got.near) > 64_000 || len(got.far) == 0 {
		t.Fatalf("%d near, %d far", len(got.near), len(got.far))
	}
}
