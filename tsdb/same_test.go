package tsdb_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/tsdb"
	"muster/tsdb/torture"
	"muster/tsdb/vfs"
)

// The same rows give the same answers whenever they are sealed, merged or read back from the log.
func TestSameAnswers(t *testing.T) {
	type hands func(s *tsdb.Store, fsys *vfs.Mem, opts tsdb.Options) *tsdb.Store
	nothing := func(s *tsdb.Store, _ *vfs.Mem, _ tsdb.Options) *tsdb.Store { return s }
	seal := func(s *tsdb.Store, _ *vfs.Mem, _ tsdb.Options) *tsdb.Store {
		must(t, s.Seal(context.Background()))
		return s
	}
	merge := func(s *tsdb.Store, fsys *vfs.Mem, opts tsdb.Options) *tsdb.Store {
		seal(s, fsys, opts)
		must(t, tsdb.Compact(s))
		return s
	}
	reopen := func(s *tsdb.Store, fsys *vfs.Mem, opts tsdb.Options) *tsdb.Store {
		must(t, s.Close())
		return open(t, opts)
	}
	tiny := func(o *tsdb.Options) { o.MemoryBytes, o.LogBytes = 40<<10, 1 }
	same := func(*tsdb.Options) {}
	variants := []struct {
		name    string
		options func(*tsdb.Options)
		between []hands // taken in turn
	}{
		{"in memory", same, []hands{nothing}},
		{"sealed", same, []hands{seal}},
		{"merged", same, []hands{merge}},
		{"reopened", same, []hands{reopen}},
		{"mixed", same, []hands{nothing, seal, reopen, merge, seal, reopen}},
		{"sealed by size", tiny, []hands{nothing, reopen}},
	}
	for seed := range uint64(8) {
		var want map[string]string
		var wantTwins string
		for _, v := range variants {
			fsys := vfs.NewMem()
			opts := small(fsys)
			v.options(&opts)
			s := open(t, opts)
			m := &torture.Model{}
			rng := rand.New(rand.NewPCG(seed, 3))
			for i := range 12 {
				for range 80 {
					must(t, m.Append(s, rng))
				}
				s = v.between[i%len(v.between)](s, fsys, opts)
			}
			got, twins := everything(t, s), ""
			for thing := range tsdb.ThingID(5) {
				twins += twin(s, thing) + "\n"
			}
			must(t, s.Close())
			if want == nil {
				want, wantTwins = got, twins
			}
			if !maps.Equal(got, want) {
				t.Fatalf("seed %d, %s: %d cells, not %d; %v", seed, v.name, len(got), len(want), different(got, want))
			}
			if twins != wantTwins {
				t.Fatalf("seed %d, %s: twins\n%s\nnot\n%s", seed, v.name, twins, wantTwins)
			}
			report, err := tsdb.Fsck("data", fsys)
			if err != nil || len(report.Damage) > 0 || len(report.TornTails) > 0 {
				t.Fatalf("seed %d, %s: %+v %v", seed, v.name, report, err)
			}
		}
		if len(want) < 500 {
			t.Fatalf("%d cells", len(want))
		}
	}
}

func different(a, b map[string]string) []string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if a[key] != b[key] {
			list = append(list, fmt.Sprintf("%s: %s, not %s", key, a[key], b[key]))
		}
	}
	return list[:min(len(list), 5)]
}

// Merging does not carry an old value past a newer one in a segment of many days.
func TestMergeKeepsOrder(t *testing.T) {
	opts := small(vfs.NewMem())
	s := open(t, opts)
	m := metric(t, s, "a")
	seal := func(rows ...int64) { // time, value, ...
		for i := 0; i < len(rows); i += 2 {
			appendRow(t, s, 1, rows[i], decimal(m, rows[i+1], 0))
		}
		must(t, s.Seal(context.Background()))
	}
	seal(1000, 1, 2000, 1)
	many := []int64{1000, 2}
	for day := range int64(12) { // more days than get a segment of their own, each with more rows than day 0
		many = append(many, (day+1)*86_400_000, 0, (day+1)*86_400_000+1, 0)
	}
	seal(many...)
	for i := range int64(5) {
		seal(3000+i, 3, 4000, i)
	}
	before := s.Stats().Segments
	for range 3 {
		must(t, tsdb.Compact(s))
	}
	if after := s.Stats().Segments; after >= before {
		t.Fatalf("nothing was merged: %d segments", after)
	}
	if got := dump(t, s, 1, "a"); !strings.HasPrefix(got, "1000=2 2000=1 3000=3 3001=3 3002=3 3003=3 3004=3 4000=4 ") {
		t.Fatal(got)
	}
	must(t, s.Close())
	if got := dump(t, open(t, opts), 1, "a"); !strings.HasPrefix(got, "1000=2 2000=1 3000=3 3001=3 3002=3 3003=3 3004=3 4000=4 ") {
		t.Fatalf("reopened: %s", got)
	}
}

// Of a day that is over, what sealing left behind and what comes late is merged two by two, whatever its number; of today, by four.
func TestMergeOfQuietDays(t *testing.T) {
	const day = 86_400_000
	clock := vfs.NewManual(time.UnixMilli(10*day + 1000))
	opts := small(vfs.NewMem())
	opts.Clock = clock
	s := open(t, opts)
	m := metric(t, s, "a")
	for i := range int64(3) {
		for d := range int64(3) { // two days that are over, and today
			appendRow(t, s, 1, (8+d)*day+i, decimal(m, i+d*100, 0))
		}
		must(t, s.Seal(context.Background()))
	}
	for range 20 {
		must(t, tsdb.Compact(s))
	}
	if n := s.Stats().Segments; n != 3+3+3 { // all are new
		t.Fatalf("%d segments", n)
	}
	clock.Advance(4 * time.Hour)
	for range 20 {
		must(t, tsdb.Compact(s))
	}
	if n := s.Stats().Segments; n != 1+1+3 {
		t.Fatalf("%d segments", n)
	}
	appendRow(t, s, 1, 8*day+1, decimal(m, 77, 0)) // late, and again
	must(t, s.Seal(context.Background()))
	must(t, tsdb.Compact(s))
	if n := s.Stats().Segments; n != 2+1+3 { // it is new
		t.Fatalf("%d segments", n)
	}
	clock.Advance(4 * time.Hour)
	must(t, tsdb.Compact(s))
	if got := dump(t, s, 1, "a"); s.Stats().Segments != 1+1+3 || !strings.HasPrefix(got, "691200000=0 691200001=77 691200002=2 ") {
		t.Fatalf("%d segments, %s", s.Stats().Segments, got)
	}
}
