package tsdb

import (
	"slices"
	"strings"
)

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
		for t := range sh.things.all() {
			if t.find(m) >= 0 && t.overlaps(minMs, maxMs) {
				dst = append(dst, t.id)
			}
		}
		sh.mu.Unlock()
	}
	inMemory := len(dst)
	for _, g := range *s.segments.Load() {
		dst = g.appendThings(dst, m, minMs, maxMs)
	}
	for _, g := range *s.tiers.Load() {
		dst = g.appendThings(dst, aggregateColumn(m, aggCount), minMs, maxMs)
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

// Holds says whether ThingsWith would name the thing.
func (s *Store) Holds(thing ThingID, m MetricID, minMs, maxMs int64) bool {
	sh := s.live.shard(thing)
	sh.mu.Lock()
	t := sh.things.get(thing)
	inMemory := t != nil && t.find(m) >= 0 && t.overlaps(minMs, maxMs)
	_, deleted := sh.deleted[thing]
	sh.mu.Unlock()
	if inMemory || deleted {
		return inMemory
	}
	for _, g := range *s.segments.Load() {
		if g.holds(thing, m, minMs, maxMs) {
			return true
		}
	}
	for _, g := range *s.tiers.Load() {
		if g.holds(thing, aggregateColumn(m, aggCount), minMs, maxMs) {
			return true
		}
	}
	return false
}

func (g *segment) holds(thing ThingID, m MetricID, minMs, maxMs int64) bool {
	if g.minMs > maxMs || g.maxMs < minMs {
		return false
	}
	from, to := g.of(thing)
	return slices.ContainsFunc(g.blocks[from:to], func(b blockRef) bool { return b.minMs <= maxMs && b.maxMs >= minMs && g.has(&b, m) })
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
	if t := sh.things.get(thing); t != nil {
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
	t := sh.things.get(thing)
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
