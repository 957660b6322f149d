package tsdb

import (
	"cmp"
	"fmt"
	"slices"
)

// table is rows of one thing in columns, on their way from runs or blocks into blocks. Build it with row or with
// rowAt and cell, then call settle. It keeps its buffers over reset. Not safe for concurrent use.
type table struct {
	times  []int64 // after settle: ascending, unique
	cols   []tableColumn
	index  map[columnKey]int
	places []int32     // scratch: of the columns of a run
	keys   []uint64    // scratch: time and index of each row
	ranks  []int32     // scratch: the new index of each old row
	newest []int32     // scratch: by new row, index of its last cell plus 1
	spare  []tableCell // scratch
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

func (t *table) column(key columnKey) *tableColumn { return &t.cols[t.place(key)] }

// place returns the index of a column, made if missing.
func (t *table) place(key columnKey) int {
	if i, ok := t.index[key]; ok {
		return i
	}
	if t.index == nil {
		t.index = map[columnKey]int{}
	}
	t.index[key] = len(t.cols)
	if len(t.cols) < cap(t.cols) {
		t.cols = t.cols[:len(t.cols)+1]
		c := &t.cols[len(t.cols)-1]
		c.columnKey, c.cells = key, c.cells[:0]
		return len(t.cols) - 1
	}
	t.cols = append(t.cols, tableColumn{columnKey: key})
	return len(t.cols) - 1
}

// addRun adds the rows of a run.
func (t *table) addRun(r *run, rd *runReader) {
	rd.reset(r.data, r.rows, len(r.metrics))
	t.places = slices.Grow(t.places[:0], 2*len(r.metrics))[:2*len(r.metrics)]
	clear(t.places)
	for rd.next() {
		row := int32(len(t.times))
		t.rowAt(rd.row.timeMs)
		for i, s := range rd.row.layout {
			at := 2 * int(s.col)
			if s.kind == String {
				at++
			}
			if t.places[at] == 0 {
				t.places[at] = int32(t.place(columnKey{r.metrics[s.col], s.kind == String})) + 1
			}
			c := &t.cols[t.places[at]-1]
			c.cells = append(c.cells, tableCell{rd.row.mantissas[i], row, s.exp, s.kind})
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
		if ascending {
			c.cells = lastOfRow(c.cells)
		} else {
			t.sortCells(c)
		}
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

// rowBits of a key are the index of a row; the others have room for MaxTimeMs. No table has so many rows (maxTableSamples).
const rowBits = 21

// sortRows makes times ascending and unique; ranks then has the new index of each old row.
func (t *table) sortRows() {
	if len(t.times) > 1<<rowBits {
		panic(fmt.Sprintf("BUG: a table of %d rows", len(t.times)))
	}
	t.keys = t.keys[:0]
	for i, ms := range t.times {
		t.keys = append(t.keys, uint64(ms)<<rowBits|uint64(i))
	}
	slices.Sort(t.keys)
	t.ranks = slices.Grow(t.ranks[:0], len(t.keys))[:len(t.keys)]
	t.times = t.times[:0]
	for _, key := range t.keys {
		if ms := int64(key >> rowBits); len(t.times) == 0 || t.times[len(t.times)-1] != ms {
			t.times = append(t.times, ms)
		}
		t.ranks[key&(1<<rowBits-1)] = int32(len(t.times) - 1)
	}
}

// sortCells gives the cells of a column, which are in the order in which they were added, their rows by ranks, and brings them into the order
// of these; of those of one row the last one stays.
func (t *table) sortCells(c *tableColumn) {
	for j := range c.cells {
		c.cells[j].row = t.ranks[c.cells[j].row]
	}
	if len(c.cells) < len(t.times)/16 { // few: the way by all rows is longer
		slices.SortStableFunc(c.cells, func(a, b tableCell) int { return cmp.Compare(a.row, b.row) })
		c.cells = lastOfRow(c.cells)
		return
	}
	t.newest = slices.Grow(t.newest[:0], len(t.times))[:len(t.times)]
	clear(t.newest)
	for j := range c.cells {
		t.newest[c.cells[j].row] = int32(j) + 1
	}
	t.spare = t.spare[:0]
	for _, at := range t.newest {
		if at > 0 {
			t.spare = append(t.spare, c.cells[at-1])
		}
	}
	c.cells, t.spare = t.spare, c.cells
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
