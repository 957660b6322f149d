package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"muster/tsdb"
)

// maxJSONLine bounds a line of an import: an export cuts long series into lines far below it.
const maxJSONLine = 4 << 20

// staleNaN is Prometheus' staleness marker, which null stands for.
const staleNaN = 0x7ff0000000000002

// jsonSeries is one line of an export or import. Timestamps are Unix milliseconds.
type jsonSeries struct {
	Metric     map[string]string `json:"metric"`
	Values     []jsonNumber      `json:"values"`
	Timestamps []int64           `json:"timestamps"`
}

// jsonNumber is a number, null for a staleness marker, or one of the words that JSON has no number for.
type jsonNumber float64

func (n *jsonNumber) UnmarshalJSON(src []byte) error {
	var v float64
	var err error
	switch string(src) {
	case "null":
		v = math.Float64frombits(staleNaN)
	case `"NaN"`:
		v = math.NaN()
	case `"Infinity"`, `"+Inf"`, `"Inf"`:
		v = math.Inf(1)
	case `"-Infinity"`, `"-Inf"`:
		v = math.Inf(-1)
	default:
		v, err = strconv.ParseFloat(string(bytes.Trim(src, `"`)), 64)
		if err != nil && !math.IsInf(v, 0) {
			return fmt.Errorf("the value %.32q is no number", src)
		}
		if err != nil {
			return fmt.Errorf("the value %.32q is too large", src)
		}
	}
	*n = jsonNumber(v)
	return nil
}

// importLines takes the JSON lines of an export, those of VictoriaMetrics included: a series per line. A line that cannot be kept is told
// by number; the others are kept.
func importLines(ctx context.Context, in *Intake, r *Request) Response {
	lines := 0
	total, err := in.take(ctx, r, r.Header("Content-Encoding"), func(w *worker, body []byte) error {
		number := 0
		for len(body) > 0 {
			var line []byte
			line, body, _ = bytes.Cut(body, []byte("\n"))
			number++
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			before := w.tally.invalid
			if err := w.addJSON(line); err != nil {
				return err
			}
			if w.tally.invalid > before {
				if lines++; lines == 1 {
					w.tally.first = fmt.Errorf("line %d: %w", number, w.tally.first)
				}
			}
		}
		return nil
	})
	switch {
	case err != nil:
		resp := text(place(err))
		if resp.Status == http.StatusTooManyRequests || resp.Status == http.StatusServiceUnavailable {
			resp.Header = [][2]string{{"Retry-After", "5"}}
		}
		return resp
	case total.invalid > 0:
		return text(http.StatusBadRequest, fmt.Sprintf("%d lines could not be kept whole, the rest is; the first: %v", lines, total.first))
	}
	return Response{Status: http.StatusNoContent}
}

// addJSON adds the samples of one line. Errors end the request.
func (w *worker) addJSON(line []byte) error {
	if len(line) > maxJSONLine {
		w.tally.refuse(1, fmt.Errorf("it has %d bytes, at most %d are read; cut the series into several lines", len(line), maxJSONLine))
		return nil
	}
	var s jsonSeries
	if err := json.Unmarshal(line, &s); err != nil {
		w.tally.refuse(1, fmt.Errorf("it is no series: %w", err))
		return nil
	}
	if len(s.Values) != len(s.Timestamps) {
		w.tally.refuse(max(1, len(s.Values)), errors.New("values and timestamps are not equally many"))
		return nil
	}
	if len(s.Values) == 0 {
		return nil
	}
	w.beginSeries()
	for name, value := range s.Metric {
		w.label([]byte(name), []byte(value))
	}
	thing, metric, err := w.target()
	if err != nil {
		w.tally.refuse(len(s.Values), err)
		return nil
	}
	for i, v := range s.Values {
		if err := w.add(thing, s.Timestamps[i], tsdb.FloatValue(metric, float64(v))); err != nil {
			return err
		}
	}
	return w.endSeries()
}
