package tsdb_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// taken returns the crossings since the last call as "thing:column".
func taken(t *testing.T, s *tsdb.Store) string {
	t.Helper()
	list, lost := s.TakeCrossings(nil)
	if lost {
		t.Fatal("crossings were lost")
	}
	var words []string
	for _, c := range list {
		words = append(words, fmt.Sprintf("%d:%s", c.Thing, s.Dict().MetricName(c.Metric)))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// TestCrossings: last values are held against bounds; what stays between two is no crossing.
func TestCrossings(t *testing.T) {
	s := open(t, small(vfs.NewMem()))
	temp, on, other := metric(t, s, "temp"), metric(t, s, "on"), metric(t, s, "other")
	ms := int64(0)
	f := func(want string, values ...tsdb.Value) {
		t.Helper()
		ms += 1000
		appendRow(t, s, 7, ms, values...)
		if got := taken(t, s); got != want {
			t.Fatalf("%v\n got %q\nwant %q", values, got, want)
		}
		select {
		case <-s.Crossed():
			t.Fatal("a token with nothing to take")
		default:
		}
	}
	f("", decimal(temp, 50, 0))
	s.Watch([]tsdb.Threshold{{Metric: temp, Bounds: []float64{80, 60}}, {Metric: temp, Bounds: []float64{60}}, {Metric: on}})
	f("", decimal(temp, 59, 0))
	f("7:temp", decimal(temp, 60, 0)) // on a bound is neither below nor above
	f("", decimal(temp, 600, -1))
	f("7:temp", decimal(temp, 601, -1))
	f("", decimal(temp, 79, 0), decimal(other, 100, 0))
	f("7:temp", decimal(temp, 100, 0))
	f("7:temp", decimal(temp, 1, 0))
	f("7:on", tsdb.Value{Metric: on, Kind: tsdb.Bool}) // the first
	f("", tsdb.Value{Metric: on, Kind: tsdb.Bool, Mantissa: 1})
	f("7:temp", tsdb.Value{Metric: temp, Kind: tsdb.Float, Mantissa: int64(math.Float64bits(math.NaN()))})
	f("7:temp", text(t, s, temp, "hot"))
	f("", text(t, s, temp, "cold"))
	f("7:temp", decimal(temp, 1, 0))

	// what comes late does not change the last value
	appendRow(t, s, 7, 500, decimal(temp, 99, 0))
	if got := taken(t, s); got != "" {
		t.Fatalf("a late row: %s", got)
	}
	// back and forth is one crossing, which the channel tells
	appendRow(t, s, 7, ms+1, decimal(temp, 99, 0))
	appendRow(t, s, 8, ms+1, decimal(temp, 99, 0))
	appendRow(t, s, 7, ms+2, decimal(temp, 1, 0))
	<-s.Crossed()
	if got := taken(t, s); got != "7:temp 8:temp" {
		t.Fatalf("back and forth: %s", got)
	}
	// any number counts where that is asked for, a deleted thing does not
	s.Watch([]tsdb.Threshold{{Metric: other, Any: true}})
	f("7:other", decimal(temp, 99, 0), decimal(other, 100, 0))
	f("7:other", decimal(other, 100, 0))
	appendRow(t, s, 7, ms+1, decimal(other, 5, 0))
	must(t, s.DeleteThing(7))
	s.TakeCrossings(nil)
	s.Watch(nil)
	appendRow(t, s, 8, ms+9, decimal(temp, 1, 0), decimal(other, 1, 0))
	if got := taken(t, s); got != "" {
		t.Fatalf("nothing is watched: %s", got)
	}
}

// TestCrossingsAreNotLost: many writers and one who takes; at the end what was taken says where each thing is, and when there are
// too many crossings, that is said.
func TestCrossingsAreNotLost(t *testing.T) {
	opts := small(vfs.NewMem())
	opts.MemoryBytes, opts.LogBytes = 64<<20, 16<<20
	s := open(t, opts)
	m := metric(t, s, "temp")
	s.Watch([]tsdb.Threshold{{Metric: m, Bounds: []float64{10, 20}}})
	place := func(v float64) int {
		switch {
		case v < 10:
			return 0
		case v > 20:
			return 2
		}
		return 1
	}
	const writers, things, rows = 4, 50, 200
	known := map[tsdb.ThingID]int{}
	take := func() {
		list, lost := s.TakeCrossings(nil)
		if lost {
			t.Error("crossings were lost")
		}
		for _, c := range list {
			f, _ := s.Last(c.Thing, c.Metric)
			known[c.Thing] = place(f.Number)
		}
	}
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range rows {
				for thing := range things {
					v := rng.Int64N(30)
					if v == 10 || v == 20 {
						v++
					}
					if _, err := s.Append(tsdb.ThingID(w*things+thing), int64(i)*1000, []tsdb.Value{decimal(m, v, 0)}, nil); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writing.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-s.Crossed():
			take()
		case <-done:
			running = false
		}
	}
	take()
	for id := range tsdb.ThingID(writers * things) {
		if f, _ := s.Last(id, m); known[id] != place(f.Number) {
			t.Fatalf("thing %d is at %v, and was last known in %d", id, f.Number, known[id])
		}
	}

	for id := range tsdb.ThingID(32 * 4096 * 2) {
		if id%32 == 3 { // one shard
			appendRow(t, s, id, 1e6, decimal(m, 15, 0))
		}
	}
	list, lost := s.TakeCrossings(nil)
	if !lost || len(list) != 4096 {
		t.Fatalf("%d crossings, lost: %v; want 4096 and that some are lost", len(list), lost)
	}
	if list, lost = s.TakeCrossings(list[:0]); lost || len(list) > 0 {
		t.Fatalf("%d crossings, lost: %v after all were taken", len(list), lost)
	}
}

// TestCrossingsOfAnyForm: a crossing is what changes the answer of a comparison with a bound, whatever exponents and kinds the values have.
func TestCrossingsOfAnyForm(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	opts := small(vfs.NewMem())
	opts.MemoryBytes, opts.LogBytes = 64<<20, 16<<20
	s := open(t, opts)
	m := metric(t, s, "temp")
	for round := range 100 {
		bounds := make([]float64, 1+rng.IntN(4))
		for i := range bounds {
			bounds[i] = float64(rng.IntN(41)-20) / []float64{1, 2, 10, 3, 1e9}[rng.IntN(5)]
			if rng.IntN(30) == 0 {
				bounds[i] *= 1e300
			}
		}
		s.Watch([]tsdb.Threshold{{Metric: m, Bounds: bounds}})
		thing := tsdb.ThingID(round)
		before := math.Inf(1)
		for i := range 200 {
			exp := -rng.IntN(12)
			v := decimal(m, int64(math.Round((rng.Float64()*44-22)*math.Pow10(-exp))), int8(exp))
			switch rng.IntN(10) {
			case 0:
				v = tsdb.Value{Metric: m, Kind: tsdb.Bool, Mantissa: rng.Int64N(2)}
			case 1:
				v = tsdb.Value{Metric: m, Kind: tsdb.Float, Mantissa: int64(math.Float64bits(bounds[rng.IntN(len(bounds))]))}
			case 2, 3:
				v = decimal(m, int64(rng.IntN(41)-20), 0)
			case 4:
				v = decimal(m, int64(rng.IntN(41)-20)*5, -1)
			}
			appendRow(t, s, thing, int64(i)*1000, v)
			want := i == 0
			for _, b := range bounds {
				want = want || (before < b) != (v.Float() < b) || (before > b) != (v.Float() > b)
			}
			if list, _ := s.TakeCrossings(nil); (len(list) == 1) != want && i > 0 {
				t.Fatalf("%v to %v (%+v) with the bounds %v: crossing %v, want %v", before, v.Float(), v, bounds, list, want)
			}
			before = v.Float()
		}
	}
}

// TestCrossingsOfWanderingValues: values that wander through dense bounds, so that most stay where the one before was found, while the bounds
// are replaced now and then.
func TestCrossingsOfWanderingValues(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	opts := small(vfs.NewMem())
	opts.MemoryBytes, opts.LogBytes = 64<<20, 16<<20
	s := open(t, opts)
	m := metric(t, s, "temp")
	var at []int64 // bounds, in tenths
	tenths := [3]int64{}
	crossings := 0
	for i := range 20_000 {
		if i%500 == 0 {
			at = at[:0]
			var bounds []float64
			for range rng.IntN(60) {
				tenth := rng.Int64N(200) - 100
				at = append(at, tenth)
				bounds = append(bounds, float64(tenth)/10)
			}
			s.Watch([]tsdb.Threshold{{Metric: m, Bounds: bounds}})
		}
		thing := i % len(tenths)
		before := tenths[thing]
		now := before + rng.Int64N(9) - 4
		switch {
		case rng.IntN(100) == 0:
			now = rng.Int64N(200) - 100
		case i >= 10_000 && rng.IntN(200) == 0:
			now = []int64{math.MinInt64, math.MaxInt64}[rng.IntN(2)]
		case now < -100 || now > 100:
			now = 0
		}
		tenths[thing] = now
		appendRow(t, s, tsdb.ThingID(thing), int64(i)*1000, decimal(m, now, -1))
		want := i < len(tenths)
		for _, b := range at {
			want = want || (before < b) != (now < b) || (before > b) != (now > b)
		}
		list, _ := s.TakeCrossings(nil)
		if want != (len(list) == 1 && list[0] == (tsdb.Crossing{Thing: tsdb.ThingID(thing), Metric: m})) {
			t.Fatalf("row %d, %d to %d tenths with the bounds %v: crossings %v, want one: %v", i, before, now, at, list, want)
		}
		crossings += len(list)
	}
	if crossings < 2000 || crossings > 18_000 {
		t.Fatalf("%d crossings: the test tests little", crossings)
	}
}

func TestEachLast(t *testing.T) {
	s := open(t, small(vfs.NewMem()))
	m, other := metric(t, s, "temp"), metric(t, s, "other")
	appendRow(t, s, 1, 1000, decimal(m, 125, -1))
	appendRow(t, s, 1, 500, decimal(m, 99, 0))
	appendRow(t, s, 2, 1000, decimal(other, 1, 0))
	appendRow(t, s, 3, 1000, text(t, s, m, "x"))
	var set tsdb.LabelSet
	set.Add([]byte("job"), []byte("x"))
	source, err := s.Source(&set)
	must(t, err)
	appendRow(t, s, source, 1000, decimal(m, 1, 0))
	var got []string
	s.EachLast(m, func(id tsdb.ThingID, kind tsdb.Kind, v float64) { got = append(got, fmt.Sprint(id, kind, v)) })
	slices.Sort(got)
	if want := []string{"1 0 12.5", "3 3 0"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// TestWatchedAppendAllocatesNothing: nor does the crossing of bounds, once the list has grown.
func TestWatchedAppendAllocatesNothing(t *testing.T) {
	opts := small(vfs.NewMem())
	opts.MemoryBytes, opts.LogBytes, opts.LogFileBytes, opts.GroupWait = 64<<20, 64<<20, 8<<20, time.Hour
	s := open(t, opts)
	f := newFleet(t, s.Dict(), 16)
	watchHundred(s, f)
	var w counter
	n := 0
	var list []tsdb.Crossing
	one := func() {
		ms, values := f.row(n%16, n/16)
		if _, err := s.Append(tsdb.ThingID(n%16), ms, values, &w); err != nil {
			t.Fatal(err)
		}
		if n++; n%64 == 0 {
			list, _ = s.TakeCrossings(list[:0])
		}
	}
	for range 4000 {
		one()
	}
	if allocs := testing.AllocsPerRun(2000, one); allocs != 0 {
		t.Fatalf("%v allocations per row", allocs)
	}
}

// watchHundred sets the thresholds of a hundred groups over the columns of a fleet.
func watchHundred(s *tsdb.Store, f *fleet) {
	var list []tsdb.Threshold
	for i := range 100 {
		// temperature 20 to 30, voltage 230, power 400, speed: about where the values are.
		base := []float64{20, 225, 350, 0}[i%4]
		list = append(list, tsdb.Threshold{Metric: f.cols[[]int{0, 1, 2, 6}[i%4]], Bounds: []float64{base + float64(i)/4}})
	}
	s.Watch(list)
}

// BenchmarkAppendWatched: what a hundred groups over telemetry cost per row.
func BenchmarkAppendWatched(b *testing.B) {
	for _, groups := range []int{0, 100} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			opts := small(vfs.NewMem())
			opts.MemoryBytes, opts.LogBytes, opts.LogFileBytes = 512<<20, 512<<20, 64<<20
			opts.GroupWait = time.Second
			s := open(b, opts)
			const things = 1000
			f := newFleet(b, s.Dict(), things)
			if groups > 0 {
				watchHundred(s, f)
			}
			rows := make([]struct {
				ms     int64
				values [8]tsdb.Value
			}, 64*things)
			for i := range rows {
				ms, values := f.row(i%things, i/things)
				rows[i].ms = ms
				copy(rows[i].values[:], values)
			}
			b.ReportAllocs()
			n, crossed := 0, 0
			var list []tsdb.Crossing
			for b.Loop() {
				r := &rows[n%len(rows)]
				if _, err := s.Append(tsdb.ThingID(n%things), r.ms+int64(n/len(rows))*640_000, r.values[:], nil); err != nil {
					b.Fatal(err)
				}
				if n++; n%4096 == 0 {
					list, _ = s.TakeCrossings(list[:0])
					crossed += len(list)
				}
			}
			b.ReportMetric(float64(crossed)/float64(n), "crossings/row")
		})
	}
}
