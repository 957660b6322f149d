package prom

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// openAged returns APIs over one day of the same samples: as they are, and with only the tiers left of it.
func openAged(t *testing.T, day time.Time, tier5m time.Duration) (raw, aged *API) {
	t.Helper()
	var apis []*API
	for _, retention := range []time.Duration{0, 36 * time.Hour} {
		clock := vfs.NewManual(day)
		store, err := tsdb.Open(tsdb.Options{
			Dir: "data", FS: vfs.NewMem(), Clock: clock, Retention: retention, RetentionTier5m: tier5m, RetentionTier1h: 1000 * time.Hour,
			ReserveBytes: 1 << 10, LogFileBytes: 64 << 10, ClockSettle: 10 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		w := writer{t, store}
		rng := rand.New(rand.NewPCG(3, 3))
		total := 0
		for ms := int64(0); ms < 48*3600_000; ms += 30_000 {
			if ms > 8*3600_000 && ms < 10*3600_000 {
				continue // silent
			}
			if total += rng.IntN(10); rng.IntN(500) == 0 {
				total = 0
			}
			w.row(1, day.UnixMilli()+ms+rng.Int64N(100)+1, "power_w", deci(rng.IntN(1000)), "energy_total", total)
		}
		if err := store.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		clock.Jump(52 * time.Hour)
		gone := func() bool {
			st := store.Stats()
			return st.TierBytes > 0 && (retention == 0 || st.SegmentBytes > 0 && !hasRaw(t, store, day))
		}
		for deadline := time.Now().Add(20 * time.Second); !gone(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the first day does not go: %+v", store.Stats())
			}
			clock.Advance(10 * time.Second)
		}
		clock.Jump(10 * time.Hour)
		if retention > 0 && tier5m < 24*time.Hour {
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
				m, _ := store.Dict().LookupMetric("power_w")
				if list, err := store.ReadTier(nil, 1, m, tsdb.Tier5m, 0, day.Add(23*time.Hour).UnixMilli()); err == nil && len(list) == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the tier of five minutes does not go")
				}
				clock.Advance(10 * time.Second)
			}
		}
		apis = append(apis, New(store, fleet{1: {"lamp-1", []Label{{"city", "Oslo"}}}}, Options{Clock: clock}))
	}
	return apis[0], apis[1]
}

func hasRaw(t *testing.T, store *tsdb.Store, day time.Time) bool {
	t.Helper()
	m, _ := store.Dict().LookupMetric("power_w")
	var got tsdb.Samples
	if err := store.Read(&got, 1, m, day.UnixMilli(), day.Add(23*time.Hour).UnixMilli()); err != nil {
		t.Fatal(err)
	}
	return len(got.TimesMs) > 0
}

// What is left of a day answers as the day itself did where the buckets can tell, and about so where they can nearly.
func TestTiersAnswer(t *testing.T) {
	day := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	f := func(t *testing.T, raw, aged *API, query string, step time.Duration, tolerance float64) {
		t.Helper()
		values := func(api *API) map[int64]float64 {
			q, err := api.engine.NewRangeQuery(t.Context(), &scope{queryable: api.queryable}, nil, query, day.Add(2*time.Hour), day.Add(47*time.Hour), step)
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			res := q.Exec(context.Background())
			if res.Err != nil {
				t.Fatal(res.Err)
			}
			got := map[int64]float64{}
			for _, s := range res.Value.(promql.Matrix) {
				for _, p := range s.Floats {
					got[p.T] = p.F
				}
			}
			return got
		}
		want, got := values(raw), values(aged)
		missing := 0
		if tolerance > 0.01 {
			missing = len(want) / 100
		}
		if len(got) > len(want) || len(got) < len(want)-missing || len(got) < 20 {
			for ms := range want {
				if _, ok := got[ms]; !ok {
					t.Errorf("%v is missing", time.UnixMilli(ms).UTC())
				}
			}
			t.Fatalf("%s by %v: %d points, want %d", query, step, len(got), len(want))
		}
		for ms, v := range want {
			if at := time.UnixMilli(ms).Sub(day); tolerance > 0.01 && (at < 7*time.Hour || at > 8*time.Hour && at < 16*time.Hour) {
				continue // the edges of what there is
			}
			if g := got[ms]; math.Abs(g-v) > tolerance*math.Abs(v) {
				t.Errorf("%s by %v at %v: %v, want %v", query, step, time.UnixMilli(ms).UTC().Format("02 15:04"), g, v)
			}
		}
	}
	for _, tier5m := range []time.Duration{1000 * time.Hour, time.Hour} {
		t.Run(fmt.Sprint(tier5m), func(t *testing.T) {
			raw, aged := openAged(t, day, tier5m)
			for _, step := range []time.Duration{time.Hour, 2 * time.Hour} {
				f(t, raw, aged, "power_w", step, 0)
				f(t, raw, aged, "energy_total", step, 0)
				f(t, raw, aged, "max_over_time(power_w[1h])", step, 0)
				f(t, raw, aged, "min_over_time(power_w[2h])", step, 0)
				f(t, raw, aged, "last_over_time(power_w[1h])", step, 0)
				f(t, raw, aged, "sum_over_time(power_w[1h])", step, 1e-12)
				f(t, raw, aged, "avg_over_time(power_w[2h])", step, 0.1)
				f(t, raw, aged, "max(max_over_time(power_w[1h] offset 1h))", step, 0)
				f(t, raw, aged, "present_over_time(power_w[1h])", step, 0)
			}
			f(t, raw, aged, "increase(energy_total[6h])", time.Hour, 0.2)
			if tier5m > 24*time.Hour {
				f(t, raw, aged, "power_w", 5*time.Minute, 0)
				f(t, raw, aged, "max_over_time(power_w[10m])", 5*time.Minute, 0)
				f(t, raw, aged, "increase(energy_total[2h])", 5*time.Minute, 0.2)
			}
		})
	}
}
