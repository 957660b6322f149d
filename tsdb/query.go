package tsdb

import (
	"cmp"
	"slices"
	"strings"
)

// scratch is what one query needs, used again by the next.
type scratch struct {
	runs  []*run
	open  run
	bytes []byte
	buf   []byte
	block block
	dec   blockDecoder
	rd    runReader
	ids   []int64
}

// points collects the samples of one column from segments and runs, in the order in which later ones win.
type points struct {
	text         bool
	minMs, maxMs int64
	times        []int64
	numbers      []float64 // or
	ids          []int64   // of strings
}

func (p *points) reset() { p.times, p.numbers, p.ids = p.times[:0], p.numbers[:0], p.ids[:0] }

// Read fills dst with the numbers of one column between minMs and maxMs, both included. Nothing there is no error. An error is
// one of the disk; damaged blocks are left out, named in the log and counted.
func (s *Store) Read(dst *Samples, thing ThingID, m MetricID, minMs, maxMs int64) error {
	p := points{minMs: minMs, maxMs: maxMs, times: dst.TimesMs[:0], numbers: dst.Values[:0]}
	sc := s.scratches.Get().(*scratch)
	defer s.scratches.Put(sc)
	err := s.collect(&p, sc, thing, m)
	dst.TimesMs, dst.Values = p.times, p.numbers
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
				err := p.addSegment(g, from, to, m, sc, s.damage)
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
	for _, r := range sc.runs {
		p.addRun(r, m, &sc.rd)
	}
	p.settle()
	return nil
}

// snapshot fills sc.runs with the thing's runs that overlap p, the open one copied, under the shard's lock. It reports whether
// the thing is there and has the column.
func (s *Store) snapshot(sc *scratch, p *points, thing ThingID, m MetricID) bool {
	clear(sc.runs)
	sc.runs = sc.runs[:0]
	sh := s.live.shard(thing)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.things[thing]
	if t == nil || t.find(m) < 0 {
		return false
	}
	for _, r := range t.closed {
		if r.minMs <= p.maxMs && r.maxMs >= p.minMs {
			sc.runs = append(sc.runs, r)
		}
	}
	if o := &t.open; o.rows > 0 && o.minMs <= p.maxMs && o.maxMs >= p.minMs {
		sc.bytes = o.appendOpen(sc.bytes[:0])
		sc.open = run{data: sc.bytes, metrics: t.metrics[:len(t.metrics):len(t.metrics)], rows: o.rows}
		sc.runs = append(sc.runs, &sc.open)
	}
	return true
}

func (p *points) addSegment(g *segment, from, to int, m MetricID, sc *scratch, bad damage) error {
	for i := from; i < to; i++ {
		ref := &g.blocks[i]
		if ref.minMs > p.maxMs || ref.maxMs < p.minMs || !g.has(ref, m) {
			continue
		}
		ok, err := g.readBlock(i, &sc.block, &sc.buf, bad)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := p.addBlock(&sc.block, m, &sc.dec); err != nil {
			g.markBad(i, err, bad)
		}
	}
	return nil
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
	for j, row := range dec.rows {
		ms := dec.times[row]
		if ms < p.minMs || ms > p.maxMs {
			continue
		}
		p.times = append(p.times, ms)
		switch {
		case p.text:
			p.ids = append(p.ids, dec.ints[j])
		case c.kind == Float:
			p.numbers = append(p.numbers, dec.floats[j])
		default:
			p.numbers = append(p.numbers, decimalFloat(dec.ints[j], c.exp))
		}
	}
	return nil
}

func (p *points) addRun(r *run, m MetricID, rd *runReader) {
	col := slices.Index(r.metrics, m)
	if col < 0 {
		return
	}
	rd.reset(r.data, r.rows, len(r.metrics))
	for rd.next() {
		if rd.row.timeMs < p.minMs || rd.row.timeMs > p.maxMs {
			continue
		}
		for i, s := range rd.row.layout {
			if int(s.col) != col || (s.kind == String) != p.text {
				continue
			}
			p.times = append(p.times, rd.row.timeMs)
			if p.text {
				p.ids = append(p.ids, rd.row.mantissas[i])
			} else {
				p.numbers = append(p.numbers, Value{Mantissa: rd.row.mantissas[i], Exp: s.exp, Kind: s.kind}.Float())
			}
		}
	}
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

// Metrics returns the columns that ever had a value, by id.
func (s *Store) Metrics() []Metric {
	var list []Metric
	for id, name := range s.dict.metrics.since(0) {
		if kinds := s.live.kinds[id].Load(); kinds != 0 {
			list = append(list, Metric{MetricID(id), name, uint8(kinds)})
		}
	}
	return list
}

// ThingsWith appends the things that may have a sample of m between minMs and maxMs, ascending, to dst.
func (s *Store) ThingsWith(dst []ThingID, m MetricID, minMs, maxMs int64) []ThingID {
	start := len(dst)
	for i := range s.live.shards {
		sh := &s.live.shards[i]
		sh.mu.Lock()
		for id, t := range sh.things {
			if t.find(m) >= 0 && t.overlaps(minMs, maxMs) {
				dst = append(dst, id)
			}
		}
		sh.mu.Unlock()
	}
	inMemory := len(dst)
	for _, g := range *s.segments.Load() {
		dst = g.appendThings(dst, m, minMs, maxMs)
	}
	if inMemory < len(dst) {
		gone := map[ThingID]bool{}
		for i := range s.live.shards {
			sh := &s.live.shards[i]
			sh.mu.Lock()
			for id := range sh.deleted {
				gone[id] = true
			}
			sh.mu.Unlock()
		}
		dst = append(dst[:start], slices.DeleteFunc(dst[start:], func(id ThingID) bool { return gone[id] })...)
	}
	slices.Sort(dst[start:])
	return append(dst[:start], slices.Compact(dst[start:])...)
}

func (t *thing) overlaps(minMs, maxMs int64) bool {
	if t.open.rows > 0 && t.open.minMs <= maxMs && t.open.maxMs >= minMs {
		return true
	}
	return slices.ContainsFunc(t.closed, func(r *run) bool { return r.minMs <= maxMs && r.maxMs >= minMs })
}

func (g *segment) appendThings(dst []ThingID, m MetricID, minMs, maxMs int64) []ThingID {
	if g.minMs > maxMs || g.maxMs < minMs {
		return dst
	}
	has := make([]bool, len(g.layouts))
	for i, l := range g.layouts {
		_, has[i] = slices.BinarySearch(l, m)
	}
	for i := range g.blocks {
		if b := &g.blocks[i]; has[b.layout] && b.minMs <= maxMs && b.maxMs >= minMs {
			dst = append(dst, b.thing)
		}
	}
	return dst
}

// Twin appends the last value of each column of a thing, by name, to dst.
func (s *Store) Twin(dst []Field, thing ThingID) []Field {
	start := len(dst)
	sh := s.live.shard(thing)
	sh.mu.Lock()
	if t := sh.things[thing]; t != nil {
		for i := range t.cols {
			if t.cols[i].lastMs >= 0 {
				dst = append(dst, s.field(t, i))
			}
		}
	}
	sh.mu.Unlock()
	slices.SortFunc(dst[start:], func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	return dst
}

// Last returns the last value of a column; it takes the time of a few comparisons, whatever the history.
func (s *Store) Last(thing ThingID, m MetricID) (Field, bool) {
	sh := s.live.shard(thing)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.things[thing]
	if t == nil {
		return Field{}, false
	}
	i := t.find(m)
	if i < 0 || t.cols[i].lastMs < 0 {
		return Field{}, false
	}
	return s.field(t, i), true
}

// field returns the last value of column i. The caller holds the shard's lock.
func (s *Store) field(t *thing, i int) Field {
	c := &t.cols[i]
	f := Field{Metric: t.metrics[i], Name: s.dict.MetricName(t.metrics[i]), Kind: c.kind, TimeMs: c.lastMs}
	if c.kind == String {
		f.Text = s.dict.StringValue(uint32(c.mantissa))
	} else {
		f.Number = Value{Mantissa: c.mantissa, Exp: c.exp, Kind: c.kind}.Float()
	}
	return f
}
