package tsdb

import (
	"math"
	"sync"
)

// columnCache keeps decoded numbers of what never changes: whole sections of runs, and blocks. A dashboard asks for the same hour
// again and again. What leaves when it is full is left to chance: a query over more than fits then still finds a part, where the
// oldest first would find nothing. Safe for concurrent use.
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

const ownerSegment = 1 << 63

// decodedColumn holds the numbers of one column in the order they came. Nothing of it changes.
type decodedColumn struct {
	baseMs  int64
	offsets []uint32 // ms from baseMs
	values  []float64
}

// cachedRowBytes is what a row of a cached column takes, cachedColumnBytes what a column takes besides, about.
const (
	cachedRowBytes    = 12
	cachedColumnBytes = 160
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
	if c.columns[id] != nil {
		return
	}
	c.columns[id] = d
	c.bytes += d.sizeBytes()
	for other, o := range c.columns { // begins anywhere
		if c.bytes <= c.limit {
			break
		}
		c.bytes -= o.sizeBytes()
		delete(c.columns, other)
	}
}

func (d *decodedColumn) sizeBytes() int { return len(d.offsets)*cachedRowBytes + cachedColumnBytes }

// newDecoded copies the samples that p collected.
func newDecoded(p *points, baseMs int64) *decodedColumn {
	d := &decodedColumn{baseMs: baseMs, offsets: make([]uint32, len(p.times)), values: make([]float64, len(p.times))}
	copy(d.values, p.numbers)
	for i, ms := range p.times {
		d.offsets[i] = uint32(ms - baseMs)
	}
	return d
}

// addDecoded adds those of d that lie in [minMs, maxMs].
func (p *points) addDecoded(d *decodedColumn) {
	for i, off := range d.offsets {
		ms := d.baseMs + int64(off)
		switch {
		case ms < p.minMs || ms > p.maxMs:
		case p.stepMs == 0:
			p.times, p.numbers = append(p.times, ms), append(p.numbers, d.values[i])
		case p.waits && ms <= p.edgeMs && ms > p.waiting.timeMs:
			p.waiting = point{ms, int64(math.Float64bits(d.values[i])), 0, Float}
		default:
			p.add(point{ms, int64(math.Float64bits(d.values[i])), 0, Float})
		}
	}
}
