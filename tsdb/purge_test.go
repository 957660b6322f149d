package tsdb_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// secretTrace returns the files that have bytes of the rows that secretRows made, as numbers in full or as varints, or the label.
func secretTrace(t *testing.T, fsys *vfs.Mem) (found []string) {
	t.Helper()
	for _, name := range fsys.Tree() {
		data, err := fsys.ReadFile(name)
		must(t, err)
		for i := range int64(secretRows) {
			bits := math.Float64bits(secretValue(i))
			if bytes.Contains(data, binary.LittleEndian.AppendUint64(nil, bits)) || bytes.Contains(data, binary.AppendVarint(nil, int64(bits))) {
				found = append(found, name)
				break
			}
		}
		if bytes.Contains(data, []byte("secret-host")) {
			found = append(found, name+" (label)")
		}
	}
	return found
}

const secretRows = 40

func secretValue(i int64) float64 { return math.Pi * math.Sqrt(float64(i+2)) }

// A deleted thing, and a deleted source, leave no byte of their rows in any file: log, segments, tiers and last values; the others
// answer as before, also after a start.
func TestPurge(t *testing.T) {
	fsys := vfs.NewMem()
	clock := vfs.NewManual(time.UnixMilli(30 * 86_400_000))
	opts := small(fsys)
	opts.Clock, opts.LogBytes = clock, 1<<20
	opts.RetentionTier5m, opts.RetentionTier1h = 100*365*24*time.Hour, 100*365*24*time.Hour
	s := open(t, opts)
	m := metric(t, s, "a")
	labels := func() tsdb.ThingID {
		var set tsdb.LabelSet
		set.Add([]byte("instance"), []byte("secret-host"))
		id, err := s.Source(&set)
		must(t, err)
		return id
	}
	source := labels()
	for i := range int64(secretRows) {
		for _, id := range []tsdb.ThingID{7, source} {
			appendRow(t, s, id, i*86_400_000/8, tsdb.Value{Metric: m, Kind: tsdb.Float, Mantissa: int64(math.Float64bits(secretValue(i)))})
		}
		appendRow(t, s, 1, i*86_400_000/8, decimal(m, i, 0))
		if i%7 == 0 {
			must(t, s.Seal(context.Background()))
			must(t, tsdb.Tend(s))
		}
		must(t, s.Sync(context.Background()))
	}
	kinds := strings.Join(secretTrace(t, fsys), " ")
	for _, suffix := range []string{".log", ".seg", ".t5m", ".t1h", "twin.0", "source.0 (label)"} {
		if !strings.Contains(kinds, suffix) {
			t.Fatalf("no trace in a file like %s before the deletion, only in %s", suffix, kinds)
		}
	}
	want := dump(t, s, 1, "a")
	must(t, s.DeleteThings([]tsdb.ThingID{7, source}))
	if st := s.Stats(); !st.Deleting || st.Deleted != 2 || st.PurgedMs != 0 {
		t.Fatalf("%+v", st)
	}
	if got := dump(t, s, 7, "a") + dump(t, s, source, "a"); got != "" {
		t.Fatalf("deleted: %s", got)
	}
	again := labels()
	if list, ok := s.SourceLabels(nil, source); again == source || ok {
		t.Fatalf("the same labels are source %d, and %d is %v", again, source, list)
	}
	for range 70 { // the keeper does it by itself, within eleven minutes
		clock.Advance(10 * time.Second)
		must(t, tsdb.Tend(s))
	}
	if found := secretTrace(t, fsys); len(found) != 2 || found[0] != "data/source.0 (label)" || found[1] != "data/source.1 (label)" {
		t.Fatalf("traces in %v, want that of the new source", found)
	}
	must(t, s.DeleteThing(again))
	must(t, s.Purge(context.Background()))
	if found := secretTrace(t, fsys); len(found) > 0 {
		t.Fatalf("traces in %v", found)
	}
	st := s.Stats()
	if st.Deleting || st.Deleted != 3 || st.PurgedMs != clock.Now().UnixMilli() {
		t.Fatalf("%+v", st)
	}
	if _, err := s.Append(source, 1, []tsdb.Value{decimal(m, 1, 0)}, nil); !errors.Is(err, tsdb.ErrDeleted) {
		t.Fatalf("a row of a deleted source: %v", err)
	}
	must(t, s.Close())
	report, err := tsdb.Fsck("data", fsys)
	if err != nil || len(report.Damage) > 0 || report.Deleted != 3 || report.DeletedBlocks != 0 {
		t.Fatalf("%+v %v", report, err)
	}
	s = open(t, opts)
	if got := dump(t, s, 1, "a"); got != want {
		t.Fatalf("the other thing is\n%s\nnot\n%s", got, want)
	}
	if st := s.Stats(); st.Deleting || st.Deleted != 3 {
		t.Fatalf("%+v", st)
	}
}

// Damage of others does not keep what was deleted, and is not lost with it; a purge that could not be ended is done after a start.
func TestPurgeDamaged(t *testing.T) {
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	m := metric(t, s, "a")
	for i := range int64(secretRows) {
		for id := range tsdb.ThingID(4) {
			appendRow(t, s, id, i*1000, tsdb.Value{Metric: m, Kind: tsdb.Float, Mantissa: int64(math.Float64bits(secretValue(i) + float64(id)))})
		}
	}
	must(t, s.Seal(context.Background()))
	must(t, s.Close())
	var name string
	for _, name = range fsys.Tree() {
		if strings.HasSuffix(name, ".seg") {
			break
		}
	}
	data, err := fsys.ReadFile(name)
	must(t, err)
	at := bytes.Index(data, binary.LittleEndian.AppendUint64(nil, math.Float64bits(secretValue(3)+2)))
	must(t, fsys.FlipBit(name, int64(at)*8))
	s = open(t, small(fsys))
	must(t, s.DeleteThing(0))
	must(t, s.Close())
	if report, err := tsdb.Fsck("data", fsys); err != nil || len(report.Damage) != 1 {
		t.Fatalf("%+v %v", report, err)
	}
	s = open(t, small(fsys))
	if !s.Stats().Deleting {
		t.Fatal("the deletion is forgotten")
	}
	must(t, s.Purge(context.Background()))
	if found := secretTrace(t, fsys); len(found) > 0 {
		t.Fatalf("traces in %v", found)
	}
	if n := fmt.Sprint(len(dump(t, s, 1, "a")), len(dump(t, s, 2, "a")), len(dump(t, s, 3, "a"))); strings.Count(n, " 0 ") != 1 {
		t.Fatalf("lengths %s, want that of thing 2 alone 0", n)
	}
	must(t, s.Close())
	report, err := tsdb.Fsck("data", fsys)
	if err != nil || len(report.Damage) != 1 || report.Damage[0].File == name || report.DeletedBlocks != 0 || report.Blocks != 3 {
		t.Fatalf("%+v %v", report, err)
	}
}
