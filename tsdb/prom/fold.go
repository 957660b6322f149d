package prom

import (
	"math"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/kahansum"
)

// maxCells is how many numbers are added up at a time, of 40 bytes each: groups times steps. What needs more goes over its groups in parts.
const maxCells = 1 << 17

// staleNaN stands for no sample.
var staleNaN = math.Float64frombits(value.StaleNaN)

// fold evaluates sum, avg, min, max, count, group, stddev and stdvar.
func (a *aggregation) fold() error {
	groups := len(a.first)
	each := min(max(a.q.maxCells/a.n, 1), groups)
	if err := a.q.hold(cellBytes*each*a.n + 8*len(a.groupOf)); err != nil {
		return err
	}
	defer func() { _ = a.q.hold(-cellBytes * each * a.n) }()
	cells := make([]cell, each*a.n)
	members := a.byGroup(each)
	appears := make([]int32, groups) // the first series of the group that has a sample, counted from 1
	made := make([][]float64, groups)
	for from := 0; from < groups; from += each {
		to := min(from+each, groups)
		clear(cells)
		err := a.inOrder(members(from, to), func(i int32, row []float64) error {
			g := a.groupOf[i]
			found := foldRow(a.p.op, cells[(int(g)-from)*a.n:][:a.n], row)
			if found > 0 && appears[g] == 0 {
				appears[g] = i + 1
			}
			return a.took(found)
		})
		if err != nil {
			return err
		}
		for g := from; g < to; g++ {
			if appears[g] == 0 {
				continue
			}
			if err := a.q.hold(8 * a.n); err != nil {
				return err
			}
			made[g] = make([]float64, a.n)
			for i := range made[g] {
				made[g][i] = cells[(g-from)*a.n+i].result(a.p.op)
			}
		}
	}
	// Groups are numbered by their first series; mostly these have samples, and that is the order.
	order := make([]int32, len(a.groupOf)+1)
	for g, i := range appears {
		order[i] = int32(g) + 1
	}
	for _, g := range order[1:] {
		if g > 0 {
			a.results = append(a.results, aggregateSeries{steps: a.p.stepRange, lset: a.groupLabels(int(g) - 1), values: made[g-1]})
		}
	}
	return nil
}

// byGroup returns what gives the series of groups from to to-1, those of each group ascending. Where each is all groups, the order is
// that of the series.
func (a *aggregation) byGroup(each int) func(from, to int) []int32 {
	order, start := make([]int32, len(a.groupOf)), make([]int32, len(a.first)+1)
	if each == len(a.first) {
		for i := range order {
			order[i] = int32(i)
		}
		return func(int, int) []int32 { return order }
	}
	for _, g := range a.groupOf {
		start[g+1]++
	}
	for g := range a.first {
		start[g+1] += start[g]
	}
	next := append([]int32(nil), start...)
	for i, g := range a.groupOf {
		order[next[g]] = int32(i)
		next[g]++
	}
	return func(from, to int) []int32 { return order[start[from]:start[to]] }
}

// cell is what the samples of one group at one step amount to so far. Its arithmetic is that of the engine's evaluator.aggregation.
type cell struct {
	value       float64
	mean        float64
	lost        float64 // of value or mean, by Kahan and Neumaier
	count       float64
	seen        bool
	incremental bool // the sum would overflow: mean counts
}

const cellBytes = 40

// foldRow takes the number of one series at each step into the cells, and returns how many there are.
func foldRow(op parser.ItemType, cells []cell, row []float64) (found int) {
	cells = cells[:len(row)]
	for i, f := range row {
		if value.IsStaleNaN(f) {
			continue
		}
		found++
		c := &cells[i]
		if !c.seen {
			c.begin(op, f)
			continue
		}
		switch op {
		case parser.SUM:
			c.value, c.lost = kahansum.Inc(f, c.value, c.lost)
		case parser.AVG:
			c.average(f)
		case parser.MAX:
			if c.value < f || math.IsNaN(c.value) {
				c.value = f
			}
		case parser.MIN:
			if c.value > f || math.IsNaN(c.value) {
				c.value = f
			}
		case parser.COUNT:
			c.count++
		case parser.STDDEV, parser.STDVAR:
			c.count++
			delta := f - c.mean
			c.mean += delta / c.count
			c.value += delta * (f - c.mean)
		}
	}
	return found
}

// begin takes the first number.
func (c *cell) begin(op parser.ItemType, f float64) {
	*c = cell{value: f, mean: f, count: 1, seen: true}
	switch op {
	case parser.GROUP:
		c.value = 1
	case parser.STDDEV, parser.STDVAR:
		if c.value = 0; math.IsNaN(f) || math.IsInf(f, 0) {
			c.value = math.NaN()
		}
	}
}

// average takes another number of a mean: as part of the sum, or once that overflows, of the mean so far.
func (c *cell) average(f float64) {
	c.count++
	if !c.incremental {
		sum, lost := kahansum.Inc(f, c.value, c.lost)
		if !math.IsInf(sum, 0) {
			c.value, c.lost = sum, lost
			return
		}
		c.incremental = true
		c.mean = c.value / (c.count - 1)
		c.lost /= c.count - 1
	}
	part := (c.count - 1) / c.count
	c.mean, c.lost = kahansum.Inc(f/c.count, part*c.mean, part*c.lost)
}

// result returns the aggregate, a staleness marker if there was no number.
func (c *cell) result(op parser.ItemType) float64 {
	if !c.seen {
		return staleNaN
	}
	switch op {
	case parser.SUM:
		return c.value + c.lost
	case parser.AVG:
		if c.incremental {
			return c.mean + c.lost
		}
		return c.value/c.count + c.lost/c.count
	case parser.COUNT:
		return c.count
	case parser.STDVAR:
		return c.value / c.count
	case parser.STDDEV:
		return math.Sqrt(c.value / c.count)
	}
	return c.value
}
