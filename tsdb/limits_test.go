package tsdb_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"muster/tsdb"
	"muster/tsdb/torture"
	"muster/tsdb/vfs"
)

// waits collects what a store tells.
type waits struct {
	mu   sync.Mutex
	upTo uint64
	errs []error
}

func (w *waits) Durable(upTo uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.errs = append(w.errs, err)
		return
	}
	w.upTo = max(w.upTo, upTo)
}

func (w *waits) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.errs...)
}

// until polls for what another goroutine is about to do.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// A failed fsync is for good: nothing is accepted any more, queries go on, and a new start has all that was acknowledged.
func TestFailedSync(t *testing.T) {
	fsys := vfs.NewMem()
	opts := small(fsys)
	opts.GroupWait = time.Hour // it is Sync that fails, and nobody before it
	s := open(t, opts)
	m := metric(t, s, "power_w")
	appendRow(t, s, 1, 1000, decimal(m, 1, 0))
	must(t, s.Sync(context.Background()))
	fsys.FailAt(2, syscall.EIO) // the write passes, its fsync does not
	var w waits
	_, err := s.Append(1, 2000, []tsdb.Value{decimal(m, 2, 0)}, &w)
	must(t, err)
	if err := s.Sync(context.Background()); !errors.Is(err, tsdb.ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	if err := w.failed(); !errors.Is(err, tsdb.ErrFailed) {
		t.Fatalf("waiter: %v", err)
	}
	for range 3 { // the disk works again, but the store does not trust it
		if _, err := s.Append(1, 3000, []tsdb.Value{decimal(m, 3, 0)}, &w); !errors.Is(err, tsdb.ErrFailed) {
			t.Fatalf("append: %v", err)
		}
	}
	if !errors.Is(s.Ready(), tsdb.ErrFailed) || !errors.Is(s.Seal(context.Background()), tsdb.ErrFailed) {
		t.Fatalf("ready: %v", s.Ready())
	}
	if got := dump(t, s, 1, "power_w"); got != "1000=1 2000=2" {
		t.Fatalf("queries: %s", got)
	}
	s.Close()
	if got := dump(t, open(t, small(fsys.PowerCut(1))), 1, "power_w"); got[:6] != "1000=1" {
		t.Fatalf("after a new start: %s", got)
	}
}

// The disk runs full: rows are refused and none is acknowledged in vain, queries go on, and with space the store goes on by itself.
func TestDiskFullAndBack(t *testing.T) {
	fsys := vfs.NewMem()
	clock := vfs.NewManual(time.Unix(1_700_000_000, 0))
	opts := small(fsys)
	opts.Clock = clock
	opts.LogBytes = 1 << 30 // sealing does not help
	s := open(t, opts)
	m := &torture.Model{}
	rng := rand.New(rand.NewPCG(9, 9))
	fsys.SetCapacity(100 << 10)
	var err error
	for i := 0; err == nil && i < 100_000; i++ {
		if err = m.Append(s, rng); err == nil && i%20 == 0 {
			err = s.Sync(context.Background())
		}
	}
	if !errors.Is(err, tsdb.ErrDiskFull) || !errors.Is(s.Ready(), tsdb.ErrDiskFull) {
		t.Fatalf("a full disk: %v, ready: %v", err, s.Ready())
	}
	if err := m.Append(s, rng); !errors.Is(err, tsdb.ErrDiskFull) {
		t.Fatalf("a row on a full disk: %v", err)
	}
	must(t, m.Check(s))
	must(t, m.Check(open(t, small(fsys.PowerCut(3)))))
	acked := m.Acked()
	fsys.SetCapacity(1 << 30)
	until(t, "going on", func() bool {
		clock.Advance(time.Second)
		return s.Ready() == nil
	})
	must(t, m.Append(s, rng))
	must(t, s.Sync(context.Background()))
	if m.Acked() != acked+1 {
		t.Fatalf("%d acknowledged, %d before there was space", m.Acked(), acked)
	}
	must(t, m.Check(open(t, small(fsys.PowerCut(4)))))
}

// The log alone fills the disk: sealing, which may use what is kept back, makes room.
func TestSealingMakesRoom(t *testing.T) {
	fsys := vfs.NewMem()
	clock := vfs.NewManual(time.Unix(1_700_000_000, 0))
	opts := small(fsys)
	opts.Clock, opts.LogBytes, opts.ReserveBytes, opts.MemoryBytes = clock, 1<<30, 32<<10, 16<<20
	s := open(t, opts)
	m := metric(t, s, "power_w")
	fsys.SetCapacity(100 << 10)
	full := 0
	for i := int64(0); full < 3 && i < 100_000; i++ {
		_, err := s.Append(1, i, []tsdb.Value{decimal(m, i%7, 0)}, nil)
		if err == nil && i%20 == 0 { // groups of a sector and more
			err = s.Sync(context.Background())
		}
		if errors.Is(err, tsdb.ErrDiskFull) {
			full++
			until(t, "room", func() bool { clock.Advance(time.Second); return s.Ready() == nil })
		} else {
			must(t, err)
		}
	}
	if st := s.Stats(); full < 3 || st.Segments == 0 || st.LogBytes > 100<<10 {
		t.Fatalf("%d times full: %+v", full, st)
	}
}

// With AckMemory a row is acknowledged although the disk stands still.
func TestAckMemory(t *testing.T) {
	fsys := &slowFS{Mem: vfs.NewMem(), gate: make(chan struct{})}
	opts := small(fsys)
	opts.AckMemory = true
	s := open(t, opts)
	var w waits
	_, err := s.Append(1, 1, []tsdb.Value{decimal(metric(t, s, "a"), 1, 0)}, &w)
	must(t, err)
	until(t, "acknowledging", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.upTo == 1 })
	close(fsys.gate)
}

// Segments go when they are past the retention, but not because a clock jumped.
func TestRetention(t *testing.T) {
	fsys := vfs.NewMem()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := vfs.NewManual(start)
	opts := small(fsys)
	opts.Clock, opts.Retention, opts.ClockSettle = clock, 48*time.Hour, time.Minute
	s := open(t, opts)
	m := metric(t, s, "power_w")
	day := func(n int) int64 { return start.AddDate(0, 0, n).UnixMilli() }
	for n := -3; n <= 0; n++ {
		appendRow(t, s, 1, day(n), decimal(m, int64(n), 0))
	}
	appendRow(t, s, 2, start.AddDate(50, 0, 0).UnixMilli(), decimal(m, 50, 0)) // a device far ahead
	appendRow(t, s, 3, 0, decimal(m, 70, 0))                                   // and one in 1970
	must(t, s.Seal(context.Background()))
	ticks := func(n int) {
		for range n {
			clock.Advance(10 * time.Second)
			until(t, "the keeper's tick", func() bool { return clock.Waiting() > 0 })
			must(t, tsdb.Tend(s))
		}
	}
	if err := tsdb.Tend(s); err != nil || s.Stats().Segments != 6 {
		t.Fatalf("before the clock settled: %+v %v", s.Stats(), err)
	}
	ticks(12)
	clock.Jump(40 * 365 * 24 * time.Hour)
	ticks(3)
	clock.Jump(-40 * 365 * 24 * time.Hour)
	ticks(12)
	if got := dump(t, s, 1, "power_w"); got != fmt.Sprintf("%d=-1 %d=0", day(-1), day(0)) {
		t.Fatalf("after the retention: %s, %+v", got, s.Stats())
	}
	if got := dump(t, s, 3, "power_w"); got != "" {
		t.Fatalf("1970: %s", got)
	}
	if got := dump(t, s, 2, "power_w"); got == "" {
		t.Fatal("the device that is ahead lost its row at once")
	}
	if got := twin(s, 3); got != "power_w=70@0" {
		t.Fatalf("the twin outlives the history, and is %s", got)
	}
	clock.Jump(49 * time.Hour)
	ticks(12)
	if got := s.Stats().Segments; got != 0 {
		t.Fatalf("two days later: %d segments", got)
	}
	if files := fsys.Tree(); len(files) > 6 {
		t.Fatalf("files: %q", files)
	}
}

// Near the disk limit the oldest segments go first.
func TestDiskLimit(t *testing.T) {
	fsys := vfs.NewMem()
	opts := small(fsys)
	opts.DiskLimitBytes = 120 << 10
	s := open(t, opts)
	m := metric(t, s, "noise")
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range int64(40) {
		for j := range int64(400) {
			appendRow(t, s, 1, i*86_400_000+j, decimal(m, rng.Int64(), 0))
		}
		must(t, s.Seal(context.Background()))
		must(t, tsdb.Tend(s))
	}
	st := s.Stats()
	if st.DiskBytes > opts.DiskLimitBytes || st.DiskBytes < opts.DiskLimitBytes/2 || st.OldestMs < 86_400_000 || st.NewestMs/86_400_000 != 39 {
		t.Fatalf("%+v", st)
	}
}

func TestDeleteThing(t *testing.T) {
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	m := metric(t, s, "power_w")
	appendRow(t, s, 1, 1000, decimal(m, 1, 0))
	appendRow(t, s, 2, 1000, decimal(m, 2, 0))
	must(t, s.Seal(context.Background()))
	appendRow(t, s, 1, 2000, decimal(m, 1, 0))
	must(t, s.DeleteThing(1))
	must(t, s.DeleteThing(1))
	must(t, s.DeleteThing(77)) // never seen
	check := func(s *tsdb.Store) {
		t.Helper()
		if got := dump(t, s, 1, "power_w") + twin(s, 1) + fmt.Sprint(s.ThingsWith(nil, m, 0, 5000)); got != "[2]" {
			t.Fatalf("after deleting: %s", got)
		}
		if _, err := s.Append(1, 3000, []tsdb.Value{decimal(m, 1, 0)}, nil); !errors.Is(err, tsdb.ErrDeleted) {
			t.Fatalf("a row of a deleted thing: %v", err)
		}
		if st := s.Stats(); st.Things != 1 || st.Series != 1 {
			t.Fatalf("%+v", st)
		}
	}
	check(s)
	s = open(t, small(fsys.PowerCut(1))) // by the log
	check(s)
	must(t, s.Seal(context.Background()))
	must(t, s.Close())
}

// Rows that no store should take are refused, and what the limits allow is taken.
func TestRefusedRows(t *testing.T) {
	s := open(t, small(vfs.NewMem()))
	m := metric(t, s, "a")
	f := func(want error, ms int64, values ...tsdb.Value) {
		t.Helper()
		if _, err := s.Append(1, ms, values, nil); !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	one := decimal(m, 1, 0)
	f(nil, 0, one)
	f(nil, tsdb.MaxTimeMs-1, one)
	f(tsdb.ErrTime, -1, one)
	f(tsdb.ErrTime, tsdb.MaxTimeMs, one)
	f(tsdb.ErrTime, math.MaxInt64, one)
	f(tsdb.ErrRow, 1)
	f(tsdb.ErrRow, 1, decimal(m+1, 1, 0))
	f(tsdb.ErrRow, 1, tsdb.Value{Metric: m, Kind: 9})
	f(tsdb.ErrRow, 1, tsdb.Value{Metric: m, Kind: tsdb.Bool, Mantissa: 2})
	f(tsdb.ErrRow, 1, tsdb.Value{Metric: m, Kind: tsdb.String, Mantissa: 0})
	f(tsdb.ErrRow, 1, make([]tsdb.Value, tsdb.MaxRowValues+1)...)
	many := make([]tsdb.Value, tsdb.MaxRowValues)
	for i := range many {
		many[i] = decimal(metric(t, s, fmt.Sprint("column ", i)), int64(i), int8(i))
	}
	f(tsdb.ErrColumns, 1, many...) // with "a" one too many
	_, err := s.Append(2, 1, many, nil)
	must(t, err)
	must(t, s.Seal(context.Background()))
	if got := len(s.Twin(nil, 2)); got != len(many) {
		t.Fatalf("%d columns", got)
	}
	must(t, s.Close())
	f(tsdb.ErrClosed, 1, one)
	if err := s.Sync(context.Background()); !errors.Is(err, tsdb.ErrClosed) {
		t.Fatalf("sync of a closed store: %v", err)
	}
}

func TestDictLimits(t *testing.T) {
	d := tsdb.NewDict()
	a, err := d.Metric([]byte("a"))
	must(t, err)
	if b, err := d.Metric([]byte("a")); err != nil || b != a || d.MetricName(a) != "a" || d.MetricName(99) != "" {
		t.Fatalf("%d %v", b, err)
	}
	if _, err := d.Metric(nil); err == nil {
		t.Fatal("an empty name")
	}
	if _, err := d.Metric(make([]byte, tsdb.MaxMetricBytes+1)); err == nil {
		t.Fatal("a long name")
	}
	if _, err := d.String(make([]byte, tsdb.MaxStringBytes+1)); err == nil {
		t.Fatal("a long value")
	}
	for i := 1; i < tsdb.MaxMetrics; i++ {
		_, err := d.Metric(fmt.Append(nil, i))
		must(t, err)
	}
	if _, err := d.Metric([]byte("one more")); !errors.Is(err, tsdb.ErrDictFull) {
		t.Fatalf("a full dictionary: %v", err)
	}
	if id, ok := d.LookupMetric("65535"); !ok || d.MetricName(id) != "65535" {
		t.Fatal("a full dictionary forgets")
	}
	name := []byte("4711")
	if n := testing.AllocsPerRun(100, func() { d.Metric(name) }); n != 0 {
		t.Fatalf("%v allocations for a known name", n)
	}
}

// While the disk stands still, rows wait in bounded memory; then all are acknowledged.
func TestBackPressure(t *testing.T) {
	fsys := &slowFS{Mem: vfs.NewMem(), gate: make(chan struct{})}
	opts := small(fsys)
	s := open(t, opts)
	m := metric(t, s, "power_w")
	var w waits
	var appended atomic.Int64
	var wg sync.WaitGroup
	const rows, writers = 20_000, 4
	for g := range writers {
		wg.Go(func() {
			for i := range rows {
				if _, err := s.Append(tsdb.ThingID(g), int64(i), []tsdb.Value{decimal(m, int64(i), 0)}, &w); err != nil {
					t.Error(err)
					return
				}
				appended.Add(1)
			}
		})
	}
	var stuck int64
	until(t, "waiting", func() bool { n := appended.Load(); stalled := n == stuck && n > 100; stuck = n; return stalled })
	if n := appended.Load(); n >= rows*writers {
		t.Fatalf("%d rows went past a disk that stands still", n)
	}
	close(fsys.gate)
	wg.Wait()
	must(t, s.Sync(context.Background()))
	if w.upTo != rows*writers || w.failed() != nil {
		t.Fatalf("acknowledged up to %d, %v", w.upTo, w.failed())
	}
	for g := range tsdb.ThingID(writers) {
		var got tsdb.Samples
		must(t, s.Read(&got, g, m, 0, math.MaxInt64))
		if len(got.Values) != rows || got.Values[rows-1] != rows-1 {
			t.Fatalf("thing %d has %d rows", g, len(got.Values))
		}
	}
}

// slowFS holds every fsync of a log until gate is closed.
type slowFS struct {
	*vfs.Mem
	gate chan struct{}
}

func (f *slowFS) Create(name string) (vfs.File, error) {
	file, err := f.Mem.Create(name)
	return slowFile{file, f.gate}, err
}

type slowFile struct {
	vfs.File
	gate chan struct{}
}

func (f slowFile) Sync() error {
	<-f.gate
	return f.File.Sync()
}
