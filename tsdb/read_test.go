package tsdb_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// fillAnyhow appends rows of every shape that decoding tells apart: in order and late, wide, sparse, with a column twice, of changing
// kinds; some of them are sealed.
func fillAnyhow(t *testing.T, s *tsdb.Store, rng *rand.Rand, rows int) {
	t.Helper()
	var cols []tsdb.MetricID
	for i := range 80 {
		cols = append(cols, metric(t, s, fmt.Sprint("c", i)))
	}
	late := rng.IntN(2) * rng.IntN(30) // per mille
	for i := range int64(rows) {
		ms := i*1000 + rng.Int64N(300)
		if rng.IntN(1000) < late {
			ms = rng.Int64N(i*1000 + 1)
		}
		var values []tsdb.Value
		width := 3
		if rng.IntN(200) == 0 {
			width = 10 + rng.IntN(70)
		}
		for c := range width {
			v := decimal(cols[c], rng.Int64N(1<<rng.IntN(60)), int8(-rng.IntN(3)))
			switch rng.IntN(40) {
			case 0:
				continue
			case 1:
				v = text(t, s, cols[c], fmt.Sprint("word", rng.IntN(5)))
			case 2:
				v = tsdb.Value{Metric: cols[c], Kind: tsdb.Float, Mantissa: int64(math.Float64bits(rng.Float64()))}
			}
			values = append(values, v)
		}
		if rng.IntN(150) == 0 {
			values = append(values, text(t, s, cols[0], "again"))
		}
		if len(values) > 0 {
			appendRow(t, s, tsdb.ThingID(i%2), ms, values...)
		}
		if rng.IntN(rows) == 0 {
			must(t, s.Seal(context.Background()))
		}
	}
}

// What a caller sees at steps is the last sample at or before each, whether it asks for all samples or for those that count.
func TestReadSteps(t *testing.T) {
	for seed := range uint64(max(2, 30/raceFactor)) {
		rng := rand.New(rand.NewPCG(seed, 8))
		opts := small(vfs.NewMem())
		opts.CacheBytes = int64(rng.IntN(2)) * (1 << 20) // 0: the default
		opts.MemoryBytes, opts.LogBytes = 4<<20, 4<<20
		s := open(t, opts)
		const rows = 3000
		fillAnyhow(t, s, rng, rows)
		for range 200 {
			thing, m := tsdb.ThingID(rng.IntN(2)), tsdb.MetricID(rng.IntN(4))
			minMs, maxMs := rng.Int64N(rows*1000), rng.Int64N(rows*1000)
			first, step := minMs+rng.Int64N(100_000)-1000, 1+rng.Int64N(100_000)
			var all, some tsdb.Samples
			must(t, s.Read(&all, thing, m, minMs, maxMs))
			must(t, s.ReadSteps(&some, thing, m, minMs, maxMs, first, step))
			at := func(in *tsdb.Samples, ms int64) string {
				i, ok := slices.BinarySearch(in.TimesMs, ms)
				if !ok {
					i--
				}
				if i < 0 {
					return "none"
				}
				return fmt.Sprint(in.TimesMs[i], in.Values[i])
			}
			for ms := first; ms <= maxMs+step; ms += step {
				if got, want := at(&some, ms), at(&all, ms); got != want {
					t.Fatalf("seed %d, thing %d column %d of %d to %d, at %d by %d: %s, want %s", seed, thing, m, minMs, maxMs, ms, step, got, want)
				}
			}
			if most := max(0, (maxMs-first+step-1)/step) + 1; int64(len(some.TimesMs)) > most {
				t.Fatalf("seed %d: %d samples for %d steps", seed, len(some.TimesMs), most)
			}
		}
		must(t, s.Close())
	}
}

// Decoded columns that are kept are no other than those that are decoded again, however many queries there are at once.
func TestReadCached(t *testing.T) {
	for seed := range uint64(max(1, 6/raceFactor)) {
		var want map[string]string
		for _, cacheBytes := range []int64{1, 100 << 10, 64 << 20} {
			rng := rand.New(rand.NewPCG(seed, 9))
			opts := small(vfs.NewMem())
			opts.CacheBytes, opts.MemoryBytes, opts.LogBytes = cacheBytes, 4<<20, 4<<20
			s := open(t, opts)
			fillAnyhow(t, s, rng, 2000)
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() { everything(t, s) })
			}
			wg.Wait()
			got := everything(t, s)
			if want == nil {
				want = got
			}
			if diff := different(got, want); len(diff) > 0 || len(got) != len(want) || len(got) < 3000 {
				t.Fatalf("seed %d, %d bytes of cache: %d cells, want %d: %v", seed, cacheBytes, len(got), len(want), diff)
			}
			must(t, s.Close())
		}
	}
}

// The smallest and the largest number are the same by the blocks' summaries as by all samples.
func TestReadExtremes(t *testing.T) {
	for seed := range uint64(max(2, 20/raceFactor)) {
		rng := rand.New(rand.NewPCG(seed, 10))
		opts := small(vfs.NewMem())
		opts.CacheBytes, opts.MemoryBytes, opts.LogBytes = int64(rng.IntN(2))*(1<<20), 4<<20, 4<<20
		s := open(t, opts)
		const rows = 6000
		fillAnyhow(t, s, rng, rows)
		if seed%3 > 0 {
			must(t, s.Seal(context.Background()))
		}
		for range 100 {
			thing, m := tsdb.ThingID(rng.IntN(2)), tsdb.MetricID(rng.IntN(4))
			minMs, maxMs := rng.Int64N(rows*500), rows*500+rng.Int64N(rows*600)
			var all, some tsdb.Samples
			must(t, s.Read(&all, thing, m, minMs, maxMs))
			for _, most := range []bool{false, true} {
				must(t, s.ReadExtremes(&some, thing, m, minMs, maxMs, most))
				find := slices.Min[[]float64]
				if most {
					find = slices.Max[[]float64]
				}
				if len(all.Values) == 0 && len(some.Values) == 0 {
					continue
				}
				if len(some.Values) == 0 || find(some.Values) != find(all.Values) {
					t.Fatalf("seed %d, thing %d column %d of %d to %d, most %v: %d samples of %d", seed, thing, m, minMs, maxMs, most, len(some.Values), len(all.Values))
				}
				if !slices.IsSorted(some.TimesMs) || some.TimesMs[0] < minMs || some.TimesMs[len(some.TimesMs)-1] > maxMs {
					t.Fatalf("seed %d: times from %d to %d", seed, some.TimesMs[0], some.TimesMs[len(some.TimesMs)-1])
				}
			}
		}
		must(t, s.Close())
	}
	s := open(t, tsdb.Options{Dir: "data", FS: vfs.NewMem(), MemoryBytes: 1 << 30, LogBytes: 1 << 30})
	sealFleet(t, s, 2, 9000)
	m, _ := s.Dict().LookupMetric("power_w")
	var all, some tsdb.Samples
	must(t, s.Read(&all, 1, m, 0, math.MaxInt64))
	must(t, s.ReadExtremes(&some, 1, m, all.TimesMs[0], math.MaxInt64, true))
	if len(some.Values) != 6 || len(all.Values) != 9000 || slices.Max(some.Values) != slices.Max(all.Values) {
		t.Fatalf("%d numbers of blocks, the largest %v; %d samples, the largest %v", len(some.Values), slices.Max(some.Values), len(all.Values), slices.Max(all.Values))
	}
}

// A column that is read again and again while rows are added is the same as one that is read once, without a cache.
func TestReadWhileGrowing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	kept := small(vfs.NewMem())
	kept.CacheBytes = 8 << 20
	none := small(vfs.NewMem())
	none.CacheBytes = 1
	both := [2]*tsdb.Store{open(t, kept), open(t, none)}
	var cols []tsdb.MetricID
	for i := range 70 {
		cols = append(cols, metric(t, both[0], fmt.Sprint("c", i)))
		metric(t, both[1], fmt.Sprint("c", i))
	}
	for i := range int64(1500) {
		ms := 1_000_000 + i*1000 + rng.Int64N(300)
		if rng.IntN(100) == 0 {
			ms = rng.Int64N(ms)
		}
		width := 4
		if rng.IntN(200) == 0 {
			width = 10 + rng.IntN(60)
		}
		var values []tsdb.Value
		for _, c := range cols[:width] {
			if rng.IntN(30) > 0 {
				values = append(values, decimal(c, rng.Int64N(1<<rng.IntN(60)), int8(-rng.IntN(3))))
			}
		}
		if len(values) == 0 {
			continue
		}
		for _, s := range both {
			appendRow(t, s, 1, ms, values...)
			if i%700 == 699 {
				must(t, s.Seal(context.Background()))
			}
		}
		if rng.IntN(4) > 0 {
			continue
		}
		m := cols[rng.IntN(5)]
		fromMs, toMs := rng.Int64N(ms), int64(math.MaxInt64)
		if rng.IntN(2) == 0 {
			toMs = fromMs + rng.Int64N(ms)
		}
		var got, want tsdb.Samples
		must(t, both[0].Read(&got, 1, m, fromMs, toMs))
		must(t, both[1].Read(&want, 1, m, fromMs, toMs))
		if !slices.Equal(got.TimesMs, want.TimesMs) || !slices.Equal(got.Values, want.Values) {
			t.Fatalf("row %d, column %d, [%d,%d]: %d samples, want %d", i, m, fromMs, toMs, len(got.Values), len(want.Values))
		}
	}
}
