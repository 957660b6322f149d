package prom

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// TestAggregateSamples holds the limit of samples, and what is said of them, to those of the engine.
func TestAggregateSamples(t *testing.T) {
	store := openStore(t)
	fillFleet(t, store)
	samples := regexp.MustCompile(`"samples":\{[^}]*\}`)
	aggregations := regexp.MustCompile(`"aggregations":(\d+)`)
	for _, query := range []string{
		`avg by (city) (power_w)`, `sum(power_w)`, `count by (thing) ({__name__=~"power_w|energy_total"})`, `max(door offset 2m)`,
		`sum(fw_info)`, `sum(missing)`,
	} {
		for limit := range 100 {
			var answers []string
			for _, engineOnly := range []bool{false, true} {
				api := New(store, directory(), Options{Clock: vfs.NewManual(now), MaxSamples: limit + 1})
				api.queryable.engineOnly = engineOnly
				form := url.Values{"query": {query}, "step": {"10"}, "start": {fmt.Sprint(now.Unix() - 120)}, "end": {fmt.Sprint(now.Unix())}, "stats": {"all"}}
				resp := api.Serve(context.Background(), "GET", "/api/v1/query_range", form)
				body := string(resp.Body)
				if got := aggregations.FindStringSubmatch(body); resp.Status == 200 && (got == nil || (got[1] == "0") != engineOnly) {
					t.Fatalf("%s, by the engine %v: %s", query, engineOnly, body)
				}
				if resp.Status == 200 {
					body = body[:strings.Index(body, `"stats"`)] + samples.FindString(body)
				}
				answers = append(answers, body)
			}
			if answers[0] != answers[1] {
				t.Fatalf("%s, at most %d samples:\n got %s\nwant %s", query, limit+1, answers[0], answers[1])
			}
		}
	}
}

// A bug in a goroutine that helps ends the query, not the process, and all of them end.
func TestAggregatePanic(t *testing.T) {
	store := openStore(t)
	w := writer{t, store}
	dir := fleet{}
	for id := range tsdb.ThingID(1000) {
		dir[id] = fleetThing{name: fmt.Sprint("lamp-", id)}
		w.row(id, now.UnixMilli()-1000, "power_w", 1)
	}
	w.sync()
	api := New(store, dir, Options{Clock: vfs.NewManual(now)})
	api.queryable.helpers = make(chan struct{}, 3)
	var reads atomic.Int64
	api.queryable.store = &hooked{store, func() error {
		if reads.Add(1) == 500 { // the first is of all last values
			panic("BUG")
		}
		return nil
	}}
	if status, body := get(context.Background(), api, `sum(power_w)`, "10"); status != 422 || !strings.Contains(body, "BUG") {
		t.Errorf("%d %.300s", status, body)
	}
	if n := len(api.queryable.helpers); n != 0 {
		t.Errorf("%d goroutines help", n)
	}
	api.queryable.store = store
	if status, body := get(context.Background(), api, `sum(power_w)`, "10"); status != 200 || !strings.Contains(body, `"1000"`) {
		t.Errorf("then %d %.300s", status, body)
	}
}
