package prom

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"muster/tsdb"
)

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

// Select implements storage.Querier. Series of numbers are listed without reading a sample; those of strings need their
// values. Where only the last sample at or before the end counts (a vector selector at one time), the store's live twin
// answers if its sample is in range, and nothing is decoded.
func (q *querier) Select(
	ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers ...*labels.Matcher,
) storage.SeriesSet {
	if len(matchers) > 0 && q.pushed[&matchers[0]] != nil {
		return q.pushed[&matchers[0]].open(ctx, q)
	}
	return q.selectSeries(ctx, sortSeries, hints, matchers...)
}

func (q *querier) selectSeries(
	ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers ...*labels.Matcher,
) *seriesSet {
	return q.find(ctx, sortSeries, false, hints, matchers)
}

// selectParts selects series in no order whose labels are not made, but where some may be the same: of most that are aggregated none is shown.
func (q *querier) selectParts(ctx context.Context, hints *storage.SelectHints, matchers []*labels.Matcher) *seriesSet {
	return q.find(ctx, false, true, hints, matchers)
}

func (q *querier) find(
	ctx context.Context, sortSeries, parts bool, hints *storage.SelectHints, matchers []*labels.Matcher,
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

	set := &seriesSet{things: &q.things}
	repeats := false
	var builder labels.ScratchBuilder
	use := groupShown
	if len(matchers) > 0 {
		use = q.groupUses[&matchers[0]]
	}
	addOne := func(s series, t *target, thing *thingState, group string) error {
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
		repeats = repeats || s.thing >= tsdb.FirstSource && mayRepeat(s.info, thing.labels)
		if set.list == nil {
			set.list = make([]series, 0, min(q.ahead, maxAhead))
		} else if n := len(set.list); n == cap(set.list) {
			set.list = slices.Grow(set.list, n)
		}
		if parts {
			if set.parts == nil {
				set.parts = make([]labelParts, 0, min(q.ahead, maxAhead))
			} else if n := len(set.parts); n == cap(set.parts) {
				set.parts = slices.Grow(set.parts, n)
			}
			set.parts = append(set.parts, labelParts{t, thing, group})
		} else {
			s.lset = seriesLabels(&builder, t.name, q.things.labels(thing, s.thing), s.info, s.text, group)
		}
		set.list = append(set.list, s)
		return nil
	}
	add := func(s series, t *target, thing *thingState) error {
		if !q.grouping.shown || s.thing >= tsdb.FirstSource {
			return addOne(s, t, thing, "")
		}
		q.rows = q.grouping.appendRows(q.rows[:0], q.things.memberships(thing, s.thing))
		for _, group := range q.rows {
			if err := addOne(s, t, thing, group); err != nil {
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
			return walkOn, add(s, t, thing)
		}
		if limit > 0 && len(set.list) >= limit {
			return walkEnd, nil
		}
		if !t.info {
			if t.mixed {
				some, err := q.hasNumbers(ctx, id, t.id, sel.minMs, sel.maxMs)
				if err != nil || !some {
					return walkOn, err
				}
			}
			if err := add(s, t, thing); err != nil {
				return walkOn, err
			}
		} else {
			texts, err := q.textsOf(ctx, id, t, sel.minMs, min(sel.maxMs, last.TimeMs))
			if err != nil {
				return walkOn, err
			}
			for _, text := range texts {
				s.text = text
				if err := add(s, t, thing); err != nil {
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
		for i := range set.parts {
			set.list[i].lset = set.labels(i)
		}
		set.list, set.parts = mergeRepeated(set.list), nil
	} else if sortSeries {
		slices.SortFunc(set.list, func(a, b series) int { return labels.Compare(a.lset, b.lset) })
	}
	return set
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

// maxAhead is how many series get their room before they are found to match.
const maxAhead = 2048

// labelParts are what the labels of a series are made of, besides its text.
type labelParts struct {
	t     *target
	thing *thingState
	group string
}

// seriesSet hands out the series of a selection.
type seriesSet struct {
	list    []series
	parts   []labelParts // of each series, where labels are not made; else nil
	things  *thingCache
	builder labels.ScratchBuilder
	pos     int // of the current series, plus one
	err     error
}

// labels returns the labels of series i.
func (s *seriesSet) labels(i int) labels.Labels {
	if s.parts == nil {
		return s.list[i].lset
	}
	p := &s.parts[i]
	return seriesLabels(&s.builder, p.t.name, s.things.labels(p.thing, s.list[i].thing), s.list[i].info, s.list[i].text, p.group)
}

// value returns the value of a label of series i, "" where there is none.
func (s *seriesSet) value(i int, name string) string {
	if s.parts == nil {
		return s.list[i].lset.Get(name)
	}
	p := &s.parts[i]
	switch {
	case name == nameLabel:
		return p.t.name
	case name == valueLabel && s.list[i].info:
		return validText(s.list[i].text)
	case name == groupLabel && p.group != "":
		return p.group
	}
	return valueOf(s.things.labels(p.thing, s.list[i].thing), name)
}

func (s *seriesSet) Next() bool {
	if s.err != nil || s.pos >= len(s.list) {
		return false
	}
	s.pos++
	return true
}

func (s *seriesSet) At() storage.Series                { return &s.list[s.pos-1] }
func (s *seriesSet) Err() error                        { return s.err }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
