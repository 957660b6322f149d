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
func awkwardStore(t *testing.T, rng *rand.Rand, things int) (*tsdb.Store, fleet) {
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
	for i := range tsdb.ThingID(things) {
		dir[i] = fleetThing{fmt.Sprint("lamp-", i), []Label{{"city", [...]string{"Bergen", "Oslo"}[i%2]}, {"floor", fmt.Sprint(i % 3)}}}
	}
	dir[1] = fleetThing{"lamp-1", []Label{{"city", "Oslo"}}}
	rows := 3000 + 10*things
	sealAt := rng.IntN(rows)
	for i := range rows {
		id := tsdb.ThingID(rng.IntN(things))
		if rng.IntN(20) == 0 {
			id = source
		}
		ms := now.UnixMilli() - 3600_000 + int64(i)*3600_000/int64(rows) + rng.Int64N(1000)
		switch rng.IntN(100) {
		case 0:
			ms -= rng.Int64N(600_000)
		case 1, 2, 3, 4: // of things that report at the same second
			ms -= ms % 1000
		}
		if id == 5 && i > rows/3 && i < rows*2/3 {
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
	vector := func() string {
		if rng.IntN(3) == 0 {
			return call()
		}
		return pick("n_total", "g", "n_total", "g", `n_total{city="Oslo"}`, `g{floor!="1"}`, `{__name__=~"n_total|g"}`, `{city=~".+"}`, "missing", "g_info") +
			pick("", "", "", "", " offset 3m", " offset -2m", " @ 1772365000", " @ end()")
	}
	aggregate := func(of string) string {
		return pick("sum", "avg", "avg", "min", "max", "count", "group", "stddev", "stdvar") +
			pick("", "", " by (city)", " by (city)", " by (floor, city, floor)", " by (__name__)", " by (thing)", " by (value, city)", " without (thing)", " without (city, value)", " without ()") +
			" (" + of + ")"
	}
	aggregation := func() string { return aggregate(vector()) }
	switch rng.IntN(17) {
	case 0, 1, 2:
		return call()
	case 3, 4, 10, 11:
		return aggregation()
	case 5, 12:
		return pick("topk", "bottomk") + pick("", " by (city)", " without (thing)") + pick("(2, ", "(2, ", "(1, ", "(7, ", "(1000, ", "(0, ", "(1.5, ", "(-1, ", "(NaN, ", "(1e20, ") + vector() + ")"
	case 6:
		return call() + pick(" + ", " - on (thing) ", " and ", " or ", " > ", " / on (city) group_left ") + call()
	case 7:
		return pick("timestamp", "absent", "abs", "scalar", "sgn") + "(" + pick(call(), aggregation()) + ")"
	case 8:
		return pick("max_over_time", "count_over_time") + "(" + pick(call(), aggregation()) + "[10m:1m])"
	case 13:
		return aggregation() + pick(" + ", " and ", " or ", " > ", " / on (city) group_left ", " unless ") + pick(aggregation(), vector())
	case 14:
		return aggregate(aggregation())
	case 15:
		return aggregation() + pick(" > 0", " * 2", " == bool 1")
	}
	return `label_replace(` + pick(call(), aggregation()) + `, "x", "$1-", "city", "(.*)")`
}

// TestPushdown compares random queries over awkward data, with calls and aggregations evaluated here and by the engine: the answers must be the
// same byte for byte, remarks and errors included.
func TestPushdown(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 5))
	f := func(things, queries, cells int) {
		t.Helper()
		store, dir := awkwardStore(t, rng, things)
		ours := New(store, dir, Options{Clock: vfs.NewManual(now)})
		engine := New(store, dir, Options{Clock: vfs.NewManual(now)})
		engine.queryable.engineOnly = true
		ours.queryable.maxCells = cells
		ours.queryable.helpers = make(chan struct{}, 3)
		results := 0
		for range queries {
			query := randomQuery(rng)
			form := url.Values{"query": {query}}
			path := "/api/v1/query"
			at := now.Unix() - 4000 + rng.Int64N(4500)
			ranged := rng.IntN(2) == 0
			if ranged {
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
			unordered := ranged && (strings.Contains(query, "topk") || strings.Contains(query, "bottomk"))
			if got.Status != want.Status || !bytes.Equal(got.Body, want.Body) && !unordered {
				t.Fatalf("%s %v\n got %d %.2000s\nwant %d %.2000s", query, form, got.Status, got.Body, want.Status, want.Body)
			}
			if len(got.Body) > 200 {
				results++
			}
		}
		if results < queries/6 {
			t.Errorf("only %d of %d queries had a result", results, queries)
		}
	}
	f(6, 1200, maxCells)
	// many parts, and many parts of groups
	f(300, 100, maxCells)
	f(300, 100, 64)
}
