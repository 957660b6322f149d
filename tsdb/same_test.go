package tsdb_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/tsdb"
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
			m := &model{bySeq: map[uint64]int{}}
			rng := rand.New(rand.NewPCG(seed, 3))
			for i := range 12 {
				for range 80 {
					must(t, m.append(t, s, rng))
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
