package tsdb

import (
	"math"
	"slices"
)

// StepSamples are, for steps firstMs + i*stepMs, the last samples of one series at or before each. The caller reuses it.
type StepSamples struct {
	TimesMs    []int64 // -1 where there is none
	Values     []float64
	EarliestMs int64 // of all samples in the range that was read; math.MaxInt64 without
	Cost       ReadCost
}

// ReadLastAt fills dst with the last number at or before each of steps steps, of those at minMs or later; firstMs and stepMs say where
// the steps are, stepMs is at least 1. It takes them from decoded columns where they are, and looks at few of the others. Errors and
// damage are as with Read.
func (s *Store) ReadLastAt(dst *StepSamples, thing ThingID, m MetricID, minMs, firstMs, stepMs int64, steps int) error {
	dst.TimesMs, dst.Values = slices.Grow(dst.TimesMs[:0], steps)[:steps], slices.Grow(dst.Values[:0], steps)[:steps]
	grid := stepGrid{firstMs: firstMs, stepMs: stepMs, timesMs: dst.TimesMs, values: dst.Values}
	sc := s.scratches.Get().(*scratch)
	defer s.scratches.Put(sc)
	p := &sc.steps
	*p = points{minMs: minMs, maxMs: firstMs + int64(steps-1)*stepMs, steps: &grid}
	err := s.collect(p, sc, thing, m)
	p.steps = nil
	grid.carry()
	dst.EarliestMs, dst.Cost = grid.earliestMs, p.cost
	return err
}

// stepGrid takes samples in any order and keeps of those between two steps the last; of two at one time, the one that came later.
type stepGrid struct {
	firstMs, stepMs int64
	timesMs         []int64 // of the sample that is kept for each step; -1 without
	values          []float64
	earliestMs      int64
}

func (g *stepGrid) reset() {
	for i := range g.timesMs {
		g.timesMs[i] = -1
	}
	g.earliestMs = math.MaxInt64
}

// stepOf returns the first step at or after ms.
func (g *stepGrid) stepOf(ms int64) int { return int(stepOf(ms, g.firstMs, g.stepMs)) }

// add takes a sample that is not later than the last step.
func (g *stepGrid) add(x point) {
	g.earliestMs = min(g.earliestMs, x.timeMs)
	if i := g.stepOf(x.timeMs); x.timeMs >= g.timesMs[i] {
		g.timesMs[i], g.values[i] = x.timeMs, Value{Mantissa: x.mantissa, Exp: x.exp, Kind: x.kind}.Float()
	}
}

// addDecoded takes samples from to to-1 of d, which ascend. Of samples at a regular interval it looks at two for each step.
func (g *stepGrid) addDecoded(d *decodedColumn, from, to int) {
	if from >= to {
		return
	}
	divisor := 0.0 // as decimalFloat has it, where it divides
	if !d.doubles && d.exp <= 0 {
		divisor = exactPowers[-d.exp]
	}
	ms := d.timeMs(from)
	g.earliestMs = min(g.earliestMs, ms)
	each := 1 // samples of the step before
	step := g.stepOf(ms)
	edge := g.firstMs + int64(step)*g.stepMs
	for i := from; ; {
		last := min(i+each, to) - 1
		ms = d.timeMs(last)
		for last > i && ms > edge {
			last--
			ms = d.timeMs(last)
		}
		next := int64(math.MaxInt64)
		for last+1 < to {
			if next = d.timeMs(last + 1); next > edge {
				break
			}
			last, ms = last+1, next
		}
		if ms >= g.timesMs[step] {
			v := 0.0
			if divisor > 0 {
				v = float64(d.numbers.at(last)) / divisor
			} else {
				v = d.number(last)
			}
			g.timesMs[step], g.values[step] = ms, v
		}
		each, i = last+1-i, last+1
		if i >= to {
			return
		}
		step, edge = step+1, edge+g.stepMs
		if next > edge { // a division is dear, and seldom needed
			step = g.stepOf(next)
			edge = g.firstMs + int64(step)*g.stepMs
		}
	}
}

// addRows takes samples at times, which ascend: the numbers of c, from number from on, that dec has decoded.
func (g *stepGrid) addRows(times []int64, dec *blockDecoder, c *blockColumn, from int) {
	if len(times) == 0 {
		return
	}
	g.earliestMs = min(g.earliestMs, times[0])
	for i := 0; i < len(times); {
		step := g.stepOf(times[i])
		edge := g.firstMs + int64(step)*g.stepMs
		for i++; i < len(times) && times[i] <= edge; i++ {
		}
		if ms := times[i-1]; ms >= g.timesMs[step] {
			g.timesMs[step], g.values[step] = ms, dec.number(c, from+i-1)
		}
	}
}

// carry lets a sample count at the steps after its own as well, until there is a later one.
func (g *stepGrid) carry() {
	for i := 1; i < len(g.timesMs); i++ {
		if g.timesMs[i] < g.timesMs[i-1] {
			g.timesMs[i], g.values[i] = g.timesMs[i-1], g.values[i-1]
		}
	}
}

// addOpenRun appends sections from to to-1 of sc.sections, those of t's open run, to sc.runs: as decoded columns as far as they are
// known, so that a dashboard that asks again copies only the bytes that are new. The caller holds the shard's lock.
func (s *Store) addOpenRun(sc *scratch, p *points, t *thing, thing ThingID, m MetricID, from, to int) {
	o := &t.open
	owner := runOwner(thing, t.runs)
	for ; from < to && !p.text; from++ {
		rows := min(o.rows-from*sectionRows, sectionRows)
		d := s.cache.get(columnID{owner, uint32(from), m})
		if d == nil || int(d.endRow) != rows {
			break
		}
		sc.runs = append(sc.runs, runPart{known: d, sections: sc.sections[from : from+1]})
	}
	if from == to {
		return
	}
	sc.bytes = o.appendOpen(sc.bytes[:0], int(sc.sections[from].offset))
	sc.runs = append(sc.runs, runPart{
		owner: owner, first: from, data: sc.bytes, sections: sc.sections[from:to],
		rows: o.rows - from*sectionRows, metrics: t.metrics[:len(t.metrics):len(t.metrics)],
	})
}
