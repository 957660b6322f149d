package intake

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"muster/tsdb"
)

// precisions are the units of timestamps [InfluxDB 1.8 and 2 API, "precision"].
var precisions = map[string]time.Duration{
	"": time.Nanosecond, "n": time.Nanosecond, "ns": time.Nanosecond, "u": time.Microsecond, "us": time.Microsecond, "µ": time.Microsecond,
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
}

// influx takes InfluxDB line protocol: field f of measurement m is the metric m_f, tags are its labels. Numbers, booleans and texts are
// kept as such. A point without a timestamp is of now. Database, bucket and organization are not looked at. Lines that cannot be kept
// are told by number; the others are kept.
func influx(ctx context.Context, in *Intake, r *Request) Response {
	unit, ok := precisions[r.Form.Get("precision")]
	if !ok {
		return influxError(http.StatusBadRequest, "invalid", fmt.Sprintf("precision %.16q is not known; use ns, us, ms, s, m or h", r.Form.Get("precision")))
	}
	nowMs := in.opts.Clock.Now().UnixMilli()
	lines := 0
	total, err := in.take(ctx, r, r.Header("Content-Encoding"), func(w *worker, body []byte) error {
		w.lines.reset(body)
		for {
			more, err := w.lines.next()
			if !more {
				return nil
			}
			at := nowMs
			if err == nil && w.lines.timed {
				at, err = toMs(w.lines.timestamp, unit)
			}
			before := w.tally.invalid
			if err == nil {
				if err := w.addPoint(at); err != nil {
					return err
				}
			} else {
				w.tally.refuse(1, err)
			}
			if w.tally.invalid > before {
				if lines++; lines == 1 {
					w.tally.first = fmt.Errorf("line %d: %w", w.lines.line, w.tally.first)
				}
			}
			if err := w.endSeries(); err != nil {
				return err
			}
		}
	})
	switch {
	case err != nil:
		status, sentence := place(err)
		kind := "internal error"
		switch {
		case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
			kind = "unavailable"
		case status < 500:
			kind = "invalid"
		}
		resp := influxError(status, kind, sentence)
		if kind == "unavailable" {
			resp.Header = [][2]string{{"Retry-After", "5"}}
		}
		return resp
	case total.invalid > 0:
		return influxError(http.StatusBadRequest, "invalid", fmt.Sprintf("partial write: %v; lines with errors=%d dropped=%d", total.first, lines, total.invalid))
	}
	return Response{Status: http.StatusNoContent}
}

// influxError is an error in the form of InfluxDB 1 ("error") and 2 ("code", "message") at once.
func influxError(status int, code, sentence string) Response {
	body, err := json.Marshal(map[string]string{"code": code, "message": sentence, "error": sentence})
	if err != nil {
		panic("BUG: " + err.Error()) // strings always encode
	}
	return Response{Status: status, ContentType: "application/json", Header: [][2]string{{"X-Influxdb-Error", sentence}}, Body: body}
}

// toMs turns a timestamp into Unix milliseconds, rounded down.
func toMs(timestamp int64, unit time.Duration) (int64, error) {
	if unit < time.Millisecond {
		per := int64(time.Millisecond / unit)
		ms := timestamp / per
		if timestamp%per < 0 {
			ms--
		}
		return ms, nil
	}
	if per := int64(unit / time.Millisecond); timestamp <= tsdb.MaxTimeMs/per && timestamp >= 0 {
		return timestamp * per, nil
	}
	return 0, fmt.Errorf("the timestamp %d does not lie between 1970 and 2200; is precision right?", timestamp)
}

// addPoint adds the fields of the point that w.lines found. Errors end the request.
func (w *worker) addPoint(timeMs int64) error {
	w.beginSeries()
	for _, tag := range w.lines.tags {
		if string(tag.name) == "__name__" {
			w.tally.refuse(1, fmt.Errorf("the tag __name__ is reserved; name the measurement instead"))
			return nil
		}
		w.label(tag.name, tag.value)
	}
	for i := range w.lines.fields {
		f := &w.lines.fields[i]
		w.metric = append(append(append(w.metric[:0], w.lines.measurement...), '_'), f.name...)
		w.name = w.metric
		w.labels += len(w.name)
		thing, metric, err := w.target()
		if err != nil {
			w.tally.refuse(1, err)
			continue
		}
		v := tsdb.FloatValue(metric, f.number)
		switch f.kind {
		case 'b':
			v = tsdb.Value{Metric: metric, Kind: tsdb.Bool, Mantissa: int64(f.number)}
		case 's':
			id, err := w.in.opts.Store.Dict().String(f.text)
			if err != nil {
				w.tally.refuse(1, err)
				continue
			}
			v = tsdb.Value{Metric: metric, Kind: tsdb.String, Mantissa: int64(id)}
		}
		if err := w.add(thing, timeMs, v); err != nil {
			return err
		}
	}
	return nil
}
