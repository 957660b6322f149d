package bytesort_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/registry/bytesort"
)

// TestOrder: the order is that of a stable sort by comparisons, whatever the texts have in common.
func TestOrder(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	random := func(alphabet string, most int) func(int) string {
		return func(int) string {
			text := make([]byte, rng.IntN(most+1))
			for i := range text {
				text[i] = alphabet[rng.IntN(len(alphabet))]
			}
			return string(text)
		}
	}
	for name, text := range map[string]func(i int) string{
		"numbered":         func(i int) string { return fmt.Sprintf("reg-%06d", (i*7919)%5003) },
		"deep":             func(i int) string { return fmt.Sprintf("site-%d/of/the/city/of/lamps/%09d", i%3, (i*7919)%5003) },
		"the same":         func(int) string { return "all the same, and long" },
		"beginnings":       func(i int) string { return "abcdefghijklmnopqrstuvwxyz"[:i%27] },
		"zeros":            random("\x00", 40),
		"zeros and others": random("\x00\x01\xff", 20),
		"bytes":            random("aAbB\x80\xff \x00", 12),
		"long":             random("ab", 60),
		"empty":            func(int) string { return "" },
	} {
		for _, n := range []int{0, 1, 2, 100, 5000} {
			texts := make([]string, n)
			want := make([]uint32, n)
			for i := range texts {
				texts[i], want[i] = text(i), uint32(i)
			}
			slices.SortStableFunc(want, func(a, b uint32) int { return cmp.Compare(texts[a], texts[b]) })
			if got := bytesort.Order(n, func(place uint32) string { return texts[place] }); !slices.Equal(got, want) {
				t.Errorf("%s, %d texts: another order", name, n)
			}
			if got := bytesort.Order(n, func(place uint32) []byte { return []byte(texts[place]) }); !slices.Equal(got, want) {
				t.Errorf("%s, %d texts as bytes: another order", name, n)
			}
		}
	}
}

func TestByKey(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, mask := range []uint64{0, 0xff, 0xff00, 1 << 63, 0xf0f0f0f0f0f0f0f0, ^uint64(0)} {
		for _, n := range []int{0, 1, 200, 3000} {
			list := make([]bytesort.Keyed, n)
			for i := range list {
				list[i] = bytesort.Keyed{Key: rng.Uint64() & mask, Place: uint32(i)}
			}
			want := slices.Clone(list)
			slices.SortStableFunc(want, func(a, b bytesort.Keyed) int { return cmp.Compare(a.Key, b.Key) })
			room := make([]bytesort.Keyed, n)
			if bytesort.ByKey(list, room); !slices.Equal(list, want) {
				t.Errorf("mask %x, %d keys: another order", mask, n)
			}
			if bytesort.ByKey(list, room); !slices.Equal(list, want) {
				t.Errorf("mask %x, %d keys: what is sorted changes", mask, n)
			}
		}
	}
}

// BenchmarkOrder1M is a million texts that differ at random, as serial numbers do.
func BenchmarkOrder1M(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	texts := make([]string, 1_000_000)
	for i := range texts {
		texts[i] = fmt.Sprintf("sn-%08x", rng.Uint32())
	}
	for b.Loop() {
		if places := bytesort.Order(len(texts), func(place uint32) string { return texts[place] }); len(places) != len(texts) {
			b.Fatal("not all are there")
		}
	}
}
