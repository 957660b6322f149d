package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/registry"
	"muster/registry/readings"
)

var bg = context.Background()

type realClock struct{}

func (realClock) Now() time.Time                         { return time.Now() }
func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// loaded is everything in the database.
type loaded struct {
	registry.Marks
	Types        []registry.ThingType
	Billing      []registry.BillingGroup
	Things       []registry.Thing
	Connectivity []registry.Connectivity
	Groups       []registry.Group
	Members      []registry.Member
	Tags         []registry.Tag
}

func (db *DB) everything(t *testing.T) (all loaded) {
	t.Helper()
	marks, err := db.LoadThings(bg, registry.Loader{
		Type:         func(typ registry.ThingType) { all.Types = append(all.Types, typ) },
		BillingGroup: func(b registry.BillingGroup) { all.Billing = append(all.Billing, b) },
		Things: func(list []registry.StoredThing) {
			for _, s := range list {
				all.Things = append(all.Things, thingOf(s))
				all.Connectivity = append(all.Connectivity, registry.Connectivity{})
			}
		},
		Links: func(list []registry.StoredLink) {
			for _, l := range list {
				i := slices.IndexFunc(all.Things, func(t registry.Thing) bool { return t.ID == l.ThingID })
				all.Connectivity[i] = connectivityOf(l)
			}
		},
		Group:   func(g registry.Group) { all.Groups = append(all.Groups, g) },
		Members: func(list []registry.Member) { all.Members = append(all.Members, list...) },
		Tag:     func(tag registry.Tag) { all.Tags = append(all.Tags, tag) },
		Slow:    func(table string, err error) { t.Logf("%s row by row: %v", table, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	all.Marks = marks
	return all
}

func thingOf(s registry.StoredThing) registry.Thing {
	t := registry.Thing{
		ID: s.ID, Name: string(s.Name), UUID: string(s.UUID), TypeName: string(s.TypeName), BillingGroup: string(s.BillingGroup), Attributes: map[string]string{},
		Version: s.Version, CreatedMs: s.CreatedMs, UpdatedMs: s.UpdatedMs,
	}
	for _, a := range s.Attributes {
		t.Attributes[string(a.Key)] = string(a.Value)
	}
	return t
}

func connectivityOf(l registry.StoredLink) registry.Connectivity {
	return registry.Connectivity{Connected: l.Connected, SinceMs: l.SinceMs, LastSeenMs: l.LastSeenMs, Remote: string(l.Remote), Reason: string(l.Reason)}
}

func TestThingsRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	db := openAt(t, path)
	lamp := registry.ThingType{Name: "lamp", UUID: "u1", Description: "街灯 \u202e\U0001F4A1 'quoted\"; --", SearchableAttributes: []string{"a", "ü"}, CreatedMs: 1}
	old := registry.ThingType{Name: "old", UUID: "u2", CreatedMs: 1, Deprecated: true, DeprecatedMs: 2}
	a := registry.Thing{ID: 1, Name: "a", UUID: "u3", TypeName: "lamp", Attributes: map[string]string{"ключ": "значение\x00\n", "'": `"`}, Version: 1, CreatedMs: 3, UpdatedMs: 3}
	b := registry.Thing{ID: 2, Name: "b", UUID: "u4", Attributes: map[string]string{}, Version: 1, CreatedMs: 4, UpdatedMs: 4}
	seen := registry.Connectivity{Connected: true, SinceMs: 5, LastSeenMs: 6, Remote: "[::1]:7", Reason: "ü"}
	apply := func(batch registry.Batch) {
		t.Helper()
		if err := db.ApplyThings(bg, batch); err != nil {
			t.Fatal(err)
		}
	}
	want := func(want loaded) {
		t.Helper()
		for _, db := range []*DB{db, openAt(t, path)} {
			if got := db.everything(t); !reflect.DeepEqual(got, want) {
				t.Fatalf("\n got %+v\nwant %+v", got, want)
			}
		}
	}
	want(loaded{Marks: registry.Marks{NextID: 1, NextGroupID: 1}})
	apply(registry.Batch{})
	apply(registry.Batch{Marks: registry.Marks{NextID: 3}, PutTypes: []registry.ThingType{lamp, old}, CreateThings: []registry.Thing{a, b},
		Presence: []registry.Presence{{ID: 2, Connectivity: seen}}})
	want(loaded{Marks: registry.Marks{NextID: 3, NextGroupID: 1}, Types: []registry.ThingType{lamp, old}, Things: []registry.Thing{a, b}, Connectivity: []registry.Connectivity{{}, seen}})

	a.TypeName, a.Attributes, a.Version, a.UpdatedMs = "", map[string]string{"k": "v"}, 2, 9
	lamp.Deprecated, lamp.DeprecatedMs = true, 10
	seen.Connected, seen.Reason, seen.LastSeenMs = false, "gone", 11
	apply(registry.Batch{UpdateThings: []registry.Thing{a}, PutTypes: []registry.ThingType{lamp}, DeleteTypes: []string{"old"},
		Presence: []registry.Presence{{ID: 2, Connectivity: seen}}})
	want(loaded{Marks: registry.Marks{NextID: 3, NextGroupID: 1}, Types: []registry.ThingType{lamp}, Things: []registry.Thing{a, b}, Connectivity: []registry.Connectivity{{}, seen}})

	// a deleted thing takes its connectivity along; its name is free at once; the mark never goes down
	again := registry.Thing{ID: 3, Name: "b", UUID: "u5", TypeName: "lamp", Attributes: map[string]string{}, Version: 1}
	apply(registry.Batch{Marks: registry.Marks{NextID: 4}, DeleteThings: []uint32{2}, CreateThings: []registry.Thing{again}})
	apply(registry.Batch{Marks: registry.Marks{NextID: 2}})
	want(loaded{Marks: registry.Marks{NextID: 4, NextGroupID: 1}, Types: []registry.ThingType{lamp}, Things: []registry.Thing{a, again}, Connectivity: []registry.Connectivity{{}, {}}})
}

// TestApplyIsAllOrNothing: a batch that breaks a rule of the schema leaves no trace.
func TestApplyIsAllOrNothing(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "r.db"))
	a := registry.Thing{ID: 1, Name: "a", UUID: "u", Attributes: map[string]string{}, Version: 1}
	lamp := registry.ThingType{Name: "lamp", UUID: "u"}
	if err := db.ApplyThings(bg, registry.Batch{Marks: registry.Marks{NextID: 2}, PutTypes: []registry.ThingType{lamp}, CreateThings: []registry.Thing{a}}); err != nil {
		t.Fatal(err)
	}
	before := db.everything(t)
	other := registry.Thing{ID: 2, Name: "other", UUID: "u", Attributes: map[string]string{}}
	for name, b := range map[string]registry.Batch{
		"a name twice":           {Marks: registry.Marks{NextID: 9}, CreateThings: []registry.Thing{other, {ID: 3, Name: "a", UUID: "u"}}},
		"an id twice":            {Marks: registry.Marks{NextID: 9}, CreateThings: []registry.Thing{other, {ID: 1, Name: "c", UUID: "u"}}},
		"a type that is not":     {Marks: registry.Marks{NextID: 9}, CreateThings: []registry.Thing{other, {ID: 3, Name: "c", UUID: "u", TypeName: "none"}}},
		"presence without thing": {Marks: registry.Marks{NextID: 9}, CreateThings: []registry.Thing{other}, Presence: []registry.Presence{{ID: 77}}},
	} {
		if err := db.ApplyThings(bg, b); err == nil {
			t.Errorf("%s is taken", name)
		}
		if got := db.everything(t); !reflect.DeepEqual(got, before) {
			t.Fatalf("%s left a trace: %+v", name, got)
		}
	}
}

// TestDeleteType: the end of a type, with its telemetry schema, looks at no thing, whose number it would take the time of. That none has the
// type is for the registry to know: here one has.
func TestDeleteType(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "r.db"))
	apply := func(want bool, b registry.Batch) {
		t.Helper()
		if err := db.ApplyThings(bg, b); (err == nil) != want {
			t.Fatal(err)
		}
	}
	a := registry.Thing{ID: 1, Name: "a", UUID: "u", TypeName: "lamp", Attributes: map[string]string{}}
	apply(true, registry.Batch{PutTypes: []registry.ThingType{{Name: "lamp", UUID: "u"}, {Name: "kept", UUID: "u"}}, CreateThings: []registry.Thing{a}})
	for _, name := range []string{"lamp", "kept"} {
		if err := db.Readings().Put(bg, readings.Stored{TypeName: name, Version: 1}); err != nil {
			t.Fatal(err)
		}
	}
	before := db.everything(t)
	apply(false, registry.Batch{DeleteTypes: []string{"lamp"}, PutTags: []registry.Tag{{Resource: "r", Key: "k"}}, CreateThings: []registry.Thing{a}})
	if got := db.everything(t); !reflect.DeepEqual(got, before) {
		t.Fatalf("what failed left a trace: %+v", got)
	}
	apply(true, registry.Batch{DeleteTypes: []string{"lamp"}})
	if got := db.everything(t).Types; len(got) != 1 || got[0].Name != "kept" {
		t.Fatalf("%+v", got)
	}
	if got, err := db.Readings().All(bg); err != nil || len(got) != 1 || got[0].TypeName != "kept" {
		t.Fatalf("%+v %v", got, err)
	}
	// all else is held to what it refers to, as before
	b := registry.Thing{ID: 2, Name: "b", UUID: "u", TypeName: "lamp", Attributes: map[string]string{}}
	apply(false, registry.Batch{CreateThings: []registry.Thing{b}})
	b.TypeName = "kept"
	apply(true, registry.Batch{CreateThings: []registry.Thing{b}})
}

func TestUpdateRollsBack(t *testing.T) {
	errStop := errors.New("stop")
	db := openAt(t, filepath.Join(t.TempDir(), "r.db"))
	err := db.update(bg, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`UPDATE thing_ids SET next = 7`); err != nil {
			return err
		}
		return errStop
	})
	if !errors.Is(err, errStop) || db.everything(t).NextID != 1 {
		t.Errorf("%v, next %d", err, db.everything(t).NextID)
	}
}

// TestDiskFull: a full disk refuses writes with a sentence, changes nothing, keeps reads, and ends with the cause.
func TestDiskFull(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "r.db"))
	r, err := registry.Open(bg, registry.Options{Store: db, Clock: realClock{}})
	if err != nil {
		t.Fatal(err)
	}
	limitPages := func(pages string) {
		t.Helper()
		if _, err := db.write.Exec(`PRAGMA max_page_count = ` + pages); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.CreateThingType(bg, registry.ThingTypeInput{Name: "lamp"}); err != nil {
		t.Fatal(err)
	}
	limitPages("1") // SQLite takes the present size for it
	attributes := map[string]string{}
	for i := range 10 {
		attributes[fmt.Sprint(i)] = strings.Repeat("x", 700)
	}
	made := 0
	for ; made < 100; made++ {
		if _, err = r.CreateThing(bg, registry.ThingInput{Name: fmt.Sprint(made), TypeName: "lamp", Attributes: attributes}); err != nil {
			break
		}
	}
	if registry.KindOf(err) != registry.Busy || err.Error() != "the registry could not be written, nothing was changed; see the gateway's log" ||
		!strings.Contains(errors.Unwrap(err).Error(), "full") {
		t.Fatalf("after %d things: %v, cause %v", made, err, errors.Unwrap(err))
	}
	if _, err := r.Thing(fmt.Sprint(made)); registry.KindOf(err) != registry.NotFound || r.Count() != made || len(db.everything(t).Things) != made {
		t.Fatalf("%v, %d things in memory, %d on disk, %d acknowledged", err, r.Count(), len(db.everything(t).Things), made)
	}
	limitPages("1000000")
	th, err := r.CreateThing(bg, registry.ThingInput{Name: fmt.Sprint(made), TypeName: "lamp", Attributes: attributes})
	if err != nil || len(db.everything(t).Things) != made+1 {
		t.Errorf("with space again: %+v %v", th, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkCreateThings writes groups of 100 things, each group one transaction.
func BenchmarkCreateThings(b *testing.B) {
	db, err := Open(bg, filepath.Join(b.TempDir(), "r.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	id := uint32(0)
	for b.Loop() {
		var batch registry.Batch
		for range 100 {
			id++
			batch.CreateThings = append(batch.CreateThings, registry.Thing{ID: id, Name: fmt.Sprint("lamp-", id), UUID: "u",
				Attributes: map[string]string{"city": "oslo", "serial": fmt.Sprint(id)}})
		}
		batch.NextID = id + 1
		if err := db.ApplyThings(bg, batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(id)/b.Elapsed().Seconds(), "things/s")
}

// BenchmarkDeleteType ends types that no thing has, beside 100,000 things of another.
func BenchmarkDeleteType(b *testing.B) {
	db, err := Open(bg, filepath.Join(b.TempDir(), "r.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	batch := registry.Batch{PutTypes: []registry.ThingType{{Name: "lamp", UUID: "u"}}}
	for id := uint32(1); id <= 100_000; id++ {
		batch.CreateThings = append(batch.CreateThings, registry.Thing{ID: id, Name: fmt.Sprint("lamp-", id), UUID: "u", TypeName: "lamp"})
	}
	if err := db.ApplyThings(bg, batch); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for _, change := range []registry.Batch{{PutTypes: []registry.ThingType{{Name: "old", UUID: "u"}}}, {DeleteTypes: []string{"old"}}} {
			if err := db.ApplyThings(bg, change); err != nil {
				b.Fatal(err)
			}
		}
	}
}
