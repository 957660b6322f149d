package tsdb_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

const dayMs = 86_400_000

var tierSteps = []int64{tsdb.Tier5m, tsdb.Tier1h}

// bucketsOf makes buckets of raw samples, the plain way. All samples that Increase may look back to must be there.
func bucketsOf(raw *tsdb.Samples, stepMs, minMs, maxMs int64) []tsdb.Bucket {
	var list []tsdb.Bucket
	for i, ms := range raw.TimesMs {
		end := (ms + stepMs - 1) / stepMs * stepMs
		if end < minMs || end > maxMs {
			continue
		}
		v := raw.Values[i]
		if n := len(list); n == 0 || list[n-1].EndMs != end {
			list = append(list, tsdb.Bucket{EndMs: end, Min: v, Max: v})
		}
		b := &list[len(list)-1]
		b.LastMs, b.Last, b.Count, b.Sum = ms, v, b.Count+1, b.Sum+v
		b.Min, b.Max = min(b.Min, v), max(b.Max, v)
		day := (ms - 1) / dayMs * dayMs // the day's tiers look back for an hour
		if i > 0 && raw.TimesMs[i-1] > day-3_600_000 {
			if before := raw.Values[i-1]; v < before {
				b.Increase += v
			} else {
				b.Increase += v - before
			}
		}
	}
	return list
}

func sameBuckets(got, want []tsdb.Bucket) bool {
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*(math.Abs(a)+math.Abs(b)) }
	return slices.EqualFunc(got, want, func(a, b tsdb.Bucket) bool {
		return a.EndMs == b.EndMs && a.LastMs == b.LastMs && a.Count == b.Count && a.Min == b.Min && a.Max == b.Max && a.Last == b.Last &&
			near(a.Sum, b.Sum) && near(a.Increase, b.Increase)
	})
}

// tierStore is a store whose clock and days a test turns.
type tierStore struct {
	*tsdb.Store
	fsys  *vfs.Mem
	clock *vfs.Manual
	opts  tsdb.Options
}

func openTiers(t *testing.T, start time.Time) *tierStore {
	x := &tierStore{fsys: vfs.NewMem(), clock: vfs.NewManual(start)}
	x.opts = small(x.fsys)
	x.opts.Clock, x.opts.LogBytes, x.opts.MemoryBytes = x.clock, 4<<20, 8<<20
	x.opts.Retention, x.opts.RetentionTier5m, x.opts.RetentionTier1h = 48*time.Hour, 20*24*time.Hour, 1000*24*time.Hour
	x.opts.ClockSettle = 20 * time.Second
	x.Store = open(t, x.opts)
	return x
}

// pass lets time go by and the keeper do what is due then.
func (x *tierStore) pass(t *testing.T, d time.Duration) {
	t.Helper()
	must(t, x.Seal(context.Background()))
	x.clock.Jump(d)
	for range 8 {
		x.clock.Advance(10 * time.Second)
		until(t, "the keeper's tick", func() bool { return x.clock.Waiting() > 0 })
		must(t, tsdb.Tend(x.Store))
	}
}

// rows appends a day of rows of two things, at the pace of stepMs.
func (x *tierStore) rows(t *testing.T, rng *rand.Rand, day time.Time, stepMs int64) {
	t.Helper()
	power, energy, on, ratio, label := metric(t, x.Store, "power_w"), metric(t, x.Store, "energy"), metric(t, x.Store, "on"), metric(t, x.Store, "ratio"), metric(t, x.Store, "label")
	total := rng.Int64N(1000)
	for ms := int64(0); ms < dayMs; ms += stepMs + rng.Int64N(stepMs) {
		at := day.UnixMilli() + ms
		if rng.IntN(10) == 0 {
			at = at / 300_000 * 300_000 // on the edge
		}
		if total += rng.Int64N(20); rng.IntN(50) == 0 {
			total = rng.Int64N(10)
		}
		values := []tsdb.Value{decimal(power, 400+rng.Int64N(100), -1), decimal(energy, total, 0)}
		if rng.IntN(3) == 0 {
			values = append(values, tsdb.Value{Metric: on, Kind: tsdb.Bool, Mantissa: rng.Int64N(2)}, text(t, x.Store, label, fmt.Sprint(rng.IntN(3))),
				tsdb.Value{Metric: ratio, Kind: tsdb.Float, Mantissa: int64(math.Float64bits(rng.NormFloat64()))})
		}
		appendRow(t, x.Store, tsdb.ThingID(rng.IntN(2)), at, values...)
	}
}

// buckets returns all that the tiers say.
func (x *tierStore) buckets(t *testing.T) map[string][]tsdb.Bucket {
	t.Helper()
	all := map[string][]tsdb.Bucket{}
	for _, m := range x.Metrics() {
		for thing := range tsdb.ThingID(2) {
			for _, step := range tierSteps {
				list, err := x.ReadTier(nil, thing, m.ID, step, 0, math.MaxInt64)
				must(t, err)
				all[fmt.Sprint(thing, m.Name, step)] = list
			}
		}
	}
	return all
}

// checkRaw compares the tiers with the raw samples.
func (x *tierStore) checkRaw(t *testing.T, minMs, maxMs int64) {
	t.Helper()
	seen := 0
	for _, m := range x.Metrics() {
		for thing := range tsdb.ThingID(2) {
			var raw tsdb.Samples
			must(t, x.Read(&raw, thing, m.ID, 0, math.MaxInt64))
			for _, step := range tierSteps {
				got, err := x.ReadTier(nil, thing, m.ID, step, minMs, maxMs)
				must(t, err)
				if want := bucketsOf(&raw, step, minMs, maxMs); !sameBuckets(got, want) {
					for i := range min(len(got), len(want)) {
						if !sameBuckets(got[i:i+1], want[i:i+1]) {
							t.Errorf("bucket %d\n got %+v\nwant %+v", i, got[i], want[i])
							break
						}
					}
					t.Fatalf("thing %d %s by %d: %d buckets, want %d", thing, m.Name, step, len(got), len(want))
				}
				seen += len(got)
			}
		}
	}
	if seen < 1000 {
		t.Fatalf("%d buckets", seen)
	}
}

// Tiers say of each bucket what its samples say: of finished days, with rows that came late, after the samples have gone, and over new
// starts and merges.
func TestTiers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 11))
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	x := openTiers(t, start)
	var days []time.Time
	for n := range 2 {
		days = append(days, start.AddDate(0, 0, n))
		x.rows(t, rng, days[n], 40_000)
		x.pass(t, 24*time.Hour)
	}
	if st := x.Stats(); st.TierBytes == 0 {
		t.Fatalf("%+v", st)
	}
	x.pass(t, 4*time.Hour)
	lo, hi := start.UnixMilli()+1, start.AddDate(0, 0, 2).UnixMilli()
	x.checkRaw(t, lo, hi)

	// late rows, some in the place of others
	x.rows(t, rng, days[1], 600_000)
	x.pass(t, time.Hour)
	x.checkRaw(t, lo, hi)
	want := x.buckets(t)
	restart := func() {
		t.Helper()
		must(t, x.Close())
		if report, err := tsdb.Fsck("data", x.fsys); err != nil || len(report.Damage) > 0 {
			t.Fatalf("%+v %v", report, err)
		}
		x.Store = open(t, x.opts)
	}
	same := func(what string) {
		t.Helper()
		got := x.buckets(t)
		for key, list := range want {
			if !sameBuckets(got[key], list) {
				t.Fatalf("%s: %s has %d buckets, want %d", what, key, len(got[key]), len(list))
			}
		}
	}
	restart()
	same("after a new start")

	// the samples go, the buckets stay
	x.pass(t, 48*time.Hour)
	if got := dump(t, x.Store, 1, "power_w"); got != "" {
		t.Fatalf("raw samples: %.100s", got)
	}
	same("without raw samples")
	if ids := x.ThingsWith(nil, metric(t, x.Store, "power_w"), lo, hi); fmt.Sprint(ids) != "[0 1]" {
		t.Fatalf("things with buckets: %v", ids)
	}
	if st := x.Stats(); st.OldestMs > lo {
		t.Fatalf("oldest: %+v", st)
	}
	// a straggler takes nothing away
	appendRow(t, x.Store, 0, days[0].UnixMilli()+1000, decimal(metric(t, x.Store, "power_w"), 1, 0))
	x.pass(t, time.Hour)
	same("after a straggler")

	// deleted things are gone from tiers, too
	must(t, x.DeleteThing(1))
	if list, err := x.ReadTier(nil, 1, metric(t, x.Store, "power_w"), tsdb.Tier1h, 0, math.MaxInt64); err != nil || len(list) > 0 {
		t.Fatalf("buckets of a deleted thing: %d %v", len(list), err)
	}
	restart()

	// the tier of five minutes goes when it is old, that of an hour stays
	x.pass(t, 20*24*time.Hour)
	got := x.buckets(t)
	if len(got["0power_w300000"]) != 0 || !sameBuckets(got["0power_w3600000"], want["0power_w3600000"]) {
		t.Fatalf("after three weeks: %d and %d buckets", len(got["0power_w300000"]), len(got["0power_w3600000"]))
	}
}

// Many days of tiers end in few segments that say the same.
func TestTiersMerge(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 11))
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	x := openTiers(t, start)
	x.opts.Retention = 0
	must(t, x.Close())
	x.Store = open(t, x.opts)
	for n := range 12 {
		x.rows(t, rng, start.AddDate(0, 0, n), 300_000)
		x.pass(t, 24*time.Hour)
	}
	x.pass(t, 4*time.Hour)
	x.pass(t, time.Hour)
	x.checkRaw(t, start.UnixMilli()+1, start.AddDate(0, 0, 12).UnixMilli())
	tiers := 0
	for _, name := range x.fsys.Tree() {
		if len(name) > 4 && (name[len(name)-4:] == ".t5m" || name[len(name)-4:] == ".t1h") {
			tiers++
		}
	}
	if tiers == 0 || tiers > 12 {
		t.Fatalf("%d files of tiers: %q", tiers, x.fsys.Tree())
	}
	must(t, x.Close())
	if report, err := tsdb.Fsck("data", x.fsys); err != nil || len(report.Damage) > 0 {
		t.Fatalf("%+v %v", report, err)
	}
	x.Store = open(t, x.opts)
	x.checkRaw(t, start.UnixMilli()+1, start.AddDate(0, 0, 12).UnixMilli())
}
