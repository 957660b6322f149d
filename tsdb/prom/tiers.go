package prom

import (
	"muster/tsdb"
)

// Where the samples of a series are gone and the store's tiers still say what they were like, samples that stand for the buckets of
// a tier take their place, each at the end of its bucket: those of five minutes, and before them those of an hour. What stands for a bucket depends on what
// the query does with it; functions that no such samples can serve see what is left of the real ones.

// stand is what stands for a bucket.
type stand uint8

const (
	standNone stand = iota
	standLast
	standMin
	standMax
	standSum
	standMean
	standCounter // samples that rise as much as those of the bucket
)

// standFor returns what stands for buckets in a selection that function reads. rangeMs is 0 for a vector selector: then function may be
// anything around it.
func standFor(function string, rangeMs int64) stand {
	if rangeMs == 0 {
		return standLast
	}
	switch function {
	case "min_over_time":
		return standMin
	case "max_over_time":
		return standMax
	case "sum_over_time":
		return standSum
	case "avg_over_time":
		return standMean
	case "rate", "increase":
		return standCounter
	case "last_over_time", "present_over_time", "absent_over_time", "delta", "deriv", "predict_linear":
		return standLast
	}
	return standNone
}

// fill puts samples that stand for buckets before those of the window [fromMs, toMs], as far as the real ones are gone: retention takes
// the oldest first, so it ends with the first real one. Late rows of a day that is gone are hidden by no bucket.
func (it *sampleIterator) fill(fromMs, toMs int64) error {
	s := it.s
	if len(it.times) > 0 {
		it.rawFromMs = min(it.rawFromMs, it.times[0])
	}
	endMs := min(toMs, it.rawFromMs)
	if s.sel.stand == standNone || endMs-fromMs < tsdb.Tier5m {
		return nil
	}
	store := s.sel.q.store
	it.filled.TimesMs, it.filled.Values = it.filled.TimesMs[:0], it.filled.Values[:0]
	var err error
	it.five, err = store.ReadTier(it.five, s.thing, s.metric, tsdb.Tier5m, fromMs-tsdb.Tier5m, endMs)
	if err != nil {
		return s.sel.q.readError(err, s)
	}
	s.sel.q.cost.bucketsRead(tsdb.Tier5m, len(it.five))
	hoursMs := endMs
	if len(it.five) > 0 {
		hoursMs = min(hoursMs, it.five[0].EndMs-tsdb.Tier5m)
	}
	if hoursMs-fromMs >= 0 {
		it.hours, err = store.ReadTier(it.hours, s.thing, s.metric, tsdb.Tier1h, fromMs-tsdb.Tier1h, hoursMs+tsdb.Tier1h-1)
		if err != nil {
			return s.sel.q.readError(err, s)
		}
		s.sel.q.cost.bucketsRead(tsdb.Tier1h, len(it.hours))
		it.addStands(it.hours, tsdb.Tier1h, fromMs, hoursMs)
	}
	it.addStands(it.five, tsdb.Tier5m, fromMs, endMs)
	if len(it.filled.TimesMs) == 0 {
		return nil
	}
	n := len(it.filled.TimesMs)
	for n > 0 && len(it.times) > 0 && it.filled.TimesMs[n-1] >= it.times[0] {
		n--
	}
	it.filled.TimesMs = append(it.filled.TimesMs[:n], it.times...)
	it.filled.Values = append(it.filled.Values[:n], it.values...)
	it.times, it.values = it.filled.TimesMs, it.filled.Values
	return nil
}

// addStands adds what stands for the buckets of a tier at times between fromMs and toMs.
func (it *sampleIterator) addStands(list []tsdb.Bucket, stepMs, fromMs, toMs int64) {
	add := func(ms int64, v float64) {
		n := len(it.filled.TimesMs)
		if ms >= fromMs && ms <= toMs && (n == 0 || it.filled.TimesMs[n-1] < ms) {
			it.filled.TimesMs, it.filled.Values = append(it.filled.TimesMs, ms), append(it.filled.Values, v)
		}
	}
	for i := range list {
		b := &list[i]
		if b.LastMs < it.s.sel.minMs || b.LastMs >= it.rawFromMs {
			continue
		}
		if b.Count == 0 {
			add(b.EndMs, b.Last) // a staleness marker
			continue
		}
		switch it.s.sel.stand {
		case standLast:
			add(b.LastMs, b.Last)
			if b.EndMs-b.LastMs >= tsdb.Tier5m {
				break // silent since then
			}
			add(b.EndMs, b.Last)
			// So that a lookback of five minutes finds the last hour's value until there is the next one.
			for ms := b.EndMs + tsdb.Tier5m; i+1 < len(list) && list[i+1].EndMs == b.EndMs+stepMs && ms < list[i+1].LastMs; ms += tsdb.Tier5m {
				add(ms, b.Last)
			}
		case standMin:
			add(b.EndMs, b.Min)
		case standMax:
			add(b.EndMs, b.Max)
		case standSum:
			add(b.EndMs, b.Sum)
		case standMean:
			add(b.EndMs, b.Sum/float64(b.Count))
		case standCounter:
			// A counter that fell within the bucket rises by the rest, falls to 0, and goes on from there.
			if i > 0 && list[i-1].Count > 0 {
				if before := list[i-1].Last; b.Increase != b.Last-before && b.Increase >= b.Last {
					add(b.EndMs-2, before+b.Increase-b.Last)
					add(b.EndMs-1, 0)
				}
			}
			add(b.EndMs, b.Last)
		}
	}
}
