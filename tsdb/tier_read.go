package tsdb

import (
	"math"
	"slices"
)

// A day of a tier is current for a column of a thing while it was made of all the samples that the store has of it: no row of the day is in
// memory, and no block of it is in a segment of a higher order than the tier's cover says. Rows that come late are in memory first
// and in newer segments then, so the day is not current from the moment they are taken until it is made again. Its buckets then say what the samples
// would, and a query may read them instead.

// Aggregates is a set of what buckets say; each has its count.
type Aggregates uint8

// What ReadBuckets can be asked for. Count is always there.
const (
	BucketMin  Aggregates = 1 << aggMin
	BucketMax  Aggregates = 1 << aggMax
	BucketSum  Aggregates = 1 << aggSum
	BucketLast Aggregates = 1<<aggLast | 1<<aggAge // Last and LastMs

	bucketCount   Aggregates = 1 << aggCount
	allAggregates Aggregates = 1<<aggregates - 1
)

const (
	// maxTierDays bounds the days that one call of ReadBuckets looks at.
	maxTierDays = 4000
	// minThinning is how many samples there must be to a bucket: with fewer, they are read as fast themselves.
	minThinning = 3
)

// Span is a range of times, both ends included.
type Span struct{ MinMs, MaxMs int64 }

// Buckets is what a tier says of one column in the place of samples. The caller reuses it.
type Buckets struct {
	List []Bucket // ascending
	Raw  []Span   // what they do not tell, ascending: edges, and days that are not current
}

// tierDay is what is known of a day while ReadBuckets looks whether it is current.
type tierDay struct {
	order   uint64 // the highest of its raw blocks; math.MaxUint64 while rows are in memory
	rows    int    // of its raw blocks
	cover   uint64
	covered bool
	current bool
}

// ReadBuckets fills dst with the buckets of stepMs between minMs and maxMs, both included, that stand for all samples that the store has in
// them, and with the spans that are left, for Read. Only the aggregates of want are set. Errors are as of Read.
func (s *Store) ReadBuckets(dst *Buckets, thing ThingID, m MetricID, stepMs int64, want Aggregates, minMs, maxMs int64) error {
	t := tier5m
	if stepMs == Tier1h {
		t = tier1h
	}
	fromMs, toMs := endOf(minMs-1, t), maxMs/t.stepMs()*t.stepMs() // of whole buckets, fromMs excluded
	for {
		dst.List, dst.Raw = dst.List[:0], dst.Raw[:0]
		if fromMs >= toMs || (toMs-1)/dayMs-fromMs/dayMs >= maxTierDays || s.tierKept(t) == 0 {
			dst.Raw = append(dst.Raw, Span{minMs, maxMs})
			return nil
		}
		again, err := s.readBuckets(dst, thing, m, t, want|bucketCount, fromMs, toMs)
		if err != nil {
			dst.List, dst.Raw = dst.List[:0], dst.Raw[:0]
			return err
		}
		if again {
			continue
		}
		if minMs <= fromMs {
			dst.Raw = slices.Insert(dst.Raw, 0, Span{minMs, fromMs})
		}
		if toMs < maxMs {
			dst.Raw = append(dst.Raw, Span{toMs + 1, maxMs})
		}
		return nil
	}
}

// readBuckets is ReadBuckets between the ends of buckets, fromMs excluded. It is to be called again if a file went or was found damaged.
func (s *Store) readBuckets(dst *Buckets, thing ThingID, m MetricID, t tier, want Aggregates, fromMs, toMs int64) (again bool, err error) {
	sc := s.scratches.Get().(*scratch)
	defer s.scratches.Put(sc)
	first := fromMs / dayMs
	sc.days = slices.Grow(sc.days[:0], int((toMs-1)/dayMs-first+1))[:(toMs-1)/dayMs-first+1]
	days := sc.days
	clear(days)
	// Memory, segments, tiers: rows and days go that way only.
	if !s.markMemory(days, first, thing, m) {
		return false, nil
	}
	for _, g := range *s.segments.Load() {
		if g.minMs > toMs || g.maxMs <= fromMs {
			continue
		}
		from, to := g.of(thing)
		for i := from; i < to; i++ {
			ref := &g.blocks[i]
			if ref.minMs > toMs || ref.maxMs <= fromMs || !g.has(ref, m) {
				continue
			}
			list := within(days, first, ref.minMs, ref.maxMs)
			for j := range list {
				list[j].order, list[j].rows = max(list[j].order, g.head.order), list[j].rows+int(ref.rows)
			}
		}
	}
	tiers := *s.tiers.Load()
	some := false
	for _, g := range tiers {
		if g.head.tier != t {
			continue
		}
		for _, c := range g.covers {
			if i := c.day - first; i >= 0 && i < int64(len(days)) {
				days[i].cover, days[i].covered = c.order, !g.damaged.Load()
			}
		}
	}
	for i := range days {
		d := &days[i]
		d.current = d.covered && d.order <= d.cover && (d.order == 0 || int64(d.rows) >= minThinning*dayMs/t.stepMs())
		some = some || d.current
		if d.current {
			continue
		}
		day := first + int64(i)
		span := Span{max(fromMs, day*dayMs) + 1, min(toMs, (day+1)*dayMs)}
		if n := len(dst.Raw); n > 0 && dst.Raw[n-1].MaxMs == span.MinMs-1 {
			dst.Raw[n-1].MaxMs = span.MaxMs
		} else {
			dst.Raw = append(dst.Raw, span)
		}
	}
	if !some {
		return false, nil
	}
	for _, g := range tiers {
		if g.head.tier != t || g.minMs > toMs || g.maxMs <= fromMs || g.damaged.Load() {
			continue
		}
		from, to := g.of(thing)
		if from == to {
			continue
		}
		if !g.acquire() {
			return true, nil
		}
		for i := from; i < to && err == nil; i++ {
			if ref := &g.blocks[i]; ref.minMs <= toMs && ref.maxMs > fromMs && g.has(ref, aggregateColumn(m, aggCount)) {
				dst.List, err = s.addBuckets(dst.List, g, i, m, want, fromMs+1, toMs, sc)
			}
		}
		broken := g.damaged.Load()
		g.release(s.opts.Log)
		if err != nil || broken {
			return broken, err
		}
	}
	dst.List = slices.DeleteFunc(settleBuckets(dst.List), func(b Bucket) bool { return !days[(b.EndMs-1)/dayMs-first].current })
	return false, nil
}

// within returns the days in whose buckets times from minMs to maxMs may lie.
func within(days []tierDay, first, minMs, maxMs int64) []tierDay {
	from, to := (max(minMs, 1)-1)/dayMs-first, (max(maxMs, 1)-1)/dayMs-first+1
	from, to = max(from, 0), min(to, int64(len(days)))
	if from >= to {
		return nil
	}
	return days[from:to]
}

// markMemory notes the days that the thing has rows of in memory. It reports whether the thing is there and has the column.
func (s *Store) markMemory(days []tierDay, first int64, thing ThingID, m MetricID) bool {
	sh := s.live.shard(thing)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.things.get(thing)
	if t == nil || t.find(m) < 0 {
		return false
	}
	mark := func(sections []section) {
		for i := range sections {
			list := within(days, first, sections[i].minMs, sections[i].maxMs)
			for j := range list {
				list[j].order = math.MaxUint64
			}
		}
	}
	for _, r := range t.closed {
		mark(r.sections)
	}
	if t.open.rows > 0 {
		mark(t.open.full)
		mark([]section{t.open.last})
	}
	return true
}
