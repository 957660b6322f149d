package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"muster/registry"
	"muster/registry/store"
	"muster/tsdb"
	"muster/tsdb/prom"
	"muster/tsdb/vfs"
)

// looking is a directory that cannot find things by their labels.
type looking struct{ d directory }

func (l looking) ThingName(id tsdb.ThingID) (string, bool)     { return l.d.ThingName(id) }
func (l looking) ThingByName(name string) (tsdb.ThingID, bool) { return l.d.ThingByName(name) }
func (l looking) AppendLabels(dst []prom.Label, id tsdb.ThingID) []prom.Label {
	return l.d.AppendLabels(dst, id)
}
func (l looking) AppendGroups(dst []string, id tsdb.ThingID) []string {
	return l.d.AppendGroups(dst, id)
}

// Labels and groups of the registry in PromQL: what its index finds is what looking at every thing finds.
func TestRegistryInPromQL(t *testing.T) {
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 9))
	db, err := store.Open(ctx, filepath.Join(t.TempDir(), "registry.db"))
	must(err)
	defer db.Close()
	things, err := registry.Open(ctx, registry.Options{Store: db, Clock: vfs.SystemClock{}, MaxAttributes: 50})
	must(err)
	defer things.Close()
	telemetry, err := tsdb.Open(tsdb.Options{Dir: t.TempDir(), FS: vfs.OS{}, Clock: vfs.SystemClock{}})
	must(err)
	defer telemetry.Close()

	_, err = things.CreateThingType(ctx, registry.ThingTypeInput{Name: "Lamp"})
	must(err)
	_, err = things.CreateBillingGroup(ctx, "acme", "", nil)
	must(err)
	for _, g := range []registry.GroupInput{{Name: "world"}, {Name: "north", Parent: "world"}, {Name: "oslo", Parent: "north"}, {Name: "old"}} {
		_, err = things.CreateGroup(ctx, g)
		must(err)
	}
	metric, err := telemetry.Dict().Metric([]byte("power_w"))
	must(err)
	now := time.Now()
	for i := range 60 {
		in := registry.ThingInput{Name: fmt.Sprintf("lamp-%d", i), Attributes: map[string]string{}}
		for _, key := range []string{"city", "a-b", "a.b", "a_b", "group", "thing_type", "billing_group"} {
			if rng.IntN(2) == 0 {
				in.Attributes[key] = [...]string{"Oslo", "oslo", "OSLO/1", "7", "07"}[rng.IntN(5)]
			}
		}
		if i%3 > 0 {
			in.TypeName = "Lamp"
		}
		if i%4 == 0 {
			in.BillingGroup = "acme"
		}
		thing, err := things.CreateThing(ctx, in)
		must(err)
		if i%2 == 0 {
			must(things.AddToGroup(ctx, [...]string{"world", "north", "oslo"}[i/2%3], thing.Name))
		}
		if i%5 == 0 {
			must(things.AddToGroup(ctx, "old", thing.Name))
		}
		_, err = telemetry.Append(tsdb.ThingID(thing.ID), now.UnixMilli(), []tsdb.Value{{Metric: metric, Mantissa: int64(i)}}, nil)
		must(err)
	}
	must(telemetry.Sync(ctx))
	d := directory{things}
	fast, slow := prom.New(telemetry, d, prom.Options{}), prom.New(telemetry, looking{d}, prom.Options{})
	ask := func(api *prom.API, query string) []string {
		t.Helper()
		v, err := api.Query(ctx, query, now)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		var list []string
		for _, s := range v.(promql.Vector) {
			list = append(list, fmt.Sprint(s.Metric, s.F))
		}
		slices.Sort(list)
		return list
	}
	names := []string{"city", "a_b", "group", "attribute_group", "thing_type", "billing_group", "thing", "missing"}
	values := map[string][]string{
		"=": {"Oslo", "oslo", "7", "Lamp", "lamp", "acme", "world", "north", "old", "lamp-7", ""}, "=~": {"Oslo|oslo", "O.*", ".+", "", "no.*|old", "La.*", "lamp-1.*", "(?i)oslo/.*"},
	}
	values["!="], values["!~"] = values["="], values["=~"]
	found := 0
	for range 400 {
		var matchers []string
		for range 1 + rng.IntN(2) {
			op := slices.Sorted(maps.Keys(values))[rng.IntN(4)]
			matchers = append(matchers, names[rng.IntN(len(names))]+op+fmt.Sprintf("%q", values[op][rng.IntN(len(values[op]))]))
		}
		query := [...]string{"", "sum by (group) ", "count without (thing) "}[rng.IntN(3)] + "(power_w{" + strings.Join(matchers, ",") + "})"
		got, want := ask(fast, query), ask(slow, query)
		if !slices.Equal(got, want) {
			t.Fatalf("%s\n got %v\nwant %v", query, got, want)
		}
		found += len(got)
	}
	if found < 300 {
		t.Errorf("only %d series were found", found)
	}
	f := func(query, want string) {
		t.Helper()
		if got := strings.Join(ask(fast, query), " "); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	f(`count(power_w{group="world"})`, "{} 30") // with the groups below
	f(`count by (group) (power_w{group=~"world|north|oslo"})`, `{group="north"} 20 {group="oslo"} 10 {group="world"} 30`)
	f(`count(power_w{group="old"})`, "{} 12")
	f(`count by (thing_type) (power_w{thing_type="Lamp"})`, `{thing_type="Lamp"} 40`)
	f(`count by (billing_group) (power_w{billing_group="acme"})`, `{billing_group="acme"} 15`)
}
