package tsdb

import (
	"encoding/binary"
	"slices"
)

// The bytes of a run, only ever in memory: sections of sectionRows rows, the last one fewer. Rows stand one after the other, each
//
//	zigzag varint   time, minus the time of the row before (of a section's first row: minus 0)
//	uvarint n       0: the same columns, kinds and exponents as the row before, in the section; else n of
//	                uvarint column, byte kind, byte exponent
//	bytes           one bit per value: its mantissa differs from the one before in its column of this section (at first 0)
//	zigzag varint   the difference, for each set bit

const (
	// sectionRows is how many rows a query decodes in vain at most. A section costs one row that is not a difference, 2 % at 128.
	sectionRows = 128
	// runPadding lets rows be decoded eight bytes at a time.
	runPadding = 8
)

var padding [runPadding]byte

// mostRowBytes bounds a row of n values with the layout of the row before.
func mostRowBytes(n int) int { return binary.MaxVarintLen64*(n+1) + 1 + (n+7)/8 }

// encode appends one row with the layout next to dst and updates the columns' previous mantissas. same says that the row before, in the
// section, has that layout.
func (t *thing) encode(dst []byte, next []slot, mantissas []int64, timeMs int64, same bool) []byte {
	dst = binary.AppendVarint(dst, timeMs-t.open.lastMs)
	if same {
		dst = append(dst, 0)
	} else {
		dst = binary.AppendUvarint(dst, uint64(len(next)))
		for _, s := range next {
			dst = append(binary.AppendUvarint(dst, uint64(s.col)), byte(s.kind), byte(s.exp))
		}
	}
	mask := len(dst)
	for range (len(next) + 7) / 8 {
		dst = append(dst, 0)
	}
	for i, m := range mantissas {
		c := &t.cols[next[i].col]
		if d := m - c.prev; d != 0 {
			dst[mask+i/8] |= 1 << (i % 8)
			dst = binary.AppendVarint(dst, d)
			c.prev = m
		}
	}
	return dst
}

// encodeAlike appends one row, whose layout is that of the row before in the section.
func (t *thing) encodeAlike(dst []byte, timeMs int64, values []Value) []byte {
	n := len(values)
	dst = slices.Grow(dst, mostRowBytes(n))
	room, k := dst[:cap(dst)], len(dst)
	k += binary.PutVarint(room[k:], timeMs-t.open.lastMs)
	room[k] = 0
	mask := room[k+1:][:(n+7)/8]
	clear(mask)
	k += 1 + len(mask)
	layout := t.layout[:n]
	for i := range values {
		c := &t.cols[layout[i].col]
		m := values[i].Mantissa
		if m == c.prev {
			continue
		}
		z := zigzag(m - c.prev)
		c.prev = m
		mask[i/8] |= 1 << (i % 8)
		for ; z >= 0x80; z >>= 7 {
			room[k] = byte(z) | 0x80
			k++
		}
		room[k] = byte(z)
		k++
	}
	return room[:k]
}

// runRow is one row of a run. Its slices are valid until the next call.
type runRow struct {
	timeMs    int64
	layout    []slot
	mantissas []int64
}

// runReader walks over the rows of runs. It keeps its buffers from run to run.
type runReader struct {
	b    reader
	rows int // left
	done int
	prev []int64
	row  runRow
}

// reset begins rows rows of columns columns; data starts with a section.
func (r *runReader) reset(data []byte, rows, columns int) {
	r.b, r.rows, r.done = reader{src: data}, rows, 0
	r.prev = append(r.prev[:0], make([]int64, columns)...)
	r.row.layout = r.row.layout[:0]
}

// next decodes a row, or reports that there is no more. The bytes are our own: that they do not decode is a bug.
func (r *runReader) next() bool {
	if r.rows == 0 {
		return false
	}
	if r.done%sectionRows == 0 {
		clear(r.prev)
		r.row.timeMs = 0
	}
	r.rows--
	r.done++
	r.row.timeMs += r.b.varint()
	if n := int(r.b.uvarint()); n > 0 {
		r.row.layout = r.row.layout[:0]
		for range n {
			r.row.layout = append(r.row.layout, slot{col: uint16(r.b.uvarint()), kind: Kind(r.b.byte()), exp: int8(r.b.byte())})
		}
	}
	mask := r.b.bytes((len(r.row.layout) + 7) / 8)
	r.row.mantissas = r.row.mantissas[:0]
	if r.b.err != nil {
		panic("BUG: a run in memory does not decode")
	}
	for i, s := range r.row.layout {
		if mask[i/8]>>(i%8)&1 == 1 {
			r.prev[s.col] += r.b.varint()
		}
		r.row.mantissas = append(r.row.mantissas, r.prev[s.col])
	}
	return true
}
