package prom

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bits-and-blooms/bitset"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// findingFleet is a fleet that finds things by labels without minding case, as the registry does, and knows groups.
type findingFleet struct {
	fleet
	groups map[tsdb.ThingID][]string
	asked  int
}

func (f *findingFleet) AppendGroups(dst []string, id tsdb.ThingID) []string {
	return append(dst, f.groups[id]...)
}

func (f *findingFleet) FindThings(dst *bitset.BitSet, name string, values []string, prefix string) bool {
	f.asked++
	may := func(label, value string) bool {
		if label != name || value == "" {
			return false
		}
		if len(values) == 0 {
			return strings.HasPrefix(strings.ToLower(value), strings.ToLower(prefix))
		}
		return slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, value) })
	}
	for id, thing := range f.fleet {
		found := name == thingLabel && strings.HasPrefix(thing.name, prefix)
		for _, l := range thing.labels {
			found = found || may(LabelName(l.Name), l.Value)
		}
		for _, g := range f.groups[id] {
			found = found || may(groupLabel, g)
		}
		if found {
			dst.Set(uint(id))
		}
	}
	return true
}

// plainFleet hides that a fleet finds things.
type plainFleet struct{ f *findingFleet }

func (p plainFleet) ThingName(id tsdb.ThingID) (string, bool)        { return p.f.ThingName(id) }
func (p plainFleet) ThingByName(name string) (tsdb.ThingID, bool)    { return p.f.ThingByName(name) }
func (p plainFleet) AppendLabels(d []Label, id tsdb.ThingID) []Label { return p.f.AppendLabels(d, id) }
func (p plainFleet) AppendGroups(d []string, id tsdb.ThingID) []string {
	return p.f.AppendGroups(d, id)
}

// randomLabels makes labels with names that collide and values that differ in case.
func randomLabels(rng *rand.Rand) []Label {
	names := []string{"city", "floor", "a-b", "a_b", "group", "thing_type", "é"}
	values := []string{"Oslo", "oslo", "Bergen", "New York", "7", "07", "x.y", ""}
	var list []Label
	for _, i := range rng.Perm(len(names))[:rng.IntN(len(names))] {
		list = append(list, Label{names[i], values[rng.IntN(len(values))]})
	}
	return list
}

func randomMatcher(rng *rand.Rand) *labels.Matcher {
	names := []string{"city", "floor", "a_b", "attribute_group", "thing_type", "_", "thing", "group", "value", "nothing", nameLabel}
	texts := []string{"Oslo", "oslo", "Bergen", "New York", "7", "", "lamp-3", "n", "g1", "g2", "x"}
	patterns := []string{"Oslo|Bergen", "O.*", "(?i)oslo", ".+", ".*", "", "lamp-(1|2|3)", "lamp-1.*", "n|s_info", "g1|g2", "g.", "|g1", "New Y.*", "[0-9]+", "x\\.y"}
	kind := labels.MatchType(rng.IntN(4))
	text := texts[rng.IntN(len(texts))]
	if kind >= labels.MatchRegexp {
		text = patterns[rng.IntN(len(patterns))]
	}
	return labels.MustNewMatcher(kind, names[rng.IntN(len(names))], text)
}

// TestFind compares what random matchers select when things and sources are found by their labels with what they select when the labels of
// all are looked at, and with the matchers themselves.
func TestFind(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	found := 0
	for range 8 {
		store := openStore(t)
		w := writer{t, store}
		f := &findingFleet{fleet: fleet{}, groups: map[tsdb.ThingID][]string{}}
		for id := range tsdb.ThingID(1 + rng.IntN(40)) {
			if rng.IntN(10) > 0 {
				f.fleet[id] = fleetThing{fmt.Sprintf("lamp-%d", id), randomLabels(rng)}
			}
			for _, g := range []string{"g1", "g2", "g3", "G1"} {
				if rng.IntN(4) == 0 {
					f.groups[id] = append(f.groups[id], g)
				}
			}
			w.row(id, now.UnixMilli()-rng.Int64N(1000_000), "n", 1, "s", [...]string{"x", "y"}[rng.IntN(2)])
			if rng.IntN(2) == 0 {
				w.row(id, now.UnixMilli()-rng.Int64N(1000_000), "other", 2)
			}
		}
		for i := range rng.IntN(40) {
			set := new(tsdb.LabelSet)
			set.Add([]byte("no"), []byte(fmt.Sprint(i)))
			for _, l := range randomLabels(rng) {
				set.Add([]byte(l.Name), []byte(l.Value))
			}
			if rng.IntN(3) == 0 {
				set.Add([]byte("thing"), []byte(fmt.Sprint("lamp-", rng.IntN(5))))
			}
			id, err := store.Source(set)
			if err != nil {
				continue // two labels of one name
			}
			w.row(id, now.UnixMilli()-rng.Int64N(1000_000), "n", 1)
		}
		w.sync()
		fast, slow := newQueryable(store, f, 1000, 1<<20), newQueryable(store, plainFleet{f}, 1000, 1<<20)
		for range 400 {
			matchers := []*labels.Matcher{randomMatcher(rng)}
			for rng.IntN(2) == 0 {
				matchers = append(matchers, randomMatcher(rng))
			}
			hints := &storage.SelectHints{Start: now.UnixMilli() - rng.Int64N(1000_000), Func: [...]string{"", seriesFunc}[rng.IntN(2)], Step: 1}
			hints.End = min(hints.Start+rng.Int64N(1000_000), now.UnixMilli())
			use := groupUse(rng.IntN(3))
			list := func(q *queryable) (texts []string) {
				one := q.querier(0, now.UnixMilli())
				one.groupUses = map[selectorID]groupUse{&matchers[0]: use}
				set := one.Select(context.Background(), true, hints, matchers...)
				for set.Next() {
					texts = append(texts, set.At().Labels().String())
				}
				if set.Err() != nil {
					t.Fatal(set.Err())
				}
				return texts
			}
			got, want := list(fast), list(slow)
			if !slices.Equal(got, want) {
				t.Fatalf("%v, use %d\n got %v\nwant %v", matchers, use, got, want)
			}
			// The naive path, once more without the store's index of sources.
			slow.sources.names = map[string]*sourceLabel{}
			for i := range maxSourceNames {
				slow.sources.names[fmt.Sprint("\x00", i)] = &sourceLabel{seen: 1 << 30}
			}
			if naive := list(slow); !slices.Equal(naive, want) {
				t.Fatalf("%v\n got %v\nnaive %v", matchers, want, naive)
			}
			slow.sources.names = nil
			found += len(got)
		}
		if f.asked == 0 {
			t.Error("nothing was found by labels")
		}
	}
	if found < 1000 {
		t.Errorf("only %d series were found", found)
	}
}

// TestFindTouchesOnlyWhatMatches checks that a query for a few things of many does not look at the others.
func TestFindTouchesOnlyWhatMatches(t *testing.T) {
	store := openStore(t)
	w := writer{t, store}
	f := &findingFleet{fleet: fleet{}}
	for id := range tsdb.ThingID(1000) {
		f.fleet[id] = fleetThing{fmt.Sprint("lamp-", id), []Label{{"city", fmt.Sprint("city-", id%100)}}}
		w.row(id, now.UnixMilli(), "n", 1)
	}
	w.sync()
	looked := 0
	api := New(store, &countingFleet{f, &looked}, Options{Clock: vfs.NewManual(now)})
	count := func(query string, want int) {
		t.Helper()
		looked = 0
		if _, err := api.Query(context.Background(), query, now); err != nil {
			t.Fatal(err)
		}
		if looked != want {
			t.Errorf("%s looked at the labels of %d things, want %d", query, looked, want)
		}
	}
	count(`n{city="city-7"}`, 10)
	count(`n{city=~"city-7|city-8"}`, 20)
	count(`n{city="city-7", thing="lamp-7"}`, 1)
	count(`n{city="city-7", thing="lamp-8"}`, 0)
	count(`n{city="CITY-7"}`, 10) // what is found without case is looked at
	count(`n{city=""}`, 1000)
	count(`missing{city!=""}`, 0)
}

type countingFleet struct {
	*findingFleet
	n *int
}

func (c *countingFleet) AppendLabels(dst []Label, id tsdb.ThingID) []Label {
	*c.n++
	return c.findingFleet.AppendLabels(dst, id)
}
