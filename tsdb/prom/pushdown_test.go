package prom

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/value"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// awkwardStore fills a store with counters that fall, gaps, late rows, doubles, NaN, infinities, staleness markers, sparse columns and a source
// with the labels of a thing; some of it is in segments.
func awkwardStore(t *testing.T, rng *rand.Rand) (*tsdb.Store, fleet) {
	t.Helper()
	store := openStore(t)
	w := writer{t, store}
	dir := fleet{}
	set := new(tsdb.LabelSet)
	set.Add([]byte("thing"), []byte("lamp-1"))
	set.Add([]byte("city"), []byte("Oslo"))
	source, err := store.Source(set)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[tsdb.ThingID]int{}
	for i := range tsdb.ThingID(6) {
		dir[i] = fleetThing{fmt.Sprint("lamp-", i), []Label{{"city", [...]string{"Bergen", "Oslo"}[i%2]}, {"floor", fmt.Sprint(i % 3)}}}
	}
	dir[1] = fleetThing{"lamp-1", []Label{{"city", "Oslo"}}}
	sealAt := rng.IntN(3000)
	for i := range 3000 {
		id := tsdb.ThingID(rng.IntN(6))
		if rng.IntN(20) == 0 {
			id = source
		}
		ms := now.UnixMilli() - 3600_000 + int64(i)*1200 + rng.Int64N(1000)
		switch rng.IntN(100) {
		case 0:
			ms -= rng.Int64N(600_000)
		case 1, 2, 3, 4: // of things that report at the same second
			ms -= ms % 1000
		}
		if id == 5 && i > 1000 && i < 2000 {
			continue // silent for long
		}
		counts[id] += rng.IntN(1000)
		if rng.IntN(100) == 0 {
			counts[id] = rng.IntN(10)
		}
		gauge := any(deci(rng.IntN(1000) - 500))
		switch rng.IntN(60) {
		case 0:
			gauge = math.NaN()
		case 1:
			gauge = math.Inf(1 - 2*rng.IntN(2))
		case 2, 3:
			gauge = math.Float64frombits(value.StaleNaN)
		case 4, 5:
			gauge = rng.NormFloat64() * 1e300
		case 6:
			gauge = rng.IntN(2) == 0
		case 7:
			gauge = "text"
		}
		if rng.IntN(3) == 0 {
			w.row(id, ms, "n_total", counts[id])
		} else {
			w.row(id, ms, "n_total", counts[id], "g", gauge)
		}
		if i == sealAt {
			if err := store.Seal(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.sync()
	return store, dir
}

// randomQuery makes a call of a function over a range vector, with everything that may stand around one.
func randomQuery(rng *rand.Rand) string {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	functions := slices.Sorted(maps.Keys(pushable))
	call := func() string {
		arg := pick("n_total", "g", "n_total", "g", `n_total{city="Oslo"}`, `g{floor!="1"}`, `{__name__=~"n_total|g"}`, "missing", "g_info") +
			"[" + pick("1s", "17s", "1m", "5m", "20m", "2h") + "]" + pick("", "", "", " offset 3m", " offset -2m", " @ 1772365000", " @ end()")
		return pick(functions...) + "(" + arg + ")"
	}
	switch rng.IntN(10) {
	case 0, 1, 2:
		return call()
	case 3, 4:
		return pick("sum", "avg", "min", "max", "count", "stddev") + pick(" by (city)", " without (thing)", "") + " (" + call() + ")"
	case 5:
		return pick("topk", "bottomk") + "(2, " + call() + ")"
	case 6:
		return call() + pick(" + ", " - on (thing) ", " and ", " or ", " > ", " / on (city) group_left ") + call()
	case 7:
		return pick("timestamp", "absent", "abs", "scalar", "sgn") + "(" + call() + ")"
	case 8:
		return pick("max_over_time", "count_over_time") + "(" + call() + "[10m:1m])"
	}
	return `label_replace(` + call() + `, "x", "$1-", "city", "(.*)")`
}

// TestPushdown compares random queries over awkward data, with calls evaluated here and by the engine: the answers must be the same byte for byte,
// remarks and errors included.
func TestPushdown(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	store, dir := awkwardStore(t, rng)
	ours := New(store, dir, Options{Clock: vfs.NewManual(now)})
	engine := New(store, dir, Options{Clock: vfs.NewManual(now)})
	engine.queryable.engineOnly = true
	results := 0
	for range 1500 {
		query := randomQuery(rng)
		form := url.Values{"query": {query}}
		path := "/api/v1/query"
		at := now.Unix() - 4000 + rng.Int64N(4500)
		if rng.IntN(2) == 0 {
			path = "/api/v1/query_range"
			step := 1 + rng.Int64N(600)
			form.Set("start", fmt.Sprint(at))
			form.Set("end", fmt.Sprint(at+rng.Int64N(40*step)))
			form.Set("step", fmt.Sprint(step))
		} else {
			form.Set("time", fmt.Sprint(at))
		}
		if rng.IntN(4) == 0 {
			form.Set("lookback_delta", fmt.Sprint(0.001+rng.Float64()*100))
		}
		got := ours.Serve(context.Background(), "GET", path, form)
		want := engine.Serve(context.Background(), "GET", path, form)
		// What goes over a map is in any order.
		if got.Status != want.Status || !bytes.Equal(got.Body, want.Body) && !strings.Contains(query, "topk") && !strings.Contains(query, "bottomk") {
			t.Fatalf("%s %v\n got %d %.2000s\nwant %d %.2000s", query, form, got.Status, got.Body, want.Status, want.Body)
		}
		if len(got.Body) > 200 {
			results++
		}
	}
	if results < 300 {
		t.Errorf("only %d queries had a result", results)
	}
}
