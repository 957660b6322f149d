package tsdb_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/tsdb"
)

const (
	wantAll      = tsdb.BucketMin | tsdb.BucketMax | tsdb.BucketSum | tsdb.BucketLast
	staleNaNBits = 0x7ff0000000000002
)

// checkBuckets compares, for random ranges, ReadBuckets with the samples: what it leaves to them and its buckets make the range up, and every
// bucket says what they say. It returns how many buckets there were.
func (x *tierStore) checkBuckets(t *testing.T, rng *rand.Rand, minMs, maxMs int64) (seen int) {
	t.Helper()
	var raw, part tsdb.Samples
	var got tsdb.Buckets
	for _, m := range x.Metrics() {
		for thing := range tsdb.ThingID(2) {
			for _, step := range tierSteps {
				lo := minMs + rng.Int64N(maxMs-minMs)
				hi := lo + rng.Int64N(maxMs-lo)
				if rng.IntN(3) == 0 {
					lo, hi = minMs, maxMs
				}
				must(t, x.Read(&raw, thing, m.ID, lo, hi))
				must(t, x.ReadBuckets(&got, thing, m.ID, step, wantAll, lo, hi))
				seen += len(got.List)
				covered := raw.TimesMs[:0:0]
				for i, span := range got.Raw {
					if span.MinMs > span.MaxMs || span.MinMs < lo || span.MaxMs > hi || i > 0 && span.MinMs <= got.Raw[i-1].MaxMs {
						t.Fatalf("spans %v of %d to %d", got.Raw, lo, hi)
					}
					must(t, x.Read(&part, thing, m.ID, span.MinMs, span.MaxMs))
					covered = append(covered, part.TimesMs...)
				}
				var rest tsdb.Samples
				for i, ms := range raw.TimesMs {
					if _, ok := slices.BinarySearch(covered, ms); !ok && math.Float64bits(raw.Values[i]) != staleNaNBits {
						rest.TimesMs, rest.Values = append(rest.TimesMs, ms), append(rest.Values, raw.Values[i])
					}
				}
				list := slices.DeleteFunc(got.List, func(b tsdb.Bucket) bool { return b.Count == 0 })
				want := bucketsOf(&rest, step, 0, math.MaxInt64)
				for i := range want {
					want[i].Increase = 0
				}
				for i := range list { // a marker at the end of a bucket stands for itself
					if math.Float64bits(list[i].Last) == staleNaNBits && i < len(want) {
						list[i].Last, list[i].LastMs = want[i].Last, want[i].LastMs
					}
				}
				if !sameBuckets(list, want) {
					for i := range min(len(list), len(want)) {
						if !sameBuckets(list[i:i+1], want[i:i+1]) {
							t.Errorf("bucket %d\n got %+v\nwant %+v", i, list[i], want[i])
							break
						}
					}
					t.Fatalf("thing %d %s by %d from %d to %d: %d buckets, want %d; spans %v", thing, m.Name, step, lo, hi, len(list), len(want), got.Raw)
				}
			}
		}
	}
	return seen
}

// Whatever comes late, in whatever state files are: the buckets that are read in the place of samples say the same. They serve again after
// the late rows are in the tiers.
func TestCurrentBuckets(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 12))
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	x := openTiers(t, start)
	x.opts.Retention = 0
	must(t, x.Close())
	x.Store = open(t, x.opts)
	const days = 3
	for n := range days {
		x.rows(t, rng, start.AddDate(0, 0, n), 10_000)
		x.pass(t, 24*time.Hour)
	}
	x.pass(t, 4*time.Hour)
	lo, hi := start.UnixMilli(), start.AddDate(0, 0, days).UnixMilli()+3_600_000
	if n := x.checkBuckets(t, rng, lo, hi); n < 300 {
		t.Fatalf("%d buckets", n)
	}
	power := metric(t, x.Store, "power_w")
	served := func(day int) (buckets int) {
		t.Helper()
		var got tsdb.Buckets
		from := start.AddDate(0, 0, day).UnixMilli()
		must(t, x.ReadBuckets(&got, 0, power, tsdb.Tier5m, tsdb.BucketLast, from+1, from+dayMs))
		return len(got.List)
	}
	for round := range 8 {
		day := rng.IntN(days)
		at := start.AddDate(0, 0, day).UnixMilli() + 1 + rng.Int64N(dayMs)
		v := decimal(power, rng.Int64N(10_000), -1)
		if rng.IntN(3) == 0 { // in the place of a sample, or for the end of the series
			var raw tsdb.Samples
			must(t, x.Read(&raw, 0, power, at, at+3_600_000))
			if len(raw.TimesMs) > 0 && raw.TimesMs[0] <= start.AddDate(0, 0, day+1).UnixMilli() {
				at = raw.TimesMs[0]
			}
			if rng.IntN(2) == 0 {
				v = tsdb.Value{Metric: power, Kind: tsdb.Float, Mantissa: staleNaNBits}
			}
		}
		appendRow(t, x.Store, 0, at, v)
		steps := []func(){
			func() { must(t, x.Seal(context.Background())) },
			func() { must(t, x.Close()); x.Store = open(t, x.opts) },
			func() { must(t, tsdb.Compact(x.Store)) },
			func() { x.pass(t, 4*time.Hour) },
			func() { must(t, x.Purge(context.Background())) },
		}
		if n := served(day); n != 0 {
			t.Fatalf("round %d: %d buckets of a day with a late row", round, n)
		}
		x.checkBuckets(t, rng, lo, hi)
		for range 3 {
			steps[rng.IntN(len(steps))]()
			x.checkBuckets(t, rng, lo, hi)
		}
	}
	x.pass(t, 4*time.Hour)
	x.pass(t, 4*time.Hour)
	for day := range days {
		if served(day) == 0 {
			t.Fatalf("no buckets of day %d after its late rows are in the tiers", day)
		}
	}
	x.checkBuckets(t, rng, lo, hi)

	// a damaged tier does not stand for samples that are there
	must(t, x.Close())
	for _, name := range x.fsys.Tree() {
		if strings.HasSuffix(name, ".t5m") {
			data, err := x.fsys.ReadFile(name)
			must(t, err)
			data[len(data)/3] ^= 1
			must(t, x.fsys.WriteFile(name, data, 0o600))
		}
	}
	x.Store = open(t, x.opts)
	for range 3 {
		x.checkBuckets(t, rng, lo, hi)
	}
	if st := x.Stats(); st.Damaged == 0 {
		t.Fatalf("the damage was not met: %+v", st)
	}

	must(t, x.DeleteThing(0))
	if n := x.checkBuckets(t, rng, lo, hi); n == 0 || served(0) != 0 {
		t.Fatalf("%d buckets, %d of a deleted thing", n, served(0))
	}
}
