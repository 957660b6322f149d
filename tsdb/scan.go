package tsdb

import (
	"cmp"
	"math"
	"slices"
)

// lastColumn is the last values of one metric of the things of one shard, by id/shardCount: what a query over all things reads from end to end. It
// is made when it is asked for, if enough of the things have the metric, and kept current by every row from then on, until so many have come since it was
// last read that making it again costs less.
type lastColumn struct {
	unread  int     // values set since it was read
	timesMs []int64 // -1: none
	numbers []float64
	kinds   []Kind
}

const (
	lastColumnBytes = 8 + 8 + 1 // of a thing
	// leastFill is the part of a shard's ids that must have a metric, as 1/leastFill.
	leastFill = 4
	// maxUnread is how many values of each thing a column takes without being read. To make a column takes about as long as ten values of each.
	maxUnread = 32
)

// scans are the dense columns of a shard, guarded by its lock.
type scans struct {
	columns    []*lastColumn // by MetricID; nil: not made
	generation int64         // live.scanGeneration when they were made
}

// put sets the last value of a thing. It is false where the column is to be given up: ids are given one after the other, and this one is far
// beyond all others, or nobody has read the column for long.
func (c *lastColumn) put(slot int, ms int64, v *Value) bool {
	if slot >= leastFill*(len(c.timesMs)+64) || c.unread >= maxUnread*len(c.timesMs) {
		return false
	}
	c.unread++
	for slot >= len(c.timesMs) {
		c.timesMs, c.numbers, c.kinds = append(c.timesMs, -1), append(c.numbers, 0), append(c.kinds, 0)
	}
	c.timesMs[slot], c.numbers[slot], c.kinds[slot] = ms, v.Float(), v.Kind
	return true
}

// note sets the last value of a thing in the dense column for it, which there is.
func (l *live) note(sh *shard, id ThingID, ms int64, v *Value) {
	c := sh.scans.columns[v.Metric]
	if id >= FirstSource {
		return
	}
	before := len(c.timesMs)
	if !c.put(int(id/shardCount), ms, v) {
		sh.scans.columns[v.Metric] = nil
		if sh.scans.generation == l.scanGeneration.Load() {
			l.scanBytes.Add(int64(-before * lastColumnBytes))
		}
		return
	}
	if grown := len(c.timesMs) - before; grown > 0 {
		l.scanBytes.Add(int64(grown * lastColumnBytes))
	}
}

// forget takes a thing out.
func (s *scans) forget(id ThingID) {
	for _, c := range s.columns {
		if slot := int(id / shardCount); c != nil && slot < len(c.timesMs) {
			c.timesMs[slot] = -1
		}
	}
}

// ScanLast calls f with the last value of each thing that has a metric; number is 0 for strings. Sources are left out. Things come in no
// order. f runs with a lock held: it must be short and must not call the store. The second call for a metric that many things have, and those after it,
// take about a nanosecond for a thing and allocate nothing.
func (s *Store) ScanLast(m MetricID, f func(thing ThingID, timeMs int64, kind Kind, number float64)) {
	l := &s.live
	generation := l.scanGeneration.Load()
	for i := range l.shards {
		sh := &l.shards[i]
		sh.mu.Lock()
		if sh.scans.generation != generation {
			clear(sh.scans.columns)
			sh.scans.generation = generation
		}
		if int(m) < len(sh.scans.columns) && sh.scans.columns[m] != nil {
			c := sh.scans.columns[m]
			c.unread = 0
			for slot, ms := range c.timesMs {
				if ms >= 0 {
					f(ThingID(slot*shardCount+i), ms, c.kinds[slot], c.numbers[slot])
				}
			}
		} else {
			s.scanThings(sh, m, f)
		}
		sh.mu.Unlock()
	}
	if l.scanBytes.Load() > s.opts.MemoryBytes/16 {
		// Too much is kept: what is asked for is made again.
		l.scanBytes.Store(0)
		l.scanGeneration.Add(1)
	}
}

// scanThings is ScanLast over one shard by its things; it makes the dense column if that is worth it. The caller holds the
// shard's lock.
func (s *Store) scanThings(sh *shard, m MetricID, f func(thing ThingID, timeMs int64, kind Kind, number float64)) {
	found, slots := 0, 0
	each := func(use func(id ThingID, c *column)) {
		for t := range sh.things.all() {
			if t.id >= FirstSource {
				continue
			}
			if col := t.find(m); col >= 0 && t.cols[col].lastMs >= 0 {
				use(t.id, &t.cols[col])
			}
		}
	}
	each(func(id ThingID, c *column) {
		found, slots = found+1, max(slots, int(id/shardCount)+1)
		f(id, c.lastMs, c.kind, c.value().Float())
	})
	if found == 0 || found*leastFill < slots {
		return
	}
	made := &lastColumn{timesMs: slices.Repeat([]int64{-1}, slots), numbers: make([]float64, slots), kinds: make([]Kind, slots)}
	each(func(id ThingID, c *column) {
		v := c.value()
		made.put(int(id/shardCount), c.lastMs, &v)
	})
	made.unread = 0
	for int(m) >= len(sh.scans.columns) {
		sh.scans.columns = append(sh.scans.columns, nil)
	}
	sh.scans.columns[m] = made
	s.live.scanBytes.Add(int64(slots * lastColumnBytes))
}

func (c *column) value() Value { return Value{Mantissa: c.mantissa, Exp: c.exp, Kind: c.kind} }

// Latest is the last value of a column of a thing; Number is 0 for strings.
type Latest struct {
	Thing  ThingID
	Kind   Kind
	TimeMs int64
	Number float64
}

// LatestSince appends the last values of m, of things and sources, that are of sinceMs or later, by ascending thing, to dst.
func (s *Store) LatestSince(dst []Latest, m MetricID, sinceMs int64) []Latest {
	sc := s.scratches.Get().(*scratch)
	defer s.scratches.Put(sc)
	// Shards come one after the other, and mostly each ascends.
	found := sc.latest[:0]
	var ends [shardCount]int
	s.ScanLast(m, func(id ThingID, ms int64, kind Kind, number float64) {
		if ms >= sinceMs {
			found = append(found, Latest{id, kind, ms, number})
			ends[id%shardCount] = len(found)
		}
	})
	sc.latest = found
	var rest [shardCount][]Latest
	from := 0
	for i, end := range ends {
		if end > from {
			rest[i] = found[from:end]
			slices.SortFunc(rest[i], byThing)
			from = end
		}
	}
	dst = slices.Grow(dst, len(found))
	for slot := ThingID(0); ; {
		least := ThingID(math.MaxUint32)
		for i := range rest {
			for len(rest[i]) > 0 && rest[i][0].Thing/shardCount == slot {
				dst = append(dst, rest[i][0])
				rest[i] = rest[i][1:]
			}
			if len(rest[i]) > 0 {
				least = min(least, rest[i][0].Thing/shardCount)
			}
		}
		if least == math.MaxUint32 {
			break
		}
		slot = least
	}
	start, end := len(dst), FirstSource+ThingID(s.Sources())
	if end == FirstSource {
		return dst
	}
	for i := range s.live.shards {
		sh := &s.live.shards[i]
		sh.mu.Lock()
		for id := FirstSource + ThingID(i); id < end; id += shardCount {
			if t := sh.things.get(id); t != nil {
				if col := t.find(m); col >= 0 && t.cols[col].lastMs >= max(sinceMs, 0) {
					c := &t.cols[col]
					v := c.value()
					dst = append(dst, Latest{id, c.kind, c.lastMs, v.Float()})
				}
			}
		}
		sh.mu.Unlock()
	}
	slices.SortFunc(dst[start:], byThing)
	return dst
}

func byThing(a, b Latest) int { return cmp.Compare(a.Thing, b.Thing) }
