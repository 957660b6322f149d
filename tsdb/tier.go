package tsdb

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// A tier holds what buckets of five minutes or an hour say about the samples in them, for longer than the samples themselves are
// kept. A bucket that ends at E is of the samples with E-step < time <= E, which is what PromQL's x[step] at E selects. Tiers are
// made day by day from the raw rows (tier_build.go) and are segments like theirs, in which each aggregate of a column is a
// column of its own and the time of a row is the end of its bucket. Layout: docs/formats/tier.md.
type tier uint8

const (
	rawTier tier = iota // of the rows themselves
	tier5m
	tier1h
	tierCount
)

// The aggregates of a column, by the number in their column's id. New ones may be added at the end.
const (
	aggMin = iota
	aggMax
	aggSum
	aggCount
	aggLast
	aggIncrease
	aggAge // from the last sample to the end of the bucket, ms
	aggregates
)

const aggBits = 3

func aggregateColumn(m MetricID, agg int) MetricID { return m<<aggBits | MetricID(agg) }

func (t tier) suffix() string { return [...]string{segmentSuffix, ".t5m", ".t1h"}[t] }

func (t tier) magic() string { return [...]string{segmentMagic, "MT5M", "MT1H"}[t] }

func (t tier) stepMs() int64 { return [...]int64{0, 5 * 60 * 1000, 60 * 60 * 1000}[t] }

// mergedDays is how many days a merged segment of the tier may span: retention deletes whole files.
func (t tier) mergedDays() int64 { return [...]int64{1, 8, 64}[t] }

func (t tier) maxColumn() uint64 {
	if t == rawTier {
		return MaxMetrics - 1
	}
	return MaxMetrics<<aggBits - 1
}

func tierOfMagic(magic string) (tier, bool) {
	for t := range tierCount {
		if t.magic() == magic {
			return t, true
		}
	}
	return 0, false
}

// parseSegmentName returns the tier and number in names like 00000012.seg.
func parseSegmentName(name string) (tier, uint64, bool) {
	for t := range tierCount {
		if id, ok := parseNumbered(name, t.suffix()); ok {
			return t, id, true
		}
	}
	return 0, 0, false
}

// cover says of a day in a tier that it was made from all raw segments up to an order.
type cover struct {
	day   int64
	order uint64
}

// mergeCovers adds b, which is of a later segment, to a.
func mergeCovers(a, b []cover) []cover {
	for _, c := range b {
		if i := slices.IndexFunc(a, func(x cover) bool { return x.day == c.day }); i >= 0 {
			a[i] = c
		} else {
			a = append(a, c)
		}
	}
	return a
}

// allSegments returns the raw segments and those of the tiers.
func (s *Store) allSegments() []*segment {
	return append(slices.Clone(*s.segments.Load()), *s.tiers.Load()...)
}

// Bucket is what a tier says of one column between EndMs-step, excluded, and EndMs. Min, Max and Sum are of the samples that are
// numbers by PromQL's rules; Count is 0, and they mean nothing, where there was only a staleness marker.
type Bucket struct {
	EndMs    int64
	LastMs   int64 // time of the last sample
	Count    int64
	Min, Max float64
	Sum      float64
	Last     float64
	Increase float64 // over the sample before the first, at most an hour older, and from one to the next; a fall counts from 0
}

// Tiers are the steps that ReadTier knows.
const (
	Tier5m = 5 * 60 * 1000
	Tier1h = 60 * 60 * 1000
)

// ReadTier fills dst with the buckets of one column that end between minMs and maxMs, both included, in the tier of stepMs, by time.
// Days that are not over are in no tier yet. Errors are as of Read.
func (s *Store) ReadTier(dst []Bucket, thing ThingID, m MetricID, stepMs, minMs, maxMs int64) ([]Bucket, error) {
	sc := s.scratches.Get().(*scratch)
	defer s.scratches.Put(sc)
	sh := s.live.shard(thing)
	sh.mu.Lock()
	_, deleted := sh.deleted[thing]
	sh.mu.Unlock()
	if deleted {
		return dst[:0], nil
	}
	for {
		dst = dst[:0]
		whole := true
		for _, g := range *s.tiers.Load() {
			if g.head.tier.stepMs() != stepMs || g.minMs > maxMs || g.maxMs < minMs {
				continue
			}
			from, to := g.of(thing)
			if from == to {
				continue
			}
			if whole = g.acquire(); !whole {
				break
			}
			var err error
			for i := from; i < to && err == nil; i++ {
				if ref := &g.blocks[i]; ref.minMs <= maxMs && ref.maxMs >= minMs && g.has(ref, aggregateColumn(m, aggCount)) {
					dst, err = s.addBuckets(dst, g, i, m, allAggregates, minMs, maxMs, sc)
				}
			}
			g.release(s.opts.Log)
			if err != nil {
				return dst[:0], err
			}
		}
		if whole {
			return settleBuckets(dst), nil
		}
	}
}

// addBuckets appends the buckets of block i of g, with the aggregates of want.
func (s *Store) addBuckets(dst []Bucket, g *segment, i int, m MetricID, want Aggregates, minMs, maxMs int64, sc *scratch) ([]Bucket, error) {
	ok, err := g.readBlock(i, &sc.block, &sc.buf, s.damage)
	if err != nil || !ok {
		return dst, err
	}
	b, d, start := &sc.block, &sc.dec, len(dst)
	if err := d.decodeTimes(b); err != nil {
		g.markBad(i, err, s.damage)
		return dst, nil
	}
	first := true
	for agg := range aggregates {
		if want&(1<<agg) == 0 {
			continue
		}
		c := b.column(aggregateColumn(m, agg), false)
		if c == nil {
			err = fmt.Errorf("%w: an aggregate of column %d is missing", errBlock, m)
		} else if err = d.decodeColumn(b, c); err == nil && !first && len(dst)-start != c.count {
			err = fmt.Errorf("%w: the aggregates of column %d do not fit each other", errBlock, m)
		}
		if err != nil {
			g.markBad(i, err, s.damage)
			return dst[:start], nil
		}
		for j := range c.count {
			end := d.times[d.row(c, j)]
			if first {
				dst = append(dst, Bucket{EndMs: end})
			}
			v := Value{Mantissa: d.cell(c, j), Exp: c.exp, Kind: c.kind}
			dst[start+j].set(agg, v)
		}
		first = false
	}
	kept := dst[:start]
	for _, x := range dst[start:] {
		if x.EndMs >= minMs && x.EndMs <= maxMs {
			kept = append(kept, x)
		}
	}
	return kept, nil
}

func (b *Bucket) set(agg int, v Value) {
	switch agg {
	case aggMin:
		b.Min = v.Float()
	case aggMax:
		b.Max = v.Float()
	case aggSum:
		b.Sum = v.Float()
	case aggCount:
		b.Count = v.Mantissa
	case aggLast:
		b.Last = v.Float()
	case aggIncrease:
		b.Increase = v.Float()
	case aggAge:
		b.LastMs = b.EndMs - v.Mantissa
	}
}

// settleBuckets makes buckets ascending and unique; of those with one end the last stays.
func settleBuckets(list []Bucket) []Bucket {
	byEnd := func(a, b Bucket) int { return cmp.Compare(a.EndMs, b.EndMs) }
	if !slices.IsSortedFunc(list, byEnd) {
		slices.SortStableFunc(list, byEnd)
	}
	kept := list[:0]
	for _, b := range list {
		if n := len(kept); n > 0 && kept[n-1].EndMs == b.EndMs {
			kept[n-1] = b
		} else {
			kept = append(kept, b)
		}
	}
	return kept
}

// staleBits is the NaN by which a sender says that a series has ended.
const staleBits = 0x7ff0000000000002

// sums are the aggregates of one bucket while it is made; T is that of mantissas or of doubles.
type sums[T int64 | float64] struct {
	min, max, sum, last, increase T
	count, lastMs                 int64
	used                          bool
}

func (b *sums[T]) add(ms int64, v, before T, hasBefore, stale bool) {
	b.used, b.last, b.lastMs = true, v, ms
	if stale {
		return
	}
	if b.count == 0 {
		b.min, b.max = v, v
	}
	// As PromQL has it: NaN only where there is nothing else.
	if v < b.min || isNaN(b.min) {
		b.min = v
	}
	if v > b.max || isNaN(b.max) {
		b.max = v
	}
	b.sum += v
	b.count++
	if hasBefore {
		if v < before {
			b.increase += v
		} else {
			b.increase += v - before
		}
	}
}

// join adds what comes after b.
func (b *sums[T]) join(next *sums[T]) {
	if !next.used {
		return
	}
	first := b.count == 0
	b.used, b.last, b.lastMs = true, next.last, next.lastMs
	if next.count == 0 {
		return
	}
	if first || next.min < b.min || isNaN(b.min) {
		b.min = next.min
	}
	if first || next.max > b.max || isNaN(b.max) {
		b.max = next.max
	}
	b.sum, b.count, b.increase = b.sum+next.sum, b.count+next.count, b.increase+next.increase
}

func isNaN[T int64 | float64](v T) bool { return v != v }

// values returns the aggregates as cells, by their number.
func (b *sums[T]) values(endMs int64, cell func(T) Value) [aggregates]Value {
	return [...]Value{
		aggMin: cell(b.min), aggMax: cell(b.max), aggSum: cell(b.sum), aggCount: {Mantissa: b.count}, aggLast: cell(b.last),
		aggIncrease: cell(b.increase), aggAge: {Mantissa: endMs - b.lastMs},
	}
}

func floatCell(v float64) Value { return Value{Mantissa: int64(math.Float64bits(v)), Kind: Float} }
