package store

import (
	"compress/gzip"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"muster/registry"
)

func TestGroupsRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	db := openAt(t, path)
	apply := func(batch registry.Batch) {
		t.Helper()
		if err := db.ApplyThings(bg, batch); err != nil {
			t.Fatal(err)
		}
	}
	want := func(want loaded) {
		t.Helper()
		for _, db := range []*DB{db, openAt(t, path)} {
			got := db.everything(t)
			slices.SortFunc(got.Tags, func(a, b registry.Tag) int {
				return slices.Compare([]string{a.Resource, a.Key}, []string{b.Resource, b.Key})
			})
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("\n got %+v\nwant %+v", got, want)
			}
		}
	}
	acme := registry.BillingGroup{Name: "acme", UUID: "u1", Description: "Mieter \U0001F4A1 'quoted\"; --", Version: 1, CreatedMs: 1}
	north := registry.Group{ID: 1, Name: "north", UUID: "u2", Description: "d", Attributes: map[string]string{"k": "v"}, Version: 1, CreatedMs: 2}
	city := registry.Group{ID: 2, Name: "city", UUID: "u3", Parent: "north", Attributes: map[string]string{}, Version: 1}
	hot := registry.Group{ID: 3, Name: "hot", UUID: "u4", Attributes: map[string]string{}, Version: 1,
		Dynamic: &registry.Dynamic{Query: "telemetry.t>60", IndexName: "AWS_Things", QueryVersion: "2017-09-30", Extra: `{"for":"2m"}`}}
	a := registry.Thing{ID: 1, Name: "a", UUID: "u5", BillingGroup: "acme", Attributes: map[string]string{}, Version: 1}
	b := registry.Thing{ID: 2, Name: "b", UUID: "u6", Attributes: map[string]string{}, Version: 1}
	tags := []registry.Tag{{Resource: "billinggroup/acme", Key: "a", Value: "1"}, {Resource: "billinggroup/acme", Key: "b", Value: ""}, {Resource: "thinggroup/north", Key: "a", Value: "2"}}
	apply(registry.Batch{Marks: registry.Marks{NextID: 3, NextGroupID: 4, Revision: 7}, PutBillingGroups: []registry.BillingGroup{acme},
		CreateGroups: []registry.Group{north, city, hot}, CreateThings: []registry.Thing{a, b},
		Join: []registry.Member{{Group: 1, Thing: 1}, {Group: 2, Thing: 1}, {Group: 2, Thing: 2}}, PutTags: tags})
	none := []registry.Connectivity{{}, {}}
	want(loaded{Marks: registry.Marks{NextID: 3, NextGroupID: 4, Revision: 7}, Billing: []registry.BillingGroup{acme}, Things: []registry.Thing{a, b}, Connectivity: none,
		Groups: []registry.Group{north, city, hot}, Members: []registry.Member{{Group: 1, Thing: 1}, {Group: 2, Thing: 1}, {Group: 2, Thing: 2}}, Tags: tags})

	acme.Description, acme.Version = "new", 2
	city.Parent, city.Version, city.Attributes = "", 2, map[string]string{"x": "y"}
	hot.Dynamic = &registry.Dynamic{Query: "*"}
	a.BillingGroup = ""
	tags[2].Value = "3"
	apply(registry.Batch{PutBillingGroups: []registry.BillingGroup{acme}, UpdateGroups: []registry.Group{city, hot}, UpdateThings: []registry.Thing{a},
		Join: []registry.Member{{Group: 1, Thing: 1}}, Leave: []registry.Member{{Group: 2, Thing: 1}, {Group: 3, Thing: 2}},
		PutTags: tags[2:], DeleteTags: []registry.Tag{{Resource: "billinggroup/acme", Key: "b"}}})
	want(loaded{Marks: registry.Marks{NextID: 3, NextGroupID: 4, Revision: 7}, Billing: []registry.BillingGroup{acme}, Things: []registry.Thing{a, b}, Connectivity: none,
		Groups: []registry.Group{north, city, hot}, Members: []registry.Member{{Group: 1, Thing: 1}, {Group: 2, Thing: 2}}, Tags: []registry.Tag{tags[0], tags[2]}})

	// a group and a thing take their memberships along
	apply(registry.Batch{DeleteThings: []uint32{1}, DeleteGroups: []uint32{2, 3}, DeleteBillingGroups: []string{"acme"}, DeleteTags: []registry.Tag{{Resource: "billinggroup/acme"}}})
	want(loaded{Marks: registry.Marks{NextID: 3, NextGroupID: 4, Revision: 7}, Things: []registry.Thing{b}, Connectivity: none[:1], Groups: []registry.Group{north}, Tags: tags[2:]})
}

// TestGroupsAllOrNothing: a batch that breaks a rule of the schema leaves no trace.
func TestGroupsAllOrNothing(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "r.db"))
	north := registry.Group{ID: 1, Name: "north", UUID: "u", Attributes: map[string]string{}}
	city := registry.Group{ID: 2, Name: "city", UUID: "u", Parent: "north", Attributes: map[string]string{}}
	a := registry.Thing{ID: 1, Name: "a", UUID: "u", BillingGroup: "acme", Attributes: map[string]string{}}
	if err := db.ApplyThings(bg, registry.Batch{CreateGroups: []registry.Group{north, city}, PutBillingGroups: []registry.BillingGroup{{Name: "acme"}}, CreateThings: []registry.Thing{a}}); err != nil {
		t.Fatal(err)
	}
	before := db.everything(t)
	other := registry.Group{ID: 3, Name: "other", UUID: "u"}
	for name, b := range map[string]registry.Batch{
		"a name twice":               {CreateGroups: []registry.Group{other, {ID: 4, Name: "north"}}},
		"a parent that is not":       {CreateGroups: []registry.Group{other, {ID: 4, Name: "x", Parent: "none"}}},
		"a parent in use":            {CreateGroups: []registry.Group{other}, DeleteGroups: []uint32{1}},
		"a member that is not":       {CreateGroups: []registry.Group{other}, Join: []registry.Member{{Group: 1, Thing: 1}, {Group: 1, Thing: 9}}},
		"a group that is not":        {PutTags: []registry.Tag{{Resource: "x", Key: "y"}}, Join: []registry.Member{{Group: 9, Thing: 1}}},
		"a billing group in use":     {CreateGroups: []registry.Group{other}, DeleteBillingGroups: []string{"acme"}},
		"a billing group that isn't": {CreateGroups: []registry.Group{other}, CreateThings: []registry.Thing{{ID: 2, Name: "b", UUID: "u", BillingGroup: "none"}}},
	} {
		if err := db.ApplyThings(bg, b); err == nil {
			t.Errorf("%s is taken", name)
		}
		if got := db.everything(t); !reflect.DeepEqual(got, before) {
			t.Fatalf("%s left a trace: %+v", name, got)
		}
	}
}

// TestKeptSchema3 opens a database of the last release without groups.
func TestKeptSchema3(t *testing.T) {
	file, err := os.Open("testdata/schema-3.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "r.db")
	text, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	db := openAt(t, path)
	r, err := registry.Open(bg, registry.Options{Store: db, Clock: realClock{}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lamp, err := r.Thing("lamp-1")
	if err != nil || lamp.Version != 2 || lamp.TypeName != "lamp" || !maps.Equal(lamp.Attributes, map[string]string{"city": "oslo", "n": "1"}) {
		t.Fatalf("%+v %v", lamp, err)
	}
	if typ, err := r.ThingType("lamp"); err != nil || typ.Description != "a light" || len(typ.Propagating) != 0 || typ.Schema != "" {
		t.Fatalf("%+v %v", typ, err)
	}
	if link := r.Connectivity(1); link.Reason != "keep alive timeout" {
		t.Fatalf("%+v", link)
	}
	if _, err := r.CreateGroup(bg, registry.GroupInput{Name: "north"}); err != nil {
		t.Fatal(err)
	}
	if err := r.AddToGroup(bg, "north", "lamp-1"); err != nil {
		t.Fatal(err)
	}
	// ids go on where they were: lamp-4 was deleted
	if th, err := r.CreateThing(bg, registry.ThingInput{Name: "new"}); err != nil || th.ID != 6 {
		t.Fatalf("%+v %v", th, err)
	}
}
