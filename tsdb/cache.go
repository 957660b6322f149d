package tsdb

import (
	"cmp"
	"math"
	"slices"
	"sync"
)

// columnCache keeps decoded numbers of what never changes, or only grows: sections of runs, and blocks. A dashboard asks for the same hour
// again and again. What leaves when it is full is left to chance: a query over more than fits then still finds a part, where the
// oldest first would find nothing. Times that columns share are counted once, and not at all where they have left and a column has
// not: so it may take up to twice its limit. Safe for concurrent use.
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
	// rowTimes in the place of a column stands for the times of all rows, which the columns with a value in each row share.
	rowTimes = MetricID(math.MaxUint32)
)

// decodedColumn holds the numbers of one column in the order they came: as integers with one exponent if all fit, else as doubles.
// Nothing of it changes.
type decodedColumn struct {
	baseMs    int64
	offsets   []uint32 // ms from baseMs; may be those of rowTimes
	ints      []int32
	exp       int8
	floats    []float64
	ascending bool
	sizeBytes int // without offsets that are shared

	// Of a section of a run.
	rows int        // that it has, with a value or without
	next plainPlace // where the next one begins, if pos is not 0
}

// cachedRowBytes is what a row of a cached column takes at most, cachedColumnBytes what a column takes besides, about.
const (
	cachedRowBytes    = 12
	cachedColumnBytes = 256
)

func (c *columnCache) start(limit int) {
	c.limit, c.mostBytes, c.columns = limit, limit/64, map[columnID]*decodedColumn{}
}

func (c *columnCache) get(id columnID) *decodedColumn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.columns[id]
}

// fits says whether a part of rows rows with these times can be kept.
func (c *columnCache) fits(rows int, minMs, maxMs int64) bool {
	return rows*cachedRowBytes+cachedColumnBytes <= c.mostBytes && maxMs-minMs <= math.MaxUint32
}

func (c *columnCache) put(id columnID, d *decodedColumn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.columns[id]; old != nil {
		if old.rows >= d.rows {
			return
		}
		c.bytes -= old.sizeBytes
	}
	c.columns[id] = d
	c.bytes += d.sizeBytes
	for other, o := range c.columns { // begins anywhere
		if c.bytes <= c.limit {
			break
		}
		c.bytes -= o.sizeBytes
		delete(c.columns, other)
	}
}

// newOffsets makes a column of times only.
func newOffsets(times []int64, baseMs int64) *decodedColumn {
	d := &decodedColumn{baseMs: baseMs, offsets: make([]uint32, len(times)), ascending: slices.IsSorted(times)}
	for i, ms := range times {
		d.offsets[i] = uint32(ms - baseMs)
	}
	d.sizeBytes = 4*len(times) + cachedColumnBytes
	return d
}

// withInts returns d with mantissas of one kind and exponent.
func (d decodedColumn) withInts(mantissas []int64, exp int8) *decodedColumn {
	fit := true
	for _, m := range mantissas {
		fit = fit && m == int64(int32(m))
	}
	if !fit {
		d.floats = make([]float64, len(mantissas))
		for i, m := range mantissas {
			d.floats[i] = decimalFloat(m, exp)
		}
		d.sizeBytes += 8 * len(mantissas)
		return &d
	}
	d.ints, d.exp = make([]int32, len(mantissas)), exp
	for i, m := range mantissas {
		d.ints[i] = int32(m)
	}
	d.sizeBytes += 4 * len(mantissas)
	return &d
}

func (d decodedColumn) withFloats(values []float64) *decodedColumn {
	d.floats = slices.Clone(values)
	d.sizeBytes += 8 * len(values)
	return &d
}

// shared returns d as one whose offsets another column counts.
func (d decodedColumn) shared() decodedColumn {
	d.sizeBytes = cachedColumnBytes
	return d
}

// point returns sample i.
func (d *decodedColumn) point(i int) point {
	ms := d.baseMs + int64(d.offsets[i])
	if d.ints != nil {
		return point{ms, int64(d.ints[i]), d.exp, Decimal}
	}
	return point{ms, int64(math.Float64bits(d.floats[i])), 0, Float}
}

// decodeWhole decodes column m of block i of g into the cache. b is the block.
func (s *Store) decodeWhole(g *segment, i int, b *block, m MetricID, dec *blockDecoder) (*decodedColumn, error) {
	id := columnID{ownerSegment | g.head.id, uint32(i), m}
	c := b.column(m, false)
	if c == nil {
		return &decodedColumn{}, nil
	}
	rows := columnID{id.owner, id.part, rowTimes}
	times := s.cache.get(rows)
	if times == nil {
		if err := dec.decodeTimes(b); err != nil {
			return nil, err
		}
		times = newOffsets(dec.times, b.minMs)
		s.cache.put(rows, times)
	}
	if err := dec.decodeColumn(b, c); err != nil {
		return nil, err
	}
	base := times.shared()
	if c.sparse {
		base.offsets = make([]uint32, c.count)
		for j, row := range dec.rows {
			base.offsets[j] = times.offsets[row]
		}
		base.sizeBytes += 4 * c.count
	}
	var d *decodedColumn
	if c.kind == Float {
		d = base.withFloats(dec.floats)
	} else {
		d = base.withInts(dec.ints, c.exp)
	}
	s.cache.put(id, d)
	return d, nil
}

// addDecoded adds those of d that lie in [minMs, maxMs].
func (p *points) addDecoded(d *decodedColumn) {
	from, to := 0, len(d.offsets)
	if d.ascending && to > 0 { // mostly all are wanted
		if first := p.minMs - d.baseMs; int64(d.offsets[0]) < first {
			from, _ = slices.BinarySearchFunc(d.offsets, first, compareOffset)
		}
		if last := min(p.maxMs, MaxTimeMs) - d.baseMs; int64(d.offsets[to-1]) > last {
			to, _ = slices.BinarySearchFunc(d.offsets, last+1, compareOffset)
		}
	}
	if d.ascending && p.steps != nil {
		p.steps.addDecoded(d, from, to)
		return
	}
	if d.ascending && p.stepMs == 0 {
		p.addAll(d, from, max(from, to))
		return
	}
	for i := from; i < to; i++ {
		ms := d.baseMs + int64(d.offsets[i])
		switch {
		case ms < p.minMs || ms > p.maxMs:
		case p.waits && ms <= p.edgeMs && ms > p.waiting.timeMs:
			p.waiting = d.point(i)
		default:
			p.add(d.point(i))
		}
	}
}

// addAll adds samples from to to-1 of d.
func (p *points) addAll(d *decodedColumn, from, to int) {
	p.times = slices.Grow(p.times, to-from)
	for _, off := range d.offsets[from:to] {
		p.times = append(p.times, d.baseMs+int64(off))
	}
	p.numbers = slices.Grow(p.numbers, to-from)
	switch {
	case d.ints == nil:
		p.numbers = append(p.numbers, d.floats[from:to]...)
	case d.exp <= 0 && d.exp >= -22: // as decimalFloat has it
		divisor := exactPowers[-d.exp]
		for _, m := range d.ints[from:to] {
			p.numbers = append(p.numbers, float64(m)/divisor)
		}
	default:
		for _, m := range d.ints[from:to] {
			p.numbers = append(p.numbers, decimalFloat(int64(m), d.exp))
		}
	}
}

func compareOffset(offset uint32, ms int64) int { return cmp.Compare(int64(offset), ms) }
