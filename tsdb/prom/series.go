package prom

import (
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"muster/tsdb"
)

const (
	// windowSamples is what one read of the store aims at: 256 KB, and several blocks of 512-2,048 rows, so that a block
	// cut by a window's edge, which is decoded twice, stays the exception.
	windowSamples = 16384
	// The first window of an iterator, and the bounds of those after it. The store cannot say how many samples a range
	// holds, so windows start small and follow the density seen; a series that gets dense all at once costs one long window.
	firstWindowMs = 15 * 60 * 1000
	resetWindowMs = 6 * 3600 * 1000
	maxWindowMs   = 7 * 24 * 3600 * 1000
)

// series is one series of a selection: a number column of a thing or source, or one value of a string column.
// Its samples are read when an iterator asks for them, unless the selection needed only the last one.
type series struct {
	sel    *selection
	lset   labels.Labels
	text   string // of a string column: the value this series is 1 at
	metric tsdb.MetricID
	thing  tsdb.ThingID
	info   bool // a string column
	single bool // last is all there is to say
	last   sample
	also   *series // another one with the same labels
}

type sample struct {
	timeMs int64
	value  float64
}

// Labels implements storage.Series.
func (s *series) Labels() labels.Labels { return s.lset }

// Iterator implements storage.Series. An iterator of another series of this package is taken over with its buffers.
func (s *series) Iterator(it chunkenc.Iterator) chunkenc.Iterator {
	if s.also != nil {
		return s.merged()
	}
	si, ok := it.(*sampleIterator)
	if !ok {
		si = &sampleIterator{spanMs: firstWindowMs}
	}
	si.reset(s)
	return si
}

// sampleIterator walks the samples of one series in ascending time, a window at a time. Not for concurrent use.
type sampleIterator struct {
	floatsOnly
	s      *series
	times  []int64   // the decoded window
	values []float64 // as long as times
	pos    int       // index of the current sample, -1 before the first
	nextMs int64     // where the next window starts
	spanMs int64     // how long the next window is
	on     bool      // string columns: the value before nextMs is that of the series
	err    error

	rawFromMs int64 // of the first sample that is no stand-in
	numbers   tsdb.Samples
	filled    tsdb.Samples // numbers with what stands for buckets before them
	five      []tsdb.Bucket
	hours     []tsdb.Bucket
	buckets   tsdb.Buckets // that do for samples
	part      tsdb.Samples // between them
	texts     tsdb.StringSamples
	held      int // bytes of numbers and texts that the query's account knows of
	oneTime   [1]int64
	oneVal    [1]float64
}

func (it *sampleIterator) reset(s *series) {
	it.s, it.pos, it.on, it.err = s, -1, false, nil
	it.spanMs, it.rawFromMs = min(it.spanMs, resetWindowMs), math.MaxInt64
	if s.sel.extremes {
		it.spanMs = maxWindowMs // most of it is answered by headers, of whole blocks only
	}
	if s.sel.tierMs > 0 {
		it.spanMs = maxWindowMs
	}
	if s.single {
		it.oneTime[0], it.oneVal[0] = s.last.timeMs, s.last.value
		it.times, it.values = it.oneTime[:], it.oneVal[:]
		it.nextMs = math.MaxInt64
		return
	}
	it.times, it.values = nil, nil
	it.nextMs = s.sel.minMs
}

// Next implements chunkenc.Iterator.
func (it *sampleIterator) Next() chunkenc.ValueType {
	if it.pos+1 < len(it.times) {
		it.pos++
		return chunkenc.ValFloat
	}
	return it.load(it.nextMs)
}

// unixMs is a time in milliseconds. It has a name of its own because `go vet` takes any Seek(int64) for a wrong io.Seeker.
type unixMs = int64

// Seek implements chunkenc.Iterator.
func (it *sampleIterator) Seek(timeMs unixMs) chunkenc.ValueType {
	if it.pos >= 0 && it.pos < len(it.times) && it.times[it.pos] >= timeMs {
		return chunkenc.ValFloat
	}
	n := len(it.times)
	if n == 0 || it.times[n-1] < timeMs {
		return it.load(max(it.nextMs, timeMs))
	}
	// Steps of a range query are close together: look nearby before halving the rest.
	i := max(it.pos, 0)
	for near := min(i+8, n); i < near; i++ {
		if it.times[i] >= timeMs {
			it.pos = i
			return chunkenc.ValFloat
		}
	}
	at, _ := slices.BinarySearch(it.times[i:], timeMs)
	it.pos = i + at
	return chunkenc.ValFloat
}

// load decodes windows from fromMs on until one has a sample, and stands on its first.
func (it *sampleIterator) load(fromMs int64) chunkenc.ValueType {
	sel := it.s.sel
	it.times, it.values, it.pos = nil, nil, -1
	if it.err != nil || it.s.single {
		return chunkenc.ValNone
	}
	if fromMs > it.nextMs {
		it.on = false // what lies between is not read
	}
	for fromMs <= sel.maxMs {
		if it.err = sel.ctx.Err(); it.err != nil {
			return chunkenc.ValNone
		}
		toMs := min(fromMs+it.spanMs-1, sel.maxMs)
		if edge := toMs / tsdb.Tier1h * tsdb.Tier1h; sel.tierMs > 0 && toMs < sel.maxMs && edge > fromMs {
			toMs = edge // lest windows cut buckets
		}
		var n int
		if n, it.err = it.read(fromMs, toMs); it.err != nil {
			return chunkenc.ValNone
		}
		it.spanMs = nextSpan(it.spanMs, toMs-fromMs+1, n)
		fromMs = toMs + 1
		it.nextMs = fromMs
		if len(it.times) > 0 {
			it.pos = 0
			return chunkenc.ValFloat
		}
	}
	it.nextMs = fromMs
	return chunkenc.ValNone
}

// nextSpan returns the length of the window after one of tookMs that had n samples.
func nextSpan(spanMs, tookMs int64, n int) int64 {
	wider := min(8*spanMs, maxWindowMs)
	if n == 0 {
		return wider
	}
	return min(max(tookMs*windowSamples/int64(n), 1000), wider)
}

// read decodes [fromMs, toMs] into times and values, and returns how many samples the store had there.
func (it *sampleIterator) read(fromMs, toMs int64) (int, error) {
	s, q := it.s, it.s.sel.q
	var n int
	if s.info {
		if err := q.store.ReadStrings(&it.texts, s.thing, s.metric, fromMs, toMs); err != nil {
			return 0, q.readError(err, s)
		}
		n = len(it.texts.TimesMs)
		q.cost.read(n, tsdb.ReadCost{})
		it.mark()
		it.times, it.values = it.numbers.TimesMs, it.numbers.Values
		if s.sel.stepMs > 0 {
			left := tsdb.Thin(it.times, it.values, s.sel.firstMs, s.sel.stepMs)
			it.times, it.values = it.times[:left], it.values[:left]
		}
	} else {
		if s.sel.extremes {
			if err := q.store.ReadExtremes(&it.numbers, s.thing, s.metric, fromMs, toMs, s.sel.stand == standMax); err != nil {
				return 0, q.readError(err, s)
			}
			q.cost.read(len(it.numbers.TimesMs), it.numbers.Cost)
		} else if err := it.readSteps(fromMs, toMs); err != nil {
			return 0, q.readError(err, s)
		}
		it.times, it.values = it.numbers.TimesMs, it.numbers.Values
		if err := it.fill(fromMs, toMs); err != nil {
			return 0, err
		}
		n = len(it.times)
	}
	return n, it.account()
}

// mark makes numbers of texts: 1 while the value is that of the series; a staleness marker where another value takes its
// place, so that a new value shows at once and not beside the old one for the lookback time.
func (it *sampleIterator) mark() {
	times, values := it.numbers.TimesMs[:0], it.numbers.Values[:0]
	for i, text := range it.texts.Values {
		switch {
		case text == it.s.text:
			times, values = append(times, it.texts.TimesMs[i]), append(values, 1)
			it.on = true
		case it.on:
			times, values = append(times, it.texts.TimesMs[i]), append(values, staleNaN)
			it.on = false
		}
	}
	it.numbers.TimesMs, it.numbers.Values = times, values
}

// account tells the query how much the iterator's buffers have grown. The engine keeps one iterator per selector as a
// rule, but one per series inside timestamp().
func (it *sampleIterator) account() error {
	held := 8*cap(it.numbers.TimesMs) + 8*cap(it.numbers.Values) + 8*cap(it.texts.TimesMs) + 16*cap(it.texts.Values) +
		16*cap(it.filled.TimesMs) + 64*(cap(it.five)+cap(it.hours)+cap(it.buckets.List)) + 16*(cap(it.part.TimesMs)+cap(it.buckets.Raw))
	grown := held - it.held
	it.held = held
	return it.s.sel.q.hold(grown)
}

// At implements chunkenc.Iterator.
func (it *sampleIterator) At() (int64, float64) { return it.times[it.pos], it.values[it.pos] }

// AtT implements chunkenc.Iterator.
func (it *sampleIterator) AtT() int64 { return it.times[it.pos] }

// Err implements chunkenc.Iterator.
func (it *sampleIterator) Err() error { return it.err }

// floatsOnly is the part of chunkenc.Iterator that the iterators of this package have in common: their samples are no histograms, and
// have no start timestamps.
type floatsOnly struct{}

// AtST implements chunkenc.Iterator.
func (floatsOnly) AtST() int64 { return 0 }

// AtHistogram implements chunkenc.Iterator.
func (floatsOnly) AtHistogram(*histogram.Histogram) (int64, *histogram.Histogram) {
	panic("BUG: AtHistogram on a float series")
}

// AtFloatHistogram implements chunkenc.Iterator.
func (floatsOnly) AtFloatHistogram(*histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	panic("BUG: AtFloatHistogram on a float series")
}
