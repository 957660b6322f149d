package tsdb

import (
	"cmp"
	"math"
	"slices"
)

// points collects the samples of one column from segments and runs, in the order in which later ones win.
//
// Where stepMs is not 0, of the samples up to firstMs, and of those between two steps after it, only the last is kept. That
// needs ascending times: where they do not ascend, disorder is set and the points are good for nothing.
type points struct {
	text            bool
	minMs, maxMs    int64
	firstMs, stepMs int64
	times           []int64
	numbers         []float64 // or
	ids             []int64   // of strings

	waits    bool  // a sample may yet be followed by another before the next step
	waiting  point // it
	edgeMs   int64 // the first step at or after it
	disorder bool

	// Of a block that lies in the range as a whole, only the smallest or the largest number is wanted.
	extreme extreme

	steps *stepGrid // takes all numbers instead, if not nil
	cost  ReadCost
}

type extreme uint8

const (
	everything extreme = iota
	smallest
	largest
)

// point is one sample as it is stored.
type point struct {
	timeMs   int64
	mantissa int64
	exp      int8
	kind     Kind
}

func (p *points) reset() {
	p.times, p.numbers, p.ids = p.times[:0], p.numbers[:0], p.ids[:0]
	p.waits, p.disorder, p.cost = false, false, ReadCost{}
	if p.steps != nil {
		p.steps.reset()
	}
}

// Thin keeps, of the samples between two steps, the last: the one that counts at the later step. It works in place and returns how many
// are left. Times ascend; steps are at firstMs + n*stepMs, n >= 0.
func Thin(times []int64, values []float64, firstMs, stepMs int64) int {
	if len(times) == 0 {
		return 0
	}
	left, edge := 0, stepAfter(times[0], firstMs, stepMs)
	for i, ms := range times {
		if i+1 < len(times) && times[i+1] <= edge {
			continue
		}
		times[left], values[left] = ms, values[i]
		left++
		if i+1 < len(times) {
			edge = stepAfter(times[i+1], firstMs, stepMs)
		}
	}
	return left
}

// stepOf returns the number of the first step at or after ms, counted from 0.
func stepOf(ms, firstMs, stepMs int64) int64 {
	if ms <= firstMs {
		return 0
	}
	return (ms - firstMs + stepMs - 1) / stepMs
}

// stepAfter returns the time of that step.
func stepAfter(ms, firstMs, stepMs int64) int64 { return firstMs + stepOf(ms, firstMs, stepMs)*stepMs }

// add takes the next sample, which lies in [minMs, maxMs].
func (p *points) add(x point) {
	if p.stepMs == 0 {
		p.push(x)
		return
	}
	if p.waits {
		if x.timeMs <= p.waiting.timeMs {
			p.disorder = true
		}
		if x.timeMs <= p.edgeMs {
			p.waiting = x
			return
		}
		p.push(p.waiting)
	}
	p.waits, p.waiting = true, x
	p.edgeMs = stepAfter(x.timeMs, p.firstMs, p.stepMs)
}

// flush adds the sample that waits: no other follows.
func (p *points) flush() {
	if p.waits {
		p.push(p.waiting)
		p.waits = false
	}
}

func (p *points) push(x point) {
	if p.steps != nil {
		p.steps.add(x)
		return
	}
	p.times = append(p.times, x.timeMs)
	if p.text {
		p.ids = append(p.ids, x.mantissa)
	} else {
		p.numbers = append(p.numbers, Value{Mantissa: x.mantissa, Exp: x.exp, Kind: x.kind}.Float())
	}
}

// addExtreme adds the smallest or largest number of a block by its summary, if that is what decoding would give. Of doubles, 0 and
// -0 are two numbers to us and one to PromQL.
func (p *points) addExtreme(b *block, m MetricID) bool {
	c := b.column(m, false)
	if c == nil {
		return true
	}
	s, ok := c.stats()
	if !ok || c.kind == Float {
		return false
	}
	v := s.min
	if p.extreme == largest {
		v = s.max
	}
	p.push(point{b.maxMs, int64(math.Float64bits(v)), 0, Float})
	return true
}

// all makes p collect all numbers, whatever their time.
func (p *points) all() {
	p.reset()
	p.minMs, p.maxMs = 0, math.MaxInt64
}

// addTexts adds the strings of a block.
func (p *points) addTexts(b *block, m MetricID, dec *blockDecoder) error {
	c := b.column(m, true)
	if c == nil {
		return nil
	}
	if err := dec.decodeTimes(b); err != nil {
		return err
	}
	if err := dec.decodeColumn(b, c); err != nil {
		return err
	}
	for j := range c.count {
		if ms := dec.times[dec.row(c, j)]; ms >= p.minMs && ms <= p.maxMs {
			p.add(point{ms, dec.cell(c, j), c.exp, c.kind})
		}
	}
	return nil
}

// settle makes the points ascending and unique in time; of those with one time the last added stays.
func (p *points) settle() {
	ascending := true
	for i := 1; i < len(p.times) && ascending; i++ {
		ascending = p.times[i-1] < p.times[i]
	}
	if ascending {
		return
	}
	perm := make([]int32, len(p.times))
	for i := range perm {
		perm[i] = int32(i)
	}
	slices.SortStableFunc(perm, func(a, b int32) int { return cmp.Compare(p.times[a], p.times[b]) })
	kept := perm[:0]
	for _, i := range perm {
		if n := len(kept); n > 0 && p.times[kept[n-1]] == p.times[i] {
			kept[n-1] = i
		} else {
			kept = append(kept, i)
		}
	}
	p.times = pick(p.times, kept)
	if p.text {
		p.ids = pick(p.ids, kept)
	} else {
		p.numbers = pick(p.numbers, kept)
	}
}

// pick puts a[order[i]] at a[i], in place.
func pick[T any](a []T, order []int32) []T {
	picked := make([]T, len(order))
	for i, j := range order {
		picked[i] = a[j]
	}
	return a[:copy(a, picked)]
}
