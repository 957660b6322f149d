package tsdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"muster/tsdb/codec"
)

// A block is up to blockRows rows of one thing in columns. Layout: docs/formats/block.md.
const (
	blockMagic     = "MBLK"
	blockHeadBytes = 12 // magic, size of the body, crc32c of the body
	blockRows      = 2048
	maxBlockBytes  = 256 << 20 // 2,048 rows of 8,192 columns of doubles stay below
	columnSparse   = 1         // some rows have no value: bits say which
	columnStats    = 2         // min, max, last, sum and resets are there
	maxBlockCols   = 2 * MaxThingColumns
)

var errBlock = errors.New("the block is damaged")

// columnSummary is what the block says about the numbers of one column without decoding them.
type columnSummary struct {
	first, last, min, max, sum float64
	resets                     int // values smaller than the one before
}

// appendBlock encodes rows lo to hi-1 of t, which is settled, as one block of thing and returns dst grown by it.
func (e *blockEncoder) appendBlock(dst []byte, thing ThingID, t *table, lo, hi int) []byte {
	start := len(dst)
	dst = append(dst, blockMagic+"\x00\x00\x00\x00\x00\x00\x00\x00"...)
	dst = binary.AppendUvarint(dst, uint64(thing))
	dst = binary.AppendUvarint(dst, uint64(hi-lo))
	dst = binary.AppendUvarint(dst, uint64(t.times[lo]))
	dst = binary.AppendUvarint(dst, uint64(t.times[hi-1]-t.times[lo]))
	e.payload = codec.AppendInts(e.payload[:0], t.times[lo:hi])
	dst = binary.AppendUvarint(dst, uint64(len(e.payload)))
	n := 0
	for i := range t.cols {
		if len(t.cols[i].within(lo, hi)) > 0 {
			n++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	for i := range t.cols {
		if cells := t.cols[i].within(lo, hi); len(cells) > 0 {
			dst = e.appendColumn(dst, t.cols[i].metric, cells, lo, hi)
		}
	}
	dst = append(dst, e.payload...)
	body := dst[start+blockHeadBytes:]
	binary.LittleEndian.PutUint32(dst[start+4:], uint32(len(body)))
	binary.LittleEndian.PutUint32(dst[start+8:], crc32.Checksum(body, castagnoli))
	return dst
}

// blockEncoder keeps buffers between blocks. Not safe for concurrent use.
type blockEncoder struct {
	payload []byte
	ints    []int64
	floats  []float64
	bits    []bool
	plain   bool // without summaries
}

// appendColumn appends the column's entry to dst and its values to e.payload.
func (e *blockEncoder) appendColumn(dst []byte, metric MetricID, cells []tableCell, lo, hi int) []byte {
	kind, exp := e.common(cells)
	var flags byte
	size := len(e.payload)
	if len(cells) < hi-lo {
		flags |= columnSparse
		e.bits = append(e.bits[:0], make([]bool, hi-lo)...)
		for _, c := range cells {
			e.bits[int(c.row)-lo] = true
		}
		e.payload = codec.AppendBits(e.payload, e.bits)
	}
	var stats []byte
	switch {
	case e.plain:
	case kind == Decimal || kind == Bool:
		stats = appendIntStats(nil, e.ints)
	case kind == Float:
		stats = appendFloatStats(nil, e.floats)
	}
	switch kind {
	case Bool:
		e.bits = e.bits[:0]
		for _, v := range e.ints {
			e.bits = append(e.bits, v == 1)
		}
		e.payload = codec.AppendBits(e.payload, e.bits)
	case Float:
		e.payload = codec.AppendFloats(e.payload, e.floats)
	default:
		e.payload = codec.AppendInts(e.payload, e.ints)
	}
	if len(stats) > 0 {
		flags |= columnStats
	}
	dst = binary.AppendUvarint(dst, uint64(metric))
	dst = append(dst, byte(kind), byte(exp), flags)
	if flags&columnSparse != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(cells)))
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.payload)-size))
	return append(dst, stats...)
}

// common chooses the kind and exponent that hold all cells and fills e.ints or, for Float, e.floats. Bools among decimals become
// 0 and 1; decimals without a common exponent, or among doubles, become doubles.
func (e *blockEncoder) common(cells []tableCell) (Kind, int8) {
	kind, exp := cells[0].kind, int8(math.MaxInt8)
	for _, c := range cells {
		if c.kind == Float {
			kind = Float
			break
		}
		if c.kind != kind {
			kind = Decimal
		}
		if c.mantissa != 0 {
			exp = min(exp, c.exp)
		}
	}
	if exp == math.MaxInt8 || kind != Decimal {
		exp = 0
	}
	e.ints, e.floats = e.ints[:0], e.floats[:0]
	for i := 0; kind != Float && i < len(cells); i++ {
		m, ok := cells[i].mantissa, true
		if kind == Decimal {
			m, ok = rescale(m, cells[i].exp, exp)
		}
		if !ok {
			kind, exp = Float, 0
		}
		e.ints = append(e.ints, m)
	}
	if kind == Float {
		for _, c := range cells {
			e.floats = append(e.floats, Value{Mantissa: c.mantissa, Exp: c.exp, Kind: c.kind}.Float())
		}
	}
	return kind, exp
}

// appendIntStats appends first, min, max and last (the three as differences from first), sum and resets of mantissas, or nothing
// where one of them does not fit an int64.
func appendIntStats(dst []byte, a []int64) []byte {
	first, last := a[0], a[len(a)-1]
	least, most, sum, resets := first, first, int64(0), 0
	for i, v := range a {
		least, most = min(least, v), max(most, v)
		if i > 0 && v < a[i-1] {
			resets++
		}
		if v > 0 && sum > math.MaxInt64-v || v < 0 && sum < math.MinInt64-v {
			return dst
		}
		sum += v
	}
	if most-least < 0 {
		return dst
	}
	for _, v := range [...]int64{first, least - first, most - first, last - first, sum, int64(resets)} {
		dst = binary.AppendVarint(dst, v)
	}
	return dst
}

// appendFloatStats appends the same of doubles, as they are, or nothing where one is NaN or infinite.
func appendFloatStats(dst []byte, a []float64) []byte {
	s := columnSummary{first: a[0], last: a[len(a)-1], min: a[0], max: a[0]}
	for i, v := range a {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return dst
		}
		s.min, s.max, s.sum = min(s.min, v), max(s.max, v), s.sum+v
		if i > 0 && v < a[i-1] {
			s.resets++
		}
	}
	for _, v := range [...]float64{s.first, s.min, s.max, s.last, s.sum} {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	}
	return binary.AppendUvarint(dst, uint64(s.resets))
}

// block is a parsed block: its directory, and the bytes of its columns.
type block struct {
	tier         tier // says which column ids there may be; set it before parse
	thing        ThingID
	rows         int
	minMs, maxMs int64
	times        []byte
	cols         []blockColumn
}

type blockColumn struct {
	metric  MetricID
	kind    Kind
	exp     int8
	sparse  bool
	count   int
	summary []byte // of its numbers, as it is in the block; nil without
	data    []byte
	size    int // of data
}

// blockSize returns the size of the block at the start of src, which may be cut, or an error if there is none.
func blockSize(src []byte) (int, error) {
	if len(src) < blockHeadBytes || string(src[:4]) != blockMagic {
		return 0, errBlock
	}
	size := binary.LittleEndian.Uint32(src[4:])
	if size > maxBlockBytes {
		return 0, errBlock
	}
	return blockHeadBytes + int(size), nil
}

// parse checks the block that src is and fills b, which keeps views of src.
func (b *block) parse(src []byte) error {
	if size, err := blockSize(src); err != nil || size != len(src) {
		return errBlock
	}
	body := src[blockHeadBytes:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(src[8:]) {
		return errBlock
	}
	return b.parseBody(body)
}

func (b *block) parseBody(body []byte) error {
	r := reader{src: body}
	b.thing = ThingID(r.uvarintMax(math.MaxUint32))
	b.rows = int(r.uvarintMax(codec.MaxItems))
	b.minMs = int64(r.uvarintMax(MaxTimeMs))
	b.maxMs = b.minMs + int64(r.uvarintMax(MaxTimeMs))
	timeBytes := r.count()
	n := r.count()
	if b.rows == 0 || n > maxBlockCols*aggregates {
		return errBlock
	}
	b.cols = b.cols[:0]
	for range n {
		c := blockColumn{metric: MetricID(r.uvarintMax(b.tier.maxColumn())), kind: Kind(r.byte()), exp: int8(r.byte()), count: b.rows}
		flags := r.byte()
		c.sparse = flags&columnSparse != 0
		if c.sparse {
			c.count = int(r.uvarintMax(uint64(b.rows)))
		}
		c.size = r.count()
		if flags&columnStats != 0 {
			c.summary = r.bytes(c.summaryBytes(r.src))
		}
		if r.err != nil || c.kind > String || flags > columnSparse|columnStats || c.count == 0 {
			return errBlock
		}
		b.cols = append(b.cols, c)
	}
	b.times = r.bytes(timeBytes)
	for i := range b.cols {
		b.cols[i].data = r.bytes(b.cols[i].size)
	}
	if r.err != nil || len(r.src) > 0 {
		return errBlock
	}
	return nil
}

// summaryBytes returns the size of the summary at the start of src, -1 if there is none. It is not decoded: few queries look at it.
func (c *blockColumn) summaryBytes(src []byte) int {
	size, numbers := 0, 6
	if c.kind == Float {
		size, numbers = 5*8, 1
	}
	for ; numbers > 0; size++ {
		if size >= len(src) {
			return -1
		}
		if src[size] < 0x80 {
			numbers--
		}
	}
	return size
}

// stats decodes the summary. It is false where there is none.
func (c *blockColumn) stats() (s columnSummary, ok bool) {
	if c.summary == nil {
		return s, false
	}
	r := reader{src: c.summary}
	if c.kind == Float {
		for _, p := range [...]*float64{&s.first, &s.min, &s.max, &s.last, &s.sum} {
			*p = math.Float64frombits(r.uint64())
		}
		s.resets = int(r.uvarintMax(codec.MaxItems))
		return s, r.err == nil
	}
	first := r.varint()
	s.first = decimalFloat(first, c.exp)
	for _, p := range [...]*float64{&s.min, &s.max, &s.last} {
		*p = decimalFloat(first+r.varint(), c.exp)
	}
	s.sum = decimalFloat(r.varint(), c.exp)
	s.resets = int(r.varint())
	return s, r.err == nil
}

// column returns the column of m, or nil.
func (b *block) column(m MetricID, text bool) *blockColumn {
	for i := range b.cols {
		if c := &b.cols[i]; c.metric == m && (c.kind == String) == text {
			return c
		}
	}
	return nil
}

// blockDecoder decodes columns of blocks into its own buffers. Not safe for concurrent use.
type blockDecoder struct {
	times  []int64
	rows   []int32 // of a sparse column's values
	ints   []int64 // mantissas or string ids
	floats []float64
	bits   []bool
}

// decodeTimes fills d.times.
func (d *blockDecoder) decodeTimes(b *block) error {
	var rest []byte
	var err error
	d.times, rest, err = codec.DecodeInts(d.times[:0], b.times, b.rows)
	if err != nil || len(rest) > 0 || d.times[0] != b.minMs || d.times[b.rows-1] != b.maxMs || !slices.IsSorted(d.times) {
		return fmt.Errorf("%w: its times do not decode", errBlock)
	}
	return nil
}

// row returns which row value j of the decoded column belongs to.
func (d *blockDecoder) row(c *blockColumn, j int) int {
	if c.sparse {
		return int(d.rows[j])
	}
	return j
}

// decodeColumn fills d.rows for sparse columns, and d.floats for Float columns or d.ints for others.
func (d *blockDecoder) decodeColumn(b *block, c *blockColumn) error {
	data, err := c.data, error(nil)
	d.rows = d.rows[:0]
	if c.sparse {
		if d.bits, data, err = codec.DecodeBits(d.bits[:0], data, b.rows); err != nil {
			return fmt.Errorf("%w: %w", errBlock, err)
		}
		for i, has := range d.bits {
			if has {
				d.rows = append(d.rows, int32(i))
			}
		}
		if len(d.rows) != c.count {
			return fmt.Errorf("%w: a column has %d values and says %d", errBlock, len(d.rows), c.count)
		}
	}
	switch c.kind {
	case Float:
		d.floats, data, err = codec.DecodeFloats(d.floats[:0], data, c.count)
	case Bool:
		d.bits, data, err = codec.DecodeBits(d.bits[:0], data, c.count)
		d.ints = d.ints[:0]
		for _, bit := range d.bits[:min(c.count, len(d.bits))] {
			d.ints = append(d.ints, boolInt(bit))
		}
	default:
		d.ints, data, err = codec.DecodeInts(d.ints[:0], data, c.count)
	}
	if err != nil || len(data) > 0 {
		return fmt.Errorf("%w: a column does not decode", errBlock)
	}
	return nil
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// cell returns value j of the decoded column as a Value's mantissa.
func (d *blockDecoder) cell(c *blockColumn, j int) int64 {
	if c.kind == Float {
		return int64(math.Float64bits(d.floats[j]))
	}
	return d.ints[j]
}

// number returns value j of the decoded column.
func (d *blockDecoder) number(c *blockColumn, j int) float64 {
	if c.kind == Float {
		return d.floats[j]
	}
	return decimalFloat(d.ints[j], c.exp)
}

// appendNumbers appends values from to to-1 of the decoded column.
func (d *blockDecoder) appendNumbers(dst []float64, c *blockColumn, from, to int) []float64 {
	if c.kind == Float {
		return append(dst, d.floats[from:to]...)
	}
	dst = slices.Grow(dst, to-from)
	for _, m := range d.ints[from:to] {
		dst = append(dst, decimalFloat(m, c.exp))
	}
	return dst
}

// addTo adds all rows of b to t.
func (d *blockDecoder) addTo(t *table, b *block) error {
	return d.addColumns(t, b, 0, math.MaxUint32)
}

// addColumns adds the columns from first to last of all rows of b to t.
func (d *blockDecoder) addColumns(t *table, b *block, first, last MetricID) error {
	if err := d.decodeTimes(b); err != nil {
		return err
	}
	base := int32(len(t.times))
	for i := range b.cols {
		c := &b.cols[i]
		if c.metric < first || c.metric > last {
			continue
		}
		if err := d.decodeColumn(b, c); err != nil {
			return err
		}
		col := t.column(columnKey{c.metric, c.kind == String})
		for j := range c.count {
			col.cells = append(col.cells, tableCell{d.cell(c, j), base + int32(d.row(c, j)), c.exp, c.kind})
		}
	}
	t.times = append(t.times, d.times...)
	return nil
}
