package tsdb

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// scratch is what one query needs, used again by the next.
type scratch struct {
	runs     []runPart
	bytes    []byte
	sections []section
	buf      []byte
	block    block
	dec      blockDecoder
	rd       runReader
	ids      []int64
	whole    points // what goes into the cache
	steps    points // of ReadLastAt
	days     []tierDay
}

// runPart is the sections of one run that a query wants. data starts with the first of them.
type runPart struct {
	owner    uint64 // columnID.owner
	first    int    // of sections, which one of the run it is
	data     []byte
	sections []section
	rows     int
	metrics  []MetricID
	known    *decodedColumn // all of it, where it is a section that the cache has: then there is no data
}

// points collects the samples of one column from segments and runs, in the order in which later ones win.
//
// Where stepMs is not 0, of the samples up to firstMs, and of those between two steps after it, only the last is kept. That
// needs ascending times: where they do not ascend, disorder is set and the points are good for nothing.
type points struct {
	text            bool
	minMs, maxMs    int64
	firstMs, stepMs int64
	times           []int64
	numbers         []float64 // or
	ids             []int64   // of strings

	waits    bool  // a sample may yet be followed by another before the next step
	waiting  point // it
	edgeMs   int64 // the first step at or after it
	disorder bool

	// Of a block that lies in the range as a whole, only the smallest or the largest number is wanted.
	extreme extreme

	steps *stepGrid // takes all numbers instead, if not nil
	cost  ReadCost
}

type extreme uint8

const (
	everything extreme = iota
	smallest
	largest
)

// point is one sample as it is stored.
type point struct {
	timeMs   int64
	mantissa int64
	exp      int8
	kind     Kind
}

func (p *points) reset() {
	p.times, p.numbers, p.ids = p.times[:0], p.numbers[:0], p.ids[:0]
	p.waits, p.disorder, p.cost = false, false, ReadCost{}
	if p.steps != nil {
		p.steps.reset()
	}
}

// Read fills dst with the numbers of one column between minMs and maxMs, both included. Nothing there is no error. An error is
// one of the disk; damaged blocks are left out, named in the log and counted.
func (s *Store) Read(dst *Samples, thing ThingID, m MetricID, minMs, maxMs int64) error {
	return s.ReadSteps(dst, thing, m, minMs, maxMs, 0, 0)
}

// ReadSteps is Read for a caller that looks at the steps firstMs + n*stepMs only, at each for the last sample at or before it: of
// the samples that lie between two steps, and of those up to firstMs, it returns the last. A stepMs of 0 returns all.
func (s *Store) ReadSteps(dst *Samples, thing ThingID, m MetricID, minMs, maxMs, firstMs, stepMs int64) error {
	p := points{minMs: minMs, maxMs: maxMs, firstMs: firstMs, stepMs: stepMs, times: dst.TimesMs[:0], numbers: dst.Values[:0]}
	sc := s.scratches.Get().(*scratch)
	defer s.scratches.Put(sc)
	err := s.collect(&p, sc, thing, m)
	if p.disorder && err == nil {
		p.stepMs = 0
		if err = s.collect(&p, sc, thing, m); err == nil {
			n := thin(p.times, p.numbers, firstMs, stepMs)
			p.times, p.numbers = p.times[:n], p.numbers[:n]
		}
	}
	dst.TimesMs, dst.Values, dst.Cost = p.times, p.numbers, p.cost
	return err
}

// ReadExtremes is Read for a caller that looks for the smallest number between minMs and maxMs, or with most for the largest: dst then has
// it, and need not have all others. Blocks say it without being decoded. What it has is among what Read has, but for the times.
func (s *Store) ReadExtremes(dst *Samples, thing ThingID, m MetricID, minMs, maxMs int64, most bool) error {
	p := points{minMs: minMs, maxMs: maxMs, extreme: smallest, times: dst.TimesMs[:0], numbers: dst.Values[:0]}
	if most {
		p.extreme = largest
	}
	sc := s.scratches.Get().(*scratch)
	defer s.scratches.Put(sc)
	err := s.collect(&p, sc, thing, m)
	dst.TimesMs, dst.Values, dst.Cost = p.times, p.numbers, p.cost
	return err
}

// thin keeps, of the samples between two steps, the last. It works in place and returns how many are left.
func thin(times []int64, values []float64, firstMs, stepMs int64) int {
	left, edge := 0, firstMs
	for i, ms := range times {
		if i+1 < len(times) && times[i+1] <= edge {
			continue
		}
		times[left], values[left] = ms, values[i]
		left++
		if i+1 < len(times) {
			edge = stepAfter(times[i+1], firstMs, stepMs)
		}
	}
	return left
}

// stepAfter returns the first step at or after ms.
func stepAfter(ms, firstMs, stepMs int64) int64 {
	if ms <= firstMs {
		return firstMs
	}
	return firstMs + (ms-firstMs+stepMs-1)/stepMs*stepMs
}

// ReadStrings is Read for strings.
func (s *Store) ReadStrings(dst *StringSamples, thing ThingID, m MetricID, minMs, maxMs int64) error {
	sc := s.scratches.Get().(*scratch)
	defer s.scratches.Put(sc)
	p := points{text: true, minMs: minMs, maxMs: maxMs, times: dst.TimesMs[:0], ids: sc.ids[:0]}
	err := s.collect(&p, sc, thing, m)
	dst.TimesMs, dst.Values, sc.ids = p.times, dst.Values[:0], p.ids
	for _, id := range p.ids {
		dst.Values = append(dst.Values, s.dict.StringValue(uint32(id)))
	}
	return err
}

// collect fills p with all samples of the column, ascending and unique in time.
//
// The rows in memory are looked at before the list of segments: rows that leave memory are in the list by then, and those that are
// in both merge into one.
func (s *Store) collect(p *points, sc *scratch, thing ThingID, m MetricID) error {
	for {
		p.reset()
		if !s.snapshot(sc, p, thing, m) {
			return nil
		}
		whole := true
		for _, g := range *s.segments.Load() {
			if g.minMs > p.maxMs || g.maxMs < p.minMs {
				continue
			}
			if from, to := g.of(thing); from < to {
				if whole = g.acquire(); !whole {
					break
				}
				err := s.addSegment(p, g, from, to, m, sc)
				g.release(s.opts.Log)
				if err != nil {
					p.reset()
					return err
				}
			}
		}
		if whole {
			break
		}
		// A segment was merged or deleted meanwhile: begin again with the new list.
	}
	for i := range sc.runs {
		s.addRun(p, &sc.runs[i], m, sc)
	}
	p.flush()
	if p.stepMs == 0 {
		p.settle()
	}
	return nil
}

// snapshot fills sc.runs with the sections of the thing's runs that overlap p, those of the open run copied, under the shard's
// lock. It reports whether the thing is there and has the column.
func (s *Store) snapshot(sc *scratch, p *points, thing ThingID, m MetricID) bool {
	clear(sc.runs)
	sc.runs = sc.runs[:0]
	sh := s.live.shard(thing)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.things.get(thing)
	if t == nil || t.find(m) < 0 {
		return false
	}
	for _, r := range t.closed {
		if from, to := overlapping(r.sections, p.minMs, p.maxMs); from < to {
			sc.runs = append(sc.runs, runPart{
				owner: runOwner(thing, r.number), first: from, data: r.data[r.sections[from].offset:], sections: r.sections[from:to],
				rows: r.rows - from*sectionRows, metrics: r.metrics,
			})
		}
	}
	o := &t.open
	if o.rows == 0 || o.minMs > p.maxMs || o.maxMs < p.minMs {
		return true
	}
	sc.sections = append(append(sc.sections[:0], o.full...), o.last)
	if from, to := overlapping(sc.sections, p.minMs, p.maxMs); from < to {
		s.addOpenRun(sc, p, t, thing, m, from, to)
	}
	return true
}

func runOwner(thing ThingID, number uint32) uint64 {
	return uint64(thing)<<31 | uint64(number)&(1<<31-1)
}

// overlapping returns the smallest range of sections outside of which nothing lies in [minMs, maxMs].
func overlapping(list []section, minMs, maxMs int64) (from, to int) {
	to = len(list)
	for from < to && (list[from].minMs > maxMs || list[from].maxMs < minMs) {
		from++
	}
	for from < to && (list[to-1].minMs > maxMs || list[to-1].maxMs < minMs) {
		to--
	}
	return from, to
}

// add takes the next sample, which lies in [minMs, maxMs].
func (p *points) add(x point) {
	if p.stepMs == 0 {
		p.push(x)
		return
	}
	if p.waits {
		if x.timeMs <= p.waiting.timeMs {
			p.disorder = true
		}
		if x.timeMs <= p.edgeMs {
			p.waiting = x
			return
		}
		p.push(p.waiting)
	}
	p.waits, p.waiting = true, x
	p.edgeMs = stepAfter(x.timeMs, p.firstMs, p.stepMs)
}

// flush adds the sample that waits: no other follows.
func (p *points) flush() {
	if p.waits {
		p.push(p.waiting)
		p.waits = false
	}
}

func (p *points) push(x point) {
	if p.steps != nil {
		p.steps.add(x)
		return
	}
	p.times = append(p.times, x.timeMs)
	if p.text {
		p.ids = append(p.ids, x.mantissa)
	} else {
		p.numbers = append(p.numbers, Value{Mantissa: x.mantissa, Exp: x.exp, Kind: x.kind}.Float())
	}
}

// addSegment adds the samples of blocks from to to-1, all of one thing.
func (s *Store) addSegment(p *points, g *segment, from, to int, m MetricID, sc *scratch) error {
	for i := from; i < to; i++ {
		ref := &g.blocks[i]
		if ref.minMs > p.maxMs || ref.maxMs < p.minMs || !g.has(ref, m) || g.bad[i].Load() {
			continue
		}
		id := columnID{ownerSegment | g.head.id, uint32(i), m}
		cached := !p.text && s.cache.fits(int(ref.rows), ref.minMs, ref.maxMs)
		summary := p.extreme != everything && ref.minMs >= p.minMs && ref.maxMs <= p.maxMs && s.alone(g, i, sc)
		if cached && !summary {
			if d := s.cache.get(id); d != nil {
				p.cost.Cached++
				p.addDecoded(d)
				continue
			}
		}
		ok, err := g.readBlock(i, &sc.block, &sc.buf, s.damage)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if summary && p.addExtreme(&sc.block, m) {
			p.cost.Headers++
			continue
		}
		p.cost.Blocks++
		if !cached {
			if err := p.addBlock(&sc.block, m, &sc.dec); err != nil {
				g.markBad(i, err, s.damage)
			}
			continue
		}
		d, err := s.decodeWhole(g, i, &sc.block, m, &sc.dec)
		if err != nil {
			g.markBad(i, err, s.damage)
			continue
		}
		p.addDecoded(d)
	}
	return nil
}

// alone says whether no other row of the thing lies between the times of block i of g: one could replace a value of it.
func (s *Store) alone(g *segment, i int, sc *scratch) bool {
	ref := &g.blocks[i]
	for _, other := range *s.segments.Load() {
		if other.minMs > ref.maxMs || other.maxMs < ref.minMs {
			continue
		}
		from, to := other.of(ref.thing)
		for j := from; j < to; j++ {
			if b := &other.blocks[j]; b.minMs <= ref.maxMs && b.maxMs >= ref.minMs && (other != g || j != i) {
				return false
			}
		}
	}
	for _, r := range sc.runs {
		if from, to := overlapping(r.sections, ref.minMs, ref.maxMs); from < to {
			return false
		}
	}
	return true
}

// addExtreme adds the smallest or largest number of a block by its summary, if that is what decoding would give. Of doubles, 0 and
// -0 are two numbers to us and one to PromQL.
func (p *points) addExtreme(b *block, m MetricID) bool {
	c := b.column(m, false)
	if c == nil || !c.hasStats || c.kind == Float {
		return c == nil
	}
	v := c.stats.min
	if p.extreme == largest {
		v = c.stats.max
	}
	p.push(point{b.maxMs, int64(math.Float64bits(v)), 0, Float})
	return true
}

// all makes p collect all numbers, whatever their time.
func (p *points) all() {
	p.reset()
	p.minMs, p.maxMs = 0, math.MaxInt64
}

func (p *points) addBlock(b *block, m MetricID, dec *blockDecoder) error {
	c := b.column(m, p.text)
	if c == nil {
		return nil
	}
	if err := dec.decodeTimes(b); err != nil {
		return err
	}
	if err := dec.decodeColumn(b, c); err != nil {
		return err
	}
	for j := range c.count {
		if ms := dec.times[dec.row(c, j)]; ms >= p.minMs && ms <= p.maxMs {
			p.add(point{ms, dec.cell(c, j), c.exp, c.kind})
		}
	}
	return nil
}

// addRun adds the samples of one run.
func (s *Store) addRun(p *points, r *runPart, m MetricID, sc *scratch) {
	if r.known != nil {
		p.cost.Cached++
		p.addDecoded(r.known)
		return
	}
	col := slices.Index(r.metrics, m)
	if col < 0 {
		return
	}
	left := r.rows
	for i := range r.sections {
		sec := &r.sections[i]
		rows := min(left, sectionRows)
		left -= rows
		if sec.minMs > p.maxMs || sec.maxMs < p.minMs {
			continue
		}
		data := r.data[sec.offset-r.sections[0].offset:]
		if p.text || !s.cache.fits(rows, sec.minMs, sec.maxMs) {
			var at plainPlace
			p.cost.Sections++
			p.addSection(data, rows, col, r, &sc.rd, &at)
			continue
		}
		// The last section of an open run grows; what is known of its first rows stays true. More rows than our copy has are newer ones.
		id := columnID{r.owner, uint32(r.first + i), m}
		d := s.cache.get(id)
		if d == nil || d.rows < rows {
			d = d.grown(data, rows, col, r, sec, sc)
			s.cache.put(id, d)
			p.cost.Sections++
		} else {
			p.cost.Cached++
		}
		p.addDecoded(d)
	}
}

// grown returns what d, which may be nil, is once it has the first rows rows of a section.
func (d *decodedColumn) grown(data []byte, rows, col int, r *runPart, sec *section, sc *scratch) *decodedColumn {
	w := &sc.whole
	w.all()
	var at plainPlace
	if d != nil && d.next.pos > 0 && d.baseMs <= sec.minMs {
		at = d.next
		for i, off := range d.offsets {
			w.times = append(w.times, d.baseMs+int64(off))
			w.numbers = append(w.numbers, d.floats[i])
		}
		if !w.addPlainSection(data, rows-d.rows, uint16(col), &at) {
			at = plainPlace{}
		}
	}
	if at.pos == 0 {
		w.reset()
		w.addSection(data, rows, col, r, &sc.rd, &at)
	}
	grown := newOffsets(w.times, sec.minMs).withFloats(w.numbers)
	grown.rows, grown.next = rows, at
	return grown
}

// addSection adds the samples of one column of a section. at is where a section that grows goes on; it is left as it was
// where that is not known.
func (p *points) addSection(data []byte, rows, col int, r *runPart, rd *runReader, at *plainPlace) {
	before := *p
	if !p.addPlainSection(data, rows, uint16(col), at) {
		*p, *at = before, plainPlace{}
		p.addAnySection(data, rows, col, len(r.metrics), rd)
	}
}

// addAnySection adds the samples of one column of a section, whatever its rows are like.
func (p *points) addAnySection(data []byte, rows, col, columns int, rd *runReader) {
	for rd.reset(data, rows, columns); rd.next(); {
		if rd.row.timeMs < p.minMs || rd.row.timeMs > p.maxMs {
			continue
		}
		for i, s := range rd.row.layout {
			if int(s.col) == col && (s.kind == String) == p.text {
				p.add(point{rd.row.timeMs, rd.row.mantissas[i], s.exp, s.kind})
			}
		}
	}
}

// addPlainSection is addAnySection without decoding the other columns, some five times as fast with eight of them. It gives up, and
// p is then good for nothing, at rows of more than 64 values or with the column twice.
//
// It begins at place, whose zero value is the start of the section, and moves it behind the rows.
func (p *points) addPlainSection(data []byte, rows int, col uint16, place *plainPlace) bool {
	var (
		pos           = place.pos
		timeMs, value = place.timeMs, place.value
		width         = place.width
		at            = place.at - 1
		slotOf        = place.slot
		below, own    uint64 // bits of the values before it, and its own
	)
	if at >= 0 {
		own = 1 << at
		below = own - 1
	}
	for range rows {
		var u uint64
		// Time, tag and mask of nearly every row lie in eight bytes.
		x := binary.LittleEndian.Uint64(data[pos:])
		if ends := ^uint32(x) & (lastBytes & math.MaxUint32); ends != 0 {
			n := bits.TrailingZeros32(ends) + 1 // bits
			u = x & (1<<n - 1)
			u = u&0x7f | u>>1&0x3f80 | u>>2&0x1fc000 | u>>3&0xfe00000
			x >>= n & 63
			pos += n / 8
		} else {
			u, pos = uvarintAt(data, pos)
			x = binary.LittleEndian.Uint64(data[pos:])
		}
		timeMs += unzigzag(u)
		if byte(x) == 0 {
			pos++
			x >>= 8
		} else {
			u, pos = uvarintAt(data, pos)
			if width = int(u); width > 64 {
				return false
			}
			at = -1
			for i := range width {
				u, pos = uvarintAt(data, pos)
				s := slot{col: uint16(u), kind: Kind(data[pos]), exp: int8(data[pos+1])}
				pos += 2
				if s.col != col {
					continue
				}
				if at >= 0 {
					return false
				}
				at, slotOf = i, s
			}
			below, own = 0, 0
			if at >= 0 {
				own = 1 << at
				below = own - 1
			}
			x = binary.LittleEndian.Uint64(data[pos:])
		}
		bytes := (width + 7) / 8
		if bytes > 2 {
			x = binary.LittleEndian.Uint64(data[pos:])
		}
		mask := x & (1<<(8*bytes) - 1)
		pos += bytes
		if mask&own == 0 {
			pos = skipVarints(data, pos, bits.OnesCount64(mask))
		} else {
			pos = skipVarints(data, pos, bits.OnesCount64(mask&below))
			if x := data[pos]; x < 0x80 {
				u, pos = uint64(x), pos+1
			} else {
				u, pos = uvarintAt(data, pos)
			}
			value += unzigzag(u)
			pos = skipVarints(data, pos, bits.OnesCount64(mask&^below&^own))
		}
		switch {
		case at < 0 || timeMs < p.minMs || timeMs > p.maxMs || (slotOf.kind == String) != p.text:
		case p.waits && timeMs <= p.edgeMs && timeMs > p.waiting.timeMs:
			p.waiting = point{timeMs, value, slotOf.exp, slotOf.kind}
		default:
			p.add(point{timeMs, value, slotOf.exp, slotOf.kind})
		}
	}
	*place = plainPlace{pos, timeMs, value, width, at + 1, slotOf}
	return true
}

// plainPlace is where addPlainSection stands between two rows.
type plainPlace struct {
	pos           int
	timeMs, value int64 // of the row before
	width         int   // values in a row
	at            int   // which of them is of the column, counted from 1; 0: none
	slot          slot  // its
}

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// lastBytes has the bit by which each byte of a varint says that it is not the last.
const lastBytes = 0x8080808080808080

// uvarintAt decodes the uvarint at pos and returns what follows it. At least runPadding bytes follow in data.
func uvarintAt(data []byte, pos int) (uint64, int) {
	x := binary.LittleEndian.Uint64(data[pos:])
	ends := ^x & lastBytes
	if ends == 0 {
		u, n := binary.Uvarint(data[pos:])
		return u, pos + n
	}
	n := bits.TrailingZeros64(ends) + 1 // bits
	x &= 1<<n - 1
	x = x&0x007f007f007f007f | x&0x7f007f007f007f00>>1
	x = x&0x00003fff00003fff | x&0x3fff00003fff0000>>2
	x = x&0x000000000fffffff | x&0x0fffffff00000000>>4
	return x, pos + n/8
}

// skipVarints returns what follows n varints. At least runPadding bytes follow in data.
func skipVarints(data []byte, pos, n int) int {
	for n > 0 {
		ends := ^binary.LittleEndian.Uint64(data[pos:]) & lastBytes
		if here := bits.OnesCount64(ends); here < n {
			n -= here
			pos += 8
			continue
		}
		for ; n > 1; n-- {
			ends &= ends - 1
		}
		return pos + bits.TrailingZeros64(ends)/8 + 1
	}
	return pos
}

// settle makes the points ascending and unique in time; of those with one time the last added stays.
func (p *points) settle() {
	ascending := true
	for i := 1; i < len(p.times) && ascending; i++ {
		ascending = p.times[i-1] < p.times[i]
	}
	if ascending {
		return
	}
	perm := make([]int32, len(p.times))
	for i := range perm {
		perm[i] = int32(i)
	}
	slices.SortStableFunc(perm, func(a, b int32) int { return cmp.Compare(p.times[a], p.times[b]) })
	kept := perm[:0]
	for _, i := range perm {
		if n := len(kept); n > 0 && p.times[kept[n-1]] == p.times[i] {
			kept[n-1] = i
		} else {
			kept = append(kept, i)
		}
	}
	p.times = pick(p.times, kept)
	if p.text {
		p.ids = pick(p.ids, kept)
	} else {
		p.numbers = pick(p.numbers, kept)
	}
}

// pick puts a[order[i]] at a[i], in place.
func pick[T any](a []T, order []int32) []T {
	picked := make([]T, len(order))
	for i, j := range order {
		picked[i] = a[j]
	}
	return a[:copy(a, picked)]
}
