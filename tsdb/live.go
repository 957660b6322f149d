package tsdb

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// shardCount spreads things over locks: far more than the cores of a gateway, so that two rarely meet.
	shardCount = 32
	// chunkBytes is the unit in which open runs grow: a row of eight columns takes about 15 bytes, and most things of a large fleet
	// have few rows.
	chunkBytes = 256
	slabBytes  = 32 << 10
	// runRows and runBytes end a run; then its bytes are never changed and queries read them without a lock.
	runRows  = 1024
	runBytes = 128 << 10
)

// live is what is in memory: the last value of every column, and the rows that are not in segments yet.
type live struct {
	shards  [shardCount]shard
	bytes   atomic.Int64 // of runs, what sealing gives back
	things  atomic.Int64
	series  atomic.Int64
	deleted atomic.Int64    // things, ever
	samples atomic.Int64    // of runs
	minMs   atomic.Int64    // of rows since the last seal, about
	maxMs   atomic.Int64    // of all rows since opening
	kinds   []atomic.Uint32 // by MetricID: bit 1<<Kind
	watch   watch

	scanBytes      atomic.Int64 // of dense columns, about
	scanGeneration atomic.Int64 // rises when all of them are given up
}

// shard is the part of the things whose id has one remainder. Its lock is held for one row, or for copying one open run.
type shard struct {
	mu      sync.Mutex // guards all below
	things  things
	deleted map[ThingID]struct{}
	free    []*chunk
	row     []byte  // scratch: the row being encoded
	next    []slot  // scratch: its layout
	scaled  []int64 // scratch: its mantissas
	watched watched // thresholds and crossings
	scans   scans   // dense columns of last values
}

// thing is one device. All of it is guarded by its shard's lock but closed runs, which never change.
type thing struct {
	cols    []column
	layout  []slot // of the newest row in the open run
	open    openRun
	metrics []MetricID // by column; only ever appended to, so that a run keeps a view of it
	order   []uint16   // columns by ascending metric
	runs    uint32     // how many it has had: the number of the open one
	id      ThingID
	closed  []*run // oldest first; sealed ones leave from the front
	sealing int    // how many of closed are being written to segments
}

// column is the state of one column of a thing.
type column struct {
	lastMs   int64 // -1: none
	mantissa int64 // of the last value
	prev     int64 // mantissa of the row before in the open run's section
	exp      int8
	kind     Kind
	crossed  bool   // it is among the crossings of its shard
	near     uint16 // where among the edges of its bounds a value of it was last found; a guess
}

// slot is one value's place in a row: its column, and the kind and exponent that the mantissa is written with.
type slot struct {
	metric MetricID // of the column; where rows are read from a run it is not set
	col    uint16
	kind   Kind
	exp    int8
}

type chunk = [chunkBytes]byte

// openRun is the run that rows are added to. Layout of its bytes: run.go.
type openRun struct {
	room    []byte // the rest of the last of chunks
	size    int
	rows    int
	samples int
	lastMs  int64
	minMs   int64
	maxMs   int64
	last    section // the one that rows are added to
	chunks  []*chunk
	full    []section // those of sectionRows rows
}

// section is where sectionRows rows of a run are, the last one fewer, and what times they have. Each can be decoded by itself.
type section struct {
	offset       uint32
	minMs, maxMs int64
}

// run is some rows of one thing in the order they came. Nothing of it changes.
type run struct {
	data     []byte // and runPadding zeros
	metrics  []MetricID
	sections []section
	number   uint32 // of the thing's runs
	rows     int
	samples  int
	minMs    int64
	maxMs    int64
}

func (l *live) start() {
	l.minMs.Store(math.MaxInt64)
	l.maxMs.Store(-1)
	l.watch.crossed = make(chan struct{}, 1)
	l.kinds = make([]atomic.Uint32, MaxMetrics)
	for i := range l.shards {
		l.shards[i].deleted = map[ThingID]struct{}{}
	}
}

func (l *live) shard(id ThingID) *shard { return &l.shards[id%shardCount] }

// thing returns the thing, made if missing. The caller holds the shard's lock.
func (l *live) thing(sh *shard, id ThingID) *thing {
	t := sh.things.get(id)
	if t == nil {
		t = &thing{id: id}
		sh.things.put(t)
		l.things.Add(1)
	}
	return t
}

// find returns the column of m, -1 if the thing has none.
func (t *thing) find(m MetricID) int {
	lo, hi := 0, len(t.order)
	for lo < hi {
		mid := (lo + hi) / 2
		if t.metrics[t.order[mid]] < m {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(t.order) && t.metrics[t.order[lo]] == m {
		return int(t.order[lo])
	}
	return -1
}

// addColumn appends a column for m, which the thing does not have.
func (t *thing) addColumn(m MetricID) int {
	i := len(t.metrics)
	t.metrics = append(t.metrics, m)
	t.cols = append(t.cols, column{lastMs: -1})
	at, _ := slices.BinarySearchFunc(t.order, m, func(col uint16, m MetricID) int { return int(t.metrics[col]) - int(m) })
	t.order = slices.Insert(t.order, at, uint16(i))
	return i
}

// fits says whether t can take values without too many columns. Nearly always the newest row had the same ones.
func (t *thing) fits(values []Value) bool {
	if len(t.metrics)+len(values) <= MaxThingColumns {
		return true
	}
	extra := 0
	for i := range values {
		if t.find(values[i].Metric) < 0 {
			extra++
		}
	}
	return len(t.metrics)+extra <= MaxThingColumns
}

// insert adds a row to t, which fits it, and sets the last values. The caller holds the shard's lock.
func (l *live) insert(sh *shard, t *thing, timeMs int64, values []Value) {
	o := &t.open
	if o.rows%sectionRows > 0 && t.repeats(values) {
		sh.row = t.encodeAlike(sh.row[:0], timeMs, values)
	} else {
		l.insertOther(sh, t, timeMs, values)
	}
	l.push(sh, o, sh.row)
	l.added(o, 1, len(values), timeMs, timeMs, timeMs)
	watched, scanned := sh.watched.bounds, sh.scans.columns
	layout := t.layout[:len(values)]
	for i := range values {
		v := &values[i]
		c := &t.cols[layout[i].col]
		if timeMs < c.lastMs {
			continue
		}
		if int(v.Metric) < len(watched) && watched[v.Metric] != nil && !c.crossed {
			l.watch.see(watched[v.Metric], sh, t, layout[i].col, v)
		}
		c.lastMs, c.mantissa, c.exp, c.kind = timeMs, v.Mantissa, v.Exp, v.Kind
		if int(v.Metric) < len(scanned) && scanned[v.Metric] != nil {
			l.note(sh, t.id, timeMs, v)
		}
	}
	if o.rows >= runRows || o.size >= runBytes {
		l.closeRun(sh, t)
	}
}

// insertOther fills sh.row with a row that is the first of a section, or whose layout may be another one than that of the row before.
func (l *live) insertOther(sh *shard, t *thing, timeMs int64, values []Value) {
	l.place(sh, t, values)
	o := &t.open
	if o.rows == 0 {
		o.minMs, o.maxMs = timeMs, timeMs
	}
	begins := o.rows%sectionRows == 0
	if begins {
		t.beginSection(timeMs)
	}
	sh.row = t.encode(sh.row[:0], sh.next, sh.scaled, timeMs, !begins && slices.Equal(sh.next, t.layout))
	t.layout = append(t.layout[:0], sh.next...)
	for i := range values {
		v := &values[i]
		if bit := uint32(1) << v.Kind; l.kinds[v.Metric].Load()&bit == 0 {
			l.kinds[v.Metric].Or(bit)
		}
	}
}

// added counts rows that were pushed to o and its last section: their samples, the time of the last one, and the least and greatest time.
func (l *live) added(o *openRun, rows, samples int, lastMs, minMs, maxMs int64) {
	o.minMs, o.maxMs = min(o.minMs, minMs), max(o.maxMs, maxMs)
	o.last.minMs, o.last.maxMs = min(o.last.minMs, minMs), max(o.last.maxMs, maxMs)
	o.lastMs = lastMs
	o.rows += rows
	o.samples += samples
	l.samples.Add(int64(samples))
	for least := l.minMs.Load(); minMs < least && !l.minMs.CompareAndSwap(least, minMs); least = l.minMs.Load() {
	}
	for most := l.maxMs.Load(); maxMs > most && !l.maxMs.CompareAndSwap(most, maxMs); most = l.maxMs.Load() {
	}
}

// beginSection ends the section of the open run and begins the next: nothing before it is needed to decode it.
func (t *thing) beginSection(timeMs int64) {
	o := &t.open
	if o.rows > 0 {
		o.full = append(o.full, o.last)
	}
	o.last = section{uint32(o.size), timeMs, timeMs}
	o.lastMs = 0
	for i := range t.cols {
		t.cols[i].prev = 0
	}
}

// repeats reports whether values have the columns, kinds and exponents of the row before.
func (t *thing) repeats(values []Value) bool {
	if len(values) != len(t.layout) {
		return false
	}
	layout := t.layout[:len(values)]
	for i := range values {
		v, before := &values[i], &layout[i]
		if before.metric != v.Metric || before.kind != v.Kind || before.exp != v.Exp && v.Kind == Decimal {
			return false
		}
	}
	return true
}

// place finds the columns of values and fills sh.next and sh.scaled: decimals get the exponent of the row before where that
// is exact, so that 12.5 and 13 differ by 5 and not by their form.
func (l *live) place(sh *shard, t *thing, values []Value) {
	sh.next, sh.scaled = sh.next[:0], sh.scaled[:0]
	for i := range values {
		v := &values[i]
		next := slot{metric: v.Metric, kind: v.Kind}
		if v.Kind == Decimal {
			next.exp = v.Exp
		}
		mantissa := v.Mantissa
		if i < len(t.layout) && t.layout[i].metric == v.Metric {
			before := t.layout[i]
			next.col = before.col
			if v.Kind == Decimal && before.kind == Decimal && v.Exp != before.exp {
				if m, ok := rescale(mantissa, v.Exp, before.exp); ok {
					next.exp, mantissa = before.exp, m
				}
			}
		} else {
			col := t.find(v.Metric)
			if col < 0 {
				col = t.addColumn(v.Metric)
				l.series.Add(1)
			}
			next.col = uint16(col)
		}
		sh.next = append(sh.next, next)
		sh.scaled = append(sh.scaled, mantissa)
	}
}

var powers = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

// rescale returns the mantissa that stands for mantissa * 10^from with the exponent to, if there is one.
func rescale(mantissa int64, from, to int8) (int64, bool) {
	if mantissa == 0 || from == to {
		return mantissa, true
	}
	shift := int(from) - int(to)
	if shift < 0 || shift >= len(powers) {
		return 0, false
	}
	most := math.MaxInt64 / powers[shift]
	if mantissa > most || mantissa < -most {
		return 0, false
	}
	return mantissa * powers[shift], true
}

// push appends bytes to the open run, over chunks.
func (l *live) push(sh *shard, r *openRun, p []byte) {
	r.size += len(p)
	for len(p) > len(r.room) {
		n := copy(r.room, p)
		p = p[n:]
		if len(sh.free) == 0 {
			sh.grow()
		}
		c := sh.free[len(sh.free)-1]
		sh.free = sh.free[:len(sh.free)-1]
		r.chunks = append(r.chunks, c)
		r.room = c[:]
		l.bytes.Add(chunkBytes)
	}
	r.room = r.room[copy(r.room, p):]
}

// grow makes a slab of free chunks.
func (sh *shard) grow() {
	slab := make([]byte, slabBytes)
	for ; len(slab) > 0; slab = slab[chunkBytes:] {
		sh.free = append(sh.free, (*chunk)(slab))
	}
}

// appendOpen copies the bytes from offset on of the open run, and padding, behind dst.
func (r *openRun) appendOpen(dst []byte, offset int) []byte {
	for offset < r.size {
		n := min(r.size-offset, chunkBytes-offset%chunkBytes)
		dst = append(dst, r.chunks[offset/chunkBytes][offset%chunkBytes:][:n]...)
		offset += n
	}
	return append(dst, padding[:]...)
}

// closeRun makes the open run a closed one and gives its chunks back. The caller holds the shard's lock.
func (l *live) closeRun(sh *shard, t *thing) {
	if t.open.rows == 0 {
		return
	}
	r := &run{
		data: t.open.appendOpen(make([]byte, 0, t.open.size+runPadding), 0), metrics: t.metrics[:len(t.metrics):len(t.metrics)],
		sections: append(slices.Clone(t.open.full), t.open.last),
		number:   t.runs, rows: t.open.rows, samples: t.open.samples, minMs: t.open.minMs, maxMs: t.open.maxMs,
	}
	t.closed = append(t.closed, r)
	l.bytes.Add(int64(len(r.data)))
	l.freeOpen(sh, t)
}

func (l *live) freeOpen(sh *shard, t *thing) {
	t.runs++
	l.bytes.Add(-int64(len(t.open.chunks)) * chunkBytes)
	sh.free = append(sh.free, t.open.chunks...)
	clear(t.open.chunks)
	t.open = openRun{chunks: t.open.chunks[:0], full: t.open.full[:0]}
	t.layout = t.layout[:0]
}

// remove forgets a thing for ever. The caller holds the shard's lock.
func (l *live) remove(sh *shard, id ThingID) {
	if _, again := sh.deleted[id]; !again {
		l.deleted.Add(1)
	}
	sh.deleted[id] = struct{}{}
	t := sh.things.get(id)
	if t == nil {
		return
	}
	l.samples.Add(-int64(t.open.samples))
	l.freeOpen(sh, t)
	l.forget(t.closed)
	l.things.Add(-1)
	l.series.Add(-int64(len(t.cols)))
	sh.things.remove(id)
	sh.scans.forget(id)
}

// forget takes runs that are given up out of the counts.
func (l *live) forget(runs []*run) {
	for _, r := range runs {
		l.bytes.Add(-int64(len(r.data)))
		l.samples.Add(-int64(r.samples))
	}
}
