package prom

import (
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/value"

	"muster/tsdb"
)

// Where a query's steps are so long that whole buckets of a tier lie between them, the buckets are read in the place of the samples, although
// these are there: for days of which the tier has all samples that the store has (tsdb.Store.ReadBuckets). Samples answer for the other days and for the
// edges. The answer is that of the samples: the same to the last bit for x, min_, max_, count_, last_ and present_over_time; for sum_ and
// avg_over_time, whose order of additions is another, but for the last digits. Docs: docs/formats/tier.md.

// Ranges of a single window from which on its middle is read from a tier.
const (
	bucketRange5m = 2 * 3600 * 1000
	bucketRange1h = 24 * 3600 * 1000
)

// tierOf returns the longest tier of which all times are ends of buckets, 0 if there is none.
func tierOf(times ...int64) int64 {
	for _, tierMs := range [...]int64{tsdb.Tier1h, tsdb.Tier5m} {
		if !slices.ContainsFunc(times, func(ms int64) bool { return ms%tierMs != 0 }) {
			return tierMs
		}
	}
	return 0
}

// bucketAggregates are the functions that buckets can answer, and by what.
var bucketAggregates = map[string]tsdb.Aggregates{
	"min_over_time": tsdb.BucketMin, "max_over_time": tsdb.BucketMax, "sum_over_time": tsdb.BucketSum, "avg_over_time": tsdb.BucketSum,
	"count_over_time": 0, "present_over_time": 0, "last_over_time": tsdb.BucketLast,
}

// chooseTier sets the tier whose buckets can answer p.
func (p *pushedCall) chooseTier() {
	if _, ok := bucketAggregates[p.call.Func.Name]; !ok {
		return
	}
	switch {
	case p.startMs < p.endMs:
		p.tierMs = tierOf(p.startMs-p.offsetMs, p.stepMs, p.rangeMs)
	case p.call.Func.Name == "min_over_time" || p.call.Func.Name == "max_over_time": // the summaries of blocks tell
	case p.rangeMs >= bucketRange1h:
		p.tierMs = tsdb.Tier1h
	case p.rangeMs >= bucketRange5m:
		p.tierMs = tsdb.Tier5m
	}
}

// byBuckets evaluates the call over buckets, and reports whether it could.
func (it *callIterator) byBuckets(s *series) bool {
	p := it.p
	if p.tierMs == 0 || s.info || s.also != nil {
		return false
	}
	q, sel := it.q, s.sel
	fromMs, toMs := max(p.startMs-p.offsetMs-p.rangeMs+1, sel.minMs), min(p.endMs-p.offsetMs, sel.maxMs)
	if fromMs > toMs {
		return false
	}
	if err := q.store.ReadBuckets(&it.buckets, s.thing, s.metric, p.tierMs, bucketAggregates[p.call.Func.Name], fromMs, toMs); err != nil {
		it.err = q.readError(err, s)
		return false
	}
	if len(it.buckets.List) == 0 {
		return false
	}
	if it.err = it.account(); it.err != nil || !it.itemize(s) {
		return false
	}
	q.cost.bucketsRead(p.tierMs, len(it.buckets.List))
	it.begin()
	first, end := 0, 0
	for step := p.startMs; step <= p.endMs; step += p.stepMs {
		for end < len(it.items) && (it.items[end].EndMs <= step-p.offsetMs || p.startMs == p.endMs) {
			end++
		}
		for first < end && it.items[first].EndMs <= step-p.offsetMs-p.rangeMs {
			first++
		}
		result := 0.0
		if first < end {
			if result = combine(p.call.Func.Name, it.items[first:end]); math.IsNaN(result) || math.IsInf(result, 0) {
				return false // of sums, the engine says more
			}
		}
		it.put(step, result, first < end)
	}
	return true
}

// itemize makes items of the buckets and of the samples between them. It reports false where only the samples can tell.
func (it *callIterator) itemize(s *series) bool {
	it.items = it.items[:0]
	list := it.buckets.List
	take := func(untilMs int64) bool {
		for ; len(list) > 0 && list[0].EndMs <= untilMs; list = list[1:] {
			b := &list[0]
			if b.Count == 0 {
				continue // a staleness marker
			}
			if value.IsStaleNaN(b.Last) {
				return false // the sample before it counts
			}
			it.items = append(it.items, *b)
		}
		return true
	}
	for _, span := range it.buckets.Raw {
		if !take(span.MinMs) {
			return false
		}
		sel := *s.sel
		sel.minMs, sel.maxMs = span.MinMs, span.MaxMs
		part := *s
		part.sel = &sel
		it.src.reset(&part)
		for !it.src.done() {
			times, values := it.src.peek(span.MinMs)
			for i, ms := range times {
				it.addItem(ms, values[i])
			}
			it.src.skip(len(times))
			if it.err = it.account(); it.err != nil {
				return false
			}
		}
		if it.err = it.src.err(); it.err != nil {
			return false
		}
	}
	return take(math.MaxInt64)
}

// addItem adds a sample, later than those before, to the items.
func (it *callIterator) addItem(ms int64, v float64) {
	if value.IsStaleNaN(v) {
		return
	}
	end := (ms + it.p.tierMs - 1) / it.p.tierMs * it.p.tierMs
	n := len(it.items)
	if n == 0 || it.items[n-1].EndMs != end {
		it.items = append(it.items, tsdb.Bucket{EndMs: end, LastMs: ms, Count: 1, Min: v, Max: v, Sum: v, Last: v})
		return
	}
	b := &it.items[n-1]
	b.LastMs, b.Last, b.Count, b.Sum = ms, v, b.Count+1, b.Sum+v
	if v < b.Min || math.IsNaN(b.Min) {
		b.Min = v
	}
	if v > b.Max || math.IsNaN(b.Max) {
		b.Max = v
	}
}

// combine returns what a function says of the samples of items, of which there is one at least.
func combine(function string, items []tsdb.Bucket) float64 {
	switch function {
	case "present_over_time":
		return 1
	case "last_over_time":
		return items[len(items)-1].Last
	case "min_over_time":
		v := items[0].Min
		for i := range items {
			if x := items[i].Min; x < v || math.IsNaN(v) {
				v = x
			}
		}
		return v
	case "max_over_time":
		v := items[0].Max
		for i := range items {
			if x := items[i].Max; x > v || math.IsNaN(v) {
				v = x
			}
		}
		return v
	}
	count, sum, lost := int64(0), 0.0, 0.0 // Neumaier's sum
	for i := range items {
		x := items[i].Sum
		count += items[i].Count
		t := sum + x
		if math.Abs(sum) >= math.Abs(x) {
			lost += sum - t + x
		} else {
			lost += x - t + sum
		}
		sum = t
	}
	switch function {
	case "count_over_time":
		return float64(count)
	case "avg_over_time":
		return (sum + lost) / float64(count)
	}
	return sum + lost
}

// readSteps fills numbers with samples of [fromMs, toMs] of which the last at each step is right.
func (it *sampleIterator) readSteps(fromMs, toMs int64) error {
	s := it.s
	store, sel := s.sel.q.store, s.sel
	if sel.tierMs > 0 {
		if err := store.ReadBuckets(&it.buckets, s.thing, s.metric, sel.tierMs, tsdb.BucketLast, fromMs, toMs); err != nil {
			return err
		}
	}
	list := it.buckets.List
	if sel.tierMs == 0 || len(list) == 0 {
		err := store.ReadSteps(&it.numbers, s.thing, s.metric, fromMs, toMs, sel.firstMs, sel.stepMs)
		sel.q.cost.read(len(it.numbers.TimesMs), it.numbers.Cost)
		return err
	}
	sel.q.cost.bucketsRead(sel.tierMs, len(list))
	out := &it.numbers
	out.TimesMs, out.Values = out.TimesMs[:0], out.Values[:0]
	take := func(untilMs int64) {
		for ; len(list) > 0 && list[0].EndMs <= untilMs; list = list[1:] {
			out.TimesMs, out.Values = append(out.TimesMs, list[0].LastMs), append(out.Values, list[0].Last)
		}
	}
	for _, span := range it.buckets.Raw {
		take(span.MinMs)
		if err := store.ReadSteps(&it.part, s.thing, s.metric, span.MinMs, span.MaxMs, sel.firstMs, sel.stepMs); err != nil {
			return err
		}
		sel.q.cost.read(len(it.part.TimesMs), it.part.Cost)
		out.TimesMs, out.Values = append(out.TimesMs, it.part.TimesMs...), append(out.Values, it.part.Values...)
	}
	take(math.MaxInt64)
	return nil
}
