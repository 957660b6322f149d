package tsdb

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"path"
	"slices"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"

	"muster/tsdb/vfs"
)

// A segment is a file of blocks of many things, written once. Layout: docs/formats/segment.md.
const (
	segmentMagic     = "MSEG"
	segmentVersion   = 1
	segmentSuffix    = ".seg"
	segmentHeadBytes = 36
	trailerBytes     = 24
	dayMs            = 24 * 60 * 60 * 1000
)

func segmentName(t tier, id uint64) string { return fmt.Sprintf("%08d%s", id, t.suffix()) }

// segmentHead stands at the start of the file.
type segmentHead struct {
	id        uint64
	order     uint64 // of two cells at one time, the one in the segment of higher order counts
	createdMs int64
	tier      tier
}

func (h segmentHead) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, h.tier.magic()...)
	dst = binary.LittleEndian.AppendUint32(dst, segmentVersion)
	dst = binary.LittleEndian.AppendUint64(dst, h.id)
	dst = binary.LittleEndian.AppendUint64(dst, h.order)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.createdMs))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func parseSegmentHead(src []byte) (segmentHead, error) {
	const size = segmentHeadBytes - 4
	if len(src) < segmentHeadBytes {
		return segmentHead{}, errors.New("the header is cut")
	}
	tier, ok := tierOfMagic(string(src[:4]))
	if !ok ||
		crc32.Checksum(src[:size], castagnoli) != binary.LittleEndian.Uint32(src[size:]) {
		return segmentHead{}, errors.New("the header is damaged")
	}
	if v := binary.LittleEndian.Uint32(src[4:]); v != segmentVersion {
		return segmentHead{}, fmt.Errorf("segment format %d %w", v, errVersion)
	}
	return segmentHead{
		binary.LittleEndian.Uint64(src[8:]), binary.LittleEndian.Uint64(src[16:]), int64(binary.LittleEndian.Uint64(src[24:])), tier,
	}, nil
}

// blockRef is where a block is and what it may hold.
type blockRef struct {
	offset       int64
	minMs, maxMs int64
	thing        ThingID
	size         uint32
	rows         uint32
	layout       uint32 // index into segmentIndex.layouts
}

// segmentIndex is the footer: the blocks by thing and time, and each set of columns once.
type segmentIndex struct {
	head     segmentHead
	replaces []uint64 // segments that this one was merged from
	covers   []cover  // of a tier, by day: what it was made from
	layouts  [][]MetricID
	blocks   []blockRef
	samples  int64
}

func (x *segmentIndex) append(dst []byte) []byte {
	dst = x.head.append(dst)
	dst = binary.AppendUvarint(dst, uint64(x.samples))
	dst = binary.AppendUvarint(dst, uint64(len(x.replaces)))
	for _, id := range x.replaces {
		dst = binary.AppendUvarint(dst, id)
	}
	if x.head.tier != rawTier {
		dst = binary.AppendUvarint(dst, uint64(len(x.covers)))
		for _, c := range x.covers {
			dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(c.day)), c.order)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(x.layouts)))
	for _, l := range x.layouts {
		dst = binary.AppendUvarint(dst, uint64(len(l)))
		for _, m := range l {
			dst = binary.AppendUvarint(dst, uint64(m))
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(x.blocks)))
	var offset, minMs int64
	for _, b := range x.blocks {
		dst = binary.AppendUvarint(dst, uint64(b.thing))
		dst = binary.AppendUvarint(dst, uint64(b.rows))
		dst = binary.AppendUvarint(dst, uint64(b.layout))
		dst = binary.AppendUvarint(dst, uint64(b.size))
		dst = binary.AppendVarint(dst, b.offset-offset)
		dst = binary.AppendVarint(dst, b.minMs-minMs)
		dst = binary.AppendUvarint(dst, uint64(b.maxMs-b.minMs))
		offset, minMs = b.offset, b.minMs
	}
	return dst
}

func parseSegmentIndex(src []byte) (*segmentIndex, error) {
	head, err := parseSegmentHead(src)
	if err != nil {
		return nil, err
	}
	x := &segmentIndex{head: head}
	r := reader{src: src[segmentHeadBytes:]}
	x.samples = int64(r.uvarintMax(math.MaxInt64))
	for range r.count() {
		x.replaces = append(x.replaces, r.uvarint())
	}
	if head.tier != rawTier {
		for range r.count() {
			x.covers = append(x.covers, cover{int64(r.uvarintMax(MaxTimeMs)), r.uvarint()})
		}
	}
	for range r.count() {
		n := r.count()
		l := make([]MetricID, 0, n)
		for range n {
			l = append(l, MetricID(r.uvarintMax(head.tier.maxColumn())))
		}
		x.layouts = append(x.layouts, l)
	}
	n := r.count()
	x.blocks = make([]blockRef, 0, n)
	var offset, minMs int64
	for range n {
		b := blockRef{
			thing: ThingID(r.uvarintMax(math.MaxUint32)), rows: uint32(r.uvarintMax(math.MaxUint16)),
			layout: uint32(r.uvarintMax(math.MaxUint32)), size: uint32(r.uvarintMax(maxBlockBytes + blockHeadBytes)),
		}
		offset += r.varint()
		minMs += r.varint()
		b.offset, b.minMs, b.maxMs = offset, minMs, minMs+int64(r.uvarintMax(MaxTimeMs))
		if r.err != nil || int(b.layout) >= len(x.layouts) {
			return nil, errors.New("the index does not decode")
		}
		x.blocks = append(x.blocks, b)
	}
	if r.err != nil || len(r.src) > 0 {
		return nil, errors.New("the index does not decode")
	}
	return x, nil
}

// segment is an open segment. All but the atomics is fixed from when it is published.
type segment struct {
	segmentIndex
	file      vfs.File
	name      string
	sizeBytes int64
	minMs     int64
	maxMs     int64
	refs      atomic.Int32 // one for the store's list, one for each query at work; the file is closed at 0
	bad       []atomic.Bool
	damaged   atomic.Bool // some of bad
}

// acquire keeps the file open until release; it fails once the segment has been dropped.
func (g *segment) acquire() bool {
	for {
		n := g.refs.Load()
		if n == 0 {
			return false
		}
		if g.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (g *segment) release(log *slog.Logger) {
	if g.refs.Add(-1) == 0 {
		if err := g.file.Close(); err != nil {
			log.Warn("segment does not close", "file", g.name, "err", err)
		}
	}
}

// finish derives what the index implies.
func (g *segment) finish() {
	g.refs.Store(1)
	g.bad = make([]atomic.Bool, len(g.blocks))
	g.minMs, g.maxMs = math.MaxInt64, math.MinInt64
	for _, b := range g.blocks {
		g.minMs, g.maxMs = min(g.minMs, b.minMs), max(g.maxMs, b.maxMs)
	}
}

// of returns the blocks of a thing, by time, as indexes.
func (g *segment) of(thing ThingID) (from, to int) {
	byThing := func(b blockRef, id ThingID) int { return cmp.Compare(b.thing, id) }
	from, _ = slices.BinarySearchFunc(g.blocks, thing, byThing)
	for to = from; to < len(g.blocks) && g.blocks[to].thing == thing; to++ {
	}
	return from, to
}

func (x *segmentIndex) has(ref *blockRef, m MetricID) bool {
	_, ok := slices.BinarySearch(x.layouts[ref.layout], m)
	return ok
}

// damage counts and names what cannot be read.
type damage struct {
	log    *slog.Logger
	blocks *metrics.Counter
	count  *atomic.Uint64
}

func (d damage) found(file string, err error) {
	d.blocks.Inc()
	d.count.Add(1)
	d.log.Error("damage found and left out", "file", file, "err", err)
}

// readBlock reads and checks block i into b, using buf as far as it goes. A damaged block is named, counted and left out from then
// on: ok is false. An error is one of the disk.
func (g *segment) readBlock(i int, b *block, buf *[]byte, bad damage) (ok bool, err error) {
	if g.bad[i].Load() {
		return false, nil
	}
	ref := &g.blocks[i]
	*buf = slices.Grow((*buf)[:0], int(ref.size))[:ref.size]
	if _, err := g.file.ReadAt(*buf, ref.offset); err != nil {
		return false, fmt.Errorf("read %q at byte %d: %w", g.name, ref.offset, err)
	}
	return g.parseBlock(i, b, *buf, bad), nil
}

// parseBlock checks and parses block i, which is src, into b, which keeps views of src. It is false where the block is damaged.
func (g *segment) parseBlock(i int, b *block, src []byte, bad damage) bool {
	ref := &g.blocks[i]
	b.tier = g.head.tier
	err := b.parse(src)
	if err == nil && (b.thing != ref.thing || b.minMs != ref.minMs || b.maxMs != ref.maxMs) {
		err = errBlock
	}
	if err != nil {
		g.markBad(i, err, bad)
	}
	return err == nil
}

func (g *segment) markBad(i int, err error, bad damage) {
	g.damaged.Store(true)
	if !g.bad[i].Swap(true) {
		ref := &g.blocks[i]
		bad.found(g.name, fmt.Errorf("block of thing %d at byte %d: %w", ref.thing, ref.offset, err))
	}
}

// openSegment opens a segment by its footer. Where footer and trailer are damaged it finds the blocks by walking over the file;
// notes says what was wrong then.
func openSegment(fsys vfs.FS, dir string, t tier, id uint64) (g *segment, notes []error, err error) {
	name := path.Join(dir, segmentName(t, id))
	f, err := fsys.Open(name)
	if err != nil {
		return nil, nil, err
	}
	g = &segment{file: f, name: segmentName(t, id)}
	defer func() {
		if err != nil {
			err = fmt.Errorf("segment %q: %w", name, errors.Join(err, f.Close()))
		}
	}()
	if g.sizeBytes, err = f.Size(); err != nil {
		return nil, nil, err
	}
	head := make([]byte, segmentHeadBytes)
	if g.sizeBytes >= segmentHeadBytes {
		if _, err := f.ReadAt(head, 0); err != nil {
			return nil, nil, err
		}
	}
	first, headErr := parseSegmentHead(head)
	if errors.Is(headErr, errVersion) {
		return nil, nil, headErr
	}
	index, indexErr := readSegmentIndex(f, g.sizeBytes)
	if indexErr != nil && (errors.Is(indexErr, errDisk) || errors.Is(indexErr, errVersion)) {
		return nil, nil, indexErr
	}
	switch {
	case indexErr == nil && headErr == nil && index.head != first:
		return nil, nil, errDisagree
	case indexErr == nil:
		if headErr != nil {
			notes = append(notes, headErr)
		}
		g.segmentIndex = *index
	case headErr == nil:
		notes = append(notes, indexErr)
		if g.segmentIndex, err = walkSegment(f, g.sizeBytes, first); err != nil {
			return nil, notes, err
		}
	default:
		return nil, nil, fmt.Errorf("%w: %w and %w", errUnreadable, headErr, indexErr)
	}
	if g.head.id != id || g.head.tier != t {
		return nil, nil, fmt.Errorf("%w: it says that it is segment %q", errUnreadable, segmentName(g.head.tier, g.head.id))
	}
	g.finish()
	return g, notes, nil
}

var (
	errDisk       = errors.New("the disk does not read")
	errUnreadable = errors.New("nothing of it can be used")
	errDisagree   = fmt.Errorf("%w: header and index disagree", errUnreadable)
)

func readSegmentIndex(f vfs.File, sizeBytes int64) (*segmentIndex, error) {
	var trailer [trailerBytes]byte
	if sizeBytes < segmentHeadBytes+trailerBytes {
		return nil, errors.New("the file is too short")
	}
	if _, err := f.ReadAt(trailer[:], sizeBytes-trailerBytes); err != nil {
		return nil, fmt.Errorf("%w: %w", errDisk, err)
	}
	offset, size := int64(binary.LittleEndian.Uint64(trailer[:])), int64(binary.LittleEndian.Uint32(trailer[8:]))
	if string(trailer[20:]) != segmentMagic || crc32.Checksum(trailer[:16], castagnoli) != binary.LittleEndian.Uint32(trailer[16:]) ||
		offset < segmentHeadBytes || offset+size != sizeBytes-trailerBytes {
		return nil, errors.New("the trailer is damaged")
	}
	buf := make([]byte, size)
	if _, err := f.ReadAt(buf, offset); err != nil {
		return nil, fmt.Errorf("%w: %w", errDisk, err)
	}
	if crc32.Checksum(buf, castagnoli) != binary.LittleEndian.Uint32(trailer[12:]) {
		return nil, errors.New("the index is damaged")
	}
	x, err := parseSegmentIndex(buf)
	if err != nil {
		return nil, err
	}
	for _, b := range x.blocks {
		if b.offset < segmentHeadBytes || b.offset+int64(b.size) > offset {
			return nil, errors.New("the index points outside of the file")
		}
	}
	return x, nil
}

// walkSegment makes the index from the blocks themselves.
func walkSegment(f vfs.File, sizeBytes int64, head segmentHead) (segmentIndex, error) {
	data := make([]byte, sizeBytes)
	if _, err := f.ReadAt(data, 0); err != nil {
		return segmentIndex{}, fmt.Errorf("%w: %w", errDisk, err)
	}
	x := newIndexBuilder(head)
	b := block{tier: head.tier}
	for off := segmentHeadBytes; off < len(data); {
		size, err := blockSize(data[off:])
		if err != nil || off+size > len(data) || b.parse(data[off:off+size]) != nil {
			off++
			continue
		}
		x.add(&b, int64(off), size)
		off += size
	}
	return x.segmentIndex, nil
}

// indexBuilder collects the index while blocks are written or walked over.
type indexBuilder struct {
	segmentIndex
	known   map[string]uint32
	scratch []MetricID
	key     []byte
}

func newIndexBuilder(head segmentHead) *indexBuilder {
	return &indexBuilder{segmentIndex: segmentIndex{head: head}, known: map[string]uint32{}}
}

func (x *indexBuilder) add(b *block, offset int64, size int) {
	x.scratch, x.key = x.scratch[:0], x.key[:0]
	for i := range b.cols {
		if m := b.cols[i].metric; len(x.scratch) == 0 || x.scratch[len(x.scratch)-1] != m {
			x.scratch = append(x.scratch, m)
			x.key = binary.AppendUvarint(x.key, uint64(m))
		}
		x.samples += int64(b.cols[i].count)
	}
	layout, ok := x.known[string(x.key)]
	if !ok {
		layout = uint32(len(x.layouts))
		x.known[string(x.key)] = layout
		x.layouts = append(x.layouts, slices.Clone(x.scratch))
	}
	x.blocks = append(x.blocks, blockRef{
		offset: offset, minMs: b.minMs, maxMs: b.maxMs, thing: b.thing, size: uint32(size), rows: uint32(b.rows), layout: layout,
	})
}
