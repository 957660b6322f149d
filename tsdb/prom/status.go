package prom

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/util/annotations"

	"muster/tsdb"
)

// apiVersion is the Prometheus version whose API and language this is: that of the engine's module, v0.313. Grafana
// chooses its requests by it and falls back to the slow /series where there is none.
const apiVersion = "3.13.1"

// appendJSON appends data as encoding/json writes it: for the small answers of /status.
func appendJSON(dst []byte, data any) ([]byte, annotations.Annotations, error) {
	text, err := json.Marshal(data)
	return append(dst, text...), nil, err
}

// buildInfo answers /status/buildinfo.
func (a *API) buildInfo(_ context.Context, _ url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	return appendJSON(dst, map[string]string{
		"application": "muster",
		"version":     apiVersion,
		"revision":    a.opts.Version,
		"branch":      "",
		"buildUser":   "",
		"buildDate":   "",
		"goVersion":   runtime.Version(),
	})
}

// flags answers /status/flags with the bounds of queries.
func (a *API) flags(_ context.Context, _ url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	return appendJSON(dst, map[string]string{
		"enable-feature":        "",
		"query.lookback-delta":  model.Duration(a.opts.Lookback).String(),
		"query.max-buffer":      strconv.Itoa(a.opts.MaxBufferBytes),
		"query.max-concurrency": strconv.Itoa(a.opts.MaxConcurrent),
		"query.max-memory":      strconv.Itoa(a.opts.MaxMemoryBytes),
		"query.max-result":      strconv.Itoa(a.opts.MaxResultBytes),
		"query.max-samples":     strconv.Itoa(a.opts.MaxSamples),
		"query.max-series":      strconv.Itoa(a.opts.MaxSeries),
		"query.timeout":         model.Duration(a.opts.Timeout).String(),
	})
}

// runtimeInfo answers /status/runtimeinfo.
func (a *API) runtimeInfo(_ context.Context, _ url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	return appendJSON(dst, map[string]any{
		"startTime":           a.started.UTC().Format(time.RFC3339Nano),
		"serverTime":          a.opts.Clock.Now().UTC().Format(time.RFC3339Nano),
		"reloadConfigSuccess": true,
		"lastConfigTime":      a.started.UTC().Format(time.RFC3339Nano),
		"corruptionCount":     a.store.Stats().Damaged,
		"goroutineCount":      runtime.NumGoroutine(),
		"GOMAXPROCS":          runtime.GOMAXPROCS(0),
	})
}

// nameCount is one row of the lists of /status/tsdb.
type nameCount struct {
	Name  string `json:"name"`
	Value int    `json:"value"`
}

// tsdbStatus answers /status/tsdb: the columns that most things have.
func (a *API) tsdbStatus(ctx context.Context, form url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	const maxLimit = 10000
	limit := 10
	if text := form.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return dst, nil, badData(errors.New("limit must be a positive number"))
		}
		if n > maxLimit {
			return dst, nil, badData(fmt.Errorf("limit must not exceed %d", maxLimit))
		}
		limit = n
	}
	stats := a.store.Stats()
	columns := []nameCount{}
	var ids []tsdb.ThingID
	for _, m := range a.store.Metrics() {
		if err := ctx.Err(); err != nil {
			return dst, nil, err
		}
		ids = a.store.ThingsWith(ids[:0], m.ID, 0, tsdb.MaxTimeMs-1)
		columns = append(columns, nameCount{validText(m.Name), len(ids)})
	}
	names := len(columns)
	slices.SortFunc(columns, func(a, b nameCount) int {
		return cmp.Or(cmp.Compare(b.Value, a.Value), cmp.Compare(a.Name, b.Name))
	})
	columns = columns[:min(len(columns), limit)]
	none := []nameCount{}
	return appendJSON(dst, map[string]any{
		"headStats": map[string]any{
			"numSeries":     stats.Series,
			"numLabelPairs": names + stats.Things,
			"chunkCount":    stats.Segments,
			"minTime":       stats.OldestMs,
			"maxTime":       stats.NewestMs,
		},
		"seriesCountByMetricName":     columns,
		"labelValueCountByLabelName":  []nameCount{{nameLabel, names}, {thingLabel, stats.Things}},
		"memoryInBytesByLabelName":    none,
		"seriesCountByLabelValuePair": none,
	})
}
