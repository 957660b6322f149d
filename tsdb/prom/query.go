package prom

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/prometheus/prometheus/util/stats"
)

// errTruncated is the warning that a limit has cut the result.
var errTruncated = errors.New("results truncated due to limit")

// query answers /query: one instant.
func (a *API) query(ctx context.Context, form url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	at, err := timeParam(form, "time", a.opts.Clock.Now())
	if err != nil {
		return dst, nil, err
	}
	opts, err := queryOptions(form)
	if err != nil {
		return dst, nil, err
	}
	data := &scope{queryable: a.queryable}
	q, err := a.engine.NewInstantQuery(ctx, data, opts, form.Get("query"), at)
	if err != nil {
		return dst, nil, badParam("query", err)
	}
	return a.run(ctx, q, data, form, dst)
}

// queryRange answers /query_range: steps from start to end, both included.
func (a *API) queryRange(ctx context.Context, form url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	start, err := parseTime(form.Get("start"))
	if err != nil {
		return dst, nil, badParam("start", err)
	}
	end, err := parseTime(form.Get("end"))
	if err != nil {
		return dst, nil, badParam("end", err)
	}
	if end.Before(start) {
		return dst, nil, badParam("end", errors.New("end timestamp must not be before start time"))
	}
	step, err := parseDuration(form.Get("step"))
	if err != nil {
		return dst, nil, badParam("step", err)
	}
	// The engine counts in whole milliseconds and would divide by the zero of a shorter step.
	if step < time.Millisecond {
		return dst, nil, badParam("step", errors.New("zero or negative query resolution step widths are not accepted. Try a positive integer"))
	}
	if end.Sub(start)/step > maxPoints {
		return dst, nil, badData(errors.New("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"))
	}
	opts, err := queryOptions(form)
	if err != nil {
		return dst, nil, err
	}
	data := &scope{queryable: a.queryable}
	q, err := a.engine.NewRangeQuery(ctx, data, opts, form.Get("query"), start, end, step)
	if err != nil {
		return dst, nil, badParam("query", err)
	}
	return a.run(ctx, q, data, form, dst)
}

// run evaluates q on data and appends {"resultType":...,"result":...}.
func (a *API) run(ctx context.Context, q promql.Query, data *scope, form url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	defer q.Close()
	if err := data.admit(q.Statement()); err != nil {
		return dst, nil, err
	}
	limit, err := limitParam(form)
	if err != nil {
		return dst, nil, err
	}
	res := q.Exec(ctx)
	if res.Err != nil {
		return dst, nil, res.Err
	}
	notes := res.Warnings
	if limit > 0 {
		if truncate(res, limit) {
			notes = notes.Add(errTruncated)
		}
	}
	dst = append(dst, `{"resultType":"`...)
	dst = append(dst, res.Value.Type()...)
	dst = append(dst, `","result":`...)
	dst, err = appendValue(dst, res.Value, a.opts.MaxResultBytes)
	if errors.Is(err, errResultSize) {
		return dst, nil, &limitError{fmt.Sprintf("the result is larger than %d MiB (query.max-result); aggregate, or ask for fewer series or steps", a.opts.MaxResultBytes>>20)}
	}
	if err != nil {
		return dst, nil, err
	}
	if asked := form.Get("stats"); asked != "" {
		data.cost.amend(q.Stats().Samples)
		dst, err = appendStats(append(dst, `,"stats":`...), stats.NewQueryStats(q.Stats()), &data.cost, asked == "all")
		if err != nil {
			return dst, nil, err
		}
	}
	return append(dst, '}'), notes, nil
}

// truncate leaves at most limit series and reports whether there were more.
func truncate(res *promql.Result, limit int) bool {
	switch v := res.Value.(type) {
	case promql.Matrix:
		res.Value = v[:min(len(v), limit)]
		return len(v) > limit
	case promql.Vector:
		res.Value = v[:min(len(v), limit)]
		return len(v) > limit
	}
	return false
}

func queryOptions(form url.Values) (promql.QueryOpts, error) {
	var lookback time.Duration
	if text := form.Get("lookback_delta"); text != "" {
		d, err := parseDuration(text)
		if err != nil {
			return nil, badData(fmt.Errorf("error parsing lookback delta duration: %w", err))
		}
		lookback = d
	}
	return promql.NewPrometheusQueryOpts(false, lookback), nil
}

// queryExemplars answers /query_exemplars: telemetry has none, but a query must be one.
func (a *API) queryExemplars(_ context.Context, form url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	if _, _, err := rangeParams(form); err != nil {
		return dst, nil, err
	}
	if _, err := a.parser.ParseExpr(form.Get("query")); err != nil {
		return dst, nil, badData(err)
	}
	return append(dst, "[]"...), nil, nil
}

// formatQuery answers /format_query.
func (a *API) formatQuery(_ context.Context, form url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	expr, err := a.parser.ParseExpr(form.Get("query"))
	if err != nil {
		return dst, nil, badParam("query", err)
	}
	return appendString(dst, parser.Prettify(expr)), nil, nil
}
