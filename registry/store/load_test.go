package store

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"muster/registry"
)

// openUTF16 opens a database in an encoding that this package does not make, whose rows are read with statements.
func openUTF16(t *testing.T) *DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "utf16.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=encoding('UTF-16le')")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`CREATE TABLE something (x)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return openAt(t, path)
}

// slow returns the tables that are read row by row.
func (db *DB) slow(t *testing.T) (tables []string) {
	t.Helper()
	_, err := db.LoadThings(bg, registry.Loader{
		Type: func(registry.ThingType) {}, BillingGroup: func(registry.BillingGroup) {}, Things: func([]registry.StoredThing) {}, Links: func([]registry.StoredLink) {},
		Group: func(registry.Group) {}, Members: func([]registry.Member) {}, Tag: func(registry.Tag) {},
		Slow: func(table string, _ error) { tables = append(tables, table) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// TestLoadPages: what is read from pages is what statements read, after many changes, with rows from a few bytes to many pages.
func TestLoadPages(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	paged, plain := openAt(t, filepath.Join(t.TempDir(), "r.db")), openUTF16(t)
	apply := func(b registry.Batch) {
		t.Helper()
		for _, db := range []*DB{paged, plain} {
			if err := db.ApplyThings(bg, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	attributes := func() map[string]string {
		all := map[string]string{}
		for i := range []int{0, 1, 5, 5, 5, 5, 5, 50}[rng.IntN(8)] {
			all[fmt.Sprint("key", i)] = strings.Repeat([]string{"v", "Ü", `"`, "<"}[rng.IntN(4)], []int{1, 7, 30, 200}[rng.IntN(4)])
		}
		return all
	}
	in := func(list []string) string { return list[rng.IntN(len(list))] }
	thing := func(id uint32) registry.Thing {
		return registry.Thing{
			ID: id, Name: fmt.Sprint("thing-", id), UUID: fmt.Sprint("u", id), TypeName: in([]string{"", "lamp"}), BillingGroup: in([]string{"", "", "city"}),
			Attributes: attributes(), Version: int64(1 + rng.IntN(300)), CreatedMs: rng.Int64N(1 << 41), UpdatedMs: rng.Int64N(1 << 41),
		}
	}
	apply(registry.Batch{
		PutTypes: []registry.ThingType{{Name: "lamp"}}, PutBillingGroups: []registry.BillingGroup{{Name: "city"}},
		CreateGroups: []registry.Group{{ID: 1, Name: "a", Attributes: map[string]string{}}, {ID: 2, Name: "b", Attributes: map[string]string{}}},
	})
	next := uint32(1)
	live := map[uint32]bool{}
	for range 6 {
		b := registry.Batch{}
		for id := range live {
			switch rng.IntN(6) {
			case 0:
				b.DeleteThings = append(b.DeleteThings, id)
				delete(live, id)
			case 1:
				b.UpdateThings = append(b.UpdateThings, thing(id))
			case 2:
				b.Join = append(b.Join, registry.Member{Group: 1 + rng.Uint32N(2), Thing: id})
			case 3:
				b.Presence = append(b.Presence, registry.Presence{ID: id, Connectivity: registry.Connectivity{
					Connected: rng.IntN(2) == 0, SinceMs: rng.Int64N(1 << 41), LastSeenMs: rng.Int64N(3), Remote: "192.0.2.1:1", Reason: in([]string{"", "gone", "fort ☃"}),
				}})
			}
		}
		for range rng.IntN(300) {
			b.CreateThings = append(b.CreateThings, thing(next))
			live[next] = true
			next += 1 + rng.Uint32N(3)
		}
		apply(b)
		got, want := paged.everything(t), plain.everything(t)
		// the rows of members have no order
		if len(got.Members) != len(want.Members) {
			t.Fatalf("%d members, want %d", len(got.Members), len(want.Members))
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%d and %d things, %d and %d links differ", len(got.Things), len(want.Things), len(got.Connectivity), len(want.Connectivity))
		}
		if len(got.Things) != len(live) {
			t.Fatalf("%d things are read, there are %d", len(got.Things), len(live))
		}
	}
	if tables := paged.slow(t); tables != nil {
		t.Errorf("%v are read row by row", tables)
	}
	if tables := plain.slow(t); !reflect.DeepEqual(tables, []string{"things", "connectivity", "thing_group_members"}) {
		t.Errorf("%v are read row by row in another encoding", tables)
	}
}

// TestLoadByHand: from the first row on that was edited by hand into another type, rows are read with statements.
func TestLoadByHand(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "r.db"))
	b := registry.Batch{}
	for id := uint32(1); id <= 1500; id++ {
		b.CreateThings = append(b.CreateThings, registry.Thing{ID: id, Name: fmt.Sprint("t", id), UUID: "u", Attributes: map[string]string{"a": "b"}})
		b.Presence = append(b.Presence, registry.Presence{ID: id, Connectivity: registry.Connectivity{SinceMs: int64(id), Remote: "r"}})
	}
	if err := db.ApplyThings(bg, b); err != nil {
		t.Fatal(err)
	}
	before := db.everything(t)
	for _, query := range []string{
		`UPDATE things SET uuid = CAST(uuid AS BLOB) WHERE id IN (1, 700)`,
		`UPDATE connectivity SET remote = CAST(remote AS BLOB) WHERE thing_id IN (800, 1500)`,
	} {
		if _, err := db.write.Exec(query); err != nil {
			t.Fatal(err)
		}
		if got := db.everything(t); !reflect.DeepEqual(got, before) {
			t.Fatalf("after %s there are %d things and %d links, others than before", query, len(got.Things), len(got.Connectivity))
		}
	}
	if tables := db.slow(t); !reflect.DeepEqual(tables, []string{"things", "connectivity"}) {
		t.Errorf("%v are read row by row", tables)
	}
	// what is no JSON says so
	if _, err := db.write.Exec(`UPDATE things SET attributes = '{"a":' WHERE id = 1400`); err != nil {
		t.Fatal(err)
	}
	_, err := db.LoadThings(bg, registry.Loader{Type: func(registry.ThingType) {}, Things: func([]registry.StoredThing) {}, Links: func([]registry.StoredLink) {},
		Slow: func(string, error) {}})
	if err == nil || !strings.Contains(err.Error(), `thing "t1400": attributes`) {
		t.Fatalf("broken attributes: %v", err)
	}
}

// TestLoadOneMoment: what is written while things are read is not read, from whatever pages.
func TestLoadOneMoment(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "r.db"))
	b := registry.Batch{PutTypes: []registry.ThingType{{Name: "lamp"}}}
	for id := uint32(1); id <= 2000; id++ {
		b.CreateThings = append(b.CreateThings, registry.Thing{ID: id, Name: fmt.Sprint("t", id), UUID: "u", Version: 1})
	}
	if err := db.ApplyThings(bg, b); err != nil {
		t.Fatal(err)
	}
	next := uint32(3000)
	change := func() {
		var b registry.Batch
		for id := next % 2000; id < next%2000+300; id++ {
			b.UpdateThings = append(b.UpdateThings, registry.Thing{ID: id, Version: 2, Attributes: map[string]string{"long": strings.Repeat("x", 900)}})
			b.Presence = append(b.Presence, registry.Presence{ID: id + 1})
			b.CreateThings = append(b.CreateThings, registry.Thing{ID: 10*next + id, Name: fmt.Sprint("new", 10*next+id), UUID: "u"})
		}
		next += 1000
		if err := db.ApplyThings(bg, b); err != nil {
			t.Error(err)
		}
		if _, err := db.write.Exec(`PRAGMA wal_checkpoint(PASSIVE)`); err != nil {
			t.Error(err)
		}
	}
	things, links := 0, 0
	_, err := db.LoadThings(bg, registry.Loader{
		Type: func(registry.ThingType) { change() },
		Things: func(list []registry.StoredThing) {
			if things == 0 {
				change()
			}
			things += len(list)
			for _, s := range list {
				if s.Version != 1 || len(s.Attributes) > 0 {
					t.Errorf("thing %d is read as it was written later: version %d", s.ID, s.Version)
				}
			}
		},
		Links: func(list []registry.StoredLink) { links += len(list) },
	})
	if err != nil || things != 2000 || links != 0 {
		t.Fatalf("%d things and %d links, want 2000 and none: %v", things, links, err)
	}
}
