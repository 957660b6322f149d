package tsdb

import "slices"

// scratch is what one query needs, used again by the next.
type scratch struct {
	runs     []runPart
	bytes    []byte
	sections []section
	buf      []byte
	ahead    readAhead
	near     [nearSegments]nearBlock
	block    block
	dec      blockDecoder
	rd       runReader
	ids      []int64
	whole    points // what goes into the cache
	list     []int64
	own      []int64 // times of a sparse column
	steps    points  // of ReadLastAt
	days     []tierDay
	latest   []Latest
}

// nearSegments is how many segments a scratch knows its place in.
const nearSegments = 8

// nearBlock is the block behind those that were last looked for in a segment.
type nearBlock struct {
	id   uint64 // of the segment, all of which are raw
	next int
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
			n := Thin(p.times, p.numbers, firstMs, stepMs)
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
		if p.minMs > p.maxMs || !s.snapshot(sc, p, thing, m) {
			return nil
		}
		whole := true
		for _, g := range *s.segments.Load() {
			if g.minMs > p.maxMs || g.maxMs < p.minMs {
				continue
			}
			if from, to := sc.blocksOf(g, thing); from < to {
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
	if t == nil {
		return false
	}
	if len(t.closed) == 0 && t.open.rows == 0 {
		return true // segments tell what columns they have
	}
	if t.find(m) < 0 {
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

// blocksOf is segment.of, which it need not ask for the thing that follows the one before.
func (sc *scratch) blocksOf(g *segment, thing ThingID) (from, to int) {
	n := &sc.near[g.head.id%nearSegments]
	if n.id != g.head.id || n.next >= len(g.blocks) || g.blocks[n.next].thing != thing {
		from, to = g.of(thing)
	} else {
		for from, to = n.next, n.next; to < len(g.blocks) && g.blocks[to].thing == thing; to++ {
		}
	}
	n.id, n.next = g.head.id, to
	return from, to
}

// addSegment adds the samples of blocks from to to-1, all of one thing.
func (s *Store) addSegment(p *points, g *segment, from, to int, m MetricID, sc *scratch) error {
	for i := from; i < to; i++ {
		ref := &g.blocks[i]
		if ref.minMs > p.maxMs || ref.maxMs < p.minMs || !g.has(ref, m) || g.bad[i].Load() {
			continue
		}
		summary := p.extreme != everything && ref.minMs >= p.minMs && ref.maxMs <= p.maxMs && s.alone(g, i, sc)
		var known *decodedColumn
		if !p.text && !summary {
			known = s.cache.get(columnID{ownerSegment | g.head.id, uint32(i), m})
			if known != nil && known.covers(p.minMs, p.maxMs) {
				p.cost.Cached++
				p.addDecoded(known)
				continue
			}
		}
		src, err := sc.ahead.read(g, i)
		if err != nil {
			return err
		}
		if !g.parseBlock(i, &sc.block, src, s.damage) {
			continue
		}
		if summary && p.addExtreme(&sc.block, m) {
			p.cost.Headers++
			continue
		}
		p.cost.Blocks++
		if p.text {
			if err := p.addTexts(&sc.block, m, &sc.dec); err != nil {
				g.markBad(i, err, s.damage)
			}
			continue
		}
		if err := s.addBlock(p, g, i, m, known, sc); err != nil {
			g.markBad(i, err, s.damage)
		}
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
		if p.text || !s.cache.fits(rows) {
			var at plainPlace
			p.cost.Sections++
			p.addSection(data, rows, col, r, &sc.rd, &at)
			continue
		}
		// The last section of an open run grows; what is known of its first rows stays true. More rows than our copy has are newer ones.
		id := columnID{r.owner, uint32(r.first + i), m}
		d := s.cache.get(id)
		if d == nil || int(d.endRow) < rows {
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
	if d != nil && d.next != nil {
		at = *d.next
		w.times, w.numbers = d.appendTimes(w.times, 0, int(d.samples)), d.appendNumbers(w.numbers, 0, int(d.samples))
		if !w.addPlainSection(data, rows-int(d.endRow), uint16(col), &at) {
			at = plainPlace{}
		}
	}
	if at.pos == 0 {
		w.reset()
		w.addSection(data, rows, col, r, &sc.rd, &at)
	}
	grown := &decodedColumn{ascending: slices.IsSorted(w.times), endRow: int32(rows)}
	grown.setTimes(w.times)
	sc.list = grown.setDoubles(w.numbers, sc.list)
	grown.sizeBytes = int32(len(grown.times.bytes) + len(grown.numbers.bytes) + cachedColumnBytes)
	if at.pos > 0 {
		grown.next = &at
	}
	return grown
}
