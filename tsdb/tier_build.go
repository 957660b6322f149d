package tsdb

import (
	"errors"
	"math"
	"slices"
	"time"
)

const (
	// tierDelay is how long after its end a day goes into the tiers: rows come late, and are in segments after SealAge.
	tierDelay = 3 * time.Hour
	// tierAgain is how long late rows of a day wait to be added to its tiers.
	tierAgain = time.Hour
	// maxStrayDays is how many days of a segment with rows of odd clocks go into the tiers.
	maxStrayDays = 1000
	// increaseReachMs is how old the sample before a day may be that the first increase counts from.
	increaseReachMs = 60 * 60 * 1000
)

// tierKept returns how long a tier is kept, 0 if it is not made.
func (s *Store) tierKept(t tier) time.Duration {
	return [...]time.Duration{0, s.opts.RetentionTier5m, s.opts.RetentionTier1h}[t]
}

func (s *Store) hasTiers() bool { return s.opts.RetentionTier5m > 0 || s.opts.RetentionTier1h > 0 }

// summarize makes the tiers of one day that is due, if there is one.
func (s *Store) summarize() error {
	if !s.hasTiers() || logState(s.log.state.Load()) != logOpen {
		return nil
	}
	now := s.opts.Clock.Now()
	for _, day := range s.openDays(now.UnixMilli()) {
		if time.UnixMilli((day + 1) * dayMs).Add(tierDelay).After(now) {
			continue
		}
		if made := s.summarized[day]; !made.IsZero() && now.Sub(made) < tierAgain && now.Sub(made) >= 0 {
			continue
		}
		return s.summarizeDay(day, now.UnixMilli())
	}
	return nil
}

// wants says whether a day is or will be in a tier: it has begun, and is not past the tier's retention.
func (s *Store) wants(t tier, day, nowMs int64) bool {
	keep := s.tierKept(t)
	return keep > 0 && day*dayMs <= nowMs && (day+1)*dayMs >= nowMs-keep.Milliseconds()
}

// openDays returns the days with raw segments that a tier lacks, ascending.
func (s *Store) openDays(nowMs int64) []int64 {
	var days []int64
	for _, g := range *s.segments.Load() {
		for _, day := range g.days() {
			if !slices.Contains(days, day) && !s.covered(day, g.head.order, nowMs) {
				days = append(days, day)
			}
		}
	}
	slices.Sort(days)
	return days
}

// days returns the days in whose buckets a raw segment has rows: one at midnight is in the last bucket of the day before. Blocks over
// many days are those of clocks that jump; they are in no tier.
func (g *segment) days() []int64 {
	var days []int64
	add := func(minMs, maxMs int64) {
		day := maxMs / dayMs
		if minMs/dayMs != day || len(days) >= maxStrayDays {
			return
		}
		for _, d := range [...]int64{max(0, minMs-1) / dayMs, day} {
			if !slices.Contains(days, d) {
				days = append(days, d)
			}
		}
	}
	if g.day() != strayDay {
		add(g.minMs, g.maxMs)
		return days
	}
	for i := range g.blocks {
		add(g.blocks[i].minMs, g.blocks[i].maxMs)
	}
	return days
}

// covered says whether all tiers that want a day have its rows of raw segments up to order.
func (s *Store) covered(day int64, order uint64, nowMs int64) bool {
	for t := tier5m; t < tierCount; t++ {
		if s.wants(t, day, nowMs) && !slices.ContainsFunc(*s.tiers.Load(), func(g *segment) bool {
			return g.head.tier == t && slices.ContainsFunc(g.covers, func(c cover) bool { return c.day == day && c.order >= order })
		}) {
			return false
		}
	}
	return true
}

// summarizeDay makes the segments of a day in all tiers from its raw segments.
func (s *Store) summarizeDay(day, nowMs int64) (err error) {
	b := tierBuilder{s: s, day: day}
	for _, g := range *s.segments.Load() {
		if g.minMs <= (day+1)*dayMs && g.maxMs > day*dayMs-increaseReachMs {
			b.sources = append(b.sources, g)
			if slices.Contains(g.days(), day) {
				b.order = max(b.order, g.head.order)
			}
		}
	}
	var done []*segment
	defer func() {
		if err != nil {
			for _, w := range b.writers {
				if w != nil {
					err = errors.Join(err, w.abort())
				}
			}
			err = diskFullOr(err)
			for _, g := range done {
				g.release(s.opts.Log)
				err = errors.Join(err, s.removeSegment(g))
			}
		}
	}()
	for t := tier5m; t < tierCount; t++ {
		if !s.wants(t, day, nowMs) {
			continue
		}
		id := s.nextSegment
		s.nextSegment++
		w, err := createSegment(s.opts.FS, s.opts.Dir, segmentHead{id, id, nowMs, t})
		if err != nil {
			return err
		}
		w.index.covers = []cover{{day, b.order}}
		b.writers[t] = w
	}
	for _, thing := range thingsOf(b.sources) {
		if !s.isDeleted(thing) {
			if err := b.thing(thing); err != nil {
				return err
			}
		}
	}
	for t, w := range b.writers {
		if w == nil {
			continue
		}
		g, err := w.finish()
		if err != nil {
			return err
		}
		b.writers[t] = nil
		done = append(done, g)
		s.segmentWritten.Add(int(g.sizeBytes))
	}
	s.publish(done, nil)
	if s.summarized == nil {
		s.summarized = map[int64]time.Time{}
	}
	s.summarized[day] = s.opts.Clock.Now()
	s.summaries.Inc()
	return nil
}

// tierBuilder makes the tiers of one day.
type tierBuilder struct {
	s       *Store
	day     int64
	order   uint64
	sources []*segment // raw, in order
	writers [tierCount]*segmentWriter

	raw, old table
	out      [tierCount]table
	marks    map[bucketKey]int64 // staleness markers in new buckets of a thing, where there are some
	encoder  blockEncoder
	dec      blockDecoder
	block    block
	buf      []byte
}

// bucketKey is a bucket of a tier, and the column of its count.
type bucketKey struct {
	t      tier
	column MetricID
	endMs  int64
}

// thing adds the buckets of one thing to each writer. A table of all that a thing has sent in a day may be large: then it goes by
// columns, and by hours.
func (b *tierBuilder) thing(thing ThingID) error {
	for t := range b.out {
		b.out[t].reset()
	}
	clear(b.marks)
	fromMs, toMs := b.day*dayMs, (b.day+1)*dayMs
	metrics, rows := b.extent(thing)
	spanMs := int64(dayMs)
	if rows > maxTableSamples {
		spanMs = tier1h.stepMs()
		rows /= 24
	}
	width := max(1, maxTableSamples/max(1, rows))
	for group := range slices.Chunk(metrics, width) {
		for at := fromMs; at < toMs; at += spanMs {
			if err := b.fill(thing, group[0], group[len(group)-1], at-increaseReachMs, at+spanMs); err != nil {
				return err
			}
			for i := range b.raw.cols {
				if c := &b.raw.cols[i]; !c.text {
					b.column(c, at, at+spanMs)
				}
			}
		}
	}
	for t, w := range b.writers {
		if w == nil {
			continue
		}
		if err := b.keepOld(tier(t), thing); err != nil {
			return err
		}
		out := &b.out[t]
		out.settle()
		if err := w.add(thing, out, 0, len(out.times)); err != nil {
			return err
		}
	}
	return nil
}

// extent returns the columns that a thing may have in the day, ascending, and about how many rows.
func (b *tierBuilder) extent(thing ThingID) (metrics []MetricID, rows int) {
	for _, g := range b.sources {
		from, to := g.of(thing)
		for _, ref := range g.blocks[from:to] {
			metrics = append(metrics, g.layouts[ref.layout]...)
			rows += int(ref.rows)
		}
	}
	slices.Sort(metrics)
	return slices.Compact(metrics), rows
}

// fill makes b.raw of the thing's rows between fromMs and toMs, and some around, of columns first to last.
func (b *tierBuilder) fill(thing ThingID, first, last MetricID, fromMs, toMs int64) error {
	b.raw.reset()
	for _, g := range b.sources {
		from, to := g.of(thing)
		for i := from; i < to; i++ {
			if ref := &g.blocks[i]; ref.maxMs <= fromMs || ref.minMs > toMs {
				continue
			}
			ok, err := g.readBlock(i, &b.block, &b.buf, b.s.damage)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if err := b.dec.addColumns(&b.raw, &b.block, first, last); err != nil {
				g.markBad(i, err, b.s.damage)
			}
		}
	}
	b.raw.settle()
	return nil
}

// column adds the buckets of one column between fromMs and toMs.
func (b *tierBuilder) column(c *tableColumn, fromMs, toMs int64) {
	kind, exp := b.encoder.common(c.cells)
	most := int64(0)
	for _, v := range b.encoder.ints {
		if v == math.MinInt64 {
			v++
		}
		most = max(most, v, -v)
	}
	if kind != Float && most < math.MaxInt64/2/int64(len(c.cells)) {
		cell := func(v int64) Value { return Value{Mantissa: v, Exp: exp} }
		bucketize(b, c, b.encoder.ints, fromMs, toMs, cell)
		return
	}
	if kind != Float { // their sum may not fit
		b.encoder.floats = b.encoder.floats[:0]
		for _, v := range b.encoder.ints {
			b.encoder.floats = append(b.encoder.floats, decimalFloat(v, exp))
		}
	}
	bucketize(b, c, b.encoder.floats, fromMs, toMs, floatCell)
}

// bucketize adds the buckets of one column, whose values are vals, to the tables of both tiers.
func bucketize[T int64 | float64](b *tierBuilder, c *tableColumn, vals []T, fromMs, toMs int64, cell func(T) Value) {
	var before T
	hasBefore := false
	var five, hour sums[T]
	endFive, endHour := int64(0), int64(0)
	flushHour := func() {
		if hour.used {
			b.emit(tier1h, c.metric, endHour, hour.values(endHour, cell))
			hour = sums[T]{}
		}
	}
	flushFive := func() {
		if !five.used {
			return
		}
		b.emit(tier5m, c.metric, endFive, five.values(endFive, cell))
		if end := endOf(endFive, tier1h); end != endHour {
			flushHour()
			endHour = end
		}
		hour.join(&five)
		five = sums[T]{}
	}
	for j, x := range c.cells {
		ms := b.raw.times[x.row]
		if ms > toMs {
			break
		}
		f, isFloat := any(vals[j]).(float64)
		stale := isFloat && math.Float64bits(f) == staleBits
		if ms > fromMs {
			if end := endOf(ms, tier5m); end != endFive {
				flushFive()
				endFive = end
			}
			five.add(ms, vals[j], before, hasBefore, stale)
			if stale {
				b.mark(c.metric, ms)
			}
		}
		if !stale {
			before, hasBefore = vals[j], ms > fromMs-increaseReachMs
		}
	}
	flushFive()
	flushHour()
}

// mark counts a staleness marker.
func (b *tierBuilder) mark(m MetricID, ms int64) {
	if b.marks == nil {
		b.marks = map[bucketKey]int64{}
	}
	for t := tier5m; t < tierCount; t++ {
		b.marks[bucketKey{t, aggregateColumn(m, aggCount), endOf(ms, t)}]++
	}
}

// endOf returns the end of the bucket that ms is in.
func endOf(ms int64, t tier) int64 {
	step := t.stepMs()
	return (ms + step - 1) / step * step
}

// emit adds a bucket to the table of a tier.
func (b *tierBuilder) emit(t tier, m MetricID, endMs int64, values [aggregates]Value) {
	if b.writers[t] == nil {
		return
	}
	out := &b.out[t]
	out.rowAt(endMs)
	for agg, v := range values {
		out.cell(aggregateColumn(m, agg), v.Kind, v.Exp, v.Mantissa)
	}
}

// keepOld adds the buckets that the tier has already and that have more samples than the new ones: where a day is made again for
// rows that came late, some of the other raw rows may be gone. A staleness marker may have come in the place of a sample.
func (b *tierBuilder) keepOld(t tier, thing ThingID) error {
	b.old.reset()
	found := false
	for _, g := range *b.s.tiers.Load() {
		if g.head.tier != t || g.minMs > (b.day+1)*dayMs || g.maxMs <= b.day*dayMs {
			continue
		}
		from, to := g.of(thing)
		for i := from; i < to; i++ {
			ok, err := g.readBlock(i, &b.block, &b.buf, b.s.damage)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if err := b.dec.addTo(&b.old, &b.block); err != nil {
				g.markBad(i, err, b.s.damage)
				continue
			}
			found = true
		}
	}
	if !found {
		return nil
	}
	b.old.settle()
	out := &b.out[t]
	counts := map[bucketKey]int64{}
	for i := range out.cols {
		if c := &out.cols[i]; c.metric%(1<<aggBits) == aggCount {
			for _, x := range c.cells {
				k := bucketKey{t, c.metric, out.times[x.row]}
				counts[k] = x.mantissa + b.marks[k]
			}
		}
	}
	better := map[bucketKey]bool{}
	for i := range b.old.cols {
		if c := &b.old.cols[i]; c.metric%(1<<aggBits) == aggCount {
			for _, x := range c.cells {
				k := bucketKey{t, c.metric, b.old.times[x.row]}
				if n, ok := counts[k]; k.endMs > b.day*dayMs && k.endMs <= (b.day+1)*dayMs && (!ok || n < x.mantissa) {
					better[k] = true
				}
			}
		}
	}
	for i := range b.old.cols {
		c := &b.old.cols[i]
		for _, x := range c.cells {
			endMs := b.old.times[x.row]
			if better[bucketKey{t, c.metric&^(1<<aggBits-1) | aggCount, endMs}] {
				out.rowAt(endMs)
				out.cell(c.metric, x.kind, x.exp, x.mantissa)
			}
		}
	}
	return nil
}
