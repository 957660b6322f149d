package prom

import (
	"context"
	"fmt"
	"github.com/prometheus/prometheus/model/labels"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql"

	"muster/tsdb"
)

// sourceOf returns the id of a label set given as names and values.
func sourceOf(t testing.TB, store *tsdb.Store, pairs ...string) tsdb.ThingID {
	t.Helper()
	var set tsdb.LabelSet
	for i := 0; i < len(pairs); i += 2 {
		set.Add([]byte(pairs[i]), []byte(pairs[i+1]))
	}
	id, err := store.Source(&set)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestSources: series of sources have the labels they were sent with, and those like a series of a thing are merged with it.
func TestSources(t *testing.T) {
	api, dir, w := openFleet(t, Options{})
	ms := now.UnixMilli()
	w.row(sourceOf(t, w.store, "job", "node", "instance", "a:9100"), ms, "up", 1, "power_w", 7)
	w.row(sourceOf(t, w.store), ms, "up", 2)
	w.row(sourceOf(t, w.store, "thing", "lamp-1", "job", "node"), ms, "power_w", 8)
	w.row(sourceOf(t, w.store, "thing", "stranger"), ms, "power_w", 9, "fw", "7.0")
	f := func(query, want string) {
		t.Helper()
		v, err := api.Query(context.Background(), query, now)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			return
		}
		got := []string{}
		for _, s := range v.(promql.Vector) {
			got = append(got, fmt.Sprint(s.Metric.String(), " ", s.F))
		}
		slices.Sort(got)
		if strings.Join(got, "\n") != want {
			t.Errorf("%s\n got %s\nwant %s", query, strings.Join(got, "\n     "), want)
		}
	}
	f(`up`, `{__name__="up", instance="a:9100", job="node"} 1`+"\n"+`{__name__="up"} 2`)
	f(`up{job=~".+"}`, `{__name__="up", instance="a:9100", job="node"} 1`)
	f(`up{thing!=""}`, ``)
	f(`power_w{thing="stranger"}`, `{__name__="power_w", thing="stranger"} 9`)
	f(`{thing="stranger"}`, `{__name__="fw_info", thing="stranger", value="7.0"} 1`+"\n"+`{__name__="power_w", thing="stranger"} 9`)
	f(`power_w{thing="lamp-1"}`, `{__name__="power_w", city="Oslo", thing="lamp-1", thing_type="street-light"} 10`+"\n"+
		`{__name__="power_w", job="node", thing="lamp-1"} 8`)
	f(`power_w{thing=~"stranger|lamp-3",job=""}`, `{__name__="power_w", city="Bergen", thing="lamp-3", thing_type="street-light"} 30`+"\n"+
		`{__name__="power_w", thing="stranger"} 9`)
	f(`count({__name__=~"power_w|up"})`, `{} 8`)

	// the stranger becomes a thing: one series with the samples of both
	dir[9] = fleetThing{name: "stranger"}
	w.row(9, ms-1000, "power_w", 5)
	w.row(9, ms, "fw", "7.0")
	f(`power_w{thing="stranger"}`, `{__name__="power_w", thing="stranger"} 9`)
	f(`sum_over_time(power_w{thing="stranger"}[1m])`, `{thing="stranger"} 14`)
	f(`sum by (thing) (fw_info{thing="stranger"})`, `{thing="stranger"} 1`)
	// a source's own number column that is like a string column
	w.row(sourceOf(t, w.store, "thing", "stranger", "value", "7.0"), ms-500, "fw_info", 1)
	f(`count_over_time(fw_info{thing="stranger"}[1m])`, `{thing="stranger", value="7.0"} 2`)

	resp := api.Serve(context.Background(), "GET", "/api/v1/series", url.Values{"match[]": {`{thing="stranger",__name__="power_w"}`}})
	if want := `{"status":"success","data":[{"__name__":"power_w","thing":"stranger"}]}`; string(resp.Body) != want {
		t.Errorf("series\n got %s\nwant %s", resp.Body, want)
	}
	resp = api.Serve(context.Background(), "GET", "/api/v1/label/instance/values", nil)
	if want := `{"status":"success","data":["a:9100"]}`; string(resp.Body) != want {
		t.Errorf("values\n got %s\nwant %s", resp.Body, want)
	}
	delete(dir, 9) // what the source has stays
	f(`power_w{thing="stranger"}`, `{__name__="power_w", thing="stranger"} 9`)
}

// manySources is a store with a great many sources, each with a value of its own.
type manySources struct {
	Store
	n int
}

func (m manySources) Sources() int { return m.n }

func (m manySources) SourceLabels(dst []tsdb.Label, id tsdb.ThingID) ([]tsdb.Label, bool) {
	return append(dst, tsdb.Label{Name: "job", Value: "node"}, tsdb.Label{Name: "instance", Value: fmt.Sprint(id)}), true
}

// TestSourceIndexIsBounded: a label with a value for each of very many sources is not indexed; one with few is.
func TestSourceIndexIsBounded(t *testing.T) {
	var x sourceIndex
	store := manySources{n: 400_000}
	instance := labels.MustNewMatcher(labels.MatchEqual, "instance", fmt.Sprint(tsdb.FirstSource+7))
	if found := x.find(store, []*labels.Matcher{instance}); found != nil || x.bytes != 0 {
		t.Errorf("a label of %d values was indexed in %d bytes", store.n, x.bytes)
	}
	job := labels.MustNewMatcher(labels.MatchEqual, "job", "node")
	if found := x.find(store, []*labels.Matcher{job, instance}); found == nil || int(found.Count()) != store.n || x.bytes < 8*(store.n-1) {
		t.Errorf("a label of one value was not indexed, or in %d bytes", x.bytes)
	}
	store.n = 1000
	x = sourceIndex{}
	if found := x.find(store, []*labels.Matcher{job, instance}); found == nil || found.Count() != 1 || !found.Test(7) {
		t.Errorf("found %v", found)
	}
}
