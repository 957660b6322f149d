package tsdb

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
)

// columnCache keeps decoded numbers of what never changes, or only grows: sections of runs, and what was asked of blocks. A dashboard asks for the
// same hour again and again. What leaves when it is full is left to chance, and what comes in then as well: a query over more than fits
// finds a part, where the oldest first would find nothing, and does not turn over all of it. Times that columns share are counted once, and not at all where
// they have left and a column has not: so it may take up to twice its limit. Safe for concurrent use.
type columnCache struct {
	mu        sync.Mutex // guards bytes and columns
	bytes     int
	columns   map[columnID]*decodedColumn
	limit     int
	mostBytes int // of one column
}

// columnID names one column of a section or block. They are never used again for another one.
type columnID struct {
	owner  uint64 // thing and number of the run, or ownerSegment and id of the segment
	part   uint32 // section of the run, or block of the segment
	metric MetricID
}

const (
	ownerSegment = 1 << 63
	// rowTimes in the place of a column stands for the times of rows, which the columns with a value in each row share.
	rowTimes = MetricID(math.MaxUint32)
)

const (
	// cachedRowBytes is what a row of a cached column takes at most, cachedColumnBytes what a column takes besides, about.
	cachedRowBytes    = 16
	cachedColumnBytes = 192
	// admitOneOf is how many columns of a full cache's misses come for one that is kept. Of a query over n times what fits, again and
	// again, it then finds nearly an n-th; were all kept, next to nothing of it would be left by the next time.
	admitOneOf = 8
	// cachedRows is the unit of rows of a block that is kept.
	cachedRows = 32
)

func (c *columnCache) start(limit int) {
	c.limit, c.mostBytes, c.columns = limit, limit/64, map[columnID]*decodedColumn{}
}

func (c *columnCache) get(id columnID) *decodedColumn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.columns[id]
}

// fits says whether a section of rows rows can be kept.
func (c *columnCache) fits(rows int) bool {
	return rows*cachedRowBytes+cachedColumnBytes <= c.mostBytes
}

// admits says whether rows rows of a block that is about to be decoded are to be kept.
func (c *columnCache) admits(rows int) bool {
	if !c.fits(rows) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes+rows*cachedRowBytes/4+2*cachedColumnBytes <= c.limit || rand.IntN(admitOneOf) == 0
}

func (c *columnCache) put(id columnID, d *decodedColumn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.columns[id]; old != nil {
		if old.firstRow <= d.firstRow && old.endRow >= d.endRow {
			return
		}
		c.bytes -= int(old.sizeBytes)
	}
	c.columns[id] = d
	c.bytes += int(d.sizeBytes)
	for other, o := range c.columns { // begins anywhere
		if c.bytes <= c.limit {
			break
		}
		c.bytes -= int(o.sizeBytes)
		delete(c.columns, other)
	}
}

// addBlock adds what block i of g, which is sc.block, has of column m in the range of p, and keeps it or not. known is what the cache has of it, too
// little, or nil.
func (s *Store) addBlock(p *points, g *segment, i int, m MetricID, known *decodedColumn, sc *scratch) error {
	b, dec := &sc.block, &sc.dec
	c := b.column(m, false)
	if c == nil {
		return nil
	}
	id := columnID{ownerSegment | g.head.id, uint32(i), m}
	rowsID := columnID{id.owner, id.part, rowTimes}
	rows := s.cache.get(rowsID)
	if !s.cache.admits(b.rows) {
		return p.addRows(b, c, rows, sc)
	}
	minMs, maxMs := p.minMs, p.maxMs
	if known != nil { // what is kept only grows
		minMs, maxMs = min(minMs, known.minMs), max(maxMs, known.maxMs)
	}
	if rows == nil || !rows.covers(minMs, maxMs) {
		if err := dec.decodeTimes(b); err != nil {
			return err
		}
		fromMs, toMs := minMs, maxMs
		if rows != nil {
			fromMs, toMs = min(fromMs, rows.minMs), max(toMs, rows.maxMs)
		}
		rows = newRows(dec.times, fromMs, toMs)
		s.cache.put(rowsID, rows)
	}
	if err := dec.decodeColumn(b, c); err != nil {
		return err
	}
	d := rows.cut(minMs, maxMs)
	first, end := int(d.firstRow), int(d.endRow)
	if c.sparse {
		first, _ = slices.BinarySearch(dec.rows, d.firstRow)
		end, _ = slices.BinarySearch(dec.rows, d.endRow)
		sc.list = sc.list[:0]
		for _, row := range dec.rows[first:end] {
			sc.list = append(sc.list, rows.timeMs(int(row-rows.firstRow)))
		}
		d.setTimes(sc.list)
	}
	if c.kind == Float {
		sc.list = d.setDoubles(dec.floats[first:end], sc.list)
	} else {
		d.setMantissas(dec.ints[first:end], c.exp)
	}
	d.sizeBytes = int32(len(d.numbers.bytes) + cachedColumnBytes)
	if c.sparse {
		d.sizeBytes += int32(len(d.times.bytes))
	}
	s.cache.put(id, d)
	p.addDecoded(d)
	return nil
}

// addRows is addBlock where nothing is kept. rows are the times that the cache has, or nil.
func (p *points) addRows(b *block, c *blockColumn, rows *decodedColumn, sc *scratch) error {
	dec := &sc.dec
	var times []int64
	before := 0 // rows that are not in times
	if rows != nil && rows.covers(p.minMs, p.maxMs) {
		sc.list = rows.appendTimes(sc.list[:0], 0, int(rows.samples))
		times, before = sc.list, int(rows.firstRow)
	} else if err := dec.decodeTimes(b); err != nil {
		return err
	} else {
		times = dec.times
	}
	if err := dec.decodeColumn(b, c); err != nil {
		return err
	}
	first, end := between(times, p.minMs, p.maxMs)
	from := before + first // of the numbers
	times = times[first:end]
	if c.sparse {
		from, _ = slices.BinarySearch(dec.rows, int32(before+first))
		to, _ := slices.BinarySearch(dec.rows, int32(before+end))
		sc.own = sc.own[:0]
		for _, row := range dec.rows[from:to] {
			sc.own = append(sc.own, times[int(row)-before-first])
		}
		times = sc.own
	}
	switch {
	case p.steps != nil:
		p.steps.addRows(times, dec, c, from)
	case p.stepMs == 0:
		p.times = append(p.times, times...)
		p.numbers = dec.appendNumbers(p.numbers, c, from, from+len(times))
	default:
		for i, ms := range times {
			p.add(point{ms, dec.cell(c, from+i), c.exp, c.kind})
		}
	}
	return nil
}

// between returns which of times, which ascend, lie between the two.
func between(times []int64, minMs, maxMs int64) (first, end int) {
	first, _ = slices.BinarySearch(times, minMs)
	end = len(times)
	if maxMs < math.MaxInt64 {
		end, _ = slices.BinarySearch(times, maxMs+1)
	}
	return first, end
}

// newRows makes the times of rows of a block: those between the two times, and some around them.
func newRows(times []int64, minMs, maxMs int64) *decodedColumn {
	first, end := between(times, minMs, maxMs)
	first, end = first/cachedRows*cachedRows, min((end+cachedRows-1)/cachedRows*cachedRows, len(times))
	d := &decodedColumn{ascending: true, firstRow: int32(first), endRow: int32(end), minMs: math.MinInt64, maxMs: math.MaxInt64}
	if first > 0 {
		d.minMs = times[first-1] + 1
	}
	if end < len(times) {
		d.maxMs = times[end] - 1
	}
	d.setTimes(times[first:end])
	d.sizeBytes = int32(len(d.times.bytes) + cachedColumnBytes)
	return d
}

// cut returns the times of those rows of d that lie between the two times, and of some around them.
func (d *decodedColumn) cut(minMs, maxMs int64) *decodedColumn {
	from, end := d.search(minMs), int(d.samples)
	if maxMs < math.MaxInt64 {
		end = d.search(maxMs + 1)
	}
	first := max((d.firstRow+int32(from))/cachedRows*cachedRows, d.firstRow)
	last := min((d.firstRow+int32(end)+cachedRows-1)/cachedRows*cachedRows, d.endRow)
	to := &decodedColumn{
		times: d.times, everyMs: d.everyMs, ascending: true, samples: last - first,
		firstRow: first, endRow: last, minMs: d.minMs, maxMs: d.maxMs,
	}
	skip, width := int(first-d.firstRow), int(d.times.width)
	to.times.least += int64(skip) * d.everyMs
	to.times.bytes = to.times.bytes[skip*width:][:int(to.samples)*width]
	if first > d.firstRow {
		to.minMs = d.timeMs(skip-1) + 1
	}
	if last < d.endRow {
		to.maxMs = d.timeMs(int(last-d.firstRow)) - 1
	}
	return to
}

// addDecoded adds those of d that lie in [minMs, maxMs].
func (p *points) addDecoded(d *decodedColumn) {
	from, to := 0, int(d.samples)
	if d.ascending && to > 0 { // mostly all are wanted
		if d.timeMs(0) < p.minMs {
			from = d.search(p.minMs)
		}
		if d.timeMs(to-1) > p.maxMs {
			to = d.search(p.maxMs + 1)
		}
	}
	if d.ascending && p.steps != nil {
		p.steps.addDecoded(d, from, to)
		return
	}
	if d.ascending && p.stepMs == 0 {
		to = max(from, to)
		p.times, p.numbers = d.appendTimes(p.times, from, to), d.appendNumbers(p.numbers, from, to)
		return
	}
	for i := from; i < to; i++ {
		ms := d.timeMs(i)
		switch {
		case ms < p.minMs || ms > p.maxMs:
		case p.waits && ms <= p.edgeMs && ms > p.waiting.timeMs:
			p.waiting = d.point(i)
		default:
			p.add(d.point(i))
		}
	}
}
