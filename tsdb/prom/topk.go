package prom

import (
	"container/heap"
	"math"
	"sort"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql/parser"
)

// choose evaluates topk and bottomk at one step: only the series that are chosen get their labels. Which of equal ones are chosen, and
// in which order they come, is up to the heap, so it is made and changed as that of the engine's evaluator.aggregationK.
func (a *aggregation) choose() error {
	heaps := make([]ranking, len(a.first))
	var order []int32 // of groups
	err := a.inOrder(a.byGroup(len(a.first))(0, len(a.first)), func(i int32, row []float64) error {
		f := row[0]
		if value.IsStaleNaN(f) {
			return nil
		}
		h := &heaps[a.groupOf[i]]
		switch {
		case len(h.list) < a.p.k:
			if len(h.list) == 0 {
				order = append(order, a.groupOf[i])
				h.least = a.p.op == parser.BOTTOMK
			}
			heap.Push(h, ranked{f, i})
		case h.loses(f):
			h.list[0] = ranked{f, i}
			heap.Fix(h, 0)
		}
		return a.took(1)
	})
	if err != nil {
		return err
	}
	for _, g := range order {
		h := &heaps[g]
		sort.Sort(sort.Reverse(h))
		for _, r := range h.list {
			a.results = append(a.results, aggregateSeries{steps: a.p.stepRange, lset: a.labels(int(r.series)), values: []float64{r.number}})
		}
	}
	return nil
}

// ranking is a heap of the largest numbers so far, the smallest of them on top; with least, the other way round. NaN counts as worse than
// all numbers.
type ranking struct {
	list  []ranked
	least bool
}

type ranked struct {
	number float64
	series int32
}

// loses says whether the one on top gives way to f.
func (h *ranking) loses(f float64) bool {
	top := h.list[0].number
	if math.IsNaN(top) {
		return !math.IsNaN(f)
	}
	return h.least && top > f || !h.least && top < f
}

// Len implements heap.Interface.
func (h *ranking) Len() int { return len(h.list) }

// Less implements heap.Interface.
func (h *ranking) Less(i, j int) bool {
	a, b := h.list[i].number, h.list[j].number
	return math.IsNaN(a) || h.least && a > b || !h.least && a < b
}

// Swap implements heap.Interface.
func (h *ranking) Swap(i, j int) { h.list[i], h.list[j] = h.list[j], h.list[i] }

// Push implements heap.Interface.
func (h *ranking) Push(x any) { h.list = append(h.list, x.(ranked)) }

// Pop implements heap.Interface; nothing is taken out.
func (h *ranking) Pop() any { panic("BUG: Pop of a ranking") }
