package prom

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// TestGroups holds the rule of docs/queries.md to examples.
func TestGroups(t *testing.T) {
	store := openStore(t)
	w := writer{t, store}
	dir := &findingFleet{fleet: fleet{}, groups: map[tsdb.ThingID][]string{
		1: {"north", "site-1"}, 2: {"north", "site-2", "old"}, 3: {"old"},
	}}
	for id := range tsdb.ThingID(4) {
		dir.fleet[id+1] = fleetThing{fmt.Sprint("lamp-", id+1), []Label{{"city", [...]string{"Oslo", "Bergen"}[id%2]}, {"group", "own"}}}
		w.row(id+1, now.UnixMilli()-1000, "power_w", 1<<id, "max_w", 16)
	}
	set := new(tsdb.LabelSet)
	set.Add([]byte("group"), []byte("north"))
	set.Add([]byte("job"), []byte("node"))
	source, err := store.Source(set)
	if err != nil {
		t.Fatal(err)
	}
	w.row(source, now.UnixMilli()-1000, "load", 3)
	w.sync()
	api := New(store, dir, Options{Clock: vfs.NewManual(now)})
	f := func(query, want string) {
		t.Helper()
		v, err := api.Query(context.Background(), query, now)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		var got []string
		for _, s := range v.(promql.Vector) {
			text := fmt.Sprint(s.F)
			if g := s.Metric.Get("group"); g != "" {
				text = g + ":" + text
			}
			got = append(got, text)
		}
		slices.Sort(got)
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s\n got %s\nwant %s", query, got, want)
		}
	}
	// nobody asks: one series for each thing, without the label; an attribute of that name has another one
	f(`power_w`, "1 2 4 8")
	f(`power_w{attribute_group="own"}`, "1 2 4 8")
	f(`sum(power_w)`, "15")
	// a matcher selects, and shows the groups it names
	f(`power_w{group="north"}`, "north:1 north:2")
	f(`power_w{group=~"north|old"}`, "north:1 north:2 old:2 old:4")
	f(`power_w{group="north", group="old"}`, "north:2 old:2")
	f(`power_w{group="north", group!="old"}`, "north:1")
	f(`power_w{group="NORTH"}`, "")
	f(`power_w{group!=""}`, "north:1 north:2 old:2 old:4 site-1:1 site-2:2")
	// one that lets things without groups through shows none
	f(`power_w{group!="north"}`, "4 8")
	f(`power_w{group!~"north|old"}`, "8")
	f(`power_w{group=""}`, "8")
	f(`power_w{group=~"|old"}`, "2 4 8")
	// grouping shows all of them, one series for each membership
	f(`sum by (group) (power_w)`, "8 north:3 old:6 site-1:1 site-2:2")
	f(`sum by (group) (power_w{group=~"north|old"})`, "north:3 old:6")
	f(`sum by (group, thing) (power_w{group="old"})`, "old:2 old:4")
	f(`sum by (group) (sum_over_time(power_w[5m]))`, "8 north:3 old:6 site-1:1 site-2:2")
	f(`max by (group) (max_over_time(power_w[5m:1m]))`, "8 north:2 old:4 site-1:1 site-2:2")
	f(`count by (group) (power_w{group!="old"})`, "1 north:1 site-1:1")
	// where it goes away again nothing is counted twice
	f(`sum(power_w{group=~"north|old"})`, "7")
	f(`sum by (city) (power_w{group=~"north|old"})`, "2 5")
	f(`sum without (group, thing) (power_w{group=~"north|old"})`, "2 5")
	f(`sum without (thing, city) (power_w{group=~"north|old"})`, "north:3 old:6")
	f(`sum by (group) (sum by (city) (power_w))`, "15")
	f(`sum(sum by (group) (power_w{group=~"north|old"}))`, "9")
	// operations: matching by all labels has it on both sides or on none
	f(`power_w{group="north"} / max_w{group="north"}`, "north:0.0625 north:0.125")
	f(`power_w{group=~"north|old"} / on (thing) max_w`, "0.0625 0.125 0.25")
	f(`sum by (group) (power_w / max_w)`, "0.5 north:0.1875 old:0.375 site-1:0.0625 site-2:0.125")
	f(`power_w{group="north"} / ignoring (group) max_w`, "0.0625 0.125")
	f(`power_w{group="north"} / on (thing) group_left max_w`, "north:0.0625 north:0.125")
	f(`power_w / on (thing) group_left (group) max_w{group="north"}`, "north:0.0625 north:0.125")
	f(`power_w and on (thing) max_w{group=~"north|old"}`, "1 2 4")
	f(`power_w unless on (thing) max_w{group="north"}`, "4 8")
	// functions that read or write it
	f(`label_replace(power_w{group="north"}, "g", "$1", "group", "(.*)")`, "north:1 north:2")
	f(`count(label_replace(power_w, "g", "$1", "group", "(.*)"))`, "7")
	f(`label_replace(power_w{group=~"north|old"}, "group", "x", "", "")`, "x:1 x:2 x:4")
	// a label of a source is a label as any other
	f(`load{group="north"}`, "north:3")
	f(`load{group!="north"}`, "")
	f(`load`, "north:3")
	f(`sum by (group) ({__name__=~"load|power_w", group="north"})`, "north:6")

	if got := string(api.Serve(context.Background(), "GET", "/api/v1/label/group/values", nil).Body); !strings.Contains(got, `["north","old","site-1","site-2"]`) {
		t.Errorf("values of group: %s", got)
	}
	if got := string(api.Serve(context.Background(), "GET", "/api/v1/labels", nil).Body); !strings.Contains(got, `"group"`) {
		t.Errorf("labels: %s", got)
	}
}
