package registry_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/registry"
)

// fleet makes n things of two types, in random order of names.
func fleet(w *world, n int) {
	w.t.Helper()
	w.createType("lamp")
	w.createType("Car")
	names := rand.New(rand.NewPCG(1, 2)).Perm(n)
	for _, i := range names {
		typeName := []string{"lamp", "Car", ""}[i%3]
		w.create(fmt.Sprintf("dev-%03d", i), typeName, "city", []string{"Oslo", "Osaka", "Bergen"}[i%7%3], "n", fmt.Sprint(i))
	}
}

// pages reads all pages and returns the names.
func pages(t *testing.T, read func(cursor string) ([]registry.Thing, string, error), limit int) []string {
	t.Helper()
	var names []string
	for cursor := ""; ; {
		things, next, err := read(cursor)
		if err != nil {
			t.Fatal(err)
		}
		if len(things) > limit || next != "" && len(things) < limit {
			t.Fatalf("a page has %d things, limit %d, next %q", len(things), limit, next)
		}
		for _, th := range things {
			names = append(names, th.Name)
		}
		if next == "" {
			return names
		}
		cursor = next
	}
}

func TestList(t *testing.T) {
	w := open(t)
	fleet(w, 60)
	f := func(filter registry.ListFilter, match func(i int) bool) {
		t.Helper()
		var want []string
		for i := range 60 {
			if match(i) {
				want = append(want, fmt.Sprintf("dev-%03d", i))
			}
		}
		for _, limit := range []int{1, 7, len(want), 60, 1000} {
			got := pages(t, func(c string) ([]registry.Thing, string, error) { return w.List(ctx, filter, c, max(limit, 1)) }, max(limit, 1))
			if !slices.Equal(got, want) {
				t.Fatalf("%+v limit %d\n got %v\nwant %v", filter, limit, got, want)
			}
		}
	}
	f(registry.ListFilter{}, func(int) bool { return true })
	f(registry.ListFilter{TypeName: "lamp"}, func(i int) bool { return i%3 == 0 })
	f(registry.ListFilter{TypeName: "none"}, func(int) bool { return false })
	f(registry.ListFilter{AttributeName: "city", AttributeValue: "Oslo"}, func(i int) bool { return i%7%3 == 0 })
	f(registry.ListFilter{AttributeName: "city", AttributeValue: "Os"}, func(i int) bool { return false })
	f(registry.ListFilter{AttributeName: "city", AttributeValue: "Os", AttributeValuePrefix: true}, func(i int) bool { return i%7%3 != 2 })
	f(registry.ListFilter{AttributeName: "city"}, func(int) bool { return true })
	f(registry.ListFilter{AttributeName: "none"}, func(int) bool { return false })
	f(registry.ListFilter{TypeName: "Car", AttributeName: "n", AttributeValue: "1", AttributeValuePrefix: true}, func(i int) bool {
		return i%3 == 1 && strings.HasPrefix(fmt.Sprint(i), "1")
	})

	bad := func(filter registry.ListFilter, after string, limit int, message string) {
		t.Helper()
		_, _, err := w.List(ctx, filter, after, limit)
		wantErr(t, err, registry.Invalid, message)
	}
	bad(registry.ListFilter{AttributeValue: "x"}, "", 1, "attributeValue needs attributeName; send both")
	bad(registry.ListFilter{}, "", 0, "maxResults must be 1 to 10000, it is 0")
	bad(registry.ListFilter{}, "", 10_001, "maxResults must be 1 to 10000, it is 10001")
	bad(registry.ListFilter{}, "!", 1, "nextToken: this is not one that this list returned; start without it")
	bad(registry.ListFilter{}, "AAAA", 1, "nextToken: this is not one that this list returned; start without it")
}

func TestListThingTypes(t *testing.T) {
	w := open(t)
	for _, name := range []string{"c", "a", "b"} {
		w.createType(name)
	}
	f := func(name string, limit int, want string) {
		t.Helper()
		var got []string
		for cursor, first := "", true; first || cursor != ""; first = false {
			types, next, err := w.ListThingTypes(ctx, name, cursor, limit)
			wantErr(t, err, 0, "")
			for _, typ := range types {
				got = append(got, typ.Name)
			}
			cursor = next
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q limit %d: %v, want %s", name, limit, got, want)
		}
	}
	f("", 1, "a b c")
	f("", 2, "a b c")
	f("", 3, "a b c")
	f("b", 1, "b")
	f("x", 1, "")
}

// TestListWhileTheFleetChanges: what stays is listed once, whatever comes and goes between the pages.
func TestListWhileTheFleetChanges(t *testing.T) {
	w := open(t)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 200 {
		w.create(fmt.Sprintf("stay-%03d", i), "")
	}
	var names []string
	for cursor := ""; ; {
		things, next, err := w.List(ctx, registry.ListFilter{}, cursor, 9)
		wantErr(t, err, 0, "")
		for _, th := range things {
			if strings.HasPrefix(th.Name, "stay-") {
				names = append(names, th.Name)
			}
		}
		if next == "" {
			break
		}
		cursor = next
		name := fmt.Sprintf("stay-%03d-x", rng.IntN(200))
		if rng.IntN(2) == 0 {
			w.create(name, "")
			names = append(names, name) // taken out again below: it may be listed or not
		} else {
			wantErr(t, w.DeleteThing(ctx, things[len(things)-1].Name+"-x", 0), 0, "")
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, "-x") })
	if len(names) != 200 || !slices.IsSorted(names) {
		t.Errorf("%d names: %v", len(names), names)
	}
}

func TestSearch(t *testing.T) {
	w := open(t)
	fleet(w, 60)
	// 0-9 connected, 10-19 were, the others never; the higher the later
	for i := range 20 {
		id, _ := w.ID(fmt.Sprintf("dev-%03d", i))
		at := w.clock.Now().Add(time.Duration(i/2) * time.Second) // two share a time
		w.Connected(id, at, netip.AddrPort{})
		if i >= 10 {
			w.Disconnected(id, at, "gone")
		}
	}
	f := func(in registry.SearchInput, match func(i int) bool) {
		t.Helper()
		var want []string
		for i := range 60 {
			if match(i) {
				want = append(want, fmt.Sprintf("dev-%03d", i))
			}
		}
		if in.Sort == "lastSeen" {
			slices.SortStableFunc(want, func(a, b string) int {
				var i, j int
				fmt.Sscanf(a, "dev-%d", &i)
				fmt.Sscanf(b, "dev-%d", &j)
				key := func(i int) int {
					if i >= 20 {
						return -1
					}
					return i / 2
				}
				return key(j) - key(i)
			})
		}
		for _, in.Limit = range []int{1, 7, 60, 1000} {
			got := pages(t, func(c string) ([]registry.Thing, string, error) {
				in.Cursor = c
				rows, total, next, err := w.Search(ctx, in)
				if total != len(want) {
					t.Fatalf("%+v: total %d, want %d", in, total, len(want))
				}
				return thingsOf(rows), next, err
			}, in.Limit)
			if !slices.Equal(got, want) {
				t.Fatalf("%+v\n got %v\nwant %v", in, got, want)
			}
		}
	}
	all := func(int) bool { return true }
	f(registry.SearchInput{}, all)
	f(registry.SearchInput{Sort: "name"}, all)
	f(registry.SearchInput{Sort: "lastSeen"}, all)
	f(registry.SearchInput{State: "connected"}, func(i int) bool { return i < 10 })
	f(registry.SearchInput{State: "offline", Sort: "lastSeen"}, func(i int) bool { return i >= 10 && i < 20 })
	f(registry.SearchInput{State: "never"}, func(i int) bool { return i >= 20 })
	f(registry.SearchInput{TypeName: "lamp", Sort: "lastSeen"}, func(i int) bool { return i%3 == 0 })
	f(registry.SearchInput{Text: "OSLO"}, func(i int) bool { return i%7%3 == 0 })
	f(registry.SearchInput{Text: "ev-00"}, func(i int) bool { return i < 10 })
	f(registry.SearchInput{Text: "caR", State: "connected"}, func(i int) bool { return i < 10 && i%3 == 1 })
	f(registry.SearchInput{Text: "ø"}, func(int) bool { return false })

	bad := func(in registry.SearchInput, message string) {
		t.Helper()
		_, _, _, err := w.Search(ctx, in)
		wantErr(t, err, registry.Invalid, message)
	}
	bad(registry.SearchInput{Limit: 1, Sort: "x"}, `sort: "x" is not known; use name, lastSeen or a field such as attributes.city, with - before it for descending`)
	bad(registry.SearchInput{Limit: 1, State: "x"}, `state: "x" is not known; use connected, offline or never`)
	bad(registry.SearchInput{}, "limit must be 1 to 10000, it is 0")
	bad(registry.SearchInput{Limit: 1, Text: strings.Repeat("x", 16385)}, "query: a query has at most 16384 bytes, this one has 16385; make it shorter (at position 0)")
	bad(registry.SearchInput{Limit: 1, Text: "lamp (car"}, "query: this ( is not closed (at position 5)")
	cursor := "nextToken: this is not one that this list returned; start without it"
	bad(registry.SearchInput{Limit: 1, Cursor: "!"}, cursor)
	bad(registry.SearchInput{Limit: 1, Cursor: "AAAA", Sort: "lastSeen"}, cursor)
}

// thingsOf returns the things of a page by name.
func thingsOf(rows []registry.Row) (things []registry.Thing) {
	for _, row := range rows {
		things = append(things, registry.Thing{Name: row.Name})
	}
	return things
}

// TestModel does random writes against the registry and a plain map, with restarts in between.
func TestModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	w := open(t)
	w.createType("a")
	w.createType("b")
	model := make(map[string]registry.Thing)
	usedIDs := make(map[uint32]string) // id -> uuid
	for step := range 2000 {
		name := fmt.Sprintf("t%d", rng.IntN(60))
		typeName := []string{"", "a", "b"}[rng.IntN(3)]
		attributes := pairs([]string{"k", fmt.Sprint(rng.IntN(3)), "l", []string{"", "1"}[rng.IntN(2)]})
		old, exists := model[name]
		switch rng.IntN(4) {
		case 0, 1:
			th, err := w.CreateThing(ctx, registry.ThingInput{Name: name, TypeName: typeName, Attributes: attributes})
			if err == nil && !exists {
				if usedIDs[th.ID] != "" {
					t.Fatalf("id %d is used again", th.ID)
				}
				usedIDs[th.ID] = th.UUID
				model[name] = th
			} else if err == nil && (th.UUID != old.UUID || old.TypeName != typeName) || err != nil && (!exists || registry.KindOf(err) != registry.Conflict) {
				t.Fatalf("step %d: create %s: %+v %v, was %+v", step, name, th, err, old)
			}
		case 2:
			th, err := w.UpdateThing(ctx, registry.ThingUpdate{Name: name, TypeName: typeName, Attributes: attributes, Merge: rng.IntN(2) == 0})
			if exists != (err == nil) || err == nil && (th.Version != old.Version+1 || th.ID != old.ID || th.CreatedMs != old.CreatedMs) {
				t.Fatalf("step %d: update %s: %+v %v, was %+v", step, name, th, err, old)
			}
			if exists {
				model[name] = th
			}
		case 3:
			if err := w.DeleteThing(ctx, name, 0); err != nil {
				t.Fatal(err)
			}
			delete(model, name)
		}
		if step%400 == 399 {
			w.restart()
		}
		if step%100 != 99 {
			continue
		}
		things, _, err := w.List(ctx, registry.ListFilter{}, "", 1000)
		if err != nil || len(things) != len(model) {
			t.Fatalf("step %d: %d things, want %d: %v", step, len(things), len(model), err)
		}
		byType := make(map[string]int)
		for _, th := range things {
			if fmt.Sprint(th) != fmt.Sprint(model[th.Name]) {
				t.Fatalf("step %d:\n got %+v\nwant %+v", step, th, model[th.Name])
			}
			byType[th.TypeName]++
		}
		if c := w.Counts(); c.Things != len(model) || c.ByType["a"] != byType["a"] || c.ByType["b"] != byType["b"] {
			t.Fatalf("step %d: counts %+v, want %v", step, c, byType)
		}
	}
}
