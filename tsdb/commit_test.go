package tsdb_test

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// told is a Waiter that says in a channel up to where it was told.
type told chan uint64

func (w told) Durable(upTo uint64, _ error) { w <- upTo }

// wantSignal waits for one.
func wantSignal(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("not committed")
	}
}

// TestCommit: rows do not wait for more once someone says Commit; who waits for them is told before that one. With nothing to
// commit nobody is told.
func TestCommit(t *testing.T) {
	for name, memory := range map[string]bool{"disk": false, "memory": true} {
		t.Run(name, func(t *testing.T) {
			opts := small(vfs.NewMem())
			opts.GroupWait, opts.AckMemory = time.Hour, memory
			s := open(t, opts)
			m := metric(t, s, "power")
			done := make(chan struct{}, 1)
			s.Expect()
			if s.Commit(true, done) {
				t.Fatal("nothing was committed")
			}
			w := make(told, 1)
			seq, err := s.Append(1, 1000, []tsdb.Value{decimal(m, 1, 0)}, w)
			must(t, err)
			select {
			case <-w:
				t.Fatal("committed before anybody was in a hurry")
			case <-done:
				t.Fatal("nothing was committed, and someone told")
			case <-time.After(20 * time.Millisecond):
			}
			s.Expect()
			if s.Commit(false, done) {
				t.Fatal("committed by who must not wait")
			}
			wantSignal(t, done)
			select {
			case upTo := <-w:
				if upTo < seq {
					t.Fatalf("told of row %d, want %d", upTo, seq)
				}
			default:
				t.Fatal("the waiter was not told first")
			}
		})
	}
}

// TestCommitHere: who may wait commits by itself, all rows that are there, and a power cut leaves them. Until then they wake nobody.
func TestCommitHere(t *testing.T) { synctest.Test(t, commitHere) }

func commitHere(t *testing.T) {
	fsys := vfs.NewMem()
	opts := small(fsys)
	opts.LogBytes, opts.LogFileBytes = 1<<20, 64<<10
	s := open(t, opts)
	m := metric(t, s, "power")
	appendRow(t, s, 1, 1000, decimal(m, 1, 0)) // makes the log file
	must(t, s.Sync(context.Background()))
	before := s.Stats().Commits
	done := make(chan struct{}, 1)
	s.Expect()
	s.Expect()
	var w waits
	last := uint64(0)
	for i := range 100 {
		seq, err := s.Append(2, int64(1000+i), []tsdb.Value{decimal(m, int64(i), 0)}, &w)
		must(t, err)
		last = seq
	}
	time.Sleep(time.Second) // of the bubble's clock
	synctest.Wait()
	if n := s.Stats().Commits - before; n != 0 {
		t.Fatalf("%d commits although one is to come", n)
	}
	if !s.Commit(true, done) || w.upTo != last {
		t.Fatalf("committed up to row %d, want %d", w.upTo, last)
	}
	if got := len(done); got != 0 {
		t.Fatal("told of what it did itself")
	}
	if got := dump(t, open(t, small(fsys.PowerCut(1))), 2, "power"); len(got) < 100 || got[:6] != "1000=0" {
		t.Fatalf("after a power cut: %q", got)
	}
	// one is to come still
	_, err := s.Append(2, 9000, []tsdb.Value{decimal(m, 9, 0)}, &w)
	must(t, err)
	if s.Commit(false, done) {
		t.Fatal("committed by who must not wait")
	}
	wantSignal(t, done)
	// nobody is to come: rows are committed by themselves
	n := s.Stats().Commits
	appendRow(t, s, 2, 9001, decimal(m, 9, 0))
	until(t, "a commit", func() bool { return s.Stats().Commits > n })
}

// TestCommitHereFails: a disk that is full, or broken, is the same to who commits by itself: nothing is acknowledged, and with space the store
// goes on.
func TestCommitHereFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault, want error
		goesOn      bool
	}{
		"full":   {syscall.ENOSPC, tsdb.ErrDiskFull, true},
		"broken": {syscall.EIO, tsdb.ErrFailed, false},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := vfs.NewMem()
			clock := vfs.NewManual(time.Unix(1_700_000_000, 0))
			opts := small(fsys)
			opts.Clock, opts.GroupWait = clock, time.Hour
			s := open(t, opts)
			m := metric(t, s, "power")
			appendRow(t, s, 1, 1000, decimal(m, 1, 0))
			must(t, s.Sync(context.Background()))
			s.Expect()
			var w waits
			_, err := s.Append(1, 2000, []tsdb.Value{decimal(m, 2, 0)}, &w)
			must(t, err)
			fsys.FailAt(1, c.fault)
			done := make(chan struct{}, 1)
			if !s.Commit(true, done) { // the committer has not quite ended the group before
				wantSignal(t, done)
			}
			if w.upTo != 0 || !errors.Is(w.failed(), c.want) || !errors.Is(s.Ready(), c.want) {
				t.Fatalf("told %d, %v; ready: %v", w.upTo, w.failed(), s.Ready())
			}
			if !c.goesOn {
				return
			}
			until(t, "going on", func() bool {
				clock.Advance(time.Second)
				return s.Ready() == nil
			})
			appendRow(t, s, 1, 3000, decimal(m, 3, 0))
			must(t, s.Sync(context.Background()))
		})
	}
}

// TestCommitHereNotOnSlowDisk: who may wait a little does not wait for a disk that takes its time.
func TestCommitHereNotOnSlowDisk(t *testing.T) {
	clock := vfs.NewManual(time.Unix(1_700_000_000, 0))
	opts := small(&lazyFS{vfs.NewMem(), clock})
	opts.Clock = clock
	s := open(t, opts)
	m := metric(t, s, "power")
	done := make(chan struct{}, 1)
	here := 0
	for i := range 5 {
		s.Expect()
		appendRow(t, s, 1, int64(1000+i), decimal(m, 1, 0))
		if s.Commit(true, done) {
			here++
		} else {
			wantSignal(t, done)
		}
	}
	if here > 1 {
		t.Fatalf("waited for a slow disk %d times of 5", here)
	}
}

// lazyFS takes 25 ms for each fsync of a log.
type lazyFS struct {
	*vfs.Mem
	clock *vfs.Manual
}

func (f *lazyFS) Create(name string) (vfs.File, error) {
	file, err := f.Mem.Create(name)
	return lazyFile{file, f.clock}, err
}

type lazyFile struct {
	vfs.File
	clock *vfs.Manual
}

func (f lazyFile) Sync() error {
	f.clock.Jump(25 * time.Millisecond)
	return f.File.Sync()
}

// TestCommitByMany: many goroutines append and commit at the same time, some of them without waiting, while others sync and the store is
// closed in the end. All that was told is there afterwards.
func TestCommitByMany(t *testing.T) {
	fsys := vfs.NewMem()
	opts := small(fsys)
	opts.GroupWait, opts.LogBytes = time.Hour, 1<<20
	s := open(t, opts)
	m := metric(t, s, "power")
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			done := make(chan struct{}, 1)
			var w waits
			for i := range 200 {
				s.Expect()
				seq, err := s.Append(tsdb.ThingID(g), int64(i), []tsdb.Value{decimal(m, int64(i), 0)}, &w)
				if err != nil {
					t.Error(err)
				}
				if !s.Commit(i%3 > 0, done) {
					until(t, "commit", func() bool {
						select {
						case <-done:
						default:
						}
						w.mu.Lock()
						defer w.mu.Unlock()
						return w.upTo >= seq
					})
					continue
				}
				w.mu.Lock()
				if w.upTo < seq {
					t.Errorf("committed up to %d, want %d", w.upTo, seq)
				}
				w.mu.Unlock()
			}
		})
	}
	group.Go(func() {
		for range 20 {
			if err := s.Sync(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
	must(t, s.Close())
	if got := open(t, small(fsys.PowerCut(3))).Stats().Samples; got != 800 {
		t.Fatalf("%d samples of 800", got)
	}
}

// TestPiledUp: a megabyte of rows that came while others were being written does not wait for more.
func TestPiledUp(t *testing.T) {
	fsys := &gatedFS{Mem: vfs.NewMem(), gate: make(chan struct{})}
	opts := small(fsys)
	opts.GroupWait, opts.MemoryBytes, opts.LogBytes, opts.LogFileBytes = time.Hour, 64<<20, 64<<20, 8<<20
	s := open(t, opts)
	m := metric(t, s, "power")
	appendRow(t, s, 1, 1000, decimal(m, 1, 0))
	synced := make(chan error, 1)
	go func() { synced <- s.Sync(context.Background()) }()
	fsys.gate <- struct{}{} // now the log file is being made
	var w waits
	values := make([]tsdb.Value, 8)
	for i := range values {
		values[i] = decimal(m, int64(i), 0)
	}
	last := uint64(0)
	for i := range 8000 {
		seq, err := s.Append(tsdb.ThingID(i%100), int64(i), values, &w)
		must(t, err)
		last = seq
	}
	close(fsys.gate)
	must(t, <-synced)
	until(t, "a commit", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.upTo == last
	})
}

// gatedFS lets one fsync of a log after the other through its gate.
type gatedFS struct {
	*vfs.Mem
	gate chan struct{}
}

func (f *gatedFS) Create(name string) (vfs.File, error) {
	file, err := f.Mem.Create(name)
	return gatedFile{file, f.gate}, err
}

type gatedFile struct {
	vfs.File
	gate chan struct{}
}

func (f gatedFile) Sync() error {
	<-f.gate
	return f.File.Sync()
}
