package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"time"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// baseMs is the day on which most rows of a history lie; its clock may say something else.
var baseMs = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

// history is one store on one disk through many openings.
type history struct {
	rng      *rand.Rand
	model    Model
	clock    *vfs.Manual
	jump     func() // turns the clock
	opts     tsdb.Options
	squeezes bool // the disk may run full now and then
	wrap     func(*vfs.Mem) vfs.FS
	tally    tally
}

// tally counts what was tried.
type tally struct {
	histories, cuts, faults, full, acked int
}

func (t *tally) add(o tally) {
	t.histories += o.histories
	t.cuts += o.cuts
	t.faults += o.faults
	t.full += o.full
	t.acked += o.acked
}

// newHistory chooses a clock, a retention and what may go wrong.
func newHistory(rng *rand.Rand) *history {
	h := &history{rng: rng, clock: vfs.NewManual(time.UnixMilli(baseMs)), squeezes: rng.IntN(3) == 0}
	h.model.baseMs = baseMs
	h.wrap = func(m *vfs.Mem) vfs.FS { return m }
	h.jump = func() {}
	const day = 24 * time.Hour
	tenYears := 3653 * day
	switch rng.IntN(5) {
	case 0: // a good clock, and retention deletes for real
		h.clock = vfs.NewManual(time.UnixMilli(baseMs).Add(12 * day))
		h.opts.Retention, h.opts.ClockSettle = 5*day, 20*time.Second
	case 1: // no battery: 1970, until the network says the time; and sometimes again
		h.clock = vfs.NewManual(time.Unix(5, 0))
		h.jump = func() {
			if h.clock.Now().Year() < 2000 {
				h.clock.Jump(time.UnixMilli(baseMs).Sub(h.clock.Now()))
			} else {
				h.clock.Jump(time.Unix(5, 0).Sub(h.clock.Now()))
			}
		}
	case 2: // ten years ahead, and back
		h.jump = func() {
			if h.clock.Now().UnixMilli() < baseMs+tenYears.Milliseconds()/2 {
				h.clock.Jump(tenYears)
			} else {
				h.clock.Jump(-tenYears)
			}
		}
	case 3: // stepping back
		h.jump = func() { h.clock.Jump(-time.Duration(rng.Int64N(int64(time.Hour)))) }
	}
	if h.opts.Retention == 0 && rng.IntN(2) == 0 { // the clock is never steady for so long: nothing may be deleted
		h.opts.Retention, h.opts.ClockSettle = 30*day, day
	}
	return h
}

// open opens the store on fsys, each time with other options, with which little data goes through every part.
func (h *history) open(fsys *vfs.Mem) (*tsdb.Store, error) {
	pick := func(sizes ...int64) int64 { return sizes[h.rng.IntN(len(sizes))] }
	o := h.opts
	o.Dir, o.FS, o.Clock = "data", h.wrap(fsys), h.clock
	o.MemoryBytes, o.LogBytes, o.LogFileBytes = pick(40<<10, 256<<10, 1<<20), pick(1, 64<<10, 1<<20), pick(4<<10, 16<<10, 64<<10)
	o.ReserveBytes, o.GroupWait, o.SealAge = 4<<10, time.Duration(pick(1, int64(5*time.Millisecond))), time.Duration(pick(int64(time.Minute), int64(time.Hour)))
	o.RetentionTier5m, o.RetentionTier1h = time.Duration(pick(0, int64(8*24*time.Hour), int64(5000*24*time.Hour))), time.Duration(pick(0, int64(5000*24*time.Hour)))
	s, err := tsdb.Open(o)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	return s, nil
}

// check compares s with the model.
func (h *history) check(s *tsdb.Store) error {
	if h.opts.Retention > 0 && h.opts.ClockSettle < time.Hour {
		h.model.keptFrom = h.clock.Now().Add(-h.opts.Retention).UnixMilli()
	}
	return h.model.Check(s)
}

// work does steps random things with s; it stops at the first error that a healthy disk would not give.
func (h *history) work(s *tsdb.Store, fsys *vfs.Mem, steps int) error {
	for range steps {
		err := h.step(s, fsys)
		if h.squeezes && errors.Is(err, tsdb.ErrDiskFull) {
			err = h.makeRoom(s, fsys)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *history) step(s *tsdb.Store, fsys *vfs.Mem) error {
	switch h.rng.IntN(100) {
	case 0:
		return s.Seal(context.Background())
	case 1, 2, 3:
		return s.Sync(context.Background())
	case 4, 5, 6:
		h.clock.Advance(time.Duration(h.rng.Int64N(int64(20 * time.Second)))) // the keeper looks around, and merges
		h.jump()
	case 7:
		switch h.rng.IntN(16) {
		case 0, 1:
			return h.model.Delete(s, h.rng)
		case 2:
			return s.Purge(context.Background())
		}
	case 8:
		if h.squeezes {
			fsys.SetCapacity(fsys.UsedBytes() + h.rng.Int64N(32<<10))
		}
	default:
		return h.model.Append(s, h.rng)
	}
	return nil
}

// makeRoom gives the disk space and lets time pass until the store takes rows again.
func (h *history) makeRoom(s *tsdb.Store, fsys *vfs.Mem) error {
	fsys.SetCapacity(0)
	h.tally.full++
	for patience := time.Now().Add(20 * time.Second); time.Now().Before(patience); runtime.Gosched() {
		err := s.Ready()
		if err == nil || !errors.Is(err, tsdb.ErrDiskFull) {
			return err
		}
		h.clock.Advance(time.Second)
	}
	return errors.New("the disk has space again, and the store does not take rows")
}

// cut runs cuts power cuts, each after some work, and compares what is left after each.
func (h *history) cut(cuts int) error {
	fsys := vfs.NewMem()
	for n := range cuts + 1 {
		s, err := h.open(fsys)
		if err != nil {
			return fmt.Errorf("cut %d: %w", n, err)
		}
		if st := s.Stats(); st.Damaged != 0 {
			err = fmt.Errorf("cut %d: it is called damage: %+v", n, st)
		} else if err = h.check(s); err != nil {
			err = fmt.Errorf("cut %d: %w", n, err)
		}
		if err != nil || n == cuts {
			return errors.Join(err, s.Close())
		}
		steps := h.rng.IntN(300)
		if h.rng.IntN(8) == 0 {
			steps = 0 // again, just after the start
		}
		if err := h.work(s, fsys, steps); err != nil {
			return errors.Join(fmt.Errorf("before cut %d: %w", n+1, err), s.Close())
		}
		after, err := h.powerCut(s, fsys)
		if err != nil {
			return fmt.Errorf("before cut %d: %w", n+1, err)
		}
		after.SetCapacity(0)
		fsys = after
		h.tally.cuts++
	}
	return nil
}

// powerCut returns the disk as it is after the power went: at rest, while all is sealed, or while the store closes. It closes s.
func (h *history) powerCut(s *tsdb.Store, fsys *vfs.Mem) (after *vfs.Mem, err error) {
	last := fsys.Ops() + h.rng.IntN(60)
	busy := make(chan error, 1)
	doing := h.rng.IntN(4)
	switch doing {
	case 0:
		go func() { busy <- s.Seal(context.Background()) }()
	case 1:
		go func() { busy <- s.Close() }()
	default:
		busy <- nil
	}
	for len(busy) == 0 && fsys.Ops() < last {
		runtime.Gosched()
	}
	seed := h.rng.Uint64()
	h.model.Freeze(func() { after = fsys.PowerCut(seed) })
	err = errors.Join(<-busy, s.Close())
	if errors.Is(err, tsdb.ErrDiskFull) && h.squeezes {
		err = nil
	}
	return after, err
}

// fault lets operation n of the disk fail, in one of three ways: nothing is acknowledged that is not there after a power cut, and
// nor is anything lost without one.
func (h *history) fault(n int) error {
	h.squeezes = false
	cause := []error{syscall.EIO, syscall.ENOSPC, syscall.EIO}[n%3]
	fsys := vfs.NewMem()
	if n%3 == 2 {
		fsys.FailFrom(n, cause)
	} else {
		fsys.FailAt(n, cause)
	}
	s, err := h.open(fsys)
	if err == nil {
		for err == nil && fsys.Ops() < n {
			err = h.work(s, fsys, 50)
		}
		if err == nil {
			err = h.work(s, fsys, 100)
		}
	}
	if err != nil && !errors.Is(err, tsdb.ErrFailed) && !errors.Is(err, tsdb.ErrDiskFull) && !errors.Is(err, cause) {
		return fmt.Errorf("operation %d fails with %v: %w", n, cause, err)
	}
	h.tally.faults++
	fsys.FailAt(0, nil)
	var after *vfs.Mem
	h.model.Freeze(func() { after = fsys.PowerCut(uint64(n)) })
	if s != nil {
		s.Close() // may report the fault once more
	}
	for what, disk := range map[string]*vfs.Mem{"after a power cut": after, "without a power cut": fsys} {
		s, err := h.open(disk)
		if err == nil {
			err = errors.Join(h.check(s), s.Close())
		}
		if err != nil {
			return fmt.Errorf("operation %d fails with %v: %s: %w", n, cause, what, err)
		}
	}
	return nil
}
