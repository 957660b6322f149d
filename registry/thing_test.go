package registry_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/registry"
)

var ctx = context.Background()

func TestCreateThing(t *testing.T) {
	w := open(t)
	w.createType("street-light")
	made := w.create("lamp-1", "street-light", "city", "oslo", "gone", "")
	if made.ID != 1 || made.Version != 1 || made.CreatedMs != w.clock.Now().UnixMilli() || made.TypeName != "street-light" ||
		!maps.Equal(made.Attributes, map[string]string{"city": "oslo"}) {
		t.Errorf("made %+v", made)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(made.UUID) {
		t.Errorf("uuid %q", made.UUID)
	}
	if arn := w.ThingARN("lamp-1"); arn != "arn:aws:iot:eu-north-1:123456789012:thing/lamp-1" {
		t.Errorf("arn %q", arn)
	}
	f := func(name, typeName string, attributes map[string]string, kind registry.Kind, message string) {
		t.Helper()
		got, err := w.CreateThing(ctx, registry.ThingInput{Name: name, TypeName: typeName, Attributes: attributes})
		wantErr(t, err, kind, message)
		if err == nil && got.Name != name {
			t.Fatalf("got %+v", got)
		}
	}
	// the same again succeeds, anything else does not
	f("lamp-1", "street-light", map[string]string{"city": "oslo"}, 0, "")
	conflict := `thing "lamp-1" already exists with another thing type, billing group or other attributes; update or delete it`
	f("lamp-1", "", map[string]string{"city": "oslo"}, registry.Conflict, conflict)
	f("lamp-1", "street-light", nil, registry.Conflict, conflict)
	f("lamp-1", "street-light", map[string]string{"city": "bergen"}, registry.Conflict, conflict)
	if again := w.create("lamp-1", "street-light", "city", "oslo"); again.UUID != made.UUID || again.Version != 1 {
		t.Errorf("again %+v", again)
	}
	// names
	f("", "", nil, registry.Invalid, "thingName: thing name must have 1 to 128 characters, it has 0")
	f(strings.Repeat("a", 129), "", nil, registry.Invalid, "thingName: thing name must have 1 to 128 characters, it has 129")
	f("a/b", "", nil, registry.Invalid, `thingName: thing name "a/b" has '/' at position 1; allowed are a-z A-Z 0-9 : _ -`)
	f(strings.Repeat("a", 128), "", nil, 0, "")
	f("A-z:0_9", "", nil, 0, "")
	// types
	f("x", "none", nil, registry.NotFound, `thing type "none" does not exist; create it first`)
	// attributes
	f("x", "", map[string]string{"": "1"}, registry.Invalid, "attribute name: must have 1 to 128 characters, it has 0")
	f("x", "", map[string]string{strings.Repeat("k", 129): "1"}, registry.Invalid, "attribute name: must have 1 to 128 characters, it has 129")
	f("x", "", map[string]string{"a b": "1"}, registry.Invalid, `attribute name: "a b" has ' ' at position 1; allowed are a-z A-Z 0-9 _.,@/:#-`)
	f("x", "", map[string]string{"a=": "1"}, registry.Invalid, `attribute name: "a=" has '=' at position 1; allowed are a-z A-Z 0-9 _.,@/:#-`)
	f("x", "", map[string]string{"k": "å"}, registry.Invalid, `value of attribute k: "å" has 'å' at position 0; allowed are a-z A-Z 0-9 _.,@/:#=[]-`)
	f("x", "", map[string]string{"k": strings.Repeat("v", 801)}, registry.Invalid, "value of attribute k: must have 0 to 800 characters, it has 801")
	f("x", "", map[string]string{strings.Repeat("k", 128): strings.Repeat("v", 800), "_.,@/:#-": "_.,@/:#=[]-"}, 0, "")
	f("y", "", manyAttributes(4), registry.Invalid, "attributes: a thing without a thing type has at most 3, this one would have 4; give it a thing type (up to 50)")
	f("y", "", manyAttributes(3), 0, "")
	f("z", "street-light", manyAttributes(51), registry.Invalid, "attributes: at most 50 at a time, these are 51")
	f("z", "street-light", manyAttributes(50), 0, "")
}

func manyAttributes(n int) map[string]string {
	m := make(map[string]string)
	for i := range n {
		m[fmt.Sprintf("k%d", i)] = "v"
	}
	return m
}

func TestUpdateThing(t *testing.T) {
	w := open(t)
	w.createType("street-light")
	w.createType("old")
	w.create("lamp", "", "a", "1", "b", "2")
	wantErr(t, w.DeprecateThingType(ctx, "old", false), 0, "")
	version := int64(1)
	f := func(in registry.ThingUpdate, wantType string, want ...string) {
		t.Helper()
		in.Name = "lamp"
		w.clock.advance(time.Second)
		got, err := w.UpdateThing(ctx, in)
		wantErr(t, err, 0, "")
		version++
		read, err := w.Thing("lamp")
		wantErr(t, err, 0, "")
		for _, th := range []registry.Thing{got, read} {
			if th.Version != version || th.TypeName != wantType || !maps.Equal(th.Attributes, pairs(want)) || th.UpdatedMs != w.clock.Now().UnixMilli() {
				t.Fatalf("after %+v: %+v", in, th)
			}
		}
	}
	f(registry.ThingUpdate{}, "", "a", "1", "b", "2")
	// merge lays over, an empty value takes away
	f(registry.ThingUpdate{Merge: true, Attributes: pairs([]string{"a", "", "c", "3", "none", ""})}, "", "b", "2", "c", "3")
	f(registry.ThingUpdate{Merge: true, Attributes: pairs(nil)}, "", "b", "2", "c", "3")
	// without merge all is replaced
	f(registry.ThingUpdate{Attributes: pairs([]string{"d", "4", "e", ""})}, "", "d", "4")
	f(registry.ThingUpdate{Attributes: pairs(nil)}, "")
	f(registry.ThingUpdate{TypeName: "street-light", ExpectedVersion: version}, "street-light")
	f(registry.ThingUpdate{TypeName: "street-light", Attributes: manyAttributes(2)}, "street-light", "k0", "v", "k1", "v")
	f(registry.ThingUpdate{RemoveType: true, ExpectedVersion: version}, "", "k0", "v", "k1", "v")

	bad := func(in registry.ThingUpdate, kind registry.Kind, message string) {
		t.Helper()
		if in.Name == "" {
			in.Name = "lamp"
		}
		_, err := w.UpdateThing(ctx, in)
		wantErr(t, err, kind, message)
	}
	bad(registry.ThingUpdate{Name: "none"}, registry.NotFound, `thing "none" does not exist`)
	bad(registry.ThingUpdate{ExpectedVersion: 3}, registry.Stale, `thing "lamp" has version 9, expectedVersion is 3; read it again`)
	bad(registry.ThingUpdate{ExpectedVersion: -1}, registry.Invalid, "expectedVersion must be positive, it is -1")
	bad(registry.ThingUpdate{TypeName: "x", RemoveType: true}, registry.Invalid, "thingTypeName and removeThingType exclude each other; send one")
	bad(registry.ThingUpdate{TypeName: "none"}, registry.NotFound, `thing type "none" does not exist; create it first`)
	bad(registry.ThingUpdate{TypeName: "old"}, registry.Invalid, `thing type "old" is deprecated and takes no new things; undo its deprecation or use another`)
	bad(registry.ThingUpdate{Merge: true, Attributes: pairs([]string{"x", "1", "y", "2"})}, registry.Invalid,
		"attributes: a thing without a thing type has at most 3, this one would have 4; give it a thing type (up to 50)")
	// a type cannot be taken away from under its attributes
	f(registry.ThingUpdate{TypeName: "street-light", Attributes: manyAttributes(4)}, "street-light", "k0", "v", "k1", "v", "k2", "v", "k3", "v")
	bad(registry.ThingUpdate{RemoveType: true}, registry.Invalid,
		"attributes: a thing without a thing type has at most 3, this one would have 4; give it a thing type (up to 50)")
}

func TestDeleteThing(t *testing.T) {
	w := open(t)
	w.create("a", "")
	last := w.create("b", "")
	wantErr(t, w.DeleteThing(ctx, "b", 2), registry.Stale, `thing "b" has version 1, expectedVersion is 2; read it again`)
	wantErr(t, w.DeleteThing(ctx, "b", 1), 0, "")
	wantErr(t, w.DeleteThing(ctx, "b", 1), 0, "") // AWS: one that is not there is no error
	_, err := w.Thing("b")
	wantErr(t, err, registry.NotFound, `thing "b" does not exist`)
	_, err = w.ThingByID(last.ID)
	wantErr(t, err, registry.NotFound, "there is no thing with the id 2")
	if _, ok := w.Name(last.ID); ok {
		t.Error("a deleted id has a name")
	}
	// ids are not used again, neither now nor after a restart
	if again := w.create("b", ""); again.ID <= last.ID || again.UUID == last.UUID {
		t.Errorf("again %+v, was %+v", again, last)
	}
	wantErr(t, w.DeleteThing(ctx, "b", 0), 0, "")
	w.restart()
	if again := w.create("b", ""); again.ID != 4 {
		t.Errorf("after a restart the id is %d, want 4", again.ID)
	}
}

func TestReadsByID(t *testing.T) {
	w := open(t)
	w.createType("car")
	th := w.create("car-1", "car", "b", "2", "a", "1")
	id, ok := w.ID("car-1")
	name, _ := w.Name(id)
	byID, err := w.ThingByID(id)
	if !ok || id != th.ID || name != "car-1" || err != nil || byID.UUID != th.UUID {
		t.Errorf("id %d %v, name %q, %+v %v", id, ok, name, byID, err)
	}
	var labels []string
	typeName, ok := w.Describe(id, func(k, v string) { labels = append(labels, k+"="+v) })
	if typeName != "car" || !ok || strings.Join(labels, " ") != "a=1 b=2" {
		t.Errorf("%q %v %v", typeName, ok, labels)
	}
	if _, ok := w.Describe(99, nil); ok {
		t.Error("an unknown id is described")
	}
	// what a caller gets is its own
	byID.Attributes["a"] = "changed"
	if again, _ := w.Thing("car-1"); again.Attributes["a"] != "1" {
		t.Error("a caller's map is the registry's")
	}
}

func TestThingTypes(t *testing.T) {
	w := open(t)
	in := registry.ThingTypeInput{Name: "lamp", Description: "Lampe på gata, 街灯", SearchableAttributes: []string{"city", "site"}}
	made, err := w.CreateThingType(ctx, in)
	wantErr(t, err, 0, "")
	f := func(in registry.ThingTypeInput, kind registry.Kind, message string) {
		t.Helper()
		_, err := w.CreateThingType(ctx, in)
		wantErr(t, err, kind, message)
	}
	in.SearchableAttributes = []string{"site", "city"}
	f(in, 0, "")
	conflict := `thing type "lamp" already exists with other properties; update or delete it`
	f(registry.ThingTypeInput{Name: "lamp"}, registry.Conflict, conflict)
	in.SearchableAttributes = []string{"site"}
	f(in, registry.Conflict, conflict)
	f(registry.ThingTypeInput{Name: "a b"}, registry.Invalid, `thingTypeName: the name "a b" has ' ' at position 1; allowed are a-z A-Z 0-9 : _ -`)
	f(registry.ThingTypeInput{Name: "x", Description: "a\nb"}, registry.Invalid, `thingTypeDescription: has '\n' at position 1; allowed are printable characters and the space`)
	f(registry.ThingTypeInput{Name: "x", Description: "a\xff"}, registry.Invalid, `thingTypeDescription: has '�' at position 1; allowed are printable characters and the space`)
	f(registry.ThingTypeInput{Name: "x", Description: strings.Repeat("é", 2029)}, registry.Invalid, "thingTypeDescription: at most 2028 characters, it has 2029")
	f(registry.ThingTypeInput{Name: "x", SearchableAttributes: []string{"a", "b", "c", "d"}}, registry.Invalid, "searchableAttributes: at most 3, these are 4")
	f(registry.ThingTypeInput{Name: "x", SearchableAttributes: []string{"a", "a"}}, registry.Invalid, `searchableAttributes: "a" is there twice`)
	f(registry.ThingTypeInput{Name: "x", SearchableAttributes: []string{"?"}}, registry.Invalid, `searchableAttributes: "?" has '?' at position 0; allowed are a-z A-Z 0-9 _.,@/:#-`)
	f(registry.ThingTypeInput{Name: "x", Description: strings.Repeat("é", 2028)}, 0, "")

	w.restart()
	got, err := w.ThingType("lamp")
	wantErr(t, err, 0, "")
	if got.UUID != made.UUID || got.Description != "Lampe på gata, 街灯" || strings.Join(got.SearchableAttributes, " ") != "city site" {
		t.Errorf("%+v", got)
	}
	_, err = w.ThingType("none")
	wantErr(t, err, registry.NotFound, `thing type "none" does not exist`)
}

func TestThingTypeLife(t *testing.T) {
	w := open(t)
	w.createType("lamp")
	w.create("lamp-1", "lamp")
	del := func(kind registry.Kind, message string) {
		t.Helper()
		wantErr(t, w.DeleteThingType(ctx, "lamp"), kind, message)
	}
	del(registry.Invalid, `thing type "lamp" is not deprecated; deprecate it, wait 5m0s, then delete it`)
	wantErr(t, w.DeprecateThingType(ctx, "lamp", false), 0, "")
	_, err := w.CreateThing(ctx, registry.ThingInput{Name: "lamp-2", TypeName: "lamp"})
	wantErr(t, err, registry.Invalid, `thing type "lamp" is deprecated and takes no new things; undo its deprecation or use another`)
	w.create("lamp-1", "lamp") // it is there: the same call again succeeds
	_, err = w.UpdateThing(ctx, registry.ThingUpdate{Name: "lamp-1", TypeName: "lamp"})
	wantErr(t, err, 0, "")
	wantErr(t, w.DeprecateThingType(ctx, "lamp", true), 0, "")
	w.create("lamp-2", "lamp")

	wantErr(t, w.DeprecateThingType(ctx, "lamp", false), 0, "")
	deprecated := w.clock.Now().UnixMilli()
	w.clock.advance(299 * time.Second)
	wantErr(t, w.DeprecateThingType(ctx, "lamp", false), 0, "") // keeps its date
	w.restart()
	if typ, _ := w.ThingType("lamp"); !typ.Deprecated || typ.DeprecatedMs != deprecated {
		t.Errorf("%+v", typ)
	}
	del(registry.Invalid, `thing type "lamp" was deprecated 4m59s ago; it can be deleted after 5m0s`)
	w.clock.advance(time.Second)
	del(registry.Invalid, `thing type "lamp" is used by 2 things; give them another type or delete them`)
	_, err = w.UpdateThing(ctx, registry.ThingUpdate{Name: "lamp-1", RemoveType: true})
	wantErr(t, err, 0, "")
	wantErr(t, w.DeleteThing(ctx, "lamp-2", 0), 0, "")
	del(0, "")
	del(registry.NotFound, `thing type "lamp" does not exist`)
	w.restart()
	_, err = w.ThingType("lamp")
	wantErr(t, err, registry.NotFound, `thing type "lamp" does not exist`)
	wantErr(t, w.DeprecateThingType(ctx, "lamp", false), registry.NotFound, `thing type "lamp" does not exist`)
}

func TestLimits(t *testing.T) {
	w := open(t, func(o *registry.Options) { o.MaxThings, o.MaxThingTypes = 2, 1 })
	w.createType("a")
	_, err := w.CreateThingType(ctx, registry.ThingTypeInput{Name: "b"})
	wantErr(t, err, registry.Limit, "this gateway takes at most 1 thing types; delete some or raise the limit")
	var group sync.WaitGroup
	var mu sync.Mutex
	limits := 0
	for i := range 10 {
		group.Go(func() {
			if _, err := w.CreateThing(ctx, registry.ThingInput{Name: fmt.Sprint(i)}); registry.KindOf(err) == registry.Limit {
				mu.Lock()
				limits++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if limits != 8 || w.Count() != 2 {
		t.Errorf("%d refused, %d things", limits, w.Count())
	}
}

func TestEnsureThing(t *testing.T) {
	w := open(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	made := 0
	ids := make(map[uint32]bool)
	for range 50 {
		group.Go(func() {
			th, created, err := w.EnsureThing(ctx, "lamp-1", "street-light", "first connect")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if created {
				made++
			}
			ids[th.ID] = true
		})
	}
	group.Wait()
	if made != 1 || len(ids) != 1 {
		t.Errorf("made %d times, %d ids", made, len(ids))
	}
	th, created, err := w.EnsureThing(ctx, "lamp-1", "other", "again")
	if err != nil || created || th.TypeName != "street-light" {
		t.Errorf("%+v %v %v", th, created, err)
	}
	_, _, err = w.EnsureThing(ctx, "a/b", "", "x")
	wantErr(t, err, registry.Invalid, `thingName: thing name "a/b" has '/' at position 1; allowed are a-z A-Z 0-9 : _ -`)
	_, _, err = w.EnsureThing(ctx, "b", "a b", "x")
	wantErr(t, err, registry.Invalid, `thingTypeName: the name "a b" has ' ' at position 1; allowed are a-z A-Z 0-9 : _ -`)
}

func TestParallelCreatesShareTransactions(t *testing.T) {
	w := open(t)
	const things, callers = 10_000, 100
	began := time.Now()
	var group sync.WaitGroup
	for c := range callers {
		group.Go(func() {
			for i := range things / callers {
				if _, err := w.CreateThing(ctx, registry.ThingInput{Name: fmt.Sprintf("t-%d-%d", c, i), Attributes: pairs([]string{"n", fmt.Sprint(i)})}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	commits := w.metrics.GetOrCreateCounter("muster_registry_commits_total").Get()
	t.Logf("%d creates of %d callers in %v, %d transactions", things, callers, time.Since(began), commits)
	if commits > things/10 {
		t.Errorf("%d transactions for %d creates", commits, things)
	}
	w.restart()
	ids := make(map[uint32]bool)
	for c := range callers {
		for i := range things / callers {
			th, err := w.Thing(fmt.Sprintf("t-%d-%d", c, i))
			if err != nil || th.Attributes["n"] != fmt.Sprint(i) || ids[th.ID] || th.ID > things {
				t.Fatalf("%+v %v", th, err)
			}
			ids[th.ID] = true
		}
	}
}

func TestConcurrentUpdatesLoseNothing(t *testing.T) {
	w := open(t)
	w.create("counter", "", "n", "0")
	var group sync.WaitGroup
	const callers, times = 8, 20
	for range callers {
		group.Go(func() {
			for done := 0; done < times; {
				th, err := w.Thing("counter")
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				fmt.Sscan(th.Attributes["n"], &n)
				_, err = w.UpdateThing(ctx, registry.ThingUpdate{Name: "counter", ExpectedVersion: th.Version,
					Attributes: map[string]string{"n": fmt.Sprint(n + 1)}})
				switch {
				case err == nil:
					done++
				case registry.KindOf(err) != registry.Stale:
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	th, _ := w.Thing("counter")
	if th.Attributes["n"] != fmt.Sprint(callers*times) || th.Version != 1+callers*times {
		t.Errorf("%+v", th)
	}
}

func TestOnChange(t *testing.T) {
	w := open(t)
	var got []string
	w.OnChange(func(c registry.Change) {
		_, err := w.Thing(c.Thing.Name) // the change is visible
		got = append(got, fmt.Sprintf("%d %s v%d %v %v", c.Op, c.Thing.Name, c.Thing.Version, c.Thing.Attributes, err == nil))
	})
	w.create("a", "", "k", "1")
	w.create("a", "", "k", "1")
	if _, err := w.UpdateThing(ctx, registry.ThingUpdate{Name: "a", Attributes: pairs(nil)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.UpdateThing(ctx, registry.ThingUpdate{Name: "none"}); err == nil {
		t.Fatal("none was updated")
	}
	wantErr(t, w.DeleteThing(ctx, "a", 0), 0, "")
	wantErr(t, w.DeleteThing(ctx, "a", 0), 0, "")
	want := "1 a v1 map[k:1] true|2 a v2 map[] true|3 a v2 map[] false"
	if strings.Join(got, "|") != want {
		t.Errorf("\n got %s\nwant %s", strings.Join(got, "|"), want)
	}
}

func TestClose(t *testing.T) {
	w := open(t)
	w.create("a", "")
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			for n := 0; ; n++ {
				_, err := w.CreateThing(ctx, registry.ThingInput{Name: fmt.Sprintf("b-%d-%d", i, n)})
				if err != nil {
					if registry.KindOf(err) != registry.Busy || err.Error() != "the registry is closing; nothing was changed" {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	eventually(t, "writes are under way", func() bool { return w.Count() > 20 })
	wantErr(t, w.Close(), 0, "")
	wantErr(t, w.Close(), 0, "")
	group.Wait()
	count := w.Count()
	w.db.Close()
	w.start()
	if w.Count() != count {
		t.Errorf("%d things after the restart, %d were acknowledged", w.Count(), count)
	}
}

func TestContext(t *testing.T) {
	w := open(t)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	// A write with an ended context is either refused or made, and then it is really there.
	for i := range 50 {
		name := fmt.Sprint(i)
		_, err := w.CreateThing(ended, registry.ThingInput{Name: name})
		if err == nil {
			if _, err := w.Thing(name); err != nil {
				t.Fatal(err)
			}
		} else if registry.KindOf(err) != registry.Busy || !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	_, _, err := w.List(ended, registry.ListFilter{}, "", 10)
	wantErr(t, err, registry.Busy, "the search was given up before it was done")
}
