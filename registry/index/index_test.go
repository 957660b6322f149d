package index_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/index"
)

// fields of a thing of the test fleet: five attributes, two of them different for each thing.
var fields = []struct {
	name  string
	value func(id uint32) string
}{
	{"thingName", func(id uint32) string { return fmt.Sprintf("street-light-%06d", id) }},
	{"thingId", func(id uint32) string {
		return fmt.Sprintf("%08x-0000-4000-8000-%012x", id*2654435761, uint64(id)*11400714819323198485>>16)
	}},
	{"thingTypeName", func(uint32) string { return "lamp" }},
	{"attributes.city", func(id uint32) string { return []string{"Trondheim", "Oslo", "Bergen"}[id%3] }},
	{"attributes.street", func(id uint32) string { return fmt.Sprintf("Street_%d", id%500) }},
	{"attributes.serial", func(id uint32) string { return fmt.Sprintf("SN-%010d", id*7919) }},
	{"attributes.power", func(id uint32) string { return fmt.Sprint(id * 13 % 1_000_003) }},
	{"attributes.firmware", func(id uint32) string { return fmt.Sprintf("2.%d.17", id%7) }},
	{"connectivity.connected", func(id uint32) string { return []string{"true", "false"}[id%2] }},
	{"connectivity.reason", func(id uint32) string { return []string{"", "connection lost"}[id%2] }},
}

func build(n int, bulk bool) *index.Index {
	x := index.New("thingName", func(id uint32) string { return fields[0].value(id) })
	for _, name := range []string{"registry.version", "registry.created", "registry.updated", "connectivity.timestamp"} {
		c := x.Column(name)
		c.Grow(uint32(n))
		for i := range n {
			c.Set(uint32(i+1), int64(i))
		}
	}
	for i := range n {
		x.AddThing(uint32(i + 1))
	}
	for _, f := range fields {
		if bulk {
			x.Load(f.name, n, func(dst []byte, i int) ([]byte, uint32) { return append(dst, f.value(uint32(i+1))...), uint32(i + 1) })
			continue
		}
		for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
			x.Add(uint32(i+1), f.name, f.value(uint32(i+1)))
		}
	}
	return x
}

// TestMemory: a thing with five attributes, connectivity and times takes at most 400 bytes of index, loaded or added one
// by one in any order.
func TestMemory(t *testing.T) {
	const n = 50_000
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // the second one empties the pools that the first one filled
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, bulk := range []bool{true, false} {
		before := heap()
		x := build(n, bulk)
		perThing := (heap() - before) / n
		t.Logf("bulk %v: %d bytes per thing", bulk, perThing)
		if perThing > 400 {
			t.Errorf("bulk %v: %d bytes per thing, the budget is 400", bulk, perThing)
		}
		// what was built is right
		set := new(bitset.BitSet)
		for id := uint32(1); id <= n; id += 997 {
			for _, f := range fields[:8] {
				set.ClearAll()
				if _, err := x.Select(context.Background(), set, f.name, index.Word(f.value(id)), nil); err != nil || !set.Test(uint(id)) {
					t.Fatalf("bulk %v: thing %d is not found by %s: %v", bulk, id, f.name, err)
				}
			}
		}
	}
}

// TestLoadRepeats: values that come again when Load has stopped telling them apart, early and late, are still one value each.
func TestLoadRepeats(t *testing.T) {
	const n = 60_000
	for _, different := range []func(i int) int{
		func(i int) int { return i % 25_000 },
		func(i int) int { return i / 3 },
		func(i int) int { return i * i % 50_021 },
	} {
		x := index.New("n", func(uint32) string { return "" })
		want := map[string][]uint32{}
		x.Load("v", n, func(dst []byte, i int) ([]byte, uint32) {
			value, id := fmt.Sprintf("%dV", different(i)), uint32(n-i)
			if i%2 == 0 {
				value = value[:len(value)-1] // a number
			}
			want[index.Fold(value)] = append(want[index.Fold(value)], id)
			return append(dst, value...), id
		})
		all := bitset.MustNew(n + 1).Complement()
		if got := x.Cardinality(all, "v"); got != len(want) {
			t.Fatalf("%d different values, want %d", got, len(want))
		}
		for value, ids := range want {
			set := new(bitset.BitSet)
			if _, err := x.Select(context.Background(), set, "v", index.Word(value), nil); err != nil || int(set.Count()) != len(ids) || !set.Test(uint(ids[0])) {
				t.Fatalf("%d things have %s, want %d: %v", set.Count(), value, len(ids), err)
			}
		}
	}
}

// TestLongValues: values as long as may be keep the chunks within their 16 bits, in every order of coming and going.
func TestLongValues(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	x := index.New("n", func(uint32) string { return "" })
	long := func(id uint32) string {
		text := make([]byte, []int{1, 10, 800, 8<<10 - 4}[id%4])
		for i := range text {
			text[i] = 'a' + byte(id>>(i%32))%26
		}
		return fmt.Sprint(string(text), id)
	}
	have := map[uint32]bool{}
	for range 6000 {
		id := 1 + rng.Uint32N(2000)
		if have[id] && rng.IntN(3) == 0 {
			x.Remove(id, "v", long(id))
			delete(have, id)
		} else if !have[id] {
			x.Add(id, "v", long(id))
			have[id] = true
		}
	}
	set := new(bitset.BitSet)
	for id := uint32(1); id <= 2000; id++ {
		set.ClearAll()
		_, err := x.Select(context.Background(), set, "v", index.Word(long(id)), nil)
		if err != nil || set.Test(uint(id)) != have[id] || set.Count() > 1 {
			t.Fatalf("thing %d is found: %v, should be: %v, %v", id, set.Test(uint(id)), have[id], err)
		}
	}
}

func TestParseNumber(t *testing.T) {
	f := func(text string, want float64, ok bool) {
		t.Helper()
		if got, is := index.ParseNumber(text); got != want || is != ok {
			t.Errorf("%q: %v %v, want %v %v", text, got, is, want, ok)
		}
	}
	f("75", 75, true)
	f("-1.50", -1.5, true)
	f("+2e3", 2000, true)
	f(".5", 0.5, true)
	f("5.", 5, true)
	f("-0", 0, true)
	for _, text := range []string{"", "-", ".", "e5", "1e", "1e999", "0x10", "1_000", "inf", "NaN", "1 ", "1.2.3", "--1", "1-2"} {
		f(text, 0, false)
	}
}

// BenchmarkLoad1M is what building the index of a million things takes at the start. It is reported per million.
func BenchmarkLoad1M(b *testing.B) {
	values := make([][]string, len(fields)) // made before: the registry has them
	const n = 1_000_000
	for i, f := range fields {
		values[i] = make([]string, n)
		for id := range n {
			values[i][id] = f.value(uint32(id + 1))
		}
	}
	for b.Loop() {
		x := index.New("thingName", func(uint32) string { return "" })
		for i, f := range fields {
			x.Load(f.name, n, func(dst []byte, at int) ([]byte, uint32) { return append(dst, values[i][at]...), uint32(at + 1) })
		}
		if len(x.Fields()) != len(fields) {
			b.Fatal("not all is loaded")
		}
	}
}

// BenchmarkUpdate is one attribute of one thing of 100,000 changed.
func BenchmarkUpdate(b *testing.B) {
	const n = 100_000
	x := build(n, true)
	f := fields[5]
	for i := 0; b.Loop(); i++ {
		id := uint32(i*7919%n + 1)
		x.Remove(id, f.name, f.value(id))
		x.Add(id, f.name, f.value(id))
	}
}
