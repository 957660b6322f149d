package prom

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"muster/tsdb"
)

// Store is what this package uses of *tsdb.Store.
type Store interface {
	Metrics() []tsdb.Metric
	ThingsWith(dst []tsdb.ThingID, m tsdb.MetricID, minMs, maxMs int64) []tsdb.ThingID
	LatestSince(dst []tsdb.Latest, m tsdb.MetricID, sinceMs int64) []tsdb.Latest
	Last(thing tsdb.ThingID, m tsdb.MetricID) (tsdb.Field, bool)
	Holds(thing tsdb.ThingID, m tsdb.MetricID, minMs, maxMs int64) bool
	ReadLastAt(dst *tsdb.StepSamples, thing tsdb.ThingID, m tsdb.MetricID, minMs, firstMs, stepMs int64, steps int) error
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
	maxSamples     int           // that an aggregation adds up; 0: any number
	maxCells       int           // of an aggregation at a time
	engineOnly     bool          // nothing is pushed down, and tiers are for what is gone
	helpers        chan struct{} // has what all aggregations together started of goroutines
	sources        sourceIndex
}

func newQueryable(store Store, dir Directory, maxSeries, maxBufferBytes int) *queryable {
	q := &queryable{
		store: store, dir: dir, maxSeries: maxSeries, maxBufferBytes: maxBufferBytes, maxCells: maxCells,
		helpers: make(chan struct{}, runtime.GOMAXPROCS(0)-1),
	}
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
	pushed       map[selectorID]pushed
	cost         *cost
	latest       []tsdb.Latest
	ahead        int // how many things the walk looks at for its column, at most
	chosen       []tsdb.ThingID
	grouping     grouping // of the walk
	rows         []string
	texts        tsdb.StringSamples
	heldBytes    atomic.Int64 // by buffers of iterators
}

// Close implements storage.Querier.
func (q *querier) Close() error { return nil }

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
			for _, l := range q.things.labels(thing, id) {
				names[l.Name] = struct{}{}
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
			if v := valueOf(q.things.labels(thing, id), name); v != "" {
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

func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

var _ storage.Querier = (*querier)(nil)
