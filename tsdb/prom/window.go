package prom

import (
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"muster/tsdb"
)

// windowSource gives the samples of a series in slices.
type windowSource struct {
	numbers sampleIterator
	merged  chunkenc.Iterator // of a series that was sent under the labels of another; else nil
	times   []int64           // not yet taken
	values  []float64
	oneTime [1]int64
	oneVal  [1]float64
	ended   bool
}

func (w *windowSource) reset(s *series) {
	w.times, w.values, w.ended, w.merged = nil, nil, false, nil
	if s.also != nil {
		w.merged = s.merged()
		return
	}
	if w.numbers.spanMs == 0 {
		w.numbers.spanMs = firstWindowMs
	}
	w.numbers.reset(s)
	if s.single {
		w.times, w.values = w.numbers.times, w.numbers.values
	}
}

// peek returns the next samples, none at the end. Those before fromMs may be left out.
func (w *windowSource) peek(fromMs int64) (times []int64, values []float64) {
	for len(w.times) == 0 && !w.ended {
		if w.merged != nil {
			if w.ended = w.merged.Next() == chunkenc.ValNone; !w.ended {
				w.oneTime[0], w.oneVal[0] = w.merged.At()
				w.times, w.values = w.oneTime[:], w.oneVal[:]
			}
			continue
		}
		it := &w.numbers
		if w.ended = it.load(max(it.nextMs, min(fromMs, tsdb.MaxTimeMs))) == chunkenc.ValNone; !w.ended {
			w.times, w.values = it.times, it.values
		}
	}
	return w.times, w.values
}

// skip takes the first n samples.
func (w *windowSource) skip(n int) { w.times, w.values = w.times[n:], w.values[n:] }

// done says that no sample is left.
func (w *windowSource) done() bool { return w.ended && len(w.times) == 0 }

func (w *windowSource) err() error {
	if w.merged != nil {
		return w.merged.Err()
	}
	return w.numbers.err
}
