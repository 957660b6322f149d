package registry_test

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/bits-and-blooms/bitset"

	"muster/registry/query"
)

// liveFake is telemetry in memory, slow and plain. It implements registry.LiveTelemetry.
type liveFake struct {
	mu       sync.Mutex
	samples  map[string]map[uint32][]fakeSample
	watched  []query.Threshold
	crossed  chan struct{}
	waiting  map[crossing]bool
	lostNext bool // the next crossings are lost
	lost     bool
	watches  int
}

type fakeSample struct {
	ms    int64
	value float64
}

type crossing struct {
	id     uint32
	metric string
}

func newLiveFake() *liveFake {
	return &liveFake{samples: map[string]map[uint32][]fakeSample{}, crossed: make(chan struct{}, 1), waiting: map[crossing]bool{}}
}

func place(bounds []float64, v float64) (n int) {
	for _, b := range bounds {
		if v > b {
			n += 2
		}
		if v == b {
			n++
		}
	}
	return n
}

// put adds a sample, newer than all before.
func (f *liveFake) put(metric string, id uint32, ms int64, value float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.samples[metric] == nil {
		f.samples[metric] = map[uint32][]fakeSample{}
	}
	before := f.samples[metric][id]
	f.samples[metric][id] = append(before, fakeSample{ms, value})
	for _, t := range f.watched {
		if t.Metric == metric && (t.Any || t.Func != query.LastValue || len(before) == 0 ||
			place(t.Bounds, before[len(before)-1].value) != place(t.Bounds, value)) {
			if f.lost = f.lost || f.lostNext; !f.lostNext {
				f.waiting[crossing{id, metric}] = true
			}
			select {
			case f.crossed <- struct{}{}:
			default:
			}
		}
	}
}

func (f *liveFake) Compare(ctx context.Context, c query.Column, nowMs int64, op query.Op, operand float64, dst *bitset.BitSet) error {
	f.mu.Lock()
	ids := slices.Collect(maps.Keys(f.samples[c.Metric]))
	f.mu.Unlock()
	for _, id := range ids {
		value, ok := f.Last(c.Metric, id)
		if c.Func != query.LastValue {
			value, ok, _, _ = f.Window(c, nowMs, id)
		}
		if ok && op.Holds(value, operand) {
			dst.Set(uint(id))
		}
	}
	return ctx.Err()
}

func (f *liveFake) Last(metric string, id uint32) (float64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.samples[metric][id]
	if len(list) == 0 {
		return 0, false
	}
	return list[len(list)-1].value, true
}

func (f *liveFake) Window(c query.Column, nowMs int64, id uint32) (value float64, ok bool, firstMs int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var times []int64
	var values []float64
	all := f.samples[c.Metric][id]
	for _, s := range all {
		if s.ms > nowMs-c.Over.Milliseconds() && s.ms <= nowMs {
			times, values = append(times, s.ms), append(values, s.value)
		}
	}
	if len(times) > 0 {
		firstMs = times[0]
	}
	value, ok = c.Func.Of(times, values, len(all) > 0)
	return value, ok, firstMs, nil
}

func (f *liveFake) Samples(metric string, id uint32, fromMs, toMs int64, visit func([]int64, []float64)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var times []int64
	var values []float64
	for _, s := range f.samples[metric][id] {
		if s.ms >= fromMs && s.ms <= toMs {
			times, values = append(times, s.ms), append(values, s.value)
		}
	}
	visit(times, values)
	return nil
}

func (f *liveFake) EachWith(metric string, visit func(uint32)) {
	f.mu.Lock()
	ids := slices.Collect(maps.Keys(f.samples[metric]))
	f.mu.Unlock()
	for _, id := range ids {
		visit(id)
	}
}

func (f *liveFake) Watch(list []query.Threshold) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watched = list
	f.watches++
}

func (f *liveFake) Crossed() <-chan struct{} { return f.crossed }

func (f *liveFake) TakeCrossings(visit func(uint32, string)) (lost bool) {
	f.mu.Lock()
	waiting := f.waiting
	f.waiting, lost, f.lost = map[crossing]bool{}, f.lost, false
	f.mu.Unlock()
	for c := range waiting {
		visit(c.id, c.metric)
	}
	return lost
}
