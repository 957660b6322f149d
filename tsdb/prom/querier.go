package prom

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"

	"muster/tsdb"
)

// Store is what this package uses of *tsdb.Store.
type Store interface {
	Metrics() []tsdb.Metric
	ThingsWith(dst []tsdb.ThingID, m tsdb.MetricID, minMs, maxMs int64) []tsdb.ThingID
	ThingsSince(dst []tsdb.ThingID, m tsdb.MetricID, sinceMs int64) []tsdb.ThingID
	Last(thing tsdb.ThingID, m tsdb.MetricID) (tsdb.Field, bool)
	Holds(thing tsdb.ThingID, m tsdb.MetricID, minMs, maxMs int64) bool
	ReadSteps(dst *tsdb.Samples, thing tsdb.ThingID, m tsdb.MetricID, minMs, maxMs, firstMs, stepMs int64) error
	ReadExtremes(dst *tsdb.Samples, thing tsdb.ThingID, m tsdb.MetricID, minMs, maxMs int64, most bool) error
	ReadTier(dst []tsdb.Bucket, thing tsdb.ThingID, m tsdb.MetricID, stepMs, minMs, maxMs int64) ([]tsdb.Bucket, error)
	ReadBuckets(dst *tsdb.Buckets, thing tsdb.ThingID, m tsdb.MetricID, stepMs int64, want tsdb.Aggregates, minMs, maxMs int64) error
	ReadStrings(dst *tsdb.StringSamples, thing tsdb.ThingID, m tsdb.MetricID, minMs, maxMs int64) error
	Stats() tsdb.Stats
	Sources() int
	SourceLabels(dst []tsdb.Label, id tsdb.ThingID) ([]tsdb.Label, bool)
}

// seriesFunc is the SelectHints.Func of a selection whose samples nobody will read.
const seriesFunc = "series"

// limitError is a query that asks for more than a limit allows; the text names the limit.
type limitError struct{ text string }

func (e *limitError) Error() string { return e.text }

// queryable makes queriers over the store. Safe for concurrent use.
type queryable struct {
	store          Store
	dir            Directory
	finder         Finder  // dir if it is one, else nil
	grouper        Grouper // the same
	maxSeries      int
	maxBufferBytes int
	engineOnly     bool // calls stay with the engine, and tiers for what is gone
	sources        sourceIndex
}

func newQueryable(store Store, dir Directory, maxSeries, maxBufferBytes int) *queryable {
	q := &queryable{store: store, dir: dir, maxSeries: maxSeries, maxBufferBytes: maxBufferBytes}
	q.finder, _ = dir.(Finder)
	q.grouper, _ = dir.(Grouper)
	return q
}

// querier returns a querier of the times from minMs to maxMs, both included, narrowed to what the store may hold.
func (q *queryable) querier(minMs, maxMs int64) *querier {
	return &querier{
		queryable: q,
		minMs:     max(minMs, q.store.Stats().OldestMs, 0),
		maxMs:     min(maxMs, tsdb.MaxTimeMs-1),
		cost:      new(cost),
		things:    thingCache{dir: q.dir, grouper: q.grouper, store: q.store},
	}
}

// querier serves one query. Selections are made by one goroutine; iterators of the series may be used by others.
type querier struct {
	*queryable
	minMs, maxMs int64
	things       thingCache
	walks        uint32
	series       int // selected so far
	labelBytes   int // these four are those of scope; zero where nothing is evaluated
	lookbackMs   int64
	plain        bool
	groupUses    map[selectorID]groupUse
	calls        map[selectorID]*pushedCall
	cost         *cost
	ids          []tsdb.ThingID
	chosen       []tsdb.ThingID
	grouping     grouping // of the walk
	rows         []string
	texts        tsdb.StringSamples
	heldBytes    atomic.Int64 // by buffers of iterators
}

// selection is what the series of one Select share.
type selection struct {
	q            *querier
	ctx          context.Context // of the query: ends the reads when the client has gone
	minMs, maxMs int64
	// Where stepMs is not 0, samples count only at firstMs + n*stepMs, each time the last one at or before.
	firstMs, stepMs int64
	tierMs          int64 // 0, or the tier whose last samples do for those between steps
	stand           stand // for buckets, where samples are gone
	extremes        bool  // only the smallest or largest sample counts, as stand says
}

// Close implements storage.Querier.
func (q *querier) Close() error { return nil }

// Select implements storage.Querier. Series of numbers are listed without reading a sample; those of strings need their
// values. Where only the last sample at or before the end counts (a vector selector at one time), the store's live twin
// answers if its sample is in range, and nothing is decoded.
func (q *querier) Select(
	ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers ...*labels.Matcher,
) storage.SeriesSet {
	if len(matchers) > 0 && q.calls[&matchers[0]] != nil {
		return q.selectCall(ctx, q.calls[&matchers[0]])
	}
	return q.selectSeries(ctx, sortSeries, hints, matchers...)
}

func (q *querier) selectSeries(
	ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers ...*labels.Matcher,
) *seriesSet {
	sel := &selection{q: q, ctx: ctx, minMs: q.minMs, maxMs: q.maxMs}
	instant, limit := false, 0
	if hints != nil {
		sel.minMs, sel.maxMs = max(hints.Start, q.minMs), min(hints.End, q.maxMs)
		noSamples := hints.Func == seriesFunc
		sel.stand = standFor(hints.Func, hints.Range)
		if !noSamples && hints.Range == 0 && q.lookbackMs > 0 {
			// The engine asks for one lookback time before the first evaluation, less the sample that is just too old.
			first := hints.Start + q.lookbackMs - 1
			instant = first == hints.End
			if q.plain && !instant {
				sel.firstMs, sel.stepMs = first, hints.Step
				if !q.engineOnly {
					sel.tierMs = tierOf(first, hints.Step)
				}
			}
		}
		// One window from start to end: the smallest of the smallest of its parts is what the engine would find.
		sel.extremes = q.plain && hints.Range > 0 && hints.End-hints.Start+1 == hints.Range && (sel.stand == standMin || sel.stand == standMax)
		if !sortSeries {
			limit = hints.Limit
		}
	}

	var list []series
	repeats := false
	var builder labels.ScratchBuilder
	use := groupShown
	if len(matchers) > 0 {
		use = q.groupUses[&matchers[0]]
	}
	addOne := func(s series, name string, thing []Label, group string) error {
		if q.series++; q.series > q.maxSeries {
			return &limitError{fmt.Sprintf("the query selects more than %d series (query.max-series); narrow its label matchers", q.maxSeries)}
		}
		if int64(q.series)*int64(q.labelBytes) > maxLabelBytes {
			return &limitError{fmt.Sprintf("label_replace or label_join over %d series may make more than %d MiB of labels; aggregate first", q.series, maxLabelBytes>>20)}
		}
		if s.sel = sel; s.single {
			q.cost.lastValues.Add(1)
		}
		q.cost.series.Add(1)
		repeats = repeats || mayRepeat(s.thing, s.info, thing)
		s.lset = seriesLabels(&builder, name, thing, s.info, s.text, group)
		list = append(list, s)
		return nil
	}
	add := func(s series, name string, thing *thingState) error {
		if !q.grouping.shown || s.thing >= tsdb.FirstSource {
			return addOne(s, name, thing.labels, "")
		}
		q.rows = q.grouping.appendRows(q.rows[:0], q.things.memberships(thing, s.thing))
		for _, group := range q.rows {
			if err := addOne(s, name, thing.labels, group); err != nil {
				return err
			}
		}
		return nil
	}
	err := q.walk(ctx, sel.minMs, sel.maxMs, use, matchers, func(t *target, id tsdb.ThingID, thing *thingState, last *tsdb.Field) (walkStep, error) {
		s := series{metric: t.id, thing: id, info: t.info}
		if instant && last.TimeMs <= sel.maxMs && (last.Kind == tsdb.String) == t.info {
			s.single, s.last = true, sample{last.TimeMs, last.Number}
			if t.info {
				s.last.value, s.text = 1, validText(last.Text)
				if !t.matchesValue(s.text) {
					return walkOn, nil
				}
			}
			return walkOn, add(s, t.name, thing)
		}
		if limit > 0 && len(list) >= limit {
			return walkEnd, nil
		}
		if !t.info {
			if t.mixed {
				some, err := q.hasNumbers(ctx, id, t.id, sel.minMs, sel.maxMs)
				if err != nil || !some {
					return walkOn, err
				}
			}
			if err := add(s, t.name, thing); err != nil {
				return walkOn, err
			}
		} else {
			texts, err := q.textsOf(ctx, id, t, sel.minMs, min(sel.maxMs, last.TimeMs))
			if err != nil {
				return walkOn, err
			}
			for _, text := range texts {
				s.text = text
				if err := add(s, t.name, thing); err != nil {
					return walkOn, err
				}
			}
		}
		return walkOn, nil
	})
	if err != nil {
		return &seriesSet{err: err}
	}
	if repeats {
		list = mergeRepeated(list)
	} else if sortSeries {
		slices.SortFunc(list, func(a, b series) int { return labels.Compare(a.lset, b.lset) })
	}
	return &seriesSet{list: list}
}

// seriesLabels builds the labels of a series. A thing's attribute called `value` gives way on string columns.
func seriesLabels(b *labels.ScratchBuilder, name string, thing []Label, info bool, text, group string) labels.Labels {
	b.Reset()
	b.Add(nameLabel, name)
	for i := range thing {
		if l := &thing[i]; !info || l.Name != valueLabel {
			b.Add(l.Name, l.Value)
		}
	}
	if info && text != "" {
		b.Add(valueLabel, validText(text))
	}
	if group != "" {
		b.Add(groupLabel, group)
	}
	b.Sort()
	return b.Labels()
}

// LabelNames implements storage.Querier. Hints may be ignored, and are.
func (q *querier) LabelNames(
	ctx context.Context, _ *storage.LabelHints, matchers ...*labels.Matcher,
) ([]string, annotations.Annotations, error) {
	names := map[string]struct{}{}
	err := q.walk(ctx, q.minMs, q.maxMs, groupWanted, matchers, func(t *target, id tsdb.ThingID, thing *thingState, last *tsdb.Field) (walkStep, error) {
		if t.info {
			if t.valueMatchers != nil {
				texts, err := q.textsOf(ctx, id, t, q.minMs, min(q.maxMs, last.TimeMs))
				if err != nil || len(texts) == 0 {
					return walkOn, err
				}
			}
			names[valueLabel] = struct{}{}
		}
		if !thing.seen {
			thing.seen = true
			names[nameLabel] = struct{}{}
			for i := range thing.labels {
				names[thing.labels[i].Name] = struct{}{}
			}
			if len(q.things.memberships(thing, id)) > 0 {
				names[groupLabel] = struct{}{}
			}
		}
		return walkOn, nil
	})
	return slices.Sorted(maps.Keys(names)), nil, err
}

// LabelValues implements storage.Querier. Hints may be ignored, and are.
func (q *querier) LabelValues(
	ctx context.Context, name string, _ *storage.LabelHints, matchers ...*labels.Matcher,
) ([]string, annotations.Annotations, error) {
	values := map[string]struct{}{}
	err := q.walk(ctx, q.minMs, q.maxMs, groupWanted, matchers, func(t *target, id tsdb.ThingID, thing *thingState, last *tsdb.Field) (walkStep, error) {
		if thing.seen && name != nameLabel && name != valueLabel {
			return walkOn, nil
		}
		var texts []string
		if t.info && (name == valueLabel || t.valueMatchers != nil) {
			var err error
			if texts, err = q.textsOf(ctx, id, t, q.minMs, min(q.maxMs, last.TimeMs)); err != nil || len(texts) == 0 {
				return walkOn, err
			}
		}
		switch {
		case name == nameLabel:
			values[t.name] = struct{}{}
			return walkNext, nil
		case name == valueLabel && t.info:
			for _, text := range texts {
				if text != "" {
					values[text] = struct{}{}
				}
			}
		default:
			thing.seen = name != valueLabel
			if v := valueOf(thing.labels, name); v != "" {
				values[v] = struct{}{}
			}
			if name == groupLabel && q.grouper != nil && id < tsdb.FirstSource {
				q.rows = q.grouping.appendRows(q.rows[:0], q.things.memberships(thing, id))
				for _, group := range q.rows {
					if group != "" {
						values[group] = struct{}{}
					}
				}
			}
		}
		return walkOn, nil
	})
	return slices.Sorted(maps.Keys(values)), nil, err
}

// target is a column that the matchers on __name__ let through, as numbers or as strings.
type target struct {
	name          string // as PromQL shows it
	id            tsdb.MetricID
	info          bool
	mixed         bool              // a number column that also had strings
	valueMatchers []*labels.Matcher // of a string column: those on `value`
}

func (t *target) matchesValue(text string) bool { return matchAll(t.valueMatchers, text) }

// walkStep says how a walk goes on after a candidate.
type walkStep uint8

const (
	walkOn   walkStep = iota
	walkNext          // nothing more of this column
	walkEnd
)

// walk visits every column and thing that the matchers let through and that may have a sample in [minMs, maxMs],
// column by column. thing.seen is false when a walk meets the thing first; visit may set it. last is the column's last
// value, at minMs or later. It sets q.grouping to what becomes of `group`.
func (q *querier) walk(
	ctx context.Context, minMs, maxMs int64, use groupUse, matchers []*labels.Matcher,
	visit func(t *target, id tsdb.ThingID, thing *thingState, last *tsdb.Field) (walkStep, error),
) error {
	q.walks++
	var names, values, groups, others []*labels.Matcher
	for _, m := range matchers {
		switch {
		case m.Name == nameLabel:
			names = append(names, m)
		case m.Name == valueLabel:
			values = append(values, m)
		case m.Name == groupLabel && q.grouper != nil:
			groups = append(groups, m)
		default:
			others = append(others, m)
		}
	}
	q.grouping = newGrouping(groups, use)
	targets := q.targets(names, values)
	if len(targets) == 0 {
		return nil
	}
	some := q.candidates(others, groups)
	chosen, restricted := some.list(q.chosen[:0])
	q.chosen = chosen
	visited := 0
	var last tsdb.Field
	for i := range targets {
		t := &targets[i]
		ids := chosen
		if !restricted {
			q.ids = q.store.ThingsSince(q.ids[:0], t.id, minMs)
			ids = q.ids
		}
		for _, id := range ids {
			if visited++; visited%1024 == 0 {
				if err := ctx.Err(); err != nil {
					return err
				}
			}
			if !restricted && !some.has(id) {
				continue
			}
			var ok bool
			if last, ok = q.store.Last(id, t.id); !ok || last.TimeMs < minMs || last.TimeMs > maxMs && !q.store.Holds(id, t.id, minMs, maxMs) {
				continue
			}
			thing := q.things.get(id)
			if thing.walk != q.walks {
				thing.walk, thing.seen = q.walks, false
				thing.matched = !thing.hidden && matchLabels(others, thing.labels)
				if thing.matched && len(groups) > 0 {
					if id >= tsdb.FirstSource {
						thing.matched = matchLabels(groups, thing.labels)
					} else {
						thing.matched = q.grouping.match(q.things.memberships(thing, id))
					}
				}
			}
			if !thing.matched || !t.info && values != nil && !matchAll(values, valueOf(thing.labels, valueLabel)) {
				continue
			}
			step, err := visit(t, id, thing, &last)
			if err != nil {
				return err
			}
			if step == walkEnd {
				return nil
			}
			if step == walkNext {
				break
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// targets lists the columns whose shown name passes the matchers: one entry for numbers, one for strings.
func (q *querier) targets(names, values []*labels.Matcher) []target {
	const numbers = 1<<tsdb.Decimal | 1<<tsdb.Bool | 1<<tsdb.Float
	var list []target
	for _, m := range q.store.Metrics() {
		name := validText(m.Name)
		if name == "" {
			continue
		}
		if m.Kinds&numbers != 0 && matchAll(names, name) {
			list = append(list, target{name: name, id: m.ID, mixed: m.Kinds&(1<<tsdb.String) != 0})
		}
		if m.Kinds&(1<<tsdb.String) != 0 && matchAll(names, name+infoSuffix) {
			list = append(list, target{name: name + infoSuffix, id: m.ID, info: true, valueMatchers: values})
		}
	}
	return list
}

// hasNumbers reports whether a column that had numbers and strings has a number in the range.
func (q *querier) hasNumbers(ctx context.Context, id tsdb.ThingID, m tsdb.MetricID, minMs, maxMs int64) (bool, error) {
	probe := series{sel: &selection{q: q, ctx: ctx, minMs: minMs, maxMs: maxMs, stand: standLast}, thing: id, metric: m}
	it := sampleIterator{spanMs: firstWindowMs}
	it.reset(&probe)
	found := it.load(minMs) != chunkenc.ValNone
	_ = q.hold(-it.held)
	return found, it.err
}

// textsOf returns the different values of a string column in the range that pass the target's matchers, ascending.
func (q *querier) textsOf(ctx context.Context, id tsdb.ThingID, t *target, minMs, maxMs int64) ([]string, error) {
	found := map[string]struct{}{}
	previous, span := "", int64(firstWindowMs)
	for fromMs := minMs; fromMs <= maxMs; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		toMs := min(fromMs+span-1, maxMs)
		if err := q.store.ReadStrings(&q.texts, id, t.id, fromMs, toMs); err != nil {
			return nil, q.readError(err, &series{thing: id, metric: t.id})
		}
		for i, text := range q.texts.Values {
			if i > 0 && text == previous {
				continue
			}
			previous = text
			if _, ok := found[text]; ok || !t.matchesValue(validText(text)) {
				continue
			}
			if len(found) >= q.maxSeries {
				return nil, &limitError{fmt.Sprintf("column %q of one thing has more than %d values (query.max-series); narrow the time range", t.name, q.maxSeries)}
			}
			found[text] = struct{}{}
		}
		span = nextSpan(span, toMs-fromMs+1, len(q.texts.Values))
		fromMs = toMs + 1
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// hold adds grown bytes to what the buffers of the query take.
func (q *querier) hold(grown int) error {
	if q.heldBytes.Add(int64(grown)) > int64(q.maxBufferBytes) {
		return &limitError{fmt.Sprintf("the query decodes more than %d MiB at once (query.max-buffer); select fewer series or a shorter range", q.maxBufferBytes>>20)}
	}
	return nil
}

// readError marks an error of the store, as against one of the query.
func (q *querier) readError(err error, s *series) error {
	if err == nil {
		return nil
	}
	return promql.ErrStorage{Err: fmt.Errorf("read thing %d metric %d: %w", s.thing, s.metric, err)}
}

func matchAll(matchers []*labels.Matcher, value string) bool {
	for _, m := range matchers {
		if !m.Matches(value) {
			return false
		}
	}
	return true
}

func matchLabels(matchers []*labels.Matcher, list []Label) bool {
	for _, m := range matchers {
		if !m.Matches(valueOf(list, m.Name)) {
			return false
		}
	}
	return true
}

func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

var _ storage.Querier = (*querier)(nil)
