package tsdb_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// What ReadLastAt gives at a step is what Read has last at or before it, in whatever form the rows are.
func TestReadLastAt(t *testing.T) {
	for seed := range uint64(max(2, 30/raceFactor)) {
		rng := rand.New(rand.NewPCG(seed, 10))
		opts := small(vfs.NewMem())
		opts.CacheBytes = int64(rng.IntN(2)) * (1 << 20) // 0: the default
		opts.MemoryBytes, opts.LogBytes = 4<<20, 4<<20
		s := open(t, opts)
		const rows = 3000
		fillAnyhow(t, s, rng, rows)
		var all tsdb.Samples
		var got tsdb.StepSamples
		for range 200 {
			thing, m := tsdb.ThingID(rng.IntN(2)), tsdb.MetricID(rng.IntN(4))
			minMs, first, step, n := rng.Int64N(rows*1000), rng.Int64N(rows*1000), 1+rng.Int64N(1<<rng.IntN(18)), 1+rng.IntN(100)
			must(t, s.Read(&all, thing, m, minMs, first+int64(n-1)*step))
			must(t, s.ReadLastAt(&got, thing, m, minMs, first, step, n))
			earliest := int64(math.MaxInt64)
			if len(all.TimesMs) > 0 {
				earliest = all.TimesMs[0]
			}
			if len(got.TimesMs) != n || len(got.Values) != n || got.EarliestMs != earliest {
				t.Fatalf("seed %d: %d and %d for %d steps, the earliest at %d, want %d", seed, len(got.TimesMs), len(got.Values), n, got.EarliestMs, earliest)
			}
			for i := range n {
				at, ok := slices.BinarySearch(all.TimesMs, first+int64(i)*step)
				if !ok {
					at--
				}
				want, have := "none", "none"
				if at >= 0 {
					want = fmt.Sprint(all.TimesMs[at], all.Values[at])
				}
				if got.TimesMs[i] >= 0 {
					have = fmt.Sprint(got.TimesMs[i], got.Values[i])
				}
				if have != want {
					t.Fatalf("seed %d, thing %d column %d from %d, step %d of %d by %d: %s, want %s", seed, thing, m, minMs, i, first, step, have, want)
				}
			}
		}
		must(t, s.Close())
	}
}
