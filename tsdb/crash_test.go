package tsdb_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

var (
	cuts   = flag.Int("cuts", 150, "power cuts to simulate")
	faults = flag.Int("faults", 300, "the operations to fail, one run each")
)

// model is what a test believes about a store: every row that it appended, and which of them it was told are on disk.
type model struct {
	mu    sync.Mutex
	rows  []modelRow // by order of appending
	bySeq map[uint64]int
	acked int
}

type modelRow struct {
	thing  tsdb.ThingID
	ms     int64
	column string
	value  string // as dump prints it
	acked  bool
	told   bool
}

// rowWaiter marks the rows of a model.
type rowWaiter struct{ m *model }

func (w rowWaiter) Durable(upTo uint64, err error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	for seq := upTo; seq > 0; seq-- {
		i, ok := w.m.bySeq[seq]
		if !ok || w.m.rows[i].told {
			break
		}
		w.m.rows[i].told = true
		if err == nil {
			w.m.rows[i].acked = true
			w.m.acked++
		}
	}
}

// append adds a random row. Every value is unique, so that a wrong one is seen.
func (m *model) append(t *testing.T, s *tsdb.Store, rng *rand.Rand) error {
	thing := tsdb.ThingID(rng.IntN(5))
	ms := int64(rng.IntN(400)) * 1000
	if rng.IntN(10) == 0 {
		ms += int64(rng.IntN(12)) * 86_400_000 // other days
	}
	column := fmt.Sprintf("c%d", rng.IntN(4+len(m.rows)/100))
	n := int64(len(m.rows) + 1)
	row := modelRow{thing: thing, ms: ms, column: column}
	id, err := s.Dict().Metric([]byte(column))
	must(t, err)
	var v tsdb.Value
	switch rng.IntN(8) {
	case 0:
		word := fmt.Sprintf("word %d", n)
		id, err := s.Dict().String([]byte(word))
		must(t, err)
		v = tsdb.Value{Kind: tsdb.String, Mantissa: int64(id)}
		row.value = fmt.Sprintf("%q", word)
	case 1:
		f := float64(n) * math.Pi
		v = tsdb.Value{Kind: tsdb.Float, Mantissa: int64(math.Float64bits(f))}
		row.value = fmt.Sprint(f)
	default:
		v = tsdb.Value{Mantissa: n, Exp: int8(-rng.IntN(3))}
		row.value = fmt.Sprint(v.Float())
	}
	v.Metric = id
	m.mu.Lock() // Durable waits until the row is in the model
	defer m.mu.Unlock()
	seq, err := s.Append(thing, ms, []tsdb.Value{v}, rowWaiter{m})
	if err == nil {
		m.bySeq[seq] = len(m.rows)
		m.rows = append(m.rows, row)
	}
	return err
}

type modelKey struct {
	thing  tsdb.ThingID
	column string
	ms     int64
	text   bool
}

// check compares a reopened store with the model: of each cell it must hold the last acknowledged value, or one that was appended
// later; nothing else.
func (m *model) check(t *testing.T, s *tsdb.Store, what string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	allowed, needed := map[modelKey][]string{}, map[modelKey]bool{}
	for _, r := range m.rows {
		key := modelKey{r.thing, r.column, r.ms, r.value[0] == '"'}
		if r.acked {
			allowed[key], needed[key] = nil, true
		}
		allowed[key] = append(allowed[key], r.value)
	}
	seen := 0
	for _, metric := range s.Metrics() {
		for thing := range tsdb.ThingID(5) {
			var nums tsdb.Samples
			var texts tsdb.StringSamples
			must(t, s.Read(&nums, thing, metric.ID, 0, math.MaxInt64))
			must(t, s.ReadStrings(&texts, thing, metric.ID, 0, math.MaxInt64))
			one := func(ms int64, value string) {
				key := modelKey{thing, metric.Name, ms, value[0] == '"'}
				if !slices.Contains(allowed[key], value) {
					t.Fatalf("%s: thing %d %s at %d is %s, want one of %v", what, thing, metric.Name, ms, value, allowed[key])
				}
				if needed[key] {
					seen++
				}
			}
			for i, ms := range nums.TimesMs {
				one(ms, fmt.Sprint(nums.Values[i]))
			}
			for i, ms := range texts.TimesMs {
				one(ms, fmt.Sprintf("%q", texts.Values[i]))
			}
			if !slices.IsSorted(nums.TimesMs) || len(slices.Compact(nums.TimesMs)) != len(nums.Values) {
				t.Fatalf("%s: times are not ascending and unique", what)
			}
		}
	}
	if seen != len(needed) {
		t.Fatalf("%s: %d of %d acknowledged cells are there", what, seen, len(needed))
	}
}

// work appends rows, syncs, seals and merges at random; it stops at the first error.
func (m *model) work(t *testing.T, s *tsdb.Store, rng *rand.Rand, steps int) error {
	for range steps {
		var err error
		switch rng.IntN(100) {
		case 0:
			err = s.Seal(context.Background())
		case 1, 2, 3:
			err = s.Sync(context.Background())
		case 4:
			err = tsdb.Compact(s)
		default:
			err = m.append(t, s, rng)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// The power goes at random points, over and over on one history; what was acknowledged is there each time.
func TestPowerCuts(t *testing.T) {
	for run := range max(1, *cuts/10/raceFactor) {
		rng := rand.New(rand.NewPCG(uint64(run), 1))
		fsys := vfs.NewMem()
		m := &model{bySeq: map[uint64]int{}}
		for cut := range 10 {
			what := fmt.Sprintf("run %d cut %d", run, cut)
			s, err := tsdb.Open(small(fsys))
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if st := s.Stats(); st.Damaged != 0 {
				t.Fatalf("%s: a power cut is called damage: %+v", what, st)
			}
			m.check(t, s, what)
			clear(m.bySeq)
			must(t, m.work(t, s, rng, 20+rng.IntN(300)))
			m.mu.Lock() // no acknowledgment between the cut and the closing counts
			after := fsys.PowerCut(rng.Uint64())
			for i := range m.rows {
				m.rows[i].told = true
			}
			m.mu.Unlock()
			must(t, s.Close())
			fsys = after
		}
		if m.acked == 0 {
			t.Fatal("nothing was acknowledged")
		}
	}
}

// One operation of the disk fails, at every point: no row is acknowledged that is not there after a power cut.
func TestEveryFault(t *testing.T) {
	acked, failed := 0, 0
	for n := 1; n <= *faults; n += raceFactor {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			what := fmt.Sprintf("operation %d fails with %v", n, cause)
			rng := rand.New(rand.NewPCG(uint64(n), 2))
			fsys := vfs.NewMem()
			m := &model{bySeq: map[uint64]int{}}
			fsys.FailAt(n, cause)
			s, err := tsdb.Open(small(fsys))
			if err == nil {
				if err = m.work(t, s, rng, 400); err == nil {
					err = s.Ready()
				}
				if err != nil && !errors.Is(err, tsdb.ErrFailed) && !errors.Is(err, tsdb.ErrDiskFull) && !errors.Is(err, cause) {
					t.Fatalf("%s: %v", what, err)
				}
			}
			if err != nil {
				failed++
			}
			fsys.FailAt(0, nil)
			m.mu.Lock()
			after := fsys.PowerCut(uint64(n))
			for i := range m.rows {
				m.rows[i].told = true
			}
			m.mu.Unlock()
			if s != nil {
				s.Close()
			}
			m.check(t, open(t, small(after)), what)
			m.check(t, open(t, small(fsys)), what+", without a power cut")
			acked += m.acked
		}
	}
	if acked == 0 || failed < *faults/10/raceFactor {
		t.Fatalf("%d rows acknowledged, %d faults seen", acked, failed)
	}
}
