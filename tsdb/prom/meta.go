package prom

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// series answers /series: the labels of the series that match any of match[].
func (a *API) series(ctx context.Context, form url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	if len(form["match[]"]) == 0 {
		return dst, nil, badData(errors.New("no match[] parameter provided"))
	}
	limit, q, sets, err := a.metaParams(form)
	if err != nil {
		return dst, nil, err
	}
	var notes annotations.Annotations
	var seen map[string]struct{}
	if len(sets) > 1 {
		seen = map[string]struct{}{}
	}
	var key []byte
	count := 0
	hints := &storage.SelectHints{Start: q.minMs, End: q.maxMs, Func: seriesFunc}
	if limit > 0 {
		hints.Limit = min(limit, a.opts.MaxSeries) + 1 // one more tells that there are more
	}
	dst = append(dst, '[')
	for _, set := range sets {
		found := q.Select(ctx, false, hints, set...)
		for found.Next() {
			lset := found.At().Labels()
			if seen != nil {
				key = lset.Bytes(key)
				if _, ok := seen[string(key)]; ok {
					continue
				}
				seen[string(key)] = struct{}{}
			}
			if limit > 0 && count == limit {
				return append(dst, ']'), notes.Add(errTruncated), nil
			}
			if count > 0 {
				dst = append(dst, ',')
			}
			count++
			if dst = appendLabels(dst, lset); len(dst) > a.opts.MaxResultBytes {
				return dst, nil, &limitError{fmt.Sprintf("the list is larger than %d MiB (query.max-result); narrow match[] or give a limit", a.opts.MaxResultBytes>>20)}
			}
		}
		if found.Err() != nil {
			return dst, nil, found.Err()
		}
	}
	return append(dst, ']'), nil, nil
}

// labelNames answers /labels.
func (a *API) labelNames(ctx context.Context, form url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	return a.listLabels(form, dst, func(q *querier, set []*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.LabelNames(ctx, nil, set...)
	})
}

// labelValues answers /label/<name>/values. A name that is no classic label name comes escaped as U__...
func (a *API) labelValues(ctx context.Context, form url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	name := form.Get(labelParam)
	if strings.HasPrefix(name, "U__") {
		name = model.UnescapeName(name, model.ValueEncodingEscaping)
	}
	if !model.UTF8Validation.IsValidLabelName(name) {
		return dst, nil, badData(fmt.Errorf("invalid label name: %q", name))
	}
	return a.listLabels(form, dst, func(q *querier, set []*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.LabelValues(ctx, name, nil, set...)
	})
}

// listLabels appends the sorted union of what list returns for each of match[], or for no matcher without them.
func (a *API) listLabels(
	form url.Values, dst []byte, list func(*querier, []*labels.Matcher) ([]string, annotations.Annotations, error),
) ([]byte, annotations.Annotations, error) {
	limit, q, sets, err := a.metaParams(form)
	if err != nil {
		return dst, nil, err
	}
	if len(sets) == 0 {
		sets = [][]*labels.Matcher{nil}
	}
	var all []string
	for _, set := range sets {
		names, _, err := list(q, set)
		if err != nil {
			return dst, nil, err
		}
		all = append(all, names...)
	}
	if len(sets) > 1 {
		slices.Sort(all)
		all = slices.Compact(all)
	}
	var notes annotations.Annotations
	if limit > 0 && len(all) > limit {
		all = all[:limit]
		notes.Add(errTruncated)
	}
	return appendStrings(dst, all), notes, nil
}

// metaParams reads limit, start, end and match[].
func (a *API) metaParams(form url.Values) (limit int, q *querier, sets [][]*labels.Matcher, err error) {
	if limit, err = limitParam(form); err != nil {
		return 0, nil, nil, err
	}
	startMs, endMs, err := rangeParams(form)
	if err != nil {
		return 0, nil, nil, err
	}
	if sets, err = selectorParams(form, a.parser); err != nil {
		return 0, nil, nil, err
	}
	return limit, a.queryable.querier(startMs, endMs), sets, nil
}

// units returns the units of a column, one that is empty if none is known.
func (a *API) units(column string) []string {
	if a.opts.Units != nil {
		if known := a.opts.Units(column); len(known) > 0 {
			return known
		}
	}
	return []string{""}
}

// metadata answers /metadata. Units are what Options.Units knows. Nobody declares columns, so a type is a guess from the name: one that ends in _total may
// be a counter and is "unknown", all others are gauges.
func (a *API) metadata(_ context.Context, form url.Values, dst []byte) ([]byte, annotations.Annotations, error) {
	limit := -1
	if text := form.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return dst, nil, badData(errors.New("limit must be a number"))
		}
		limit = n
	}
	metric := form.Get("metric")
	help := map[string]string{}
	for _, t := range a.queryable.querier(0, 0).targets(nil, nil) {
		if metric != "" && t.name != metric {
			continue
		}
		if t.info {
			help[t.name] = fmt.Sprintf("Text column %s: 1 for the value that is current.", strings.TrimSuffix(t.name, infoSuffix))
		} else {
			help[t.name] = fmt.Sprintf("Number column %s of telemetry.", t.name)
		}
	}
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(help)) {
		if limit >= 0 && i >= limit {
			break
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, name)
		kind := "gauge"
		if strings.HasSuffix(name, "_total") {
			kind = "unknown"
		}
		dst = append(dst, ':', '[')
		for i, unit := range a.units(name) { // things of several types may have one column in several units
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"type":"`...)
			dst = append(dst, kind...)
			dst = append(dst, `","help":`...)
			dst = appendString(dst, help[name])
			dst = append(dst, `,"unit":`...)
			dst = appendString(dst, unit)
			dst = append(dst, '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}'), nil, nil
}
