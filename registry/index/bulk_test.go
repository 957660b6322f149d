package index_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// TestBulk: values that many things get and lose at once are those that they get and lose one by one.
func TestBulk(t *testing.T) {
	const things, steps = 3000, 400
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	name := func(id uint32) string { return fmt.Sprintf("thing-%05d", id) }
	one, many := index.New("name", name), index.New("name", name)
	for id := uint32(1); id <= things; id++ {
		one.AddThing(id)
		many.AddThing(id)
	}
	values := []string{"North", "south", "7", "7.0", "two words", "48.1,11.5", "x"}
	have := map[string]*bitset.BitSet{}
	for _, v := range values {
		have[v] = new(bitset.BitSet)
	}
	for range steps {
		v := values[rng.IntN(len(values))]
		add := rng.IntN(2) == 0
		some := new(bitset.BitSet)
		for range []int{1, 3, 100, things}[rng.IntN(4)] {
			if id := uint(1 + rng.IntN(things)); have[v].Test(id) != add {
				some.Set(id)
			}
		}
		if add {
			many.AddAll(some, "field", v)
			have[v].InPlaceUnion(some)
		} else {
			many.RemoveAll(some, "field", v)
			have[v].InPlaceDifference(some)
		}
		for id := range some.EachSet() {
			if add {
				one.Add(uint32(id), "field", v)
			} else {
				one.Remove(uint32(id), "field", v)
			}
		}
		all := one.Live()
		if a, b := one.Fields(), many.Fields(); !reflect.DeepEqual(a, b) {
			t.Fatalf("fields %v one by one, %v at once", a, b)
		}
		if a, b := one.Count("field"), many.Count("field"); a != b {
			t.Fatalf("%d things have a value one by one, %d at once", a, b)
		}
		if a, b := one.Buckets(all, "field", 10), many.Buckets(all, "field", 10); !reflect.DeepEqual(a, b) {
			t.Fatalf("one by one %v\nat once    %v", a, b)
		}
		if a, b := idsOf(one), idsOf(many); !reflect.DeepEqual(a, b) {
			t.Fatalf("one by one %v\nat once    %v", a, b)
		}
	}
}

// idsOf returns the first things in the order of the field.
func idsOf(x *index.Index) []uint32 {
	ids, _, _ := x.Page(x.Live(), "field", false, nil, 50)
	return ids
}

func TestSetOf(t *testing.T) {
	for _, ids := range [][]uint{nil, {5}, {1, 2, 3, 900_000}} {
		bits := new(bitset.BitSet)
		for _, id := range ids {
			bits.Set(id)
		}
		s := index.SetOf(bits)
		var got []uint
		for id, ok := s.Next(0); ok; id, ok = s.Next(id + 1) {
			got = append(got, uint(id))
		}
		if !reflect.DeepEqual(got, ids) || s.Count() != len(ids) {
			t.Errorf("a set of %v is %v", ids, got)
		}
		if some := s.AppendRange(nil, 2, 4); len(ids) == 4 && !reflect.DeepEqual(some, []uint32{2, 3}) {
			t.Errorf("of %v %v are from 2 up to 4", ids, some)
		}
	}
	dense := new(bitset.BitSet)
	for id := uint(1); id < 1000; id += 3 {
		dense.Set(id)
	}
	s := index.SetOf(dense)
	if id, ok := s.Next(5); !ok || id != 7 || s.Count() != int(dense.Count()) {
		t.Errorf("the first from 5 on is %d %v, of %d", id, ok, s.Count())
	}
	if some := s.AppendRange(nil, 4, 100); len(some) != 32 || some[0] != 4 || some[31] != 97 {
		t.Errorf("from 4 up to 100 there are %v", some)
	}
	list := s.Append(nil)
	same := index.SetOfList(list)
	if list[0] = 5; !reflect.DeepEqual(same.Append(nil), s.Append(nil)) {
		t.Error("a set of a list is another one")
	}
	if s.Add(2); dense.Test(2) {
		t.Error("the set shares its bits")
	}
}
