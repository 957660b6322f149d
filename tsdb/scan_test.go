package tsdb_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// lastOf is what Last says of a column, of all things.
func lastOf(s *tsdb.Store, m tsdb.MetricID, things []tsdb.ThingID) map[tsdb.ThingID]string {
	all := map[tsdb.ThingID]string{}
	for _, id := range things {
		if f, ok := s.Last(id, m); ok {
			all[id] = fmt.Sprint(f.TimeMs, f.Kind, f.Number)
		}
	}
	return all
}

// A scan says what Last says, whatever was added, deleted or given up in between.
func TestScanLast(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	opts := small(vfs.NewMem())
	opts.MemoryBytes = 256 << 10 // so that dense columns are given up now and then
	s := open(t, opts)
	var cols []tsdb.MetricID
	for i := range 4 {
		cols = append(cols, metric(t, s, fmt.Sprint("c", i)))
	}
	src := source(t, s, "job", "x")
	var things []tsdb.ThingID
	for id := range tsdb.ThingID(300) {
		things = append(things, id)
	}
	things = append(things, 100_000_000) // far beyond the others
	deleted := map[tsdb.ThingID]bool{}
	for range 4000 {
		id := things[rng.IntN(len(things)-1)]
		if rng.IntN(500) == 0 {
			id = things[len(things)-1]
		}
		if rng.IntN(50) == 0 {
			appendRow(t, s, src, 1000*rng.Int64N(1000), decimal(cols[0], 1, 0))
		}
		if deleted[id] {
			continue
		}
		if rng.IntN(300) == 0 {
			must(t, s.DeleteThing(id))
			deleted[id] = true
			continue
		}
		m := cols[rng.IntN(len(cols))]
		v := decimal(m, rng.Int64N(1000), -1)
		if rng.IntN(10) == 0 {
			v = text(t, s, m, "word")
		}
		appendRow(t, s, id, rng.Int64N(1_000_000), v)
		if rng.IntN(20) > 0 {
			continue
		}
		m = cols[rng.IntN(len(cols))]
		got := map[tsdb.ThingID]string{}
		s.ScanLast(m, func(id tsdb.ThingID, ms int64, kind tsdb.Kind, number float64) {
			if _, twice := got[id]; twice {
				t.Fatalf("thing %d comes twice", id)
			}
			got[id] = fmt.Sprint(ms, kind, number)
		})
		if want := lastOf(s, m, things); !maps.Equal(got, want) {
			t.Fatalf("%d things, want %d: %v", len(got), len(want), different(byName(got), byName(want)))
		}
		sinceMs := rng.Int64N(1_000_000)
		var want []tsdb.Latest
		for _, id := range append(things, src) {
			if f, ok := s.Last(id, m); ok && f.TimeMs >= sinceMs {
				want = append(want, tsdb.Latest{Thing: id, Kind: f.Kind, TimeMs: f.TimeMs, Number: f.Number})
			}
		}
		if got := s.LatestSince(nil, m, sinceMs); !slices.Equal(got, want) {
			t.Fatalf("since %d: %v, want %v", sinceMs, got, want)
		}
	}
}

func byName(m map[tsdb.ThingID]string) map[string]string {
	named := map[string]string{}
	for id, v := range m {
		named[fmt.Sprint(id)] = v
	}
	return named
}

// A scan of a dense column allocates nothing.
func TestScanLastAllocatesNothing(t *testing.T) {
	opts := small(vfs.NewMem())
	opts.MemoryBytes = 64 << 20
	s := open(t, opts)
	m := metric(t, s, "c")
	for id := range tsdb.ThingID(1000) {
		appendRow(t, s, id, 1000, decimal(m, int64(id), 0))
	}
	must(t, s.Sync(t.Context())) // what commits them allocates
	sum := 0.0
	scan := func() {
		s.ScanLast(m, func(_ tsdb.ThingID, _ int64, _ tsdb.Kind, number float64) { sum += number })
	}
	scan()
	if n := testing.AllocsPerRun(100, scan); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if sum == 0 {
		t.Error("nothing was scanned")
	}
}

// A dense column that nobody reads is given up after some rows of each thing, and made again when it is read; one that is read stays.
func TestUnreadColumnIsGivenUp(t *testing.T) {
	opts := small(vfs.NewMem())
	opts.MemoryBytes, opts.LogBytes = 64<<20, 16<<20
	s := open(t, opts)
	m := metric(t, s, "c")
	const things = 640
	rows := int64(0)
	addRows := func(n int) {
		for range n {
			rows++
			for id := range tsdb.ThingID(things) {
				appendRow(t, s, id, 1000*rows, decimal(m, rows, 0))
			}
		}
	}
	scan := func() {
		t.Helper()
		n := 0
		s.ScanLast(m, func(_ tsdb.ThingID, ms int64, _ tsdb.Kind, number float64) {
			if ms == 1000*rows && number == float64(rows) {
				n++
			}
		})
		if n != things {
			t.Fatalf("%d things have the last row, want %d", n, things)
		}
	}
	addRows(1)
	empty := tsdb.ScanBytes(s)
	scan()
	made := tsdb.ScanBytes(s)
	if made <= empty {
		t.Fatalf("%d bytes of dense columns after a scan, %d before", made, empty)
	}
	for range 10 {
		addRows(10)
		scan()
		if now := tsdb.ScanBytes(s); now != made {
			t.Fatalf("%d bytes of dense columns while it is read, want %d", now, made)
		}
	}
	addRows(40)
	if now := tsdb.ScanBytes(s); now != empty {
		t.Fatalf("%d bytes of dense columns after 40 rows that nobody read, want %d", now, empty)
	}
	scan()
	if now := tsdb.ScanBytes(s); now != made {
		t.Fatalf("%d bytes of dense columns after another scan, want %d", now, made)
	}
}

func BenchmarkScanLast(b *testing.B) {
	opts := small(vfs.NewMem())
	opts.MemoryBytes, opts.LogBytes = 256<<20, 1<<30
	s := open(b, opts)
	m := metric(b, s, "c")
	const things = 100_000
	for id := range tsdb.ThingID(things) {
		appendRow(b, s, id, 1000, decimal(m, int64(id), 0))
	}
	f := func(name string, scan func() int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n := scan(); n != things/2 {
					b.Fatal(n)
				}
			}
		})
	}
	f("scan", func() (n int) {
		s.ScanLast(m, func(_ tsdb.ThingID, _ int64, _ tsdb.Kind, number float64) {
			if number >= things/2 {
				n++
			}
		})
		return n
	})
	f("last", func() (n int) {
		for id := range tsdb.ThingID(things) {
			if v, ok := s.Last(id, m); ok && v.Number >= things/2 {
				n++
			}
		}
		return n
	})
}
