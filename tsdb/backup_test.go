package tsdb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"muster/tsdb"
	"muster/tsdb/torture"
	"muster/tsdb/vfs"
)

// restored returns a file system that has the files of dir in its folder data, where stores with small() open it.
func restored(t *testing.T, m *vfs.Mem, dir string) *vfs.Mem {
	t.Helper()
	to := vfs.NewMem()
	must(t, to.MkdirAll("data", 0o700))
	names, err := m.List(dir)
	must(t, err)
	for _, name := range names {
		data, err := m.ReadFile(path.Join(dir, name))
		must(t, err)
		must(t, to.WriteFile(path.Join("data", name), data, 0o600))
	}
	return to
}

// TestBackupHasWhatWasAcknowledged: rows keep coming, the keeper seals and merges, and each backup is without damage; one that was made
// after the last acknowledgment holds all that was acknowledged, and nothing that was never appended.
func TestBackupHasWhatWasAcknowledged(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 7))
		m := vfs.NewMem()
		s := open(t, small(m))
		all := &torture.Model{}
		appendSome := func(n int) {
			for range n {
				must(t, all.Append(s, rng))
			}
		}
		appendSome(rng.IntN(3000))
		if rng.IntN(2) == 0 {
			must(t, s.Seal(context.Background()))
			appendSome(rng.IntN(500))
		}
		must(t, s.Sync(context.Background()))
		var wg sync.WaitGroup
		wg.Go(func() { appendSome(2000) })
		must(t, s.Backup(context.Background(), "backup", 0))
		wg.Wait()
		must(t, s.Sync(context.Background()))
		if err := s.Backup(context.Background(), "second", 0); err != nil {
			t.Fatal(err)
		}
		must(t, s.Close())
		for _, dir := range []string{"backup", "second"} {
			report, err := tsdb.Fsck(dir, m)
			if err != nil || len(report.Damage) > 0 || len(report.TornTails) > 0 {
				t.Fatalf("seed %d: %s: %+v, %v", seed, dir, report, err)
			}
		}
		copied := restored(t, m, "second")
		again := open(t, small(copied))
		if err := all.Check(again); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		must(t, again.Close())
	}
}

// TestBackupUnderLoad checks the promise exactly: rows 1 to n were acknowledged before the call, so the copy has them.
func TestBackupUnderLoad(t *testing.T) {
	opts := small(vfs.OS{})
	opts.Dir = filepath.Join(t.TempDir(), "data")
	s := open(t, opts)
	m := metric(t, s, "n")
	stop, done := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	durable := int64(0)
	go func() {
		defer close(done)
		for n := int64(1); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.Append(3, n, []tsdb.Value{decimal(m, n, 0)}, nil); err != nil {
				t.Error(err)
				return
			}
			if n%500 == 0 {
				if err := s.Sync(context.Background()); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				durable = n
				mu.Unlock()
			}
		}
	}()
	for round := range 6 {
		mu.Lock()
		want := durable
		mu.Unlock()
		dir := filepath.Join(t.TempDir(), "copy")
		must(t, s.Backup(t.Context(), dir, 0))
		if round == 3 {
			must(t, s.Seal(t.Context()))
		}
		copyOpts := small(vfs.OS{})
		copyOpts.Dir = dir
		c, err := tsdb.Open(copyOpts)
		must(t, err)
		var got tsdb.Samples
		must(t, c.Read(&got, 3, m, 0, tsdb.MaxTimeMs))
		must(t, c.Close())
		if int64(len(got.TimesMs)) < want {
			t.Fatalf("the copy has %d rows, %d were acknowledged before it", len(got.TimesMs), want)
		}
		for i, ms := range got.TimesMs {
			if ms != int64(i+1) || got.Values[i] != float64(ms) {
				t.Fatalf("row %d of the copy is %d=%v", i, ms, got.Values[i])
			}
		}
	}
	close(stop)
	<-done
}

// TestBackupLinks: on one file system segments take no space twice, and the store's merging and deleting leaves them alone.
func TestBackupLinks(t *testing.T) {
	opts := small(vfs.OS{})
	opts.Dir = filepath.Join(t.TempDir(), "data")
	s := open(t, opts)
	m := metric(t, s, "n")
	for n := range int64(4) {
		appendRow(t, s, 1, n*1000, decimal(m, n, 0))
		must(t, s.Seal(t.Context()))
	}
	dir := filepath.Join(filepath.Dir(opts.Dir), "copy")
	must(t, s.Backup(t.Context(), dir, 0))
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(names) == 0 {
		t.Fatalf("segments of the copy: %v, %v", names, err)
	}
	for _, name := range names {
		mine, err := os.Stat(name)
		must(t, err)
		theirs, err := os.Stat(filepath.Join(opts.Dir, filepath.Base(name)))
		must(t, err)
		if !os.SameFile(mine, theirs) {
			t.Errorf("%s was copied", name)
		}
	}
	for {
		before := s.Stats().Segments
		must(t, tsdb.Compact(s))
		if s.Stats().Segments == before {
			break
		}
	}
	must(t, s.Close())
	opts.Dir = dir
	c := open(t, opts)
	if got := dump(t, c, 1, "n"); got != "0=0 1000=1 2000=2 3000=3" {
		t.Fatalf("the copy has %s", got)
	}
}

// TestBackupHarmsNothing fails every operation of a backup, and cuts the power there: the store goes on, and has everything
// that was acknowledged.
func TestBackupHarmsNothing(t *testing.T) {
	build := func() (*vfs.Mem, *tsdb.Store, *torture.Model) {
		m := vfs.NewMem()
		s := open(t, small(m))
		all := &torture.Model{}
		rng := rand.New(rand.NewPCG(5, 5))
		for range 800 {
			must(t, all.Append(s, rng))
		}
		must(t, s.Seal(context.Background()))
		for range 50 {
			must(t, all.Append(s, rng))
		}
		must(t, s.Sync(context.Background()))
		return m, s, all
	}
	m, s, _ := build()
	before := m.Ops()
	must(t, s.Backup(context.Background(), "copy", 0))
	steps := m.Ops() - before
	must(t, s.Close())
	for step := 1; step <= steps; step += 1 + steps/20 {
		m, s, all := build()
		m.FailAt(step, syscall.EIO)
		err := s.Backup(context.Background(), "copy", 0)
		m.FailAt(0, nil)
		if err == nil { // the fault hit nothing, or nothing that the backup needs: then the copy is whole
			report, err := tsdb.Fsck("copy", m)
			must(t, err)
			if len(report.Damage)+len(report.TornTails) > 0 {
				t.Fatalf("operation %d of %d failed, the backup did not say so, and has %+v", step, steps, report)
			}
			copied := open(t, small(restored(t, m, "copy")))
			if err := all.Check(copied); err != nil {
				t.Fatalf("operation %d of %d failed, and the backup did not say so: %v", step, steps, err)
			}
			must(t, copied.Close())
		}
		for seed := range uint64(2) {
			again := open(t, small(m.PowerCut(seed)))
			if err := all.Check(again); err != nil {
				t.Fatalf("power cut after operation %d of the backup: %v", step, err)
			}
			must(t, again.Close())
		}
		s.Close() // its error would be the fault, where that hit the log
	}
}

func TestBackupWithoutRoom(t *testing.T) {
	m := vfs.NewMem()
	s := open(t, small(m))
	n := metric(t, s, "n")
	for i := range int64(5000) {
		appendRow(t, s, 1, i, decimal(n, i*i, 0))
	}
	must(t, s.Seal(t.Context()))
	appendRow(t, s, 1, 9999, decimal(n, 1, 0))
	must(t, s.Sync(t.Context()))
	err := s.Backup(t.Context(), "copy", 1<<41)
	if !errors.Is(err, vfs.ErrNoRoom) || !strings.Contains(err.Error(), "kept free") {
		t.Fatalf("a backup without room: %v", err)
	}
	appendRow(t, s, 1, 10_000, decimal(n, 2, 0))
	must(t, s.Sync(t.Context()))
	must(t, s.Close())
	if err := s.Backup(t.Context(), "late", 0); !errors.Is(err, tsdb.ErrClosed) {
		t.Fatalf("a backup of a closed store: %v", err)
	}
}

// follow reads the rows behind from as who follows the log does: file by file, those that were retired included.
func follow(t *testing.T, s *tsdb.Store, from tsdb.LogPosition, file func(number uint64) []byte, limit int, use func(tsdb.LogRow)) tsdb.LogPosition {
	t.Helper()
	end := s.LogEnd()
	for number := from.File; number <= end.File && limit > 0; number++ {
		data := file(number)
		if data == nil {
			continue
		}
		if number != from.File {
			from = tsdb.LogPosition{File: number}
		}
		to := int64(len(data))
		if number == end.File {
			to = min(to, end.Offset)
		}
		f, err := tsdb.OpenLogFile(bytes.NewReader(data), number)
		must(t, err)
		from, err = f.Read(from, to, func(row tsdb.LogRow) bool {
			if limit == 0 {
				return false
			}
			limit--
			use(row)
			return true
		})
		must(t, err)
	}
	return from
}

// TestFollowTheLog: who follows the log in steps of any size gets every row once and in order, over rotations, seals, and
// restarts, when it keeps the files that are retired.
func TestFollowTheLog(t *testing.T) {
	m := vfs.NewMem()
	kept := map[uint64][]byte{}
	var mu sync.Mutex
	opts := small(m)
	opts.Retire = func(number uint64, name string) {
		data, err := m.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		kept[number] = data
		mu.Unlock()
	}
	file := func(number uint64) []byte {
		data, err := m.ReadFile(path.Join("data", tsdb.LogFileName(number)))
		if err == nil {
			return data
		}
		mu.Lock()
		defer mu.Unlock()
		return kept[number]
	}
	s := open(t, opts)
	n, word := metric(t, s, "n"), metric(t, s, "word")
	rng := rand.New(rand.NewPCG(1, 9))
	var at tsdb.LogPosition
	next, sent := int64(1), int64(0)
	for round := range 40 {
		for range rng.IntN(400) {
			sent++
			appendRow(t, s, 1, sent, decimal(n, sent, 0), text(t, s, word, fmt.Sprint("w", sent%70)))
		}
		if round%7 == 3 {
			must(t, s.DeleteThing(tsdb.ThingID(100+round)))
		}
		if round%5 == 4 {
			must(t, s.Seal(t.Context()))
		}
		if round%11 == 10 {
			must(t, s.Close())
			s = open(t, opts)
		}
		limit := rng.IntN(300)
		if round == 39 {
			must(t, s.Sync(t.Context()))
			limit = 1 << 30
		}
		at = follow(t, s, at, file, limit, func(row tsdb.LogRow) {
			if row.Thing != 1 || row.TimeMs != next || len(row.Values) != 2 || row.Values[0].Mantissa != next || row.Values[0].Metric != n ||
				s.Dict().StringValue(uint32(row.Values[1].Mantissa)) != fmt.Sprint("w", next%70) {
				t.Fatalf("row %+v, want number %d", row, next)
			}
			next++
		})
	}
	if next != sent+1 {
		t.Fatalf("followed %d rows of %d", next-1, sent)
	}
	if len(kept) == 0 {
		t.Fatal("no log file was retired")
	}
}

// TestFollowDurableRowsOnly: what is in a log file and not synced yet is behind LogEnd.
func TestFollowDurableRowsOnly(t *testing.T) {
	m := vfs.NewMem()
	s := open(t, small(m))
	n := metric(t, s, "n")
	appendRow(t, s, 1, 1, decimal(n, 1, 0))
	must(t, s.Sync(t.Context()))
	end := s.LogEnd()
	m.FailAt(2, syscall.EIO) // the write works, the sync does not
	appendRow(t, s, 1, 2, decimal(n, 2, 0))
	if err := s.Sync(t.Context()); !errors.Is(err, tsdb.ErrFailed) {
		t.Fatalf("sync: %v", err)
	}
	if got := s.LogEnd(); got != end {
		t.Fatalf("the end of the log moved from %v to %v with a row that is not on disk", end, got)
	}
}
