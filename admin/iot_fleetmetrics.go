package admin

import (
	"context"
	"errors"

	"muster/registry"
	"muster/registry/fleetmetric"
)

// fleetMetricRoutes are AWS IoT's fleet metrics, which this gateway records as series of its own.
var fleetMetricRoutes = []route{
	{method: "PUT", pattern: "/fleet-metric/{metricName}", op: "CreateFleetMetric", scope: fleet, audited: true, handle: awsBody(createFleetMetric)},
	{method: "GET", pattern: "/fleet-metric/{metricName}", op: "DescribeFleetMetric", scope: read, handle: plain(describeFleetMetric)},
	{method: "PATCH", pattern: "/fleet-metric/{metricName}", op: "UpdateFleetMetric", scope: fleet, audited: true, handle: awsBody(updateFleetMetric)},
	{method: "DELETE", pattern: "/fleet-metric/{metricName}", op: "DeleteFleetMetric", scope: fleet, audited: true,
		query: "expectedVersion", handle: plain(deleteFleetMetric)},
	{method: "GET", pattern: "/fleet-metrics", op: "ListFleetMetrics", scope: read,
		query: paged, handle: plain(listFleetMetrics)},
}

func (s *Server) fleetMetrics() (*fleetmetric.Metrics, error) {
	if s.opts.FleetMetrics == nil {
		return nil, notFound("this gateway records no fleet metrics")
	}
	return s.opts.FleetMetrics, nil
}

type aggregationType struct {
	Name   fleetmetric.Aggregation `json:"name"`
	Values []string                `json:"values,omitempty"`
}

// fleetMetricInput is what CreateFleetMetric and UpdateFleetMetric take; of the second, what is nil stays as it is.
type fleetMetricInput struct {
	QueryString      *string          `json:"queryString"`
	AggregationType  *aggregationType `json:"aggregationType"`
	AggregationField *string          `json:"aggregationField"`
	Period           *int             `json:"period"`
	Description      *string          `json:"description"`
	Unit             *string          `json:"unit"`
	IndexName        string           `json:"indexName"`
	QueryVersion     string           `json:"queryVersion"`
	ExpectedVersion  int64            `json:"expectedVersion"`
	Tags             []tag            `json:"tags"` // of a new metric
}

func (in *fleetMetricInput) check(s *Server) error {
	if err := s.checkThingsIndex("fleet metrics", in.IndexName, in.QueryVersion); err != nil {
		return err
	}
	if in.AggregationField != nil {
		query := indexQuery{AggregationField: *in.AggregationField}
		if _, err := query.aggregated(); err != nil {
			return err
		}
	}
	return nil
}

// apply puts what is given into m.
func (in *fleetMetricInput) apply(m *fleetmetric.Metric) {
	for _, text := range []struct{ from, to *string }{
		{in.QueryString, &m.Query}, {in.AggregationField, &m.Field}, {in.Description, &m.Description}, {in.Unit, &m.Unit},
	} {
		if text.from != nil {
			*text.to = *text.from
		}
	}
	if in.AggregationType != nil {
		m.Aggregation, m.Values = in.AggregationType.Name, in.AggregationType.Values
	}
	if in.Period != nil {
		m.PeriodSeconds = *in.Period
	}
}

type metricRef struct {
	MetricName string `json:"metricName"`
	MetricARN  string `json:"metricArn"`
}

type metricList struct {
	FleetMetrics []metricRef `json:"fleetMetrics"`
	NextToken    string      `json:"nextToken,omitempty"`
}

func createFleetMetric(ctx context.Context, s *Server, c *call, in fleetMetricInput) (*metricRef, error) {
	switch {
	case in.QueryString == nil:
		return nil, invalid("queryString is missing; * finds every thing")
	case in.AggregationType == nil:
		return nil, invalid(`aggregationType is missing, such as {"name": "Statistics", "values": ["count"]}`)
	case in.AggregationField == nil:
		return nil, invalid("aggregationField is missing, such as registry.version")
	case in.Period == nil:
		return nil, invalid("period is missing: seconds from one value to the next")
	}
	if err := in.check(s); err != nil {
		return nil, err
	}
	metrics, err := s.fleetMetrics()
	if err != nil {
		return nil, err
	}
	m := fleetmetric.Metric{Name: c.labels[0], Unit: "None"}
	in.apply(&m)
	arn := s.registry.FleetMetricARN(m.Name)
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	made, err := metrics.Create(ctx, m)
	if err != nil {
		return nil, exists(err, m.Name, arn)
	}
	if made && len(tags) > 0 {
		if err := s.registry.Tag(ctx, arn, tags); err != nil {
			return nil, errors.Join(err, metrics.Delete(ctx, m.Name, 0)) // all or nothing
		}
	}
	return &metricRef{m.Name, arn}, nil
}

type metricDescription struct {
	MetricName       string          `json:"metricName"`
	MetricARN        string          `json:"metricArn"`
	QueryString      string          `json:"queryString"`
	AggregationType  aggregationType `json:"aggregationType"`
	AggregationField string          `json:"aggregationField"`
	Period           int             `json:"period"`
	Description      string          `json:"description,omitempty"`
	Unit             string          `json:"unit"`
	IndexName        string          `json:"indexName"`
	QueryVersion     string          `json:"queryVersion"`
	CreationDate     epochSeconds    `json:"creationDate"`
	LastModifiedDate epochSeconds    `json:"lastModifiedDate"`
	Version          int64           `json:"version"`
}

func describeFleetMetric(_ context.Context, s *Server, c *call) (*metricDescription, error) {
	metrics, err := s.fleetMetrics()
	if err != nil {
		return nil, err
	}
	m, err := metrics.Metric(c.labels[0])
	if err != nil {
		return nil, err
	}
	return &metricDescription{
		m.Name, s.registry.FleetMetricARN(m.Name), m.Query, aggregationType{m.Aggregation, m.Values}, m.Field, m.PeriodSeconds, m.Description, m.Unit,
		thingsIndex, queryVersion, epochSeconds(m.CreatedMs), epochSeconds(m.ModifiedMs), m.Version,
	}, nil
}

func updateFleetMetric(ctx context.Context, s *Server, c *call, in fleetMetricInput) (*noContent, error) {
	if err := in.check(s); err != nil {
		return nil, err
	}
	metrics, err := s.fleetMetrics()
	if err != nil {
		return nil, err
	}
	return nil, metrics.Update(ctx, c.labels[0], in.ExpectedVersion, in.apply)
}

func deleteFleetMetric(ctx context.Context, s *Server, c *call) (*noContent, error) {
	metrics, err := s.fleetMetrics()
	if err != nil {
		return nil, err
	}
	expected, err := expectedVersion(c)
	if err != nil {
		return nil, err
	}
	if err := metrics.Delete(ctx, c.labels[0], expected); err != nil {
		return nil, err
	}
	return nil, s.registry.ForgetTags(ctx, "fleetmetric", c.labels[0])
}

func listFleetMetrics(_ context.Context, s *Server, c *call) (*metricList, error) {
	after, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	metrics, err := s.fleetMetrics()
	if err != nil {
		return nil, err
	}
	names, more := metrics.List(after, min(limit, registry.MaxPage))
	items := make([]metricRef, len(names))
	for i, name := range names {
		items[i] = metricRef{name, s.registry.FleetMetricARN(name)}
	}
	next := ""
	if more {
		next = names[len(names)-1]
	}
	return &metricList{items, pageToken(next)}, nil
}
