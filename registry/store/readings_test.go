package store

import (
	"path/filepath"
	"reflect"
	"testing"

	"muster/registry"
	"muster/registry/readings"
)

func TestReadings(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "registry.db"))
	s := db.Readings()
	list := func() []readings.Stored {
		t.Helper()
		all, err := s.All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got := list(); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	r := readings.Stored{TypeName: "lamp", TypeUUID: "u-1", Version: 1, ChangedMs: 7, Document: readings.Document{Unknown: "drop",
		Columns: map[string]readings.Column{"t": {Rename: "temperature_c", Scale: "0.10", Offset: "-4e1", Unit: "°C", Description: "inside"}, "x": {Drop: true}}}}
	if err := s.Put(t.Context(), r); err == nil {
		t.Fatal("a schema of a type that does not exist was kept")
	}
	if err := db.ApplyThings(t.Context(), registry.Batch{PutTypes: []registry.ThingType{{Name: "lamp", UUID: "u-1"}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := list(); len(got) != 1 || !reflect.DeepEqual(got[0], r) {
		t.Fatalf("got  %+v\nwant %+v", got, r)
	}
	r.Version, r.Columns = 2, map[string]readings.Column{}
	if err := s.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	// a change of the type leaves it alone, the end of the type ends it
	if err := db.ApplyThings(t.Context(), registry.Batch{PutTypes: []registry.ThingType{{Name: "lamp", UUID: "u-1", Description: "new"}}}); err != nil {
		t.Fatal(err)
	}
	if got := list(); len(got) != 1 || !reflect.DeepEqual(got[0], r) {
		t.Fatalf("got  %+v\nwant %+v", got, r)
	}
	if err := db.ApplyThings(t.Context(), registry.Batch{DeleteTypes: []string{"lamp"}}); err != nil {
		t.Fatal(err)
	}
	if got := list(); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
}
