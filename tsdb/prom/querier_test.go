package prom

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// TestDirectoryChanges renames a thing, changes an attribute and deletes a thing: all of the history follows.
func TestDirectoryChanges(t *testing.T) {
	api, dir, w := openFleet(t, Options{})
	f := func(query, want string) {
		t.Helper()
		v, err := api.Query(context.Background(), query, now)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, s := range v.(promql.Vector) {
			got = append(got, fmt.Sprintf("%s=%v", s.Metric.Get("thing"), s.F))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s\n got %v\nwant %s", query, got, want)
		}
	}
	f(`power_w{city="Oslo"}`, "lamp-1=10 lamp-2=20")
	dir[1] = fleetThing{"lamp-A", []Label{{"city", "Bergen"}}}
	f(`power_w{city="Oslo"}`, "lamp-2=20")
	f(`count_over_time(power_w{city="Bergen"}[20m])`, "lamp-A=120 lamp-3=120")
	f(`power_w{thing="lamp-1"}`, "")
	f(`power_w{thing="lamp-A"}`, "lamp-A=10")
	delete(dir, 2)
	f(`power_w`, "lamp-A=10 lamp-3=30")
	f(`power_w{thing="lamp-2"}`, "")
	f(`count(power_w) by (thing)`, "lamp-A=1 lamp-3=1")
	// what the store forgets is gone though the directory knows the thing
	if err := w.store.DeleteThing(3); err != nil {
		t.Fatal(err)
	}
	f(`power_w`, "lamp-A=10")
	f(`sum by (thing) (sum_over_time(power_w[1h]))`, "lamp-A=1240")
	if got := string(api.Serve(context.Background(), "GET", "/api/v1/label/thing/values", nil).Body); strings.Contains(got, "lamp-2") || !strings.Contains(got, "lamp-A") {
		t.Errorf("things: %s", got)
	}
}

func TestCleanLabels(t *testing.T) {
	f := func(want string, list ...string) {
		t.Helper()
		in := []Label{{thingLabel, "x"}}
		for i := 0; i < len(list); i += 2 {
			in = append(in, Label{list[i], list[i+1]})
		}
		var b strings.Builder
		for _, l := range cleanLabels(in) {
			fmt.Fprintf(&b, "%s=%s ", l.Name, l.Value)
			if !legalName(l.Name) {
				t.Errorf("%q is not legal", l.Name)
			}
		}
		if got := strings.TrimSpace(b.String()); got != want {
			t.Errorf("%q\n got %s\nwant %s", list, got, want)
		}
	}
	f("thing=x")
	f("a=1 thing=x z=2", "a", "1", "z", "2")
	f("a=1 thing=x z=2", "z", "2", "a", "1")
	f("a=1 thing=x thing_type=t", "a", "1", "thing_type", "t")
	// reserved names get a prefix and do not clobber
	f("attribute___name__=n attribute_thing=y thing=x", "thing", "y", "__name__", "n")
	// illegal names are made legal; empty ones and empty values are left out
	f("_=4 _1a=3 b_c_d=2 thing=x", "", "1", "b c.d", "2", "1a", "3", "é", "4", "e", "")
	// of two that become the same, the legal one wins, then the first
	f("a_b=2 c_d=3 thing=x", "a-b", "1", "a_b", "2", "c-d", "3", "c.d", "4")
	f("a=\uFFFD thing=x", "a", "\xff")
	f("a=\uFFFD b_=\uFFFD thing=x", "b-", "\xff", "a", "\xff")
	// of two equal names the later counts
	f("a=2 thing=x", "a", "1", "a", "2")
	f("a=3 thing=x thing_type=real", "thing_type", "attribute", "a", "1", "a", "2", "a", "3", "thing_type", "real")
	f("attribute_thing=2 thing=x z=1", "z", "1", "thing", "1", "thing", "2")
	f("attribute___x=1 thing=x", "--x", "1")
}

// TestIterator compares iterators with a plain list, over series that are sparse, dense and both, at random seeks.
func TestIterator(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	store := openStore(t)
	w := writer{t, store}
	dir := fleet{1: {name: "a"}}
	var times []int64
	at := now.UnixMilli()
	for i := range 60_000 {
		gap := 1 + rng.Int64N(20)
		if rng.IntN(2000) == 0 {
			gap = rng.Int64N(10 * 24 * 3600 * 1000)
		}
		at += gap
		times = append(times, at)
		w.row(1, at, "n", i, "s", [...]string{"on", "off"}[i/3%2])
	}
	w.sync()
	q := newQueryable(store, dir, 10, 1<<30).querier(0, at)
	name := labels.MustNewMatcher(labels.MatchEqual, nameLabel, "n")
	var reused chunkenc.Iterator
	for range 20 {
		from := times[0] - 5000 + rng.Int64N(at-times[0])
		to := from + rng.Int64N(at-from+5000)
		first, _ := slices.BinarySearch(times, from)
		last, found := slices.BinarySearch(times, to)
		if found {
			last++
		}
		want := times[first:last]
		set := q.Select(context.Background(), false, &storage.SelectHints{Start: from, End: to, Step: 1}, name)
		if !set.Next() {
			t.Fatal(set.Err())
		}
		q.series = 0
		it := set.At().Iterator(reused)
		reused = it
		i, moved := -1, false
		for {
			got := chunkenc.ValNone
			if rng.IntN(3) > 0 {
				got, i, moved = it.Next(), i+1, true
			} else {
				target := from + rng.Int64N(to-from+1)
				if i >= 0 && i < len(want) && rng.IntN(4) > 0 {
					target = want[i] + rng.Int64N(200_000)
				}
				got = it.Seek(target)
				if !moved {
					i = 0
				}
				for i < len(want) && want[i] < target {
					i++
				}
				moved = true
			}
			if (got != chunkenc.ValNone) != (i < len(want)) {
				t.Fatalf("[%d,%d]: sample %d of %d: %v", from, to, i, len(want), got)
			}
			if got == chunkenc.ValNone {
				break
			}
			ms, v := it.At()
			if ms != want[i] || int(v) != first+i || it.AtT() != ms {
				t.Fatalf("[%d,%d]: sample %d is (%d, %v), want (%d, %d)", from, to, i, ms, v, want[i], first+i)
			}
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}

	// A string column: 1 at its times, and one staleness marker where the other value begins.
	set := q.Select(context.Background(), true, &storage.SelectHints{Start: 0, End: at, Step: 1}, labels.MustNewMatcher(labels.MatchEqual, nameLabel, "s_info"))
	for _, value := range []string{"off", "on"} {
		if !set.Next() || set.At().Labels().Get(valueLabel) != value {
			t.Fatal("no series", value, set.Err())
		}
		ones, stale := 0, 0
		for it := set.At().Iterator(reused); it.Next() != chunkenc.ValNone; {
			if _, v := it.At(); v == 1 {
				ones++
			} else {
				stale++
			}
		}
		wantStale := 10_000
		if value == "off" {
			wantStale-- // it is the last value
		}
		if ones != 30_000 || stale != wantStale {
			t.Errorf("%s: %d ones and %d stale, want 30000 and %d", value, ones, stale, wantStale)
		}
	}
}

// TestInstantUsesLast checks that an instant query decodes nothing, and falls back where the last value is too new.
func TestInstantUsesLast(t *testing.T) {
	api, _, _ := openFleet(t, Options{})
	reads := 0
	api.queryable.store = &countReads{api.queryable.store, &reads}
	f := func(query string, wantReads int) {
		t.Helper()
		reads = 0
		if _, err := api.Query(context.Background(), query, now); err != nil {
			t.Fatal(err)
		}
		if reads != wantReads {
			t.Errorf("%s: %d reads, want %d", query, reads, wantReads)
		}
	}
	f(`power_w`, 0)
	f(`sum by (city) (power_w) / count by (city) (fw_info)`, 0)
	f(`power_w @ 1772366400`, 0)
	f(`timestamp(power_w)`, 0)
	f(`door`, 0)
	f(`power_w offset 1m`, 3)
	f(`rate(energy_total[5m])`, 3)
}

// TestSteps asks for the same range with and without a subquery in the text: with one, samples between two steps are not
// left out before the engine sees them. The answers must agree.
func TestSteps(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	store := openStore(t)
	w := writer{t, store}
	at := now.UnixMilli()
	for i := range 2000 {
		if at += 1 + rng.Int64N(3000); rng.IntN(50) == 0 {
			at += rng.Int64N(600_000)
		}
		w.row(1, at, "n", i, "s", [...]string{"x", "y", "z"}[i/5%3])
	}
	w.sync()
	api := New(store, fleet{1: {name: "a"}}, Options{})
	span := at - now.UnixMilli()
	answer := func(query string, form url.Values) string {
		form.Set("query", query)
		resp := api.Serve(context.Background(), "GET", "/api/v1/query_range", form)
		if resp.Status != 200 {
			t.Fatalf("%s: %s", query, resp.Body)
		}
		return string(resp.Body)
	}
	for range 200 {
		start := now.UnixMilli() + rng.Int64N(span)
		step := 1 + rng.Int64N(100_000)
		end := min(start+rng.Int64N(1000*step), at+100_000)
		seconds := func(ms int64) []string { return []string{fmt.Sprintf("%.3f", float64(ms)/1000)} }
		form := url.Values{"start": seconds(start), "end": seconds(max(start, end)), "step": seconds(step), "lookback_delta": seconds(1 + rng.Int64N(400_000))}
		for _, query := range []string{"n", "s_info", "timestamp(n)", "n offset 17s", "n - (n offset -3s)", "n @ start()", "count_over_time(n[1m]) + n"} {
			const nothing = " or absent_over_time(vector(0)[1m:1m])"
			if got, want := answer(query, form), answer(query+nothing, form); got != want {
				t.Fatalf("%s %v\n got %.500s\nwant %.500s", query, form, got, want)
			}
		}
	}
}

type countReads struct {
	Store
	n *int
}

func (c *countReads) ReadSteps(dst *tsdb.Samples, thing tsdb.ThingID, m tsdb.MetricID, minMs, maxMs, firstMs, stepMs int64) error {
	*c.n++
	return c.Store.ReadSteps(dst, thing, m, minMs, maxMs, firstMs, stepMs)
}

func (c *countReads) ReadStrings(dst *tsdb.StringSamples, thing tsdb.ThingID, m tsdb.MetricID, minMs, maxMs int64) error {
	*c.n++
	return c.Store.ReadStrings(dst, thing, m, minMs, maxMs)
}

// TestStatus checks the answers that differ from run to run.
func TestStatus(t *testing.T) {
	api, _, _ := openFleet(t, Options{})
	var tsdbStatus struct {
		Data struct {
			SeriesCountByMetricName []struct {
				Name  string
				Value int
			}
		}
	}
	get := func(path string, form url.Values, into any) {
		t.Helper()
		resp := api.Serve(context.Background(), "GET", path, form)
		if err := json.Unmarshal(resp.Body, into); err != nil || resp.Status != 200 {
			t.Fatalf("%s: %d %s: %v", path, resp.Status, resp.Body, err)
		}
	}
	get("/api/v1/status/tsdb", url.Values{"limit": {"2"}}, &tsdbStatus)
	if got := fmt.Sprint(tsdbStatus.Data.SeriesCountByMetricName); got != "[{fw 4} {power_w 4}]" {
		t.Errorf("columns: %s", got)
	}
	var info struct {
		Data struct{ StartTime, ServerTime string }
	}
	get("/api/v1/status/runtimeinfo", nil, &info)
	if info.Data.StartTime != "2026-03-01T12:00:00Z" || info.Data.ServerTime != info.Data.StartTime {
		t.Errorf("runtime: %+v", info)
	}
	var stats struct {
		Data struct {
			Stats struct {
				Timings map[string]float64
				Samples map[string]float64
			}
		}
	}
	get("/api/v1/query", url.Values{"query": {"power_w"}, "stats": {"all"}}, &stats)
	if stats.Data.Stats.Samples["totalQueryableSamples"] != 3 || stats.Data.Stats.Timings["execTotalTime"] <= 0 {
		t.Errorf("stats: %+v", stats)
	}
}

// TestExplain checks what stats=all says of a query.
func TestExplain(t *testing.T) {
	api, _, w := openFleet(t, Options{})
	f := func(query string, want string) {
		t.Helper()
		var answer struct {
			Data struct {
				Stats struct{ Muster map[string]int }
			}
		}
		resp := api.Serve(context.Background(), "GET", "/api/v1/query", url.Values{"query": {query}, "stats": {"all"}})
		if err := json.Unmarshal(resp.Body, &answer); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, name := range slices.Sorted(maps.Keys(answer.Data.Stats.Muster)) {
			if n := answer.Data.Stats.Muster[name]; n > 0 {
				got = append(got, fmt.Sprint(name, ":", n))
			}
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s\n got %s\nwant %s", query, got, want)
		}
	}
	f(`power_w`, "lastValues:3 series:3")
	f(`rate(energy_total[5m])`, "calls:1 reads:3 samples:90 sectionsDecoded:3 series:3")
	f(`rate(energy_total[5m])`, "calls:1 columnsFromCache:3 reads:3 samples:90 series:3")
	if err := w.store.Seal(context.Background()); err != nil {
		t.Fatal(err)
	}
	f(`avg_over_time(power_w[5m])`, "blocksRead:3 calls:1 reads:3 samples:90 series:3")
	f(`max_over_time(power_w[1h])`, "blocksByHeader:3 calls:1 reads:3 samples:3 series:3")
	f(`vector(1)`, "")
}

// TestQueriesWhileWriting runs queries beside a writer: for the race detector, and every answer must be whole.
func TestQueriesWhileWriting(t *testing.T) {
	store := openStore(t)
	w := writer{t, store}
	dir := fleet{1: {name: "a"}, 2: {name: "b"}}
	clock := vfs.NewManual(now)
	api := New(store, dir, Options{Clock: clock})
	w.row(1, now.UnixMilli()-1000, "n", 1, "s", "x")
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for i := range int64(2000) {
			w.row(tsdb.ThingID(1+i%2), now.UnixMilli()-100_000+i*50, "n", int(i), "s", [...]string{"x", "y"}[i/100%2])
		}
	})
	for range 3 {
		wg.Go(func() {
			for {
				for _, query := range []string{`n`, `s_info`, `sum(rate(n[1m]))`, `count_over_time(n[2m])`} {
					if status, body := get(context.Background(), api, query, "10"); status != 200 || !json.Valid([]byte(body)) {
						t.Errorf("%s: %d %s", query, status, body)
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	wg.Wait()
}
