package prom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"muster/tsdb"
)

const (
	// exportSamples is what one line of an export has at most; longer series go on in the next line.
	exportSamples = 8192
	// maxExports is how many exports run at once: each may take as long as its client reads.
	maxExports = 2
)

// Thing returns the id of a registered thing and the labels that its series have, `thing` included; false for a name that is not
// registered.
func (a *API) Thing(name string) (tsdb.ThingID, []tsdb.Label, bool) {
	id, ok := a.queryable.dir.ThingByName(name)
	if !ok {
		return 0, nil, false
	}
	things := thingCache{dir: a.queryable.dir, grouper: a.queryable.grouper}
	state := things.get(id)
	found := things.labels(state, id)
	list := make([]tsdb.Label, 0, len(found))
	for _, l := range found {
		list = append(list, tsdb.Label(l))
	}
	return id, list, !state.hidden
}

// Export checks the parameters of GET /api/v1/export: match[], start and end. run, which must be called once, then writes the raw samples, a line of JSON for
// each series and up to 8,192 samples, in the form of VictoriaMetrics:
//
//	{"metric":{"__name__":"up","job":"node"},"values":[1,1],"timestamps":[1700000000000,1700000015000]}
//
// null is a staleness marker; "NaN", "Infinity" and "-Infinity" are what JSON has no number for. Series are listed a metric
// at a time, and no more than the buffers of one are held. run ends with ctx or with the first error of w; where run is nil, resp says
// why.
func (a *API) Export(form url.Values) (run func(ctx context.Context, w io.Writer) error, resp Response) {
	startMs, endMs, err := rangeParams(form)
	if err != nil {
		return nil, a.refuse(err)
	}
	sets, err := selectorParams(form, a.parser)
	if err == nil && len(sets) == 0 {
		err = badData(errors.New("no match[] parameter provided; all series are match[]={__name__!=\"\"}"))
	}
	if err != nil {
		return nil, a.refuse(err)
	}
	if a.exports.Add(1) > maxExports {
		a.exports.Add(-1)
		return nil, a.refuse(&apiError{http.StatusTooManyRequests, "unavailable", fmt.Sprintf("%d exports are running; try again when one has ended", maxExports)})
	}
	return func(ctx context.Context, w io.Writer) error {
		defer a.exports.Add(-1)
		e := exporter{w: w, several: len(sets) > 1}
		return e.run(ctx, a.queryable, startMs, endMs, sets)
	}, Response{}
}

// exporter writes the lines of one export.
type exporter struct {
	w       io.Writer
	several bool // selectors, which may choose one series twice
	it      chunkenc.Iterator
	line    []byte
	times   []byte
}

// run writes one metric after the other, so that no more series are listed at a time than one metric has.
func (e *exporter) run(ctx context.Context, from *queryable, startMs, endMs int64, sets [][]*labels.Matcher) error {
	var names []string
	for _, t := range from.querier(startMs, endMs).targets(nil, nil) {
		names = append(names, t.name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		seen := map[string]struct{}{}
		for _, set := range sets {
			if !matchName(set, name) {
				continue
			}
			only := append(slices.Clone(set), labels.MustNewMatcher(labels.MatchEqual, nameLabel, name))
			if err := e.selected(ctx, from.querier(startMs, endMs), only, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// matchName says whether the matchers on __name__ let name through.
func matchName(set []*labels.Matcher, name string) bool {
	return !slices.ContainsFunc(set, func(m *labels.Matcher) bool { return m.Name == nameLabel && !m.Matches(name) })
}

func (e *exporter) selected(ctx context.Context, q *querier, set []*labels.Matcher, seen map[string]struct{}) error {
	found := q.Select(ctx, true, nil, set...)
	for found.Next() {
		s := found.At()
		if e.several {
			key := s.Labels().String()
			if _, ok := seen[key]; ok {
				continue
			}
			seen[key] = struct{}{}
		}
		e.it = s.Iterator(e.it)
		if err := e.series(ctx, s.Labels()); err != nil {
			return err
		}
	}
	return found.Err()
}

// series writes the samples of e.it.
func (e *exporter) series(ctx context.Context, lset labels.Labels) error {
	for more := e.it.Next() != chunkenc.ValNone; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		e.line = append(e.line[:0], `{"metric":`...)
		e.line = append(appendLabels(e.line, lset), `,"values":[`...)
		e.times = append(e.times[:0], `],"timestamps":[`...)
		for n := 0; more && n < exportSamples; n++ {
			if n > 0 {
				e.line, e.times = append(e.line, ','), append(e.times, ',')
			}
			timeMs, v := e.it.At()
			e.line = appendNumber(e.line, v)
			e.times = strconv.AppendInt(e.times, timeMs, 10)
			more = e.it.Next() != chunkenc.ValNone
		}
		e.line = append(append(e.line, e.times...), "]}\n"...)
		if _, err := e.w.Write(e.line); err != nil {
			return err
		}
	}
	return e.it.Err()
}

// appendNumber appends v as JSON: the shortest decimal that is v, or what Export says stands for others.
func appendNumber(dst []byte, v float64) []byte {
	switch {
	case value.IsStaleNaN(v):
		return append(dst, "null"...)
	case math.IsNaN(v):
		return append(dst, `"NaN"`...)
	case math.IsInf(v, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(v, -1):
		return append(dst, `"-Infinity"`...)
	}
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, v, format, -1, 64)
}
