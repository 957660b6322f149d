package measure

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/tsdb"
	"muster/tsdb/vfs"
)

// Decoder hands the rows of a message's payload to add, whose values are good until it returns, and returns the first error.
type Decoder func(payload []byte, add func(timeMs int64, values []tsdb.Value) error) error

// hurried is the machine's clock, but for waits of a second and more: the keeper, which looks for segments to merge every 10 s, does so
// every 0.1 s, and a measurement need not wait for it.
type hurried struct{ vfs.SystemClock }

func (h hurried) After(d time.Duration) <-chan time.Time {
	if d >= time.Second {
		d /= 100
	}
	return h.SystemClock.After(d)
}

// told is the newest row that was acknowledged.
type told struct {
	upTo uint64
	err  error
}

// Durable implements tsdb.Waiter. It is read after Sync, which the same goroutine answers after it.
func (t *told) Durable(upTo uint64, err error) {
	t.upTo = max(t.upTo, upTo)
	if t.err == nil {
		t.err = err
	}
}

// loaded is what a load took.
type loaded struct {
	samples int
	durable time.Duration // CPU until all was on disk
	all     time.Duration // CPU until all was sealed and merged as well
	stats   tsdb.Stats    // after that
	written float64       // bytes: log and segments, merged ones each time
}

// load puts rounds of a fleet into a new store in dir, as messages or as JSON if decoder is not nil, and seals it.
func (m *measurement) load(ctx context.Context, dir string, newDecoder func(*tsdb.Dict) Decoder) (l loaded, err error) {
	set := metrics.NewSet()
	s, err := tsdb.Open(tsdb.Options{Dir: dir, Clock: hurried{}, Metrics: set})
	if err != nil {
		return l, err
	}
	defer func() {
		if closeErr := s.Close(); err == nil {
			err = closeErr
		}
	}()
	feed, err := newFeeder(s, newDecoder)
	if err != nil {
		return l, err
	}
	f := newFleet(0, m.devices, m.seed)
	began := processCPU()
	for range m.rows {
		if err := feed.send(ctx, f.round); err != nil {
			return l, err
		}
	}
	if err := feed.send(ctx, f.rest); err != nil {
		return l, err
	}
	if err := feed.sync(ctx); err != nil {
		return l, err
	}
	l.samples, l.durable = feed.rows*columns, processCPU()-began-feed.making
	if err := settle(ctx, s, set); err != nil {
		return l, err
	}
	l.all = processCPU() - began - feed.making
	l.stats = s.Stats()
	if l.stats.SegmentSamples != int64(l.samples) {
		return l, fmt.Errorf("%d samples are in segments, %d were sent", l.stats.SegmentSamples, l.samples)
	}
	l.written = set.GetOrCreateGauge("muster_tsdb_log_written_bytes_total", nil).Get() +
		float64(set.GetOrCreateCounter("muster_tsdb_segment_written_bytes_total").Get())
	return l, nil
}

// settle seals all rows and waits until there is nothing left to merge.
func settle(ctx context.Context, s *tsdb.Store, set *metrics.Set) error {
	if err := s.Seal(ctx); err != nil {
		return err
	}
	merges := set.GetOrCreateCounter("muster_tsdb_merges_total")
	for quiet, last := 0, merges.Get(); quiet < 5; {
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		quiet++
		if now := merges.Get(); now != last {
			quiet, last = 0, now
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// feeder appends messages to a store and keeps apart what making them costs.
type feeder struct {
	store    *tsdb.Store
	palette  palette
	decode   Decoder
	told     told
	last     uint64 // seq
	rows     int
	making   time.Duration // CPU of the load itself
	messages []message
	values   [][columns]tsdb.Value
	text     []byte
	ends     []int // of each payload in text
}

func newFeeder(s *tsdb.Store, newDecoder func(*tsdb.Dict) Decoder) (*feeder, error) {
	p, err := newPalette(s.Dict())
	f := &feeder{store: s, palette: p}
	if newDecoder != nil {
		f.decode = newDecoder(s.Dict())
	}
	return f, err
}

// send makes messages and appends them.
func (f *feeder) send(ctx context.Context, messages func([]message) []message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := threadCPU()
	f.messages = messages(f.messages[:0])
	f.values, f.text, f.ends = f.values[:0], f.text[:0], f.ends[:0]
	for i := range f.messages {
		if f.decode == nil {
			f.values = append(f.values, f.palette.row(&f.messages[i]))
			continue
		}
		f.text = appendJSON(f.text, &f.messages[i])
		f.ends = append(f.ends, len(f.text))
	}
	f.making += threadCPU() - began
	f.rows += len(f.messages)
	from := 0
	for i := range f.messages {
		thing := tsdb.ThingID(f.messages[i].device)
		var err error
		if f.decode == nil {
			f.last, err = f.store.Append(thing, f.messages[i].timeMs, f.values[i][:], &f.told)
		} else {
			err = f.decode(f.text[from:f.ends[i]], func(timeMs int64, values []tsdb.Value) (err error) {
				f.last, err = f.store.Append(thing, timeMs, values, &f.told)
				return err
			})
			from = f.ends[i]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sync waits until all rows are acknowledged.
func (f *feeder) sync(ctx context.Context) error {
	if err := f.store.Sync(ctx); err != nil {
		return err
	}
	if f.told.err != nil || f.told.upTo != f.last {
		return fmt.Errorf("row %d of %d is acknowledged: %w", f.told.upTo, f.last, f.told.err)
	}
	return nil
}

// startWithLog measures how long a store takes to open with nothing in segments and a log that is as full as it gets before it is
// sealed: of logSamples, or of logBytes.
func (m *measurement) startWithLog(ctx context.Context, dir string) (took time.Duration, st tsdb.Stats, err error) {
	opts := tsdb.Options{Dir: dir, MemoryBytes: 4 << 30, LogBytes: 4 << 30, LogSamples: 1 << 40}
	s, err := tsdb.Open(opts)
	if err != nil {
		return 0, st, err
	}
	feed, err := newFeeder(s, nil)
	f := newFleet(0, m.devices, m.seed)
	for err == nil && feed.rows*columns < logSamples && s.Stats().LogBytes < logBytes {
		err = feed.send(ctx, f.round)
	}
	st = s.Stats()
	if closeErr := s.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return 0, st, err
	}
	took, err = m.start(opts)
	return took, st, err
}

// start returns the median time that opening takes.
func (m *measurement) start(opts tsdb.Options) (time.Duration, error) {
	return m.median(func() (time.Duration, error) {
		began := time.Now()
		s, err := tsdb.Open(opts)
		took := time.Since(began)
		if err != nil {
			return 0, err
		}
		return took, s.Close()
	})
}

const (
	// scaleDevices is the fleet of the memory figure at a scale of 1: 800,000 series.
	scaleDevices = 100_000
	// scaleRounds is how many rows each of them has sent.
	scaleRounds = 10
)

// memory returns the resident bytes that each series of a large fleet adds to a store that has none.
func (m *measurement) memory(ctx context.Context, dir string) (perSeries float64, err error) {
	devices := int(float64(scaleDevices) * m.scale)
	f := newFleet(0, devices, m.seed)
	s, err := tsdb.Open(tsdb.Options{Dir: dir})
	if err != nil {
		return 0, err
	}
	defer func() {
		if closeErr := s.Close(); err == nil {
			err = closeErr
		}
	}()
	feed, err := newFeeder(s, nil)
	if err != nil {
		return 0, err
	}
	// What the harness holds, it holds before and after.
	feed.messages, feed.values = make([]message, 0, devices), make([][columns]tsdb.Value, 0, devices)
	clear(feed.messages[:devices])
	clear(feed.values[:devices])
	for i := range f.held {
		f.held[i] = make([]message, devices*latePerMille/1000/lateRounds*2)
		clear(f.held[i])
		f.held[i] = f.held[i][:0]
	}
	resident := func() (int64, error) {
		debug.FreeOSMemory()
		return residentBytes(os.Getpid())
	}
	before, err := resident()
	if err != nil {
		return 0, err
	}
	for range scaleRounds {
		if err := feed.send(ctx, f.round); err != nil {
			return 0, err
		}
	}
	if err := feed.sync(ctx); err != nil {
		return 0, err
	}
	after, err := resident()
	runtime.KeepAlive(f)
	runtime.KeepAlive(feed)
	return float64(after-before) / float64(devices) / columns, err
}

// folder makes a new folder of the run.
func (m *measurement) folder(name string) (string, error) {
	dir := filepath.Join(m.dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}
