package tsdb_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// history fills a store with rows of all kinds, in segments and in the log, packed and one by one, of things and of a source, and two deletions,
// and closes it. It returns what it said before the second deletion, which is in the log. No two rows of a thing have the same time, so every value that is
// read is the only right one.
func history(t *testing.T, fsys vfs.FS) (before map[string]string) {
	t.Helper()
	opts := small(fsys)
	opts.LogBytes, opts.GroupWait = 1<<20, time.Hour // sealed and committed only where it says so
	s := open(t, opts)
	power, label, on, ratio := metric(t, s, "power_w"), metric(t, s, "label"), metric(t, s, "on"), metric(t, s, "ratio")
	node := source(t, s, "job", "node")
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range int64(900) {
		if i == 300 || i == 600 {
			must(t, s.Seal(context.Background()))
		}
		if i%50 == 0 || i == 880 || i == 885 { // two groups at the end have too few rows for a pack
			must(t, s.Sync(context.Background()))
		}
		appendRow(t, s, tsdb.ThingID(i%3), i*1000,
			decimal(power, i*7, -1), text(t, s, label, fmt.Sprintf("label %d", i/40)),
			tsdb.Value{Metric: on, Kind: tsdb.Bool, Mantissa: int64(rng.IntN(2))},
			tsdb.Value{Metric: ratio, Kind: tsdb.Float, Mantissa: int64(math.Float64bits(math.Sqrt(float64(i))))})
		switch {
		case i%15 == 0:
			appendRow(t, s, node, i*1000, decimal(power, i, 0))
		case i < 100 && i%10 == 1:
			appendRow(t, s, 3, i*1000, decimal(power, i, 0))
		case i == 200:
			must(t, s.DeleteThing(3))
		case i > 600 && i < 800 && i%10 == 1:
			appendRow(t, s, 4, i*1000, decimal(power, i, 0))
		case i == 884:
			before = everything(t, s)
			must(t, s.DeleteThing(4))
		}
	}
	must(t, s.Close())
	opts.RetentionTier5m, opts.RetentionTier1h = 100*365*24*time.Hour, 100*365*24*time.Hour
	s = open(t, opts)     // only now: a keeper that is woken early makes the tiers of half a day, and of the rest an hour later
	must(t, tsdb.Tend(s)) // makes the tiers of what is sealed
	must(t, s.Close())
	return before
}

// everything is all that a store says, by cell.
func everything(t *testing.T, s *tsdb.Store) map[string]string {
	t.Helper()
	cells := map[string]string{}
	var nums tsdb.Samples
	var texts tsdb.StringSamples
	for _, m := range s.Metrics() {
		for _, thing := range []tsdb.ThingID{0, 1, 2, 3, 4, tsdb.FirstSource} {
			must(t, s.Read(&nums, thing, m.ID, 0, math.MaxInt64))
			for i, ms := range nums.TimesMs {
				cells[fmt.Sprint(thing, " ", m.Name, " ", ms)] = fmt.Sprint(nums.Values[i])
			}
			must(t, s.ReadStrings(&texts, thing, m.ID, 0, math.MaxInt64))
			for i, ms := range texts.TimesMs {
				cells[fmt.Sprint(thing, " ", m.Name, " text ", ms)] = texts.Values[i]
			}
			for _, step := range tierSteps {
				list, err := s.ReadTier(nil, thing, m.ID, step, 0, math.MaxInt64)
				must(t, err)
				for _, b := range list {
					cells[fmt.Sprint(thing, " ", m.Name, " by ", step, " at ", b.EndMs)] = fmt.Sprint(b)
				}
			}
		}
	}
	return cells
}

// wholeHistory returns a store with a history, what it says, and that with what it said of a thing before it was deleted: a deletion that is lost
// is no wrong value.
func wholeHistory(t *testing.T) (fsys *vfs.Mem, want, right map[string]string) {
	t.Helper()
	fsys = vfs.NewMem()
	right = history(t, fsys)
	var kinds []string
	for _, name := range fsys.Tree() {
		kinds = append(kinds, path.Ext(name), strings.TrimSuffix(path.Base(name), path.Ext(name)))
	}
	for _, kind := range []string{".log", ".seg", ".t5m", ".t1h", "dict", "twin", "source"} {
		if !slices.Contains(kinds, kind) {
			t.Fatalf("no %s among %q", kind, kinds)
		}
	}
	s := open(t, small(fsys))
	want = everything(t, s)
	must(t, s.Close())
	deleted := len(right)
	maps.Copy(right, want)
	if len(want) < 3600+60+27 || deleted == 0 || len(right) != len(want)+20 {
		t.Fatalf("%d cells, %d with those that were deleted", len(want), len(right))
	}
	return fsys, want, right
}

// Any bit of any file turns: it is found and named, at most one block or group is lost, and no value is wrong.
func TestFlippedBits(t *testing.T) {
	whole, want, right := wholeHistory(t)
	report, err := tsdb.Fsck("data", whole)
	must(t, err)
	if len(report.Damage) != 0 || report.Blocks < 8 || report.Groups < 7 || report.Samples < 2440 {
		t.Fatalf("a good store: %+v", report)
	}
	rng := rand.New(rand.NewPCG(6, 6))
	for _, name := range whole.Tree() {
		if strings.HasSuffix(name, "LOCK") {
			continue
		}
		data, err := whole.ReadFile(name)
		must(t, err)
		bits := rng.Perm(8 * len(data))
		for _, bit := range append(bits[:min(60, len(bits))], 0, 40, 100, 8*len(data)-1, 8*len(data)-100) {
			what := fmt.Sprintf("%s bit %d", name, bit)
			fsys := whole.PowerCut(0) // a copy: all is synced
			must(t, fsys.FlipBit(name, int64(bit)))
			report, err := tsdb.Fsck("data", fsys)
			must(t, err)
			named := len(report.TornTails) > 0
			for _, d := range report.Damage {
				named = named || path.Join("data", d.File) == name
			}
			if !named {
				t.Fatalf("%s: not found: %+v", what, report)
			}
			s := open(t, small(fsys))
			got := everything(t, s)
			for cell, value := range got {
				if right[cell] != value {
					t.Fatalf("%s: %s is %s, want %s", what, cell, value, right[cell])
				}
			}
			if lost := len(want) - len(got); lost > 400 {
				t.Fatalf("%s: %d cells lost", what, lost)
			} else if s.Stats().Damaged == 0 && len(report.TornTails) == 0 {
				t.Fatalf("%s: not counted, %d cells lost", what, lost)
			}
			if f, ok := s.Last(1, 0); !ok || f.Number != 628.6 && !strings.HasSuffix(name, ".log") {
				t.Fatalf("%s: last value %+v", what, f)
			}
			must(t, s.Close())
		}
	}
}

// Any file ends early: the store opens, no value is wrong, what is lost was past the end, and it is named, but for the tail of the log, which looks as if
// it had never been written.
func TestTruncated(t *testing.T) {
	whole, want, right := wholeHistory(t)
	rng := rand.New(rand.NewPCG(8, 8))
	for _, name := range whole.Tree() {
		if strings.HasSuffix(name, "LOCK") {
			continue
		}
		data, err := whole.ReadFile(name)
		must(t, err)
		for _, size := range append(rng.Perm(len(data))[:min(20, len(data))], 0, 1, min(600, len(data)-1), len(data)/2, len(data)-1) {
			what := fmt.Sprintf("%s of %d bytes cut at %d", name, len(data), size)
			fsys := whole.PowerCut(0) // a copy: all is synced
			must(t, fsys.WriteFile(name, data[:size], 0o600))
			report, err := tsdb.Fsck("data", fsys)
			must(t, err)
			s := open(t, small(fsys))
			got := everything(t, s)
			for cell, value := range got {
				if right[cell] != value {
					t.Fatalf("%s: %s is %s, want %s", what, cell, value, right[cell])
				}
			}
			inLog := strings.HasSuffix(name, ".log")
			if !inLog && (len(report.Damage) == 0 || s.Stats().Damaged == 0) {
				t.Fatalf("%s: not found: %+v", what, report)
			}
			if lost := len(want) - len(got); lost > 1300 || lost > 0 && strings.HasPrefix(path.Ext(name), ".0") {
				t.Fatalf("%s: %d cells lost", what, lost)
			}
			if inLog {
				for cell, value := range want {
					var ms int64
					if _, err := fmt.Sscan(cell[strings.LastIndexByte(cell, ' ')+1:], &ms); err == nil && ms < 600_000 && got[cell] != value {
						t.Fatalf("%s: %s, which is in a segment, is %q", what, cell, got[cell])
					}
				}
			}
			must(t, s.Close())
		}
	}
}

// Both copies of the last values are damaged: they come back from the segments.
func TestTwinRebuilt(t *testing.T) {
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	m, label := metric(t, s, "power_w"), metric(t, s, "label")
	for i := range int64(3000) {
		appendRow(t, s, 1, i*1000, decimal(m, i, 0), text(t, s, label, fmt.Sprint("n", i%7)))
	}
	must(t, s.Seal(context.Background()))
	must(t, s.Close())
	for _, name := range []string{"data/twin.0", "data/twin.1"} {
		must(t, fsys.FlipBit(name, 200))
	}
	s = open(t, small(fsys))
	if got, want := twin(s, 1), `label="n3"@2999000 power_w=2999@2999000`; got != want {
		t.Fatalf("twin\n got %s\nwant %s", got, want)
	}
	if s.Stats().Damaged != 2 {
		t.Fatalf("%+v", s.Stats())
	}
}

// A file of a later version is not set aside: the store says what to do and leaves it alone.
func TestNewerVersion(t *testing.T) {
	for _, suffix := range []string{".0", ".seg", ".t5m", ".t1h", ".log"} {
		fsys := vfs.NewMem()
		history(t, fsys)
		for _, name := range fsys.Tree() {
			if strings.HasSuffix(name, suffix) || suffix == ".0" && strings.HasSuffix(name, ".1") {
				must(t, tsdb.SetVersion(fsys, name, 9))
			}
		}
		if _, err := tsdb.Open(small(fsys)); err == nil || !strings.Contains(err.Error(), "newer version") {
			t.Fatalf("%s: %v", suffix, err)
		}
	}
}

// What stands where a store should be is a sentence, not a panic; two stores on one folder are refused.
func TestOpenRefuses(t *testing.T) {
	if _, err := tsdb.Open(tsdb.Options{}); err == nil {
		t.Fatal("a store without a folder")
	}
	fsys := vfs.NewMem()
	open(t, small(fsys))
	if _, err := tsdb.Open(small(fsys)); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("second store: %v", err)
	}
	if _, err := tsdb.Fsck("data", fsys); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("fsck of an open store: %v", err)
	}
	dir := t.TempDir()
	opts := tsdb.Options{Dir: dir, LogFileBytes: 1 << 20}
	open(t, opts)
	if _, err := tsdb.Open(opts); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("second store on a real folder: %v", err)
	}
}
