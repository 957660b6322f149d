package registry_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"muster/registry"
	"muster/registry/index"
)

// TestGrouped: counts by one field and by two are those of a plain count over the things, for fields with one value and several, numbers,
// groups with those below them, certificates and telemetry.
func TestGrouped(t *testing.T) {
	w := open(t, func(o *registry.Options) { o.MaxGroupsPerHierarchy, o.MaxAttributes = 9, 9 })
	rng := rand.New(rand.NewPCG(1, 2))
	w.createType("Lamp")
	w.createType("plug")
	w.createGroup("north", "")
	w.createGroup("oslo", "north")
	w.createGroup("South", "")
	live := newLiveFake()
	w.FollowTelemetry(live)
	fields := map[string]map[string][]string{} // by field and thing: the values
	note := func(field, thing string, values ...string) {
		if fields[field] == nil {
			fields[field] = map[string][]string{}
		}
		fields[field][thing] = append(fields[field][thing], values...)
	}
	var names []string
	for i := range 120 {
		name := fmt.Sprintf("t-%03d", i)
		names = append(names, name)
		typ := []string{"", "Lamp", "plug"}[rng.IntN(3)]
		var pairs []string
		set := func(key, value string) {
			if value != "" {
				pairs = append(pairs, key, value)
				note("attributes."+key, name, value)
			}
		}
		set("city", []string{"", "Ulm", "oslo", "a,b"}[rng.IntN(4)])
		set("floor", []string{"", "1", "2", "-1.5", "cellar"}[rng.IntN(5)])
		thing := w.create(name, typ, pairs...)
		if typ != "" {
			note("thingTypeName", name, typ)
		}
		note("registry.version", name, "1")
		note("thingName", name, name)
		for _, g := range []string{"north", "oslo", "South"} {
			if rng.IntN(3) > 0 {
				continue
			}
			wantErr(t, w.AddToGroup(ctx, g, name), 0, "")
			note("thingGroupNames", name, g)
			note("group", name, g)
			if g == "oslo" && !slices.Contains(fields["group"][name], "north") {
				note("group", name, "north")
			}
		}
		if n := rng.IntN(4); n > 0 {
			live.put("temp", thing.ID, 1, float64(n)/2)
			note("telemetry.temp", name, fmt.Sprint(float64(n)/2))
		}
		if rng.IntN(2) > 0 {
			w.SetCertificates(thing.ID, []registry.CertificateFacts{{ID: fmt.Sprint(i), Status: "ACTIVE"}})
			note("cert.status", name, "ACTIVE")
		}
	}
	count := func(field string, of []string) []index.Bucket {
		counts := map[string]int{}
		for _, name := range of {
			for _, value := range fields[field][name] {
				counts[value]++
			}
		}
		var list []index.Bucket
		for value, n := range counts {
			list = append(list, index.Bucket{Value: value, Things: n})
		}
		slices.SortFunc(list, func(a, b index.Bucket) int {
			return cmp.Or(cmp.Compare(b.Things, a.Things), cmp.Compare(index.Fold(a.Value), index.Fold(b.Value)))
		})
		return list[:min(len(list), 5)]
	}
	text := func(list []index.Bucket) string {
		var b strings.Builder
		for _, bucket := range list {
			fmt.Fprintf(&b, " %s=%d", bucket.Value, bucket.Things)
		}
		return b.String()
	}
	all := []string{"thingTypeName", "attributes.city", "attributes.floor", "attributes.none", "registry.version", "thingName", "thingGroupNames", "group", "telemetry.temp", "cert.status"}
	for _, q := range []struct {
		text string
		is   func(name string) bool
	}{{"*", func(string) bool { return true }}, {"thingTypeName:lamp", func(name string) bool { return slices.Contains(fields["thingTypeName"][name], "Lamp") }}} {
		var found []string
		for _, name := range names {
			if q.is(name) {
				found = append(found, name)
			}
		}
		for _, by := range all {
			for _, then := range append(all, "") {
				got, total, err := w.QueryGrouped(ctx, registry.QueryInput{Text: q.text, Limit: 5}, by, then)
				if err != nil || total != len(found) {
					t.Fatal(total, err)
				}
				var outer []index.Bucket
				for _, g := range got {
					outer = append(outer, g.Bucket)
					var having []string
					for _, name := range found {
						if slices.Contains(fields[by][name], g.Value) {
							having = append(having, name)
						}
					}
					want := ""
					if then != "" {
						want = text(count(then, having))
					}
					if text(g.Then) != want {
						t.Fatalf("%s by %s %s, then %s\n got %s\nwant %s", q.text, by, g.Value, then, text(g.Then), want)
					}
				}
				if want := count(by, found); text(outer) != text(want) {
					t.Fatalf("%s by %s\n got %s\nwant %s", q.text, by, text(outer), text(want))
				}
			}
		}
	}
	stats, err := w.QueryStats(ctx, "telemetry.temp>=1", "telemetry.temp")
	if n := len(fields["telemetry.temp"]); err != nil || stats.Type != index.NumberType || stats.Min != 1 || stats.Max != 1.5 || stats.Count >= n {
		t.Fatalf("%+v of %d: %v", stats, n, err)
	}
	if n, err := w.QueryCardinality(ctx, "*", "group"); err != nil || n != 3 {
		t.Fatal(n, err)
	}
	if values, _, err := w.QueryPercentiles(ctx, "*", "telemetry.temp", []float64{0, 100}); err != nil || fmt.Sprint(values) != "[0.5 1.5]" {
		t.Fatal(values, err)
	}
	_, _, err = w.QueryGrouped(ctx, registry.QueryInput{Text: "(", Limit: 5}, "group", "")
	wantErr(t, err, registry.Invalid, "query: a condition is missing at the end (at position 1)")
	late, cancel := context.WithCancel(ctx)
	cancel()
	_, _, err = w.QueryGrouped(late, registry.QueryInput{Limit: 5}, "thingName", "")
	wantErr(t, err, registry.Busy, "the query took too long and was given up; make it simpler")
}
