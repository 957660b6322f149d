package prom

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"syscall"
	"testing"
	"time"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// openBench returns an API over things lamps of two hours at a sample per ten seconds with 50 ms jitter: the data of the
// figures in docs/benchmarks.md. With sealed all of it is in segments.
func openBench(b *testing.B, things int, sealed bool) *API {
	b.Helper()
	store := openStore(b)
	w := writer{b, store}
	dir := fleet{}
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range things {
		dir[tsdb.ThingID(i)] = fleetThing{fmt.Sprintf("lamp-%06d", i), []Label{{"city", fmt.Sprint("city-", i%20)}, {"thing_type", "street-light"}}}
	}
	for step := range 720 {
		ms := now.UnixMilli() - int64(720-step)*10_000
		for i := range things {
			w.row(tsdb.ThingID(i), ms+rng.Int64N(100)-50, "power_w", deci(400+rng.IntN(30)), "energy_total", step*(i%7+1))
		}
	}
	w.sync()
	if sealed {
		if err := store.Seal(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	return New(store, dir, Options{Clock: vfs.NewManual(now)})
}

// cpuTime is what the process has used: other than wall time it does not depend on who else uses the machine.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkQuery measures answers over 1,800 series from request to JSON.
func BenchmarkQuery(b *testing.B) { benchmarkQuery(b, 1800, false) }

// BenchmarkSealedQuery measures the same of a fleet of whose blocks the cache cannot have all.
func BenchmarkSealedQuery(b *testing.B) { benchmarkQuery(b, 10_000, true) }

func benchmarkQuery(b *testing.B, things int, sealed bool) {
	api := openBench(b, things, sealed)
	from, to := fmt.Sprint(now.Unix()-3600), fmt.Sprint(now.Unix())
	f := func(name, path string, form url.Values, wantBytes int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			began := cpuTime(b)
			for b.Loop() {
				resp := api.Serve(context.Background(), "GET", path, form)
				if resp.Status != 200 || len(resp.Body) < wantBytes {
					b.Fatalf("%d %.200s", resp.Status, resp.Body)
				}
			}
			b.ReportMetric((cpuTime(b)-began).Seconds()*1e3/float64(b.N), "cpu-ms/op")
		})
	}
	f("avg_by_city_1h", "/api/v1/query_range", url.Values{"query": {"avg by (city) (power_w)"}, "start": {from}, "end": {to}, "step": {"60"}}, 20*61*20)
	f("topk_rate", "/api/v1/query", url.Values{"query": {"topk(10, rate(energy_total[5m]))"}}, 10*100)
	f("last_one", "/api/v1/query", url.Values{"query": {`power_w{thing="lamp-000042"}`}}, 100)
	f("last_all", "/api/v1/query", url.Values{"query": {`power_w`}}, things*100)
	f("count_all", "/api/v1/query", url.Values{"query": {`count(power_w)`}}, 20)
	f("series", "/api/v1/series", url.Values{"match[]": {`power_w`}}, things*80)
}
