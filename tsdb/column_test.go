package tsdb_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// shapes are series of each form that a packed column has: what a row of number n has, or false.
var shapes = []struct {
	name  string
	value func(rng *rand.Rand, n int64) (tsdb.Value, bool)
}{
	{"gauge", func(rng *rand.Rand, n int64) (tsdb.Value, bool) {
		return tsdb.Value{Mantissa: 200 + n%7, Exp: -1}, true
	}},
	{"constant", func(*rand.Rand, int64) (tsdb.Value, bool) { return tsdb.Value{Mantissa: -5}, true }},
	{"counter", func(rng *rand.Rand, n int64) (tsdb.Value, bool) { return tsdb.Value{Mantissa: 1<<40 + 777*n}, true }},
	{"wide", func(rng *rand.Rand, _ int64) (tsdb.Value, bool) {
		return tsdb.Value{Mantissa: rng.Int64() - rng.Int64(), Exp: -3}, true
	}},
	{"large", func(_ *rand.Rand, n int64) (tsdb.Value, bool) { return tsdb.Value{Mantissa: 1<<53 + n, Exp: -2}, true }},
	{"scaled", func(_ *rand.Rand, n int64) (tsdb.Value, bool) { return tsdb.Value{Mantissa: n % 1000, Exp: 3}, true }},
	{"tiny", func(_ *rand.Rand, n int64) (tsdb.Value, bool) {
		return tsdb.Value{Mantissa: 1 + n%1000, Exp: -30}, true
	}},
	{"switch", func(rng *rand.Rand, _ int64) (tsdb.Value, bool) {
		return tsdb.Value{Mantissa: rng.Int64N(2), Kind: tsdb.Bool}, true
	}},
	{"double", func(rng *rand.Rand, _ int64) (tsdb.Value, bool) { return double(rng.NormFloat64()), true }},
	{"short double", func(rng *rand.Rand, _ int64) (tsdb.Value, bool) { return double(float64(rng.IntN(4000)) / 100), true }},
	{"odd double", func(rng *rand.Rand, n int64) (tsdb.Value, bool) {
		odd := []float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), 1 << 60, 0.5}
		return double(odd[rng.IntN(1+int(n/1000)%len(odd))]), true
	}},
	{"rare", func(rng *rand.Rand, n int64) (tsdb.Value, bool) {
		return tsdb.Value{Mantissa: n, Exp: -1}, rng.IntN(20) == 0
	}},
}

func double(v float64) tsdb.Value {
	return tsdb.Value{Kind: tsdb.Float, Mantissa: int64(math.Float64bits(v))}
}

// Whatever part of a column is asked for, in whatever order, before it is sealed and after, it is what was sent, with a cache of any size.
func TestReadParts(t *testing.T) {
	const rows = 5000
	for _, cacheBytes := range []int64{1, 256 << 10, 64 << 20} {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 11))
		opts := small(vfs.NewMem())
		opts.CacheBytes, opts.MemoryBytes, opts.LogBytes = cacheBytes, 64<<20, 64<<20
		s := open(t, opts)
		want := make([]tsdb.Samples, len(shapes))
		var cols []tsdb.MetricID
		for _, shape := range shapes {
			cols = append(cols, metric(t, s, shape.name))
		}
		// Times keep to ten seconds, then exactly, then there are gaps, then they are of any kind, then far apart.
		ms, last := int64(0), int64(0)
		seals := []int64{rng.Int64N(rows), rng.Int64N(rows), rows - 1 - rng.Int64N(2)*500}
		for n := int64(199); cacheBytes == 256<<10 && n < rows; n += 200 {
			seals = append(seals, n) // small blocks, of which some are kept
		}
		for n := range int64(rows) {
			switch n / 1000 {
			case 0:
				ms = (1+n)*10_000 + rng.Int64N(100)
			case 1:
				ms = last + 10_000
			case 2:
				ms = last + 10_000*(1+rng.Int64N(20)/19)
			case 3:
				ms = last + 1 + rng.Int64N(1<<rng.IntN(20))
			default:
				ms = last + 1 + rng.Int64N(1<<rng.IntN(33))
			}
			last = ms
			var values []tsdb.Value
			for i, shape := range shapes {
				if v, ok := shape.value(rng, n); ok {
					v.Metric = cols[i]
					values = append(values, v)
					want[i].TimesMs, want[i].Values = append(want[i].TimesMs, ms), append(want[i].Values, v.Float())
				}
			}
			appendRow(t, s, 7, ms, values...)
			if slices.Contains(seals, n) {
				must(t, s.Seal(context.Background()))
			}
		}
		for range 1500 / min(raceFactor, 10) {
			i := rng.IntN(len(shapes))
			all := &want[i]
			at := func() int64 { return all.TimesMs[rng.IntN(len(all.TimesMs))] + rng.Int64N(3) - 1 }
			minMs := at()
			maxMs := max(minMs, at())
			if rng.IntN(2) == 0 { // a short part
				maxMs = minMs + rng.Int64N(1<<rng.IntN(24))
			}
			from, _ := slices.BinarySearch(all.TimesMs, minMs)
			to, _ := slices.BinarySearch(all.TimesMs, maxMs+1)
			what := fmt.Sprintf("seed %d, %d bytes of cache, %s of %d to %d", seed, cacheBytes, shapes[i].name, minMs, maxMs)
			var got tsdb.Samples
			must(t, s.Read(&got, 7, cols[i], minMs, maxMs))
			if !slices.Equal(got.TimesMs, all.TimesMs[from:to]) || !slices.EqualFunc(got.Values, all.Values[from:to], sameBits) {
				t.Fatalf("%s: %d samples, want %d: %.5v, want %.5v", what, len(got.Values), to-from, got.Values, all.Values[from:to])
			}
			step := 1 + rng.Int64N(max(1, (maxMs-minMs)/20))
			steps := int((maxMs-minMs)/step) + 1
			var some tsdb.Samples
			must(t, s.ReadSteps(&some, 7, cols[i], minMs, maxMs, minMs, step))
			n := tsdb.Thin(got.TimesMs, got.Values, minMs, step)
			if !slices.Equal(some.TimesMs, got.TimesMs[:n]) || !slices.EqualFunc(some.Values, got.Values[:n], sameBits) {
				t.Fatalf("%s by %d: %d samples, want %d", what, step, len(some.Values), n)
			}
			var lasts tsdb.StepSamples
			must(t, s.ReadLastAt(&lasts, 7, cols[i], minMs, minMs, step, steps))
			for n := range steps {
				j, found := slices.BinarySearch(all.TimesMs, minMs+int64(n)*step)
				if !found {
					j--
				}
				if j < from {
					if lasts.TimesMs[n] != -1 {
						t.Fatalf("%s: step %d is of %d, want none", what, n, lasts.TimesMs[n])
					}
				} else if lasts.TimesMs[n] != all.TimesMs[j] || !sameBits(lasts.Values[n], all.Values[j]) {
					t.Fatalf("%s: step %d is %v of %d, want %v of %d", what, n, lasts.Values[n], lasts.TimesMs[n], all.Values[j], all.TimesMs[j])
				}
			}
		}
		must(t, s.Close())
	}
}

func sameBits(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }
