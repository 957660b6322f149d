package main

import (
	"context"
	"time"

	"muster/admin"
	"muster/registry/fleetmetric"
	"muster/tsdb"
)

// recorder writes series of the gateway's own into its twin store. Not for concurrent use.
type recorder struct {
	store  *tsdb.Store
	labels tsdb.LabelSet
	values []tsdb.Value
}

// label begins a row of series with the given labels: name, value, name, value.
func (r *recorder) label(pairs ...string) {
	r.labels.Reset()
	for i := 0; i < len(pairs); i += 2 {
		r.labels.Add([]byte(pairs[i]), []byte(pairs[i+1]))
	}
	r.values = r.values[:0]
}

// add adds a series to the row.
func (r *recorder) add(metric string, value float64) error {
	id, err := r.store.Dict().Metric([]byte(metric))
	if err == nil {
		r.values = append(r.values, tsdb.FloatValue(id, value))
	}
	return err
}

// append appends the row.
func (r *recorder) append(atMs int64) error {
	source, err := r.store.Source(&r.labels)
	if err == nil {
		_, err = r.store.Append(source, atMs, r.values, nil)
	}
	return err
}

// Names of the series of fleet metrics.
const (
	fleetMetricSeries    = "fleet_metric"
	fleetMetricName      = "metric"
	fleetMetricStatistic = "statistic"
)

// fleetMetric records the values of a fleet metric: fleet_metric{metric="offline",statistic="count"}.
func (r *recorder) fleetMetric(metric string, atMs int64, values []fleetmetric.Value) error {
	for _, v := range values {
		r.label(fleetMetricName, metric, fleetMetricStatistic, v.Statistic)
		if err := r.add(fleetMetricSeries, v.Number); err != nil {
			return err
		}
		if err := r.append(atMs); err != nil {
			return err
		}
	}
	return nil
}

// selfLabels are those of the gateway's own figures.
var selfLabels = []string{"job", "muster"}

// self records the gateway's own figures, so that its charts have a history.
func (r *recorder) self(g *gateway, atMs int64) error {
	counts, stats, traffic := g.things.Counts(), g.telemetry.Stats(), g.traffic()
	r.label(selfLabels...)
	for _, figure := range []struct {
		series string
		value  float64
	}{
		{"muster_things", float64(counts.Things)},
		{"muster_things_connected", float64(counts.Connected)},
		{"muster_messages_total", float64(traffic.Messages)},
		{"muster_refused_total", float64(traffic.Refused)},
		{"muster_samples_total", float64(stats.SamplesAppended)},
		{"muster_disk_bytes", float64(stats.DiskBytes)},
		{"muster_memory_bytes", float64(admin.ResidentBytes())},
	} {
		if err := r.add(figure.series, figure.value); err != nil {
			return err
		}
	}
	return r.append(atMs)
}

// openRecords opens the fleet metrics and starts recording them and, every self.record-every, the gateway's own figures.
func (g *gateway) openRecords(ctx context.Context, _ *bootstrap) (err error) {
	if g.metering, err = fleetmetric.Open(ctx, g.database, g.things, g.clock); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() {
		r := recorder{store: g.telemetry}
		g.metering.Run(running, g.log, r.fleetMetric)
		done <- struct{}{}
	}()
	go func() {
		g.recordSelf(running, time.Duration(g.settings.selfRecordEvery))
		done <- struct{}{}
	}()
	g.onClose("records", func(ctx context.Context) error {
		stop()
		for range cap(done) {
			select {
			case <-done:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return nil
}

// recordSelf records the gateway's own figures at multiples of every until ctx ends; never where that is 0. An error is logged when
// it is a new one.
func (g *gateway) recordSelf(ctx context.Context, every time.Duration) {
	if every == 0 {
		return
	}
	r := recorder{store: g.telemetry}
	failing := ""
	for {
		now := g.clock.Now()
		next := now.Truncate(every).Add(every)
		select {
		case <-g.clock.After(next.Sub(now)):
		case <-ctx.Done():
			return
		}
		err := r.self(g, next.UnixMilli())
		if err == nil {
			failing = ""
		} else if failing != err.Error() {
			failing = err.Error()
			g.log.Warn("the gateway's own figures are not recorded", "err", err)
		}
	}
}
