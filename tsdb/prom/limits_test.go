package prom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// hooked is a real store with a hook before each read of a series, of a last value, or of the last values of a column.
type hooked struct {
	Store
	before func() error
}

func (h *hooked) ReadSteps(dst *tsdb.Samples, thing tsdb.ThingID, m tsdb.MetricID, minMs, maxMs, firstMs, stepMs int64) error {
	if err := h.before(); err != nil {
		return err
	}
	return h.Store.ReadSteps(dst, thing, m, minMs, maxMs, firstMs, stepMs)
}

func (h *hooked) ReadLastAt(dst *tsdb.StepSamples, thing tsdb.ThingID, m tsdb.MetricID, minMs, firstMs, stepMs int64, steps int) error {
	if err := h.before(); err != nil {
		return err
	}
	return h.Store.ReadLastAt(dst, thing, m, minMs, firstMs, stepMs, steps)
}

func (h *hooked) Last(thing tsdb.ThingID, m tsdb.MetricID) (tsdb.Field, bool) {
	_ = h.before()
	return h.Store.Last(thing, m)
}

func (h *hooked) LatestSince(dst []tsdb.Latest, m tsdb.MetricID, sinceMs int64) []tsdb.Latest {
	_ = h.before()
	return h.Store.LatestSince(dst, m, sinceMs)
}

// get answers an instant query, or a range query of the last two minutes where step is given.
func get(ctx context.Context, api *API, query, step string) (status int, body string) {
	form := url.Values{"query": {query}}
	path := "/api/v1/query"
	if step != "" {
		path += "_range"
		form = url.Values{"query": {query}, "step": {step}, "start": {fmt.Sprint(now.Unix() - 120)}, "end": {fmt.Sprint(now.Unix())}}
	}
	resp := api.Serve(ctx, "GET", path, form)
	return resp.Status, string(resp.Body)
}

func TestLimits(t *testing.T) {
	f := func(opts Options, query, step string, wantStatus int, wantText string) {
		t.Helper()
		api, _, _ := openFleet(t, opts)
		status, body := get(context.Background(), api, query, step)
		if status != wantStatus || !strings.Contains(body, wantText) {
			t.Errorf("%s: %d %.300s\nwant %d %s", query, status, body, wantStatus, wantText)
		}
	}
	f(Options{MaxSeries: 3}, `power_w`, "", 200, "lamp-3")
	f(Options{MaxSeries: 2}, `power_w`, "", 422, `more than 2 series (query.max-series)`)
	// the bound is the query's, not the selector's
	f(Options{MaxSeries: 5}, `power_w or power_w offset 1m`, "", 422, `more than 5 series`)
	f(Options{MaxSeries: 1}, `fw_info{thing="lamp-1"}[1h]`, "", 422, `more than 1`)
	f(Options{MaxSamples: 100}, `power_w[10m]`, "", 422, `query processing would load too many samples into memory in query execution`)
	f(Options{MaxSamples: 1000}, `max_over_time(vector(1)[1h:1s])`, "", 422, `too many samples`)
	f(Options{}, `max_over_time(vector(1)[10y:1ms])`, "", 422, `more than 1000000 steps`)
	f(Options{}, `max_over_time(max_over_time(vector(1)[1m:1ms])[12d:1d])`, "", 422, `more than 1000000 steps`)
	f(Options{}, `max_over_time(vector(1)[1y:])`, "", 200, `"1"`)
	// labels that square themselves
	f(Options{}, `label_replace(power_w, "a", "$1-$2", "thing", "(.*)-(.*)")`, "", 200, `"a":"lamp-1"`)
	doubled := "power_w"
	for range 60 {
		doubled = `label_replace(` + doubled + `, "a", "$1$1", "thing", "(.*)")`
	}
	f(Options{}, doubled, "", 422, `a label of more than 65536 bytes`)
	f(Options{}, `label_join(power_w, "a", "`+strings.Repeat("x", 30_000)+`", "thing", "city", "a")`, "", 422, `a label of more than 65536 bytes`)
	// patterns that grow
	f(Options{}, `power_w{thing=~".{1,1000}"}`, "", 200, `lamp-1`)
	f(Options{}, `power_w{thing=~"(`+strings.Repeat("ab?", 100)+`){500}"}`, "", 400, `compile to more than 200000 operations`)
	f(Options{}, `label_replace(power_w, "a", "", "thing", "`+strings.Repeat("x", maxRegexBytes+1)+`")`, "", 400, `longer than 8192 bytes`)
	// timestamp() holds an iterator per series
	f(Options{MaxBufferBytes: 1 << 8}, `timestamp(power_w)`, "10", 422, `query.max-buffer`)
	f(Options{MaxBufferBytes: 1 << 10}, `timestamp(power_w)`, "", 200, `lamp-1`)
	// windows of calls that are evaluated over columns, whole or at many steps
	f(Options{MaxBufferBytes: 1 << 10}, `rate(energy_total[20m])`, "", 422, `query.max-buffer`)
	f(Options{MaxBufferBytes: 1 << 10}, `sum(avg_over_time(power_w[20m])) + 1`, "10", 422, `query.max-buffer`)
	f(Options{MaxBufferBytes: 1 << 14}, `rate(energy_total[20m])`, "10", 200, `lamp-1`)
	f(Options{MaxSeries: 2}, `rate(energy_total[5m])`, "", 422, `more than 2 series`)
	f(Options{MaxSamples: 30}, `rate(energy_total[5m])`, "10", 422, `too many samples`)
	// what an aggregation adds up, and its results
	f(Options{MaxSamples: 30}, `sum(power_w)`, "10", 422, `too many samples`)
	f(Options{MaxSeries: 2}, `sum(power_w)`, "", 422, `more than 2 series`)
	f(Options{MaxBufferBytes: 1 << 10}, `sum by (thing) (power_w)`, "10", 422, `query.max-buffer`)
	f(Options{MaxBufferBytes: 1 << 14}, `sum by (thing) (power_w)`, "10", 200, `lamp-1`)
	f(Options{MaxResultBytes: 600}, `power_w[10m]`, "", 422, `query.max-result`)
	f(Options{MaxResultBytes: 600}, `power_w{thing="lamp-1"}`, "", 200, `lamp-1`)
	// texts
	f(Options{}, "1"+strings.Repeat("*1", maxQueryWords/2), "", 400, `more than 8192 words and operators`)
	f(Options{}, "a"+strings.Repeat(" or a", maxQueryWords/2), "", 400, `more than 8192 words and operators`)
	f(Options{}, `absent(x{a="`+strings.Repeat("*1 ", maxQueryWords)+`"})`, "", 200, `"1"`)
	f(Options{}, "scalar("+strings.Repeat("vector(1)+", maxQueryDepth-8)+"vector(1))", "", 200, `"121"`)
	f(Options{}, strings.Repeat("-", maxQueryDepth+1)+"power_w", "", 400, `nested more than 128 levels`)
	f(Options{}, strings.Repeat("(", maxQueryDepth+1)+"1", "", 400, `nested more than 128 levels`)
	f(Options{}, "1"+strings.Repeat("*1", maxQueryDepth+1), "", 400, `nested more than 128 levels`)
	f(Options{}, `power_w{thing="`+strings.Repeat("((", maxQueryDepth)+`"}`, "", 200, `[]`)
	f(Options{}, strings.Repeat(" ", maxQueryBytes+1), "", 400, `longer than 65536 bytes`)
	f(Options{}, `power_w{thing=~"`+strings.Repeat("x", maxRegexBytes+1)+`"}`, "", 400, `longer than 8192 bytes`)
	f(Options{}, `power_w{thing!~"`+strings.Repeat("x", maxRegexBytes)+`"}`, "", 200, `lamp-1`)

	// a limit keeps a long list within the bound of series
	api, _, _ := openFleet(t, Options{MaxSeries: 3})
	resp := api.Serve(context.Background(), "GET", "/api/v1/series", url.Values{"match[]": {`{city=~".+"}`}, "limit": {"2"}})
	if resp.Status != 200 || strings.Count(string(resp.Body), "__name__") != 2 || !strings.Contains(string(resp.Body), "truncated") {
		t.Errorf("limit: %d %s", resp.Status, resp.Body)
	}
	resp = api.Serve(context.Background(), "GET", "/api/v1/series", url.Values{"match[]": {`{city=~".+"}`}})
	if resp.Status != 422 || !strings.Contains(string(resp.Body), "more than 3 series") {
		t.Errorf("no limit: %d %s", resp.Status, resp.Body)
	}
	resp = api.Serve(context.Background(), "GET", "/api/v1/series", url.Values{"match[]": make([]string, maxSelectors+1)})
	if resp.Status != 400 || !strings.Contains(string(resp.Body), "more than 64 selectors") {
		t.Errorf("selectors: %d %s", resp.Status, resp.Body)
	}
}

// TestQueryOfDeath asks for everything of a year, and looks at the memory that refusing it takes.
func TestQueryOfDeath(t *testing.T) {
	store := openStore(t)
	w := writer{t, store}
	dir := fleet{}
	const things, rows = 50, 4000
	for id := range tsdb.ThingID(things) {
		dir[id] = fleetThing{name: fmt.Sprint("thing-", id)}
	}
	for i := range rows {
		for id := range tsdb.ThingID(things) {
			w.row(id, now.UnixMilli()-int64(rows-i)*60_000, "a", i, "b", i)
		}
	}
	w.sync()
	api := New(store, dir, Options{Clock: vfs.NewManual(now), MaxSamples: 50_000})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	status, body := get(context.Background(), api, `{__name__=~".+"}[1y]`, "")
	runtime.ReadMemStats(&after)
	if status != 422 || !strings.Contains(body, "too many samples") {
		t.Errorf("got %d %s", status, body)
	}
	// All would be 2 * 50 * 4,000 samples of 16 bytes = 6.4 MB, decoded and again as points; the bound is an eighth of it.
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("refusing took %d bytes", used)
	}
}

// TestDeathsWhileWriting asks for too much in many ways while rows come in: all are refused in bounded memory, and no row waits for them.
func TestDeathsWhileWriting(t *testing.T) {
	store := openStore(t)
	w := writer{t, store}
	dir := fleet{}
	const things, rows = 50, 4000
	for id := range tsdb.ThingID(things) {
		dir[id] = fleetThing{name: fmt.Sprint("thing-", id)}
		for i := range rows {
			w.row(id, now.UnixMilli()-int64(rows-i)*60_000, "a", i, "b", i)
		}
	}
	w.sync()
	api := New(store, dir, Options{Clock: vfs.NewManual(now), MaxSamples: 50_000, MaxBufferBytes: 64 << 10, MaxSeries: 500, MaxResultBytes: 64 << 10})
	done := make(chan struct{})
	appended := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				appended <- n
				return
			default:
				w.row(tsdb.ThingID(n%things), now.UnixMilli()+int64(n), "a", n)
				n++
			}
		}
	}()
	long := "a"
	for range 30 {
		long = `label_replace(` + long + `, "x", "$1$1$1", "thing", "(.*)")`
	}
	deaths := []string{
		`{__name__=~".+"}[1y]`, `sum_over_time(a[1y])`, `rate(a[1y]) + rate(b[1y])`, `sum(stddev_over_time(a[1y]))`, `count_values("v", a[1y:1s])`,
		`max_over_time(max_over_time(a[1y:1s])[1y:1s])`, `max_over_time(rate(a[1h])[1y:10s])`, `{__name__=~"` + strings.Repeat("(.{30}){30}|", 250) + `a"}[1y]`, long,
		`a * on () group_left b`, `a{thing=~"thing-.*"} * ignoring (thing) b`, `topk(5, avg_over_time({__name__=~"a|b"}[1y]))`,
	}
	var before, after runtime.MemStats
	for _, query := range deaths {
		for _, step := range []string{"", "1"} {
			runtime.GC()
			runtime.ReadMemStats(&before)
			status, body := get(context.Background(), api, query, step)
			runtime.ReadMemStats(&after)
			if status != 422 && status != 400 && status != 503 {
				t.Errorf("%s: %d %.200s", query, status, body)
			}
			// The writer's share of it is small beside that.
			if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 48<<20 {
				t.Errorf("%s left %d MiB", query, used>>20)
			}
		}
	}
	close(done)
	if n := <-appended; n < 1000 {
		t.Errorf("only %d rows were taken meanwhile", n)
	}
}

// TestMemory runs a query whose few samples the engine would give 880 MB.
func TestMemory(t *testing.T) {
	api, _, _ := openFleet(t, Options{MaxMemoryBytes: 32 << 20})
	form := url.Values{"query": {`count_values("v", vector(time()))`}, "start": {"1772300000"}, "end": {"1772310999"}, "step": {"1"}}
	resp := api.Serve(context.Background(), "GET", "/api/v1/query_range", form)
	if resp.Status != 422 || !strings.Contains(string(resp.Body), "more than 32 MiB of memory (query.max-memory)") {
		t.Errorf("%d %.300s", resp.Status, resp.Body)
	}
	if _, err := api.Query(context.Background(), `count_values("v", vector(time())) + absent_over_time(count_values("v", vector(time()))[3h:1s])`, now); err == nil || !strings.Contains(err.Error(), "query.max-memory") {
		t.Errorf("instant: %v", err)
	}
	runtime.GC()
	if status, body := get(context.Background(), api, `power_w`, "10"); status != 200 {
		t.Errorf("then: %d %s", status, body)
	}
}

func TestQueue(t *testing.T) {
	api, _, _ := openFleet(t, Options{MaxConcurrent: 1, MaxQueue: 1})
	entered, release := make(chan struct{}), make(chan struct{})
	api.queryable.store = &hooked{api.queryable.store, func() error {
		select {
		case entered <- struct{}{}:
			<-release
		case <-release:
		}
		return nil
	}}
	type answer struct {
		status int
		body   string
	}
	ask := func(ctx context.Context) chan answer {
		c := make(chan answer, 1)
		go func() {
			status, body := get(ctx, api, `power_w{thing="lamp-1"}`, "")
			c <- answer{status, body}
		}()
		return c
	}
	running := ask(context.Background())
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	waiting := ask(ctx)
	for deadline := time.Now().Add(10 * time.Second); api.gate.waiting.Load() == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the second query does not wait")
		}
	}
	// the queue is full
	if got := <-ask(context.Background()); got.status != 503 || !strings.Contains(got.body, "too many queries") || !strings.Contains(got.body, `"unavailable"`) {
		t.Errorf("third: %v", got)
	}
	// the waiting client goes
	cancel()
	if got := <-waiting; got.status != 499 || !strings.Contains(got.body, `"canceled"`) {
		t.Errorf("second: %v", got)
	}
	// a request waits no longer than its timeout
	resp := api.Serve(context.Background(), "GET", "/api/v1/query", url.Values{"query": {"1"}, "timeout": {"1ms"}})
	if resp.Status != 503 || !strings.Contains(string(resp.Body), `"timeout"`) {
		t.Errorf("fourth: %d %s", resp.Status, resp.Body)
	}
	close(release)
	if got := <-running; got.status != 200 {
		t.Errorf("first: %v", got)
	}
}

// TestCancel lets the client go while the samples are read: the query ends there.
func TestCancel(t *testing.T) {
	for _, query := range []string{`power_w[10m]`, `sum(rate(power_w[10m]))`, `power_w offset 1m`, `sum(power_w offset 1m)`, `sum(max_over_time(power_w[10m:1s]))`} {
		api, _, _ := openFleet(t, Options{})
		ctx, cancel := context.WithCancel(context.Background())
		reads := 0
		api.queryable.store = &hooked{api.queryable.store, func() error {
			reads++
			cancel()
			return nil
		}}
		status, body := get(ctx, api, query, "")
		if status != 499 || !strings.Contains(body, `"errorType":"canceled"`) {
			t.Errorf("%s: %d %s", query, status, body)
		}
		if reads > 4 {
			t.Errorf("%s: %d reads after the client had gone", query, reads)
		}
	}
}

func TestStoreErrors(t *testing.T) {
	api, _, _ := openFleet(t, Options{})
	real := api.queryable.store
	api.queryable.store = &hooked{real, func() error { return &fs.PathError{Op: "read", Path: "segment-7", Err: errors.New("checksum")} }}
	if status, body := get(context.Background(), api, `power_w[10m]`, ""); status != 500 || !strings.Contains(body, "segment-7") || !strings.Contains(body, `"internal"`) {
		t.Errorf("got %d %s", status, body)
	}
	if status, body := get(context.Background(), api, `sum(power_w offset 1m)`, ""); status != 500 || !strings.Contains(body, "segment-7") || !strings.Contains(body, `"internal"`) {
		t.Errorf("sum: %d %s", status, body)
	}
	// A bug in a store ends the request, not the process.
	set := metrics.NewSet()
	api = New(real, fleet{1: {name: "lamp-1"}}, Options{Clock: vfs.NewManual(now), Metrics: set})
	api.queryable.store = &hooked{real, func() error { panic("BUG") }}
	if status, body := get(context.Background(), api, `power_w`, ""); status != 500 || strings.Contains(body, "BUG") || !json.Valid([]byte(body)) {
		t.Errorf("got %d %s", status, body)
	}
	if n := set.GetOrCreateCounter("muster_prom_panics_total").Get(); n != 1 {
		t.Errorf("%d panics counted", n)
	}
	api.queryable.store = real
	if status, _ := get(context.Background(), api, `power_w`, ""); status != 200 {
		t.Errorf("then %d", status)
	}
}
