package index_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// same fails if two indexes do not have the same things by each value of a field.
func same(t *testing.T, got, want *index.Index, field string) {
	t.Helper()
	if !reflect.DeepEqual(got.Fields(), want.Fields()) || got.Count(field) != want.Count(field) {
		t.Fatalf("fields %v with %d things, want %v with %d", got.Fields(), got.Count(field), want.Fields(), want.Count(field))
	}
	values := want.Buckets(want.Live(), field, 1<<20)
	if list := got.Buckets(want.Live(), field, 1<<20); !reflect.DeepEqual(list, values) {
		t.Fatalf("values of %s\n got %v\nwant %v", field, list, values)
	}
	for _, v := range values {
		for _, m := range []*index.Match{index.Phrase(v.Value), index.Contains(v.Value[len(v.Value)/2:])} {
			a, b := new(bitset.BitSet), new(bitset.BitSet)
			for set, x := range map[*bitset.BitSet]*index.Index{a: got, b: want} {
				if _, err := x.Select(context.Background(), set, field, m, nil); err != nil {
					t.Fatal(err)
				}
			}
			if a.SymmetricDifferenceCardinality(b) != 0 {
				t.Fatalf("%s %q: %v, want %v", field, v.Value, a, b)
			}
		}
	}
	a, _, _ := got.Page(got.Live(), field, false, nil, 1<<20)
	b, _, _ := want.Page(want.Live(), field, false, nil, 1<<20)
	if !slices.Equal(a, b) {
		t.Fatalf("order of %s\n got %v\nwant %v", field, a, b)
	}
}

// TestLoad: what is loaded is what is added one by one, with values of all kinds, whether each thing has one or several, and it stays the same when
// things lose and get values.
func TestLoad(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	kinds := []func() string{
		func() string { return fmt.Sprint(rng.IntN(50)) },
		func() string { return fmt.Sprintf("%d.0", rng.IntN(50)) },
		func() string { return fmt.Sprintf("%d.5,%d", rng.IntN(90), rng.IntN(180)) },
		func() string { return fmt.Sprintf("point(%d %d)", rng.IntN(180), rng.IntN(90)) },
		func() string { return fmt.Sprintf("two words %d", rng.IntN(20)) },
		func() string { return fmt.Sprintf("Ünï\u2003%d\tſ", rng.IntN(20)) },
		func() string { return []string{"North", "north", "NORTH", "south"}[rng.IntN(4)] },
		func() string { return fmt.Sprintf("sn-%08x", rng.Uint32()) },
		func() string { return fmt.Sprintf("a/long/path/of/%d/with/%d", rng.IntN(3), rng.IntN(300)) },
	}
	name := func(id uint32) string { return fmt.Sprintf("thing-%05d", id) }
	for round := range 12 {
		things := []int{1, 30, 700, 2000}[round%4]
		several := round%3 == 0
		loaded, added := index.New("name", name), index.New("name", name)
		values := map[string][]uint32{} // as they are spelled
		folded := map[uint32]map[string]string{}
		var ids []uint32
		var texts []string
		for range things {
			id := uint32(1 + rng.IntN(2*things))
			if folded[id] != nil {
				continue
			}
			loaded.AddThing(id)
			added.AddThing(id)
			folded[id] = map[string]string{}
			count := 1
			if several {
				count = rng.IntN(4)
			}
			for range count {
				text := kinds[rng.IntN(len(kinds))]()
				if _, has := folded[id][index.Fold(text)]; has && !several {
					continue
				} else if !has {
					added.Add(id, "v", text)
				}
				folded[id][index.Fold(text)] = text
				if !slices.Contains(values[text], id) {
					values[text] = append(values[text], id)
				}
				ids, texts = append(ids, id), append(texts, text)
			}
		}
		if several {
			var spelled []string
			for text, list := range values {
				slices.Sort(list)
				spelled = append(spelled, text)
			}
			loaded.LoadSets("v", len(spelled), func(i int) (string, []uint32) { return spelled[i], values[spelled[i]] })
		} else {
			loaded.Load("v", len(ids), func(dst []byte, i int) ([]byte, uint32) { return append(dst, texts[i]...), ids[i] })
		}
		same(t, loaded, added, "v")
		for id, have := range folded {
			for f, text := range have {
				if rng.IntN(2) == 0 {
					loaded.Remove(id, "v", text)
					added.Remove(id, "v", text)
					delete(have, f)
				}
			}
			text := kinds[rng.IntN(len(kinds))]()
			if _, has := have[index.Fold(text)]; !has {
				loaded.Add(id, "v", text)
				added.Add(id, "v", text)
			}
		}
		same(t, loaded, added, "v")
	}
}
