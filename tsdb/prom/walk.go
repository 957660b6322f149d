package prom

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"muster/tsdb"
)

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
		if q.ahead = len(chosen); !restricted {
			q.latest = q.store.LatestSince(q.latest[:0], t.id, minMs)
			q.ahead = len(q.latest)
		}
		for n := range q.ahead {
			if visited++; visited%1024 == 0 {
				if err := ctx.Err(); err != nil {
					return err
				}
			}
			var id tsdb.ThingID
			known := false // the last value
			if restricted {
				id = chosen[n]
			} else {
				l := &q.latest[n]
				if id = l.Thing; !some.has(id) {
					continue
				}
				if known = l.Kind != tsdb.String; known {
					last = tsdb.Field{Metric: t.id, Kind: l.Kind, TimeMs: l.TimeMs, Number: l.Number}
				}
			}
			if !known {
				last, known = q.store.Last(id, t.id)
			}
			if !known || last.TimeMs < minMs || last.TimeMs > maxMs && !q.store.Holds(id, t.id, minMs, maxMs) {
				continue
			}
			thing := q.things.get(id)
			if thing.walk != q.walks {
				thing.walk, thing.seen = q.walks, false
				thing.matched = !thing.hidden && (len(others) == 0 || matchLabels(others, q.things.labels(thing, id)))
				if thing.matched && len(groups) > 0 {
					if id >= tsdb.FirstSource {
						thing.matched = matchLabels(groups, q.things.labels(thing, id))
					} else {
						thing.matched = q.grouping.match(q.things.memberships(thing, id))
					}
				}
			}
			if !thing.matched || !t.info && values != nil && !matchAll(values, valueOf(q.things.labels(thing, id), valueLabel)) {
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
