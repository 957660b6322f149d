package prom

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"muster/tsdb/vfs"
)

// One window is answered from the summaries of blocks, and as if every sample were read.
func TestExtremesAnswer(t *testing.T) {
	store := openStore(t)
	w := writer{t, store}
	rng := rand.New(rand.NewPCG(4, 4))
	const rows = 10_000
	for i := range rows {
		w.row(1, now.UnixMilli()-int64(rows-i)*10_000+rng.Int64N(5000), "power_w", deci(rng.IntN(1_000_000)-500_000), "ratio", rng.NormFloat64())
		if i%3000 == 2999 {
			if err := store.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	api := New(store, fleet{1: {"lamp-1", nil}}, Options{Clock: vfs.NewManual(now)})
	for range 100 {
		at := now.Add(-time.Duration(rng.IntN(20)) * time.Hour)
		span := (time.Duration(1+rng.IntN(30*3600)) * time.Second).String()
		for _, query := range []string{"max_over_time(power_w[" + span + "])", "min_over_time(power_w[" + span + "])", "max_over_time(ratio[" + span + "])"} {
			one, err := api.Query(t.Context(), query, at)
			if err != nil {
				t.Fatal(err)
			}
			// Two steps are two windows.
			q, err := api.engine.NewRangeQuery(t.Context(), &scope{queryable: api.queryable}, nil, query, at, at.Add(time.Second), time.Second)
			if err != nil {
				t.Fatal(err)
			}
			res := q.Exec(t.Context())
			if res.Err != nil {
				t.Fatal(res.Err)
			}
			got, want := one.(promql.Vector), res.Value.(promql.Matrix)
			if len(got) != len(want) || len(got) > 0 && got[0].F != want[0].Floats[0].F {
				t.Fatalf("%s at %v: %v, want %v", query, at, got, want)
			}
			q.Close()
		}
	}
}
