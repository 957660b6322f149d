package fleetmetric

import (
	"context"
	"log/slog"
	"math"
	"strconv"
	"time"

	"muster/registry"
	"muster/registry/index"
)

// Value is one number of a metric: of the statistic "maximum", of the percentile "99", or of "cardinality".
type Value struct {
	Statistic string
	Number    float64
}

// Record keeps the values of a metric at a time, a multiple of its period. They are not kept after it returns.
type Record func(metric string, atMs int64, values []Value) error

// longestWait is how long Run sleeps at most, so that a clock that is set forward is noticed.
const longestWait = 10 * time.Second

// Run evaluates each metric once in its period and records what it gives, until ctx ends. A metric that cannot be evaluated or
// recorded is logged once, and again when its error changes.
func (m *Metrics) Run(ctx context.Context, log *slog.Logger, record Record) {
	failing := map[string]string{}
	for {
		due, wait := m.take(m.clock.Now().UnixMilli())
		for _, metric := range due {
			values, err := m.values(ctx, metric.Metric)
			if err == nil && len(values) > 0 {
				err = record(metric.Name, metric.dueMs, values)
			}
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				delete(failing, metric.Name)
			case failing[metric.Name] != err.Error():
				failing[metric.Name] = err.Error()
				log.Warn("a fleet metric has no value", "metric", metric.Name, "err", err)
			}
		}
		if len(due) > 0 {
			continue // they took time, and others may be due
		}
		select {
		case <-m.clock.After(wait):
		case <-m.changed:
		case <-ctx.Done():
			return
		}
	}
}

// take returns copies of the metrics whose time has come, schedules them anew, and says how long nothing else is due.
func (m *Metrics) take(nowMs int64) (due []scheduled, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wait = longestWait
	for _, s := range m.all {
		last, next := s.around(nowMs)
		switch {
		case s.dueMs <= nowMs:
			// What was missed, by a slow query or a clock that jumped, stays missed.
			s.dueMs = last
			due = append(due, *s)
			s.dueMs = next
		case s.dueMs > next: // the clock was set back
			s.dueMs = next
		}
		wait = min(wait, time.Duration(s.dueMs-nowMs)*time.Millisecond)
	}
	return due, wait
}

// values evaluates a metric now. Numbers that there are not, such as the maximum of nothing, are left out.
func (m *Metrics) values(ctx context.Context, metric Metric) (values []Value, err error) {
	switch metric.Aggregation {
	case Cardinality:
		n, err := m.fleet.QueryCardinality(ctx, metric.Query, metric.Field)
		return []Value{{"cardinality", float64(n)}}, err
	case Percentiles:
		percents := make([]float64, len(metric.Values))
		for i, text := range metric.Values {
			percents[i], _ = strconv.ParseFloat(text, 64) // checked when the metric was made
		}
		numbers, kind, err := m.fleet.QueryPercentiles(ctx, metric.Query, metric.Field, percents)
		if err == nil && kind == index.TextType {
			err = refuse(registry.Invalid, "aggregationField: the values of %s are texts; percentiles need numbers", metric.Field)
		}
		for i, n := range numbers {
			values = append(values, Value{metric.Values[i], n})
		}
		return values, err
	}
	stats, err := m.fleet.QueryStats(ctx, metric.Query, metric.Field)
	if err != nil {
		return nil, err
	}
	for _, name := range metric.Values {
		if n, ok := statisticOf(name)(stats); ok && !math.IsInf(n, 0) && !math.IsNaN(n) {
			values = append(values, Value{name, n})
		}
	}
	return values, nil
}

// statisticOf returns how a statistic is taken from all of them, nil if there is none of that name. A field of texts has a count alone.
func statisticOf(name string) func(index.Stats) (n float64, ok bool) {
	ofNumbers := func(of func(index.Stats) float64) func(index.Stats) (float64, bool) {
		return func(s index.Stats) (float64, bool) { return of(s), s.Count > 0 && s.Type != index.TextType }
	}
	switch name {
	case "count":
		return func(s index.Stats) (float64, bool) { return float64(s.Count), true }
	case "average":
		return ofNumbers(func(s index.Stats) float64 { return s.Average })
	case "sum":
		return ofNumbers(func(s index.Stats) float64 { return s.Sum })
	case "minimum":
		return ofNumbers(func(s index.Stats) float64 { return s.Min })
	case "maximum":
		return ofNumbers(func(s index.Stats) float64 { return s.Max })
	case "sumOfSquares":
		return ofNumbers(func(s index.Stats) float64 { return s.SumSquares })
	case "variance":
		return ofNumbers(func(s index.Stats) float64 { return s.Variance })
	case "stdDeviation":
		return ofNumbers(func(s index.Stats) float64 { return math.Sqrt(s.Variance) })
	}
	return nil
}
