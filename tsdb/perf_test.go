package tsdb_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// fleet makes rows as a fleet sends them: every 10 s with up to 50 ms of jitter, gauges of limited decimals that wander, a counter, GPS and a
// state.
type fleet struct {
	rng    *rand.Rand
	cols   [8]tsdb.MetricID
	state  []([8]int64)
	values [8]tsdb.Value
}

func newFleet(t testing.TB, d *tsdb.Dict, things int) *fleet {
	f := &fleet{rng: rand.New(rand.NewPCG(7, 7)), state: make([][8]int64, things)}
	for i, name := range []string{"temperature_c", "voltage_v", "power_w", "energy_wh", "lat", "lon", "speed_kmh", "on"} {
		m, err := d.Metric([]byte(name))
		must(t, err)
		f.cols[i] = m
	}
	for i := range f.state {
		f.state[i] = [8]int64{200 + f.rng.Int64N(100), 2300, 400, f.rng.Int64N(1e6), 48_137_154, 11_576_124, 0, 1}
	}
	return f
}

// row returns the values of thing i in round n, good until the next call, and its time.
func (f *fleet) row(i, n int) (int64, []tsdb.Value) {
	s, walk := &f.state[i], func(steps int64) int64 { return f.rng.Int64N(2*steps+1) - steps }
	r := f.rng.Uint64()
	if r%4 == 0 {
		s[0] += walk(1)
	}
	s[1] += walk(2)
	if r>>8%3 == 0 {
		s[2] += walk(5)
	}
	s[3] += s[2] / 100
	if i%2 == 0 { // half of them move
		s[6] = max(0, s[6]+walk(3))
		s[4], s[5] = s[4]+s[6]/4+walk(3), s[5]+s[6]/3+walk(3)
	}
	if r>>16%200 == 0 {
		s[7] = 1 - s[7]
	}
	for c := range f.values {
		f.values[c] = tsdb.Value{Metric: f.cols[c], Mantissa: s[c], Exp: [8]int8{-1, -1, 0, 0, -6, -6, 0, 0}[c]}
	}
	f.values[7].Kind = tsdb.Bool
	return 1_700_000_000_000 + int64(n)*10_000 + int64(i)*37%10_000 + walk(50), f.values[:]
}

type counter struct{ n atomic.Int64 }

func (c *counter) Durable(uint64, error) { c.n.Add(1) }

// The hot path allocates nothing once a thing has been seen.
func TestAppendAllocatesNothing(t *testing.T) {
	opts := small(vfs.NewMem())
	opts.MemoryBytes, opts.LogBytes, opts.LogFileBytes, opts.GroupWait = 64<<20, 64<<20, 8<<20, time.Hour
	s := open(t, opts)
	f := newFleet(t, s.Dict(), 16)
	var w counter
	n := 0
	one := func() {
		ms, values := f.row(n%16, n/16)
		if _, err := s.Append(tsdb.ThingID(n%16), ms, values, &w); err != nil {
			t.Fatal(err)
		}
		n++
	}
	for range 4000 {
		one()
	}
	if allocs := testing.AllocsPerRun(2000, one); allocs != 0 {
		t.Fatalf("%v allocations per row", allocs)
	}
}

// Many writers, readers, sealing and merging at once: every reader sees whole, ascending series that only grow.
func TestConcurrent(t *testing.T) {
	fsys := vfs.NewMem()
	opts := small(fsys)
	opts.GroupWait = 100 * time.Microsecond
	s := open(t, opts)
	m := metric(t, s, "power_w")
	const writers, rows = 4, 3000
	var w counter
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for g := range writers {
		writing.Go(func() {
			for i := range rows {
				if _, err := s.Append(tsdb.ThingID(g), int64(i)*40_000, []tsdb.Value{decimal(m, int64(i), 0)}, &w); err != nil {
					t.Error(err)
					return
				}
			}
		})
		reading.Go(func() {
			var got tsdb.Samples
			before := 0
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := s.Read(&got, tsdb.ThingID(g), m, 0, math.MaxInt64); err != nil {
					t.Error(err)
					return
				}
				if len(got.Values) < before {
					t.Errorf("%d rows after %d", len(got.Values), before)
					return
				}
				before = len(got.Values)
				for i, v := range got.Values {
					if v != float64(i) || got.TimesMs[i] != int64(i)*40_000 {
						t.Errorf("row %d of %d is %v at %d", i, before, v, got.TimesMs[i])
						return
					}
				}
				s.Twin(nil, tsdb.ThingID(g))
				s.ThingsWith(nil, m, 0, math.MaxInt64)
				s.Stats()
			}
		})
	}
	reading.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			var err error
			if i%2 == 0 {
				err = s.Seal(context.Background())
			} else {
				err = tsdb.Compact(s)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	writing.Wait()
	must(t, s.Sync(context.Background()))
	close(done)
	reading.Wait()
	if n := w.n.Load(); n != writers*rows {
		t.Fatalf("%d rows acknowledged", n)
	}
}

// A start with a full log has all of its samples back, and where there are more than may be, sealing begins. How long it takes for 32 million
// says `muster bench tsdb`.
func TestStartWithFullLog(t *testing.T) {
	opts := tsdb.Options{Dir: t.TempDir(), MemoryBytes: 1 << 30, LogSamples: 16_000_000 / raceFactor}
	s := open(t, opts)
	f := newFleet(t, s.Dict(), 500)
	samples := int64(0)
	for n := 0; samples < opts.LogSamples*9/10; n++ {
		for i := range 500 {
			ms, values := f.row(i, n)
			_, err := s.Append(tsdb.ThingID(i), ms, values, nil)
			must(t, err)
			samples += int64(len(values))
		}
	}
	must(t, s.Close())
	began := cpuTime(t)
	s = open(t, opts)
	took := cpuTime(t) - began
	if got := s.Stats(); got.Samples != samples || got.SegmentSamples != 0 {
		t.Fatalf("%+v, want %d samples", got, samples)
	}
	t.Logf("%d samples in %d bytes of log are back after %v of CPU time", samples, s.Stats().LogBytes, took)
	for ; samples < opts.LogSamples; samples += 8 {
		ms, values := f.row(0, int(samples))
		_, err := s.Append(0, ms, values, nil)
		must(t, err)
	}
	until(t, "sealing", func() bool { return s.Stats().SegmentSamples > 0 })
}

// cpuTime is what the process has used: other than wall time it does not depend on who else uses the machine.
func cpuTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Jittered fleet data takes less than the 0.60 bytes per sample that are the goal.
func TestSealedBytes(t *testing.T) {
	s := open(t, tsdb.Options{Dir: "data", FS: vfs.NewMem(), MemoryBytes: 1 << 30, LogBytes: 1 << 30})
	bytes := sealFleet(t, s, 10, 2048)
	if bytes > 0.6 {
		t.Fatalf("%.3f bytes per sample", bytes)
	}
}

// What a series costs in memory when its thing has sent a few rows since the last sealing.
func TestMemoryPerSeries(t *testing.T) {
	const things = 50_000 // buffers of the log, a few megabytes after a flood, are little beside them
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	dir := t.TempDir()
	before := heap()
	s := open(t, tsdb.Options{Dir: dir})
	f := newFleet(t, s.Dict(), things)
	for n := range 10 {
		for i := range things {
			ms, values := f.row(i, n)
			_, err := s.Append(tsdb.ThingID(i), ms, values, nil)
			must(t, err)
		}
	}
	for range 2 { // after a flood the log gives its buffers back
		ms, values := f.row(0, 10)
		_, err := s.Append(0, ms, values, nil)
		must(t, err)
		must(t, s.Sync(context.Background()))
	}
	each := float64(heap()-before-int64(things*64)) / (things * 8) // 64: the test's own state of a thing
	t.Logf("%.0f bytes per series", each)
	if each > 150 {
		t.Fatalf("%.0f bytes per series", each)
	}
}

// sealFleet stores rounds rows of things devices and returns the bytes per sample in segments.
func sealFleet(t testing.TB, s *tsdb.Store, things, rounds int) float64 {
	f := newFleet(t, s.Dict(), things)
	for n := range rounds {
		for i := range things {
			ms, values := f.row(i, n)
			_, err := s.Append(tsdb.ThingID(i), ms, values, nil)
			must(t, err)
		}
	}
	must(t, s.Seal(context.Background()))
	st := s.Stats()
	if st.SegmentSamples != int64(things*rounds*8) {
		t.Fatalf("%d samples in segments", st.SegmentSamples)
	}
	return float64(st.SegmentBytes) / float64(st.SegmentSamples)
}

func BenchmarkAppend(b *testing.B) {
	for _, things := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("things=%d", things), func(b *testing.B) {
			s := open(b, tsdb.Options{Dir: b.TempDir()})
			f := newFleet(b, s.Dict(), things)
			rows := make([][8]tsdb.Value, 64*things)
			times := make([]int64, len(rows))
			for i := range rows {
				ms, values := f.row(i%things, i/things)
				times[i] = ms
				copy(rows[i][:], values)
			}
			var w counter
			n := 0
			b.ReportAllocs()
			began := cpuTime(b)
			for b.Loop() {
				i := n % len(rows)
				later := int64(n/len(rows)) * 64 * 10_000
				if _, err := s.Append(tsdb.ThingID(i%things), times[i]+later, rows[i][:], &w); err != nil {
					b.Fatal(err)
				}
				n++
			}
			must(b, s.Sync(context.Background()))
			if w.n.Load() != int64(n) {
				b.Fatalf("%d of %d rows acknowledged", w.n.Load(), n)
			}
			b.ReportMetric(float64(n)*8/b.Elapsed().Seconds(), "samples/s")
			b.ReportMetric(float64(cpuTime(b)-began)/float64(n)/8, "cpu-ns/sample")
		})
	}
}

func BenchmarkSealedBytesPerSample(b *testing.B) {
	for _, rounds := range []int{512, 2048, 8192} {
		b.Run(fmt.Sprintf("rows=%d", rounds), func(b *testing.B) {
			var bytes float64
			for b.Loop() {
				s := open(b, tsdb.Options{Dir: "data", FS: vfs.NewMem(), MemoryBytes: 1 << 30, LogBytes: 1 << 30})
				bytes = sealFleet(b, s, 20, rounds)
				must(b, s.Close())
			}
			b.ReportMetric(bytes, "bytes/sample")
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N*20*rounds*8), "ns/sample")
		})
	}
}

func BenchmarkLast(b *testing.B) {
	s := open(b, tsdb.Options{Dir: "data", FS: vfs.NewMem()})
	sealFleet(b, s, 1000, 10)
	m, _ := s.Dict().LookupMetric("power_w")
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if f, ok := s.Last(tsdb.ThingID(n%1000), m); !ok || f.Number == 0 {
			b.Fatal(f)
		}
		n++
	}
}

func BenchmarkRead(b *testing.B) {
	for _, where := range []string{"memory", "segments"} {
		b.Run(where, func(b *testing.B) {
			s := open(b, tsdb.Options{Dir: b.TempDir(), MemoryBytes: 1 << 30, LogBytes: 1 << 30})
			f := newFleet(b, s.Dict(), 50)
			for n := range 2000 {
				for i := range 50 {
					ms, values := f.row(i, n)
					_, err := s.Append(tsdb.ThingID(i), ms, values, nil)
					must(b, err)
				}
			}
			if where == "segments" {
				must(b, s.Seal(context.Background()))
			}
			m, _ := s.Dict().LookupMetric("power_w")
			var got tsdb.Samples
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				must(b, s.Read(&got, tsdb.ThingID(n%50), m, 0, math.MaxInt64))
				if len(got.Values) != 2000 {
					b.Fatalf("%d samples", len(got.Values))
				}
				n++
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(n)/2000, "ns/sample")
		})
	}
}

// BenchmarkWritten counts all bytes that go to the disk for a sample that is kept: log, sealing and merging.
func BenchmarkWritten(b *testing.B) {
	var logged, sealed, kept float64
	for b.Loop() {
		set := metrics.NewSet()
		s := open(b, tsdb.Options{Dir: "data", FS: vfs.NewMem(), Metrics: set, MemoryBytes: 4 << 20, LogBytes: 64 << 20})
		f := newFleet(b, s.Dict(), 1000)
		for n := range 1000 {
			for i := range 1000 {
				ms, values := f.row(i, n)
				_, err := s.Append(tsdb.ThingID(i), ms, values, nil)
				must(b, err)
			}
		}
		must(b, s.Seal(context.Background()))
		for before := -1; before != s.Stats().Segments; {
			before = s.Stats().Segments
			must(b, tsdb.Compact(s))
		}
		st := s.Stats()
		samples := float64(st.SamplesAppended)
		logged = metricValue(b, set, "muster_tsdb_log_written_bytes_total") / samples
		sealed = metricValue(b, set, "muster_tsdb_segment_written_bytes_total") / samples
		kept = float64(st.SegmentBytes) / samples
		b.ReportMetric(float64(st.Segments), "segments")
		must(b, s.Close())
	}
	b.ReportMetric(logged, "log-B/sample")
	b.ReportMetric(sealed, "segment-B/sample")
	b.ReportMetric(logged+sealed, "written-B/sample")
	b.ReportMetric(kept, "kept-B/sample")
}

// metricValue reads one number as it is exposed.
func metricValue(t testing.TB, set *metrics.Set, name string) float64 {
	t.Helper()
	var text bytes.Buffer
	set.WritePrometheus(&text)
	for line := range strings.Lines(text.String()) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			must(t, err)
			return v
		}
	}
	t.Fatalf("no %s in %s", name, text.String())
	return 0
}
