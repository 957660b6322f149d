package tsdb

import (
	"cmp"
	"slices"
)

// table is rows of one thing in columns, on their way from runs or blocks into blocks. Build it with row or with
// rowAt and cell, then call settle. It keeps its buffers over reset. Not safe for concurrent use.
type table struct {
	times []int64 // after settle: ascending, unique
	cols  []tableColumn
	index map[columnKey]int
	ranks []int32
	perm  []int32
}

// columnKey names a column: strings are apart from numbers of the same name.
type columnKey struct {
	metric MetricID
	text   bool
}

type tableColumn struct {
	columnKey
	cells []tableCell // after settle: ascending, unique rows
}

type tableCell struct {
	mantissa int64
	row      int32 // index into times
	exp      int8
	kind     Kind
}

func (t *table) reset() {
	t.times, t.cols = t.times[:0], t.cols[:0]
	clear(t.index)
}

// rowAt begins a row; cell adds to it.
func (t *table) rowAt(timeMs int64) { t.times = append(t.times, timeMs) }

func (t *table) cell(metric MetricID, kind Kind, exp int8, mantissa int64) {
	c := t.column(columnKey{metric, kind == String})
	c.cells = append(c.cells, tableCell{mantissa, int32(len(t.times) - 1), exp, kind})
}

func (t *table) column(key columnKey) *tableColumn {
	if i, ok := t.index[key]; ok {
		return &t.cols[i]
	}
	if t.index == nil {
		t.index = map[columnKey]int{}
	}
	t.index[key] = len(t.cols)
	if len(t.cols) < cap(t.cols) {
		t.cols = t.cols[:len(t.cols)+1]
		c := &t.cols[len(t.cols)-1]
		c.columnKey, c.cells = key, c.cells[:0]
		return c
	}
	t.cols = append(t.cols, tableColumn{columnKey: key})
	return &t.cols[len(t.cols)-1]
}

// addRun adds the rows of a run.
func (t *table) addRun(r *run, rd *runReader) {
	rd.reset(r.data, r.rows, len(r.metrics))
	for rd.next() {
		t.rowAt(rd.row.timeMs)
		for i, s := range rd.row.layout {
			t.cell(r.metrics[s.col], s.kind, s.exp, rd.row.mantissas[i])
		}
	}
}

// settle sorts the rows by time and merges those of one millisecond: of two cells the one that was added later stays.
func (t *table) settle() {
	ascending := true
	for i := 1; i < len(t.times) && ascending; i++ {
		ascending = t.times[i-1] < t.times[i]
	}
	if !ascending {
		t.sortRows()
	}
	for i := range t.cols {
		c := &t.cols[i]
		if !ascending {
			for j := range c.cells {
				c.cells[j].row = t.ranks[c.cells[j].row]
			}
			slices.SortStableFunc(c.cells, func(a, b tableCell) int { return cmp.Compare(a.row, b.row) })
		}
		c.cells = lastOfRow(c.cells)
	}
	slices.SortFunc(t.cols, func(a, b tableColumn) int {
		if a.metric != b.metric {
			return cmp.Compare(a.metric, b.metric)
		}
		if a.text == b.text {
			return 0
		}
		if b.text {
			return -1
		}
		return 1
	})
	clear(t.index)
}

// sortRows makes times ascending and unique; ranks then has the new index of each old row.
func (t *table) sortRows() {
	t.perm = t.perm[:0]
	for i := range t.times {
		t.perm = append(t.perm, int32(i))
	}
	slices.SortStableFunc(t.perm, func(a, b int32) int { return cmp.Compare(t.times[a], t.times[b]) })
	t.ranks = append(t.ranks[:0], t.perm...)
	sorted := make([]int64, 0, len(t.times))
	for _, old := range t.perm {
		if ms := t.times[old]; len(sorted) == 0 || sorted[len(sorted)-1] != ms {
			sorted = append(sorted, ms)
		}
		t.ranks[old] = int32(len(sorted) - 1)
	}
	t.times = append(t.times[:0], sorted...)
}

// lastOfRow keeps the last of neighboring cells with one row.
func lastOfRow(cells []tableCell) []tableCell {
	kept := cells[:0]
	for _, c := range cells {
		if n := len(kept); n > 0 && kept[n-1].row == c.row {
			kept[n-1] = c
		} else {
			kept = append(kept, c)
		}
	}
	return kept
}

// within returns the cells of rows lo to hi-1.
func (c *tableColumn) within(lo, hi int) []tableCell {
	byRow := func(c tableCell, row int) int { return cmp.Compare(int(c.row), row) }
	from, _ := slices.BinarySearchFunc(c.cells, lo, byRow)
	to, _ := slices.BinarySearchFunc(c.cells, hi, byRow)
	return c.cells[from:to]
}
