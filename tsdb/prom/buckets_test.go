package prom

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/value"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// openWeek returns a store with days days of samples at about one in ten to forty seconds, with their tiers made and some of them late, and its directory.
func openWeek(t testing.TB, rng *rand.Rand, start time.Time, days int, awkward bool) (*tsdb.Store, fleet) {
	t.Helper()
	clock := vfs.NewManual(start)
	store, err := tsdb.Open(tsdb.Options{
		Dir: "data", FS: vfs.NewMem(), Clock: clock, RetentionTier5m: 9000 * time.Hour, RetentionTier1h: 9000 * time.Hour, ReserveBytes: 1 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w := writer{t, store}
	dir := fleet{}
	dayMs := 24 * time.Hour.Milliseconds()
	for id := range tsdb.ThingID(3) {
		dir[id] = fleetThing{fmt.Sprint("lamp-", id), []Label{{"city", [...]string{"Bergen", "Oslo"}[id%2]}}}
		count := 0
		for ms := int64(0); ms < int64(days)*dayMs; ms += 10_000 + rng.Int64N(30_000) {
			at := start.UnixMilli() + ms
			if hour := ms / 3600_000 % 24; awkward && hour >= 5 && hour < 7 && id == 1 {
				continue // silent
			}
			if rng.IntN(20) == 0 {
				at -= at % 300_000 // on the edge
			}
			if count += rng.IntN(10); rng.IntN(1000) == 0 {
				count = 0
			}
			gauge := any(deci(rng.IntN(2000) - 1000))
			if awkward {
				switch rng.IntN(300) {
				case 0:
					gauge = math.Float64frombits(value.StaleNaN)
				case 1:
					gauge = rng.NormFloat64()
				case 2:
					if id == 2 && ms < dayMs {
						gauge = [...]float64{math.NaN(), math.Inf(1), math.Inf(-1)}[rng.IntN(3)]
					}
				case 3:
					gauge = "text"
				}
			}
			w.row(id, at, "n_total", count, "g", gauge)
		}
	}
	tend := func(d time.Duration) {
		t.Helper()
		if err := store.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		clock.Jump(d)
	}
	current := func() bool {
		m, _ := store.Dict().LookupMetric("g")
		var got tsdb.Buckets
		for day := range days - 1 {
			from := start.UnixMilli() + int64(day)*dayMs
			if err := store.ReadBuckets(&got, 0, m, tsdb.Tier1h, 0, from+1, from+dayMs); err != nil || len(got.List) == 0 {
				return false
			}
		}
		return true
	}
	tend(time.Duration(days)*24*time.Hour + 30*time.Minute)
	for deadline := time.Now().Add(30 * time.Second); !current(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the days do not go into the tiers: %+v", store.Stats())
		}
		clock.Advance(10 * time.Second)
	}
	if awkward { // late rows of one day, in memory
		for range 20 {
			w.row(tsdb.ThingID(rng.IntN(3)), start.UnixMilli()+dayMs+rng.Int64N(dayMs), "g", deci(5000), "n_total", 7)
		}
	}
	w.sync()
	return store, dir
}

// points reads a response's numbers by series and time.
func points(t *testing.T, body []byte) (map[string]float64, int64) {
	t.Helper()
	var resp struct {
		Data struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
				Value  []any             `json:"value"`
				Values [][]any           `json:"values"`
			} `json:"result"`
			Stats struct {
				Muster struct {
					Buckets5m, Buckets1h int64
				} `json:"muster"`
			} `json:"stats"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &resp); err != nil {
		t.Fatalf("%v: %.300s", err, body)
	}
	got := map[string]float64{}
	for _, s := range resp.Data.Result {
		if s.Value != nil {
			s.Values = [][]any{s.Value}
		}
		for _, p := range s.Values {
			v, err := strconv.ParseFloat(p[1].(string), 64)
			if err != nil {
				t.Fatal(err)
			}
			got[fmt.Sprint(s.Metric, " ", int64(p[0].(float64)*1000))] = v
		}
	}
	return got, resp.Data.Stats.Muster.Buckets5m + resp.Data.Stats.Muster.Buckets1h
}

// TestBuckets compares random queries with long steps and ranges, answered with the help of tiers and by the samples alone: the same numbers, and for
// sums nearly so.
func TestBuckets(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 6))
	start := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	const days = 4
	store, dir := openWeek(t, rng, start, days, true)
	end := start.AddDate(0, 0, days)
	ours := New(store, dir, Options{Clock: vfs.NewManual(end)})
	plain := New(store, dir, Options{Clock: vfs.NewManual(end)})
	plain.queryable.engineOnly = true
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	helped := map[string]int{}
	for range 300 {
		column := pick("n_total", "g", `g{city="Oslo"}`)
		function := pick("min", "max", "sum", "avg", "count", "last", "present") + "_over_time"
		query := fmt.Sprintf("%s(%s[%s]%s)", function, column, pick("5m", "10m", "1h", "3h", "30h", "61m"), pick("", "", " offset 1h", " offset 5m", " offset -1h", " offset 7s"))
		switch rng.IntN(5) {
		case 0:
			function, query = "x", column+pick("", " offset 1h")
		case 1:
			function = "x"
			query = pick("sum", "max", "count", "avg") + pick(" by (city)", "") + " (" + column + ")"
		case 2:
			query = pick("max", "min", "count") + " by (city) (" + query + ")"
		}
		form := url.Values{"query": {query}, "stats": {"all"}}
		path := "/api/v1/query"
		at := start.Unix() + rng.Int64N(int64(days)*86400)/3600*3600 + int64(rng.IntN(2))*rng.Int64N(3600)/300*300
		if rng.IntN(4) == 0 {
			form.Set("time", fmt.Sprint(at+rng.Int64N(2)*17))
		} else {
			path = "/api/v1/query_range"
			form.Set("start", fmt.Sprint(at))
			form.Set("end", fmt.Sprint(at+rng.Int64N(int64(days)*86400)))
			form.Set("step", pick("300", "3600", "7200", "301", "900"))
		}
		got, want := ours.Serve(context.Background(), "GET", path, form), plain.Serve(context.Background(), "GET", path, form)
		if got.Status != 200 || want.Status != 200 {
			t.Fatalf("%s: %d %.200s, %d %.200s", query, got.Status, got.Body, want.Status, want.Body)
		}
		a, used := points(t, got.Body)
		b, before := points(t, want.Body)
		if used > before {
			helped[function]++
		}
		// The magnitude of what is summed up bounds the difference of two orders of addition.
		tolerance := 0.0
		if strings.HasPrefix(function, "sum") || strings.HasPrefix(function, "avg") {
			tolerance = 1e-9
		}
		if len(a) != len(b) {
			t.Fatalf("%s %v: %d points, want %d", query, form, len(a), len(b))
		}
		for k, v := range b {
			g, ok := a[k]
			if !ok || g != v && !(math.IsNaN(g) && math.IsNaN(v)) && !(math.Abs(g-v) <= tolerance*max(1, math.Abs(v))) {
				t.Fatalf("%s %v at %s: %v %v, want %v", query, form, k, ok, g, v)
			}
		}
	}
	for _, function := range []string{"x", "min_over_time", "max_over_time", "sum_over_time", "avg_over_time", "count_over_time", "last_over_time", "present_over_time"} {
		if helped[function] == 0 {
			t.Errorf("the tiers helped with no %s: %v", function, helped)
		}
	}
}

// BenchmarkBuckets measures long ranges with the help of tiers and without.
func BenchmarkBuckets(b *testing.B) {
	start := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	store, dir := openWeek(b, rand.New(rand.NewPCG(8, 8)), start, 30, false)
	from, to := fmt.Sprint(start.Unix()), fmt.Sprint(start.AddDate(0, 0, 30).Unix())
	for _, engineOnly := range []bool{false, true} {
		api := New(store, dir, Options{Clock: vfs.NewManual(start.AddDate(0, 0, 30))})
		api.queryable.engineOnly = engineOnly
		f := func(name, path string, form url.Values) {
			b.Run(fmt.Sprint(name, "/samples_alone=", engineOnly), func(b *testing.B) {
				began := cpuTime(b)
				for b.Loop() {
					if resp := api.Serve(context.Background(), "GET", path, form); resp.Status != 200 || len(resp.Body) < 250 {
						b.Fatalf("%d %.200s", resp.Status, resp.Body)
					}
				}
				b.ReportMetric((cpuTime(b)-began).Seconds()*1e3/float64(b.N), "cpu-ms/op")
			})
		}
		f("x_30d_1h", "/api/v1/query_range", url.Values{"query": {"g"}, "start": {from}, "end": {to}, "step": {"3600"}})
		f("x_30d_5m", "/api/v1/query_range", url.Values{"query": {"g"}, "start": {from}, "end": {to}, "step": {"300"}})
		f("avg_1d_30d_1h", "/api/v1/query_range", url.Values{"query": {"avg_over_time(g[1d])"}, "start": {from}, "end": {to}, "step": {"3600"}})
		f("avg_30d", "/api/v1/query", url.Values{"query": {"avg_over_time(g[30d])"}, "time": {to}})
		f("max_30d", "/api/v1/query", url.Values{"query": {"max_over_time(g[30d])"}, "time": {to}})
	}
}
