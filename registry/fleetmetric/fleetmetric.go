// Package fleetmetric keeps AWS IoT's fleet metrics: an aggregation of what a fleet query finds, recorded again and again, so that
// it has a history. AWS records into CloudWatch, once a minute at most; this gateway records series of its own, once a second at most.
//
// Metrics has all metrics in memory and each change on disk before the call returns. Run evaluates them.
package fleetmetric

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"muster/registry"
	"muster/registry/index"
)

// Metric is one fleet metric.
type Metric struct {
	Name, Description string
	Query             string // of fleet queries (package registry/query)
	Field             string // that is aggregated
	Aggregation       Aggregation
	Values            []string // of the aggregation: "count", "maximum"; of Percentiles numbers such as "99.9"; none for Cardinality
	PeriodSeconds     int
	Unit              string // of CloudWatch, for AWS's clients
	Version           int64
	CreatedMs         int64
	ModifiedMs        int64
}

// Aggregation is what AWS calls the name of an aggregation type.
type Aggregation string

const (
	Statistics  Aggregation = "Statistics"
	Percentiles Aggregation = "Percentiles"
	Cardinality Aggregation = "Cardinality"
)

// Limits of metrics. The period is in seconds; AWS's is 60 to 86,400.
const (
	MaxMetrics          = 1000
	MinPeriodSeconds    = 1
	MaxPeriodSeconds    = 86_400
	maxDescriptionBytes = 1024
	maxValues           = 20
)

// Store keeps metrics on disk. Implemented by registry/store.
type Store interface {
	LoadFleetMetrics(ctx context.Context) ([]Metric, error)
	PutFleetMetric(ctx context.Context, m Metric) error // makes or replaces it
	DeleteFleetMetric(ctx context.Context, name string) error
}

// Fleet answers the aggregations. Implemented by registry.Registry.
type Fleet interface {
	QueryStats(ctx context.Context, query, field string) (index.Stats, error)
	QueryPercentiles(ctx context.Context, query, field string, percents []float64) ([]float64, index.Type, error)
	QueryCardinality(ctx context.Context, query, field string) (int, error)
}

// Clock tells the time and waits.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// Metrics is the set of fleet metrics. All methods are safe for concurrent use.
type Metrics struct {
	store Store
	fleet Fleet
	clock Clock

	mu      sync.Mutex // guards all and versions of it on disk
	all     map[string]*scheduled
	changed chan struct{} // of capacity 1: the schedule changed
}

// scheduled is a metric, with the time of its next value.
type scheduled struct {
	Metric
	dueMs int64
}

// Open loads all metrics.
func Open(ctx context.Context, store Store, fleet Fleet, clock Clock) (*Metrics, error) {
	list, err := store.LoadFleetMetrics(ctx)
	if err != nil {
		return nil, fmt.Errorf("load fleet metrics: %w", err)
	}
	m := &Metrics{store: store, fleet: fleet, clock: clock, all: map[string]*scheduled{}, changed: make(chan struct{}, 1)}
	for _, metric := range list {
		m.schedule(metric)
	}
	return m, nil
}

// schedule puts a metric into the set. Values are recorded at multiples of the period, as time series want them. The caller holds mu.
func (m *Metrics) schedule(metric Metric) {
	_, next := metric.around(m.clock.Now().UnixMilli())
	m.all[metric.Name] = &scheduled{metric, next}
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// around returns the multiples of the period before nowMs, or at it, and behind it, in Unix milliseconds.
func (m *Metric) around(nowMs int64) (last, next int64) {
	periodMs := int64(m.PeriodSeconds) * 1000
	last = nowMs / periodMs * periodMs
	return last, last + periodMs
}

var nameRule = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)

func refuse(kind registry.Kind, format string, args ...any) error {
	return &registry.Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// units are CloudWatch's.
var units = strings.Fields("None Count Percent Seconds Microseconds Milliseconds " +
	"Bytes Kilobytes Megabytes Gigabytes Terabytes Bits Kilobits Megabits Gigabits Terabits Count/Second " +
	"Bytes/Second Kilobytes/Second Megabytes/Second Gigabytes/Second Terabytes/Second " +
	"Bits/Second Kilobits/Second Megabits/Second Gigabits/Second Terabits/Second")

func checkName(name string) error {
	if !nameRule.MatchString(name) {
		return refuse(registry.Invalid, "metricName must be 1 to 128 characters of a-z A-Z 0-9 _ . -, not %.140q", name)
	}
	return nil
}

// check refuses a metric that cannot be recorded: its form first, then by asking the fleet once.
func (m *Metrics) check(ctx context.Context, metric *Metric) error {
	if err := checkForm(metric); err != nil {
		return err
	}
	_, err := m.values(ctx, *metric)
	return err
}

func checkForm(metric *Metric) error {
	if err := checkName(metric.Name); err != nil {
		return err
	}
	switch {
	case strings.ContainsFunc(metric.Description, func(r rune) bool { return r != ' ' && (unicode.IsSpace(r) || !unicode.IsGraphic(r)) }):
		return refuse(registry.Invalid, "description: allowed are printable characters and the space")
	case len(metric.Description) > maxDescriptionBytes:
		return refuse(registry.Invalid, "description has %d bytes, at most %d are taken", len(metric.Description), maxDescriptionBytes)
	case metric.PeriodSeconds < MinPeriodSeconds || metric.PeriodSeconds > MaxPeriodSeconds:
		return refuse(registry.Invalid, "period must be %d to %d seconds, it is %d", MinPeriodSeconds, MaxPeriodSeconds, metric.PeriodSeconds)
	case !slices.Contains(units, metric.Unit):
		return refuse(registry.Invalid, "unit %.40q is none that AWS has, such as None, Count, Seconds, Bytes, Percent or Count/Second", metric.Unit)
	case len(metric.Values) > maxValues:
		return refuse(registry.Invalid, "aggregationType: at most %d values, these are %d", maxValues, len(metric.Values))
	}
	switch metric.Aggregation {
	case Statistics:
		for _, v := range metric.Values {
			if statisticOf(v) == nil {
				return refuse(registry.Invalid, "aggregationType: there is no statistic %.40q; there are count, average, sum, minimum, maximum, sumOfSquares, variance and stdDeviation", v)
			}
		}
	case Percentiles:
		for _, v := range metric.Values {
			if p, err := strconv.ParseFloat(v, 64); err != nil || !(p >= 0 && p <= 100) {
				return refuse(registry.Invalid, "aggregationType: a percentile is a number from 0 to 100, not %.40q", v)
			}
		}
	case Cardinality:
		metric.Values = nil
	default:
		return refuse(registry.Invalid, "aggregationType: name must be Statistics, Percentiles or Cardinality, not %.40q", metric.Aggregation)
	}
	if metric.Aggregation != Cardinality && len(metric.Values) == 0 {
		return refuse(registry.Invalid, "aggregationType: values are missing, such as count or, for Percentiles, 99")
	}
	return nil
}

// Create makes a metric, and says whether it did: the same again is not an error; another one under its name is a Conflict.
func (m *Metrics) Create(ctx context.Context, metric Metric) (made bool, err error) {
	if err := m.check(ctx, &metric); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if is := m.all[metric.Name]; is != nil {
		if is.same(metric) {
			return false, nil
		}
		return false, refuse(registry.Conflict, "there is a fleet metric %q already", metric.Name)
	}
	if len(m.all) >= MaxMetrics {
		return false, refuse(registry.Limit, "this gateway keeps %d fleet metrics: delete one first", MaxMetrics)
	}
	metric.Version, metric.CreatedMs = 1, m.clock.Now().UnixMilli()
	metric.ModifiedMs = metric.CreatedMs
	return true, m.put(ctx, metric)
}

// Exists says whether there is a metric of that name.
func (m *Metrics) Exists(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all[name] != nil
}

// same compares what a user gives.
func (m Metric) same(o Metric) bool {
	return m.Description == o.Description && m.Query == o.Query && m.Field == o.Field && m.Aggregation == o.Aggregation &&
		slices.Equal(m.Values, o.Values) && m.PeriodSeconds == o.PeriodSeconds && m.Unit == o.Unit
}

func (m *Metrics) put(ctx context.Context, metric Metric) error {
	if err := m.store.PutFleetMetric(ctx, metric); err != nil {
		return fmt.Errorf("store fleet metric %q: %w", metric.Name, err)
	}
	m.schedule(metric)
	return nil
}

// Update changes a metric by change. expectedVersion 0 takes any.
func (m *Metrics) Update(ctx context.Context, name string, expectedVersion int64, change func(*Metric)) error {
	metric, err := m.Metric(name)
	if err != nil {
		// As AWS: a request of the wrong form is that, whatever it is for.
		any := Metric{Name: name, Query: "*", Aggregation: Statistics, Values: []string{"count"}, PeriodSeconds: 60, Unit: "None"}
		change(&any)
		return cmp.Or(checkForm(&any), err)
	}
	if expectedVersion == 0 {
		expectedVersion = metric.Version
	}
	change(&metric)
	if err := m.check(ctx, &metric); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	is, err := m.at(name, expectedVersion)
	if err != nil {
		return err
	}
	metric.Version, metric.ModifiedMs = is.Version+1, m.clock.Now().UnixMilli()
	return m.put(ctx, metric)
}

// Delete ends a metric; what it recorded stays. expectedVersion 0 takes any. One that is not there is no error.
func (m *Metrics) Delete(ctx context.Context, name string, expectedVersion int64) error {
	if err := checkName(name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all[name] == nil {
		return nil
	}
	if _, err := m.at(name, expectedVersion); err != nil {
		return err
	}
	if err := m.store.DeleteFleetMetric(ctx, name); err != nil {
		return fmt.Errorf("delete fleet metric %q: %w", name, err)
	}
	delete(m.all, name)
	return nil
}

// at returns a metric that must have the version expected, if that is not 0. The caller holds mu.
func (m *Metrics) at(name string, expected int64) (*scheduled, error) {
	is := m.all[name]
	switch {
	case is == nil && checkName(name) != nil:
		return nil, checkName(name)
	case is == nil:
		return nil, refuse(registry.NotFound, "there is no fleet metric %.140q", name)
	case expected != 0 && expected != is.Version:
		return nil, refuse(registry.Stale, "fleet metric %q has the version %d, not %d", name, is.Version, expected)
	}
	return is, nil
}

// Metric returns a metric by its name.
func (m *Metrics) Metric(name string) (Metric, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is, err := m.at(name, 0)
	if err != nil {
		return Metric{}, err
	}
	return is.Metric, nil
}

// List returns up to limit names after the name `after`, ascending, and whether there are more.
func (m *Metrics) List(after string, limit int) (names []string, more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.all {
		if name > after {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > limit {
		return names[:limit], true
	}
	return names, false
}
